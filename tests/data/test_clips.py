"""The pipeline of action recognition: sources, bad input, reproducible training batches, published evaluation clips."""

import hashlib
import inspect
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose import skeletons
from kerapose.data import clips, order
from kerapose.data.clips import batches as in_batches
from kerapose.ops import heatmaps
from kerapose.skeletons import COCO, H36M, MPII, NTU

FRAMES = 8  # of a clip, in most tests
WHOLE_CROP = {"area_range": (1.0, 1.0), "aspect_range": (1.0, 1.0)}  # a random crop that leaves a square as it is

# Prints a digest of batches 5 to 8, in a process that is set up as the training scripts are.
OTHER_PROCESS = """
import hashlib, pathlib, pickle, sys
import keras, tensorflow
from kerapose.data import clips
from kerapose.skeletons import COCO
keras.utils.set_random_seed(0)
tensorflow.config.experimental.enable_op_determinism()
dataset = clips.from_arrays(**pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), skeleton=COCO)
total = hashlib.sha256()
for batch, labels in clips.training(dataset, COCO, 4, num_frames=8, seed=3, first_step=5).take(4):
    for array in (batch["keypoints"], batch["scores"], labels):
        total.update(array.numpy().tobytes())
print(total.hexdigest())
"""


def walk(seed=0, people=1, frames=30, frame_size=(240, 320)):
    """People of random shape who drift through the frame."""
    random = np.random.default_rng(seed)
    height, width = frame_size
    body = random.uniform(0, 0.3 * height, (people, 1, 17, 2))
    corner = random.uniform(0.1 * height, 0.4 * height, (people, 1, 1, 2))
    path = np.linspace(0, 0.2 * width, frames)[None, :, None, None] * np.array([1.0, 0.2])
    return (body + corner + path + random.normal(0, 1, (people, frames, 17, 2))).astype("float32")


def arrays(lengths=(30, 9, 120, 5, 16, 47, 11)):
    """Arguments of `from_arrays`: one class a clip; every third clip shows two people."""
    keypoints = [walk(i, people=1 + (i % 3 == 2), frames=length) for i, length in enumerate(lengths)]
    scores = [np.random.default_rng(i).uniform(0.1, 1, k.shape[:3]).astype("float32") for i, k in enumerate(keypoints)]
    return {"keypoints": keypoints, "scores": scores, "labels": list(range(len(lengths))), "frame_sizes": (240, 320)}


def square_clips(count=3):
    """Clips of FRAMES frames, so that each frame is drawn once, in a compact box that is square: (87, 77, 212, 202)."""
    keypoints = np.random.default_rng(0).uniform((101, 101), (199, 179), (count, 2, FRAMES, 17, 2)).astype("float32")
    keypoints[:, 0, 0, 0], keypoints[:, 1, 3, 5] = (100, 100), (200, 180)  # whose extent is these two corners
    keypoints[:, 0, 2, 9] = 0  # a missing one
    return keypoints


def read(batches, count=None):
    """The first batches as NumPy arrays: [(keypoints, scores, labels), ...]."""
    batches = batches if count is None else batches.take(count)
    return [(clip["keypoints"].numpy(), clip["scores"].numpy(), labels.numpy()) for clip, labels in batches]


def by_label(batches):
    """{label: (keypoints, scores)} of the clips in some batches."""
    return {label: clip for *arrays, labels in batches for *clip, label in zip(*arrays, labels.tolist(), strict=True)}


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for array, wanted in zip(itertools.chain(*batches), itertools.chain(*expected), strict=True):
        np.testing.assert_array_equal(array, wanted)


@pytest.fixture(scope="module")
def dataset():
    return clips.from_arrays(**arrays(), skeleton=COCO)


# ---------------------------------------------------------------------------------------------------- from arrays
def test_from_arrays_gives_the_arrays_back(dataset):
    given = arrays()
    assert int(dataset.cardinality()) == 7
    for i, element in enumerate(dataset.as_numpy_iterator()):
        np.testing.assert_array_equal(element["keypoints"], given["keypoints"][i])
        np.testing.assert_array_equal(element["scores"], given["scores"][i])
        np.testing.assert_array_equal(element["frame_size"], [240, 320])
        assert element["label"] == i and element["name"] == str(i).encode()
        assert [element[key].dtype for key in ("keypoints", "scores", "frame_size", "label")] == [
            np.float32,
            np.float32,
            np.int32,
            np.int64,
        ]


