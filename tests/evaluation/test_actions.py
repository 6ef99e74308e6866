"""The protocol of skeleton actions: every sequence of a split, whatever its length, in order."""

import types

import numpy as np
import tensorflow as tf

from kerapose import evaluation, metrics
from kerapose.data import clips
from kerapose.skeletons import COCO

LENGTHS = (5, 9, 7)


def test_every_sequence_is_asked_about_once_and_whole():
    random = np.random.default_rng(0)
    keypoints = [random.uniform(20, 60, (1 + i, length, 17, 2)) for i, length in enumerate(LENGTHS)]
    dataset = clips.from_arrays(keypoints, [2, 0, 1], COCO, frame_sizes=(80, 90))

    def from_clips(inputs):
        """Sure of a class by the length of the sequence: right of the first two."""
        assert set(inputs) == {"keypoints", "scores", "frame_size"}
        length = [float(one == inputs["keypoints"].shape[2]) for one in LENGTHS]
        return tf.constant([length]) @ np.array([[0, 0.1, 0.9], [0.8, 0.2, 0], [0.6, 0.4, 0]], "float32")

    recognizer = types.SimpleNamespace(clips=lambda inputs: inputs, from_clips=from_clips)
    tf.config.run_functions_eagerly(True)
    try:
        labels, probabilities = evaluation.action_probabilities(recognizer, dataset)
        figures = evaluation.action_figures(recognizer, dataset)
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(labels, [2, 0, 1])
    np.testing.assert_allclose(probabilities, [[0, 0.1, 0.9], [0.8, 0.2, 0], [0.6, 0.4, 0]], rtol=1e-6)
    assert figures == metrics.action_metrics(labels, probabilities)
    assert figures["top1"] == 2 / 3
