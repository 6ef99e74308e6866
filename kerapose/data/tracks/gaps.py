"""Gaps of tracks: what a detector lost for a while is put back."""

import numpy as np

from kerapose.ops import sequences as sequence_ops
from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike


def fill_gaps(
    keypoints: ArrayLike, scores: ArrayLike | None = None, min_score: float = 0.0, skeleton: Skeleton | None = None
) -> tuple[Array, Array]:
    """Fills in the keypoints that a detector lost: by a straight line in time inside a track, held at its ends.

    Args:
        keypoints: [..., T, K, 2], pixels or screen. A keypoint that is NaN or infinite was not seen.
        scores: [..., T, K]; not seen where NaN or not above `min_score`. None: seen where finite and not (0, 0).
        min_score: the score that one must exceed to be seen.
        skeleton: the `Skeleton` of the keypoints, for their names in errors.

    Returns:
        keypoints [..., T, K, 2] float32, all finite, those that were seen unchanged, and scores [..., T, K] float32, 0
        for those that were not.

    Raises:
        ValueError: if shapes do not fit, there is no frame, or a keypoint is seen in no frame of a track.

    Example:
        >>> from kerapose.data import tracks
        >>> detected, sure = keypoints[0].copy(), scores[0].copy()
        >>> detected[10:13], sure[10:13] = np.nan, 0  # nobody was seen for three frames
        >>> filled, filled_scores = tracks.fill_gaps(detected, sure)
        >>> filled[9:14, 0, 0].tolist(), float(filled_scores[11, 0])  # x of the nose
        ([89.0, 90.0, 91.0, 92.0, 93.0], 0.0)
    """
    keypoints, scores, never = filled(keypoints, scores, min_score)
    if never.any():
        lost = np.flatnonzero(never.reshape(-1, never.shape[-1]).any(axis=0))
        names = [str(i) for i in lost] if skeleton is None else [skeleton.keypoints[i] for i in lost]
        raise ValueError(
            f"Each keypoint must be seen in at least one frame of a track, got none for {', '.join(names)}; lower "
            "min_score, or leave the track or the keypoints out."
        )
    return keypoints, scores


def filled(keypoints: ArrayLike, scores: ArrayLike | None, min_score: float) -> tuple[Array, Array, Array]:
    """`fill_gaps`, but for keypoints that are never seen [..., K]: those stay as they are."""
    keypoints = np.asarray(keypoints, "float32")
    if keypoints.ndim < 3 or keypoints.shape[-1] != 2 or 0 in keypoints.shape:
        raise ValueError(
            f"keypoints must be [..., T, K, 2] with at least one frame, got {list(keypoints.shape)}; reshape them."
        )
    finite = np.isfinite(keypoints).all(axis=-1)  # [..., T, K]
    scores = np.any(keypoints != 0, axis=-1) if scores is None else scores
    scores = np.asarray(scores, "float32")
    if scores.shape != finite.shape:
        raise ValueError(f"scores must be {finite.shape}, one a keypoint, got {scores.shape}; reshape them.")
    seen = finite & (scores > min_score)  # false for NaN
    never = ~seen.any(axis=-2)  # [..., K]
    keep = (seen | never[..., None, :])[..., None]
    filled = np.where(keep, keypoints, sequence_ops.fill_gaps(keypoints, seen))
    return filled, np.where(seen, scores, np.float32(0)), never
