"""Layers against the same thing written with plain Keras layers, and against loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import layers
from kerapose.ops import heatmaps
from kerapose.skeletons import COCO

# kernel, strides, depthwise: every way that a network of the package convolves, and the ways between them.
CONVOLUTIONS = {
    "1x1x1": ((1, 1, 1), (1, 1, 1), False),
    "1x1x1 space": ((1, 1, 1), (1, 2, 2), False),
    "1x1x1 time": ((1, 1, 1), (2, 1, 1), False),
    "1x1x1 both": ((1, 1, 1), (2, 2, 2), False),
    "1x3x3": ((1, 3, 3), (1, 1, 1), False),
    "1x3x3 space": ((1, 3, 3), (1, 2, 2), False),
    "1x3x3 both": ((1, 3, 3), (2, 2, 2), False),
    "1x7x7": ((1, 7, 7), (1, 1, 1), False),
    "1x7x7 space": ((1, 7, 7), (1, 2, 2), False),
    "3x1x1": ((3, 1, 1), (1, 1, 1), False),
    "5x1x1 time": ((5, 1, 1), (2, 1, 1), False),
    "3x1x1 space": ((3, 1, 1), (1, 2, 2), False),
    "3x3x3": ((3, 3, 3), (1, 1, 1), False),
    "3x3x3 space": ((3, 3, 3), (1, 2, 2), False),
    "3x3x3 both": ((3, 3, 3), (2, 2, 2), False),
    "depthwise 5x1x1": ((5, 1, 1), (1, 1, 1), True),
    "depthwise 3x3x3": ((3, 3, 3), (1, 1, 1), True),
    "depthwise 3x3x3 space": ((3, 3, 3), (1, 2, 2), True),
    "depthwise 1x5x5 space": ((1, 5, 5), (1, 2, 2), True),
}
EVEN, ODD = (4, 6, 8), (5, 7, 9)
CHANNELS = 4


def random_array(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def random_weights(layer, seed=1):
    """Gives a built `ConvNorm` weights that no two channels share."""
    random = np.random.default_rng(seed)
    for variable in layer.weights:
        low, high = (0.5, 2.0) if variable.path.endswith(("gamma", "moving_variance")) else (-1.0, 1.0)
        variable.assign(random.uniform(low, high, variable.shape))


def plain_layers(layer):
    """The padding, convolution and batch norm that a built `ConvNorm` stands for, with its weights."""
    padding = keras.layers.ZeroPadding3D([size // 2 for size in layer.kernel_size])
    convolution = keras.layers.Conv3D(layer.filters, layer.kernel_size, layer.strides, use_bias=False)
    convolution.build((None, None, None, None, CHANNELS))
    convolution.kernel.assign(dense_kernel(layer))
    norm = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    norm.build((None, None, None, None, layer.filters))
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        getattr(norm, name).assign(getattr(layer, name))
    return padding, convolution, norm


def dense_kernel(layer):
    """[t, h, w, I, O]: a depthwise kernel is a dense one whose off-diagonal entries are zero."""
    kernel = np.asarray(layer.kernel)
    return kernel * np.eye(CHANNELS, dtype="float32") if layer.depthwise else kernel


def call_plain(plain, x, training, shortcut=None):
    padding, convolution, norm = plain
    y = norm(convolution(padding(x)), training=training)
    return tf.nn.relu(y if shortcut is None else y + shortcut)


def built_layer(case, size, **options):
    kernel_size, strides, depthwise = CONVOLUTIONS[case]
    layer = layers.ConvNorm(4 if depthwise else 6, kernel_size, strides, depthwise=depthwise, **options)
    layer.build((None, *size, CHANNELS))
    random_weights(layer)
    return layer


# ---------------------------------------- ConvNorm
@pytest.mark.parametrize("size", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_inference_equals_plain_keras(case, size):
    layer, x = built_layer(case, size), random_array((2, *size, CHANNELS))
    expected = call_plain(plain_layers(layer), x, training=False)
    y = layer(x)
    assert y.shape == expected.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, *size, CHANNELS))])
    np.testing.assert_allclose(graph(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_training_equals_plain_keras_with_gradients(case, size):
    layer, x = built_layer(case, size), tf.constant(random_array((2, *size, CHANNELS)))
    plain = plain_layers(layer)
    shape = layer.compute_output_shape(x.shape)
    shortcut, weighting = tf.constant(random_array(shape, 2)), random_array(shape, 3)
    means, variances = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)

    def run(call, *variables):
        with tf.GradientTape() as tape:
            tape.watch((x, shortcut))
            y = call()
            loss = tf.reduce_sum(y * weighting)
        return y, tape.gradient(loss, [x, shortcut, *(variable.value for variable in variables)])

    y, gradients = run(lambda: layer(x, shortcut, training=True), layer.kernel, layer.gamma, layer.beta)
    _, convolution, norm = plain
    expected, expected_gradients = run(
        lambda: call_plain(plain, x, True, shortcut), convolution.kernel, norm.gamma, norm.beta
    )
    if layer.depthwise:
        diagonal = range(CHANNELS)
        expected_gradients[2] = expected_gradients[2].numpy()[..., diagonal, diagonal][..., None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())

    convolved = np.asarray(convolution(plain[0](x)), "float64").reshape(-1, layer.filters)
    np.testing.assert_allclose(layer.moving_mean, 0.9 * means + 0.1 * convolved.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, norm.moving_mean, rtol=1e-4, atol=1e-5)
    # Keras keeps the biased variance, PyTorch, and so we, the unbiased one.
    unbiased = convolved.var(0, ddof=1)
    np.testing.assert_allclose(layer.moving_variance, 0.9 * variances + 0.1 * unbiased, rtol=1e-4, atol=1e-5)


def test_running_variance_is_the_unbiased_one():
    layer = layers.ConvNorm(2, (1, 1, 1))
    x = np.float32([[1, 5], [3, 1]]).reshape(1, 1, 1, 2, 2)
    layer.build(x.shape)
    layer.kernel.assign(np.eye(2).reshape(1, 1, 1, 2, 2))
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 2, 0.9 + 0.1 * 8], rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", ["1x3x3 both", "3x1x1", "3x3x3", "3x3x3 both", "depthwise 3x3x3 space"])
def test_shortcut_is_added_before_the_activation(case, training):
    layer, x = built_layer(case, ODD), random_array((2, *ODD, CHANNELS))
    shortcut = random_array(layer.compute_output_shape(x.shape), 4)
    expected = call_plain(plain_layers(layer), x, training, shortcut)
    assert (np.asarray(expected) == 0).any()
    np.testing.assert_allclose(layer(x, shortcut, training=training), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["1x3x3 space", "3x3x3", "depthwise 5x1x1"])
def test_without_norm_it_is_a_bare_convolution(case):
    layer, x = built_layer(case, ODD, norm=False, activation=None), random_array((2, *ODD, CHANNELS))
    assert [variable.name for variable in layer.weights] == ["kernel"]
    convolution = keras.layers.Conv3D(layer.filters, layer.kernel_size, layer.strides, use_bias=False)
    padded = keras.layers.ZeroPadding3D([size // 2 for size in layer.kernel_size])(x)
    convolution.build(padded.shape)
    convolution.kernel.assign(dense_kernel(layer))
    np.testing.assert_allclose(layer(x, training=True), convolution(padded), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_activation(activation):
    layer, x = built_layer("1x3x3", EVEN, activation=activation), random_array((2, *EVEN, CHANNELS))
    padding, convolution, norm = plain_layers(layer)
    expected = keras.activations.get(activation)(norm(convolution(padding(x)), training=False))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_layer_uses_and_keeps_its_running_statistics():
    layer, x = built_layer("3x3x3", EVEN), random_array((2, *EVEN, CHANNELS))
    layer.trainable = False
    before = [np.asarray(variable) for variable in layer.weights]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    for variable, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_initial_values():
    layer = layers.ConvNorm(64, (3, 3, 3), gamma_initializer="zeros")
    layer.build((None, *EVEN, 32))
    assert np.std(layer.kernel) == pytest.approx((2 / (27 * 64)) ** 0.5, rel=0.03)
    assert not np.any(layer.gamma) and not np.any(layer.beta) and not np.any(layer.moving_mean)
    np.testing.assert_array_equal(layer.moving_variance, np.ones(64))
    assert [variable.name for variable in layer.trainable_variables] == ["kernel", "gamma", "beta"]


@pytest.mark.parametrize("depthwise", [False, True])
def test_mixed_precision_folds_the_norm_in_float32(depthwise):
    """A single one as input reads the folded kernel off: it is rounded once, after the product."""
    layer = layers.ConvNorm(64, (1, 1, 1), activation=None, depthwise=depthwise, dtype="mixed_bfloat16")
    layer.build((None, 1, 1, 1, 64))
    random_weights(layer)
    layer.beta.assign(np.zeros(64))
    layer.moving_mean.assign(np.zeros(64))
    assert layer.kernel.dtype == layer.gamma.dtype == "float32"
    x = np.ones((1, 1, 1, 1, 64), "float32") if depthwise else np.eye(64, dtype="float32")[:, None, None, None]
    y = layer(x)
    assert y.dtype == tf.bfloat16
    scale = np.asarray(layer.gamma) / np.sqrt(np.asarray(layer.moving_variance) + 1e-5)
    kernel = np.asarray(layer.kernel)[0, 0, 0]  # [I, O], or [C, 1]
    exact, rounded = (kernel[:, 0] * scale, kernel[:, 0]) if depthwise else (kernel * scale, kernel)
    read = tf.cast(tf.reshape(y, exact.shape), tf.float32).numpy()
    in_bfloat16 = (tf.cast(rounded, tf.bfloat16) * tf.cast(scale, tf.bfloat16)).numpy().astype("float32")
    np.testing.assert_allclose(read, exact, rtol=2.0**-8)
    assert np.abs(read - exact).sum() < 0.8 * np.abs(in_bfloat16 - exact).sum()


def test_mixed_precision_trains_with_float32_statistics():
    layer = layers.ConvNorm(6, (3, 3, 3), dtype="mixed_bfloat16")
    x = random_array((4, *EVEN, CHANNELS)) + 3
    layer.build(x.shape)
    random_weights(layer)
    reference = layers.ConvNorm(6, (3, 3, 3))
    reference.build(x.shape)
    for ours, theirs in zip(reference.weights, layer.weights, strict=True):
        ours.assign(theirs)
    y, expected = layer(x, training=True), reference(x, training=True)
    assert y.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.05)
    assert layer.moving_variance.dtype == "float32"
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(getattr(layer, name), getattr(reference, name), rtol=0.02, atol=0.01)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_mixed_precision_differentiates_short_clips(frames):
    """oneDNN's own way reads memory that is not its own for 2 frames; freed buffers of NaN make that visible."""
    layer = layers.ConvNorm(128, (3, 3, 3), activation=None, norm=False, dtype="mixed_bfloat16")
    reference = layers.ConvNorm(128, (3, 3, 3), activation=None, norm=False)
    x, upstream = random_array((4, frames, 5, 5, 64)), random_array((4, frames, 5, 5, 128))
    layer.build(x.shape)
    reference.build(x.shape)
    reference.kernel.assign(layer.kernel)

    @tf.function
    def gradient(conv_norm):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(conv_norm(x, training=True), tf.float32) * upstream)
        return tape.gradient(loss, conv_norm.kernel)

    gradients = []
    for _ in range(5):
        freed = [tf.fill((size,), np.float32("nan")) for size in (10_000, 100_000, 300_000) for _ in range(8)]
        del freed
        gradients.append(gradient(layer).numpy())
    assert all((found == gradients[0]).all() for found in gradients)
    expected = gradient(reference).numpy()
    np.testing.assert_allclose(gradients[0], expected, atol=0.03 * np.abs(expected).max())


