"""Figures of actions against loops over clips."""

import keras
import numpy as np
import pytest

from kerapose import metrics


def slow_figures(labels, scores, weights=None):
    """Top-1, top-5 and mean-class accuracy, one clip after the other."""
    weights = [1.0] * len(labels) if weights is None else weights
    classes = range(scores.shape[1])
    right, seen, among_five = [0.0 for _ in classes], [0.0 for _ in classes], 0
    for label, row, weight in zip(labels, scores.tolist(), weights, strict=True):
        better = sum(other > row[label] for other in row)
        right[label] += weight * (better == 0)
        seen[label] += weight
        among_five += better < 5
    return {
        "top1": sum(right) / sum(seen),
        "top5": among_five / len(labels),
        "mean_class": float(np.mean([right[c] / seen[c] for c in classes if seen[c] > 0])),
    }


def clips(count=60, num_classes=7, occurring=(0, 1, 1, 1, 4, 6), seed=0):
    """Labels, unevenly spread over some of the classes, and logits that are right about half of the time."""
    random = np.random.default_rng(seed)
    labels = random.choice(occurring, count)
    logits = random.normal(0, 1, (count, num_classes)) + 2 * np.eye(num_classes)[labels] * (
        random.random((count, 1)) < 0.6
    )
    return labels, logits.astype("float32")


def test_mean_class_accuracy_equals_the_loop_over_batches():
    labels, logits = clips()
    metric = metrics.MeanClassAccuracy(7)
    for start in range(0, 60, 16):  # the last batch is smaller
        metric.update_state(labels[start : start + 16], logits[start : start + 16])
    expected = slow_figures(labels, logits)
    assert expected["mean_class"] == pytest.approx(float(metric.result()), abs=1e-6)
    assert abs(expected["mean_class"] - expected["top1"]) > 1e-3  # the classes are uneven


def test_mean_class_accuracy_by_hand():
    metric = metrics.MeanClassAccuracy(5)
    scores = np.eye(5, dtype="float32")[[0, 0, 1, 3]]
    metric.update_state([0, 0, 0, 3], scores)  # class 0: 2 of 3; class 3: 1 of 1; 1, 2 and 4 do not occur
    assert float(metric.result()) == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)


def test_mean_class_accuracy_weighs_the_clips():
    labels, logits = clips(seed=1)
    weights = np.random.default_rng(2).integers(0, 4, 60)
    weights[labels == 4] = 0  # as if it did not occur
    metric = metrics.MeanClassAccuracy(7)
    metric.update_state(labels[:, None], logits, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(slow_figures(labels, logits, weights)["mean_class"], abs=1e-6)


@pytest.mark.parametrize("weight", [1e-6, 0.1, 0.5, 1.0, 30.0])
def test_mean_class_accuracy_is_the_same_whatever_the_weights_add_up_to(weight):
    labels, logits = clips(seed=4)
    metric = metrics.MeanClassAccuracy(7)
    metric.update_state(labels, logits, sample_weight=np.full(60, weight / 60))
    assert float(metric.result()) == pytest.approx(slow_figures(labels, logits)["mean_class"], abs=1e-5)


def test_mean_class_accuracy_of_light_clips_by_hand():
    metric = metrics.MeanClassAccuracy(3)
    scores = np.eye(3, dtype="float32")[[0, 1, 0]]
    metric.update_state([0, 1], scores[:2], sample_weight=[0.1, 0.1])
    assert float(metric.result()) == pytest.approx(1.0, abs=1e-6)
    metric.update_state([1], scores[2:], sample_weight=[0.3])  # class 1: a quarter of its weight is right
    assert float(metric.result()) == pytest.approx((1 + 0.25) / 2, abs=1e-6)


def test_mean_class_accuracy_starts_anew():
    labels, logits = clips(seed=3)
    metric = metrics.MeanClassAccuracy(7)
    assert float(metric.result()) == 0.0  # nothing seen
    metric.update_state(labels, logits)
    metric.reset_state()
    metric.update_state(labels[:9], logits[:9])
    assert float(metric.result()) == pytest.approx(slow_figures(labels[:9], logits[:9])["mean_class"], abs=1e-6)


def test_mean_class_accuracy_in_a_compiled_model_and_from_its_config():
    labels, logits = clips()
    model = keras.Sequential([keras.Input((7,)), keras.layers.Identity()])
    original = metrics.MeanClassAccuracy(7, name="mean_class")
    metric = metrics.MeanClassAccuracy.from_config(original.get_config())
    assert metric.name == "mean_class" and metric.num_classes == 7
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[metric])
    figures = model.evaluate(logits, labels, batch_size=16, verbose=0, return_dict=True)
    assert figures["mean_class"] == pytest.approx(slow_figures(labels, logits)["mean_class"], abs=1e-6)


@pytest.mark.parametrize("num_classes", [3, 7, 40])
def test_action_metrics_equal_the_loop(num_classes):
    labels, logits = clips(num_classes=num_classes, occurring=(0, 1, 1, 2), seed=num_classes)
    assert metrics.action_metrics(labels, logits) == pytest.approx(slow_figures(labels, logits))
    assert metrics.action_metrics(labels.tolist(), logits.tolist()) == pytest.approx(slow_figures(labels, logits))


def test_action_metrics_by_hand():
    assert metrics.action_metrics([0, 1], [[0.9, 0.1], [0.8, 0.2]]) == {"top1": 0.5, "top5": 1.0, "mean_class": 0.5}
    ranked = -np.arange(7.0)[None].repeat(3, 0)  # class 0 first, class 6 last
    assert metrics.action_metrics([0, 4, 5], ranked) == pytest.approx(
        {"top1": 1 / 3, "top5": 2 / 3, "mean_class": 1 / 3}
    )


@pytest.mark.parametrize("strange", [-1, 7])
def test_labels_of_other_classes_are_refused(strange):
    labels, logits = clips(seed=5)
    labels[3] = strange
    with pytest.raises(ValueError, match=f"Labels must be 0 to 6, as there are 7 classes, got {strange}; use data"):
        metrics.action_metrics(labels, logits)


def test_confusion_matrix_counts_true_classes_by_row():
    matrix = metrics.confusion_matrix([0, 0, 0, 2, 1], [0, 1, 1, 2, 0], 4)
    np.testing.assert_array_equal(matrix, [[1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("labels", "predictions", "what"), [([0, -1], [0, 0], "labels"), ([0, 0], [1, 3], "predictions")]
)
def test_the_confusion_matrix_takes_no_other_classes(labels, predictions, what):
    with pytest.raises(IndexError, match=f"{what} of 3 classes are 0 to 2, got (-1|3)"):
        metrics.confusion_matrix(labels, predictions, 3)


def test_confusion_matrix_agrees_with_the_figures():
    labels, logits = clips(seed=5)
    matrix = metrics.confusion_matrix(labels, logits.argmax(-1), 7)
    figures = metrics.action_metrics(labels, logits)
    assert matrix.sum() == 60 and np.trace(matrix) / 60 == pytest.approx(figures["top1"])
    occurring = matrix.sum(axis=1) > 0
    assert (np.diag(matrix) / matrix.sum(axis=1).clip(1))[occurring].mean() == pytest.approx(figures["mean_class"])
