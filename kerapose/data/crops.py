"""The pipeline of top-down 2D pose: images with people to batches of crops, one crop a person.

Every source yields the same element, one a person, and every step is a pure function of it::

    {"image": encoded JPEG or PNG, "keypoints": [K, 2] pixels of the image, "visibility": [K] 0 not labelled,
     1 occluded, 2 visible, "box": [4] left, top, right, bottom in pixels, "area": pixels^2, "head_size": pixels, 0 if
     not known, "is_crowd": bool, "image_id": int, "person_id": int, "name": file name of the image, "size": [2]
     annotated height and width of the image, 0 if not known}

A keypoint that is not labelled lies at (0, 0). What a valid sample is says the gate, `data.gate.images`.

In place of "image" it may have "path", a file to be read when its turn comes, or "pixels", [H, W, 3] uint8 RGB, of
which each image is in memory once. Batches for training are (crops [B, H, W, 3], heatmaps [B, h, w, K], weights
[B, K]).

Images stay encoded until their batch is made; then each is decoded once for the people in a row that share it, and each
person is warped once, from the image to the crop. Shuffling keeps the encoded images of `shuffle_buffer` people in
memory, once for all people of an image, and nothing of images that are read by their paths.
"""

import functools
import typing
import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import mirrors
from kerapose.data import annotated, coco, gate, order, prepared, selection, service
from kerapose.data.gate import images as rules
from kerapose.ops import boxes as box_ops
from kerapose.ops import heatmaps as heatmap_ops
from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike, Path, Size

__all__ = [
    "BadDataError",
    "NotPreparedError",
    "annotations",
    "check",
    "evaluation",
    "from_arrays",
    "from_coco",
    "from_tfds",
    "skip",
    "trainable",
    "training",
    "validation",
]

NotPreparedError = prepared.NotPreparedError
BadDataError = gate.BadDataError
skip = annotated.skip
HALF_BODY_JOINTS = 8  # only people with more labelled ones than this are cut in half, as published
NUM_UNIFORMS = 9  # random numbers of an augmentation, beside two of a normal distribution

_trainable_datasets = weakref.WeakSet()


# ---------------------------------------- sources
def from_tfds(name: str, split: str, data_dir: Path | None = None) -> tuple[tf.data.Dataset, Skeleton]:
    """A dataset of the people in one split of a prepared TFDS dataset of images, and their skeleton.

    Args:
        name: of the dataset and its config ("puppets/images", "coco_keypoints/openfield").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.

    Returns:
        A `tf.data.Dataset` of elements, in the order in which they lie on the disk, and a `Skeleton`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        ValueError: if it has no such split, or no images with people.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_tfds("puppets/images", "train", data_dir=".")
        >>> person = next(iter(dataset))
        >>> person["name"].numpy(), np.asarray(person["box"]).round().tolist(), skeleton.name
        (b'street0.jpg', [53.0, 56.0, 107.0, 197.0], 'coco')
    """
    records, skeleton = annotated.read_records(name, split, data_dir)
    return records.flat_map(_people_of_record), skeleton


def from_coco(
    annotation_file: Path,
    image_dir: Path,
    skeleton: Skeleton | None = None,
    category: str | Sequence[str] | None = None,
    detections: Path | None = None,
    min_score: float = 0.0,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
) -> tuple[tf.data.Dataset, Skeleton]:
    """A dataset of the people in a COCO keypoint file, image after image, and their skeleton.

    Args:
        annotation_file: JSON with `images`, `annotations` and `categories`.
        image_dir: folder of the images, which are read when their turn comes.
        skeleton: a `Skeleton` with as many keypoints as the category. None: made from the category.
        category: its name, or a list of names of categories with the same keypoints. None: all that have keypoints, if
            these are the same.
        detections: JSON list of {"image_id", "bbox", "score"}, the boxes that a detector found. The elements are these
            then in place of the annotated people, without a labelled keypoint, and have a "score".
        min_score: of the detections that are kept.
        flip_pairs: pairs of keypoints that change places in a mirror, left first, by name or place, where the category
            gives them names that do not tell. None: found by the names.

    Returns:
        A `tf.data.Dataset` of elements and a `Skeleton`.

    Raises:
        ValueError: if a file is not as described, naming the annotation.
        BadDataError: if its boxes are in 0..1 or corners. Of single people and images it is for `check` to say.
        FileNotFoundError: if there is no such file or folder.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> [int(person["person_id"]) for person in dataset], skeleton.num_keypoints
        ([1, 2], 17)
    """
    image_dir = annotated.image_folder(image_dir)
    if detections is None:
        fields, skeleton = coco.read_people(annotation_file, skeleton, category, image_dir, flip_pairs)
    else:
        fields, skeleton = coco.read_detections(
            detections, annotation_file, skeleton, category, min_score, image_dir, flip_pairs
        )
    fields["path"] = annotated.paths_of(image_dir, fields["name"])
    fields["head_size"] = np.zeros(len(fields["path"]))
    return tf.data.Dataset.from_tensor_slices(annotated.as_tensors(fields, skeleton)), skeleton


