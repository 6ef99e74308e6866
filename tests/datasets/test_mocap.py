"""The mocap builder: on its dummy data, on damaged files, and on real motion capture where there is some."""

import functools
import importlib
import json
import pathlib
import shutil
import sys
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.skeletons import H36M, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
build_script = importlib.import_module("build")
mocap = importlib.import_module("mocap.mocap_dataset_builder")
track_records = importlib.import_module("track_records")

DUMMY = ROOT / "datasets" / "mocap" / "dummy_data"


class MocapTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = mocap.Builder
    SPLITS = {"train": 6, "test": 2}  # 2 cameras; one training take has a gap


def build(data_dir, manual_dir=DUMMY, config=None):
    builder = mocap.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


@functools.cache  # which tests only look at
def elements(builder, split):
    return {element["name"].decode(): element for element in tfds.as_numpy(builder.as_dataset(split=split))}


def rotation(quaternion):
    """The matrix of a unit quaternion (w, x, y, z), column by column what becomes of the axes."""
    w, x, y, z = quaternion
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * skew + 2 * skew @ skew


def camera_space(element):
    camera = {key: value.astype(np.float64) for key, value in element["camera"].items()}
    poses = element["poses_world_m"].astype(np.float64)
    return (poses - camera["translation_m"]) @ rotation(camera["orientation"])


def slow_keypoints(element):
    """The published projection, in pixels: radial and tangential distortion, not clipped."""
    camera = {key: value.astype(np.float64) for key, value in element["camera"].items()}
    poses = camera_space(element)
    ray = poses[..., :2] / poses[..., 2:]
    r2 = (ray**2).sum(axis=-1, keepdims=True)
    k1, k2, k3 = camera["radial"]
    p = camera["tangential"]
    bent = ray * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + (ray * p).sum(axis=-1, keepdims=True)) + p * r2
    height, width = element["frame_size"]
    assert height > 0
    return bent * camera["focal_px"] + camera["center_px"]


def copied(tmp_path, **changes):
    """The dummy data, with changed entries in meta.json."""
    folder = shutil.copytree(DUMMY, tmp_path / "manual")
    meta = json.loads((folder / "meta.json").read_text()) | changes
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("mocap"))


# ---------------------------------------------------------------------------------------------------- what it makes
def test_elements_are_the_takes_seen_by_each_camera(built):
    takes, found = np.load(DUMMY / "takes.npz"), elements(built, "train") | elements(built, "test")
    assert sorted(found) == sorted(
        f"{take}/{camera}{part}"
        for camera in ("front", "side")
        for take, part in (("A/walk_1", ""), ("A/walk_2", "/0"), ("A/walk_2", "/1"), ("B/walk_1", ""))
    )
    cameras = {camera["name"]: camera for camera in track_records.read_cameras(DUMMY / "cameras.json")}
    for name, element in found.items():
        subject, take, camera = name.split("/")[:3]
        poses = takes[f"{subject}/{take}"]
        poses = {"/0": poses[:4], "/1": poses[6:]}.get(name[-2:], poses)
        np.testing.assert_array_equal(element["poses_world_m"], poses)
        np.testing.assert_array_equal(element["scores"], np.ones(poses.shape[:2]))
        np.testing.assert_array_equal(element["frame_size"], [1002, 1000])
        assert (element["subject"], element["camera_name"]) == (subject.encode(), camera.encode())
        assert (element["action"], element["fps"]) == (b"walk", 50)
        for key in track_records.CAMERA_FIELDS:
            np.testing.assert_allclose(element["camera"][key], cameras[camera][key], atol=1e-6)
        np.testing.assert_allclose(element["keypoints"], slow_keypoints(element), atol=2e-3)
        assert element["keypoints"].min() > 0 and element["keypoints"].max() < 1000  # the walker is in the picture
        assert (element["keypoints"][:, H36M.index("head"), 1] < element["keypoints"][:, 0, 1]).all()  # head up


def test_the_joints_are_recognized(built, tmp_path):
    for key in ("skeleton", "pose_skeleton"):
        assert Skeleton(**built.info.metadata[key]) == H36M
    names = [f"joint{number}" for number in range(17)]
    other = build(tmp_path / "built", copied(tmp_path, joints=names))
    skeleton = Skeleton(**other.info.metadata["pose_skeleton"])
    assert (skeleton.name, skeleton.keypoints) == ("mocap", tuple(names))
    assert skeleton.edges == H36M.edges and set(skeleton.flip_pairs) == set(H36M.flip_pairs)


def test_a_set_is_found_by_its_limbs_too():
    meta = {"joints": list(H36M.keypoints), "parents": [0] * 17}
    assert mocap.find_skeleton("meta.json", meta) == H36M
    meta = {"joints": ["root", "l_arm", "r_arm"], "parents": [-1, 0, 0]}
    skeleton = mocap.find_skeleton("meta.json", meta)
    assert skeleton.edges == ((0, 1), (0, 2)) and skeleton.flip_pairs == ((1, 2),)


