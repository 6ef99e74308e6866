"""Who was found in a video or an image, frame by frame, and the JSON file of it that `kerapose predict` writes.

The file has pixels of the source, x first, and scores up to `min_score` where a keypoint was not found::

    {"source": "walk.mp4",
     "skeleton": {"name": "openpose", "keypoints": ["nose", ...], "edges": [[1, 8], ...], ...},   Skeleton.to_dict()
     "pose_skeleton": {...},           with a lifter only
     "fps": 25.0,                      null for an image
     "frame_size": [height, width],
     "min_score": 0.3,                 a keypoint was found where its score is above it; 0 where it is left out
     "frames": [{"frame": 0,
                 "time": 0.0,          seconds on the clock of the file, of a camera from its first picture on; or null
                 "lost": true,         only where the frame could not be decoded
                 "dropped": 3,         only where so many frames before it were not looked at, to keep up with a camera
                 "people": [{"id": 0, "score": 0.8, "box": [left, top, right, bottom],
                             "keypoints": [[x, y, score], ...],
                             "pose_3d": [[x, y, z], ...]}],    with a lifter: metres from the first joint, x right, y
                                       down, z away from the camera; null for who could not be lifted
                 "actions": [{"id": 0, "frames": [0, 47], "time": [0.0, 1.88],
                              "name": "kick", "probabilities": {"kick": 0.97, ...}}]}]}   with a recognizer: the windows
                                       that end with this frame, of a person, or of all if "id" is null; "name" is null
                                       where none is probable enough
"""

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping, Sequence

import numpy as np

from kerapose import files
from kerapose.skeletons import Skeleton
from kerapose.types import Array, Path, Size

__all__ = [
    "Action",
    "JsonWriter",
    "Moment",
    "Person",
    "Predictions",
    "from_json",
    "head_of",
    "read",
]

DECIMALS = {"pixels": 2, "scores": 4, "metres": 4, "seconds": 6}  # in the JSON file


@dataclasses.dataclass(frozen=True)
class Action:
    """What somebody does in a window of frames.

    Args:
        id: of the person; None for all people together.
        frames: the first and the last frame of the window.
        times_s: when these are shown, seconds; None where nobody knows.
        name: of the action; None where none is probable enough.
        probabilities: of the most probable actions by name, the first the most probable.

    Example:
        >>> from kerapose.data import predictions
        >>> action = predictions.Action(0, (0, 47), (0.0, 1.88), "kick", {"kick": 0.97, "jump": 0.02})
        >>> action.name, action.probabilities["jump"]
        ('kick', 0.02)
    """

    id: int | None
    frames: tuple[int, int]
    times_s: tuple[float, float] | None
    name: str | None
    probabilities: Mapping[str, float]

    def to_json(self) -> dict[str, typing.Any]:
        """As the file has it."""
        return {
            "id": self.id,
            "frames": list(self.frames),
            "time": None if self.times_s is None else _rounded(self.times_s, "seconds"),
            "name": self.name,
            "probabilities": {name: round(float(value), 4) for name, value in self.probabilities.items()},
        }


