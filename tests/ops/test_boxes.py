"""Boxes and keypoint transforms against the published goldens, replayed draw by draw, and against plain loops."""

import random as standard_random

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


@pytest.mark.parametrize("size", [(64, 64), (64, 70), (64, 110), (91, 64), (400, 64)])
def test_random_crop_box_equals_the_loop(size):
    random = np.random.default_rng(size[1])
    drawn = []
    for _ in range(40):
        uniforms = random.random(22, "float32")
        box = np.asarray(boxes.random_crop_box(size, AREA_RANGE, ASPECT_RANGE, uniforms))
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
        box = boxes.random_crop_box((side, side), AREA_RANGE, ASPECT_RANGE, uniforms)
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
