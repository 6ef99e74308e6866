"""Grouping people: milliseconds an image, the graph against the NumPy form, by how many people there are.

    python benchmarks/grouping.py

The maps are those of an image of 256 x 456 with a network of stride 8: 32 x 57 cells, brought to 128 x 228 by the
cubic resize as the predictor does, with OpenPose's 18 heatmaps and 38 fields; the people stand in one or two rows. The
opponents are `group_numpy`, one joint, limb and person after the other, and the same function by the published rule.
All are checked to find every person, and the graph to find what NumPy finds to the last bit; then they run in turn in
one process on 2 threads.

Predicted: the graph takes less than 30 ms for 20 people, and is never slower than NumPy. Measured, least of 30 runs on
2 free virtual cores:

    people   NumPy     published   graph    NumPy / graph
         1    5.6 ms    4.8 ms     7.1 ms   0.8
         5    7.4 ms    5.5 ms     7.2 ms   1.0
        20   18.2 ms   12.6 ms     8.6 ms   2.1

One or two people are little work for NumPy, which looks only at the few cells that are peaks. The graph takes most of
its time to find them: it has to pass over all 525,312 values of the heatmaps a dozen times, one operation after the
other, and hardly slows down with more people.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import time
from functools import partial

import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose.ops import grouping, images, pafs
from kerapose.skeletons import OPENPOSE

FLAGS = flags.FLAGS
IMAGE_SIZE, CELLS, MAP_SIZE = (256, 456), (32, 57), (128, 228)
PEOPLE = 1, 5, 20
AIM_MS, AIM_RATIO = 30, 1
# To the side and below the top of the head, as shares of the body's height.
BODY = {"nose": (0, 0.1), "neck": (0, 0.19), "eye": (0.03, 0.07), "ear": (0.06, 0.09), "shoulder": (0.12, 0.2)}
BODY |= {"elbow": (0.16, 0.37), "wrist": (0.17, 0.52), "hip": (0.08, 0.52), "knee": (0.09, 0.74), "ankle": (0.09, 0.95)}


def people_standing(people, seed=0):
    """Bodies in one row, or in two rows if they are more than ten: keypoints [M, 18, 2], pixels of the image."""
    random = np.random.default_rng(seed)
    joints = [
        np.array(BODY[name.split("_")[-1]]) * (-1 if name.startswith("right") else 1, 1) for name in OPENPOSE.keypoints
    ]
    rows = 1 + (people > 10)
    columns = -(-people // rows)
    row, column = np.divmod(np.arange(people), columns)
    height = min(0.85 * IMAGE_SIZE[0] / rows, 2.2 * IMAGE_SIZE[1] / columns)
    middle = (column + 0.5) * IMAGE_SIZE[1] / columns, row * IMAGE_SIZE[0] / rows + 8
    sway = random.normal(0, 0.012, (people, 18, 2))
    return ((np.array(joints) + sway) * height + np.stack(middle, axis=-1)[:, None]).astype("float32")


def maps_of(keypoints):
    """Heatmaps [128, 228, 18] and fields [128, 228, 38] of these people, as a faultless network would see them."""
    heatmaps = pafs.encode_heatmaps(keypoints, None, CELLS)[..., :-1]
    fields = pafs.encode(keypoints, None, OPENPOSE.edges, CELLS)
    return [np.array(images.resize_cubic(maps, MAP_SIZE)) for maps in (heatmaps, fields)]


@tf.function(input_signature=[tf.TensorSpec((None, None, 18)), tf.TensorSpec((None, None, 38))])
def graph(heatmaps, fields):
    return grouping.group(heatmaps, fields, OPENPOSE.edges)


def milliseconds(calls, repeats):
    """The least time of each call, made in turn."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            np.asarray(call()["keypoints"])
            spent.append(1e3 * (time.perf_counter() - start))
    return [min(spent) for spent in times]


def compare(people):
    """Milliseconds of both NumPy rules and of the graph, once they are seen to find everyone."""
    maps = maps_of(people_standing(people))
    tensors = [tf.constant(array) for array in maps]
    published = {"published": True, "limb_order": grouping.PUBLISHED_LIMB_ORDER}
    calls = [partial(grouping.group_numpy, *maps, OPENPOSE.edges, **options) for options in ({}, published)]
    calls.append(partial(graph, *tensors))
    by_numpy, by_rule, by_graph = (call() for call in calls)
    assert by_numpy["count"] == by_rule["count"] == by_graph["count"] == people, "someone was not found"
    for name, values in by_numpy.items():
        np.testing.assert_array_equal(values, by_graph[name][:people] if np.ndim(values) else by_graph[name])
    return milliseconds(calls, FLAGS.repeats)


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    print(f"maps of {MAP_SIZE[0]} x {MAP_SIZE[1]}, {OPENPOSE.name}, milliseconds, least of {FLAGS.repeats}")
    print(f"{'people':>6} {'NumPy':>8} {'published':>10} {'graph':>8} {'NumPy/graph':>12}   aim")
    for people in PEOPLE:
        by_numpy, by_rule, by_graph = compare(people)
        aim = f"{AIM_RATIO}x, {AIM_MS} ms"
        print(
            f"{people:6} {by_numpy:8.1f} {by_rule:10.1f} {by_graph:8.1f} {by_numpy / by_graph:11.1f}x   {aim}",
            flush=True,
        )


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 30, "Runs of each; the least time counts.")
    app.run(main)
