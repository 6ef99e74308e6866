"""The camera: where it stands, what it follows, and the pinhole projection into pixels.

Camera axes are x to the right, y down and z into the picture. The camera stands still and pans after the person.
"""

import dataclasses

import numpy as np

FRAME_SIZES = ((1080, 1920), (720, 1280), (480, 640), (480, 854), (1920, 1080))  # height, width
FRAME_SHARES = (0.35, 0.25, 0.15, 0.15, 0.10)
NEAREST_M = 1.0


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera over time.

    Attributes:
        frame_size: (height, width), pixels.
        focal_px: focal length, pixels.
        center_px: float array [2], principal point, x first.
        position_m: float array [3], in the world.
        rotation: float array [T, 3, 3], world axes to camera axes.
    """

    frame_size: tuple
    focal_px: float
    center_px: np.ndarray
    position_m: np.ndarray
    rotation: np.ndarray


def project(camera, points_m):
    """Projects points of the world into the picture.

    Args:
        camera: the `Camera`.
        points_m: float array [T, P, 3], metres.

    Returns:
        float array [T, P, 2]: pixels, x first, and float array [T, P]: depth along the optical axis, metres. A point
        nearer than 1 cm, or behind the camera, is projected as if it were at 1 cm.
    """
    seen = (points_m - camera.position_m) @ np.swapaxes(camera.rotation, 1, 2)  # [T, P, 3]
    depth = np.maximum(seen[..., 2], 0.01)
    return camera.focal_px * seen[..., :2] / depth[..., None] + camera.center_px, depth


def place_camera(rng, points_m, most_tries=12):
    """Sets up a camera that has the person in the picture for nearly all of the time.

    Args:
        rng: NumPy random generator.
        points_m: float array [T, P, 3], the person, metres; point 0 is the pelvis.
        most_tries: cameras to draw; the one with the most of the person in the picture is taken when none has it all.

    Returns:
        Camera.
    """
    best, best_share = None, -1.0
    for _ in range(most_tries):
        camera = draw_camera(rng, points_m[:, 0])
        share = share_in_frame(camera, points_m)
        if share > best_share:
            best, best_share = camera, share
        if share > 0.98:
            break
    return best


def draw_camera(rng, pelvis_m):
    """Draws a camera that looks at a pelvis [T, 3], metres, from any side."""
    height, width = FRAME_SIZES[rng.choice(len(FRAME_SIZES), p=FRAME_SHARES)]
    field_of_view = np.radians(rng.uniform(48, 72))  # along the longer side
    focal_px = 0.5 * max(height, width) / np.tan(field_of_view / 2)
    center_px = np.array([width, height]) * (0.5 + rng.normal(0, 0.01, size=2))
    azimuth, distance = rng.uniform(-np.pi, np.pi), rng.uniform(3.0, 8.0)
    middle = pelvis_m.mean(axis=0)
    ground_m = middle[:2] + distance * np.array([np.cos(azimuth), np.sin(azimuth)])
    position_m = np.append(ground_m, rng.uniform(0.5, 2.5))
    followed = smooth(pelvis_m, reach=8)
    target_m = middle + rng.uniform(0.3, 1.0) * (followed - middle)  # [T, 3]
    target_m = target_m + rng.normal(0, 0.12, size=3)
    roll = rng.normal(0, np.radians(2.0))
    return Camera((height, width), focal_px, center_px, position_m, look_at(position_m, target_m, roll))


def look_at(position_m, target_m, roll):
    """Turns a camera at a position [3] towards targets [T, 3], metres, with a roll in radians: rotations [T, 3, 3]."""
    forward = target_m - position_m
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    rolled_right = np.cos(roll) * right + np.sin(roll) * down
    rolled_down = np.cos(roll) * down - np.sin(roll) * right
    return np.stack([rolled_right, rolled_down, forward], axis=1)


def in_frame(camera, points_px):
    """Tells which points [..., 2], pixels, lie in the picture: bool array [...]."""
    height, width = camera.frame_size
    return ((points_px >= 0) & (points_px < [width, height])).all(axis=-1)


def share_in_frame(camera, points_m):
    """Gives the share of points [T, P, 3], metres, that lie in the picture and not too near."""
    points_px, depth = project(camera, points_m)
    return np.mean(in_frame(camera, points_px) & (depth > NEAREST_M))


def smooth(path, reach):
    """Averages a path [T, 3] over `reach` frames to each side, fewer at its ends."""
    summed = np.concatenate([np.zeros((1, path.shape[1])), np.cumsum(path, axis=0)])
    frames = np.arange(len(path))
    first, last = np.maximum(frames - reach, 0), np.minimum(frames + reach + 1, len(path))
    return (summed[last] - summed[first]) / (last - first)[:, None]
