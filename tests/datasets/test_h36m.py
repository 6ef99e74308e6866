"""The h36m builder: on its dummy data, on damaged and hostile files, and with Human3.6M's own cameras."""

import functools
import importlib
import io
import json
import pathlib
import pickle
import shutil
import sys
import types
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import pickles
from kerapose.skeletons import COCO, H36M, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
h36m = importlib.import_module("h36m.h36m_dataset_builder")
videopose3d = importlib.import_module("videopose3d")
track_records = importlib.import_module("track_records")

DUMMY = ROOT / "datasets" / "h36m" / "dummy_data"
CPN, DETECTRON = "data_2d_h36m_cpn_ft_h36m_dbb.npz", "data_2d_h36m_detectron_pt_coco.npz"
# The joints of the file that VideoPose3D takes out.
REMOVED = (4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31)


class H36mTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = h36m.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["cpn_ft_h36m_dbb"]
    SPLITS = {"train": 27, "test": 12}  # 7 and 3 sequences, 4 cameras, one view without keypoints


def build(data_dir, config, manual_dir=DUMMY):
    builder = h36m.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


@functools.cache  # which tests only look at
def elements(builder, *splits):
    found = [element for split in splits for element in tfds.as_numpy(builder.as_dataset(split=split))]
    return {element["name"].decode(): element for element in found}


def handed(data_dir, config, split, manual_dir):
    """The elements that a builder hands to TFDS, and what it left out; that they come back, tests of others see."""
    builder = h36m.Builder(data_dir=data_dir, config=config)
    elements = builder._split_generators(types.SimpleNamespace(manual_dir=manual_dir))[split]
    return dict(elements), builder.info.metadata


def trusted(path, key):
    """NumPy's own reading of our own files."""
    return np.load(path, allow_pickle=True)[key].item()


def save(folder, name, **content):
    np.savez(folder / name, **content)


@pytest.fixture
def folder(tmp_path):
    """A copy of the dummy data, to damage."""
    return shutil.copytree(DUMMY, tmp_path / "manual")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("h36m")
    return {config: build(data_dir, config) for config in ("gt", "cpn_ft_h36m_dbb", "detectron_pt_coco")}


# ---------------------------------------------------------------------------------------------------- what it makes
def test_the_joints_are_those_that_videopose3d_keeps():
    assert h36m.DATASET.joints == tuple(joint for joint in range(32) if joint not in REMOVED)
    assert len(h36m.DATASET.joints) == H36M.num_keypoints


def test_poses_are_those_of_the_file(built):
    positions = trusted(DUMMY / h36m.POSITIONS, "positions_3d")
    for split, subjects in {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}.items():
        found = elements(built["gt"], split)
        assert set(found) == {
            f"{subject}/{action}/{camera}"
            for subject in subjects
            for action in positions[subject]
            for camera in h36m.DATASET.cameras
        }
        for name, element in found.items():
            subject, action, camera = name.split("/")
            poses = np.delete(positions[subject][action], REMOVED, axis=1)
            np.testing.assert_array_equal(element["poses_world_m"], poses)
            assert (element["subject"].decode(), element["camera_name"].decode()) == (subject, camera)
            assert (element["action"].decode(), element["fps"]) == (action.split(" ")[0], 50)


def test_detections_are_those_of_the_file_cut_to_the_poses(built):
    for config, file in (("cpn_ft_h36m_dbb", CPN), ("detectron_pt_coco", DETECTRON)):
        detections = trusted(DUMMY / file, "positions_2d")
        found = elements(built[config], "train", "test")
        assert "S1/WalkDog/55011271" not in found  # the file has nothing for it
        for name, element in found.items():
            subject, action, camera = name.split("/")
            wanted = detections[subject][action][h36m.DATASET.cameras.index(camera)]
            count = len(element["poses_world_m"])
            assert len(wanted) == count + (subject == "S1")  # the detections go on for a frame there
            seen = np.isfinite(wanted[:count]).all(axis=-1)
            np.testing.assert_array_equal(element["keypoints"][seen], wanted[:count][seen][:, :2])
            assert not element["keypoints"][~seen].any() and not element["scores"][~seen].any()
            scores = wanted[:count, :, 2] if wanted.shape[-1] == 3 else np.ones(seen.shape)
            np.testing.assert_array_equal(element["scores"][seen], scores[seen])
    lost = elements(built["detectron_pt_coco"], "train")["S5/Walking 1/54138969"]
    assert lost["scores"][1, 5] == 0 and np.count_nonzero(lost["scores"] == 0) == 1


