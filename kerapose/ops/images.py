"""Pixels: from those of a picture to those that a network expects, and back.

Pictures are RGB, 0 .. 255, whatever their type.
"""

import math
from collections.abc import Sequence

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import ArrayLike, Size, Tensor

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LUMINANCE",
    "OPENPOSE_NORMALIZATION",
    "PLAIN_NORMALIZATION",
    "crop_resize",
    "denormalize",
    "jitter",
    "normalize",
    "pad_to_stride",
    "resize_cubic",
]

#: Mean of ImageNet's pixels, in units of the full range, red first.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
#: Standard deviation of ImageNet's pixels, likewise.
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Of the stacked hourglass, as arguments of `normalize`: 0 to 1.
PLAIN_NORMALIZATION = {"mean": [0.0] * 3, "std": [1.0] * 3}
#: Of Lightweight OpenPose, as arguments of `normalize`: (pixel - 128) / 256, blue first.
OPENPOSE_NORMALIZATION = {"mean": (128 / 255,) * 3, "std": (256 / 255,) * 3, "bgr": True}
#: Weights of red, green and blue (ITU-R BT.601, as OpenCV's grey).
LUMINANCE = (0.299, 0.587, 0.114)


def normalize(
    images: Tensor, mean: ArrayLike = IMAGENET_MEAN, std: ArrayLike = IMAGENET_STD, bgr: bool = False
) -> Tensor:
    """Brings pixels to the range that a network was trained on: divided by 255, minus `mean`, divided by `std`.

    Args:
        images: [..., 3] RGB, 0 .. 255, uint8 or float.
        mean: of the three channels, in the order in which the network takes them.
        std: of the three channels, likewise.
        bgr: whether the network takes blue first. The published SimpleBaseline does, with the figures of RGB as they
            are; the hourglass takes RGB with mean 0 and standard deviation 1.

    Returns:
        [..., 3] float32.

    Example:
        >>> from kerapose.ops import images
        >>> np.asarray(images.normalize([[0, 124, 255]])).tolist()
        [[-2.12, 0.14, 2.64]]
    """
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    images = ops.cast(images, "float32")
    images = ops.flip(images, axis=-1) if bgr else images
    return images * (1.0 / (255.0 * std)).astype("float32") - (mean / std).astype("float32")


def denormalize(
    images: Tensor, mean: ArrayLike = IMAGENET_MEAN, std: ArrayLike = IMAGENET_STD, bgr: bool = False
) -> Tensor:
    """The inverse of `normalize`, for pictures of what a network saw: rounded and clipped.

    Args:
        images: [..., 3], what `normalize` gave with the same arguments.
        mean: see `normalize`.
        std: see `normalize`.
        bgr: see `normalize`.

    Returns:
        [..., 3] uint8 RGB.

    Example:
        >>> from kerapose.ops import images
        >>> np.asarray(images.denormalize(images.normalize([[0, 124, 255]]))).tolist()
        [[0, 124, 255]]
    """
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    images = ops.cast(images, "float32") * (255.0 * std).astype("float32") + (255.0 * mean).astype("float32")
    images = ops.flip(images, axis=-1) if bgr else images
    return ops.cast(ops.clip(ops.round(images), 0.0, 255.0), "uint8")


def jitter(images: Tensor, uniforms: Tensor, strength: float | Sequence[float]) -> Tensor:
    """Changes brightness, contrast and saturation, in this order, each by a random factor.

    Each factor lies between 1 - strength and 1 + strength (not below 0). Contrast is relative to the mean luminance of
    the picture, saturation to the luminance of each pixel.

    Args:
        images: [..., H, W, 3] RGB, 0 .. 255, uint8 or float.
        uniforms: [..., 3] random numbers in [0, 1): for brightness, contrast and saturation.
        strength: a number for all three, or three; 0 leaves a property as it is.

    Returns:
        [..., H, W, 3] float32, clipped to 0 .. 255 after each change.

    Example:
        >>> from kerapose.ops import images
        >>> brighter = images.jitter(image, uniforms=[1.0, 0.5, 0.5], strength=0.4)
        >>> image[0, 0].tolist(), np.asarray(brighter)[0, 0].tolist()
        ([120, 124, 130], [168.0, 173.6, 182.0])
    """
    strength = np.broadcast_to(np.asarray(strength, "float32"), 3)
    factors = ops.maximum(1.0 + (2.0 * ops.cast(uniforms, "float32") - 1.0) * strength, 0.0)
    brightness, contrast, saturation = (factors[..., i, None, None, None] for i in range(3))
    images = ops.clip(ops.cast(images, "float32") * brightness, 0.0, 255.0)
    mean = ops.mean(_luminance(images), axis=(-3, -2, -1), keepdims=True)
    images = ops.clip(mean + (images - mean) * contrast, 0.0, 255.0)
    grey = _luminance(images)
    return ops.clip(grey + (images - grey) * saturation, 0.0, 255.0)


