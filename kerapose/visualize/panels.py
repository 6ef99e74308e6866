"""What the drawings share: colours, panels in a row with captions, and the checks of what is to be drawn."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike

BACKGROUND = (19, 22, 31)
CAPTION_COLOR = (140, 147, 163)
GAP_PX = 4  # between the panels of a strip
MARGIN = 0.12  # of the larger side of the people's box, left free around them
FAR_PX = 1e6  # beyond this OpenCV's fixed-point coordinates overflow
SUBPIXEL_BITS = 4


def fixed_point(points: ArrayLike) -> Array:
    """Pixels as OpenCV's drawing functions take fractions of them, kept from overflowing."""
    return np.round(np.clip(points, -FAR_PX, FAR_PX) * 2**SUBPIXEL_BITS).astype(int)


def resized(image: Array, height: int) -> tuple[Array, Array]:
    """The image brought to a height, and by how much."""
    scale = height / image.shape[0]
    size = max(1, round(image.shape[1] * scale)), height
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=method), np.array([size[0] / image.shape[1], scale])


def spaced_frames(total: int, num_frames: int) -> list[int]:
    """Indices of evenly spaced frames of a clip, the first and the last among them; all where there are fewer."""
    if total < 1:
        raise ValueError("a clip must have at least one frame, got 0; skip empty clips.")
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}.")
    return np.linspace(0, total - 1, min(num_frames, total)).round().astype(int).tolist()


def captioned(panel: Array, caption: int | str) -> Array:
    """The panel with a caption, the number of its frame for example, written in its lower left corner."""
    size = panel.shape[0] / 640
    place = round(12 * size) + 2, panel.shape[0] - round(14 * size) - 2
    return cv2.putText(panel, str(caption), place, cv2.FONT_HERSHEY_SIMPLEX, size, CAPTION_COLOR, 1, cv2.LINE_AA)


def side_by_side(panels: Sequence[Array]) -> Array:
    """Panels of one height in a row, with white gaps between them."""
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    pieces = [piece for panel in panels for piece in (gap, panel)]
    return np.concatenate(pieces[1:], axis=1)


def channel_colors(count: int, colors: ArrayLike | None, skeleton: Skeleton | None) -> ArrayLike:
    """An RGB colour for each of so many heatmaps: those given, or the skeleton's, or a colour wheel."""
    if colors is None and skeleton is not None and count == skeleton.num_keypoints:
        return skeleton.colors
    if colors is None and skeleton is not None and count == skeleton.num_edges:
        return skeleton.edge_colors
    if colors is None:
        return [tuple(255 * part for part in colorsys.hsv_to_rgb(index / count, 0.75, 1)) for index in range(count)]
    if np.shape(colors) != (count, 3):
        raise ValueError(f"colors must be {count} RGB triples, one per channel, got shape {np.shape(colors)}.")
    return colors


def checked_image(image: ArrayLike) -> Array:
    """A copy of an RGB uint8 image `[H, W, 3]`."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be RGB uint8 [H, W, 3], got {image.dtype} {image.shape}; convert it first.")
    return np.array(image, order="C")  # a copy of our own to draw on


def checked_people(
    keypoints: ArrayLike, scores: ArrayLike | None, skeleton: Skeleton, min_score: float, rank: int
) -> tuple[Array, Array]:
    """Keypoints as float, and which of them are to be drawn: same shape without the last axis."""
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.ndim != rank or keypoints.shape[-2:] != (skeleton.num_keypoints, 2):
        wanted = f"[{'M' if rank == 3 else 'M, T'}, {skeleton.num_keypoints}, 2]"
        raise ValueError(f"keypoints of {skeleton.name} must be {wanted}, got {keypoints.shape}; check the skeleton.")
    scores = np.ones(keypoints.shape[:-1]) if scores is None else np.asarray(scores)
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f"scores must be {keypoints.shape[:-1]}, one per keypoint, got {scores.shape}.")
    return keypoints, np.isfinite(keypoints).all(axis=-1) & (scores >= min_score)