def test_what_is_left_out_is_told(built):
    left_out = ["S11/Directions without poses", "S2 without poses", "S1/WalkDog/55011271 without keypoints"]
    assert sorted(built["cpn_ft_h36m_dbb"].info.metadata["left_out"]) == sorted(left_out)
    assert list(built["gt"].info.metadata["left_out"]) == []


def test_the_metadata_have_both_skeletons(built):
    for config, skeleton in {"gt": H36M, "cpn_ft_h36m_dbb": H36M, "detectron_pt_coco": COCO}.items():
        assert Skeleton(**built[config].info.metadata["skeleton"]) == skeleton
        assert Skeleton(**built[config].info.metadata["pose_skeleton"]) == H36M


def test_cameras_are_those_of_the_module_in_metres(built):
    content = {}
    exec((DUMMY / "h36m_dataset.py").read_text(), content)  # our own file, run as VideoPose3D runs its own
    inside, places = content["h36m_cameras_intrinsic_params"], content["h36m_cameras_extrinsic_params"]
    for element in elements(built["gt"], "train", "test").values():
        number = h36m.DATASET.cameras.index(element["camera_name"].decode())
        place, lens, camera = places[element["subject"].decode()][number], inside[number], element["camera"]
        np.testing.assert_allclose(camera["orientation"], place["orientation"], atol=1e-6)
        np.testing.assert_allclose(camera["translation_m"], np.array(place["translation"]) / 1000, atol=1e-6)
        np.testing.assert_allclose(camera["focal_px"], lens["focal_length"], rtol=1e-6)
        np.testing.assert_allclose(camera["center_px"], lens["center"], rtol=1e-6)
        np.testing.assert_allclose(camera["radial"], lens["radial_distortion"], atol=1e-6)
        np.testing.assert_allclose(camera["tangential"], lens["tangential_distortion"], atol=1e-6)
        assert tuple(element["frame_size"]) == (lens["res_h"], lens["res_w"])


def test_a_gap_in_the_poses_cuts_the_sequence(folder, tmp_path):
    positions = trusted(folder / h36m.POSITIONS, "positions_3d")
    positions["S11"]["Sitting 1"][2, 0, 1] = np.nan  # of 6 frames
    positions["S9"]["Walking 1"][1, 4] = np.nan  # a joint that is not kept
    positions["S1"]["Sitting"][:, 0] = np.nan
    save(folder, h36m.POSITIONS, positions_3d=positions)
    found, metadata = handed(tmp_path / "built", "cpn_ft_h36m_dbb", "train", folder)
    assert "S1/Sitting without a whole pose" in metadata["left_out"]
    assert not any("S1/Sitting/" in name for name in found)
    found, _ = handed(tmp_path / "again", "cpn_ft_h36m_dbb", "test", folder)
    lengths = {name: len(element["keypoints"]) for name, element in found.items() if "54138969" in name}
    assert lengths["S11/Sitting 1/54138969/0"] == 2 and lengths["S11/Sitting 1/54138969/1"] == 3
    assert "S11/Sitting 1/54138969" not in lengths and "S9/Walking 1/54138969" in lengths
    detections = trusted(folder / CPN, "positions_2d")["S11"]["Sitting 1"][0]
    np.testing.assert_array_equal(found["S11/Sitting 1/54138969/1"]["keypoints"], detections[3:])


