"""The mpii builder: on its dummy data, against the published reading of it, and on damaged files."""

import importlib
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.ops import boxes
from kerapose.skeletons import MPII, Skeleton

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
mpii = importlib.import_module("mpii.mpii_dataset_builder")
mat5 = importlib.import_module("mpii.mat5")

DUMMY = ROOT / "datasets" / "mpii" / "dummy_data"


class MpiiTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = mpii.Builder
    SPLITS = {"train": 2, "validation": 2}


def build(data_dir, manual_dir):
    builder = mpii.Builder(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def records_of(builder, split):
    dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    return {record["name"].decode(): record for record in tfds.as_numpy(dataset)}


@pytest.fixture
def folder(tmp_path):
    """A copy of the dummy data that a test can spoil."""
    return pathlib.Path(shutil.copytree(DUMMY, tmp_path / "manual"))


def spoil(path, place, **changes):
    people = json.loads(path.read_text())
    people[place] |= changes
    path.write_text(json.dumps(people))


# ---------------------------------------------------------------------------------------------------- what it gives
def test_records_are_those_of_the_file(tmp_path):
    builder = build(tmp_path, DUMMY)
    assert Skeleton(**builder.info.metadata["skeleton"]) == MPII
    assert builder.info.metadata["head_sizes"] == {"train": "keypoints", "validation": "gt_valid.mat"}
    assert builder.info.metadata["counts"]["train"] == {
        "images": 2,
        "people": 3,
        "crowds": 0,
        "people_without_keypoints": 0,
        "boxes_without_area": 0,
    }
    content = json.loads((DUMMY / "train.json").read_text())
    assert [person["image"] for person in content] == ["015601864.jpg", "015599452.jpg", "015601864.jpg"]
    records = records_of(builder, "train")
    assert records["015601864.jpg"]["image_id"] == 15601864
    assert records["015601864.jpg"]["image"] == (DUMMY / "images" / "015601864.jpg").read_bytes()
    people = records["015601864.jpg"]["people"]
    assert people["id"].tolist() == [0, 2]
    for place, person in zip(people["id"], zip(people["keypoints"], people["visibility"], strict=True), strict=True):
        keypoints, visibility = person
        labelled = np.array(content[place]["joints_vis"])
        np.testing.assert_array_equal(visibility, 2 * labelled)
        expected = (np.array(content[place]["joints"]) - 1) * labelled[:, None]
        np.testing.assert_array_equal(keypoints, expected.astype(np.float32))


def test_centres_scales_and_joints_as_published(golden, tmp_path):
    case = golden("affine_a")
    center, scale = case["input_mpii_center"], case["input_mpii_scale"]
    people = [
        {"image": "a.jpg", "center": c.tolist(), "scale": float(s), "joints": j.tolist(), "joints_vis": v.tolist()}
        for c, s, j, v in zip(
            center, scale, case["input_mpii_joints"], case["input_mpii_vis"].reshape(-1, 16), strict=True
        )
    ]
    path = tmp_path / "people.json"
    path.write_text(json.dumps(people))
    read = mpii.read(path)
    centers, sizes = boxes.crop_region(read["box"], 1.0, padding=1.25)
    valid = center[:, 0] != -1
    assert valid.any()
    np.testing.assert_allclose(np.asarray(centers)[valid], case["output_mpii_center"][valid], atol=2e-3)
    expected = 200 * case["output_mpii_scale"][valid]  # width and height, a square
    np.testing.assert_allclose(np.asarray(sizes)[valid], expected, rtol=1e-4)
    labelled = case["input_mpii_vis"].reshape(-1, 16) > 0
    expected = case["output_mpii_joints"][..., :2]
    np.testing.assert_allclose(read["keypoints"][labelled], expected[labelled], rtol=1e-5)


def test_head_sizes(tmp_path):
    read = mpii.read(DUMMY / "valid.json")
    sizes = mpii.read_head_sizes(DUMMY / "gt_valid.mat", read)
    head_boxes = mat5.read(DUMMY / "gt_valid.mat")["headboxes_src"]
    for number, size in enumerate(sizes):
        left, top, right, bottom = head_boxes[:, :, number].ravel()
        np.testing.assert_allclose(size, 0.6 * np.hypot(right - left, bottom - top), rtol=1e-6)
    joints = np.zeros((2, 16, 2), np.float32)
    joints[:, MPII.index("head_top")] = 3, 4
    labelled = np.ones((2, 16), bool)
    labelled[1, MPII.index("upper_neck")] = False
    assert mpii.head_length(joints, labelled).tolist() == [5, 0]


def test_without_head_boxes_the_head_is_measured_by_its_joints(folder, tmp_path):
    (folder / "gt_valid.mat").unlink()
    (folder / "annot").mkdir()
    for name in ("train.json", "valid.json"):
        (folder / name).rename(folder / "annot" / name)
    builder = build(tmp_path, folder)
    assert builder.info.metadata["head_sizes"]["validation"] == "keypoints"
    read = mpii.read(folder / "annot" / "valid.json")
    for record in records_of(builder, "validation").values():
        np.testing.assert_array_equal(record["people"]["head_size"], read["head_size"][record["people"]["id"]])


def test_nobody_said_where_somebody_is(folder):
    spoil(folder / "train.json", 1, center=[-1, -1])
    read = mpii.read(folder / "train.json")
    assert not read["box"][1].any() and read["box"][[0, 2]].any(axis=1).all()


# ---------------------------------------------------------------------------------------------------- damaged files
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"joints": [[1, 2]] * 15}, "must have joints of 16 x 2 finite numbers, 1 have not .number 1.; get it anew"),
        ({"joints_vis": None}, "must have joints_vis of 16 finite numbers, 1 have not"),
        ({"center": [float("nan"), 3]}, "must have center of 2 finite numbers, 1 have not"),
        ({"scale": "big"}, "must have scale of one finite numbers, 1 have not"),
    ],
)
def test_bad_people_are_counted_and_numbered(folder, tmp_path, changes, match):
    spoil(folder / "train.json", 1, **changes)
    with pytest.raises(ValueError, match=match):
        build(tmp_path, folder)
    assert not (tmp_path / "mpii" / "1.0.0").exists()


