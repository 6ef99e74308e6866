"""`python -m train.lifter`, from small data to a served model; killed and resumed; given few labels or wrong flags."""

import dataclasses
import functools
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose import skeletons
from kerapose.data import tracks
from train import common, lifter

ROOT = pathlib.Path(__file__).resolve().parents[2]
WALKER = skeletons.Skeleton(
    "walker",
    ("hip", "neck", "left_hand", "right_hand", "left_foot", "right_foot"),
    edges=((0, 1), (1, 2), (1, 3), (0, 4), (0, 5)),
)
LIMBS_M = {"neck": 0.5, "hand": 0.6, "foot": 0.9}
CAMERAS = {
    "front": {"place": (0.0, -5.0, 1.5), "azimuth": 0.0},
    "side": {"place": (5.0, 0.0, 1.2), "azimuth": np.pi / 2},
}
FRAME_SIZE = (500, 600)
FRAMES = 80
SUBJECTS = {"train": tuple("ABCDEF"), "validation": ("V",), "test": ("X", "Y")}
EPOCHS = 5
FLAGS = {
    "dataset": "walkers",
    "recipe": "small",
    "precision": "float32",
    "filter_widths": "3,3",
    "channels": 32,
    "batch_size": 32,
    "epochs": EPOCHS,
    "learning_rate": 0.01,
    "dropout": 0.05,
    "norm_momentum_end": 0.02,  # of so few steps
}


# ---------------------------------------------------------------------------------------------------- data
def walk(random, swing):
    """Somebody who walks round a circle and swings the limbs: [T, 6, 3], metres, z up."""
    time = np.arange(FRAMES) / 8 + random.uniform(0, 9)
    heading = time / 2 + random.uniform(0, 6)
    forward = np.stack([-np.sin(heading), np.cos(heading), 0 * heading], axis=-1)
    left = np.stack([-np.cos(heading), -np.sin(heading), 0 * heading], axis=-1)
    up = np.array([0.0, 0.0, 1.0])
    hip = 0.5 * left + 0.95 * up

    def limb(length, phase, spread):
        angle = swing * np.sin(2 * time + phase)[:, None]
        return length * (np.cos(angle) * (-up * np.cos(spread) + left * np.sin(spread)) + np.sin(angle) * forward)

    neck = hip + LIMBS_M["neck"] * up
    hands = [neck + limb(LIMBS_M["hand"], phase, spread) for phase, spread in ((0, 0.4), (np.pi, -0.4))]
    feet = [hip + limb(LIMBS_M["foot"], phase, spread) for phase, spread in ((np.pi, 0.2), (0, -0.2))]
    return np.stack([hip, neck, *hands, *feet], axis=1).astype("float32")  # [T, J, 3]


def camera_of(name):
    """A level camera that looks at the middle, without distortion: as a record has it."""
    half = CAMERAS[name]["azimuth"] / 2
    turn = np.array([np.cos(half), 0, 0, np.sin(half)])  # about the vertical
    tilt = np.array([np.sqrt(0.5), -np.sqrt(0.5), 0, 0])  # the camera's z axis into the floor's y
    orientation = np.array([turn[0] * tilt[0], turn[0] * tilt[1], turn[3] * tilt[1], turn[3] * tilt[0]])
    numbers = {"focal_px": (650, 650), "center_px": (300, 250), "radial": np.zeros(3), "tangential": np.zeros(2)}
    numbers |= {"orientation": orientation, "translation_m": CAMERAS[name]["place"]}
    return {key: np.asarray(value, "float32") for key, value in numbers.items()}


def see(poses_m, name):
    """The keypoints [T, 6, 2], pixels, of poses of the world."""
    x, y, z = np.moveaxis(poses_m - CAMERAS[name]["place"], -1, 0)
    cos, sin = np.cos(CAMERAS[name]["azimuth"]), np.sin(CAMERAS[name]["azimuth"])
    right, forward = cos * x + sin * y, -sin * x + cos * y
    return np.stack([300 + 650 * right / forward, 250 - 650 * z / forward], axis=-1).astype("float32")


def make_records(subject):
    for number, (action, swing) in enumerate({"walk": 0.5, "run": 0.9}.items()):
        poses = walk(np.random.default_rng([ord(subject), number]), swing)
        for name in CAMERAS:
            yield {
                "keypoints": see(poses, name),
                "scores": np.ones(poses.shape[:2], "float32"),
                "poses_world_m": poses,
                "camera": camera_of(name),
                "frame_size": np.array(FRAME_SIZE, "int32"),
                "subject": subject,
                "action": action,
                "camera_name": name,
                "name": f"{subject}/{action}/{name}",
                "fps": 25.0,
            }


