"""The penn_action builder: on its dummy data, its labels as published, and folders that are damaged or not complete."""

import importlib
import io
import pathlib
import shutil
import sys

import av
import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import frames
from kerapose.skeletons import PENN_ACTION

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
penn_action = importlib.import_module("penn_action.penn_action_dataset_builder")
mat5 = importlib.import_module("mpii.mat5")

DUMMY = ROOT / "datasets" / "penn_action" / "dummy_data"
LENGTHS = {"0001": 5, "0758": 3, "1204": 4, "2326": 2}


class PennActionTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = penn_action.Builder
    SPLITS = {"train": 2, "test": 2}


def build(data_dir, manual_dir):
    builder = penn_action.Builder(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def clips_of(builder, split):
    return {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split=split))}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("data"), DUMMY)


@pytest.fixture
def folder(tmp_path):
    """A copy of the dummy data that a test can spoil."""
    return pathlib.Path(shutil.copytree(DUMMY, tmp_path / "manual"))


def assert_refused(folder, tmp_path, error, match):
    with pytest.raises(error, match=match) as caught:
        build(tmp_path / "data", folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "penn_action" / "1.0.0").exists()


# ---------------------------------------------------------------------------------------------------- what it gives
def test_clips_are_those_of_the_labels(built):
    assert built.info.features["label"].names == list(penn_action.ACTIONS)
    assert built.info.metadata["skeleton"] == "penn_action"
    train, test = (clips_of(built, split) for split in ("train", "test"))
    assert sorted(train) == ["0001", "1204"] and sorted(test) == ["0758", "2326"]
    for name, clip in (train | test).items():
        label = mat5.read(DUMMY / "labels" / f"{name}.mat")
        assert built.info.features["label"].int2str(clip["label"]) == label["action"]
        assert (label["train"].item() == 1) == (name in train)
        seen = label["visibility"] == 1
        assert 0 < seen.sum() < seen.size
        assert clip["keypoints"].shape == (1, LENGTHS[name], PENN_ACTION.num_keypoints, 2)
        np.testing.assert_array_equal(clip["scores"][0], seen)
        np.testing.assert_array_equal(clip["keypoints"][0, ..., 0], np.where(seen, label["x"], 0).astype(np.float32))
        np.testing.assert_array_equal(clip["keypoints"][0, ..., 1], np.where(seen, label["y"], 0).astype(np.float32))


def test_videos_are_the_files_of_the_frames_unchanged(built):
    for name, clip in (clips_of(built, "train") | clips_of(built, "test")).items():
        paths = sorted((DUMMY / "frames" / name).iterdir())
        with av.open(io.BytesIO(clip["video"])) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        assert packets == [path.read_bytes() for path in paths]
        pictures = frames.read(clip["video"])
        assert pictures.shape[:3] == (LENGTHS[name], *clip["frame_size"])
        for picture, path in zip(pictures, paths, strict=True):  # grey: decoders enlarge the colours differently
            expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
            assert np.abs(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) - expected).mean() < 2


def test_a_visible_joint_that_is_not_finite_is_missing_and_counted(folder, caplog):
    spoil(folder, x=np.full((5, 13), np.nan))
    seen = mat5.read(DUMMY / "labels" / "0001.mat")["visibility"]
    clip = penn_action.read_labels(folder / "labels")[0]
    assert not clip["scores"].any() and not clip["keypoints"].any()
    assert f"{int(seen.sum())} visible joints in 1 labels are not finite; taken as missing" in caplog.text


