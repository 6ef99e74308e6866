"""Transposed convolutions with their batch norms: what makes heatmaps larger, and slow frames many."""

import typing
from collections.abc import Callable, Sequence

import keras
from keras import ops

from kerapose.layers.convolutions import add_bias
from kerapose.layers.initializers import he_normal
from kerapose.layers.norms import Normalizing
from kerapose.types import Config, Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class ConvTransposeNorm(Normalizing):
    """A transposed convolution that doubles height and width, then batch norm, then an activation.

    It is PyTorch's, with the padding that published networks give it: kernel 4 with padding 1, kernel 3 with padding
    and output padding 1, kernel 2 with none.

    Args:
        filters: number of output channels.
        kernel_size: 4, 3 or 2.
        activation: name of a Keras activation, or None.
        use_bias: whether the convolution has a bias of its own, which only changes the running mean.
        kernel_initializer: of the kernel. None: He's, by the fan-out.
        torch_names: as in `ConvNorm`.

    Input: [B, H, W, C]. Output: [B, 2 * H, 2 * W, filters].

    Raises:
        ValueError: if `kernel_size` is none of these.

    Example:
        >>> from kerapose import layers
        >>> tuple(layers.ConvTransposeNorm(256, kernel_size=4)(np.zeros((2, 8, 6, 512))).shape)
        (2, 16, 12, 256)

    Paper: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        activation: str | Callable[[Tensor], Tensor] | None = "relu",
        use_bias: bool = False,
        kernel_initializer: str | keras.initializers.Initializer | None = None,
        torch_names: Sequence[str | None] | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        if kernel_size not in (2, 3, 4):
            raise ValueError(f"A transposed convolution has kernel 2, 3 or 4, got {kernel_size}; 4 is the usual one.")
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer or he_normal())
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))

    def build(self, x_shape: Shape) -> None:
        shape = (self.kernel_size, self.kernel_size, self.filters, x_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer, autocast=False)
        self._build_norm(self.filters)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros", autocast=False)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if training and self.trainable:
            return self.activation(self._normalize(self._convolve(x, self.kernel), self.bias))
        scale, shift = self._scale_and_shift(0.0 if self.bias is None else self.bias)
        y = self._convolve(x, self.kernel * scale[:, None])
        return self.activation(add_bias(y, ops.cast(shift, self.compute_dtype)))

    def _convolve(self, x, kernel):
        # The operation of the backend. A 2 x 2 convolution whose channels are then spread over blocks of pixels gives
        # the same, but on the CPU rearranging the kernel and the pixels takes longer than it saves.
        kernel = ops.cast(kernel, self.compute_dtype)
        if self.kernel_size == 4:
            return ops.conv_transpose(x, kernel, strides=2, padding="same")
        y = ops.conv_transpose(x, kernel, strides=2, padding="valid")
        return y[:, 1:, 1:] if self.kernel_size == 3 else y  # [B, 2*H, 2*W, C]

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        batch, height, width, _ = x_shape
        return (batch, *(None if size is None else 2 * size for size in (height, width)), self.filters)

    def get_config(self) -> Config:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "torch_names": self.torch_names,
        }


@keras.saving.register_keras_serializable("kerapose")
class FrameConvTransposeNorm(Normalizing):
    """A transposed convolution over frames, seven taps, that makes four of each; then batch norm and ReLU.

    It is PyTorch's with kernel (7, 1, 1), stride (4, 1, 1), padding 3 and output padding 3: frame t of the output takes
    tap k from frame i of the input where t = 4i - 3 + k.

    Args:
        filters: number of output channels.
        torch_names: as in `ConvNorm`.

    Input: [B, T, H, W, C]. Output: [B, 4 * T, H, W, filters].

    Example:
        >>> from kerapose import layers
        >>> tuple(layers.FrameConvTransposeNorm(32)(np.zeros((1, 8, 7, 7, 64))).shape)
        (1, 32, 7, 7, 32)

    Paper: Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022 (RGBPose-Conv3D).
    """

    TAPS, STRIDE = 7, 4

    def __init__(self, filters: int, torch_names: Sequence[str | None] | None = None, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.use_bias = False
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))

    def build(self, x_shape: Shape) -> None:
        shape = (self.TAPS, 1, 1, self.filters, x_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=he_normal(), autocast=False)
        self._build_norm(self.filters)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        shape = self.compute_output_shape(x.shape)
        if training and self.trainable:
            y = ops.relu(self._normalize(self._convolve(x, self.kernel)))
        else:
            scale, shift = self._scale_and_shift()
            kernel = self.kernel * ops.expand_dims(scale, -1)
            y = ops.relu(add_bias(self._convolve(x, kernel), ops.cast(shift, self.compute_dtype)))
        return ops.reshape(y, (-1, *shape[1:]))  # [B, 4*T, H, W, C']

    def _convolve(self, x, kernel):
        """[B, T, H, W, C] -> [B, 4*T, H*W, C'].

        Of the four frames that come of frame i, the first takes tap 3 of frame i; the others, p = 1, 2, 3, take tap
        p + 3 of frame i and tap p - 1 of frame i + 1. So it is one product with both frames' channels side by side.
        """
        _, frames, height, width, channels = x.shape
        x = ops.reshape(x, (-1, frames, height * width, channels))  # [B, T, H*W, C]
        x = ops.concatenate([x, ops.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))], axis=-1)  # [B, T, H*W, 2*C]
        taps = ops.swapaxes(kernel[:, 0, 0], -1, -2)  # [7, C, C']
        own, following = taps[3:], ops.pad(taps[:3], ((1, 0), (0, 0), (0, 0)))  # [4, C, C'] each
        taps = ops.transpose(ops.concatenate([own, following], axis=1), (1, 0, 2))  # [2*C, 4, C']
        taps = ops.reshape(ops.cast(taps, self.compute_dtype), (2 * channels, self.STRIDE * self.filters))
        y = ops.reshape(ops.matmul(x, taps), (-1, frames, height * width, self.STRIDE, self.filters))
        y = ops.swapaxes(y, 2, 3)  # [B, T, 4, H*W, C']
        return ops.reshape(y, (-1, self.STRIDE * frames, height * width, self.filters))

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        batch, frames, height, width, _ = x_shape
        return (batch, None if frames is None else self.STRIDE * frames, height, width, self.filters)

    def get_config(self) -> Config:
        return super().get_config() | {"filters": self.filters, "torch_names": self.torch_names}
