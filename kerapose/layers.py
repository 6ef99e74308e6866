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
    # bias, shortcut and ReLU into one kernel if the bias is added by its own operation (benchmarks/networks.py).
    import tensorflow as tf

BATCH_NORM_EPSILON = 1e-5  # of every published reference; the Keras default of 1e-3 moves the outputs
BATCH_NORM_MOMENTUM = 0.9  # PyTorch's 0.1


@keras.saving.register_keras_serializable("kerapose")
class ConvNorm(keras.layers.Layer):
    """A convolution over frames and space, then batch norm, then an activation.

    Padding is symmetric, `(kernel - 1) // 2` on both sides, at any stride (Keras "same" pads the far side more).

    Args:
        filters: number of output channels; with `depthwise` it must equal the number of input channels.
        kernel_size: (t, h, w), odd numbers.
        strides: (t, h, w).
        activation: name of a Keras activation, or None.
        norm: whether a batch norm follows the convolution. There is no bias in either case.
        depthwise: whether each channel has a filter of its own. The filter is applied as a sum of 2D depthwise
            convolutions over its temporal taps: a grouped `Conv3D` falls back to a path over 100 times slower on the
            CPU, and neither LiteRT nor ONNX takes it.
        gamma_initializer: initializer of the batch norm's scale ("zeros" on the last norm of a residual branch).

    Input: [B, T, H, W, C], with T, H, W known when the layer is built; and, as a second argument, an optional shortcut
    of the output's shape, which is added before the activation. Output: [B, T', H', W', filters].

    Example:
        >>> ConvNorm(64, (1, 3, 3), strides=(1, 2, 2))(np.zeros((2, 48, 56, 56, 17))).shape
        (2, 48, 28, 28, 64)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=(1, 1, 1),
        activation="relu",
        norm=True,
        depthwise=False,
        gamma_initializer="ones",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.activation = keras.activations.get(activation)
        self.norm = norm
        self.depthwise = depthwise
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, x_shape, shortcut_shape=None):
        channels = x_shape[-1]
        if self.depthwise and channels != self.filters:
            raise ValueError(
                f"A depthwise convolution keeps its channels, got {channels} channels in and filters={self.filters}; "
                f"use filters={channels}."
            )
        shape = self.kernel_size + ((channels, 1) if self.depthwise else (channels, self.filters))
        fan_out = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        # Kernels are read in float32 (autocast off), because folding the norm in bfloat16 would lose three digits.
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=fan_out, autocast=False)
        if self.norm:
            options = {"shape": (self.filters,), "autocast": False}
            # Copies of the model on several devices each see a part of the batch: their running figures are averaged.
            running = options | {"trainable": False, "aggregation": "mean"}
            self.gamma = self.add_weight(name="gamma", initializer=self.gamma_initializer, **options)
            self.beta = self.add_weight(name="beta", initializer="zeros", **options)
            self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **running)
            self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **running)

    def call(self, x, shortcut=None, training=False):
        if not self.norm:
            return self._convolve(x, self.kernel, shortcut=shortcut)
        if training and self.trainable:
            return self._convolve(x, self.kernel, self._normalize, shortcut)
        scale = self.gamma * ops.rsqrt(self.moving_variance + BATCH_NORM_EPSILON)  # [C]
        shift = ops.cast(self.beta - self.moving_mean * scale, self.compute_dtype)
        kernel = self.kernel * (ops.expand_dims(scale, -1) if self.depthwise else scale)
        return self._convolve(x, kernel, lambda y: add_bias(y, shift), shortcut)

    def _convolve(self, x, kernel, then=None, shortcut=None):
        """Convolution, `then`, shortcut and activation, all on the merged axes, where a backend can fuse them."""
        kernel = ops.cast(kernel, self.compute_dtype)
        (t, h, w), (stride_t, stride_h, stride_w) = self.kernel_size, self.strides
        shape = self.compute_output_shape(x.shape)
        if self.depthwise:
            x = depthwise_convolution(x, kernel, self.strides)  # [B, T, H', W', C]
        elif t == 1:
            x = _every_nth_frame(x, stride_t)
            x = ops.reshape(x, (-1, *x.shape[2:]))  # [B*T', H, W, C]
            x = _convolve_2d(x, kernel[0], (stride_h, stride_w))
        elif (h, w) == (1, 1) and (stride_h, stride_w) == (1, 1):
            x = ops.reshape(x, (-1, x.shape[1], x.shape[2] * x.shape[3], x.shape[4]))  # [B, T, H*W, C]
            x = _convolve_2d(x, kernel[:, 0], (stride_t, 1))
        elif self.strides == (1, 1, 1) and x.shape[1] >= t:
            x = ops.conv(x, kernel, padding="same")  # [B, T, H, W, C']
        else:
            # Fewer frames than the kernel has also come here: with "same", oneDNN's gradient of a bfloat16 kernel reads
            # memory that is not its own then, and gives NaN now and again.
            x = ops.conv(pad_symmetric(x, self.kernel_size), kernel, strides=self.strides, padding="valid")
        if then is not None:
            x = then(x)
        if shortcut is not None:
            x = x + ops.reshape(shortcut, (-1, *x.shape[1:]))
        return ops.reshape(self.activation(x), (-1, *shape[1:]))  # [B, T', H', W', C']

    def _normalize(self, x):
        """Normalizes with the statistics of the batch and moves the running ones towards them."""
        x, mean, variance = batch_norm(x, self.gamma, self.beta)
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * BATCH_NORM_MOMENTUM + batch * (1.0 - BATCH_NORM_MOMENTUM))
        return x

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
            "depthwise": self.depthwise,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
        }


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
        flat = ops.reshape(x, (-1, *x.shape[-3:]))  # [B*T, H, W, C]
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(flat, gamma, beta, epsilon=BATCH_NORM_EPSILON)
        return ops.reshape(y, (-1, *x.shape[1:])), mean, variance
    axes = tuple(range(len(x.shape) - 1))
    x32 = ops.cast(x, "float32")
    mean, variance = ops.moments(x32, axes)
    y = (x32 - mean) * (ops.rsqrt(variance + BATCH_NORM_EPSILON) * gamma) + beta
    count = ops.cast(ops.size(x) // x.shape[-1], "float32")
    return ops.cast(y, x.dtype), mean, variance * count / ops.maximum(count - 1.0, 1.0)


def add_bias(x, bias):
    """[..., C] + [C]."""
    return tf.nn.bias_add(x, bias) if keras.backend.backend() == "tensorflow" else x + bias


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


def _convolve_2d(x, kernel, strides):
    """A 2D convolution of [B, H, W, C] with symmetric padding."""
    if strides == (1, 1):
        return ops.conv(x, kernel, padding="same")
    if tuple(kernel.shape[:2]) == (1, 1):
        return ops.conv(x, kernel, strides=strides, padding="valid")
    return ops.conv(pad_symmetric(x, kernel.shape[:2]), kernel, strides=strides, padding="valid")


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
