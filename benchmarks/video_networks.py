"""RGBPose-Conv3D: milliseconds a clip, forward and training step, against plain Keras layers and PyTorch.

    python benchmarks/video_networks.py [--network=rgbpose_tiny] [--notorch]

"plain" is the same graph with `ZeroPadding3D` + `Conv3D` + `BatchNormalization` + `Activation` in the place of each
`ConvNorm`, and `Conv3DTranspose` in that of the laterals to the pose pathway. "torch" is the same list of layers in
PyTorch, run eagerly on channels-last tensors, if PyTorch is installed. All take turns in one process, on as many
threads as there are cores. The loss of the training step is the cross entropy of both pathways, the optimizer SGD with
momentum.

Predicted: as SlowOnly alone (benchmarks/networks.py), of which this is two: forward about even with plain Keras and 1.3
to 1.9 times PyTorch; training 1.3 times plain in float32 and 2 times in bfloat16, where statistics are the slow part.

Got on two cores (AMD EPYC), rgbpose: forward 1.08 times plain in float32, 1.36 in bfloat16; training 1.07 and 1.55.
PyTorch was not measured.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is first imported

import contextlib
import importlib.util
from unittest import mock

import keras
import tensorflow as tf
from absl import app, flags
from networks import layer_inputs, plain_conv_norm, seconds, torch_batch, torch_forward, torch_step

from kerapose import models
from kerapose.layers import ConvNorm, FrameConvTransposeNorm, FramePool
from kerapose.models import rgbpose_conv3d, slowonly

FLAGS = flags.FLAGS
NUM_CLASSES = 60


def plain_frame_conv_transpose_norm(filters, name, **_):
    """What one writes in plain Keras where we write `FrameConvTransposeNorm`."""
    kl = keras.layers
    steps = [
        kl.Conv3DTranspose(filters, (7, 1, 1), (4, 1, 1), "same", use_bias=False),
        kl.BatchNormalization(epsilon=1e-5),
        kl.Activation("relu", name=name),
    ]
    return keras.Sequential(steps)


def build(name, plain=False):
    if not plain:
        return models.RGBPoseConv3D.from_variant(name, num_classes=NUM_CLASSES)

    with contextlib.ExitStack() as patches:
        for module in (slowonly, rgbpose_conv3d):
            patches.enter_context(mock.patch.object(module, "ConvNorm", plain_conv_norm))
        replaced = mock.patch.object(rgbpose_conv3d, "FrameConvTransposeNorm", plain_frame_conv_transpose_norm)
        patches.enter_context(replaced)
        return models.RGBPoseConv3D.from_variant(name, num_classes=NUM_CLASSES)


def torch_network(network):
    """The layers of our network, in its order, as PyTorch modules: a function of {"rgb", "pose"} [B, C, T, H, W]."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """A convolution, transposed or not; a norm; a shortcut; an activation."""

        def __init__(self, convolution, layer, has_norm, has_relu):
            super().__init__()
            self.convolution = convolution
            self.norm = nn.BatchNorm3d(layer.filters) if has_norm else nn.Identity()
            self.relu = nn.ReLU(inplace=True) if has_relu else nn.Identity()

        def forward(self, x, shortcut=None):
            x = self.norm(self.convolution(x))
            return self.relu(x if shortcut is None else x + shortcut)

    class Concatenated(nn.Module):
        def forward(self, *parts):
            return torch.cat(parts, 1)

    def convert(layer):
        channels = (layer.input[0] if isinstance(layer.input, list) else layer.input).shape[-1]
        if isinstance(layer, FrameConvTransposeNorm):
            options = {"stride": (4, 1, 1), "padding": (3, 0, 0), "output_padding": (3, 0, 0), "bias": False}
            return Block(nn.ConvTranspose3d(channels, layer.filters, (7, 1, 1), **options), layer, True, True)
        if isinstance(layer, ConvNorm):
            padding = [k // 2 for k in layer.kernel_size]
            options = {"stride": layer.strides, "padding": padding, "bias": False}
            convolution = nn.Conv3d(channels, layer.filters, layer.kernel_size, **options)
            return Block(convolution, layer, layer.norm, layer.activation is keras.activations.relu)
        if isinstance(layer, FramePool):
            size, padding = (1, layer.pool_size, layer.pool_size), (0, layer.pool_size // 2, layer.pool_size // 2)
            return nn.MaxPool3d(size, (1, layer.stride, layer.stride), padding)
        if isinstance(layer, keras.layers.Concatenate):
            return Concatenated()
        if isinstance(layer, keras.layers.GlobalAveragePooling3D):
            return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
        if isinstance(layer, keras.layers.Dropout):
            return nn.Dropout(layer.rate)
        return nn.Linear(channels, layer.units)

    class Graph(nn.Module):
        """Follows the Keras graph, layer by layer; its answer is both pathways' logits [B, 2, num_classes]."""

        def __init__(self):
            super().__init__()
            self.steps, self.parts = [], nn.ModuleList()
            for layer in network.layers:
                if not isinstance(layer, keras.layers.InputLayer):
                    self.steps.append((layer.name, [history.operation.name for history in layer_inputs(layer)]))
                    self.parts.append(convert(layer))
            self.answers = [network.output[name]._keras_history.operation.name for name in sorted(network.output)]

        def forward(self, clips):
            values = dict(clips)
            for (name, sources), part in zip(self.steps, self.parts, strict=True):
                values[name] = part(*(values[source] for source in sources))
            return torch.stack([values[name] for name in self.answers], 1)

    return Graph().to(memory_format=torch.channels_last_3d)