def test_conv_norm_config_round_trip():
    layer = layers.ConvNorm(
        6, (1, 5, 3), (1, 2, 1), activation="silu", norm=False, depthwise=True, gamma_initializer="zeros", name="c"
    )
    config = layer.get_config()
    assert layers.ConvNorm.from_config(config).get_config() == config
    assert {"filters": 6, "kernel_size": (1, 5, 3), "strides": (1, 2, 1), "depthwise": True}.items() <= config.items()
    clone = layers.ConvNorm.from_config(config)
    assert clone.activation is keras.activations.silu and not clone.norm
    assert isinstance(clone.gamma_initializer, keras.initializers.Zeros)


def test_depthwise_errors_say_what_to_do():
    with pytest.raises(ValueError, match="got 4 channels in and filters=6; use filters=4"):
        layers.ConvNorm(6, (3, 3, 3), depthwise=True).build((None, 4, 6, 8, 4))
    with pytest.raises(ValueError, match="temporal stride 1, got strides=\\(2, 1, 1\\)"):
        layers.depthwise_convolution(random_array((1, 4, 6, 8, 2)), random_array((3, 1, 1, 2, 1)), (2, 1, 1))


# ---------------------------------------- ConvNorm of images
IMAGE_CONVOLUTIONS = {
    "1x1": ((1, 1), 1, False),
    "1x1 strided": ((1, 1), 2, False),
    "3x3": ((3, 3), 1, False),
    "3x3 strided": ((3, 3), 2, False),
    "7x7 strided": ((7, 7), 2, False),
    "5x3 uneven": ((5, 3), (2, 1), False),
    "depthwise 3x3": ((3, 3), 1, True),
    "depthwise 3x3 strided": ((3, 3), 2, True),
}


