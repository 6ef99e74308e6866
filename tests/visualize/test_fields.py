"""Fields are checked by their pixels: heat in a joint's colour where it is, limbs in theirs, arrows along them."""

import numpy as np
import pytest

from kerapose import visualize
from kerapose.skeletons import OPENPOSE, Skeleton

STICK = Skeleton("stick", ("top", "left_end", "right_end"), ((0, 1), (0, 2)))
SIZE = 8  # cells of 10 pixels
CELL = 10
GREY = np.full((80, 80, 3), 100, np.uint8)


def nothing(skeleton=STICK, background=False):
    heat = np.zeros((SIZE, SIZE, skeleton.num_keypoints + background), np.float32)
    return heat, np.zeros((SIZE, SIZE, 2 * skeleton.num_edges), np.float32)


def panels(picture):
    """The two panels of a picture, as ints."""
    width = (picture.shape[1] - visualize.GAP_PX) // 2
    return picture[:, :width].astype(int), picture[:, -width:].astype(int)


def coloured(panel):
    return np.ptp(panel, axis=-1) > 25


def middle(mask):
    """The centre (x, y) of the pixels of a mask."""
    rows, columns = np.nonzero(mask)
    return columns.mean(), rows.mean()


def test_without_fields_there_is_a_dimmed_grey_image_twice():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    before = image.copy()
    heat, pafs = nothing()
    left, right = panels(visualize.draw_fields(image, heat, pafs, STICK))
    np.testing.assert_array_equal(left, right)
    assert left.shape == image.shape and not np.ptp(left, axis=-1).any()
    assert 0.4 * image.mean() < left.mean() < 0.6 * image.mean()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("joint", range(3))
def test_heat_lies_where_its_cell_is_in_the_colour_of_the_joint(joint):
    heat, pafs = nothing(background=True)
    heat[2, 5, joint] = 1
    heat[..., 3] = 1  # the background is not drawn
    left, right = panels(visualize.draw_fields(GREY, heat, pafs, STICK, opacity=1))
    rows, columns = np.nonzero((left != 50).any(axis=-1))
    assert (columns.mean(), rows.mean()) == pytest.approx((54.5, 24.5), abs=0.6)
    share = 0.95**2  # of the cell's value, a twentieth of a cell from its middle along both axes
    expected = share * np.array(STICK.colors[joint]) + (1 - share) * 50
    np.testing.assert_allclose(left[24:26, 54:56].reshape(-1, 3), np.tile(expected, (4, 1)), atol=2)
    assert (right == 50).all()


@pytest.mark.parametrize("limb", range(2))
def test_a_limb_has_its_colour_and_arrows_in_a_lighter_one(limb):
    heat, pafs = nothing()
    pafs[3:5, 1:7, 2 * limb] = 1
    left, right = panels(visualize.draw_fields(GREY, heat, pafs, STICK, opacity=1))
    assert not coloured(left).any()
    color = np.array(STICK.edge_colors[limb])
    lighter = np.round(0.5 * 255 + 0.5 * color)
    np.testing.assert_allclose(right[39:41, 15:65].reshape(-1, 3), np.tile(color, (100, 1)), atol=1)  # between arrows
    assert (np.abs(right[30:50] - lighter).max(axis=-1) <= 12).sum() > 12 * 4  # an arrow in each of twelve cells
    rows, columns = np.nonzero(coloured(right))
    assert rows.min() >= 25 and rows.max() < 55 and columns.min() >= 5 and columns.max() < 75


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_an_arrow_has_its_tip_where_its_vector_points(direction):
    heat, pafs = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 4), np.float32)
    pafs[0, 1, 2:] = direction
    image = np.zeros((160, 160, 3), np.uint8)
    _, right = panels(visualize.draw_fields(image, heat, pafs, STICK, opacity=0))  # the arrow alone
    rows, columns = np.nonzero(right.max(axis=-1) > 100)
    places = np.stack([columns, rows], axis=-1) - (119.5, 39.5)  # from the middle of the cell
    along, across = places @ direction, np.abs(places @ direction[::-1])
    assert across[along < -2].max() < 2 and across[along > 2].max() > 8
    assert along.min() == pytest.approx(-34, abs=2) and along.max() == pytest.approx(34, abs=2)


def test_short_vectors_have_no_arrow_and_long_ones_no_longer_one():
    heat, pafs = nothing()
    image = np.zeros_like(GREY)

    def drawn(length, **options):
        pafs[4, 4, 0] = length
        return panels(visualize.draw_fields(image, heat, pafs, STICK, opacity=0, **options))[1]

    assert not drawn(0.2).any() and not drawn(0.0, min_length=0).any()
    assert drawn(0.2, min_length=0.1).any()
    assert drawn(1.0).any(axis=(0, 2)).sum() > drawn(0.5).any(axis=(0, 2)).sum() > 0
    np.testing.assert_array_equal(drawn(3.0), drawn(1.0))


