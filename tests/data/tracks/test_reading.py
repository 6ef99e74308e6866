"""Sources of tracks: arrays and TFDS data sets come in alike, and what is bad is refused by name."""

import dataclasses
import json

import numpy as np
import pytest
from strolls import CAMERA, SIZE, arrays, of_batch, seen

from kerapose.data import tracks as track_data
from kerapose.ops import cameras as camera_ops
from kerapose.skeletons import H36M


def test_from_arrays_takes_poses_to_their_camera(tracks):
    world = np.concatenate(arrays()["poses_world_m"])
    x, y, z = np.moveaxis(world - CAMERA["translation_m"], -1, 0)
    np.testing.assert_allclose(tracks.poses_camera_m, np.stack([-y, -z, x], axis=-1), atol=1e-6)
    pixels = np.concatenate(arrays()["keypoints"])
    np.testing.assert_allclose(tracks.keypoints_screen, pixels / 500 - [1, 1.002], atol=1e-6)
    np.testing.assert_allclose(tracks.cameras[1, :4], [2.29, 2.288, 0.024, 0.028], atol=1e-6)
    np.testing.assert_allclose(tracks.cameras[2, 4:], [-0.2, 0.24, -0.003, -0.0009, -0.0014], atol=1e-6)
    for field in ("keypoints_screen", "scores", "poses_camera_m", "poses_world_m", "cameras", "fps"):
        assert getattr(tracks, field).dtype == np.float32
    assert tracks.starts.tolist() == [0, 9, 14] and track_data.check(tracks) == 3
    given = track_data.from_arrays(
        **arrays() | {"poses_world_m": None, "poses_camera_m": np.split(tracks.poses_camera_m, [9, 14])}
    )
    np.testing.assert_array_equal(given.poses_camera_m, tracks.poses_camera_m)
    assert given.poses_world_m is None


def test_2d_is_trimmed_to_3d():
    longer = arrays()
    longer["keypoints"][1] = np.concatenate([longer["keypoints"][1]] * 2)
    with pytest.raises(ValueError, match="S1/walk 1/c0: 10 of 2D and 5 of 3D.; trim=True cuts the 2D off"):
        track_data.from_arrays(**longer)
    trimmed = track_data.from_arrays(**longer, trim=True)
    np.testing.assert_array_equal(trimmed.keypoints_screen, track_data.from_arrays(**arrays()).keypoints_screen)
    shorter = arrays()
    shorter["keypoints"][2] = shorter["keypoints"][2][:11]
    for trim in (False, True):
        with pytest.raises(ValueError, match="S2/walk 2/c0: 11 of 2D and 14 of 3D.;.* cut the poses"):
            track_data.from_arrays(**shorter, trim=trim)


def changed(field, value):
    """The arguments of `from_arrays`, the middle track with another value."""
    given = arrays()
    values = given.get(field) or [None] * 3
    values = [values] * 3 if isinstance(values, dict | tuple) else list(values)
    values[1] = value(values[1])
    return given | {field: values}


def poked(value):
    """A function that puts a value into a copy of an array."""

    def poke(array):
        array = array.copy()
        array[3, 5, 1] = value
        return array

    return poke


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("poses_world_m", poked(np.inf), "NaN or infinity .S1/walk 1/c0: poses_world_m of frame 3.; cut the track"),
        ("scores", lambda _: np.full((5, 17), np.nan), "A track shows its person, got .* .S1/walk 1/c0."),
        ("scores", lambda _: np.ones((5, 16)), r"one score for each keypoint.*\(5, 16\) for \(5, 17, 2\)"),
        ("scores", lambda _: np.full((5, 17), 95), "Scores are 0 to 1, got .* .S1/walk 1/c0: 95.; divide them by 100"),
        ("keypoints", lambda x: x[:, :16], r"keypoints of h36m are \[T, K, 2\], K 17, got .*1/c0: \(5, 16, 2\)"),
        ("poses_world_m", lambda x: x[:, :16], r"poses_world_m of h36m .* J 17, got .*1/c0: \(5, 16, 3\)"),
        ("poses_world_m", lambda x: x[..., :2], r"\[T, J, 3\].*S1/walk 1/c0: \(5, 17, 2\)"),
        ("poses_world_m", lambda x: x * 1000, "Poses are in metres, .* .S1/walk 1/c0: .*; divide them by 1000"),
        ("keypoints", lambda x: x[None], r"\[T, K, 2\].*S1/walk 1/c0: \(1, 5, 17, 2\)"),
        ("keypoints", lambda x: x[:0], "A track has at least one frame, got .* .S1/walk 1/c0"),
        ("frame_sizes", lambda _: (0, 1000), r"frame_size is \(height, width\).*S1/walk 1/c0: \(0, 1000\)"),
        ("frame_sizes", lambda _: (1080.5, 1000), r"frame_size is \(height, width\).*1/c0: \(1080.5, 1000\)"),
        ("frame_sizes", lambda _: (1000,), r"frame_size is \(height, width\).*S1/walk 1/c0: \(1000,\)"),
        ("cameras", lambda x: {k: x[k] for k in x if k != "radial"}, "S1/walk 1/c0: no radial"),
        ("cameras", lambda x: x | {"focal_px": [0.0, 1.0]}, "S1/walk 1/c0: focal_px must be positive"),
        ("cameras", lambda x: x | {"focal_px": [2.3, 2.3]}, "focal_px is in pixels, .*S1/walk 1/c0: .*multiply it by"),
        ("cameras", lambda x: x | {"orientation": [1.0, 1, 0, 0]}, "S1/walk 1/c0: orientation must be a unit"),
        ("names", lambda _: "S0/walk 0/c0", "Names of tracks must differ, got 'S0/walk 0/c0' more than once"),
        ("poses_world_m", lambda _: None, "must have poses_camera_m, got none in track S1/walk 1/c0; make two"),
        ("fps", lambda _: 0.0, "fps is a positive number, got .* .S1/walk 1/c0: 0.0"),
    ],
)
def test_a_bad_track_is_named(field, value, message):
    given = changed(field, value)
    if field == "fps":
        given["fps"] = [50.0, 0.0, 50.0]
    if field == "scores":
        given["scores"] = [np.ones((9, 17)), value(None), np.ones((14, 17))]
    with pytest.raises(ValueError, match=message) as raised:
        track_data.from_arrays(**given)
    assert "\n" not in str(raised.value)
    if field != "names" and "make two" not in message:
        assert raised.value.names == ("S1/walk 1/c0",)


