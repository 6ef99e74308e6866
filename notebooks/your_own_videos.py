# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own videos
#
# A folder of videos, and a table that says what is done in each: that is all that a recognizer of actions is trained
# from. In between stand skeletons. Whoever is in a video is found once, frame by frame; the network of actions sees
# nothing but the keypoints.
#
# | step | in a shell | here |
# | --- | --- | --- |
# | videos to skeletons | `kerapose extract` | `kerapose.Pipeline`, `extraction.extract` |
# | skeletons to a data set | `datasets/build.py pyskl_clips/...` | the same |
# | training | `python -m train.poseconv3d` | `training.PoseConv3D` |
# | new videos | `kerapose predict` | `kerapose.Pipeline` |

# %%
import contextlib
import csv
import functools
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from absl import logging
from PIL import Image

import kerapose
from kerapose import predictors, skeletons, training, visualize
from kerapose.data import clips, frames, labels, videos
from kerapose.pipeline import extraction

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
WORKDIR = pathlib.Path("../runs/notebooks/your_own_videos")
MINE = WORKDIR / "mine"  # the folder that stands for yours
shutil.rmtree(WORKDIR, ignore_errors=True)
logging.set_verbosity(logging.ERROR)  # TFDS warns of what is usual here

# %% [markdown]
# ## A folder as you would have it
# If you have one, skip this section. Here some videos of `puppets`, drawn people, are written as MP4 files, with
# `labels.csv` beside them. `subject` is the person who is seen; it may be left out.

# %%
command = [sys.executable, "../datasets/build.py", "puppets/small_videos"]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
(MINE / "videos").mkdir(parents=True)
rows, found_before = [], {}  # the lines of the table; of each video what a detector has found in it
for split in ("train", "test"):
    filmed, info = videos.from_tfds("puppets/small_videos", split)
    for clip in filmed.take(20 if FAST else -1).as_numpy_iterator():
        subject, action = clip["name"].decode().split("_")[0], info.features["label"].int2str(clip["label"])
        path = MINE / "videos" / f"{len(rows):03d}.mp4"
        path.write_bytes(clip["video"])
        rows.append({"video": path.name, "label": action, "subject": subject, "split": split})
        found_before[path] = clip["keypoints"], clip["scores"]  # [1, T, 17, 2] pixels, [1, T, 17]
