"""Targets of bottom-up networks: milliseconds a picture, against Python loops over people, keypoints, limbs and cells.

    python benchmarks/pafs.py

Pictures of 368 x 368 with 1, 5 or 20 people of OPENPOSE's 18 keypoints and 19 limbs, on maps of 46 x 46 cells. The
opponents draw one keypoint or limb after the other into a window of its own: "cells" goes through the window cell by
cell, as published programs do, "windows" fills it at once in NumPy. Ours draws a batch of 32 pictures at once, as a
TensorFlow graph and as one compiled by XLA. All draw by the same rule, are checked to agree, and are run in turn in one
process on 2 threads. "fields" are part affinity fields by our own rule, for which a loop has to count people as well;
"published" are those by the published rule, where the last person has a cell, which a loop does for nothing.

Predicted, of loops by the published rule: XLA 10 times faster than "cells" and twice as fast as "windows". Measured,
least of 10 runs on 2 free virtual cores, milliseconds a picture:

    people                  1                      5                      20
    heatmaps   cells 0.45, XLA 0.05   cells 1.71, XLA 0.12   cells 6.5, XLA 0.30   (10, 15, 22 times)
    fields     cells 0.50, XLA 0.10   cells 0.85, XLA 0.25   cells 3.0, XLA 0.60   (4.9, 3.4, 5.0 times)
    published  cells 0.15, XLA 0.21   cells 0.50, XLA 0.34   cells 1.9, XLA 1.05   (0.7, 1.5, 1.8 times)

Against "windows": 8 to 15, 6 to 10 and 1 to 3 times. The prediction holds for heatmaps alone. A loop visits only the
few dozen cells round a limb, where ours asks all 2116, so by the published rule the two are close; ours also has to
find the last person there.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import math
import time
from functools import partial

import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose.ops import pafs
from kerapose.skeletons import COCO, OPENPOSE, convert

FLAGS = flags.FLAGS
BATCH, IMAGE, STRIDE, SIGMA_PX, THICKNESS = 32, 368, 8, 7.0, 1.0
CELLS = IMAGE // STRIDE
SIZE = (CELLS, CELLS)
# How far below the top of the head, and beside the middle, as shares of the body's height.
DEPTHS = {"eye": 0.05, "ear": 0.06, "nose": 0.08, "shoulder": 0.18, "elbow": 0.37, "wrist": 0.48}
DEPTHS |= {"hip": 0.5, "knee": 0.75, "ankle": 0.95}
BREADTHS = {"eye": 0.02, "ear": 0.04, "nose": 0.0, "shoulder": 0.12, "elbow": 0.16, "wrist": 0.18}
BREADTHS |= {"hip": 0.08, "knee": 0.08, "ankle": 0.08}
AIMS = {"cells": 10, "windows": 2}


def crowds(people, seed=0):
    """Bodies of a plausible shape and of 80 to 320 pixels, some keypoints missing: [B, M, 18, 2], [B, M, 18]."""
    random = np.random.default_rng(seed)
    parts = [name.split("_")[-1] for name in COCO.keypoints]
    sides = [{"left": 1, "right": -1}.get(name.split("_")[0], 0) for name in COCO.keypoints]
    shape = np.array([(side * BREADTHS[part], DEPTHS[part]) for side, part in zip(sides, parts, strict=True)])
    heights = random.uniform(80, 320, (BATCH, people, 1, 1))
    keypoints = heights * (shape + random.normal(0, 0.03, (BATCH, people, 17, 2)) - (0, 0.5))
    keypoints = keypoints + random.uniform(40, IMAGE - 40, (BATCH, people, 1, 2))
    keypoints, scores = convert(keypoints, random.random((BATCH, people, 17)) > 0.1, COCO, OPENPOSE)
    inside = ((keypoints >= 0) & (keypoints < IMAGE)).all(axis=-1)
    return keypoints, (scores * inside).astype("float32")


# ---------------------------------------- the opponents
def looped(keypoints, weights, draw):
    """[B, h, w, C], picture after picture."""
    return np.stack([draw(*picture) for picture in zip(keypoints.tolist(), weights.tolist(), strict=True)])


def looped_heatmaps(draw_point, keypoints, weights):
    maps = np.zeros((*SIZE, 19), "float32")
    for person, drawn in zip(keypoints, weights, strict=True):
        for k in range(18):
            if drawn[k] > 0:
                draw_point(maps[..., k], *person[k])
    maps[..., -1] = 1 - maps.max(axis=-1)
    return maps


def looped_fields(draw_limb, keypoints, weights):
    sums, counts = np.zeros((*SIZE, 38), "float32"), np.zeros((*SIZE, 19), "float32")
    for person, drawn in zip(keypoints, weights, strict=True):
        for limb, (a, b) in enumerate(OPENPOSE.edges):
            if drawn[a] > 0 and drawn[b] > 0:
                draw_limb(sums[..., 2 * limb : 2 * limb + 2], counts[..., limb], person[a], person[b])
    return sums / np.repeat(np.maximum(counts, 1), 2, axis=-1)


def looped_published(draw_limb, keypoints, weights):
    maps = np.zeros((*SIZE, 38), "float32")
    for person, drawn in zip(keypoints, weights, strict=True):
        for limb, (a, b) in enumerate(OPENPOSE.edges):
            if drawn[a] > 0 and drawn[b] > 0:
                draw_limb(maps[..., 2 * limb : 2 * limb + 2], person[a], person[b])
    return maps


def point_window(x, y):
    reach = 4 * SIGMA_PX
    columns, rows = (
        range(max(int(value - reach), 0) // STRIDE, min(int(value + reach), IMAGE) // STRIDE) for value in (x, y)
    )
    return columns, rows


def draw_point_by_cells(plane, x, y):
    columns, rows = point_window(x, y)
    for row in rows:
        for column in columns:
            x_off, y_off = column * STRIDE + (STRIDE - 1) / 2 - x, row * STRIDE + (STRIDE - 1) / 2 - y
            exponent = (x_off * x_off + y_off * y_off) / (2 * SIGMA_PX * SIGMA_PX)
            if exponent <= pafs.MAX_EXPONENT:
                plane[row, column] = min(plane[row, column] + math.exp(-exponent), 1)


def draw_point_by_window(plane, x, y):
    columns, rows = point_window(x, y)
    x_off = np.arange(columns.start, columns.stop) * STRIDE + (STRIDE - 1) / 2 - x
    y_off = np.arange(rows.start, rows.stop)[:, None] * STRIDE + (STRIDE - 1) / 2 - y
    exponent = (x_off**2 + y_off**2) / (2 * SIGMA_PX**2)
    region = plane[rows.start : rows.stop, columns.start : columns.stop]
    np.minimum(region + np.where(exponent <= pafs.MAX_EXPONENT, np.exp(-exponent), 0), 1, out=region)


def limb_window(a, b):
    """The columns and rows of a limb's box, its middle, half its length and its unit vector; all in cells."""
    (x_a, y_a), (x_b, y_b) = ([(value - (STRIDE - 1) / 2) / STRIDE for value in point] for point in (a, b))
    length = max(math.hypot(x_b - x_a, y_b - y_a), 1e-7)
    unit_x, unit_y = (x_b - x_a) / length, (y_b - y_a) / length
    x, y, half = (x_a + x_b) / 2, (y_a + y_b) / 2, max(length, 1) / 2
    reach_x, reach_y = (
        half * abs(along) + THICKNESS * abs(across) for along, across in ((unit_x, unit_y), (unit_y, unit_x))
    )
    columns, rows = (
        range(max(math.ceil(middle - reach), 0), max(min(math.floor(middle + reach) + 1, CELLS), 0))
        for middle, reach in ((x, reach_x), (y, reach_y))
    )
    return columns, rows, x, y, half, unit_x, unit_y


