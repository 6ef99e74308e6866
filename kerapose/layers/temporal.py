"""Convolutions over time alone, of tracks."""

import typing
from collections.abc import Sequence

import keras
from keras import ops

from kerapose.layers.convolutions import add_bias
from kerapose.layers.dropout import Dropout
from kerapose.layers.initializers import torch_uniform
from kerapose.layers.norms import BATCH_NORM_MOMENTUM, Normalizing
from kerapose.types import Config, Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class TemporalConvNorm(Normalizing):
    """A convolution over time without padding, then batch norm, ReLU and dropout.

    It is computed as one matrix product. For a strided convolution, whose stride is its width, a reshape is all that
    this takes.

    Args:
        filters: number of output channels.
        width: number of taps, each a frame.
        dilation: frames from one tap to the next.
        strided: whether the stride is the width, in place of 1; the dilation is 1 then.
        dropout: share of the outputs that training sets to zero.
        exact: whether the product is computed in float32 under any precision policy: for coordinates, which bfloat16
            would round to a few pixels.
        torch_names: what the convolution and the batch norm are called in the published checkpoint, as in `ConvNorm`.

    Input: [B, T, C]. Output: [B, T - (width - 1) * dilation, filters], or [B, T / width, filters] if strided.

    The share of its running statistics that a step keeps, `momentum`, is a weight: a recipe may change it while a
    compiled step is in use.

    Raises:
        ValueError: if it is strided and has a dilation.

    Example:
        >>> from kerapose import layers
        >>> tuple(layers.TemporalConvNorm(64, width=3, dilation=9)(np.zeros((2, 27, 34))).shape)
        (2, 9, 64)
        >>> tuple(layers.TemporalConvNorm(64, width=3, strided=True)(np.zeros((2, 27, 34))).shape)
        (2, 9, 64)

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training",
    CVPR 2019.
    """

    def __init__(
        self,
        filters: int,
        width: int,
        dilation: int = 1,
        strided: bool = False,
        dropout: float = 0.0,
        exact: bool = False,
        torch_names: Sequence[str | None] | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        if strided and dilation != 1:
            raise ValueError(f"A strided convolution has no dilation, got dilation={dilation}; leave it 1.")
        self.filters = filters
        self.width = width
        self.dilation = dilation
        self.strided = strided
        self.dropout = dropout
        self.exact = exact
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))
        self.use_bias = False
        self.autocast = not exact
        self.drop = Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def build(self, x_shape: Shape) -> None:
        shape = (self.width, x_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=torch_uniform(), autocast=False)
        self._build_norm(self.filters)
        options = {"shape": (), "trainable": False, "autocast": False, "aggregation": "mean"}
        initializer = keras.initializers.Constant(BATCH_NORM_MOMENTUM)
        self.momentum = self.add_weight(name="momentum", initializer=initializer, **options)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if training and self.trainable:
            y = self._convolve(x, self.kernel)  # [B, T', C']
            frames = ops.shape(y)[1]
            y = self._normalize(ops.reshape(y, (-1, 1, 1, self.filters)))  # [B*T', 1, 1, C']
            y = ops.relu(ops.reshape(y, (-1, frames, self.filters)))  # [B, T', C']
            return y if self.drop is None else self.drop(y, training=True)
        kernel, shift = self.folded()
        return ops.relu(add_bias(self._convolve(x, kernel), ops.cast(shift, self.compute_dtype)))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Gives the kernel [width, C, C'] and bias [C'], float32, that are convolution and norm at inference."""
        scale, shift = self._scale_and_shift()
        return self.kernel * scale, shift

    def _convolve(self, x, kernel):
        _, channels, filters = kernel.shape
        kernel = kernel if self.exact else ops.cast(kernel, self.compute_dtype)
        kernel = ops.reshape(kernel, (self.width * channels, filters))
        if self.strided:
            x = ops.reshape(x, (-1, ops.shape(x)[1] // self.width, self.width * channels))  # [B, T/width, width*C]
        elif self.width > 1:
            reach = (self.width - 1) * self.dilation
            starts = range(0, reach + 1, self.dilation)
            taps = [x[:, start : start - reach or None] for start in starts]
            x = ops.concatenate(taps, axis=-1)  # [B, T', width*C]
        return ops.cast(ops.matmul(x, kernel), self.compute_dtype)

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        batch, frames, _ = x_shape
        if frames is not None:
            frames = frames // self.width if self.strided else frames - (self.width - 1) * self.dilation
        return (batch, frames, self.filters)

    def get_config(self) -> Config:
        names = ("filters", "width", "dilation", "strided", "dropout", "exact", "torch_names")
        return super().get_config() | {name: getattr(self, name) for name in names}
