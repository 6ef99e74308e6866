"""Boxes round people, and what cropping, resizing, mirroring and warping do to keypoints and pixels.

A box is (left, top, right, bottom) in pixels.

`compact_box`, `crop_compact`, `crop`, `resize`, `rotate`, `short_side_size`, `random_crop_box` and `flip_keypoints` are
for clips of keypoints without pictures, as PoseConv3D has them. There a coordinate that is exactly 0 marks a missing
keypoint, as in PYSKL's files: `compact_box` ignores it, `crop_compact` and `flip_keypoints` leave it where it is.

The others are for top-down pose estimation: from a box (`crop_region`) to an affine map (`affine`), and from there to
the pixels of a crop (`warp`) and to keypoints in it (`transform_points`). There 0 is a coordinate like any other, and a
pixel's centre has whole coordinates.
"""

from collections.abc import Sequence

import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import ArrayLike, Size, Tensor

__all__ = [
    "affine",
    "box_size",
    "compact_box",
    "crop",
    "crop_compact",
    "crop_region",
    "flip_keypoints",
    "half_body_region",
    "invert_affine",
    "mirror",
    "mpii_boxes",
    "random_crop_box",
    "resize",
    "rotate",
    "short_side_size",
    "swap_sides",
    "transform_points",
    "warp",
]


