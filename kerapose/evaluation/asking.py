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
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Without AutoGraph, which has nothing to convert here, but takes seconds to find that out.
        relaxed = {"input_signature": signature} if signature else {"reduce_retracing": True}
        asked = tf.function(lambda *args, **options: ask(*args, **options), autograph=False, **relaxed)
    else:
        asked = _jitted(model, ask) if backend == "jax" else ask

    def answer(*args, **options):
        if backend != "tensorflow":  # others take none of its tensors
            args, options = keras.tree.map_structure(_to_numpy, (args, options))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, asked(*args, **options))

    return answer


def _jitted(model, ask):
    """A function of arrays that asks a model, compiled by JAX, which is given the weights anew each time."""

    @jax.jit
    def answer(values, args, options):
        with keras.StatelessScope(list(zip(model.variables, values, strict=True))):
            return ask(*args, **options)

    def values():
        found = [variable.value for variable in model.variables]
        # What several hosts have together, this one asks for itself.
        return [value if value.is_fully_addressable else np.asarray(value) for value in found]

    return lambda *args, **options: answer(values(), args, options)


def _to_numpy(array):
    return None if array is None else np.asarray(array)
