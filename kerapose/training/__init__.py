"""What a training needs, in a notebook as in a script.

A whole training is one object: `PoseConv3D("runs/mine", dataset="puppets")`; see `Training`. Its parts stand for
themselves: exact resuming (`Resume`), PyTorch's optimizers and schedules, precision, determinism and devices, pictures
for TensorBoard, and the models that train others (`Distiller`, `LiftTrainer`).
"""

from kerapose.training.devices import make_strategy, set_up
from kerapose.training.distiller import Distiller
from kerapose.training.lift_trainer import LiftTrainer
from kerapose.training.optimizers import SGDL2, AdamL2, StepDecay, cosine_decay
from kerapose.training.resume import Resume
from kerapose.training.runs import Stage, Training
from kerapose.training.workdir import load_network, open_workdir, start_from

__all__ = [
    "AdamL2",
    "Distiller",
    "LiftTrainer",
    "Resume",
    "SGDL2",
    "Stage",
    "StepDecay",
    "Training",
    "cosine_decay",
    "load_network",
    "make_strategy",
    "open_workdir",
    "set_up",
    "start_from",
]
