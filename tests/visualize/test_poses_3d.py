"""Pictures of 3D poses: what stands where, what is in front, and which way is up."""

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import COCO, H36M, Skeleton
from kerapose.visualize import poses_3d

HOOK = Skeleton("hook", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
STRAIGHT = {"azimuth": 0, "elevation": 0}


def hook(*points):
    return np.array(points, np.float64)  # [J, 3]


def seen(poses):
    """Their 2D keypoints in pixels."""
    return 500 + 200 * poses[..., :2]


def places(picture, color, tolerance=12):
    """The mean (x, y) of the pixels of a colour."""
    rows, columns = np.nonzero((abs(picture.astype(int) - color) <= tolerance).all(axis=-1))
    assert len(rows), f"no pixel of {color}"
    return np.array([columns.mean(), rows.mean()])


def coloured(picture):
    return np.ptp(picture.astype(int), axis=-1) > 60


# ---------------------------------------- one pose
def test_a_metre_is_as_long_across_as_it_is_down():
    pose = hook((0, 0, 0), (0.8, 0, 0), (0, 0.8, 0))
    picture = visualize.draw_pose_3d(pose, HOOK, **STRAIGHT, panel_height=400)
    assert picture.shape == (400, 400, 3)
    assert picture.dtype == np.uint8
    top, across, down = (places(picture, color, 4) for color in HOOK.colors)
    assert across[0] - top[0] == pytest.approx(down[1] - top[1], abs=2)
    assert across[0] - top[0] > 150
    assert abs(across[1] - top[1]) < 2
    assert abs(down[0] - top[0]) < 2
    np.testing.assert_array_equal(visualize.draw_pose_3d(pose[None], HOOK, **STRAIGHT, panel_height=400), picture)


@pytest.mark.parametrize("azimuth", [0, 40, -120])
def test_people_stand_upright_in_either_axes(azimuth, standing):
    pose = standing()
    options = {"azimuth": azimuth, "elevation": 10}
    picture = visualize.draw_pose_3d(pose, H36M, **options)
    light = (picture[:280].min(axis=-1) > 150).nonzero()[0]  # head and spine are neutral and light
    rows, _ = np.nonzero(coloured(picture))
    assert light.min() < rows.min()
    assert light.max() < rows.max() - 40
    x, y, z = pose.T
    world = np.stack([x, z, -y], -1)  # what is forward in the one is along y in the other
    np.testing.assert_array_equal(visualize.draw_pose_3d(world, H36M, axes="world", **options), picture)


def test_left_is_warm_and_stands_where_the_camera_sees_it(standing):
    picture = visualize.draw_pose_3d(standing(), H36M, **STRAIGHT).astype(int)
    warm = picture[..., 0] - picture[..., 2] > 60
    cool = picture[..., 2] - picture[..., 0] > 60
    assert np.nonzero(warm)[1].mean() - np.nonzero(cool)[1].mean() > 40  # facing the camera, the left is at the right


def test_the_viewer_walks_round_to_the_right():
    ahead = hook((0, 0, 0), (0, 0, 0.6), (0, 0.6, 0))  # one limb leads away from the camera
    limb, other = HOOK.edge_colors
    straight = visualize.draw_pose_3d(ahead, HOOK, **STRAIGHT)
    assert (abs(straight.astype(int) - limb) < 12).all(axis=-1).sum() < 30  # seen end on
    side = visualize.draw_pose_3d(ahead, HOOK, azimuth=90, elevation=0)
    assert places(side, limb)[0] > places(side, other)[0] + 30
    back = visualize.draw_pose_3d(ahead, HOOK, azimuth=-90, elevation=0)
    assert places(back, limb)[0] < places(back, other)[0] - 30


def test_the_viewer_looks_down():
    ahead = hook((0, 0, 0), (0, 0, 0.6), (0.6, 0, 0))  # one limb leads away, the other to the right
    _, across = HOOK.edge_colors
    above = visualize.draw_pose_3d(ahead, HOOK, azimuth=0, elevation=60)
    rows = np.nonzero(coloured(above))[0]
    assert np.ptp(rows) > 60
    assert places(above, across)[1] > np.median(rows)  # what is farther away stands higher
    below = visualize.draw_pose_3d(ahead, HOOK, azimuth=0, elevation=-60)
    assert places(below, across)[1] < np.median(np.nonzero(coloured(below))[0])
    viewpoint = poses_3d._set_up_stage(ahead[None, None], None, "camera", 35.0, 20.0, 100).rotation
    np.testing.assert_allclose(viewpoint @ viewpoint.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(viewpoint) == pytest.approx(1)  # seen, not mirrored


@pytest.mark.parametrize("front", [0, 1])
def test_what_is_nearer_lies_over_what_is_farther(front):
    cross = Skeleton("cross", ("a", "b", "c", "d"), ((0, 1), (2, 3)), colors=((250, 0, 0),) * 2 + ((0, 250, 0),) * 2)
    depths = [0.0, 0.3] if front == 0 else [0.3, 0.0]
    pose = hook((-0.5, 0, depths[0]), (0.5, 0, depths[0]), (0, -0.5, depths[1]), (0, 0.5, depths[1]))
    picture = visualize.draw_pose_3d(pose, cross, **STRAIGHT, panel_height=400)
    red, green = (picture[..., channel] - picture[..., 2].astype(int) > 60 for channel in (0, 1))
    row, column = round(np.nonzero(red)[0].mean()), round(np.nonzero(green)[1].mean())
    assert tuple(picture[row, column].astype(int) > 100) == (front == 0, front == 1, False)
    assert picture[..., front].max() > picture[..., 1 - front].max() + 50  # and is brighter


def test_a_joint_that_is_no_number_is_left_out_with_its_limbs():
    whole = hook((0, 0, 0), (0.8, 0, 0), (0, 0.8, 0))
    lost = whole.copy()
    lost[1] = np.nan
    picture = visualize.draw_pose_3d(lost, HOOK, whole, **STRAIGHT)
    assert not (abs(picture.astype(int) - HOOK.edge_colors[0]) < 12).all(axis=-1).any()
    places(picture, HOOK.edge_colors[1])
    nobody = visualize.draw_pose_3d(np.full((3, 3), np.nan), HOOK)
    assert not coloured(nobody).any()


def test_truth_is_grey_and_its_distance_is_written(standing):
    truth = standing()
    grey = (slice(0, 280), slice(None))  # above the caption
    alone = visualize.draw_pose_3d(truth, H36M)
    both = visualize.draw_pose_3d(truth + 0.1, H36M, truth)
    shades = (abs(both[grey].astype(int) - visualize.TRUTH_COLOR) < 6).all(axis=-1).sum()
    assert shades > 300
    assert (abs(alone[grey].astype(int) - visualize.TRUTH_COLOR) < 6).all(axis=-1).sum() < shades / 5
    captions = [visualize.draw_pose_3d(truth + shift, H36M, truth)[290:, :60] for shift in (0.1, 0.1, 0.2)]
    np.testing.assert_array_equal(captions[0], captions[1])
    assert (captions[0] != captions[2]).any()


def test_a_wild_prediction_does_not_shrink_the_truth(standing):
    truth = standing()
    wild = truth.copy()
    wild[3] = 1e7, -1e9, 1e5
    picture = visualize.draw_pose_3d(wild, H36M, truth)
    rows, _ = np.nonzero((abs(picture[:280].astype(int) - visualize.TRUTH_COLOR) < 6).all(axis=-1))
    assert len(rows)
    track = np.repeat(truth[None], 20, axis=0)
    track[7, 3] = 1e7  # and without truth it does not shrink the rest of its track
    strip = visualize.lift_strip(seen(standing(frames=20)), track, H36M, H36M, num_frames=2)
    below, _ = np.nonzero(coloured(strip[324:]))
    assert np.ptp(below) > 120


@pytest.mark.parametrize(
    ("poses", "options", "message"),
    [
        (np.zeros((2, 3, 17, 3)), {}, r"poses_m of h36m must be \[17, 3\] or \[M, 17, 3\], got \(2, 3, 17, 3\)"),
        (np.zeros((17, 2)), {}, r"got \(17, 2\); check the skeleton"),
        (np.zeros((16, 3)), {}, r"got \(16, 3\)"),
        (np.zeros((17, 3)), {"truth_m": np.zeros((2, 17, 3))}, r"truth_m must have the shape of poses_m"),
        (np.zeros((17, 3)), {"axes": "z"}, r"axes must be 'camera' \(y down\) or 'world' \(z up\), got 'z'"),
        (np.zeros((17, 3)), {"azimuth": np.nan}, "finite degrees, got nan and 15.0"),
    ],
)
def test_draw_pose_3d_refuses(poses, options, message):
    with pytest.raises(ValueError, match=message):
        visualize.draw_pose_3d(poses, H36M, **options)


# ---------------------------------------- 2D beside 3D
def test_the_input_stands_left_on_its_image(standing):
    image = np.full((400, 600, 3), 90, np.uint8)
    keypoints = 300 + 100 * standing()[:, :2]
    picture = visualize.draw_lift(keypoints, standing(), H36M, H36M, image=image, panel_height=200)
    assert picture.shape == (200, 300 + visualize.GAP_PX + 200, 3)
    left = visualize.draw_skeletons(
        np.full((200, 300, 3), 90, np.uint8), (keypoints[None] + 0.5) / 2 - 0.5, None, H36M, line_width=2
    )
    np.testing.assert_array_equal(picture[:, :300], left)
    right = visualize.draw_pose_3d(standing(), H36M, panel_height=200)
    np.testing.assert_array_equal(picture[:, -200:], right)
    assert (image == 90).all()


def test_without_an_image_the_people_fill_the_panel(standing):
    options = {"panel_height": 200}
    picture = visualize.draw_lift(seen(standing()), standing(), H36M, H36M, **options)
    rows, _ = np.nonzero(coloured(picture[:, :-204]))
    assert np.ptp(rows) > 100
    moved = visualize.draw_lift(7 * seen(standing()) - 1e4, standing(), H36M, H36M, **options)
    np.testing.assert_allclose(moved, picture, atol=2)
    scores = np.ones(17)
    scores[H36M.index("left_wrist")] = 0.1
    unsure = visualize.draw_lift(seen(standing()), standing(), H36M, H36M, scores=scores, **options)
    assert (unsure[:, :-204] != picture[:, : unsure.shape[1] - 204]).any() or unsure.shape != picture.shape


def test_several_people_and_other_keypoints(standing):
    people = np.stack([standing(), standing() + [1.5, 0, 1]])
    keypoints = np.random.default_rng(0).uniform(0, 400, (2, 17, 2))
    picture = visualize.draw_lift(keypoints, people, COCO, H36M, people, scores=np.ones((2, 17)))
    one = visualize.draw_lift(keypoints[0], people[0], COCO, H36M)
    assert coloured(picture).any()
    assert picture.shape[0] == one.shape[0]
    columns = np.nonzero(coloured(picture[:, -320:]).any(axis=0))[0]
    assert np.diff(columns).max() > 5  # two stand apart


def test_a_strip_shows_the_track_at_one_scale(standing):
    poses = standing(frames=9)
    keypoints = seen(poses) + 40 * np.arange(9)[:, None, None] * [1, 0]  # walks to the right
    picture = visualize.lift_strip(keypoints, poses, H36M, H36M, poses, num_frames=3, panel_height=180)
    assert picture.shape[0] == 2 * 180 + visualize.GAP_PX
    width = (picture.shape[1] - 2 * visualize.GAP_PX) // 3
    panels = [picture[:180, start : start + width] for start in range(0, picture.shape[1], width + visualize.GAP_PX)]
    centres = [np.nonzero(coloured(panel))[1].mean() for panel in panels]
    steps = np.diff(centres)  # frames 0, 4 and 8
    assert steps[0] == pytest.approx(steps[1], rel=0.15)
    assert steps[0] > 10
    both = np.repeat(keypoints[None], 2, axis=0), np.repeat(poses[None], 2, axis=0)
    assert visualize.lift_strip(*both, H36M, H36M, num_frames=3, panel_height=180).shape == picture.shape


@pytest.mark.parametrize(
    ("keypoints", "poses", "options", "message"),
    [
        (np.zeros((5, 17, 2)), np.zeros((4, 17, 3)), {}, "poses_m must have the keypoints' 5 frames, got 4"),
        (np.zeros((5, 17, 2)), np.zeros((17, 3)), {}, r"must be \[T, 17, 3\] or \[M, T, 17, 3\], got \(17, 3\)"),
        (np.zeros((5, 16, 2)), np.zeros((5, 17, 3)), {}, r"keypoints of h36m must be \[M, T, 17, 2\], got \(1, 5, 16"),
        (np.zeros((0, 17, 2)), np.zeros((0, 17, 3)), {}, "at least one frame, got 0"),
        (np.zeros((5, 17, 2)), np.zeros((5, 17, 3)), {"num_frames": 0}, "num_frames must be at least 1, got 0"),
        (np.zeros((5, 17, 2)), np.zeros((5, 17, 3)), {"scores": np.ones((4, 17))}, r"scores must be \(1, 5, 17\)"),
    ],
)
def test_lift_strip_refuses(keypoints, poses, options, message):
    with pytest.raises(ValueError, match=message):
        visualize.lift_strip(keypoints, poses, H36M, H36M, **options)


def test_every_option_reaches_the_panels_of_pictures_strips_and_animations(monkeypatch, tmp_path, standing):
    """Whatever is not the default arrives, and the others are left to their defaults."""
    told, before = [], poses_3d.lift_panels

    def panels(*given, **options):
        told.append((given[4:6], options))
        return before(*given, **options)

    monkeypatch.setattr(poses_3d, "lift_panels", panels)
    monkeypatch.setattr(visualize.animations, "lift_panels", panels)
    options = {"axes": "world", "azimuth": 5, "elevation": 50, "min_score": 0.7, "panel_height": 64}
    poses, truth, images = standing(frames=2), 2 * standing(frames=2), np.zeros((2, 40, 60, 3), np.uint8)
    scores = np.random.default_rng(0).random((2, 17))
    sets = H36M, H36M
    visualize.draw_lift(seen(poses)[0], poses[0], *sets, truth[0], images[0], scores=scores[0], **options)
    visualize.lift_strip(seen(poses), poses, *sets, truth, images, 1, scores=scores, **options)
    path = tmp_path / "a.gif"
    visualize.write_animation(path, seen(poses), poses, *sets, truth, images, scores=scores, **options)
    for (one_truth, one_images), given in told:
        count = np.size(one_truth) // 51
        np.testing.assert_array_equal(np.reshape(one_truth, (count, 17, 3)), truth[:count])
        assert len(one_images) == count
        np.testing.assert_array_equal(np.reshape(given.pop("scores"), (count, 17)), scores[:count])
        assert given == options
    assert len(told) == 3


@pytest.mark.parametrize(
    "option", [{"axes": "world"}, {"azimuth": 5}, {"elevation": 50}, {"truth_m": True}, {"panel_height": 64}]
)
def test_every_option_of_a_pose_changes_its_picture(option, standing):
    if "truth_m" in option:
        option = {"truth_m": 0.9 * standing()}
    plain, other = visualize.draw_pose_3d(standing(), H36M), visualize.draw_pose_3d(standing(), H36M, **option)
    assert other.shape != plain.shape or (other != plain).any()
    lifted = visualize.draw_lift(seen(standing()), standing(), H36M, H36M, **option)[:, -other.shape[1] :]
    np.testing.assert_array_equal(lifted[:40], other[:40])  # above the caption
