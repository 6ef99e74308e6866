"""Videos with their people: strips of frames, attention laid over them, and videos with the skeletons drawn in."""

import pathlib
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array, Path
from kerapose.visualize.animations import encode_mp4, with_bar
from kerapose.visualize.images import contact_sheet, draw_skeletons, write_text
from kerapose.visualize.panels import (
    MARGIN,
    SUBPIXEL_BITS,
    checked_image,
    checked_people,
    fixed_point,
    resized,
    spaced_frames,
)

HEAT_COLOR = (255, 64, 190)  # of none of the skeletons' joints
HEAT_OPACITY = 0.85  # where attention is highest
JOINT_EDGE = (255, 255, 255)  # round a joint, so that it stands out from heat of any strength
LARGEST_JOINT = 0.05  # of the panel's height: the radius of the joint that is attended to most
TINY = 1e-12  # in place of a zero to divide by
FULL_SHARE = 1.001  # rounding in half precision must not be refused


def video_strip(
    frames: Array,
    keypoints: Array,
    scores: Array | None,
    skeleton: Skeleton,
    num_frames: int = 8,
    cropped: bool = False,
    min_score: float = 0.3,
    panel_height: int = 240,
) -> Array:
    """Draws evenly spaced frames of a video side by side, with the skeletons of their people.

    Args:
        frames: RGB uint8 `[T, H, W, 3]`.
        keypoints: `[M, T, K, 2]`, pixels of the frames, x first; a pixel's centre has whole coordinates.
        scores: `[M, T, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        num_frames: panels, fewer when the video is shorter.
        cropped: whether to show only where the people go in all of the video, with a margin, in place of whole frames.
        min_score: the lowest score that is drawn.
        panel_height: pixels.

    Returns:
        RGB uint8 `[panel_height, width, 3]`; the number in a panel's corner is its frame.

    Raises:
        ValueError: when a shape does not fit, or the video has no frames.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> frames = np.repeat(image[None], 30, axis=0)  # [T, H, W, 3]
        >>> visualize.video_strip(frames, keypoints, scores, skeletons.COCO, num_frames=4).shape
        (240, 1292, 3)
    """
    frames = _checked_frames(frames)
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=4)
    _check_count("keypoints", keypoints.shape[1], frames)
    top, bottom, left, right = 0, frames.shape[1], 0, frames.shape[2]
    if cropped:
        top, bottom, left, right = _people_part(keypoints[shown], frames.shape[1:3])
    chosen = spaced_frames(len(frames), num_frames)
    panels = []
    for frame in chosen:
        panel, scale = resized(np.ascontiguousarray(frames[frame, top:bottom, left:right]), panel_height)
        points = _enlarged(keypoints[:, frame] - (left, top), scale)  # [M, K, 2]
        panels.append(draw_skeletons(panel, points, shown[:, frame], skeleton, 0.5, max(1, round(panel_height / 120))))
    return contact_sheet(panels, columns=len(panels), captions=[str(frame) for frame in chosen])