@dataclasses.dataclass(eq=False)
class Moment:
    """The N people of one frame.

    Args:
        frame: its number, from 0.
        ids: [N] identities; the same number is the same person.
        scores: [N] how sure each person is.
        boxes: [N, 4] left, top, right, bottom, pixels.
        keypoints: [N, K, 2] pixels, x first.
        keypoint_scores: [N, K], 0 where a keypoint was not found.
        poses_m: [N, J, 3] metres from joint 0, NaN for who could not be lifted. None without a lifter.
        actions: the windows that end with this frame. None without a recognizer.
        time_s: when it is shown, seconds; None where nobody knows.
        is_lost: whether it could not be decoded.
        dropped: how many frames before it were left out to keep up with a camera.
        picture: [H, W, 3] uint8 RGB, while it is worked on; it is in no file.

    Example:
        >>> from kerapose.data import predictions
        >>> moment = predictions.read("predicted/walk.json").moments[3]
        >>> moment.ids.tolist(), moment.time_s, moment.keypoints.shape
        ([0, 1], 0.2, (2, 17, 2))
    """

    frame: int
    ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    poses_m: np.ndarray | None = None
    actions: tuple[Action, ...] | None = None
    time_s: float | None = None
    is_lost: bool = False
    dropped: int = 0
    picture: np.ndarray | None = None

    def to_json(self) -> dict[str, typing.Any]:
        """As the file has it."""
        content = {"frame": self.frame, "time": None if self.time_s is None else _rounded(self.time_s, "seconds")}
        content |= {"lost": True} if self.is_lost else {}
        content |= {"dropped": self.dropped} if self.dropped else {}
        content["people"] = [self._person(row) for row in range(len(self.ids))]
        if self.actions is not None:
            content["actions"] = [action.to_json() for action in self.actions]
        return content

    def _person(self, row):
        scores = _rounded(self.keypoint_scores[row], "scores")
        places = _rounded(self.keypoints[row], "pixels")
        person = {
            "id": int(self.ids[row]),
            "score": _rounded(self.scores[row], "scores"),
            "box": _rounded(self.boxes[row], "pixels"),
            "keypoints": [[*place, score] for place, score in zip(places, scores, strict=True)],
        }
        if self.poses_m is None:
            return person
        pose = self.poses_m[row]
        return person | {"pose_3d": _rounded(pose, "metres") if np.isfinite(pose).all() else None}


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """One person over all T frames of a source; zeros, and NaN in space, where the person is not seen.

    Args:
        id: the identity.
        keypoints: [T, K, 2] pixels, x first; (0, 0) where not found.
        scores: [T, K], 0 where not found.
        boxes: [T, 4] left, top, right, bottom, pixels.
        person_scores: [T] how sure the person is, 0 where not seen.
        is_seen: [T] bool, in which frames.
        poses_m: [T, J, 3] metres from joint 0. None without a lifter.
        actions: the windows of this person in order, none where all people together have one action, which are those of
            `Predictions.actions`. None without a recognizer.

    Example:
        >>> from kerapose.data import predictions
        >>> first, second = predictions.read("predicted/walk.json").people
        >>> second.id, second.keypoints.shape, int(second.is_seen.sum())
        (1, (30, 17, 2), 30)
    """

    id: int
    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    person_scores: np.ndarray
    is_seen: np.ndarray
    poses_m: np.ndarray | None = None
    actions: tuple[Action, ...] | None = None


