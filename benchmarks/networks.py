"""Networks: milliseconds a clip, forward and training step, against the same networks written in plain Keras layers.

    python benchmarks/networks.py [--network=slowonly] [--notorch]

"plain" is the same graph with `ZeroPadding3D` + `Conv3D` + `BatchNormalization` + `Activation` in the place of each
`ConvNorm`, run by the same `tf.function`. X3D's depthwise convolutions are grouped `Conv3D` there, over 100 times
slower on a CPU, so that its plain form is left out unless asked for. "torch" is the same list of layers in PyTorch, run
eagerly on channels-last tensors: as published but for the layout, which is its faster one. All take turns in one
process, on as many threads as there are cores.

Predicted: twice the best forward of PyTorch for SlowOnly, by folding batch norm; 1.5 times plain Keras in training.
Got, on 2 cores with bfloat16 vectors but no AMX: SlowOnly forward 1.91 times PyTorch in float32 and 1.27 in bfloat16,
training 1.3 (float32) and 2.2 (bfloat16) times plain Keras; C3D-light 1.0 to 1.25 everywhere, since its convolutions
are all of it; X3D-shallow forward only 0.55 of PyTorch in float32, as the sum over taps reads its input three times.
X3D-shallow's training step in bfloat16, with what oneDNN has no such kernel for computed in float32: 221 ms of
processor time a clip, 514 without, 204 in float32 (with AMX, all beside other work).
"""

import time
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from kerapose import models
from kerapose.layers import ConvNorm, FramePool
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
    **_,
):
    """What one writes in plain Keras where we write `ConvNorm`."""

    def apply(x, shortcut=None):
        padding = "same" if strides in (1, (1, 1, 1)) else "valid"
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


def torch_network(network):
    """The layers of our network, in its order, as PyTorch modules."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """A ConvNorm of ours, with its shortcut."""

        def __init__(self, layer, channels):
            super().__init__()
            groups = channels if layer.depthwise else 1
            padding = [k // 2 for k in layer.kernel_size]
            options = {"stride": layer.strides, "padding": padding, "groups": groups, "bias": False}
            self.conv = nn.Conv3d(channels, layer.filters, layer.kernel_size, **options)
            self.norm = nn.BatchNorm3d(layer.filters) if layer.norm else nn.Identity()
            self.relu = nn.ReLU(inplace=True) if layer.activation is keras.activations.relu else nn.Identity()

        def forward(self, x, shortcut=None):
            x = self.norm(self.conv(x))
            return self.relu(x if shortcut is None else x + shortcut)

    class Graph(nn.Module):
        """Follows the Keras graph, layer by layer."""

        def __init__(self):
            super().__init__()
            self.steps = []
            self.modules_of = nn.ModuleList()
            for layer in network.layers[1:]:
                sources = [history.operation.name for history in layer_inputs(layer)]
                self.modules_of.append(self.convert(layer))
                self.steps.append((layer.name, sources))

        def convert(self, layer):
            if isinstance(layer, ConvNorm):
                return Block(
                    layer, layer.input[0].shape[-1] if isinstance(layer.input, list) else layer.input.shape[-1]
                )
            if isinstance(layer, FramePool):
                pool = nn.MaxPool3d if layer.mode == "max" else nn.AvgPool3d
                size = (2 if layer.frame_pairs else 1, layer.pool_size, layer.pool_size)
                padding = (0, layer.pool_size // 2, layer.pool_size // 2) if layer.symmetric else 0
                return pool(size, (size[0], layer.stride, layer.stride), padding)
            if isinstance(layer, keras.layers.GlobalAveragePooling3D):
                return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
            if isinstance(layer, keras.layers.Dropout):
                return nn.Dropout(layer.rate)
            return nn.Linear(layer.input.shape[-1], layer.units)

        def forward(self, x):
            values = {network.layers[0].name: x}
            for (name, sources), module in zip(self.steps, self.modules_of, strict=True):
                values[name] = module(*(values[source] for source in sources))
            return values[name]

    return Graph().to(memory_format=torch.channels_last_3d)


def layer_inputs(layer):
    """The places in the graph that a layer reads."""
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history for tensor in tensors]


def torch_batch(x):
    """[B, T, H, W, C] -> [B, C, T, H, W], channels last in memory."""
    import torch

    return torch.from_numpy(x.numpy()).permute(0, 4, 1, 2, 3)


def torch_forward(network, bfloat16, to_torch=torch_batch):
    """A function of a batch of ours, which `to_torch` translates, that runs the network in inference mode."""
    import torch

    network.eval()

    def run(x):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return network(to_torch(x)).float()

    return run


def torch_step(network, bfloat16, to_torch=torch_batch):
    """The same in training mode: forward, backward, SGD with momentum; the losses of several classifiers add up."""
    import torch

    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.0, momentum=0.9)

    def run(x):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(to_torch(x)).float()  # [B, C], or [B, classifiers, C]
        flat = logits.flatten(0, -2)
        means = torch.nn.functional.cross_entropy(flat, torch.zeros(len(flat), dtype=torch.int64))
        loss = means * (len(flat) // len(logits))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


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
    """The least time of each function, called in turn; None for None."""
    times = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, spent in zip(functions, times, strict=True):
            if function is None:
                continue
            start = time.perf_counter()
            np.asarray(function(x))
            if repeat:  # the first call traces
                spent.append(time.perf_counter() - start)
    return [min(spent) if spent else None for spent in times]


def main(_):
    print(f"{FLAGS.batch} clips of 48 x 56 x 56 x 17, milliseconds a clip, least of {FLAGS.repeats}")
    print(f"{'network':12} {'precision':10} {'':9} {'kerapose':>9} {'plain':>9} {'ratio':>6} {'torch':>9} {'ratio':>6}")
    for name in FLAGS.network:
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            bfloat16 = policy == "mixed_bfloat16"
            ours = build(name, False)
            plain = build(name, True) if name not in FLAGS.skip_plain else None
            torch_one = torch_network(ours) if FLAGS.torch else None
            clips = tf.random.stateless_uniform((FLAGS.batch, 48, 56, 56, 17), (0, 0))
            for label, make, make_torch in (("forward", forward_of, torch_forward), ("training", step_of, torch_step)):
                theirs = make_torch(torch_one, bfloat16) if torch_one is not None else None
                runs = [make(ours), make(plain) if plain is not None else None, theirs]
                times = [None if t is None else t * 1e3 / FLAGS.batch for t in seconds(runs, clips, FLAGS.repeats)]
                shown = [f"{times[0]:9.1f}"]
                for other in times[1:]:
                    shown.append("        -      -" if other is None else f"{other:9.1f} {other / times[0]:6.2f}")
                print(f"{name:12} {policy.removeprefix('mixed_'):10} {label:9} {' '.join(shown)}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_multi_enum("network", list(NETWORKS), list(NETWORKS), "Networks to measure.")
    flags.DEFINE_multi_enum("skip_plain", ["x3d_shallow"], list(NETWORKS), "Networks whose plain form is left out.")
    flags.DEFINE_bool("torch", True, "Whether to run PyTorch beside them.")
    flags.DEFINE_integer("batch", 4, "Clips a batch.")
    flags.DEFINE_integer("repeats", 3, "Counted runs of each.")
    app.run(main)