@pytest.mark.parametrize("scale", [1 / 1000, 1 / 800])
@pytest.mark.parametrize("scores", [None, 1])
def test_keypoints_that_are_not_in_pixels_are_refused(scale, scores):
    given = arrays()
    given["keypoints"] = [keypoints * scale for keypoints in given["keypoints"]]
    given["scores"] = scores and [np.ones(keypoints.shape[:2]) for keypoints in given["keypoints"]]
    with pytest.raises(track_data.BadDataError, match="Keypoints are in pixels, got 3 of 3 tracks") as error:
        track_data.from_arrays(**given)
    assert len(error.value.names) == 3


def test_a_frame_that_most_keypoints_are_beyond_is_refused():
    with pytest.raises(track_data.BadDataError, match="Keypoints lie in the frame, got 3 of 3 tracks"):
        track_data.from_arrays(**arrays() | {"frame_sizes": (300, 400), "cameras": CAMERA | {"center_px": [200, 150]}})


@pytest.mark.parametrize(
    "change",
    [
        {"translation_m": CAMERA["translation_m"] * [1, 1, 1000]},
        {"focal_px": CAMERA["focal_px"] * 6},
        {"center_px": [0.5, 0.5]},
    ],
)
def test_cameras_that_see_something_else_are_told_of(change, caplog):
    track_data.from_arrays(**arrays() | {"cameras": CAMERA | change})
    assert "Cameras see the joints where the keypoints are, got 3 of 3 tracks" in caplog.text


@pytest.mark.parametrize(("off_px", "is_told"), [(500, False), (900, True)])
def test_how_far_a_camera_misses_is_a_share_of_the_width(off_px, is_told, caplog):
    camera, size = CAMERA | {"center_px": np.float32([2000, 515])}, (1002, 4000)
    beside = [seen(poses, camera, size) + np.float32([off_px, 0]) for poses in arrays()["poses_world_m"]]
    track_data.from_arrays(**arrays() | {"keypoints": beside, "cameras": camera, "frame_sizes": size})
    assert ("Cameras see the joints where the keypoints are" in caplog.text) is is_told


def test_what_is_only_odd_is_counted_in_one_warning(tracks, caplog):
    given = arrays() | {"poses_world_m": None, "cameras": None, "fps": np.float32(50)}
    given["poses_camera_m"] = np.split(tracks.poses_camera_m * [[[1]]], [9, 14])
    root = given["poses_camera_m"][1][:, :1]
    given["poses_camera_m"][1] = root + (given["poses_camera_m"][1] - root) * 0.2  # a child's doll
    given["scores"] = [np.ones(keypoints.shape[:2]) for keypoints in given["keypoints"]]
    given["scores"][2] *= 3
    given["keypoints"][0] = given["keypoints"][0] / 1000
    track_data.from_arrays(**given)
    (record,) = caplog.records
    for part in ("1 of 3 tracks of another size (S1", "Scores are 0 to 1, got 1 of 3", "in pixels, got 1 of 3 tracks"):
        assert part in record.getMessage()


def test_poses_that_are_not_in_camera_space_are_told_of(tracks, caplog):
    poses = np.split(tracks.poses_camera_m, [9, 14])
    given = arrays() | {"poses_world_m": None, "cameras": None}
    for changed_poses, message in (
        ([each - each[:, :1] for each in poses], "counted from the camera's centre, got 3 of 3"),
        ([each * [1, 1, -1] for each in poses], "in front of the camera, z above 0, got 3 of 3"),
        ([each + [0, 0, 5000] for each in poses], "within 100 m of the camera, got 3 of 3"),
    ):
        caplog.clear()
        track_data.from_arrays(**given | {"poses_camera_m": changed_poses})
        assert message in caplog.text


