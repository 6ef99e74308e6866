"""Pictures: skeletons and heatmaps on images, clips, heatmap volumes, 3D poses, confusion matrices, training curves.

Pictures are RGB uint8 arrays `[H, W, 3]`, figures are matplotlib Figures; `figure_to_image` turns one into the other.
Nothing here touches matplotlib's global state, so the functions work in any thread and without a display.

Example:
    >>> from kerapose import skeletons, visualize
    >>> picture = visualize.clip_strip(keypoints, scores, skeletons.COCO, frame_size=(240, 320))
"""

import collections.abc
import colorsys
import dataclasses
import fractions
import io
import pathlib

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from kerapose.skeletons import Skeleton

BACKGROUND = (19, 22, 31)
OVERLAY_COLOR = (178, 184, 198)  # of the skeleton over a volume, so that colours belong to the heatmaps alone
CAPTION_COLOR = (140, 147, 163)
GAP_PX = 4  # between the panels of a strip
PADDING_COLOR = (255, 255, 255)  # between pictures and where one is smaller than its cell
BOX_COLOR = (240, 240, 240)
ERROR_COLOR = (255, 255, 255)  # of the line from where a joint was found to where it is
STRAY = 0.5  # of the size of most points: what is farther from them does not count for what a panel has to hold
MARGIN = 0.12  # of the larger side of the people's box, left free around them
FAR_PX = 1e6  # beyond this OpenCV's fixed-point coordinates overflow
SUBPIXEL_BITS = 4

# Poses in space are drawn from one side and a little above: straight from the camera an error of depth would not show.
AZIMUTH_DEG = 40.0
ELEVATION_DEG = 15.0
UPRIGHT = {  # rows: to the right, forward and up, as seen from the camera and in the world
    "camera": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "world": np.eye(3),
}
TRUTH_COLOR = (148, 154, 170)  # of the true pose behind the predicted one
LIMB_M = 0.03  # width of a limb, where the panel has pixels enough to draw it finer
GRID_COLOR = (52, 58, 74)
GRID_STEPS_M = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
GRID_CELLS = 6  # along a side, at most
FADE = 0.5  # how far the colour of what is farthest away has gone into the background
ASPECT = 0.75, 1.5  # least and most width of a panel without an image, of its height
GIF_MAX_FPS = 50  # browsers slow down a GIF that asks for more


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


def draw_pose_3d(
    poses_m: np.ndarray,
    skeleton: Skeleton,
    truth_m: np.ndarray | None = None,
    axes: str = "camera",
    azimuth: float = AZIMUTH_DEG,
    elevation: float = ELEVATION_DEG,
    panel_height: int = 320,
) -> np.ndarray:
    """Draws poses in space over a grid on the floor, in parallel projection: a metre is as long wherever it is.

    What is nearer lies over what is farther away and is brighter. The floor is at the lowest joint. Joints that are not
    finite are left out with their limbs. The picture holds the whole truth; a prediction far off it is cut.

    Args:
        poses_m: `[J, 3]` or `[M, J, 3]`, metres.
        skeleton: the set the joints are in.
        truth_m: the true poses, of the same shape, drawn in grey behind; their mean distance from the others, in
            millimetres, is written below. None for none.
        axes: "camera" for x right, y down, z forward; "world" for z up.
        azimuth: degrees by which the viewer has walked round the people, to the right; 0 looks along the camera's z, or
            the world's y.
        elevation: degrees by which the viewer looks down.
        panel_height: pixels, and the width as well.

    Returns:
        RGB uint8 `[panel_height, panel_height, 3]`.

    Raises:
        ValueError: when a shape does not fit, or there are no such axes.

    Example:
        >>> picture = draw_pose_3d(pose_m, H36M, truth_m)  # [17, 3]
    """
    poses = _checked_poses(poses_m, skeleton, "poses_m", frames=False)  # [M, 1, J, 3]
    truth = _checked_truth(truth_m, poses, skeleton, frames=False)
    stage = _set_up_stage(poses, truth, axes, azimuth, elevation, panel_height)
    return _captioned(*_stage_panel(stage, poses[:, 0], None if truth is None else truth[:, 0], skeleton))


