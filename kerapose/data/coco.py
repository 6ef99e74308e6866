"""COCO keypoint files: images, annotated people and detected boxes, as arrays."""

import json
import pathlib

import numpy as np

from kerapose import skeletons

NAMES_SHOWN = 5  # in an error


def read_people(annotation_file, skeleton=None, category=None, flip_pairs=None):
    """Reads the people of one category, image after image in the order of the file.

    Args:
        annotation_file: JSON with `images`, `annotations` and `categories`.
        skeleton: a `Skeleton` with as many keypoints as the category. None: made from the category.
        category: its name. None: the only one that has keypoints.
        flip_pairs: pairs of names or places of keypoints for the skeleton that is made. None: found by the names.

    Returns:
        {"keypoints" [N, K, 2], "visibility" [N, K], "box" [N, 4] left, top, right, bottom, "area", "is_crowd",
        "image_id", "person_id", "name" [N]}, pixels, and the `Skeleton`. Who has no area has that of the box.

    Raises:
        ValueError: if the file is not as described, naming the annotation.
    """
    _, people, skeleton = read_images(annotation_file, skeleton, category, flip_pairs)
    return people, skeleton


def read_images(annotation_file, skeleton=None, category=None, flip_pairs=None):
    """Reads all images of a file, those without people too, and the people of one category.

    Args:
        annotation_file: see `read_people`, as all that follow.
        skeleton: see `read_people`.
        category: see `read_people`.
        flip_pairs: see `read_people`.

    Returns:
        {"image_id", "name", "count" of people: [I]} in the order of the file, the people as `read_people` gives them,
        and the `Skeleton`.

    Raises:
        ValueError: if the file is not as described, naming the annotation.
    """
    content = _content(annotation_file)
    category = _keypoint_category(content["categories"], category, annotation_file)
    skeleton = _skeleton(skeleton, category, flip_pairs)
    if len(category["keypoints"]) != skeleton.num_keypoints:
        raise ValueError(
            f"{skeleton.name} has {skeleton.num_keypoints} keypoints, got {len(category['keypoints'])} in "
            f"{annotation_file}; give the skeleton that it was annotated with."
        )
    people = [a for a in content["annotations"] if a.get("category_id", category["id"]) == category["id"]]
    bad = [a.get("id", "one without id") for a in people if not _is_sound(a, skeleton.num_keypoints)]
    if bad:
        raise ValueError(
            f"Annotations have id, image_id, bbox of 4 and keypoints of 3 x {skeleton.num_keypoints} numbers, "
            f"{len(bad)} in {annotation_file} do not ({some(bad)}); correct them."
        )
    if len({a["id"] for a in people}) < len(people):
        raise ValueError(f"Every annotation has an id of its own, {annotation_file} repeats some; correct them.")
    flat = np.array([a["keypoints"] for a in people], "float64").reshape(-1, skeleton.num_keypoints, 3)
    box = _boxes(people)
    fields = {
        "keypoints": flat[..., :2],
        "visibility": flat[..., 2],
        "box": box,
        "area": np.array([a.get("area", float(a["bbox"][2]) * float(a["bbox"][3])) for a in people]),
        "is_crowd": np.array([a.get("iscrowd", 0) for a in people], bool),
        "image_id": np.array([a["image_id"] for a in people], "int64"),
        "person_id": np.array([a["id"] for a in people], "int64"),
    }
    people = _by_image(fields, content["images"], annotation_file)
    ids, counts = np.unique(people["image_id"], return_counts=True)
    counts = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    listed = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
    images = {
        "image_id": np.array(list(listed), "int64"),
        "name": np.array(list(listed.values()), object),
        "count": np.array([counts.get(image_id, 0) for image_id in listed], "int64"),
    }
    return images, people, skeleton


