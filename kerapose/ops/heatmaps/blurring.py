"""OpenCV's Gaussian blur of maps."""

import keras
import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import Array, Tensor

_SMALL_KERNELS = {1: (256,), 3: (64, 128), 5: (16, 64, 96), 7: (8, 28, 56, 72), 9: (4, 13, 30, 51, 60)}  # / 256


def blur(maps: Tensor, kernel: int, border: str = "zero") -> Tensor:
    """Blurs each map with OpenCV's Gaussian of that width: [N, h, w, K] -> the same."""
    # A convolution of each map is the fastest in a TensorFlow graph, and ten times slower than products with band
    # matrices where XLA compiles it for a CPU, as JAX always does (benchmarks/codecs.py).
    if keras.backend.backend() == "tensorflow" and border == "zero":
        return blur_by_convolutions(maps, kernel)
    return blur_by_products(maps, kernel, border)


def blur_by_convolutions(maps: Tensor, kernel: int) -> Tensor:
    taps = np.tile(_blur_kernel(kernel)[:, None, None, None], (1, 1, maps.shape[3], 1)).astype("float32")
    rows = ops.depthwise_conv(maps, taps, padding="same", data_format="channels_last")
    return ops.depthwise_conv(rows, taps.swapaxes(0, 1), padding="same", data_format="channels_last")


def blur_by_products(maps: Tensor, kernel: int, border: str = "zero") -> Tensor:
    _, height, width, channels = maps.shape
    rows = ops.reshape(maps, (-1, height, width * channels))
    rows = ops.matmul(blur_matrix(height, kernel, border), rows)
    return ops.matmul(blur_matrix(width, kernel, border), ops.reshape(rows, (-1, height, width, channels)))


def blur_matrix(size: int, kernel: int, border: str = "zero") -> Array:
    """The matrix [size, size] that blurs a column, with zeros beyond its ends or mirrored at its end points."""
    place = np.arange(size)[:, None] + np.arange(kernel) - kernel // 2  # [size, kernel]
    taps = np.broadcast_to(_blur_kernel(kernel), place.shape)
    if border == "mirror":
        period = max(2 * (size - 1), 1)
        place = np.minimum(place % period, -place % period)
    row = np.broadcast_to(np.arange(size)[:, None], place.shape)
    known = (place >= 0) & (place < size)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (row[known], place[known]), taps[known])
    return matrix.astype("float32")


def _blur_kernel(size):
    """OpenCV's Gaussian for a width without a standard deviation: up to 9 from a table, beyond by a rule."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"The width of a blur kernel must be odd, got {size}; use {max(size, 0) + 1}.")
    if size in _SMALL_KERNELS:
        half = np.array(_SMALL_KERNELS[size])
        return np.concatenate([half, half[-2::-1]]) / 256
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    kernel = np.exp(-0.5 * (np.arange(size) - (size - 1) / 2) ** 2 / sigma**2)
    return kernel / kernel.sum()
