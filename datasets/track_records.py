"""What all 3D data sets of this folder share: the record of one sequence as one camera saw it, and cameras' files."""

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerapose import files
from kerapose.data import gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.gate import tracks as track_gate
from kerapose.ops import cameras as camera_ops

UNIT_TOLERANCE = 1e-3  # how far from 1 the norm of an orientation may be
# The numbers of a camera: the name here and in a record, how many, and the names that files have for it.
CAMERA_FIELDS = {
    "orientation": (4, ("orientation",)),
    "translation_m": (3, ("translation", "T")),
    "focal_px": (2, ("focal_length", "f")),
    "center_px": (2, ("center", "c")),
    "radial": (3, ("radial_distortion", "k")),
    "tangential": (2, ("tangential_distortion", "p_videopose3d")),
}
FRAME_SIZE_NAMES = (("res_h", "h"), ("res_w", "w"))
CAMERA_NAMES = ("id", "camera")


def features(num_keypoints=None, num_joints=None):
    """The features of one sequence seen by one camera; README.md beside this file says what they mean.

    Args:
        num_keypoints: K, of the 2D set; None where it is not known before the files are read.
        num_joints: J, of the 3D set, likewise.

    Returns:
        A `FeaturesDict`.
    """

    def track(*shape):
        return tfds.features.Tensor(shape=(None, *shape), dtype=np.float32, encoding="zlib")

    numbers = {key: tfds.features.Tensor(shape=(count,), dtype=np.float32) for key, (count, _) in CAMERA_FIELDS.items()}
    return tfds.features.FeaturesDict(
        {
            "keypoints": track(num_keypoints, 2),
            "scores": track(num_keypoints),
            "poses_world_m": track(num_joints, 3),
            "camera": tfds.features.FeaturesDict(numbers),
            "frame_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            "subject": tfds.features.Text(),
            "action": tfds.features.Text(),
            "camera_name": tfds.features.Text(),
            "name": tfds.features.Text(),
            "fps": np.float32,
        }
    )


def metadata(skeleton, pose_skeleton, **more):
    """The metadata of a 3D data set: its two keypoint sets and whatever else is given."""
    return tfds.core.MetadataDict(skeleton=skeleton.to_dict(), pose_skeleton=pose_skeleton.to_dict(), **more)


def record(name, camera, keypoints, poses_world_m, fps, subject, action, scores=None, part=""):
    """Makes the record of one sequence seen by one camera.

    Args:
        name: of the sequence; the camera's name is put behind it.
        camera: what `read_cameras` gives for one camera.
        keypoints: [T, K, 2], pixels.
        poses_world_m: [T, J, 3], metres, z up.
        fps: frames per second.
        subject: who is seen.
        action: what they do.
        scores: [T, K]; None where the keypoints come from the truth.
        part: what is put behind the camera's name, see `parts`.

    Returns:
        dict of what `features` declares.
    """
    keypoints = np.asarray(keypoints, np.float32)
    scores = np.ones(keypoints.shape[:-1]) if scores is None else scores
    return {
        "keypoints": keypoints,
        "scores": np.asarray(scores, np.float32),
        "poses_world_m": np.asarray(poses_world_m, np.float32),
        "camera": {key: np.asarray(camera[key], np.float32) for key in CAMERA_FIELDS},
        "frame_size": np.asarray(camera["frame_size"], np.int32),
        "subject": subject,
        "action": action,
        "camera_name": camera["name"],
        "name": f"{name}/{camera['name']}{part}",
        "fps": fps,
    }


def check_sizes(path, takes):
    """Refuses poses that are not in metres.

    Args:
        path: of their file, for errors.
        takes: by name, [T, J, 3], a pose that is not known with a coordinate that is not finite.

    Raises:
        ValueError: naming all takes that are too large or too small to be people in metres.
    """
    report = gate.Report("takes", "", str(path))
    for name, poses in takes.items():
        report.seen()
        known = np.isfinite(poses).all(axis=(1, 2))  # [T]
        if known.any():
            track_gate.note_size(report, poses[known], name)
    report.close()


