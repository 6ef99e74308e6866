"""Losses: what networks of heatmaps, of part affinity fields and of poses in space are trained on.

The classes are `keras.losses.Loss`, for `compile`. The functions take tensors and give scalars. All compute in float32,
whatever the model computes in.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerapose.ops import alignment, cameras
from kerapose.types import Config, Tensor

__all__ = [
    "FieldsL2",
    "JointsMSE",
    "JointsOHKM",
    "MPJPE",
    "bone_length_penalty",
    "bone_lengths",
    "mpjpe",
    "n_mpjpe",
    "reprojection",
    "weighted_mpjpe",
]


# ------------------------------------------------------------------------------------------------------------ heatmaps
class _JointsLoss(keras.losses.Loss):
    """Takes heatmaps and one weight per joint apart, in float32 whatever the model computes in."""

    def __init__(self, factor, squared_weights, reduction, name):
        super().__init__(name=name, reduction=reduction, dtype="float32")  # bfloat16 cannot hold a mean of squares
        self.factor = factor
        self.squared_weights = squared_weights

    def _per_joint(self, y_true, y_pred):
        """Half (`factor`) the mean squared error of each joint: heatmaps -> [B, K], or [B, S, K] of stacked ones."""
        _check_heatmaps(y_true.shape, y_pred.shape)
        if len(y_pred.shape) == 5:
            y_true = ops.expand_dims(y_true, 1)  # [B, 1, h, w, K]
        return self.factor * ops.mean(ops.square(y_pred - y_true), axis=(-3, -2))

    def _weights(self, sample_weight, y_pred):
        """What each joint's error is multiplied by, [B, K], or None."""
        if sample_weight is None:
            return None
        weights = _one_per_joint(ops.convert_to_tensor(sample_weight, dtype="float32"), y_pred)
        return ops.square(weights) if self.squared_weights else weights

    def get_config(self):
        return super().get_config() | {"factor": self.factor, "squared_weights": self.squared_weights}


@keras.saving.register_keras_serializable("kerapose")
class JointsMSE(_JointsLoss):
    """The mean squared error of heatmaps, each joint by its weight.

    The mean is over people, pixels, joints and stacks. As published, joints of weight 0 add nothing to the sum but
    count in the number that it is divided by; ``reduction="mean_with_sample_weight"`` divides by the weights instead.

    Args:
        factor: what the mean is multiplied by: 0.5 in SimpleBaseline and HRNet, 1.0 in the stacked hourglass.
        squared_weights: whether a weight counts squared. The published code multiplies prediction and target with it
            before it subtracts them. This differs from False only for weights other than 0 and 1.
        reduction: as of `keras.losses.Loss`.
        name: of the loss.

    Inputs: heatmaps [B, h, w, K]; predicted ones, [B, h, w, K] or [B, S, h, w, K] for intermediate supervision (the
    same heatmaps for every stack); optional weights [B, K], or [B] for whole people: the third of the
    (x, y, weights) that `fit` is given.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> true, predicted = np.zeros((1, 8, 6, 2)), np.zeros((1, 8, 6, 2))
        >>> predicted[..., 0], predicted[..., 1] = 1.0, 3.0  # the second joint is far off
        >>> loss = losses.JointsMSE()  # for `model.compile`
        >>> float(loss(true, predicted)), float(loss(true, predicted, sample_weight=[[1.0, 0.0]]))
        (2.5, 0.25)

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(
        self,
        factor: float = 0.5,
        squared_weights: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "joints_mse",
    ):
        super().__init__(factor, squared_weights, reduction, name)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        y_pred = ops.convert_to_tensor(y_pred)
        return super().__call__(y_true, y_pred, self._weights(sample_weight, y_pred))

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        losses = self._per_joint(y_true, y_pred)
        return ops.mean(losses, axis=1) if len(losses.shape) == 3 else losses  # [B, K]


@keras.saving.register_keras_serializable("kerapose")
class JointsOHKM(_JointsLoss):
    """The mean squared error of each person's worst joints: online hard keypoint mining.

    Joints are ranked by their weighted error, in every stack anew. The mean is over the worst `top_k` of them, over
    people and stacks.

    Args:
        top_k: how many joints of a person count, 1 to K.
        factor: as in `JointsMSE`.
        squared_weights: as in `JointsMSE`.
        reduction: as in `JointsMSE`.
        name: of the loss.

    Inputs: as of `JointsMSE`.

    Raises:
        ValueError: if the shapes do not fit together, `top_k` is below 1, or there are fewer joints than that.

    Example:
        >>> from kerapose import losses
        >>> true, predicted = np.zeros((1, 8, 6, 2)), np.zeros((1, 8, 6, 2))
        >>> predicted[..., 0], predicted[..., 1] = 1.0, 3.0
        >>> float(losses.JointsOHKM(top_k=1)(true, predicted))  # of the worse joint alone, 0.5 * 3²
        4.5

    Paper: Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018.
    """

    def __init__(
        self,
        top_k: int = 8,
        factor: float = 0.5,
        squared_weights: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "joints_ohkm",
    ):
        super().__init__(factor, squared_weights, reduction, name)
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}; use 8 as published.")
        self.top_k = top_k

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        y_pred = ops.convert_to_tensor(y_pred)
        weights = self._weights(sample_weight, y_pred)
        # The weights take part in the ranking, so they go in with the heatmaps; Keras has none left to apply.
        return super().__call__(y_true if weights is None else (y_true, weights), y_pred)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, weights = y_true if isinstance(y_true, tuple) else (y_true, None)
        losses = self._per_joint(y_true, y_pred)  # [B, K] or [B, S, K]
        if losses.shape[-1] < self.top_k:
            raise ValueError(
                f"top_k must not exceed the number of joints, got {self.top_k} of {losses.shape[-1]}; "
                "use a smaller top_k."
            )
        if weights is not None:
            losses = losses * (weights if len(losses.shape) == 2 else ops.expand_dims(weights, 1))
        worst, _ = ops.top_k(losses, self.top_k)
        return ops.mean(worst, axis=tuple(range(1, len(worst.shape))))  # [B]

    def get_config(self) -> Config:
        return super().get_config() | {"top_k": self.top_k}


@keras.saving.register_keras_serializable("kerapose")
class FieldsL2(keras.losses.Loss):
    """Half the summed squared error of a picture's heatmaps and part affinity fields, all stages together.

    The sum is over cells, channels and stages, the mean over the batch, as published: the loss grows with the size of
    the maps. A mask multiplies the error before it is squared, so that a fractional one counts squared.

    Args:
        reduction: as of `keras.losses.Loss`; the published one by default.
        name: of the loss.

    Inputs: fields [B, h, w, C], heatmaps and PAFs in one; predicted ones, [B, h, w, C] or [B, S, h, w, C] for all
    stages (each learns the same); an optional mask [B, h, w, 1] or [B, h, w], 0 where the labels say nothing: the third
    of the (x, y, mask) that `fit` is given.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> true, predicted = np.zeros((1, 4, 4, 57)), np.ones((1, 2, 4, 4, 57))  # of two stages
        >>> mask = np.zeros((1, 4, 4))
        >>> mask[0, 0, 0] = 1.0  # one cell counts
        >>> float(losses.FieldsL2()(true, predicted, sample_weight=mask))
        57.0

    Paper: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017; Osokin,
    "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "fields_l2"):
        super().__init__(name=name, reduction=reduction, dtype="float32")  # bfloat16 cannot hold such a sum

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        if sample_weight is None:
            return super().__call__(y_true, y_pred)
        # The mask has the cells' shape, not the batch's: it goes in with the fields, and Keras has none left to apply.
        return super().__call__((y_true, ops.convert_to_tensor(sample_weight, dtype="float32")), y_pred)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, mask = y_true if isinstance(y_true, tuple) else (y_true, None)
        _check_fields(y_true.shape, y_pred.shape)
        stacked = len(y_pred.shape) == 5
        error = y_pred - (ops.expand_dims(y_true, 1) if stacked else y_true)
        if mask is not None:
            mask = _one_per_cell(mask, y_true.shape)
            error = error * (ops.expand_dims(mask, 1) if stacked else mask)
        return 0.5 * ops.sum(ops.square(error), axis=tuple(range(1, len(error.shape))))  # [B]


