"""Poses in space that the reader turns with the mouse and plays: figures of plotly, for notebooks and pages."""

import typing

import numpy as np

from kerapose.skeletons import Skeleton
from kerapose.types import Array
from kerapose.visualize.panels import BACKGROUND, CAPTION_COLOR
from kerapose.visualize.poses_3d import (
    AZIMUTH_DEG,
    ELEVATION_DEG,
    TRUTH_COLOR,
    UPRIGHT,
    checked_poses,
    checked_truth,
    fitted_points,
    floor_lines,
)

FLOOR_COLOR = (70, 77, 96)
BUTTON_COLOR = (38, 43, 58)
LIMB_PX, TRUTH_PX, FLOOR_PX, JOINT_PX = 7, 4, 1.5, 5  # widths of lines, and the size of a joint
HALF_VIEW = np.tan(np.pi / 8)  # plotly's camera sees 45 degrees from top to bottom
FILLED, WIDENED = 0.9, 1.6  # how much of the height is filled at first, and the width for which there is room
CONTROLS_PX = 84  # the height of button and slider
TOLD = {  # where a joint is, where the mouse points at it
    "camera": "%{x:.2f} m right, %{y:.2f} away, %{z:.2f} up",
    "world": "x %{x:.2f}, y %{y:.2f}, z %{z:.2f} m",
}
TRUTH, LIMBS, JOINTS = 1, 2, 3  # places among the traces; the floor is the first


def interactive_poses(
    poses_m: Array,
    skeleton: Skeleton,
    truth_m: Array | None = None,
    axes: str = "camera",
    fps: float = 25.0,
    title: str | None = None,
    azimuth: float = AZIMUTH_DEG,
    elevation: float = ELEVATION_DEG,
    panel_height: int = 520,
) -> typing.Any:
    """Shows poses in space over a grid on the floor, to be turned and enlarged with the mouse, and played.

    A notebook shows the figure where it is the last line of a cell. `figure.write_html("poses.html")` writes a page
    that needs no other file. Scale and floor stay the same over the frames, and the viewpoint as the reader has turned
    it. The floor is at the lowest joint. A joint tells its name and its place where the mouse points at it. Joints that
    are not finite are left out with their limbs. The ground is dark on any page, like that of the other pictures.

    Args:
        poses_m: `[J, 3]`, `[T, J, 3]` or `[M, T, J, 3]`, metres; a person alone, over time, or several people.
        skeleton: the set the joints are in.
        truth_m: the true poses, of the same shape, drawn in grey; each frame's mean distance of the joints from them is
            written below, in millimetres. None for none.
        axes: "camera" for x right, y down, z forward; "world" for z up.
        fps: frames a second at which the poses are played; a slow machine takes longer.
        title: a line above; None for none.
        azimuth: degrees by which the viewer has walked round the people, to the right; 0 looks along the camera's z, or
            the world's y.
        elevation: degrees by which the viewer looks down.
        panel_height: pixels; the figure is as wide as the page.

    Returns:
        A `plotly.graph_objects.Figure`.

    Raises:
        ImportError: if plotly is not installed.
        ValueError: when a shape, `axes`, `fps`, a height or an angle does not fit.

    Example:
        >>> from kerapose import skeletons, visualize
        >>> figure = visualize.interactive_poses(poses_m, skeletons.H36M, fps=15, title="walk")  # [T, 17, 3]
        >>> len(figure.frames)
        30
    """
    graphs = _import_plotly()
    poses = _checked(poses_m, skeleton, axes, fps, azimuth, elevation, panel_height)  # [M, T, J, 3]
    truth = None if truth_m is None else checked_truth(_with_frames(truth_m), poses, skeleton)
    points = fitted_points(poses, truth) @ UPRIGHT[axes].T  # [N, 3] right, forward, up
    low, high = points.min(axis=0), points.max(axis=0)
    lines, grid_m = floor_lines(low, high)  # [L, 2, 3]
    captions = _captions(poses, truth, fps)
    frames = [_frame_traces(poses, truth, skeleton, axes, frame) for frame in range(poses.shape[1])]
    figure = graphs.Figure(_first_traces(lines, poses, skeleton, axes, frames[0]))
    figure.update_layout(
        height=panel_height,
        margin={"l": 0, "r": 0, "t": 0 if title is None else 48, "b": CONTROLS_PX if len(frames) > 1 else 8},
        paper_bgcolor=_css(BACKGROUND),
        font={"color": _css(CAPTION_COLOR)},
        showlegend=False,
        scene=_scene(np.concatenate([points, lines.reshape(-1, 3)]), azimuth, elevation),
        annotations=[_note(f"grid {grid_m:.3g} m", truth, captions if len(frames) == 1 else [])],
    )
    if title is not None:
        figure.update_layout(title={"text": title, "x": 0.02, "y": 1, "yanchor": "top", "pad": {"t": 16}})
    if len(frames) > 1:
        places = [TRUTH, LIMBS, JOINTS]
        figure.frames = [{"name": str(i), "data": data, "traces": places} for i, data in enumerate(frames)]
        figure.update_layout(updatemenus=[_buttons(fps)], sliders=[_slider(captions)])
    return figure


