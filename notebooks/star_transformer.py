# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # STAR-Transformer
#
# Frames and joints of a video can also be *tokens* of one transformer: STAR-Transformer (Ahn et al., *A
# Spatio-temporal Cross Attention Transformer for Human Action Recognition*, WACV 2023). A 3D convolutional network
# reads the frames. Each place of its last features is a token; each joint is one, too, made of the features where
# the joint's heatmap is high. Then attention: over all tokens of a frame, and in two sparse patterns over time,
# *zigzag* and *binary*, in which the joints of one frame look at the places of the next, or of the one before.
#
# The network sees frames, `[frames, height, width, 3]`, and a heatmap volume of the same frames, `[frames, height /
# 4, width / 4, joints]`. What it attends to can be looked at, which this notebook does.

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

from kerapose import export, models, predictors, skeletons, training, visualize
from kerapose.data import frames as frame_data
from kerapose.data import videos
from kerapose.ops import heatmaps
from kerapose.ops import images as image_ops

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
DATA = "puppets/small_videos"
SIZE = 32  # of the frames of a clip; the paper has 112
WORKDIR = pathlib.Path("../runs/notebooks/star_transformer")
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
first_of = {}
for clip in train.as_numpy_iterator():
    first_of.setdefault(int(clip["label"]), clip)
rows = [
    visualize.video_strip(frame_data.read(clip["video"]), clip["keypoints"], clip["scores"], skeleton, panel_height=130)
    for _, clip in sorted(first_of.items())
]
Image.fromarray(visualize.contact_sheet(rows, columns=1, captions=class_names, gap_px=8))

# %% [markdown]
# ## From a video to what the network sees
# `videos.training` gives batches for ever: frames and joints of the same moments, cut out by one box and mirrored
# together. The volume is drawn later, inside the model.

