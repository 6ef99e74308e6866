"""From folders of videos to data sets of clips: the people of every video, found once, and who of them is in its clip.

    DIR/people/<clip>.json     everybody in a video (`data.predictions`), written when it is done
    DIR/annotations.pkl        the clips (`data.pyskl`), with the splits
    DIR/annotations_3d.pkl     their poses in space, with a lifter: metres, y up, as a depth sensor has them
    DIR/classes.txt            the names of the classes, in the order of the labels
    DIR/report.json            what became of each video

A file of people is there whole or not at all, so a run that was killed goes on where it was. In its first line stands
what it was made with, `"made_with"`: the options, and how many bytes the video had. It is used again for the same; what
was made with other options is refused, and a video of another size is worked through anew.
"""

import dataclasses
import io
import json
import pathlib
import sys
import typing
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tqdm
from absl import logging

from kerapose import files
from kerapose.data import gate, labels, predictions, pyskl, slots
from kerapose.pipeline import on_ray
from kerapose.pipeline.pipeline import Pipeline
from kerapose.types import Array, Path

PEOPLE, ANNOTATIONS, ANNOTATIONS_3D = "people", "annotations.pkl", "annotations_3d.pkl"
CLASSES, REPORT = "classes.txt", "report.json"
SENSOR_AWAY_M = 3.0
DIED = "the process that worked on it died, each time that it was tried"


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What came of videos.

    Args:
        written: paths of the files of the data set.
        failures: reasons, by the names of those videos that have no clip.
        num_videos: how many there were.
    """

    written: list[pathlib.Path]
    failures: dict[str, str]
    num_videos: int


class Extractor:
    """Finds the people of one video after another, in whichever process.

    Args:
        make: makes the pipeline; it is called once.
        made_with: options that are noted in each file.

    Example:
        >>> import json, kerapose
        >>> from kerapose.pipeline.extraction import Extractor
        >>> extractor = Extractor(lambda: kerapose.Pipeline("runs/topdown/model.keras"), {"model": "topdown"})
        >>> found = extractor({"name": "walk", "path": "walk.mp4"})
        >>> found["error"], json.loads(found["text"])["made_with"]["options"]
        ('', {'model': 'topdown'})
    """

    def __init__(self, make: Callable[[], Pipeline], made_with: Mapping[str, typing.Any]):
        self.pipeline = make()
        self.made_with = dict(made_with)

    def __call__(self, video: Mapping[str, str]) -> dict[str, str]:
        """Works through a video.

        Args:
            video: its "name", and its "path".

        Returns:
            "name", and "text", the content of its file, or else "error", what is wrong with it.
        """
        try:
            return {"name": video["name"], "text": self._text(video["path"]), "error": ""}
        except Exception as error:  # of whatever kind: the other videos do not suffer from it
            return {"name": video["name"], "text": "", "error": reason(error)}

    def _text(self, path):
        size = pathlib.Path(path).stat().st_size
        found = self.pipeline(path)
        text = io.StringIO()
        found.write_json(text, made_with={"options": self.made_with, "bytes": size})
        return text.getvalue()


def reason(error: BaseException) -> str:
    """An error in one line."""
    known = isinstance(error, ValueError | OSError)
    return (str(error) if known else f"{type(error).__name__}: {error}").strip().split("\n")[0].rstrip(".")


def extract(
    videos: Mapping[str, Path],
    rows: Mapping[str, labels.Row],
    make: Callable[[], Pipeline],
    output: Path,
    made_with: Mapping[str, typing.Any],
    splits: Mapping[str, Sequence[str]] | None = None,
    class_names: Sequence[str] | None = None,
    max_people: int = slots.MAX_PEOPLE,
    engine: on_ray.Engine | None = None,
) -> Extraction:
    """Makes a data set of clips of videos.

    Args:
        videos: paths by the names of their clips (`data.frames.named`).
        rows: what is known of each (`data.labels`).
        make: makes the pipeline. With an engine it is sent to other processes, on other machines perhaps.
        output: the folder DIR.
        made_with: all that decides about what is found, in JSON's types: files of people that were made with other
            options are refused.
        splits: names of clips by split. None: all in one, "clips".
        class_names: in the order of the labels. None: sorted by name.
        max_people: of a clip, chosen by `data.slots.fill`.
        engine: the processes to work in. None: this one.

    Returns:
        An `Extraction`.

    Raises:
        ValueError: if the folder has people who were found with other options, no video can be read, or the pipeline
            cannot be made.
        OSError: if a file cannot be written; those before it are whole.

    Example:
        >>> import functools, kerapose
        >>> from kerapose.data import labels
        >>> from kerapose.pipeline import extraction
        >>> make = functools.partial(kerapose.Pipeline, "runs/topdown/model.keras", min_score=-1.0)
        >>> rows = {"walk": labels.Row("walk.mp4", "walk")}
        >>> done = extraction.extract({"walk": "walk.mp4"}, rows, make, "clips", {"model": "topdown"})
        >>> [path.name for path in done.written], done.failures
        (['annotations.pkl', 'classes.txt', 'report.json'], {})
    """
    output = pathlib.Path(output)
    classes = list(class_names or labels.class_names(row.label for row in rows.values()))
    splits = labels.split(rows) if splits is None else splits
    failures = find_people(videos, make, output / PEOPLE, made_with, engine)
    there = [name for name in videos if name not in failures]
    if not there:
        name, why = next(iter(failures.items()))
        raise ValueError(f"At least one video must be readable, got {len(failures)} that are not ({name}: {why}).")
    written, notes = _write_clips(there, rows, output, classes, splits, max_people)
    files.write_whole(output / CLASSES, "".join(f"{name}\n" for name in classes).encode())
    report = {
        "videos": len(videos),
        "clips": len(there),
        "failures": [{"name": name, "path": str(videos[name]), "error": why} for name, why in failures.items()],
        **notes,
        "made_with": dict(made_with) | {"max_people": max_people},
    }
    content = json.dumps(report, ensure_ascii=False, indent=1)
    files.write_whole(output / REPORT, content.encode())
    return Extraction([*written, output / CLASSES, output / REPORT], failures, len(videos))


# ---------------------------------------- people
def find_people(
    videos: Mapping[str, Path],
    make: Callable[[], Pipeline],
    folder: Path,
    made_with: Mapping[str, typing.Any],
    engine: on_ray.Engine | None = None,
) -> dict[str, str]:
    """Writes FOLDER/NAME.json for each video whose file is not there yet.

    Args:
        videos, make, made_with, engine: as for `extract`.
        folder: where the files go.

    Returns:
        What is wrong with those videos that have no file, by name.

    Raises:
        ValueError, OSError: as `extract`.
    """
    folder, made_with = pathlib.Path(folder), json.loads(json.dumps(dict(made_with)))  # as a file gives it back
    todo = [name for name, path in videos.items() if not _is_done(folder, name, path, made_with)]
    failures = dict.fromkeys(todo, DIED)
    given = ({"name": name, "path": str(pathlib.Path(videos[name]).absolute())} for name in todo)
    count = len(videos) - len(todo)
    if count:
        logging.info("%d of %d videos are done already.", count, len(videos))
    with tqdm.tqdm(total=len(videos), initial=count, unit="video", disable=None) as bar:
        for answer in _answers(list(given), make, made_with, engine):
            name, error = answer["name"], answer["error"]
            if error:
                failures[name] = error
            else:
                files.write_whole(folder / f"{name}.json", answer["text"].encode())
                failures.pop(name, None)
            count += 1
            bar.update()
            if bar.disable:
                print(f"{count}/{len(videos)} {name}{f': {error}' if error else ''}", file=sys.stderr)
    return failures


def _answers(given, make, made_with, engine):
    if not given:
        return iter(())
    if engine is None:
        return map(Extractor(make, made_with), given)
    return on_ray.answers(given, Extractor, (make, made_with), engine)


def _is_done(folder, name, video, made_with):
    """Whether the people of a video are in a file already; refuses those who were found with other options."""
    path = folder / f"{name}.json"
    made = _head(path).get("made_with")
    if made is None:
        return False
    differ = sorted(key for key in made["options"] | made_with if made["options"].get(key) != dict(made_with).get(key))
    if differ:
        raise ValueError(
            f"People of one folder are found with the same model and options, got {path} with another "
            f"{gate.some(differ)}; give another output, or remove {folder} if nobody needs it."
        )
    video = pathlib.Path(video)
    if video.is_file() and video.stat().st_size != made["bytes"]:
        logging.warning("%s is not as it was when its people were found; they are found anew.", video)
        return False
    return True


def _head(path):
    """The content of a file of people but for its frames; {} if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.loads(f"{file.readline()}]}}")
    except (FileNotFoundError, ValueError):
        return {}


