"""Pictures are checked by their pixels: what is drawn where, in which colour, and what is not drawn."""

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import ALL, COCO, WHOLEBODY, Skeleton

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


@pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
def test_every_set_is_drawn(skeleton):
    columns, rows = np.meshgrid(np.arange(12), np.arange(12))
    keypoints = 10 + 20 * np.stack([columns, rows], -1).reshape(1, -1, 2)[:, : skeleton.num_keypoints]  # [1, K, 2]
    picture = visualize.draw_skeletons(black(250, 250), keypoints, None, skeleton, line_width=1)
    for (x, y), color in zip(keypoints[0], skeleton.colors, strict=True):
        assert tuple(picture[y, x]) == color


def test_a_point_of_the_face_is_drawn_without_limbs_and_left_out_where_unsure():
    keypoints, scores = np.full((1, 133, 2), 60), np.zeros((1, 133))
    for place, name in enumerate(("right_jaw1", "chin", "left_jaw1")):
        keypoints[0, WHOLEBODY.index(name)] = 30 * (place + 1), 40
        scores[0, WHOLEBODY.index(name)] = 1 - place / 2  # the last is unsure
    picture = visualize.draw_skeletons(black(), keypoints, scores, WHOLEBODY, line_width=2)
    assert tuple(picture[40, 30]) == WHOLEBODY.colors[23]
    assert tuple(picture[40, 60]) == WHOLEBODY.colors[31]
    assert not picture[40, 40:50].any() and not picture[:, 80:].any()


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


@pytest.mark.parametrize("place", [(90, 40), (20, 100)])
def test_a_label_begins_at_the_left_upper_corner_wherever_it_is(place):
    x, y = place
    people, box = np.full((1, 3, 2), np.nan), [[x, y, x + 30, y + 15]]
    plain = visualize.draw_skeletons(black(), people, None, STICK, boxes=box)
    picture = visualize.draw_skeletons(black(), people, None, STICK, boxes=box, labels=["one"])
    rows, columns = np.nonzero((plain != picture).any(axis=-1))
    assert columns.min() == x and rows.max() <= y and y - 25 < rows.min()


@pytest.mark.parametrize(("size", "width"), [((400, 1600), 4), ((1600, 400), 4), ((100, 100), 1)])
def test_lines_go_by_the_area_of_a_picture_of_any_form(size, width):
    points = stick((10, 20), (70, 20), (10, 80))
    for draw in (visualize.draw_skeletons, lambda *given, **how: visualize.draw_identities(*given, [0], **how)):
        own, usual = draw(black(*size), points, None, STICK, line_width=width), draw(black(*size), points, None, STICK)
        np.testing.assert_array_equal(usual, own)
        other = draw(black(*size), points, None, STICK, line_width=width + 2)
        assert (usual != other).any()


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


@pytest.mark.parametrize("height", [60, 320, 640])
def test_lines_go_by_the_height_of_the_panels(height):
    image, points = np.zeros((1, height, 40, 3), np.uint8), stick((5, 5), (30, 10), (8, 50))
    picture = visualize.compare_poses(image, points, points, STICK, panel_height=height)
    width = {60: 1, 320: 2, 640: 5}[height]
    expected = visualize.draw_skeletons(image[0], points, None, STICK, line_width=width)
    np.testing.assert_array_equal(picture[:, :40], expected)
    truth_alone = visualize.compare_poses(
        image, points, points, STICK, predicted_scores=np.eye(3)[:1], panel_height=height
    )
    np.testing.assert_array_equal(truth_alone[:, :40], expected)
    joint = visualize.draw_skeletons(image[0], points, np.eye(3)[:1], STICK, line_width=width)
    drawn = joint.any(axis=-1) & (truth_alone[:, -40:] != visualize.images.ERROR_COLOR).any(axis=-1)
    np.testing.assert_array_equal(truth_alone[:, -40:][drawn], joint[drawn])


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


def test_no_line_leads_to_where_nobody_knows_the_joint_to_be():
    images, found = np.zeros((1, 60, 80, 3), np.uint8), stick((20, 15), (60, 35), (20, 45))
    truth = stick((20, 15), (0, 0), (20, 45))
    picture = visualize.compare_poses(images, truth, found, STICK, [[2, 0, 1]], panel_height=60)
    plain = visualize.draw_skeletons(black(60, 80), found, None, STICK, line_width=1)
    changed = (picture[:, -80:] != plain).any(axis=-1)
    assert not changed[:, 25:].any()


def test_heatmaps_lie_on_their_crops_as_the_codec_has_it():
    images, points = np.full((1, 30, 20, 3), 40, np.uint8), stick((5, 5), (15, 5), (5, 25))
    heatmaps = np.random.default_rng(0).random((1, 15, 10, 3)).astype("float32")
    for aligned in (True, False):
        options = {"heatmaps": heatmaps, "panel_height": 30, "aligned_corners": aligned}
        picture = visualize.compare_poses(images, points, points, STICK, **options)
        expected = visualize.draw_heatmaps(images[0], heatmaps[0], STICK, aligned_corners=aligned)
        np.testing.assert_array_equal(picture[:, -20:], expected)


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


def test_pairs_stand_in_as_many_columns_as_are_asked_for():
    images, points = np.zeros((3, 30, 20, 3), np.uint8), np.zeros((3, 3, 2))
    width = 2 * 40 + visualize.GAP_PX  # of a pair
    for columns, rows in ((1, 3), (2, 2), (3, 1)):
        picture = visualize.compare_poses(images, points, points, STICK, panel_height=60, columns=columns)
        gap = 4 * visualize.GAP_PX
        assert picture.shape == (rows * 60 + (rows - 1) * gap, columns * width + (columns - 1) * gap, 3)


@pytest.mark.parametrize(("size", "columns"), [((40, 10), 6), ((10, 40), 2), ((20, 20), 3)])
def test_a_sheet_is_about_square_whatever_the_form_of_its_pictures(size, columns):
    sheet = visualize.contact_sheet([black(*size)] * 9)
    rows = -(-9 // columns)
    expected = [
        one * (side + visualize.GAP_PX) - visualize.GAP_PX for one, side in zip((rows, columns), size, strict=True)
    ]
    assert sheet.shape == (*expected, 3)


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
