"""TemporalLifter: 3D poses from a track of 2D keypoints by dilated convolutions over time (VideoPose3D)."""

import math
import typing
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from kerapose.layers import Dense, TemporalConvNorm, layer_name, torch_uniform
from kerapose.models.network import Network
from kerapose.types import Array, Config, Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class TemporalLifter(Network):
    """A first convolution, then residual blocks whose dilation grows with the receptive field, then a pose per frame.

    There are four forms of it, which share their weights (`as_form`, `weights.load_torch`): the dilated one for tracks
    of any length, the strided one that computes nothing but what one output frame needs (for training), the dense one
    without dilation, and each of the first two with causal shortcuts. With one output joint it is the trajectory model,
    which places the root before the camera. Its published forms are "243_frames", "81_frames", "27_frames", "9_frames"
    and "1_frame", by their receptive field.

    Args:
        num_joints: number of 2D keypoints of a frame.
        in_features: numbers of a keypoint: 2, or 3 with a score.
        num_joints_out: joints of the 3D pose. None: as many.
        out_features: numbers of a joint of the pose.
        filter_widths: width of each convolution over time, odd; their product is the receptive field of every form.
        channels: of all hidden layers.
        dropout: share of the hidden values that training sets to zero.
        causal: whether the shortcuts take the last frame of a window, not its middle: for poses without a delay.
        dense: whether the convolutions take every frame of their reach, not `width` of them.
        strided: whether each convolution moves by its own width; inputs have one receptive field of frames then.

    Input: [B, T, num_joints, in_features], screen coordinates (`ops.cameras.normalize_screen`); T is at least the
    receptive field, and may differ from call to call but for the strided form. Nothing is padded. Output: [B, T -
    receptive_field + 1, num_joints_out, out_features], metres, float32 under any precision policy.

    Raises:
        ValueError: if a width is even, or the network is to be dense and strided; if a track is shorter than the
            receptive field.

    Example:
        >>> from kerapose import models
        >>> network = models.TemporalLifter(17, filter_widths=(3, 3, 3), channels=16)
        >>> network.receptive_field
        27
        >>> tuple(network(np.zeros((2, 100, 17, 2))).shape)  # 100 - 27 + 1 frames
        (2, 74, 17, 3)

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-supervised Training",
    CVPR 2019.
    """

    # By the number of frames that they see. "27_small" is ours, for two cores.
    VARIANTS = {
        "243_frames": {},
        "81_frames": {"filter_widths": (3, 3, 3, 3)},
        "27_frames": {"filter_widths": (3, 3, 3)},
        "9_frames": {"filter_widths": (3, 3)},
        "1_frame": {"filter_widths": (1, 1, 1)},
        "27_small": {"filter_widths": (3, 3, 3), "channels": 256},
    }

    def __init__(
        self,
        num_joints: int = 17,
        in_features: int = 2,
        num_joints_out: int | None = None,
        out_features: int = 3,
        filter_widths: Sequence[int] = (3, 3, 3, 3, 3),
        channels: int = 1024,
        dropout: float = 0.25,
        causal: bool = False,
        dense: bool = False,
        strided: bool = False,
        **kwargs: typing.Any,
    ):
        check_arguments(filter_widths, dense, strided)
        joints_out = num_joints if num_joints_out is None else num_joints_out
        inputs = keras.Input((math.prod(filter_widths) if strided else None, num_joints, in_features))
        flatten = layers.Reshape((-1, num_joints * in_features), dtype="float32", name="joints_to_channels")
        options = {"strided": strided, "dropout": dropout}
        x = conv_norm(flatten(inputs), channels, filter_widths[0], 1, "expand_conv", "expand_bn", exact=True, **options)
        dilation = filter_widths[0]
        for block, width in enumerate(filter_widths[1:]):
            x = residual_block(x, channels, width, dilation, block, causal, dense, **options)
            dilation *= width
        # With Keras's own initializer, twice as wide, the first epochs are spent on calming what dropout makes of it.
        shrink = Dense(joints_out * out_features, kernel_initializer=torch_uniform(), dtype="float32", name="shrink")
        x = shrink(x)  # [B, T', J*3]
        unflatten = layers.Reshape((-1, joints_out, out_features), dtype="float32", name="channels_to_joints")
        outputs = unflatten(x)  # [B, T', J, 3]
        super().__init__(inputs, outputs, **kwargs)
        self.num_joints = num_joints
        self.in_features = in_features
        self.num_joints_out = num_joints_out
        self.out_features = out_features
        self.filter_widths = tuple(filter_widths)
        self.channels = channels
        self.dropout = dropout
        self.causal = causal
        self.dense = dense
        self.strided = strided

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Poses for tracks; Keras calls it."""
        frames = inputs.shape[1]
        if frames is not None and frames < self.receptive_field:
            raise ValueError(
                f"A track has at least the {self.receptive_field} frames of the receptive field, got {frames}; repeat "
                "its first and last frame, as estimators.TrackLifter does."
            )
        return super().call(inputs, training=training, mask=mask)

    @property
    def receptive_field(self) -> int:
        """How many frames one pose depends on."""
        return math.prod(self.filter_widths)

    @property
    def pad(self) -> int:
        """By how many frames each end of a track is padded to keep its length: half the receptive field."""
        return self.receptive_field // 2

    @property
    def causal_shift(self) -> int:
        """How many frames of padding a causal network has at the beginning instead of the end: `pad`, else 0.

        The published ``total_causal_shift`` counts the dilation twice, 91 in place of 13 for 27 frames; its scripts do
        not use it.
        """
        return self.pad if self.causal else 0

    @property
    def torch_nestings(self) -> tuple[str, ...]:
        """Under which name a published checkpoint holds this network's state dict."""
        return ("model_traj",) if self.num_joints_out == 1 else ("model_pos",)

    def as_form(self, dense: bool = False, strided: bool = False) -> typing.Self:
        """The same network with the same weights in another form.

        Args:
            dense: as in the class. A dense network gets another form only if its filters are zero between the taps.
            strided: as in the class.

        Returns:
            A new network; the weights are copied.

        Raises:
            ValueError: if a dense network has filters that no other form can have.

        Example:
            >>> from kerapose import models
            >>> lifter = models.TemporalLifter(17, filter_widths=(3, 3), channels=16)
            >>> lifter.as_form(strided=True).input_shape  # one receptive field: for training
            (None, 9, 17, 2)
        """
        copy = type(self).from_config(self.get_config() | {"dense": dense, "strided": strided})
        for ours, theirs in zip(self.convolutions(), copy.convolutions(), strict=True):
            weights = dict(zip([w.name for w in ours.weights], ours.get_weights(), strict=True))
            kernel = weights["kernel"]  # [width, C, C']
            if len(kernel) != theirs.width:
                weights["kernel"] = spread(kernel, theirs.width) if dense else gathered(kernel, theirs.width, ours.name)
            theirs.set_weights([weights[w.name] for w in theirs.weights])
        copy.get_layer("shrink").set_weights(self.get_layer("shrink").get_weights())
        return copy

    def convolutions(self) -> list[TemporalConvNorm]:
        """The layers with a convolution over time, or of one frame, in their order."""
        return [layer for layer in self.layers if isinstance(layer, TemporalConvNorm)]

    def set_norm_momentum(self, momentum: float) -> None:
        """Sets the momentum of all batch norms: the share of its running statistics that each keeps in a step.

        The paper lets it grow from 0.9 to 0.999. A compiled training step sees the new value.

        Args:
            momentum: from 0 to 1; PyTorch's momentum is 1 minus it.

        Raises:
            ValueError: if it is not from 0 to 1.

        Example:
            >>> from kerapose import models
            >>> lifter = models.TemporalLifter(17, filter_widths=(3, 3), channels=16)
            >>> lifter.set_norm_momentum(0.99)
            >>> float(lifter.convolutions()[0].momentum)
            0.99
        """
        if not 0 <= momentum <= 1:
            raise ValueError(f"The momentum of a batch norm is from 0 to 1, got {momentum}; the paper begins with 0.9.")
        for layer in self.convolutions():
            layer.momentum.assign(momentum)