def compact_box(
    keypoints: Tensor,
    frame_size: Tensor,
    padding: float = 0.25,
    hw_ratio: float | Sequence[float] | None = 1.0,
    beyond_frame: bool = True,
    threshold_px: float = 10.0,
) -> Tensor:
    """The smallest box that holds all people of all frames, widened and brought to an aspect ratio.

    Args:
        keypoints: [..., M, T, K, 2], pixels, x first. Coordinates of exactly 0 do not count, x and y each for itself.
        frame_size: [..., 2] height and width of the frame, pixels.
        padding: how much the box is widened on each side, as a fraction of half its size.
        hw_ratio: least and greatest height / width of the box, which is widened or heightened to them; one number for
            both. None: as it is.
        beyond_frame: whether the box may leave the frame.
        threshold_px: a box that is narrower or lower than this is not trusted; the whole frame is taken in its place.

    Returns:
        [..., 4] float32 of whole numbers: left, top, right, bottom.

    Example:
        >>> from kerapose.ops import boxes
        >>> box = boxes.compact_box([[[[30.0, 40.0], [60.0, 80.0], [0.0, 0.0]]]], (240, 320), padding=0.0)
        >>> np.asarray(box).tolist()  # 40 pixels high, so 40 wide; the third keypoint is missing
        [25.0, 40.0, 65.0, 80.0]

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    keypoints = ops.cast(keypoints, "float32")
    frame_size = ops.cast(frame_size, "float32")
    present = keypoints != 0.0
    people_axes = (-4, -3, -2)
    # `initial`: there may be no people at all.
    low = ops.min(ops.where(present, keypoints, np.float32(np.inf)), axis=people_axes, initial=np.inf)  # [..., 2]
    high = ops.max(ops.where(present, keypoints, np.float32(-np.inf)), axis=people_axes, initial=-np.inf)
    extent = high - low  # -inf where no keypoint is present
    trusted = ops.all(extent >= threshold_px, axis=-1, keepdims=True)  # [..., 1]
    low, high = ops.where(trusted, low, 0.0), ops.where(trusted, high, 1.0)

    centre = (low + high) / 2
    half = (high - low) / 2 * (1 + padding)
    half_width, half_height = half[..., 0], half[..., 1]
    if hw_ratio is not None:
        least, most = (hw_ratio, hw_ratio) if np.ndim(hw_ratio) == 0 else hw_ratio
        half_height = ops.maximum(least * half_width, half_height)
        half_width = ops.maximum(half_height / most, half_width)
    half = ops.stack([half_width, half_height], axis=-1)
    low, high = centre - half, centre + half
    limit = ops.flip(frame_size, axis=-1)  # width, height
    if not beyond_frame:
        low, high = ops.maximum(low, 0.0), ops.minimum(high, limit)
    box = ops.trunc(ops.concatenate([low, high], axis=-1))
    whole = ops.concatenate([ops.zeros_like(limit), limit], axis=-1)
    return ops.where(trusted, box, whole)


def box_size(box: Tensor) -> Tensor:
    """Gives the height and width of boxes.

    Args:
        box: [..., 4] left, top, right, bottom, pixels.

    Returns:
        [..., 2] height and width, pixels.

    Example:
        >>> from kerapose.ops import boxes as box_ops
        >>> np.asarray(box_ops.box_size(boxes)).tolist()
        [[180.0, 80.0], [180.0, 80.0]]
    """
    return ops.flip(box[..., 2:] - box[..., :2], axis=-1)


def crop_compact(keypoints: Tensor, box: Tensor) -> Tensor:
    """Moves keypoints into a compact box; coordinates of exactly 0 stay 0.

    Args:
        keypoints: [..., M, T, K, 2], pixels.
        box: [..., 4] left, top, right, bottom, pixels, of `compact_box`.

    Returns:
        [..., M, T, K, 2], pixels of the box.

    Example:
        >>> from kerapose.ops import boxes
        >>> moved = boxes.crop_compact(np.float32([[[[30, 40], [0, 0]]]]), np.float32([25, 40, 65, 80]))
        >>> np.asarray(moved).tolist()
        [[[[5.0, 0.0], [0.0, 0.0]]]]
    """
    corner = box[..., None, None, None, :2]
    return ops.where(keypoints != 0.0, keypoints - corner, keypoints)


def crop(keypoints: Tensor, box: Tensor) -> Tensor:
    """Moves all keypoints into a box.

    Args:
        keypoints: [..., M, T, K, 2], pixels of the frame, x first.
        box: [..., 4] left, top, right, bottom, pixels of the frame.

    Returns:
        [..., M, T, K, 2], pixels of the box.

    Example:
        >>> from kerapose.ops import boxes
        >>> moved = boxes.crop(np.float32([[[[30, 40], [0, 0]]]]), np.float32([25, 40, 65, 80]))
        >>> np.asarray(moved).tolist()
        [[[[5.0, 0.0], [-25.0, -40.0]]]]
    """
    return keypoints - box[..., None, None, None, :2]


def resize(keypoints: Tensor, old_size: Tensor, new_size: Tensor) -> Tensor:
    """Scales keypoints with their frame.

    Args:
        keypoints: [..., M, T, K, 2], pixels.
        old_size: [..., 2] height and width, pixels.
        new_size: [..., 2] height and width, or one pair for all, pixels.

    Returns:
        [..., M, T, K, 2], pixels of the new size.

    Example:
        >>> from kerapose.ops import boxes
        >>> resized = boxes.resize(keypoints, frame_size, (56, 56))  # of 240 x 320
        >>> keypoints[0, 0, 0].tolist(), np.asarray(resized)[0, 0, 0].tolist()
        ([80.0, 59.2], [14.0, 13.8])
    """
    factor = ops.cast(new_size, "float32") / ops.cast(old_size, "float32")
    return keypoints * ops.flip(factor, axis=-1)[..., None, None, None, :]


def rotate(keypoints: Tensor, frame_size: Tensor, angle: Tensor) -> Tensor:
    """Turns keypoints about the centre of their frame, clockwise as seen for a positive angle.

    Args:
        keypoints: [..., M, T, K, 2], pixels; those at exactly (0, 0) are missing and stay there.
        frame_size: [..., 2] height and width, pixels.
        angle: [...] radians.

    Returns:
        [..., M, T, K, 2], pixels.

    Example:
        >>> from kerapose.ops import boxes
        >>> turned = boxes.rotate(np.float32([[[[50, 30]]]]), (100, 100), np.pi / 2)  # above the centre
        >>> np.asarray(turned).tolist()
        [[[[70.0, 50.0]]]]
    """
    angle = ops.convert_to_tensor(angle, "float32")
    cos, sin = ops.cos(angle)[..., None, None, None], ops.sin(angle)[..., None, None, None]
    centre = ops.flip(ops.cast(frame_size, "float32"), axis=-1)[..., None, None, None, :] / 2
    x, y = (keypoints - centre)[..., 0], (keypoints - centre)[..., 1]
    turned = ops.stack([x * cos - y * sin, x * sin + y * cos], axis=-1) + centre
    return ops.where(ops.all(keypoints == 0.0, axis=-1, keepdims=True), keypoints, turned)


def short_side_size(size: Tensor, short_side: float) -> Tensor:
    """Gives the size of a frame whose short side is brought to a number of pixels.

    Args:
        size: [..., 2] height and width, pixels.
        short_side: of the new size, pixels.

    Returns:
        [..., 2] float32 height and width, rounded to whole pixels.

    Example:
        >>> from kerapose.ops import boxes
        >>> np.asarray(boxes.short_side_size((1080, 1920), 64)).tolist()
        [64.0, 114.0]
    """
    size = ops.cast(size, "float32")
    return ops.floor(size * (short_side / ops.min(size, axis=-1, keepdims=True)) + 0.5)


def random_crop_box(
    frame_size: Tensor, area_range: Sequence[float], aspect_range: Sequence[float], uniforms: Tensor
) -> Tensor:
    """Draws the box of a random resized crop: the first of ten candidates that fits the frame.

    Where none fits, the box is the square in the middle of the frame that has its short side.

    Args:
        frame_size: [2] height and width, pixels.
        area_range: least and greatest area, as fractions of the frame's.
        aspect_range: least and greatest width / height, drawn evenly in the logarithm.
        uniforms: [22] random numbers in [0, 1): ten aspects, ten areas, the offsets in x and y.

    Returns:
        [4] float32 of whole numbers: left, top, right, bottom, pixels.

    Example:
        >>> from kerapose.ops import boxes
        >>> uniforms = np.random.default_rng(0).random(22)
        >>> np.asarray(boxes.random_crop_box((64, 64), (0.56, 1.0), (3 / 4, 4 / 3), uniforms)).tolist()
        [0.0, 0.0, 64.0, 59.0]
    """
    size = ops.cast(frame_size, "float32")
    height, width = size[0], size[1]
    uniforms = ops.cast(uniforms, "float32")
    log_low, log_high = np.log(aspect_range).astype("float32")
    aspects = ops.exp(log_low + uniforms[:10] * (log_high - log_low))
    areas = (area_range[0] + uniforms[10:20] * (area_range[1] - area_range[0])) * height * width
    widths, heights = ops.round(ops.sqrt(areas * aspects)), ops.round(ops.sqrt(areas / aspects))
    fits = ops.logical_and(widths <= width, heights <= height)
    first = ops.argmax(ops.cast(fits, "int32"))
    offset_x = ops.floor(uniforms[20] * (width - widths[first] + 1))
    offset_y = ops.floor(uniforms[21] * (height - heights[first] + 1))
    drawn = ops.stack([offset_x, offset_y, offset_x + widths[first], offset_y + heights[first]])
    side = ops.minimum(height, width)
    left, top = ops.floor((width - side) / 2), ops.floor((height - side) / 2)
    return ops.where(ops.any(fits), drawn, ops.stack([left, top, left + side, top + side]))


def flip_keypoints(
    keypoints: Tensor, scores: Tensor, frame_width: Tensor, flip_permutation: ArrayLike
) -> tuple[Tensor, Tensor]:
    """Mirrors keypoints left to right: x goes to width - x, left keypoints trade places with right ones.

    Args:
        keypoints: [..., K, 2], pixels; an x of exactly 0 stays 0.
        scores: [..., K].
        frame_width: pixels.
        flip_permutation: [K], the keypoint that each one comes from (`Skeleton.flip_permutation`).

    Returns:
        keypoints and scores of the same shapes.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.ops import boxes
        >>> mirrored, _ = boxes.flip_keypoints(keypoints, scores, 320, skeletons.COCO.flip_permutation)
        >>> float(keypoints[0, 0, 10, 0]), float(mirrored[0, 0, 9, 0])  # x of the right wrist, which becomes the left
        (52.8, 267.2)
    """
    x, y = keypoints[..., 0], keypoints[..., 1]
    mirrored = ops.stack([ops.where(x != 0.0, frame_width - x, x), y], axis=-1)
    order = np.asarray(flip_permutation, "int32")
    return ops.take(mirrored, order, axis=-2), ops.take(scores, order, axis=-1)


# ---------------------------------------- top-down crops: from a box to an affine map
def crop_region(boxes: Tensor, aspect_ratio: float, padding: float = 1.25) -> tuple[Tensor, Tensor]:
    """Gives the region that a network sees of each box: the box, brought to the network's aspect ratio and enlarged.

    Args:
        boxes: [..., 4] left, top, right, bottom, pixels.
        aspect_ratio: width / height of the network's input. The side that is too short for it grows.
        padding: how many times as high and as wide as the box the region is.

    Returns:
        centers [..., 2] (x, y) and sizes [..., 2] (height, width), float32, pixels. A box without width or height
        counts as a pixel, so that no size is zero.

    Example:
        >>> from kerapose.ops import boxes
        >>> centers, sizes = boxes.crop_region([[10.0, 20.0, 110.0, 320.0]], aspect_ratio=192 / 256)
        >>> np.asarray(centers).tolist(), np.asarray(sizes).tolist()
        ([[60.0, 170.0]], [[375.0, 281.25]])

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    boxes = ops.cast(boxes, "float32")
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, _size_of_ratio(high - low, aspect_ratio) * padding


