"""The networks: one paper, one file, channels last, in keras.ops."""

from kerapose.models.c3d import C3D
from kerapose.models.hrnet import HRNet
from kerapose.models.lightweight_openpose import LightweightOpenPose
from kerapose.models.mc3_resnet18 import MC3ResNet18
from kerapose.models.rgbpose_conv3d import RGBPoseConv3D
from kerapose.models.simple_baseline import SimpleBaseline
from kerapose.models.slowonly import SlowOnly
from kerapose.models.stacked_hourglass import StackedHourglass
from kerapose.models.star_transformer import STARTransformer
from kerapose.models.temporal_lifter import TemporalLifter
from kerapose.models.x3d import X3D

__all__ = [
    "C3D",
    "HRNet",
    "LightweightOpenPose",
    "MC3ResNet18",
    "RGBPoseConv3D",
    "STARTransformer",
    "SimpleBaseline",
    "SlowOnly",
    "StackedHourglass",
    "TemporalLifter",
    "X3D",
]
