"""Volumes of joints and limbs over the frames of a clip: what PoseConv3D sees."""

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.ops.heatmaps.grids import as_float32, finite, pixels
from kerapose.types import ArrayLike, Edges, Tensor

MIN_SCORE = 1e-3  # a keypoint below this is not drawn in a volume


def joint_volume(keypoints: Tensor, scores: Tensor | None, height: int, width: int, sigma_px: float = 0.6) -> Tensor:
    """Draws one Gaussian per keypoint: the heatmap volume of joints.

    Args:
        keypoints: [..., M, T, K, 2], pixels of the volume, x first.
        scores: [..., M, T, K], the height of each Gaussian; below 0.001, and where a keypoint is not finite, it is not
            drawn. Zero for a person that is only padding. None: ones.
        height: rows of the volume.
        width: columns of the volume.
        sigma_px: standard deviation, pixels of the volume.

    Returns:
        [..., T, H, W, K] float32; where people overlap, the maximum.

    Example:
        >>> from kerapose.ops import boxes, heatmaps
        >>> small = boxes.resize(keypoints, frame_size, (56, 56))
        >>> tuple(heatmaps.joint_volume(small, scores, 56, 56).shape)
        (30, 56, 56, 17)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    keypoints, scores = as_float32(keypoints, scores)
    scores = ops.where(scores >= MIN_SCORE, scores, 0.0)  # [..., M, T, K]
    columns = _window_gaussian(keypoints[..., 0], width, sigma_px)  # [..., M, T, W, K]
    rows = _window_gaussian(keypoints[..., 1], height, sigma_px) * scores[..., None, :]  # [..., M, T, H, K]
    volume = rows[..., :, None, :] * columns[..., None, :, :]  # [..., M, T, H, W, K]
    return ops.max(volume, axis=-5, initial=0.0)  # [..., T, H, W, K]


def limb_volume(
    keypoints: Tensor, scores: Tensor | None, edges: Edges, height: int, width: int, sigma_px: float = 0.6
) -> Tensor:
    """Draws one Gaussian ridge per limb, around the segment between its two keypoints.

    A limb's height is the lesser of its two scores, and it is not drawn when that is below 0.001. A limb shorter than
    one pixel is drawn as a point at its first keypoint, with that keypoint's score.

    Args:
        keypoints: [..., M, T, K, 2], pixels of the volume, x first.
        scores: [..., M, T, K]; None: ones.
        edges: [E, 2] keypoint indices, first and second end of each limb (`Skeleton.edges`).
        height: rows of the volume.
        width: columns of the volume.
        sigma_px: standard deviation across the limb, pixels of the volume.

    Returns:
        [..., T, H, W, E] float32; where people overlap, the maximum.

    Example:
        >>> from kerapose.ops import boxes, heatmaps
        >>> small = boxes.resize(keypoints, frame_size, (56, 56))
        >>> left_arm = [(5, 7), (7, 9)]  # from the shoulder to the elbow, from there to the wrist
        >>> tuple(heatmaps.limb_volume(small, scores, left_arm, 56, 56).shape)
        (30, 56, 56, 2)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    keypoints, scores = _drawable(keypoints, scores)
    edges = np.asarray(edges, "int32")
    segments = ops.take(keypoints, edges, axis=-2)  # [..., M, T, E, 2 ends, 2]
    end_scores = ops.take(scores, edges, axis=-1)  # [..., M, T, E, 2 ends]
    drawn = ops.min(end_scores, axis=-1) >= MIN_SCORE  # [..., M, T, E]
    limb = segments[..., 1, :] - segments[..., 0, :]
    squared_length = ops.sum(ops.square(limb), axis=-1)
    # A point is a limb of length 0 from its start to its start; it has no direction, so (1, 0) does.
    is_point = squared_length < 1.0
    limb = ops.where(is_point[..., None], np.float32([1, 0]), limb)
    segments = ops.where(is_point[..., None, None], segments[..., :1, :], segments)
    end_scores = ops.where(is_point[..., None], end_scores[..., :1], end_scores)

    # XLA computes all that is cheap anew for every pixel, save what ends in a reduction, a division or a root: so do
    # all terms of a limb, and the volume takes half the time (benchmarks/heatmaps.py).
    center, low, high = (reduce(segments, axis=-2) for reduce in (ops.mean, ops.min, ops.max))  # [..., M, T, E, 2]
    direction = limb / ops.sqrt(ops.maximum(squared_length, 1.0))[..., None]
    half_length = ops.sqrt(ops.where(is_point, 0.0, squared_length / 4))
    value = ops.where(drawn, ops.min(end_scores, axis=-1), 0.0)

    # Distances from the middle along and across the limb: each is a column term plus a row term.
    x = pixels(width) - center[..., None, :, 0]  # [..., M, T, W, E]
    y = pixels(height) - center[..., None, :, 1]  # [..., M, T, H, E]
    cos, sin = direction[..., None, :, 0], direction[..., None, :, 1]  # [..., M, T, 1, E]
    along = (y * sin)[..., :, None, :] + (x * cos)[..., None, :, :]  # [..., M, T, H, W, E]
    across = (y * cos)[..., :, None, :] - (x * sin)[..., None, :, :]
    beyond = ops.maximum(ops.abs(along) - half_length[..., None, None, :], 0.0)  # zero beside the limb
    ridge = ops.exp((ops.square(beyond) + ops.square(across)) * np.float32(-0.5 / sigma_px**2))

    columns, rows = (
        ops.cast(_inside_window(low[..., i], high[..., i], size, sigma_px), "float32")
        for i, size in enumerate((width, height))
    )  # [..., M, T, W, E], [..., M, T, H, E]
    rows = rows * value[..., None, :]
    volume = ridge * (rows[..., :, None, :] * columns[..., None, :, :])
    return ops.max(volume, axis=-5, initial=0.0)  # [..., T, H, W, E]


