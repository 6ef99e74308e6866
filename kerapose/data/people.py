"""The pipeline of bottom-up 2D pose: images with any number of people to batches of images with their fields.

It is the sister of `data.crops`. Every source yields the same element, one an image, where `crops` has one a person:

    {"image": encoded JPEG or PNG, "keypoints": [M, K, 2] pixels of the image, "visibility": [M, K] 0 not labelled,
     1 occluded, 2 visible, "box": [M, 4] left, top, right, bottom in pixels, "area": [M] pixels^2, "head_size": [M]
     pixels, 0 if not known, "is_crowd": [M] bool, "person_id": [M] ints, "image_id": int, "name": file name of the
     image, "size": [2] annotated height and width of the image, 0 if not known}

A keypoint that is not labelled lies at (0, 0). What a valid sample is says the gate, `data.gate.images`.

M differs from image to image and may be 0. In place of "image" it may have "path", a file to be read when its turn
comes, or "pixels", [H, W, 3] uint8 RGB. Batches for training are (images [B, H, W, 3], targets [B, h, w, K+1+2E], mask
[B, h, w, 1]): an image is warped once, so that a main person in it has a certain size and place, and the targets are
the heatmaps of K keypoints and of the background, then x and y of the part affinity fields of E limbs.

Images stay encoded until their batch is made. One with several main people is decoded anew for each of them, unless
they come in a row. Shuffling keeps the encoded images of `shuffle_buffer` samples in memory, once for all samples of an
image, and nothing of images that are read by their paths. A batch of 80 images of 368 x 368 takes 130 MB, and up to as
many batches are in the making as there are cores.
"""

import functools
import typing
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import mirrors, skeletons
from kerapose.data import annotated, coco, gate, order, prepared
from kerapose.data.gate import images as rules
from kerapose.ops import boxes as box_ops
from kerapose.ops import images as image_ops
from kerapose.ops import pafs
from kerapose.types import Array, ArrayLike, Path, Size

NotPreparedError = prepared.NotPreparedError
BadDataError = gate.BadDataError
skip = annotated.skip
GREY = 128.0  # what lies outside of an image, 0 .. 255
# What the published preparation of COCO asks of a main person: labelled keypoints, of a small skeleton half as many as
# it has; pixels^2; distance to an earlier one, as a fraction of that one's width.
MIN_KEYPOINTS, MIN_AREA, MIN_DISTANCE = 5, 32.0**2, 0.3
PERSON_FIELDS = ("keypoints", "visibility", "box", "area", "head_size", "is_crowd", "person_id")
NUM_UNIFORMS = 8  # random numbers of an augmentation
BUCKETS = [2**n for n in range(1, 17)]  # numbers of people, to which those of a batch are padded
IMAGES_AT_ONCE = 1024  # whose annotations are read together


# ---------------------------------------- sources
def from_tfds(name: str, split: str, data_dir: Path | None = None) -> tuple[tf.data.Dataset, skeletons.Skeleton]:
    """A dataset of the images in one split of a prepared TFDS dataset, and the skeleton of the people in them.

    Args:
        name: see `crops.from_tfds`, as all that follow.
        split: see there.
        data_dir: see there.

    Returns:
        A `tf.data.Dataset` of elements, in the order in which they lie on the disk, and a `Skeleton`.

    Raises:
        NotPreparedError, ValueError: as there.

    Example:
        >>> dataset, skeleton = from_tfds("puppets/groups", "train")
    """
    records, skeleton = annotated.read_records(name, split, data_dir)
    return records.map(_element_of_record), skeleton


