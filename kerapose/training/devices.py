"""What a training runs on: seeds, precision, determinism, devices."""

import pathlib
import typing
from collections.abc import Sequence

import keras
import tensorflow as tf
from absl import logging

from kerapose.data.order import Share
from kerapose.training import multi_worker
from kerapose.training.jax_devices import DataParallel, check_jax_determinism
from kerapose.training.options import OF_SEVERAL_HOSTS, STRATEGIES


def set_up(config: dict[str, typing.Any]) -> None:
    """Seeds everything, makes operations repeatable where they are to be, and sets the precision policy.

    All of it is the whole process's, and once made repeatable, operations stay so.

    Args:
        config: dict of "seed", an int; "precision", the name of a policy of Keras, or "auto": mixed_bfloat16 on a CPU
            that multiplies in it, or float32; and "deterministic", None for: on a CPU alone.

    Example:
        >>> import keras
        >>> from kerapose import training
        >>> training.set_up({"seed": 0, "precision": "float32", "deterministic": False})
        >>> keras.config.dtype_policy().name, round(float(keras.random.uniform(())), 3)
        ('float32', 0.516)
    """
    keras.utils.set_random_seed(config["seed"])
    if is_deterministic(config):
        tf.config.experimental.enable_op_determinism()
        if keras.backend.backend() == "jax" and _gpus():
            check_jax_determinism()
    precision = config["precision"]
    if precision == "auto":
        precision = "mixed_bfloat16" if _cpu_multiplies_bfloat16() and not _gpus() else "float32"
    keras.config.set_dtype_policy(precision)
    logging.info("Computing in %s.", precision)


def is_deterministic(config: dict[str, typing.Any]) -> bool:
    """Whether operations are to be repeatable: as "deterministic" says, or where that is None on a CPU."""
    return not _gpus() if config["deterministic"] is None else config["deterministic"]


def make_strategy(
    name: str,
    batch_size: int | None = None,
    worker_hosts: Sequence[str] | None = None,
    worker_index: int | None = None,
    told: dict[str, typing.Any] | None = None,
) -> tf.distribute.Strategy | DataParallel:
    """The strategy of a name.

    Args:
        name: "none", one device; "mirrored", a copy of the model on each; "multi_worker", on each of several
            machines, whose processes all make this strategy before TensorFlow computes anything; or
            "jax_data_parallel", on each device of JAX.
        batch_size: samples a step, which the devices share. None: that is not looked at.
        worker_hosts: "HOST:PORT" of each machine, the same on all. None: as TF_CONFIG says.
        worker_index: which of them this process is, from 0 on. None: as TF_CONFIG says.
        told: what must be the same on all machines, by name, for JSON.

    Returns:
        A `tf.distribute.Strategy`, or a `DataParallel` on JAX; build and compile the model within its `scope()`.

    Raises:
        ValueError: if it is another name, or one of another backend; if the devices cannot share a batch; if the
            workers are not given, or are told other things.
        OSError: of "multi_worker", if the port of this worker is taken.
        TimeoutError: likewise, if some worker does not come.
        RuntimeError: likewise, if TensorFlow has computed something before.

    Example:
        >>> from kerapose import models, training
        >>> with training.make_strategy("none", batch_size=32).scope():
        ...     network = models.TemporalLifter(filter_widths=(3, 3), channels=16)
        >>> network.output_shape
        (None, None, 17, 3)
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {name!r}; use one of them.")
    if name not in OF_SEVERAL_HOSTS and (worker_hosts or worker_index is not None):
        raise ValueError(
            f"Workers are those of {' or '.join(OF_SEVERAL_HOSTS)}, got the strategy {name} with them; leave them out."
        )
    if name == "jax_data_parallel":
        strategy = DataParallel(worker_hosts, worker_index, told)
        check_batch_size(batch_size, strategy)
        return strategy
    DataParallel.end()
    if name == "none":
        return tf.distribute.get_strategy()
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{name} is a strategy of TensorFlow, got KERAS_BACKEND={keras.backend.backend()}; use jax_data_parallel "
            "on JAX, or none."
        )
    if name == "multi_worker":
        strategy = multi_worker.join(worker_hosts, worker_index, told)
        check_batch_size(batch_size, strategy)
        return strategy
    devices = _gpus() or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    logging.info("Mirrored over %d devices.", strategy.num_replicas_in_sync)
    check_batch_size(batch_size, strategy)
    return strategy


def check_batch_size(batch_size: int | None, strategy: tf.distribute.Strategy | DataParallel) -> None:
    """Refuses a batch that the devices of a strategy cannot share.

    Args:
        batch_size: samples a step, over all devices. None: that is not looked at.
        strategy: of `make_strategy`.

    Raises:
        ValueError: if there are fewer samples than devices, or, of several workers or on JAX, no whole number for each.
    """
    if batch_size is None:
        return
    if isinstance(strategy, DataParallel):
        Share(strategy.index, strategy.count, strategy.devices // strategy.count).size(batch_size)
        return
    if batch_size < strategy.num_replicas_in_sync:
        raise ValueError(
            f"Each of {strategy.num_replicas_in_sync} devices needs a sample a step, got batch_size {batch_size}; "
            "raise it, or let fewer devices be seen."
        )
    workers = multi_worker.MultiWorkers(strategy)
    if workers.count > 1:
        workers.share.size(batch_size)


def filled_up(batches: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches all of which have the full size, so that no device of a strategy is left without a sample.

    A last batch of few samples would be shared out to the first devices alone, and a convolution of nothing fails on
    some. It is filled up with its own samples again, whose weights are 0: metrics that are compiled as
    `weighted_metrics` do not count them. Keras's mean of a loss does, as zeros.

    Args:
        batches: of (inputs, targets), or of (inputs, targets, weights): each an array or a dict of them.
        batch_size: samples a batch.

    Returns:
        A `tf.data.Dataset` of (inputs, targets, weights); the weights are [batch_size], 1 or 0, where none were given.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose import training
        >>> batches = tf.data.Dataset.from_tensor_slices((np.arange(5.0), np.arange(5))).batch(3)
        >>> [weights.numpy().tolist() for _, _, weights in training.filled_up(batches, batch_size=3)]
        [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    """

    @tf.autograph.experimental.do_not_convert
    def fill(inputs, targets, weights=None):
        count = tf.shape(tf.nest.flatten(inputs)[0])[0]
        places = tf.range(batch_size)

        def again(array):  # [b, ...] -> [batch_size, ...]
            return tf.ensure_shape(tf.gather(array, places % count), (batch_size, *array.shape[1:]))

        counts = tf.cast(places < count, tf.float32)
        if weights is None:
            weights = counts
        else:
            weights = again(weights)
            weights *= tf.reshape(tf.cast(counts, weights.dtype), (-1, *[1] * (weights.shape.rank - 1)))
        return tf.nest.map_structure(again, inputs), tf.nest.map_structure(again, targets), weights

    return batches.map(fill, tf.data.AUTOTUNE)


def _gpus():
    if keras.backend.backend() == "jax":
        return [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]
    return tf.config.list_logical_devices("GPU")


def _cpu_multiplies_bfloat16():
    """Whether the processor says that it has matrix or vector instructions for bfloat16 (Linux)."""
    try:
        said = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in said or "avx512_bf16" in said
