"""`ConvNorm` of clips and of images against the same thing written with plain Keras layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_layers import CHANNELS, EVEN, ODD, random_array, random_weights

from kerapose import layers

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


@pytest.mark.parametrize("size", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_inference_equals_plain_keras(case, size):
    layer, x = built_layer(case, size), random_array((2, *size, CHANNELS))
    expected = call_plain(plain_layers(layer), x, training=False)
    y = layer(x)
    assert y.shape == expected.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, *size, CHANNELS))], autograph=False)
    np.testing.assert_allclose(graph(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_training_equals_plain_keras_with_gradients(case):
    size = EVEN if "space" in case else ODD  # where strides fall differs, which inference shows at both
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
    # A processor that does not multiply in bfloat16 rounds more often: off by 0.1 there, by less than 0.05 elsewhere.
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.15)
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
    # Off by 0.033 of the largest on a processor that does not multiply in bfloat16, by less than 0.03 elsewhere.
    np.testing.assert_allclose(gradients[0], expected, atol=0.05 * np.abs(expected).max())


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