def read_detections(detection_file, annotation_file, skeleton=None, category=None, min_score=0.0, flip_pairs=None):
    """Reads the boxes that a detector found in the images of an annotation file, image after image.

    Args:
        detection_file: JSON list of {"image_id", "bbox", "score"}, with "category_id" or without.
        annotation_file: see `read_people`.
        skeleton: see `read_people`.
        category: see `read_people`.
        min_score: of the boxes that are kept.
        flip_pairs: see `read_people`.

    Returns:
        As `read_people`, with "score" [N]; no keypoint is labelled, a person's id is the place in the file.

    Raises:
        ValueError: if a file is not as described.
    """
    content = _content(annotation_file)
    category = _keypoint_category(content["categories"], category, annotation_file)
    skeleton = _skeleton(skeleton, category, flip_pairs)
    found = json.loads(pathlib.Path(detection_file).read_text())
    if not isinstance(found, list) or not all(
        {"image_id", "score"} <= set(d) and _is_list(d.get("bbox"), 4) for d in found
    ):
        raise ValueError(
            f"Detections are a list of image_id, bbox and score, {detection_file} is not; give a detector's result."
        )
    kept = [
        (i, d)
        for i, d in enumerate(found)
        if d.get("category_id", category["id"]) == category["id"] and d["score"] >= min_score
    ]
    count, box = len(kept), _boxes([d for _, d in kept])
    fields = {
        "keypoints": np.zeros((count, skeleton.num_keypoints, 2)),
        "visibility": np.zeros((count, skeleton.num_keypoints)),
        "box": box,
        "area": np.prod(box[:, 2:] - box[:, :2], axis=-1),
        "is_crowd": np.zeros(count, bool),
        "image_id": np.array([d["image_id"] for _, d in kept], "int64"),
        "person_id": np.array([i for i, _ in kept], "int64"),
        "score": np.array([d["score"] for _, d in kept], "float32"),
    }
    return _by_image(fields, content["images"], detection_file), skeleton


def some(names):
    """The first of some names, and how many more there are: for an error."""
    names = [str(name) for name in names]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _content(path):
    content = json.loads(pathlib.Path(path).read_text())
    lacking = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if lacking:
        raise ValueError(
            f"A COCO keypoint file has images, annotations and categories, {path} lacks {', '.join(sorted(lacking))}; "
            "give the file of annotated keypoints."
        )
    return content


def _keypoint_category(categories, name, path):
    """The category of a name, or the only one that has keypoints."""
    with_keypoints = {str(c.get("name", "")): c for c in categories if c.get("keypoints")}
    if name is None and len(with_keypoints) == 1:
        return next(iter(with_keypoints.values()))
    if name not in with_keypoints:
        known = ", ".join(with_keypoints) or "none"
        raise ValueError(f"category must be one with keypoints, {path} has {known}, got {name}; give another.")
    return with_keypoints[name]


def _skeleton(skeleton, category, flip_pairs):
    """The skeleton that was given, or that of the category."""
    if skeleton is None:
        return skeletons.from_coco_category(category, flip_pairs=flip_pairs)
    if flip_pairs is not None:
        raise ValueError(
            f"flip_pairs are for the skeleton that is made of the category, got {skeleton.name} too; give it its pairs "
            "by dataclasses.replace(skeleton, flip_pairs=...)."
        )
    return skeleton


def _is_sound(annotation, num_keypoints):
    """Whether an annotation has everything, and as many numbers as there should be."""
    lengths = {"keypoints": 3 * num_keypoints, "bbox": 4}
    return {"id", "image_id"} <= set(annotation) and all(_is_list(annotation.get(k), n) for k, n in lengths.items())


def _is_list(numbers, count):
    is_whole = isinstance(numbers, list) and len(numbers) == count
    return is_whole and all(isinstance(number, int | float) for number in numbers)


def _boxes(entries):
    """COCO's left, top, width, height as left, top, right, bottom: [N, 4]."""
    box = np.array([entry["bbox"] for entry in entries], "float64").reshape(-1, 4)
    return np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)


def _by_image(fields, listed, path):
    """Brings people to the order of the images, and names these."""
    names = {int(image["id"]): str(image["file_name"]) for image in listed}
    if len(names) < len(listed):
        raise ValueError(f"Every image has an id of its own, those of {path} repeat some; correct them.")
    ids = fields["image_id"].tolist()
    strangers = sorted(set(ids) - set(names))
    if strangers:
        raise ValueError(
            f"{path} has people in {len(strangers)} images that are not listed ({some(strangers)}); list them, or "
            "give the annotation file of these images."
        )
    place = {image_id: i for i, image_id in enumerate(names)}
    order = np.argsort([place[image_id] for image_id in ids], kind="stable").astype("int64")
    fields = {key: value[order] for key, value in fields.items()}
    return fields | {"name": np.array([names[image_id] for image_id in fields["image_id"].tolist()], object)}