def from_coco(
    annotation_file: Path,
    image_dir: Path,
    skeleton: skeletons.Skeleton | None = None,
    category: str | Sequence[str] | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
) -> tuple[tf.data.Dataset, skeletons.Skeleton]:
    """A dataset of all images of a COCO keypoint file, in its order, and the skeleton of the people in them.

    Args:
        annotation_file: see `crops.from_coco`, as all that follow.
        image_dir: see there.
        skeleton: see there.
        category: see there.
        flip_pairs: see there.

    Returns:
        A `tf.data.Dataset` of elements and a `Skeleton`.

    Raises:
        ValueError, BadDataError, FileNotFoundError: as there.

    Example:
        >>> dataset, skeleton = from_coco("person_keypoints_val2017.json", "val2017")
    """
    image_dir = annotated.image_folder(image_dir)
    images, people, skeleton = coco.read_images(annotation_file, skeleton, category, image_dir, flip_pairs)
    people = {key: value for key, value in people.items() if key in PERSON_FIELDS}
    people = annotated.as_tensors(people | {"head_size": np.zeros(len(people["box"]))}, skeleton)
    images["path"] = annotated.paths_of(image_dir, images["name"])
    return _with_people(images, people), skeleton


def from_arrays(
    images: Sequence[Path | bytes | Array] | Array,
    people: Sequence[Mapping[str, ArrayLike]],
    skeleton: skeletons.Skeleton,
    image_ids: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    sizes: ArrayLike | None = None,
) -> tf.data.Dataset:
    """A dataset of images that are in memory, or in files of one's own.

    Args:
        images: N of them. All paths, or all bytes of JPEG or PNG files, or all uint8 arrays: [H, W, 3] RGB, [H, W, 4]
            of which the alpha is left out, [H, W] grey.
        people: N dicts of arrays of the M people in an image, whose keys are those of elements: "keypoints" [M, K, 2]
            pixels, x first, and "box" [M, 4] left, top, right, bottom; if there is more to say, "visibility" [M, K]
            (else 2 where a keypoint is neither (0, 0) nor NaN), "area" [M] pixels^2 (else that of the box),
            "head_size" [M] pixels, "is_crowd" [M] bool, "person_id" [M] ints (else counted through all images).
        skeleton: the `Skeleton` of the keypoints.
        image_ids: [N] ints, each another. None: the number of the image.
        names: [N] of the images, for errors. None: their paths, or their ids.
        sizes: [N, 2] (height, width) of the images when they were annotated, as in `crops.from_arrays`.

    Returns:
        A `tf.data.Dataset` of elements.

    Raises:
        ValueError: if shapes or types are not as described; whether the values are sound is for `check` to say.

    Example:
        >>> people = [{"keypoints": keypoints, "box": boxes}, {"keypoints": [], "box": []}]  # nobody in the second one
        >>> dataset = from_arrays([image, other_image], people, skeletons.COCO)
    """
    images, people = list(images), list(people)
    count = len(images)
    image_ids = np.arange(count) if image_ids is None else np.asarray(image_ids, "int64")
    for what, given in (("people", people), ("image_ids", image_ids), ("names", image_ids if names is None else names)):
        if len(given) != count:
            raise ValueError(f"{what} must be one for each of the {count} images, got {len(given)}; give as many.")
    if names is None:
        names = [image if annotated.is_path(image) else i for image, i in zip(images, image_ids, strict=True)]
    if len(np.unique(image_ids)) < count:
        raise ValueError("Every image has an id of its own, image_ids repeats some; number them.")
    arrays, first = [], 0
    for fields, name in zip(people, names, strict=True):
        arrays.append(_person_arrays(fields, skeleton, name, first))
        first += len(arrays[-1]["box"])
    arrays = arrays or [_person_arrays({"keypoints": [], "box": []}, skeleton, "none", 0)]
    fields = {
        "image_id": image_ids,
        "name": np.array([str(name) for name in names], object),
        "size": annotated.sizes_of(images, sizes),
        "count": np.array([len(one["box"]) for one in arrays[:count]], "int64"),
    }
    dataset = _with_people(fields, {key: np.concatenate([one[key] for one in arrays]) for key in PERSON_FIELDS})
    return tf.data.Dataset.zip(dataset, annotated.shared_images(images)).map(lambda people, image: people | image)


def _element_of_record(record):
    people = record["people"]
    fields = {key: people["id" if key == "person_id" else key] for key in PERSON_FIELDS}
    return fields | {key: record[key] for key in ("image", "image_id", "name", "size")}


