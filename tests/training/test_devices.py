"""What a training runs on, and what it shows of its progress."""

import re

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
    with pytest.raises(ValueError, match="strategy must be none or mirrored, got 'mirrors'; use one of them"):
        training.make_strategy("mirrors")


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
