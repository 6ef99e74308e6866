"""Heatmap volumes: milliseconds a clip, against a NumPy loop over people, frames and joints or limbs.

    python benchmarks/heatmaps.py

A clip is 48 frames of 56 x 56 with COCO's 17 joints or 17 limbs. The opponent is written the way published generators
are: one window for each keypoint or limb, filled with a Gaussian of the distance and put into the volume by the
maximum; for a limb, masks choose between the distances to its two ends and to the line between. Ours is the same
function as a TensorFlow graph, as `tf.data` runs it, and as a graph compiled by XLA. All are checked to agree, then run
in turn in one process on 2 threads.

Predicted: 20 times faster for joints, 10 times for limbs. Got, one person, least times of several runs on 2 shared
virtual cores:

    joints   loop  9.0 ms, graph 2.5 ms (3.6 times), XLA 0.57 ms (16 times)
    limbs    loop 40 ms,   graph 9.1 ms (4.4 times), XLA 3.3 ms  (12 times)

and nearly the same ratios for two people. Joints fall short of 20 because the loop is quicker than thought: it touches
some twenty pixels a joint, where the graph writes all 10 MB of the volume, and one multiplication that does nothing
else takes those 2.5 ms too.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import time
from functools import partial

import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose.ops import heatmaps
from kerapose.skeletons import COCO

FLAGS = flags.FLAGS
FRAMES, SIZE, SIGMA_PX, MIN_SCORE = 48, 56, 0.6, 1e-3
# How far below the top of the head, as a share of the body's height.
DEPTHS = {"eye": 0.05, "ear": 0.06, "nose": 0.08, "shoulder": 0.18, "elbow": 0.37, "wrist": 0.48}
DEPTHS |= {"hip": 0.5, "knee": 0.75, "ankle": 0.95}
AIMS = {"joints": 20, "limbs": 10}


def people_walking(people, seed=0):
    """Bodies of a plausible shape that wander and sway: keypoints [M, T, 17, 2], scores [M, T, 17]."""
    random = np.random.default_rng(seed)
    shape = [(0.1 * side_of(name), DEPTHS[name.split("_")[-1]]) for name in COCO.keypoints]  # [17, 2]
    path = np.cumsum(random.normal(0, 0.3, (people, FRAMES, 1, 2)), axis=1) + random.uniform(22, 34, (people, 1, 1, 2))
    sway = 2 * np.sin(np.linspace(0, 12, FRAMES)[:, None, None] + random.uniform(0, 6, (people, 1, 17, 2)))
    keypoints = path + 36 * (np.array(shape) - (0, 0.5)) + sway
    return keypoints.astype("float32"), random.uniform(0.2, 1.0, keypoints.shape[:-1]).astype("float32")


def side_of(name):
    return {"left": 1, "right": -1}.get(name.split("_")[0], 0)


# ---------------------------------------- the opponent
def looped_joints(keypoints, scores):
    people, frames, joints = scores.shape
    volume = np.zeros((frames, joints, SIZE, SIZE), "float32")
    for frame in range(frames):
        for joint in range(joints):
            for person in range(people):
                draw_point(volume[frame, joint], keypoints[person, frame, joint], scores[person, frame, joint])
    return volume


def looped_limbs(keypoints, scores):
    people, frames, _ = scores.shape
    volume = np.zeros((frames, len(COCO.edges), SIZE, SIZE), "float32")
    for frame in range(frames):
        for limb, ends in enumerate(COCO.edges):
            for person in range(people):
                draw_limb(volume[frame, limb], keypoints[person, frame, ends, :], scores[person, frame, ends])
    return volume


def window(low, high):
    return max(int(low - 3 * SIGMA_PX), 0), min(int(high + 3 * SIGMA_PX) + 1, SIZE)


def put(plane, rows, columns, squared_distance, score):
    region = plane[slice(*rows), slice(*columns)]
    np.maximum(region, np.exp(-squared_distance / (2 * SIGMA_PX**2)) * score, out=region)


def draw_point(plane, point, score):
    if score < MIN_SCORE:
        return
    (x, y), columns, rows = point, window(point[0], point[0]), window(point[1], point[1])
    if columns[0] < columns[1] and rows[0] < rows[1]:
        column, row = np.arange(*columns, dtype="float32"), np.arange(*rows, dtype="float32")[:, None]
        put(plane, rows, columns, (column - x) ** 2 + (row - y) ** 2, score)


def draw_limb(plane, ends, end_scores):
    score = end_scores.min()
    if score < MIN_SCORE:
        return
    start, end = ends
    limb = end - start
    squared_length = (limb**2).sum()
    if squared_length < 1:
        draw_point(plane, start, end_scores[0])
        return
    columns, rows = (window(ends[:, axis].min(), ends[:, axis].max()) for axis in (0, 1))
    if columns[0] >= columns[1] or rows[0] >= rows[1]:
        return
    column, row = np.arange(*columns, dtype="float32"), np.arange(*rows, dtype="float32")[:, None]
    to_start = (column - start[0]) ** 2 + (row - start[1]) ** 2
    to_end = (column - end[0]) ** 2 + (row - end[1]) ** 2
    share = (to_start - to_end + squared_length) / (2 * squared_length)
    before, after = share <= 0, share >= 1
    position = np.stack([column + np.zeros_like(row), row + np.zeros_like(column)], axis=-1)  # [h, w, 2]
    to_line = ((position - start - share[..., None] * limb) ** 2).sum(axis=-1)
    put(plane, rows, columns, before * to_start + after * to_end + ~(before | after) * to_line, score)


# ---------------------------------------- ours
def joints(keypoints, scores):
    return heatmaps.joint_volume(keypoints, scores, SIZE, SIZE, SIGMA_PX)


def limbs(keypoints, scores):
    return heatmaps.limb_volume(keypoints, scores, COCO.edges, SIZE, SIZE, SIGMA_PX)


def milliseconds(calls, repeats):
    """The least time of each call, made in turn."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            np.asarray(call())
            spent.append(1e3 * (time.perf_counter() - start))
    return [min(spent) for spent in times]


def compare(loop, ours, people):
    """Milliseconds of the loop, of our graph and of our compiled graph, once they are seen to agree."""
    clip = people_walking(people)
    tensors = [tf.constant(array) for array in clip]
    graphs = [partial(tf.function(ours, jit_compile=compiled), *tensors) for compiled in (False, True)]
    expected = np.moveaxis(loop(*clip), 1, -1)
    for graph in graphs:
        np.testing.assert_allclose(graph(), expected, rtol=1e-4, atol=1e-5)
    return milliseconds([partial(loop, *clip), *graphs], FLAGS.repeats)


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    print(f"a clip of {FRAMES} x {SIZE} x {SIZE}, COCO, milliseconds, least of {FLAGS.repeats}")
    print(f"{'volume':7} {'people':>6} {'loop':>8} {'graph':>8} {'XLA':>8} {'loop/graph':>11} {'loop/XLA':>9}   aim")
    for name, loop, ours in (("joints", looped_joints, joints), ("limbs", looped_limbs, limbs)):
        for people in (1, 2):
            looped, graph, compiled = compare(loop, ours, people)
            ratios = f"{looped / graph:10.1f}x {looped / compiled:8.1f}x   {AIMS[name]}x"
            print(f"{name:7} {people:6} {looped:8.2f} {graph:8.2f} {compiled:8.2f} {ratios}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 30, "Runs of each; the least time counts.")
    app.run(main)
