"""Boxes and keypoint transforms against the published goldens, replayed draw by draw, and against plain loops."""

import functools
import random as standard_random

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import boxes
from kerapose.skeletons import COCO

# The arguments of the published configurations.
AREA_RANGE, ASPECT_RANGE = (0.56, 1.0), (3 / 4, 4 / 3)
NUM_COMPACT_CASES = 9
PIPELINE_CASES = ("pipeline_val", "pipeline_test", "pipeline_train", "pipeline_train_limb")


# ---------------------------------------- the slow versions
def slow_compact_box(keypoints, frame_size, padding, hw_ratio, beyond_frame, threshold_px):
    height, width = frame_size
    xs = [x for x in keypoints[..., 0].ravel().tolist() if x != 0]
    ys = [y for y in keypoints[..., 1].ravel().tolist() if y != 0]
    if not xs or not ys or max(xs) - min(xs) < threshold_px or max(ys) - min(ys) < threshold_px:
        return [0, 0, width, height]
    center_x, center_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    half_width, half_height = ((max(values) - min(values)) / 2 * (1 + padding) for values in (xs, ys))
    if hw_ratio is not None:
        half_height = max(hw_ratio[0] * half_width, half_height)
        half_width = max(half_height / hw_ratio[1], half_width)
    box = [center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height]
    if not beyond_frame:
        box = [max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)]
    return [int(edge) for edge in box]


def slow_crop_box(height, width, uniforms):
    """The candidates one after the other."""
    for aspect_draw, area_draw in zip(uniforms[:10], uniforms[10:20], strict=True):
        low, high = np.log(ASPECT_RANGE)
        aspect = np.exp(low + aspect_draw * (high - low))
        area = (AREA_RANGE[0] + area_draw * (AREA_RANGE[1] - AREA_RANGE[0])) * height * width
        box_width, box_height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if box_width <= width and box_height <= height:
            left = int(uniforms[20] * (width - box_width + 1))
            top = int(uniforms[21] * (height - box_height + 1))
            return [left, top, left + box_width, top + box_height]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return [left, top, left + side, top + side]


def random_people(seed, people=2, frames=3, extent=(200, 300)):
    """Keypoints on a grid of an eighth of a pixel, on which float32 is exact; every fifth coordinate is missing."""
    random = np.random.default_rng(seed)
    keypoints = random.uniform(-20, extent, (people, frames, 17, 2))
    keypoints = (np.round(keypoints * 8) / 8).astype("float32")
    return np.where(random.random(keypoints.shape) < 0.2, np.float32(0), keypoints)


# ---------------------------------------- compact box
@pytest.mark.parametrize("index", range(NUM_COMPACT_CASES))
def test_compact_box_golden(golden, index):
    case = golden("pose_compact")
    assert len(case.config["cases"]) == NUM_COMPACT_CASES
    height, width = case.config["cases"][index]["img_shape"]
    arguments = dict(case.config["cases"][index]["arguments"])
    options = {"beyond_frame": arguments.pop("allow_imgpad", True)}  # the published default, as ours
    if "threshold" in arguments:
        options["threshold_px"] = arguments.pop("threshold")
    keypoints = np.nan_to_num(case[f"input_kp{index}"])  # as the published step begins
    box = boxes.compact_box(keypoints, (height, width), **options, **arguments)
    case.check(f"output_shape{index}", boxes.box_size(box))
    case.check(f"output_kp{index}", boxes.crop_compact(keypoints, box))
    corner_and_size = np.concatenate([box[:2], boxes.box_size(box)[::-1]])
    case.check(f"output_quad{index}", corner_and_size / np.array([width, height] * 2))


@pytest.mark.parametrize("hw_ratio", [None, 1.0, 2.0, (0.8, 1.3)])
@pytest.mark.parametrize("beyond_frame", [True, False])
@pytest.mark.parametrize("padding", [0.0, 0.25])
def test_compact_box_equals_the_loop(padding, beyond_frame, hw_ratio):
    pair = (hw_ratio, hw_ratio) if isinstance(hw_ratio, float) else hw_ratio
    for seed in range(5):
        keypoints = random_people(seed, extent=(300 - 50 * seed, 60 + 50 * seed))
        box = boxes.compact_box(keypoints, (180, 240), padding, hw_ratio, beyond_frame)
        np.testing.assert_array_equal(box, slow_compact_box(keypoints, (180, 240), padding, pair, beyond_frame, 10.0))


