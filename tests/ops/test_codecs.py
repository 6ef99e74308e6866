"""Codecs of top-down networks: against published goldens, against loops over keypoints, and there and back again."""

import math
import pathlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import heatmaps
from kerapose.skeletons import COCO

ROOT = pathlib.Path(__file__).resolve().parents[2]
PUBLISHED = {"msra": "gaussian", "dark": "dark", "udp": "udp"}  # MMPose's names of our codecs
IMAGE, MAP = (256, 192), (64, 48)


def channels_first(maps):
    return np.moveaxis(np.asarray(maps), -1, -3)


def channels_last(maps):
    return np.ascontiguousarray(np.moveaxis(maps, -3, -1))


def in_tf_data(function, *arrays):
    """What a function of arrays gives inside `tf.data`, where the length of the first axis is not known."""
    elements = tf.data.Dataset.from_tensor_slices(arrays).batch(len(arrays[0]))
    (result,) = elements.map(tf.autograph.experimental.do_not_convert(function))
    return result


EVERYWHERE = pytest.mark.parametrize("run", [lambda f, *arrays: f(*arrays), in_tf_data], ids=["eager", "tf.data"])


# ---------------------------------------- goldens: encoding
@EVERYWHERE
@pytest.mark.parametrize("name", ["target_gaussian_s2_48x64", "target_gaussian_s3_72x96"])
def test_golden_targets_of_simple_baseline_and_hrnet(golden, name, run):
    case = golden(name)
    sizes = case.config["image_size_wh"][::-1], case.config["heatmap_size_wh"][::-1]
    joints, visible = case["input_joints"][None, :, :2], case["input_joints_vis"][None, :, 0]
    maps, weights = run(lambda k, w: heatmaps.encode(k, w, *sizes, case.config["sigma"]), joints, visible)
    case.check("output_target", channels_first(maps)[0])
    case.check("output_target_weight", np.asarray(weights)[0, :, None])


@EVERYWHERE
def test_golden_targets_of_the_hourglass(golden, run):
    case = golden("target_hourglass_64")
    side = case.config["output_res"]
    people = case["input_keypoints"]

    def encode(keypoints, weights):
        maps, _ = heatmaps.encode(keypoints, weights, (side, side), (side, side), side / 64, codec="hourglass")
        return tf.reduce_max(maps, axis=0)  # over people

    case.check("output_heatmaps", channels_first(run(encode, people[..., :2], people[..., 2])))


@EVERYWHERE
@pytest.mark.parametrize("name", PUBLISHED)
def test_golden_targets_of_mmpose(golden, name, run):
    case = golden("target_mmpose_192x256")
    sizes = case.config["input_size_wh"][::-1], case.config["heatmap_size_wh"][::-1]
    sigma = case.config["codecs"][name]["sigma"]
    inputs = case["input_keypoints"], case["input_visible"]
    maps, weights = run(lambda k, w: heatmaps.encode(k, w, *sizes, sigma, PUBLISHED[name]), *inputs)
    case.check(f"output_{name}_heatmaps", channels_first(maps)[0])
    case.check(f"output_{name}_weights", weights)


@EVERYWHERE
def test_golden_offsets(golden, run):
    case = golden("target_mmpose_combined_simcc_192x256")
    image_size, config = case.config["input_size_wh"][::-1], case.config["combined"]
    size, factor = config["heatmap_size_wh"][::-1], config["radius_factor"]
    inputs = case["input_keypoints_combined"], case["input_visible_combined"]
    maps, weights = run(lambda k, w: heatmaps.encode_offsets(k, w, image_size, size, factor), *inputs)
    case.check("output_combined", channels_first(maps)[0])
    case.check("output_combined_weights", weights)


@EVERYWHERE
@pytest.mark.parametrize("name", ["simcc_gaussian", "simcc_gaussian_norm", "simcc_standard"])
def test_golden_simcc_labels(golden, name, run):
    case = golden("target_mmpose_combined_simcc_192x256")
    image_size, config = case.config["input_size_wh"][::-1], case.config["simcc"][name]
    arguments = {"split_ratio": config["simcc_split_ratio"], "smoothing": config["smoothing_type"]}
    for ours, theirs in (
        ("sigma_bins", "sigma"),
        ("normalize", "normalize"),
        ("label_smoothing", "label_smooth_weight"),
    ):
        arguments |= {ours: config[theirs]} if theirs in config else {}
    inputs = case["input_keypoints"], case["input_visible"]
    labels = run(lambda k, w: heatmaps.encode_simcc(k, w, image_size, **arguments), *inputs)
    for output, actual in zip(("x_labels", "y_labels", "weights"), labels, strict=True):
        case.check(f"output_{name}_{output}", actual)


@EVERYWHERE
def test_golden_simcc_labels_of_rtmpose(golden, run):
    case = golden("target_simcc_192x256")
    image_size = case.config["input_size_wh"][::-1]
    assert heatmaps.simcc_sigmas(image_size) == tuple(case.config["simcc"]["published"]["sigma"])
    inputs = case["input_keypoints"], case["input_visible"]
    labels, weights = run(lambda k, w: heatmaps.encode_answers(k, w, image_size, codec="simcc"), *inputs)
    case.check("output_published_x_labels", labels["x"])
    case.check("output_published_y_labels", labels["y"])
    case.check("output_published_weights", weights)


@EVERYWHERE
def test_golden_labels_of_regression(golden, run):
    case = golden("target_regression_192x256")
    image_size = case.config["input_size_wh"][::-1]
    inputs = case["input_keypoints"], case["input_visible"]
    labels, weights = run(lambda k, w: heatmaps.encode_answers(k, w, image_size, codec="regression"), *inputs)
    case.check("output_labels", labels)
    case.check("output_weights", weights)


# ---------------------------------------- goldens: decoding
def back_to_image(keypoints, center, scale, size):
    """The published way back to the image, from pixels of a map of that size: `scale` is in units of 200 pixels."""
    height, width = size
    return (keypoints - np.array([width, height]) / 2) * (200 * scale / width) + center


