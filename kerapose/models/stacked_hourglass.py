"""The stacked hourglass: down to a coarse view and up again, several times, with heatmaps after each."""

import typing

import keras
from keras import layers, ops

from kerapose.layers import BatchNorm, ConvNorm, Upsample, heatmap_head, layer_name
from kerapose.models.network import Network, check_sides
from kerapose.types import Shape, Tensor

DEPTH = 4  # halvings within an hourglass
STRIDE = 4 * 2**DEPTH  # of its coarsest features


@keras.saving.register_keras_serializable("kerapose")
class StackedHourglass(Network):
    """Hourglasses one after the other, each of which corrects the heatmaps of the one before.

    Its forms are "hourglass8", "hourglass4", "hourglass2", "hourglass1" and, smaller, "hourglass2_small" and
    "hourglass1_small".

    Args:
        num_joints: number of heatmaps.
        image_shape: (H, W, 3), H and W multiples of 64 or None.
        num_stacks: number of hourglasses.
        filters: channels of their features.
        increase: how many channels more the coarser features of an hourglass have.

    Input: [B, H, W, 3], RGB, 0 to 1. Output: heatmaps [B, num_stacks, H/4, W/4, num_joints], float32 under any
    precision policy; all are trained, the last one counts.

    Raises:
        ValueError: if the sides are no multiples of 64, or an argument is out of its range.

    Example:
        >>> from kerapose import models
        >>> network = models.StackedHourglass.from_variant("hourglass2_small", num_joints=16)
        >>> network.output_shape  # of each of the two hourglasses
        (None, 2, 32, 32, 16)

    Paper: Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016.
    """

    # By the arguments that differ from the defaults. "small" is ours, for two cores.
    VARIANTS = {
        "hourglass8": {},
        "hourglass4": {"num_stacks": 4},
        "hourglass2": {"num_stacks": 2},
        "hourglass1": {"num_stacks": 1},
        "hourglass2_small": {"num_stacks": 2, "filters": 64, "image_shape": (128, 128, 3)},
        "hourglass1_small": {"num_stacks": 1, "filters": 32, "image_shape": (128, 128, 3)},
    }

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 256, 3),
        num_stacks: int = 8,
        filters: int = 256,
        increase: int = 0,
        **kwargs: typing.Any,
    ):
        check_arguments(image_shape, num_stacks, filters, increase)
        inputs = keras.Input(image_shape)
        x = stem(inputs, filters)  # [B, H/4, W/4, filters]
        heatmaps = []
        for stack in range(num_stacks):
            y = hourglass(x, filters, increase, DEPTH, f"hgs.{stack}.0")
            y = residual(y, filters, f"features.{stack}.0")
            y = conv_norm(y, filters, 1, f"features.{stack}.1")
            heatmaps.append(heatmap_head(y, num_joints, 1, f"outs.{stack}.conv"))  # [B, H/4, W/4, K]
            if stack < num_stacks - 1:
                x = conv(y, filters, f"merge_features.{stack}.conv", shortcut=x)
                x = conv(heatmaps[-1], filters, f"merge_preds.{stack}.conv", shortcut=x)
        super().__init__(inputs, ops.stack(heatmaps, axis=1), **kwargs)  # [B, S, H/4, W/4, K]
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.num_stacks = num_stacks
        self.filters = filters
        self.increase = increase

    def unused_torch_weights(self) -> dict[str, Shape]:
        """Convolutions beside residual blocks that keep the width: published files have them and do not use them."""
        names = {layer.name: layer for layer in self.layers}
        unused = {}
        for name, layer in names.items():
            prefix = name.removesuffix("conv3")
            if prefix != name and f"{prefix}skip_layer" not in names:
                skipped = layer.torch_names[0].replace("conv3", "skip_layer")
                unused[f"{skipped}.weight"] = (layer.filters, layer.filters, 1, 1)
                unused[f"{skipped}.bias"] = (layer.filters,)
        return unused


def stem(x: Tensor, filters: int) -> Tensor:
    """[B, H, W, 3] -> [B, H/4, W/4, filters]."""
    x = conv_norm(x, 64, 7, "pre.0", stride=2)
    x = residual(x, 128, "pre.1")
    x = layers.MaxPooling2D(2, name="pre_2")(x)
    x = residual(x, 128, "pre.3")
    return residual(x, filters, "pre.4")


def hourglass(x: Tensor, filters: int, increase: int, depth: int, name: str) -> Tensor:
    """What is seen at this resolution, plus what is seen at half of it: [B, H, W, filters], the same out."""
    fine = residual(x, filters, f"{name}.up1")
    x = layers.MaxPooling2D(2, name=layer_name(f"{name}.pool1"))(x)
    x = residual(x, filters + increase, f"{name}.low1")
    if depth > 1:
        x = hourglass(x, filters + increase, 0, depth - 1, f"{name}.low2")
    else:
        x = residual(x, filters + increase, f"{name}.low2")
    x = residual(x, filters, f"{name}.low3")
    return layers.Add(name=layer_name(f"{name}.add"))([fine, Upsample(2, name=layer_name(f"{name}.up2"))(x)])


def residual(x: Tensor, filters: int, name: str) -> Tensor:
    """A bottleneck whose norms come before its convolutions: what is carried on is never normalized.

    The second and third norm still follow a convolution, so each is one layer with the convolution before it.
    """
    shortcut = x if x.shape[-1] == filters else conv(x, filters, f"{name}.skip_layer")
    x = BatchNorm(activation="relu", name=layer_name(f"{name}.bn1"), torch_names=(f"{name}.bn1",))(x)
    x = conv_norm(x, filters // 2, 1, f"{name}.conv1", norm_name=f"{name}.bn2")
    x = conv_norm(x, filters // 2, 3, f"{name}.conv2", norm_name=f"{name}.bn3")
    return conv(x, filters, f"{name}.conv3", shortcut=shortcut)


def conv_norm(x: Tensor, filters: int, kernel: int, name: str, stride: int = 1, norm_name: str | None = None) -> Tensor:
    """A convolution with a bias, a batch norm and a ReLU."""
    names = (f"{name}.conv", norm_name or f"{name}.bn")
    options = {"use_bias": True, "kernel_initializer": torch_uniform(), "torch_names": names}
    return ConvNorm(filters, (kernel, kernel), stride, name=layer_name(name), **options)(x)


def conv(x: Tensor, filters: int, name: str, shortcut: Tensor | None = None) -> Tensor:
    """A 1 x 1 convolution with a bias and nothing after it but the shortcut."""
    options = {"activation": None, "norm": False, "use_bias": True, "kernel_initializer": torch_uniform()}
    layer = ConvNorm(filters, (1, 1), name=layer_name(name), torch_names=(f"{name}.conv", None), **options)
    return layer(x) if shortcut is None else layer(x, shortcut)


def torch_uniform() -> keras.initializers.Initializer:
    """What PyTorch draws kernels from, and so the published networks; a third of the variance that keeps the scale."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def check_arguments(image_shape: Shape, num_stacks: int, filters: int, increase: int) -> None:
    check_sides(image_shape, STRIDE)
    if num_stacks < 1:
        raise ValueError(f"num_stacks must be at least 1, got {num_stacks}; use 8, 4, 2 or 1.")
    if filters < 2:
        raise ValueError(f"filters must be at least 2, got {filters}; use 256, as published.")
    if increase < 0:
        raise ValueError(f"increase must not be below 0, got {increase}; use 0, as published.")