def test_compact_box_truncates_towards_zero():
    keypoints = np.float32([[[[-8.75, -3.5], [40.75, 60.5]]]])
    np.testing.assert_array_equal(boxes.compact_box(keypoints, (50, 50), 0.0, None), [-8, -3, 40, 60])
    np.testing.assert_array_equal(boxes.compact_box(keypoints, (50, 50), 0.0, None, False), [0, 0, 40, 50])


@pytest.mark.parametrize("extent_px, expected", [(9.5, [0, 0, 320, 240]), (10, [100, 60, 110, 160])])
def test_a_box_below_the_threshold_is_the_whole_frame(extent_px, expected):
    keypoints = np.float32([[[[100, 60], [100 + extent_px, 160]]]])
    np.testing.assert_array_equal(boxes.compact_box(keypoints, (240, 320), 0.0, None), expected)


@pytest.mark.parametrize("missing", ["all", "x", "y"])
def test_without_coordinates_the_box_is_the_whole_frame(missing):
    keypoints = random_people(0)
    keypoints[..., {"all": slice(None), "x": 0, "y": 1}[missing]] = 0
    np.testing.assert_array_equal(boxes.compact_box(keypoints, (240, 320)), [0, 0, 320, 240])


def test_compact_box_of_a_batch_is_that_of_each_clip():
    clips = np.stack([random_people(seed) for seed in range(3)] + [np.zeros((2, 3, 17, 2), "float32")])
    sizes = np.array([[240, 320], [480, 640], [100, 90], [60, 70]])
    batch = boxes.compact_box(clips, sizes, beyond_frame=False)
    assert batch.shape == (4, 4)
    for clip, size, box, moved in zip(clips, sizes, batch, boxes.crop_compact(clips, batch), strict=True):
        alone = boxes.compact_box(clip, size, beyond_frame=False)
        np.testing.assert_array_equal(box, alone)
        np.testing.assert_array_equal(moved, boxes.crop_compact(clip, alone))
    np.testing.assert_array_equal(boxes.box_size(batch), np.stack([boxes.box_size(box) for box in batch]))


