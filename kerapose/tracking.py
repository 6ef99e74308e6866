"""Tracking: who is who from frame to frame, and keypoints that do not tremble.

A `Tracker` gives people identities by the similarity of their poses, and smooths their keypoints with a `OneEuro` each.
"""

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment

from kerapose import metrics
from kerapose.skeletons import Skeleton
from kerapose.types import Array, ArrayLike

__all__ = [
    "OneEuro",
    "Tracker",
]

SHARED_KEYPOINTS = 3  # two poses are compared by at least so many: a wrist on a wrist says little
DEFAULT_SIGMA = 0.079  # of each keypoint of a set without published ones; that of a shoulder
NARROWEST = 1 / 3  # of a box, its shorter side over its longer: keypoints of a person from the side lie on a line
SPEED_SHARE = 0.5  # of the newest displacement in the speed of a person; the rest is the speed before
PUBLISHED_SIMILARITY = 0.5  # a keypoint counts as the same where it is more similar than this


class OneEuro:
    """Smooths values over time: strongly where they hardly change, and little where they change fast.

    So keypoints at rest do not tremble, and fast ones do not lag. It is a low-pass filter whose cutoff grows with the
    speed, which is smoothed itself. The first value passes unchanged. For a value that was not found in n frames, the
    next step is one of n + 1 frames.

    Args:
        fps: frames a second.
        min_cutoff: of a value that stands still, Hz; the lower, the smoother.
        beta: by how much the cutoff grows, Hz for each unit of value a second; the higher, the less lag.
        derivative_cutoff: of the filter of the speed, Hz.
        restart: whether a value that comes back after a gap starts anew, as in the published pose tracking.

    Raises:
        ValueError: if a rate or a cutoff is not above 0, or beta is below 0.

    Example:
        >>> from kerapose import tracking
        >>> smooth = tracking.OneEuro(fps=25)
        >>> [float(smooth([x])[0]) for x in (0.0, 1.0, 0.0, 1.0, 0.0)]  # a keypoint that trembles
        [0.0, 0.24, 0.19, 0.38, 0.30]

    Paper: Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
    Interactive Systems", CHI 2012.
    """

    def __init__(
        self,
        fps: float,
        min_cutoff: float = 1.0,
        beta: float = 0.05,
        derivative_cutoff: float = 1.0,
        restart: bool = False,
    ):
        for name, value in (("fps", fps), ("min_cutoff", min_cutoff), ("derivative_cutoff", derivative_cutoff)):
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}; 30 frames a second, 1 Hz are usual.")
        if not 0 <= beta < np.inf:
            raise ValueError(f"beta must be at least 0 and finite, got {beta}; 0 smooths fast values as slow ones.")
        self.fps = fps
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.derivative_cutoff = derivative_cutoff
        self.restart = restart
        self._last = None  # the values as they came, smoothed, and their speeds; None before the first call

    def __call__(self, values: ArrayLike, found: ArrayLike | None = None) -> Array:
        """Takes the values of the next frame.

        Args:
            values: of any shape, the same in each call.
            found: bools of the shape of the values or of its first axes, [K] for [K, 2]. None: all that are finite.

        Returns:
            The smoothed values, of the same shape and type (integers become float64); what was not found is unchanged.

        Raises:
            ValueError: if a shape does not fit.
        """
        values = np.asarray(values)
        values = values if np.issubdtype(values.dtype, np.floating) else values.astype("float64")
        found = _spread(found, values.shape) & np.isfinite(values)
        if self._last is None:
            self._last, self._smoothed, self._speeds = (np.zeros(values.shape) for _ in range(3))
            self._missed = np.full(values.shape, np.inf)  # frames since a value was found
        if values.shape != self._last.shape:
            raise ValueError(
                f"values must keep the shape of the first frame, {self._last.shape}, got {values.shape}; make a filter "
                "for each person."
            )
        steps = self._missed + 1
        if self.restart:
            steps[steps > 1] = np.inf
        rates = self.fps / steps  # 0 for a first value, which so passes unchanged and has no speed
        current = np.where(found, values, 0).astype("float64")
        speeds = _mixed(self._speeds, (current - self._last) * rates, _share(self.derivative_cutoff, rates))
        cutoffs = self.min_cutoff + self.beta * np.abs(speeds)
        smoothed = _mixed(self._smoothed, current, _share(cutoffs, rates))
        self._last = np.where(found, current, self._last)
        self._speeds = np.where(found, speeds, self._speeds)
        self._smoothed = np.where(found, smoothed, self._smoothed)
        self._missed = np.where(found, 0, self._missed + 1)
        return np.where(found, smoothed, values).astype(values.dtype)


@dataclasses.dataclass(eq=False)
class _Track:
    """One identity: where its keypoints are expected, if they are known."""

    identity: int
    keypoints: np.ndarray  # [K, 2]
    missed: np.ndarray  # [K] frames since each keypoint was found; infinite before it ever was
    smoother: OneEuro
    speed: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))  # px a frame


# The package `trackers` is not used: it compares boxes, which says less of people who overlap than their keypoints do,
# and requires opencv-python, which must not be installed beside the opencv-python-headless that this package needs.
class Tracker:
    """Gives the people of each frame of a video identities that stay, and smooths their keypoints.

    New poses are compared by object keypoint similarity with the places where each identity's keypoints are expected,
    and matched so that the sum of similarities is greatest. A keypoint is expected where it was last found, moved on at
    the speed of its person, as long as it was not missing for too long. So somebody who is half hidden, or not seen for
    a while, keeps the identity. Identities count up from 0 and are never given twice.

    Args:
        skeleton: the `Skeleton` of the keypoints. Where it has no sigmas, all keypoints count alike.
        fps: frames a second; the published demonstration takes 15 for any video.
        published: whether identities and coordinates are those of the published code: only the frame before counts, a
            pose takes the identity with which it has most keypoints in common (at least 3), the most confident pose
            first, and coordinates, also smoothed ones, are cut to integers.
        smooth: whether keypoints are smoothed, by a `OneEuro` for each person.
        max_missing: frames in a row that a person or a keypoint may be missing and is still expected. None: those of a
            second.
        min_similarity: the least similarity of a match, 0 to 1.
        min_score: a keypoint counts as found where its score is above it.

    Attributes:
        boxes: [N, 4] left, top, right, bottom, pixels: the least boxes round the keypoints that were found of the
            people of the newest frame, in their order and as smooth as these; zeros where none was.

    Raises:
        ValueError: if a number is not as described.

    Example:
        >>> from kerapose import skeletons, tracking
        >>> track = tracking.Tracker(skeletons.COCO, fps=15)
        >>> ids, smooth = track(keypoints[:, 0], scores[:, 0])
        >>> ids, smooth = track(keypoints[::-1, 1], scores[::-1, 1])  # found in another order
        >>> ids.tolist(), smooth.shape, track.boxes.round().tolist()
        ([1, 0], (2, 17, 2), [[170.0, 56.0, 231.0, 197.0], [50.0, 56.0, 111.0, 197.0]])

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018 (similarity of poses);
    Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", ICPRAM 2019 (published code).
    """

    def __init__(
        self,
        skeleton: Skeleton,
        fps: float = 30.0,
        published: bool = False,
        smooth: bool = True,
        max_missing: int | None = None,
        min_similarity: float = 0.1,
        min_score: float = 0.0,
    ):
        OneEuro(fps)  # refuses a wrong rate now, not at the first person
        self.skeleton = skeleton
        self.fps = fps
        self.published = published
        self.smooth = smooth
        self.max_missing = max(1, round(fps)) if max_missing is None else max_missing
        self.min_similarity = min_similarity
        self.min_score = min_score
        if self.max_missing < 0:
            raise ValueError(f"max_missing must be at least 0 frames, got {max_missing}; 0 forgets at once.")
        if not 0 <= min_similarity <= 1:
            raise ValueError(f"min_similarity must be 0 to 1, got {min_similarity}; 0.1 is usual.")
        alike = (DEFAULT_SIGMA,) * skeleton.num_keypoints
        self._sigmas = metrics.sound_sigmas(
            alike if skeleton.sigmas is None else skeleton.sigmas, skeleton.num_keypoints
        )
        self._tracks = []
        self._next_identity = 0
        self.boxes = np.zeros((0, 4))

    def __call__(
        self, keypoints: ArrayLike, scores: ArrayLike, person_scores: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Takes the people of the next frame.

        Args:
            keypoints: [N, K, 2] px, x first, any N, 0 too.
            scores: [N, K], 0 where a keypoint is missing; what is not finite is missing, too.
            person_scores: [N]; only the published rule looks at them. None: the sums of the scores.

        Returns:
            Identities [N] int64, and keypoints [N, K, 2] in the order in which they came: smoothed, but for those that
            are missing, which are unchanged; int32 with `published`.

        Raises:
            ValueError: if the shapes do not fit together.
        """
        keypoints, scores, person_scores = self._checked(keypoints, scores, person_scores)
        found = np.isfinite(keypoints).all(axis=-1) & (scores > self.min_score)  # [N, K]
        if self.published:
            keypoints = np.where(found[..., None], keypoints, -1).astype("int32")
            order = np.argsort(-person_scores, kind="stable")
            matches = self._matches_as_published(keypoints, found, order)
        else:
            order = range(len(keypoints))
            matches = self._matches(keypoints, found)
        seen = [None] * len(keypoints)
        for person in order:
            track = matches.get(person) or self._new_track()
            seen[person], keypoints[person] = self._updated(track, keypoints[person], found[person])
        self._tracks = seen if self.published else seen + self._still_awaited(matches)
        self.boxes = np.array([_box(*pose) for pose in zip(keypoints, found, strict=True)]).reshape(-1, 4)
        return np.array([track.identity for track in seen], "int64"), keypoints

    def expected(self) -> tuple[Array, Array]:
        """Tells where everybody is expected in the next frame, also those who were not seen in this one.

        Returns:
            Identities [P] int64 and boxes [P, 4] round the keypoints that are expected: left, top, right, bottom,
            pixels. Padded, they are boxes for a top-down network in a frame for which a detector has no time.

        Example:
            >>> from kerapose import skeletons, tracking
            >>> track = tracking.Tracker(skeletons.COCO, fps=15, smooth=False)
            >>> for frame in range(10):  # two pixels to the right each
            ...     _ = track(keypoints[:1, 0] + [2.0 * frame, 0.0], scores[:1, 0])
            >>> ids, expected = track.expected()
            >>> ids.tolist(), (expected - track.boxes).tolist()
            ([0], [[2.0, 0.0, 2.0, 0.0]])
        """
        ids, boxes = [], []
        for track in self._tracks:
            known = track.missed <= (0 if self.published else self.max_missing)
            if known.any():
                ids.append(track.identity)
                boxes.append(_box(track.keypoints + track.speed, known))
        return np.array(ids, "int64"), np.array(boxes).reshape(-1, 4)

    # ---------------------------------------- matching
    def _matches(self, keypoints, found):
        """{person: the track that it goes on}, the assignment with the greatest sum of similarities."""
        tracks, count = self._tracks, len(keypoints)
        if not tracks or not count:
            return {}
        before = np.stack([track.keypoints + track.speed for track in tracks])  # [P, K, 2]
        known = np.stack([track.missed <= self.max_missing for track in tracks])
        both = np.concatenate([known, found])  # [P + N, K]
        points = np.where(both[..., None], np.concatenate([before, keypoints]), 0)
        areas = [_area(*pose) for pose in zip(points, both, strict=True)]
        similarities = metrics.oks_between(points, areas, self._sigmas, both, score_threshold=0.5)
        similarities = similarities[: len(tracks), len(tracks) :]  # [P, N]
        shared = known.astype(int) @ found.T.astype(int)  # [P, N] keypoints that both have
        enough = min(SHARED_KEYPOINTS, keypoints.shape[1])
        similarities[(shared < enough) | (similarities < self.min_similarity)] = 0
        pairs = zip(*linear_sum_assignment(similarities, maximize=True), strict=True)
        return {person: tracks[row] for row, person in pairs if similarities[row, person] > 0}

    def _matches_as_published(self, keypoints, found, order):
        """As `_matches`: person by person, each takes the free track with most keypoints at the same place."""
        matches, free = {}, list(self._tracks)
        variances = (2 * np.array(self._sigmas)) ** 2
        areas = [_counted_area(*pose) for pose in zip(keypoints, found, strict=True)]
        for person in order:
            counts = []
            for track in free:
                squares = np.square(keypoints[person].astype("int64") - track.keypoints).sum(axis=-1)  # [K]
                known = track.missed == 0
                area = max(areas[person], _counted_area(track.keypoints, known)) + np.spacing(1)
                similar = np.exp(-squares / (2 * area * variances)) > PUBLISHED_SIMILARITY
                counts.append(np.count_nonzero(similar & found[person] & known))
            if counts and max(counts) >= SHARED_KEYPOINTS:
                matches[person] = free.pop(int(np.argmax(counts)))  # the first of equals
        return matches

    # ---------------------------------------- tracks
    def _new_track(self):
        count = self.skeleton.num_keypoints
        smoother = OneEuro(self.fps, restart=self.published)
        self._next_identity += 1
        return _Track(self._next_identity - 1, np.zeros((count, 2)), np.full(count, np.inf), smoother)

    def _updated(self, track, keypoints, found):
        """The track with a pose [K, 2], [K] added, and the pose as the caller is given it."""
        shown = keypoints
        if self.smooth:
            shown = track.smoother(keypoints, found).astype(keypoints.dtype)  # int32 is cut off
        if self.published:
            track.keypoints, track.missed = shown, np.where(found, 0, np.inf)
            return track, shown
        common = found & (track.missed <= self.max_missing)
        if common.any():  # all moved on at the old speed, so what is left is how much that is wrong
            error = (keypoints - track.keypoints)[common] - track.speed
            track.speed = track.speed + SPEED_SHARE * np.median(error / (track.missed[common, None] + 1), axis=0)
        track.keypoints = np.where(found[:, None], keypoints, track.keypoints + track.speed)
        track.missed = np.where(found, 0, track.missed + 1)
        return track, shown

    def _still_awaited(self, matches):
        """Tracks that nobody goes on in this frame and that are not given up yet, moved on at their speed."""
        gone_on = {track.identity for track in matches.values()}
        awaited = [track for track in self._tracks if track.identity not in gone_on]
        for track in awaited:
            track.keypoints, track.missed = track.keypoints + track.speed, track.missed + 1
        return [track for track in awaited if track.missed.min() <= self.max_missing]

    def _checked(self, keypoints, scores, person_scores):
        count = self.skeleton.num_keypoints
        keypoints, scores = np.asarray(keypoints), np.asarray(scores)
        keypoints = keypoints.reshape(0, count, 2) if keypoints.size == 0 else keypoints
        scores = scores.reshape(0, count) if scores.size == 0 else scores
        if keypoints.ndim != 3 or keypoints.shape[1:] != (count, 2) or scores.shape != keypoints.shape[:2]:
            raise ValueError(
                f"keypoints of {self.skeleton.name} must be [N, {count}, 2] and scores [N, {count}], got "
                f"{keypoints.shape} and {scores.shape}; give those of one frame."
            )
        if person_scores is None:
            person_scores = scores.sum(axis=-1)
        person_scores = np.asarray(person_scores, "float64")
        if person_scores.shape != (len(keypoints),):
            raise ValueError(
                f"person_scores must be [{len(keypoints)}], one per person, got {person_scores.shape}; None takes the "
                "sums of the keypoints' scores."
            )
        is_float = np.issubdtype(keypoints.dtype, np.floating)
        return keypoints.astype(keypoints.dtype if is_float else "float64"), scores, person_scores


def _box(keypoints, found):
    """The least box [4] round those keypoints [K, 2] that were found, zeros if none was."""
    if not found.any():
        return np.zeros(4)
    points = keypoints[found]
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype("float64")


def _area(keypoints, found):
    """Of the box round the found keypoints, which is not narrower than a body, px^2."""
    if not found.any():
        return 0.0
    width, height = np.ptp(keypoints[found], axis=0)
    return float(max(width, NARROWEST * height) * max(height, NARROWEST * width))


def _counted_area(keypoints, found):
    """Of the box of whole pixels round the found keypoints, both of its edges counted, px^2."""
    return int(np.prod(np.ptp(keypoints[found], axis=0) + 1)) if found.any() else 0


def _share(cutoffs, rates):
    """Of the new value in a low-pass filter."""
    return 1 / (1 + rates / (2 * np.pi * cutoffs))


def _mixed(old, new, share):
    return share * new + (1 - share) * old


def _spread(found, shape):
    """Bools of the first axes of a shape, for all of it."""
    found = np.ones(shape, bool) if found is None else np.asarray(found, bool)
    if found.shape != shape[: found.ndim]:
        raise ValueError(
            f"found must be of the values' shape {shape} or of its first axes, got {found.shape}; give one per value."
        )
    return np.broadcast_to(found.reshape(found.shape + (1,) * (len(shape) - found.ndim)), shape)