def test_from_arrays_fills_in_what_is_not_known():
    keypoints = walk(people=2)
    keypoints[0, 3, 7] = 0
    keypoints[1, 5, 2, 0] = 0  # only x: still a keypoint
    keypoints[1, 6, 4] = (300.2, 211.5)
    (element,) = clips.from_arrays([keypoints], [4], COCO).as_numpy_iterator()
    expected = np.ones((2, 30, 17), "float32")
    expected[0, 3, 7] = 0
    np.testing.assert_array_equal(element["scores"], expected)
    np.testing.assert_array_equal(element["frame_size"], [212, 301])  # height, width


def test_from_arrays_takes_one_person_without_the_axis():
    keypoints, scores = walk()[0], np.full((30, 17), 0.5)
    (element,) = clips.from_arrays([keypoints], [0], COCO, [scores], [(480, 640)], ["solo"]).as_numpy_iterator()
    np.testing.assert_array_equal(element["keypoints"], keypoints[None])
    np.testing.assert_array_equal(element["scores"], scores[None].astype("float32"))
    np.testing.assert_array_equal(element["frame_size"], [480, 640])
    assert element["name"] == b"solo"


def test_from_arrays_wants_a_label_for_each_clip():
    with pytest.raises(ValueError, match="one label, got 2 clips and 1 labels; match them"):
        clips.from_arrays([walk(), walk()], [0], COCO)


# ---------------------------------------------------------------------------------------------------- PYSKL and TFDS
def save_pyskl(folder):
    given = arrays()
    annotations = [
        {
            "frame_dir": f"clip{i}",
            "label": i,
            "img_shape": (240, 320),
            "total_frames": keypoints.shape[1],
            "keypoint": keypoints,
            "keypoint_score": scores,
        }
        for i, (keypoints, scores) in enumerate(zip(given["keypoints"], given["scores"], strict=True))
    ]
    split = {"train": ["clip0", "clip2", "clip1"], "val": ["clip6"]}
    path = folder / "set.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    return path


def test_from_pyskl_equals_from_arrays(tmp_path, dataset):
    path = save_pyskl(tmp_path)
    expected = list(dataset.as_numpy_iterator())
    read_back = clips.from_pyskl(path, "train", COCO, num_classes=7)
    assert int(read_back.cardinality()) == 3 and read_back.element_spec == dataset.element_spec
    for element, i in zip(read_back.as_numpy_iterator(), (0, 2, 1), strict=True):
        assert element["name"] == f"clip{i}".encode() and element["label"] == i
        for key in ("keypoints", "scores", "frame_size"):
            np.testing.assert_array_equal(element[key], expected[i][key])


def test_from_pyskl_names_its_splits_and_checks_its_clips(tmp_path):
    path = save_pyskl(tmp_path)
    with pytest.raises(ValueError, match=r"set.pkl has the splits train, val, got 'test'; use one of them"):
        clips.from_pyskl(path, "test", COCO)
    with pytest.raises(clips.BadDataError, match="0 to 2, got 4 of 7 clips .* .clip3, clip4, clip5, clip6: 3"):
        clips.from_pyskl(path, "train", COCO, num_classes=3)
    with pytest.raises(ValueError, match="skeleton ntu 25"):
        clips.from_pyskl(path, "train", NTU)
    with pytest.raises(FileNotFoundError):
        clips.from_pyskl(tmp_path / "other.pkl", "train", COCO)