def torch_batches(clips):
    """Both clips of a batch as PyTorch takes them."""
    return {name: torch_batch(x) for name, x in clips.items()}


def forward_of(network):
    return tf.function(lambda clips: tf.stack(list(network(clips, training=False).values()), 1))


def step_of(network):
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.0, momentum=0.9)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step(clips):
        with tf.GradientTape() as tape:
            answers = network(clips, training=True).values()
            loss = tf.add_n([loss_fn(tf.zeros(FLAGS.batch, tf.int32), logits) for logits in answers])
        optimizer.apply(tape.gradient(loss, network.trainable_variables))
        return loss

    return step


def main(_):
    print(f"batches of {FLAGS.batch} clips, milliseconds a clip, least of {FLAGS.repeats}")
    print(f"{'network':12} {'precision':10} {'':9} {'kerapose':>9} {'plain':>9} {'ratio':>6} {'torch':>9} {'ratio':>6}")
    for name in FLAGS.network:
        for policy in FLAGS.precision:
            keras.config.set_dtype_policy(policy)
            bfloat16 = policy == "mixed_bfloat16"
            ours, plain = build(name), build(name, plain=True)
            torch_one = torch_network(ours) if FLAGS.torch else None
            clips = {
                key: tf.random.stateless_uniform((FLAGS.batch, *shape[1:]), (0, 0))
                for key, shape in ours.input_shape.items()
            }
            for label, make, make_torch in (("forward", forward_of, torch_forward), ("training", step_of, torch_step)):
                theirs = make_torch(torch_one, bfloat16, torch_batches) if FLAGS.torch else None
                runs = [make(ours), make(plain), theirs]
                times = [None if t is None else t * 1e3 / FLAGS.batch for t in seconds(runs, clips, FLAGS.repeats)]
                shown = [f"{times[0]:9.1f}"]
                for other in times[1:]:
                    shown.append("        -      -" if other is None else f"{other:9.1f} {other / times[0]:6.2f}")
                print(f"{name:12} {policy.removeprefix('mixed_'):10} {label:9} {' '.join(shown)}", flush=True)


if __name__ == "__main__":
    variants, policies = list(models.RGBPoseConv3D.VARIANTS), ["float32", "mixed_bfloat16"]
    installed = importlib.util.find_spec("torch") is not None
    flags.DEFINE_multi_enum("network", variants, variants, "Networks to measure.")
    flags.DEFINE_multi_enum("precision", policies, policies, "Precision policies to measure them under.")
    flags.DEFINE_bool("torch", installed, "Whether to run PyTorch beside them; by default where it is installed.")
    flags.DEFINE_integer("batch", 2, "Clips a batch.", lower_bound=1)
    flags.DEFINE_integer("repeats", 3, "Counted runs of each.", lower_bound=1)
    app.run(main)
