"""The whole way from an image and boxes to keypoints: crops, a network, their mirror images, and back to the image."""

import typing

import keras
from keras import ops

from kerapose import mirrors, skeletons
from kerapose.estimators.estimator import Estimator, check_skeleton
from kerapose.models.network import output_shapes, plain_arguments
from kerapose.ops import boxes as box_ops
from kerapose.ops import heatmaps as heatmap_ops
from kerapose.ops import images as image_ops
from kerapose.types import Tensor

UDP_CODECS = ("udp",)  # those that scale between the centres of corner pixels: (W - 1) / (w - 1)


@keras.saving.register_keras_serializable("kerapose")
class PoseEstimator(Estimator):
    """Finds the keypoints of the people in an image, as top-down networks are tested.

    Each box is widened, brought to the network's aspect ratio and cut out; the network sees the crop and its mirror
    image, its answers to both are averaged, and the keypoints that they tell are moved back to the pixels of the image.

    Args:
        network: a network of crops [B, H, W, 3] that gives heatmaps [B, h, w, K], or [B, S, h, w, K], of which the last
            stack or stage counts: SimpleBaseline, HRNet, StackedHourglass, ConvolutionalPoseMachine, or one that was
            distilled; or coordinates [B, K, 2], with uncertainty [B, K, 4]: DeepPose; or the logits of SimCC,
            {"x": [B, K, bins], "y": [B, K, bins]}: RTMPose.
        skeleton: the `Skeleton` whose keypoints it was trained on.
        codec: what the network was trained with, one of `ops.heatmaps.ALL_CODECS`. None: the usual one of such an
            output, which for heatmaps is gaussian.
        flip_test: whether to average with the answers to the mirrored crop; without, there is half the work. Where the
            skeleton does not know its sides, nothing is mirrored, and a warning says so.
        shift: whether what the mirrored crop gave is moved by a pixel before: the pixels of a heatmap do not lie in the
            middle of those of the crop. None: as published, for the codecs gaussian, dark and regression.
        box_padding: how many times as large as its box a crop is, at least.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr), as in training. None: ImageNet's, RGB.
        decoding: further arguments of `ops.heatmaps.decode`, or of `decode_simcc`. None: the codec's own.
        max_batch: the most crops that the network is given at once, with their mirror images; more boxes than this
            take more time, but not more memory.
        training: how it was trained, a dict of what JSON can hold.

    Input: {"image": [H, W, 3] RGB 0 .. 255, any type, "boxes": [N, 4] left, top, right, bottom in pixels}, any H, W and
    N, 0 too. Output: keypoints [N, K, 2] in pixels of the image, x first, and scores [N, K]: the heatmaps' maxima, with
    SimCC the lesser of the two maxima of raw logits, with coordinates 1, or what their sigmas leave of it.

    Raises:
        ValueError: if network, skeleton and options do not fit together.

    Example:
        >>> from kerapose import estimators, models, skeletons
        >>> network = models.SimpleBaseline.from_variant("resnet18_tiny", num_joints=17)
        >>> estimator = estimators.PoseEstimator(network, skeletons.COCO)
        >>> keypoints, scores = estimator({"image": image, "boxes": boxes})  # two boxes
        >>> tuple(keypoints.shape), tuple(scores.shape)
        ((2, 17, 2), (2, 17))

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018 (its section on testing).
    """

    CHOICES = ("flip_test", "shift", "box_padding", "decoding", "max_batch")

    def __init__(
        self,
        network: keras.Model,
        skeleton: skeletons.Skeleton,
        codec: str | None = None,
        flip_test: bool = True,
        shift: bool | None = None,
        box_padding: float = 1.25,
        normalization: dict | None = None,
        decoding: dict | None = None,
        max_batch: int = 32,
        training: dict | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(training, **kwargs)
        self.network = network
        check_skeleton(skeleton)
        self.skeleton = skeleton
        self.codec = _codec_of(network, skeleton, codec)
        self.flip_test = mirrors.allowed(flip_test, skeleton)
        self.shift = heatmap_ops.is_shifted(self.codec) if shift is None else shift
        self.box_padding = box_padding
        self.normalization = plain_arguments(normalization)
        self.decoding = plain_arguments(decoding)
        self.max_batch = max_batch
        self._check()
        self.image_size = tuple(network.input_shape[1:3])

    @property
    def udp(self) -> bool:
        """Whether crop and heatmap are aligned by the centres of their corner pixels, as with the codec udp."""
        return self.codec in UDP_CODECS

    def call(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Keypoints and scores of the people in boxes; Keras calls it."""
        crops, matrices = self.crops(inputs["image"], inputs["boxes"])
        return self.from_crops(crops, matrices)

    def crops(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Cuts boxes out of an image, as the network wants to see them.

        Args:
            image: [H, W, 3] RGB, 0 .. 255, any type.
            boxes: [N, 4] left, top, right, bottom, pixels.

        Returns:
            Crops [N, h, w, 3], normalized; black beyond the image. Matrices [N, 2, 3] from image to crop, pixels.

        Example:
            >>> from kerapose import predictors
            >>> estimator = predictors.load("runs/topdown/model.keras").estimator
            >>> crops, matrices = estimator.crops(image, boxes)
            >>> tuple(crops.shape), tuple(matrices.shape)
            ((2, 64, 48, 3), (2, 2, 3))
        """
        height, width = self.image_size
        image, boxes = ops.convert_to_tensor(image), ops.cast(boxes, "float32")
        regions = box_ops.crop_region(boxes, width / height, self.box_padding)
        matrices = box_ops.affine(*regions, self.image_size, udp=self.udp)  # [N, 2, 3]

        def cut(matrices):
            return image_ops.normalize(box_ops.warp(image, matrices, self.image_size), **self.normalization)

        return self._by_chunks(cut, (*self.image_size, 3), matrices), matrices

    def from_crops(self, crops: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """Finds keypoints in crops.

        Args:
            crops: [N, H, W, 3], normalized, of the network's size.
            matrices: [N, 2, 3] from image to crop, pixels.

        Returns:
            Keypoints [N, K, 2] in pixels of the image, scores [N, K].

        Example:
            >>> from kerapose import predictors
            >>> estimator = predictors.load("runs/topdown/model.keras").estimator
            >>> keypoints, scores = estimator.from_crops(*estimator.crops(image, boxes))
            >>> tuple(keypoints.shape)
            (2, 17, 2)
        """
        crops, matrices = ops.cast(crops, "float32"), ops.cast(matrices, "float32")

        def find(matrices, crops):
            answers = self.answers(crops)
            keypoints, scores = heatmap_ops.decode_answers(answers, self.image_size, self.codec, **self.decoding)
            keypoints = box_ops.transform_points(keypoints, box_ops.invert_affine(matrices))
            return ops.concatenate([keypoints, scores[..., None]], axis=-1)  # [N, K, 3]

        found = self._by_chunks(find, (self.skeleton.num_keypoints, 3), matrices, crops)
        return found[..., :2], found[..., 2]

    def answers(self, crops: Tensor) -> Tensor | dict[str, Tensor]:
        """What the network answers to crops, averaged with what it answers to their mirror images.

        Args:
            crops: [N, H, W, 3], normalized, of the network's size.

        Returns:
            Heatmaps [N, h, w, K]; coordinates [N, K, 2], or [N, K, 4] with sigmas in 0 .. 1; or the logits of SimCC,
            {"x": [N, K, bins], "y": [N, K, bins]}: float32, as `ops.heatmaps.decode_answers` takes them.
        """
        if not self.flip_test:
            return self._limited(self._read(crops))
        both = self._read(ops.concatenate([crops, ops.flip(crops, axis=2)], axis=0))  # of [2*N, H, W, 3]
        count = ops.shape(crops)[0]
        plain, flipped = (
            keras.tree.map_structure(lambda answer, part=part: answer[part], both)
            for part in (slice(None, count), slice(count, None))
        )
        order = self.skeleton.flip_permutation
        return self._limited(
            heatmap_ops.merge_flipped_answers(plain, flipped, order, self.image_size, self.codec, self.shift)
        )

    def _read(self, crops):
        return heatmap_ops.read_outputs(self.network(crops, training=False), self.codec)

    def _limited(self, answers):
        """The published test of the hourglass takes what exceeds a target's height for equally sure."""
        return ops.minimum(answers, 1.0) if self.codec == "hourglass" else answers

    def _by_chunks(self, function, shape, *tensors):
        """Applies a function [n, ...] -> [n, *shape] to tensors [N, ...], at most `max_batch` rows at once."""
        count = ops.shape(tensors[0])[0]

        def rows_from(start):
            return function(*(tensor[start : start + self.max_batch] for tensor in tensors))

        if isinstance(count, int):
            parts = [rows_from(start) for start in range(0, count, self.max_batch)]
            return ops.concatenate(parts, axis=0) if parts else ops.zeros((0, *shape))

        # In a graph N comes with the request. The next chunk begins where the rows that were found end: it has to wait
        # for them, or TensorFlow would work on ten chunks at a time, with the memory of ten.
        def further(start, found):
            rows = rows_from(start)
            return start + ops.shape(rows)[0], ops.concatenate([found, rows], axis=0)

        none = ops.zeros((count * 0, *shape))  # of a length that is not known either, so that it may grow
        return ops.while_loop(lambda start, _: start < count, further, (count * 0, none))[1]

    def compute_output_shape(self, input_shape: typing.Any) -> typing.Any:
        """Shape of the output for shapes of the inputs; Keras asks for it."""
        shape = (input_shape["boxes"][0], self.skeleton.num_keypoints)
        return (*shape, 2), shape

    def _check(self):
        """Refuses what does not fit together."""
        given = self.network.input_shape
        if len(given) != 4 or given[3] != 3 or None in given[1:]:
            raise ValueError(
                f"The network must take crops [B, H, W, 3] of a fixed size, got {given}; give image_shape."
            )
        if self.codec == "simcc" and self.shift:
            raise ValueError("The codec simcc has no shift, got shift=True; leave it out, as published.")
        if not self.box_padding > 0:
            raise ValueError(f"box_padding must be above 0, got {self.box_padding}; 1.25 is the published one.")
        if self.max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {self.max_batch}; use fewer for less memory.")


def _codec_of(network, skeleton, codec):
    """The codec, once it is known to be that of such a network: by default the usual one of its output."""
    shape = output_shapes(network)
    if codec is not None:
        heatmap_ops.check_codec(codec)
    possible, num_keypoints = heatmap_ops.codecs_of(shape)
    if codec is not None and codec not in possible:
        raise ValueError(
            f"codec must be {' or '.join(possible)} for a network that gives {shape}, got {codec!r}; use the one of "
            "the training."
        )
    if num_keypoints != skeleton.num_keypoints:
        raise ValueError(
            f"A network for {skeleton.name} gives {skeleton.num_keypoints} keypoints, got one of {num_keypoints}; give "
            "the skeleton that it was trained with."
        )
    return possible[0] if codec is None else codec
