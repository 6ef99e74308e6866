"""Figures of keypoints against loops over joints and people, and against the published ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import metrics
from kerapose.losses import JointsMSE
from kerapose.ops import heatmaps


# ---------------------------------------------------------------------------------------------- keypoints in heatmaps
def slow_heatmap_shares(truth, predicted, threshold=0.5, published=True):
    """The share of each joint, None where it does not occur, peak by peak."""
    _, height, width, num_joints = truth.shape
    shares = []
    for k in range(num_joints):
        right = []
        for true, answer in zip(truth[..., k], predicted[..., k], strict=True):
            (y, x), (v, u) = (np.unravel_index(m.argmax(), m.shape) if m.max() > 0 else (0, 0) for m in (true, answer))
            occurs = (x > 1 and y > 1) if published else true.max() > 0
            across, down = (height, width) if published else (width, height)
            if occurs:
                right.append(np.hypot((x - u) / (across / 10), (y - v) / (down / 10)) < threshold)
        shares.append(np.mean(right) if right else None)
    return shares


def peaked_heatmaps(count=12, shape=(20, 14), num_joints=5, seed=0):
    """Noise, whose highest values lie near each other in truth and prediction; some maps are empty."""
    random = np.random.default_rng(seed)
    truth = random.random((count, *shape, num_joints)) * 0.1
    predicted = random.random((count, *shape, num_joints)) * 0.1
    for n, k in np.ndindex(count, num_joints):
        y, x = random.integers(0, shape)
        v, u = np.clip([y, x] + random.integers(-2, 3, 2), 0, np.array(shape) - 1)
        truth[n, y, x, k], predicted[n, v, u, k] = 1, 1
    truth[::3, :, :, 1] = 0
    truth[:, :, :, 2] = 0  # never occurs
    predicted[1] = -1
    return truth.astype("float32"), predicted.astype("float32")


def test_heatmap_accuracy_equals_the_published_one(golden):
    case = golden("metric_pck_heatmaps_a")
    truth, predicted = (np.moveaxis(case[f"input_{which}"], 1, -1) for which in ("target", "output"))
    figures = metrics.heatmap_accuracy(truth, predicted)
    case.check("output_avg_acc", figures["mean"])
    case.check("output_acc", [figures["mean"], *np.nan_to_num(figures["joints"], nan=-1)])
    case.check("output_cnt", figures["num_joints"])
    case.check("output_pred", figures["keypoints"])
    metric = metrics.HeatmapPCK()
    for batch in (slice(0, 4), slice(4, 6)):
        metric.update_state(truth[batch], predicted[batch])
    case.check("output_avg_acc", float(metric.result()))


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("threshold", [0.5, 1.2])
def test_heatmap_accuracy_equals_the_loop(published, threshold):
    truth, predicted = peaked_heatmaps()
    shares = slow_heatmap_shares(truth, predicted, threshold, published)
    expected = [share for share in shares if share is not None]
    figures = metrics.heatmap_accuracy(truth, predicted, threshold, published)
    assert figures["joints"] == pytest.approx([np.nan if s is None else s for s in shares], nan_ok=True)
    assert figures["mean"] == pytest.approx(np.mean(expected)) and figures["num_joints"] == len(expected) == 4
    stacked = np.stack([truth, predicted], axis=1)  # only the last stack counts
    metric = metrics.HeatmapPCK.from_config(metrics.HeatmapPCK(threshold, published).get_config())
    for start in range(0, 12, 5):
        metric.update_state(truth[start : start + 5], stacked[start : start + 5])
    assert float(metric.result()) == pytest.approx(np.mean(expected), abs=1e-6)
    assert metrics.heatmap_accuracy(truth, stacked, threshold, published)["mean"] == figures["mean"]


@pytest.mark.parametrize("weight", [1e-4, 0.05, 0.3, 7.0])
def test_heatmap_pck_is_the_same_whatever_the_weights_add_up_to(weight):
    random = np.random.default_rng(4)
    truth, predicted = random.random((2, 3, 16, 12, 5)).astype("float32")
    results = []
    for given in (1.0, weight):
        metric = metrics.HeatmapPCK(threshold=5.0, published=False)
        metric.update_state(truth, predicted, sample_weight=np.full((3, 5), given, "float32"))
        results.append(float(metric.result()))
    assert results[0] == pytest.approx(results[1], abs=1e-6) and results[0] > 0


def test_heatmap_pck_leaves_joints_without_weight_out():
    truth, predicted = peaked_heatmaps(seed=1)
    weights = np.random.default_rng(2).integers(0, 2, (12, 5)).astype("float32")
    seen = truth.copy()
    seen[:, 0, 0] += 2 * (weights == 0)  # a peak in the corner is not counted, as published
    expected = metrics.heatmap_accuracy(seen, predicted)["mean"]
    assert expected != metrics.heatmap_accuracy(truth, predicted)["mean"]
    for given in (weights, weights[..., None]):
        metric = metrics.HeatmapPCK()
        metric.update_state(truth, predicted, sample_weight=given)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    of_people = np.arange(12) % 2
    metric = metrics.HeatmapPCK()
    metric.update_state(truth, predicted, sample_weight=of_people)
    odd = metrics.heatmap_accuracy(truth[1::2], predicted[1::2])["mean"]
    assert float(metric.result()) == pytest.approx(odd, abs=1e-6)


def test_heatmap_pck_in_fit_starts_anew_every_epoch():
    truth, predicted = peaked_heatmaps()
    weights = np.ones((12, 5), "float32")
    weights[:, 0] = 0
    model = keras.Sequential([keras.Input(predicted.shape[1:]), keras.layers.Identity()])
    model.compile(
        loss=JointsMSE(), metrics=[metrics.HeatmapPCK()], weighted_metrics=[metrics.HeatmapPCK(name="weighted")]
    )
    dataset = tf.data.Dataset.from_tensor_slices((predicted, truth, weights)).batch(5)
    expected = metrics.heatmap_accuracy(truth, predicted)["mean"]
    without = metrics.heatmap_accuracy(truth[..., 1:], predicted[..., 1:])["mean"]
    assert without != expected
    for _ in range(2):
        figures = model.evaluate(dataset, verbose=0, return_dict=True)
        assert figures["heatmap_pck"] == pytest.approx(expected, abs=1e-6)
        assert figures["weighted"] == pytest.approx(without, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 8, 6, 4), (2, 6, 8, 5), (2, 3, 8, 6, 4), (2, 8, 6)])
def test_heatmaps_of_other_shapes_are_refused(shape):
    truth, predicted = np.zeros((2, 8, 6, 5), "float32"), np.zeros(shape, "float32")
    for figure in (metrics.heatmap_accuracy, metrics.HeatmapPCK().update_state):
        with pytest.raises(ValueError, match="of one size and as many joints"):
            figure(truth, predicted)


# ------------------------------------------------------------------------------------------------ distances in pixels
def figures_of_people(count=9, num_joints=4, seed=0):
    """True and predicted keypoints, their visibility, and a size for each person."""
    random = np.random.default_rng(seed)
    truth = random.uniform(0, 100, (count, num_joints, 2))
    visible = random.integers(0, 3, (count, num_joints))
    visible[:, 2] = 0
    return truth + random.normal(0, 6, truth.shape), truth, visible, random.uniform(20, 60, count)


def slow_means(value, predicted, truth, visible):
    """The mean of `value(distance, person)` over visible keypoints, and joint by joint."""
    joints = [[] for _ in range(truth.shape[1])]
    for n, k in zip(*np.nonzero(visible), strict=True):
        (x, y), (u, v) = predicted[n, k], truth[n, k]
        joints[k].append(value(((x - u) ** 2 + (y - v) ** 2) ** 0.5, n))
    return np.mean(sum(joints, [])), [np.mean(j) if j else np.nan for j in joints]


@pytest.mark.parametrize(
    "figure, value",
    [
        (lambda *a: metrics.pixel_error(*a[:3]), lambda d, size: d),
        (lambda *a: metrics.pck(*a), lambda d, size: d / size <= 0.2),
        (lambda *a: metrics.pck(*a, threshold=0.1), lambda d, size: d / size <= 0.1),
        (
            lambda *a: metrics.auc(*a, thresholds=np.arange(20) / 20),
            lambda d, size: sum(d / size <= t / 20 for t in range(20)) / 20,
        ),
        (
            lambda *a: metrics.auc(*a, max_threshold=0.4),
            lambda d, size: np.mean(d / size <= np.arange(40000) / 1e5),
        ),
    ],
)
def test_distances_equal_the_loops(figure, value):
    predicted, truth, visible, sizes = figures_of_people()
    mean, joints = slow_means(lambda d, n: value(d, sizes[n]), predicted, truth, visible)
    predicted[visible == 0] = truth[visible == 0] = np.nan  # not to be looked at
    result = figure(predicted, truth, visible, sizes)
    assert result["mean"] == pytest.approx(mean, abs=1e-4)
    assert result["joints"] == pytest.approx(joints, abs=1e-4, nan_ok=True)


def test_distances_by_hand():
    predicted, truth, visible = [[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]]
    assert metrics.pixel_error(predicted, truth, visible) == {"mean": 2.5, "joints": [5.0, 0.0]}
    assert metrics.pck(predicted, truth, visible, [20.0]) == {"mean": 0.5, "joints": [0.0, 1.0]}
    assert metrics.pck(predicted, truth, visible, 20.0, threshold=0.25) == {"mean": 1.0, "joints": [1.0, 1.0]}  # just
    assert metrics.auc(predicted, truth, visible, 20.0) == {"mean": 0.75, "joints": [0.5, 1.0]}
    at = metrics.auc(predicted, truth, visible, 20.0, thresholds=[0.25, 0.2])  # just at the first
    assert at == {"mean": 0.75, "joints": [0.5, 1.0]}
    far = metrics.auc(predicted, truth, visible, 20.0, max_threshold=0.2)
    assert far == {"mean": 0.5, "joints": [0.0, 1.0]}
    assert np.isnan(metrics.pixel_error(predicted, truth, [[0, 0]])["mean"])


def test_a_head_is_as_large_as_three_fifths_of_its_diagonal():
    np.testing.assert_allclose(metrics.head_size([[10, 20, 13, 24], [0, 0, 12, 5]]), [3.0, 7.8])


def test_a_keypoint_just_at_the_threshold_of_pckh_is_right():
    truth = np.zeros((1, 3, 2))
    predicted = truth + np.float64([[[0, 5], [0, 5.01], [1, 0]]])
    groups = {"at": (0,), "beyond": (1,), "near": (2,)}
    figures = metrics.pckh(predicted, truth, np.ones((1, 3)), [10.0], groups=groups, uncounted=())
    assert (figures["at"], figures["beyond"], figures["near"]) == (1, 0, 1)
    assert figures["Mean"] == pytest.approx(2 / 3) and figures["Mean@0.1"] == figures["Mean@0.11"] == pytest.approx(
        1 / 3
    )


def test_a_peak_just_at_the_threshold_of_heatmaps_is_wrong():
    """Of heatmaps of 20 x 40 the units are 4 pixels along x and 2 along y, or as published the other way round."""
    truth = np.zeros((1, 20, 40, 1), "float32")
    truth[0, 10, 20, 0] = 1
    for dx, dy, plain, published in ((2, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1), (0, 2, 0, 0)):
        found = np.zeros_like(truth)
        found[0, 10 + dy, 20 + dx, 0] = 1
        for rule, share in ((False, plain), (True, published)):
            assert metrics.heatmap_accuracy(truth, found, 0.5, rule)["mean"] == share
            metric = metrics.HeatmapPCK(0.5, rule)
            metric.update_state(truth, found)
            assert float(metric.result()) == share


def test_distances_refuse_what_they_cannot_measure():
    predicted, truth, visible, sizes = figures_of_people()
    with pytest.raises(ValueError, match=r"must be \[N, K, 2\]"):
        metrics.pixel_error(predicted[:-1], truth, visible)
    with pytest.raises(ValueError, match=r"must be \[N, K, 2\]"):
        metrics.pixel_error(predicted, truth, visible[:, :-1])
    with pytest.raises(ValueError, match=r"must be \[N\] or one, got \(8,\)"):
        metrics.pck(predicted, truth, visible, sizes[:-1])
    person, joint = np.argwhere(visible)[0]
    sizes[person] = 0
    with pytest.raises(ValueError, match=f"must be positive, got 0.0 px for person {person}"):
        metrics.pck(predicted, truth, visible, sizes)
    predicted[person, joint] = np.nan
    with pytest.raises(ValueError, match="keypoints that count must be numbers, got 2"):
        metrics.pixel_error(predicted, truth, visible)


def mpii_case(case):
    corners = case["input_headboxes"].reshape(4, -1).T  # [N, 4] left, top, right, bottom
    truth = np.moveaxis(case["input_gt"], -1, 0)
    return case["input_preds"] + 1, truth, 1 - case["input_missing"].T, corners


def test_pckh_equals_the_published_one(golden):
    case = golden("metric_pckh_a")
    predicted, truth, visible, corners = mpii_case(case)
    figures = metrics.pckh(predicted, truth, visible, metrics.head_size(corners))
    names = [{"Mean@0.1": "Mean@0.11"}.get(name, name) for name in case.config["result_names"]]
    case.check("output_result", [100 * figures[name] for name in names])
    at_a_tenth = metrics.pckh(predicted, truth, visible, metrics.head_size(corners), threshold=0.1)["Mean"]
    assert figures["Mean@0.1"] == at_a_tenth < figures["Mean@0.11"]


def test_pckh_equals_the_loop_for_other_groups():
    predicted, truth, visible, sizes = figures_of_people(seed=3)
    groups = {"ends": (0, 3), "middle": (1, 2), "never": (2,)}
    _, joints = slow_means(lambda d, n: d / sizes[n] <= 0.2, predicted, truth, visible)
    without = visible.copy()
    without[:, 3] = 0
    mean, _ = slow_means(lambda d, n: d / sizes[n] <= 0.2, predicted, truth, without)
    figures = metrics.pckh(predicted, truth, visible, sizes, 0.2, groups, uncounted=(3,))
    assert figures["ends"] == pytest.approx((joints[0] + joints[3]) / 2) and figures["middle"] == joints[1]
    assert np.isnan(figures["never"]) and figures["Mean"] == pytest.approx(mean)


def test_pckh_of_another_skeleton_wants_its_groups():
    predicted, truth, visible, sizes = figures_of_people()
    with pytest.raises(ValueError, match="must name joints 0 to 3, got 9"):
        metrics.pckh(predicted, truth, visible, sizes)


# ---------------------------------------- coordinates and vectors
def slow_coordinate_pck(true, found, weights, threshold):
    """The mean over joints that occur of the share of people whose joint lies near enough, in tenths of the crop."""
    shares = []
    for k in range(true.shape[1]):
        right = [np.hypot(*(10 * (found[i, k] - true[i, k]))) < threshold for i in range(len(true))]
        if weights[:, k].sum():
            shares.append(np.dot(right, weights[:, k]) / weights[:, k].sum())
    return np.mean(shares)


@pytest.mark.parametrize("threshold", [0.5, 1.0])
@pytest.mark.parametrize("count", [2, 4])
def test_pck_of_coordinates_equals_the_loop(count, threshold):
    random = np.random.default_rng(0)
    true = random.uniform(0, 1, (7, 5, 2)).astype("float32")
    found = np.concatenate([true + random.normal(0, 0.05, true.shape), random.normal(size=true.shape)], axis=-1)
    weights = (random.uniform(size=(7, 5)) > 0.3).astype("float32") * [1, 1, 0, 1, 1]
    metric = metrics.CoordinatePCK(threshold)
    for part in (slice(0, 4), slice(4, 7)):
        metric.update_state(true[part], found[part, :, :count].astype("float32"), weights[part])
    expected = slow_coordinate_pck(true, found[..., :2], weights, threshold)
    assert 0.2 < expected < 0.95
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_pck_of_vectors_is_that_of_their_highest_bins():
    keypoints = np.random.default_rng(0).uniform(10, 50, (6, 5, 2)).astype("float32")
    moved = keypoints + np.random.default_rng(1).normal(0, 4, keypoints.shape).astype("float32")
    labels, _ = heatmaps.encode_answers(keypoints, None, (80, 64), codec="simcc")
    found, _ = heatmaps.encode_answers(moved, None, (80, 64), codec="simcc")
    metric = metrics.CoordinatePCK()
    metric.update_state(labels, found)
    places = [np.round(2 * points) / 2 / [64, 80] for points in (keypoints, moved)]
    expected = slow_coordinate_pck(*places, np.ones((6, 5)), 0.5)
    assert 0.2 < expected < 0.95
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-5)


def test_pck_of_other_joints_is_refused():
    for true, found in (((2, 5, 2), (2, 6, 2)), ((2, 8, 6, 5), (2, 8, 6, 5))):
        with pytest.raises(ValueError, match=r"coordinates must be \[B, K, 2\], .* check the codec and num_joints"):
            metrics.CoordinatePCK().update_state(np.zeros(true), np.zeros(found))
