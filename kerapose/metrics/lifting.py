"""Figures of poses in space: MPJPE by its three protocols, velocities, 3D PCK and its AUC."""

import typing
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from kerapose.metrics.keypoints import refuse_unnumbered
from kerapose.ops import alignment
from kerapose.types import ArrayLike, Tensor


@keras.saving.register_keras_serializable("kerapose")
class MeanPerJointError(keras.metrics.Mean):
    """The mean distance of predicted joints from the true ones in millimetres: MPJPE, to watch in `fit`.

    Args:
        name: of the metric.

    Inputs of `update_state`: true and predicted poses [B, ..., J, 3] alike, metres; optional weights [B], or [B, T],
    the mask of a batch of sequences of different lengths.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> from kerapose import metrics
        >>> error = metrics.MeanPerJointError()  # for `model.compile`, too
        >>> error.update_state(poses_m, poses_m + [0.03, 0.04, 0.0])
        >>> float(error.result())  # millimetres
        50.0
    """

    def __init__(self, name: str = "mpjpe_mm", **kwargs: typing.Any):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        first, second = tuple(y_true.shape), tuple(y_pred.shape)
        if len(first) != len(second) or any(a != b and None not in (a, b) for a, b in zip(first, second, strict=True)):
            raise ValueError(
                f"poses must be [B, ..., J, 3], true and predicted ones alike, got {first} and {second}; "
                "check the frames that the network predicts."
            )
        distances = ops.sqrt(ops.sum(ops.square(y_true - y_pred), axis=-1))  # [B, ..., J]
        return super().update_state(1000.0 * distances, sample_weight)


