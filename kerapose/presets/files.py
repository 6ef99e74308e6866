"""Fetches the files of a preset from their publisher, once, and checks them."""

import contextlib
import hashlib
import io
import os
import pathlib
import sys
import threading
import time
import uuid
import zipfile

import keras
from absl import logging

from kerapose.presets.table import File, Preset, get

FETCHING = threading.Lock()  # one thread of a process at a time: the others then find what it has fetched
PART = ".part"  # the end of the name of what is being fetched
OLD_SECONDS = 24 * 3600  # after which nobody fetches it any more
BEGINNINGS = (b"\x80", b"\x89HDF", b"<?xml")  # of a pickle, as PyTorch's older files are; of HDF5; of OpenVINO's
HOME = "KERAPOSE_HOME"  # an environment variable: where files are kept in place of Keras's own folder


class FetchError(OSError):
    """A file that could not be fetched, or is not what its publisher says.

    The message has the address, and where to put the file by hand; of several, those of all that are missing.

    Example:
        >>> from kerapose import presets
        >>> try:
        ...     file = presets.fetch("lifter_h36m_cpn")  # doctest: +SKIP
        ... except presets.FetchError as error:
        ...     print(error)
        >>> presets.FetchError.__base__
        <class 'OSError'>
    """


def fetch(preset: str | Preset) -> pathlib.Path:
    """The file of a preset, fetched from its publisher if it is not there yet.

    Files are kept in the folder that the environment variable KERAPOSE_HOME names, or else in `~/.keras/kerapose`. One
    that was put there by hand is found. What is fetched gets its name when it is whole and its SHA-256 is the published
    one, or begins as the publisher says. Some publishers give no SHA-256; the log then says so.

    Args:
        preset: a `Preset`, or its name.

    Returns:
        The path. Of several files (an `.xml` with its `.bin`) it is that of the first; the others are beside it.

    Raises:
        FetchError: if a file cannot be fetched, with the addresses of all that are missing and where to put them; if
            it has another hash.
        ValueError: if there is no such preset.

    Example:
        >>> from kerapose import presets
        >>> presets.get("lifter_h36m_cpn").files[0].name
        'pretrained_h36m_cpn.bin'
        >>> file = presets.fetch("lifter_h36m_cpn")  # doctest: +SKIP
    """
    preset = get(preset) if isinstance(preset, str) else preset
    with FETCHING:
        return [_fetched(preset, file) for file in preset.files][0]


def folder_of(preset: Preset) -> pathlib.Path:
    """Where the files of a preset are kept."""
    home = os.environ.get(HOME) or pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras", "kerapose")
    return pathlib.Path(home).expanduser() / preset.name


def _fetched(preset: Preset, file: File) -> pathlib.Path:
    path = _place(preset, file)
    if path.is_file():
        _check(preset, file, path, "put there")
        return path
    # Of another name until it is whole: a process that is killed leaves nothing that looks like the file.
    part = path.with_name(f".{uuid.uuid4().hex}{PART}")
    for old in path.parent.glob(f".*{PART}"):
        with contextlib.suppress(FileNotFoundError):  # another process may be as tidy
            if time.time() - old.stat().st_mtime > OLD_SECONDS:
                old.unlink()
    logging.info("Fetching %s for the preset %s.", file.url, preset.name)
    # Keras draws a bar of control characters, which is for a terminal: in a file it would be a line every moment.
    shown = contextlib.nullcontext() if sys.stdout.isatty() else contextlib.redirect_stdout(io.StringIO())
    try:
        with shown:
            keras.utils.get_file(part.name, file.url, cache_dir=str(path.parent), cache_subdir="")
    except Exception as error:  # Keras raises bare ones
        raise FetchError(_by_hand(preset, path.parent, error)) from error
    else:
        _check(preset, file, part, "fetched")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _by_hand(preset, folder, error):
    """The sentence that has all files that are not there, so that they are fetched by hand in one go."""
    missing = [file for file in preset.files if not (folder / file.name).is_file()]
    what, them = ("file", "it") if len(missing) == 1 else ("files", "them")
    return (
        f"The {what} of {preset.name} cannot be fetched ({_reason(error)}); fetch "
        f"{' and '.join(f'{file.name} from {file.url}' for file in missing)} elsewhere, and put {them} into {folder} "
        f"({HOME} may name another folder than {folder.parent})."
    )


def _place(preset, file):
    """Where a file is, or is to be put; refuses a folder that takes none."""
    path = None
    try:
        path = folder_of(preset) / file.name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                raise PermissionError("it may not be written to")
        elif not path.is_file():
            raise IsADirectoryError("a folder is there")
    except (OSError, RuntimeError) as error:  # the latter of a home that nobody has
        raise FetchError(
            f"The file of {preset.name} goes to {path or os.environ.get(HOME)}, which cannot be ({_reason(error)}); "
            f"set {HOME} to a folder for such files."
        ) from error
    return path


def _reason(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check(preset, file, path, how):
    """Refuses a file of another hash, or one that is none where none is known, and removes it."""
    if not file.hashes:
        with open(path, "rb") as opened:
            begin = opened.read(8)
        is_whole = zipfile.is_zipfile(path) if begin.startswith(b"PK") else begin.startswith(BEGINNINGS)
        if not is_whole:
            path.unlink()
            raise FetchError(
                f"The file of {preset.name} must be a checkpoint, got something else, or a part of one, {how} and "
                f"removed now; fetch it anew from {file.url}"
            )
        logging.info("%s says nothing of the hash of %s: it is taken as it is.", preset.publisher.name, file.name)
        return
    with open(path, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if not found.startswith(file.hashes):
        path.unlink()
        raise FetchError(
            f"The SHA-256 of the file of {preset.name} must be {' or '.join(file.hashes)}, got {found} of what was "
            f"{how} and is removed; fetch it anew from {file.url}"
        )
