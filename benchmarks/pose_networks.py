"""Heatmap networks: milliseconds an image, forward and training step, against plain Keras layers and PyTorch.

    python benchmarks/pose_networks.py [--network=resnet50] [--notorch]

"plain" is the same graph with `ZeroPadding2D` + `Conv2D` + `BatchNormalization` + `Activation` in the place of each
`ConvNorm`, `Conv2DTranspose` for the transposed convolutions and `UpSampling2D`. "torch" is the same list of layers in
PyTorch, run eagerly on channels-last tensors. All take turns in one process, on as many threads as there are cores. The
loss of the training step is the mean squared error of the heatmaps, the optimizer Adam.

Predicted: forward 1.3 to 1.6 times PyTorch in float32 (folded norms; the convolutions themselves are the same library),
training about even with plain Keras in float32 and 1.5 times in bfloat16, where statistics are the slow part.
Got, on 2 cores with bfloat16 vectors but no AMX, batches of 2, partly beside other work: SimpleBaseline-50 as fast as
plain Keras in float32 (forward 0.99, training 1.08), 1.05 and 1.64 times in bfloat16; HRNet-W32 0.95 and 1.01 times in
float32, 1.28 times (forward) in bfloat16; 1.07 to 1.26 times PyTorch where nothing disturbed it. Hourglass-2 forward
1.01 times plain and 1.57 times PyTorch in float32. Lightweight OpenPose at 256 x 456, undisturbed: forward 1.13 times
plain and 1.11 times PyTorch in float32, 1.23 and 1.01 times in bfloat16; training 1.13 and 1.23, 1.37 and 1.23 times.
What is not listed was not measured undisturbed. Folding norms gains little here: a plain graph's norm is fused into the
convolution by TensorFlow's own optimizer as well.
"""

from unittest import mock

import keras
import tensorflow as tf
from absl import app, flags
from networks import layer_inputs, seconds

from kerapose import models
from kerapose.layers import BatchNorm, ConvNorm, ConvTransposeNorm, Upsample, blocks
from kerapose.models import hrnet, lightweight_openpose, simple_baseline, stacked_hourglass

FLAGS = flags.FLAGS
NETWORKS = {
    "resnet50": (models.SimpleBaseline, simple_baseline, {"num_joints": 17}),
    "w32": (models.HRNet, hrnet, {"num_joints": 17}),
    "hourglass2": (models.StackedHourglass, stacked_hourglass, {"num_joints": 17}),
    "openpose": (models.LightweightOpenPose, lightweight_openpose, {"image_shape": (256, 456, 3)}),
}


