"""Whether a network can be trained on tracks, and which are left out."""

import weakref
from collections.abc import Collection

from kerapose.data import gate, selection
from kerapose.data.gate import tracks as track_gate
from kerapose.data.tracks.track_set import Tracks

_told = weakref.WeakKeyDictionary()  # by tracks: the warnings that the gate gave when they were read


def check(tracks: Tracks) -> int:
    """Raises if a network could not be trained on tracks; what is only odd is logged.

    Args:
        tracks: `Tracks`.

    Returns:
        How many tracks there are.

    Raises:
        BadDataError: naming all tracks with NaN or infinity, nobody seen, a frame size, focal length or frame rate
            that is none, poses that are not in metres, or scores above 10; and where more than half of the tracks do
            it, those with keypoints about (0, 0) or beyond the frame. Its `names` are for `skip`.
        ValueError: if arrays do not fit one another or a skeleton, names are not all different, or there is no track.

    Example:
        >>> from kerapose.data import tracks
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> tracks.check(known)
        4
    """
    return check_told(tracks, _told.get(tracks, set()))


def check_told(tracks: Tracks, told: set[gate.Rule]) -> int:
    """What `check` does, and what warnings were given already; these are kept with the tracks."""
    _check_arrays(tracks)
    report = gate.Report("tracks", ", or leave them out with `skip(tracks, error.names)`")
    report.told |= told
    same_joints = tracks.skeleton.keypoints == tracks.pose_skeleton.keypoints
    for i, start in enumerate(tracks.starts):
        rows = slice(start, start + tracks.lengths[i])
        track = {
            "keypoints_screen": tracks.keypoints_screen[rows],
            "scores": tracks.scores[rows],
            "frame_size": tracks.frame_sizes[i],
            "name": tracks.names[i],
            "fps": tracks.fps[i],
            "camera": None if tracks.cameras is None else tracks.cameras[i],
        }
        for field in ("poses_camera_m", "poses_world_m"):
            values = getattr(tracks, field)
            track[field] = None if values is None else values[rows]
        track_gate.note_track(report, track, same_joints)
    report.close()
    _told[tracks] = report.told
    return len(tracks)


def _check_arrays(tracks):
    """Raises if the arrays of tracks do not fit one another."""
    if len(tracks) == 0:
        raise ValueError("Tracks must be at least one, got none; check the split and how it was prepared.")
    if len(set(tracks.names)) < len(tracks):
        repeated = next(name for i, name in enumerate(tracks.names) if name in tracks.names[:i])
        raise ValueError(f"Names of tracks must differ, got {repeated!r} more than once; number them.")
    sets = {"keypoints_screen": (tracks.skeleton, 2), "poses_camera_m": (tracks.pose_skeleton, 3)}
    sets["poses_world_m"] = sets["poses_camera_m"]
    for field in ("scores", *sets):
        values = getattr(tracks, field)
        if values is not None and len(values) != tracks.lengths.sum():
            raise ValueError(
                f"{field} must have as many frames as the tracks together, {tracks.lengths.sum()}, got {len(values)}; "
                "correct the lengths."
            )
        if values is not None and field in sets:
            skeleton, size = sets[field]
            if values.shape[1:] != (skeleton.num_keypoints, size):
                raise ValueError(
                    f"{field} of {skeleton.name} must be [N, {skeleton.num_keypoints}, {size}], got "
                    f"{list(values.shape)}; give the skeleton that they were made with."
                )


def skip(tracks: Tracks, names: Collection[str]) -> Tracks:
    """Leaves tracks out; how many is logged.

    Args:
        tracks: `Tracks`.
        names: of those to leave out, such as those of a `BadDataError`.

    Returns:
        `Tracks`.

    Raises:
        ValueError: naming those that are not there, or if none is left.

    Example:
        >>> from kerapose.data import tracks
        >>> known = tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        >>> tracks.skip(known, ["S1/walk/front"]).names
        ['S2/walk/front', 'S3/walk/front', 'S4/walk/front']
    """
    names = selection.skipped(names, tracks.names, "tracks")
    return tracks.select(names=[name for name in tracks.names if name not in names])
