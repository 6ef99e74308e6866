"""Clips over time: frames of people, or of a heatmap volume, side by side."""

import dataclasses
import typing

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array
from kerapose.visualize.images import draw_skeletons
from kerapose.visualize.panels import (
    BACKGROUND,
    MARGIN,
    captioned,
    channel_colors,
    checked_people,
    side_by_side,
    spaced_frames,
)

OVERLAY_COLOR = (178, 184, 198)  # of the skeleton over a volume, so that colours belong to the heatmaps alone


def clip_strip(
    keypoints: Array,
    scores: Array | None,
    skeleton: Skeleton,
    frame_size: tuple[int, int],
    num_frames: int = 8,
    min_score: float = 0.3,
    panel_height: int = 240,
) -> Array:
    """Draws the people of a clip over time: evenly spaced frames side by side, all cropped to where the people go.

    Args:
        keypoints: `[M, T, K, 2]`, pixels of the frame, x first.
        scores: `[M, T, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        frame_size: (height, width) of the frame in pixels; the whole of it is shown when nobody is in it.
        num_frames: panels, fewer when the clip is shorter.
        min_score: the lowest score that is drawn.
        panel_height: pixels.

    Returns:
        RGB uint8 `[panel_height, width, 3]`; the number in a panel's corner is its frame.

    Raises:
        ValueError: when a shape does not fit, or the clip has no frames.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> visualize.clip_strip(keypoints, scores, skeletons.COCO, frame_size, num_frames=6).shape
        (240, 2138, 3)
    """
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=4)
    left, top, right, bottom = _people_box(keypoints[shown], frame_size)
    scale = panel_height / (bottom - top)
    panel_width = max(1, round((right - left) * scale))
    panels = []
    for frame in spaced_frames(keypoints.shape[1], num_frames):
        panel = np.full((panel_height, panel_width, 3), BACKGROUND, np.uint8)
        moved = (keypoints[:, frame] - (left, top)) * scale  # [M, K, 2]
        panel = draw_skeletons(panel, moved, shown[:, frame], skeleton, 0.5, max(1, round(panel_height / 90)))
        panels.append(captioned(panel, frame))
    return side_by_side(panels)


def draw_volume(
    volume: Array,
    frame: int | None = None,
    colors: Array | None = None,
    keypoints: Array | None = None,
    scores: Array | None = None,
    skeleton: Skeleton | None = None,
    min_score: float = 0.3,
    scale: int = 5,
) -> Array:
    """Draws one frame of a heatmap volume, one colour for each channel, with the skeletons it was made from over it.

    Args:
        volume: `[T, H, W, C]`, values of 0 to 1.
        frame: which frame; None takes the middle one.
        colors: C RGB colours; None takes those of the skeleton's joints or limbs, whichever fits C, or a colour wheel.
        keypoints: `[M, T, K, 2]`, pixels of the volume, x first; None draws no skeletons.
        scores: `[M, T, K]`, or None when all are certain.
        skeleton: the set the keypoints are in; needed with keypoints.
        min_score: the lowest score that is drawn.
        scale: picture pixels for one volume pixel.

    Returns:
        RGB uint8 `[H * scale, W * scale, 3]`.

    Raises:
        ValueError: when a shape does not fit, the clip has no such frame, or keypoints come without a skeleton.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> from kerapose.ops import heatmaps
        >>> points = keypoints[:, ::4] / 5  # [2, 8, 17, 2] pixels of the volume
        >>> volume = np.asarray(heatmaps.joint_volume(points, scores[:, ::4], 48, 64, sigma_px=2.0))
        >>> volume.shape
        (8, 48, 64, 17)
        >>> visualize.draw_volume(volume, frame=4, keypoints=points, skeleton=skeletons.COCO).shape
        (240, 320, 3)
    """
    volume = np.asarray(volume)
    _check_volume(volume, frame, keypoints, skeleton)
    frame = len(volume) // 2 if frame is None else frame
    heat = volume[frame]  # [H, W, C]
    picture = _glow(heat, channel_colors(heat.shape[-1], colors, skeleton), scale)
    if keypoints is None:
        return picture
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=4)
    if keypoints.shape[1] != len(volume):
        raise ValueError(f"keypoints must have the volume's {len(volume)} frames, got {keypoints.shape[1]}.")
    keypoints = (keypoints[:, frame] + 0.5) * scale - 0.5  # [M, K, 2]; whole numbers are pixel centres here and there
    thin = dataclasses.replace(skeleton, colors=(OVERLAY_COLOR,) * skeleton.num_keypoints)
    return draw_skeletons(picture, keypoints, shown[:, frame], thin, 0.5, line_width=1)


def volume_strip(volume: Array, num_frames: int = 8, **options: typing.Any) -> Array:
    """Draws evenly spaced frames of a heatmap volume side by side.

    Args:
        volume: `[T, H, W, C]`, values of 0 to 1.
        num_frames: panels, fewer when the volume is shorter.
        **options: those of `draw_volume`, all but `frame`.

    Returns:
        RGB uint8 `[H * scale, width, 3]`; the number in a panel's corner is its frame.

    Raises:
        ValueError: as `draw_volume` does.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> from kerapose.ops import heatmaps
        >>> volume = heatmaps.joint_volume(keypoints[:, ::4] / 5, scores[:, ::4], 48, 64, sigma_px=2.0)
        >>> visualize.volume_strip(np.asarray(volume), num_frames=4, skeleton=skeletons.COCO).shape
        (240, 1292, 3)
    """
    frames = spaced_frames(len(volume), num_frames)
    return side_by_side([captioned(draw_volume(volume, frame, **options), frame) for frame in frames])


def _people_box(points, frame_size):
    """Left, top, right, bottom of the box around the points `[N, 2]`, with a margin; the whole frame for none."""
    if not len(points):
        height, width = frame_size
        return 0.0, 0.0, float(width), float(height)
    points = np.clip(points, 0, (frame_size[1], frame_size[0]))  # a stray point must not shrink the people
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * max(*(high - low), 8.0)  # a box of one point still has a size
    return *(low - margin), *(high + margin)


def _glow(heat, colors, scale):
    """Blends the channels `[H, W, C]`, each in its colour, over the background and enlarges the picture."""
    heat = np.clip(np.nan_to_num(heat), 0, 1)
    picture = np.full((*heat.shape[:2], 3), BACKGROUND, np.float32)
    for channel, color in enumerate(colors):
        shade = heat[..., channel, None]  # [H, W, 1]
        picture = np.maximum(picture, shade * np.array(color) + (1 - shade) * np.array(BACKGROUND))
    height, width = heat.shape[:2]
    picture = cv2.resize(picture.astype(np.float32), (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)
    return picture.round().astype(np.uint8)


def _check_volume(volume, frame, keypoints, skeleton):
    if volume.ndim != 4 or not volume.size:
        raise ValueError(f"volume must be [T, H, W, C] and not empty, got {volume.shape}; take one clip of a batch.")
    if frame is not None and not 0 <= frame < len(volume):
        raise ValueError(f"frame must be 0 to {len(volume) - 1}, got {frame}; None takes the middle one.")
    if keypoints is not None and skeleton is None:
        raise ValueError(
            "keypoints need their skeleton to be drawn, got none; give skeleton=skeletons.COCO or another."
        )