def _import_plotly():
    try:
        import plotly.graph_objects as graphs  # late: it is large, and only this needs it
    except ImportError as error:
        raise ImportError("Interactive poses need plotly; pip install 'kerapose[notebook]'.") from error
    return graphs


# ---------------------------------------- what is drawn
def _first_traces(lines, poses, skeleton, axes, data):
    """Floor, truth, limbs and joints with their looks and with the first frame's places."""
    people = range(poses.shape[0])
    floor = np.concatenate([lines, np.full_like(lines[:, :1], np.nan)], axis=1).reshape(-1, 3)  # [3 * L, 3]
    names = [[f"{name}, person {i}" if len(people) > 1 else name for name in skeleton.keypoints] for i in people]
    still = {"mode": "lines", "hoverinfo": "skip"}
    # Where a limb ends in a joint, plotly takes either of them for what the mouse points at: both tell the name.
    told = {"hovertemplate": "%{text}<br>" + TOLD[axes] + "<extra></extra>"}
    ends = [color for color in skeleton.edge_colors for _ in range(3)]  # of a limb, and of the gap behind it
    limbs = {"color": [_css(color) for color in ends] * len(people), "width": LIMB_PX}
    joints = {"color": [_css(color) for color in skeleton.colors] * len(people), "size": JOINT_PX, "opacity": 1}
    ends_names = [name for person in names for a, b in skeleton.edges for name in (person[a], person[b], "")]
    return [
        {**still, **_places(floor), "line": {"color": _css(FLOOR_COLOR), "width": FLOOR_PX}},
        {**still, **data[0], "line": {"color": _css(TRUTH_COLOR), "width": TRUTH_PX}},
        {**told, **data[1], "mode": "lines", "line": limbs, "text": ends_names},
        {**told, **data[2], "mode": "markers", "marker": {**joints, "line": {"width": 0}}, "text": sum(names, [])},
    ]


def _frame_traces(poses, truth, skeleton, axes, frame):
    """Where truth, limbs and joints of a frame are; what does not change is only said once, by `_first_traces`."""
    true_limbs = np.full((1, 3), np.nan) if truth is None else _limbs(truth[:, frame], skeleton, axes)
    joints = _whole(poses[:, frame]).reshape(-1, 3) @ UPRIGHT[axes].T  # [M * J, 3]
    return [_places(true_limbs), _places(_limbs(poses[:, frame], skeleton, axes)), _places(joints)]


def _limbs(poses, skeleton, axes):
    """The ends of all people's limbs, each two with a gap behind them, `[M * E * 3, 3]` right, forward, up."""
    if not skeleton.num_edges:
        return np.full((1, 3), np.nan)
    ends = (_whole(poses) @ UPRIGHT[axes].T)[:, np.array(skeleton.edges)]  # [M, E, 2, 3]
    lost = np.isnan(ends).any(axis=(-2, -1), keepdims=True)
    ends = np.where(lost, np.nan, ends)
    return np.concatenate([ends, np.full_like(ends[:, :, :1], np.nan)], axis=2).reshape(-1, 3)


def _whole(points):
    """The points, with NaN in all three places where one is not finite."""
    return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan)


def _places(points):
    """Points `[N, 3]` as a trace of plotly has them, which stores such arrays in four bytes a number."""
    return {"type": "scatter3d", **dict(zip("xyz", np.ascontiguousarray(points.T, np.float32), strict=True))}


