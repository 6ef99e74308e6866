"""The networks: one paper, one file, channels last, in `keras.ops`, for TensorFlow, JAX and PyTorch.

Each is a `keras.Model` that takes numbers and gives logits, heatmaps or poses. It is built by its arguments, by the
name of a published form (`from_variant`), or with published weights (`from_preset`); these class methods are those of
`Network`. What knows names, units and the way back to pixels is in `estimators` and `predictors`.
"""

from kerapose.models.c3d import C3D
from kerapose.models.convolutional_pose_machine import ConvolutionalPoseMachine
from kerapose.models.deeppose import DeepPose
from kerapose.models.efficient_localization import EfficientLocalization
from kerapose.models.hrnet import HRNet
from kerapose.models.lightweight_openpose import LightweightOpenPose
from kerapose.models.mc3_resnet18 import MC3ResNet18
from kerapose.models.rgbpose_conv3d import RGBPoseConv3D
from kerapose.models.rtmpose import RTMPose
from kerapose.models.simple_baseline import SimpleBaseline
from kerapose.models.slowonly import SlowOnly
from kerapose.models.stacked_hourglass import StackedHourglass
from kerapose.models.star_transformer import STARTransformer
from kerapose.models.temporal_lifter import TemporalLifter
from kerapose.models.x3d import X3D

__all__ = [
    "C3D",
    "ConvolutionalPoseMachine",
    "DeepPose",
    "EfficientLocalization",
    "HRNet",
    "LightweightOpenPose",
    "MC3ResNet18",
    "RGBPoseConv3D",
    "RTMPose",
    "STARTransformer",
    "SimpleBaseline",
    "SlowOnly",
    "StackedHourglass",
    "TemporalLifter",
    "X3D",
]
