"""The jhmdb builder: on its dummy data, on damaged files, and on the real file where there is one."""

import importlib
import pathlib
import pickle
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
jhmdb = importlib.import_module("jhmdb.jhmdb_dataset_builder")

DUMMY = ROOT / "datasets" / "jhmdb" / "dummy_data" / "jhmdb_gt.npz"


class JhmdbTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = jhmdb.Builder
    SPLITS = {"train1": 3, "test1": 1, "train2": 2, "test2": 2, "train3": 3, "test3": 1}
    OVERLAPPING_SPLITS = ["train2", "test2", "train3", "test3"]  # three ways to divide the same clips


def build(data_dir, manual_dir):
    builder = jhmdb.Builder(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def clips_of(builder, split):
    return {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split=split))}


def assert_clips_are(builder, arrays, splits=jhmdb.SPLITS):
    """Every split has the clips that its indices name, each with the frames between its offsets."""
    for split in splits:
        clips = clips_of(builder, split)
        assert set(clips) == {arrays["frame_dir"][index] for index in arrays[split]}
        for index in arrays[split]:
            clip = clips[arrays["frame_dir"][index]]
            frames = slice(arrays["offsets"][index], arrays["offsets"][index + 1])
            np.testing.assert_array_equal(clip["keypoints"], arrays["keypoint"][None, frames])
            np.testing.assert_array_equal(clip["scores"], np.ones(clip["keypoints"].shape[:3]))
            np.testing.assert_array_equal(clip["frame_size"], [240, 320])
            assert clip["label"] == arrays["label"][index]


def test_elements_are_those_of_the_file(tmp_path):
    builder = build(tmp_path, DUMMY.parent)
    assert_clips_are(builder, np.load(DUMMY))
    assert tuple(builder.info.features["label"].names) == jhmdb.CLASSES
    assert builder.info.metadata["skeleton"] == "jhmdb"


# ---------------------------------------------------------------------------------------------------- DD-Net's pickles
def ddnet_parts(arrays):
    """DD-Net's six pickles, made from the arrays of the one file."""
    poses = np.round((arrays["keypoint"].astype(np.float64) - (160, 120)) / 120, 3)
    clips = np.split(poses, arrays["offsets"][1:-1])
    return {
        f"GT_{split[:-1]}_{split[-1]}.pkl": {
            "pose": [clips[index] for index in arrays[split]],
            "label": [str(arrays["class_names"][arrays["label"][index]]) for index in arrays[split]],
        }
        for split in jhmdb.SPLITS
    }


def save(folder, parts):
    for name, part in parts.items():
        (folder / name).write_bytes(pickle.dumps(part, protocol=3))


def rounded_dummy():
    """The dummy arrays on DD-Net's grid, and numbered as it has them: in a class, training clips of split 1 first."""
    arrays = dict(np.load(DUMMY))
    arrays["keypoint"] = (np.round((arrays["keypoint"] - (160, 120)) / 120, 3) * 120 + (160, 120)).astype(np.float32)
    return arrays


def test_reads_the_pickles_of_ddnet(tmp_path):
    arrays = rounded_dummy()
    save(tmp_path, ddnet_parts(arrays))
    read = jhmdb.read_ddnet(tmp_path)
    assert set(read) == set(jhmdb.ARRAYS)
    for name in jhmdb.ARRAYS:
        np.testing.assert_array_equal(read[name], arrays[name], err_msg=name)
    assert_clips_are(build(tmp_path / "built", tmp_path), arrays)


