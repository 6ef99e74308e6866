"""Pictures are checked by their pixels: what is drawn where, in which colour, and what is not drawn."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from kerapose import visualize
from kerapose.skeletons import COCO, JHMDB, Skeleton

STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))


def black(height=120, width=160):
    return np.zeros((height, width, 3), np.uint8)


def stick(*points):
    return np.array([points], np.float32)  # [1, K, 2]


def spread(seed=0, frames=None):
    """A person whose joints stand apart, so that none hides another: [1, K, 2] or [1, T, K, 2], in 120 x 160."""
    columns, rows = np.meshgrid(np.linspace(20, 140, 6), np.linspace(20, 100, 3))
    grid = np.random.default_rng(seed).permutation(np.stack([columns, rows], -1).reshape(-1, 2))[:17]
    return grid[None].round() if frames is None else np.repeat(grid.round()[None, None], frames, axis=1)


# ---------------------------------------- skeletons
def test_each_joint_has_its_colour_and_the_image_is_left_alone():
    image, keypoints = black(), spread()
    picture = visualize.draw_skeletons(image, keypoints, np.ones((1, 17)), COCO)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    for (x, y), color in zip(keypoints[0].astype(int), COCO.colors, strict=True):
        assert tuple(picture[y, x]) == color
    assert not image.any()


def test_a_limb_has_its_colour_all_along_and_nothing_is_drawn_elsewhere():
    picture = visualize.draw_skeletons(black(), stick((20, 60), (140, 60), (20, 100)), None, STICK, line_width=3)
    across, down = STICK.edge_colors
    assert {tuple(pixel) for pixel in picture[60, 40:120]} == {across}
    assert {tuple(pixel) for pixel in picture[75:90, 20]} == {down}
    assert not picture[:50].any()
    assert not picture[70:, 40:].any()


def test_an_unsure_joint_is_left_out_with_its_limbs():
    keypoints = stick((20, 60), (140, 60), (20, 100))
    picture = visualize.draw_skeletons(black(), keypoints, np.array([[0.9, 0.29, 0.3]]), STICK, line_width=3)
    assert not picture[:, 40:].any()
    assert not picture[:50].any()
    assert tuple(picture[60, 20]) == STICK.colors[0]
    assert tuple(picture[100, 20]) == STICK.colors[2]
    assert tuple(picture[80, 20]) == STICK.edge_colors[1]
    assert not visualize.draw_skeletons(black(), keypoints, np.full((1, 3), 0.9), STICK, min_score=0.95).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_joint_that_is_no_number_is_left_out_with_its_limbs(bad):
    picture = visualize.draw_skeletons(black(), stick((20, 60), (bad, 60), (20, 100)), None, STICK)
    assert not picture[:, 40:].any()
    assert not picture[:50].any()
    assert tuple(picture[60, 20]) == STICK.colors[0]
    assert not visualize.draw_skeletons(black(), np.full((2, 3, 2), bad), None, STICK).any()


@pytest.mark.parametrize("far", [400, 1e5, 1e12])
def test_a_limb_that_leaves_the_image_is_cut_at_the_border(far):
    picture = visualize.draw_skeletons(black(), stick((20, 60), (far, 60), (20, 100)), None, STICK, line_width=3)
    assert {tuple(pixel) for pixel in picture[60, 40:]} == {STICK.edge_colors[0]}
    outside = visualize.draw_skeletons(black(), stick((-50, 60), (-far, 60), (-50, 90)), None, STICK)
    assert not outside.any()


def test_lines_are_wider_on_a_larger_image():
    def thickness(size):
        keypoints = stick((size // 4, size // 2), (size * 3 // 4, size // 2), (size // 4, size * 3 // 4))
        picture = visualize.draw_skeletons(black(size, size), keypoints, None, STICK)
        return np.count_nonzero(picture[:, size // 2].any(axis=-1))

    assert thickness(100) < thickness(600) < thickness(2000)


def test_several_people_or_none():
    keypoints = np.concatenate([stick((20, 20), (60, 20), (20, 50)), stick((100, 70), (140, 70), (100, 100))])
    picture = visualize.draw_skeletons(black(), keypoints, None, STICK)
    assert tuple(picture[20, 20]) == tuple(picture[70, 100]) == STICK.colors[0]
    assert not visualize.draw_skeletons(black(), np.zeros((0, 3, 2)), np.zeros((0, 3)), STICK).any()


@pytest.mark.parametrize(
    ("image", "keypoints", "scores", "message"),
    [
        (black().astype(np.float32), np.zeros((1, 17, 2)), None, "image must be RGB uint8"),
        (black()[..., 0], np.zeros((1, 17, 2)), None, "image must be RGB uint8"),
        (black(), np.zeros((17, 2)), None, r"keypoints of coco must be \[M, 17, 2\], got \(17, 2\)"),
        (black(), np.zeros((1, 15, 2)), None, r"got \(1, 15, 2\); check the skeleton"),
        (black(), np.zeros((1, 17, 2)), np.ones(17), r"scores must be \(1, 17\), one per keypoint, got \(17,\)"),
    ],
)
def test_draw_skeletons_refuses(image, keypoints, scores, message):
    with pytest.raises(ValueError, match=message):
        visualize.draw_skeletons(image, keypoints, scores, COCO)


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


# ---------------------------------------- people with boxes and labels
def test_a_box_is_drawn_on_its_border_alone():
    plain = visualize.draw_skeletons(black(), stick((60, 60), (100, 60), (60, 90)), None, STICK, line_width=1)
    picture = visualize.draw_skeletons(
        black(), stick((60, 60), (100, 60), (60, 90)), None, STICK, line_width=1, boxes=[[40, 30, 120, 110]]
    )
    changed = (plain != picture).any(axis=-1)
    assert changed[30, 40:121].all()
    assert changed[110, 40:121].all()
    assert changed[30:111, 40].all()
    assert changed[30:111, 120].all()
    assert not changed[33:108, 43:118].any()
    assert not changed[:27].any()


def test_labels_stand_above_their_box_and_stay_inside_the_image():
    people, boxes = np.full((2, 3, 2), np.nan), [[60, 60, 100, 100], [-50, -80, 30, 20]]
    options = {"line_width": 1, "boxes": boxes}
    plain = visualize.draw_skeletons(black(), people, None, STICK, **options)
    picture = visualize.draw_skeletons(black(), people, None, STICK, labels=["one", "two"], **options)
    rows, columns = np.nonzero((plain != picture).any(axis=-1))
    first = columns >= 50
    assert 40 < rows[first].min() < rows[first].max() <= 60
    assert columns[first].min() >= 60
    assert rows[~first].max() < 30  # the second box begins outside
    ground = (picture[:30, :40] == visualize.BACKGROUND).all(axis=-1)
    assert ground.sum() > 50
    assert picture[:20, :20].max() > 150  # the letters


def test_without_boxes_a_label_stands_at_its_person():
    people = np.concatenate([stick((60, 60), (100, 70), (70, 100)), np.full((1, 3, 2), np.nan)])
    plain = visualize.draw_skeletons(black(), people, None, STICK)
    picture = visualize.draw_skeletons(black(), people, None, STICK, labels=["here", "nobody"])
    rows, columns = np.nonzero((plain != picture).any(axis=-1))
    assert 40 < rows.min() < rows.max() <= 60
    assert 59 <= columns.min() < columns.max() < 120  # and nothing where nobody is


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": [[0, 0, 9, 9]] * 2}, r"boxes must be finite \[1, 4\], one per person, got \(2, 4\)"),
        ({"boxes": [[0, 0, np.nan, 9]]}, "boxes must be finite"),
        ({"labels": ["a", "b"]}, "labels must be 1, one per person, got 2"),
    ],
)
def test_boxes_and_labels_are_one_per_person(options, message):
    with pytest.raises(ValueError, match=message):
        visualize.draw_skeletons(black(), spread(), None, COCO, **options)


# ---------------------------------------- heatmaps on images
def single_peak(height, width, row, column, channels=2, channel=1):
    heatmaps = np.zeros((height, width, channels), np.float32)
    heatmaps[row, column, channel] = 1
    return heatmaps


@pytest.mark.parametrize(("aligned_corners", "place"), [(False, (40, 56)), (True, (10 * 63 / 15, 7 * 95 / 11))])
def test_a_heatmap_glows_where_its_codec_puts_the_keypoint(aligned_corners, place):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    heatmaps = single_peak(16, 12, row=10, column=7)
    options = {"colors": [(0, 255, 0), (255, 0, 0)], "opacity": 1.0, "aligned_corners": aligned_corners}
    picture = visualize.draw_heatmaps(image, heatmaps, **options)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    red = picture[..., 0].astype(float) - picture[..., 2]  # grey elsewhere
    rows, columns = np.mgrid[:64, :96]
    assert (red * rows).sum() / red.sum() == pytest.approx(place[0], abs=0.2)
    assert (red * columns).sum() / red.sum() == pytest.approx(place[1], abs=0.2)


def test_an_image_without_heat_is_grey_and_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    before = image.copy()
    picture = visualize.draw_heatmaps(image, np.zeros((16, 12, 17)), COCO)
    assert (picture == picture[..., :1]).all()
    np.testing.assert_allclose(picture[..., 0], image @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(image, before)


def test_joints_glow_in_their_colours_as_far_as_opacity_goes():
    heatmaps = np.zeros((12, 16, 17), np.float32)
    heatmaps[3, 4, COCO.index("left_wrist")] = heatmaps[9, 12, COCO.index("right_ankle")] = 1
    picture = visualize.draw_heatmaps(black(48, 64), heatmaps, COCO, opacity=1.0)
    assert tuple(picture[12, 16]) == COCO.colors[COCO.index("left_wrist")]
    assert tuple(picture[36, 48]) == COCO.colors[COCO.index("right_ankle")]
    half = visualize.draw_heatmaps(black(48, 64), heatmaps, COCO, opacity=0.5)
    np.testing.assert_allclose(half, picture / 2, atol=1)
    wild = heatmaps.copy()
    wild[3, 4, COCO.index("left_wrist")], wild[0, 0, 0], wild[11, 15, 0] = 7, -3, np.nan
    np.testing.assert_array_equal(visualize.draw_heatmaps(black(48, 64), wild, COCO, opacity=1.0), picture)


@pytest.mark.parametrize(
    ("heatmaps", "options", "message"),
    [
        (np.zeros((1, 16, 12, 17)), {}, r"heatmaps must be \[h, w, K\] and not empty, got \(1, 16, 12, 17\); take one"),
        (np.zeros((16, 12, 0)), {}, "not empty"),
        (np.zeros((16, 12, 17)), {"opacity": 1.2}, "opacity must be 0 to 1, got 1.2"),
        (np.zeros((16, 12, 17)), {"colors": [(0, 0, 0)]}, "colors must be 17 RGB triples"),
    ],
)
def test_draw_heatmaps_refuses(heatmaps, options, message):
    with pytest.raises(ValueError, match=message):
        visualize.draw_heatmaps(black(), heatmaps, **options)


# ---------------------------------------- truth against prediction
def test_truth_stands_left_and_what_was_found_right_with_its_errors():
    images = np.zeros((1, 60, 80, 3), np.uint8)
    truth, found = stick((20, 15), (60, 15), (20, 45)), stick((20, 15), (60, 35), (20, 45))
    picture = visualize.compare_poses(images, truth, found, STICK, panel_height=60)
    assert picture.shape == (60, 2 * 80 + visualize.GAP_PX, 3)
    left, right = picture[:, :80], picture[:, 80 + visualize.GAP_PX :]
    np.testing.assert_array_equal(left, visualize.draw_skeletons(black(60, 80), truth, None, STICK, line_width=1))
    plain = visualize.draw_skeletons(black(60, 80), found, None, STICK, line_width=1)
    rows, columns = np.nonzero((right != plain).any(axis=-1) & (right > 150).all(axis=-1))
    assert set(columns) == {60}  # straight down from where the joint is to where it was found
    assert rows.min() <= 17
    assert rows.max() >= 32


def test_what_is_not_labelled_or_not_sure_is_not_drawn():
    images = np.zeros((2, 60, 80, 3), np.uint8)
    points = np.repeat(stick((20, 15), (60, 15), (20, 45)), 2, axis=0)
    picture = visualize.compare_poses(images, points, points, STICK, [[1, 0, 0], [0] * 3], np.zeros((2, 3)), columns=1)
    top, bottom = picture[:256], picture[-256:]
    assert tuple(top[int(15.5 * 256 / 60), int(20.5 * 256 / 60)]) == STICK.colors[0]
    assert not top[:, 400:].any()  # nothing found, so neither joints nor errors
    gap = bottom.shape[1] // 2
    assert not bottom[:, : gap - visualize.GAP_PX].any()


def test_crops_are_enlarged_with_their_poses_and_heatmaps_stand_last():
    images = np.full((3, 30, 20, 3), 40, np.uint8)
    points = np.repeat(stick((5, 5), (15, 5), (5, 25)), 3, axis=0)
    heatmaps = np.zeros((3, 15, 10, 3), np.float32)
    heatmaps[1, 12, 5, 1] = 1
    picture = visualize.compare_poses(images, points, points, STICK, heatmaps=heatmaps, panel_height=120, columns=1)
    width = 3 * 80 + 2 * visualize.GAP_PX
    assert picture.shape == (3 * 120 + 2 * 4 * visualize.GAP_PX, width, 3)
    second = picture[120 + 4 * visualize.GAP_PX :][:120]
    assert tuple(second[22, 22]) == STICK.colors[0]  # (5 + 0.5) * 4 - 0.5, rounded
    third = second[:, -80:].astype(int)
    rows, columns = np.nonzero(np.ptp(third, axis=-1) > 100)
    assert abs(rows.mean() - 97.5) < 2  # image pixel 24, enlarged
    assert abs(columns.mean() - 41.5) < 2


@pytest.mark.parametrize(
    ("images", "count", "message"),
    [
        (np.zeros((60, 80, 3), np.uint8), 1, r"images must be \[B, H, W, 3\] and at least one, got \(60, 80, 3\)"),
        (np.zeros((0, 60, 80, 3), np.uint8), 0, "at least one"),
        (np.zeros((2, 60, 80, 3), np.uint8), 1, "truth must have the 2 images' first axis, got 1"),
        (np.zeros((1, 60, 80, 3), np.float32), 1, "image must be RGB uint8"),
    ],
)
def test_compare_poses_refuses(images, count, message):
    with pytest.raises(ValueError, match=message):
        visualize.compare_poses(images, np.zeros((count, 3, 2)), np.zeros((count, 3, 2)), STICK)


def test_a_contact_sheet_holds_every_picture_in_its_cell():
    sizes = [(40, 60), (30, 20), (40, 10), (10, 60), (5, 5)]
    pictures = [np.full((*size, 3), 10 + index, np.uint8) for index, size in enumerate(sizes)]
    sheet = visualize.contact_sheet(pictures, columns=2, gap_px=6)
    assert sheet.shape == (3 * 40 + 2 * 6, 2 * 60 + 6, 3)
    expected = np.full_like(sheet, 255)
    for index, (height, width) in enumerate(sizes):
        top, left = index // 2 * 46, index % 2 * 66
        expected[top : top + height, left : left + width] = 10 + index
    np.testing.assert_array_equal(sheet, expected)
    square = visualize.contact_sheet([black(50, 50)] * 9)
    assert square.shape[0] == square.shape[1]
    assert visualize.contact_sheet([black(50, 50)], columns=7).shape == (50, 50, 3)


def test_captions_are_written_on_their_own_picture_and_the_pictures_left_alone():
    pictures = [black(60, 90), black(60, 90)]
    sheet = visualize.contact_sheet(pictures, columns=2, captions=["", "second"])
    first, second = sheet[:, :90], sheet[:, -90:]
    assert second[40:, :60].any()
    assert not second[:40].any()
    assert np.count_nonzero(first) < np.count_nonzero(second) / 4
    assert not any(picture.any() for picture in pictures)


def test_contact_sheet_refuses():
    with pytest.raises(ValueError, match="at least one picture, got none"):
        visualize.contact_sheet([])
    with pytest.raises(ValueError, match="captions must be 1, one per picture, got 2"):
        visualize.contact_sheet([black()], captions=["a", "b"])
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        visualize.contact_sheet([black()], columns=0)


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


# ---------------------------------------- figures
def test_confusion_matrix_is_normalised_by_row():
    figure = visualize.confusion_matrix_figure([[6, 2, 0], [0, 5, 5], [0, 0, 0]], ["walk", "run", "jump"])
    axes = figure.axes[0]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[:2], [[0.75, 0.25, 0], [0, 0.5, 0.5]])
    assert np.ma.getmaskarray(np.ma.masked_invalid(shares))[2].all()  # no clips, no shares
    written = {tuple(int(value) for value in text.get_position()[::-1]): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "75", (0, 1): "25", (1, 1): "50", (1, 2): "50"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["walk", "run", "jump"]
    assert axes.get_title() == "top-1 61.1%, mean class 62.5%"
    image = visualize.figure_to_image(figure)
    assert image.dtype == np.uint8
    assert image.min() < 100  # dark cells are there


def test_confusion_matrix_without_a_single_clip():
    assert visualize.confusion_matrix_figure(np.zeros((2, 2)), ["a", "b"]).axes[0].get_title() == "no clips"


@pytest.mark.parametrize("count", [14, 60])
def test_class_names_do_not_run_into_one_another(count):
    names = [f"put something on {index}" for index in range(count)]
    figure = visualize.confusion_matrix_figure(np.eye(count) * 10, names)
    image = visualize.figure_to_image(figure)
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 - 1 for above, below in itertools.pairwise(boxes))
    assert min(box.height for box in boxes) >= 8  # pixels
    boxes += [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= image.shape[1] for box in boxes)


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.ones((2, 3)), ["a", "b"], r"must be square, true by predicted class, got \(2, 3\)"),
        (np.ones((0, 0)), [], "must be square"),
        ([[1, -1], [0, 1]], ["a", "b"], "counts of 0 or more"),
        ([[1, np.nan], [0, 1]], ["a", "b"], "counts of 0 or more"),
        (np.eye(2), ["a"], "class_names must be 2, one per class, got 1"),
    ],
)
def test_confusion_matrix_refuses(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        visualize.confusion_matrix_figure(matrix, names)


def test_curves_go_together_by_quantity():
    history = {"loss": [3.0, 2.0, 1.0], "accuracy": [0.2, 0.4, 0.6], "val_loss": [3.0, 2.5], "learning_rate": [0.1] * 3}
    figure = visualize.curves_figure(history)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    train, validation = figure.axes[0].lines
    assert list(train.get_xdata()) == [1, 2, 3]
    assert list(train.get_ydata()) == [3.0, 2.0, 1.0]
    assert list(validation.get_ydata()) == [3.0, 2.5]
    assert validation.get_linestyle() == "--"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["train", "validation"]
    assert figure.axes[1].get_legend() is None
    assert len(figure.axes[1].lines) == 1


def test_one_epoch_shows_as_a_point():
    line = visualize.curves_figure({"loss": [1.0]}).axes[0].lines[0]
    assert line.get_marker() == "o"


@pytest.mark.parametrize("history", [{}, {"loss": []}])
def test_curves_refuse_an_empty_history(history):
    with pytest.raises(ValueError, match="at least one value, got none"):
        visualize.curves_figure(history)


def test_figure_to_image_has_the_size_and_colour_of_the_figure():
    image = visualize.figure_to_image(Figure(figsize=(4, 3), dpi=50, facecolor=(1, 0.5, 0)))
    assert image.shape == (150, 200, 3)
    assert image.dtype == np.uint8
    assert image[75, 100].tolist()[0] == 255
    assert image[75, 100].tolist()[2] == 0
    assert image.flags["OWNDATA"]


def test_nothing_is_left_in_pyplot():
    from matplotlib import pyplot

    visualize.figure_to_image(visualize.curves_figure({"loss": [1.0, 0.5]}))
    assert pyplot.get_fignums() == []
