"""Drawings on images: people, heatmaps, what was found beside what is true, and sheets of many pictures."""

import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array
from kerapose.visualize.panels import (
    BACKGROUND,
    GAP_PX,
    SUBPIXEL_BITS,
    channel_colors,
    checked_image,
    checked_people,
    fixed_point,
    resized,
    side_by_side,
)

PADDING_COLOR = (255, 255, 255)  # between pictures and where one is smaller than its cell
BOX_COLOR = (240, 240, 240)
ERROR_COLOR = (255, 255, 255)  # of the line from where a joint was found to where it is


def draw_skeletons(
    image: Array,
    keypoints: Array,
    scores: Array | None,
    skeleton: Skeleton,
    min_score: float = 0.3,
    line_width: int | None = None,
    boxes: Array | None = None,
    labels: list[str] | None = None,
    colors: Array | None = None,
) -> Array:
    """Draws people on an image: limbs, and joints over them; if given, their boxes and a label for each.

    A joint is left out where its score is below `min_score` or its position is not finite, a limb where one of its ends
    is; what lies outside the image is cut off at its border.

    Args:
        image: RGB uint8 `[H, W, 3]`; it is not changed.
        keypoints: `[M, K, 2]`, pixels of the image, x first; a pixel's centre has whole coordinates.
        scores: `[M, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        min_score: the lowest score that is drawn.
        line_width: pixels; None goes by the size of the image.
        boxes: `[M, 4]` left, top, right, bottom in pixels, or None for none.
        labels: M short texts (a name, a score), each written at the head of its box, or of its person where there are
            no boxes; None for none. OpenCV's font has ASCII only.
        colors: `[M, 3]` RGB, one for all of a person; None for those of the skeleton's joints and limbs.

    Returns:
        RGB uint8 `[H, W, 3]`.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> street = np.zeros((240, 320, 3), np.uint8)
        >>> picture = visualize.draw_skeletons(street, keypoints[:, 0], scores[:, 0], skeletons.COCO, labels=["A", "B"])
        >>> picture.shape, int(picture.max()), int(street.max())  # the image itself is not changed
        ((240, 320, 3), 255, 0)
    """
    image = checked_image(image)
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=3)
    boxes = _checked_boxes(boxes, len(keypoints))
    own_colors = _checked_colors(colors, len(keypoints))
    width = line_width or max(1, round(np.sqrt(image.shape[0] * image.shape[1]) / 200))
    for box in [] if boxes is None else boxes:
        start, end = fixed_point(box[:2]), fixed_point(box[2:])
        cv2.rectangle(image, start.tolist(), end.tolist(), BOX_COLOR, max(1, width // 2), cv2.LINE_AA, SUBPIXEL_BITS)
    points = fixed_point(np.where(shown[..., None], keypoints, 0))  # [M, K, 2]
    for person, visible, own in zip(points, shown, own_colors, strict=True):
        edge_colors = skeleton.edge_colors if own is None else [own] * skeleton.num_edges
        joint_colors = skeleton.colors if own is None else [own] * skeleton.num_keypoints
        for (a, b), color in zip(skeleton.edges, edge_colors, strict=True):
            if visible[a] and visible[b]:
                start, end = person[a].tolist(), person[b].tolist()
                cv2.line(image, start, end, color, width, cv2.LINE_AA, SUBPIXEL_BITS)
        radius = round(1.4 * width * 2**SUBPIXEL_BITS)
        for joint in np.flatnonzero(visible):
            center = person[joint].tolist()
            cv2.circle(image, center, radius, joint_colors[joint], cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    if labels is not None:
        _write_labels(image, labels, keypoints, shown, boxes)
    return image


def draw_heatmaps(
    image: Array,
    heatmaps: Array,
    skeleton: Skeleton | None = None,
    colors: Array | None = None,
    opacity: float = 0.8,
    aligned_corners: bool = False,
) -> Array:
    """Lays the heatmaps of an image over it, one colour a joint, the image greyed so that colours are the heatmaps'.

    Args:
        image: RGB uint8 `[H, W, 3]`, the crop that a network was shown; it is not changed.
        heatmaps: `[h, w, K]`, of any size; values below 0 count as 0, those above 1 as 1.
        skeleton: whose joints' colours are taken.
        colors: K RGB colours in place of them; with neither, a colour wheel.
        opacity: of a heatmap at 1, from 0 to 1.
        aligned_corners: how heatmap pixel i lies on the image: False puts it at i * W / w (codecs gaussian, dark,
            hourglass), True at i * (W - 1) / (w - 1) (codec udp).

    Returns:
        RGB uint8 `[H, W, 3]`.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> from kerapose.ops import heatmaps
        >>> maps = np.asarray(heatmaps.joint_volume(keypoints[:, :1] / 4, scores[:, :1], 60, 80, sigma_px=2.0))[0]
        >>> maps.shape
        (60, 80, 17)
        >>> visualize.draw_heatmaps(image, maps, skeletons.COCO).shape
        (240, 320, 3)
    """
    image, heat = checked_image(image), np.asarray(heatmaps, np.float32)
    if heat.ndim != 3 or not heat.size:
        raise ValueError(f"heatmaps must be [h, w, K] and not empty, got {heat.shape}; take one image of a batch.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be 0 to 1, got {opacity}.")
    colors = np.asarray(channel_colors(heat.shape[-1], colors, skeleton), np.float32)
    heat = _spread(np.clip(np.nan_to_num(heat), 0, 1), image.shape[:2], aligned_corners)  # [H, W, K]
    # Where joints overlap each colour counts by its own heat; the strongest says how much of the image is covered.
    weights = heat / np.maximum(heat.sum(axis=-1, keepdims=True), 1e-6)
    cover = opacity * heat.max(axis=-1, keepdims=True)  # [H, W, 1]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.round((1 - cover) * grey + cover * (weights @ colors)).astype(np.uint8)


def compare_poses(
    images: Array,
    truth: Array,
    predicted: Array,
    skeleton: Skeleton,
    truth_scores: Array | None = None,
    predicted_scores: Array | None = None,
    heatmaps: Array | None = None,
    min_score: float = 0.3,
    panel_height: int = 256,
    columns: int | None = None,
    aligned_corners: bool = False,
) -> Array:
    """Draws true poses beside those found, a pair for each crop, in one picture for TensorBoard.

    In the panel of what was found a white line leads from each joint to where it should be.

    Args:
        images: RGB uint8 `[B, H, W, 3]`, one person in each.
        truth: `[B, K, 2]`, pixels of the images, x first.
        predicted: `[B, K, 2]`, likewise.
        skeleton: the set the keypoints are in.
        truth_scores: `[B, K]`, 0 where a joint is not labelled (weights, or a visibility), or None when all are.
        predicted_scores: `[B, K]`, or None when all are to be drawn.
        heatmaps: `[B, h, w, K]` what the network gave, for a third panel; None for two.
        min_score: the lowest score that is drawn.
        panel_height: pixels; small crops are enlarged to it, large ones made smaller.
        columns: pairs in a row; None makes the picture about square.
        aligned_corners: as for `draw_heatmaps`.

    Returns:
        RGB uint8 `[H', W', 3]`, truth left, what was found right of it, heatmaps last.

    Raises:
        ValueError: when a shape does not fit, or there are no images.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> truth, found = keypoints[:1, 0], keypoints[:1, 0] + 3.0  # [1, 17, 2]
        >>> visualize.compare_poses(image[None], truth, found, skeletons.COCO).shape
        (256, 686, 3)
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be [B, H, W, 3] and at least one, got {images.shape}.")
    truth, labelled = checked_people(truth, truth_scores, skeleton, min_score, rank=3)
    predicted, found = checked_people(predicted, predicted_scores, skeleton, min_score, rank=3)
    for name, value in (("truth", truth), ("predicted", predicted), ("heatmaps", heatmaps)):
        if value is not None and len(value) != len(images):
            raise ValueError(f"{name} must have the {len(images)} images' first axis, got {len(value)}.")
    pictures = []
    for index, image in enumerate(images):
        panel, scale = resized(checked_image(image), panel_height)
        true_points, points = ((p[index] + 0.5) * scale - 0.5 for p in (truth, predicted))  # [K, 2]
        width = max(1, round(panel_height / 128))
        left = draw_skeletons(panel, true_points[None], labelled[None, index], skeleton, 0.5, width)
        right = draw_skeletons(panel, points[None], found[None, index], skeleton, 0.5, width)
        _draw_errors(right, points, true_points, labelled[index] & found[index])
        panels = [left, right]
        if heatmaps is not None:
            lit = draw_heatmaps(image, heatmaps[index], skeleton, aligned_corners=aligned_corners)
            panels.append(resized(lit, panel_height)[0])
        pictures.append(side_by_side(panels))
    return contact_sheet(pictures, columns, gap_px=4 * GAP_PX)  # wider than between the panels of one crop


def contact_sheet(
    pictures: list[Array],
    columns: int | None = None,
    captions: list[str] | None = None,
    gap_px: int = GAP_PX,
) -> Array:
    """Puts pictures into one, row by row; each cell is as large as the largest of them.

    Args:
        pictures: RGB uint8 `[H, W, 3]` each, of any sizes.
        columns: pictures in a row; None makes the whole about square.
        captions: a short text for each, written in its lower left corner, in ASCII; None for none.
        gap_px: white between the cells.

    Returns:
        RGB uint8 `[H', W', 3]`; what no picture covers is white.

    Raises:
        ValueError: when there are no pictures, one is not RGB, or captions do not fit.

    Example:
        >>> from kerapose import visualize
        >>> visualize.contact_sheet([image] * 6, columns=3, captions=list("abcdef")).shape
        (484, 968, 3)
    """
    pictures = [checked_image(picture) for picture in pictures]
    if not pictures:
        raise ValueError("a contact sheet must have at least one picture, got none.")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"captions must be {len(pictures)}, one per picture, got {len(captions)}.")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}; None makes the sheet about square.")
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    if columns is None:
        columns = int(np.ceil(np.sqrt(len(pictures) * height / width)))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px
    sheet = np.full((*size, 3), PADDING_COLOR, np.uint8)
    for index, picture in enumerate(pictures):
        if captions is not None:
            write_text(picture, captions[index], (0, picture.shape[0]))
        top, left = index // columns * (height + gap_px), index % columns * (width + gap_px)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _write_labels(image, labels, keypoints, shown, boxes):
    if len(labels) != len(keypoints):
        raise ValueError(f"labels must be {len(keypoints)}, one per person, got {len(labels)}.")
    for index, label in enumerate(labels):
        if boxes is not None:
            write_text(image, label, boxes[index, :2])
        elif shown[index].any():
            write_text(image, label, keypoints[index][shown[index]].min(axis=0))


def write_text(image: Array, text: str, corner: Sequence[float]) -> int:
    """Writes a text above a point (x, y), on a ground of its own, and wholly inside the image if it fits at all.

    OpenCV has letters of ASCII alone: others lose their accents, and are question marks where that is not enough.
    Returns the height of the ground in pixels, which is the same for every text.
    """
    text = "".join(one for one in unicodedata.normalize("NFKD", str(text)) if not unicodedata.combining(one))
    text = text.encode("ascii", "replace").decode()
    scale = max(0.35, np.sqrt(image.shape[0] * image.shape[1]) / 1400)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    (_, height), below = cv2.getTextSize("Ay", cv2.FONT_HERSHEY_SIMPLEX, scale, 1)  # not of the text: lines line up
    height += below + 2
    left = int(np.clip(corner[0], 0, max(0, image.shape[1] - width - 2)))
    bottom = int(np.clip(corner[1], min(height, image.shape[0] - 1), image.shape[0] - 1))
    cv2.rectangle(image, (left, bottom - height), (left + width + 1, bottom), BACKGROUND, cv2.FILLED)
    place = left + 1, bottom - below
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, BOX_COLOR, 1, cv2.LINE_AA)
    return height


def _draw_errors(image, points, true_points, shown):
    for start, end in zip(fixed_point(points[shown]).tolist(), fixed_point(true_points[shown]).tolist(), strict=True):
        cv2.line(image, start, end, ERROR_COLOR, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _spread(heat, size, aligned_corners):
    """Heatmaps `[h, w, K]` over an image of a size, pixel i of theirs at i * stride of the image: `[H, W, K]`."""
    (rows, columns), (height, width) = heat.shape[:2], size
    if aligned_corners:
        stride_x, stride_y = (width - 1) / max(1, columns - 1), (height - 1) / max(1, rows - 1)
    else:
        stride_x, stride_y = width / columns, height / rows
    matrix = np.array([[stride_x, 0, 0], [0, stride_y, 0]], np.float64)
    options = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    channels = [  # one by one: OpenCV warps four at most
        cv2.warpAffine(np.ascontiguousarray(heat[..., k]), matrix, (width, height), **options)
        for k in range(heat.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def _checked_boxes(boxes, count):
    if boxes is None:
        return None
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (count, 4) or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be finite [{count}, 4], one per person, got {boxes.shape}; leave out the others.")
    return boxes


def _checked_colors(colors, count):
    """A colour for each person, as OpenCV takes it; None where it is the skeleton's."""
    if colors is None:
        return [None] * count
    if np.shape(colors) != (count, 3):
        raise ValueError(f"colors must be [{count}, 3] RGB, one per person, got {np.shape(colors)}; give one for each.")
    return np.asarray(colors).tolist()
