"""From 3D skeletons to the keypoints that a camera, placed anywhere, would see of them.

World: metres, z up. The camera goes round the people and looks at their centre, its picture upright: at azimuth 0 it
stands on their -y side and looks along y, with x to its right; at 90 degrees it stands on their x side. Skeletons of a
depth sensor that looks along y (`data.gate.poses.to_world`) are seen at azimuth 0 from the sensor's side.
"""

import numpy as np

from kerapose.ops import cameras, clips
from kerapose.ops.graphs import ops
from kerapose.types import Size, Tensor

__all__ = [
    "FRAME_SIZE",
    "NEAREST_M",
    "keypoints_seen",
    "orientation",
    "people_center",
]

#: Height and width of the picture, pixels: a pixel is small beside people.
FRAME_SIZE = (1080, 1920)
#: Least distance of any joint from the camera, along its line of sight; where somebody comes nearer, it steps back.
NEAREST_M = 1.0
_FILLED = 0.9  # of half the picture, by the joint that is farthest from its centre


def keypoints_seen(
    poses_m: Tensor,
    scores: Tensor,
    azimuth: Tensor = 0.0,
    height_m: Tensor = 0.0,
    distance_m: Tensor = 3.0,
    frame_size: Size = FRAME_SIZE,
) -> tuple[Tensor, Tensor]:
    """Projects 3D skeletons into the picture of a pinhole camera that looks at the people's centre.

    One camera sees the whole sequence. Its focal length is chosen so that the picture just holds everybody in all
    frames: azimuth, height and distance alone decide what is seen. Where joints would come nearer than `NEAREST_M`, or
    behind the camera, it stands farther back along its line of sight.

    Args:
        poses_m: [M, T, K, 3] world, metres, z up; (0, 0, 0) or NaN where missing.
        scores: [M, T, K]; missing where 0.
        azimuth: scalar, how far the camera has gone round, radians, counter-clockwise as seen from above.
        height_m: scalar, of the camera above the people's centre, metres.
        distance_m: scalar, on the ground, from the camera to the people's centre, metres, above 0.
        frame_size: height and width of the picture, pixels.

    Returns:
        keypoints [M, T, K, 2] float32, pixels of the picture, (0, 0) where missing, and scores [M, T, K], 0 there.

    Example:
        >>> from kerapose.ops import virtual_cameras
        >>> head_and_feet = [[[[0.0, 5.0, 0.5], [0.0, 5.0, -0.5]]]]
        >>> seen, _ = virtual_cameras.keypoints_seen(head_and_feet, [[[1.0, 1.0]]], azimuth=np.pi / 2)
        >>> np.asarray(seen).tolist()
        [[[[960.0, 54.0], [960.0, 1026.0]]]]
    """
    poses, scores = clips.without_missing(poses_m, scores)
    seen = scores > 0.0
    azimuth, height, distance = (ops.cast(value, "float32") for value in (azimuth, height_m, distance_m))
    elevation = ops.arctan2(height, distance)
    offsets = cameras.rotate(
        cameras.conjugate(orientation(azimuth, elevation)), poses - people_center(poses, scores)
    )  # [M, T, K, 3], camera axes round the people's centre
    nearest = ops.min(ops.where(seen, offsets[..., 2], 0.0))
    range_m = ops.maximum(ops.sqrt(height**2 + distance**2), NEAREST_M - nearest)
    # Not `cameras.project`, which bends what is more than 45 degrees from the axis.
    rays = offsets[..., :2] / ops.where(seen, offsets[..., 2] + range_m, 1.0)[..., None]
    half = ops.cast(frame_size[::-1], "float32") / 2  # [2], x first
    widest = ops.max(ops.where(seen[..., None], ops.abs(rays), 0.0) / half)
    keypoints = half + rays * (_FILLED / ops.maximum(widest, 1e-9))
    return ops.where(seen[..., None], keypoints, 0.0), scores


def people_center(poses_m: Tensor, scores: Tensor) -> Tensor:
    """Gives the mean of all joints that were seen, over all people and frames.

    Args:
        poses_m: [M, T, K, 3], metres; (0, 0, 0) or NaN where missing.
        scores: [M, T, K]; missing where 0.

    Returns:
        [3] float32, metres; 0 if no joint was seen.

    Example:
        >>> from kerapose.ops import virtual_cameras
        >>> head_and_feet = [[[[0.0, 5.0, 0.5], [0.0, 5.0, -0.5]]]]
        >>> np.asarray(virtual_cameras.people_center(head_and_feet, [[[1.0, 1.0]]])).tolist()
        [0.0, 5.0, 0.0]
    """
    poses, scores = clips.without_missing(poses_m, scores)
    count = ops.sum(ops.cast(scores > 0.0, "float32"))
    return ops.sum(poses, axis=(0, 1, 2)) / ops.maximum(count, 1.0)


def orientation(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Gives the unit quaternion that turns the axes of an upright camera into those of the world.

    Args:
        azimuth: [...] radians, as of `keypoints_seen`.
        elevation: [...] radians, how far the camera looks down.

    Returns:
        [..., 4] (w, x, y, z), as `cameras.world_to_camera` takes it.

    Example:
        >>> from kerapose.ops import virtual_cameras
        >>> np.asarray(virtual_cameras.orientation(0.0, 0.0)).tolist()  # z of the camera is y of the world
        [0.707, -0.707, 0.0, 0.0]
    """
    azimuth, elevation = ops.cast(azimuth, "float32"), ops.cast(elevation, "float32")
    turn, tilt = azimuth / 2, -(np.float32(np.pi / 2) + elevation) / 2
    about_z, about_x = (ops.cos(turn), ops.sin(turn)), (ops.cos(tilt), ops.sin(tilt))
    return ops.stack(
        [about_z[0] * about_x[0], about_z[0] * about_x[1], about_z[1] * about_x[1], about_z[1] * about_x[0]], axis=-1
    )
