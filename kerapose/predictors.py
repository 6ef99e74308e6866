"""Raw input to named output: an image in, named keypoints out; keypoints in, actions or poses in space out."""

import dataclasses
import json
import os
import pathlib
import typing

import cv2
import keras
import numpy as np

from kerapose import models, skeletons
from kerapose.data import clips, images, tracks
from kerapose.ops import clips as clip_ops

PERSON_CLASSES = {80: 0, 91: 1}  # of COCO's detectors, by their number of classes: 91 are COCO's own ids


class Keypoint(typing.NamedTuple):
    """Where a keypoint is, in pixels of the image, and how sure that is."""

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

    Example:
        >>> pose["left_wrist"]
        Keypoint(x=412.3, y=218.9, score=0.94)
    """

    keypoints: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]
    box: np.ndarray
    box_score: float = 1.0

    @property
    def score(self):
        """How sure the whole pose is: the mean of the keypoints' scores, times the box's."""
        return float(np.mean(self.scores)) * self.box_score

    def __getitem__(self, name):
        if name not in self.names:
            raise KeyError(f"There is no keypoint {name!r}; choose from {', '.join(self.names)}.")
        index = self.names.index(name)
        return Keypoint(*map(float, self.keypoints[index]), float(self.scores[index]))

    def __iter__(self):
        """The names, as of a dict."""
        return iter(self.names)

    def as_dict(self):
        """All keypoints by name: {"nose": Keypoint(x, y, score), ...}."""
        return {name: self[name] for name in self.names}


class TopDownPose:
    """Finds the keypoints of people in an image, a box each.

    Args:
        network: SimpleBaseline, HRNet, StackedHourglass or another network of heatmaps; or a whole
            `models.PoseEstimator`, which then takes no options.
        skeleton: the `Skeleton` whose keypoints it was trained on.
        detector: what finds the boxes where none are given: a `PersonDetector`, or any function from an image
            [H, W, 3] to boxes [N, 4] and scores [N]. None: the whole image is one box.
        **options: `codec`, `flip_test`, `shift`, `box_padding`, `normalization`, `decoding`, `max_batch` of
            `models.PoseEstimator`, as in training.

    Raises:
        ValueError: if network, skeleton and options do not fit together.

    Example:
        >>> find = TopDownPose(network, skeletons.COCO)
        >>> poses = find("street.jpg", boxes=[[412, 157, 465, 295], [384, 172, 399, 207]])
        >>> poses[0]["nose"]
        Keypoint(x=440.1, y=170.6, score=0.97)

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(self, network, skeleton, detector=None, **options):
        self.skeleton = skeleton
        self.detector = detector
        self.estimator = make_estimator(network, skeleton, **options)

    def __call__(self, image, boxes=None, box_scores=None):
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
            ValueError: if an image or a box is not as described; no box may be empty or lie outside the image.
        """
        image = read_image(image)
        if boxes is None:
            if box_scores is not None:
                raise ValueError("box_scores need their boxes, got none; give boxes=[[left, top, right, bottom], ...].")
            if self.detector is not None:
                boxes, box_scores = self.detector(image)
            else:
                boxes = [[0, 0, image.shape[1], image.shape[0]]]
        boxes = _checked_boxes(boxes, image)
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


def make_estimator(network, skeleton, **options):
    """Puts round a network of heatmaps what the published test puts round it: images and boxes in, keypoints out.

    Args:
        network: a network of heatmaps, or a `models.PoseEstimator`, which then takes no options.
        skeleton: the `Skeleton` of its keypoints.
        **options: of `models.PoseEstimator`.

    Returns:
        A `PoseEstimator`.

    Raises:
        ValueError: if network, skeleton and options do not fit together.

    Example:
        >>> estimator = make_estimator(network, skeletons.COCO, codec="udp", flip_test=False)
    """
    given = isinstance(network, models.PoseEstimator)
    num_keypoints = len(network.flip_permutation) if given else network.output_shape[-1]
    if num_keypoints != skeleton.num_keypoints:
        raise ValueError(
            f"A network for {skeleton.name} gives {skeleton.num_keypoints} keypoints, got one of {num_keypoints}; give "
            "the skeleton that it was trained with."
        )
    if given and options:
        raise ValueError(f"A PoseEstimator has its own options, got {', '.join(options)}; give its network instead.")
    estimator = network if given else models.PoseEstimator(network, skeleton.flip_permutation, **options)
    estimator.jit_compile = False  # each new size of image or number of boxes would be a new compilation
    return estimator


class PersonDetector:
    """Finds people with a detector of KerasHub: RetinaNet, D-FINE or another `ImageObjectDetector`.

    Args:
        detector: a `keras_hub.models.ImageObjectDetector`, or the name or folder of a preset, which KerasHub loads and
            may download ("dfine_medium_coco"). That needs kerapose[detector].
        min_score: the lowest score of a person. A detector has a threshold of its own besides.
        person_class: the label of a person. None: that of COCO, told by the detector's number of classes, 80 or 91.

    Raises:
        ImportError: if a preset is named and KerasHub is not installed.
        ValueError: if it is not known which class is a person.

    Example:
        >>> find = TopDownPose(network, skeletons.COCO, detector=PersonDetector("dfine_medium_coco"))
        >>> poses = find("street.jpg")
    """

    def __init__(self, detector, min_score=0.5, person_class=None):
        self.detector = _load_detector(detector) if isinstance(detector, str | os.PathLike) else detector
        self.min_score = min_score
        classes = getattr(self.detector, "num_classes", None)
        if person_class is None and classes not in PERSON_CLASSES:
            raise ValueError(
                f"person_class must be given for a detector of {classes} classes, which is not one of COCO's; give the "
                "label of a person in the data that it was trained on."
            )
        self.person_class = PERSON_CLASSES[classes] if person_class is None else person_class

    def __call__(self, image):
        """Finds the people of one image.

        Args:
            image: as for `TopDownPose`.

        Returns:
            Boxes [N, 4] float32, left, top, right, bottom in pixels, inside the image, and scores [N] float32, the
            surest first.
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


