"""Memory: what the process holds while it trains, step after step.

    python benchmarks/memory.py [--network=c3d_light] [--steps=20] [--batch=16]

Each line is a process of its own that trains a network on random clips of 48 frames of 56 x 56, as the training script
does, with the volumes drawn in the model or in the pipeline. Resident memory is read from /proc after every step (Linux
only). "start" is before the first step, "warm" after the first four, "end" after the last, "peak" the most that the
process ever held, and "drift" the slope of a line through the counted steps: a leak has one, a flat process does not.

Predicted: flat in every case; volumes drawn in the pipeline take no more than 0.5 GB more, two batches waiting ready.
Got for C3D-light with batches of 16 in bfloat16, 8 steps: 2.0 GB with volumes drawn in the model (+1.6 MB a step); with
batches of 4, volumes drawn in the pipeline take 0.2 GB more than in the model (+2 MB a step, still settling).
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import pathlib
import subprocess
import sys

import keras
import numpy as np
from absl import app, flags

from kerapose import models
from kerapose.data import clips
from kerapose.layers import HeatmapVolume
from kerapose.skeletons import COCO

FLAGS = flags.FLAGS
NETWORKS = {"c3d_light": models.C3D, "slowonly": models.SlowOnly, "x3d_shallow": models.X3D}
FRAMES, SIZE, SEQUENCES, WARM_UP = 48, 56, 64, 4


def megabytes(name):
    """VmRSS, what the process holds now, or VmHWM, the most that it ever held."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {name}; resident memory is read on Linux only.")


class Watch(keras.callbacks.Callback):
    """Notes the memory before training and after each step."""

    def on_train_begin(self, logs=None):
        self.held = [megabytes("VmRSS")]

    def on_train_batch_end(self, step, logs=None):
        self.held.append(megabytes("VmRSS"))


def train(name, drawn_in):
    """Trains a network for the given steps; returns the memory after each of them."""
    random = np.random.default_rng(0)
    keypoints = random.uniform(100, 900, (SEQUENCES, 1, 100, 17, 2)).astype("float32")
    dataset = clips.from_arrays(list(keypoints), [0] * SEQUENCES, COCO, frame_sizes=(1080, 1920))
    batches = clips.training(dataset, COCO, FLAGS.batch, FRAMES, (SIZE, SIZE))
    network = NETWORKS[name].from_variant(name, num_classes=60)
    if drawn_in == "model":
        shapes = {"keypoints": (None, FRAMES, 17, 2), "scores": (None, FRAMES, 17)}
        inputs = {key: keras.Input(shape, name=key) for key, shape in shapes.items()}
        model = keras.Model(inputs, network(HeatmapVolume(SIZE, SIZE)(inputs)))
    else:
        model, batches = network, clips.volumes(batches, (SIZE, SIZE))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss)
    watch = Watch()
    model.fit(batches, steps_per_epoch=WARM_UP + FLAGS.steps, callbacks=[watch], shuffle=False, verbose=0)
    return watch.held


def report(name, drawn_in):
    keras.config.set_dtype_policy(FLAGS.precision)
    held = train(name, drawn_in)
    counted = held[WARM_UP:]
    drift = np.polyfit(np.arange(len(counted)), counted, 1)[0]
    row = f"{held[0]:8.0f} {counted[0]:8.0f} {counted[-1]:8.0f} {megabytes('VmHWM'):8.0f} {drift:+14.1f}"
    print(f"{name:12} {drawn_in:9} {row}", flush=True)


def main(_):
    if FLAGS.here:
        report(FLAGS.network[0], FLAGS.drawn_in[0])
        return
    print(f"batches of {FLAGS.batch} x {FRAMES} x {SIZE} x {SIZE} x 17, {FLAGS.precision}, {FLAGS.steps} steps, MB")
    print(
        f"{'network':12} {'drawn in':9} {'start':>8} {'warm':>8} {'end':>8} {'peak':>8} {'drift, MB/step':>14}",
        flush=True,
    )
    shared = [f"--{name}={FLAGS[name].value}" for name in ("batch", "steps", "precision")]
    for name in FLAGS.network:
        for drawn_in in FLAGS.drawn_in:
            one = [sys.executable, __file__, "--here", f"--network={name}", f"--drawn_in={drawn_in}", *shared]
            subprocess.run(one, check=True)


if __name__ == "__main__":
    flags.DEFINE_multi_enum("network", ["c3d_light", "slowonly"], list(NETWORKS), "Networks to train.")
    flags.DEFINE_multi_enum("drawn_in", ["model", "pipeline"], ["model", "pipeline"], "Where volumes are drawn.")
    flags.DEFINE_enum("precision", "mixed_bfloat16", ["mixed_bfloat16", "float32"], "Of the networks.")
    flags.DEFINE_integer("batch", 16, "Clips a batch.", lower_bound=1)
    flags.DEFINE_integer("steps", 20, "Counted steps.", lower_bound=2)
    flags.DEFINE_bool("here", False, "Train the first network in this process, in place of each in one of its own.")
    app.run(main)