def checked(split, records, skeleton, pose_skeleton):
    """Passes the records of a split on, and refuses the split behind the last one if some of them cannot be right.

    Args:
        split: name of the split, for errors.
        records: pairs of a name and what `record` gives.
        skeleton: the `Skeleton` of the keypoints.
        pose_skeleton: the `Skeleton` of the poses.

    Yields:
        The pairs.

    Raises:
        ValueError: naming all records that the gate refuses.
    """
    report = gate.Report("tracks", "", split)
    for name, one in records:
        camera, size = one["camera"], one["frame_size"]
        keypoints, scores, _ = sequence_gate.without_missing(one["keypoints"], one["scores"])
        made = _as_read(keypoints, size, one["poses_world_m"], camera)
        track = {key: value.numpy() for key, value in made.items()}
        track |= {"name": name, "scores": scores, "frame_size": size, "fps": one["fps"]}
        track |= {"poses_world_m": one["poses_world_m"]}
        track_gate.note_track(report, track, skeleton.keypoints == pose_skeleton.keypoints)
        yield name, one
    report.close()


@tf.function(autograph=False, reduce_retracing=True)  # a hundred operations, which one by one take long
def _as_read(keypoints, frame_size, poses_world_m, camera):
    """What `data.tracks` makes of a record."""
    lens = (camera[key] for key in ("focal_px", "center_px", "radial", "tangential"))
    place = camera["orientation"], camera["translation_m"]
    return {
        "keypoints_screen": camera_ops.normalize_screen(keypoints, frame_size),
        "camera": camera_ops.normalize_intrinsics(*lens, frame_size),
        "poses_camera_m": camera_ops.world_to_camera(poses_world_m, *place),
    }


def parts(poses_world_m):
    """Cuts a sequence where poses are not known.

    Args:
        poses_world_m: [T, J, 3], a pose that is not known with a coordinate that is not finite.

    Returns:
        list of pairs (what to put behind the sequence's name, slice of frames): one pair with "" and all frames where
        every pose is known, else the known stretches with "/0", "/1" and so on, none where no pose is.
    """
    known = np.isfinite(poses_world_m).all(axis=(1, 2))  # [T]
    if known.all():
        return [("", slice(0, len(known)))]
    return [(f"/{number}", slice(start, end)) for number, (start, end) in enumerate(runs(known))]


def runs(known):
    """Where the stretches of True begin and end.

    Example:
        >>> runs([True, False, True, True])
        [(0, 1), (2, 4)]
    """
    changes = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(known, np.int8), [0]])))
    return [(int(start), int(end)) for start, end in changes.reshape(-1, 2)]


def project(name, poses_world_m, camera):
    """Projects poses into a camera, lens distortion and all.

    Args:
        name: of the sequence, for errors.
        poses_world_m: [T, J, 3], metres, all known.
        camera: what `read_cameras` gives for one camera.

    Returns:
        float32 keypoints [T, J, 2], pixels; they may lie outside of the picture.

    Raises:
        ValueError: when a joint lies where a lens cannot see it, at more than 45 degrees from its axis.
    """
    poses_camera_m = to_camera(poses_world_m, camera)
    unseen = (np.abs(poses_camera_m[..., :2]) >= poses_camera_m[..., 2:]).any(axis=(1, 2))  # [T]
    if unseen.any():
        raise ValueError(
            f"{name}: all joints must lie in front of the camera {camera['name']}, at most 45 degrees from its axis, "
            f"in {unseen.sum()} frames (first {unseen.argmax()}) some do not; move the camera or leave this out."
        )
    lens = (np.asarray(camera[key], np.float32) for key in ("focal_px", "center_px", "radial", "tangential"))
    vector = camera_ops.normalize_intrinsics(*lens, camera["frame_size"])
    screen = camera_ops.project(poses_camera_m, vector)
    return np.asarray(camera_ops.denormalize_screen(screen, camera["frame_size"]))


def to_camera(poses_world_m, camera):
    """Takes poses [T, J, 3], metres, from the world to the space of a camera: float32 [T, J, 3]."""
    orientation, translation = (np.asarray(camera[key], np.float32) for key in ("orientation", "translation_m"))
    return np.asarray(camera_ops.world_to_camera(np.asarray(poses_world_m, np.float32), orientation, translation))


