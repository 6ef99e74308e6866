"""A convolution, batch norm, shortcut and activation as one layer: what most networks are made of.

At inference a batch norm is a constant scale and shift, so it is folded into the convolution's kernel on the fly.
"""

import typing
from collections.abc import Callable, Sequence

import keras
from keras import ops

from kerapose.layers.convolutions import add_bias, convolve_2d, convolve_3d, depthwise_2d
from kerapose.layers.initializers import he_normal
from kerapose.layers.norms import Normalizing
from kerapose.types import Config, Shape, Tensor


@keras.saving.register_keras_serializable("kerapose")
class ConvNorm(Normalizing):
    """A convolution over frames and space, or over space, then batch norm, then an activation.

    Padding is symmetric, `(kernel - 1) // 2` on both sides, at any stride (Keras "same" pads the far side more).

    Args:
        filters: number of output channels; with `depthwise` it must equal the number of input channels.
        kernel_size: (t, h, w) or (h, w), odd numbers.
        strides: (t, h, w) or (h, w), or one number for all.
        activation: name of a Keras activation, or None.
        norm: whether a batch norm follows the convolution.
        use_bias: whether the convolution has a bias of its own. Before a batch norm it only changes the running mean;
            some published networks have it nevertheless.
        depthwise: whether each channel has a filter of its own. Over frames the filter is applied as a sum of 2D
            depthwise convolutions over its temporal taps: a grouped `Conv3D` is more than 100 times slower on the CPU,
            and neither LiteRT nor ONNX takes it.
        dilation: pixels from one tap of the kernel to the next, for a convolution over space with stride 1. The padding
            grows with it: `dilation * (kernel - 1) // 2`.
        gamma_initializer: initializer of the batch norm's scale ("zeros" on the last norm of a residual branch).
        kernel_initializer: of the kernel. None: He's, by the fan-out.
        torch_names: what the convolution and the batch norm are called in the published checkpoint, with dots, which a
            layer's own name may not have. None: the layer's own name, followed by ".conv" and ".bn".

    Input: [B, T, H, W, C], with T, H, W known when the layer is built, or [B, H, W, C]; and, as a second argument, an
    optional shortcut of the output's shape, which is added before the activation. Output: [B, T', H', W', filters] or
    [B, H', W', filters].

    Raises:
        ValueError: if there are a dilation and a stride, `kernel_size` does not fit the input, or `depthwise` would
            change the number of channels.

    Example:
        >>> from kerapose import layers
        >>> layer = layers.ConvNorm(64, (1, 3, 3), strides=(1, 2, 2))
        >>> tuple(layer(np.zeros((2, 8, 56, 56, 17))).shape)
        (2, 8, 28, 28, 64)
        >>> tuple(layers.ConvNorm(64, (7, 7), strides=2)(np.zeros((2, 64, 48, 3))).shape)
        (2, 32, 24, 64)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Sequence[int],
        strides: int | Sequence[int] = 1,
        activation: str | Callable[[Tensor], Tensor] | None = "relu",
        norm: bool = True,
        use_bias: bool = False,
        depthwise: bool = False,
        dilation: int = 1,
        gamma_initializer: str | keras.initializers.Initializer = "ones",
        kernel_initializer: str | keras.initializers.Initializer | None = None,
        torch_names: Sequence[str | None] | None = None,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = (strides,) * len(self.kernel_size) if isinstance(strides, int) else tuple(strides)
        if dilation != 1 and self.strides != (1, 1):
            raise ValueError(
                f"A dilated convolution is one over space with stride 1, got dilation={dilation} with strides "
                f"{self.strides}; leave one of them 1."
            )
        self.dilation = dilation
        self.activation = keras.activations.get(activation)
        self.norm = norm
        self.use_bias = use_bias
        self.depthwise = depthwise
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.kernel_initializer = keras.initializers.get(kernel_initializer or he_normal())
        self.torch_names = tuple(torch_names or (f"{self.name}.conv", f"{self.name}.bn"))

    def build(self, x_shape: Shape, shortcut_shape: Shape | None = None) -> None:
        channels = x_shape[-1]
        if len(x_shape) != len(self.kernel_size) + 2:
            raise ValueError(
                f"kernel_size has one number for each axis between batch and channels, got {self.kernel_size} for an "
                f"input {x_shape}; give {len(x_shape) - 2} numbers."
            )
        if self.depthwise and channels != self.filters:
            raise ValueError(
                f"A depthwise convolution keeps its channels, got {channels} channels in and filters={self.filters}; "
                f"use filters={channels}."
            )
        shape = self.kernel_size + ((channels, 1) if self.depthwise else (channels, self.filters))
        # Kernels are read in float32 (autocast off), because folding the norm in bfloat16 would lose three digits.
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer, autocast=False)
        if self.norm:
            self._build_norm(self.filters, self.gamma_initializer)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros", autocast=False)

    def call(self, x: Tensor, shortcut: Tensor | None = None, training: bool = False) -> Tensor:
        if not self.norm:
            return self._convolve(x, self.kernel, self._add_bias, shortcut, training)
        if training and self.trainable:
            return self._convolve(x, self.kernel, lambda y: self._normalize(y, self.bias), shortcut, training)
        scale, shift = self._scale_and_shift(0.0 if self.bias is None else self.bias)
        shift = ops.cast(shift, self.compute_dtype)
        kernel = self.kernel * (ops.expand_dims(scale, -1) if self.depthwise else scale)
        return self._convolve(x, kernel, lambda y: add_bias(y, shift), shortcut, training)

    def _add_bias(self, x):
        return x if self.bias is None else add_bias(x, ops.cast(self.bias, self.compute_dtype))

    def _convolve(self, x, kernel, then, shortcut=None, training=False):
        """Convolution, `then`, shortcut and activation, all on the merged axes, where a backend can fuse them."""
        dtype = self._convolution_dtype(training)
        x, kernel = ops.cast(x, dtype), ops.cast(kernel, dtype)
        if len(self.kernel_size) == 2:
            convolve = depthwise_2d if self.depthwise else convolve_2d
            y = convolve(x, kernel, self.strides, self.dilation)  # [B, H', W', C']
            y = then(ops.cast(y, self.compute_dtype))
            return self.activation(y if shortcut is None else y + shortcut)
        shape = self.compute_output_shape(x.shape)
        y = then(ops.cast(convolve_3d(x, kernel, self.strides, self.depthwise), self.compute_dtype))
        if shortcut is not None:
            y = y + ops.reshape(shortcut, (-1, *y.shape[1:]))
        return ops.reshape(self.activation(y), (-1, *shape[1:]))  # [B, T', H', W', C']

    def _convolution_dtype(self, training):
        """What the convolution is computed in: the compute type, but where its gradient has no bfloat16 kernel."""
        slow = training and self.depthwise and max(self.strides) > 1 and self.compute_dtype == "bfloat16"
        return "float32" if slow else self.compute_dtype

    def compute_output_shape(self, x_shape: Shape, shortcut_shape: Shape | None = None) -> Shape:
        spatial = tuple(
            None if size is None else (size - 1) // stride + 1
            for size, stride in zip(x_shape[1:-1], self.strides, strict=True)
        )
        return (x_shape[0], *spatial, self.filters)

    def get_config(self) -> Config:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": keras.activations.serialize(self.activation),
            "norm": self.norm,
            "use_bias": self.use_bias,
            "depthwise": self.depthwise,
            "dilation": self.dilation,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "torch_names": self.torch_names,
        }