def draw_limb_by_cells(plane, count, a, b):
    columns, rows, x, y, half, unit_x, unit_y = limb_window(a, b)
    for row in rows:
        for column in columns:
            x_off, y_off = column - x, row - y
            near = abs(x_off * unit_y - y_off * unit_x) <= THICKNESS
            if near and abs(x_off * unit_x + y_off * unit_y) <= half:
                plane[row, column, 0] += unit_x
                plane[row, column, 1] += unit_y
                count[row, column] += 1


def draw_limb_by_window(plane, count, a, b):
    columns, rows, x, y, half, unit_x, unit_y = limb_window(a, b)
    x_off, y_off = np.arange(columns.start, columns.stop) - x, np.arange(rows.start, rows.stop)[:, None] - y
    covered = np.abs(x_off * unit_y - y_off * unit_x) <= THICKNESS
    covered &= np.abs(x_off * unit_x + y_off * unit_y) <= half
    plane[rows.start : rows.stop, columns.start : columns.stop][covered] += unit_x, unit_y
    count[rows.start : rows.stop, columns.start : columns.stop] += covered


def published_window(a, b):
    """The columns and rows of a limb's box by the published rule, its start and its unit vector; all in cells."""
    (x_a, y_a), (x_b, y_b) = ([value / STRIDE for value in point] for point in (a, b))
    columns, rows = (
        range(int(max(min(ends) - THICKNESS, 0)), max(int(min(max(ends) + THICKNESS, CELLS)), 0))
        for ends in ((x_a, x_b), (y_a, y_b))
    )
    length = max(math.hypot(x_b - x_a, y_b - y_a), 1e-7)
    return columns, rows, x_a, y_a, (x_b - x_a) / length, (y_b - y_a) / length