def test_compact_box_inside_tf_data_with_people_and_frames_unknown():
    clips = [random_people(seed, people, frames) for seed, (people, frames) in enumerate([(1, 1), (2, 5), (3, 2)])]
    signature = (tf.TensorSpec((None, None, 17, 2)), tf.TensorSpec((2,), tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: ((clip, [240, 320]) for clip in clips), output_signature=signature)
    for clip, box in zip(clips, dataset.map(boxes.compact_box), strict=True):
        np.testing.assert_array_equal(box, slow_compact_box(clip, (240, 320), 0.25, (1, 1), True, 10.0))


def test_crop_compact_leaves_missing_coordinates_where_they_are():
    keypoints = np.float32([[[[0, 0], [30, 0], [0, 40], [30, 40]]]])
    moved = boxes.crop_compact(keypoints, np.float32([10, 20, 50, 60]))
    np.testing.assert_array_equal(moved, [[[[0, 0], [20, 0], [0, 20], [20, 20]]]])
    moved = boxes.crop(keypoints, np.float32([10, 20, 50, 60]))
    np.testing.assert_array_equal(moved, [[[[-10, -20], [20, -20], [-10, 20], [20, 20]]]])


# ---------------------------------------- resize, crop, flip
@pytest.mark.parametrize("step", ["short64", "56", "long_100_80", "wh", "factor"])
def test_resize_golden(golden, step):
    case = golden("keypoint_transforms")
    old, new = case.config["img_shape"], case[f"output_resize_{step}_shape"]
    if step == "short64":
        new = boxes.short_side_size(old, 64)
        case.check("output_resize_short64_shape", new)
    case.check(f"output_resize_{step}_keypoint", boxes.resize(case["input_keypoint"], old, new))


@pytest.mark.parametrize("step", ["rrcrop", "rrcrop_fallback", "centercrop", "randomcrop"])
def test_crop_golden(golden, step):
    case = golden("keypoint_transforms")
    box = case[f"output_{step}_bbox"].astype("float32")
    case.check(f"output_{step}_keypoint", boxes.crop(case["input_keypoint"], box))
    case.check(f"output_{step}_shape", boxes.box_size(box))


def test_flip_golden(golden):
    case = golden("keypoint_transforms")
    width = case.config["img_shape"][1]
    keypoints, scores = case["input_keypoint"], case["input_keypoint_score"]
    flipped, flipped_scores = boxes.flip_keypoints(keypoints, scores, width, COCO.flip_permutation)
    case.check("output_flip_keypoint", flipped)
    case.check("output_flip_score", flipped_scores)
    unswapped, same_scores = boxes.flip_keypoints(keypoints, scores, width, range(17))
    case.check("output_flip_noswap_keypoint", unswapped)
    np.testing.assert_array_equal(same_scores, scores)


def test_flip_twice_changes_nothing():
    keypoints = random_people(1)
    scores = np.random.default_rng(1).random(keypoints.shape[:-1], "float32")
    once = boxes.flip_keypoints(keypoints, scores, 320, COCO.flip_permutation)
    twice = boxes.flip_keypoints(*once, 320, COCO.flip_permutation)
    assert np.any(once[0] != keypoints)
    np.testing.assert_array_equal(twice[0], keypoints)
    np.testing.assert_array_equal(twice[1], scores)


def test_resize_of_a_batch_scales_each_clip_by_its_own_size():
    clips = np.stack([random_people(0), random_people(1)])
    old = np.array([[100, 200], [300, 50]])
    resized = boxes.resize(clips, old, (50, 100))
    np.testing.assert_allclose(resized[0], clips[0] * 0.5, rtol=1e-6)
    np.testing.assert_allclose(resized[1], clips[1] * np.float32([2, 1 / 6]), rtol=1e-6)
    np.testing.assert_array_equal(boxes.short_side_size(old, 64), [[64, 128], [384, 64]])
    np.testing.assert_allclose(boxes.resize(clips, old, boxes.short_side_size(old, 64))[0], clips[0] * 0.64, rtol=1e-6)


@pytest.mark.parametrize("size, expected", [((120, 131), (64, 70)), ((64, 97), (64, 97)), ((641, 64), (641, 64))])
def test_short_side_size_rounds_to_pixels(size, expected):
    np.testing.assert_array_equal(boxes.short_side_size(size, 64), expected)


# ---------------------------------------- random crop
def replayed_uniforms(random, seed, frame_size, box):
    """The draws of the published crop as [22] numbers: NumPy's for the candidates, the standard library's offsets."""
    height, width = frame_size
    offsets = standard_random.Random(seed)
    rooms = [width - (box[2] - box[0]) + 1, height - (box[3] - box[1]) + 1]
    middles = [(offsets.randrange(room) + 0.5) / room for room in rooms]
    return np.concatenate([random.random_sample(20), middles])


def test_random_crop_box_replays_the_published_draws(golden):
    case = golden("keypoint_transforms")
    seed, size = case.config["seed"], case.config["img_shape"]
    uniforms = replayed_uniforms(np.random.RandomState(seed), seed, size, case["output_rrcrop_bbox"])
    case.check("output_rrcrop_bbox", boxes.random_crop_box(size, AREA_RANGE, ASPECT_RANGE, uniforms))


@pytest.mark.parametrize("seed", range(3))
def test_random_crop_box_falls_back_to_the_centred_square(golden, seed):
    case = golden("keypoint_transforms")
    uniforms = np.random.default_rng(seed).random(22)
    case.check("output_rrcrop_fallback_bbox", boxes.random_crop_box((20, 131), AREA_RANGE, ASPECT_RANGE, uniforms))


@functools.cache
def crop_of_any_size():
    """The op as one graph."""
    signature = [tf.TensorSpec((2,), tf.int32), tf.TensorSpec((22,))]
    draw = functools.partial(boxes.random_crop_box, area_range=AREA_RANGE, aspect_range=ASPECT_RANGE)
    return tf.function(lambda size, u: draw(size, uniforms=u), signature, autograph=False)


@pytest.mark.parametrize("size", [(64, 64), (64, 70), (64, 110), (91, 64), (400, 64)])
def test_random_crop_box_equals_the_loop(size):
    random = np.random.default_rng(size[1])
    drawn = []
    for _ in range(40):
        uniforms = random.random(22, "float32")
        box = np.asarray(crop_of_any_size()(size, uniforms))
        np.testing.assert_array_equal(box, slow_crop_box(*size, uniforms.astype("float64")))
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= size[1] and box[3] <= size[0]
        drawn.append(tuple(box))
    assert len(set(drawn)) == 1 if size == (400, 64) else len(set(drawn)) > 5


def test_random_crop_box_reaches_both_ends():
    uniforms = np.full(22, 0.5, "float32")  # a square of 0.78 of the area
    uniforms[20:] = 0
    np.testing.assert_array_equal(boxes.random_crop_box((100, 100), AREA_RANGE, ASPECT_RANGE, uniforms), [0, 0, 88, 88])
    uniforms[20:] = 1 - 2.0**-23  # the greatest number that TensorFlow draws
    for side in range(20, 200):
        box = crop_of_any_size()((side, side), uniforms)
        np.testing.assert_array_equal(box[2:], [side, side])


def test_random_crop_box_inside_tf_data():
    sizes = np.array([[64, 64], [64, 90], [20, 131]], "int32")
    uniforms = np.random.default_rng(5).random((3, 22), "float32")
    dataset = tf.data.Dataset.from_tensor_slices((sizes, uniforms))
    drawn = dataset.map(lambda size, u: boxes.random_crop_box(size, AREA_RANGE, ASPECT_RANGE, u))
    for size, draws, box in zip(sizes, uniforms, drawn, strict=True):
        np.testing.assert_array_equal(box, slow_crop_box(*size, draws.astype("float64")))


# ---------------------------------------- whole pipelines, step by step
@pytest.mark.parametrize("name", PIPELINE_CASES)
def test_pipeline_golden_step_by_step(golden, name):
    """Each step takes what the one before it really gave, so that errors would add up."""
    case = golden(name)
    frames = case["output_frame_inds"]
    keypoints, scores = case["input_keypoint"][:, frames], case["input_keypoint_score"][:, frames]
    is_training = case.config["kind"] == "train"

    box = boxes.compact_box(keypoints, case.config["img_shape"])
    keypoints, size = boxes.crop_compact(keypoints, box), boxes.box_size(box)
    case.check("output_compact_keypoint", keypoints)
    case.check("output_compact_shape", size)

    new_size = boxes.short_side_size(size, 64) if is_training else np.float32([64, 64])
    keypoints, size = boxes.resize(keypoints, size, new_size), new_size
    case.check("output_resize64_keypoint", keypoints)
    case.check("output_resize64_shape", size)

    if is_training:
        random = np.random.RandomState(case.config["seed"])
        random.random_sample()  # sampling draws before the crop does: a share, then one frame of each segment
        edges = np.arange(case.config["clip_len"] + 1) * case["input_keypoint"].shape[1] // case.config["clip_len"]
        random.randint(np.diff(edges))
        whole_size = tuple(int(side) for side in size)
        uniforms = replayed_uniforms(random, case.config["seed"], whole_size, case["output_crop_bbox"])
        box = boxes.random_crop_box(size, AREA_RANGE, ASPECT_RANGE, uniforms)
        case.check("output_crop_bbox", box)
        keypoints, size = boxes.crop(keypoints, box), boxes.box_size(box)
        case.check("output_rrcrop_keypoint", keypoints)
        case.check("output_rrcrop_shape", size)

        keypoints = boxes.resize(keypoints, size, (56, 56))
        case.check("output_resize56_keypoint", keypoints)

        assert (random.random_sample() < 0.5) == case["output_flipped"]
        if case["output_flipped"]:
            keypoints, scores = boxes.flip_keypoints(keypoints, scores, 56, COCO.flip_permutation)
        case.check("output_flip_keypoint", keypoints)
    case.check("output_final_score", scores)


# ---------------------------------------- top-down: regions
PIXELS_PER_SCALE = 200  # the published annotations count sizes in units of so many pixels


def published_sizes(scales):
    """(height, width) in pixels from the published (width, height) scales."""
    return np.asarray(scales)[..., ::-1] * PIXELS_PER_SCALE


def slow_crop_region(box, aspect_ratio, padding):
    left, top, right, bottom = (float(edge) for edge in box)
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    if width > aspect_ratio * height:
        height = width / aspect_ratio
    else:
        width = height * aspect_ratio
    return [(left + right) / 2, (top + bottom) / 2], [height * padding, width * padding]


def test_crop_region_golden(golden):
    case = golden("affine_a")
    x, y, width, height = case["input_boxes"].T
    corners = np.stack([x, y, x + width, y + height], axis=-1)
    centers, sizes = boxes.crop_region(corners, case.config["box_aspect_ratio"])
    case.check("output_box_center", centers)
    np.testing.assert_allclose(sizes, published_sizes(case["output_box_scale"]), rtol=1e-5)


@pytest.mark.parametrize("aspect_ratio, padding", [(0.75, 1.25), (1.0, 1.0), (288 / 384, 1.1), (2.0, 1.25)])
def test_crop_region_equals_the_loop(aspect_ratio, padding):
    random = np.random.default_rng(3)
    corners = np.concatenate([random.uniform(-50, 300, (2, 5, 2)), random.uniform(300, 900, (2, 5, 2))], axis=-1)
    centers, sizes = boxes.crop_region(corners, aspect_ratio, padding)
    assert centers.shape == sizes.shape == (2, 5, 2)
    expected = [[slow_crop_region(box, aspect_ratio, padding) for box in row] for row in corners]
    np.testing.assert_allclose(np.stack([centers, sizes], axis=-2), expected, rtol=1e-5)


@pytest.mark.parametrize("box", [[7, 9, 7, 9], [7, 9, 3, 2]])
def test_a_box_without_area_counts_as_a_pixel(box):
    centers, sizes = boxes.crop_region(box, 0.5, padding=1.0)
    np.testing.assert_array_equal(sizes, [2, 1])
    assert np.all(np.isfinite(boxes.affine(centers, sizes, (64, 32))))


def slow_half_body_region(keypoints, visible, upper_body, aspect_ratio, takes_upper, padding=1.5):
    upper = [k for k in range(len(keypoints)) if visible[k] and k in upper_body]
    lower = [k for k in range(len(keypoints)) if visible[k] and k not in upper_body]
    of_lower = lower if len(lower) > 2 else upper
    chosen = upper if takes_upper and len(upper) > 2 else of_lower
    points = keypoints[chosen]
    if len(chosen) < 2 or np.ptp(points, axis=0).max() < 1:
        return None
    box = [*points.min(axis=0), *points.max(axis=0)]
    return points.mean(axis=0), slow_crop_region(box, aspect_ratio, padding)[1]


@pytest.mark.parametrize("half, uniform", [("upper", 0.69), ("lower", 0.70)])
def test_half_body_region_golden(golden, half, uniform):
    case = golden("affine_a")
    options = case.config["halfbody"]
    keypoints, visible = case["input_halfbody_joints"][:, :2], case["input_halfbody_vis"][:, 0]
    center, size, found = boxes.half_body_region(
        keypoints, visible, options["upper_body_ids"], options["aspect_ratio"], uniform
    )
    assert found
    case.check(f"output_halfbody_{half}_center", center)
    np.testing.assert_allclose(size, published_sizes(case[f"output_halfbody_{half}_scale"]), rtol=1e-5)


def test_half_body_region_equals_the_loop_for_any_visible_keypoints():
    random = np.random.default_rng(4)
    upper_body = (0, 1, 2, 5, 6)
    people = 200
    keypoints = random.uniform(-30, 500, (people, 9, 2)).astype("float32")
    visible = random.integers(0, 3, (people, 9)) * (random.random((people, 9)) < random.random((people, 1)))
    visible[:20] = np.isin(np.arange(9), [0, 1])
    keypoints[:5, 1] = keypoints[:5, 0]  # two keypoints on one spot
    uniforms = random.random(people, "float32")
    centers, sizes, found = boxes.half_body_region(keypoints, visible, upper_body, 0.75, uniforms)
    kinds = set()
    for person in range(people):
        takes_upper = uniforms[person] < 0.691462
        expected = slow_half_body_region(keypoints[person], visible[person], upper_body, 0.75, takes_upper)
        assert bool(found[person]) == (expected is not None)
        assert np.all(np.isfinite(centers[person])) and np.all(np.asarray(sizes[person]) > 0)
        if expected is not None:
            np.testing.assert_allclose(centers[person], expected[0], rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(sizes[person], expected[1], rtol=1e-5)
        kinds.add((bool(takes_upper), expected is None))
    assert len(kinds) == 4


def test_mpii_boxes_golden(golden):
    case = golden("affine_a")
    corners = boxes.mpii_boxes(case["input_mpii_center"], case["input_mpii_scale"])
    centers, sizes = boxes.crop_region(corners, aspect_ratio=1.0)
    case.check("output_mpii_center", centers)
    np.testing.assert_allclose(sizes, published_sizes(case["output_mpii_scale"]), rtol=1e-5)


# ---------------------------------------- top-down: mirroring
def test_mirror_and_swap_sides_golden(golden):
    case = golden("affine_a")
    visible = case["input_flip_vis"]
    points = boxes.mirror(case["input_flip_joints"][:, :2], case.config["flip_width"])
    swapped = np.asarray(boxes.swap_sides(points, True, COCO.flip_permutation, axis=-2))
    swapped_visible = np.asarray(boxes.swap_sides(visible, True, COCO.flip_permutation, axis=-2))
    case.check("output_flip_vis", swapped_visible)
    np.testing.assert_allclose(swapped * swapped_visible[:, :2], case["output_flip_joints"][:, :2], rtol=1e-5)


@pytest.mark.parametrize("shape, axis", [((4, 17), -1), ((2, 4, 17), -1), ((4, 17, 2), -2), ((2, 4, 17, 3, 1), -3)])
def test_swap_sides_of_those_who_are_mirrored(shape, axis):
    values = np.random.default_rng(6).random(shape, "float32")
    flips = np.arange(np.prod(shape[:axis])).reshape(shape[:axis]) % 3 == 1
    expected = values.copy()
    for person in np.argwhere(flips):
        expected[tuple(person)] = values[tuple(person)][list(COCO.flip_permutation)]
    np.testing.assert_array_equal(boxes.swap_sides(values, flips, COCO.flip_permutation, axis), expected)


# ---------------------------------------- top-down: affine maps
def slow_affine(center, size, output_size, rotation, flip, udp):
    """Step by step, in float64: to the centre, mirror, turn, scale, to the middle of the crop."""
    height, width = output_size[0] - udp, output_size[1] - udp
    scale_x = width / size[1]
    scale_y = height / size[0] if udp else scale_x
    cos, sin = np.cos(rotation), np.sin(rotation)
    total = np.eye(3)
    for step in (
        [[1, 0, -center[0]], [0, 1, -center[1]], [0, 0, 1]],
        [[-1 if flip else 1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]],
        [[scale_x, 0, 0], [0, scale_y, 0], [0, 0, 1]],
        [[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]],
    ):
        total = np.array(step) @ total
    return total[:2]


def golden_maps(case):
    """The published arguments one by one, as ours: centre, size, output size, rotation."""
    sizes, rotations = published_sizes(case["input_scale"]), np.radians(case["input_rot"])
    output_sizes = [(int(height), int(width)) for width, height in case["input_output_size"]]
    return zip(case["input_center"], sizes, output_sizes, rotations, strict=True)


def test_affine_golden(golden):
    case = golden("affine_a")
    forward = np.stack([boxes.affine(*arguments) for arguments in golden_maps(case)])
    case.check("output_fwd", forward)
    case.check("output_inv", boxes.invert_affine(forward))
    case.check("output_points", boxes.transform_points(case["input_points"], forward))


def test_affine_golden_with_a_moved_centre(golden):
    case = golden("affine_a")
    moved = [
        boxes.affine(center + shift * size[::-1], size, output_size, rotation)
        for (center, size, output_size, rotation), shift in zip(golden_maps(case), case["input_shift"], strict=True)
    ]
    case.check("output_fwd_shift", np.stack(moved))


def test_the_way_back_from_a_heatmap_golden(golden):
    case = golden("affine_a")
    maps = np.stack([boxes.affine(center, size, output_size) for center, size, output_size, _ in golden_maps(case)])
    back = boxes.transform_points(case["input_heatmap_points"], boxes.invert_affine(maps))
    case.check("output_transform_preds", back)


def test_hourglass_affine_golden(golden):
    case = golden("affine_hourglass_a")
    sizes = np.repeat(case["input_scale"][:, None] * PIXELS_PER_SCALE, 2, axis=-1)
    rotations = np.radians(case["input_rot"])
    arguments = zip(case["input_center"], sizes, case["input_res"].tolist(), rotations, strict=True)
    maps = np.stack([boxes.affine(*one) for one in arguments])
    last_row = np.broadcast_to([0.0, 0.0, 1.0], (len(maps), 1, 3))
    case.check("output_matrices", np.concatenate([maps, last_row], axis=1))
    for suffix, matrices in (("", maps), ("_inverse", boxes.invert_affine(maps))):
        points = np.asarray(boxes.transform_points(case[f"input_points{suffix}"], matrices))
        case.check(f"output_points{suffix}", np.trunc(points).astype("int64"))  # the published code cuts to int


@pytest.mark.parametrize("udp", [False, True])
def test_affine_equals_the_loop(udp):
    random = np.random.default_rng(7)
    centers, sizes = random.uniform(-50, 900, (3, 4, 2)), random.uniform(20, 700, (3, 4, 2))
    rotations, flips = random.uniform(-4, 4, (3, 4)), random.random((3, 4)) < 0.5
    maps = boxes.affine(centers, sizes, (96, 64), rotations, flips, udp)
    assert maps.shape == (3, 4, 2, 3)
    for index in np.ndindex(3, 4):
        expected = slow_affine(centers[index], sizes[index], (96, 64), rotations[index], flips[index], udp)
        np.testing.assert_allclose(maps[index], expected, rtol=1e-5, atol=2e-3)


def test_arguments_of_affine_broadcast():
    alone = boxes.affine([50.0, 40.0], [80.0, 60.0], (64, 48), 0.3)
    assert alone.shape == (2, 3)
    turned = boxes.affine([50.0, 40.0], [80.0, 60.0], (64, 48), [0.3, 0.0, -0.3], [False, True, False])
    assert turned.shape == (3, 2, 3)
    np.testing.assert_allclose(turned[0], alone, rtol=1e-6)
    moved = boxes.affine([[50.0, 40.0], [1.0, 2.0]], [80.0, 60.0], (64, 48), 0.3)
    np.testing.assert_allclose(moved[0], alone, rtol=1e-6)


def test_udp_maps_pixel_centres_onto_pixel_centres():
    """The outermost pixels of a region that is as large as the crop stay where they are, and so do mirrored ones."""
    center, size = [47.5, 63.5], [127.0, 95.0]  # between the centres of the outermost pixels
    np.testing.assert_allclose(boxes.affine(center, size, (128, 96), udp=True), [[1, 0, 0], [0, 1, 0]], atol=1e-5)
    corners = np.float32([[0, 0], [95, 127]])
    twice = boxes.transform_points(corners, boxes.affine(center, size, (255, 191), udp=True))
    np.testing.assert_allclose(twice, [[0, 0], [190, 254]], atol=1e-3)
    flipped = boxes.transform_points(corners, boxes.affine(center, size, (128, 96), flips=True, udp=True))
    np.testing.assert_allclose(flipped, [[95, 0], [0, 127]], atol=1e-3)


def test_a_positive_rotation_turns_counterclockwise_as_seen():
    matrix = boxes.affine([0.0, 0.0], [100.0, 100.0], (100, 100), np.pi / 2)
    np.testing.assert_allclose(boxes.transform_points([[10.0, 0.0]], matrix), [[50, 40]], atol=1e-4)  # right goes up


def test_there_and_back_is_within_a_thousandth_of_a_pixel():
    random = np.random.default_rng(8)
    centers, sizes = random.uniform(0, 1920, (50, 2)), random.uniform(30, 1500, (50, 2))
    maps = boxes.affine(centers, sizes, (256, 192), random.uniform(-4, 4, 50), random.random(50) < 0.5)
    points = random.uniform(0, 1920, (50, 17, 2))
    back = boxes.transform_points(boxes.transform_points(points, maps), boxes.invert_affine(maps))
    np.testing.assert_allclose(back, points, atol=5e-3)


def test_geometry_inside_tf_data():
    random = np.random.default_rng(9)
    corners = np.sort(random.uniform(0, 400, (6, 2, 2)), axis=1).reshape(6, 4).astype("float32")
    points, angles = random.uniform(0, 400, (6, 5, 2)).astype("float32"), random.uniform(-1, 1, 6).astype("float32")

    def geometry(box, keypoints, angle):
        centers, sizes = boxes.crop_region(box, 0.75)
        matrix = boxes.affine(centers, sizes, (64, 48), angle, angle > 0)
        return boxes.transform_points(keypoints, matrix), boxes.invert_affine(matrix)

    dataset = tf.data.Dataset.from_tensor_slices((corners, points, angles))
    expected = geometry(corners, points, angles)
    # The last batch of 4 is half full, so that its size is not known.
    for mapped in (dataset.batch(4).map(geometry).unbatch(), dataset.map(geometry)):
        for actual, *arrays in zip(mapped, *expected, strict=True):
            for one, array in zip(actual, arrays, strict=True):
                np.testing.assert_allclose(one, array, rtol=1e-4, atol=1e-3)


# ---------------------------------------- top-down: warping
def slow_warp(image, matrix, output_size):
    """Each pixel of the crop looks where it comes from, between four pixels, those outside black; in float64."""
    height, width = image.shape[:2]
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]).astype("float64"))
    crop = np.zeros((*output_size, image.shape[2]))
    for y, x in np.ndindex(*output_size):
        source_x, source_y, _ = inverse @ [x, y, 1]
        column, row = int(np.floor(source_x)), int(np.floor(source_y))
        for r in (row, row + 1):
            for c in (column, column + 1):
                if 0 <= r < height and 0 <= c < width:
                    crop[y, x] += image[r, c] * (1 - abs(source_x - c)) * (1 - abs(source_y - r))
    return crop


