"""Pictures: skeletons on images and over time, heatmap volumes, confusion matrices and training curves.

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
) -> np.ndarray:
    """Draws people on an image: limbs, and joints over them.

    A joint is left out where its score is below `min_score` or its position is not finite, a limb where one of its ends
    is; what lies outside the image is cut off at its border.

    Args:
        image: RGB uint8 `[H, W, 3]`; it is not changed.
        keypoints: `[M, K, 2]`, pixels of the image, x first; a pixel's centre has whole coordinates.
        scores: `[M, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        min_score: the lowest score that is drawn.
        line_width: pixels; None goes by the size of the image.

    Returns:
        RGB uint8 `[H, W, 3]`.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> picture = draw_skeletons(np.zeros((240, 320, 3), np.uint8), keypoints, scores, COCO)
    """
    image = _checked_image(image)
    keypoints, shown = _checked_people(keypoints, scores, skeleton, min_score, rank=3)
    width = line_width or max(1, round(np.sqrt(image.shape[0] * image.shape[1]) / 200))
    points = np.clip(np.where(shown[..., None], keypoints, 0), -FAR_PX, FAR_PX)
    points = np.round(points * 2**SUBPIXEL_BITS).astype(int)  # [M, K, 2]
    for person, visible in zip(points, shown, strict=True):
        for (a, b), color in zip(skeleton.edges, skeleton.edge_colors, strict=True):
            if visible[a] and visible[b]:
                start, end = person[a].tolist(), person[b].tolist()
                cv2.line(image, start, end, color, width, cv2.LINE_AA, SUBPIXEL_BITS)
        radius = round(1.4 * width * 2**SUBPIXEL_BITS)
        for joint in np.flatnonzero(visible):
            center = person[joint].tolist()
            cv2.circle(image, center, radius, skeleton.colors[joint], cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    return image


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
