"""The test of lifting beside the same figures worked out by hand; what cannot be tested is refused."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from kerapose import estimators, evaluation, metrics, models
from kerapose.data import tracks
from kerapose.evaluation import lifting
from kerapose.skeletons import COCO, H36M

LENGTHS = (12, 1, 7, 20)
SUBJECTS, ACTIONS = ["A", "A", "B", "B"], ["walk", "sit", "walk", "run"]


@pytest.fixture(scope="module")
def known():
    """Four tracks of poses in camera space; the second is a single frame."""
    random = np.random.default_rng(0)
    poses = [random.normal(0, 0.3, (length, 17, 3)) + [0, 0, 5] for length in LENGTHS]
    keypoints = [500 + 900 * each[..., :2] / each[..., 2:] for each in poses]
    names = [f"{subject}/{action}" for subject, action in zip(SUBJECTS, ACTIONS, strict=True)]
    sets = {"subjects": SUBJECTS, "actions": ACTIONS, "names": names, "poses_camera_m": poses}
    camera = {"focal_px": [900, 900], "center_px": [500, 500], "radial": np.zeros(3), "tangential": np.zeros(2)}
    return tracks.from_arrays(keypoints, (1000, 1000), cameras=camera, **sets)


@pytest.fixture(scope="module")
def lifter():
    """A lifter that has learnt nothing, and a trajectory network."""
    keras.utils.set_random_seed(0)
    options = {"filter_widths": (3, 3), "channels": 8}
    networks = (models.TemporalLifter(**options), models.TemporalLifter(num_joints_out=1, **options))
    return estimators.TrackLifter(networks[0], H36M, trajectory=networks[1])


def alone(lifter, known):
    """What the lifter makes of each track, asked for by pixels as a predictor does."""
    for track in tracks.sequences(known):
        keypoints = (track["keypoints_screen"] + 1) * 500
        yield track, lifter({"keypoints": keypoints[None], "frame_size": np.array([[1000, 1000]])})


def test_figures_are_those_of_every_track_as_a_whole(lifter, known):
    found = evaluation.lifting_figures(lifter, known)
    errors, apart, frames = {}, [], []
    for track, answer in alone(lifter, known):
        distance = np.linalg.norm(np.asarray(answer["poses_m"])[0] - track["poses_m"], axis=-1)  # [T, J]
        apart.extend(np.linalg.norm(np.asarray(answer["trajectory_m"])[0] - track["trajectory_m"], axis=-1))
        for key in (("action", track["action"]), ("subject", track["subject"], track["action"])):
            errors.setdefault(key, []).extend(1000 * distance.mean(axis=-1))
        frames.append(len(distance))
    assert (found["tracks"], found["frames"]) == (4, 40) and frames == list(LENGTHS)
    for action in set(ACTIONS):
        assert found["actions"][action]["mpjpe_mm"] == pytest.approx(np.mean(errors["action", action]), rel=1e-4)
    mean = np.mean([np.mean(errors["action", action]) for action in set(ACTIONS)])
    assert found["mpjpe_mm"] == pytest.approx(mean, rel=1e-4)
    for subject in "AB":
        of_actions = [np.mean(values) for key, values in errors.items() if key[:2] == ("subject", subject)]
        assert found["subjects"][subject]["mpjpe_mm"] == pytest.approx(np.mean(of_actions), rel=1e-4)
    assert found["trajectory_mm"] == pytest.approx(1000 * np.mean(apart), rel=1e-4)


def test_figures_are_for_json(lifter, known):
    """A track of one frame has no velocity."""
    found = evaluation.lifting_figures(lifter, known)
    assert found["actions"]["sit"]["mpjve_mm"] is None and found["actions"]["walk"]["mpjve_mm"] > 0
    assert "actions" not in found["subjects"]["A"] and set(found["subjects"]) == {"A", "B"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_a_trajectory_network_there_is_no_figure_of_it(lifter, known):
    alone = estimators.TrackLifter(lifter.network, H36M)
    figures = evaluation.lifting_figures(alone, known)
    both = evaluation.lifting_figures(lifter, known)
    assert figures == {name: value for name, value in both.items() if name != "trajectory_mm"}


def test_the_flip_test_is_the_lifters(lifter, known):
    plain = evaluation.lifting_figures(lifter.changed(flip_test=False), known)
    assert plain["mpjpe_mm"] != evaluation.lifting_figures(lifter, known)["mpjpe_mm"]


def test_lifted_tracks_are_what_metrics_take(lifter, known):
    found = evaluation.lifted_tracks(lifter, known)
    assert [(each["name"], each["subject"], each["action"]) for each in found] == [
        *zip(known.names, SUBJECTS, ACTIONS, strict=True)
    ]
    for each, (track, answer) in zip(found, alone(lifter, known), strict=True):
        np.testing.assert_allclose(each["predicted"], np.asarray(answer["poses_m"])[0], atol=1e-5)
        np.testing.assert_array_equal(each["truth"], track["poses_m"])
    mine = evaluation.lifted_tracks(lifter, known, lambda screen: np_like(screen))
    assert metrics.lifting_metrics(mine)["mpjpe_mm"] != metrics.lifting_metrics(found)["mpjpe_mm"]


def np_like(screen):
    """A lifter of ones own: every joint at the root."""
    return keras.ops.zeros((*screen.shape[:3], 3))


def test_tracks_of_all_lengths_share_one_graph(lifter):
    traced = []
    ask = lifting.compiled(lifter, lambda screen: traced.append(screen.shape) or 2 * screen)
    for length in (3, 9, 1):
        assert ask(np.ones((1, length, 17, 2), "float32")).shape == (1, length, 17, 2)
    assert [tuple(shape) for shape in traced] == [(None, None, 17, 2)]


@pytest.mark.parametrize("field", ["skeleton", "pose_skeleton"])
def test_tracks_of_another_set_are_refused(lifter, known, field):
    with pytest.raises(ValueError, match="Tracks to test a lifter with are of its own h36m, got coco; give others"):
        evaluation.lifting_figures(lifter, dataclasses.replace(known, **{field: COCO}))


def test_tracks_without_poses_are_refused(lifter, known):
    with pytest.raises(ValueError, match="must have poses, got 2D alone; give labelled tracks"):
        evaluation.lifting_figures(lifter, dataclasses.replace(known, poses_camera_m=None))
