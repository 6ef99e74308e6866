"""Augmentation of lifting: people seen from sides, at places and of builds that the recording does not have.

A lifter that has seen few cameras learns these cameras. Where the poses are known in the world and so is the place of
the camera, every window can be seen anew: the person is turned about the vertical, moved, built otherwise, holding the
limbs otherwise, and is projected by the camera that was there. Heights, lenses and tilts stay those of the recording.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kerapose.ops import cameras
from kerapose.types import Tensor

__all__ = [
    "random_views",
]

NEAREST_M = 1.0  # no person is moved nearer to the camera than this, nor beyond half a right angle from its axis


def random_views(
    parents: Sequence[int],
    share: float = 1.0,
    turn_degrees: float = 180.0,
    shift_m: float = 0.3,
    body_spread: float = 0.0,
    bone_spread: float = 0.0,
    limb_degrees: float = 0.0,
) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    """Makes the augmentation that shows people from other sides (`augment` of `tracks.training`).

    Args:
        parents: J indices, the joint above each, -1 for the root, joint 0; a joint comes after its parent.
        share: of the windows that are seen anew, from 0 to 1; the others keep their recorded keypoints, with their
            detector's errors, if any.
        turn_degrees: people are turned about the vertical by up to this, to either side; 180 shows them from anywhere.
        shift_m: standard deviation of the displacement along each horizontal axis, metres; a third of it upwards.
        body_spread: standard deviation of the logarithm of the factor by which a whole body is scaled.
        bone_spread: likewise of each bone, left and right alike only in the mean.
        limb_degrees: standard deviation, about each of three axes, of a turn of every joint that carries all that hangs
            from it, the same in all frames of a window: motions of the recording in poses that it does not have.

    Returns:
        A function of a batch {"keypoints": [B, W, K, 2] screen, "poses_m": [B, W, J, 3] camera space, "poses_world_m":
        [B, W, J, 3], "camera": [B, 9], "orientation": [B, 4], "translation_m": [B, 3]} and int32 [2] seeds. Of the
        windows that are seen anew it replaces keypoints and poses; the others, and those that would leave the picture,
        stay.

    Raises:
        ValueError: if a number is out of range, or `parents` is no such tree.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import tracks, views
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> augment = views.random_views(skeletons.H36M.parents, share=0.8, turn_degrees=30, limb_degrees=12)
        >>> windows, poses = next(iter(tracks.training(known, 9, batch_size=4, augment=augment)))
        >>> tuple(windows.shape), tuple(poses.shape)  # [B, W, K, 2] and [B, 1, J, 3]
        ((4, 9, 17, 2), (4, 1, 17, 3))
    """
    parents = [int(parent) for parent in parents]
    if not parents or parents[0] != -1 or any(not 0 <= p < j for j, p in enumerate(parents) if j):
        raise ValueError(f"parents must be -1 for joint 0 and an earlier joint for each other, got {parents}.")
    if not 0 <= share <= 1:
        raise ValueError(f"share is a share of the windows, from 0 to 1, got {share}; 1 shows all of them anew.")
    spreads = {"turn_degrees": turn_degrees, "shift_m": shift_m, "body_spread": body_spread}
    for name, value in (spreads | {"bone_spread": bone_spread, "limb_degrees": limb_degrees}).items():
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}; 0 leaves that out.")
    turn, limb_spread = np.float32(np.radians(turn_degrees)), np.float32(np.radians(limb_degrees))

    @tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
    def augment(batch, seeds):
        lacking = [key for key in ("camera", "orientation", "translation_m") if key not in batch]
        if lacking:
            raise ValueError(f"Other views need {lacking[0]} of the cameras, got none; give from_arrays the cameras.")
        if batch["keypoints"].shape[2] != batch["poses_m"].shape[2]:
            raise ValueError(
                "Other views project the joints of the poses, which must be those of the keypoints, got "
                f"{batch['poses_m'].shape[2]} and {batch['keypoints'].shape[2]}; leave this augmentation out."
            )
        streams = [seeds + [0, stream] for stream in range(6)]
        count, joints = tf.shape(batch["keypoints"])[0], len(parents)
        world = batch["poses_world_m"]
        if body_spread or bone_spread or limb_degrees:
            scales = tf.exp(body_spread * tf.random.stateless_normal((count, 1), streams[0]))
            scales *= tf.exp(bone_spread * tf.random.stateless_normal((count, joints), streams[1]))
            world = rebuilt(
                world, scales, limb_spread * tf.random.stateless_normal((count, joints, 3), streams[5]), parents
            )
        angles = tf.random.stateless_uniform((count,), streams[2], -turn, turn)
        shifts = tf.random.stateless_normal((count, 3), streams[3]) * np.float32([shift_m, shift_m, shift_m / 3])
        world = turned(world, angles, shifts)
        poses = cameras.world_to_camera(world, batch["orientation"], batch["translation_m"])
        keypoints = cameras.project(poses, batch["camera"])
        anew = tf.random.stateless_uniform((count,), streams[4]) < share
        anew = (anew & is_in_view(poses))[:, None, None, None]
        return batch | {
            "keypoints": tf.where(anew, keypoints, batch["keypoints"]),
            "poses_m": tf.where(anew, poses, batch["poses_m"]),
        }

    return augment


def turned(poses_world_m: Tensor, angles: Tensor, shifts_m: Tensor) -> Tensor:
    """Turns people about the vertical through their root in the middle of the window, and moves them.

    Args:
        poses_world_m: [B, W, J, 3], z up.
        angles: [B], radians.
        shifts_m: [B, 3].

    Returns:
        [B, W, J, 3].
    """
    middle = poses_world_m[:, poses_world_m.shape[1] // 2, 0]  # [B, 3]
    offsets = poses_world_m - middle[:, None, None]
    cos, sin = (f(angles)[:, None, None] for f in (tf.cos, tf.sin))  # [B, 1, 1]
    x, y, z = tf.unstack(offsets, axis=-1)
    return tf.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1) + (middle + shifts_m)[:, None, None]


def rebuilt(poses_m: Tensor, scales: Tensor, turns: Tensor, parents: Sequence[int]) -> Tensor:
    """Scales each bone and turns each joint together with all that hangs from it.

    Args:
        poses_m: [B, W, J, 3].
        scales: [B, J], of the bone that ends in each joint.
        turns: [B, J, 3], axis times angle in radians; the root's is not used.
        parents: J indices, -1 for the root.

    Returns:
        [B, W, J, 3].
    """
    own = tf.unstack(quaternions(turns), axis=1)  # J of [B, 4]
    joints = tf.unstack(poses_m, axis=2)  # J of [B, W, 3]
    made, turned_by = [joints[0]], [None]
    for joint, parent in list(enumerate(parents))[1:]:
        above = turned_by[parent]
        turned_by.append(own[joint] if above is None else product(above, own[joint]))
        bone = (joints[joint] - joints[parent]) * scales[:, None, joint, None]
        made.append(made[parent] + cameras.rotate(turned_by[joint][:, None], bone))
    return tf.stack(made, axis=2)


def quaternions(turns: Tensor) -> Tensor:
    """Unit quaternions (w, x, y, z) of turns given as axis times angle: [..., 3] -> [..., 4]."""
    angles = tf.norm(turns, axis=-1, keepdims=True)
    axes = tf.math.divide_no_nan(turns, angles)
    return tf.concat([tf.cos(angles / 2), tf.sin(angles / 2) * axes], axis=-1)


def product(first: Tensor, second: Tensor) -> Tensor:
    """The turn by `second` and then by `first`: quaternions [..., 4], [..., 4] -> [..., 4]."""
    (a, first), (b, second) = ((q[..., :1], q[..., 1:]) for q in (first, second))
    real = a * b - tf.reduce_sum(first * second, axis=-1, keepdims=True)
    return tf.concat([real, a * second + b * first + tf.linalg.cross(first, second)], axis=-1)


def is_in_view(poses_m: Tensor) -> Tensor:
    """Which windows [B] have every joint in front of the camera and no further than 45 degrees from its axis."""
    depth = poses_m[..., 2]
    aside = tf.reduce_max(tf.abs(poses_m[..., :2]), axis=-1)
    return tf.reduce_all((depth > NEAREST_M) & (aside < depth), axis=(1, 2))
