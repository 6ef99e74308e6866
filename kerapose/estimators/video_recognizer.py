"""The whole way from a video and keypoints to an action: clips, cut-outs, heatmap volumes, a network, and the mean."""

import typing
from collections.abc import Sequence

import keras
import numpy as np

from kerapose import mirrors, skeletons
from kerapose.estimators.estimator import Estimator, check_class_names, check_skeleton, mirrored_labels
from kerapose.layers import HeatmapVolume
from kerapose.models.network import output_of
from kerapose.ops import clips, heatmaps, images, sequences
from kerapose.ops.graphs import ops
from kerapose.types import Array, Tensor

RGB_CHANNELS = 3
PIXELS_A_CELL = 4  # of frames, to those of a volume along a side
_UNANSWERED = -1.0  # no probability is that


@keras.saving.register_keras_serializable("kerapose")
class VideoRecognizer(Estimator):
    """Recognizes the action of a video with its keypoints, of any length and size, as RGBPose-Conv3D is tested.

    It samples clips, cuts frames and keypoints out round the people with one box, asks the network about one clip after
    the other, and averages the probabilities of the clips and of the network's outputs.

    Args:
        network: a network of {"rgb": [B, L, H, W, 3], "pose": [B, L', h, w, K]}, any of RGBPoseConv3D and
            STARTransformer, or of one of the two tensors, any of SlowOnly, MC3ResNet18, C3D, X3D. The sizes of clips
            are read from its input. Its output is logits, or a dict of logits, each of which counts the same.
        skeleton: the `Skeleton` of the keypoints.
        class_names: [C] names in the order of the labels.
        num_clips: clips of a video; the published test takes 10.
        flip_test: whether to average with the mirrored clips; the published test does not. Where a network sees
            keypoints and the skeleton does not know their sides, nothing is mirrored, and a warning says so.
        flip_labels: [C] the class that each becomes in a mirror. None: by the names (`mirrors.mirrored_labels`).
        aligned: whether frames and keypoints are sampled on one clock, as in `ops.sequences.sample_rgb_and_pose`.
        use_scores: whether a keypoint is drawn as high as its score, or all with 1.
        sigma_px: of the Gaussians, pixels of the volume.
        padding: of the compact box, as a fraction of its half size.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr), as in training. None: ImageNet's, RGB.
        training: how it was trained, a dict of what JSON can hold.

    Input: {"frames": [B, T, H, W, 3] RGB 0 .. 255, any type, "keypoints": [B, M, T, K, 2] pixels, x first, (0, 0) where
    missing, "scores": [B, M, T, K], zero for padding} and, where keypoints refer to another size than that of the
    frames, "frame_size": [B, 2] its height and width in pixels. A network of volumes alone needs no frames, but then
    the frame size. Output: probabilities [B, C].

    Raises:
        ValueError: if the network is none of these, or does not fit skeleton and names.

    Example:
        >>> from kerapose import estimators, models, skeletons
        >>> network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", num_classes=2)
        >>> recognizer = estimators.VideoRecognizer(network, skeletons.COCO, ["walk", "kick"])
        >>> video = np.repeat(image[None], 30, axis=0)  # [T, H, W, 3]
        >>> found = recognizer({"frames": video[None], "keypoints": keypoints[None], "scores": scores[None]})
        >>> tuple(found.shape)
        (1, 2)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022, section 3.3.
    """

    CHOICES = ("num_clips", "flip_test", "flip_labels")

    def __init__(
        self,
        network: keras.Model,
        skeleton: skeletons.Skeleton,
        class_names: Sequence[str],
        num_clips: int = 1,
        flip_test: bool = False,
        flip_labels: Sequence[int] | None = None,
        aligned: bool = True,
        use_scores: bool = True,
        sigma_px: float = 0.7,
        padding: float = 0.25,
        normalization: dict | None = None,
        training: dict | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(training, **kwargs)
        check_skeleton(skeleton)
        self.network = network
        self.skeleton = skeleton
        self.rgb_shape, self.pose_shape = clip_shapes(network)
        output = output_of(network)
        outputs = output if isinstance(output, dict) else {"fused": output}
        self.heads = tuple(sorted(outputs))
        self.num_classes = outputs[self.heads[0]].shape[-1]
        self.num_clips = num_clips
        self._check()
        self.class_names = check_class_names(class_names, self.num_classes)
        self.flip_test = mirrors.allowed(flip_test, *((skeleton,) if self.pose_shape else ()))
        self.flip_labels = mirrored_labels(flip_labels, self.class_names, self.flip_test)
        self.aligned = aligned
        self.use_scores = use_scores
        self.sigma_px = sigma_px
        self.padding = padding
        self.normalization = {name: np.asarray(value).tolist() for name, value in (normalization or {}).items()}
        self.volume = None
        if self.pose_shape:
            self.volume = HeatmapVolume(
                *self.pose_shape[1:3], sigma_px=sigma_px, name="volume", dtype=self.dtype_policy
            )

    def call(self, inputs: dict[str, Tensor]) -> Tensor:
        """Probabilities of the actions; Keras calls it."""
        rgb, pose = self._sample(ops.shape(inputs["keypoints"])[2])
        answers = self._answers(inputs.get("frames"), rgb, pose, *self._people(inputs))
        return ops.mean(answers, axis=0)

    def samples(self, num_frames: int) -> tuple[Array, Array]:
        """Which frames of a video are looked at, so that a caller need not decode the others.

        Args:
            num_frames: frames of the video, int.

        Returns:
            int32 NumPy arrays rgb [N, L] and pose [N, L'], indices in [0, num_frames) for each clip; L or L' is 0 if
            the network does not take such a clip.

        Example:
            >>> from kerapose import predictors
            >>> recognizer = predictors.load("runs/rgbpose/model.keras").estimator
            >>> rgb, pose = recognizer.samples(30)
            >>> rgb.shape, pose.shape  # 4 frames of 30, and 16 poses
            ((1, 4), (1, 16))
        """
        rgb, pose = (ops.convert_to_numpy(frames) for frames in self._sample(num_frames))
        return rgb if self.rgb_shape else rgb[:, :0], pose if self.pose_shape else pose[:, :0]

    def recognize(
        self, frames: Tensor | None, keypoints: Tensor, scores: Tensor, frame_size: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As a call, with only those frames that count, and with the probabilities of each output of the network.

        Args:
            frames: [B, N*L, H, W, 3] those of `samples`, one clip after the other; None for a network of volumes alone.
            keypoints: [B, M, T, K, 2] of all frames, pixels, x first, (0, 0) where missing.
            scores: [B, M, T, K] of all frames, zero for padding.
            frame_size: [B, 2] height and width that the keypoints refer to. None: those of the frames.

        Returns:
            {"fused": [B, num_classes] float32} and, if the network has several outputs, each under its name.

        Raises:
            ValueError: if the number of frames is not that of `samples`.

        Example:
            >>> from kerapose import predictors
            >>> recognizer = predictors.load("runs/rgbpose/model.keras", num_clips=1).estimator
            >>> frames = np.repeat(image[None, None], 4, axis=1)  # [B, L, H, W, 3]
            >>> answers = recognizer.recognize(frames, keypoints[None], scores[None])
            >>> {name: tuple(value.shape) for name, value in answers.items()}
            {'pose': (1, 2), 'rgb': (1, 2), 'fused': (1, 2)}
        """
        inputs = {"frames": frames, "keypoints": keypoints, "scores": scores, "frame_size": frame_size}
        inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items() if value is not None}
        frames, length = inputs.get("frames"), self.num_clips * (self.rgb_shape or self.pose_shape)[0]
        if self.rgb_shape and frames is not None and frames.shape[1] not in (None, length):
            raise ValueError(
                f"There must be {self.num_clips} clips of {self.rgb_shape[0]} frames, got {frames.shape[1]} frames; "
                "give those that samples() names, or call the recognizer to have it take them from all frames."
            )
        _, pose = self._sample(ops.shape(inputs["keypoints"])[2])
        places = np.arange(length, dtype="int32").reshape(self.num_clips, -1)  # [N, L]
        answers = self._answers(frames, places, pose, *self._people(inputs))
        return {name: answers[i] for i, name in enumerate(self.heads)} | {"fused": ops.mean(answers, axis=0)}

    def clips(
        self, frames: Tensor | None, keypoints: Tensor, scores: Tensor, frame_size: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The clips of videos, of one shape whatever their length and size; keypoints are not drawn yet.

        It also works inside a `tf.data` pipeline, on any backend.

        Args:
            frames: see `recognize`.
            keypoints: likewise.
            scores: likewise.
            frame_size: likewise.

        Returns:
            {"rgb": [N, B, L, H, W, 3], "keypoints": [N, B, M, L', K, 2] pixels of the volume, "scores": [N, B, M, L',
            K]}, without what the network does not take.
        """
        _, pose = self._sample(ops.shape(keypoints)[2])
        inputs = {"frames": frames, "keypoints": keypoints, "scores": scores, "frame_size": frame_size}
        keypoints, scores, size = self._people({name: value for name, value in inputs.items() if value is not None})
        keypoints, scores = clips.take_frames(keypoints, scores, ops.reshape(pose, (-1,)))
        length = (self.rgb_shape or self.pose_shape)[0]
        places = np.arange(self.num_clips * length, dtype="int32").reshape(self.num_clips, -1)  # [N, L]
        parts = [self._cut(frames, places[i], i, keypoints, scores, size) for i in range(self.num_clips)]
        return {name: ops.stack([part[name] for part in parts]) for name in parts[0]}

    def from_clips(self, clips: dict[str, Tensor]) -> dict[str, Tensor]:
        """Names the actions of videos by their clips, as `recognize` does.

        Args:
            clips: what `clips` gives.

        Returns:
            See `recognize`.
        """

        def cut(clip):
            return {name: ops.take(value, clip, axis=0) for name, value in clips.items()}

        answers = self._ask_about_each(cut, ops.shape(next(iter(clips.values())))[1])
        return {name: answers[i] for i, name in enumerate(self.heads)} | {"fused": ops.mean(answers, axis=0)}

    def on_whole_box(self) -> "VideoRecognizer":
        """The recognizer for larger clips, which show the people's whole box at the scale of the crops in training.

        Networks are trained on random crops of the box, of 224 pixels, and 56 in the volume. The whole box has 256 and
        64 at the same scale; so networks are tested as published.

        Returns:
            A new `VideoRecognizer`; the weights are copied.

        Example:
            >>> from kerapose import predictors
            >>> recognizer = predictors.load("runs/rgbpose/model.keras").estimator
            >>> recognizer.network.input_shape["rgb"], recognizer.on_whole_box().network.input_shape["rgb"]
            ((None, 4, 112, 112, 3), (None, 4, 128, 128, 3))
        """
        shapes = []
        for shape, cell in ((self.rgb_shape, PIXELS_A_CELL), (self.pose_shape, 1)):
            if shape:
                length, height, width, channels = shape
                height, width = (cell * clips.whole_side(side // cell) for side in (height, width))
                shapes.append((length, height, width, channels))
        told = sum(name.endswith("_shape") for name in self.network.argument_names())
        resized = self.network.resized(*shapes[:told])  # STAR-Transformer's volumes go by the size of its frames
        return type(self)(**(self.arguments() | {"network": resized}))

    def _sample(self, length):
        """Indices of frames: [N, L] and [N, L']; one and the same where the network takes only one kind of clip."""
        if not (self.rgb_shape and self.pose_shape):
            count = (self.rgb_shape or self.pose_shape)[0]
            frames = sequences.sample_frames(length, count, self.num_clips)
            return frames, frames
        rates = self.rgb_shape[0], self.pose_shape[0]
        return sequences.sample_rgb_and_pose(length, *rates, self.num_clips, aligned=self.aligned)

    def _people(self, inputs):
        """Keypoints, scores and the size that the keypoints refer to, [B, 2]."""
        scores = inputs["scores"] if self.use_scores else clips.full_scores(inputs["scores"])
        frame_size, frames = inputs.get("frame_size"), inputs.get("frames")
        if frames is None and (self.rgb_shape or frame_size is None):
            raise ValueError(
                "The frames of the video are needed, got none; a network of volumes alone does without them if it is "
                "given frame_size."
            )
        if frame_size is None:
            batch, _, height, width, _ = ops.shape(frames)
            size = ops.stack([ops.cast(height, "float32"), ops.cast(width, "float32")])
            frame_size = ops.broadcast_to(size, (batch, 2))
        return inputs["keypoints"], scores, frame_size

    def _answers(self, frames, rgb, pose, keypoints, scores, frame_size):
        """What each output of the network says, the mean over clips and mirror images: [S, B, num_classes]."""
        rgb = ops.convert_to_tensor(rgb)  # [N, L]
        # All clips of a video have one box, so they need the people of all.
        keypoints, scores = clips.take_frames(keypoints, scores, ops.reshape(pose, (-1,)))  # [B, M, N*L', K, 2]

        def cut(clip):
            return self._cut(frames, ops.take(rgb, clip, axis=0), clip, keypoints, scores, frame_size)

        return self._ask_about_each(cut, ops.shape(keypoints)[0])

    def _ask_about_each(self, cut, count):
        """The mean of what the outputs say of the clips that a function gives by their number: [S, B, num_classes]."""

        def ask(clip):
            inputs = self._drawn(cut(clip))
            answer = self._probabilities(inputs)
            if not self.flip_test:
                return answer
            mirrored = self._probabilities(self._mirrored(inputs))
            mirrored = ops.take(mirrored, np.asarray(self.flip_labels, "int32"), axis=-1)
            return (answer + mirrored) / 2

        # The next clip is the first without an answer. So each has to wait for the one before it: TensorFlow would
        # otherwise work on ten at a time, with the memory of ten.
        order = np.arange(self.num_clips)[:, None, None, None]  # [N, 1, 1, 1]

        def further(found):
            clip = ops.sum(ops.cast(found[:, 0, 0, 0] != _UNANSWERED, "int32"))
            return ops.where(order == clip, ask(clip), found)

        shape = (self.num_clips, len(self.heads), count, self.num_classes)
        found = ops.full(shape, _UNANSWERED, "float32")  # [N, S, B, num_classes]
        found = ops.while_loop(lambda found: found[-1, 0, 0, 0] == _UNANSWERED, further, found)
        return ops.mean(found, axis=0)

    def _cut(self, frames, rgb, clip, keypoints, scores, frame_size):
        """One clip, by its number: {"rgb": [B, L, H, W, 3], "keypoints": [B, M, L', K, 2], "scores": [B, M, L', K]}."""
        frames = ops.take(frames, rgb, axis=1) if self.rgb_shape else None  # [B, L, H', W', 3]
        sizes = {"rgb_size": self._size(self.rgb_shape), "pose_size": self._size(self.pose_shape)}
        pixels, keypoints, scores = clips.evaluation_video_clip(
            frames, keypoints, scores, frame_size, padding=self.padding, **sizes
        )  # [B, L, H, W, 3], [B, M, N*L', K, 2], [B, M, N*L', K]
        parts = {}
        if self.rgb_shape:
            parts["rgb"] = images.normalize(pixels, **self.normalization)
        if self.pose_shape:
            length = self.pose_shape[0]
            own = clip * length + ops.arange(length, dtype="int32")  # [L']
            parts["keypoints"], parts["scores"] = clips.take_frames(keypoints, scores, own)
        return parts

    def _drawn(self, parts):
        """What the network sees of such a clip: {"rgb": [B, L, H, W, 3], "pose": [B, L', h, w, K]}."""
        inputs = {"rgb": parts["rgb"]} if self.rgb_shape else {}
        if self.pose_shape:
            inputs["pose"] = self.volume({name: parts[name] for name in ("keypoints", "scores")})
        return inputs

    def _probabilities(self, inputs):
        """{"rgb", "pose"} -> [S, B, num_classes] float32, the outputs in the order of their names."""
        logits = self.network(inputs if len(inputs) == 2 else next(iter(inputs.values())), training=False)
        logits = logits if isinstance(logits, dict) else {"fused": logits}
        return ops.stack([ops.softmax(ops.cast(logits[head], "float32")) for head in self.heads])

    def _mirrored(self, inputs):
        """The same clip in a mirror."""
        mirrored = {}
        if "rgb" in inputs:
            mirrored["rgb"] = ops.flip(inputs["rgb"], axis=-2)
        if "pose" in inputs:
            mirrored["pose"] = heatmaps.flip_volume(inputs["pose"], self.skeleton.flip_permutation)
        return mirrored

    def _size(self, shape):
        """Height and width of a clip; where there is none of its kind, those of the other."""
        return tuple((shape or self.rgb_shape or self.pose_shape)[1:3])

    def _check(self):
        """Refuses what does not fit together."""
        for name, shape in (("rgb", self.rgb_shape), ("pose", self.pose_shape)):
            if shape and None in shape:
                raise ValueError(f"The network must take clips of a fixed size, got {shape} for {name}; give it one.")
        if self.pose_shape and self.pose_shape[-1] != self.skeleton.num_keypoints:
            raise ValueError(
                f"The skeleton must be that of the training, got {self.skeleton.name} with "
                f"{self.skeleton.num_keypoints} keypoints for volumes of {self.pose_shape[-1]} channels; give that one."
            )
        if self.num_clips < 1:
            raise ValueError(f"num_clips must be at least 1, got {self.num_clips}; the published test takes 10.")

    def compute_output_shape(self, input_shape: typing.Any) -> typing.Any:
        """Shape of the output for shapes of the inputs; Keras asks for it."""
        return (input_shape["keypoints"][0], self.num_classes)


def clip_shapes(network: keras.Model) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The shapes (L, H, W, 3) and (L', h, w, K) of the clips that a network takes, None where it takes none.

    Raises:
        ValueError: if it takes anything else.
    """
    # Keras's input_shape of a network with several inputs is a list without their names.
    given = keras.tree.map_structure(lambda tensor: tensor.shape, getattr(network, "input", ()))
    if isinstance(given, dict) and set(given) == {"rgb", "pose"}:
        rgb, pose = given["rgb"], given["pose"]
    elif isinstance(given, tuple) and given:
        rgb, pose = (given, None) if given[-1] == RGB_CHANNELS else (None, given)
    else:
        rgb = pose = ()  # of no clip
    if any(shape is not None and len(shape) != 5 for shape in (rgb, pose)) or (rgb and rgb[-1] != RGB_CHANNELS):
        raise ValueError(
            'The network must take {"rgb": [B, L, H, W, 3], "pose": [B, L\', h, w, K]} or one of the two tensors, got '
            f"{given or type(network).__name__}; use RGBPoseConv3D, STARTransformer, or SlowOnly for one of them."
        )
    return tuple(shape and tuple(shape[1:]) for shape in (rgb, pose))
