"""Figures of merit, as the papers report them."""

import contextlib
import io
import json
import pathlib

import keras
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
from keras import ops

from kerapose.ops import alignment


@keras.saving.register_keras_serializable("kerapose")
class MeanClassAccuracy(keras.metrics.Metric):
    """The accuracy of each class, averaged over the classes that occur, as FineGYM's and NTU's tables report it.

    Args:
        num_classes: number of classes.

    Inputs of `update_state`: labels [B], logits or probabilities [B, num_classes], optional weights [B].

    Example:
        >>> model.compile(metrics=[MeanClassAccuracy(60, name="mean_class")])
    """

    def __init__(self, num_classes, name="mean_class_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        shape = {"shape": (num_classes,), "initializer": "zeros"}
        self.correct = self.add_variable(name="correct", **shape)
        self.total = self.add_variable(name="total", **shape)

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        of_class = ops.one_hot(labels, self.num_classes)  # [B, C]
        if sample_weight is not None:
            of_class = of_class * ops.reshape(ops.cast(sample_weight, of_class.dtype), (-1, 1))
        hit = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), labels), of_class.dtype)
        self.correct.assign_add(ops.sum(of_class * hit[:, None], axis=0))
        self.total.assign_add(ops.sum(of_class, axis=0))

    def result(self):
        occurs = ops.cast(self.total > 0, self.total.dtype)
        accuracy = self.correct / ops.maximum(self.total, 1.0)
        return ops.sum(accuracy * occurs) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self):
        return super().get_config() | {"num_classes": self.num_classes}


def action_metrics(labels, probabilities):
    """Top-1, top-5 and mean-class accuracy.

    Args:
        labels: [B] class indices.
        probabilities: [B, C], or any scores that rank the classes.

    Returns:
        {"top1": float, "top5": float, "mean_class": float}, each in [0, 1].

    Example:
        >>> action_metrics([0, 1], [[0.9, 0.1], [0.8, 0.2]])
        {'top1': 0.5, 'top5': 1.0, 'mean_class': 0.5}
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    ranked = np.argsort(-probabilities, axis=-1, kind="stable")
    hit = ranked[:, 0] == labels
    per_class = [hit[labels == label].mean() for label in np.unique(labels)]
    return {
        "top1": float(hit.mean()),
        "top5": float((ranked[:, :5] == labels[:, None]).any(axis=1).mean()),
        "mean_class": float(np.mean(per_class)),
    }


def confusion_matrix(labels, predictions, num_classes):
    """Counts [C, C] of predictions (columns) by true class (rows): [B], [B] -> [C, C]."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (np.asarray(labels), np.asarray(predictions)), 1)
    return matrix


# ---------------------------------------------------------------------------------------------- keypoints in heatmaps
@keras.saving.register_keras_serializable("kerapose")
class HeatmapPCK(keras.metrics.Metric):
    """The share of heatmap peaks near the true ones, averaged over the joints that occur: a figure to watch in `fit`.

    It reads peaks in whole heatmap pixels and knows neither people's sizes nor the image, so it is no substitute for
    `pck` or `coco_ap` of decoded keypoints. Over all batches since the reset it equals `heatmap_accuracy` of them all.

    Args:
        threshold: a peak is right if it lies less than this many tenths of the heatmap away.
        published: whether to count exactly as the published trainers do, quirks and all; see `heatmap_accuracy`.
        name: of the metric.

    Inputs of `update_state`: heatmaps [B, h, w, K]; predicted ones [B, h, w, K], or [B, S, h, w, K] of which the last
    stack counts; optional weights [B, K] or [B].

    Example:
        >>> model.compile(optimizer="adam", loss=JointsMSE(), weighted_metrics=[HeatmapPCK()])

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(self, threshold=0.5, published=True, name="heatmap_pck", **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.published = published
        self.built = False  # how many joints there are, the first heatmaps show

    def build(self, num_joints):
        shape = {"shape": (num_joints,), "initializer": "zeros"}
        self.correct = self.add_variable(name="correct", **shape)
        self.total = self.add_variable(name="total", **shape)
        self.built = True

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _last_stack(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred))
        _, height, width, num_joints = y_pred.shape
        if not self.built:
            self.build(num_joints)
        (true, drawn), (predicted, _) = _peaks(y_true, ops), _peaks(y_pred, ops)
        counts = ops.cast(_counted(true, drawn, self.published), "float32")
        if sample_weight is not None:
            weights = ops.cast(sample_weight, "float32")
            weights = ops.squeeze(weights, -1) if len(weights.shape) == 3 else weights
            counts = counts * (weights if len(weights.shape) != 1 else weights[:, None])
        unit = np.asarray(_unit(height, width, self.published), "float32")
        distance = ops.sqrt(ops.sum(ops.square((predicted - true) / unit), axis=-1))  # [B, K]
        right = ops.cast(distance < self.threshold, "float32")
        self.correct.assign_add(ops.sum(counts * right, axis=0))
        self.total.assign_add(ops.sum(counts, axis=0))

    def result(self):
        if not self.built:
            return ops.zeros(())
        occurs = ops.cast(self.total > 0, self.total.dtype)
        accuracy = ops.divide_no_nan(self.correct, self.total)
        return ops.sum(accuracy) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self):
        return super().get_config() | {"threshold": self.threshold, "published": self.published}


def heatmap_accuracy(truth, predicted, threshold=0.5, published=True):
    """The share of heatmap peaks that lie near the true ones.

    A tenth of the heatmap is the unit. The published rule has three quirks: errors along x are divided by the tenth of
    the height and those along y by the tenth of the width; a joint counts only if its true peak has both x > 1 and
    y > 1; and the threshold is 0.5, whatever the caller asked for (it is followed here). With `published=False` each
    axis has its own tenth and every joint counts that was drawn.

    Args:
        truth: heatmaps [B, h, w, K].
        predicted: heatmaps [B, h, w, K], or [B, S, h, w, K] of which the last stack counts.
        threshold: a peak is right if it lies less than this many tenths of the heatmap away.
        published: whether the published rule holds.

    Returns:
        {"mean": mean over the joints that occur, "joints": K shares, NaN for a joint that does not occur,
        "num_joints": how many occur, "keypoints": [B, K, 2] predicted peaks in heatmap pixels, (0, 0) where no value
        is positive}.

    Example:
        >>> heatmap_accuracy(heatmaps, heatmaps)["mean"]
        1.0

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    truth, predicted = _last_stack(np.asarray(truth), np.asarray(predicted))
    (true, drawn), (keypoints, _) = _peaks(truth, np), _peaks(predicted, np)
    error = (keypoints - true) / np.asarray(_unit(*truth.shape[1:3], published))
    right = np.linalg.norm(error, axis=-1) < threshold
    joints = _means(right, _counted(true, drawn, published))["joints"]
    known = [share for share in joints if not np.isnan(share)]
    return {
        "mean": float(np.mean(known)) if known else 0.0,
        "joints": joints,
        "num_joints": len(known),
        "keypoints": keypoints,
    }


