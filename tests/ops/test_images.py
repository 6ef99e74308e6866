"""Pixel operations against plain NumPy in float64."""

import math

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import images

PUBLISHED = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HOURGLASS = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def random_images(shape=(2, 12, 9, 3), dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


# ---------------------------------------- the slow versions
def slow_normalize(pictures, mean, std, bgr):
    pictures = pictures.astype("float64")[..., ::-1] if bgr else pictures.astype("float64")
    return (pictures / 255 - np.array(mean)) / np.array(std)


def slow_jitter(picture, uniforms, strength):
    brightness, contrast, saturation = (max(0.0, 1 + s * (2 * u - 1)) for s, u in zip(strength, uniforms, strict=True))
    weights = np.array([0.299, 0.587, 0.114])
    picture = np.clip(picture.astype("float64") * brightness, 0, 255)
    mean = (picture @ weights).mean()
    picture = np.clip(mean + (picture - mean) * contrast, 0, 255)
    grey = (picture @ weights)[..., None]
    return np.clip(grey + (picture - grey) * saturation, 0, 255)


# ---------------------------------------- normalize
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("figures", [PUBLISHED, HOURGLASS])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_normalize(dtype, figures, bgr):
    pictures = random_images(dtype=dtype)
    normalized = images.normalize(pictures, **figures, bgr=bgr)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, slow_normalize(pictures, **figures, bgr=bgr), atol=1e-5)


def test_the_default_is_that_of_imagenet_in_rgb():
    pictures = random_images()
    np.testing.assert_allclose(images.normalize(pictures), slow_normalize(pictures, **PUBLISHED, bgr=False), atol=1e-5)


def test_bgr_takes_blue_first_and_the_figures_as_they_are():
    blue = images.normalize(np.uint8([[0, 0, 255]]), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), bgr=True)
    np.testing.assert_allclose(blue, [[0.9 / 0.5, -0.2, -0.15]], rtol=1e-6)


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("figures", [PUBLISHED, HOURGLASS])
def test_denormalize_gives_the_very_pixels_back(figures, bgr):
    pictures = np.arange(256, dtype="uint8").repeat(3).reshape(16, 16, 3) + np.arange(3, dtype="uint8")
    back = images.denormalize(images.normalize(pictures, **figures, bgr=bgr), **figures, bgr=bgr)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pictures)


def test_denormalize_clips():
    np.testing.assert_array_equal(images.denormalize(np.float32([[-9.0, 0.0, 9.0]]), **HOURGLASS), [[0, 0, 255]])


# ---------------------------------------- jitter
@pytest.mark.parametrize("strength", [0.4, (0.2, 0.5, 0.0), 1.5])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_jitter_equals_the_loop(dtype, strength):
    pictures = random_images((30, 7, 5, 3), dtype)
    uniforms = np.random.default_rng(1).random((30, 3), "float32")
    jittered = images.jitter(pictures, uniforms, strength)
    strengths = np.broadcast_to(strength, 3)
    for picture, draws, result in zip(pictures, uniforms, jittered, strict=True):
        np.testing.assert_allclose(result, slow_jitter(picture, draws, strengths), atol=0.01)


def test_no_strength_changes_nothing():
    pictures = random_images()
    np.testing.assert_allclose(images.jitter(pictures, np.float32([0.0, 0.5, 0.9]), 0.0), pictures, atol=1e-3)


@pytest.mark.parametrize(
    "uniforms, change", [((0, 0.5, 0.5), "black"), ((0.5, 0, 0.5), "flat"), ((0.5, 0.5, 0), "grey")]
)
def test_each_number_is_for_one_property(uniforms, change):
    jittered = np.asarray(images.jitter(random_images((8, 8, 3)), np.float32(uniforms), 1.0))
    spread_of_colours, spread = np.ptp(jittered, axis=-1).max(), np.ptp(jittered)
    if change == "black":
        np.testing.assert_array_equal(jittered, 0)
    else:
        assert spread_of_colours < 1e-2 and (spread < 1e-2) == (change == "flat")


