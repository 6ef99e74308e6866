"""Batch norm with PyTorch's weights and statistics, and what every layer with a batch norm shares."""

import typing
from collections.abc import Callable, Sequence

import keras
from keras import ops

from kerapose.layers import replicas
from kerapose.types import Config, Shape, Tensor

if keras.backend.backend() == "tensorflow":
    # TensorFlow's fused kernel computes batch statistics, normalizes and differentiates 2 to 3.5 times faster on the
    # CPU than the same formula in keras.ops (benchmarks/networks.py).
    import tensorflow as tf

#: Of every published reference; the Keras default of 1e-3 moves the outputs.
BATCH_NORM_EPSILON = 1e-5
#: Share of the running statistics that a step keeps: 1 less PyTorch's 0.1.
BATCH_NORM_MOMENTUM = 0.9

# Where oneDNN has no bfloat16 kernel, the CPU runs code that is 3 to 10 times slower than float32 is: batch norms whose
# channels are no multiple of this, and the gradients of strided depthwise convolutions (not these themselves). Both are
# computed in float32 in a training step (benchmarks/networks.py, X3D).
BFLOAT16_NORM_CHANNELS = 16


class Normalizing(keras.layers.Layer):
    """A layer with the weights of a batch norm, as PyTorch keeps them, and both ways to apply them."""

    momentum = BATCH_NORM_MOMENTUM  # share of the old running statistics that a step keeps
    synchronized = False  # whether copies of the model normalize with the statistics of all of them (`synchronize`)

    def _build_norm(self, channels, gamma_initializer="ones"):
        # Statistics are kept and applied in float32 (autocast off): in bfloat16 three digits would be lost.
        options = {"shape": (channels,), "autocast": False}
        # Copies of the model on several devices each see a part of the batch: their running figures are averaged.
        running = options | {"trainable": False, "aggregation": "mean"}
        self.gamma = self.add_weight(name="gamma", initializer=gamma_initializer, **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **running)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **running)

    def _scale_and_shift(self, bias=0.0):
        """What the norm is at inference, to what a `bias` was added before: [C], [C] float32."""
        scale = self.gamma * ops.rsqrt(self.moving_variance + BATCH_NORM_EPSILON)
        return scale, self.beta + (bias - self.moving_mean) * scale

    def _normalize(self, x, bias=None):
        """Normalizes with the statistics of the batch and moves the running ones towards them.

        A `bias` added to `x` before would only move the mean, so it is only the running mean that it is added to.
        """
        # Zero times the bias: it has a gradient then, of zero, as it should.
        norm = batch_norm_of_all if self.synchronized and replicas.count() > 1 else batch_norm
        x, mean, variance = norm(x, self.gamma, self.beta if bias is None else self.beta + 0.0 * bias)
        mean = mean if bias is None else mean + bias
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + batch * (1.0 - self.momentum))
        return x


