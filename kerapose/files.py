"""Files: those of others are read with errors that say what is wrong, ours are written whole or not at all."""

import codecs
import contextlib
import hashlib
import json
import numbers
import os
import pathlib
import typing
from collections.abc import Iterator

from kerapose.types import Path

# What a file may begin with, to say how its text is encoded; the longer ones first, since one begins with another.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LONGEST = 100  # characters of a whole number
SHOWN = 40  # characters of a file that is something else, in an error


def read_json(path: Path, what: str = "a JSON file") -> typing.Any:
    """Reads a JSON file in UTF-8, or in the encoding that its byte order mark says.

    Args:
        path: of the file.
        what: it should be, for errors: "a COCO keypoint file".

    Returns:
        What it holds: dicts, lists, strings, numbers, True, False, None.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not whole JSON, naming the place.

    Example:
        >>> from kerapose import files
        >>> files.read_json("people.json", "a COCO keypoint file").keys()
        dict_keys(['images', 'annotations', 'categories'])
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be {what}, there is no such file; check the path.")
    content = path.read_bytes()
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be {what} in UTF-8, got other bytes at place {error.start}; save it as UTF-8."
        ) from error
    if not text.strip():
        raise ValueError(f"{path} must be {what}, it is empty; write or get it again.")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path} must be {what}, its lists are nested too deeply; get another.") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise ValueError(
                f"{path} must be {what}, it is cut short in line {error.lineno}; copy or download it again."
            ) from error
        rest = text[error.pos : error.pos + SHOWN].splitlines()[0]
        raise ValueError(
            f"{path} must be {what}, it is no JSON from line {error.lineno}, column {error.colno} on: {rest}; correct "
            "it, or give another file."
        ) from error


def whole_number(value: typing.Any) -> int:
    """Gives a whole number, which others may have written as 7, 7.0 or "7", as an int.

    Args:
        value: a number or text.

    Returns:
        An int of at most 64 bits.

    Raises:
        ValueError: if it is no whole number, as True and False are none.

    Example:
        >>> from kerapose import files
        >>> files.whole_number("000785"), files.whole_number(7.0)
        (785, 7)
    """
    is_text = isinstance(value, str) and len(value) < LONGEST and value.strip().lstrip("+-").isdecimal()
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value // 1
    if (is_text or is_number) and -(2**63) <= int(value) < 2**63:  # what arrays hold
        return int(value)
    raise ValueError(f"A whole number is needed, got {value!r}; round or number it.")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[pathlib.Path]:
    """Gives a path to write to, and puts the file in its place at the end: a kill leaves the old file or the new one.

    After an error, such as that of a full disk, nothing else is left.

    Args:
        path: of the file; its folder is made. What is written to first has the same ending.

    Yields:
        The path to write to.

    Example:
        >>> from kerapose import files
        >>> with files.whole("figures.json") as part:
        ...     _ = part.write_text('{"AP": 0.7}')
        >>> files.read_json("figures.json")
        {'AP': 0.7}
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def digest(path: Path) -> str:
    """Gives the SHA-256 of a file's content, or of all files of a folder with their names.

    Args:
        path: of the file or folder.

    Returns:
        64 characters, the same as long as nothing has changed.

    Example:
        >>> from kerapose import files
        >>> files.write_whole("note.txt", b"left")
        >>> before = files.digest("note.txt")
        >>> files.write_whole("note.txt", b"right")
        >>> len(before), files.digest("note.txt") == before
        (64, False)
    """
    path, total = pathlib.Path(path), hashlib.sha256()
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if one.is_file():
            with open(one, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{one.relative_to(path).as_posix()} {content}\n".encode())
    return total.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Writes bytes to a file, whole or not at all, as `whole` does.

    Args:
        path: of the file; its folder is made.
        content: what it shall hold.
    """
    with whole(path) as part:
        part.write_bytes(content)