def test_builds_under_a_name_by_the_script(tmp_path, capsys):
    split = {"train": ["A/walk_1"], "test": ["B/walk_1"]}
    builder = build_script.run("mocap/dance", tmp_path / "data", copied(tmp_path, split=split))
    told = capsys.readouterr().out
    assert "mocap/dance is prepared" in told and "left out: 1 (A/walk_2)" in told
    assert builder.info.metadata["left_out"] == ["A/walk_2"]
    found = tfds.as_numpy(tfds.load("mocap/dance", split="test", data_dir=tmp_path / "data"))
    assert sorted(element["name"] for element in found) == [b"B/walk_1/front", b"B/walk_1/side"]


def test_cameras_may_belong_to_subjects(tmp_path):
    folder = copied(tmp_path)
    cameras = json.loads((folder / "cameras.json").read_text())["cameras"]
    cameras = [camera | {"subject": subject} for camera, subject in zip(cameras, "AB", strict=True)]
    (folder / "cameras.json").write_text(json.dumps({"cameras": cameras}))
    builder = build(tmp_path / "built", folder)
    names = sorted(elements(builder, "train")) + sorted(elements(builder, "test"))
    assert names == ["A/walk_1/front", "A/walk_2/front/0", "A/walk_2/front/1", "B/walk_1/side"]
    (folder / "cameras.json").write_text(json.dumps({"cameras": cameras[:1]}))
    with pytest.raises(ValueError, match="must have a camera of the subject 'B' of B/walk_1, it has none; add it"):
        build(tmp_path / "again", folder)


# ---------------------------------------------------------------------------------------------------- damaged files
@pytest.mark.parametrize(
    "changes, match",
    [
        ({"fps": 0}, "must have fps"),
        ({"fps": -25}, "fps must be positive, got -25"),
        ({"joints": ["hip"]}, "parents must be one index for each of the 1 joints"),
        ({"parents": [0, *H36M.flip_permutation[1:]]}, "-1 for joint 0, the root, and an earlier joint"),
        ({"parents": None}, "must have parents"),
        ({"split": {"train": []}}, "a split must name at least one take, train has"),
        ({"split": {"train": ["A/run"]}}, "the split train names 'A/run', which takes.npz has not"),
        ({"split": {"train": ["A/walk_1"], "test": ["A/walk_1"]}}, "A/walk_1 is in train and test"),
        ({"joints": [str(j) for j in range(17)], "joints_left": [1, 2]}, "the joints must make a skeleton"),
    ],
)
def test_the_description_must_fit(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        build(tmp_path / "built", copied(tmp_path, **changes))


@pytest.mark.parametrize(
    "poses, match",
    [
        (np.zeros((4, 16, 3), np.float32), r"must be numbers \[frames, 17, 3\], .* float32 \[4, 16, 3\]"),
        (np.zeros((4, 17, 2), np.float32), r"float32 \[4, 17, 2\]"),
        (np.zeros((0, 17, 3), np.float32), r"float32 \[0, 17, 3\]"),
        (np.full((4, 17, 3), np.nan, np.float32), "must have a whole pose, none of its 4 is"),
        (np.array([{}]), "must be a whole .npz file without pickles"),
    ],
)
def test_takes_must_be_poses(tmp_path, poses, match):
    np.savez(tmp_path / "takes.npz", take=poses)
    with pytest.raises(ValueError, match=match):
        mocap.read_takes(tmp_path / "takes.npz", 17)


def test_files_must_be_there(tmp_path):
    folder = copied(tmp_path)
    shutil.copy(folder / "takes.npz", folder / "more.npz")
    with pytest.raises(ValueError, match="must have one .npz file, it has 2 .more.npz, takes.npz."):
        build(tmp_path / "built", folder)
    for name in ("more.npz", "takes.npz", "meta.json"):
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no meta.json nor file \*.npz in .*README.md says"):
        build(tmp_path / "built", folder)


def test_the_whole_take_must_be_before_the_cameras(tmp_path):
    folder = copied(tmp_path)
    cameras = json.loads((folder / "cameras.json").read_text())
    cameras["cameras"][0]["translation"] = [0.1, -0.1, 1.0]
    (folder / "cameras.json").write_text(json.dumps(cameras))
    with pytest.raises(ValueError, match=r"A/walk_1: all joints must lie in front of the camera front, at most 45"):
        build(tmp_path / "built", folder)


@pytest.mark.parametrize("place", [(0, 0, -1), (4, 0, 4), (0, -4, 4), (4.1, 0, 4)])
def test_a_single_joint_that_a_lens_cannot_see_is_told_with_its_frame(place):
    poses = np.zeros((5, 17, 3)) + [0, 0, 4]
    camera = {"name": "front", "orientation": [1.0, 0, 0, 0], "translation_m": [0.0, 0, 0], "frame_size": (100, 200)}
    camera |= {"focal_px": [100.0, 100], "center_px": [100.0, 50], "radial": [0.0] * 3, "tangential": [0.0] * 2}
    np.testing.assert_allclose(track_records.project("walk", poses, camera), np.full((5, 17, 2), (100, 50)))
    poses[3, 9] = place
    with pytest.raises(ValueError, match="walk: all joints .* the camera front, .* in 1 frames .first 3. some do not"):
        track_records.project("walk", poses, camera)
    poses[3, 9] = (3.9, -3.9, 4)
    assert track_records.project("walk", poses, camera)[3, 9] == pytest.approx((197.5, -47.5), abs=1e-3)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"orientation": [1, 1, 0, 0]}, r"camera 0 \(front\): the orientation must be a unit quaternion, .* 1.4142"),
        ({"orientation": [1, 0, 0]}, "orientation must be 4 finite numbers"),
        ({"focal_length": [0, 1145]}, "focal lengths must be positive"),
        ({"res_w": 0}, r"height and width must be positive, got \(1002, 0\)"),
        ({"center": None}, "center must be 2 finite numbers, got None"),
        ({"translation": [float("nan"), 0, 0]}, "translation must be 3 finite numbers"),
        ({"id": "side"}, "must have each camera of a subject once, it has side twice"),
        ({"tangential_distortion": "0, 0"}, "tangential_distortion must be 2 finite numbers"),
    ],
)
def test_cameras_must_be_possible(tmp_path, changes, match):
    cameras = json.loads((DUMMY / "cameras.json").read_text())["cameras"]
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps({"cameras": [cameras[0] | changes, cameras[1]]}))
    with pytest.raises(ValueError, match=match):
        track_records.read_cameras(path)


