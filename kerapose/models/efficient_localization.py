"""Efficient localization: coarse heatmaps, then one closer look at each joint where they are highest."""

import typing

import keras
from keras import layers, ops

from kerapose.layers import ConvNorm, Dropout, Upsample, he_normal, heatmap_head, layer_name, small_normal
from kerapose.models.network import Network, check_sides
from kerapose.ops import windows
from kerapose.types import Config, Shape, Tensor

FINE_STRIDE = 2  # of the finest features, and of the heatmaps of the closer look
CUT_LAYERS = 2  # of each bank, whose features the closer look is given
FINE_CONVOLUTIONS = 2  # of the closer look, after those that bring all features to one resolution

# The arguments of the small forms, which are ours, for two cores.
SMALL = {"filters": 32, "crop_size": 20, "norm": True, "image_shape": (128, 96, 3)}


@keras.saving.register_keras_serializable("kerapose")
class EfficientLocalization(Network):
    """Coarse heatmaps from several resolutions of the image, and fine ones in a window round each joint that they find.

    The coarse network has a bank of convolutions for each resolution, and drops whole maps (spatial dropout) before its
    1 x 1 convolutions. Where the heatmap of a joint is highest, a window is cut out of the features of the first two
    layers of each bank, in all of them of the same part of the image. The refining network sees each window with the
    same weights, whatever the joint; only its last layer, 1 x 1, has weights for each joint. Its gradients reach the
    features through the windows, and none goes through their places.

    No code of the paper is published, and it leaves things open. What was chosen here: the heatmaps of the refinement
    are put back where their windows lie, with 0 elsewhere, and the coarse ones are enlarged to their size, so that both
    are trained on the same targets and read in the same way; banks are added after their last convolution; the
    image is halved by averages, and is normalized as for any network, in place of the local contrast; of a window the
    features of coarser layers begin at the whole pixel before; widths, the number of the refinement's convolutions (two
    after the sum of all layers), and places in training, which are those of the coarse heatmaps, as in testing. The
    coarse network can be trained alone at first: `refinement` is False then, and the layers have the same names.

    Its forms are "tompson", "tompson_coarse", which has no refinement, and, smaller, "tompson_small",
    "tompson_small_coarse" and "tompson_tiny", which have batch norms.

    Args:
        num_joints: number of heatmaps, K.
        image_shape: (H, W, 3), H and W multiples of `pooling` times 2 for each bank after the first, or None.
        filters: channels of the convolutions; the 9 x 9 and the 1 x 1 ones of the coarse network have four times as
            many.
        pooling: stride of the coarse heatmaps: 4, 8 or 16.
        num_resolutions: how many banks there are, each for an image of half the size of the one before.
        crop_size: side of a window, pixels of the fine heatmaps, a multiple of 2 for each bank.
        dropout: share of the maps that are dropped.
        refinement: whether there is any.
        norm: whether batch norms follow the convolutions; the paper has none.

    Input: [B, H, W, 3], normalized. Output: heatmaps [B, 2, H/2, W/2, K], coarse and fine; all are trained, the last
    one counts. Without refinement [B, H/pooling, W/pooling, K]. Float32 under any precision policy. The paper adds the
    error of the fine ones by a tenth: ``losses.JointsMSE(1.0, stack_weights=(1.0, 0.1))``.

    Raises:
        ValueError: if the sides do not fit, or an argument is out of its range.

    Example:
        >>> from kerapose import models
        >>> network = models.EfficientLocalization.from_variant("tompson_tiny", num_joints=17)
        >>> network.output_shape  # coarse, and refined
        (None, 2, 64, 48, 17)
        >>> models.EfficientLocalization.from_variant("tompson_tiny", num_joints=17, refinement=False).output_shape
        (None, 16, 12, 17)

    Paper: Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
    """

    # By the arguments that differ from the defaults.
    VARIANTS = {
        "tompson": {},
        "tompson_coarse": {"refinement": False},
        "tompson_small": SMALL,
        "tompson_small_coarse": SMALL | {"refinement": False},
        "tompson_tiny": SMALL | {"filters": 16},
    }

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 256, 3),
        filters: int = 128,
        pooling: int = 8,
        num_resolutions: int = 2,
        crop_size: int = 36,
        dropout: float = 0.5,
        refinement: bool = True,
        norm: bool = False,
        **kwargs: typing.Any,
    ):
        check_arguments(image_shape, pooling, num_resolutions, crop_size)
        inputs = keras.Input(image_shape)
        features = banks(inputs, filters, pooling, num_resolutions, norm)
        x = coarse_sum(features, filters, norm)  # [B, H/pooling, W/pooling, 4 * filters]
        x = Dropout(dropout, noise_shape=(None, 1, 1, None), name="dropout")(x)
        x = conv(x, 4 * filters, 1, "coarse.0", norm)
        outputs = heatmap_head(x, num_joints, 1, "coarse.1")  # [B, H/pooling, W/pooling, K]
        if refinement:
            ratio = pooling // FINE_STRIDE
            corners = WindowCorners(ratio, crop_size, name="corners")(outputs)  # [B, K, 2]
            fine = refine(features, corners, num_joints, filters, crop_size, norm)  # [B, K, crop_size, crop_size]
            coarse = Upsample(ratio, name="coarse_up", dtype="float32")(outputs)  # [B, H/2, W/2, K]
            fine = PasteWindows(name="pasted", dtype="float32")(fine, corners, coarse)
            outputs = ops.stack([coarse, fine], axis=1)  # [B, 2, H/2, W/2, K]
        super().__init__(inputs, outputs, **kwargs)
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.filters = filters
        self.pooling = pooling
        self.num_resolutions = num_resolutions
        self.crop_size = crop_size
        self.dropout = dropout
        self.refinement = refinement
        self.norm = norm


