# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own images
#
# You have images and a COCO file of keypoints that nobody else has: a mouse, a chair, a surgeon's hand, or people with
# keypoints of your choice. This notebook goes the whole way with such a file: it looks for mistakes in it, shows what
# the network will see, trains, and loads what is left as a predictor. Nothing in it depends on people or on their
# number of keypoints.

# %%
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image

from kerapose import predictors, training, visualize
from kerapose.data import crops
from kerapose.ops import images

FAST = "KERAPOSE_FAST" in os.environ  # set where it is only checked that every cell runs
WORKDIR = pathlib.Path("../runs/notebooks/your_own_images")
MINE = WORKDIR / "mine"  # the folder that stands for yours

SIZE = (96, 64)  # of a crop, height and width; the papers have 256 x 192
shutil.rmtree(WORKDIR, ignore_errors=True)

# %% [markdown]
# ## A folder as you would have it
# If you have one, skip this section. Here some pictures of `puppets`, drawn people with COCO's 17 keypoints, are
# written to a folder as JPEG files. Eight keypoints are left of the 17, one of them worked out, all with names of our
# own:

# %%
command = [sys.executable, "../datasets/build.py", "puppets/small_images"]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %%
NAMES = ["head", "belt", "shoulder_L", "shoulder_R", "hand_L", "hand_R", "foot_L", "foot_R"]
LIMBS = [("head", "belt"), ("belt", "foot_L"), ("belt", "foot_R"), ("shoulder_L", "shoulder_R")]
LIMBS += [("shoulder_L", "hand_L"), ("shoulder_R", "hand_R")]


def own_keypoints(person, coco):
    """x, y, visibility of our eight keypoints, one after the other, as a COCO file has them."""
    point = {name: [*xy, seen] for name, xy, seen in zip(coco, person["keypoints"], person["visibility"], strict=True)}
    hips = np.array([point["left_hip"], point["right_hip"]])
    belt = hips.mean(axis=0) if hips[:, 2].all() else np.zeros(3)  # not labelled where a hip is not
    ours = [point["nose"], [*belt[:2], int(belt[2])], point["left_shoulder"], point["right_shoulder"]]
    ours += [point[f"{side}_{joint}"] for joint in ("wrist", "ankle") for side in ("left", "right")]
    return [round(float(value), 1) for keypoint in ours for value in keypoint]


def write_split(split, most=None):
    """Writes the pictures of a split, and the file of its annotations."""
    people, coco = crops.from_tfds("puppets/small_images", split)
    pictures, annotations = {}, []
    for person in people.as_numpy_iterator():
        number = int(person["image_id"])
        if number not in pictures and len(pictures) == most:
            break
        if number not in pictures:
            name = person["name"].decode()
            (MINE / "images").mkdir(parents=True, exist_ok=True)
            (MINE / "images" / name).write_bytes(person["image"])
            width, height = Image.open(MINE / "images" / name).size
            pictures[number] = {"id": number, "file_name": name, "width": width, "height": height}
        left, top, right, bottom = person["box"].tolist()
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": float(person["area"]),
                "iscrowd": 0,
                "keypoints": own_keypoints(person, coco.keypoints),
            }
        )
    limbs = [[NAMES.index(a) + 1, NAMES.index(b) + 1] for a, b in LIMBS]  # COCO counts from 1
    category = {"id": 1, "name": "puppet", "keypoints": NAMES, "skeleton": limbs}
    content = {"images": list(pictures.values()), "annotations": annotations, "categories": [category]}
    (MINE / f"{split}.json").write_text(json.dumps(content))


write_split("train", most=60 if FAST else None)
write_split("test")
sorted(path.name for path in MINE.iterdir()), len(list((MINE / "images").iterdir()))

# %% [markdown]
# ## Read it
# `crops.from_coco` reads the file. The skeleton comes from its category: names, limbs, and which keypoints change
# places in a mirror. That is read from the names, in any of the usual spellings (`left_hand`, `hand_L`, `LHand`,
# `linke_Hand`). Where names do not tell, give `flip_pairs`; else no picture is mirrored in training.

# %%
people, skeleton = crops.from_coco(MINE / "train.json", MINE / "images")
print(skeleton.name, skeleton.keypoints)
[(skeleton.keypoints[left], skeleton.keypoints[right]) for left, right in skeleton.flip_pairs]

# %% [markdown]
# `check` reads all of it once, annotations and pictures, and gives the number of people.

# %%
crops.check(people, skeleton)

# %% [markdown]
# ## What a mistake looks like
# Files of one's own are seldom right at first. Here is a copy with four mistakes of the kind that cost days when nobody
# tells of them: a picture that was only half copied, one that is not there, a box with its corners exchanged, and a
# keypoint that is not a number.

# %%
broken = json.loads((MINE / "train.json").read_text())
shutil.copytree(MINE / "images", MINE / "broken")
half, lost, turned, empty = (broken["images"][i]["file_name"] for i in (3, 8, 12, 20))
(MINE / "broken" / half).write_bytes((MINE / "images" / half).read_bytes()[:4000])
(MINE / "broken" / lost).unlink()


def first_person_of(name):
    number = next(picture["id"] for picture in broken["images"] if picture["file_name"] == name)
    return next(person for person in broken["annotations"] if person["image_id"] == number)


person = first_person_of(turned)
left, top, width, height = person["bbox"]
person["bbox"] = [left + width, top + height, -width, -height]
person = first_person_of(empty)
person["keypoints"][:3] = [float("nan"), 40.0, 2]
(MINE / "broken.json").write_text(json.dumps(broken))

mistaken, _ = crops.from_coco(MINE / "broken.json", MINE / "broken")
try:
    crops.check(mistaken, skeleton)