def mpjpe(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Gives the mean per-joint position error (MPJPE): "protocol 1".

    Args:
        predicted: [..., J, 3], metres, root-relative.
        truth: [..., J, 3], metres, root-relative.

    Returns:
        A float, metres.

    Raises:
        ValueError: if the shapes differ or are empty, or a coordinate is NaN or infinite: leave frames out whose true
            pose is not known.

    Example:
        >>> from kerapose import metrics
        >>> metrics.mpjpe(poses_m + [0.03, 0.04, 0.0], poses_m)
        0.05

    Paper: Ionescu et al., "Human3.6M: Large Scale Datasets and Predictive Methods for 3D Human Sensing in Natural
    Environments", TPAMI 2014.
    """
    return float(_joint_errors(*_poses(predicted, truth)).mean())


def p_mpjpe(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Gives P-MPJPE: `mpjpe` after each frame is laid on the true one by scale, rotation and translation (Procrustes).

    This is "protocol 2". A mirrored prediction is not mirrored back.

    Args:
        predicted: [..., J, 3], metres.
        truth: [..., J, 3], metres.

    Returns:
        A float, metres.

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> from kerapose import metrics
        >>> metrics.p_mpjpe(2.0 * poses_m + 1.0, poses_m)
        0.000

    Paper: Ionescu et al., TPAMI 2014; see `mpjpe`.
    """
    predicted, truth = _poses(predicted, truth)
    return float(_joint_errors(_moved(alignment.align, predicted, truth), truth).mean())


def n_mpjpe(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Gives N-MPJPE: `mpjpe` after each frame is brought to the size of the true one, the root staying: "protocol 3".

    Args:
        predicted: [..., J, 3], metres, root-relative.
        truth: [..., J, 3], metres, root-relative.

    Returns:
        A float, metres.

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> from kerapose import metrics
        >>> metrics.n_mpjpe(2.0 * poses_m, poses_m)
        0.000

    Paper: Rhodin et al., "Unsupervised Geometry-Aware Representation for 3D Human Pose Estimation", ECCV 2018.
    """
    predicted, truth = _poses(predicted, truth)
    return float(_joint_errors(_moved(alignment.scale_to, predicted, truth), truth).mean())


def mpjve(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Gives the mean per-joint velocity error (MPJVE): that of the differences from each frame to the next.

    Args:
        predicted: [T, J, 3], the frames of one sequence in order, metres.
        truth: [T, J, 3], metres.

    Returns:
        A float, metres a frame (times fps: metres a second).

    Raises:
        ValueError: as `mpjpe`, or if there are several sequences or fewer than two frames.

    Example:
        >>> from kerapose import metrics
        >>> metrics.mpjve(1.0 + poses_m, poses_m)  # a metre aside, but moving as the truth
        0.000

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


def pck_3d(predicted: ArrayLike, truth: ArrayLike, threshold_m: float = 0.15) -> float:
    """Gives 3D PCK: the share of joints that are less than a threshold away.

    Args:
        predicted: [..., J, 3], metres, root-relative.
        truth: [..., J, 3], metres, root-relative.
        threshold_m: metres; a joint exactly so far away is wrong, as published.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> from kerapose import metrics
        >>> metrics.pck_3d([[0.0, 0.0, 0.0], [0.0, 0.1, 0.2]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        0.5

    Paper: Mehta et al., "Monocular 3D Human Pose Estimation In The Wild Using Improved CNN Supervision", 3DV 2017.
    """
    return float((_joint_errors(*_poses(predicted, truth)) < threshold_m).mean())


#: 0 to 150 mm in steps of 5 mm, as in MPI-INF-3DHP's evaluation. At 0 no joint is right, so that 30/31 is perfect.
AUC_THRESHOLDS_M = tuple(millimetres / 1000 for millimetres in range(0, 151, 5))


def auc_3d(predicted: ArrayLike, truth: ArrayLike, thresholds_m: Sequence[float] = AUC_THRESHOLDS_M) -> float:
    """Gives the area under the curve of `pck_3d`, as the mean over thresholds.

    Args:
        predicted: [..., J, 3], metres, root-relative.
        truth: [..., J, 3], metres, root-relative.
        thresholds_m: metres.

    Returns:
        A float in [0, 1]; 30/31 for exact poses with the published thresholds, whose first is 0.

    Raises:
        ValueError: as `mpjpe`.

    Example:
        >>> from kerapose import metrics
        >>> metrics.auc_3d(poses_m, poses_m)
        0.968

    Paper: as of `pck_3d`.
    """
    errors = _joint_errors(*_poses(predicted, truth))
    return float(np.mean([(errors < threshold).mean() for threshold in thresholds_m]))


#: What `lifting_metrics` gives.
LIFTING_FIGURES = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck_150mm", "auc_3d")


def lifting_metrics(sequences: Iterable[Mapping[str, typing.Any]]) -> dict[str, typing.Any]:
    """Gives all figures of lifted sequences, for each action and as their mean, as the published protocol has them.

    Within an action a sequence counts by its frames; the total is the plain mean of the actions. Velocities are those
    inside of sequences; a sequence of a single frame has none and does not count for them.

    Args:
        sequences: an iterable of dicts of `predicted` and `truth`, [T, J, 3] each, metres and root-relative, of
            `action`, a name, and optionally of `name`, by which an error calls the sequence.

    Returns:
        A dict of "mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm" (a frame), "pck_150mm" and "auc_3d", floats, and of
        "actions", a dict of the same figures by action. NaN where no sequence has a velocity.

    Raises:
        ValueError: as `mpjpe`, with the sequence's name, or if there is no sequence.

    Example:
        >>> from kerapose import metrics
        >>> walk = {"predicted": poses_m + [0.03, 0.04, 0.0], "truth": poses_m, "action": "Walking"}
        >>> figures = metrics.lifting_metrics([walk, walk | {"predicted": poses_m, "action": "Sitting"}])
        >>> figures["mpjpe_mm"], figures["actions"]["Walking"]["mpjpe_mm"]
        (25.0, 50.0)

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
        refuse_unnumbered(what, poses)
    return predicted, truth


def _joint_errors(predicted, truth):
    return np.linalg.norm(predicted - truth, axis=-1)


def _moved(function, predicted, truth):
    """What a function of tensors makes of the prediction."""
    return np.asarray(ops.convert_to_numpy(function(predicted, truth)), "float64")
