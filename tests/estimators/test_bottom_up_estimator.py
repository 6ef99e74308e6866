"""A network that sees people of three colours shows where they come out; one that echoes its input, what it gets."""

import inspect

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators
from kerapose.ops import boxes, grouping
from kerapose.skeletons import COCO, Skeleton

TRIANGLE = Skeleton("triangle", ("top", "left", "right"), ((0, 1), (0, 2)))
DIRECTIONS = np.array([(-0.8, 0.6), (0.8, 0.6)], "float32")  # of both limbs of everybody
LIMB_PX = 60.0  # of the network's input
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def seeing_network(stages=1, stride=8):
    """Heatmaps that are red, green and blue, averaged over each cell, and fields that have one direction everywhere.

    Of several stages only the last one sees. A person is known by its directions: any other pair of keypoints of the
    same colours lies askew to the fields.
    """
    images = keras.Input((None, None, 3))
    outputs = []
    for stage in range(stages):
        heatmaps, fields = (keras.layers.Conv2D(4, stride, strides=stride) for _ in range(2))
        outputs += [heatmaps(images), fields(images)]
        last = stage == stages - 1
        average = np.zeros((stride, stride, 3, 4), "float32")
        average[..., :3] = np.eye(3) / stride**2 if last else 0
        heatmaps.set_weights([average, np.full(4, 0 if last else 0.7, "float32")])
        fields.set_weights([0 * average, DIRECTIONS.ravel() if last else np.zeros(4, "float32")])
    return keras.Model(images, outputs)


@keras.saving.register_keras_serializable("tests")
class AsSeen(keras.layers.Layer):
    """Heatmaps that are the pixels of the network's input, without a stride, and a background; and as many fields."""

    def call(self, images):
        maps = keras.ops.concatenate([images, keras.ops.ones_like(images[..., :1])], axis=-1)
        return [maps, -maps]


def echoing_network():
    images = keras.Input((None, None, 3))
    return keras.Model(images, AsSeen()(images))


def random_network(seed=0):
    keras.utils.set_random_seed(seed)
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 9, strides=8, padding="same", activation="relu")(images)
    return keras.Model(images, [keras.layers.Conv2D(4, 3, padding="same")(x) for _ in range(2)])


def noise(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def people_at(tops, scale):
    """[M, 3, 2] pixels of the image: the keypoints of people whose top ones are at [M, 2]."""
    tops = np.asarray(tops, "float64")
    return np.stack([tops, *(tops + LIMB_PX / scale * direction for direction in DIRECTIONS.astype("float64"))], axis=1)


def picture(people, size, scale, heights=None):
    """uint8 [H, W, 3]: a blob of red, of green and of blue for each person, `heights` of full brightness."""
    y, x = np.mgrid[: size[0], : size[1]]
    heights = np.ones(len(people)) if heights is None else heights
    image = np.zeros((*size, 3))
    for person, height in zip(people, heights, strict=True):
        for channel, (px, py) in enumerate(person):
            image[..., channel] += height * np.exp(-((x - px) ** 2 + (y - py) ** 2) * scale**2 / (2 * 10**2))
    return np.round(255 * np.minimum(image, 1)).astype("uint8")


def crowd(size, scale, count, seed=0):
    """People of random places in an image, none close to another: [M, 3, 2]."""
    random = np.random.default_rng(seed)
    arm, margin = LIMB_PX / scale, 16 / scale
    found = np.zeros((0, 2))
    for _ in range(1000):
        top = random.uniform((0.8 * arm + margin, margin), (size[1] - 0.8 * arm - margin, size[0] - 0.6 * arm - margin))
        if len(found) < count and (np.abs(found - top).max(axis=-1, initial=0) > 45 / scale).all():
            found = np.concatenate([found, top[None]])
    assert len(found) == count
    return people_at(found, scale)


def people_of(found):
    count = int(found["count"])
    return np.asarray(found["keypoints"])[:count], np.asarray(found["scores"])[:count]


def grouped_in_numpy(estimator, image):
    """What the clear form of the grouping finds in the same maps, in pixels of the image."""
    heatmaps, pafs, matrix = (np.asarray(part) for part in estimator.fields(image))
    found = grouping.group_numpy(heatmaps, pafs, estimator.skeleton.edges, estimator.max_people, estimator.max_peaks)
    return found | {"keypoints": np.asarray(boxes.transform_points(found["keypoints"], matrix))}


def assert_same_people(actual, expected, atol):
    """[M, K, 2] each, in any order."""
    assert len(actual) == len(expected)
    distances = np.linalg.norm(actual[:, None] - expected, axis=-1).max(axis=-1)  # [M, M]
    nearest = distances.argmin(axis=0)
    assert sorted(nearest) == list(range(len(expected)))
    assert distances.min(axis=0).max() < atol
    return nearest


# ---------------------------------------- where people come out
# Size of the image, height for the network, people.
SIZES = {
    "as it is": ((193, 331), None, 3),
    "of whole cells": ((256, 320), 256, 3),
    "upscaled": ((97, 171), 256, 4),
    "downscaled": ((541, 903), 256, 4),
    "upright": ((667, 401), 261, 2),
    "wide": ((60, 600), 128, 5),
}


def scale_of(size, height):
    return 1.0 if height is None else height / size[0]


@pytest.mark.parametrize("case", SIZES)
def test_everybody_is_found_where_they_are(case):
    size, height, count = SIZES[case]
    scale = scale_of(size, height)
    people = crowd(size, scale, count)
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, height=height, normalization=PLAIN)
    found = estimator(picture(people, size, scale))
    keypoints, scores = people_of(found)
    assert found["num_found"] == count and not found["overflow"]
    order = assert_same_people(keypoints, people, 1.0 / scale)  # a pixel of what the network sees, an eighth of a cell
    errors = (keypoints[order] - people) * scale
    assert np.abs(errors.mean(axis=(0, 1))).max() < 0.25  # on average not beside it: half a pixel would show
    assert scores.min() > 0.5
    assert not np.asarray(found["keypoints"])[count:].any() and not np.asarray(found["scores"])[count:].any()


