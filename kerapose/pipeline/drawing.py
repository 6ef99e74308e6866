"""People drawn into the pictures that they were found in: identities, ways, actions."""

import collections

import numpy as np

from kerapose import skeletons, visualize
from kerapose.data.predictions import Moment
from kerapose.types import Array


class Drawer:
    """Draws frame after frame; it remembers where people went and what they were last seen to do.

    Args:
        skeleton: the `Skeleton` of the keypoints.
        min_score: a keypoint is drawn where its score is above it.
        trail: in how many of the last frames the way of each person is drawn.
        window: frames after which an action that was not seen again is no longer shown. None: nothing is recognized.
    """

    def __init__(self, skeleton: skeletons.Skeleton, min_score: float, trail: int = 0, window: int | None = None):
        self.skeleton = skeleton
        self.min_score = min_score
        self.trail = trail
        self.window = window
        self._ways = {}  # of each identity that is there: the places of its last frames
        self._actions = {}  # of each identity, None of all together: the newest `Action`

    def __call__(self, picture: Array, moment: Moment) -> Array:
        """The picture [H, W, 3] of a frame with its people."""
        ids = moment.ids.tolist()
        found = moment.keypoint_scores > self.min_score  # [N, K]
        trails = self._trails(ids, moment.keypoints, found) if self.trail else None
        self._actions |= {action.id: action for action in moment.actions or ()}
        reach = moment.frame - (self.window or 0)
        self._actions = {one: action for one, action in self._actions.items() if action.frames[1] >= reach}
        captions = [self._caption(identity) for identity in ids]
        drawn = visualize.draw_identities(
            picture, moment.keypoints, found, self.skeleton, moment.ids, trails, 0.5, captions=captions
        )
        everybody = self._caption(None)
        return visualize.write_caption(drawn, everybody) if everybody else drawn

    def _trails(self, ids, keypoints, found):
        self._ways = {one: way for one, way in self._ways.items() if way}  # of whom nothing is left are gone
        for identity, way in self._ways.items():
            if identity not in ids:
                way.popleft()
        for identity, points, there in zip(ids, keypoints, found, strict=True):
            way = self._ways.setdefault(identity, collections.deque(maxlen=self.trail))
            if there.any():
                way.append(np.median(points[there], axis=0))
        return [np.array(self._ways[identity]) for identity in ids]

    def _caption(self, identity):
        action = self._actions.get(identity)
        if action is None or action.name is None:
            return ""
        return f"{action.name} {action.probabilities[action.name]:.0%}"
