"""SimCC: two vectors for each keypoint in place of a map."""

import math
from collections.abc import Sequence

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.ops.heatmaps.blurring import blur_matrix
from kerapose.ops.heatmaps.grids import as_float32, finite, pixels
from kerapose.ops.heatmaps.maxima import INDEX
from kerapose.types import ArrayLike, Size, Tensor


def simcc_sigmas(image_size: Size) -> tuple[float, float]:
    """Gives the standard deviations that RTMPose's labels have, by the size of the crop: √(side / 8) bins.

    Args:
        image_size: (height, width) of the crop, pixels.

    Returns:
        That along x and that along y, to two decimals, as published.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> heatmaps.simcc_sigmas((256, 192)), heatmaps.simcc_sigmas((256, 256)), heatmaps.simcc_sigmas((384, 288))
        ((4.9, 5.66), (5.66, 5.66), (6.0, 6.93))

    Paper: Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose", 2023.
    """
    height, width = image_size
    return round(math.sqrt(width / 8), 2), round(math.sqrt(height / 8), 2)


def encode_simcc(
    keypoints: Tensor,
    weights: Tensor | None,
    image_size: Size,
    split_ratio: float = 2.0,
    sigma_bins: float | Sequence[float] = 6.0,
    smoothing: str = "gaussian",
    normalize: bool = False,
    label_smoothing: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws two vectors per keypoint, one along x and one along y, with `split_ratio` bins for each pixel of the crop.

    A keypoint is drawn round its nearest bin if its weight is at least 0.5. The defaults are the paper's; RTMPose's
    labels differ from them by `simcc_sigmas`.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first. Whatever is not finite is not drawn.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.
        split_ratio: bins per pixel.
        sigma_bins: standard deviation of the Gaussian, bins; one number, or one along x and one along y.
        smoothing: "gaussian": a Gaussian over all bins; "standard": 1 - `label_smoothing` in the bin of the keypoint,
            and the rest spread evenly over the others.
        normalize: whether each Gaussian has the sum 1 instead of the height 1.
        label_smoothing: what "standard" takes from the bin of the keypoint.

    Returns:
        x labels [..., K, bins], y labels [..., K, bins], both float32; weights [..., K] float32, 0 for keypoints more
        than 3σ ("standard": at all) outside; as published, a weight below 0.5 stays as it is, wherever the keypoint is.

    Raises:
        ValueError: if there is no such smoothing.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> x, y, _ = heatmaps.encode_simcc([[96.0, 128.0]], None, (256, 192))
        >>> tuple(x.shape), tuple(y.shape), int(np.argmax(x)), int(np.argmax(y))
        ((1, 384), (1, 512), 192, 256)

    Paper: Li et al., "SimCC: A Simple Coordinate Classification Perspective for Human Pose Estimation", ECCV 2022.
    """
    if smoothing not in ("gaussian", "standard"):
        raise ValueError(f'smoothing must be "gaussian" or "standard", got {smoothing!r}; "gaussian" is the better.')
    keypoints, weights = as_float32(keypoints, weights)
    centers = ops.round(finite(keypoints) * split_ratio)  # [..., K, 2]
    counts = np.around(np.float64(image_size[::-1]) * split_ratio).astype("int32")  # of x, of y
    sigmas = np.broadcast_to(np.float64(sigma_bins), (2,))
    before, after = (3 * sigmas + 1, 3 * sigmas) if smoothing == "gaussian" else (0, 0)
    low, high = (ops.convert_to_tensor(np.float32(limit)) for limit in (np.negative(before), counts + after))
    seen = ops.logical_and(centers >= low, centers < high)
    seen = ops.all(seen, axis=-1)  # [..., K]
    drawn = ops.cast(ops.logical_and(seen, weights >= 0.5), "float32")[..., None]  # [..., K, 1]
    weights = ops.where(ops.logical_or(seen, weights < 0.5), weights, 0.0)
    labels = []
    for axis in (0, 1):
        offset = pixels(counts[axis])[:, 0] - centers[..., axis, None]  # [..., K, bins]
        if smoothing == "gaussian":
            label = ops.exp(ops.square(offset) * np.float32(-0.5 / sigmas[axis] ** 2))
            label = label / np.float32(sigmas[axis] * np.sqrt(2 * np.pi)) if normalize else label
        else:
            label = ops.where(offset == 0, 1 - label_smoothing, label_smoothing / (counts[axis] - 1))
        labels.append(ops.cast(label, "float32") * drawn)
    return *labels, weights


def decode_simcc(
    x_labels: Tensor,
    y_labels: Tensor,
    split_ratio: float = 2.0,
    sigma_bins: float | Sequence[float] = 6.0,
    dark: bool = False,
    visibility: bool = False,
    visibility_sharpness: float = 150.0,
    missing_px: float | None = None,
) -> tuple[Tensor, ...]:
    """Finds the keypoints of the vectors of `encode_simcc`: the first maximum of each.

    Args:
        x_labels: [..., K, bins].
        y_labels: [..., K, bins].
        split_ratio: bins per pixel.
        sigma_bins: as in `encode_simcc`; only `dark` and `visibility` ask for it.
        dark: whether to add a Newton step on the logarithm of the blurred vectors, as the codec dark of `decode` does.
        visibility: whether to return the visibility, too: the lesser of the maxima of two softmaxes, of the labels
            times `visibility_sharpness` and σ.
        visibility_sharpness: see `visibility`.
        missing_px: x and y, pixels of the crop, of a keypoint of which a vector has nothing above 0. None: as
            published, -1 / `split_ratio`.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K], the lesser of the two maxima; and with
        `visibility` the visibility [..., K], 0 .. 1.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> x, y, _ = heatmaps.encode_simcc([[97.7, 130.0]], None, (256, 192))  # bins of half a pixel
        >>> found, scores = heatmaps.decode_simcc(x, y)
        >>> np.asarray(found).tolist()
        [[97.5, 130.0]]

    Paper: see `encode_simcc`.
    """
    sigmas = np.broadcast_to(np.float64(sigma_bins), (2,))
    places, heights, certainties = [], [], []
    for labels, sigma in zip((x_labels, y_labels), sigmas, strict=True):
        labels = ops.cast(labels, "float32")
        place = ops.argmax(labels, axis=-1)  # [..., K]
        height = ops.max(labels, axis=-1)
        place_px = ops.cast(place, "float32")
        if dark:
            place_px = place_px + _simcc_newton_step(labels, place, height, sigma)
        places.append(place_px)
        heights.append(height)
        if visibility:
            sharpened = (labels - height[..., None]) * (visibility_sharpness * sigma)
            certainties.append(1 / ops.sum(ops.exp(sharpened), axis=-1))  # the softmax at its maximum
    scores = ops.minimum(*heights)
    missing_px = -1.0 / split_ratio if missing_px is None else missing_px
    keypoints = ops.where(scores[..., None] > 0, ops.stack(places, axis=-1) / split_ratio, missing_px)
    return (keypoints, scores, ops.minimum(*certainties)) if visibility else (keypoints, scores)


def merge_flipped_simcc(
    labels: dict[str, Tensor], labels_of_flipped_image: dict[str, Tensor], flip_permutation: ArrayLike
) -> dict[str, Tensor]:
    """Averages the vectors of an image with those of its mirror image, mirrored back.

    As published, bins change places and nothing is shifted: with 2 bins a pixel, a keypoint comes back from the mirror
    half a pixel to the right of its place.

    Args:
        labels: {"x": [..., K, bins], "y": [..., K, bins]}.
        labels_of_flipped_image: likewise, as the network gave them.
        flip_permutation: [K], the keypoint that each one is in a mirror (`Skeleton.flip_permutation`).

    Returns:
        {"x": [..., K, bins], "y": [..., K, bins]}.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> labels = {"x": np.eye(4)[None, :2], "y": np.eye(3)[None, :2]}  # of two keypoints: bins 0 and 1
        >>> merged = heatmaps.merge_flipped_simcc(labels, labels, [1, 0])
        >>> np.asarray(merged["x"])[0].tolist(), np.asarray(merged["y"])[0].tolist()
        ([[0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5]], [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])

    Paper: see `simcc_sigmas`.
    """
    order, merged = np.asarray(flip_permutation), {}
    for axis in ("x", "y"):
        mirrored = ops.take(ops.convert_to_tensor(labels_of_flipped_image[axis]), order, axis=-2)
        mirrored = ops.flip(mirrored, axis=-1) if axis == "x" else mirrored
        merged[axis] = (ops.convert_to_tensor(labels[axis]) + mirrored) * 0.5
    return merged


def _simcc_newton_step(labels, place, height, sigma):
    """The step of `decode_simcc` from the maxima at `place` of height `height`: [..., K, bins] -> [..., K]."""
    kernel = int((sigma * 20 - 7) // 3)
    bins = labels.shape[-1]
    blurred = ops.matmul(labels, blur_matrix(bins, max(kernel - (kernel % 2 == 0), 1)).T)
    top = ops.max(blurred, axis=-1)
    scale = height / ops.where(top == 0, 1.0, top)
    rows = ops.reshape(blurred, (-1,))
    first = ops.reshape(ops.arange(ops.size(place), dtype=INDEX) * bins, ops.shape(place))

    def log_at(step):
        index = first + ops.cast(ops.clip(place + step, 0, bins - 1), INDEX)
        return ops.log(ops.clip(ops.take(rows, index) * scale, 1e-3, 50.0))

    dx = 0.5 * (log_at(1) - log_at(-1))
    dxx = 1e-9 + 0.25 * (log_at(2) - 2 * log_at(0) + log_at(-2))
    return -dx / dxx
