"""What the heatmap networks are trained on."""

import keras
from keras import ops


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

    The mean is over people, pixels, joints and stacks; joints of weight 0 add nothing to its sum and count all the
    same, as published. `reduction="mean_with_sample_weight"` averages over the weights instead.

    Args:
        factor: what the mean is multiplied by: 0.5 in SimpleBaseline and HRNet, 1.0 in the stacked hourglass.
        squared_weights: whether a weight counts squared. As published it multiplies the prediction and the target
            before they are subtracted; only weights other than 0 and 1 show it. False: a weight is a weight.
        reduction: Keras's.
        name: of the loss.

    Inputs: heatmaps [B, h, w, K]; predicted ones, [B, h, w, K] or [B, S, h, w, K] for intermediate supervision (the
    same heatmaps for every stack); optional weights [B, K], or [B] for whole people, as `fit` passes the third of
    (x, y, weights).

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> model.compile(optimizer="adam", loss=JointsMSE())
        >>> model.fit(dataset)  # of (crops [B, H, W, 3], heatmaps [B, h, w, K], weights [B, K])

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(self, factor=0.5, squared_weights=True, reduction="sum_over_batch_size", name="joints_mse"):
        super().__init__(factor, squared_weights, reduction, name)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        return super().__call__(y_true, y_pred, self._weights(sample_weight, y_pred))

    def call(self, y_true, y_pred):
        losses = self._per_joint(y_true, y_pred)
        return ops.mean(losses, axis=1) if len(losses.shape) == 3 else losses  # [B, K]


@keras.saving.register_keras_serializable("kerapose")
class JointsOHKM(_JointsLoss):
    """The mean squared error of each person's worst joints: online hard keypoint mining.

    Joints are ranked by their weighted error, in every stack anew; the mean is over the worst `top_k` of them, the
    people and the stacks.

    Args:
        top_k: how many joints of a person count, 1 to K.
        factor, squared_weights, reduction, name: as in `JointsMSE`.

    Inputs: as of `JointsMSE`.

    Raises:
        ValueError: if the shapes do not fit together, or there are fewer than `top_k` joints.

    Example:
        >>> model.compile(optimizer="adam", loss=JointsOHKM(top_k=8))

    Paper: Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018.
    """

    def __init__(self, top_k=8, factor=0.5, squared_weights=True, reduction="sum_over_batch_size", name="joints_ohkm"):
        super().__init__(factor, squared_weights, reduction, name)
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}; use 8 as published.")
        self.top_k = top_k

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        weights = self._weights(sample_weight, y_pred)
        # The weights take part in the ranking, so they go in with the heatmaps; Keras has none left to apply.
        return super().__call__(y_true if weights is None else (y_true, weights), y_pred)

    def call(self, y_true, y_pred):
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

    def get_config(self):
        return super().get_config() | {"top_k": self.top_k}


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


def _fit(first, second):
    """Whether two shapes agree wherever both are known."""
    return all(a == b or a is None or b is None for a, b in zip(first, second, strict=True))
