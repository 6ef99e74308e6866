"""Windows cut out of maps and put back, against loops over pixels."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import windows

SIZE = 4
RANDOM = np.random.default_rng(0)
MAPS, PATCHES = RANDOM.random((2, 7, 9, 3), "float32"), RANDOM.random((2, 6, SIZE, SIZE), "float32")
CORNERS = RANDOM.integers(-3, 8, (2, 6, 2))
CORNERS[0, :4] = [[-2, 1], [7, -1], [40, 2], [1, -40]]  # over edges, and far off
ANY_MAPS, ANY_CORNERS = tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, 2), "int64")


def slow_cut(maps, corners):
    found = np.zeros((*corners.shape[:2], SIZE, SIZE, maps.shape[-1]), maps.dtype)
    for b, k, i, j in np.ndindex(*found.shape[:4]):
        x, y = corners[b, k] + (j, i)
        if 0 <= x < maps.shape[2] and 0 <= y < maps.shape[1]:
            found[b, k, i, j] = maps[b, y, x]
    return found


def slow_paste(patches, corners, height, width):
    maps = np.zeros((patches.shape[0], height, width, patches.shape[1]), patches.dtype)
    for b, k, i, j in np.ndindex(*patches.shape):
        x, y = corners[b, k] + (j, i)
        if 0 <= x < width and 0 <= y < height:
            maps[b, y, x, k] = patches[b, k, i, j]
    return maps


def test_windows_equal_the_loops():
    np.testing.assert_array_equal(windows.cut(MAPS, CORNERS, SIZE), slow_cut(MAPS, CORNERS))
    np.testing.assert_array_equal(windows.paste(PATCHES, CORNERS, 7, 9), slow_paste(PATCHES, CORNERS, 7, 9))


def test_shapes_may_be_unknown_to_a_graph():
    cut = tf.function(lambda maps, corners: windows.cut(maps, corners, SIZE), input_signature=[ANY_MAPS, ANY_CORNERS])
    np.testing.assert_array_equal(cut(MAPS, CORNERS), slow_cut(MAPS, CORNERS))
    highest = tf.function(windows.highest, input_signature=[ANY_MAPS])
    np.testing.assert_array_equal(highest(MAPS), windows.highest(MAPS))


def test_gradients_go_to_the_pixels_that_windows_are_of():
    """Pixels in several windows have the sum of their gradients; each way is the other's gradient."""
    maps, patches = tf.constant(MAPS), tf.constant(PATCHES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([maps, patches])
        weighted_cut = tf.reduce_sum(windows.cut(maps, CORNERS, SIZE)[..., 0] * PATCHES)
        weighted_maps = tf.reduce_sum(windows.paste(patches, CORNERS, 7, 9) * RANDOM_MAPS)
    gradient = tape.gradient(weighted_cut, maps)
    np.testing.assert_allclose(gradient[..., 0], slow_paste(PATCHES, CORNERS, 7, 9).sum(-1), rtol=1e-6)
    assert not np.any(gradient[..., 1:])
    found = slow_cut(RANDOM_MAPS, CORNERS)  # of joint k the windows of map k
    expected = np.stack([found[:, k, ..., k] for k in range(6)], axis=1)
    np.testing.assert_allclose(tape.gradient(weighted_maps, patches), expected, rtol=1e-6)


RANDOM_MAPS = RANDOM.random((2, 7, 9, 6), "float32")


def test_the_first_of_several_highest_pixels_is_found():
    maps = np.zeros((2, 5, 6, 2), "float32")
    maps[0, 3, 4, 0] = maps[0, 4, 1, 0] = 2.0
    maps[1, 0, 5, 1] = 1.0
    assert np.asarray(windows.highest(maps)).tolist() == [[[4, 3], [0, 0]], [[0, 0], [5, 0]]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_windows_keep_the_type_of_their_maps(dtype):
    maps, patches = tf.cast(MAPS, dtype), tf.cast(PATCHES, dtype)
    assert windows.cut(maps, CORNERS, SIZE).dtype == windows.paste(patches, CORNERS, 7, 9).dtype == dtype
