"""People in videos, images and before the camera: drawn with their identities, and written down.

    kerapose predict walk.mp4 --model=openpose.keras

writes `predicted/walk.mp4`, the video with the skeletons of its people, each in the colour of the person's identity and
with its number at the head, and `predicted/walk.json`. SOURCE is a video, an image (`predicted/NAME.png`), a folder of
images (.jpg, .jpeg, .png), which are taken one by one, or `camera:0`, the first camera. Whatever else is in a folder is
named and left alone, but for hidden files and those of file managers (Thumbs.db). The network says what is done:

    LightweightOpenPose, as .keras or as published (.pth)     all people of a frame at once
    SimpleBaseline, HRNet, StackedHourglass (.keras)          those that --detector finds; without it, each frame is
                                                              taken for one person
    and a TemporalLifter or TrackLifter as --lifter           their poses in space, drawn beside the picture, too

The JSON file has pixels of the source, x first, and scores of 0 where a keypoint was not found; `pose_3d` is there with
--lifter only, metres from the first joint of `pose_skeleton`, x right, y down, z away from the camera, and null for a
person of whom too little was seen:

    {"source": "walk.mp4",
     "skeleton": {"name": "openpose", "keypoints": ["nose", ...], "edges": [[1, 8], ...]},
     "pose_skeleton": {"name": "h36m", "keypoints": [...], "edges": [...]},
     "fps": 25.0,                      null for an image
     "frame_size": [height, width],
     "frames": [{"frame": 0,
                 "time": 0.0,          seconds on the clock of the file, of a camera from its first picture on; or null
                 "people": [{"id": 0, "score": 0.8, "box": [left, top, right, bottom],
                             "keypoints": [[x, y, score], ...], "pose_3d": [[x, y, z], ...]}]}]}

A frame that cannot be decoded has `"lost": true` and no people; in the video the picture before it is shown again.

Ctrl-C ends a video or the camera after the frame that is worked on, and both files are written with what was done so
far. So they are when anything goes wrong in the middle, and an image of a folder that cannot be read costs only itself:
an error then says what is lacking, and the exit status is 1. After a second Ctrl-C, and where nothing could be done,
neither file is written, and what a folder had before is kept; the exit status is 130 or 2.
"""

import collections
import contextlib
import dataclasses
import json
import pathlib
import re
import signal
import sys
import tempfile
import threading
import time

import cv2
import keras
import numpy as np
import tqdm
from absl import logging

from kerapose import estimators, models, predictors, skeletons, tracking, visualize, weights
from kerapose.data import frames
from kerapose.data.gate.report import some

IMAGES = (".jpg", ".jpeg", ".png")
OF_FILE_MANAGERS = ("thumbs.db", "desktop.ini")  # and what begins with a dot; nobody means these
CHECKPOINTS = (".pth", ".pt", ".bin", ".safetensors")
USUAL_FPS = 30.0  # of a source that does not tell
TRIAL_FRAMES = 5  # by which the speed of a camera with its network is measured
SURE_SCORE = 0.3  # of top-down keypoints: a heatmap has a maximum also where there is nothing
GAP_PX = 4  # between the picture and the poses in space
DECIMALS = {"pixels": 2, "scores": 4, "metres": 4, "seconds": 6}  # in the JSON file
PLAIN_PIXELS = {"mean": [0.0] * 3, "std": [1.0] * 3}  # what hourglasses are trained with


class IncompleteError(RuntimeError):
    """Not all of a source was done; `written` are the paths of the files that there are all the same."""

    def __init__(self, message, written):
        super().__init__(message)
        self.written = list(written)


