"""From tracks of 2D keypoints to poses in space."""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
from absl import logging

from kerapose import estimators, skeletons
from kerapose.data import gate, tracks
from kerapose.data.gate import sequences as sequence_gate
from kerapose.predictors.networks import chosen, require, require_keypoints
from kerapose.types import Array, ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class Pose3D:
    """The poses of one person, or of several, in every frame of a track.

    Args:
        poses_m: [T, J, 3], or [M, T, J, 3] for M people, metres: x right, y down, z away from the camera, from joint 0,
            which is exactly 0. NaN for one of M people of whom nothing was seen.
        skeleton: the `Skeleton` of the J joints.
        poses_camera_m: the same poses from the camera's centre. None where no trajectory network said how far away the
            person is.

    Raises:
        KeyError: if ``pose[name]`` asks for a joint that the skeleton does not have.

    Example:
        >>> from kerapose import predictors, skeletons
        >>> pose = predictors.Pose3D(poses_m, skeletons.H36M)
        >>> pose["left_wrist"].shape  # the joint in each of 30 frames
        (30, 3)
        >>> pose["left_wrist"][0]
        array([0.22, 0.05, 0.  ], dtype=float32)
    """

    poses_m: np.ndarray
    skeleton: skeletons.Skeleton
    poses_camera_m: np.ndarray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the J joints."""
        return self.skeleton.keypoints

    def __getitem__(self, name: str) -> Array:
        """The way of one joint, [T, 3] or [M, T, 3], metres from joint 0."""
        if name not in self.names:
            raise KeyError(f"There is no joint {name!r}; choose from {', '.join(self.names)}.")
        return self.poses_m[..., self.names.index(name), :]

    def __iter__(self) -> Iterator[str]:
        """The names, as of a dict."""
        return iter(self.names)


class Lifter:
    """Lifts tracks of 2D keypoints, of any length and by any detector, to poses in space.

    Where a detector lost a keypoint for a while, the keypoint goes straight from where it was lost to where it came
    back. Where it found another set of keypoints than the network learnt from, they are converted by name: COCO's 17
    become those of Human3.6M.

    Args:
        model: a `models.TemporalLifter`; or a whole `estimators.TrackLifter`, which knows its trajectory and skeletons.
        skeleton: the `Skeleton` of the keypoints that are handed in. None: those that a `TrackLifter` was trained on.
        trajectory: a `models.TemporalLifter` of one output joint: where the root is from the camera.
        pose_skeleton: the `Skeleton` of the poses. None: Human3.6M's, or that of the `TrackLifter`.
        input_skeleton: the `Skeleton` of the keypoints that the network was trained on. None: `pose_skeleton` if the
            network takes as many, else `skeleton`. A network of COCO keypoints that gives Human3.6M poses needs it,
            since both have 17.
        flip_test: whether to average with the mirrored track. None: yes, or as the `TrackLifter` does. Where a skeleton
            does not know its sides, nothing is mirrored.
        min_score: a keypoint counts as found where its score is above it.

    Raises:
        ValueError: if networks and skeletons do not fit together.

    Example:
        >>> from kerapose import models, predictors, skeletons
        >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16)
        >>> lift = predictors.Lifter(network, skeletons.COCO, input_skeleton=skeletons.H36M)
        >>> pose = lift(keypoints[0], frame_size, scores[0])  # [30, 17, 2] pixels, [30, 17]
        >>> pose.poses_m.shape, pose.poses_m[0, 0]  # joint 0 is the origin
        ((30, 17, 3), array([0., 0., 0.], dtype=float32))

    Paper: Pavllo et al., "3D human pose estimation in video with temporal convolutions and semi-supervised training",
    CVPR 2019.
    """

    def __init__(
        self,
        model: keras.Model,
        skeleton: skeletons.Skeleton | None = None,
        trajectory: keras.Model | None = None,
        pose_skeleton: skeletons.Skeleton | None = None,
        input_skeleton: skeletons.Skeleton | None = None,
        flip_test: bool | None = None,
        min_score: float = 0.0,
    ):
        if isinstance(model, estimators.TrackLifter):
            given = {"trajectory": trajectory, "pose_skeleton": pose_skeleton, "input_skeleton": input_skeleton}
            self.lifter = chosen(model, {}, flip_test=flip_test, **given)
        else:
            require(model, skeleton=skeleton)
            pose_skeleton = skeletons.H36M if pose_skeleton is None else pose_skeleton
            own = _input_skeleton(model, skeleton, pose_skeleton, input_skeleton)
            self.lifter = estimators.TrackLifter(model, own, pose_skeleton, trajectory, flip_test is not False)
        self.input_skeleton, self.pose_skeleton = self.lifter.skeleton, self.lifter.pose_skeleton
        self.skeleton = self.input_skeleton if skeleton is None else skeleton
        self.min_score = min_score
        require_keypoints(self.skeleton, self.input_skeleton, "lifter")

    @property
    def estimator(self) -> estimators.TrackLifter:
        """The `lifter`, by the name that it has in every predictor."""
        return self.lifter

    def __call__(self, keypoints: ArrayLike, frame_size: tuple[int, int], scores: ArrayLike | None = None) -> Pose3D:
        """Lifts the track of one person, or those of several.

        Args:
            keypoints: [T, K, 2], or [M, T, K, 2] for M people in the same frames, pixels, x first; any T. (0, 0)
                or NaN where missing.
            frame_size: (height, width), pixels.
            scores: [T, K] or [M, T, K]; missing where 0. None: 1 where a keypoint is not missing.

        Returns:
            A `Pose3D`, with an axis M if the keypoints had one. A person of M who is seen in no frame, as may be the
            second one of a clip, has poses of NaN, of which one warning tells.

        Raises:
            ValueError: if the tracks are not as described, nobody is seen in them, or a keypoint of somebody that the
                network needs is in no frame.
        """
        keypoints, scores, size = _checked_tracks(keypoints, scores, frame_size, self.skeleton)
        people = keypoints.reshape(-1, *keypoints.shape[-3:])  # [M, T, K, 2]
        people_scores = scores.reshape(people.shape[:-1])
        shape = (*keypoints.shape[:-2], self.pose_skeleton.num_keypoints, 3)
        if not len(people):
            poses = np.zeros(shape, "float32")
            return Pose3D(poses, self.pose_skeleton, None if self.lifter.trajectory is None else poses)
        present = self._present(people_scores)
        whole = [self._without_gaps(people[person], people_scores[person], person) for person in present]
        sizes = np.tile(size, (len(whole), 1))  # [M, 2]
        found = self.lifter.predict_on_batch({"keypoints": np.stack(whole), "frame_size": sizes})
        poses = found["poses_m"] - found["poses_m"][..., :1, :]  # [M, T, J, 3]
        in_camera = poses + found["trajectory_m"][..., None, :] if "trajectory_m" in found else None

        def of_all(values):
            everybody = np.full((len(people), *values.shape[1:]), np.nan, "float32")
            everybody[present] = values
            return everybody.reshape(shape)

        return Pose3D(of_all(poses), self.pose_skeleton, None if in_camera is None else of_all(in_camera))

    def _present(self, scores):
        """The numbers of those people of scores [M, T, K] who are seen in some frame; of the others a warning tells."""
        shown = (scores > self.min_score).any(axis=(1, 2))  # [M]
        if not shown.any():
            raise ValueError(
                f"A track must show its person, got no keypoint with a score above {self.min_score} in any frame; "
                "leave the person out, or set the scores to 1 if they are not known."
            )
        if not shown.all():
            absent = np.flatnonzero(~shown)
            logging.warning(
                "%d of %d people are seen in no frame (%s); their poses are NaN.",
                len(absent),
                len(shown),
                gate.some(absent),
            )
        return np.flatnonzero(shown)

    def _without_gaps(self, keypoints, scores, person):
        """The track of one person as the network wants it: [T, K, 2], [T, K] -> [T, K_in, 2]."""
        found = scores > self.min_score  # [T, K]
        seen = found.any(axis=0)
        filled = np.zeros_like(keypoints)
        # A keypoint that is in no frame may be one that nothing is worked out from, such as COCO's ears.
        points = np.where(found[..., None], keypoints, np.nan)
        filled[:, seen], _ = tracks.fill_gaps(points[:, seen], found[:, seen].astype("float32"))
        filled_scores = np.broadcast_to(seen, found.shape)
        converted, known = skeletons.convert(filled, filled_scores, self.skeleton, self.input_skeleton)
        lost = ~(known > 0).any(axis=0)  # [K_in]
        if lost.any():
            needed = skeletons.mapping(self.skeleton, self.input_skeleton)[lost].any(axis=0)
            missing = [self.skeleton.keypoints[i] for i in np.flatnonzero(needed & ~filled.any(axis=(0, 2)))]
            raise ValueError(
                f"A keypoint must be in at least one frame of a track, got no score above {self.min_score} for "
                f"{', '.join(missing)} of person {person}; use a detector that guesses it, or a network without it."
            )
        return converted


def _input_skeleton(network, skeleton, pose_skeleton, given):
    """The set that a network was trained on, by what the network tells of it."""
    count = network.input_shape[2]
    candidates = dict.fromkeys((pose_skeleton, skeleton) if given is None else (given,))
    for one in candidates:
        if one.num_keypoints == count:
            return one
    raise ValueError(
        f"A network takes the keypoints that it was trained on, got {' and '.join(one.name for one in candidates)} for "
        f"one of {count} keypoints; give its set as input_skeleton."
    )


def _short(value):
    text = repr(value)
    return text if len(text) < 60 else f"{type(value).__name__} {text[:60]}..."


def _checked_tracks(keypoints, scores, frame_size, skeleton):
    """float32 [(M,) T, K, 2] and [(M,) T, K], (0, 0) and 0 where missing, and the size of the frame, int32 [2]."""
    given, keypoints = keypoints, sequence_gate.numbers(keypoints)
    if keypoints is None:
        raise ValueError(f"keypoints must be an array of numbers, got {_short(given)}; convert them.")
    if scores is not None:
        given, scores = scores, sequence_gate.numbers(scores)
        if scores is None:
            raise ValueError(f"scores must be an array of numbers, got {_short(given)}; convert it.")
    if keypoints.ndim not in (3, 4) or keypoints.shape[-2:] != (skeleton.num_keypoints, 2):
        raise ValueError(
            f"keypoints of {skeleton.name} must be [T, {skeleton.num_keypoints}, 2] or [M, T, "
            f"{skeleton.num_keypoints}, 2], got {keypoints.shape}; give x and y alone, and the skeleton they are in."
        )
    if keypoints.shape[-3] == 0:
        raise ValueError(f"A track must have at least one frame, got keypoints of {keypoints.shape}; leave it out.")
    if scores is not None and scores.shape != keypoints.shape[:-1]:
        raise ValueError(
            f"scores must be {keypoints.shape[:-1]}, one per keypoint, got {scores.shape}; give one for each keypoint."
        )
    report = gate.Report("tracks", "")
    report.seen()
    size = sequence_gate.frame_size_of(frame_size)
    if size is None:
        report.note(sequence_gate.FRAME_SIZE, "", repr(frame_size))
    sequence_gate.note_large(report, keypoints, "")
    keypoints, scores, nowhere = sequence_gate.without_missing(keypoints, scores)
    if nowhere:
        report.note(sequence_gate.NOWHERE, "", f"{nowhere} keypoints")
    sequence_gate.note_places(report, keypoints, scores, size, "")
    report.close()
    return keypoints, scores, size
