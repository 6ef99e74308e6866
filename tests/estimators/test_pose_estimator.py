"""Networks whose heatmaps are known show where keypoints come out; those of random weights, that all ways agree."""

import dataclasses
import inspect

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators
from kerapose.ops import heatmaps, images
from kerapose.skeletons import COCO, Skeleton

SIZE = (64, 48)
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
FLIP = (0, 2, 1)
TRIANGLE = Skeleton("triangle", ("top", "left", "right"), ((0, 1), (0, 2)))


@keras.saving.register_keras_serializable("tests")
class Peaks(keras.layers.Layer):
    """Heatmaps that do not depend on the image: each keypoint a peak at (x, y), and half of it at a neighbour."""

    def __init__(self, peaks, size=(16, 12), height=0.9, **kwargs):
        super().__init__(**kwargs)
        self.peaks, self.size, self.height = peaks, size, height

    def call(self, crops):
        maps = np.zeros((*self.size, len(self.peaks)), "float32")
        for k, (x, y, side_x, side_y) in enumerate(self.peaks):
            maps[y, x, k] = self.height
            if side_x:
                maps[y, x + side_x, k] = self.height / 2
            if side_y:
                maps[y + side_y, x, k] = self.height / 2
        return keras.ops.zeros_like(crops[:, :1, :1, :1]) + maps

    def get_config(self):
        return super().get_config() | {"peaks": self.peaks, "size": self.size, "height": self.height}


