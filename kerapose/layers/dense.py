"""A dense layer with a published name."""

import typing
from collections.abc import Sequence

import keras

from kerapose.types import Config


@keras.saving.register_keras_serializable("kerapose")
class Dense(keras.layers.Dense):
    """Keras's dense layer, which also knows what it is called in the published checkpoint.

    Args:
        units: number of outputs.
        torch_names: the one name that it has there. None: the layer's own.
        **kwargs: the other arguments of `keras.layers.Dense`.

    Input: [..., C]. Output: [..., units].

    Example:
        >>> from kerapose import layers
        >>> layer = layers.Dense(60, torch_names=("head.fc_cls",))
        >>> tuple(layer(np.zeros((2, 512))).shape), layer.torch_names
        ((2, 60), ('head.fc_cls',))
    """

    def __init__(self, units: int, torch_names: Sequence[str] | None = None, **kwargs: typing.Any):
        super().__init__(units, **kwargs)
        self.torch_names = tuple(torch_names or (self.name,))

    def get_config(self) -> Config:
        return super().get_config() | {"torch_names": self.torch_names}
