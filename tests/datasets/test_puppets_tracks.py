"""The puppets as 3D tracks: takes, cameras that stand still, detections, the builder and the linear lifter."""

import dataclasses
import importlib
import itertools
import pathlib
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data.prepared import NotPreparedError, find
from kerapose.skeletons import H36M, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
puppets = importlib.import_module("puppets.puppets_dataset_builder")
body, linear_lifter, motions, performers, tracks = (
    importlib.import_module(f"puppets.{name}") for name in ("body", "linear_lifter", "motions", "performers", "tracks")
)

SEED = 7
FEW_PERFORMERS = {"train": range(0, 2), "validation": range(2, 3), "test": range(3, 4)}
SOLES = [body.POINTS.index(f"{side}_{end}") for side in body.SIDES for end in ("heel", "toe")]


@pytest.fixture(scope="module")
def takes():
    """One take of each action, each by another performer, by action."""
    made = [tracks.make_take(SEED, number, 0) for number in range(len(tracks.ACTIONS))]
    return {take.action: take for take in made}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the data set of a few performers."""
    folder = tmp_path_factory.mktemp("tfds")
    with mock.patch.dict(puppets.PERFORMERS, FEW_PERFORMERS):
        puppets.Builder(data_dir=folder, config="tracks").download_and_prepare()
    return folder


# -------------------------------------------------------------------------------------------------------- the builder
class PuppetTracksTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = puppets.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["tracks"]
    SPLITS = {"train": 8, "validation": 4, "test": 4}
    EXAMPLE_DIR = ROOT / "datasets" / "puppets"  # nothing is read: the tracks are computed

    def setUp(self):
        super().setUp()
        few = mock.patch.dict(puppets.PERFORMERS, FEW_PERFORMERS)
        few.start()
        self.addCleanup(few.stop)


def test_elements(prepared):
    builder = tfds.builder("puppets/tracks", data_dir=prepared)
    assert Skeleton(**builder.info.metadata["skeleton"]) == H36M
    assert Skeleton(**builder.info.metadata["pose_skeleton"]) == H36M
    found = {track["name"].decode(): track for track in tfds.as_numpy(builder.as_dataset(split="train"))}
    expected = [record for number in range(2) for record in tracks.make_tracks(puppets.SEED, number, 0)]
    assert sorted(found) == sorted(record["name"] for record in expected)
    for record in expected:
        track, num_frames = found[record["name"]], len(record["scores"])
        assert tracks.LEAST_FRAMES <= num_frames <= tracks.MOST_FRAMES
        assert track["keypoints"].shape == (num_frames, 17, 2) and track["poses_world_m"].shape == (num_frames, 17, 3)
        for name in ("keypoints", "scores", "poses_world_m", "frame_size", "fps"):
            np.testing.assert_array_equal(track[name], record[name])
        for name, value in record["camera"].items():
            np.testing.assert_array_equal(track["camera"][name], value)
            assert track["camera"][name].dtype == np.float32
        for name in ("subject", "action", "camera_name"):
            assert track[name].decode() == record[name]
        who, what, camera_name = record["name"].split("/")
        assert (who, what, camera_name) == (record["subject"], f"{record['action']} 0", record["camera_name"])


def test_keypoints_follow_from_poses_and_camera(prepared):
    """The element itself must do: nothing else of the scene is kept."""
    builder = tfds.builder("puppets/tracks", data_dir=prepared)
    for track in tfds.as_numpy(builder.as_dataset(split="validation")):
        expected_px = slow_projection(track["poses_world_m"], track["camera"])
        height, width = track["frame_size"]
        assert expected_px.min() > 0 and (expected_px < [width, height]).all()
        size_px = np.ptp(expected_px[..., 1], axis=1).mean()
        distance = np.linalg.norm(track["keypoints"] - expected_px, axis=-1) / size_px
        assert 0.001 < np.median(distance) < 0.03


def test_every_split_has_every_action():
    for numbers in puppets.PERFORMERS.values():
        places = {(number + take) % len(tracks.ACTIONS) for number in numbers for take in range(puppets.TRACK_TAKES)}
        assert len(places) == len(tracks.ACTIONS) == 12
    assert set(itertools.chain(*tracks.ACTIONS.values())) == set(motions.ACTIONS)


def test_the_same_arguments_make_the_same_tracks_and_others_make_others():
    first, again = (tracks.make_tracks(SEED, 3, 0) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        for name in ("keypoints", "scores", "poses_world_m"):
            np.testing.assert_array_equal(one[name], other[name])
    for other in [(SEED + 1, 3, 0), (SEED, 4, 0), (SEED, 3, 1)]:
        different = tracks.make_tracks(*other)[0]["poses_world_m"]
        assert different.shape != first[0]["poses_world_m"].shape or np.any(different != first[0]["poses_world_m"])
    assert all(np.any(one["keypoints"] != other["keypoints"]) for one, other in itertools.combinations(first, 2))


# ----------------------------------------------------------------------------------------------------------- the take
def test_joints_stand_in_the_order_of_h36m(takes):
    points = takes["walk"].points_m
    for name, joint in zip(H36M.keypoints, tracks.JOINTS, strict=True):
        assert body.POINTS[joint] == {"hip": "pelvis", "head": "head_top"}.get(name, name)
    assert points[0, tracks.JOINTS[H36M.index("head")], 2] > points[0, tracks.JOINTS[0], 2] > 0.5


def test_bones_keep_their_lengths_and_feet_stay_on_the_floor(takes):
    for action, take in takes.items():
        poses_m = take.points_m[:, tracks.JOINTS]
        for start, end in H36M.edges[:9] + H36M.edges[10:]:  # nose and top of the head are both fixed in the skull
            length = np.linalg.norm(poses_m[:, end] - poses_m[:, start], axis=-1)
            np.testing.assert_allclose(length, length[0], rtol=1e-9, err_msg=f"{action} {start} {end}")
        skull = np.linalg.norm(poses_m[:, H36M.index("head")] - poses_m[:, H36M.index("nose")], axis=-1)
        np.testing.assert_allclose(skull, skull[0], rtol=1e-9)
        lowest = take.points_m[:, SOLES, 2].min(axis=1)
        assert lowest.min() > -1e-9 and lowest.max() < 0.6, action
        assert np.mean(lowest < 0.01) > (0.4 if action in ("run", "jump") else 0.7), action
        assert take.points_m[..., 2].min() > -0.15, action


def test_takes_are_long_and_smooth_and_stay_in_the_room(takes):
    for action, take in takes.items():
        assert tracks.LEAST_FRAMES <= len(take.points_m) <= tracks.MOST_FRAMES
        velocity = np.diff(take.points_m, axis=0) * take.fps
        assert np.linalg.norm(velocity, axis=-1).max() < 20, action
        # No worse than the motions themselves, whose kicks snap; a bad join would shake the pelvis.
        change = np.linalg.norm(np.diff(velocity[:, tracks.JOINTS], axis=0), axis=-1)
        assert change.max() < 12 and change[:, 0].max() < 4, f"{action}: {change.max()}, {change[:, 0].max()} m/s"
        pelvis = take.points_m[:, 0, :2]
        assert np.abs(pelvis).max() <= tracks.MOST_REACH_M
        np.testing.assert_allclose(pelvis.min(axis=0), -pelvis.max(axis=0), atol=1e-9)


def test_people_get_about_and_do_what_the_take_is_about(takes):
    reach = {action: np.ptp(take.points_m[:, 0, :2], axis=0).max() for action, take in takes.items()}
    assert np.mean([metres > 1 for metres in reach.values()]) > 0.5 and reach["walk"] > 1
    assert takes["jump"].points_m[:, SOLES, 2].min(axis=1).max() > 0.08
    height = takes["sit"].points_m[:, 0, 2]
    assert np.ptp(height) > 0.25
    wrists = [body.POINTS.index(f"{side}_wrist") for side in body.SIDES]
    elbows = [body.POINTS.index(f"{side}_elbow") for side in body.SIDES]
    above = takes["wave"].points_m[:, wrists, 2] - takes["wave"].points_m[:, elbows, 2]
    assert (above.max(axis=0) > 0.1).all()


def test_a_script_begins_anywhere_and_nobody_sits_down_twice():
    for seed in range(20):
        names = list(itertools.islice(tracks.script(np.random.default_rng(seed), "sit"), 40))
        assert set(names[:2]) & {"sit_down"}
        seats = [name for name in names if name in ("sit_down", "stand_up")]
        assert all(one != other for one, other in itertools.pairwise(seats))
    about = [name for name in names if name in tracks.GETTING_ABOUT]
    assert len(about) > 8


def test_joined_motions_keep_both_ends_and_face_on():
    performer = performers.make_performer(SEED, 0)
    first, second = (motions.ACTIONS[name](performer, np.random.default_rng(1), 25) for name in ("walk", "sit_down"))
    first.angles["yaw"] = first.angles["yaw"] + 2.0
    joined = motions.join(first, second, 25)
    overlap = len(first.bearing) + len(second.bearing) - len(joined.bearing)
    assert 7 <= overlap <= 25
    for name in body.ANGLES:
        angle = joined.angles[name]
        np.testing.assert_array_equal(angle[: len(first.bearing) - overlap], first.angles[name][:-overlap])
        last = second.angles[name][overlap:]
        shift = angle[-1] - last[-1]
        np.testing.assert_allclose(angle[-len(last) :], last + shift, atol=1e-12)
        assert name == "yaw" or shift == 0
        assert np.abs(np.diff(angle)).max() < 0.6, name
    assert np.abs(np.diff(joined.angles["yaw"])).max() < 0.15


def test_steering_turns_only_who_steps():
    performer = performers.make_performer(SEED, 0)
    motion = motions.walk(performer, np.random.default_rng(3), 25)
    motion.angles["yaw"] = np.zeros_like(motion.bearing)
    tracks.steer(motion, np.random.default_rng(0), 25)
    assert np.abs(np.diff(motion.angles["yaw"])).max() * 25 <= 1.2
    assert np.ptp(motion.angles["yaw"]) > 0.1
    still = dataclasses.replace(motion, bearing=np.full(60, 0.5), angles={"yaw": np.zeros(60)})
    tracks.steer(still, np.random.default_rng(0), 25)
    np.testing.assert_array_equal(still.angles["yaw"], 0)


# -------------------------------------------------------------------------------------------------------- the cameras
def slow_projection(points_m, camera):
    """Points of the world [T, J, 3] in pixels, one after the other: quaternion, lens, pixels."""
    w, x, y, z = np.asarray(camera["orientation"], float)
    to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    (k1, k2, k3), tangential = np.asarray(camera["radial"], float), np.asarray(camera["tangential"], float)
    pixels = np.empty((*points_m.shape[:2], 2))
    for frame, joint in np.ndindex(points_m.shape[:2]):
        right, down, forward = to_world.T @ (points_m[frame, joint] - np.asarray(camera["translation_m"], float))
        ray = np.array([right, down]) / forward
        r2 = ray @ ray
        bent = ray * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + tangential @ ray) + tangential * r2
        pixels[frame, joint] = camera["focal_px"] * bent + camera["center_px"]
    return pixels


def test_projection_equals_the_slow_formula(takes):
    take = takes["turn"]
    for view in take.views[:2]:
        points_m = take.points_m[::40, tracks.JOINTS]
        points_px, depth = tracks.project(view, points_m)
        np.testing.assert_allclose(points_px, slow_projection(points_m, view.described()), atol=2e-2)
        np.testing.assert_allclose(depth, ((points_m - view.position_m) * view.rotation[2]).sum(axis=-1))


def test_quaternions_of_any_rotation():
    rng = np.random.default_rng(0)
    made = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(20)]
    made = [matrix * np.linalg.det(matrix) for matrix in made] + [
        np.eye(3),
        *(np.diag(signs) for signs in ([1.0, -1, -1], [-1, 1, -1], [-1, -1, 1])),
    ]
    for matrix in made:
        found = tracks.quaternion(matrix)
        w, axis = found[0], found[1:]
        np.testing.assert_allclose(np.linalg.norm(found), 1)
        assert w >= 0
        for vector in np.eye(3):  # v + 2 w (a x v) + 2 a x (a x v)
            once = np.cross(axis, vector)
            np.testing.assert_allclose(vector + 2 * (w * once + np.cross(axis, once)), matrix @ vector, atol=1e-9)


def test_cameras_stand_all_round_and_see_the_whole_person(takes):
    for action, take in takes.items():
        assert [view.name for view in take.views] == ["c0", "c1", "c2", "c3"]
        bearings = np.sort([np.arctan2(*view.position_m[1::-1]) for view in take.views])
        gaps = np.diff(np.append(bearings, bearings[0] + 2 * np.pi))
        assert gaps.min() > np.radians(30), action
        for view in take.views:
            height, width = view.frame_size
            points_px, depth = tracks.project(view, take.points_m)
            assert points_px.min() > 0 and (points_px < [width, height]).all(), action
            assert depth.min() > tracks.NEAREST_M
            assert 3.5 <= np.hypot(*view.position_m[:2]) <= 8.0 and 0.8 <= view.position_m[2] <= 2.2
            assert (0.7 * width < view.focal_px).all() and (view.focal_px < 1.25 * width).all()
            np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-12)
            assert view.rotation[1, 2] < -0.8  # the picture's down is the world's down
            assert len({other.frame_size for other in take.views}) == 1


# ------------------------------------------------------------------------------------------------------ the detections
@pytest.fixture(scope="module")
def detections(takes):
    """Of two tracks a take: keypoints, scores, and how far from the truth they are, in statures of the person."""
    found = []
    for take, view in [(one, view) for one in takes.values() for view in one.views[::2]]:
        rng = np.random.default_rng([SEED, len(found)])
        keypoints, scores = tracks.detect(rng, view, take.points_m, take.performer.height_m, take.fps)
        points_px, depth = tracks.project(view, take.points_m)
        height_px = take.performer.height_m * view.focal_px[0] / depth[:, :1]
        found.append((keypoints, scores, (keypoints - points_px[:, tracks.JOINTS]) / height_px[..., None]))
    return found


def test_detections_lie_near_the_truth_and_are_sure_where_they_do(detections):
    scores = np.concatenate([scores.ravel() for _, scores, _ in detections])
    distances = np.concatenate([np.linalg.norm(error, axis=-1).ravel() for *_, error in detections])
    assert scores.min() >= 0 and scores.max() <= 1
    assert 0.001 < np.mean(scores == 0) < 0.02
    assert np.median(distances[scores > 0.7]) < 0.015
    assert np.median(distances[scores > 0.7]) < 0.6 * np.median(distances[(scores > 0) & (scores < 0.4)])
    by_joint = np.median(np.concatenate([np.linalg.norm(error, axis=-1) for *_, error in detections]), axis=0)
    assert by_joint[H36M.index("nose")] < by_joint[H36M.index("left_hip")]


def test_a_lost_keypoint_stays_where_it_was(detections):
    held = 0
    for keypoints, scores, _ in detections:
        assert keypoints.dtype == scores.dtype == np.float32
        assert np.abs(keypoints).max(axis=-1).min() > 1  # none at (0, 0)
        frames, joints = np.nonzero(scores[1:] == 0)
        np.testing.assert_array_equal(keypoints[frames + 1, joints], keypoints[frames, joints])
        held += len(frames)
    assert held > 30


def test_errors_last_for_a_few_frames(detections):
    errors = [np.where((scores > 0.5)[..., None], error, 0) for _, scores, error in detections]

    def alike(frames):
        shared = sum(np.sum(error[frames:] * error[:-frames]) for error in errors)
        return shared / sum(np.sum(error[frames:] ** 2) for error in errors)

    assert 0.4 < alike(1) < 0.95 and alike(25) < 0.15


def test_what_the_body_hides_is_found_less_well():
    lengths = body.segment_lengths(1.70)
    points_m = body.place({name: np.zeros(300) for name in body.ANGLES}, lengths)
    position_m = np.array([0.0, 5.0, 1.0])  # to the left of the person
    rotation = tracks.camera.look_at(position_m, np.array([[0.0, 0.0, 0.9]]), 0.0)[0]
    view = tracks.View(
        "c0", (1000, 1000), np.full(2, 1100.0), np.full(2, 500.0), np.zeros(3), np.zeros(2), position_m, rotation
    )
    near, far = [], []
    for seed in range(4):
        keypoints, scores = tracks.detect(np.random.default_rng(seed), view, points_m, 1.70, 25)
        error = np.linalg.norm(keypoints - tracks.project(view, points_m)[0][:, tracks.JOINTS], axis=-1)
        for side, results in (("left", near), ("right", far)):
            joints = [H36M.index(f"{side}_{joint}") for joint in ("knee", "ankle", "elbow")]
            results.append((scores[:, joints].mean(), np.median(error[:, joints])))
    (near_score, near_error), (far_score, far_error) = np.mean(near, axis=0), np.mean(far, axis=0)
    assert far_score < 0.75 * near_score and far_error > 1.5 * near_error


# ---------------------------------------------------------------------------------------------------- the linear lifter
def test_the_linear_lifter_finds_a_linear_map_and_averages_over_actions():
    rng = np.random.default_rng(0)
    keypoints, weights = rng.normal(size=(200, 5, 2)), rng.normal(size=(11, 12))
    poses_m = (np.concatenate([np.ones((200, 1)), keypoints.reshape(200, -1)], axis=1) @ weights).reshape(200, 4, 3)
    np.testing.assert_allclose(linear_lifter.fit(keypoints, poses_m), weights, atol=1e-9)
    np.testing.assert_allclose(linear_lifter.predict(weights, keypoints), poses_m, atol=1e-9)
    moved = poses_m + np.where(np.arange(200) < 50, 0.1, 0.3)[:, None, None] * [1.0, 0, 0]
    actions = np.where(np.arange(200) < 50, "walk", "run")
    np.testing.assert_allclose(linear_lifter.error_mm(moved, poses_m, actions), 200)


def test_a_centred_person_has_neither_place_nor_size():
    keypoints = np.random.default_rng(0).normal(size=(3, 17, 2))
    np.testing.assert_allclose(linear_lifter.centre(0.3 * keypoints + 2), linear_lifter.centre(keypoints))


def test_the_linear_lifter_reads_a_prepared_data_set_and_names_the_remedy_when_there_is_none(prepared, tmp_path):
    with pytest.raises(NotPreparedError, match="run: python datasets/build.py puppets/tracks"):
        linear_lifter.run(tmp_path)
    keypoints, poses_m, actions = linear_lifter.read_frames(find("puppets/tracks", "train", prepared), "train")
    assert keypoints.shape[1:] == (17, 2) and poses_m.shape == (len(keypoints), 17, 3)
    assert np.abs(keypoints).max() < 1.2
    np.testing.assert_array_equal(poses_m[:, 0], 0)
    assert set(actions) == {"walk", "run"}
    assert np.mean(poses_m[:, H36M.index("head"), 1]) < -0.4 < 0.4 < np.mean(poses_m[:, H36M.index("left_ankle"), 1])
    errors = linear_lifter.run(prepared)
    assert errors["linear regression"]["train"] < 0.6 * errors["mean pose"]["train"]
