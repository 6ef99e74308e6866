# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bottom-up 2D pose
#
# Who is in the image, and where are their joints? *Bottom-up* means: all joints of all people are found at once,
# and then put together into people. Nobody needs to find boxes first, and ten people cost hardly more than one.
# This notebook trains a Lightweight OpenPose (Osokin, *Real-time 2D Multi-Person Pose Estimation on CPU*, 2018; Cao
# et al., CVPR 2017).
#
# The network sees a whole image. It gives two kinds of fields, an eighth of its size: *heatmaps*, high where any
# person's nose, neck or wrist is, and *part affinity fields*, which have a vector at each place of a limb that
# points along it. Two shoulders and two elbows could be joined in two ways; the vectors between them say which one
# is right.

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
from kerapose.data import people
from kerapose.ops import images as image_ops

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
DATA = "puppets/small_groups"
SIZE = 64 if FAST else 96  # of the images to train on; published: 368
WORKDIR = pathlib.Path("../runs/notebooks/bottom_up")
shutil.rmtree(WORKDIR, ignore_errors=True)  # a run that is found would be gone on with; here we begin anew
for name in ("absl", "tensorflow"):
    logging.getLogger(name).setLevel(logging.ERROR)  # their warnings are about themselves

# %% [markdown]
# ## Data
# `puppets` are drawn people. `puppets/small_groups` has 160 images of one to six of them to train with, a part of
# `puppets/groups`. The command makes it, once, in some twenty seconds.

# %%
command = [sys.executable, "../datasets/build.py", DATA]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
train, skeleton = people.from_tfds(DATA, "train")
test, _ = people.from_tfds(DATA, "test")


def drawn(element):
    pixels = tf.io.decode_jpeg(element["image"]).numpy()
    return visualize.draw_skeletons(pixels, element["keypoints"], element["visibility"] / 2, skeleton)


Image.fromarray(visualize.contact_sheet([drawn(element) for element in train.take(4).as_numpy_iterator()], columns=4))

# %% [markdown]
# ## From an image to what the network learns
# `people.training` gives batches for ever: images scaled, turned and shifted so that one of their people is seen
# well, the fields to be learnt, and a mask that is 0 where people are whom nobody labelled. OpenPose's skeleton has
# a neck, which these people do not: it is put between the shoulders.

# %%
target = skeletons.OPENPOSE
reading = {"target": target, "image_size": (SIZE, SIZE), "sigma_px": 7.0}
augmentation = {"scale_range": (0.8, 1.4), "rotation_degrees": 20.0, "shift_px": 15.0, "color_jitter": 0.2}
batches = people.training(train, skeleton, batch_size=8, seed=0, **reading, **augmentation)
pixels, fields, mask = next(iter(batches))
print("images", pixels.shape, "fields", fields.shape, "mask", mask.shape)
print(target.num_keypoints, "joints and the background,", 2 * target.num_edges, "for", target.num_edges, "limbs")

# %% [markdown]
# Two images of this batch: left the heatmaps of all joints, right the fields of all limbs. An arrow points along
# the limb that it lies on.

# %%
K = target.num_keypoints
shown = np.asarray(image_ops.denormalize(pixels, **image_ops.OPENPOSE_NORMALIZATION))
rows = [
    visualize.draw_fields(
        shown[i], fields[i, ..., : K + 1].numpy(), fields[i, ..., K + 1 :].numpy(), target, panel_height=300
    )
    for i in range(2)
]
Image.fromarray(visualize.contact_sheet(rows, columns=2))

# %% [markdown]
# ## The network
# `openpose_nano` is the published network with a quarter of the channels: a MobileNet, a stage that gives fields, and a
# stage that refines them. All stages are trained, the last one is used.

# %%
outputs = {"num_heatmaps": K + 1, "num_pafs": 2 * target.num_edges}
keras.utils.set_random_seed(0)
network = models.LightweightOpenPose.from_variant("openpose_nano", **outputs)
print(network.input_shape, "->", network.output_shape, f"{network.count_params():,} parameters")

# %% [markdown]
# ## Training with `fit` alone
# `training.fields_model` compiles the network with the loss of all its stages. From there on it is any Keras model. A
# few steps, to see that it runs:

# %%
model = training.fields_model(network, (SIZE, SIZE), keras.optimizers.Adam(1e-3))
history = model.fit(batches, steps_per_epoch=1 if FAST else 5, epochs=1, shuffle=False, verbose=2)

# %% [markdown]
# To stop and go on, such a `fit` is given a `training.Resume`, as the notebook of [actions](actions.ipynb) shows. The
# whole run does so by itself.
#
# ## The whole run as one object
# `training.OpenPose` is what `python -m train.openpose` calls; its arguments are that script's flags. The published
# recipe has three phases, each a stage that begins with what the one before has left; here there is one. What its
# work folder holds is resumed.

# %%
OPTIONS = {
    "dataset": DATA,
    "image_size": SIZE,
    "variant": "openpose_nano",
    "epochs": 2 if FAST else 4,
    "batch_size": 8,
    "smallest_scale": 0.8,
    "shift_px": 15.0,
    "test_height": 64 if FAST else 144,
    "seed": 0,
}
run = training.OpenPose(WORKDIR / "run", **OPTIONS)
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
# `finish` looks for everybody in the test images, whole, and measures as COCO does. AP50 counts who is found
# roughly, AP asks for more and more exactness, too.

# %%
results = run.finish()
{name: results[name] for name in ("images", "people", "people_found")} | {
    name: round(results["coco"][name], 3) for name in ("AP", "AP50")
}

# %% [markdown]
# A minute is short for this: the network has to learn from nothing what people look like, and then what belongs
# together. The whole `puppets/groups` for eight epochs of larger images (`python -m train.openpose`, 20 to 25
# minutes on two cores) reaches AP 0.153 and AP50 0.400. What a minute gives is better seen in the fields than in
# the figures.
#
# ## What it finds
# Left, what the network says of joints and limbs in two test images; right, the people that the grouping makes of
# it.

# %%
find_people = predictors.load(WORKDIR / "run" / "model.keras")
rows = []
for element in test.skip(2).take(3).as_numpy_iterator():
    pixels = tf.io.decode_jpeg(element["image"]).numpy()
    heat, pafs, matrix = (np.asarray(part) for part in find_people.estimator.fields(pixels))
    found = find_people(pixels)
    panel = visualize.draw_fields(pixels, heat, pafs, target, matrix, panel_height=260)
    keypoints = np.reshape([pose.keypoints for pose in found], (-1, K, 2))
    scores = np.reshape([pose.scores for pose in found], (-1, K))
    picture = visualize.draw_skeletons(pixels, keypoints, scores, target, min_score=0.05)
    width = round(260 * picture.shape[1] / picture.shape[0])
    rows += [panel, np.asarray(Image.fromarray(picture).resize((width, 260)))]
    print(len(found), "found,", int((element["visibility"] > 0).any(axis=1).sum()), "labelled")
Image.fromarray(visualize.contact_sheet(rows, columns=2))

# %% [markdown]
# ## Use
# The predictor takes an image, a path or bytes, and gives people, the surest first, each with keypoints by name;
# one that was not found has score 0. In a video, `tracking.Tracker` keeps who is who.

# %%
if found:
    print(found[0]["neck"], found[0]["left_wrist"])

# %% [markdown]
# ## Take it away
# The SavedModel takes the bytes of JPEG or PNG files; the network and the grouping are inside. TensorFlow alone
# loads it.

# %%
path = export.people_saved_model(find_people.estimator, WORKDIR / "saved_model" / "1", overwrite=True)
served = tf.saved_model.load(str(path)).signatures["serving_default"]
reply = served(image_bytes=tf.constant([element["image"]]))
print({name: value.shape for name, value in reply.items()}, "count", reply["count"].numpy())

# %% [markdown]
# ## Read on
# - [Bottom-up 2D pose](../docs/guides/bottom_up.md): phases, crowds, identities over time
# - [From videos to actions](../docs/guides/from_videos_to_actions.md): what comes after the keypoints
# - [Published weights](../docs/guides/published_weights.md): networks of real people
# - [Export and serving](../docs/guides/export_and_serving.md)
