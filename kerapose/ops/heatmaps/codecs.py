"""Heatmaps of top-down networks: drawn for the training, read in the answer, each codec as published."""

import math

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.ops.heatmaps.blurring import blur
from kerapose.ops.heatmaps.grids import as_float32, finite, pixels, stride, with_lead
from kerapose.ops.heatmaps.maxima import first_maximum, maxima_of_rows, neighbors
from kerapose.ops.heatmaps.volumes import flip_volume
from kerapose.types import ArrayLike, Size, Tensor

CODECS = ("gaussian", "dark", "udp", "hourglass")


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
    - "dark": draw round the exact place of the keypoint, over the whole map.
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
        >>> from kerapose.ops import heatmaps
        >>> maps, weights = heatmaps.encode([[96.0, 128.0], [500.0, 0.0]], None, (256, 192), (64, 48))
        >>> tuple(maps.shape), float(np.asarray(maps)[32, 24, 0])  # 4 pixels of the crop make one of the heatmap
        ((64, 48, 2), 1.0)
        >>> np.asarray(weights).tolist()  # the second keypoint is outside of the crop
        [1.0, 0.0]

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018 (gaussian); Zhang et al.,
    "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020 (dark); Huang et al., "The Devil
    is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation", CVPR 2020 (udp); Newell et al.,
    "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016 (hourglass).
    """
    _check_codec(codec)
    if sigma_px <= 0:
        raise ValueError(f"sigma_px must be above 0, got {sigma_px}; 2 is the published one for maps of 64 x 48.")
    keypoints, weights = as_float32(keypoints, weights)
    points = finite(keypoints) / stride(image_size, heatmap_size, codec == "udp")  # [..., K, 2]
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
    - "hourglass": a quarter of a pixel towards the higher neighbour or, if both are equal, towards the previous one;
      then half a pixel, which makes up for the truncation of `encode`.

    Args:
        heatmaps: [..., h, w, K].
        image_size: (height, width) of the crop, pixels.
        codec: one of `CODECS`, that of the training.
        offset: "joint": as above. "axis": with the codec gaussian, each axis has its quarter of a pixel or not,
            whatever the other has (as by MMPose). None: the maximum itself.
        blur_kernel: width of the Gaussian blur of dark and udp, heatmap pixels, odd. Published: 11, and 17 for σ = 3.
        missing_px: x and y, in heatmap pixels, of a keypoint whose heatmap has nothing above 0. None: as published, 0
            for gaussian and hourglass, -1 for dark and udp (as by MMPose, for gaussian too).
        edge_to_edge: with the codec udp, whether the last heatmap pixel comes to lie at `image_size` instead of at
            `image_size` - 1, where `encode` has it. MMPose decodes so, and corrects it on the way to the image.

    Returns:
        Keypoints [..., K, 2], pixels of the crop, x first; scores [..., K], the maxima (hourglass: at least 0).

    Raises:
        ValueError: if there is no such codec or offset, or `blur_kernel` is even.

    Example:
        >>> from kerapose.ops import heatmaps
        >>> for codec in heatmaps.CODECS:
        ...     maps, _ = heatmaps.encode([[97.7, 130.0]], None, (256, 192), (64, 48), codec=codec)
        ...     found, scores = heatmaps.decode(maps, (256, 192), codec=codec)
        ...     print(codec, np.asarray(found).tolist())
        gaussian [[96.0, 132.0]]
        dark [[97.7, 130.0]]
        udp [[97.7, 130.0]]
        hourglass [[97.0, 129.0]]

    Paper: see `encode`.
    """
    _check_codec(codec)
    if offset not in ("joint", "axis", None):
        raise ValueError(f'offset must be "joint", "axis" or None, got {offset!r}; "joint" is the published one.')
    heatmaps = ops.cast(heatmaps, "float32")
    lead, size = ops.shape(heatmaps)[:-3], tuple(heatmaps.shape[-3:-1])
    heatmaps = ops.reshape(heatmaps, (-1, *heatmaps.shape[-3:]))  # [N, h, w, K]
    scores, x, y = first_maximum(heatmaps)  # [N, K]
    points = ops.cast(ops.stack([x, y], axis=-1), "float32")  # [N, K, 2]
    if offset is not None:
        points = points + _OFFSETS[codec](heatmaps, scores, x, y, offset == "axis", blur_kernel)
    missing_px = _MISSING_PX[codec] if missing_px is None else missing_px
    points = ops.where(scores[..., None] > 0, points, missing_px)
    points = points * stride(image_size, size, codec == "udp", edge_to_edge)
    scores = ops.maximum(scores, 0.0) if codec == "hourglass" else scores
    return with_lead(points, lead), with_lead(scores, lead)


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
            mirror image of that but 3 pixels to its left. The codec udp needs no shift.

    Returns:
        [..., h, w, K], float.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.ops import heatmaps
        >>> order = skeletons.COCO.flip_permutation
        >>> maps, _ = heatmaps.encode(keypoints[0, 0], None, (256, 192), (64, 48), codec="udp")
        >>> merged = heatmaps.merge_flipped(maps, heatmaps.flip_volume(maps, order), order, shift=False)
        >>> float(np.abs(np.asarray(merged) - np.asarray(maps)).max())  # a network that mirrors perfectly
        0.000

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    heatmaps = ops.convert_to_tensor(heatmaps)
    mirrored = flip_volume(ops.convert_to_tensor(heatmaps_of_flipped_image), flip_permutation)
    if shift:
        mirrored = ops.concatenate([mirrored[..., :1, :], mirrored[..., :-1, :]], axis=-2)
    return (heatmaps + mirrored) * 0.5