class Walkers(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = ROOT  # that of a builder in a package of its own

    def _info(self):
        def tensor(*shape, dtype=np.float32):
            return tfds.features.Tensor(shape=shape, dtype=dtype)

        camera = {"orientation": 4, "translation_m": 3, "focal_px": 2, "center_px": 2, "radial": 3, "tangential": 2}
        features = {
            "keypoints": tensor(None, 6, 2),
            "scores": tensor(None, 6),
            "poses_world_m": tensor(None, 6, 3),
            "camera": {name: tensor(count) for name, count in camera.items()},
            "frame_size": tensor(2, dtype=np.int32),
            **{name: tfds.features.Text() for name in ("subject", "action", "camera_name", "name")},
            "fps": np.float32,
        }
        metadata = tfds.core.MetadataDict({"skeleton": WALKER.to_dict(), "pose_skeleton": WALKER.to_dict()})
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), metadata=metadata)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(subjects) for split, subjects in SUBJECTS.items()}

    def _generate_examples(self, subjects):
        for subject in subjects:
            yield from ((record["name"], record) for record in make_records(subject))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    Walkers(data_dir=str(folder)).download_and_prepare()
    return str(folder)


def mean_pose_error(data_dir):
    """What the mean pose of the training split, and nothing else, is off on the test split: millimetres."""
    known, asked = (tracks.from_tfds("walkers", split, data_dir) for split in ("train", "test"))
    mean = np.concatenate([track["poses_m"] for track in tracks.sequences(known)]).mean(axis=0)
    truth = np.concatenate([track["poses_m"] for track in tracks.sequences(asked)])
    return 1000 * np.linalg.norm(truth - mean, axis=-1).mean()


# ---------------------------------------------------------------------------------------------------- running
@pytest.fixture(scope="module")
def start(run_script):
    return functools.partial(run_script, "lifter", FLAGS)


def config_of(finished, data_dir, workdir, **changes):
    """What the script would be run with, to run it here."""
    shared = {"workdir": str(workdir), "data_dir": data_dir, "export": False}
    return json.loads((finished / "config.json").read_text()) | shared | changes


