"""Identities that stay, and keypoints that do not tremble."""

import types

import numpy as np
import pytest

from kerapose.skeletons import COCO, OPENPOSE, Skeleton
from kerapose.tracking import OneEuro, Tracker

STICK = Skeleton("stick", ("top", "middle", "bottom", "side"), ((0, 1), (1, 2), (1, 3)))  # without sigmas
HEIGHTS = {"nose": 8, "eye": 4, "ear": 6, "shoulder": 30, "elbow": 60, "wrist": 85, "hip": 90, "knee": 130}
HEIGHTS["ankle"] = 170


def body(x, y=0.0, size=1.0):
    """A person of COCO's keypoints who stands with the head at (x, y) and is 170 * size pixels high: [17, 2]."""
    side = {"left": 15, "right": -15}
    return size * np.array([(side.get(n.split("_")[0], 0), HEIGHTS[n.split("_")[-1]]) for n in COCO.keypoints]) + (x, y)


def walk(starts, speeds, frames, tremble_px=1.0, seed=0):
    """People who walk at a steady speed each, their detected keypoints [T, M, 17, 2] and true ones."""
    places = np.asarray(starts, float) + np.asarray(speeds, float) * np.arange(frames)[:, None]  # [T, M]
    truth = np.stack([[body(x, 5 * m) for m, x in enumerate(row)] for row in places])
    return truth + np.random.default_rng(seed).normal(0, tremble_px, truth.shape), truth


def follow(tracker, keypoints, there=None, seed=0):
    """The identities [T, M] (-1: not there) and keypoints of people handed over in any order, frame by frame."""
    random = np.random.default_rng(seed)
    ids, smoothed = np.full(keypoints.shape[:2], -1), np.full(keypoints.shape, np.nan)
    for frame, people in enumerate(keypoints):
        order = random.permutation(len(people))
        order = order if there is None else order[there[frame, order]]
        ids[frame, order], smoothed[frame, order] = tracker(people[order], np.ones((len(order), people.shape[1])))
    return ids, smoothed


# ---------------------------------------- smoothing
def test_smoothing_is_as_published(golden):
    case = golden("openpose_one_euro_a")
    smoothed = []
    for given in case.config["filters"]:
        smooth = OneEuro(given["freq"], given["mincutoff"], given["beta"], given["dcutoff"])
        smoothed.append([smooth(x) for x in case["input_x"]])
    case.check("output_y", smoothed)


class SlowOneEuro:
    """One number after another, with the time that has passed since the last."""

    def __init__(self, fps, min_cutoff, beta, derivative_cutoff):
        self.fps, self.cutoffs, self.beta, self.last = fps, (min_cutoff, derivative_cutoff), beta, None
        self.frames = 0

    def __call__(self, value):
        self.frames += 1
        if np.isnan(value):
            return value
        seconds, self.frames = self.frames / self.fps, 0
        if self.last is None:
            self.last, self.smooth, self.speed = value, value, 0.0
            return value

        def share(cutoff):
            return seconds / (seconds + 1 / (2 * np.pi * cutoff))

        part = share(self.cutoffs[1])
        self.speed = part * (value - self.last) / seconds + (1 - part) * self.speed
        part = share(self.cutoffs[0] + self.beta * abs(self.speed))
        self.smooth = part * value + (1 - part) * self.smooth
        self.last = value
        return self.smooth


@pytest.mark.parametrize("restart", [False, True])
def test_all_values_are_smoothed_as_one_by_one_with_gaps(restart):
    random = np.random.default_rng(3)
    values = np.cumsum(random.normal(0, 3, (40, 5, 2)), axis=0)
    found = random.random((40, 5)) < 0.7
    found[:, 4] = False
    values[~found] = np.where(random.random((~found).sum()) < 0.5, np.nan, 99.0)[:, None]
    before = values.copy()
    smooth = OneEuro(25, 1.3, 0.02, 0.9, restart=restart)
    smoothed = np.stack([smooth(*frame) for frame in zip(values, found, strict=True)])
    for k in range(5):
        for axis in range(2):
            slow = SlowOneEuro(25, 1.3, 0.02, 0.9)
            for frame in range(40):
                if restart and not found[frame, k]:
                    slow = SlowOneEuro(25, 1.3, 0.02, 0.9)
                expected = slow(values[frame, k, axis]) if found[frame, k] else slow(np.nan)
                if found[frame, k]:
                    assert smoothed[frame, k, axis] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(smoothed[~found], before[~found])
    np.testing.assert_array_equal(values, before)


