"""Who of a video is in its clip, and in which slot."""

import numpy as np
import pytest

from kerapose.data import slots
from kerapose.data.predictions import Moment, Predictions
from kerapose.skeletons import COCO, H36M

FRAMES = 30
BODY = np.stack([np.linspace(0, 30, 17), np.linspace(0, 90, 17) % 37 * 2.5], axis=-1)  # about 30 by 90 px


def standing(x, frames=range(FRAMES), score=0.8, seed=0):
    """{frame: (keypoints [K, 2], scores [K])} of somebody who only trembles."""
    random = np.random.default_rng(seed)
    return {t: (BODY + (x, 10) + random.normal(0, 0.3, BODY.shape), np.full(17, score)) for t in frames}


def waving(x, frames=range(FRAMES), score=0.8):
    """Somebody of whom one arm's two keypoints move."""
    person = standing(x, frames, score)
    for t, (keypoints, _) in person.items():
        keypoints[[7, 9], 1] += 25 * np.sin(t)
    return person


def walking(x, frames=range(FRAMES), score=0.8, speed=3.0):
    return {t: (BODY + (x + speed * t, 10), np.full(17, score)) for t in frames}


def predictions(people, num_frames=FRAMES, pose_skeleton=None):
    """`Predictions` of {identity: {frame: (keypoints, scores)}}."""
    moments = []
    for t in range(num_frames):
        there = {identity: person[t] for identity, person in people.items() if t in person}
        points = np.array([points for points, _ in there.values()]).reshape(-1, 17, 2)
        scores = np.array([scores for _, scores in there.values()]).reshape(-1, 17)
        poses = None if pose_skeleton is None else np.full((len(there), pose_skeleton.num_keypoints, 3), float(t))
        boxes = np.zeros((len(there), 4))
        moments.append(Moment(t, np.array([*there], int), scores.mean(axis=1), boxes, points, scores, poses))
    return Predictions("walk.mp4", COCO, 25.0, (240, 320), moments, pose_skeleton)


def importance(person):
    return slots.importance(*(np.stack(arrays) for arrays in zip(*person.values(), strict=True)))


def test_importance_is_the_formula():
    person = walking(0, range(11), 0.6, speed=1)
    size = np.linalg.norm(np.ptp(BODY, axis=0))
    motion = 5 / size  # 0, 1, 1, 2, 2, ..., 5, 5 px from the middle: the tenth of eleven
    assert 0.01 < motion < 0.1  # on the slope
    assert importance(person) == pytest.approx(10 * 0.6 * motion / 0.1, rel=1e-6)
    assert importance(walking(0, range(9), 0.6, speed=20)) == pytest.approx(8 * 0.6)
    assert importance(standing(0, range(9), 0.6)) == pytest.approx(8 * 0.6 * 0.1)
    assert importance(standing(0, range(1))) == importance(standing(0, range(9), 0.0)) == 0


def test_a_stray_keypoint_does_not_move_a_poster():
    person = standing(0, range(20))
    person[7][0][3] = 1e5, 1e5
    assert importance(person) == pytest.approx(importance(standing(0, range(20))))
    assert importance(waving(0, range(20))) > 5 * importance(person)


@pytest.mark.parametrize("person", [waving(150), walking(150), waving(150, range(8)), walking(150, score=0.3)])
def test_a_poster_loses_against_who_moves_and_a_ghost_against_everybody(person):
    ghost = {12: (BODY + (80, 50), np.ones(17))}
    people = {0: standing(20, score=0.9), 1: ghost, 2: person}
    filled = slots.fill(predictions(people), max_people=3)
    assert [slot[0] for slot in filled.ids][:2] == [2, 0]
    assert slots.fill(predictions(people), max_people=1).ids[0][0] == 2


def test_equals_come_in_their_order():
    people = {identity: walking(50 * identity) for identity in (3, 1, 2)}
    filled = slots.fill(predictions(people), max_people=2)
    assert filled.ids == ((3,), (1,)) and filled.left_out == (2,)
    np.testing.assert_allclose(filled.keypoints[1, 4], walking(50)[4][0], rtol=1e-6)


def test_who_lost_the_identity_goes_on_in_the_same_slot_and_the_gap_stays_a_gap():
    people = {0: walking(0, range(12)), 1: walking(200), 2: walking(0, range(15, FRAMES))}
    filled = slots.fill(predictions(people))
    assert filled.ids == ((1,), (2, 0)) and filled.left_out == ()
    np.testing.assert_allclose(filled.keypoints[1, 20], walking(0)[20][0], rtol=1e-6)
    assert (filled.scores[1, :12] > 0).all() and (filled.scores[1, 15:] > 0).all()
    assert not filled.scores[1, 12:15].any() and not filled.keypoints[1, 12:15].any()
    assert filled.keypoints.dtype == filled.scores.dtype == "float32"


def test_somebody_elsewhere_takes_an_empty_slot_and_the_nearer_of_two_otherwise():
    first, far, near = walking(0, range(12), speed=1), walking(220, range(15, 30)), walking(5, range(15, 29), speed=1)
    assert slots.fill(predictions({0: first, 1: far})).ids == ((1,), (0,))
    assert slots.fill(predictions({0: first, 1: far}), max_people=1).ids == ((1, 0),)
    second = walking(180, range(11), speed=3)
    filled = slots.fill(predictions({0: first, 1: second, 2: far, 3: near}))
    assert sorted(sorted(slot) for slot in filled.ids) == [[0, 3], [1, 2]]


def test_who_interleaves_with_another_has_a_slot_of_their_own():
    people = {0: walking(0, [*range(5), *range(20, 30)]), 1: walking(10, range(8, 15))}
    assert slots.fill(predictions(people), 1) is not None
    assert slots.fill(predictions(people), 1).left_out == (1,)


def test_poses_go_with_their_people():
    filled = slots.fill(predictions({0: walking(0, range(3, 9))}, pose_skeleton=H36M))
    assert filled.poses_m.shape == (1, FRAMES, 17, 3)
    assert (filled.poses_m[0, 5] == 5).all() and not filled.poses_m[0, 9:].any()


def test_nobody_is_one_person_of_missing_keypoints():
    for people in ({}, {0: standing(0, score=0.0)}):
        filled = slots.fill(predictions(people))
        assert filled.keypoints.shape == (1, FRAMES, 17, 2) and not filled.scores.any() and filled.ids == ((),)


def test_keypoints_of_low_scores_are_missing():
    person = walking(0)
    for t, (_, scores) in person.items():
        scores[4] = 0.3
        scores[:] = 0.3 if t == 9 else scores
    filled = slots.fill(predictions({0: person}), min_score=0.3)
    assert not filled.scores[0, :, 4].any() and not filled.keypoints[0, :, 4].any() and not filled.scores[0, 9].any()
    assert filled.scores[0, 8, 5] == np.float32(0.8)
    assert slots.fill(predictions({0: person})).scores[0, 9].all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="at least one frame, got none of walk.mp4"):
        slots.fill(predictions({}, 0))
    with pytest.raises(ValueError, match="max_people must be at least 1, got 0"):
        slots.fill(predictions({}), 0)
