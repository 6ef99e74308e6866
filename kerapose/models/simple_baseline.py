"""SimpleBaseline: a ResNet, a few transposed convolutions, and heatmaps."""

import typing
from collections.abc import Sequence

import keras
from keras import layers

from kerapose.layers import (
    ConvTransposeNorm,
    basic_block,
    bottleneck,
    heatmap_head,
    layer_name,
    numbered_conv,
    small_normal,
)
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor

# Blocks per stage, and whether they are bottlenecks.
RESNETS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


@keras.saving.register_keras_serializable("kerapose")
class SimpleBaseline(Network):
    """A ResNet whose last features are brought back to a quarter of the image by transposed convolutions.

    Its forms are "resnet50", "resnet101", "resnet152", "resnet18", "resnet34" and, smaller, "resnet18_small",
    "resnet18_tiny" and "resnet18_nano".

    Args:
        num_joints: number of heatmaps.
        image_shape: (H, W, 3), multiples of 32 (others are rounded up on the way: the heatmaps are then a little larger
            than a quarter). H and W may be None.
        depth: of the ResNet: 18, 34, 50, 101 or 152.
        deconv_filters: channels of each transposed convolution; each doubles height and width.
        deconv_kernels: kernel of each: 4, 3 or 2.
        deconv_bias: whether they have biases too.
        final_kernel: kernel of the last convolution: 1 or 3.
        stride_on_1x1: whether the stride of a bottleneck is on its first convolution, as in the original ResNet and in
            keras.applications, and not on its 3 x 3 one, as in PyTorch.
        base_filters: filters of the ResNet's first stage, doubled in each; 64 in every published one.

    Input: [B, H, W, 3], normalized. Output: heatmaps [B, H/4, W/4, num_joints] with three transposed convolutions,
    float32 under any precision policy.

    Raises:
        ValueError: if there is no ResNet of that depth, or the arguments do not fit together.

    Example:
        >>> from kerapose import models
        >>> network = models.SimpleBaseline(17, depth=18)
        >>> network.input_shape, network.output_shape
        ((None, 256, 192, 3), (None, 64, 48, 17))

    Papers: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018; He et al., "Deep Residual
    Learning for Image Recognition", CVPR 2016.
    """

    # By the arguments that differ from the defaults. "small", "tiny" and "nano" are ours, for two cores.
    VARIANTS = {
        "resnet50": {},
        "resnet101": {"depth": 101},
        "resnet152": {"depth": 152},
        "resnet18": {"depth": 18},
        "resnet34": {"depth": 34},
        "resnet18_small": {"depth": 18, "deconv_filters": (128, 128, 128), "image_shape": (128, 96, 3)},
        "resnet18_tiny": {
            "depth": 18,
            "base_filters": 32,
            "deconv_filters": (64, 64, 64),
            "image_shape": (128, 96, 3),
        },
        "resnet18_nano": {
            "depth": 18,
            "base_filters": 16,
            "deconv_filters": (32, 32, 32),
            "image_shape": (128, 96, 3),
        },
    }

    HEAD = ("deconv_layers", "final_layer")
    NOT_IN_POSE = (r"fc\.",)

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 192, 3),
        depth: int = 50,
        deconv_filters: Sequence[int] = (256, 256, 256),
        deconv_kernels: Sequence[int] = (4, 4, 4),
        deconv_bias: bool = False,
        final_kernel: int = 1,
        stride_on_1x1: bool = False,
        base_filters: int = 64,
        **kwargs: typing.Any,
    ):
        check_arguments(depth, deconv_filters, deconv_kernels, final_kernel, stride_on_1x1)
        inputs = keras.Input(image_shape)
        x = resnet(inputs, depth, base_filters, stride_on_1x1)  # [B, H/32, W/32, C]
        for index, (filters, kernel) in enumerate(zip(deconv_filters, deconv_kernels, strict=True)):
            names = (f"deconv_layers.{3 * index}", f"deconv_layers.{3 * index + 1}")
            options = {"use_bias": deconv_bias, "kernel_initializer": small_normal(), "torch_names": names}
            x = ConvTransposeNorm(filters, kernel, name=layer_name(names[0]), **options)(x)
        super().__init__(inputs, heatmap_head(x, num_joints, final_kernel, "final_layer"), **kwargs)
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.depth = depth
        self.deconv_filters = tuple(deconv_filters)
        self.deconv_kernels = tuple(deconv_kernels)
        self.deconv_bias = deconv_bias
        self.final_kernel = final_kernel
        self.stride_on_1x1 = stride_on_1x1
        self.base_filters = base_filters


def resnet(x: Tensor, depth: int, base_filters: int, stride_on_1x1: bool) -> Tensor:
    """The convolutional part of a ResNet: [B, H, W, 3] -> [B, H/32, W/32, 8 or 32 * base_filters]."""
    stage_blocks, is_deep = RESNETS[depth]
    x = numbered_conv(x, base_filters, 7, 2, "", 1)
    x = layers.ZeroPadding2D(1, name="maxpool_padding")(x)  # what comes out of a ReLU is never below 0
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # [B, H/4, W/4, base_filters]
    for stage, blocks in enumerate(stage_blocks):
        for block in range(blocks):
            name, filters = f"layer{stage + 1}.{block}.", base_filters * 2**stage
            stride = 2 if stage > 0 and block == 0 else 1
            if is_deep:
                x = bottleneck(x, filters, stride, name, stride_on_1x1=stride_on_1x1)
            else:
                x = basic_block(x, filters, stride, name)
    return x


def check_arguments(
    depth: int, deconv_filters: Sequence[int], deconv_kernels: Sequence[int], final_kernel: int, stride_on_1x1: bool
) -> None:
    if depth not in RESNETS:
        known = ", ".join(map(str, RESNETS))
        raise ValueError(f"depth must be one of {known}, got {depth}; use 50, the paper's first.")
    if stride_on_1x1 and not RESNETS[depth][1]:
        raise ValueError(
            f"stride_on_1x1 concerns bottlenecks, which begin at depth 50, got depth={depth}; leave it False."
        )
    if len(deconv_filters) != len(deconv_kernels):
        raise ValueError(
            "deconv_filters and deconv_kernels have one entry per transposed convolution, got lengths "
            f"{len(deconv_filters)} and {len(deconv_kernels)}; give both the same length."
        )
    if final_kernel not in (1, 3):
        raise ValueError(f"final_kernel must be 1 or 3, got {final_kernel}; use 1, as published.")
