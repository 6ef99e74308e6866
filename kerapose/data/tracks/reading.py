"""Where tracks come from: prepared data sets and arrays in memory, both through the gate."""

from collections.abc import Collection, Sequence

import numpy as np
from absl import logging

from kerapose import skeletons
from kerapose.data import gate, predictions, prepared, selection
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.gate import tracks as track_gate
from kerapose.data.tracks.checks import check_told
from kerapose.data.tracks.gaps import filled
from kerapose.data.tracks.track_set import Tracks
from kerapose.ops import cameras as camera_ops
from kerapose.types import ArrayLike, Path

CAMERA_FIELDS = ("focal_px", "center_px", "radial", "tangential")  # of a camera's own numbers
PLACEMENT_FIELDS = ("orientation", "translation_m")


def from_tfds(
    name: str,
    split: str,
    data_dir: Path | None = None,
    min_score: float | None = 0.0,
    skip: Collection[str] = (),
) -> Tracks:
    """The tracks in one split of a prepared TFDS dataset.

    Args:
        name: of the dataset and its config ("puppets/tracks", "h36m/gt").
        split: name of the split.
        data_dir: where `datasets/build.py` prepared it. None: TFDS's default folder.
        min_score: a keypoint whose score is not above it counts as not seen, and its place is filled in as by
            `fill_gaps`. One that a whole track lacks is at (0, 0), which is logged. None: all stay.
        skip: names of tracks to leave out, such as those of the error that refused the dataset.

    Returns:
        `Tracks`.

    Raises:
        NotPreparedError: if the dataset is not prepared there.
        BadDataError: naming the tracks that are not as described (see `check`).
        ValueError: if it has no such split, holds no tracks, or none of a name to skip.

    Example:
        >>> from kerapose.data import tracks
        >>> tracks.from_tfds("puppets/tracks", "train", data_dir=".")
        Tracks(4 of h36m, 120 frames, 2D and 3D)
    """
    builder = prepared.find(name, split, data_dir)
    metadata = builder.info.metadata or {}
    described = [metadata.get(key) for key in ("skeleton", "pose_skeleton")]
    if "poses_world_m" not in builder.info.features or None in described:
        raise ValueError(f"{name} must hold tracks with poses and say their skeletons, it does not; use another.")
    skeleton, pose_skeleton = (prepared.skeleton_of(each) for each in described)
    elements, names, skip = [], [], selection.names_of(skip, "tracks")
    for element in builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator():
        element |= {key: element[key].decode() for key in ("name", "subject", "action", "camera_name")}
        names.append(element["name"])
        if element["name"] not in skip:
            elements.append(element)
    selection.skipped(skip, names, "tracks")
    return _from_elements(elements, skeleton, pose_skeleton, min_score=min_score)


def from_arrays(
    keypoints: Sequence[ArrayLike],
    frame_sizes: Sequence,
    skeleton: skeletons.Skeleton = skeletons.H36M,
    pose_skeleton: skeletons.Skeleton = skeletons.H36M,
    poses_world_m: Sequence[ArrayLike] | None = None,
    poses_camera_m: Sequence[ArrayLike] | None = None,
    cameras: dict[str, ArrayLike] | Sequence[dict[str, ArrayLike]] | None = None,
    scores: Sequence[ArrayLike] | None = None,
    names: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    actions: Sequence[str] | None = None,
    camera_names: Sequence[str] | None = None,
    fps: float | Sequence[float] = 50.0,
    trim: bool = False,
) -> Tracks:
    """Tracks of arrays that are in memory; without poses they are unlabelled.

    Args:
        keypoints: list of [T, K, 2] arrays, pixels, x first. What is missing, (0, 0), NaN or of score 0, is filled in
            as by `fill_gaps`; what a whole track lacks is at (0, 0), which is logged.
        frame_sizes: list of (height, width), pixels, or one pair for all.
        skeleton: the `Skeleton` of the keypoints.
        pose_skeleton: the `Skeleton` of the poses, its root first.
        poses_world_m: list of [T, J, 3], metres, world; asks for cameras that say where they stand.
        poses_camera_m: list of [T, J, 3], metres, camera space. None: made of `poses_world_m`.
        cameras: list of dicts, or one dict for all: "focal_px" [2], "center_px" [2], "radial" [3] and "tangential" [2]
            in the order of `ops.cameras.project`, and with poses of the world "orientation" [4] and "translation_m"
            [3]. None: not known, which will do for a lifter alone.
        scores: list of [T, K]; 0 where missing. None: 1 where a keypoint is not missing.
        names: list of strings, no two the same. None: the numbers of the tracks.
        subjects, actions, camera_names: lists of strings. None: "".
        fps: frames a second, of all tracks or a list.
        trim: whether frames of 2D beyond the last one of 3D are cut off, as the files of Human3.6M need it.

    Returns:
        `Tracks`.

    Raises:
        BadDataError: naming the tracks that are not as described (see `check`), have more frames of 3D than of 2D, or,
            without `trim`, other ones.
        ValueError: if the lists do not match.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import tracks
        >>> poses_camera_m = [poses_m + [0, 0, 4.0]]  # 4 m before the camera
        >>> known = tracks.from_arrays([keypoints[0]], frame_size, skeletons.COCO, poses_camera_m=poses_camera_m)
        >>> known.num_frames, known.keypoints_screen.shape
        (30, (30, 17, 2))
    """
    count = len(keypoints)
    given = {
        "keypoints": keypoints,
        "frame_size": sequence_gate.sizes_of_all(frame_sizes, count),
        "poses_world_m": poses_world_m,
        "poses_camera_m": poses_camera_m,
        "camera": [cameras] * count if isinstance(cameras, dict) else cameras,
        "scores": scores,
        "name": [str(i) for i in range(count)] if names is None else names,
        "subject": [""] * count if subjects is None else subjects,
        "action": [""] * count if actions is None else actions,
        "camera_name": [""] * count if camera_names is None else camera_names,
        "fps": [fps] * count if np.ndim(fps) == 0 else fps,
    }
    given = {key: values for key, values in given.items() if values is not None}
    for key, values in given.items():
        if isinstance(values, str) or len(values) != count:
            got = repr(values) if isinstance(values, str) else len(values)
            raise ValueError(f"There must be one {key} for each of {count} tracks, got {got}; match the lists.")
    elements = [{key: values[i] for key, values in given.items()} for i in range(count)]
    return _from_elements(elements, skeleton, pose_skeleton, trim)


