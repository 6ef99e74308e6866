"""What a training runs on, and what it shows of its progress."""

import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import training
from kerapose.evaluation import progress
from kerapose.training import devices


@pytest.fixture
def said(monkeypatch):
    """What is asked of TensorFlow and Keras, without its being done: the tests of this process go on."""
    said = {}
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: said.update(deterministic=True))
    monkeypatch.setattr(keras.config, "set_dtype_policy", lambda policy: said.update(precision=policy))
    return said


@pytest.mark.parametrize(
    "gpus, given, expected",
    [([], None, True), (["GPU:0"], None, False), (["GPU:0"], True, True), ([], False, False)],
)
def test_operations_are_repeatable_by_default_on_a_cpu(monkeypatch, said, gpus, given, expected):
    monkeypatch.setattr(devices, "_gpus", lambda: gpus)
    config = {"seed": 0, "precision": "auto", "deterministic": given}
    assert devices.is_deterministic(config) is expected
    training.set_up(config)
    assert said.get("deterministic", False) is expected


@pytest.mark.parametrize(
    "gpus, multiplies, given, expected",
    [
        ([], True, "auto", "mixed_bfloat16"),
        ([], False, "auto", "float32"),
        (["GPU:0"], True, "auto", "float32"),
        ([], True, "float32", "float32"),
        ([], False, "mixed_float16", "mixed_float16"),
    ],
)
def test_auto_is_bfloat16_on_a_cpu_that_multiplies_in_it(monkeypatch, said, gpus, multiplies, given, expected):
    monkeypatch.setattr(devices, "_gpus", lambda: gpus)
    monkeypatch.setattr(devices, "_cpu_multiplies_bfloat16", lambda: multiplies)
    training.set_up({"seed": 0, "precision": given, "deterministic": False})
    assert said == {"precision": expected}


def test_a_seed_gives_the_same_weights(said):
    def weights(seed):
        training.set_up({"seed": seed, "precision": "float32", "deterministic": False})
        return keras.layers.Dense(3)(np.ones((1, 4))).numpy()

    first, other, again = weights(3), weights(4), weights(3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_a_strategy_goes_by_its_name():
    assert training.make_strategy("none") is tf.distribute.get_strategy()
    assert isinstance(training.make_strategy("mirrored"), tf.distribute.MirroredStrategy)
    with pytest.raises(
        ValueError, match="must be one of none, mirrored, multi_worker, jax_data_parallel, got 'mirrors'; use"
    ):
        training.make_strategy("mirrors")


def test_every_device_gets_a_sample_a_step(monkeypatch):
    cpu = tf.config.list_logical_devices("CPU")[0]
    monkeypatch.setattr(devices, "_gpus", lambda: [cpu])
    assert training.make_strategy("mirrored", 1).num_replicas_in_sync == 1
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: two)
    assert training.make_strategy("mirrored", 2) is two
    with pytest.raises(ValueError, match="Each of 2 devices needs a sample a step, got batch_size 1; raise it"):
        training.make_strategy("mirrored", 1)


def test_a_last_batch_is_filled_up_with_samples_that_do_not_count():
    x = {"a": np.arange(10.0).reshape(5, 2), "b": np.arange(5)}
    given = tf.data.Dataset.from_tensor_slices((x, np.arange(5) % 2)).batch(4)
    first, last = training.filled_up(given, 4).as_numpy_iterator()
    np.testing.assert_array_equal(first[0]["a"], x["a"][:4])
    np.testing.assert_array_equal(first[1], [0, 1, 0, 1])
    np.testing.assert_array_equal(first[2], [1, 1, 1, 1])
    np.testing.assert_array_equal(last[0]["a"], [[8, 9]] * 4)
    np.testing.assert_array_equal(last[0]["b"], [4] * 4)
    np.testing.assert_array_equal(last[1], [0] * 4)
    np.testing.assert_array_equal(last[2], [1, 0, 0, 0])
    assert training.filled_up(given, 4).element_spec[0]["a"].shape == (4, 2)  # no step is traced for the last


def test_weights_that_were_given_are_kept():
    weights = np.float32([[0.5, 1], [2, 3], [4, 0]])
    given = tf.data.Dataset.from_tensor_slices((np.ones((3, 1)), np.ones((3, 1)), weights)).batch(2)
    first, last = training.filled_up(given, 2).as_numpy_iterator()
    np.testing.assert_array_equal(first[2], weights[:2])
    np.testing.assert_array_equal(last[2], [[4, 0], [0, 0]])


@pytest.mark.parametrize("pathways", [False, True])
def test_figures_of_actions_do_not_count_what_was_filled_up(pathways):
    inputs = keras.Input((6,))
    scores = keras.layers.Dense(4)(inputs)
    outputs = {"rgb": scores, "pose": -scores, "fused": 2 * scores} if pathways else scores
    model = keras.Model(inputs, outputs)
    training.compile_for_actions(model, 4, "sgd")
    x = np.random.default_rng(0).normal(size=(7, 6))
    labels = np.argmax(model.predict_on_batch(x)["fused"] if pathways else model.predict_on_batch(x), axis=1)
    labels[[0, 6]] += 1  # two that are wrong, one of them in the last batch
    batches = training.for_outputs(tf.data.Dataset.from_tensor_slices((x, labels % 4)).batch(4), model)
    expected = model.evaluate(batches, return_dict=True, verbose=0)
    found = model.evaluate(training.filled_up(batches, 4), return_dict=True, verbose=0)
    assert set(found) == set(expected)
    figures = {name for name in expected if not name.endswith("loss")}
    assert {name: found[name] for name in figures} == pytest.approx({name: expected[name] for name in figures})
    assert found["fused_top1" if pathways else "top1"] == pytest.approx(5 / 7)
    assert found["loss"] == pytest.approx(7 / 8 * expected["loss"])  # which counts them as zeros


# ---------------------------------------- progress
def test_in_a_file_progress_is_a_line_an_epoch(tmp_path, capfd):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    data, resume = (np.ones((40, 3)), np.ones((40, 2))), training.Resume(tmp_path, "val_loss", least=True)
    model.fit(
        *data,
        batch_size=1,
        epochs=3,
        initial_epoch=resume.restore(model),
        validation_data=data,
        callbacks=[resume],
        verbose=progress.in_terminal(),
    )
    for count in (4, None):
        bar = progress.make_bar(count, "video")
        for _ in range(4):
            bar.add(1)
    said = capfd.readouterr().out
    assert not set("\r\b\x1b") & set(said)
    *epochs, bar = said.splitlines()
    assert [line.split(":")[0] for line in epochs] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert all(re.search(r"\bloss \d.*\bval_loss \d", line) for line in epochs) and bar.startswith("4/4")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_terminals(monkeypatch, terminal):
    monkeypatch.setattr(progress, "in_terminal", lambda: terminal)
    assert progress.make_bar(3, "video").verbose == (1 if terminal else 2)
