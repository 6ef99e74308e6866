"""Blocks that two or more models use, channels last, in `keras.ops`.

The blocks know two facts that plain `Conv3D` + `BatchNormalization` + `ReLU` layers do not:
* at inference a batch norm is a constant scale and shift, so it is folded into the convolution's kernel on the fly;
* a kernel that spans only space or only time is a 2D convolution over merged axes, which every backend runs faster.
"""

import math

import keras
from keras import ops

from kerapose.ops import heatmaps

if keras.backend.backend() == "tensorflow":
    # The one place where a layer speaks TensorFlow. Its fused kernel computes batch statistics, normalizes and
    # differentiates 2 to 3.5 times faster on the CPU than the same formula in keras.ops, and it fuses convolution,
    # bias, shortcut and ReLU into one kernel if the bias is added by its own operation (benchmarks/networks.py). What
    # training calls must have a gradient that XLA compiles and that is repeatable on a GPU:
    # tests/models/test_training.py looks at every network.
    import tensorflow as tf

BATCH_NORM_EPSILON = 1e-5  # of every published reference; the Keras default of 1e-3 moves the outputs
BATCH_NORM_MOMENTUM = 0.9  # PyTorch's 0.1

# Where oneDNN has no bfloat16 kernel, the CPU runs code that is 3 to 10 times slower than float32 is: batch norms whose
# channels are no multiple of this, and the gradients of strided depthwise convolutions (not these themselves). Both are
# computed in float32 in a training step (benchmarks/networks.py, X3D).
BFLOAT16_NORM_CHANNELS = 16


class _Normalizing(keras.layers.Layer):
    """A layer with the weights of a batch norm, as PyTorch keeps them, and both ways to apply them."""

    momentum = BATCH_NORM_MOMENTUM  # share of the old running statistics that a step keeps

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
        x, mean, variance = batch_norm(x, self.gamma, self.beta if bias is None else self.beta + 0.0 * bias)
        mean = mean if bias is None else mean + bias
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + batch * (1.0 - self.momentum))
        return x


