"""The pipeline of video and skeleton: sources, bad input, pictures and keypoints that belong together."""

import fractions
import inspect
import io
import itertools
import pickle

import av
import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose.data import frames, order, videos
from kerapose.ops import sequences
from kerapose.skeletons import COCO, Skeleton

HEIGHT, WIDTH = 96, 128
unconverted = tf.autograph.experimental.do_not_convert  # nothing to convert, which takes long to find out
RGB, POSE = (4, 48, 48, 3), (8, 24, 24, 17)
RAW = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # pixels come out as they are
LENGTHS = (20, 9, 30, 3, 8, 1, 13)
LEFT_EYE, RIGHT_EYE = 1, 2
MIRRORED = [label + 7 for label in range(7)]  # so that labels tell which clips are mirrored


def walk(seed=0, people=1, length=30):
    """People of random shape who drift through the frame; their two eyes stay apart and away from all else."""
    random = np.random.default_rng(seed)
    keypoints = random.uniform((30, 50), (90, 85), (people, 1, 17, 2)) + random.normal(0, 0.3, (people, length, 17, 2))
    drift = np.linspace(0, 20, length)[:, None]
    keypoints[0, :, LEFT_EYE] = (40, 20) + drift * (1, 0.3)
    keypoints[0, :, RIGHT_EYE] = (70, 25) + drift * (1, 0.3)
    return keypoints.astype("float32")


def picture(keypoints, t):
    """A frame whose grey tells its index and whose dots are the eyes: red the left one, blue the right one."""
    image = np.full((HEIGHT, WIDTH, 3), 40 + 4 * t, np.uint8)
    for joint, color in ((LEFT_EYE, (255, 0, 0)), (RIGHT_EYE, (0, 0, 255))):
        center = tuple(int(round(16 * float(x) - 8)) for x in keypoints[0, t, joint])  # 16ths of a pixel
        cv2.circle(image, center, 16 * 4, color, -1, cv2.LINE_AA, 4)
    return image


def video_of(keypoints):
    """A film of it that loses nothing to speak of."""
    images = [picture(keypoints, t) for t in range(keypoints.shape[1])]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return frames.wrap_jpegs([cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes() for image in images], 25)


def make_arrays():
    """Arguments of `from_arrays`: one class a clip; every third clip shows two people."""
    keypoints = [walk(i, 1 + (i % 3 == 2), length) for i, length in enumerate(LENGTHS)]
    scores = [np.random.default_rng(i).uniform(0.1, 1, k.shape[:3]).astype("float32") for i, k in enumerate(keypoints)]
    contents = [video_of(k) for k in keypoints]
    return {"videos": contents, "keypoints": keypoints, "scores": scores, "labels": list(range(len(LENGTHS)))}


@pytest.fixture(scope="module")
def arrays():
    return make_arrays()


@pytest.fixture(scope="module")
def dataset(arrays):
    return videos.from_arrays(**arrays, skeleton=COCO)


@pytest.fixture(scope="module")
def evaluated(dataset):
    return read(evaluation(dataset))


def training(dataset, **changes):
    options = {"batch_size": 4, "rgb_shape": RGB, "pose_shape": POSE, "seed": 3, "flip_labels": MIRRORED}
    return videos.training(dataset, COCO, **options | changes)


def evaluation(dataset, **changes):
    options = {"batch_size": 4, "rgb_shape": RGB, "pose_shape": POSE, "normalization": RAW}
    return videos.evaluation(dataset, **options | changes)


def read(batches, count=None):
    """The first batches as NumPy arrays: [(inputs, labels), ...]."""
    return list((batches if count is None else batches.take(count)).as_numpy_iterator())


def single(batches):
    """The clips of some batches, one after the other: [(inputs, label), ...]."""
    return [
        ({key: value[i] for key, value in inputs.items()}, label)
        for inputs, labels in batches
        for i, label in enumerate(labels)
    ]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for (inputs, labels), (wanted, wanted_labels) in zip(batches, expected, strict=True):
        assert set(inputs) == set(wanted)
        for key in inputs:
            np.testing.assert_array_equal(inputs[key], wanted[key])
        np.testing.assert_array_equal(labels, wanted_labels)


