"""Batches that other machines make: a training's pipeline on the workers of a tf.data service, in its own order.

Batches go by their numbers. Workers share them out in lanes: of three workers one makes the batches 0, 3, 6 ...,
another 1, 4, 7 ... A worker knows its lane by its name, which its process reads off itself, so that there is a job for
each, from which the others have nothing to give; the trainer reads the jobs in turn. One more job calls the roll. When
it tells of a worker who is gone, or new, the work is shared out anew from the number on that is wanted next. Since a
batch is a function of its number, none is lost, none comes twice, and each is what it would have been without the
service.

What sharding the service has itself would not do: without any, each worker gives all batches; with the dynamic one
they come in no order, and those that a lost worker held do not come. Each job is read by coordinated reads, which alone
leave lost workers out at once; of whoever takes longer than a tenth of a second they give others first, here nothing.
"""

import contextlib
import functools
import queue
import socket
import threading
import time
import typing
import uuid
import weakref
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from kerapose.data import order
from kerapose.types import Path

__all__ = [
    "changed",
    "served",
    "shareable",
    "start_dispatcher",
    "start_worker",
    "until",
]

# Operations that call back into the process that made them.
_OF_PROCESS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_MOST_BYTES = 2**31 - 1  # of a graph: protocol buffers hold no more
_ROLL_S = 0.5  # between two calls of the roll
_LOST_S = 5.0  # in which a worker who is there answers
_PATIENCE_S = 120.0  # without a batch, before it is asked for again; twice as long each time
_IDLE_S = 0.002  # behind the answer of a worker who has nothing
_OUTSTANDING = 2  # elements of a job that are on their way
_READ_AHEAD = 2  # batches

_HEARTBEAT_MS, _MISSED_MS = 1_000, 10_000  # of workers to the dispatcher
_FORGOTTEN_MS = 10_000  # after which a job that nobody reads is thrown away

_lanes_of = weakref.WeakKeyDictionary()  # of batches: a function of lane and lanes that makes them, numbered from 0 on


