"""People in videos, images and before the camera: drawn with their identities, and written down.

    kerapose predict walk.mp4 --model=runs/openpose/model.keras

writes `predicted/walk.mp4`, the video with the skeletons of its people, each in the colour of the person's identity and
with its number at the head, and `predicted/walk.json`. SOURCE is a video, an image (`predicted/NAME.png`), a folder of
images (.jpg, .jpeg, .png), which are taken one by one, `camera:0`, the first camera, or the address of a stream.
Whatever else is in a folder is
named and left alone, but for hidden files and those of file managers (Thumbs.db). The file that a training ends with
knows its keypoints and all else that is needed, and it says what is done:

    train/openpose.py's model.keras             all people of a frame at once
    train/topdown.py's model.keras              those that --detector finds; without it, each frame is taken for one
                                                person
    and train/lifter.py's as --lifter           their poses in space, drawn beside the picture, too

A network alone, such as best.keras, is told what it does not know by --skeleton, --codec, --lifter_skeleton and
--pose_skeleton. The published checkpoints of Lightweight OpenPose (.pth) are known.

With --action, the model.keras of a training of poseconv3d, rgbpose or star_transformer names what each person does, or
all of them together where it was trained on several: in windows that slide along the frames, beside the identity and in
the JSON file with their times. With windows of L frames at F frames a second the first name comes after L / F seconds,
and a change of action shows after about half of that.

A camera and a stream (rtsp://, http://) go on by the clock, as does a file that is still being written, with --follow:
the newest frame is always the next, and how many were left out between, since the networks took longer, is in the JSON
file. What is kept of the past does not grow. There a lifter has to be causal (train/lifter.py's --causal).

The JSON file has pixels of the source, x first, and scores up to `min_score` where a keypoint was not found; `pose_3d`
is there with --lifter only, metres from the first joint of `pose_skeleton`, x right, y down, z away from the camera,
and null for a person of whom too little was seen. `kerapose.data.predictions` has all of it, and reads it:

    {"source": "walk.mp4",
     "skeleton": {"name": "openpose", "keypoints": ["nose", ...], "edges": [[1, 8], ...], ...},
     "fps": 25.0,                      null for an image
     "frame_size": [height, width],
     "min_score": 0.0,
     "frames": [{"frame": 0,
                 "time": 0.0,          seconds on the clock of the file, of a camera from its first picture on; or null
                 "people": [{"id": 0, "score": 0.8, "box": [left, top, right, bottom],
                             "keypoints": [[x, y, score], ...], "pose_3d": [[x, y, z], ...]}],
                 "actions": [{"id": 0, "frames": [0, 47], "time": [0.0, 1.88], "name": "kick", ...}]}]}

Of a source in which nobody was found a line says so, and what the best score was.

A frame that cannot be decoded has `"lost": true` and no people; in the video the picture before it is shown again.

Ctrl-C ends a video or the camera after the frame that is worked on, and both files are written with what was done so
far. So they are when anything goes wrong in the middle, and an image of a folder that cannot be read costs only itself:
an error then says what is lacking, and the exit status is 1. After a second Ctrl-C, and where nothing could be done,
neither file is written, and what a folder had before is kept; the exit status is 130 or 2.
"""

import argparse
import collections
import contextlib
import pathlib
import signal
import sys
import threading
from collections.abc import Iterable

import tqdm
from absl import logging

from kerapose.commands import networks
from kerapose.commands.recording import Recording
from kerapose.data import frames
from kerapose.pipeline import Pipeline, sources
from kerapose.pipeline.extraction import reason
from kerapose.sides import some

ACTION_OPTIONS = ("window", "step", "average", "min_probability", "together")  # arguments of `Pipeline`


class IncompleteError(RuntimeError):
    """Not all of a source was done; `written` are the paths of the files that there are all the same."""

    def __init__(self, message: str, written: Iterable[pathlib.Path]):
        super().__init__(message)
        self.written = list(written)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Defines the arguments of the command."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a video, an image, a folder of images, camera:0, or an address")
    networks.add_arguments(parser)
    add("--output", default="predicted", metavar="FOLDER", help="where the files go (default: predicted)")
    add("--action", metavar="FILE", help="model.keras of a recognizer's training, or a preset: names what people do")
    add("--window", type=int, metavar="FRAMES", help="of an action (default: as the clips of the training)")
    add("--step", type=int, metavar="FRAMES", help="from window to window (default: a quarter of one)")
    add("--average", type=int, metavar="WINDOWS", help="over which probabilities are averaged (default: 3)")
    add("--min_probability", type=float, help="what is less probable gets no name (default: 0.5)")
    add(
        "--together",
        action=argparse.BooleanOptionalAction,
        help="whether all people of a window have one action (default: as in the training)",
    )
    add("--follow", action="store_true", help="SOURCE is a file that is still being written")
    add("--trail", type=int, default=0, metavar="FRAMES", help="draw the way of each person in these last frames")
    add("--max_frames", type=int, metavar="FRAMES", help="end a video or the camera after so many")


def run(arguments: argparse.Namespace) -> None:
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