def from_arrays(
    images: Sequence[Path | bytes | Array] | Array,
    boxes: ArrayLike,
    keypoints: ArrayLike,
    visibility: ArrayLike | None,
    skeleton: Skeleton,
    areas: ArrayLike | None = None,
    head_sizes: ArrayLike | None = None,
    is_crowd: ArrayLike | None = None,
    image_ids: ArrayLike | None = None,
    person_ids: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    sizes: ArrayLike | None = None,
) -> tf.data.Dataset:
    """A dataset of people in images that are in memory, or in files of one's own.

    Args:
        images: N of them, one a person; people in one image share its memory by repeating the same object. All paths,
            or all bytes of JPEG or PNG files, or all uint8 arrays: [H, W, 3] RGB, [H, W, 4] of which the alpha is left
            out, [H, W] grey.
        boxes: [N, 4] left, top, right, bottom, pixels.
        keypoints: [N, K, 2], pixels, x first; of what is not labelled they mean nothing, and may be NaN.
        visibility: [N, K]: 0 not labelled, 1 occluded, 2 visible. None: 2 where a keypoint is neither (0, 0) nor NaN.
        skeleton: the `Skeleton` of the keypoints.
        areas: [N] pixels^2, of the people, for the object keypoint similarity. None: of the boxes.
        head_sizes: [N] pixels, for PCKh. None: not known.
        is_crowd: [N] bool, whether the box holds a crowd. None: it never does.
        image_ids: [N] ints. None: the number of the first person in the image.
        person_ids: [N] ints. None: the number of the person.
        names: [N] of the images, for errors. None: their paths, or their ids.
        sizes: [N, 2] (height, width) of the images when they were annotated, which those of files must still have. 0 or
            None: not known.

    Returns:
        A `tf.data.Dataset` of elements.

    Raises:
        ValueError: if shapes or types are not as described; whether the values are sound is for `check` to say.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import crops
        >>> dataset = crops.from_arrays([image, image], boxes, keypoints[:, 0], None, skeletons.COCO)
        >>> person = next(iter(dataset))
        >>> tuple(person["pixels"].shape), tuple(person["keypoints"].shape), int(person["visibility"][0])
        ((240, 320, 3), (17, 2), 2)
    """
    images = list(images)  # which keeps the rows of an array alive, so that each has an identity of its own
    count = len(images)
    keypoints, boxes = rules.as_numbers(keypoints, "keypoints"), rules.as_numbers(boxes, "boxes")
    if count == 0:  # whose shapes cannot be told
        keypoints, boxes = np.zeros((0, skeleton.num_keypoints, 2)), np.zeros((0, 4))
        visibility = None
    if image_ids is None:
        firsts = {}
        keys = [str(image) if annotated.is_path(image) else id(image) for image in images]
        image_ids = [firsts.setdefault(key, i) for i, key in enumerate(keys)]
    are_paths = count > 0 and annotated.is_path(images[0])
    fields = {
        "keypoints": keypoints,
        "visibility": rules.visibility_of(keypoints) if visibility is None else np.asarray(visibility),
        "box": boxes,
        "area": np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) if areas is None else areas,
        "head_size": np.zeros(count) if head_sizes is None else head_sizes,
        "is_crowd": np.zeros(count, bool) if is_crowd is None else is_crowd,
        "image_id": image_ids,
        "person_id": np.arange(count) if person_ids is None else person_ids,
        "name": [str(n) for n in (names if names is not None else images if are_paths else image_ids)],
        "size": annotated.sizes_of(images, sizes),
    }
    people = tf.data.Dataset.from_tensor_slices(annotated.as_tensors(fields, skeleton, count))
    return tf.data.Dataset.zip(people, annotated.shared_images(images)).map(annotated.with_image)


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def _people_of_record(record):
    """The people of one image; the encoded image is in memory once for all of them."""
    people = record["people"]

    def person(i):
        fields = {key: value[i] for key, value in people.items() if key != "id"}
        of_image = {key: record[key] for key in ("image", "image_id", "name", "size")}
        return fields | of_image | {"person_id": people["id"][i]}

    return tf.data.Dataset.range(tf.shape(people["id"], tf.int64)[0]).map(person)


