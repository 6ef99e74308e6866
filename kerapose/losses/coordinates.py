"""Losses of coordinates: how far off they are, or how probable that is."""

import keras
import numpy as np
from keras import ops

from kerapose.losses.flows import RealNVP
from kerapose.losses.shapes import WeighedInside, fit
from kerapose.types import Config, Tensor

__all__ = ["ResidualLikelihood", "SmoothL1"]

DISTRIBUTIONS = ("laplace", "gaussian")


class _CoordinatesLoss(WeighedInside):
    """Takes coordinates [B, K, 2], and two or four numbers that are predicted of each joint."""

    numbers = 2

    def _take(self, y_true, y_pred):
        """Targets, answers and weights [B, K, 1], all of a known shape."""
        y_true, weights = self.targets_and_weights(y_true, y_pred)
        true, predicted = tuple(y_true.shape), tuple(y_pred.shape)
        if len(true) != 3 or len(predicted) != 3 or not fit((*predicted[:2], 2), true) or predicted[2] != self.numbers:
            raise ValueError(
                f"coordinates must be [B, K, 2], predicted ones [B, K, {self.numbers}], got {true} and {predicted}; "
                f"use DeepPose with uncertainty={self.numbers == 4}."
            )
        return y_true, y_pred, weights[..., None]


@keras.saving.register_keras_serializable("kerapose")
class SmoothL1(_CoordinatesLoss):
    """Half the square of a coordinate's error below 1, and from there on what goes straight on.

    The mean is over people, joints and coordinates. As published, a weight multiplies target and prediction before they
    are compared, so that it counts squared below 1 and once beyond, and joints of weight 0 count in the number that the
    sum is divided by. Of coordinates that are shares of a crop it is half the mean squared error.

    Args:
        factor: what the mean is multiplied by.
        reduction: as of `keras.losses.Loss`.
        name: of the loss.

    Inputs: coordinates [B, K, 2], shares of the crop's width and height; predicted ones, [B, K, 2]; optional weights
    [B, K], or [B] for whole people: the third of the (x, y, weights) that `fit` is given.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> true, predicted = np.zeros((1, 2, 2)), np.float32([[[0.1, 0.1], [3.0, 3.0]]])
        >>> losses.SmoothL1(reduction="none")(true, predicted).numpy()  # 0.1² / 2, and 3 - 0.5
        array([[0.005, 2.5  ]], dtype=float32)

    Papers: Girshick, "Fast R-CNN", ICCV 2015; Toshev and Szegedy, "DeepPose", CVPR 2014, which has squares alone.
    """

    def __init__(
        self, factor: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str = "coordinates_smooth_l1"
    ):
        super().__init__(reduction, name)
        self.factor = factor

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred, weights = self._take(y_true, y_pred)
        error = ops.abs(y_pred * weights - y_true * weights)  # [B, K, 2]
        losses = ops.where(error < 1, 0.5 * ops.square(error), error - 0.5)
        return self.factor * ops.mean(losses, axis=-1)  # [B, K]

    def get_config(self) -> Config:
        return super().get_config() | {"factor": self.factor}


@keras.saving.register_keras_serializable("kerapose")
class ResidualLikelihood(_CoordinatesLoss):
    """How improbable an error is, by the sigma of its own that the network gives, and by a flow that learns its form.

    An error is divided by its sigma. The flow tells the density of what comes out, as a change of the one that is
    assumed for it. The flow is trained in the same step as the network and is no part of it: it is needed no more
    afterwards. Keras trains the weights of layers that a model knows, so give them to the model that is compiled, as
    `training.heatmap_model` does: ``model.flow = loss.flow``. `weights.load_flow` puts a published one in its place.

    The sum is over joints and coordinates, the mean over people. As published, the flow's density, one for both
    coordinates of a joint, counts for each of them, and so does the logarithm of a sigma twice.

    Args:
        residual: whether the flow tells a change of the assumed density. Else it is the density itself.
        distribution: that is assumed, "laplace" or "gaussian".
        reduction: as of `keras.losses.Loss`, over people.
        name: of the loss.

    Inputs: coordinates [B, K, 2], shares of the crop's width and height; predicted ones with the logits of their
    sigmas, [B, K, 4]; optional weights [B, K], or [B] for whole people: the third of the (x, y, weights) that `fit` is
    given.

    Raises:
        ValueError: if there is no such distribution, or the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> loss, true = losses.ResidualLikelihood(), np.full((1, 1, 2), 0.5)
        >>> near, far = (np.float32([[[0.5 + error, 0.5, -2.0, -2.0]]]) for error in (0.0, 0.5))
        >>> float(loss(true, near)), float(loss(true, far))  # of sigmas of 0.12
        (-3.45, 18.3)
        >>> len(loss.flow.trainable_variables)
        72

    Paper: Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021.
    """

    numbers = 4

    def __init__(
        self,
        residual: bool = True,
        distribution: str = "laplace",
        reduction: str | None = "sum_over_batch_size",
        name: str = "residual_likelihood",
    ):
        super().__init__(reduction, name)
        if distribution not in DISTRIBUTIONS:
            known = " or ".join(f'"{one}"' for one in DISTRIBUTIONS)
            raise ValueError(f'distribution must be {known}, got {distribution!r}; use "laplace", as published.')
        self.residual = residual
        self.distribution = distribution
        self.flow = RealNVP(name="flow")

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred, weights = self._take(y_true, y_pred)
        # What does not count may be so far off, or so sure, that nothing could hold its gradients.
        y_true, y_pred = (ops.where(weights > 0, numbers, 0.0) for numbers in (y_true, y_pred))
        logits = y_pred[..., 2:]
        error = (y_pred[..., :2] - y_true) / (ops.sigmoid(logits) + 1e-9)  # [B, K, 2], in sigmas
        log_sigma = ops.log_sigmoid(logits)
        losses = log_sigma - self.flow(error)[..., None]  # [B, K, 2]
        if self.residual and self.distribution == "laplace":
            losses = losses + log_sigma + np.float32(np.log(2)) + ops.abs(error)
        elif self.residual:
            losses = losses + log_sigma + np.float32(0.5 * np.log(2 * np.pi)) + 0.5 * ops.square(error)
        return ops.sum(losses * weights, axis=(1, 2))  # [B]

    def get_config(self) -> Config:
        return super().get_config() | {"residual": self.residual, "distribution": self.distribution}
