"""The whole way from an image of any size to every person in it: one pass of a network, its fields, their grouping."""

import typing

import keras
from keras import ops

from kerapose import skeletons
from kerapose.estimators.estimator import Estimator, check_skeleton
from kerapose.models.network import plain_arguments
from kerapose.ops import boxes as box_ops
from kerapose.ops import grouping
from kerapose.ops import images as image_ops
from kerapose.types import Tensor

WIDEST = 8  # times as wide as high: what is wider is brought to this width, and not to `height`


@keras.saving.register_keras_serializable("kerapose")
class BottomUpEstimator(Estimator):
    """Finds the keypoints of everybody in an image, without boxes, as Lightweight OpenPose is used.

    The image is brought to the height that the network is to see, bilinearly and without antialiasing, as in the
    published demonstration, and padded with mean grey to whole cells. The network sees it once. Heatmaps and part
    affinity fields (PAFs) of its last stage are enlarged, peaks of the heatmaps are joined to people along the PAFs,
    and their places are moved back to the pixels of the image.

    Args:
        network: a network of images [B, H, W, 3] of any size that gives [heatmaps, PAFs, heatmaps, PAFs, ...] stage by
            stage, [B, h, w, K + 1] with the background last and [B, h, w, 2 * E]: LightweightOpenPose.
        skeleton: the `Skeleton` that it was trained on: its K keypoints, and its E limbs in the order of the PAFs.
        height: height in pixels to which an image is resized for the network; an image more than 8 times as wide as
            high is made 8 times as wide as this instead. None: each image as it is.
        stride: pixels of the network's input for one pixel of its maps.
        upsample: how many times the maps are enlarged before peaks are looked for, a whole number.
        max_people: the most people that are given, the surest.
        max_peaks: the most keypoints of one kind that are looked at, the surest.
        normalization: arguments of `ops.images.normalize` (mean, std, bgr), as in training. None:
            `ops.images.OPENPOSE_NORMALIZATION`.
        decoding: further arguments of `ops.grouping.group` (threshold, radius and others). None: its own.
        training: how it was trained, a dict of what JSON can hold.

    Input: image [H, W, 3] RGB 0 .. 255, any type, any H and W; or N of one size, [N, H, W, 3], which go through the
    network together, and then all outputs have an axis of N in front. Output: a dict of `keypoints` [P, K, 2] in pixels
    of the image, x first, (0, 0) where missing; `scores` [P, K], 0 where missing; `person_scores` [P]; `num_keypoints`
    [P]; `count`, how many of the P = max_people rows are people, the surest first, the other rows zeros; `num_found`,
    how many people there were before that bound; `overflow`, whether either bound left anything out.

    Raises:
        ValueError: if the network is of another kind, or does not fit the skeleton.

    Example:
        >>> from kerapose import estimators, models, skeletons
        >>> network = models.LightweightOpenPose.from_variant("openpose_tiny")
        >>> estimator = estimators.BottomUpEstimator(network, skeletons.OPENPOSE, height=64, max_people=5)
        >>> found = estimator(image)
        >>> tuple(found["keypoints"].shape), tuple(found["scores"].shape)  # the first found["count"] are people
        ((5, 18, 2), (5, 18))

    Paper: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018; Cao et al., "Realtime
    Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017.
    """

    CHOICES = ("height", "upsample", "max_people", "max_peaks", "decoding")

    def __init__(
        self,
        network: keras.Model,
        skeleton: skeletons.Skeleton,
        height: int | None = 256,
        stride: int = 8,
        upsample: int = 4,
        max_people: int = 20,
        max_peaks: int = 32,
        normalization: dict | None = None,
        decoding: dict | None = None,
        training: dict | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(training, **kwargs)
        self.network = network
        check_skeleton(skeleton)
        self.skeleton = skeleton
        self.height = height
        self.stride = stride
        self.upsample = upsample
        self.max_people = max_people
        self.max_peaks = max_peaks
        normalization = image_ops.OPENPOSE_NORMALIZATION if normalization is None else normalization
        self.normalization = plain_arguments(normalization)
        self.decoding = plain_arguments(decoding)
        self._check()

    def call(self, image: Tensor) -> dict[str, Tensor]:
        """Everybody in an image; Keras calls it."""
        heatmaps, pafs, matrix = self.fields(image)
        if len(heatmaps.shape) == 3:
            found = self._grouped((heatmaps, pafs))
        else:  # an image after the other: the network has most to do, and this most memory
            found = ops.map(self._grouped, (heatmaps, pafs))
        keypoints = box_ops.transform_points(found["keypoints"], matrix)
        return found | {"keypoints": ops.where(found["scores"][..., None] > 0.0, keypoints, 0.0)}

    def _grouped(self, maps):
        """The people of heatmaps [h, w, K] and PAFs [h, w, 2 * E], in pixels of these."""
        bounds = {"max_people": self.max_people, "max_peaks": self.max_peaks}
        return grouping.group(*maps, self.skeleton.edges, **bounds, **self.decoding)

    def fields(self, image: Tensor, published: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees in an image: the maps that people are grouped from, and the way back to the image.

        Args:
            image: [..., H, W, 3] RGB, 0 .. 255, any type; no axis in front, or one.
            published: whether to follow the published demonstration where it differs: it pads what is higher than wide
                to a square, and its way back leaves out that a pixel of a map stands for the middle of its pixels of
                the image.

        Returns:
            Heatmaps [..., h, w, K], without the background, and PAFs [..., h, w, 2 * E], both enlarged, float32; and
            the matrix [2, 3] from pixels of these maps to pixels of the image (`ops.boxes.transform_points`).

        Example:
            >>> from kerapose import predictors
            >>> estimator = predictors.load("runs/openpose/model.keras", height=64).estimator
            >>> heatmaps, pafs, matrix = estimator.fields(image)  # an image of 240 x 320 pixels
            >>> tuple(heatmaps.shape), tuple(pafs.shape)  # 4 / 8 of the network's 64 x 88 pixels, 85 rounded up
            ((32, 44, 18), (32, 44, 38))
            >>> np.asarray(matrix)[:, :2]  # pixels of the image for one of the maps
            array([[7.5, 0. ],
                   [0. , 7.5]], dtype=float32)
        """
        resized, scale = self._resized(ops.convert_to_tensor(image))
        pixels = image_ops.normalize(resized, **self.normalization)
        min_width = ops.shape(pixels)[-3] if published else 0
        padded, (top, left) = image_ops.pad_to_stride(pixels, self.stride, min_width=min_width)  # 0 is mean grey
        is_one = len(padded.shape) == 3
        maps = self.network(padded[None] if is_one else padded, training=False)[-2:]
        maps = [part[0] for part in maps] if is_one else maps
        heatmaps, pafs = (ops.cast(part, "float32") for part in maps)  # [..., h, w, K + 1], [..., h, w, 2*E]
        height, width = ops.shape(heatmaps)[-3:-1]
        maps = ops.concatenate([heatmaps[..., :-1], pafs], axis=-1)  # [..., h, w, K + 2*E]
        maps = image_ops.resize_cubic(maps, (height * self.upsample, width * self.upsample))

        cell = self.stride / self.upsample  # pixels of the padded image to one of the enlarged maps
        corner = ops.cast(ops.stack([left, top]), "float32")
        # A pixel of the maps is the middle of its cell, half a cell from its edge, and one of the image likewise.
        offset = -corner / scale if published else (0.5 * cell - corner) / scale - 0.5
        matrix = ops.concatenate([ops.eye(2) * (cell / scale), offset[:, None]], axis=1)
        return maps[..., : self.skeleton.num_keypoints], maps[..., self.skeleton.num_keypoints :], matrix

    def _resized(self, image):
        """[..., H, W, 3] -> [..., h, w, 3] float32, and how many of its pixels make one of the image."""
        if self.height is None:
            return ops.cast(image, "float32"), 1.0
        height, width = ops.shape(image)[-3:-1]
        reach = _larger(height, -(-width // WIDEST))  # what becomes `self.height`
        scale = self.height / ops.cast(reach, "float32")
        for axis, side in ((-3, height), (-2, width)):
            image = _resample(image, axis, _larger(_rounded(side * self.height, reach), 1), scale)
        return image, scale

    def _check(self):
        """Refuses what does not fit together."""
        stages, given = self.network.output_shape, self.network.input_shape
        pairs = isinstance(stages, list | tuple) and len(stages) > 0 and len(stages) % 2 == 0
        if not pairs or any(not isinstance(shape, list | tuple) or len(shape) != 4 for shape in stages):
            raise ValueError(
                "The network must give heatmaps [B, h, w, K + 1] and PAFs [B, h, w, 2 * E], stage by stage, got "
                f"{stages}; use LightweightOpenPose."
            )
        if not isinstance(given, tuple) or len(given) != 4 or given[1:] != (None, None, 3):
            raise ValueError(
                f"The network must take images of any size, (None, None, None, 3), got {given}; build it with "
                "image_shape=(None, None, 3) and give it the weights of this one."
            )
        skeleton, found = self.skeleton, (stages[-2][-1], stages[-1][-1])
        if found != (skeleton.num_keypoints + 1, 2 * skeleton.num_edges):
            raise ValueError(
                f"A network for {skeleton.name} gives {skeleton.num_keypoints + 1} heatmaps and "
                f"{2 * skeleton.num_edges} PAFs, got one of {found[0]} and {found[1]}; give the skeleton that it was "
                "trained with."
            )
        grouping.limb_tree(skeleton.edges, skeleton.num_keypoints)  # refuses limbs that make no person
        for name in ("height", "stride", "upsample", "max_people", "max_peaks"):
            value = getattr(self, name)
            if not (name == "height" and value is None) and (value != int(value) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value}; see its default.")


def _resample(image, axis, count, scale):
    """Brings an axis to `count` pixels, each `1 / scale` pixels from the next; bilinear, the border repeated."""
    last = ops.shape(image)[axis] - 1
    positions = (ops.cast(ops.arange(count), "float32") + 0.5) / scale - 0.5
    lower = ops.floor(positions)
    fraction = ops.reshape(positions - lower, (-1, 1, 1) if axis == -3 else (-1, 1))
    lower = ops.cast(lower, "int32")
    # Taken first and cast then: of a large image this moves the fewest bytes.
    near, far = (ops.take(image, ops.clip(index, 0, last), axis=axis) for index in (lower, lower + 1))
    near, far = ops.cast(near, "float32"), ops.cast(far, "float32")
    return near + (far - near) * fraction


def _rounded(dividend, divisor):
    """The quotient of two whole numbers, rounded, halves to the even one, as OpenCV rounds sizes; exact in a graph."""
    doubled = 2 * dividend + divisor
    up, rest = doubled // (2 * divisor), doubled % (2 * divisor)
    no_half = (rest + 2 * divisor - 1) // (2 * divisor)  # 0 where the quotient ends in a half, or 1
    return up - up % 2 * (1 - no_half)


def _larger(first, second):
    """Of two sizes, which are plain numbers where they are known."""
    return max(first, second) if isinstance(first, int) and isinstance(second, int) else ops.maximum(first, second)
