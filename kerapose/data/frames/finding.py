"""Video files, found by the names of their clips."""

import collections
import pathlib
from collections.abc import Collection, Iterable

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
    """
    by_stem, found = _files_by_stem(pathlib.Path(folder), endings), {}
    for name in names:
        *parents, stem = pathlib.PurePosixPath(name).parts
        found[name] = [path for path in by_stem[stem] if list(path.parts[-1 - len(parents) : -1]) == parents]
    return found


def _files_by_stem(folder, endings):
    """All files of some endings in a folder, below it and where links lead to, by their names without endings."""
    there, seen, waiting = collections.defaultdict(list), set(), collections.deque([folder])
    while waiting:
        here = waiting.popleft()
        if here.resolve() in seen:  # a link that leads back
            continue
        seen.add(here.resolve())
        for path in sorted(here.iterdir()):
            if path.is_dir():
                waiting.append(path)
            elif endings is None or path.suffix.lower() in endings:
                for stem in {path.stem, path.stem.removesuffix(RGB_ENDING)}:
                    there[stem].append(path)
    return there