# ---------------------------------------------------------------------------------------------------- sources
def test_from_arrays_gives_the_arrays_back(arrays, dataset):
    assert int(dataset.cardinality()) == len(LENGTHS)
    for i, element in enumerate(dataset.as_numpy_iterator()):
        assert element["video"] == arrays["videos"][i]
        np.testing.assert_array_equal(element["keypoints"], arrays["keypoints"][i])
        np.testing.assert_array_equal(element["scores"], arrays["scores"][i])
        np.testing.assert_array_equal(element["frame_size"], [HEIGHT, WIDTH])  # read off the video
        assert element["label"] == i and element["name"] == str(i).encode()


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    """The first four videos as files, of which the last two are where and as NTU RGB+D has them."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "nturgb+d_rgb").mkdir()
    for i, name in enumerate(["clip0.mkv", "clip1.MKV", "nturgb+d_rgb/clip2_rgb.mkv", "nturgb+d_rgb/clip3_rgb.mkv"]):
        (folder / name).write_bytes(arrays["videos"][i])
    (folder / "clip0.txt").write_text("not a video")
    return folder


def test_paths_are_read_when_their_turn_comes(arrays, dataset, folder):
    paths = [folder / "clip0.mkv", str(folder / "clip1.MKV")]
    given = {key: arrays[key][:2] for key in ("keypoints", "scores", "labels")}
    by_path = videos.from_arrays(paths, **given, skeleton=COCO)
    assert set(by_path.element_spec) == set(dataset.element_spec) - {"video"} | {"path"}
    for element, path in zip(by_path.as_numpy_iterator(), paths, strict=True):
        assert element["path"].decode() == str(path)
        np.testing.assert_array_equal(element["frame_size"], [HEIGHT, WIDTH])


def test_from_arrays_wants_a_label_for_each_video(arrays):
    with pytest.raises(ValueError, match="got 7 videos, 7 arrays of keypoints and 1 labels; match them"):
        videos.from_arrays(arrays["videos"], arrays["keypoints"], [0], COCO)


def save_pyskl(path, arrays, names):
    annotations = [
        {
            "frame_dir": name,
            "label": i,
            "img_shape": (HEIGHT, WIDTH),
            "total_frames": arrays["keypoints"][i].shape[1],
            "keypoint": arrays["keypoints"][i],
            "keypoint_score": arrays["scores"][i],
        }
        for i, name in enumerate(names)
    ]
    splits = {"train": names[2:] + names[:1], "all": names}
    path.write_bytes(pickle.dumps({"split": splits, "annotations": annotations}))
    return path


def test_from_pyskl_equals_from_arrays(tmp_path, arrays, dataset, folder, evaluated):
    path = save_pyskl(tmp_path / "set.pkl", arrays, [f"clip{i}" for i in range(4)])
    found = videos.from_pyskl(folder, path, "train", COCO, num_classes=4)
    assert int(found.cardinality()) == 3
    expected = list(dataset.as_numpy_iterator())
    for element, i in zip(found.as_numpy_iterator(), (2, 3, 0), strict=True):
        assert element["name"] == f"clip{i}".encode() and element["label"] == i
        for key in ("keypoints", "scores", "frame_size"):
            np.testing.assert_array_equal(element[key], expected[i][key])
    assert videos.check(found, COCO, 4) == 3
    for (clip, label), i in zip(single(read(evaluation(found))), (2, 3, 0), strict=True):
        assert label == i
        for key in clip:
            np.testing.assert_array_equal(clip[key], single(evaluated)[i][0][key])


def test_from_pyskl_names_what_is_missing_or_twice(tmp_path, arrays, folder):
    path = save_pyskl(tmp_path / "set.pkl", arrays, ["clip0", "clip1", "other", "another"])
    with pytest.raises(ValueError, match="has the splits train, all, got 'test'; use one of them"):
        videos.from_pyskl(folder, path, "test", COCO)
    with pytest.raises(FileNotFoundError, match=r"of 4 clips, it has none of 2 \(other, another\); add"):
        videos.from_pyskl(folder, path, "all", COCO)
    assert int(videos.from_pyskl(folder, path, "all", COCO, skip=["other", "another"]).cardinality()) == 2
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; give the one that holds the videos"):
        videos.from_pyskl(tmp_path / "nowhere", path, "all", COCO)
    (tmp_path / "below").mkdir()
    for name in ("clip0.mp4", "below/clip0_rgb.avi"):
        (tmp_path / name).write_bytes(b"")
    path = save_pyskl(tmp_path / "one.pkl", arrays, ["clip0"])
    with pytest.raises(ValueError, match=r"it has clip0.mp4 and below/clip0_rgb.avi of clip0; take one away"):
        videos.from_pyskl(tmp_path, path, "all", COCO)
    path = save_pyskl(tmp_path / "placed.pkl", arrays, ["below/clip0"])  # a folder in a name says which
    assert int(videos.from_pyskl(tmp_path, path, "all", COCO).cardinality()) == 1


class Films(tfds.core.GeneratorBasedBuilder):
    """The clips above with and without their videos."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="whole"), tfds.core.BuilderConfig(name="mute")]

    def _info(self):
        features = {
            "keypoints": tfds.features.Tensor(shape=(None, None, 17, 2), dtype=np.float32, encoding="zlib"),
            "scores": tfds.features.Tensor(shape=(None, None, 17), dtype=np.float32, encoding="zlib"),
            "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            "label": tfds.features.ClassLabel(num_classes=7),
            "name": tfds.features.Text(),
        }
        if self.builder_config.name == "whole":
            features["video"] = tfds.features.Scalar(np.object_)
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        keys = list(self.info.features)
        for element in videos.from_arrays(**make_arrays(), skeleton=COCO).take(4).as_numpy_iterator():
            yield element["name"].decode(), {key: element[key] for key in keys}


def test_from_tfds_equals_from_arrays(tmp_path, dataset):
    for config in ("whole", "mute"):
        Films(data_dir=str(tmp_path), config=config).download_and_prepare()
    stored, info = videos.from_tfds("films/whole", "train", str(tmp_path))
    assert info.features["label"].num_classes == 7
    assert videos.check(stored, COCO, 7) == 4
    expected = list(dataset.as_numpy_iterator())
    for element in stored.as_numpy_iterator():
        for key, value in element.items():
            np.testing.assert_array_equal(value, expected[element["label"]][key])
    with pytest.raises(ValueError, match="films/mute has none; use another or `data.clips`"):
        videos.from_tfds("films/mute", "train", str(tmp_path))
    with pytest.raises(videos.NotPreparedError, match="nobodys_films is not prepared in .*; run: python"):
        videos.from_tfds("nobodys_films", "train", str(tmp_path))


