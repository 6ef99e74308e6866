"""Convolutions of images and clips as functions, each written as whatever runs fastest on every backend.

A kernel that spans only space or only time is a 2D convolution over merged axes.
"""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kerapose.types import Tensor

if keras.backend.backend() == "tensorflow":
    # TensorFlow fuses convolution, bias, shortcut and ReLU into one kernel if the bias is added by its own operation
    # (benchmarks/networks.py).
    import tensorflow as tf


def add_bias(x: Tensor, bias: Tensor) -> Tensor:
    """Adds a bias by the operation that TensorFlow fuses with the convolution before it.

    Args:
        x: [..., C].
        bias: [C], of the type of `x`.

    Returns:
        [..., C].

    Example:
        >>> from kerapose import layers
        >>> np.asarray(layers.add_bias(np.zeros((1, 2), "float32"), np.float32([1, 2]))).tolist()
        [[1.0, 2.0]]
    """
    return tf.nn.bias_add(x, bias) if keras.backend.backend() == "tensorflow" else x + bias


def convolve_3d(x: Tensor, kernel: Tensor, strides: tuple[int, ...], depthwise: bool) -> Tensor:
    """A convolution of [B, T, H, W, C]; after a kernel of space or time alone, B*T or H*W stay merged."""
    (t, h, w), (stride_t, stride_h, stride_w) = kernel.shape[:3], strides
    if depthwise:
        return depthwise_convolution(x, kernel, strides)  # [B, T, H', W', C]
    if t == 1:
        x = _every_nth_frame(x, stride_t)
        x = ops.reshape(x, (-1, *x.shape[2:]))  # [B*T', H, W, C]
        return convolve_2d(x, kernel[0], (stride_h, stride_w))
    if (h, w) == (1, 1) and (stride_h, stride_w) == (1, 1):
        x = ops.reshape(x, (-1, x.shape[1], x.shape[2] * x.shape[3], x.shape[4]))  # [B, T, H*W, C]
        return convolve_2d(x, kernel[:, 0], (stride_t, 1))
    if strides == (1, 1, 1) and x.shape[1] >= t:
        return ops.conv(x, kernel, padding="same")  # [B, T, H, W, C']
    if strides == (1, 1, 1):
        # Fewer frames than the kernel has: with "same", oneDNN's gradient of a bfloat16 kernel reads memory that is not
        # its own, and gives NaN now and again.
        return ops.conv(pad_symmetric(x, (t, h, w)), kernel, padding="valid")
    # oneDNN differentiates strided 3D kernels forty times slower where there is no AVX-512: the frames that a kernel
    # sees stand beside each other as channels, and it is one of space alone.
    seen = [_every_nth_frame(_shift_frames(x, t // 2 - tap), stride_t) for tap in range(t)]
    x = ops.concatenate(seen, axis=-1)  # [B, T', H, W, t*C]
    kernel = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (h, w, -1, kernel.shape[-1]))  # [h, w, t*C, C']
    return convolve_2d(ops.reshape(x, (-1, *x.shape[2:])), kernel, (stride_h, stride_w))  # [B*T', H', W', C']


def depthwise_convolution(x: Tensor, kernel: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Computes a depthwise 3D convolution as a sum of 2D depthwise convolutions, one for each temporal tap.

    Args:
        x: [B, T, H, W, C].
        kernel: [t, h, w, C, 1], odd t, h, w.
        strides: (1, h, w); the temporal stride must be 1.

    Returns:
        [B, T, H', W', C].

    Raises:
        ValueError: if the temporal stride is not 1.

    Example:
        >>> from kerapose import layers
        >>> x, kernel = np.ones((1, 4, 8, 8, 2), "float32"), np.ones((3, 3, 3, 2, 1), "float32")
        >>> y = np.asarray(layers.depthwise_convolution(x, kernel, strides=(1, 2, 2)))
        >>> y.shape, float(y[0, 1, 1, 1, 0])  # of 27 ones
        ((1, 4, 4, 4, 2), 27.0)
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
    """Moves [B, T, ...] by `offset` frames towards later ones (negative: earlier); zeros come in."""
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


def convolve_2d(x: Tensor, kernel: Tensor, strides: tuple[int, ...], dilation: int = 1) -> Tensor:
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


def depthwise_2d(x: Tensor, kernel: Tensor, strides: tuple[int, ...], dilation: int = 1) -> Tensor:
    """A depthwise convolution of [B, H, W, C] with symmetric padding."""
    if strides == (1, 1):
        return ops.depthwise_conv(x, kernel, padding="same", dilation_rate=dilation)
    return ops.depthwise_conv(pad_symmetric(x, kernel.shape[:2]), kernel, strides=strides, padding="valid")


def pad_symmetric(x: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Pads the axes between batch and channels with `(kernel - 1) // 2` zeros on both sides.

    Args:
        x: [B, ..., C].
        kernel_size: one odd number for each axis to be padded.

    Returns:
        [B, ..., C].

    Example:
        >>> from kerapose import layers
        >>> tuple(layers.pad_symmetric(np.zeros((1, 8, 8, 3)), (7, 3)).shape)
        (1, 14, 10, 3)
    """
    reaches = [((k - 1) // 2, (k - 1) // 2) for k in kernel_size]
    return ops.pad(x, [(0, 0), *reaches, (0, 0)])
