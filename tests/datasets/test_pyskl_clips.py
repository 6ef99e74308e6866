"""The pyskl_clips builder: published configs on dummy data, and files of one's own."""

import importlib
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import pyskl

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
pyskl_clips = importlib.import_module("pyskl_clips.pyskl_clips_dataset_builder")
jhmdb = importlib.import_module("jhmdb.jhmdb_dataset_builder")

DUMMY = ROOT / "datasets" / "pyskl_clips" / "dummy_data"


class Ntu60Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = pyskl_clips.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["ntu60"]
    SPLITS = {"xsub_train": 2, "xsub_val": 2, "xview_train": 2, "xview_val": 2}
    OVERLAPPING_SPLITS = ["xview_train", "xview_val"]  # another way to divide the same clips


class K400Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = pyskl_clips.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["k400"]
    SPLITS = {"train": 2, "val": 1}


def build(data_dir, config, manual_dir=None):
    builder = pyskl_clips.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def clips_of(builder, split):
    return {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split=split))}


def assert_same_clip(clip, expected):
    for key in ("keypoints", "scores", "frame_size", "label"):
        np.testing.assert_array_equal(clip[key], expected[key])


def own_file(folder, **changes):
    """An annotation file of 18 keypoints, three clips and two classes."""
    rng = np.random.default_rng(0)
    annotations = [
        {"frame_dir": name, "label": label, "img_shape": (48, 64), "keypoint": rng.uniform(0, 48, (1, frames, 18, 2))}
        for name, label, frames in (("a", 0, 3), ("b", 1, 1), ("c", 1, 4))
    ]
    content = {"split": {"train": ["a", "b"], "test-1": ["c"]}, "annotations": annotations} | changes
    path = folder / "own.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


# ---------------------------------------------------------------------------------------------------- published files
def test_published_files():
    classes = {config.name: config.num_classes for config in pyskl_clips.Builder.BUILDER_CONFIGS}
    assert classes == {
        "ntu60": 60,
        "ntu120": 120,
        "ntu60_3d": 60,
        "ntu120_3d": 120,
        "gym": 99,
        "k400": 400,
        "diving48": 48,
        "ucf101": 101,
        "hmdb51": 51,
    }
    for config in pyskl_clips.Builder.BUILDER_CONFIGS:
        base, of_3d, _ = config.name.partition("_3d")
        assert config.files[0] == f"{base}_{'3danno' if of_3d else 'hrnet'}.pkl" == config.address.rpartition("/")[2]
        expected = (25, "ntu", True) if of_3d else (17, "coco", False)
        assert (config.num_keypoints, config.skeleton, config.is_3d) == expected


@pytest.mark.parametrize("config", ["ntu60", "k400"])
def test_elements_are_those_of_the_file(tmp_path, config):
    builder = build(tmp_path, config, DUMMY)
    annotations = pyskl.read_annotations(DUMMY / f"{config}_hrnet.pkl")
    assert set(builder.info.splits) == set(annotations.splits)
    for split, names in annotations.splits.items():
        clips = clips_of(builder, split)
        assert set(clips) == set(names)
        for name in names:
            assert_same_clip(clips[name], annotations.clips[name])
    assert builder.info.metadata["skeleton"] == "coco"


def file_of_3d(folder, keypoints=25, **changes):
    """An annotation file of 3D skeletons in Kinect's axes, as PYSKL has NTU's: the second person is filled up."""
    random = np.random.default_rng(0)
    body = random.uniform((-0.3, -0.9, -0.2), (0.3, 0.8, 0.2), (keypoints, 3)) + (0, 0, 3)
    clips = {name: np.zeros((2, frames, keypoints, 3), np.float16) for name, frames in (("a", 3), ("b", 5))}
    for keypoint in clips.values():
        keypoint[0] = body + random.normal(0, 0.02, (keypoint.shape[1], keypoints, 3))
    annotations = [
        {"frame_dir": name, "label": label, "total_frames": keypoint.shape[1], "keypoint": keypoint}
        for label, (name, keypoint) in enumerate(clips.items())
    ]
    path = folder / "ntu60_3danno.pkl"
    path.write_bytes(pickle.dumps({"split": {"xsub_train": ["a"], "xsub_val": ["b"]}, "annotations": annotations}))
    return path, clips