@pytest.mark.parametrize("fps", [np.float32(50), np.int64(50), 50, np.array(50.0)])
def test_numpy_numbers_are_numbers(fps):
    given = arrays() | {"fps": fps, "frame_sizes": np.array(SIZE, "float64")}
    assert track_data.from_arrays(**given).fps.tolist() == [50.0] * 3


@pytest.mark.parametrize("fps", [0, -1, np.nan, np.inf, True, "50"])
def test_what_is_no_frame_rate_is_refused(fps):
    with pytest.raises(track_data.BadDataError, match="fps is a positive number, got 3 of 3 tracks"):
        track_data.from_arrays(**arrays() | {"fps": fps})


def test_lists_must_match():
    with pytest.raises(ValueError, match="There must be one name for each of 3 tracks, got 2; match the lists"):
        track_data.from_arrays(**arrays() | {"names": ["a", "b"]})
    with pytest.raises(ValueError, match="Tracks must be at least one, got none"):
        track_data.from_arrays([], SIZE)
    with pytest.raises(ValueError, match="cameras must be given with poses of the world"):
        track_data.from_arrays(**arrays() | {"cameras": None})


def test_check_reads_tracks_of_ones_own(tracks):
    broken = tracks.keypoints_screen.copy()
    broken[10, 0] = np.nan
    with pytest.raises(track_data.BadDataError, match="NaN or infinity .S1/walk 1/c0: keypoints_screen of frame 1"):
        track_data.check(dataclasses.replace(tracks, keypoints_screen=broken))
    with pytest.raises(ValueError, match="poses_camera_m must have as many frames as the tracks together, 28, got 27"):
        track_data.check(dataclasses.replace(tracks, poses_camera_m=tracks.poses_camera_m[1:]))
    cameras = tracks.cameras * [[1], [-1], [1]]
    with pytest.raises(ValueError, match="nine finite numbers, the focal lengths positive, got .*S1/walk 1/c0"):
        track_data.check(dataclasses.replace(tracks, cameras=cameras))


def test_from_tfds_equals_from_arrays(prepared, tracks):
    read = track_data.from_tfds("strolls/whole", "train", prepared)
    assert read.skeleton is H36M and read.pose_skeleton is H36M
    order = np.argsort(read.names)
    assert [read.names[i] for i in order] == tracks.names
    for i in range(3):
        ours, theirs = (part.select(names=[tracks.names[i]]) for part in (tracks, read))
        for field in ("keypoints_screen", "scores", "poses_camera_m", "poses_world_m", "cameras", "frame_sizes", "fps"):
            np.testing.assert_array_equal(getattr(theirs, field), getattr(ours, field))
        assert (theirs.subjects, theirs.actions, theirs.camera_names) == (ours.subjects, ours.actions, ["c0"])


def test_from_tfds_tells_how_to_prepare(prepared):
    with pytest.raises(track_data.NotPreparedError, match="run: python datasets/build.py strolls/never_prepared"):
        track_data.from_tfds("strolls/never_prepared", "train", prepared)
    with pytest.raises(ValueError, match="strolls/whole has the splits train, got 'test'; use one of them"):
        track_data.from_tfds("strolls/whole", "test", prepared)


def test_real_motion_capture(shared_data):
    folder = shared_data("cmu_mocap")
    with np.load(folder / "cmu_mocap_h36m17.npz") as file:
        takes = {name: file[name] for name in json.loads((folder / "meta.json").read_text())["split"]["test"]}
    given = json.loads((folder / "cameras.json").read_text())["cameras"]
    names = ("orientation", "translation", "focal_length", "center", "radial_distortion", "tangential_distortion")
    cameras = {each["id"]: {ours: each[theirs] for ours, theirs in zip(CAMERA, names, strict=True)} for each in given}
    sizes = {each["id"]: (each["res_h"], each["res_w"]) for each in given}
    views = [(take, camera) for take in takes for camera in cameras]
    tracks = track_data.from_arrays(
        [seen(takes[take], cameras[camera], sizes[camera]) for take, camera in views],
        [sizes[camera] for _, camera in views],
        poses_world_m=[takes[take] for take, _ in views],
        cameras=[cameras[camera] for _, camera in views],
        names=[f"{take}/{camera}" for take, camera in views],
        subjects=[take.split("/")[0] for take, _ in views],
        camera_names=[camera for _, camera in views],
        fps=60.0,
    )
    assert len(tracks) == 20 and tracks.num_frames == 4 * 2829 and np.abs(tracks.keypoints_screen).max() < 1.01
    assert track_data.steps_per_epoch(tracks) == -(-8 * 2829 // 1024)
    tenth = tracks.share(0.1)
    by_view = tenth.poses_world_m[: 4 * tenth.lengths[0]].reshape(4, -1, 17, 3)
    np.testing.assert_array_equal(by_view, by_view[:1].repeat(4, axis=0))
    for batch in track_data.training(tracks, 81, batch_size=256, trajectory=True).take(2):
        keypoints, poses, own = of_batch(batch)
        np.testing.assert_allclose(camera_ops.project(poses, own), keypoints[:, 40:41], atol=5e-6)
