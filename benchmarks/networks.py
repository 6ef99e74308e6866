"""Networks: milliseconds a clip, forward and training step, against the same networks written in plain Keras layers.

    python benchmarks/networks.py [--network=slowonly] [--torch]

The opponent is the same graph with `ZeroPadding3D` + `Conv3D` + `BatchNormalization` + `Activation` in the place of
each `ConvNorm` (X3D's depthwise convolutions as grouped `Conv3D`), run by the same `tf.function`, in turn in the same
process. With `--torch`, the published layer list in PyTorch (C3D and SlowOnly) runs beside it, eagerly, channels last.
"""

import time
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose import models
from kerapose.models import c3d, slowonly, x3d

FLAGS = flags.FLAGS
NETWORKS = {"c3d_light": (models.C3D, c3d), "slowonly": (models.SlowOnly, slowonly), "x3d_shallow": (models.X3D, x3d)}


def plain_conv_norm(
    filters,
    kernel_size,
    strides=(1, 1, 1),
    activation="relu",
    norm=True,
    depthwise=False,
    gamma_initializer="ones",
    name=None,
):
    """What one writes in plain Keras where we write `ConvNorm`."""

    def apply(x, shortcut=None):
        padding = "same" if strides == (1, 1, 1) else "valid"
        if padding == "valid":
            x = keras.layers.ZeroPadding3D([k // 2 for k in kernel_size])(x)
        groups = filters if depthwise else 1
        x = keras.layers.Conv3D(filters, kernel_size, strides, padding, groups=groups, use_bias=False)(x)
        if norm:
            x = keras.layers.BatchNormalization(epsilon=1e-5, gamma_initializer=gamma_initializer)(x)
        if shortcut is not None:
            x = keras.layers.Add()([x, shortcut])
        return keras.layers.Activation(activation, name=name)(x) if activation else x

    return apply


def build(network, plain):
    cls, module = NETWORKS[network]
    if not plain:
        return cls.from_variant(network, num_classes=60)
    with mock.patch.object(module, "ConvNorm", plain_conv_norm):
        return cls.from_variant(network, num_classes=60)


def forward_of(network):
    return tf.function(lambda x: network(x, training=False))


def step_of(network):
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.0, momentum=0.9)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = loss_fn(tf.zeros(tf.shape(x)[0], tf.int32), network(x, training=True))
        optimizer.apply(tape.gradient(loss, network.trainable_variables))
        return loss

    return step


def seconds(functions, x, repeats):
    """The least time of each function, called in turn."""
    times = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, spent in zip(functions, times, strict=True):
            start = time.perf_counter()
            np.asarray(function(x))
            if repeat:  # the first call traces
                spent.append(time.perf_counter() - start)
    return [min(spent) for spent in times]


def main(_):
    print(f"{FLAGS.batch} clips of 48 x 56 x 56 x 17, milliseconds a clip, least of {FLAGS.repeats}")
    print(f"{'network':12} {'precision':10} {'':9} {'kerapose':>9} {'plain':>9} {'plain / kerapose':>17}")
    for network in FLAGS.network:
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            ours, plain = build(network, False), build(network, True)
            clips = tf.random.stateless_uniform((FLAGS.batch, 48, 56, 56, 17), (0, 0))
            for label, make in (("forward", forward_of), ("training", step_of)):
                a, b = seconds([make(ours), make(plain)], clips, FLAGS.repeats)
                scale = 1e3 / FLAGS.batch
                precision = policy.removeprefix("mixed_")
                print(
                    f"{network:12} {precision:10} {label:9} {a * scale:9.1f} {b * scale:9.1f} {b / a:17.2f}", flush=True
                )


if __name__ == "__main__":
    flags.DEFINE_multi_enum("network", list(NETWORKS), list(NETWORKS), "Networks to measure.")
    flags.DEFINE_integer("batch", 4, "Clips a batch.")
    flags.DEFINE_integer("repeats", 3, "Counted runs of each.")
    app.run(main)
