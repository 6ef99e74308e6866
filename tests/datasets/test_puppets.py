"""The puppets: bodies, motions, cameras and detections, and the builder on a few performers."""

import importlib
import pathlib
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import prepared
from kerapose.skeletons import COCO

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
puppets = importlib.import_module("puppets.puppets_dataset_builder")
body, camera, detector, linear_baseline, motions, performers, scene = (
    importlib.import_module(f"puppets.{name}")
    for name in ("body", "camera", "detector", "linear_baseline", "motions", "performers", "scene")
)

SEED = 7
FEW_PERFORMERS = {"train": range(0, 2), "validation": range(2, 3), "test": range(3, 5)}


@pytest.fixture(scope="module")
def scenes():
    """Three performers in every action, by (action, number)."""
    return {
        (action, number): scene.make_scene(SEED, number, action, 0) for action in motions.ACTIONS for number in range(3)
    }


def track(one, name):
    return one.points_m[:, body.POINTS.index(name)]


# -------------------------------------------------------------------------------------------------------- the builder
class PuppetsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = puppets.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["clips"]  # test_puppets_images.py has the other
    SPLITS = {"train": 28, "validation": 14, "test": 28}
    EXAMPLE_DIR = ROOT / "datasets" / "puppets"  # nothing is read: the clips are computed

    def setUp(self):
        super().setUp()
        few = mock.patch.dict(puppets.PERFORMERS, FEW_PERFORMERS)
        few.start()
        self.addCleanup(few.stop)


def test_elements(tmp_path, monkeypatch):
    monkeypatch.setattr(puppets, "PERFORMERS", FEW_PERFORMERS)
    builder = puppets.Builder(data_dir=tmp_path)
    assert builder.builder_config.name == "clips"
    builder.download_and_prepare()
    clips = list(tfds.as_numpy(builder.as_dataset(split="train")))
    assert builder.info.metadata["skeleton"] == "coco"
    assert builder.info.features["label"].names == list(motions.ACTIONS)
    assert sorted(clip["label"] for clip in clips) == sorted(list(range(14)) * 2)
    for clip in clips:
        num_frames = clip["keypoints"].shape[1]
        assert 20 <= num_frames <= 100
        assert clip["keypoints"].shape == (1, num_frames, 17, 2) and clip["keypoints"].dtype == np.float32
        assert clip["scores"].shape == (1, num_frames, 17) and clip["scores"].dtype == np.float32
        assert clip["frame_size"].shape == (2,) and clip["frame_size"].dtype == np.int32
        number, action = clip["name"].decode().split("_", 1)
        assert action == f"{list(motions.ACTIONS)[clip['label']]}_0"
        expected = scene.make_clip(puppets.SEED, int(number.removeprefix("performer")), action[:-2], 0)
        np.testing.assert_array_equal(clip["keypoints"], expected["keypoints"])


def test_no_performer_is_in_two_splits():
    numbers = [number for split in puppets.PERFORMERS.values() for number in split]
    assert len(numbers) == len(set(numbers))
    assert [len(split) * 14 * puppets.TAKES for split in puppets.PERFORMERS.values()] == [896, 224, 448]


