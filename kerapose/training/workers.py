"""Who trains together, one process or several, and what they tell each other."""

import collections.abc
import contextlib
import json
import pathlib
import re
import tempfile
import typing

import keras
import numpy as np
from absl import logging

from kerapose.types import Array

Told: typing.TypeAlias = dict[str, typing.Any]
REASON = re.compile(r"worker \d+ ended by .*")  # among what TensorFlow says to the others
LONGEST_REASON = 500  # letters
Verdict: typing.TypeAlias = tuple[str, str] | None  # a kind of error and its sentence


# What `training.multi_worker`, which needs TensorFlow, sets when it is imported: function of a strategy that gives its
# `Workers`. Models of a strategy that `make_strategy` has not made are trained by this process alone.
of_strategy = None
current = None  # the `Workers` of a strategy that models do not know of: `training.jax_devices`


class WorkerLostError(RuntimeError):
    """A worker ended, or cannot be reached any more.

    Example:
        >>> from kerapose import training
        >>> try:
        ...     raise training.WorkerLostError("10.0.0.8:2222 has ended; start all workers again.")  # as `fit` does
        ... except training.WorkerLostError as error:
        ...     print(error)
        10.0.0.8:2222 has ended; start all workers again.
    """


class Workers:
    """Those who train together: by itself, one process alone; `training.multi_worker` has those of several machines.

    What they tell each other is told by all at the same time: each function is to be called on every worker.

    Args:
        index: which one this is.
        count: how many there are.
        devices: how many all of them have together.
    """

    def __init__(self, index: int = 0, count: int = 1, devices: int = 1):
        self.index = index
        self.count = count
        self.devices = devices
        self.is_known = False  # to all, what this one fails by

    @property
    def is_chief(self) -> bool:
        """Whether this is the first one, which alone writes files."""
        return self.index == 0

    def evenly(self, batches: typing.Any) -> typing.Any:
        """Batches that the devices of one process can share: TensorFlow's share whatever there is."""
        return batches

    def from_chief(self, content: bytes | None) -> bytes | None:
        """What the chief has and the others may lack: the content of a file, where no folder is shared.

        Args:
            content: of the chief; that of the others does not count. None: there is nothing.
        """
        if self.count == 1:
            return content
        content = content if self.is_chief else None
        size = int(self.summed(np.array([-1 if content is None else len(content)]) * self.is_chief)[0])
        if size <= 0:
            return None if size else b""
        words = -(-size // 4)
        padded = np.frombuffer(content.ljust(4 * words, b"\0"), "<i4") if self.is_chief else np.zeros(words, "int32")
        return self.summed(padded).astype("<i4").tobytes()[:size]

    @contextlib.contextmanager
    def file_of_chief(self, path: pathlib.Path) -> collections.abc.Iterator[pathlib.Path]:
        """A file of the chief, or a copy of it, to be read while the context lasts; it may not be there."""
        if self.count == 1:
            yield path
            return
        content = self.from_chief(path.read_bytes() if self.is_chief and path.exists() else None)
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / path.name
            if content is not None:
                copy.write_bytes(content)
            yield copy

    def on_chief(self, do: collections.abc.Callable[[], typing.Any]) -> typing.Any:
        """What a function gives that the chief alone is to call; where it fails, all fail with its sentence.

        Args:
            do: function without arguments, which gives what JSON can hold.
        """
        if self.count == 1:
            return do()
        given = error = None
        if self.is_chief:
            try:
                given = do()
            except Exception as found:
                error = found
        given, sentence = json.loads(
            self.from_chief(json.dumps([given, error and (str(error) or type(error).__name__)]).encode())
        )
        self.is_known = bool(sentence)
        if error:
            raise error
        if sentence:
            raise ValueError(f"The first worker must be able to go on, got: {sentence}")
        return given

    def agree(self, told: Told) -> None:
        """Refuses to go on where the workers do not say the same.

        Args:
            told: what must be alike, for JSON.

        Raises:
            ValueError: on every worker, naming the first thing that differs.
        """
        said = json.dumps(told).encode()
        sizes = np.zeros(self.count, "int32")
        sizes[self.index] = len(said)
        sizes = self.summed(sizes)
        texts = np.zeros((self.count, sizes.max()), "int32")
        texts[self.index, : len(said)] = np.frombuffer(said, "uint8")
        texts = self.summed(texts.ravel()).reshape(texts.shape).astype("uint8")
        every = {i: json.loads(text[:size].tobytes()) for i, (text, size) in enumerate(zip(texts, sizes, strict=True))}
        verdict = difference(every)
        self.is_known = bool(verdict)
        carry_out(verdict)

    @contextlib.contextmanager
    def together(self) -> collections.abc.Iterator[None]:
        """Tells in one sentence that a worker was lost while the context lasted; where this one fails, the others end.

        Raises:
            WorkerLostError: if so.
        """
        try:
            yield
        except BaseException as error:  # as a notebook that is interrupted, whose process stays
            if self.count == 1 or self.is_known or isinstance(error, WorkerLostError):
                raise
            if not self.tells_of_a_loss(error):
                said = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
                self.tell_of_an_end(f"worker {self.index} ended by {said.rstrip(':. ')}")
                raise
            logging.error("%s", str(error).splitlines()[0])
            told = REASON.search(str(error))
            what = told[0] if told else f"one that worker {self.index} no longer reaches"
            raise WorkerLostError(
                f"All {self.count} workers must stay until the end, got {what}; start the same command on all of them, "
                "and they go on after the last whole epoch."
            ) from None

    def tells_of_a_loss(self, error: BaseException) -> bool:
        """Whether an error says that another worker is gone."""
        return False

    def tell_of_an_end(self, reason: str) -> None:
        """Ends the waiting of the other workers, who get to know why."""

    def summed(self, array: Array) -> Array:
        """The sum of the arrays [N] of whole numbers, int32, of all workers, [N]."""
        return array


def workers_of(model: keras.Model) -> Workers:
    """Who trains a model together."""
    strategy = getattr(model, "distribute_strategy", None)  # of TensorFlow alone
    if current is not None:
        return current
    return Workers() if strategy is None or of_strategy is None else of_strategy(strategy)


def difference(said: dict[int, Told]) -> Verdict:
    """The verdict on what workers say, by their index: None where all say the same."""
    mine = said[0]
    for index in sorted(said):
        theirs = said[index]
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            if mine.get(name) != theirs.get(name):
                return "ValueError", (
                    f"All workers must have the same {name}, got {mine.get(name)!r} on worker 0 and "
                    f"{theirs.get(name)!r} on worker {index}; make them alike."
                )
    return None


def carry_out(verdict: Verdict) -> None:
    """Raises what a verdict says, if it says anything."""
    if verdict:
        kind, sentence = verdict
        raise {"TimeoutError": TimeoutError, "ValueError": ValueError}[kind](sentence)