class Seeing(keras.layers.Layer):
    """Heatmaps that are colours of the crop: red for the top, green in the left half and in the right half.

    Linear sampling at i * stride or, aligned, from the first pixel's centre to the last one's: a mirrored crop then
    gives the mirrored heatmaps with left and right exchanged, exactly.
    """

    def __init__(self, aligned, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = (sampling(side // 4, side, aligned) for side in SIZE)
        half = np.arange(12) < 6
        self.masks = np.stack([np.ones(12), half, ~half], axis=-1).astype("float32")  # [w, K]

    def call(self, crops):
        sampled = keras.ops.einsum("hH,bHWc,wW->bhwc", self.rows, crops, self.columns)
        return keras.ops.take(sampled, [0, 1, 1], axis=-1) * self.masks


def sampling(count, side, aligned):
    places = np.arange(count) * ((side - 1) / (count - 1) if aligned else side / count)
    return np.maximum(1 - np.abs(np.arange(side) - places[:, None]), 0).astype("float32")


def network_of(layer):
    crops = keras.Input((*SIZE, 3))
    return keras.Model(crops, layer(crops))


def random_network(seed=0, stacks=None):
    keras.utils.set_random_seed(seed)
    crops = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    maps = [keras.layers.Conv2D(3, 5, padding="same")(x) for _ in range(stacks or 1)]
    if stacks is None:
        return keras.Model(crops, maps[0])
    return keras.Model(crops, keras.layers.Lambda(lambda maps: keras.ops.stack(maps, axis=1))(maps))


def noise(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def random_boxes(count, seed=0):
    """Boxes of all shapes, some reaching beyond an image of 90 x 120."""
    random = np.random.default_rng(seed)
    corner = random.uniform(-20, 80, (count, 2))
    return np.concatenate([corner, corner + random.uniform(25, 90, (count, 2))], axis=1).astype("float32")


# ---------------------------------------- where keypoints come out
def region(box, padding):
    """Centre and width of the crop of a box, by hand: the box brought to 3 : 4, then padded."""
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, padding * max(right - left, (bottom - top) * 48 / 64)


@pytest.mark.parametrize("padding", [1.25, 1.0])
@pytest.mark.parametrize("box", [(10, 20, 40, 60), (30.5, 10.25, 110, 40), (-40, -10, 20, 300)])
def test_a_known_peak_comes_out_where_the_box_says(box, padding):
    network = network_of(Peaks([(3, 5, 1, -1), (9, 2, -1, 0), (11, 15, 0, 0)]))
    estimator = estimators.PoseEstimator(network, TRIANGLE, flip_test=False, box_padding=padding)
    keypoints, scores = estimator({"image": noise(), "boxes": np.array([box], "float32")})
    x, y, width = region(box, padding)
    quarter = np.array([(3.25, 4.75), (8.75, 2), (11, 15)])  # towards the higher neighbour
    expected = (quarter * 4 - (24, 32)) * width / 48 + (x, y)
    np.testing.assert_allclose(keypoints[0], expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(scores, [[0.9] * 3], rtol=1e-6)


def test_udp_comes_back_by_its_own_matrices():
    box = (10, 20, 40, 60)
    network = network_of(Peaks([(3, 5, 0, 0), (9, 2, 0, 0), (6, 8, 0, 0)]))
    estimator = estimators.PoseEstimator(network, TRIANGLE, codec="udp", flip_test=False)
    keypoints, _ = estimator({"image": noise(), "boxes": np.array([box], "float32")})
    maps = keras.ops.convert_to_numpy(network(np.zeros((1, *SIZE, 3), "float32")))
    in_crop, _ = heatmaps.decode(maps, SIZE, codec="udp")
    x, y, width = region(box, 1.25)
    scale = np.array([width / 47, width * 64 / 48 / 63])  # between the centres of the corner pixels
    expected = (np.asarray(in_crop)[0] - (23.5, 31.5)) * scale + (x, y)
    np.testing.assert_allclose(keypoints[0], expected, rtol=1e-5, atol=1e-3)


def blobs(points, size=(90, 120), sigma_px=5.0):
    """Red at the first point, green at the second and third."""
    y, x = np.mgrid[: size[0], : size[1]]
    red, *green = (np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma_px**2)) for px, py in points)
    return np.stack([red, sum(green), np.zeros_like(red)], axis=-1)


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_what_is_seen_in_the_crop_is_found_in_the_image(codec, flip_test):
    points = np.array([(70.3, 30.2), (48.6, 55.9), (80.1, 61.7)])
    image = np.round(255 * blobs(points)).astype("uint8")
    network = network_of(Seeing(aligned=codec == "udp"))
    estimator = estimators.PoseEstimator(network, TRIANGLE, codec=codec, flip_test=flip_test, normalization=PLAIN)
    boxes = np.array([(40, 15, 90, 75), (30, -5, 100, 95)], "float32")  # the second reaches beyond the image
    keypoints, scores = estimator({"image": image, "boxes": boxes})
    # A pixel of the heatmaps is 5.2 or 8.7 pixels of the image; the codecs that only know a quarter of it err most.
    tolerance = {"gaussian": 0.55, "dark": 0.3, "udp": 0.15, "hourglass": 0.8}[codec]
    for found, box in zip(np.asarray(keypoints), boxes, strict=True):
        pixel = region(box, 1.25)[2] / 12
        assert np.abs(found - points).max() < tolerance * pixel
    assert np.asarray(scores).min() > 0.5


# ---------------------------------------- mirror images
@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_a_network_that_mirrors_exactly_sees_nothing_new_in_a_mirror(codec):
    network = network_of(Seeing(aligned=True))
    image, boxes = noise(), random_boxes(4)
    options = {"codec": codec, "shift": False, "normalization": PLAIN}
    straight = dataclasses.replace(TRIANGLE, keypoints=("a", "b", "c"), flip_pairs=())
    both, alone, wrong = (
        estimators.PoseEstimator(network, skeleton, flip_test=flip_test, **options).answers(
            estimators.PoseEstimator(network, skeleton, **options).crops(image, boxes)[0]
        )
        for skeleton, flip_test in ((TRIANGLE, True), (TRIANGLE, False), (straight, True))
    )
    np.testing.assert_allclose(both, alone, atol=1e-5)
    assert np.abs(np.asarray(wrong) - alone).max() > 0.1  # left and right stayed where they were


@pytest.mark.parametrize("shift", [True, False])
def test_heatmaps_are_averaged_as_published(shift):
    network = random_network()
    estimator = estimators.PoseEstimator(network, TRIANGLE, shift=shift)
    crops = np.random.default_rng(0).normal(size=(2, *SIZE, 3)).astype("float32")
    plain, mirrored = (np.asarray(network(c)) for c in (crops, crops[:, :, ::-1]))
    expected = np.empty_like(plain)
    for k, source in enumerate(FLIP):
        for x in range(12):
            place = 12 - 1 - (x - 1 if shift and x else x)
            expected[:, :, x, k] = (plain[:, :, x, k] + mirrored[:, :, place, source]) / 2
    np.testing.assert_allclose(estimator.answers(crops), expected, rtol=1e-5, atol=1e-5)


def test_the_shift_is_the_codecs_own_unless_given():
    network = random_network()
    shifts = {codec: estimators.PoseEstimator(network, TRIANGLE, codec=codec).shift for codec in heatmaps.CODECS}
    assert shifts == {"gaussian": True, "dark": True, "udp": False, "hourglass": False}
    assert estimators.PoseEstimator(network, TRIANGLE, codec="udp", shift=True).shift


def test_the_hourglass_is_limited_to_the_height_of_its_targets():
    network = network_of(Peaks([(3, 5, 1, -1), (9, 2, -1, 0), (6, 8, 0, 0)], height=1.7))
    inputs = {"image": noise(), "boxes": random_boxes(1)}
    for codec, most in (("hourglass", 1.0), ("gaussian", 1.7)):
        _, scores = estimators.PoseEstimator(network, TRIANGLE, codec=codec, flip_test=False)(inputs)
        np.testing.assert_allclose(scores, [[most] * 3], rtol=1e-6)


# ---------------------------------------- crops
@pytest.mark.parametrize("codec", ["gaussian", "udp"])
def test_crops_are_those_of_opencv_normalized(codec):
    image, boxes = noise(), random_boxes(6)
    image = cv2.GaussianBlur(image, (0, 0), 2)  # OpenCV 4 knows 32 places between two pixels
    normalization = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3), "bgr": True}
    estimator = estimators.PoseEstimator(random_network(), TRIANGLE, codec=codec, normalization=normalization)
    crops, matrices = estimator.crops(image, boxes)
    assert crops.shape == (6, *SIZE, 3)
    for crop, matrix, box in zip(np.asarray(crops), np.asarray(matrices), boxes, strict=True):
        x, y, width = region(box, 1.25)
        if codec == "udp":
            scale, middle = np.array([47 / width, 63 / (width * 64 / 48)]), np.array([23.5, 31.5])
        else:
            scale, middle = np.array([48 / width] * 2), np.array([24.0, 32.0])
        expected = np.concatenate([np.diag(scale), (middle - scale * (x, y))[:, None]], axis=1)
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-3)
        warped = cv2.warpAffine(image.astype("float32"), expected, (48, 64), flags=cv2.INTER_LINEAR)
        wanted = (warped[..., ::-1] / 255 - (0.4, 0.5, 0.6)) / (0.2, 0.25, 0.3)
        assert np.abs(crop - wanted).mean() < 0.01
        assert np.abs(crop - wanted).max() < 0.3


