"""`training.Lifter`, as a script and in this process: from small data to a file that knows itself; killed and resumed;
given few labels; what every option reaches; wrong options."""

import contextlib
import dataclasses
import functools
import io
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose import estimators, evaluation, predictors, skeletons
from kerapose.data import order, tracks, views
from kerapose.training import Lifter, LiftTrainer, boards, lifter, pictures, runs
from train import lifter as script

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
FRAMES = 40
SUBJECTS = {"train": tuple("ABCDEF"), "validation": ("V",), "test": ("X", "Y")}
EPOCHS = 4
OPTIONS = {
    "dataset": "walkers",
    "recipe": "small",
    "precision": "float32",
    "filter_widths": [3, 3],
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
    return functools.partial(run_script, "lifter", OPTIONS | {"filter_widths": "3,3"})


@pytest.fixture(scope="module")
def read_once(computing_repeatably):
    """Lets trainings of this process share the tracks that they read, which nothing changes."""
    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(tracks.from_tfds)
        patch.setattr(tracks, "from_tfds", lambda *place, skip=(): read(*place, skip=tuple(skip)))
        yield


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, read_once, cut_after):
    """The work folder of a whole run, what it said in `said.txt`, and what a kill would have left."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    with contextlib.redirect_stdout(io.StringIO()) as said, cut_after({"whole": 2}):
        Lifter(workdir, data_dir=data_dir, export=True, **OPTIONS).run()
    (workdir / "said.txt").write_text(said.getvalue())
    return workdir


@pytest.fixture(scope="module")
def options(finished, data_dir, options_of):
    """The options of the whole run, to make its training anew: a function of changes."""
    return functools.partial(options_of, Lifter, finished, data_dir)


@pytest.fixture
def undrawn(monkeypatch):
    """Lets trainings draw nothing: `finished` has pictures."""
    monkeypatch.setattr(Lifter, "draw", lambda self, estimator: None)
    monkeypatch.setattr(boards, "LiftBoard", lambda *_: keras.callbacks.Callback())
    monkeypatch.setattr(pictures, "save_curves", lambda *_: None)


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, data_dir, state, metrics_of):
    found = metrics_of(finished)
    _, history = state(finished)
    assert len(history) == EPOCHS
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert found["tracks"] == 8 and found["frames"] == 8 * FRAMES
    assert found["mpjpe_mm"] < 0.35 * mean_pose_error(data_dir)
    assert found["p_mpjpe_mm"] < found["n_mpjpe_mm"] < found["mpjpe_mm"]


def test_gives_the_figures_of_every_action_and_subject(finished, metrics_of):
    found = metrics_of(finished)
    assert sorted(found["actions"]) == ["run", "walk"] and sorted(found["subjects"]) == ["X", "Y"]
    figures = found["actions"].values()
    assert found["mpjpe_mm"] == pytest.approx(np.mean([figure["mpjpe_mm"] for figure in figures]))
    of_subjects = [figure["mpjpe_mm"] for figure in found["subjects"].values()]
    assert found["mpjpe_mm"] == pytest.approx(np.mean(of_subjects))  # as many frames of each
    table = (finished / "said.txt").read_text()
    assert [line for line in table.splitlines() if line.startswith(f"Epoch {EPOCHS}/{EPOCHS}: loss ")]
    for name, row in (*found["actions"].items(), ("mean of actions", found)):
        (line,) = [line for line in table.splitlines() if line.startswith(f"{name} ")]
        assert f"{row['mpjpe_mm']:.2f}" in line and f"{row['mpjve_mm']:.2f}" in line


def test_leaves_the_best_weights_of_the_dilated_form(finished, data_dir, state):
    network = keras.models.load_model(finished / "best.keras")
    assert network.receptive_field == 9 and not network.strided and not network.compiled
    assert network.output_shape[2:] == (6, 3)
    found = evaluation.lifting_figures(
        estimators.TrackLifter(network, WALKER, WALKER), tracks.from_tfds("walkers", "validation", data_dir)
    )
    _, history = state(finished)
    of_epochs = [epoch["val_mpjpe_mm"] for epoch in history]
    assert found["mpjpe_mm"] == pytest.approx(min(of_epochs), rel=1e-5) and found["frames"] == 4 * FRAMES


def test_leaves_a_file_that_knows_itself(finished, metrics_of):
    lift, record = predictors.load(finished / "model.keras"), next(make_records("X"))
    found = lift(record["keypoints"], frame_size=FRAME_SIZE)
    assert found.skeleton == WALKER and found.poses_m.shape == (FRAMES, 6, 3)
    saved = keras.models.load_model(finished / "model.keras")
    assert saved.skeleton == saved.pose_skeleton == WALKER and saved.flip_test and saved.trajectory is None
    assert saved.training["kind"] == "Lifter" and saved.training["figures"] == metrics_of(finished)
    assert saved.training["options"] == json.loads((finished / "config.json").read_text())
    best = keras.models.load_model(finished / "best.keras")
    for weight, expected in zip(saved.network.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_is_tested_in_two_lines_of_a_notebook(finished, data_dir, metrics_of):
    known = tracks.from_tfds("walkers", "test", data_dir)
    assert evaluation.lifting_figures(keras.models.load_model(finished / "model.keras"), known) == metrics_of(finished)


def test_is_tested_in_float32_whatever_it_was_trained_in(finished, options):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        training = Lifter(finished, **options())
        assert training.model.layers[-1].convolutions()[0].compute_dtype == "bfloat16"
        assert training.estimator().network.convolutions()[0].compute_dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


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
def check_same(workdir, finished, state, same_weights):
    (expected, expected_history), (arrays, history) = state(finished), state(workdir)
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(workdir / "best.keras", finished / "best.keras")


def test_a_run_that_was_cut_short_ends_as_the_whole_one(
    finished, options, tmp_path, state, same_weights, capfd, undrawn
):
    """By the loop of a notebook, from what it had left after the second epoch."""
    for file in (finished / "cut").iterdir():
        shutil.copy(file, tmp_path / file.name)
    for stage in Lifter(tmp_path, **options()).stages():
        assert not stage.is_done and stage.done == 2
        stage.model.fit(**stage.arguments())
    said = capfd.readouterr().out
    assert f"Epoch 3/{EPOCHS}" in said and "Epoch 2/" not in said
    check_same(tmp_path, finished, state, same_weights)


# Pictures change nothing, and take long.
DRAWING_NOTHING = """
import keras
from kerapose.training import boards
boards.LiftBoard = lambda *_: keras.callbacks.Callback()
"""


def test_a_killed_script_ends_as_the_whole_run(
    finished, options, data_dir, tmp_path, start, state, same_weights, killed_at, undrawn
):
    """Killed when the best weights of the third epoch are in place and its state is not; gone on with in a notebook."""
    killed = start(tmp_path, data_dir, prepare=DRAWING_NOTHING + killed_at(epoch=2))
    assert killed.returncode == -9, killed.stderr[-4000:]
    assert len(state(tmp_path)[1]) == 2
    assert not (tmp_path / "metrics.json").exists()
    training = Lifter(tmp_path, **options())
    for stage in training.stages():
        assert not stage.is_done and stage.done == 2
        stage.model.fit(**stage.arguments())
    check_same(tmp_path, finished, state, same_weights)


@pytest.mark.slow  # two more processes
def test_a_script_killed_within_an_epoch_ends_as_the_whole_run(
    finished, data_dir, tmp_path, start, state, same_weights, metrics_of, killed_at
):
    killed = start(tmp_path, data_dir, prepare=killed_at(epoch=2, step=3))
    assert killed.returncode == -9, killed.stderr[-4000:]
    done = start(tmp_path, data_dir)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 2" in done.stderr and f"Epoch 3/{EPOCHS}" in done.stdout
    assert "Epoch 2/" not in done.stdout
    check_same(tmp_path, finished, state, same_weights)
    assert metrics_of(tmp_path) == metrics_of(finished)


def test_a_finished_run_is_only_tested_again(finished, options, monkeypatch, files, metrics_of, undrawn):
    before = files(finished)
    monkeypatch.setattr(keras.Model, "fit", None)
    expected = metrics_of(finished)
    assert Lifter(finished, **options()).run() == expected
    for name in ("state.npz", "best.keras", "config.json"):
        assert files(finished)[finished / name] == before[finished / name]


# ---------------------------------------------------------------------------------------------------- other options
def test_few_labels_and_the_2d_of_the_others(options, data_dir, tmp_path, state, undrawn):
    """The terms that need no labels do not count at first, and fall when they do."""
    few = {"semi_supervised": True, "labelled_subjects": ["A", "B"], "labelled_share": 0.5, "warmup_epochs": 1}
    found = Lifter(tmp_path, **options(epochs=3, validation_split="", **few)).run()
    assert found["mpjpe_mm"] < 0.7 * mean_pose_error(data_dir) and found["trajectory_mm"] < 1500
    arrays, history = state(tmp_path)
    assert sum(array.shape == () and array == 1 for array in arrays.values()) >= 1  # the weight of these terms
    assert history[0]["reprojection"] == history[0]["bone_length"] == 0  # labelled samples alone
    assert history[0]["loss"] == pytest.approx(history[0]["pose"] + history[0]["trajectory"], rel=0.02)
    for epoch in history[1:]:
        terms = sum(epoch[term] for term in ("pose", "trajectory", "reprojection", "bone_length"))
        assert epoch["loss"] == pytest.approx(terms, rel=0.02)  # one is a mean of samples, the others of batches
    for term in ("pose", "trajectory", "reprojection", "bone_length"):
        assert history[-1][term] < history[1][term]
    trajectory = keras.models.load_model(tmp_path / "trajectory.keras")
    assert trajectory.output_shape[2:] == (1, 3) and not trajectory.strided
    saved = keras.models.load_model(tmp_path / "model.keras")
    for weight, expected in zip(saved.trajectory.get_weights(), trajectory.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def config_of(options, workdir, **changes):
    """The options as a training has them."""
    training = object.__new__(Lifter)
    training.given = options(**changes) | {"workdir": workdir}
    return training.resolve(runs.choose(Lifter.OPTIONS, training.given))


def test_a_run_of_few_labels_is_resumed_where_it_was(options, tmp_path):
    """In the warm-up and after it, the batches are those of a run that was not cut short."""
    config = config_of(options, tmp_path, semi_supervised=True, labelled_share=0.3, warmup_epochs=2)
    splits, steps = lifter.load_splits(config), 3  # a short epoch
    whole = list(lifter.make_batches(splits, config, 0, steps).take(3 * steps))
    assert [float(tf.reduce_min(inputs["labelled"])) for inputs, _ in whole] == [1.0] * 2 * steps + [0.0] * steps
    for done in (1, 2):
        rest = lifter.make_batches(splits, config, done * steps, steps).take((3 - done) * steps)
        for batch, expected in zip(rest, whole[done * steps :], strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)


@pytest.mark.slow  # a quarter of a minute
def test_a_causal_lifter_of_chunks_is_trained_in_its_dilated_form(options, data_dir, tmp_path, state):
    other = {"causal": True, "chunk_length": 4, "validation_split": "", "trajectory": True, "flip": False}
    found = Lifter(tmp_path, **options(flip_test=False, epochs=8, **other)).run()
    assert found["mpjpe_mm"] < 0.6 * mean_pose_error(data_dir)
    network = keras.models.load_model(tmp_path / "best.keras")
    assert network.causal and network.causal_shift == 4
    _, history = state(tmp_path)
    assert "val_mpjpe_mm" not in history[0] and history[-1]["trajectory"] < history[0]["trajectory"]


@pytest.mark.slow  # a quarter of a minute
def test_cameras_drawn_at_random_and_bodies_of_other_sizes(options, data_dir, tmp_path):
    other = {"view_share": 0.5, "body_spread": 0.05, "limb_degrees": 5.0, "epochs": 3}
    found = Lifter(tmp_path, **options(**other)).run()
    assert found["mpjpe_mm"] < 0.7 * mean_pose_error(data_dir)


# ---------------------------------------------------------------------------------------------------- every option
OTHER = {
    "workdir": None,  # in the test
    "dataset": "walkers",
    "data_dir": None,
    "train_split": "validation",
    "validation_split": "train",
    "test_split": "validation",
    "skip": ["V/run/front", "A/run/front"],
    "batch_size": 21,
    "epochs": 7,
    "seed": 5,
    "precision": "float32",
    "deterministic": False,
    "strategy": "multi_worker",
    "worker_hosts": ["first:1", "second:2"],
    "worker_index": 1,
    "data_service": "grpc://there:5",
    "sync_batch_norm": True,
    "export": True,
    "recipe": "small",
    "frame_step": 2,
    "causal": True,
    "chunk_length": 4,
    "flip": False,
    "flip_test": False,
    "trajectory": True,
    "pretrained": "pose.keras",
    "pretrained_trajectory": "trajectory.keras",
    "labelled_subjects": ["V"],
    "labelled_share": 0.75,
    "semi_supervised": False,  # in a test of its own
    "bone_length_term": False,
    "distortion": False,
    "filter_widths": [5, 1],
    "channels": 8,
    "dropout": 0.35,
    "learning_rate": 0.02,
    "lr_decay": 0.5,
    "norm_momentum_start": 0.2,
    "norm_momentum_end": 0.05,
    "warmup_epochs": 3,
    "view_share": 0.6,
    "turn_degrees": 11.0,
    "shift_m": 0.12,
    "body_spread": 0.13,
    "bone_spread": 0.14,
    "limb_degrees": 15.0,
}


@pytest.fixture
def told(monkeypatch):
    """What reaches other rooms: the arguments of functions, by name; some are not done."""
    told = {}

    def watch(owner, name, instead=None):
        function = instead or getattr(owner, name)

        def watched(*args, **options):
            told.setdefault(name, []).append((args, options))
            return function(*args, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(tracks, "from_tfds")
    watch(tracks, "training", lambda *args, **options: tf.data.Dataset.range(0))
    watch(views, "random_views", lambda *args, **options: "augmentation")
    figures = {"mpjpe_mm": 1.0, "actions": {"walk": {"mpjpe_mm": 1.0}}}
    watch(evaluation, "lifting_figures", lambda *args: figures)
    watch(runs, "set_up", lambda config: None)
    watch(runs, "make_strategy", lambda *place: tf.distribute.get_strategy())
    watch(runs.service, "served", lambda batches, address: batches)
    watch(lifter, "start_from", lambda *args: [])
    watch(lifter.export, "lifter_saved_model", lambda *args, **options: None)
    monkeypatch.setattr(pictures, "save_png", lambda *args: None)
    monkeypatch.setattr(lifter.visualize, "write_animation", lambda *args, **options: None)
    return told


def test_every_option_counts(data_dir, tmp_path, read_once, told):
    given = OTHER | {"workdir": str(tmp_path / "run"), "data_dir": data_dir}
    assert set(given) == {option.name for option in Lifter.OPTIONS}
    for option in Lifter.OPTIONS:
        usual = [option.default, *(r["supervised"].get(option.name, option.default) for r in lifter.RECIPES.values())]
        assert given[option.name] not in usual or option.name in ("recipe", "semi_supervised"), option.name
    training = Lifter(**given)

    # what is read, and what it is read for
    assert training.workdir == tmp_path / "run"
    ((config,), _) = told["set_up"][0]
    assert (config["seed"], config["precision"], config["deterministic"]) == (5, "float32", False)
    read = [(*place, list(skip["skip"])) for place, skip in told["from_tfds"]]
    assert read == [
        ("walkers", "validation", data_dir, ["V/run/front"]),
        ("walkers", "train", data_dir, ["A/run/front"]),
        ("walkers", "validation", data_dir, ["V/run/front"]),
    ]
    splits = training.splits
    assert (len(splits["train"]), len(splits["validation"]), len(splits["test"])) == (3, 23, 3)
    assert splits["unlabelled"] is None and set(splits["train"].subjects) == {"V"}
    assert splits["test"].lengths.tolist() == [20] * 3 and splits["train"].lengths.tolist() == [15] * 3
    whole = tracks.from_tfds("walkers", "validation", data_dir, skip=["V/run/front"]).every(2)
    expected = whole.share(0.75, seed=5).keypoints_screen
    np.testing.assert_array_equal(splits["train"].keypoints_screen, expected)
    assert (expected != whole.share(0.75, seed=0).keypoints_screen).any()

    # networks, the model and its optimizer
    assert [place[:4] for place, _ in told["make_strategy"]] == [("multi_worker", 21, ["first:1", "second:2"], 1)]
    starts = [(network.num_joints_out, path) for (network, path, _), _ in told["start_from"]]
    assert starts == [(6, "pose.keras"), (1, "trajectory.keras")]
    (stage,) = training.stages()
    model = stage.model
    assert isinstance(model, LiftTrainer) and not model.distortion and not model.bone_length_term
    assert model.parents == WALKER.parents
    for network, joints in ((model.network, 6), (model.trajectory, 1)):
        assert (network.filter_widths, network.channels, network.dropout) == ((5, 1), 8, 0.35)
        assert network.causal and not network.strided and network.num_joints_out == joints  # dilated: chunks
    rates = [float(model.optimizer._learning_rate(step)) for step in (0, 2, 3, 6)]  # of 3 steps an epoch
    assert model.optimizer.amsgrad and rates == pytest.approx([0.02, 0.02, 0.01, 0.005])

    # batches: 3 tracks of 15 frames are 12 chunks of 4, 5 a batch
    assert (stage.steps, stage.epochs, stage.folder) == (3, 7, tmp_path / "run")
    assert (stage.resume.monitor, stage.resume.sign) == ("val_mpjpe_mm", -1)
    assert stage.resume.networks == {name: network for name, (_, network) in training.forms.items()}
    assert {address for (_, address), _ in told["served"]} == {"grpc://there:5"}
    stage.batches(first_step=15)
    (((known, frames), batching),) = told["training"]
    assert known is splits["train"] and frames == 5
    assert batching == {
        "batch_size": 5,
        "chunk_length": 4,
        "causal": True,
        "flip": False,
        "seed": 5,
        "first_step": 15,
        "share": order.WHOLE,
        "unlabelled": None,
        "trajectory": True,
        "augment": "augmentation",
    }
    (((parents,), seen_anew),) = told["random_views"]
    assert parents == WALKER.parents and seen_anew == {
        "share": 0.6,
        "turn_degrees": 11.0,
        "shift_m": 0.12,
        "body_spread": 0.13,
        "bone_spread": 0.14,
        "limb_degrees": 15.0,
    }

    # what changes from epoch to epoch, and what is kept
    schedule, validation, board = stage.callbacks
    schedule.set_model(model)
    for epoch in (0, 6):
        schedule.on_epoch_begin(epoch)
        kept = 1 - 0.2 * (0.05 / 0.2) ** (epoch / 7)
        for network in (model.network, model.trajectory):
            assert [float(layer.momentum) for layer in network.convolutions()] == pytest.approx([kept] * 3)
    assert validation.known is splits["validation"] and not validation.lifter.flip_test
    figures = {}
    model.network.get_layer("shrink").bias.assign_add(np.full(18, 0.5))
    validation.on_epoch_end(0, figures)
    assert "val_p_mpjpe_mm" in figures and "val_actions" not in figures
    for trained, dilated in training.forms.values():
        for weight, expected in zip(dilated.get_weights(), trained.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
        dilated.save(stage.folder / ("best.keras" if dilated.num_joints_out == 6 else "trajectory.keras"))
    estimator = training.estimator()
    assert not estimator.flip_test and estimator.trajectory is not None and estimator.network.causal
    training.finish()
    ((tested, known),) = [args for args, _ in told["lifting_figures"]]
    assert tested.trajectory is not None and known is splits["test"]
    (((served, path), how),) = told["lifter_saved_model"]
    assert served.skeleton == WALKER and path == tmp_path / "run" / "saved_model" / "1" and how == {"overwrite": True}


def test_what_semi_supervision_learns_from(options, tmp_path, told):
    """Of named subjects the others, and else the whole split; the terms count from the end of the warm-up on."""
    for number, (subjects, share, labelled, unlabelled) in enumerate(
        (
            (["A"], 1.0, {"A": 4 * FRAMES}, set("BCDEF")),
            ([], 0.25, dict.fromkeys("ABCDEF", FRAMES), set("ABCDEF")),
        )
    ):
        few = {"semi_supervised": True, "labelled_subjects": subjects, "labelled_share": share, "warmup_epochs": 2}
        training = Lifter(tmp_path / str(number), **options(**few))
        known, others = training.splits["train"], training.splits["unlabelled"]
        counts = {
            one: sum(n for n, of in zip(known.lengths, known.subjects, strict=True) if of == one) for one in labelled
        }
        assert counts == labelled and set(known.subjects) == set(labelled) and set(others.subjects) == unlabelled
        assert others.num_frames == 4 * FRAMES * len(unlabelled)  # with all their frames
        assert isinstance(training.model, LiftTrainer) and training.model.distortion and training.model.bone_length_term
        assert training.steps == -(-2 * others.num_frames // 32)
    (stage,) = training.stages()
    stage.batches(first_step=2 * training.steps)
    assert told["training"][-1][1]["unlabelled"] is others and told["training"][-1][1]["trajectory"]
    schedule = stage.callbacks[0]
    schedule.set_model(training.model)
    weights = []
    for epoch in range(4):
        schedule.on_epoch_begin(epoch)
        weights.append(float(training.model.unsupervised_weight))
    assert weights == [0, 0, 1, 1]


def test_starts_from_a_trained_lifter(finished, options, tmp_path):
    training = Lifter(tmp_path, **options(pretrained=finished / "best.keras"))
    expected = keras.models.load_model(finished / "best.keras").get_weights()
    for network in training.forms["best.keras"]:
        for weight, trained in zip(network.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(weight, trained)


def test_the_script_is_of_this_training():
    assert script.TRAINING is Lifter


# ---------------------------------------------------------------------------------------------------- recipes
def resolved(dataset="h36m/gt", **given):
    training = object.__new__(Lifter)
    training.given = {"dataset": dataset} | given
    return training.resolve(runs.choose(Lifter.OPTIONS, training.given))


def test_no_option_means_the_small_recipe_and_another_data_set_the_published_one():
    assert resolved("puppets/tracks")["recipe"] == "small"
    assert resolved("puppets/tracks")["validation_split"] == "validation"
    config = resolved()
    assert config["recipe"] == "published" and config["filter_widths"] == [3, 3, 3, 3, 3]
    assert (config["epochs"], config["batch_size"], config["validation_split"]) == (80, 1024, "")
    semi = resolved(semi_supervised=True, labelled_subjects=["S1"], labelled_share=0.1)
    assert (semi["epochs"], semi["batch_size"], semi["warmup_epochs"], semi["lr_decay"]) == (200, 64, 5, 0.98)
    assert resolved(filter_widths=[3, 5])["filter_widths"] == [3, 5]


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


# ---------------------------------------------------------------------------------------------------- wrong options
def test_a_work_folder_of_another_configuration_is_left_alone(finished, options, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        Lifter(finished, **options(learning_rate=0.1))
    assert "learning_rate 0.01 there and 0.1 here; give another workdir" in str(error.value)
    assert files(finished) == before


SEMI = {"semi_supervised": True, "labelled_share": 0.5, "epochs": 5}


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"dataset": "nobodys"}, "nobodys is not prepared in .*; run: python datasets/build.py nobodys"),
        ({"test_split": "val"}, "walkers has the splits train, validation, test, got 'val'; use one of them"),
        ({"validation_split": "val"}, r"test, got 'val'; give one of them, or validation_split='' .*for none\.$"),
        ({"skip": ["nobody"]}, "skip names samples of walkers, 'nobody' is in none of its splits; correct the name"),
        ({"filter_widths": [3, 4]}, "must be odd, got 4; use 3 or 5"),
        ({"filter_widths": [3, 3.5]}, "filter_widths must be a whole number, got 3.5; correct it"),
        ({"chunk_length": 64}, "batch_size counts predicted frames .*, got 32 and 64; give a larger batch_size"),
        ({"labelled_subjects": ["A", "Z"]}, "labelled_subjects are of the A, B, .* of walkers, got 'Z'; correct"),
        ({"semi_supervised": True}, "^semi_supervised learns from tracks whose poses are not known, got none; give"),
        (SEMI | {"labelled_subjects": list("ABCDEF")}, "but labelled_subjects names all; leave some out"),
        (SEMI | {"warmup_epochs": 5}, "warmup_epochs is less than the 5 of epochs, got 5; give fewer"),
        ({"pretrained": "none.keras"}, "A pretrained network must be a .keras file, got none.keras, where there is no"),
        ({"pretrained_trajectory": "none.keras"}, "starts a trajectory network, got none; give trajectory, too"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_a_mistaken_option_takes_no_work_folder(options, tmp_path, changes, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match) as error:
        Lifter(tmp_path / "run", **options(**changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [{"view_share": 0.5}, SEMI], ids=["view_share", "semi_supervised"])
def test_poses_are_not_projected_onto_other_keypoints(options, tmp_path, monkeypatch, option):
    names = tuple(name.replace("hand", "glove") for name in WALKER.keypoints)
    gloved = skeletons.Skeleton("gloved", names, WALKER.edges)
    read = tracks.from_tfds
    monkeypatch.setattr(
        tracks, "from_tfds", lambda *place, skip: dataclasses.replace(read(*place, skip=skip), skeleton=gloved)
    )
    with pytest.raises(ValueError, match=f"{next(iter(option))} projects .*, got gloved for poses of walker; leave it"):
        Lifter(tmp_path / "run", **options(**option))
    assert not (tmp_path / "run").exists()


def test_a_lifter_of_other_filters_is_no_start(finished, options, tmp_path):
    with pytest.raises(ValueError, match="give the same filter_widths, channels and dataset"):
        Lifter(tmp_path / "run", **options(pretrained=finished / "best.keras", channels=16))
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- distribution
@pytest.mark.slow  # half a minute, most of which is building two copies of each graph
@pytest.mark.parametrize("changes", [{}, SEMI], ids=["supervised", "semi_supervised"])
def test_mirrored_over_two_devices(data_dir, tmp_path, changes, start, state, two_devices):
    done = start(tmp_path, data_dir, prepare=two_devices, strategy="mirrored", **changes)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path)
    assert (
        len(history) == changes.get("epochs", EPOCHS) and history[-1]["val_mpjpe_mm"] < 0.7 * history[0]["val_mpjpe_mm"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"semi_supervised": True, "labelled_share": 0.4, "warmup_epochs": 1, "dropout": 0.0},
        {"view_share": 0.5, "chunk_length": 5},
    ],
)
def test_several_workers_train_as_one(train_as_one, tmp_path, data_dir, changes):
    """Also where the last batch of an epoch cannot be shared out evenly, and labelled samples are few."""
    flags = OPTIONS | {"filter_widths": "3,3", "epochs": 2, "dropout": 0.1, "batch_size": 30, "learning_rate": 1e-4}
    train_as_one("lifter", flags | changes, tmp_path, data_dir, most=1e-3)
