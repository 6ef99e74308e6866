"""The test of actions in videos with skeletons: as they are, in the dark, and with joints that a detector missed."""

import collections.abc

import keras
import numpy as np
import tensorflow as tf

from kerapose import metrics
from kerapose.data import videos
from kerapose.data.shapes import few_shapes
from kerapose.estimators import VideoRecognizer
from kerapose.evaluation.asking import compiled
from kerapose.evaluation.progress import make_bar
from kerapose.types import Array

VIDEO_CONDITIONS = ("plain", "dark", "missed")
LIGHT, NOISE_LEVELS, MISSED_SHARE = 0.05, 4.0, 0.5  # of the last two


def video_probabilities(
    recognizer: VideoRecognizer,
    dataset: tf.data.Dataset,
    conditions: collections.abc.Sequence[str] = ("plain",),
    seed: int = 0,
) -> tuple[Array, dict[str, dict[str, Array]]]:
    """What a recognizer makes of every video of a split, under each of some conditions.

    Args:
        recognizer: a `VideoRecognizer`, whose `num_clips` and `flip_test` are those of the test.
        dataset: of elements, as the sources of `data.videos` give them.
        conditions: of "plain"; "dark", with a twentieth of the light and the noise of the sensor; and "missed", with
            half of the keypoints lost for whole runs of frames.
        seed: of noise and of what is lost.

    Returns:
        Labels [B]; and by condition the probabilities [B, C] of each output of the network and of their fusion,
        {"fused": ...}.

    Raises:
        ValueError: if there is no condition, or none of that name.

    Example:
        >>> import keras
        >>> from kerapose import evaluation, skeletons
        >>> from kerapose.data import videos
        >>> recognizer = keras.models.load_model("runs/rgbpose/model.keras").changed(num_clips=1, flip_test=False)
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> true, found = evaluation.video_probabilities(recognizer, dataset, conditions=("plain", "dark"))
        >>> list(found), found["dark"]["fused"].shape
        (['plain', 'dark'], (1, 2))
    """
    strangers = [condition for condition in conditions if condition not in VIDEO_CONDITIONS]
    if strangers or not conditions:
        got = repr(strangers[0]) if strangers else "none"
        raise ValueError(f"conditions are of {', '.join(VIDEO_CONDITIONS)}, got {got}; use these.")
    whole = keras.backend.backend() != "jax"  # which would compile the network for every size and length of a video
    answer = compiled(
        recognizer,
        (lambda given: recognizer.recognize(**{"frames": None} | given)) if whole else recognizer.from_clips,
    )

    @tf.autograph.experimental.do_not_convert
    def cut(given, label):
        return recognizer.clips(**{"frames": None} | given), label

    count, labels, found = int(dataset.cardinality()), [], {}
    for condition in conditions:
        bar = make_bar(count, f"{condition} video")
        answers, labels = [], []
        batches = _degraded(dataset, recognizer, condition, seed).batch(1)
        for inputs, label in (batches if whole else few_shapes(batches.map(cut))).prefetch(1):
            answers.append({name: value[0] for name, value in answer(inputs).items()})
            labels.append(int(label[0]))
            bar.add(1)
        found[condition] = {name: np.stack([one[name] for one in answers]) for name in answers[0]}
    return np.array(labels), found


def video_figures(
    recognizer: VideoRecognizer,
    dataset: tf.data.Dataset,
    conditions: collections.abc.Sequence[str] = ("plain",),
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """How well a recognizer names the actions of a split, under each of some conditions.

    Args:
        recognizer: a `VideoRecognizer`, whose `num_clips` and `flip_test` are those of the test.
        dataset: of elements, as the sources of `data.videos` give them.
        conditions: of "plain", "dark" and "missed", as for `video_probabilities`.
        seed: of noise and of what is lost.

    Returns:
        {"plain": {"top1": float, "top5": float, "mean_class": float}, ...}, each in [0, 1].

    Raises:
        ValueError: if there is no condition, or none of that name.

    Example:
        >>> import keras
        >>> from kerapose import evaluation, skeletons
        >>> from kerapose.data import videos
        >>> recognizer = keras.models.load_model("runs/rgbpose/model.keras").changed(num_clips=1, flip_test=False)
        >>> dataset = videos.from_arrays(["walk.mp4"], [keypoints], labels, skeletons.COCO, [scores])
        >>> figures = evaluation.video_figures(recognizer, dataset, conditions=["missed"])
        >>> sorted(figures["missed"])
        ['mean_class', 'top1', 'top5']

    Papers: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; Ahn et al., "STAR-Transformer: A
    Spatio-temporal Cross Attention Transformer for Human Action Recognition", WACV 2023.
    """
    labels, found = video_probabilities(recognizer, dataset, conditions, seed)
    return {condition: metrics.action_metrics(labels, answers["fused"]) for condition, answers in found.items()}


def _degraded(dataset, recognizer, condition, seed):
    """What a recognizer takes of every video, and its label, under a condition."""
    shapes = {"rgb_frames": recognizer.rgb_shape, "pose_frames": recognizer.pose_shape}
    frames = {name: shape[0] for name, shape in shapes.items() if shape}

    @tf.autograph.experimental.do_not_convert
    def prepare(index, element):
        seeds = tf.stack([seed, tf.cast(index, tf.int32)])
        if condition == "missed":
            keypoints, scores = videos.missed(element["keypoints"], element["scores"], seeds, MISSED_SHARE)
            element = element | {"keypoints": keypoints, "scores": scores}
        inputs = videos.sampled(element, num_clips=recognizer.num_clips, aligned=recognizer.aligned, **frames)
        if condition == "dark" and "frames" in inputs:
            inputs["frames"] = videos.darkened(inputs["frames"], seeds, LIGHT, NOISE_LEVELS)
        return inputs, element["label"]

    return dataset.enumerate().map(prepare, tf.data.AUTOTUNE)
