"""Pictures: skeletons and heatmaps on images, clips, heatmap volumes, confusion matrices and training curves.

Pictures are RGB uint8 arrays `[H, W, 3]`, figures are matplotlib Figures; `figure_to_image` turns one into the other.
Nothing here touches matplotlib's global state, so the functions work in any thread and without a display.

Example:
    >>> from kerapose import skeletons, visualize
    >>> picture = visualize.clip_strip(keypoints, scores, skeletons.COCO, frame_size=(240, 320))
"""

import colorsys
import dataclasses

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kerapose.skeletons import Skeleton

BACKGROUND = (19, 22, 31)
OVERLAY_COLOR = (178, 184, 198)  # of the skeleton over a volume, so that colours belong to the heatmaps alone
CAPTION_COLOR = (140, 147, 163)
GAP_PX = 4  # between the panels of a strip
PADDING_COLOR = (255, 255, 255)  # between pictures and where one is smaller than its cell
BOX_COLOR = (240, 240, 240)
ERROR_COLOR = (255, 255, 255)  # of the line from where a joint was found to where it is
MARGIN = 0.12  # of the larger side of the people's box, left free around them
FAR_PX = 1e6  # beyond this OpenCV's fixed-point coordinates overflow
SUBPIXEL_BITS = 4


def draw_skeletons(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray | None,
    skeleton: Skeleton,
    min_score: float = 0.3,
    line_width: int | None = None,
    boxes: np.ndarray | None = None,
    labels: list[str] | None = None,
) -> np.ndarray:
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

    Returns:
        RGB uint8 `[H, W, 3]`.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> picture = draw_skeletons(image, [pose.keypoints for pose in poses], [pose.scores for pose in poses], COCO)
    """
    image = _checked_image(image)
    keypoints, shown = _checked_people(keypoints, scores, skeleton, min_score, rank=3)
    boxes = _checked_boxes(boxes, len(keypoints))
    width = line_width or max(1, round(np.sqrt(image.shape[0] * image.shape[1]) / 200))
    for box in [] if boxes is None else boxes:
        start, end = _fixed_point(box[:2]), _fixed_point(box[2:])
        cv2.rectangle(image, start.tolist(), end.tolist(), BOX_COLOR, max(1, width // 2), cv2.LINE_AA, SUBPIXEL_BITS)
    points = _fixed_point(np.where(shown[..., None], keypoints, 0))  # [M, K, 2]
    for person, visible in zip(points, shown, strict=True):
        for (a, b), color in zip(skeleton.edges, skeleton.edge_colors, strict=True):
            if visible[a] and visible[b]:
                start, end = person[a].tolist(), person[b].tolist()
                cv2.line(image, start, end, color, width, cv2.LINE_AA, SUBPIXEL_BITS)
        radius = round(1.4 * width * 2**SUBPIXEL_BITS)
        for joint in np.flatnonzero(visible):
            center = person[joint].tolist()
            cv2.circle(image, center, radius, skeleton.colors[joint], cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    if labels is not None:
        _write_labels(image, labels, keypoints, shown, boxes)
    return image


def draw_heatmaps(
    image: np.ndarray,
    heatmaps: np.ndarray,
    skeleton: Skeleton | None = None,
    colors: np.ndarray | None = None,
    opacity: float = 0.8,
    aligned_corners: bool = False,
) -> np.ndarray:
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
        >>> picture = draw_heatmaps(crop, network(normalized)[0], COCO)  # [256, 192, 3], [64, 48, 17]
    """
    image, heat = _checked_image(image), np.asarray(heatmaps, np.float32)
    if heat.ndim != 3 or not heat.size:
        raise ValueError(f"heatmaps must be [h, w, K] and not empty, got {heat.shape}; take one image of a batch.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be 0 to 1, got {opacity}.")
    colors = np.asarray(_channel_colors(heat.shape[-1], colors, skeleton), np.float32)
    heat = _spread(np.clip(np.nan_to_num(heat), 0, 1), image.shape[:2], aligned_corners)  # [H, W, K]
    # Where joints overlap each colour counts by its own heat; the strongest says how much of the image is covered.
    weights = heat / np.maximum(heat.sum(axis=-1, keepdims=True), 1e-6)
    cover = opacity * heat.max(axis=-1, keepdims=True)  # [H, W, 1]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.round((1 - cover) * grey + cover * (weights @ colors)).astype(np.uint8)