def draw_attention(
    frames: Array,
    grid: Array,
    joints: Array,
    keypoints: Array,
    scores: Array | None,
    skeleton: Skeleton,
    num_frames: int = 8,
    min_score: float = 0.3,
    panel_height: int = 240,
) -> Array:
    """Draws where a network looks: heat over evenly spaced frames, and joints as large as the attention they get.

    The frames are greyed, so that colours are attention's. Heat begins at the average over all places of the clip and
    is strongest at the place that gets most, or at twice the average if none gets as much: attention that is spread
    evenly leaves the frames grey. The area of a joint is in proportion to its attention; the largest is that of the
    joint that gets most, or of twice the average likewise. So places can be compared with each other and over time, and
    joints likewise, but joints with places only by the shares written below.

    Args:
        frames: RGB uint8 `[T, H, W, 3]`, as the network was shown them.
        grid: `[T, gh, gw]` attention to the places of a grid over each frame, 0 to 1.
        joints: `[T, K]` attention to each joint, 0 to 1; with the grid's it adds up to 1 at most.
        keypoints: `[M, T, K, 2]`, pixels of the frames, x first. People share the attention to a joint.
        scores: `[M, T, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        num_frames: panels, fewer when the clip is shorter.
        min_score: the lowest score that is drawn.
        panel_height: pixels.

    Returns:
        RGB uint8 `[panel_height, width, 3]`; below each panel its frame and, of all attention, the shares that the
        frame's places and its joints have.

    Raises:
        ValueError: when a shape does not fit, attention is no such share, or the clip has no frames.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> frames = np.repeat(image[None], 30, axis=0)
        >>> grid, joints = np.full((30, 6, 8), 0.0003), np.full((30, 17), 0.001)  # of STARTransformer.attention_maps
        >>> visualize.draw_attention(frames, grid, joints, keypoints, scores, skeletons.COCO, num_frames=4).shape
        (240, 1292, 3)
    """
    frames = _checked_frames(frames)
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=4)
    _check_count("keypoints", keypoints.shape[1], frames)
    grid, joints = _checked_attention(grid, joints, frames, skeleton)
    heat = np.maximum(grid - grid.mean(), 0) / max(grid.max() - grid.mean(), grid.mean(), TINY)
    sizes = joints / max(joints.max(), 2 * joints.mean(), TINY)
    chosen = spaced_frames(len(frames), num_frames)
    panels, captions = [], []
    for frame in chosen:
        panel, scale = resized(_heated(checked_image(frames[frame]), heat[frame]), panel_height)
        points = _enlarged(keypoints[:, frame], scale)  # [M, K, 2]
        _draw_joints(panel, points, shown[:, frame], sizes[frame], skeleton)
        panels.append(panel)
        captions.append(f"{frame}: grid {100 * grid[frame].sum():.2g}%, joints {100 * joints[frame].sum():.2g}%")
    return contact_sheet(panels, columns=len(panels), captions=captions)


