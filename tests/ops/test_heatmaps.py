"""Heatmap volumes against the published generator's goldens and against a loop over people, frames and joints."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import boxes, heatmaps
from kerapose.skeletons import COCO

JOINT_CASES = (
    "heatmap_joint",
    "heatmap_joint_double",
    "heatmap_joint_no_score_given",
    "heatmap_joint_noscore",
    "heatmap_joint_scaling",
)
LIMB_CASES = ("heatmap_limb", "heatmap_limb_double", "heatmap_limb_noscore")
PIPELINE_CASES = ("pipeline_val", "pipeline_test", "pipeline_train", "pipeline_train_limb")

# The published generator's own default order, which its configurations override by the one of COCO.edges.
GENERATOR_EDGES = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10)),
    *((5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16), (11, 12)),
)


# ---------------------------------------- the slow version: one window after the other
def drawn_pixels(low, high, size, sigma_px):
    """The pixels from trunc(low - 3σ) to trunc(high + 3σ), in float64, that lie in the volume."""
    first = max(math.trunc(float(low) - 3 * sigma_px), 0)
    last = min(math.trunc(float(high) + 3 * sigma_px), size - 1)
    return range(first, last + 1)


def draw_point(plane, point, score, sigma_px):
    if score < 1e-3:
        return
    x, y = (float(value) for value in point)
    for row in drawn_pixels(y, y, plane.shape[0], sigma_px):
        for column in drawn_pixels(x, x, plane.shape[1], sigma_px):
            value = score * math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma_px**2))
            plane[row, column] = max(plane[row, column], value)


def distance_to_segment(point, start, end):
    along = np.dot(point - start, end - start) / np.dot(end - start, end - start)
    return np.linalg.norm(point - (start + np.clip(along, 0, 1) * (end - start)))


def draw_limb(plane, start, end, start_score, end_score, sigma_px):
    score = min(start_score, end_score)
    if score < 1e-3:
        return
    start, end = np.asarray(start, "float64"), np.asarray(end, "float64")
    if np.sum((end - start) ** 2) < 1:
        draw_point(plane, start, start_score, sigma_px)
        return
    low, high = np.minimum(start, end), np.maximum(start, end)
    for row in drawn_pixels(low[1], high[1], plane.shape[0], sigma_px):
        for column in drawn_pixels(low[0], high[0], plane.shape[1], sigma_px):
            distance = distance_to_segment(np.array([column, row]), start, end)
            plane[row, column] = max(plane[row, column], score * math.exp(-(distance**2) / (2 * sigma_px**2)))


def slow_joint_volume(keypoints, scores, height, width, sigma_px=0.6):
    people, frames, joints, _ = keypoints.shape
    volume = np.zeros((frames, height, width, joints))
    for person, frame, joint in np.ndindex(people, frames, joints):
        point, score = keypoints[person, frame, joint], float(scores[person, frame, joint])
        draw_point(volume[frame, :, :, joint], point, score, sigma_px)
    return volume


def slow_limb_volume(keypoints, scores, edges, height, width, sigma_px=0.6):
    people, frames, _, _ = keypoints.shape
    volume = np.zeros((frames, height, width, len(edges)))
    for person, frame, limb in np.ndindex(people, frames, len(edges)):
        a, b = edges[limb]
        point, score = keypoints[person, frame], scores[person, frame].astype("float64")
        draw_limb(volume[frame, :, :, limb], point[a], point[b], score[a], score[b], sigma_px)
    return volume


def check_volume(actual, expected, atol=1e-6):
    """The same pixels are drawn, and with the same values."""
    actual = np.asarray(actual)
    assert actual.dtype == np.float32
    expected = np.where(expected < 1e-30, 0, expected)  # below, float32 may round to zero
    np.testing.assert_array_equal(actual > 1e-30, expected > 0)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=atol)


# ---------------------------------------- goldens
def volume_of_case(case, keypoints, scores):
    """The volume [..., T, H, W, C] of a golden's configuration."""
    arguments, (height, width) = case.config["arguments"], case.config["img_shape"]
    if "scaling" in arguments:
        keypoints = keypoints * arguments["scaling"]
        height, width = (int(size * arguments["scaling"] + 0.5) for size in (height, width))
    if not arguments.get("use_score", True):
        scores = None
    if arguments["with_limb"]:
        edges = arguments.get("skeletons", GENERATOR_EDGES)
        volume = heatmaps.limb_volume(keypoints, scores, edges, height, width, arguments["sigma"])
    else:
        volume = heatmaps.joint_volume(keypoints, scores, height, width, arguments["sigma"])
    if not arguments.get("double"):
        return volume
    order = COCO.edge_flip_permutation if arguments["with_limb"] else COCO.flip_permutation
    return tf.concat([volume, heatmaps.flip_volume(volume, order)], axis=-4)  # [..., 2T, H, W, C]


