"""The top-down pipeline: crops a second, against a Python loop of OpenCV and NumPy as published.

    python benchmarks/crops.py [--people=3] [--seconds=5]

`data.crops.training` decodes images, augments people (scale, rotation, mirror, half body), warps each once and draws
its heatmaps, 256 x 192 and 64 x 48 for 17 keypoints. The opponent does the same for one person after the other, as the
published programs do: `cv2.imdecode`, the image mirrored as a whole, `cv2.warpAffine`, one Gaussian patch a joint,
normalization in NumPy. Both get the same random numbers first and have to give the same batch. Then images come as
JPEG files of 640 x 480 or, decoded once and for all, as arrays; last, `data.crops.evaluation` makes crops for a test,
without augmentation and heatmaps, where people of one image follow each other.

Predicted: with JPEG files decoding is most of the work of both, and a core makes 1.3 times as many crops; with arrays
as many, since OpenCV's warp counts in small integers; in tests 2 times as many with 3 people an image, which we decode
once. The ratio of crops a second is that times the number of cores, a Python loop having one. Got, in milliseconds of a
core for a crop, on 2 virtual cores that others were using too:

    training, JPEG of 171 kB    3.1    looped 3.9    1.3 times
    training, arrays            0.8    looped 2.1    2.6 times
    testing, JPEG of 171 kB     1.4    looped 2.6    1.9 times

OpenCV's warp itself takes 0.24 ms, less than ours; the loop loses by normalization (0.7 ms) and by mirroring the whole
image before the warp (1.4 ms, every other time), which is a sign in our matrix. Heatmaps take it 0.25 ms. Crops a
second, 90 to 1100 of ours, say little here, the cores not being our own.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import itertools
import time

import cv2
import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose.data import crops
from kerapose.ops import images
from kerapose.skeletons import COCO

FLAGS = flags.FLAGS
IMAGES, BATCH, SIZE, HEATMAP, SIGMA = 64, 32, (256, 192), (64, 48), 2
FLIP, SCALE, ROTATION, ROTATED, HALVED = 0.5, 0.35, 45.0, 0.6, 0.3
UPPER_PROBABILITY = 0.691462  # of a normal number below 0.5
MEAN, STD = np.float32(images.IMAGENET_MEAN), np.float32(images.IMAGENET_STD)


def scenes(people, seed=0):
    """Arguments of `from_arrays`: images of 640 x 480 either way, `people` in each."""
    random = np.random.default_rng(seed)
    arrays = {"images": [], "boxes": [], "keypoints": [], "visibility": []}
    for i in range(IMAGES):
        height, width = ((480, 640), (640, 480))[i % 2]
        coarse = random.integers(0, 256, (height // 10, width // 10, 3), "uint8")
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype("uint8")  # a camera's grain
        for _ in range(people):
            low = random.uniform(0, 0.4, 2) * (width, height)
            high = low + random.uniform(0.25, 0.6, 2) * (width, height)
            arrays["images"].append(image)
            arrays["boxes"].append([*low, *high])
            arrays["keypoints"].append(random.uniform(low, high, (17, 2)))
            arrays["visibility"].append(random.integers(0, 3, 17))
    return arrays | {key: np.array(arrays[key], "float32") for key in ("boxes", "keypoints")}


def encoded(arrays):
    """The same with images as JPEG files, of about 100 kB."""
    files = {id(image): cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in arrays["images"]}
    return arrays | {"images": [files[id(image)] for image in arrays["images"]]}


# ---------------------------------------- the opponent
def looped_batches(arrays):
    """What `crops.training` does, one person after the other."""
    random = np.random.default_rng(0)
    count = len(arrays["images"])
    while True:
        order = random.permutation(count)
        for batch in np.split(order[: count // BATCH * BATCH], count // BATCH):
            yield looped_batch(arrays, batch, random.random((BATCH, 9)), random.normal(size=(BATCH, 2)))


def looped_batch(arrays, people, uniforms, normals):
    made = [
        looped_person(*(arrays[key][i] for key in ("images", "boxes", "keypoints", "visibility")), *numbers)
        for i, *numbers in zip(people, uniforms, normals, strict=True)
    ]
    return tuple(np.stack(parts) for parts in zip(*made, strict=True))


def looped_person(image, box, points, visibility, uniforms, normals):
    image, points, labelled = looped_decode(image), points.astype("float64"), visibility > 0
    center, size = region(box[:2], box[2:], 1.25)
    if labelled.sum() > 8 and uniforms[2] < HALVED:
        half = half_body(points, labelled, uniforms[3])
        if half is not None:
            center, size = half
    size = size * np.clip(normals[0] * SCALE + 1, 1 - SCALE, 1 + SCALE)
    angle = np.clip(normals[1] * ROTATION, -2 * ROTATION, 2 * ROTATION) if uniforms[0] < ROTATED else 0.0
    if uniforms[1] < FLIP:
        last = image.shape[1] - 1
        image, center = image[:, ::-1], np.array([last - center[0], center[1]])
        points[:, 0] = last - points[:, 0]
        for left, right in COCO.flip_pairs:
            points[[left, right]], labelled[[left, right]] = points[[right, left]], labelled[[right, left]]
    matrix = three_points(center, size, angle)
    crop = cv2.warpAffine(image, matrix, SIZE[::-1], flags=cv2.INTER_LINEAR)
    for k in range(17):
        if labelled[k]:
            points[k] = matrix @ (*points[k], 1.0)
    return normalized(crop), *looped_heatmaps(points, labelled)


def looped_decode(image):
    if isinstance(image, bytes):
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(image, "uint8"), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image


def normalized(crop):
    return (crop.astype("float32") / 255 - MEAN) / STD


def region(low, high, padding):
    width, height = high - low
    ratio = SIZE[1] / SIZE[0]
    width, height = (width, width / ratio) if width > ratio * height else (height * ratio, height)
    return (low + high) / 2, np.array([width, height]) * padding


def half_body(points, labelled, uniform):
    upper = [k for k in range(17) if labelled[k] and k in COCO.upper_body]
    lower = [k for k in range(17) if labelled[k] and k not in COCO.upper_body]
    selected = upper if (uniform < UPPER_PROBABILITY and len(upper) > 2) or len(lower) <= 2 else lower
    if len(selected) < 2:
        return None
    chosen = points[selected]
    return chosen.mean(axis=0), region(chosen.min(axis=0), chosen.max(axis=0), 1.5)[1]


def three_points(center, size, degrees):
    radians = np.pi * degrees / 180
    up = np.array([np.sin(radians), -np.cos(radians)]) * size[0] / 2
    source, target = np.zeros((3, 2), "float32"), np.zeros((3, 2), "float32")
    middle, arm = np.array([SIZE[1] / 2, SIZE[0] / 2]), np.array([0, -SIZE[1] / 2])
    for points, start, direction in ((source, center, up), (target, middle, arm)):
        points[0], points[1] = start, start + direction
        points[2] = points[1] + (direction[1], -direction[0])
    return cv2.getAffineTransform(source, target)


def looped_heatmaps(points, labelled):
    maps, weights, reach = np.zeros((17, *HEATMAP), "float32"), labelled.astype("float32"), 3 * SIGMA
    for k in range(17):
        x, y = (int(value / 4 + 0.5) for value in points[k])
        left, top, right, bottom = x - reach, y - reach, x + reach + 1, y + reach + 1
        if left >= HEATMAP[1] or top >= HEATMAP[0] or right < 0 or bottom < 0:
            weights[k] = 0
            continue
        if weights[k] > 0.5:
            grid = np.arange(0, 2 * reach + 1, 1, np.float32)
            patch = np.exp(-((grid - reach) ** 2 + (grid[:, None] - reach) ** 2) / (2 * SIGMA**2))
            rows, columns = slice(max(0, top), min(bottom, HEATMAP[0])), slice(max(0, left), min(right, HEATMAP[1]))
            maps[k, rows, columns] = patch[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
    return maps.transpose(1, 2, 0), weights


def looped_test_batches(arrays):
    """What `crops.evaluation` does, decoding the image for each person."""
    for start in itertools.cycle(range(0, len(arrays["images"]) - BATCH + 1, BATCH)):
        made = []
        for i in range(start, start + BATCH):
            box = arrays["boxes"][i]
            matrix = three_points(*region(box[:2], box[2:], 1.25), 0.0)
            crop = cv2.warpAffine(looped_decode(arrays["images"][i]), matrix, SIZE[::-1], flags=cv2.INTER_LINEAR)
            made.append((normalized(crop), matrix))
        yield tuple(np.stack(parts) for parts in zip(*made, strict=True))


# ---------------------------------------- ours
def training(arrays, **options):
    dataset = crops.from_arrays(**arrays, skeleton=COCO)
    return crops.training(dataset, COCO, BATCH, SIZE, rotation_degrees=ROTATION, **options)


def check_equal(arrays):
    """Both, of one person in every place of the batch, with the same random numbers."""
    for person in (0, len(arrays["images"]) - 1):
        one = {key: values[person : person + 1] for key, values in arrays.items()}
        ours = [array.numpy() for array in next(iter(training(one, seed=5)))]
        uniforms = tf.random.stateless_uniform((BATCH, crops.batches.NUM_UNIFORMS), [10, 0]).numpy()
        looped = looped_batch(one, [0] * BATCH, uniforms, tf.random.stateless_normal((BATCH, 2), [11, 0]).numpy())
        levels = np.abs(ours[0] - looped[0]) * 255 * STD
        print(f"crops differ by {levels.mean():.2f} grey levels on average, {levels.max():.1f} at most")
        assert levels.mean() < 1 and np.abs(ours[1] - looped[1]).mean() < 1e-3 and (ours[2] == looped[2]).all()


def rate(batches):
    """Crops a second, and milliseconds of all cores together a crop, once the first batches are made."""
    iterator = iter(batches)
    for _ in itertools.islice(iterator, 8):
        pass
    count, start, processor_start = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < FLAGS.seconds:
        next(iterator)
        count += BATCH
    milliseconds = 1e3 * (time.process_time() - processor_start) / count
    return count / (time.perf_counter() - start), milliseconds


def main(_):
    cv2.setNumThreads(1)
    pixels = scenes(FLAGS.people)
    files = encoded(pixels)
    kilobytes = np.mean([len(file) for file in files["images"]]) / 1e3
    print(f"{SIZE[0]} x {SIZE[1]} of 640 x 480, {FLAGS.people} people an image, JPEG of {kilobytes:.0f} kB", end=", ")
    print(f"on {os.cpu_count()} cores")
    check_equal(files)
    ordered = crops.from_arrays(**files, skeleton=COCO).repeat()
    rows = {
        "training, JPEG": (training(files), looped_batches(files)),
        "training, arrays": (training(pixels), looped_batches(pixels)),
        "testing, JPEG": (crops.evaluation(ordered, COCO, BATCH, SIZE), looped_test_batches(files)),
    }
    print(f"\n{'made':18} {'crops/s':>9} {'core ms':>8} {'looped/s':>9} {'core ms':>8} {'times':>7} {'a core':>7}")
    for name, (ours, looped) in rows.items():
        (fast, ours_ms), (slow, looped_ms) = rate(ours), rate(looped)
        print(f"{name:18} {fast:9.0f} {ours_ms:8.2f} {slow:9.0f} {looped_ms:8.2f}", end="")
        print(f" {fast / slow:6.1f}x {looped_ms / ours_ms:6.1f}x", flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("people", 3, "People an image.", lower_bound=1)
    flags.DEFINE_float("seconds", 5.0, "How long each pipeline runs.", lower_bound=0.1)
    app.run(main)