@EVERYWHERE
def test_golden_maxima_and_quarter_pixels(golden, run):
    case = golden("decode_argmax_48x64")
    maps, size = channels_last(case["input_heatmaps"]), (64, 48)
    outputs = {None: "output_final_without_post_process", "joint": "output_final"}
    for offset, output in outputs.items():
        keypoints, scores = run(lambda m, offset=offset: heatmaps.decode(m, size, offset=offset), maps)
        case.check("output_maxvals", np.asarray(scores)[..., None])
        final = [
            back_to_image(*person, size)
            for person in zip(keypoints, case["input_center"], case["input_scale"][:, 0], strict=True)
        ]
        case.check(output, final)
        if offset is None:
            case.check("output_preds", keypoints)


@EVERYWHERE
def test_golden_maxima_of_the_hourglass(golden, run):
    case = golden("decode_hourglass_64")
    maps, size = channels_last(case["input_det"]), case["input_det"].shape[2:]
    outputs = {None: "output_parsed_without_adjust", "joint": "output_parsed"}
    for offset, output in outputs.items():
        keypoints, scores = run(lambda m, offset=offset: heatmaps.decode(m, size, "hourglass", offset), maps)
        case.check(output, np.concatenate([keypoints, np.asarray(scores)[..., None]], axis=-1))
    crop_size = (256, 256)
    keypoints, _ = run(lambda m: heatmaps.decode(m, crop_size, "hourglass"), maps)
    image = back_to_image(np.asarray(keypoints), case.config["center"], case.config["scale"], crop_size)
    case.check("output_original_image", np.concatenate([np.trunc(image), np.asarray(scores)[..., None]], axis=-1))


@EVERYWHERE
@pytest.mark.parametrize("name", PUBLISHED)
def test_golden_keypoints_of_mmpose(golden, name, run):
    case = golden("decode_mmpose_192x256")
    image_size, config = case.config["input_size_wh"][::-1], case.config["codecs"][name]
    arguments = {"codec": PUBLISHED[name], "edge_to_edge": True, "blur_kernel": config.get("blur_kernel_size", 11)}
    if name == "msra":
        arguments |= {"offset": "axis", "missing_px": -1}
    maps = channels_last(case["input_heatmaps"])[None]
    keypoints, scores = run(lambda m: heatmaps.decode(m, image_size, **arguments), maps)
    known = case[f"output_{name}_scores"].shape[1]  # the reference cannot do udp's last one
    case.check(f"output_{name}_keypoints", keypoints[:, :known])
    case.check(f"output_{name}_scores", scores[:, :known])


@EVERYWHERE
def test_golden_keypoints_of_offsets(golden, run):
    case = golden("decode_mmpose_192x256")
    image_size, config = case.config["input_size_wh"][::-1], case.config["combined"]
    maps, arguments = channels_last(case["input_combined"])[None], (config["radius_factor"], config["blur_kernel_size"])
    keypoints, scores = run(lambda m: heatmaps.decode_offsets(m, image_size, *arguments, edge_to_edge=True), maps)
    case.check("output_combined_keypoints", keypoints)
    case.check("output_combined_scores", scores)


@EVERYWHERE
@pytest.mark.parametrize("name", ["simcc", "simcc_dark", "simcc_visibility"])
def test_golden_keypoints_of_simcc(golden, name, run):
    case = golden("decode_mmpose_192x256")
    config = case.config["codecs"][name]
    arguments = {"split_ratio": config["simcc_split_ratio"], "sigma_bins": config["sigma"]}
    arguments |= {"dark": config.get("use_dark", False), "visibility": config.get("decode_visibility", False)}
    outputs = run(lambda x, y: heatmaps.decode_simcc(x, y, **arguments), case["input_simcc_x"], case["input_simcc_y"])
    names = ("keypoints", "scores", "visibility")[: len(outputs)]
    assert ("visibility" in names) == (name == "simcc_visibility")
    for output, actual in zip(names, outputs, strict=True):
        case.check(f"output_{name}_{output}", actual)


@EVERYWHERE
@pytest.mark.parametrize("flip", ["", "_flip_shift", "_flip"])
@pytest.mark.parametrize("kind,count", [("regression", 2), ("rle", 4)])
def test_golden_keypoints_of_regression(golden, kind, count, flip, run):
    case = golden("decode_regression_192x256")
    size, order = case.config["input_size_wh"][::-1], case.config["flip_indices"]
    outputs = [case[name][..., :count] for name in ("input_predictions", "input_predictions_of_flipped_image")]

    def find(plain, flipped):
        plain, flipped = (heatmaps.read_outputs(output, "regression") for output in (plain, flipped))
        if flip:
            plain = heatmaps.merge_flipped_answers(plain, flipped, order, size, "regression", flip == "_flip_shift")
        return plain, *heatmaps.decode_answers(plain, size, "regression")

    merged, keypoints, scores = run(find, *outputs)
    if flip:
        case.check(f"output_{kind}{flip}_merged", merged)
    case.check(f"output_{kind}{flip}_keypoints", keypoints)
    case.check(f"output_{kind}{flip}_scores", scores)


@EVERYWHERE
def test_golden_keypoints_of_rtmpose(golden, run):
    case = golden("decode_simcc_192x256")
    size, order = case.config["input_size_wh"][::-1], case.config["flip_indices"]
    names = [f"input_simcc_{axis}{of}" for of in ("", "_of_flipped_image") for axis in "xy"]

    def find(x, y, flipped_x, flipped_y):
        plain, flipped = {"x": x, "y": y}, {"x": flipped_x, "y": flipped_y}
        merged = heatmaps.merge_flipped_answers(plain, flipped, order, size, "simcc")
        return heatmaps.decode_answers(plain, size, "simcc"), merged, heatmaps.decode_answers(merged, size, "simcc")

    (keypoints, scores), merged, (merged_keypoints, merged_scores) = run(find, *(case[name] for name in names))
    case.check("output_keypoints", keypoints)
    case.check("output_scores", scores)
    case.check("output_merged_x", merged["x"])
    case.check("output_merged_y", merged["y"])
    case.check("output_merged_keypoints", merged_keypoints)
    case.check("output_merged_scores", merged_scores)