def test_a_camera_must_have_all_its_numbers(tmp_path):
    cameras = json.loads((DUMMY / "cameras.json").read_text())["cameras"]
    path = tmp_path / "cameras.json"
    for key in ("id", "res_h", "radial_distortion"):
        path.write_text(json.dumps({"cameras": [{name: cameras[0][name] for name in cameras[0] if name != key}]}))
        with pytest.raises(ValueError, match=f"must have {key} or .*; add it"):
            track_records.read_cameras(path)
    for text in ("[]", '{"cameras": 3}', '{"cameras": [3]}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="must be JSON with a list `cameras` of objects"):
            track_records.read_cameras(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="with a list `cameras` of objects, it is cut short in line 1"):
        track_records.read_cameras(path)
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"cameras": cameras}).encode())  # with a byte order mark
    assert len(track_records.read_cameras(path)) == len(cameras)
    path.write_text('{"cameras": []}')
    with pytest.raises(ValueError, match="must have at least one camera"):
        track_records.read_cameras(path)


def test_what_cannot_be_right_is_told_with_its_split():
    camera, *_ = track_records.read_cameras(DUMMY / "cameras.json")
    poses = np.random.default_rng(0).uniform(0, 1700, (4, 17, 3))  # millimetres
    record = track_records.record("walk", camera, np.full((4, 17, 2), 100.0), poses, 50, "S1", "Walking")
    with pytest.raises(ValueError, match=r"^training: .*Poses are in metres.*\(walk/"):
        list(track_records.checked("training", [(record["name"], record)], H36M, H36M))


def test_stretches_of_known_poses():
    assert track_records.runs([]) == [] and track_records.runs([False]) == []
    assert track_records.runs([True, True, False, True]) == [(0, 2), (3, 4)]


# ---------------------------------------------------------------------------------------------------- real data
@pytest.fixture(scope="module")
def cmu(shared_data, tmp_path_factory):
    """What the builder hands to TFDS, of which the tests above see that it comes back."""
    builder = mocap.Builder(data_dir=tmp_path_factory.mktemp("cmu"))
    records = builder._split_generators(types.SimpleNamespace(manual_dir=shared_data("cmu_mocap")))
    return {split: dict(elements) for split, elements in records.items()}


def test_the_real_takes(cmu):
    assert [len(cmu["train"]), len(cmu["test"])] == [18 * 4, 5 * 4]
    frames = {split: sum(len(element["keypoints"]) for element in cmu[split].values()) for split in cmu}
    assert frames == {"train": 4 * (24798 + 5017), "test": 4 * 2829}
    assert {element["subject"] for element in cmu["test"].values()} == {"S02"}
    for element in cmu["test"].values():
        np.testing.assert_allclose(element["keypoints"], slow_keypoints(element), atol=2e-3)
        upright = element["poses_world_m"][:, H36M.index("head"), 2] - element["poses_world_m"][:, 3, 2]
        assert upright.mean() > 1.3  # z is up, in metres


def test_the_mean_pose_misses_the_real_takes_by_the_figure_of_its_readme(cmu):
    poses = {split: np.concatenate([camera_space(element) for element in cmu[split].values()]) for split in cmu}
    relative = {split: values - values[:, :1] for split, values in poses.items()}
    error_m = np.linalg.norm(relative["test"] - relative["train"].mean(axis=0), axis=-1).mean()
    assert error_m == pytest.approx(0.204, abs=5e-4)
