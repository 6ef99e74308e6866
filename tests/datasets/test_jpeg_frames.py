"""The jpeg_frames builder: the frames of a data set of videos one by one, and the clips that are made of them."""

import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import frames, service, videos
from kerapose.skeletons import COCO

ROOT = pathlib.Path(__file__).resolve().parents[2]
DUMMY = ROOT / "datasets" / "rgb_pose_clips" / "dummy_data"
SHAPES = {"rgb_shape": (4, 64, 64, 3), "pose_shape": (8, 28, 28, 17)}
spec = importlib.util.spec_from_file_location("datasets_build", ROOT / "datasets" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where videos are prepared, and their frames as well."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    build.run("rgb_pose_clips/ntu60", folder, str(DUMMY))
    build.run("jpeg_frames/ntu60", folder, source="rgb_pose_clips/ntu60")
    return folder


def test_all_but_the_videos_is_as_it_was_and_frames_nearly(folder):
    (before, info), (after, made) = (
        videos.from_tfds(name, "xsub_train", folder) for name in ("rgb_pose_clips/ntu60", "jpeg_frames/ntu60")
    )
    assert made.metadata == info.metadata and made.features["label"].names == info.features["label"].names
    for clip, other in zip(tfds.as_numpy(before), tfds.as_numpy(after), strict=True):
        pictures = frames.read(clip.pop("video"))
        decoded = np.stack([tf.io.decode_jpeg(jpeg) for jpeg in other.pop("jpegs")])
        assert decoded.shape == pictures.shape
        error = np.mean((decoded.astype("float64") - pictures) ** 2)
        assert 10 * np.log10(255**2 / error) > 38  # dB
        assert clip.keys() == other.keys()
        for key, value in clip.items():
            np.testing.assert_array_equal(value, other[key])


@pytest.mark.parametrize("make", [videos.training, videos.evaluation])
def test_clips_are_those_of_the_videos(folder, make):
    arguments = {"skeleton": COCO} if make is videos.training else {}
    of_videos, of_frames = (
        next(iter(make(videos.from_tfds(name, "xsub_train", folder)[0], batch_size=2, **SHAPES, **arguments)))
        for name in ("rgb_pose_clips/ntu60", "jpeg_frames/ntu60")
    )
    for key in ("keypoints", "scores"):
        np.testing.assert_array_equal(of_videos[0][key], of_frames[0][key])
    np.testing.assert_array_equal(of_videos[1], of_frames[1])
    difference = np.abs(of_videos[0]["rgb"] - of_frames[0]["rgb"]) * 57  # grey levels, of ImageNet's normalization
    assert difference.mean() < 3


def test_they_are_checked(folder):
    dataset, _ = videos.from_tfds("jpeg_frames/ntu60", "xsub_train", folder)
    assert videos.check(dataset, COCO, 60) == 2
    shorter = dataset.map(lambda clip: clip | {"jpegs": clip["jpegs"][1:]})
    with pytest.raises(videos.BadDataError, match="frames"):
        videos.check(shorter, COCO, 60)
    spoilt = dataset.map(lambda clip: clip | {"jpegs": tf.fill(tf.shape(clip["jpegs"]), "no JPEG")})
    with pytest.raises(videos.BadDataError) as refused:
        videos.check(spoilt, COCO, 60)
    assert len(refused.value.names) == 2


def test_they_can_leave_the_process_and_videos_cannot(folder):
    def batches(name):
        dataset, _ = videos.from_tfds(name, "xsub_train", folder)
        return videos.training(dataset, COCO, batch_size=2, **SHAPES)

    service._refuse_what_stays(batches("jpeg_frames/ntu60"))
    with pytest.raises(ValueError, match="need Python in this process"):
        service._refuse_what_stays(batches("rgb_pose_clips/ntu60"))


def test_a_source_is_prepared_and_has_videos(folder):
    with pytest.raises(ValueError, match="made of a data set of videos; give its name as --source"):
        build.run("jpeg_frames/mine", folder)
    with pytest.raises(ValueError, match="dataset penn_action is not prepared"):
        build.run("jpeg_frames/mine", folder, source="penn_action")
    with pytest.raises(ValueError, match="jpeg_frames/ntu60 has none; give another one"):
        build.run("jpeg_frames/mine", folder, source="jpeg_frames/ntu60")
