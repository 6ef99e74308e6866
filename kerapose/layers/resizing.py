"""Layers without weights that make pictures and clips smaller or larger."""

import typing

import keras
from keras import ops

from kerapose.layers.convolutions import pad_symmetric
from kerapose.types import Config, Shape, Tensor

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("kerapose")
class Upsample(keras.layers.Layer):
    """Makes each pixel a block of equal ones.

    Args:
        factor: side of the block.

    Input: [B, H, W, C]. Output: [B, factor * H, factor * W, C].

    Example:
        >>> from kerapose import layers
        >>> y = layers.Upsample(2)(np.float32([1, 2]).reshape(1, 1, 2, 1))
        >>> np.asarray(y)[0, ..., 0].tolist()
        [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """

    def __init__(self, factor: int = 2, **kwargs: typing.Any):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Tensor) -> Tensor:
        if keras.backend.backend() == "tensorflow":
            return _resize(x, self.factor)
        batch, height, width, channels = ops.shape(x)
        x = ops.reshape(x, (batch, height, 1, width, 1, channels))
        x = ops.broadcast_to(x, (batch, height, self.factor, width, self.factor, channels))
        return ops.reshape(x, (batch, self.factor * height, self.factor * width, channels))

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        batch, height, width, channels = x_shape
        return (batch, *(None if size is None else size * self.factor for size in (height, width)), channels)

    def get_config(self) -> Config:
        return super().get_config() | {"factor": self.factor}


def _resize(x, factor):
    """Blocks of equal pixels by TensorFlow, whose own gradient of it neither XLA nor a repeatable GPU has.

    Average pooling gives the same gradient, and is a little faster on the CPU. Repetitions, tiles and broadcasting take
    1.1 to 4 times as long, with the gradients that TensorFlow derives of them.
    """

    @tf.custom_gradient
    def resize(x):
        _, height, width, _ = ops.shape(x)

        def gradient(upstream):
            return factor**2 * tf.nn.avg_pool2d(upstream, factor, factor, "VALID")

        # By corners: ONNX runtimes are about to forget the other rule.
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=(factor * height, factor * width)), gradient

    return resize(x)


@keras.saving.register_keras_serializable("kerapose")
class FramePool(keras.layers.Layer):
    """Pools each frame in space, then optionally frames in pairs: 3D pooling that LiteRT runs, too.

    Args:
        mode: "max" or "average".
        pool_size: height and width of the window, pixels.
        stride: of the window, pixels.
        symmetric: whether to pad by `pool_size // 2` on both sides. Else there is no padding, and what is left over at
            the right and below is dropped.
        frame_pairs: whether to average the frames in pairs, too, an odd last one dropped.

    Input: [B, T, H, W, C], for "max" with symmetric padding not negative. Output: [B, T or T // 2, H', W', C].

    Example:
        >>> from kerapose import layers
        >>> pool = layers.FramePool("max", pool_size=2, stride=2, frame_pairs=True)
        >>> tuple(pool(np.zeros((2, 8, 56, 56, 4))).shape)
        (2, 4, 28, 28, 4)
    """

    def __init__(
        self,
        mode: str,
        pool_size: int,
        stride: int,
        symmetric: bool = False,
        frame_pairs: bool = False,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        self.mode = mode
        self.pool_size = pool_size
        self.stride = stride
        self.symmetric = symmetric
        self.frame_pairs = frame_pairs

    def call(self, x: Tensor) -> Tensor:
        batch_shape = self.compute_output_shape(x.shape)
        frames = x.shape[1]
        x = ops.reshape(x, (-1, *x.shape[2:]))  # [B*T, H, W, C]
        pool = ops.max_pool if self.mode == "max" else ops.average_pool
        if self.symmetric and self.stride > 1:
            x = pad_symmetric(x, (self.pool_size, self.pool_size))
        padding = "same" if self.symmetric and self.stride == 1 else "valid"
        x = pool(x, self.pool_size, self.stride, padding)
        if self.frame_pairs:
            size = x.shape[1:]
            x = ops.reshape(x, (-1, frames, *size))  # [B, T, H', W', C]
            x = x[:, :-1] if frames % 2 else x
            x = ops.mean(ops.reshape(x, (-1, 2, *size)), axis=1)  # [B*T/2, H', W', C]
        return ops.reshape(x, (-1, *batch_shape[1:]))

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        batch, frames, height, width, channels = x_shape
        margin = 2 * (self.pool_size // 2) if self.symmetric else 0
        height, width = ((size + margin - self.pool_size) // self.stride + 1 for size in (height, width))
        return (batch, frames // 2 if self.frame_pairs else frames, height, width, channels)

    def get_config(self) -> Config:
        names = ("mode", "pool_size", "stride", "symmetric", "frame_pairs")
        return super().get_config() | {name: getattr(self, name) for name in names}
