"""The rgb_pose_clips builder: a published config on dummy data, files of one's own, and videos that do not fit."""

import importlib
import importlib.util
import pathlib
import pickle
import shutil
import sys
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerapose.data import frames, pyskl

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "datasets"))  # as build.py finds the builders; TFDS takes a second name for a second one
rgb_pose_clips = importlib.import_module("rgb_pose_clips.rgb_pose_clips_dataset_builder")
pyskl_clips = importlib.import_module("pyskl_clips.pyskl_clips_dataset_builder")

spec = importlib.util.spec_from_file_location("datasets_build", ROOT / "datasets" / "build.py")
build_script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_script)

DUMMY = ROOT / "datasets" / "rgb_pose_clips" / "dummy_data"
VIDEOS = {
    "S001C001P001R001A001": "nturgb+d_rgb/S001C001P001R001A001_rgb.avi",
    "S001C002P003R001A050": "nturgb+d_rgb/S001C002P003R001A050_rgb.avi",
    "S001C001P002R001A024": "S001C001P002R001A024.mp4",
    "S001C003P002R001A060": "small/S001C003P002R001A060.mkv",
}


class Ntu60Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = rgb_pose_clips.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["ntu60"]
    SPLITS = {"xsub_train": 2, "xsub_val": 2, "xview_train": 2, "xview_val": 2}
    OVERLAPPING_SPLITS = ["xview_train", "xview_val"]  # another way to divide the same clips


def build(data_dir, config, manual_dir=None):
    builder = rgb_pose_clips.Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def clips_of(builder, split):
    return {clip["name"].decode(): clip for clip in tfds.as_numpy(builder.as_dataset(split=split))}


@pytest.fixture
def folder(tmp_path):
    """A copy of the dummy data that a test can spoil."""
    return pathlib.Path(shutil.copytree(DUMMY, tmp_path / "manual"))


def annotate(folder, name, **changes):
    """Changes fields of one clip in the annotation file."""
    path = folder / "ntu60_hrnet.pkl"
    content = pickle.loads(path.read_bytes())
    next(clip for clip in content["annotations"] if clip["frame_dir"] == name).update(changes)
    path.write_bytes(pickle.dumps(content))


def annotated_frames(folder, name, num_frames):
    """Gives a clip other poses, of so many frames."""
    keypoints = np.random.default_rng(0).uniform(1, 900, (2, num_frames, 17, 2))
    annotate(folder, name, keypoint=keypoints, keypoint_score=np.ones((2, num_frames, 17)), total_frames=num_frames)


def own_folder(folder, names=("anna_waves", "dance/anna", "sit/anna")):
    """An annotation file of three keypoints and two classes, with its videos in folders beside it."""
    annotations = []
    for number, name in enumerate(names):
        video = folder / "videos" / f"{name}.MP4"
        video.parent.mkdir(parents=True, exist_ok=True)
        pictures = np.full((number + 2, 16, 32, 3), 80 * number, np.uint8)
        video.write_bytes(frames.encode(pictures, 25))
        keypoints = np.full((1, number + 2, 3, 2), number + 1.0)
        annotations.append({"frame_dir": name, "label": number % 2, "img_shape": (16, 32), "keypoint": keypoints})
    path = folder / "own.pkl"
    path.write_bytes(pickle.dumps({"split": {"train": names[:2], "test": names[2:]}, "annotations": annotations}))
    return path


# ---------------------------------------------------------------------------------------------------- what it gives
def test_published_configs_are_those_of_pyskl_clips_with_all_frames():
    others = set(pyskl_clips.Builder.builder_configs) - set(rgb_pose_clips.Builder.builder_configs)
    assert others == {"k400", "ntu60_3d", "ntu120_3d"}
    assert rgb_pose_clips.Builder.builder_configs["ntu120"].num_classes == 120


