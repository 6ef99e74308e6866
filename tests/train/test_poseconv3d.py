"""`training.PoseConv3D`, from a small data set to a served model; cut short and resumed; given wrong options."""

import functools
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, models, predictors, skeletons
from kerapose.data import clips
from kerapose.training import PoseConv3D, poseconv3d, runs
from train import poseconv3d as script

POSTURES = ("stand", "raise_left", "raise_right")  # the last two are each other's mirror image
EPOCHS = 3
TRAINED, ALL = 72, 81  # clips
OPTIONS = {
    "dataset": "pyskl_clips/custom",
    "validation_split": "val",
    "test_split": "val",
    "num_frames": 4,
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
    if label:
        arm = COCO_ARMS[POSTURES[label]]
        x[arm], y[arm] = np.sign(x[arm]) * [0.9, 1.3], [1.8, 2.3]
    body = np.stack([x, -y], -1) * random.uniform(40, 60)
    sway = 6 * np.sin(np.linspace(0, 6, frames) + random.uniform(0, 6))[:, None, None]
    return (body + sway + (160, 140) + random.normal(0, 1.5, (frames, 17, 2)))[None].astype("float32")


COCO_ARMS = {
    f"raise_{side}": [skeletons.COCO.keypoints.index(f"{side}_{joint}") for joint in ("elbow", "wrist")]
    for side in ("left", "right")
}


def annotated():
    """The splits and annotations of 72 training clips and 9 others of the three postures, as in an annotation file."""
    annotations, split = [], {"train": [], "val": []}
    for i in range(ALL):
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
        split["train" if i < TRAINED else "val"].append(f"clip{i}")
    return split, annotations


@pytest.fixture(scope="module")
def data_dir(prepare_clips):
    """A TFDS folder in which pyskl_clips/custom holds these clips."""
    return prepare_clips("pyskl_clips/custom", *annotated(), POSTURES, "coco")


@pytest.fixture(scope="module")
def start(run_script):
    return functools.partial(run_script, "poseconv3d", OPTIONS)


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory, computing_repeatably, cut_after):
    """The work folder of a whole run with joints."""
    workdir = tmp_path_factory.mktemp("runs") / "joint"
    with cut_after({"joint": EPOCHS - 1}):
        PoseConv3D(workdir, data_dir=data_dir, **OPTIONS).run()
    return workdir


@pytest.fixture(scope="module")
def options(finished, data_dir, options_of):
    """The options of the whole run, to make its training anew: a function of changes."""
    return functools.partial(options_of, PoseConv3D, finished, data_dir)


# ---------------------------------------------------------------------------------------------------- a whole run
def test_learns_what_can_be_learnt(finished, state, metrics_of):
    """Left and right, too, from clips half of which are mirrored: with the labels as they were, it could not."""
    perfect = {"top1": 1.0, "top5": 1.0, "mean_class": 1.0}
    assert metrics_of(finished) == {"joint_one_clip": perfect, "joint": perfect}
    _, history = state(finished / "joint")
    assert len(history) == EPOCHS
    assert history[-1]["loss"] < 0.5 * history[0]["loss"] and history[-1]["top1"] > 0.8
    assert max(epoch["val_top1"] for epoch in history) == 1.0


def test_leaves_weights_and_pictures(finished):
    network = keras.models.load_model(finished / "joint" / "best.keras")
    assert network.input_shape == (None, 4, 24, 24, 17) and network.output_shape == (None, 3)
    for picture in ("joint/curves.png", "confusion_matrix.png"):
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


