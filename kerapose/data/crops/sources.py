"""Where people in images come from: prepared data sets, COCO files, arrays."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerapose.data import annotated, coco
from kerapose.data.gate import images as rules
from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike, Path


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
