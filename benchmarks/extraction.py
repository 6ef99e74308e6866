"""`kerapose extract`: frames a second with actors of Ray Data, against a plain loop over the same videos.

    python benchmarks/extraction.py [--model=runs/topdown/model.keras] [--num_videos=16] [--workers=1,2]

Videos of 48 frames of 640 x 480 pixels, each picture taken for one person: SimpleBaseline of 50 layers with its flip
test, so that nearly all of the time is the network's. All runs are in one process, one after the other, and have to
find the same keypoints. Frames a second are those behind the first video of each process, whose time is told besides:
Ray and TensorFlow start, and the network is made, once for each actor.

Predicted for two cores, which the network of the plain loop uses both: 0.95 times with one actor, since answers go
through Ray's store, and 1.3 times with two of one thread each, since one decodes and tracks while the other computes.

Got on two cores that did nothing else, with 8 videos:

    plain loop      6.8 frames/s                  the first video after    8 s
    1 actor         7.3 frames/s, 1.06 times                             27 s
    2 actors       10.5 frames/s, 1.54 times                             38 s

Keypoints were equal to the last digit. One actor is no slower than the loop, since answers are written meanwhile. With
ten times as many wanting the same cores, it was 0.90 and 1.44 times; with the network of Lightweight OpenPose instead,
untrained, which spends more on grouping, 1.22 and 1.18. What actors are for, a GPU each or a share of one, was not
measured: there was none.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import functools
import json
import pathlib
import tempfile
import time

import cv2
import numpy as np
from absl import app, flags

from kerapose import estimators, models, skeletons
from kerapose.data import frames, predictions
from kerapose.pipeline import Pipeline, extraction, on_ray

FLAGS = flags.FLAGS
SIZE = (480, 640)
FRAMES = 48  # of a video


def make_videos(folder, count):
    """Writes videos of a texture that drifts; gives what `extraction` is to work on."""
    random, given = np.random.default_rng(0), []
    for number in range(count):
        coarse = random.integers(0, 255, (SIZE[0] // 16 + FRAMES, SIZE[1] // 16, 3)).astype("uint8")
        large = cv2.resize(coarse, (SIZE[1], 16 * len(coarse)), interpolation=cv2.INTER_CUBIC)
        path = folder / f"{number}.mp4"
        path.write_bytes(frames.encode(np.stack([large[4 * t : 4 * t + SIZE[0]] for t in range(FRAMES)]), fps=25))
        given.append({"name": str(number), "path": str(path)})
    return given


def save_model(path):
    """An estimator of the published size, untrained: each picture is one person."""
    network = models.SimpleBaseline(skeletons.COCO.num_keypoints, depth=50)
    estimators.PoseEstimator(network, skeletons.COCO).save(path)


def run(answers, skipped):
    """Frames a second of answers but for the first of each process, and the seconds until these were there."""
    begin, times, texts = time.perf_counter(), [], {}
    for answer in answers:
        if answer["error"]:
            raise ValueError(f"{answer['name']}: {answer['error']}")
        times.append(time.perf_counter())
        texts[answer["name"]] = answer["text"]
    return FRAMES * (len(times) - skipped) / (times[-1] - times[skipped - 1]), times[skipped - 1] - begin, texts


def compare(model, num_videos, workers):
    """Prints a line for the plain loop, and one for each number of actors."""
    with tempfile.TemporaryDirectory() as folder:
        given = make_videos(pathlib.Path(folder), num_videos)
        if model is None:
            save_model(model := f"{folder}/model.keras")
        make = functools.partial(Pipeline, model)
        plain, start, expected = run(map(extraction.Extractor(make, {}), given), 1)
        print(f"plain loop    {plain:7.2f} frames/s, the first video after {start:5.1f} s")
        for count in workers:
            answers = on_ray.answers(given, extraction.Extractor, (make, {}), on_ray.Engine(count))
            rate, start, texts = run(answers, count)
            print(f"{count} actors      {rate:7.2f} frames/s, {rate / plain:.2f} times, the first after {start:5.1f} s")
            print(f"  keypoints differ by {difference(texts, expected):.2g} px at most")


def difference(texts, expected):
    """The largest between keypoints of two runs, which find the same people."""
    largest = 0.0
    for name, text in expected.items():
        for one, other in zip(_moments(text), _moments(texts[name]), strict=True):
            if one.keypoints.shape != other.keypoints.shape:
                return np.inf
            largest = max(largest, np.abs(one.keypoints - other.keypoints).max(initial=0))
    return largest


def _moments(text):
    return predictions.from_json(json.loads(text)).moments


def main(_):
    compare(FLAGS.model, FLAGS.num_videos, [int(count) for count in FLAGS.workers])


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "model.keras of a training; None: an untrained network of the published size.")
    flags.DEFINE_integer("num_videos", 16, "Videos of 48 frames.", lower_bound=4)
    flags.DEFINE_list("workers", ["1", "2"], "Numbers of actors.")
    app.run(main)
