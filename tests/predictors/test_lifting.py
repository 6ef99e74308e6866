"""Tracks of keypoints in, poses in space out."""

import keras
import numpy as np
import pytest

from kerapose import estimators, models, skeletons
from kerapose.predictors import Lifter, Pose3D

COCO, H36M = skeletons.COCO, skeletons.H36M
SIZE = (720, 1280)
BIRD = skeletons.Skeleton("bird", ("beak", "left_wing", "right_wing"), ((0, 1), (0, 2)))


def tiny_network(seed=0, **options):
    """As a trained one: a fresh network hardly tells one pose from another."""
    keras.utils.set_random_seed(seed)
    network = models.TemporalLifter(**({"filter_widths": (3, 3), "channels": 16, "dropout": 0.0} | options))
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if "variance" not in weight.path:
            weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return network


def track(frames=12, people=None, keypoints=17, seed=0):
    """Keypoints that drift, each in its own direction, on a screen of 1280 x 720."""
    random = np.random.default_rng(seed)
    leading = () if people is None else (people,)
    start = random.uniform(200, 500, (*leading, 1, keypoints, 2))
    speed = random.uniform(-5, 5, (*leading, 1, keypoints, 2))
    return (start + speed * np.arange(frames)[:, None, None]).astype("float32")


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def trajectory():
    return tiny_network(1, num_joints_out=1)


@pytest.fixture(scope="module")
def lift(network, trajectory):
    return Lifter(network, H36M, trajectory)


def slow_network(network, keypoints, permutation, output_permutation):
    """The published test of one track, [T, K, 2] -> [T, J, 3]: window by window, plain and mirrored."""
    height, width = SIZE
    screen = keypoints / width * 2 - np.float32([1, height / width])
    answers = []
    for sign, order, back in (
        (1, range(len(permutation)), range(len(output_permutation))),
        (-1, permutation, output_permutation),
    ):
        points = screen[:, list(order)] * np.float32([sign, 1])
        pad = network.pad
        padded = np.concatenate(
            [points[:1]] * (pad + network.causal_shift) + [points] + [points[-1:]] * (pad - network.causal_shift)
        )
        poses = [
            keras.ops.convert_to_numpy(network(padded[None, i : i + network.receptive_field], training=False))[0, 0]
            for i in range(len(points))
        ]
        answers.append(np.array(poses)[:, list(back)] * np.float32([sign, 1, 1]))
    return np.mean(answers, axis=0)


# ---------------------------------------- what is right
@pytest.mark.parametrize("frames", [1, 3, 12])  # the network sees 9
@pytest.mark.parametrize("causal", [False, True])
def test_poses_are_those_of_every_window_and_its_mirror_image(trajectory, frames, causal):
    network = tiny_network(causal=causal)
    keypoints = track(frames)
    pose = Lifter(network, H36M, trajectory)(keypoints, SIZE)
    expected = slow_network(network, keypoints, H36M.flip_permutation, H36M.flip_permutation)
    expected -= expected[:, :1]
    np.testing.assert_allclose(pose.poses_m, expected, atol=1e-4)
    assert not pose.poses_m[:, 0].any()  # the root is exactly 0
    way = slow_network(trajectory, keypoints, H36M.flip_permutation, (0,))  # [T, 1, 3]
    np.testing.assert_allclose(pose.poses_camera_m, expected + way, atol=1e-4)
    assert np.abs(expected).max() > 0.1
    assert np.ptp(expected, axis=0).max() > 0.01 or frames == 1


def test_the_result_has_names(lift):
    pose = lift(track(), SIZE)
    assert isinstance(pose, Pose3D)
    assert pose.names == H36M.keypoints == tuple(pose)
    assert pose.skeleton is H36M
    np.testing.assert_array_equal(pose["left_wrist"], pose.poses_m[:, H36M.index("left_wrist")])
    with pytest.raises(KeyError, match="no joint 'left_ear'; choose from hip, "):
        pose["left_ear"]


def test_without_a_trajectory_there_is_no_place(network):
    assert Lifter(network, H36M)(track(), SIZE).poses_camera_m is None


def test_people_at_once_are_people_one_by_one(lift):
    keypoints = track(people=3)
    together = lift(keypoints, SIZE)
    assert together.poses_m.shape == together.poses_camera_m.shape == (3, 12, 17, 3)
    for person, one in enumerate(keypoints):
        alone = lift(one, SIZE)
        np.testing.assert_allclose(together.poses_m[person], alone.poses_m, atol=1e-5)
        np.testing.assert_allclose(together.poses_camera_m[person], alone.poses_camera_m, atol=1e-5)
    nobody = lift(keypoints[:0], SIZE)
    assert nobody.poses_m.shape == nobody.poses_camera_m.shape == (0, 12, 17, 3)


def test_the_size_of_the_frame_counts_and_its_scale_does_not(lift):
    keypoints = track()
    np.testing.assert_allclose(lift(keypoints * 2, (1440, 2560)).poses_m, lift(keypoints, SIZE).poses_m, atol=1e-5)
    assert np.abs(lift(keypoints, (1440, 2560)).poses_m - lift(keypoints, SIZE).poses_m).max() > 1e-2