def half_body_region(
    keypoints: Tensor,
    visible: Tensor,
    upper_body: Sequence[int],
    aspect_ratio: float,
    uniforms: Tensor,
    padding: float = 1.5,
    upper_probability: float = 0.691462,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gives the region round the upper or the lower half of a body: an augmentation for people who are cut off.

    The upper half is drawn with `upper_probability`. A half needs three visible keypoints, or else the other one is
    taken. (In the published recipe a normal random number below 0.5 means the upper half: hence the default.)

    Args:
        keypoints: [..., K, 2], pixels.
        visible: [..., K], positive where a keypoint is labelled.
        upper_body: indices of the keypoints of the upper body; all others are the lower one.
        aspect_ratio: width / height of the network's input.
        uniforms: [...] random numbers in [0, 1), one for each person.
        padding: how many times as large as the box of the half's keypoints the region is.
        upper_probability: of the upper half, where both have three keypoints.

    Returns:
        centers [..., 2] (the mean of the half's keypoints) and sizes [..., 2] (height, width), float32, pixels, and
        found [...], bool: false where the half has fewer than two keypoints, or all of them within a pixel, so that
        there is nothing to crop to.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.ops import boxes
        >>> _, sizes, found = boxes.half_body_region(
        ...     keypoints[:, 0], scores[:, 0], skeletons.COCO.upper_body, 192 / 256, uniforms=[0.1, 0.9]
        ... )
        >>> np.asarray(sizes).tolist(), np.asarray(found).tolist()  # the upper half of one person, the lower of another
        ([[108.8, 81.6], [115.2, 86.4]], [True, True])

    Paper: Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019; its
    published training code.
    """
    keypoints = ops.cast(keypoints, "float32")
    visible = ops.cast(visible, "float32") > 0
    is_upper = np.isin(np.arange(keypoints.shape[-2]), np.asarray(upper_body))  # [K]
    upper, lower = ops.logical_and(visible, is_upper), ops.logical_and(visible, ~is_upper)  # [..., K]
    upper_counts, lower_counts = (ops.sum(ops.cast(half, "int32"), axis=-1) for half in (upper, lower))
    drawn = ops.logical_and(ops.convert_to_tensor(uniforms, "float32") < upper_probability, upper_counts > 2)
    takes_upper = ops.logical_or(drawn, lower_counts <= 2)  # [...]
    chosen = ops.where(takes_upper[..., None], upper, lower)[..., None]  # [..., K, 1]
    counts = ops.where(takes_upper, upper_counts, lower_counts)

    total = ops.sum(ops.where(chosen, keypoints, 0.0), axis=-2)
    centers = total / ops.cast(ops.maximum(counts, 1), "float32")[..., None]
    low = ops.min(ops.where(chosen, keypoints, np.float32(np.inf)), axis=-2)
    high = ops.max(ops.where(chosen, keypoints, np.float32(-np.inf)), axis=-2)
    extent = high - low  # [..., 2], -inf without keypoints
    found = ops.logical_and(counts >= 2, ops.any(extent >= 1.0, axis=-1))
    return centers, _size_of_ratio(extent, aspect_ratio) * padding, found


def _size_of_ratio(extent, aspect_ratio):
    """The least (height, width) of an aspect ratio that holds a (width, height): [..., 2] -> [..., 2]."""
    width, height = ops.maximum(extent[..., 0], 1.0), ops.maximum(extent[..., 1], 1.0)
    return ops.stack([ops.maximum(height, width / aspect_ratio), ops.maximum(width, height * aspect_ratio)], axis=-1)


def mpii_boxes(centers: Tensor, scales: Tensor, padding: float = 1.25) -> Tensor:
    """Gives the boxes that stand for MPII's annotations of a person, a centre and a scale.

    A box is moved down by 15 pixels times the scale, as published, so that the feet are inside. It counts pixels from
    0, where MPII counts them from 1. `crop_region` of it, with the same padding and ratio 1, is the published crop.

    Args:
        centers: [..., 2], MPII's `objpos`; an x of -1 where there is none: neither moved nor padded then.
        scales: [...], MPII's `scale`, the height of the person in units of 200 pixels.
        padding: that `crop_region` will be called with.

    Returns:
        [..., 4] float32: left, top, right, bottom, pixels.

    Example:
        >>> from kerapose.ops import boxes
        >>> np.asarray(boxes.mpii_boxes([[320.0, 240.0]], [1.5])).tolist()  # a person of 300 pixels
        [[169.0, 111.5, 469.0, 411.5]]
    """
    centers, scales = ops.cast(centers, "float32"), ops.cast(scales, "float32")
    given = centers[..., 0] != -1.0
    x, y = centers[..., 0], centers[..., 1] + ops.where(given, 15.0 * scales, 0.0)
    half = 100.0 * scales * ops.where(given, 1.0, 1.0 / padding)
    return ops.stack([x - half, y - half, x + half, y + half], axis=-1) - 1.0


def mirror(points: Tensor, width: Tensor) -> Tensor:
    """Mirrors points as the pixels of an image of this width are: x goes to width - 1 - x.

    The order of the points stays: `swap_sides` lets left and right ones trade places. (`flip_keypoints` does both for
    PoseConv3D, whose published code has x go to width - x.)

    Args:
        points: [..., 2], pixels, x first.
        width: of the image, pixels; a number or [...].

    Returns:
        [..., 2] float32, pixels.

    Example:
        >>> from kerapose.ops import boxes
        >>> np.asarray(boxes.mirror([[0.0, 5.0], [319.0, 7.0]], 320)).tolist()
        [[319.0, 5.0], [0.0, 7.0]]
    """
    points = ops.cast(points, "float32")
    return ops.stack([ops.cast(width, "float32") - 1.0 - points[..., 0], points[..., 1]], axis=-1)


def swap_sides(values: Tensor, flips: Tensor, flip_permutation: ArrayLike, axis: int = -1) -> Tensor:
    """Lets left and right keypoints trade places where a person is mirrored.

    Args:
        values: [..., K] or, with another axis, [..., K, ...]: whatever there is of each keypoint.
        flips: bool, [...]: as many axes as `values` has before that of keypoints, or a scalar.
        flip_permutation: [K], the keypoint that each one comes from (`Skeleton.flip_permutation`).
        axis: of the keypoints, counted from the end.

    Returns:
        The values, of the same shape and type.

    Example:
        >>> from kerapose.ops import boxes
        >>> order = [0, 2, 1]  # nose, left eye, right eye
        >>> np.asarray(boxes.swap_sides([[1, 2, 3], [1, 2, 3]], [False, True], order)).tolist()
        [[1, 2, 3], [1, 3, 2]]
    """
    values, flips = ops.convert_to_tensor(values), ops.cast(flips, "bool")
    swapped = ops.take(values, np.asarray(flip_permutation, "int32"), axis=axis)
    for _ in range(-axis):
        flips = flips[..., None]
    return ops.where(flips, swapped, values)


def affine(
    centers: Tensor, sizes: Tensor, output_size: Size, rotations: Tensor = 0.0, flips: Tensor = False, udp: bool = False
) -> Tensor:
    """Gives the affine maps from pixels of the image to pixels of the crops.

    The centre of a region goes to (w / 2, h / 2) of its crop, and its width to w. The height has the same scale. This
    is the published crop. With `udp`, distances are counted between the centres of pixels: the centre goes to
    ((w - 1) / 2, (h - 1) / 2), and the region's width and height to w - 1 and h - 1, each with a scale of its own.

    Args:
        centers: [..., 2] (x, y), pixels of the image.
        sizes: [..., 2] (height, width), pixels of the image.
        output_size: (h, w) of the crops.
        rotations: [...] radians; a positive one turns the picture counterclockwise as seen.
        flips: [...] bool: whether to mirror left to right. The crop is the same as if image and centre were mirrored
            first (`mirror`) and then cropped. Left and right keypoints are still to be swapped (`swap_sides`).
        udp: whether to map without bias, as UDP does.

    Returns:
        [..., 2, 3] float32, which take (x, y, 1) to (x, y).

    Example:
        >>> from kerapose.ops import boxes
        >>> np.asarray(boxes.affine([60.0, 170.0], [375.0, 281.25], (256, 192))).tolist()
        [[0.683, 0.0, 55.04], [0.0, 0.683, 11.95]]

    Paper: Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose
    Estimation", CVPR 2020 (`udp`).
    """
    centers, sizes = ops.cast(centers, "float32"), ops.cast(sizes, "float32")
    rotations = ops.convert_to_tensor(rotations, "float32")
    height, width = (side - 1 if udp else side for side in output_size)
    scale_x = width / sizes[..., 1]
    scale_y = height / sizes[..., 0] if udp else scale_x
    mirrored = ops.where(ops.cast(flips, "bool"), -1.0, 1.0)
    cos, sin = ops.cos(rotations), ops.sin(rotations)
    x, y = centers[..., 0], centers[..., 1]
    rows = []
    for to_x, to_y, middle in (
        (scale_x * cos * mirrored, scale_x * sin, width / 2),
        (scale_y * -sin * mirrored, scale_y * cos, height / 2),
    ):
        offset = middle - (to_x * x + to_y * y)  # the one that has all leading axes
        rows.append(ops.stack([to_x + ops.zeros_like(offset), to_y + ops.zeros_like(offset), offset], axis=-1))
    return ops.stack(rows, axis=-2)


def invert_affine(matrices: Tensor) -> Tensor:
    """Gives the inverse of affine maps: from the crop back to the image.

    Args:
        matrices: [..., 2, 3], of `affine`.

    Returns:
        [..., 2, 3] float32.

    Example:
        >>> from kerapose.ops import boxes
        >>> np.asarray(boxes.invert_affine([[0.5, 0.0, 10.0], [0.0, 0.5, 20.0]])).tolist()
        [[2.0, 0.0, -20.0], [0.0, 2.0, -40.0]]
    """
    matrices = ops.cast(matrices, "float32")
    a, b, x = (matrices[..., 0, i] for i in range(3))
    c, d, y = (matrices[..., 1, i] for i in range(3))
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    rows = [ops.stack([a, b, -(a * x + b * y)], axis=-1), ops.stack([c, d, -(c * x + d * y)], axis=-1)]
    return ops.stack(rows, axis=-2)


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Takes points through affine maps.

    Args:
        points: [..., K, 2] (x, y), pixels.
        matrices: [..., 2, 3] (`affine`, or `invert_affine` for the way back).

    Returns:
        [..., K, 2] float32, pixels of where the maps lead.

    Example:
        >>> from kerapose.ops import boxes
        >>> to_crop = boxes.affine([60.0, 170.0], [375.0, 281.25], (256, 192))
        >>> np.asarray(boxes.transform_points([[60.0, 170.0]], to_crop)).tolist()  # the centre of the region
        [[96.0, 128.0]]
    """
    points, matrices = ops.cast(points, "float32"), ops.cast(matrices, "float32")
    x, y = points[..., 0], points[..., 1]  # [..., K]
    m = matrices[..., None, :, :]  # [..., 1, 2, 3]
    return ops.stack([m[..., row, 0] * x + m[..., row, 1] * y + m[..., row, 2] for row in range(2)], axis=-1)


def warp(images: Tensor, matrices: Tensor, output_size: Size) -> Tensor:
    """Cuts crops out of images, each through an affine map: bilinear, black outside of the image.

    Pixels have their centres at whole coordinates, and those at the border fade to black within a pixel, as OpenCV's
    `warpAffine` has it.

    Args:
        images: [B, H, W, C], or [H, W, C] for one that all crops are cut from; uint8 or float.
        matrices: [B, 2, 3], from pixels of the image to pixels of the crop (`affine`).
        output_size: (h, w) of the crops.

    Returns:
        [B, h, w, C] float32, in the units of `images`.

    Example:
        >>> from kerapose.ops import boxes as box_ops
        >>> centers, sizes = box_ops.crop_region(boxes, aspect_ratio=192 / 256)  # boxes: [2, 4]
        >>> crops = box_ops.warp(image, box_ops.affine(centers, sizes, (256, 192)), (256, 192))
        >>> tuple(crops.shape)
        (2, 256, 192, 3)
    """
    images = ops.convert_to_tensor(images)
    height, width, channels = ops.shape(images)[-3:]
    first = 0
    if len(images.shape) == 4:
        first = ops.arange(ops.shape(images)[0])[:, None, None] * (height * width)
    pixels = ops.reshape(images, (-1, channels))  # [B*H*W, C]
    return sample(pixels, (height, width), invert_affine(matrices), output_size, first)


def sample(pixels: Tensor, size: Tensor, inverse: Tensor, output_size: Size, first: Tensor = 0) -> Tensor:
    """What `warp` does, for images that are kept row by row in one long list of pixels.

    Args:
        pixels: [P, C], uint8 or float.
        size: (height, width) of the images, whole numbers.
        inverse: [B, 2, 3], from pixels of the crop to pixels of the image.
        output_size: (h, w) of the crops.
        first: where in the list the image of each crop begins: a whole number for all, or [B, 1, 1].

    Returns:
        [B, h, w, C] float32.
    """
    rows, columns = np.arange(output_size[0], dtype="float32")[:, None], np.arange(output_size[1], dtype="float32")
    m = ops.cast(inverse, "float32")[..., None, None]  # [B, 2, 3, 1, 1]
    x, y = (m[:, i, 0] * columns + (m[:, i, 1] * rows + m[:, i, 2]) for i in range(2))  # [B, h, w]
    total = 0.0
    for row, row_weight in _neighbours(y, size[0]):
        for column, column_weight in _neighbours(x, size[1]):
            values = ops.take(pixels, first + row * size[1] + column, axis=0)  # [B, h, w, C]
            total = total + ops.cast(values, "float32") * (row_weight * column_weight)[..., None]
    return total


def _neighbours(positions, count):
    """The two whole positions beside each one, kept inside 0 .. count - 1, and their weights, 0 for one outside."""
    positions = ops.where(ops.isfinite(positions), positions, -1.0)
    positions = ops.clip(positions, -1.0, ops.cast(count, "float32"))
    lower = ops.floor(positions)
    fraction = positions - lower
    lower = ops.cast(lower, "int32")
    neighbours = []
    for index, weight in ((lower, 1.0 - fraction), (lower + 1, fraction)):
        inside = ops.logical_and(index >= 0, index < count)
        neighbours.append((ops.clip(index, 0, count - 1), ops.where(inside, weight, 0.0)))
    return neighbours
