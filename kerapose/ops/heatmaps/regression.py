"""Regression: the place of each keypoint itself, as a share of the crop, in place of a map."""

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.ops.heatmaps.grids import as_float32
from kerapose.types import ArrayLike, Size, Tensor


def encode_regression(keypoints: Tensor, weights: Tensor | None, image_size: Size) -> tuple[Tensor, Tensor]:
    """Gives what a network of coordinates learns: each keypoint as a share of the crop's width and height.

    As published, the shares are of w and h, not of w - 1 and h - 1, and those of keypoints outside of the crop are kept
    as they are, though nothing is learnt from them.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first. Whatever is not finite has the label 0, and no weight.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.

    Returns:
        Labels [..., K, 2] float32, x first; weights [..., K] float32: 1 where the given one is above 0.5 and the
        keypoint lies between the centres of the crop's first and last pixels, else 0.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> labels, weights = heatmaps.encode_regression([[96.0, 64.0], [192.0, 64.0]], None, (256, 192))
        >>> np.asarray(labels).tolist(), np.asarray(weights).tolist()  # the second lies beyond the last pixel
        ([[0.5, 0.25], [1.0, 0.25]], [1.0, 0.0])

    Paper: Toshev and Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014.
    """
    keypoints, weights = as_float32(keypoints, weights)
    last = _size(image_size) - 1
    inside = ops.all(ops.logical_and(keypoints >= 0, keypoints <= last), axis=-1)  # [..., K]; NaN is nowhere
    known = ops.logical_and(inside, weights > 0.5)
    labels = ops.where(ops.isfinite(keypoints), keypoints, 0.0) / _size(image_size)
    return labels, ops.cast(known, "float32")


def bound_sigmas(outputs: Tensor) -> Tensor:
    """Brings the sigmas of a network of coordinates, if it gives some, from logits to 0 .. 1.

    Args:
        outputs: [..., K, 2] x and y, which are left as they are; or [..., K, 4], with the logits of their sigmas.

    Returns:
        The same, with sigmas in place of logits.

    Raises:
        ValueError: if there are neither 2 nor 4 numbers a keypoint.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> np.asarray(heatmaps.bound_sigmas([[0.3, 0.6, 0.0, 0.0]])).tolist()
        [[0.3, 0.6, 0.5, 0.5]]

    Paper: Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021.
    """
    outputs = ops.cast(outputs, "float32")
    if _count(outputs) == 2:
        return outputs
    return ops.concatenate([outputs[..., :2], ops.sigmoid(outputs[..., 2:])], axis=-1)


def decode_regression(coordinates: Tensor, image_size: Size) -> tuple[Tensor, Tensor]:
    """Finds the keypoints that a network of coordinates tells.

    Args:
        coordinates: [..., K, 2] shares of the crop, x first; or [..., K, 4], with two sigmas in 0 .. 1
            (`bound_sigmas`).
        image_size: (height, width) of the crop, pixels.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first, also where they lie outside of it; scores [..., K]: 1 less
        the mean of the sigmas or, without these, 1.

    Raises:
        ValueError: if there are neither 2 nor 4 numbers a keypoint.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> found, scores = heatmaps.decode_regression([[0.5, 0.25, 0.125, 0.375]], (256, 192))
        >>> np.asarray(found).tolist(), np.asarray(scores).tolist()
        ([[96.0, 64.0]], [0.75])

    Papers: see `encode_regression` and, of the sigmas, `bound_sigmas`.
    """
    coordinates = ops.cast(coordinates, "float32")
    sure = _count(coordinates) == 2
    keypoints = coordinates[..., :2] * _size(image_size)
    scores = ops.ones_like(keypoints[..., 0]) if sure else 1 - ops.mean(coordinates[..., 2:], axis=-1)
    return keypoints, scores


def merge_flipped_regression(
    coordinates: Tensor,
    coordinates_of_flipped_image: Tensor,
    flip_permutation: ArrayLike,
    image_size: Size,
    shift: bool = True,
) -> Tensor:
    """Averages the coordinates found in an image with those found in its mirror image, mirrored back.

    Args:
        coordinates: [..., K, 2] or [..., K, 4], as `decode_regression` takes them.
        coordinates_of_flipped_image: likewise.
        flip_permutation: [K], the keypoint that each one is in a mirror (`Skeleton.flip_permutation`).
        image_size: (height, width) of the crop, pixels.
        shift: whether x is mirrored on w - 1 pixels, as the pixels of an image are, or on w.

    Returns:
        As `coordinates`; sigmas are averaged, too.

    Raises:
        ValueError: if there are neither 2 nor 4 numbers a keypoint.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> found, in_mirror = [[0.25, 0.5], [0.5, 0.5]], [[0.49, 0.5], [0.74, 0.5]]  # left, right; 100 pixels wide
        >>> merged = heatmaps.merge_flipped_regression(found, in_mirror, [1, 0], (100, 100))
        >>> np.asarray(merged).round(3).tolist()
        [[0.25, 0.5], [0.5, 0.5]]

    Papers: see `encode_regression` and, of the sigmas, `bound_sigmas`.
    """
    coordinates = ops.cast(coordinates, "float32")
    mirrored = ops.take(ops.cast(coordinates_of_flipped_image, "float32"), np.asarray(flip_permutation), axis=-2)
    _count(coordinates)
    width = 1 - 1 / image_size[1] if shift else 1.0  # what x and its mirror image are together
    mirrored = ops.concatenate([np.float32(width) - mirrored[..., :1], mirrored[..., 1:]], axis=-1)
    return (coordinates + mirrored) * 0.5


def _size(image_size):
    """Width and height, as points have x first: a tensor, since PyTorch's do not reckon with arrays."""
    return ops.convert_to_tensor(np.float32(image_size[::-1]))


def _count(coordinates):
    """How many numbers there are a keypoint."""
    count = coordinates.shape[-1]
    if count not in (2, 4):
        raise ValueError(f"There must be x and y a keypoint, or these and two sigmas, got {count} numbers; give those.")
    return count
