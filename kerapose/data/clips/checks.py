"""Which clips a network can be trained on, and how large they are; what was read once is not read again."""

import weakref
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import skeletons
from kerapose.data import gate, selection
from kerapose.data.gate import poses as pose_gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.ops import clips as clip_ops
from kerapose.ops import heatmaps

CROWDED_SHARE = 0.05  # of the clips may show more people than usual

told_of = weakref.WeakKeyDictionary()  # by dataset: the warnings that the gate gave when it was read
sizes_of = weakref.WeakKeyDictionary()  # by dataset: of each clip how many people it shows, and its frames, [N, 2]


def check(dataset: tf.data.Dataset, skeleton: skeletons.Skeleton, num_classes: int) -> int:
    """Reads a whole dataset once and raises if a network could not be trained on it; what is only odd is logged.

    Args:
        dataset: of elements.
        skeleton: the `Skeleton` that its keypoints should have.
        num_classes: how many classes there are.

    Returns:
        How many clips there are.

    Raises:
        BadDataError: naming all clips of wrong shapes or number of keypoints, without frames, with a label that is no
            class, a frame size that is none, or scores above 10; where more than half of the clips do it, those with
            keypoints about (0, 0) or beyond the frame, or 3D skeletons in other units than metres; and if nobody is
            seen in any clip. Its `names` are for `skip`.
        ValueError: if there is no clip at all.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> clips.check(dataset, skeletons.COCO, num_classes=2)
        2
        >>> clips.check(dataset, skeletons.COCO, num_classes=1)
        Traceback (most recent call last):
            ...
        kerapose.data.gate.report.BadDataError: Labels are whole numbers, 0 to 0, got 1 of 2 clips with another
        label (clip1: 1); correct it, or the number of classes, or leave them out with `skip(dataset,
        error.names)`.
    """
    return check_elements(dataset, skeleton, num_classes)


def check_elements(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    num_classes: int,
    note: Callable[..., None] = lambda report, raw, element: None,
) -> int:
    """What `check` does, and `note` with each element as it is in the dataset and as the gate reads it."""
    report, names, sizes = gate.Report("clips"), [], []
    report.told |= told_of.get(dataset, set())
    for raw in dataset.as_numpy_iterator():
        names.append(raw["name"].decode())
        described = (raw["label"], names[-1], num_classes)
        if "poses_m" in raw:
            element = pose_gate.read_poses(report, raw["poses_m"], skeleton, raw["scores"], *described)
        else:
            given = (raw["scores"], raw["frame_size"])
            element = sequence_gate.read_clip(report, raw["keypoints"], skeleton, *given, *described)
        sizes.append((0, 0) if element is None else _size_of(element["scores"]))
        if element is not None:
            note(report, raw, element)
    sequence_gate.note_repeated(report, names)
    if not names:
        raise ValueError("A dataset has at least one clip, got none; check the split and how it was prepared.")
    report.close()
    sizes_of[dataset] = np.array(sizes)
    return len(names)


def skip(dataset: tf.data.Dataset, names: Iterable[str]) -> tf.data.Dataset:
    """Leaves clips out of a dataset; how many is logged.

    Args:
        dataset: of elements.
        names: of the clips, such as those of a `BadDataError`.

    Returns:
        A `tf.data.Dataset` of elements, whose `cardinality()` is known.

    Raises:
        ValueError: naming those that the dataset does not have.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> [clip["name"].numpy() for clip in clips.skip(dataset, ["clip0"])]
        [b'clip1']
    """
    return selection.without(dataset, names, "clips")


def trainable(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Those clips of a dataset that show somebody; how many others there are is logged.

    Of a clip in which nobody was found nothing can be learnt, so trainings leave it out; tests keep it, since their
    figures are those of the whole split. The keypoints are read once; a dataset that `check` or this function has read
    is not read again.

    Args:
        dataset: of elements, with videos or without.

    Returns:
        A `tf.data.Dataset` of elements, whose `cardinality()` is known.

    Raises:
        ValueError: if there is no clip, or none that shows somebody.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> nobody = np.zeros_like(keypoints)
        >>> dataset = clips.from_arrays([keypoints, nobody], [0, 1], skeletons.COCO)
        >>> int(dataset.cardinality()), int(clips.trainable(dataset).cardinality())
        (2, 1)
    """
    sizes = _measured(dataset)  # [N, 2]
    keep = sizes[:, 0] > 0
    if not keep.any():
        raise ValueError(
            f"A dataset has at least one clip to learn from, got {len(keep)} clips and nobody seen in any; check the "
            "split and how it was prepared."
        )
    if keep.all() and int(dataset.cardinality()) == len(keep):
        return dataset
    if not keep.all():
        logging.info("%d of %d clips show nobody and are left out of training.", (~keep).sum(), len(keep))
    dataset = selection.kept(dataset, keep)
    sizes_of[dataset] = sizes[keep]
    return dataset


def usual(dataset: tf.data.Dataset) -> dict[str, int]:
    """How long clips are and how many people they show, as whoever looks at other videos wants to know.

    Args:
        dataset: of elements, with videos or without; one that `check` or `trainable` has read is not read again.

    Returns:
        {"frames": of the clip in the middle, "people": of all but the 5 % with the most}, from 1 on.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> clips.usual(clips.from_pyskl("clips.pkl", "train", skeletons.COCO))
        {'frames': 30, 'people': 2}
    """
    people, lengths = _measured(dataset).T
    most = np.quantile(people, 1 - CROWDED_SHARE, method="inverted_cdf")
    return {"frames": max(1, int(np.median(lengths))), "people": max(1, int(most))}


def _measured(dataset):
    """Of each clip how many people it shows, and its frames: [N, 2]."""
    if dataset not in sizes_of:
        scores = dataset.map(_drawn_scores, tf.data.AUTOTUNE)
        sizes_of[dataset] = np.array([_size_of(one) for one in scores.as_numpy_iterator()]).reshape(-1, 2)
    return sizes_of[dataset]


@tf.autograph.experimental.do_not_convert
def _drawn_scores(element):
    """The scores [M, T, K] of a clip, 0 where nothing is drawn."""
    figures = element["poses_m"] if "poses_m" in element else element["keypoints"]
    return clip_ops.without_missing(figures, element["scores"])[1]


def _size_of(scores):
    """How many people of scores [M, T, K] are drawn in some frame, and T."""
    return int((scores >= heatmaps.MIN_SCORE).any(axis=(1, 2)).sum()), scores.shape[1]
