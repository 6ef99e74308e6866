"""The pipeline of action recognition: sequences of keypoints to batches of clips.

Every source yields the same element, and every step is a pure function of it:

    {"keypoints": [M, T, K, 2] pixels, "scores": [M, T, K], "frame_size": [2] height and width,
     "label": int, "name": str}

or, of 3D skeletons, which a virtual camera turns into that (`seen_from`, `training`):

    {"poses_m": [M, T, K, 3] metres, z up, "scores": [M, T, K], "label": int, "name": str}

Batches are ({"keypoints": [B, M, L, K, 2] pixels of the volume, "scores": [B, M, L, K]}, labels [B]); people that a
clip lacks beside others of its batch have score 0, so nothing is drawn for them. `layers.HeatmapVolume` turns such a
batch into volumes inside a model, `volumes` does so in the pipeline. What a valid clip is says the gate,
`data.gate.sequences`, of 3D skeletons `data.gate.poses`.
"""

import typing
import weakref
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from kerapose import mirrors, skeletons
from kerapose.data import gate, order, predictions, prepared, pyskl, selection, slots
from kerapose.data import virtual_views as virtual
from kerapose.data.gate import poses as pose_gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.ops import clips as clip_ops
from kerapose.ops import heatmaps, sequences
from kerapose.types import ArrayLike, Edges, Path, Size

NotPreparedError = prepared.NotPreparedError
CROWDED_SHARE = 0.05  # of the clips may show more people than usual
SHUFFLE_BUFFER = 10_000  # clips, where nobody knows how many there are
BadDataError = gate.BadDataError
Views = virtual.Views
holds_poses = virtual.holds_poses

# Graphs that are larger than the rest of a pipeline, made once for all pipelines of the same options.
_training_clip = tf.function(clip_ops.training_clip, autograph=False)
_evaluation_clips = tf.function(clip_ops.evaluation_clips, autograph=False)