except crops.BadDataError as error:
    print(error)
    bad = error.names

# %% [markdown]
# All of them are named at once, with the rule, the place and what can be done. What is impossible is an error; what is
# only suspicious is a warning. The names can be left out:

# %%
crops.check(crops.skip(mistaken, bad), skeleton)

# %% [markdown]
# ## What the network sees
# A person is cut out by the box, with a margin. In training the crop is turned, scaled and mirrored. To each crop
# belongs a heatmap for each keypoint, with a Gaussian where it is, and a weight: 0 where a keypoint is not labelled.

# %%
inputs, heatmaps, weights = next(iter(crops.training(people, skeleton, batch_size=8, image_size=SIZE)))
print("crops", inputs.shape, "heatmaps", heatmaps.shape, "weights", weights.shape)
shown = zip(np.asarray(images.denormalize(inputs)), heatmaps.numpy(), strict=True)
sheet = visualize.contact_sheet([visualize.draw_heatmaps(crop, maps, skeleton) for crop, maps in shown], columns=8)
Image.fromarray(sheet).resize((3 * sheet.shape[1], 3 * sheet.shape[0]))

# %% [markdown]
# Left is warm, right is cool. Look at many of these before you train: a mistake in the file is seen here.
#
# ## Train
# A training takes a data set that was prepared once, by `datasets/build.py`. It copies the pictures into one place and
# refuses what `check` refuses. We call it `coco_keypoints/mine`.

# %%
DATASETS = WORKDIR / "datasets"
command = [
    sys.executable,
    "../datasets/build.py",
    "coco_keypoints/mine",
    f"--data_dir={DATASETS}",
    f"--images={MINE}/images",
]
command += [f"--annotations=train:{MINE}/train.json,test:{MINE}/test.json"]
built = subprocess.run(command, capture_output=True, text=True, check=False)
print(built.stdout or built.stderr)

# %% [markdown]
# `training.TopDown` has the papers' recipes as its defaults, which are for days on GPUs. `recipe="small"` is for
# minutes on a small machine: a small SimpleBaseline, here on small crops. Without a split for validation, the last
# weights count.

# %%
run = training.TopDown(
    WORKDIR / "run",
    dataset="coco_keypoints/mine",
    data_dir=str(DATASETS),
    validation_split="",
    recipe="small",
    variant="resnet18_nano",
    image_height=SIZE[0],
    image_width=SIZE[1],
    rotation_probability=0,  # nobody here lies or stands on their head
    learning_rate=4e-3,
    batch_size=32,
    epochs=1 if FAST else 8,
    seed=0,
)
for stage in run.stages():
    stage.model.fit(**stage.arguments() | {"verbose": 2})

# %% [markdown]
# `pck` is the share of keypoints that are found within a tenth of the crop's longer side. When the process is killed,
# the same lines go on after the last epoch that was done.
#
# ## Test
# `finish` tests on the pictures of people who were never seen in training, and writes `model.keras`. `pck@0.2` counts
# what is within a fifth of the longer side of the person's box.

# %%
results = run.finish()
print("people", results["people"], " pck@0.2", round(results["pck@0.2"], 3))
{name: round(joint["pck@0.2"], 3) for name, joint in results["joints"].items()}

# %% [markdown]
# ## Use it
# The file knows everything: the keypoints' names, how crops are cut and normalized, how heatmaps are read.

# %%
find_pose = predictors.load(WORKDIR / "run" / "model.keras")
tests, _ = crops.from_coco(MINE / "test.json", MINE / "images")
person = next(iter(tests.as_numpy_iterator()))
(pose,) = find_pose(MINE / "images" / person["name"].decode(), boxes=[person["box"]])
pose.as_dict()

# %% [markdown]
# Pictures of the test: the truth left, what was found right. A white line leads from a keypoint to where it should be.
# These are the first pictures of the test, not the best ones. After a minute of training the network knows where a
# person is and how they stand, but hardly left from right: it puts the joints of both sides between them. Hands are the
# last to be found. What has a low score is not drawn.


# %%
def compared(person):
    path = MINE / "images" / person["name"].decode()
    (pose,) = find_pose(path, boxes=[person["box"]])
    picture = np.asarray(Image.open(path).convert("RGB"))
    truth = person["keypoints"][None], person["visibility"][None]
    return visualize.compare_poses(
        picture[None], truth[0], pose.keypoints[None], skeleton, truth[1], pose.scores[None], min_score=0.2
    )


chosen = [person for person in tests.take(40).as_numpy_iterator() if person["area"] > 4000][:6]
Image.fromarray(visualize.contact_sheet([compared(person) for person in chosen], columns=2, gap_px=16))

# %% [markdown]
# ## The same from the shell
# ```bash
# python datasets/build.py coco_keypoints/mine --annotations=train:train.json,test:test.json --images=images
# python -m train.topdown --dataset=coco_keypoints/mine --validation_split= --recipe=small --variant=resnet18_nano \
#     --epochs=8 --batch_size=32 --learning_rate=4e-3 --rotation_probability=0 --image_height=96 --image_width=64 \
#     --workdir=runs/mine
# kerapose predict new.jpg --model=runs/mine/model.keras
# ```
#
# With a few hundred labelled pictures, a small network from scratch gets you as far as this. To go on:
# `model="hrnet", variant="w16_tiny"` and 100 epochs, or a published backbone to start from (`backbone_weights`).
#
# ## Read on
# - [Your own data](../docs/guides/own_data.md): what files may look like, and what is refused
# - [Top-down pose](../docs/guides/top_down.md): networks, codecs, recipes
# - [Left and right](../docs/concepts/left_and_right.md): which spellings are known, and what mirroring changes
# - [Published weights](../docs/guides/published_weights.md)
