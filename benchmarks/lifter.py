"""The temporal lifter: a stream against windows, whole tracks against windows, two ways to train, and the pipeline.

    python benchmarks/lifter.py [--part=stream] [--part=tracks] [--part=training] [--part=pipeline]

stream    A pose for every new frame of a causal lifter of 243 frames and 1024 channels: one step of `StreamingLifter`
          against the window of the last 243 frames, recomputed for each frame, in the dilated form (what the published
          evaluation runs) and in the strided one. For one person and for several at once; checked to agree.
tracks    Poses of all frames of a track of 2,000: the dilated form over the whole track against the strided form window
          by window, 64 windows at a time.
training  Steps a second on single frames: the strided form against the dilated one, the same windows and weights.
pipeline  Windows a second of `data.tracks.training` against a Python generator with NumPy that does the same as the
          published one: permute the chunks, cut each window out with its edges repeated, mirror half of them.

Predicted: the stream 50 times faster than the dilated window, whole tracks 20 times faster than windows of 243 frames,
the strided form trained 10 times faster, the pipeline 5 times faster. Got, one run on 2 virtual cores (people of the
stream one at a time, 16, 64):

    stream, 243 frames     6.7, 12, 27 ms a frame    dilated 5.3, 35, 60 times    strided 1.7, 3.2, 4.3 times
    whole tracks           243 frames: 5,400 frames a second, 11 times; 27 frames: 11,600, 3.1 times
    training               243 frames: 12 (float32) and 11 (bfloat16) times; 27 frames: 4.2 and 4.5 times
    pipeline               windows of 27: 290,000 a second, 4.2 times; of 243: 95,000, 5.5 times

A step of the stream is 17 million products for a person, the dilated window 150 times as many. But for one person it
must read all 68 MB of weights: its matrix products alone, without any buffer, took 6.8 ms in the same minutes and 4.1
in better ones, so that only several people at once show what is saved. The strided window is cheaper than thought: it
computes nothing that the last frame does not need, ten times what the stream does, from the same weights.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import itertools
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose import estimators, losses, models
from kerapose.data import tracks
from kerapose.skeletons import H36M

FLAGS = flags.FLAGS
PARTS = ("stream", "tracks", "training", "pipeline")
FRAMES = 243
TRACK_LENGTH = 2000


def network(variant="243_frames", **options):
    keras.utils.set_random_seed(0)
    return models.TemporalLifter.from_variant(variant, num_joints=17, **options)


def seconds(calls):
    """Least seconds of one call of each function, called in turn."""
    for call in calls:
        call()
    best = [np.inf] * len(calls)
    for _ in range(FLAGS.repeats):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def compiled(function):
    """A function as a graph; what it gives has been computed when it returns."""
    graph = tf.function(function)
    return lambda *arguments: tf.nest.map_structure(lambda x: x.numpy(), graph(*arguments))


# ---------------------------------------- stream
def stream():
    lifter = network(causal=True)
    streaming = estimators.StreamingLifter(lifter, H36M)
    whole, single = (compiled(form) for form in (lifter, lifter.as_form(strided=True)))
    graph = tf.function(streaming.step)

    def step(keypoints, state):
        poses, _ = graph(keypoints, state)  # the state stays where it is
        return poses.numpy()

    print(f"{'people':>6} {'stream ms':>10} {'dilated window':>20} {'strided window':>20}")
    for people in (1, 4, 16, 64):
        windows = np.random.default_rng(0).uniform(-1, 1, (people, FRAMES, 17, 2)).astype("float32")
        state = streaming.initial_state(people)
        for frame in range(FRAMES - 1):
            _, state = graph(windows[:, frame], state)
        poses = step(windows[:, -1], state)
        np.testing.assert_allclose(poses, whole(windows)[:, 0], atol=1e-5)
        np.testing.assert_allclose(poses, single(windows)[:, 0], atol=1e-5)
        calls = [lambda s=state, w=windows: step(w[:, -1], s), lambda w=windows: whole(w), lambda w=windows: single(w)]
        ours, *theirs = seconds(calls)
        told = "".join(f"{1e3 * other:11.1f} {other / ours:7.1f}x" for other in theirs)
        print(f"{people:6} {1e3 * ours:10.2f} {told}", flush=True)


# ---------------------------------------- whole tracks
def whole_tracks():
    for variant in ("27_frames", "243_frames"):
        lifter = network(variant)
        track = np.random.default_rng(0).uniform(-1, 1, (1, TRACK_LENGTH, 17, 2)).astype("float32")
        padded = np.pad(track[0], ((lifter.pad, lifter.pad), (0, 0), (0, 0)), mode="edge")
        windows = np.stack([padded[i : i + lifter.receptive_field] for i in range(TRACK_LENGTH)])
        whole, single = compiled(lifter), compiled(lifter.as_form(strided=True))

        def by_windows(single=single, windows=windows):
            return np.concatenate([single(windows[i : i + 64])[:, 0] for i in range(0, TRACK_LENGTH, 64)])

        np.testing.assert_allclose(whole(padded[None])[0], by_windows(), atol=1e-4)
        ours, other = seconds([lambda whole=whole, padded=padded: whole(padded[None]), by_windows])
        rates = TRACK_LENGTH / ours, TRACK_LENGTH / other
        print(
            f"{variant}: whole track {rates[0]:.0f} frames/s, windows {rates[1]:.0f}, {other / ours:.1f}x", flush=True
        )


# ---------------------------------------- training
def training():
    for variant, batch in (("27_frames", 256), ("243_frames", 32)):
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            dilated = network(variant)
            random = np.random.default_rng(0)
            x = random.uniform(-1, 1, (batch, dilated.receptive_field, 17, 2)).astype("float32")
            y = random.normal(0, 0.4, (batch, 1, 17, 3)).astype("float32")
            times = seconds([trainer(form, x, y) for form in (dilated.as_form(strided=True), dilated)])
            told = f"strided {1 / times[0]:.2f} steps/s, dilated {1 / times[1]:.2f}, {times[1] / times[0]:.1f}x"
            print(f"{variant}, batches of {batch}, {policy}: {told}", flush=True)
    keras.config.set_dtype_policy("float32")


def trainer(form, x, y):
    form.compile(keras.optimizers.Adam(1e-3, amsgrad=True), losses.MPJPE())
    return lambda: form.train_on_batch(x, y)


# ---------------------------------------- pipeline
def pipeline():
    random = np.random.default_rng(0)
    lengths = random.integers(1000, 2000, 40)
    keypoints = [random.uniform(0, 1000, (n, 17, 2)).astype("float32") for n in lengths]
    poses = [random.normal(0, 0.4, (n, 17, 3)).astype("float32") + np.float32([0, 0, 5]) for n in lengths]
    known = tracks.from_arrays(keypoints, (1000, 1000), poses_camera_m=poses)
    screens = np.split(known.keypoints_screen, np.cumsum(lengths)[:-1])
    for frames in (27, 243):
        ours = rate(tracks.training(known, frames, FLAGS.batch))
        other = rate(published_batches(screens, poses, frames // 2))
        told = f"pipeline {ours[0]:.0f} windows/s ({ours[1]:.1f} us of a core each), generator {other[0]:.0f}"
        print(f"windows of {frames}: {told} ({other[1]:.1f} us), {ours[0] / other[0]:.1f}x", flush=True)


def published_batches(screens, poses, pad):
    """One window after the other into the arrays of a batch, as the published generator does it."""
    random = np.random.default_rng(0)
    order, size = H36M.flip_permutation, FLAGS.batch
    table = [(i, t, flip) for i, track in enumerate(screens) for flip in (False, True) for t in range(len(track))]
    x, y = np.empty((size, 2 * pad + 1, 17, 2)), np.empty((size, 1, 17, 3))
    while True:
        shuffled = random.permutation(np.array(table))
        for begin in range(0, len(shuffled) - size, size):
            for row, (i, t, flip) in enumerate(shuffled[begin : begin + size]):
                track, low, high = screens[i], max(t - pad, 0), min(t + pad + 1, len(screens[i]))
                left, right = low - (t - pad), t + pad + 1 - high
                window = track[low:high]
                x[row] = np.pad(window, ((left, right), (0, 0), (0, 0)), "edge") if left or right else window
                y[row] = poses[i][t : t + 1]
                if flip:
                    x[row, :, :, 0] *= -1
                    x[row] = x[row][:, order]
                    y[row, :, :, 0] *= -1
                    y[row] = y[row][:, order]
            yield x.astype("float32"), (y - y[:, :, :1]).astype("float32")


def rate(batches):
    """Windows a second, and microseconds of all cores together a window, once the first batches are made."""
    iterator = iter(batches)
    for _ in itertools.islice(iterator, 3):
        pass
    count, start, processor_start = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < FLAGS.seconds:
        count += len(next(iterator)[0])
    elapsed, busy = time.perf_counter() - start, time.process_time() - processor_start
    return count / elapsed, 1e6 * busy / count


def main(_):
    print(f"on {os.cpu_count()} cores")
    for part, run in zip(PARTS, (stream, whole_tracks, training, pipeline), strict=True):
        if part in FLAGS.part:
            print(f"\n{part}", flush=True)
            run()


if __name__ == "__main__":
    flags.DEFINE_multi_enum("part", list(PARTS), list(PARTS), "What is measured.")
    flags.DEFINE_integer("batch", 1024, "Windows a batch of the pipeline.", lower_bound=1)
    flags.DEFINE_integer("repeats", 5, "Counted calls; the fastest counts.", lower_bound=1)
    flags.DEFINE_float("seconds", 5.0, "How long each pipeline runs.", lower_bound=0.1)
    app.run(main)