def image_layer(case, **options):
    kernel_size, strides, depthwise = IMAGE_CONVOLUTIONS[case]
    layer = layers.ConvNorm(4 if depthwise else 6, kernel_size, strides, depthwise=depthwise, **options)
    layer.build((None, None, None, CHANNELS))
    random_weights(layer)
    return layer


def plain_image_layers(layer):
    """The padding, convolution and batch norm that a built `ConvNorm` of images stands for, with its weights."""
    convolution = keras.layers.Conv2D(layer.filters, layer.kernel_size, layer.strides, use_bias=layer.use_bias)
    convolution.build((None, None, None, CHANNELS))
    convolution.kernel.assign(dense_kernel(layer))
    if layer.use_bias:
        convolution.bias.assign(layer.bias)
    norm = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    norm.build((None, None, None, layer.filters))
    for name in ("gamma", "beta", "moving_mean", "moving_variance") if layer.norm else ():
        getattr(norm, name).assign(getattr(layer, name))
    return keras.layers.ZeroPadding2D([size // 2 for size in layer.kernel_size]), convolution, norm


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=["even", "odd"])
@pytest.mark.parametrize("case", IMAGE_CONVOLUTIONS)
def test_of_an_image_inference_equals_plain_keras(case, size, use_bias):
    layer, x = image_layer(case, use_bias=use_bias), random_array((2, *size, CHANNELS))
    shortcut = random_array(layer.compute_output_shape(x.shape), 4)
    plain = plain_image_layers(layer)
    for added in (None, shortcut):
        expected = call_plain(plain, x, False, added)
        np.testing.assert_allclose(layer(x, added), expected, rtol=1e-4, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, CHANNELS))])  # of any size
    np.testing.assert_allclose(graph(x), call_plain(plain, x, False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("case", IMAGE_CONVOLUTIONS)
def test_of_an_image_training_equals_plain_keras_with_gradients(case, use_bias):
    layer, x = image_layer(case, use_bias=use_bias), tf.constant(random_array((2, 7, 9, CHANNELS)))
    plain = plain_image_layers(layer)
    padding, convolution, norm = plain
    shape, variance = layer.compute_output_shape(x.shape), np.asarray(layer.moving_variance)
    shortcut, weighting = tf.constant(random_array(shape, 2)), random_array(shape, 3)

    def run(call, *variables):
        with tf.GradientTape() as tape:
            tape.watch((x, shortcut))
            loss = tf.reduce_sum(call() * weighting)
        return loss, tape.gradient(loss, [x, shortcut, *(variable.value for variable in variables)])

    biases = ([layer.bias], [convolution.bias]) if use_bias else ([], [])
    ours = run(lambda: layer(x, shortcut, training=True), layer.kernel, layer.gamma, layer.beta, *biases[0])
    theirs = run(lambda: call_plain(plain, x, True, shortcut), convolution.kernel, norm.gamma, norm.beta, *biases[1])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-3)
    if layer.depthwise:
        theirs[1][2] = theirs[1][2].numpy()[..., range(CHANNELS), range(CHANNELS)][..., None]
    for gradient, expected in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4 * max(1, np.abs(expected).max()))
    if use_bias:
        np.testing.assert_array_equal(ours[1][-1], np.zeros(layer.filters))
    convolved = np.asarray(convolution(padding(x)), "float64").reshape(-1, layer.filters)
    np.testing.assert_allclose(layer.moving_mean, norm.moving_mean, rtol=1e-4, atol=1e-5)
    expected = 0.9 * variance + 0.1 * convolved.var(0, ddof=1)
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_of_an_image_without_norm_there_may_be_a_bias(training, use_bias):
    layer = image_layer("3x3 strided", norm=False, use_bias=use_bias, activation=None)
    assert [variable.name for variable in layer.weights] == ["kernel", "bias"][: 1 + use_bias]
    x, (padding, convolution, _) = random_array((2, 7, 9, CHANNELS)), plain_image_layers(layer)
    expected = convolution(padding(x))
    np.testing.assert_allclose(layer(x, training=training), expected, rtol=1e-4, atol=1e-5)
    shortcut = random_array(expected.shape, 4)
    np.testing.assert_allclose(layer(x, shortcut, training=training), expected + shortcut, rtol=1e-4, atol=1e-5)


