"""Reads the pickles and .npz files of others, which hold arrays, numbers, strings and plain containers.

A pickle can run any program when it is loaded. Here it cannot: nothing but those is made from it, by the functions at
the end of this file, and a file that asks for anything else is refused by name.
"""

import collections
import io
import math
import pathlib
import pickle
import typing
import zipfile

import numpy as np

from kerapose.data import gate
from kerapose.types import Path

__all__ = [
    "AnnotationError",
    "load_npz",
    "load_pickle",
]


class AnnotationError(gate.BadDataError):
    """Raised for an annotation file that is damaged, hostile, of another form, or at odds with itself.

    `names` are those of the clips that are to blame, where clips are.

    Example:
        >>> import collections, pathlib, pickle
        >>> from kerapose.data import pickles
        >>> _ = pathlib.Path("other.pkl").write_bytes(pickle.dumps(collections.Counter("walk")))
        >>> pickles.load_pickle("other.pkl")
        Traceback (most recent call last):
            ...
        kerapose.data.pickles.AnnotationError: other.pkl: a pickle may hold only arrays and plain containers,
        this one asks for collections.Counter; do not use it unless its maker saves it without.
    """


def load_pickle(path: Path) -> typing.Any:
    """Loads a pickle of arrays and plain containers, whatever its protocol and the NumPy that wrote it.

    Args:
        path: the pickle.

    Returns:
        What it holds; change none of its arrays in place, as they may share memory.

    Raises:
        FileNotFoundError: when there is no such file.
        AnnotationError: when it is no whole pickle, or asks for anything else.

    Example:
        >>> from kerapose.data import pickles
        >>> sorted(pickles.load_pickle("clips.pkl"))
        ['annotations', 'split']
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no annotation file {path}; check the path.")
    with path.open("rb") as file:
        return _load(_Unpickler, file, path, "pickle")


def load_npz(path: Path) -> dict[str, typing.Any]:
    """Loads an .npz file whose arrays may hold Python objects, which NumPy keeps as pickles.

    Args:
        path: the file.

    Returns:
        dict of arrays, those of objects with arrays, numbers, strings and plain containers in them.

    Raises:
        FileNotFoundError: when there is no such file.
        AnnotationError: when it is no whole .npz file, or a pickle in it asks for anything else.

    Example:
        >>> from kerapose.data import pickles
        >>> np.savez("poses.npz", positions_3d=np.array({"S1": {"walk": poses_m}}, object))
        >>> positions = pickles.load_npz("poses.npz")["positions_3d"].item()
        >>> positions["S1"]["walk"].shape
        (30, 17, 3)
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    except Exception as error:  # as for a pickle; the checksum of each array is compared here
        raise AnnotationError(
            f"{path}: the file must be a whole .npz file, this one is damaged, cut short or no .npz file "
            f"({type(error).__name__}: {error}); copy or download it again."
        ) from error
    return {name: _load(_NpyReader, io.BytesIO(content), path, ".npz file") for name, content in contents.items()}


def _load(reader, file, path, kind):
    try:
        return reader(file).load()
    except AnnotationError as error:
        raise AnnotationError(f"{path}: {error}") from None
    except Exception as error:  # damaged content can raise nearly anything
        raise AnnotationError(
            f"{path}: the file must be a whole {kind}, this one is damaged, cut short or no {kind} "
            f"({type(error).__name__}: {error}); copy or download it again."
        ) from error


class _NpyReader:
    """Reads one array of an .npz file."""

    def __init__(self, file):
        self._file = file

    def load(self):
        version = np.lib.format.read_magic(self._file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if header[version](self._file)[2].hasobject:
            return np.asarray(_ObjectUnpickler(self._file).load())
        self._file.seek(0)
        return np.lib.format.read_array(self._file, allow_pickle=False)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        module = module.replace("__builtin__", "builtins")  # as old protocols spell it
        home = module.replace("numpy._core", "numpy.core")  # as NumPy 1 spells it
        if (home, name) not in self.admitted:
            raise AnnotationError(
                f"a pickle may hold only arrays and plain containers, this one asks for {module}.{name}; do not use it "
                "unless its maker saves it without."
            )
        return self.admitted[home, name]


# NumPy's own __setstate__ believes what a pickle tells it about a dtype: one whose flags or fields lie makes it follow
# raw bytes as pointers. So of a pickle's dtype only the byte order is taken, and arrays get a dtype that was made here.
class _Dtype:
    """Stands for numpy.dtype while a pickle is read."""

    def __init__(self, code, align=False, copy=False):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biufUS":
            raise AnnotationError(f"arrays must be of numbers or text, this file has one of {self.dtype}; convert it.")

    def __setstate__(self, state):
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that a pickle can fill, and cannot make in any other way."""

    def __new__(cls, *args, **kwargs):
        raise AnnotationError("an array must be saved by NumPy itself; save the file anew.")

    def __setstate__(self, state):
        shape, dtype, is_fortran, raw = state[-4:]
        if min(shape, default=0) < 0:
            raise ValueError(f"negative shape {shape}")
        super().__setstate__((1, shape, dtype.dtype, bool(is_fortran), bytes(raw)))


def _reconstruct(subtype, shape, code):
    return np.ndarray.__new__(_Array, 0, np.int8)


def _frombuffer(raw, dtype, shape, order, axis_order=None):
    if axis_order is not None:  # NumPy's way to write an array with permuted axes
        return np.ndarray(shape, dtype.dtype, raw).transpose(axis_order)
    return np.ndarray(shape, dtype.dtype, raw, order=order)


def _scalar(dtype, raw):
    return np.ndarray((), dtype.dtype, raw)[()]


def _encode(text, encoding):
    # Old protocols write bytes as latin1 text; other codecs have no place here.
    if encoding != "latin1":
        raise AnnotationError(f"bytes must be written as latin1, this file asks for {encoding!r}; save it anew.")
    return text.encode("latin1")


_ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    **{("builtins", kind.__name__): kind for kind in (bool, bytes, bytearray, dict, float, frozenset, int, list, set)},
}
_Unpickler.admitted = _ADMITTED


# An array of objects is a list of them in a pickle, which NumPy trusts to be as long as the shape says.
class _AnyDtype(_Dtype):
    """Stands for numpy.dtype where arrays of objects are admitted; nothing else can be made of such a dtype."""

    def __init__(self, code, align=False, copy=False):
        self.of_objects = str(code) in ("O", "O8")
        if not self.of_objects:
            super().__init__(code)

    def __setstate__(self, state):
        if not self.of_objects:
            super().__setstate__(state)


class _AnyArray(_Array):
    """An array that a pickle can fill with numbers, text or objects."""

    def __setstate__(self, state):
        shape, dtype, is_fortran, content = state[-4:]
        if not dtype.of_objects:
            super().__setstate__(state)
            return
        if type(content) is not list or min(shape, default=0) < 0 or len(content) != math.prod(shape):
            raise ValueError(f"shape {shape} of an array of objects that are not as many")
        np.ndarray.__setstate__(self, (1, shape, np.dtype(object), bool(is_fortran), content))


def _reconstruct_any(subtype, shape, code):
    return np.ndarray.__new__(_AnyArray, 0, np.int8)


class _ObjectUnpickler(_Unpickler):
    admitted = _ADMITTED | {
        ("numpy", "ndarray"): _AnyArray,
        ("numpy", "dtype"): _AnyDtype,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct_any,
    }