@keras.saving.register_keras_serializable("kerapose")
class ConvNorm(_Normalizing):
    """A convolution over frames and space, or over space, then batch norm, then an activation.

    Padding is symmetric, `(kernel - 1) // 2` on both sides, at any stride (Keras "same" pads the far side more).

    Args:
        filters: number of output channels; with `depthwise` it must equal the number of input channels.
        kernel_size: (t, h, w) or (h, w), odd numbers.
        strides: (t, h, w) or (h, w), or one number for all.
        activation: name of a Keras activation, or None.
        norm: whether a batch norm follows the convolution.
        use_bias: whether the convolution has a bias of its own. Before a batch norm it has no effect but on what the
            running mean is; some published networks have it nevertheless.
        depthwise: whether each channel has a filter of its own. Over frames the filter is applied as a sum of 2D
            depthwise convolutions over its temporal taps: a grouped `Conv3D` falls back to a path over 100 times slower
            on the CPU, and neither LiteRT nor ONNX takes it.
        dilation: pixels from one tap of the kernel to the next, for a convolution over space with stride 1. The padding
            grows with it: `dilation * (kernel - 1) // 2`.
        gamma_initializer: initializer of the batch norm's scale ("zeros" on the last norm of a residual branch).
        kernel_initializer: of the kernel. None: He's, by the fan-out.
        torch_names: what the convolution and the batch norm are called in the published checkpoint, dots and all, which
            a layer's own name may not have. None: the layer's own name, followed by ".conv" and ".bn".

    Input: [B, T, H, W, C], with T, H, W known when the layer is built, or [B, H, W, C]; and, as a second argument, an
    optional shortcut of the output's shape, which is added before the activation. Output: [B, T', H', W', filters] or
    [B, H', W', filters].

    Example:
        >>> ConvNorm(64, (1, 3, 3), strides=(1, 2, 2))(np.zeros((2, 48, 56, 56, 17))).shape
        (2, 48, 28, 28, 64)
        >>> ConvNorm(64, (7, 7), strides=2)(np.zeros((2, 256, 192, 3))).shape
        (2, 128, 96, 64)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        activation="relu",
        norm=True,
        use_bias=False,
        depthwise=False,
        dilation=1,
        gamma_initializer="ones",
        kernel_initializer=None,
        torch_names=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = (strides,) * len(self.kernel_size) if isinstance(strides, int) else tuple(strides)
        if dilation != 1 and self.strides != (1, 1):
            raise ValueError(
                f"A dilated convolution is one over space with stride 1, got dilation={dilation} with strides "
                f"{self.strides}; leave one of them 1."
            )
        self.dilation = dilation
        self.activation = keras.activations.get(activation)
        self.norm = norm
        self.use_bias = use_bias
        self.depthwise = depthwise
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.kernel_initializer = keras.initializers.get(kernel_initializer or he_normal())
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))

    def build(self, x_shape, shortcut_shape=None):
        channels = x_shape[-1]
        if len(x_shape) != len(self.kernel_size) + 2:
            raise ValueError(
                f"kernel_size has one number for each axis between batch and channels, got {self.kernel_size} for an "
                f"input {x_shape}; give {len(x_shape) - 2} numbers."
            )
        if self.depthwise and channels != self.filters:
            raise ValueError(
                f"A depthwise convolution keeps its channels, got {channels} channels in and filters={self.filters}; "
                f"use filters={channels}."
            )
        shape = self.kernel_size + ((channels, 1) if self.depthwise else (channels, self.filters))
        # Kernels are read in float32 (autocast off), because folding the norm in bfloat16 would lose three digits.
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer, autocast=False)
        if self.norm:
            self._build_norm(self.filters, self.gamma_initializer)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros", autocast=False)

    def call(self, x, shortcut=None, training=False):
        if not self.norm:
            return self._convolve(x, self.kernel, self._add_bias, shortcut, training)
        if training and self.trainable:
            return self._convolve(x, self.kernel, lambda y: self._normalize(y, self.bias), shortcut, training)
        scale, shift = self._scale_and_shift(0.0 if self.bias is None else self.bias)
        shift = ops.cast(shift, self.compute_dtype)
        kernel = self.kernel * (ops.expand_dims(scale, -1) if self.depthwise else scale)
        return self._convolve(x, kernel, lambda y: add_bias(y, shift), shortcut, training)

    def _add_bias(self, x):
        return x if self.bias is None else add_bias(x, ops.cast(self.bias, self.compute_dtype))

    def _convolve(self, x, kernel, then, shortcut=None, training=False):
        """Convolution, `then`, shortcut and activation, all on the merged axes, where a backend can fuse them."""
        dtype = self._convolution_dtype(training)
        x, kernel = ops.cast(x, dtype), ops.cast(kernel, dtype)
        if len(self.kernel_size) == 2:
            convolve = _depthwise_2d if self.depthwise else _convolve_2d
            y = convolve(x, kernel, self.strides, self.dilation)  # [B, H', W', C']
            y = then(ops.cast(y, self.compute_dtype))
            return self.activation(y if shortcut is None else y + shortcut)
        shape = self.compute_output_shape(x.shape)
        y = then(ops.cast(_convolve_3d(x, kernel, self.strides, self.depthwise), self.compute_dtype))
        if shortcut is not None:
            y = y + ops.reshape(shortcut, (-1, *y.shape[1:]))
        return ops.reshape(self.activation(y), (-1, *shape[1:]))  # [B, T', H', W', C']

    def _convolution_dtype(self, training):
        """What the convolution is computed in: the compute type, but where its gradient has no bfloat16 kernel."""
        slow = training and self.depthwise and max(self.strides) > 1 and self.compute_dtype == "bfloat16"
        return "float32" if slow else self.compute_dtype

    def compute_output_shape(self, x_shape, shortcut_shape=None):
        spatial = tuple(
            None if size is None else (size - 1) // stride + 1
            for size, stride in zip(x_shape[1:-1], self.strides, strict=True)
        )
        return (x_shape[0], *spatial, self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": keras.activations.serialize(self.activation),
            "norm": self.norm,
            "use_bias": self.use_bias,
            "depthwise": self.depthwise,
            "dilation": self.dilation,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "torch_names": self.torch_names,
        }


@keras.saving.register_keras_serializable("kerapose")
class ConvTransposeNorm(_Normalizing):
    """A transposed convolution that doubles height and width, then batch norm, then an activation.

    It is PyTorch's, with the padding that published networks give it: kernel 4 with padding 1, kernel 3 with padding
    and output padding 1, kernel 2 with none.

    Args:
        filters: number of output channels.
        kernel_size: 4, 3 or 2.
        activation: name of a Keras activation, or None.
        use_bias: whether the convolution has a bias of its own, which changes nothing but the running mean.
        kernel_initializer: of the kernel. None: He's, by the fan-out.
        torch_names: as in `ConvNorm`.

    Input: [B, H, W, C]. Output: [B, 2 * H, 2 * W, filters].

    Raises:
        ValueError: if there is no such kernel.

    Example:
        >>> ConvTransposeNorm(256, 4)(np.zeros((2, 8, 6, 2048))).shape
        (2, 16, 12, 256)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        activation="relu",
        use_bias=False,
        kernel_initializer=None,
        torch_names=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel_size not in (2, 3, 4):
            raise ValueError(f"A transposed convolution has kernel 2, 3 or 4, got {kernel_size}; 4 is the usual one.")
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer or he_normal())
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))

    def build(self, x_shape):
        shape = (self.kernel_size, self.kernel_size, self.filters, x_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer, autocast=False)
        self._build_norm(self.filters)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros", autocast=False)

    def call(self, x, training=False):
        if training and self.trainable:
            return self.activation(self._normalize(self._convolve(x, self.kernel), self.bias))
        scale, shift = self._scale_and_shift(0.0 if self.bias is None else self.bias)
        y = self._convolve(x, self.kernel * scale[:, None])
        return self.activation(add_bias(y, ops.cast(shift, self.compute_dtype)))

    def _convolve(self, x, kernel):
        # The operation of the backend. A 2 x 2 convolution whose channels are then spread over blocks of pixels gives
        # the same, but on the CPU rearranging the kernel and the pixels takes longer than it saves.
        kernel = ops.cast(kernel, self.compute_dtype)
        if self.kernel_size == 4:
            return ops.conv_transpose(x, kernel, strides=2, padding="same")
        y = ops.conv_transpose(x, kernel, strides=2, padding="valid")
        return y[:, 1:, 1:] if self.kernel_size == 3 else y  # [B, 2*H, 2*W, C]

    def compute_output_shape(self, x_shape):
        batch, height, width, _ = x_shape
        return (batch, *(None if size is None else 2 * size for size in (height, width)), self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "torch_names": self.torch_names,
        }


