"""The sizes of batches: that they are some, and few shapes for what is compiled anew for each."""

import keras
import tensorflow as tf


def check_positive(**numbers: int) -> None:
    """Raises a ValueError, with their names, unless all numbers are positive."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; give a positive number.")


def few_shapes(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of few shapes, as JAX compiles a step anew for each: there open axes get zeros up to a power of 2.

    Such is the axis of the people in a batch of clips [B, M, T, K, 2], whose zeros are nobody.

    Args:
        batches: of dicts or tuples of arrays [B, ...].

    Example:
        >>> import tensorflow as tf
        >>> from kerapose.data.shapes import few_shapes
        >>> batches = tf.data.Dataset.from_tensors({"scores": scores[None]})
        >>> [tuple(batch["scores"].shape) for batch in few_shapes(batches)]
        [(1, 2, 30, 17)]
    """

    def close(*batch):
        return tf.nest.map_structure(_close, batch)

    if keras.backend.backend() != "jax":
        return batches
    shapes = [spec.shape[1:] for spec in tf.nest.flatten(batches.element_spec)]
    return batches if all(shape.is_fully_defined() for shape in shapes) else batches.map(close, tf.data.AUTOTUNE)


def _close(array):
    """[B, ...] with zeros behind its axes of no fixed size, but for the first."""
    sizes = tf.shape(array)
    lesser = 2 ** tf.range(31) < sizes[:, None]  # which powers of 2 are too small
    added = 2 ** tf.reduce_sum(tf.cast(lesser, tf.int32), axis=1) - sizes
    fixed = [axis == 0 or size is not None for axis, size in enumerate(array.shape)]
    return tf.pad(array, tf.stack([tf.zeros_like(added), tf.where(fixed, 0, added)], axis=1))