def test_flip_test_and_a_track_lifter_of_its_own(network, trajectory):
    keypoints = track()
    plain, averaged = (Lifter(network, H36M, flip_test=flip)(keypoints, SIZE).poses_m for flip in (False, None))
    assert np.abs(plain - averaged).max() > 1e-2
    whole = estimators.TrackLifter(network, H36M, trajectory=trajectory, flip_test=False)
    pose = Lifter(whole)(keypoints, SIZE)
    np.testing.assert_allclose(pose.poses_m, plain, atol=1e-5)
    assert pose.poses_camera_m is not None
    np.testing.assert_allclose(Lifter(whole, flip_test=True)(keypoints, SIZE).poses_m, averaged, atol=1e-5)


def test_the_training_form_lifts_too(network):
    keypoints = track()
    expected = Lifter(network, H36M)(keypoints, SIZE).poses_m
    np.testing.assert_allclose(
        Lifter(network.as_form(strided=True), H36M)(keypoints, SIZE).poses_m, expected, atol=1e-5
    )


# ---------------------------------------- other keypoint sets
def test_coco_keypoints_are_converted(network):
    keypoints = track(people=2)
    converted, _ = skeletons.convert(keypoints, np.ones(keypoints.shape[:-1]), COCO, H36M)
    expected = Lifter(network, H36M)(converted, SIZE).poses_m
    lift = Lifter(network, COCO)
    assert lift.input_skeleton is H36M
    np.testing.assert_allclose(lift(keypoints, SIZE).poses_m, expected, atol=1e-5)


def test_a_network_of_coco_keypoints_takes_them_as_they_are(network):
    """As of VideoPose3D's checkpoint for Detectron's keypoints: both sets have 17, so it has to be told."""
    keypoints = track()
    expected = slow_network(network, keypoints, COCO.flip_permutation, H36M.flip_permutation)
    given = Lifter(network, COCO, input_skeleton=COCO)
    whole = estimators.TrackLifter(network, COCO, H36M)
    for lift in (given, Lifter(whole)):  # a TrackLifter knows its set
        np.testing.assert_allclose(lift(keypoints, SIZE).poses_m, expected - expected[:, :1], atol=1e-4)


def test_a_set_of_ones_own():
    network = tiny_network(num_joints=3)
    pose = Lifter(network, BIRD, pose_skeleton=BIRD)(track(keypoints=3), SIZE)
    assert pose["left_wing"].shape == (12, 3)
    six = tiny_network(num_joints=16, num_joints_out=17)
    assert Lifter(six, skeletons.MPII)(track(keypoints=16), SIZE).poses_m.shape == (12, 17, 3)


def test_an_unused_keypoint_need_not_be_seen(network):
    """COCO's ears are no part of Human3.6M's joints; its eyes are, by the head."""
    keypoints, lift = track(), Lifter(network, COCO)
    expected = lift(keypoints, SIZE).poses_m
    deaf = keypoints.copy()
    deaf[:, [COCO.index("left_ear"), COCO.index("right_ear")]] = 0
    np.testing.assert_allclose(lift(deaf, SIZE).poses_m, expected, atol=1e-5)
    deaf[:, COCO.index("left_eye")] = 0
    with pytest.raises(ValueError, match="got no score above 0.0 for left_eye of person 0; use"):
        lift(deaf, SIZE)


# ---------------------------------------- gaps
def lost(keypoints, how):
    """Keypoints that went straight, without some of their places, and the scores that say so."""
    keypoints, scores = keypoints.copy(), np.ones(keypoints.shape[:-1], "float32")
    for joint, frames in ((3, slice(2, 5)), (7, slice(6, 7)), (13, slice(1, 11))):
        if how == "nan":
            keypoints[frames, joint] = np.nan
        elif how == "zero":
            keypoints[frames, joint] = 0
        else:
            keypoints[frames, joint] = 1e5
            scores[frames, joint] = {"score": 0, "low": 0.2, "nan score": np.nan}[how]
    return keypoints, scores if how in ("score", "low", "nan score") else None


@pytest.mark.parametrize("how", ["nan", "zero", "score", "low", "nan score"])
def test_what_was_lost_on_a_straight_way_changes_nothing(network, how):
    keypoints = track()
    lift = Lifter(network, H36M, min_score=0.3 if how == "low" else 0.0)
    gappy, scores = lost(keypoints, how)
    np.testing.assert_allclose(lift(gappy, SIZE, scores).poses_m, lift(keypoints, SIZE).poses_m, atol=1e-4)


def test_at_its_ends_a_lost_keypoint_stays_where_it_was(network):
    lift, keypoints = Lifter(network, H36M), track()
    gappy, held = keypoints.copy(), keypoints.copy()
    gappy[9:, 5], held[9:, 5] = np.nan, keypoints[8, 5]
    gappy[:4, 2], held[:4, 2] = np.nan, keypoints[4, 2]
    np.testing.assert_allclose(lift(gappy, SIZE).poses_m, lift(held, SIZE).poses_m, atol=1e-5)