# ---------------------------------------- tf.data
def test_inside_tf_data_with_sizes_unknown():
    pictures = [random_images((h, w, 3)) for h, w in [(5, 6), (9, 2)]]
    uniforms = np.float32([[0.1, 0.9, 0.3], [0.7, 0.2, 0.8]])

    def steps(picture, draws):
        jittered = images.jitter(picture, draws, 0.5)
        normalized = images.normalize(jittered, bgr=True)
        return jittered, normalized, images.denormalize(normalized, bgr=True)

    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((3,)))
    generator = tf.data.Dataset.from_generator(lambda: zip(pictures, uniforms, strict=True), output_signature=signature)
    for picture, draws, (jittered, normalized, back) in zip(pictures, uniforms, generator.map(steps), strict=True):
        expected = slow_jitter(picture, draws, (0.5, 0.5, 0.5))
        np.testing.assert_allclose(jittered, expected, atol=0.01)
        np.testing.assert_allclose(normalized, slow_normalize(expected, **PUBLISHED, bgr=True), atol=1e-3)
        np.testing.assert_allclose(back, expected, atol=0.52)


# ---------------------------------------- crops of clips
def slow_crop_resize(clip, box, size):
    """One value after the other: the two pixels beside each position, within the cut-out; black beyond the frame."""
    left, top, right, bottom = (float(edge) for edge in box)
    length, height, width, channels = clip.shape
    result = np.zeros((length, *size, channels))

    def taps(start, end, place, count):
        position = start + (place + 0.5) * (end - start) / count - 0.5
        position = max(min(start, end), min(position, max(start, end) - 1))
        lower = int(np.floor(position))
        return (lower, 1 - (position - lower)), (lower + 1, position - lower)

    for i, j in np.ndindex(*size):
        for row, row_weight in taps(top, bottom, i, size[0]):
            for column, column_weight in taps(left, right, j, size[1]):
                if 0 <= row < height and 0 <= column < width:
                    result[:, i, j] += row_weight * column_weight * clip[:, row, column].astype("float64")
    return result


def cut_out(picture, box):
    """The pixels of a box of whole edges, black beyond the frame."""
    left, top, right, bottom = box
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    inside = ((rows >= 0) & (rows < picture.shape[0]))[:, None] & ((columns >= 0) & (columns < picture.shape[1]))
    pixels = picture[np.clip(rows, 0, picture.shape[0] - 1)][:, np.clip(columns, 0, picture.shape[1] - 1)]
    return np.where(inside[..., None], pixels, 0).astype(picture.dtype)


WHOLE_BOXES = [(0, 0, 60, 40), (5, 3, 45, 33), (-12, -7, 30, 35), (20, 10, 90, 80), (-30, -20, 90, 60), (70, 5, 90, 25)]
SIZES = [(24, 24), (40, 60), (75, 31), (1, 1)]


@pytest.mark.parametrize("dtype, size", [("uint8", SIZES[0]), ("float32", SIZES[2]), ("int32", SIZES[3])])
def test_crop_resize_equals_the_loop(dtype, size):
    clip = random_images((2, 40, 60, 3), dtype)
    for box in [*WHOLE_BOXES, (3.4, 5.8, 41.3, 22.2), (41.3, 5.8, 3.4, 22.2), (55, -3, -4, 44), (7.5, 7.5, 7.9, 8.1)]:
        resized = images.crop_resize(clip, box, size)
        assert resized.dtype == np.float32
        np.testing.assert_allclose(resized, slow_crop_resize(clip, box, size), atol=0.01, err_msg=str(box))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("box", WHOLE_BOXES)
def test_crop_resize_equals_opencv(box, size):
    clip = random_images((3, 40, 60, 3))
    resized = np.asarray(images.crop_resize(clip, box, size))
    for picture, result in zip(clip, resized, strict=True):
        part = cut_out(picture, box)
        expected = cv2.resize(part.astype("float32"), size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(result, expected, atol=0.01)
        expected = cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR)  # rounds weights and values
        np.testing.assert_allclose(result, expected, atol=1.5)


@pytest.mark.parametrize("box", WHOLE_BOXES)
def test_a_box_at_its_own_size_is_the_very_cut_out(box):
    picture = random_images((40, 60, 3))
    left, top, right, bottom = box
    resized = images.crop_resize(picture[None], box, (bottom - top, right - left))
    np.testing.assert_array_equal(resized[0], cut_out(picture, box))


def test_left_beyond_right_is_the_mirrored_crop():
    clip = random_images((2, 40, 60, 3))
    for left, top, right, bottom in [*WHOLE_BOXES, (3.4, 5.8, 41.3, 22.2)]:
        straight = np.asarray(images.crop_resize(clip, (left, top, right, bottom), (18, 22)))
        mirrored = images.crop_resize(clip, (right, top, left, bottom), (18, 22))
        np.testing.assert_allclose(mirrored, straight[:, :, ::-1], atol=0.01)