def crop_resize(frames: Tensor, box: Tensor, size: Size) -> Tensor:
    """Cuts a box out of every frame of a clip and brings it to a size: bilinear, black outside of the frame.

    The result is that of `cv2.resize` with `INTER_LINEAR` on what was cut out: two taps an axis, the centres of pixels
    at half coordinates, the border repeated. Of each frame only the rows and columns that count are read.

    Args:
        frames: [..., L, H, W, C], of any numeric type.
        box: [..., 4] left, top, right, bottom, pixels of the frame, or [4], one for all clips. They need not be whole,
            nor inside of the frame. Where left is greater than right the picture is mirrored.
        size: (h, w) of the result.

    Returns:
        [..., L, h, w, C] float32, in the units of `frames`.

    Example:
        >>> from kerapose.ops import images
        >>> tuple(images.crop_resize(image[None], [-20.0, 10.0, 300.0, 330.0], (112, 112)).shape)
        (1, 112, 112, 3)
    """
    frames = ops.convert_to_tensor(frames)
    box = ops.cast(box, "float32")
    height, width = ops.shape(frames)[-3:-1]
    columns = _taps(box[..., 0], box[..., 2], size[1], width)
    result = 0.0
    for row, row_weight in _taps(box[..., 1], box[..., 3], size[0], height):
        rows = _take(frames, row, -3)  # [..., L, h, W, C], still of the type of the frames: the least to move
        blended = 0.0
        for column, column_weight in columns:
            pixels = ops.cast(_take(rows, column, -2), "float32")  # [..., L, h, w, C]
            blended = blended + pixels * column_weight[..., None, None, :, None]
        result = result + blended * row_weight[..., None, :, None, None]
    return result


def resize_cubic(maps: Tensor, size: Size) -> Tensor:
    """Brings maps to a size by cubic interpolation, as `cv2.resize` with `INTER_CUBIC`.

    Centres of pixels lie at half coordinates, the border is repeated, and a smaller size is not smoothed beforehand.
    The kernel is that of Keys with a = -0.75, where TensorFlow and Keras have -0.5.

    Args:
        maps: [..., h, w, C], of any numeric type.
        size: (H, W) of the result; whole numbers, or scalars that are known only when the graph runs.

    Returns:
        [..., H, W, C] float32; values may lie beyond those of `maps`, as cubic ones do.

    Raises:
        ValueError: if `maps` has fewer than three axes.

    Example:
        >>> from kerapose.ops import images
        >>> row = images.resize_cubic(np.float32([0, 1, 1, 0]).reshape(1, 4, 1), (1, 8))
        >>> np.asarray(row).ravel().tolist()
        [-0.11, 0.23, 0.77, 1.14, 1.14, 0.77, 0.23, -0.11]

    Paper: Keys, "Cubic Convolution Interpolation for Digital Image Processing", TASSP 1981.
    """
    maps = ops.convert_to_tensor(maps)
    if len(maps.shape) < 3:
        raise ValueError(f"maps must be [..., h, w, C], got {tuple(maps.shape)}; give a single map an axis of one.")
    maps = ops.cast(maps, "float32")
    *batch, height, width, channels = ops.shape(maps)
    # What differs from the first cell is enlarged: a level map stays level to the last bit, without peaks of rounding.
    first = maps[..., :1, :1, :]
    maps = maps - first
    # The width first, while there are few rows; then the height, with all columns and channels in one product.
    maps = ops.matmul(_cubic_matrix(width, size[1]), maps)  # [..., h, W, C]
    maps = ops.reshape(maps, (*batch, height, size[1] * channels))
    maps = ops.matmul(_cubic_matrix(height, size[0]), maps)  # [..., H, W * C]
    return ops.reshape(maps, (*batch, size[0], size[1], channels)) + first


