"""What is done in which video: a CSV file of labels or the folders that videos lie in, their classes, and splits."""

import collections
import csv
import dataclasses
import io
import itertools
import pathlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence

from absl import logging
from etils import epath

from kerapose.sides import some
from kerapose.types import Path

__all__ = [
    "Row",
    "class_names",
    "matched",
    "of_folders",
    "read_class_names",
    "read_labels",
    "split",
]

COLUMNS = ("video", "label", "subject", "split")  # the first two must be there
DELIMITERS = ",;\t"
ONE_SPLIT = "clips"  # of clips that nobody splits, as `pyskl.read_annotations` calls that of a bare list
TRAIN, TEST = "train", "test"


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of a video.

    Args:
        video: which one, as the file says.
        label: the name of its class.
        subject: who is seen; None where nobody says.
        split: that it belongs to; None where nobody says.
        line: of the file; None without one.

    Example:
        >>> from kerapose.data import labels
        >>> labels.Row("walk.mp4", "walk", subject="S1").label
        'walk'
    """

    video: str
    label: str
    subject: str | None = None
    split: str | None = None
    line: int | None = None


# ---------------------------------------- labels
def read_labels(path: Path) -> list[Row]:
    """Reads a CSV file with the columns `video` and `label`, and `subject` and `split` if there are such.

    Columns stand in any order, others are left alone; they are separated by commas, semicolons or tabs. The file is in
    UTF-8, with a byte order mark or without.

    Args:
        path: of the file.

    Returns:
        A list of `Row`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the line, if it is not as described.

    Example:
        >>> from kerapose.data import labels
        >>> labels.read_labels("labels.csv")[0]
        Row(video='walk', label='walk', subject='S1', split=None, line=2)
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Labels must be a CSV file, there is no {path}; check the path.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Labels must be in UTF-8, got other bytes at place {error.start} of {path}; save it as UTF-8."
        ) from error
    head = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=head.count), skipinitialspace=True)
    columns, rows = None, []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(cells, path)
            else:
                rows.append(_row(cells, *columns, reader.line_num, path))
    except csv.Error as error:
        raise ValueError(f"Labels must be a CSV file, got {path} ({error}); save it as CSV.") from error
    if not rows:
        raise ValueError(f"Labels must have a head (video,label) and a line for each video, got none in {path}; add.")
    return rows


def _columns(cells, path):
    """{column: its place in a line}, and how many places the head has."""
    columns = {cell.lower(): place for place, cell in enumerate(cells)}
    lacking = [name for name in COLUMNS[:2] if name not in columns]
    if lacking or len(columns) < len(cells):
        got = ", ".join(cells) if lacking else "one of them twice"
        raise ValueError(f"Labels must have the columns video and label, each once, got {got} in {path}; name them.")
    return {name: columns[name] for name in COLUMNS if name in columns}, len(cells)


def _row(cells, columns, count, line, path):
    values = {name: cells[place] if place < len(cells) else "" for name, place in columns.items()}
    empty = [name for name, value in values.items() if not value and name != "subject"]
    if empty:
        raise ValueError(f"A line of labels must have a {empty[0]}, got none in line {line} of {path}; fill it in.")
    if len(values["label"].splitlines()) > 1:
        raise ValueError(
            f"A label must stand in one line, got {values['label']!r} in line {line} of {path}; rename it, or close "
            "its quotation marks."
        )
    if any(cells[count:]):
        raise ValueError(
            f"A line of labels must have no more cells than the head, {count}, got {len(cells)} in line {line} of "
            f"{path}; put cells with separators in quotation marks."
        )
    if "split" in values and (not re.fullmatch(r"[\w-]+", values["split"]) or _is_all(values["split"])):
        raise ValueError(
            f"A split's name must be letters, digits, _ or - and not 'all', got {values['split']!r} in line {line} of "
            f"{path}; rename it."
        )
    return Row(**{name: value or None for name, value in values.items()}, line=line)


def _is_all(split):
    return split.lower() == "all"  # which is all splits together in TFDS


