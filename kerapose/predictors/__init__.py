"""Raw input to named output: an image in, named keypoints out; keypoints in, actions or poses in space out."""

from kerapose.predictors.actions import ScoredAction, SkeletonAction, make_recognizer
from kerapose.predictors.lifting import Lifter, Pose3D
from kerapose.predictors.people import (
    Keypoint,
    PersonDetector,
    Pose,
    TopDownPose,
    make_estimator,
    read_boxes,
    read_image,
)

__all__ = [
    "Keypoint",
    "Lifter",
    "make_estimator",
    "make_recognizer",
    "PersonDetector",
    "Pose",
    "Pose3D",
    "read_boxes",
    "read_image",
    "ScoredAction",
    "SkeletonAction",
    "TopDownPose",
]
