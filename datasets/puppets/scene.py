"""One scene: a performer does an action before a camera.

A scene holds the 3D motion and the camera, so that other views of the same people can be made from it.
"""

import dataclasses

import numpy as np

from . import body, camera, detector, motions, performers


@dataclasses.dataclass(frozen=True)
class Scene:
    """A person who moves, and the camera.

    Attributes:
        performer: the `performers.Performer`.
        points_m: float array [T, P, 3], metres, in the order of `body.POINTS`.
        view: the `camera.Camera`.
        fps: frames a second.
    """

    performer: performers.Performer
    points_m: np.ndarray
    view: camera.Camera
    fps: int


def make_scene(seed, number, action, take):
    """Makes a scene.

    Args:
        seed: int, the data set's seed.
        number: int, the performer's number.
        action: a name of `motions.ACTIONS`.
        take: int, which of the performer's takes of the action.

    Returns:
        Scene: the same for the same arguments.

    Example:
        >>> make_scene(0, 3, "walk", 0).points_m.shape[1:]
        (27, 3)
    """
    performer = performers.make_performer(seed, number)
    rng = _generator(seed, number, action, take, part=0)
    fps = int(rng.integers(25, 31))
    motion = motions.ACTIONS[action](performer, rng, fps)
    points_m = body.place(motion.angles, performer.lengths, motion.bearing, motion.flight_m)
    return Scene(performer, points_m, camera.place_camera(rng, points_m), fps)


def make_clip(seed, number, action, take):
    """Makes the keypoints a detector finds in a scene; see `make_scene` for the arguments.

    Returns:
        dict: "keypoints" float32 [1, T, K, 2], pixels, x first; "scores" float32 [1, T, K]; "frame_size" int32 [2],
        height and width.
    """
    scene = make_scene(seed, number, action, take)
    rng = _generator(seed, number, action, take, part=1)
    keypoints, scores = detector.detect(rng, scene.view, scene.points_m, scene.performer.height_m, scene.fps)
    return {
        "keypoints": keypoints[None],  # [1, T, K, 2]
        "scores": scores[None],  # [1, T, K]
        "frame_size": np.array(scene.view.frame_size, np.int32),
    }


def _generator(seed, number, action, take, part):
    """Gives motion (part 0) and detector (part 1) generators of their own, so that neither changes the other."""
    return np.random.default_rng([seed, number, list(motions.ACTIONS).index(action), take, part])
