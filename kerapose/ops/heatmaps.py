"""Heatmap codecs: keypoints to heatmaps and back.

`joint_volume` and `limb_volume` draw what PoseConv3D looks at. Both are one broadcast expression over people, frames,
rows, columns and keypoints (or limbs). Their windows and exceptions are those of the published generator (Duan et al.,
"Revisiting Skeleton-based Action Recognition", CVPR 2022; PYSKL's GeneratePoseTarget), so a published checkpoint sees
the very input it was trained on.

`encode` draws what top-down networks learn to draw and `decode` reads it, with the rounding of the publication that a
codec is named after. `encode_offsets` and `encode_simcc` are the two codecs whose output is not one map a keypoint.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerapose.types import ArrayLike, Edges, Size, Tensor

MIN_SCORE = 1e-3  # a keypoint below this is not drawn in a volume
CODECS = ("gaussian", "dark", "udp", "hourglass")


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
        >>> joint_volume(np.full((1, 48, 17, 2), 28.0), np.ones((1, 48, 17)), 56, 56).shape
        (48, 56, 56, 17)
    """
    keypoints, scores = _as_float32(keypoints, scores)
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
        >>> limb_volume(np.zeros((1, 48, 17, 2)), None, [(5, 7), (7, 9)], 56, 56).shape
        (48, 56, 56, 2)
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
    x = _pixels(width) - center[..., None, :, 0]  # [..., M, T, W, E]
    y = _pixels(height) - center[..., None, :, 1]  # [..., M, T, H, E]
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
        [..., H, W, C].
    """
    # A product with a permutation matrix is exact, and 15 times faster on the CPU than gathering single channels.
    order = np.asarray(flip_permutation)
    matrix = ops.cast(np.eye(len(order), dtype="float32")[:, order], volume.dtype)
    return ops.matmul(ops.flip(volume, axis=-2), matrix)


def encode(
    keypoints: Tensor,
    weights: Tensor | None,
    image_size: Size,
    heatmap_size: Size,
    sigma_px: float = 2.0,
    codec: str = "gaussian",
    published: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draws the heatmaps that a top-down network learns: one Gaussian per keypoint.

    A keypoint is drawn if its weight is above 0.5. Each codec follows its publication to the pixel:

    - "gaussian": round the keypoint to the nearest heatmap pixel and draw within 3σ of it.
    - "dark": draw round the very place of the keypoint, over the whole map.
    - "udp": as "dark", within 3σ of the nearest pixel, and measure from the centre of the first pixel to that of the
      last: heatmaps are (H - 1) / (h - 1) times smaller than the image, not H / h.
    - "hourglass": cut the keypoint down to a whole heatmap pixel, draw within 3σ + 1 of it, and leave out keypoints
      with x <= 0 or outside. Published with σ = h / 64 and the maximum over the people of an image: give keypoints
      [..., M, K, 2] and take the maximum of the maps over M.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first. Whatever is not finite is not drawn.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.
        heatmap_size: (h, w) of the heatmaps; their ratio to `image_size` need be neither whole nor the same for both.
        sigma_px: standard deviation, pixels of the heatmap.
        codec: one of `CODECS`.
        published: whether to keep the accidents of the published programs. A keypoint less than a pixel beyond 3σ + 1
            from the first row or column keeps its weight, though its map is empty, and so does one with a weight of
            0.5 or less; and where 3σ is not whole, windows are cut towards zero and centres with them, by up to one
            pixel. With False, the weight of an empty map is 0 and centres lie where they should.

    Returns:
        Heatmaps [..., h, w, K] float32, 1 at the centres; weights [..., K] float32, 0 for keypoints outside.

    Raises:
        ValueError: if there is no such codec, or `sigma_px` is not above 0.

    Example:
        >>> heatmaps, weights = encode(np.full((17, 2), 96.0), np.ones(17), (256, 192), (64, 48))
        >>> heatmaps.shape, weights.shape
        ((64, 48, 17), (17,))

    Papers: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018 (gaussian); Zhang et al.,
    "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020 (dark); Huang et al., "The Devil
    is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation", CVPR 2020 (udp); Newell et al.,
    "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016 (hourglass).
    """
    _check_codec(codec)
    if sigma_px <= 0:
        raise ValueError(f"sigma_px must be above 0, got {sigma_px}; 2 is the published one for maps of 64 x 48.")
    keypoints, weights = _as_float32(keypoints, weights)
    points = _finite(keypoints) / _stride(image_size, heatmap_size, codec == "udp")  # [..., K, 2]
    size = np.float32(heatmap_size[::-1])  # x first, as the points
    center, low, high, seen = _WINDOWS[codec](points, size, sigma_px, published)
    if not published:
        seen = ops.logical_and(seen, ops.all(high > 0, axis=-1))
        seen = ops.logical_and(seen, weights > 0.5)
    weights = ops.where(seen, weights, 0.0)
    (width, height), drawn = size.astype(int), ops.cast(weights > 0.5, "float32")
    columns = _cut_gaussian(center[..., 0], low[..., 0], high[..., 0], width, sigma_px)  # [..., W, K]
    rows = _cut_gaussian(center[..., 1], low[..., 1], high[..., 1], height, sigma_px)  # [..., H, K]
    rows = rows * drawn[..., None, :]
    return rows[..., :, None, :] * columns[..., None, :, :], weights  # [..., H, W, K]


