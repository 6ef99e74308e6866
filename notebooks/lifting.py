# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3D from 2D
#
# A detector has found somebody's keypoints in every frame of a video, in pixels. Where are the joints in space? One
# frame leaves that open: an arm that looks short may point at the camera or away from it. Several frames tell more,
# since bodies move as bodies do. This notebook trains a *temporal lifter*, as VideoPose3D has it (Pavllo et al.,
# *3D Human Pose Estimation in Video with Temporal Convolutions and Semi-supervised Training*, CVPR 2019).
#
# The network sees no image: only the keypoints of 27 frames in a row, `[27, joints, 2]`. It gives the pose of the
# frame in the middle, `[1, joints, 3]`, in metres from the hip, as the camera sees it: x right, y down, z away.

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
from IPython import display
from PIL import Image

from kerapose import evaluation, export, losses, models, predictors, training, visualize
from kerapose.data import tracks

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
DATA = "puppets/small_tracks"
WORKDIR = pathlib.Path("../runs/notebooks/lifting")
shutil.rmtree(WORKDIR, ignore_errors=True)  # a run that is found would be gone on with; here we begin anew
for name in ("absl", "tensorflow"):
    logging.getLogger(name).setLevel(logging.ERROR)  # their warnings are about themselves

# %% [markdown]
# ## Data
# `puppets/small_tracks` are animated people who walk about and do things before four cameras. Of every frame there
# are the keypoints that a detector would find, and the true pose. The command makes it, once.

# %%
command = [sys.executable, "../datasets/build.py", DATA]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
train = tracks.from_tfds(DATA, "train")
test = tracks.from_tfds(DATA, "test")
print(train, test, sep="\n")
print(sorted(set(train.actions)))

# %% [markdown]
# A track is one person in one camera. Above, the keypoints of eight frames; below, the true poses, seen from a
# little above and to the side. The grid is the floor.

# %%
known = test.select(names=test.names[:1])
track = next(iter(tracks.sequences(known)))
skeleton, pose_skeleton = test.skeleton, test.pose_skeleton
print({name: getattr(value, "shape", value) for name, value in track.items()})

height, width = (int(side) for side in known.frame_sizes[0])
keypoints = (track["keypoints_screen"] + [1, height / width]) * width / 2  # as a detector gave them, in pixels
Image.fromarray(
    visualize.lift_strip(
        keypoints[40:120], track["poses_m"][40:120], skeleton, pose_skeleton, num_frames=8, panel_height=200
    )
)

# %% [markdown]
# ## From a track to what the network sees
# Pixels say little where pictures differ in size, so keypoints are normalized: x goes from -1 to 1 over the width
# of the frame, y with it. At the ends of a track the first and the last frame are repeated. `tracks.training` gives
# batches for ever, every window also as its mirror image.

# %%
WIDTHS, CHANNELS = (3, 3, 3), 16 if FAST else 128  # the paper has (3, 3, 3, 3, 3), which is 243 frames, and 1024
network = models.TemporalLifter(filter_widths=WIDTHS, channels=CHANNELS, dropout=0.1, strided=True)
batches = tracks.training(train, network.receptive_field, batch_size=256, seed=0)
windows, poses_m = next(iter(batches))
print("windows", windows.shape, "poses", poses_m.shape)
print("windows between", windows.numpy().min(), "and", windows.numpy().max())

# %% [markdown]
# ## The network
# Convolutions over time, whose reach triples from block to block. For training on single frames they stride, and
# nothing is computed that no answer needs; for whole tracks the same weights are dilated (`network.as_form()`).

# %%
print(network.receptive_field, "frames,", f"{network.count_params():,} parameters")
print("strided", network.input_shape, "->", network.output_shape)
print("dilated", network.as_form().input_shape, "->", network.as_form().output_shape)

# %% [markdown]
# ## Training with `fit` alone
# The loss is the mean distance of a joint from where it should be: MPJPE, here in metres. A mean pose would reach
# about 0.21.

# %%
keras.utils.set_random_seed(0)
network = models.TemporalLifter(filter_widths=WIDTHS, channels=CHANNELS, dropout=0.1, strided=True)
network.compile(keras.optimizers.Adam(1e-3), losses.MPJPE())
history = network.fit(batches, steps_per_epoch=1 if FAST else 50, epochs=2, verbose=2)

# %% [markdown]
# A hundred steps, and it is far better than the mean pose. `training.Resume` makes such a `fit` one that is gone on
# with ([Training](../docs/guides/training.md)); the whole run does so by itself.
#
# ## The whole run as one object
# `training.Lifter` is what `python -m train.lifter` calls; its arguments are that script's flags.

