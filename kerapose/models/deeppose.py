"""DeepPose: the coordinates of all joints at once, from the mean of a ResNet's features."""

import itertools
import typing

import keras
from keras import layers

from kerapose.layers import Dense
from kerapose.models.network import Network
from kerapose.models.simple_baseline import RESNETS, resnet
from kerapose.types import Shape

NUM_COUPLINGS, FLOW_WIDTH = 6, 64  # of the flow that published files of residual likelihood have beside the network


@keras.saving.register_keras_serializable("kerapose")
class DeepPose(Network):
    """A ResNet, the mean over its last features, and one dense layer that gives coordinates.

    The paper's cascade of AlexNets is today one ResNet, as in MMPose. With `uncertainty` each coordinate has a sigma of
    its own, and the network is trained by residual likelihood (`losses.ResidualLikelihood`), whose flow is no part of
    it. Its forms are "deeppose_r50", "deeppose_r101", "deeppose_r152", the same with "_rle" behind, which have sigmas,
    and, smaller, "deeppose_r18_small", "deeppose_r18_tiny", "deeppose_r18_small_rle" and "deeppose_r18_tiny_rle".

    Args:
        num_joints: K.
        image_shape: (H, W, 3). H and W may be None.
        depth: of the ResNet: 18, 34, 50, 101 or 152.
        uncertainty: whether two logits of sigmas follow the two coordinates of each joint.
        base_filters: filters of the ResNet's first stage, doubled in each; 64 in every published one.

    Input: [B, H, W, 3], normalized. Output: [B, K, 2], x and y as shares of the crop's width and height; with
    `uncertainty` [B, K, 4], x, y and the logits of their sigmas, whose sigmoids are shares too. Float32 under any
    precision policy.

    Raises:
        ValueError: if there is no ResNet of that depth.

    Example:
        >>> from kerapose import models
        >>> models.DeepPose(17, depth=18).output_shape, models.DeepPose(17, depth=18, uncertainty=True).output_shape
        ((None, 17, 2), (None, 17, 4))

    Papers: Toshev and Szegedy, "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014; Li et al., "Human
    Pose Regression with Residual Log-likelihood Estimation", ICCV 2021.
    """

    # By the arguments that differ from the defaults. "small" and "tiny" are ours, for two cores.
    VARIANTS = {
        f"deeppose_{form}{ending}": arguments | extra
        for form, arguments in {
            "r50": {},
            "r101": {"depth": 101},
            "r152": {"depth": 152},
            "r18_small": {"depth": 18, "image_shape": (128, 96, 3)},
            "r18_tiny": {"depth": 18, "base_filters": 32, "image_shape": (128, 96, 3)},
        }.items()
        for ending, extra in (("", {}), ("_rle", {"uncertainty": True}))
    }

    HEAD = ("fc",)
    NOT_IN_POSE = (r"fc\.",)

    def __init__(
        self,
        num_joints: int,
        image_shape: Shape = (256, 192, 3),
        depth: int = 50,
        uncertainty: bool = False,
        base_filters: int = 64,
        **kwargs: typing.Any,
    ):
        if depth not in RESNETS:
            known = ", ".join(map(str, RESNETS))
            raise ValueError(f"depth must be one of {known}, got {depth}; use 50, as published.")
        inputs = keras.Input(image_shape)
        x = resnet(inputs, depth, base_filters, stride_on_1x1=False)  # [B, H/32, W/32, C]
        x = layers.GlobalAveragePooling2D(name="pooled", dtype="float32")(
            x
        )  # [B, C]; coordinates want more than 8 bits
        numbers = 4 if uncertainty else 2  # of a joint
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        x = Dense(num_joints * numbers, kernel_initializer=initializer, name="fc", dtype="float32")(x)
        outputs = layers.Reshape((num_joints, numbers), name="joints", dtype="float32")(x)  # [B, K, 2 or 4]
        super().__init__(inputs, outputs, **kwargs)
        self.num_joints = num_joints
        self.image_shape = tuple(image_shape)
        self.depth = depth
        self.uncertainty = uncertainty
        self.base_filters = base_filters

    def unused_torch_weights(self) -> dict[str, Shape]:
        """The flow of residual likelihood, which published files have beside the network."""
        if not self.uncertainty:
            return {}
        widths = (2, FLOW_WIDTH, FLOW_WIDTH, 2)
        shapes = {"loc": (2,), "cov": (2, 2), "mask": (NUM_COUPLINGS, 2)}
        for net, coupling, index in itertools.product("st", range(NUM_COUPLINGS), range(3)):
            name, outputs = f"{net}.{coupling}.{2 * index}", widths[index + 1]
            shapes |= {f"{name}.weight": (outputs, widths[index]), f"{name}.bias": (outputs,)}
        return {f"flow_model.{name}": shape for name, shape in shapes.items()}
