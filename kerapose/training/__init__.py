"""What a training needs, in a notebook as in a script.

A whole training is one object: `PoseConv3D("runs/mine", dataset="puppets")`; see `Training`. Its parts stand for
themselves: exact resuming (`Resume`), PyTorch's optimizers and schedules, precision, determinism and devices, pictures
for TensorBoard, and the models that train others (`Distiller`, `LiftTrainer`).
"""

import importlib

# By module. Each is imported when it is first named: Distiller and LiftTrainer train under JAX and PyTorch, too, where
# there may be no TensorFlow, which pipelines, pictures and strategies are made of.
_MODULES = {
    "action_models": ("KeypointTeacher", "action_model", "compile_for_actions", "for_outputs", "video_model"),
    "devices": ("filled_up", "make_strategy", "set_up"),
    "distiller": ("Distiller",),
    "jax_devices": ("DataParallel",),
    "lift_trainer": ("LiftTrainer",),
    "lifter": ("Lifter",),
    "multi_worker": ("MultiWorkers",),
    "openpose": ("OpenPose", "fields_model", "weight_groups"),
    "optimizers": ("AdamL2", "SGDL2", "StepDecay", "cosine_decay"),
    "pose_models": ("heatmap_model",),
    "poseconv3d": ("PoseConv3D",),
    "resume": ("Resume",),
    "rgbpose": ("RGBPose",),
    "runs": ("Stage", "Training"),
    "star_transformer": ("StarTransformer",),
    "topdown": ("TopDown",),
    "workdir": ("load_network", "open_workdir", "start_from"),
    "workers": ("WorkerLostError",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __dir__():
    return __all__


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"kerapose.training has no {name!r}; it has {', '.join(__all__)}.")
