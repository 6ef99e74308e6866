"""MC3-18: a ResNet-18 of clips that mixes convolutions over time, early, with convolutions of single frames, later."""

import typing

import keras
from keras import layers

from kerapose.layers import ConvNorm, Dense, layer_name
from kerapose.models.network import Network
from kerapose.types import Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class MC3ResNet18(Network):
    """MC3-18: 3D convolutions in the stem and the first stage, 2D ones after it; frames are never strided.

    Its forms are "mc3_18" and "mc3_18_tiny".

    Args:
        num_classes: number of actions.
        input_shape: (T, H, W, 3) of a clip.
        base_filters: channels of the stem and of the first stage; doubled at every stage.

    Input: [B, T, H, W, 3], normalized; Kinetics' weights want mean (0.43216, 0.394666, 0.37645) and standard deviation
    (0.22803, 0.22145, 0.216989). Output: logits [B, num_classes], float32 under any precision policy.

    Example:
        >>> from kerapose import models
        >>> network = models.MC3ResNet18.from_variant("mc3_18_tiny", num_classes=400, input_shape=(4, 32, 32, 3))
        >>> tuple(network(np.zeros((1, 4, 32, 32, 3))).shape)
        (1, 400)

    Paper: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018.
    """

    # "tiny" is ours, for two cores.
    VARIANTS = {"mc3_18": {}, "mc3_18_tiny": {"base_filters": 16}}

    HEAD = ("fc",)
    NOT_IN_POSE = (r"fc\.",)

    def __init__(
        self, num_classes: int, input_shape: Shape = (16, 112, 112, 3), base_filters: int = 64, **kwargs: typing.Any
    ):
        inputs = keras.Input(input_shape)
        x = stages(inputs, base_filters)["layer4"]
        x = layers.GlobalAveragePooling3D(name="pooled")(x)  # [B, C]
        logits = Dense(num_classes, dtype="float32", name="fc")(x)
        super().__init__(inputs, logits, **kwargs)
        self.num_classes = num_classes
        self.base_filters = base_filters


def stages(x: Tensor, filters: int) -> dict[str, Tensor]:
    """What the stem and each of the four stages give.

    Args:
        x: [B, T, H, W, 3].
        filters: channels of the stem.

    Returns:
        {"stem": [B, T, H/2, W/2, C], "layer1": the same, "layer2": [B, T, H/4, W/4, 2C], ... "layer4"}.
    """
    x = ConvNorm(filters, (3, 7, 7), strides=(1, 2, 2), name="stem", torch_names=("stem.0", "stem.1"))(x)
    features = {"stem": x}
    for stage in range(4):
        for block in range(2):
            kernel, stride = ((3, 3, 3), 1) if stage == 0 else ((1, 3, 3), 2 if block == 0 else 1)
            x = basic_block(x, filters * 2**stage, kernel, (1, stride, stride), f"layer{stage + 1}.{block}")
        features[f"layer{stage + 1}"] = x
    return features


def basic_block(x: Tensor, filters: int, kernel: tuple[int, ...], strides: tuple[int, ...], name: str) -> Tensor:
    """Two convolutions, the first with the strides, added to the shortcut."""
    shortcut = x
    if strides != (1, 1, 1) or x.shape[-1] != filters:
        shortcut = _conv(filters, (1, 1, 1), strides, f"{name}.downsample", None)(x)
    x = _conv(filters, kernel, strides, f"{name}.conv1")(x)
    return _conv(filters, kernel, (1, 1, 1), f"{name}.conv2")(x, shortcut)


def _conv(filters, kernel, strides, name, activation="relu"):
    torch_names = (f"{name}.0", f"{name}.1")
    return ConvNorm(filters, kernel, strides, activation=activation, name=layer_name(name), torch_names=torch_names)
