"""Enlarging and pooling against NumPy and plain Keras layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_layers import EVEN, ODD, random_array

from kerapose import layers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_upsample_repeats_each_pixel(factor, dtype):
    layer, x = layers.Upsample(factor, dtype=dtype), tf.cast(random_array((2, 3, 5, 4)), dtype)
    expected = np.repeat(np.repeat(tf.cast(x, tf.float32), factor, axis=1), factor, axis=2)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4), dtype)])
    for y in (layer(x), graph(x)):
        assert y.dtype == dtype
        np.testing.assert_array_equal(tf.cast(y, tf.float32), expected)
    assert layer.compute_output_shape((None, 3, None, 4)) == (None, 3 * factor, None, 4)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.cast(layer(x), tf.float32) * np.arange(expected.size).reshape(expected.shape))
    blocks = np.arange(expected.size).reshape(2, 3, factor, 5, factor, 4).sum((2, 4))
    np.testing.assert_allclose(tf.cast(tape.gradient(loss, x), tf.float32), blocks, rtol=0.02)
    assert layers.Upsample.from_config(layer.get_config()).factor == factor


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("factor", [2, 3])
def test_the_gradient_of_enlarging_compiles_and_outlives_a_saved_model(factor, policy, tmp_path):
    layer, x = layers.Upsample(factor, dtype=policy), random_array((2, 3, 5, 4))

    def gradient_of(enlarge):
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(tf.cast(enlarge(x), tf.float32)))
            return tape.gradient(loss, x)

        return gradient

    inputs = keras.Input((None, None, 4))
    keras.Model(inputs, layer(inputs)).export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served").serve
    compiled = tf.function(gradient_of(layer), jit_compile=True)
    for gradient in (gradient_of(layer), compiled, gradient_of(served)):
        np.testing.assert_allclose(gradient(tf.constant(x)), 2 * factor**2 * x, rtol=0.03, atol=0.01)


@pytest.mark.parametrize("size", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("stride", [1, 2])
def test_symmetric_max_pool_equals_plain_keras(stride, size):
    x = np.abs(random_array((2, *size, 3)))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    expected = keras.layers.MaxPooling3D((1, 3, 3), (1, stride, stride))(padded)
    layer = layers.FramePool("max", 3, stride, symmetric=True)
    np.testing.assert_array_equal(layer(x), expected)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("size", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("frame_pairs", [False, True])
def test_average_pool_equals_plain_keras(frame_pairs, size):
    x = random_array((2, *size, 3))
    expected = keras.layers.AveragePooling3D((2 if frame_pairs else 1, 2, 2))(x)
    layer = layers.FramePool("average", 2, 2, frame_pairs=frame_pairs)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == expected.shape


def test_frame_pool_config_round_trip():
    config = layers.FramePool("max", 3, 2, symmetric=True, frame_pairs=True).get_config()
    assert {
        "mode": "max",
        "pool_size": 3,
        "stride": 2,
        "symmetric": True,
        "frame_pairs": True,
    }.items() <= config.items()
    assert layers.FramePool.from_config(config).get_config() == config