def flip_volume(volume: Tensor, flip_permutation: ArrayLike) -> Tensor:
    """Mirrors a heatmap volume left to right: column x goes to W - 1 - x, left channels trade places with right ones.

    Args:
        volume: [..., H, W, C], float.
        flip_permutation: [C], the channel that each channel comes from (`Skeleton.flip_permutation` for joints,
            `Skeleton.edge_flip_permutation` for limbs).

    Returns:
        [..., H, W, C], of the type of `volume`.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> volume = np.float32([[[1, 0], [0, 0], [0, 0]]])  # one row, three columns; left, right
        >>> np.asarray(heatmaps.flip_volume(volume, (1, 0))).tolist()
        [[[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]
    """
    # A product with a permutation matrix is exact, and 15 times faster on the CPU than gathering single channels.
    order = np.asarray(flip_permutation)
    matrix = ops.cast(np.eye(len(order), dtype="float32")[:, order], volume.dtype)
    return ops.matmul(ops.flip(volume, axis=-2), matrix)


def _drawable(keypoints, scores):
    """Keypoints, all finite, and their scores, 0 where one is not drawn: NaN would spoil all that it is added to."""
    keypoints, scores = as_float32(keypoints, scores)
    drawn = ops.logical_and(scores >= MIN_SCORE, ops.all(ops.isfinite(keypoints), axis=-1))
    return finite(keypoints), ops.where(drawn, scores, 0.0)


def _window_gaussian(mean, size, sigma_px):
    """exp(-(x - mean)² / 2σ²) at x = 0 .. size - 1 inside the window of `mean`, else 0: [..., K] -> [..., size, K]."""
    offset = pixels(size) - mean[..., None, :]
    gaussian = ops.exp(ops.square(offset) * np.float32(-0.5 / sigma_px**2))
    return ops.where(_inside_window(mean, mean, size, sigma_px), gaussian, 0.0)  # of NaN, too, this is 0


def _inside_window(low, high, size, sigma_px):
    """Whether trunc(low - 3σ) <= x <= trunc(high + 3σ), for x = 0 .. size - 1: [..., K] -> [..., size, K].

    The published bounds are cut towards zero, so on pixels x >= 0 the lower one reads low < x + 1 + 3σ and the upper
    one high >= x - 3σ, save that pixel 0 is still drawn while high > -1 - 3σ. They are float64 sums there. Here only
    the coordinates are float32, so each bound is moved to the next float32 number, which parts them alike.
    """
    pixel = np.arange(size, dtype="float64")[:, None]
    reach = 3 * sigma_px
    inside_low = low[..., None, :] < ops.convert_to_tensor(_round_up(pixel + 1 + reach))
    first = np.where(pixel == 0, np.nextafter(-1 - reach, 0), pixel - reach)
    inside_high = high[..., None, :] >= ops.convert_to_tensor(_round_up(first))
    return ops.logical_and(inside_low, inside_high)


def _round_up(values):
    """The least float32 numbers that are not below the float64 `values`."""
    nearest = values.astype("float32")
    return np.where(nearest < values, np.nextafter(nearest, np.float32(np.inf)), nearest)
