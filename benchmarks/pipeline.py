"""The clip pipeline: clips a second, against what training consumes and against a Python generator with NumPy.

    python benchmarks/pipeline.py [--people=1] [--network=c3d_light] [--seconds=5]

`data.clips.training` makes clips of 48 frames for volumes of 56 x 56 out of sequences of 150 frames: the clips alone,
as the training script asks for them, or with `data.clips.volumes` after it. The opponent is the same work in a plain
Python generator: sampling, compact crop, resize, random crop and mirror on whole NumPy arrays, and joint volumes by a
loop over frames, joints and people (benchmarks/heatmaps.py). The other party is the training step of a network on the
same cores, with the volumes at hand: the ratio says how many times over the pipeline feeds it.

Predicted: the pipeline feeds the hungriest of the three networks 50 times over with clips alone and 5 times over with
volumes, and makes clips twice as fast as NumPy. Got, one person, on 2 virtual cores that others were using too:

    clips alone    2060 a second, 0.58 ms of a core each    NumPy 3610 a second, 0.16 ms
    joint volumes   540 a second, 1.1 ms                    NumPy   34 a second, 14 ms
    limb volumes     54 a second, 6.3 ms

The three networks took about one clip a second there in bfloat16, so that even limb volumes feed them 50 times over.
NumPy is the quicker one for clips alone: a clip is so little work that starting sixty operations in the graph is most
of it. It does not matter beside a step, and the graph is the one that serves, and that exports.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import itertools
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from heatmaps import looped_joints
from networks import NETWORKS, build, seconds, step_of

from kerapose.data import clips
from kerapose.skeletons import COCO

FLAGS = flags.FLAGS
FRAMES, SIZE, LENGTH, FRAME_SIZE = 48, 56, 150, (1080, 1920)
SEQUENCES = 256


def sequences(people, seed=0):
    """Bodies that walk through the frame: keypoints [N, M, T, 17, 2] and scores [N, M, T, 17]."""
    random = np.random.default_rng(seed)
    bodies = random.uniform((0, 0), (150, 400), (SEQUENCES, people, 1, 17, 2))
    path = np.linspace((300, 300), (900, 400), LENGTH)[:, None] + random.uniform(0, 300, (SEQUENCES, people, 1, 1, 2))
    keypoints = bodies + path + random.normal(0, 3, (SEQUENCES, people, LENGTH, 17, 2))
    return keypoints.astype("float32"), random.uniform(0.2, 1, keypoints.shape[:-1]).astype("float32")


# ---------------------------------------- the opponent
def numpy_batches(keypoints, scores, with_volumes):
    """What `clips.training` does, one clip after the other."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(SEQUENCES)
        for batch in np.split(order[: SEQUENCES // FLAGS.batch * FLAGS.batch], SEQUENCES // FLAGS.batch):
            made = [numpy_clip(random, keypoints[i], scores[i]) for i in batch]
            if with_volumes:
                yield np.stack([np.moveaxis(looped_joints(*clip), 1, -1) for clip in made])
            else:
                yield tuple(np.stack(arrays) for arrays in zip(*made, strict=True))


def numpy_clip(random, keypoints, scores):
    edges = np.arange(FRAMES + 1) * keypoints.shape[1] // FRAMES
    frames = random.integers(edges[:-1], edges[1:])
    keypoints, scores = keypoints[:, frames], scores[:, frames]  # [M, L, 17, 2], [M, L, 17]
    present = keypoints != 0
    low = np.where(present, keypoints, np.inf).min(axis=(0, 1, 2))
    high = np.where(present, keypoints, -np.inf).max(axis=(0, 1, 2))
    centre, half = (low + high) / 2, (high - low).max() / 2 * 1.25
    box = np.trunc(np.concatenate([centre - half, centre + half]))
    keypoints = np.where(present, keypoints - box[:2], keypoints)
    size = box[2:] - box[:2]
    scaled = np.floor(size * (64 / size.min()) + 0.5)
    keypoints = keypoints * (scaled / size)
    left, top, width, height = numpy_crop(random, *scaled)
    keypoints = (keypoints - (left, top)) * (SIZE / width, SIZE / height)
    if random.random() < 0.5:
        keypoints[..., 0] = np.where(keypoints[..., 0] != 0, SIZE - keypoints[..., 0], 0)
        keypoints, scores = keypoints[:, :, COCO.flip_permutation], scores[:, :, COCO.flip_permutation]
    return keypoints, scores


def numpy_crop(random, width, height):
    aspects = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), 10))
    areas = random.uniform(0.56, 1, 10) * width * height
    for crop_width, crop_height in np.round(np.stack([np.sqrt(areas * aspects), np.sqrt(areas / aspects)], axis=1)):
        if crop_width <= width and crop_height <= height:
            left, top = random.integers(0, (width - crop_width + 1, height - crop_height + 1))
            return left, top, crop_width, crop_height
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