# ---------------------------------------- what is in a dataset


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


# ---------------------------------------- batches
def training(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 32,
    image_size: Size = (256, 192),
    heatmap_size: Size | None = None,
    codec: str = "gaussian",
    sigma_px: float = 2.0,
    seed: int = 0,
    first_step: int = 0,
    flip_probability: float = 0.5,
    scale_factor: float = 0.35,
    rotation_degrees: float = 40.0,
    rotation_probability: float = 0.6,
    half_body_probability: float = 0.3,
    shift_factor: float = 0.0,
    color_jitter: float = 0.0,
    box_padding: float = 1.25,
    normalization: Mapping[str, typing.Any] | None = None,
    shuffle_buffer: int | None = None,
    share: order.Share = order.WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled batches of people, scaled, turned, mirrored and cut in half as published.

    The n-th batch is a function of the dataset, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had. People whom nothing can be learnt from are left out
    (`trainable`).

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: people a batch.
        image_size: (height, width) of the crops, pixels.
        heatmap_size: (height, width) of the heatmaps. None: a quarter of the crops'.
        codec: of the heatmaps, one of `ops.heatmaps.CODECS`; "udp" also has crops lie by the centres of their pixels.
        sigma_px: standard deviation of the Gaussians, pixels of the heatmaps.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; whole passes are not even read.
        flip_probability: of mirroring a person; where the skeleton does not know its sides, nobody is.
        scale_factor: standard deviation, and greatest value, of the change in size.
        rotation_degrees: standard deviation of the angle, which is at most twice this.
        rotation_probability: of turning a person at all.
        half_body_probability: of showing only the upper or lower half of a person with more than 8 labelled keypoints.
        shift_factor: how far the centre may move, evenly distributed, as a fraction of the region; 0 in the published
            recipe.
        color_jitter: strength of `ops.images.jitter`; 0 in the published recipe.
        box_padding: how many times larger than the box a crop is.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: ImageNet's, RGB.
        shuffle_buffer: people to draw the next one from. None: all where images are not in elements but in files, or
            in memory as arrays anyway; else 4096, which is 0.3 GB of COCO's images.
        share: of each batch that is made, where several workers train (`data.order.Share`).

    Returns:
        A `tf.data.Dataset` of (crops [B, H, W, 3], heatmaps [B, h, w, K], weights [B, K]), float32.

    Raises:
        BadDataError: as `trainable` does. An image that cannot be decoded raises when its turn comes: `check` first.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> batches = crops.training(dataset, skeleton, batch_size=2, image_size=(64, 48))
        >>> [tuple(array.shape) for array in next(iter(batches))]  # crops, heatmaps, weights
        [(2, 64, 48, 3), (2, 16, 12, 17), (2, 17)]

    Papers: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; Sun et al., "Deep
    High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019.
    """
    people, size = trainable(dataset, skeleton), share.size(batch_size)
    image_size, heatmap_size = _sizes(image_size, heatmap_size)
    finish = annotated.finisher(normalization, color_jitter)
    flips, turns = mirrors.allowed(flip_probability, skeleton), np.float32(np.radians(rotation_degrees))
    changes = flips, scale_factor, turns, rotation_probability, half_body_probability, shift_factor
    joints = skeleton.flip_permutation, skeleton.upper_body
    prepare = _preparer(*joints, image_size, heatmap_size, codec, sigma_px, box_padding, changes)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(number, people):
        step = first_step + share.step(number)
        uniforms = tf.random.stateless_uniform((batch_size, NUM_UNIFORMS), [2 * seed, step])
        normals = tf.random.stateless_normal((batch_size, 2), [2 * seed + 1, step])
        uniforms, normals = share.rows(number, uniforms), share.rows(number, normals)
        matrices, targets, weights = prepare(
            people["box"], people["keypoints"], people["visibility"], uniforms, normals
        )
        crops, _ = annotated.cut(people, matrices, image_size)
        return finish(crops, uniforms[:, -3:]), targets, weights

    if shuffle_buffer is None and "image" in people.element_spec:
        shuffle_buffer = annotated.SHUFFLE_BUFFER
    elements = order.shuffled_endlessly(people, seed, first_step * batch_size, shuffle_buffer)
    elements = annotated.with_handles(share.of_stream(elements, batch_size))
    batches = elements.batch(size, drop_remainder=True).enumerate()

    def augmented(batches):
        return batches.map(augment, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return service.shareable(batches, augmented)


def validation(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 32,
    image_size: Size = (256, 192),
    heatmap_size: Size | None = None,
    codec: str = "gaussian",
    sigma_px: float = 2.0,
    box_padding: float = 1.25,
    normalization: Mapping[str, typing.Any] | None = None,
) -> tf.data.Dataset:
    """Batches as those of `training`, of every person who can be learnt from, once, in order, as they are.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: people a batch; the last one is as small as it comes.
        image_size: see `training`, as all that follow.
        heatmap_size: see `training`.
        codec: see `training`.
        sigma_px: see `training`.
        box_padding: see `training`.
        normalization: see `training`.

    Returns:
        A `tf.data.Dataset` of (crops [B, H, W, 3], heatmaps [B, h, w, K], weights [B, K]), float32.

    Raises:
        BadDataError: as `trainable` does.

    Example:
        >>> from kerapose.data import crops
        >>> dataset, skeleton = crops.from_coco("people.json", image_dir=".")
        >>> images, heatmaps, weights = next(iter(crops.validation(dataset, skeleton, image_size=(64, 48))))
        >>> tuple(heatmaps.shape), float(heatmaps[..., 0].numpy().max()), float(weights[0, 0])
        ((2, 16, 12, 17), 1.0, 1.0)
    """
    image_size, heatmap_size = _sizes(image_size, heatmap_size)

    targets = _encoder(image_size, heatmap_size, codec, sigma_px)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(batch):
        return batch["crop"], *targets(batch["keypoints"], batch["visibility"], batch["matrix"])

    people = trainable(dataset, skeleton)
    batches = evaluation(people, skeleton, batch_size, image_size, codec == "udp", box_padding, normalization)
    return batches.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def evaluation(
    dataset: tf.data.Dataset,
    skeleton: Skeleton,
    batch_size: int = 32,
    image_size: Size = (256, 192),
    udp: bool = False,
    box_padding: float = 1.25,
    normalization: Mapping[str, typing.Any] | None = None,
) -> tf.data.Dataset:
    """Batches of every person of a dataset, crowds too, once and in order, the last batch as small as it comes.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.
        batch_size: people a batch.
        image_size: (height, width) of the crops, pixels.
        udp: whether crops lie by the centres of their pixels, as the codec "udp" wants it.
        box_padding: how many times larger than the box a crop is.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: ImageNet's, RGB.

    Returns:
        A `tf.data.Dataset` of {"crop": [B, H, W, 3], "matrix": [B, 2, 3] from pixels of the image to those of the
        crop, and every field of the elements but the image}.

    Raises:
        BadDataError: as `trainable` does.

    Example:
        >>> from kerapose.data import crops
        >>> from kerapose.ops import boxes
        >>> batch = next(iter(crops.evaluation(*crops.from_coco("people.json", image_dir="."))))
        >>> found = boxes.transform_points(batch["keypoints"], batch["matrix"])  # pixels of the crops
        >>> tuple(batch["crop"].shape), np.asarray(found[0, 0]).round().tolist()
        ((2, 256, 192, 3), [97.0, 30.0])
    """
    annotated.check_keypoints(dataset, skeleton)
    if not annotated.is_sound(dataset):
        annotated.check_people(annotations(dataset, skeleton))
    image_size, _ = _sizes(image_size, image_size)
    finish = annotated.finisher(normalization, 0.0)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def prepare(people):
        regions = box_ops.crop_region(people["box"], image_size[1] / image_size[0], box_padding)
        matrices = box_ops.affine(*regions, image_size, udp=udp)
        crops, _ = annotated.cut(people, matrices, image_size)
        crops = finish(crops, tf.zeros((tf.shape(matrices)[0], 3)))
        return annotated.without_image(people) | {"crop": crops, "matrix": matrices}

    return annotated.with_handles(dataset).batch(batch_size).map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@functools.lru_cache(maxsize=8)  # pipelines of the same options share what is compiled
def _preparer(permutation, upper_body, image_size, heatmap_size, codec, sigma_px, box_padding, changes):
    """A function of people and random numbers that gives where their crops lie, and heatmaps and weights of these."""
    flip_probability, scale_factor, turns, rotation_probability, half_body_probability, shift_factor = changes
    aspect_ratio = image_size[1] / image_size[0]

    def place(box, keypoints, visibility, uniforms, normals):
        """[B, 4], [B, K, 2], [B, K], [B, 6 or more], [B, 2] -> matrices [B, 2, 3], flips [B] bool."""
        centers, sizes = box_ops.crop_region(box, aspect_ratio, box_padding)
        half_centers, half_sizes, found = box_ops.half_body_region(
            keypoints, visibility, upper_body, aspect_ratio, uniforms[:, 3]
        )
        labelled = tf.reduce_sum(tf.cast(visibility > 0, tf.int32), axis=-1)
        halved = (uniforms[:, 2] < half_body_probability) & (labelled > HALF_BODY_JOINTS) & found
        centers = tf.where(halved[:, None], half_centers, centers)
        sizes = tf.where(halved[:, None], half_sizes, sizes)
        centers += (2 * uniforms[:, 4:6] - 1) * shift_factor * tf.reverse(sizes, [-1])
        sizes *= tf.clip_by_value(normals[:, :1] * scale_factor + 1, 1 - scale_factor, 1 + scale_factor)
        angles = tf.clip_by_value(normals[:, 1] * turns, -2 * turns, 2 * turns)
        angles = tf.where(uniforms[:, 0] < rotation_probability, angles, 0.0)
        flips = uniforms[:, 1] < flip_probability
        return box_ops.affine(centers, sizes, image_size, angles, flips, codec == "udp"), flips

    @tf.function(jit_compile=True, autograph=False)  # one pass over memory in place of many
    def prepare(box, keypoints, visibility, uniforms, normals):
        matrices, flips = place(box, keypoints, visibility, uniforms, normals)
        points = box_ops.transform_points(keypoints, matrices)  # [B, K, 2] pixels of the crop
        points = box_ops.swap_sides(points, flips, permutation, axis=-2)
        weights = box_ops.swap_sides(_weights(visibility), flips, permutation)
        return matrices, *heatmap_ops.encode(points, weights, image_size, heatmap_size, sigma_px, codec)

    return prepare


@functools.lru_cache(maxsize=8)
def _encoder(image_size, heatmap_size, codec, sigma_px):
    """A function of people and where their crops lie that gives heatmaps and weights."""

    @tf.function(jit_compile=True, autograph=False)
    def targets(keypoints, visibility, matrices):
        points = box_ops.transform_points(keypoints, matrices)  # [B, K, 2] pixels of the crop
        return heatmap_ops.encode(points, _weights(visibility), image_size, heatmap_size, sigma_px, codec)

    return targets


# ---------------------------------------- pixels


def _weights(visibility):
    """1 for a keypoint that is labelled, occluded or not: [B, K] -> [B, K] float32."""
    return tf.cast(visibility > 0, tf.float32)


def _sizes(image_size, heatmap_size):
    """Sizes as pairs of ints."""
    image_size = tuple(int(side) for side in image_size)
    if heatmap_size is None:
        if image_size[0] % 4 or image_size[1] % 4:
            raise ValueError(f"image_size must be multiples of 4, got {image_size}; change it or give heatmap_size.")
        heatmap_size = (image_size[0] // 4, image_size[1] // 4)
    return image_size, tuple(int(side) for side in heatmap_size)


# ---------------------------------------- checks


def _untrainable(people):
    """Why there is nothing to learn from people: {reason: [N] bool}."""
    width, height = (people["box"][:, 2:] - people["box"][:, :2]).T
    return {
        "crowds": people["is_crowd"],
        "without a labelled keypoint": ~(people["visibility"] > 0).any(axis=1),
        "without the area of a box": (width == 0) | (height == 0),
    }