@pytest.mark.parametrize("upsample", [1, 2, 8])
def test_any_enlargement_finds_the_same_places(upsample):
    size, scale = (150, 280), 256 / 150
    people = crowd(size, scale, 3)
    options = {"normalization": PLAIN, "upsample": upsample, "decoding": {"radius": 1.5 * upsample}}
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, **options)
    keypoints, _ = people_of(estimator(picture(people, size, scale)))
    assert_same_people(keypoints, people, (2.0 if upsample == 1 else 1.0) / scale)


def test_another_stride():
    size = (150, 281)
    people = crowd(size, 1.0, 3)
    estimator = estimators.BottomUpEstimator(seeing_network(stride=4), TRIANGLE, None, stride=4, normalization=PLAIN)
    keypoints, _ = people_of(estimator(picture(people, size, 1.0)))
    assert_same_people(keypoints, people, 1.0)


def test_of_several_stages_the_last_counts():
    size = (150, 281)
    people = crowd(size, 1.0, 3)
    image = picture(people, size, 1.0)
    one, three = (estimators.BottomUpEstimator(seeing_network(n), TRIANGLE, None, normalization=PLAIN) for n in (1, 3))
    for name, value in one(image).items():
        np.testing.assert_array_equal(value, three(image)[name])


def test_the_surest_are_given_first_and_too_many_are_told():
    size = (150, 500)
    people, heights = crowd(size, 1.0, 5), [0.5, 0.9, 0.6, 1.0, 0.7]
    image = picture(people, size, 1.0, heights)
    for most in (5, 2):
        found = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, None, max_people=most, normalization=PLAIN)(
            image
        )
        order = np.argsort(heights)[::-1][:most]
        np.testing.assert_allclose(found["keypoints"], people[order], atol=1.0)
        assert (found["count"], found["num_found"], bool(found["overflow"])) == (most, 5, most < 5)
        assert (np.diff(found["person_scores"]) < 0).all()
    found = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, None, max_peaks=3, normalization=PLAIN)(image)
    assert found["overflow"] and found["count"] <= 3