def inputs_of_case(case):
    keypoints = case["input_keypoint"]
    if "input_keypoint_score" not in case:
        return keypoints, np.ones(keypoints.shape[:-1], "float32")
    return keypoints, case["input_keypoint_score"]


def channels_first(volume):
    return np.moveaxis(np.asarray(volume), -1, -3)


@pytest.mark.parametrize("name", JOINT_CASES + LIMB_CASES)
def test_golden_eagerly(golden, name):
    case = golden(name)
    case.check("output_heatmaps", channels_first(volume_of_case(case, *inputs_of_case(case))))


@pytest.mark.parametrize("name", ["heatmap_joint", "heatmap_limb"])
def test_golden_inside_tf_data(golden, name):
    case = golden(name)
    clips = tf.data.Dataset.from_tensors(inputs_of_case(case))
    draw = tf.autograph.experimental.do_not_convert(lambda *clip: volume_of_case(case, *clip))
    (volume,) = clips.map(draw)
    case.check("output_heatmaps", channels_first(volume))


@pytest.mark.parametrize("name", ["heatmap_joint", "heatmap_limb"])
def test_golden_with_people_frames_and_size_unknown_to_the_graph(golden, name):
    case = golden(name)
    keypoints, scores = inputs_of_case(case)
    signature = [tf.TensorSpec((None, None, None, 17, 2)), tf.TensorSpec((None, None, None, 17))]
    graph = tf.function(lambda k, s: volume_of_case(case, k, s), input_signature=signature, autograph=False)
    (volume,) = graph(keypoints[None], scores[None])
    case.check("output_heatmaps", channels_first(volume))


@pytest.mark.parametrize("name", ["heatmap_joint", "heatmap_limb"])
def test_golden_compiled_by_xla(golden, name):
    case = golden(name)
    compiled = tf.function(lambda k, s: volume_of_case(case, k, s), jit_compile=True, autograph=False)
    case.check("output_heatmaps", channels_first(compiled(*inputs_of_case(case))))


@pytest.mark.parametrize("name", JOINT_CASES + LIMB_CASES)
def test_leading_batch_axes_change_nothing(golden, name):
    case = golden(name)
    keypoints, scores = inputs_of_case(case)
    mirrored = keypoints * np.float32([-1, 1]) + np.float32([case.config["img_shape"][1], 0])
    clips = np.stack([keypoints, mirrored])[None]  # [1, B, M, T, K, 2]
    clip_scores = np.stack([scores, scores[..., ::-1]])[None]
    volumes = np.asarray(volume_of_case(case, clips, clip_scores))
    assert volumes.shape[:2] == (1, 2)
    case.check("output_heatmaps", channels_first(volumes[0, 0]))
    alone = volume_of_case(case, mirrored, scores[..., ::-1])
    np.testing.assert_allclose(volumes[0, 1], alone, atol=1e-6)