def _with_people(images, people):
    """A dataset of the rows of `images`, each with its own of the people, who come image after image."""
    stops = np.cumsum(images["count"], dtype="int64")
    rows = {key: images[key] for key in ("image_id", "size")}
    rows |= {key: tf.constant(images[key].tolist(), tf.string) for key in ("name", "path") if key in images}
    people = {key: tf.constant(value) for key, value in people.items()}

    def element(row, start, stop):
        own = {key: tf.ensure_shape(value[start:stop], (None, *value.shape[1:])) for key, value in people.items()}
        return row | own

    return tf.data.Dataset.from_tensor_slices((rows, stops - images["count"], stops)).map(element)


def _person_arrays(fields, skeleton, name, first):
    """What is known of the people of one image, complete and in the types of elements."""
    if not {"keypoints", "box"} <= set(fields) <= set(PERSON_FIELDS):
        raise ValueError(
            f"People have keypoints, box and what else there is of {', '.join(PERSON_FIELDS)}, those of image {name} "
            f"have {', '.join(map(str, fields)) or 'nothing'}; rename these or leave them out."
        )
    try:
        keypoints, box = (rules.as_numbers(fields[key], key) for key in ("keypoints", "box"))
    except ValueError as error:
        raise ValueError(f"Image {name}: {error}") from None
    count = len(keypoints)
    if count == 0 and box.size == 0:  # whose shapes cannot be told
        keypoints, box, fields = np.zeros((0, skeleton.num_keypoints, 2)), np.zeros((0, 4)), {}
    complete = {
        "keypoints": keypoints,
        "box": box,
        "visibility": rules.visibility_of(keypoints),
        "area": np.prod(box[..., 2:] - box[..., :2], axis=-1),
        "head_size": np.zeros(count),
        "is_crowd": np.zeros(count, bool),
        "person_id": np.arange(first, first + count),
    } | {key: value for key, value in fields.items() if key not in ("keypoints", "box")}
    try:
        return annotated.as_tensors(complete, skeleton, count)
    except ValueError as error:
        raise ValueError(f"Image {name}: {error}") from None


# ---------------------------------------- what is in a dataset
def trainable(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    min_keypoints: int | None = None,
    min_area: float = MIN_AREA,
    min_distance: float = MIN_DISTANCE,
) -> tf.data.Dataset:
    """The samples of a dataset, one for each main person; how many people are none, and why, is logged.

    A main person is one round whom an image can be cropped: neither a crowd nor without a box, with enough labelled
    keypoints, large enough, and not too close to a main person who comes before in the same image. Whoever is none is
    still a part of the images. The annotations are read once, by this function alone.

    Args:
        dataset: of elements; one of samples is given back as it is.
        skeleton: their `Skeleton`.
        min_keypoints: that are labelled. None: 5, as published, or half of the skeleton's where these are fewer.
        min_area: pixels^2.
        min_distance: of the middles of the boxes, as a fraction of the width of the other one's box.

    Returns:
        A `tf.data.Dataset` of samples, which are elements with "main", the place of the main person. Its
        `cardinality()` is known.

    Raises:
        BadDataError: naming the images where annotations cannot be right, as in `check`.
        ValueError: if it has nobody to learn from, or other keypoints than the skeleton.

    Example:
        >>> samples = trainable(dataset, skeleton)
        >>> steps_per_epoch = int(samples.cardinality()) // 32

    Paper: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019; its published
    preparation of COCO.
    """
    annotated.check_keypoints(dataset, skeleton)
    if "main" in dataset.element_spec:
        return dataset
    people, images = _read(dataset, skeleton)
    annotated.check_people(people)
    is_main, reasons = _mains(people, images, skeleton, min_keypoints, min_area, min_distance)
    if not is_main.all():
        counted = rules.counted(reasons)
        logging.info("%d of %d people are no main ones: %s.", (~is_main).sum(), len(is_main), counted)
    starts = np.cumsum(images["count"]) - images["count"]
    mains = np.flatnonzero(is_main) - np.repeat(starts, images["count"])[is_main]  # [samples], places in their images
    counts = np.bincount(np.repeat(np.arange(len(starts)), images["count"])[is_main], minlength=len(starts))
    stops = np.cumsum(counts)
    mains = tf.constant(mains, tf.int64)

    def samples(element, start, stop):  # which have the encoded image in memory once
        return tf.data.Dataset.from_tensor_slices(mains[start:stop]).map(lambda main: element | {"main": main})

    places = tf.data.Dataset.from_tensor_slices((stops - counts, stops))
    dataset = tf.data.Dataset.zip(dataset, places).map(lambda element, place: (element, *place)).flat_map(samples)
    return dataset.apply(tf.data.experimental.assert_cardinality(int(is_main.sum())))