def compare_poses(
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    skeleton: Skeleton,
    truth_scores: np.ndarray | None = None,
    predicted_scores: np.ndarray | None = None,
    heatmaps: np.ndarray | None = None,
    min_score: float = 0.3,
    panel_height: int = 256,
    columns: int | None = None,
    aligned_corners: bool = False,
) -> np.ndarray:
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
        >>> picture = compare_poses(denormalize(crops), truth, found, COCO, weights, scores, heatmaps)
        >>> tf.summary.image("validation", picture[None], step=epoch)
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be [B, H, W, 3] and at least one, got {images.shape}.")
    truth, labelled = _checked_people(truth, truth_scores, skeleton, min_score, rank=3)
    predicted, found = _checked_people(predicted, predicted_scores, skeleton, min_score, rank=3)
    for name, value in (("truth", truth), ("predicted", predicted), ("heatmaps", heatmaps)):
        if value is not None and len(value) != len(images):
            raise ValueError(f"{name} must have the {len(images)} images' first axis, got {len(value)}.")
    pictures = []
    for index, image in enumerate(images):
        panel, scale = _resized(_checked_image(image), panel_height)
        true_points, points = ((p[index] + 0.5) * scale - 0.5 for p in (truth, predicted))  # [K, 2]
        width = max(1, round(panel_height / 128))
        left = draw_skeletons(panel, true_points[None], labelled[None, index], skeleton, 0.5, width)
        right = draw_skeletons(panel, points[None], found[None, index], skeleton, 0.5, width)
        _draw_errors(right, points, true_points, labelled[index] & found[index])
        panels = [left, right]
        if heatmaps is not None:
            lit = draw_heatmaps(image, heatmaps[index], skeleton, aligned_corners=aligned_corners)
            panels.append(_resized(lit, panel_height)[0])
        pictures.append(_side_by_side(panels))
    return contact_sheet(pictures, columns, gap_px=4 * GAP_PX)  # wider than between the panels of one crop


def contact_sheet(
    pictures: list[np.ndarray],
    columns: int | None = None,
    captions: list[str] | None = None,
    gap_px: int = GAP_PX,
) -> np.ndarray:
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
        >>> picture = contact_sheet([draw_heatmaps(crop, maps, COCO) for crop, maps in zip(crops, heatmaps)], columns=4)
    """
    pictures = [_checked_image(picture) for picture in pictures]
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
            _write(picture, captions[index], (0, picture.shape[0]))
        top, left = index // columns * (height + gap_px), index % columns * (width + gap_px)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def clip_strip(
    keypoints: np.ndarray,
    scores: np.ndarray | None,
    skeleton: Skeleton,
    frame_size: tuple[int, int],
    num_frames: int = 8,
    min_score: float = 0.3,
    panel_height: int = 240,
) -> np.ndarray:
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
        >>> picture = clip_strip(keypoints, scores, COCO, frame_size=(240, 320), num_frames=6)
    """
    keypoints, shown = _checked_people(keypoints, scores, skeleton, min_score, rank=4)
    left, top, right, bottom = _people_box(keypoints[shown], frame_size)
    scale = panel_height / (bottom - top)
    panel_width = max(1, round((right - left) * scale))
    panels = []
    for frame in _spaced_frames(keypoints.shape[1], num_frames):
        panel = np.full((panel_height, panel_width, 3), BACKGROUND, np.uint8)
        moved = (keypoints[:, frame] - (left, top)) * scale  # [M, K, 2]
        panel = draw_skeletons(panel, moved, shown[:, frame], skeleton, 0.5, max(1, round(panel_height / 90)))
        panels.append(_captioned(panel, frame))
    return _side_by_side(panels)


