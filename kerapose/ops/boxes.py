"""Boxes round people, and what cropping, resizing and mirroring do to keypoints.

A box is (left, top, right, bottom) in pixels. A coordinate that is exactly 0 marks a missing keypoint, as in PYSKL's
files; `compact_box` ignores it, `crop_compact` and `flip_keypoints` leave it where it is.
"""

import numpy as np
from keras import ops


def compact_box(keypoints, frame_size, padding=0.25, hw_ratio=1.0, beyond_frame=True, threshold_px=10.0):
    """The smallest box that holds all people of all frames, widened and brought to an aspect ratio.

    Args:
        keypoints: [..., M, T, K, 2], pixels, x first. Coordinates of exactly 0 do not count, x and y each for itself.
        frame_size: [..., 2] height and width of the frame, pixels.
        padding: how much wider the box gets, as a fraction of its half size.
        hw_ratio: least ratio of height to width and of width to height; a number or a pair of them. None: as it is.
        beyond_frame: whether the box may leave the frame.
        threshold_px: a box narrower or lower than this is not to be trusted: the whole frame then.

    Returns:
        [..., 4] float32 of whole numbers: left, top, right, bottom.

    Example:
        >>> compact_box([[[[30.0, 40.0], [60.0, 80.0]]]], [240, 320], padding=0.0)
        [25.0, 40.0, 65.0, 80.0]
    """
    keypoints = ops.cast(keypoints, "float32")
    frame_size = ops.cast(frame_size, "float32")
    present = keypoints != 0.0
    people_axes = (-4, -3, -2)
    low = ops.min(ops.where(present, keypoints, np.float32(np.inf)), axis=people_axes)  # [..., 2]
    high = ops.max(ops.where(present, keypoints, np.float32(-np.inf)), axis=people_axes)
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


def box_size(box):
    """Height and width of a box: [..., 4] -> [..., 2]."""
    return ops.flip(box[..., 2:] - box[..., :2], axis=-1)


def crop_compact(keypoints, box):
    """Moves keypoints into a compact box; coordinates of exactly 0 stay 0.

    Args:
        keypoints: [..., M, T, K, 2], pixels.
        box: [..., 4], of `compact_box`.

    Returns:
        [..., M, T, K, 2], pixels of the box.
    """
    corner = box[..., None, None, None, :2]
    return ops.where(keypoints != 0.0, keypoints - corner, keypoints)


def crop(keypoints, box):
    """Moves all keypoints into a box: [..., M, T, K, 2], [..., 4] -> [..., M, T, K, 2]."""
    return keypoints - box[..., None, None, None, :2]


def resize(keypoints, old_size, new_size):
    """Scales keypoints with their frame.

    Args:
        keypoints: [..., M, T, K, 2], pixels.
        old_size: [..., 2] height and width.
        new_size: [..., 2] or (height, width).

    Returns:
        [..., M, T, K, 2].
    """
    factor = ops.cast(new_size, "float32") / ops.cast(old_size, "float32")
    return keypoints * ops.flip(factor, axis=-1)[..., None, None, None, :]


def rotate(keypoints, frame_size, angle):
    """Turns keypoints about the centre of their frame, clockwise as seen for a positive angle.

    Args:
        keypoints: [..., M, T, K, 2], pixels; those at exactly (0, 0) are missing and stay there.
        frame_size: [..., 2] height and width, pixels.
        angle: [...] radians.

    Returns:
        [..., M, T, K, 2].
    """
    angle = ops.convert_to_tensor(angle, "float32")
    cos, sin = ops.cos(angle)[..., None, None, None], ops.sin(angle)[..., None, None, None]
    centre = ops.flip(ops.cast(frame_size, "float32"), axis=-1)[..., None, None, None, :] / 2
    x, y = (keypoints - centre)[..., 0], (keypoints - centre)[..., 1]
    turned = ops.stack([x * cos - y * sin, x * sin + y * cos], axis=-1) + centre
    return ops.where(ops.all(keypoints == 0.0, axis=-1, keepdims=True), keypoints, turned)


def short_side_size(size, short_side):
    """The size of a frame whose short side is brought to `short_side`: [..., 2] -> [..., 2], rounded to pixels."""
    size = ops.cast(size, "float32")
    return ops.floor(size * (short_side / ops.min(size, axis=-1, keepdims=True)) + 0.5)


def random_crop_box(frame_size, area_range, aspect_range, uniforms):
    """Draws the box of a random resized crop: the first of ten candidates that fits the frame.

    Where none fits, the centred square of the short side.

    Args:
        frame_size: [2] height and width, pixels.
        area_range: least and greatest area, as fractions of the frame's.
        aspect_range: least and greatest width / height, drawn evenly in the logarithm.
        uniforms: [22] random numbers in [0, 1): ten aspects, ten areas, the offsets in x and y.

    Returns:
        [4] float32 of whole numbers.
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


def flip_keypoints(keypoints, scores, frame_width, flip_permutation):
    """Mirrors keypoints left to right: x goes to width - x, left keypoints trade places with right ones.

    Args:
        keypoints: [..., K, 2], pixels; an x of exactly 0 stays 0.
        scores: [..., K].
        frame_width: pixels.
        flip_permutation: [K], the keypoint that each one comes from (`Skeleton.flip_permutation`).

    Returns:
        keypoints and scores of the same shapes.
    """
    x, y = keypoints[..., 0], keypoints[..., 1]
    mirrored = ops.stack([ops.where(x != 0.0, frame_width - x, x), y], axis=-1)
    order = np.asarray(flip_permutation, "int32")
    return ops.take(mirrored, order, axis=-2), ops.take(scores, order, axis=-1)