@keras.saving.register_keras_serializable("kerapose")
class BatchNorm(Normalizing):
    """A batch norm by itself, with PyTorch's statistics, then an activation.

    Args:
        activation: name of a Keras activation, or None.
        torch_names: the one name that it has in the published checkpoint. None: the layer's own.

    Input and output: [B, H, W, C].

    Example:
        >>> from kerapose import layers
        >>> layer = layers.BatchNorm(activation="relu")
        >>> y = np.asarray(layer(np.linspace(-1, 1, 64).reshape(1, 8, 8, 1), training=True))
        >>> float(y.min()), float(y.max())  # to mean 0 and variance 1, then ReLU
        (0.0, 1.71)
    """

    def __init__(
        self,
        activation: str | Callable[[Tensor], Tensor] | None = None,
        torch_names: Sequence[str] | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.torch_names = tuple(torch_names or (self.name,))

    def build(self, x_shape: Shape) -> None:
        self._build_norm(x_shape[-1])

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if training and self.trainable:
            return self.activation(self._normalize(x))
        # A norm that is frozen while others learn has a gradient; the fused kernel's is not repeatable on a GPU.
        if keras.backend.backend() == "tensorflow" and not training:
            statistics = self.moving_mean, self.moving_variance
            options = {"epsilon": BATCH_NORM_EPSILON, "is_training": False}
            return self.activation(
                tf.compat.v1.nn.fused_batch_norm(x, self.gamma, self.beta, *statistics, **options)[0]
            )
        scale, shift = self._scale_and_shift()
        return self.activation(ops.cast(ops.cast(x, "float32") * scale + shift, self.compute_dtype))

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape

    def get_config(self) -> Config:
        activation = keras.activations.serialize(self.activation)
        return super().get_config() | {"activation": activation, "torch_names": self.torch_names}


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes with the statistics of the batch itself, over all axes but the last.

    Args:
        x: [B, H, W, C] or [B, T, H, W, C], any float type.
        gamma: [C], float32, the scale.
        beta: [C], float32, the shift.

    Returns:
        normalized, of the shape and type of `x`; mean [C] and unbiased variance [C] in float32 (PyTorch, too, keeps the
        unbiased one in its running statistics).

    Example:
        >>> from kerapose import layers
        >>> x = np.float32([0, 2, 4, 6]).reshape(1, 2, 2, 1)
        >>> y, mean, variance = layers.batch_norm(x, np.ones(1, "float32"), np.zeros(1, "float32"))
        >>> np.asarray(y).ravel().tolist(), float(mean[0]), float(variance[0])
        ([-1.34, -0.45, 0.45, 1.34], 3.0, 6.67)

    Paper: Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", ICML 2015.
    """
    if keras.backend.backend() == "tensorflow":
        flat = x if len(x.shape) == 4 else ops.reshape(x, (-1, *x.shape[-3:]))  # [B*T, H, W, C]
        slow = x.dtype == "bfloat16" and x.shape[-1] % BFLOAT16_NORM_CHANNELS
        flat = ops.cast(flat, "float32") if slow else flat
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(flat, gamma, beta, epsilon=BATCH_NORM_EPSILON)
        y = ops.cast(y, x.dtype)
        return y if len(x.shape) == 4 else ops.reshape(y, (-1, *x.shape[1:])), mean, variance
    axes = tuple(range(len(x.shape) - 1))
    mean, variance = ops.moments(ops.cast(x, "float32"), axes)
    return _normalized(x, mean, variance, _samples(x), gamma, beta)


def batch_norm_of_all(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`batch_norm` with the statistics of the batches of all copies of a model, whatever the size of each.

    Args:
        x: [..., C], any float type.
        gamma: [C], float32.
        beta: [C], float32.

    Returns:
        As `batch_norm`, but for the statistics, which are those of all batches together.
    """
    own = ops.moments(ops.cast(x, "float32"), tuple(range(len(x.shape) - 1)))  # [C], [C]
    count = _samples(x)
    # One message for each norm: count, mean and variance of every copy, from which those of all follow without the
    # difference of large sums.
    told = replicas.gathered(ops.concatenate([ops.reshape(count, (1,)), *own]))  # [R, 1 + 2 * C]
    counts, means, variances = told[:, :1], told[:, 1 : 1 + x.shape[-1]], told[:, 1 + x.shape[-1] :]
    total = ops.sum(counts)
    weights = counts / total  # [R, 1]
    mean = ops.sum(weights * means, axis=0)  # [C]
    variance = ops.sum(weights * (variances + ops.square(means - mean)), axis=0)
    return _normalized(x, mean, variance, total, gamma, beta)


def _samples(x):
    """Of how many samples statistics over all axes but the last are: float32."""
    return ops.cast(ops.size(x) // x.shape[-1], "float32")


def _normalized(x, mean, variance, count, gamma, beta):
    """What a batch norm gives, by the statistics of so many samples: normalized, mean, unbiased variance."""
    y = (ops.cast(x, "float32") - mean) * (ops.rsqrt(variance + BATCH_NORM_EPSILON) * gamma) + beta
    return ops.cast(y, x.dtype), mean, variance * count / ops.maximum(count - 1.0, 1.0)


def synchronize(model: keras.Model) -> None:
    """Lets the batch norms of a model, Keras's own too, use the statistics of all its copies.

    Call it before the model is trained on several devices. It is no property of the network: neither its configuration
    nor its file knows of it.

    Args:
        model: of TensorFlow's backend; under JAX batch norms see the whole batch anyway.

    Example:
        >>> import keras
        >>> from kerapose import layers
        >>> model = keras.Sequential([layers.ConvNorm(8, (3, 3)), keras.layers.BatchNormalization()])
        >>> layers.synchronize(model)
        >>> [layer.synchronized for layer in model.layers]
        [True, True]
    """
    for layer in model._flatten_layers():
        if hasattr(layer, "synchronized"):
            layer.synchronized = True
