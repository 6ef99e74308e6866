"""From images to people: boxes, poses and named keypoints."""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Callable, Iterator

import cv2
import keras
import numpy as np

from kerapose import estimators, skeletons
from kerapose.data import images
from kerapose.data.gate import images as rules
from kerapose.predictors.networks import chosen, require
from kerapose.types import Array, ArrayLike, Path

PERSON_CLASSES = {80: 0, 91: 1}  # of COCO's detectors, by their number of classes: 91 are COCO's own ids


class Keypoint(typing.NamedTuple):
    """Where a keypoint is, in pixels of the image, and how sure that is.

    Args:
        x: pixels to the right.
        y: pixels down.
        score: about 1 where the network is sure, 0 where the keypoint was not found.

    Example:
        >>> from kerapose import predictors
        >>> x, y, score = predictors.Keypoint(x=412.3, y=218.9, score=0.94)
        >>> x, y
        (412.3, 218.9)
    """

    x: float
    y: float
    score: float


@dataclasses.dataclass(frozen=True, eq=False)
class Pose:
    """One person in an image.

    Args:
        keypoints: [K, 2] pixels of the image, x first.
        scores: [K], the heights of the heatmaps' maxima, about 1 where the network is sure.
        names: of the K keypoints.
        box: [4] left, top, right, bottom, pixels: where the person was looked for.
        box_score: of the detector, 1 where the box was given without one.

    Raises:
        KeyError: if ``pose[name]`` asks for a keypoint that the person does not have.

    Example:
        >>> from kerapose import predictors, skeletons
        >>> pose = predictors.Pose(keypoints[0, 0], scores[0, 0], skeletons.COCO.keypoints, boxes[0])
        >>> pose["left_wrist"]
        Keypoint(x=107.2, y=120.0, score=0.9)
        >>> list(pose.as_dict())[:3]
        ['nose', 'left_eye', 'right_eye']
    """

    keypoints: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]
    box: np.ndarray
    box_score: float = 1.0

    @property
    def score(self) -> float:
        """How sure the whole pose is: the mean of the keypoints' scores, times the box's."""
        return float(np.mean(self.scores)) * self.box_score

    def __getitem__(self, name: str) -> Keypoint:
        if name not in self.names:
            raise KeyError(f"There is no keypoint {name!r}; choose from {', '.join(self.names)}.")
        index = self.names.index(name)
        return Keypoint(*map(float, self.keypoints[index]), float(self.scores[index]))

    def __iter__(self) -> Iterator[str]:
        """The names, as of a dict."""
        return iter(self.names)

    def as_dict(self) -> dict[str, Keypoint]:
        """All keypoints by name: ``{"nose": Keypoint(x, y, score), ...}``."""
        return {name: self[name] for name in self.names}


