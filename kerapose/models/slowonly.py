"""SlowOnly for heatmap volumes (and RGB): a 3D ResNet-50 that looks at time only in its deeper stages."""

import typing
from collections.abc import Sequence

import keras
from keras import layers

from kerapose.layers import ConvNorm, Dense, Dropout, FramePool, layer_name
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor

# The forms of the two pathways of an RGBPoseConv3D.
RGB_PATH = {
    "input_shape": (8, 224, 224, 3),
    "base_filters": 64,
    "stage_blocks": (3, 4, 6, 3),
    "inflate": (False, False, True, True),
    "spatial_strides": (1, 2, 2, 2),
    "temporal_strides": (1, 1, 1, 1),
    "stem_stride": 2,
    "stem_pool_stride": 2,
}
POSE_PATH = {"input_shape": (32, 56, 56, 17), "temporal_strides": (1, 1, 1)}
TINY = {"base_filters": 16, "zero_init_residual": False}  # ours, for two cores


@keras.saving.register_keras_serializable("kerapose")
class SlowOnly(Network):
    """SlowOnly: residual stages of bottlenecks, the deeper of which are inflated: they convolve over time, too.

    Its forms for volumes are "slowonly", "slowonly_346", "slowonly_wd", "slowonly_hr" and "slowonly_pose_path", for
    frames "slowonly_rgb".

    Args:
        num_classes: number of actions.
        input_shape: (T, H, W, C) of a volume; C is the number of joints or limbs, or 3 for RGB.
        base_filters: channels of the stem and of the first stage's bottlenecks; doubled at every stage.
        stage_blocks: bottlenecks per stage.
        inflate: per stage, whether the first convolution of its bottlenecks spans three frames.
        spatial_strides: per stage, of height and width.
        temporal_strides: per stage, of frames.
        stem_stride: spatial stride of the first convolution.
        stem_pool_stride: spatial stride of the max pool after it.
        dropout: rate before the classifier.
        zero_init_residual: whether every bottleneck begins as its shortcut alone, as published. Runs of some thousand
            steps from scratch learn faster without.

    Input: [B, T, H, W, C]. Output: logits [B, num_classes], float32 under any precision policy.

    Raises:
        ValueError: if the per-stage arguments differ in length.

    Example:
        >>> from kerapose import models
        >>> network = models.SlowOnly.from_variant("slowonly", num_classes=60)
        >>> network.input_shape, network.output_shape
        ((None, 48, 56, 56, 17), (None, 60))
        >>> f"{network.count_params() / 1e6:.1f} million weights"
        '2.0 million weights'

    Papers: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019; Duan et al., "Revisiting
    Skeleton-based Action Recognition", CVPR 2022.
    """

    # By the arguments that differ from the defaults. "346" is the Kinetics-400 form. "wd" is twice as wide. "hr" takes
    # volumes of twice the resolution and has a stage more; its configuration is not published, this one is inferred
    # from the parameter count that the paper gives. "rgb" and "pose_path" are the single networks that an
    # RGBPoseConv3D starts from.
    VARIANTS = {
        "slowonly": {},
        "slowonly_346": {"stage_blocks": (3, 4, 6)},
        "slowonly_wd": {"base_filters": 64},
        "slowonly_hr": {
            "input_shape": (48, 112, 112, 17),
            "stage_blocks": (3, 4, 6, 3),
            "inflate": (False, False, True, True),
            "spatial_strides": (2, 2, 2, 2),
            "temporal_strides": (1, 1, 1, 2),
        },
        "slowonly_rgb": RGB_PATH,
        "slowonly_rgb_tiny": RGB_PATH | TINY | {"input_shape": (4, 112, 112, 3), "stage_blocks": (1, 2, 1, 1)},
        "slowonly_pose_path": POSE_PATH,
        "slowonly_pose_path_tiny": POSE_PATH | TINY | {"input_shape": (16, 28, 28, 17), "stage_blocks": (1, 1, 1)},
    }

    HEAD = ("fc_cls",)
    NOT_IN_POSE = (r"fc_cls\.",)

    def __init__(
        self,
        num_classes: int,
        input_shape: Shape = (48, 56, 56, 17),
        base_filters: int = 32,
        stage_blocks: Sequence[int] = (4, 6, 3),
        inflate: Sequence[bool] = (False, True, True),
        spatial_strides: Sequence[int] = (2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 2),
        stem_stride: int = 1,
        stem_pool_stride: int = 1,
        dropout: float = 0.5,
        zero_init_residual: bool = True,
        **kwargs: typing.Any,
    ):
        stages = (stage_blocks, inflate, spatial_strides, temporal_strides)
        if len({len(argument) for argument in stages}) != 1:
            raise ValueError(
                "stage_blocks, inflate, spatial_strides and temporal_strides have one entry per stage, got lengths "
                f"{[len(argument) for argument in stages]}; give all four the same length."
            )
        inputs = keras.Input(input_shape)
        x = stem(inputs, base_filters, stem_stride, stem_pool_stride)
        for stage, (blocks, inflated, stride_s, stride_t) in enumerate(zip(*stages, strict=True)):
            strides = (stride_t, stride_s, stride_s)
            options = {"inflated": inflated, "zero_init": zero_init_residual}
            x = residual_stage(x, base_filters * 2**stage, blocks, strides, name=f"layer{stage + 1}", **options)
        x = layers.GlobalAveragePooling3D(name="pooled")(x)
        x = Dropout(dropout, name="dropout")(x)
        logits = Dense(num_classes, dtype="float32", name="fc_cls")(x)
        super().__init__(inputs, logits, **kwargs)
        self.num_classes = num_classes
        self.base_filters = base_filters
        self.stage_blocks = tuple(stage_blocks)
        self.inflate = tuple(inflate)
        self.spatial_strides = tuple(spatial_strides)
        self.temporal_strides = tuple(temporal_strides)
        self.stem_stride = stem_stride
        self.stem_pool_stride = stem_pool_stride
        self.dropout = dropout
        self.zero_init_residual = zero_init_residual


