"""From an image to everybody in it, without boxes."""

import typing

import keras
import numpy as np
from absl import logging

from kerapose import estimators, skeletons
from kerapose.ops import boxes, grouping
from kerapose.predictors.networks import chosen, require
from kerapose.predictors.people import Pose, read_image
from kerapose.types import Array, Path


class BottomUpPose:
    """Finds the keypoints of everybody in an image at once, as Lightweight OpenPose does.

    Args:
        model: LightweightOpenPose or another network of heatmaps and part affinity fields; or a whole
            `estimators.BottomUpEstimator`, which knows the rest.
        skeleton: the `Skeleton` that the network was trained on: its keypoints, and its limbs in their order.
        published: whether to follow the published demonstration: its grouping, with its errors, in whole cells, and its
            way back to the image, which leaves out that a pixel of a map stands for the middle of its pixels of the
            image. It is slower, and has no bounds.
        **options: `height`, `stride`, `upsample`, `max_people`, `max_peaks`, `normalization`, `decoding` of
            `estimators.BottomUpEstimator`; to an estimator only its `CHOICES`.

    Raises:
        ValueError: if model, skeleton and options do not fit together.

    Example:
        >>> from kerapose import models, predictors, skeletons
        >>> network = models.LightweightOpenPose.from_variant("openpose_tiny")
        >>> find = predictors.BottomUpPose(network, skeletons.OPENPOSE, height=64, max_people=5)
        >>> people = find("street.jpg")  # a list of Pose, empty where nobody is
        >>> len(people) <= 5, all(len(pose.names) == 18 for pose in people)
        (True, True)

    Paper: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018.
    """

    def __init__(
        self,
        model: keras.Model,
        skeleton: skeletons.Skeleton | None = None,
        published: bool = False,
        **options: typing.Any,
    ):
        if isinstance(model, estimators.BottomUpEstimator):
            self.estimator = chosen(model, options, skeleton=skeleton)
        else:
            require(model, skeleton=skeleton)
            self.estimator = estimators.BottomUpEstimator(model, skeleton, **options)
        self.skeleton = self.estimator.skeleton
        self.published = published
        self._of_several = _OfSeveral(self.estimator)

    def __call__(self, image: Path | bytes | Array) -> list[Pose]:
        """Finds everybody in an image.

        Args:
            image: RGB uint8 [H, W, 3]; grey, RGBA and uint16 are converted. Or an encoded JPEG or PNG: its path, or its
                bytes. It is turned upright as the camera noted.

        Returns:
            A list of `Pose`, the surest person first, empty where there is nobody. A keypoint that was not found is at
            (0, 0) with the score 0; the box is the least one round those that were found. More people or keypoints than
            the bounds allow are left out with a warning.

        Raises:
            ValueError: if an image is not as described.
        """
        image = read_image(image)
        found = self._found_as_published(image) if self.published else self.estimator.predict_on_batch(image)
        return self._people(found)

    def batch(self, images: Array) -> list[list[Pose]]:
        """Finds everybody in several images of one size, which go through the network together.

        On a GPU that is faster than one after the other; the answers are the same, but for rounding.

        Args:
            images: RGB uint8 [N, H, W, 3], frames of a video for one.

        Returns:
            A list for each image, as a call gives it.

        Raises:
            ValueError: if they are not as described.

        Example:
            >>> from kerapose import predictors
            >>> find = predictors.load("runs/openpose/model.keras", height=64)
            >>> len(find.batch(np.stack([image, image])))
            2
        """
        if np.ndim(images) != 4 or np.shape(images)[-1] != 3 or getattr(images, "dtype", None) != np.uint8:
            got = f"{getattr(images, 'dtype', type(images).__name__)} {list(np.shape(images))}"
            raise ValueError(f"images must be RGB uint8 [N, H, W, 3], got {got}; give those of another size alone.")
        if self.published or not len(images):
            return [self(image) for image in images]
        found = self._of_several.predict_on_batch(images)
        return [self._people({name: values[i] for name, values in found.items()}) for i in range(len(images))]

    def _people(self, found):
        """The poses of one image by what its estimator says."""
        if found.get("overflow"):
            logging.warning(
                "There is more in an image than the bounds allow: %d people were found, at most %d are given, made "
                "of at most %d keypoints of a kind; raise max_people or max_peaks for all.",
                found["num_found"],
                self.estimator.max_people,
                self.estimator.max_peaks,
            )
        return [
            Pose(keypoints, scores, self.skeleton.keypoints, _box_round(keypoints[scores > 0]))
            for keypoints, scores in list(zip(found["keypoints"], found["scores"], strict=True))[: found["count"]]
        ]

    def _found_as_published(self, image):
        """[H, W, 3] -> {"keypoints": [M, K, 2], "scores": [M, K], "count": M}, the surest person first."""
        *maps, matrix = (keras.ops.convert_to_numpy(part) for part in self.estimator.fields(image, published=True))
        edges = self.skeleton.edges
        limb_order = grouping.PUBLISHED_LIMB_ORDER if edges == skeletons.OPENPOSE.edges else None
        found = grouping.group_numpy(*maps, edges, published=True, limb_order=limb_order, **self.estimator.decoding)
        order = np.argsort(-found["person_scores"], kind="stable")
        keypoints, scores = found["keypoints"][order], found["scores"][order].astype("float32")
        moved = keras.ops.convert_to_numpy(boxes.transform_points(keypoints, matrix))
        keypoints = np.where(scores[..., None] > 0, moved, 0).astype("float32")
        return {"keypoints": keypoints, "scores": scores, "count": len(scores)}


class _OfSeveral(keras.Model):
    """An estimator that is given several images: one graph is for images, another for these."""

    def __init__(self, estimator):
        super().__init__(name="of_several")
        self.estimator = estimator
        self.autocast = False  # pixels are not rounded to bfloat16
        self.built = True
        self.jit_compile = False  # a new size would be a new compilation

    def call(self, images):
        return self.estimator(images)


def _box_round(points):
    """The least box [4] round points [N, 2]: left, top, right, bottom."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])
