"""Batch norms and transposed convolutions against PyTorch."""

import numpy as np
import pytest
import tensorflow as tf
from random_layers import CHANNELS, random_array, random_weights

from kerapose import layers


def norm_in_torch(layer, torch):
    norm = torch.nn.BatchNorm2d(layer.gamma.shape[0])
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    state = {theirs: torch.tensor(np.array(getattr(layer, ours))) for theirs, ours in names.items()}
    norm.load_state_dict(state | {"num_batches_tracked": torch.tensor(0)})
    return norm


def compare_with_torch(layer, modules, torch, x):
    """Inference, then a training step: outputs, gradients with regard to the input, running statistics."""
    torch_x = torch.tensor(np.moveaxis(x, -1, 1)).requires_grad_()
    network = torch.nn.Sequential(*modules).eval()

    def last(y):
        return np.moveaxis(y.detach().numpy(), 1, -1)

    expected = last(network(torch_x))
    assert expected.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, x.shape[-1]))])
    np.testing.assert_allclose(graph(x), expected, rtol=1e-4, atol=1e-5)
    weighting = random_array(expected.shape, 5)
    y = network.train()(torch_x)
    (y * torch.tensor(np.moveaxis(weighting, -1, 1))).sum().backward()
    ours = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(ours)
        z = layer(ours, training=True)
        loss = tf.reduce_sum(z * weighting)
    np.testing.assert_allclose(z, last(y), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(tape.gradient(loss, ours), last(torch_x.grad), rtol=1e-3, atol=1e-3)
    norm = next(module for module in modules if isinstance(module, torch.nn.BatchNorm2d))
    np.testing.assert_allclose(layer.moving_mean, norm.running_mean.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, norm.running_var.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("kernel_size, padding, output_padding", [(4, 1, 0), (3, 1, 1), (2, 0, 0)])
def test_transposed_convolution_equals_pytorch(kernel_size, padding, output_padding, use_bias):
    torch = pytest.importorskip("torch")
    layer = layers.ConvTransposeNorm(6, kernel_size, use_bias=use_bias)
    layer.build((None, None, None, CHANNELS))
    random_weights(layer)
    options = {"padding": padding, "output_padding": output_padding, "bias": use_bias}
    convolution = torch.nn.ConvTranspose2d(CHANNELS, 6, kernel_size, 2, **options)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor(np.transpose(layer.kernel, (3, 2, 0, 1))))
        if use_bias:
            convolution.bias.copy_(torch.tensor(np.array(layer.bias)))
    x = random_array((2, 5, 3, CHANNELS))
    compare_with_torch(layer, [convolution, norm_in_torch(layer, torch), torch.nn.ReLU()], torch, x)
    assert len(layer.trainable_variables) == 3 + use_bias
    clone = layers.ConvTransposeNorm.from_config(layer.get_config())
    assert clone.get_config() == layer.get_config() and clone.torch_names == layer.torch_names


def test_a_transposed_convolution_of_another_kernel_is_refused():
    with pytest.raises(ValueError, match="has kernel 2, 3 or 4, got 5; 4 is the usual one"):
        layers.ConvTransposeNorm(6, 5)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_batch_norm_equals_pytorch(activation):
    torch = pytest.importorskip("torch")
    layer = layers.BatchNorm(activation)
    layer.build((None, None, None, CHANNELS))
    random_weights(layer)
    modules = [norm_in_torch(layer, torch), torch.nn.ReLU() if activation else torch.nn.Identity()]
    compare_with_torch(layer, modules, torch, random_array((2, 5, 3, CHANNELS)))
    assert layers.BatchNorm.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("layer", [layers.ConvTransposeNorm(6, 4), layers.BatchNorm("relu")], ids=["deconv", "norm"])
def test_frozen_layers_use_and_keep_their_running_statistics(layer):
    x = random_array((2, 5, 3, CHANNELS))
    layer.build((None, None, None, CHANNELS))
    random_weights(layer)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_allclose(layer(x, training=True), layer(x), rtol=1e-5, atol=1e-6)
    for value, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", ["deconv", "norm"])
def test_mixed_precision_is_close_and_keeps_float32_statistics(name):
    x, outputs = random_array((4, 5, 3, 16)) + 1, []
    for policy in ("float32", "mixed_bfloat16"):
        make = {
            "deconv": lambda p: layers.ConvTransposeNorm(6, 4, dtype=p),
            "norm": lambda p: layers.BatchNorm(dtype=p),
        }
        layer = make[name](policy)
        layer.build(x.shape)
        random_weights(layer)
        outputs.append([layer(x), layer(x, training=True), layer.moving_mean, layer.moving_variance])
    (exact, trained, *statistics), (rounded, rounded_trained, *rounded_statistics) = outputs
    assert rounded.dtype == rounded_trained.dtype == tf.bfloat16
    for ours, expected in ((rounded, exact), (rounded_trained, trained)):
        ours = tf.cast(ours, tf.float32)
        np.testing.assert_allclose(ours, expected, atol=0.03 * np.abs(expected).max())
    for ours, expected in zip(rounded_statistics, statistics, strict=True):
        assert ours.dtype == "float32"
        np.testing.assert_allclose(ours, expected, rtol=0.02, atol=0.02)