# ---------------------------------------- pipelines that can be shared
def shareable(
    elements: tf.data.Dataset, finish: Callable[[tf.data.Dataset], tf.data.Dataset], size: int = 1
) -> tf.data.Dataset:
    """Batches of which workers can make a share each, at the cost of that share.

    Args:
        elements: endless, what batches are made of, still cheap: each worker reads all of them.
        finish: of such a dataset, or of the elements of some of its batches, what makes batches.
        size: elements that a batch is made of.

    Returns:
        `finish(elements)`.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose.data import service
        >>> numbers = tf.data.Dataset.counter()
        >>> batches = service.shareable(numbers, lambda numbers: numbers.batch(2).map(tf.square), size=2)
        >>> [batch.numpy().tolist() for batch in batches.take(2)]
        [[0, 1], [4, 9]]
    """
    batches = finish(elements)

    def lane_of(lane, lanes):
        mine = elements.enumerate().filter(lambda i, _: i // size % lanes == lane).map(lambda _, element: element)
        return tf.data.Dataset.zip(tf.data.Dataset.counter(lane, lanes), finish(mine))

    _lanes_of[batches] = lane_of
    return batches


def changed(batches: tf.data.Dataset, change: Callable[..., typing.Any]) -> tf.data.Dataset:
    """Batches mapped by a function, which can be shared as before.

    Args:
        batches: of `shareable`, or any others.
        change: a function of a batch.

    Returns:
        `batches.map(change)`.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips, service
        >>> dataset, _ = clips.from_tfds("puppets/clips", "train", data_dir=".")
        >>> batches = clips.training(dataset, skeletons.COCO, batch_size=2, num_frames=16, size=(28, 28))
        >>> batches = service.changed(batches, lambda clips, labels: (clips, {"rgb": labels, "pose": labels}))
        >>> sorted(batches.element_spec[1])
        ['pose', 'rgb']
    """
    made, of_before = batches.map(change), _lanes_of.get(batches)
    if of_before is not None:
        _lanes_of[made] = lambda lane, lanes: of_before(lane, lanes).map(lambda number, batch: (number, change(*batch)))
    return made


def until(first: tf.data.Dataset, count: int, then: tf.data.Dataset) -> tf.data.Dataset:
    """So many batches of one dataset, and then those of another.

    Args:
        first: of `shareable`, or any others.
        count: how many of them.
        then: likewise.

    Returns:
        A `tf.data.Dataset` of both, which can be shared if they can.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose.data import service
        >>> easy, hard = (tf.data.Dataset.from_tensors(name).repeat() for name in ("easy", "hard"))
        >>> batches = service.until(easy, 2, then=hard)
        >>> [batch.numpy() for batch in batches.take(3)]
        [b'easy', b'easy', b'hard']
    """
    made = first.take(count).concatenate(then).prefetch(tf.data.AUTOTUNE)
    if first in _lanes_of and then in _lanes_of:
        before, after = _lanes_of[first], _lanes_of[then]

        def lane_of(lane, lanes):
            early = before(lane, lanes).take_while(lambda number, _: number < count)
            late = after((lane - count) % lanes, lanes).map(lambda number, batch: (number + count, batch))
            return early.concatenate(late)

        _lanes_of[made] = lane_of
    return made


# ---------------------------------------- trainings that are served
def served(batches: Callable[..., tf.data.Dataset], address: str) -> Callable[..., tf.data.Dataset]:
    """The same batches in the same order, made by the workers of a tf.data service.

    Workers may be lost, replaced and added at any time. As each takes its turn, the slowest sets the pace. Where none
    is there, the training waits.

    Args:
        batches: function of `first_step` that gives endless batches from that number on, as `shareable` makes them.
        address: of the service's dispatcher, "grpc://HOST:PORT" (`kerapose data-service`).

    Returns:
        A function of `first_step` like `batches`; what else it is given by name, it hands on.

    Raises:
        ValueError: if the address is none; if the pipeline cannot leave this process.
        ConnectionError: if no dispatcher is there.

    Example:
        >>> import functools
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips, service
        >>> dataset, _ = clips.from_tfds("puppets/clips", "train", data_dir=".")
        >>> batches = functools.partial(clips.training, dataset, skeletons.COCO)
        >>> batches = service.served(batches, "grpc://10.0.0.7:5050")  # doctest: +SKIP
        >>> service.served(batches, "10.0.0.7:5050")
        Traceback (most recent call last):
            ...
        ValueError: data_service must be grpc://HOST:PORT, got '10.0.0.7:5050'; correct it.
    """
    _refuse_absent(address)
    first = batches(first_step=0)
    if first not in _lanes_of:
        raise ValueError(
            "A data service makes batches that can be shared by their numbers, got others; use a training pipeline of "
            "kerapose.data, changed by data.service.changed alone, or leave data_service out."
        )
    _refuse_what_stays(_share(first, "", 0, 1))

    def from_service(first_step, **how):
        made = functools.partial(batches, **how)
        parts = how.get("share", order.WHOLE).replicas  # that a step has
        spec = made(first_step=first_step).element_spec
        ordered = tf.data.Dataset.from_generator(
            lambda: _in_order(made, address, first_step, parts), output_signature=spec
        )
        return ordered.prefetch(_READ_AHEAD)

    return from_service


def _in_order(batches, address, first_step, parts):
    """Yields batches from a step on, of which each has so many, whoever makes them."""
    patience_s, count = _PATIENCE_S, 0
    with contextlib.closing(_Roll(address)) as roll:
        while True:
            workers = roll.first()
            steps, place = divmod(count, parts)
            step = first_step + steps
            logging.info("%s: batches from number %d on come from %d workers.", address, step, len(workers))
            with contextlib.ExitStack() as stack:
                made = batches(first_step=step)
                shares = [_share(made, name, lane, len(workers)) for lane, name in enumerate(workers)]
                lanes = [stack.enter_context(contextlib.closing(_Reader(share, address))) for share in shares]
                number, last = 0, time.monotonic()
                while roll.workers() == workers:
                    try:
                        batch = lanes[number % len(lanes)].get()
                    except queue.Empty:
                        if time.monotonic() - last < patience_s:
                            continue
                        said = "%s: a batch has not come for %.0f s, though workers are there; asking for it again."
                        logging.warning(said, address, patience_s)
                        patience_s *= 2  # it may take its time
                        break
                    number += 1
                    if number > place:  # the parts of a step before it were given
                        yield batch
                        count += 1
                    last, patience_s = time.monotonic(), _PATIENCE_S


class _Roll:
    """Who is there: the names of the workers who have answered of late."""

    def __init__(self, address):
        self.address, self.seen, self.is_open, self.error = address, {}, True, None
        threading.Thread(target=self._call, daemon=True).start()

    def first(self):
        """The names of all, once there is one."""
        waited = time.monotonic()
        while True:
            if self.workers():
                time.sleep(2 * _ROLL_S)  # for others
                if workers := self.workers():
                    return workers
            time.sleep(0.1)
            if time.monotonic() - waited > _PATIENCE_S:
                logging.warning("%s: no worker is there; waiting for one.", self.address)
                waited = time.monotonic()

    def workers(self):
        """The names of those who are there, sorted."""
        if self.error is not None:
            raise self.error
        now = time.monotonic()
        return sorted(name for name, then in list(self.seen.items()) if now - then < _LOST_S)

    def close(self):
        self.is_open = False

    def _call(self):
        here = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).repeat().map(lambda number: (number, _own_name()))
        try:
            while self.is_open:
                with contextlib.closing(_Reader(here, self.address)) as answers:
                    self._hear(answers)
        except Exception as error:
            self.error = error

    def _hear(self, answers):
        """Notes who answers, until nobody does."""
        heard = time.monotonic()
        while self.is_open and time.monotonic() - heard < _LOST_S:
            try:
                for _ in range(3 * (len(self.workers()) + 1)):
                    name = answers.get().decode()
                    self.seen[name] = heard = time.monotonic()
            except queue.Empty:
                continue
            time.sleep(_ROLL_S)


