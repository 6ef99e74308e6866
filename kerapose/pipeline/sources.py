"""Where pictures come from: an image, a video, an array, a camera, a stream, a file that grows."""

import collections
import dataclasses
import itertools
import os
import pathlib
import re
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from absl import logging

from kerapose import predictors
from kerapose.data import frames
from kerapose.types import Array, Path

IMAGES = (".jpg", ".jpeg", ".png")
USUAL_FPS = 30.0  # of a source that does not tell
TRIAL_FRAMES = 5  # by which the speed of a camera with its network is measured
LONGEST_NAME = 60  # characters of a file that is named after an address


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Where frames come from.

    Args:
        name: of the files that are written.
        given: what the user calls it.
        fps: frames a second; None for an image.
        num_frames: None where nobody knows.
        frames: gives them one after another, each a `data.frames.Frame`.
        is_live: whether it goes on by the clock, and what is not looked at in time is gone.
        shown_fps: frames a second that come to be looked at, in the mean. None: `fps`.
        again: gives the pictures from the first on once more; None where they are gone.
    """

    name: str
    given: str
    fps: float | None
    num_frames: int | None
    frames: Iterator[frames.Frame]
    is_live: bool = False
    shown_fps: float | None = None
    again: Callable[[], Iterator[Array]] | None = None


def opened(
    given: Path | Array | Iterable[Array],
    max_frames: int | None = None,
    fps: float | None = None,
    follow: bool = False,
    find: Callable[[Array], typing.Any] = lambda image: None,
) -> Source:
    """The source that is meant.

    Args:
        given: path of an image or a video; "camera:0"; the address of a stream; RGB uint8 [H, W, 3], one image, or
            [T, H, W, 3], a video; or pictures [H, W, 3] one after another.
        max_frames: how many to look at. None: all.
        fps: frames a second of pictures. None: 30.
        follow: whether a file is still being written.
        find: what is to be done with each picture of a camera, to see how long it takes.

    Raises:
        ValueError, FileNotFoundError: if it is none of these, or cannot be read.
    """
    if max_frames is not None and (max_frames != int(max_frames) or max_frames < 1):
        raise ValueError(f"max_frames must be a whole number of at least 1, got {max_frames}; leave it out for all.")
    max_frames = None if max_frames is None else int(max_frames)
    if isinstance(given, str | os.PathLike):
        if fps is not None:
            raise ValueError(f"fps is for pictures, got it for {given}, which says its own; leave it out.")
        number = camera_number(given)
        if follow and (number is not None or frames.is_address(given)):
            raise ValueError(f"follow is for a file that is being written, got {given}; leave it out.")
        if number is not None:
            return _camera(number, max_frames, find)
        if follow or frames.is_address(given):
            return _live(given, max_frames, find)
        path = pathlib.Path(given)
        if is_image(path):
            return of_image(path)
        if path.is_dir() or not path.exists():
            found = "a folder" if path.is_dir() else "which is not there"
            raise FileNotFoundError(
                f"A source must be the file of an image or a video, got {given}, {found}; check it."
            )
        return _video(path, max_frames)
    if follow:
        raise ValueError("follow is for a file that is being written, got pictures; leave it out.")
    is_array = isinstance(given, np.ndarray)
    if isinstance(given, bytes) or not isinstance(given, Iterable) or (is_array and given.ndim not in (3, 4)):
        told = f"an array {list(given.shape)}" if is_array else type(given).__name__
        raise ValueError(
            "A source must be a path, an address, camera:0, an image [H, W, 3], a video [T, H, W, 3] or pictures one "
            f"after another, got {told}; convert it."
        )
    if is_array and given.ndim == 3:
        if fps is not None:
            raise ValueError(f"fps is for pictures one after another, got {fps} for an image; leave it out.")
        return Source(
            "image", "an array", None, 1, iter([frames.Frame(predictors.read_image(given))]), again=_of([given])
        )
    return _pictures(given, max_frames, fps)


def is_image(path: Path) -> bool:
    """Whether a path is that of an image, by its ending."""
    return pathlib.Path(path).suffix.lower() in IMAGES


def camera_number(given: Path) -> int | None:
    """0 of "camera:0"; None for all else."""
    match = re.fullmatch(r"camera:(\d+)", str(given))
    return int(match[1]) if match else None


def of_image(path: pathlib.Path) -> Source:
    """An image's own source; it is read when it is asked for."""

    def pictures():
        yield predictors.read_image(path)

    return Source(path.stem, str(path), None, 1, map(frames.Frame, pictures()), again=pictures)


def _of(pictures):
    return lambda: (predictors.read_image(picture) for picture in pictures)


