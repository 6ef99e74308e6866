"""What is in a data set of people: those that can be learnt from, what is annotated, and what cannot be right."""

import weakref

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose.data import annotated, selection
from kerapose.data.gate import images as rules
from kerapose.skeletons import Skeleton
from kerapose.types import Array

_trainable_datasets = weakref.WeakSet()


def trainable(dataset: tf.data.Dataset, skeleton: Skeleton) -> tf.data.Dataset:
    """Those people of a dataset that a network can learn from; how many others there are, and why, is logged.

    Left out are crowds, people without a labelled keypoint, and boxes without area. The annotations are read once;
    what this function gave is not read again by it, nor by `training` and `validation`, which ask it themselves.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.

    Returns:
        A `tf.data.Dataset` of elements, whose `cardinality()` is known.

    Raises:
        BadDataError: naming the images where annotations cannot be right, as in `check`.
        ValueError: if it has nobody to learn from, or other keypoints than the skeleton.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import crops
        >>> seen = np.full((2, 17), 2) * [[1], [0]]  # of the second person no keypoint is labelled
        >>> dataset = crops.from_arrays([image, image], boxes, keypoints[:, 0], seen, skeletons.COCO)
        >>> int(crops.trainable(dataset, skeletons.COCO).cardinality())
        1
    """
    if dataset in _trainable_datasets:
        return dataset
    people = annotations(dataset, skeleton)
    annotated.check_people(people)
    reasons = _untrainable(people)
    keep = ~np.any(list(reasons.values()), axis=0)
    if not keep.any():
        raise ValueError(
            f"A dataset has at least one person to learn from, got {len(keep)} people, {rules.counted(reasons)}; "
            "check the split and its annotations."
        )
    if not keep.all():
        counted = rules.counted(reasons)
        logging.info("%d of %d people are left out of training: %s.", (~keep).sum(), len(keep), counted)
    dataset = selection.kept(dataset, keep)
    _trainable_datasets.add(dataset)
    return annotated.mark_sound(dataset)


def annotations(dataset: tf.data.Dataset, skeleton: Skeleton) -> dict[str, Array]:
    """All that is known of the people of a dataset but their images, as arrays: the ground truth of an evaluation.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.

    Returns:
        {"keypoints": [N, K, 2], "visibility": [N, K], "box": [N, 4], "area", "head_size", "is_crowd", "image_id",
        "person_id", "name": [N] strings}, NumPy arrays in the order of the dataset.

    Raises:
        ValueError: if the dataset is empty or has other keypoints than the skeleton.

    Example:
        >>> from kerapose.data import crops
        >>> truth = crops.annotations(*crops.from_coco("people.json", image_dir="."))
        >>> truth["keypoints"].shape, truth["area"].round().tolist(), truth["name"].tolist()
        ((2, 17, 2), [7660.0, 7660.0], ['street.jpg', 'street.jpg'])
    """
    annotated.check_keypoints(dataset, skeleton)
    batches = list(dataset.map(annotated.without_image).batch(1024).as_numpy_iterator())
    if not batches:
        raise ValueError("A dataset has at least one person, got none; check the split and how it was prepared.")
    people = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    return people | {"name": np.array([name.decode() for name in people["name"]], object)}


def check(dataset: tf.data.Dataset, skeleton: Skeleton) -> int:
    """Reads a whole dataset once, decodes each of its images, and raises if a network could not be trained on it.

    Args:
        dataset: of elements.
        skeleton: the `Skeleton` that its keypoints should have.

    Returns:
        How many people there are.

    Raises:
        BadDataError: naming and counting images that are not there, cannot be decoded or are of another size than
            annotated, and images with people who break a rule of `data.gate.images`. Its `names` are for `skip`. What
            is only suspicious is told of in a warning. People whom training leaves out (`trainable`) are sound.
        ValueError: if it has nobody to learn from, or other keypoints than the skeleton.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import crops
        >>> dataset = crops.from_arrays([image, image], boxes, keypoints[:, 0], None, skeletons.COCO)
        >>> crops.check(dataset, skeletons.COCO)
        2
        >>> mixed_up = crops.from_arrays([image, image], boxes[::-1], keypoints[:, 0], None, skeletons.COCO)
        >>> crops.check(mixed_up, skeletons.COCO)
        Traceback (most recent call last):
            ...
        kerapose.data.gate.report.BadDataError: Keypoints lie in the boxes of their people, got 2 of 2 people
        with more than half of the labelled ones outside of the box and its margin (0: keypoint at (80, 59.2)
        with the box [160, 30, 240, 210]); give boxes as left, top, right, bottom in pixels of the same picture,
        or leave them out with `skip(dataset, error.names)`.
    """
    people = annotations(dataset, skeleton)
    _, firsts, of_person = np.unique(people["image_id"], return_index=True, return_inverse=True)
    order_read = np.argsort(firsts)  # the images come in the order of the dataset
    is_first = np.isin(np.arange(len(people["box"])), firsts)
    images = {key: people[key][is_first] for key in ("name", "size")}
    annotated.check(dataset, is_first, images, people, np.argsort(order_read)[of_person])
    if np.any(list(_untrainable(people).values()), axis=0).all():
        trainable(dataset, skeleton)  # which says why
    return len(of_person)


def _untrainable(people):
    """Why there is nothing to learn from people: {reason: [N] bool}."""
    width, height = (people["box"][:, 2:] - people["box"][:, :2]).T
    return {
        "crowds": people["is_crowd"],
        "without a labelled keypoint": ~(people["visibility"] > 0).any(axis=1),
        "without the area of a box": (width == 0) | (height == 0),
    }