class _Reader:
    """What the workers of a service give of (number, content), where the number is not negative.

    It is read in a thread, which is left behind where it waits in vain: of a job that has lost all its workers,
    TensorFlow 2.21 gives nothing when others have come.
    """

    def __init__(self, dataset, address):
        self.wanted, self.found, self.is_open = queue.SimpleQueue(), queue.SimpleQueue(), True
        service = tf.data.experimental.service
        self.dataset = dataset.apply(
            service.distribute(
                service.ShardingPolicy.OFF,
                address,
                job_name=uuid.uuid4().hex,
                consumer_index=0,
                num_consumers=1,
                max_outstanding_requests=_OUTSTANDING,
            )
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.wanted.put(True)

    def get(self):
        """The next content; queue.Empty where it does not come within a second."""
        content = self.found.get(timeout=1.0)
        if isinstance(content, Exception):
            raise content
        self.wanted.put(True)
        return content

    def close(self):
        self.is_open = False
        self.wanted.put(False)

    def _read(self):
        try:
            iterator = self.dataset.as_numpy_iterator()
            while self.wanted.get():
                for number, content in iterator:
                    if number >= 0:
                        self.found.put(content)
                        break
                    if not self.is_open:  # who has the batch may be lost
                        return
                    time.sleep(_IDLE_S)
        except Exception as error:
            self.found.put(error)


def _share(batches, name, lane, lanes):
    """(number, batch) of a lane, endless, at the worker of this name alone; at others (-1, nothing), as endless."""
    lane_of, spec = _lanes_of[batches], batches.element_spec

    def nothing(one):
        empty = [0] * one.shape.rank
        return tf.fill(empty, "") if one.dtype == tf.string else tf.zeros(empty, one.dtype)

    @tf.autograph.experimental.do_not_convert
    def at_worker(_):
        count = tf.where(_own_name() == name, tf.constant(-1, tf.int64), tf.constant(0, tf.int64))
        idle = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.nest.map_structure(nothing, spec))).repeat()
        return lane_of(lane, lanes).take(count).concatenate(idle)

    return tf.data.Dataset.from_tensors(0).flat_map(at_worker)


