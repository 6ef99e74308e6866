"""Where clips come from: arrays, annotation files, predictions, prepared data sets; with other keypoints, seen anew."""

import typing
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from kerapose import skeletons
from kerapose.data import gate, predictions, prepared, pyskl, slots
from kerapose.data import virtual_views as virtual
from kerapose.data.clips import checks
from kerapose.data.gate import poses as pose_gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.ops import clips as clip_ops
from kerapose.types import ArrayLike, Path, Size


def from_arrays(
    keypoints: Sequence[ArrayLike],
    labels: Sequence[int],
    skeleton: skeletons.Skeleton,
    scores: Sequence[ArrayLike] | None = None,
    frame_sizes: Sequence[Size] | Size | None = None,
    names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> tf.data.Dataset:
    """A dataset of sequences that are in memory.

    Args:
        keypoints: list of [M, T, K, 2] (or [T, K, 2] for one person) arrays, pixels, x first; (0, 0) or NaN where
            missing. M may be 0.
        labels: list of class indices.
        skeleton: the `Skeleton` of the keypoints.
        scores: list of [M, T, K] (or [T, K]) arrays; missing where 0, whatever the place. None: 1 where a keypoint is
            not missing.
        frame_sizes: list of (height, width), pixels, or one pair for all. None: just large enough for the keypoints.
        names: list of clip names. None: their numbers.
        num_classes: how many classes there are. None: not checked.

    Returns:
        A `tf.data.Dataset` of elements.

    Raises:
        BadDataError: naming the clips that are not as described (see `check`).
        ValueError: if there are not as many labels as clips.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> one, both = keypoints[:1], keypoints  # one person, and two
        >>> dataset = clips.from_arrays([one, both], [0, 1], skeletons.COCO, frame_sizes=frame_size)
        >>> [tuple(clip["keypoints"].shape) for clip in dataset]
        [(1, 30, 17, 2), (2, 30, 17, 2)]
    """
    if len(keypoints) != len(labels):
        raise ValueError(f"Each clip has one label, got {len(keypoints)} clips and {len(labels)} labels; match them.")
    report = gate.Report("clips", ", or leave them out")
    elements = elements_of(report, keypoints, labels, skeleton, scores, frame_sizes, names, num_classes)
    report.close()
    dataset = dataset_of(elements, range(len(elements)), skeleton)
    checks.told_of[dataset] = report.told
    return dataset


def from_poses(
    poses_m: Sequence[ArrayLike],
    labels: Sequence[int],
    skeleton: skeletons.Skeleton,
    scores: Sequence[ArrayLike] | None = None,
    names: Sequence[str] | None = None,
    num_classes: int | None = None,
    up: str = "z",
) -> tf.data.Dataset:
    """A dataset of 3D skeletons that are in memory, those of a depth sensor or of motion capture.

    Args:
        poses_m: list of [M, T, K, 3] (or [T, K, 3] for one person) arrays, metres; (0, 0, 0) or NaN where missing.
            People who are missing throughout are left out.
        labels: list of class indices.
        skeleton: the `Skeleton` of the joints.
        scores: list of [M, T, K] (or [T, K]) arrays; missing where 0. None: 1 where a joint is not missing.
        names: list of clip names. None: their numbers.
        num_classes: how many classes there are. None: not checked.
        up: which axis is up, "z", or "y" of a Kinect's own axes (`data.gate.poses.to_world`).

    Returns:
        A `tf.data.Dataset` of elements of 3D skeletons, z up.

    Raises:
        BadDataError: naming the clips that are not as described, in other units than metres for one (see `check`).
        ValueError: if there are not as many labels, scores or names as clips.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> poses = poses_m[..., [0, 2, 1]] * [1, 1, -1]  # z up
        >>> dataset = clips.from_poses([poses], labels, skeletons.H36M)
        >>> tuple(next(iter(dataset))["poses_m"].shape)  # [M, T, K, 3]
        (1, 30, 17, 3)
    """
    for what, given in (("labels", labels), ("scores", scores), ("names", names)):
        if given is not None and (isinstance(given, str) or len(given) != len(poses_m)):
            raise ValueError(f"{what} are one for each of {len(poses_m)} clips, got {len(given)}; match the lists.")
    report, elements = gate.Report("clips", ", or leave them out"), []
    for i, poses in enumerate(poses_m):
        figures = sequence_gate.numbers(poses)
        if np.ndim(figures) in (3, 4) and figures.shape[-1] == 3:  # others are refused below
            poses = pose_gate.to_world(figures, up)
        given, name = None if scores is None else scores[i], str(i if names is None else names[i])
        elements.append(pose_gate.read_poses(report, poses, skeleton, given, labels[i], name, num_classes))
    sequence_gate.note_repeated(report, [] if names is None else names)
    report.close()
    dataset = dataset_of(elements, range(len(elements)), skeleton, is_3d=True)
    checks.told_of[dataset] = report.told
    return dataset


def from_pyskl(
    path: Path,
    split: str,
    skeleton: skeletons.Skeleton,
    num_classes: int | None = None,
    skip: Iterable[str] = (),
    up: str = "y",
) -> tf.data.Dataset:
    """A dataset of one split of a PYSKL annotation file, of 2D or of 3D skeletons.

    Args:
        path: of the pickle, which is read safely.
        split: name of a split in it ("xsub_train").
        skeleton: the `Skeleton` of its keypoints.
        num_classes: how many classes there are. None: not checked.
        skip: names of clips to leave out, such as those of the error that refused the file.
        up: which axis of 3D skeletons is up; "y" in those of NTU RGB+D, which have Kinect's own axes.

    Returns:
        A `tf.data.Dataset` of elements; of 3D skeletons where the file holds these.

    Raises:
        BadDataError: if the file or a clip in it is not as described; its `names` are those of the clips.
        ValueError: if it has no such split, or no clip of a name to skip.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO, num_classes=2)
        >>> [(clip["name"].numpy(), int(clip["label"])) for clip in dataset]
        [(b'clip0', 0), (b'clip1', 1)]
    """
    annotations = pyskl.read_annotations(path, skeleton, num_classes, skip, up)
    dataset = dataset_of(annotations.clips, annotations.names_of(split), skeleton, is_3d=annotations.is_3d)
    checks.told_of[dataset] = annotations.told
    return dataset


def from_predictions(
    paths: Sequence[Path],
    labels: Sequence[int],
    skeleton: skeletons.Skeleton,
    num_classes: int | None = None,
    max_people: int = slots.MAX_PEOPLE,
    min_score: float | None = None,
) -> tf.data.Dataset:
    """A dataset of what `kerapose predict` or `kerapose extract` found in videos, a clip each.

    A clip in which nobody was found is kept; trainings leave it out (`trainable`), tests do not.

    Args:
        paths: of the JSON files; a clip is named after its own.
        labels: list of class indices.
        skeleton: the `Skeleton` of their keypoints.
        num_classes: how many classes there are. None: not checked.
        max_people: of a clip, chosen as by `data.slots.fill`; of how many clips people are left out is logged.
        min_score: a keypoint whose score is not above it counts as missing. None: as where they were found.

    Returns:
        A `tf.data.Dataset` of elements.

    Raises:
        BadDataError: naming the clips that are not as described (see `check`).
        ValueError: if a file is something else, or of another skeleton, or there are not as many labels as files.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_predictions(["predicted/walk.json"], labels, skeletons.COCO)
        >>> clip = next(iter(dataset))
        >>> clip["name"].numpy(), tuple(clip["keypoints"].shape)
        (b'predicted/walk.json', (2, 30, 17, 2))
    """
    found = [predictions.read(path) for path in paths]
    for path, one in zip(paths, found, strict=True):
        if one.skeleton.keypoints != skeleton.keypoints:
            raise ValueError(
                f"Keypoints of clips must be those of {skeleton.name}, got {one.skeleton.name} in {path}; give its "
                "skeleton."
            )
    filled = [slots.fill(one, max_people, min_score) for one in found]
    crowded = sum(bool(one.left_out) for one in filled)
    if crowded:
        logging.info("In %d of %d clips there are more people than max_people, %d.", crowded, len(filled), max_people)
    return from_arrays(
        [one.keypoints if one.scores.any() else one.keypoints[:0] for one in filled],
        labels,
        skeleton,
        [one.scores if one.scores.any() else one.scores[:0] for one in filled],
        [one.frame_size for one in found],
        [str(path) for path in paths],
        num_classes,
    )


def from_tfds(name: str, split: str, data_dir: Path | None = None) -> tuple[tf.data.Dataset, "tfds.core.DatasetInfo"]:
    """A dataset of one split of a prepared TFDS dataset, with its description.

    Args:
        name: of the dataset and its config ("puppets", "pyskl_clips/ntu60").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.

    Returns:
        A `tf.data.Dataset` of elements, and the `tfds.core.DatasetInfo`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        ValueError: if it has no such split.

    Example:
        >>> from kerapose.data import clips
        >>> dataset, info = clips.from_tfds("puppets/clips", "train", data_dir=".")
        >>> int(dataset.cardinality()), info.features["label"].names
        (4, ['walk', 'kick'])
    """
    builder = prepared.find(name, split, data_dir)
    return builder.as_dataset(split=split, shuffle_files=False), builder.info


def make_element(
    keypoints: ArrayLike,
    skeleton: skeletons.Skeleton,
    scores: ArrayLike | None = None,
    frame_size: Size | None = None,
    label: int = 0,
    name: str = "",
    num_classes: int | None = None,
) -> dict[str, typing.Any]:
    """One checked sequence, as every source yields it.

    Args:
        keypoints: [M, T, K, 2] (or [T, K, 2] for one person), pixels, x first; (0, 0) or NaN where missing.
        skeleton: the `Skeleton` of the keypoints.
        scores: [M, T, K] (or [T, K]); missing where 0, whatever the place. None: 1 where a keypoint is not missing.
        frame_size: (height, width), pixels. None: just large enough for the keypoints.
        label: class index.
        name: what errors call the sequence.
        num_classes: how many classes there are. None: any label from 0 on.

    Returns:
        {"keypoints", "scores", "frame_size", "label", "name"}, NumPy arrays but for the name.

    Raises:
        BadDataError: if the sequence is not as described (see `check`), or shows nobody.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> clip = clips.make_element(keypoints[0], skeletons.COCO, frame_size=frame_size)
        >>> clip["keypoints"].shape, clip["frame_size"].tolist()
        ((1, 30, 17, 2), [240, 320])
        >>> clips.make_element(keypoints / 320, skeletons.COCO)
        Traceback (most recent call last):
            ...
        kerapose.data.gate.report.BadDataError: Keypoints are in pixels, got one with 90% or more of the seen
        ones, or of a person's, within 1.5 px of (0, 0) (none beyond 0.85); multiply them by width and height if
        they are 0..1.
    """
    report = gate.Report("clips", "")
    element = sequence_gate.read_clip(report, keypoints, skeleton, scores, frame_size, label, name, num_classes)
    report.close()
    return element


def elements_of(
    report: gate.Report,
    keypoints: Sequence[ArrayLike],
    labels: Sequence[int],
    skeleton: skeletons.Skeleton,
    scores: Sequence[ArrayLike] | None,
    frame_sizes: Sequence[Size] | Size | None,
    names: Sequence[str] | None,
    num_classes: int | None,
) -> list[dict[str, typing.Any] | None]:
    """The elements of arrays, as `from_arrays` takes them, and what is wrong with them noted; None for what is none."""
    sizes = [None] * len(keypoints)
    if frame_sizes is not None:
        sizes = sequence_gate.sizes_of_all(frame_sizes, len(keypoints))
    for what, given in (("scores", scores), ("names", names)):
        if given is not None and (isinstance(given, str) or len(given) != len(keypoints)):
            raise ValueError(f"{what} are one for each of {len(keypoints)} clips, got {len(given)}; match the lists.")
    elements = []
    for i, points in enumerate(keypoints):
        name = str(i if names is None else names[i])
        given = None if scores is None else scores[i]
        elements.append(
            sequence_gate.read_clip(report, points, skeleton, given, sizes[i], labels[i], name, num_classes)
        )
    sequence_gate.note_repeated(report, [] if names is None else names)
    return elements


def seen_from(
    dataset: tf.data.Dataset, azimuth_degrees: float = 0.0, height_m: float = 0.0, distance_m: float = 3.0
) -> tf.data.Dataset:
    """3D skeletons as one camera sees each clip: a dataset of keypoints like any other.

    Args:
        dataset: of elements of 3D skeletons.
        azimuth_degrees: how far the camera has gone round the people, counter-clockwise as seen from above; at 0 it
            looks along y, as a depth sensor does.
        height_m: of the camera above the people's centre, metres.
        distance_m: on the ground, from the camera to the people's centre, metres.

    Returns:
        A `tf.data.Dataset` of elements, in pixels of a picture in which everybody just fits.

    Raises:
        ValueError: if the elements are keypoints already, or the distance is not above 0.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> poses = poses_m[..., [0, 2, 1]] * [1, 1, -1]  # z up; a wrist swings forward and back
        >>> dataset = clips.from_poses([poses], labels, skeletons.H36M)
        >>> for degrees in (0, 90):  # from the side, that is seen
        ...     clip = next(iter(clips.seen_from(dataset, azimuth_degrees=degrees)))
        ...     print(degrees, round(float(np.ptp(clip["keypoints"][0, :, 13, 0]))))
        0 87
        90 1068
    """
    if not virtual.holds_poses(dataset):
        raise ValueError("Only 3D skeletons can be seen from anywhere, got keypoints; leave seen_from out.")
    fixed = virtual.Views((azimuth_degrees,) * 2, (height_m,) * 2, (distance_m,) * 2)
    view = [np.float32(value) for value in (np.radians(azimuth_degrees), height_m, fixed.distances_m[0])]
    viewed = dataset.map(lambda element: virtual.seen(element, *view), tf.data.AUTOTUNE)
    for known in (checks.told_of, checks.sizes_of):
        if dataset in known:
            known[viewed] = known[dataset]
    return viewed


def convert(dataset: tf.data.Dataset, source: skeletons.Skeleton, target: skeletons.Skeleton) -> tf.data.Dataset:
    """Maps the keypoints of a dataset from one set to another, so that a network of one can learn from the other.

    Args:
        dataset: of elements with the keypoints of `source`.
        source: a `Skeleton`.
        target: a `Skeleton` whose joints can all be derived from those of `source` (`skeletons.mapping`).

    Returns:
        A `tf.data.Dataset` of elements with the keypoints of `target`, or 3D skeletons, as `skeletons.convert` gives
        them: a derived joint has the least score of those that it is made of, and is missing where one of them is.

    Raises:
        ValueError: naming the joints that cannot be derived.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> converted = clips.convert(dataset, skeletons.COCO, skeletons.OPENPOSE)  # with a neck
        >>> tuple(next(iter(converted))["keypoints"].shape)
        (2, 30, 18, 2)
    """
    figures = "poses_m" if virtual.holds_poses(dataset) else "keypoints"
    matrix = skeletons.mapping(source, target)  # [K', K]
    made_of = (matrix != 0)[None, None]  # [1, 1, K', K]
    lacking = skeletons.lacking(source, target)
    if lacking:
        raise ValueError(
            f"Keypoints of {target.name} must follow from those of {source.name}, {', '.join(lacking)} cannot; give "
            "another set."
        )

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def apply(element):
        keypoints, scores = clip_ops.without_missing(element[figures], element["scores"])
        present = scores > 0  # [M, T, K]
        derived_present = tf.reduce_all(present[:, :, None] | ~made_of, axis=-1)  # [M, T, K']
        derived = tf.einsum("jk,mtkx->mtjx", matrix, keypoints)
        least = tf.reduce_min(tf.where(made_of, scores[:, :, None], np.float32(np.inf)), axis=-1)
        return element | {
            figures: tf.where(derived_present[..., None], derived, 0.0),
            "scores": tf.where(derived_present, least, 0.0),
        }

    return dataset.map(apply, tf.data.AUTOTUNE)


def dataset_of(
    elements: typing.Any,
    keys: Sequence[typing.Any],
    skeleton: skeletons.Skeleton,
    source: str | None = None,
    is_3d: bool = False,
) -> tf.data.Dataset:
    """A dataset of `elements[key]` for each key; an element is fetched when its turn comes.

    Args:
        elements: by key, NumPy arrays each.
        keys: a sequence of them.
        skeleton: the `Skeleton` of the keypoints.
        source: "video" or "path" where elements have that, too.
        is_3d: whether they are 3D skeletons.

    Returns:
        A `tf.data.Dataset` whose `cardinality()` is known.
    """
    signature = {} if source is None else {source: tf.TensorSpec((), tf.string)}
    figure = (None, None, skeleton.num_keypoints)
    if is_3d:
        signature |= {"poses_m": tf.TensorSpec((*figure, 3), tf.float32)}
    else:
        signature |= {
            "keypoints": tf.TensorSpec((*figure, 2), tf.float32),
            "frame_size": tf.TensorSpec((2,), tf.int32),
        }
    signature |= {
        "scores": tf.TensorSpec(figure, tf.float32),
        "label": tf.TensorSpec((), tf.int64),
        "name": tf.TensorSpec((), tf.string),
    }
    dataset = tf.data.Dataset.from_generator(lambda: (elements[key] for key in keys), output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(keys)))