def test_clips_have_the_poses_of_the_file_and_the_bytes_of_the_video(tmp_path):
    builder = build(tmp_path, "ntu60", DUMMY)
    annotations = pyskl.read_annotations(DUMMY / "ntu60_hrnet.pkl")
    assert set(builder.info.splits) == set(annotations.splits)
    assert builder.info.full_name == "rgb_pose_clips/ntu60/1.0.0"
    assert builder.info.metadata["skeleton"] == "coco"
    for split, names in annotations.splits.items():
        clips = clips_of(builder, split)
        assert set(clips) == set(names)
        for name, clip in clips.items():
            for key in ("keypoints", "scores", "frame_size", "label"):
                np.testing.assert_array_equal(clip[key], annotations.clips[name][key])
            assert clip["video"] == (DUMMY / VIDEOS[name]).read_bytes()
            pictures = frames.read(clip["video"])
            assert len(pictures) == clip["keypoints"].shape[1]
            places = pictures[..., 2].astype(float).argmin(axis=2)  # a disk without blue goes from left to right
            assert (np.diff(places[:, pictures.shape[1] // 2]) > 0).all()


def test_names_of_classes_are_taken_where_they_are(folder, tmp_path):
    names = [f"action {number}" for number in range(60)]
    (folder / "classes.txt").write_text("\n".join(names))
    builder = build(tmp_path / "data", "ntu60", folder)
    assert tfds.builder_from_directory(builder.data_dir).info.features["label"].names == names
    assert clips_of(builder, "xsub_train")["S001C002P003R001A050"]["label"] == 49
    (folder / "classes.txt").write_text("\n".join(names[:59]))
    with pytest.raises(ValueError, match="classes.txt must have one name for each of 60 classes, got 59; correct it"):
        build(tmp_path / "again", "ntu60", folder)


def test_names_that_are_given_come_before_those_beside_the_file(tmp_path):
    path, given = own_folder(tmp_path), tmp_path / "elsewhere.txt"
    given.write_text("wave\ndance\n")
    (path.parent / "classes.txt").write_text("old wave\nold dance\n")
    assert rgb_pose_clips.own("mine", path, class_names=given).class_names == ("wave", "dance")


@pytest.mark.parametrize("given", ["classes.txt", "class_names", "num_classes"])
def test_files_of_ones_own(tmp_path, given):
    path, classes = own_folder(tmp_path), {"num_classes": 2}
    if given != "num_classes":
        names = tmp_path / {"classes.txt": given, "class_names": "elsewhere.txt"}[given]
        names.write_text("wave\ndance\n")
        classes = {"class_names": names} if given == "class_names" else {}
    builder = build(tmp_path / "data", rgb_pose_clips.own("dance", path, **classes))
    assert builder.info.features["label"].names == (["0", "1"] if given == "num_classes" else ["wave", "dance"])
    clips = clips_of(builder, "train") | clips_of(builder, "test")
    for name, video in {"anna_waves": "anna_waves", "dance/anna": "dance/anna", "sit/anna": "sit/anna"}.items():
        assert clips[name]["video"] == (tmp_path / "videos" / f"{video}.MP4").read_bytes()
        assert clips[name]["keypoints"].shape == (1, len(frames.read(clips[name]["video"])), 3, 2)


def test_build_py_takes_files_of_ones_own(tmp_path, capsys):
    path = own_folder(tmp_path)
    build_script.run("rgb_pose_clips/dance", tmp_path / "data", file=str(path), num_classes=2)
    assert "rgb_pose_clips/dance is prepared: " in capsys.readouterr().out
    dataset = tfds.load("rgb_pose_clips/dance", split="test", data_dir=tmp_path / "data")
    assert [name.decode() for name in tfds.as_numpy(dataset.map(lambda clip: clip["name"]))] == ["sit/anna"]
    with pytest.raises(ValueError, match="no published rgb_pose_clips/k400, .* for a file of your own give --file"):
        build_script.run("rgb_pose_clips/k400", tmp_path / "data")


def test_videos_behind_a_link_are_found(folder, tmp_path):
    (folder / "nturgb+d_rgb").rename(tmp_path / "large_disk")
    (folder / "linked").symlink_to(tmp_path / "large_disk")
    (folder / "linked" / "back").symlink_to(folder)
    found = rgb_pose_clips.find_videos(folder, list(VIDEOS))
    assert {name: path.name for name, path in found.items()} == {
        name: pathlib.PurePath(path).name for name, path in VIDEOS.items()
    }


# ---------------------------------------------------------------------------------------------------- counts of frames
@pytest.mark.parametrize("num_poses", [4, 6, 8, 9])
def test_keypoints_are_made_as_long_as_the_video(folder, tmp_path, caplog, num_poses):
    name, num_frames = "S001C003P002R001A060", 7
    annotated_frames(folder, name, num_poses)
    poses = pyskl.read_annotations(folder / "ntu60_hrnet.pkl").clips[name]
    if abs(num_poses - num_frames) > 2:
        match = rf"xsub_val: 1 clips cannot be taken: {name}.mkv: .* at most 2 apart, got {num_frames} and {num_poses}"
        with pytest.raises(ValueError, match=match):
            build(tmp_path / "data", "ntu60", folder)
        assert not (tmp_path / "data" / "rgb_pose_clips" / "ntu60" / "1.0.0").exists()
        return
    clip = clips_of(build(tmp_path / "data", "ntu60", folder), "xsub_val")[name]
    kept = min(num_poses, num_frames)
    assert clip["keypoints"].shape == (2, num_frames, 17, 2) and clip["scores"].shape == (2, num_frames, 17)
    for key in ("keypoints", "scores"):
        np.testing.assert_array_equal(clip[key][:, :kept], poses[key][:, :kept])
        assert not clip[key][:, kept:].any()
    assert f"the keypoints of 1 clips are made as long as the videos, cut or with missing joints ({name}" in caplog.text
    assert f"{name} {num_frames - num_poses:+d}" in caplog.text


def test_poses_are_not_taken_where_frames_without_people_are_left_out(folder, tmp_path):
    rows = np.ones((7, 17, 3), np.float32)
    annotate(folder, "S001C003P002R001A060", keypoint=rows, frame_inds=np.arange(7), total_frames=7)
    match = r"1 clips have only the frames with people in them \(`frame_inds` or `raw_file`\); build it as pyskl_clips"
    with pytest.raises(ValueError, match=match):
        build(tmp_path / "data", "ntu60", folder)
    with pytest.raises(ValueError, match=match):
        rgb_pose_clips.own("mine", folder / "ntu60_hrnet.pkl", num_classes=60)
    with pytest.raises(ValueError, match="3 clips have only the frames with people"):
        rgb_pose_clips.own("mine", ROOT / "datasets" / "pyskl_clips" / "dummy_data" / "k400_hrnet.pkl", num_classes=400)


# ---------------------------------------------------------------------------------------------------- what it refuses
def test_missing_videos_are_counted_and_named(folder, tmp_path):
    for name in ("S001C001P001R001A001", "S001C003P002R001A060"):
        path = folder / VIDEOS[name]
        path.rename(path.with_suffix(".txt"))
    match = r"2 of 4 clips have no video in .*manual \(S001C001P001R001A001, S001C003P002R001A060\); put files"
    with pytest.raises(FileNotFoundError, match=match):
        build(tmp_path / "data", "ntu60", folder)
    (folder / "ntu60_hrnet.pkl").unlink()
    with pytest.raises(FileNotFoundError, match="no ntu60_hrnet.pkl or ntu60_2d.pkl in .*; download it from https://"):
        build(tmp_path / "data", "ntu60", folder)


def test_two_videos_of_a_clip_are_named(folder, tmp_path):
    path = folder / VIDEOS["S001C001P002R001A024"]
    shutil.copy(path, folder / "small" / "S001C001P002R001A024_rgb.avi")
    with pytest.raises(ValueError, match="1 have more .S001C001P002R001A024: .*A024.mp4 and .*A024_rgb.avi.; take"):
        build(tmp_path / "data", "ntu60", folder)


def test_a_folder_in_a_name_is_the_videos_own(tmp_path):
    own_folder(tmp_path)
    found = rgb_pose_clips.find_videos(tmp_path, ["dance/anna", "videos/sit/anna"])
    assert found["dance/anna"] == tmp_path / "videos/dance/anna.MP4"
    assert found["videos/sit/anna"] == tmp_path / "videos/sit/anna.MP4"
    with pytest.raises(ValueError, match="anna: .*dance/anna.MP4 and .*sit/anna.MP4"):
        rgb_pose_clips.find_videos(tmp_path, ["anna"])
    with pytest.raises(FileNotFoundError, match=r"1 of 1 clips have no video in .* \(run/anna\)"):
        rgb_pose_clips.find_videos(tmp_path, ["run/anna"])


def test_bad_videos_are_all_named(folder, tmp_path):
    train = ("S001C001P001R001A001", "S001C002P003R001A050")
    (folder / VIDEOS[train[0]]).write_bytes(b"no video at all" * 50)
    annotate(folder, train[1], img_shape=(1920, 1080))
    with pytest.raises(ValueError, match="xsub_train: 2 clips cannot be taken: ") as caught:
        build(tmp_path / "data", "ntu60", folder)
    assert all(f"{name}_rgb.avi: " in str(caught.value) for name in train)
    assert "must have the aspect ratio of the annotated frames, 1920 x 1080, got 54 x 96" in str(caught.value)
    assert not (tmp_path / "data" / "rgb_pose_clips" / "ntu60" / "1.0.0").exists()


@pytest.mark.parametrize(
    ("frame_size", "fits"), [((540, 960), True), ((256, 454), True), ((256, 456), True), ((240, 320), False)]
)
def test_a_video_may_be_smaller_than_the_frames_annotated(frame_size, fits):
    clip = {"keypoints": np.ones((1, 3, 2, 2)), "scores": np.ones((1, 3, 2)), "frame_size": np.array([1080, 1920])}
    about = types.SimpleNamespace(num_frames=3, frame_size=frame_size)
    if fits:
        keypoints, scores, difference = rgb_pose_clips.fit(clip, about)
        np.testing.assert_array_equal(keypoints, clip["keypoints"])
        assert scores.shape == (1, 3, 2) and difference == 0
    else:
        with pytest.raises(ValueError, match="1080 x 1920, got 240 x 320 .height x width.; take the video"):
            rgb_pose_clips.fit(clip, about)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "The number of classes in .*own.pkl must be known; give num_classes or class_names"),
        ({"num_classes": 1}, "Labels are whole numbers, 0 to 0, got .* .dance/anna: 1"),
        ({"num_classes": 2, "skeleton": "coco"}, "this one has 3 and skeleton coco 17"),
        ({"num_classes": 2, "name": "ntu60"}, "must not be called ntu60, which is a published one"),
    ],
)
def test_files_of_ones_own_that_are_not_described_rightly(tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        rgb_pose_clips.own(**{"name": "custom", "file": own_folder(tmp_path)} | arguments)