def matched(rows: Sequence[Row], videos: Mapping[str, Path], source: Path = "the labels") -> dict[str, Row]:
    """Finds the row of each video.

    A row means the video whose name it has (`frames.named`), with the ending of the file or without; where there is
    none, the one whose path ends so, in whole parts: `001.mp4`, `swing/001` or the whole path of `.../swing/001.mp4`.
    A video without a row is an error, as it could not become a clip; rows without a video are a warning, since the
    labels of a whole data set also serve a part of it.

    Args:
        rows: of `read_labels`.
        videos: paths by the names of their clips, as of `frames.named`.
        source: of the rows, for errors.

    Returns:
        {name: `Row`}, in the order of the videos.

    Raises:
        ValueError: if a row may mean several videos, a video has two rows, or one has none.

    Example:
        >>> from kerapose.data import frames, labels
        >>> rows = labels.read_labels("labels.csv")
        >>> labels.matched(rows[:1], frames.named(["walk.mp4"]), "labels.csv")["walk"].subject
        'S1'
    """
    exact, endings = _by_place(videos)
    found, absent = {}, []
    for row in rows:
        parts = _parts(row.video)
        names = exact.get(parts) or endings.get(parts, ())
        if len(names) > 1:
            raise ValueError(
                f"A line of labels must mean one video, got {row.video} in line {row.line} of {source}, which may be "
                f"{some(sorted(names))}; write more of the path."
            )
        for name in names:
            if name in found:
                raise ValueError(
                    f"A video must have one line of labels, got {name} in the lines {found[name].line} and {row.line} "
                    f"of {source}; take one out."
                )
            found[name] = row
        if not names:
            absent.append(row.video)
    lacking = [name for name in videos if name not in found]
    if lacking:
        but = f", and {len(absent)} lines that name none of them ({some(absent)})" if absent else ""
        raise ValueError(
            f"Each video must have a label, got {len(lacking)} of {len(videos)} that {source} does not name "
            f"({some(lacking)}){but}; add lines, or list the videos that are meant in a text file."
        )
    if absent:
        logging.warning("%s has labels of %d videos that are not there (%s).", source, len(absent), some(absent))
    return {name: found[name] for name in videos}


def _by_place(videos):
    """{parts of a name: names} and {last parts of a path: names}, each with the ending of the file and without."""
    exact, endings = collections.defaultdict(set), collections.defaultdict(set)
    for name, path in videos.items():
        path = pathlib.Path(path)
        place, whole = _parts(name), _parts(str(path.absolute()))
        bare = (*whole[:-1], whole[-1].removesuffix(unicodedata.normalize("NFC", path.suffix)))
        file = (*place[:-1], whole[-1])
        for parts in (place, file, (*place[:-1], bare[-1])):
            exact[parts].add(name)
        for parts, length in itertools.product((whole, bare), range(1, len(whole) + 1)):
            endings[parts[-length:]].add(name)
    return exact, endings


def _parts(place):
    """The parts of a path, however it is written: with backslashes, "./", or letters and accents apart."""
    parts = unicodedata.normalize("NFC", place).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


def of_folders(videos: Mapping[str, Path]) -> dict[str, Row]:
    """Takes the folder that a video lies in for its label, as UCF101 and HMDB51 come.

    Args:
        videos: paths by the names of their clips.

    Returns:
        {name: `Row`}.

    Raises:
        ValueError: if all lie in one folder.

    Example:
        >>> from kerapose.data import labels
        >>> videos = {"kick/1": "videos/kick/1.mp4", "walk/1": "videos/walk/1.mp4"}  # as `frames.named` gives them
        >>> labels.of_folders(videos)["walk/1"].label
        'walk'
    """
    labels = {name: pathlib.Path(path).absolute().parent.name for name, path in videos.items()}
    if len(set(labels.values())) < 2:
        raise ValueError(
            f"Without labels videos lie in a folder for each class, got all {len(videos)} in "
            f"{next(iter(labels.values()), 'none')!r}; sort them into folders, or give a CSV file of labels."
        )
    return {name: Row(name, label) for name, label in labels.items()}


# ---------------------------------------- classes
def class_names(labels: Iterable[str], path: Path | None = None) -> list[str]:
    """The names of the classes in the order of their indices.

    Args:
        labels: of all clips.
        path: of a text file with one class name a line, whose order counts. None: sorted by name.

    Returns:
        A list of strings, C of them.

    Raises:
        ValueError: if a label is not in the file, or the file is wrong; without one, if the labels would make a file
            that is: all of them numbered.

    Example:
        >>> from kerapose.data import labels
        >>> labels.class_names(["swing", "clap", "swing"])
        ['clap', 'swing']
    """
    present = sorted(set(labels))
    if path is None:
        _refuse_numbered(present, "Labels")
        return present
    names = read_class_names(path)
    strangers = [label for label in present if label not in names]
    if strangers:
        raise ValueError(f"Labels must be classes of {path}, got {some(strangers)}; add them to it, or correct them.")
    return names


