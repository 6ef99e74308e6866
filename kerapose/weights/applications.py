"""The weights of keras.applications' networks, by the names of PyTorch's."""

import re
import typing
from pathlib import Path

import keras
import numpy as np

from kerapose.layers import BATCH_NORM_EPSILON
from kerapose.weights.files import existing
from kerapose.weights.matching import NORM_NAMES

# What keras.applications does otherwise, and by which names.
ENDINGS = (".h5", ".hdf5")
CLASSIFIERS = ("predictions", "conv_preds")
CONVOLUTION, NORM = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")
RESNET_EPSILON, MOBILENET_EPSILON = 1.001e-5, 1e-3

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
    known = NORM if layer.endswith("_bn") else CONVOLUTION if layer.startswith("conv") else ()
    return layer, known[int(weight)] if int(weight) < len(known) else weight


def as_resnet(model: keras.Model, layers: Layers) -> dict[str, typing.Any]:
    """The weights of a keras.applications ResNet as a state dict of PyTorch's."""
    if not getattr(model, "stride_on_1x1", False):
        raise ValueError(
            "A ResNet of keras.applications has the stride of a bottleneck on its first convolution; build a "
            f"SimpleBaseline of depth 50, 101 or 152 with stride_on_1x1=True, got a {type(model).__name__} without."
        )
    return _state(layers, _resnet_module, RESNET_EPSILON)


def as_mobilenet(model: keras.Model, layers: Layers) -> dict[str, typing.Any]:
    """The weights of a keras.applications MobileNet v1 as a state dict of PyTorch's."""
    if not model.relu6:
        raise ValueError(
            "A MobileNet of keras.applications has ReLUs that end at 6; build a LightweightOpenPose with relu6=True, "
            "got one without."
        )
    return _state(layers, _mobilenet_module, MOBILENET_EPSILON)


def _state(layers, module_of, epsilon):
    """A state dict of PyTorch's for our epsilon and without biases: what has no place keeps its name.

    A convolution's bias before a norm is as good as a lower running mean, another epsilon as another variance.
    """
    state = {}
    for layer, arrays in layers.items():
        if layer in CLASSIFIERS:
            continue
        module = module_of(layer)
        bias = layers.get(f"{layer.removesuffix('_bn')}_conv", {}).get("bias", 0.0)
        for weight, array in arrays.items():
            if module is None:
                state[f"{layer}/{weight}"] = array  # left over
            elif weight == "depthwise_kernel" or weight == "kernel" and layer.startswith("conv_dw"):
                state[f"{module}.weight"] = np.moveaxis(array, (-2, -1), (0, 1))  # [h, w, C, 1] -> [C, 1, h, w]
            elif weight == "kernel":
                state[f"{module}.weight"] = np.moveaxis(array, (-1, -2), (0, 1))
            elif weight == "moving_mean":
                state[f"{module}.running_mean"] = array - bias
            elif weight == "moving_variance":
                state[f"{module}.running_var"] = array + (epsilon - BATCH_NORM_EPSILON)
            elif not layer.endswith("_conv"):
                state[f"{module}.{NORM_NAMES.get(weight, weight)}"] = array
    return state


def _mobilenet_module(layer):
    """ "conv_pw_3_bn" -> "model.3.4", "conv1" -> "model.0.0". None if it is no such name."""
    if layer in ("conv1", "conv1_bn"):
        return f"model.0.{int(layer == 'conv1_bn')}"
    match = re.fullmatch(r"conv_(dw|pw)_(\d+)(_bn)?", layer)
    if not match:
        return None
    kind, block, norm = match.groups()
    return f"model.{block}.{3 * (kind == 'pw') + bool(norm)}"


def _resnet_module(layer):
    """ "conv3_block1_2_bn" -> "layer2.0.bn2"; its block's shortcut has the number 0. None if it is no such name."""
    match = re.fullmatch(r"conv(\d+)(?:_block(\d+)_(\d+))?_(conv|bn)", layer)
    if not match:
        return None
    stage, block, number, kind = match.groups()
    if block is None:
        return f"{kind}1" if stage == "1" else None
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}."
    return f"{prefix}downsample.{int(kind == 'bn')}" if number == "0" else f"{prefix}{kind}{number}"