def draw_volume(
    volume: np.ndarray,
    frame: int | None = None,
    colors: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    skeleton: Skeleton | None = None,
    min_score: float = 0.3,
    scale: int = 5,
) -> np.ndarray:
    """Draws one frame of a heatmap volume, one colour a channel, with the skeletons it was made from over it.

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
        >>> picture = draw_volume(volume, frame=24, keypoints=keypoints, scores=scores, skeleton=COCO)
    """
    volume = np.asarray(volume)
    _check_volume(volume, frame, keypoints, skeleton)
    frame = len(volume) // 2 if frame is None else frame
    heat = volume[frame]  # [H, W, C]
    picture = _glow(heat, _channel_colors(heat.shape[-1], colors, skeleton), scale)
    if keypoints is None:
        return picture
    keypoints, shown = _checked_people(keypoints, scores, skeleton, min_score, rank=4)
    if keypoints.shape[1] != len(volume):
        raise ValueError(f"keypoints must have the volume's {len(volume)} frames, got {keypoints.shape[1]}.")
    keypoints = (keypoints[:, frame] + 0.5) * scale - 0.5  # [M, K, 2]; whole numbers are pixel centres here and there
    thin = dataclasses.replace(skeleton, colors=(OVERLAY_COLOR,) * skeleton.num_keypoints)
    return draw_skeletons(picture, keypoints, shown[:, frame], thin, 0.5, line_width=1)


def volume_strip(volume: np.ndarray, num_frames: int = 8, **options) -> np.ndarray:
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
        >>> picture = volume_strip(volume, num_frames=6, keypoints=keypoints, scores=scores, skeleton=COCO)
    """
    frames = _spaced_frames(len(volume), num_frames)
    return _side_by_side([_captioned(draw_volume(volume, frame, **options), frame) for frame in frames])


def confusion_matrix_figure(matrix: np.ndarray, class_names: list[str]) -> Figure:
    """Draws a confusion matrix, each row as shares of its class, with the accuracies in the title.

    Args:
        matrix: counts `[C, C]`, true class by predicted class.
        class_names: C names.

    Returns:
        A Figure that grows with C; up to 20 classes the shares are also written out, in percent. A class without clips
        has a grey row and does not count in the mean class accuracy.

    Raises:
        ValueError: when the matrix is not square, holds negative or non-finite counts, or the names do not fit.

    Example:
        >>> figure = confusion_matrix_figure([[9, 1], [2, 8]], ["walk", "run"])
        >>> figure.savefig("confusion.png")
    """
    matrix = np.asarray(matrix, np.float64)
    _check_confusion(matrix, class_names)
    count = len(matrix)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full_like(matrix, np.nan), where=totals > 0)

    inner = 0.42 * count if count <= 20 else min(0.19 * count, 18.0)  # inches for the cells alone
    font = 9 if count <= 20 else min(6.5, 45 * inner / count)
    figure = Figure(figsize=(inner + 3, inner + 3), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#ececec")
    axes.imshow(shares, cmap=colors, norm=PowerNorm(0.5, vmin=0, vmax=1))  # the root makes rare confusions visible
    axes.set_xticks(range(count), class_names, rotation=90, fontsize=font)
    axes.set_yticks(range(count), class_names, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(_accuracies(matrix, totals), fontsize=font + 2)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="#e6e9f0", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if count <= 20:
        _write_shares(axes, shares)
    return figure


def curves_figure(history: dict[str, list[float]]) -> Figure:
    """Draws training curves: one panel a quantity, the training curve solid and the validation curve dashed.

    Args:
        history: values by epoch, as `keras.callbacks.History.history` has them: `val_x` is drawn with `x`.

    Returns:
        A Figure with the panels side by side.

    Raises:
        ValueError: when there is nothing to draw.

    Example:
        >>> figure = curves_figure({"loss": [2.1, 1.2], "val_loss": [2.0, 1.5], "accuracy": [0.3, 0.6]})
    """
    if not any(len(values) for values in history.values()):
        raise ValueError("history must hold at least one value, got none; train for an epoch first.")
    quantities = list(dict.fromkeys(name.removeprefix("val_") for name in history))
    figure = Figure(figsize=(4.4 * len(quantities), 3.2), dpi=120, layout="constrained")
    for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        styles = (("train", quantity, "#2f6fde", "-"), ("validation", f"val_{quantity}", "#e8743b", "--"))
        for label, name, color, line in styles:
            values = history.get(name, [])
            if len(values):
                epochs = range(1, len(values) + 1)
                marker = "o" if len(values) == 1 else None  # a line through one point would not be seen
                axes.plot(epochs, values, color=color, linestyle=line, linewidth=1.8, marker=marker, label=label)
        axes.set_title(quantity.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#e6e9f0")
        axes.spines[["top", "right"]].set_visible(False)
        if f"val_{quantity}" in history:
            axes.legend(frameon=False)
    return figure


def figure_to_image(figure: Figure) -> np.ndarray:
    """Renders a figure.

    Args:
        figure: any matplotlib Figure.

    Returns:
        RGB uint8 `[H, W, 3]`, H and W being the figure's size in inches times its dpi.

    Example:
        >>> figure_to_image(Figure(figsize=(4, 3), dpi=100)).shape
        (300, 400, 3)
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# ---------------------------------------- people
def _fixed_point(points):
    """Pixels as OpenCV's drawing functions take fractions of them, kept from overflowing."""
    return np.round(np.clip(points, -FAR_PX, FAR_PX) * 2**SUBPIXEL_BITS).astype(int)


