"""Poses in space: of whole tracks, and of each frame as it comes."""

import keras
import numpy as np
import pytest

from kerapose import Pipeline, models, predictors
from kerapose.pipeline.space import LiveLift
from kerapose.skeletons import COCO, H36M
from tests.pipeline.conftest import Dancers, pictures


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(2)
    return models.TemporalLifter(filter_widths=(3, 3), channels=16, causal=True)


@pytest.fixture(scope="module")
def lifter(network):
    return predictors.Lifter(network, COCO, pose_skeleton=H36M, input_skeleton=H36M, flip_test=False)


def of_stream(lifter, find, count, **options):
    pipeline = Pipeline(find, lifter, smooth=False, **options)
    return list(pipeline.stream(pictures(count, width=700)))


def of_whole(lifter, find, count, **options):
    return Pipeline(find, lifter, smooth=False, **options)(pictures(count, width=700)).moments


def poses_of(moments, identity):
    """{frame: pose [J, 3]} of one person."""
    return {
        moment.frame: moment.poses_m[moment.ids.tolist().index(identity)]
        for moment in moments
        if identity in moment.ids.tolist()
    }


def test_a_stream_lifts_as_whole_tracks_are_lifted(lifter):
    """A causal network sees no more of a whole track than of a stream."""
    there = [lambda frame: True, lambda frame: frame >= 5, *[lambda frame: frame >= 12] * 5]  # more than four
    streamed, whole = of_stream(lifter, Dancers(there), 30), of_whole(lifter, Dancers(there), 30)
    assert [moment.ids.tolist() for moment in streamed] == [moment.ids.tolist() for moment in whole]
    for one, other in zip(streamed, whole, strict=True):
        assert one.poses_m.shape == (len(one.ids), 17, 3)
        np.testing.assert_allclose(one.poses_m, other.poses_m, atol=1e-5)
    assert np.ptp([moment.poses_m[0] for moment in streamed], axis=0).max() > 1e-3
    np.testing.assert_array_equal(streamed[-1].poses_m[:, 0], 0)


def test_whoever_was_away_for_a_while_goes_on_where_they_were_last(lifter):
    def seen(frame):
        return not 8 <= frame < 13

    find = Dancers([seen, lambda frame: True])
    poses = poses_of(of_stream(lifter, find, 20), 0)
    held = Dancers()
    held.keypoints = lambda person, frame: Dancers.keypoints(held, person, 7 if 8 <= frame < 13 else frame)
    expected = poses_of(of_stream(lifter, held, 20), 0)
    assert sorted(poses) == [*range(8), *range(13, 20)]
    for frame, pose in poses.items():
        np.testing.assert_allclose(pose, expected[frame], atol=1e-5)


def test_a_place_of_somebody_gone_is_as_new_for_the_next(lifter):
    there = [lambda frame: frame < 6, lambda frame: True, lambda frame: frame > 40]
    streamed = of_stream(lifter, Dancers(there), 50)
    alone = Dancers([lambda frame: False, lambda frame: False, lambda frame: frame > 40])
    last = streamed[-1].ids.max()
    for frame, pose in poses_of(of_stream(lifter, alone, 50), 0).items():
        np.testing.assert_allclose(poses_of(streamed, last)[frame], pose, atol=1e-5)


def test_who_shows_too_little_has_no_pose_until_all_was_seen(lifter):
    class Half(Dancers):
        def __call__(self, image):
            (pose,) = super().__call__(image)
            if self.frame <= 5:
                pose.scores[COCO.index("left_ankle")] = 0
            if self.frame > 8:
                pose.scores[COCO.index("left_ankle")] = 0
            return [pose]

    poses = poses_of(of_stream(lifter, Half(), 12), 0)
    assert [bool(np.isfinite(pose).all()) for pose in poses.values()] == [False] * 5 + [True] * 7
    late = Dancers([lambda frame: frame >= 5])
    fresh = poses_of(of_stream(lifter, late, 8), 0)
    for frame in range(5, 8):  # what came before did not count
        np.testing.assert_allclose(poses[frame], fresh[frame], atol=1e-5)


def test_a_lifter_that_looks_into_the_future_is_refused_for_a_stream():
    network = models.TemporalLifter(filter_widths=(3,), channels=8)
    lifter = predictors.Lifter(network, COCO, pose_skeleton=H36M, input_skeleton=H36M)
    with pytest.raises(
        ValueError, match="takes a causal lifter, got one that looks into the future; train one with --ca"
    ):
        next(Pipeline(Dancers(), lifter).stream(pictures(3)))
    assert np.isfinite(Pipeline(Dancers(), lifter)(pictures(3)).people[0].poses_m).all()


def test_what_is_kept_does_not_grow(lifter):
    lift = LiveLift(lifter, 0.0, max_missing=3)
    for moment in Pipeline(Dancers([lambda frame: frame % 60 < 8]), smooth=False).stream(pictures(400)):
        lift.see(moment, (80, 160))
        assert len(lift._places) <= 1 and len(lift._missed) <= 1 and len(lift._last) == 4
