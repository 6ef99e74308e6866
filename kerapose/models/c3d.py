"""C3D for heatmap volumes, the plainest of PoseConv3D's three networks."""

import typing

import keras
from keras import layers

from kerapose.layers import ConvNorm, Dense, Dropout, FramePool
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class C3D(Network):
    """C3D without its fully connected layers, on heatmap volumes.

    Its forms are "c3d", "c3d_light" (also "c3d_s") and "c3d_tiny".

    Args:
        num_classes: number of actions.
        input_shape: (T, H, W, C) of a volume; C is the number of joints or limbs.
        base_filters: channels of the first convolution; the deepest ones have 8 times as many.
        num_stages: 4, or 3 for the light form, whose last stage is dropped.
        temporal_downsample: whether the pools after the first also halve the frames.
        dropout: rate before the classifier.

    Input: [B, T, H, W, C]. Output: logits [B, num_classes], float32 under any precision policy.

    Raises:
        ValueError: if `num_stages` is not 3 or 4.

    Example:
        >>> from kerapose import models
        >>> network = models.C3D.from_variant("c3d_tiny", num_classes=60)
        >>> network.input_shape
        (None, 24, 40, 40, 17)
        >>> tuple(network(np.zeros((1, 24, 40, 40, 17))).shape)
        (1, 60)

    Papers: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015; Duan et al.,
    "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    # By the arguments that differ from the defaults. The paper calls the light form "s" (shallow). "tiny" is ours, not
    # published: the light form for two cores, with a sixth of its multiplications on the same volume.
    VARIANTS = {
        "c3d": {},
        "c3d_s": {"num_stages": 3},
        "c3d_light": {"num_stages": 3},
        "c3d_tiny": {
            "num_stages": 3,
            "base_filters": 16,
            "temporal_downsample": True,
            "input_shape": (24, 40, 40, 17),
        },
    }

    HEAD = ("fc_cls",)
    NOT_IN_POSE = (r"fc_cls\.",)

    def __init__(
        self,
        num_classes: int,
        input_shape: Shape = (48, 56, 56, 17),
        base_filters: int = 32,
        num_stages: int = 4,
        temporal_downsample: bool = False,
        dropout: float = 0.5,
        **kwargs: typing.Any,
    ):
        if num_stages not in (3, 4):
            raise ValueError(f"C3D has 3 or 4 stages, got num_stages={num_stages}; use 4, or 3 for the light form.")
        inputs = keras.Input(input_shape)
        x = inputs
        x = conv(x, base_filters, "conv1a")
        x = pool(x, False, "pool1")  # [B, T, H/2, W/2, F]
        x = conv(x, base_filters * 2, "conv2a")
        x = pool(x, temporal_downsample, "pool2")
        x = conv(x, base_filters * 4, "conv3a")
        x = conv(x, base_filters * 4, "conv3b")
        x = pool(x, temporal_downsample, "pool3")
        x = conv(x, base_filters * 8, "conv4a")
        x = conv(x, base_filters * 8, "conv4b")
        if num_stages == 4:
            x = pool(x, temporal_downsample, "pool4")
            x = conv(x, base_filters * 8, "conv5a")
            x = conv(x, base_filters * 8, "conv5b")
        x = layers.GlobalAveragePooling3D(name="pooled")(x)  # [B, 8F]
        x = Dropout(dropout, name="dropout")(x)
        logits = Dense(num_classes, dtype="float32", name="fc_cls")(x)
        super().__init__(inputs, logits, **kwargs)
        self.num_classes = num_classes
        self.base_filters = base_filters
        self.num_stages = num_stages
        self.temporal_downsample = temporal_downsample
        self.dropout = dropout


def conv(x: Tensor, filters: int, name: str) -> Tensor:
    return ConvNorm(filters, (3, 3, 3), name=name)(x)


def pool(x: Tensor, frames_too: bool, name: str) -> Tensor:
    """Average pooling that floors odd sizes."""
    return FramePool("average", 2, 2, frame_pairs=frames_too, name=name)(x)