def pad_to_stride(
    image: Tensor, stride: int = 8, value: float = 0.0, min_width: int = 0
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Pads a picture to whole multiples of a network's stride, with the smaller half of the padding left and on top.

    Args:
        image: [..., H, W, C], of any numeric type.
        stride: pixels.
        value: of the padding, in the units of the picture.
        min_width: pixels that the result has at least. The published Lightweight OpenPose gives the height, so that an
            upright picture becomes a square.

    Returns:
        The padded picture [..., H', W', C], of the type of `image`; and (top, left), how many rows and columns come
        before the picture, to subtract from what is found in it.

    Raises:
        ValueError: if `stride` is below 1.

    Example:
        >>> from kerapose.ops import images
        >>> padded, (top, left) = images.pad_to_stride(np.zeros((256, 457, 3)), stride=8)
        >>> tuple(padded.shape), (top, left)
        ((256, 464, 3), (0, 3))
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1 pixel, got {stride}; Lightweight OpenPose has 8.")
    image = ops.convert_to_tensor(image)
    height, width = ops.shape(image)[-3:-1]
    known = isinstance(width, int) and isinstance(min_width, int)
    wanted = max(width, min_width) if known else ops.maximum(width, min_width)
    rows, columns = -height % stride, wanted + -wanted % stride - width
    top, left = rows // 2, columns // 2
    pads = [[0, 0]] * (len(image.shape) - 3) + [[top, rows - top], [left, columns - left], [0, 0]]
    return ops.pad(image, pads, constant_values=value), (top, left)


def _cubic_matrix(length, new_length):
    """What each of `new_length` new pixels takes of each of `length` old ones: [new_length, length] float32."""
    # New pixel i lies at (i + 0.5) * length / new_length - 0.5, here split into whole numbers without rounding.
    doubled = (2 * ops.arange(new_length, dtype="int32") + 1) * length - new_length
    lower = ops.floor_divide(doubled, 2 * new_length)  # [new_length]
    fraction = ops.cast(doubled - lower * (2 * new_length), "float32") / ops.cast(2 * new_length, "float32")
    old = ops.arange(length, dtype="int32")
    matrix = 0.0
    for tap in (-1, 0, 1, 2):
        weight = _keys(ops.abs(fraction - tap))
        hit = ops.clip(lower + tap, 0, length - 1)[:, None] == old  # [new_length, length], the border repeated
        matrix = matrix + ops.where(hit, weight[:, None], 0.0)
    return matrix


def _keys(distance, a=-0.75):
    """The kernel of Keys at distances of 0 to 2 pixels."""
    near = ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
    far = ((a * distance - 5.0 * a) * distance + 8.0 * a) * distance - 4.0 * a
    return ops.where(distance <= 1.0, near, far)


def _taps(start, end, count, length):
    """The two pixels along an axis that each of `count` new ones is made of: two pairs of indices and weights."""
    step = (end - start) / count  # [...], negative where mirrored
    offsets = (np.arange(count, dtype="float32") + 0.5) * step[..., None] - 0.5
    low, high = ops.minimum(start, end)[..., None], ops.maximum(start, end)[..., None] - 1.0
    positions = ops.clip(start[..., None] + offsets, low, ops.maximum(low, high))
    lower = ops.floor(positions)
    fraction = positions - lower
    lower = ops.cast(lower, "int32")
    taps = []
    for index, weight in ((lower, 1.0 - fraction), (lower + 1, fraction)):
        inside = ops.logical_and(index >= 0, index < length)
        taps.append((ops.clip(index, 0, length - 1), ops.where(inside, weight, 0.0)))
    return taps


def _take(x, indices, axis):
    """`x` at indices [n] along an axis, or at [..., n], where each of the leading axes has its own."""
    if len(indices.shape) == 1:
        return ops.take(x, indices, axis=axis)
    shape = ops.shape(x)
    outer, count, inner = shape[:axis], shape[axis], shape[axis + 1 :]
    first = ops.reshape(ops.arange(math.prod(outer), dtype="int32") * count, (*outer, 1))
    for _ in range(len(shape) + axis + 1 - len(indices.shape)):
        indices = indices[..., None, :]
    return ops.take(ops.reshape(x, (-1, *inner)), first + indices, axis=0)


def _luminance(images):
    """[..., 3] -> [..., 1]."""
    return ops.matmul(images, np.float32(LUMINANCE)[:, None])