class TopDownPose:
    """Finds the keypoints of people in an image, a box each.

    Args:
        network: SimpleBaseline, HRNet, StackedHourglass or another network of heatmaps; or a whole
            `estimators.PoseEstimator`, which knows all but the detector.
        skeleton: the `Skeleton` whose keypoints the network was trained on.
        detector: what finds the boxes where none are given: a `PersonDetector`, or any function from an image
            [H, W, 3] to boxes [N, 4] and scores [N]. None: the whole image is one box.
        **options: `codec`, `flip_test`, `shift`, `box_padding`, `normalization`, `decoding`, `max_batch` of
            `estimators.PoseEstimator`, as in training; to an estimator only its `CHOICES`.

    Raises:
        ValueError: if network, skeleton and options do not fit together.

    Example:
        >>> from kerapose import models, predictors, skeletons
        >>> network = models.SimpleBaseline.from_variant("resnet18_tiny", num_joints=17)
        >>> find = predictors.TopDownPose(network, skeletons.COCO, flip_test=False)
        >>> poses = find("street.jpg", boxes=[[40, 30, 120, 210], [160, 30, 240, 210]])
        >>> len(poses), poses[0].names[9], poses[0].keypoints.shape
        (2, 'left_wrist', (17, 2))

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(
        self,
        network: keras.Model,
        skeleton: skeletons.Skeleton | None = None,
        detector: Callable[[Array], tuple[Array, Array]] | None = None,
        **options: typing.Any,
    ):
        if isinstance(network, estimators.PoseEstimator):
            self.estimator = chosen(network, options, skeleton=skeleton)
        else:
            require(network, skeleton=skeleton)
            self.estimator = estimators.PoseEstimator(network, skeleton, **options)
        self.skeleton = self.estimator.skeleton
        self.detector = detector

    def __call__(
        self, image: Path | bytes | Array, boxes: ArrayLike | None = None, box_scores: ArrayLike | None = None
    ) -> list[Pose]:
        """Finds everybody in an image.

        Args:
            image: RGB uint8 [H, W, 3]; grey, RGBA and uint16 are converted. Or an encoded JPEG or PNG: its path, or its
                bytes. It is turned upright as the camera noted.
            boxes: [N, 4] left, top, right, bottom, pixels; they may reach beyond the image. None: what the detector
                finds, or without one the whole image.
            box_scores: [N] of the detector, which poses are given. None: 1.

        Returns:
            A list of N `Pose`, in the order of the boxes.

        Raises:
            ValueError: if an image or a box is not as described; no box may be empty, lie outside the image or be in
                0..1, and scores are 0..1.
        """
        image, are_given = read_image(image), True
        if boxes is None:
            if box_scores is not None:
                raise ValueError("box_scores need their boxes, got none; give boxes=[[left, top, right, bottom], ...].")
            if self.detector is not None:
                boxes, box_scores = self.detector(image)
            else:
                boxes = [[0, 0, image.shape[1], image.shape[0]]]
            are_given = False
        boxes = rules.check_boxes(boxes, image.shape[:2], are_given)
        box_scores = _checked_scores(box_scores, len(boxes))
        keypoints, scores = self._find(image, boxes)
        return [
            Pose(keypoints[i], scores[i], self.skeleton.keypoints, boxes[i], float(box_scores[i]))
            for i in range(len(boxes))
        ]

    def _find(self, image, boxes):
        """[H, W, 3], [N, 4] -> [N, K, 2], [N, K]."""
        most = self.estimator.max_batch
        found = [
            self.estimator.predict_on_batch({"image": image, "boxes": boxes[start : start + most]})
            for start in range(0, len(boxes), most)
        ]
        if not found:
            return (), ()
        return tuple(np.concatenate(parts, axis=0) for parts in zip(*found, strict=True))


class PersonDetector:
    """Finds people with a detector of KerasHub: RetinaNet, D-FINE or another `ImageObjectDetector`.

    Args:
        detector: a `keras_hub.models.ImageObjectDetector`, or the name or folder of a preset, which KerasHub loads and
            may download ("dfine_medium_coco"). That needs ``kerapose[detector]``.
        min_score: the lowest score of a person. A detector has a threshold of its own besides.
        person_class: the label of a person. None: that of COCO, told by the detector's number of classes, 80 or 91.

    Raises:
        ImportError: if a preset is named and KerasHub is not installed.
        ValueError: if it is not known which class is a person.

    Example:
        >>> from kerapose import predictors
        >>> detect = predictors.PersonDetector("dfine_medium_coco")  # doctest: +SKIP
        >>> class Detector:  # what answers as KerasHub's do will do, too
        ...     num_classes, bounding_box_format = 80, "xyxy"
        ...     def predict(self, images, verbose):
        ...         return {"boxes": boxes[None], "labels": [[0, 0]], "confidence": [[0.4, 0.9]]}
        >>> predictors.PersonDetector(Detector())("street.jpg")  # one of two is sure enough
        (array([[160.,  30., 240., 210.]], dtype=float32), array([0.9], dtype=float32))
    """

    def __init__(self, detector: keras.Model | Path, min_score: float = 0.5, person_class: int | None = None):
        self.detector = _load_detector(detector) if isinstance(detector, str | os.PathLike) else detector
        self.min_score = min_score
        classes = getattr(self.detector, "num_classes", None)
        if person_class is None and classes not in PERSON_CLASSES:
            raise ValueError(
                f"person_class must be given for a detector of {classes} classes, which is not one of COCO's; give the "
                "label of a person in the data that it was trained on."
            )
        self.person_class = PERSON_CLASSES[classes] if person_class is None else person_class

    def __call__(self, image: Path | bytes | Array) -> tuple[Array, Array]:
        """Finds the people of one image.

        Args:
            image: as for `TopDownPose`.

        Returns:
            Boxes [N, 4] float32, left, top, right, bottom in pixels, inside the image, and scores [N] float32, the
            surest first.

        Raises:
            ValueError: if the image is not as described.
            FileNotFoundError: if there is no such file.
        """
        image = read_image(image)
        canvas, scale = self._fitted(image)
        found = self.detector.predict(canvas[None], verbose=0)
        boxes = keras.utils.bounding_boxes.convert_format(
            np.asarray(found["boxes"], "float32"),
            source=self.detector.bounding_box_format,
            target="xyxy",
            height=canvas.shape[0],
            width=canvas.shape[1],
        )
        boxes = keras.ops.convert_to_numpy(boxes)[0] / np.tile(scale, 2).astype("float32")  # [N, 4]
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, np.float32([width, height, width, height]))
        labels, scores = np.asarray(found["labels"])[0], np.asarray(found["confidence"], "float32")[0]
        # A detector fills its answer up with boxes at -1, which have no area; nor have those beside the image.
        kept = (labels == self.person_class) & (scores >= self.min_score) & (boxes[:, 2:] > boxes[:, :2]).all(axis=-1)
        order = np.flatnonzero(kept)[np.argsort(-scores[kept], kind="stable")]
        return boxes[order], scores[order]

    def _fitted(self, image):
        """The image in the size that the detector's preprocessor would give it, and the scale in x and y."""
        converter = getattr(getattr(self.detector, "preprocessor", None), "image_converter", None)
        size = getattr(converter, "image_size", None)
        if size is None:
            return image, np.ones(2)
        scale = np.array([size[1] / image.shape[1], size[0] / image.shape[0]])  # x, y
        if converter.crop_to_aspect_ratio or converter.pad_to_aspect_ratio:
            scale = np.full(2, scale.min())  # padded in either case: nobody is to be cut off
        shape = np.maximum(np.round(scale * image.shape[1::-1]), 1).astype(int)  # width, height
        scale = shape / image.shape[1::-1]
        method = cv2.INTER_AREA if converter.antialias and scale.max() < 1 else cv2.INTER_LINEAR
        canvas = np.zeros((*size, 3), np.uint8)
        canvas[: shape[1], : shape[0]] = cv2.resize(image, shape.tolist(), interpolation=method)
        return canvas, scale