def draw_lift(
    keypoints: np.ndarray,
    poses_m: np.ndarray,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: np.ndarray | None = None,
    image: np.ndarray | None = None,
    **options,
) -> np.ndarray:
    """Draws the 2D keypoints that a lifter was given beside the 3D poses that it gave.

    Args:
        keypoints: `[K, 2]` or `[M, K, 2]`, pixels of the image, x first.
        poses_m: `[J, 3]` or `[M, J, 3]`, metres.
        skeleton: the set the keypoints are in.
        pose_skeleton: the set the poses are in.
        truth_m: the true poses, of the shape of `poses_m`, drawn in grey behind; None for none.
        image: RGB uint8 `[H, W, 3]`, shown whole behind the keypoints; None for a blank cut to the people.
        **options: `axes`, `azimuth`, `elevation` and `panel_height` of `draw_pose_3d`; `scores` of the keypoints,
            `[K]` or `[M, K]`, and `min_score`, the lowest that is drawn, 0.3.

    Returns:
        RGB uint8 `[panel_height, width, 3]`.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> picture = draw_lift(keypoints, pose_m, COCO, H36M, image=frame)  # [17, 2], [17, 3]
    """
    poses = _checked_poses(poses_m, pose_skeleton, "poses_m", frames=False)  # [M, 1, J, 3]
    truth = _checked_truth(truth_m, poses, pose_skeleton, frames=False)
    keypoints = _one_frame(keypoints, rank=2)
    if options.get("scores") is not None:
        options["scores"] = _one_frame(options["scores"], rank=1)
    images = None if image is None else [image]
    flat, solid, caption = next(_lift_panels(keypoints, poses, skeleton, pose_skeleton, truth, images, **options))
    return _side_by_side([flat, _captioned(solid, caption)])


def lift_strip(
    keypoints: np.ndarray,
    poses_m: np.ndarray,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: np.ndarray | None = None,
    frames: collections.abc.Iterable[np.ndarray] | None = None,
    num_frames: int = 6,
    **options,
) -> np.ndarray:
    """Draws a lifted track over time: evenly spaced frames in a row, the 3D pose of each below its 2D keypoints.

    All panels of a row show the same place at the same scale, so that what moves in them is the person.

    Args:
        keypoints: `[T, K, 2]` or `[M, T, K, 2]`, pixels of the frame, x first.
        poses_m: `[T, J, 3]` or `[M, T, J, 3]`, metres.
        skeleton: the set the keypoints are in.
        pose_skeleton: the set the poses are in.
        truth_m: the true poses, of the shape of `poses_m`, drawn in grey behind; None for none.
        frames: T images, RGB uint8 `[H, W, 3]`, an array or anything that gives one after another; None for a blank cut
            to where the people go.
        num_frames: columns, fewer when the track is shorter.
        **options: as for `draw_lift`, with `scores` `[T, K]` or `[M, T, K]`.

    Returns:
        RGB uint8 `[2 * panel_height + a gap, width, 3]`; the number in a panel's corner is its frame.

    Raises:
        ValueError: when a shape does not fit, or the track has no frames.

    Example:
        >>> picture = lift_strip(keypoints, poses_m, COCO, H36M, num_frames=8)  # [T, 17, 2], [T, 17, 3]
    """
    shown = _spaced_frames(np.shape(poses_m)[-3] if np.ndim(poses_m) > 2 else 1, num_frames)
    drawn = list(_lift_panels(keypoints, poses_m, skeleton, pose_skeleton, truth_m, frames, shown, **options))
    width = max(panel.shape[1] for flat, solid, _ in drawn for panel in (flat, solid))
    above = [_captioned(_centered(flat, width), frame) for frame, (flat, _, _) in zip(shown, drawn, strict=True)]
    below = [_captioned(_centered(solid, width), caption) for _, solid, caption in drawn]
    return contact_sheet([_side_by_side(above), _side_by_side(below)], columns=1)


