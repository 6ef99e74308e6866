"""Reads the files that VideoPose3D keeps Human3.6M and HumanEva in: 3D poses, 2D detections and tables of cameras."""

import ast
import dataclasses
import logging

import numpy as np
import track_records

from kerapose.data import pickles
from kerapose.skeletons import Skeleton

CAMERAS = "cameras.json"
MM_PER_M = 1000
MOST_LEFT_OUT_SHOWN = 5

_log = logging.getLogger("kerapose.datasets.videopose3d")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What differs between the data sets.

    Args:
        table: name of VideoPose3D's module that has the cameras.
        cameras: names of the cameras, in the order of the detections.
        fps: frames per second.
        pose_skeleton: the joints of the 3D poses.
        joints: which of the file's joints those are, in order.
        num_joints: how many the file has.
        subjects: for each split, the subjects as the files call them.
    """

    table: str
    cameras: tuple[str, ...]
    fps: float
    pose_skeleton: Skeleton
    joints: tuple[int, ...]
    num_joints: int
    subjects: dict[str, tuple[str, ...]]


# ---------------------------------------------------------------------------------------------------- the two .npz
def require_files(folder, names, instructions):
    """Refuses a manual folder that lacks files.

    Args:
        folder: the manual folder.
        names: of the files, each perhaps several times; None where a configuration needs none.
        instructions: one sentence that says what belongs in the folder.

    Raises:
        FileNotFoundError: when a file is not there.
    """
    missing = [name for name in dict.fromkeys(names) if name and not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"There is no {' nor '.join(missing)} in {folder}. {instructions}")


def read_positions(path, dataset):
    """Reads the 3D poses.

    Args:
        path: data_3d_*.npz.
        dataset: the `Dataset`.

    Returns:
        dict of subjects, of dicts of actions, of float32 [T, J, 3], metres, world space, z up.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, of another form, or lacks a subject.
    """
    positions = _subjects(path, "positions_3d", pickles.load_npz(path), dataset)
    for subject, actions in positions.items():
        for action, poses in actions.items():
            _check(f"{path}, {subject}/{action}", poses, dataset.num_joints, (3,), "poses")
    takes = {f"{subject}/{action}": poses for subject, of_one in positions.items() for action, poses in of_one.items()}
    track_records.check_sizes(path, takes)
    return {
        subject: {
            action: np.asarray(poses)[:, dataset.joints].astype(np.float32)  # [T, J, 3]
            for action, poses in actions.items()
        }
        for subject, actions in positions.items()
    }


def read_detections(path, skeleton, dataset):
    """Reads the 2D keypoints.

    Args:
        path: data_2d_*.npz.
        skeleton: the keypoints expected.
        dataset: the `Dataset`.

    Returns:
        dict of subjects, of dicts of actions, of lists with [T, K, 2 or 3] for each camera, x and y in pixels and
        perhaps a score; None where a camera has nothing.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, of another form, lacks a subject or has other keypoints.
    """
    arrays, num_cameras = pickles.load_npz(path), len(dataset.cameras)
    detections = _subjects(path, "positions_2d", arrays, dataset)
    _check_layout(path, arrays, skeleton)
    for subject, actions in detections.items():
        for action, views in actions.items():
            where = f"{path}, {subject}/{action}"
            if not isinstance(views, list | tuple) or len(views) != num_cameras:
                found = len(views) if isinstance(views, list | tuple) else "no list"
                raise ValueError(
                    f"{where} must be a list of {num_cameras}, one for each camera, got {found}; correct it."
                )
            for view in views:
                if view is not None:
                    _check(where, view, skeleton.num_keypoints, (2, 3), "keypoints")
    return detections


def _subjects(path, key, arrays, dataset):
    content = arrays[key].item() if key in arrays and arrays[key].shape == () else None
    if not isinstance(content, dict) or not all(isinstance(actions, dict) for actions in content.values()):
        raise ValueError(
            f"{path} must have a dict {key} of subjects and their actions, as VideoPose3D saves it, it has "
            f"{', '.join(arrays) or 'nothing'}; take VideoPose3D's file."
        )
    lacking = [name for names in dataset.subjects.values() for name in names if not content.get(name)]
    if lacking:
        raise ValueError(f"{path} must have all subjects, it has nothing of {', '.join(lacking)}; make it anew.")
    return content


def _check(where, array, count, sizes, what):
    sound = isinstance(array, np.ndarray) and array.dtype.kind in "iuf" and array.ndim == 3 and len(array)
    if not sound or array.shape[1] != count or array.shape[2] not in sizes:
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        size = " or ".join(map(str, sizes))
        raise ValueError(f"{where}: {what} must be numbers [frames, {count}, {size}], got {found}; take another file.")


def _check_layout(path, arrays, skeleton):
    """Refuses detections whose left and right are not those of the skeleton."""
    layout = arrays["metadata"].item() if "metadata" in arrays else None
    sides = layout.get("keypoints_symmetry") if isinstance(layout, dict) else None
    if sides is None:
        return
    pairs = {(int(left), int(right)) for left, right in zip(*sides, strict=True)}
    if pairs != set(skeleton.flip_pairs):
        raise ValueError(
            f"{path} must have the keypoints of {skeleton.name}, it is of the layout "
            f"{layout.get('layout_name', 'without a name')} with the sides {sorted(pairs)}; take another file."
        )


# ---------------------------------------------------------------------------------------------------- cameras
def read_cameras(folder, dataset, needed=tuple(track_records.CAMERA_FIELDS)):
    """Reads the cameras of every subject, from cameras.json or, where there is none, from VideoPose3D's own module.

    The module is looked for in the folder and in `common/` there. It is not run: only the two tables are read.

    Args:
        folder: the manual folder.
        dataset: the `Dataset`.
        needed: what must be known of a camera, see `track_records.check_camera`.

    Returns:
        dict of subjects, of cameras in the order of `dataset.cameras`; None as a subject is for every one.

    Raises:
        FileNotFoundError: when neither file is there.
        ValueError: when the file is damaged or lacks a camera.
    """
    path = folder / CAMERAS
    if path.is_file():
        found = track_records.read_cameras(path)
    else:
        places = (folder / dataset.table, folder / "common" / dataset.table)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"There is neither {CAMERAS} nor {dataset.table} in {folder}; put VideoPose3D's common/{dataset.table} "
                "there, it has the cameras."
            )
        found = [track_records.check_camera(where, camera, needed) for where, camera in _table(path)]
    cameras = {}
    for camera in found:
        cameras.setdefault(camera["subject"], {})[camera["name"]] = camera
    for subject, own in cameras.items():
        if not set(dataset.cameras) <= set(own):
            whose = f"of {subject}" if subject else "of all subjects"
            raise ValueError(
                f"{path} must have the cameras {', '.join(dataset.cameras)} {whose}, it has {', '.join(own)}; add them."
            )
    return {subject: [own[name] for name in dataset.cameras] for subject, own in cameras.items()}


def _table(path):
    """The cameras of VideoPose3D's module that have a place: pairs of what errors call one, and its dict."""
    try:
        statements = ast.parse(path.read_text()).body
        tables = {
            statement.targets[0].id.rpartition("_cameras_")[2].partition("_")[0].rstrip("s"): ast.literal_eval(
                statement.value
            )
            for statement in statements
            if isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and "_cameras_" in statement.targets[0].id
        }
        return [
            (f"{path}, {subject}", inside | place | {"subject": subject, "translation": _metres(place["translation"])})
            for subject, places in tables["extrinsic"].items()
            for inside, place in zip(tables["intrinsic"], places, strict=True)
            if place
        ]
    except (SyntaxError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must have VideoPose3D's tables of intrinsic and extrinsic parameters ({error!r}); take its file."
        ) from None


