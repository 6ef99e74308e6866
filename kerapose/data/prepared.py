"""Finding the TFDS datasets that `datasets/build.py` has prepared."""

import typing

import tensorflow_datasets as tfds

from kerapose import skeletons
from kerapose.types import Path

__all__ = [
    "NotPreparedError",
    "find",
]


class NotPreparedError(ValueError):
    """A TFDS dataset that `datasets/build.py` has not prepared yet.

    Example:
        >>> from kerapose.data import clips
        >>> clips.from_tfds("puppets/clips", "train", data_dir="elsewhere")
        Traceback (most recent call last):
            ...
        kerapose.data.prepared.NotPreparedError: The dataset puppets/clips is not prepared in elsewhere; give
        the data_dir that it is in, or prepare it in a checkout of kerapose; run: python datasets/build.py
        puppets/clips --data_dir=elsewhere
    """


class NoSplitError(ValueError):
    """A split that a dataset does not have; `rule` names those it has, and whoever knows a better remedy gives it."""

    def __init__(self, rule: str, remedy: str = "use one of them"):
        super().__init__(f"{rule}; {remedy}.")
        self.rule = rule


def find(name: str, split: str | None, data_dir: Path | None = None) -> "tfds.core.DatasetBuilder":
    """The builder of a prepared TFDS dataset.

    Args:
        name: of the dataset and its config ("puppets/clips", "pyskl_clips/ntu60"), the newest version that lies there,
            or with one ("puppets/clips:1.0.0").
        split: name of a split that it must have. None: any.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        ValueError: if it has no such split.

    Example:
        >>> from kerapose.data import prepared
        >>> builder = prepared.find("puppets/clips", "train", data_dir=".")
        >>> {name: split.num_examples for name, split in builder.info.splits.items()}
        {'train': 4, 'validation': 2, 'test': 2}
    """
    # With a version, TFDS goes by the files, even in a process that knows a builder of this name, whose features and
    # version may be others than those that lie there.
    files = name if ":" in name else f"{name}:*.*.*"
    try:
        builder = tfds.builder(files, data_dir=data_dir)
        if not builder.is_prepared():  # its code is at hand, its data are not
            raise FileNotFoundError(builder.data_dir)
    except (tfds.core.DatasetNotFoundError, FileNotFoundError) as error:
        raise NotPreparedError(
            f"The dataset {name} is not prepared in {data_dir or 'the default folder of TFDS'}; give the data_dir that "
            f"it is in, or prepare it in a checkout of kerapose; run: python datasets/build.py {name}"
            + (f" --data_dir={data_dir}" if data_dir else "")
        ) from error
    if split is not None and split not in builder.info.splits:
        raise NoSplitError(f"{name} has the splits {', '.join(builder.info.splits)}, got {split!r}")
    return builder


def skeleton_of(metadata: str | dict[str, typing.Any]) -> skeletons.Skeleton:
    """The `Skeleton` that a dataset says it has: a name, or all that a set has; one of the library's if it is one."""
    if isinstance(metadata, str):
        return skeletons.get(metadata)
    skeleton = skeletons.Skeleton(**metadata)
    return next((known for known in skeletons.ALL if known == skeleton), skeleton)
