"""Which samples of a dataset stay in it."""

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose.data import gate


def without(dataset, names, kind):
    """Leaves samples out of a dataset by name; how many these are is logged.

    Args:
        dataset: a `tf.data.Dataset` of dicts with a "name".
        names: of those to leave out.
        kind: what the dataset holds, for errors: "clips".

    Returns:
        A `tf.data.Dataset`, whose `cardinality()` is known.

    Raises:
        ValueError: naming those that the dataset does not have.

    Example:
        >>> dataset = without(dataset, ["S001C001P001R001A001"], "clips")
    """
    names = {str(name) for name in names}
    present = [name.decode() for name in dataset.map(lambda element: element["name"]).as_numpy_iterator()]
    strangers = sorted(names - set(present))
    if strangers:
        raise ValueError(
            f"{kind.capitalize()} to skip are in the dataset, {gate.some(strangers)} are not; correct the names."
        )
    keep = np.array([name not in names for name in present], bool)
    logging.info("%d of %d %s are left out, as asked.", (~keep).sum(), len(keep), kind)
    return kept(dataset, keep)


def kept(dataset, keep):
    """The samples of a dataset for which an array [N] is true, and how many these are."""
    if not keep.all():
        dataset = tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensor_slices(keep))
        dataset = dataset.filter(lambda _, is_kept: is_kept).map(lambda element, _: element)
    return dataset.apply(tf.data.experimental.assert_cardinality(int(keep.sum())))