@keras.saving.register_keras_serializable("kerapose")
class FrameConvTransposeNorm(_Normalizing):
    """A transposed convolution over frames, seven taps, that makes four of each; then batch norm and ReLU.

    It is PyTorch's with kernel (7, 1, 1), stride (4, 1, 1), padding 3 and output padding 3: frame t of the output takes
    tap k from frame i of the input where t = 4i - 3 + k.

    Args:
        filters: number of output channels.
        torch_names: as in `ConvNorm`.

    Input: [B, T, H, W, C]. Output: [B, 4 * T, H, W, filters].

    Example:
        >>> FrameConvTransposeNorm(32)(np.zeros((2, 8, 28, 28, 512))).shape
        (2, 32, 28, 28, 32)
    """

    TAPS, STRIDE = 7, 4

    def __init__(self, filters, torch_names=None, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.use_bias = False
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))

    def build(self, x_shape):
        shape = (self.TAPS, 1, 1, self.filters, x_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=he_normal(), autocast=False)
        self._build_norm(self.filters)

    def call(self, x, training=False):
        shape = self.compute_output_shape(x.shape)
        if training and self.trainable:
            y = ops.relu(self._normalize(self._convolve(x, self.kernel)))
        else:
            scale, shift = self._scale_and_shift()
            kernel = self.kernel * ops.expand_dims(scale, -1)
            y = ops.relu(add_bias(self._convolve(x, kernel), ops.cast(shift, self.compute_dtype)))
        return ops.reshape(y, (-1, *shape[1:]))  # [B, 4*T, H, W, C']

    def _convolve(self, x, kernel):
        """[B, T, H, W, C] -> [B, 4*T, H*W, C'].

        Of the four frames that come of frame i, the first takes tap 3 of frame i; the others, p = 1, 2, 3, take tap
        p + 3 of frame i and tap p - 1 of frame i + 1. So it is one product with both frames' channels side by side.
        """
        _, frames, height, width, channels = x.shape
        x = ops.reshape(x, (-1, frames, height * width, channels))  # [B, T, H*W, C]
        x = ops.concatenate([x, ops.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))], axis=-1)  # [B, T, H*W, 2*C]
        taps = ops.swapaxes(kernel[:, 0, 0], -1, -2)  # [7, C, C']
        own, following = taps[3:], ops.pad(taps[:3], ((1, 0), (0, 0), (0, 0)))  # [4, C, C'] each
        taps = ops.transpose(ops.concatenate([own, following], axis=1), (1, 0, 2))  # [2*C, 4, C']
        taps = ops.reshape(ops.cast(taps, self.compute_dtype), (2 * channels, self.STRIDE * self.filters))
        y = ops.reshape(ops.matmul(x, taps), (-1, frames, height * width, self.STRIDE, self.filters))
        y = ops.swapaxes(y, 2, 3)  # [B, T, 4, H*W, C']
        return ops.reshape(y, (-1, self.STRIDE * frames, height * width, self.filters))

    def compute_output_shape(self, x_shape):
        batch, frames, height, width, _ = x_shape
        return (batch, None if frames is None else self.STRIDE * frames, height, width, self.filters)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "torch_names": self.torch_names}


