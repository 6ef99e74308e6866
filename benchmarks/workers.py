"""Training on several workers: samples a second against one worker, and what to expect of many.

    python benchmarks/workers.py [--workers=2] [--steps=20]
    python benchmarks/workers.py --table

The first measures, over loopback: each worker is a process with one thread for its operations, and takes steps of the
same size. The opponent is one such process alone in the same run; `efficiency` is what each worker of several does of
what that one does. Beside it, how long the workers need to add up as many numbers as the network has weights.

Predicted for two workers on two cores: an efficiency of 0.85 for C3D-tiny, 0.9 for SimpleBaseline of 18 layers; a sum
over loopback at 0.5 GB/s.

Got on two cores that did little else: 0.68 for C3D-tiny (4.66 steps a second alone, 3.16 each), 0.26 for SimpleBaseline
(17.1 and 4.44), and 0.16 to 0.19 GB/s: a sum of SimpleBaseline's 12.8 MB takes 69 ms, longer than its step, on the very
cores that compute. What was predicted took loopback for three times as fast, and the sum for nothing.

The second prints a table for many GPUs, on paper. It assumes what is written beside it, and that a step first computes
and then adds up, one after the other, as TensorFlow does unless gradients are packed: nothing of the sum is hidden.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import json
import math
import socket
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
STEP = 8  # samples of a worker
# What the table assumes of a GPU and of what joins them.
FLOPS = 989e12 * 0.3  # dense bfloat16 of an H200, and the share of it that networks like these reach
INSIDE_BYTES = 450e9  # a second between the GPUs of a machine, one way
BETWEEN_BYTES = 50e9  # a second between machines of eight, one way: 400 gigabits
LATENCY_S = 20e-6  # of a message


def make_networks():
    """{name: function that builds a network}, in their published sizes."""
    from kerapose import models

    return {
        "C3D (light)": lambda: models.C3D.from_variant("c3d_light", 60),
        "SlowOnly": lambda: models.SlowOnly(60),
        "X3D": lambda: models.X3D(60),
        "RGBPose-Conv3D": lambda: models.RGBPoseConv3D(60),
        "SimpleBaseline-50": lambda: models.SimpleBaseline(17),
        "HRNet-W32": lambda: models.HRNet(17),
        "Hourglass-8": lambda: models.StackedHourglass(16),
        "Lightweight OpenPose": lambda: models.LightweightOpenPose(image_shape=(368, 368, 3)),
        "TemporalLifter-243": lambda: models.TemporalLifter(strided=True),
    }


def multiply_adds(network):
    """Of one sample, forward: each number of a kernel once for each place that it is applied at."""
    count = 0
    for layer in network._flatten_layers():
        kernels = [weight for weight in layer._trainable_variables if weight.name == "kernel"]
        if len(kernels) == 1 and layer._inbound_nodes:
            places = layer.input.shape if "Transpose" in type(layer).__name__ else layer.output.shape
            count += math.prod(kernels[0].shape) * math.prod(places[1:-1])
    return count


def show_table():
    """Prints what many GPUs may be expected to do."""
    print(f"{'':22}{'weights':>10}{'mult.-adds':>12}{'batch':>7}{'step':>9}{'8 GPUs':>16}{'64 GPUs':>16}")
    for name, make in make_networks().items():
        network = make()
        size = 4 * sum(math.prod(weight.shape) for weight in network.trainable_weights)  # float32, as they are summed
        batch = 1024 if "Lifter" in name else 64 if len(network.inputs[0].shape) == 4 else 16
        work = multiply_adds(network)
        step = 3 * 2 * work * batch / FLOPS  # forward, and twice as much back
        inside = 2 * 7 / 8 * size / INSIDE_BYTES + 14 * LATENCY_S
        between = 2 * 7 / 8 * (size / 8) / (BETWEEN_BYTES / 8) + 14 * LATENCY_S  # each GPU an eighth of the numbers
        eight, many = (1000 * step + 1000 * more for more in (inside, inside + between))
        row = f"{name:22}{size / 4e6:9.1f}M{work / 1e9:11.3f}G{batch:7}{1000 * step:7.2f}ms"
        for count, took in ((8, eight), (64, many)):
            row += f"{count * 1000 * step / took:9.1f} ({100 * 1000 * step / took:3.0f} %)"
        print(row)


# ---------------------------------------- what was measured
def work(index, hosts, name, steps):
    """A worker, or one process alone: prints its steps a second and how long a sum of the weights takes."""
    from kerapose.training import devices, multi_worker

    strategy = devices.make_strategy("multi_worker", None, hosts, index) if hosts else devices.make_strategy("none")
    import keras
    import tensorflow as tf

    from kerapose import models

    keras.utils.set_random_seed(0)
    workers = multi_worker.MultiWorkers(strategy)
    with strategy.scope():
        if name == "c3d_tiny":
            network = models.C3D.from_variant("c3d_tiny", 10)
            targets, loss = np.zeros(STEP, "int64"), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        else:
            network = models.SimpleBaseline.from_variant("resnet18_tiny", 17)
            targets, loss = np.zeros((STEP, *network.output_shape[1:]), "float32"), "mse"
        inputs = keras.Input(network.input_shape[1:])
        model = keras.Model(inputs, network(inputs))
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss)
        model.optimizer.build(model.trainable_variables)
    samples = np.random.default_rng(0).normal(size=(STEP, *network.input_shape[1:])).astype("float32")
    data = tf.data.Dataset.from_tensors((samples, targets)).repeat()
    given = workers.divided(lambda share: data) if workers.count > 1 else data
    times = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs=None: times.append(time.perf_counter())
    )
    model.fit(given, steps_per_epoch=steps + 5, verbose=0, callbacks=[clock], shuffle=False)
    found = {"steps_a_second": steps / (times[-1] - times[4])}
    if workers.count > 1:
        numbers = np.ones(sum(math.prod(weight.shape) for weight in model.trainable_weights), "int32")
        workers.summed(numbers)
        begun = time.perf_counter()
        for _ in range(5):
            workers.summed(numbers)
        found |= {"sum_s": (time.perf_counter() - begun) / 5, "bytes": 4 * len(numbers)}
    print("FOUND", json.dumps(found), flush=True)


def measure(name, count, steps):
    """What processes of one thread each find: one alone, and several together."""

    def run(hosts):
        command = [sys.executable, __file__, f"--name={name}", f"--steps={steps}"]
        command += [f"--hosts={','.join(hosts)}"] if hosts else []
        one_thread = os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}
        kept = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "env": one_thread}
        processes = [subprocess.Popen([*command, f"--index={i}"], **kept) for i in range(max(len(hosts), 1))]
        said = [process.communicate()[0] for process in processes]
        return [json.loads(line.split(" ", 1)[1]) for text in said for line in text.splitlines() if "FOUND" in line]

    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    hosts = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
    for door in doors:
        door.close()
    (alone,), together = run([]), run(hosts)
    each = np.mean([found["steps_a_second"] for found in together])
    print(
        f"{name:16} alone {alone['steps_a_second']:6.2f} steps/s   each of {count} {each:6.2f} steps/s   efficiency "
        f"{each / alone['steps_a_second']:.2f}   a sum of {together[0]['bytes'] / 1e6:.1f} MB "
        f"{1000 * together[0]['sum_s']:.0f} ms, {together[0]['bytes'] / together[0]['sum_s'] / 1e9:.2f} GB/s"
    )


def main(_):
    if FLAGS.table:
        show_table()
    elif FLAGS.index is not None:
        work(FLAGS.index, FLAGS.hosts, FLAGS.name, FLAGS.steps)
    else:
        for name in ("c3d_tiny", "resnet18_tiny"):
            measure(name, FLAGS.workers, FLAGS.steps)


if __name__ == "__main__":
    flags.DEFINE_bool("table", False, "Whether to print what to expect of many GPUs, and measure nothing.")
    flags.DEFINE_integer("workers", 2, "How many there are.", lower_bound=2)
    flags.DEFINE_integer("steps", 20, "That are measured.", lower_bound=1)
    flags.DEFINE_string("name", None, "Of the network: of a process that measures.")
    flags.DEFINE_list("hosts", [], "Of its workers.")
    flags.DEFINE_integer("index", None, "Of this one.")
    app.run(main)