def decode(
    heatmaps: Tensor,
    image_size: Size,
    codec: str = "gaussian",
    offset: str | None = "joint",
    blur_kernel: int = 11,
    missing_px: float | None = None,
    edge_to_edge: bool = False,
) -> tuple[Tensor, Tensor]:
    """Finds the keypoints of heatmaps: the first maximum of each, in row-major order, and an offset of the codec.

    - "gaussian": a quarter of a pixel towards the higher neighbour, along both axes; none for a maximum in the first
      two or in the last row or column.
    - "dark": one Newton step on the logarithm of the blurred heatmap, differences over 2 pixels; none for a maximum in
      the two outermost rows and columns.
    - "udp": the same with differences over 1 pixel, everywhere.
    - "hourglass": a quarter of a pixel towards the higher neighbour or, if both are equal, the previous one; then half
      a pixel, which makes up for the truncation of `encode`.

    Args:
        heatmaps: [..., h, w, K].
        image_size: (height, width) of the crop, pixels.
        codec: one of `CODECS`, that of the training.
        offset: "joint" as above; "axis": with the codec gaussian, each axis on its own has or has not its quarter
            pixel (MMPose); None: the maximum itself.
        blur_kernel: width of the Gaussian blur of dark and udp, heatmap pixels, odd. Published: 11, and 17 for σ = 3.
        missing_px: x and y, in heatmap pixels, of a keypoint whose heatmap has nothing above 0. None: as published, 0
            for gaussian and hourglass, -1 for dark and udp (as by MMPose, for gaussian too).
        edge_to_edge: with the codec udp, whether the last heatmap pixel comes to lie at `image_size` instead of at
            `image_size` - 1, where `encode` has it. MMPose decodes so, and makes up for it on the way to the image.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K], the maxima (hourglass: at least 0).

    Raises:
        ValueError: if there is no such codec or offset, or `blur_kernel` is even.

    Example:
        >>> heatmaps, _ = encode(np.full((17, 2), 96.0), None, (256, 192), (64, 48), codec="dark")
        >>> keypoints, scores = decode(heatmaps, (256, 192), codec="dark")
        >>> keypoints.shape, scores.shape
        ((17, 2), (17,))

    Papers: see `encode`.
    """
    _check_codec(codec)
    if offset not in ("joint", "axis", None):
        raise ValueError(f'offset must be "joint", "axis" or None, got {offset!r}; "joint" is the published one.')
    heatmaps = ops.cast(heatmaps, "float32")
    lead, size = ops.shape(heatmaps)[:-3], tuple(heatmaps.shape[-3:-1])
    heatmaps = ops.reshape(heatmaps, (-1, *heatmaps.shape[-3:]))  # [N, h, w, K]
    scores, x, y = _first_maximum(heatmaps)  # [N, K]
    points = ops.cast(ops.stack([x, y], axis=-1), "float32")  # [N, K, 2]
    if offset is not None:
        points = points + _OFFSETS[codec](heatmaps, scores, x, y, offset == "axis", blur_kernel)
    missing_px = _MISSING_PX[codec] if missing_px is None else missing_px
    points = ops.where(scores[..., None] > 0, points, missing_px)
    points = points * _stride(image_size, size, codec == "udp", edge_to_edge)
    scores = ops.maximum(scores, 0.0) if codec == "hourglass" else scores
    return _with_lead(points, lead), _with_lead(scores, lead)


