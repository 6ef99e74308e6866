"""From everybody whom a tracker found in a video to the few people of a clip.

A clip has M slots, and a network sees what is in them, whoever else walks by. Who comes first says `importance`: a
person who is seen for long, surely, and moves. A slot holds one identity after another where these do not overlap in
time, so that somebody whose identity a tracker lost is one person to the network, too.
"""

import dataclasses

import numpy as np

from kerapose.data.predictions import Predictions
from kerapose.types import Array

__all__ = [
    "Slots",
    "fill",
    "importance",
]

MAX_PEOPLE = 2  # as the published clips of actions between two people have
STRAYED = 0.9  # of the frames in which a keypoint is found, in which it keeps nearer to its middle place
MOVING = 0.1  # of the body's size: who strays so far round the own middle place moves; arms that wave do
STILL_SHARE = 0.1  # of the importance of one who moves is left to one who does not: a poster, or a bystander
EMPTY_SLOT = 1.0  # bodies' sizes: who appears farther from where a slot was left rather takes an empty one


@dataclasses.dataclass(frozen=True, eq=False)
class Slots:
    """The M people of a clip.

    Args:
        keypoints: float32 [M, T, K, 2] pixels, x first; (0, 0) where missing, as in all frames between two identities.
        scores: float32 [M, T, K], 0 where missing.
        ids: for each slot the identities in it, the most important first.
        left_out: identities for which there was no slot, the most important first.
        poses_m: float32 [M, T, J, 3] metres from joint 0; 0 where missing. None without a lifter.

    Example:
        >>> from kerapose.data import predictions, slots
        >>> people = slots.fill(predictions.read("predicted/walk.json"), max_people=1)
        >>> people.ids, people.left_out  # there were two
        (((0,),), (1,))
    """

    keypoints: np.ndarray
    scores: np.ndarray
    ids: tuple[tuple[int, ...], ...]
    left_out: tuple[int, ...]
    poses_m: np.ndarray | None = None


def fill(found: Predictions, max_people: int = MAX_PEOPLE, min_score: float | None = None) -> Slots:
    """Chooses the people of a clip, one identity after another by `importance`, the earlier of equals first.

    Each goes to a slot whose identities are all over before it begins or begin when it is over: to that one whose last
    or next place is nearest, in sizes of its body, where an empty slot counts as one size away.

    Args:
        found: of a video, at least one frame.
        max_people: M, at most; there are no more slots than are needed, and one of missing keypoints if nobody is
            seen.
        min_score: a keypoint whose score is not above it counts as missing. None: as where they were found.

    Returns:
        `Slots`.

    Raises:
        ValueError: if there is no frame, or `max_people` is below 1.

    Example:
        >>> from kerapose.data import predictions, slots
        >>> people = slots.fill(predictions.read("predicted/walk.json"))
        >>> people.keypoints.shape, people.ids
        ((2, 30, 17, 2), ((0,), (1,)))
    """
    if max_people < 1:
        raise ValueError(f"max_people must be at least 1, got {max_people}; 2 is usual.")
    if not found.num_frames:
        raise ValueError(f"A clip has at least one frame, got none of {found.source}; leave it out.")
    people = _by_identity(found, found.min_score if min_score is None else min_score)
    ranks = [importance(person.keypoints, person.scores) for person in people]
    order = sorted(range(len(people)), key=lambda place: (-ranks[place], place))
    slots, left_out = [], []
    for person in (people[place] for place in order):
        free = [slot for slot in slots if all(_apart(person, other) for other in slot)]
        distances = [min(_gap(person, other) for other in slot) for slot in free]
        if len(slots) < max_people and min(distances, default=np.inf) > EMPTY_SLOT:
            slots.append([person])
        elif free:
            free[int(np.argmin(distances))].append(person)
        else:
            left_out.append(person.id)
    ids = tuple(tuple(person.id for person in slot) for slot in slots) or ((),)
    return Slots(*_arrays(found, slots), ids, tuple(left_out), _poses(found, slots))