def _pictures(given, max_frames, fps):
    """Pictures that somebody hands over, an array or one after another."""
    is_array = isinstance(given, np.ndarray)
    count = len(given) if is_array else None
    if count == 0:
        raise ValueError("A video must have at least one frame, got an array of none; leave it out.")
    fps = USUAL_FPS if fps is None else float(fps)
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be above 0 and finite, got {fps}; 30 frames a second are usual.")
    count = max_frames if count is None else min(count, max_frames or count)
    pictures = _of_one_size(itertools.islice(map(predictors.read_image, given), count))
    timed = (frames.Frame(picture, number / fps) for number, picture in enumerate(pictures))
    name = "an array" if is_array else "pictures"
    return Source("pictures", name, fps, count, timed, again=_of(given[:count]) if is_array else None)


def _of_one_size(pictures):
    size = None
    for number, picture in enumerate(pictures):
        size = size or picture.shape[:2]
        if picture.shape[:2] != size:
            frames.refuse_sizes(size, picture.shape[:2], number)
        yield picture


def _video(path, max_frames):
    info = frames.probe(path)  # refuses what is no video
    fps = float(info.fps) if info.fps > 0 else USUAL_FPS
    count = min(info.num_frames, max_frames or info.num_frames)
    pictures = frames.iterate(path, count, True)
    return Source(path.stem, str(path), fps, count, pictures, again=lambda: frames.iterate(path, count))


# ---------------------------------------- by the clock
def _camera(number, max_frames, find):
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
    fps = float(capture.get(cv2.CAP_PROP_FPS) or USUAL_FPS)
    shown_fps = min(fps, TRIAL_FRAMES / (time.perf_counter() - start))
    newest = _Newest(_seen(capture, f"camera:{number}"), max_frames)
    return Source(f"camera_{number}", f"camera:{number}", fps, max_frames, newest, True, shown_fps)


def _seen(capture, name):
    """Gives what a camera sees, until it is unplugged."""
    count, start = 0, None
    try:
        while True:
            there, picture = capture.read()
            now = time.perf_counter()
            start = now if start is None else start
            if not there:
                logging.warning("%s gives no more pictures after %d.", name, count)
                return
            yield frames.Frame(_rgb(picture), now - start)
            count += 1
    finally:
        capture.release()


def _live(given, max_frames, find):
    """A stream, or a file that is being written, with the frames a second that it and the network manage together."""
    video = frames.LiveVideo(given)
    rest = iter(video)
    first = next(rest, None)
    if first is None:
        raise ValueError(f"A stream must have at least one picture, got none from {given}; check what sends it.")

    def pictures():
        yield first
        yield from rest

    fps = video.fps or USUAL_FPS
    name = re.sub(r"\W+", "_", str(given).rpartition("://")[2]).strip("_")[:LONGEST_NAME]
    name = name if frames.is_address(given) else pathlib.Path(given).stem
    if not video.is_endless:

        def again():
            return (frame.picture for frame in itertools.islice(frames.LiveVideo(given), max_frames))

        shown = itertools.islice(pictures(), max_frames)
        return Source(name, str(given), fps, max_frames, shown, again=again)
    find(first.picture)  # what has to be compiled is compiled here
    start = time.perf_counter()
    find(first.picture)
    shown_fps = min(fps, 1 / (time.perf_counter() - start))
    return Source(name, str(given), fps, max_frames, _Newest(pictures(), max_frames), True, shown_fps)


class _Newest:
    """The frames of something that goes on by the clock: always the newest one, and how many were left out before it.

    A thread takes each frame as it comes, so that none waits and the camera's own buffer stays empty; whoever is as
    fast as the camera gets all of them.
    """

    def __init__(self, pictures: Iterator[frames.Frame], max_frames: int | None):
        self._pictures = pictures
        self._left = max_frames
        self._condition = threading.Condition()
        self._waiting = collections.deque(maxlen=1)
        self._dropped, self._is_over, self._error = 0, False, None
        self._thread = None

    def __iter__(self):
        return self

    def __next__(self):
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        if self._left == 0:
            self.close()
            raise StopIteration
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._is_over)
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                raise StopIteration
            frame, dropped = self._waiting.pop(), self._dropped
            self._dropped = 0
        self._left = None if self._left is None else self._left - 1
        return frame._replace(dropped=dropped)

    def close(self):
        """Ends the thread, which lets go of the camera."""
        with self._condition:
            self._is_over = True
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self):
        try:
            for frame in self._pictures:
                with self._condition:
                    if self._is_over:
                        break
                    self._dropped += len(self._waiting)
                    self._waiting.append(frame)
                    self._condition.notify()
        except Exception as error:  # whoever waits for the next frame is told
            self._error = error
        finally:
            close = getattr(self._pictures, "close", None)
            if close is not None:
                close()
            with self._condition:
                self._is_over = True
                self._condition.notify()


def _rgb(picture):
    return np.ascontiguousarray(picture[..., ::-1])