@EVERYWHERE
@pytest.mark.parametrize("shift", [True, False])
def test_golden_merged_heatmaps(golden, shift, run):
    case = golden("decode_flip_coco")
    order = np.arange(17)
    for left, right in case.config["flip_pairs"]:
        order[[left, right]] = right, left
    maps = (channels_last(case[name]) for name in ("input_heatmaps", "input_heatmaps_of_flipped_image"))
    merged = run(lambda plain, flipped: heatmaps.merge_flipped(plain, flipped, order, shift=shift), *maps)
    case.check("output_merged" if shift else "output_merged_without_shift", channels_first(merged))


# ---------------------------------------- the slow version: one keypoint after the other
def slow_encode(points, weights, size, sigma, codec):
    """Published targets of [K, 2] in heatmap pixels, by the patches that the programs cut out: [h, w, K], [K]."""
    height, width = size
    maps, weights = np.zeros((height, width, len(points))), np.array(weights, "float64")
    for k, (px, py) in enumerate(np.asarray(points, "float64")):
        reach = 3 * sigma + (codec == "hourglass")
        if codec == "dark":
            if px - reach >= width or py - reach >= height or px + reach + 1 < 0 or py + reach + 1 < 0:
                weights[k] = 0
            elif weights[k] > 0.5:
                for row, column in np.ndindex(height, width):
                    maps[row, column, k] = math.exp(-((column - px) ** 2 + (row - py) ** 2) / (2 * sigma**2))
            continue
        half = 0.0 if codec == "hourglass" else 0.5
        cx, cy = math.trunc(px + half), math.trunc(py + half)
        left, top = math.trunc(cx - reach), math.trunc(cy - reach)
        right, bottom = math.trunc(cx + reach + 1), math.trunc(cy + reach + 1)  # exclusive
        outside = left >= width or top >= height or right < 0 or bottom < 0
        if codec == "hourglass":
            outside = px <= 0 or not (0 <= cx < width and 0 <= cy < height)
        if outside:
            weights[k] = 0
        if weights[k] <= 0.5:
            continue
        middle = reach if codec == "hourglass" else (2 * reach + 1) // 2
        x0, y0 = (middle + px - cx, middle + py - cy) if codec == "udp" else (middle, middle)
        for row in range(max(top, 0), min(bottom, height)):
            for column in range(max(left, 0), min(right, width)):
                squared = (column - left - x0) ** 2 + (row - top - y0) ** 2
                maps[row, column, k] = math.exp(-squared / (2 * sigma**2))
    return maps, weights


def slow_blur(plane, kernel):
    """The plane with zeros round it, blurred by OpenCV and scaled to its old maximum."""
    border = kernel // 2
    padded = cv2.GaussianBlur(np.pad(plane, border), (kernel, kernel), 0) if border else plane
    blurred = padded[border : border + plane.shape[0], border : border + plane.shape[1]]
    return blurred * (plane.max() / blurred.max())


def slow_decode(plane, codec, by_axis, kernel):
    """Heatmap pixels (x, y) and score of one plane [h, w] whose maximum is positive."""
    height, width = plane.shape
    index = int(plane.argmax())
    y, x = divmod(index, width)

    def at(values, dx, dy):
        return float(values[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)])

    move = np.zeros(2)
    if codec == "gaussian":
        gates = [1 < x < width - 1, 1 < y < height - 1]
        gates = [gates[0] and y > 0, gates[1] and x > 0] if by_axis else [all(gates)] * 2
        move = 0.25 * np.sign([at(plane, 1, 0) - at(plane, -1, 0), at(plane, 0, 1) - at(plane, 0, -1)]) * gates
    elif codec == "hourglass":
        rises = np.array([at(plane, 1, 0) > at(plane, -1, 0), at(plane, 0, 1) > at(plane, 0, -1)])
        move = np.where(rises, 0.25, -0.25) + 0.5
    elif codec == "dark" and 1 < x < width - 2 and 1 < y < height - 2:
        log = np.log(np.maximum(slow_blur(plane, kernel), 1e-10).astype("float64"))
        slope = np.array([at(log, 1, 0) - at(log, -1, 0), at(log, 0, 1) - at(log, 0, -1)]) / 2
        dxx = (at(log, 2, 0) - 2 * at(log, 0, 0) + at(log, -2, 0)) / 4
        dyy = (at(log, 0, 2) - 2 * at(log, 0, 0) + at(log, 0, -2)) / 4
        dxy = (at(log, 1, 1) - at(log, 1, -1) - at(log, -1, 1) + at(log, -1, -1)) / 4
        move = -np.linalg.solve([[dxx, dxy], [dxy, dyy]], slope)
    elif codec == "udp":
        log = np.log(np.clip(slow_blur(plane, kernel), 1e-3, 50).astype("float64"))
        slope = np.array([at(log, 1, 0) - at(log, -1, 0), at(log, 0, 1) - at(log, 0, -1)]) / 2
        dxx = at(log, 1, 0) - 2 * at(log, 0, 0) + at(log, -1, 0)
        dyy = at(log, 0, 1) - 2 * at(log, 0, 0) + at(log, 0, -1)
        corners = at(log, 1, 1) + at(log, -1, -1)
        sides = at(log, 1, 0) + at(log, 0, 1) + at(log, -1, 0) + at(log, 0, -1)
        dxy = 0.5 * (corners - sides + 2 * at(log, 0, 0))
        move = -np.linalg.solve(np.array([[dxx, dxy], [dxy, dyy]]) + np.finfo("float32").eps * np.eye(2), slope)
    return np.array([x, y]) + move, plane[y, x]


def some_points(seed, size, count=60):
    """Points in the map and up to 12 pixels round it, in quarters of pixels, so that no rounding is in doubt."""
    random = np.random.default_rng(seed)
    points = random.uniform(-12, np.array(size[::-1]) + 12, (count, 2))
    return (np.round(points * 4) / 4).astype("float32")


# (image, map): a whole ratio, ratios that differ for both sides and are not whole, and a square.
SIZES = [((256, 192), (64, 48)), ((100, 90), (31, 20)), ((64, 64), (64, 64)), ((90, 60), (40, 24))]


