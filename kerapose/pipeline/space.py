"""People's poses in space: of whole tracks, or of each frame as it comes."""

import keras
import numpy as np
from absl import logging
from keras import ops

from kerapose import estimators, predictors, skeletons
from kerapose.data.predictions import Moment, Predictions
from kerapose.ops import cameras
from kerapose.types import Array

FEWEST_TRACKS = 4  # that a stream has room for; it grows by doubling


def lift_tracks(found: Predictions, lift: predictors.Lifter, min_score: float) -> None:
    """Puts poses into all frames, each person's whole track lifted at once; who shows too little has poses of NaN."""
    for moment in found.moments:
        moment.poses_m = np.full((len(moment.ids), lift.pose_skeleton.num_keypoints, 3), np.nan)
    for identity, seen in found.places().items():
        poses = _lifted(found, seen, identity, lift, min_score)
        for frame, row in seen if poses is not None else ():
            found.moments[frame].poses_m[row] = poses[frame - seen[0][0]]


def _lifted(found, seen, identity, lift, min_score):
    """The poses [T, J, 3] of one person from the first to the last of the frames (frame, row); None if none."""
    length = seen[-1][0] - seen[0][0] + 1
    keypoints = np.full((length, found.skeleton.num_keypoints, 2), np.nan)
    scores = np.zeros(keypoints.shape[:2])
    for frame, row in seen:
        keypoints[frame - seen[0][0]] = found.moments[frame].keypoints[row]
        scores[frame - seen[0][0]] = found.moments[frame].keypoint_scores[row]
    scores = np.where(scores > min_score, scores, 0)
    try:
        return lift(keypoints, found.frame_size, scores).poses_m
    except ValueError as error:  # of a track that does not show enough
        logging.warning("Person %d of %s is not lifted. %s", identity, found.source, error)
        return None


class LiveLift:
    """Lifts whoever is there, frame by frame, with a causal network: from what was seen so far, at a cost that does not
    grow.

    A keypoint that was not found is taken from where it was last; nobody is lifted before each keypoint that the
    network needs was found once. An identity that is not seen for `max_missing` frames is forgotten.

    Args:
        lift: a `predictors.Lifter` of a causal network.
        min_score: a keypoint counts as found where its score is above it.
        max_missing: frames.

    Raises:
        ValueError: if the network looks into the future.
    """

    def __init__(self, lift: predictors.Lifter, min_score: float, max_missing: int):
        network = lift.lifter.network
        if not is_causal(lift):
            raise ValueError(
                "To lift as it happens takes a causal lifter, got one that looks into the future; train one with "
                "--causal, or lift a whole video."
            )
        self.stream = estimators.StreamingLifter(network, lift.input_skeleton, lift.pose_skeleton)
        self._step = _Step(self.stream)
        self.skeleton = lift.skeleton
        self.min_score = min_score
        self.max_missing = max_missing
        self._state, self._places, self._missed = None, {}, {}
        self._last, self._known = None, None  # of each place: keypoints [P, K_in, 2], which of them were found once

    def see(self, moment: Moment, frame_size: tuple[int, int]) -> Array:
        """The poses [N, J, 3] of the people of the next frame, metres from joint 0; NaN for who is not known yet."""
        self._forget(moment.ids.tolist())
        if self._state is None and not len(moment.ids):  # nobody came yet
            return np.zeros((0, self.stream.pose_skeleton.num_keypoints, 3))
        fresh = self._placed(moment.ids.tolist())
        scores = np.where(moment.keypoint_scores > self.min_score, moment.keypoint_scores, 0)
        points = np.where(scores[..., None] > 0, moment.keypoints, 0).astype("float32")
        converted, known = skeletons.convert(points, scores.astype("float32"), self.skeleton, self.stream.skeleton)
        rows = [self._places[identity] for identity in moment.ids.tolist()]
        self._last[rows] = np.where(known[..., None] > 0, converted, self._last[rows])
        before = self._known.all(axis=-1)
        self._known[rows] |= known > 0
        whole = self._known.all(axis=-1)  # [P]
        fresh |= whole & ~before  # what came before was no person
        inputs = {"keypoints": self._last, "frame_size": np.array(frame_size, "int32"), "reset": fresh}
        answer = self._step.predict_on_batch(inputs | {"state": self._state})
        poses, self._state = answer["poses"], answer["state"]  # [P, J, 3]
        poses = np.where(whole[:, None, None], poses - poses[:, :1], np.nan)
        return poses[rows]

    def _forget(self, ids):
        """Frees the places of those who were not seen for long."""
        self._missed = {identity: missed + 1 for identity, missed in self._missed.items()}
        self._missed |= dict.fromkeys(ids, 0)
        for identity in [one for one, missed in self._missed.items() if missed > self.max_missing]:
            del self._missed[identity]
            self._places.pop(identity, None)

    def _placed(self, ids):
        """Gives places to those who have none; [P] bool, which of all places begin anew."""
        needed = len(self._places) + sum(identity not in self._places for identity in ids)
        size = 0 if self._state is None else len(self._last)
        if needed > size:
            self._grow(max(FEWEST_TRACKS, 1 << (needed - 1).bit_length()))
        free = iter(sorted(set(range(len(self._last))) - set(self._places.values())))
        fresh = np.zeros(len(self._last), bool)
        for identity in ids:
            if identity not in self._places:
                self._places[identity] = place = next(free)
                fresh[place], self._known[place], self._last[place] = True, False, 0
        return fresh

    def _grow(self, size):
        """Makes room for more people, who keep their places."""
        wider = {name: ops.convert_to_numpy(value) for name, value in self.stream.initial_state(size).items()}
        count = self.stream.skeleton.num_keypoints
        last, known = np.zeros((size, count, 2), "float32"), np.zeros((size, count), bool)
        if self._state is not None:
            before = len(self._last)
            last[:before], known[:before] = self._last, self._known
            wider = {
                name: self._state[name] if name == "position" else np.concatenate([self._state[name], value[before:]])
                for name, value in wider.items()
            }
        self._state, self._last, self._known = wider, last, known


class _Step(keras.Model):
    """A step of a stream, compiled as Keras compiles a prediction: of its parts alone, starting each costs most."""

    def __init__(self, stream):
        super().__init__(name="step")
        self.stream = stream
        self.built = True
        self.jit_compile = False  # a new number of places would be a new compilation

    def call(self, inputs):
        screen = cameras.normalize_screen(inputs["keypoints"], inputs["frame_size"])
        poses, state = self.stream.step(screen, inputs["state"], inputs["reset"])
        return {"poses": poses, "state": state}


def is_causal(lift: predictors.Lifter) -> bool:
    """Whether a lifter sees the past alone, and can be fed frame by frame."""
    network = lift.lifter.network
    return network.causal and not network.dense
