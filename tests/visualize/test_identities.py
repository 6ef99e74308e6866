"""People with identities are checked by their pixels, on pictures, in space and in files that grow."""

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import COCO, H36M, Skeleton
from kerapose.visualize import poses_3d

STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
POINTS = np.array([[(60, 60), (40, 100), (80, 100)], [(160, 60), (140, 100), (180, 100)]], float)


def blank(height=140, width=220):
    return np.zeros((height, width, 3), np.uint8)


def hue_of(picture, color):
    """Where a picture has the hue of a colour, however faded."""
    parts = picture.astype(float)
    length = np.linalg.norm(parts, axis=-1) * np.linalg.norm(color.astype(float))
    return (length > 5000) & (parts @ color.astype(float) > 0.995 * np.maximum(length, 1))


# ---------------------------------------- colours
def test_an_identity_has_the_same_bright_colour_always_and_its_neighbours_have_others():
    colors = visualize.identity_colors(np.arange(12))
    assert colors.shape == (12, 3)
    assert colors.dtype == np.uint8
    assert (colors.max(axis=-1) == 255).all()
    np.testing.assert_array_equal(visualize.identity_colors([7]), colors[7:8])
    distances = np.linalg.norm(colors[:, None].astype(float) - colors[None], axis=-1)
    assert distances[~np.eye(12, dtype=bool)].min() > 30
    assert visualize.identity_colors([]).shape == (0, 3)


# ---------------------------------------- pictures
def test_people_are_drawn_in_the_colours_of_their_identities_with_numbers_above_their_heads():
    image = blank()
    picture = visualize.draw_identities(image, POINTS, None, STICK, [3, 8], line_width=4)
    assert not image.any()
    for (number, points), color in zip(enumerate(POINTS), visualize.identity_colors([3, 8]), strict=True):
        for x, y in points.astype(int):
            assert picture[y, x].tolist() == color.tolist()
        assert picture[80, int(points[:2, 0].mean())].tolist() == color.tolist()  # the middle of a limb
        above = picture[:54, 100 * number : 100 * (number + 1)]
        assert (np.abs(above.astype(int) - visualize.BACKGROUND).max(axis=-1) < 3).sum() > 40  # the ground of a number
    one, two = (visualize.draw_identities(image, POINTS, None, STICK, ids)[:54, :100] for ids in ([3, 8], [5, 8]))
    assert (one != two).any()


def test_missing_people_and_joints_are_left_out():
    scores = np.array([[0.9, 0.9, 0.1], [0.0, 0.0, 0.0]])
    picture = visualize.draw_identities(blank(), POINTS, scores, STICK, [0, 1])
    assert picture[100, 40].any()
    assert not picture[100, 80].any()
    assert not picture[:, 110:].any()
    nobody = visualize.draw_identities(blank(), np.zeros((0, 3, 2)), None, STICK, [], trails=[])
    assert not nobody.any()


def test_trails_lead_to_where_people_are_in_their_colours():
    trails = [np.array([(10, 130), (200, 130)]), np.zeros((0, 2))]
    picture = visualize.draw_identities(blank(), POINTS, np.zeros((2, 3)), STICK, [0, 1], trails, line_width=4)
    assert picture[130, 100].tolist() == visualize.identity_colors([0])[0].tolist()
    assert not picture[:120].any()


def test_draw_identities_refuses():
    with pytest.raises(ValueError, match=r"ids must be 2, one per person, got \(3,\); give one for each"):
        visualize.draw_identities(blank(), POINTS, None, STICK, [0, 1, 2])
    with pytest.raises(ValueError, match="trails must be 2, one per person, got 1; an empty one is none"):
        visualize.draw_identities(blank(), POINTS, None, STICK, [0, 1], trails=[np.zeros((0, 2))])
    with pytest.raises(ValueError, match=r"keypoints of coco must be \[M, 17, 2\]"):
        visualize.draw_identities(blank(), POINTS, None, COCO, [0, 1])
    with pytest.raises(ValueError, match=r"colors must be \[2, 3\] RGB, one per person, got \(3,\)"):
        visualize.draw_skeletons(blank(), POINTS, None, STICK, colors=(255, 0, 0))


# ---------------------------------------- in space
def test_each_person_has_a_stage_and_who_never_meets_shares_one(standing):
    poses = standing(6)
    ids = [[4], [4, 7], [4, 7], [7], [7, 9], [9]]  # 4 and 9 never meet
    panels = list(visualize.people_panels(ids, [poses[:1].repeat(len(one), 0) for one in ids], H36M, 200))
    assert [panel.shape for panel in panels] == [(200, 98, 3)] * 6  # two stages below each other
    colors = dict(zip((4, 7, 9), visualize.identity_colors([4, 7, 9]), strict=True))
    for people, panel in zip(ids, panels, strict=True):
        upper, lower = panel[:98], panel[102:]
        for identity, color in colors.items():
            place = lower if identity == 7 else upper
            assert hue_of(place, color).any() == (identity in people)
        assert (panel[98:102] == 255).all()


