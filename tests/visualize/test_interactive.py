"""Poses that one turns with the mouse: what the figure holds, and what of it stays the same over its frames."""

import json
import sys

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import H36M, Skeleton

HOOK = Skeleton("hook", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
FLOOR, TRUTH, LIMBS, JOINTS = range(4)


def hook(*points):
    return np.array(points, np.float64)  # [J, 3]


def points(trace):
    return np.stack([trace.x, trace.y, trace.z], -1)  # [N, 3]


def corners(figure):
    scene = figure.layout.scene
    return np.array([scene.xaxis.range, scene.yaxis.range, scene.zaxis.range])  # [3, 2]


def seen(figure, places):
    """Where points are on the screen `[N, 2]`, right and up, as plotly's camera has it: 1 is half of the height."""
    box, camera = corners(figure), figure.layout.scene.camera
    eye, center = (np.array([at.x, at.y, at.z]) for at in (camera.eye, camera.center))
    away = (center - eye) / np.linalg.norm(center - eye)
    right = np.cross(away, [0, 0, 1]) / np.linalg.norm(np.cross(away, [0, 0, 1]))
    relative = (places - box.mean(axis=1)) / np.ptp(box, axis=1).max() - eye
    screen = np.stack([relative @ right, relative @ np.cross(right, away)], -1)
    return screen / (relative @ away)[:, None] / np.tan(np.deg2rad(22.5))


# ---------------------------------------- one pose
def test_a_pose_stands_upright_on_the_floor(standing):
    pose = standing()
    figure = visualize.interactive_poses(pose, H36M)
    np.testing.assert_allclose(points(figure.data[JOINTS]), pose[:, [0, 2, 1]] * [1, 1, -1], atol=1e-6)
    assert not figure.frames
    assert not figure.layout.sliders
    floor = points(figure.data[FLOOR])
    assert np.nanmin(floor[:, 2]) == np.nanmax(floor[:, 2]) == pytest.approx(-0.9)
    world = visualize.interactive_poses(pose[:, [0, 2, 1]] * [1, 1, -1], H36M, axes="world")
    np.testing.assert_allclose(points(world.data[JOINTS]), points(figure.data[JOINTS]), atol=1e-6)


def test_limbs_have_the_skeletons_colours_and_gaps_between_them():
    figure = visualize.interactive_poses(hook((0, 0, 0), (1, 0, 0), (0, 1, 0)), HOOK)
    limbs = figure.data[LIMBS]
    np.testing.assert_allclose(
        points(limbs),
        [(0, 0, 0), (1, 0, 0), (np.nan,) * 3, (0, 0, 0), (0, 0, -1), (np.nan,) * 3],
        atol=1e-6,
    )
    assert limbs.line.color[:3] == ("rgb({}, {}, {})".format(*HOOK.edge_colors[0]),) * 3
    assert limbs.line.color[3] == "rgb({}, {}, {})".format(*HOOK.edge_colors[1])
    assert list(figure.data[JOINTS].marker.color) == ["rgb({}, {}, {})".format(*color) for color in HOOK.colors]


def test_joints_tell_their_names():
    pose = hook((0, 0, 0), (1, 0, 0), (0, 1, 0))
    figure = visualize.interactive_poses(pose, HOOK)
    assert figure.data[JOINTS].text == ("top", "left_end", "right_end")
    assert figure.data[LIMBS].text == ("top", "left_end", "", "top", "right_end", "")
    assert "right" in figure.data[JOINTS].hovertemplate
    assert "x %" in visualize.interactive_poses(pose, HOOK, axes="world").data[JOINTS].hovertemplate
    several = visualize.interactive_poses(np.stack([pose, pose + 1])[:, None], HOOK)
    assert several.data[JOINTS].text[0] == "top, person 0"
    assert several.data[JOINTS].text[-1] == "right_end, person 1"


def test_a_metre_is_as_long_in_any_direction():
    figure = visualize.interactive_poses(hook((0, 0, 0), (3, 0, 0), (0, 1, 0)), HOOK)
    ratio = figure.layout.scene.aspectratio
    lengths = np.ptp(corners(figure), axis=1)
    np.testing.assert_allclose(np.array([ratio.x, ratio.y, ratio.z]) / lengths, 1 / lengths.max())
    assert figure.layout.scene.aspectmode == "manual"


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (40, 15), (-100, 60)])
def test_all_of_it_is_seen_and_fills_the_view(standing, azimuth, elevation):
    figure = visualize.interactive_poses(standing(), H36M, azimuth=azimuth, elevation=elevation)
    places = np.concatenate([points(figure.data[trace]) for trace in (FLOOR, JOINTS)])
    screen = seen(figure, places[np.isfinite(places).all(axis=-1)])
    assert abs(screen[:, 1]).max() == pytest.approx(0.9, abs=0.02)
    assert np.ptp(screen[:, 1]) > 1.7  # there is no more room above than below
    assert abs(screen[:, 0]).max() < 1.5


def test_the_viewer_walks_round_to_the_right():
    pose = hook((0.1, 0, 0), (0.1, 0, 0.6), (-0.1, 0.6, 0))  # one limb leads away from the camera
    ahead = seen(figure := visualize.interactive_poses(pose, HOOK, azimuth=0), points(figure.data[JOINTS]))
    assert abs(ahead[1, 0] - ahead[0, 0]) < 0.2  # nothing but what is farther away being smaller
    side = seen(figure := visualize.interactive_poses(pose, HOOK, azimuth=90), points(figure.data[JOINTS]))
    assert side[1, 0] > side[0, 0] + 0.5


