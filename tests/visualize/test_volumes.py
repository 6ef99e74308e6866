"""Strips of clips, and heatmap volumes, by their pixels."""

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import COCO, JHMDB, Skeleton

STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))


def stick(*points):
    return np.array([points], np.float32)  # [1, K, 2]


def spread(seed=0, frames=None):
    """A person whose joints stand apart, so that none hides another: [1, K, 2] or [1, T, K, 2], in 120 x 160."""
    columns, rows = np.meshgrid(np.linspace(20, 140, 6), np.linspace(20, 100, 3))
    grid = np.random.default_rng(seed).permutation(np.stack([columns, rows], -1).reshape(-1, 2))[:17]
    return grid[None].round() if frames is None else np.repeat(grid.round()[None, None], frames, axis=1)


# ---------------------------------------- strips
def panels_of(picture, count):
    """Cuts a strip of equal panels at its gaps."""
    width = (picture.shape[1] - (count - 1) * visualize.GAP_PX) // count
    return [picture[:, start : start + width] for start in range(0, picture.shape[1], width + visualize.GAP_PX)]


def foreground(panel):
    """Pixels that are neither background nor the grey of the caption: the coloured ones."""
    return np.ptp(panel.astype(int), axis=-1) > 60


def test_clip_strip_shows_the_frames_asked_for_in_order():
    keypoints = np.repeat(stick((20, 40), (40, 40), (20, 60))[:, None], 9, axis=1)  # [1, T, K, 2]
    keypoints[..., 0] += 10 * np.arange(9)[None, :, None]  # walks to the right
    picture = visualize.clip_strip(keypoints, None, STICK, (120, 160), num_frames=3, panel_height=180)
    assert picture.shape[0] == 180
    assert picture.dtype == np.uint8
    centres = [np.argwhere(foreground(panel))[:, 1].mean() for panel in panels_of(picture, 3)]
    steps = np.diff(centres)  # frames 0, 4 and 8 are 40 px apart
    assert steps[0] > 0
    assert steps[0] == pytest.approx(steps[1], rel=0.05)
    gap = picture[:, panels_of(picture, 3)[0].shape[1]]
    assert (gap == 255).all()


def test_clip_strip_is_cropped_around_the_people():
    small = np.repeat(stick((1000, 500), (1030, 500), (1000, 530))[:, None], 4, axis=1)
    panels = panels_of(visualize.clip_strip(small, None, STICK, (1080, 1920), num_frames=4), 4)
    rows, columns = np.nonzero(foreground(panels[0]))
    assert np.ptp(rows) > 0.7 * panels[0].shape[0]
    assert np.ptp(columns) > 0.7 * panels[0].shape[1]


def test_clip_strip_is_not_misled_by_a_stray_point():
    keypoints = np.repeat(stick((20, 40), (40, 40), (20, 60))[:, None], 4, axis=1)
    keypoints[0, 2, 1] = (1e9, -1e9)
    picture = visualize.clip_strip(keypoints, None, STICK, (120, 160), num_frames=4)
    assert picture.shape[0] == 240
    assert picture.shape[1] < 4 * 600
    rows, _ = np.nonzero(foreground(panels_of(picture, 4)[0]))
    assert np.ptp(rows) > 20  # within the frame's 120 rows the person takes 20


@pytest.mark.parametrize("size", [(100, 300), (300, 100)])
def test_a_stray_point_counts_up_to_the_border_of_a_frame_of_any_form(size):
    height, width = size
    box = visualize.volumes._people_box(np.float64([(20, 30), (1e6, 1e6), (-9, -9)]), size)
    margin = 0.12 * 300
    assert box == pytest.approx((-margin, -margin, width + margin, height + margin))
    assert visualize.volumes._people_box(np.zeros((0, 2)), size) == (0, 0, width, height)
    point = visualize.volumes._people_box(np.float64([(20, 30)]), size)
    assert point == pytest.approx((20 - 0.96, 30 - 0.96, 20 + 0.96, 30 + 0.96))  # 0.12 of 8 pixels


def test_clip_strip_shows_people_anywhere_in_a_wide_frame():
    keypoints = np.repeat(stick((20, 40), (280, 40), (20, 60))[:, None], 2, axis=1)
    picture = visualize.clip_strip(keypoints, None, STICK, (120, 300), num_frames=1)
    margin = 0.12 * 260
    assert picture.shape == (240, round(240 * (260 + 2 * margin) / (20 + 2 * margin)), 3)


def test_clip_strip_without_people_shows_empty_frames():
    unsure = visualize.clip_strip(np.full((1, 5, 17, 2), 50.0), np.zeros((1, 5, 17)), COCO, (120, 160), num_frames=5)
    assert unsure.shape == (240, 5 * 320 + 4 * visualize.GAP_PX, 3)
    assert not foreground(unsure).any()
    nobody = visualize.clip_strip(np.zeros((0, 5, 17, 2)), np.zeros((0, 5, 17)), COCO, (120, 160), num_frames=5)
    np.testing.assert_array_equal(nobody, unsure)


def test_clip_strip_of_a_short_or_empty_clip():
    one = visualize.clip_strip(spread(frames=1), None, COCO, (120, 160), num_frames=8)
    assert foreground(one).any()
    assert not (one == 255).all(axis=(0, 2)).any()  # a single panel, no gap
    with pytest.raises(ValueError, match="at least one frame, got 0"):
        visualize.clip_strip(np.zeros((1, 0, 17, 2)), None, COCO, (120, 160))
    with pytest.raises(ValueError, match="num_frames must be at least 1, got 0"):
        visualize.clip_strip(spread(frames=3), None, COCO, (120, 160), num_frames=0)