def _metres(millimetres):
    return [value / MM_PER_M for value in millimetres]


# ---------------------------------------------------------------------------------------------------- sequences
def views(positions, detections, cameras, subjects, dataset):
    """Puts together what the files say of each sequence and camera.

    Args:
        positions: what `read_positions` gives.
        detections: what `read_detections` gives, or None, which projects the poses.
        cameras: what `read_cameras` gives.
        subjects: which subjects, as the files call them.
        dataset: the `Dataset`.

    Yields:
        Records (`track_records.record`). Their subject is without what is before its last slash, their action the word
        before the first blank, as VideoPose3D's evaluation groups them.

    Raises:
        ValueError: when a subject has no cameras, or fewer frames of keypoints than of poses.
    """
    for subject in subjects:
        person = subject.rpartition("/")[2]
        own = cameras.get(person, cameras.get(None))
        if own is None:
            raise ValueError(
                f"The cameras of {person} must be known, only those of {', '.join(cameras)} are; add them."
            )
        for action, poses in positions[subject].items():
            tracks = [None] * len(own) if detections is None else detections[subject].get(action)
            for place, camera in enumerate(own if tracks is not None else ()):
                if detections is not None and tracks[place] is None:
                    continue
                name = f"{subject}/{action}"
                keypoints = None if detections is None else _trimmed(name, tracks[place], poses)
                for part, frames in track_records.parts(poses):
                    known = poses[frames]
                    figures = _figures(keypoints[frames]) if keypoints is not None else {}
                    figures = figures or {"keypoints": track_records.project(name, known, camera)}
                    yield track_records.record(
                        name,
                        camera,
                        poses_world_m=known,
                        fps=dataset.fps,
                        subject=person,
                        action=action.split(" ")[0],
                        part=part,
                        **figures,
                    )


