"""The networks: one paper, one file, channels last, in keras.ops; and what is built around them."""

from kerapose.models.action_recognizer import ActionRecognizer
from kerapose.models.c3d import C3D
from kerapose.models.distiller import Distiller
from kerapose.models.hrnet import HRNet
from kerapose.models.lift_trainer import LiftTrainer
from kerapose.models.pose_estimator import PoseEstimator
from kerapose.models.simple_baseline import SimpleBaseline
from kerapose.models.slowonly import SlowOnly
from kerapose.models.stacked_hourglass import StackedHourglass
from kerapose.models.streaming_lifter import StreamingLifter
from kerapose.models.temporal_lifter import TemporalLifter
from kerapose.models.track_lifter import TrackLifter
from kerapose.models.x3d import X3D

__all__ = [
    "ActionRecognizer",
    "C3D",
    "Distiller",
    "HRNet",
    "LiftTrainer",
    "PoseEstimator",
    "SimpleBaseline",
    "SlowOnly",
    "StackedHourglass",
    "StreamingLifter",
    "TemporalLifter",
    "TrackLifter",
    "X3D",
]