def write_animation(
    path: str | pathlib.Path,
    keypoints: np.ndarray,
    poses_m: np.ndarray,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: np.ndarray | None = None,
    frames: collections.abc.Iterable[np.ndarray] | None = None,
    fps: float = 30.0,
    progress: bool = False,
    **options,
) -> int:
    """Writes a lifted track as a GIF or an MP4 (H.264): the 2D keypoints left, the 3D poses right.

    Viewpoint and scale stay the same all through. A GIF shows at most 50 frames a second, so of a faster track it has
    every second or third frame; it is played at the speed of the track all the same.

    Args:
        path: of the file, ending in .gif or .mp4; its folder is made if need be. A file that is there is replaced.
        keypoints: `[T, K, 2]` or `[M, T, K, 2]`, pixels of the frame, x first.
        poses_m: `[T, J, 3]` or `[M, T, J, 3]`, metres.
        skeleton: the set the keypoints are in.
        pose_skeleton: the set the poses are in.
        truth_m: the true poses, of the shape of `poses_m`, drawn in grey behind; None for none.
        frames: T images of one size, RGB uint8 `[H, W, 3]`, an array or anything that gives one after another, as the
            reader of a video does; None for a blank cut to where the people go.
        fps: frames a second of the track.
        progress: whether to print a bar.
        **options: as for `draw_lift`, with `scores` `[T, K]` or `[M, T, K]`.

    Returns:
        The number of frames in the file.

    Raises:
        ValueError: when a shape, the number of frames, `fps` or the ending of the path does not fit.

    Example:
        >>> write_animation("walk.mp4", keypoints, poses_m, COCO, H36M, fps=50)  # [T, 17, 2], [T, 17, 3]
        243
    """
    path = pathlib.Path(path)
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise ValueError(f"path must end in .gif or .mp4, got {str(path)!r}.")
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}.")
    total = np.shape(poses_m)[-3] if np.ndim(poses_m) > 2 else 1
    step = int(np.ceil(fps / GIF_MAX_FPS)) if ending == ".gif" else 1
    shown = range(0, total, step)
    drawn = _lift_panels(keypoints, poses_m, skeleton, pose_skeleton, truth_m, frames, shown, **options)
    pictures = (
        _side_by_side([_captioned(flat, frame), _captioned(solid, caption)])
        for frame, (flat, solid, caption) in zip(shown, drawn, strict=True)
    )
    pictures = _with_bar(pictures, len(shown)) if progress else pictures
    if ending == ".gif":
        content = _gif(pictures, len(shown), fps / step, skeleton.colors + pose_skeleton.colors)
    else:
        content = _mp4(pictures, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)  # only now: a track that is refused half way must not leave half a file
    return len(shown)


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


# ---------------------------------------- poses in space
@dataclasses.dataclass(frozen=True)
class _Stage:
    """What stays the same over the frames of a track."""

    rotation: np.ndarray  # [3, 3] from the axes of the poses to those of the viewer: right, down, away
    center: np.ndarray  # [2] metres right and down, shown in the middle
    scale: float  # pixels a metre
    depths: tuple[float, float]  # the nearest and the farthest, metres
    ground: np.ndarray  # [H, W, 3], the panel before anybody is on it
    grid_m: float

    def place(self, points):
        """Points `[..., 3]` as pixels `[..., 2]`, and how far away each is, from 0 to 1 `[...]`."""
        seen = points @ self.rotation.T
        nearest, farthest = self.depths
        away = np.clip((seen[..., 2] - nearest) / max(farthest - nearest, 1e-6), 0, 1)
        return (seen[..., :2] - self.center) * self.scale + self.ground.shape[0] / 2, away