def add_arguments(parser):
    """Defines the arguments of the command."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a video, an image, a folder of images, or camera:0")
    add("--model", required=True, metavar="FILE", help="a .keras file, or a published .pth of LightweightOpenPose")
    add("--output", default="predicted", metavar="FOLDER", help="where the files go (default: predicted)")
    add(
        "--skeleton",
        metavar="SET",
        help="keypoint set of the network: a name (coco, openpose, ...), or a JSON file of Skeleton.to_dict() "
        "(default: openpose bottom-up, coco top-down)",
    )
    add("--height", type=int, metavar="PX", help="bottom-up: what a frame is resized to for the network (default: 256)")
    add("--detector", metavar="PRESET", help="top-down: KerasHub's detector of people, dfine_medium_coco for one")
    add("--codec", help="top-down: as in training (default: gaussian, of a StackedHourglass hourglass)")
    add("--lifter", metavar="FILE", help="a .keras file of a TemporalLifter or TrackLifter")
    add("--pose_skeleton", default="h36m", metavar="SET", help="keypoint set of the lifter's poses (default: h36m)")
    add("--min_score", type=float, help="keypoints up to this do not count (default: 0 bottom-up, 0.3 top-down)")
    add("--raw", action="store_true", help="leave keypoints as they are found; without it they are smoothed over time")
    add("--trail", type=int, default=0, metavar="FRAMES", help="draw the way of each person in these last frames")
    add("--max_frames", type=int, metavar="FRAMES", help="end a video or the camera after so many")


def run(arguments):
    """Does what the command line says, prints the paths of the written files, and ends the process with 1 or 2 if not.

    Args:
        arguments: what a parser with `add_arguments` parses.
    """
    end = arguments.parser.exit
    try:
        for path in predict(arguments):
            print(path)
    except IncompleteError as error:
        for path in error.written:
            print(path)
        end(1, f"kerapose predict: {error}\n")
    except (ValueError, OSError, ImportError) as error:
        end(2, f"kerapose predict: {error}\n")
    except KeyboardInterrupt:
        end(130, "kerapose predict: stopped; nothing was written of what was being worked on.\n")


def predict(arguments):
    """Does what the command line says.

    Args:
        arguments: what a parser with `add_arguments` parses.

    Returns:
        The paths of the written files.

    Raises:
        ValueError, OSError: if a file is not what it has to be, or files and options do not fit together.
        ImportError: if a package for a detector or a checkpoint is missing.
        IncompleteError: if something went wrong in the middle, once all that was done before it is written.

    Example:
        >>> add_arguments(parser := argparse.ArgumentParser())
        >>> predict(parser.parse_args(["walk.mp4", "--model=openpose.keras"]))
        [PosixPath('predicted/walk.mp4'), PosixPath('predicted/walk.json')]
    """
    if arguments.trail < 0:
        raise ValueError(f"--trail must be at least 0 frames, got {arguments.trail}; 0 draws none.")
    if arguments.max_frames is not None and arguments.max_frames < 1:
        raise ValueError(f"--max_frames must be at least 1, got {arguments.max_frames}; leave it out for all.")
    output = pathlib.Path(arguments.output)
    files = _files(arguments.source, output)  # before the network is loaded, which takes its time
    find, min_score = _make_predictor(arguments)
    lift = _make_lifter(arguments, find.skeleton)
    sources = [_image(path) for path in files] or [_moving(arguments, find)]
    written, failures = [], {}
    # Without a terminal there is no bar, which is made of control characters, but a line for each file.
    total = None if sources[0].num_frames is None else sum(source.num_frames for source in sources)
    with _asked_to_stop() as stop, tqdm.tqdm(total=total, unit="frame", disable=None) as bar:
        for source in sources:
            if stop.is_set():
                break
            recording = _Recording(source, find, min_score, not arguments.raw, arguments.trail)
            try:
                written += _write(recording, recording.drawn(bar, stop), lift, output)
            except Exception as error:  # of whatever kind: the other images do not suffer from it
                if len(sources) == 1:
                    raise
                failures[source.given] = error
            if bar.disable:
                print(f"{source.given}: {len(recording.people)}/{source.num_frames or '?'} frames", file=sys.stderr)
            if recording.error is not None:
                raise _cut_short(recording, written) from recording.error
    if failures:
        raise _left_out(failures, len(sources), written) from next(iter(failures.values()))
    return written


def _cut_short(recording, written):
    source, error, count = recording.source, recording.error, len(recording.people)
    total = "" if source.num_frames is None else f" of {source.num_frames}"
    return IncompleteError(
        f"A video is worked through to its end, got {source.given} up to an error behind {count}{total} frames "
        f"({_reason(error)}); {' and '.join(path.name for path in written)} have those before it.",
        written,
    )


def _left_out(failures, total, written):
    return IncompleteError(
        f"Each image of a folder gives its files, got {len(failures)} of {total} that do not ({some(failures)}: "
        f"{_reason(next(iter(failures.values())))}); mend or remove them, the others are written.",
        written,
    )


def _reason(error):
    known = isinstance(error, ValueError | OSError)
    return (str(error) if known else f"{type(error).__name__}: {error}").strip().split("\n")[0].rstrip(".")


# ---------------------------------------- sources
@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """Where frames come from.

    Args:
        name: of the files that are written.
        given: what the user calls it.
        fps: frames a second; None for an image.
        num_frames: None where nobody knows.
        frames: gives them one after another, each a `data.frames.Frame`.
    """

    name: str
    given: str
    fps: float | None
    num_frames: int | None
    frames: collections.abc.Iterator


def _files(given, output):
    """The images that are meant, none for a video or a camera; refuses what is not there or would be overwritten."""
    if _camera_number(given) is not None:
        return []
    path = pathlib.Path(given)
    if not path.exists():
        raise FileNotFoundError(
            f"SOURCE must be a video, an image, a folder of images or camera:0, got {given}, which is not there."
        )
    folder = path if path.is_dir() else path.parent
    if folder.resolve() == output.resolve():
        raise ValueError(f"--output must be another folder than the source's, got {output}; files have the same names.")
    if not path.is_dir():
        return [path] if path.suffix.lower() in IMAGES else []
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in IMAGES and one.is_file() and not _hidden(one))
    others = [
        one for one in path.iterdir() if one not in found and not _hidden(one) and one.resolve() != output.resolve()
    ]
    others = sorted(one.name for one in others)
    if not found:
        but = f", but {some(others)}" if others else ""
        raise ValueError(f"A folder must have images ({', '.join(IMAGES)}), got none in {path}{but}; give another.")
    if others:
        logging.warning(
            "Of a folder its images (%s) are read, got %d others in %s that are not (%s); convert images, and give "
            "videos and folders themselves.",
            ", ".join(IMAGES),
            len(others),
            path,
            some(others),
        )
    counts = collections.Counter(one.stem for one in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"Images of a folder must have names of their own, got two called {twice[0]}; rename one.")
    return found


def _hidden(path):
    return path.name.startswith(".") or path.name.lower() in OF_FILE_MANAGERS


def _camera_number(given):
    match = re.fullmatch(r"camera:(\d+)", given)
    return int(match[1]) if match else None


def _image(path):
    pictures = (frames.Frame(predictors.read_image(one), None, False) for one in [path])
    return _Source(path.stem, str(path), None, 1, pictures)


def _moving(arguments, find):
    number = _camera_number(arguments.source)
    return _video(arguments) if number is None else _camera(number, arguments, find)


def _video(arguments):
    path = pathlib.Path(arguments.source)
    info = frames.probe(path)  # refuses what is no video
    fps = float(info.fps) if info.fps > 0 else USUAL_FPS
    count = min(info.num_frames, arguments.max_frames or info.num_frames)
    return _Source(path.stem, str(path), fps, count, frames.iterate(path, count, True))


def _camera(number, arguments, find):
    """A camera, with the frames a second that it and the network manage together."""
    capture = cv2.VideoCapture(number)
    there, first = capture.read() if capture.isOpened() else (False, None)
    if not there:
        capture.release()
        raise ValueError(
            f"camera:{number} must be a camera that OpenCV can read, got no picture; check its number, and that no "
            "other program has it, or give a video."
        )
    find(_rgb(first))  # what has to be compiled is compiled here
    start = time.perf_counter()
    for _ in range(TRIAL_FRAMES):
        there, picture = capture.read()
        find(_rgb(picture if there else first))
    fps = float(min(capture.get(cv2.CAP_PROP_FPS) or USUAL_FPS, TRIAL_FRAMES / (time.perf_counter() - start)))
    name = f"camera:{number}"
    return _Source(f"camera_{number}", name, fps, arguments.max_frames, _seen(capture, arguments.max_frames, name))


def _seen(capture, count, name):
    """Gives what a camera sees, until it is unplugged or has given `count` frames."""
    number, start = 0, None
    try:
        while count is None or number < count:
            there, picture = capture.read()
            now = time.perf_counter()
            start = now if start is None else start
            if not there:
                logging.warning("%s gives no more pictures after %d.", name, number)
                return
            yield frames.Frame(_rgb(picture), now - start, False)
            number += 1
    finally:
        capture.release()


def _rgb(picture):
    return np.ascontiguousarray(picture[..., ::-1])


# ---------------------------------------- networks
def _make_predictor(arguments):
    """`BottomUpPose` or `TopDownPose`, and the score up to which its keypoints do not count."""
    path = pathlib.Path(arguments.model)
    if not path.is_file():
        raise FileNotFoundError(f"--model must be a file of a network, got no file {path}.")
    if path.suffix in CHECKPOINTS:
        network = _published(path, _skeleton(arguments.skeleton, skeletons.OPENPOSE))
    else:
        network = _load(path, "--model")
    if isinstance(network, models.LightweightOpenPose | estimators.BottomUpEstimator):
        _refuse(arguments, "top-down networks", "detector", "codec")
        skeleton, default_score = _skeleton(arguments.skeleton, skeletons.OPENPOSE), 0.0
        options = {} if arguments.height is None else {"height": arguments.height}
        find = predictors.BottomUpPose(network, skeleton, **options)
    elif _gives_heatmaps(network):
        _refuse(arguments, "LightweightOpenPose", "height")
        skeleton, default_score = _skeleton(arguments.skeleton, skeletons.COCO), SURE_SCORE
        detector = predictors.PersonDetector(arguments.detector) if arguments.detector else None
        find = predictors.TopDownPose(network, skeleton, detector, **_reading(network, arguments.codec))
    else:
        raise ValueError(
            "--model must be LightweightOpenPose, SimpleBaseline, HRNet or StackedHourglass, got "
            f"{type(network).__name__} in {path}; a lifter goes with --lifter."
        )
    return find, default_score if arguments.min_score is None else arguments.min_score


def _load(path, option):
    if not path.is_file():
        raise FileNotFoundError(f"{option} must be a file of a network, got no file {path}.")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{option} must be a .keras file of a network of this package, got {path}, which Keras does not load "
            f"({reason}); save it with model.save."
        ) from error


def _published(path, skeleton):
    """LightweightOpenPose with the weights of a checkpoint, which has one refinement stage or three."""
    outputs = {"num_heatmaps": skeleton.num_keypoints + 1, "num_pafs": 2 * skeleton.num_edges}
    refusals = []
    for variant in ("openpose", "openpose3"):
        network = models.LightweightOpenPose.from_variant(variant, **outputs)
        try:
            return weights.load_torch(network, path)
        except ValueError as error:
            refusals.append(error)
    raise refusals[0]


def _gives_heatmaps(network):
    if isinstance(network, estimators.PoseEstimator):
        return True
    shapes = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    if not all(isinstance(shape, tuple) for shape in shapes):
        return False
    given, found = shapes
    return len(given) == 4 and given[-1] == 3 and len(found) in (4, 5)


def _reading(network, codec):
    """The options of `TopDownPose` that go with a network."""
    if isinstance(network, estimators.PoseEstimator):
        return {} if codec is None else {"codec": codec}
    if isinstance(network, models.StackedHourglass):
        return {"codec": codec or "hourglass", "normalization": PLAIN_PIXELS}
    return {"codec": codec or "gaussian"}


def _refuse(arguments, kind, *names):
    for name in names:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for {kind}, got it for another network; leave it out.")


def _skeleton(given, default=None):
    if given is None:
        return default
    if not given.endswith(".json"):
        return skeletons.get(given)
    try:
        return skeletons.Skeleton(**json.loads(pathlib.Path(given).read_text()))
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"A skeleton's file must be as Skeleton.to_dict() gives it, got {given} ({error}).") from error


def _make_lifter(arguments, skeleton):
    if arguments.lifter is None:
        return None
    network = _load(pathlib.Path(arguments.lifter), "--lifter")
    if not isinstance(network, models.TemporalLifter | estimators.TrackLifter):
        raise ValueError(
            f"--lifter must be a TemporalLifter or a TrackLifter, got {type(network).__name__} in {arguments.lifter}."
        )
    return predictors.Lifter(network, skeleton, pose_skeleton=_skeleton(arguments.pose_skeleton))


# ---------------------------------------- people
@dataclasses.dataclass(eq=False)
class _People:
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


class _Recording:
    """A source while it is worked on, and who was seen in it."""

    def __init__(self, source, find, min_score, smooth, trail):
        self.source = source
        self.find = find
        self.skeleton = find.skeleton
        self.min_score = min_score
        self.smooth = smooth
        self.trail = trail
        self.people = []  # T `_People`
        self.frame_size = None
        self.error = None  # that ended it early

    def drawn(self, bar, stop):
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

    def lift(self, lift):
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

    def as_dict(self, pose_skeleton):
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
    return _People(ids, scores, np.array([pose.box for pose in poses]).reshape(-1, 4), keypoints, keypoint_scores)


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
def _write(recording, pictures, lift, output):
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


@contextlib.contextmanager
def _asked_to_stop():
    """An event that is set by Ctrl-C; a second one raises KeyboardInterrupt."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield asked
        return

    def ask(number, frame):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        tqdm.tqdm.write("Stopping after this frame; Ctrl-C again drops what was done.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