@pytest.mark.parametrize("name", PIPELINE_CASES)
def test_pipeline_golden_end_to_end(golden, name):
    case = golden(name)
    keypoints, scores, size = replay(case)
    if case.config["limb"]:
        volume = heatmaps.limb_volume(keypoints, scores, case.config["skeletons"], *size)
    else:
        volume = heatmaps.joint_volume(keypoints, scores, *size)
    clips = np.reshape(volume, (-1, case.config["clip_len"], *volume.shape[1:]))  # [N, T, H, W, C]
    if case.config["kind"] == "test":
        clips = np.concatenate([clips, heatmaps.flip_volume(clips, COCO.flip_permutation)])
    case.check("output_imgs", np.moveaxis(clips, -1, 1))


def replay(case):
    """Keypoints, scores and frame size at the end of a published pipeline, with its recorded frames, crop and flip."""
    frames = case["output_frame_inds"]
    keypoints, scores = case["input_keypoint"][:, frames], case["input_keypoint_score"][:, frames]
    box = boxes.compact_box(keypoints, case.config["img_shape"])
    keypoints, size = boxes.crop_compact(keypoints, box), boxes.box_size(box)
    if case.config["kind"] != "train":
        return boxes.resize(keypoints, size, (64, 64)), scores, (64, 64)
    short_64 = boxes.short_side_size(size, 64)
    keypoints = boxes.resize(keypoints, size, short_64)
    crop_box = case["output_crop_bbox"].astype("float32")
    keypoints = boxes.resize(boxes.crop(keypoints, crop_box), boxes.box_size(crop_box), (56, 56))
    if case["output_flipped"]:
        keypoints, scores = boxes.flip_keypoints(keypoints, scores, 56, COCO.flip_permutation)
    return keypoints, scores, (56, 56)


# ---------------------------------------- against the loop
def random_clip(seed, people=2, frames=3, joints=17, height=24, width=30):
    """Joints in the volume and up to four pixels outside it; a tenth of them unsure."""
    random = np.random.default_rng(seed)
    keypoints = random.uniform(-4, np.array([width, height]) + 4, (people, frames, joints, 2)).astype("float32")
    scores = random.uniform(0, 1, (people, frames, joints)).astype("float32")
    scores[random.random(scores.shape) < 0.1] = 0.0005
    return keypoints, scores


@pytest.mark.parametrize("sigma_px", [0.4, 0.6, 1.0, 2.3])
@pytest.mark.parametrize("people", [1, 2, 3])
def test_joints_equal_the_loop(people, sigma_px):
    keypoints, scores = random_clip(people, people)
    volume = heatmaps.joint_volume(keypoints, scores, 24, 30, sigma_px)
    check_volume(volume, slow_joint_volume(keypoints, scores, 24, 30, sigma_px))


@pytest.mark.parametrize("sigma_px", [0.6, 1.0, 2.3])
@pytest.mark.parametrize("people", [1, 2])
def test_limbs_equal_the_loop(people, sigma_px):
    keypoints, scores = random_clip(10 + people, people, frames=2)
    volume = heatmaps.limb_volume(keypoints, scores, COCO.edges, 24, 30, sigma_px)
    check_volume(volume, slow_limb_volume(keypoints, scores, COCO.edges, 24, 30, sigma_px), atol=1e-5)


def border_coordinates(size, sigma_px):
    """Where a window begins or ends at a pixel, in the volume and round it, and the float32 numbers next to each."""
    pixels = np.arange(-2, size + 2)
    exact = np.concatenate([pixels, pixels - 3 * sigma_px, pixels + 3 * sigma_px]).astype("float32")
    far = np.float32([-1e4, -50, size + 50, 1e4])
    return np.concatenate([exact, np.nextafter(exact, np.float32(-1e9)), np.nextafter(exact, np.float32(1e9)), far])


@pytest.mark.parametrize("sigma_px", [0.5, 0.6, 0.7, 1.0, 1.2])
@pytest.mark.parametrize("axis", [0, 1])
def test_joints_on_every_border_of_a_window(axis, sigma_px):
    coordinates = border_coordinates(12, sigma_px)
    keypoints = np.full((1, 1, len(coordinates), 2), 5.3, "float32")
    keypoints[..., axis] = coordinates
    scores = np.ones(keypoints.shape[:-1], "float32")
    volume = heatmaps.joint_volume(keypoints, scores, 12, 12, sigma_px)
    check_volume(volume, slow_joint_volume(keypoints, scores, 12, 12, sigma_px))