def read_boxes(path, min_score=0.0, category_id=1, max_boxes=None):
    """Reads the boxes of a person detector from a file of COCO detection results.

    Args:
        path: a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}, with "category_id" or without.
        min_score: the lowest score that is read.
        category_id: of a person; boxes that have another one are left out.
        max_boxes: how many are read for an image, the surest; None for all.

    Returns:
        {image_id: (boxes [N, 4] float32 left, top, right, bottom, pixels, scores [N] float32)}, the surest first;
        images without a box are not in it.

    Raises:
        ValueError: if the file is not as described, or a box that would be read has no area.

    Example:
        >>> detected = read_boxes("COCO_val2017_detections_AP_H_56_person.json", min_score=0.2)
        >>> boxes, scores = detected[785]
    """
    results = json.loads(pathlib.Path(path).read_text())
    fields = {"image_id", "bbox", "score"}
    if not isinstance(results, list) or not all(isinstance(r, dict) and fields <= r.keys() for r in results):
        raise ValueError(
            f"{path} must be a JSON list of detections, each with image_id, bbox and score; this is the form of COCO's "
            "results, not of its annotations."
        )
    by_image = {}
    for result in results:
        if result.get("category_id", category_id) == category_id and result["score"] >= min_score:
            by_image.setdefault(result["image_id"], []).append((result["score"], result["bbox"]))
    read = {}
    for image_id, found in by_image.items():
        found = sorted(found, key=lambda scored: -scored[0])[:max_boxes]
        fit = all(len(box) == 4 for _, box in found)
        boxes = np.array([box for _, box in found] if fit else [[0] * 4], "float32")
        if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
            raise ValueError(
                f"A bbox must be x, y, width, height with both sizes above 0, got another for image {image_id} in "
                f"{path}; drop it from the file."
            )
        boxes[:, 2:] += boxes[:, :2]
        read[image_id] = boxes, np.array([score for score, _ in found], "float32")
    return read


