"""The weights of keras.applications' networks, by the names of PyTorch's."""

import re
import typing
from pathlib import Path

import numpy as np

from kerapose.layers import BATCH_NORM_EPSILON
from kerapose.models.network import Network
from kerapose.weights.files import existing
from kerapose.weights.matching import NORM_NAMES

# What keras.applications does otherwise, and by which names.
EPSILON = 1.001e-5
ENDINGS = (".h5", ".hdf5")
CLASSIFIER = "predictions"
WEIGHTS = {"conv": ("kernel", "bias"), "bn": ("gamma", "beta", "moving_mean", "moving_variance")}

Layers: typing.TypeAlias = dict[str, dict[str, typing.Any]]  # arrays by layer and by weight


def read(source: typing.Any) -> Layers | None:
    """The weights of a keras.applications model by layer, {layer: {weight: array}}; None if `source` is none."""
    if hasattr(source, "layers"):
        return {layer.name: {w.name: np.asarray(w) for w in layer.weights} for layer in source.layers if layer.weights}
    if not isinstance(source, str | Path) or Path(source).suffix not in ENDINGS:
        return None
    path, layers = existing(Path(source)), {}

    def visit(name, item):
        if hasattr(item, "shape") and not name.startswith("optimizer"):
            layer, weight = _names(name, item.parent)
            layers.setdefault(layer, {})[weight] = np.asarray(item)

    import h5py  # Keras brings it along, but few need it

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file ({error}); download it again.") from error
    return layers


def _names(name, group):
    """Layer and weight of a dataset, in the older kind of file or in the one of Keras 3, which numbers the weights."""
    *_, parent, weight = ("", *name.split("/"))
    if parent != "vars":
        return parent, weight.split(":")[0]  # conv1_conv/conv1_conv/kernel:0
    layer = group.attrs.get("name", group.parent.name)  # layers/conv2d/vars/0, with the layer's name beside it
    known = WEIGHTS.get(layer.rpartition("_")[2], ())
    return layer, known[int(weight)] if int(weight) < len(known) else weight


def as_resnet(model: Network, layers: Layers) -> dict[str, typing.Any]:
    """The weights of a keras.applications ResNet as a state dict of PyTorch's, for our epsilon and without biases.

    A convolution's bias before a norm is as good as a lower running mean, another epsilon as another variance.
    """
    if not getattr(model, "stride_on_1x1", False):
        raise ValueError(
            "A ResNet of keras.applications has the stride of a bottleneck on its first convolution; build a "
            f"SimpleBaseline of depth 50, 101 or 152 with stride_on_1x1=True, got a {type(model).__name__} without."
        )
    state = {}
    for layer, arrays in layers.items():
        if layer == CLASSIFIER:
            continue
        module = _torch_module(layer)
        bias = layers.get(f"{layer.removesuffix('_bn')}_conv", {}).get("bias", 0.0)
        for weight, array in arrays.items():
            if module is None:
                state[f"{layer}/{weight}"] = array  # left over
            elif weight == "kernel":
                state[f"{module}.weight"] = np.moveaxis(array, (-1, -2), (0, 1))
            elif weight == "moving_mean":
                state[f"{module}.running_mean"] = array - bias
            elif weight == "moving_variance":
                state[f"{module}.running_var"] = array + (EPSILON - BATCH_NORM_EPSILON)
            elif not layer.endswith("_conv"):
                state[f"{module}.{NORM_NAMES.get(weight, weight)}"] = array
    return state


def _torch_module(layer):
    """ "conv3_block1_2_bn" -> "layer2.0.bn2"; its block's shortcut has the number 0. None if it is no such name."""
    match = re.fullmatch(r"conv(\d+)(?:_block(\d+)_(\d+))?_(conv|bn)", layer)
    if not match:
        return None
    stage, block, number, kind = match.groups()
    if block is None:
        return f"{kind}1" if stage == "1" else None
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}."
    return f"{prefix}downsample.{int(kind == 'bn')}" if number == "0" else f"{prefix}{kind}{number}"