# ---------------------------------------- encoding against the loop
@pytest.mark.parametrize("sigma", [1, 1.5, 2.1, 3])
@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_targets_equal_the_loop(codec, sigma):
    for seed, (_, size) in enumerate(SIZES[:3]):
        points, weights = some_points(seed, size), np.tile(np.float32([1, 1, 0.75, 0.5, 0.25, 0]), 10)
        expected = slow_encode(points, weights, size, sigma, codec)
        # Sizes as they are: what is tested here is what happens at the very borders of pixels.
        actual = heatmaps.encode(points[None], weights[None], size, size, sigma, codec)
        np.testing.assert_allclose(actual[0][0], expected[0], atol=1e-6)
        np.testing.assert_array_equal(actual[1][0], expected[1])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_targets_scale_with_the_sizes(codec, sizes):
    one = codec == "udp"
    stride = (np.float64(sizes[0]) - one) / (np.float64(sizes[1]) - one)
    points = some_points(1, sizes[1]) + np.float32(0.1)  # no rounding is in doubt here either
    maps, weights = heatmaps.encode(points * stride[::-1], None, *sizes, 2, codec)
    expected = slow_encode(points, np.ones(len(points)), sizes[1], 2, codec)
    np.testing.assert_allclose(maps, expected[0], atol=1e-5)
    np.testing.assert_array_equal(weights, expected[1])


@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_leading_axes_of_targets_are_free(codec):
    points = np.stack([some_points(seed, MAP, 6) * 4 for seed in range(6)]).reshape(2, 3, 6, 2)
    weights = np.float32(np.random.default_rng(0).uniform(size=(2, 3, 6)) < 0.7)
    maps, seen = heatmaps.encode(points, weights, IMAGE, MAP, codec=codec)
    assert maps.shape == (2, 3, 64, 48, 6) and maps.dtype == "float32" and seen.shape == (2, 3, 6)
    for index in np.ndindex(2, 3):
        alone, alone_seen = heatmaps.encode(points[index], weights[index], IMAGE, MAP, codec=codec)
        np.testing.assert_array_equal(maps[index], alone)
        np.testing.assert_array_equal(seen[index], alone_seen)