# ---------------------------------------- volumes
def bump_volume(frames=3, channels=17):
    volume = np.zeros((frames, 20, 24, channels), np.float32)
    for channel in range(channels):
        volume[:, 2 + channel, 12, channel] = 1
    return volume


def test_a_channel_glows_in_the_colour_of_its_joint_or_limb():
    for channels, colors in ((15, JHMDB.colors), (14, JHMDB.edge_colors)):
        picture = visualize.draw_volume(bump_volume(channels=channels), skeleton=JHMDB, scale=5)
        assert picture.shape == (100, 120, 3)
        assert picture.dtype == np.uint8
        for channel, color in enumerate(colors):
            assert tuple(picture[5 * (2 + channel) + 2, 5 * 12 + 2]) == color  # the centre of the volume's pixel
        assert (picture[:, :50] == visualize.BACKGROUND).all()


def test_own_colours_and_a_colour_wheel():
    volume = bump_volume(channels=2)
    own = visualize.draw_volume(volume, colors=[(255, 0, 0), (0, 200, 0)], scale=1)
    assert own[2, 12].tolist()[0] == 255
    assert own[3, 12].tolist()[1] == 200
    wheel = visualize.draw_volume(volume, scale=1)
    assert not np.array_equal(wheel[2, 12], wheel[3, 12])


def test_half_a_value_is_half_the_way_from_the_background():
    volume = 0.5 * bump_volume(channels=1)
    pixel = visualize.draw_volume(volume, colors=[(219, 222, 231)], scale=1)[2, 12]
    np.testing.assert_array_equal(pixel, np.array(visualize.BACKGROUND) + 100)


def test_values_beyond_their_range_and_nan_are_safe():
    volume = bump_volume(channels=1)
    volume[:, 2, 12], volume[:, 5, 5], volume[:, 6, 6] = 7, np.nan, -3
    picture = visualize.draw_volume(volume, colors=[(255, 255, 255)], scale=1)
    assert (picture[2, 12] == 255).all()
    assert (picture[5, 5] == visualize.BACKGROUND).all()
    assert (picture[6, 6] == visualize.BACKGROUND).all()


def test_the_frame_asked_for_is_drawn():
    volume = np.zeros((4, 8, 8, 1), np.float32)
    volume[3, 4, 4] = 1
    lit = [(visualize.draw_volume(volume, frame, scale=1) != visualize.BACKGROUND).any() for frame in range(4)]
    assert lit == [False, False, False, True]
    volume[2] = volume[3]
    np.testing.assert_array_equal(visualize.draw_volume(volume), visualize.draw_volume(volume, 2))


def test_a_skeleton_lies_exactly_over_its_heatmap():
    volume = np.zeros((1, 20, 24, 3), np.float32)
    keypoints = np.array([[[(4, 4), (18, 4), (4, 15)]]], np.float32)  # [M, T, K, 2]
    plain = visualize.draw_volume(volume, skeleton=STICK, scale=5)
    drawn = visualize.draw_volume(volume, keypoints=keypoints, skeleton=STICK, scale=5)
    changed = (plain != drawn).any(axis=-1)
    for x, y in keypoints[0, 0].astype(int):
        block = changed[5 * y : 5 * y + 5, 5 * x : 5 * x + 5]
        assert block[2, 2]  # the middle of the pixel's block
    assert changed[22, 22:93].all()
    assert not changed[30:70, 40:].any()
    unsure = visualize.draw_volume(volume, keypoints=keypoints, scores=np.zeros((1, 1, 3)), skeleton=STICK, scale=5)
    np.testing.assert_array_equal(unsure, plain)


def test_of_each_frame_those_are_drawn_who_are_seen_in_it():
    volume, keypoints = np.zeros((2, 20, 24, 3), np.float32), np.full((1, 2, 3, 2), 9.0)
    scores = np.array([[[0, 0, 0], [1, 1, 1]]])
    pictures = [visualize.draw_volume(volume, t, None, keypoints, scores, STICK) for t in range(2)]
    assert [(picture != visualize.BACKGROUND).any() for picture in pictures] == [False, True]


def test_volume_strip_shows_spaced_frames():
    volume = np.zeros((9, 20, 20, 1), np.float32)
    for frame in range(9):
        volume[frame, 5, 2 * frame + 1] = 1
    strip = visualize.volume_strip(volume, num_frames=3, colors=[(255, 0, 0)], scale=6)
    assert strip.shape == (120, 3 * 120 + 2 * visualize.GAP_PX, 3)
    columns = [np.argwhere(foreground(panel))[:, 1].mean() // 6 for panel in panels_of(strip, 3)]
    assert columns == [1, 9, 17]  # frames 0, 4 and 8


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((20, 24, 17), {}, r"volume must be \[T, H, W, C\] and not empty, got \(20, 24, 17\)"),
        ((0, 20, 24, 17), {}, "not empty"),
        ((3, 20, 24, 17), {"frame": 3}, "frame must be 0 to 2, got 3"),
        ((3, 20, 24, 17), {"frame": -1}, "frame must be 0 to 2, got -1"),
        ((3, 20, 24, 17), {"keypoints": np.zeros((1, 3, 17, 2))}, "keypoints need their skeleton"),
        ((3, 20, 24, 17), {"keypoints": np.zeros((1, 2, 17, 2)), "skeleton": COCO}, "volume's 3 frames, got 2"),
        ((3, 20, 24, 17), {"colors": [(0, 0, 0)]}, "colors must be 17 RGB triples, one per channel"),
    ],
)
def test_draw_volume_refuses(shape, options, message):
    with pytest.raises(ValueError, match=message):
        visualize.draw_volume(np.zeros(shape, np.float32), **options)
