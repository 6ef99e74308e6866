"""A stream that goes on and on: what a frame costs early and late, and what memory is held.

    python benchmarks/streams.py [--frames=108000]

108,000 frames are an hour of 30 a second. Up to four people stay for some seconds and go, trembling by a pixel, and
somebody new comes about every second. They are found by a function that knows where they are, so that what is measured
is all but the pose network: identities and smoothing, a causal lifter of 27 frames as a stream, and a recognizer
(C3D-tiny of 16 x 28 x 28 on windows of 48 frames, a step of 12, mirrored too, each person alone). Nothing is drawn.

The opponent is the plain loop that keeps all: in every frame it hands the whole track of each person there to the
same lifter, and at each step of the windows to the same recognizer. It is run over 1,000 frames, in the same process.

Predicted: a frame costs the same at frame 100, 10,000 and 100,000, to a tenth; memory grows by less than 20 MB in an
hour; the plain loop costs at frame 1,000 ten times what ours does. Got on two cores, in 12.5 minutes for the hour, with
2,735 identities in it:

    about frame          200    1,000   10,000   50,000   100,000
    ours, ms a frame    7.42     6.88     7.58     6.67      6.23
    plain loop, ms      55.2     58.7 (about frame 880)
    plain / ours         7.4      8.5

    memory, MB: 884 at first, 913 after 10,000 frames, 914 at last

A frame late is no dearer than one early, and what memory grows by, it does within the first 10,000 frames. The plain
loop does not grow either from frame 200 on, since nobody here stays longer than six seconds.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import itertools
import time

import keras
import numpy as np
import psutil
from absl import app, flags

import kerapose
from kerapose import estimators, models, predictors, skeletons

FLAGS = flags.FLAGS
SKELETON = skeletons.H36M
FPS = 30
PLACES = 4
ROUND = 10  # frames over which a cost is taken: the median of many rounds
PLAIN_FRAMES = 1000


class Crowd:
    """Finds who is there by knowing it: each place is empty for a while, then somebody new walks there."""

    skeleton = SKELETON

    def __init__(self):
        self.frame = 0
        self.random = np.random.default_rng(0)
        self.shape = self.random.uniform(-40, 40, (SKELETON.num_keypoints, 2))

    def __call__(self, image):
        frame, self.frame = self.frame, self.frame + 1
        poses = []
        for place in range(PLACES):
            cycle = 120 + 30 * place  # frames; nobody in the last 40 of them, which is longer than identities last
            if frame % cycle < cycle - 40:
                swing = 10 * np.sin(0.2 * frame + np.arange(SKELETON.num_keypoints))[:, None]
                points = self.shape + swing + (100 + 150 * place, 150) + self.random.normal(size=self.shape.shape)
                box = np.concatenate([points.min(axis=0), points.max(axis=0)])
                scores = np.full(len(points), 0.9, "float32")
                poses.append(predictors.Pose(points.astype("float32"), scores, SKELETON.keypoints, box))
        return poses


def parts():
    """A lifter and a recognizer."""
    keras.utils.set_random_seed(0)
    network = models.TemporalLifter(filter_widths=(3, 3, 3), channels=256, causal=True)
    lifter = predictors.Lifter(network, SKELETON, pose_skeleton=SKELETON, flip_test=False)
    network = models.C3D.from_variant("c3d_tiny", 10, input_shape=(16, 28, 28, SKELETON.num_keypoints))
    names = [f"action_{number}" for number in range(10)]
    return lifter, predictors.SkeletonAction(estimators.ActionRecognizer(network, SKELETON, names, size=28))


def of_ours(lifter, action, count):
    """Milliseconds of each frame, and megabytes that are held every 1,000 frames."""
    pipeline = kerapose.Pipeline(Crowd(), lifter, action, window=48, step=12)
    picture = np.zeros((480, 640, 3), "uint8")
    costs, held = np.zeros(count), []
    process, start, identities = psutil.Process(), time.perf_counter(), 0
    for moment in pipeline.stream(itertools.repeat(picture, count), fps=FPS):
        end = time.perf_counter()
        costs[moment.frame], start = 1e3 * (end - start), end
        identities = max(identities, *moment.ids.tolist(), 0)
        if moment.frame % 1000 == 0:
            held.append(process.memory_info().rss / 2**20)
            start = time.perf_counter()
    return costs, np.array(held), identities + 1


def of_plain_loop(lifter, action, count):
    """Milliseconds of each frame where all of a track is handed over again."""
    find, costs, tracks = Crowd(), np.zeros(count), {}
    track = kerapose.tracking.Tracker(SKELETON, FPS)
    one = predictors.SkeletonAction(action.estimator, num_clips=1)
    for frame in range(count):
        start = time.perf_counter()
        poses = find(None)
        keypoints, scores = (np.stack([getattr(pose, name) for pose in poses]) for name in ("keypoints", "scores"))
        ids, keypoints = track(keypoints, scores)
        for identity, points in zip(ids.tolist(), keypoints, strict=True):
            tracks.setdefault(identity, []).append(points)
        for identity in ids.tolist():
            whole = np.stack(tracks[identity])
            lifter(whole, (480, 640))
            if frame >= 47 and (frame - 47) % 12 == 0:
                one.probabilities(whole, frame_size=(480, 640))
        costs[frame] = 1e3 * (time.perf_counter() - start)
    return costs


def cost_about(costs, frame, reach=240):
    """The mean cost of the frames about one, all kinds of frames alike: windows end with every twelfth."""
    return float(costs[max(frame - reach // 2, 48) : frame + reach // 2].mean())


def main(_):
    lifter, action = parts()
    of_ours(lifter, action, 300)  # what has to be compiled is compiled here
    costs, held, identities = of_ours(lifter, action, FLAGS.frames)
    print(f"{FLAGS.frames} frames in {costs.sum() / 6e4:.1f} minutes, {identities} identities")
    for frame in (200, 1000, 10_000, 50_000, 100_000):
        if frame < FLAGS.frames:
            print(f"ours, about frame {frame:>7}: {cost_about(costs, frame):6.2f} ms a frame")
    print(f"memory: {held[0]:.0f} MB at first, {held[min(10, len(held) - 1)]:.0f} after 10,000, {held[-1]:.0f} at last")
    plain = of_plain_loop(lifter, action, PLAIN_FRAMES)
    for frame in (200, PLAIN_FRAMES - 120):
        ratio = cost_about(plain, frame) / cost_about(costs, frame)
        print(f"plain loop, about frame {frame:>5}: {cost_about(plain, frame):6.2f} ms, {ratio:.1f} times ours")


if __name__ == "__main__":
    flags.DEFINE_integer("frames", 108_000, "how many frames of the stream")
    app.run(main)