# ---------------------------------------- round it
def _scene(points, azimuth, elevation):
    """A box round the points in which a metre is as long in any direction, seen from one side."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.05) * 1.02
    turn, tilt = np.deg2rad([azimuth, elevation])
    towards = np.array([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)])
    unit = 2 * half.max()  # of plotly: the longest side
    # What is looked at is at the height from which the viewer may come nearest: that of the middle leaves room above.
    heights = [np.array([0, 0, height]) for height in np.linspace(-0.5, 0.5, 101) * half[2] / half.max()]
    distances = [_distance((points - middle) / unit - height, turn, towards) for height in heights]
    center, distance = heights[int(np.argmin(distances))], min(distances)
    axis = {"visible": False, "autorange": False}
    ranges = [{**axis, "range": [float(m - h), float(m + h)]} for m, h in zip(middle, half, strict=True)]
    return {
        **dict(zip(("xaxis", "yaxis", "zaxis"), ranges, strict=True)),
        "aspectmode": "manual",
        "aspectratio": dict(zip("xyz", (half / half.max()).tolist(), strict=True)),
        "camera": {
            "eye": dict(zip("xyz", (center + distance * towards).tolist(), strict=True)),
            "center": dict(zip("xyz", center.tolist(), strict=True)),
            "up": {"x": 0, "y": 0, "z": 1},
        },
        "dragmode": "turntable",
        "bgcolor": _css(BACKGROUND),
        "uirevision": "kept",  # where the reader has turned it to
    }


def _distance(points, turn, towards):
    """How far from the origin a viewer sees all points `[N, 3]`."""
    right = np.array([np.cos(turn), np.sin(turn), 0])
    across, up = abs(points @ right) / WIDENED, abs(points @ np.cross(towards, right))
    return max(0.3, (np.maximum(across, up) / (FILLED * HALF_VIEW) + points @ towards).max())


def _captions(poses, truth, fps):
    """What is written of each frame: its number, its time and, where there is a truth, the distance from it."""
    captions = [f"frame {frame}, {frame / fps:.2f} s" for frame in range(poses.shape[1])]
    if truth is None:
        return captions if poses.shape[1] > 1 else []
    errors = np.linalg.norm(poses - truth, axis=-1).swapaxes(0, 1).reshape(poses.shape[1], -1)  # [T, M * J]
    known = [error[np.isfinite(error)] for error in errors]
    distances = [f"{1000 * error.mean():.0f} mm from the truth" if error.size else "" for error in known]
    if poses.shape[1] == 1:
        return [distance for distance in distances if distance]
    return [
        f"{caption}, {distance}" if distance else caption for caption, distance in zip(captions, distances, strict=True)
    ]


def _note(grid, truth, captions):
    lines = [*captions, grid] if truth is None else [*captions, "grey: the truth", grid]
    return {
        "text": "<br>".join(lines),
        "align": "left",
        "showarrow": False,
        **{"xref": "paper", "yref": "paper", "x": 0.02, "y": 0.02, "xanchor": "left", "yanchor": "bottom"},
    }


def _buttons(fps):
    """Play and pause."""
    at_once = {"transition": {"duration": 0}, "fromcurrent": True, "mode": "immediate"}
    play = {**at_once, "frame": {"duration": 1000 / fps, "redraw": True}}
    pause = {**at_once, "frame": {"duration": 0, "redraw": False}}
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "bgcolor": _css(BUTTON_COLOR),
        "bordercolor": _css(FLOOR_COLOR),
        "font": {"color": _css((235, 237, 242))},
        "pad": {"t": 22, "r": 10},
        **{"x": 0.02, "y": 0, "xanchor": "left", "yanchor": "top"},
        "buttons": [
            {"label": "play", "method": "animate", "args": [None, play]},
            {"label": "pause", "method": "animate", "args": [[None], pause]},
        ],
    }


def _slider(captions):
    """One step a frame, of which only the caption of the shown one is written."""
    jump = {"transition": {"duration": 0}, "mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    return {
        "active": 0,
        "steps": [
            {"label": caption, "method": "animate", "args": [[str(frame)], jump]}
            for frame, caption in enumerate(captions)
        ],
        "currentvalue": {"xanchor": "left", "font": {"color": _css(CAPTION_COLOR), "size": 12}},
        "font": {"size": 1, "color": "rgba(0, 0, 0, 0)"},  # of the labels of all steps, which would overlap
        "ticklen": 0,
        "minorticklen": 0,
        "bgcolor": _css(FLOOR_COLOR),
        "activebgcolor": _css(TRUTH_COLOR),
        "bordercolor": _css(FLOOR_COLOR),
        "pad": {"t": 10, "b": 8},
        **{"x": 0.3, "y": 0, "len": 0.68, "xanchor": "left", "yanchor": "top"},
    }


def _css(color):
    return f"rgb({color[0]}, {color[1]}, {color[2]})"


# ---------------------------------------- what is given
def _with_frames(poses):
    return np.asarray(poses)[None] if np.ndim(poses) == 2 else np.asarray(poses)


def _checked(poses, skeleton, axes, fps, azimuth, elevation, panel_height):
    """The poses as `[M, T, J, 3]`, when everything fits."""
    if np.ndim(poses) not in (2, 3, 4) or np.shape(poses)[-2:] != (skeleton.num_keypoints, 3):
        inner = f"{skeleton.num_keypoints}, 3]"
        raise ValueError(
            f"poses_m of {skeleton.name} must be [{inner}, [T, {inner} or [M, T, {inner}, got {np.shape(poses)}; "
            "check the skeleton."
        )
    if axes not in UPRIGHT:
        raise ValueError(f"axes must be 'camera' (y down) or 'world' (z up), got {axes!r}.")
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}.")
    if not np.isfinite([azimuth, elevation]).all():
        raise ValueError(f"azimuth and elevation must be finite degrees, got {azimuth} and {elevation}.")
    if not 200 <= panel_height < np.inf:
        raise ValueError(f"panel_height must be at least 200 pixels, got {panel_height}.")
    return checked_poses(_with_frames(poses), skeleton, "poses_m")
