"""What the training scripts share: the optimizer, whole files, work folders, resuming, starting from another run."""

import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerapose import models, skeletons
from kerapose.data import clips
from train import common

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIG = {"variant": "c3d_light", "epochs": 3, "limits": (0.5, 1.0), "pretrained": None}


# ---------------------------------------------------------------------------------------------------- SGD
def pytorch_sgd(weights, gradients, lr, momentum, weight_decay, clip_norm):
    """torch.nn.utils.clip_grad_norm_ and torch.optim.SGD.step, in NumPy: [steps][variables] gradients."""
    weights, buffers = [w.astype("float64") for w in weights], [None] * len(weights)
    for step in gradients:
        norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in step))
        factor = min(1.0, clip_norm / (norm + 1e-6))
        for i, gradient in enumerate(step):
            change = gradient * factor + weight_decay * weights[i]
            buffers[i] = change if buffers[i] is None else momentum * buffers[i] + change
            weights[i] = weights[i] - lr * buffers[i]
    return weights


@pytest.mark.parametrize("clip_norm", [0.5, 40.0])  # one that clips every step, and one that clips none
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_pytorchs(momentum, clip_norm):
    random = np.random.default_rng(0)
    shapes = [(3, 4), (5,)]
    weights = [random.normal(0, 1, shape).astype("float32") for shape in shapes]
    gradients = [[random.normal(0, 1, shape).astype("float32") for shape in shapes] for _ in range(6)]
    variables = [keras.Variable(weight) for weight in weights]
    optimizer = common.SGDL2(0.1, l2=0.05, momentum=momentum, global_clipnorm=clip_norm)
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in step], variables)
    expected = pytorch_sgd(weights, gradients, 0.1, momentum, 0.05, clip_norm)
    for variable, weight in zip(variables, expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), weight, atol=2e-6)


def test_sgd_round_trip():
    optimizer = common.SGDL2(0.1, l2=3e-4, momentum=0.9, global_clipnorm=40.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, common.SGDL2) and again.get_config() == optimizer.get_config()
    assert again.l2 == 3e-4


# ---------------------------------------------------------------------------------------------------- Adam
def pytorch_adam(weights, gradients, lr, groups, betas=(0.9, 0.999), epsilon=1e-8):
    """torch.optim.Adam.step with a weight decay and a learning rate for each weight, in NumPy."""
    weights = [w.astype("float64") for w in weights]
    means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for count, step in enumerate(gradients, start=1):
        for i, (gradient, (decay, factor)) in enumerate(zip(step, groups, strict=True)):
            gradient = gradient + decay * weights[i]
            means[i] = betas[0] * means[i] + (1 - betas[0]) * gradient
            squares[i] = betas[1] * squares[i] + (1 - betas[1]) * gradient**2
            root = np.sqrt(squares[i] / (1 - betas[1] ** count)) + epsilon
            weights[i] = weights[i] - lr * factor * means[i] / (1 - betas[0] ** count) / root
    return weights


def test_adam_is_pytorchs_with_groups_of_weights():
    random = np.random.default_rng(0)
    shapes = [(3, 4), (5,), (4, 2)]
    weights = [random.normal(0, 1, shape).astype("float32") for shape in shapes]
    gradients = [[random.normal(0, 1, shape).astype("float32") for shape in shapes] for _ in range(6)]
    variables = [keras.Variable(weight, name=f"weight{i}") for i, weight in enumerate(weights)]
    paths = [variable.path for variable in variables]
    schedule = common.StepDecay(0.1, [])
    optimizer = common.AdamL2(schedule, l2={paths[0]: 0.3}, rates={paths[0]: 4.0, paths[1]: 2.0}, epsilon=1e-8)
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in step], variables)
    groups = [(0.3, 4.0), (0.0, 2.0), (0.0, 1.0)]
    found = [keras.ops.convert_to_numpy(variable) for variable in variables]
    for value, weight in zip(found, pytorch_adam(weights, gradients, 0.1, groups), strict=True):
        np.testing.assert_allclose(value, weight, atol=5e-5)
    for i, other in enumerate([(0.0, 4.0), (0.0, 1.0), (0.3, 1.0)]):  # each group counts
        changed = groups[:i] + [other] + groups[i + 1 :]
        apart = np.abs(found[i] - pytorch_adam(weights, gradients, 0.1, changed)[i])
        assert apart.max() > 0.01


