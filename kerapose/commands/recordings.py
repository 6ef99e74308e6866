"""Who was seen in a source, frame by frame, and the picture or video and the JSON file of it."""

import collections
import dataclasses
import json
import pathlib
import tempfile
import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import tqdm
from absl import logging

from kerapose import predictors, skeletons, tracking, visualize
from kerapose.commands.sources import USUAL_FPS, Source
from kerapose.data import frames
from kerapose.types import Array

GAP_PX = 4  # between the picture and the poses in space
DECIMALS = {"pixels": 2, "scores": 4, "metres": 4, "seconds": 6}  # in the JSON file


@dataclasses.dataclass(eq=False)
class People:
    """Those of one frame: ids [N], scores [N], boxes [N, 4], keypoints [N, K, 2], their scores [N, K], in pixels.

    `poses_m` [N, J, 3] are added where they are lifted, NaN for who could not be. `time_s` and `is_lost` are of the
    frame (`data.frames.Frame`).
    """

    ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    poses_m: np.ndarray | None = None
    time_s: float | None = None
    is_lost: bool = False


class Recording:
    """A source while it is worked on, and who was seen in it."""

    def __init__(self, source: Source, find: Callable, min_score: float, smooth: bool, trail: int):
        self.source = source
        self.find = find
        self.skeleton = find.skeleton
        self.min_score = min_score
        self.smooth = smooth
        self.trail = trail
        self.people = []  # T `People`
        self.frame_size = None
        self.error = None  # that ended it early

    def drawn(self, bar: tqdm.tqdm, stop: threading.Event) -> Iterator[Array]:
        """Yields the frames with the people drawn in, until they end, an error comes, or the user has enough.

        An error before the first frame is done is raised; a later one is kept, so that what was done can be written.
        """
        pictures = self._followed()
        while not stop.is_set() or not self.people:
            try:
                picture = next(pictures, None)
            except Exception as error:
                if not self.people:
                    raise
                self.error = error
                return
            if picture is None:
                return
            yield picture
            bar.update()

    def _followed(self):
        fps = self.source.fps or USUAL_FPS
        track = tracking.Tracker(self.skeleton, fps, smooth=self.smooth, min_score=self.min_score)
        ways = collections.defaultdict(lambda: collections.deque(maxlen=self.trail))
        for image, time_s, is_lost in self.source.frames:
            self.frame_size = image.shape[:2]
            people = _follow([] if is_lost else self.find(image), track, self.skeleton.num_keypoints)
            people.time_s, people.is_lost = time_s, is_lost
            found = people.keypoint_scores > self.min_score  # [N, K]
            for identity, keypoints, there in zip(people.ids.tolist(), people.keypoints, found, strict=True):
                if there.any():
                    ways[identity].append(np.median(keypoints[there], axis=0))
            trails = [np.array(ways[identity]) for identity in people.ids.tolist()] if self.trail else None
            drawn = visualize.draw_identities(image, people.keypoints, found, self.skeleton, people.ids, trails, 0.5)
            self.people.append(people)
            yield drawn

    def lift(self, lift: predictors.Lifter) -> None:
        """Adds the poses in space, each person's whole track at once."""
        num_joints, places = lift.pose_skeleton.num_keypoints, collections.defaultdict(list)
        for frame, people in enumerate(self.people):
            people.poses_m = np.full((len(people.ids), num_joints, 3), np.nan)
            for row, identity in enumerate(people.ids.tolist()):
                places[identity].append((frame, row))
        for identity, seen in places.items():
            poses = self._lifted(seen, identity, lift)
            for frame, row in seen if poses is not None else ():
                self.people[frame].poses_m[row] = poses[frame - seen[0][0]]

    def _lifted(self, seen, identity, lift):
        """The poses [T, J, 3] of one person from the first to the last of the frames (frame, row); None if none."""
        length = seen[-1][0] - seen[0][0] + 1
        keypoints = np.full((length, self.skeleton.num_keypoints, 2), np.nan)
        scores = np.zeros(keypoints.shape[:2])
        for frame, row in seen:
            keypoints[frame - seen[0][0]] = self.people[frame].keypoints[row]
            scores[frame - seen[0][0]] = self.people[frame].keypoint_scores[row]
        scores = np.where(scores > self.min_score, scores, 0)
        try:
            return lift(keypoints, self.frame_size, scores).poses_m
        except ValueError as error:  # of a track that does not show enough
            logging.warning("Person %d of %s is not lifted. %s", identity, self.source.given, error)
            return None

    def as_dict(self, pose_skeleton: skeletons.Skeleton | None) -> dict:
        """The content of the JSON file."""
        sets = {"skeleton": _set_as_dict(self.skeleton)}
        if pose_skeleton is not None:
            sets["pose_skeleton"] = _set_as_dict(pose_skeleton)
        numbered = [{"frame": frame} | _frame_as_dict(people) for frame, people in enumerate(self.people)]
        shape = {"fps": self.source.fps, "frame_size": list(self.frame_size)}
        return {"source": self.source.given} | sets | shape | {"frames": numbered}