# ---------------------------------------- clips
def _write_clips(names, rows, output, classes, splits, max_people):
    """Writes the annotations of clips; gives the paths, and what is to be told of the clips."""
    elements, poses, notes = [], [], {"crowded": {}, "empty": [], "damaged": {}}
    for name in names:
        path = output / PEOPLE / f"{name}.json"
        found = predictions.read(path)
        filled = slots.fill(found, max_people)
        clip = {"name": name, "label": classes.index(rows[name].label), "frame_size": found.frame_size}
        elements.append(clip | {"keypoints": filled.keypoints, "scores": filled.scores})
        if filled.poses_m is not None:
            poses.append(clip | {"poses_m": as_of_sensor(filled.poses_m)})
        if filled.left_out:
            notes["crowded"][name] = len(filled.left_out)
        if not filled.scores.any():
            notes["empty"].append(name)
        lost = sum(moment.is_lost for moment in found.moments)
        if lost:
            notes["damaged"][name] = lost
    _tell(notes, len(names), max_people)
    splits = _of_those(splits, set(names))
    written = [output / ANNOTATIONS]
    pyskl.write_annotations(written[0], elements, splits)
    if poses:
        written.append(output / ANNOTATIONS_3D)
        pyskl.write_annotations(written[1], poses, splits)
    return written, notes | {"splits": {split: len(members) for split, members in splits.items()}}


