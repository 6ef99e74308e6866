"""The pipeline of videos: clips a second with frames decoded where sampled, against decoding everything.

    python benchmarks/videos.py [--kind=h264_12] [--batch=4] [--seconds=10]

`data.videos.training` makes clips of 8 pictures of 224 x 224 and of 32 poses out of videos of 150 frames of 640 x 360
pixels. The opponent is the same pipeline with `data.frames.read` in the plain way: it decodes the whole video, converts
every frame to RGB, and picks. Both run on the same files in the same process, one after the other; for the share of the
rest, the cutting out, resizing and normalizing, there is a third with frames that are not decoded at all.

Videos differ in how far apart frames lie that are decoded without others:

    h264_12     every 12 frames, as `data.frames.encode` writes them
    h264_250    every 250, the default of x264 and so of most files: here only the first one
    mjpeg       every frame, as `data.frames.wrap_jpegs` has a folder of pictures

Predicted, from how many of the 150 frames are decoded (a sampled frame takes the half of a group before it) and how
many are converted (8): 3 times as many clips for h264_12, 1.3 times for h264_250, where only frames that no other
refers to can be left out, and 10 times for mjpeg, where the rest of the work becomes the larger part.

Got on two cores (AMD EPYC), 4 seconds each: 2.7 times (25 clips a second), 2.6 times (35) and 3.5 times (24). Why
h264_250 gains so much and mjpeg so little was not looked into: in the one the conversion to RGB of frames that nobody
asked for seems to cost more than their decoding, in the other pictures of 67 kB take their time even if they are eight.

A second opponent is `jpegs`: the same frames as JPEGs of their own, of quality 95, which TensorFlow decodes. Predicted:
as many clips as for mjpeg and 1.2 times as many as for h264_12, as eight pictures are decoded in place of some fifty.
Got on two cores, which other programs were using too, 5 seconds each: 1.5 times as many as for mjpeg (14.4 clips a
second against 9.4), 2.0 times as many as for h264_12 (11.8 against 5.8) and 2.1 times as many as for h264_250; a core
works 33 ms on a clip in place of 55 to 74. Why TensorFlow's decoder is ahead of PyAV's of the same MJPEG pictures was
not looked into. JPEGs take 10 MB a video, as MJPEG does, and H.264 0.1 to 0.5.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

from unittest import mock

import cv2
import numpy as np
import tensorflow as tf
from absl import app, flags
from pipeline import rate

from kerapose.data import frames, videos
from kerapose.skeletons import COCO

FLAGS = flags.FLAGS
VIDEOS, LENGTH, HEIGHT, WIDTH = 4, 150, 360, 640
RGB_SHAPE, POSE_SHAPE = (8, 224, 224, 3), (32, 56, 56, 17)
KINDS = ("h264_12", "h264_250", "mjpeg")


def film(random):
    """A person-sized patch that drifts over a backdrop, both with detail, under the noise of a sensor: [T, H, W, 3]."""
    backdrop = cv2.resize(random.integers(0, 256, (23, 40, 3), np.uint8), (WIDTH, HEIGHT))
    person = cv2.resize(random.integers(0, 256, (24, 10, 3), np.uint8), (100, 240))
    grain = random.integers(-2, 3, (8, HEIGHT, WIDTH, 3)).astype("int16")
    for t in range(LENGTH):
        frame = backdrop.astype("int16")
        left = 80 + 2 * t
        frame[60:300, left : left + 100] = person
        yield np.clip(frame + grain[t % 8], 0, 255).astype("uint8")


def encoded(kind, random):
    """The content of a video file."""
    if kind == "mjpeg":
        return frames.wrap_jpegs([cv2.imencode(".jpg", frame)[1].tobytes() for frame in film(random)], 30)
    return frames.encode(film(random), 30, key_frame_every=int(kind.split("_")[1]))


def dataset(kind):
    """Videos with the keypoints of somebody who is where the patch is."""
    random = np.random.default_rng(0)
    body = random.uniform((80, 60), (180, 300), (VIDEOS, 1, 1, 17, 2))
    keypoints = body + np.stack([2.0 * np.arange(LENGTH), np.zeros(LENGTH)], axis=-1)[:, None]  # [N, 1, T, 17, 2]
    contents = [encoded(kind, random) for _ in range(VIDEOS)]
    print(f"{kind}: {np.mean([len(content) for content in contents]) / 1e3:.0f} kB a video", flush=True)
    return videos.from_arrays(contents, list(keypoints), [0] * VIDEOS, COCO)


def as_jpegs(elements):
    """The same clips, each frame a JPEG."""
    clips = list(elements.as_numpy_iterator())
    fields = {key: np.stack([clip[key] for clip in clips]) for key in clips[0] if key != "video"}
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95)
    jpegs = [
        [cv2.imencode(".jpg", frame[..., ::-1], quality)[1].tobytes() for frame in frames.read(clip["video"])]
        for clip in clips
    ]
    print(f"jpegs: {np.mean([sum(map(len, video)) for video in jpegs]) / 1e3:.0f} kB a video", flush=True)
    return tf.data.Dataset.from_tensor_slices(fields | {"jpegs": np.array(jpegs, object)})


# ---------------------------------------- the opponents
READ = frames.read


def read_everything(content, indices, *_, **__):
    """The plain way: all frames, then those that are wanted."""
    return READ(content)[indices]


def read_nothing(content, indices, *_, **__):
    """Frames that cost nothing, to see what the rest costs."""
    return np.zeros((len(indices), HEIGHT, WIDTH, 3), np.uint8)


def main(_):
    print(f"clips of {RGB_SHAPE} and {POSE_SHAPE} from videos of {LENGTH} frames of {WIDTH} x {HEIGHT}", end="")
    print(f", in batches of {FLAGS.batch}, on {os.cpu_count()} cores")
    ways = {"where sampled": READ, "everything": read_everything, "nothing": read_nothing}
    for kind in FLAGS.kind:
        elements = dataset(kind)
        figures = {}
        print(f"{'decoded':14} {'clips/s':>9} {'core ms/clip':>13}")
        for way, read in ways.items():
            with mock.patch.object(frames, "read", read):
                figures[way] = rate(videos.training(elements, COCO, FLAGS.batch, RGB_SHAPE, POSE_SHAPE))
            print(f"{way:14} {figures[way][0]:9.1f} {figures[way][1]:13.1f}", flush=True)
        figures["jpegs"] = rate(videos.training(as_jpegs(elements), COCO, FLAGS.batch, RGB_SHAPE, POSE_SHAPE))
        print(f"{'jpegs':14} {figures['jpegs'][0]:9.1f} {figures['jpegs'][1]:13.1f}", flush=True)
        print(f"jpegs: {figures['jpegs'][0] / figures['where sampled'][0]:.1f} times the clips of where sampled")
        print(
            f"where sampled: {figures['where sampled'][0] / figures['everything'][0]:.1f} times the clips\n", flush=True
        )


if __name__ == "__main__":
    flags.DEFINE_multi_enum("kind", list(KINDS), list(KINDS), "Videos.")
    flags.DEFINE_integer("batch", 4, "Clips a batch.", lower_bound=1)
    flags.DEFINE_float("seconds", 10.0, "How long each pipeline runs.", lower_bound=0.1)
    app.run(main)