def importance(keypoints: Array, scores: Array) -> float:
    """How much a person matters in a clip: (n - 1) s min(1, max(0.1, m / 0.1)).

    n frames show the person; s is the mean score of all keypoints in these. m is how far the keypoints stray, each from
    its own median place: the root of the mean over keypoints of that distance squared, at the 90th percentile of the
    frames, so that a few gross errors do not count, and at most 1, in sizes of the body, of which one is the median
    diagonal of the box round what was found. So a poster loses against a person of the same time and score who moves,
    by up to ten to one, and who flashes up in a single frame against everybody.

    Args:
        keypoints: [n, K, 2] pixels, those of the frames in which the person is seen.
        scores: [n, K], 0 where a keypoint was not found.

    Returns:
        A number from 0 on.

    Example:
        >>> from kerapose.data import slots
        >>> still = np.repeat(keypoints[0, :1], 30, axis=0)  # as a poster
        >>> [round(slots.importance(points, scores[0]), 1) for points in (keypoints[0], still)]
        [25.2, 2.6]
    """
    seen = scores > 0  # [n, K]
    if len(keypoints) < 2 or not seen.any():
        return 0.0
    size = _size(keypoints, seen)
    places = np.where(seen[..., None], keypoints, np.nan)
    places[:, ~seen.any(axis=0)] = 0  # never seen, and so not moving
    middle = np.nanmedian(places, axis=0)  # [K, 2]
    strayed = np.nanquantile(np.linalg.norm(places - middle, axis=-1), STRAYED, axis=0) / size  # [K]
    motion = float(np.sqrt(np.mean(np.square(np.minimum(strayed, 1)))))
    return (len(keypoints) - 1) * float(scores.mean()) * min(1, max(STILL_SHARE, motion / MOVING))


@dataclasses.dataclass(frozen=True, eq=False)
class _Identity:
    """Frames [n] and rows [n] in them of one identity, keypoints [n, K, 2] and scores [n, K]."""

    id: int
    frames: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    poses_m: np.ndarray | None


def _by_identity(found, min_score):
    """All identities in the order in which they came; frames without any of their keypoints are none of theirs."""
    places = {}
    for frame, moment in enumerate(found.moments):
        for row, identity in enumerate(moment.ids.tolist()):
            if (moment.keypoint_scores[row] > min_score).any():
                places.setdefault(identity, []).append((frame, row))
    return [_identity(found, identity, places[identity], min_score) for identity in places]


def _identity(found, identity, places, min_score):
    def over_time(field):
        return np.stack([getattr(found.moments[frame], field)[row] for frame, row in places])

    scores = over_time("keypoint_scores")
    return _Identity(
        id=identity,
        frames=np.array([frame for frame, _ in places]),
        keypoints=over_time("keypoints"),
        scores=np.where(scores > min_score, scores, 0),
        poses_m=None if found.pose_skeleton is None else over_time("poses_m"),
    )


def _apart(one, other):
    """Whether one person is gone before the other comes."""
    return one.frames[-1] < other.frames[0] or other.frames[-1] < one.frames[0]


def _gap(one, other):
    """How far apart two are where the earlier one is seen last and the later one first, in sizes of the body."""
    first, second = (one, other) if one.frames[-1] < other.frames[0] else (other, one)
    ends = [(first.keypoints[-1], first.scores[-1] > 0), (second.keypoints[0], second.scores[0] > 0)]
    middles = [np.median(keypoints[there], axis=0) for keypoints, there in ends]
    size = max(_size(keypoints[None], there[None]) for keypoints, there in ends)
    return float(np.linalg.norm(middles[1] - middles[0]) / size)


def _size(keypoints, seen):
    """The median diagonal of the boxes round the keypoints [n, K, 2] that are seen [n, K], at least a pixel."""
    sizes = [np.linalg.norm(np.ptp(points[there], axis=0)) for points, there in zip(keypoints, seen, strict=True)]
    return max(float(np.median(sizes)), 1.0)


def _arrays(found, slots):
    count, num_keypoints = max(len(slots), 1), found.skeleton.num_keypoints
    keypoints = np.zeros((count, found.num_frames, num_keypoints, 2), "float32")
    scores = np.zeros(keypoints.shape[:-1], "float32")
    for row, slot in enumerate(slots):
        for person in slot:
            keypoints[row, person.frames] = np.where(person.scores[..., None] > 0, person.keypoints, 0)
            scores[row, person.frames] = person.scores
    return keypoints, scores


def _poses(found, slots):
    if found.pose_skeleton is None:
        return None
    poses = np.zeros((max(len(slots), 1), found.num_frames, found.pose_skeleton.num_keypoints, 3), "float32")
    for row, slot in enumerate(slots):
        for person in slot:
            poses[row, person.frames] = np.nan_to_num(person.poses_m)
    return poses