def draw_published_by_cells(plane, a, b):
    columns, rows, x, y, unit_x, unit_y = published_window(a, b)
    for row in rows:
        for column in columns:
            if abs((column - x) * unit_y - (row - y) * unit_x) <= THICKNESS:
                plane[row, column, 0], plane[row, column, 1] = unit_x, unit_y


def draw_published_by_window(plane, a, b):
    columns, rows, x, y, unit_x, unit_y = published_window(a, b)
    x_off, y_off = np.arange(columns.start, columns.stop) - x, np.arange(rows.start, rows.stop)[:, None] - y
    near = np.abs(x_off * unit_y - y_off * unit_x) <= THICKNESS
    plane[rows.start : rows.stop, columns.start : columns.stop][near] = unit_x, unit_y


LOOPS = {
    "heatmaps": [partial(looped_heatmaps, draw) for draw in (draw_point_by_cells, draw_point_by_window)],
    "fields": [partial(looped_fields, draw) for draw in (draw_limb_by_cells, draw_limb_by_window)],
    "published": [partial(looped_published, draw) for draw in (draw_published_by_cells, draw_published_by_window)],
}


# ---------------------------------------- ours
def heatmaps(keypoints, weights):
    return pafs.encode_heatmaps(keypoints, weights, SIZE, STRIDE, SIGMA_PX)


def fields(keypoints, weights, published=False):
    return pafs.encode(keypoints, weights, OPENPOSE.edges, SIZE, STRIDE, THICKNESS, published)


OURS = {"heatmaps": heatmaps, "fields": fields, "published": partial(fields, published=True)}


def milliseconds(calls):
    """The least time of each call for one picture; they are made in turn."""
    times = [[] for _ in calls]
    for _ in range(FLAGS.repeats):
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            np.asarray(call())
            spent.append(1e3 * (time.perf_counter() - start) / BATCH)
    return [min(spent) for spent in times]


def compare(draws, ours, people):
    """Milliseconds of the two loops, of our graph and of the compiled one, once they agree."""
    crowd = crowds(people)
    tensors = [tf.constant(array) for array in crowd]
    graphs = [partial(tf.function(ours, jit_compile=compiled), *tensors) for compiled in (False, True)]
    loops = [partial(looped, *crowd, draw) for draw in draws]
    expected = loops[0]()
    for call in (loops[1], *graphs):
        assert_alike(call(), expected)
    return milliseconds([*loops, *graphs])


def assert_alike(result, expected):
    """All but one cell in a million agree: one at just the distance where drawing ends may fall to either side."""
    off = np.abs(np.asarray(result) - expected) > 1e-4
    assert off.mean() < 1e-6, f"{off.sum()} of {off.size} values differ"


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    print(f"maps of {CELLS} x {CELLS}, batches of {BATCH}; milliseconds a picture, least of {FLAGS.repeats}")
    names = ("cells", "windows", "graph", "XLA", "cells/XLA", "windows/XLA")
    print(f"{'':9} {'people':>6} " + " ".join(f"{name:>11}" for name in names))
    for name, ours in OURS.items():
        for people in (1, 5, 20):
            times = compare(LOOPS[name], ours, people)
            ratios = [f"{time / times[3]:10.1f}x" for time in times[:2]]
            print(f"{name:9} {people:6} " + " ".join([f"{time:11.3f}" for time in times] + ratios), flush=True)
    print(f"aim: {AIMS['cells']}x and {AIMS['windows']}x")


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 10, "Runs of each; the least time counts.")
    app.run(main)