def merge_flipped(
    heatmaps: Tensor, heatmaps_of_flipped_image: Tensor, flip_permutation: ArrayLike, shift: bool = True
) -> Tensor:
    """Averages the heatmaps of an image with those of its mirror image, mirrored back.

    Args:
        heatmaps: [..., h, w, K], float.
        heatmaps_of_flipped_image: [..., h, w, K], as the network gave them.
        flip_permutation: [K], the keypoint that each one is in a mirror (`Skeleton.flip_permutation`).
        shift: whether to move the mirrored heatmaps right by one pixel, the first column staying as it is. With a
            stride of 4, column x of a heatmap lies over column 4x of the image, and column w - 1 - x not over the
            mirror image of that but 3 pixels to its left. Not for the codec udp, where all columns lie right.

    Returns:
        [..., h, w, K].

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    heatmaps = ops.convert_to_tensor(heatmaps)
    mirrored = flip_volume(ops.convert_to_tensor(heatmaps_of_flipped_image), flip_permutation)
    if shift:
        mirrored = ops.concatenate([mirrored[..., :1, :], mirrored[..., :-1, :]], axis=-2)
    return (heatmaps + mirrored) * 0.5


def encode_offsets(
    keypoints: Tensor, weights: Tensor | None, image_size: Size, heatmap_size: Size, radius_factor: float = 0.0546875
) -> tuple[Tensor, Tensor]:
    """Draws three maps per keypoint: a disc round it, and the way to it from each pixel, along x and along y.

    Sizes relate as with the codec udp. A keypoint is drawn if its weight is above 0.5. As published, it keeps its
    weight where its disc lies outside: its offsets are drawn over the whole map, and still lead to it.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first. Whatever is not finite is not drawn.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.
        heatmap_size: (h, w) of the maps.
        radius_factor: radius of the disc and unit of the offsets, as a share of the greater of h and w.

    Returns:
        Maps [..., h, w, 3 * K] float32, for each keypoint its disc, x offset and y offset; weights [..., K] float32.

    Paper: Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation",
    CVPR 2020.
    """
    keypoints, weights = _as_float32(keypoints, weights)
    weights = ops.where(ops.all(ops.isfinite(keypoints), axis=-1), weights, 0.0)
    points = _finite(keypoints) / _stride(image_size, heatmap_size, udp=True)
    height, width = heatmap_size
    radius = radius_factor * max(height, width)
    x = (points[..., None, :, 0] - _pixels(width)) / radius  # [..., W, K]
    y = (points[..., None, :, 1] - _pixels(height)) / radius  # [..., H, K]
    drawn = ops.cast(weights > 0.5, "float32")[..., None, None, :]  # [..., 1, 1, K]
    whole = np.ones((height, width, 1), "float32")
    x, y = x[..., None, :, :] * whole, y[..., :, None, :] * whole  # [..., H, W, K]
    disc = ops.cast(ops.square(x) + ops.square(y) <= 1, "float32")
    maps = ops.stack([disc * drawn, x * drawn, y * drawn], axis=-1)  # [..., H, W, K, 3]
    return ops.reshape(maps, (*ops.shape(maps)[:-2], 3 * maps.shape[-2])), weights  # [..., H, W, 3*K]


def decode_offsets(
    maps: Tensor,
    image_size: Size,
    radius_factor: float = 0.0546875,
    blur_kernel: int = 11,
    missing_px: float = -1.0,
    edge_to_edge: bool = False,
) -> tuple[Tensor, Tensor]:
    """Finds the keypoints of the maps of `encode_offsets`: the maximum of each blurred disc, and the offsets there.

    Args:
        maps: [..., h, w, 3 * K].
        image_size: (height, width) of the crop, pixels.
        radius_factor: as in `encode_offsets`.
        blur_kernel: half the width of the Gaussian blur, heatmap pixels: the kernel has 2 * blur_kernel + 1.
        missing_px: as in `decode`.
        edge_to_edge: as in `decode`.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K], the maxima of the blurred discs.

    Raises:
        ValueError: if the number of maps is no multiple of 3.

    Paper: see `encode_offsets`.
    """
    maps = ops.cast(maps, "float32")
    if maps.shape[-1] % 3:
        raise ValueError(f"There must be 3 maps per keypoint, got {maps.shape[-1]}; give those of encode_offsets.")
    lead, (height, width) = ops.shape(maps)[:-3], maps.shape[-3:-1]
    maps = ops.reshape(maps, (-1, height, width, maps.shape[-1] // 3, 3))  # [N, h, w, K, 3]
    scores, x, y = _first_maximum(_blur(maps[..., 0], 2 * blur_kernel + 1, border="mirror"))  # [N, K]
    offsets = [_gather(maps[..., axis], x[:, None], y[:, None])[:, 0] for axis in (1, 2)]
    points = ops.cast(ops.stack([x, y], axis=-1), "float32")  # [N, K, 2]
    points = points + ops.stack(offsets, axis=-1) * (radius_factor * max(height, width))
    points = ops.where(scores[..., None] > 0, points, missing_px)
    points = points * _stride(image_size, (height, width), True, edge_to_edge)
    return _with_lead(points, lead), _with_lead(scores, lead)


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

    A keypoint is drawn round its nearest bin if its weight is above 0.5.

    Args:
        keypoints: [..., K, 2], pixels of the crop, x first. Whatever is not finite is not drawn.
        weights: [..., K]; None: ones.
        image_size: (height, width) of the crop, pixels.
        split_ratio: bins per pixel.
        sigma_bins: standard deviation of the Gaussian, bins; or one along x and one along y.
        smoothing: "gaussian": a Gaussian over all bins; "standard": 1 - `label_smoothing` in the bin of the keypoint,
            and the rest spread evenly over the others.
        normalize: whether each Gaussian has the sum 1 instead of the height 1.
        label_smoothing: what "standard" takes from the bin of the keypoint.

    Returns:
        x labels [..., K, bins], y labels [..., K, bins], both float32; weights [..., K] float32, 0 for keypoints more
        than 3σ ("standard": at all) outside.

    Example:
        >>> x, y, weights = encode_simcc(np.full((17, 2), 96.0), np.ones(17), (256, 192))
        >>> x.shape, y.shape
        ((17, 384), (17, 512))

    Paper: Li et al., "SimCC: A Simple Coordinate Classification Perspective for Human Pose Estimation", ECCV 2022.
    """
    if smoothing not in ("gaussian", "standard"):
        raise ValueError(f'smoothing must be "gaussian" or "standard", got {smoothing!r}; "gaussian" is the better.')
    keypoints, weights = _as_float32(keypoints, weights)
    centers = ops.round(_finite(keypoints) * split_ratio)  # [..., K, 2]
    counts = np.around(np.float64(image_size[::-1]) * split_ratio).astype("int32")  # of x, of y
    sigmas = np.broadcast_to(np.float64(sigma_bins), (2,))
    before, after = (3 * sigmas + 1, 3 * sigmas) if smoothing == "gaussian" else (0, 0)
    seen = ops.logical_and(centers >= np.float32(-before), centers < np.float32(counts + after))
    weights = ops.where(ops.all(seen, axis=-1), weights, 0.0)
    drawn = ops.cast(weights > 0.5, "float32")[..., None]  # [..., K, 1]
    labels = []
    for axis in (0, 1):
        offset = np.arange(counts[axis], dtype="float32") - centers[..., axis, None]  # [..., K, bins]
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
        visibility: whether to return that too: the lesser maximum of the two softmaxes of the labels, multiplied by
            `visibility_sharpness` and σ.
        visibility_sharpness: see `visibility`.
        missing_px: x and y, pixels of the crop, of a keypoint of which a vector has nothing above 0. None: as
            published, -1 / `split_ratio`.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K], the lesser of the two maxima; and with
        `visibility` that, [..., K], 0 .. 1.

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