@pytest.mark.parametrize(
    "content, match",
    [
        ("[{", "must be a JSON list"),
        ('{"a": 1}', "must be a JSON list"),
        ("[{}]", "image"),
        ("[]", "at least one person"),
    ],
)
def test_a_file_that_is_none(folder, content, match):
    (folder / "train.json").write_text(content)
    with pytest.raises(ValueError, match=match):
        mpii.read(folder / "train.json")


def test_missing_files_are_named(folder, tmp_path):
    (folder / "images" / "015599452.jpg").unlink()
    with pytest.raises(ValueError, match="train: Image files are where .* 1 of 2 images not there .015599452.jpg: no "):
        build(tmp_path, folder)
    shutil.rmtree(folder / "images")
    (folder / "train.json").unlink()
    with pytest.raises(FileNotFoundError, match="no train.json nor images/ in .*human-pose.mpi-inf.mpg.de"):
        build(tmp_path, folder)


def test_corrupt_images_are_named(folder, tmp_path):
    path = folder / "images" / "005808361.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        ValueError, match="validation: Images are whole .* got 1 of 2 images .*005808361.jpg.; .* again.$"
    ):
        build(tmp_path, folder)


def test_head_boxes_must_be_those_of_the_people(folder):
    people = mpii.read(folder / "train.json")
    with pytest.raises(ValueError, match="for the 3 people of valid.json, got .*(2, 2, 2)"):
        mpii.read_head_sizes(folder / "gt_valid.mat", people)
    people = mpii.read(folder / "valid.json")
    people["keypoints"] = people["keypoints"] + np.float32(3)
    with pytest.raises(ValueError, match="must have the joints of valid.json, 2 people have others .number 0, 1."):
        mpii.read_head_sizes(folder / "gt_valid.mat", people)


# ---------------------------------------------------------------------------------------------------- MATLAB's files
@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_are_read_as_scipy_writes_them(tmp_path, compressed):
    savemat = pytest.importorskip("scipy.io").savemat
    arrays = {
        "doubles": np.random.default_rng(0).normal(size=(3, 4, 5)),
        "bytes": np.arange(7, dtype=np.uint8)[None],
        "small": np.array([[3]], np.int16),
        "singles": np.ones((2, 3), np.float32),
        "long_name_of_an_array": np.arange(6, dtype=np.int64).reshape(2, 3),
        "none": np.zeros((0, 2)),
    }
    texts = {"text": "head", "umlaut": "Füße"}
    others = {"words": np.array(["a", "bc"], object), "lines": ["ab", "cd"], "tree": {"leaf": 1.0}, "complex": [1j, 1j]}
    savemat(tmp_path / "a.mat", arrays | texts | others, do_compression=compressed)
    read = mat5.read(tmp_path / "a.mat")
    assert {name: read.pop(name) for name in texts} == texts
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_matlab_file_cut_short_is_refused(tmp_path):
    whole, arrays = (DUMMY / "gt_valid.mat").read_bytes(), mat5.read(DUMMY / "gt_valid.mat")
    path = tmp_path / "cut.mat"
    complaints = []
    for length in range(0, len(whole), 8):
        path.write_bytes(whole[:length])
        read, complaint = read_or_complaint(path)
        complaints += [complaint] if complaint else []
        assert (
            complaint or len(read) < len(arrays) or length > len(whole) - 200
        )  # the last element is no array of numbers
        for name, array in read.items():  # a cut between two of them is not to be seen
            np.testing.assert_array_equal(array, arrays[name])
    assert len(complaints) > 0.9 * len(whole) / 8
    assert all("must be a whole MATLAB file" in one or "file of version 5" in one for one in complaints)


def read_or_complaint(path):
    try:
        return mat5.read(path), None
    except ValueError as error:
        return {}, str(error)
