"""Which shapes of targets, answers and weights go together, and weights that a loss applies itself."""

import keras
from keras import ops

from kerapose.types import Shape, Tensor


class WeighedInside(keras.losses.Loss):
    """A loss of what there is of each joint, [B, K, C], whose weights are no factors of what it gives to Keras.

    They go in with the targets, and Keras has none left to apply. It is in float32 whatever the model computes in.
    """

    def __init__(self, reduction: str | None, name: str):
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        y_pred = ops.convert_to_tensor(y_pred)
        if sample_weight is None:
            return super().__call__(y_true, y_pred)
        weights = one_per_joint(ops.convert_to_tensor(sample_weight, dtype="float32"), y_pred[..., 0])
        return super().__call__((y_true, weights), y_pred)

    @staticmethod
    def targets_and_weights(y_true: Tensor | tuple[Tensor, Tensor], y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """What `call` was given as one: targets [B, K, C], and weights [B, K], ones if there were none."""
        return y_true if isinstance(y_true, tuple) else (y_true, ops.ones_like(y_pred[..., 0]))


def one_per_joint(weights: Tensor, predicted: Tensor) -> Tensor:
    """Weights of people, [] or [B], or of joints, [B, K] or [B, K, 1] -> [B, K]."""
    given, num_people, num_joints = tuple(weights.shape), predicted.shape[0], predicted.shape[-1]
    if len(given) == 3 and given[-1] == 1:  # as the published pipelines have them
        weights = ops.squeeze(weights, -1)
    elif len(given) == 1:
        weights = ops.expand_dims(weights, -1)
    allowed = ((), (num_people, 1), (num_people, num_joints))
    if not any(len(weights.shape) == len(shape) and fit(weights.shape, shape) for shape in allowed):
        raise ValueError(
            f"weights must be [B, K] or [B], got {given} for {num_people} people of {num_joints} joints; "
            "give one weight per joint."
        )
    return ops.broadcast_to(weights, (ops.shape(predicted)[0], num_joints))


def fit(first: Shape, second: Shape) -> bool:
    """Whether two shapes agree wherever both are known."""
    return all(a == b or a is None or b is None for a, b in zip(first, second, strict=True))
