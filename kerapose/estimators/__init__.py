"""The whole way from raw input to answer in one graph: what is tested, what predicts and what is exported."""

from kerapose.estimators.action_recognizer import ActionRecognizer
from kerapose.estimators.bottom_up_estimator import BottomUpEstimator
from kerapose.estimators.pose_estimator import PoseEstimator
from kerapose.estimators.streaming_lifter import StreamingLifter
from kerapose.estimators.track_lifter import TrackLifter
from kerapose.estimators.video_recognizer import VideoRecognizer

__all__ = [
    "ActionRecognizer",
    "BottomUpEstimator",
    "PoseEstimator",
    "StreamingLifter",
    "TrackLifter",
    "VideoRecognizer",
]