def _as_float32(keypoints, scores):
    keypoints = ops.cast(keypoints, "float32")
    scores = ops.ones_like(keypoints[..., 0]) if scores is None else ops.cast(scores, "float32")
    return keypoints, scores


def _drawable(keypoints, scores):
    """Keypoints, all finite, and their scores, 0 where one is not drawn: NaN would spoil all that it is added to."""
    keypoints, scores = _as_float32(keypoints, scores)
    drawn = ops.logical_and(scores >= MIN_SCORE, ops.all(ops.isfinite(keypoints), axis=-1))
    return _finite(keypoints), ops.where(drawn, scores, 0.0)


def _pixels(size):
    """0 .. size - 1, float32 [size, 1]: a tensor, since PyTorch's do not reckon with arrays."""
    return ops.convert_to_tensor(np.arange(size, dtype="float32")[:, None])


def _window_gaussian(mean, size, sigma_px):
    """exp(-(x - mean)² / 2σ²) at x = 0 .. size - 1 inside the window of `mean`, else 0: [..., K] -> [..., size, K]."""
    offset = _pixels(size) - mean[..., None, :]
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


# ---------------------------------------- encoding
def _check_codec(codec):
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}; use the one of the training.")


def _finite(keypoints):
    """Moves what is NaN or infinite far outside of any image."""
    return ops.where(ops.isfinite(keypoints), keypoints, _FAR)