def as_of_sensor(poses_m: Array) -> Array:
    """Poses as a depth sensor has them: x to its left, y up, z away from it, joint 0 always in the middle before it.

    In files of 3D skeletons (0, 0, 0) is a missing joint. A lifter does not say where somebody is: joint 0 is the
    origin of its poses, and would always be missing.

    Args:
        poses_m: [..., J, 3] metres from joint 0, x right, y down, z away from the camera; (0, 0, 0) for all joints
            where nobody is.

    Returns:
        [..., J, 3], (0, 0, 0) where nobody is.

    Example:
        >>> from kerapose.pipeline import extraction
        >>> extraction.as_of_sensor(np.array([[0, 0, 0], [0.2, -0.5, 0.1]]))
        array([[ 0. ,  0. ,  3. ],
               [-0.2,  0.5,  3.1]], dtype=float32)
    """
    there = (poses_m != 0).any(axis=(-2, -1), keepdims=True)
    return np.where(there, poses_m * (-1, -1, 1) + (0, 0, SENSOR_AWAY_M), 0).astype("float32")


def _of_those(splits, names):
    """The splits without clips that there are not, and without those that so lose all."""
    kept = {split: [name for name in members if name in names] for split, members in splits.items()}
    empty = [split for split, members in kept.items() if not members]
    if empty:
        logging.warning("No video of the split %s can be read; it is left out.", gate.some(empty))
    return {split: members for split, members in kept.items() if members}


def _tell(notes, count, max_people):
    told = (
        ("crowded", f"more people than max_people, {max_people}, of whom the least important are left out"),
        ("empty", "nobody whose keypoints count"),
        ("damaged", "frames that cannot be decoded, which show nobody"),
    )
    for key, what in told:
        if notes[key]:
            logging.warning("%d of %d clips have %s (%s).", len(notes[key]), count, what, gate.some(notes[key]))