def _write_labels(image, labels, keypoints, shown, boxes):
    if len(labels) != len(keypoints):
        raise ValueError(f"labels must be {len(keypoints)}, one per person, got {len(labels)}.")
    for index, label in enumerate(labels):
        if boxes is not None:
            _write(image, label, boxes[index, :2])
        elif shown[index].any():
            _write(image, label, keypoints[index][shown[index]].min(axis=0))


def _write(image, text, corner):
    """Writes a text above a point (x, y), on a ground of its own, and wholly inside the image if it fits at all."""
    scale = max(0.35, np.sqrt(image.shape[0] * image.shape[1]) / 1400)
    (width, height), below = cv2.getTextSize(str(text), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    height += below + 2
    left = int(np.clip(corner[0], 0, max(0, image.shape[1] - width - 2)))
    bottom = int(np.clip(corner[1], min(height, image.shape[0] - 1), image.shape[0] - 1))
    cv2.rectangle(image, (left, bottom - height), (left + width + 1, bottom), BACKGROUND, cv2.FILLED)
    place = left + 1, bottom - below
    cv2.putText(image, str(text), place, cv2.FONT_HERSHEY_SIMPLEX, scale, BOX_COLOR, 1, cv2.LINE_AA)


def _draw_errors(image, points, true_points, shown):
    for start, end in zip(_fixed_point(points[shown]).tolist(), _fixed_point(true_points[shown]).tolist(), strict=True):
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


def _resized(image, height):
    """The image brought to a height, and by how much."""
    scale = height / image.shape[0]
    size = max(1, round(image.shape[1] * scale)), height
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=method), np.array([size[0] / image.shape[1], scale])


# ---------------------------------------- panels
def _spaced_frames(total, num_frames):
    if total < 1:
        raise ValueError("a clip must have at least one frame, got 0; skip empty clips.")
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}.")
    return np.linspace(0, total - 1, min(num_frames, total)).round().astype(int).tolist()


def _captioned(panel, frame):
    size = panel.shape[0] / 640
    place = round(12 * size) + 2, panel.shape[0] - round(14 * size) - 2
    return cv2.putText(panel, str(frame), place, cv2.FONT_HERSHEY_SIMPLEX, size, CAPTION_COLOR, 1, cv2.LINE_AA)