def test_crops_and_matrices_alone_are_enough():
    estimator = estimators.PoseEstimator(random_network(), TRIANGLE)
    inputs = {"image": noise(), "boxes": random_boxes(5)}
    crops, matrices = estimator.crops(inputs["image"], inputs["boxes"])
    for actual, expected in zip(estimator.from_crops(crops, matrices), estimator(inputs), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


def test_normalization_is_that_of_training_when_not_given():
    estimator = estimators.PoseEstimator(random_network(), TRIANGLE)
    crops, _ = estimator.crops(np.full((90, 120, 3), 200, "uint8"), np.array([[40, 30, 60, 60]], "float32"))
    np.testing.assert_allclose(crops[0, 32, 24], images.normalize(np.array([200, 200, 200])), rtol=1e-5)


# ---------------------------------------- any number of boxes
def test_chunks_change_nothing_eagerly_and_in_a_graph():
    network = random_network()
    whole, chunked = (estimators.PoseEstimator(network, TRIANGLE, max_batch=most) for most in (100, 3))
    image, boxes = noise(), random_boxes(7)
    signature = [tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, 4), tf.float32)]
    in_graph = tf.function(lambda image, boxes: chunked({"image": image, "boxes": boxes}), signature)
    expected = [np.asarray(array) for array in whole({"image": image, "boxes": boxes})]
    assert expected[0].shape == (7, 3, 2)
    for count in (0, 1, 3, 4, 7):
        for answer in (chunked({"image": image, "boxes": boxes[:count]}), in_graph(image, boxes[:count])):
            for actual, array in zip(answer, expected, strict=True):
                assert actual.shape == (count, *array.shape[1:])
                np.testing.assert_allclose(actual, array[:count], rtol=1e-5, atol=1e-4)


