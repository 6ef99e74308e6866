"""The types that signatures name; shapes and units are in the docstrings."""

import os
import typing

import numpy.typing

Tensor: typing.TypeAlias = typing.Any  # of whichever backend Keras has, or what it takes for one
Array: typing.TypeAlias = numpy.typing.NDArray[typing.Any]
ArrayLike: typing.TypeAlias = numpy.typing.ArrayLike
Path: typing.TypeAlias = str | os.PathLike[str]
