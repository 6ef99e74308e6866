"""Reads the numbers of a MATLAB file of version 5, the kind that MATLAB writes unless asked for another."""

import struct
import zlib

import numpy as np

HEADER_BYTES = 128
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
NUMERIC_CLASSES = range(6, 16)  # double to uint64; cells, structures, texts and sparse matrices have others
COMPLEX = 0x0800


def read(path):
    """Reads the arrays of real numbers; texts, cells and structures are passed over.

    Args:
        path: the file.

    Returns:
        dict: name to array, with MATLAB's order of axes.

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
    """The name and values of an array, as a dict; empty when it is not one of real numbers."""
    parts = _elements(data, endian)
    _, flags = next(parts)
    (flags,) = struct.unpack_from(f"{endian}I", flags)
    if flags & 0xFF not in NUMERIC_CLASSES or flags & COMPLEX:
        return {}
    _, shape = next(parts)
    _, name = next(parts)
    kind, values = next(parts)
    # Whole numbers may be kept in fewer bytes than the array's class has.
    values = np.frombuffer(values, np.dtype(NUMBERS[kind]).newbyteorder(endian))
    shape = np.frombuffer(shape, np.dtype("i4").newbyteorder(endian))
    return {name.decode("latin-1"): values.reshape(shape, order="F").astype(float)}
