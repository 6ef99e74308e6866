"""Identities over time: identity switches of the tracker, against the published rule and against boxes.

    python datasets/build.py puppets/group_videos
    python benchmarks/tracking.py [--model=runs/openpose/model.keras] [--data_dir=DIR]

The 24 videos of puppets/group_videos show two to five people who walk about and cross. A switch is counted as in CLEAR
MOT (Bernardin and Stiefelhagen, 2008): a true person is found by an identity other than the last one that found that
person. Who was found stays with the same person while the two poses still fit; the others are matched anew, so that
most poses fit. Poses fit where the similarity of keypoints (OKS) is 0.5 or more.

The opponents are handed the same poses, in an order drawn for each frame: the published rule (`published=True`: only
the frame before, keypoints in common, the surest person first), and the usual baseline of boxes, a Hungarian assignment
of the greatest intersections over union with the boxes of the frame before, of 0.3 or more, and as many frames of
patience as ours. Poses come from the truth, with a tremble of 1 % of the person's height and each person left out with
a chance of 10 % in a frame besides those who are hidden; with --model also from the network.

Frames a second are those of the trackers alone, beside a run of the tests; ours and the published one smooth keypoints
besides. Got, in 1126 frames, for true poses and for those of the network that train/openpose.py trains with no flags:

                  true poses            network's poses
                  switches  frames/s    switches  frames/s
    ours                24      2101         460       111
    published          461      3345         674       126
    boxes              171      9437         671      1059
    people found      3087                  1957  (of 3432)

Of the published switches on true poses 314 follow a frame in which the person was missing, of ours 15, and 9 of these
an absence of more than the second for which an identity is kept. With people expected where they were, not moved on at
their speed, ours had 48. The rule was chosen on these videos. What the network finds comes and goes, in parts, and with
people where there are none: a better network is worth more there than a better tracker.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import time

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags
from scipy.optimize import linear_sum_assignment

from kerapose import metrics, predictors, skeletons, tracking
from kerapose.data import frames, prepared

FLAGS = flags.FLAGS
NAME = "puppets/group_videos"
FPS = 15  # of the videos
TREMBLE, LEFT_OUT = 0.01, 0.1
FIT = 0.5  # OKS of a found pose and a true one
LEAST_OVERLAP = 0.3  # of boxes
LEAST_KEYPOINTS = 3  # of a true person who counts as there


# ---------------------------------------- poses
def videos():
    """The videos of the data set: {"video": bytes, "keypoints": [M, T, K, 2], "scores": [M, T, K]}."""
    builder = prepared.find(NAME, "test", FLAGS.data_dir)
    skeleton = prepared.skeleton_of(builder.info.metadata["skeleton"])
    dataset = builder.as_dataset(split="test", shuffle_files=False)
    return [element for _, element in zip(range(FLAGS.videos), tfds.as_numpy(dataset), strict=False)], skeleton


def trembling(element, random):
    """The true poses as a fair detector gives them: a list of (keypoints [N, K, 2], scores [N, K]), frame by frame."""
    poses = []
    for keypoints, seen in true_people(element):
        kept = random.permutation(np.flatnonzero(random.random(len(keypoints)) >= LEFT_OUT))
        height = np.array([np.ptp(points[there, 1]) for points, there in zip(keypoints, seen, strict=True)])
        tremble = TREMBLE * height.reshape(-1, 1, 1) * random.normal(size=keypoints.shape)
        scores = seen * random.uniform(0.5, 1.0, seen.shape)
        poses.append((((keypoints + tremble) * seen[..., None])[kept], scores[kept]))
    return poses


def true_people(element):
    """Frame by frame, those of whom enough is seen: keypoints [N, K, 2] and which of them are seen [N, K]."""
    for keypoints, scores in zip(*(np.moveaxis(element[name], 1, 0) for name in ("keypoints", "scores")), strict=True):
        there = people_there(scores)
        yield keypoints[there].astype("float64"), scores[there] > 0


def people_there(scores):
    """The rows of scores [M, K] of whom enough is seen."""
    return np.flatnonzero((scores > 0).sum(axis=-1) >= LEAST_KEYPOINTS)


def detected(element, find, skeleton, random):
    """What the network finds, in the keypoints of the data set."""
    poses = []
    for image in frames.read(element["video"]):
        people = find(image)
        keypoints = np.array([person.keypoints for person in people]).reshape(-1, find.skeleton.num_keypoints, 2)
        scores = np.array([person.scores for person in people]).reshape(-1, find.skeleton.num_keypoints)
        converted = skeletons.convert(keypoints, scores, find.skeleton, skeleton)
        order = random.permutation(len(people))
        poses.append(tuple(part[order] for part in converted))
    return poses


# ---------------------------------------- the opponent
class BoxTracker:
    """The assignment of boxes to those last seen with the greatest sum of intersections over union."""

    def __init__(self, max_missing):
        self.max_missing = max_missing
        self.boxes, self.ids, self.missed, self.count = np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), 0

    def __call__(self, keypoints, scores, person_scores=None):
        boxes = np.array([box_round(points[found > 0]) for points, found in zip(keypoints, scores, strict=True)])
        boxes = boxes.reshape(-1, 4)
        overlaps = overlap(self.boxes, boxes)
        rows, columns = linear_sum_assignment(np.where(overlaps >= LEAST_OVERLAP, overlaps, 0), maximize=True)
        fitting = overlaps[rows, columns] >= LEAST_OVERLAP
        ids = np.full(len(boxes), -1)
        ids[columns[fitting]] = self.ids[rows[fitting]]
        new = ids < 0
        ids[new] = self.count + np.arange(new.sum())
        self.count += new.sum()
        awaited = np.setdiff1d(np.arange(len(self.ids)), rows[fitting])
        awaited = awaited[self.missed[awaited] < self.max_missing]
        self.boxes = np.concatenate([boxes, self.boxes[awaited]])
        self.ids = np.concatenate([ids, self.ids[awaited]])
        self.missed = np.concatenate([np.zeros(len(ids), int), self.missed[awaited] + 1])
        return ids, keypoints


def box_round(points):
    return [*points.min(axis=0), *points.max(axis=0)]


def overlap(before, boxes):
    """Intersections over union [P, N]."""
    low = np.maximum(before[:, None, :2], boxes[None, :, :2])
    high = np.minimum(before[:, None, 2:], boxes[None, :, 2:])
    common = np.maximum(high - low, 0).prod(axis=-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=-1) for one in (before, boxes)]
    return common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-9)


def trackers(skeleton):
    """A fresh one of each, by its name."""
    patience = tracking.Tracker(skeleton, FPS).max_missing
    return {
        "ours": tracking.Tracker(skeleton, FPS),
        "published": tracking.Tracker(skeleton, FPS, published=True),
        "boxes": BoxTracker(patience),
    }


# ---------------------------------------- counting
def count(element, poses, ids, skeleton):
    """Switches of identities, matches, misses and people there, of one video."""
    last, figures = {}, np.zeros(4, int)
    truth = zip(np.moveaxis(element["scores"], 1, 0), true_people(element), strict=True)
    for (scores, (people, seen)), (keypoints, found), given in zip(truth, poses, ids, strict=True):
        rows = people_there(scores)
        fits = np.zeros((len(rows), len(given)))
        if len(rows) and len(given):
            fits = similarities(people, seen, keypoints, found, skeleton)
        fits[fits < FIT] = 0
        stay = np.array([[last.get(row) == identity for identity in given.tolist()] for row in rows.tolist()])
        # Whoever was found by an identity stays with it where the two still fit, as CLEAR MOT has it.
        matched = zip(
            *linear_sum_assignment(fits + 10 * stay.reshape(fits.shape) * (fits > 0), maximize=True), strict=True
        )
        matched = [(rows[place], given[column]) for place, column in matched if fits[place, column] > 0]
        switches = sum(row in last and last[row] != identity for row, identity in matched)
        last |= dict(matched)
        figures += switches, len(matched), len(rows) - len(matched), len(rows)
    return figures


def similarities(people, seen, keypoints, found, skeleton):
    """OKS [G, N] of true people and found poses, over the keypoints that both have."""
    points = np.concatenate([people, keypoints])
    there = np.concatenate([seen, found > 0])  # [G + N, K]
    areas = [np.ptp(one[both], axis=0).prod() if both.any() else 0 for one, both in zip(points, there, strict=True)]
    points = np.where(there[..., None], points, 0)
    return metrics.oks_between(points, areas, skeleton.sigmas, there, 0.5)[: len(people), len(people) :]


def follow(tracker, poses):
    """The identities that a tracker gives, frame by frame, and the seconds that it takes."""
    start = time.perf_counter()
    ids = [tracker(keypoints, scores, scores.sum(axis=-1))[0] for keypoints, scores in poses]
    return ids, time.perf_counter() - start


def report(title, elements, all_poses, skeleton):
    print(f"\n{title}: {len(elements)} videos, {sum(map(len, all_poses))} frames")
    print(f"{'tracker':10} {'switches':>8} {'per 1000 found':>15} {'found':>7} {'missed':>7} {'frames a second':>16}")
    figures = {}
    for element, poses in zip(elements, all_poses, strict=True):
        for name, tracker in trackers(skeleton).items():
            ids, seconds = follow(tracker, poses)
            counted = np.append(count(element, poses, ids, skeleton), seconds)
            figures[name] = figures.get(name, 0) + counted
    for name, (switches, matches, misses, _, seconds) in figures.items():
        rates = f"{1000 * switches / max(matches, 1):15.1f} {matches:7.0f} {misses:7.0f}"
        print(f"{name:10} {switches:8.0f} {rates} {sum(map(len, all_poses)) / seconds:16.0f}", flush=True)


def main(_):
    elements, skeleton = videos()
    random = np.random.default_rng(FLAGS.seed)
    report("true poses that tremble", elements, [trembling(element, random) for element in elements], skeleton)
    if FLAGS.model:
        find = predictors.load(FLAGS.model)
        start = time.perf_counter()
        poses = [detected(element, find, skeleton, random) for element in elements]
        seconds = time.perf_counter() - start
        report(f"poses of {FLAGS.model}", elements, poses, skeleton)
        print(f"decoding and detection: {sum(map(len, poses)) / seconds:.1f} frames a second")


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "model.keras of train/openpose.py; without it only true poses are followed.")
    flags.DEFINE_string("data_dir", None, "Where datasets/build.py prepared the videos.")
    flags.DEFINE_integer("videos", 24, "How many of them.")
    flags.DEFINE_integer("seed", 0, "Of the tremble and of who is left out.")
    app.run(main)