# ---------------------------------------- nobody
@pytest.mark.parametrize("height", [None, 64])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (7, 40), (33, 2)])
def test_images_smaller_than_a_cell(size, height):
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, height=height, normalization=PLAIN)
    nobody = estimator(np.zeros((*size, 3), "uint8"))
    assert not any(np.any(value) for value in nobody.values())
    assert nobody["keypoints"].shape == (20, 3, 2) and nobody["count"].shape == ()
    found, expected = estimator(noise(*size)), grouped_in_numpy(estimator, noise(*size))
    assert found["num_found"] == expected["num_found"]
    assert height or found["num_found"] == 0  # a few pixels are nobody unless they are enlarged
    np.testing.assert_allclose(people_of(found)[0], expected["keypoints"], atol=1e-2)


def test_one_keypoint_is_nobody():
    size = (90, 120)
    image = picture(people_at([(60, 20)], 1.0), size, 1.0)
    image[..., 1:] = 0
    found = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, None, normalization=PLAIN)(image)
    assert found["count"] == 0 and not np.any(found["keypoints"])


@pytest.mark.parametrize("grey", [60, 101, 255])
def test_maps_of_one_level_are_nobody(grey):
    """Not even where fields join anything: enlarging makes no peaks of rounding."""
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, None, normalization=PLAIN)
    assert estimator(np.full((96, 120, 3), grey, "uint8"))["num_found"] == 0  # whole cells: no padding


def test_a_missing_keypoint_is_at_zero():
    network, size = seeing_network(), (150, 281)
    # And a fourth, of a colour that does not exist.
    four = Skeleton("four", ("top", "left", "right", "hand"), ((0, 1), (0, 2), (1, 3)), flip_pairs=())
    heatmaps, fields = (layer for layer in network.layers if layer.weights)
    images = network.input
    wider = [keras.layers.Conv2D(channels, 8, strides=8) for channels in (5, 6)]
    other = keras.Model(images, [layer(images) for layer in wider])
    wider[0].set_weights([np.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, 1)]) for weight in heatmaps.get_weights()])
    wider[1].set_weights([np.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, 2)]) for weight in fields.get_weights()])
    people = crowd(size, 1.0, 2)
    found = estimators.BottomUpEstimator(other, four, None, normalization=PLAIN)(picture(people, size, 1.0))
    keypoints, scores = people_of(found)
    assert_same_people(keypoints[:, :3], people, 1.0)
    assert not keypoints[:, 3].any() and not scores[:, 3].any()


