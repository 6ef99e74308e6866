# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Actions from video and skeleton together
#
# A skeleton says how somebody moves, and nothing else. The video has the rest: what is held, where it happens. But
# a network of frames is easily led astray by rooms and clothes, and it needs light. RGBPose-Conv3D (Duan et al.,
# *Revisiting Skeleton-based Action Recognition*, CVPR 2022) has a pathway for each, and they exchange what they see
# on the way.
#
# The network sees a few frames, cut out round the people, `[frames, height, width, 3]`, and a heatmap volume of the
# joints, with more frames and a quarter of the size, `[frames, height / 4, width / 4, joints]`. Each pathway has a
# classifier, and the two are averaged.

# %%
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from kerapose import evaluation, export, models, predictors, skeletons, training, visualize
from kerapose.data import frames as frame_data
from kerapose.data import videos
from kerapose.ops import heatmaps
from kerapose.ops import images as image_ops

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
DATA = "puppets/small_videos"
SIZE = 32 if FAST else 48  # of the frames of a clip; the paper has 224
WORKDIR = pathlib.Path("../runs/notebooks/video_and_skeleton")
shutil.rmtree(WORKDIR, ignore_errors=True)  # a run that is found would be gone on with; here we begin anew
for name in ("absl", "tensorflow"):
    logging.getLogger(name).setLevel(logging.ERROR)  # their warnings are about themselves

# %% [markdown]
# ## Data
# `puppets` are drawn people. `puppets/small_videos` has 80 short videos of five actions to train with, each with
# the keypoints that a detector would find in it. The command makes it, once, in half a minute.

# %%
command = [sys.executable, "../datasets/build.py", DATA]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
train, info = videos.from_tfds(DATA, "train")
test, _ = videos.from_tfds(DATA, "test")
class_names, skeleton = info.features["label"].names, skeletons.COCO
clip = next(train.as_numpy_iterator())
{name: getattr(value, "shape", value) for name, value in clip.items() if name != "video"}

# %% [markdown]
# A video is the bytes of its file, which are decoded when its turn comes, and only those frames that a clip has.
# One of each action:

# %%
PANEL_PX = 130


def strip(clip, pixels=None):
    pixels = frame_data.read(clip["video"]) if pixels is None else pixels
    return visualize.video_strip(pixels, clip["keypoints"], clip["scores"], skeleton, panel_height=PANEL_PX)


first_of = {}
for clip in train.as_numpy_iterator():
    first_of.setdefault(int(clip["label"]), clip)
rows = [strip(clip) for _, clip in sorted(first_of.items())]
Image.fromarray(visualize.contact_sheet(rows, columns=1, captions=class_names, gap_px=8))

# %% [markdown]
# ## From a video to what the network sees
# `videos.training` gives batches for ever. Frames and joints are sampled on one clock, cut out by one box, and
# mirrored together. The volume is drawn later, inside the model.