def test_each_clip_of_a_batch_has_its_box():
    clips = random_images((2, 3, 2, 20, 30, 1))
    box = np.random.default_rng(1).uniform(-10, 40, (2, 3, 4)).astype("float32")
    resized = np.asarray(images.crop_resize(clips, box, (9, 12)))
    assert resized.shape == (2, 3, 2, 9, 12, 1)
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(resized[place], images.crop_resize(clips[place], box[place], (9, 12)), atol=1e-4)
    shared = np.asarray(images.crop_resize(clips, box[0, 0], (9, 12)))
    np.testing.assert_allclose(shared[1, 2], images.crop_resize(clips[1, 2], box[0, 0], (9, 12)), atol=1e-4)


def test_crop_resize_where_sizes_are_known_only_when_it_runs():
    one = [tf.TensorSpec((None, None, None, 3), tf.uint8), tf.TensorSpec((4,))]
    batch = [tf.TensorSpec((None, None, None, None, 3), tf.uint8), tf.TensorSpec((None, 4))]
    crop_one, crop_batch = (
        tf.function(lambda clip, box: images.crop_resize(clip, box, (10, 14)), signature, autograph=False)
        for signature in (one, batch)
    )
    box = np.float32([-3.0, 2.5, 17.0, 21.5])
    for shape in [(2, 20, 15, 3), (1, 33, 9, 3)]:
        clip = random_images(shape)
        expected = slow_crop_resize(clip, box, (10, 14))
        np.testing.assert_allclose(crop_one(clip, box), expected, atol=0.01)
        np.testing.assert_allclose(crop_batch(clip[None], box[None])[0], expected, atol=0.01)
        dataset = tf.data.Dataset.from_tensors((clip, box)).map(crop_one)
        np.testing.assert_allclose(next(iter(dataset)), expected, atol=0.01)


# ---------------------------------------- maps
def slow_resize_cubic(maps, size):
    """One value after the other: sixteen pixels round each position, those beyond the border taken from the border."""

    def kernel(distance):
        if distance <= 1:
            return 1.25 * distance**3 - 2.25 * distance**2 + 1
        return -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)

    def taps(place, count, length):
        position = (place + 0.5) * length / count - 0.5
        first = math.floor(position) - 1
        return [(min(max(i, 0), length - 1), kernel(abs(position - i))) for i in range(first, first + 4)]

    height, width, channels = maps.shape
    result = np.zeros((*size, channels))
    for i, j in np.ndindex(*size):
        for row, row_weight in taps(i, size[0], height):
            for column, column_weight in taps(j, size[1], width):
                result[i, j] += row_weight * column_weight * maps[row, column]
    return result


CUBIC_SIZES = [
    ((7, 9), (28, 36)),
    ((5, 4), (13, 6)),
    ((6, 5), (6, 5)),
    ((9, 12), (4, 5)),
    ((1, 1), (3, 2)),
    ((2, 3), (1, 1)),
]


@pytest.mark.parametrize("factor", [4, 8])
def test_resize_cubic_equals_the_published_upsampling(golden, factor):
    case = golden("openpose_resize_a")
    maps = case["input_map"]
    case.check(f"output_x{factor}", images.resize_cubic(maps, [factor * count for count in maps.shape[:2]]))


