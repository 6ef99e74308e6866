"""Whole tracks, for tests: one by one, or batches of unequal lengths."""

import typing
from collections.abc import Iterator

import tensorflow as tf

from kerapose.data.tracks.chunking import check_numbers, on_cpu, windows
from kerapose.data.tracks.track_set import Tracks


def padded_batches(tracks: Tracks, batch_size: int) -> tf.data.Dataset:
    """Batches of whole tracks, in order, each held at its last frame up to the length of the longest of its batch.

    A lifter that repeats the frames at the ends of what it is given (`estimators.TrackLifter`) gives a track the
    same poses in such a batch as alone.

    Args:
        tracks: `Tracks`.
        batch_size: tracks a batch; the last batch has what is left.

    Returns:
        A `tf.data.Dataset` of {"keypoints_screen": [B, T, K, 2], "frame_size": [B, 2], "mask": [B, T] true for frames
        of the track, "length": [B], "index": [B] which track}, and where known "camera": [B, 9], "poses_m":
        root-relative [B, T, J, 3] and "trajectory_m": [B, T, 3].

    Raises:
        ValueError: if `batch_size` is not positive.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import tracks
        >>> unlabelled = tracks.from_arrays([keypoints[0], keypoints[1, :20]], frame_size, skeletons.COCO)
        >>> batch = next(iter(tracks.padded_batches(unlabelled, batch_size=2)))
        >>> tuple(batch["keypoints_screen"].shape), batch["length"].numpy().tolist()
        ((2, 30, 17, 2), [30, 20])
    """
    check_numbers(batch_size=batch_size)
    starts, lengths = on_cpu(tracks.starts, "int32"), on_cpu(tracks.lengths, "int32")
    keypoints, frame_sizes = on_cpu(tracks.keypoints_screen), on_cpu(tracks.frame_sizes, "int32")
    poses = None if tracks.poses_camera_m is None else on_cpu(tracks.poses_camera_m)
    cameras = None if tracks.cameras is None else on_cpu(tracks.cameras)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def make(index):
        start, length = tf.gather(starts, index), tf.gather(lengths, index)
        longest = tf.reduce_max(length)
        batch = {
            "keypoints_screen": windows(keypoints, start, start + length - 1, start, longest),
            "frame_size": tf.gather(frame_sizes, index),
            "mask": tf.sequence_mask(length, longest),
            "length": length,
            "index": index,
        }
        if cameras is not None:
            batch["camera"] = tf.gather(cameras, index)
        if poses is not None:
            absolute = windows(poses, start, start + length - 1, start, longest)
            batch |= {"poses_m": absolute - absolute[:, :, :1], "trajectory_m": absolute[:, :, 0]}
        return batch

    indices = tf.data.Dataset.range(len(tracks), output_type=tf.int32).batch(batch_size)
    return indices.map(make, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def sequences(tracks: Tracks) -> Iterator[dict[str, typing.Any]]:
    """The tracks one by one, for an evaluation of each as a whole.

    Args:
        tracks: `Tracks`.

    Yields:
        {"keypoints_screen": [T, K, 2], "scores": [T, K], "frame_size": [2], "fps", "name", "subject", "action",
        "camera_name"}, and where known "camera": [9], "poses_m": root-relative [T, J, 3], "trajectory_m": [T, 3] and
        "poses_world_m": [T, J, 3]; NumPy arrays.

    Example:
        >>> from kerapose.data import tracks
        >>> known = tracks.from_tfds("puppets/tracks", "test", data_dir=".")
        >>> {track["name"]: track["poses_m"].shape for track in tracks.sequences(known)}
        {'S7/walk/front': (30, 17, 3), 'S8/walk/front': (30, 17, 3)}
    """
    for i, start in enumerate(tracks.starts):
        rows = slice(start, start + tracks.lengths[i])
        track = {
            "keypoints_screen": tracks.keypoints_screen[rows],
            "scores": tracks.scores[rows],
            "frame_size": tracks.frame_sizes[i],
            "fps": float(tracks.fps[i]),
            "name": tracks.names[i],
            "subject": tracks.subjects[i],
            "action": tracks.actions[i],
            "camera_name": tracks.camera_names[i],
        }
        if tracks.cameras is not None:
            track["camera"] = tracks.cameras[i]
        if tracks.poses_camera_m is not None:
            absolute = tracks.poses_camera_m[rows]
            track |= {"poses_m": absolute - absolute[:, :1], "trajectory_m": absolute[:, 0]}
        if tracks.poses_world_m is not None:
            track["poses_world_m"] = tracks.poses_world_m[rows]
        yield track
