"""From keypoints to named actions."""

import typing
from collections.abc import Sequence

import keras
import numpy as np

from kerapose import estimators, skeletons
from kerapose.data import clips
from kerapose.predictors.networks import chosen, require
from kerapose.types import Array, ArrayLike

PUBLISHED_CLIPS = 10


class ScoredAction(typing.NamedTuple):
    """An action and how probable it is.

    Args:
        name: of the action.
        probability: from 0 to 1.

    Example:
        >>> from kerapose import predictors
        >>> name, probability = predictors.ScoredAction("kick", 0.97)
        >>> f"{name} {probability:.0%}"
        'kick 97%'
    """

    name: str
    probability: float


class SkeletonAction:
    """Names the action of a sequence of keypoints.

    Each sequence is seen as in the published test: several clips, each also mirrored, all probabilities averaged.

    Args:
        network: C3D, SlowOnly or X3D trained on joint volumes; or {"joint": network, "limb": network}, either or both,
            whose probabilities are averaged; or a whole `estimators.ActionRecognizer`, which knows the rest.
        skeleton: the `Skeleton` of the keypoints that the network was trained on.
        class_names: [C] names in the order of the labels.
        num_clips: clips of a sequence; fewer are faster. None: 10, as published, or as many as the recognizer has.
        **options: `size`, `flip_test`, `flip_labels`, `use_scores`, `sigma_px`, `padding` of
            `estimators.ActionRecognizer`, as in training; to a recognizer only its `CHOICES`.

    Raises:
        ValueError: if network, skeleton and names do not fit together.

    Example:
        >>> from kerapose import models, predictors, skeletons
        >>> network = models.C3D(2, input_shape=(8, 32, 32, 17), base_filters=4, num_stages=3)
        >>> recognize = predictors.SkeletonAction(network, skeletons.COCO, ["walk", "kick"], num_clips=2)
        >>> found = recognize(keypoints, scores, frame_size=frame_size)  # two people, 30 frames
        >>> sorted(action.name for action in found), sum(action.probability for action in found)
        (['kick', 'walk'], 1.00)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    def __init__(
        self,
        network: keras.Model | dict[str, keras.Model],
        skeleton: skeletons.Skeleton | None = None,
        class_names: Sequence[str] | None = None,
        num_clips: int | None = None,
        **options: typing.Any,
    ):
        if isinstance(network, estimators.ActionRecognizer):
            given = {"skeleton": skeleton, "class_names": class_names, "num_clips": num_clips}
            self.recognizer = chosen(network, options, **given)
        else:
            require(network, skeleton=skeleton, class_names=class_names)
            num_clips = PUBLISHED_CLIPS if num_clips is None else num_clips
            self.recognizer = estimators.ActionRecognizer(
                network, skeleton, class_names, num_clips=num_clips, **options
            )
        self.skeleton = self.recognizer.skeleton
        self.class_names = self.recognizer.class_names

    @property
    def estimator(self) -> estimators.ActionRecognizer:
        """The `recognizer`, by the name that it has in every predictor."""
        return self.recognizer

    def __call__(
        self,
        keypoints: ArrayLike,
        scores: ArrayLike | None = None,
        frame_size: tuple[int, int] | None = None,
        top: int = 5,
    ) -> list[ScoredAction]:
        """Recognizes one sequence.

        Args:
            keypoints: [M, T, K, 2], or [T, K, 2] for one person, pixels, x first; (0, 0) or NaN where missing. Any M
                and T.
            scores: [M, T, K] or [T, K]; missing where 0. None: 1 where a keypoint is not missing.
            frame_size: (height, width), pixels. None: just large enough for the keypoints.
            top: how many actions to name.

        Returns:
            A list of `ScoredAction`, the most probable first.

        Raises:
            ValueError: if the sequence is not as described, or shows nobody.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}; use 1 for the best action alone.")
        probabilities = self.probabilities(keypoints, scores, frame_size)  # [C]
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [ScoredAction(self.class_names[i], float(probabilities[i])) for i in best]

    def probabilities(
        self, keypoints: ArrayLike, scores: ArrayLike | None = None, frame_size: tuple[int, int] | None = None
    ) -> Array:
        """The probability of every class, in the order of the labels.

        Args:
            keypoints: as for a call.
            scores: likewise.
            frame_size: likewise.

        Returns:
            [C] float32.

        Raises:
            ValueError: as a call does.
        """
        element = clips.make_element(keypoints, self.skeleton, scores, frame_size)
        inputs = {name: element[name][None] for name in ("keypoints", "scores", "frame_size")}
        return self.recognizer.predict_on_batch(inputs)[0]