def test_leaves_a_file_that_knows_itself(finished, metrics_of, same_weights):
    recognize = predictors.load(finished / "model.keras")
    for label, posture in enumerate(POSTURES):
        (best,) = recognize(motion(label, seed=100 + label, frames=31), frame_size=(240, 320), top=1)
        assert best.name == posture
    recognizer = keras.models.load_model(finished / "model.keras")
    assert recognizer.skeleton == skeletons.COCO and recognizer.class_names == POSTURES
    assert (recognizer.num_clips, recognizer.flip_test, recognizer.flip_labels) == (2, True, (0, 2, 1))
    best = keras.models.load_model(finished / "joint" / "best.keras")
    for weight, expected in zip(recognizer.network["joint"].get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert recognizer.training["kind"] == "PoseConv3D" and recognizer.training["figures"] == metrics_of(finished)
    assert recognizer.training["clips"].keys() == {"frames", "people"} and recognizer.training["clips"]["people"] == 1
    options = recognizer.training["options"]
    assert options["epochs"] == EPOCHS and options["dataset"] == "pyskl_clips/custom" and "data_dir" not in options


# ---------------------------------------------------------------------------------------------------- resuming
def test_a_run_that_was_cut_short_goes_on_where_it_was(finished, options, tmp_path, state, watch):
    """With the weights, the epochs and the clips that it would have had; it ends alike in the slow test below."""
    shutil.copytree(finished / "joint" / "cut", tmp_path / "joint")
    read = watch(clips, "training", lambda *args, **how: None)
    (stage,) = PoseConv3D(tmp_path, **options()).stages()
    arguments = stage.arguments()
    arrays, history = state(finished / "joint" / "cut")
    assert stage.done == arguments["initial_epoch"] == len(history) == EPOCHS - 1 and not stage.is_done
    assert read[0][1]["first_step"] == (EPOCHS - 1) * arguments["steps_per_epoch"] == 36
    for i, weight in enumerate(stage.model.weights):
        np.testing.assert_array_equal(weight, arrays[f"variable_{i}"])
    assert int(stage.model.optimizer.iterations) == 36


def test_a_whole_run_has_nothing_left_to_train(finished, options, files):
    before = {path: one for path, one in files(finished).items() if path.name in ("state.npz", "best.keras")}
    (stage,) = PoseConv3D(finished, **options()).stages()
    assert stage.is_done
    stage.fit()
    after = files(finished)
    assert {path: after[path] for path in before} == before


@pytest.mark.slow  # minutes, of processes of their own
def test_a_killed_script_ends_as_the_whole_one(
    data_dir, tmp_path, start, state, files, same_weights, metrics_of, killed_at
):
    """Twice: in the middle of an epoch, and between the two files that are kept of one. The whole one serves, too."""
    whole = start(tmp_path / "whole", data_dir, modality="both", export=True)
    assert whole.returncode == 0, whole.stderr[-4000:]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for epoch, step in ((1, 4), (2, None)):
        killed = start(cut, data_dir, prepare=killed_at(epoch, step))
        assert killed.returncode == -9, killed.stderr[-4000:]
        assert len(state(cut / "joint")[1]) == epoch
        assert not (cut / "metrics.json").exists()
    done = start(cut, data_dir)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming after epoch 2" in done.stderr and f"Epoch 3/{EPOCHS}" in done.stdout
    assert "Epoch 2/" not in done.stdout
    (expected, expected_history), (arrays, history) = state(whole / "joint"), state(cut / "joint")
    assert history == expected_history and set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert same_weights(cut / "joint" / "best.keras", whole / "joint" / "best.keras")
    expected = metrics_of(whole)
    assert metrics_of(cut) == {name: expected[name] for name in ("joint_one_clip", "joint")}

    # Started once more, it has nothing left to train.
    before = {name: files(cut)[cut / "joint" / name] for name in ("state.npz", "best.keras")}
    again = start(cut, data_dir)
    assert again.returncode == 0, again.stderr[-4000:]
    assert "Epoch" not in again.stdout
    assert {name: files(cut)[cut / "joint" / name] for name in before} == before

    assert list(expected) == ["joint_one_clip", "joint", "limb_one_clip", "limb", "fusion"]
    assert expected["fusion"]["top1"] == 1.0
    answer = tf.saved_model.load(str(whole / "saved_model" / "1")).signatures["serving_default"]
    for label, posture in enumerate(POSTURES):
        keypoints = motion(label, seed=100 + label, frames=31)[None]
        scores, frame_size = np.ones(keypoints.shape[:-1], "float32"), np.int32([[240, 320]])
        said = answer(keypoints=tf.constant(keypoints), scores=tf.constant(scores), frame_size=tf.constant(frame_size))
        assert said["top_class"].numpy().tolist() == [posture.encode()]


# ---------------------------------------------------------------------------------------------------- every option
THREE_JOINTS = skeletons.Skeleton("three_joints", ("head", "left_hand", "right_hand"), ((0, 1), (0, 2)))
OTHER = {
    "workdir": None,  # in the test
    "dataset": "pyskl_clips/custom",
    "data_dir": None,
    "train_split": "val",
    "validation_split": "",
    "test_split": "train",
    "skip": ["clip0", "clip75"],
    "batch_size": 3,
    "epochs": 4,
    "seed": 7,
    "precision": "float32",
    "deterministic": False,
    "strategy": "multi_worker",
    "worker_hosts": ["first:1", "second:2"],
    "worker_index": 1,
    "data_service": "grpc://there:5",
    "sync_batch_norm": True,
    "export": True,
    "skeleton": "jhmdb",
    "dataset_skeleton": "coco",
    "pretrained": None,
    "variant": "c3d_light",
    "modality": "limb",
    "base_filters": 4,
    "num_frames": 6,
    "size": 26,
    "test_size": 31,
    "sigma_px": 0.9,
    "use_scores": False,
    "learning_rate": 0.02,
    "warmup_epochs": 2.0,
    "momentum": 0.7,
    "weight_decay": 2e-3,
    "clip_norm": 11.0,
    "dropout": 0.3,
    "least_area": 0.8,
    "rotation_degrees": 15.0,
    "p_interval": [0.5, 0.75],
    "turn_degrees": 90.0,
    "view_heights_m": [-0.5, 0.5],
    "view_distances_m": [2.0, 4.0],
    "test_azimuths": [-45.0, 45.0],
    "num_clips": 3,
    "flip_probability": 0.25,
    "flip_test": False,
    "flip_pairs": ["stand:raise_left"],
}


def test_every_option_counts(data_dir, tmp_path, watch, others_than_defaults, as_after_an_epoch):
    options = OTHER | {"workdir": str(tmp_path / "run"), "data_dir": data_dir, "pretrained": str(tmp_path / "old")}
    others_than_defaults(PoseConv3D, options)
    read = watch(clips, "from_tfds")
    evaluated, trained_on = (watch(clips, name, lambda *args, **how: None) for name in ("evaluation", "training"))
    set_up = watch(runs, "set_up", lambda config: None)
    views_of, poses = poseconv3d.views_of, clips.from_poses([np.eye(3)[None, None]], [0], THREE_JOINTS)
    watch(poseconv3d, "views_of", lambda config, splits: views_of(config, {"train": poses}))  # the splits have none
    strategies = watch(runs, "make_strategy", lambda *place: tf.distribute.get_strategy())
    served = watch(runs.service, "served", lambda batches, address: batches)
    exported = watch(poseconv3d.export, "saved_model", lambda *args, **options: None)
    limbs = skeletons.JHMDB.num_edges
    trained = poseconv3d.make_network(OTHER, 5, limbs)
    (tmp_path / "old" / "limb").mkdir(parents=True)
    trained.save(tmp_path / "old" / "limb" / "best.keras")

    training = PoseConv3D(**options)
    assert training.workdir == tmp_path / "run" and training.skeleton == skeletons.JHMDB
    ((config,), _) = set_up[0]
    assert (config["seed"], config["precision"], config["deterministic"]) == (7, "float32", False)
    assert [args for args, _ in read] == [("pyskl_clips/custom", split, data_dir) for split in ("val", "train")]
    names = {role: names_of(split) for role, split in training.splits.items() if split is not None}
    assert names == {
        "train": {f"clip{i}" for i in range(TRAINED, ALL)} - {"clip75"},
        "test": {f"clip{i}" for i in range(1, TRAINED)},
    }
    assert next(training.splits["test"].as_numpy_iterator())["keypoints"].shape[2] == skeletons.JHMDB.num_keypoints

    (stage,) = training.stages()
    assert [place[:4] for place, _ in strategies] == [("multi_worker", 3, ["first:1", "second:2"], 1)]
    assert {address for (_, address), _ in served} == {"grpc://there:5"}
    assert stage.folder == training.workdir / "limb" and (stage.steps, stage.epochs) == (3, 4)
    assert stage.validation is None and stage.resume.monitor is None  # without a split for it
    network, volume, optimizer = stage.model.network, stage.model.get_layer("volume"), stage.model.optimizer
    assert isinstance(network, models.C3D) and network.input_shape == (None, 6, 26, 26, limbs)
    assert (network.base_filters, network.dropout, network.num_stages) == (4, 0.3, trained.num_stages)
    for layer, old in zip(network.layers[:-1], trained.layers[:-1], strict=True):
        for weight, expected in zip(layer.get_weights(), old.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
    assert (volume.height, volume.width, volume.sigma_px, volume.edges) == (26, 26, 0.9, skeletons.JHMDB.edges)
    assert (optimizer.momentum, optimizer.l2, optimizer.global_clipnorm) == (0.7, 2e-3, 11.0)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 3, 6, 9, 12)]  # 2 of 4 epochs to rise, of 3 steps
    np.testing.assert_allclose(rates, [0, 0.01, 0.02, 0.01, 0], atol=1e-7)

    stage.arguments()
    ((_, given),) = trained_on
    reading = {"batch_size": 3, "num_frames": 6, "size": (26, 26), "use_scores": False}
    assert given == reading | {
        "seed": 7,
        "first_step": 0,
        "flip_probability": 0.25,
        "flip_labels": [1, 0, 2],
        "rotation_degrees": 15.0,
        "area_range": (0.8, 1.0),
        "short_side_px": 30,
        "p_interval": [0.5, 0.75],
        "views": clips.Views((-90, 90), (-0.5, 0.5), (2, 4)),
    }
    assert [options for _, options in evaluated] == [reading]

    as_after_an_epoch(stage)
    recognizer = training.estimator()
    assert (recognizer.num_clips, recognizer.flip_test, recognizer.flip_labels) == (3, False, (1, 0, 2))
    assert (recognizer.size, recognizer.sigma_px, recognizer.use_scores) == ((31, 31), 0.9, False)
    assert recognizer.skeleton == skeletons.JHMDB and list(recognizer.network) == ["limb"]
    tested = watch(poseconv3d.evaluation, "action_figures", lambda *args: {})
    watch(poseconv3d.evaluation, "action_probabilities", lambda *args: (np.zeros(2, int), np.eye(2, 3)))
    training.evaluate(recognizer)
    assert tested[0][0][2] == [-45.0, 45.0]
    training.evaluate = lambda estimator: {}
    training.draw = lambda estimator: None
    training.finish()
    ((served, path), how) = exported[0]
    assert path == training.workdir / "saved_model" / "1" and how == {"overwrite": True}
    assert served.network["limb"] is not None and served.training["options"]["learning_rate"] == 0.02