_told = weakref.WeakKeyDictionary()  # by dataset: the warnings that the gate gave when it was read
_sizes = weakref.WeakKeyDictionary()  # by dataset: of each clip how many people it shows, and its frames, [N, 2]


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
        >>> dataset = from_arrays([walk, run], labels=[0, 1], skeleton=skeletons.COCO, frame_sizes=(1080, 1920))
    """
    if len(keypoints) != len(labels):
        raise ValueError(f"Each clip has one label, got {len(keypoints)} clips and {len(labels)} labels; match them.")
    report = gate.Report("clips", ", or leave them out")
    elements = elements_of(report, keypoints, labels, skeleton, scores, frame_sizes, names, num_classes)
    report.close()
    dataset = dataset_of(elements, range(len(elements)), skeleton)
    _told[dataset] = report.told
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
        >>> dataset = from_poses([walk, run], labels=[0, 1], skeleton=skeletons.NTU, up="y")
        >>> from_the_side = seen_from(dataset, azimuth_degrees=90)
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
    _told[dataset] = report.told
    return dataset


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
    """
    report = gate.Report("clips", "")
    element = sequence_gate.read_clip(report, keypoints, skeleton, scores, frame_size, label, name, num_classes)
    report.close()
    return element


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
        >>> dataset = from_pyskl("ntu60_hrnet.pkl", "xsub_train", skeletons.COCO, num_classes=60)
    """
    annotations = pyskl.read_annotations(path, skeleton, num_classes, skip, up)
    dataset = dataset_of(annotations.clips, annotations.names_of(split), skeleton, is_3d=annotations.is_3d)
    _told[dataset] = annotations.told
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
        >>> dataset = from_predictions(["predicted/walk.json", "predicted/run.json"], [0, 1], skeletons.OPENPOSE)
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
        [one.keypoints for one in filled],
        labels,
        skeleton,
        [one.scores for one in filled],
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
    """
    builder = prepared.find(name, split, data_dir)
    return builder.as_dataset(split=split, shuffle_files=False), builder.info


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
        >>> from_the_side = seen_from(from_pyskl("ntu60_3danno.pkl", "xsub_val", skeletons.NTU), azimuth_degrees=90)
    """
    if not holds_poses(dataset):
        raise ValueError("Only 3D skeletons can be seen from anywhere, got keypoints; leave seen_from out.")
    fixed = Views((azimuth_degrees,) * 2, (height_m,) * 2, (distance_m,) * 2)
    view = [np.float32(value) for value in (np.radians(azimuth_degrees), height_m, fixed.distances_m[0])]
    viewed = dataset.map(lambda element: virtual.seen(element, *view), tf.data.AUTOTUNE)
    for known in (_told, _sizes):
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
        >>> dataset = convert(coco_clips, skeletons.COCO, skeletons.JHMDB)
    """
    figures = "poses_m" if holds_poses(dataset) else "keypoints"
    matrix = skeletons.mapping(source, target)  # [K', K]
    made_of = (matrix != 0)[None, None]  # [1, 1, K', K]
    lacking = [name for name, row in zip(target.keypoints, matrix, strict=True) if not row.any()]
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
        >>> try:
        ...     check(dataset, skeletons.COCO, num_classes=60)
        ... except BadDataError as error:
        ...     dataset = skip(dataset, error.names)
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
    report.told |= _told.get(dataset, set())
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
    _sizes[dataset] = np.array(sizes)
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
        >>> dataset = skip(dataset, ["S001C001P001R001A001"])
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
        >>> steps_per_epoch = -(-int(trainable(dataset).cardinality()) // 16)
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
    _sizes[dataset] = sizes[keep]
    return dataset


def usual(dataset: tf.data.Dataset) -> dict[str, int]:
    """How long clips are and how many people they show, as whoever looks at other videos wants to know.

    Args:
        dataset: of elements, with videos or without; one that `check` or `trainable` has read is not read again.

    Returns:
        {"frames": of the clip in the middle, "people": of all but the 5 % with the most}, from 1 on.

    Example:
        >>> usual(dataset)
        {'frames': 61, 'people': 2}
    """
    people, lengths = _measured(dataset).T
    most = np.quantile(people, 1 - CROWDED_SHARE, method="inverted_cdf")
    return {"frames": max(1, int(np.median(lengths))), "people": max(1, int(most))}


def training(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    batch_size: int = 16,
    num_frames: int = 48,
    size: Size = (56, 56),
    seed: int = 0,
    first_step: int = 0,
    flip_probability: float = 0.5,
    flip_labels: ArrayLike | None = None,
    rotation_degrees: float = 0.0,
    use_scores: bool = True,
    p_interval: Sequence[float] = (1.0, 1.0),
    views: Views | None = None,
    **augmentation: typing.Any,
) -> tf.data.Dataset:
    """Endless shuffled batches of random clips.

    The n-th batch is a function of the dataset, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had. Clips that show nobody are left out (`trainable`).

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: clips a batch.
        num_frames: frames a clip, L.
        size: height and width of the volume, pixels.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; they are not augmented, only counted.
        flip_probability: of mirroring a clip; where the skeleton does not know its sides, none is.
        flip_labels: [C] the class that each becomes in a mirror (`mirrors.mirrored_labels`). None: its own.
        rotation_degrees: greatest angle by which a clip is turned, either way; 0 in the published recipe.
        use_scores: whether a keypoint is drawn as high as its score, or every one that was found with 1.
        p_interval: least and greatest share of a sequence, of which one is drawn for each clip that is taken from so
            long an interval (`ops.sequences.sample_frames`); (1, 1), as published for PoseConv3D: whole sequences.
        views: of 3D skeletons, from which a view of each clip is drawn. None: all as of `seen_from`.
        **augmentation: `padding`, `short_side_px`, `area_range`, `aspect_range` of `ops.clips.training_clip`.

    Returns:
        A `tf.data.Dataset` of batches.

    Raises:
        ValueError: if `p_interval` is no range of shares, or there are `views` and no 3D skeletons.

    Example:
        >>> batches = training(dataset, skeletons.COCO, batch_size=32)
        >>> model.fit(batches, steps_per_epoch=100)
    """
    num_frames, *size = map(int, (num_frames, *size))
    words = sequences.num_words(num_frames)
    flip_probability = mirrors.allowed(flip_probability, skeleton)
    p_interval = sequences.check_p_interval(p_interval)
    if views is not None and not holds_poses(dataset):
        raise ValueError("views are those of 3D skeletons, got a dataset of keypoints; leave them out.")
    if views is None and holds_poses(dataset):
        views = Views()

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(index, element):
        draws = tf.random.stateless_uniform((words,), [2 * seed, index], 0, 2**31 - 1, tf.int32)
        uniforms = tf.random.stateless_uniform((24,), [2 * seed + 1, index])
        flip = uniforms[0] < flip_probability
        angle = (uniforms[1] * 2 - 1) * np.float32(np.radians(rotation_degrees))
        if views is not None:  # of a stream of its own, so that the others are those of keypoints
            element = virtual.seen(element, *views.draw([2 * seed + 1, -1 - index]))
        keypoints, scores = _training_clip(
            element["keypoints"],
            element["scores"] if use_scores else clip_ops.full_scores(element["scores"]),
            element["frame_size"],
            draws,
            uniforms[2:],
            flip,
            skeleton.flip_permutation,
            num_frames,
            size,
            rotation=angle,
            p_interval=p_interval,
            **augmentation,
        )
        label = element["label"]
        if flip_labels is not None:
            label = tf.where(flip, tf.gather(tf.constant(flip_labels, tf.int64), label), label)
        return {"keypoints": keypoints, "scores": scores}, label

    dataset, first = trainable(dataset).cache(), first_step * batch_size
    elements = order.shuffled_endlessly(dataset, seed, first).enumerate(first)
    return _batched(elements.map(augment, tf.data.AUTOTUNE), batch_size)


def evaluation(
    dataset: tf.data.Dataset,
    batch_size: int = 16,
    num_frames: int = 48,
    size: Size = (64, 64),
    use_scores: bool = True,
    padding: float = 0.25,
) -> tf.data.Dataset:
    """Batches of one deterministic clip a sequence, in order, the last one as small as it comes.

    Args:
        dataset: of elements; 3D skeletons are seen from in front (`seen_from`).
        batch_size: clips a batch.
        num_frames: frames a clip, L.
        size: height and width of the volume, pixels.
        use_scores: as in `training`.
        padding: of the compact box, as a fraction of its half size.

    Returns:
        A `tf.data.Dataset` of batches.
    """
    num_frames, *size = map(int, (num_frames, *size))
    dataset = seen_from(dataset) if holds_poses(dataset) else dataset

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(element):
        scores = element["scores"] if use_scores else clip_ops.full_scores(element["scores"])
        given = element["keypoints"], scores, element["frame_size"], num_frames
        keypoints, scores = _evaluation_clips(*given, size=size, padding=padding)
        return {"keypoints": keypoints[0], "scores": scores[0]}, element["label"]

    # Not cached: whoever looks at one batch and stops may leave a cache that ends there, without a word.
    return _batched(dataset.map(prepare, tf.data.AUTOTUNE), batch_size)


def volumes(batches: tf.data.Dataset, size: Size, edges: Edges | None = None, sigma_px: float = 0.6) -> tf.data.Dataset:
    """Turns batches of clips into batches of heatmap volumes, for a network without a `HeatmapVolume` before it.

    Args:
        batches: of `training` or `evaluation`.
        size: height and width of the volume, as given there.
        edges: limbs to draw (`Skeleton.edges`). None: the joints.
        sigma_px: standard deviation of the Gaussians, pixels of the volume.

    Returns:
        A `tf.data.Dataset` of (volumes [B, L, H, W, K or E], labels [B]).
    """

    @tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of a dozen
    def draw(clip):
        if edges is None:
            return heatmaps.joint_volume(clip["keypoints"], clip["scores"], *size, sigma_px)
        return heatmaps.limb_volume(clip["keypoints"], clip["scores"], edges, *size, sigma_px)

    return batches.map(lambda clips, labels: (draw(clips), labels), tf.data.AUTOTUNE).prefetch(2)


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


def _batched(clips, batch_size):
    """Pads people with zeros (score 0) to the most in each batch."""
    return clips.padded_batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _measured(dataset):
    """Of each clip how many people it shows, and its frames: [N, 2]."""
    if dataset not in _sizes:
        scores = dataset.map(_drawn_scores, tf.data.AUTOTUNE)
        _sizes[dataset] = np.array([_size_of(one) for one in scores.as_numpy_iterator()]).reshape(-1, 2)
    return _sizes[dataset]


@tf.autograph.experimental.do_not_convert
def _drawn_scores(element):
    """The scores [M, T, K] of a clip, 0 where nothing is drawn."""
    figures = element["poses_m"] if "poses_m" in element else element["keypoints"]
    return clip_ops.without_missing(figures, element["scores"])[1]


def _size_of(scores):
    """How many people of scores [M, T, K] are drawn in some frame, and T."""
    return int((scores >= heatmaps.MIN_SCORE).any(axis=(1, 2)).sum()), scores.shape[1]
