"""RTMPose: a CSPNeXt, whose last features one attention unit turns into a place of each joint along x and along y."""

import typing

import keras
from keras import layers, ops

from kerapose.layers import ConvNorm, Dense, heatmap_head, layer_name, torch_uniform
from kerapose.models.network import Network, check_sides
from kerapose.types import Config, Shape, Tensor

# Channels and blocks of the four stages, before the factors.
STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))
STEM = 64
STRIDE = 32  # of the last features
BINS_PER_PIXEL = 2
SMALLEST_NORM = 1e-5  # below which a vector is not made longer


@keras.saving.register_keras_serializable("kerapose")
class RTMPose(Network):
    """RTMPose: places are classes, of which there are two to a pixel, along x and along y by themselves (SimCC).

    Its forms are "rtmpose_t", "rtmpose_s", "rtmpose_m", "rtmpose_l", "rtmpose_x" and, smaller, "rtmpose_t_small" and
    "rtmpose_tiny".

    Its weights are for images of one size: a dense layer takes all places of the last features, others give the bins.

    Args:
        num_joints: number of joints.
        image_shape: (H, W, 3), H and W multiples of 32.
        depth_factor: multiplies the blocks of each stage, (3, 6, 6, 3).
        width_factor: multiplies the channels of the stem, 64, and of the stages, (128, 256, 512, 1024).
        final_kernel: kernel of the convolution that gives each joint a map of its own, odd.
        gau_width: length of the vector that a joint's map becomes, and that the attention unit keeps.
        gau_key: length of its queries and keys.

    Input: [B, H, W, 3], normalized. Output: {"x": [B, num_joints, 2 * W], "y": [B, num_joints, 2 * H]}, logits of half
    pixels, float32 under any precision policy.

    Raises:
        ValueError: if the sides are no multiples of 32 or not known, or an argument is out of its range.

    Example:
        >>> from kerapose import models
        >>> network = models.RTMPose.from_variant("rtmpose_tiny", num_joints=17)
        >>> network.input_shape, network.output["x"].shape, network.output["y"].shape
        ((None, 128, 96, 3), (None, 17, 192), (None, 17, 256))

    Papers: Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose", 2023; Lyu et al., "RTMDet:
    An Empirical Study of Designing Real-Time Object Detectors", 2022; Li et al., "SimCC: a Simple Coordinate
    Classification Perspective for Human Pose Estimation", ECCV 2022; Hua et al., "Transformer Quality in Linear Time",
    ICML 2022.
    """

    # By the arguments that differ from the defaults. "t_small" and "tiny" are ours, for two cores.
    VARIANTS = {
        "rtmpose_t": {"depth_factor": 0.167, "width_factor": 0.375},
        "rtmpose_s": {"depth_factor": 0.33, "width_factor": 0.5},
        "rtmpose_m": {},
        "rtmpose_l": {"depth_factor": 1.0, "width_factor": 1.0},
        "rtmpose_x": {"depth_factor": 1.33, "width_factor": 1.25},
        "rtmpose_t_small": {"depth_factor": 0.167, "width_factor": 0.375, "image_shape": (128, 96, 3)},
        "rtmpose_tiny": {
            "depth_factor": 0.167,
            "width_factor": 0.25,
            "final_kernel": 3,
            "gau_width": 128,
            "gau_key": 64,
            "image_shape": (128, 96, 3),
        },
    }

    HEAD = ("final_layer", "mlp", "gau", "cls")
    # Of a CSPNeXt that was trained with heatmaps or on ImageNet, and of an RTMPose for other joints or another size.
    NOT_IN_POSE = (r"(deconv_layers|conv_layers|final_layer|fc|mlp|gau|cls_[xy])\.",)

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 192, 3),
        depth_factor: float = 0.67,
        width_factor: float = 0.75,
        final_kernel: int = 7,
        gau_width: int = 256,
        gau_key: int = 128,
        **kwargs: typing.Any,
    ):
        check_arguments(image_shape, depth_factor, width_factor, final_kernel, gau_width, gau_key)
        height, width, _ = image_shape
        inputs = keras.Input(image_shape)
        x = cspnext(inputs, depth_factor, width_factor)  # [B, H/32, W/32, C]
        x = heatmap_head(x, num_joints, final_kernel, "final_layer")  # [B, H/32, W/32, K]; float32 from here on
        x = layers.Reshape((-1, num_joints), name="places")(x)  # [B, H/32*W/32, K], row by row
        x = layers.Permute((2, 1), name="joints")(x)  # [B, K, H/32*W/32]
        x = ScaleNorm(dtype="float32", name=layer_name("mlp.0"))(x)
        x = dense(x, gau_width, "mlp.1")  # [B, K, gau_width]
        x = GatedAttentionUnit(gau_key, dtype="float32", name="gau")(x)
        bins = {"x": BINS_PER_PIXEL * width, "y": BINS_PER_PIXEL * height}
        super().__init__(inputs, {axis: dense(x, count, f"cls_{axis}") for axis, count in bins.items()}, **kwargs)
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.depth_factor = depth_factor
        self.width_factor = width_factor
        self.final_kernel = final_kernel
        self.gau_width = gau_width
        self.gau_key = gau_key

    def resized(self, *shapes: Shape) -> typing.Self:
        """Refused, but for its own size: the last weights have the places and the bins of one image.

        Args:
            *shapes: `image_shape` alone.

        Returns:
            A new network; the weights are copied.

        Raises:
            ValueError: if it is another shape.

        Example:
            >>> from kerapose import models
            >>> models.RTMPose.from_variant("rtmpose_tiny", 17).resized((128, 96, 3)).image_shape
            (128, 96, 3)
        """
        if len(shapes) == 1 and tuple(shapes[0]) != self.image_shape:
            raise ValueError(
                f"The weights of an RTMPose are for images of one size, {self.image_shape[:2]} here, got "
                f"{tuple(shapes[0])}; build one of that size and give it a file of its own, or the backbone of a file "
                "by weights.load_backbone."
            )
        return super().resized(*shapes)