def _last_stack(truth, predicted):
    """Heatmaps [B, h, w, K] and predicted ones, of the last stack if there are several."""
    if len(predicted.shape) == 5:
        predicted = predicted[:, -1]  # [B, h, w, K]
    if not len(truth.shape) == len(predicted.shape) == 4 or truth.shape[1:] != predicted.shape[1:]:
        raise ValueError(
            "heatmaps must be [B, h, w, K], true and predicted ones of one size and as many joints, "
            f"got {tuple(truth.shape)} and {tuple(predicted.shape)}; check heatmap_size and num_joints."
        )
    return truth, predicted


def _peaks(heatmaps, numbers):
    """Where each heatmap is highest, and whether that is above 0: [B, h, w, K] -> [B, K, 2], [B, K]."""
    _, height, width, num_joints = heatmaps.shape
    flat = numbers.reshape(heatmaps, (-1, height * width, num_joints))
    index, positive = numbers.argmax(flat, axis=1), numbers.max(flat, axis=1) > 0  # [B, K]
    points = numbers.stack([index % width, index // width], axis=-1)
    points = points.astype("float32") if numbers is np else ops.cast(points, "float32")
    return numbers.where(positive[..., None], points, np.float32(0)), positive


def _counted(true, drawn, published):
    return (true[..., 0] > 1) & (true[..., 1] > 1) if published else drawn


def _unit(height, width, published):
    """What errors along x and y are divided by."""
    return (height / 10, width / 10) if published else (width / 10, height / 10)


# ------------------------------------------------------------------------------------------------ distances in pixels
def pixel_error(predicted, truth, visible):
    """The mean distance of predicted keypoints from the true ones.

    Args:
        predicted: [N, K, 2] px.
        truth: [N, K, 2] px; whatever stands where a keypoint is not visible is not looked at.
        visible: [N, K], above 0 where a keypoint counts.

    Returns:
        {"mean": over all visible keypoints, px, "joints": K of them, px}; NaN where none is visible.

    Raises:
        ValueError: if the shapes do not fit together, or a keypoint that counts is NaN or infinite.

    Example:
        >>> pixel_error([[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]])
        {'mean': 2.5, 'joints': [5.0, 0.0]}
    """
    return _means(*_distances(predicted, truth, visible))


def pck(predicted, truth, visible, reference_px, threshold=0.2):
    """The share of keypoints that lie within a part of a reference length: percentage of correct keypoints.

    Args:
        predicted, truth, visible: as of `pixel_error`.
        reference_px: [N] px, or one for all: the longer side of each person's box, the torso, the head (PCKh).
        threshold: the part of it; a keypoint exactly so far away is right.

    Returns:
        {"mean": over all visible keypoints, "joints": K of them}, in [0, 1]; NaN where none is visible.

    Raises:
        ValueError: as `pixel_error`, or if a person with visible keypoints has no positive reference.

    Example:
        >>> pck([[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]], reference_px=[20.0])
        {'mean': 0.5, 'joints': [0.0, 1.0]}

    Paper: Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 2013.
    """
    relative, visible = _relative_distances(predicted, truth, visible, reference_px)
    return _means(relative <= threshold, visible)


def auc(predicted, truth, visible, reference_px, max_threshold=0.5, thresholds=None):
    """The area under the curve of `pck` over its threshold, as a share of the whole.

    Args:
        predicted, truth, visible, reference_px: as of `pck`.
        max_threshold: where the curve ends. The area from 0 to there is exact: the curve is a staircase.
        thresholds: the mean of the curve at these instead; mmpose's AUC is `np.arange(20) / 20` with 30 px.

    Returns:
        {"mean": over all visible keypoints, "joints": K of them}, in [0, 1]; NaN where none is visible.

    Raises:
        ValueError: as `pck`.

    Example:
        >>> auc([[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]], reference_px=20.0)
        {'mean': 0.75, 'joints': [0.5, 1.0]}
    """
    relative, visible = _relative_distances(predicted, truth, visible, reference_px)
    if thresholds is None:
        return _means(np.clip(1 - relative / max_threshold, 0, 1), visible)
    return _means(np.mean([relative <= threshold for threshold in thresholds], axis=0), visible)


# The joints of MPII, and the rows of its tables. Pelvis and thorax do not count in the mean, the upper neck does.
MPII_GROUPS = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
MPII_UNCOUNTED = (6, 7)


def pckh(predicted, truth, visible, head_size_px, threshold=0.5, groups=None, uncounted=MPII_UNCOUNTED):
    """The share of keypoints within half a head size, as MPII's tables report it.

    A group is the plain mean of its joints, "Mean" that of all visible keypoints whose joint is not in `uncounted`.
    What the published tables call Mean@0.1 was measured at 0.11; it is "Mean@0.11" here, and "Mean@0.1" is at 0.1.

    Args:
        predicted, truth, visible: as of `pixel_error`, K = 16 in MPII's order unless `groups` says otherwise.
        head_size_px: [N] px, of `head_size`.
        threshold: the part of a head size; a keypoint exactly so far away is right.
        groups: the rows: name -> indices of joints. None: `MPII_GROUPS`.
        uncounted: indices of joints that are left out of the means.

    Returns:
        {group: share, ..., "Mean": share, "Mean@0.1": share, "Mean@0.11": share}, in [0, 1]; NaN where none is
        visible.

    Raises:
        ValueError: as `pck`, or if a group has a joint that is none.

    Example:
        >>> pckh(keypoints, truth, visible, head_size(head_boxes))["Mean"]
        0.8829

    Paper: Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014.
    """
    relative, visible = _relative_distances(predicted, truth, visible, head_size_px)
    groups, num_joints = MPII_GROUPS if groups is None else groups, visible.shape[1]
    for joint in (*sum((tuple(joints) for joints in groups.values()), ()), *uncounted):
        if not 0 <= joint < num_joints:
            raise ValueError(
                f"groups and uncounted must name joints 0 to {num_joints - 1}, got {joint}; give your skeleton's own."
            )
    joints = np.asarray(_means(relative <= threshold, visible)["joints"])
    figures = {}
    for name, members in groups.items():
        shares = joints[list(members)]
        shares = shares[~np.isnan(shares)]
        figures[name] = float(shares.mean()) if shares.size else float("nan")
    counted = np.delete(np.arange(num_joints), list(uncounted))
    for name, limit in (("Mean", threshold), ("Mean@0.1", 0.1), ("Mean@0.11", 0.11)):
        figures[name] = _means(relative[:, counted] <= limit, visible[:, counted])["mean"]
    return figures


def head_size(head_boxes):
    """MPII's head size: 0.6 of the diagonal of the head's box, [N, 4] px (left, top, right, bottom) -> [N] px."""
    head_boxes = np.asarray(head_boxes, "float64")
    return 0.6 * np.linalg.norm(head_boxes[..., 2:] - head_boxes[..., :2], axis=-1)


def _means(values, counted):
    """The mean of what counts, over all and by column: [N, K], [N, K] -> {"mean": float, "joints": K floats}."""
    total, counts = np.where(counted, values, 0).sum(axis=0, dtype="float64"), counted.sum(axis=0)
    joints = [float(t / n) if n else float("nan") for t, n in zip(total, counts, strict=True)]
    return {"mean": float(total.sum() / counts.sum()) if counts.any() else float("nan"), "joints": joints}


def _distances(predicted, truth, visible):
    """Distances, 0 where a keypoint is not visible, and whether it is: [N, K] px, [N, K] bool."""
    predicted, truth = np.asarray(predicted, "float64"), np.asarray(truth, "float64")
    visible = np.asarray(visible) > 0
    if predicted.ndim != 3 or predicted.shape != truth.shape or visible.shape != truth.shape[:2]:
        raise ValueError(
            "keypoints must be [N, K, 2], predicted and true ones alike, and visible [N, K], "
            f"got {predicted.shape}, {truth.shape} and {visible.shape}."
        )
    difference = np.where(visible[..., None], predicted - truth, 0)
    _refuse_unnumbered("keypoints that count", difference)
    return np.linalg.norm(difference, axis=-1), visible


def _relative_distances(predicted, truth, visible, reference_px):
    distances, visible = _distances(predicted, truth, visible)
    reference_px = np.asarray(reference_px, "float64")
    if reference_px.shape not in ((), (1,), (len(distances),)):
        raise ValueError(
            f"the reference length must be [N] or one, got {reference_px.shape} for {len(distances)} people."
        )
    reference_px = np.broadcast_to(reference_px, len(distances))
    known = np.isfinite(reference_px) & (reference_px > 0)
    lacking = np.flatnonzero(visible.any(axis=1) & ~known)
    if lacking.size:
        raise ValueError(
            f"the reference length must be positive, got {reference_px[lacking[0]]} px for person {lacking[0]} "
            f"({lacking.size} such); leave people of unknown size out."
        )
    return distances / np.where(known, reference_px, 1.0)[:, None], visible


def _refuse_unnumbered(what, values):
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"{what} must be numbers, got {count} that are NaN or infinite; look where they come from.")


# ----------------------------------------------------------------------------------------- object keypoint similarity
def oks(predicted, truth, visible, areas, sigmas, boxes=None):
    """The object keypoint similarity of predictions to true people, as COCO measures it.

    It is the mean over a person's labelled keypoints of exp(-d^2 / (2 area (2 sigma)^2)). A person without any is
    measured by how far the prediction leaves its box, widened by its own size on every side: COCO ignores such people,
    and the predictions that fit them.

    Args:
        predicted: [D, K, 2] px.
        truth: [G, K, 2] px.
        visible: [G, K], above 0 where a keypoint is labelled.
        areas: [G] of the people (COCO: of their silhouettes), px^2.
        sigmas: [K] (`Skeleton.sigmas`).
        boxes: [G, 4] px, left, top, right, bottom; only needed for people without keypoints.

    Returns:
        [D, G] in [0, 1].

    Raises:
        ValueError: if the shapes do not fit together, a number is NaN, or a person has neither keypoints nor box.

    Example:
        >>> oks(keypoints, keypoints, visible, areas, COCO.sigmas).diagonal()
        array([1., 1., 1.])

    Paper: Ruggero Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017.
    """
    sigmas = np.asarray(sigmas, "float64")
    num_joints = len(sigmas)
    predicted = _points(predicted, num_joints, "predicted")
    visible = np.asarray(visible).reshape(-1, num_joints) > 0
    truth = np.where(visible[..., None], np.asarray(truth, "float64").reshape(-1, num_joints, 2), 0)
    truth, areas = _points(truth, num_joints, "true"), _numbers(areas, len(truth), "areas")
    similarities = np.zeros((len(predicted), len(truth)))
    for g in range(len(truth)):
        labelled = visible[g] if visible[g].any() else np.ones(num_joints, bool)
        if visible[g].any():
            offsets = predicted - truth[g]
        elif boxes is not None:
            offsets = _beyond(predicted, np.asarray(boxes[g], "float64"))
        else:
            raise ValueError(f"a person without keypoints is measured by its box, got none for {g}; give boxes.")
        exponents = _exponents(offsets, areas[g], sigmas)[:, labelled]
        similarities[:, g] = np.exp(-exponents).mean(axis=1)
    return similarities


def oks_between(keypoints, areas, sigmas, keypoint_scores=None, score_threshold=None, published=False):
    """The object keypoint similarity of predictions to each other, over the mean of the two areas.

    Args:
        keypoints: [N, K, 2] px.
        areas: [N] of the people, px^2.
        sigmas: [K] (`Skeleton.sigmas`).
        keypoint_scores: [N, K].
        score_threshold: only keypoints with a score above it in both people count; where none is left, the
            similarity is 0. None: all keypoints count.
        published: whether only the second person's scores are looked at, as the published code does by mistake.

    Returns:
        [N, N] in [0, 1], first person by row, second by column.

    Raises:
        ValueError: if the shapes do not fit together, or a number is NaN.

    Example:
        >>> oks_between(keypoints, areas, COCO.sigmas)[0, 1] > 0.9  # the same person twice

    Paper: Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild", CVPR 2017.
    """
    sigmas = np.asarray(sigmas, "float64")
    keypoints = _points(keypoints, len(sigmas), "predicted")
    areas = _numbers(areas, len(keypoints), "areas")
    if score_threshold is None:
        sure = np.ones(keypoints.shape[:2], bool)
    elif keypoint_scores is None:
        raise ValueError(f"score_threshold needs keypoint_scores, got {score_threshold} and none; give both.")
    else:
        sure = np.asarray(keypoint_scores).reshape(keypoints.shape[:2]) > score_threshold
    similarities = np.zeros((len(keypoints), len(keypoints)))
    for first in range(len(keypoints)):
        mean_areas = (areas[first] + areas)[:, None] / 2
        similarity = np.exp(-_exponents(keypoints - keypoints[first], mean_areas, sigmas))  # [N, K]
        counted = sure if published else sure & sure[first]
        similarities[first] = (similarity * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return similarities


def oks_nms(keypoints, scores, areas, sigmas, threshold=0.9, **similarity):
    """Keeps, best first, the predictions that are not too similar to a better one.

    Args:
        keypoints: [N, K, 2] px, of one image.
        scores: [N] of the people; of equals the first counts as better.
        areas: [N] of the people, px^2; the published pipelines take the padded box's.
        sigmas: [K] (`Skeleton.sigmas`).
        threshold: a prediction of a greater similarity goes.
        **similarity: `keypoint_scores`, `score_threshold` and `published` of `oks_between`.

    Returns:
        The indices of those that stay, best first.

    Raises:
        ValueError: as `oks_between`.

    Example:
        >>> oks_nms(keypoints, [0.4, 0.9, 0.8], areas, COCO.sigmas)
        [1, 0]

    Paper: Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild", CVPR 2017.
    """
    similarities = oks_between(keypoints, areas, sigmas, **similarity)
    return _suppress(similarities, _numbers(scores, len(similarities), "scores"), threshold)


def soft_oks_nms(keypoints, scores, areas, sigmas, threshold=0.9, max_people=20, **similarity):
    """Ranks predictions, each one's score reduced by its similarity s to every better one: by exp(-s^2 / threshold).

    None is dropped but those beyond `max_people`. The published pipelines use the choice and the order only, and pass
    on the scores as they were.

    Args:
        keypoints, scores, areas, sigmas, **similarity: as of `oks_nms`.
        threshold: the smaller, the more similarity costs.
        max_people: how many stay at most.

    Returns:
        The indices of those that stay, best first, and their reduced scores.

    Raises:
        ValueError: as `oks_between`.

    Example:
        >>> soft_oks_nms(keypoints, [0.4, 0.9, 0.8], areas, COCO.sigmas)
        ([1, 0, 2], [0.9, 0.4, 0.263])

    Paper: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017.
    """
    similarities = oks_between(keypoints, areas, sigmas, **similarity)
    scores = _numbers(scores, len(similarities), "scores").copy()
    left, kept, reduced = list(range(len(scores))), [], []
    while left and len(kept) < max_people:
        best = max(left, key=scores.__getitem__)  # the first of equals
        left.remove(best)
        kept.append(best)
        reduced.append(float(scores[best]))
        scores *= np.exp(-(similarities[best] ** 2) / threshold)
    return kept, reduced


def box_nms(boxes, scores, threshold=0.5, published=False):
    """Keeps, best first, the boxes that do not overlap a better one too much.

    Args:
        boxes: [N, 4] px, left, top, right, bottom.
        scores: [N]; of equals the first counts as better.
        threshold: a box whose intersection over union with a better one is greater goes.
        published: whether a box includes both of its edges, a pixel more each way, as in the published code.

    Returns:
        The indices of those that stay, best first.

    Raises:
        ValueError: if a number is NaN, or there are not as many scores as boxes.

    Example:
        >>> box_nms([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.8, 0.9, 0.7])
        [1, 2]
    """
    boxes = np.asarray(boxes, "float64").reshape(-1, 4)
    _refuse_unnumbered("boxes", boxes)
    edge = 1.0 if published else 0.0
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2] + edge, 0)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.maximum(high - low + edge, 0).prod(axis=-1)  # [N, N]
    areas = sides.prod(axis=-1)
    union = areas[:, None] + areas - common
    overlaps = np.where(union > 0, common / np.where(union > 0, union, 1), 0)
    return _suppress(overlaps, _numbers(scores, len(boxes), "scores"), threshold)


