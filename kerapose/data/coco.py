"""COCO keypoint files: images, annotated people and detected boxes, as arrays.

This is the one reading of such files, for pipelines, builders and figures alike: ids may be text of digits, sizes that
are not said are those of the pictures, what is not labelled lies at (0, 0), and boxes are cut off as published.
"""

import numbers
import pathlib
import typing
from collections.abc import Iterable, Sequence

import numpy as np
import PIL.Image
from absl import logging

from kerapose import files, skeletons
from kerapose.data import gate
from kerapose.data.gate import images as rules
from kerapose.types import Array, Path

__all__ = [
    "clipped",
    "read_detections",
    "read_images",
    "read_people",
]

ORIENTATION_TAG = 0x0112  # of Exif data
LEFT_RIGHT_TURNED = range(5, 9)  # orientations in which a picture lies on its side
SHOWN = 60  # characters of a value, in an error


# ---------------------------------------- files
def read_people(
    annotation_file: Path,
    skeleton: skeletons.Skeleton | None = None,
    category: str | Sequence[str] | None = None,
    image_dir: Path | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
) -> tuple[dict[str, Array], skeletons.Skeleton]:
    """Reads the people of a file, image after image in the order of the file.

    Args:
        annotation_file: JSON with `images`, `annotations` and `categories`.
        skeleton: a `Skeleton` with as many keypoints as the category. None: made from the category.
        category: its name, or a list of names of categories with the same keypoints. None: all that have keypoints, if
            these are the same.
        image_dir: folder of the images, which are asked for sizes that the file lacks, since boxes end at the border of
            the image. None: these are not cut off there.
        flip_pairs: pairs of names or places of keypoints for the skeleton that is made. None: found by the names.

    Returns:
        {"keypoints" [N, K, 2], "visibility" [N, K], "box" [N, 4] left, top, right, bottom (`clipped`), "area",
        "is_crowd", "image_id", "person_id", "name" [N], "size" [N, 2] of the image, 0 if the file does not say it},
        pixels, and the `Skeleton`. Who has no area has that of the bbox, who has no keypoints none that is labelled.

    Raises:
        ValueError: if the file is not as described, naming the annotation.
        BadDataError: if its boxes are in 0..1 or corners.

    Example:
        >>> from kerapose.data import coco
        >>> people, skeleton = coco.read_people("people.json")
        >>> people["keypoints"].shape, people["name"].tolist(), skeleton.keypoints[:2]
        ((2, 17, 2), ['street.jpg', 'street.jpg'], ('nose', 'left_eye'))
    """
    _, people, skeleton = read_images(annotation_file, skeleton, category, image_dir, flip_pairs)
    return people, skeleton


def read_images(
    annotation_file: Path,
    skeleton: skeletons.Skeleton | None = None,
    category: str | Sequence[str] | None = None,
    image_dir: Path | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
) -> tuple[dict[str, Array], dict[str, Array], skeletons.Skeleton]:
    """Reads all images of a file, those without people too, and their people.

    Args:
        annotation_file: see `read_people`, as all that follow.
        skeleton: see `read_people`.
        category: see `read_people`.
        image_dir: see `read_people`.
        flip_pairs: see `read_people`.

    Returns:
        {"image_id", "name", "count" of people: [I], "size" [I, 2] height, width, 0 if the file does not say it} in the
        order of the file, the people as `read_people` gives them, and the `Skeleton`.

    Raises:
        ValueError: if the file is not as described, naming the annotation.
        BadDataError: if its boxes are in 0..1 or corners.

    Example:
        >>> from kerapose.data import coco
        >>> images, people, skeleton = coco.read_images("people.json")
        >>> images["name"].tolist(), images["size"].tolist(), images["count"].tolist()
        (['street.jpg'], [[240, 320]], [2])
    """
    path = annotation_file
    content = _content(path)
    known, ids, skeleton = _categories(content["categories"], category, skeleton, flip_pairs, path)
    images = _images(content["images"], path, image_dir)
    annotations = _of_categories(content["annotations"], known, ids, path)
    people = people_of(annotations, skeleton.num_keypoints, path)
    bare = people.pop("is_bare")
    if bare.any():
        logging.warning("%s: %d of %d people have no keypoints: none is labelled.", path, bare.sum(), len(bare))
    people = _by_image(people, images, path)
    report = gate.Report("people", remedy="", source=path)
    bbox, shown = people.pop("bbox"), people.pop("shown")
    rules.note_bboxes(report, people["name"], bbox, shown, people["keypoints"], people["visibility"])
    report.close()
    people["box"] = clipped(bbox, shown)
    del images["shown"]
    counts = dict(zip(*(a.tolist() for a in np.unique(people["image_id"], return_counts=True)), strict=True))
    images["count"] = np.array([counts.get(image_id, 0) for image_id in images["image_id"].tolist()], "int64")
    return images, people, skeleton


