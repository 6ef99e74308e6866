"""People to and from the forms of other programs: OpenPose's JSON, MediaPipe's landmarks, supervision's key points.

All of them become, or come of, `data.predictions.Predictions`. Neither OpenPose nor MediaPipe says who is who:
everybody in each frame has a number of their own, until `tracking.Tracker` has looked at them:

    >>> from kerapose import tracking
    >>> from kerapose.data import interchange, predictions
    >>> _ = interchange.write_openpose(predictions.read("predicted/walk.json"), "out", "walk")
    >>> found = interchange.read_openpose("out", frame_size, fps=15)
    >>> len(found.people)  # two people in each of 30 frames
    60
    >>> track = tracking.Tracker(found.skeleton, found.fps)
    >>> for moment in found.moments:
    ...     moment.ids, moment.keypoints = track(moment.keypoints, moment.keypoint_scores, moment.scores)
    >>> sorted({int(identity) for moment in found.moments for identity in moment.ids})
    [0, 1]
"""

import json
import pathlib
import re
import typing
from collections.abc import Iterable

import numpy as np

from kerapose import files, skeletons
from kerapose.data import gate
from kerapose.data.gate import sequences as sequence_gate
from kerapose.data.predictions import Moment, Predictions
from kerapose.types import Path, Size

__all__ = [
    "from_mediapipe",
    "read_openpose",
    "to_supervision",
    "write_openpose",
]

OF_OPENPOSE = (skeletons.BODY_25, skeletons.OPENPOSE)  # its models BODY_25 and COCO, of 25 and 18 keypoints
FILE = re.compile(r"(.+)_(\d+)_keypoints\.json")  # OpenPose's name for that of a frame
POINTS = "pose_keypoints_2d", "pose_keypoints"  # the name of versions from 1.0 on, and of those before


# ---------------------------------------- OpenPose
def read_openpose(folder: Path, frame_size: Size, fps: float | None = None, name: str | None = None) -> Predictions:
    """Reads what OpenPose's `--write_json` writes, a file for each frame: NAME_000000000000_keypoints.json.

    Frames without a file, before the last one that has one, count as lost. Points of hands and faces are left alone.

    Args:
        folder: of the files.
        frame_size: (height, width) of the video, pixels; the files do not say.
        fps: frames a second of the video. None: not known.
        name: of the video, where files of several lie in the folder. None: there is only one.

    Returns:
        `Predictions`, their keypoints those of `skeletons.BODY_25` or `skeletons.OPENPOSE`, by their number.

    Raises:
        FileNotFoundError: if there are no such files.
        ValueError: if files are of several videos, or something else, or keypoints are not in pixels.

    Example:
        >>> from kerapose.data import interchange, predictions
        >>> _ = interchange.write_openpose(predictions.read("predicted/walk.json"), "openpose", "walk")
        >>> found = interchange.read_openpose("openpose", frame_size, fps=15)
        >>> found.skeleton.name, found.num_frames, len(found.moments[0].ids)
        ('openpose', 30, 2)
    """
    size = _checked_size(frame_size)
    paths = _files_of_frames(pathlib.Path(folder), name)
    rows = {number: _openpose_people(path) for number, path in paths.items()}
    counts = {points.shape[1] for points in rows.values() if len(points)}
    skeleton = next((one for one in OF_OPENPOSE if counts <= {one.num_keypoints}), None)
    if skeleton is None:
        known = " or ".join(str(one.num_keypoints) for one in OF_OPENPOSE)
        got = " and ".join(map(str, sorted(counts)))
        raise ValueError(f"People of OpenPose have {known} keypoints, all as many, got {got} in {folder}; run it anew.")
    empty = np.zeros((0, skeleton.num_keypoints, 3))
    everybody = [rows[number] if len(rows.get(number, ())) else empty for number in range(max(rows) + 1)]
    moments = _moments(everybody, fps)
    for number, moment in enumerate(moments):
        moment.is_lost = number not in rows
    return _in_pixels(Predictions(str(folder), skeleton, fps, size, moments))