def test_the_same_arguments_make_the_same_clip_and_others_make_another():
    first, again = (scene.make_clip(SEED, 3, "kick", 0) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    for other in [(SEED + 1, 3, "kick", 0), (SEED, 4, "kick", 0), (SEED, 3, "kick", 1)]:
        different = scene.make_clip(*other)
        assert different["keypoints"].shape != first["keypoints"].shape or np.any(
            different["keypoints"] != first["keypoints"]
        )


# ----------------------------------------------------------------------------------------------------------- the body
def test_bones_keep_their_lengths(scenes):
    for (action, number), one in scenes.items():
        for start, end in body.BONES:
            length = np.linalg.norm(track(one, end) - track(one, start), axis=-1)
            np.testing.assert_allclose(length, length[0], rtol=1e-9, err_msg=f"{action} {number} {start} {end}")


def test_segments_have_the_lengths_of_the_table():
    lengths = body.segment_lengths(1.80, {"thigh": 1.1})
    points = body.forward_kinematics({name: np.array([0.3, -0.2]) for name in body.ANGLES}, lengths)
    place = dict(zip(body.POINTS, np.swapaxes(points, 0, 1), strict=True))
    for side in body.SIDES:
        for start, end, metres in [
            ("hip", "knee", 1.80 * 0.245 * 1.1),
            ("knee", "ankle", 1.80 * 0.246),
            ("shoulder", "elbow", 1.80 * 0.186),
            ("elbow", "wrist", 1.80 * 0.146),
        ]:
            length = np.linalg.norm(place[f"{side}_{end}"] - place[f"{side}_{start}"], axis=-1)
            np.testing.assert_allclose(length, metres)


def test_a_person_of_zero_angles_stands_upright():
    points = body.place({name: np.zeros(3) for name in body.ANGLES}, body.segment_lengths(1.70))
    place = dict(zip(body.POINTS, points[0], strict=True))
    np.testing.assert_allclose(place["head_top"], [0, 0, 1.70], atol=1e-9)
    assert place["left_wrist"][1] > 0 > place["right_wrist"][1]
    assert place["nose"][0] > 0 and place["left_toe"][0] > place["left_heel"][0]
    np.testing.assert_allclose(place["left_heel"][2], 0, atol=1e-9)


@pytest.mark.parametrize(
    "angle, point, axis",
    [
        ("left_shoulder_flexion", "left_wrist", [1, 0, 0]),
        ("right_shoulder_flexion", "right_wrist", [1, 0, 0]),
        ("left_shoulder_abduction", "left_wrist", [0, 1, 0]),
        ("right_shoulder_abduction", "right_wrist", [0, -1, 0]),
        ("left_hip_flexion", "left_knee", [1, 0, 0]),
        ("right_hip_abduction", "right_knee", [0, -1, 0]),
        ("left_knee_flexion", "left_ankle", [-1, 0, 0]),
        ("left_elbow_flexion", "left_wrist", [1, 0, 0]),
        ("left_foot_pitch", "left_toe", [0, 0, -1]),
        ("pelvis_pitch", "thorax", [1, 0, 0]),
        ("spine_flexion", "thorax", [1, 0, 0]),
        ("pelvis_roll", "thorax", [0, 1, 0]),
        ("spine_bend", "thorax", [0, 1, 0]),
        ("head_flexion", "nose", [1, 0, 0]),
        ("head_tilt", "head_top", [0, 1, 0]),
        ("head_turn", "nose", [0, 1, 0]),
        ("spine_twist", "left_shoulder", [-1, 0, 0]),
        ("yaw", "nose", [0, 1, 0]),
    ],
)
def test_angles_have_the_documented_signs(angle, point, axis):
    straight = {name: np.zeros(1) for name in body.ANGLES}
    lengths = body.segment_lengths(1.70)
    moved = body.forward_kinematics(straight | {angle: np.array([0.2])}, lengths)
    offset = (moved - body.forward_kinematics(straight, lengths))[0, body.POINTS.index(point)]
    assert offset @ axis > 0.7 * np.linalg.norm(offset) > 0


def test_feet_stay_on_the_floor(scenes):
    soles = [body.POINTS.index(f"{side}_{end}") for side in body.SIDES for end in ("heel", "toe")]
    for (action, number), one in scenes.items():
        lowest = one.points_m[:, soles, 2].min(axis=1)
        assert lowest.min() > -1e-9, f"{action} {number}"
        assert one.points_m[..., 2].min() > -0.15, f"{action} {number}"
        if action not in ("run", "jump"):
            assert lowest.max() < 1e-9, f"{action} {number}"


def test_a_foot_that_bears_the_weight_stays_in_place():
    num_frames = 40
    angles = {name: np.zeros(num_frames) for name in body.ANGLES}
    angles["left_hip_flexion"] = np.linspace(0.4, -0.4, num_frames)
    angles["right_hip_flexion"] = np.linspace(-0.4, 0.4, num_frames)
    lengths = body.segment_lengths(1.70)
    points = body.place(angles, lengths, bearing=np.ones(num_frames))
    ankle, pelvis = points[:, body.POINTS.index("left_ankle")], points[:, body.POINTS.index("pelvis")]
    np.testing.assert_allclose(ankle[:, :2], np.broadcast_to(ankle[0, :2], (num_frames, 2)), atol=1e-9)
    np.testing.assert_allclose(pelvis[-1, 0], 2 * np.sin(0.4) * (lengths["thigh"] + lengths["shank"]))


# -------------------------------------------------------------------------------------------------------- the motions
def test_motions_are_smooth(scenes):
    for (action, number), one in scenes.items():
        speed = np.linalg.norm(np.diff(one.points_m, axis=0), axis=-1) * one.fps
        assert speed.max() < 20, f"{action} {number}: {speed.max():.1f} m/s"


@pytest.mark.parametrize("side, other", [("left", "right"), ("right", "left")])
def test_wave_raises_the_wrist_of_its_own_side(side, other):
    for number in range(8):
        one = scene.make_scene(SEED, number, f"wave_{side}", 0)
        raised = {hand: np.ptp(track(one, f"{hand}_wrist")[:, 2]) for hand in (side, other)}
        path = {hand: np.linalg.norm(np.diff(track(one, f"{hand}_wrist"), axis=0), axis=1).sum() for hand in raised}
        height = track(one, f"{side}_wrist")[:, 2] - track(one, f"{side}_elbow")[:, 2]
        assert height.max() > 0.1
        assert path[side] > path[other]


def test_people_stand_up_from_where_others_sit_down(scenes):
    for number in range(3):
        down, up = (track(scenes[action, number], "pelvis")[:, 2] for action in ("sit_down", "stand_up"))
        assert down[0] - down[-1] > 0.25 and up[-1] - up[0] > 0.25


def test_a_reversed_motion_runs_backwards():
    performer = performers.make_performer(SEED, 0)
    motion = motions.sit_down(performer, np.random.default_rng(0), 25)
    backward = motion.reversed()
    for name in body.ANGLES:
        np.testing.assert_array_equal(backward.angles[name], motion.angles[name][::-1])


def test_only_the_dominant_limb_strikes():
    for number in range(12):
        performer = performers.make_performer(SEED, number)
        strong, weak = performer.dominant, motions.other(performer.dominant)
        for action, joint in (("kick", "ankle"), ("throw", "wrist")):
            one = scene.make_scene(SEED, number, action, 0)
            speed = {
                side: np.linalg.norm(np.diff(track(one, f"{side}_{joint}"), axis=0), axis=1).max()
                for side in body.SIDES
            }
            assert speed[strong] > speed[weak], f"{action} {number}"


def test_most_performers_are_right_handed():
    people = [performers.make_performer(SEED, number) for number in range(400)]
    left = np.mean([person.dominant == "left" for person in people])
    heights_m = np.array([person.height_m for person in people])
    assert 0.08 < left < 0.22
    assert heights_m.min() > 1.40 and heights_m.max() < 2.05
    assert abs(heights_m.mean() - 1.69) < 0.02


def test_people_jump_turn_and_get_about(scenes):
    for number in range(3):
        soles = [body.POINTS.index(f"{side}_{end}") for side in body.SIDES for end in ("heel", "toe")]
        assert scenes["jump", number].points_m[:, soles, 2].min(axis=1).max() > 0.08
        for action, metres in (("walk", 0.5), ("run", 0.6)):
            pelvis = track(scenes[action, number], "pelvis")
            assert np.linalg.norm(pelvis[-1, :2] - pelvis[0, :2]) > metres, action
        shoulders = track(scenes["turn", number], "left_shoulder") - track(scenes["turn", number], "right_shoulder")
        heading = np.unwrap(np.arctan2(shoulders[:, 1], shoulders[:, 0]))
        assert np.ptp(heading) > 1.2


def test_keyframes_go_through_their_values_and_hold_at_the_ends():
    values = motions.keyframes(np.array([-1.0, 0.1, 0.5, 0.7, 0.9, 2.0]), (0.1, 0.5, 0.9), (3.0, -1.0, 1.0))
    np.testing.assert_allclose(values, [3.0, 3.0, -1.0, 0.0, 1.0, 1.0], atol=1e-12)


# ---------------------------------------------------------------------------------------------- camera and detections
def slow_projection(view, frame, point_m):
    """One point of one frame, written out: to camera axes, then similar triangles."""
    offset = [point_m[axis] - view.position_m[axis] for axis in range(3)]
    right, down, forward = (sum(row[axis] * offset[axis] for axis in range(3)) for row in view.rotation[frame])
    return [
        view.focal_px * right / forward + view.center_px[0],
        view.focal_px * down / forward + view.center_px[1],
    ], forward


def test_projection_equals_the_slow_formula(scenes):
    one = scenes["walk", 1]
    points_px, depth = camera.project(one.view, one.points_m)
    for frame in (0, len(points_px) // 2, len(points_px) - 1):
        for point in range(len(body.POINTS)):
            expected_px, expected_depth = slow_projection(one.view, frame, one.points_m[frame, point])
            np.testing.assert_allclose(points_px[frame, point], expected_px, rtol=1e-9)
            np.testing.assert_allclose(depth[frame, point], expected_depth, rtol=1e-9)


def test_a_camera_looks_at_its_target_with_the_sky_above():
    target_m = np.array([[1.0, 2.0, 1.0]])
    rotation = camera.look_at(np.array([5.0, 1.0, 2.0]), target_m, roll=0.0)
    view = camera.Camera((480, 640), 500.0, np.array([320.0, 240.0]), np.array([5.0, 1.0, 2.0]), rotation)
    np.testing.assert_allclose(rotation[0] @ rotation[0].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation[0]), 1.0)
    points_px, depth = camera.project(view, np.stack([target_m[0], target_m[0] + [0, 0, 0.5]])[None])
    np.testing.assert_allclose(points_px[0, 0], [320, 240])
    np.testing.assert_allclose(depth[0, 0], np.sqrt(16 + 1 + 1))
    assert points_px[0, 1, 1] < 240  # what is higher lies further up in the picture
    np.testing.assert_allclose(points_px[0, 1, 0], 320)


def test_people_are_in_the_picture(scenes):
    shares = [camera.share_in_frame(one.view, one.points_m) for one in scenes.values()]
    assert np.mean(shares) > 0.97 and min(shares) > 0.8


def test_detections_lie_near_the_truth_and_are_sure_where_they_do():
    distances, scores = [], []
    for number in range(12):
        one, clip = scene.make_scene(SEED, number, "walk", 0), scene.make_clip(SEED, number, "walk", 0)
        points_px, depth = camera.project(one.view, one.points_m)
        height_px = one.performer.height_m * one.view.focal_px / depth[:, :1]
        truth_px = points_px[:, [body.POINTS.index(name) for name in COCO.keypoints]]
        distances.append((np.linalg.norm(clip["keypoints"][0] - truth_px, axis=-1) / height_px).ravel())
        scores.append(clip["scores"][0].ravel())
        absent = clip["scores"][0] == 0
        np.testing.assert_array_equal(clip["keypoints"][0][absent], 0)
        assert camera.in_frame(one.view, clip["keypoints"][0][~absent]).all()
    distances, scores = np.concatenate(distances), np.concatenate(scores)
    assert scores.min() >= 0.0 and scores.max() <= 1.0
    assert 0.002 < np.mean(scores == 0) < 0.05
    assert np.median(distances[scores > 0.7]) < 0.02
    assert np.median(distances[scores > 0.7]) < 0.5 * np.median(distances[(scores > 0) & (scores < 0.4)])


def test_a_face_is_hidden_from_behind_and_a_far_leg_by_the_near_one():
    points_m = body.place({name: np.zeros(1) for name in body.ANGLES}, body.segment_lengths(1.70))

    def hidden_from(x, y):
        position_m, target_m = np.array([x, y, 1.0]), np.array([[0.0, 0.0, 0.9]])
        view = camera.Camera(
            (480, 640), 500.0, np.array([320.0, 240.0]), position_m, camera.look_at(position_m, target_m, 0.0)
        )
        points_px, depth = camera.project(view, points_m)
        behind = detector.self_occlusion(points_px, depth, 1.70, view.focal_px / depth[:, :1])
        hidden = behind | detector.faces_away(points_m, view)
        return {name for name, is_hidden in zip(COCO.keypoints, hidden[0], strict=True) if is_hidden}

    assert {"nose", "left_eye", "right_eye"} <= hidden_from(-5.0, 0.0)
    assert not {"nose", "left_eye", "right_eye", "left_knee", "right_knee"} & hidden_from(5.0, 0.0)
    assert {"right_knee", "right_ankle", "right_ear"} <= hidden_from(0.0, 5.0)
    assert not {"left_knee", "left_ankle", "left_ear", "left_wrist"} & hidden_from(0.0, 5.0)


def test_jitter_lasts_for_a_few_frames():
    noise = detector.jitter(np.random.default_rng(0), 100, (400,), fps=25)

    def alike(frames):
        return np.mean(noise[frames:] * noise[: len(noise) - frames]) / np.mean(noise**2)

    np.testing.assert_allclose(noise.std(), 1.0, atol=0.03)
    assert 0.5 < alike(1) < 0.9 and alike(30) < 0.1


# ------------------------------------------------------------------------------------------------ the linear baseline
def test_the_baseline_sees_neither_place_nor_size():
    clip = scene.make_clip(SEED, 0, "squat", 0)
    keypoints, scores = clip["keypoints"][0].astype(float), clip["scores"][0]
    row = linear_baseline.flatten(keypoints, scores)
    moved = np.where(scores[..., None] > 0, 0.5 * keypoints + (30, -20), 0)
    assert row.shape == (16 * 17 * 2,)
    np.testing.assert_allclose(linear_baseline.flatten(moved, scores), row, atol=1e-9)


def test_the_baseline_learns_what_is_linear(monkeypatch):
    # To compile it takes longer than to train so few rows.
    monkeypatch.setattr("keras.src.trainers.trainer.model_supports_jit", lambda model: False)
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    rows = (np.eye(3)[labels] + 0.1 * rng.normal(size=(90, 3))).astype(np.float32)
    assert linear_baseline.accuracy(linear_baseline.fit(rows, labels, 3, weight_decay=1e-3), rows, labels) == 1.0


def test_the_baseline_reads_a_prepared_data_set_and_names_the_remedy_when_there_is_none(tmp_path, monkeypatch):
    with pytest.raises(prepared.NotPreparedError, match="run: python datasets/build.py puppets/clips"):
        linear_baseline.run(tmp_path)
    monkeypatch.setattr(puppets, "PERFORMERS", FEW_PERFORMERS)
    puppets.Builder(data_dir=tmp_path).download_and_prepare()
    rows, labels = linear_baseline.read_rows(prepared.find("puppets/clips", "validation", tmp_path), "validation")
    assert rows.shape == (14, 16 * 17 * 2)
    assert sorted(labels) == list(range(14))