class Walks(tfds.core.GeneratorBasedBuilder):
    """Two configs of the clips above; the second is never prepared."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="seven"), tfds.core.BuilderConfig(name="others")]

    def _info(self):
        features = {
            "keypoints": tfds.features.Tensor(shape=(None, None, 17, 2), dtype=np.float32, encoding="zlib"),
            "scores": tfds.features.Tensor(shape=(None, None, 17), dtype=np.float32, encoding="zlib"),
            "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            "label": tfds.features.ClassLabel(num_classes=7),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for element in clips.from_arrays(**arrays(), skeleton=COCO).as_numpy_iterator():
            yield element["name"].decode(), element


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    Walks(data_dir=folder, config="seven").download_and_prepare()
    return folder


def test_from_tfds_equals_from_arrays(prepared, dataset):
    read_back, info = clips.from_tfds("walks/seven", "train", prepared)
    assert info.features["label"].num_classes == 7
    assert int(read_back.cardinality()) == 7
    expected = {element["name"]: element for element in dataset.as_numpy_iterator()}
    elements = list(read_back.as_numpy_iterator())
    assert {element["name"] for element in elements} == set(expected)
    for element in elements:
        for key in ("keypoints", "scores", "frame_size", "label"):
            np.testing.assert_array_equal(element[key], expected[element["name"]][key])
    assert clips.check(read_back, COCO, 7) == 7


def test_from_tfds_goes_by_the_files(tmp_path):
    """The builder of this name that the process knows is newer and has other classes."""
    features = {"keypoints": tfds.features.Tensor(shape=(None, None, 17, 2), dtype=np.float32, encoding="zlib")}
    features = tfds.features.FeaturesDict(features | {"label": tfds.features.ClassLabel(names=["hop", "bow"])})
    for version in ("0.8.0", "0.9.0"):
        record = {"keypoints": np.ones((1, 3, 17, 2), np.float32), "label": 1}
        splits = {"train": [(number, record) for number in range(int(version[2]))]}
        tfds.dataset_builders.store_as_tfds_dataset("walks", version, features, splits, "seven", tmp_path)
    read_back, info = clips.from_tfds("walks/seven", "train", tmp_path)
    assert info.features["label"].names == ["hop", "bow"] and int(read_back.cardinality()) == 9  # the newest
    read_back, _ = clips.from_tfds("walks/seven:0.8.0", "train", tmp_path)
    assert int(read_back.cardinality()) == 8


@pytest.mark.parametrize("name", ["walks/others", "nobody_has_made_this"])  # of known and of unknown code
def test_from_tfds_tells_how_to_prepare(prepared, name):
    with pytest.raises(clips.NotPreparedError) as error:
        clips.from_tfds(name, "train", prepared)
    assert str(error.value) == (
        f"The dataset {name} is not prepared in {prepared}; give the data_dir that it is in, or prepare it in a "
        f"checkout of kerapose; run: python datasets/build.py {name} --data_dir={prepared}"
    )


def test_from_tfds_tells_how_to_prepare_in_the_default_folder():
    with pytest.raises(
        clips.NotPreparedError, match="default folder of TFDS; .*; run: python datasets/build.py nobodys$"
    ):
        clips.from_tfds("nobodys", "train")


def test_from_tfds_names_its_splits(prepared):
    with pytest.raises(ValueError, match="walks/seven has the splits train, got 'test'; use one of them"):
        clips.from_tfds("walks/seven", "test", prepared)


# ---------------------------------------------------------------------------------------------------- bad input
BAD = {
    "no frames": (walk()[:, :0], None, 0, "at least one frame, got .* without any"),
    "other keypoints": (walk()[:, :, :15], None, 0, r"\(bad: 15 and 17 of coco\); give the skeleton"),
    "3D": (np.ones((1, 30, 17, 3)), None, 0, r"\[M, T, K, 2\], got .* \(bad: \(1, 30, 17, 3\)\); reshape them"),
    "text": (np.full((1, 30, 17, 2), "x"), None, 0, "of another shape .bad: no numbers"),
    "scores of another": (walk(), np.ones((1, 29, 17)), 0, r"\(bad: \(1, 29, 17\) for \(1, 30, 17, 2\)\)"),
    "percent": (walk(), np.full((1, 30, 17), 95.0), 0, "Scores are 0 to 1, got .* .bad: 95.; divide them by 100"),
    "label too high": (walk(), None, 3, "0 to 2, got .* .bad: .*3.*; correct it, or the number of classes"),
    "label below 0": (walk(), None, -1, "0 to 2, got .* .bad: .*-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_clips_are_refused_by_name(case):
    keypoints, scores, label, message = BAD[case]
    scores = scores if scores is None else [np.ones((1, 30, 17)), scores]
    with pytest.raises(clips.BadDataError, match=message) as from_arrays_error:
        clips.from_arrays([walk(), keypoints], [0, label], COCO, scores, names=["good", "bad"], num_classes=3)
    if case == "text":
        return  # which no dataset of tensors has
    scores = np.any(keypoints != 0, axis=-1) if scores is None else scores[1]
    both = two_clips(keypoints, scores, label)
    with pytest.raises(clips.BadDataError, match=message) as check_error:
        clips.check(both, COCO, 3)
    assert from_arrays_error.value.names == check_error.value.names == ("bad",)
    assert clips.check(clips.skip(both, check_error.value.names), COCO, 3) == 1


def two_clips(keypoints, scores, label):
    """A dataset of a good clip and, without a check, another one."""
    bad = {
        "keypoints": keypoints.astype("float32"),
        "scores": scores.astype("float32"),
        "frame_size": np.array([240, 320], "int32"),
        "label": np.int64(label),
        "name": "bad",
    }
    good = next(clips.from_arrays([walk()], [0], COCO, names=["good"]).as_numpy_iterator())
    shapes = {"keypoints": (None,) * 4, "scores": (None,) * 3, "frame_size": (2,), "label": (), "name": ()}
    types = {"keypoints": tf.float32, "scores": tf.float32, "frame_size": tf.int32, "label": tf.int64}
    signature = {key: tf.TensorSpec(shape, types.get(key, tf.string)) for key, shape in shapes.items()}
    return tf.data.Dataset.from_generator(lambda: iter([good, bad]), output_signature=signature)


def test_check_counts_and_wants_a_clip(dataset):
    assert clips.check(dataset, COCO, 7) == 7
    with pytest.raises(ValueError, match="at least one clip, got none; check the split"):
        clips.check(clips.from_arrays([], [], COCO), COCO, 7)


# ---------------------------------------------------------------------------------------------------- training
def training(dataset, **changes):
    return clips.training(dataset, COCO, **{"batch_size": 4, "num_frames": FRAMES, "seed": 3} | changes)


@pytest.fixture(scope="module")
def pipeline(dataset):
    return training(dataset)


@pytest.fixture(scope="module")
def uninterrupted(pipeline):
    return read(pipeline, 14)  # 8 passes over 7 clips


def test_the_seed_draws_frames_and_all_else():
    """Of one frame all clips show the same, so that the rest differs; of the other clip, scores tell the frames."""
    scores = [np.ones((1, 1, 17)), np.broadcast_to(np.linspace(0.1, 1, 120)[None, :, None], (1, 120, 17))]
    two = clips.from_arrays([walk(frames=1), walk(frames=120)], [0, 1], COCO, scores)
    first, other = (by_label(read(training(two, batch_size=2, seed=seed), 1)) for seed in (3, 4))
    assert (other[0][0] != first[0][0]).any() and (other[1][1].max(axis=-1) != first[1][1].max(axis=-1)).any()


def test_padding_is_that_of_the_box():
    """The people are 100 pixels wide and in a square box that is larger by the padding."""
    dataset, options = clips.from_arrays(list(square_clips(1)), [0], COCO, frame_sizes=(240, 320)), {"padding": 1.0}
    for ((keypoints, scores, _),) in (
        read(training(dataset, batch_size=1, flip_probability=0.0, **WHOLE_CROP, **options), 1),
        read(clips.evaluation(dataset, 1, FRAMES, size=(56, 56), **options)),
    ):
        assert np.ptp(keypoints[scores > 0][:, 0]) == pytest.approx(56 / 2, rel=1e-4)


def test_every_iterator_gives_the_same_batches(pipeline, uninterrupted):
    assert_same(read(pipeline, 8), uninterrupted[:8])


def test_batches_have_the_promised_shapes(uninterrupted):
    for keypoints, scores, labels in uninterrupted:
        people = 1 + max(label % 3 == 2 for label in labels)
        assert keypoints.shape == (4, people, FRAMES, 17, 2) and keypoints.dtype == np.float32
        assert scores.shape == (4, people, FRAMES, 17) and scores.dtype == np.float32
        assert labels.shape == (4,) and labels.dtype == np.int64


def test_every_clip_is_seen_once_a_pass(uninterrupted):
    passes = np.concatenate([labels for *_, labels in uninterrupted]).reshape(8, 7)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(7), (8, 1)))
    assert len(set(map(tuple, passes))) == 8


def test_a_clip_looks_different_at_every_pass(uninterrupted):
    seen = [keypoints[i, 0] for keypoints, _, labels in uninterrupted for i in np.flatnonzero(labels == 4)]
    assert len(seen) == 8
    assert all((a != b).any() for a, b in itertools.combinations(seen, 2))


def test_a_run_that_was_cut_short_goes_on_with_its_batches(dataset, uninterrupted):
    tf.random.set_seed(99)  # somebody else's seed
    assert_same(read(training(dataset, first_step=9), 4), uninterrupted[9:13])  # in the sixth pass


@pytest.mark.parametrize("count, replicas", [(2, 1), (1, 2), (2, 2)])
def test_several_workers_make_the_same_batches(put_together, dataset, uninterrupted, count, replicas):
    """But for people who only fill up a batch: a part has those that its own clips have."""
    batches = put_together(lambda share: training(dataset, first_step=9, share=share), 4, count, replicas)
    for parts, (keypoints, scores, labels) in zip(batches, uninterrupted[9:13], strict=True):
        assert [len(own) for _, own in parts] == [4 // len(parts)] * len(parts)
        np.testing.assert_array_equal(np.concatenate([own for _, own in parts]), labels)
        people = [(points, score) for clip, _ in parts for points, score in zip(*clip.values(), strict=True)]
        for (points, score), all_points, all_scores in zip(people, keypoints, scores, strict=True):
            np.testing.assert_array_equal(points, all_points[: len(points)])
            np.testing.assert_array_equal(score, all_scores[: len(points)])
            assert not all_scores[len(points) :].any()


def test_a_batch_that_workers_cannot_share_is_refused(dataset):
    with pytest.raises(ValueError, match="batch_size is divided by 4 devices of 2 workers, got 6; give 8, say"):
        training(dataset, batch_size=6, share=order.Share(0, 2, 2))


def test_batches_are_the_same_in_every_process(uninterrupted):
    """Of order, frames and places some numbers as they were in another one."""
    assert [labels.tolist() for *_, labels in uninterrupted[:4]] == [
        *([4, 6, 5, 3], [2, 1, 0, 2], [5, 4, 6, 0], [3, 1, 6, 4])
    ]
    places = [keypoints[0, 0, :, 5].mean() for keypoints, *_ in uninterrupted[:4]]
    np.testing.assert_allclose(places, [30.7637, 32.8455, 29.1309, 26.5164], atol=1e-3)
    drawn = [scores[2, 0, 3].sum() for _, scores, _ in uninterrupted[:4]]
    np.testing.assert_allclose(drawn, [8.4790, 8.5142, 9.7060, 10.6036], atol=1e-3)


@pytest.mark.slow  # a process of its own; the numbers above tell of most
def test_a_fresh_process_goes_on_with_the_batches(uninterrupted, tmp_path):
    file = tmp_path / "arrays"
    file.write_bytes(pickle.dumps(arrays()))
    command = [sys.executable, "-c", OTHER_PROCESS, str(file)]
    other = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert other.returncode == 0, other.stderr
    digest = hashlib.sha256()
    for array in itertools.chain(*uninterrupted[5:9]):
        digest.update(array.tobytes())
    assert other.stdout.split()[-1] == digest.hexdigest()


def test_people_are_padded_with_score_0(uninterrupted):
    padded = 0
    for keypoints, scores, labels in uninterrupted:
        for i, label in enumerate(labels):
            people = 1 + (label % 3 == 2)
            padded += keypoints.shape[1] - people
            assert (scores[i, :people] > 0).all()
            assert (scores[i, people:] == 0).all() and (keypoints[i, people:] == 0).all()
    assert padded > 10


def test_one_frame_is_enough():
    dataset = clips.from_arrays([walk(frames=1), walk(seed=1, frames=1)], [0, 1], COCO)
    for keypoints, *_ in read(training(dataset, batch_size=2), 3) + read(clips.evaluation(dataset, 2, FRAMES)):
        assert keypoints.shape == (2, 1, FRAMES, 17, 2)
        np.testing.assert_array_equal(keypoints, np.repeat(keypoints[:, :, :1], FRAMES, axis=2))
        assert np.ptp(keypoints, axis=-2).min() > 5


def test_people_stay_in_the_volume(dataset):
    inside = [
        ((k >= -0.5) & (k < [40 - 0.5, 24 - 0.5])).all(-1)[s > 0]
        for k, s, _ in read(training(dataset, size=(24, 40)), 40)
    ]
    assert 0.9 < np.concatenate(inside).mean() < 1.0  # a random crop does cut something off


def test_scores_can_be_left_out():
    keypoints, scores = walk(people=2), np.random.default_rng(0).uniform(0.1, 1, (2, 30, 17))
    scores[0, 3] = 0  # missing in one frame
    scores[1] = 0  # nobody: as a source pads people
    dataset = clips.from_arrays([keypoints], [0], COCO, [scores])
    for batches in (
        training(dataset, batch_size=1, use_scores=False),
        clips.evaluation(dataset, 1, FRAMES, use_scores=False),
    ):
        ((_, full, _),) = read(batches, 1)
        assert set(np.unique(full)) == {0, 1} and not full[0, 1].any()
        assert full[0, 0].all(axis=1).sum() >= FRAMES - 2 and (full[0, 0].any(axis=1) == full[0, 0].all(axis=1)).all()


def slow_clip(keypoints, scores, mirrored, size=56):
    """A clip of `square_clips` in the volume, one keypoint after the other, in double precision."""
    swapped = dict(COCO.flip_pairs) | {b: a for a, b in COCO.flip_pairs} if mirrored else {}
    moved, moved_scores = np.zeros(keypoints.shape), np.zeros(scores.shape, "float32")
    for m, t, k in np.ndindex(scores.shape):
        x, y = (float(coordinate) for coordinate in keypoints[m, t, k])
        x, y = x and (x - 87) * size / 125, y and (y - 77) * size / 125  # exactly 0 marks a missing one
        moved[m, t, swapped.get(k, k)] = (x and size - x if mirrored else x, y)
        moved_scores[m, t, swapped.get(k, k)] = scores[m, t, k] if x or y else 0
    return moved, moved_scores


def test_a_flip_swaps_the_sides():
    keypoints = square_clips()
    scores = np.random.default_rng(1).uniform(0.1, 1, keypoints.shape[:-1]).astype("float32")
    dataset = clips.from_arrays(list(keypoints), [0, 1, 2], COCO, list(scores), (240, 320))
    options = {"batch_size": 24, "flip_probability": 0.5, "flip_labels": [3, 4, 5, 0, 1, 2]} | WHOLE_CROP
    drawn = by_label(read(training(dataset, **options), 1))
    assert set(drawn) == set(range(6))
    for label in drawn:
        clip, mirrored = label % 3, label >= 3
        expected, expected_scores = slow_clip(keypoints[clip], scores[clip], mirrored)
        np.testing.assert_allclose(drawn[label][0], expected, atol=2e-5)
        np.testing.assert_array_equal(drawn[label][1], expected_scores)


def test_a_rotation_turns_each_clip_as_a_whole():
    keypoints = np.concatenate([square_clips(8)] * 2)
    dataset = clips.from_arrays(list(keypoints), list(range(16)), COCO, frame_sizes=(240, 320))
    options = {"batch_size": 16, "flip_probability": 0.0} | WHOLE_CROP
    plain = by_label(read(training(dataset, **options), 1))
    turned = by_label(read(training(dataset, rotation_degrees=20.0, **options), 1))
    angles = []
    for label in range(16):
        scores = plain[label][1]
        before, after = ((clip[label][0][scores > 0] - 28) @ [1, 1j] for clip in (plain, turned))
        np.testing.assert_allclose(abs(after), abs(before), atol=1e-4)
        by = np.angle(after / before, deg=True)[abs(before) > 5]
        assert np.ptp(by) < 1e-3
        angles.append(by.mean())
        assert (turned[label][0][scores == 0] == 0).all()  # what is missing stays missing
    assert max(map(abs, angles)) <= 20 and min(angles) < -5 and max(angles) > 5


@pytest.mark.parametrize("least", [heatmaps.MIN_SCORE, 0.9 * heatmaps.MIN_SCORE])
def test_who_is_just_sure_enough_to_be_drawn_is_somebody(least):
    """By `check`, which reads clips anyway, and without it."""
    scores = [np.ones((1, 30, 17)), np.full((1, 30, 17), least)]
    for checked in (True, False):
        dataset = clips.from_arrays([walk(0), walk(1)], [0, 1], COCO, scores)
        if checked:
            clips.check(dataset, COCO, 2)
        assert int(clips.trainable(dataset).cardinality()) == 1 + (np.float32(least) >= heatmaps.MIN_SCORE)


def told_of(monkeypatch, name):
    """What a step of a pipeline is given, as names and values, in place of the step; it gives clips of zeros."""
    told = []
    signature = inspect.signature(getattr(in_batches.clip_ops, name.removeprefix("_")))

    def step(*given, **options):
        bound = signature.bind(*given, **options)
        told.append(bound.arguments)
        shape = (1, 1, 2, 17) if name == "_evaluation_clips" else (1, 2, 17)
        return tf.zeros((*shape, 2)), tf.zeros(shape)

    monkeypatch.setattr(in_batches, name, step)
    monkeypatch.setattr(in_batches, "trainable", lambda dataset: dataset)
    monkeypatch.setattr(
        in_batches, "_batched", lambda dataset, batch_size: told[-1].update(batch_size=batch_size) or dataset
    )
    return told


def test_every_option_of_a_pipeline_reaches_the_clip(monkeypatch):
    """Of those that are numbers; and without options the recipe is the published one."""
    dataset, bounds = clips.from_arrays([walk()], [0], COCO, frame_sizes=(240, 320)), ("area_range", "aspect_range")
    crop = {"padding": 0.5, "short_side_px": 40, "area_range": (0.2, 0.8), "aspect_range": (0.5, 0.6)}
    told = told_of(monkeypatch, "_training_clip")
    clips.training(dataset, COCO, 3, num_frames=6, size=(24, 40), **crop)
    clips.training(dataset, COCO)
    own, usual = told
    assert {key: own[key] for key in crop} == crop and (own["num_frames"], tuple(own["size"])) == (6, (24, 40))
    assert (usual["num_frames"], tuple(usual["size"])) == (48, (56, 56)) and not set(usual) & {"padding", *bounds}
    assert [one["batch_size"] for one in told] == [3, 16]
    assert all(one["flip_permutation"] == COCO.flip_permutation for one in told)
    told = told_of(monkeypatch, "_evaluation_clips")
    clips.evaluation(dataset, 3, num_frames=6, size=(24, 40), padding=0.5)
    clips.evaluation(dataset)
    found = [(one["batch_size"], one["num_frames"], tuple(one["size"]), one["padding"]) for one in told]
    assert found == [(3, 6, (24, 40), 0.5), (16, 48, (64, 64), 0.25)] and "num_clips" not in told[0]


# ---------------------------------------------------------------------------------------------------- evaluation
def test_evaluation_keeps_the_order_and_the_last_batch(dataset):
    pipeline = clips.evaluation(dataset, 3, FRAMES)
    batches = read(pipeline)
    assert [labels.tolist() for *_, labels in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [keypoints.shape[:2] for keypoints, *_ in batches] == [(3, 2), (3, 2), (1, 1)]
    for _ in range(2):
        next(iter(pipeline))  # a look at the first
    assert_same(read(pipeline), batches)


def test_evaluation_equals_the_published_pipeline(golden):
    case = golden("pipeline_val")
    dataset = clips.from_arrays(
        [case["input_keypoint"]], [0], COCO, [case["input_keypoint_score"]], case.config["img_shape"]
    )
    batches = clips.evaluation(dataset, num_frames=case.config["clip_len"])
    ((keypoints, scores, _),) = read(batches)
    case.check("output_resize64_keypoint", keypoints[0])
    case.check("output_final_score", scores[0])
    ((volumes, _),) = clips.volumes(batches, (64, 64))
    case.check("output_imgs", np.moveaxis(volumes.numpy(), -1, 1))  # channels first


# ---------------------------------------------------------------------------------------------------- volumes
def test_volumes_equal_the_op(dataset):
    size = (20, 28)
    batches = clips.evaluation(dataset.take(4), 4, FRAMES, size)
    given = read(batches)
    for edges in (None, COCO.edges):
        drawn = clips.volumes(batches, size, edges, sigma_px=0.8)
        for (volumes, labels), (keypoints, scores, expected) in zip(drawn, given, strict=True):
            if edges is None:
                wanted = heatmaps.joint_volume(keypoints, scores, *size, sigma_px=0.8)
            else:
                wanted = heatmaps.limb_volume(keypoints, scores, edges, *size, sigma_px=0.8)
            assert volumes.shape == (4, FRAMES, *size, 17)
            np.testing.assert_allclose(volumes, wanted, atol=1e-5)
            assert volumes.numpy().max() > 0.3
            np.testing.assert_array_equal(labels, expected)


# ---------------------------------------------------------------------------------------------------- conversion
def test_convert_derives_the_joints_of_another_set():
    keypoints, scores = walk(people=2), np.random.default_rng(0).uniform(0.1, 1, (2, 30, 17)).astype("float32")
    keypoints[0, 4, COCO.index("left_hip")] = 0  # of which the pelvis is made
    source = clips.from_arrays([keypoints], [3], COCO, [scores], (240, 320))
    converted = clips.convert(source, COCO, H36M)
    assert clips.check(converted, H36M, 4) == 1
    (element,) = converted.as_numpy_iterator()
    matrix = skeletons.mapping(COCO, H36M)
    missing = 0
    for m, t, joint in np.ndindex(2, 30, H36M.num_keypoints):
        parts = np.flatnonzero(matrix[joint])
        if any((keypoints[m, t, k] == 0).all() for k in parts):
            point, score = np.zeros(2), 0.0
            missing += 1
        else:
            point = sum(float(matrix[joint, k]) * keypoints[m, t, k].astype("float64") for k in parts)
            score = min(scores[m, t, k] for k in parts)
        np.testing.assert_allclose(element["keypoints"][m, t, joint], point, atol=1e-3)
        assert element["scores"][m, t, joint] == np.float32(score)
    assert missing > 1
    np.testing.assert_array_equal(element["frame_size"], [240, 320])
    assert element["label"] == 3 and element["name"] == b"0"


def test_convert_is_that_of_the_skeletons():
    random = np.random.default_rng(0)
    keypoints = random.uniform(1, 300, (2, 40, 17, 2)).astype("float32")
    scores = random.uniform(0.1, 1, (2, 40, 17)).astype("float32")
    for value, score in ((0, 0.5), (0, 0), (-1, 0), (900, 0), (7, -1), (np.nan, 0.5), (np.inf, 0), (5, np.nan)):
        chosen = random.uniform(size=scores.shape) < 0.03
        keypoints[chosen], scores[chosen] = value, score
    element = {"keypoints": keypoints, "scores": scores, "frame_size": np.int32([300, 300])}
    for target in (H36M, skeletons.JHMDB, skeletons.OPENPOSE):
        (found,) = clips.convert(tf.data.Dataset.from_tensors(element), COCO, target).as_numpy_iterator()
        wanted, wanted_scores = skeletons.convert(keypoints, scores, COCO, target)
        np.testing.assert_allclose(found["keypoints"], wanted, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(found["scores"], wanted_scores)
        lost = wanted_scores == 0
        assert 0.1 < lost.mean() < 0.9 and not wanted[lost].any() and np.isfinite(wanted).all()


def test_convert_names_what_cannot_be_derived():
    with pytest.raises(ValueError, match="mpii must follow from those of coco, head_top cannot; give another set"):
        clips.convert(clips.from_arrays([walk()], [0], COCO), COCO, MPII)


def test_the_usual_clip_is_that_in_the_middle_with_nearly_all_its_people():
    def clip(people, frames, seen):
        scores = np.zeros((people, frames, 17))
        scores[:seen, frames // 2] = 0.9
        return np.full((people, frames, 17, 2), 5.0), scores

    sizes = [(1, 10, 1)] * 8 + [(3, 40, 2)] * 11 + [(4, 90, 4)]
    keypoints, scores = zip(*(clip(*size) for size in sizes), strict=True)
    dataset = clips.from_arrays(keypoints, [0] * 20, COCO, scores)
    assert clips.usual(dataset) == {"frames": 40, "people": 2}  # one of twenty has more
    assert clips.check(dataset, COCO, 1) == 20 and clips.usual(clips.trainable(dataset)) == {"frames": 40, "people": 2}
    dataset = clips.from_arrays(keypoints[7:], [0] * 13, COCO, scores[7:])
    assert clips.usual(dataset) == {"frames": 40, "people": 4}  # one of thirteen is more than 5 %
    nobody = clips.from_arrays(keypoints[:2], [0] * 2, COCO, [np.zeros((1, 10, 17)), scores[1]])
    assert clips.usual(nobody) == {"frames": 10, "people": 1}
    assert clips.usual(clips.trainable(nobody)) == {"frames": 10, "people": 1}
