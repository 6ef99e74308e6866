"""Square windows that are cut out of maps, one for each keypoint, and put back where they come from.

Their places are whole pixels, through which no gradient goes; what is in them has its gradient, which a GPU can repeat.
"""

import keras
from keras import ops

from kerapose.types import Tensor

__all__ = ["cut", "highest", "on_coarser_grid", "paste"]

INDEX = "int64" if keras.backend.backend() == "tensorflow" else "int32"  # JAX has no other unless told to


def highest(maps: Tensor) -> Tensor:
    """The pixel where each map is highest; the first of several, row by row.

    Args:
        maps: [B, h, w, K].

    Returns:
        [B, K, 2], x first, integers.

    Example:
        >>> from kerapose.ops import windows
        >>> maps = np.zeros((1, 4, 6, 1))
        >>> maps[0, 1, 4, 0] = 1.0
        >>> np.asarray(windows.highest(maps)).tolist()
        [[[4, 1]]]
    """
    maps = ops.convert_to_tensor(maps)
    _, height, width, num_joints = ops.shape(maps)
    pixels = ops.reshape(maps, (-1, height * width, num_joints))  # [B, h*w, K]
    # Neither LiteRT nor ONNX has what Keras's argmax is made of; up to 16 million numbers are exact in float32.
    index = ops.cast(ops.arange(height * width, dtype=INDEX), "float32")[:, None]
    beyond = ops.cast(height * width, "float32")
    place = ops.min(ops.where(pixels >= ops.max(pixels, axis=1, keepdims=True), index, beyond), axis=1)  # [B, K]
    row = ops.floor(place / ops.cast(width, "float32"))
    return ops.cast(ops.stack([place - row * ops.cast(width, "float32"), row], axis=-1), INDEX)


def on_coarser_grid(places: Tensor, ratio: int) -> Tensor:
    """The pixels of a coarser grid that have pixels of a finer one in them.

    Args:
        places: [...], integers, also below 0.
        ratio: pixels of the finer grid in one of the coarser, a power of 2.

    Returns:
        [...], integers.

    Example:
        >>> from kerapose.ops import windows
        >>> np.asarray(windows.on_coarser_grid(np.array([-5, -4, 3, 4]), 4)).tolist()
        [-2, -1, 0, 1]
    """
    return ops.cast(ops.floor(ops.cast(places, "float32") / ratio), INDEX)  # LiteRT divides no such integers


def cut(maps: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cuts windows out of maps; what of a window lies outside is 0.

    Args:
        maps: [B, h, w, C].
        corners: [B, K, 2], the upper left pixel of each window, x first, integers, also outside.
        size: height and width of the windows, pixels.

    Returns:
        [B, K, size, size, C].

    Example:
        >>> from kerapose.ops import windows
        >>> maps = np.arange(12.0).reshape(1, 3, 4, 1)
        >>> np.asarray(windows.cut(maps, [[[1, 1], [3, 2]]], 2))[0, ..., 0].tolist()
        [[[5.0, 6.0], [9.0, 10.0]], [[11.0, 0.0], [0.0, 0.0]]]
    """
    maps = ops.convert_to_tensor(maps)
    batch, height, width, channels = ops.shape(maps)
    height, width = ops.cast(height, INDEX), ops.cast(width, INDEX)
    along = ops.cast(corners, INDEX)[..., None] + ops.arange(size, dtype=INDEX)  # [B, K, 2, size]
    x, y = along[:, :, 0, None, :], along[:, :, 1, :, None]  # [B, K, 1, size], [B, K, size, 1]
    inside = ops.logical_and(ops.logical_and(x >= 0, x < width), ops.logical_and(y >= 0, y < height))
    x, y = ops.clip(x, 0, width - 1), ops.clip(y, 0, height - 1)
    first = ops.arange(batch, dtype=INDEX)[:, None, None, None] * (height * width)
    pixels = ops.take(ops.reshape(maps, (-1, channels)), first + y * width + x, axis=0)  # [B, K, size, size, C]
    return pixels * ops.cast(inside[..., None], maps.dtype)


def paste(windows: Tensor, corners: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """Puts windows of one channel, one for each keypoint, into maps that are 0 elsewhere: the way back of `cut`.

    It is two products with matrices of ones and zeros, of which the gradient is two such products, too.

    Args:
        windows: [B, K, size, size].
        corners: [B, K, 2], as of `cut`; what of a window lies outside is left out.
        height: of the maps, pixels.
        width: of the maps, pixels.

    Returns:
        [B, height, width, K].

    Example:
        >>> from kerapose.ops import windows
        >>> maps = windows.paste(np.float32([[[[1, 2], [3, 4]]]]), [[[2, 0]]], height=2, width=3)
        >>> np.asarray(maps)[0, ..., 0].tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]
    """
    windows = ops.convert_to_tensor(windows)
    size = windows.shape[-1]
    along = ops.cast(corners, INDEX)[..., None] + ops.arange(size, dtype=INDEX)  # [B, K, 2, size]
    rows, columns = (
        ops.cast(along[:, :, axis, :, None] == ops.arange(side, dtype=INDEX), windows.dtype)  # [B, K, size, side]
        for axis, side in ((1, height), (0, width))
    )
    maps = ops.matmul(ops.transpose(rows, (0, 1, 3, 2)), ops.matmul(windows, columns))  # [B, K, height, width]
    return ops.transpose(maps, (0, 2, 3, 1))
