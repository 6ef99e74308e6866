"""RGBPose-Conv3D: two 3D CNNs, one of frames and one of heatmap volumes, that tell each other what they see."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from kerapose.layers import ConvNorm, Dense, Dropout, FrameConvTransposeNorm, layer_name
from kerapose.models.network import Network
from kerapose.models.slowonly import residual_stage, stem
from kerapose.types import Shape, Tensor

RATIO = 4  # pose frames to RGB frames, and RGB pixels to pose pixels along a side
NARROWING = 16  # of the RGB features that go to the pose pathway


@keras.saving.register_keras_serializable("kerapose")
class RGBPoseConv3D(Network):
    """RGBPose-Conv3D: a SlowOnly of few, large frames and one of many, small heatmaps, with lateral connections.

    Before stages 3 and 4 of the RGB pathway, and 2 and 3 of the pose pathway, each pathway's features are joined to the
    other's: pose to RGB by a convolution over time with stride 4, RGB to pose by a transposed one. Its forms are
    "rgbpose" and "rgbpose_tiny".

    Args:
        num_classes: number of actions.
        rgb_shape: (T, H, W, 3) of the frames.
        pose_shape: (4T, H / 4, W / 4, K) of the heatmap volume.
        rgb_filters: channels of the RGB stem and of its first stage's bottlenecks; doubled at every stage.
        pose_filters: likewise of the pose pathway.
        rgb_blocks: bottlenecks of each of the four RGB stages.
        pose_blocks: bottlenecks of each of the three pose stages.
        dropout: rate before each of the two classifiers.
        zero_init_residual: as in `SlowOnly`.

    Input: {"rgb": [B, T, H, W, 3] normalized, "pose": [B, 4T, H/4, W/4, K]}. Output: {"rgb": logits [B, num_classes],
    "pose": logits [B, num_classes]}, float32 under any precision policy. Training takes a loss of each; a test averages
    their softmaxes.

    Raises:
        ValueError: if the two shapes do not go together.

    Example:
        >>> from kerapose import models
        >>> network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", num_classes=60)
        >>> network.input_shape
        {'rgb': (None, 4, 112, 112, 3), 'pose': (None, 16, 28, 28, 17)}
        >>> logits = network({"rgb": np.zeros((1, 4, 112, 112, 3)), "pose": np.zeros((1, 16, 28, 28, 17))})
        >>> {name: tuple(value.shape) for name, value in logits.items()}
        {'rgb': (1, 60), 'pose': (1, 60)}

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022, section 3.3.
    """

    # "tiny" is ours, for two cores.
    VARIANTS = {
        "rgbpose": {},
        "rgbpose_tiny": {
            "rgb_shape": (4, 112, 112, 3),
            "pose_shape": (16, 28, 28, 17),
            "rgb_filters": 16,
            "pose_filters": 16,
            "rgb_blocks": (1, 2, 1, 1),
            "pose_blocks": (1, 1, 1),
            "zero_init_residual": False,
        },
    }

    HEAD = ("fc_rgb", "fc_pose")
    NOT_IN_POSE = (r"fc_(rgb|pose)\.",)

    def __init__(
        self,
        num_classes: int,
        rgb_shape: Shape = (8, 224, 224, 3),
        pose_shape: Shape = (32, 56, 56, 17),
        rgb_filters: int = 64,
        pose_filters: int = 32,
        rgb_blocks: Sequence[int] = (3, 4, 6, 3),
        pose_blocks: Sequence[int] = (4, 6, 3),
        dropout: float = 0.5,
        zero_init_residual: bool = True,
        **kwargs: typing.Any,
    ):
        _check_shapes(rgb_shape, pose_shape)
        rgb_stages = _stages("rgb_path.", rgb_filters, rgb_blocks, zero_init_residual)
        pose_stages = _stages("pose_path.", pose_filters, pose_blocks, zero_init_residual)
        inputs = {"rgb": keras.Input(rgb_shape, name="rgb"), "pose": keras.Input(pose_shape, name="pose")}
        rgb = stem(inputs["rgb"], rgb_filters, 2, 2, "rgb_path.")
        rgb = rgb_stages(rgb, 1, stride=1)
        rgb = rgb_stages(rgb, 2, stride=2)
        pose = stem(inputs["pose"], pose_filters, 1, 1, "pose_path.")
        pose = pose_stages(pose, 1, stride=2)
        rgb, pose = exchange(rgb, pose, "rgb_path.layer2_lateral", "pose_path.layer1_lateral")
        rgb = rgb_stages(rgb, 3, stride=2, inflated=True)
        pose = pose_stages(pose, 2, stride=2, inflated=True)
        rgb, pose = exchange(rgb, pose, "rgb_path.layer3_lateral", "pose_path.layer2_lateral")
        rgb = rgb_stages(rgb, 4, stride=2, inflated=True)
        pose = pose_stages(pose, 3, stride=2, inflated=True)
        outputs = {
            "rgb": classify(rgb, num_classes, dropout, "rgb"),
            "pose": classify(pose, num_classes, dropout, "pose"),
        }
        super().__init__(inputs, outputs, **kwargs)
        self.num_classes = num_classes
        self.rgb_shape = tuple(rgb_shape)
        self.pose_shape = tuple(pose_shape)
        self.rgb_filters = rgb_filters
        self.pose_filters = pose_filters
        self.rgb_blocks = tuple(rgb_blocks)
        self.pose_blocks = tuple(pose_blocks)
        self.dropout = dropout
        self.zero_init_residual = zero_init_residual

    def start_from(self, rgb: Network | None = None, pose: Network | None = None) -> typing.Self:
        """Takes over separately trained networks, as the paper's training begins.

        What the laterals bring is multiplied by zero at first: the network answers as the two did, and learns from
        there what each can use of the other. All or nothing.

        Args:
            rgb: a SlowOnly of frames (`SlowOnly.from_variant("slowonly_rgb")`). None: that pathway stays as it is.
            pose: a SlowOnly of volumes ("slowonly_pose_path"), likewise.

        Returns:
            The network itself.

        Raises:
            ValueError: if a network has other layers or another width than the pathway.

        Example:
            >>> from kerapose import models
            >>> rgb = models.SlowOnly.from_variant("slowonly_rgb_tiny", num_classes=2)
            >>> network = models.RGBPoseConv3D.from_variant("rgbpose_tiny", num_classes=2).start_from(rgb=rgb)
            >>> frames = {"rgb": np.ones((1, 4, 112, 112, 3)), "pose": np.zeros((1, 16, 28, 28, 17))}
            >>> bool(np.allclose(network(frames)["rgb"], rgb(frames["rgb"]), atol=1e-4))
            True
        """
        plan = [
            pair
            for pathway, source in (("rgb", rgb), ("pose", pose))
            if source is not None
            for pair in _matched(self, pathway, source)
        ]
        for target, source in plan:
            target.assign(_widened(np.asarray(source), target.shape))
        return self


def exchange(rgb: Tensor, pose: Tensor, rgb_name: str, pose_name: str) -> tuple[Tensor, Tensor]:
    """Joins to each pathway what comes from the other, its own channels first.

    Args:
        rgb: [B, T, H, W, C].
        pose: [B, 4T, H, W, C'].
        rgb_name: of the lateral connection to the RGB pathway.
        pose_name: of the one to the pose pathway.

    Returns:
        [B, T, H, W, C + C'] and [B, 4T, H, W, C' + C / 16].
    """
    plain = {"activation": None, "norm": False, "torch_names": (f"{rgb_name}.conv", None)}
    to_rgb = ConvNorm(pose.shape[-1], (7, 1, 1), strides=(RATIO, 1, 1), name=layer_name(rgb_name), **plain)(pose)
    names = {"name": layer_name(pose_name), "torch_names": (f"{pose_name}.conv", f"{pose_name}.bn")}
    to_pose = FrameConvTransposeNorm(rgb.shape[-1] // NARROWING, **names)(rgb)
    return (
        layers.Concatenate(name=layer_name(f"{rgb_name}.joined"))([rgb, to_rgb]),
        layers.Concatenate(name=layer_name(f"{pose_name}.joined"))([pose, to_pose]),
    )


def classify(x: Tensor, num_classes: int, dropout: float, name: str) -> Tensor:
    """[B, T, H, W, C] -> logits [B, num_classes]."""
    x = layers.GlobalAveragePooling3D(name=f"pooled_{name}")(x)  # [B, C]
    x = Dropout(dropout, name=f"dropout_{name}")(x)
    return Dense(num_classes, dtype="float32", name=f"fc_{name}")(x)


def _stages(prefix, filters, blocks, zero_init):
    """A function that puts one numbered stage of a pathway onto features."""

    def stage(x, number, stride, inflated=False):
        strides, name = (1, stride, stride), f"{prefix}layer{number}"
        return residual_stage(x, filters * 2 ** (number - 1), blocks[number - 1], strides, inflated, name, zero_init)

    return stage


def _check_shapes(rgb_shape, pose_shape):
    frames, height, width = rgb_shape[:3]
    fitting = (RATIO * frames, -(-height // RATIO), -(-width // RATIO))
    if tuple(pose_shape[:3]) != fitting or height % RATIO or width % RATIO:
        raise ValueError(
            f"pose_shape has {RATIO} times the frames of rgb_shape and a {RATIO}th of its height and width, got "
            f"{tuple(rgb_shape)} and {tuple(pose_shape)}; use {fitting} with an rgb_shape of multiples of {RATIO}."
        )


def _matched(network, pathway, source):
    """(variable of ours, variable of theirs) of all weights of a pathway."""
    own = {
        layer.name.removeprefix(f"{pathway}_path_"): layer
        for layer in network.layers
        if layer.weights and layer.name.startswith(f"{pathway}_path_") and not layer.name.endswith("_lateral")
    }
    own["fc_cls"] = network.get_layer(f"fc_{pathway}")
    theirs = {layer.name: layer for layer in source.layers if layer.weights}
    unlike = sorted(set(own) ^ set(theirs))
    pairs = [
        (ours, other)
        for name in own.keys() & theirs.keys()
        for ours, other in zip(own[name].weights, theirs[name].weights, strict=True)
    ]
    unlike += [other.path for ours, other in pairs if not _fits(other.shape, ours.shape)]
    if unlike:
        raise ValueError(
            f"The {pathway} pathway starts from a SlowOnly of its own blocks, width and classes, got one that differs "
            f"in {', '.join(unlike[:4])}{' and others' if unlike[4:] else ''}; build both with the same arguments."
        )
    return pairs


def _fits(shape, wide):
    """Whether a weight has the shape of ours, but for input channels that come from the other pathway."""
    same = [a == b for a, b in zip(shape, wide, strict=True)]
    return all(same) or (len(shape) == 5 and sum(same) == 4 and shape[-2] < wide[-2])


def _widened(array, shape):
    """[..., I, O] -> [..., I', O]: zeros for the input channels that a weight lacks."""
    if array.ndim < 2:
        return array
    return np.pad(array, [(0, there - here) for here, there in zip(array.shape, shape, strict=True)])