def plain_layers():
    """What one writes in plain Keras where we write a layer of ours, by its name."""
    kl = keras.layers

    def norm_and_activation(x, norm, activation, shortcut=None):
        if norm:
            x = kl.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)
        if shortcut is not None:
            x = kl.Add()([x, shortcut])
        return kl.Activation(activation)(x) if activation else x

    def conv_norm(
        filters,
        kernel_size,
        strides=1,
        activation="relu",
        norm=True,
        use_bias=False,
        depthwise=False,
        dilation=1,
        dtype=None,
        **_,
    ):
        def apply(x, shortcut=None):
            padding = "same" if strides == 1 else "valid"
            if padding == "valid" and kernel_size[0] > 1:
                x = kl.ZeroPadding2D(kernel_size[0] // 2)(x)
            options = {"dilation_rate": dilation, "use_bias": use_bias, "dtype": dtype}
            if depthwise:
                x = kl.DepthwiseConv2D(kernel_size, strides, padding, **options)(x)
            else:
                x = kl.Conv2D(filters, kernel_size, strides, padding, **options)(x)
            return norm_and_activation(x, norm, activation, shortcut)

        return apply

    def conv_transpose_norm(filters, kernel, use_bias=False, **_):
        convolve = kl.Conv2DTranspose(filters, kernel, 2, "same", use_bias=use_bias)
        return lambda x: norm_and_activation(convolve(x), True, "relu")

    return {
        "ConvNorm": conv_norm,
        "ConvTransposeNorm": conv_transpose_norm,
        "BatchNorm": lambda activation, **_: lambda x: norm_and_activation(x, True, activation),
        "Upsample": lambda factor, **_: kl.UpSampling2D(factor),
    }


def build(name, plain=False):
    cls, module, arguments = NETWORKS[name]
    if not plain:
        return cls.from_variant(name, **arguments)
    patches = [
        mock.patch.object(place, layer, replacement)
        for layer, replacement in plain_layers().items()
        for place in (module, blocks)
        if hasattr(place, layer)
    ]
    for patch in patches:
        patch.start()
    try:
        return cls.from_variant(name, **arguments)
    finally:
        for patch in patches:
            patch.stop()


def torch_network(network):
    """The layers of our network, in its order, as PyTorch modules."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """A convolution, transposed or not, or none; a norm; a shortcut; an activation."""

        def __init__(self, convolution, channels, layer, has_norm=True):
            super().__init__()
            self.convolution = convolution
            self.norm = nn.BatchNorm2d(channels) if has_norm else nn.Identity()
            activations = {keras.activations.relu: nn.ReLU(inplace=True), keras.activations.elu: nn.ELU(inplace=True)}
            self.activation = activations.get(layer.activation, nn.Identity())

        def forward(self, x, shortcut=None):
            x = self.norm(self.convolution(x))
            return self.activation(x if shortcut is None else x + shortcut)

    class Sum(nn.Module):
        def forward(self, *terms):
            return sum(terms)

    class Stack(nn.Module):
        def forward(self, *heatmaps):
            return torch.stack(heatmaps, 1)

    class Concatenate(nn.Module):
        def forward(self, *maps):
            return torch.cat(maps, 1)

    def convert(layer, channels):
        if isinstance(layer, ConvNorm):
            padding = [layer.dilation * (k // 2) for k in layer.kernel_size]
            options = {"stride": layer.strides, "padding": padding, "bias": layer.use_bias, "dilation": layer.dilation}
            options["groups"] = channels if layer.depthwise else 1
            convolution = nn.Conv2d(channels, layer.filters, layer.kernel_size, **options)
            return Block(convolution, layer.filters, layer, layer.norm)
        if isinstance(layer, ConvTransposeNorm):
            convolution = nn.ConvTranspose2d(channels, layer.filters, 4, 2, 1, bias=layer.use_bias)
            return Block(convolution, layer.filters, layer)
        if isinstance(layer, BatchNorm):
            return Block(nn.Identity(), channels, layer)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return nn.ZeroPad2d(layer.padding[0][0])
        if isinstance(layer, keras.layers.MaxPooling2D):
            return nn.MaxPool2d(layer.pool_size[0], layer.strides[0])
        if isinstance(layer, Upsample):
            return nn.Upsample(scale_factor=layer.factor, mode="nearest")
        if isinstance(layer, keras.layers.ReLU):
            return nn.ReLU(inplace=True)
        if isinstance(layer, keras.layers.Concatenate):
            return Concatenate()
        return Sum() if isinstance(layer, keras.layers.Add) else Stack()

    class Graph(nn.Module):
        """Follows the Keras graph, operation by operation."""

        def __init__(self):
            super().__init__()
            self.steps, self.parts = [], nn.ModuleList()
            for operation in network.operations[1:]:
                sources = [history.operation.name for history in layer_inputs(operation)]
                first = operation.input[0] if isinstance(operation.input, list) else operation.input
                self.parts.append(convert(operation, first.shape[-1]))
                self.steps.append((operation.name, sources))

        def forward(self, x):
            values = {network.operations[0].name: x}
            for (name, sources), part in zip(self.steps, self.parts, strict=True):
                values[name] = part(*(values[source] for source in sources))
            maps = [values[tensor._keras_history.operation.name] for tensor in network.outputs]
            return torch.cat([part.reshape(-1) for part in maps]) if len(maps) > 1 else maps[0]

    return Graph().to(memory_format=torch.channels_last)


def torch_forward(network, bfloat16):
    """A function of a NumPy batch [B, H, W, C] that runs the network in inference mode."""
    import torch

    network.eval()

    def run(x):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return network(torch_batch(x)).float()

    return run


def torch_step(network, bfloat16):
    """The same in training mode: forward, backward, Adam."""
    import torch

    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 0.0)

    def run(x):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            heatmaps = network(torch_batch(x))
        loss = heatmaps.float().square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def torch_batch(x):
    import torch

    return torch.from_numpy(x.numpy()).permute(0, 3, 1, 2)  # [B, C, H, W], channels last in memory


def maps_of(network, x, training):
    """What a network gives; the maps of all stages end to end, [N], where it gives a list of them."""
    maps = network(x, training=training)
    flat = [tf.reshape(part, (-1,)) for part in maps] if isinstance(maps, list) else [maps]
    return tf.concat(flat, axis=0) if len(flat) > 1 else flat[0]


def forward_of(network):
    return tf.function(lambda x: maps_of(network, x, False))


def step_of(network):
    optimizer = keras.optimizers.Adam(0.0)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(maps_of(network, x, True)))
        optimizer.apply(tape.gradient(loss, network.trainable_variables))
        return loss

    return step


def main(_):
    print(f"batches of {FLAGS.batch} images, milliseconds an image, least of {FLAGS.repeats}")
    print(f"{'network':10} {'precision':10} {'':9} {'kerapose':>9} {'plain':>9} {'ratio':>6} {'torch':>9} {'ratio':>6}")
    for name in FLAGS.network:
        for policy in ("float32", "mixed_bfloat16"):
            keras.config.set_dtype_policy(policy)
            bfloat16 = policy == "mixed_bfloat16"
            ours, plain = build(name), build(name, plain=True)
            theirs = torch_network(ours) if FLAGS.torch else None
            images = tf.random.stateless_uniform((FLAGS.batch, *ours.input_shape[1:]), (0, 0))
            for label, make, make_torch in (("forward", forward_of, torch_forward), ("training", step_of, torch_step)):
                runs = [make(ours), make(plain), make_torch(theirs, bfloat16) if FLAGS.torch else None]
                times = [None if t is None else t * 1e3 / FLAGS.batch for t in seconds(runs, images, FLAGS.repeats)]
                shown = [f"{times[0]:9.1f}"]
                for other in times[1:]:
                    shown.append("        -      -" if other is None else f"{other:9.1f} {other / times[0]:6.2f}")
                print(f"{name:10} {policy.removeprefix('mixed_'):10} {label:9} {' '.join(shown)}", flush=True)


if __name__ == "__main__":
    flags.DEFINE_multi_enum("network", list(NETWORKS), list(NETWORKS), "Networks to measure.")
    flags.DEFINE_bool("torch", True, "Whether to run PyTorch beside them.")
    flags.DEFINE_integer("batch", 4, "Images a batch.")
    flags.DEFINE_integer("repeats", 3, "Counted runs of each.")
    app.run(main)
