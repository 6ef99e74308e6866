"""Losses of poses in space."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerapose.losses.shapes import fit
from kerapose.ops import alignment, cameras
from kerapose.types import Tensor

__all__ = [
    "MPJPE",
    "bone_length_penalty",
    "bone_lengths",
    "mpjpe",
    "n_mpjpe",
    "reprojection",
    "weighted_mpjpe",
]


@keras.saving.register_keras_serializable("kerapose")
class MPJPE(keras.losses.Loss):
    """The mean distance of predicted joints from the true ones: what temporal lifters are trained on.

    Args:
        reduction: as of `keras.losses.Loss`.
        name: of the loss.

    Inputs: true and predicted poses [B, ..., J, C] alike, metres; optional weights [B], one for each sample's mean.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> from kerapose import losses
        >>> predicted = poses_m[:, None] + [0.03, 0.04, 0.0]  # [B, 1, J, 3], 5 centimetres off
        >>> float(losses.MPJPE()(poses_m[:, None], predicted))
        0.05

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training",
    CVPR 2019.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "mpjpe"):
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        distances = _distances(y_true, y_pred)  # [B, ..., J]
        return ops.mean(distances, axis=tuple(range(1, len(distances.shape))))  # [B]


def mpjpe(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The mean Euclidean distance over all joints of all poses.

    Args:
        y_true: [..., J, C], metres.
        y_pred: [..., J, C], metres.

    Returns:
        A scalar, metres. Its gradient is 0, not NaN, where a prediction is exact.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> from kerapose import losses
        >>> float(losses.mpjpe([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.3, 0.4], [0.0, 0.0, 0.0]]))
        0.25

    Paper: Pavllo et al., CVPR 2019.
    """
    return ops.mean(_distances(y_true, y_pred))


def weighted_mpjpe(y_true: Tensor, y_pred: Tensor, weights: Tensor) -> Tensor:
    """The mean of weighted distances; as published it is not divided by the sum of the weights.

    Trajectory networks are trained on it with 1 / depth as weights, since what is far away is seen less well.

    Args:
        y_true: [..., J, C], metres.
        y_pred: [..., J, C], metres.
        weights: [..., J] or with axes of size 1, [..., 1] for one weight a pose.

    Returns:
        A scalar, metres times the unit of the weights.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> trajectory = np.zeros((1, 2, 1, 3)) + [0.0, 0.0, 5.0]  # [B, T, 1, 3], 5 metres away
        >>> predicted = trajectory + [0.0, 0.0, 0.5]
        >>> float(losses.weighted_mpjpe(trajectory, predicted, weights=1 / trajectory[..., 2]))
        0.1

    Paper: Pavllo et al., CVPR 2019.
    """
    distances, weights = _distances(y_true, y_pred), ops.cast(weights, "float32")
    given, wanted = tuple(weights.shape), tuple(distances.shape)
    if len(given) > len(wanted) or not all(
        a in (1, b, None) or b is None for a, b in zip(given[::-1], wanted[::-1], strict=False)
    ):
        raise ValueError(
            f"weights must broadcast to {wanted}, the poses' shape without coordinates, got {given}; "
            "use [..., 1] for one weight a pose."
        )
    return ops.mean(weights * distances)


def n_mpjpe(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """`mpjpe` of predictions that are brought to the size of the true poses first, each by one factor.

    Args:
        y_true: [..., J, C], metres, root-relative.
        y_pred: [..., J, C], in any unit.

    Returns:
        A scalar, metres.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> from kerapose import losses
        >>> float(losses.n_mpjpe(poses_m, 2.0 * poses_m)), float(losses.mpjpe(poses_m, 2.0 * poses_m))
        (0.000, 0.442)

    Paper: Rhodin et al., "Unsupervised Geometry-Aware Representation for 3D Human Pose Estimation", ECCV 2018.
    """
    return mpjpe(y_true, alignment.scale_to(y_pred, y_true))


def bone_lengths(poses: Tensor, parents: Sequence[int]) -> Tensor:
    """The lengths of a skeleton's bones, one for each joint that has a parent, in the order of the joints.

    Args:
        poses: [..., J, C], metres.
        parents: J indices, -1 for the root (`Skeleton.parents`).

    Returns:
        [..., J - 1] float32, metres.

    Raises:
        ValueError: if `parents` is no tree over these joints.

    Example:
        >>> from kerapose import losses
        >>> leg = [[0.0, 0.0, 0.0], [0.0, 0.4, 0.0], [0.0, 0.4, 0.3]]
        >>> np.asarray(losses.bone_lengths(leg, parents=(-1, 0, 1))).tolist()
        [0.4, 0.3]
    """
    poses = ops.cast(poses, "float32")
    parents, num_joints = np.asarray(parents, "int32"), poses.shape[-2]
    if parents.shape != (num_joints,) or (parents >= num_joints).any() or (parents < 0).sum() != 1:
        raise ValueError(
            f"parents must hold an index for each of {num_joints} joints and -1 for one root, got {parents.tolist()}."
        )
    children = np.flatnonzero(parents >= 0)
    bones = ops.take(poses, children, axis=-2) - ops.take(poses, parents[children], axis=-2)  # [..., J - 1, C]
    return _lengths(bones)


def bone_length_penalty(labelled: Tensor, unlabelled: Tensor, parents: Sequence[int]) -> Tensor:
    """How far the mean bone lengths of unlabelled predictions are from those of labelled ones.

    A bone's mean is over all samples and frames of its set. The penalty is the mean over bones of the absolute
    difference of the two means. As published, gradients reach both sets.

    Args:
        labelled: [..., J, C] predicted poses of people with labels, metres.
        unlabelled: [..., J, C] predicted poses of people without labels, metres; any number of them.
        parents: J indices, -1 for the root (`Skeleton.parents`).

    Returns:
        A scalar, metres.

    Raises:
        ValueError: as `bone_lengths`.

    Example:
        >>> from kerapose import losses, skeletons
        >>> parents = skeletons.H36M.parents
        >>> float(np.mean(losses.bone_lengths(poses_m, parents)))
        0.288
        >>> float(losses.bone_length_penalty(poses_m, 1.1 * poses_m, parents))  # a tenth of it
        0.0288

    Paper: Pavllo et al., CVPR 2019.
    """
    first, second = (bone_lengths(poses, parents) for poses in (labelled, unlabelled))
    first, second = (ops.mean(lengths, axis=tuple(range(len(lengths.shape) - 1))) for lengths in (first, second))
    return ops.mean(ops.abs(first - second))


def reprojection(
    poses_m: Tensor,
    trajectory_m: Tensor,
    keypoints_screen: Tensor,
    camera: Tensor,
    distortion: bool = True,
    weights: Tensor = 1.0,
) -> Tensor:
    """The mean distance on the screen of projected predictions from the keypoints that they were predicted from.

    Args:
        poses_m: [..., T, J, 3] predicted poses relative to the root, camera axes, metres.
        trajectory_m: [..., T, 1, 3] predicted root in camera space, metres.
        keypoints_screen: [..., T, J, 2], screen, of those frames that are predicted: the middle ones of a window, or
            the last ones if the network is causal.
        camera: [..., 9] or [9] (`ops.cameras.normalize_intrinsics`).
        distortion: whether the lens distorts.
        weights: as of `weighted_mpjpe`.

    Returns:
        A scalar in units of the screen, half the width of the picture.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> from kerapose.ops import cameras
        >>> camera, trajectory = np.float32([2, 2, 0, 0, 0, 0, 0, 0, 0]), np.float32([0, 0, 5]) + np.zeros((30, 1, 3))
        >>> seen = cameras.project(poses_m + trajectory, camera)
        >>> float(losses.reprojection(poses_m, trajectory, seen + 0.1, camera))  # 0.1 in x and in y
        0.141

    Paper: Pavllo et al., CVPR 2019.
    """
    poses, trajectory = ops.cast(poses_m, "float32"), ops.cast(trajectory_m, "float32")
    if len(trajectory.shape) != len(poses.shape) or trajectory.shape[-2] != 1:
        raise ValueError(
            f"trajectory_m must be [..., T, 1, 3] for poses [..., T, J, 3], got {tuple(trajectory.shape)} for "
            f"{tuple(poses.shape)}; keep the axis of its one joint."
        )
    return weighted_mpjpe(keypoints_screen, cameras.project(poses + trajectory, camera, distortion), weights)


def _distances(y_true, y_pred):
    """The distance of each joint: [..., J, C], [..., J, C] -> [..., J] float32."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    first, second = tuple(y_true.shape), tuple(y_pred.shape)
    if len(first) != len(second) or not fit(first, second):  # broadcasting would quietly compare other frames
        raise ValueError(
            f"poses must be [..., J, C], true and predicted ones alike, got {first} and {second}; "
            "check the joints and the frames that the network predicts."
        )
    return _lengths(y_true - y_pred)


def _lengths(vectors):
    """[..., C] -> [...]; the root of 0 has no finite gradient, so that it is not taken there."""
    squared = ops.sum(ops.square(vectors), axis=-1)
    positive = squared > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, squared, 1.0)), 0.0)
