# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Published weights
#
# The networks here are those of papers, and 88 checkpoints of their authors and of toolboxes load into them by name.
# Nothing of these files comes with kerapose: each is fetched from its publisher when it is first asked for, checked,
# and kept. This notebook shows what there is, how it is loaded, and how a file is loaded that is in no table.
#
# It runs without a network connection. What needs a published file is shown with its error then, and everything else
# with a checkpoint that the notebook writes itself.

# %%
import collections
import io
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import torch
from PIL import Image

from kerapose import models, predictors, presets, skeletons, visualize, weights
from kerapose.data import crops

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
WORKDIR = pathlib.Path("../runs/notebooks/published_weights")
shutil.rmtree(WORKDIR, ignore_errors=True)
WORKDIR.mkdir(parents=True)

# %% [markdown]
# ## What there is
# `presets.names()` has all names; `kerapose presets` prints them in a shell, with their figures.

# %%
print(len(presets.names()), "checkpoints")
for task in presets.TASKS:
    names = presets.names(task)
    by_class = collections.Counter(presets.get(name).network for name in names)
    print(f"\n{task}:", ", ".join(f"{count} {network}" for network, count in by_class.items()))
    print("   ", ", ".join(names[:3]), "..." if len(names) > 3 else "")

# %% [markdown]
# A preset knows what a file of weights does not say: the network and its size, the keypoints, how heatmaps are read,
# the data it was trained on, and the figures that its publisher gives. So you need to know nothing but the name.

# %%
preset = presets.get("hrnet_w32_coco_256x192_udp")
for field in ("task", "network", "variant", "size", "keypoints", "kind", "data", "figures"):
    print(f"{field:10} {getattr(preset, field)}")
print(f"{'publisher':10} {preset.publisher.name}, {preset.publisher.licence}; {preset.publisher.measured}")

# %% [markdown]
# Files keep the licences of their publishers, and the data that they were trained on have terms of their own, mostly
# for research.
#
# ## Where files go
# Into `~/.keras/kerapose/NAME/`, or into the folder that the environment variable `KERAPOSE_HOME` names. A file that
# you put there by hand is found. What of it is there on this machine:

# %%
home = pathlib.Path(os.environ.get("KERAPOSE_HOME", "~/.keras/kerapose")).expanduser()
there = [
    name for name in presets.names() if all((home / name / file.name).is_file() for file in presets.get(name).files)
]
print(there or "none of them yet")

# %% [markdown]
# ## From a name to an answer
# `predictors.load` takes the name of a preset as it takes a file. `openpose_omz`, Open Model Zoo's Lightweight
# OpenPose, is the smallest that finds people: 4 MB. Where its file is not there and cannot be fetched, an error says
# from where to fetch it by other means, and where to put it. (Reading this one needs `pip install
# "kerapose[openvino]"`.)

# %%
NAME = "openpose_omz"
try:
    find_people = predictors.load(NAME)
except presets.FetchError as error:
    find_people = None
    print(error)

# %% [markdown]
# With the file, everybody in a picture. The picture is drawn, as those are of which the other notebooks learn; the
# network has seen photographs alone.


# %%
def people_drawn():
    build = [sys.executable, "../datasets/build.py", "puppets/small_images"]  # pictures, drawn once
    subprocess.run(build, check=True, capture_output=True)
    people, _ = crops.from_tfds("puppets/small_images", "test")
    pictures = {person["name"]: person["image"] for person in people.take(12).as_numpy_iterator()}
    drawn = []
    for image in list(pictures.values())[:4]:
        found = find_people(image)
        keypoints, scores = np.array([pose.keypoints for pose in found]), np.array([pose.scores for pose in found])
        picture = np.asarray(Image.open(io.BytesIO(image)))
        drawn.append(
            visualize.draw_skeletons(picture, keypoints, scores, skeletons.OPENPOSE, 0.1) if found else picture
        )
    return Image.fromarray(visualize.contact_sheet(drawn, columns=4))


people_drawn() if find_people else f"{NAME} is not here, so there is nobody to be drawn."

# %% [markdown]
# ## From a name to a network
# `from_preset` gives the network alone, a `keras.Model`, for a training that starts from it. A network of actions gets
# a new head with another number of classes:

# %%
try:
    network = models.SlowOnly.from_preset("slowonly_346_k400_joint", num_classes=5)
    print(network.output_shape)
except presets.FetchError as error:
    print(error)

# %% [markdown]
# The trainings take names, too: `--pretrained`, `--backbone_weights`. `training.TopDown.test_preset(name, ...)` and
# `python -m train.topdown --preset=NAME --evaluate` test a checkpoint by the paper's protocol, and write each published
# figure beside the one that was found.
#
# ## A file that is in no table
# `weights.load_torch` reads what PyTorch has saved. Each of our layers keeps the name that its module has in the
# published code, and a weight goes where its name says. It is never guessed by order or by shape.
#
# No published file is at hand here, so we write one: VideoPose3D's lifter, small and with random weights, as a PyTorch
# module whose parts have the published names.


