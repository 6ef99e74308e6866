"""What copies of a model that are trained together tell each other; for one alone, nothing.

Copies there are under TensorFlow's strategies. Under JAX a step sees the whole batch, however many devices compute it.
"""

import keras
from keras import ops

from kerapose.types import Tensor

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def count() -> int:
    """How many copies are trained together; 1 outside of their step.

    Example:
        >>> from kerapose.layers import replicas
        >>> replicas.count()
        1
    """
    context = tf.distribute.get_replica_context() if keras.backend.backend() == "tensorflow" else None
    return context.num_replicas_in_sync if context else 1


def gathered(x: Tensor) -> Tensor:
    """What each copy has, one after the other, with its gradient.

    Args:
        x: [...], of the same shape for all.

    Returns:
        [R, ...], R the number of copies.

    Example:
        >>> from kerapose.layers import replicas
        >>> tuple(replicas.gathered(np.zeros(3)).shape)
        (1, 3)
    """
    x = ops.expand_dims(x, 0)
    return x if count() == 1 else tf.distribute.get_replica_context().all_gather(x, axis=0)


def mean(x: Tensor) -> Tensor:
    """The mean of what the copies have.

    Args:
        x: [...], of the same shape for all.

    Returns:
        [...]

    Example:
        >>> from kerapose.layers import replicas
        >>> float(replicas.mean(np.float32(3)))
        3.0
    """
    return x if count() == 1 else tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, x)


def rows_of_whole(whole: Tensor, size: Tensor) -> Tensor:
    """Of what was made for the batches of all copies, the rows of this one.

    Args:
        whole: [R * B, ...].
        size: B, rows of the batch of each copy.

    Returns:
        [B, ...]
    """
    if count() == 1:
        return whole
    first = size * tf.distribute.get_replica_context().replica_id_in_sync_group
    return whole[first : first + size]