def test_3d_skeletons_are_kept_with_z_up(tmp_path):
    path, raw = file_of_3d(tmp_path)
    builders = {
        "y": build(tmp_path / "published", "ntu60_3d", tmp_path),
        "z": build(tmp_path / "own", pyskl_clips.own("own", path, num_classes=2, up="z")),
    }
    for up, builder in builders.items():
        (clip,) = clips_of(builder, "xsub_val").values()
        kinect = raw["b"][:1].astype(np.float32)
        expected = kinect if up == "z" else np.stack([-kinect[..., 0], kinect[..., 2], kinect[..., 1]], -1)
        np.testing.assert_array_equal(clip["poses_m"], expected)
        np.testing.assert_array_equal(clip["scores"], np.ones((1, 5, 25)))
        assert set(clip) == {"poses_m", "scores", "label", "name"} and clip["label"] == 1
    assert builders["y"].info.metadata["skeleton"] == "ntu"


def test_a_2d_config_refuses_3d_skeletons(tmp_path):
    path, _ = file_of_3d(tmp_path)
    path.rename(tmp_path / "ntu60_hrnet.pkl")
    with pytest.raises(pyskl.AnnotationError, match="a 3D skeleton, and only 2D ones are read"):
        build(tmp_path / "built", "ntu60", tmp_path)


def test_takes_mmactions_name_of_a_file_too(tmp_path):
    (tmp_path / "ntu60_2d.pkl").write_bytes((DUMMY / "ntu60_hrnet.pkl").read_bytes())
    assert build(tmp_path / "built", "ntu60", tmp_path).info.splits["xsub_train"].num_examples == 2


def test_a_missing_file_is_asked_for(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf"no gym_hrnet.pkl or gym_2d.pkl in {DUMMY}; download it from https://"
    ):
        build(tmp_path, "gym", DUMMY)
    assert not (tmp_path / "pyskl_clips" / "gym" / "1.0.0").exists()


def test_a_published_config_wants_its_own_classes_and_keypoints(tmp_path):
    content = pickle.loads((DUMMY / "ntu60_hrnet.pkl").read_bytes())
    content["annotations"][0]["label"] = 60
    (tmp_path / "ntu60_hrnet.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="Labels are whole numbers, 0 to 59, got .*: 60"):
        build(tmp_path / "built", "ntu60", tmp_path)
    (tmp_path / "ntu60_hrnet.pkl").write_bytes(own_file(tmp_path).read_bytes())
    with pytest.raises(ValueError, match="this one has 18 and skeleton coco 17"):
        build(tmp_path / "built", "ntu60", tmp_path)


# ---------------------------------------------------------------------------------------------------- one's own files
def test_own_file(tmp_path):
    path, names = own_file(tmp_path), tmp_path / "names.txt"
    names.write_text("stand still\nfall\n\n")
    builder = build(tmp_path, pyskl_clips.own("dance", path, class_names=names, skeleton="openpose"))
    assert builder.info.full_name == "pyskl_clips/dance/1.0.0"
    assert builder.info.features["label"].names == ["stand still", "fall"]
    assert builder.info.features["keypoints"].shape == (None, None, 18, 2)
    assert builder.info.metadata["skeleton"] == "openpose"
    annotations = pyskl.read_annotations(path)
    for split, names in annotations.splits.items():
        for name, clip in clips_of(builder, split).items():
            assert name in names
            assert_same_clip(clip, annotations.clips[name])


def test_own_file_without_names(tmp_path):
    builder = build(tmp_path, pyskl_clips.own("custom", own_file(tmp_path), num_classes=5))
    assert builder.info.features["label"].num_classes == 5
    assert builder.info.metadata["skeleton"] is None


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({}, "The number of classes in .*own.pkl must be known; give num_classes or class_names"),
        ({"num_classes": 1}, "own.pkl: Labels are whole numbers, 0 to 0, got 2 of 3 clips .* .b, c: 1"),
        ({"num_classes": 2, "skeleton": "coco"}, "this one has 18 and skeleton coco 17"),
        ({"num_classes": 2, "skeleton": "horse"}, "must be one of coco, .*got 'horse'"),
        ({"num_classes": 2, "name": "gym"}, "must not be called gym, which is a published one"),
        ({"num_classes": 3, "class_names": "one\ntwo"}, "one name for each class, got 2 names and num_classes 3"),
        ({"class_names": "0,one\n1,two"}, "numbers before all of them .0,one, 1,two.; leave the numbers out"),
        ({"class_names": "1 one\n2 two\n"}, "numbers before all of them"),
        ({"class_names": "1: one\n0: two\n"}, "numbers before all of them"),
        ({"class_names": "one\none\n"}, "one different class name a line, got one more than once; correct the file"),
        ({"class_names": "one\n\ntwo\n"}, "one different class name a line, got an empty line"),
    ],
)
def test_own_file_that_is_not_described_rightly(tmp_path, arguments, match):
    if "class_names" in arguments:
        (tmp_path / "names.txt").write_text(arguments["class_names"])
        arguments = arguments | {"class_names": tmp_path / "names.txt"}
    with pytest.raises(ValueError, match=match):
        pyskl_clips.own(**{"name": "custom", "file": own_file(tmp_path)} | arguments)


