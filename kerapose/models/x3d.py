"""X3D for heatmap volumes: inverted bottlenecks with depthwise 3D convolutions."""

import math
import typing
from collections.abc import Sequence

import keras
from keras import layers

from kerapose.layers import ConvNorm, Dense, Dropout, layer_name
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class X3D(Network):
    """X3D, with or without squeeze-excitation and swish (PoseConv3D's has neither).

    Its forms are "x3d" and "x3d_shallow" (also "x3d_s").

    Args:
        num_classes: number of actions.
        input_shape: (T, H, W, C) of a volume; C is the number of joints or limbs, or 3 for RGB.
        base_filters: channels of the stem and of the first stage; doubled at every stage.
        stage_blocks: blocks per stage, before `gamma_d`.
        gamma_d: multiplies `stage_blocks`, rounded up.
        gamma_w: multiplies `base_filters`, rounded to a multiple of 8.
        gamma_b: width of a block's inside over its outside.
        spatial_strides: per stage; the stem strides by 2 before them.
        se_ratio: width of the squeeze-excitation over the block's inside. None: no squeeze-excitation.
        se_style: "half" for every second block of a stage, beginning with the first; "all" for all.
        swish: whether swish follows the depthwise convolution. Without it, nothing does.
        dropout: rate before the classifier.

    Input: [B, T, H, W, C]. Output: logits [B, num_classes], float32 under any precision policy.

    Raises:
        ValueError: if `se_style` is neither "half" nor "all", or the per-stage arguments differ in length.

    Example:
        >>> from kerapose import models
        >>> network = models.X3D.from_variant("x3d_shallow", num_classes=60)
        >>> network.input_shape, network.output_shape
        ((None, 48, 56, 56, 17), (None, 60))
        >>> f"{network.count_params():,}"
        '261,660'

    Papers: Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020; Duan et al.,
    "Revisiting Skeleton-based Action Recognition", CVPR 2022.
    """

    # By the arguments that differ from the defaults. The paper calls the shallow form "s".
    VARIANTS = {
        "x3d": {},
        "x3d_s": {"gamma_d": 1.0},
        "x3d_shallow": {"gamma_d": 1.0},
    }

    HEAD = ("fc_cls",)
    NOT_IN_POSE = (r"fc_cls\.",)

    def __init__(
        self,
        num_classes: int,
        input_shape: Shape = (48, 56, 56, 17),
        base_filters: int = 24,
        stage_blocks: Sequence[int] = (2, 5, 3),
        gamma_d: float = 2.2,
        gamma_w: float = 1.0,
        gamma_b: float = 2.25,
        spatial_strides: Sequence[int] = (2, 2, 2),
        se_ratio: float | None = None,
        se_style: str = "half",
        swish: bool = False,
        dropout: float = 0.5,
        **kwargs: typing.Any,
    ):
        if se_style not in ("half", "all"):
            raise ValueError(f'se_style is "half" or "all", got {se_style!r}; use "half", as published.')
        if len(stage_blocks) != len(spatial_strides):
            raise ValueError(
                "stage_blocks and spatial_strides have one entry per stage, got lengths "
                f"{len(stage_blocks)} and {len(spatial_strides)}; give both the same length."
            )
        width = round_width(base_filters, gamma_w)
        inputs = keras.Input(input_shape)
        x = ConvNorm(width, (1, 3, 3), (1, 2, 2), activation=None, norm=False, name="conv1_s")(inputs)
        x = ConvNorm(width, (5, 1, 1), depthwise=True, name="conv1_t")(x)
        for stage, (blocks, stride) in enumerate(zip(stage_blocks, spatial_strides, strict=True)):
            outside = width * 2**stage
            for index in range(math.ceil(blocks * gamma_d)):
                squeezed = se_ratio if se_style == "all" or index % 2 == 0 else None
                x = block(
                    x,
                    outside=outside,
                    inside=int(outside * gamma_b),
                    stride=stride if index == 0 else 1,
                    se_ratio=squeezed,
                    swish=swish,
                    name=f"layer{stage + 1}.{index}",
                )
        x = ConvNorm(int(outside * gamma_b), (1, 1, 1), name="conv5")(x)
        x = layers.GlobalAveragePooling3D(name="pooled")(x)
        x = Dropout(dropout, name="dropout")(x)
        logits = Dense(num_classes, dtype="float32", name="fc_cls")(x)
        super().__init__(inputs, logits, **kwargs)
        self.num_classes = num_classes
        self.base_filters = base_filters
        self.stage_blocks = tuple(stage_blocks)
        self.gamma_d = gamma_d
        self.gamma_w = gamma_w
        self.gamma_b = gamma_b
        self.spatial_strides = tuple(spatial_strides)
        self.se_ratio = se_ratio
        self.se_style = se_style
        self.swish = swish
        self.dropout = dropout


def block(x: Tensor, outside: int, inside: int, stride: int, se_ratio: float | None, swish: bool, name: str) -> Tensor:
    """Widen, convolve each channel by itself, squeeze-excite, narrow; added to the shortcut."""
    shortcut = x
    if stride != 1 or x.shape[-1] != outside:
        shortcut = conv(x, outside, 1, stride, f"{name}.downsample", activation=None)
    x = conv(x, inside, 1, 1, f"{name}.conv1")
    x = conv(x, inside, 3, stride, f"{name}.conv2", activation=None, depthwise=True)
    if se_ratio is not None:
        x = squeeze_excite(x, round_width(inside, se_ratio), f"{name}.se_module")
    if swish:
        x = layers.Activation("silu", name=layer_name(f"{name}.swish"))(x)
    return conv(x, outside, 1, 1, f"{name}.conv3", shortcut=shortcut, gamma_initializer="zeros")


def conv(
    x: Tensor, filters: int, kernel: int, stride: int, name: str, shortcut: Tensor | None = None, **options: typing.Any
) -> Tensor:
    """A convolution and batch norm of a published module, with a stride in space."""
    options |= {"name": layer_name(name), "torch_names": (f"{name}.conv", f"{name}.bn")}
    layer = ConvNorm(filters, (kernel,) * 3, (1, stride, stride), **options)
    return layer(x) if shortcut is None else layer(x, shortcut)


def squeeze_excite(x: Tensor, width: int, name: str) -> Tensor:
    """Scales each channel by a gate that two dense layers compute from all channels' means."""
    gate = layers.GlobalAveragePooling3D(keepdims=True, name=layer_name(f"{name}.mean"))(x)  # [B, 1, 1, 1, C]
    for part, units, activation in (("fc1", width, "relu"), ("fc2", x.shape[-1], "sigmoid")):
        module = f"{name}.{part}"
        gate = Dense(units, activation=activation, name=layer_name(module), torch_names=(module,))(gate)
    return layers.Multiply(name=layer_name(f"{name}.scale"))([x, gate])


def round_width(width: float, multiplier: float, divisor: int = 8) -> int:
    """`width * multiplier` rounded to a multiple of `divisor`, at least `divisor`, and never below nine tenths."""
    exact = width * multiplier
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded
