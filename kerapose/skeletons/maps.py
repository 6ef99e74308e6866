"""Maps from one keypoint set to another, by the names of joints."""

import functools

import numpy as np

from kerapose.skeletons.skeleton import Skeleton
from kerapose.types import Array

# Joints that can be worked out from others: each has its formulas, the best first, as weights that sum to 1. A formula
# may use joints that are themselves worked out, so COCO's `spine` is a quarter of each hip and each shoulder.
# COCO to H36M is thus what lifters of COCO detections are fed with (MotionBERT, Zhu et al., ICCV 2023): hip and thorax
# are the middles of hips and shoulders, spine the middle of the two, the "neck/nose" joint the nose, head the middle of
# the eyes, which is lower than where Human3.6M has it.
DERIVED = {
    "hip": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"neck": 1.0}, {"left_shoulder": 0.5, "right_shoulder": 0.5}),
    "neck": ({"thorax": 1.0}, {"left_shoulder": 0.5, "right_shoulder": 0.5}),
    "spine": ({"hip": 0.5, "thorax": 0.5},),
    "belly": ({"hip": 0.8, "neck": 0.2},),  # the median over JHMDB's annotations
    "upper_neck": ({"thorax": 0.5, "nose": 0.5},),
    "nose": ({"face": 1.0}, {"upper_neck": 0.5, "head": 0.5}),
    "face": ({"nose": 1.0},),
    "head": ({"head_top": 1.0}, {"left_eye": 0.5, "right_eye": 0.5}, {"left_ear": 0.5, "right_ear": 0.5}),
}


def mapping(source: Skeleton, target: Skeleton) -> Array:
    """Gives the matrix that turns keypoints of one set into those of another, by name.

    Args:
        source: the set the keypoints are in.
        target: the set wanted.

    Returns:
        [K_target, K_source] float32. A row has one 1 where both sets have the joint, the weights of `DERIVED` where it
        is computed from others, and only zeros where it cannot be; every other row sums to 1.

    Example:
        >>> from kerapose.skeletons import COCO, H36M, mapping
        >>> float(mapping(COCO, H36M)[H36M.index("hip"), COCO.index("left_hip")])
        0.5
    """
    return _mapping(source, target).copy()


def lacking(source: Skeleton, target: Skeleton) -> list[str]:
    """Names the keypoints of one set that cannot be computed from those of another.

    Args:
        source: the set the keypoints are in.
        target: the set wanted.

    Returns:
        A list of their names, empty if all can be computed.

    Example:
        >>> from kerapose.skeletons import COCO, MPII, lacking
        >>> lacking(MPII, COCO)
        ['left_eye', 'right_eye', 'left_ear', 'right_ear']
    """
    can = _mapping(source, target).any(axis=1)
    return [name for name, there in zip(target.keypoints, can, strict=True) if not there]


@functools.lru_cache(maxsize=64)  # it is asked for each frame of a stream
def _mapping(source, target):
    rows = [_formula(name, source) for name in target.keypoints]
    return np.stack([np.zeros(source.num_keypoints, np.float32) if row is None else row for row in rows])


def _formula(name, source, asked=()):
    """The weights `[K_source]` that make up a joint, None where it cannot be had; `asked` stops going in circles."""
    if name in source.keypoints:
        return np.eye(source.num_keypoints, dtype=np.float32)[source.index(name)]
    if name in asked:
        return None
    for formula in DERIVED.get(name, ()):
        parts = [_formula(part, source, (*asked, name)) for part in formula]
        if all(part is not None for part in parts):
            return sum(np.float32(weight) * part for weight, part in zip(formula.values(), parts, strict=True))
    return None


def convert(
    keypoints: Array, scores: Array, source: Skeleton, target: Skeleton, missing: str = "error"
) -> tuple[Array, Array]:
    """Turns keypoints and scores of one set into those of another.

    A joint is missing where its score is 0 or less, where it or its score is not finite, and where x and y, without a
    z, are both exactly 0. What is computed from it is missing, too: it has score 0 and the coordinates 0. The other
    joints are not changed.

    Args:
        keypoints: [..., K_source, 2] or [..., K_source, 3], any unit; what is missing may be anywhere.
        scores: [..., K_source].
        source: the set the keypoints are in.
        target: the set wanted.
        missing: "error", or "zero" to give joints that cannot be computed coordinates 0 and score 0.

    Returns:
        float32 keypoints [..., K_target, 2] or [..., K_target, 3], and scores [..., K_target]: the lowest score of the
        joints that one was computed from.

    Raises:
        ValueError: when shapes do not fit the source set, `missing` is neither of the two, or a joint cannot be
            computed and `missing` is "error".

    Example:
        >>> from kerapose.skeletons import COCO, H36M, MPII, convert
        >>> converted, _ = convert(keypoints, scores, COCO, H36M)
        >>> keypoints[0, 0, 11:13].tolist(), converted[0, 0, 0].tolist()  # both hips, and the hip between them
        ([[89.6, 120.0], [70.4, 120.0]], [80.0, 120.0])
    """
    keypoints, scores = np.asarray(keypoints, np.float32), np.asarray(scores, np.float32)
    _check_figures(keypoints, scores, source)
    matrix = _mapping(source, target)
    used = matrix > 0
    if missing not in ("error", "zero"):
        raise ValueError(f'missing must be "error" or "zero", got {missing!r}.')
    underived = lacking(source, target)
    if underived and missing == "error":
        raise ValueError(
            f"{target.name} keypoints must follow from those of {source.name}, {', '.join(underived)} cannot; "
            'use missing="zero" to give them score 0.'
        )
    found = np.isfinite(keypoints).all(axis=-1) & np.isfinite(scores) & (scores > 0)  # [..., K_source]
    if keypoints.shape[-1] == 2:  # a pose in space may well have its root at 0
        found &= (keypoints != 0).any(axis=-1)
    mapped = matrix @ np.where(found[..., None], keypoints, 0)  # [..., K_target, 2 or 3]
    lost = (~found).astype(np.float32) @ used.T.astype(np.float32) > 0  # [..., K_target]
    contributing = np.where(used, scores[..., None, :], np.inf)  # [..., K_target, K_source]
    lowest = np.where(used.any(axis=-1), contributing.min(axis=-1), 0)  # [..., K_target]
    return np.where(lost[..., None], 0, mapped).astype(np.float32), np.where(lost, 0, lowest).astype(np.float32)


def _check_figures(keypoints, scores, source):
    if keypoints.ndim < 2 or keypoints.shape[-2] != source.num_keypoints or keypoints.shape[-1] not in (2, 3):
        raise ValueError(
            f"keypoints of {source.name} must be [..., {source.num_keypoints}, 2 or 3], got {keypoints.shape}; "
            "check which set they are in."
        )
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f"scores must be {keypoints.shape[:-1]}, one per keypoint, got {scores.shape}.")