def cspnext(x: Tensor, depth_factor: float, width_factor: float) -> Tensor:
    """The CSPNeXt: [B, H, W, 3] -> [B, H/32, W/32, 1024 * width_factor]."""
    half = int(STEM * width_factor // 2)
    for index, (filters, stride) in enumerate(((half, 2), (half, 1), (int(STEM * width_factor), 1))):
        x = conv(x, filters, 3, f"stem.{index}", stride)
    for stage, (filters, blocks) in enumerate(STAGES, start=1):
        filters, blocks = int(filters * width_factor), max(round(blocks * depth_factor), 1)
        is_last = stage == len(STAGES)
        x = conv(x, filters, 3, f"stage{stage}.0", stride=2)
        if is_last:
            x = spatial_pyramid(x, f"stage{stage}.1")
        x = csp_layer(x, blocks, f"stage{stage}.{2 if is_last else 1}", shortcut=not is_last)
    return x


def spatial_pyramid(x: Tensor, name: str) -> Tensor:
    """The features and their maxima over 5, 9 and 13 pixels, side by side; what lies outside is never the greatest."""
    filters = x.shape[-1]
    views = [conv(x, filters // 2, 1, f"{name}.conv1")]
    for size in (5, 9, 13):  # 5 after 5 is 9: each looks at the one before
        views.append(layers.MaxPooling2D(5, 1, padding="same", name=layer_name(f"{name}.pool{size}"))(views[-1]))
    x = layers.Concatenate(name=layer_name(f"{name}.views"))(views)
    return conv(x, filters, 1, f"{name}.conv2")


def csp_layer(x: Tensor, blocks: int, name: str, shortcut: bool) -> Tensor:
    """Blocks on one half of the channels, while the other goes past them; both weighted, and mixed: the same shape."""
    filters = x.shape[-1]
    main, short = (conv(x, filters // 2, 1, f"{name}.{part}_conv") for part in ("main", "short"))
    for index in range(blocks):
        main = block(main, f"{name}.blocks.{index}", shortcut)
    x = layers.Concatenate(name=layer_name(f"{name}.halves"))([main, short])
    return conv(attend_channels(x, f"{name}.attention"), filters, 1, f"{name}.final_conv")


def block(x: Tensor, name: str, shortcut: bool) -> Tensor:
    """A 3 x 3 convolution, then one of 5 x 5 for each channel and one of 1 x 1; with a shortcut past all of them."""
    y = conv(x, x.shape[-1], 3, f"{name}.conv1")
    y = conv(y, x.shape[-1], 5, f"{name}.conv2.depthwise_conv", depthwise=True)
    y = conv(y, x.shape[-1], 1, f"{name}.conv2.pointwise_conv")
    return layers.Add(name=layer_name(f"{name}.add"))([x, y]) if shortcut else y


def attend_channels(x: Tensor, name: str) -> Tensor:
    """Weighs each channel by what the means of all channels say of it."""
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=layer_name(f"{name}.mean"))(x)  # [B, 1, 1, C]
    options = {"kernel_initializer": torch_uniform(), "torch_names": (f"{name}.fc",)}
    weight = Dense(x.shape[-1], activation="hard_sigmoid", name=layer_name(f"{name}.fc"), **options)(weight)
    return layers.Multiply(name=layer_name(f"{name}.weighted"))([x, weight])


def conv(x: Tensor, filters: int, kernel: int, name: str, stride: int = 1, depthwise: bool = False) -> Tensor:
    """A convolution, batch norm and SiLU that are one module of the published network."""
    options = {"depthwise": depthwise, "torch_names": (f"{name}.conv", f"{name}.bn")}
    # PyTorch's fan-in is that of one filter, so that a depthwise one has a single channel.
    reach = 1 / kernel
    initializer = keras.initializers.RandomUniform(-reach, reach) if depthwise else torch_uniform()
    options |= {"activation": "silu", "kernel_initializer": initializer, "name": layer_name(name)}
    return ConvNorm(filters, (kernel, kernel), stride, **options)(x)


def dense(x: Tensor, units: int, name: str) -> Tensor:
    """A dense layer without bias, in float32."""
    options = {"kernel_initializer": head_normal(), "torch_names": (name,), "name": layer_name(name)}
    return Dense(units, use_bias=False, dtype="float32", **options)(x)


def head_normal() -> keras.initializers.Initializer:
    """What the published head's dense layers are drawn from."""
    return keras.initializers.RandomNormal(stddev=0.01)


@keras.saving.register_keras_serializable("kerapose")
class ScaleNorm(keras.layers.Layer):
    """Divides vectors by the root of their mean square, and multiplies all of them by one learnt number.

    Input and output: [..., C].
    """

    def build(self, x_shape: Shape) -> None:
        self.scale = self.add_weight(name="scale", shape=(1,), initializer="ones")

    def call(self, x: Tensor) -> Tensor:
        return scale_norm(x, self.scale)

    def torch_weights(self) -> dict[str, keras.Variable]:
        """Its weights by their names in the published network, for `weights.load_torch`."""
        return {"mlp.0.g": self.scale}


def scale_norm(x: Tensor, scale: Tensor) -> Tensor:
    # The floor is put under the mean square, not its root, whose gradient at 0 is none.
    mean_square = ops.mean(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(mean_square, SMALLEST_NORM**2)) * scale


@keras.saving.register_keras_serializable("kerapose")
class GatedAttentionUnit(keras.layers.Layer):
    """One layer that is attention and feed-forward at once: each joint looks at all, and gates what it gets.

    What two joints have to say to each other is the squared, cut product of query and key: no softmax.

    Args:
        key: length of queries and keys.

    Input and output: [B, K, C].

    Paper: Hua et al., "Transformer Quality in Linear Time", ICML 2022.
    """

    EXPANSION = 2  # of values and gates over the input

    def __init__(self, key: int, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.key = key

    def build(self, x_shape: Shape) -> None:
        width = x_shape[-1]
        inside = self.EXPANSION * width
        uniform = keras.initializers.RandomUniform(0.0, 1.0)
        self.norm_scale = self.add_weight(name="norm_scale", shape=(1,), initializer="ones")
        self.shortcut_scale = self.add_weight(name="shortcut_scale", shape=(width,), initializer="ones")
        # Query and key are one vector, stretched and moved in two ways.
        self.stretch = self.add_weight(name="stretch", shape=(2, self.key), initializer=uniform)
        self.offset = self.add_weight(name="offset", shape=(2, self.key), initializer=uniform)
        shapes = {"widen": (width, 2 * inside + self.key), "narrow": (inside, width)}
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=head_normal()))

    def call(self, x: Tensor) -> Tensor:
        inside = self.EXPANSION * x.shape[-1]
        y = ops.silu(ops.matmul(scale_norm(x, self.norm_scale), self.widen))  # [B, K, 2*inside + key]
        gate, value, base = ops.split(y, [inside, 2 * inside], axis=-1)
        query, key = (base * self.stretch[index] + self.offset[index] for index in range(2))  # [B, K, key] each
        likeness = ops.matmul(query, ops.swapaxes(key, -1, -2)) / self.key**0.5  # [B, K, K]
        seen = ops.matmul(ops.square(ops.relu(likeness)), value)  # [B, K, inside]
        return x * self.shortcut_scale + ops.matmul(gate * seen, self.narrow)

    def torch_weights(self) -> dict[str, keras.Variable]:
        """Its weights by their names in the published network, for `weights.load_torch`."""
        return {
            "gau.ln.g": self.norm_scale,
            "gau.res_scale.scale": self.shortcut_scale,
            "gau.gamma": self.stretch,
            "gau.beta": self.offset,
            "gau.uv.weight": self.widen,
            "gau.o.weight": self.narrow,
        }

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape

    def get_config(self) -> Config:
        return super().get_config() | {"key": self.key}


def check_arguments(
    image_shape: Shape, depth_factor: float, width_factor: float, final_kernel: int, gau_width: int, gau_key: int
) -> None:
    if None in tuple(image_shape):
        raise ValueError(
            f"An RTMPose is for images of one size, got image_shape {tuple(image_shape)}; use (256, 192, 3)."
        )
    check_sides(image_shape, STRIDE)
    if depth_factor <= 0:
        raise ValueError(f"depth_factor must be above 0, got {depth_factor}; use 0.67, as published, or less.")
    if width_factor < 2 / STEM:
        raise ValueError(
            f"width_factor must be at least {2 / STEM}, which leaves the stem one channel, got {width_factor}; use "
            "0.75, as published, or less."
        )
    if final_kernel < 1 or final_kernel % 2 == 0:
        raise ValueError(f"final_kernel must be odd, got {final_kernel}; use 7, as published.")
    if gau_width < 1 or gau_key < 1:
        raise ValueError(
            f"gau_width and gau_key must be at least 1, got {gau_width} and {gau_key}; use 256 and 128, as published."
        )
