"""Where images of people come from, and what is in them: checked, main people found, without what cannot be used."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import skeletons
from kerapose.data import annotated, coco
from kerapose.data.gate import images as rules
from kerapose.types import Array, ArrayLike, Path

# What the published preparation of COCO asks of a main person: labelled keypoints, of a small skeleton half as many as
# it has; pixels^2; distance to an earlier one, as a fraction of that one's width.
MIN_KEYPOINTS, MIN_AREA, MIN_DISTANCE = 5, 32.0**2, 0.3
PERSON_FIELDS = ("keypoints", "visibility", "box", "area", "head_size", "is_crowd", "person_id")
IMAGES_AT_ONCE = 1024  # whose annotations are read together


# ---------------------------------------- sources
def from_tfds(name: str, split: str, data_dir: Path | None = None) -> tuple[tf.data.Dataset, skeletons.Skeleton]:
    """A dataset of the images in one split of a prepared TFDS dataset, and the skeleton of the people in them.

    Args:
        name: of the dataset and its config ("puppets/groups", "coco_keypoints/2017").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.

    Returns:
        A `tf.data.Dataset` of elements, in the order in which they lie on the disk, and a `Skeleton`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        ValueError: if it has no such split, or no images with people.

    Example:
        >>> from kerapose.data import people
        >>> dataset, skeleton = people.from_tfds("puppets/groups", "train", data_dir=".")
        >>> tuple(next(iter(dataset))["keypoints"].shape)  # [M, K, 2]
        (2, 17, 2)
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
        annotation_file: JSON with `images`, `annotations` and `categories`.
        image_dir: folder of the images, which are read when their turn comes.
        skeleton: a `Skeleton` with as many keypoints as the category. None: made from the category.
        category: its name, or a list of names of categories with the same keypoints. None: all that have keypoints, if
            these are the same.
        flip_pairs: pairs of keypoints that change places in a mirror, left first, by name or place, where the category
            gives them names that do not tell. None: found by the names.

    Returns:
        A `tf.data.Dataset` of elements and a `Skeleton`.

    Raises:
        ValueError: if the file is not as described, naming the annotation.
        BadDataError: if its boxes are in 0..1 or corners. Of single people and images it is for `check` to say.
        FileNotFoundError: if there is no such file or folder.

    Example:
        >>> from kerapose.data import people
        >>> dataset, skeleton = people.from_coco("people.json", image_dir=".")
        >>> [(element["name"].numpy(), len(element["box"])) for element in dataset]  # people in each image
        [(b'street.jpg', 2)]
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
        >>> from kerapose import skeletons
        >>> from kerapose.data import people
        >>> both = {"keypoints": keypoints[:, 0], "box": boxes}
        >>> nobody = {"keypoints": np.zeros((0, 17, 2)), "box": np.zeros((0, 4))}
        >>> dataset = people.from_arrays([image, np.zeros_like(image)], [both, nobody], skeletons.COCO)
        >>> [len(element["box"]) for element in dataset]
        [2, 0]
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
    return tf.data.Dataset.zip(dataset, annotated.shared_images(images)).map(annotated.with_image)


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
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

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
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
        >>> from kerapose.data import people
        >>> dataset, skeleton = people.from_coco("people.json", image_dir=".")
        >>> samples = people.trainable(dataset, skeleton)
        >>> int(dataset.cardinality()), int(samples.cardinality())  # one image, with two main people
        (1, 2)

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

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
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

    Example:
        >>> from kerapose.data import people
        >>> truth = people.annotations(*people.from_coco("people.json", image_dir="."))
        >>> truth["keypoints"].shape, truth["image_id"].tolist()
        ((2, 17, 2), [1, 1])
    """
    return _read(dataset, skeleton)[0]


def image_ids(dataset: tf.data.Dataset) -> Array:
    """The ids of all images of a dataset, those without people too.

    Args:
        dataset: of elements.

    Returns:
        [images] int64, in the order of the dataset.

    Example:
        >>> from kerapose.data import people
        >>> dataset, _ = people.from_tfds("puppets/groups", "train", data_dir=".")
        >>> people.image_ids(dataset).tolist()
        [0, 1, 2, 3]
    """
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

    Example:
        >>> from kerapose.data import people
        >>> people.check(*people.from_coco("people.json", image_dir="."))
        2
    """
    if not skeleton.edges:
        logging.warning("%s", limbless(skeleton))
    people, images = _read(dataset, skeleton)
    every = np.ones(len(images["count"]), bool)
    annotated.check(dataset, every, images, people, np.repeat(np.arange(len(every)), images["count"]))
    _mains(people, images, skeleton)  # which says whether there is somebody
    return len(people["box"])


def limbless(skeleton: skeletons.Skeleton) -> str:
    """What is said of a skeleton without edges."""
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
