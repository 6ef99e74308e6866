"""The protocol of top-down 2D pose: every person of a data set, in the box that is known or that a detector found."""

from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import metrics, skeletons
from kerapose.data import crops
from kerapose.estimators import PoseEstimator
from kerapose.evaluation.asking import compiled
from kerapose.evaluation.progress import make_bar
from kerapose.ops import boxes as box_ops
from kerapose.skeletons import Skeleton
from kerapose.types import Array


def pose_figures(
    estimator: PoseEstimator,
    people: tf.data.Dataset,
    skeleton: Skeleton,
    detected: tf.data.Dataset | None = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """How good an estimator is on a data set: PCK, PCKh, error in pixels and COCO's AP.

    Crops are cut and normalized as the estimator was trained: it says how. People whom nothing can be learnt from
    (`crops.trainable`) have no figures but AP, whose ground truth they are a part of.

    Args:
        estimator: which knows the keypoints of the data set.
        people: elements of `data.crops`; their own boxes are cut out.
        skeleton: the `Skeleton` of the people.
        detected: the boxes that a detector found in the same images, each an element of `data.crops` with a "score",
            which are tested too: `detections.from_tfds`, or `crops.from_coco(detections=...)`. None: there are none.
        batch_size: people that the network is given at once.

    Returns:
        A dict of "people", how many there are; "pixel_error"; "pck@0.2", by the longer side of the box; "pckh@0.5",
        where sizes of heads are known, and for MPII's keypoints "mpii", a dict of what `metrics.pckh` gives; "joints",
        by name a dict of these and "labelled", how often it is; "coco", where the skeleton has sigmas, and
        "coco_detected_boxes", a dict of what `metrics.coco_ap` gives, and "boxes", how many there were. None stands
        where nothing is labelled.

    Raises:
        ValueError: if the estimator finds other keypoints than those of the data set, or similarities of detected
            people would need sigmas that the skeleton does not have.

    Example:
        >>> import keras
        >>> from kerapose import evaluation
        >>> from kerapose.data import crops
        >>> estimator = keras.models.load_model("runs/topdown/model.keras")
        >>> people, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> figures = evaluation.pose_figures(estimator, people, skeleton)
        >>> figures["people"], figures["joints"]["nose"]["labelled"], 0 <= figures["coco"]["AP"] <= 1
        (2, 2, True)

    Papers: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; Andriluka et al., "2D
    Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014.
    """
    _check(estimator, skeleton)
    if detected is not None:
        metrics.sound_sigmas(skeleton.sigmas, skeleton.num_keypoints)  # before the rest is tested
    found = found_poses(estimator, crops.trainable(people, skeleton), skeleton, batch_size)
    results = _distances(found, skeleton)
    if can_measure_ap(skeleton):
        truth = crops.annotations(people, skeleton)  # crowds and people without keypoints, too
        results["coco"] = metrics.coco_ap(truth, _as_detections(found, estimator), skeleton.sigmas, nms="oks")
    if detected is not None:
        found = found_poses(estimator, detected, skeleton, batch_size)
        # A box in an image without people is a mistake, and an image without either changes nothing.
        image_ids = np.union1d(truth["image_id"], found["image_id"])
        results["coco_detected_boxes"] = metrics.coco_ap(
            truth, _as_detections(found, estimator), skeleton.sigmas, nms="oks", image_ids=image_ids
        ) | {"boxes": len(found["box"])}
    return results


def found_poses(
    estimator: PoseEstimator, people: tf.data.Dataset, skeleton: Skeleton, batch_size: int = 32
) -> dict[str, Array]:
    """Everybody in a data set, as an estimator finds them in their boxes.

    Args:
        estimator: which knows the keypoints of the data set.
        people: elements of `data.crops`.
        skeleton: their `Skeleton`.
        batch_size: people that the network is given at once.

    Returns:
        {"found": [N, K, 2] pixels of the image, "found_scores": [N, K], and the fields of the elements but for the
        image: "keypoints" [N, K, 2], "visibility" [N, K], "box" [N, 4], "image_id" [N], ...}, in the order of the data
        set.

    Raises:
        ValueError: if the estimator finds other keypoints than those of the data set.

    Example:
        >>> import keras
        >>> from kerapose import evaluation, metrics
        >>> from kerapose.data import crops
        >>> estimator = keras.models.load_model("runs/topdown/model.keras")
        >>> people, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> found = evaluation.found_poses(estimator, people, skeleton)
        >>> found["found"].shape, found["keypoints"].shape, found["image_id"].tolist()
        ((2, 17, 2), (2, 17, 2), [1, 1])
    """
    _check(estimator, skeleton)
    size = estimator.image_size
    signature = [tf.TensorSpec((None, *size, 3)), tf.TensorSpec((None, 2, 3))]
    answer = compiled(estimator, estimator.from_crops, signature)
    cut = {"image_size": size, "udp": estimator.udp, "box_padding": estimator.box_padding}
    batches = crops.evaluation(people, skeleton, batch_size, normalization=estimator.normalization, **cut)
    parts, bar = [], make_bar(None, "batch")
    for batch in batches:
        batch["found"], batch["found_scores"] = answer(batch.pop("crop"), batch.pop("matrix"))
        parts.append({key: np.asarray(value) for key, value in batch.items()})
        bar.add(1)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def can_measure_ap(skeleton: Skeleton) -> bool:
    """Whether a skeleton has the sigmas that average precision is measured by; if not, that is told.

    Args:
        skeleton: the `Skeleton` of the people.

    Returns:
        A bool.

    Example:
        >>> from kerapose import evaluation, skeletons
        >>> evaluation.can_measure_ap(skeletons.COCO), evaluation.can_measure_ap(skeletons.H36M)
        (True, False)
    """
    if skeleton.sigmas is None:
        logging.warning(
            "AP is left out: the skeleton %s has no sigmas, and all other figures are measured; to have AP, too, give "
            "it those of a similar set, or 0.05 each, by dataclasses.replace(skeleton, sigmas=...) or --sigmas of "
            "datasets/build.py.",
            skeleton.name,
        )
        return False
    return True


def _check(estimator, skeleton):
    """Refuses to test an estimator on other keypoints."""
    if estimator.skeleton.keypoints != skeleton.keypoints:
        raise ValueError(
            f"An estimator is tested on the keypoints that it finds, got one of {estimator.skeleton.name} for people "
            f"of {skeleton.name}; bring what it finds to the other set (skeletons.convert) to compare them yourself."
        )


def _distances(people, skeleton):
    """How far what was found is from the truth: in pixels, boxes (PCK) and, where they are known, heads (PCKh)."""
    found, truth, visible = people["found"], people["keypoints"], people["visibility"]
    sides = (people["box"][:, 2:] - people["box"][:, :2]).max(axis=-1)
    figures = {
        "pixel_error": metrics.pixel_error(found, truth, visible),
        "pck@0.2": metrics.pck(found, truth, visible, sides, threshold=0.2),
    }
    known = people["head_size"] > 0
    heads = found[known], truth[known], visible[known], people["head_size"][known]
    if known.any():
        figures["pckh@0.5"] = metrics.pck(*heads, threshold=0.5)
    results = {"people": len(found)} | {name: _number(figure["mean"]) for name, figure in figures.items()}
    if known.any() and skeleton.keypoints == skeletons.MPII.keypoints:
        results["mpii"] = {name: _number(value) for name, value in metrics.pckh(*heads).items()}
    results["joints"] = {
        joint: {"labelled": int((visible[:, k] > 0).sum())}
        | {name: _number(figure["joints"][k]) for name, figure in figures.items()}
        for k, joint in enumerate(skeleton.keypoints)
    }
    return results


def _number(value):
    """A figure for JSON, which has no NaN: None where there is none."""
    return None if np.isnan(value) else value


def _as_detections(people, estimator):
    """What was found as `metrics.coco_ap` takes it; a box of the ground truth has the score 1."""
    height, width = estimator.image_size
    _, sizes = box_ops.crop_region(people["box"], width / height, estimator.box_padding)
    return {
        "image_id": people["image_id"],
        "keypoints": people["found"],
        "score": metrics.rescore(people.get("score", np.ones(len(people["box"]))), people["found_scores"]),
        "area": np.prod(sizes, axis=-1),  # of the crop: as published, for the suppression of doubles
    }
