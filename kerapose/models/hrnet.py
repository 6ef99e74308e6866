"""HRNet: branches of four resolutions side by side, which exchange what they see again and again."""

import typing
from collections.abc import Sequence

import keras
from keras import layers

from kerapose.layers import (
    ConvNorm,
    Upsample,
    basic_block,
    bottleneck,
    heatmap_head,
    layer_name,
    numbered_conv,
    small_normal,
)
from kerapose.models.network import Network, check_sides
from kerapose.types import Shape, Tensor

# The function of a block, and how many times its filters it gives.
BLOCKS = {"basic": (basic_block, 1), "bottleneck": (bottleneck, 4)}
STRIDE = 32  # of the coarsest branch
STEM_BLOCKS = 4


@keras.saving.register_keras_serializable("kerapose")
class HRNet(Network):
    """The high-resolution network: each stage adds a branch of half the resolution, and no branch ever ends.

    Its forms are "w32", "w48" and, smaller, "w18_small" and "w16_tiny".

    Args:
        num_joints: number of heatmaps.
        image_shape: (H, W, 3), H and W multiples of 32 or None.
        width: filters of the finest branch's blocks; each coarser branch has twice as many as the one before.
        num_modules: how many times the branches exchange their features in stages 2, 3 and 4.
        num_blocks: residual blocks per branch between two exchanges.
        block: "basic" or "bottleneck", whose branches are four times as wide.
        final_kernel: kernel of the last convolution: 1 or 3.

    Input: [B, H, W, 3], normalized. Output: heatmaps [B, H/4, W/4, num_joints], float32 under any precision policy.

    Raises:
        ValueError: if the sides are no multiples of 32, or an argument is none of the above.

    Example:
        >>> from kerapose import models
        >>> network = models.HRNet.from_variant("w16_tiny", num_joints=17)
        >>> network.input_shape, network.output_shape  # heatmaps of a quarter of the image
        ((None, 128, 96, 3), (None, 32, 24, 17))

    Paper: Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019.
    """

    # By the arguments that differ from the defaults. The small ones are ours, for two cores.
    VARIANTS = {
        "w32": {},
        "w48": {"width": 48},
        "w18_small": {"width": 18, "num_modules": (1, 1, 1), "num_blocks": 2},
        "w16_tiny": {"width": 16, "num_modules": (1, 1, 1), "num_blocks": 1, "image_shape": (128, 96, 3)},
    }

    HEAD = ("final_layer",)
    NOT_IN_POSE = (r"(incre_modules|downsamp_modules|final_layer|classifier)\.", r"stage4\.\d+\.fuse_layers\.[123]\.")

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 192, 3),
        width: int = 32,
        num_modules: Sequence[int] = (1, 4, 3),
        num_blocks: int = 4,
        block: str = "basic",
        final_kernel: int = 1,
        **kwargs: typing.Any,
    ):
        check_arguments(image_shape, num_modules, num_blocks, block, final_kernel)
        inputs = keras.Input(image_shape)
        branches = [stem(inputs)]  # [B, H/4, W/4, 256]
        for stage, modules in enumerate(num_modules, start=2):
            widths = [width * 2**halvings for halvings in range(stage)]
            branches = transition(branches, [w * BLOCKS[block][1] for w in widths], f"transition{stage - 1}")
            for module in range(modules):
                name = f"stage{stage}.{module}"
                branches = [
                    branch(x, filters, num_blocks, block, f"{name}.branches.{index}")
                    for index, (x, filters) in enumerate(zip(branches, widths, strict=True))
                ]
                is_last = stage == 4 and module == modules - 1  # only the finest branch is read
                branches = fuse(branches, 1 if is_last else stage, f"{name}.fuse_layers")
        super().__init__(inputs, heatmap_head(branches[0], num_joints, final_kernel, "final_layer"), **kwargs)
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.width = width
        self.num_modules = tuple(num_modules)
        self.num_blocks = num_blocks
        self.block = block
        self.final_kernel = final_kernel


def stem(x: Tensor) -> Tensor:
    """Two 3 x 3 convolutions of stride 2 and `STEM_BLOCKS` bottlenecks: [B, H, W, 3] -> [B, H/4, W/4, 256]."""
    for number in (1, 2):
        x = numbered_conv(x, 64, 3, 2, "", number, small_normal)
    for index in range(STEM_BLOCKS):
        x = bottleneck(x, 64, 1, f"layer1.{index}.", small_normal)
    return x


