"""The types that signatures name; shapes and units are in the docstrings."""

import os
import typing
from collections.abc import Sequence

import numpy.typing

Tensor: typing.TypeAlias = typing.Any  # of whichever backend Keras has, or what it takes for one
Array: typing.TypeAlias = numpy.typing.NDArray[typing.Any]
ArrayLike: typing.TypeAlias = numpy.typing.ArrayLike
Path: typing.TypeAlias = str | os.PathLike[str]
Shape: typing.TypeAlias = Sequence[int | None]  # of a tensor; None for an axis that only the graph knows
Size: typing.TypeAlias = Sequence[int] | Array  # height and width
Edges: typing.TypeAlias = Sequence[Sequence[int]] | Array  # pairs of indices of keypoints
Config: typing.TypeAlias = dict[str, typing.Any]  # what Keras makes an object again from