def test_the_keypoints_are_those_of_the_data_set_unless_others_are_asked_for(data_dir, tmp_path):
    splits = {"train_split": "val", "validation_split": "", "test_split": "val"}
    own = PoseConv3D(tmp_path / "own", data_dir=data_dir, dataset="pyskl_clips/custom", **splits)
    assert own.skeleton == skeletons.COCO
    with pytest.raises(
        ValueError, match="dataset_skeleton is mapped to skeleton, got none; give the keypoint set of the"
    ):
        PoseConv3D(tmp_path / "new", data_dir=data_dir, dataset="pyskl_clips/custom", dataset_skeleton="coco", **splits)


def names_of(split):
    return {element["name"].decode() for element in split.as_numpy_iterator()}


def test_both_modalities_are_tested_alone_and_fused(options, tmp_path, monkeypatch):
    training = PoseConv3D(tmp_path, **options(modality="both"))
    for modality in ("joint", "limb"):
        (tmp_path / modality).mkdir()
        poseconv3d.make_network(training.config, 3, 17).save(tmp_path / modality / "best.keras")
    recognizer, tested = training.estimator(), []
    labels = np.array([0, 1])
    said = {"joint": [[0.9, 0.1, 0], [0.6, 0.4, 0]], "limb": [[0.3, 0.7, 0], [0.1, 0.9, 0]]}

    def probabilities(recognizer, dataset, azimuths_degrees):
        (modality,) = recognizer.network
        tested.append((modality, recognizer.num_clips, recognizer.flip_test))
        assert dataset is training.splits["test"] and recognizer.size == (27, 27)
        return labels, np.array(said[modality])

    monkeypatch.setattr(poseconv3d.evaluation.actions, "action_probabilities", probabilities)
    monkeypatch.setattr(poseconv3d.evaluation, "action_probabilities", probabilities)
    found = training.evaluate(recognizer)
    assert list(recognizer.network) == ["joint", "limb"]
    assert tested == [("joint", 1, False), ("joint", 2, True), ("limb", 1, False), ("limb", 2, True)]
    assert {name: figures["top1"] for name, figures in found.items()} == {
        **{"joint_one_clip": 0.5, "joint": 0.5, "limb_one_clip": 0.5, "limb": 0.5},
        "fusion": 1.0,
    }


