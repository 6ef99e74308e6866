# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Top-down 2D pose
#
# Where in an image are somebody's nose, shoulders, wrists and ankles? *Top-down* means: the people are found first,
# each by a box, and then the keypoints of each, one person after another. This notebook trains a SimpleBaseline
# (Xiao et al., *Simple Baselines for Human Pose Estimation and Tracking*, ECCV 2018): a ResNet, and three layers
# that enlarge its features.
#
# The network sees a *crop*, the person cut out of the image and scaled to one size, `[height, width, 3]`. It gives
# a *heatmap* for each joint, `[height / 4, width / 4, joints]`: high where it believes the joint to be, low
# elsewhere. The peak, brought back into the image, is the keypoint.

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

from kerapose import export, models, predictors, training, visualize
from kerapose.data import crops, people
from kerapose.ops import images as image_ops

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
DATA = "puppets/small_images"
SIZE = (32, 32) if FAST else (64, 64)  # of a crop; the paper has 256 x 192
WORKDIR = pathlib.Path("../runs/notebooks/top_down")
shutil.rmtree(WORKDIR, ignore_errors=True)  # a run that is found would be gone on with; here we begin anew
for name in ("absl", "tensorflow"):
    logging.getLogger(name).setLevel(logging.ERROR)  # their warnings are about themselves

# %% [markdown]
# ## Data
# `puppets` are drawn people in clothes, in rooms and landscapes, with up to two others beside them.
# `puppets/small_images` has 400 images to train with, a part of `puppets/images`. The command makes it, once, in
# some twenty seconds.

# %%
command = [sys.executable, "../datasets/build.py", DATA]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
train, skeleton = crops.from_tfds(DATA, "train")
test, _ = crops.from_tfds(DATA, "test")
person = next(train.as_numpy_iterator())
{name: getattr(value, "shape", value) for name, value in person.items() if name != "image"}

# %% [markdown]
# An element is one person: the image, still encoded, the keypoints in its pixels, whether each is seen (2), hidden
# (1) or not there (0), and the box. Six images with all that is known of them:

# %%
drawn = []
for image in people.from_tfds(DATA, "train")[0].take(6).as_numpy_iterator():
    pixels = tf.io.decode_jpeg(image["image"]).numpy()
    drawn.append(
        visualize.draw_skeletons(pixels, image["keypoints"], image["visibility"] / 2, skeleton, boxes=image["box"])
    )
Image.fromarray(visualize.contact_sheet(drawn, columns=3))

# %% [markdown]
# ## From a person to what the network sees
# `crops.training` gives batches for ever: each person is cut out with some room around, scaled, turned and mirrored
# at random. With the crops come the heatmaps to be learnt, and weights that are 0 for joints that nobody labelled.

# %%
cut = {"image_size": SIZE, "sigma_px": 1.2, "codec": "dark"}
cut |= {"rotation_degrees": 30.0, "scale_factor": 0.25, "half_body_probability": 0.0, "color_jitter": 0.2}
batches = crops.training(train, skeleton, batch_size=16, seed=0, **cut)
crop, heatmaps, weights = next(iter(batches))
print("crops", crop.shape, "heatmaps", heatmaps.shape, "weights", weights.shape)

# %% [markdown]
# Eight crops of this batch, with the heatmaps of all joints laid over them, each in the colour of its joint:

# %%
pixels = np.asarray(image_ops.denormalize(crop))
sheet = [visualize.draw_heatmaps(pixels[i], heatmaps[i].numpy() * weights[i].numpy(), skeleton) for i in range(8)]
larger = [np.asarray(Image.fromarray(picture).resize((128, 192))) for picture in sheet]
Image.fromarray(visualize.contact_sheet(larger, columns=8))

# %% [markdown]
# ## The network
# `resnet18_nano` is a ResNet-18 with a quarter of the channels, small enough for two cores. `models.HRNet` and
# `models.StackedHourglass` take the same crops.

# %%
keras.utils.set_random_seed(0)
network = models.SimpleBaseline.from_variant("resnet18_nano", skeleton.num_keypoints, image_shape=(*SIZE, 3))
print(network.input_shape, "->", network.output_shape, f"{network.count_params():,} parameters")

# %% [markdown]
# ## Training with `fit` alone
# `training.heatmap_model` compiles a network with the paper's loss and a figure, "pck": the share of joints whose
# heatmap peaks near enough. From there on it is any Keras model. A few steps, to see that it runs:

# %%
model = training.heatmap_model(network, keras.optimizers.Adam(1e-3))
history = model.fit(batches, steps_per_epoch=1 if FAST else 5, epochs=1, shuffle=False, verbose=2)

