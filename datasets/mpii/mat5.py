"""Reads the numbers and texts of a MATLAB file of version 5, the kind that MATLAB writes unless asked for another."""

import struct
import zlib

import numpy as np

HEADER_BYTES = 128
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
TEXT_CLASS = 4
NUMERIC_CLASSES = range(6, 16)  # double to uint64; cells, structures and sparse matrices have others
COMPLEX = 0x0800


def read(path):
    """Reads the arrays of real numbers and the texts of one line; cells and structures are passed over.

    Args:
        path: the file.

    Returns:
        dict: name to array, with MATLAB's order of axes, or to str.

    Raises:
        ValueError: when the file is damaged, or of another kind.

    Example:
        >>> read("gt_valid.mat")["headboxes_src"].shape
        (2, 2, 2958)
    """
    content = path.read_bytes()
    endian = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER_BYTES])
    if endian is None:
        raise ValueError(f"{path} must be a MATLAB file of version 5, it is not; save it anew with -v7 or -v6.")
    arrays = {}
    try:
        for kind, data in _elements(content[HEADER_BYTES:], endian):
            if kind == COMPRESSED:
                kind, data = next(_elements(zlib.decompress(data), endian))
            if kind == MATRIX:
                arrays.update(_matrix(data, endian))
    except (struct.error, zlib.error, ValueError, KeyError, StopIteration) as error:
        raise ValueError(f"{path} must be a whole MATLAB file: {error}; get it anew.") from None
    return arrays


def _elements(content, endian):
    """Yields the type and the bytes of one element after the other."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from(f"{endian}II", content, place)
        start = place + 8
        if kind >> 16:  # up to four bytes are kept in the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            place = start + size
            place += 0 if kind == COMPRESSED else -size % 8
        if start + size > len(content):
            raise ValueError("it is cut short")
        yield kind, content[start : start + size]


def _matrix(data, endian):
    """The name and values of an array, as a dict; empty when it is neither one of real numbers nor a line of text."""
    parts = _elements(data, endian)
    _, flags = next(parts)
    (flags,) = struct.unpack_from(f"{endian}I", flags)
    is_text = flags & 0xFF == TEXT_CLASS
    if not is_text and (flags & 0xFF not in NUMERIC_CLASSES or flags & COMPLEX):
        return {}
    _, shape = next(parts)
    _, name = next(parts)
    kind, values = next(parts)
    shape = np.frombuffer(shape, np.dtype("i4").newbyteorder(endian))
    if is_text:
        return {name.decode("latin-1"): _text(kind, values, endian)} if shape[0] == 1 and len(shape) == 2 else {}
    # Whole numbers may be kept in fewer bytes than the array's class has.
    values = np.frombuffer(values, np.dtype(NUMBERS[kind]).newbyteorder(endian))
    return {name.decode("latin-1"): values.reshape(shape, order="F").astype(float)}


def _text(kind, values, endian):
    encoding = TEXTS[kind]
    order = {"<": "-le", ">": "-be"}[endian] if encoding in ("utf-16", "utf-32") else ""
    return values.decode(encoding + order)
