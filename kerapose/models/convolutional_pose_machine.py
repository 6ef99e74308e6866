"""The convolutional pose machine: heatmaps, then several times heatmaps of heatmaps, each seen from further off."""

import typing

import keras
from keras import layers, ops

from kerapose.layers import ConvNorm, heatmap_head, layer_name, small_normal
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class ConvolutionalPoseMachine(Network):
    """Stages of large kernels, each of which reads the heatmaps of the one before and features of the image.

    As MMPose has it: with batch norms, and without the paper's map of the person's centre, which the crop takes the
    place of. Its forms are "cpm", "cpm3" and, smaller, "cpm3_small" and "cpm2_tiny".

    Args:
        num_joints: number of heatmaps.
        image_shape: (H, W, 3), any H and W, or None; what is no multiple of 8 is rounded up on the way.
        num_stages: how many times heatmaps are made.
        filters: channels of the 11 x 11 convolutions of the stages after the first.
        stem_filters: channels of the 9 x 9 convolutions that read the image; the first stage ends with a quarter and
            with four times as many, and the later ones read a quarter as many. 128 in every published network.

    Input: [B, H, W, 3], normalized. Output: heatmaps [B, num_stages, H/8, W/8, num_joints], float32 under any
    precision policy; all are trained, the last one counts.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> from kerapose import models
        >>> network = models.ConvolutionalPoseMachine.from_variant("cpm2_tiny", num_joints=17)
        >>> network.output_shape  # of each of the two stages
        (None, 2, 16, 12, 17)

    Paper: Wei et al., "Convolutional Pose Machines", CVPR 2016.
    """

    # By the arguments that differ from the defaults. "small" and "tiny" are ours, for two cores.
    VARIANTS = {
        "cpm": {},
        "cpm3": {"num_stages": 3},
        "cpm3_small": {"num_stages": 3, "filters": 48, "stem_filters": 48, "image_shape": (128, 96, 3)},
        "cpm2_tiny": {"num_stages": 2, "filters": 16, "stem_filters": 16, "image_shape": (128, 96, 3)},
    }

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 192, 3),
        num_stages: int = 6,
        filters: int = 128,
        stem_filters: int = 128,
        **kwargs: typing.Any,
    ):
        check_arguments(num_stages, filters, stem_filters)
        inputs = keras.Input(image_shape)
        x = trunk(inputs, stem_filters, "stem")  # [B, H/8, W/8, stem_filters]
        x = conv_norm(x, stem_filters // 4, 5, "stem.6")
        x = conv_norm(x, stem_filters * 4, 9, "stem.7")
        x = conv_norm(x, stem_filters * 4, 1, "stem.8")
        heatmaps = [heatmap_head(x, num_joints, 1, "stem.9.conv")]  # [B, H/8, W/8, K]
        features = trunk(inputs, stem_filters, "middle") if num_stages > 1 else None  # a second one, with own weights
        for stage in range(num_stages - 1):
            x = conv_norm(features, stem_filters // 4, 5, f"middle_conv.{stage}.0")
            x = layers.Concatenate(name=f"stage_{stage}_input")([heatmaps[-1], x])
            for index in range(3):
                x = conv_norm(x, filters, 11, f"cpm_stages.{stage}.model.{index}")
            x = conv_norm(x, filters, 1, f"out_convs.{stage}.0")
            heatmaps.append(heatmap_head(x, num_joints, 1, f"out_convs.{stage}.1.conv"))
        super().__init__(inputs, ops.stack(heatmaps, axis=1), **kwargs)  # [B, S, H/8, W/8, K]
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.num_stages = num_stages
        self.filters = filters
        self.stem_filters = stem_filters

    def unused_torch_weights(self) -> dict[str, Shape]:
        """The second trunk of a network of one stage: published files have it and do not use it."""
        if self.num_stages > 1:
            return {}
        filters, unused = self.stem_filters, {}
        for index, channels in ((0, 3), (2, filters), (4, filters)):
            unused[f"middle.{index}.conv.weight"] = (filters, channels, 9, 9)
            for name in ("weight", "bias", "running_mean", "running_var"):
                unused[f"middle.{index}.bn.{name}"] = (filters,)
        return unused


def trunk(x: Tensor, filters: int, name: str) -> Tensor:
    """Three 9 x 9 convolutions, each of which a pool halves: [B, H, W, 3] -> [B, H/8, W/8, filters]."""
    for index in (0, 2, 4):
        x = conv_norm(x, filters, 9, f"{name}.{index}")
        x = layers.ZeroPadding2D(1, name=f"{name}_{index + 1}_padding")(x)  # what comes out of a ReLU is not below 0
        x = layers.MaxPooling2D(3, 2, name=f"{name}_{index + 1}")(x)
    return x


def conv_norm(x: Tensor, filters: int, kernel: int, name: str) -> Tensor:
    """A convolution, a batch norm and a ReLU."""
    names = (f"{name}.conv", f"{name}.bn")
    options = {"kernel_initializer": small_normal(), "torch_names": names}
    return ConvNorm(filters, (kernel, kernel), name=layer_name(name), **options)(x)


def check_arguments(num_stages: int, filters: int, stem_filters: int) -> None:
    if num_stages < 1:
        raise ValueError(f"num_stages must be at least 1, got {num_stages}; use 6, as published.")
    if filters < 1:
        raise ValueError(f"filters must be at least 1, got {filters}; use 128, as published.")
    if stem_filters < 4 or stem_filters % 4:
        raise ValueError(f"stem_filters must be a multiple of 4, got {stem_filters}; use 128, as published.")