@dataclasses.dataclass(eq=False)
class Predictions:
    """Everybody in a video or an image.

    Args:
        source: what it was called.
        skeleton: the `Skeleton` of the K keypoints.
        fps: frames a second; None for an image.
        frame_size: (height, width), pixels.
        moments: T `Moment`, frame after frame.
        pose_skeleton: the `Skeleton` of the J joints in space. None without a lifter.
        min_score: a keypoint counts as found where its score is above it.

    Example:
        >>> from kerapose.data import predictions
        >>> found = predictions.read("predicted/walk.json")
        >>> found.num_frames, found.fps, found.skeleton.name
        (30, 15.0, 'coco')
        >>> found.people[0].keypoints.shape  # [T, K, 2]
        (30, 17, 2)
    """

    source: str
    skeleton: Skeleton
    fps: float | None
    frame_size: tuple[int, int]
    moments: Sequence[Moment]
    pose_skeleton: Skeleton | None = None
    min_score: float = 0.0

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.moments)

    @functools.cached_property
    def people(self) -> tuple[Person, ...]:
        """One `Person` for each identity, in the order in which they came."""
        places = self.places()
        return tuple(self._person(identity, np.array(places[identity])) for identity in sorted(places))

    def places(self) -> dict[int, list[tuple[int, int]]]:
        """Where each identity is: (frame, row in its arrays) pairs in order."""
        places = {}
        for frame, moment in enumerate(self.moments):
            for row, identity in enumerate(moment.ids.tolist()):
                places.setdefault(identity, []).append((frame, row))
        return places

    @property
    def actions(self) -> tuple[Action, ...]:
        """All windows of all people, in the order of their ends."""
        return tuple(action for moment in self.moments for action in moment.actions or ())

    def _person(self, identity, places):
        rows = [self.moments[frame] for frame, _ in places]

        def over_time(name, fill=0.0):
            values = np.stack([getattr(moment, name)[row] for moment, (_, row) in zip(rows, places, strict=True)])
            whole = np.full((self.num_frames, *values.shape[1:]), fill, "float32")
            whole[places[:, 0]] = values
            return whole

        scores, keypoints = over_time("keypoint_scores"), over_time("keypoints")
        return Person(
            id=identity,
            keypoints=np.where(scores[..., None] > 0, keypoints, 0),
            scores=scores,
            boxes=over_time("boxes"),
            person_scores=over_time("scores"),
            is_seen=np.isin(np.arange(self.num_frames), places[:, 0]),
            poses_m=None if rows[0].poses_m is None else over_time("poses_m", np.nan),
            actions=None
            if rows[0].actions is None
            else tuple(action for action in self.actions if action.id == identity),
        )

    def to_json(self) -> dict[str, typing.Any]:
        """The content of the JSON file."""
        return self._head() | {"frames": [moment.to_json() for moment in self.moments]}

    def write_json(self, file: typing.TextIO, **more: typing.Any) -> None:
        """Writes the JSON file frame by frame.

        Args:
            file: open for text.
            **more: what its first line says besides.

        Example:
            >>> from kerapose.data import predictions
            >>> found = predictions.read("predicted/walk.json")
            >>> with open("again.json", "w", encoding="utf-8") as file:
            ...     found.write_json(file, network="hrnet_w32_coco_256x192")
            >>> predictions.read("again.json").num_frames
            30
        """
        writer = JsonWriter(file, self._head() | more)
        for moment in self.moments:
            writer.add(moment)
        writer.end()

    def _head(self):
        return head_of(self.source, self.skeleton, self.fps, self.frame_size, self.pose_skeleton, self.min_score)


def head_of(
    source: str,
    skeleton: Skeleton,
    fps: float | None,
    frame_size: Size,
    pose_skeleton: Skeleton | None = None,
    min_score: float = 0.0,
) -> dict[str, typing.Any]:
    """What a JSON file has before its frames, for `JsonWriter`.

    Args:
        source: what the video or image is called.
        skeleton: the `Skeleton` of the keypoints.
        fps: frames a second; None for an image.
        frame_size: (height, width), pixels.
        pose_skeleton: the `Skeleton` of the joints in space. None: there are none.
        min_score: a keypoint counts as found where its score is above it.

    Returns:
        A dict for JSON.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import predictions
        >>> head = predictions.head_of("walk.mp4", skeletons.COCO, 25.0, (480, 640))
        >>> head["frame_size"], head["skeleton"]["keypoints"][0]
        ([480, 640], 'nose')
    """
    sets = {"skeleton": skeleton.to_dict()}
    if pose_skeleton is not None:
        sets["pose_skeleton"] = pose_skeleton.to_dict()
    size = [int(side) for side in frame_size]
    return {"source": source} | sets | {"fps": fps, "frame_size": size, "min_score": float(min_score)}