def write_openpose(found: Predictions, folder: Path, name: str) -> list[pathlib.Path]:
    """Writes people as OpenPose's `--write_json` does, a file for each frame, and the identities as `person_id`.

    Args:
        found: of a video; keypoints other than OpenPose's are converted to its 18 (`skeletons.convert`).
        folder: where the files go.
        name: of the video, with which their names begin.

    Returns:
        The paths of the files.

    Raises:
        ValueError: if OpenPose's keypoints do not follow from those.

    Example:
        >>> from kerapose.data import interchange, predictions
        >>> found = predictions.read("predicted/walk.json")
        >>> paths = interchange.write_openpose(found, "openpose", "walk")
        >>> len(paths), paths[0].name
        (30, 'walk_000000000000_keypoints.json')
    """
    skeleton = found.skeleton if _is_openpose(found.skeleton) else skeletons.OPENPOSE
    lacking = skeletons.lacking(found.skeleton, skeleton)
    if lacking:
        raise ValueError(
            f"Keypoints of OpenPose must follow from those of {found.skeleton.name}, {gate.some(lacking)} do not; find "
            "people with a network of another set."
        )
    folder, paths = pathlib.Path(folder), []
    for number, moment in enumerate(found.moments):
        keypoints, scores = moment.keypoints, moment.keypoint_scores
        if skeleton is not found.skeleton:
            keypoints, scores = skeletons.convert(keypoints, scores, found.skeleton, skeleton)
        people = [
            {"person_id": [int(identity)], POINTS[0]: np.round(np.c_[points, score], 3).reshape(-1).tolist()}
            | dict.fromkeys(("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"), [])
            for identity, points, score in zip(moment.ids, keypoints, scores, strict=True)
        ]
        paths.append(folder / f"{name}_{number:012d}_keypoints.json")
        files.write_whole(paths[-1], json.dumps({"version": 1.3, "people": people}).encode())
    return paths


def _is_openpose(skeleton):
    return any(skeleton.keypoints == one.keypoints for one in OF_OPENPOSE)