def test_pickles_must_all_be_there_and_fit_together(tmp_path):
    parts = ddnet_parts(rounded_dummy())
    save(tmp_path, parts)
    (tmp_path / "GT_test_2.pkl").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"no GT_test_2.pkl, nor jhmdb_gt.npz, in {tmp_path}; download .*DD-Net"
    ):
        build(tmp_path / "built", tmp_path)
    save(tmp_path, {"GT_test_2.pkl": {"pose": [np.zeros((3, 15, 2))], "label": ["catch"]}})
    with pytest.raises(ValueError, match="every clip of test2 must be in split 1 too, 1 are not"):
        jhmdb.read_ddnet(tmp_path)
    for part in (
        {"pose": [np.zeros((3, 15, 2))], "label": ["juggle"]},
        {"pose": [np.zeros((3, 2, 15))], "label": ["catch"]},
        {"pose": [], "label": ["catch"]},
        {"label": []},
        [],
    ):
        save(tmp_path, {"GT_test_2.pkl": part})
        with pytest.raises(ValueError, match="GT_test_2.pkl must have a `pose` and a `label` of catch, clap"):
            jhmdb.read_ddnet(tmp_path)
    assert not (tmp_path / "built" / "jhmdb" / "1.0.0").exists()


# ---------------------------------------------------------------------------------------------------- damaged files
@pytest.mark.parametrize(
    "changes, match",
    [
        ({"test3": None}, "must have the arrays keypoint, .*test3"),
        ({"class_names": np.array(["catch", "clap"])}, "must have the classes catch, .*got .'catch', 'clap'."),
        ({"keypoint": np.zeros((18, 14, 2), np.float32)}, r"keypoint must be \[frames, 15, 2\]"),
        ({"keypoint": np.full((18, 15, 2), np.nan, np.float32)}, "keypoint must be finite"),
        ({"offsets": np.array([0, 3, 7, 18])}, "offsets must be one more than the clips"),
        ({"offsets": np.array([0, 3, 7, 12, 17])}, "offsets must start at 0 and end at the number of frames"),
        ({"offsets": np.array([0, 7, 7, 12, 18])}, "offsets must rise"),
        ({"label": np.array([0, 0, 7, 14])}, "label must lie from 0 to 13"),
        ({"frame_dir": np.array(["a", "b", "c", "a"])}, "frame_dir must have a name of its own"),
        ({"img_shape": np.array([240])}, "img_shape must be height and width"),
        ({"train1": np.array([0, 4])}, "train1 must name clips that are there"),
        ({"test1": np.array([1, 1])}, "test1 must name clips that are there, each once"),
        ({"test2": np.array([], np.int64)}, "test2 must name clips"),
    ],
)
def test_arrays_must_fit_together(tmp_path, changes, match):
    arrays = dict(np.load(DUMMY)) | changes
    path = tmp_path / "jhmdb_gt.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=match):
        jhmdb.read(path)


def test_a_file_cut_short_or_with_pickles_is_refused(tmp_path):
    path = tmp_path / "jhmdb_gt.npz"
    whole = DUMMY.read_bytes()
    for length in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="must be a whole .npz file without pickles"):
            jhmdb.read(path)
    np.savez(path, **(dict(np.load(DUMMY)) | {"frame_dir": np.array(["a", None], object)}))
    with pytest.raises(ValueError, match="without pickles"):
        jhmdb.read(path)


# ---------------------------------------------------------------------------------------------------- the real file
def test_the_real_file(shared_data, tmp_path):
    folder = shared_data("jhmdb")
    arrays = np.load(folder / "jhmdb_gt.npz")
    builder = build(tmp_path, folder)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == {"train1": 433, "test1": 176, "train2": 433, "test2": 176, "train3": 434, "test3": 175}
    for number in "123":
        split = np.concatenate([arrays[f"train{number}"], arrays[f"test{number}"]])
        assert sorted(split) == list(range(609))
    assert arrays["offsets"][-1] == 21126
    assert_clips_are(builder, {name: arrays[name] for name in arrays}, splits=("train1", "test1"))


def test_the_pickles_of_ddnet_give_the_real_file(shared_data, tmp_path):
    arrays = dict(np.load(shared_data("jhmdb") / "jhmdb_gt.npz"))
    save(tmp_path, ddnet_parts(arrays))
    read = jhmdb.read_ddnet(tmp_path)
    for name in jhmdb.ARRAYS:
        np.testing.assert_array_equal(read[name], arrays[name], err_msg=name)
