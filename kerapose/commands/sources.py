"""Where a command's frames come from: an image, a folder of images, a video, a camera."""

import argparse
import collections
import dataclasses
import pathlib
import re
import time
from collections.abc import Callable

import cv2
import numpy as np
from absl import logging

from kerapose import predictors
from kerapose.data import frames
from kerapose.sides import some

IMAGES = (".jpg", ".jpeg", ".png")
OF_FILE_MANAGERS = ("thumbs.db", "desktop.ini")  # and what begins with a dot; nobody means these
USUAL_FPS = 30.0  # of a source that does not tell
TRIAL_FRAMES = 5  # by which the speed of a camera with its network is measured


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
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


def images(given: str, output: pathlib.Path) -> list[pathlib.Path]:
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


def of_image(path: pathlib.Path) -> Source:
    pictures = (frames.Frame(predictors.read_image(one), None, False) for one in [path])
    return Source(path.stem, str(path), None, 1, pictures)


def moving(arguments: argparse.Namespace, find: Callable) -> Source:
    number = _camera_number(arguments.source)
    return _video(arguments) if number is None else _camera(number, arguments, find)


def _video(arguments):
    path = pathlib.Path(arguments.source)
    info = frames.probe(path)  # refuses what is no video
    fps = float(info.fps) if info.fps > 0 else USUAL_FPS
    count = min(info.num_frames, arguments.max_frames or info.num_frames)
    return Source(path.stem, str(path), fps, count, frames.iterate(path, count, True))


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
    return Source(f"camera_{number}", name, fps, arguments.max_frames, _seen(capture, arguments.max_frames, name))


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