def annotate_video(
    path: Path,
    frames: Iterable[Array],
    keypoints: Array,
    scores: Array | None,
    skeleton: Skeleton,
    actions: Sequence = (),
    fps: float = 30.0,
    min_score: float = 0.3,
    progress: bool = False,
) -> int:
    """Writes a video as an MP4 (H.264) with the skeletons of its people and the names of actions drawn in.

    Args:
        path: of the file, ending in .mp4; its folder is made if need be. A file that is there is replaced.
        frames: T images of one size, RGB uint8 `[H, W, 3]`, an array or anything that gives one after another.
        keypoints: `[M, T, K, 2]`, pixels of the frames, x first; a pixel's centre has whole coordinates.
        scores: `[M, T, K]`, or None when all are certain.
        skeleton: the set the keypoints are in.
        actions: (name, probability) pairs, as `predictors.Action` answers, written into each frame one below the
            other; none by default. OpenCV's font has ASCII only.
        fps: frames a second.
        min_score: the lowest score that is drawn.
        progress: whether to print a bar.

    Returns:
        The number of frames in the file.

    Raises:
        ValueError: when a shape, the number of frames, `fps` or the ending of the path does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> frames, actions = [image] * 30, [("walk", 0.97), ("kick", 0.02)]
        >>> visualize.annotate_video("annotated.mp4", frames, keypoints, scores, skeletons.COCO, actions, fps=15)
        30
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path must end in .mp4, got {str(path)!r}.")
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}.")
    keypoints, shown = checked_people(keypoints, scores, skeleton, min_score, rank=4)
    spaced_frames(keypoints.shape[1], 1)  # refuses an empty track
    lines = [f"{100 * probability:3.0f}% {name}" for name, probability in actions]
    pictures = _annotated(frames, keypoints, shown, skeleton, lines)
    content = encode_mp4(with_bar(pictures, keypoints.shape[1]) if progress else pictures, fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)  # only now: a video that is refused half way must not leave half a file
    return keypoints.shape[1]


def _annotated(frames, keypoints, shown, skeleton, lines):
    """Yields the frames with people `[M, T, K, 2]` and the lines drawn in, if there are as many frames as keypoints."""
    total, count, size = keypoints.shape[1], 0, None
    for count, image in enumerate(frames, start=1):
        if count > total:
            raise ValueError(f"frames must be {total}, as many as of keypoints, got more; cut them to the keypoints.")
        image = checked_image(image)
        size = size or image.shape
        if image.shape != size:
            raise ValueError(
                f"all frames must have the size of the first, {size}, got {image.shape} at {count - 1}; resize them."
            )
        picture = draw_skeletons(image, keypoints[:, count - 1], shown[:, count - 1], skeleton, 0.5)
        height = 0
        for index, line in enumerate(lines):
            height = write_text(picture, line, (0, (index + 1) * (height + 1)))
        yield picture
    if count < total:
        raise ValueError(f"frames must be {total}, as many as of keypoints, got {count}; cut the keypoints to them.")


def _heated(image, heat):
    """The image in grey with heat `[gh, gw]`, 0 to 1, laid over it, each value over its cell of the grid."""
    size = image.shape[1], image.shape[0]
    cover = HEAT_OPACITY * cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.round((1 - cover) * grey + cover * np.array(HEAT_COLOR, np.float32)).astype(np.uint8)


def _draw_joints(panel, points, shown, sizes, skeleton):
    """Joints of people `[M, K, 2]` as discs, whose areas go by `sizes` `[K]`; the largest are drawn first."""
    radii = LARGEST_JOINT * panel.shape[0] * np.sqrt(sizes)
    for joint in np.argsort(-sizes, kind="stable"):
        radius = fixed_point(max(1.0, radii[joint])).item()
        for person in np.flatnonzero(shown[:, joint]):
            place = fixed_point(points[person, joint]).tolist()
            cv2.circle(panel, place, radius, skeleton.colors[joint], cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.circle(panel, place, radius, JOINT_EDGE, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _enlarged(points, scale):
    return (points + 0.5) * scale - 0.5  # whole numbers are pixel centres here and there


def _people_part(points, frame_size):
    """Top, bottom, left, right of the part of the frame round the points `[N, 2]`; the whole frame for none."""
    sides = np.array(frame_size[::-1])  # width, height
    points = points[((points >= 0) & (points < sides)).all(axis=-1)]  # nothing else can be seen
    if not len(points):
        return 0, frame_size[0], 0, frame_size[1]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * max(*(high - low), 32.0)  # of a single point, too, something is to be seen
    left, top = np.maximum(np.floor(low - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + margin) + 1, sides).astype(int)
    return top, bottom, left, right


def _checked_frames(frames):
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames[:1].size:
        raise ValueError(
            f"frames must be RGB uint8 [T, H, W, 3] and at least one, got {frames.dtype} {frames.shape}; "
            "take one clip of a batch, and ops.images.denormalize what a network was fed."
        )
    return frames


def _check_count(name, count, frames):
    if count != len(frames):
        raise ValueError(f"{name} must have the video's {len(frames)} frames, got {count}; cut both to the same ones.")


def _checked_attention(grid, joints, frames, skeleton):
    grid, joints = np.asarray(grid, np.float64), np.asarray(joints, np.float64)
    if grid.ndim != 3 or not grid.size:
        raise ValueError(f"grid must be [T, gh, gw] and not empty, got {grid.shape}; take one clip of a batch.")
    if joints.ndim != 2 or joints.shape[1] != skeleton.num_keypoints:
        raise ValueError(
            f"joints of {skeleton.name} must be [T, {skeleton.num_keypoints}], got {joints.shape}; check the skeleton."
        )
    _check_count("grid", len(grid), frames)
    _check_count("joints", len(joints), frames)
    lowest, total = min(grid.min(), joints.min()), grid.sum() + joints.sum()
    if not (lowest >= 0 and total <= FULL_SHARE):  # so written, NaN is refused too
        raise ValueError(
            f"attention must be at least 0 and add up to 1 at most over a clip, got {lowest:.3g} as the lowest and "
            f"{total:.3g} in all; average it over heads and queries."
        )
    return grid, joints
