"""Batches of windows to train on, reproducible from any step on."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kerapose import mirrors
from kerapose.data import order, service
from kerapose.data.tracks.chunking import check_numbers, chunks, num_batches, on_cpu, windows
from kerapose.data.tracks.reading import PLACEMENT_FIELDS
from kerapose.data.tracks.track_set import Tracks
from kerapose.ops import cameras as camera_ops
from kerapose.types import Tensor

_LABELLED, _UNLABELLED, _AUGMENTATION = range(3)  # streams of random numbers


def training(
    tracks: Tracks,
    receptive_field: int,
    batch_size: int = 1024,
    chunk_length: int = 1,
    causal: bool = False,
    flip: bool = True,
    seed: int | None = 0,
    first_step: int = 0,
    unlabelled: Tracks | None = None,
    trajectory: bool = False,
    augment: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]] | None = None,
    share: order.Share = order.WHOLE,
) -> tf.data.Dataset:
    """Endless batches of windows, in an order drawn anew for each epoch.

    The n-th batch is a function of the tracks, the arguments and n alone: with `first_step` a run that was cut short
    goes on with the very batches that it would have had.

    Args:
        tracks: `Tracks` with poses.
        receptive_field: frames that the network needs for one pose, odd.
        batch_size: chunks a batch; the last batch of an epoch has what is left. The published code counts frames:
            its 1024 are 1024 // `chunk_length` chunks.
        chunk_length: frames a chunk.
        causal: whether the network sees no frame after those that it predicts.
        flip: whether each chunk comes twice an epoch, plain and mirrored, each a sample of its own, as published; where
            a skeleton does not know its sides, none is mirrored.
        seed: of order and augmentation. None: the order is that of `chunks`, the augmentation that of seed 0.
        first_step: how many batches to skip; they are only counted.
        unlabelled: `Tracks` of known cameras whose poses, if any, are not used. Each batch has `batch_size` chunks of
            them behind those of `tracks`. An epoch is one of the larger set, and the smaller one starts again, in a new
            order, whenever it is through.
        trajectory: whether targets have the trajectory too; always with `unlabelled`.
        augment: a pure function of a batch and int32 [2] seeds, in TensorFlow's operations, which gives the batch
            changed (`data.views`). The batch is {"poses_world_m" and "poses_m" (camera space, not root-relative)
            [B, W, J, 3], "keypoints" [B, W, K, 2] screen; if known "camera" [B, 9], "orientation" [B, 4],
            "translation_m" [B, 3]}, all of the frames of the windows. Of what it gives, "keypoints", "poses_m" and
            "camera" are used; mirroring comes after it. The unlabelled are left as they are.
        share: of each batch that is made, where several workers train (`data.order.Share`): of the labelled and of the
            unlabelled. Parts of a last batch differ by a chunk at most; where several devices train, plain batches
            have weights [B], too, with which the mean over devices is that over the whole batch.

    Returns:
        A `tf.data.Dataset` of batches, W = receptive_field + chunk_length - 1 frames a window. Plain: (keypoints
        [B, W, K, 2] screen, root-relative poses [B, chunk_length, J, 3] metres). With `trajectory` or `unlabelled`:
        ({"keypoints", "camera": [B, 9], "labelled": [B] 1 or 0}, {"poses_m": root-relative [B, chunk_length, J, 3],
        "trajectory_m": [B, chunk_length, 3]}), both targets 0 where not labelled.

    Raises:
        ValueError: if a number is out of range, or the tracks lack poses or cameras that are asked for, or the two sets
            have other keypoints; if a batch has too few chunks for all workers.

    Example:
        >>> from kerapose import models
        >>> from kerapose.data import tracks
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> network = models.TemporalLifter(filter_widths=(3, 3), channels=16, strided=True)
        >>> batches = tracks.training(known, network.receptive_field, batch_size=64)
        >>> windows, poses = next(iter(batches))
        >>> tuple(windows.shape), tuple(poses.shape)  # [B, W, K, 2] and [B, 1, J, 3]
        ((64, 9, 17, 2), (64, 1, 17, 3))

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-Supervised Training",
    CVPR 2019.
    """
    joint = trajectory or unlabelled is not None
    check_numbers(receptive_field=receptive_field, batch_size=batch_size, chunk_length=chunk_length)
    _check_sets(tracks, unlabelled, joint, augment)
    pad = receptive_field // 2
    before = 2 * pad if causal else pad  # frames of a window before its chunk
    flip = mirrors.allowed(flip, tracks.skeleton, tracks.pose_skeleton)
    sets = [tracks] if unlabelled is None else [tracks, unlabelled]
    sources = [_Source(each, chunk_length, flip, before, receptive_field + chunk_length - 1) for each in sets]
    orders = [
        _orders(source.num_chunks, batch_size, seed, stream, first_step, share)
        for source, stream in zip(sources, (_LABELLED, _UNLABELLED), strict=False)
    ]

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def make(number, *chosen):
        seeds = _draw_seeds(seed or 0, _AUGMENTATION, first_step + share.step(number))
        mine = functools.partial(share.rows, number)
        batches = []
        for i, (source, indices) in enumerate(zip(sources, chosen, strict=True)):
            if i == 0 and augment is not None:  # of the whole batch, whose random numbers it draws
                batch = source.batch(indices, with_poses=True, augment=augment, seeds=seeds)
                batches.append(tf.nest.map_structure(mine, batch))
            else:
                batches.append(source.batch(mine(indices), with_poses=i == 0))
        if not joint:
            poses = batches[0]["poses_m"]
            targets = poses - poses[:, :, :1]
            if share.parts == 1:
                return batches[0]["keypoints"], targets
            own, whole = (tf.shape(array)[:1] for array in (poses, chosen[0]))
            return batches[0]["keypoints"], targets, tf.fill(own, tf.cast(own * share.parts / whole, tf.float32)[0])
        return _joint_batch(batches)

    counted = tf.data.Dataset.zip(tf.data.Dataset.counter(), *orders)

    def finish(counted):
        return counted.map(make, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return service.shareable(counted, finish)


class _Source:
    """Tracks as tensors, and the windows of any of their chunks."""

    def __init__(self, tracks, chunk_length, flip, before, window_length):
        self.mirrors = _mirrors(tracks.skeleton, tracks.pose_skeleton) if flip else None
        self.before, self.window_length, self.chunk_length = before, window_length, chunk_length
        table = chunks(tracks.lengths, chunk_length, flip)
        self.num_chunks = len(table)
        # Tensors, which graphs take as arguments: NumPy arrays would become constants in them, of 2 GB at most.
        self.chunks = on_cpu(table, "int32")
        self.firsts = on_cpu(tracks.starts, "int32")
        self.lasts = on_cpu(tracks.starts + tracks.lengths - 1, "int32")
        self.keypoints = on_cpu(tracks.keypoints_screen)
        self.cameras = None if tracks.cameras is None else on_cpu(tracks.cameras)
        self.placements = {}
        if tracks.orientations is not None:
            placements = (tracks.orientations, tracks.translations_m)
            self.placements = {field: on_cpu(v) for field, v in zip(PLACEMENT_FIELDS, placements, strict=True)}
        self.poses = None if tracks.poses_camera_m is None else on_cpu(tracks.poses_camera_m)
        self.poses_world = None if tracks.poses_world_m is None else on_cpu(tracks.poses_world_m)

    def batch(self, indices, with_poses, augment=None, seeds=None):
        """{"keypoints", if known "camera", if asked for "poses_m" in camera space} of the chunks of these indices."""
        track, start, _, mirrored = tf.unstack(tf.gather(self.chunks, indices), axis=1)
        first, last = tf.gather(self.firsts, track), tf.gather(self.lasts, track)
        start = first + start

        def gather(frames, offset, count):
            return windows(frames, first, last, start + offset, count)

        batch = {"keypoints": gather(self.keypoints, -self.before, self.window_length)}  # [B, W, K, 2]
        if self.cameras is not None:
            batch["camera"] = tf.gather(self.cameras, track)  # [B, 9]
        if augment is not None:
            batch["poses_m"] = gather(self.poses, -self.before, self.window_length)  # [B, W, J, 3]
            batch["poses_world_m"] = gather(self.poses_world, -self.before, self.window_length)
            batch |= {field: tf.gather(values, track) for field, values in self.placements.items()}
            batch = _augmented(batch, augment, seeds)
            batch["poses_m"] = batch["poses_m"][:, self.before : self.before + self.chunk_length]
        elif with_poses:
            batch["poses_m"] = gather(self.poses, 0, self.chunk_length)  # [B, chunk_length, J, 3]
        return _mirrored(batch, self.mirrors, mirrored) if self.mirrors else batch


def _mirrors(skeleton, pose_skeleton):
    """For each field of a batch [2, D, D]: what leaves its numbers as they are, and what mirrors them."""

    def pair(size, mirror):
        basis = np.eye(size, dtype="float32")
        return on_cpu(np.stack([basis, mirror(basis)]))

    def points(skeleton, axes):
        shape = (-1, skeleton.num_keypoints, axes)
        size, order = skeleton.num_keypoints * axes, skeleton.flip_permutation
        return pair(size, lambda basis: np.reshape(camera_ops.mirror(basis.reshape(shape), order), (size, size)))

    return {
        "keypoints": points(skeleton, 2),
        "poses_m": points(pose_skeleton, 3),
        "camera": pair(9, lambda basis: np.asarray(camera_ops.mirror_camera(basis))),
    }


def _mirrored(batch, mirrors, which):
    """The batch, of which `which` [B] ints says what is mirrored, 1, and what is not, 0.

    Mirroring is linear. The product with its matrix is exact, as each row has a single 1 or -1, and much faster than
    exchanging joints and then choosing samples.
    """
    return {
        key: tf.reshape(
            tf.reshape(values, [tf.shape(values)[0], -1, mirrors[key].shape[-1]]) @ tf.gather(mirrors[key], which),
            tf.shape(values),
        )
        for key, values in batch.items()
    }


def _augmented(batch, augment, seeds):
    """What `augment` makes of a batch, in the shapes that it had."""
    changed = augment(batch, seeds)
    wanted = [key for key in ("keypoints", "poses_m", "camera") if key in batch]
    missing = [key for key in wanted if key not in changed]
    if missing:
        raise ValueError(f"augment must give {', '.join(wanted)}, got no {', '.join(missing)}; return a whole batch.")
    return {key: tf.ensure_shape(tf.cast(changed[key], tf.float32), batch[key].shape) for key in wanted}


def _joint_batch(batches):
    """Labelled samples and, where there are any, unlabelled ones behind them, as joint training takes them."""
    poses = batches[0]["poses_m"]
    root = poses[:, :, 0]
    targets = {"poses_m": poses - root[:, :, None], "trajectory_m": root}
    labelled = [tf.fill(tf.shape(batch["camera"])[:1], np.float32(i == 0)) for i, batch in enumerate(batches)]
    if len(batches) > 1:
        count = tf.shape(batches[1]["camera"])[0]
        targets = {
            key: tf.pad(value, [[0, count]] + [[0, 0]] * (value.shape.rank - 1)) for key, value in targets.items()
        }
    inputs = {key: tf.concat([batch[key] for batch in batches], axis=0) for key in ("keypoints", "camera")}
    return inputs | {"labelled": tf.concat(labelled, axis=0)}, targets


def _orders(num_chunks, batch_size, seed, stream, first_step, share):
    """Endless batches of indices of chunks from that of `first_step` on, each once for every part of a share."""
    last = num_chunks % batch_size or batch_size
    if last < share.parts:
        raise ValueError(
            f"Each of {share.parts} devices needs a chunk of every batch, got a last one of {last}; change batch_size."
        )
    steps = num_batches(num_chunks, batch_size)
    first_epoch, first_batch = divmod(first_step, steps)

    @tf.autograph.experimental.do_not_convert
    def order_of(epoch):
        indices = tf.range(num_chunks)
        if seed is not None:
            indices = tf.random.experimental.stateless_shuffle(indices, _draw_seeds(seed, stream, epoch))
        begin = tf.where(epoch == first_epoch, np.int64(first_batch), np.int64(0))
        batches = tf.data.Dataset.range(begin, steps)
        return batches.map(lambda i: indices[i * batch_size : (i + 1) * batch_size])

    batches = tf.data.Dataset.counter(first_epoch).flat_map(order_of)
    if share.replicas == 1:
        return batches
    return batches.flat_map(lambda indices: tf.data.Dataset.from_tensors(indices).repeat(share.replicas))


def _draw_seeds(seed, stream, index):
    """int32 [2], another for each stream and index."""
    key = tf.stack([tf.constant(3 * seed + stream, tf.int64), tf.cast(index, tf.int64)])
    return tf.random.stateless_uniform((2,), key, 0, 2**31 - 1, tf.int32)


def _check_sets(tracks, unlabelled, joint, augment):
    """What `training` asks of its tracks beyond `check`."""
    if tracks.poses_camera_m is None:
        raise ValueError("tracks must have poses to train on, got 2D alone; give tracks without poses as unlabelled.")
    if augment is not None and tracks.poses_world_m is None:
        raise ValueError("augment must have poses_world_m to work on, got tracks without; give poses of the world.")
    for name, each in (("tracks", tracks), ("unlabelled", unlabelled)):
        if joint and each is not None and each.cameras is None:
            raise ValueError(f"{name} must have cameras for joint training, got none; give from_arrays its cameras.")
    if unlabelled is not None and unlabelled.skeleton != tracks.skeleton:
        raise ValueError(
            f"unlabelled must have the keypoints of tracks, {tracks.skeleton.name}, got {unlabelled.skeleton.name}; "
            "convert one of them first."
        )
