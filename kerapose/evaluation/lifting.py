"""The test of lifting: every track of a split, whole, as VideoPose3D's paper has it."""

import typing
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kerapose import metrics
from kerapose.data import tracks
from kerapose.estimators import TrackLifter
from kerapose.evaluation import asking
from kerapose.types import Tensor


def lifting_figures(lifter: TrackLifter, known: tracks.Tracks) -> dict[str, typing.Any]:
    """How far the poses that a lifter finds in the tracks of a split are from the true ones.

    Args:
        lifter: a `TrackLifter`, whose `flip_test` is that of the test.
        known: `Tracks` with poses.

    Returns:
        {"tracks", "frames": ints, the figures of `metrics.lifting_metrics`: floats, "actions": {action: figures},
        "subjects": {subject: figures}} and of a lifter with a trajectory network "trajectory_mm": how far the root is
        from its true place. None in place of a figure that there is not, such as the velocity of a single frame.

    Raises:
        ValueError: if the tracks have other keypoints or joints than the lifter, or no poses.

    Example:
        >>> import keras
        >>> from kerapose import evaluation
        >>> from kerapose.data import tracks
        >>> lifter = keras.models.load_model("runs/lifter/model.keras")
        >>> known = tracks.from_tfds("puppets/tracks", "test", data_dir=".")
        >>> figures = evaluation.lifting_figures(lifter, known)
        >>> figures["tracks"], figures["frames"], [name for name in figures if name.endswith("_mm")]
        (2, 60, ['mpjpe_mm', 'p_mpjpe_mm', 'n_mpjpe_mm', 'mpjve_mm'])

    Paper: Pavllo et al., "3D Human Pose Estimation in Video with Temporal Convolutions and Semi-supervised Training",
    CVPR 2019.
    """
    found = lifted_tracks(lifter, known)
    figures = {"tracks": len(found), "frames": known.num_frames} | _for_json(metrics.lifting_metrics(found))
    by_subject = {}
    for track in found:
        by_subject.setdefault(track["subject"], []).append(track)
    for subject, of_one in by_subject.items():
        by_subject[subject] = _for_json(metrics.lifting_metrics(of_one))
        del by_subject[subject]["actions"]
    figures["subjects"] = by_subject
    if lifter.trajectory is not None:
        follow = compiled(lifter, lifter.follow)
        errors = [
            np.linalg.norm(follow(track["keypoints_screen"][None])[0] - track["trajectory_m"], axis=-1)
            for track in tracks.sequences(known)
        ]
        figures["trajectory_mm"] = 1000 * float(np.concatenate(errors).mean())
    return figures


def lifted_tracks(
    lifter: TrackLifter, known: tracks.Tracks, lift: Callable[[Tensor], Tensor] | None = None
) -> list[dict[str, typing.Any]]:
    """Every track of a split with the poses that a lifter finds.

    Args:
        lifter: a `TrackLifter`.
        known: `Tracks` with poses.
        lift: `compiled(lifter, lifter.lift)`, for whoever asks again and again. None: it is compiled here.

    Returns:
        A list of dicts for `metrics.lifting_metrics`: "predicted" and "truth" [T, J, 3], metres, root-relative;
        "action", "subject" and "name".

    Raises:
        ValueError: if the tracks have other keypoints or joints than the lifter, or no poses.

    Example:
        >>> import keras
        >>> from kerapose import evaluation
        >>> from kerapose.data import tracks
        >>> lifter = keras.models.load_model("runs/lifter/model.keras")
        >>> known = tracks.from_tfds("puppets/tracks", "test", data_dir=".")
        >>> [(track["name"], track["predicted"].shape) for track in evaluation.lifted_tracks(lifter, known)]
        [('S7/walk/front', (30, 17, 3)), ('S8/walk/front', (30, 17, 3))]
    """
    for ours, theirs in ((lifter.skeleton, known.skeleton), (lifter.pose_skeleton, known.pose_skeleton)):
        if ours.keypoints != theirs.keypoints:
            raise ValueError(
                f"Tracks to test a lifter with are of its own {ours.name}, got {theirs.name}; give others, or convert "
                "them."
            )
    if known.poses_camera_m is None:
        raise ValueError("Tracks to test a lifter with must have poses, got 2D alone; give labelled tracks.")
    lift = lift or compiled(lifter, lifter.lift)
    return [
        {
            "predicted": np.asarray(lift(track["keypoints_screen"][None])[0]),
            "truth": track["poses_m"],
            "action": track["action"],
            "subject": track["subject"],
            "name": track["name"],
        }
        for track in tracks.sequences(known)
    ]


def compiled(lifter: TrackLifter, ask: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function that a lifter is asked by about whole tracks, compiled once for all lengths, or for few under JAX.

    Args:
        lifter: a `TrackLifter`.
        ask: its method: `lifter.lift`, or `lifter.follow` for the trajectory.

    Returns:
        Function from screen coordinates [B, T, K, 2] to poses [B, T, J, 3], or the way of the root [B, T, 3], metres.
    """
    screen = tf.TensorSpec((None, None, *lifter.network.input_shape[2:]))
    if keras.backend.backend() != "jax":
        return asking.compiled(lifter, ask, [screen])
    answer = asking.compiled(lifter, ask)

    def padded(keypoints):
        tracks, frames = keypoints.shape[:2]
        added = (1 << (frames - 1).bit_length()) - frames  # to a power of 2
        keypoints = np.pad(keypoints, [(0, 0), (0, added), (0, 0), (0, 0)])
        return answer(keypoints, np.full(tracks, frames, "int32"))[:, :frames]

    return padded


def _for_json(figures):
    """Figures for JSON, which has no NaN: None where there is none."""
    if isinstance(figures, dict):
        return {name: _for_json(value) for name, value in figures.items()}
    return None if np.isnan(figures) else figures