# ---------------------------------------------------------------------------------------------------- bad input
def bad_clips(good):
    """Arguments of `from_arrays` for one clip each, and what is said of it."""
    content, points = good["videos"][0], good["keypoints"][0]
    sizes = {"frame_sizes": [(WIDTH, HEIGHT)]}
    unreadable = "got .* whose video cannot be read .bad: "
    return {
        "other length": (content, points[:, :19], 0, {}, "every frame .* .bad: 19 of them and 20 frames.; give"),
        "other shape": (content, points, 0, sizes, ".bad: 96 x 128 pixels and 128 x 96 of the video.; correct"),
        "0..1": (content, points / (WIDTH, HEIGHT), 0, {}, "Keypoints are in pixels, got .*multiply"),
        "label": (content, points, 3, {}, "0 to 2, got .* .bad: .*3"),
        "no video": (b"GIF89a, say", points, 0, {}, unreadable),
        "truncated": (content[: len(content) // 2], points, 0, {}, "bad: 20 of them and 8 frames, which ends"),
        "empty": (b"", points, 0, {}, unreadable),
    }


@pytest.mark.parametrize("case", ["other length", "other shape", "0..1", "label", "no video", "truncated", "empty"])
def test_bad_clips_are_refused_by_name(arrays, dataset, case):
    content, points, label, others, message = bad_clips(arrays)[case]
    with pytest.raises(videos.BadDataError, match=message) as from_arrays_error:
        videos.from_arrays([content], [points], [label], COCO, names=["bad"], num_classes=3, **others)
    bad = {
        "video": content,
        "keypoints": points,
        "scores": np.any(points != 0, axis=-1).astype("float32"),
        "frame_size": np.array(others.get("frame_sizes", [(HEIGHT, WIDTH)])[0], "int32"),
        "label": np.int64(label),
        "name": "bad",
    }
    good = next(dataset.as_numpy_iterator())
    elements = [bad] if case == "0..1" else [good, bad]  # which must be most of the clips
    found = tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=dataset.element_spec)
    with pytest.raises(videos.BadDataError, match=message) as check_error:
        videos.check(found, COCO, 3)
    assert from_arrays_error.value.names == check_error.value.names == ("bad",)
    assert str(check_error.value).count("\n") == 0
    if len(elements) > 1:
        assert videos.check(videos.skip(found, check_error.value.names), COCO, 3) == 1


@pytest.mark.parametrize(
    "pixel, turned, size, said",
    [
        ((2, 1), False, (96, 128), "pixels are 2 : 1, so it is shown 256 x 96: multiply x by 2"),
        ((8, 9), False, (96, 128), "pixels are 8 : 9, so it is shown 128 x 108: multiply y by 1.125"),
        ((2, 1), True, (128, 96), "pixels are 1 : 2, so it is shown 96 x 256: multiply y by 2"),
        ((2, 1), False, (70, 128), "128 x 70 pixels and 256 x 96 of the video); correct"),
    ],
)
def test_keypoints_in_pixels_as_stored_are_told_what_to_multiply_by(pixel, turned, size, said):
    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(*pixel)
        if turned:
            stream.set_display_rotation(90)
        frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), "uint8"), "rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(videos.BadDataError) as error:
        videos.from_arrays([film.getvalue()], [walk(length=1)], [0], COCO, frame_sizes=[size])
    assert said in str(error.value)


def test_a_video_that_is_not_there_is_named_and_skipped(tmp_path, arrays):
    given = {key: arrays[key][:3] for key in ("keypoints", "scores", "labels")}
    paths = [tmp_path / f"{i}.mkv" for i in range(3)]
    for path, content in zip(paths, arrays["videos"], strict=False):
        path.write_bytes(content)
    dataset = videos.from_arrays(paths, **given, skeleton=COCO)
    paths[1].unlink()
    with pytest.raises(videos.BadDataError, match="1 of 3 clips whose video cannot be read") as error:
        videos.check(dataset, COCO, 3)
    assert error.value.names == ("1",)
    rest = videos.skip(dataset, error.value.names)
    assert videos.check(rest, COCO, 3) == 2 and [label for _, label in single(read(evaluation(rest)))] == [0, 2]
    with pytest.raises(videos.BadDataError, match="cannot be read") as error:
        videos.from_arrays(paths, **given, skeleton=COCO)
    assert error.value.names == ("1",)
    with pytest.raises(ValueError, match="Clips to skip are in the dataset, 7 are not"):
        videos.skip(dataset, ["7"])


def test_check_counts_and_wants_a_clip(dataset):
    assert videos.check(dataset, COCO, 7) == 7
    with pytest.raises(ValueError, match="at least one clip, got none; check the split"):
        videos.check(dataset.take(0), COCO, 7)
    with pytest.raises(ValueError, match="at least one clip to learn from, got 0 clips"):
        training(dataset.take(0))


@pytest.mark.parametrize(("height", "width", "fits"), [(48, 64, True), (50, 66, True), (48, 72, False)])
def test_a_compressed_video_keeps_its_shape(arrays, height, width, fits):
    images = np.full((5, height, width, 3), 90, np.uint8)
    given = {"videos": [frames.encode(images, 25)], "keypoints": [arrays["keypoints"][0][:, :5]], "labels": [0]}
    if fits:
        videos.from_arrays(**given, skeleton=COCO, frame_sizes=(HEIGHT, WIDTH))
    else:
        with pytest.raises(ValueError, match="0: 128 x 96 pixels and 72 x 48 of the video"):
            videos.from_arrays(**given, skeleton=COCO, frame_sizes=(HEIGHT, WIDTH))


def test_a_video_that_fails_late_is_named(dataset):
    @unconverted
    def decode(element):
        cut = tf.strings.substr(element["video"], 0, 700)
        return videos.decode(cut, [0], tf.strings.join(["clip", element["name"]]))

    decoded = dataset.skip(2).map(decode)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Clip clip2: "):
        next(iter(decoded))


