"""Fields of many people against the published ones and against loops over people, limbs and cells."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import pafs
from kerapose.skeletons import OPENPOSE

EDGES = ((0, 1), (1, 2), (3, 1))
SIZE = (9, 12)


def people(shape=(8,), num_keypoints=4, size=SIZE, stride=8, seed=0):
    """Keypoints in the picture and a little beyond, each person within some cells, and COCO's visibilities."""
    random = np.random.default_rng(seed)
    reach = np.array(size[::-1]) * stride
    middles = random.uniform(0, reach, (*shape, 1, 2))
    keypoints = middles + random.normal(0, 2.5 * stride, (*shape, num_keypoints, 2))
    visibility = random.integers(0, 3, (*shape, num_keypoints))
    return keypoints.astype("float32"), visibility.astype("float32")


# ---------------------------------------- the slow versions
def slow_heatmaps(keypoints, weights, size, stride, sigma_px, published):
    maps = np.zeros((*size, keypoints.shape[-2] + 1))
    for person, k in np.ndindex(*weights.shape):
        x, y = (float(value) for value in keypoints[person, k])
        if weights[person, k] <= 0:
            continue
        end_x, end_y = (
            min(max(int(value + 4 * sigma_px) // stride, 0), most) for value, most in ((x, size[1]), (y, size[0]))
        )
        for i, j in np.ndindex(end_y if published else size[0], end_x if published else size[1]):
            distance = math.hypot(j * stride + (stride - 1) / 2 - x, i * stride + (stride - 1) / 2 - y)
            exponent = distance**2 / (2 * sigma_px**2)
            if exponent <= 4.6052:
                maps[i, j, k] = min(maps[i, j, k] + math.exp(-exponent), 1.0)
    maps[..., -1] = 1 - maps.max(axis=-1)
    return maps


def limbs_of(keypoints, weights, edges, stride, shift):
    """Number, ends in cells and unit vector of each limb that has both ends, person by person."""
    for person in range(len(keypoints)):
        for limb, (a, b) in enumerate(edges):
            if weights[person, a] > 0 and weights[person, b] > 0:
                start, end = ((keypoints[person, k].astype("float64") - shift) / stride for k in (a, b))
                length = np.linalg.norm(end - start)
                if length > 1e-7:
                    yield limb, start, end, (end - start) / length


def slow_fields(keypoints, weights, edges, size, stride, thickness):
    vectors = [[[[] for _ in edges] for _ in range(size[1])] for _ in range(size[0])]
    for limb, start, end, unit in limbs_of(keypoints, weights, edges, stride, (stride - 1) / 2):
        half = max(np.linalg.norm(end - start), 1) / 2
        for i, j in np.ndindex(*size):
            offset = np.array([j, i]) - (start + end) / 2
            if abs(offset @ unit) <= half and abs(offset[0] * unit[1] - offset[1] * unit[0]) <= thickness:
                vectors[i][j][limb].append(unit)
    fields = np.zeros((*size, 2 * len(edges)))
    for i, j, limb in np.ndindex(*size, len(edges)):
        if vectors[i][j][limb]:
            fields[i, j, 2 * limb : 2 * limb + 2] = np.mean(vectors[i][j][limb], axis=0)
    return fields


def slow_published_fields(keypoints, weights, edges, size, stride, thickness):
    fields = np.zeros((*size, 2 * len(edges)))
    for limb, start, end, unit in limbs_of(keypoints, weights, edges, stride, 0):
        low = [int(max(value, 0)) for value in np.minimum(start, end) - thickness]
        high = [
            int(min(value, most)) for value, most in zip(np.maximum(start, end) + thickness, size[::-1], strict=True)
        ]
        for i in range(low[1], high[1]):
            for j in range(low[0], high[0]):
                offset = np.array([j, i]) - start
                if abs(offset[0] * unit[1] - offset[1] * unit[0]) <= thickness:
                    fields[i, j, 2 * limb : 2 * limb + 2] = unit
    return fields


# ---------------------------------------- heatmaps
@pytest.mark.parametrize("published", [False, True])
def test_heatmaps_equal_the_published_ones(golden, published):
    case = golden("openpose_target_a")
    size, stride = case["output_keypoint_maps"].shape[1:], case.config["stride"]
    keypoints, drawn = case["input_people"][..., :2], case["input_people"][..., 2] <= 1
    heatmaps = pafs.encode_heatmaps(keypoints, drawn, size, stride, case.config["sigma"], published)
    case.check("output_keypoint_maps", np.moveaxis(heatmaps, -1, 0))


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("stride, sigma_px", [(8, 7.0), (4, 7.0), (8, 2.5)])
def test_heatmaps_equal_the_loop(stride, sigma_px, published):
    keypoints, weights = people(stride=stride)
    heatmaps = pafs.encode_heatmaps(keypoints, weights, SIZE, stride, sigma_px, published)
    assert heatmaps.dtype == "float32"
    expected = slow_heatmaps(keypoints, weights, SIZE, stride, sigma_px, published)
    np.testing.assert_allclose(heatmaps, expected, atol=1e-5)
    assert (expected[..., :-1].max(axis=(0, 1)) > 0).all()


def test_only_a_small_sigma_shows_where_the_published_loop_stops():
    keypoints, weights = people((40,), stride=8)
    sane, published = (pafs.encode_heatmaps(keypoints, weights, SIZE, 8, 7.0, flag) for flag in (False, True))
    np.testing.assert_array_equal(sane, published)
    sane, published = (pafs.encode_heatmaps(keypoints, weights, SIZE, 8, 2.5, flag) for flag in (False, True))
    cut = (np.asarray(sane) > 0) & (np.asarray(published) == 0)
    assert cut[..., :-1].any()


def test_people_add_up_to_one_at_most_and_leave_the_background():
    near = np.float32([[[43.5, 35.5]], [[51.5, 35.5]]])  # the middles of cells (4, 5) and (4, 6)
    heatmaps = np.asarray(pafs.encode_heatmaps(near, None, SIZE))
    alone = np.asarray([pafs.encode_heatmaps(near[i : i + 1], None, SIZE) for i in range(2)])
    both = alone[..., 0].sum(axis=0)
    assert alone[0, 4, 5, 0] == 1 and both.max() > 1
    np.testing.assert_allclose(heatmaps[..., 0], np.minimum(both, 1), atol=1e-6)
    np.testing.assert_allclose(heatmaps[..., 1], 1 - heatmaps[..., 0], atol=1e-6)


# ---------------------------------------- part affinity fields
def test_fields_equal_the_published_ones(golden):
    case = golden("openpose_target_a")
    size, stride = case["output_paf_maps"].shape[1:], case.config["stride"]
    keypoints, drawn = case["input_people"][..., :2], case["input_people"][..., 2] <= 1
    fields = pafs.encode(
        keypoints, drawn, case.config["limbs"], size, stride, case.config["paf_thickness"], published=True
    )
    case.check("output_paf_maps", np.moveaxis(fields, -1, 0))


@pytest.mark.parametrize("stride, thickness", [(8, 1.0), (4, 1.0), (8, 0.7), (8, 2.0)])
def test_fields_equal_the_loops(stride, thickness):
    keypoints, weights = people(stride=stride)
    for published, slow in ((False, slow_fields), (True, slow_published_fields)):
        fields = pafs.encode(keypoints, weights, EDGES, SIZE, stride, thickness, published)
        assert fields.dtype == "float32"
        expected = slow(keypoints, weights, EDGES, SIZE, stride, thickness)
        np.testing.assert_allclose(fields, expected, atol=1e-5)
        assert (np.abs(expected).max(axis=(0, 1)) > 0).all()


def test_a_cell_at_just_the_thickness_is_on_the_limb():
    middle = 43.5  # of column and row 5
    upright = np.float32([[[middle, 19.5], [middle, 51.5]]])
    fields = np.asarray(pafs.encode(upright, None, [(0, 1)], SIZE))
    expected = np.zeros((*SIZE, 2))
    expected[2:7, 4:7, 1] = 1  # between the ends, theirs included
    np.testing.assert_array_equal(fields, expected)
    slanted = np.float32(
        [[[16.0, 16.0], [40.0, 48.0]]]
    )  # three cells across and four down: some lie at a distance of 1
    published = pafs.encode(slanted, None, [(0, 1)], SIZE, published=True)
    drawn = {(i, j) for i, j in np.argwhere(np.abs(published).sum(axis=-1) > 0)}
    exact = {(i, j) for i in range(1, 7) for j in range(1, 6) if abs(4 * (j - 2) - 3 * (i - 2)) <= 5}
    assert drawn == exact and (3, 4) in exact  # |4 * 2 - 3 * 1| = 5


def test_crossing_limbs_are_averaged_or_the_last_one_has_it_all():
    crossing = np.float32([[[3.5, 35.5], [75.5, 35.5]], [[43.5, 3.5], [43.5, 67.5]]])
    mean, last = (np.asarray(pafs.encode(crossing, None, [(0, 1)], SIZE, published=p)) for p in (False, True))
    np.testing.assert_allclose(mean[4, 5], [0.5, 0.5])
    np.testing.assert_array_equal(last[4, 5], [0, 1])
    np.testing.assert_array_equal(mean[4, 1], [1, 0])
    swapped = np.asarray(pafs.encode(crossing[::-1], None, [(0, 1)], SIZE, published=True))
    np.testing.assert_array_equal(swapped[4, 5], [1, 0])


@pytest.mark.parametrize("length_px", [0.1, 3.0, 7.9])
def test_no_short_limb_is_lost_between_the_cells(length_px):
    random = np.random.default_rng(2)
    angles = random.uniform(0, 2 * np.pi, 500)
    starts = random.uniform(24, 48, (500, 2))
    ends = starts + length_px * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    keypoints = np.stack([starts, ends], axis=1)[:, None]  # [B, M, 2, 2]
    fields = np.asarray(pafs.encode(keypoints, None, [(0, 1)], SIZE))
    cells = np.linalg.norm(fields, axis=-1) > 0.99
    assert cells.any(axis=(1, 2)).all() and cells.sum(axis=(1, 2)).max() <= 3


def test_a_mirrored_picture_has_mirrored_fields():
    keypoints, weights = people((4,), 18, seed=3)
    mirrored = (keypoints * (-1, 1) + (SIZE[1] * 8 - 1, 0))[:, list(OPENPOSE.flip_permutation)]
    mirrored_weights = weights[:, list(OPENPOSE.flip_permutation)]
    heatmaps = np.asarray(pafs.encode_heatmaps(keypoints, weights, SIZE))
    expected = heatmaps[:, ::-1][..., [*OPENPOSE.flip_permutation, 18]]
    np.testing.assert_allclose(pafs.encode_heatmaps(mirrored, mirrored_weights, SIZE), expected, atol=1e-5)
    fields = np.asarray(pafs.encode(keypoints, weights, OPENPOSE.edges, SIZE)).reshape(*SIZE, -1, 2)
    expected = (fields[:, ::-1, list(OPENPOSE.edge_flip_permutation)] * (-1, 1)).reshape(*SIZE, -1)
    np.testing.assert_allclose(pafs.encode(mirrored, mirrored_weights, OPENPOSE.edges, SIZE), expected, atol=1e-5)


# ---------------------------------------- both
@pytest.mark.parametrize("published", [False, True])
def test_what_is_not_drawn(published):
    empty = np.zeros((0, 4, 2))
    nothing = np.asarray(pafs.encode_heatmaps(empty, np.zeros((0, 4)), SIZE, published=published))
    assert not nothing[..., :-1].any() and (nothing[..., -1] == 1).all()
    assert not np.asarray(pafs.encode(empty, None, EDGES, SIZE, published=published)).any()
    one_point = np.full((2, 4, 2), 30.0)  # limbs of no length have no direction
    assert not np.asarray(pafs.encode(one_point, None, EDGES, SIZE, published=published)).any()

    keypoints, weights = people((3,))[0], np.ones((3, 4))
    lost = keypoints.copy()
    lost[0, 1], lost[1, 0, 1], weights[2] = np.nan, np.inf, 0  # the last person is only padding
    shown = weights.copy()
    shown[0, 1] = shown[1, 0] = 0
    for encode in (
        lambda *person: pafs.encode_heatmaps(*person, SIZE, published=published),
        lambda *person: pafs.encode(*person, EDGES, SIZE, published=published),
    ):
        result = np.asarray(encode(lost, weights))
        assert np.isfinite(result).all() and result[..., :-1].any()
        np.testing.assert_array_equal(result, encode(keypoints[:2], shown[:2]))


@pytest.mark.parametrize("published", [False, True])
def test_batches_graphs_and_xla_give_the_same(published):
    keypoints, weights = people((2, 3, 5))

    def encode(keypoints, weights):
        heatmaps = pafs.encode_heatmaps(keypoints, weights, SIZE, published=published)
        return tf.concat([heatmaps, pafs.encode(keypoints, weights, EDGES, SIZE, published=published)], axis=-1)

    one_by_one = np.array([[encode(keypoints[place, i], weights[place, i]) for i in range(3)] for place in range(2)])
    assert one_by_one.shape == (2, 3, *SIZE, 5 + 6)
    np.testing.assert_allclose(encode(keypoints, weights), one_by_one, atol=1e-5)
    np.testing.assert_allclose(
        tf.function(encode, jit_compile=True, autograph=False)(keypoints, weights), one_by_one, atol=1e-5
    )

    signature = (tf.TensorSpec((None, 4, 2)), tf.TensorSpec((None, 4)))  # each picture has its own number of people
    crowds = [(keypoints[0, 0, :count], weights[0, 0, :count]) for count in (5, 0, 2)]
    dataset = tf.data.Dataset.from_generator(lambda: crowds, output_signature=signature)
    dataset = dataset.map(tf.autograph.experimental.do_not_convert(encode))
    assert dataset.element_spec.shape == (*SIZE, 5 + 6)
    for crowd, fields in zip(crowds, dataset, strict=True):
        np.testing.assert_allclose(fields, encode(*crowd), atol=1e-5)


@pytest.mark.parametrize(
    "keypoints, weights, options, words",
    [
        ((4, 2), None, {}, r"\[..., M, K, 2\].* got \(4, 2\)"),
        ((3, 4, 3), None, {}, r"\[..., M, K, 2\].* got \(3, 4, 3\)"),
        ((3, 4, 2), (3, 5), {}, r"weights must be \(3, 4\), .* got \(3, 5\)"),
        ((3, 4, 2), (4,), {}, r"weights must be \(3, 4\), .* got \(4,\)"),
        ((3, 4, 2), None, {"size": (0, 4)}, r"from 1, .* got \(0, 4\)"),
        ((3, 4, 2), None, {"size": (4, 4, 3)}, "two whole numbers"),
        ((3, 4, 2), None, {"stride": 0}, "stride must be above 0, got 0"),
    ],
)
def test_bad_input_of_both(keypoints, weights, options, words):
    weights = None if weights is None else np.ones(weights)
    options = {"size": SIZE} | options
    with pytest.raises(ValueError, match=words):
        pafs.encode_heatmaps(np.ones(keypoints), weights, **options)
    with pytest.raises(ValueError, match=words):
        pafs.encode(np.ones(keypoints), weights, EDGES, **options)


def test_bad_input_of_one():
    keypoints = np.ones((3, 4, 2))
    with pytest.raises(ValueError, match="sigma_px must be above 0, got -1"):
        pafs.encode_heatmaps(keypoints, None, SIZE, sigma_px=-1)
    with pytest.raises(ValueError, match="thickness must be above 0, got 0"):
        pafs.encode(keypoints, None, EDGES, SIZE, thickness=0)
    with pytest.raises(ValueError, match="keypoints of 0 to 3, got 0 to 17"):
        pafs.encode(keypoints, None, OPENPOSE.edges, SIZE)
    with pytest.raises(ValueError, match=r"edges must be \[E, 2\] .* got \(0,\)"):
        pafs.encode(keypoints, None, (), SIZE)