def test_adam_round_trip_and_refusal():
    optimizer = common.AdamL2(0.1, l2={"conv/kernel": 5e-4}, rates={"conv/bias": 2.0})
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, common.AdamL2) and again.get_config() == optimizer.get_config()
    assert again.l2 == {"conv/kernel": 5e-4} and again.rates == {"conv/bias": 2.0}
    with pytest.raises(ValueError, match="l2 and rates are of variables to be trained, conv/bias is none; correct"):
        again.build([keras.Variable(np.zeros(3))])


# ---------------------------------------------------------------------------------------------------- schedules
@pytest.mark.parametrize("warmup_steps", [0, 4])
def test_step_decay_is_pytorchs_multi_step(warmup_steps):
    """The published recipes decay by `MultiStepLR`: at a milestone, not after it."""
    schedule = common.StepDecay(0.01, [6, 9], 0.1, warmup_steps)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    for step in range(12):
        expected = 0.01 * 0.1 ** sum(step >= milestone for milestone in (6, 9))
        expected *= min(1.0, step / warmup_steps) if warmup_steps else 1.0
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)
        assert float(again(step)) == float(schedule(step))


def test_cosine_decay_rises_and_falls():
    schedule = common.cosine_decay(0.01, total_steps=24, warmup_steps=4)
    rates = [float(schedule(step)) for step in range(25)]
    assert rates[:5] == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01])
    assert rates[14] == pytest.approx(0.005) and rates[24] == pytest.approx(0, abs=1e-9)
    assert float(common.cosine_decay(0.01, 24, 0)(0)) == pytest.approx(0.01)


# ---------------------------------------------------------------------------------------------------- whole files
def test_write_whole_makes_and_replaces(tmp_path):
    path = tmp_path / "runs" / "metrics.json"
    common.write_whole(path, b"first")
    common.write_whole(path, b"second")
    assert path.read_bytes() == b"second" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])  # a full disk, a folder that was taken away
def test_write_whole_leaves_the_old_file_if_writing_fails(tmp_path, monkeypatch, failing):
    path = tmp_path / "metrics.json"
    common.write_whole(path, b"old")

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(common.os, failing, fail)
    with pytest.raises(OSError, match="no space"):
        common.write_whole(path, b"a new and longer one")
    assert path.read_bytes() == b"old"


# ---------------------------------------------------------------------------------------------------- work folders
def test_open_workdir_makes_it_and_takes_it_again(tmp_path):
    workdir = common.open_workdir(str(tmp_path / "runs" / "a"), CONFIG)
    assert workdir == tmp_path / "runs" / "a"
    assert json.loads((workdir / "config.json").read_text())["variant"] == "c3d_light"
    (workdir / "joint").mkdir()
    assert common.open_workdir(workdir, CONFIG) == workdir


def test_open_workdir_refuses_another_configuration(tmp_path):
    workdir = common.open_workdir(tmp_path, CONFIG)
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(ValueError, match="one configuration") as error:
        common.open_workdir(tmp_path, CONFIG | {"epochs": 4, "seed": 7})
    assert str(error.value) == (
        f"A work folder belongs to one configuration, but {tmp_path} differs: epochs 3 there and 4 here, "
        "seed None there and 7 here; give another --workdir, or the flags of that run to resume it."
    )
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.parametrize("given, kept", [(None, True), (True, True), (False, False)])
def test_open_workdir_keeps_whether_a_run_is_deterministic(tmp_path, given, kept):
    workdir = common.open_workdir(tmp_path, CONFIG | {"deterministic": given})  # on a CPU
    assert json.loads((workdir / "config.json").read_text())["deterministic"] is kept
    for same in (given, kept):
        assert common.open_workdir(tmp_path, CONFIG | {"deterministic": same}) == tmp_path
    with pytest.raises(ValueError, match=f"deterministic {kept} there and {not kept} here"):
        common.open_workdir(tmp_path, CONFIG | {"deterministic": not kept})


def test_a_run_from_before_the_choice_was_deterministic(tmp_path):
    common.open_workdir(tmp_path, CONFIG)
    common.open_workdir(tmp_path, CONFIG | {"deterministic": None})
    with pytest.raises(ValueError, match="deterministic True there and False here"):
        common.open_workdir(tmp_path, CONFIG | {"deterministic": False})


@pytest.mark.parametrize(
    "gpus, given, expected",
    [([], None, True), (["GPU:0"], None, False), (["GPU:0"], True, True), ([], False, False)],
)
def test_operations_are_repeatable_by_default_on_a_cpu(monkeypatch, gpus, given, expected):
    called = []
    monkeypatch.setattr(common, "_gpus", lambda: gpus)
    monkeypatch.setattr(common.tf.config.experimental, "enable_op_determinism", lambda: called.append(True))
    monkeypatch.setattr(keras.config, "set_dtype_policy", lambda policy: None)
    common.set_up({"seed": 0, "precision": "auto", "deterministic": given})
    assert bool(called) is expected