def test_who_has_no_pose_is_not_drawn_and_of_too_many_those_seen_longest_are(standing):
    pose = standing()[None]
    nan = np.full_like(pose, np.nan)
    (panel,) = visualize.people_panels([[0, 1]], [np.concatenate([pose, nan])], H36M, 120)
    assert panel.shape == (120, 120, 3)
    assert hue_of(panel, visualize.identity_colors([0])[0]).any()
    assert not hue_of(panel, visualize.identity_colors([1])[0]).any()
    nobody, empty = visualize.people_panels([[1], []], [nan, nan[:0]], H36M, 120)
    assert (nobody == visualize.BACKGROUND).all()
    assert (empty == visualize.BACKGROUND).all()
    ids = [[0, 1, 2], [1, 2], [2]]
    poses = [np.repeat(pose, len(one), axis=0) for one in ids]
    first = next(visualize.people_panels(ids, poses, H36M, 160, most=2))
    assert [hue_of(first, color).any() for color in visualize.identity_colors([0, 1, 2])] == [False, True, True]


def test_a_stage_keeps_its_scale_over_time(standing):
    poses = standing()[None] * np.array([1.0, 0.5])[:, None, None]
    panels = list(visualize.people_panels([[0], [0]], poses[:, None], H36M, 300))
    stage = poses_3d._set_up_stage(poses[None], None, "camera", visualize.AZIMUTH_DEG, visualize.ELEVATION_DEG, 300)
    for panel, pose in zip(panels, poses, strict=True):
        x, y = stage.place(pose[H36M.index("left_wrist")])[0].round().astype(int)
        assert hue_of(panel[y - 1 : y + 2, x - 1 : x + 2], visualize.identity_colors([0])[0]).any()


def test_people_panels_refuses(standing):
    with pytest.raises(
        ValueError, match=r"poses_m of h36m must be \[2, 17, 3\] for 2 people, got \(1, 17, 3\) in frame"
    ):
        next(visualize.people_panels([[0, 1]], [standing()[None]], H36M))


# ---------------------------------------- files
def test_a_video_is_written_while_its_pictures_come(tmp_path, read_mp4):
    path, there = tmp_path / "new" / "out.mp4", []

    def pictures():
        for shade in range(40):
            there.append([one.name for one in path.parent.iterdir()])
            yield np.full((33, 50, 3), 5 * shade, np.uint8)

    assert visualize.write_mp4(path, pictures(), fps=12.5) == 40
    assert {tuple(names) for names in there} == {("out.mp4.unfinished",)}
    frames, rate, codec = read_mp4(path)
    assert codec.startswith("h264")
    assert float(rate) == 12.5
    assert frames.shape == (40, 34, 50, 3)
    assert np.abs(frames.astype(int) - 5 * np.arange(40)[:, None, None, None]).max() < 6
    assert [one.name for one in path.parent.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64])
def test_numpy_scalars_are_frame_rates(tmp_path, read_mp4, number):
    pictures, keypoints = np.zeros((3, 32, 48, 3), np.uint8), np.zeros((1, 3, 17, 2))
    visualize.write_mp4(tmp_path / "a.mp4", pictures, fps=number(25))
    visualize.annotate_video(tmp_path / "b.mp4", pictures, keypoints, None, COCO, fps=number(25))
    visualize.write_animation(tmp_path / "c.mp4", keypoints, np.zeros((1, 3, 17, 3)), COCO, H36M, fps=number(25))
    visualize.write_animation(tmp_path / "d.gif", keypoints, np.zeros((1, 3, 17, 3)), COCO, H36M, fps=number(25))
    assert [float(read_mp4(tmp_path / f"{name}.mp4")[1]) for name in "abc"] == [25.0] * 3


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {}, "a video must have at least one picture, got none; give some"),
        (
            [blank(), blank(64)],
            {},
            r"all pictures must have the size of the first, \(140, 220, 3\), got \(64, 220, 3\) at 1",
        ),
        ([blank().astype("float32")], {}, r"pictures must be RGB uint8 \[H, W, 3\], got float32"),
        ([blank()], {"fps": 0}, "fps must be a positive number of frames a second, got 0"),
        ([blank()], {"path": "out.avi"}, "path must end in .mp4, got '.*out.avi'"),
    ],
)
def test_a_video_that_fails_leaves_what_was_there(tmp_path, pictures, options, message):
    path = tmp_path / options.pop("path", "out.mp4")
    path.write_text("before")
    with pytest.raises(ValueError, match=message):
        visualize.write_mp4(path, pictures, **options)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"