def test_the_network_never_sees_more_than_max_batch_crops():
    seen = []

    class Counting(keras.layers.Layer):
        def call(self, crops):
            tf.py_function(lambda n: seen.append(int(n)), [tf.shape(crops)[0]], [])
            return crops

    crops = keras.Input((*SIZE, 3))
    network = keras.Model(crops, random_network()(Counting()(crops)))
    inputs = {"image": noise(), "boxes": random_boxes(8)}
    estimators.PoseEstimator(network, TRIANGLE, max_batch=3)(inputs)
    assert seen == [6, 6, 4]  # each with its mirror image
    seen.clear()
    estimators.PoseEstimator(network, TRIANGLE, max_batch=3, flip_test=False)(inputs)
    assert seen == [3, 3, 2]


# ---------------------------------------- kinds of network
def test_of_several_stacks_the_last_counts():
    network = random_network(stacks=2)
    last = keras.Model(network.input, network.output[:, -1])
    inputs = {"image": noise(), "boxes": random_boxes(3)}
    for actual, expected in zip(*(estimators.PoseEstimator(n, TRIANGLE)(inputs) for n in (network, last)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_bfloat16_network_gets_and_gives_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = network_of(Peaks([(3, 5, 1, -1), (9, 2, -1, 0), (6, 8, 0, 0)]))
        estimator = estimators.PoseEstimator(network, TRIANGLE, flip_test=False)
    finally:
        keras.config.set_dtype_policy(before)
    box = np.array([[1000.3, 2000.6, 1030.2, 2040.9]], "float32")
    crops, matrices = estimator.crops(noise(), box)
    keypoints, scores = estimator.from_crops(crops, matrices)
    assert {keras.backend.standardize_dtype(t.dtype) for t in (crops, matrices, keypoints, scores)} == {"float32"}
    x, y, width = region(box[0], 1.25)
    np.testing.assert_allclose(keypoints[0, 2], ((24, 32) - np.array([24, 32])) * width / 48 + (x, y), rtol=1e-6)


def test_decoding_reaches_the_codec():
    estimator = estimators.PoseEstimator(random_network(), TRIANGLE, decoding={"offset": None})
    box = np.array([[40, 30, 60, 50]], "float32")
    keypoints, _ = estimator({"image": noise(), "boxes": box})
    matrix = np.asarray(estimator.crops(noise(), box)[1])[0]
    in_crop = np.asarray(keypoints)[0] @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(in_crop / 4, np.round(in_crop / 4), atol=1e-3)  # maxima, without quarters of a pixel
    shifted, _ = estimators.PoseEstimator(random_network(), TRIANGLE)({"image": noise(), "boxes": box})
    assert np.abs(np.asarray(shifted) - keypoints).max() > 0.4
    with pytest.raises(TypeError, match="no_such_option"):
        estimators.PoseEstimator(random_network(), TRIANGLE, decoding={"no_such_option": 1})(
            {"image": noise(), "boxes": box}
        )


# ---------------------------------------- networks of other answers than heatmaps
@keras.saving.register_keras_serializable("tests")
class Places(keras.layers.Layer):
    """Coordinates of the brightest place of each of the three masked colours of `Seeing`, of a sampled crop.

    A soft maximum, sharp enough to be one, is smooth in the pixels, and mirrors exactly with the crop: x becomes
    `width` - 1 - x of the pixels.
    """

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, crops):
        height, width = SIZE
        half = np.arange(width) < width // 2
        masks = np.stack([np.ones(width), half, ~half], axis=-1).astype("float32")  # [W, K]
        maps = keras.ops.take(crops, [0, 1, 1], axis=-1) * masks  # [B, H, W, K]
        if self.kind == "simcc":
            rows, columns = (keras.ops.max(maps, axis=axis) for axis in (2, 1))  # [B, H, K], [B, W, K]
            bins = [keras.ops.repeat(keras.ops.transpose(v, (0, 2, 1)), 2, axis=-1) for v in (columns, rows)]
            return {"x": 3 * bins[0], "y": 3 * bins[1]}
        flat = keras.ops.reshape(maps, (-1, height * width, 3))
        sharp = keras.ops.softmax(30 * flat, axis=1)  # [B, H*W, K]
        y, x = np.mgrid[:height, :width].reshape(2, -1).astype("float32")
        found = keras.ops.stack([keras.ops.sum(sharp * place[:, None], axis=1) for place in (x, y)], axis=-1)
        found = found / np.float32([width, height])  # [B, K, 2]
        if self.kind == "coordinates":
            return found
        return keras.ops.concatenate([found, keras.ops.zeros_like(found) + np.float32([-2, 0])], axis=-1)

    def get_config(self):
        return super().get_config() | {"kind": self.kind}


KINDS = {"coordinates": "regression", "uncertain": "regression", "simcc": "simcc"}


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_places_without_heatmaps_are_found_in_the_image(kind, flip_test):
    points = np.array([(70.3, 30.2), (48.6, 55.9), (80.1, 61.7)])
    image = np.round(255 * blobs(points)).astype("uint8")
    estimator = estimators.PoseEstimator(network_of(Places(kind)), TRIANGLE, flip_test=flip_test, normalization=PLAIN)
    assert (estimator.codec, estimator.shift) == (KINDS[kind], KINDS[kind] == "regression")
    boxes = np.array([(40, 15, 90, 75), (30, -5, 100, 95)], "float32")
    keypoints, scores = estimator({"image": image, "boxes": boxes})
    for found, box in zip(np.asarray(keypoints), boxes, strict=True):
        pixel = region(box, 1.25)[2] / 48  # of the crop
        assert np.abs(found - points).max() < {"simcc": 1.3, "regression": 0.7}[KINDS[kind]] * pixel
    if kind == "uncertain":
        np.testing.assert_allclose(scores, np.full((2, 3), 1 - (1 / (1 + np.exp(2)) + 0.5) / 2), rtol=1e-5)
    elif kind == "coordinates":
        np.testing.assert_array_equal(scores, np.ones((2, 3)))
    else:
        assert 1.5 < np.min(scores) <= np.max(scores) <= 3  # of raw logits, which may pass 1


def test_answers_without_heatmaps_are_averaged_as_published():
    crops = np.random.default_rng(0).uniform(size=(2, *SIZE, 3)).astype("float32")
    plain, mirrored = (
        {kind: keras.tree.map_structure(np.asarray, network_of(Places(kind))(c)) for kind in KINDS}
        for c in (crops, np.ascontiguousarray(crops[:, :, ::-1]))
    )
    found = {
        (kind, shift): estimators.PoseEstimator(network_of(Places(kind)), TRIANGLE, shift=shift).answers(crops)
        for kind in KINDS
        for shift in ((True, False) if KINDS[kind] == "regression" else (None,))
    }
    order = list(FLIP)
    for shift in (True, False):
        for kind in ("coordinates", "uncertain"):
            back = mirrored[kind][:, order].copy()
            back[..., 0] = 1 - back[..., 0] - shift / 48
            expected = (plain[kind][..., :2] + back[..., :2]) / 2
            np.testing.assert_allclose(found[kind, shift][..., :2], expected, rtol=1e-5, atol=1e-6)
    sigmas = (
        1 / (1 + np.exp(-plain["uncertain"][..., 2:])) + 1 / (1 + np.exp(-mirrored["uncertain"][:, order, 2:]))
    ) / 2
    np.testing.assert_allclose(found["uncertain", True][..., 2:], sigmas, rtol=1e-5)
    vectors = found["simcc", None]
    np.testing.assert_allclose(
        vectors["x"], (plain["simcc"]["x"] + mirrored["simcc"]["x"][:, order, ::-1]) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(vectors["y"], (plain["simcc"]["y"] + mirrored["simcc"]["y"][:, order]) / 2, rtol=1e-6)


def test_the_maps_of_stages_at_an_eighth_are_read_as_any():
    peaks = Peaks([(3, 5, 1, -1), (2, 2, -1, 0), (4, 6, 0, 0)], size=(8, 6))
    crops = keras.Input((*SIZE, 3))
    stages = keras.layers.Lambda(lambda maps: keras.ops.stack([0.1 * maps, maps], axis=1))(peaks(crops))
    box = (10, 20, 40, 60)
    estimator = estimators.PoseEstimator(keras.Model(crops, stages), TRIANGLE, flip_test=False)
    keypoints, scores = estimator({"image": noise(), "boxes": np.array([box], "float32")})
    x, y, width = region(box, 1.25)
    quarter = np.array([(3.25, 4.75), (1.75, 2), (4, 6)])
    quarter[1:] = [(2, 2), (4, 6)]  # too near to the borders to be moved
    np.testing.assert_allclose(
        keypoints[0], (quarter * 8 - (24, 32)) * width / 48 + (x, y), rtol=1e-5, atol=8 * width / 96
    )
    np.testing.assert_allclose(scores, [[0.9] * 3], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_graphs_and_files_of_other_answers(kind, tmp_path):
    estimator = estimators.PoseEstimator(network_of(Places(kind)), TRIANGLE, max_batch=2)
    image, boxes = noise(), random_boxes(5)
    expected = estimator({"image": image, "boxes": boxes})
    signature = [tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, 4), tf.float32)]
    in_graph = tf.function(lambda image, boxes: estimator({"image": image, "boxes": boxes}), signature)
    estimator.save(tmp_path / "pose.keras")
    loaded = keras.saving.load_model(tmp_path / "pose.keras")
    assert loaded.codec == KINDS[kind] and loaded.shift == estimator.shift
    for answer in (in_graph(image, boxes), loaded({"image": image, "boxes": boxes})):
        for actual, array in zip(answer, expected, strict=True):
            np.testing.assert_allclose(actual, array, rtol=1e-4, atol=1e-3)
    assert in_graph(image, boxes[:0])[0].shape == (0, 3, 2)


def test_a_bfloat16_network_of_vectors_gives_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        estimator = estimators.PoseEstimator(network_of(Places("simcc")), TRIANGLE)
    finally:
        keras.config.set_dtype_policy(before)
    found = estimator({"image": noise(), "boxes": random_boxes(2)})
    assert {keras.backend.standardize_dtype(array.dtype) for array in found} == {"float32"}


def test_simcc_is_decoded_with_its_own_options():
    inputs = {"image": np.round(255 * blobs([(70, 30), (48, 56), (80, 62)])).astype("uint8"), "boxes": random_boxes(1)}
    plain, dark = (
        estimators.PoseEstimator(network_of(Places("simcc")), TRIANGLE, decoding=decoding)(inputs)[0]
        for decoding in (None, {"dark": True})
    )
    assert np.abs(np.asarray(plain) - dark).max() > 0.01


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("simcc", {"codec": "gaussian"}, r"codec must be simcc for a network that gives .* got 'gaussian'; use the"),
        ("simcc", {"shift": True}, "The codec simcc has no shift, got shift=True; leave it out"),
        ("coordinates", {"codec": "simcc"}, r"codec must be regression for a network that gives \(None, 3, 2\), got"),
        ("uncertain", {"skeleton": COCO}, "A network for coco gives 17 keypoints, got one of 3; give the skeleton"),
    ],
)
def test_options_of_other_answers_that_do_not_fit_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        estimators.PoseEstimator(network_of(Places(kind)), **({"skeleton": TRIANGLE} | options))


