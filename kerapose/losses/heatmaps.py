"""Losses of heatmaps, and of part affinity fields beside them."""

from collections.abc import Sequence

import keras
from keras import ops

from kerapose.losses.shapes import fit, one_per_joint
from kerapose.types import Config, Tensor

__all__ = ["FieldsL2", "JointsMSE", "JointsOHKM"]


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
        weights = one_per_joint(ops.convert_to_tensor(sample_weight, dtype="float32"), y_pred)
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
        stack_weights: what the errors of stacks or stages are multiplied by before they are added up: one number for
            all, as 1.0 for the stages of a pose machine, or one each. None: they are averaged.
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

    MMPose's networks, the pose machine among them, are trained on ``JointsMSE(1.0, squared_weights=False)``.

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(
        self,
        factor: float = 0.5,
        squared_weights: bool = True,
        stack_weights: float | Sequence[float] | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "joints_mse",
    ):
        super().__init__(factor, squared_weights, reduction, name)
        self.stack_weights = tuple(stack_weights) if isinstance(stack_weights, Sequence) else stack_weights

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        y_pred = ops.convert_to_tensor(y_pred)
        return super().__call__(y_true, y_pred, self._weights(sample_weight, y_pred))

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        losses = self._per_joint(y_true, y_pred)
        if self.stack_weights is None:
            return ops.mean(losses, axis=1) if len(losses.shape) == 3 else losses  # [B, K]
        losses = losses if len(losses.shape) == 3 else ops.expand_dims(losses, 1)  # [B, S, K]
        if isinstance(self.stack_weights, tuple) and len(self.stack_weights) != losses.shape[1]:
            raise ValueError(
                f"stack_weights must have one number for each stack, got {len(self.stack_weights)} for "
                f"{losses.shape[1]}; give one number for all."
            )
        stack_weights = ops.reshape(ops.convert_to_tensor(self.stack_weights, dtype="float32"), (-1, 1))
        return ops.sum(losses * stack_weights, axis=1)  # [B, K]

    def get_config(self) -> Config:
        return super().get_config() | {"stack_weights": self.stack_weights}


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
    if not fit(true, (predicted[0], *predicted[-3:])):
        raise ValueError(
            f"predicted heatmaps must have the size and joints of the true ones, got {tuple(predicted)} for "
            f"{tuple(true)}; check heatmap_size and num_joints."
        )


def _check_fields(true, predicted):
    if len(true) != 4 or len(predicted) not in (4, 5) or not fit(true, (predicted[0], *predicted[-3:])):
        raise ValueError(
            "fields must be [B, h, w, C], predicted ones [B, h, w, C] or [B, S, h, w, C] alike, "
            f"got {tuple(true)} and {tuple(predicted)}; check the network's stride and its channels."
        )


def _one_per_cell(mask, fields):
    """A mask [B, h, w, 1] or [B, h, w] of fields of a shape [B, h, w, C] -> [B, h, w, 1]."""
    given = tuple(mask.shape)
    if len(given) == 3:
        mask = ops.expand_dims(mask, -1)
    if len(mask.shape) != 4 or not fit(mask.shape, (*fields[:3], 1)):
        raise ValueError(
            f"mask must be [B, h, w, 1] or [B, h, w], one number per cell, got {given} for fields of {tuple(fields)}; "
            "make it of the size of the network's maps."
        )
    return mask
