"""Batches whose open axes have few sizes, where each would be a compilation of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose.data.shapes import few_shapes


def people(*counts):
    """Batches of two clips of so many people, with labels."""
    signature = ({"scores": tf.TensorSpec((None, None, 3))}, tf.TensorSpec((None,)))
    batches = [({"scores": np.ones((2, count, 3), "float32")}, np.float32([0, 1])) for count in counts]
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


@pytest.mark.parametrize("count, size", [(0, 1), (1, 1), (2, 2), (3, 4), (5, 8), (8, 8)])
def test_nobody_is_added_up_to_a_power_of_two_under_jax(monkeypatch, count, size):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    ((inputs, labels),) = few_shapes(people(count)).as_numpy_iterator()
    assert inputs["scores"].shape == (2, size, 3) and labels.tolist() == [0, 1]
    assert inputs["scores"][:, :count].all() and not inputs["scores"][:, count:].any()


def test_what_is_closed_and_what_tensorflow_trains_on_stays(monkeypatch):
    batches = people(3)
    assert few_shapes(batches) is batches
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    closed = tf.data.Dataset.from_tensor_slices(np.zeros((5, 3))).batch(2)
    assert few_shapes(closed) is closed