def _trimmed(name, keypoints, poses):
    """Keypoints may go on when the poses are over, as in the files of Human3.6M; those frames have no use."""
    if len(keypoints) < len(poses):
        raise ValueError(
            f"{name}: there must be keypoints for each of the {len(poses)} frames with a pose, got {len(keypoints)}; "
            "cut the poses or detect the rest."
        )
    return keypoints[: len(poses)]


def _figures(keypoints):
    """Keypoints and scores of a record; what was not found is (0, 0) with score 0."""
    keypoints = np.asarray(keypoints, np.float32)
    found = np.isfinite(keypoints).all(axis=-1)  # [T, K]
    scores = keypoints[..., 2] if keypoints.shape[-1] == 3 else 1
    return {
        "keypoints": np.where(found[..., None], keypoints[..., :2], 0),
        "scores": np.where(found, np.maximum(scores, 0), 0),
    }


def left_out(positions, detections, dataset):
    """Names what one of the files has nothing for: whole subjects, sequences, or views of one camera.

    Args:
        positions: what `read_positions` gives.
        detections: what `read_detections` gives, or None.
        dataset: the `Dataset`.

    Returns:
        list of texts like "S11/Directions without poses" and "S1/Eating/55011271 without keypoints".
    """
    used = [subject for subjects in dataset.subjects.values() for subject in subjects]
    lacking = [f"{subject} in no split" for subject in positions if subject not in used]
    lacking += [
        f"{subject}/{action} without a whole pose"
        for subject in used
        for action, poses in positions[subject].items()
        if not track_records.parts(poses)
    ]
    for subject, actions in (detections or {}).items():
        known = positions.get(subject)
        if known is None:
            lacking += [f"{subject} without poses"]
        elif subject in used:
            lacking += [f"{subject}/{action} without poses" for action in actions if action not in known]
    for subject in used if detections is not None else ():
        for action in positions[subject]:
            tracks = detections[subject].get(action)
            empty = [name for name, track in zip(dataset.cameras, tracks or (), strict=False) if track is None]
            lacking += [f"{subject}/{action}/{name} without keypoints" for name in empty]
            lacking += [f"{subject}/{action} without keypoints"] if tracks is None else []
    if lacking:
        more = "" if len(lacking) <= MOST_LEFT_OUT_SHOWN else ", ..."
        shown = ", ".join(lacking[:MOST_LEFT_OUT_SHOWN])
        _log.warning("%d parts of the files are left out (%s%s)", len(lacking), shown, more)
    return lacking


# ---------------------------------------------------------------------------------------------------- builders
def splits(info, skeleton, positions, detections, cameras, dataset):
    """The splits of a builder, whose metadata also get to know what is left out.

    Args:
        info: the builder's `DatasetInfo`.
        skeleton: the `Skeleton` of the keypoints.
        positions: what `read_positions` gives.
        detections: what `read_detections` gives, or None, which projects the poses.
        cameras: what `read_cameras` gives.
        dataset: the `Dataset`.

    Returns:
        dict of splits, of `examples`.
    """
    info.metadata["left_out"] = left_out(positions, detections, dataset)
    return {
        split: track_records.checked(
            split, examples(positions, detections, cameras, subjects, dataset), skeleton, dataset.pose_skeleton
        )
        for split, subjects in dataset.subjects.items()
    }


def examples(positions, detections, cameras, subjects, dataset):
    """Yields what `views` does, each record after its name, as TFDS wants it; the arguments are the same."""
    for record in views(positions, detections, cameras, subjects, dataset):
        yield record["name"], record
