# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Actions from skeletons
#
# Somebody has found the keypoints of a person in every frame of a video. This notebook trains a network that names
# what the person does, as PoseConv3D does it (Duan et al., *Revisiting Skeleton-based Action Recognition*, CVPR
# 2022).
#
# The network sees no coordinates. Every keypoint of every frame is drawn as a small Gaussian, each kind of joint in
# a channel of its own. The frames are stacked, and what comes out is a *heatmap volume*, `[frames, height, width,
# joints]`, a video of joints. A 3D convolutional network reads it as it would read a video. Drawn this way, a joint
# that was found a little off the mark moves its spot a little, a joint that is not sure is drawn faintly, and two
# people are drawn into the same volume.

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

from kerapose import evaluation, export, metrics, models, predictors, skeletons, training, visualize
from kerapose.data import clips
from kerapose.ops import heatmaps

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
DATA = "puppets/small_clips"
FRAMES, SIZE = (8, 16) if FAST else (16, 16)  # of a volume; the paper has 48 frames of 56 x 56
WORKDIR = pathlib.Path("../runs/notebooks/actions")
shutil.rmtree(WORKDIR, ignore_errors=True)  # a run that is found would be gone on with; here we begin anew
for name in ("absl", "tensorflow"):
    logging.getLogger(name).setLevel(logging.ERROR)  # their warnings are about themselves

# %% [markdown]
# ## Data
# `puppets` are animated people, with keypoints as a detector would find them: not quite where the joints are, some
# lost, sometimes with left and right exchanged. `puppets/small_clips` has five of their fourteen actions. The
# command makes it, once.

# %%
command = [sys.executable, "../datasets/build.py", DATA]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
train, info = clips.from_tfds(DATA, "train")
validation, _ = clips.from_tfds(DATA, "validation")
test, _ = clips.from_tfds(DATA, "test")
class_names, skeleton = info.features["label"].names, skeletons.COCO

first_of = {}  # a clip of each action, by label
for clip in train.as_numpy_iterator():
    first_of.setdefault(int(clip["label"]), clip)
clip = first_of[class_names.index("kick")]
{name: getattr(value, "shape", value) for name, value in clip.items()}

# %% [markdown]
# Keypoints are pixels of the frame, x first: `[people, frames, joints, 2]`. Clips have any number of frames, and
# people in other data sets any number, too. Here is one clip of each action, eight frames of it:

# %%
NUM_SHOWN = 8


def strip(clip):
    people = clip["keypoints"], clip["scores"]
    return visualize.clip_strip(*people, skeleton, clip["frame_size"], NUM_SHOWN, panel_height=150)


Image.fromarray(
    visualize.contact_sheet(
        [strip(clip) for _, clip in sorted(first_of.items())], columns=1, captions=class_names, gap_px=12
    )
)

# %% [markdown]
# ## From a clip to what the network sees
# `clips.training` gives batches for ever: it draws frames evenly over the whole clip, cuts out where the person is,
# scales, and mirrors every second clip. The volume is drawn later, inside the model, where the accelerator is. A
# mirror turns a left kick into a right one, which is a kick all the same; classes such as `wave_left` change
# places.

# %%
sizes = {"num_frames": FRAMES, "size": (SIZE, SIZE)}
batches = clips.training(train, skeleton, batch_size=16, seed=0, **sizes)
inputs, labels = next(iter(batches))
print({name: value.shape for name, value in inputs.items()}, labels.shape)

volume = heatmaps.joint_volume(inputs["keypoints"], inputs["scores"], SIZE, SIZE)
print("volumes", volume.shape)

# %% [markdown]
# Three volumes of this batch, eight of their frames, with the skeletons that they were drawn from. This
# small cube of numbers is all that the network knows about a clip.

# %%
rows = [
    visualize.volume_strip(
        np.asarray(volume[i]),
        keypoints=inputs["keypoints"][i].numpy(),
        scores=inputs["scores"][i].numpy(),
        skeleton=skeleton,
    )
    for i in range(3)
]
Image.fromarray(
    visualize.contact_sheet(rows, columns=1, captions=[class_names[label] for label in labels[:3]], gap_px=8)
)

# %% [markdown]
# ## The network
# `c3d_tiny` is the paper's C3D-light with half the channels, and it halves the frames, too. Here it has half of these
# channels again, to be trained in a minute. `models.SlowOnly` and `models.X3D` take the same volumes.

# %%
keras.utils.set_random_seed(0)
network = models.C3D.from_variant("c3d_tiny", len(class_names), input_shape=(FRAMES, SIZE, SIZE, 17), base_filters=8)
print(network.input_shape, "->", network.output_shape, f"{network.count_params():,} parameters")

# %% [markdown]
# ## Training with `fit` alone
# A model from clips to logits is the volume layer and the network. It is trained as any Keras model is. `Resume` is
# a callback that keeps the whole state after each epoch.

# %%
STEPS = 1 if FAST else 5


def compiled_model():
    keras.utils.set_random_seed(0)
    network = models.C3D.from_variant(
        "c3d_tiny", len(class_names), input_shape=(FRAMES, SIZE, SIZE, 17), base_filters=8
    )
    model = training.action_model(network, skeleton)  # from keypoints to logits
    training.compile_for_actions(model, len(class_names), keras.optimizers.SGD(0.02, momentum=0.9))
    return model


