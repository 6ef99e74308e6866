"""In which order a training sees its samples, and which of them are one worker's."""

import dataclasses

import tensorflow as tf

from kerapose.data.shapes import check_positive
from kerapose.types import Tensor

__all__ = [
    "Share",
    "shuffled_endlessly",
]


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of every batch that one of several workers computes, cut once more for the devices that it has.

    A batch is cut into `count * replicas` parts in a row; `replicas` parts in a row are those of a worker. A pipeline
    gives them one after the other: its k-th element is part k % replicas of this worker, of the batch of step
    k // replicas. All workers together see the very batches that one process would.

    Args:
        index: which worker this is, from 0 on.
        count: how many workers there are.
        replicas: devices of each worker.

    Raises:
        ValueError: if there is no such worker.

    Example:
        >>> from kerapose.data import order
        >>> second_of_two = order.Share(1, 2)
        >>> second_of_two.size(16)
        8
    """

    index: int = 0
    count: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        if self.replicas < 1 or not 0 <= self.index < self.count:
            raise ValueError(
                f"A share is that of a worker from 0 to count - 1, with a device, got {self}; correct its numbers."
            )

    @property
    def parts(self) -> int:
        """Into how many parts a batch is cut."""
        return self.count * self.replicas

    def size(self, batch_size: int) -> int:
        """Samples of a part.

        Raises:
            ValueError: if the parts of a batch are not of one size, or there is nothing in it.
        """
        check_positive(batch_size=batch_size)
        if batch_size % self.parts:
            raise ValueError(
                f"batch_size is divided by {self.parts} devices of {self.count} workers, got {batch_size}; give "
                f"{-(-batch_size // self.parts) * self.parts}, say."
            )
        return batch_size // self.parts

    def of_stream(self, elements: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """Of elements that begin with a batch, those of this worker; the others are read and let go.

        Args:
            elements: a `tf.data.Dataset` of samples.
            batch_size: samples a batch, over all workers.
        """
        size = self.size(batch_size) * self.replicas
        if self.count == 1:
            return elements
        mine = elements.enumerate().filter(lambda i, _: i // size % self.count == self.index)
        return mine.map(lambda _, element: element)

    def step(self, number: Tensor) -> Tensor:
        """Of the element of this number: its step, counted from the first one."""
        return number // self.replicas

    def rows(self, number: Tensor, batch: Tensor) -> Tensor:
        """Of a whole batch [B, ...], the rows of the element of this number; parts differ by one where B is odd."""
        part = self.index * self.replicas + number % self.replicas
        count = tf.shape(batch, number.dtype)[0]
        rows = batch[count * part // self.parts : count * (part + 1) // self.parts]
        if batch.shape[0] is not None and batch.shape[0] % self.parts == 0:
            rows = tf.ensure_shape(rows, (batch.shape[0] // self.parts, *batch.shape[1:]))
        return rows


WHOLE = Share()


def shuffled_endlessly(
    dataset: tf.data.Dataset, seed: int, first: int = 0, buffer_size: int | None = None
) -> tf.data.Dataset:
    """All elements again and again, in another order each time, from the first one wanted on.

    The order of a pass is a function of seed and number of the pass alone, so that a run that was cut short goes on
    with the very elements that it would have had.

    Args:
        dataset: a `tf.data.Dataset` with an end.
        seed: int.
        first: how many elements to leave out at the beginning. Whole passes are not even read.
        buffer_size: among how many elements the next one is drawn. None: all, which are held in memory then.

    Returns:
        A `tf.data.Dataset` without end.

    Raises:
        ValueError: if the dataset is empty, or if its length is not known and there is no `buffer_size`.

    Example:
        >>> import tensorflow as tf
        >>> from kerapose.data import order
        >>> numbers = tf.data.Dataset.range(3)
        >>> [int(x) for x in order.shuffled_endlessly(numbers, seed=0).take(6)]
        [2, 0, 1, 0, 1, 2]
        >>> [int(x) for x in order.shuffled_endlessly(numbers, seed=0, first=4).take(2)]  # a run that goes on
        [1, 2]
    """
    count = int(dataset.cardinality())
    if count == 0:
        raise ValueError("A dataset has at least one clip, got none; check the split and how it was prepared.")
    if count < 0 and buffer_size is None:
        raise ValueError("A dataset of unknown length is shuffled in a buffer, got no buffer_size; give one.")
    whole_passes = first // count if count > 0 else 0  # unknown where a dataset was filtered: then all are read
    specs = tf.nest.flatten(dataset.element_spec)
    shapes = {"output_types": [spec.dtype for spec in specs], "output_shapes": [spec.shape for spec in specs]}

    def shuffled(number):
        # Not `Dataset.shuffle`: its generator of seeds is a stateful operation, and where operations are deterministic
        # tf.data does not read ahead, nor map in parallel, behind one. Besides, the global seed would change the order.
        variant = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(dataset),
            buffer_size=buffer_size or count,
            seed=1,
            seed2=tf.random.stateless_uniform((), [seed, number], 1, 2**31 - 1, tf.int64),
            reshuffle_each_iteration=False,
            **shapes,
        )
        return tf.data.experimental.from_variant(variant, dataset.element_spec)

    # Shuffling anew by number of the pass: `shuffle().repeat()` would go on where the iterator before it stopped.
    return tf.data.Dataset.counter(whole_passes).flat_map(shuffled).skip(first - whole_passes * max(count, 0))
