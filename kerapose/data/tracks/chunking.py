"""Chunks, the frames that are predicted together, and the windows that a network sees of them."""

import numpy as np
import tensorflow as tf

from kerapose import mirrors
from kerapose.data.shapes import check_positive
from kerapose.data.tracks.track_set import Tracks
from kerapose.types import Array, ArrayLike, Tensor


def chunks(lengths: ArrayLike, chunk_length: int = 1, flip: bool = False) -> Array:
    """Cuts tracks into the chunks of frames that are predicted together, in the published order.

    Where a length is no multiple of the chunk's, the chunks stand centred on the track and reach past both of its ends.

    Args:
        lengths: [S] frames of each track.
        chunk_length: frames a chunk.
        flip: whether each chunk comes a second time, mirrored: track by track, after all plain ones.

    Returns:
        [P, 4] int64: track, start, end (not included), both counted from the beginning of the track, 1 if mirrored.

    Raises:
        ValueError: if `chunk_length` is not positive.

    Example:
        >>> from kerapose.data import tracks
        >>> tracks.chunks([3], chunk_length=2).tolist()
        [[0, 0, 2, 0], [0, 2, 4, 0]]
    """
    if chunk_length < 1:
        raise ValueError(f"chunk_length must be at least 1, got {chunk_length}; 1 predicts one frame a window.")
    rows = []
    for track, length in enumerate(lengths):
        count = -(-int(length) // chunk_length)
        starts = np.arange(count) * chunk_length - (count * chunk_length - int(length)) // 2
        plain = np.stack([np.full(count, track), starts, starts + chunk_length, np.zeros(count, int)], axis=1)
        rows += [plain, plain + [0, 0, 0, 1]] if flip else [plain]
    return np.concatenate(rows).astype("int64") if rows else np.zeros((0, 4), "int64")


def windows(frames: Tensor, first: Tensor, last: Tensor, start: Tensor, count: int) -> tf.Tensor:
    """Gathers runs of frames, in a graph; where one reaches past an end of its track, the frame there is repeated.

    Args:
        frames: [N, ...], all frames of all tracks.
        first, last: [B] ints, the rows of `frames` where the track of each window begins and ends, both included.
        start: [B] ints, the row where each window begins, which may lie before `first` or behind `last`.
        count: frames a window.

    Returns:
        [B, count, ...].

    Example:
        >>> import tensorflow as tf
        >>> from kerapose.data import tracks
        >>> tracks.windows(tf.range(10), [4], [8], [3], 3).numpy().tolist()
        [[4, 4, 5]]
    """
    rows = tf.convert_to_tensor(start)[:, None] + tf.range(count, dtype=tf.convert_to_tensor(start).dtype)
    first, last = tf.convert_to_tensor(first, rows.dtype), tf.convert_to_tensor(last, rows.dtype)
    return tf.gather(frames, tf.clip_by_value(rows, first[:, None], last[:, None]))


def steps_per_epoch(
    tracks: Tracks, batch_size: int = 1024, chunk_length: int = 1, flip: bool = True, unlabelled: Tracks | None = None
) -> int:
    """How many batches of `training` show each chunk once; with `unlabelled`, each of the larger set.

    Args:
        tracks: `Tracks` to train on.
        batch_size: chunks a batch.
        chunk_length: frames a chunk.
        flip: whether each chunk comes twice an epoch, plain and mirrored.
        unlabelled: `Tracks` that are trained on beside them, as of `training`. None: there are none.

    Returns:
        An int; the last batch of an epoch may be a short one.

    Raises:
        ValueError: if `batch_size` or `chunk_length` is not positive.

    Example:
        >>> from kerapose.data import tracks
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> tracks.steps_per_epoch(known, batch_size=64)  # 120 frames, plain and mirrored
        4
    """
    check_numbers(batch_size=batch_size)
    flip = flip and mirrors.are_known(tracks.skeleton, tracks.pose_skeleton)  # as `training` does
    sets = [tracks] if unlabelled is None else [tracks, unlabelled]
    return max(num_batches(len(chunks(each.lengths, chunk_length, flip)), batch_size) for each in sets)


def num_batches(num_chunks: int, batch_size: int) -> int:
    """How many batches so many chunks are; the last may be a short one."""
    return -(-num_chunks // batch_size)


def on_cpu(values: ArrayLike, dtype: str = "float32") -> tf.Tensor:
    """A tensor in main memory, where pipelines run; on an accelerator each of them would fetch it back."""
    with tf.device("CPU"):
        return tf.constant(np.asarray(values, dtype))


def check_numbers(**numbers: int) -> None:
    """Raises a ValueError unless all numbers are positive and a receptive field is odd."""
    check_positive(**numbers)
    field = numbers.get("receptive_field", 1)
    if field % 2 == 0:
        raise ValueError(f"receptive_field must be odd, got {field}; use {field - 1} or {field + 1}.")
