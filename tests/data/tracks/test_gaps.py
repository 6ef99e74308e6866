"""Gaps in tracks are filled by straight lines, by whichever door they come in."""

import itertools

import numpy as np
import pytest
from strolls import arrays

from kerapose.data import tracks as track_data
from kerapose.skeletons import H36M


def slow_fill(keypoints, seen):
    filled = keypoints.copy()
    for k, axis in itertools.product(range(keypoints.shape[1]), range(2)):
        frames = np.flatnonzero(seen[:, k])
        line = np.interp(np.arange(len(keypoints)), frames, keypoints[frames, k, axis])
        filled[:, k, axis] = np.where(seen[:, k], keypoints[:, k, axis], line)
    return filled


def test_gaps_are_filled_by_straight_lines():
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 500, (3, 40, 17, 2)).astype("float32")
    scores = random.uniform(0.2, 1, (3, 40, 17)).astype("float32")
    lost = random.uniform(size=scores.shape) < 0.5
    lost[:, 20] = False
    broken = np.where((lost & (random.uniform(size=lost.shape) < 0.5))[..., None], np.nan, keypoints)
    scores[lost] = random.choice([0, 0.1, np.nan], lost.sum())
    filled, filled_scores = track_data.fill_gaps(broken, scores, min_score=0.1)
    assert filled.dtype == filled_scores.dtype == np.float32
    expected = np.stack([slow_fill(*pair) for pair in zip(keypoints, ~lost, strict=True)])
    np.testing.assert_allclose(filled, expected, atol=1e-3)
    np.testing.assert_array_equal(filled[~lost], keypoints[~lost])
    np.testing.assert_array_equal(filled_scores, np.where(lost, 0, scores))


def test_gaps_without_scores_are_zeros_and_nan():
    keypoints = np.arange(1, 21, dtype="float32").reshape(5, 2, 2)
    keypoints[1, 0], keypoints[0, 1], keypoints[4, 1] = 0, np.nan, np.inf
    filled, scores = track_data.fill_gaps(keypoints)
    np.testing.assert_array_equal(filled[:, 0], [[1, 2], [5, 6], [9, 10], [13, 14], [17, 18]])
    np.testing.assert_array_equal(filled[:, 1], [[7, 8], [7, 8], [11, 12], [15, 16], [15, 16]])
    np.testing.assert_array_equal(scores, [[1, 0], [0, 1], [1, 1], [1, 1], [1, 0]])
    one, _ = track_data.fill_gaps(keypoints[2:3])
    np.testing.assert_array_equal(one, keypoints[2:3])


def test_a_joint_that_is_never_seen_is_named():
    keypoints, scores = np.ones((6, 17, 2)), np.ones((6, 17))
    scores[:, [3, 16]] = 0
    with pytest.raises(
        ValueError, match="seen in at least one frame of a track, got none for right_ankle, right_wrist"
    ):
        track_data.fill_gaps(keypoints, scores, skeleton=H36M)
    with pytest.raises(ValueError, match="got none for 3, 16"):
        track_data.fill_gaps(keypoints, scores)
    with pytest.raises(ValueError, match=r"with at least one frame, got \[0, 17, 2\]"):
        track_data.fill_gaps(keypoints[:0], scores[:0])
    with pytest.raises(ValueError, match="scores must be"):
        track_data.fill_gaps(keypoints, scores[:3])


@pytest.mark.parametrize("lost", [np.nan, 0.0, 5.0])
def test_what_is_missing_is_filled_in_at_both_doors(prepared, lost):
    """As `strolls/lost`: joint 5 is lost in two frames, joint 9 in all; the place that stands there does not count."""
    given = arrays()
    given["scores"] = [np.ones(keypoints.shape[:2]) for keypoints in given["keypoints"]]
    given["keypoints"] = [keypoints.copy() for keypoints in given["keypoints"]]
    for keypoints, scores in zip(given["keypoints"], given["scores"], strict=True):
        keypoints[2:4, 5] = keypoints[:, 9] = lost
        scores[2:4, 5] = scores[:, 9] = 0
    stored = track_data.from_tfds("strolls/lost", "train", prepared)
    without_scores = not np.isfinite(lost) or lost == 0
    for scores in [given["scores"], None] if without_scores else [given["scores"]]:
        found = track_data.from_arrays(**given | {"scores": scores})
        for name in found.names:
            ours, theirs = (part.select(names=[name]) for part in (found, stored))
            np.testing.assert_allclose(ours.keypoints_screen, theirs.keypoints_screen, atol=1e-6)
            np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_gaps_that_were_filled_before_stay_as_they_are():
    given = arrays()
    given["keypoints"][1] = given["keypoints"][1].copy()
    given["keypoints"][1][2:4, 5] = np.nan
    filled = [track_data.fill_gaps(keypoints, skeleton=H36M) for keypoints in given["keypoints"]]
    once = track_data.from_arrays(**given)
    pairs = {"keypoints": [keypoints for keypoints, _ in filled], "scores": [scores for _, scores in filled]}
    twice = track_data.from_arrays(**given | pairs)
    np.testing.assert_array_equal(once.keypoints_screen, twice.keypoints_screen)
    np.testing.assert_array_equal(once.scores, twice.scores)


def test_from_tfds_fills_gaps(prepared, tracks):
    name = "S2/walk 2/c0"
    whole = tracks.select(names=[name]).keypoints_screen
    left = track_data.from_tfds("strolls/lost", "train", prepared, min_score=None).select(names=[name])
    np.testing.assert_array_equal(left.keypoints_screen, whole)
    filled = track_data.from_tfds("strolls/lost", "train", prepared).select(names=[name])
    line = whole[1, 5] + (whole[4, 5] - whole[1, 5]) * np.array([[1 / 3], [2 / 3]])
    np.testing.assert_allclose(filled.keypoints_screen[2:4, 5], line, atol=1e-5)
    np.testing.assert_array_equal(np.delete(filled.keypoints_screen, [5, 9], axis=1), np.delete(whole, [5, 9], axis=1))
    np.testing.assert_allclose(filled.keypoints_screen[:, 9], np.tile([-1, -1.002], (14, 1)))  # (0, 0) in pixels
    assert filled.scores.sum() == 14 * 17 - 14 - 2