def spoiled(content, lost):
    """A file of pictures with zeros in some of them."""
    with av.open(io.BytesIO(content)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in (places[frame] for frame in lost):
        content = content[: position + 20] + bytes(size - 20) + content[position + size :]
    return content


def transport_stream(count, without=()):
    """A film of one key frame after another, without some of them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "1"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for t in range(count):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 8 * t, "uint8"), "rgb24")
            ):
                if packet.pts * packet.time_base * 25 not in without:
                    container.mux(packet)
        container.mux([one for one in stream.encode() if one.pts * one.time_base * 25 not in without])
    return buffer.getvalue()


@pytest.mark.parametrize("lost", [[3], [0, 1, 19], [4, 5, 6, 7, 8, 9]])
def test_damaged_frames_cost_no_training_and_are_told_of_once(arrays, lost, caplog, tmp_path):
    content = spoiled(arrays["videos"][0], lost)
    (tmp_path / "clip.avi").write_bytes(content)
    given = {key: arrays[key][:1] for key in ("keypoints", "scores", "labels")}
    for video, name in ((content, "the video of clip walk"), (tmp_path / "clip.avi", str(tmp_path / "clip.avi"))):
        dataset = videos.from_arrays([video], **given, skeleton=COCO, names=["walk"])
        assert videos.check(dataset, COCO, 7) == 1 and not caplog.records
        if len(lost) == 6 and video is content:  # the worst case; all others are decoded alike
            shapes = {"rgb_shape": (20, 48, 48, 3), "pose_shape": None}
            batches = read(training(dataset, batch_size=1, normalization=RAW, **shapes), 3)
            assert all(len(labels) == 1 for _, labels in batches)
        decoded = videos.decode(
            element_of(dataset), range(20), "walk", is_path=isinstance(video, type(tmp_path))
        ).numpy()
        (record,) = caplog.records  # of this and of three batches before
        assert f"got {len(lost)} of 20 of {name} that cannot be decoded" in record.getMessage()
        caplog.clear()
        shown = ((decoded[:, 0, 0, 0].astype(int) - 40) / 4).round().astype(int).tolist()  # the grey of a frame
        good = [i for i in range(20) if i not in lost]
        assert shown == [min(good, key=lambda other: (abs(other - i), other > i)) for i in range(20)]


def element_of(dataset):
    element = next(iter(dataset))
    return element["video"] if "video" in element else element["path"]


@pytest.mark.parametrize("without", [[7], [7, 8], [4, 20]])
def test_frames_lost_from_a_file_are_told_by_every_door(without, caplog):
    keypoints = walk(length=30)
    content = transport_stream(30, without)
    found = 30 - len(without)
    with pytest.raises(
        ValueError, match=rf"another number of frames .0: 30 of them and {found} frames, in which there is time for"
    ):
        videos.from_arrays([content], [keypoints], [0], COCO)
    caplog.clear()  # of what it says of the clip without a name
    dataset = videos.from_arrays([content], [keypoints[:, :found]], [0], COCO, names=["street"])
    said = "Videos should be whole, got one of which something is lost (street: in which"
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert videos.check(dataset, COCO, 1) == 1
    assert [said in record.getMessage() for record in caplog.records] == [True, True]
    places = f"behind frame{'s' if without[-1] == 20 else ''} {without[0] - 1}"
    assert f"there is time for {len(without)} more frame{'s'[: len(without) > 1]} {places}" in caplog.text


def test_several_damaged_videos_are_one_warning(caplog):
    contents = [transport_stream(30, [i]) for i in (3, 9)] + [transport_stream(29)]
    videos.from_arrays(contents, [walk(length=29)] * 3, [0] * 3, COCO, names=["a", "b", "c"])
    (record,) = caplog.records
    assert "got 2 of 3 clips of which something is lost (a, b: in which there is time for 1 more" in record.getMessage()


def test_files_that_may_be_meant_are_named(tmp_path, arrays):
    path = save_pyskl(tmp_path / "set.pkl", arrays, ["clip0"])
    for name in ("clip0.rmvb", "clip0_rgb.Gif", "other.mp4"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match=r"none of 1 \(clip0; clip0.rmvb, clip0_rgb.Gif may be of these, with an"
    ):
        videos.from_pyskl(tmp_path, path, "all", COCO)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rgb_shape": None, "pose_shape": None}, "got neither rgb_shape nor pose_shape; give one"),
        ({"rgb_shape": (4, 48, 48)}, r"rgb_shape must be \(frames, height, width, 3\), got \(4, 48, 48\)"),
        ({"pose_shape": (8, 24, 24, 16)}, r"got \(8, 24, 24, 16\) and 17 keypoints in the dataset"),
    ],
)
def test_wrong_shapes_are_refused(dataset, changes, message):
    for batches in (training, evaluation):
        with pytest.raises(ValueError, match=message):
            batches(dataset, **changes)


def test_pictures_need_videos(dataset):
    mute = dataset.map(unconverted(lambda element: {key: element[key] for key in element if key != "video"}))
    with pytest.raises(ValueError, match="need a video in each element, got none; use another dataset, or rgb_shape"):
        evaluation(mute)


# ---------------------------------------------------------------------------------------------------- training
@pytest.fixture(scope="module")
def pipeline(dataset):
    return training(dataset)


@pytest.fixture(scope="module")
def uninterrupted(pipeline):
    return read(pipeline, 14)  # 8 passes over 7 clips


def test_batches_have_the_promised_shapes(uninterrupted):
    for inputs, labels in uninterrupted:
        people = 1 + max(label % 7 % 3 == 2 for label in labels)
        shapes = {key: (value.shape, value.dtype) for key, value in inputs.items()}
        assert shapes == {
            "rgb": ((4, *RGB), np.float32),
            "keypoints": ((4, people, 8, 17, 2), np.float32),
            "scores": ((4, people, 8, 17), np.float32),
        }
        assert labels.shape == (4,) and labels.dtype == np.int64


def test_a_seed_makes_the_batches(pipeline, uninterrupted):
    tf.random.set_seed(99)  # somebody else's seed
    assert_same(read(pipeline, 2), uninterrupted[:2])


def test_the_seed_draws_frames_and_all_else():
    """Of one frame all clips show the same, so that the rest differs; of the other clip, scores tell the frames."""
    content = video_of(walk(length=1))  # which is not read
    alone = videos.from_arrays([content], [walk(length=1)], [0], COCO)
    longer = {"keypoints": walk(length=50), "scores": np.linspace(0.1, 1, 50, dtype="f4")[None, :, None].repeat(17, 2)}
    longer |= {"label": np.int64(1)}
    both = alone.concatenate(alone.map(unconverted(lambda one: one | longer)))
    options = {"batch_size": 2, "rgb_shape": None, "flip_labels": None}
    ours, theirs = (
        {label: clip for clip, label in single(read(training(both, seed=seed, **options), 1))} for seed in (3, 4)
    )
    assert (ours[0]["keypoints"] != theirs[0]["keypoints"]).any()
    assert (ours[1]["scores"].max(axis=-1) != theirs[1]["scores"].max(axis=-1)).any()


def test_every_clip_is_seen_once_a_pass(uninterrupted):
    passes = np.concatenate([labels for _, labels in uninterrupted]).reshape(8, 7) % 7
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(7), (8, 1)))
    assert len(set(map(tuple, passes))) == 8
    seen = [inputs["rgb"][i] for inputs, labels in uninterrupted for i in np.flatnonzero(labels % 7 == 2)]
    assert all((a != b).any() for a, b in itertools.combinations(seen, 2))


def test_a_run_that_was_cut_short_goes_on_with_its_batches(dataset, uninterrupted):
    assert_same(read(training(dataset, first_step=4), 2), uninterrupted[4:6])  # in the third pass


@pytest.mark.parametrize("count, replicas", [(2, 1), (1, 2)])
def test_several_workers_make_the_same_batches(put_together, dataset, uninterrupted, count, replicas):
    batches = put_together(lambda share: training(dataset, first_step=4, share=share), 2, count, replicas)
    for parts, (inputs, labels) in zip(batches, uninterrupted[4:6], strict=True):
        np.testing.assert_array_equal(np.concatenate([own for _, own in parts]), labels)
        np.testing.assert_array_equal(np.concatenate([own["rgb"] for own, _ in parts]), inputs["rgb"])


def test_decoding_stays_parallel_where_operations_are_deterministic():
    # tf.data runs a map one element at a time there if it has an operation that counts as stateful.
    graph = tf.function(videos.decode).get_concrete_function(tf.TensorSpec((), tf.string), tf.TensorSpec(4, tf.int32))
    types = {operation.type for operation in graph.graph.get_operations()}
    assert "PyFuncStateless" in types and not types & {"PyFunc", "EagerPyFunc"}


def pixels(rgb):
    """Normalized pictures as they were, 0 .. 255."""
    return (rgb * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255


def dots(image):
    """Where the centres of the red and the blue dot of a picture are, pixels; None where one is not wholly inside."""
    red, green, blue = np.moveaxis(image, -1, 0)
    for color in (red - np.maximum(green, blue), blue - np.maximum(red, green)):
        weight = np.where(color > 60, color, 0.0)
        rows, columns = np.indices(weight.shape) + 0.5
        if weight[[0, -1]].any() or weight[:, [0, -1]].any() or not weight.any():
            yield None
        else:
            yield np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def test_keypoints_lie_on_what_the_pictures_show(uninterrupted):
    counts = [0, 0]
    for clip, label in single(uninterrupted):
        mirrored = int(label >= 7)
        eyes = (RIGHT_EYE, LEFT_EYE) if mirrored else (LEFT_EYE, RIGHT_EYE)
        for i, image in enumerate(pixels(clip["rgb"])):
            keypoints = clip["keypoints"][0, 2 * i] * 2  # on one clock; the volume is half as large as the picture
            for place, joint in zip(dots(image), eyes, strict=True):
                if place is not None:
                    np.testing.assert_allclose(place, keypoints[joint], atol=0.5)
                    counts[mirrored] += 1
    assert min(counts) > 30


def shown(clip):
    """The frames that the pictures of a clip are of, by their grey: [L]."""
    return np.rint((np.median(pixels(clip["rgb"]), axis=(1, 2, 3)) - 40) / 4).astype(int)


def test_pictures_are_on_the_clock_of_the_keypoints(dataset, uninterrupted):
    for clip, label in single(uninterrupted):
        drawn = shown(clip)
        assert (drawn < LENGTHS[label % 7]).all()
        if label % 7 == 4:  # of 8 frames each is drawn once as a keypoint
            np.testing.assert_array_equal(drawn, [0, 2, 4, 6])
    unaligned = single(read(training(dataset, aligned=False), 8))
    drawn = np.array([shown(clip) for clip, label in unaligned if label % 7 == 4])
    assert len(drawn) >= 4
    assert (drawn // 2 == np.arange(4)).all()  # one of each segment of two
    assert (drawn != np.arange(0, 8, 2)).any()


def test_missed_keypoints_and_colours_are_augmentations(dataset, uninterrupted):
    changed = read(training(dataset, missed_share=0.5, color_jitter=0.5), 4)
    lost, ratios = [], []
    for (inputs, labels), (others, other_labels) in zip(uninterrupted, changed, strict=False):
        np.testing.assert_array_equal(labels, other_labels)
        lost.append((others["scores"][:, 0] == 0).mean())
        assert pixels(others["rgb"]).min() > -0.01 and pixels(others["rgb"]).max() < 255.01
        means = [np.median(pixels(x["rgb"]), axis=(2, 3, 4)) for x in (inputs, others)]  # [B, L]
        ratios.append(means[1] / means[0])
    assert 0.35 < np.mean(lost) < 0.65
    assert all((inputs["scores"][:, 0] > 0).all() for inputs, _ in uninterrupted)
    ratios = np.concatenate(ratios)  # [clips, L]
    assert ratios.min() < 0.8 and ratios.max() > 1.2
    assert np.ptp(ratios, axis=1).max() < 0.1  # the same change in all pictures of a clip


def test_as_many_keypoints_are_missed_as_was_asked_for(monkeypatch, dataset):
    shares = []
    monkeypatch.setattr(
        videos.batches, "missed", lambda points, scores, seeds, share: shares.append(share) or (points, scores)
    )
    training(dataset, rgb_shape=None, missed_share=0.2)
    assert shares == [0.2]


def test_keypoints_alone_need_no_video(dataset, uninterrupted):
    unreadable = dataset.map(unconverted(lambda element: element | {"video": tf.constant(b"no video")}))
    ((inputs, labels),) = read(training(unreadable, rgb_shape=None), 1)
    assert set(inputs) == {"keypoints", "scores"}
    np.testing.assert_array_equal(labels % 7, uninterrupted[0][1] % 7)


def test_videos_in_memory_are_drawn_from_a_buffer_of_bounded_size(monkeypatch, dataset):
    class SeenError(Exception):
        pass

    def shuffled(dataset, seed, first, buffer_size):
        raise SeenError(seed, first, buffer_size)

    monkeypatch.setattr(order, "shuffled_endlessly", shuffled)
    for options, size in (({}, videos.batches.SHUFFLE_BUFFER), ({"shuffle_buffer": 7}, 7), ({"rgb_shape": None}, None)):
        with pytest.raises(SeenError) as seen:
            training(dataset, first_step=5, **options)
        assert seen.value.args == (3, 20, size)


def told_of(monkeypatch, name):
    """What a step of a pipeline is given, as names and values, in place of the step; scores are whether it mirrors.

    Pictures are not decoded but black.
    """
    told = []
    signature = inspect.signature(getattr(videos.batches.clip_ops, name))

    def step(*given, **options):
        arguments = signature.bind(*given, **options).arguments
        told.append(arguments)
        pictures, scores = arguments["frames"], arguments["scores"]
        flip = tf.cast(arguments.get("flip", False), tf.float32)
        return pictures, arguments["keypoints"], tf.zeros_like(scores) + flip

    def sample(length, rgb_frames, pose_frames, num_clips, aligned, words=None, random_start=False):
        clocks.append((aligned, random_start))
        return [
            tf.zeros((num_clips, count or rgb_frames or pose_frames), tf.int32) for count in (rgb_frames, pose_frames)
        ]

    clocks = []
    monkeypatch.setattr(videos.batches, "_sample_in_graph", sample)
    monkeypatch.setattr(videos.batches, f"_{name.replace('_video', '')}", step)
    monkeypatch.setattr(videos.pictures, "decode", lambda video, rgb, *_: tf.zeros((*rgb.shape, 8, 12, 3), tf.uint8))
    return told, clocks


def test_every_option_of_a_pipeline_reaches_the_clip(monkeypatch, dataset):
    """Of those that are numbers; and without options the recipe is the published one."""
    crop = {"padding": 0.5, "short_side_px": 40, "area_range": (0.2, 0.8), "aspect_range": (0.5, 0.6)}
    sizes = {"rgb_shape": (2, 16, 24, 3), "pose_shape": (4, 6, 10, 17)}
    batch_sizes = []
    monkeypatch.setattr(videos.batches, "trainable", lambda dataset: dataset)
    monkeypatch.setattr(
        videos.batches, "_batched", lambda dataset, batch_size: batch_sizes.append(batch_size) or dataset
    )
    told, clocks = told_of(monkeypatch, "training_video_clip")
    videos.training(dataset, COCO, 3, **sizes, aligned=False, **crop)
    videos.training(dataset, COCO)
    own, usual = told
    assert {key: own[key] for key in crop} == crop
    assert [(one["rgb_size"], one["pose_size"]) for one in told] == [((16, 24), (6, 10)), ((224, 224), (56, 56))]
    assert not set(usual) & set(crop) and all(one["flip_permutation"] == COCO.flip_permutation for one in told)
    assert [(one["frames"].shape[0], one["keypoints"].shape[1]) for one in told] == [(2, 4), (8, 32)]
    assert clocks == [(False, True), (True, True)]
    told, clocks = told_of(monkeypatch, "evaluation_video_clip")
    videos.evaluation(dataset, 3, **sizes, aligned=False, padding=0.5)
    videos.evaluation(dataset)
    assert [(one["rgb_size"], one["pose_size"]) for one in told] == [((16, 24), (6, 10)), ((256, 256), (64, 64))]
    assert [one["padding"] for one in told] == [0.5, 0.25]
    assert clocks == [(False, False), (True, False)] and batch_sizes == [3, 16, 3, 16]
    assert [(one["frames"].shape[0], one["keypoints"].shape[1]) for one in told] == [(2, 4), (8, 32)]


@pytest.mark.parametrize("options", [{"rgb_shape": None}, {"pose_shape": None}])
def test_pictures_alone_are_mirrored_whatever_the_skeleton_knows(monkeypatch, dataset, options):
    """They have no sides that change places, as keypoints have."""
    told_of(monkeypatch, "training_video_clip")
    unsided = Skeleton("unsided", tuple(f"joint {i}" for i in range(17)), COCO.edges)
    assert not unsided.knows_sides
    shapes = {"rgb_shape": (1, 8, 12, 3), "pose_shape": (2, 8, 12, 17)} | options
    batches = videos.training(dataset, unsided, 7, **shapes, flip_probability=1.0, flip_labels=MIRRORED)
    _, labels = next(iter(batches))
    assert (labels.numpy() >= 7).all() == ("pose_shape" in options)
    assert (labels.numpy() < 7).all() == ("pose_shape" not in options)


def test_mirror_colours_and_crop_are_drawn_apart(monkeypatch, dataset):
    """No number counts twice: who is mirrored says nothing of colours and of what is seen."""
    told_of(monkeypatch, "training_video_clip")
    step = videos.batches._training_clip

    def with_crop(frames, keypoints, scores, size, crop, *given, **options):
        pictures, keypoints, flips = step(frames, keypoints, scores, size, crop, *given, **options)
        return tf.cast(pictures, tf.float32), tf.zeros_like(keypoints) + crop[:2], flips

    monkeypatch.setattr(videos.batches, "_training_clip", with_crop)
    monkeypatch.setattr(
        videos.batches.image_ops, "jitter", lambda pictures, colors, _: tf.zeros_like(pictures) + colors
    )
    monkeypatch.setattr(videos.batches.image_ops, "normalize", lambda pictures: pictures)
    shapes = {"rgb_shape": (1, 8, 12, 3), "pose_shape": (1, 8, 12, 17)}
    ((inputs, _),) = read(videos.training(dataset, COCO, 70, **shapes, color_jitter=0.5), 1)
    flips, colors, crop = inputs["scores"][:, 0, 0, 0], inputs["rgb"][:, 0, 0, 0], inputs["keypoints"][:, 0, 0, 0]
    drawn = np.concatenate([flips[:, None], colors, crop], axis=1)  # [B, 6]
    between = np.corrcoef(drawn.T) - np.eye(6)
    assert np.abs(between).max() < 0.5 and 15 < flips.sum() < 55


def test_every_clip_is_degraded_by_seeds_of_its_own(monkeypatch, dataset):
    """The same in every pass, whatever the batch."""
    told_of(monkeypatch, "evaluation_video_clip")
    seen = []

    def degrade(clip, seeds):
        return {"keypoints": tf.zeros_like(clip["keypoints"]) + tf.cast(tf.stack(seeds)[1] % 4093, tf.float32)}

    for batch_size in (3, 4):
        batches = evaluation(dataset, batch_size=batch_size, degrade=degrade)
        seen.append(np.concatenate([inputs["keypoints"][:, 0, 0, 0, 0] for inputs, _ in batches]))
    np.testing.assert_array_equal(*seen)
    assert len(set(seen[0])) == len(LENGTHS)


# ---------------------------------------------------------------------------------------------------- evaluation
def slow_clip(video, keypoints, indices, rgb_size, pose_size, padding=0.25):
    """Cut to the compact box by OpenCV; what lies beyond the frame is black."""
    present = np.where(keypoints != 0, keypoints, np.nan)
    low, high = np.nanmin(present, axis=(0, 1, 2)), np.nanmax(present, axis=(0, 1, 2))
    centre, half = (low + high) / 2, ((high - low) / 2).max() * (1 + padding)
    corner, end = np.trunc(centre - half).astype(int), np.trunc(centre + half).astype(int)
    pad = max(0, *-corner, *(end - frames.probe(video).frame_size[::-1]))
    images = np.pad(frames.read(video, indices), ((0, 0), (pad, pad), (pad, pad), (0, 0))).astype("float32")
    (left, top), (right, bottom) = corner + pad, end + pad
    cut = [cv2.resize(image[top:bottom, left:right], rgb_size[::-1]) for image in images]
    return np.stack(cut), np.where(keypoints != 0, (keypoints - corner) * pose_size[::-1] / (end - corner), 0)


def test_evaluation_equals_a_slow_one(arrays, evaluated):
    assert [len(labels) for _, labels in evaluated] == [4, 3]
    for i, (clip, label) in enumerate(single(evaluated)):
        assert label == i
        pose = np.asarray(sequences.sample_frames(LENGTHS[i], 8))[0]
        points = arrays["keypoints"][i][:, pose]
        images, moved = slow_clip(arrays["videos"][i], points, pose[::2].tolist(), RGB[1:3], POSE[1:3])
        np.testing.assert_allclose(clip["rgb"], images, atol=0.02)
        people = len(points)
        np.testing.assert_allclose(clip["keypoints"][:people], moved, atol=1e-4)
        np.testing.assert_array_equal(clip["scores"][:people], arrays["scores"][i][:, pose])
        assert (clip["scores"][people:] == 0).all()


def test_padding_widens_the_box_of_pictures_and_keypoints(arrays, dataset):
    ((inputs, _),) = read(evaluation(dataset.take(1), padding=0.6))
    pose = np.asarray(sequences.sample_frames(LENGTHS[0], 8))[0]
    points = arrays["keypoints"][0][:, pose]
    images, moved = slow_clip(arrays["videos"][0], points, pose[::2].tolist(), RGB[1:3], POSE[1:3], padding=0.6)
    np.testing.assert_allclose(inputs["rgb"][0], images, atol=0.02)
    np.testing.assert_allclose(inputs["keypoints"][0], moved, atol=1e-4)


def test_keypoints_alone_are_those_of_the_joint_clips(dataset, evaluated):
    alone = read(evaluation(dataset, rgb_shape=None, use_scores=False))
    for (inputs, labels), (wanted, _) in zip(alone, evaluated, strict=True):
        assert set(inputs) == {"keypoints", "scores"}
        np.testing.assert_array_equal(inputs["keypoints"], wanted["keypoints"])
        is_person = np.arange(2) <= (labels % 3 == 2)[:, None]  # [B, M]
        np.testing.assert_array_equal(
            inputs["scores"], np.broadcast_to(is_person[..., None, None], (len(labels), 2, 8, 17))
        )


def test_pictures_alone_show_the_people_of_their_own_frames_and_are_normalized_as_in_imagenet(arrays, dataset):
    clips = single(read(evaluation(dataset, pose_shape=None, normalization=None)))
    for i, (clip, _) in enumerate(clips):
        assert set(clip) == {"rgb"}
        drawn = np.asarray(sequences.sample_frames(LENGTHS[i], 4))[0]
        points = arrays["keypoints"][i][:, drawn]
        images, _ = slow_clip(arrays["videos"][i], points, drawn.tolist(), RGB[1:3], POSE[1:3])
        np.testing.assert_allclose(pixels(clip["rgb"]), images, atol=0.02)


def test_keypoints_are_scaled_to_a_compressed_video(arrays, evaluated):
    small = [cv2.resize(picture(arrays["keypoints"][4], t), (64, 48), interpolation=cv2.INTER_AREA) for t in range(8)]
    given = {"keypoints": arrays["keypoints"][4:5], "scores": arrays["scores"][4:5], "labels": [4]}
    content = frames.encode(np.stack(small), 25)
    compressed = videos.from_arrays([content], **given, skeleton=COCO, frame_sizes=(HEIGHT, WIDTH))
    (clip, _), (other, _) = single(read(evaluation(compressed)))[0], single(evaluated)[4]
    np.testing.assert_allclose(clip["keypoints"], other["keypoints"][:1], atol=0.7)  # boxes have whole pixels
    np.testing.assert_allclose(clip["rgb"].mean(axis=(2, 3)), other["rgb"].mean(axis=(2, 3)), atol=8)


def test_clips_can_be_degraded(dataset, evaluated):
    def degrade(clip, seeds):
        assert clip["keypoints"].shape[1] is None  # all frames
        keypoints, scores = videos.missed(clip["keypoints"], clip["scores"], seeds, 0.5)
        return {"frames": videos.darkened(clip["frames"], seeds, 0.1), "keypoints": keypoints, "scores": scores}

    batches = evaluation(dataset, degrade=degrade)
    degraded, again = single(read(batches)), single(read(batches))
    np.testing.assert_array_equal(again[5][0]["rgb"], degraded[5][0]["rgb"])
    for (clip, _), (plain, _) in zip(degraded, single(evaluated), strict=True):
        assert 0.05 < clip["rgb"].mean() / plain["rgb"].mean() < 0.15
    lost = [(clip["scores"][0] == 0).mean() for clip, _ in degraded]
    assert 0.2 < np.mean(lost) < 0.8
    assert len(set(lost)) > 3


def test_a_real_video_passes(shared_data):
    paths = [shared_data("videos") / "mmpose_demo.mp4"]
    keypoints = []
    for path in paths:
        info = frames.probe(path)
        (height, width), random = info.frame_size, np.random.default_rng(0)
        body = random.uniform((0.4 * width, 0.2 * height), (0.6 * width, 0.9 * height), (1, 1, 17, 2))
        keypoints.append(np.tile(body, (1, info.num_frames, 1, 1)).astype("float32"))
    dataset = videos.from_arrays(paths, keypoints, [0], COCO)
    for i, (clip, _) in enumerate(single(read(evaluation(dataset)))):
        pose = np.asarray(sequences.sample_frames(keypoints[i].shape[1], 8))[0]
        images, moved = slow_clip(paths[i], keypoints[i][:, pose], pose[::2].tolist(), RGB[1:3], POSE[1:3])
        np.testing.assert_allclose(clip["rgb"], images, atol=0.05)
        np.testing.assert_allclose(clip["keypoints"], moved, atol=1e-4)


# ---------------------------------------------------------------------------------------------------- many clips
@pytest.mark.parametrize("aligned", [True, False])
def test_sampled_gives_the_frames_of_all_clips(arrays, dataset, aligned):
    for i, element in enumerate(dataset.take(3)):
        inputs = videos.sampled(element, 4, 8, num_clips=3, aligned=aligned)
        rgb, _ = sequences.sample_rgb_and_pose(LENGTHS[i], 4, 8, 3, aligned=aligned)
        expected = frames.read(arrays["videos"][i], np.asarray(rgb).ravel().tolist())
        np.testing.assert_array_equal(inputs["frames"], expected)
        np.testing.assert_array_equal(inputs["keypoints"], arrays["keypoints"][i])
        np.testing.assert_array_equal(inputs["scores"], arrays["scores"][i])
        np.testing.assert_array_equal(inputs["frame_size"], [HEIGHT, WIDTH])


def test_sampled_for_one_pathway(dataset):
    element = next(iter(dataset))
    inputs = next(iter(dataset.map(unconverted(lambda element: videos.sampled(element, rgb_frames=4, num_clips=2)))))
    expected = videos.decode(element["video"], sequences.sample_frames(LENGTHS[0], 4, 2)[0])
    np.testing.assert_array_equal(inputs["frames"][:4], expected)
    inputs = videos.sampled(element | {"video": b"no video"}, pose_frames=4, num_clips=2)
    assert set(inputs) == {"keypoints", "scores", "frame_size"}


# ---------------------------------------------------------------------------------------------------- degraded input
def test_darkened_is_dark_noisy_and_repeatable():
    bright = np.random.default_rng(0).integers(0, 256, (3, 50, 60, 3), dtype=np.uint8)
    dark = videos.darkened(bright, [1, 2], light=0.2, noise_levels=3.0).numpy()
    assert dark.dtype == np.uint8 and dark.shape == bright.shape
    inside = bright > 80  # where noise cannot reach 0
    noise = (dark - 0.2 * bright)[inside]
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 3.0) < 0.1
    np.testing.assert_array_equal(videos.darkened(bright, [1, 2], 0.2, 3.0), dark)
    assert (videos.darkened(bright, [1, 3], 0.2, 3.0).numpy() != dark).any()
    np.testing.assert_array_equal(videos.darkened(bright, [0, 0], light=1.0, noise_levels=0.0), bright)
    assert videos.darkened(np.full((9, 9, 3), 250, np.uint8), [0, 0], 1.0, 40.0).numpy().max() == 255  # does not wrap


def test_missed_loses_whole_runs_of_a_share():
    keypoints, scores = np.full((2, 200, 17, 2), 7.0, "float32"), np.full((2, 200, 17), 0.8, "float32")
    for share in (0.2, 0.5):
        points, left = (x.numpy() for x in videos.missed(keypoints, scores, [5, 6], share))
        lost = left == 0
        np.testing.assert_array_equal(points, np.where(lost[..., None], 0, keypoints))
        np.testing.assert_array_equal(left, np.where(lost, 0, scores))
        assert abs(lost.mean() - share) < 0.04
        changes = (lost[:, 1:] != lost[:, :-1]).mean()
        assert abs(changes - 2 * share * (1 - share) / 8) < 0.015  # decided anew every 8 frames
        assert (lost[:, :, 0] != lost[:, :, 1]).any()
        assert (lost[0] != lost[1]).any()
    np.testing.assert_array_equal(videos.missed(keypoints, scores, [5, 6], 0.5)[1], left)
    assert (videos.missed(keypoints, scores, [5, 7], 0.5)[1].numpy() != left).any()
    for share, kept in ((0.0, 0.8), (1.0, 0.0)):
        np.testing.assert_array_equal(videos.missed(keypoints, scores, [5, 6], share)[1], np.float32(kept))


def test_missed_inside_a_graph():
    specs = tf.TensorSpec((None, None, 17, 2)), tf.TensorSpec((None, None, 17)), tf.TensorSpec(2, tf.int32)
    graph = tf.function(videos.missed, input_signature=specs)
    given = walk(people=2), np.ones((2, 30, 17), "float32"), [1, 2]
    for inside, outside in zip(graph(*given), videos.missed(*given), strict=True):
        np.testing.assert_array_equal(inside, outside)