# ---------------------------------------------------------------------------------------------------- cameras.json
def read_cameras(path):
    """Reads a file of cameras.

    It is a JSON object with the list `cameras`. Each has an identifier (`id` or `camera`), the unit quaternion
    `orientation` (w, x, y, z; camera to world), its place in metres (`translation` or `T`), in pixels the focal
    lengths (`focal_length` or `f`) and the principal point (`center` or `c`), the distortion (`radial_distortion` or
    `k`, three; `tangential_distortion` or `p_videopose3d`, two), the image's size (`res_w` and `res_h` or `w` and `h`)
    and, where the cameras were moved between subjects, `subject`.

    Args:
        path: the file, an `epath.Path` or a name.

    Returns:
        list of dicts as `check_camera` gives them, in the order of the file.

    Raises:
        ValueError: when the file or a camera in it is not as described; the sentence names the camera.
    """
    path = pathlib.Path(path)
    what = "JSON with a list `cameras` of objects"
    content = files.read_json(path, what)
    cameras = content.get("cameras") if isinstance(content, dict) else None
    if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
        raise ValueError(f"{path} must be {what}, it is something else; correct it.")
    if not cameras:
        raise ValueError(f"{path} must have at least one camera, it has none; add one.")
    checked = [check_camera(f"{path}, camera {number}", camera) for number, camera in enumerate(cameras)]
    names = [(camera["subject"], camera["name"]) for camera in checked]
    twice = sorted({name for subject, name in names if names.count((subject, name)) > 1})
    if twice:
        raise ValueError(f"{path} must have each camera of a subject once, it has {', '.join(twice)} twice; rename it.")
    return checked


def check_camera(where, camera, needed=tuple(CAMERA_FIELDS)):
    """Takes one camera of a file, under any of the names that files have for its numbers.

    Args:
        where: what errors call the camera.
        camera: dict of the file.
        needed: which of `CAMERA_FIELDS` must be there; the others may be left out and are 0 then.

    Returns:
        dict: "name", "subject" (str, None where the file has none), float64 "orientation" [4], "translation_m" [3],
        "focal_px" [2], "center_px" [2], "radial" [3], "tangential" [2], and "frame_size" (height, width).

    Raises:
        ValueError: when something is missing or impossible.
    """
    checked = {
        "name": str(_first(where, camera, CAMERA_NAMES)),
        "subject": str(camera["subject"]) if camera.get("subject") is not None else None,
    }
    where = f"{where} ({checked['name']})"
    for key, (count, names) in CAMERA_FIELDS.items():
        lacks = key not in needed and not any(name in camera for name in names)
        checked[key] = np.zeros(count) if lacks else _numbers(where, camera, names, count)
    size = [_numbers(where, camera, names, 1) for names in FRAME_SIZE_NAMES]
    checked["frame_size"] = tuple(int(side[0]) for side in size)
    if min(checked["frame_size"]) < 1:
        raise ValueError(f"{where}: height and width must be positive, got {checked['frame_size']}; correct them.")
    norm = np.linalg.norm(checked["orientation"])
    if abs(norm - 1) > UNIT_TOLERANCE:
        raise ValueError(f"{where}: the orientation must be a unit quaternion, its norm is {norm:.4f}; normalize it.")
    checked["orientation"] = checked["orientation"] / norm
    if "focal_px" in needed and checked["focal_px"].min() <= 0:
        raise ValueError(f"{where}: focal lengths must be positive, got {checked['focal_px'].tolist()}; correct them.")
    return checked


def _first(where, camera, names):
    found = next((name for name in names if name in camera), None)
    if found is None:
        raise ValueError(f"{where} must have {' or '.join(names)}, it has {', '.join(camera) or 'nothing'}; add it.")
    return camera[found]


def _numbers(where, camera, names, count):
    value = _first(where, camera, names)
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{where}: {names[0]} must be {count} finite numbers, got {value!r}; correct it.")
    return numbers
