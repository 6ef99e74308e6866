"""Blocks of residual networks and heads of pose networks, as functions that put layers behind a tensor.

`name` is that of the published module. `initializer` makes the initializer of a kernel, one for each.
"""

from collections.abc import Callable

import keras

from kerapose.layers.conv_norm import ConvNorm
from kerapose.layers.initializers import he_normal, small_normal
from kerapose.layers.names import layer_name
from kerapose.types import Tensor


def basic_block(
    x: Tensor,
    filters: int,
    stride: int,
    name: str,
    initializer: Callable[[], keras.initializers.Initializer] = he_normal,
) -> Tensor:
    """Two 3 x 3 convolutions, the first with the stride, and the shortcut: [B, H, W, C] -> [B, H', W', filters]."""
    shortcut = _projection(x, filters, stride, name, initializer)
    x = numbered_conv(x, filters, 3, stride, name, 1, initializer)
    return numbered_conv(x, filters, 3, 1, name, 2, initializer, shortcut)


def bottleneck(
    x: Tensor,
    filters: int,
    stride: int,
    name: str,
    initializer: Callable[[], keras.initializers.Initializer] = he_normal,
    stride_on_1x1: bool = False,
) -> Tensor:
    """1 x 1, then 3 x 3, then 1 x 1, and the shortcut: [B, H, W, C] -> [B, H', W', 4 * filters]."""
    shortcut = _projection(x, filters * 4, stride, name, initializer)
    first, second = (stride, 1) if stride_on_1x1 else (1, stride)
    x = numbered_conv(x, filters, 1, first, name, 1, initializer)
    x = numbered_conv(x, filters, 3, second, name, 2, initializer)
    return numbered_conv(x, filters * 4, 1, 1, name, 3, initializer, shortcut)


def numbered_conv(
    x: Tensor,
    filters: int,
    kernel: int,
    stride: int,
    prefix: str,
    number: int,
    initializer: Callable[[], keras.initializers.Initializer] = he_normal,
    shortcut: Tensor | None = None,
) -> Tensor:
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


def heatmap_head(x: Tensor, num_joints: int, kernel: int, name: str) -> Tensor:
    """Heatmaps [B, H, W, K] float32 under any policy: a convolution with a bias and nothing after it."""
    options = {"activation": None, "norm": False, "use_bias": True, "kernel_initializer": small_normal()}
    options |= {"dtype": "float32", "name": layer_name(name), "torch_names": (name, None)}
    return ConvNorm(num_joints, (kernel, kernel), **options)(x)
