"""Figures of recognized actions: accuracies and the confusion matrix."""

import typing

import keras
import numpy as np
from keras import ops

from kerapose.types import Array, ArrayLike, Config, Tensor


@keras.saving.register_keras_serializable("kerapose")
class MeanClassAccuracy(keras.metrics.Metric):
    """The accuracy of each class, averaged over the classes that occur, as FineGYM's and NTU's tables report it.

    Args:
        num_classes: number of classes, C.
        name: of the metric.

    Inputs of `update_state`: labels [B], logits or probabilities [B, C], optional weights [B].

    Example:
        >>> from kerapose import metrics
        >>> accuracy = metrics.MeanClassAccuracy(num_classes=3)  # for `model.compile`, too
        >>> accuracy.update_state([0, 0, 0, 1], [[9, 1, 1], [9, 1, 1], [1, 9, 1], [1, 9, 1]])
        >>> float(accuracy.result())  # of 2/3 and 1; class 2 does not occur
        0.83
    """

    def __init__(self, num_classes: int, name: str = "mean_class_accuracy", **kwargs: typing.Any):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        shape = {"shape": (num_classes,), "initializer": "zeros"}
        self.correct = self.add_variable(name="correct", **shape)
        self.total = self.add_variable(name="total", **shape)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        of_class = ops.one_hot(labels, self.num_classes)  # [B, C]
        if sample_weight is not None:
            of_class = of_class * ops.reshape(ops.cast(sample_weight, of_class.dtype), (-1, 1))
        hit = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), labels), of_class.dtype)
        self.correct.assign_add(ops.sum(of_class * hit[:, None], axis=0))
        self.total.assign_add(ops.sum(of_class, axis=0))

    def result(self) -> Tensor:
        occurs = ops.cast(self.total > 0, self.total.dtype)
        accuracy = ops.divide_no_nan(self.correct, self.total)  # weights may add up to less than one clip
        return ops.sum(accuracy) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self) -> Config:
        return super().get_config() | {"num_classes": self.num_classes}


def action_metrics(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Gives top-1, top-5 and mean-class accuracy.

    Args:
        labels: [B] class indices.
        probabilities: [B, C], or any scores that rank the classes.

    Returns:
        A dict of `top1`, `top5` and `mean_class`, the mean of the accuracies of the classes that occur; floats in
        [0, 1].

    Raises:
        ValueError: if a label is none of the C classes.

    Example:
        >>> from kerapose import metrics
        >>> metrics.action_metrics([0, 1], [[0.9, 0.1], [0.8, 0.2]])
        {'top1': 0.5, 'top5': 1.0, 'mean_class': 0.5}
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    strange = labels[(labels < 0) | (labels >= probabilities.shape[-1])]
    if len(strange):
        raise ValueError(
            f"Labels must be 0 to {probabilities.shape[-1] - 1}, as there are {probabilities.shape[-1]} classes, got "
            f"{strange[0]}; use data with the classes that the network was trained on."
        )
    ranked = np.argsort(-probabilities, axis=-1, kind="stable")
    hit = ranked[:, 0] == labels
    per_class = [hit[labels == label].mean() for label in np.unique(labels)]
    return {
        "top1": float(hit.mean()),
        "top5": float((ranked[:, :5] == labels[:, None]).any(axis=1).mean()),
        "mean_class": float(np.mean(per_class)),
    }


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> Array:
    """Counts predictions by true and by predicted class.

    Args:
        labels: [B] class indices.
        predictions: [B] class indices.
        num_classes: number of classes, C.

    Returns:
        [C, C] int64, true classes in rows, predicted ones in columns.

    Raises:
        IndexError: if an index is not from 0 to C - 1.

    Example:
        >>> from kerapose import metrics
        >>> metrics.confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2).tolist()
        [[1, 1], [0, 2]]
    """
    places = np.asarray(labels), np.asarray(predictions)
    for name, place in zip(("labels", "predictions"), places, strict=True):
        # A negative index would count from the end.
        if place.size and (place.min() < 0 or place.max() >= num_classes):
            wrong = place[(place < 0) | (place >= num_classes)].flat[0]
            raise IndexError(f"{name} of {num_classes} classes are 0 to {num_classes - 1}, got {wrong}; correct it.")
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, places, 1)
    return matrix