def banks(image: Tensor, filters: int, pooling: int, num_resolutions: int, norm: bool) -> list[list[Tensor]]:
    """The features of each layer of each bank, after its pool: [B, H/s, W/s, filters], s = 2, 4, .. pooling."""
    features = []
    for bank in range(num_resolutions):
        x, of_bank = image, []
        for index in range(pooling.bit_length() - 1):
            x = conv(x, filters, 5, f"banks.{bank}.{index}", norm)
            x = layers.MaxPooling2D(2, name=f"banks_{bank}_{index}_pool")(x)
            of_bank.append(x)
        features.append(of_bank)
        if bank < num_resolutions - 1:
            image = layers.AveragePooling2D(2, name=f"image_{bank + 1}")(image)
    return features


def coarse_sum(features: list[list[Tensor]], filters: int, norm: bool) -> Tensor:
    """What all banks see of a wide surrounding, at the resolution of the first: [B, h, w, 4 * filters]."""
    seen = []
    for bank, of_bank in enumerate(features):
        x = conv(of_bank[-1], 4 * filters, 9, f"wide.{bank}", norm)
        seen.append(Upsample(2**bank, name=f"wide_{bank}_up")(x) if bank else x)
    return layers.Add(name="wide")(seen) if len(seen) > 1 else seen[0]