def annotations(dataset: tf.data.Dataset, skeleton: skeletons.Skeleton) -> dict[str, Array]:
    """All that is known of the people of a dataset but their images, as arrays: the ground truth of an evaluation.

    Args:
        dataset: of elements.
        skeleton: their `Skeleton`.

    Returns:
        {"keypoints": [N, K, 2], "visibility": [N, K], "box": [N, 4], "area", "head_size", "is_crowd", "image_id",
        "person_id", "name": [N] strings}, NumPy arrays of the N people of all images, in the order of the dataset.
        `image_ids` says which images there are, those without people too.

    Raises:
        ValueError: if the dataset is empty or has other keypoints than the skeleton.
    """
    return _read(dataset, skeleton)[0]


def image_ids(dataset: tf.data.Dataset) -> Array:
    """The ids of all images of a dataset, those without people too: [images] int64, in its order."""
    ids = dataset.map(lambda element: element["image_id"]).batch(IMAGES_AT_ONCE).as_numpy_iterator()
    return np.concatenate([np.zeros(0, "int64"), *ids])


def check(dataset: tf.data.Dataset, skeleton: skeletons.Skeleton) -> int:
    """Reads a whole dataset once, decodes each of its images, and raises if a network could not be trained on it.

    Args:
        dataset: of elements.
        skeleton: the `Skeleton` that its keypoints should have.

    Returns:
        How many people there are.

    Raises:
        BadDataError: as `crops.check` does, of images without people too.
        ValueError: if it has no main person (see `trainable`), or other keypoints than the skeleton.
    """
    if not skeleton.edges:
        logging.warning("%s", _limbless(skeleton))
    people, images = _read(dataset, skeleton)
    every = np.ones(len(images["count"]), bool)
    annotated.check(dataset, every, images, people, np.repeat(np.arange(len(every)), images["count"]))
    _mains(people, images, skeleton)  # which says whether there is somebody
    return len(people["box"])


def _limbless(skeleton):
    return (
        f"A bottom-up network needs limbs between keypoints, {skeleton.name} has none; give edges to the Skeleton "
        "(`skeleton` of a COCO category), or a target that has some."
    )


def _read(dataset, skeleton):
    """The people of all images, each with what is known of the image; names, sizes, counts of people of the images."""
    annotated.check_keypoints(dataset, skeleton)
    batches = list(dataset.map(annotated.without_image).ragged_batch(IMAGES_AT_ONCE))
    if not batches:
        raise ValueError("A dataset has at least one image, got none; check the split and how it was prepared.")
    people = {key: np.concatenate([batch[key].values.numpy() for batch in batches]) for key in PERSON_FIELDS}
    counts = np.concatenate([batch["person_id"].row_lengths().numpy() for batch in batches])
    ids = np.concatenate([batch["image_id"].numpy() for batch in batches])
    names = np.array([name.decode() for batch in batches for name in batch["name"].numpy()], object)
    sizes = np.concatenate([batch["size"].numpy() for batch in batches])
    of_image = {"image_id": ids, "name": names, "size": sizes}
    people |= {key: np.repeat(value, counts, axis=0) for key, value in of_image.items()}
    return people, of_image | {"count": counts}