def read_detections(
    detection_file: Path,
    annotation_file: Path,
    skeleton: skeletons.Skeleton | None = None,
    category: str | Sequence[str] | None = None,
    min_score: float = 0.0,
    image_dir: Path | None = None,
    flip_pairs: Sequence[Sequence[int | str]] | None = None,
) -> tuple[dict[str, Array], skeletons.Skeleton]:
    """Reads the boxes that a detector found in the images of an annotation file, image after image.

    Args:
        detection_file: JSON list of {"image_id", "bbox", "score"}, with "category_id" or without.
        annotation_file: see `read_people`.
        skeleton: see `read_people`.
        category: see `read_people`.
        min_score: of the boxes that are kept.
        image_dir: see `read_people`.
        flip_pairs: see `read_people`.

    Returns:
        As `read_people`, with "score" [N]; no keypoint is labelled, a person's id is the place in the file, and a box
        reaches from edge to edge of its pixels, as the detector gave it.

    Raises:
        ValueError: if a file is not as described.
        BadDataError: if its boxes are in 0..1 or corners, or a score is not in 0..1.

    Example:
        >>> import json, pathlib
        >>> from kerapose.data import coco
        >>> found = [{"image_id": 1, "category_id": 1, "bbox": [40, 30, 80, 180], "score": 0.9}]
        >>> _ = pathlib.Path("boxes.json").write_text(json.dumps(found))
        >>> people, skeleton = coco.read_detections("boxes.json", "people.json")
        >>> people["box"].tolist(), people["score"].tolist()  # left, top, right, bottom
        ([[40.0, 30.0, 120.0, 210.0]], [0.9])
    """
    content = _content(annotation_file)
    _, ids, skeleton = _categories(content["categories"], category, skeleton, flip_pairs, annotation_file)
    images = _images(content["images"], annotation_file, image_dir)
    found = boxes_of(files.read_json(detection_file, "a JSON list of detections"), detection_file)
    kept = of_categories(found["category_id"], ids, detection_file) & (found["score"] >= min_score)
    found = {key: value[kept] for key, value in found.items() if key != "category_id"}
    count = len(found["score"])
    people = found | {
        "keypoints": np.zeros((count, skeleton.num_keypoints, 2)),
        "visibility": np.zeros((count, skeleton.num_keypoints)),
        "area": np.prod(found["bbox"][:, 2:], axis=-1),
        "is_crowd": np.zeros(count, bool),
        "person_id": np.flatnonzero(kept),
    }
    people = _by_image(people, images, detection_file)
    report = gate.Report("boxes", remedy="", source=detection_file)
    bbox, shown = people.pop("bbox"), people.pop("shown")
    rules.note_bboxes(report, people["name"], bbox, shown)
    report.close()
    return people | {"box": np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)}, skeleton


def image_path(folder: Path, name: str) -> pathlib.Path:
    """The path of an image by its `file_name`, whose folders Windows parts by backslashes."""
    path = pathlib.Path(folder, name)
    if "\\" in name and not path.exists():
        path = pathlib.Path(folder, name.replace("\\", "/"))
    return path


