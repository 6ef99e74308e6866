"""How much of the picture round the people recognizers see."""

import keras
import numpy as np
import pytest
from keras import ops

from kerapose.estimators import ActionRecognizer, VideoRecognizer
from kerapose.skeletons import COCO

SIDE = 56


def columns(length):
    """A network whose classes are the columns of its volume: sure of those in which a joint is."""
    volume = keras.Input((length, SIDE, SIDE, COCO.num_keypoints))
    return keras.Model(volume, 20 * ops.cast(ops.max(volume, axis=(1, 2, 4)) > 0.5, "float32"))


@pytest.mark.parametrize("padding", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("recognizer", [ActionRecognizer, VideoRecognizer])
def test_people_are_as_small_as_the_padding_makes_them(recognizer, padding):
    size = {"size": SIDE} if recognizer is ActionRecognizer else {}
    names = [str(column) for column in range(SIDE)]
    recognizer = recognizer(columns(4), COCO, names, flip_test=False, padding=padding, **size)
    keypoints = np.random.default_rng(0).uniform((100, 110), (200, 190), (1, 1, 4, 17, 2)).astype("float32")
    keypoints[..., 0, :], keypoints[..., 1, :] = (100, 150), (200, 150)
    inputs = {"keypoints": keypoints, "scores": np.ones((1, 1, 4, 17), "float32"), "frame_size": np.int32([[300, 300]])}
    probabilities = np.asarray(recognizer(inputs))[0]
    seen = np.flatnonzero(probabilities > probabilities.max() / 2)
    assert seen[-1] - seen[0] == pytest.approx(SIDE / (1 + padding), abs=1.5)
