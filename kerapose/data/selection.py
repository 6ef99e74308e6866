"""Which samples of a dataset stay in it."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from absl import logging

from kerapose.data import gate
from kerapose.types import Array


def without(dataset: tf.data.Dataset, names: Iterable[str], kind: str) -> tf.data.Dataset:
    """Leaves samples out of a dataset by name; how many these are is logged.

    Args:
        dataset: a `tf.data.Dataset` of dicts with a "name".
        names: of those to leave out.
        kind: what the dataset holds, for errors: "clips".

    Returns:
        A `tf.data.Dataset`, whose `cardinality()` is known.

    Raises:
        ValueError: naming those that the dataset does not have, or if `names` is a text or leaves nothing.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips, selection
        >>> dataset = clips.from_pyskl("clips.pkl", "train", skeletons.COCO)
        >>> int(selection.without(dataset, ["clip0"], "clips").cardinality())
        1
    """
    present = [name.decode() for name in dataset.map(lambda element: element["name"]).as_numpy_iterator()]
    names = skipped(names, present, kind)
    return kept(dataset, np.array([name not in names for name in present], bool))


def skipped(names: Iterable[str], present: Iterable[str], kind: str, place: str = "the dataset") -> set[str]:
    """The names of samples to leave out, as a set, once all of them are there; how many they are is logged.

    Args:
        names: to leave out, a list or another collection of them.
        present: names of all samples.
        kind: of the samples, for errors: "clips".
        place: where they are, for errors.

    Returns:
        A set of strings.

    Raises:
        ValueError: if `names` is one text, which would be taken for the names of its letters, or naming those that are
            not there, or if they are all.

    Example:
        >>> from kerapose.data import selection
        >>> selection.skipped(["walk"], ["walk", "run"], "clips")
        {'walk'}
    """
    names, present = names_of(names, kind), set(present)
    strangers = sorted(names - present)
    if strangers:
        raise ValueError(
            f"{kind.capitalize()} to skip are in {place}, {gate.some(strangers)} are not; correct the names."
        )
    if names:
        if names == present:
            raise ValueError(f"Of {place} some {kind} are not skipped, got the names of all {len(names)}; skip fewer.")
        logging.info(
            "%d of %d %s are left out, as asked (%s).", len(names), len(present), kind, gate.some(sorted(names))
        )
    return names


def names_of(names: Iterable[str], kind: str) -> set[str]:
    """The names of samples to leave out, as a set; a text in place of a list of them is refused."""
    if isinstance(names, str | bytes):
        text = names.decode(errors="replace") if isinstance(names, bytes) else names
        raise ValueError(f"{kind.capitalize()} to skip are a list of names, got the text {text!r}; write [{text!r}].")
    return {name.decode() if isinstance(name, bytes) else str(name) for name in names}


def kept(dataset: tf.data.Dataset, keep: Array) -> tf.data.Dataset:
    """The samples of a dataset for which an array [N] is true, and how many these are."""
    if not keep.all():
        dataset = tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensor_slices(keep))
        dataset = dataset.filter(_is_kept).map(_element)
    return dataset.apply(tf.data.experimental.assert_cardinality(int(keep.sum())))


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def _is_kept(_, is_kept):
    return is_kept


@tf.autograph.experimental.do_not_convert
def _element(element, _):
    return element
