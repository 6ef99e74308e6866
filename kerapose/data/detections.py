"""Boxes that a person detector found, in the form of COCO's results: as arrays, or as the people of a data set."""

import io

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose import files
from kerapose.data import annotated, coco, crops, gate
from kerapose.data.gate import images as rules
from kerapose.skeletons import Skeleton
from kerapose.types import Array, Path

__all__ = [
    "from_tfds",
    "read_boxes",
]


def read_boxes(
    path: Path, min_score: float = 0.0, category_id: int = 1, max_boxes: int | None = None
) -> dict[int, tuple[Array, Array]]:
    """Reads the boxes of a person detector from a file of COCO detection results.

    Args:
        path: a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}, with "category_id" or without.
        min_score: the lowest score that is read.
        category_id: of a person; boxes that have another one are left out, and how many these are is logged.
        max_boxes: how many are read for an image, the surest; None for all.

    Returns:
        {image_id: (boxes [N, 4] float32 left, top, right, bottom, pixels, scores [N] float32)}, the surest first;
        images without a box are not in it.

    Raises:
        ValueError: if the file is not as described, a box that would be read has no area, most are in 0..1, or a score
            is not in 0..1.

    Example:
        >>> import json, pathlib
        >>> from kerapose.data import detections
        >>> found = [{"image_id": 1, "bbox": [160, 30, 80, 180], "score": 0.7}]
        >>> found += [{"image_id": 1, "bbox": [40, 30, 80, 180], "score": 0.9}]
        >>> _ = pathlib.Path("boxes.json").write_text(json.dumps(found))
        >>> boxes, scores = detections.read_boxes("boxes.json")[1]
        >>> boxes.tolist(), scores.round(1).tolist()
        ([[40.0, 30.0, 120.0, 210.0], [160.0, 30.0, 240.0, 210.0]], [0.9, 0.7])
    """
    found = coco.boxes_of(files.read_json(path, "a JSON list of detections"), path)
    kept = coco.of_categories(found["category_id"], {category_id}, path) & (found["score"] >= min_score)
    bbox, scores, image_ids = (found[key][kept] for key in ("bbox", "score", "image_id"))
    sound = np.isfinite(bbox).all(axis=1) & (bbox[:, 2:] > 0).all(axis=1)
    if not sound.all():
        wrong = int(np.argmin(sound))
        raise gate.BadDataError(
            f"A bbox must be x, y, width, height with both sizes above 0, got {bbox[wrong].tolist()} for image "
            f"{image_ids[wrong]} in {path}; drop it from the file."
        )
    _check_bboxes(path, image_ids, bbox, np.zeros((len(bbox), 2)))
    places = {}
    for place in np.argsort(-scores, kind="stable"):
        places.setdefault(int(image_ids[place]), []).append(place)
    boxes = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1).astype("float32")
    return {
        image_id: (boxes[places[image_id][:max_boxes]], scores[places[image_id][:max_boxes]].astype("float32"))
        for image_id in dict.fromkeys(image_ids.tolist())
    }


def from_tfds(
    path: Path, name: str, split: str, data_dir: Path | None = None, skip: tuple[str, ...] | list[str] = ()
) -> tuple[tf.data.Dataset, Skeleton]:
    """What a detector found in one split of a prepared TFDS data set of images, and the skeleton of its people.

    Args:
        path: of the results, as `read_boxes` reads them; boxes in images that the split does not have are left out,
            which is told.
        name: of the data set and its config, as for `crops.from_tfds`.
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.
        skip: names of images to leave out.

    Returns:
        A `tf.data.Dataset` of elements as those of `data.crops`, one a box, that have a "score" and no labelled
        keypoint; and a `Skeleton`.

    Raises:
        ValueError: if the file is not as described, or has no box in the split.
        BadDataError: if its boxes are in 0..1 or corners.

    Example:
        >>> import json, pathlib
        >>> from kerapose.data import detections
        >>> found = [{"image_id": 0, "bbox": [40, 30, 80, 180], "score": 0.9}]
        >>> _ = pathlib.Path("boxes.json").write_text(json.dumps(found))
        >>> people, skeleton = detections.from_tfds("boxes.json", "puppets/images", "train", data_dir=".")
        >>> [(person["name"].numpy(), person["box"].numpy().tolist()) for person in people]
        [(b'street0.jpg', [40.0, 30.0, 120.0, 210.0])]
    """
    found = read_boxes(path)
    people, skeleton = crops.from_tfds(name, split, data_dir)
    records, _ = annotated.read_records(name, split, data_dir)
    skipped = {name.encode() for name in skip}

    def images():
        return (record for record in records.as_numpy_iterator() if record["name"] not in skipped)

    sizes = {int(record["image_id"]): coco.header_size(io.BytesIO(record["image"])) for record in images()}
    strangers = set(found) - set(sizes)
    if len(strangers) == len(found):
        raise ValueError(
            f"Detections are boxes in images of the split {split}, got none in {path}; give the detector's results for "
            "these images."
        )
    if strangers:
        logging.warning("%s has boxes in %d images that are not tested.", path, len(strangers))
    check_units(path, found, sizes)
    signature = people.element_spec | {"score": tf.TensorSpec((), tf.float32)}
    unknown = {key: np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for key, spec in people.element_spec.items()}

    def elements():
        for record in images():
            of_image = {key: record[key] for key in ("image", "image_id", "name")}
            for box, score in zip(*found.get(int(record["image_id"]), ((), ())), strict=True):
                yield unknown | of_image | {"box": box, "score": score}

    return tf.data.Dataset.from_generator(elements, output_signature=signature), skeleton


def check_units(path: Path, found: dict[int, tuple[Array, Array]], sizes: dict[int, tuple[int, int]]) -> None:
    """Refuses detected boxes in 0..1, or that are corners.

    Args:
        path: of their file, for the error.
        found: what `read_boxes` gives.
        sizes: (height, width) of images by their ids; of other images nothing is said.

    Raises:
        BadDataError: if they are.

    Example:
        >>> from kerapose.data import detections
        >>> fractions = {1: (np.array([[0.1, 0.1, 0.4, 0.9]]), np.array([0.9]))}
        >>> detections.check_units("boxes.json", fractions, {1: (240, 320)})
        Traceback (most recent call last):
            ...
        kerapose.data.gate.report.BadDataError: boxes.json: Boxes are in pixels, got one with a box within 1.5
        px of (0, 0) (1: [0.1, 0.1, 0.3, 0.8]); multiply them by the width and height of the picture.
    """
    owners = [image_id for image_id, (boxes, _) in found.items() for _ in boxes if image_id in sizes]
    corners = np.concatenate([boxes for image_id, (boxes, _) in found.items() if image_id in sizes])
    bbox = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    _check_bboxes(path, owners, bbox, np.array([sizes[image_id] for image_id in owners]))


def _check_bboxes(path, names, bbox, sizes):
    report = gate.Report("boxes", remedy="", source=path)
    rules.note_bboxes(report, names, bbox, sizes)
    report.close()
