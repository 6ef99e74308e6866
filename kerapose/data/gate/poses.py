"""What a valid clip of 3D skeletons is, as depth sensors and motion capture give them.

A door reads each clip with `read_poses`, as it reads one of keypoints with `sequences.read_clip`.
"""

import dataclasses
import typing

import numpy as np

from kerapose.data.gate import sequences
from kerapose.data.gate.report import Report, Rule
from kerapose.data.gate.tracks import METRES, note_size
from kerapose.ops import heatmaps
from kerapose.skeletons import LOWER_BODY, Skeleton
from kerapose.types import Array, ArrayLike

UPS = ("y", "z")
LEAST_RISE = 0.2  # of a person's largest side, from the mean of the joints below to that of the others; standing: 0.4
MOST_LYING = 0.5  # of the clips; where more do not stand, up is another axis

SHAPE = Rule("3D skeletons are [M, T, K, 3]", "of another shape", "reshape them, or give 2D ones as keypoints")
UNIT = dataclasses.replace(
    METRES,
    remedy=f"{METRES.remedy}, and if the third is a score, give the first two as keypoints",
    impossible_above=0.5,  # a unit is that of most clips; a sensor that lost somebody makes single ones odd
)
UPRIGHT = Rule(
    "People stand along z",
    f"of people whose heads are less than {LEAST_RISE:.0%} of their size above their legs",
    "say which axis is up (up='y' as a Kinect has it, or up='z')",
    1,
)


def to_world(poses_m: ArrayLike, up: str) -> Array:
    """Turns the axes of poses so that z is up.

    Args:
        poses_m: [..., 3], metres, of right-handed axes.
        up: "y" of a depth sensor's own axes, y up and z away from it (x to its left, as a Kinect has it); afterwards
            the sensor looks along y, and x is to its right. "z": they are as they should be.

    Returns:
        [..., 3] of the same type.

    Raises:
        ValueError: if `up` is neither.

    Example:
        >>> from kerapose.data.gate import poses
        >>> poses.to_world(np.array([0.25, 1.5, 3.0]), up="y").tolist()  # x, y up, z away -> x, y away, z up
        [-0.25, 3.0, 1.5]
    """
    if up not in UPS:
        raise ValueError(f'up must be "y" or "z", got {up!r}; turn the poses if another axis is up.')
    poses_m = np.asarray(poses_m)
    return poses_m if up == "z" else poses_m[..., [0, 2, 1]] * np.array([-1, 1, 1], poses_m.dtype)


def read_poses(
    report: Report,
    poses_m: ArrayLike,
    skeleton: Skeleton | None = None,
    scores: ArrayLike | None = None,
    label: typing.Any = 0,
    name: str = "",
    num_classes: int | None = None,
    people: Rule = sequences.PEOPLE,
) -> dict[str, typing.Any] | None:
    """Brings a clip of 3D skeletons to the one convention and notes what is wrong with it.

    Args:
        report: a `Report`.
        poses_m: [M, T, K, 3] (or [T, K, 3] for one person), metres, z up. Missing: (0, 0, 0), NaN or a score of 0;
            who is missing throughout, as in files that fill up people with zeros, is nobody.
        skeleton: the `Skeleton` of the joints. None: not checked.
        scores: [M, T, K] (or [T, K]). None: 1 where a joint is not missing.
        label: class index.
        name: what errors call the clip.
        num_classes: how many classes there are. None: any label from 0 on.
        people: the rule on clips that show nobody, as of `sequences.read_clip`.

    Returns:
        {"poses_m": float32 [M, T, K, 3], "scores": float32 [M, T, K], "label": int64, "name"}, M at least 1; None if it
        is so wrong that there is no such thing.
    """
    arrays = sequences.clip_arrays(report, poses_m, skeleton, scores, name, SHAPE, 3)
    _, index = sequences.note_description(report, (1, 1), label, name, num_classes)
    if arrays is None or index is None:
        return None
    poses, scores, nowhere = sequences.without_missing(*arrays)
    if nowhere:
        report.note(sequences.NOWHERE, name, f"{nowhere} joints")
    if not (scores >= heatmaps.MIN_SCORE).any():
        report.note(people, name)
    sequences.note_scores(report, scores, name)
    whole = poses[(scores > 0).all(axis=-1)]  # [N, K, 3], the skeletons without gaps
    if len(whole):
        note_size(report, whole, name, UNIT)
        _gather_rise(report, whole, skeleton, name)
    shown = (scores > 0).any(axis=(1, 2))  # [M]
    shown[0] |= not shown.any()
    return {"poses_m": poses[shown], "scores": scores[shown], "label": np.int64(index), "name": name}


def _gather_rise(report, poses, skeleton, name):
    """Keeps how far the head and arms of skeletons [N, K, 3] are above the legs, in parts of a person's size."""
    names = () if skeleton is None else skeleton.keypoints
    below = np.array([any(part in joint for part in LOWER_BODY) for joint in names], bool)
    if not below.any() or below.all():
        return
    rise = poses[:, ~below, 2].mean(axis=1) - poses[:, below, 2].mean(axis=1)  # [N]
    size = (poses.max(axis=1) - poses.min(axis=1)).max(axis=-1)
    report.gather(UPRIGHT, name, float(np.median(rise / np.maximum(size, 1e-9))), _lying)


def _lying(rises):
    """Which clips [N] break `UPRIGHT`: none as long as half of them keep it, since people lie down, too."""
    lying = np.array(rises) < LEAST_RISE
    lying &= lying.mean() > MOST_LYING
    return lying, f"{np.median(np.array(rises)[lying]):.0%}" if lying.any() else ""