# ---------------------------------------------------------------------------------------------------- progress
TRAINING = """
import keras, numpy as np
from train import common

inputs = keras.Input((3,))
network = keras.Model(inputs, keras.layers.Dense(2)(inputs))
model = keras.Model(inputs, network(inputs))
model.network = network
model.compile("sgd", "mse")
data, resume = (np.ones((40, 3)), np.ones((40, 2))), common.Resume("run", "val_loss", least=True)
options = {"validation_data": data, "callbacks": [resume], "verbose": common.in_terminal()}
model.fit(*data, batch_size=1, epochs=3, **options)
for count in (4, None):
    bar = common.make_bar(count, "video")
    for _ in range(4):
        bar.add(1)
"""


def test_in_a_file_progress_is_a_line_an_epoch(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        command, folders = [sys.executable, "-c", TRAINING], {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(command, cwd=tmp_path, env=os.environ | folders, stdout=file, check=True, timeout=300)
    said = (tmp_path / "log").read_bytes()
    assert not {b"\r", b"\b", b"\x1b"} & {said[i : i + 1] for i in range(len(said))}
    *epochs, bar = said.decode().splitlines()
    assert [line.split(":")[0] for line in epochs] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert all(re.search(r"\bloss \d.*\bval_loss \d", line) for line in epochs) and bar.startswith("4/4")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_terminals(monkeypatch, terminal):
    monkeypatch.setattr(common, "in_terminal", lambda: terminal)
    assert common.make_bar(3, "video").verbose == (1 if terminal else 2)


# ---------------------------------------------------------------------------------------------------- datasets
def flips(**changes):
    return {"flip_pairs": None, "flip_probability": 0.5, "flip_test": False} | changes


def test_labels_in_a_mirror_are_those_of_the_flags(caplog):
    names = ["Wave Left", "serve", "Wave Right", "return", "kick left"]
    assert common.flip_labels(names, flips()) == [2, 1, 0, 3, 4]
    assert common.flip_labels(names, flips(flip_probability=0.0, flip_test=True)) == [2, 1, 0, 3, 4]
    assert len(caplog.records) == 2  # kick left has no image
    assert common.flip_labels(names, flips(flip_probability=0.0)) is None
    assert common.flip_labels(names, flips(flip_pairs=["serve:return"])) == [0, 3, 2, 1, 4]
    assert common.flip_labels(names, flips(flip_pairs=[])) == [0, 1, 2, 3, 4]
    assert len(caplog.records) == 2
    with pytest.raises(ValueError, match="there is no class 'smash'; choose from Wave Left, serve"):
        common.flip_labels(names, flips(flip_pairs=["serve:smash"]))
    with pytest.raises(ValueError, match="--flip_pairs must be pairs like wave_left:wave_right, got 'serve'; correct"):
        common.flip_labels(names, flips(flip_pairs=["serve"]))


@pytest.mark.parametrize("skeleton", [skeletons.H36M, skeletons.Skeleton("mouse", ("snout", "tail"), ())])
def test_a_set_without_sigmas_is_told(skeleton, caplog):
    assert common.can_measure_ap(skeletons.COCO) and not caplog.records
    assert not common.can_measure_ap(skeleton)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"AP of {skeleton.name} is not measured: sigmas must be one positive number")
    assert "--sigmas of datasets/build.py" in record.getMessage()


def test_load_split_prepares_only_what_needs_no_files(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check, env: commands.append((command[1:], check)))
    with pytest.raises(clips.NotPreparedError, match="run: python datasets/build.py jhmdb"):
        common.load_split("jhmdb", "train1", str(tmp_path))
    assert not commands
    with pytest.raises(clips.NotPreparedError):  # the command was kept from running
        common.load_split("puppets", "train", str(tmp_path))
    assert commands == [([str(common.BUILD), "puppets", f"--data_dir={tmp_path}"], True)]
    assert common.BUILD.is_file()


# ---------------------------------------------------------------------------------------------------- resuming
def make_model(width=4, seed=0):
    """A model that `Resume` can keep: with a network, batch norm, dropout and a momentum."""
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(width),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    inputs = keras.Input((6,))
    model = keras.Model(inputs, network(inputs))
    model.network = network
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(common.SGDL2(0.1, l2=1e-3, momentum=0.9), loss)
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, folder, epochs):
    """Trains up to `epochs` in all, from where the folder's state is; returns how many epochs were found done."""
    resume = common.Resume(folder, None)
    done = resume.restore(model)
    random = np.random.default_rng(0)
    x, y = random.normal(0, 1, (16, 6)).astype("float32"), random.integers(0, 3, 16)
    model.fit(x, y, batch_size=8, epochs=epochs, initial_epoch=done, shuffle=False, callbacks=[resume], verbose=0)
    return done