def transition(branches: list[Tensor], widths: Sequence[int], name: str) -> list[Tensor]:
    """Brings the branches to these widths; a new one is made from the coarsest."""
    outputs = []
    for index, width in enumerate(widths):
        if index == len(branches):
            outputs.append(conv(branches[-1], width, 3, f"{name}.{index}.0", stride=2))
        elif branches[index].shape[-1] != width:
            outputs.append(conv(branches[index], width, 3, f"{name}.{index}"))
        else:
            outputs.append(branches[index])
    return outputs


def branch(x: Tensor, filters: int, num_blocks: int, block: str, name: str) -> Tensor:
    for index in range(num_blocks):
        x = BLOCKS[block][0](x, filters, 1, f"{name}.{index}.", small_normal)
    return x


def fuse(branches: list[Tensor], num_outputs: int, name: str) -> list[Tensor]:
    """Each output is the ReLU of the sum of all branches at the resolution and width of one."""
    return [fuse_into(index, branches, f"{name}.{index}") for index in range(num_outputs)]


def fuse_into(index: int, branches: list[Tensor], name: str) -> Tensor:
    """The sum for one branch: what is coarser through a 1 x 1 convolution, what is finer through strided ones.

    Upsampling twice by two is upsampling by four: so the coarsest is added to the next at that one's resolution, and
    the large maps see one sum instead of several. Convolutions take the sum so far as their shortcut.
    """
    total, width = branches[index], branches[index].shape[-1]
    coarse = None
    for other in range(len(branches) - 1, index, -1):
        shortcut = None if coarse is None else Upsample(2, name=layer_name(f"{name}.{other}.upsample"))(coarse)
        coarse = conv(branches[other], width, 1, f"{name}.{other}", activation=None, shortcut=shortcut)
    if coarse is not None:
        coarse = Upsample(2, name=layer_name(f"{name}.upsample"))(coarse)
        total = layers.Add(name=layer_name(f"{name}.add"))([total, coarse])
    for other in range(index):
        total = fuse_finer(branches[other], total, index - other, f"{name}.{other}", is_last=other == index - 1)
    return total if index > 0 else layers.ReLU(name=layer_name(f"{name}.relu"))(total)


def fuse_finer(x: Tensor, total: Tensor, halvings: int, name: str, is_last: bool) -> Tensor:
    """Adds a finer branch to the sum, through one convolution of stride 2 for each halving."""
    for halving in range(halvings - 1):
        x = conv(x, x.shape[-1], 3, f"{name}.{halving}", stride=2)
    activation = "relu" if is_last else None
    name = f"{name}.{halvings - 1}"
    return conv(x, total.shape[-1], 3, name, stride=2, activation=activation, shortcut=total)


def conv(
    x: Tensor,
    filters: int,
    kernel: int,
    name: str,
    stride: int = 1,
    activation: str | None = "relu",
    shortcut: Tensor | None = None,
) -> Tensor:
    """A convolution and batch norm that are the elements 0 and 1 of a PyTorch sequence."""
    options = {"activation": activation, "kernel_initializer": small_normal()}
    options |= {"name": layer_name(name), "torch_names": (f"{name}.0", f"{name}.1")}
    layer = ConvNorm(filters, (kernel, kernel), stride, **options)
    return layer(x) if shortcut is None else layer(x, shortcut)


def check_arguments(
    image_shape: Shape, num_modules: Sequence[int], num_blocks: int, block: str, final_kernel: int
) -> None:
    check_sides(image_shape, STRIDE)
    if len(num_modules) != 3 or min(num_modules) < 1:
        raise ValueError(
            f"num_modules has a number of at least 1 for stages 2, 3 and 4, got {tuple(num_modules)}; use (1, 4, 3)."
        )
    if num_blocks < 1:
        raise ValueError(f"num_blocks must be at least 1, got {num_blocks}; use 4, as published.")
    if block not in BLOCKS:
        raise ValueError(f'block is "basic" or "bottleneck", got {block!r}; use "basic", as published.')
    if final_kernel not in (1, 3):
        raise ValueError(f"final_kernel must be 1 or 3, got {final_kernel}; use 1, as published.")