def test_halves_of_a_pair_are_filled_before_their_middle_is_taken(network):
    """COCO's left hip is lost while the person turns; the right one still says where the hip is."""
    keypoints, lift = track(), Lifter(network, COCO)
    keypoints[:, COCO.index("right_hip"), 0] += np.float32([0, 40] * 6)  # not straight
    gappy = keypoints.copy()
    gappy[3:6, COCO.index("left_hip")] = np.nan
    np.testing.assert_allclose(lift(gappy, SIZE).poses_m, lift(keypoints, SIZE).poses_m, atol=1e-4)


# ---------------------------------------- what is refused
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"keypoints": track(keypoints=15)}, r"keypoints of h36m must be \[T, 17, 2\] .*got \(12, 15, 2\); give"),
        ({"keypoints": np.ones((12, 17, 3))}, r"got \(12, 17, 3\); give x and y alone"),
        ({"keypoints": track()[0]}, r"got \(17, 2\); give"),
        ({"keypoints": track(0)}, "at least one frame, got keypoints of .0, 17, 2.; leave it out"),
        ({"frame_size": None}, r"frame_size is \(height, width\), .*None\); give"),
        ({"frame_size": (0, 1280)}, r"\(0, 1280\)\); give"),
        ({"frame_size": (720, -1)}, r"\(720, -1\)\); give"),
        ({"frame_size": 720}, ".720.; give"),
        ({"frame_size": (720, 1280, 3)}, ".720, 1280, 3..; give"),
        ({"frame_size": (720, np.nan)}, ".720, nan..; give"),
        ({"frame_size": (1080.5, 1280)}, ".1080.5, 1280..; give"),
        ({"keypoints": track() / 1280}, "Keypoints are in pixels, got one"),
        ({"keypoints": track() / 640 - 1}, "Keypoints are in pixels, got one"),
        ({"keypoints": track() + 2000}, "Keypoints lie in the frame, got one"),
        ({"scores": np.full((12, 17), 95)}, "Scores are 0 to 1, got one with a score above 10"),
        ({"scores": np.ones((11, 17))}, r"scores must be \(12, 17\), one per keypoint, got \(11, 17\); give"),
        ({"scores": np.zeros((12, 17))}, "no keypoint with a score above 0.0 in any frame; leave"),
        ({"keypoints": np.full((12, 17, 2), np.nan)}, "no keypoint with a score above 0.0 in any frame"),
        (
            {"keypoints": track() * (np.arange(17) != 4)[:, None]},
            "at least one frame of a track, got no score above 0.0 for left_hip of person 0; use",
        ),
    ],
)
def test_bad_tracks_get_one_sentence(lift, change, sentence):
    arguments = {"keypoints": track(), "frame_size": SIZE, "scores": None} | change
    with pytest.raises(ValueError, match=sentence):
        lift(**arguments)


def test_the_person_who_is_nowhere_is_named(lift, caplog):
    scores = np.ones((3, 12, 17))
    scores[1] = 0
    pose = lift(track(people=3), SIZE, scores)
    assert "1 of 3 people are seen in no frame (1); their poses are NaN" in caplog.text
    assert np.isnan(pose.poses_m).all(axis=(1, 2, 3)).tolist() == [False, True, False]
    assert np.isfinite(pose.poses_m[[0, 2]]).all()


def test_what_does_not_fit_together_is_refused(network, trajectory):
    with pytest.raises(ValueError, match="got h36m and bird for one of 16 keypoints; give its set as input_skeleton"):
        Lifter(tiny_network(num_joints=16, num_joints_out=17), BIRD)
    with pytest.raises(ValueError, match="got bird for one of 17 keypoints; give"):
        Lifter(network, BIRD, input_skeleton=BIRD)
    with pytest.raises(ValueError, match="A network for mpii gives 16 joints, got one of 17; give the pose_skeleton"):
        Lifter(network, H36M, pose_skeleton=skeletons.MPII)
    with pytest.raises(
        ValueError, match="sees keypoints of h36m, which must follow from those given, of bird: .*; use a lif"
    ):
        Lifter(network, BIRD)
    whole = estimators.TrackLifter(network, COCO, H36M)
    with pytest.raises(
        ValueError, match="of coco, which must follow from those given, of h36m: left_eye, right_eye, .* cannot"
    ):
        Lifter(whole, H36M)
    with pytest.raises(ValueError, match="This TrackLifter has its own trajectory, pose_skeleton, by which it was tr"):
        Lifter(whole, COCO, trajectory, pose_skeleton=COCO)
    with pytest.raises(ValueError, match="This TrackLifter has its own input_skeleton, by which it was trained"):
        Lifter(whole, COCO, input_skeleton=H36M)
    with pytest.raises(ValueError, match="A network alone does not know its skeleton, got TemporalLifter; give"):
        Lifter(network)
