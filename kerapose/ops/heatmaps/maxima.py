"""Where maps are highest, and what stands beside that."""

from collections.abc import Sequence

import keras
import numpy as np

from kerapose.ops.graphs import ops
from kerapose.types import Tensor

INDEX = "int64" if keras.backend.backend() == "tensorflow" else "int32"  # JAX has no other unless told to


def first_maximum(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first maximum in row-major order: [N, h, w, K] -> its value, its column and its row, each [N, K]."""
    row_maxima = maxima_of_rows(maps)  # [N, h, K], the one pass over all pixels; the rest looks at one row
    scores = ops.max(row_maxima, axis=1, initial=-np.inf)  # [N, K]; without `initial`, N could not be 0
    y = _first(row_maxima, scores)
    columns = np.arange(maps.shape[2], dtype=INDEX)[:, None]
    row = gather(maps, columns, y[:, None])  # [N, w, K]
    return scores, _first(row, scores), y


def maxima_of_rows(maps: Tensor) -> Tensor:
    # ops.max over an axis before the last takes TensorFlow half as long again (benchmarks/codecs.py).
    whole_row = (1, maps.shape[2])
    return ops.max_pool(maps, whole_row, strides=whole_row, data_format="channels_last")[:, :, 0]  # [N, h, K]


def _first(values, wanted):
    """The first place where `values` [N, P, K] equal `wanted` [N, K], the last one if they never do (NaN)."""
    places = np.arange(values.shape[1], dtype=INDEX)[:, None]
    last = places[-1, 0]
    return ops.min(ops.where(values == wanted[:, None], places, last), axis=1, initial=last)


def gather(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The values at columns x and rows y, each [N or 1, P, K or 1]: [N, h, w, K] -> [N, P, K]."""
    _, height, width, channels = maps.shape
    # From a flat list: gathering along an axis would first have to transpose all of the maps.
    maps_before = ops.arange(ops.shape(maps)[0], dtype=INDEX)[:, None, None] * (height * width * channels)
    index = maps_before + y * (width * channels) + x * channels + np.arange(channels, dtype=INDEX)
    return ops.take(ops.reshape(maps, (-1,)), index)


def neighbors(maps: Tensor, x: Tensor, y: Tensor, steps: Sequence[tuple[int, int]]) -> list[Tensor]:
    """The values `steps` [P, 2] (x and y) away from columns x and rows y [N, K], clamped to the map: P times [N, K]."""
    steps = np.array(steps, INDEX)
    _, height, width, _ = maps.shape
    x = ops.clip(x[:, None] + steps[:, :1], 0, width - 1)  # [N, P, K]
    y = ops.clip(y[:, None] + steps[:, 1:], 0, height - 1)
    return ops.unstack(gather(maps, x, y), len(steps), axis=1)
