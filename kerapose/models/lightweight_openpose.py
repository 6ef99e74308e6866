"""Lightweight OpenPose: heatmaps and part affinity fields of all people at once, stage by stage."""

import typing

import keras
from keras import layers

from kerapose.layers import ConvNorm, heatmap_head, layer_name
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor

# MobileNet v1 up to its last block at stride 16, here at stride 8: (filters, stride, dilation) of each block. Where the
# classifier halves the picture a fourth time, the next depthwise convolution skips every second pixel instead, so that
# it sees what it saw in ImageNet.
STEM_FILTERS = 32
TRUNK = (
    *((64, 1, 1), (128, 2, 1), (128, 1, 1), (256, 2, 1), (256, 1, 1)),
    *((512, 1, 1), (512, 1, 2), (512, 1, 1), (512, 1, 1), (512, 1, 1), (512, 1, 1)),
)
REFINEMENT_BLOCKS = 5

# Kernels begin with He's variance, the layer's default, also where no norm follows. The reference leaves them as
# PyTorch draws them, at a sixth of that: what passes ten such layers is nearly gone, and the heads begin blind.


@keras.saving.register_keras_serializable("kerapose")
class LightweightOpenPose(Network):
    """A dilated MobileNet, a first stage of heatmaps and fields, and refinement stages that see the stage before.

    Its forms are "openpose", "openpose3" (three refinements), "openpose_omz", "openpose_tiny" and "openpose_nano".

    Args:
        num_heatmaps: one for each keypoint and one for the background, the last.
        num_pafs: channels of the part affinity fields, x and y of each limb.
        image_shape: (H, W, 3), of any size; H and W may be None.
        num_refinements: number of refinement stages, from 0.
        filters: channels of what the stages share and of the refinement stages.
        trunk_width: factor on the channels of the MobileNet, which are rounded to multiples of 8.
        head_filters: channels of the hidden layer before the first heatmaps and fields.
        elu_alignment: whether the trunk's features are aligned as in Open Model Zoo's network, by ELUs all through and
            one more 1 x 1 convolution.
        relu6: whether the MobileNet's ReLUs end at 6, as in TensorFlow's and keras.applications' MobileNet v1.

    Input: [B, H, W, 3], normalized; published checkpoints want BGR and ``(pixel - 128) / 256``. Output: a list
    [heatmaps_0, pafs_0, heatmaps_1, pafs_1, ...], stage by stage: heatmaps [B, ceil(H/8), ceil(W/8), num_heatmaps] and
    fields [B, ceil(H/8), ceil(W/8), num_pafs], float32 under any precision policy. The last two are the answer.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> from kerapose import models
        >>> network = models.LightweightOpenPose.from_variant("openpose_tiny", image_shape=(256, 456, 3))
        >>> heatmaps, pafs = network.output_shape[-2:]
        >>> heatmaps, pafs
        ((None, 32, 57, 19), (None, 32, 57, 38))

    Papers: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", 2018; Cao et al.,
    "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017; Howard et al., "MobileNets", 2017.
    """

    # By the arguments that differ from the defaults. "tiny" and "nano" are ours, for two cores.
    VARIANTS = {
        "openpose": {},
        "openpose3": {"num_refinements": 3},
        "openpose_omz": {"elu_alignment": True},
        "openpose_tiny": {"trunk_width": 0.5, "filters": 64, "head_filters": 128},
        "openpose_nano": {"trunk_width": 0.25, "filters": 32, "head_filters": 64},
    }

    HEAD = ("cpm", "initial_stage", "refinement_stages")
    NOT_IN_POSE = (r"1[23]\.", r"fc\.")  # the MobileNet's blocks at stride 32 and its classifier

    stride = 8  # image pixels from one cell of the maps to the next

    def __init__(
        self,
        num_heatmaps: int = 19,
        num_pafs: int = 38,
        image_shape: Shape = (None, None, 3),
        num_refinements: int = 1,
        filters: int = 128,
        trunk_width: float = 1.0,
        head_filters: int = 512,
        elu_alignment: bool = False,
        relu6: bool = False,
        **kwargs: typing.Any,
    ):
        check_arguments(num_heatmaps, num_pafs, num_refinements, filters, trunk_width, head_filters)
        inputs = keras.Input(image_shape)
        features = mobilenet(inputs, trunk_width, "relu6" if relu6 else "relu")
        features = align(features, filters, elu_alignment)  # [B, H/8, W/8, filters]
        fields = initial_stage(features, num_heatmaps, num_pafs, filters, head_filters)
        for index in range(num_refinements):
            name = f"refinement_stages.{index}"
            x = layers.Concatenate(name=layer_name(f"{name}.concatenate"))([features, *fields[-2:]])
            fields += refinement_stage(x, num_heatmaps, num_pafs, filters, name)
        super().__init__(inputs, fields, **kwargs)
        self.num_heatmaps = num_heatmaps
        self.num_pafs = num_pafs
        self.image_shape = tuple(image_shape)
        self.num_refinements = num_refinements
        self.filters = filters
        self.trunk_width = trunk_width
        self.head_filters = head_filters
        self.elu_alignment = elu_alignment
        self.relu6 = relu6

    @property
    def num_stages(self) -> int:
        """How many pairs of heatmaps and fields there are."""
        return 1 + self.num_refinements