def read_image(image):
    """Brings an image to RGB uint8.

    Args:
        image: an array: RGB [H, W, 3], RGBA [H, W, 4] (the last is dropped) or grey [H, W] or [H, W, 1], uint8 or
            uint16. Or an encoded JPEG or PNG: its path, or its bytes.

    Returns:
        RGB uint8 [H, W, 3]; an encoded one is upright.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(image, str | os.PathLike):
        return _decoded(pathlib.Path(image).read_bytes(), str(image))
    if isinstance(image, bytes | bytearray):
        return _decoded(bytes(image), "The encoded image")
    image = np.asarray(image)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"An image must be uint8, 0 to 255, or uint16, got {image.dtype}; round and convert it with "
            "astype('uint8')."
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


def _checked_boxes(boxes, image):
    height, width = image.shape[:2]
    boxes = np.asarray(boxes, "float32")
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, 4], left, top, right, bottom, got {boxes.shape}; give a list of boxes.")
    rules = (
        (np.isfinite(boxes).all(axis=1), "have finite coordinates", "leave it out"),
        (
            (boxes[:, 2:] > boxes[:, :2]).all(axis=1),
            "be left, top, right, bottom, with right > left and bottom > top",
            "COCO's x, y, w, h is x, y, x + w, y + h here",
        ),
        (
            (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1),
            f"show a part of the image, which is {width} wide and {height} high",
            "leave it out, or check that it is in pixels of this image",
        ),
    )
    for kept, rule, remedy in rules:
        if not kept.all():
            wrong = int(np.argmin(kept))
            raise ValueError(f"A box must {rule}, got {boxes[wrong].tolist()} for box {wrong}; {remedy}.")
    return boxes


def _checked_scores(scores, count):
    scores = np.ones(count) if scores is None else np.asarray(scores, "float64")
    if scores.shape != (count,):
        raise ValueError(f"box_scores must be one per box, [{count}], got {scores.shape}.")
    return scores


def _load_detector(preset):
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError("Detectors come from KerasHub; pip install 'kerapose[detector]'.") from error
    return keras_hub.models.ImageObjectDetector.from_preset(str(preset))


@dataclasses.dataclass(frozen=True)
class Action:
    """An action and how probable it is."""

    name: str
    probability: float


class SkeletonAction:
    """Names the action of a sequence of keypoints.

    Each sequence is seen as in the published test: several clips, each also mirrored, all probabilities averaged.

    Args:
        network: C3D, SlowOnly or X3D trained on joint volumes; or {"joint": network, "limb": network}, either or both,
            whose probabilities are averaged.
        skeleton: the `Skeleton` of the keypoints.
        class_names: [C] names in the order of the labels.
        num_clips: clips a sequence; fewer are faster.
        **options: `size`, `flip_test`, `use_scores`, `sigma_px`, `padding` of `make_recognizer`, as in training.

    Raises:
        ValueError: if network, skeleton and names do not fit together.

    Example:
        >>> recognize = SkeletonAction({"joint": joint_network, "limb": limb_network}, skeletons.COCO, class_names)
        >>> recognize(keypoints, scores, frame_size=(1080, 1920))  # [M, T, 17, 2] pixels, [M, T, 17]
        [Action(name='kick', probability=0.97), Action(name='jump', probability=0.02), ...]

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    def __init__(self, network, skeleton, class_names, num_clips=10, **options):
        networks = network if isinstance(network, dict) else {"joint": network}
        if not networks:
            raise ValueError('There must be at least one network, got none; give {"joint": network}.')
        self.skeleton = skeleton
        self.class_names = [str(name) for name in class_names]
        self.recognizers = {
            modality: make_recognizer(one, modality, skeleton, self.class_names, num_clips=num_clips, **options)
            for modality, one in networks.items()
        }

    def __call__(self, keypoints, scores=None, frame_size=None, top=5):
        """Recognizes one sequence.

        Args:
            keypoints: [M, T, K, 2], or [T, K, 2] for one person, pixels, x first; (0, 0) where missing. Any M and T.
            scores: [M, T, K] or [T, K]. None: 1 where a keypoint is not (0, 0).
            frame_size: (height, width), pixels. None: just large enough for the keypoints.
            top: how many actions to name.

        Returns:
            A list of `Action`, the most probable first.

        Raises:
            ValueError: if the sequence is not as described, or shows nobody.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}; use 1 for the best action alone.")
        probabilities = self.probabilities(keypoints, scores, frame_size)  # [C]
        best = np.argsort(-probabilities, kind="stable")[:top]
        return [Action(self.class_names[i], float(probabilities[i])) for i in best]

    def probabilities(self, keypoints, scores=None, frame_size=None):
        """The probability of every class, in the order of the labels: [C] float32; arguments as for a call."""
        element = clips.make_element(keypoints, self.skeleton, scores, frame_size)
        inputs = {name: element[name][None] for name in ("keypoints", "scores", "frame_size")}
        answers = [recognizer.predict_on_batch(inputs)[0] for recognizer in self.recognizers.values()]
        return np.mean(answers, axis=0)


def make_recognizer(network, modality, skeleton, class_names, size=None, **options):
    """Puts round a network what the published test puts round it: keypoints in, probabilities out.

    Args:
        network: C3D, SlowOnly or X3D.
        modality: "joint" or "limb", what the volumes show that it was trained on.
        skeleton: the `Skeleton` of the keypoints.
        class_names: [C] names in the order of the labels; those of a left and a right change places in a mirror.
        size: height and width of the volumes, pixels. None: 8/7 of the network's, as published (trained at 56, tested
            at 64): training crops see 7/8 of the people's box, tests all of it.
        **options: `num_clips`, `flip_test`, `use_scores`, `sigma_px`, `padding` of `models.ActionRecognizer`.

    Returns:
        An `ActionRecognizer`.

    Raises:
        ValueError: if network, modality, skeleton and names do not fit together.

    Example:
        >>> recognizer = make_recognizer(network, "limb", skeletons.COCO, class_names, num_clips=10)
    """
    if modality not in ("joint", "limb"):
        raise ValueError(f'A modality is "joint" or "limb", got {modality!r}; use one of them.')
    limb = modality == "limb"
    _, num_frames, height, width, channels = network.input_shape
    expected = skeleton.num_edges if limb else skeleton.num_keypoints
    if channels != expected:
        raise ValueError(
            f"A {modality} network for {skeleton.name} takes {expected} channels, got one of {channels}; give the "
            "skeleton and the modality that it was trained with."
        )
    num_classes = network.output_shape[-1]
    if len(class_names) != num_classes:
        raise ValueError(
            f"class_names must name each class of the {modality} network, got {len(class_names)} names for "
            f"{num_classes} classes; give the names of the data set that it was trained on."
        )
    height, width = (size, size) if size else (clip_ops.whole_side(height), clip_ops.whole_side(width))
    recognizer = models.ActionRecognizer(
        network.resized((num_frames, height, width, channels)),
        skeleton.edge_flip_permutation if limb else skeleton.flip_permutation,
        skeleton.edges if limb else None,
        flip_labels=clips.mirrored_labels(class_names),
        **options,
    )
    recognizer.jit_compile = False  # a new length of sequence would be a new compilation
    return recognizer


@dataclasses.dataclass(frozen=True, eq=False)
class Pose3D:
    """The poses of one person, or of several, in every frame of a track.

    Args:
        poses_m: [T, J, 3], or [M, T, J, 3] for M people, metres: x right, y down, z away from the camera, from joint 0,
            which is exactly 0.
        skeleton: the `Skeleton` of the J joints.
        poses_camera_m: the same poses from the camera's centre. None where no trajectory network said how far away the
            person is.

    Example:
        >>> pose["left_wrist"].shape
        (300, 3)
    """

    poses_m: np.ndarray
    skeleton: skeletons.Skeleton
    poses_camera_m: np.ndarray | None = None

    @property
    def names(self):
        """Of the J joints."""
        return self.skeleton.keypoints

    def __getitem__(self, name):
        """The way of one joint, [T, 3] or [M, T, 3], metres from joint 0."""
        if name not in self.names:
            raise KeyError(f"There is no joint {name!r}; choose from {', '.join(self.names)}.")
        return self.poses_m[..., self.names.index(name), :]

    def __iter__(self):
        """The names, as of a dict."""
        return iter(self.names)


class Lifter:
    """Lifts tracks of 2D keypoints, of any length and by any detector, to poses in space.

    Where a detector lost a keypoint for a while, the keypoint goes straight from where it was lost to where it came
    back. Where it found another set of keypoints than the network learnt from, they are converted by name: COCO's 17
    become those of Human3.6M.

    Args:
        model: a `models.TemporalLifter`; or a whole `models.TrackLifter`, which has `trajectory` and `flip_test` of its
            own.
        skeleton: the `Skeleton` of the keypoints that are handed in.
        trajectory: a `models.TemporalLifter` of one output joint: where the root is from the camera.
        pose_skeleton: the `Skeleton` of the poses.
        input_skeleton: the `Skeleton` of the keypoints that the network was trained on. None: `pose_skeleton` if the
            network takes as many, else `skeleton`. A network of COCO keypoints that gives Human3.6M poses needs it,
            since both have 17.
        flip_test: whether to average with the mirrored track. None: yes, or as the `TrackLifter` does.
        min_score: a keypoint counts as found where its score is above it.

    Raises:
        ValueError: if networks and skeletons do not fit together.

    Example:
        >>> lift = Lifter(network, skeletons.COCO, trajectory=trajectory)
        >>> pose = lift(keypoints, (1080, 1920), scores)  # [300, 17, 2] pixels, [300, 17]
        >>> pose.poses_m.shape, pose.poses_camera_m.shape
        ((300, 17, 3), (300, 17, 3))

    Paper: Pavllo et al., "3D human pose estimation in video with temporal convolutions and semi-supervised training",
    CVPR 2019.
    """

    def __init__(
        self,
        model,
        skeleton,
        trajectory=None,
        pose_skeleton=skeletons.H36M,
        input_skeleton=None,
        flip_test=None,
        min_score=0.0,
    ):
        self.skeleton = skeleton
        self.pose_skeleton = pose_skeleton
        self.min_score = min_score
        self.input_skeleton = _input_skeleton(model, skeleton, pose_skeleton, input_skeleton)
        given = isinstance(model, models.TrackLifter)
        network = model.network if given else model
        if network.output_shape[2] != pose_skeleton.num_keypoints:
            raise ValueError(
                f"A network for {pose_skeleton.name} gives {pose_skeleton.num_keypoints} joints, got one of "
                f"{network.output_shape[2]}; give the pose_skeleton that it was trained with."
            )
        _refuse_unlike_sets(skeleton, self.input_skeleton)
        if given and (trajectory is not None or flip_test is not None):
            raise ValueError("A TrackLifter has its own trajectory and flip_test; give its network to choose others.")
        self.lifter = model
        if not given:
            permutations = self.input_skeleton.flip_permutation, pose_skeleton.flip_permutation
            self.lifter = models.TrackLifter(network, *permutations, trajectory, flip_test is not False)
        self.lifter.jit_compile = False  # a new length of track would be a new compilation

    def __call__(self, keypoints, frame_size, scores=None):
        """Lifts the track of one person, or those of several.

        Args:
            keypoints: [T, K, 2], or [M, T, K, 2] for M people in the same frames, pixels, x first; any T. NaN where
                missing.
            frame_size: (height, width), pixels.
            scores: [T, K] or [M, T, K], 0 where missing. None: 1 where a keypoint is finite and not (0, 0).

        Returns:
            A `Pose3D`, with an axis M if the keypoints had one.

        Raises:
            ValueError: if the tracks are not as described, or a keypoint that the network needs is in no frame.
        """
        keypoints, scores = _checked_tracks(keypoints, scores, self.skeleton)
        size = _checked_frame_size(frame_size)
        people = keypoints.reshape(-1, *keypoints.shape[-3:])  # [M, T, K, 2]
        people_scores = scores.reshape(people.shape[:-1])
        whole = [
            self._without_gaps(*track, person) for person, track in enumerate(zip(people, people_scores, strict=True))
        ]
        if not whole:
            poses = np.zeros((*keypoints.shape[:-2], self.pose_skeleton.num_keypoints, 3), "float32")
            return Pose3D(poses, self.pose_skeleton, None if self.lifter.trajectory is None else poses)
        sizes = np.tile(size, (len(whole), 1))  # [M, 2]
        found = self.lifter.predict_on_batch({"keypoints": np.stack(whole), "frame_size": sizes})
        poses = found["poses_m"] - found["poses_m"][..., :1, :]  # [M, T, J, 3]
        shape = (*keypoints.shape[:-2], *poses.shape[-2:])
        in_camera = poses + found["trajectory_m"][..., None, :] if "trajectory_m" in found else None
        return Pose3D(poses.reshape(shape), self.pose_skeleton, None if in_camera is None else in_camera.reshape(shape))

    def _without_gaps(self, keypoints, scores, person):
        """The track of one person as the network wants it: [T, K, 2], [T, K] -> [T, K_in, 2]."""
        found = np.isfinite(keypoints).all(axis=-1) & (scores > self.min_score)  # [T, K]; False where a score is NaN
        seen = found.any(axis=0)
        if not seen.any():
            raise ValueError(
                f"A track must show its person, got no keypoint with a score above {self.min_score} in any frame of "
                f"person {person}; leave the person out, or set the scores to 1 if they are not known."
            )
        filled = np.full_like(keypoints, np.nan)
        # A keypoint that is in no frame may be one that nothing is worked out from, such as COCO's ears.
        points = np.where(found[..., None], keypoints, np.nan)
        filled[:, seen], _ = tracks.fill_gaps(points[:, seen], found[:, seen].astype("float32"))
        converted, _ = skeletons.convert(filled, np.ones(scores.shape), self.skeleton, self.input_skeleton)
        lost = ~np.isfinite(converted[0]).all(axis=-1)  # [K_in]
        if lost.any():
            needed = skeletons.mapping(self.skeleton, self.input_skeleton)[lost].any(axis=0)
            missing = [self.skeleton.keypoints[i] for i in np.flatnonzero(needed & ~seen)]
            raise ValueError(
                f"A keypoint must be in at least one frame of a track, got no score above {self.min_score} for "
                f"{', '.join(missing)} of person {person}; use a detector that guesses it, or a network without it."
            )
        return converted


def _input_skeleton(model, skeleton, pose_skeleton, input_skeleton):
    """The set that the network was trained on, by what the network tells of it."""
    if isinstance(model, models.TrackLifter):
        network, kept = model.network, model.flip_permutation
    else:
        network, kept = model, None
    count = network.input_shape[2]

    def fits(one):
        return one.num_keypoints == count and kept in (None, one.flip_permutation)

    candidates = dict.fromkeys((pose_skeleton, skeleton) if input_skeleton is None else (input_skeleton,))
    for one in candidates:
        if fits(one):
            return one
    raise ValueError(
        f"A network takes the keypoints that it was trained on, got {' and '.join(one.name for one in candidates)} for "
        f"one of {count} keypoints{'' if kept is None else ' with other pairs of left and right'}; give its set as "
        "input_skeleton."
    )


def _refuse_unlike_sets(source, target):
    """Raises the sentence of `skeletons.convert` if some keypoint of one set cannot be worked out from the other."""
    count = source.num_keypoints
    skeletons.convert(np.zeros((count, 2)), np.zeros(count), source, target)


def _checked_tracks(keypoints, scores, skeleton):
    """float32 [(M,) T, K, 2] and [(M,) T, K]."""
    keypoints = np.asarray(keypoints, "float32")
    if keypoints.ndim not in (3, 4) or keypoints.shape[-2:] != (skeleton.num_keypoints, 2):
        raise ValueError(
            f"keypoints of {skeleton.name} must be [T, {skeleton.num_keypoints}, 2] or [M, T, "
            f"{skeleton.num_keypoints}, 2], got {keypoints.shape}; give x and y alone, and the skeleton they are in."
        )
    if keypoints.shape[-3] == 0:
        raise ValueError(f"A track must have at least one frame, got keypoints of {keypoints.shape}; leave it out.")
    if scores is None:
        scores = np.isfinite(keypoints).all(axis=-1) & (keypoints != 0).any(axis=-1)
    scores = np.asarray(scores, "float32")
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(
            f"scores must be {keypoints.shape[:-1]}, one per keypoint, got {scores.shape}; give one for each keypoint."
        )
    return keypoints, scores


def _checked_frame_size(frame_size):
    """float32 [2]."""
    size = np.asarray(() if frame_size is None else frame_size)
    if size.shape != (2,) or not np.issubdtype(size.dtype, np.number) or not (np.isfinite(size) & (size > 0)).all():
        raise ValueError(
            f"frame_size must be (height, width) in pixels, both above 0, got {frame_size}; give the size of the video "
            "frames."
        )
    return size.astype("float32")
