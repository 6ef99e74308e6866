"""`python -m train.poseconv3d`, from a small data set to a served model; killed and resumed; given wrong flags."""

import functools
import importlib.util
import json
import pathlib
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import skeletons
from kerapose.data import clips
from train import poseconv3d

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSTURES = ("stand", "crouch", "spread")
EPOCHS = 8
FLAGS = {
    "dataset": "pyskl_clips/custom",
    "validation_split": "val",
    "test_split": "val",
    "num_frames": 8,
    "size": 24,
    "base_filters": 4,
    "batch_size": 4,
    "epochs": EPOCHS,
    "learning_rate": 0.05,
    "dropout": 0.1,
    "num_clips": 2,
}


def motion(label, seed, frames=20):
    """A swaying person in one of three postures: [1, T, 17, 2] pixels of 240 x 320."""
    random = np.random.default_rng(seed)
    x = np.array([0, -0.1, 0.1, -0.2, 0.2, -0.4, 0.4, -0.5, 0.5, -0.5, 0.5, -0.3, 0.3, -0.3, 0.3, -0.3, 0.3])
    y = np.array([1.8, 1.9, 1.9, 1.85, 1.85, 1.5, 1.5, 1.1, 1.1, 0.7, 0.7, 0.8, 0.8, 0.4, 0.4, 0, 0])
    if POSTURES[label] == "crouch":
        y = 0.35 * y
    if POSTURES[label] == "spread":
        x[7:11], y[7:11] = [-1.0, 1.0, -1.6, 1.6], 1.5
    body = np.stack([x, -y], -1) * random.uniform(40, 60)
    sway = 6 * np.sin(np.linspace(0, 6, frames) + random.uniform(0, 6))[:, None, None]
    return (body + sway + (160, 140) + random.normal(0, 1.5, (frames, 17, 2)))[None].astype("float32")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A TFDS folder in which pyskl_clips/custom holds 36 training and 12 other clips of the three postures."""
    folder = tmp_path_factory.mktemp("data")
    annotations, split = [], {"train": [], "val": []}
    for i in range(48):
        keypoints = motion(i % 3, seed=i)
        annotations.append(
            {
                "frame_dir": f"clip{i}",
                "label": i % 3,
                "img_shape": (240, 320),
                "total_frames": keypoints.shape[1],
                "keypoint": keypoints,
                "keypoint_score": np.full(keypoints.shape[:3], 0.9, "float32"),
            }
        )
        split["train" if i < 36 else "val"].append(f"clip{i}")
    (folder / "own.pkl").write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    (folder / "names.txt").write_text("\n".join(POSTURES))
    spec = importlib.util.spec_from_file_location("datasets_build", ROOT / "datasets" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    own_file = {"file": str(folder / "own.pkl"), "class_names": str(folder / "names.txt"), "skeleton": "coco"}
    build.run("pyskl_clips/custom", str(folder / "tfds"), **own_file)
    return str(folder / "tfds")


@pytest.fixture(scope="module")
def start(run_script):
    return functools.partial(run_script, "poseconv3d", FLAGS)


def config_of(workdir, data_dir, **changes):
    """What the script would be run with, to run it here."""
    shared = {"workdir": str(workdir), "data_dir": data_dir, "export": False}
    return json.loads((workdir / "config.json").read_text()) | shared | changes


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, start):
    """The work folder of a whole run with joints and limbs."""
    workdir = tmp_path_factory.mktemp("runs") / "both"
    done = start(workdir, data_dir, modality="both", export=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return workdir


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, state, metrics_of):
    found = metrics_of(finished)
    for modality in ("joint", "limb", "fusion"):
        assert found[modality] == {"top1": 1.0, "top5": 1.0, "mean_class": 1.0}
    for modality in ("joint", "limb"):
        _, history = state(finished / modality)
        assert len(history) == EPOCHS
        assert history[-1]["loss"] < 0.5 * history[0]["loss"] and history[-1]["top1"] > 0.9
        assert max(epoch["val_top1"] for epoch in history) == 1.0


def test_leaves_weights_and_pictures(finished):
    for modality in ("joint", "limb"):
        network = keras.models.load_model(finished / modality / "best.keras")
        assert network.input_shape == (None, 8, 24, 24, 17) and network.output_shape == (None, 3)
    for picture in ("joint/curves.png", "limb/curves.png", "confusion_matrix.png"):
        image = tf.io.decode_png((finished / picture).read_bytes()).numpy()
        assert min(image.shape[:2]) > 100 and np.ptp(image) > 100


def test_leaves_curves_and_pictures_for_tensorboard(finished, events):
    steps, noted = events(finished / "joint" / "logs")
    epochs = list(range(EPOCHS))
    for tag in ("loss", "top1", "mean_class", "val_loss", "val_top1", "val_mean_class", "learning_rate"):
        assert steps[f"epoch/{tag}"] == epochs
    assert all(0 <= value <= 1 for value in noted["epoch/val_top1"])
    assert steps["confusion_matrix"] == epochs
    volumes = [tag for tag in noted if tag.startswith("volumes/")]
    assert len(volumes) == 4 and {tag.partition("_")[2] for tag in volumes} <= set(POSTURES)
    assert all(np.ptp(noted[tag][-1]) > 100 for tag in volumes)


def test_leaves_a_model_that_answers(finished):
    answer = tf.saved_model.load(str(finished / "saved_model" / "1")).signatures["serving_default"]
    for label, posture in enumerate(POSTURES):
        keypoints = motion(label, seed=100 + label, frames=31)[None]
        scores, frame_size = np.ones(keypoints.shape[:-1], "float32"), np.int32([[240, 320]])
        said = answer(keypoints=tf.constant(keypoints), scores=tf.constant(scores), frame_size=tf.constant(frame_size))
        assert said["top_class"].numpy().tolist() == [posture.encode()]


# ---------------------------------------------------------------------------------------------------- resuming
@pytest.mark.slow  # a minute; what it keeps is kept as in test_topdown.py and test_lifter.py
def test_a_killed_run_ends_as_the_whole_one(
    finished, data_dir, tmp_path, start, state, files, same_weights, metrics_of, killed_at
):
    """Twice: in the middle of an epoch, and between the two files that are kept of one."""
    for epoch, step in ((2, 4), (4, None)):
        killed = start(tmp_path, data_dir, prepare=killed_at(epoch, step))
        assert killed.returncode == -9, killed.stderr[-4000:]
        assert len(state(tmp_path / "joint")[1]) == epoch
        assert not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, data_dir)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 4" in done.stderr and f"Epoch 5/{EPOCHS}" in done.stdout
    assert "Epoch 4/" not in done.stdout
    expected, expected_history = state(finished / "joint")
    arrays, history = state(tmp_path / "joint")
    assert history == expected_history
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(tmp_path / "joint" / "best.keras", finished / "joint" / "best.keras")
    found = {name: value for name, value in metrics_of(finished).items() if name.startswith("joint")}
    assert metrics_of(tmp_path) == found

    # Started once more, it has nothing left to train.
    before = {name: files(tmp_path)[tmp_path / "joint" / name] for name in ("state.npz", "best.keras")}
    again = start(tmp_path, data_dir)
    assert again.returncode == 0, again.stderr[-4000:]
    assert "Epoch" not in again.stdout
    assert {name: files(tmp_path)[tmp_path / "joint" / name] for name in before} == before
    assert metrics_of(tmp_path) == found


# ---------------------------------------------------------------------------------------------------- wrong flags
def test_a_work_folder_of_another_configuration_is_left_alone(finished, data_dir, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        poseconv3d.run(config_of(finished, data_dir, learning_rate=0.1))
    assert "learning_rate 0.05 there and 0.1 here; give another --workdir" in str(error.value)
    with pytest.raises(ValueError, match="flip_probability 0.5 there and 0.0 here; give another --workdir"):
        poseconv3d.run(config_of(finished, data_dir, flip_probability=0.0))
    assert files(finished) == before


def test_flags_of_mirroring_reach_training_and_test(finished, data_dir, tmp_path, computing_as_tests_do, monkeypatch):
    given = []

    def spied(dataset, skeleton, **options):
        given.append(options)
        raise InterruptedError

    monkeypatch.setattr(clips, "training", spied)
    changes = {"flip_probability": 0.25, "flip_pairs": ["stand:crouch"], "workdir": str(tmp_path / "run")}
    with pytest.raises(InterruptedError):
        poseconv3d.run(config_of(finished, data_dir) | changes)
    assert given[0]["flip_probability"] == 0.25 and given[0]["flip_labels"] == [1, 0, 2]
    network = keras.models.load_model(finished / "joint" / "best.keras")
    config = config_of(finished, data_dir, flip_test=False, flip_labels=[1, 0, 2])
    for flip_test in (False, True):
        config["flip_test"] = flip_test
        once, full = poseconv3d.make_recognizers(network, "joint", skeletons.COCO, POSTURES, config)
        assert not once.flip_test and full.flip_test == flip_test and full.flip_labels == (1, 0, 2)


@pytest.mark.parametrize(
    "changes, match",
    [
        (
            {"dataset": "nobodys_clips"},
            "nobodys_clips is not prepared in .*; run: python datasets/build.py nobodys_clips",
        ),
        ({"test_split": "test"}, "has the splits train, val, got 'test'; use one of them"),
        ({"flip_pairs": ["stand:sit"]}, "there is no class 'sit'; choose from stand, crouch, spread"),
        ({"skeleton": "ntu"}, "those of the skeleton, got .*: 17 and 25 of ntu.; give the skeleton"),
        (
            {"skip": ["clip0", "nobody"]},
            "--skip names samples of pyskl_clips/custom, 'nobody' is in none of its splits",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_flag_takes_no_work_folder(finished, data_dir, tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        poseconv3d.run(config_of(finished, data_dir, **changes) | {"workdir": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


def test_clips_are_skipped_in_the_split_that_has_them(finished, data_dir):
    config = config_of(finished, data_dir, skip=["clip0", "clip40"])
    splits, _ = poseconv3d.load(config, skeletons.get(config["skeleton"]))
    names = {role: {element["name"].decode() for element in splits[role].as_numpy_iterator()} for role in splits}
    assert names["train"] == {f"clip{i}" for i in range(1, 36)} and "clip40" not in names["validation"]
    assert int(splits["train"].cardinality()) == 35


# ---------------------------------------------------------------------------------------------------- distribution
@pytest.mark.slow  # a minute: every pass of two devices over so few clips mostly waits
def test_mirrored_over_two_devices(data_dir, tmp_path, start, state, metrics_of, two_devices):
    done = start(tmp_path, data_dir, prepare=two_devices, strategy="mirrored")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path / "joint")
    assert len(history) == EPOCHS and history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert metrics_of(tmp_path)["joint"]["top1"] > 0.9
    assert keras.models.load_model(tmp_path / "joint" / "best.keras").output_shape == (None, 3)
