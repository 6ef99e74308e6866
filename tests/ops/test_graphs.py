"""Operations that compute in TensorFlow's graphs under any backend; tests/train/test_jax.py has pipelines of them."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import graphs


@pytest.fixture
def told(monkeypatch):
    """Operations of a Keras that is told another backend, whose functions nobody may call."""
    module = inspect.getmodule(keras.ops.reshape)
    monkeypatch.setattr(module, "backend", None)
    graphs._scope_on_tensorflow.cache_clear()
    yield graphs._AnyGraph(keras.ops)
    graphs._scope_on_tensorflow.cache_clear()


def test_a_graph_computes_in_tensorflow_whatever_keras_was_told(told):
    @tf.function(autograph=False)
    def double(x):
        assert graphs.in_graph()
        return told.cond(told.shape(x)[0] > 1, lambda: told.reshape(told.sum(x, axis=0) * 2, (1, -1)), lambda: x)

    np.testing.assert_array_equal(double(np.float32([[1, 2], [3, 4]])), [[8, 12]])


def test_outside_of_a_graph_it_is_keras(told):
    assert not graphs.in_graph()
    assert told.reshape is keras.ops.reshape and told.linalg.det is keras.ops.linalg.det


def test_under_tensorflow_there_is_nothing_in_between():
    assert graphs.ops is keras.ops