def mobilenet(x: Tensor, width: float, activation: str) -> Tensor:
    """The convolutional part of a MobileNet without its last two blocks: [B, H, W, 3] -> [B, H/8, W/8, 512 * width]."""
    stem = {"norm": True, "strides": 2, "use_bias": False, "activation": activation}
    x = conv(x, scaled(STEM_FILTERS, width), 3, "model.0", **stem)  # [B, H/2, W/2, C]
    for index, (filters, stride, dilation) in enumerate(TRUNK, start=1):
        name = f"model.{index}"
        options = {"depthwise": True, "dilation": dilation, "torch_names": (f"{name}.0", f"{name}.1")}
        x = ConvNorm(x.shape[-1], (3, 3), stride, activation, name=layer_name(f"{name}.depthwise"), **options)(x)
        options = {"activation": activation, "torch_names": (f"{name}.3", f"{name}.4")}
        x = ConvNorm(scaled(filters, width), (1, 1), name=layer_name(f"{name}.pointwise"), **options)(x)
    return x


def scaled(filters: int, width: float) -> int:
    return max(8, 8 * int(filters * width / 8 + 0.5))


def align(x: Tensor, filters: int, elu: bool) -> Tensor:
    """The trunk's features in fewer channels, and with a wider view: [B, h, w, C] -> [B, h, w, filters]."""
    activation = "elu" if elu else "relu"
    shortcut = x = conv(x, filters, 1, "cpm.align", activation=activation)
    if elu:
        x = conv(x, filters, 1, "cpm.reduce", activation=activation)
    options = {"activation": "elu", "norm": False, "use_bias": elu}
    for index in range(3):
        name = f"cpm.trunk.{index}"
        depthwise = options | {"depthwise": True, "torch_names": (f"{name}.0", None)}
        pointwise = options | {"torch_names": (f"{name}.2", None)}
        x = ConvNorm(filters, (3, 3), name=layer_name(f"{name}.depthwise"), **depthwise)(x)
        x = ConvNorm(filters, (1, 1), name=layer_name(f"{name}.pointwise"), **pointwise)(x)
    return conv(layers.Add(name="cpm_add")([shortcut, x]), filters, 3, "cpm.conv")


def initial_stage(x: Tensor, num_heatmaps: int, num_pafs: int, filters: int, head_filters: int) -> list[Tensor]:
    """Features [B, h, w, filters] -> heatmaps [B, h, w, num_heatmaps], fields [B, h, w, num_pafs]."""
    for index in range(3):
        x = conv(x, filters, 3, f"initial_stage.trunk.{index}")
    return heads(x, num_heatmaps, num_pafs, head_filters, "initial_stage")


def refinement_stage(x: Tensor, num_heatmaps: int, num_pafs: int, filters: int, name: str) -> list[Tensor]:
    """Features and fields [B, h, w, C] -> heatmaps [B, h, w, num_heatmaps], fields [B, h, w, num_pafs]."""
    for index in range(REFINEMENT_BLOCKS):
        block = f"{name}.trunk.{index}"
        shortcut = conv(x, filters, 1, f"{block}.initial")
        x = conv(shortcut, filters, 3, f"{block}.trunk.0", norm=True)
        x = conv(x, filters, 3, f"{block}.trunk.1", norm=True, dilation=2)
        x = layers.Add(name=layer_name(f"{block}.add"))([shortcut, x])
    return heads(x, num_heatmaps, num_pafs, filters, name)


def heads(x: Tensor, num_heatmaps: int, num_pafs: int, hidden: int, name: str) -> list[Tensor]:
    """The two ends of a stage, each with a hidden layer of its own."""
    outputs = (("heatmaps", num_heatmaps), ("pafs", num_pafs))
    return [
        heatmap_head(conv(x, hidden, 1, f"{name}.{field}.0"), channels, 1, f"{name}.{field}.1.0")
        for field, channels in outputs
    ]


def conv(
    x: Tensor, filters: int, kernel: int, name: str, norm: bool = False, use_bias: bool = True, **options: typing.Any
) -> Tensor:
    """A convolution with a bias, batch norm where the reference has one, and ReLU."""
    options |= {"norm": norm, "use_bias": use_bias, "torch_names": (f"{name}.0", f"{name}.1")}
    return ConvNorm(filters, (kernel, kernel), name=layer_name(name), **options)(x)


def check_arguments(
    num_heatmaps: int, num_pafs: int, num_refinements: int, filters: int, trunk_width: float, head_filters: int
) -> None:
    least = {"num_heatmaps": (num_heatmaps, 1, 19), "num_pafs": (num_pafs, 1, 38)}
    least |= {"filters": (filters, 1, 128), "head_filters": (head_filters, 1, 512)}
    least |= {"num_refinements": (num_refinements, 0, 1)}
    for name, (value, smallest, published) in least.items():
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}, got {value}; use {published}, as published.")
    if not trunk_width > 0:
        raise ValueError(f"trunk_width must be above 0, got {trunk_width}; use 1.0, as published.")
