"""A program: every training, tiny, under KERAS_BACKEND=jax, on all devices and on one; cut short and resumed.

    python tests/train/trained_on_jax.py train|batches FOLDER DATA

DATA is {name of a training: TFDS folder} in JSON. `train` writes FOLDER/found.json; `test_jax.py` says what is to be in
it. `batches` writes what the trainings would see.
"""

import json
import pathlib
import runpy
import shutil
import sys

import jax
import keras
import numpy as np

from kerapose import models, training
from kerapose.models import mc3_resnet18, slowonly
from kerapose.training import openpose, runs, topdown

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 3  # of an epoch
KEPT = ("state.npz", "best.keras")


def of_tests(name):
    return runpy.run_path(str(HERE / f"test_{name}.py"))


def trainings():
    """By name: the class, its options, and the folder of a stage below the work folder."""
    lifter = of_tests("lifter")["OPTIONS"]
    yield "lifter", training.Lifter, lifter, ""
    yield "semi_supervised", training.Lifter, lifter | {"semi_supervised": True, "labelled_share": 0.3}, ""
    yield "poseconv3d", training.PoseConv3D, of_tests("poseconv3d")["OPTIONS"] | {"precision": "float32"}, "joint"

    of_topdown = of_tests("topdown")
    topdown.MODELS["simple_baseline"] = of_topdown["FewLayers"]
    yield "topdown", training.TopDown, of_topdown["OPTIONS"], ""
    yield "teacher", training.TopDown, of_topdown["OPTIONS"], ""

    of_openpose = of_tests("openpose")
    openpose.models.LightweightOpenPose = of_openpose["FewFields"]
    openpose.RECIPES["small"]["phases"] = of_openpose["PHASES"]
    yield "openpose", training.OpenPose, of_openpose["OPTIONS"], "phase2"

    of_rgbpose = of_tests("rgbpose")
    slowonly.bottleneck = of_rgbpose["one_convolution"]
    for cls, variants in of_rgbpose["TINY"].items():
        cls.VARIANTS.update(variants)
    yield "rgbpose", training.RGBPose, of_rgbpose["OPTIONS"] | {"from_scratch": True, "conditions": ["plain"]}, "both"

    of_star = of_tests("star_transformer")
    mc3_resnet18.stages = of_star["few_stages"]
    models.STARTransformer.VARIANTS["star_tiny"] = of_star["TINY"]
    yield "star_transformer", training.StarTransformer, of_star["OPTIONS"] | {"conditions": ["plain"]}, ""


# ---------------------------------------------------------------------------------------------------- short stages
class Cut(runs.Resume):
    """Leaves beside what a stage keeps what a kill in its second epoch would have left."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if epoch == 0:
            (self.folder / "cut").mkdir()
            for name in KEPT:
                shutil.copy(self.folder / name, self.folder / "cut" / name)


def shorten():
    """From here on a stage has two epochs of few steps."""
    make = runs.Stage.__init__

    def shorter(self, *args, **options):
        make(self, *args, **options)
        self.steps, self.epochs = STEPS, 2

    runs.Stage.__init__ = shorter


def arrays(folder):
    """What a stage keeps: its variables, and the figures of its epochs."""
    with np.load(folder / "state.npz") as file:
        state = dict(file)
    return state, json.loads(str(state.pop("history")))


def distance(one, other):
    """The largest difference between two states, against the size of what differs where that is above 1."""
    numbers = [name for name in one if name.startswith("variable") and one[name].size]
    pairs = [(one[name].astype("float64"), other[name].astype("float64")) for name in numbers]
    return max(float(np.max(np.abs(a - b)) / max(1.0, np.max(np.abs(a)))) for a, b in pairs)


def look(name, cls, options, stage, folder, data_dir):
    """Trains on all devices and on one, and again from where it was cut short; what came of it, for JSON."""
    options = options | {"data_dir": data_dir}
    whole, alone, resumed = (folder / f"{name}_{kind}" for kind in ("whole", "alone", "resumed"))
    made = cls(whole, strategy="jax_data_parallel", **options)
    found = {"devices_of_training": made.workers.devices, "metrics": made.run()}
    devices = {len(weight.value.devices()) for weight in keras.models.load_model(whole / "model.keras").weights}
    found["devices_of_the_test"] = sorted(devices)
    state, history = arrays(whole / stage)
    found["history"] = history

    shutil.copytree(whole, resumed)
    for file in KEPT:
        shutil.copy(whole / stage / "cut" / file, resumed / stage / file)
    shutil.rmtree(resumed / stage / "cut")
    cls(resumed, strategy="jax_data_parallel", **options).fit()
    again, _ = arrays(resumed / stage)
    found["resumed_alike"] = all(np.array_equal(state[key], again[key]) for key in state)

    cls(alone, **options).fit()
    ours, (first, *_) = arrays(alone / stage / "cut")
    found["alone_history"] = first
    found["difference"] = distance(ours, arrays(whole / stage / "cut")[0])
    return found


def keep_batches(folder, data_dirs):
    """Writes a batch of the first stage of every training."""
    for name, cls, options, _ in trainings():
        stage = next(iter(cls(folder / name, **options, data_dir=data_dirs[name]).stages()))
        np.savez(folder / f"{name}.npz", *keras.tree.flatten(next(stage.batches(first_step=2).as_numpy_iterator())))


def main(folder, data_dirs):
    shorten()
    runs.Resume = Cut
    found = {"devices": jax.device_count()}
    for name, cls, options, stage in trainings():
        if name == "teacher":
            options = options | {"teacher": str(folder / "topdown_whole" / "best.keras")}
        found[name] = look(name, cls, options, stage, folder, data_dirs[name])
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    {"train": main, "batches": keep_batches}[sys.argv[1]](pathlib.Path(sys.argv[2]), json.loads(sys.argv[3]))