def _check_codec(codec):
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}; use the one of the training.")


def _cut_gaussian(center, low, high, size, sigma_px):
    """exp(-(x - center)² / 2σ²) where low <= x < high, else 0, at x = 0 .. size - 1: [..., K] -> [..., size, K]."""
    x = pixels(size)
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


def _inside(place, size, border):
    """Whether a column or row has at least `border` others on each side."""
    return ops.logical_and(place >= border, place < size - border)


def _quarter_offset(maps, scores, x, y, by_axis, blur_kernel):
    left, right, above, below = neighbors(maps, x, y, [(-1, 0), (1, 0), (0, -1), (0, 1)])
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
    left, right, above, below = neighbors(maps, x, y, [(-1, 0), (1, 0), (0, -1), (0, 1)])
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
    blurred = blur(maps, blur_kernel)
    top = ops.max(maxima_of_rows(blurred), axis=1, initial=-np.inf)  # [N, K]
    scale = scores / ops.where(top == 0, 1.0, top)
    values = neighbors(blurred, x, y, steps)
    return [ops.log(ops.clip(value * scale, low, high)) for value in values]


def _newton_step(dx, dy, dxx, dxy, dyy):
    """-inverse([[dxx, dxy], [dxy, dyy]]) @ [dx, dy], or 0 where there is no inverse: [N, K] each -> [N, K, 2]."""
    determinant = dxx * dyy - dxy * dxy
    inverse = ops.where(determinant == 0, 0.0, 1 / ops.where(determinant == 0, 1.0, determinant))
    return ops.stack([(dxy * dy - dyy * dx) * inverse, (dxy * dx - dxx * dy) * inverse], axis=-1)


_WINDOWS = {"gaussian": _rounded_window, "dark": _whole_map, "udp": _udp_window, "hourglass": _hourglass_window}
_OFFSETS = {"gaussian": _quarter_offset, "dark": _dark_offset, "udp": _udp_offset, "hourglass": _hourglass_offset}
_MISSING_PX = {"gaussian": 0.0, "dark": -1.0, "udp": -1.0, "hourglass": 0.0}