def test_over_frames_there_may_be_a_bias_too():
    layer, x = built_layer("3x3x3", ODD, use_bias=True), random_array((2, *ODD, CHANNELS))
    bias, before = np.asarray(layer.bias), np.asarray(layer.moving_mean)
    without = layers.ConvNorm.from_config(layer.get_config() | {"use_bias": False})
    without.build((None, *ODD, CHANNELS))
    without.set_weights(
        [value for value, w in zip(layer.get_weights(), layer.weights, strict=True) if w.name != "bias"]
    )
    without.moving_mean.assign(before - bias)
    np.testing.assert_allclose(layer(x), without(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(x, training=True), without(x, training=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, without.moving_mean + bias, rtol=1e-4, atol=1e-5)


def test_names_in_pytorch_are_the_layers_own_unless_given():
    assert layers.ConvNorm(4, (3, 3), name="a.b").torch_names == ("a.b.conv", "a.b.bn")
    layer = layers.ConvNorm(4, (3, 3), torch_names=["a.0", None], use_bias=True, kernel_initializer="zeros")
    clone = layers.ConvNorm.from_config(layer.get_config())
    assert clone.torch_names == ("a.0", None) and clone.get_config() == layer.get_config()
    assert clone.use_bias and isinstance(clone.kernel_initializer, keras.initializers.Zeros)


def test_an_input_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"got \(3, 3\) for an input \(None, 4, 6, 8, 4\); give 3 numbers"):
        layers.ConvNorm(6, (3, 3)).build((None, 4, 6, 8, 4))


def test_two_layers_do_not_begin_alike():
    kernels = []
    for initializer in (layers.he_normal, layers.small_normal):
        for _ in range(2):
            layer = layers.ConvNorm(32, (3, 3), kernel_initializer=initializer())
            layer.build((None, 8, 8, 16))
            kernels.append(np.asarray(layer.kernel))
    assert np.any(kernels[0] != kernels[1]) and np.any(kernels[2] != kernels[3])
    assert np.std(kernels[0]) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    assert np.std(kernels[2]) == pytest.approx(0.001, rel=0.05)


# ---------------------------------------- ConvTransposeNorm, BatchNorm, Upsample
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


@pytest.mark.parametrize("channels", [12, 16, 24])  # with and without a bfloat16 kernel for the norm
@pytest.mark.parametrize(
    "kernel, strides", [((3, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((3, 3), (2, 2))], ids=["3D", "3D by 1", "2D"]
)
def test_a_depthwise_step_in_bfloat16_is_that_in_float32_within_its_error(kernel, strides, channels):
    x, steps = random_array((2, *(4, 8, 8)[-len(kernel) :], channels)), []
    for policy in ("float32", "mixed_bfloat16"):
        layer = layers.ConvNorm(channels, kernel, strides, depthwise=True, dtype=policy)
        layer.build(x.shape)
        random_weights(layer)
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
            assert y.dtype == layer.compute_dtype
            loss = tf.reduce_sum(tf.square(tf.cast(y, tf.float32)) * random_array(y.shape, seed=3))
        steps.append([y, *tape.gradient(loss, layer.trainable_variables), layer.moving_mean, layer.moving_variance])
    for exact, rounded in zip(*steps, strict=True):
        exact, rounded = (tf.cast(part, tf.float32).numpy() for part in (exact, rounded))
        np.testing.assert_allclose(rounded, exact, atol=0.04 * np.abs(exact).max())


# ---------------------------------------- depthwise convolution
def slow_depthwise(x, kernel, strides):
    """Sum over the taps that fall inside, output by output."""
    batch, frames, height, width, channels = x.shape
    reach = [size // 2 for size in kernel.shape[:3]]
    sizes = [(size - 1) // stride + 1 for size, stride in zip((frames, height, width), strides, strict=True)]
    y = np.zeros((batch, *sizes, channels))
    for t, i, j in np.ndindex(*sizes):
        for dt, di, dj in np.ndindex(*kernel.shape[:3]):
            at = [p * s + d - r for p, s, d, r in zip((t, i, j), strides, (dt, di, dj), reach, strict=True)]
            if all(0 <= a < size for a, size in zip(at, (frames, height, width), strict=True)):
                y[:, t, i, j] += x[:, at[0], at[1], at[2]] * kernel[dt, di, dj, :, 0]
    return y


@pytest.mark.parametrize("size", [(1, 3, 3), (2, 5, 4), (5, 6, 7)])
@pytest.mark.parametrize("kernel_size, stride", [((5, 1, 1), 1), ((3, 3, 3), 1), ((3, 3, 3), 2), ((3, 1, 1), 2)])
def test_depthwise_convolution_equals_the_loop(kernel_size, stride, size):
    x, kernel = random_array((2, *size, 3)), random_array((*kernel_size, 3, 1), 1)
    strides = (1, stride, stride)
    y = layers.depthwise_convolution(x, kernel, strides)
    np.testing.assert_allclose(y, slow_depthwise(x, kernel, strides), rtol=1e-5, atol=1e-5)


# ---------------------------------------- FramePool
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


# ---------------------------------------- HeatmapVolume
def clips_of_keypoints(batch=2, people=2, frames=3):
    random = np.random.default_rng(0)
    keypoints = random.uniform(-2, 58, (batch, people, frames, 17, 2)).astype("float32")
    return {"keypoints": keypoints, "scores": random.uniform(0, 1, keypoints.shape[:-1]).astype("float32")}


def volume_of(clips, edges, sigma_px=0.6):
    if edges is None:
        return np.asarray(heatmaps.joint_volume(clips["keypoints"], clips["scores"], 48, 56, sigma_px))
    return np.asarray(heatmaps.limb_volume(clips["keypoints"], clips["scores"], edges, 48, 56, sigma_px))


@pytest.mark.parametrize("sigma_px", [0.6, 1.0])
@pytest.mark.parametrize("edges", [None, COCO.edges, [[5, 7], [7, 9]]])
def test_heatmap_volume_equals_the_op(edges, sigma_px):
    clips = clips_of_keypoints()
    layer = layers.HeatmapVolume(48, 56, edges, sigma_px)
    volume = layer(clips)
    np.testing.assert_array_equal(volume, volume_of(clips, edges, sigma_px))
    shapes = {name: array.shape for name, array in clips.items()}
    assert layer.compute_output_shape(shapes) == volume.shape


@pytest.mark.parametrize("edges", [None, COCO.edges])
def test_heatmap_volume_inside_a_model_takes_any_number_of_people_and_frames(edges):
    inputs = {
        "keypoints": keras.Input((None, None, 17, 2), name="keypoints"),
        "scores": keras.Input((None, None, 17), name="scores"),
    }
    model = keras.Model(inputs, layers.HeatmapVolume(48, 56, edges)(inputs))
    assert model.output_shape == (None, None, 48, 56, 17)
    for people, frames in ((1, 4), (3, 1)):
        clips = clips_of_keypoints(2, people, frames)
        np.testing.assert_allclose(model(clips), volume_of(clips, edges), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("edges", [None, COCO.edges])
def test_mixed_precision_rounds_the_volume_and_not_the_keypoints(edges):
    clips = clips_of_keypoints()
    layer = layers.HeatmapVolume(48, 56, edges, dtype="mixed_bfloat16")
    inputs = {name: keras.Input(array.shape[1:], name=name) for name, array in clips.items()}
    for volume in (layer(clips), keras.Model(inputs, layer(inputs))(clips)):
        assert volume.dtype == tf.bfloat16
        expected = volume_of(clips, edges)
        np.testing.assert_allclose(tf.cast(volume, tf.float32), expected, rtol=2.0**-8, atol=1e-7)
    rounded = clips | {"keypoints": tf.cast(tf.cast(clips["keypoints"], tf.bfloat16), tf.float32)}
    assert np.abs(volume_of(rounded, edges) - expected).max() > 0.05  # what a rounded coordinate would have cost


@pytest.mark.parametrize("edges", [None, ((5, 7), (7, 9))])
def test_heatmap_volume_config_round_trip(edges):
    layer = layers.HeatmapVolume(48, 56, edges, 0.8, name="volume")
    config = layer.get_config()
    assert {"height": 48, "width": 56, "edges": edges, "sigma_px": 0.8}.items() <= config.items()
    serialized = keras.saving.serialize_keras_object(layer)
    clone = keras.saving.deserialize_keras_object(serialized)
    assert clone.get_config() == config
    clips = clips_of_keypoints()
    np.testing.assert_array_equal(clone(clips), layer(clips))


@pytest.mark.parametrize("shape", [(3, 1), (4, 2), (6, 2), (8, 1)])
def test_a_strided_convolution_to_one_column_is_right_in_bfloat16(shape):
    x = np.random.default_rng(0).normal(size=(2, *shape, 128)).astype("float32")
    exact = layers.ConvNorm(256, (3, 3), strides=2, dtype="float32")
    mixed = layers.ConvNorm(256, (3, 3), strides=2, dtype="mixed_bfloat16")
    expected, _ = np.asarray(exact(x)), mixed(x)
    mixed.set_weights(exact.get_weights())
    for _ in range(5):  # what is read of other memory is different each time
        found = np.asarray(keras.ops.cast(mixed(x), "float32"))
        assert found.shape == (2, (shape[0] + 1) // 2, 1, 256)
        np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