def _side_by_side(panels):
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    pieces = [piece for panel in panels for piece in (gap, panel)]
    return np.concatenate(pieces[1:], axis=1)


def _people_box(points, frame_size):
    """Left, top, right, bottom of the box around the points `[N, 2]`, with a margin; the whole frame for none."""
    if not len(points):
        height, width = frame_size
        return 0.0, 0.0, float(width), float(height)
    points = np.clip(points, 0, (frame_size[1], frame_size[0]))  # a stray point must not shrink the people
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * max(*(high - low), 8.0)  # a box of one point still has a size
    return *(low - margin), *(high + margin)


# ---------------------------------------- volumes
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


def _channel_colors(count, colors, skeleton):
    if colors is None and skeleton is not None and count == skeleton.num_keypoints:
        return skeleton.colors
    if colors is None and skeleton is not None and count == skeleton.num_edges:
        return skeleton.edge_colors
    if colors is None:
        return [tuple(255 * part for part in colorsys.hsv_to_rgb(index / count, 0.75, 1)) for index in range(count)]
    if np.shape(colors) != (count, 3):
        raise ValueError(f"colors must be {count} RGB triples, one per channel, got shape {np.shape(colors)}.")
    return colors


# ---------------------------------------- confusion
def _accuracies(matrix, totals):
    if not totals.sum():
        return "no clips"
    per_class = np.diag(matrix)[totals[:, 0] > 0] / totals[totals > 0]
    return f"top-1 {matrix.trace() / matrix.sum():.1%}, mean class {per_class.mean():.1%}"


def _write_shares(axes, shares):
    for row, column in np.argwhere(shares >= 0.005):  # what would read 0 is left out
        share = shares[row, column]
        color = "white" if share > 0.3 else "#33405c"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=color, fontsize=8)


# ---------------------------------------- checks
def _checked_image(image):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be RGB uint8 [H, W, 3], got {image.dtype} {image.shape}; convert it first.")
    return np.array(image, order="C")  # a copy of our own to draw on


def _checked_people(keypoints, scores, skeleton, min_score, rank):
    """Keypoints as float, and which of them are to be drawn: same shape without the last axis."""
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.ndim != rank or keypoints.shape[-2:] != (skeleton.num_keypoints, 2):
        wanted = f"[{'M' if rank == 3 else 'M, T'}, {skeleton.num_keypoints}, 2]"
        raise ValueError(f"keypoints of {skeleton.name} must be {wanted}, got {keypoints.shape}; check the skeleton.")
    scores = np.ones(keypoints.shape[:-1]) if scores is None else np.asarray(scores)
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f"scores must be {keypoints.shape[:-1]}, one per keypoint, got {scores.shape}.")
    return keypoints, np.isfinite(keypoints).all(axis=-1) & (scores >= min_score)


def _checked_boxes(boxes, count):
    if boxes is None:
        return None
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (count, 4) or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be finite [{count}, 4], one per person, got {boxes.shape}; leave out the others.")
    return boxes


def _check_volume(volume, frame, keypoints, skeleton):
    if volume.ndim != 4 or not volume.size:
        raise ValueError(f"volume must be [T, H, W, C] and not empty, got {volume.shape}; take one clip of a batch.")
    if frame is not None and not 0 <= frame < len(volume):
        raise ValueError(f"frame must be 0 to {len(volume) - 1}, got {frame}; None takes the middle one.")
    if keypoints is not None and skeleton is None:
        raise ValueError(
            "keypoints need their skeleton to be drawn, got none; give skeleton=skeletons.COCO or another."
        )


def _check_confusion(matrix, class_names):
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"a confusion matrix must be square, true by predicted class, got {matrix.shape}.")
    if not np.isfinite(matrix).all() or matrix.min() < 0:
        raise ValueError("a confusion matrix must hold counts of 0 or more, got negative or non-finite ones.")
    if len(class_names) != len(matrix):
        raise ValueError(f"class_names must be {len(matrix)}, one per class, got {len(class_names)}.")