def test_what_is_not_finite_is_left_out_with_its_limbs(standing):
    pose = standing()
    wrist = H36M.index("left_wrist")
    pose[wrist, 1] = np.nan
    figure = visualize.interactive_poses(pose, H36M)
    joints, limbs = points(figure.data[JOINTS]), points(figure.data[LIMBS]).reshape(-1, 3, 3)
    lost = [wrist in edge for edge in H36M.edges]
    np.testing.assert_array_equal(np.isnan(joints).all(axis=-1), np.arange(17) == wrist)
    np.testing.assert_array_equal(np.isnan(limbs[:, :2]).all(axis=(1, 2)), lost)
    assert np.isfinite(corners(figure)).all()
    assert np.isfinite(corners(visualize.interactive_poses(np.full((17, 3), np.nan), H36M))).all()


# ---------------------------------------- over time
def test_a_track_is_played_without_a_jump(standing):
    poses = standing(12)
    figure = visualize.interactive_poses(poses, H36M, fps=10)
    assert len(figure.frames) == 12
    for frame, pose in zip(figure.frames, poses, strict=True):
        places = dict(zip(frame.traces, frame.data, strict=True))
        assert FLOOR not in places
        np.testing.assert_allclose(points(places[JOINTS]), pose[:, [0, 2, 1]] * [1, 1, -1], atol=1e-6)
        assert not frame.layout.to_plotly_json()  # so viewpoint and scale are those of all
        assert places[LIMBS].line.color is None
    box = corners(figure)
    everything = (poses[..., [0, 2, 1]] * [1, 1, -1]).reshape(-1, 3)
    assert ((box[:, 0] < everything) & (everything < box[:, 1])).all()
    play, pause = figure.layout.updatemenus[0].buttons
    assert play.args[1]["frame"] == {"duration": 100, "redraw": True}
    assert list(pause.args[0]) == [None]
    steps = figure.layout.sliders[0].steps
    assert [list(step.args[0]) for step in steps] == [[frame.name] for frame in figure.frames]
    assert steps[3].label == "frame 3, 0.30 s"


def test_the_truth_is_grey_and_its_distance_is_told(standing):
    truth = np.stack([standing(4), standing(4) + 1])  # [M, T, J, 3]
    poses = truth + np.array([0, 0.03, 0.04])
    poses[0, 0, 5] = np.nan
    figure = visualize.interactive_poses(poses, H36M, truth)
    assert figure.data[TRUTH].line.color == "rgb({}, {}, {})".format(*visualize.TRUTH_COLOR)
    assert points(figure.data[TRUTH]).shape == (2 * H36M.num_edges * 3, 3)
    assert figure.layout.sliders[0].steps[0].label == "frame 0, 0.00 s, 50 mm from the truth"
    assert "grey" in figure.layout.annotations[0].text
    alone = visualize.interactive_poses(poses[0, 1], H36M, truth[0, 1])
    assert alone.layout.annotations[0].text.startswith("50 mm from the truth")
    without = visualize.interactive_poses(poses, H36M)
    assert np.isnan(points(without.data[TRUTH])).all()


def test_a_hundred_frames_are_small(standing):
    figure = visualize.interactive_poses(standing(100), H36M)
    assert len(figure.to_json()) < 250_000


# ---------------------------------------- where it is shown
def test_a_title_has_room_above(standing):
    figure = visualize.interactive_poses(standing(), H36M, title="a person", panel_height=400)
    assert figure.layout.title.text == "a person"
    assert figure.layout.margin.t > visualize.interactive_poses(standing(), H36M).layout.margin.t
    assert figure.layout.height == 400


def test_a_page_of_it_needs_no_network(tmp_path, standing):
    path = tmp_path / "poses.html"
    visualize.interactive_poses(standing(), H36M).write_html(path)
    assert 'src="http' not in path.read_text()


def test_a_notebook_gets_it_as_json(standing):
    from plotly import io

    bundle = io.renderers["plotly_mimetype"].to_mimebundle(visualize.interactive_poses(standing(3), H36M).to_dict())
    shown = bundle["application/vnd.plotly.v1+json"]
    assert len(shown["frames"]) == 3
    json.dumps(shown, allow_nan=False)


def test_without_plotly_one_sentence_says_what_to_do(monkeypatch, standing):
    for module in ("plotly", "plotly.graph_objects"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"^Interactive poses need plotly; pip install 'kerapose\[notebook\]'\.$"):
        visualize.interactive_poses(standing(), H36M)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses_m": np.zeros((17, 2))}, r"poses_m of h36m must be \[17, 3\], \[T, 17, 3\] or .* got \(17, 2\)"),
        ({"poses_m": np.zeros((16, 3))}, "check the skeleton"),
        ({"poses_m": np.zeros((0, 17, 3))}, "at least one frame"),
        ({"truth_m": np.zeros((2, 17, 3))}, "truth_m must have the shape of poses_m"),
        ({"axes": "image"}, "axes must be 'camera'"),
        ({"fps": 0}, "fps must be a positive number"),
        ({"azimuth": np.nan}, "must be finite degrees"),
        ({"panel_height": 20}, "panel_height must be at least 200 pixels, got 20"),
    ],
)
def test_what_does_not_fit_is_refused(standing, changes, message):
    with pytest.raises(ValueError, match=message):
        visualize.interactive_poses(**{"poses_m": standing(), "skeleton": H36M, **changes})