def predict(arguments: argparse.Namespace) -> list[pathlib.Path]:
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
        >>> import argparse
        >>> from kerapose.commands import predict
        >>> predict.add_arguments(parser := argparse.ArgumentParser())
        >>> predict.predict(parser.parse_args(["street.jpg", "--model=runs/topdown/model.keras"]))
        [PosixPath('predicted/street.png'), PosixPath('predicted/street.json')]
    """
    if arguments.trail < 0:
        raise ValueError(f"--trail must be at least 0 frames, got {arguments.trail}; 0 draws none.")
    if arguments.max_frames is not None and arguments.max_frames < 1:
        raise ValueError(f"--max_frames must be at least 1, got {arguments.max_frames}; leave it out for all.")
    output = pathlib.Path(arguments.output)
    files = images(arguments.source, output)  # before the network is loaded, which takes its time
    if files and arguments.follow:
        raise ValueError(f"--follow is for a video that is still being written, got {arguments.source}; leave it out.")
    pipeline = make_pipeline(arguments)
    given = [sources.of_image(path) for path in files]
    if not given:
        options = {"follow": arguments.follow, "find": pipeline.pose}
        given = [sources.opened(arguments.source, arguments.max_frames, **options)]
    written, failures = [], {}
    # Without a terminal there is no bar, which is made of control characters, but a line for each file.
    total = None if given[0].num_frames is None else sum(source.num_frames for source in given)
    with _asked_to_stop() as stop, tqdm.tqdm(total=total, unit="frame", disable=None) as bar:
        for source in given:
            if stop.is_set():
                break
            recording = Recording(pipeline, source, arguments.trail)
            try:
                written += recording.write(bar, stop, output)
            except Exception as error:  # of whatever kind: the other images do not suffer from it
                if len(given) == 1:
                    raise
                failures[source.given] = error
            else:
                if not recording.found_somebody:
                    bar.write(_nobody(recording), file=sys.stderr)
            if bar.disable:
                print(_progress(recording), file=sys.stderr)
            if recording.error is not None:
                raise _cut_short(recording, written) from recording.error
    if failures:
        raise _left_out(failures, len(given), written) from next(iter(failures.values()))
    return written


def make_pipeline(arguments: argparse.Namespace) -> Pipeline:
    """The pipeline of a command line; ValueError, OSError as for `predict`."""
    find = networks.make_predictor(arguments)
    lift = networks.make_lifter(arguments, find.skeleton)
    action = networks.make_action(arguments)
    chosen = {name: getattr(arguments, name) for name in ACTION_OPTIONS if getattr(arguments, name) is not None}
    return Pipeline(
        find, lift, action, min_score=arguments.min_score, smooth=not arguments.raw, batch=arguments.batch, **chosen
    )


def images(given: str, output: pathlib.Path) -> list[pathlib.Path]:
    """The images that are meant, none for a video or a camera; refuses what is not there or would be overwritten."""
    if sources.camera_number(given) is not None or frames.is_address(given):
        return []
    path = pathlib.Path(given)
    if not path.exists():
        raise FileNotFoundError(
            f"SOURCE must be a video, an image, a folder of images, camera:0 or an address, got {given}, which is not "
            "there."
        )
    folder = path if path.is_dir() else path.parent
    if folder.resolve() == output.resolve():
        raise ValueError(f"--output must be another folder than the source's, got {output}; files have the same names.")
    if not path.is_dir():
        return [path] if sources.is_image(path) else []
    found = sorted(
        one for one in path.iterdir() if sources.is_image(one) and one.is_file() and not frames.is_hidden(one)
    )
    others = [
        one
        for one in path.iterdir()
        if one not in found and not frames.is_hidden(one) and one.resolve() != output.resolve()
    ]
    others = sorted(one.name for one in others)
    if not found:
        but = f", but {some(others)}" if others else ""
        raise ValueError(
            f"A folder must have images ({', '.join(sources.IMAGES)}), got none in {path}{but}; give another."
        )
    if others:
        logging.warning(
            "Of a folder its images (%s) are read, got %d others in %s that are not (%s); convert images, and give "
            "videos and folders themselves.",
            ", ".join(sources.IMAGES),
            len(others),
            path,
            some(others),
        )
    counts = collections.Counter(one.stem for one in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"Images of a folder must have names of their own, got two called {twice[0]}; rename one.")
    return found


def _progress(recording):
    source = recording.source
    dropped = f", {recording.dropped} left out to keep up" if recording.dropped else ""
    return f"{source.given}: {recording.num_frames}/{source.num_frames or '?'} frames{dropped}"


def _nobody(recording):
    best = recording.best_score
    below = ", and nobody below it" if best is None else f"; the best score of a keypoint was {best:.3g}"
    return f"{recording.source.given}: nobody was found above --min_score={recording.pipeline.min_score:g}{below}."


def _cut_short(recording, written):
    source, error, count = recording.source, recording.error, recording.num_frames
    total = "" if source.num_frames is None else f" of {source.num_frames}"
    return IncompleteError(
        f"A video is worked through to its end, got {source.given} up to an error behind {count}{total} frames "
        f"({reason(error)}); {' and '.join(path.name for path in written)} have those before it.",
        written,
    )


def _left_out(failures, total, written):
    return IncompleteError(
        f"Each image of a folder gives its files, got {len(failures)} of {total} that do not ({some(failures)}: "
        f"{reason(next(iter(failures.values())))}); mend or remove them, the others are written.",
        written,
    )


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