def _stride(image_size, heatmap_size, udp=False, edge_to_edge=False):
    """Pixels of the image per pixel of the heatmap: float32, x and y."""
    image, heatmap = np.float64(image_size[::-1]), np.float64(heatmap_size[::-1])
    if udp:
        return np.float32((image - (not edge_to_edge)) / (heatmap - 1))
    return np.float32(image / heatmap)


def _cut_gaussian(center, low, high, size, sigma_px):
    """exp(-(x - center)² / 2σ²) where low <= x < high, else 0, at x = 0 .. size - 1: [..., K] -> [..., size, K]."""
    x = _pixels(size)
    inside = ops.logical_and(x >= low[..., None, :], x < high[..., None, :])
    gaussian = ops.exp(ops.square(x - center[..., None, :]) * np.float32(-0.5 / sigma_px**2))
    return ops.where(inside, gaussian, 0.0)


# Each window function takes points [..., K, 2] in heatmap pixels and the size (w, h) of the heatmap. It returns the
# centres of the Gaussians, the pixels low <= x < high that are drawn, and which keypoints keep their weights [..., K].
def _rounded_window(points, size, sigma_px, published):
    nearest = ops.trunc(points + 0.5)  # towards zero: -0.6 becomes 0
    reach = 3 * sigma_px
    low, high = ops.trunc(nearest - reach), ops.trunc(nearest + (reach + 1))
    seen = ops.all(ops.logical_and(low < size, high >= 0), axis=-1)
    # The published patch is cut out once, with its centre so many pixels after its first row and column.
    center = low + math.floor(reach + 0.5) if published else nearest
    return center, low, high, seen


