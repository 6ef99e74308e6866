"""3D skeletons as keypoints: fixed views of a whole dataset for tests, a random view of each clip for training."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerapose.ops import virtual_cameras
from kerapose.types import Tensor

__all__ = [
    "Views",
    "holds_poses",
]

# A graph larger than the rest of a pipeline, made once for all pipelines.
_keypoints_seen = tf.function(virtual_cameras.keypoints_seen, autograph=False, reduce_retracing=True)


@dataclasses.dataclass(frozen=True)
class Views:
    """The views of 3D skeletons among which each training clip's is drawn: three ranges, fixed where the ends are one.

    Args:
        azimuths_degrees: how far the camera has gone round the people, counter-clockwise as seen from above; at 0 it
            looks along y, as a depth sensor does (`data.gate.poses.to_world`). (-180, 180): from anywhere.
        heights_m: of the camera above the people's centre.
        distances_m: on the ground, from the camera to the people's centre.

    Raises:
        ValueError: if one is no range, or a distance is not above 0.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> dataset = clips.from_poses([poses_m[..., [0, 2, 1]] * [1, 1, -1]], labels, skeletons.H36M)
        >>> views = clips.Views(azimuths_degrees=(-90, 90), heights_m=(-0.3, 1.0), distances_m=(2, 5))
        >>> batches = clips.training(dataset, skeletons.H36M, num_frames=16, size=(28, 28), views=views)
        >>> tuple(next(iter(batches))[0]["keypoints"].shape)
        (16, 1, 16, 17, 2)
    """

    azimuths_degrees: Sequence[float] = (0.0, 0.0)
    heights_m: Sequence[float] = (0.0, 0.0)
    distances_m: Sequence[float] = (3.0, 3.0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            ends = tuple(float(end) for end in given) if np.shape(given) == (2,) else ()
            if len(ends) != 2 or not all(map(math.isfinite, ends)) or ends[0] > ends[1]:
                raise ValueError(f"{field.name} must be two numbers, the lesser first, got {given!r}; correct it.")
            object.__setattr__(self, field.name, ends)
        if self.distances_m[0] <= 0:
            raise ValueError(f"distances_m must be above 0, got {list(self.distances_m)}; give metres.")

    def draw(self, seed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One view: azimuth in radians, height and distance in metres, a function of the seed, int [2], alone."""
        uniforms = tf.random.stateless_uniform((3,), seed)
        ranges = (np.radians(self.azimuths_degrees), self.heights_m, self.distances_m)
        low, high = np.array(ranges, "float32").T
        return tuple(tf.unstack(low + uniforms * (high - low)))


def holds_poses(dataset: tf.data.Dataset) -> bool:
    """Whether the elements of a dataset are 3D skeletons, which are not seen from anywhere yet.

    Args:
        dataset: of elements of `data.clips`.

    Returns:
        A bool.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> clips.holds_poses(clips.from_arrays([keypoints], labels, skeletons.COCO))
        False
    """
    return "poses_m" in dataset.element_spec


@tf.autograph.experimental.do_not_convert  # nothing to convert, but seconds to find that out
def seen(element: dict[str, Tensor], azimuth: Tensor, height_m: Tensor, distance_m: Tensor) -> dict[str, Tensor]:
    """An element of 3D skeletons as one of keypoints: that of `ops.virtual_cameras.keypoints_seen`."""
    element = dict(element)
    poses, scores = element.pop("poses_m"), element.pop("scores")
    keypoints, scores = _keypoints_seen(poses, scores, azimuth, height_m, distance_m)
    shape = poses.shape
    return element | {
        "keypoints": tf.ensure_shape(keypoints, (*shape[:-1], 2)),
        "scores": tf.ensure_shape(scores, shape[:-1]),
        "frame_size": tf.constant(virtual_cameras.FRAME_SIZE, tf.int32),
    }