def header_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as it is shown, from the first bytes of its file; (0, 0) if they do not say it."""
    try:
        with PIL.Image.open(path) as image:
            width, height = image.size
            # A PNG file would be read to its end for Exif data that it has not got.
            turned = image.format == "JPEG" or "exif" in image.info
            orientation = image.getexif().get(ORIENTATION_TAG) if turned else 1
    except (OSError, ValueError, SyntaxError):  # Pillow's, of files that are none
        return 0, 0
    return (width, height) if orientation in LEFT_RIGHT_TURNED else (height, width)


def clipped(bbox: Array, sizes: Array) -> Array:
    """Boxes as the published top-down networks take them: from the middle of the first pixel to that of the last.

    COCO's box reaches from edge to edge of the pixels it covers, x to x + w; these networks take it from x to
    x + w - 1, within 0 to W - 1. A box outside the image, or with a negative side, stays as it is, for the gate to
    find.

    Args:
        bbox: [N, 4] x, y, width, height.
        sizes: [N, 2] (height, width) of the images; 0 where not known, so that nothing is cut off there.

    Returns:
        [N, 4] left, top, right, bottom.

    Example:
        >>> from kerapose.data import coco
        >>> coco.clipped(np.array([[300.0, 30.0, 80.0, 180.0]]), np.array([[240, 320]])).tolist()
        [[300.0, 30.0, 319.0, 209.0]]
    """
    bbox = np.asarray(bbox, "float64")
    last = np.where((sizes > 0).all(axis=1, keepdims=True), sizes - 1.0, np.inf)[:, ::-1]  # x, y
    start = np.maximum(bbox[:, :2], 0)
    end = np.minimum(start + np.maximum(bbox[:, 2:] - 1, 0), last)
    start = np.minimum(start, last)
    cut = np.concatenate([start, np.maximum(start, end)], axis=1)
    plain = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    sound = np.isfinite(bbox).all(axis=1) & (bbox[:, 2:] >= 0).all(axis=1)
    ends = np.concatenate([bbox[:, :2], bbox[:, :2] + np.maximum(bbox[:, 2:] - 1, 0)], axis=1)
    beside = rules.is_beside(ends, sizes) & (sizes > 0).all(axis=1)
    return np.where((sound & ~beside)[:, None], cut, plain)


# ---------------------------------------- annotations
def people_of(
    annotations: Sequence[dict[str, typing.Any]], num_keypoints: int, where: Path, numbered: bool = True
) -> dict[str, Array]:
    """Annotations as arrays, in whatever way the file writes numbers.

    Args:
        annotations: a list of dicts.
        num_keypoints: K.
        where: they come from, for errors.
        numbered: whether each must have an id of its own; else they are counted.

    Returns:
        {"keypoints" [N, K, 2], "visibility" [N, K], "bbox" [N, 4] as it stands there, "area", "is_crowd", "image_id",
        "person_id", "is_bare" (without keypoints): [N]}. A keypoint that is null or NaN with visibility 0, or none, is
        (0, 0).

    Raises:
        ValueError: naming the annotations where a field is lacking or something else.
    """
    values = _Fields(annotations, where, "annotations")
    person_ids = values.read("id", files.whole_number, "an id, a whole number", "number them") if numbered else []
    if len(set(person_ids)) < len(person_ids):
        twice = [i for i in dict.fromkeys(person_ids) if person_ids.count(i) > 1]
        raise ValueError(f"{where}: Every annotation has an id of its own, got {gate.some(twice)} again; correct them.")
    bbox = values.read("bbox", _bbox, "a bbox of 4 numbers, x, y, width, height", "give each person a box")
    remedy = "give x, y, visibility for each keypoint, or the skeleton that they were annotated with"
    triples = values.read(
        "keypoints", lambda given: _triples(given, num_keypoints), f"keypoints of 3 x {num_keypoints} numbers", remedy
    )
    areas = values.read("area", _or_none(_number), "a number as area", "leave it out where it is not known")
    crowds = values.read("iscrowd", _crowd, "iscrowd 0 or 1", "correct it")
    bbox = np.array(bbox, "float64").reshape(-1, 4)
    triples = np.array(triples, "float64").reshape(-1, num_keypoints, 3)
    own = np.prod(bbox[:, 2:], axis=1)
    return {
        "keypoints": rules.in_convention(triples[..., :2], ~(triples[..., 2] == 0)),
        "visibility": triples[..., 2],
        "bbox": bbox,
        "area": np.array([o if a is None else a for a, o in zip(areas, own, strict=True)], "float64"),
        "is_crowd": np.array(crowds, bool),
        "image_id": values.image_ids(),
        "person_id": np.array(person_ids if numbered else range(len(bbox)), "int64"),
        "is_bare": np.array([not np.size(a.get("keypoints")) or a.get("keypoints") is None for a in annotations], bool),
    }


def ids_of(entries: Sequence[dict[str, typing.Any]], where: Path, kind: str) -> list[int]:
    """The ids of a list of images or categories: whole numbers.

    Raises:
        ValueError: naming those that have none.
    """
    return _Fields(entries, where, kind).read("id", files.whole_number, "an id, a whole number", "number them")


def boxes_of(detections: Sequence[dict[str, typing.Any]], where: Path) -> dict[str, Array]:
    """A list of detected boxes as arrays: {"bbox" [N, 4], "score", "image_id", "category_id" (None where none): [N]}.

    Raises:
        ValueError: naming the detections where a field is lacking or something else.
        BadDataError: if a score is not in 0..1.
    """
    if not isinstance(detections, list) or not all(
        isinstance(one, dict) and {"image_id", "bbox", "score"} <= set(one) for one in detections
    ):
        raise ValueError(
            f"{where} must be a JSON list of detections, each with image_id, bbox and score; give a detector's results "
            "in COCO's form."
        )
    values = _Fields(detections, where, "detections")
    bbox = values.read("bbox", _bbox, "a bbox of 4 numbers, x, y, width, height", "correct it or leave it out")
    scores = values.read("score", _number, "a number as score", "give the detector's")
    return {
        "bbox": np.array(bbox, "float64").reshape(-1, 4),
        "score": rules.check_scores(scores, f"{where}: scores"),
        "image_id": values.image_ids(),
        "category_id": values.category_ids(),
    }


class _Fields:
    """Reads one field after the other of a list of dicts, and names those in which it is something else."""

    def __init__(self, entries, where, kind):
        self.entries, self.where, self.kind = entries, where, kind
        others = [place for place, entry in enumerate(entries) if not isinstance(entry, dict)]
        if others:
            raise ValueError(
                f"{where}: {kind} must be a list of objects, got {_shown(entries[others[0]])} at place {others[0]}; "
                "correct it."
            )

    def read(self, key, convert, rule, remedy):
        """The field of all entries, each converted; what cannot be raises one error on all."""
        values, bad = [], []
        for place, entry in enumerate(self.entries):
            try:
                values.append(convert(entry.get(key)))
            except (TypeError, ValueError):
                bad.append(place)
        if bad:
            names = [self.entries[place].get("id", f"number {place}") for place in bad]
            first = self.entries[bad[0]]
            got = f"got {_shown(first[key])}" if key in first else f"{key} is lacking"
            raise ValueError(
                f"{self.where}: {self.kind} must have {rule}, {got} in {len(bad)} of {len(self.entries)} (id "
                f"{gate.some(names)}); {remedy}."
            )
        return values

    def image_ids(self):
        rule = "an image_id, a whole number"
        return np.array(self.read("image_id", files.whole_number, rule, "number images and people's image_id"), "int64")

    def category_ids(self):
        rule = "a whole number as category_id"
        return np.array(self.read("category_id", _or_none(files.whole_number), rule, "correct it"), object)


def _shown(value):
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _or_none(convert):
    return lambda value: None if value is None else convert(value)


def _number(value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError
    return float(value)


def _bbox(value):
    sides = [_number(side) for side in value]
    if len(sides) != 4 or isinstance(value, dict):
        raise ValueError
    return sides


def _crowd(value):
    if value not in (None, 0, 1):
        raise ValueError
    return bool(value)


def _triples(value, count):
    """[3 * K] numbers of a list of them or of triples, all 0 where there is none."""
    if value is not None and not isinstance(value, list | tuple):
        raise ValueError
    if value is None or len(value) == 0:
        return [0.0] * (3 * count)
    if isinstance(value[0], list | tuple):
        value = [number for triple in value for number in _of_length(triple, 3)]
    _of_length(value, 3 * count)
    if not all(isinstance(number, int | float) for number in value):  # the usual ones are quickly told
        value = [np.nan if number is None else _number(number) for number in value]
        # Without visibility a keypoint is not labelled, unless it has a place.
        for place in range(2, 3 * count, 3):
            if np.isnan(value[place]) and not any(abs(number) > 0 for number in value[place - 2 : place]):
                value[place] = 0.0
    return value


def _of_length(values, count):
    if len(values) != count:
        raise ValueError
    return values


# ---------------------------------------- images and categories
def _content(path):
    content = files.read_json(path, "a COCO keypoint file")
    parts = ("images", "annotations", "categories")
    lacking = sorted(set(parts) - set(content if isinstance(content, dict) else ()))
    if lacking:
        raise ValueError(
            f"A COCO keypoint file has images, annotations and categories, {path} lacks {', '.join(lacking)}; "
            "give the file of annotated keypoints."
        )
    for part in parts:
        if not isinstance(content[part], list):
            raise ValueError(f"{path}: {part} must be a list, got {_shown(content[part])}; write [] if there are none.")
    return content


def _images(listed, path, image_dir):
    """{"image_id", "name": [I], "size" [I, 2] annotated, "shown" [I, 2] by their headers if not} of images."""
    values = _Fields(listed, path, "images")
    ids = values.read(
        "id", files.whole_number, "an id, a whole number", "number them, and the image_id of people alike"
    )
    names = values.read("file_name", _text, "a file_name", "name the file in the folder of the images")
    sides = [
        values.read(key, _side, f"a whole number of pixels as {key}", "correct it, or leave both sides out")
        for key in ("height", "width")
    ]
    if len(set(ids)) < len(ids):
        twice = [i for i in dict.fromkeys(ids) if ids.count(i) > 1]
        raise ValueError(f"{path}: Every image has an id of its own, got {gate.some(twice)} again; correct them.")
    if len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        logging.warning("%s lists %d images twice (%s); each is read as two.", path, len(twice), gate.some(twice))
    sizes = np.array(sides, "int32").T.reshape(-1, 2)
    sizes[(sizes == 0).any(axis=1)] = 0
    shown = sizes.copy()
    if image_dir is not None:
        for place in np.flatnonzero(sizes[:, 0] == 0):
            shown[place] = header_size(image_path(image_dir, names[place]))
    return {"image_id": np.array(ids, "int64"), "name": np.array(names, object), "size": sizes, "shown": shown}


def _text(value):
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _side(value):
    side = 0 if value is None else files.whole_number(value)
    if not 0 <= side < 2**31:
        raise ValueError
    return side


def _categories(categories, names, skeleton, flip_pairs, path):
    """The ids of all categories of a file and None, those of the ones to read, and their skeleton."""
    if skeleton is not None and flip_pairs is not None:
        raise ValueError(
            f"flip_pairs are for the skeleton that is made of the category, got {skeleton.name} too; give it its pairs "
            "by dataclasses.replace(skeleton, flip_pairs=...)."
        )
    values = _Fields(categories, path, "categories")
    ids = values.read("id", files.whole_number, "an id, a whole number", "number them, and category_id of people alike")
    titles = [str(category.get("name", "")) for category in categories]
    rows = [row for row, category in enumerate(categories) if category.get("keypoints")]
    asked = None if names is None else {names} if isinstance(names, str) else set(names)
    chosen = [row for row in rows if asked is None or titles[row] in asked]
    forms = {str(categories[row]["keypoints"]) for row in chosen}
    limbs = {str(categories[row].get("skeleton") or []) for row in chosen} - {"[]"}
    if not chosen or len(forms) > 1 or (len(limbs) > 1 and skeleton is None) or (asked or set()) - set(titles):
        known = ", ".join(titles[row] for row in rows) or "none"
        got = names if names is None or isinstance(names, str) else ", ".join(names)
        raise ValueError(
            f"category must be one with keypoints, or several with the same, {path} has {known}, got {got}; give "
            "another."
        )
    if len(chosen) > 1:
        logging.info("%s: people of %s are read together.", path, ", ".join(titles[row] for row in chosen))
    first = next((categories[row] for row in chosen if categories[row].get("skeleton")), categories[chosen[0]])
    if skeleton is None:
        title = titles[chosen[0]] if len(chosen) == 1 else f"{titles[chosen[0]]} and {len(chosen) - 1} more"
        _check_limbs(first, path)
        try:
            skeleton = skeletons.from_coco_category(first, title or None, flip_pairs)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if len(first["keypoints"]) != skeleton.num_keypoints:
        raise ValueError(
            f"{skeleton.name} has {skeleton.num_keypoints} keypoints, got {len(first['keypoints'])} in {path}; give "
            "the skeleton that it was annotated with."
        )
    return {*ids, None}, {ids[row] for row in chosen}, skeleton


def of_categories(numbers_given: Sequence[int | None] | Array, ids: Iterable[int], where: Path) -> Array:
    """Which of the boxes of a detector are of some categories, or of none that is said; others are told of: [N] bool.

    Args:
        numbers_given: [N] category_id, None where there is none.
        ids: of the categories.
        where: the boxes are from.
    """
    kept = np.array([number is None or number in ids for number in numbers_given], bool)
    if not kept.all():
        others = sorted({number for number, is_kept in zip(numbers_given, kept, strict=True) if not is_kept})
        tell = logging.info if kept.any() else logging.warning
        wanted = gate.some(sorted(ids))
        tell(
            "%s: %d of %d boxes are left out, whose category_id is not %s but %s.",
            where,
            (~kept).sum(),
            len(kept),
            wanted,
            gate.some(others),
        )
    return kept


def _of_categories(annotations, known, ids, path):
    """The annotations of some categories, by their ids; all must be of categories that are known."""
    numbers_given = _Fields(annotations, path, "annotations").category_ids()
    strange = [place for place, number in enumerate(numbers_given) if number not in known]
    if strange:
        names = [annotations[place].get("id", f"number {place}") for place in strange]
        raise ValueError(
            f"{path}: category_id must be one of the categories, {gate.some(sorted(known - {None}))}, got "
            f"{numbers_given[strange[0]]} in {len(strange)} annotations (id {gate.some(names)}); correct them, or list "
            "their categories."
        )
    wanted = [one for one, number in zip(annotations, numbers_given, strict=True) if number is None or number in ids]
    if len(wanted) < len(annotations):
        logging.info("%s: %d people of other categories are left out.", path, len(annotations) - len(wanted))
    return wanted


def _check_limbs(category, path):
    """Refuses a category whose names or limbs are none; the limbs of a set that we know are not read."""
    names, limbs = category["keypoints"], category.get("skeleton") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: keypoints of a category must be a list of names, got {_shown(names)}; name them.")
    if any(skeleton.keypoints == tuple(names) for skeleton in skeletons.ALL):
        return
    if not isinstance(limbs, list):
        raise ValueError(f"{path}: skeleton of a category must be a list of pairs, got {_shown(limbs)}; write [].")
    for limb in limbs:
        try:
            ends = [files.whole_number(end) for end in _of_length(limb, 2)]
        except (TypeError, ValueError):
            raise ValueError(
                f"{path}: skeleton of a category must be pairs of keypoints, got {_shown(limb)}; correct it."
            ) from None
        if not all(1 <= end <= len(names) for end in ends):
            remedy = "add 1 to all" if 0 in ends else "correct it"
            raise ValueError(
                f"{path}: skeleton of a category must be pairs of keypoints counted from 1 to {len(names)}, got "
                f"{_shown(limb)}; {remedy}."
            )


def _by_image(people, images, path):
    """Brings people to the order of the images, and gives them names and sizes of these."""
    place = {image_id: row for row, image_id in enumerate(images["image_id"].tolist())}
    ids = people["image_id"].tolist()
    strangers = sorted(set(ids) - set(place))
    if strangers:
        raise ValueError(
            f"{path} has people in {len(strangers)} images that are not listed ({gate.some(strangers)}); list them, or "
            "give the annotation file of these images."
        )
    rows = np.array([place[image_id] for image_id in ids], "int64")
    order = np.argsort(rows, kind="stable")
    people = {key: value[order] for key, value in people.items()}
    return people | {key: images[key][rows[order]] for key in ("name", "size", "shown")}
