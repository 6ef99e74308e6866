"""Video files, found by the names of their clips, and the names of clips of video files."""

import collections
import glob
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator

from absl import logging

from kerapose.sides import some
from kerapose.types import Path

CONTAINERS = (
    *(
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".f4v",
        ".flv",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
    ),
    *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
RGB_ENDING = "_rgb"  # that NTU RGB+D has behind the names of its clips
OF_FILE_MANAGERS = ("thumbs.db", "desktop.ini")


def find(
    folder: Path, names: Iterable[str], endings: Collection[str] | None = CONTAINERS
) -> dict[str, list[pathlib.Path]]:
    """Finds the video files of clips by the names of the clips.

    Args:
        folder: where the videos are, or folders with them; links are followed.
        names: of the clips; a folder in a name is one that the video's folder must end in.
        endings: of videos, in small letters; files may have them in capitals. None: any.

    Returns:
        dict: each name to a list of paths, of none, one or more files.

    Example:
        >>> import os, shutil
        >>> from kerapose.data import frames
        >>> os.makedirs("kept/outdoors", exist_ok=True)
        >>> _ = shutil.copy("walk.mp4", "kept/outdoors")
        >>> frames.find("kept", ["walk", "run"])
        {'walk': [PosixPath('kept/outdoors/walk.mp4')], 'run': []}
    """
    by_stem, found = _files_by_stem(pathlib.Path(folder), endings), {}
    for name in names:
        *parents, stem = pathlib.PurePosixPath(name).parts
        found[name] = [path for path in by_stem[stem] if list(path.parts[-1 - len(parents) : -1]) == parents]
    return found


def named(sources: Iterable[Path]) -> dict[str, pathlib.Path]:
    """Finds videos and gives each the name of its clip: its path below the source, without ending, with slashes.

    Where two of a source have the same name, as `a.mp4` and `a.avi` do, these keep their endings. Files of a folder or
    a glob that are no videos by their endings are told of; hidden ones are not.

    Args:
        sources: folders, with all that is below them; globs (`clips/**/*.mp4`), whose names begin behind the last
            folder without a wildcard; videos, by their endings; and text files in UTF-8 that list videos, one a line,
            seen from their own folder. What such a list names is given even where there is no such file.

    Returns:
        dict: each name to a path, in the order of the sources, and of the names in each but a list.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: if a source has no videos, a list or the name of a file is no text, or videos of two sources have
            the same name.

    Example:
        >>> from kerapose.data import frames
        >>> frames.named(["walk.mp4"])
        {'walk': PosixPath('walk.mp4')}
    """
    found, origins = {}, {}
    for source in map(str, sources):
        places = _places(source)
        if not places:
            raise ValueError(f"A source must have videos ({', '.join(CONTAINERS)}), got none in {source}; check it.")
        _refuse_no_text(places.values())
        counts = collections.Counter(place.with_suffix("") for place in places)
        for place, path in places.items():
            name = (place if counts[place.with_suffix("")] > 1 else place.with_suffix("")).as_posix()
            if name in found and found[name] != path:
                raise ValueError(
                    f"Videos must have names of their own, got {name} in {origins[name]} and in {source}; give the "
                    "folder above both, or rename one."
                )
            found[name], origins[name] = path, source
    return found


def _refuse_no_text(paths):
    """Refuses names of files in another encoding, which could not be written into any file."""
    wrong = [os.fsencode(path) for path in paths if any("\ud800" <= letter <= "\udfff" for letter in str(path))]
    if wrong:
        raise ValueError(f"Names of videos must be in UTF-8, got {some(wrong)}; rename them (convmv does).")


def is_hidden(path: Path) -> bool:
    """Whether a file is one that nobody means who gives its folder: it begins with a dot, or a file manager put it.

    Args:
        path: of the file, of which only the name counts.

    Returns:
        A bool.

    Example:
        >>> from kerapose.data import frames
        >>> frames.is_hidden("videos/.DS_Store"), frames.is_hidden("videos/walk.mp4")
        (True, False)
    """
    name = pathlib.Path(path).name
    return name.startswith(".") or name.lower() in OF_FILE_MANAGERS


def _places(source):
    """{place below the source: path} of its videos."""
    path = pathlib.Path(source)
    if path.is_dir():
        return _told({file.relative_to(path): file for file in _below(path)}, source)
    if not path.exists() and glob.has_magic(source):
        parts = pathlib.PurePath(source).parts
        fixed = pathlib.Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        files = sorted(pathlib.Path(file) for file in glob.glob(source, recursive=True))
        return _told({file.relative_to(fixed): file for file in files if file.is_file()}, source)
    if not path.is_file():
        raise FileNotFoundError(
            f"A source must be a folder, a glob, a video or a list of videos, got {source}, which is not there."
        )
    return {pathlib.Path(path.name): path} if path.suffix.lower() in CONTAINERS else _listed(path)


def _told(places, source):
    """Those that are videos; of the others, one sentence."""
    others = collections.Counter(
        place.suffix.lower() or place.name
        for place in places
        if place.suffix.lower() not in CONTAINERS and not is_hidden(place)
    )
    if others:
        logging.warning(
            "Of a source its videos are taken, by their endings, got %d other files in %s (%s); they are left out.",
            others.total(),
            source,
            some(f"{count} {kind}" for kind, count in others.most_common()),
        )
    videos = (place for place in places if place.suffix.lower() in CONTAINERS and not is_hidden(place))
    return {place: places[place] for place in sorted(videos)}


def _listed(path):
    """The videos that a text file lists: below the list's folder by their places there, others by their whole paths."""
    if path.suffix.lower() == ".csv":
        raise ValueError(f"A list of videos must have their paths alone, got the table {path}; give it as labels.")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"A list of videos must be text in UTF-8, got other bytes at place {error.start} of {path}; save it as "
            f"UTF-8, or give a video by its ending ({', '.join(CONTAINERS)})."
        ) from error
    files = [path.parent / line.strip() for line in lines if line.strip()]
    places = {}
    for file in files:
        inside = file.is_relative_to(path.parent) and ".." not in file.relative_to(path.parent).parts
        place = file.relative_to(path.parent) if inside else pathlib.Path(*file.resolve().parts[1:])
        places[place] = file
    return places


def _files_by_stem(folder, endings):
    """All files of some endings in a folder, below it and where links lead to, by their names without endings."""
    there = collections.defaultdict(list)
    for path in _below(folder):
        if endings is None or path.suffix.lower() in endings:
            for stem in {path.stem, path.stem.removesuffix(RGB_ENDING)}:
                there[stem].append(path)
    return there


def _below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files in a folder, below it and where links lead to."""
    seen, waiting = set(), collections.deque([folder])
    while waiting:
        here = waiting.popleft()
        if here.resolve() in seen:  # a link that leads back
            continue
        seen.add(here.resolve())
        for path in sorted(here.iterdir()):
            if path.is_dir():
                waiting.append(path)
            else:
                yield path
