"""Pixels: from those of a picture to those that a network expects, and back.

Pictures are RGB, 0 .. 255, whatever their type.
"""

import math

import numpy as np
from keras import ops

# Of ImageNet, in units of the full range, red first.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601, as OpenCV's grey)


def normalize(images, mean=IMAGENET_MEAN, std=IMAGENET_STD, bgr=False):
    """Brings pixels to the range that a network was trained on: divided by 255, minus `mean`, divided by `std`.

    Args:
        images: [..., 3] RGB, 0 .. 255, uint8 or float.
        mean: of the three channels, in the order in which the network takes them.
        std: of the three channels, likewise.
        bgr: whether the network takes blue first. The published SimpleBaseline does, with the figures of RGB as they
            are; the hourglass takes RGB with mean 0 and standard deviation 1.

    Returns:
        [..., 3] float32.
    """
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    images = ops.cast(images, "float32")
    images = ops.flip(images, axis=-1) if bgr else images
    return images * (1.0 / (255.0 * std)).astype("float32") - (mean / std).astype("float32")


def denormalize(images, mean=IMAGENET_MEAN, std=IMAGENET_STD, bgr=False):
    """The inverse of `normalize`, for pictures of what a network saw: rounded and clipped.

    Args:
        images: [..., 3], what `normalize` gave with the same arguments.
        mean: see `normalize`.
        std: see `normalize`.
        bgr: see `normalize`.

    Returns:
        [..., 3] uint8 RGB.
    """
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    images = ops.cast(images, "float32") * (255.0 * std).astype("float32") + (255.0 * mean).astype("float32")
    images = ops.flip(images, axis=-1) if bgr else images
    return ops.cast(ops.clip(ops.round(images), 0.0, 255.0), "uint8")


def jitter(images, uniforms, strength):
    """Changes brightness, contrast and saturation, in this order, each by a random factor.

    Each factor lies between 1 - strength and 1 + strength (not below 0). Contrast is relative to the mean luminance of
    the picture, saturation to the luminance of each pixel.

    Args:
        images: [..., H, W, 3] RGB, 0 .. 255, uint8 or float.
        uniforms: [..., 3] random numbers in [0, 1): for brightness, contrast and saturation.
        strength: a number for all three, or three; 0 leaves a property as it is.

    Returns:
        [..., H, W, 3] float32, clipped to 0 .. 255 after each change.
    """
    strength = np.broadcast_to(np.asarray(strength, "float32"), 3)
    factors = ops.maximum(1.0 + (2.0 * ops.cast(uniforms, "float32") - 1.0) * strength, 0.0)
    brightness, contrast, saturation = (factors[..., i, None, None, None] for i in range(3))
    images = ops.clip(ops.cast(images, "float32") * brightness, 0.0, 255.0)
    mean = ops.mean(_luminance(images), axis=(-3, -2, -1), keepdims=True)
    images = ops.clip(mean + (images - mean) * contrast, 0.0, 255.0)
    grey = _luminance(images)
    return ops.clip(grey + (images - grey) * saturation, 0.0, 255.0)


def crop_resize(frames, box, size):
    """Cuts a box out of every frame of a clip and brings it to a size: bilinear, black outside of the frame.

    The result is that of `cv2.resize` with `INTER_LINEAR` on the cut-out: two taps an axis, the centres of pixels at
    half coordinates, the border of the cut-out repeated. Of each frame only the rows and columns that count are read.

    Args:
        frames: [..., L, H, W, C], of any numeric type.
        box: [..., 4] left, top, right, bottom, pixels of the frame, whole or not, inside of it or not; or [4], one for
            all clips. A left greater than the right mirrors the picture.
        size: (h, w) of the result.

    Returns:
        [..., L, h, w, C] float32, in the units of `frames`.

    Example:
        >>> crop_resize(video, [-20.0, 10.0, 300.0, 330.0], (224, 224)).shape  # video: [8, 240, 320, 3]
        (8, 224, 224, 3)
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