# ---------------------------------------- what the network sees
@pytest.mark.parametrize("size", [(90, 121), (301, 200), (9, 7), (64, 64), (512, 425)])
@pytest.mark.parametrize("height", [64, 37])
def test_an_image_is_brought_to_the_height_as_opencv_does(size, height):
    image = noise(*size)
    estimator = estimators.BottomUpEstimator(
        echoing_network(), TRIANGLE, height, stride=1, upsample=1, normalization=PLAIN
    )
    maps, _, matrix = estimator.fields(image)
    scale = height / size[0]
    expected = cv2.resize(image.astype("float32"), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    assert maps.shape == expected.shape and maps.shape[0] == height
    np.testing.assert_allclose(maps, expected / 255, atol=1e-3)
    np.testing.assert_allclose(
        matrix, [[1 / scale, 0, 0.5 / scale - 0.5], [0, 1 / scale, 0.5 / scale - 0.5]], rtol=1e-5
    )


def test_images_of_any_type():
    image = noise()
    estimator = estimators.BottomUpEstimator(echoing_network(), TRIANGLE, 64)
    expected = estimator.fields(image)[0]
    for dtype in ("int32", "float32", "float64", "uint16"):
        np.testing.assert_allclose(estimator.fields(image.astype(dtype))[0], expected, atol=1e-5)


def test_an_image_is_normalized_as_published_and_padded_with_mean_grey():
    image = noise(51, 70)
    maps, fields, _ = estimators.BottomUpEstimator(echoing_network(), TRIANGLE, None, upsample=1).fields(image)
    expected = np.zeros((56, 72, 3))
    expected[2:53, 1:71] = (image[..., ::-1].astype("float64") - 128) / 256
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(fields[..., :3], -expected, atol=1e-6)
    assert fields.shape == (56, 72, 4)
    other = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    maps, _, _ = estimators.BottomUpEstimator(
        echoing_network(), TRIANGLE, None, upsample=1, normalization=other
    ).fields(image)
    np.testing.assert_allclose(maps[2:53, 1:71], (image / 255 - other["mean"]) / other["std"], atol=1e-5)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("size", [(90, 121), (301, 200), (5, 3)])
@pytest.mark.parametrize("upsample", [1, 4])
def test_the_way_back_undoes_padding_and_scale(size, upsample, published):
    height, stride = 43, 8
    estimator = estimators.BottomUpEstimator(random_network(), TRIANGLE, height, upsample=upsample)
    heatmaps, fields, matrix = estimator.fields(noise(*size), published=published)
    scale = height / size[0]
    width = round(size[1] * scale)
    columns = -(-max(width, height if published else 0) // stride)
    top, left = (48 - height) // 2, (columns * stride - width) // 2
    assert heatmaps.shape == (6 * upsample, columns * upsample, 3)
    assert fields.shape == (6 * upsample, columns * upsample, 4)
    points = np.random.default_rng(0).uniform(0, 20, (5, 2))
    if published:
        expected = (points * stride / upsample - (left, top)) / scale
    else:
        expected = ((points + 0.5) * stride / upsample - (left, top)) / scale - 0.5
    np.testing.assert_allclose(boxes.transform_points(points, matrix), expected, rtol=1e-4, atol=1e-3)


def test_an_image_far_wider_than_high_stays_of_a_size_that_can_be_done():
    heatmaps, _, matrix = estimators.BottomUpEstimator(random_network(), TRIANGLE, height=64).fields(noise(2, 3000))
    assert heatmaps.shape == (1 * 4, 64 * 4, 3)  # 512 pixels wide
    np.testing.assert_allclose(matrix[0, 0], 2 * 3000 / 512, rtol=1e-3)
    heatmaps, _, _ = estimators.BottomUpEstimator(random_network(), TRIANGLE, height=64).fields(noise(7, 60))
    assert heatmaps.shape == (7 * 4, 60 * 4, 3)  # hardly more than 8 times as wide, and not a pixel beyond 512
    heatmaps, _, _ = estimators.BottomUpEstimator(random_network(), TRIANGLE, height=64).fields(noise(3000, 2))
    assert heatmaps.shape == (8 * 4, 1 * 4, 3)


def test_maps_are_enlarged_as_opencv_does():
    network, image = random_network(), noise(48, 72)
    heatmaps, fields, _ = estimators.BottomUpEstimator(network, TRIANGLE, None, normalization=PLAIN).fields(image)
    seen = [np.asarray(maps)[0] for maps in network(image[None] / np.float32(255))]
    for maps, small in ((heatmaps, seen[0][..., :3]), (fields, seen[1])):
        expected = cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(maps, expected, atol=1e-4 * np.abs(expected).max())


# ---------------------------------------- grouping
def test_people_are_those_that_the_numpy_form_groups():
    size, scale = (333, 505), 256 / 333
    image = picture(crowd(size, scale, 4), size, scale)
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, normalization=PLAIN)
    expected = grouped_in_numpy(estimator, image)
    keypoints, scores = people_of(estimator(image))
    np.testing.assert_allclose(keypoints, expected["keypoints"], atol=1e-2)
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)


def test_decoding_reaches_the_grouping():
    size = (150, 400)
    people, heights = crowd(size, 1.0, 3), [0.3, 0.95, 0.9]
    image = picture(people, size, 1.0, heights)
    sure = estimators.BottomUpEstimator(
        seeing_network(), TRIANGLE, None, normalization=PLAIN, decoding={"threshold": 0.5}
    )
    keypoints, _ = people_of(sure(image))
    assert_same_people(keypoints, people[1:], 1.0)
    with pytest.raises(TypeError, match="no_such_option"):
        estimators.BottomUpEstimator(seeing_network(), TRIANGLE, decoding={"no_such_option": 1})(image)


def test_one_graph_takes_images_of_all_sizes():
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, normalization=PLAIN)
    in_graph = tf.function(estimator, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    for size, count in (((97, 171), 3), ((300, 250), 1), ((512, 425), 2), ((5, 3), 0), ((3, 400), 0), ((1, 1), 0)):
        scale = 256 / size[0]
        image = picture(crowd(size, scale, count), size, scale) if count else noise(*size) // 16
        eager, answer = estimator(image), in_graph(image)
        assert eager["count"] == count
        assert set(eager) == set(answer)
        for name, value in eager.items():
            assert answer[name].dtype == value.dtype and answer[name].shape == value.shape
            np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-2)