def rescore(box_scores, keypoint_scores, threshold=0.2):
    """The score of a person: its box's, times the mean of the keypoint scores above a threshold.

    Args:
        box_scores: [N].
        keypoint_scores: [N, K].
        threshold: keypoints up to this score do not count.

    Returns:
        [N], 0 for a person without a keypoint above the threshold.

    Raises:
        ValueError: if a score is NaN, or there are not as many people.

    Example:
        >>> rescore([0.5], [[0.8, 0.6, 0.1]])
        array([0.35])

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    keypoint_scores = np.asarray(keypoint_scores, "float64")
    _refuse_unnumbered("scores", keypoint_scores)
    sure = keypoint_scores > threshold
    means = np.where(sure, keypoint_scores, 0).sum(axis=-1) / np.maximum(sure.sum(axis=-1), 1)
    return _numbers(box_scores, len(keypoint_scores), "scores") * means


def _exponents(offsets, areas, sigmas):
    squares = np.square(offsets).sum(axis=-1)
    return squares / (2 * sigmas) ** 2 / (areas + np.spacing(1)) / 2


def _beyond(points, box):
    """How far points lie outside a box that is widened by its own size on every side."""
    size = box[2:] - box[:2]
    return np.maximum(box[:2] - size - points, 0) + np.maximum(points - box[2:] - size, 0)


def _suppress(similarities, scores, threshold):
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left[0]
        kept.append(int(best))
        left = [other for other in left[1:] if similarities[best, other] <= threshold]
    return kept


def _points(points, num_joints, which):
    points = np.asarray(points, "float64")
    if points.size and (points.ndim != 3 or points.shape[1:] != (num_joints, 2)):
        raise ValueError(
            f"{which} keypoints must be [N, {num_joints}, 2] for {num_joints} sigmas, got {points.shape}; "
            "give the sigmas of their skeleton."
        )
    _refuse_unnumbered(f"{which} keypoints", points)
    return points.reshape(-1, num_joints, 2)


def _numbers(values, count, what):
    values = np.asarray(values, "float64").reshape(-1)
    if len(values) != count:
        raise ValueError(f"{what} must be one per person, got {len(values)} for {count} people.")
    _refuse_unnumbered(what, values)
    return values


# --------------------------------------------------------------------------------------------------------------- COCO
def coco_ap(
    ground_truth,
    detections,
    sigmas,
    nms=None,
    nms_threshold=0.9,
    image_ids=None,
    max_people=20,
    curves=False,
):
    """Average precision and recall over object keypoint similarities, by COCO's own evaluation (pycocotools).

    People are medium from 32^2 to 96^2 px^2 and large above; a detection's area is that of the box round its keypoints.
    Crowds and people without labelled keypoints are ignored, and so are the detections that fit them.

    Args:
        ground_truth: a file of COCO's format, its content, or arrays of A people: {"image_id": [A], "keypoints":
            [A, K, 2] px, "visibility": [A, K] (0: not labelled), "box": [A, 4] px (left, top, right, bottom)} and, if
            there are, "area": [A] px^2 (else the box's), "is_crowd": [A], "person_id": [A] (each once an image).
        detections: a file of COCO's results, its list, or arrays of N people: {"image_id": [N], "keypoints":
            [N, K, 2] px, "score": [N] (see `rescore`)} and, if there are, "area": [N] px^2 for `nms` (else of the box
            round the keypoints), "category_id": [N] (else that of the ground truth).
        sigmas: [K] (`Skeleton.sigmas`).
        nms: "oks" or "soft" drops double detections of an image as `oks_nms` or `soft_oks_nms` do. None: all stay.
        nms_threshold: of those.
        image_ids: the images that count, those with nobody in them too. None: those of the ground truth.
        max_people: how many detections of an image count, the best.
        curves: whether to add what the figures are means of.

    Returns:
        {"AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"}: floats in [0, 1], -1 where there is
        nobody to detect. With `curves`, also "precision" [10, 101, 3] by similarity 0.5 to 0.95, recall 0 to 1 and
        size (all, medium, large), and "recall" [10, 3].

    Raises:
        ValueError: if something is missing, misshapen or NaN, or a detection lies in an image that does not count.

    Example:
        >>> coco_ap("person_keypoints_val2017.json", detections, skeletons.COCO.sigmas, nms="oks")["AP"]
        0.704

    Paper: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
    """
    sigmas = np.asarray(sigmas, "float64").reshape(-1)
    truth = _true_people(ground_truth, sigmas, image_ids)
    people = _detected_people(detections, sigmas, truth)
    if nms is not None:
        people = _without_doubles(people, sigmas, nms, nms_threshold)
    evaluation = _evaluate(truth, people, sigmas, max_people)
    precision, recall = evaluation["precision"][..., -1], evaluation["recall"][..., -1]  # [T, R, C, A], [T, C, A]
    figures = {}
    for prefix, values in (("AP", precision), ("AR", recall)):
        parts = values[..., 0], values[0, ..., 0], values[5, ..., 0], values[..., 1], values[..., 2]
        ends = ("", "50", "75", "m", "l")
        figures |= {f"{prefix}{end}": float(_known_mean(part)) for end, part in zip(ends, parts, strict=True)}
    if curves:
        figures |= {"precision": _known_mean(precision, axis=2), "recall": _known_mean(recall, axis=1)}
    return figures


def coco_results(detections, category_id=1, decimals=None):
    """Detections as the list that COCO's server takes as JSON.

    Args:
        detections: {"image_id": [N], "keypoints": [N, K, 2] px, "keypoint_scores": [N, K], "score": [N]}.
        category_id: COCO's number of people.
        decimals: to which coordinates are rounded, for a smaller file. None: not at all.

    Returns:
        [{"image_id": int, "category_id": int, "keypoints": [x, y, score, x, ...], "score": float}, ...].

    Raises:
        ValueError: if something is missing, misshapen or NaN.

    Example:
        >>> json.dump(coco_results(detections), open("results.json", "w"))
    """
    _require(detections, ("image_id", "keypoints", "keypoint_scores", "score"), "detections")
    image_ids = np.asarray(detections["image_id"]).reshape(-1)
    keypoints = np.asarray(detections["keypoints"], "float64")
    keypoint_scores = np.asarray(detections["keypoint_scores"], "float64")
    if len(keypoints) != len(image_ids) or keypoints.shape != (*keypoint_scores.shape, 2):
        raise ValueError(
            f"detections must have keypoints [N, K, 2] and keypoint_scores [N, K], got {keypoints.shape} and "
            f"{keypoint_scores.shape} for {len(image_ids)} image_ids."
        )
    _refuse_unnumbered("detections", np.concatenate([keypoints, keypoint_scores[..., None]], axis=-1))
    keypoints = keypoints if decimals is None else keypoints.round(decimals)
    triples = np.concatenate([keypoints, keypoint_scores[..., None]], axis=-1).reshape(len(keypoints), -1)
    scores = _numbers(detections["score"], len(keypoints), "scores")
    return [
        {"image_id": int(image), "category_id": int(category_id), "keypoints": row.tolist(), "score": float(score)}
        for image, row, score in zip(image_ids, triples, scores, strict=True)
    ]


def _true_people(ground_truth, sigmas, image_ids):
    """Any form of ground truth as the content of a file of COCO's, people numbered from 1."""
    if isinstance(ground_truth, (str, pathlib.Path)):
        ground_truth = json.loads(pathlib.Path(ground_truth).read_text())
    if "annotations" in ground_truth:
        people = [_true_person(a) for a in ground_truth["annotations"]]
        known = [int(image["id"]) for image in ground_truth.get("images", ())]
        categories = [int(c["id"]) for c in ground_truth.get("categories", ())]
    else:
        people, known, categories = _people_of_arrays(ground_truth, len(sigmas)), [], []
    known = sorted({*known, *(person["image_id"] for person in people)})
    images = known if image_ids is None else sorted({int(i) for i in np.asarray(image_ids).reshape(-1)})
    if not images:
        raise ValueError("ground_truth must have images, got none; give image_ids if there is nobody in them.")
    people = [person | {"id": number} for number, person in enumerate(people, start=1)]  # 0 would mean "not matched"
    for person in people:
        _check_true_person(person, len(sigmas))
    categories = sorted({*categories, *(person["category_id"] for person in people)} or {1})
    return {
        "images": [{"id": i} for i in images],
        "categories": [{"id": i} for i in categories],
        "annotations": [person for person in people if person["image_id"] in set(images)],
    }