# %%
shapes = {"rgb_shape": (4, SIZE, SIZE, 3), "pose_shape": (16, SIZE // 4, SIZE // 4, 17)}
batches = videos.training(train, skeleton, batch_size=8, seed=0, **shapes)
inputs, labels = next(iter(batches))
print({name: value.shape for name, value in inputs.items()}, labels.shape)

# %% [markdown]
# Two clips of this batch: four frames, and eight of the sixteen frames of the volume.

# %%
rows, captions = [], []
volume = np.asarray(heatmaps.joint_volume(inputs["keypoints"], inputs["scores"], SIZE // 4, SIZE // 4, sigma_px=0.7))
for i in range(2):
    pixels = np.asarray(image_ops.denormalize(inputs["rgb"][i]))
    nobody = np.zeros((0, 4, 17, 2))
    rows += [
        visualize.video_strip(pixels, nobody, None, skeleton, panel_height=160),
        visualize.volume_strip(volume[i], scale=10, skeleton=skeleton),
    ]
    captions += [class_names[labels[i]], ""]
Image.fromarray(visualize.contact_sheet(rows, columns=2, captions=captions))

# %% [markdown]
# ## The network
# `rgbpose_tiny` has a quarter of the published channels and fewer blocks.

# %%
keras.utils.set_random_seed(0)
network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", len(class_names), **shapes)
print(network.input_shape, "->", {name: logits.shape for name, logits in network.output.items()})
print(f"{network.count_params():,} parameters")

# %% [markdown]
# ## Training with `fit` alone
# `training.video_model` draws the volume and adds "fused", the mean of both pathways; every pathway has a loss of
# its own. One step from random weights, to see that it runs:

# %%
model = training.video_model(network, num_keypoints=17)
training.compile_for_actions(model, len(class_names), keras.optimizers.Adam(1e-3))
history = model.fit(training.for_outputs(batches, model), steps_per_epoch=1, epochs=1, shuffle=False, verbose=0)
{name: round(values[-1], 2) for name, values in history.history.items() if "top1" in name or name == "loss"}

# %% [markdown]
# To stop and go on, such a `fit` is given a `training.Resume`, as the notebook of [actions](actions.ipynb) shows.
#
# ## The whole run as one object
# `training.RGBPose` is what `python -m train.rgbpose` calls; its arguments are that script's flags. As in the paper
# there are three stages: a network of frames, one of skeletons, and from these two the one of both. What the work
# folder holds is resumed.

# %%
OPTIONS = {
    "dataset": DATA,
    "size": SIZE,
    "rgb_epochs": 1 if FAST else 3,
    "pose_epochs": 1 if FAST else 6,
    "epochs": 1,
    "rgb_batch_size": 8,
    "pose_batch_size": 8,
    "batch_size": 8,
    "num_clips": 1,  # of a test video; the paper takes 10
    "conditions": ["plain"] if FAST else ["plain", "dark"],
    "seed": 0,
}
run = training.RGBPose(WORKDIR, **OPTIONS)
stages = run.stages()
stage = next(stages)  # the network of frames
stage.model.fit(**stage.arguments())
print(stage.folder.name, stage.done, "of", stage.epochs, "epochs are done")

# %% [markdown]
# As if the process had ended here. The same lines in a new process would find the run in its folder; so does a new
# object, which has nothing left to do for the frames, and goes on with the other two:

# %%
run, curves = training.RGBPose(WORKDIR, **OPTIONS), {}
for stage in run.stages():
    print(stage.folder.name, stage.done, "of", stage.epochs, "epochs are done")
    stage.model.fit(**stage.arguments())
    curves[stage.folder.name] = stage.resume.history

# %% [markdown]
# The loss of all three, by epochs. The last one begins where the two before have ended:

# %%
losses = {
    f"{prefix}{name}": [epoch[f"{prefix}loss"] for epoch in history]
    for name, history in curves.items()
    for prefix in ("", "val_")
}
Image.fromarray(visualize.figure_to_image(visualize.curves_figure(losses)))

# %% [markdown]
# ## Test
# `finish` tests all three on performers who were never seen, as the videos are and at a twentieth of their light,
# with the noise of a sensor. Figures are in per cent; guessing gives 20 with five actions. `late_fusion` is the
# mean of the two networks that know nothing of each other, `both_rgb` and `both_pose` are the pathways of the joint
# one. There are 30 videos, so that one is 3.3 points.

# %%
results = run.finish()

# %% [markdown]
# The same videos as the network has to see them in the dark:

# %%
elements = list(test.as_numpy_iterator())
one = elements[7]
pixels = frame_data.read(one["video"])
dark = videos.darkened(pixels, [0, 0]).numpy()
Image.fromarray(visualize.contact_sheet([strip(one, pixels), strip(one, dark)], columns=1))

# %% [markdown]
# The whole of `puppets/videos`, 14 actions and 896 videos to train with, 40, 24 and 10 epochs (`python -m
# train.rgbpose`): frames alone 44.0 per cent, skeletons alone 90.2, both 92.0; in the dark 7.1, 90.2 and 83.0.
# Frames are hard to learn from few videos.
#
# ## Use
# The predictor takes a video, by path or bytes, and the keypoints of its people:

# %%
recognize = predictors.load(WORKDIR / "model.keras")
rows, captions = [], []
for clip in elements[:20:5]:
    best = recognize(clip["video"], clip["keypoints"], clip["scores"], top=1)[0]
    rows.append(strip(clip))
    captions.append(f"{class_names[clip['label']]}; found: {best.name} {best.probability:.0%}")
Image.fromarray(visualize.contact_sheet(rows, columns=1, captions=captions, gap_px=8))

# %% [markdown]
# `evaluation` tests an estimator on any data set, here on the validation videos:

# %%
evaluation.video_figures(recognize.estimator, videos.from_tfds(DATA, "validation")[0])

# %% [markdown]
# ## Take it away
# The SavedModel takes frames, keypoints and scores. TensorFlow alone loads it.

# %%
path = export.video_saved_model(recognize.estimator, WORKDIR / "saved_model" / "1", overwrite=True)
served = tf.saved_model.load(str(path)).signatures["serving_default"]
request = {"frames": pixels, "keypoints": one["keypoints"], "scores": one["scores"]}
reply = served(**{name: tf.constant(value[None]) for name, value in request.items()})
print(reply["top_class"].numpy(), {name: value.shape for name, value in reply.items()})

# %% [markdown]
# ## Read on
# - [Actions from video and skeleton](../docs/guides/video_and_skeleton.md): own videos, published weights
# - [STAR-Transformer](star_transformer.ipynb): another way to look at both
# - [Training](../docs/guides/training.md): options, resuming, devices
# - [Export and serving](../docs/guides/export_and_serving.md)