def test_where_limbs_cross_the_longest_vector_has_the_arrow():
    heat, pafs = nothing()
    pafs[4, 4] = (0.5, 0, 0, 0.8)
    crossed = visualize.draw_fields(GREY, heat, pafs, STICK, opacity=0)
    pafs[4, 4, :2] = 0
    np.testing.assert_array_equal(crossed, visualize.draw_fields(GREY, heat, pafs, STICK, opacity=0))


def test_small_cells_share_an_arrow():
    heat, pafs = np.zeros((40, 40, 3), np.float32), np.zeros((40, 40, 4), np.float32)
    pafs[..., 0] = 1
    _, right = panels(visualize.draw_fields(np.zeros_like(GREY), heat, pafs, STICK, opacity=0))
    rows = np.flatnonzero((right.max(axis=-1) > 100).sum(axis=1) > 40)  # those of shafts
    assert len(np.unique(rows // 8)) == 10 and np.isin(rows % 8, (4, 5)).all()  # of the third of every four


def test_narrow_cells_share_an_arrow_along_their_short_side_alone():
    """Of 2 x 8 pixels every four side by side, and each row has its own."""
    heat, pafs = np.zeros((10, 40, 3), np.float32), np.zeros((10, 40, 4), np.float32)
    pafs[..., 0] = 1
    _, right = panels(visualize.draw_fields(np.zeros_like(GREY), heat, pafs, STICK, opacity=0))
    rows = np.flatnonzero((right.max(axis=-1) > 100).sum(axis=1) > 40)  # those of shafts
    assert len(np.unique(rows // 8)) == 10


def test_maps_are_placed_by_their_matrix_and_end_where_they_end():
    heat, pafs = nothing()
    heat[..., 1] = 1
    matrix = np.array([[4, 0, 20], [0, 4, 12]], np.float32)
    left, _ = panels(visualize.draw_fields(GREY, heat, pafs, STICK, matrix))
    rows, columns = np.nonzero(coloured(left))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 42, 18, 50)
    far = matrix + [[0, 0, 500], [0, 0, 0]]
    assert not coloured(visualize.draw_fields(GREY, heat, pafs, STICK, far).astype(int)).any()


def test_maps_lie_over_pictures_that_are_higher_than_wide_and_wider_than_high():
    """Of cells that are no squares either."""
    for height, width in ((120, 60), (60, 120)):
        image, size = np.full((height, width, 3), 100, np.uint8), (height // 10, width // 15)
        heat, pafs = np.zeros((*size, 3), np.float32), np.zeros((*size, 4), np.float32)
        row, column = size[0] - 2, size[1] - 3
        heat[row, column, 1], pafs[row, column, 0] = 1, 1
        picture = visualize.draw_fields(image, heat, pafs, STICK)
        assert picture.shape == (height, 2 * width + visualize.GAP_PX, 3)
        for panel in panels(picture):
            assert middle(coloured(panel)) == pytest.approx((15 * column + 7, 10 * row + 4.5), abs=1.2)


def test_an_enlarged_picture_shows_the_same():
    heat, pafs = nothing()
    heat[2, 5, 1], pafs[2, 5, 0] = 1, 1
    for matrix in (None, [[10, 0, 4.5], [0, 10, 4.5]]):
        picture = visualize.draw_fields(GREY, heat, pafs, STICK, matrix, panel_height=160)
        assert picture.shape == (160, 320 + visualize.GAP_PX, 3)
        for panel in panels(picture):
            assert middle(coloured(panel)) == pytest.approx((109.5, 49.5), abs=1.2)


def test_what_is_no_number_is_not_drawn():
    heat, pafs = nothing(OPENPOSE)
    heat[1, 1], pafs[1, 1] = np.nan, np.nan
    picture = visualize.draw_fields(GREY, heat, pafs, OPENPOSE)
    np.testing.assert_array_equal(picture, visualize.draw_fields(GREY, *nothing(OPENPOSE), OPENPOSE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"heatmaps": np.zeros((8, 8, 5))},
            r"heatmaps of stick must be .* \[h, w, 4\], .* got \(8, 8, 5\)",
        ),
        ({"heatmaps": np.zeros((1, 8, 8, 3))}, "take one image of a batch"),
        ({"heatmaps": np.zeros((0, 8, 3)), "pafs": np.zeros((0, 8, 4))}, "not empty, got"),
        (
            {"pafs": np.zeros((8, 8, 3))},
            r"pafs of stick must be .* got \[8, 8, 3\]; take those of the same",
        ),
        ({"pafs": np.zeros((4, 8, 4))}, "of the heatmaps' size"),
        ({"matrix": np.eye(2)}, r"matrix must be \[2, 3\] from cells to pixels, .* or None"),
        ({"matrix": [[0, 8, 0], [8, 0, 0]]}, "enlarging and moving only"),
        ({"image": GREY.astype(np.float32)}, "image must be RGB uint8"),
        ({"opacity": 2}, "opacity must be 0 to 1, got 2"),
    ],
)
def test_draw_fields_refuses(changes, message):
    heat, pafs = nothing()
    given = {"image": GREY, "heatmaps": heat, "pafs": pafs, "skeleton": STICK} | changes
    with pytest.raises(ValueError, match=message) as error:
        visualize.draw_fields(**given)
    assert "\n" not in str(error.value)
