"""Pixel operations against plain NumPy in float64."""

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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
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
        tf.function(lambda clip, box: images.crop_resize(clip, box, (10, 14)), input_signature=signature)
        for signature in (one, batch)
    )
    box = np.float32([-3.0, 2.5, 17.0, 21.5])
    for shape in [(2, 20, 15, 3), (1, 33, 9, 3)]:
        clip = random_images(shape)
        expected = slow_crop_resize(clip, box, (10, 14))
        np.testing.assert_allclose(crop_one(clip, box), expected, atol=0.01)
        np.testing.assert_allclose(crop_batch(clip[None], box[None])[0], expected, atol=0.01)
        dataset = tf.data.Dataset.from_tensors((clip, box)).map(lambda c, b: images.crop_resize(c, b, (10, 14)))
        np.testing.assert_allclose(next(iter(dataset)), expected, atol=0.01)