def test_a_bfloat16_network_gets_and_gives_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = seeing_network()
        estimator = estimators.BottomUpEstimator(network, TRIANGLE, None, normalization=PLAIN)
    finally:
        keras.config.set_dtype_policy(before)
    people = crowd((150, 281), 1.0, 3)
    found = estimator(picture(people, (150, 281), 1.0))
    assert keras.backend.standardize_dtype(network(np.zeros((1, 8, 8, 3)))[0].dtype) == "bfloat16"
    for name in ("keypoints", "scores", "person_scores"):
        assert keras.backend.standardize_dtype(found[name].dtype) == "float32"
    assert_same_people(people_of(found)[0], people, 2.0)


# ---------------------------------------- keeping and refusing
OPTIONS = {
    "height": 128,
    "stride": 8,
    "upsample": 2,
    "max_people": 5,
    "max_peaks": 9,
    "normalization": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "bgr": False},
    "decoding": {"threshold": 0.2, "radius": 3},
}


@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_a_kept_estimator_gives_the_same(tmp_path, options):
    estimator = estimators.BottomUpEstimator(seeing_network(), TRIANGLE, **options)
    size, scale = (150, 281), scale_of((150, 281), estimator.height)
    image = 255 - picture(crowd(size, scale, 2), size, scale)[..., ::-1] if not options else noise(*size)
    estimator.save(tmp_path / "people.keras")
    loaded = keras.saving.load_model(tmp_path / "people.keras")
    assert type(loaded) is estimators.BottomUpEstimator
    for name, value in estimator(image).items():
        np.testing.assert_array_equal(loaded(image)[name], value)
    for actual, expected in zip(loaded.fields(image), estimator.fields(image), strict=True):
        np.testing.assert_array_equal(actual, expected)
    arguments = set(inspect.signature(estimators.BottomUpEstimator.__init__).parameters) - {"self", "kwargs"}
    config = estimator.get_config()
    assert arguments < set(config) and config["skeleton"] == TRIANGLE.to_dict()
    for name in arguments - {"network", "skeleton"}:
        assert getattr(loaded, name) == getattr(estimator, name) == config[name]
    assert loaded.skeleton == TRIANGLE
    assert {name: getattr(loaded, name) for name in options} == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"skeleton": Skeleton("one", tuple("abc"), ((0, 1),))},
            "A network for one gives 4 heatmaps and 2 PAFs, got one of 4 and 4; give the",
        ),
        ({"skeleton": COCO}, "A network for coco gives 18 heatmaps and 34 PAFs, got one of 4 and 4"),
        ({"height": 0}, "height must be a whole number of at least 1, got 0"),
        ({"height": 100.5}, "height must be a whole number of at least 1, got 100.5"),
        ({"stride": 0}, "stride must be a whole number"),
        ({"upsample": 1.5}, "upsample must be a whole number of at least 1, got 1.5"),
        ({"max_people": 0}, "max_people must be a whole number"),
        ({"max_peaks": -1}, "max_peaks must be a whole number"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        estimators.BottomUpEstimator(random_network(), **({"skeleton": TRIANGLE} | options))


def test_networks_that_do_not_fit_are_refused():
    images, fixed = keras.Input((None, None, 3)), keras.Input((64, 64, 3))
    one = keras.layers.Conv2D(4, 1)(images)
    for outputs in (one, [one], [one, keras.layers.GlobalAveragePooling2D()(one)]):
        with pytest.raises(ValueError, match="must give heatmaps .* and PAFs .*; use LightweightOpenPose"):
            estimators.BottomUpEstimator(keras.Model(images, outputs), TRIANGLE)
    halves = Skeleton("halves", tuple("abcd"), ((0, 1), (2, 3)))
    with pytest.raises(ValueError, match=r"limbs must join all keypoints .* got no way to \[2, 3\]"):
        estimators.BottomUpEstimator(keras.Model(images, [keras.layers.Conv2D(5, 1)(images), one]), halves)
    network = keras.Model(fixed, [keras.layers.Conv2D(4, 1)(fixed)] * 2)
    with pytest.raises(ValueError, match=r"images of any size, .* got \(None, 64, 64, 3\); build it with image_shape"):
        estimators.BottomUpEstimator(network, TRIANGLE)