# ---------------------------------------------------------------------------------------------------- what it refuses
def spoil(folder, name="0001", **changes):
    """Changes fields of a label; None takes one out."""
    scipy_io = pytest.importorskip("scipy.io")
    path = folder / "labels" / f"{name}.mat"
    content = {key: value for key, value in (mat5.read(path) | changes).items() if value is not None}
    scipy_io.savemat(path, content)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"action": "bowling"}, "0001.mat: `action` must be one of baseball_pitch, .*, got 'bowling'; get it anew"),
        ({"action": np.ones(2)}, "`action` must be one of"),
        ({"train": 0.0}, r"0001.mat: `train` must be 1 or -1, got \[0.0\]"),
        ({"train": None}, "0001.mat must have the fields action, .* it lacks train; get it anew"),
        ({"x": np.ones((4, 13))}, r"must each be \[frames, 13\], got \(4, 13\), \(5, 13\), \(5, 13\)"),
        ({"visibility": np.ones((5, 14))}, r"must each be \[frames, 13\], got .*\(5, 14\)"),
        ({"nframes": 6.0}, r"must be the 5 rows of `x`, got \[6.0\] and \[36.0, 48.0, 5.0\]"),
        ({"dimensions": np.array([36.0, 48.0, 7.0])}, r"got \[5.0\] and \[36.0, 48.0, 7.0\]"),
        (
            {"dimensions": np.array([48.0, 36.0, 5.0])},
            r"train: .* 5 of 9 images of another size, .*annotated as 36 x 48",
        ),
    ],
)
def test_a_label_that_cannot_be(folder, tmp_path, changes, match):
    spoil(folder, **changes)
    assert_refused(folder, tmp_path, ValueError, match)


def test_a_label_cut_short(folder, tmp_path):
    path = folder / "labels" / "0758.mat"
    path.write_bytes(path.read_bytes()[:300])
    assert_refused(folder, tmp_path, ValueError, "0758.mat must be a whole MATLAB file")


def test_missing_folders_and_labels_are_asked_for(folder, tmp_path):
    labels = sorted((folder / "labels").iterdir())
    for path in (labels[0], labels[2]):
        path.rename(folder / path.name)
    assert_refused(folder, tmp_path, ValueError, r"2 have none \(0001/, 1204/\); unpack the archive anew, or move")
    for name in ("0001", "1204"):
        (folder / "frames" / name).rename(folder / name)
    assert_refused(folder, tmp_path, ValueError, "labels must have labels of train clips, it has none")
    shutil.rmtree(folder / "labels")
    (folder / "labels").mkdir()
    assert_refused(folder, tmp_path, FileNotFoundError, "no label 0001.mat in .*labels. .*Penn_Action.tar.gz")
    (folder / "labels").rmdir()
    (folder / "frames").rename(folder / "pictures")
    assert_refused(
        folder, tmp_path, FileNotFoundError, "no frames/ nor labels/ in .*manual. frames/ and labels/ belong"
    )


def test_missing_frames_are_named(folder, tmp_path):
    (folder / "frames" / "0001" / "000003.jpg").unlink()
    shutil.rmtree(folder / "frames" / "2326")
    match = r"3 frames that labels tell of are not in .*frames \(0001/000003.jpg, 2326/000001.jpg, 2326/000002.jpg\)"
    assert_refused(folder, tmp_path, FileNotFoundError, match)


def test_frames_without_a_row_are_named(folder, tmp_path):
    there = folder / "frames" / "0758"
    shutil.copy(there / "000003.jpg", there / "000004.jpg")
    shutil.copytree(there, folder / "frames" / "0759")
    assert_refused(folder, tmp_path, ValueError, r"2 have none \(0758/000004.jpg, 0759/\)")


def test_pictures_of_another_kind_are_refused(folder, tmp_path):
    path = folder / "frames" / "1204" / "000002.jpg"
    path.write_bytes(cv2.imencode(".png", cv2.imread(str(path)))[1].tobytes())
    assert_refused(folder, tmp_path, ValueError, "frames/1204: .*JPEG")


def test_corrupt_frames_are_named(folder, tmp_path):
    path = folder / "frames" / "1204" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:300])
    match = r"train: Images are whole .* 1 of 9 images that cannot be decoded \(1204/000002.jpg\); convert them"
    assert_refused(folder, tmp_path, ValueError, match)
