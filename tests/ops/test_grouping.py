"""Grouping: the published rule against its goldens, the graph against the NumPy form, and both against the truth."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import grouping, images, pafs
from kerapose.skeletons import COCO, OPENPOSE, Skeleton

CHAIN = Skeleton("chain", ("a", "b", "c", "d", "e"), edges=((1, 0), (1, 2), (3, 2), (3, 4)))
MOUSE = Skeleton("mouse", ("snout", "left_ear", "right_ear", "back", "tail"), edges=((3, 0), (0, 1), (0, 2), (4, 3)))
RING = Skeleton("ring", ("a", "b", "c", "d"), edges=((0, 1), (1, 2), (2, 3), (3, 0), (0, 2)))
SKELETONS = {skeleton.name: skeleton for skeleton in (OPENPOSE, MOUSE, RING)}
SIZE = 56, 72
NAMES = ("keypoints", "scores", "person_scores", "num_keypoints", "count", "num_found", "overflow")


# ---------------------------------------- scenes
def bodies(skeleton, people, seed, spread=0.4):
    """People of one random shape, each turned, scaled and put somewhere: [M, K, 2] cells; some lie half outside."""
    random = np.random.default_rng(seed)
    shape = np.random.default_rng(0).uniform(-1, 1, (skeleton.num_keypoints, 2))
    angle, scale = random.uniform(-0.6, 0.6, (people, 1)), random.uniform(0.5, 1, (people, 1)) * spread * min(SIZE)
    x = (shape[:, 0] * np.cos(angle) - shape[:, 1] * np.sin(angle)) * scale
    y = (shape[:, 0] * np.sin(angle) + shape[:, 1] * np.cos(angle)) * scale
    middle = random.uniform(0.2, 0.8, (people, 1, 2)) * np.array(SIZE[::-1])
    return (np.stack([x, y], axis=-1) + middle).astype("float32")


def draw(skeleton, keypoints, weights=None):
    """Heatmaps [H, W, K] and fields [H, W, 2E] of people, drawn at a stride of 4 and enlarged to cells of a pixel."""
    small = SIZE[0] // 4, SIZE[1] // 4
    heatmaps = pafs.encode_heatmaps(keypoints, weights, small, stride=4, sigma_px=4.0)[..., :-1]
    fields = pafs.encode(keypoints, weights, skeleton.edges, small, stride=4)
    return tuple(np.array(images.resize_cubic(maps, SIZE)) for maps in (heatmaps, fields))


@functools.cache
def ideal(skeleton, seed):
    return draw(skeleton, bodies(skeleton, 3, seed))


def noisy(skeleton, seed):
    return tuple(maps + np.random.default_rng(seed).normal(0, 0.08, maps.shape) for maps in ideal(skeleton, seed))


@functools.cache
def crossing(skeleton, seed):
    return draw(skeleton, bodies(skeleton, 6, seed, spread=0.6))


def faint(skeleton, seed):
    """Keypoints of all heights, about as many below the threshold of a limb's or a person's score as above."""
    heatmaps, fields = noisy(skeleton, seed)
    random = np.random.default_rng(seed)
    return heatmaps * random.uniform(0.05, 0.6, heatmaps.shape[-1]), fields * random.uniform(-0.3, 1, fields.shape[-1])


def without_limbs(skeleton, seed):
    """Every keypoint may be hidden, every field may be empty."""
    random = np.random.default_rng(seed)
    keypoints = bodies(skeleton, 4, seed)
    heatmaps, fields = draw(skeleton, keypoints, random.random(keypoints.shape[:-1]) < 0.8)
    return heatmaps, fields * np.repeat(random.random(skeleton.num_edges) < 0.7, 2)


def twins(skeleton, seed):
    """The same figure at whole distances: all scores come twice or thrice."""
    figure = bodies(skeleton, 1, seed, spread=0.2)
    return draw(skeleton, figure + np.float32([[[0, 0]], [[16, 0]], [[0, 20]]]) - np.float32([8, 8]))


def coarse(skeleton, seed):
    """Values cut to quarters: plateaus and ties everywhere."""
    return tuple(np.round(maps * 4) / 4 for maps in noisy(skeleton, seed))


def flat_tops(skeleton, seed):
    return tuple(np.clip(maps, -0.5, 0.5) for maps in crossing(skeleton, seed))


def level(skeleton, seed):
    return tuple(np.full_like(maps, 0.5) for maps in ideal(skeleton, seed))


def empty(skeleton, seed):
    return tuple(np.zeros_like(maps) for maps in ideal(skeleton, seed))


def noise(skeleton, seed):
    """More candidates than there is room for, and fields in which one limb in a few is possible."""
    random = np.random.default_rng(seed)
    shape = ideal(skeleton, seed)
    return random.random(shape[0].shape), random.normal(0.4, 0.4, shape[1].shape)


def one_keypoint(skeleton, seed):
    heatmaps, fields = ideal(skeleton, seed)
    return heatmaps * (np.arange(heatmaps.shape[-1]) == seed % heatmaps.shape[-1]), fields


def one_cell(skeleton, seed):
    return tuple(maps[20:21, 30:31] + 0.3 for maps in ideal(skeleton, seed))


def one_row(skeleton, seed):
    return tuple(maps[20:21] for maps in crossing(skeleton, seed))


SCENES = (ideal, noisy, crossing, faint, without_limbs, twins, coarse, flat_tops)
SCENES += (level, empty, noise, one_keypoint, one_cell, one_row)


# ---------------------------------------- the graph
@functools.cache
def graph(name, **options):
    """`group` as a graph that knows no sizes."""
    skeleton = SKELETONS[name]
    shapes = (None, None, skeleton.num_keypoints), (None, None, 2 * skeleton.num_edges)
    signature = [tf.TensorSpec(shape) for shape in shapes]
    find = functools.partial(grouping.group, edges=skeleton.edges, **options)
    return tf.function(lambda h, f: find(h, f), input_signature=signature, autograph=False)


def check_same(padded, people, max_people=20, exact=True):
    """The graph's people are those of the NumPy form to the last bit, and the rest is zeros."""
    padded = {name: np.asarray(values) for name, values in padded.items()}
    assert set(padded) == set(people) == set(NAMES)
    for name in NAMES[4:]:
        assert padded[name] == people[name] and padded[name].dtype == people[name].dtype, name
    for name in NAMES[:4]:
        assert padded[name].shape == (max_people, *people[name].shape[1:])
        assert padded[name].dtype == people[name].dtype
        expected = np.zeros_like(padded[name])
        expected[: people["count"]] = people[name]
        if exact:
            np.testing.assert_array_equal(padded[name], expected, err_msg=name)
        else:
            np.testing.assert_allclose(padded[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def as_float32(maps):
    return tuple(np.asarray(array, "float32") for array in maps)


@pytest.mark.parametrize("name", ["openpose", "mouse", "ring"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_both_forms_give_the_same_people(scene, name):
    for seed in range(2 if name in ("openpose", "ring") else 1):
        maps = as_float32(scene(SKELETONS[name], seed))
        people = grouping.group_numpy(*maps, SKELETONS[name].edges)
        check_same(graph(name)(*maps), people)


@pytest.mark.parametrize("options", [{"max_people": 2}, {"max_people": 30, "max_peaks": 1}], ids=str)
@pytest.mark.parametrize("scene", [crossing, noise], ids=lambda scene: scene.__name__)
def test_both_forms_leave_out_the_same_people(scene, options):
    overflows = set()
    for seed in range(2):
        maps = as_float32(scene(MOUSE, seed))
        people = grouping.group_numpy(*maps, MOUSE.edges, **options)
        check_same(graph("mouse", **options)(*maps), people, max_people=options.get("max_people", 20))
        overflows.add(bool(people["overflow"]))
    assert True in overflows


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.4, "radius": 0.0, "num_points": 2, "min_keypoints": 1, "min_score": 0.0},
        {"radius": 9.5, "num_points": 7, "min_dot": 0.5, "min_share": 0.4, "min_keypoints": 2, "min_score": 1.2},
    ],
    ids=str,
)
def test_both_forms_obey_their_arguments_alike(options):
    found = 0
    for seed, scene in enumerate([noisy, without_limbs, coarse]):
        maps = as_float32(scene(RING, seed))
        people = grouping.group_numpy(*maps, RING.edges, **options)
        check_same(graph("ring", **options)(*maps), people)
        found += people["count"]
    assert found > 0


def test_one_keypoint_alone_is_a_skeleton_too():
    heatmaps, fields = np.zeros((*SIZE, 1), "float32"), np.zeros((*SIZE, 0), "float32")
    heatmaps[[10, 20, 30], [20, 30, 10], 0] = 0.4, 0.9, 0.6
    people = grouping.group_numpy(heatmaps, fields, (), min_keypoints=1)
    np.testing.assert_array_equal(people["keypoints"][:, 0], [[30, 20], [10, 30], [20, 10]])
    check_same(grouping.group(heatmaps, fields, (), min_keypoints=1), people)


# ---------------------------------------- where a graph runs
def test_inside_tf_data():
    scenes = [as_float32(scene(RING, 1)) for scene in (crossing, one_row, empty)]
    specs = tuple(tf.TensorSpec((None, None, channels)) for channels in (4, 2 * RING.num_edges))
    maps_of_images = tf.data.Dataset.from_generator(lambda: iter(scenes), output_signature=specs)
    found = list(maps_of_images.map(graph("ring")))
    assert len(found) == 3
    for maps, people in zip(scenes, found, strict=True):
        check_same(people, grouping.group_numpy(*maps, RING.edges))


def test_inside_a_saved_model(tmp_path):
    module = tf.Module()
    module.group = graph("ring")
    tf.saved_model.save(module, tmp_path)
    reloaded = tf.saved_model.load(tmp_path)
    for scene in (crossing, noise, one_cell, empty):
        maps = as_float32(scene(RING, 2))
        check_same(reloaded.group(*maps), grouping.group_numpy(*maps, RING.edges))


def test_eagerly_and_compiled_by_xla():
    compiled = tf.function(
        lambda h, f: grouping.group(h, f, RING.edges, max_peaks=8), jit_compile=True, autograph=False
    )
    for seed in range(3):
        maps = as_float32(noisy(RING, seed))
        people = grouping.group_numpy(*maps, RING.edges, max_peaks=8)
        check_same(compiled(*maps), people, exact=False)
    check_same(grouping.group(*maps, RING.edges, max_peaks=8), people)


def test_half_precision_maps():
    maps = [tf.cast(array, "bfloat16") for array in ideal(OPENPOSE, 3)]
    people = grouping.group_numpy(*(np.asarray(tf.cast(array, "float32")) for array in maps), OPENPOSE.edges)
    assert people["count"] > 0
    check_same(grouping.group(*maps, OPENPOSE.edges), people)


# ---------------------------------------- the truth
@pytest.mark.parametrize("form", [grouping.group, grouping.group_numpy])
def test_people_apart_are_found_where_they_are(form):
    shape = np.float32([[0, -9], [-6, -14], [6, -14], [0, 2], [1, 13]])
    keypoints = shape + np.float32([[[14, 20]], [[37.3, 33]], [[58, 27.4]]])
    people = {name: np.asarray(x) for name, x in form(*draw(MOUSE, keypoints), MOUSE.edges).items()}
    assert people["count"] == people["num_found"] == 3 and not people["overflow"]
    found = people["keypoints"][:3]
    np.testing.assert_allclose(found[np.argsort(found[:, 3, 0])], keypoints, atol=0.35)
    np.testing.assert_array_equal(people["num_keypoints"][:3], 5)
    assert (people["scores"][:3] > 0.9).all()


def test_what_is_hidden_is_zero():
    keypoints = np.float32([[[36, 15], [24, 9], [48, 9], [36, 30], [36, 48]]])
    heatmaps, fields = draw(MOUSE, keypoints, np.float32([[1, 0, 1, 1, 1]]))
    people = grouping.group_numpy(heatmaps, fields, MOUSE.edges)
    assert people["count"] == 1 and people["num_keypoints"] == [4]
    np.testing.assert_array_equal(people["scores"][0] > 0, [True, False, True, True, True])
    np.testing.assert_array_equal(people["keypoints"][0, 1], 0)
    np.testing.assert_allclose(people["keypoints"][0, [0, 2, 3, 4]], keypoints[0, [0, 2, 3, 4]], atol=0.35)
    np.testing.assert_allclose(people["person_scores"], [7.0], atol=0.7)  # four keypoints and three limbs


def test_people_are_the_same_mirrored_in_the_order_of_limbs_and_in_their_direction():
    heatmaps, fields = crossing(OPENPOSE, 5)
    people = grouping.group_numpy(heatmaps, fields, OPENPOSE.edges)
    assert people["count"] > 1
    turned = [edge[::-1] for edge in OPENPOSE.edges]
    np.testing.assert_array_equal(grouping.group_numpy(heatmaps, -fields, turned)["keypoints"], people["keypoints"])
    order = [limb for limb in reversed(range(19)) if limb not in (9, 13)] + [9, 13]  # the tree stays the same
    channels = np.array([[2 * limb, 2 * limb + 1] for limb in order]).ravel()
    edges = [OPENPOSE.edges[limb] for limb in order]
    np.testing.assert_array_equal(
        np.sort(grouping.group_numpy(heatmaps, fields[..., channels], edges)["keypoints"], axis=0),
        np.sort(people["keypoints"], axis=0),
    )


# ---------------------------------------- peaks
def peaks_of(heatmap, **options):
    """[n, 3] of the graph form, after it is seen to be that of the NumPy form."""
    expected = grouping.find_peaks_numpy(heatmap, **options)
    found = {name: np.asarray(x)[0] for name, x in grouping.find_peaks(heatmap[..., None], **options).items()}
    count = np.count_nonzero(found["scores"])
    actual = np.concatenate([found["keypoints"], found["scores"][:, None]], axis=1)
    np.testing.assert_array_equal(actual[:count], expected)
    assert not actual[count:].any() and not found["cells"][count:].any()
    assert (np.abs(found["cells"] - found["keypoints"]) <= 0.5).all()
    return expected


def test_a_plateau_has_one_peak_and_a_level_map_has_one():
    heatmap = np.zeros((20, 20), "float32")
    heatmap[3:6, 4:9] = 0.7
    np.testing.assert_allclose(peaks_of(heatmap), [[4.5, 3.5, 0.7]])  # its first cell, moved towards its middle
    np.testing.assert_allclose(peaks_of(np.full((20, 20), 0.4, "float32")), [[0, 0, 0.4]])
    assert len(grouping.find_peaks_numpy(heatmap, published=True)) == 0


def test_the_better_peak_stays_whichever_side_it_is_on():
    heatmap = np.zeros((9, 30), "float32")
    heatmap[4, [2, 7, 13, 19]] = 0.3, 0.9, 0.6, 0.2
    np.testing.assert_allclose(peaks_of(heatmap), [[7, 4, 0.9], [13, 4, 0.6], [19, 4, 0.2]])
    np.testing.assert_allclose(peaks_of(heatmap, radius=6.1), [[7, 4, 0.9], [19, 4, 0.2]])  # 13 is forbidden: 19 is not
    published = grouping.find_peaks_numpy(heatmap, published=True)
    np.testing.assert_allclose(published, [[2, 4, 0.3], [13, 4, 0.6], [19, 4, 0.2]])  # the leftmost wins
    np.testing.assert_array_equal(peaks_of(heatmap, threshold=0.3)[:, 0], [7, 13])


def test_a_peak_lies_between_cells_where_a_parabola_has_its_top():
    x, y = np.meshgrid(np.arange(16), np.arange(12))
    heatmap = (0.9 - 0.01 * (x - 6.3) ** 2 - 0.02 * (y - 4.6) ** 2).astype("float32")
    np.testing.assert_allclose(peaks_of(heatmap), [[6.3, 4.6, heatmap[5, 6]]], rtol=1e-4)
    corner = (0.9 - 0.01 * (x + 3) ** 2 - 0.02 * (y - 11) ** 2).astype("float32")
    np.testing.assert_allclose(peaks_of(corner)[0, :2], [0, 11])  # the border has no neighbours beyond


def test_more_peaks_than_there_is_room_for():
    heatmap = np.zeros((40, 40), "float32")
    heatmap[::8, ::8] = np.linspace(0.2, 0.9, 25, dtype="float32").reshape(5, 5)
    assert not grouping.find_peaks(heatmap[..., None], max_peaks=25)["overflow"][0]
    assert grouping.find_peaks(heatmap[..., None], max_peaks=24)["overflow"][0]
    best = peaks_of(heatmap, max_peaks=4)
    np.testing.assert_array_equal(best[:, :2], [[32, 32], [24, 32], [16, 32], [8, 32]])
    # One hill with more candidates than are looked at: there may be others behind them.
    hill = np.zeros((40, 40), "float32")
    hill[10:16:2, 10:16:2] = 0.5
    assert grouping.find_peaks(hill[..., None], max_peaks=2, radius=20)["overflow"][0]
    assert not grouping.find_peaks(hill[..., None], max_peaks=3, radius=20)["overflow"][0]


# ---------------------------------------- limbs
@pytest.mark.parametrize("form", [grouping.group, grouping.group_numpy])
@pytest.mark.parametrize("heights", [(0.5, 0.5), (0.5, 0.8)], ids=["equal", "lower_one_better"])
@pytest.mark.parametrize("forked", [0, 1])
def test_of_equal_limbs_that_of_the_better_peak_is_taken(forked, heights, form):
    """Two peaks of one joint, a single one of the other halfway between them, and the same field everywhere."""
    heatmaps, fields = np.zeros((*SIZE, 2), "float32"), np.zeros((*SIZE, 2), "float32")
    heatmaps[[20, 40], 10, forked] = heights
    heatmaps[30, 40, 1 - forked] = 0.9
    fields[..., 0] = 1 if forked else -1
    people = {name: np.asarray(x) for name, x in form(heatmaps, fields, ((1, 0),), min_keypoints=2).items()}
    assert people["count"] == people["num_found"] == 1
    taken = 20 if heights[0] == heights[1] else 40  # as good as each other: the first in row order
    expected = np.array([[10, taken], [40, 30]])[[forked, 1 - forked]]
    np.testing.assert_array_equal(people["keypoints"][0], expected)


def ring_scene(limb_strengths):
    """One figure of RING at whole cells, a cell a pixel, whose limbs have fields of these strengths."""
    return draw_exactly(np.float32([[[10, 10], [50, 10], [50, 45], [10, 45]]]), limb_strengths)


def draw_exactly(keypoints, limb_strengths):
    heatmaps = np.array(pafs.encode_heatmaps(keypoints, None, SIZE, stride=1, sigma_px=2.0))[..., :-1]
    fields = np.array(pafs.encode(keypoints, None, RING.edges, SIZE, stride=1))
    return heatmaps, fields * np.repeat(np.float32(limb_strengths), 2)


def test_the_tree_is_breadth_first_in_the_order_of_the_edges():
    tree = grouping.limb_tree(RING.edges, 4)
    assert tree == grouping.limb_tree(np.array(RING.edges), 4)
    assert tree.order == (0, 1, 3, 2) and tree.parents == (-1, 0, 0, 0) and tree.limbs == (-1, 0, 4, 3)
    assert tree.others == (1, 2)
    tree = grouping.limb_tree(OPENPOSE.edges, 18)
    assert [OPENPOSE.edges[limb] for limb in tree.others] == [(2, 16), (5, 17)]  # shoulder to ear
    assert grouping.limb_tree(CHAIN.edges, 5).others == ()


@pytest.mark.parametrize("form", [grouping.group, grouping.group_numpy])
def test_other_limbs_join_people_and_count_nothing(form):
    whole = form(*ring_scene([1, 1, 1, 1, 1]), RING.edges)
    assert whole["num_found"] == 1 and whole["num_keypoints"][0] == 4
    score = float(np.asarray(whole["person_scores"])[0])
    np.testing.assert_allclose(score, 7, atol=1e-5)  # four keypoints and three limbs
    # Keypoint 2 hangs on limb 1 alone, which is not in the tree: it is found, and the limb adds no score.
    joined = form(*ring_scene([1, 1, 0, 1, 0]), RING.edges)
    assert joined["num_found"] == 1 and joined["num_keypoints"][0] == 4
    np.testing.assert_allclose(np.asarray(joined["person_scores"])[0], 6, atol=1e-5)
    lost = form(*ring_scene([1, 0, 0, 1, 0]), RING.edges)
    assert lost["num_found"] == 1 and lost["num_keypoints"][0] == 3
    np.testing.assert_array_equal(np.asarray(lost["keypoints"])[0, 2], 0)


@pytest.mark.parametrize("form", [grouping.group, grouping.group_numpy])
def test_other_limbs_join_the_surest_first_and_no_joint_twice(form):
    # Two rings share their third keypoint's place; only one of them can have it, the one whose limb is surer.
    keypoints = np.float32([[[10, 8], [36, 8], [36, 28], [10, 28]], [[62, 48], [36, 48], [36, 28], [62, 28]]])
    for strengths, owner in (((0.9, 0.6), 0), ((0.6, 0.9), 1)):
        # Limb 1 of the first, limb 2 of the second, none of limb 4: two claims on one peak.
        one = draw_exactly(keypoints[:1], [1, strengths[0], 0, 1, 0])
        other = draw_exactly(keypoints[1:], [1, 0, strengths[1], 1, 0])
        heatmaps, fields = np.maximum(one[0], other[0]), one[1] + other[1]
        people = {name: np.asarray(x) for name, x in form(heatmaps, fields, RING.edges).items()}
        assert people["count"] == 2
        np.testing.assert_array_equal(np.sort(people["num_keypoints"][:2]), [3, 4])
        full = int(np.argmax(people["num_keypoints"]))
        np.testing.assert_allclose(people["keypoints"][full], keypoints[owner], atol=0.1)


# ---------------------------------------- what cannot be grouped
@pytest.mark.parametrize("form", [grouping.group, grouping.group_numpy])
def test_bad_input_is_one_clear_sentence(form):
    heatmaps, fields = np.zeros((8, 9, 5), "float32"), np.zeros((8, 9, 8), "float32")
    with pytest.raises(ValueError, match=r"must join all keypoints.*no way to \[3, 4\]"):
        form(heatmaps, fields, ((0, 1), (1, 2), (3, 4), (2, 0)))
    with pytest.raises(ValueError, match="edges must be pairs of keypoints from 0 to 4"):
        form(heatmaps, fields, ((0, 1), (1, 2), (2, 3), (3, 5)))
    with pytest.raises(ValueError, match="2 channels for each of 5 limbs"):
        form(heatmaps, fields, RING.edges)
    with pytest.raises(ValueError, match="must join all keypoints.*background"):
        form(np.zeros((8, 9, 6), "float32"), fields, CHAIN.edges)
    with pytest.raises(ValueError, match="same size"):
        form(heatmaps, fields[1:], CHAIN.edges)
    with pytest.raises(ValueError, match="not empty"):
        form(heatmaps[:0], fields[:0], CHAIN.edges)
    with pytest.raises(ValueError, match="each image of a batch"):
        form(heatmaps[None], fields[None], CHAIN.edges)
    options = {"max_people": 0, "max_peaks": 0, "threshold": -0.1, "radius": -1, "num_points": 1, "min_keypoints": 0}
    for name, value in options.items():
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            form(heatmaps, fields, CHAIN.edges, **{name: value})


def test_what_is_not_finite_is_refused_in_numpy_and_no_keypoint_in_a_graph():
    heatmaps, fields = ideal(MOUSE, 0)
    people = grouping.group_numpy(heatmaps, fields, MOUSE.edges)
    assert people["count"] == 2
    quiet = (np.abs(heatmaps).max(axis=-1) < 0.05) & (np.abs(fields).max(axis=-1) < 0.05)
    places = tuple(np.argwhere(quiet)[::40].T)
    for value in (np.nan, np.inf, -np.inf):
        broken = heatmaps.copy(), fields.copy()
        for maps in broken:
            maps[places] = value
        check_same(graph("mouse")(*broken), people)
        for maps in ((broken[0], fields), (heatmaps, broken[1])):
            with pytest.raises(ValueError, match="must be finite"):
                grouping.group_numpy(*maps, MOUSE.edges)
    lost = np.full_like(heatmaps, np.nan), np.full_like(fields, np.nan)
    assert graph("mouse")(*lost)["num_found"] == 0
    assert graph("mouse")(heatmaps, lost[1])["num_found"] == 0


def test_limb_order_is_for_the_published_rule():
    heatmaps, fields = ideal(CHAIN, 0)
    for options in ({"limb_order": (0, 1, 2, 3)}, {"limb_order": (0, 1, 2, 2), "published": True}):
        with pytest.raises(ValueError, match="limb_order must have each of 4 limbs once"):
            grouping.group_numpy(heatmaps, fields, CHAIN.edges, **options)


# ---------------------------------------- goldens
def test_published_peaks(golden):
    case = golden("openpose_peaks_a")
    total = 0
    for k in range(8):
        peaks = grouping.find_peaks_numpy(case["input_heatmaps"][..., k], published=True)
        numbers = np.arange(total, total + len(peaks))[:, None]
        case.check(f"output_keypoints_{k}", np.concatenate([peaks, numbers], axis=1))
        total += len(peaks)


def maps_of(case):
    return case["input_heatmaps"][..., :18], case["input_pafs"]


@pytest.mark.parametrize("name", ["openpose_group_ideal", "openpose_group_noisy"])
def test_published_people(golden, name):
    case = golden(name)
    heatmaps, fields = maps_of(case)
    limbs, channels = case.config["limbs"], case.config["pafs"]
    assert [list(OPENPOSE.edges[x // 2]) for x, _ in channels] == limbs
    assert tuple(x // 2 for x, _ in channels) == grouping.PUBLISHED_LIMB_ORDER
    peaks = [grouping.find_peaks_numpy(heatmaps[..., k], published=True) for k in range(18)]
    case.check("output_keypoint_counts", [len(of_joint) for of_joint in peaks])
    listed = np.concatenate(peaks)
    case.check("output_all_keypoints", np.concatenate([listed, np.arange(len(listed))[:, None]], axis=1))

    order = grouping.PUBLISHED_LIMB_ORDER
    people = grouping.group_numpy(heatmaps, fields, OPENPOSE.edges, published=True, limb_order=order)
    missing = people["scores"] == 0
    poses = np.concatenate([people["keypoints"], people["scores"][..., None]], axis=-1)
    case.check("output_poses", np.where(missing[..., None], -1, poses))
    case.check("output_pose_entries", entries_of(people, peaks))
    case.check("output_coco_scores", grouping.people_score(people["person_scores"], people["num_keypoints"]))
    to_coco = [OPENPOSE.keypoints.index(name) for name in COCO.keypoints]
    seen = ~missing[:, to_coco, None]
    case.check("output_coco_keypoints", np.concatenate([people["keypoints"][:, to_coco] + 0.5, seen], axis=-1) * seen)

    # The same limbs given in that order need no order of their own.
    fields = fields[..., np.ravel(channels)]
    again = grouping.group_numpy(heatmaps, fields, limbs, published=True)
    np.testing.assert_array_equal(again["keypoints"], people["keypoints"])


def entries_of(people, peaks):
    """The published table: for each person the number of each keypoint's peak, or -1, the score and the count."""
    first = np.cumsum([0] + [len(of_joint) for of_joint in peaks])
    entries = np.full((len(people["scores"]), 20), -1.0)
    for entry, keypoints, scores in zip(entries, people["keypoints"], people["scores"], strict=True):
        for joint in np.flatnonzero(scores):
            (peak,) = np.flatnonzero((peaks[joint][:, :2] == keypoints[joint]).all(axis=1))
            entry[joint] = first[joint] + peak
    entries[:, 18], entries[:, 19] = people["person_scores"], people["num_keypoints"]
    return entries


@pytest.mark.parametrize("name", ["openpose_group_ideal", "openpose_group_noisy"])
def test_the_same_people_as_published_and_none_of_their_keypoints_lost(golden, name):
    case = golden(name)
    maps = as_float32(maps_of(case))
    people = grouping.group_numpy(*maps, OPENPOSE.edges)
    check_same(graph("openpose")(*maps), people)
    published = case["output_poses"]
    assert len(people["scores"]) == len(published)
    for pose in published:
        seen = pose[:, 2] > 0
        distances = np.linalg.norm(people["keypoints"] - pose[:, :2], axis=-1)  # [M, K]
        person = np.argmin(np.mean(distances[:, seen], axis=1))
        # The published accidents lose no peak of these two scenes: the same joints are found, and within a cell.
        np.testing.assert_array_equal(people["scores"][person] > 0, seen)
        assert distances[person, seen].max() < 1


def test_published_rule_by_hand():
    """One person found in two parts, and a keypoint that a limb outside the tree claims."""
    # Limb (3, 0) ends in keypoint 0, which is in a person already, but begins in 3, which is not: a second person.
    # Limb (1, 2) fills a gap: keypoint 2 is there, and neither it nor the limb counts.
    maps = ring_scene([1, 1, 0, 1, 0])
    people = grouping.group_numpy(*maps, RING.edges, published=True, min_keypoints=2)
    assert [row.tolist() for row in people["scores"] > 0] == [[True, True, True, False], [True, False, False, True]]
    np.testing.assert_array_equal(people["num_keypoints"], [2, 2])
    np.testing.assert_allclose(people["person_scores"], [3, 3], atol=1e-5)
    assert grouping.group_numpy(*maps, RING.edges, published=True)["count"] == 0
    assert grouping.group_numpy(*maps, RING.edges)["num_keypoints"] == [4]
    # Begun by limb (3, 0), and limb (0, 1) finds keypoint 0 there.
    people = grouping.group_numpy(*maps, RING.edges, published=True, limb_order=(3, 0, 1, 2, 4))
    np.testing.assert_array_equal(people["scores"] > 0, [[True] * 4])
    np.testing.assert_array_equal(people["num_keypoints"], [3])
    np.testing.assert_allclose(people["person_scores"], [5.0], atol=1e-5)