# ---------------------------------------------------------------------------------------------------- cameras
def test_a_file_of_cameras_comes_first(folder, tmp_path):
    cameras = [
        {"id": name, "orientation": [0.5, -0.5, 0.5, -0.5], "translation": [-4, number / 10, 1]}
        | {"focal_length": [1000, 1000], "center": [500, 500], "radial_distortion": [0, 0, 0]}
        | {"tangential_distortion": [0, 0], "res_w": 1000, "res_h": 1000}
        for number, name in enumerate(reversed(h36m.DATASET.cameras))
    ]
    (folder / "cameras.json").write_text(json.dumps({"cameras": cameras}))
    found, _ = handed(tmp_path / "built", "cpn_ft_h36m_dbb", "test", folder)
    for name, element in found.items():  # whatever their order there, by their names
        number = list(reversed(h36m.DATASET.cameras)).index(name.split("/")[2])
        np.testing.assert_allclose(element["camera"]["translation_m"], [-4, number / 10, 1], atol=1e-6)
    (folder / "cameras.json").write_text(json.dumps({"cameras": cameras[1:]}))
    with pytest.raises(ValueError, match="must have the cameras 54138969, .* of all subjects, it has 58860488"):
        videopose3d.read_cameras(folder, h36m.DATASET)


def test_the_module_of_cameras_is_not_run(folder):
    path = folder / "h36m_dataset.py"
    text, witness = path.read_text(), folder / "ran"
    path.write_text(text + f"\nopen({str(witness)!r}, 'w')\nraise SystemExit\n")
    assert set(videopose3d.read_cameras(folder, h36m.DATASET)) == {"S1", "S5", "S6", "S7", "S8", "S9", "S11"}
    assert not witness.exists()
    (folder / "common").mkdir()
    path.rename(folder / "common" / path.name)
    assert len(videopose3d.read_cameras(folder, h36m.DATASET)["S9"]) == 4


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "h36m_cameras_intrinsic_params = [",
        "h36m_cameras_intrinsic_params = open('x')\nh36m_cameras_extrinsic_params = {}",
        "h36m_cameras_intrinsic_params = []\nh36m_cameras_extrinsic_params = {'S1': [{'orientation': []}]}",
    ],
)
def test_a_module_without_the_tables_is_refused(folder, text):
    (folder / "h36m_dataset.py").write_text(text)
    with pytest.raises(ValueError, match="must have VideoPose3D's tables of intrinsic and extrinsic"):
        videopose3d.read_cameras(folder, h36m.DATASET)