def from_predictions(
    paths: Sequence[Path],
    pose_skeleton: skeletons.Skeleton = skeletons.H36M,
    min_score: float | None = None,
    min_frames: int = 2,
) -> Tracks:
    """The people whom `kerapose predict` or `kerapose extract` found in videos, a track for each identity, unlabelled.

    A track goes from the first frame in which its person is seen to the last one, `PATH/3` is that of identity 3.

    Args:
        paths: of the JSON files, all of one keypoint set.
        pose_skeleton: the `Skeleton` of the poses that are to be found.
        min_score: a keypoint whose score is not above it counts as not seen; its place is filled in as by `fill_gaps`.
            None: as where they were found.
        min_frames: in how many frames a person must be seen; how many are left out is logged.

    Returns:
        `Tracks`.

    Raises:
        BadDataError: naming the tracks that are not as described (see `check`).
        ValueError: if a file is something else, an image, or of another keypoint set than the first, or nobody is seen
            for long enough.
        FileNotFoundError: if there is no such file.

    Example:
        >>> from kerapose.data import tracks
        >>> unlabelled = tracks.from_predictions(["predicted/walk.json"])
        >>> unlabelled.names, unlabelled.poses_camera_m
        (['predicted/walk.json/0', 'predicted/walk.json/1'], None)
    """
    elements, short, skeleton = [], 0, None
    for path in paths:
        found = predictions.read(path)
        skeleton = skeleton or found.skeleton
        if found.fps is None or found.skeleton.keypoints != skeleton.keypoints:
            got = "an image" if found.fps is None else f"keypoints of {found.skeleton.name}"
            raise ValueError(f"Tracks are people in videos, of one keypoint set, {skeleton.name}; got {got} in {path}.")
        for person in found.people:
            least = found.min_score if min_score is None else min_score
            scores = np.where(person.scores > least, person.scores, 0)
            seen = np.flatnonzero((scores > 0).any(axis=-1))
            if len(seen) < max(min_frames, 1):
                short += 1
                continue
            time = slice(seen[0], seen[-1] + 1)
            told = {"name": f"{path}/{person.id}", "subject": "", "action": "", "camera_name": ""}
            frame = {"frame_size": found.frame_size, "fps": found.fps}
            elements.append(told | frame | {"keypoints": person.keypoints[time], "scores": scores[time]})
    if short:
        logging.info("%d people are left out who are seen in less than %d frames.", short, min_frames)
    if not elements:
        raise ValueError(f"Tracks must be at least one, got nobody seen in {min_frames} frames; lower min_score.")
    return _from_elements(elements, skeleton, pose_skeleton)


