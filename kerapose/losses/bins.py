"""The loss of coordinates that are told as classes: one vector along x, one along y."""

import keras
from keras import ops

from kerapose.losses.shapes import WeighedInside, fit
from kerapose.types import Config, Tensor

__all__ = ["SimCCDivergence"]


@keras.saving.register_keras_serializable("kerapose")
class SimCCDivergence(WeighedInside):
    """How far the distribution over the bins of one axis is from that of the label: Kullback and Leibler's divergence.

    A network of SimCC has two outputs, and Keras adds what this loss is of each. As published, it is the mean over the
    bins and over the joints, those of weight 0 included, and the sum over people: it grows with the batch.

    Args:
        beta: what logits are multiplied by before their softmax.
        label_softmax: whether labels go through a softmax, too; else they are taken as they are, whatever their sum.
        label_beta: what labels are multiplied by before it.
        reduction: as of `keras.losses.Loss`, over people.
        name: of the loss.

    Inputs: labels [B, K, bins]; logits [B, K, bins]; optional weights [B, K], or [B] for whole people: the third of the
    (x, y, weights) that `fit` is given.

    Raises:
        ValueError: if the shapes do not fit together.

    Example:
        >>> from kerapose import losses
        >>> from kerapose.ops import heatmaps
        >>> x, y, weights = heatmaps.encode_simcc(np.float32([[[96, 128], [20, 30]]]), None, (256, 192))
        >>> loss = losses.SimCCDivergence()  # for `model.compile`
        >>> float(loss(x, x, sample_weight=weights)), float(loss(x, 0 * x, sample_weight=weights))
        (0.00, 0.0098)

    Papers: Li et al., "SimCC: A Simple Coordinate Classification Perspective for Human Pose Estimation", ECCV 2022;
    Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose", 2023.
    """

    def __init__(
        self,
        beta: float = 10.0,
        label_softmax: bool = True,
        label_beta: float = 10.0,
        reduction: str | None = "sum",
        name: str = "simcc_divergence",
    ):
        super().__init__(reduction, name)
        self.beta = beta
        self.label_softmax = label_softmax
        self.label_beta = label_beta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, weights = self.targets_and_weights(y_true, y_pred)
        true, predicted = tuple(y_true.shape), tuple(y_pred.shape)
        if len(true) != 3 or len(predicted) != 3 or not fit(true, predicted):
            raise ValueError(
                f"labels and logits must be [B, K, bins] alike, got {true} and {predicted}; check the size of the crop."
            )
        if self.label_softmax:
            log_label = ops.log_softmax(y_true * self.label_beta, axis=-1)
            label = ops.exp(log_label)
        else:
            label = y_true
            log_label = ops.log(ops.where(label > 0, label, 1.0))  # 0 log 0 is 0
        divergence = ops.mean(label * (log_label - ops.log_softmax(y_pred * self.beta, axis=-1)), axis=-1)  # [B, K]
        return ops.mean(divergence * weights, axis=-1)  # [B]

    def get_config(self) -> Config:
        own = {"beta": self.beta, "label_softmax": self.label_softmax, "label_beta": self.label_beta}
        return super().get_config() | own