with open(MINE / "labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
print(*(MINE / "labels.csv").read_text().splitlines()[:4], sep="\n")
len(rows), "videos"

# %% [markdown]
# ## Who finds the people
# Usually a published network: `kerapose.Pipeline(pose="openpose_omz")` finds everybody in a frame, without a detector.
# Its file, 4 MB, is fetched from its publisher when it is first asked for. `presets.names("top-down pose")` are slower
# and more exact, and want a `detector`.
#
# This notebook runs without a network connection, and so without published files. `pose` may be any function from an
# image to a list of `predictors.Pose`. Ours finds nothing: it knows the frames of our videos, and gives the keypoints
# that the data set has of them, which are as inexact as those of a detector. All else is as it is with a network.


# %%
class Known:
    """Stands in for a network of poses, for frames that it has been told of."""

    skeleton = skeletons.COCO

    def __init__(self, found_before):
        self.poses = {}
        for path, (keypoints, scores) in found_before.items():
            for number, image in enumerate(frames.iterate(path)):
                self.poses[hashlib.sha1(image.tobytes()).digest()] = keypoints[0, number], scores[0, number]

    def __call__(self, image):
        keypoints, scores = self.poses[hashlib.sha1(image.tobytes()).digest()]  # [17, 2], [17]
        if not scores.any():
            return []
        seen = keypoints[scores > 0]
        box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
        return [predictors.Pose(keypoints, scores, self.skeleton.keypoints, box)]


find_people = Known(found_before)  # yours: "openpose_omz"
pipeline = kerapose.Pipeline(pose=find_people, min_score=0.1)
result = pipeline(MINE / "videos" / "000.mp4")
print(len(result.moments), "frames;", len(result.people), "people;", result.people[0].keypoints.shape)
strip = [picture for number, picture in enumerate(result.draw()) if number % 3 == 0][:8]
Image.fromarray(visualize.contact_sheet(strip, columns=8))

# %% [markdown]
# ## The skeletons of all videos
# `extract` finds the people of one video after the other and writes a file for each, so that it goes on where it was
# killed. Of the people in a video those are chosen who are seen longest and surest, and move. What comes out is a file
# in the form of PYSKL and MMAction2, with the splits, and the names of the classes. In a shell all of this is one line:
#
# ```bash
# kerapose extract videos --labels=labels.csv --model=openpose_omz --output=clips
# ```

# %%
paths = frames.named([MINE / "videos"])
known = labels.matched(labels.read_labels(MINE / "labels.csv"), paths)
make = functools.partial(kerapose.Pipeline, find_people, min_score=0.1)
with contextlib.redirect_stderr(io.StringIO()):  # a line for each video
    extraction.extract(paths, known, make, MINE / "clips", {"model": "known frames"})
print(*sorted(path.name for path in (MINE / "clips").iterdir()))
json.loads((MINE / "clips" / "report.json").read_text())

# %% [markdown]
# The file is read as any annotations are. A label that is missing, a video that breaks off, a clip that shows nobody:
# what is wrong is named in the report or by `check`.

# %%
dataset = clips.from_pyskl(MINE / "clips" / "annotations.pkl", "train", skeletons.COCO)
class_names = (MINE / "clips" / "classes.txt").read_text().split()
print(clips.check(dataset, skeletons.COCO, num_classes=len(class_names)), "clips of", class_names)

# %% [markdown]
# ## Train
# A data set of one's own is prepared once; after that, the training knows it by name.

# %%
DATASETS = WORKDIR / "datasets"
command = [sys.executable, "../datasets/build.py", "pyskl_clips/mine", f"--data_dir={DATASETS}", "--skeleton=coco"]
command += [f"--file={MINE}/clips/annotations.pkl", f"--class_names={MINE}/clips/classes.txt"]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
run = training.PoseConv3D(
    WORKDIR / "run",
    dataset="pyskl_clips/mine",
    data_dir=str(DATASETS),
    validation_split="",  # too few for one: the last weights count
    num_frames=12,
    size=16,
    base_filters=8,
    epochs=1 if FAST else 20,
    batch_size=16,
    num_clips=2,
    seed=0,
)
for stage in run.stages():
    stage.model.fit(**stage.arguments() | {"verbose": 2})
results = run.finish()
results["joint"]

# %% [markdown]
# `top1` is the share of test videos whose action is named rightly; guessing gives 0.2 with five actions. The people in
# them were never seen in training. Eighty short videos are very few. With all of puppets' videos, and keypoints found
# by `openpose_omz`, which had never seen a drawn figure, 43 % of 14 actions are named rightly; 74 % with these
# keypoints.
#
# ## What happens in a new video?
# The whole way is one object again. A recognizer looks at windows that slide over the video, so a long one has many
# actions, each with its times; of a short one, the window is all there is.

# %%
pipeline = kerapose.Pipeline(
    pose=find_people, action=WORKDIR / "run" / "model.keras", min_score=0.1, min_probability=0.3
)
new = [row for row in rows if row["split"] == "test"][:5]
sheet, captions = [], []
for row in new:
    result = pipeline(MINE / "videos" / row["video"])
    actions = [(action.name, action.times_s) for person in result.people for action in person.actions]
    print(f"{row['video']}, which is {row['label']}: {actions[-1:]}")
    pictures = list(result.draw())
    sheet.append(visualize.contact_sheet(pictures[:: max(1, len(pictures) // 6)][:6], columns=6))
    captions.append(f"truth: {row['label']}")
Image.fromarray(visualize.contact_sheet(sheet, columns=1, captions=captions))

# %% [markdown]
# The result can be drawn, and written down:

# %%
result.draw(WORKDIR / "drawn.mp4")
content = result.to_json(WORKDIR / "found.json")
content["frames"][-1]["people"][0]["keypoints"][:3], content["frames"][-1].get("actions")

# %% [markdown]
# ## The same from the shell
# ```bash
# kerapose extract videos --labels=labels.csv --model=openpose_omz --output=clips --test_share=0.2
# python datasets/build.py pyskl_clips/mine --file=clips/annotations.pkl --class_names=clips/classes.txt \
#     --skeleton=openpose
# python -m train.poseconv3d --dataset=pyskl_clips/mine --validation_split= --workdir=runs/mine
# kerapose predict new.mp4 --model=openpose_omz --action=runs/mine/model.keras
# ```
#
# `--test_share` takes a part of each class for the test, where the table has no splits; `--test_subjects` takes people.
# `predict` takes `camera:0` and `rtsp://...` as well; in Python that is `pipeline.stream("camera:0")`.
#
# ## Read on
# - [From videos to actions](../docs/guides/from_videos_to_actions.md): labels, several videos at once, cameras
# - [Actions from skeletons](../docs/guides/actions.md): networks, limb volumes, fusion
# - [Your own data](../docs/guides/own_data.md): what files may look like
