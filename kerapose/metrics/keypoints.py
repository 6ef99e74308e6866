"""Figures of keypoints in images: peaks of heatmaps, distances in pixels, PCK, its AUC, and PCKh."""

import typing
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from kerapose.types import Array, ArrayLike, Config, Tensor


class _RightJoints(keras.metrics.Metric):
    """The share of joints that were found, averaged over those that occur."""

    def __init__(self, threshold, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.built = False  # how many joints there are, the first batch shows

    def build(self, num_joints: int) -> None:
        shape = {"shape": (num_joints,), "initializer": "zeros"}
        self.correct = self.add_variable(name="correct", **shape)
        self.total = self.add_variable(name="total", **shape)
        self.built = True

    def _count(self, tenths, counts, sample_weight):
        """Adds up errors in tenths of the crop, [B, K, 2], where joints count, [B, K], by their weights, if any."""
        if not self.built:
            self.build(counts.shape[1])
        counts = ops.cast(counts, "float32")
        if sample_weight is not None:
            weights = ops.cast(sample_weight, "float32")
            weights = ops.squeeze(weights, -1) if len(weights.shape) == 3 else weights
            counts = counts * (weights if len(weights.shape) != 1 else weights[:, None])
        distance = ops.sqrt(ops.sum(ops.square(tenths), axis=-1))  # [B, K]
        right = ops.cast(distance < self.threshold, "float32")
        self.correct.assign_add(ops.sum(counts * right, axis=0))
        self.total.assign_add(ops.sum(counts, axis=0))

    def result(self) -> Tensor:
        if not self.built:
            return ops.zeros(())
        occurs = ops.cast(self.total > 0, self.total.dtype)
        accuracy = ops.divide_no_nan(self.correct, self.total)
        return ops.sum(accuracy) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self) -> Config:
        return super().get_config() | {"threshold": self.threshold}