def random_maps(random, count, output_size=(24, 18)):
    centers, sizes = random.uniform(-5, 45, (count, 2)), random.uniform(10, 90, (count, 2))
    flips = random.random(count) < 0.5
    return np.asarray(boxes.affine(centers, sizes, output_size, random.uniform(-4, 4, count), flips))


def test_warp_golden(golden):
    case = golden("crop_785")
    width, height = case.config["output_size_wh"]
    sizes, rotations = published_sizes(case["input_scale"]), np.radians(case["input_rot"])
    maps = boxes.affine(case["input_center"], sizes, (height, width), rotations)
    np.testing.assert_allclose(maps, case["output_matrices"], rtol=1e-5, atol=2e-3)
    crops = boxes.warp(case["input_image"], maps, (height, width))
    tolerance = case.config["tolerance"]
    for output in ("output_crops", "output_crops_opencv4"):
        off = np.abs(crops - case[output])
        assert off.max() <= tolerance["atol"] and off.mean() <= tolerance["mean_abs"]
    # OpenCV 5 rounds what is exact up to there.
    np.testing.assert_allclose(crops, case["output_crops"], rtol=0, atol=0.51)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_warp_equals_the_loop(dtype, channels):
    random = np.random.default_rng(channels)
    images = random.integers(0, 256, (4, 31, 40, channels)).astype(dtype)
    maps = random_maps(random, 4)
    crops = boxes.warp(images, maps, (24, 18))
    assert crops.dtype == np.float32 and crops.shape == (4, 24, 18, channels)
    shared = boxes.warp(images[0], maps, (24, 18))  # one image for all
    for crop, shared_crop, image, matrix in zip(crops, shared, images, maps, strict=True):
        np.testing.assert_allclose(crop, slow_warp(image, matrix, (24, 18)), rtol=0, atol=0.02)
        np.testing.assert_allclose(shared_crop, slow_warp(images[0], matrix, (24, 18)), rtol=0, atol=0.02)


