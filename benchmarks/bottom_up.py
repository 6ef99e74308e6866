"""Predictors of people: milliseconds an image, bottom-up against top-down, by how many people there are.

    python benchmarks/bottom_up.py [--nobfloat16]

Bottom-up is `estimators.BottomUpEstimator` with the published Lightweight OpenPose at 256 x 456: resizing, padding, the
network, enlarging, grouping. Top-down is `estimators.PoseEstimator` with SimpleBaseline-18 at 256 x 192, a cheap one,
without the mirrored crops and without the detector that it would need; the boxes are given. Weights are random, which
costs as much as trained ones do; so that there are people to group, faultless maps of standing people take the place of
the network's, which are added to them once they are as small as rounding. Both take an image in and give keypoints in
its pixels, in a graph, in turn, in one process.

Predicted: bottom-up grows by less than a tenth from 1 to 20 people, top-down is slower from 2 people on and in
proportion to their number. Got, on 2 free virtual cores with bfloat16 vectors but no AMX, milliseconds an image:

    people               1      5      20
    float32  bottom-up   96     92     90      top-down   43    154    569   (0.44, 1.7, 6.3 times)
    bfloat16 bottom-up   62     60     60      top-down   31     92    328   (0.50, 1.6, 5.4 times)

So 11 and 16 images a second, whoever is in them; top-down is slower from 3 people on.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from grouping import CELLS, IMAGE_SIZE, PEOPLE, people_standing
from networks import seconds

from kerapose import estimators, models
from kerapose.ops import pafs
from kerapose.skeletons import COCO, OPENPOSE

FLAGS = flags.FLAGS
NEGLIGIBLE = 1e-20  # not 0, or the graph's optimizer would leave the network out


class Painted(keras.Model):
    """A network whose last maps are, but for rounding, those of given people."""

    def __init__(self, network, keypoints):
        inputs = keras.Input(network.image_shape)
        *_, heatmaps, fields = network(inputs)
        painted = pafs.encode_heatmaps(keypoints, None, CELLS), pafs.encode(keypoints, None, OPENPOSE.edges, CELLS)
        outputs = [
            NEGLIGIBLE * keras.ops.tanh(maps) + np.asarray(truth)[None]  # [B, h, w, C]
            for truth, maps in zip(painted, (heatmaps, fields), strict=True)
        ]
        super().__init__(inputs, outputs)


def bottom_up(network, people):
    """A function of an image, and the check that it finds everybody."""
    estimator = estimators.BottomUpEstimator(Painted(network, people_standing(people)), OPENPOSE)
    answer = tf.function(estimator, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    found = int(answer(tf.zeros((*IMAGE_SIZE, 3), tf.uint8))["count"])
    if found != people:
        raise ValueError(f"All of {people} people must be found to be timed, got {found}.")
    return lambda image: answer(image)["keypoints"]


def top_down(network, people):
    estimator = estimators.PoseEstimator(network, COCO, flip_test=False)
    left, top = np.min(people_standing(people), axis=1).T
    right, bottom = np.max(people_standing(people), axis=1).T
    boxes = tf.constant(np.stack([left, top, right, bottom], axis=1), tf.float32)  # [M, 4]
    return tf.function(lambda image: estimator({"image": image, "boxes": boxes})[0])


def main(_):
    image = tf.cast(tf.random.stateless_uniform((*IMAGE_SIZE, 3), (0, 0), 0, 256, tf.int32), tf.uint8)
    print(f"an image of {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]}, milliseconds, least of {FLAGS.repeats}")
    print(f"{'precision':10} {'people':>6} {'bottom-up':>10} {'top-down':>10} {'ratio':>6}")
    for policy in ("float32", "mixed_bfloat16") if FLAGS.bfloat16 else ("float32",):
        keras.config.set_dtype_policy(policy)
        openpose = models.LightweightOpenPose(image_shape=(None, None, 3))
        baseline = models.SimpleBaseline.from_variant("resnet18", num_joints=17)
        for people in PEOPLE:
            runs = [bottom_up(openpose, people), top_down(baseline, people)]
            ours, other = (1e3 * time for time in seconds(runs, image, FLAGS.repeats))
            name = policy.removeprefix("mixed_")
            print(f"{name:10} {people:6} {ours:10.1f} {other:10.1f} {other / ours:6.2f}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 5, "Counted runs of each.")
    flags.DEFINE_bool("bfloat16", True, "Whether to measure in bfloat16 too.")
    app.run(main)