@pytest.mark.parametrize("codec", [*heatmaps.CODECS, "offsets", "simcc"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_drawn(codec, value):
    encode = {"offsets": heatmaps.encode_offsets, "simcc": lambda k, w, image, _: heatmaps.encode_simcc(k, w, image)}
    encode = encode.get(codec, lambda *inputs: heatmaps.encode(*inputs, codec=codec))
    keypoints = np.float32([[value, 50], [50, value], [60, 70], [value, value]])
    for weights in (np.float32([0, 0, 1, 0]), np.ones(4, "float32")):
        *maps, seen = (np.asarray(array) for array in encode(keypoints, weights, IMAGE, MAP))
        *alone, _ = (np.asarray(array) for array in encode(keypoints[2:3], None, IMAGE, MAP))
        np.testing.assert_array_equal(seen, [0, 0, 1, 0])
        for both, one in zip(maps, alone, strict=True):
            rows = (4, -1) if codec == "simcc" else (-1, 4, one.shape[-1])  # keypoints lie on this axis
            both = both.reshape(rows) if codec == "simcc" else both.reshape(rows).swapaxes(0, 1)
            one = one.reshape(1, -1) if codec == "simcc" else one.reshape(1, -1, one.shape[-1])
            assert np.isfinite(both).all() and not both[[0, 1, 3]].any()
            np.testing.assert_array_equal(both[2:3], one)


def test_published_accidents_and_how_to_mend_them():
    # A window that ends just before pixel 0 (its last pixel is -1), one further left, and one that reaches pixel 0.
    points = np.float32([[-7.5, 20], [-8.5, 20], [-6.5, 20], [20, -7.5], [20, 20]])
    weights = np.float32([1, 1, 1, 1, 0.5])
    for codec in ("gaussian", "udp"):
        maps, seen = heatmaps.encode(points, weights, MAP, MAP, 2, codec)
        assert np.any(maps, axis=(0, 1)).tolist() == [False, False, True, False, False]
        assert np.asarray(seen).tolist() == [1, 0, 1, 1, 0.5]
        mended, seen = heatmaps.encode(points, weights, MAP, MAP, 2, codec, published=False)
        np.testing.assert_array_equal(mended, maps)
        assert np.asarray(seen).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_mended_centers_lie_where_they_should_for_any_sigma(codec):
    points = np.float32([[x, 20] for x in (0.25, 1.25, 3.25, 20.25, 46.25, 47.25)])
    for sigma in (0.7, 1.1, 1.5, 2.1, 2.9):
        maps, _ = heatmaps.encode(points, None, MAP, MAP, sigma, codec, published=False)
        _, x, _ = np.unravel_index(np.argmax(np.reshape(maps, (-1, 6)), axis=0), (*MAP, 1))
        np.testing.assert_array_equal(x, np.trunc(points[:, 0]))


def test_arguments_that_make_no_sense_are_refused():
    points, maps = np.zeros((17, 2)), np.zeros((64, 48, 17), "float32")
    with pytest.raises(ValueError, match="codec must be one of gaussian, dark, udp, hourglass, got 'darc'; use"):
        heatmaps.encode(points, None, IMAGE, MAP, codec="darc")
    with pytest.raises(ValueError, match="codec must be one of gaussian, dark, udp, hourglass, got 'simcc'; use"):
        heatmaps.decode(maps, IMAGE, codec="simcc")
    with pytest.raises(ValueError, match="sigma_px must be above 0, got 0; "):
        heatmaps.encode(points, None, IMAGE, MAP, sigma_px=0)
    with pytest.raises(ValueError, match="offset must be .*, got 'both'; "):
        heatmaps.decode(maps, IMAGE, offset="both")
    with pytest.raises(ValueError, match="blur kernel must be odd, got 10; use 11."):
        heatmaps.decode(maps, IMAGE, codec="dark", blur_kernel=10)
    with pytest.raises(ValueError, match="3 maps per keypoint, got 17; "):
        heatmaps.decode_offsets(maps, IMAGE)
    with pytest.raises(ValueError, match="smoothing must be .*, got 'none'; "):
        heatmaps.encode_simcc(points, None, IMAGE, smoothing="none")


# ---------------------------------------- decoding against the loop
def some_maps(seed, size, count):
    """Maps with one blob each over noise of both signs, maxima on borders, in corners and tied; some have no blob."""
    random = np.random.default_rng(seed)
    height, width = size
    centers = random.uniform(0, (width - 1, height - 1), (count, 2))
    centers[::4] = np.round(centers[::4])
    edges = [(x, y) for x in (0, 1, 2, width - 3, width - 2, width - 1) for y in (0, 1, 2, height - 2, height - 1)]
    centers[: len(edges)] = edges
    y, x = np.mgrid[:height, :width]
    squared = (x - centers[:, 0, None, None]) ** 2 + (y - centers[:, 1, None, None]) ** 2
    blobs = random.uniform(0.3, 1, (count, 1, 1)) * np.exp(-squared / (2 * 2**2))
    maps = blobs + random.normal(0, 0.003, blobs.shape)
    maps[-3:] = np.round(maps[-3:] * 8) / 8  # plateaus: the first of several maxima counts
    return np.moveaxis(maps, 0, -1).astype("float32")


@pytest.mark.parametrize("kernel", [3, 9, 17])
@pytest.mark.parametrize("codec", ["dark", "udp"])
def test_newton_steps_equal_the_loop(codec, kernel):
    check_decoding(codec, "joint", kernel)


@pytest.mark.parametrize("codec,offset", [("gaussian", "joint"), ("gaussian", "axis"), ("hourglass", "joint")])
def test_quarter_pixels_equal_the_loop(codec, offset):
    check_decoding(codec, offset, 11)


def check_decoding(codec, offset, kernel):
    for seed, (image_size, size) in enumerate(SIZES[:2]):
        maps = some_maps(seed, size, 45)
        keypoints, scores = heatmaps.decode(maps[None], image_size, codec, offset, kernel)
        one = codec == "udp"
        stride = (np.float64(image_size[::-1]) - one) / (np.float64(size[::-1]) - one)
        for k, plane in enumerate(np.moveaxis(maps, -1, 0)):
            expected, score = slow_decode(plane, codec, offset == "axis", kernel)
            assert float(scores[0, k]) == score
            # Where the map is nearly flat, a Newton step is long and float32 leaves fewer digits of it.
            np.testing.assert_allclose(keypoints[0, k] / stride, expected, rtol=1e-3, atol=2e-3, err_msg=f"map {k}")


@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_maps_with_nothing_positive(codec):
    maps = np.stack([np.zeros((20, 16)), np.full((20, 16), -0.3), -np.eye(20, 16) - 0.1, np.eye(20, 16)], axis=-1)
    maps[5, 7, 3] = 2
    keypoints, scores = (np.asarray(array) for array in heatmaps.decode(maps, (40, 48), codec))
    assert np.isfinite(keypoints).all()
    missing = -1 if codec in ("dark", "udp") else 0
    stride = (47 / 15, 39 / 19) if codec == "udp" else (3, 2)
    np.testing.assert_allclose(keypoints[:3], np.broadcast_to(np.multiply(stride, missing), (3, 2)), rtol=1e-6)
    np.testing.assert_allclose(scores, [0, 0, 0, 2] if codec == "hourglass" else [0, -0.3, -0.1, 2], rtol=1e-6)
    assert np.abs(keypoints[3] / stride - (7, 5)).max() < 2
    chosen, _ = heatmaps.decode(maps, (40, 48), codec, missing_px=(-2, 5))
    np.testing.assert_allclose(chosen[:3], np.broadcast_to(np.multiply(stride, (-2, 5)), (3, 2)), rtol=1e-6)
    np.testing.assert_array_equal(chosen[3], keypoints[3])


@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_of_several_maxima_the_first_in_row_major_order(codec):
    maps = np.zeros((20, 16, 4), "float32")
    for k, peaks in enumerate(([(3, 9), (4, 2)], [(7, 12), (7, 3)], [(0, 0), (19, 15)], [(19, 1), (18, 14), (18, 15)])):
        for row, column in peaks:
            maps[row, column, k] = 1
    keypoints, _ = heatmaps.decode(maps, (20, 16), codec, offset=None)
    np.testing.assert_array_equal(keypoints, [[9, 3], [3, 7], [0, 0], [14, 18]])
    full, _ = heatmaps.decode(np.ones((20, 16, 2), "float32"), (20, 16), codec, offset=None)
    np.testing.assert_array_equal(full, np.zeros((2, 2)))


@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_leading_axes_of_decoding_are_free(codec):
    maps = np.stack([some_maps(seed, MAP, 45) for seed in range(6)]).reshape(2, 3, *MAP, 45)
    keypoints, scores = heatmaps.decode(maps, IMAGE, codec)
    assert keypoints.shape == (2, 3, 45, 2) and scores.shape == (2, 3, 45)
    for index in np.ndindex(2, 3):
        alone, alone_scores = heatmaps.decode(maps[index], IMAGE, codec)
        np.testing.assert_allclose(keypoints[index], alone, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(scores[index], alone_scores)
    none, no_scores = heatmaps.decode(maps[:0], IMAGE, codec)
    assert none.shape == (0, 3, 45, 2) and no_scores.shape == (0, 3, 45)


def test_decoding_in_a_compiled_and_in_a_saved_graph(tmp_path):
    maps = np.stack([some_maps(seed, MAP, 45) for seed in range(3)])
    signature = [tf.TensorSpec((None, *maps.shape[1:]))]

    def decoder(codec, **options):
        return tf.function(lambda m: heatmaps.decode(m, IMAGE, codec), autograph=False, **options)

    module, compiled = tf.Module(), {}
    for codec in heatmaps.CODECS:
        setattr(module, codec, decoder(codec, input_signature=signature))
        compiled[codec] = decoder(codec, jit_compile=True)(maps)
    tf.saved_model.save(module, str(tmp_path / "decode"))
    loaded = tf.saved_model.load(str(tmp_path / "decode"))
    for codec in heatmaps.CODECS:
        expected, reloaded = heatmaps.decode(maps, IMAGE, codec), getattr(loaded, codec)
        for actual in (compiled[codec], reloaded(maps)):
            np.testing.assert_allclose(actual[0], expected[0], rtol=1e-3, atol=5e-3)
            np.testing.assert_array_equal(actual[1], expected[1])
        assert reloaded(maps[:0])[0].shape == (0, 45, 2)


@pytest.mark.parametrize("codec", heatmaps.CODECS)
def test_a_map_that_is_not_a_number_spoils_no_other(codec):
    maps = some_maps(0, MAP, 45)
    expected, _ = heatmaps.decode(maps, IMAGE, codec)
    maps[..., 7] = np.nan
    keypoints, scores = (np.asarray(array) for array in heatmaps.decode(maps, IMAGE, codec))
    assert not scores[7] > 0
    np.testing.assert_allclose(np.delete(keypoints, 7, axis=0), np.delete(expected, 7, axis=0), rtol=1e-4, atol=1e-3)


def test_half_precision_maps():
    maps = some_maps(0, MAP, 45)[None]
    half = tf.cast(maps, "bfloat16")
    for codec in heatmaps.CODECS:
        keypoints, scores = heatmaps.decode(half, IMAGE, codec)
        expected, _ = heatmaps.decode(tf.cast(half, "float32"), IMAGE, codec)
        assert keypoints.dtype == scores.dtype == "float32"
        np.testing.assert_allclose(keypoints, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9, 11, 13, 17, 23, 31])
@pytest.mark.parametrize("border", ["zero", "mirror"])
def test_blur_equals_opencv(kernel, border):
    maps = np.random.default_rng(0).normal(size=(2, 12, 9, 3)).astype("float32")
    mode = {"zero": cv2.BORDER_ISOLATED | cv2.BORDER_CONSTANT, "mirror": cv2.BORDER_REFLECT_101}[border]
    planes = np.moveaxis(maps, -1, 1).reshape(-1, 12, 9)
    expected = [cv2.GaussianBlur(plane, (kernel, kernel), 0, borderType=mode) for plane in planes]
    expected = np.moveaxis(np.reshape(expected, (2, 3, 12, 9)), 1, -1)
    np.testing.assert_allclose(heatmaps.blurring.blur(maps, kernel, border), expected, atol=2e-6)
    np.testing.assert_allclose(
        heatmaps.blurring.blur_by_products(maps, kernel, border), expected, atol=2e-6
    )  # as under JAX


# ---------------------------------------- there and back
@pytest.mark.parametrize("sizes", [((256, 192), (64, 48)), ((384, 288), (96, 72)), ((250, 210), (80, 52))])
@pytest.mark.parametrize("codec,limit_px", [("gaussian", 0.5), ("hourglass", 0.75), ("dark", 0.05), ("udp", 0.05)])
def test_decoding_undoes_encoding(codec, limit_px, sizes):
    image_size, size = sizes
    sigma, kernel = (3, 17) if size == (96, 72) else (2, 11)
    margin = 10 * np.array(image_size) / size  # heatmap pixels: the blurred blob lies inside
    random = np.random.default_rng(0)
    keypoints = random.uniform(margin[::-1], np.array(image_size)[::-1] - margin[::-1], (8, 17, 2)).astype("float32")
    maps, weights = heatmaps.encode(keypoints, None, image_size, size, sigma, codec)
    found, scores = heatmaps.decode(maps, image_size, codec, blur_kernel=kernel)
    stride = np.array(image_size)[::-1] / np.array(size)[::-1]
    off_px = np.abs(found - keypoints) / stride
    assert off_px.max() < limit_px + 1e-4
    assert np.all(np.asarray(scores) > 0.85) and np.all(np.asarray(weights) == 1)
    plain, _ = heatmaps.decode(maps, image_size, codec, offset=None)
    if limit_px == 0.05:  # the step is what makes it so
        assert np.abs(plain - keypoints).max() > 0.4


def test_udp_and_its_mmpose_pixels_differ_by_the_last_pixel():
    corner = np.float32([[191, 255]])
    maps, _ = heatmaps.encode(corner, None, IMAGE, MAP, codec="udp")
    ours, _ = heatmaps.decode(maps, IMAGE, "udp", offset=None)
    theirs, _ = heatmaps.decode(maps, IMAGE, "udp", offset=None, edge_to_edge=True)
    np.testing.assert_allclose(ours, corner, rtol=1e-6)
    np.testing.assert_allclose(theirs, [[192, 256]], rtol=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_offsets_there_and_back(sizes):
    image_size, size = sizes
    keypoints = np.random.default_rng(0).uniform(0, np.array(image_size)[::-1] - 1, (4, 6, 2)).astype("float32")
    for radius_factor in (0.0546875, 0.1):
        maps, weights = heatmaps.encode_offsets(keypoints, None, image_size, size, radius_factor)
        assert maps.shape == (4, *size, 18)
        found, scores = heatmaps.decode_offsets(maps, image_size, radius_factor, blur_kernel=5)
        known = np.asarray(scores) > 0  # a disc may lie between the pixels
        assert known.mean() > 0.9 and np.all(np.asarray(weights) == 1)
        np.testing.assert_allclose(found[known], keypoints[known], atol=2e-3)
    empty, scores = heatmaps.decode_offsets(np.zeros((*size, 6), "float32"), image_size)
    assert not np.any(scores)
    np.testing.assert_allclose(empty, -np.ones((2, 2)) * (np.array(image_size) - 1)[::-1] / (np.array(size) - 1)[::-1])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("split_ratio,sigma_bins", [(2.0, (4.9, 5.66)), (3.0, 6.0), (1.5, 3.0)])
def test_simcc_there_and_back(split_ratio, sigma_bins, dark):
    keypoints = np.random.default_rng(0).uniform(25, 165, (2, 5, 17, 2)).astype("float32")
    for normalize in (False, True):
        x, y, weights = heatmaps.encode_simcc(keypoints, None, IMAGE, split_ratio, sigma_bins, normalize=normalize)
        found, scores, visibility = heatmaps.decode_simcc(x, y, split_ratio, sigma_bins, dark, visibility=True)
        np.testing.assert_allclose(found, keypoints, atol=0.5 / split_ratio + 1e-3)
        height = 1 / (np.max(sigma_bins) * math.sqrt(2 * math.pi)) if normalize else 1
        np.testing.assert_allclose(scores, np.full((2, 5, 17), height), rtol=1e-5)
        assert np.all(np.asarray(weights) == 1)
        assert 0 < np.min(visibility) <= np.max(visibility) <= 1


def slow_simcc_step(labels, kernel):
    """The maximum of one vector and a Newton step on its blurred logarithm, bins."""
    border, place = kernel // 2, int(labels.argmax())
    blurred = cv2.GaussianBlur(np.pad(labels, border)[None], (kernel, 1), 0)[0, border : border + len(labels)]
    log = np.log(np.clip(blurred * (labels.max() / blurred.max()), 1e-3, 50).astype("float64"))
    at = {step: log[min(max(place + step, 0), len(log) - 1)] for step in (-2, -1, 0, 1, 2)}
    return place - 0.5 * (at[1] - at[-1]) / (1e-9 + 0.25 * (at[2] - 2 * at[0] + at[-2]))


@pytest.mark.parametrize("sigma_bins", [(4.9, 5.66), (1.2, 3.0), (6.93, 6.0)])
def test_simcc_steps_equal_the_loop(sigma_bins):
    random = np.random.default_rng(0)
    centers = np.concatenate([random.uniform(0, 60, (20, 2)), [[0, 1], [2, 63], [64, 65], [61, 60]]])
    vectors = []
    for axis in (0, 1):
        blobs = np.exp(-((np.arange(66) - centers[:, axis, None]) ** 2) / (2 * sigma_bins[axis] ** 2))
        vectors.append((blobs + random.normal(0, 0.003, blobs.shape)).astype("float32"))
    found, _ = heatmaps.decode_simcc(*vectors, 2.0, sigma_bins, dark=True)
    for axis, sigma in enumerate(sigma_bins):
        kernel = int((sigma * 20 - 7) // 3)
        kernel -= kernel % 2 == 0
        expected = [slow_simcc_step(vector, kernel) / 2 for vector in vectors[axis]]
        np.testing.assert_allclose(found[:, axis], expected, rtol=1e-3, atol=5e-3)


def test_simcc_with_nothing_positive():
    x, y = np.zeros((3, 40), "float32"), np.zeros((3, 50), "float32")
    x[1, 7] = y[1, 9] = x[2, 5] = 1  # the last has a place along x alone
    y[2] = -1
    for dark in (False, True):
        found, scores = heatmaps.decode_simcc(x, y, dark=dark)
        np.testing.assert_allclose(found[0], [-0.5, -0.5])
        np.testing.assert_allclose(found[2], [-0.5, -0.5])
        assert np.abs(found[1] - np.float32([3.5, 4.5])).max() < 0.1
        np.testing.assert_array_equal(scores, [0, 1, -1])


def test_standard_simcc_labels_sum_to_one():
    keypoints = np.float32([[10.2, 20.3], [191.6, 255.4], [191.8, 10], [-0.3, 0]])
    x, y, weights = heatmaps.encode_simcc(keypoints, None, IMAGE, smoothing="standard", label_smoothing=0.2)
    np.testing.assert_array_equal(weights, [1, 1, 0, 0])  # -0.6 bins is bin -1
    for labels, places in ((x, [20, 383]), (y, [41, 511])):
        np.testing.assert_allclose(np.sum(labels, axis=-1), [1, 1, 0, 0], rtol=1e-5)
        np.testing.assert_array_equal(np.argmax(labels, axis=-1)[:2], places)
        np.testing.assert_allclose(np.max(labels, axis=-1), [0.8, 0.8, 0, 0], rtol=1e-6)


def test_merging_the_maps_of_a_mirrored_crop_gives_them_back():
    """With udp, pixels mirror onto pixels: a keypoint and its mirror image give mirrored maps."""
    keypoints = np.random.default_rng(0).uniform(20, 170, (17, 2)).astype("float32")
    mirrored = (keypoints * np.float32([-1, 1]) + np.float32([191, 0]))[COCO.flip_permutation, :]
    plain, flipped = (heatmaps.encode(points, None, IMAGE, MAP, codec="dark")[0] for points in (keypoints, mirrored))
    plain_udp, flipped_udp = (heatmaps.encode(k, None, IMAGE, MAP, codec="udp")[0] for k in (keypoints, mirrored))
    merged = heatmaps.merge_flipped(plain_udp, flipped_udp, COCO.flip_permutation, shift=False)
    inside = np.asarray(merged)[8:-8, 8:-8], np.asarray(plain_udp)[8:-8, 8:-8]  # elsewhere windows may differ
    np.testing.assert_allclose(*inside, atol=0.012)
    shifted = heatmaps.merge_flipped(plain, flipped, COCO.flip_permutation, shift=True)
    unshifted = heatmaps.merge_flipped(plain, flipped, COCO.flip_permutation, shift=False)
    errors = [np.abs(heatmaps.decode(maps, IMAGE, "dark")[0] - keypoints).max() for maps in (shifted, unshifted)]
    assert errors[0] < 0.7 < errors[1]  # half of a quarter of a pixel instead of half of three quarters


# ---------------------------------------- all codecs alike
def test_the_sigmas_of_rtmpose_are_the_published_ones():
    assert [heatmaps.simcc_sigmas(size) for size in ((256, 192), (256, 256), (384, 288))] == [
        (4.9, 5.66),
        (5.66, 5.66),
        (6.0, 6.93),
    ]


def test_labels_of_simcc_go_by_weights_and_places_as_published():
    keypoints = np.float32([[50, 60], [50, 60], [50, 60], [-90, 60], [-90, 60], [np.nan, 60]])
    weights = np.float32([0.5, 0.49, 2.0, 1.0, 0.49, 1.0])
    x, y, kept = heatmaps.encode_simcc(keypoints, weights, IMAGE)
    np.testing.assert_array_equal(kept, np.float32([0.5, 0.49, 2, 0, 0.49, 0]))
    for labels in (x, y):  # one curve each, or nothing at all
        np.testing.assert_array_equal(np.max(labels, axis=-1), [1, 0, 1, 0, 0, 0])


def test_labels_of_regression_are_numbers_whatever_comes():
    keypoints = np.float32([[np.nan, 3], [np.inf, -np.inf], [48, 64], [191, 255], [191.01, 255], [-0.01, 0]])
    labels, weights = heatmaps.encode_regression(keypoints, None, IMAGE)
    assert np.isfinite(labels).all()
    np.testing.assert_array_equal(weights, [0, 0, 1, 1, 0, 0])
    np.testing.assert_allclose(labels[2], [0.25, 0.25])
    for strange in (np.zeros((2, 3)), np.zeros((2, 1))):
        for ask in (heatmaps.bound_sigmas, lambda c: heatmaps.decode_regression(c, IMAGE)):
            with pytest.raises(ValueError, match=r"x and y a keypoint, or these and two sigmas, got \d numbers"):
                ask(strange)


@EVERYWHERE
@pytest.mark.parametrize("codec", heatmaps.ALL_CODECS)
def test_every_codec_comes_back(codec, run):
    keypoints = np.random.default_rng(0).uniform(50, 140, (3, 17, 2)).astype("float32")

    def there_and_back(keypoints):
        answers, weights = heatmaps.encode_answers(keypoints, None, IMAGE, MAP, codec=codec)
        return *heatmaps.decode_answers(answers, IMAGE, codec), weights

    found, scores, weights = run(there_and_back, keypoints)
    worst = {"gaussian": 2.0, "hourglass": 3.0, "dark": 0.2, "udp": 0.2, "simcc": 0.25, "regression": 1e-4}[codec]
    assert np.abs(found - keypoints).max() < worst + 1e-3
    assert scores.shape == weights.shape == (3, 17) and np.min(scores) > 0.85


@pytest.mark.parametrize("codec,off_px", [("regression", 0.0), ("simcc", 0.5)])
def test_a_mirror_brings_back_what_was_put_in(codec, off_px):
    keypoints = np.round(np.random.default_rng(0).uniform(20, 170, (17, 2))).astype("float32")
    mirrored = (keypoints * np.float32([-1, 1]) + np.float32([191, 0]))[COCO.flip_permutation, :]
    plain, flipped = (heatmaps.encode_answers(k, None, IMAGE, codec=codec)[0] for k in (keypoints, mirrored))
    merged = heatmaps.merge_flipped_answers(plain, flipped, COCO.flip_permutation, IMAGE, codec)
    found, _ = heatmaps.decode_answers(merged, IMAGE, codec)
    np.testing.assert_allclose(found, keypoints, atol=off_px + 1e-3)
    if codec == "simcc":
        with pytest.raises(ValueError, match="The codec simcc has no shift"):
            heatmaps.merge_flipped_answers(plain, flipped, COCO.flip_permutation, IMAGE, codec, shift=True)


def test_outputs_of_any_precision_become_float32_answers():
    maps = tf.cast(np.random.default_rng(0).uniform(size=(2, 3, 8, 6, 5)), "bfloat16")
    assert heatmaps.read_outputs(maps, "gaussian").shape == (2, 8, 6, 5)
    np.testing.assert_array_equal(heatmaps.read_outputs(maps, "udp"), tf.cast(maps[:, -1], "float32"))
    vectors = heatmaps.read_outputs({"x": maps[0, 0], "y": maps[0, 1]}, "simcc")
    assert vectors["x"].dtype == vectors["y"].dtype == "float32"
    sure = heatmaps.read_outputs(maps[0, 0, ..., :2], "regression")
    assert sure.dtype == "float32" and sure.shape == (8, 6, 2)
    unsure = heatmaps.read_outputs(tf.zeros((3, 8, 4)) - 100.0, "regression")
    np.testing.assert_allclose(unsure[..., :2], -100.0)
    np.testing.assert_allclose(unsure[..., 2:], 0.0, atol=1e-30)


@pytest.mark.parametrize(
    ("shape", "codecs", "count"),
    [
        ((None, 8, 6, 5), heatmaps.CODECS, 5),
        ((None, 6, 8, 6, 5), heatmaps.CODECS, 5),
        ((None, 5, 2), ("regression",), 5),
        ((None, 5, 4), ("regression",), 5),
        ({"x": (None, 5, 96), "y": (None, 5, 128)}, ("simcc",), 5),
    ],
)
def test_shapes_of_outputs_tell_their_codecs(shape, codecs, count):
    assert heatmaps.codecs_of(shape) == (codecs, count)


@pytest.mark.parametrize(
    "shape",
    [
        (None, 5, 3),
        (None, 5),
        {"x": (None, 5, 96), "y": (None, 6, 128)},
        {"x": (None, 96), "y": (None, 128)},
        {"rgb": (None, 5), "pose": (None, 5)},
        [(None, 8, 6, 5)],
    ],
)
def test_shapes_of_no_codec_are_refused(shape):
    with pytest.raises(ValueError, match=r"must give heatmaps .* got [({\[].*; use SimpleBaseline, HRNet, DeepPose or"):
        heatmaps.codecs_of(shape)


def test_unknown_codecs_are_refused():
    for ask in (
        lambda: heatmaps.encode_answers(np.zeros((5, 2)), None, IMAGE, MAP, codec="simc"),
        lambda: heatmaps.decode_answers(np.zeros((5, 2)), IMAGE, "simc"),
        lambda: heatmaps.merge_flipped_answers(np.zeros((5, 2)), np.zeros((5, 2)), range(5), IMAGE, "simc"),
        lambda: heatmaps.read_outputs(np.zeros((5, 2)), "simc"),
    ):
        with pytest.raises(
            ValueError, match="codec must be one of gaussian, dark, udp, hourglass, regression, simcc, got"
        ):
            ask()