def fit_until(epochs):
    model = compiled_model()
    resume = training.Resume(WORKDIR / "by_hand")
    done = resume.restore(model)
    print(f"{done} epochs are done")
    batches = clips.training(train, skeleton, batch_size=16, seed=0, first_step=done * STEPS, **sizes)
    model.fit(
        batches, steps_per_epoch=STEPS, initial_epoch=done, epochs=epochs, shuffle=False, callbacks=[resume], verbose=0
    )


fit_until(1)

# %% [markdown]
# Called again, with a new model that knows nothing, it goes on where it was: with the weights, with the momentum of
# the optimizer, and with the batches that come next. `Resume` prints a line for each epoch.

# %%
fit_until(2)

# %% [markdown]
# ## The whole run as one object
# `training.PoseConv3D` is what `python -m train.poseconv3d` calls. Its arguments are that script's flags. It brings
# the learning rate's schedule, the validation that chooses the best weights, the test of the paper, and the file
# that is left. What its work folder holds is resumed.

# %%
OPTIONS = {
    "dataset": DATA,
    "num_frames": FRAMES,
    "size": SIZE,
    "base_filters": 8,  # half of the variant's own
    "epochs": 2 if FAST else 14,
    "batch_size": 16,
    "num_clips": 1 if FAST else 2,  # of a test sequence; the paper takes 10
    "seed": 0,
}
run = training.PoseConv3D(WORKDIR / "run", **OPTIONS)
(stage,) = run.stages()  # two if joints and limbs have a network each (modality="both")
stage.model.fit(**(stage.arguments() | {"epochs": OPTIONS["epochs"] // 2}))
print(stage.done, "of", stage.epochs, "epochs are done")

# %% [markdown]
# Half way, as if the process had ended here. The same lines in a new process would find the run in its folder; so
# does a new object:

# %%
run = training.PoseConv3D(WORKDIR / "run", **OPTIONS)
for stage in run.stages():
    print(stage.done, "of", stage.epochs, "epochs are done")
    stage.model.fit(**stage.arguments())

# %% [markdown]
# The curves of all epochs, those before the interruption and those after it: there is no seam.

# %%
shown = ("loss", "val_loss", "top1", "val_top1")
history = {name: [epoch[name] for epoch in stage.resume.history] for name in shown}
Image.fromarray(visualize.figure_to_image(visualize.curves_figure(history)))

# %% [markdown]
# ## Test
# `finish` tests the best weights on performers who were never seen, and writes `model.keras`. `top1` is the share
# of clips that are named rightly; guessing gives 0.2 with five actions.

# %%
results = run.finish()
results["joint"]

# %% [markdown]
# Which actions are taken for which? The tests of `evaluation` take an estimator and a data set:

# %%
recognize = predictors.load(WORKDIR / "run" / "model.keras")  # it knows its skeleton, classes and sizes
truth, probabilities = evaluation.action_probabilities(recognize.estimator, test)
found = probabilities.argmax(axis=-1)
matrix = metrics.confusion_matrix(truth, found, len(class_names))
Image.fromarray(visualize.figure_to_image(visualize.confusion_matrix_figure(matrix, class_names)))

# %% [markdown]
# This is a small training of five actions. On all fourteen, `python -m train.poseconv3d` takes about ten minutes on
# two cores and names 92.6 % of the test clips rightly; a linear classifier on coordinates names 70.8 %, guessing
# 7.1 %.
#
# ## Use
# The predictor takes keypoints, scores and the size of the frame as anything has found them. Four test clips, and
# what it makes of them; the first are ones that it got wrong, if there are any:

# %%
elements = list(test.as_numpy_iterator())
chosen = [*np.flatnonzero(found != truth)[:2], *np.flatnonzero(found == truth)[:4]][:4]
rows, captions = [], []
for i in chosen:
    best = recognize(elements[i]["keypoints"], elements[i]["scores"], tuple(elements[i]["frame_size"]), top=1)[0]
    rows.append(strip(elements[i]))
    captions.append(f"{class_names[truth[i]]}; found: {best.name} {best.probability:.0%}")
Image.fromarray(visualize.contact_sheet(rows, columns=1, captions=captions, gap_px=12))

# %% [markdown]
# ## Take it away
# The SavedModel takes plain keypoints of any length: sampling, cropping and volumes are inside. TensorFlow alone
# loads it, and TensorFlow Serving serves it.

# %%
path = export.saved_model(recognize.estimator, WORKDIR / "saved_model" / "1", overwrite=True)
served = tf.saved_model.load(str(path)).signatures["serving_default"]
one = elements[chosen[-1]]
answer = served(**{name: tf.constant(one[name][None]) for name in ("keypoints", "scores", "frame_size")})
answer["top_class"].numpy(), answer["probabilities"].numpy().max()

# %% [markdown]
# ## Read on
# - [Actions from skeletons](../docs/guides/actions.md): own clips, limb volumes and fusion, depth sensors
# - [From videos to actions](../docs/guides/from_videos_to_actions.md): where keypoints come from
# - [Training](../docs/guides/training.md): options, resuming, devices
# - [Export and serving](../docs/guides/export_and_serving.md)