def _set_up_stage(poses, truth, axes, azimuth, elevation, size):
    """Viewpoint, scale and floor for poses `[M, T, J, 3]`, of which the truth, where there is one, is wholly shown."""
    if axes not in UPRIGHT:
        raise ValueError(f"axes must be 'camera' (y down) or 'world' (z up), got {axes!r}.")
    if not np.isfinite([azimuth, elevation]).all():
        raise ValueError(f"azimuth and elevation must be finite degrees, got {azimuth} and {elevation}.")
    turn, tilt = np.deg2rad([azimuth, elevation])
    viewer = np.array(
        [
            [np.cos(turn), np.sin(turn), 0],
            [np.sin(turn) * np.sin(tilt), -np.cos(turn) * np.sin(tilt), -np.cos(tilt)],
            [-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), -np.sin(tilt)],
        ]
    )
    points = _fitted_points(poses, truth) @ UPRIGHT[axes].T  # [N, 3] right, forward, up
    low, high = points.min(axis=0), points.max(axis=0)
    lines, grid_m = _floor_lines(low, high)  # [L, 2, 3]
    seen = np.concatenate([points, lines.reshape(-1, 3)]) @ viewer.T
    nearest, left_top = (points @ viewer.T)[:, 2].min(), seen[:, :2].min(axis=0)
    extent = seen[:, :2].max(axis=0) - left_top
    stage = _Stage(
        rotation=viewer @ UPRIGHT[axes],
        center=left_top + extent / 2,
        scale=size * (1 - MARGIN) / max(*extent, 1e-6),
        depths=(nearest, (points @ viewer.T)[:, 2].max()),
        ground=np.full((size, size, 3), BACKGROUND, np.uint8),
        grid_m=grid_m,
    )
    for line in _fixed_point(stage.place(lines @ UPRIGHT[axes])[0]).tolist():
        cv2.line(stage.ground, *line, GRID_COLOR, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    return stage


def _fitted_points(poses, truth):
    """The joints `[N, 3]` that a panel has to hold: all, but with those moved in that would shrink the others."""
    points = _finite_points(poses)
    if truth is None or not len(_finite_points(truth)):
        return _moved_in(points, *np.percentile(points, (10, 90), axis=0), STRAY) if len(points) else np.zeros((1, 3))
    true_points = _finite_points(truth)
    near = _moved_in(points, true_points.min(axis=0), true_points.max(axis=0), 0.2)
    return np.concatenate([true_points, near])


def _finite_points(points):
    return points[np.isfinite(points).all(axis=-1)]


def _moved_in(points, low, high, share):
    """The points, kept inside a box that is grown by a share of its longest side."""
    reach = share * max(high - low)
    return np.clip(points, low - reach, high + reach)


def _floor_lines(low, high):
    """The lines `[L, 2, 3]` of a grid under the box from `low` to `high` (right, forward, up), and its cells' size."""
    longest = max(high[:2] - low[:2])
    step = next((step for step in GRID_STEPS_M if longest <= (GRID_CELLS - 2) * step), longest / (GRID_CELLS - 2))
    first, last = np.floor(low[:2] / step), np.ceil(high[:2] / step)
    last = np.maximum(last, first + 1)
    ticks = [np.arange(first[axis], last[axis] + 1) * step for axis in (0, 1)]
    along = [[(x, ticks[1][0], low[2]), (x, ticks[1][-1], low[2])] for x in ticks[0]]
    across = [[(ticks[0][0], y, low[2]), (ticks[0][-1], y, low[2])] for y in ticks[1]]
    return np.array(along + across), step


def _stage_panel(stage, poses, truth, skeleton):
    """One frame on the stage, poses and truth `[M, J, 3]`, and what to write below it."""
    panel = stage.ground.copy()
    caption = f"grid {stage.grid_m:.3g} m"
    if truth is not None:
        _draw_on_stage(panel, stage, truth, skeleton, TRUTH_COLOR)
        errors = np.linalg.norm(poses - truth, axis=-1)
        if np.isfinite(errors).any():
            caption = f"{1000 * errors[np.isfinite(errors)].mean():.0f} mm, {caption}"
    _draw_on_stage(panel, stage, poses, skeleton, edged=truth is None)  # an edge would break the lines of the truth
    return panel, caption


def _draw_on_stage(panel, stage, poses, skeleton, color=None, edged=False):
    """Limbs and joints from the farthest to the nearest, in the skeleton's colours, or thinly in a single one.

    Edged limbs have a dark edge along their middle, which shows which of two that cross is in front.
    """
    shown = np.isfinite(poses).all(axis=-1)  # [M, J]
    points, away = stage.place(np.where(shown[..., None], poses, 0))
    points = _fixed_point(points)
    pieces = []  # how far away, its ends, its colour
    for person, visible, depth in zip(points.tolist(), shown, away, strict=True):
        for (a, b), edge_color in zip(skeleton.edges, skeleton.edge_colors, strict=True):
            if visible[a] and visible[b]:
                pieces.append(((depth[a] + depth[b]) / 2, (person[a], person[b]), edge_color))
        if color is None:
            for joint in np.flatnonzero(visible):
                pieces.append((depth[joint], (person[joint],), skeleton.colors[joint]))
    width = max(2, min(round(panel.shape[0] / 110), round(LIMB_M * stage.scale)))
    for depth, ends, own_color in sorted(pieces, key=lambda piece: -piece[0]):
        faded = ((1 - FADE * depth) * np.array(own_color) + FADE * depth * np.array(BACKGROUND)).tolist()
        if color is not None:
            cv2.line(panel, *ends, color, max(1, round(0.6 * width)), cv2.LINE_AA, SUBPIXEL_BITS)
        elif len(ends) == 1:
            radius = round(0.8 * width * 2**SUBPIXEL_BITS)
            cv2.circle(panel, ends[0], radius, faded, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            start, end = np.array(ends)
            if edged and np.hypot(*(end - start)) > 10 * width * 2**SUBPIXEL_BITS:
                middle = np.round([start + 0.2 * (end - start), end + 0.2 * (start - end)]).astype(int).tolist()
                cv2.line(panel, *middle, BACKGROUND, width + 3, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.line(panel, *ends, faded, width, cv2.LINE_AA, SUBPIXEL_BITS)


def _lift_panels(
    keypoints,
    poses_m,
    skeleton,
    pose_skeleton,
    truth_m,
    images,
    shown=(0,),
    scores=None,
    axes="camera",
    azimuth=AZIMUTH_DEG,
    elevation=ELEVATION_DEG,
    min_score=0.3,
    panel_height=320,
):
    """Yields panel in 2D, panel in 3D and its caption for the frames `shown` of a track, all seen in the same way."""
    poses = _checked_poses(poses_m, pose_skeleton, "poses_m")  # [M, T, J, 3]
    truth = _checked_truth(truth_m, poses, pose_skeleton)
    keypoints, scores = np.asarray(keypoints), None if scores is None else np.asarray(scores)
    if keypoints.ndim == 3:
        keypoints, scores = keypoints[None], None if scores is None else scores[None]
    keypoints, certain = _checked_people(keypoints, scores, skeleton, min_score, rank=4)
    if keypoints.shape[1] != poses.shape[1]:
        raise ValueError(f"poses_m must have the keypoints' {keypoints.shape[1]} frames, got {poses.shape[1]}.")
    stage = _set_up_stage(poses, truth, axes, azimuth, elevation, panel_height)
    box = _steady_box(keypoints[certain]) if images is None else None
    size = None
    for frame, image in enumerate([None] * poses.shape[1] if images is None else _exactly(images, poses.shape[1])):
        size = size or np.shape(image)
        if np.shape(image) != size:
            raise ValueError(f"all frames must have the size of the first, {size}, got {np.shape(image)} at {frame}.")
        if frame in shown:
            flat = _flat_panel(image, keypoints[:, frame], certain[:, frame], skeleton, box, panel_height)
            true_poses = None if truth is None else truth[:, frame]
            yield flat, *_stage_panel(stage, poses[:, frame], true_poses, pose_skeleton)


def _one_frame(values, rank):
    """Values of one person, of this rank, or of several people with an axis of one frame before those of a person."""
    values = np.asarray(values)
    return np.expand_dims(values, -rank - 1) if values.ndim >= rank else values


def _flat_panel(image, keypoints, shown, skeleton, box, height):
    """People `[M, K, 2]` on the image brought to a height, or on a blank that shows the box."""
    if image is None:
        left, top, right, bottom = box
        scale = height / (bottom - top)
        panel = np.full((height, round((right - left) * scale), 3), BACKGROUND, np.uint8)
        points = (keypoints - (left, top)) * scale
    else:
        panel, scale = _resized(_checked_image(image), height)
        points = (keypoints + 0.5) * scale - 0.5  # whole numbers are pixel centres here and there
    return draw_skeletons(panel, points, shown, skeleton, 0.5, max(2, round(height / 110)))


def _steady_box(points):
    """Left, top, right, bottom of the box round the points `[N, 2]` of a whole track, neither narrow nor flat."""
    if not len(points):
        return 0.0, 0.0, 1.0, 1.0
    points = _moved_in(points, *np.percentile(points, (10, 90), axis=0), STRAY)
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = (high - low) + 2 * MARGIN * max(*(high - low), 1e-3)
    width, height = max(width, ASPECT[0] * height), max(height, width / ASPECT[1])
    (x, y), half = (low + high) / 2, (width / 2, height / 2)
    return x - half[0], y - half[1], x + half[0], y + half[1]


def _centered(panel, width):
    """The panel in the middle of a wider one of the background's colour."""
    left = (width - panel.shape[1]) // 2
    wide = np.full((panel.shape[0], width, 3), BACKGROUND, np.uint8)
    wide[:, left : left + panel.shape[1]] = panel
    return wide


def _exactly(frames, count):
    """Passes the frames on, if there are so many."""
    seen = 0
    for frame in frames:
        seen += 1
        if seen > count:
            raise ValueError(f"frames must be {count}, one per pose, got more; cut them to the track.")
        yield frame
    if seen < count:
        raise ValueError(f"frames must be {count}, one per pose, got {seen}; cut the track to them.")


# ---------------------------------------- files
def _gif(pictures, count, fps, colors):
    """Pictures as a GIF with one palette for all: those of each frame for itself would flicker."""
    pictures = iter(pictures)
    first = next(pictures)
    shades = np.linspace(0, 1, 6)[:, None, None]
    swatches = shades * np.array(sorted(set(colors))) + (1 - shades) * np.array(BACKGROUND)  # [6, N, 3]
    swatches = np.tile(swatches.reshape(1, -1, 3), (8, 1, 1)).round().astype(np.uint8)
    sample = np.full((first.shape[0] + 8, max(first.shape[1], swatches.shape[1]), 3), BACKGROUND, np.uint8)
    sample[: first.shape[0], : first.shape[1]], sample[-8:, : swatches.shape[1]] = first, swatches
    palette = Image.fromarray(sample).quantize(256)

    def indexed(picture):
        return Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)

    # A GIF counts in hundredths of a second: rounded one by one the delays would add up to another speed.
    times_ms = 10 * np.round(100 * np.arange(count + 1) / fps).astype(int)
    options = {"save_all": True, "duration": np.diff(times_ms).tolist(), "loop": 0}
    buffer = io.BytesIO()
    indexed(first).save(buffer, "GIF", append_images=(indexed(picture) for picture in pictures), **options)
    return buffer.getvalue()


def _mp4(pictures, fps):
    """Pictures as H.264 in an MP4 that browsers play."""
    import av  # late, since it brings the whole of FFmpeg with it

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = fractions.Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            odd = [side % 2 for side in picture.shape[:2]]  # chroma has half the size, so sides must be even
            picture = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def _with_bar(pictures, count):
    """Passes the pictures on and prints how many there have been."""
    from keras.utils import Progbar  # late, since a backend starts with it and no picture needs one

    bar = Progbar(count, unit_name="frame")
    for picture in pictures:
        yield picture
        bar.add(1)


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


def _checked_poses(poses, skeleton, name, frames=True):
    """Poses as float `[M, T, J, 3]`, people and frames added where they are not given."""
    poses = np.asarray(poses, np.float64)
    ranks = (3, 4) if frames else (2, 3)
    if poses.ndim not in ranks or poses.shape[-2:] != (skeleton.num_keypoints, 3):
        axes = f"[T, {skeleton.num_keypoints}, 3] or [M, T, " if frames else f"[{skeleton.num_keypoints}, 3] or [M, "
        raise ValueError(
            f"{name} of {skeleton.name} must be {axes}{skeleton.num_keypoints}, 3], got {poses.shape}; "
            "check the skeleton."
        )
    poses = poses if poses.ndim == ranks[1] else poses[None]
    poses = poses if frames else poses[:, None]
    if not poses.shape[1]:
        raise ValueError(f"{name} must have at least one frame, got 0; skip empty tracks.")
    return poses


def _checked_truth(truth, poses, skeleton, frames=True):
    if truth is None:
        return None
    truth = _checked_poses(truth, skeleton, "truth_m", frames)
    if truth.shape != poses.shape:
        raise ValueError(f"truth_m must have the shape of poses_m, {poses.shape}, got {truth.shape}.")
    return truth


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