class JsonWriter:
    """Writes a JSON file frame by frame, so that no more than one frame need be in memory.

    Args:
        file: open for text.
        head: what the file has before its frames (`head_of`).

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import predictions
        >>> moments = predictions.read("predicted/walk.json").moments
        >>> with open("cut.json", "w", encoding="utf-8") as file:
        ...     head = predictions.head_of("cut.mp4", skeletons.COCO, 15.0, frame_size)
        ...     writer = predictions.JsonWriter(file, head)
        ...     for moment in moments[:10]:
        ...         writer.add(moment)
        ...     writer.end()
        >>> predictions.read("cut.json").num_frames
        10
    """

    def __init__(self, file: typing.TextIO, head: Mapping[str, typing.Any]):
        self._file, self._comma = file, ""
        opening = json.dumps(dict(head), allow_nan=False, ensure_ascii=False)
        file.write(f'{opening[:-1]}, "frames": [')

    def add(self, moment: Moment) -> None:
        """Writes the next frame."""
        self._file.write(f"{self._comma}\n{json.dumps(moment.to_json(), allow_nan=False, ensure_ascii=False)}")
        self._comma = ","

    def end(self) -> None:
        """Closes the list of frames, without which the file is not whole."""
        self._file.write("\n]}\n")


def read(path: Path) -> Predictions:
    """Reads a JSON file of `kerapose predict` or `kerapose extract`.

    Args:
        path: of the file.

    Returns:
        `Predictions`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, naming what is missing.

    Example:
        >>> from kerapose.data import predictions
        >>> predictions.read("predicted/walk.json").frame_size
        (240, 320)
    """
    return from_json(files.read_json(path, "a JSON file of kerapose predict"), str(path))


def from_json(content: typing.Any, name: str = "the file") -> Predictions:
    """Makes `Predictions` of the content of a JSON file.

    Args:
        content: what `json.load` gives of it, or `Predictions.to_json`.
        name: what errors call it.

    Returns:
        `Predictions`.

    Raises:
        ValueError: if it is something else, naming what is missing.

    Example:
        >>> from kerapose.data import predictions
        >>> content = predictions.read("predicted/walk.json").to_json()
        >>> predictions.from_json(content).source
        'walk.mp4'
    """
    try:
        skeleton = Skeleton(**content["skeleton"])
        pose_skeleton = Skeleton(**content["pose_skeleton"]) if "pose_skeleton" in content else None
        moments = [_moment(frame, number, skeleton, pose_skeleton) for number, frame in enumerate(content["frames"])]
        height, width = (files.whole_number(side) for side in content["frame_size"])
        fps = None if content["fps"] is None else float(content["fps"])
        min_score = float(content.get("min_score", 0.0))
        return Predictions(str(content["source"]), skeleton, fps, (height, width), moments, pose_skeleton, min_score)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{name} must be what kerapose predict writes, got something else ({type(error).__name__}: {error}); give "
            "its JSON file."
        ) from error


def _moment(frame, number, skeleton, pose_skeleton):
    people, count = frame["people"], len(frame["people"])
    keypoints = np.array([person["keypoints"] for person in people], "float64")
    keypoints = keypoints.reshape(count, skeleton.num_keypoints, 3)
    poses = None
    if pose_skeleton is not None:
        poses = np.full((count, pose_skeleton.num_keypoints, 3), np.nan)
        for row, person in enumerate(people):
            if person["pose_3d"] is not None:
                poses[row] = person["pose_3d"]
    return Moment(
        frame=int(frame.get("frame", number)),
        ids=np.array([person["id"] for person in people], "int64"),
        scores=np.array([person["score"] for person in people], "float64"),
        boxes=np.array([person["box"] for person in people], "float64").reshape(count, 4),
        keypoints=keypoints[..., :2],
        keypoint_scores=keypoints[..., 2],
        poses_m=poses,
        actions=tuple(_action(action) for action in frame["actions"]) if "actions" in frame else None,
        time_s=frame["time"],
        is_lost=bool(frame.get("lost", False)),
        dropped=int(frame.get("dropped", 0)),
    )


def _action(content):
    first, last = content["frames"]
    times = None if content["time"] is None else (float(content["time"][0]), float(content["time"][1]))
    identity = None if content["id"] is None else int(content["id"])
    return Action(identity, (int(first), int(last)), times, content["name"], dict(content["probabilities"]))


def _rounded(values: Array, unit: str) -> typing.Any:
    return np.round(np.asarray(values, "float64"), DECIMALS[unit]).tolist()
