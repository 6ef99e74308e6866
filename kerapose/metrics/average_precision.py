"""COCO's average precision, and its file of results."""

import contextlib
import io
import pathlib
import typing
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

from kerapose import files
from kerapose.data import coco
from kerapose.metrics.keypoints import refuse_unnumbered
from kerapose.metrics.people import checked_numbers, checked_points, oks_nms, soft_oks_nms, sound_sigmas
from kerapose.types import Array, ArrayLike, Path


def coco_ap(
    ground_truth: Path | Mapping[str, typing.Any],
    detections: Path | Sequence[Mapping[str, typing.Any]] | Mapping[str, ArrayLike],
    sigmas: ArrayLike,
    nms: str | None = None,
    nms_threshold: float = 0.9,
    image_ids: Iterable[int] | None = None,
    max_people: int = 20,
    curves: bool = False,
) -> dict[str, float | Array]:
    """Gives average precision and recall over object keypoint similarities, by COCO's own evaluation (pycocotools).

    People are medium from 32² to 96² square pixels, and large above. A detection's area is that of the box round its
    keypoints. Crowds and people without labelled keypoints are ignored, and so are the detections that fit them.

    Args:
        ground_truth: a file of COCO's format, its content, or a dict of arrays of A people: `image_id` [A], `keypoints`
            [A, K, 2] pixels, `visibility` [A, K] (0: not labelled), `box` [A, 4] pixels (left, top, right, bottom) and,
            if there are, `area` [A] square pixels (else the box's), `is_crowd` [A], `person_id` [A] (each once an
            image).
        detections: a file of COCO's results, its list, or a dict of arrays of N people: `image_id` [N], `keypoints`
            [N, K, 2] pixels, `score` [N] (see `rescore`) and, if there are, `area` [N] square pixels for `nms` (else of
            the box round the keypoints), `category_id` [N] (else that of the ground truth).
        sigmas: [K] (`Skeleton.sigmas`).
        nms: "oks" or "soft" drops double detections of an image as `oks_nms` or `soft_oks_nms` do. None: all stay.
        nms_threshold: similarity above which `nms` takes two detections for one person.
        image_ids: the images that count, those with nobody in them, too. None: those of the ground truth.
        max_people: how many detections of an image count, the best ones.
        curves: whether to add the curves that the figures are means of.

    Returns:
        A dict of "AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm" and "ARl": floats in [0, 1], -1 where
        there is nobody to detect. With `curves`, also "precision" [10, 101, 3] by similarity 0.5 to 0.95, recall 0 to 1
        and size (all, medium, large), and "recall" [10, 3].

    Raises:
        ValueError: if something is missing, misshapen or NaN, a sigma or area is not positive, or a detection lies in
            an image that does not count.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose import metrics, skeletons
        >>> people = keypoints[:, 0] + [[[5.0, 5.0]], [[0.0, 0.0]]]  # one of two is off
        >>> found = {"image_id": [1, 1], "keypoints": people, "score": [0.9, 0.8]}
        >>> figures = metrics.coco_ap("people.json", found, skeletons.COCO.sigmas)
        >>> figures["AP50"], figures["AP"]
        (1.0, 0.626)

    Paper: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
    """
    sigmas = sound_sigmas(sigmas)
    truth = _true_people(ground_truth, sigmas, image_ids)
    people = _detected_people(detections, sigmas, truth)
    if nms is not None:
        people = _without_doubles(people, sigmas, nms, nms_threshold)
    evaluation = _evaluate(truth, people, sigmas, max_people)
    precision, recall = evaluation["precision"][..., -1], evaluation["recall"][..., -1]  # [T, R, C, A], [T, C, A]
    figures = {}
    for prefix, values in (("AP", precision), ("AR", recall)):
        parts = values[..., 0], values[0, ..., 0], values[5, ..., 0], values[..., 1], values[..., 2]
        ends = ("", "50", "75", "m", "l")
        figures |= {f"{prefix}{end}": float(_known_mean(part)) for end, part in zip(ends, parts, strict=True)}
    if curves:
        figures |= {"precision": _known_mean(precision, axis=2), "recall": _known_mean(recall, axis=1)}
    return figures


