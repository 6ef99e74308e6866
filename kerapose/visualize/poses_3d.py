"""Poses in space, alone or beside the 2D keypoints that they were lifted from."""

import dataclasses
import typing
from collections.abc import Collection, Iterable, Iterator

import cv2
import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array
from kerapose.visualize.identities import identity_colors
from kerapose.visualize.images import contact_sheet, draw_skeletons
from kerapose.visualize.panels import (
    BACKGROUND,
    GAP_PX,
    MARGIN,
    SUBPIXEL_BITS,
    captioned,
    checked_image,
    checked_people,
    fixed_point,
    resized,
    side_by_side,
    spaced_frames,
)

STRAY = 0.5  # of the size of most points: what is farther from them does not count for what a panel has to hold

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


def draw_pose_3d(
    poses_m: Array,
    skeleton: Skeleton,
    truth_m: Array | None = None,
    axes: str = "camera",
    azimuth: float = AZIMUTH_DEG,
    elevation: float = ELEVATION_DEG,
    panel_height: int = 320,
) -> Array:
    """Draws poses in space over a grid on the floor, in parallel projection: a metre is as long wherever it is.

    What is nearer lies over what is farther away and is brighter. The floor is at the lowest joint. Joints that are not
    finite are left out with their limbs. The picture holds the whole truth; a prediction far off it is cut.

    Args:
        poses_m: `[J, 3]` or `[M, J, 3]`, metres.
        skeleton: the set the joints are in.
        truth_m: the true poses, of the same shape, drawn in grey behind; their mean distance from the others, in
            millimetres, is written below. None for none.
        axes: "camera" for x right, y down, z away; "world" for z up.
        azimuth: degrees by which the viewer has walked round the people, to the right; 0 looks along the camera's z, or
            the world's y.
        elevation: degrees by which the viewer looks down.
        panel_height: pixels, and the width as well.

    Returns:
        RGB uint8 `[panel_height, panel_height, 3]`.

    Raises:
        ValueError: when a shape does not fit, or there are no such axes.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> visualize.draw_pose_3d(poses_m[0], skeletons.H36M, truth_m=poses_m[1], azimuth=90).shape
        (320, 320, 3)
    """
    poses = checked_poses(poses_m, skeleton, "poses_m", frames=False)  # [M, 1, J, 3]
    truth = checked_truth(truth_m, poses, skeleton, frames=False)
    stage = _set_up_stage(poses, truth, axes, azimuth, elevation, panel_height)
    return captioned(*_stage_panel(stage, poses[:, 0], None if truth is None else truth[:, 0], skeleton))


def draw_lift(
    keypoints: Array,
    poses_m: Array,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: Array | None = None,
    image: Array | None = None,
    **options: typing.Any,
) -> Array:
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
        >>> from kerapose import skeletons, visualize
        >>> visualize.draw_lift(keypoints[0, 0], poses_m[0], skeletons.COCO, skeletons.H36M, image=image).shape
        (320, 751, 3)
    """
    poses = checked_poses(poses_m, pose_skeleton, "poses_m", frames=False)  # [M, 1, J, 3]
    truth = checked_truth(truth_m, poses, pose_skeleton, frames=False)
    keypoints = _one_frame(keypoints, rank=2)
    if options.get("scores") is not None:
        options["scores"] = _one_frame(options["scores"], rank=1)
    images = None if image is None else [image]
    flat, solid, caption = next(lift_panels(keypoints, poses, skeleton, pose_skeleton, truth, images, **options))
    return side_by_side([flat, captioned(solid, caption)])


def lift_strip(
    keypoints: Array,
    poses_m: Array,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: Array | None = None,
    frames: Iterable[Array] | None = None,
    num_frames: int = 6,
    **options: typing.Any,
) -> Array:
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
        >>> from kerapose import skeletons, visualize
        >>> visualize.lift_strip(keypoints[0], poses_m, skeletons.COCO, skeletons.H36M, num_frames=4).shape
        (644, 1292, 3)
    """
    shown = spaced_frames(np.shape(poses_m)[-3] if np.ndim(poses_m) > 2 else 1, num_frames)
    drawn = list(lift_panels(keypoints, poses_m, skeleton, pose_skeleton, truth_m, frames, shown, **options))
    width = max(panel.shape[1] for flat, solid, _ in drawn for panel in (flat, solid))
    above = [captioned(_centered(flat, width), frame) for frame, (flat, _, _) in zip(shown, drawn, strict=True)]
    below = [captioned(_centered(solid, width), caption) for _, solid, caption in drawn]
    return contact_sheet([side_by_side(above), side_by_side(below)], columns=1)