@keras.saving.register_keras_serializable("kerapose")
class TemporalConvNorm(_Normalizing):
    """A convolution over time without padding, then batch norm, ReLU and dropout.

    It is written as one matrix product. For a strided convolution, whose stride is its width, that needs no more than a
    reshape.

    Args:
        filters: number of output channels.
        width: number of taps, each a frame.
        dilation: frames from one tap to the next.
        strided: whether the stride is the width, in place of 1; the dilation is 1 then.
        dropout: share of the outputs that training sets to zero.
        exact: whether the product is computed in float32 under any precision policy: for coordinates, which bfloat16
            would round to a few pixels.
        torch_names: what the convolution and the batch norm are called in the published checkpoint.

    Input: [B, T, C]. Output: [B, T - (width - 1) * dilation, filters], or [B, T / width, filters] if strided.

    The share of its running statistics that a step keeps, `momentum`, is a weight: a recipe may change it while a
    compiled step is in use.

    Example:
        >>> TemporalConvNorm(1024, width=3, dilation=9)(np.zeros((2, 27, 34))).shape
        (2, 9, 1024)
    """

    def __init__(self, filters, width, dilation=1, strided=False, dropout=0.0, exact=False, torch_names=None, **kwargs):
        super().__init__(**kwargs)
        if strided and dilation != 1:
            raise ValueError(f"A strided convolution has no dilation, got dilation={dilation}; leave it 1.")
        self.filters = filters
        self.width = width
        self.dilation = dilation
        self.strided = strided
        self.dropout = dropout
        self.exact = exact
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))
        self.use_bias = False
        self.autocast = not exact
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def build(self, x_shape):
        shape = (self.width, x_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=torch_uniform(), autocast=False)
        self._build_norm(self.filters)
        options = {"shape": (), "trainable": False, "autocast": False, "aggregation": "mean"}
        initializer = keras.initializers.Constant(BATCH_NORM_MOMENTUM)
        self.momentum = self.add_weight(name="momentum", initializer=initializer, **options)

    def call(self, x, training=False):
        if training and self.trainable:
            y = self._convolve(x, self.kernel)  # [B, T', C']
            frames = ops.shape(y)[1]
            y = self._normalize(ops.reshape(y, (-1, 1, 1, self.filters)))  # [B*T', 1, 1, C']
            y = ops.relu(ops.reshape(y, (-1, frames, self.filters)))  # [B, T', C']
            return y if self.drop is None else self.drop(y, training=True)
        kernel, shift = self.folded()
        return ops.relu(add_bias(self._convolve(x, kernel), ops.cast(shift, self.compute_dtype)))

    def folded(self):
        """Kernel [width, C, C'] and bias [C'], float32, that are convolution and norm at inference."""
        scale, shift = self._scale_and_shift()
        return self.kernel * scale, shift

    def _convolve(self, x, kernel):
        _, channels, filters = kernel.shape
        kernel = kernel if self.exact else ops.cast(kernel, self.compute_dtype)
        kernel = ops.reshape(kernel, (self.width * channels, filters))
        if self.strided:
            x = ops.reshape(x, (-1, ops.shape(x)[1] // self.width, self.width * channels))  # [B, T/width, width*C]
        elif self.width > 1:
            reach = (self.width - 1) * self.dilation
            starts = range(0, reach + 1, self.dilation)
            taps = [x[:, start : start - reach or None] for start in starts]
            x = ops.concatenate(taps, axis=-1)  # [B, T', width*C]
        return ops.cast(ops.matmul(x, kernel), self.compute_dtype)

    def compute_output_shape(self, x_shape):
        batch, frames, _ = x_shape
        if frames is not None:
            frames = frames // self.width if self.strided else frames - (self.width - 1) * self.dilation
        return (batch, frames, self.filters)

    def get_config(self):
        names = ("filters", "width", "dilation", "strided", "dropout", "exact", "torch_names")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("kerapose")
class BatchNorm(_Normalizing):
    """A batch norm by itself, with PyTorch's statistics, then an activation.

    Args:
        activation: name of a Keras activation, or None.
        torch_names: the one name that it has in the published checkpoint. None: the layer's own.

    Input and output: [B, H, W, C].

    Example:
        >>> BatchNorm(activation="relu")(np.zeros((2, 64, 64, 256))).shape
        (2, 64, 64, 256)
    """

    def __init__(self, activation=None, torch_names=None, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.torch_names = tuple(torch_names or (self.name,))

    def build(self, x_shape):
        self._build_norm(x_shape[-1])

    def call(self, x, training=False):
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

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return super().get_config() | {"activation": activation, "torch_names": self.torch_names}


@keras.saving.register_keras_serializable("kerapose")
class Dense(keras.layers.Dense):
    """Keras's dense layer, which also knows what it is called in the published checkpoint.

    Args:
        units: number of outputs.
        torch_names: the one name that it has there. None: the layer's own.
        **kwargs: Keras's other arguments.

    Input: [..., C]. Output: [..., units].

    Example:
        >>> Dense(60, torch_names=("head.fc_cls",))(np.zeros((2, 512))).shape
        (2, 60)
    """

    def __init__(self, units, torch_names=None, **kwargs):
        super().__init__(units, **kwargs)
        self.torch_names = tuple(torch_names or (self.name,))

    def get_config(self):
        return super().get_config() | {"torch_names": self.torch_names}


@keras.saving.register_keras_serializable("kerapose")
class Upsample(keras.layers.Layer):
    """Makes each pixel a block of equal ones.

    Args:
        factor: side of the block.

    Input: [B, H, W, C]. Output: [B, factor * H, factor * W, C].

    Example:
        >>> Upsample(2)(np.zeros((2, 8, 6, 32))).shape
        (2, 16, 12, 32)
    """

    def __init__(self, factor=2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        if keras.backend.backend() == "tensorflow":
            return _resize(x, self.factor)
        batch, height, width, channels = ops.shape(x)
        x = ops.reshape(x, (batch, height, 1, width, 1, channels))
        x = ops.broadcast_to(x, (batch, height, self.factor, width, self.factor, channels))
        return ops.reshape(x, (batch, self.factor * height, self.factor * width, channels))

    def compute_output_shape(self, x_shape):
        batch, height, width, channels = x_shape
        return (batch, *(None if size is None else size * self.factor for size in (height, width)), channels)

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


def he_normal():
    """He's initializer by the fan-out, as PyTorch's ResNets have it; a new one for each kernel, or they would agree."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def torch_uniform():
    """What PyTorch begins a convolution with that no recipe initializes: uniform, up to the root of 1 / fan-in."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def small_normal():
    """What pose networks begin their last layers with: the first heatmaps are nearly zero, as the true ones are."""
    return keras.initializers.RandomNormal(stddev=0.001)


def batch_norm(x, gamma, beta):
    """Batch norm with the statistics of the batch itself, over all axes but the last.

    Args:
        x: [..., C], any float type.
        gamma: [C], float32.
        beta: [C], float32.

    Returns:
        normalized [..., C] in the type of `x`, mean [C] and unbiased variance [C] in float32 (PyTorch too keeps the
        unbiased one in its running statistics).
    """
    if keras.backend.backend() == "tensorflow":
        flat = x if len(x.shape) == 4 else ops.reshape(x, (-1, *x.shape[-3:]))  # [B*T, H, W, C]
        slow = x.dtype == "bfloat16" and x.shape[-1] % BFLOAT16_NORM_CHANNELS
        flat = ops.cast(flat, "float32") if slow else flat
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(flat, gamma, beta, epsilon=BATCH_NORM_EPSILON)
        y = ops.cast(y, x.dtype)
        return y if len(x.shape) == 4 else ops.reshape(y, (-1, *x.shape[1:])), mean, variance
    axes = tuple(range(len(x.shape) - 1))
    x32 = ops.cast(x, "float32")
    mean, variance = ops.moments(x32, axes)
    y = (x32 - mean) * (ops.rsqrt(variance + BATCH_NORM_EPSILON) * gamma) + beta
    count = ops.cast(ops.size(x) // x.shape[-1], "float32")
    return ops.cast(y, x.dtype), mean, variance * count / ops.maximum(count - 1.0, 1.0)


def _resize(x, factor):
    """Blocks of equal pixels by TensorFlow, whose own gradient of it neither XLA nor a repeatable GPU has.

    Average pooling gives the same gradient, and is a little faster on the CPU. Repetitions, tiles and broadcasting take
    1.1 to 4 times as long, with the gradients that TensorFlow derives of them.
    """

    @tf.custom_gradient
    def resize(x):
        _, height, width, _ = ops.shape(x)

        def gradient(upstream):
            return factor**2 * tf.nn.avg_pool2d(upstream, factor, factor, "VALID")

        # By corners: ONNX runtimes are about to forget the other rule.
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=(factor * height, factor * width)), gradient

    return resize(x)


def add_bias(x, bias):
    """[..., C] + [C]."""
    return tf.nn.bias_add(x, bias) if keras.backend.backend() == "tensorflow" else x + bias


def _convolve_3d(x, kernel, strides, depthwise):
    """A convolution of [B, T, H, W, C]; after a kernel of space or time alone, B*T or H*W stay merged."""
    (t, h, w), (stride_t, stride_h, stride_w) = kernel.shape[:3], strides
    if depthwise:
        return depthwise_convolution(x, kernel, strides)  # [B, T, H', W', C]
    if t == 1:
        x = _every_nth_frame(x, stride_t)
        x = ops.reshape(x, (-1, *x.shape[2:]))  # [B*T', H, W, C]
        return _convolve_2d(x, kernel[0], (stride_h, stride_w))
    if (h, w) == (1, 1) and (stride_h, stride_w) == (1, 1):
        x = ops.reshape(x, (-1, x.shape[1], x.shape[2] * x.shape[3], x.shape[4]))  # [B, T, H*W, C]
        return _convolve_2d(x, kernel[:, 0], (stride_t, 1))
    if strides == (1, 1, 1) and x.shape[1] >= t:
        return ops.conv(x, kernel, padding="same")  # [B, T, H, W, C']
    # Fewer frames than the kernel has also come here: with "same", oneDNN's gradient of a bfloat16 kernel reads memory
    # that is not its own then, and gives NaN now and again.
    return ops.conv(pad_symmetric(x, (t, h, w)), kernel, strides=strides, padding="valid")


def depthwise_convolution(x, kernel, strides):
    """A depthwise 3D convolution as a sum of 2D depthwise convolutions, one for each temporal tap.

    Args:
        x: [B, T, H, W, C].
        kernel: [t, h, w, C, 1], odd t, h, w.
        strides: (1, h, w); the temporal stride must be 1.

    Returns:
        [B, T, H', W', C].
    """
    taps, h, w = kernel.shape[:3]
    if strides[0] != 1:
        raise ValueError(f"A depthwise convolution has temporal stride 1, got strides={strides}; drop frames instead.")
    _, frames, height, width, channels = x.shape
    if (h, w) == (1, 1) and strides == (1, 1, 1):
        x = ops.reshape(x, (-1, frames, height * width, channels))  # [B, T, H*W, C]
        x = ops.depthwise_conv(x, kernel[:, 0], padding="same")
        return ops.reshape(x, (-1, frames, height, width, channels))  # [B, T, H, W, C]
    x = ops.reshape(x, (-1, height, width, channels))  # [B*T, H, W, C]
    padding = "same"
    if strides[1:] != (1, 1):
        x, padding = pad_symmetric(x, (h, w)), "valid"
    total = 0
    for tap in range(taps):
        y = ops.depthwise_conv(x, kernel[tap], strides=strides[1:], padding=padding)  # [B*T, H', W', C]
        size = y.shape[1:]
        total = total + _shift_frames(ops.reshape(y, (-1, frames, math.prod(size))), taps // 2 - tap)  # [B, T, H'*W'*C]
    return ops.reshape(total, (-1, frames, *size))  # [B, T, H', W', C]


# Splits and concatenations of flat frames, where slices would do: TensorFlow differentiates a slice of [B, T, H, W, C]
# ten times slower than the convolution beside it.


def _shift_frames(x, offset):
    """Moves [B, T, F] by `offset` frames towards later ones (negative: earlier); zeros come in."""
    frames = x.shape[1]
    if offset == 0:
        return x
    if abs(offset) >= frames:
        return ops.zeros_like(x)
    if offset > 0:
        kept, lost = ops.split(x, [frames - offset], axis=1)
        return ops.concatenate([ops.zeros_like(lost), kept], axis=1)
    lost, kept = ops.split(x, [-offset], axis=1)
    return ops.concatenate([kept, ops.zeros_like(lost)], axis=1)


def _every_nth_frame(x, n):
    """Frames 0, n, 2n, ... of [B, T, H, W, C]."""
    if n == 1:
        return x
    frames, size = x.shape[1], x.shape[2:]
    flat = ops.reshape(x, (-1, frames, math.prod(size)))  # [B, T, H*W*C]
    if frames % n:
        flat = ops.pad(flat, ((0, 0), (0, n - frames % n), (0, 0)))
    groups = ops.reshape(flat, (-1, flat.shape[1] // n, n * math.prod(size)))  # [B, T/n, n*H*W*C]
    return ops.reshape(ops.split(groups, n, axis=-1)[0], (-1, groups.shape[1], *size))  # [B, T/n, H, W, C]


# TensorFlow's own kernels differentiate a dilated convolution on the CPU only where oneDNN is on (on x86, unless it is
# switched off). Keras's operations have them work on interleaved smaller pictures, which runs and trains everywhere.


def _convolve_2d(x, kernel, strides, dilation=1):
    """A 2D convolution of [B, H, W, C] with symmetric padding."""
    if strides == (1, 1):
        return ops.conv(x, kernel, padding="same", dilation_rate=dilation)
    if tuple(kernel.shape[:2]) == (1, 1):
        return ops.conv(x, kernel, strides=strides, padding="valid")
    x = pad_symmetric(x, kernel.shape[:2])
    width = x.shape[2]
    # Where one column comes out, oneDNN's strided bfloat16 kernel gives NaN and other numbers that are in memory: it is
    # asked for a second one, which is cut off.
    is_column = x.dtype == "bfloat16" and width is not None and width < kernel.shape[1] + strides[1]
    if not is_column:
        return ops.conv(x, kernel, strides=strides, padding="valid")
    x = ops.pad(x, ((0, 0), (0, 0), (0, kernel.shape[1] + strides[1] - width), (0, 0)))
    return ops.conv(x, kernel, strides=strides, padding="valid")[:, :, :1]


def _depthwise_2d(x, kernel, strides, dilation=1):
    """A depthwise convolution of [B, H, W, C] with symmetric padding."""
    if strides == (1, 1):
        return ops.depthwise_conv(x, kernel, padding="same", dilation_rate=dilation)
    return ops.depthwise_conv(pad_symmetric(x, kernel.shape[:2]), kernel, strides=strides, padding="valid")


def pad_symmetric(x, kernel_size):
    """Pads the inner axes of [B, ..., C] by `(kernel - 1) // 2` zeros on both sides."""
    reaches = [((k - 1) // 2, (k - 1) // 2) for k in kernel_size]
    return ops.pad(x, [(0, 0), *reaches, (0, 0)])


@keras.saving.register_keras_serializable("kerapose")
class FramePool(keras.layers.Layer):
    """Pools each frame in space, then optionally frames in pairs: 3D pooling that LiteRT runs as well.

    Args:
        mode: "max" or "average".
        pool_size: height and width of the window.
        stride: of the window.
        symmetric: whether to pad by `pool_size // 2` on both sides. Else odd sizes are floored.
        frame_pairs: whether to average the frames in pairs too, an odd last one dropped.

    Input: [B, T, H, W, C], for "max" with symmetric padding not negative. Output: [B, T or T // 2, H', W', C].
    """

    def __init__(self, mode, pool_size, stride, symmetric=False, frame_pairs=False, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode
        self.pool_size = pool_size
        self.stride = stride
        self.symmetric = symmetric
        self.frame_pairs = frame_pairs

    def call(self, x):
        batch_shape = self.compute_output_shape(x.shape)
        frames = x.shape[1]
        x = ops.reshape(x, (-1, *x.shape[2:]))  # [B*T, H, W, C]
        pool = ops.max_pool if self.mode == "max" else ops.average_pool
        if self.symmetric and self.stride > 1:
            x = pad_symmetric(x, (self.pool_size, self.pool_size))
        padding = "same" if self.symmetric and self.stride == 1 else "valid"
        x = pool(x, self.pool_size, self.stride, padding)
        if self.frame_pairs:
            size = x.shape[1:]
            x = ops.reshape(x, (-1, frames, *size))  # [B, T, H', W', C]
            x = x[:, :-1] if frames % 2 else x
            x = ops.mean(ops.reshape(x, (-1, 2, *size)), axis=1)  # [B*T/2, H', W', C]
        return ops.reshape(x, (-1, *batch_shape[1:]))

    def compute_output_shape(self, x_shape):
        batch, frames, height, width, channels = x_shape
        margin = 2 * (self.pool_size // 2) if self.symmetric else 0
        height, width = ((size + margin - self.pool_size) // self.stride + 1 for size in (height, width))
        return (batch, frames // 2 if self.frame_pairs else frames, height, width, channels)

    def get_config(self):
        names = ("mode", "pool_size", "stride", "symmetric", "frame_pairs")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("kerapose")
class HeatmapVolume(keras.layers.Layer):
    """Turns clips of keypoints into heatmap volumes, on the accelerator.

    Args:
        height: rows of the volume.
        width: columns of the volume.
        edges: [E, 2] limbs to draw (`Skeleton.edges`). None: the keypoints themselves.
        sigma_px: standard deviation of the Gaussians, pixels of the volume.

    Input: {"keypoints": [B, M, T, K, 2] pixels of the volume, x first, "scores": [B, M, T, K], zero for padding}.
    Output: [B, T, H, W, K], or [B, T, H, W, E] with `edges`.

    Example:
        >>> clips = {"keypoints": np.full((2, 1, 48, 17, 2), 28.0), "scores": np.ones((2, 1, 48, 17))}
        >>> HeatmapVolume(56, 56)(clips).shape
        (2, 48, 56, 56, 17)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    def __init__(self, height, width, edges=None, sigma_px=0.6, **kwargs):
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.edges = None if edges is None else tuple((int(a), int(b)) for a, b in edges)
        self.sigma_px = sigma_px
        self.autocast = False  # a bfloat16 coordinate is off by up to a quarter of a pixel

    def call(self, inputs):
        keypoints, scores = inputs["keypoints"], inputs["scores"]
        size = {"height": self.height, "width": self.width, "sigma_px": self.sigma_px}
        if self.edges is None:
            volume = heatmaps.joint_volume(keypoints, scores, **size)
        else:
            volume = heatmaps.limb_volume(keypoints, scores, self.edges, **size)
        return ops.cast(volume, self.compute_dtype)  # [B, T, H, W, K or E]

    def compute_output_shape(self, input_shape):
        batch, _, frames, num_keypoints, _ = input_shape["keypoints"]
        return (batch, frames, self.height, self.width, len(self.edges) if self.edges else num_keypoints)

    def get_config(self):
        return super().get_config() | {
            "height": self.height,
            "width": self.width,
            "edges": self.edges,
            "sigma_px": self.sigma_px,
        }


def layer_name(module):
    """What a layer is called that is the module of a published network: without dots, which PyTorch's backend refuses.

    Args:
        module: its name there, as "layer1.0.conv2", which the layer keeps in `torch_names`.

    Example:
        >>> layer_name("layer1.0.conv2")
        'layer1_0_conv2'
    """
    return module.replace(".", "_")


# Blocks of residual networks, `name` being that of the published module. `initializer` makes the initializer of a
# kernel, one for each.


def basic_block(x, filters, stride, name, initializer=he_normal):
    """Two 3 x 3 convolutions, the first with the stride, and the shortcut: [B, H, W, C] -> [B, H', W', filters]."""
    shortcut = _projection(x, filters, stride, name, initializer)
    x = numbered_conv(x, filters, 3, stride, name, 1, initializer)
    return numbered_conv(x, filters, 3, 1, name, 2, initializer, shortcut)


def bottleneck(x, filters, stride, name, initializer=he_normal, stride_on_1x1=False):
    """1 x 1, then 3 x 3, then 1 x 1, and the shortcut: [B, H, W, C] -> [B, H', W', 4 * filters]."""
    shortcut = _projection(x, filters * 4, stride, name, initializer)
    first, second = (stride, 1) if stride_on_1x1 else (1, stride)
    x = numbered_conv(x, filters, 1, first, name, 1, initializer)
    x = numbered_conv(x, filters, 3, second, name, 2, initializer)
    return numbered_conv(x, filters * 4, 1, 1, name, 3, initializer, shortcut)


def numbered_conv(x, filters, kernel, stride, prefix, number, initializer=he_normal, shortcut=None):
    """A convolution, batch norm and ReLU that PyTorch calls "conv" and "bn" with a number, after the prefix."""
    names = (f"{prefix}conv{number}", f"{prefix}bn{number}")
    options = {"kernel_initializer": initializer(), "name": layer_name(names[0]), "torch_names": names}
    layer = ConvNorm(filters, (kernel, kernel), stride, **options)
    return layer(x) if shortcut is None else layer(x, shortcut)


def _projection(x, filters, stride, name, initializer):
    """The shortcut past a block: a 1 x 1 convolution where the block changes the shape."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    name = f"{name}downsample"
    options = {"kernel_initializer": initializer(), "torch_names": (f"{name}.0", f"{name}.1")}
    return ConvNorm(filters, (1, 1), stride, activation=None, name=layer_name(name), **options)(x)


def heatmap_head(x, num_joints, kernel, name):
    """Heatmaps [B, H, W, K] float32 under any policy: a convolution with a bias and nothing after it."""
    options = {"activation": None, "norm": False, "use_bias": True, "kernel_initializer": small_normal()}
    options |= {"dtype": "float32", "name": layer_name(name), "torch_names": (name, None)}
    return ConvNorm(num_joints, (kernel, kernel), **options)(x)