# %% [markdown]
# To stop and go on, such a `fit` is given a `training.Resume`, as the notebook of [actions](actions.ipynb) shows. The
# whole run does so by itself.
#
# ## The whole run as one object
# `training.TopDown` is what `python -m train.topdown` calls; its arguments are that script's flags. It brings the
# schedule of the learning rate, the validation that chooses the best weights, the test, and the file that is left.
# What its work folder holds is resumed.

# %%
OPTIONS = {
    "dataset": DATA,
    "image_height": SIZE[0],
    "image_width": SIZE[1],
    "variant": "resnet18_nano",
    "epochs": 2 if FAST else 8,
    "batch_size": 32,
    "learning_rate": 4e-3,
    "sigma_px": 1.2,
    "rotation_probability": 0,  # of turning a crop: nobody here lies or stands on their head
    "seed": 0,
}
run = training.TopDown(WORKDIR / "run", **OPTIONS)
for stage in run.stages():
    stage.model.fit(**stage.arguments())
print(stage.done, "of", stage.epochs, "epochs are done")

# %% [markdown]
# Had the process ended on the way, the same lines would have found the run in its folder and gone on after the last
# epoch that was done. The curves of all epochs:

# %%
history = {name: [epoch[name] for epoch in stage.resume.history] for name in stage.resume.history[0]}
Image.fromarray(visualize.figure_to_image(visualize.curves_figure(history)))

# %% [markdown]
# ## Test
# `finish` tests the best weights on performers who were never seen, in their true boxes, each crop together with
# its mirror image. `pixel_error` is the mean distance from the truth, in pixels of the image; `pck@0.2` the share
# of joints nearer to it than a fifth of the box's longer side; `pckh@0.5` the share nearer than half a head.

# %%
results = run.finish()
{name: results[name] for name in ("people", "pixel_error", "pck@0.2", "pckh@0.5")}

# %% [markdown]
# For comparison: the mean pose, put into every box of `puppets/images`, has PCKh@0.5 of 0.296: so short a training
# learns where people's joints usually are, and little more. The whole `puppets/images` for twelve epochs of larger
# crops (`python -m train.topdown`, 10 to 15 minutes on two cores) reaches 0.501, PCK@0.2 of 0.896 and a pixel error of
# 14.8. Networks of real people start from ImageNet's weights and see a hundred times as many.
#
# Some joints are found more easily than others:

# %%
for joint, figures in results["joints"].items():
    print(f"{joint:15} {figures['pck@0.2']:6.1%} " + "#" * round(40 * figures["pck@0.2"]))

# %% [markdown]
# ## What it finds
# `finish` has drawn some test people: the truth, what was found, with white lines from each joint to where it
# should be, and the heatmaps. Where the heatmap of a joint has two places, or none, the network does not know.

# %%
Image.open(WORKDIR / "run" / "predictions.png")

# %% [markdown]
# ## Use
# The predictor takes an image and boxes, and gives keypoints in pixels of the image by their names. Left the truth,
# right what it finds:

# %%
find_pose = predictors.load(WORKDIR / "run" / "model.keras")
pairs = []
for image in people.from_tfds(DATA, "test")[0].skip(12).take(3).as_numpy_iterator():
    pixels = tf.io.decode_jpeg(image["image"]).numpy()
    poses = find_pose(pixels, boxes=image["box"])
    pairs.append(visualize.draw_skeletons(pixels, image["keypoints"], image["visibility"] / 2, skeleton))
    found = np.stack([pose.keypoints for pose in poses]), np.stack([pose.scores for pose in poses])
    pairs.append(visualize.draw_skeletons(pixels, *found, skeleton, min_score=0.1))
print("left wrist:", poses[0]["left_wrist"])
Image.fromarray(visualize.contact_sheet(pairs, columns=2))

# %% [markdown]
# ## Take it away
# The SavedModel takes the bytes of JPEG or PNG files, and boxes: decoding, cropping and the way back are inside.
# TensorFlow alone loads it.

# %%
path = export.pose_saved_model(find_pose.estimator, WORKDIR / "saved_model" / "1", overwrite=True)
served = tf.saved_model.load(str(path)).signatures["serving_default"]
reply = served(image_bytes=tf.constant([image["image"]]), boxes=tf.constant(image["box"][None]))
print({name: value.shape for name, value in reply.items()})
print("at most", np.abs(reply["keypoints"][0] - found[0]).max(), "px from the predictor's")

# %% [markdown]
# ## Read on
# - [Top-down 2D pose](../docs/guides/top_down.md): networks, codecs, COCO and MPII, detectors
# - [Your own data](../docs/guides/own_data.md): keypoints of your own, of people or anything else
# - [Training](../docs/guides/training.md): options, resuming, devices
# - [Export and serving](../docs/guides/export_and_serving.md)
