"""Figures of people in images: object keypoint similarity, and suppression of doubles by it."""

import typing

import numpy as np

from kerapose.metrics.keypoints import refuse_unnumbered
from kerapose.skeletons import LARGEST_SIGMA, is_sigma
from kerapose.types import Array, ArrayLike


def sound_sigmas(sigmas: ArrayLike, num_keypoints: int | None = None) -> Array:
    """Checks sigmas, and gives them as an array; refuses those by which similarities would mean nothing.

    Args:
        sigmas: [K] (`Skeleton.sigmas`).
        num_keypoints: K. None: not checked.

    Returns:
        [K] float64.

    Raises:
        ValueError: if there are none, or too few or many, or one is no number, not positive or above 1.

    Example:
        >>> from kerapose import metrics, skeletons
        >>> metrics.sound_sigmas(skeletons.COCO.sigmas, 17)[:2].tolist()
        [0.026, 0.025]
    """
    values = np.asarray(sigmas) if hasattr(sigmas, "dtype") else () if sigmas is None else sigmas
    is_flat = (
        isinstance(values, list | tuple | np.ndarray)
        and np.iterable(values)
        and not any(np.iterable(value) and not isinstance(value, str) for value in values)
    )
    if is_flat and len(values) and num_keypoints in (None, len(values)):
        bad = [value for value in values if not is_sigma(value)]
        if not bad:
            return np.asarray(values, "float64")
        found = f"{len(bad)} of {len(values)} that are not, the first {bad[0]}"
    else:
        found = "none" if is_flat and not len(values) else f"{sigmas!r} for {num_keypoints or 'several'}"
    raise ValueError(
        f"sigmas must be one positive number per keypoint (Skeleton.sigmas), at most {LARGEST_SIGMA:g}, got {found}; "
        "give those of a similar set, or for a new one 0.05 each, by dataclasses.replace(skeleton, sigmas=...) or "
        "--sigmas of datasets/build.py."
    )


def oks(
    predicted: ArrayLike,
    truth: ArrayLike,
    visible: ArrayLike,
    areas: ArrayLike,
    sigmas: ArrayLike,
    boxes: ArrayLike | None = None,
) -> Array:
    """Gives the object keypoint similarity (OKS) of predictions to true people, as COCO measures it.

    It is the mean over a person's labelled keypoints of ``exp(-d² / (2 area (2 sigma)²))``, d being the distance in
    pixels. For a person without labelled keypoints d is how far a predicted keypoint lies outside of the box, widened
    by its own size on every side: COCO ignores such people, and the predictions that fit them.

    Args:
        predicted: [D, K, 2], pixels.
        truth: [G, K, 2], pixels.
        visible: [G, K], above 0 where a keypoint is labelled.
        areas: [G] of the people (COCO: of their silhouettes), square pixels, positive where a keypoint is labelled.
        sigmas: [K] (`Skeleton.sigmas`).
        boxes: [G, 4] left, top, right, bottom, pixels; only needed for people without keypoints.

    Returns:
        [D, G] in [0, 1].

    Raises:
        ValueError: if the shapes do not fit together, a number is NaN, an area or sigma is not positive, or a person
            has neither keypoints nor box.

    Example:
        >>> from kerapose import metrics, skeletons
        >>> people = keypoints[:, 0]  # two, [2, 17, 2]
        >>> similar = metrics.oks(people + 2.0, people, np.ones((2, 17)), [8000.0, 8000.0], skeletons.COCO.sigmas)
        >>> similar.round(2).tolist()  # 2 pixels off; the other person is far away
        [[0.94, 0.0], [0.0, 0.94]]

    Paper: Ruggero Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017.
    """
    sigmas = sound_sigmas(sigmas)
    num_joints = len(sigmas)
    predicted = checked_points(predicted, num_joints, "predicted")
    truth, visible = np.asarray(truth, "float64"), np.asarray(visible) > 0
    if truth.shape != (*visible.shape, 2):
        raise ValueError(f"visible must be {truth.shape[:-1]}, one per true keypoint, got {visible.shape}.")
    truth = checked_points(np.where(visible[..., None], truth, 0), num_joints, "true")
    visible = visible.reshape(len(truth), num_joints)
    areas = _areas(areas, visible.any(axis=1))
    similarities = np.zeros((len(predicted), len(truth)))
    for g in range(len(truth)):
        labelled = visible[g] if visible[g].any() else np.ones(num_joints, bool)
        if visible[g].any():
            offsets = predicted - truth[g]
        elif boxes is not None:
            offsets = _beyond(predicted, np.asarray(boxes[g], "float64"))
        else:
            raise ValueError(f"a person without keypoints is measured by its box, got none for {g}; give boxes.")
        exponents = _exponents(offsets, areas[g], sigmas)[:, labelled]
        similarities[:, g] = np.exp(-exponents).mean(axis=1)
    return similarities


