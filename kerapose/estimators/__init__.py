"""The whole way from raw input to answer in one graph: what is tested, what predicts and what is exported.

Each knows its skeleton, the names of its classes and how it was trained, and so does its `.keras` file. An estimator
takes and gives tensors; a predictor (`predictors`) is built round one, and takes files and gives names.
"""

from kerapose.estimators.action_recognizer import ActionRecognizer
from kerapose.estimators.bottom_up_estimator import BottomUpEstimator
from kerapose.estimators.estimator import Estimator
from kerapose.estimators.pose_estimator import PoseEstimator
from kerapose.estimators.streaming_lifter import StreamingLifter
from kerapose.estimators.track_lifter import TrackLifter
from kerapose.estimators.video_recognizer import VideoRecognizer

__all__ = [
    "ActionRecognizer",
    "BottomUpEstimator",
    "Estimator",
    "PoseEstimator",
    "StreamingLifter",
    "TrackLifter",
    "VideoRecognizer",
]
