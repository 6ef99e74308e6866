"""The protocol of videos: what a recognizer is given under each condition, and in which order."""

import types

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerapose import evaluation
from kerapose.data import frames, videos
from kerapose.evaluation import videos as protocol
from kerapose.skeletons import COCO

SHAPES = {"rgb_shape": (4, 16, 16, 3), "pose_shape": (8, 8, 8, 17)}


def recognize(frames, keypoints, scores, frame_size):
    """In place of a network: how bright its frames are, their noise, and what is seen of the keypoints in a place."""
    pixels, places = tf.cast(frames, tf.float32), tf.reshape(tf.range(170.0), (10, 17)) / 170
    seen = tf.reduce_mean(scores), tf.reduce_mean(scores * places)
    return {"fused": tf.stack([tf.reduce_mean(pixels), tf.reduce_mean(pixels[..., 0] * pixels[..., 1]), *seen])[None]}


@pytest.fixture(scope="module")
def dataset():
    """Three videos of ten frames, one brighter than the other, of one person who is seen in all of each."""
    pictures = [np.full((32, 48, 3), 100 + 50 * number, "uint8") for number in range(3)]
    content = [frames.wrap_jpegs([cv2.imencode(".jpg", picture)[1].tobytes()] * 10, 25) for picture in pictures]
    points = np.random.default_rng(0).uniform(4, 28, (3, 1, 10, 17, 2)).astype("float32")
    return videos.from_arrays(content, list(points), [4, 2, 3], COCO)


def test_every_condition_degrades_every_video_by_its_seed(dataset):
    recognizer = types.SimpleNamespace(recognize=recognize, num_clips=2, aligned=True, **SHAPES)
    names = evaluation.VIDEO_CONDITIONS

    def found(seed, names=names):
        labels, answers = evaluation.video_probabilities(recognizer, dataset, names, seed)
        assert labels.tolist() == [4, 2, 3] and tuple(answers) == names  # in the order of the data set
        return {name: answers[name]["fused"] for name in names}

    first, again, other = found(3), found(3, names[1:]), found(4)
    light, _, share, _ = first["plain"].T
    np.testing.assert_allclose(light, [100, 150, 200], atol=2)
    np.testing.assert_allclose(share, 1)
    np.testing.assert_allclose(first["dark"][:, 0], light / 20, atol=0.5)
    np.testing.assert_array_equal(first["dark"][:, 2:], first["plain"][:, 2:])
    np.testing.assert_array_equal(first["missed"][:, :2], first["plain"][:, :2])
    assert 0.3 < first["missed"][:, 2].mean() < 0.7 and len(set(first["missed"][:, 3])) == 3  # each loses its own
    assert (first["plain"] == other["plain"]).all()
    for name in again:
        np.testing.assert_array_equal(again[name], first[name])
    assert (first["dark"][:, 1] != other["dark"][:, 1]).all()
    assert (first["missed"][:, 3] != other["missed"][:, 3]).all()


def test_clips_are_sampled_as_the_recognizer_samples_them(monkeypatch, dataset):
    told = []
    monkeypatch.setattr(videos, "sampled", lambda element, **how: told.append(how) or {"scores": element["scores"]})
    answer = {"fused": tf.zeros((1, 5))}
    recognizer = types.SimpleNamespace(recognize=lambda **inputs: answer, num_clips=3, aligned=False, **SHAPES)
    evaluation.video_probabilities(recognizer, dataset)
    assert told == [{"num_clips": 3, "aligned": False, "rgb_frames": 4, "pose_frames": 8}]


def test_conditions_are_as_dark_and_as_blind_as_they_are_said_to_be(monkeypatch, dataset):
    told = {}

    def darkened(frames, seeds, light, noise_levels):
        told["dark"] = light, noise_levels
        return frames

    def missed(keypoints, scores, seeds, share):
        told["missed"] = share
        return keypoints, scores

    for name, value in (("LIGHT", 0.2), ("NOISE_LEVELS", 7.0), ("MISSED_SHARE", 0.1)):
        monkeypatch.setattr(protocol, name, value)
    monkeypatch.setattr(videos, "darkened", darkened)
    monkeypatch.setattr(videos, "missed", missed)
    monkeypatch.setattr(videos, "sampled", lambda element, **how: {"frames": element["scores"]})
    recognizer = types.SimpleNamespace(
        recognize=lambda **inputs: {"fused": tf.zeros((1, 5))}, num_clips=1, aligned=True, **SHAPES
    )
    evaluation.video_probabilities(recognizer, dataset, ("dark", "missed"))
    assert told == {"dark": (0.2, 7.0), "missed": 0.1}


def test_figures_are_of_the_fused_answers_under_each_condition(monkeypatch):
    asked, labels, right = [], np.array([0, 1, 1]), np.eye(2)[[0, 1, 1]]
    found = {"dark": {"rgb": 1 - right, "fused": right}, "missed": {"rgb": right, "fused": 1 - right}}
    monkeypatch.setattr(protocol, "video_probabilities", lambda *given: asked.append(given) or (labels, found))
    figures = evaluation.video_figures("recognizer", "dataset", conditions=("dark", "missed"), seed=7)
    assert asked == [("recognizer", "dataset", ("dark", "missed"), 7)]
    assert (figures["dark"]["top1"], figures["missed"]["top1"]) == (1, 0)


def test_strange_conditions_are_refused(dataset):
    for conditions, got in ((["plain", "fog"], "'fog'"), ([], "none")):
        with pytest.raises(ValueError, match=f"conditions are of plain, dark, missed, got {got}; use these"):
            evaluation.video_probabilities(None, dataset, conditions)
