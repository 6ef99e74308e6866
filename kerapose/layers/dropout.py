"""Dropout of a batch that several copies of a model share."""

import typing

import keras
from keras import ops

from kerapose.layers import replicas
from kerapose.types import Tensor


@keras.saving.register_keras_serializable("kerapose")
class Dropout(keras.layers.Dropout):
    """Keras's dropout, which drops the same values of a batch however many copies of the model share it.

    Keras's own would drop the same places in the part of each copy. This one draws for the whole batch, so that
    training on several devices or machines gives what one device would have given.

    Args:
        rate: share of the values that are set to 0.
        **kwargs: of `keras.layers.Dropout`: with ``noise_shape=(None, 1, 1, None)`` whole maps are dropped.

    Input and output: [B, ...].

    Example:
        >>> from kerapose import layers
        >>> dropped = np.asarray(layers.Dropout(0.5, seed=0)(np.ones((1, 1000)), training=True))
        >>> np.unique(dropped).tolist()  # 0, or 1 / (1 - rate)
        [0.0, 2.0]
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        copies = replicas.count()
        if not training or not self.rate or copies == 1:
            return super().call(inputs, training=training)
        size = ops.shape(inputs)[0]
        shape = (size * copies, *ops.shape(inputs)[1:])
        if self.noise_shape is not None:
            shape = tuple(1 if fixed == 1 else side for side, fixed in zip(shape, self.noise_shape, strict=True))
        ones = ops.ones(shape, self.compute_dtype)
        kept: typing.Any = keras.random.dropout(ones, self.rate, seed=self.seed_generator)
        return inputs * replicas.rows_of_whole(kept, size)