def people_panels(
    ids: list[Array],
    poses_m: list[Array],
    skeleton: Skeleton,
    height: int = 320,
    most: int = 9,
) -> Iterator[Array]:
    """Draws lifted people with identities over time, each on a stage of the person's own, the stages in a square.

    A stage shows a person in the colour of the identity, whose number stands below, seen as by `draw_pose_3d`. It keeps
    its viewpoint and scale. People who are never there at the same time may share one.

    Args:
        ids: T times `[N]` whole numbers, who is in each frame.
        poses_m: T times `[N, J, 3]` metres, x right, y down, z away, of these people; NaN for who has no pose.
        skeleton: the set the poses are in.
        height: of the picture, pixels.
        most: the most stages; where more would be needed, the people who are seen longest are drawn.

    Yields:
        RGB uint8 `[height, W, 3]`, T times.

    Raises:
        ValueError: when a shape does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> ids, poses = [[0], [0, 1]], [poses_m[:1], poses_m[:2]]  # one person, then two
        >>> [panel.shape for panel in visualize.people_panels(ids, poses, skeletons.H36M)]
        [(320, 158, 3), (320, 158, 3)]
    """
    tracks = _tracks_by_identity(ids, poses_m, skeleton)
    groups = _groups_that_share(tracks, most)
    rows = max(1, int(np.ceil(np.sqrt(len(groups)))))
    columns = max(1, -(-len(groups) // rows))
    size = max(32, (height - (rows - 1) * GAP_PX) // rows)
    blank = np.full((size, size, 3), BACKGROUND, np.uint8)
    stages, looks = [], {}
    for place, group in enumerate(groups):
        poses = np.concatenate([tracks[identity][1] for identity in group])[None]  # [1, T, J, 3]
        stages.append(_set_up_stage(poses, None, "camera", AZIMUTH_DEG, ELEVATION_DEG, size))
        for identity in group:
            color = tuple(identity_colors([identity])[0].tolist())
            looks[identity] = place, dataclasses.replace(skeleton, colors=(color,) * skeleton.num_keypoints)
    for people, poses in zip(ids, poses_m, strict=True):
        panels = [stage.ground.copy() for stage in stages] or [blank]
        for identity, pose in zip(np.asarray(people).tolist(), np.asarray(poses, np.float64), strict=True):
            if identity in looks and np.isfinite(pose).any():
                place, look = looks[identity]
                panel, _ = _stage_panel(stages[place], pose[None], None, look)
                panels[place] = captioned(panel, identity)
        sheet = contact_sheet(panels, columns)
        whole = np.full((height, sheet.shape[1], 3), BACKGROUND, np.uint8)
        whole[: sheet.shape[0]] = sheet[:height]
        yield whole


def _tracks_by_identity(ids, poses_m, skeleton):
    """{identity: (its frames, its poses [T, J, 3])}, of those who have a pose in some frame."""
    found = {}
    for frame, (people, poses) in enumerate(zip(ids, poses_m, strict=True)):
        if np.shape(poses) != (len(people), skeleton.num_keypoints, 3):
            raise ValueError(
                f"poses_m of {skeleton.name} must be [{len(people)}, {skeleton.num_keypoints}, 3] for {len(people)} "
                f"people, got {np.shape(poses)} in frame {frame}; check the skeleton."
            )
        for identity, pose in zip(np.asarray(people).tolist(), np.asarray(poses, np.float64), strict=True):
            if np.isfinite(pose).any():
                frames, track = found.setdefault(identity, ([], []))
                frames.append(frame)
                track.append(pose)
    return {identity: (frames, np.stack(track)) for identity, (frames, track) in found.items()}


def _groups_that_share(tracks, most):
    """Lists of identities, of which no two are there at the same time; those seen longest find a place first."""
    groups = []
    for identity in sorted(tracks, key=lambda one: (-len(tracks[one][0]), one)):
        first, last = tracks[identity][0][0], tracks[identity][0][-1]
        times = ([tracks[other][0] for other in group] for group in groups)
        free = [all(last < frames[0] or frames[-1] < first for frames in others) for others in times]
        if any(free):
            groups[free.index(True)].append(identity)
        elif len(groups) < most:
            groups.append([identity])
    return sorted(groups, key=min)


@dataclasses.dataclass(frozen=True)
class _Stage:
    """What stays the same over the frames of a track."""

    rotation: Array  # [3, 3] from the axes of the poses to those of the viewer: right, down, away
    center: Array  # [2] metres right and down, shown in the middle
    scale: float  # pixels a metre
    depths: tuple[float, float]  # the nearest and the farthest, metres
    ground: Array  # [H, W, 3], the panel before anybody is on it
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
    points = fitted_points(poses, truth) @ UPRIGHT[axes].T  # [N, 3] right, forward, up
    low, high = points.min(axis=0), points.max(axis=0)
    lines, grid_m = floor_lines(low, high)  # [L, 2, 3]
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
    for line in fixed_point(stage.place(lines @ UPRIGHT[axes])[0]).tolist():
        cv2.line(stage.ground, *line, GRID_COLOR, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    return stage


def fitted_points(poses: Array, truth: Array | None) -> Array:
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


def floor_lines(low: Array, high: Array) -> tuple[Array, float]:
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
    points = fixed_point(points)
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


def lift_panels(
    keypoints: Array,
    poses_m: Array,
    skeleton: Skeleton,
    pose_skeleton: Skeleton,
    truth_m: Array | None,
    images: Iterable[Array] | None,
    shown: Collection[int] = (0,),
    scores: Array | None = None,
    axes: str = "camera",
    azimuth: float = AZIMUTH_DEG,
    elevation: float = ELEVATION_DEG,
    min_score: float = 0.3,
    panel_height: int = 320,
) -> Iterator[tuple[Array, Array, str]]:
    """Yields panel in 2D, panel in 3D and its caption for the frames `shown` of a track, all seen in the same way."""
    poses = checked_poses(poses_m, pose_skeleton, "poses_m")  # [M, T, J, 3]
    truth = checked_truth(truth_m, poses, pose_skeleton)
    keypoints, scores = np.asarray(keypoints), None if scores is None else np.asarray(scores)
    if keypoints.ndim == 3:
        keypoints, scores = keypoints[None], None if scores is None else scores[None]
    keypoints, certain = checked_people(keypoints, scores, skeleton, min_score, rank=4)
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
        panel, scale = resized(checked_image(image), height)
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


def checked_poses(poses: Array, skeleton: Skeleton, name: str, frames: bool = True) -> Array:
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


def checked_truth(truth: Array | None, poses: Array, skeleton: Skeleton, frames: bool = True) -> Array | None:
    if truth is None:
        return None
    truth = checked_poses(truth, skeleton, "truth_m", frames)
    if truth.shape != poses.shape:
        raise ValueError(f"truth_m must have the shape of poses_m, {poses.shape}, got {truth.shape}.")
    return truth