def read_image(image: Path | bytes | ArrayLike) -> Array:
    """Brings an image to RGB uint8.

    Args:
        image: an array: RGB [H, W, 3], RGBA [H, W, 4] (the last is dropped) or grey [H, W] or [H, W, 1], uint8 or
            uint16. Or an encoded JPEG or PNG: its path, or its bytes.

    Returns:
        RGB uint8 [H, W, 3]; an encoded one is upright.

    Raises:
        ValueError: if it is none of these.
        FileNotFoundError: if there is no file of this path.

    Example:
        >>> from kerapose import predictors
        >>> predictors.read_image("street.jpg").shape
        (240, 320, 3)
        >>> predictors.read_image(image[..., 0]).shape  # grey
        (240, 320, 3)
    """
    if isinstance(image, str | os.PathLike):
        path = pathlib.Path(image)
        if not path.is_file():
            is_folder = path.is_dir()
            found = "a folder; give the path of one image" if is_folder else "no such file; check the path"
            raise FileNotFoundError(f"An image must be a JPEG or PNG file, {path} is {found}.")
        return _decoded(path.read_bytes(), str(image))
    if isinstance(image, bytes | bytearray):
        return _decoded(bytes(image), "The encoded image")
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"An image must be uint8, 0 to 255, or uint16, got {image.dtype}; multiply by 255 if it is 0 to 1, and "
            "convert it with astype('uint8')."
        )
    if image.dtype == np.uint16:
        image = (image >> 8).astype("uint8")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An image must be [H, W, 3], [H, W, 4] or [H, W], got the shape {image.shape}; move the channels last, "
            "and give one image at a time."
        )
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]


def _decoded(encoded, name):
    try:
        return np.asarray(images.decode(encoded))
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow"):
            raise  # only what TensorFlow says of the data is about the data
        raise ValueError(
            f"{name} must be a whole JPEG or PNG file, got {len(encoded)} bytes that cannot be decoded; convert it, or "
            "get it anew."
        ) from error


def _checked_scores(scores, count):
    scores = np.ones(count) if scores is None else rules.as_numbers(scores, "box_scores")
    if scores.shape != (count,):
        raise ValueError(f"box_scores must be one per box, [{count}], got {scores.shape}; give as many.")
    return rules.check_scores(scores, "box_scores")


def _load_detector(preset):
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError("Detectors come from KerasHub; pip install 'kerapose[detector]'.") from error
    return keras_hub.models.ImageObjectDetector.from_preset(str(preset))