def test_what_stands_still_trembles_less_and_what_is_fast_does_not_lag():
    random = np.random.default_rng(0)
    tremble = random.normal(0, 2, 300)
    smooth = OneEuro(30)
    still = np.array([smooth(x) for x in 100 + tremble])
    assert np.std(still[60:]) < 0.5 * np.std(tremble[60:])
    fast, smooth = 600 * np.arange(60) / 30, OneEuro(30)  # 600 pixels a second
    assert np.abs(np.array([smooth(x) for x in fast]) - fast)[30:].max() < 5


def test_types_and_shapes_of_values_stay():
    smooth = OneEuro(30)
    assert smooth(np.zeros((2, 3), "float32")).dtype == np.float32
    assert smooth(np.zeros((2, 3), int)).dtype == np.float64
    assert smooth(np.zeros((2, 3))).shape == (2, 3)
    assert OneEuro(30)(np.float64(5)) == 5
    assert np.isnan(OneEuro(30)([1.0, np.nan])).tolist() == [False, True]


def test_one_euro_refuses():
    for changes in ({"fps": 0}, {"fps": np.nan}, {"min_cutoff": -1}, {"derivative_cutoff": np.inf}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} must be above 0 and finite, got"):
            OneEuro(**({"fps": 30} | changes))
    with pytest.raises(ValueError, match="beta must be at least 0 and finite, got -1"):
        OneEuro(30, beta=-1)
    smooth = OneEuro(30)
    smooth(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"values must keep the shape of the first frame, \(3, 2\), got \(4, 2\)"):
        smooth(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"found must be of the values' shape \(3, 2\) or of its first axes, got \(2,"):
        smooth(np.zeros((3, 2)), np.ones(2))


# ---------------------------------------- as published
@pytest.mark.parametrize("name", ["openpose_track_a", "openpose_track_smooth"])
def test_identities_and_whole_pixels_are_as_published(golden, name):
    case = golden(name)
    track = Tracker(OPENPOSE, fps=case.config["filter"]["freq"], published=True, smooth=case.config["smooth"])
    ids, keypoints = np.full_like(case["output_ids"], -1), np.full_like(case["output_keypoints"], -1)
    for frame, confidence in enumerate(case["input_confidence"]):
        there = confidence >= 0
        poses = case["input_keypoints"][frame, there]
        found = track(poses, poses[..., 0] != -1, confidence[there])
        ids[frame, there], keypoints[frame, there] = found
        assert found[1].dtype == np.int32
    case.check("output_ids", ids)
    there = case["input_confidence"] >= 0
    np.testing.assert_array_equal(keypoints[there], case["output_keypoints"][there])


def test_published_tracking_forgets_who_is_not_there_and_ours_does_not():
    keypoints, _ = walk([100, 400], [0, 0], 6)
    there = np.ones((6, 2), bool)
    there[2, 1] = False
    ids, _ = follow(Tracker(COCO, published=True), keypoints, there)
    assert ids[3, 0] == ids[0, 0]
    assert ids[3, 1] not in ids[:3]
    ids, _ = follow(Tracker(COCO), keypoints, there)
    assert (ids[there] == np.broadcast_to(ids[0], (6, 2))[there]).all()


# ---------------------------------------- identities
def test_people_who_cross_keep_their_identities_and_their_numbers_count_up():
    keypoints, _ = walk([0, 150, 300, 450], [9, 3, -4, -8], 50, tremble_px=2)
    ids, _ = follow(Tracker(COCO, fps=25), keypoints)
    assert sorted(ids[0]) == [0, 1, 2, 3]
    assert (ids == ids[0]).all()


