"""The networks: one paper, one file, channels last, in keras.ops; and what is built around them."""

from kerapose.models.action_recognizer import ActionRecognizer
from kerapose.models.bottom_up_estimator import BottomUpEstimator
from kerapose.models.c3d import C3D
from kerapose.models.distiller import Distiller
from kerapose.models.hrnet import HRNet
from kerapose.models.lift_trainer import LiftTrainer
from kerapose.models.lightweight_openpose import LightweightOpenPose
from kerapose.models.mc3_resnet18 import MC3ResNet18
from kerapose.models.pose_estimator import PoseEstimator
from kerapose.models.rgbpose_conv3d import RGBPoseConv3D
from kerapose.models.simple_baseline import SimpleBaseline
from kerapose.models.slowonly import SlowOnly
from kerapose.models.stacked_hourglass import StackedHourglass
from kerapose.models.star_transformer import STARTransformer
from kerapose.models.streaming_lifter import StreamingLifter
from kerapose.models.temporal_lifter import TemporalLifter
from kerapose.models.track_lifter import TrackLifter
from kerapose.models.video_recognizer import VideoRecognizer
from kerapose.models.x3d import X3D

__all__ = [
    "ActionRecognizer",
    "BottomUpEstimator",
    "C3D",
    "Distiller",
    "HRNet",
    "LiftTrainer",
    "LightweightOpenPose",
    "MC3ResNet18",
    "PoseEstimator",
    "RGBPoseConv3D",
    "STARTransformer",
    "SimpleBaseline",
    "SlowOnly",
    "StackedHourglass",
    "StreamingLifter",
    "TemporalLifter",
    "TrackLifter",
    "VideoRecognizer",
    "X3D",
]