@pytest.mark.parametrize("old, new", CUBIC_SIZES)
def test_resize_cubic_equals_the_loop_and_opencv(old, new):
    maps = np.random.default_rng(0).normal(size=(*old, 3)).astype("float32")
    resized = images.resize_cubic(maps, new)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, slow_resize_cubic(maps, new), atol=1e-5)
    expected = cv2.resize(maps, new[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(resized, expected, atol=1e-4)


def test_resize_cubic_leaves_level_maps_level():
    levels = np.float32([0.1, 1 / 3, 0.7, 1e-3, 12.345])
    resized = images.resize_cubic(np.broadcast_to(levels, (2, 9, 7, 5)), (36, 28))
    np.testing.assert_array_equal(resized, np.broadcast_to(levels, (2, 36, 28, 5)))


def test_resize_cubic_of_other_types_and_many_maps():
    pictures = random_images((2, 3, 6, 5, 1))
    resized = np.asarray(images.resize_cubic(pictures, (11, 8)))
    assert resized.shape == (2, 3, 11, 8, 1)
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(resized[place], slow_resize_cubic(pictures[place], (11, 8)), atol=1e-3)
    rounded = tf.cast(np.random.default_rng(0).random((6, 5, 2), "float32"), "bfloat16")
    expected = slow_resize_cubic(tf.cast(rounded, "float32").numpy(), (11, 8))
    np.testing.assert_allclose(images.resize_cubic(rounded, (11, 8)), expected, atol=1e-5)


def test_resize_cubic_where_sizes_are_known_only_when_it_runs():
    signature = [tf.TensorSpec((None, None, None, 2)), tf.TensorSpec((2,), tf.int32)]
    any_size, four_times = (
        tf.function(function, signature[:count], autograph=False)
        for count, function in (
            (2, lambda maps, size: images.resize_cubic(maps, (size[0], size[1]))),
            (1, lambda maps: images.resize_cubic(maps, (4 * tf.shape(maps)[1], 20))),
        )
    )
    for (height, width), new in CUBIC_SIZES[:2]:
        maps = np.random.default_rng(1).normal(size=(2, height, width, 2)).astype("float32")
        expected = [slow_resize_cubic(each, new) for each in maps]
        np.testing.assert_allclose(any_size(maps, new), expected, atol=1e-5)
        expected = [slow_resize_cubic(each, (4 * height, 20)) for each in maps]
        np.testing.assert_allclose(four_times(maps), expected, atol=1e-5)
    dataset = tf.data.Dataset.from_tensors(maps).map(lambda x: images.resize_cubic(x, (10, 7)))
    assert dataset.element_spec.shape == (2, 10, 7, 2)
    np.testing.assert_allclose(next(iter(dataset)), [slow_resize_cubic(each, (10, 7)) for each in maps], atol=1e-5)


def test_maps_without_channels_are_refused():
    with pytest.raises(ValueError, match=r"\[..., h, w, C\], got \(5, 6\)"):
        images.resize_cubic(np.zeros((5, 6)), (10, 12))


# ---------------------------------------- padding
def test_pads_equal_the_published_ones(golden):
    case = golden("openpose_resize_a")
    for (height, width), expected in zip(case["input_pad_sizes"].tolist(), case["output_pads"], strict=True):
        padded, (top, left) = images.pad_to_stride(np.zeros((height, width, 1)), 8, min_width=height)
        bottom, right = padded.shape[0] - height - top, padded.shape[1] - width - left
        np.testing.assert_array_equal([*padded.shape[:2], top, left, bottom, right], expected)


def test_the_published_pixels_are_blue_first_from_minus_a_half_to_a_half(golden):
    case = golden("openpose_resize_a")
    red_first = case["input_image"][..., ::-1]
    case.check("output_normalized", images.normalize(red_first, [128 / 255] * 3, [256 / 255] * 3, bgr=True))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "shape, stride, padded_shape", [((5, 13), 8, (8, 16)), ((8, 16), 8, (8, 16)), ((1, 7), 4, (4, 8))]
)
def test_the_picture_lies_in_its_padding(dtype, shape, stride, padded_shape):
    picture = random_images((2, *shape, 3), dtype)
    padded, (top, left) = images.pad_to_stride(picture, stride, 128)
    padded = np.asarray(padded)
    assert padded.dtype == dtype and padded.shape == (2, *padded_shape, 3)
    inside = np.zeros(padded_shape, bool)
    inside[top : top + shape[0], left : left + shape[1]] = True
    np.testing.assert_array_equal(padded[:, inside].reshape(picture.shape), picture)
    assert (padded[:, ~inside] == 128).all()
    assert 0 <= padded_shape[0] - shape[0] - 2 * top <= 1 and 0 <= padded_shape[1] - shape[1] - 2 * left <= 1


def test_padding_where_sizes_are_known_only_when_it_runs():
    pictures = [random_images((h, w, 3)) for h, w in [(5, 13), (16, 9), (1, 1)]]
    signature = tf.TensorSpec((None, None, 3), tf.uint8)
    dataset = tf.data.Dataset.from_generator(lambda: pictures, output_signature=signature)
    dataset = dataset.map(lambda picture: images.pad_to_stride(picture, 8, 7, min_width=tf.shape(picture)[0]))
    for picture, (padded, offset) in zip(pictures, dataset, strict=True):
        expected, expected_offset = images.pad_to_stride(picture, 8, 7, min_width=len(picture))
        np.testing.assert_array_equal(padded, expected)
        assert tuple(map(int, offset)) == expected_offset


def test_no_stride_below_one():
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        images.pad_to_stride(np.zeros((5, 6, 3)), 0)