def _true_person(annotation):
    _require(annotation, ("image_id", "keypoints", "bbox"), "annotations")
    visibility = np.asarray(annotation["keypoints"], "float64")[2::3]
    width, height = annotation["bbox"][2:]
    return {
        "image_id": int(annotation["image_id"]),
        "category_id": int(annotation.get("category_id", 1)),
        "keypoints": annotation["keypoints"],
        "num_keypoints": int(annotation.get("num_keypoints", (visibility > 0).sum())),
        "bbox": [float(value) for value in annotation["bbox"]],
        "area": float(annotation.get("area", width * height)),
        "iscrowd": int(annotation.get("iscrowd", 0)),
    }


def _people_of_arrays(arrays, num_joints):
    _require(arrays, ("image_id", "keypoints", "visibility", "box"), "ground_truth")
    count = len(np.asarray(arrays["image_id"]).reshape(-1))
    visibility = np.asarray(arrays["visibility"], "float64").reshape(count, -1)
    keypoints, boxes = np.asarray(arrays["keypoints"], "float64"), np.asarray(arrays["box"], "float64").reshape(-1, 4)
    if keypoints.shape != (*visibility.shape, 2) or len(boxes) != count or visibility.shape[1:] != (num_joints,):
        raise ValueError(
            f"ground_truth must have keypoints [A, {num_joints}, 2], visibility [A, {num_joints}] and box [A, 4] for "
            f"{num_joints} sigmas and {count} image_ids, got {keypoints.shape}, {visibility.shape} and {boxes.shape}."
        )
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = _numbers(arrays.get("area", sizes.prod(axis=-1)), count, "areas")
    crowds = _numbers(arrays.get("is_crowd", np.zeros(count)), count, "is_crowd")
    labels = np.concatenate([np.where(visibility[..., None] > 0, keypoints, 0), visibility[..., None]], axis=-1)
    people = [
        {
            "image_id": int(image),
            "category_id": 1,
            "keypoints": label.reshape(-1).tolist(),
            "num_keypoints": int((label[:, 2] > 0).sum()),
            "bbox": [*box[:2].tolist(), *size.tolist()],
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for image, label, box, size, area, crowd in zip(
            np.asarray(arrays["image_id"]).reshape(-1), labels, boxes, sizes, areas, crowds, strict=True
        )
    ]
    _refuse_repetitions(people, arrays.get("person_id"))
    return people


def _check_true_person(person, num_joints):
    where = f"of a person in image {person['image_id']}"
    triples = np.asarray(person["keypoints"], "float64")
    if triples.size != 3 * num_joints:
        raise ValueError(
            f"keypoints {where} must be 3 x {num_joints} numbers for {num_joints} sigmas, got {triples.size}; "
            "give the sigmas of their skeleton."
        )
    _refuse_unnumbered(f"keypoints, box and area {where}", np.array([*triples, *person["bbox"], person["area"]]))
    if person["num_keypoints"] and not person["iscrowd"] and person["area"] <= 0:
        raise ValueError(f"the area {where} must be positive, got {person['area']}; give that of the box.")


def _refuse_repetitions(people, person_ids):
    if person_ids is None:
        return
    person_ids = np.asarray(person_ids).reshape(-1).tolist()
    seen = set()
    for person, person_id in zip(people, person_ids, strict=True):
        if (person["image_id"], person_id) in seen:
            raise ValueError(
                f"each person must be given once, got {person_id} of image {person['image_id']} again; "
                "evaluate every element of the data set once."
            )
        seen.add((person["image_id"], person_id))


def _detected_people(detections, sigmas, truth):
    """Any form of detections as a list of {"image_id", "category_id", "keypoints" [K, 2], "score", "area"}."""
    if isinstance(detections, (str, pathlib.Path)):
        detections = json.loads(pathlib.Path(detections).read_text())
    categories = {category["id"] for category in truth["categories"]}
    if isinstance(detections, dict):
        people = _detections_of_arrays(detections, len(sigmas), categories)
    else:
        people = [_detection_of_result(result, len(sigmas)) for result in detections]
    images = {image["id"] for image in truth["images"]}
    for key, allowed, remedy in (
        ("image_id", images, "give image_ids, or leave the others out"),
        ("category_id", categories, "leave the others out"),
    ):
        strangers = sorted({person[key] for person in people} - allowed)
        if strangers:
            raise ValueError(f"a detection's {key} must be one of the ground truth's, got {strangers[0]}; {remedy}.")
    return people


def _detections_of_arrays(arrays, num_joints, categories):
    _require(arrays, ("image_id", "keypoints", "score"), "detections")
    image_ids = np.asarray(arrays["image_id"]).reshape(-1)
    keypoints = _points(arrays["keypoints"], num_joints, "detected")
    if len(keypoints) != len(image_ids):
        raise ValueError(f"detections must have one image_id each, got {len(image_ids)} for {len(keypoints)} people.")
    if len(categories) > 1 and "category_id" not in arrays:
        raise ValueError(f"detections must have a category_id where there are {len(categories)} categories, got none.")
    category_ids = arrays.get("category_id", np.full(len(keypoints), min(categories)))
    columns = (
        image_ids,
        np.asarray(category_ids).reshape(-1),
        keypoints,
        _numbers(arrays["score"], len(keypoints), "scores"),
        _numbers(arrays.get("area", _extent(keypoints)), len(keypoints), "areas"),
    )
    return [
        {"image_id": int(i), "category_id": int(c), "keypoints": points, "score": float(s), "area": float(a)}
        for i, c, points, s, a in zip(*columns, strict=True)
    ]


def _detection_of_result(result, num_joints):
    _require(result, ("image_id", "keypoints", "score"), "detections")
    triples = np.asarray(result["keypoints"], "float64")
    if triples.size != 3 * num_joints:
        raise ValueError(
            f"a detection's keypoints must be 3 x {num_joints} numbers for {num_joints} sigmas, got {triples.size}; "
            "give the sigmas of their skeleton."
        )
    keypoints = triples.reshape(-1, 3)[:, :2]
    _refuse_unnumbered("detected keypoints and scores", np.append(keypoints, result["score"]))
    return {
        "image_id": int(result["image_id"]),
        "category_id": int(result.get("category_id", 1)),
        "keypoints": keypoints,
        "score": float(result["score"]),
        "area": float(_extent(keypoints[None])[0]),
    }


def _without_doubles(people, sigmas, nms, threshold):
    """What non-maximum suppression leaves of the detections of each image and category."""
    if nms not in ("oks", "soft"):
        raise ValueError(f'nms must be "oks", "soft" or None, got {nms!r}.')
    groups = {}
    for person in people:
        groups.setdefault((person["image_id"], person["category_id"]), []).append(person)
    left = []
    for group in groups.values():
        keypoints, scores, areas = ([person[key] for person in group] for key in ("keypoints", "score", "area"))
        if nms == "oks":
            kept = oks_nms(keypoints, scores, areas, sigmas, threshold)
        else:
            kept, _ = soft_oks_nms(keypoints, scores, areas, sigmas, threshold)
        left.extend(group[index] for index in kept)
    return left


def _evaluate(truth, people, sigmas, max_people):
    """COCOeval's arrays, for its own thresholds: precision [T, R, C, A, 1] and recall [T, C, A, 1]."""
    results = [
        {
            "id": number,
            "image_id": person["image_id"],
            "category_id": person["category_id"],
            "keypoints": np.insert(person["keypoints"], 2, 1, axis=-1).reshape(-1),  # x, y and a 1 nobody reads
            "score": person["score"],
            "area": float(_extent(person["keypoints"][None])[0]),  # whatever the area for suppression was
        }
        for number, person in enumerate(people, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        indexed = [pycocotools.coco.COCO(), pycocotools.coco.COCO()]
        for index, annotations in zip(indexed, (truth["annotations"], results), strict=True):
            index.dataset = truth | {"annotations": annotations}
            index.createIndex()
        evaluation = pycocotools.cocoeval.COCOeval(*indexed, iouType="keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.params.maxDets = [max_people]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def _extent(keypoints):
    """The area of the box round the keypoints: [N, K, 2] -> [N]."""
    return np.ptp(keypoints, axis=1).prod(axis=-1)


def _known_mean(values, axis=None):
    """The mean of what COCOeval measured; -1 where it measured nothing."""
    known = values > -1
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=axis) / np.maximum(count, 1), -1.0)


def _require(mapping, keys, what):
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise ValueError(f"{what} must have {', '.join(keys)}, got none of {', '.join(missing)}; add it.")


# ------------------------------------------------------------------------------------------------------ poses in space
@keras.saving.register_keras_serializable("kerapose")
class MeanPerJointError(keras.metrics.Mean):
    """The mean distance of predicted joints from the true ones in millimetres: MPJPE, to watch in `fit`.

    Args:
        name: of the metric.

    Inputs of `update_state`: true and predicted poses [B, ..., J, 3] alike, metres; optional weights [B], or [B, T] as
    the mask of a batch of unequal sequences has it.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> model.compile(optimizer="adam", loss=MPJPE(), metrics=[MeanPerJointError()])
    """

    def __init__(self, name="mpjpe_mm", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        first, second = tuple(y_true.shape), tuple(y_pred.shape)
        if len(first) != len(second) or any(a != b and None not in (a, b) for a, b in zip(first, second, strict=True)):
            raise ValueError(
                f"poses must be [B, ..., J, 3], true and predicted ones alike, got {first} and {second}; "
                "check the frames that the network predicts."
            )
        distances = ops.sqrt(ops.sum(ops.square(y_true - y_pred), axis=-1))  # [B, ..., J]
        return super().update_state(1000.0 * distances, sample_weight)


def mpjpe(predicted, truth):
    """The mean per-joint position error: "protocol 1".

    Args:
        predicted: [..., J, 3], metres, root-relative.
        truth: [..., J, 3], metres, root-relative.

    Returns:
        float, metres.

    Raises:
        ValueError: if the shapes differ or are empty, or a coordinate is NaN or infinite: leave frames out whose true
            pose is not known.

    Example:
        >>> mpjpe([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        2.5

    Paper: Ionescu et al., "Human3.6M: Large Scale Datasets and Predictive Methods for 3D Human Sensing in Natural
    Environments", TPAMI 2014.
    """
    return float(_joint_errors(*_poses(predicted, truth)).mean())


def p_mpjpe(predicted, truth):
    """`mpjpe` after each frame is laid on the true one by scale, rotation and translation (Procrustes): "protocol 2".

    A mirrored prediction is not mirrored back.

    Args:
        predicted, truth: as of `mpjpe`.

    Returns:
        float, metres.

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> p_mpjpe(2.0 * truth + 1.0, truth)
        0.0
    """
    predicted, truth = _poses(predicted, truth)
    return float(_joint_errors(_moved(alignment.align, predicted, truth), truth).mean())


def n_mpjpe(predicted, truth):
    """`mpjpe` after each frame is brought to the size of the true one: "protocol 3".

    Args:
        predicted, truth: as of `mpjpe`; the root stays where it is.

    Returns:
        float, metres.

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> n_mpjpe(2.0 * truth, truth)
        0.0

    Paper: Rhodin et al., "Unsupervised Geometry-Aware Representation for 3D Human Pose Estimation", ECCV 2018.
    """
    predicted, truth = _poses(predicted, truth)
    return float(_joint_errors(_moved(alignment.scale_to, predicted, truth), truth).mean())


def mpjve(predicted, truth):
    """The mean per-joint velocity error: that of the differences from each frame to the next.

    Args:
        predicted: [T, J, 3], the frames of one sequence in order, metres.
        truth: [T, J, 3], metres.

    Returns:
        float, metres a frame (times fps: metres a second).

    Raises:
        ValueError: as `mpjpe`, or if there are several sequences or less than two frames.

    Example:
        >>> mpjve(1.0 + truth, truth)
        0.0

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training",
    CVPR 2019.
    """
    predicted, truth = _poses(predicted, truth)
    if truth.ndim != 3 or len(truth) < 2:
        raise ValueError(
            f"velocities need one sequence [T, J, 3] of two frames or more, got {truth.shape}; "
            "hand in one sequence after the other."
        )
    return float(_joint_errors(np.diff(predicted, axis=0), np.diff(truth, axis=0)).mean())


def pck_3d(predicted, truth, threshold_m=0.15):
    """The share of joints that are less than a threshold away.

    Args:
        predicted, truth: as of `mpjpe`.
        threshold_m: metres; a joint exactly so far away is wrong, as published.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> pck_3d([[0.0, 0.0, 0.0], [0.0, 0.1, 0.2]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        0.5

    Paper: Mehta et al., "Monocular 3D Human Pose Estimation In The Wild Using Improved CNN Supervision", 3DV 2017.
    """
    return float((_joint_errors(*_poses(predicted, truth)) < threshold_m).mean())


# 0 to 150 mm in steps of 5 mm, as in MPI-INF-3DHP's evaluation. At 0 no joint is right, so that 30/31 is perfect.
AUC_THRESHOLDS_M = tuple(millimetres / 1000 for millimetres in range(0, 151, 5))


def auc_3d(predicted, truth, thresholds_m=AUC_THRESHOLDS_M):
    """The area under the curve of `pck_3d`, as the mean over thresholds.

    Args:
        predicted, truth: as of `mpjpe`.
        thresholds_m: metres.

    Returns:
        float in [0, 1]; 30/31 of exact poses with the published thresholds, whose first is 0.

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> auc_3d(truth, truth)
        0.9677419354838710

    Paper: as of `pck_3d`.
    """
    errors = _joint_errors(*_poses(predicted, truth))
    return float(np.mean([(errors < threshold).mean() for threshold in thresholds_m]))


LIFTING_FIGURES = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck_150mm", "auc_3d")


def lifting_metrics(sequences):
    """All figures of lifted sequences, action by action and their mean, as the published protocol has them.

    Within an action a sequence counts by its frames; the total is the plain mean of the actions. Velocities are taken
    inside of sequences; one of a single frame has none and does not count there.

    Args:
        sequences: an iterable of dicts {"predicted": [T, J, 3], "truth": [T, J, 3], both metres and root-relative,
            "action": str, "name": str, optional, for errors}.

    Returns:
        {"mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm" (a frame), "pck_150mm", "auc_3d": floats,
        "actions": {action: the same figures}}. NaN where no sequence has a velocity.

    Raises:
        ValueError: as `mpjpe`, with the sequence's name, or if there is no sequence.

    Example:
        >>> figures = lifting_metrics([{"predicted": poses, "truth": truth, "action": "Walking"}])
        >>> figures["mpjpe_mm"], figures["actions"]["Walking"]["mpjpe_mm"]
        (46.8, 46.8)

    Paper: Pavllo et al., CVPR 2019.
    """
    rows = {}  # action -> [(figures [F], weights [F])]
    for number, sequence in enumerate(sequences):
        try:
            rows.setdefault(sequence["action"], []).append(_sequence_figures(sequence["predicted"], sequence["truth"]))
        except ValueError as error:
            raise ValueError(f"sequence {sequence.get('name', number)}: {error}") from None
    if not rows:
        raise ValueError("sequences must hold at least one, got none; check the split and its subjects.")
    actions = {}
    for action, of_action in rows.items():
        values, weights = np.array(of_action).swapaxes(0, 1)  # [N, F] each
        counts = weights.sum(axis=0)
        totals = np.where(weights > 0, values * weights, 0.0).sum(axis=0)
        actions[action] = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    columns = np.array(list(actions.values())).T
    known = [column[~np.isnan(column)] for column in columns]
    total = [float(column.mean()) if column.size else float("nan") for column in known]
    figures = {action: dict(zip(LIFTING_FIGURES, row.tolist(), strict=True)) for action, row in actions.items()}
    return dict(zip(LIFTING_FIGURES, total, strict=True)) | {"actions": figures}


def _sequence_figures(predicted, truth):
    """`LIFTING_FIGURES` of one sequence [T, J, 3], and the frames that each counts for."""
    predicted, truth = _poses(predicted, truth)
    if truth.ndim != 3:
        raise ValueError(f"a sequence must be [T, J, 3], got {truth.shape}; hand in one after the other.")
    num_frames = len(truth)
    moves = num_frames > 1
    values = (
        1000 * mpjpe(predicted, truth),
        1000 * p_mpjpe(predicted, truth),
        1000 * n_mpjpe(predicted, truth),
        1000 * mpjve(predicted, truth) if moves else 0.0,
        pck_3d(predicted, truth),
        auc_3d(predicted, truth),
    )
    weights = [num_frames] * len(values)
    weights[LIFTING_FIGURES.index("mpjve_mm")] = num_frames if moves else 0
    return values, weights


def _poses(predicted, truth):
    """Predicted and true poses [..., J, 3] float64 that can be compared."""
    predicted, truth = np.asarray(predicted, "float64"), np.asarray(truth, "float64")
    if truth.ndim < 2 or truth.shape[-1] != 3 or predicted.shape != truth.shape:
        raise ValueError(
            f"poses must be [..., J, 3], predicted and true ones alike, got {predicted.shape} and {truth.shape}; "
            "give the same frames and joints."
        )
    if not truth.size:
        raise ValueError(f"poses must have at least one frame and joint, got {truth.shape}; leave empty sequences out.")
    for what, poses in (("true poses", truth), ("predicted poses", predicted)):
        _refuse_unnumbered(what, poses)
    return predicted, truth


def _joint_errors(predicted, truth):
    return np.linalg.norm(predicted - truth, axis=-1)


def _moved(function, predicted, truth):
    """What a function of tensors makes of the prediction."""
    return np.asarray(ops.convert_to_numpy(function(predicted, truth)), "float64")
