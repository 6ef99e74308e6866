"""In which order a training sees its samples."""

import tensorflow as tf


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
        >>> [int(x) for x in shuffled_endlessly(tf.data.Dataset.range(3), seed=0).take(6)]
        [2, 0, 1, 1, 0, 2]
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
