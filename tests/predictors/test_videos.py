"""Videos in, named actions out: files of all kinds, and one sentence on what does not do."""

import io
import pathlib

import av
import cv2
import keras
import numpy as np
import pytest

from kerapose import estimators, models, skeletons
from kerapose.data import frames as frame_data
from kerapose.data import videos
from kerapose.ops import heatmaps
from kerapose.predictors import Action, ScoredAction

COCO = skeletons.COCO
NAMES = ["clap", "wave_left", "wave_right", "kick"]
LENGTH, HEIGHT, WIDTH = 30, 48, 64


def small_network(seed=0):
    """As decided as a trained one."""
    keras.utils.set_random_seed(seed)
    small = {"rgb_filters": 4, "pose_filters": 4, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}
    network = models.RGBPoseConv3D(len(NAMES), (2, 28, 28, 3), (8, 7, 7, 17), **small)
    for pathway in ("rgb", "pose"):
        classifier = network.get_layer(f"fc_{pathway}")
        classifier.kernel.assign(classifier.kernel * 20)
    return network


def moving_picture(length=LENGTH, height=HEIGHT, width=WIDTH, seed=0):
    """Smooth colours that turn a little brighter from frame to frame: uint8 [T, H, W, 3]."""
    corners = np.random.default_rng(seed).uniform(30, 150, (2, 2, 3))
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[:, None]
    picture = (1 - y) * ((1 - x) * corners[0, 0] + x * corners[0, 1]) + y * (
        (1 - x) * corners[1, 0] + x * corners[1, 1]
    )
    return np.round(picture + np.arange(length)[:, None, None, None] * (90 / length)).astype("uint8")


def people(count=2, length=LENGTH, seed=0):
    random = np.random.default_rng(seed)
    keypoints = random.uniform(3, 15, (count, 1, 1, 2)) + random.uniform(0, 30, (count, length, 17, 2))
    return keypoints.astype("float32"), random.uniform(0.2, 1.0, (count, length, 17)).astype("float32")