def _files_of_frames(folder, name):
    """{number of a frame: its file}."""
    matches = [FILE.fullmatch(path.name) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    names = sorted({match[1] for match in matches if match})
    if not names or (name is not None and name not in names):
        raise FileNotFoundError(
            f"OpenPose's files are {name or 'NAME'}_000000000000_keypoints.json and so on, got "
            f"{f'those of {gate.some(names)}' if names else 'none'} in {folder}; give the folder of --write_json."
        )
    if name is None and len(names) > 1:
        raise ValueError(f"A folder has files of one video, got {gate.some(names)} in {folder}; choose one by name.")
    return {int(match[2]): folder / match[0] for match in matches if match and match[1] == (name or names[0])}


def _openpose_people(path):
    """[N, K, 3] x, y, score of the people of a file."""
    content = files.read_json(path, "a JSON file of OpenPose")
    try:
        lists = [next(person[key] for key in POINTS if key in person) for person in content["people"]]
        points = np.array(lists, "float64")
        return points.reshape(len(lists), -1, 3) if lists else np.zeros((0, 0, 3))
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ValueError(
            f"A file of OpenPose must have people with {POINTS[0]}, x, y and score each, got something else in {path}; "
            "write it anew with --write_json."
        ) from error


# ---------------------------------------- MediaPipe
def from_mediapipe(results: Iterable[typing.Any], frame_size: Size, fps: float | None = None) -> Predictions:
    """Takes what MediaPipe's pose landmarker found in the frames of a video.

    Args:
        results: T results, a frame each: of `PoseLandmarker` (tasks) or of `mediapipe.solutions.pose`; their
            `pose_landmarks` have x and y in 0..1 and a visibility, which becomes the score.
        frame_size: (height, width) of the frames, pixels.
        fps: frames a second. None: not known.

    Returns:
        `Predictions`, their keypoints those of `skeletons.BLAZEPOSE`.

    Raises:
        ValueError: if somebody does not have 33 landmarks.

    Example:
        >>> import types
        >>> from kerapose.data import interchange
        >>> landmark = types.SimpleNamespace(x=0.5, y=0.25, visibility=0.8)  # as MediaPipe's are
        >>> results = [types.SimpleNamespace(pose_landmarks=[[landmark] * 33])]  # of one frame, one person
        >>> found = interchange.from_mediapipe(results, frame_size=(480, 640), fps=30)
        >>> found.people[0].keypoints[0, 0].tolist(), found.skeleton.name
        ([320.0, 120.0], 'blazepose')
    """
    size, count = _checked_size(frame_size), skeletons.BLAZEPOSE.num_keypoints
    everybody = []
    for number, result in enumerate(results):
        people = result.pose_landmarks or []
        people = [people.landmark] if hasattr(people, "landmark") else people  # of solutions: one person, or None
        if any(len(landmarks) != count for landmarks in people):
            got = next(len(landmarks) for landmarks in people if len(landmarks) != count)
            raise ValueError(f"People of MediaPipe have {count} landmarks, got {got} in frame {number}; use its pose.")
        points = [[(one.x * size[1], one.y * size[0], _visibility(one)) for one in landmarks] for landmarks in people]
        everybody.append(np.array(points, "float64").reshape(-1, count, 3))
    return Predictions("MediaPipe", skeletons.BLAZEPOSE, fps, size, _moments(everybody, fps))


def _visibility(landmark):
    return 1.0 if landmark.visibility is None else landmark.visibility


# ---------------------------------------- supervision
def to_supervision(moment: Moment, skeleton: skeletons.Skeleton) -> typing.Any:
    """The people of one frame as `supervision.KeyPoints`, for its annotators and what else takes such.

    Args:
        moment: of `Predictions.moments`.
        skeleton: the `Skeleton` of its keypoints.

    Returns:
        A `supervision.KeyPoints`: `xy` [N, K, 2], `keypoint_confidence` [N, K], `detection_confidence` [N], and `data`
        with "tracker_id" [N] and "class_name" [N]. Its class is 0, a person.

    Raises:
        ImportError: if supervision is not installed.

    Example:
        >>> from kerapose.data import interchange, predictions
        >>> found = predictions.read("predicted/walk.json")
        >>> points = interchange.to_supervision(found.moments[0], found.skeleton)
        >>> points.xy.shape, points.data["tracker_id"].tolist()
        ((2, 17, 2), [0, 1])
    """
    try:
        import supervision
    except ImportError as error:
        raise ImportError("Key points for supervision need the package; pip install supervision.") from error
    count = len(moment.ids)
    return supervision.KeyPoints(
        xy=moment.keypoints.astype("float32").reshape(count, skeleton.num_keypoints, 2),
        class_id=np.zeros(count, int),
        keypoint_confidence=moment.keypoint_scores.astype("float32").reshape(count, skeleton.num_keypoints),
        detection_confidence=moment.scores.astype("float32"),
        data={"tracker_id": moment.ids.astype(int), "class_name": np.array(["person"] * count)},
    )


# ---------------------------------------- parts
def _checked_size(frame_size):
    size = sequence_gate.frame_size_of(frame_size)
    if size is None:
        raise ValueError(f"frame_size must be (height, width) in pixels, got {frame_size!r}; give that of the video.")
    return int(size[0]), int(size[1])


def _moments(everybody, fps):
    """`Moment` of each frame's people [N, K, 3] x, y, score: each of them with a number of their own."""
    moments, first = [], 0
    for number, points in enumerate(everybody):
        scores = np.where(np.isfinite(points).all(axis=-1), points[..., 2], 0)
        keypoints = np.where(scores[..., None] > 0, points[..., :2], 0)
        boxes = [_box_round(place[there]) for place, there in zip(keypoints, scores > 0, strict=True)]
        ids, first = np.arange(first, first + len(points)), first + len(points)
        moments.append(
            Moment(
                frame=number,
                ids=ids,
                scores=scores.mean(axis=-1) if len(scores) else np.zeros(0),
                boxes=np.array(boxes, "float64").reshape(-1, 4),
                keypoints=keypoints,
                keypoint_scores=scores,
                time_s=number / fps if fps else None,
            )
        )
    return moments


def _box_round(points):
    """The least box [4] round points [P, 2]: left, top, right, bottom."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)]) if len(points) else np.zeros(4)


def _in_pixels(found):
    """Refuses keypoints in 0..1 or -1..1, which `--keypoint_scale` makes of pixels."""
    report = gate.Report("videos", "; OpenPose's --keypoint_scale says the unit", found.source)
    report.seen()
    keypoints = np.concatenate([moment.keypoints for moment in found.moments])
    scores = np.concatenate([moment.keypoint_scores for moment in found.moments])
    sequence_gate.note_places(report, keypoints, scores, found.frame_size, "")
    report.close()
    return found