def oks_between(
    keypoints: ArrayLike,
    areas: ArrayLike,
    sigmas: ArrayLike,
    keypoint_scores: ArrayLike | None = None,
    score_threshold: float | None = None,
    published: bool = False,
) -> Array:
    """Gives the object keypoint similarity of predictions to each other, over the mean of the two areas.

    Args:
        keypoints: [N, K, 2], pixels.
        areas: [N] of the people, square pixels.
        sigmas: [K] (`Skeleton.sigmas`).
        keypoint_scores: [N, K].
        score_threshold: only keypoints with a score above it in both people count; where none is left, the
            similarity is 0. None: all keypoints count.
        published: whether only the second person's scores are looked at, as the published code does by mistake.

    Returns:
        [N, N] in [0, 1], first person by row, second by column.

    Raises:
        ValueError: if the shapes do not fit together, a number is NaN, an area negative or a sigma not positive.

    Example:
        >>> from kerapose import metrics, skeletons
        >>> twice = np.stack([keypoints[0, 0], keypoints[0, 0] + 1.0])  # one person, a pixel off
        >>> metrics.oks_between(twice, [8000.0, 8000.0], skeletons.COCO.sigmas).round(2).tolist()
        [[1.0, 0.99], [0.99, 1.0]]

    Paper: Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild", CVPR 2017.
    """
    sigmas = sound_sigmas(sigmas)
    keypoints = checked_points(keypoints, len(sigmas), "predicted")
    areas = _areas(areas, np.zeros(len(keypoints), bool))
    if score_threshold is None:
        sure = np.ones(keypoints.shape[:2], bool)
    elif keypoint_scores is None:
        raise ValueError(f"score_threshold needs keypoint_scores, got {score_threshold} and none; give both.")
    else:
        sure = np.asarray(keypoint_scores).reshape(keypoints.shape[:2]) > score_threshold
    similarities = np.zeros((len(keypoints), len(keypoints)))
    for first in range(len(keypoints)):
        mean_areas = (areas[first] + areas)[:, None] / 2
        similarity = np.exp(-_exponents(keypoints - keypoints[first], mean_areas, sigmas))  # [N, K]
        counted = sure if published else sure & sure[first]
        similarities[first] = (similarity * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return similarities


def oks_nms(
    keypoints: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    sigmas: ArrayLike,
    threshold: float = 0.9,
    **similarity: typing.Any,
) -> list[int]:
    """Keeps, best first, the predictions that are not too similar to a better one.

    Args:
        keypoints: [N, K, 2], pixels of one image.
        scores: [N] of the people; of equals the first counts as better.
        areas: [N] of the people, square pixels; the published pipelines take the padded box's.
        sigmas: [K] (`Skeleton.sigmas`).
        threshold: a prediction whose similarity to a better one is greater is dropped.
        **similarity: `keypoint_scores`, `score_threshold` and `published` of `oks_between`.

    Returns:
        The indices of those that stay, best first.

    Raises:
        ValueError: as `oks_between`.

    Example:
        >>> from kerapose import metrics, skeletons
        >>> found = np.stack([keypoints[0, 0], keypoints[1, 0], keypoints[1, 0] + 0.5])  # the second person twice
        >>> metrics.oks_nms(found, [0.4, 0.9, 0.8], [8000.0] * 3, skeletons.COCO.sigmas)
        [1, 0]

    Paper: Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild", CVPR 2017.
    """
    similarities = oks_between(keypoints, areas, sigmas, **similarity)
    return _suppress(similarities, checked_numbers(scores, len(similarities), "scores"), threshold)


def soft_oks_nms(
    keypoints: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    sigmas: ArrayLike,
    threshold: float = 0.9,
    max_people: int = 20,
    **similarity: typing.Any,
) -> tuple[list[int], list[float]]:
    """Ranks predictions, after each score is reduced for the similarity s to every better one, by exp(-s² / threshold).

    Only those beyond `max_people` are dropped. The published pipelines use the choice and the order only, and pass on
    the scores as they were.

    Args:
        keypoints: [N, K, 2], pixels of one image.
        scores: [N] of the people.
        areas: [N] of the people, square pixels.
        sigmas: [K] (`Skeleton.sigmas`).
        threshold: the smaller, the more a score is reduced.
        max_people: how many stay at most.
        **similarity: as of `oks_nms`.

    Returns:
        The indices of those that stay, best first, and their reduced scores.

    Raises:
        ValueError: as `oks_between`.

    Example:
        >>> from kerapose import metrics, skeletons
        >>> found = np.stack([keypoints[0, 0], keypoints[1, 0], keypoints[1, 0] + 0.5])  # the second person twice
        >>> metrics.soft_oks_nms(found, [0.4, 0.9, 0.8], [8000.0] * 3, skeletons.COCO.sigmas)
        ([1, 0, 2], [0.9, 0.4, 0.266])

    Paper: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017.
    """
    similarities = oks_between(keypoints, areas, sigmas, **similarity)
    scores = checked_numbers(scores, len(similarities), "scores").copy()
    left, kept, reduced = list(range(len(scores))), [], []
    while left and len(kept) < max_people:
        best = max(left, key=scores.__getitem__)  # the first of equals
        left.remove(best)
        kept.append(best)
        reduced.append(float(scores[best]))
        scores *= np.exp(-(similarities[best] ** 2) / threshold)
    return kept, reduced


def box_nms(boxes: ArrayLike, scores: ArrayLike, threshold: float = 0.5, published: bool = False) -> list[int]:
    """Keeps, best first, the boxes that do not overlap a better one too much.

    Args:
        boxes: [N, 4] left, top, right, bottom, pixels.
        scores: [N]; of equals the first counts as better.
        threshold: a box whose intersection over union with a better one is greater is dropped.
        published: whether a box includes both of its edges, a pixel more along each axis, as in the published code.

    Returns:
        The indices of those that stay, best first.

    Raises:
        ValueError: if a number is NaN, or there are not as many scores as boxes.

    Example:
        >>> from kerapose import metrics
        >>> metrics.box_nms([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.8, 0.9, 0.7])
        [1, 2]
    """
    boxes = np.asarray(boxes, "float64").reshape(-1, 4)
    refuse_unnumbered("boxes", boxes)
    edge = 1.0 if published else 0.0
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2] + edge, 0)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.maximum(high - low + edge, 0).prod(axis=-1)  # [N, N]
    areas = sides.prod(axis=-1)
    union = areas[:, None] + areas - common
    overlaps = np.where(union > 0, common / np.where(union > 0, union, 1), 0)
    return _suppress(overlaps, checked_numbers(scores, len(boxes), "scores"), threshold)