# ---------------------------------------- keeping and refusing
OPTIONS = {
    "codec": "udp",
    "flip_test": False,
    "shift": True,
    "box_padding": 1.1,
    "normalization": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "bgr": True},
    "decoding": {},
    "max_batch": 5,
}


@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_a_kept_estimator_gives_the_same(tmp_path, options):
    keras.utils.set_random_seed(0)
    crops = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(crops)
    estimator = estimators.PoseEstimator(
        keras.Model(crops, keras.layers.Conv2D(3, 5, padding="same")(x)), TRIANGLE, **options
    )
    inputs = {"image": noise(), "boxes": random_boxes(3)}
    expected = estimator(inputs)
    estimator.save(tmp_path / "pose.keras")
    loaded = keras.saving.load_model(tmp_path / "pose.keras")
    assert type(loaded) is estimators.PoseEstimator
    for actual, array in zip(loaded(inputs), expected, strict=True):
        np.testing.assert_array_equal(actual, array)
    arguments = set(inspect.signature(estimators.PoseEstimator.__init__).parameters) - {"self", "kwargs"}
    config = estimator.get_config()
    assert arguments < set(config) and config["skeleton"] == TRIANGLE.to_dict()
    for name in arguments - {"network", "skeleton"}:
        assert getattr(loaded, name) == getattr(estimator, name) == config[name]
    assert loaded.skeleton == TRIANGLE
    assert {name: getattr(loaded, name) for name in options} == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "msra"}, "codec must be one of gaussian, dark, udp, hourglass, regression, simcc, got 'msra'; use"),
        ({"codec": "simcc"}, r"codec must be gaussian or dark or udp or hourglass for .* got 'simcc'; use the one of"),
        ({"skeleton": COCO}, "A network for coco gives 17 keypoints, got one of 3; give the skeleton that it was"),
        ({"skeleton": None}, "skeleton must be the Skeleton that the network was trained with, got NoneType; give"),
        ({"box_padding": 0}, "box_padding must be above 0, got 0; 1.25 is the published one"),
        ({"max_batch": 0}, "max_batch must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        estimators.PoseEstimator(random_network(), **({"skeleton": TRIANGLE} | options))


def test_networks_that_do_not_fit_are_refused():
    crops = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match=r"crops \[B, H, W, 3\] of a fixed size, got \(None, None, None, 3\); give"):
        estimators.PoseEstimator(keras.Model(crops, keras.layers.Conv2D(3, 1)(crops)), TRIANGLE)
    with pytest.raises(ValueError, match=r"must give heatmaps .* got \(None, 3\); use SimpleBaseline"):
        estimators.PoseEstimator(keras.Model(crops, keras.layers.GlobalAveragePooling2D()(crops)), TRIANGLE)