def coco_results(
    detections: Mapping[str, ArrayLike], category_id: int = 1, decimals: int | None = None
) -> list[dict[str, typing.Any]]:
    """Brings detections to the list that COCO's server takes as JSON.

    Args:
        detections: a dict of arrays: `image_id` [N], `keypoints` [N, K, 2] pixels, `keypoint_scores` [N, K], `score`
            [N].
        category_id: COCO's number of the category of people.
        decimals: to which coordinates are rounded, for a smaller file. None: not at all.

    Returns:
        N dicts of `image_id`, `category_id`, `keypoints` (x, y and score of one after the other) and `score`.

    Raises:
        ValueError: if something is missing, misshapen or NaN.

    Example:
        >>> from kerapose import metrics
        >>> found = {"image_id": [785], "keypoints": [[[30.04, 40.0]]], "keypoint_scores": [[0.9]], "score": [0.8]}
        >>> metrics.coco_results(found, decimals=1)
        [{'image_id': 785, 'category_id': 1, 'keypoints': [30.0, 40.0, 0.9], 'score': 0.8}]
    """
    _require(detections, ("image_id", "keypoints", "keypoint_scores", "score"), "detections")
    image_ids = np.asarray(detections["image_id"]).reshape(-1)
    keypoints = np.asarray(detections["keypoints"], "float64")
    keypoint_scores = np.asarray(detections["keypoint_scores"], "float64")
    if len(keypoints) != len(image_ids) or keypoints.shape != (*keypoint_scores.shape, 2):
        raise ValueError(
            f"detections must have keypoints [N, K, 2] and keypoint_scores [N, K], got {keypoints.shape} and "
            f"{keypoint_scores.shape} for {len(image_ids)} image_ids."
        )
    refuse_unnumbered("detections", np.concatenate([keypoints, keypoint_scores[..., None]], axis=-1))
    keypoints = keypoints if decimals is None else keypoints.round(decimals)
    triples = np.concatenate([keypoints, keypoint_scores[..., None]], axis=-1).reshape(len(keypoints), -1)
    scores = checked_numbers(detections["score"], len(keypoints), "scores")
    return [
        {"image_id": int(image), "category_id": int(category_id), "keypoints": row.tolist(), "score": float(score)}
        for image, row, score in zip(image_ids, triples, scores, strict=True)
    ]


def _true_people(ground_truth, sigmas, image_ids):
    """Any form of ground truth as the content of a file of COCO's, people numbered from 1."""
    where = "ground_truth"
    if isinstance(ground_truth, (str, pathlib.Path)):
        where, ground_truth = ground_truth, files.read_json(ground_truth, "a COCO keypoint file")
    if "annotations" in ground_truth:
        people = _people_of_file(ground_truth["annotations"], len(sigmas), where)
        known, categories = (
            coco.ids_of(ground_truth.get(part) or [], where, part) for part in ("images", "categories")
        )
    else:
        people, known, categories = _people_of_arrays(ground_truth, len(sigmas)), [], []
    known = sorted({*known, *(person["image_id"] for person in people)})
    images = known if image_ids is None else sorted({int(i) for i in np.asarray(image_ids).reshape(-1)})
    if not images:
        raise ValueError("ground_truth must have images, got none; give image_ids if there is nobody in them.")
    people = [person | {"id": number} for number, person in enumerate(people, start=1)]  # 0 would mean "not matched"
    for person in people:
        _check_true_person(person, len(sigmas))
    categories = sorted({*categories, *(person["category_id"] for person in people)} or {1})
    return {
        "images": [{"id": i} for i in images],
        "categories": [{"id": i} for i in categories],
        "annotations": [person for person in people if person["image_id"] in set(images)],
    }


def _people_of_file(annotations, num_joints, where):
    arrays = coco.people_of(annotations, num_joints, where, numbered=False)
    labels = np.concatenate([arrays["keypoints"], arrays["visibility"][..., None]], axis=-1)  # [A, K, 3]
    return [
        {
            "image_id": int(arrays["image_id"][i]),
            "category_id": int(annotation.get("category_id") or 1),
            "keypoints": labels[i].reshape(-1).tolist(),
            "num_keypoints": _count(annotation, labels[i, :, 2]),
            "bbox": arrays["bbox"][i].tolist(),
            "area": float(arrays["area"][i]),
            "iscrowd": int(arrays["is_crowd"][i]),
        }
        for i, annotation in enumerate(annotations)
    ]