def test_all_files_must_be_there(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no data_2d_h36m_detectron_ft_h36m.npz in .*README.md says"):
        build(tmp_path / "built", "detectron_ft_h36m", folder)
    (folder / "h36m_dataset.py").unlink()
    with pytest.raises(FileNotFoundError, match="There is neither cameras.json nor h36m_dataset.py in .*common/h36m"):
        build(tmp_path / "built", "gt", folder)


# ---------------------------------------------------------------------------------------------------- damaged files
def change(content, subject, action, value):
    return content | {subject: content[subject] | {action: value}}


def test_keypoints_must_last_as_long_as_the_poses(folder, tmp_path):
    detections = trusted(folder / CPN, "positions_2d")
    views = [view[:-1] for view in detections["S9"]["Walking 1"]]
    save(folder, CPN, positions_2d=change(detections, "S9", "Walking 1", views))
    with pytest.raises(ValueError, match="S9/Walking 1: there must be keypoints for each of the 6 frames .*, got 5"):
        build(tmp_path / "built", "cpn_ft_h36m_dbb", folder)


@pytest.mark.parametrize(
    "value, match",
    [
        ([np.zeros((6, 16, 2))] * 4, r"S9/Walking 1: keypoints must be numbers \[frames, 17, 2 or 3\], got .*6, 16, 2"),
        ([np.zeros((6, 17, 4))] * 4, r"got float64 \[6, 17, 4\]"),
        ([np.zeros((0, 17, 2))] * 4, r"got float64 \[0, 17, 2\]"),
        ([np.full((6, 17, 2), "a")] * 4, r"got <U1 \[6, 17, 2\]"),
        ([[1.0]] * 4, "got list"),
        ([np.zeros((6, 17, 2))] * 3, "must be a list of 4, one for each camera, got 3"),
        (np.zeros((4, 6, 17, 2)), "must be a list of 4, one for each camera, got no list"),
    ],
)
def test_keypoints_must_have_the_right_form(folder, value, match):
    save(folder, CPN, positions_2d=change(trusted(folder / CPN, "positions_2d"), "S9", "Walking 1", value))
    with pytest.raises(ValueError, match=match):
        videopose3d.read_detections(folder / CPN, H36M, h36m.DATASET)


def test_keypoints_must_be_those_of_the_config(folder, tmp_path):
    shutil.copy(folder / DETECTRON, folder / CPN)
    with pytest.raises(ValueError, match="must have the keypoints of h36m, it is of the layout coco"):
        build(tmp_path / "built", "cpn_ft_h36m_dbb", folder)


def test_poses_must_have_the_right_form(folder, tmp_path):
    positions = trusted(folder / h36m.POSITIONS, "positions_3d")
    save(folder, h36m.POSITIONS, positions_3d=change(positions, "S9", "Walking 1", np.zeros((6, 17, 3))))
    with pytest.raises(ValueError, match=r"S9/Walking 1: poses must be numbers \[frames, 32, 3\], got .*6, 17, 3"):
        build(tmp_path / "built", "gt", folder)
    save(folder, h36m.POSITIONS, positions_3d={name: positions[name] for name in ("S1", "S9")})
    with pytest.raises(ValueError, match="must have all subjects, it has nothing of S5, S6, S7, S8, S11"):
        build(tmp_path / "built", "gt", folder)
    for content in ({"positions": positions}, {"positions_3d": np.zeros(3)}, {"positions_3d": {"S1": 3}}):
        save(folder, h36m.POSITIONS, **content)
        with pytest.raises(ValueError, match="must have a dict positions_3d of subjects and their actions"):
            build(tmp_path / "built", "gt", folder)


def test_a_sequence_without_keypoints_is_left_out_by_name(folder, tmp_path):
    detections = trusted(folder / CPN, "positions_2d")
    del detections["S11"]["Sitting 1"]
    save(folder, CPN, positions_2d=detections)
    builder = build(tmp_path / "built", "cpn_ft_h36m_dbb", folder)
    assert "S11/Sitting 1 without keypoints" in builder.info.metadata["left_out"]
    assert builder.info.splits["test"].num_examples == 8
    del detections["S11"]
    save(folder, CPN, positions_2d=detections)
    with pytest.raises(ValueError, match="must have all subjects, it has nothing of S11"):
        build(tmp_path / "again", "cpn_ft_h36m_dbb", folder)


# ---------------------------------------------------------------------------------------------------- the safe reader
class Call:
    """Pickles as a call of a function."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def npz_of(path, pickled):
    """An .npz with one array of objects, whose pickle is of our own making."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("positions_3d.npy", stream.getvalue() + pickle.dumps(pickled))
    return path


def object_array(content, shape=(), code="O8"):
    reconstruct = np.zeros(1).__reduce__()[0]
    dtype = Call(np.dtype, (code, False, True), (3, "|", None, None, None, -1, -1, 63))
    return Call(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, content))