@pytest.mark.parametrize(
    "split, match",
    [
        ({"train": ["a"], "two words": ["b"]}, "letters, digits, _ or - and not 'all', got 'two words'"),
        ({"all": ["a"]}, "not 'all', got 'all'"),
        ({"train": ["a"], "test": []}, "at least one clip, 'test' has none"),
    ],
)
def test_splits_that_tfds_cannot_write(tmp_path, split, match):
    config = pyskl_clips.own("custom", own_file(tmp_path, split=split), num_classes=2)
    with pytest.raises(ValueError, match=match):
        build(tmp_path, config)
    assert not (tmp_path / "pyskl_clips" / "custom" / "1.0.0").exists()


def test_the_real_pickle_gives_the_elements_of_jhmdb(shared_data, tmp_path):
    """What the builders hand to TFDS; that it comes back is seen of other files here and in test_jhmdb.py."""
    folder = shared_data("jhmdb")
    config = pyskl_clips.own("custom", folder / "jhmdb_gt.pkl", num_classes=14, skeleton="jhmdb")
    builders = pyskl_clips.Builder(data_dir=tmp_path, config=config), jhmdb.Builder(data_dir=tmp_path)
    downloaded = types.SimpleNamespace(manual_dir=folder)
    found, expected = (
        {split: dict(clips) for split, clips in builder._split_generators(downloaded).items()} for builder in builders
    )
    assert found.keys() == expected.keys() and len(found) == 6
    for split, clips in found.items():
        assert clips.keys() == expected[split].keys()
        for name, clip in clips.items():
            assert_same_clip(clip, expected[split][name])


def test_own_file_without_the_clips_that_are_skipped(tmp_path):
    path = own_file(tmp_path)
    content = pickle.loads(path.read_bytes())
    content["annotations"][1]["label"] = 1.5
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(pyskl.AnnotationError) as error:
        pyskl_clips.own("custom", path, num_classes=2)
    builder = build(tmp_path, pyskl_clips.own("custom", path, num_classes=2, skip=error.value.names))
    assert set(clips_of(builder, "train")) == {"a"} and builder.info.metadata["left_out"] == ["b"]
    with pytest.raises(ValueError, match=r"write \['b'\]"):
        pyskl_clips.own("custom", path, num_classes=2, skip="b")