def _udp_window(points, size, sigma_px, published):
    center, low, high, seen = _rounded_window(points, size, sigma_px, published)
    return center + (points - ops.trunc(points + 0.5)), low, high, seen


def _whole_map(points, size, sigma_px, published):
    reach = 3 * sigma_px
    seen = ops.all(ops.logical_and(points - reach < size, points + (reach + 1) >= 0), axis=-1)
    return points, ops.full_like(points, -np.inf), ops.full_like(points, np.inf), seen


def _hourglass_window(points, size, sigma_px, published):
    pixel = ops.trunc(points)
    reach = 3 * sigma_px + 1
    low, high = ops.trunc(pixel - reach), ops.trunc(pixel + (reach + 1))
    seen = ops.all(ops.logical_and(pixel >= 0, pixel < size), axis=-1)
    if published:
        return low + reach, low, high, ops.logical_and(seen, points[..., 0] > 0)
    return pixel, low, high, ops.logical_and(seen, ops.all(points >= 0, axis=-1))


# ---------------------------------------- decoding
def _first_maximum(maps):
    """The first maximum in row-major order: [N, h, w, K] -> its value, its column and its row, each [N, K]."""
    row_maxima = _row_maxima(maps)  # [N, h, K], the one pass over all pixels; the rest looks at one row
    scores = ops.max(row_maxima, axis=1, initial=-np.inf)  # [N, K]; without `initial`, N could not be 0
    y = _first(row_maxima, scores)
    columns = np.arange(maps.shape[2], dtype=_INDEX)[:, None]
    row = _gather(maps, columns, y[:, None])  # [N, w, K]
    return scores, _first(row, scores), y


def _row_maxima(maps):
    # ops.max over an axis before the last takes TensorFlow half as long again (benchmarks/codecs.py).
    whole_row = (1, maps.shape[2])
    return ops.max_pool(maps, whole_row, strides=whole_row, data_format="channels_last")[:, :, 0]  # [N, h, K]


def _first(values, wanted):
    """The first place where `values` [N, P, K] equal `wanted` [N, K], the last one if they never do (NaN)."""
    places = np.arange(values.shape[1], dtype=_INDEX)[:, None]
    last = places[-1, 0]
    return ops.min(ops.where(values == wanted[:, None], places, last), axis=1, initial=last)


def _gather(maps, x, y):
    """The values at columns x and rows y, each [N or 1, P, K or 1]: [N, h, w, K] -> [N, P, K]."""
    _, height, width, channels = maps.shape
    # From a flat list: gathering along an axis would first have to transpose all of the maps.
    maps_before = ops.arange(ops.shape(maps)[0], dtype=_INDEX)[:, None, None] * (height * width * channels)
    index = maps_before + y * (width * channels) + x * channels + np.arange(channels, dtype=_INDEX)
    return ops.take(ops.reshape(maps, (-1,)), index)


def _neighbors(maps, x, y, steps):
    """The values `steps` [P, 2] (x and y) away from columns x and rows y [N, K], clamped to the map: P times [N, K]."""
    steps = np.array(steps, _INDEX)
    _, height, width, _ = maps.shape
    x = ops.clip(x[:, None] + steps[:, :1], 0, width - 1)  # [N, P, K]
    y = ops.clip(y[:, None] + steps[:, 1:], 0, height - 1)
    return ops.unstack(_gather(maps, x, y), len(steps), axis=1)


def _inside(place, size, border):
    """Whether a column or row has at least `border` others on each side."""
    return ops.logical_and(place >= border, place < size - border)


