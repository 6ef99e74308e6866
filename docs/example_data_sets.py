"""Small prepared data sets that examples read as `from_tfds(NAME, SPLIT, data_dir=".")`: see `docs/examples.py`.

Their records are those of the data sets of the same names that `datasets/build.py` prepares: the same fields, but two
people who walk, in place of hundreds who do all sorts of things. A set is made in less than a second.
"""

import functools
import importlib
import pathlib
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from docs import examples
from kerapose.skeletons import COCO, H36M

BUILDERS = pathlib.Path(__file__).resolve().parent.parent / "datasets"
CLASSES = ("walk", "kick")
SPLITS = {"train": range(4), "validation": range(4, 6), "test": range(6, 8)}  # numbers of samples
CAMERA = {  # stands 4 m away and 1 m high, looks along y
    "orientation": (0.5**0.5, -(0.5**0.5), 0.0, 0.0),
    "translation_m": (0.0, -4.0, 1.0),
    "focal_px": (300.0, 300.0),
    "center_px": (160.0, 120.0),
    "radial": (0.0, 0.0, 0.0),
    "tangential": (0.0, 0.0),
}


def write(path):
    """Writes the data set of a path that ends in puppets/CONFIG."""
    config = path.name
    features, record, metadata = {
        "clips": (_of("clip_records").features(COCO, CLASSES), clip, {"skeleton": COCO.name}),
        "videos": (_of("clip_records").features(COCO, CLASSES, True), clip_of_video, {"skeleton": COCO.name}),
        "images": (_of("image_records").features(COCO), image, {"skeleton": COCO.to_dict()}),
        "groups": (_of("image_records").features(COCO), image, {"skeleton": COCO.to_dict()}),
        "tracks": (_of("track_records").features(17, 17), track, _of("track_records").metadata(H36M, H36M)),
    }[config]
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        "puppets",
        "1.0.0",
        features,
        {split: [(number, record(number)) for number in numbers] for split, numbers in SPLITS.items()},
        config,
        path.parent.parent,
        disable_shuffling=True,
    )
    tfds.core.MetadataDict(metadata).save_metadata(builder.data_dir)


def _of(name):
    """A module of `datasets/`, which is no package."""
    with mock.patch.object(sys, "path", [str(BUILDERS), *sys.path]):
        return importlib.import_module(name)


def clip(number):
    keypoints, scores = examples.walking()
    size = np.array(examples.FRAME_SIZE, np.int32)
    figures = {"keypoints": keypoints + number, "scores": scores, "frame_size": size}
    return figures | {"label": number % 2, "name": f"clip{number}"}


def clip_of_video(number):
    return clip(number) | {"video": video()}


@functools.cache
def video():
    from kerapose.data import frames

    return frames.encode([examples.picture(frame) for frame in range(examples.NUM_FRAMES)], fps=15)


def image(number):
    keypoints, _ = examples.walking()
    people = []
    for person, figure in enumerate(keypoints[:, number]):
        box = np.concatenate([figure.min(axis=0), figure.max(axis=0)])
        figures = {"keypoints": figure, "visibility": np.full(17, 2, np.int32), "box": box, "head_size": 20.0}
        area = (box[2:] - box[:2]).prod()
        people.append(figures | {"area": area, "is_crowd": False, "id": 2 * number + person})
    encoded = tf.io.encode_jpeg(examples.picture(number)).numpy()
    return {"image": encoded, "image_id": number, "name": f"street{number}.jpg", "people": people}


def track(number):
    camera_m = examples.names()["poses_m"] + [0.0, 0.1, 4.0 + number / 10]  # x right, y down, z away from the camera
    keypoints = 300.0 * camera_m[..., :2] / camera_m[..., 2:] + [160.0, 120.0]
    world_m = camera_m[..., [0, 2, 1]] * [1.0, 1.0, -1.0] + CAMERA["translation_m"]
    camera = CAMERA | {"frame_size": examples.FRAME_SIZE, "name": "front"}
    subject = f"S{number + 1}"
    return _of("track_records").record(f"{subject}/walk", camera, keypoints, world_m, 25.0, subject, "walk")
