"""A flow: a density that learns its form, for losses that do not know how errors are spread."""

import itertools
import typing

import keras
import numpy as np
from keras import ops

from kerapose.types import Config, Shape, Tensor

__all__ = ["RealNVP"]

SLOPE = 0.01  # of what is below 0 between the dense layers
WEIGHTS = ("weight", "bias")


@keras.saving.register_keras_serializable("kerapose")
class RealNVP(keras.layers.Layer):
    """The density of points in the plane, as a normal one that a few couplings bend.

    Each coupling moves and stretches one coordinate by what two small networks make of the other; the two take turns.
    As it is made, all of them do next to nothing, and the density is that of a standard normal.

    Args:
        num_couplings: how many couplings there are.
        width: units of the two hidden layers of each small network.
        **kwargs: of `keras.layers.Layer`. It computes in float32 whatever the policy.

    Input: [..., 2]. Output: the logarithm of the density, [...].

    Example:
        >>> from kerapose import losses
        >>> flow = losses.RealNVP()
        >>> np.asarray(flow(np.float32([[0, 0], [1, 1]])))  # -log(2 pi), and 1 less
        array([-1.84, -2.84], dtype=float32)

    Paper: Dinh et al., "Density Estimation Using Real NVP", ICLR 2017.
    """

    def __init__(self, num_couplings: int = 6, width: int = 64, **kwargs: typing.Any):
        super().__init__(**(kwargs | {"dtype": "float32"}))
        self.num_couplings = num_couplings
        self.width = width
        self.build((None, 2))  # so that an optimizer knows its weights before the first batch

    def build(self, x_shape: Shape) -> None:
        if self.built:
            return
        widths = (2, self.width, self.width, 2)
        self.nets = {}  # by the names of PyTorch: "s.0.2.weight", the second layer that tells how much 0 stretches
        for net, coupling, index in itertools.product("st", range(self.num_couplings), range(3)):
            shapes = (widths[index : index + 2], widths[index + 1 : index + 2])
            for kind, shape in zip(WEIGHTS, shapes, strict=True):
                name = f"{net}.{coupling}.{2 * index}.{kind}"
                initializer = keras.initializers.RandomNormal(stddev=0.01) if kind == "weight" else "zeros"
                self.nets[name] = self.add_weight(name=name.replace(".", "_"), shape=shape, initializer=initializer)
        super().build(x_shape)

    def call(self, x: Tensor) -> Tensor:
        z, log_determinant = self.to_latent(x)
        log_prior = -0.5 * ops.sum(ops.square(z), axis=-1) - np.float32(np.log(2 * np.pi))
        return log_prior + log_determinant

    def to_latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where the couplings bring points, and by how much that stretches the plane there.

        Args:
            x: [..., 2].

        Returns:
            Points [..., 2], which are spread as a standard normal if the flow is right; the logarithm of the
            determinant [...].
        """
        z, log_determinant = ops.cast(x, "float32"), 0.0
        for coupling in reversed(range(self.num_couplings)):
            stays = ops.convert_to_tensor([1.0, 0.0] if coupling % 2 else [0.0, 1.0], dtype="float32")
            kept = stays * z
            stretch = (1 - stays) * ops.tanh(self._net("s", coupling, kept))
            shift = (1 - stays) * self._net("t", coupling, kept)
            z = (1 - stays) * (z - shift) * ops.exp(-stretch) + kept
            log_determinant = log_determinant - ops.sum(stretch, axis=-1)
        return z, log_determinant

    def _net(self, net, coupling, x):
        for index in range(3):
            kernel, bias = (self.nets[f"{net}.{coupling}.{2 * index}.{kind}"] for kind in WEIGHTS)
            x = ops.matmul(x, kernel) + bias
            x = ops.leaky_relu(x, SLOPE) if index < 2 else x
        return x  # [..., 2]

    def torch_weights(self) -> dict[str, keras.Variable]:
        """Its variables by their names in published files, below "flow_model."."""
        return dict(self.nets)

    def unused_torch_weights(self) -> dict[str, Shape]:
        """What published files have of a flow beside these, constants: {name: shape}."""
        return {"loc": (2,), "cov": (2, 2), "mask": (self.num_couplings, 2)}

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape[:-1]

    def get_config(self) -> Config:
        return super().get_config() | {"num_couplings": self.num_couplings, "width": self.width}
