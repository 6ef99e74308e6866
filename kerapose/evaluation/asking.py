"""How a protocol asks an estimator: compiled, by whatever Keras computes with."""

import typing
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

if keras.backend.backend() == "jax":
    import jax


def compiled(
    model: keras.Model,
    ask: Callable[..., typing.Any],
    signature: Sequence[tf.TensorSpec] | None = None,
) -> Callable[..., typing.Any]:
    """A function of arrays that asks a model, whose weights may change in between.

    TensorFlow compiles it once for all shapes; JAX compiles it anew for each, so give it few.

    Args:
        model: the network or the estimator.
        ask: a method of it.
        signature: the `tf.TensorSpec` of each argument. None: those of the first call, with the sides that change left
            open.

    Returns:
        Function of the same arguments that gives NumPy arrays.
    """
    if keras.backend.backend() == "tensorflow":
        # Without AutoGraph, which has nothing to convert here, but takes seconds to find that out.
        relaxed = {"input_signature": signature} if signature else {"reduce_retracing": True}
        return _to_numpy(tf.function(lambda *args, **options: ask(*args, **options), autograph=False, **relaxed))
    if keras.backend.backend() != "jax":
        return _to_numpy(ask, _from_numpy)

    @jax.jit
    def answer(values, args, options):
        with keras.StatelessScope(list(zip(model.variables, values, strict=True))):
            return ask(*args, **options)

    def values():
        """The weights; where several hosts have them, as this one does."""
        values = [variable.value for variable in model.variables]
        return [value if value.is_fully_addressable else np.asarray(value) for value in values]

    return _to_numpy(lambda *args, **options: answer(values(), args, options), _from_numpy)


def _to_numpy(ask, given=lambda arrays: arrays):
    """The function whose answers are NumPy arrays, and whose arguments are what another makes of them."""

    def answer(*args, **options):
        return keras.tree.map_structure(keras.ops.convert_to_numpy, ask(*given(args), **given(options)))

    return answer


def _from_numpy(arrays):
    """What TensorFlow's pipelines give, as other backends take it."""
    return keras.tree.map_structure(lambda array: None if array is None else np.asarray(array), arrays)