def _from_elements(elements, skeleton, pose_skeleton, trim=False, min_score=0.0):
    """Checks elements as TFDS datasets have them, takes each to its camera, and lays them end to end."""
    if not elements:
        raise ValueError("Tracks must be at least one, got none; check the split and how it was prepared.")
    report = gate.Report("tracks", ", or leave them out by name")
    tracks = [_read_element(report, element, skeleton, pose_skeleton, trim, min_score) for element in elements]
    report.close()

    def end_to_end(field, dtype="float32", join=np.concatenate):
        values = [track[field] for track in tracks]
        lacking = [track["name"] for track in tracks if track[field] is None]
        if 0 < len(lacking) < len(tracks):
            raise ValueError(f"All tracks or none must have {field}, got none in track {lacking[0]}; make two of them.")
        return None if lacking else join(values).astype(dtype)

    made = Tracks(
        keypoints_screen=end_to_end("keypoints_screen"),
        scores=end_to_end("scores"),
        poses_camera_m=end_to_end("poses_camera_m"),
        poses_world_m=end_to_end("poses_world_m"),
        lengths=np.array([len(track["keypoints"]) for track in tracks]),
        cameras=end_to_end("camera", join=np.stack),
        frame_sizes=end_to_end("frame_size", "int32", np.stack),
        fps=end_to_end("fps", join=np.array),
        names=[track["name"] for track in tracks],
        subjects=[str(track["subject"]) for track in tracks],
        actions=[str(track["action"]) for track in tracks],
        camera_names=[str(track["camera_name"]) for track in tracks],
        skeleton=skeleton,
        pose_skeleton=pose_skeleton,
        orientations=end_to_end("orientation", join=np.stack),
        translations_m=end_to_end("translation_m", join=np.stack),
    )
    check_told(made, report.told)
    return made


def _read_element(report, element, skeleton, pose_skeleton, trim, min_score):
    """A track with screen coordinates, camera-space poses and camera [9] added; None, and noted, if it is none."""
    track = {"poses_world_m": None, "poses_camera_m": None, "camera": None, "scores": None} | element
    track |= dict.fromkeys(PLACEMENT_FIELDS)
    track["name"] = name = str(track["name"])
    for key in ("keypoints", "scores", "poses_world_m", "poses_camera_m"):
        values = None if track[key] is None else sequence_gate.numbers(track[key])
        if key == "keypoints" and values is not None and track["scores"] is None:
            sequence_gate.note_large(report, values, name)
        with np.errstate(over="ignore"):
            track[key] = values if values is None else values.astype("float32")
    poses = track["poses_world_m"] if track["poses_camera_m"] is None else track["poses_camera_m"]
    if trim and poses is not None and poses.ndim and track["keypoints"] is not None:
        trimmed = [key for key in ("keypoints", "scores") if track[key] is not None]
        track |= {key: track[key][: len(poses)] for key in trimmed}
    if not track_gate.note_track_form(report, track, skeleton, pose_skeleton):
        return None
    if min_score is not None:
        track |= _without_gaps(report, track["keypoints"], track["scores"], min_score, name)
    size = track["frame_size"] = sequence_gate.frame_size_of(track["frame_size"])
    track["fps"] = track_gate.frame_rate(track["fps"])
    try:
        track["keypoints_screen"] = np.asarray(camera_ops.normalize_screen(track["keypoints"], size))
        return track | _in_camera(track["camera"], poses, track["poses_camera_m"], size)
    except (KeyError, ValueError) as error:
        lacks = isinstance(error, KeyError)
        report.note(track_gate.CAMERA_NUMBERS, name, f"no {error.args[0]}" if lacks else str(error).rstrip("."))
    return None


def _without_gaps(report, keypoints, scores, min_score, name):
    """{"keypoints", "scores"} of a track by the one convention, its gaps filled; a keypoint never seen is at (0, 0)."""
    keypoints, scores, nowhere = sequence_gate.without_missing(keypoints, scores)
    if nowhere:
        report.note(sequence_gate.NOWHERE, name, f"{nowhere} keypoints")
    keypoints, scores, never = filled(keypoints, scores, min_score)
    return {"keypoints": np.where(never[:, None], np.float32(0), keypoints), "scores": scores}


def _in_camera(camera, poses, poses_camera_m, size):
    """{"camera" [9], its placement where known, and "poses_camera_m"} of a track."""
    made = {"camera": None, "poses_camera_m": poses_camera_m}
    if camera is not None:
        own = [_numbers(camera, field) for field in CAMERA_FIELDS]
        made["camera"] = np.asarray(camera_ops.normalize_intrinsics(*own, size.tolist()))
        if all(field in camera for field in PLACEMENT_FIELDS):
            made |= {field: _numbers(camera, field) for field in PLACEMENT_FIELDS}
    if poses_camera_m is None and poses is not None:
        if camera is None:
            raise ValueError("cameras must be given with poses of the world, got none; or give poses_camera_m.")
        placement = [_numbers(camera, field) for field in PLACEMENT_FIELDS]
        made["poses_camera_m"] = np.asarray(camera_ops.world_to_camera(poses, *placement))
    return made


def _numbers(camera, field):
    values = sequence_gate.numbers(camera[field])
    if values is None:
        raise ValueError(f"{field} must be numbers, got {camera[field]!r}")
    return values
