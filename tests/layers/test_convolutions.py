"""The depthwise convolution against a loop."""

import numpy as np
import pytest
from random_layers import random_array

from kerapose import layers


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