# ---------------------------------------- ours
def pipeline(keypoints, scores, volumes=None):
    dataset = clips.from_arrays(list(keypoints), [0] * SEQUENCES, COCO, list(scores), FRAME_SIZE)
    batches = clips.training(dataset, COCO, FLAGS.batch, FRAMES, (SIZE, SIZE))
    if volumes is None:
        return batches
    return clips.volumes(batches, (SIZE, SIZE), COCO.edges if volumes == "limbs" else None)


def rate(batches):
    """Clips a second, and milliseconds of all cores together a clip, once the first batches are made."""
    iterator = iter(batches)
    for _ in itertools.islice(iterator, 4):
        pass
    count, start, processor_start = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < FLAGS.seconds:
        next(iterator)
        count += FLAGS.batch
    milliseconds = 1e3 * (time.process_time() - processor_start) / count
    return count / (time.perf_counter() - start), milliseconds


def appetite(name):
    """Clips a second that training steps of a network consume."""
    network = build(name, plain=False)
    volumes = tf.random.stateless_uniform((FLAGS.batch, *network.input_shape[1:]), (0, 0))
    return FLAGS.batch / seconds([step_of(network)], volumes, FLAGS.repeats)[0]


def main(_):
    keras.config.set_dtype_policy(FLAGS.precision)
    print(f"clips of {FRAMES} frames, {SIZE} x {SIZE}, in batches of {FLAGS.batch}, on {os.cpu_count()} cores")
    appetites = {}
    for name in FLAGS.network:
        appetites[name] = appetite(name)
        print(f"{name} consumes {appetites[name]:.1f} clips a second in training, {FLAGS.precision}", flush=True)
    feeds = "".join(f"{'feeds ' + name:>19}" for name in appetites)
    print(f"\n{'people':6} {'made':14} {'clips/s':>9} {'core ms/clip':>13} {'times NumPy':>12}{feeds}")
    for people in map(int, FLAGS.people):
        data = sequences(people)
        looped = {made: rate(numpy_batches(*data, made == "joint volumes")) for made in ("clips", "joint volumes")}
        for made, volumes in (("clips", None), ("joint volumes", "joints"), ("limb volumes", "limbs")):
            per_second, milliseconds = rate(pipeline(*data, volumes))
            ratio = f"{per_second / looped[made][0]:11.1f}x" if made in looped else f"{'-':>12}"
            fed = "".join(f"{per_second / consumed:18.1f}x" for consumed in appetites.values())
            print(f"{people:6} {made:14} {per_second:9.0f} {milliseconds:13.2f} {ratio}{fed}", flush=True)
        for made, (per_second, milliseconds) in looped.items():
            print(f"{people:6} {made + ', NumPy':21}{per_second:3.0f} {milliseconds:13.2f}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_multi_enum("network", list(NETWORKS), list(NETWORKS), "Networks whose appetite is measured.")
    flags.DEFINE_multi_enum("people", ["1", "2"], ["1", "2"], "People a sequence.")
    flags.DEFINE_enum("precision", "mixed_bfloat16", ["mixed_bfloat16", "float32"], "Of the networks.")
    flags.DEFINE_integer("batch", 16, "Clips a batch.", lower_bound=1, upper_bound=SEQUENCES)
    flags.DEFINE_integer("repeats", 2, "Counted training steps of each network; the fastest counts.", lower_bound=1)
    flags.DEFINE_float("seconds", 5.0, "How long each pipeline runs.", lower_bound=0.1)
    app.run(main)
