"""What copies of a model tell each other: here two, on two logical devices of one process."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

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


# A network that normalizes and drops, trained by two copies, and by one that sees the whole batch.
import keras
from kerapose import layers

x = np.random.default_rng(0).normal(2, 3, (16, 5, 6, 4)).astype("float32")
y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")


def trained(strategy, synchronized):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((5, 6, 4))
        features = layers.BatchNorm()(layers.ConvNorm(8, (3, 3), activation="relu")(inputs))
        features = layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(features))
        model = keras.Model(inputs, keras.layers.Dense(3)(features))
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    if synchronized:
        layers.synchronize(model)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).repeat()
    model.fit(batches, steps_per_epoch=6, verbose=0, shuffle=False)
    return model.get_weights()


def difference(ours, theirs):
    return float(max(np.abs(a - b).max() for a, b in zip(ours, theirs)))


alone = trained(tf.distribute.get_strategy(), False)
print(difference(alone, trained(two, True)), difference(alone, trained(two, False)), sep=";")
for copy in range(2):
    print(*[two.experimental_local_results(each)[copy].numpy().tolist() for each in ask()], sep=";")
"""


def test_one_alone_is_told_what_it_says():
    x = np.float32([1, 2, 3])
    assert replicas.count() == 1
    np.testing.assert_array_equal(replicas.gathered(x), [x])
    np.testing.assert_array_equal(replicas.mean(x), x)
    np.testing.assert_array_equal(replicas.rows_of_whole(x, 3), x)


@pytest.fixture(scope="module")
def said():
    """What the process has printed, by lines and parts."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    asked = {"capture_output": True, "text": True, "check": True, "env": environment}
    lines = subprocess.run([sys.executable, "-c", TWO_COPIES], **asked).stdout.splitlines()
    return [line.split(";") for line in lines]


def test_two_copies_train_as_one_that_sees_the_whole_batch(said):
    """Dropout included; with batch norms that see the part of their own copy, they do not."""
    synchronized, apart = map(float, said[0])
    assert synchronized < 1e-5 < 1e-3 < apart


def test_two_copies_hear_each_other(said):
    _, first, second = said
    for copy, rows in ((first, [0, 1, 2]), (second, [3, 4, 5])):
        count, together, middle, found, *_ = map(json.loads, copy)
        assert (count, together, middle, found) == (2, [[1, 3], [10, 30]], [5.5, 16.5], rows)
    # Each copy's loss is of what both have said, and the gradients are those of both losses together.
    assert [json.loads(copy[4]) for copy in (first, second)] == [[4, 12], [40, 120]]
    assert [json.loads(copy[5]) for copy in (first, second)] == [[11, 33], [11, 33]]
