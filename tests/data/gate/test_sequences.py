"""The gate of clips and tracks: one bad sample is tried at all doors of its kind, which must all say the same."""

import pickle
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, export, models, predictors
from kerapose.data import clips, gate, tracks, videos
from kerapose.data import frames as frame_data
from kerapose.data.gate import sequences
from kerapose.layers import HeatmapVolume
from kerapose.ops import clips as clip_ops
from kerapose.skeletons import COCO, H36M

SIZE = (96, 128)
FRAMES = 12
NAMES = ["one", "two"]


def walk(seed=0, people=1):
    """A person who drifts through the frame: [M, T, 17, 2], pixels."""
    random = np.random.default_rng(seed)
    body = random.uniform((20, 20), (80, 60), (people, 1, 17, 2))
    return (body + np.linspace(0, 20, FRAMES)[:, None, None] + random.normal(0, 0.3, (people, FRAMES, 17, 2))).astype(
        "float32"
    )


def network():
    inputs = keras.Input((4, 16, 16, 17))
    x = keras.layers.GlobalAveragePooling3D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.fixture(scope="module")
def recognizer():
    return estimators.ActionRecognizer(network(), COCO, ["a", "b"], 16, num_clips=1, flip_test=False)


@pytest.fixture(scope="module")
def served(recognizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "1"
    export.saved_model(recognizer, path)
    return tf.saved_model.load(str(path)).signatures["serving_default"]


@pytest.fixture(scope="module")
def film():
    images = np.random.default_rng(0).integers(0, 255, (FRAMES, *SIZE, 3)).astype("uint8")
    return frame_data.encode(images, 25)


def with_stray(keypoints, place=(90, 60), frames=1):
    """The same, but for one keypoint in some frames."""
    keypoints = keypoints.copy()
    keypoints[0, :frames, 4] = place
    return keypoints


# ---------------------------------------- doors of clips; each takes keypoints, scores, frame size and label of a clip
def by_arrays(keypoints, scores, size, label):
    return next(iter(clips.from_arrays([keypoints], [label], COCO, scores and [scores], size, num_classes=2)))


def by_check(keypoints, scores, size, label):
    given = np.ones(keypoints.shape[:3]) if scores is None else scores
    given = np.where(np.any(keypoints != 0, axis=-1), given, 0)
    element = {"keypoints": keypoints, "scores": given, "frame_size": size, "label": label, "name": "0"}
    types = {"keypoints": tf.float32, "scores": tf.float32, "frame_size": tf.float64, "label": tf.float64}
    dataset = tf.data.Dataset.from_tensors({k: tf.cast(v, types[k]) if k in types else v for k, v in element.items()})
    return clips.check(dataset, COCO, 2)


def make_predictor():
    net = network()
    net.resized = lambda shape: keras.Sequential(
        [keras.Input(shape), keras.layers.GlobalAveragePooling3D(), keras.layers.Dense(2)]
    )
    return predictors.SkeletonAction(net, COCO, NAMES, 1)


class Doors:
    """Every door that a clip comes in by, by name."""

    def __init__(self, folder, served, film):
        self.folder, self.served, self.film = folder, served, film
        self.recognize = make_predictor()

    def predictor(self, keypoints, scores, size, label):
        return self.recognize.probabilities(keypoints, scores, size)

    def pyskl(self, keypoints, scores, size, label):
        path = self.folder / "set.pkl"
        one = {"frame_dir": "0", "label": label, "img_shape": size, "keypoint": keypoints, "total_frames": FRAMES}
        one |= {} if scores is None else {"keypoint_score": scores}
        path.write_bytes(pickle.dumps({"split": {"train": ["0"]}, "annotations": [one]}))
        dataset = clips.from_pyskl(path, "train", COCO, 2)
        return clips.check(dataset, COCO, 2)

    def videos(self, keypoints, scores, size, label):
        return videos.from_arrays([self.film], [keypoints], [label], COCO, scores and [scores], [size], num_classes=2)

    def saved_model(self, keypoints, scores, size, label):
        scores = np.any(keypoints != 0, axis=-1) if scores is None else scores
        values = {"keypoints": keypoints, "scores": scores}
        inputs = {key: tf.constant(np.asarray(value, "float32"))[None] for key, value in values.items()}
        return self.served(frame_size=tf.constant([size], tf.int32), **inputs)

    def all(self):
        named = {"from_arrays": by_arrays, "check": by_check, "predictor": self.predictor}
        return named | {"from_pyskl": self.pyskl, "videos": self.videos, "SavedModel": self.saved_model}


@pytest.fixture(scope="module")
def doors(tmp_path_factory, served, film):
    return Doors(tmp_path_factory.mktemp("doors"), served, film).all()


def changed(**changes):
    return {"keypoints": walk(), "scores": None, "size": SIZE, "label": 0} | changes


REFUSED = {
    "0..1": changed(keypoints=walk() / (128, 96)),
    "-1..1": changed(keypoints=walk() / (64, 48) - 1),
    "beyond": changed(keypoints=walk() + 500),
    "counted from another corner": changed(keypoints=walk() - (128, 96)),
    "0..1 but for a stray keypoint": changed(keypoints=with_stray(walk() / (128, 96))),
    "0..1 but for a keypoint just beyond": changed(keypoints=with_stray(walk() / (128, 96), (0.5, 1.8))),
    "-1..1 but for some": changed(keypoints=with_stray(walk() / (64, 48) - 1, frames=9)),
    "the second person in 0..1": changed(keypoints=np.concatenate([walk(), walk(1) / (128, 96)])),
    "the first person in 0..1": changed(keypoints=np.concatenate([walk() / (128, 96), walk(1), walk(2)])),
    "percent": changed(scores=np.full((1, FRAMES, 17), 95.0).tolist()),
    "logits": changed(scores=np.full((1, FRAMES, 17), 12.5).tolist()),
    "nobody": changed(scores=np.zeros((1, FRAMES, 17)).tolist()),
    "negative scores": changed(scores=np.full((1, FRAMES, 17), -1.0).tolist()),
    "nobody, no scores": changed(keypoints=np.zeros((1, FRAMES, 17, 2), "float32")),
    "no size": changed(size=(0, 128)),
    "other keypoints": changed(keypoints=walk()[:, :, :15]),
    "no frames": changed(keypoints=walk()[:, :0]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_impossible_is_refused_at_every_door(doors, case):
    for name, door in doors.items():
        if case == "no frames" and name in ("videos", "from_pyskl"):
            continue  # whose own rules on the number of frames come first
        if case.startswith(("nobody", "negative")) and name == "from_pyskl":
            continue  # a clip with nobody stays in its file; `check` is asked below
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            door(*REFUSED[case].values())


ACCEPTED = {
    "plain": changed(),
    "one person near the corner among others": changed(keypoints=np.concatenate([walk(), walk() * 0.2 - 3])),
    "stray keypoints near the corner": changed(
        keypoints=np.concatenate([walk(), np.where(np.arange(17)[:, None] < 2, walk() * 0.01, 0)])
    ),
    "peaks above 1": changed(scores=np.full((1, FRAMES, 17), 1.2).tolist()),
    "half beyond": changed(keypoints=np.concatenate([walk(), walk(1) + 500 * (np.arange(17) > 9)[:, None]])),
    "a size of NumPy": changed(size=np.array(SIZE)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_possible_is_accepted_at_every_door(doors, case):
    for door in doors.values():
        door(*ACCEPTED[case].values())


def test_what_is_missing_gives_the_same_clip_at_every_door(served):
    in_graph = tf.function(clip_ops.without_missing, autograph=False)

    def answer(keypoints, scores):
        size = tf.constant([SIZE], tf.int32)
        return served(keypoints=keypoints[None], scores=scores[None], frame_size=size)["probabilities"].numpy()

    raw = []
    for lost, score in ((np.nan, 0.0), (np.inf, np.nan), (0.0, 0.7), (-1.0, 0.0), (7.0, -1.0), (1e30, np.nan)):
        keypoints, scores = walk(people=2), np.random.default_rng(3).uniform(0.2, 1, (2, FRAMES, 17)).astype("float32")
        keypoints[0, 3:7, 5], scores[0, 3:7, 5] = lost, score
        keypoints[1], scores[1] = lost, score
        clean = sequences.without_missing(keypoints, scores)[:2]
        assert not clean[0][1].any() and not clean[1][1].any() and not clean[0][0, 3:7, 5].any()
        element = next(clips.from_arrays([keypoints], [0], COCO, [scores], SIZE).as_numpy_iterator())
        np.testing.assert_array_equal(element["keypoints"], clean[0])
        np.testing.assert_array_equal(element["scores"], clean[1])
        for found, expected in zip(in_graph(keypoints, scores), clean, strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(answer(keypoints, scores), answer(*clean))
        raw.append(element | {"keypoints": keypoints, "scores": scores})
    every = {key: np.stack([one[key] for one in (*raw, element)]) for key in element}  # the last is a clean one
    pipeline = clips.evaluation(tf.data.Dataset.from_tensor_slices(every), len(raw) + 1, 8, (20, 20))
    ((volumes, _),) = clips.volumes(pipeline, (20, 20))
    *drawn, clean = volumes.numpy()
    for volume in drawn:
        np.testing.assert_array_equal(volume, clean)
    assert np.isfinite(clean).all() and clean[:, 0, 0, :].max() < 0.5


@pytest.mark.parametrize("edges", [None, COCO.edges])
@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_a_volume_is_finite_whatever_is_missing(edges, lost):
    keypoints, scores = np.full((1, 1, 4, 17, 2), 8.0, "float32"), np.ones((1, 1, 4, 17), "float32")
    keypoints[..., 9, :], scores[..., 9] = lost, 0
    layer = HeatmapVolume(16, 16, edges)
    volume = np.asarray(layer({"keypoints": keypoints, "scores": scores}))
    assert np.isfinite(volume).all() and volume.max() > 0.5
    without = (
        [i for i in range(17) if i != 9] if edges is None else [i for i, edge in enumerate(edges) if 9 not in edge]
    )
    assert (volume[..., without].max(axis=(0, 1, 2, 3)) > 0.5).all()
    assert not volume[..., [i for i in range(volume.shape[-1]) if i not in without]].any()


# ---------------------------------------- labels, numbers
@pytest.mark.parametrize("label", [2, 2.0, np.int64(2), np.float32(2), np.array(2), np.array([2]), np.uint8(2)])
def test_a_whole_number_is_a_class(label):
    assert sequences.class_index(label, 3) == 2
    (element,) = clips.from_arrays([walk()], [label], COCO, num_classes=3).as_numpy_iterator()
    assert element["label"] == 2


@pytest.mark.parametrize("label", [1.5, -1, 3, np.nan, np.inf, None, "2", True, np.bool_(True), [0, 1], np.eye(3)[2]])
def test_what_is_no_class_is_refused(label):
    assert sequences.class_index(label, 3) is None
    with pytest.raises(clips.BadDataError, match="Labels are whole numbers, 0 to 2, got one"):
        clips.from_arrays([walk()], [label], COCO, num_classes=3)


@pytest.mark.parametrize("size", [(1080, 1920), (1080.0, np.float32(1920)), np.array([1080, 1920], "int16")])
def test_whole_numbers_are_the_size_of_a_frame(size):
    assert sequences.frame_size_of(size).tolist() == [1080, 1920]


@pytest.mark.parametrize("size", [(1080.5, 1920), (0, 5), (np.nan, 5), None, 5, "ab", (True, 5), (1, 2, 3), ("1", "2")])
def test_what_is_no_size_is_told(size):
    assert sequences.frame_size_of(size) is None


# ---------------------------------------- shares of a data set
def many(count, bad, change):
    keypoints = [change(walk(i)) if i < bad else walk(i) for i in range(count)]
    return {"keypoints": keypoints, "labels": [0] * count, "skeleton": COCO, "frame_sizes": SIZE}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k / 128, "Keypoints are in pixels, got 2 of 6 clips"),
        (lambda k: k + 400, "Keypoints lie in the frame, got 2 of 6 clips"),
        (lambda k: k - 44, "counted from the frame's upper left corner, got 2 of 6 clips"),
        (lambda k: k[..., ::-1] * (0.8, 1.0) + (0, 26), r"frame_size is \(height, width\), got 2 of 6 clips whose"),
        (lambda k: k * 0, "A clip shows somebody, got 2 of 6 clips in which nobody is seen"),
    ],
)
def test_a_few_odd_clips_are_counted_in_one_warning(caplog, change, message):
    dataset = clips.from_arrays(**many(6, 2, change))
    clips.check(dataset, COCO, 1)
    assert len(caplog.records) == 1  # of the first door: what was told of a dataset is not told again
    assert re.search(message, caplog.records[0].getMessage())
    clips.check(dataset.take(6), COCO, 1)  # another dataset
    assert len(caplog.records) == 2 and re.search(message, caplog.records[1].getMessage())


def test_what_was_told_of_a_file_is_not_told_again(caplog, tmp_path):
    given = many(6, 2, lambda k: k + 400)
    annotations = [
        {"frame_dir": str(i), "label": 0, "img_shape": SIZE, "total_frames": keypoints.shape[1], "keypoint": keypoints}
        | {"keypoint_score": np.ones(keypoints.shape[:3])}
        for i, keypoints in enumerate(given["keypoints"])
    ]
    names = [annotation["frame_dir"] for annotation in annotations]
    (tmp_path / "own.pkl").write_bytes(pickle.dumps({"split": {"train": names}, "annotations": annotations}))
    clips.check(clips.from_pyskl(tmp_path / "own.pkl", "train", COCO, 1), COCO, 1)
    assert len(caplog.records) == 1 and "got 2 of 6 clips" in caplog.text


def test_names_that_come_twice_are_told_of(caplog):
    clips.from_arrays(**many(3, 0, None), names=["a", "b", "a"])
    assert "Names of clips differ, got 1 of 3 clips with the name of another (a)" in caplog.text
    clips.from_arrays(**many(3, 0, None), names=["jump", "jump", "run"])
    assert "with the name of another (jump)" in caplog.text


def test_a_report_names_all_that_is_impossible():
    given = many(4, 0, None) | {"labels": [0, 7, 0.5, 0]}
    with pytest.raises(gate.BadDataError, match="got 2 of 4 clips with another label .1, 2: 7") as error:
        clips.from_arrays(**given, num_classes=2)
    assert error.value.names == ("1", "2")


# ---------------------------------------- clips with nobody
@pytest.fixture
def with_empty(film):
    keypoints = [walk(i) * (i not in (1, 3)) for i in range(5)]
    return {"keypoints": keypoints, "labels": [0, 1, 0, 1, 1], "skeleton": COCO, "frame_sizes": SIZE}


def test_a_clip_with_nobody_is_kept_in_tests_and_left_out_of_training(with_empty, film):
    for dataset, pipeline, options in (
        (clips.from_arrays(**with_empty), clips, {"num_frames": 4, "size": (16, 16)}),
        (videos.from_arrays([film] * 5, **with_empty), videos, {"rgb_shape": (2, 16, 16, 3), "pose_shape": None}),
    ):
        assert pipeline.check(dataset, COCO, 2) == 5
        tested = list(pipeline.evaluation(dataset, 2, **options))
        assert np.concatenate([labels for _, labels in tested]).tolist() == [0, 1, 0, 1, 1]
        assert all(np.isfinite(value).all() for inputs, _ in tested for value in inputs.values())
        learnt = pipeline.trainable(dataset)
        assert int(learnt.cardinality()) == 3 and pipeline.trainable(learnt) is learnt
        if pipeline is clips:  # both trainings ask the same `trainable`
            seen = [labels for _, labels in pipeline.training(dataset, COCO, 3, **options).take(4)]
            assert np.sort(np.concatenate(seen)).tolist() == [0] * 8 + [1] * 4


def test_an_exact_resume_counts_only_what_is_learnt(with_empty):
    dataset = clips.from_arrays(**with_empty)
    whole, later = (
        [labels.numpy() for _, labels in clips.training(dataset, COCO, 2, 4, (16, 16), 1, first).take(9 - first)]
        for first in (0, 4)
    )
    np.testing.assert_array_equal(whole[4:], later)


def test_a_dataset_that_was_checked_is_not_read_again(with_empty):
    read = []
    elements = list(clips.from_arrays(**with_empty).as_numpy_iterator())
    spec = clips.from_arrays(**with_empty).element_spec

    def generate():
        read.append(1)
        yield from elements

    dataset = tf.data.Dataset.from_generator(generate, output_signature=spec)
    clips.check(dataset, COCO, 2)
    assert int(clips.trainable(dataset).cardinality()) == 3 and len(read) == 1
    assert int(clips.trainable(clips.trainable(dataset)).cardinality()) == 3 and len(read) == 1


def test_a_dataset_with_nobody_at_all_is_refused():
    given = many(2, 2, lambda keypoints: keypoints * 0)
    with pytest.raises(clips.BadDataError, match="A clip shows somebody, got 2 of 2 clips"):
        clips.from_arrays(**given)


@pytest.mark.parametrize("shape", [(0, FRAMES, 17, 2), (1, FRAMES, 17, 2)])
def test_no_people_are_one_of_missing_joints(shape):
    dataset = clips.from_arrays([walk(), np.zeros(shape)], [0, 1], COCO, frame_sizes=SIZE)
    element = list(dataset.as_numpy_iterator())[1]
    assert element["keypoints"].shape == (1, FRAMES, 17, 2) and not element["scores"].any()


def test_raw_elements_without_people_go_through_the_pipelines(recognizer):
    element = next(clips.from_arrays([walk()], [0], COCO, frame_sizes=SIZE).as_numpy_iterator())
    empty = element | {
        "keypoints": np.zeros((0, FRAMES, 17, 2), "float32"),
        "scores": np.zeros((0, FRAMES, 17), "float32"),
    }
    spec = clips.from_arrays([walk()], [0], COCO).element_spec
    dataset = tf.data.Dataset.from_generator(lambda: iter([element, empty]), output_signature=spec)
    ((batch, _),) = clips.evaluation(dataset, 2, 4, (16, 16))
    assert batch["scores"].shape == (2, 1, 4, 17) and not batch["scores"][1].numpy().any()
    inputs = {key: empty[key][None] for key in ("keypoints", "scores", "frame_size")}
    assert np.isfinite(np.asarray(recognizer(inputs))).all()


# ---------------------------------------- parity
def test_the_published_arithmetic_is_still_there():
    keypoints, scores = walk(people=2), np.ones((2, FRAMES, 17), "float32")
    keypoints[0, :, 3], scores[0, :, 3] = 5.0, 0.0
    plain, published = (
        np.asarray(clip_ops.evaluation_clips(keypoints, scores, SIZE, 4, published=published)[0])
        for published in (False, True)
    )
    assert np.abs(plain[0, 0, :, 4] - published[0, 0, :, 4]).max() > 0.5  # the box that the guess was in is larger
    np.testing.assert_array_equal(clip_ops.full_scores(scores, published=True), np.ones((2, FRAMES, 17)))
    np.testing.assert_array_equal(clip_ops.full_scores(scores), scores)


# ---------------------------------------- doors of tracks
@pytest.fixture(scope="module")
def lifter():
    return predictors.Lifter(models.TemporalLifter(filter_widths=(3,), channels=8), H36M)


@pytest.fixture(scope="module")
def served_lifter(lifter, tmp_path_factory):
    path = tmp_path_factory.mktemp("lifter") / "1"
    export.lifter_saved_model(lifter.lifter, path)
    return tf.saved_model.load(str(path)).signatures["serving_default"]


@pytest.mark.parametrize(
    "change",
    [
        {"keypoints": walk()[0] / (128, 96)},
        {"keypoints": walk()[0] / (64, 48) - 1},
        {"keypoints": walk()[0] + 500},
        {"scores": np.full((FRAMES, 17), 95.0)},
        {"scores": np.zeros((FRAMES, 17))},
        {"keypoints": walk()[0] * np.nan},
        {"frame_size": (0, 128)},
    ],
)
def test_impossible_tracks_are_refused_at_every_door(lifter, served_lifter, change):
    given = {"keypoints": walk()[0], "frame_size": SIZE, "scores": np.ones((FRAMES, 17))} | change

    def serve(keypoints, frame_size, scores):
        inputs = {"keypoints": keypoints, "scores": scores}
        inputs = {key: tf.constant(np.asarray(value, "float32"))[None] for key, value in inputs.items()}
        return served_lifter(frame_size=tf.constant([frame_size], tf.int32), **inputs)

    def read(keypoints, frame_size, scores):
        return tracks.from_arrays([keypoints], [frame_size], scores=[scores])

    for door in (lifter, serve, read):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            door(**given)
        door(walk()[0], SIZE, np.ones((FRAMES, 17)))


# ---------------------------------------- what is missing, and in percent
def test_a_placeholder_without_scores_is_missing(lifter):
    keypoints = walk()
    keypoints[:, 3:9, 5:7] = -1
    ones, zeros = np.ones((1, FRAMES, 17)), np.where((keypoints == -1).all(axis=-1), 0, 1)
    for given, missing in ((None, True), (zeros, True), (ones, False)):
        element = clips.make_element(keypoints, COCO, given, SIZE)
        assert (element["scores"][:, 3:9, 5:7] == 0).all() == missing
    track, known = (tracks.from_arrays([keypoints[0]], SIZE, scores=given) for given in (None, zeros))
    np.testing.assert_array_equal(track.keypoints_screen, known.keypoints_screen)
    np.testing.assert_array_equal(track.scores, known.scores)
    np.testing.assert_array_equal(*(lifter(keypoints[0], SIZE, given).poses_m for given in (None, zeros[0])))


def test_many_placeholders_with_a_score_are_told_of(caplog):
    few, many_of_them = walk(), walk()
    few[0, 3, 5] = many_of_them[0, :, 5:7] = -1
    clips.make_element(few, COCO, np.ones((1, FRAMES, 17)), SIZE)
    assert not caplog.records
    clips.make_element(many_of_them, COCO, np.ones((1, FRAMES, 17)), SIZE)
    assert "at (-1, -1) (12%)" in caplog.text


def in_box(low, high, count=4, people=1):
    random = np.random.default_rng(3)
    return [random.uniform(low, high, (people, FRAMES, 17, 2)) for _ in range(count)]


@pytest.mark.parametrize(
    ("keypoints", "size", "is_told"),
    [
        (in_box((0, 0), (100, 100)), (1080, 1920), True),
        (in_box((10, 5), (90, 95), 1), (480, 640), True),
        ([*in_box((10, 10), (45, 90), 2), *in_box((50, 10), (95, 90), 2)], (720, 1280), True),  # only together
        (in_box((0, 0), (40, 90)), (1080, 1920), False),  # small people in a corner
        (in_box((0, 0), (100, 100)), (120, 120), False),
        ([*in_box((0, 0), (100, 100)), *in_box((400, 400), (600, 600))], (1080, 1920), False),
    ],
)
def test_percent_is_told_of(caplog, keypoints, size, is_told):
    clips.from_arrays(keypoints, [0] * len(keypoints), COCO, frame_sizes=size)
    assert ("if they are percent" in caplog.text) == is_told
    caplog.clear()
    tracks.from_arrays([one[0] for one in keypoints], size)
    assert ("if they are percent" in caplog.text) == is_told


# ---------------------------------------- one sentence each
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_sizes": (1e12, 5)}, "frame_size is"),
        ({"frame_sizes": [[1, [2, 3]]] * 3}, "frame_size is"),
        ({"frame_sizes": 1080}, "frame_sizes is one .height, width."),
        ({"frame_sizes": [SIZE]}, "got 1 sizes for 3"),
        ({"scores": [np.ones((1, FRAMES, 17))]}, "scores are one for each of 3 clips, got 1"),
        ({"names": ["a", "b"]}, "names are one for each of 3 clips, got 2"),
        ({"labels": [0, 2**70, 0]}, "Labels are whole numbers"),
    ],
)
def test_what_does_not_belong_together_is_said_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        clips.from_arrays(**many(3, 0, None) | change)


@pytest.mark.parametrize("frame_sizes", [1080, None, (2**40, 5), [SIZE] * 3])
def test_sizes_of_tracks_are_asked_for(frame_sizes):
    with pytest.raises(ValueError, match="frame_size"):
        tracks.from_arrays([walk()[0]] * 2, frame_sizes)


def test_a_camera_of_no_numbers_is_refused():
    camera = {"focal_px": (500, 500), "center_px": (64, 48), "radial": None, "tangential": (0, 0)}
    for wrong in (None, "text", [1, [2]]):
        with pytest.raises(ValueError, match="radial must be numbers"):
            tracks.from_arrays([walk()[0]], SIZE, cameras=camera | {"radial": wrong})


@pytest.mark.parametrize("wrong", [None, "text", [[1, 2], [3]], walk()[0] * 1j])
def test_keypoints_of_no_numbers_are_refused(lifter, wrong):
    with pytest.raises(ValueError, match="keypoints must be an array of numbers"):
        lifter(wrong, SIZE)


def test_a_text_is_no_list_of_names_to_skip():
    dataset = clips.from_arrays(**many(3, 0, None), names=["0", "1", "01"])
    with pytest.raises(ValueError, match=r"write \['01'\]"):
        clips.skip(dataset, "01")
    assert int(clips.skip(dataset, ["01"]).cardinality()) == 2
    made = tracks.from_arrays([walk()[0]] * 2, SIZE)
    with pytest.raises(ValueError, match=r"write \['01'\]"):
        tracks.skip(made, "01")
    with pytest.raises(ValueError, match="got the names of all 2; skip fewer"):
        tracks.skip(made, ["0", "1"])


# ---------------------------------------- absent people
def test_an_absent_person_is_not_lifted(lifter, caplog):
    alone = walk()
    both = np.concatenate([alone, alone * 0])
    for scores in (None, np.stack([np.ones((FRAMES, 17)), np.zeros((FRAMES, 17))])):
        caplog.clear()
        pose = lifter(both, SIZE, scores)
        np.testing.assert_allclose(pose.poses_m[:1], lifter(alone, SIZE).poses_m, atol=1e-6)
        assert np.isnan(pose.poses_m[1]).all() and len(caplog.records) == 1
    with pytest.raises(ValueError, match="A track must show its person"):
        lifter(both * 0, SIZE)