def refine(
    features: list[list[Tensor]], corners: Tensor, num_joints: int, filters: int, crop_size: int, norm: bool
) -> Tensor:
    """Heatmaps of the windows [B, K, crop_size, crop_size]; to the convolutions each window is a picture of its own."""
    seen = []
    for bank, of_bank in enumerate(features):
        for index, x in enumerate(of_bank[:CUT_LAYERS]):
            name, ratio = f"fine.{bank}.{index}", 2 ** (bank + index)  # to the finest features
            x = CutWindows(crop_size // ratio, ratio, name=layer_name(f"{name}_cut"))(x, corners)  # [B*K, h, w, C]
            x = conv(x, filters, 5, name, norm)
            seen.append(Upsample(ratio, name=layer_name(f"{name}_up"))(x) if ratio > 1 else x)
    x = layers.Add(name="fine")(seen)  # [B*K, crop_size, crop_size, filters]
    for index in range(FINE_CONVOLUTIONS):
        x = conv(x, filters, 5, f"fine.{index}", norm)
    return WindowHeads(num_joints, name="fine_heads", dtype="float32")(x)


def conv(x: Tensor, filters: int, kernel: int, name: str, norm: bool) -> Tensor:
    """A convolution and a ReLU, with a batch norm between them or a bias."""
    options = {"norm": norm, "use_bias": not norm, "kernel_initializer": he_normal()}
    return ConvNorm(filters, (kernel, kernel), name=layer_name(name), **options)(x)


@keras.saving.register_keras_serializable("kerapose")
class WindowCorners(keras.layers.Layer):
    """The upper left pixel of a window round the cell where each heatmap is highest.

    Args:
        ratio: pixels of the window's grid in a cell of the heatmaps.
        size: side of the window, pixels.

    Input: [B, h, w, K]. Output: [B, K, 2], x first, integers.
    """

    def __init__(self, ratio: int, size: int, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.ratio = ratio
        self.size = size

    def call(self, maps: Tensor) -> Tensor:
        return windows.highest(maps) * self.ratio + (self.ratio // 2 - self.size // 2)

    def compute_output_spec(self, maps: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((maps.shape[0], maps.shape[-1], 2), windows.INDEX)

    def get_config(self) -> Config:
        return super().get_config() | {"ratio": self.ratio, "size": self.size}


@keras.saving.register_keras_serializable("kerapose")
class CutWindows(keras.layers.Layer):
    """Windows of features, one after the other: [B, h, w, C] and corners [B, K, 2] -> [B*K, size, size, C].

    Args:
        size: side of the windows, pixels of these features.
        ratio: pixels of the grid that the corners are on in a pixel of the features.
    """

    def __init__(self, size: int, ratio: int, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.size = size
        self.ratio = ratio

    def call(self, x: Tensor, corners: Tensor) -> Tensor:
        cut = windows.cut(x, windows.on_coarser_grid(corners, self.ratio), self.size)  # [B, K, size, size, C]
        return ops.reshape(cut, (-1, self.size, self.size, x.shape[-1]))  # [B*K, size, size, C]

    def compute_output_shape(self, x_shape: Shape, corners_shape: Shape) -> Shape:
        return (None, self.size, self.size, x_shape[-1])

    def get_config(self) -> Config:
        return super().get_config() | {"size": self.size, "ratio": self.ratio}


@keras.saving.register_keras_serializable("kerapose")
class WindowHeads(keras.layers.Layer):
    """A 1 x 1 convolution for each joint, of one channel: [B*K, h, w, C] -> [B, K, h, w].

    Args:
        num_joints: K.
    """

    def __init__(self, num_joints: int, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.num_joints = num_joints

    def build(self, x_shape: Shape) -> None:
        shape = (self.num_joints, x_shape[-1], 1)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=small_normal())
        self.bias = self.add_weight(name="bias", shape=(self.num_joints, 1, 1), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, self.num_joints, height * width, channels))  # [B, K, h*w, C]
        x = ops.matmul(x, self.kernel) + self.bias
        return ops.reshape(x, (-1, self.num_joints, height, width))  # [B, K, h, w]

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return (None, self.num_joints, *x_shape[1:3])

    def get_config(self) -> Config:
        return super().get_config() | {"num_joints": self.num_joints}


@keras.saving.register_keras_serializable("kerapose")
class PasteWindows(keras.layers.Layer):
    """Windows [B, K, s, s] at their corners [B, K, 2] in maps of the size of given ones, [B, h, w, K]: 0 elsewhere."""

    def call(self, pasted: Tensor, corners: Tensor, like: Tensor) -> Tensor:
        _, height, width, _ = ops.shape(like)
        return windows.paste(pasted, corners, height, width)

    def compute_output_shape(self, pasted_shape: Shape, corners_shape: Shape, like_shape: Shape) -> Shape:
        return like_shape


def check_arguments(image_shape: Shape, pooling: int, num_resolutions: int, crop_size: int) -> None:
    if pooling not in (4, 8, 16):
        raise ValueError(f"pooling must be 4, 8 or 16, got {pooling}; use 8.")
    if num_resolutions < 1:
        raise ValueError(f"num_resolutions must be at least 1, got {num_resolutions}; use 2.")
    check_sides(image_shape, pooling * 2 ** (num_resolutions - 1))
    coarsest = 2 ** (num_resolutions - 1 + CUT_LAYERS - 1)
    if crop_size < 2 * coarsest or crop_size % coarsest:
        raise ValueError(
            f"crop_size must be a multiple of {coarsest} with {num_resolutions} resolutions, at least "
            f"{2 * coarsest}, got {crop_size}; use {max(2, round(crop_size / coarsest)) * coarsest}."
        )
