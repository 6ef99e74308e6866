"""What people do, over and over: a recognizer asked about windows that slide along the frames."""

import collections
import dataclasses

import cv2
import numpy as np
from keras import ops

from kerapose import predictors, skeletons
from kerapose.data.predictions import Action, Moment
from kerapose.ops import sequences
from kerapose.types import Array

SHORT_SIDE_PX = 480  # of the frames that are kept for a recognizer of pictures; people are cut out at 256 or less
LEAST_SEEN = 0.25  # of the frames of a window in which a person has to be seen, to be asked about
NAMED = 5  # actions whose probabilities are noted


@dataclasses.dataclass(frozen=True)
class Windows:
    """How windows slide: see the arguments of `Pipeline`, which they are."""

    window: int
    step: int
    average: int
    min_probability: float
    together: bool
    most_people: int


class Watcher:
    """Keeps the frames of the newest window, and asks what is done in it each time that it has moved on by a step.

    Windows end with frames L - 1, L - 1 + step, L - 1 + 2 * step ...; where a source ends, one more ends with it. What
    is kept does not grow with the length of a source: the people of one window, and its pictures where they are needed.

    Args:
        recognize: a `predictors.SkeletonAction` or `predictors.Action`, of one clip a window.
        windows: how they slide.
        skeleton: the `Skeleton` of the people's keypoints, from which those of the recognizer follow.
        frame_size: (height, width) of the pictures.
    """

    def __init__(
        self,
        recognize: predictors.SkeletonAction | predictors.Action,
        windows: Windows,
        skeleton: skeletons.Skeleton,
        frame_size: tuple[int, int],
    ):
        self.recognize = recognize
        self.windows = windows
        self.skeleton = skeleton
        self.frame_size = frame_size
        self.needs_pictures = isinstance(recognize, predictors.Action) and recognize.estimator.rgb_shape is not None
        self._seen = collections.deque()  # (moment, found [N, K] bool, picture or None) of the frames of the window
        self._next_end, self._last_end = windows.window - 1, None
        self._past = collections.defaultdict(lambda: collections.deque(maxlen=windows.average))  # probabilities [C]
        self._last_seen = {}  # the frame in which each identity was last there

    def see(self, moment: Moment, found: Array, picture: Array) -> tuple[Action, ...]:
        """Takes the next frame.

        Args:
            moment: its people, with smoothed keypoints.
            found: [N, K] bool, which keypoints count.
            picture: [H, W, 3].

        Returns:
            What is done in the windows that end with it.
        """
        self._seen.append((moment, found, _reduced(picture) if self.needs_pictures else None))
        first = moment.frame - self.windows.window + 1
        while self._seen[0][0].frame < first:
            self._seen.popleft()
        self._last_seen |= dict.fromkeys(moment.ids.tolist(), moment.frame)
        for identity in [one for one, frame in self._last_seen.items() if frame < first]:
            self._past.pop(identity, None)  # whoever comes back after so long begins anew
            del self._last_seen[identity]
        if moment.frame < self._next_end:
            return ()
        return self.ask()

    def rest(self) -> tuple[Action, ...]:
        """What is done up to the end of the source, if windows before do not reach so far."""
        if not self._seen or self._last_end == self._seen[-1][0].frame:
            return ()
        return self.ask()

    def ask(self) -> tuple[Action, ...]:
        """What is done in the frames that are kept."""
        self._last_end = last = self._seen[-1][0].frame
        while self._next_end <= last:  # frames that were dropped may have passed more than one
            self._next_end += self.windows.step
        groups = self._together() if self.windows.together else self._each()
        answers = self._answers([clip for _, clip, _ in groups])
        actions = []
        for (identity, _, (start, end)), probabilities in zip(groups, answers, strict=True):
            self._past[identity].append(probabilities)
            actions.append(self._action(identity, start, end, np.mean(self._past[identity], axis=0)))
        return tuple(actions)

    # ---------------------------------------- who is asked about
    def _each(self):
        """(identity, clip, moments of the first and last frame) of each person who is there now."""
        least = max(1, LEAST_SEEN * min(len(self._seen), self.windows.window))
        groups = []
        for identity, places in sorted(self._rows().items()):
            if len(places) >= least:
                groups.append((identity, *self._clip([places])))
        return groups

    def _together(self):
        """The same of all people as one."""
        rows = self._rows()
        if not rows:
            self._past.pop(None, None)  # whoever comes after nobody begins anew
            return []
        sure = {
            identity: sum(float(self._seen[place][0].scores[row]) for place, row in places.items())
            for identity, places in rows.items()
        }
        best = sorted(rows, key=lambda identity: (-sure[identity], identity))[: self.windows.most_people]
        return [(None, *self._clip([rows[identity] for identity in best]))]

    def _rows(self):
        """Of each identity that shows a keypoint: {place in the window: row}."""
        rows = collections.defaultdict(dict)
        for place, (moment, found, _) in enumerate(self._seen):
            for row, identity in enumerate(moment.ids.tolist()):
                if found[row].any():
                    rows[identity][place] = row
        return rows

    def _clip(self, people):
        """Keypoints [M, T, K, 2], scores [M, T, K] and places of T frames, from the first in which one is seen on."""
        first, last = min(min(one) for one in people), max(max(one) for one in people)
        keypoints = np.zeros((len(people), last - first + 1, self.skeleton.num_keypoints, 2), "float32")
        scores = np.zeros(keypoints.shape[:3], "float32")
        for person, places in enumerate(people):
            for place, row in places.items():
                moment, found, _ = self._seen[place]
                keypoints[person, place - first] = np.where(found[row, :, None], moment.keypoints[row], 0)
                scores[person, place - first] = np.where(found[row], moment.keypoint_scores[row], 0)
        keypoints, scores = skeletons.convert(keypoints, scores, self.skeleton, self.recognize.skeleton)
        return (keypoints, scores, range(first, last + 1)), (self._seen[first][0], self._seen[last][0])

    # ---------------------------------------- what they do
    def _answers(self, clips):
        """The probabilities [C] of each clip."""
        if not clips:
            return []
        if isinstance(self.recognize, predictors.Action):
            return [self._of_pictures(*clip) for clip in clips]
        return self._of_keypoints(clips)

    def _of_pictures(self, keypoints, scores, places):
        if not self.needs_pictures:
            video = np.zeros((len(places), *self.frame_size, 3), "uint8")  # of which none is looked at
        else:
            video = np.stack([self._seen[place][2] for place in places])
        return self.recognize.probabilities(video, keypoints, scores, self.frame_size)

    def _of_keypoints(self, clips):
        """All clips in one batch, each brought to the network's length as the recognizer itself would."""
        length = next(iter(self.recognize.estimator.network.values())).input_shape[1]
        most = max(len(keypoints) for keypoints, _, _ in clips)
        # A power of two, so that few shapes ever come: each is compiled anew.
        size = 1 << (len(clips) - 1).bit_length()
        num_keypoints = self.recognize.skeleton.num_keypoints
        batch = np.zeros((size, most, length, num_keypoints, 2), "float32")
        batch_scores = np.zeros(batch.shape[:4], "float32")
        for row, (keypoints, scores, places) in enumerate(clips):
            frames = ops.convert_to_numpy(sequences.sample_frames(len(places), length, 1))[0]  # [L]
            batch[row, : len(keypoints)] = keypoints[:, frames]
            batch_scores[row, : len(keypoints)] = scores[:, frames]
        sizes = np.tile(np.array(self.frame_size, "int32"), (size, 1))
        inputs = {"keypoints": batch, "scores": batch_scores, "frame_size": sizes}
        return np.asarray(self.recognize.estimator.predict_on_batch(inputs))[: len(clips)]

    def _action(self, identity, start, end, probabilities):
        best = np.argsort(-probabilities, kind="stable")[:NAMED]
        names = self.recognize.class_names
        known = start.time_s is not None and end.time_s is not None
        return Action(
            id=identity,
            frames=(start.frame, end.frame),
            times_s=(start.time_s, end.time_s) if known else None,
            name=names[best[0]] if probabilities[best[0]] >= self.windows.min_probability else None,
            probabilities={names[one]: float(probabilities[one]) for one in best},
        )


def _reduced(picture):
    """A frame as it is kept: no larger than the recognizer's cut-outs want it."""
    height, width = picture.shape[:2]
    scale = SHORT_SIDE_PX / min(height, width)
    if scale >= 1:
        return picture
    return cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