def _quarter_offset(maps, scores, x, y, by_axis, blur_kernel):
    left, right, above, below = _neighbors(maps, x, y, [(-1, 0), (1, 0), (0, -1), (0, 1)])
    _, height, width, _ = maps.shape
    # Published as 1 < x < w - 1: a maximum in the second column stays, one in the last but one is moved.
    along_x = ops.logical_and(x > 1, x < width - 1)
    along_y = ops.logical_and(y > 1, y < height - 1)
    if by_axis:
        along_x, along_y = ops.logical_and(along_x, y > 0), ops.logical_and(along_y, x > 0)
    else:
        along_x = along_y = ops.logical_and(along_x, along_y)
    x_offset = ops.where(along_x, ops.sign(right - left), 0.0)
    y_offset = ops.where(along_y, ops.sign(below - above), 0.0)
    return 0.25 * ops.stack([x_offset, y_offset], axis=-1)  # [N, K, 2]


def _hourglass_offset(maps, scores, x, y, by_axis, blur_kernel):
    left, right, above, below = _neighbors(maps, x, y, [(-1, 0), (1, 0), (0, -1), (0, 1)])
    rises = ops.stack([right > left, below > above], axis=-1)  # [N, K, 2]
    return ops.where(rises, 0.75, 0.25)  # +-0.25, and the half pixel that truncation took


def _dark_offset(maps, scores, x, y, by_axis, blur_kernel):
    ring = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)]
    ring += [(-2, 0), (2, 0), (0, -2), (0, 2)]
    values = _log_blurred(maps, scores, x, y, ring, blur_kernel, 1e-10, np.inf)
    middle, left, right, above, below, left_above, right_above, left_below, right_below, *far = values
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx, dyy = 0.25 * (far[1] - 2 * middle + far[0]), 0.25 * (far[3] - 2 * middle + far[2])
    dxy = 0.25 * (right_below - right_above - left_below + left_above)
    _, height, width, _ = maps.shape
    inside = ops.logical_and(_inside(x, width, 2), _inside(y, height, 2))
    return ops.where(inside[..., None], _newton_step(dx, dy, dxx, dxy, dyy), 0.0)


def _udp_offset(maps, scores, x, y, by_axis, blur_kernel):
    ring = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1)]
    values = _log_blurred(maps, scores, x, y, ring, blur_kernel, 1e-3, 50.0)
    middle, left, right, above, below, left_above, right_below = values
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx, dyy = right - 2 * middle + left, below - 2 * middle + above
    dxy = 0.5 * (right_below - right - below + 2 * middle - left - above + left_above)
    epsilon = np.finfo("float32").eps
    return _newton_step(dx, dy, dxx + epsilon, dxy, dyy + epsilon)


def _log_blurred(maps, scores, x, y, steps, blur_kernel, low, high):
    """Logarithms of the blurred maps, scaled to their old maxima and clipped, `steps` away from (x, y)."""
    blurred = _blur(maps, blur_kernel)
    top = ops.max(_row_maxima(blurred), axis=1, initial=-np.inf)  # [N, K]
    scale = scores / ops.where(top == 0, 1.0, top)
    values = _neighbors(blurred, x, y, steps)
    return [ops.log(ops.clip(value * scale, low, high)) for value in values]


def _newton_step(dx, dy, dxx, dxy, dyy):
    """-inverse([[dxx, dxy], [dxy, dyy]]) @ [dx, dy], or 0 where there is no inverse: [N, K] each -> [N, K, 2]."""
    determinant = dxx * dyy - dxy * dxy
    inverse = ops.where(determinant == 0, 0.0, 1 / ops.where(determinant == 0, 1.0, determinant))
    return ops.stack([(dxy * dy - dyy * dx) * inverse, (dxy * dx - dxx * dy) * inverse], axis=-1)