def of_uneven_times(pictures):
    """An MP4 file whose frames stand for one to nine ticks each, with frames that refer to later ones."""
    file, ticks = io.BytesIO(), np.random.default_rng(0).integers(1, 10, len(pictures))
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=90, options={"bf": "2", "g": "12"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for picture, pts in zip(pictures, 5 + np.cumsum(ticks), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = int(pts)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def recognize(network):
    return Action(network, NAMES, COCO, num_clips=2)


@pytest.fixture(scope="module")
def video():
    return frame_data.encode(moving_picture(), fps=25)


# ---------------------------------------- right results
def test_the_answer_is_that_of_the_recognizer_on_the_whole_box(network, recognize, video):
    keypoints, scores = people()
    options = {"num_clips": 2, "flip_labels": (0, 2, 1, 3)}
    resized = network.resized((2, 32, 32, 3), (8, 8, 8, 17))
    recognizer = estimators.VideoRecognizer(resized, COCO, NAMES, **options)
    inputs = {"frames": frame_data.read(video)[None], "keypoints": keypoints[None], "scores": scores[None]}
    expected = np.asarray(recognizer(inputs))[0]
    np.testing.assert_allclose(recognize.probabilities(video, keypoints, scores), expected, rtol=1e-4, atol=1e-6)
    assert np.ptp(expected) > 1e-2


def test_the_clip_is_that_of_the_pipeline_of_validation(network, video):
    keypoints, scores = people()
    recognize = Action(network, NAMES, COCO)
    dataset = videos.from_arrays([video], [keypoints], [0], COCO, [scores])
    clip, _ = next(iter(videos.evaluation(dataset, 1, recognize.recognizer.rgb_shape, recognize.recognizer.pose_shape)))
    volume = heatmaps.joint_volume(clip["keypoints"], clip["scores"], 8, 8, sigma_px=0.7)
    logits = recognize.recognizer.network({"rgb": clip["rgb"], "pose": volume}, training=False)
    expected = np.mean([keras.ops.softmax(one)[0] for one in logits.values()], axis=0)
    np.testing.assert_allclose(recognize.probabilities(video, keypoints, scores), expected, rtol=1e-3, atol=1e-5)


def test_actions_are_named_best_first(recognize, video):
    keypoints, scores = people()
    probabilities = recognize.probabilities(video, keypoints, scores)
    actions = recognize(video, keypoints, scores)
    assert [NAMES.index(name) for name, _ in actions] == list(np.argsort(-probabilities))
    np.testing.assert_allclose([action.probability for action in actions], np.sort(probabilities)[::-1])
    assert isinstance(actions[0], ScoredAction) and isinstance(actions[0].probability, float)
    assert recognize(video, keypoints, scores, top=2) == actions[:2]


def test_a_path_its_content_and_its_frames_are_one_video(recognize, video, tmp_path):
    keypoints, scores = people()
    (tmp_path / "hug.mp4").write_bytes(video)
    expected = recognize(video, keypoints, scores)
    for given in (tmp_path / "hug.mp4", str(tmp_path / "hug.mp4"), frame_data.read(video)):
        assert recognize(given, keypoints, scores) == expected


def test_only_the_frames_of_the_clips_are_decoded(recognize, video, monkeypatch):
    asked, read = [], frame_data.read

    def spied(source, indices=None):
        asked.append(np.asarray(indices))
        return read(source, indices)

    monkeypatch.setattr(frame_data, "read", spied)
    recognize(video, *people())
    (indices,) = asked
    np.testing.assert_array_equal(indices, recognize.recognizer.samples(LENGTH)[0].ravel())
    assert len(indices) == 4  # 2 clips of 2 frames


@pytest.mark.parametrize("kind", ["one", "a run", "in a file"])
def test_damaged_frames_are_replaced_by_their_neighbours(recognize, tmp_path, caplog, kind):
    asked = sorted(set(recognize.recognizer.samples(LENGTH)[0].ravel().tolist()))
    lost = range(asked[0], asked[0] + 3) if kind == "a run" else asked[:1]
    jpegs = [cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes() for picture in moving_picture()]
    whole = frame_data.wrap_jpegs(jpegs, fps=25)
    damaged = whole
    for one in (jpegs[frame] for frame in lost):
        damaged = damaged.replace(one, one[: len(one) // 3] + bytes(len(one) - len(one) // 3))
    if kind == "in a file":
        (tmp_path / "hug.avi").write_bytes(damaged)
        damaged = tmp_path / "hug.avi"
    keypoints, scores = people()
    actual, expected = (recognize.probabilities(video, keypoints, scores) for video in (damaged, whole))
    assert 0 <= np.abs(actual - expected).max() < 0.05
    (record,) = caplog.records
    count = len(set(lost) & set(asked))
    assert (
        f"got {count} of {LENGTH} of {'the video' if kind != 'in a file' else damaged} that cannot"
        in record.getMessage()
    )


@pytest.mark.parametrize("length", [1, 11])
def test_videos_shorter_than_a_clip_and_of_odd_lengths(recognize, length):
    pictures = moving_picture(length)
    keypoints, scores = people(length=length)
    decoded = frame_data.encode(pictures, fps=25)
    actions = recognize(decoded, keypoints, scores)
    assert sum(action.probability for action in actions) == pytest.approx(1.0, abs=1e-5)
    assert actions == recognize(frame_data.read(decoded), keypoints, scores)


def test_frames_of_uneven_times_count_by_their_order(recognize):
    pictures = moving_picture()
    video = of_uneven_times(pictures)
    keypoints, scores = people()
    actual, expected = (recognize.probabilities(given, keypoints, scores) for given in (video, pictures))
    backwards = recognize.probabilities(pictures[::-1], keypoints, scores)
    assert np.abs(actual - expected).max() < 0.1 * np.abs(backwards - expected).max()  # compression is all


def test_one_person_needs_no_people_axis_and_no_scores(recognize, video):
    keypoints, _ = people(count=1)
    keypoints[0, 3, 5] = 0.0
    scores = np.ones(keypoints.shape[:3], "float32")
    scores[0, 3, 5] = 0.0
    assert recognize(video, keypoints[0]) == recognize(video, keypoints, scores)


def test_keypoints_of_a_larger_copy_of_the_video(recognize, video):
    keypoints, scores = people()
    expected = recognize.probabilities(video, keypoints, scores)
    larger = recognize.probabilities(video, keypoints * 2.5, scores, frame_size=(120, 160))
    np.testing.assert_allclose(larger, expected, rtol=1e-3, atol=1e-5)
    rounded = recognize.probabilities(video, keypoints * 2.5, scores, frame_size=(121, 160))  # as codecs round
    np.testing.assert_allclose(rounded, expected, atol=0.05)


def test_people_who_leave_the_picture_are_no_error(recognize, video):
    keypoints, scores = people()
    keypoints[0] += (WIDTH, 0)
    assert len(recognize(video, keypoints, scores)) == 4


def test_networks_recognizers_and_their_files(network, tmp_path):
    recognizer = estimators.VideoRecognizer(network, COCO, NAMES, sigma_px=1.5)
    network.save(tmp_path / "network.keras")
    recognizer.save(tmp_path / "recognizer.keras")
    by_network, taken = Action(network, NAMES, COCO), Action(recognizer)
    assert by_network.recognizer.rgb_shape == (2, 32, 32, 3) and network.rgb_shape == (2, 28, 28, 3)
    assert taken.recognizer is recognizer and (taken.skeleton, taken.class_names) == (COCO, tuple(NAMES))
    for ours, theirs in (
        (Action(tmp_path / "network.keras", NAMES, COCO), by_network),
        (Action(str(tmp_path / "recognizer.keras")), taken),
    ):
        assert ours.recognizer.get_config() | {"name": ""} == theirs.recognizer.get_config() | {"name": ""}
        for weight, expected in zip(ours.recognizer.get_weights(), theirs.recognizer.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_options_reach_the_recognizer(network):
    options = {"num_clips": 3, "flip_test": True, "use_scores": False, "sigma_px": 0.9, "padding": 0.1}
    recognizer = Action(network, NAMES, COCO, aligned=False, normalization={"bgr": True}, **options).recognizer
    assert {name: getattr(recognizer, name) for name in options} == options
    assert recognizer.normalization == {"bgr": True} and not recognizer.aligned
    assert recognizer.flip_labels == (0, 2, 1, 3)


def test_a_network_of_keypoints_alone_decodes_nothing(video, monkeypatch):
    pose = models.C3D(len(NAMES), (8, 28, 28, 17), base_filters=4, num_stages=3)
    recognize = Action(pose, NAMES, COCO)
    monkeypatch.setattr(frame_data, "read", None)
    keypoints, scores = people()
    inputs = {"keypoints": keypoints[None], "scores": scores[None], "frame_size": np.array([[HEIGHT, WIDTH]])}
    expected = np.asarray(recognize.recognizer(inputs))[0]
    np.testing.assert_allclose(recognize.probabilities(video, keypoints, scores), expected, rtol=1e-4)


# ---------------------------------------- real videos
@pytest.mark.parametrize(
    ("name", "length", "size"), [("mmpose_demo", 5, (540, 960)), ("demo_skeleton", 72, (1080, 1920))]
)
def test_real_videos_go_through(recognize, shared_data, name, length, size):
    path = shared_data("videos") / f"{name}.mp4"
    random = np.random.default_rng(0)
    keypoints = np.array(size[::-1]) * random.uniform(0.3, 0.7, (2, length, 17, 2))
    actions = recognize(path, keypoints)
    assert sum(probability for _, probability in actions) == pytest.approx(1.0, abs=1e-5)
    halves = recognize(path, keypoints / 2, frame_size=(size[0] // 2, size[1] // 2))
    np.testing.assert_allclose([p for _, p in sorted(halves)], [p for _, p in sorted(actions)], atol=1e-3)
    with pytest.raises(ValueError, match=f"{length - 1} of them and {length} frames"):
        recognize(path, keypoints[:, 1:])


# ---------------------------------------- bad input
def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda k, s: (k[:, 1:], s[:, 1:]), "every frame of the video, got .*29 of them and 30 frames.; give those of"),
        (lambda k, s: (k[:, :0], s[:, :0]), "at least one frame, got one without any"),
        (lambda k, s: (k[:0], s[:0]), "A clip shows somebody, got one in which nobody is seen"),
        (lambda k, s: (k, np.zeros_like(s)), "nobody is seen, with no score of 0.001 or more"),
        (lambda k, s: (np.zeros_like(k), None), "A clip shows somebody"),
        (lambda k, s: (k, 100 * s), "Scores are 0 to 1, got one with a score above 10"),
        (lambda k, s: (k[:, :, :15], s[:, :, :15]), "those of the skeleton, got .* .15 and 17 of coco"),
        (lambda k, s: (k, s[:1]), r"one score for each keypoint, got .*\(1, 30, 17\) for \(2, 30, 17, 2\)"),
        (lambda k, s: (k[0, 0], None), r"Keypoints are \[M, T, K, 2\], got .*\(17, 2\)"),
        (
            lambda k, s: (k * 10, s),
            "Keypoints lie in the frame, got .*100% beyond height 48 and width 64.; give frame_size",
        ),
        (
            lambda k, s: (k / (WIDTH, HEIGHT), s),
            "Keypoints are in pixels, got .*none beyond 0....; multiply them by width",
        ),
    ],
)
def test_bad_keypoints_get_one_sentence(recognize, video, change, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        recognize(video, *change(*people()))
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("frame_size", "sentence"),
    [
        ((96, 160), "160 x 96 pixels and 64 x 48 of the video.; correct frame_size"),
        ((WIDTH, HEIGHT), "48 x 64 pixels and 64 x 48 of the video"),
        ((12, 16), "Keypoints lie in the frame, got .*% beyond height 12 and width 16"),
        ((0, 64), "frame_size is .height, width., .*.0, 64."),
        ((64,), "frame_size is .height, width., .*.64,"),
    ],
)
def test_a_bad_frame_size_gets_one_sentence(recognize, video, frame_size, sentence):
    with pytest.raises(ValueError, match=sentence):
        recognize(video, *people(), frame_size)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda video: video[: len(video) // 2], "whole"),
        (lambda video: of_uneven_times(moving_picture())[:900], "whole"),
        (lambda video: b"no video at all", "A video must be a file that FFmpeg reads"),
        (lambda video: b"", "A video must be"),
        (
            lambda video: moving_picture().astype("float32"),
            r"or RGB frames, uint8 \[T, H, W, 3\], got float32 \[30, 48",
        ),
        (lambda video: moving_picture()[0], r"uint8 \[T, H, W, 3\], got uint8 \[48, 64, 3\]; convert it"),
        (lambda video: np.moveaxis(moving_picture(), -1, 1), r"got uint8 \[30, 3, 48, 64\]; convert it"),
        (lambda video: moving_picture()[:0], r"got uint8 \[0, 48, 64, 3\]"),
        (lambda video: None, r"or RGB frames, uint8 \[T, H, W, 3\], got NoneType"),
    ],
)
def test_a_bad_video_gets_one_sentence(recognize, video, make, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        recognize(make(video), *people())
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


def test_a_file_is_named(recognize, video, tmp_path):
    (tmp_path / "hug.mp4").write_bytes(video[:-500])
    with pytest.raises(ValueError, match="hug.mp4"):
        recognize(tmp_path / "hug.mp4", *people())
    with pytest.raises(FileNotFoundError, match="missing.mp4"):
        recognize(tmp_path / "missing.mp4", *people())
    (tmp_path / "whole.mp4").write_bytes(video)
    with pytest.raises(ValueError, match="A clip shows somebody, got one .*whole.mp4"):
        recognize(pathlib.Path(tmp_path / "whole.mp4"), np.zeros((1, LENGTH, 17, 2)))


def test_top_below_one_is_refused(recognize, video):
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        recognize(video, *people(), top=0)


def test_what_does_not_fit_together_is_refused(network):
    with pytest.raises(ValueError, match="got 3 names for 4 classes; give the names"):
        Action(network, NAMES[:3], COCO)
    with pytest.raises(ValueError, match="got jhmdb with 15 keypoints for volumes of 17 channels; give that one"):
        Action(network, NAMES, skeletons.JHMDB)
    recognizer = estimators.VideoRecognizer(network, COCO, NAMES)
    with pytest.raises(ValueError, match="This VideoRecognizer has its own skeleton, padding, by which it was trained"):
        Action(recognizer, skeleton=skeletons.JHMDB, num_clips=10, padding=0.1)
    assert Action(recognizer, num_clips=10).recognizer.num_clips == 10
    with pytest.raises(ValueError, match="does not know its skeleton, got RGBPoseConv3D; give skeleton=..."):
        Action(network, NAMES)
    with pytest.raises(ValueError, match="The network must take .* use RGBPoseConv3D"):
        Action(keras.Model(image := keras.Input((64, 64, 3)), keras.layers.Conv2D(17, 1)(image)), NAMES, COCO)


def test_the_best_are_named_as_many_as_are_wanted(monkeypatch):
    """And what is asked about is handed on as it is."""
    asked, recognize = [], object.__new__(Action)
    recognize.class_names = [f"class {number}" for number in range(7)]
    found = np.float32([0.05, 0.3, 0.1, 0.3, 0.05, 0.1, 0.1])
    monkeypatch.setattr(Action, "probabilities", lambda self, *given: asked.append(given) or found)
    for top in (1, 2, 7, 9):
        best = recognize("walk.mp4", "keypoints", "scores", (3, 4), top=top)
        assert [one.name for one in best] == [f"class {i}" for i in (1, 3, 2, 5, 6, 0, 4)[:top]]
        assert [one.probability for one in best] == found[[1, 3, 2, 5, 6, 0, 4]][:top].tolist()
    assert asked == [("walk.mp4", "keypoints", "scores", (3, 4))] * 4
    assert len(recognize("walk.mp4", "keypoints", "scores", (3, 4))) == 7