# ---------------------------------------------------------------------------------------------------- wrong options
def test_a_work_folder_of_another_configuration_is_left_alone(finished, options, files):
    before = files(finished)
    with pytest.raises(ValueError, match="belongs to one configuration") as error:
        PoseConv3D(finished, **options(learning_rate=0.1))
    assert "learning_rate 0.05 there and 0.1 here; give another workdir" in str(error.value)
    with pytest.raises(ValueError, match="flip_probability 0.5 there and 0.0 here; give another workdir"):
        PoseConv3D(finished, **options(flip_probability=0.0))
    assert files(finished) == before


@pytest.mark.parametrize(
    "changes, match",
    [
        (
            {"dataset": "nobodys_clips"},
            "nobodys_clips is not prepared in .*; run: python datasets/build.py nobodys_clips",
        ),
        ({"test_split": "test"}, "has the splits train, val, got 'test'; use one of them"),
        ({"flip_pairs": ["stand:sit"]}, "there is no class 'sit'; choose from stand, raise_left, raise_right"),
        ({"flip_pairs": ["stand"]}, "flip_pairs must be pairs like wave_left:wave_right, got 'stand'; correct it"),
        ({"skeleton": "ntu"}, "those of the skeleton, got .*: 17 and 25 of ntu.; give the skeleton"),
        ({"skip": ["clip0", "nobody"]}, "skip names samples of pyskl_clips/custom, 'nobody' is in none of its splits"),
        ({"variant": "c4d"}, "variant must be one of c3d, .*, got 'c4d'; use one of them"),
        ({"epoch": 3}, "Options of a training go by their names, got 'epoch'; did you mean epochs?"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_mistaken_option_takes_no_work_folder(options, tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        PoseConv3D(tmp_path / "run", **options(**changes))
    assert not (tmp_path / "run").exists()


def test_a_recognizer_can_do_without_training(finished):
    """What was trained for one modality alone is a recognizer, too."""
    network = keras.models.load_model(finished / "joint" / "best.keras")
    recognizer = estimators.ActionRecognizer(network, skeletons.COCO, POSTURES)
    assert recognizer.training is None and list(recognizer.network) == ["joint"]


def test_the_script_is_of_this_training():
    assert script.TRAINING is PoseConv3D


# ---------------------------------------------------------------------------------------------------- distribution
@pytest.mark.slow  # a minute: every pass of two devices over so few clips mostly waits
def test_mirrored_over_two_devices(data_dir, tmp_path, start, state, metrics_of, two_devices):
    # Batch norms see two clips each, and learn slower.
    done = start(tmp_path, data_dir, prepare=two_devices, strategy="mirrored", epochs=EPOCHS + 3)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Mirrored over 2 devices" in done.stderr
    _, history = state(tmp_path / "joint")
    assert len(history) == EPOCHS + 3 and history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert metrics_of(tmp_path)["joint"]["top1"] > 0.9
    assert keras.models.load_model(tmp_path / "joint" / "best.keras").output_shape == (None, 3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_several_workers_train_as_one(train_as_one, run_workers, tmp_path, data_dir, count):
    """Though one of them is killed; and to the last bit as workers of which none is."""
    flags = OPTIONS | {"train_split": "val", "batch_size": 6, "epochs": 2, "dropout": 0.5}
    train_as_one("poseconv3d", flags, tmp_path, data_dir, count)
    whole = {"precision": "float32", "sync_batch_norm": True}
    for one in run_workers("poseconv3d", flags, tmp_path / "whole", data_dir, count, **whole):
        assert one.returncode == 0, one.stderr[-4000:]
    files = [np.load(tmp_path / name / "0_0.npz") for name in ("whole", "several")]
    for name in files[0]:
        np.testing.assert_array_equal(files[0][name], files[1][name])


@pytest.mark.slow
def test_a_chief_that_is_killed_leaves_a_whole_state(run_workers, tmp_path, data_dir, killed_at, state):
    """Between the two files that it keeps of an epoch; the others end, and all go on together."""
    flags = OPTIONS | {"train_split": "val", "epochs": 2, "precision": "float32"}
    together = functools.partial(run_workers, "poseconv3d", flags, tmp_path, data_dir, 2)
    chief, other = together({0: killed_at(1)})
    assert chief.returncode == -9 and other.returncode == 1, (chief.stderr[-2000:], other.stderr[-2000:])
    assert "All 2 workers must stay until the end, got one that worker 1 no longer reaches" in other.stderr
    assert len(state(tmp_path / "0" / "joint")[1]) == 1
    for one in together():
        assert one.returncode == 0, one.stderr[-4000:]
    assert len(state(tmp_path / "0" / "joint")[1]) == 2
    first, second = (np.load(tmp_path / f"{index}_0.npz") for index in (0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_workers_that_differ_find_out_at_the_start(run_workers, tmp_path, data_dir, prepare_clips):
    flags = OPTIONS | {"train_split": "val", "epochs": 1}
    together = functools.partial(run_workers, "poseconv3d", flags, data_dir=data_dir, count=2)
    for found in together(workdir=tmp_path / "flags", own_flags={1: {"learning_rate": 0.1}}):
        assert found.returncode == 1
        assert "All workers must have the same learning_rate, got 0.05 on worker 0 and 0.1 on worker 1" in found.stderr
    keypoints = motion(1, seed=5)
    annotation = {"label": 1, "img_shape": (240, 320), "total_frames": 20, "keypoint": keypoints}
    annotation |= {"keypoint_score": np.ones(keypoints.shape[:3], "float32")}
    names = {"train": [f"other{i}" for i in range(12)], "val": [f"another{i}" for i in range(9)]}
    other = [annotation | {"frame_dir": name} for name in names["train"] + names["val"]]
    elsewhere = prepare_clips("pyskl_clips/custom", names, other, POSTURES, "coco")
    for found in together(workdir=tmp_path / "data", own_flags={1: {"data_dir": elsewhere}}):
        assert found.returncode == 1
        assert re.search(r"must have the same data \(\w+\), got \[9, '\w+'\] on worker 0 and \[9", found.stderr)
