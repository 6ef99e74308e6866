"""From a video and its keypoints to named actions."""

import os
import typing
from collections.abc import Sequence

import keras
import numpy as np

from kerapose import estimators, skeletons
from kerapose.data import frames, gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.models.reading import read
from kerapose.predictors.actions import ScoredAction
from kerapose.predictors.networks import chosen, require
from kerapose.types import Array, ArrayLike, Path


class Action:
    """Names the action of a video with the keypoints of its people.

    Only the frames that the clips have are decoded. The network sees the whole box round the people, at the scale of
    the random crops in training: after a training on 224 pixels the box has 256, as in the published test.

    Args:
        model: a network, any of RGBPoseConv3D, STARTransformer, and SlowOnly or MC3ResNet18 for one of the two kinds of
            clip; or a whole `estimators.VideoRecognizer`, which knows the rest; or the path of a `.keras` file of
            these.
        class_names: [C] names in the order of the labels.
        skeleton: the `Skeleton` of the keypoints.
        **options: `num_clips`, `flip_test`, `flip_labels`, `aligned`, `use_scores`, `sigma_px`, `padding`,
            `normalization` of `estimators.VideoRecognizer`, as in training; to a recognizer only its `CHOICES`.

    Raises:
        ValueError: if model, names and skeleton do not fit together.

    Example:
        >>> from kerapose import models, predictors, skeletons
        >>> network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", num_classes=2)
        >>> recognize = predictors.Action(network, ["walk", "kick"], skeletons.COCO)
        >>> found = recognize("walk.mp4", keypoints, scores)  # two people in the 30 frames of the file
        >>> sorted(action.name for action in found), sum(action.probability for action in found)
        (['kick', 'walk'], 1.00)

    Papers: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022; Ahn et al., "STAR-Transformer: A
    Spatio-temporal Cross Attention Transformer for Human Action Recognition", WACV 2023.
    """

    def __init__(
        self,
        model: keras.Model | Path,
        class_names: Sequence[str] | None = None,
        skeleton: skeletons.Skeleton | None = None,
        **options: typing.Any,
    ):
        model = read(model) if isinstance(model, str | os.PathLike) else model
        if isinstance(model, estimators.VideoRecognizer):
            self.recognizer = chosen(model, options, class_names=class_names, skeleton=skeleton)
        else:
            require(model, class_names=class_names, skeleton=skeleton)
            self.recognizer = estimators.VideoRecognizer(model, skeleton, class_names, **options).on_whole_box()
        self.skeleton = self.recognizer.skeleton
        self.class_names = self.recognizer.class_names
        self._of_samples = _OfSamples(self.recognizer)

    @property
    def estimator(self) -> estimators.VideoRecognizer:
        """The `recognizer`, by the name that it has in every predictor."""
        return self.recognizer

    def __call__(
        self,
        video: Path | bytes | Array,
        keypoints: ArrayLike,
        scores: ArrayLike | None = None,
        frame_size: tuple[int, int] | None = None,
        top: int | None = None,
    ) -> list[ScoredAction]:
        """Recognizes one video.

        Args:
            video: the path of a file (MP4, AVI, MKV ...), its content as bytes, or RGB frames, uint8 [T, H, W, 3].
            keypoints: [M, T, K, 2], or [T, K, 2] for one person, pixels, x first; (0, 0) or NaN where missing. Any M;
                T is the number of frames of the video, in the order in which they are shown, whatever the frame rate
                does.
            scores: [M, T, K] or [T, K]; missing where 0. None: 1 where a keypoint is not missing.
            frame_size: (height, width) that the keypoints refer to, pixels, of another size of the same video. None:
                that of the video.
            top: how many actions to name. None: all.

        Returns:
            A list of `ScoredAction`, (name, probability), the most probable first.

        Raises:
            ValueError: if video or keypoints are not as described or do not belong together, or show nobody.
            FileNotFoundError: if there is no such file.
        """
        if top is not None and top < 1:
            raise ValueError(f"top must be at least 1, got {top}; use 1 for the best action alone.")
        probabilities = self.probabilities(video, keypoints, scores, frame_size)  # [C]
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [ScoredAction(self.class_names[i], float(probabilities[i])) for i in best]

    def probabilities(
        self,
        video: Path | bytes | Array,
        keypoints: ArrayLike,
        scores: ArrayLike | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> Array:
        """The probability of every class, in the order of the labels.

        Args:
            video: as for a call.
            keypoints: likewise.
            scores: likewise.
            frame_size: likewise.

        Returns:
            [C] float32.

        Raises:
            ValueError: as a call does.
            FileNotFoundError: if there is no such file.
        """
        info = _measure(video)
        name = str(video) if isinstance(video, str | os.PathLike) else ""
        size = info.frame_size if frame_size is None else frame_size
        report = gate.Report("videos", "")
        element = sequence_gate.read_clip(report, keypoints, self.skeleton, scores, size, name=name)
        if element is not None:
            length, size = element["keypoints"].shape[1], element["frame_size"]
            sequence_gate.note_video(report, length, size, info, name, frames.same_shape)
        report.close()
        inputs = {name: element[name][None] for name in ("keypoints", "scores", "frame_size")}
        rgb, _ = self.recognizer.samples(info.num_frames)  # [N, L]
        if rgb.size:
            inputs["frames"] = _read(video, rgb.ravel())[None]  # [1, N*L, H, W, 3]
        return self._of_samples.predict_on_batch(inputs)[0]


class _OfSamples(keras.Model):
    """A recognizer that is given only those frames that it looks at, compiled as Keras compiles a prediction."""

    def __init__(self, recognizer):
        super().__init__(name="of_samples")
        self.recognizer = recognizer
        self.autocast = False  # pixels are not rounded to bfloat16
        self.built = True
        self.jit_compile = False  # a new length or size of video would be a new compilation

    def call(self, inputs):
        return self.recognizer.recognize(**({"frames": None} | inputs))["fused"]


def _measure(video):
    """The `VideoInfo` of a video."""
    if isinstance(video, str | os.PathLike | bytes):
        return frames.probe(video)
    shape, kind = np.shape(video), getattr(video, "dtype", type(video).__name__)
    if kind != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(
            f"A video must be a file, its content as bytes, or RGB frames, uint8 [T, H, W, 3], got {kind} "
            f"{list(shape)}; convert it."
        )
    return frames.VideoInfo(shape[0], shape[1:3], fps=float("nan"))


def _read(video, indices):
    """The frames of a video by index [L]: uint8 [L, H, W, 3]."""
    if isinstance(video, str | os.PathLike | bytes):
        return frames.read(video, indices)
    return np.asarray(video)[indices]