@keras.saving.register_keras_serializable("kerapose")
class HeatmapPCK(_RightJoints):
    """The share of heatmap peaks near the true ones, averaged over the joints that occur: a figure to watch in `fit`.

    It reads peaks in whole heatmap pixels and knows neither people's sizes nor the image, so it is no substitute for
    `pck` or `coco_ap` of decoded keypoints. Its result equals `heatmap_accuracy` of all batches since the reset.

    Args:
        threshold: a peak is right if it lies less than this many tenths of the heatmap away.
        published: whether to count exactly as the published trainers do, with their quirks; see `heatmap_accuracy`.
        name: of the metric.

    Inputs of `update_state`: heatmaps [B, h, w, K]; predicted ones [B, h, w, K], or [B, S, h, w, K] of which the last
    stack counts; optional weights [B, K] or [B].

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import metrics
        >>> from kerapose.ops import heatmaps
        >>> maps, weights = heatmaps.encode(keypoints[:, 0], scores[:, 0], (240, 320), (60, 80))
        >>> accuracy = metrics.HeatmapPCK()  # for `model.compile(..., weighted_metrics=[...])`, too
        >>> accuracy.update_state(maps, maps, weights)
        >>> float(accuracy.result())
        1.0

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(self, threshold: float = 0.5, published: bool = True, name: str = "heatmap_pck", **kwargs: typing.Any):
        super().__init__(threshold, name, **kwargs)
        self.published = published

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = _last_stack(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred))
        (true, drawn), (predicted, _) = _peaks(y_true, ops), _peaks(y_pred, ops)
        unit = np.asarray(_unit(*y_pred.shape[1:3], self.published), "float32")
        self._count((predicted - true) / unit, _counted(true, drawn, self.published), sample_weight)

    def get_config(self) -> Config:
        return super().get_config() | {"published": self.published}


@keras.saving.register_keras_serializable("kerapose")
class CoordinatePCK(_RightJoints):
    """What `HeatmapPCK` is for heatmaps, for networks of coordinates or of SimCC: a figure to watch in `fit`.

    It is the share of keypoints near the true ones in the crop, averaged over the joints that occur.

    Args:
        threshold: a keypoint is right if it lies less than this many tenths of the crop away.
        name: of the metric.

    Inputs of `update_state`: labels of `data.crops`, [B, K, 2], or {"x": [B, K, bins], "y": [B, K, bins]} as they are
    encoded for SimCC; what the network gives, [B, K, 2], or [B, K, 4] whose sigmas are left out, or a dict likewise;
    optional weights [B, K] or [B], by which joints count.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import metrics
        >>> true, found = np.full((1, 2, 2), 0.5), np.array([[[0.52, 0.5], [0.58, 0.5]]])
        >>> accuracy = metrics.CoordinatePCK()  # for `model.compile(..., weighted_metrics=[...])` of coordinates, too
        >>> accuracy.update_state(true, found)
        >>> float(accuracy.result())
        0.5

    Paper: Toshev and Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014.
    """

    def __init__(self, threshold: float = 0.5, name: str = "coordinate_pck", **kwargs: typing.Any):
        super().__init__(threshold, name, **kwargs)

    def update_state(
        self,
        y_true: Tensor | dict[str, Tensor],
        y_pred: Tensor | dict[str, Tensor],
        sample_weight: Tensor | None = None,
    ) -> None:
        true, predicted = _shares(y_true), _shares(y_pred)
        if len(true.shape) != 3 or true.shape[1:] != predicted.shape[1:]:
            raise ValueError(
                "coordinates must be [B, K, 2], true and predicted ones of as many joints, or vectors of the codec "
                f"simcc, got {tuple(true.shape)} and {tuple(predicted.shape)}; check the codec and num_joints."
            )
        self._count((predicted - true) * 10, ops.ones_like(true[..., 0]), sample_weight)


def heatmap_accuracy(
    truth: Tensor, predicted: Tensor, threshold: float = 0.5, published: bool = True
) -> dict[str, typing.Any]:
    """Gives the share of heatmap peaks that lie near the true ones.

    The unit of distance is a tenth of the heatmap. The published rule has three quirks: errors along x are divided by
    the tenth of the height and those along y by the tenth of the width; a joint counts only if its true peak has both
    x > 1 and y > 1; and the threshold is 0.5, whatever the caller asked for (here it is the caller's). With
    ``published=False`` each axis has its own tenth, and every joint counts that was drawn.

    Args:
        truth: heatmaps [B, h, w, K].
        predicted: heatmaps [B, h, w, K], or [B, S, h, w, K] of which the last stack counts.
        threshold: a peak is right if it lies less than this many tenths of the heatmap away.
        published: whether the published rule holds.

    Returns:
        A dict: `mean`, the mean over the joints that occur; `joints`, K shares, NaN for a joint that does not occur;
        `num_joints`, how many occur; `keypoints` [B, K, 2], predicted peaks in heatmap pixels, (0, 0) where no value
        is positive.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import metrics
        >>> from kerapose.ops import heatmaps
        >>> maps, _ = heatmaps.encode(keypoints[:, 0], None, (240, 320), (60, 80))
        >>> moved, _ = heatmaps.encode(keypoints[:, 0] + [12.0, 0.0], None, (240, 320), (60, 80))  # 3 heatmap pixels
        >>> metrics.heatmap_accuracy(maps, moved)["mean"], metrics.heatmap_accuracy(maps, moved, 0.6)["mean"]
        (0.0, 1.0)

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


def _shares(answers):
    """Places as shares of the crop, [B, K, 2], of coordinates or of vectors: the first of their highest bins."""
    if not isinstance(answers, dict):
        return ops.cast(answers, "float32")[..., :2]
    vectors = [ops.convert_to_tensor(answers[axis]) for axis in ("x", "y")]
    places = [ops.cast(ops.argmax(vector, axis=-1), "float32") / vector.shape[-1] for vector in vectors]
    return ops.stack(places, axis=-1)


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


def pixel_error(predicted: ArrayLike, truth: ArrayLike, visible: ArrayLike) -> dict[str, float | list[float]]:
    """Gives the mean distance of predicted keypoints from the true ones.

    Args:
        predicted: [N, K, 2], pixels.
        truth: [N, K, 2], pixels; what it holds for a keypoint that is not visible does not matter.
        visible: [N, K], above 0 where a keypoint counts.

    Returns:
        A dict of `mean`, over all visible keypoints, and `joints`, K means; pixels, NaN where none is visible.

    Raises:
        ValueError: if the shapes do not fit together, or a keypoint that counts is NaN or infinite.

    Example:
        >>> from kerapose import metrics
        >>> metrics.pixel_error([[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]])
        {'mean': 2.5, 'joints': [5.0, 0.0]}
    """
    return _means(*_distances(predicted, truth, visible))


def pck(
    predicted: ArrayLike, truth: ArrayLike, visible: ArrayLike, reference_px: ArrayLike, threshold: float = 0.2
) -> dict[str, float | list[float]]:
    """Gives PCK, the percentage of correct keypoints: the share of those within a part of a reference length.

    Args:
        predicted: [N, K, 2], pixels.
        truth: [N, K, 2], pixels.
        visible: [N, K], above 0 where a keypoint counts.
        reference_px: [N] pixels, or one for all: the longer side of each person's box, the torso, the head (PCKh).
        threshold: the part of it; a keypoint exactly so far away is right.

    Returns:
        A dict of `mean`, over all visible keypoints, and `joints`, K shares; in [0, 1], NaN where none is visible.

    Raises:
        ValueError: as `pixel_error`, or if a person with visible keypoints has no positive reference.

    Example:
        >>> from kerapose import metrics
        >>> metrics.pck([[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]], reference_px=[20.0])
        {'mean': 0.5, 'joints': [0.0, 1.0]}

    Paper: Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 2013.
    """
    relative, visible = _relative_distances(predicted, truth, visible, reference_px)
    return _means(relative <= threshold, visible)


def auc(
    predicted: ArrayLike,
    truth: ArrayLike,
    visible: ArrayLike,
    reference_px: ArrayLike,
    max_threshold: float = 0.5,
    thresholds: ArrayLike | None = None,
) -> dict[str, float | list[float]]:
    """Gives the area under the curve of `pck` over its threshold, as a share of the whole.

    Args:
        predicted: [N, K, 2], pixels.
        truth: [N, K, 2], pixels.
        visible: [N, K], above 0 where a keypoint counts.
        reference_px: [N] pixels, or one for all, as of `pck`.
        max_threshold: where the curve ends. The curve has steps, so that the area from 0 to there is exact.
        thresholds: takes the mean of the curve at these instead. MMPose's AUC is that of ``np.arange(20) / 20`` with a
            reference of 30 pixels.

    Returns:
        A dict of `mean`, over all visible keypoints, and `joints`, K areas; in [0, 1], NaN where none is visible.

    Raises:
        ValueError: as `pck`.

    Example:
        >>> from kerapose import metrics
        >>> metrics.auc([[[3.0, 4.0], [1.0, 1.0]]], [[[0.0, 0.0], [1.0, 1.0]]], [[2, 1]], reference_px=20.0)
        {'mean': 0.75, 'joints': [0.5, 1.0]}
    """
    relative, visible = _relative_distances(predicted, truth, visible, reference_px)
    if thresholds is None:
        return _means(np.clip(1 - relative / max_threshold, 0, 1), visible)
    return _means(np.mean([relative <= threshold for threshold in thresholds], axis=0), visible)


#: The rows of MPII's tables, and their joints.
MPII_GROUPS = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
#: Pelvis and thorax, which do not count in MPII's mean; the upper neck does.
MPII_UNCOUNTED = (6, 7)


def pckh(
    predicted: ArrayLike,
    truth: ArrayLike,
    visible: ArrayLike,
    head_size_px: ArrayLike,
    threshold: float = 0.5,
    groups: Mapping[str, Sequence[int]] | None = None,
    uncounted: Sequence[int] = MPII_UNCOUNTED,
) -> dict[str, float]:
    """Gives PCKh, the share of keypoints within half a head size, as MPII's tables report it.

    The figure of a group is the plain mean of its joints, "Mean" that of all visible keypoints whose joint is not in
    `uncounted`. What the published tables call Mean@0.1 was measured at 0.11; here that is "Mean@0.11", and "Mean@0.1"
    is measured at 0.1.

    Args:
        predicted: [N, K, 2], pixels; K is 16, in MPII's order, unless `groups` says otherwise.
        truth: [N, K, 2], pixels.
        visible: [N, K], above 0 where a keypoint counts.
        head_size_px: [N] pixels, of `head_size`.
        threshold: the part of a head size; a keypoint exactly so far away is right.
        groups: a dict of indices of joints by the name of the row. None: `MPII_GROUPS`.
        uncounted: indices of joints that are left out of the means.

    Returns:
        A dict of the share of each group, of "Mean", "Mean@0.1" and "Mean@0.11"; in [0, 1], NaN where none is visible.

    Raises:
        ValueError: as `pck`, or if a group has a joint that is none.

    Example:
        >>> from kerapose import metrics
        >>> truth = np.zeros((1, 16, 2)) + 50.0
        >>> predicted = truth.copy()
        >>> predicted[0, 9] += 20.0  # the top of the head is wrong
        >>> figures = metrics.pckh(predicted, truth, np.ones((1, 16)), head_size_px=[30.0])
        >>> figures["Head"], figures["Wrist"], figures["Mean"]  # 13 of 14
        (0.0, 1.0, 0.93)

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


def head_size(head_boxes: ArrayLike) -> Array:
    """Gives MPII's head size: 0.6 of the diagonal of the head's box.

    Args:
        head_boxes: [N, 4] left, top, right, bottom, pixels.

    Returns:
        [N] float64, pixels.

    Example:
        >>> from kerapose import metrics
        >>> metrics.head_size([[10, 10, 40, 50]]).tolist()
        [30.0]
    """
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
    refuse_unnumbered("keypoints that count", difference)
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


def refuse_unnumbered(what: str, values: ArrayLike) -> None:
    """Raises a ValueError that names `what` if any of the values is NaN or infinite."""
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"{what} must be numbers, got {count} that are NaN or infinite; look where they come from.")