# %%
class TorchLifter(torch.nn.Module):
    """Convolutions over time with residual blocks, from 2D to 3D."""

    def __init__(self, joints=17, channels=64, widths=(3, 3, 3)):
        super().__init__()
        self.widths, hidden = widths, len(widths) - 1
        self.expand_conv = torch.nn.Conv1d(2 * joints, channels, widths[0], bias=False)
        self.expand_bn = torch.nn.BatchNorm1d(channels)
        wide = [torch.nn.Conv1d(channels, channels, 3, dilation=3**i, bias=False) for i in range(1, hidden + 1)]
        flat = [torch.nn.Conv1d(channels, channels, 1, bias=False) for _ in wide]
        self.layers_conv = torch.nn.ModuleList([conv for pair in zip(wide, flat, strict=True) for conv in pair])
        self.layers_bn = torch.nn.ModuleList([torch.nn.BatchNorm1d(channels) for _ in self.layers_conv])
        self.shrink = torch.nn.Conv1d(channels, 3 * joints, 1)

    def forward(self, keypoints):  # [B, T, J, 2] -> [B, T', J, 3]
        batch, frames, joints, _ = keypoints.shape
        x = keypoints.reshape(batch, frames, -1).transpose(1, 2)  # [B, 2 * J, T]
        x = torch.relu(self.expand_bn(self.expand_conv(x)))
        for wide in range(0, len(self.layers_conv), 2):
            y = torch.relu(self.layers_bn[wide](self.layers_conv[wide](x)))
            y = torch.relu(self.layers_bn[wide + 1](self.layers_conv[wide + 1](y)))
            cut = (x.shape[2] - y.shape[2]) // 2
            x = x[:, :, cut : x.shape[2] - cut] + y
        return self.shrink(x).transpose(1, 2).reshape(batch, -1, joints, 3)


torch.manual_seed(0)
theirs = TorchLifter()
with torch.no_grad():
    for norm in (theirs.expand_bn, *theirs.layers_bn):  # as if it had been trained
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2.0)
torch.save({"epoch": 80, "model_pos": theirs.state_dict()}, WORKDIR / "lifter.bin")
print(f"{(WORKDIR / 'lifter.bin').stat().st_size:,} bytes;", ", ".join(list(theirs.state_dict())[:7]), "...")

# %% [markdown]
# The file has the weights in a part of it, `model_pos`, as VideoPose3D's do; wrappings of that kind are known. Two
# networks with the same weights must give the same answer:

# %%
ours = models.TemporalLifter(17, filter_widths=(3, 3, 3), channels=64)
weights.load_torch(ours, WORKDIR / "lifter.bin")

keypoints = np.random.default_rng(0).uniform(-1, 1, (2, 60, 17, 2)).astype("float32")
with torch.no_grad():
    expected = theirs.eval()(torch.from_numpy(keypoints)).numpy()
found = ours.predict_on_batch(keypoints)
print(found.shape, f"at most {abs(found - expected).max():.1e} apart, of {abs(expected).max():.2f}")

# %% [markdown]
# ## All or nothing
# If one name is missing, left over, or of another shape, nothing is loaded, and one error names all of them. Half a
# network in place of a whole one would still give numbers, only worse ones, and nobody would know why.

# %%
state = theirs.state_dict()
state["shrink.weight"] = state["shrink.weight"][:48]  # 16 joints
state["layers_conv.9.weight"] = state.pop("layers_conv.3.weight")
before = [np.array(value) for value in ours.get_weights()]
try:
    weights.load_torch(ours, state)
except ValueError as error:
    print(error)
unchanged = all(np.array_equal(old, new) for old, new in zip(before, ours.get_weights(), strict=True))
print("\nThe network is as it was:", unchanged)

# %% [markdown]
# The remedy is at the end of the error. Which variant a file wants is often in its name, and a wrong guess is told at
# once:

# %%
try:
    weights.load_torch(models.TemporalLifter(17, filter_widths=(3, 3), channels=64), WORKDIR / "lifter.bin")
except ValueError as error:
    print(error)

# %% [markdown]
# ## Keep it
# What was loaded once is kept as Keras keeps it, and then PyTorch is not needed any more. `save_preset` writes a folder
# that `from_preset` reads; a predictor's estimator, saved as `model.keras`, also knows its keypoints.

# %%
ours.save_preset(WORKDIR / "lifter")
again = models.TemporalLifter.from_preset(WORKDIR / "lifter")
lift = predictors.Lifter(again, skeletons.COCO, pose_skeleton=skeletons.H36M)
lift.lifter.save(WORKDIR / "model.keras")
predictors.load(WORKDIR / "model.keras").pose_skeleton.name, float(abs(again(keypoints) - found).numpy().max())

# %% [markdown]
# ## Read on
# - [Published weights](../docs/guides/published_weights.md): every publisher, ImageNet backbones, Open Model Zoo
# - [Model zoo](../docs/model_zoo.md): the whole table
# - [Training](../docs/guides/training.md): starting from a name