def check_arguments(filter_widths: Sequence[int], dense: bool, strided: bool) -> None:
    if not filter_widths:
        raise ValueError("filter_widths has one width for each convolution over time, got none; use (3, 3, 3).")
    for width in filter_widths:
        if width < 1 or width % 2 == 0:
            raise ValueError(f"filter_widths must be odd, got {width}; use {max(1, width - 1)} or {width + 1}.")
    if dense and strided:
        raise ValueError("A network is dense or strided, got both; use strided=True for training on single frames.")


def residual_block(
    x: Tensor,
    channels: int,
    width: int,
    dilation: int,
    block: int,
    causal: bool,
    dense: bool,
    strided: bool,
    dropout: float,
) -> Tensor:
    """A convolution over time, one of each frame, and the shortcut, after which nothing follows."""
    reach = (width - 1) * dilation
    options = {"strided": strided, "dropout": dropout}
    if strided:
        shortcut = TakeFrames(width - 1 if causal else width // 2, stride=width, name=f"shortcut_{block}")(x)
        y = conv_norm(x, channels, width, 1, *torch_names(2 * block), **options)
    else:
        first = reach if causal else reach // 2
        shortcut = TakeFrames(first, last=reach - first, name=f"shortcut_{block}")(x)
        width, dilation = (reach + 1, 1) if dense else (width, dilation)
        y = conv_norm(x, channels, width, dilation, *torch_names(2 * block), **options)
    y = conv_norm(y, channels, 1, 1, *torch_names(2 * block + 1), dropout=dropout)
    return layers.Add(name=f"add_{block}")([shortcut, y])


def torch_names(index: int) -> tuple[str, str]:
    return f"layers_conv.{index}", f"layers_bn.{index}"


def conv_norm(
    x: Tensor, channels: int, width: int, dilation: int, convolution: str, norm: str, **options: typing.Any
) -> Tensor:
    options |= {"name": layer_name(convolution), "torch_names": (convolution, norm)}
    return TemporalConvNorm(channels, width, dilation, **options)(x)


@keras.saving.register_keras_serializable("kerapose")
class TakeFrames(layers.Layer):
    """The frames of [B, T, C] from `first` to `last` before the end, or every `stride`-th from `first`."""

    def __init__(self, first: int, last: int = 0, stride: int = 1, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.first = first
        self.last = last
        self.stride = stride

    def call(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x[:, self.first : -self.last or None]
        frames, channels = x.shape[1:]
        groups = keras.ops.reshape(x, (-1, frames // self.stride, self.stride * channels))  # [B, T/n, n*C]
        return groups[..., self.first * channels : (self.first + 1) * channels]

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        batch, frames, channels = x_shape
        if frames is not None:
            frames = (frames - self.first - self.last) if self.stride == 1 else frames // self.stride
        return (batch, frames, channels)

    def get_config(self) -> Config:
        return super().get_config() | {"first": self.first, "last": self.last, "stride": self.stride}


def spread(kernel: Array, width: int) -> Array:
    """A kernel with zeros between its taps: [w, C, C'] -> [width, C, C']."""
    dense = np.zeros((width, *kernel.shape[1:]), kernel.dtype)
    dense[:: (width - 1) // (len(kernel) - 1)] = kernel
    return dense


def gathered(kernel: Array, width: int, name: str) -> Array:
    """The taps of a dense kernel: [w, C, C'] -> [width, C, C']; what lies between them must be zero."""
    step = (len(kernel) - 1) // (width - 1)
    taps = kernel[::step]
    if (spread(taps, len(kernel)) != kernel).any():
        raise ValueError(
            f"Only a dense network whose filters are zero between the taps has another form, {name} is not; "
            "train it in the form that is wanted."
        )
    return taps
