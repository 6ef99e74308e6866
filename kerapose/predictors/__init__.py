"""Raw input to named output: an image in, named keypoints out; keypoints in, actions or 3D poses out.

`load` makes the right one of the file that a training ends with, or of the name of a published checkpoint. The classes
themselves are for a network of one's own.
"""

from kerapose.data.detections import read_boxes
from kerapose.predictors.actions import ScoredAction, SkeletonAction
from kerapose.predictors.bottom_up import BottomUpPose
from kerapose.predictors.lifting import Lifter, Pose3D
from kerapose.predictors.loading import load
from kerapose.predictors.people import (
    Keypoint,
    PersonDetector,
    Pose,
    TopDownPose,
    read_image,
)
from kerapose.predictors.videos import Action

__all__ = [
    "Action",
    "BottomUpPose",
    "Keypoint",
    "Lifter",
    "load",
    "PersonDetector",
    "Pose",
    "Pose3D",
    "read_boxes",
    "read_image",
    "ScoredAction",
    "SkeletonAction",
    "TopDownPose",
]
