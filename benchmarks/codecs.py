"""Heatmap codecs: milliseconds for 1,000 people, encoding and decoding, against published NumPy loops.

    python benchmarks/codecs.py

A person is 17 heatmaps of 64 x 48 for a crop of 256 x 192; 1,000 of them go in batches of 50. The opponent is written
the way the published programs are. To draw, it cuts one patch with a Gaussian for each joint (dark: fills the whole
map). To read, it takes all maxima at once, and then goes from image to image and from joint to joint: gaussian looks at
four neighbours; dark blurs each map with OpenCV, takes the logarithm of all pixels and solves a 2 x 2 system; udp blurs
in the same way, and then treats the joints of an image together. Ours is the same function as a TensorFlow graph. Both
have their maps as their networks give them, channels last for us and first for the loop. They are checked to agree,
then run in turn in one process on 2 threads. Below stand the two inner steps of decoding, each written in two ways.

Predicted: 10 times faster, all six. Got, least times of several runs on 2 shared virtual cores:

    encode  gaussian   loop  230 ms, graph  69 ms (3.4 times), XLA  80 ms (2.9 times)
    encode  dark       loop  250 ms, graph  69 ms (3.6 times), XLA  24 ms (11 times)
    encode  udp        loop  190 ms, graph  68 ms (2.8 times), XLA  91 ms (2.1 times)
    decode  gaussian   loop   67 ms, graph  42 ms (1.6 times), XLA  22 ms (3.1 times)
    decode  dark       loop 1230 ms, graph 270 ms (4.6 times)
    decode  udp        loop 1020 ms, graph 180 ms (5.8 times)

It falls short because the loops are quicker than thought. 1,000 people are 209 MB. Writing them takes the graph some
50 ms whatever is drawn, where the loop fills zeroed memory in 169 of 3,072 pixels; NumPy finds maxima in as little time
as the graph, and what it then does for each joint takes 3 microseconds. dark and udp save all logarithms but those of
the neighbours, yet have to blur whole maps to know their maxima, and one convolution of each map is the best way in a
graph: 160 ms, against 270 ms for products with band matrices. Where XLA compiles for a CPU, that convolution takes 14
seconds and the products 1 second, so that other backends than TensorFlow take the products.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import time
from functools import partial

import cv2
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import ops

from kerapose.ops import heatmaps

FLAGS = flags.FLAGS
PEOPLE, BATCH, JOINTS = 1000, 50, 17
IMAGE, MAP = (256, 192), (64, 48)  # (height, width)
SIGMA_PX, BLUR_KERNEL = 2, 11
CODECS = ("gaussian", "dark", "udp")
AIM = 10


def joints_in_crops(outside=0.05, seed=0):
    """Keypoints [1000, 17, 2] in crop pixels, a share of them outside, and weights [1000, 17]; one in ten 0 or none."""
    random = np.random.default_rng(seed)
    inside = random.uniform((0, 0), IMAGE[::-1], (PEOPLE, JOINTS, 2))
    anywhere = random.uniform(-60, 300, inside.shape)
    keypoints = np.where(random.uniform(size=(PEOPLE, JOINTS, 1)) < outside, anywhere, inside)
    weights = random.uniform(size=(PEOPLE, JOINTS)) < (0.9 if outside else 1)
    return keypoints.astype("float32"), weights.astype("float32")


def like_a_network(maps, seed=0):
    """Heatmaps as a network gives them: lower, and with noise of both signs."""
    random = np.random.default_rng(seed)
    return (0.8 * maps + random.normal(0, 0.01, maps.shape)).astype("float32")


def stride(codec):
    """Crop pixels per heatmap pixel, x and y."""
    one = codec == "udp"
    return ((np.array(IMAGE[::-1]) - one) / (np.array(MAP[::-1]) - one)).astype("float32")


# ---------------------------------------- the opponent: encoding
def looped_encode(keypoints, weights, codec):
    """[N, 17, 2], [N, 17] -> [N, 17, 64, 48], [N, 17]."""
    draw = {"gaussian": draw_patch, "dark": draw_whole, "udp": draw_patch}[codec]
    drawn = [draw(person / stride(codec), seen, codec) for person, seen in zip(keypoints, weights, strict=True)]
    return tuple(np.stack(arrays) for arrays in zip(*drawn, strict=True))


def draw_patch(points, weights, codec):
    maps, weights = np.zeros((JOINTS, *MAP), "float32"), weights.copy()
    (height, width), reach = MAP, 3 * SIGMA_PX
    x = np.arange(0, 2 * reach + 1, 1, "float32")
    y = x[:, None]
    for joint in range(JOINTS):
        center = (int(points[joint, 0] + 0.5), int(points[joint, 1] + 0.5))
        left, top = int(center[0] - reach), int(center[1] - reach)
        right, bottom = int(center[0] + reach + 1), int(center[1] + reach + 1)
        if left >= width or top >= height or right < 0 or bottom < 0:
            weights[joint] = 0
        if weights[joint] < 0.5:
            continue
        x0, y0 = reach + (points[joint] - center if codec == "udp" else np.zeros(2))
        patch = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * SIGMA_PX**2))
        columns, rows = (max(left, 0), min(right, width)), (max(top, 0), min(bottom, height))
        part = patch[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
        maps[joint, rows[0] : rows[1], columns[0] : columns[1]] = part
    return maps, weights


def draw_whole(points, weights, codec):
    maps, weights = np.zeros((JOINTS, *MAP), "float32"), weights.copy()
    (height, width), reach = MAP, 3 * SIGMA_PX
    x, y = np.arange(0, width, 1, "float32"), np.arange(0, height, 1, "float32")[:, None]
    for joint, (x0, y0) in enumerate(points):
        if x0 - reach >= width or y0 - reach >= height or x0 + reach + 1 < 0 or y0 + reach + 1 < 0:
            weights[joint] = 0
        if weights[joint] >= 0.5:
            maps[joint] = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * SIGMA_PX**2))
    return maps, weights


# ---------------------------------------- the opponent: decoding
def looped_decode(maps, codec):
    """[N, 17, 64, 48] -> [N, 17, 2] crop pixels, [N, 17]."""
    points, scores = maxima(maps)
    move = {"gaussian": add_quarters, "dark": add_dark_steps, "udp": add_udp_steps}[codec]
    move(points, maps if codec == "gaussian" else blurred(maps), scores)
    return points * stride(codec), scores


def maxima(maps):
    width = maps.shape[3]
    flat = maps.reshape(*maps.shape[:2], -1)
    index, scores = flat.argmax(axis=2), flat.max(axis=2)
    points = np.stack([index % width, np.floor(index / width)], axis=-1).astype("float32")
    return points * (scores > 0)[..., None], scores


def add_quarters(points, maps, scores):
    height, width = maps.shape[2:]
    for person in range(points.shape[0]):
        for joint in range(points.shape[1]):
            plane = maps[person, joint]
            x, y = int(np.floor(points[person, joint, 0] + 0.5)), int(np.floor(points[person, joint, 1] + 0.5))
            if 1 < x < width - 1 and 1 < y < height - 1:
                rise = np.array([plane[y, x + 1] - plane[y, x - 1], plane[y + 1, x] - plane[y - 1, x]])
                points[person, joint] += np.sign(rise) * 0.25


def blurred(maps):
    maps, border = maps.copy(), BLUR_KERNEL // 2
    height, width = maps.shape[2:]
    for person in range(maps.shape[0]):
        for joint in range(maps.shape[1]):
            highest = np.max(maps[person, joint])
            padded = np.zeros((height + 2 * border, width + 2 * border), "float32")
            padded[border:-border, border:-border] = maps[person, joint]
            padded = cv2.GaussianBlur(padded, (BLUR_KERNEL, BLUR_KERNEL), 0)
            maps[person, joint] = padded[border:-border, border:-border]
            maps[person, joint] *= highest / np.max(maps[person, joint])
    return maps


def add_dark_steps(points, maps, scores):
    height, width = maps.shape[2:]
    maps = np.log(np.maximum(maps, 1e-10))
    for person in range(points.shape[0]):
        for joint in range(points.shape[1]):
            plane = maps[person, joint]
            x, y = int(points[person, joint, 0]), int(points[person, joint, 1])
            if scores[person, joint] > 0 and 1 < x < width - 2 and 1 < y < height - 2:
                dx, dy = (plane[y, x + 1] - plane[y, x - 1]) / 2, (plane[y + 1, x] - plane[y - 1, x]) / 2
                dxx = (plane[y, x + 2] - 2 * plane[y, x] + plane[y, x - 2]) / 4
                dyy = (plane[y + 2, x] - 2 * plane[y, x] + plane[y - 2, x]) / 4
                dxy = (plane[y + 1, x + 1] - plane[y - 1, x + 1] - plane[y + 1, x - 1] + plane[y - 1, x - 1]) / 4
                if dxx * dyy - dxy**2 != 0:
                    inverse = np.linalg.inv(np.array([[dxx, dxy], [dxy, dyy]]))
                    points[person, joint] -= (inverse @ np.array([[dx], [dy]]))[:, 0]


def add_udp_steps(points, maps, scores):
    width = maps.shape[3]
    logs = np.log(np.clip(maps, 1e-3, 50))
    for person, planes in enumerate(logs):
        flat = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge").reshape(JOINTS, -1)
        place = (points[person, :, 0] + 1 + (points[person, :, 1] + 1) * (width + 2)).astype(int)
        at = {step: flat[np.arange(JOINTS), place + step] for step in (0, 1, -1, width + 2, -width - 2)}
        far = [flat[np.arange(JOINTS), place + step] for step in (width + 3, -width - 3)]
        middle, right, left, below, above = at.values()
        slope = 0.5 * np.stack([right - left, below - above], axis=-1)
        dxx, dyy = right - 2 * middle + left, below - 2 * middle + above
        dxy = 0.5 * (far[0] - right - below + 2 * middle - left - above + far[1])
        hessian = np.stack([dxx, dxy, dxy, dyy], axis=-1).reshape(-1, 2, 2)
        inverse = np.linalg.inv(hessian + np.finfo("float32").eps * np.eye(2))
        points[person] -= np.einsum("kij,kj->ki", inverse, slope) * (scores[person] > 0)[:, None]


# ---------------------------------------- ours
def encode(keypoints, weights, codec):
    return heatmaps.encode(keypoints, weights, IMAGE, MAP, SIGMA_PX, codec)


def decode(maps, codec):
    return heatmaps.decode(maps, IMAGE, codec, blur_kernel=BLUR_KERNEL, missing_px=0.0)


# ---------------------------------------- both
def milliseconds(calls):
    """The least time of each call on all batches, made in turn."""
    times = [[] for _ in calls]
    for _ in range(FLAGS.repeats):
        for (call, batches), spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            for batch in batches:
                [np.asarray(array) for array in call(*batch)]
            spent.append(1e3 * (time.perf_counter() - start))
    return [min(spent) for spent in times]


def in_batches(*arrays, convert=np.asarray):
    starts = range(0, PEOPLE, BATCH)
    return [tuple(convert(array[start : start + BATCH]) for array in arrays) for start in starts]


def compare(name, codec, loop, ours, loop_inputs, our_inputs, atol):
    """Prints one line, once the loop and both graphs are seen to agree on the first batch."""
    loop_batches, our_batches = in_batches(*loop_inputs), in_batches(*our_inputs, convert=tf.constant)
    expected = loop(*loop_batches[0], codec=codec)
    graphs = [partial(tf.function(ours, jit_compile=compiled), codec=codec) for compiled in (False, True)]
    for graph in graphs:
        for one, other in zip(graph(*our_batches[0]), expected, strict=True):
            other = np.moveaxis(other, 1, -1) if name == "encode" and other.ndim == 4 else other
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol)
    calls = [(partial(loop, codec=codec), loop_batches), *((graph, our_batches) for graph in graphs)]
    looped, graph, compiled = milliseconds(calls)
    ratios = f"{looped / graph:10.1f}x {looped / compiled:8.1f}x   {AIM}x"
    print(f"{name:7} {codec:9} {looped:8.1f} {graph:8.1f} {compiled:8.1f} {ratios}", flush=True)


def compare_parts(maps):
    """Prints what the two inner steps take, and what the plainer ways of writing them would."""
    parts = {
        "blur, products with band matrices": partial(heatmaps.blurring.blur_by_products, kernel=BLUR_KERNEL),
        "blur, depthwise convolutions": partial(heatmaps.blurring.blur_by_convolutions, kernel=BLUR_KERNEL),
        "maxima of rows, max_pool": heatmaps.maxima.maxima_of_rows,
        "maxima of rows, max": partial(ops.max, axis=2),
    }
    batches = in_batches(maps, convert=tf.constant)
    for name, part in parts.items():
        graphs = [tf.function(part, jit_compile=compiled) for compiled in (False, True)]
        same_as = list(parts.values())[2 * ("maxima" in name)]
        np.testing.assert_allclose(graphs[0](*batches[0]), same_as(*batches[0]), atol=1e-5)
        graph, compiled = milliseconds([((lambda m, g=g: [g(m)]), batches) for g in graphs])
        print(f"{name:34} {graph:8.1f} {compiled:8.1f}", flush=True)


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    cv2.setNumThreads(2)
    print(f"{PEOPLE} people with {JOINTS} heatmaps of {MAP[0]} x {MAP[1]}, milliseconds, least of {FLAGS.repeats}")
    print(f"{'':7} {'codec':9} {'loop':>8} {'graph':>8} {'XLA':>8} {'loop/graph':>11} {'loop/XLA':>9}   aim")
    for codec in CODECS:
        joints = joints_in_crops()
        compare("encode", codec, looped_encode, encode, joints, joints, 1e-5)
    for codec in CODECS:
        maps = like_a_network(looped_encode(*joints_in_crops(outside=0), codec)[0])  # [N, 17, 64, 48]
        ours = np.ascontiguousarray(np.moveaxis(maps, 1, -1))
        compare("decode", codec, looped_decode, decode, (maps,), (ours,), 0.02)
    print(f"\n{'':34} {'graph':>8} {'XLA':>8}")
    compare_parts(ours)


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 5, "Runs of each; the least time counts.")
    app.run(main)