# %%
shapes = {"rgb_shape": (8, SIZE, SIZE, 3), "pose_shape": (8, SIZE // 4, SIZE // 4, 17)}
batches = videos.training(train, skeleton, batch_size=8, seed=0, **shapes)
inputs, labels = next(iter(batches))
print({name: value.shape for name, value in inputs.items()}, labels.shape)

volume = np.asarray(heatmaps.joint_volume(inputs["keypoints"], inputs["scores"], SIZE // 4, SIZE // 4, sigma_px=0.7))
rows, captions = [], []
for i in range(2):
    pixels = np.asarray(image_ops.denormalize(inputs["rgb"][i]))
    rows.append(visualize.video_strip(pixels, np.zeros((0, 8, 17, 2)), None, skeleton, panel_height=130))
    rows.append(visualize.volume_strip(volume[i], scale=8, skeleton=skeleton))
    captions += [class_names[labels[i]], ""]
Image.fromarray(visualize.contact_sheet(rows, columns=1, captions=captions))

# %% [markdown]
# ## The network
# `star_tiny` is ours, for two cores. Its tokens are the places of the last features and the joints, frame by frame,
# with class tokens beside them.

# %%
keras.utils.set_random_seed(0)
network = models.STARTransformer.from_variant("star_tiny", len(class_names), rgb_shape=shapes["rgb_shape"])
grid = network.get_layer("grid_features").input.shape
print(network.input_shape, "->", network.output_shape, f"{network.count_params():,} parameters")
print("tokens of a frame:", grid[2], "x", grid[3], "places and", network.num_joints, "joints")

# %% [markdown]
# ## Training with `fit` alone
# `training.video_model` draws the volume and puts the network behind it. `keypoint_weight` adds a loss that teaches
# the features of the frames where the joints are: from few videos a network of frames learns little without it. One
# step, to see that it runs:

# %%
model = training.video_model(network, num_keypoints=17, keypoint_weight=0.5)
training.compile_for_actions(model, len(class_names), keras.optimizers.Adam(1e-3))
history = model.fit(batches, steps_per_epoch=1, epochs=1, shuffle=False, verbose=2)

# %% [markdown]
# To stop and go on, such a `fit` is given a `training.Resume`, as the notebook of [actions](actions.ipynb) shows.
#
# ## The whole run as one object
# `training.StarTransformer` is what `python -m train.star_transformer` calls; its arguments are that script's
# flags. The paper starts from a backbone that was trained on Kinetics. Here the first stage trains one, an MC3 of
# frames alone, and the second one the transformer. What the work folder holds is resumed.

# %%
OPTIONS = {
    "dataset": DATA,
    "size": SIZE,
    "backbone_epochs": 1 if FAST else 3,
    "epochs": 1 if FAST else 3,
    "num_clips": 1,  # of a test video
    "conditions": ["plain"],
    "seed": 0,
}
run = training.StarTransformer(WORKDIR, **OPTIONS)
stage = next(run.stages())  # the backbone
stage.model.fit(**stage.arguments())
print("backbone:", stage.done, "of", stage.epochs, "epochs are done")

# %% [markdown]
# As if the process had ended here. The same lines in a new process would find the run in its folder; so does a new
# object, which has nothing left to do for the backbone:

# %%
run = training.StarTransformer(WORKDIR, **OPTIONS)
curves = []
for stage in run.stages():
    print(stage.done, "of", stage.epochs, "epochs are done")
    stage.model.fit(**stage.arguments())
    curves.append(stage.resume.history)

# %% [markdown]
# Losses and accuracies, first of the backbone, then of the transformer. The loss has the teacher's part in it.

# %%
shown = {
    f"{prefix}{name} {figure}": [epoch[f"{prefix}{figure}"] for epoch in history]
    for name, history in zip(("backbone", "star"), curves, strict=True)
    for figure in ("loss", "top1")
    for prefix in ("", "val_")
}
Image.fromarray(visualize.figure_to_image(visualize.curves_figure(shown)))

# %% [markdown]
# ## Test
# `finish` tests both on performers who were never seen. Figures are in per cent; guessing gives 20 with five
# actions. There are 30 videos, so that one is 3.3 points.

# %%
results = run.finish()

# %% [markdown]
# After so short a training from nothing, both do little better than guessing: it shows how, not how well. The whole
# of `puppets/videos`, 14 actions and 896 videos, for 30 epochs and then 10 (`python -m train.star_transformer`): 54.0
# per cent, where guessing gives 7.1, and the backbone alone 55.4.
#
# ## What it looks at
# The class tokens are what the answer is read from. How much do they look at each place of the frames, and at each
# joint? Heat shows places, the size of a dot shows a joint; where attention is spread evenly, frames stay grey. The
# numbers are the shares of all attention that the places of the frame and its joints get.

# %%
recognize = predictors.load(WORKDIR / "model.keras")
estimator = recognize.estimator
network = estimator.network
reading = {"rgb_shape": network.rgb_shape, "pose_shape": network.pose_shape}
seen, labels = next(iter(videos.evaluation(test, batch_size=10, **reading)))
volume = heatmaps.joint_volume(seen["keypoints"], seen["scores"], *network.pose_shape[1:3], sigma_px=0.7)
maps = network.attention_maps({"rgb": seen["rgb"], "pose": volume})
grid, joints = (np.asarray(maps[name], "float32") for name in ("grid", "joints"))
scale = network.rgb_shape[1] / network.pose_shape[1]
rows = [
    visualize.draw_attention(
        np.asarray(image_ops.denormalize(seen["rgb"][i])),
        grid[i],
        joints[i],
        scale * seen["keypoints"][i].numpy(),
        seen["scores"][i].numpy(),
        skeleton,
        panel_height=150,
    )
    for i in (0, 3, 4)
]
print("from above:", ", ".join(class_names[labels[i]] for i in (0, 3, 4)))
Image.fromarray(visualize.contact_sheet(rows, columns=1))

# %% [markdown]
# ## Use
# The predictor takes a video, by path or bytes, and the keypoints of its people:

# %%
for clip in list(test.as_numpy_iterator())[:10:2]:
    answers = recognize(clip["video"], clip["keypoints"], clip["scores"], top=2)
    print(f"{class_names[clip['label']]:6} found:", ", ".join(f"{name} {share:.0%}" for name, share in answers))

# %% [markdown]
# ## Take it away
# The SavedModel takes frames, keypoints and scores. TensorFlow alone loads it.

# %%
path = export.video_saved_model(estimator, WORKDIR / "saved_model" / "1", overwrite=True)
served = tf.saved_model.load(str(path)).signatures["serving_default"]
request = {"frames": frame_data.read(clip["video"]), "keypoints": clip["keypoints"], "scores": clip["scores"]}
reply = served(**{name: tf.constant(value[None]) for name, value in request.items()})
print(reply["top_class"].numpy(), {name: value.shape for name, value in reply.items()})

# %% [markdown]
# ## Read on
# - [Actions from video and skeleton](../docs/guides/video_and_skeleton.md): own videos, published weights
# - [RGBPose-Conv3D](video_and_skeleton.ipynb): frames and joints in two pathways
# - [Training](../docs/guides/training.md): options, resuming, devices
# - [Export and serving](../docs/guides/export_and_serving.md)