def _mains(people, images, skeleton, min_keypoints=None, min_area=MIN_AREA, min_distance=MIN_DISTANCE):
    """Who is a main person, [N] bool, and why the others are none: {reason: [N] bool}."""
    if min_keypoints is None:
        min_keypoints = min(MIN_KEYPOINTS, (skeleton.num_keypoints + 1) // 2)
    extent = people["box"][:, 2:] - people["box"][:, :2]
    reasons = {
        "crowds": people["is_crowd"],
        f"with less than {min_keypoints} labelled keypoints": (people["visibility"] > 0).sum(axis=1) < min_keypoints,
        f"with an area of less than {min_area:g} pixels": people["area"] < min_area,
        "without the area of a box": (extent == 0).any(axis=1),
    }
    is_main = ~np.any(list(reasons.values()), axis=0)
    close = _close_to_earlier(
        people["box"][:, :2] + extent / 2, extent[:, 0], people["image_id"], is_main, min_distance
    )
    reasons |= {"close to another main one": close}
    is_main &= ~close
    if not is_main.any():
        found = f"{len(is_main)} people in {len(images['count'])} images"
        found += f", {rules.counted(reasons)}" if len(is_main) else ""
        raise ValueError(
            f"A dataset has at least one main person to learn from, got {found}; check the split and its annotations."
        )
    return is_main, reasons


def _close_to_earlier(centers, widths, ids, candidates, min_distance):
    """Which of the candidates are too close to one before them who is not, in the same image: [N] bool."""
    close = np.zeros(len(widths), bool)
    earlier, image_id = [], None
    for i in np.flatnonzero(candidates):
        if ids[i] != image_id:
            earlier, image_id = [], ids[i]
        distances = np.linalg.norm(centers[earlier] - centers[i], axis=1)
        close[i] = (distances < min_distance * widths[earlier]).any()
        if not close[i]:
            earlier.append(i)
    return close


# ---------------------------------------- batches
def training(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    target: skeletons.Skeleton | None = None,
    batch_size: int = 32,
    image_size: Size = (368, 368),
    seed: int = 0,
    first_step: int = 0,
    sigma_px: float = 7.0,
    stride: int = 8,
    thickness: float = 1.0,
    published: bool = False,
    flip_probability: float = 0.5,
    scale_range: Sequence[float] = (0.5, 1.1),
    target_size: float = 0.6,
    rotation_degrees: float = 40.0,
    shift_px: float = 40.0,
    color_jitter: float = 0.0,
    normalization: Mapping[str, typing.Any] | None = None,
    shuffle_buffer: int | None = None,
) -> tf.data.Dataset:
    """Endless shuffled batches of images with their fields, scaled, turned, shifted and mirrored as published.

    Each sample (`trainable`) is an image that is scaled, turned and shifted so that its main person is seen; everybody
    else in it is drawn in the fields too. A keypoint outside of the image is absent, as published. One outside of what
    is seen is not: its limbs are drawn as far as they reach in. The n-th batch is a function of the dataset, the
    arguments and n alone: with `first_step` a run that was cut short goes on with the very batches that it would have
    had.

    Args:
        dataset: of elements, or of the samples that `trainable` made of them.
        skeleton: their `Skeleton`.
        target: the `Skeleton` to be trained, whose keypoints are worked out by `skeletons.mapping`: OPENPOSE, with its
            neck between the shoulders, of people with COCO's keypoints. What is worked out from several is labelled if
            all of these are. None: `skeleton`.
        batch_size: samples a batch.
        image_size: (height, width) of the images, pixels, multiples of the stride.
        seed: of shuffling and augmentation.
        first_step: how many batches to skip; whole passes are not even read.
        sigma_px: standard deviation of the heatmaps' Gaussians, pixels of the image.
        stride: pixels a cell of the fields.
        thickness: how far from a limb its field reaches, cells.
        published: whether to draw the fields just as the published code (`ops.pafs`).
        flip_probability: of mirroring an image; where the skeleton to be trained does not know its sides, none is.
        scale_range: least and greatest factor of the size, evenly distributed.
        target_size: height of the main person's box, as a fraction of the image, at a factor of 1.
        rotation_degrees: greatest angle to either side, evenly distributed.
        shift_px: how far the main person may be from the middle, along each axis, evenly distributed.
        color_jitter: strength of `ops.images.jitter`; 0 in the published recipe.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr). None: `ops.images.OPENPOSE_NORMALIZATION`.
        shuffle_buffer: samples to draw the next one from. None: all where images are not in elements but in files, or
            in memory as arrays anyway; else 4096.

    Returns:
        A `tf.data.Dataset` of (images [B, H, W, 3], targets [B, h, w, K+1+2E], mask [B, h, w, 1]), float32. The mask is
        0 in boxes of crowds and of people without a labelled keypoint, save where the box of somebody with one is.

    Raises:
        BadDataError: as `trainable` does. An image that cannot be decoded raises when its turn comes: `check` first.
        ValueError: if sizes do not fit, or a keypoint of `target` cannot be worked out.

    Example:
        >>> batches = training(dataset, skeletons.COCO, skeletons.OPENPOSE, batch_size=32)
        >>> model.fit(batches, steps_per_epoch=100)

    Papers: Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", TPAMI 2019;
    Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019.
    """
    image_size = _size(image_size, stride)
    fields = _fields(skeleton, target or skeleton, image_size, sigma_px, stride, thickness, published)
    normalization = image_ops.OPENPOSE_NORMALIZATION if normalization is None else normalization
    finish = annotated.finisher(normalization, color_jitter)
    samples = trainable(dataset, skeleton)
    turn = np.float32(np.radians(rotation_degrees))
    flip_probability = mirrors.allowed(flip_probability, target or skeleton)

    def augment(step, batch):
        uniforms = tf.random.stateless_uniform((batch_size, NUM_UNIFORMS), [seed, step])
        flips = uniforms[:, 0] < flip_probability
        factors = scale_range[0] + uniforms[:, 1] * (scale_range[1] - scale_range[0])
        angles = (2 * uniforms[:, 2] - 1) * turn
        shifts = (2 * uniforms[:, 3:5] - 1) * shift_px
        people = _padded(batch)
        matrices = _matrices(people, image_size, target_size * factors, angles, shifts, flips)
        pixels, sizes = annotated.cut(batch, matrices, image_size)
        pixels = finish(_on_grey(pixels, sizes, matrices), uniforms[:, 5:])
        return pixels, *fields(people, sizes, matrices, flips)

    if shuffle_buffer is None and "image" in samples.element_spec:
        shuffle_buffer = annotated.SHUFFLE_BUFFER
    elements = order.shuffled_endlessly(samples, seed, first_step * batch_size, shuffle_buffer)
    batches = annotated.with_handles(elements).ragged_batch(batch_size, drop_remainder=True).enumerate(first_step)
    return batches.map(augment, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def validation(
    dataset: tf.data.Dataset,
    skeleton: skeletons.Skeleton,
    target: skeletons.Skeleton | None = None,
    batch_size: int = 32,
    image_size: Size = (368, 368),
    sigma_px: float = 7.0,
    stride: int = 8,
    thickness: float = 1.0,
    published: bool = False,
    target_size: float = 0.6,
    normalization: Mapping[str, typing.Any] | None = None,
) -> tf.data.Dataset:
    """Batches as those of `training`, of every sample once, in order, scaled but otherwise as they are.

    Args:
        dataset: of elements, or of the samples that `trainable` made of them.
        skeleton: their `Skeleton`.
        target: see `training`.
        batch_size: samples a batch; the last one is filled up with zeros, whose mask is 0.
        image_size: see `training`, as all that follow.
        sigma_px: see `training`.
        stride: see `training`.
        thickness: see `training`.
        published: see `training`.
        target_size: see `training`.
        normalization: see `training`.

    Returns:
        A `tf.data.Dataset` of (images [B, H, W, 3], targets [B, h, w, K+1+2E], mask [B, h, w, 1]), float32.

    Raises:
        BadDataError: as `trainable` does.
        ValueError: as `training` does.
    """
    image_size = _size(image_size, stride)
    fields = _fields(skeleton, target or skeleton, image_size, sigma_px, stride, thickness, published)
    finish = annotated.finisher(image_ops.OPENPOSE_NORMALIZATION if normalization is None else normalization, 0.0)
    samples = trainable(dataset, skeleton)

    def prepare(batch):
        people = _padded(batch)
        count = tf.shape(people["box"])[0]
        zeros = tf.zeros((count, 3))
        flips = zeros[:, 0] > 0
        matrices = _matrices(people, image_size, target_size + zeros[:, 0], zeros[:, 0], zeros[:, :2], flips)
        pixels, sizes = annotated.cut(batch, matrices, image_size)
        pixels = finish(_on_grey(pixels, sizes, matrices), zeros)
        arrays = pixels, *fields(people, sizes, matrices, flips)
        return tuple(_filled_up(array, batch_size) for array in arrays)

    batches = annotated.with_handles(samples).ragged_batch(batch_size)
    return batches.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def evaluation(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The images of a dataset, one at a time and whole: what a predictor is to find the people in.

    Args:
        dataset: of elements.

    Returns:
        A `tf.data.Dataset` of {"image": [H, W, 3] uint8 RGB, upright, "image_id", "name"}, in the order of the dataset.

    Example:
        >>> for element in evaluation(dataset):
        ...     people = predictor(element["image"].numpy())
    """

    def prepare(element):
        return {"image": annotated.decoded(element), "image_id": element["image_id"], "name": element["name"]}

    return dataset.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


# ---------------------------------------- people
def _padded(batch):
    """What is drawn of the people of a batch, of whom each image has as many: nobody has a box without area."""
    most = tf.reduce_max(batch["box"].row_lengths())
    bucket = tf.gather(BUCKETS, tf.searchsorted(tf.constant(BUCKETS, tf.int64), [most]))[0]

    def dense(ragged):
        array = ragged.to_tensor()  # [B, M, ...]
        array = tf.pad(array, [[0, 0], [0, bucket - tf.cast(most, tf.int32)]] + [[0, 0]] * (array.shape.rank - 2))
        return tf.ensure_shape(array, (ragged.shape[0], None, *ragged.shape[2:]))

    people = {key: dense(batch[key]) for key in ("keypoints", "visibility", "box", "is_crowd")}
    return people | {"main": batch["main"]}


def _matrices(people, image_size, heights, angles, shifts, flips):
    """Where images lie: main people have these heights, as fractions, and are this far from the middle: [B, 2, 3]."""
    box = tf.gather(people["box"], people["main"], batch_dims=1)  # [B, 4]
    low, high = box[:, :2], box[:, 2:]
    extent = tf.maximum(high[:, 1:] - low[:, 1:], 1.0) / heights[:, None]  # [B, 1] pixels that are seen, from top down
    sizes = extent * [1.0, image_size[1] / image_size[0]]
    matrices = box_ops.affine((low + high) / 2, sizes, image_size, angles, flips)
    return matrices + tf.pad(shifts[:, :, None], [[0, 0], [0, 0], [2, 0]])


@functools.lru_cache(maxsize=8)  # pipelines of the same fields share what is compiled
def _fields(skeleton, target, image_size, sigma_px, stride, thickness, published):
    """A function of people, sizes of images, matrices and flips that gives targets and masks."""
    matrix = skeletons.mapping(skeleton, target)  # [K of the target, K]
    lacking = [name for name, row in zip(target.keypoints, matrix, strict=True) if not row.any()]
    if lacking:
        raise ValueError(
            f"{target.name} keypoints must follow from those of {skeleton.name}, {', '.join(lacking)} cannot; train a "
            "set without them."
        )
    if not target.edges:
        raise ValueError(_limbless(target))
    is_same = np.array_equal(matrix, np.eye(len(matrix)))
    size = image_size[0] // stride, image_size[1] // stride

    @tf.function(jit_compile=True)  # one pass over memory in place of many
    def draw(people, sizes, matrices, flips):
        keypoints, is_crowd = people["keypoints"], people["is_crowd"]
        labelled = (people["visibility"] > 0) & ~is_crowd[..., None]  # [B, M, K]
        limits = tf.cast(tf.reverse(sizes, [-1]), tf.float32)[:, None, None]  # width, height
        inside = tf.reduce_all((keypoints >= 0) & (keypoints < limits), axis=-1)
        weights = tf.cast(labelled & inside, tf.float32)
        if not is_same:
            keypoints = tf.matmul(matrix, keypoints)  # [B, M, K of the target, 2]
            lost = tf.matmul(1.0 - weights, np.float32(matrix > 0), transpose_b=True) > 0
            weights = tf.where(lost, 0.0, 1.0)
        points = box_ops.transform_points(keypoints, matrices[:, None])  # pixels of the network's image
        points = box_ops.swap_sides(points, flips[:, None], target.flip_permutation, axis=-2)
        weights = box_ops.swap_sides(weights, flips[:, None], target.flip_permutation)
        heatmaps = pafs.encode_heatmaps(points, weights, size, stride, sigma_px, published)
        limbs = pafs.encode(points, weights, target.edges, size, stride, thickness, published)
        is_seen = tf.reduce_any(labelled, axis=-1)  # [B, M]
        return tf.concat([heatmaps, limbs], axis=-1), _mask(people["box"], is_seen, matrices, size, stride)

    return draw


def _mask(box, is_seen, matrices, size, stride):
    """0 for cells in the boxes of those who are not seen, unless they are in the box of somebody who is.

    Args:
        box: [B, M, 4], pixels of the image.
        is_seen: [B, M] bool.
        matrices: [B, 2, 3], from pixels of the image to those of the network's.
        size: (h, w), cells.
        stride: pixels a cell.

    Returns:
        [B, h, w, 1] float32.
    """
    y, x = np.meshgrid(*(np.arange(side) * stride + (stride - 1) / 2 for side in size), indexing="ij")
    cells = np.stack([x, y], axis=-1).reshape(-1, 2)  # [h*w, 2] pixels of the network's image
    cells = box_ops.transform_points(cells, box_ops.invert_affine(matrices))  # [B, h*w, 2] pixels of the image
    inside = (cells[:, None] > box[:, :, None, :2]) & (cells[:, None] < box[:, :, None, 2:])  # [B, M, h*w, 2]
    inside = tf.reduce_all(inside, axis=-1)
    seen = tf.reduce_any(inside & is_seen[..., None], axis=1)  # [B, h*w]
    unseen = tf.reduce_any(inside & ~is_seen[..., None], axis=1)
    return tf.reshape(tf.where(unseen & ~seen, 0.0, 1.0), (-1, *size, 1))  # [B, h, w, 1]


def _filled_up(array, count):
    """The rows of an array and as many of zeros as there are missing."""
    missing = count - tf.shape(array)[0]
    array = tf.pad(array, [[0, missing]] + [[0, 0]] * (array.shape.rank - 1))
    return tf.ensure_shape(array, (count, *array.shape[1:]))


# ---------------------------------------- pixels
@tf.function(jit_compile=True)  # one pass over memory in place of many
def _on_grey(pixels, sizes, matrices):
    """Images as they were cut, black outside: the same, grey outside.

    Args:
        pixels: [B, H, W, 3], 0 .. 255.
        sizes: [B, 2] (height, width) of what they were cut from.
        matrices: [B, 2, 3], from pixels of that to pixels of these.

    Returns:
        [B, H, W, 3].
    """
    image_size = pixels.shape[1:3]
    y, x = np.meshgrid(*(np.arange(side) for side in image_size), indexing="ij")
    places = np.stack([x, y], axis=-1).reshape(-1, 2)  # [H*W, 2]
    places = box_ops.transform_points(places, box_ops.invert_affine(matrices))  # [B, H*W, 2] pixels of the image
    limits = tf.cast(tf.reverse(sizes, [-1]), tf.float32)[:, None]  # width, height
    # How much of a pixel is the image: 1 inside, less within a pixel of its border, where the warp fades to black.
    covered = tf.clip_by_value(tf.minimum(places + 1.0, limits - places), 0.0, 1.0)
    covered = tf.reshape(tf.reduce_prod(covered, axis=-1), (-1, *image_size, 1))  # [B, H, W, 1]
    return pixels + GREY * (1.0 - covered)


def _size(image_size, stride):
    """(height, width) as ints."""
    image_size = tuple(int(side) for side in image_size)
    if image_size[0] % stride or image_size[1] % stride:
        raise ValueError(f"image_size must be multiples of the stride {stride}, got {image_size}; change one of them.")
    return image_size