def arrays_of(file):
    with np.load(file) as state:
        return dict(state)


def test_a_resumed_model_ends_as_one_that_was_not_interrupted(tmp_path):
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    assert fit(make_model(), tmp_path / "whole", 4) == 0
    assert fit(make_model(), tmp_path / "cut", 2) == 0
    halfway = arrays_of(tmp_path / "cut" / "state.npz")
    assert fit(make_model(seed=1), tmp_path / "cut", 4) == 2  # whatever it is initialized with
    whole, cut = (arrays_of(tmp_path / name / "state.npz") for name in ("whole", "cut"))
    assert set(whole) == set(cut) and len(json.loads(str(whole["history"]))) == 4
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name])
    assert any((halfway[name] != cut[name]).any() for name in cut if name.startswith("variable"))


def test_resume_refuses_the_state_of_another_model(tmp_path):
    fit(make_model(), tmp_path, 1)
    before = (tmp_path / "state.npz").read_bytes()
    other = make_model(width=5)
    weights = other.get_weights()
    with pytest.raises(ValueError, match="state.npz was written by another model .*; give another --workdir"):
        common.Resume(tmp_path, None).restore(other)
    assert (tmp_path / "state.npz").read_bytes() == before
    for weight, expected in zip(other.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_resume_keeps_the_best_weights_the_earliest_among_equals(tmp_path):
    model = make_model()
    resume = common.Resume(tmp_path, "val_top1")
    resume.set_model(model)
    kept = []
    for epoch, figure in enumerate([0.5, 0.4, 0.7, 0.7, 0.6]):
        model.network.layers[-1].bias.assign(np.full(3, epoch))
        resume.on_epoch_end(epoch, {"val_top1": figure})
        kept.append(int(keras.models.load_model(tmp_path / "best.keras").layers[-1].bias[0]))
    assert kept == [0, 0, 2, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.keras", "state.npz"]


def test_resume_keeps_the_last_weights_without_a_figure_to_go_by(tmp_path):
    model = make_model()
    resume = common.Resume(tmp_path, None)
    resume.set_model(model)
    for epoch in range(2):
        model.network.layers[-1].bias.assign(np.full(3, epoch))
        resume.on_epoch_end(epoch, {"loss": 1.0})
    assert int(keras.models.load_model(tmp_path / "best.keras").layers[-1].bias[0]) == 1


# ---------------------------------------------------------------------------------------------------- fine-tuning
def network(num_classes=3, seed=0, **changes):
    keras.utils.set_random_seed(seed)
    options = {"input_shape": (4, 16, 16, 17), "base_filters": 4, "num_stages": 3} | changes
    return models.C3D(num_classes, **options)


def test_start_from_copies_everything_where_the_classes_are_the_same(tmp_path):
    trained, fresh = network(), network(seed=1)
    trained.save(tmp_path / "best.keras")
    assert common.start_from(fresh, tmp_path / "best.keras", "--variant") == []
    for weight, expected in zip(fresh.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_start_from_leaves_the_classifier_of_other_classes(tmp_path):
    trained, fresh = network(num_classes=5), network(seed=1)
    trained.save(tmp_path / "best.keras")
    classifier = fresh.layers[-1].get_weights()
    assert common.start_from(fresh, tmp_path / "best.keras", "--variant") == [fresh.layers[-1].name]
    for ours, theirs in zip(fresh.layers[:-1], trained.layers[:-1], strict=True):
        for weight, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
    for weight, expected in zip(fresh.layers[-1].get_weights(), classifier, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("changes", [{"base_filters": 8}, {"num_stages": 4}, {"input_shape": (4, 16, 16, 15)}])
def test_start_from_refuses_another_network(tmp_path, changes):
    network(5, **changes).save(tmp_path / "best.keras")
    with pytest.raises(ValueError, match="has the layers of the one to train, .*; give the same --variant"):
        common.start_from(network(), tmp_path / "best.keras", "--variant")


def test_start_from_refuses_a_file_of_something_else(tmp_path):
    (tmp_path / "best.keras").write_bytes(b"nothing that could be unzipped")
    with pytest.raises(ValueError, match="is a .keras file, .*best.keras cannot be read: "):
        common.start_from(network(), tmp_path / "best.keras", "--variant")


def test_start_from_wants_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"is a .keras file, got .*best.keras, which does not exist; check the path"):
        common.start_from(network(), tmp_path / "best.keras", "--variant")