def read_class_names(path: Path) -> list[str]:
    """Reads a text file in UTF-8 with one class name a line; empty lines at the end do not count.

    Args:
        path: of the file.

    Returns:
        A list of strings, in the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a name is missing or there twice, or if they are numbered.

    Example:
        >>> from kerapose.data import labels
        >>> labels.read_class_names("classes.txt")
        ['walk', 'kick']
    """
    path = epath.Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} must have one class name a line, there is no such file; check the path.")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # with a byte order mark or without
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must have class names in UTF-8, got bytes that are not at place {error.start}; save it as UTF-8."
        ) from error
    names = [line.strip() for line in text.rstrip().splitlines()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or not all(names) or twice:
        empty = f"an empty line {names.index('') + 1}" if "" in names else "none"
        got = f"{', '.join(twice)} more than once" if twice and "" not in twice else empty
        raise ValueError(f"{path} must have one different class name a line, got {got}; correct the file.")
    _refuse_numbered(names, f"The lines of {path}")
    return names


def _refuse_numbered(names, what):
    """Refuses a list with numbers before all names: lists are copied so, and numbers are no part of a name."""
    numbers = [int(match[1]) for match in (re.match(r"(\d+)[\s,;:.|]+\S", name) for name in names) if match]
    if len(numbers) == len(names) > 1 and sorted(numbers) in ([*range(len(names))], [*range(1, len(names) + 1)]):
        raise ValueError(
            f"{what} must be names of classes alone, got numbers before all of them ({some(names)}); leave the numbers "
            "out."
        )


# ---------------------------------------- splits
def split(
    rows: Mapping[str, Row], test_share: float | None = None, test_subjects: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Says which clip belongs to which split: as the rows say, by share or by subject; or all to one, "clips".

    By share, each class gives the same part of its clips, at least one of each stays in "train", and the clips are
    drawn by their names: the same names give the same splits, and a clip that is added moves few others. A warning
    names the classes of which "train" or "test" has no clip.

    Args:
        rows: by the names of the clips.
        test_share: part of the clips of each class that is for "test", between 0 and 1.
        test_subjects: subjects all of whose clips are for "test".

    Returns:
        {split: names}, the splits sorted but for "train", which comes first.

    Raises:
        ValueError: if more than one way is given, a subject is not there, or a split has no clip.

    Example:
        >>> from kerapose.data import labels
        >>> rows = {row.video: row for row in labels.read_labels("labels.csv")}
        >>> labels.split(rows, test_subjects=["S2"])
        {'train': ['walk', 'kick'], 'test': ['walk2', 'kick2']}
    """
    told = [name for name, row in rows.items() if row.split is not None]
    ways = {"a column split": told or None, "test_share": test_share, "test_subjects": test_subjects}
    given = [way for way, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"Splits are made in one way, got {' and '.join(given)}; leave out all but one.")
    if told:
        of = {name: row.split for name, row in rows.items()}
    elif test_share is not None:
        of = _by_share(rows, test_share)
    elif test_subjects is not None:
        of = _by_subject(rows, test_subjects)
    else:
        of = dict.fromkeys(rows, ONE_SPLIT)
    splits = {key: [] for key in sorted(set(of.values()), key=lambda key: (key != TRAIN, key))}
    for name, key in of.items():
        splits[key].append(name)
    for key in (TRAIN, TEST):
        lacking = sorted({row.label for row in rows.values()} - {rows[name].label for name in splits.get(key, ())})
        if key in splits and lacking:
            logging.warning("The split %s has no clip of %d classes (%s).", key, len(lacking), some(lacking))
    return splits


def _by_share(rows, share):
    if not 0 < share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, got {share:g}; 0.2 is usual.")
    by_label = collections.defaultdict(list)
    for name, row in rows.items():
        by_label[row.label].append(name)
    tested = set()
    for names in by_label.values():
        drawn = sorted(names, key=lambda name: (zlib.crc32(name.encode()), name))
        tested.update(drawn[: min(round(share * len(names)), len(names) - 1)])
    if not tested:
        raise ValueError(f"test_share must be enough for one clip of a class that has two, got {share:g}; give more.")
    return {name: TEST if name in tested else TRAIN for name in rows}


def _by_subject(rows, subjects):
    known = {row.subject for row in rows.values()} - {None}
    strangers = [subject for subject in subjects if subject not in known]
    if strangers or not subjects:
        raise ValueError(
            f"test_subjects must be in the column subject of the labels ({some(sorted(known)) or 'there is none'}), "
            f"got {some(strangers) or 'none'}; choose from those."
        )
    if known <= set(subjects):
        raise ValueError(f"test_subjects must leave somebody to learn from, got all {len(known)}; name fewer.")
    nobody = [name for name, row in rows.items() if row.subject is None]
    if nobody:
        logging.warning("%d clips without a subject go to train, whoever they show (%s).", len(nobody), some(nobody))
    return {name: TEST if row.subject in subjects else TRAIN for name, row in rows.items()}
