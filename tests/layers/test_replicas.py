"""What copies of a model tell each other: here two, on two logical devices of one process."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from kerapose.layers import replicas

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Prints what two copies have found. A process of its own, since devices are made before anything is computed.
TWO_COPIES = """
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kerapose.layers import replicas

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
own = two.experimental_distribute_values_from_function(
    lambda context: tf.constant([1.0, 3.0]) * (10.0 ** context.replica_id_in_sync_group)
)


@tf.function
def ask():
    def step(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            together, middle = replicas.gathered(x), replicas.mean(x)
            of_all, of_middle = tf.reduce_sum(together**2), tf.reduce_sum(middle**2)
        rows = replicas.rows_of_whole(tf.range(6), 3)
        gradients = [tape.gradient(y, x) for y in (of_all, of_middle)]
        return (tf.constant(replicas.count()) + 0, together, middle, rows, *gradients)

    return two.run(step, (own,))


for copy in range(2):
    print(*[two.experimental_local_results(each)[copy].numpy().tolist() for each in ask()], sep=";")
"""


def test_one_alone_is_told_what_it_says():
    x = np.float32([1, 2, 3])
    assert replicas.count() == 1
    np.testing.assert_array_equal(replicas.gathered(x), [x])
    np.testing.assert_array_equal(replicas.mean(x), x)
    np.testing.assert_array_equal(replicas.rows_of_whole(x, 3), x)


def test_two_copies_hear_each_other():
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    asked = {"capture_output": True, "text": True, "check": True, "env": environment}
    said = subprocess.run([sys.executable, "-c", TWO_COPIES], **asked).stdout
    first, second = (line.split(";") for line in said.splitlines())
    for copy, rows in ((first, [0, 1, 2]), (second, [3, 4, 5])):
        count, together, middle, found, *_ = map(json.loads, copy)
        assert (count, together, middle, found) == (2, [[1, 3], [10, 30]], [5.5, 16.5], rows)
    # Each copy's loss is of what both have said, and the gradients are those of both losses together.
    assert [json.loads(copy[4]) for copy in (first, second)] == [[4, 12], [40, 120]]
    assert [json.loads(copy[5]) for copy in (first, second)] == [[11, 33], [11, 33]]