def rescore(box_scores: ArrayLike, keypoint_scores: ArrayLike, threshold: float = 0.2) -> Array:
    """Gives the score of a person: its box's, times the mean of the keypoint scores above a threshold.

    Args:
        box_scores: [N].
        keypoint_scores: [N, K].
        threshold: keypoints up to this score do not count.

    Returns:
        [N], 0 for a person without a keypoint above the threshold.

    Raises:
        ValueError: if a score is NaN, or the numbers of people differ.

    Example:
        >>> from kerapose import metrics
        >>> metrics.rescore([0.5], [[0.8, 0.6, 0.1]]).tolist()
        [0.35]

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    keypoint_scores = np.asarray(keypoint_scores, "float64")
    refuse_unnumbered("scores", keypoint_scores)
    sure = keypoint_scores > threshold
    means = np.where(sure, keypoint_scores, 0).sum(axis=-1) / np.maximum(sure.sum(axis=-1), 1)
    return checked_numbers(box_scores, len(keypoint_scores), "scores") * means


def _exponents(offsets, areas, sigmas):
    squares = np.square(offsets).sum(axis=-1)
    return squares / (2 * sigmas) ** 2 / (areas + np.spacing(1)) / 2


def _beyond(points, box):
    """How far points lie outside a box that is widened by its own size on every side."""
    size = box[2:] - box[:2]
    return np.maximum(box[:2] - size - points, 0) + np.maximum(points - box[2:] - size, 0)


def _suppress(similarities, scores, threshold):
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left[0]
        kept.append(int(best))
        left = [other for other in left[1:] if similarities[best, other] <= threshold]
    return kept


def checked_points(points: ArrayLike, num_joints: int, which: str) -> Array:
    points = np.asarray(points, "float64")
    if points.size and (points.ndim != 3 or points.shape[1:] != (num_joints, 2)):
        raise ValueError(
            f"{which} keypoints must be [N, {num_joints}, 2] for {num_joints} sigmas, got {points.shape}; "
            "give the sigmas of their skeleton."
        )
    refuse_unnumbered(f"{which} keypoints", points)
    return points.reshape(-1, num_joints, 2)


def checked_numbers(values: ArrayLike, count: int, what: str) -> Array:
    values = np.asarray(values, "float64").reshape(-1)
    if len(values) != count:
        raise ValueError(f"{what} must be one per person, got {len(values)} for {count} people.")
    refuse_unnumbered(what, values)
    return values


def _areas(areas, must_be_positive):
    """Areas [N] of people, positive where a mask [N] says so: a similarity is a distance over them."""
    areas = checked_numbers(areas, len(must_be_positive), "areas")
    bad = (areas < 0) | (must_be_positive & (areas == 0))
    if bad.any():
        raise ValueError(f"areas must be positive, got {areas[bad][0]} for person {np.argmax(bad)}; give the box's.")
    return areas
