"""Training on JAX's devices, of one host or of several: every one has the model, and a share of each batch."""

import contextlib
import math
import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from kerapose.data.order import WHOLE, Share
from kerapose.training import workers
from kerapose.types import Array

if keras.backend.backend() == "jax":
    import jax
    from jax.experimental import multihost_utils

REPEATABLE_GPU = "--xla_gpu_deterministic_ops=true"
SIGNS_OF_A_LOSS = ("Connection closed", "Connection reset", "heartbeat", "coordination service", "Gloo")


class DataParallel(workers.Workers):
    """Keras's data parallelism over all devices of JAX, of all hosts, for the trainings of this process.

    Every device has all weights and a share of each batch; what is computed is what one device would compute of the
    whole batch, up to rounding. Batch norms see the whole batch, too.

    Several hosts run the same command, each with its own index, and the first one writes the files. Every host reads
    all samples, and lets go those of the others.

    Args:
        worker_hosts: "HOST:PORT" of each host, the same on all. None: as Keras's environment variables say,
            `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`;
            without these this host is alone.
        worker_index: which of them this process is, from 0 on. None: likewise.
        told: what must be the same on all hosts, by name, for JSON.

    Raises:
        ValueError: if Keras computes with another backend; if the hosts are told other things.

    Example:
        >>> from kerapose import training
        >>> strategy = training.DataParallel()  # doctest: +SKIP
        >>> with strategy.scope():  # doctest: +SKIP
        ...     model = make_model()
        >>> model.fit(strategy.evenly(batches))  # doctest: +SKIP
        >>> training.DataParallel()  # where Keras computes with TensorFlow
        Traceback (most recent call last):
            ...
        ValueError: jax_data_parallel is a strategy of JAX, got KERAS_BACKEND=tensorflow; set it to jax, or use
        another strategy.
    """

    def __init__(
        self,
        worker_hosts: Sequence[str] | None = None,
        worker_index: int | None = None,
        told: workers.Told | None = None,
    ):
        if keras.backend.backend() != "jax":
            raise ValueError(
                f"jax_data_parallel is a strategy of JAX, got KERAS_BACKEND={keras.backend.backend()}; set it to jax, "
                "or use another strategy."
            )
        _join(worker_hosts, worker_index)
        self.distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        super().__init__(jax.process_index(), jax.process_count(), self.distribution.num_model_replicas)
        logging.info("Data parallel over %d devices of %d hosts.", self.devices, self.count)
        self.agree({"keras": keras.__version__, "jax": jax.__version__} | (told or {}))
        keras.distribution.set_distribution(self.distribution)
        workers.current = self

    @staticmethod
    def end() -> None:
        """Lets what comes after in this process, and the trained model's test, run on one device."""
        if workers.current is not None:
            keras.distribution.set_distribution(None)
            workers.current = None

    def scope(self) -> contextlib.AbstractContextManager:
        """The context to build a model in, as strategies of TensorFlow have it."""
        return self.distribution.scope()

    def evenly(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Batches that the devices can share evenly, of several hosts this one's rows of them.

        What they cannot, a last batch of few samples, is repeated until they can: its samples count as often as each
        other, so that the mean of their losses, and the batch norms' of them, are what they were.

        Args:
            batches: of dicts or tuples of arrays [B, ...].
        """
        times = [self.devices // math.gcd(rest, self.devices) for rest in range(self.devices)]  # by what remains of B

        def repeat(*batch):
            count = tf.shape(tf.nest.flatten(batch)[0])[0]
            repeats = tf.gather(times, count % self.devices)
            indices = tf.range(count * repeats) % count
            return tf.cond(
                repeats == 1,
                lambda: batch,
                lambda: tf.nest.map_structure(lambda array: tf.gather(array, indices), batch),
            )

        batches = batches.map(repeat, tf.data.AUTOTUNE)
        if self.count == 1:
            return batches
        share = Share(self.index, self.count)
        return batches.map(lambda *batch: tf.nest.map_structure(lambda array: share.rows(np.int32(0), array), batch))

    def divided(self, batches: Callable[[Share], tf.data.Dataset]) -> tf.data.Dataset:
        """This host's rows of batches.

        Args:
            batches: function of a share that gives them, as the pipelines of `data` do; it is asked for the whole.
        """
        return self.evenly(batches(WHOLE))

    divided_whole = evenly

    def summed(self, array: Array) -> Array:
        if self.count == 1:
            return array
        return np.sum(multihost_utils.process_allgather(np.asarray(array, "int32")), axis=0, dtype="int32")

    def tells_of_a_loss(self, error: Exception) -> bool:
        return isinstance(error, jax.errors.JaxRuntimeError) and any(sign in str(error) for sign in SIGNS_OF_A_LOSS)


def begin(export: bool) -> None:
    """What a training under another backend than TensorFlow's does first, before any data are read.

    Pipelines are TensorFlow's all the same, which would take the memory of all GPUs.

    Args:
        export: whether a SavedModel is asked for.

    Raises:
        ValueError: if it is.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return
    if export:
        raise ValueError(
            f"A SavedModel is written by TensorFlow, got export under KERAS_BACKEND={backend}; leave it out, and give "
            "model.keras to kerapose.export under TensorFlow."
        )
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        logging.warning("TensorFlow keeps its GPUs beside %s: %s", backend, error)


def check_jax_determinism() -> None:
    """Refuses to call operations of JAX on a GPU repeatable where nobody has told XLA so.

    Raises:
        ValueError: if `XLA_FLAGS` does not say it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if REPEATABLE_GPU not in flags.split():
        raise ValueError(
            f"On a GPU JAX is repeatable if XLA is told so from the start, got deterministic with XLA_FLAGS={flags!r}; "
            f"add {REPEATABLE_GPU} to them, or give deterministic=False."
        )


def _join(hosts, index):
    """Makes this process one of several hosts, once, if it is one, before JAX computes anything."""
    if jax.distributed.is_initialized():
        return
    if hosts:
        keras.distribution.initialize(",".join(hosts), len(hosts), index)
    elif "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ:
        keras.distribution.initialize()
