"""A served pose model under load: requests a second and how long they take, with and without what makes serving hold.

    python benchmarks/serving.py [--rounds=8]     (with the extra `test`, for tensorflow-serving-api)

SimpleBaseline `resnet18_tiny` (256 x 192, mirrored too) is exported, and the server of the tests
(`tests/export/serving_server.py`: TensorFlow's SavedModel runtime behind gRPC, not TensorFlow Serving itself, in a
process of its own) answers over loopback. A request is a JPEG file of 640 x 480 with two boxes; client and server share
the cores. Hostile requests are a picture of 20,000 x 20,000, half a file and 10,000 boxes, in turn. Four comparisons,
each with its opponent in the same run:

- the first request to a server that was warmed up, and to one that was not;
- eight clients at once, and one request at a time;
- eight images in a request, and eight requests of one image at once: what gathering requests could give;
- eight clients alone, and the same eight with two more who send hostile requests all the time.

Predicted: the first request 20 times sooner where the server was warmed up; eight clients 1.3 times the requests a
second of one; eight images together 1.2 times the images a second; with the hostile ones, the others' p99 twice as
long, and not one of them without its answer; the server's memory 100 MB larger at most after all of it. Got, on two
cores that other work shared (load 5), and in brackets over three runs up to a load of 12:

    first request, not warmed up      774 ms, later ones 29 ms    (774 to 3366 ms)
    first request, warmed up           34 ms, later ones 18 ms    (34 to 39 ms: 23 to 94 times sooner)
    one request at a time              42.0 images a second   p50  26.6 ms   p99  34.8 ms
    eight clients                      48.2 images a second   p50 156.6 ms   p99 252.8 ms    1.21 times (1.2 to 1.7)
    eight images in a request          70.7 images a second   p50 134.6 ms   p99 155.1 ms    1.47 times (1.46, 1.47)
    eight clients, and hostile ones    47.2 images a second   p50 159.8 ms   p99 260.8 ms    0.95 times (0.95, 1.10)
    156 hostile requests refused, p99 217 ms
    the server's memory: 716 MB warmed up, 764 MB at the end

Images gathered in one request save more than was thought, some of it the server's Python. Hostile requests cost their
senders a wait in the queue, and the others nothing that shows.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import contextlib
import io
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent import futures

import grpc
import numpy as np
import psutil
import tensorflow as tf
from absl import app, flags, logging
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kerapose import estimators, export, models, skeletons

FLAGS = flags.FLAGS
SERVER = pathlib.Path(__file__).parent.parent / "tests" / "export" / "serving_server.py"
CLIENTS, HOSTILE_CLIENTS, IMAGES = 8, 2, 8
PART = 40  # images, between which the comparisons take turns
SIZE = (480, 640)
BOXES = [[100, 50, 300, 450], [330, 20, 600, 470]]


@contextlib.contextmanager
def server(folder, *options):
    """Its process, and a function that sends it a request and waits."""
    command = [sys.executable, "-I", str(SERVER), str(folder), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with grpc.insecure_channel(f"127.0.0.1:{json.loads(process.stdout.readline())['port']}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        yield psutil.Process(process.pid), stub.Predict
    process.communicate(timeout=60)


def request_of(encoded, boxes):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "pose"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(encoded))
    request.inputs["boxes"].CopyFrom(tf.make_tensor_proto(np.float32(boxes)))
    return request


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def bomb():
    """A PNG file of 20,000 x 20,000 pixels in 49 kB."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer, row = zlib.compressobj(9), bytes(2501)
    data = b"".join(packer.compress(row) for _ in range(20_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def seconds_of(ask, requests, clients):
    """How long each request took, of so many clients at once, and how long all of them."""

    def timed(request):
        start = time.perf_counter()
        assert ask(request, timeout=120).outputs["keypoints"].tensor_shape.dim[1].size == len(BOXES)
        return time.perf_counter() - start

    start = time.perf_counter()
    with futures.ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(timed, requests))
    return each, time.perf_counter() - start


def report(what, parts, images=1):
    """One line about parts of a comparison, each of the seconds of its requests and those of all of it."""
    each = np.concatenate([seconds for seconds, _ in parts])
    rate = images * len(each) / sum(whole for _, whole in parts)
    p50, p99 = (1000 * np.percentile(each, share) for share in (50, 99))
    print(f"{what:<34} {rate:6.1f} images a second   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms", flush=True)


def ratio(over, under):
    """By how much a part of one comparison is sooner done than the same part of another: the median of all."""
    return np.median([below / above for (_, above), (_, below) in zip(over, under, strict=True)])


@contextlib.contextmanager
def hostile_clients(ask, requests, counts):
    """Sends hostile requests all the time; notes how many got a sentence, in how many seconds at most."""
    over = threading.Event()

    def send():
        for request in itertools.cycle(requests):
            if over.is_set():
                return
            start = time.perf_counter()
            try:
                ask(request, timeout=120)
                raise RuntimeError("A hostile request was answered.")
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
            counts.append(time.perf_counter() - start)

    with futures.ThreadPoolExecutor(HOSTILE_CLIENTS) as pool:
        sent = [pool.submit(send) for _ in range(HOSTILE_CLIENTS)]
        yield
        over.set()
        for one in sent:
            one.result()


def run(folder):
    network = models.SimpleBaseline.from_variant("resnet18_tiny", num_joints=17)
    export.pose_saved_model(estimators.PoseEstimator(network, skeletons.COCO), folder / "pose" / "1")
    files = [picture(seed) for seed in range(IMAGES)]
    ones = [request_of([file], [BOXES]) for file in files]
    for what, options in (("not warmed up", ["--no_warm_up"]), ("warmed up", [])):
        with server(folder / "pose", *options) as (_, ask):
            first, later = seconds_of(ask, ones[:1], 1)[0][0], np.median(seconds_of(ask, ones, 1)[0])
        print(f"first request, {what:<14} {1000 * first:7.0f} ms, later ones {1000 * later:.0f} ms", flush=True)

    requests = [ones[i % IMAGES] for i in range(PART)]
    together = [request_of(files, [BOXES] * IMAGES)] * (PART // IMAGES)
    wrong = [
        request_of([bomb()], [BOXES]),
        request_of([files[0][:5000]], [BOXES]),
        request_of(files[:1], [BOXES * 5000]),
    ]
    with server(folder / "pose") as (process, ask):
        before, refused, single, eight, gathered, among = process.memory_info().rss, [], [], [], [], []
        for _ in range(FLAGS.rounds):  # in turn, since other work on the machine comes and goes
            single.append(seconds_of(ask, requests, 1))
            eight.append(seconds_of(ask, requests, CLIENTS))
            gathered.append(seconds_of(ask, together, 1))
            with hostile_clients(ask, wrong, refused):
                among.append(seconds_of(ask, requests, CLIENTS))
        report("one request at a time", single)
        report("eight clients", eight)
        print(f"    {ratio(eight, single):.2f} times one at a time")
        report("eight images in a request", gathered, IMAGES)
        print(f"    {ratio(gathered, eight):.2f} times eight clients")
        report("eight clients, and hostile ones", among)
        print(f"    {ratio(among, eight):.2f} times without them")
        print(f"{len(refused)} hostile requests refused, p99 {1000 * np.percentile(refused, 99):.0f} ms")
        after = process.memory_info().rss
        print(f"the server's memory: {before / 2**20:.0f} MB warmed up, {after / 2**20:.0f} MB at the end")


def main(argv):
    del argv
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        run(pathlib.Path(folder))


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 8, "How often each comparison is made.", lower_bound=1)
    app.run(main)
