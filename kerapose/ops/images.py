"""Pixels: from those of a picture to those that a network expects, and back.

Pictures are RGB, 0 .. 255, whatever their type.
"""

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


def _luminance(images):
    """[..., 3] -> [..., 1]."""
    return ops.matmul(images, np.float32(LUMINANCE)[:, None])
