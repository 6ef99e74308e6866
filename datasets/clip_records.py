"""What all action data sets of this folder share: the record of one clip, with its video or without."""

import numbers

import numpy as np
import tensorflow_datasets as tfds

from kerapose.data import gate
from kerapose.data.gate import sequences


def features(skeleton, class_names, with_video=False):
    """The features of one clip; README.md beside this file says what they mean.

    Args:
        skeleton: the `Skeleton` of the keypoints, or K where only their number is known.
        class_names: C names in the order of the labels, or C where only their number is known.
        with_video: whether the clip has its frames, an encoded video of T frames, beside its keypoints.

    Returns:
        A `FeaturesDict`.
    """
    figure = (None, None, skeleton if isinstance(skeleton, numbers.Integral) else skeleton.num_keypoints)
    classes = {"num_classes" if isinstance(class_names, numbers.Integral) else "names": class_names}
    video = {"video": tfds.features.Scalar(np.object_)} if with_video else {}  # bytes, as they are in a file
    return tfds.features.FeaturesDict(
        video
        | {
            "keypoints": tfds.features.Tensor(shape=(*figure, 2), dtype=np.float32, encoding="zlib"),
            "scores": tfds.features.Tensor(shape=figure, dtype=np.float32, encoding="zlib"),
            "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            "label": tfds.features.ClassLabel(**classes),
            "name": tfds.features.Text(),
        }
    )


def checked(split, records, skeleton=None):
    """Passes the clips of a split on as the gate reads them, and refuses the split behind the last if some are wrong.

    Args:
        split: name of the split, for errors.
        records: pairs of a name and a dict of what `features` declares, labels as indices.
        skeleton: the `Skeleton` of the keypoints; None where it is not known.

    Yields:
        The pairs; what is missing is at (0, 0) and has score 0.

    Raises:
        ValueError: naming all clips that the gate refuses.
    """
    report = gate.Report("clips", "", split)
    for name, record in records:
        values = (record[key] for key in ("scores", "frame_size", "label"))
        people = sequences.PEOPLE_OF_FILE
        clip = sequences.read_clip(report, record["keypoints"], skeleton, *values, name, people=people)
        if clip is not None:
            yield name, record | clip
    report.close()
