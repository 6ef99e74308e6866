"""The test of skeleton actions: every sequence of a split, whole, as PoseConv3D's paper has it."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerapose import metrics
from kerapose.data import clips
from kerapose.data.shapes import few_shapes
from kerapose.estimators import ActionRecognizer
from kerapose.evaluation.asking import compiled
from kerapose.evaluation.progress import make_bar
from kerapose.types import Array


def action_probabilities(
    recognizer: ActionRecognizer, dataset: tf.data.Dataset, azimuths_degrees: Sequence[float] = (0.0,)
) -> tuple[Array, Array]:
    """What a recognizer makes of every sequence of a split.

    Args:
        recognizer: an `ActionRecognizer`, whose `num_clips` and `flip_test` are those of the test.
        dataset: of elements, as the sources of `data.clips` give them.
        azimuths_degrees: of 3D skeletons, from where they are seen (`data.clips.seen_from`); of several views, the
            probabilities are averaged.

    Returns:
        Labels [B] and probabilities [B, C].

    Raises:
        ValueError: if there is no view, or more than the frontal one of keypoints.

    Example:
        >>> import keras
        >>> from kerapose import evaluation, skeletons
        >>> from kerapose.data import clips
        >>> recognizer = keras.models.load_model("runs/poseconv3d/model.keras")
        >>> dataset = clips.from_pyskl("clips.pkl", "test", skeletons.COCO)
        >>> labels, probabilities = evaluation.action_probabilities(recognizer, dataset)
        >>> labels.tolist(), probabilities.shape, probabilities.sum(axis=-1).round(3).tolist()
        ([0, 1], (2, 2), [1.0, 1.0])
    """
    azimuths = [float(azimuth) for azimuth in azimuths_degrees]
    if not azimuths:
        raise ValueError("azimuths_degrees must be at least one angle, got none; 0 sees people as a sensor does.")
    views = [dataset]
    if clips.holds_poses(dataset):
        views = [clips.seen_from(dataset, azimuth) for azimuth in azimuths]
    elif azimuths != [0.0]:
        raise ValueError(f"azimuths_degrees are those of 3D skeletons, got {azimuths} for keypoints; leave them out.")
    answer = compiled(recognizer, recognizer.from_clips)
    answers = [_probabilities(answer, recognizer.clips, view) for view in views]
    return answers[0][0], np.mean([probabilities for _, probabilities in answers], axis=0)


def _probabilities(answer, clips_of, dataset):
    """Labels [B] and what a function says of the clips of each sequence of keypoints, [B, C]."""
    labels, probabilities = [], []
    bar = make_bar(int(dataset.cardinality()), "sequence")

    @tf.autograph.experimental.do_not_convert
    def prepare(element):
        return clips_of({key: element[key] for key in ("keypoints", "scores", "frame_size")}), element["label"]

    # Sequences differ in length.
    for sampled, label in few_shapes(dataset.batch(1).map(prepare, tf.data.AUTOTUNE)).prefetch(tf.data.AUTOTUNE):
        probabilities.append(answer(sampled)[0])
        labels.append(int(label[0]))
        bar.add(1)
    return np.array(labels), np.stack(probabilities)


def action_figures(
    recognizer: ActionRecognizer, dataset: tf.data.Dataset, azimuths_degrees: Sequence[float] = (0.0,)
) -> dict[str, float]:
    """How well a recognizer names the actions of a split.

    Args:
        recognizer: an `ActionRecognizer`, whose `num_clips` and `flip_test` are those of the test.
        dataset: of elements, as the sources of `data.clips` give them.
        azimuths_degrees: of 3D skeletons, from where they are seen, as for `action_probabilities`.

    Returns:
        {"top1": float, "top5": float, "mean_class": float}, each in [0, 1].

    Raises:
        ValueError: if there is no view, or more than the frontal one of keypoints.

    Example:
        >>> import keras
        >>> from kerapose import evaluation, skeletons
        >>> from kerapose.data import clips
        >>> recognizer = keras.models.load_model("runs/poseconv3d/model.keras")
        >>> dataset = clips.from_pyskl("clips.pkl", "test", skeletons.COCO)
        >>> sorted(evaluation.action_figures(recognizer, dataset))
        ['mean_class', 'top1', 'top5']

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """
    return metrics.action_metrics(*action_probabilities(recognizer, dataset, azimuths_degrees))