def stem(x: Tensor, filters: int, stride: int, pool_stride: int, prefix: str = "") -> Tensor:
    """A spatial 7 x 7 convolution and a spatial 3 x 3 max pool, which stays even at stride 1."""
    x = conv(x, filters, (1, 7, 7), (1, stride, stride), f"{prefix}conv1")
    return FramePool("max", 3, pool_stride, symmetric=True, name=layer_name(f"{prefix}maxpool"))(x)


def residual_stage(
    x: Tensor,
    filters: int,
    blocks: int,
    strides: int | tuple[int, ...],
    inflated: bool,
    name: str,
    zero_init: bool = True,
) -> Tensor:
    """Bottlenecks, the first with the strides."""
    for block in range(blocks):
        x = bottleneck(x, filters, strides if block == 0 else (1, 1, 1), inflated, f"{name}.{block}", zero_init)
    return x


def bottleneck(
    x: Tensor, filters: int, strides: int | tuple[int, ...], inflated: bool, name: str, zero_init: bool
) -> Tensor:
    """1 x 1 (three frames if inflated), then 3 x 3 with all the strides, then 1 x 1; added to the shortcut."""
    shortcut = x
    if strides != (1, 1, 1) or x.shape[-1] != filters * 4:
        shortcut = conv(x, filters * 4, (1, 1, 1), strides, f"{name}.downsample", activation=None)
    x = conv(x, filters, (3 if inflated else 1, 1, 1), 1, f"{name}.conv1")
    x = conv(x, filters, (1, 3, 3), strides, f"{name}.conv2")
    gamma = "zeros" if zero_init else "ones"
    return conv(x, filters * 4, (1, 1, 1), 1, f"{name}.conv3", shortcut=shortcut, gamma_initializer=gamma)


def conv(
    x: Tensor,
    filters: int,
    kernel: tuple[int, ...],
    strides: int | tuple[int, ...],
    name: str,
    shortcut: Tensor | None = None,
    **options: typing.Any,
) -> Tensor:
    """A convolution and batch norm of a published module."""
    options |= {"name": layer_name(name), "torch_names": (f"{name}.conv", f"{name}.bn")}
    layer = ConvNorm(filters, kernel, strides, **options)
    return layer(x) if shortcut is None else layer(x, shortcut)