def _simcc_newton_step(labels, place, height, sigma):
    """The step of `decode_simcc` from the maxima at `place` of height `height`: [..., K, bins] -> [..., K]."""
    kernel = int((sigma * 20 - 7) // 3)
    bins = labels.shape[-1]
    blurred = ops.matmul(labels, _blur_matrix(bins, max(kernel - (kernel % 2 == 0), 1)).T)
    top = ops.max(blurred, axis=-1)
    scale = height / ops.where(top == 0, 1.0, top)
    rows = ops.reshape(blurred, (-1,))
    first = ops.reshape(ops.arange(ops.size(place), dtype=_INDEX) * bins, ops.shape(place))

    def log_at(step):
        index = first + ops.cast(ops.clip(place + step, 0, bins - 1), _INDEX)
        return ops.log(ops.clip(ops.take(rows, index) * scale, 1e-3, 50.0))

    dx = 0.5 * (log_at(1) - log_at(-1))
    dxx = 1e-9 + 0.25 * (log_at(2) - 2 * log_at(0) + log_at(-2))
    return -dx / dxx


def _blur(maps, kernel, border="zero"):
    """Blurs each map with OpenCV's Gaussian of that width: [N, h, w, K] -> the same."""
    # A convolution of each map is the fastest in a TensorFlow graph, and ten times slower than products with band
    # matrices where XLA compiles it for a CPU, as JAX always does (benchmarks/codecs.py).
    if keras.backend.backend() == "tensorflow" and border == "zero":
        return _blur_by_convolutions(maps, kernel)
    return _blur_by_products(maps, kernel, border)


def _blur_by_convolutions(maps, kernel):
    taps = np.tile(_blur_kernel(kernel)[:, None, None, None], (1, 1, maps.shape[3], 1)).astype("float32")
    rows = ops.depthwise_conv(maps, taps, padding="same", data_format="channels_last")
    return ops.depthwise_conv(rows, taps.swapaxes(0, 1), padding="same", data_format="channels_last")


def _blur_by_products(maps, kernel, border="zero"):
    _, height, width, channels = maps.shape
    rows = ops.reshape(maps, (-1, height, width * channels))
    rows = ops.matmul(_blur_matrix(height, kernel, border), rows)
    return ops.matmul(_blur_matrix(width, kernel, border), ops.reshape(rows, (-1, height, width, channels)))


def _blur_matrix(size, kernel, border="zero"):
    """The matrix [size, size] that blurs a column, with zeros beyond its ends or mirrored at its end points."""
    place = np.arange(size)[:, None] + np.arange(kernel) - kernel // 2  # [size, kernel]
    taps = np.broadcast_to(_blur_kernel(kernel), place.shape)
    if border == "mirror":
        period = max(2 * (size - 1), 1)
        place = np.minimum(place % period, -place % period)
    row = np.broadcast_to(np.arange(size)[:, None], place.shape)
    known = (place >= 0) & (place < size)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (row[known], place[known]), taps[known])
    return matrix.astype("float32")


def _blur_kernel(size):
    """OpenCV's Gaussian for a width without a standard deviation: up to 9 from a table, beyond by a rule."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"The width of a blur kernel must be odd, got {size}; use {max(size, 0) + 1}.")
    if size in _SMALL_KERNELS:
        half = np.array(_SMALL_KERNELS[size])
        return np.concatenate([half, half[-2::-1]]) / 256
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    kernel = np.exp(-0.5 * (np.arange(size) - (size - 1) / 2) ** 2 / sigma**2)
    return kernel / kernel.sum()


def _with_lead(values, lead):
    """Gives the first axis of `values` the leading shape that it was made of."""
    return values if len(lead) == 1 else ops.reshape(values, (*lead, *values.shape[1:]))


_FAR = -1e6  # pixels
_INDEX = "int64" if keras.backend.backend() == "tensorflow" else "int32"  # JAX has no other unless told to
_SMALL_KERNELS = {1: (256,), 3: (64, 128), 5: (16, 64, 96), 7: (8, 28, 56, 72), 9: (4, 13, 30, 51, 60)}  # / 256
_WINDOWS = {"gaussian": _rounded_window, "dark": _whole_map, "udp": _udp_window, "hourglass": _hourglass_window}
_OFFSETS = {"gaussian": _quarter_offset, "dark": _dark_offset, "udp": _udp_offset, "hourglass": _hourglass_offset}
_MISSING_PX = {"gaussian": 0.0, "dark": -1.0, "udp": -1.0, "hourglass": 0.0}