def _count(annotation, visibility):
    """How many keypoints of a person are labelled. Who has none but is said to have some would be measured by the box
    alone, which anything near it fits."""
    labelled = int((visibility > 0).sum())
    return min(int(annotation.get("num_keypoints", labelled)), labelled)


def _people_of_arrays(arrays, num_joints):
    _require(arrays, ("image_id", "keypoints", "visibility", "box"), "ground_truth")
    count = len(np.asarray(arrays["image_id"]).reshape(-1))
    visibility = np.asarray(arrays["visibility"], "float64").reshape(count, -1)
    keypoints, boxes = np.asarray(arrays["keypoints"], "float64"), np.asarray(arrays["box"], "float64").reshape(-1, 4)
    if keypoints.shape != (*visibility.shape, 2) or len(boxes) != count or visibility.shape[1:] != (num_joints,):
        raise ValueError(
            f"ground_truth must have keypoints [A, {num_joints}, 2], visibility [A, {num_joints}] and box [A, 4] for "
            f"{num_joints} sigmas and {count} image_ids, got {keypoints.shape}, {visibility.shape} and {boxes.shape}."
        )
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = checked_numbers(arrays.get("area", sizes.prod(axis=-1)), count, "areas")
    crowds = checked_numbers(arrays.get("is_crowd", np.zeros(count)), count, "is_crowd")
    labels = np.concatenate([np.where(visibility[..., None] > 0, keypoints, 0), visibility[..., None]], axis=-1)
    people = [
        {
            "image_id": int(image),
            "category_id": 1,
            "keypoints": label.reshape(-1).tolist(),
            "num_keypoints": int((label[:, 2] > 0).sum()),
            "bbox": [*box[:2].tolist(), *size.tolist()],
            "area": float(area),
            "iscrowd": int(crowd),
        }
        for image, label, box, size, area, crowd in zip(
            np.asarray(arrays["image_id"]).reshape(-1), labels, boxes, sizes, areas, crowds, strict=True
        )
    ]
    _refuse_repetitions(people, arrays.get("person_id"))
    return people


def _check_true_person(person, num_joints):
    where = f"of a person in image {person['image_id']}"
    triples = np.asarray(person["keypoints"], "float64")
    if triples.size != 3 * num_joints:
        raise ValueError(
            f"keypoints {where} must be 3 x {num_joints} numbers for {num_joints} sigmas, got {triples.size}; "
            "give the sigmas of their skeleton."
        )
    refuse_unnumbered(f"keypoints, box and area {where}", np.array([*triples, *person["bbox"], person["area"]]))
    if person["area"] < 0 or (person["num_keypoints"] and not person["iscrowd"] and person["area"] == 0):
        raise ValueError(f"the area {where} must be positive, got {person['area']}; give that of the box.")


def _refuse_repetitions(people, person_ids):
    if person_ids is None:
        return
    person_ids = np.asarray(person_ids).reshape(-1).tolist()
    seen = set()
    for person, person_id in zip(people, person_ids, strict=True):
        if (person["image_id"], person_id) in seen:
            raise ValueError(
                f"each person must be given once, got {person_id} of image {person['image_id']} again; "
                "evaluate every element of the data set once."
            )
        seen.add((person["image_id"], person_id))


def _detected_people(detections, sigmas, truth):
    """Any form of detections as a list of {"image_id", "category_id", "keypoints" [K, 2], "score", "area"}."""
    if isinstance(detections, (str, pathlib.Path)):
        detections = _results(files.read_json(detections, "a list of COCO's results"), detections)
    categories = {category["id"] for category in truth["categories"]}
    if isinstance(detections, dict):
        people = _detections_of_arrays(detections, len(sigmas), categories)
    else:
        people = [_detection_of_result(result, len(sigmas)) for result in detections]
    images = {image["id"] for image in truth["images"]}
    for key, allowed, remedy in (
        ("image_id", images, "give image_ids, or leave the others out"),
        ("category_id", categories, "leave the others out"),
    ):
        strangers = sorted({person[key] for person in people} - allowed)
        if strangers:
            raise ValueError(f"a detection's {key} must be one of the ground truth's, got {strangers[0]}; {remedy}.")
    return people