# %%
OPTIONS = {
    "dataset": DATA,
    "frame_step": 30 if FAST else 1,  # every how manyth frame is taken
    "filter_widths": WIDTHS,
    "channels": CHANNELS,
    "epochs": 2 if FAST else 6,
    "lr_decay": 0.7,  # of the learning rate, after each epoch
    "seed": 0,
}
run = training.Lifter(WORKDIR, **OPTIONS)
(stage,) = run.stages()
stage.model.fit(**(stage.arguments() | {"epochs": OPTIONS["epochs"] // 2}))
print(stage.done, "of", stage.epochs, "epochs are done")

# %% [markdown]
# Half way, as if the process had ended here. The same lines in a new process would find the run in its folder; so
# does a new object, and goes on with the next epoch:

# %%
run = training.Lifter(WORKDIR, **OPTIONS)
for stage in run.stages():
    print(stage.done, "of", stage.epochs, "epochs are done")
    stage.model.fit(**stage.arguments())

# %%
curves = {"mpjpe_mm": [], "val_mpjpe_mm": []}
for epoch in stage.resume.history:
    for name, values in curves.items():
        values.append(epoch[name])
Image.fromarray(visualize.figure_to_image(visualize.curves_figure(curves)))

# %% [markdown]
# ## Test
# `finish` lifts the whole tracks of performers who were never seen, each together with its mirror image. MPJPE is
# the mean distance of a joint in millimetres; P-MPJPE after the pose was turned, moved and scaled onto the true
# one, so it tells how wrong the shape is; MPJVE compares how far joints move from frame to frame.

# %%
results = run.finish()

# %% [markdown]
# What to compare it with, on the same test tracks: the mean pose gives 211.9 mm, a linear regression from one frame
# 92.3. `python -m train.lifter` with its defaults, a few minutes on two cores, gives 50.4 mm (means over actions,
# all frames).
#
# ## What it finds
# `evaluation.lifted_tracks` has every track with its poses, of which we take the one from above. The true pose is
# grey; the number below is the mean distance of the joints in this frame.

# %%
lift = predictors.load(WORKDIR / "model.keras")
(found, *_) = evaluation.lifted_tracks(lift.estimator, known)
Image.fromarray(
    visualize.lift_strip(
        keypoints[40:120],
        found["predicted"][40:120],
        skeleton,
        pose_skeleton,
        truth_m=found["truth"][40:120],
        num_frames=8,
        panel_height=200,
    )
)

# %% [markdown]
# From the camera's own side a lifted pose nearly always looks right. It is from other sides that one sees whether
# depth is. So here the viewer walks round:

# %%
shown = range(40, 44) if FAST else range(40, 120, 2)
pictures = [
    Image.fromarray(
        visualize.draw_pose_3d(
            found["predicted"][frame],
            pose_skeleton,
            found["truth"][frame],
            azimuth=360 * i / len(shown),
            panel_height=300,
        )
    )
    for i, frame in enumerate(shown)
]
pictures[0].save(WORKDIR / "turning.gif", save_all=True, append_images=pictures[1:], duration=80, loop=0)
display.Image(WORKDIR / "turning.gif")

# %% [markdown]
# The same to be turned with the mouse, and played:

# %%
visualize.interactive_poses(
    found["predicted"][40:100:2], pose_skeleton, truth_m=found["truth"][40:100:2], fps=12, title=known.names[0]
)

# %% [markdown]
# ## Use
# The predictor takes pixels and the size of the frame. Keypoints of another set are converted, gaps are filled:
# `predictors.load(path, skeleton=skeletons.COCO)` takes what a COCO detector gives.

# %%
answer = lift(keypoints, frame_size=(height, width))
print(answer.poses_m.shape, "left wrist in the first frame:", np.round(answer["left_wrist"][0], 2), "m from the hip")

# %% [markdown]
# ## Take it away
# The SavedModel takes whole tracks of any length, with their gaps. TensorFlow alone loads it.

# %%
path = export.lifter_saved_model(lift.estimator, WORKDIR / "saved_model" / "1", overwrite=True)
served = tf.saved_model.load(str(path)).signatures["serving_default"]
request = {
    "keypoints": keypoints[None],
    "scores": np.ones(keypoints[None, ..., 0].shape),
    "frame_size": [[height, width]],
}
reply = served(
    **{name: tf.cast(value, "int32" if name == "frame_size" else "float32") for name, value in request.items()}
)
print(reply["poses_m"].shape, "at most", np.abs(reply["poses_m"][0] - answer.poses_m).max(), "m from the predictor's")

# %% [markdown]
# ## Read on
# - [3D from 2D](../docs/guides/lifting.md): own tracks, few labels, trajectories, frame by frame as they come
# - [Training](../docs/guides/training.md): options, resuming, devices
# - [Export and serving](../docs/guides/export_and_serving.md)