@pytest.fixture
def run_here(computing_as_tests_do):
    """`lifter.run` in this process."""
    return lifter.run


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, start):
    """The work folder of a whole run."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    done = start(workdir, data_dir, export=True)
    assert done.returncode == 0, done.stderr[-4000:]
    (workdir / "said.txt").write_text(done.stdout)
    return workdir


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, data_dir, state, metrics_of):
    found = metrics_of(finished)
    _, history = state(finished)
    assert len(history) == EPOCHS
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert found["tracks"] == 8 and found["frames"] == 8 * FRAMES
    assert found["mpjpe_mm"] < 0.3 * mean_pose_error(data_dir)
    assert found["p_mpjpe_mm"] < found["n_mpjpe_mm"] < found["mpjpe_mm"]


def test_gives_the_figures_of_every_action_and_subject(finished, metrics_of):
    found = metrics_of(finished)
    assert sorted(found["actions"]) == ["run", "walk"] and sorted(found["subjects"]) == ["X", "Y"]
    figures = found["actions"].values()
    assert found["mpjpe_mm"] == pytest.approx(np.mean([figure["mpjpe_mm"] for figure in figures]))
    of_subjects = [figure["mpjpe_mm"] for figure in found["subjects"].values()]
    assert found["mpjpe_mm"] == pytest.approx(np.mean(of_subjects))  # as many frames of each
    table = (finished / "said.txt").read_text()
    for name, row in (*found["actions"].items(), ("mean of actions", found)):
        (line,) = [line for line in table.splitlines() if line.startswith(f"{name} ")]
        assert f"{row['mpjpe_mm']:.2f}" in line and f"{row['mpjve_mm']:.2f}" in line


def test_leaves_the_best_weights_of_the_dilated_form(finished, state):
    network = keras.models.load_model(finished / "best.keras")
    assert network.receptive_field == 9 and not network.strided and not network.compiled
    assert network.output_shape[2:] == (6, 3)
    _, history = state(finished)
    assert all("val_mpjpe_mm" in epoch for epoch in history)


def test_the_share_of_a_batch_in_running_statistics_falls(finished, state):
    arrays, _ = state(finished)
    last = lifter.norm_momentum(json.loads((finished / "config.json").read_text()), EPOCHS - 1)
    assert last == pytest.approx(0.1 * 0.2 ** ((EPOCHS - 1) / EPOCHS))
    kept = [float(array) for name, array in arrays.items() if name.startswith("variable") and array.shape == ()]
    assert sum(value == pytest.approx(1 - last) for value in kept) == 3  # of the three batch norms


def test_leaves_curves_and_pictures_for_tensorboard(finished, events):
    steps, noted = events(finished / "logs")
    for tag in ("loss", "mpjpe_mm", "val_mpjpe_mm", "learning_rate"):
        assert steps[f"epoch/{tag}"] == list(range(EPOCHS))
    pictures = noted["found_over_truth"]
    assert min(np.ptp(picture) for picture in pictures) > 100
    assert (pictures[0] != pictures[-1]).any()  # what was found changed
    for name in ("curves.png", "predictions.png", "predictions.gif"):
        image = tf.io.decode_image((finished / name).read_bytes()).numpy()
        assert min(image.shape[-3:-1]) > 100 and np.ptp(image) > 100


def test_leaves_a_model_that_answers_as_it_was_tested(finished, data_dir, metrics_of):
    """The served model, on the test tracks: its error is the one in the figures."""
    answer = tf.saved_model.load(str(finished / "saved_model" / "1")).signatures["serving_default"]
    errors = []
    for subject in SUBJECTS["test"]:
        for record, track in zip(make_records(subject), truth_of(data_dir, subject), strict=True):
            said = answer(
                keypoints=tf.constant(record["keypoints"][None]),
                scores=tf.constant(record["scores"][None]),
                frame_size=tf.constant(record["frame_size"][None]),
            )
            truth = track["poses_m"]
            errors.append(np.linalg.norm(said["poses_m"].numpy()[0] - truth, axis=-1)[:, 1:].sum() / truth[..., 0].size)
    # The figures count the root, where the network is a little off and a served pose is exactly 0.
    assert 1000 * np.mean(errors) == pytest.approx(metrics_of(finished)["mpjpe_mm"], rel=0.2)


def truth_of(data_dir, subject):
    known = tracks.from_tfds("walkers", "test", data_dir)
    by_name = {track["name"]: track for track in tracks.sequences(known)}
    return [by_name[record["name"]] for record in make_records(subject)]


# ---------------------------------------------------------------------------------------------------- resuming
def test_a_killed_run_ends_as_the_whole_one(
    finished, data_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    """Killed in the middle of an epoch; started anew, it goes on after the one before."""
    killed = start(tmp_path, data_dir, prepare=killed_at(epoch=2, step=3))
    assert killed.returncode == -9, killed.stderr[-4000:]
    assert len(state(tmp_path)[1]) == 2
    assert not (tmp_path / "metrics.json").exists()
    done = start(tmp_path, data_dir)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 2" in done.stderr and f"Epoch 3/{EPOCHS}" in done.stdout
    assert "Epoch 2/" not in done.stdout
    (expected, expected_history), (arrays, history) = state(finished), state(tmp_path)
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(tmp_path / "best.keras", finished / "best.keras")
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_finished_run_is_only_tested_again(finished, data_dir, run_here, monkeypatch, files, metrics_of):
    before = files(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    expected = metrics_of(finished)
    found = run_here(config_of(finished, data_dir, finished))
    assert found["mpjpe_mm"] == pytest.approx(expected["mpjpe_mm"], rel=1e-3)
    for name in ("state.npz", "best.keras", "config.json"):
        assert files(finished)[finished / name] == before[finished / name]


# ---------------------------------------------------------------------------------------------------- other flags
def test_few_labels_and_the_2d_of_the_others(finished, data_dir, tmp_path, run_here, state):
    """The terms that need no labels do not count at first, and fall when they do."""
    flags = {"semi_supervised": True, "labelled_subjects": ["A", "B"], "labelled_share": 0.5, "warmup_epochs": 2}
    found = run_here(config_of(finished, data_dir, tmp_path, epochs=6, **flags))
    assert found["mpjpe_mm"] < 0.7 * mean_pose_error(data_dir) and found["trajectory_mm"] < 1500
    arrays, history = state(tmp_path)
    assert sum(array.shape == () and array == 1 for array in arrays.values()) >= 1  # the weight of these terms
    for epoch in history[:2]:  # labelled samples alone
        assert epoch["reprojection"] == epoch["bone_length"] == 0
        assert epoch["loss"] == pytest.approx(epoch["pose"] + epoch["trajectory"], rel=0.02)
    for epoch in history[2:]:
        terms = sum(epoch[term] for term in ("pose", "trajectory", "reprojection", "bone_length"))
        assert epoch["loss"] == pytest.approx(terms, rel=0.02)  # one is a mean of samples, the others of batches
    for term in ("pose", "trajectory", "reprojection", "bone_length"):
        assert history[-1][term] < history[2][term]
    trajectory = keras.models.load_model(tmp_path / "trajectory.keras")
    assert trajectory.output_shape[2:] == (1, 3) and not trajectory.strided


def test_a_run_of_few_labels_is_resumed_where_it_was(finished, data_dir, tmp_path):
    """In the warm-up and after it, the batches are those of a run that was not cut short."""
    flags = {"semi_supervised": True, "labelled_share": 0.3, "warmup_epochs": 2, "filter_widths": ["3", "3"]}
    config = lifter.resolve(config_of(finished, data_dir, tmp_path, **flags))
    splits, steps = lifter.load(config), 4  # a short epoch
    whole = list(lifter.make_batches(splits, config, 0, steps).take(3 * steps))
    assert [float(tf.reduce_min(inputs["labelled"])) for inputs, _ in whole] == [1.0] * 2 * steps + [0.0] * steps
    for done in (1, 2):
        rest = lifter.make_batches(splits, config, done, steps).take((3 - done) * steps)
        for batch, expected in zip(rest, whole[done * steps :], strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)


@pytest.mark.slow  # a quarter of a minute
def test_a_causal_lifter_of_chunks_is_trained_in_its_dilated_form(finished, data_dir, tmp_path, run_here, state):
    flags = {"causal": True, "chunk_length": 4, "validation_split": "", "trajectory": True, "flip": False}
    found = run_here(config_of(finished, data_dir, tmp_path, flip_test=False, **flags))
    assert found["mpjpe_mm"] < 0.6 * mean_pose_error(data_dir)
    network = keras.models.load_model(tmp_path / "best.keras")
    assert network.causal and network.causal_shift == 4
    _, history = state(tmp_path)
    assert "val_mpjpe_mm" not in history[0] and history[-1]["trajectory"] < history[0]["trajectory"]
    known = tracks.from_tfds("walkers", "train", data_dir)
    batching = lifter.batching({"batch_size": 32, "chunk_length": 4, "flip": False})
    assert tracks.steps_per_epoch(known, **batching) == known.num_frames // 32  # of 8 chunks each


def test_starts_from_a_trained_lifter(finished, data_dir):
    known = tracks.from_tfds("walkers", "test", data_dir)
    config = lifter.resolve(config_of(finished, data_dir, "", pretrained=str(finished / "best.keras")))
    _, forms = lifter.make_model(config, known, steps=10)
    expected = keras.models.load_model(finished / "best.keras").get_weights()
    for network in forms["best.keras"]:
        for weight, trained in zip(network.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(weight, trained)


@pytest.mark.slow  # a quarter of a minute
def test_cameras_drawn_at_random_and_bodies_of_other_sizes(finished, data_dir, tmp_path, run_here):
    flags = {"view_share": 0.5, "body_spread": 0.05, "limb_degrees": 5.0, "epochs": 3}
    found = run_here(config_of(finished, data_dir, tmp_path, **flags))
    assert found["mpjpe_mm"] < 0.7 * mean_pose_error(data_dir)


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="h36m/gt", **flags):
    defaults = {"semi_supervised": False, "labelled_subjects": [], "labelled_share": 1.0, "chunk_length": 1}
    none = {"recipe": None, "trajectory": False, "pretrained_trajectory": None}
    return lifter.resolve({"dataset": dataset} | defaults | none | flags)


def test_no_flag_means_the_small_recipe_and_another_data_set_the_published_one():
    assert resolved("puppets/tracks")["recipe"] == "small"
    assert resolved("puppets/tracks")["validation_split"] == "validation"
    config = resolved()
    assert config["recipe"] == "published" and config["filter_widths"] == [3, 3, 3, 3, 3]
    assert (config["epochs"], config["batch_size"], config["validation_split"]) == (80, 1024, "")
    semi = resolved(semi_supervised=True, labelled_subjects=["S1"], labelled_share=0.1)
    assert (semi["epochs"], semi["batch_size"], semi["warmup_epochs"], semi["lr_decay"]) == (200, 64, 5, 0.98)
    assert resolved(filter_widths=["3", "5"])["filter_widths"] == [3, 5]


def test_every_recipe_says_all_there_is_to_say():
    for recipe in lifter.RECIPES.values():
        for values in recipe.values():
            assert set(values) == set(lifter.PUBLISHED)


def test_batch_norm_counts_less_and_less_of_a_batch():
    config = resolved(epochs=80)
    shares = [lifter.norm_momentum(config, epoch) for epoch in (0, 40, 80)]
    assert shares == pytest.approx([0.1, 0.01, 0.001])


def test_the_optimizer_is_the_published_one():
    optimizer = lifter.make_optimizer(resolved(), steps=10)
    assert optimizer.amsgrad and optimizer.epsilon == 1e-8
    rates = [float(optimizer._learning_rate(step)) for step in (0, 9, 10, 25)]
    assert rates == pytest.approx([1e-3, 1e-3, 0.95e-3, 0.9025e-3])


# ---------------------------------------------------------------------------------------------------- wrong flags
def test_a_work_folder_of_another_configuration_is_left_alone(finished, data_dir, run_here, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        run_here(config_of(finished, data_dir, finished, learning_rate=0.1))
    assert "learning_rate 0.01 there and 0.1 here; give another --workdir" in str(error.value)
    with pytest.raises(ValueError, match="flip True there and False here; give another --workdir"):
        run_here(config_of(finished, data_dir, finished, flip=False))
    assert files(finished) == before


SEMI = {"semi_supervised": True, "labelled_share": 0.5, "epochs": 5}


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "walkers has the splits train, validation, test, got 'val'; use one of them"),
        ({"skip": ["nobody"]}, "--skip names samples of walkers, 'nobody' is in none of its splits; correct the name"),
        ({"filter_widths": ["3", "4"]}, "must be odd, got 4; use 3 or 5"),
        ({"filter_widths": ["3", "wide"]}, "--filter_widths is a list of odd numbers, got 3,wide; give for example"),
        ({"chunk_length": 64}, "--batch_size counts predicted frames .*, got 32 and 64; give a larger --batch_size"),
        ({"labelled_subjects": ["A", "Z"]}, "--labelled_subjects are of the A, B, .* of walkers, got 'Z'; correct"),
        ({"semi_supervised": True}, "--semi_supervised learns from tracks whose poses are not known, got none; give"),
        (SEMI | {"labelled_subjects": list("ABCDEF")}, "but --labelled_subjects names all; leave some out"),
        (SEMI | {"warmup_epochs": 5}, "--warmup_epochs is less than the 5 of --epochs, got 5; give fewer"),
        ({"pretrained": "none.keras"}, "A pretrained network is a .keras file, got none.keras, which does not exist"),
        ({"pretrained_trajectory": "none.keras"}, "starts a trajectory network, got none; give --trajectory, too"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_a_mistaken_flag_takes_no_work_folder(finished, data_dir, tmp_path, run_here, changes, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        run_here(config_of(finished, data_dir, tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", [{"view_share": 0.5}, SEMI], ids=["view_share", "semi_supervised"])
def test_poses_are_not_projected_onto_other_keypoints(finished, data_dir, tmp_path, run_here, monkeypatch, flag):
    names = tuple(name.replace("hand", "glove") for name in WALKER.keypoints)
    gloved = skeletons.Skeleton("gloved", names, WALKER.edges)

    def read(*arguments):
        return dataclasses.replace(tracks.from_tfds(*arguments[:3]), skeleton=gloved)

    monkeypatch.setattr(common, "load_split", read)
    with pytest.raises(ValueError, match=f"--{next(iter(flag))} projects .*, got gloved for poses of walker; leave it"):
        run_here(config_of(finished, data_dir, tmp_path / "run", **flag))
    assert not (tmp_path / "run").exists()


def test_a_lifter_of_other_filters_is_no_start(finished, data_dir, tmp_path, run_here):
    flags = {"pretrained": str(finished / "best.keras"), "channels": 16}
    with pytest.raises(ValueError, match="give the same --filter_widths, --channels and --dataset"):
        run_here(config_of(finished, data_dir, tmp_path / "run", **flags))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- distribution
@pytest.mark.slow  # half a minute, most of which is building two copies of each graph
@pytest.mark.parametrize("flags", [{}, SEMI], ids=["supervised", "semi_supervised"])
def test_mirrored_over_two_devices(data_dir, tmp_path, flags, start, state, two_devices):
    done = start(tmp_path, data_dir, prepare=two_devices, strategy="mirrored", **flags)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path)
    assert len(history) == EPOCHS and history[-1]["val_mpjpe_mm"] < 0.7 * history[0]["val_mpjpe_mm"]