def _results(results, path):
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise ValueError(f"{path} must be a list of COCO's results, it is something else; give what was detected.")
    return results


def _detections_of_arrays(arrays, num_joints, categories):
    _require(arrays, ("image_id", "keypoints", "score"), "detections")
    image_ids = np.asarray(arrays["image_id"]).reshape(-1)
    keypoints = checked_points(arrays["keypoints"], num_joints, "detected")
    if len(keypoints) != len(image_ids):
        raise ValueError(f"detections must have one image_id each, got {len(image_ids)} for {len(keypoints)} people.")
    if len(categories) > 1 and "category_id" not in arrays:
        raise ValueError(f"detections must have a category_id where there are {len(categories)} categories, got none.")
    category_ids = arrays.get("category_id", np.full(len(keypoints), min(categories)))
    columns = (
        image_ids,
        np.asarray(category_ids).reshape(-1),
        keypoints,
        checked_numbers(arrays["score"], len(keypoints), "scores"),
        checked_numbers(arrays.get("area", _extent(keypoints)), len(keypoints), "areas"),
    )
    return [
        {"image_id": int(i), "category_id": int(c), "keypoints": points, "score": float(s), "area": float(a)}
        for i, c, points, s, a in zip(*columns, strict=True)
    ]


def _detection_of_result(result, num_joints):
    _require(result, ("image_id", "keypoints", "score"), "detections")
    triples = np.asarray(result["keypoints"], "float64")
    if triples.size != 3 * num_joints:
        raise ValueError(
            f"a detection's keypoints must be 3 x {num_joints} numbers for {num_joints} sigmas, got {triples.size}; "
            "give the sigmas of their skeleton."
        )
    keypoints = triples.reshape(-1, 3)[:, :2]
    refuse_unnumbered("detected keypoints and scores", np.append(keypoints, result["score"]))
    return {
        "image_id": files.whole_number(result["image_id"]),
        "category_id": files.whole_number(result.get("category_id", 1)),
        "keypoints": keypoints,
        "score": float(result["score"]),
        "area": float(_extent(keypoints[None])[0]),
    }


def _without_doubles(people, sigmas, nms, threshold):
    """What non-maximum suppression leaves of the detections of each image and category."""
    if nms not in ("oks", "soft"):
        raise ValueError(f'nms must be "oks", "soft" or None, got {nms!r}.')
    groups = {}
    for person in people:
        groups.setdefault((person["image_id"], person["category_id"]), []).append(person)
    left = []
    for group in groups.values():
        keypoints, scores, areas = ([person[key] for person in group] for key in ("keypoints", "score", "area"))
        if nms == "oks":
            kept = oks_nms(keypoints, scores, areas, sigmas, threshold)
        else:
            kept, _ = soft_oks_nms(keypoints, scores, areas, sigmas, threshold)
        left.extend(group[index] for index in kept)
    return left


def _evaluate(truth, people, sigmas, max_people):
    """COCOeval's arrays, for its own thresholds: precision [T, R, C, A, 1] and recall [T, C, A, 1]."""
    results = [
        {
            "id": number,
            "image_id": person["image_id"],
            "category_id": person["category_id"],
            "keypoints": np.insert(person["keypoints"], 2, 1, axis=-1).reshape(-1),  # x, y and a 1 nobody reads
            "score": person["score"],
            "area": float(_extent(person["keypoints"][None])[0]),  # whatever the area for suppression was
        }
        for number, person in enumerate(people, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        indexed = [pycocotools.coco.COCO(), pycocotools.coco.COCO()]
        for index, annotations in zip(indexed, (truth["annotations"], results), strict=True):
            index.dataset = truth | {"annotations": annotations}
            index.createIndex()
        evaluation = pycocotools.cocoeval.COCOeval(*indexed, iouType="keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.params.maxDets = [max_people]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def _extent(keypoints):
    """The area of the box round the keypoints: [N, K, 2] -> [N]."""
    return np.ptp(keypoints, axis=1).prod(axis=-1)


def _known_mean(values, axis=None):
    """The mean of what COCOeval measured; -1 where it measured nothing."""
    known = values > -1
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=axis) / np.maximum(count, 1), -1.0)


def _require(mapping, keys, what):
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise ValueError(f"{what} must have {', '.join(keys)}, got none of {', '.join(missing)}; add it.")