def test_who_is_hidden_while_walking_comes_back_as_before_and_too_late_as_somebody_new():
    keypoints, _ = walk([0, 600], [6, 0], 60)
    there = np.ones((60, 2), bool)
    there[20:30, 0] = False
    ids, _ = follow(Tracker(COCO, fps=25), keypoints, there)
    assert (ids[there] == np.broadcast_to(ids[0], ids.shape)[there]).all()
    ids, _ = follow(Tracker(COCO, fps=25, max_missing=10), keypoints, there)
    assert (ids[30:] == ids[0]).all()
    ids, _ = follow(Tracker(COCO, fps=25, max_missing=9), keypoints, there)
    assert (ids[30:] == [2, ids[0, 1]]).all()
    assert Tracker(COCO, fps=12.4).max_missing == 12


def test_who_was_faster_while_hidden_is_expected_at_the_speed_of_a_frame():
    """A displacement of eleven frames is no displacement of one: who hides again at once comes back as before."""
    places = 6.0 * np.arange(45) + 20 * (np.arange(45) >= 30)
    keypoints = np.stack([body(x)[None] for x in places])
    there = np.ones((45, 1), bool)
    there[20:30], there[31:41] = False, False
    ids, _ = follow(Tracker(COCO, fps=25), keypoints, there)
    assert (ids[there] == 0).all()


def test_the_sum_of_similarities_decides_and_not_who_comes_first():
    track = Tracker(COCO, min_similarity=0.0)
    before, _ = track(np.stack([body(0), body(8)]), np.ones((2, 17)))
    after, _ = track(np.stack([body(5), body(13)]), np.ones((2, 17)))  # the first is nearer to the second of before
    assert after.tolist() == before.tolist()


def test_poses_that_share_too_few_keypoints_are_not_compared():
    scores = np.zeros((1, 17))
    scores[0, :3] = 1
    other = np.zeros((1, 17))
    other[0, 1:4] = 1  # two of three in common
    track = Tracker(COCO)
    assert track(body(0)[None], scores)[0] == [0]
    assert track(body(0)[None], other)[0] == [1]
    assert track(body(0)[None], scores)[0] == [0]
    alone = np.eye(17)[:1]  # one keypoint only
    assert track(body(0)[None], alone)[0] == [2]
    nothing, kept = track(body(0)[None], np.zeros((1, 17)))
    assert nothing == [3]
    np.testing.assert_array_equal(kept, body(0)[None])


def test_somebody_of_whom_another_half_is_seen_in_each_frame_stays_the_same():
    keypoints, _ = walk([0], [8], 30)
    upper = np.isin(np.arange(17), COCO.upper_body)
    track = Tracker(COCO, fps=25)
    first, _ = track(keypoints[0], np.ones((1, 17)))
    for frame in range(1, 30):
        half = upper if frame // 4 % 2 else ~upper
        assert track(keypoints[frame], half[None].astype(float))[0] == first


def test_far_off_is_somebody_else_and_nobody_is_nobody():
    track = Tracker(COCO)
    assert track([], [])[0].shape == (0,)
    assert track([], [])[1].shape == (0, 17, 2)
    assert track(body(0)[None], np.ones((1, 17)))[0] == [0]
    assert track(np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))[0].dtype == np.int64
    assert track(body(500)[None], np.ones((1, 17)))[0] == [1]
    assert sorted(track(np.stack([body(500), body(0)]), np.ones((2, 17)))[0]) == [0, 1]


def test_a_set_without_sigmas_and_a_person_seen_from_the_side_are_followed():
    points = np.array([(50, 0), (50, 60), (50, 120), (50, 61)], float)  # on a line: the box has no area
    track = Tracker(STICK)
    ids = [track(points[None] + (2.0 * frame, 0), np.ones((1, 4)))[0][0] for frame in range(5)]
    assert ids == [0] * 5


# ---------------------------------------- keypoints
def test_keypoints_tremble_less_and_stay_where_they_are_without_smoothing():
    keypoints, truth = walk([100, 400], [0, 0], 80, tremble_px=2)
    before = keypoints.copy()
    _, smoothed = follow(Tracker(COCO, fps=25), keypoints)
    _, raw = follow(Tracker(COCO, fps=25, smooth=False), keypoints)
    np.testing.assert_array_equal(keypoints, before)
    np.testing.assert_array_equal(raw, keypoints)
    assert np.abs(smoothed - truth)[20:].mean() < 0.7 * np.abs(keypoints - truth)[20:].mean()
    assert (smoothed != np.round(smoothed)).mean() > 0.9  # floats stay floats


