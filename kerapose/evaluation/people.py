"""The protocol of bottom-up 2D pose: everybody in every image of a data set."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerapose import metrics, skeletons
from kerapose.data import people as people_data
from kerapose.estimators import BottomUpEstimator
from kerapose.evaluation.asking import compiled
from kerapose.evaluation.poses import can_measure_ap
from kerapose.evaluation.progress import make_bar
from kerapose.ops import grouping
from kerapose.skeletons import Skeleton
from kerapose.types import Array


def people_figures(estimator: BottomUpEstimator, images: tf.data.Dataset, skeleton: Skeleton) -> dict[str, Any]:
    """How good an estimator is on a data set: whom it finds, and COCO's AP.

    Args:
        estimator: what it finds is given the keypoints of the data set (`skeletons.convert`); one that it does not know
            counts as not found.
        images: elements of `data.people`, those without people too.
        skeleton: the `Skeleton` of the people in them.

    Returns:
        A dict of "images"; "people", how many have a labelled keypoint and are no crowd; "people_found";
        "images_beyond_bounds", in how many somebody was left out for the estimator's bounds; and "coco", where the
        skeleton has sigmas, a dict of what `metrics.coco_ap` gives.

    Example:
        >>> import keras
        >>> from kerapose import evaluation
        >>> from kerapose.data import people
        >>> estimator = keras.models.load_model("runs/openpose/model.keras")
        >>> images, skeleton = people.from_coco("people.json", image_dir=".")
        >>> figures = evaluation.people_figures(estimator, images, skeleton)
        >>> figures["images"], figures["people"], list(figures["coco"])[:3]
        (1, 2, ['AP', 'AP50', 'AP75'])

    Papers: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; Osokin, "Real-time 2D Multi-Person Pose
    Estimation on CPU: Lightweight OpenPose", ICPRAM 2019.
    """
    truth, image_ids = people_data.annotations(images, skeleton), people_data.image_ids(images)
    found, cut_short = found_people(estimator, images, skeleton)
    labelled = (truth["visibility"] > 0).any(axis=1) & ~truth["is_crowd"]
    results = {
        "images": len(image_ids),
        "people": int(labelled.sum()),
        "people_found": len(found["image_id"]),
        "images_beyond_bounds": cut_short,
    }
    if can_measure_ap(skeleton):
        results["coco"] = metrics.coco_ap(truth, found, skeleton.sigmas, image_ids=image_ids)
    return results


def found_people(
    estimator: BottomUpEstimator, images: tf.data.Dataset, skeleton: Skeleton
) -> tuple[dict[str, Array], int]:
    """Everybody in every image of a data set, as an estimator finds them.

    Args:
        estimator: a `BottomUpEstimator`.
        images: elements of `data.people`.
        skeleton: the one to give keypoints in.

    Returns:
        {"image_id": [N], "keypoints": [N, K, 2] pixels of the image, (0, 0) where not found, as published, "score":
        [N]}, and in how many images somebody was left out for the estimator's bounds.

    Example:
        >>> import keras
        >>> from kerapose import evaluation
        >>> from kerapose.data import people
        >>> estimator = keras.models.load_model("runs/openpose/model.keras")
        >>> images, skeleton = people.from_coco("people.json", image_dir=".")
        >>> found, cut_short = evaluation.found_people(estimator, images, skeleton)
        >>> found["keypoints"].shape[1:], sorted(found)
        ((17, 2), ['image_id', 'keypoints', 'score'])
    """
    answer = compiled(estimator, estimator.__call__, [tf.TensorSpec((None, None, 3), tf.uint8)])
    image_ids, keypoints, scores, ranks = [], [], [], []
    cut_short, bar = 0, make_bar(None, "image")
    for element in people_data.evaluation(images):
        found = answer(element["image"])
        count = int(found["count"])
        image_ids += [int(element["image_id"])] * count
        keypoints.append(found["keypoints"][:count])
        scores.append(found["scores"][:count])
        ranks.append(grouping.people_score(found["person_scores"][:count], found["num_keypoints"][:count]))
        cut_short += int(found["overflow"])
        bar.add(1)
    keypoints, scores = np.concatenate(keypoints), np.concatenate(scores)
    keypoints, _ = skeletons.convert(keypoints, scores, estimator.skeleton, skeleton, missing="zero")
    found = {"image_id": np.array(image_ids, int), "keypoints": keypoints}
    return found | {"score": np.concatenate(ranks)}, cut_short