@pytest.mark.parametrize("sigma_px", [0.6, 0.7, 1.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_limbs_on_every_border_of_a_window(axis, sigma_px):
    coordinates = border_coordinates(9, sigma_px)[:-4]
    keypoints = np.full((1, 1, 2 * len(coordinates), 2), 4.2, "float32")  # limbs across the middle row or column
    keypoints[..., ::2, axis] = coordinates
    keypoints[..., 1::2, axis] = 4.2
    scores = np.ones(keypoints.shape[:-1], "float32")
    ends = np.arange(keypoints.shape[2]).reshape(-1, 2)
    edges = np.concatenate([ends, ends[:, ::-1]])
    volume = heatmaps.limb_volume(keypoints, scores, edges, 9, 9, sigma_px)
    check_volume(volume, slow_limb_volume(keypoints, scores, edges, 9, 9, sigma_px), atol=1e-5)


def test_pixel_zero_is_drawn_until_one_pixel_beyond_the_window():
    low = np.float32(-1 - 3 * 0.6)
    inside, outside = np.nextafter(low, np.float32(0)), np.nextafter(low, np.float32(-9))
    keypoints = np.float32([[inside, 5], [outside, 5], [5, inside], [5, outside]])[None, None]
    (plane,) = np.asarray(heatmaps.joint_volume(keypoints, None, 12, 12))
    drawn = plane.any(axis=(0, 1))
    assert drawn.tolist() == [True, False, True, False]
    assert np.flatnonzero(plane[5, :, 0]).tolist() == [0]
    assert np.flatnonzero(plane[:, 5, 2]).tolist() == [0]


def test_a_score_below_a_thousandth_is_not_drawn():
    limit = np.float32(1e-3)
    scores = np.array([np.nextafter(limit, np.float32(0)), limit, 0, -0.5, 1], "float32")
    keypoints = np.full((1, 1, 5, 2), 6, "float32")
    joints = np.asarray(heatmaps.joint_volume(keypoints, scores[None, None], 12, 12))
    np.testing.assert_array_equal(joints[0, 6, 6], [0, limit, 0, 0, 1])
    assert np.count_nonzero(joints.any(axis=(0, 1, 2))) == 2

    keypoints = np.float32([[3, 6], [9, 6]] * 2 + [[6, 6]])[None, None]
    for unsure, drawn in ((scores[0], 0), (limit, limit), (0, 0)):
        limb_scores = np.float32([1, unsure, unsure, 1, 1])[None, None]
        limbs = np.asarray(heatmaps.limb_volume(keypoints, limb_scores, [(0, 1), (2, 3)], 12, 12))
        np.testing.assert_allclose(limbs[0, 6, 6], [drawn, drawn], rtol=1e-5)


def test_a_limb_has_the_lesser_score_and_a_point_the_score_of_its_start():
    keypoints = np.float32([[4, 6], [8, 6], [6.5, 6], [7, 6.5], [7.5, 6]])[None, None]
    scores = np.float32([0.9, 0.4, 0.7, 0.2, 0.3])[None, None]
    edges = [(0, 1), (1, 0), (2, 3), (3, 2), (2, 4)]  # long, long, 0.7 pixels, 0.7 pixels, exactly one pixel
    volume = np.asarray(heatmaps.limb_volume(keypoints, scores, edges, 12, 12))
    check_volume(volume, slow_limb_volume(keypoints, scores, edges, 12, 12))
    assert volume[..., 0].max() == volume[..., 1].max() == np.float32(0.4)
    as_point = heatmaps.joint_volume(keypoints, scores, 12, 12)
    np.testing.assert_allclose(volume[..., 2:4], as_point[..., 2:4], atol=1e-6)
    assert volume[..., 4].max() == np.float32(0.3) < volume[..., 2].max()


def test_degenerate_and_distant_limbs_equal_the_loop():
    near = [(5, 5), (5, 5), (5.99, 5), (6, 5), (5, 5.999), (0, 0), (11, 11)]
    points = near + [(-3, -3), (40, 40), (-200, 6), (5.5, 300)]
    keypoints = np.float32(points)[None, None]
    scores = np.ones((1, 1, len(points)), "float32")
    edges = [(a, b) for a in range(len(points)) for b in range(len(points)) if a != b]
    volume = heatmaps.limb_volume(keypoints, scores, edges, 12, 12)
    assert np.isfinite(volume).all()
    np.testing.assert_allclose(volume, slow_limb_volume(keypoints, scores, edges, 12, 12), atol=2e-4)


def test_people_are_combined_by_the_maximum_and_padding_draws_nothing():
    keypoints, scores = random_clip(3)
    for draw in (joints_12, limbs_12):
        both, first, second = draw(keypoints, scores), draw(keypoints[:1], scores[:1]), draw(keypoints[1:], scores[1:])
        np.testing.assert_array_equal(both, np.maximum(first, second))
        absent = np.zeros_like(keypoints[:1]), np.zeros_like(scores[:1])
        padded = draw(np.concatenate([keypoints, absent[0]]), np.concatenate([scores, absent[1]]))
        np.testing.assert_array_equal(padded, both)
        assert not draw(*absent).any()


def joints_12(keypoints, scores):
    return np.asarray(heatmaps.joint_volume(keypoints, scores, 12, 12))


def limbs_12(keypoints, scores):
    return np.asarray(heatmaps.limb_volume(keypoints, scores, COCO.edges, 12, 12))


@pytest.mark.parametrize("kind", ["float64", "float16", "int32", "list"])
def test_input_of_any_number_type(kind):
    whole = np.float32([[[[3, 4], [8, 9]]]])
    keypoints = whole.tolist() if kind == "list" else whole.astype(kind)
    for scores in (None, np.ones((1, 1, 2), "float64")):
        np.testing.assert_array_equal(joints_12(keypoints, scores), joints_12(whole, None))


# ---------------------------------------- mirror
def test_flip_volume_mirrors_columns_and_swaps_sides():
    volume = np.random.default_rng(0).random((2, 3, 4, 5, 17), "float32")
    flipped = np.asarray(heatmaps.flip_volume(volume, COCO.flip_permutation))
    for column, joint in np.ndindex(5, 17):
        name = COCO.keypoints[joint]
        other = name.replace("left", "*").replace("right", "left").replace("*", "right")
        source = volume[..., 4 - column, COCO.index(other)]
        np.testing.assert_array_equal(flipped[..., column, joint], source)
    np.testing.assert_array_equal(heatmaps.flip_volume(flipped, COCO.flip_permutation), volume)


def test_flip_volume_is_the_volume_of_the_mirrored_figure():
    keypoints, scores = random_clip(5, height=24, width=24)
    keypoints = np.round(keypoints) + np.float32(0.25)  # no window ends where truncation parts left from right
    keypoints = np.clip(keypoints, 4, 19)
    mirrored = (np.float32([23, 0]) + keypoints * np.float32([-1, 1]))[:, :, list(COCO.flip_permutation)]
    mirrored_scores = scores[..., list(COCO.flip_permutation)]
    edges = COCO.edges
    for volume, expected, order in (
        (
            heatmaps.joint_volume(keypoints, scores, 24, 24),
            heatmaps.joint_volume(mirrored, mirrored_scores, 24, 24),
            COCO.flip_permutation,
        ),
        (
            heatmaps.limb_volume(keypoints, scores, edges, 24, 24),
            heatmaps.limb_volume(mirrored, mirrored_scores, edges, 24, 24),
            COCO.edge_flip_permutation,
        ),
    ):
        # The window reaches up to a pixel further to the left: there the two differ, by the tail of the Gaussian.
        np.testing.assert_allclose(heatmaps.flip_volume(volume, order), expected, atol=math.exp(-4.5))
        assert np.abs(np.asarray(volume) - expected).max() > 0.1