def test_missing_and_unsure_keypoints_are_unchanged_and_do_not_count():
    keypoints, scores = body(0)[None].astype("float32"), np.ones((1, 17))
    track = Tracker(COCO, min_score=0.3)
    track(keypoints, scores)
    moved = keypoints + 10
    scores[0, :4], moved[0, 0], moved[0, 1] = 0.3, 0, np.nan
    ids, found = track(moved, scores)
    assert ids == [0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, :4], moved[0, :4])
    assert (np.abs(found[0, 4:] - keypoints[0, 4:]) < 10).all()  # smoothed
    assert (found[0, 4:] != moved[0, 4:]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 17, 3)), np.zeros((2, 17))), r"keypoints of coco must be \[N, 17, 2\] and scores \[N, 17\]"),
        ((np.zeros((17, 2)), np.zeros(17)), "give those of one frame"),
        ((np.zeros((2, 17, 2)), np.zeros((1, 17))), r"got \(2, 17, 2\) and \(1, 17\)"),
        ((np.zeros((2, 17, 2)), np.zeros((2, 17)), np.zeros(3)), r"person_scores must be \[2\], one per person, got"),
    ],
)
def test_a_tracker_refuses_other_shapes(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tracker(COCO)(*arguments)


def test_a_tracker_refuses_wrong_numbers():
    with pytest.raises(ValueError, match="fps must be above 0 and finite, got 0"):
        Tracker(COCO, fps=0)
    with pytest.raises(ValueError, match="max_missing must be at least 0 frames, got -1"):
        Tracker(COCO, max_missing=-1)
    with pytest.raises(ValueError, match="min_similarity must be 0 to 1, got 2"):
        Tracker(COCO, min_similarity=2)


@pytest.mark.parametrize("sigmas", [(np.nan,) * 4, (0.1, 0.0, 0.1, 0.1), (-0.1,) * 4, (0.1,) * 3, ()])
def test_sigmas_that_measure_nothing_are_refused(sigmas):
    stick = types.SimpleNamespace(name="stick", num_keypoints=4, keypoints=STICK.keypoints, sigmas=sigmas)
    with pytest.raises(ValueError, match="sigmas must be one positive number per keypoint"):
        Tracker(stick)


# ---------------------------------------- boxes
def test_boxes_are_round_what_was_found_as_smooth_as_it_is():
    track = Tracker(COCO, fps=25)
    keypoints = np.random.default_rng(3).uniform(50, 90, (2, 17, 2))
    keypoints[1] += 200
    scores = np.ones((2, 17))
    scores[1, :5] = 0
    assert track.boxes.shape == (0, 4)
    for shift in (0, 4, 9):
        _, smooth = track(keypoints + shift, scores)
    expected = [[*points.min(axis=0), *points.max(axis=0)] for points in (smooth[0], smooth[1, 5:])]
    np.testing.assert_allclose(track.boxes, expected)
    assert np.abs(smooth[0] - keypoints[0] - 9).max() > 0.5  # it is the smoothed ones that they are round
    scores[0] = 0
    track(keypoints, scores)
    np.testing.assert_array_equal(track.boxes[0], np.zeros(4))
    track(np.zeros((0, 17, 2)), np.zeros((0, 17)))
    assert track.boxes.shape == (0, 4)


def test_whoever_is_not_seen_for_a_while_is_expected_further_on():
    track = Tracker(COCO, fps=25, smooth=False, max_missing=2)
    keypoints = np.random.default_rng(3).uniform(50, 90, (1, 17, 2))
    for frame in range(12):
        track(keypoints + 3.0 * frame, np.ones((1, 17)))
    least, most = keypoints[0].min(axis=0), keypoints[0].max(axis=0)
    for frame in range(12, 15):
        ids, boxes = track.expected()
        assert ids.tolist() == [0]
        np.testing.assert_allclose(boxes[0], [*(least + 3 * frame), *(most + 3 * frame)], atol=0.05)
        track(keypoints[:0], np.zeros((0, 17)))
    assert track.expected()[0].tolist() == [] and track.expected()[1].shape == (0, 4)
