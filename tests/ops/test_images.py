"""Pixel operations against plain NumPy in float64."""

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