def _check_heatmaps(true, predicted):
    if len(true) != 4 or len(predicted) not in (4, 5):
        raise ValueError(
            "heatmaps must be [B, h, w, K], predicted ones [B, h, w, K] or [B, S, h, w, K], "
            f"got {tuple(true)} and {tuple(predicted)}; check the network and the pipeline."
        )
    if not _fit(true, (predicted[0], *predicted[-3:])):
        raise ValueError(
            f"predicted heatmaps must have the size and joints of the true ones, got {tuple(predicted)} for "
            f"{tuple(true)}; check heatmap_size and num_joints."
        )


def _one_per_joint(weights, predicted):
    """Weights of people, [] or [B], or of joints, [B, K] or [B, K, 1] -> [B, K]."""
    given, num_people, num_joints = tuple(weights.shape), predicted.shape[0], predicted.shape[-1]
    if len(given) == 3 and given[-1] == 1:  # as the published pipelines have them
        weights = ops.squeeze(weights, -1)
    elif len(given) == 1:
        weights = ops.expand_dims(weights, -1)
    allowed = ((), (num_people, 1), (num_people, num_joints))
    if not any(len(weights.shape) == len(shape) and _fit(weights.shape, shape) for shape in allowed):
        raise ValueError(
            f"weights must be [B, K] or [B], got {given} for {num_people} people of {num_joints} joints; "
            "give one weight per joint."
        )
    return ops.broadcast_to(weights, (ops.shape(predicted)[0], num_joints))


def _check_fields(true, predicted):
    if len(true) != 4 or len(predicted) not in (4, 5) or not _fit(true, (predicted[0], *predicted[-3:])):
        raise ValueError(
            "fields must be [B, h, w, C], predicted ones [B, h, w, C] or [B, S, h, w, C] alike, "
            f"got {tuple(true)} and {tuple(predicted)}; check the network's stride and its channels."
        )


def _one_per_cell(mask, fields):
    """A mask [B, h, w, 1] or [B, h, w] of fields of a shape [B, h, w, C] -> [B, h, w, 1]."""
    given = tuple(mask.shape)
    if len(given) == 3:
        mask = ops.expand_dims(mask, -1)
    if len(mask.shape) != 4 or not _fit(mask.shape, (*fields[:3], 1)):
        raise ValueError(
            f"mask must be [B, h, w, 1] or [B, h, w], one number per cell, got {given} for fields of {tuple(fields)}; "
            "make it of the size of the network's maps."
        )
    return mask


def _fit(first, second):
    """Whether two shapes agree wherever both are known."""
    return all(a == b or a is None or b is None for a, b in zip(first, second, strict=True))


# ------------------------------------------------------------------------------------------------------ poses in space
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
    if len(first) != len(second) or not _fit(first, second):  # broadcasting would quietly compare other frames
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
