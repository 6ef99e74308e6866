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
    """Puts ResNet's basic block behind a tensor: two 3 x 3 convolutions, and a shortcut past them.

    Args:
        x: [B, H, W, C].
        filters: number of channels of the two convolutions.
        stride: of the first convolution, pixels.
        name: what the names of its modules begin with in the published network, as "layer1.0.".
        initializer: makes the initializer of a kernel; it is called for each one.

    Returns:
        [B, H', W', filters].

    Example:
        >>> import keras
        >>> from kerapose import layers
        >>> x = keras.Input((64, 48, 32))
        >>> layers.basic_block(x, filters=64, stride=2, name="layer2.0.").shape
        (None, 32, 24, 64)

    Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
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
    """Puts ResNet's bottleneck behind a tensor: convolutions 1 x 1, 3 x 3 and 1 x 1, and a shortcut past them.

    Args:
        x: [B, H, W, C].
        filters: number of channels of the first two convolutions; the last has four times as many.
        stride: of the 3 x 3 convolution, pixels.
        name: what the names of its modules begin with in the published network, as "layer1.0.".
        initializer: makes the initializer of a kernel; it is called for each one.
        stride_on_1x1: whether the first 1 x 1 convolution has the stride instead, as in Caffe's networks.

    Returns:
        [B, H', W', 4 * filters].

    Example:
        >>> import keras
        >>> from kerapose import layers
        >>> x = keras.Input((64, 48, 32))
        >>> layers.bottleneck(x, filters=64, stride=2, name="layer2.0.").shape
        (None, 32, 24, 256)

    Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
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
    """Puts a convolution, batch norm and ReLU behind a tensor, named as in PyTorch's blocks: "conv1" and "bn1".

    Args:
        x: [B, H, W, C].
        filters: number of output channels.
        kernel: its height and width, odd, pixels.
        stride: pixels.
        prefix: what the two names begin with in the published network, as "layer1.0.".
        number: what they end with.
        initializer: makes the initializer of the kernel.
        shortcut: [B, H', W', filters], added before the ReLU. None: nothing is.

    Returns:
        [B, H', W', filters].

    Example:
        >>> import keras
        >>> from kerapose import layers
        >>> x = keras.Input((64, 48, 32))
        >>> y = layers.numbered_conv(x, 64, kernel=3, stride=2, prefix="layer1.0.", number=1)
        >>> keras.Model(x, y).layers[-1].torch_names
        ('layer1.0.conv1', 'layer1.0.bn1')
    """
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
    """Puts the last layer of a pose network behind a tensor: a convolution with a bias and nothing after it.

    Args:
        x: [B, H, W, C].
        num_joints: K.
        kernel: height and width of the convolution's kernel, odd, pixels.
        name: of its module in the published network.

    Returns:
        Heatmaps [B, H, W, K], float32 under any precision policy.

    Example:
        >>> import keras
        >>> from kerapose import layers
        >>> layers.heatmap_head(keras.Input((64, 48, 256)), num_joints=17, kernel=1, name="final_layer").shape
        (None, 64, 48, 17)
    """
    options = {"activation": None, "norm": False, "use_bias": True, "kernel_initializer": small_normal()}
    options |= {"dtype": "float32", "name": layer_name(name), "torch_names": (name, None)}
    return ConvNorm(num_joints, (kernel, kernel), **options)(x)