def test_warp_inside_tf_data_with_sizes_unknown():
    random = np.random.default_rng(11)
    images = [random.integers(0, 256, (h, w, 3)).astype("uint8") for h, w in [(31, 40), (1, 1), (50, 12)]]
    maps = random_maps(random, 3)
    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2, 3)))
    dataset = tf.data.Dataset.from_generator(lambda: zip(images, maps, strict=True), output_signature=signature)
    unconverted = tf.autograph.experimental.do_not_convert
    one = dataset.map(unconverted(lambda image, matrix: boxes.warp(image, matrix[None], (24, 18))[0]))
    batched = dataset.batch(1).map(unconverted(lambda image, matrix: boxes.warp(image, matrix, (24, 18))))
    for image, matrix, crop, batch in zip(images, maps, one, batched, strict=True):
        expected = slow_warp(image, matrix, (24, 18))
        np.testing.assert_allclose(crop, expected, rtol=0, atol=0.02)
        np.testing.assert_allclose(batch[0], expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 0.7])
def test_warp_of_a_photograph_is_that_of_opencv(shared_data, rotation, flip):
    image = cv2.imread(str(sorted((shared_data("coco_mini") / "images").iterdir())[0]))
    matrix = np.asarray(boxes.affine([320.0, 200.0], [700.0, 525.0], (256, 192), rotation, flip))
    expected = cv2.warpAffine(image, matrix, (192, 256), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(boxes.warp(image, matrix[None], (256, 192))[0], expected, rtol=0, atol=4.5)


def test_a_flip_is_mirroring_the_image_first():
    """The published recipe mirrors pixels, keypoints and centre, and then crops."""
    random = np.random.default_rng(12)
    image = random.integers(0, 256, (40, 57, 3)).astype("uint8")
    center, size, points = np.float32([20, 17]), [44.0, 33.0], random.uniform(0, 40, (17, 2)).astype("float32")
    ours = boxes.affine(center, size, (32, 24), 0.4, flips=True)
    published = boxes.affine(boxes.mirror(center, 57), size, (32, 24), 0.4)
    crop, mirrored_crop = boxes.warp(image, ours[None], (32, 24)), boxes.warp(image[:, ::-1], published[None], (32, 24))
    np.testing.assert_allclose(crop, mirrored_crop, atol=0.05)
    moved = boxes.transform_points(boxes.mirror(points, 57), published)
    np.testing.assert_allclose(boxes.transform_points(points, ours), moved, atol=1e-4)


def test_the_identity_keeps_the_image_and_fades_beyond_its_border():
    image = np.arange(1, 13, dtype="uint8").reshape(3, 4, 1)
    same = boxes.warp(image, np.eye(3, dtype="float32")[None, :2], (3, 4))
    np.testing.assert_array_equal(same[0], image)
    moved = boxes.warp(image, np.float32([[[1, 0, 0.25], [0, 1, 0]]]), (3, 6))[0, ..., 0]
    np.testing.assert_allclose(moved[0], [0.75, 1.75, 2.75, 3.75, 1.0, 0.0], atol=1e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 1e30], [0, 1, 0]],
        [[1, 0, 0], [0, 1, -1e9]],
        [[np.inf, 0, 0], [0, 1, 0]],
        [[np.nan, 0, 0], [0, 1, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[1e-30, 0, 0], [0, 1e-30, 5]],
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_far_away_there_is_black(matrix, dtype):
    image = np.full((5, 7, 3), 200, dtype)
    crop = np.asarray(boxes.warp(image, np.float32([matrix]), (4, 6)))
    assert np.all(np.isfinite(crop))
    np.testing.assert_array_equal(crop[0, 1:, 1:], 0)
