"""What all action data sets of this folder share: the record of one clip, with its video or without."""

import numbers

import numpy as np
import tensorflow_datasets as tfds

from kerapose.data import gate
from kerapose.data.gate import poses, sequences


def features(skeleton, class_names, with_video=False, is_3d=False):
    """The features of one clip; README.md beside this file says what they mean.

    Args:
        skeleton: the `Skeleton` of the keypoints, or K where only their number is known.
        class_names: C names in the order of the labels, or C where only their number is known.
        with_video: whether the clip has its frames, an encoded video of T frames, beside its keypoints.
        is_3d: whether it has 3D skeletons, in place of keypoints and the size of a frame.

    Returns:
        A `FeaturesDict`.
    """
    figure = (None, None, skeleton if isinstance(skeleton, numbers.Integral) else skeleton.num_keypoints)
    classes = {"num_classes" if isinstance(class_names, numbers.Integral) else "names": class_names}
    video = {"video": tfds.features.Scalar(np.object_)} if with_video else {}  # bytes, as they are in a file
    if is_3d:
        figures = {"poses_m": tfds.features.Tensor(shape=(*figure, 3), dtype=np.float32, encoding="zlib")}
    else:
        figures = {
            "keypoints": tfds.features.Tensor(shape=(*figure, 2), dtype=np.float32, encoding="zlib"),
            "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
    return tfds.features.FeaturesDict(
        video
        | figures
        | {
            "scores": tfds.features.Tensor(shape=figure, dtype=np.float32, encoding="zlib"),
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
    report, people = gate.Report("clips", "", split), sequences.PEOPLE_OF_FILE
    for name, record in records:
        values = (record[key] for key in ("scores", "frame_size", "label"))
        clip = sequences.read_clip(report, record["keypoints"], skeleton, *values, name, people=people)
        if clip is not None:
            yield name, record | clip
    report.close()


def checked_3d(split, records, skeleton):
    """What `checked` does, with clips of 3D skeletons, z up."""
    report, people = gate.Report("clips", "", split), sequences.PEOPLE_OF_FILE
    for name, record in records:
        given = record["poses_m"], skeleton, record["scores"], record["label"], name
        clip = poses.read_poses(report, *given, people=people)
        if clip is not None:
            yield name, clip
    report.close()
