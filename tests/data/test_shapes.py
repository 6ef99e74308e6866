"""The sizes of batches: none without anything; open axes of few sizes, where each would be a compilation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import skeletons
from kerapose.data import clips, order
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


@pytest.mark.parametrize("batch_size", [0, -4])
@pytest.mark.parametrize("make, more", [(clips.training, [skeletons.COCO]), (clips.evaluation, [])])
def test_a_batch_without_anything_is_refused(make, more, batch_size):
    dataset = clips.from_arrays([np.full((1, 4, 17, 2), 20.0)], [0], skeletons.COCO)
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}; give a positive number"):
        make(dataset, *more, batch_size=batch_size, num_frames=4, size=(16, 16))


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        order.Share().size(0)
