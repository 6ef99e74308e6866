"""A predictor of people who are known, and a small recognizer, for the tests of the pipeline."""

import keras
import numpy as np
import pytest

from kerapose import estimators, models, predictors
from kerapose.skeletons import COCO

NAMES = "walk", "run", "jump", "wave"


class Dancers:
    """In place of a network: N people who move in circles, each in a part of the picture.

    Args:
        there: N functions of a frame's number that say whether the person is seen in it. None: one person, always.
        skeleton: the `Skeleton` of the keypoints.
    """

    def __init__(self, there=None, skeleton=COCO):
        self.there = there or [lambda frame: True]
        self.skeleton = skeleton
        self.frame = 0
        rng = np.random.default_rng(5)
        self.shape = rng.uniform(-12, 12, (skeleton.num_keypoints, 2))
        self.ways = rng.uniform(-4, 4, (skeleton.num_keypoints, 2))

    def keypoints(self, person, frame):
        swing = np.sin(0.3 * (1 + person) * frame)
        return (self.shape + swing * self.ways + (30 + 60 * person, 40)).astype("float32")

    def __call__(self, image):
        frame, self.frame = self.frame, self.frame + 1
        poses = []
        for person, is_there in enumerate(self.there):
            if is_there(frame):
                points = self.keypoints(person, frame)
                box = np.concatenate([points.min(axis=0), points.max(axis=0)])
                scores = np.full(len(points), 0.9 - 0.1 * person, "float32")
                poses.append(predictors.Pose(points, scores, self.skeleton.keypoints, box))
        return poses


@pytest.fixture(scope="session")
def recognizer():
    """An `ActionRecognizer` of four classes whose answers depend much on what it is given."""
    keras.utils.set_random_seed(1)
    network = models.C3D.from_variant("c3d_tiny", 4, input_shape=(8, 14, 14, 17), base_filters=4)
    for weight in network.trainable_weights:
        if weight.path.endswith("kernel"):
            weight.assign(1.9 * weight)
    return estimators.ActionRecognizer(network, COCO, NAMES)


def pictures(count, height=80, width=160):
    return np.zeros((count, height, width, 3), "uint8")