def test_arrays_of_all_kinds_are_read_without_trust(tmp_path):
    content = {"S1": {"Walking": np.arange(6, dtype=">f4").reshape(1, 2, 3), "sizes": [np.int64(3), (4.5, None)]}}
    nested = np.empty(2, object)
    nested[:] = [np.asfortranarray(np.eye(3)), "text"]
    np.savez_compressed(tmp_path / "a.npz", content=content, nested=nested, plain=np.eye(2), text=np.array("x"))
    read = pickles.load_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(read["content"].item()["S1"]["Walking"], content["S1"]["Walking"])
    assert read["content"].item()["S1"]["sizes"] == [3, (4.5, None)]
    np.testing.assert_array_equal(read["nested"][0], np.eye(3))
    assert read["nested"][1] == "text" and read["text"] == "x"
    np.testing.assert_array_equal(read["plain"], np.eye(2))


@pytest.mark.parametrize(
    "pickled, match",
    [
        (Call(eval, ("1",)), "this one asks for builtins.eval"),
        (object_array([Call(eval, ("1",))]), "this one asks for builtins.eval"),
        (object_array([{}], shape=(1000,)), "damaged"),  # NumPy's own reader would read past the list
        (object_array([{}, {}], shape=(-2,)), "damaged"),
        (object_array(({},)), "damaged"),
        (object_array(b"\x41" * 8), "damaged"),
        (object_array([{}], code="O,O"), "must be of numbers or text"),
        (object_array(b"\x41" * 8, code="V8"), "must be of numbers or text"),
        (Call(np.zeros(1, "f8")[0].__reduce__()[0], (np.dtype("O"), b"\x41" * 8)), "damaged"),
    ],
)
def test_a_hostile_array_is_refused(tmp_path, pickled, match):
    with pytest.raises(pickles.AnnotationError, match=match):
        pickles.load_npz(npz_of(tmp_path / "a.npz", pickled))


def test_a_hostile_file_is_refused_by_the_builder(folder, tmp_path):
    witness = tmp_path / "ran"
    npz_of(folder / h36m.POSITIONS, object_array([{"S1": Call(pathlib.Path.touch, (str(witness),))}]))
    with pytest.raises(ValueError, match="may hold only arrays and plain containers"):
        build(tmp_path / "built", "gt", folder)
    assert not witness.exists()


def test_a_file_cut_short_is_refused(tmp_path):
    whole, path = (DUMMY / h36m.POSITIONS).read_bytes(), tmp_path / "cut.npz"
    for length in [*range(0, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(pickles.AnnotationError, match="must be a whole .npz file"):
            pickles.load_npz(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(pickles.AnnotationError, match="must be a whole .npz file"):
        pickles.load_npz(path)
    with pytest.raises(FileNotFoundError, match="There is no file .*gone.npz"):
        pickles.load_npz(tmp_path / "gone.npz")


# ---------------------------------------------------------------------------------------------------- real cameras
def test_real_frames_come_out_as_they_were_annotated(shared_data, tmp_path):
    mini = shared_data("h36m_mini")
    frames = np.load(mini / "h36m_body3d_mini.npz")
    positions = {subject: {"Standing": np.zeros((1, 32, 3), np.float32)} for subject in ("S6", "S9", "S11")}
    wanted = {}
    for number, image in enumerate(frames["imgname"]):
        subject, rest = str(image).split("/")[1].split("_", 1)
        action, camera = rest.rsplit(".", 1)
        poses = np.zeros((1, 32, 3), np.float32)
        poses[0, h36m.DATASET.joints] = frames["keypoints_3d_world"][number]
        positions.setdefault(subject, {})[action.replace("_", " ")] = poses
        wanted[f"{subject}/{action.replace('_', ' ')}/{camera}"] = number
    for subject in ("S6", "S9", "S11"):  # the fragment has nothing of them
        positions[subject]["Standing"][:] = poses + np.float32(0.1)
    save(tmp_path, h36m.POSITIONS, positions_3d=positions)
    shutil.copy(mini / "cameras.json", tmp_path)
    found, _ = handed(tmp_path / "built", "gt", "train", tmp_path)
    assert set(wanted) <= set(found) and len(wanted) == 4
    for name, number in wanted.items():
        np.testing.assert_allclose(found[name]["keypoints"][0], frames["keypoints_2d"][number, :, :2], atol=1e-3)