def _follow(poses, track, num_keypoints):
    """The people of a frame, once each has an identity."""
    keypoints = np.array([pose.keypoints for pose in poses], "float64").reshape(-1, num_keypoints, 2)
    keypoint_scores = np.array([pose.scores for pose in poses], "float64").reshape(-1, num_keypoints)
    scores = np.array([pose.score for pose in poses], "float64")
    if not all(np.isfinite(values).all() for values in (keypoints, keypoint_scores, scores)):
        raise ValueError("Keypoints and scores are finite numbers, got others from the network; load sound weights.")
    ids, keypoints = track(keypoints, keypoint_scores, scores)
    return People(ids, scores, np.array([pose.box for pose in poses]).reshape(-1, 4), keypoints, keypoint_scores)


def _set_as_dict(skeleton):
    return {key: skeleton.to_dict()[key] for key in ("name", "keypoints", "edges")}


def _frame_as_dict(people):
    time_s = None if people.time_s is None else _rounded(people.time_s, "seconds")
    lost = {"lost": True} if people.is_lost else {}
    return {"time": time_s} | lost | {"people": [_person_as_dict(people, row) for row in range(len(people.ids))]}


def _person_as_dict(people, row):
    keypoints = [
        [*_rounded(place, "pixels"), *_rounded([score], "scores")]
        for place, score in zip(people.keypoints[row], people.keypoint_scores[row], strict=True)
    ]
    person = {
        "id": int(people.ids[row]),
        "score": _rounded(people.scores[[row]], "scores")[0],
        "box": _rounded(people.boxes[row], "pixels"),
        "keypoints": keypoints,
    }
    if people.poses_m is None:
        return person
    pose = people.poses_m[row]
    return person | {"pose_3d": [_rounded(joint, "metres") for joint in pose] if np.isfinite(pose).all() else None}


def _rounded(values, unit):
    return np.round(np.asarray(values, "float64"), DECIMALS[unit]).tolist()


# ---------------------------------------- files
def write(
    recording: Recording, pictures: Iterator[Array], lift: predictors.Lifter | None, output: pathlib.Path
) -> list[pathlib.Path]:
    """Works through the pictures of a source and writes its two files, both or none; gives their paths."""
    source, pose_skeleton = recording.source, None if lift is None else lift.pose_skeleton
    names = f"{source.name}.{'png' if source.fps is None else 'mp4'}", f"{source.name}.json"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as folder:
        folder = pathlib.Path(folder)
        if lift is not None:  # a pose is lifted from frames before and after it, so they are gone through twice
            pictures = _kept(pictures, source, folder / "flat.mp4")
            recording.lift(lift)
            pictures = _with_poses(pictures, recording, pose_skeleton)
        if source.fps is None:
            (picture,) = pictures
            (folder / names[0]).write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
        else:
            visualize.write_mp4(folder / names[0], pictures, source.fps)
        (folder / names[1]).write_text(json.dumps(recording.as_dict(pose_skeleton), allow_nan=False))
        for name in names:
            (folder / name).replace(output / name)
    return [output / name for name in names]


def _kept(pictures, source, path):
    """Goes through the pictures and gives them once more: a single one from memory, those of a video from a file."""
    if source.fps is None:
        return list(pictures)
    return frames.iterate(path, visualize.write_mp4(path, pictures, source.fps))


def _with_poses(pictures, recording, pose_skeleton):
    """Yields the pictures with the people's poses in space beside them."""
    panels = None
    for picture in pictures:
        if panels is None:
            ids, poses = [one.ids for one in recording.people], [one.poses_m for one in recording.people]
            panels = visualize.people_panels(ids, poses, pose_skeleton, picture.shape[0])
        gap = np.full((picture.shape[0], GAP_PX, 3), 255, np.uint8)
        yield np.concatenate([picture, gap, next(panels)], axis=1)
