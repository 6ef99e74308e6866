"""TensorFlow's strategy of several machines: how its workers join and talk, and what steps round Keras."""

import collections.abc
import contextlib
import functools
import json
import os

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from keras.src.backend.tensorflow import trainer as keras_trainer
from tensorflow.python.distribute import multi_worker_util
from tensorflow.python.eager import context as tensorflow_context

from kerapose.data.order import Share
from kerapose.training import meeting, workers
from kerapose.training.workers import Told, Workers
from kerapose.types import Array

KERAS = "3.15"  # the version whose `fit` was tried with what `step_round_keras` puts in place
SILENCE_S = 30  # of a worker, after which the others give up
MESSAGE = 1 << 24  # numbers in one message
SIGNS_OF_A_LOSS = ("Collective ops is aborted", "CoordinationService", "heartbeat")
_joined = {}  # the place of this process, once it has one, and its strategy


# ---------------------------------------- the strategy
def join(
    hosts: collections.abc.Sequence[str] | None = None, index: int | None = None, told: Told | None = None
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Takes a place among the workers that train together, and gives their strategy.

    TensorFlow takes part in one cluster a process, before it has computed anything; asked again for the same place,
    this gives the same strategy.

    Args:
        hosts: "HOST:PORT" of each worker, the same on all; the first one is the chief, which writes what is kept. None:
            as TF_CONFIG says.
        index: which of them this process is. None: as TF_CONFIG says.
        told: what a training depends on, for JSON, which must be the same on all workers.

    Raises:
        ValueError: if the workers are not given, or differ in what they are told or in their versions; if this process
            has another place already.
        OSError: if the port of this worker is taken.
        TimeoutError: if some worker does not come.
        RuntimeError: if TensorFlow has computed something, or if this version of Keras was not tried.
    """
    hosts, index, config = meeting.addresses(hosts, index)
    place = {"hosts": hosts, "index": index}
    if _joined:
        if _joined["place"] != place:
            raise ValueError(
                f"A process takes one place among workers, got {hosts}, {index} after {_joined['place']['hosts']}, "
                f"{_joined['place']['index']}; start another process."
            )
        workers = MultiWorkers(_joined["strategy"])
        with workers.together():
            workers.agree(told or {})
        return _joined["strategy"]
    step_round_keras()
    if tensorflow_context.context()._context_handle is not None:
        raise RuntimeError(
            "Workers must join before TensorFlow computes anything, got a process where it has; make the training, or "
            "the strategy, first."
        )
    logging.info("This is worker %d of %d, %s.", index, len(hosts), hosts[index])
    meeting.meet(hosts, index, meeting.versions() | (told or {}))
    os.environ["TF_CONFIG"] = json.dumps(config)
    tf.get_logger().setLevel("WARNING")  # it tells of every message between workers
    _set_patience(config["cluster"])
    _joined.update(place=place, strategy=tf.distribute.MultiWorkerMirroredStrategy())
    return _joined["strategy"]


def _set_patience(cluster):
    """Tells TensorFlow how long a worker may be silent: its own 10 s are too few on a machine that is busy."""
    job_config = tensorflow_context.coordination_config_pb2.CoordinatedJob
    jobs = {job: hosts for job, hosts in cluster.items() if job in ("chief", "worker")}
    tensorflow_context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=multi_worker_util.coordination_leader(tf.train.ClusterSpec(jobs)),
        heartbeat_timeout_in_ms=1000 * SILENCE_S,
        coordinated_jobs=[job_config(name=job, num_tasks=len(hosts)) for job, hosts in jobs.items()],
    )


def step_round_keras() -> None:
    """Puts two functions in place of Keras's, with which its `fit` cannot train on several workers (keras#20585).

    It makes a symbolic batch by reducing one over all workers, which fails for whole numbers and for dicts of such
    batches, and it reduces figures, which are scalars, along an axis that they do not have. Here the one is made of
    what a device of this worker has, and the others, which are the progress of a step, are those of this worker; the
    figures of an epoch are of all workers anyway. Nothing else changes for any other strategy.

    Raises:
        RuntimeError: if this version of Keras was not tried.
    """
    if ".".join(keras.__version__.split(".")[:2]) != KERAS:
        raise RuntimeError(
            f"Training on several workers was tried with Keras {KERAS}, got {keras.__version__}; install that version."
        )
    if keras_trainer.reduce_per_replica is _reduce_per_replica:
        return
    _of_keras.update(
        reduce=keras_trainer.reduce_per_replica, build=keras_trainer.TensorFlowTrainer._maybe_symbolic_build
    )
    keras_trainer.reduce_per_replica = _reduce_per_replica
    keras_trainer.TensorFlowTrainer._maybe_symbolic_build = _maybe_symbolic_build


_of_keras = {}  # what was there before


def _reduce_per_replica(values, strategy, reduction):
    if reduction != "auto" or not _is_of_several(strategy):
        return _of_keras["reduce"](values, strategy, reduction)
    return keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)


def _maybe_symbolic_build(model, iterator=None, data_batch=None):
    strategy = model.distribute_strategy
    if not _is_of_several(strategy):
        return _of_keras["build"](model, iterator, data_batch)
    compiled = (model._compile_metrics, model._compile_loss, model.optimizer)
    if all(layer.built for layer in model._flatten_layers()) and all(part is None or part.built for part in compiled):
        return
    if iterator is not None:
        _, _, batches = next(iter(iterator))
        data_batch = next(batches)
    own = keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], data_batch)
    with strategy.scope():
        model._symbolic_build(data_batch=own)


def _is_of_several(strategy):
    return MultiWorkers(strategy).count > 1


# ---------------------------------------- who they are, and how they talk
class MultiWorkers(Workers):
    """The workers of a strategy, and the share that each has of a batch.

    Args:
        strategy: a `tf.distribute.Strategy`: of one process or of several.

    Example:
        >>> from kerapose import training
        >>> workers = training.MultiWorkers(training.make_strategy("none"))
        >>> workers.count, workers.share.size(16)  # one process makes all of a batch of 16
        (1, 16)
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        jobs, index = {}, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            jobs, index = resolver.cluster_spec().as_dict(), resolver.task_id or 0
            index += len(jobs.get("chief", [])) if resolver.task_type == "worker" else 0
        count = max(sum(len(jobs.get(job, [])) for job in ("chief", "worker")), 1)
        super().__init__(index, count, strategy.num_replicas_in_sync)

    @property
    def share(self) -> Share:
        """The part of every batch that is this worker's."""
        return Share(self.index, self.count, self.devices // self.count)

    def divided(self, batches: collections.abc.Callable[[Share], tf.data.Dataset]) -> tf.distribute.DistributedDataset:
        """Batches of which each worker makes its own share, for `model.fit`.

        Args:
            batches: function of a share that gives them, as the pipelines of `data` do.

        Returns:
            Batches as `model.fit` takes them; they have no end.

        Example:
            >>> import tensorflow as tf
            >>> from kerapose import training
            >>> workers = training.MultiWorkers(training.make_strategy("none"))  # one, who makes the whole batch
            >>> batches = workers.divided(lambda share: tf.data.Dataset.range(8).repeat().batch(share.size(4)))
            >>> next(iter(batches)).numpy().tolist()
            [0, 1, 2, 3]
        """
        return self.strategy.distribute_datasets_from_function(lambda _: batches(self.share))

    def divided_whole(self, batches: tf.data.Dataset) -> tf.distribute.DistributedDataset:
        """Batches of full size of which each worker makes all, and takes its share."""

        def of_share(share):
            def parts(*batch):
                numbers = tf.data.Dataset.range(share.replicas)
                return numbers.map(lambda n: tf.nest.map_structure(lambda array: share.rows(n, array), batch))

            return batches.flat_map(parts).prefetch(tf.data.AUTOTUNE)

        return self.divided(of_share)

    def summed(self, array: Array) -> Array:
        add = _adder(self.strategy)
        parts = [array[start : start + MESSAGE] for start in range(0, len(array), MESSAGE)]
        found = [add(tf.constant(part, tf.int32)) for part in parts]
        return np.concatenate([self.strategy.experimental_local_results(part)[0].numpy() for part in found])

    def tells_of_a_loss(self, error: BaseException) -> bool:
        return isinstance(error, tf.errors.OpError) and any(sign in str(error) for sign in SIGNS_OF_A_LOSS)

    def tell_of_an_end(self, reason: str) -> None:
        with contextlib.suppress(tf.errors.OpError):  # it was told before, or there is nobody left to tell
            tensorflow_context.context().report_error_to_cluster(tf.errors.UNAVAILABLE, reason)


@functools.cache
def _adder(strategy):
    """The compiled function by which the workers of a strategy add up numbers."""

    def add(own):
        context = tf.distribute.get_replica_context()
        devices = len(strategy.extended.worker_devices)  # the first of each worker speaks for it
        counts = tf.cast(tf.equal(context.replica_id_in_sync_group % devices, 0), tf.int32)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own * counts)

    return tf.function(lambda own: strategy.run(add, (own,)), input_signature=[tf.TensorSpec((None,), tf.int32)])


workers.of_strategy = MultiWorkers