def _own_name():
    """The name of the process that runs this graph: a string of its machine, its number and when it began."""
    about = tf.strings.regex_replace(
        tf.io.read_file("/proc/self/stat"), r"(?s)^(\d+) .*\) (?:\S+ ){19}(\d+) .*$", r"\1 \2"
    )
    machine = tf.strings.strip(tf.io.read_file("/proc/sys/kernel/hostname"))
    return tf.strings.join([machine, about], " ")


# ---------------------------------------- servers
def start_dispatcher(port: int, workdir: Path | None = None) -> typing.Any:
    """Starts what trainers and workers meet at.

    Args:
        port: to listen on.
        workdir: folder of a journal, from which it goes on when it is started again. None: it forgets.

    Returns:
        A `tf.data.experimental.service.DispatchServer`, which serves as long as it is there.

    Example:
        >>> from kerapose.data import service
        >>> dispatcher = service.start_dispatcher(port=0)  # any that is free
        >>> dispatcher.target
        'grpc://localhost:...'
    """
    config = tf.data.experimental.service.DispatcherConfig(
        port=port,
        work_dir=workdir and str(workdir),
        fault_tolerant_mode=workdir is not None,
        worker_timeout_ms=_MISSED_MS,
        job_gc_check_interval_ms=_FORGOTTEN_MS // 4,
        job_gc_timeout_ms=_FORGOTTEN_MS,
    )
    return tf.data.experimental.service.DispatchServer(config)


def start_worker(dispatcher: str, host: str, port: int) -> typing.Any:
    """Starts a maker of batches.

    Args:
        dispatcher: "HOST:PORT" of the dispatcher.
        host: name by which trainers find this machine.
        port: to listen on.

    Returns:
        A `tf.data.experimental.service.WorkerServer`, which serves as long as it is there.

    Example:
        >>> from kerapose.data import service
        >>> worker = service.start_worker("10.0.0.7:5050", "10.0.0.8", 5051)  # doctest: +SKIP
    """
    config = tf.data.experimental.service.WorkerConfig(
        dispatcher, worker_address=f"{host}:{port}", port=port, heartbeat_interval_ms=_HEARTBEAT_MS
    )
    return tf.data.experimental.service.WorkerServer(config)


# ---------------------------------------- what cannot be served
def _refuse_absent(address):
    protocol, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if protocol != "grpc" or not host or not port.isdecimal():
        raise ValueError(f"data_service must be grpc://HOST:PORT, got {address!r}; correct it.")
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except OSError as error:
        raise ConnectionError(
            f"data_service must be where a dispatcher listens, nothing answers at {address} ({error}); start one by "
            "kerapose data-service --role=dispatcher."
        ) from error


def _refuse_what_stays(dataset):
    """Refuses a dataset that is more than a graph, or too much for one."""
    try:
        graph = tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset), strip_device_assignment=True
        ).numpy()
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"Batches that a data service makes must be a graph that can be written, this one cannot ({error}); leave "
            "data_service out."
        ) from error
    if len(graph) > _MOST_BYTES:
        raise ValueError(
            f"Batches that a data service makes must be a graph of at most {_MOST_BYTES} bytes, with the arrays in it, "
            f"got {len(graph)}; prepare samples as a TFDS data set, or leave data_service out."
        )
    graph = tf.compat.v1.GraphDef.FromString(graph)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    if any(node.op in _OF_PROCESS for node in nodes):
        raise ValueError(
            "Batches that a data service makes must be made by TensorFlow alone, these need Python in this process "
            "(videos that PyAV decodes, or samples out of memory); prepare videos as frames (datasets/build.py "
            "jpeg_frames/NAME) and samples as a TFDS data set, or leave data_service out."
        )
