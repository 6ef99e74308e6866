"""People with identities: one colour for all of a person, the number at the head, the person's path."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike
from kerapose.visualize.images import draw_skeletons, write_text
from kerapose.visualize.panels import SUBPIXEL_BITS, checked_image, checked_people, fixed_point

GOLDEN_RATIO = 0.618034  # steps of it round the colour wheel leave neighbours, and theirs, far apart
HEAD_GAP = 2.5  # line widths between the topmost joint and its number


def identity_colors(ids: ArrayLike) -> Array:
    """The colours of identities, the same for the same number in every picture.

    Args:
        ids: `[M]` whole numbers.

    Returns:
        RGB uint8 `[M, 3]`.

    Example:
        >>> from kerapose import visualize
        >>> visualize.identity_colors([0, 1]).tolist()
        [[255, 64, 64], [64, 120, 255]]
    """
    wheel = [colorsys.hsv_to_rgb(float(one) * GOLDEN_RATIO % 1, 0.75, 1) for one in np.asarray(ids, int).reshape(-1)]
    return np.round(255 * np.array(wheel).reshape(-1, 3)).astype(np.uint8)


def draw_identities(
    image: Array,
    keypoints: Array,
    scores: Array | None,
    skeleton: Skeleton,
    ids: ArrayLike,
    trails: list[Array] | None = None,
    min_score: float = 0.3,
    line_width: int | None = None,
    captions: Sequence[str] | None = None,
) -> Array:
    """Draws people, each in the colour of the identity, with its number above the topmost joint.

    Args:
        image: RGB uint8 `[H, W, 3]`; it is not changed.
        keypoints: `[M, K, 2]`, pixels of the image, x first; a pixel's centre has whole coordinates.
        scores: `[M, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        ids: `[M]` whole numbers, as `tracking.Tracker` gives them.
        trails: M times `[L, 2]` pixels, any L, where each person has been, the newest last; None for none.
        min_score: the lowest score that is drawn.
        line_width: pixels; None goes by the size of the image.
        captions: M texts that stand behind the numbers: what each person does, say; "" and None for none.

    Returns:
        RGB uint8 `[H, W, 3]`.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> picture = visualize.draw_identities(image, keypoints[:, 0], scores[:, 0], skeletons.COCO, ids=[4, 7])
        >>> picture.shape
        (240, 320, 3)
        >>> blue = visualize.identity_colors([7])[0]  # the second person's
        >>> bool((picture == blue).all(axis=-1).any())
        True
    """
    image = checked_image(image)
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=3)
    if np.shape(ids) != (len(keypoints),):
        raise ValueError(f"ids must be {len(keypoints)}, one per person, got {np.shape(ids)}; give one for each.")
    if trails is not None and len(trails) != len(keypoints):
        raise ValueError(f"trails must be {len(keypoints)}, one per person, got {len(trails)}; an empty one is none.")
    if captions is not None and len(captions) != len(keypoints):
        raise ValueError(f"captions must be {len(keypoints)}, one per person, got {len(captions)}; '' is none.")
    colors = identity_colors(ids)
    width = line_width or max(1, round(np.sqrt(image.shape[0] * image.shape[1]) / 200))
    for trail, color in zip([] if trails is None else trails, colors.tolist(), strict=trails is not None):
        points = fixed_point(np.asarray(trail, np.float64).reshape(-1, 1, 2)).astype(np.int32)
        cv2.polylines(image, [points], False, color, max(1, width // 2), cv2.LINE_AA, SUBPIXEL_BITS)
    image = draw_skeletons(image, keypoints, shown, skeleton, 0.5, width, colors=colors)
    captions = [""] * len(keypoints) if captions is None else captions
    for number, caption, points, visible in zip(ids, captions, keypoints, shown, strict=True):
        if visible.any():
            head = min(points[visible], key=lambda point: point[1])
            write_text(image, f"{number} {caption}".strip(), head - (2 * width, HEAD_GAP * width))
    return image


def write_caption(image: Array, text: str) -> Array:
    """Writes a text in the upper left corner: what all people do together, say.

    Args:
        image: RGB uint8 `[H, W, 3]`; it is not changed.
        text: one line.

    Returns:
        RGB uint8 `[H, W, 3]`.

    Example:
        >>> from kerapose import visualize
        >>> picture = visualize.write_caption(image, "hug 97%")
        >>> rows, columns = np.nonzero((picture != image).any(axis=-1))
        >>> bool(rows.max() < 40 and columns.max() < 160)  # in the corner
        True
    """
    image = checked_image(image).copy()
    write_text(image, text, (0, 0))
    return image
