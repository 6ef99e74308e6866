"""Where each weight of a published checkpoint belongs, by its name: all of them or none."""

import re
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from kerapose.layers import (
    BatchNorm,
    ConvNorm,
    ConvTransposeNorm,
    Dense,
    FrameConvTransposeNorm,
    TemporalConvNorm,
)

# Beginnings that published files put before a module's own name.
WRAPPINGS = ("module.", "model.", "backbone.", "cls_head.", "keypoint_head.", "head.", "loss_module.", "loss.")
IGNORED_ENDINGS = ("num_batches_tracked",)

CONVOLUTIONS = (ConvNorm, ConvTransposeNorm, FrameConvTransposeNorm, TemporalConvNorm)

# What the weights of a batch norm are called in Keras and in PyTorch.
NORM_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

# By the name in PyTorch: the variable, and what turns PyTorch's array into the variable's.
Slots: typing.TypeAlias = dict[str, tuple[typing.Any, Callable[..., typing.Any]]]


def load(
    model: keras.Model,
    slots: Slots,
    source: Mapping[str, typing.Any],
    remedy: str,
    not_in_pose: Iterable[str] = (),
) -> keras.Model:
    """Puts the arrays of a state dict into the slots, all or none.

    Args:
        model: whose slots they are.
        slots: of `slots_of`.
        source: arrays or tensors by the names of PyTorch, wrapped or not.
        remedy: the end of the sentence that refuses it.
        not_in_pose: patterns of names that are left out.

    Raises:
        ValueError: naming every weight that is missing, left over, repeated or misshapen.
    """
    unused = model.unused_torch_weights() if hasattr(model, "unused_torch_weights") else {}
    names = [name for name in source if not name.endswith(IGNORED_ENDINGS)]
    known = {*slots, *unused}
    stripped = {name: _without_wrappings(name, known) for name in names}
    state = {stripped[name]: source[name] for name in names}
    repeated = sorted(name for name, count in Counter(stripped.values()).items() if count > 1)
    missing = sorted(set(slots) - set(state))
    left_over = sorted(set(state) - set(slots) - set(unused))
    left_over = [name for name in left_over if not any(re.match(pattern, name) for pattern in not_in_pose)]
    arrays, misshapen = {}, []
    for name in sorted(set(slots) & set(state)):
        variable, convert = slots[name]
        array = np.asarray(_to_numpy(state[name]))
        converted = convert(array, variable)
        if converted is None or converted.shape != tuple(variable.shape):
            misshapen.append(f"{name} {array.shape} for our {variable.path} {tuple(variable.shape)}")
        else:
            arrays[name] = converted
    for name in sorted(set(unused) & set(state)):
        if tuple(np.shape(state[name])) != unused[name]:
            misshapen.append(f"{name} {tuple(np.shape(state[name]))}, unused, for {unused[name]}")
    if missing or left_over or repeated or misshapen:
        raise ValueError(_mismatch(model, missing, left_over, repeated, misshapen, remedy))
    for name, array in arrays.items():
        slots[name][0].assign(array)
    return model


def slots_of(model: keras.Model, head: Iterable[str] = ()) -> Slots:
    """The slot of every weight by its name in PyTorch, without those of layers whose names begin with `head`."""
    slots = {}
    for layer in model.layers:
        if layer.name.startswith(tuple(head)):
            continue
        if isinstance(layer, CONVOLUTIONS):
            convolution, norm = layer.torch_names
            slots[f"{convolution}.weight"] = (layer.kernel, _convolution_kernel)
            if layer.use_bias:
                slots[f"{convolution}.bias"] = (layer.bias, _as_is)
            if hasattr(layer, "gamma"):
                slots |= _normslots_of(layer, norm)
        elif isinstance(layer, BatchNorm):
            slots |= _normslots_of(layer, *layer.torch_names)
        elif isinstance(layer, Dense):
            (name,) = layer.torch_names
            slots[f"{name}.weight"] = (layer.kernel, _dense_kernel)
            if layer.use_bias:
                slots[f"{name}.bias"] = (layer.bias, _as_is)
        elif hasattr(layer, "torch_weights"):  # a layer of one network, which names them itself
            slots |= slots_by_name(layer.torch_weights())
        elif layer.weights:
            raise ValueError(
                f"load_torch knows the weights of the package's layers, got the layer {layer.name} of "
                f"class {type(layer).__name__}; pass the network itself, not a model built around it, or call "
                "load_backbone for a network of which no more is published."
            )
    return slots


def slots_by_name(variables: Mapping[str, keras.Variable]) -> Slots:
    """The slots of variables of dense layers, whose names in PyTorch are known."""
    return {
        name: (variable, _dense_kernel if name.endswith(".weight") else _as_is) for name, variable in variables.items()
    }


def _normslots_of(layer, name):
    return {f"{name}.{theirs}": (getattr(layer, ours), _as_is) for ours, theirs in NORM_NAMES.items()}


def _convolution_kernel(array, variable):
    """[O, I, ...] -> [..., I, O]; transposed, [I, O, ...] -> [..., O, I]; depthwise, [C, 1, ...] -> [..., C, 1]."""
    if array.ndim != len(variable.shape):
        return None
    is_depthwise = variable.shape[-1] == 1 and array.shape[1] == 1
    outer = (0, 1) if is_depthwise else (1, 0)
    return np.transpose(array, (*range(2, array.ndim), *outer))


def _dense_kernel(array, variable):
    """[O, I] -> [I, O]; a 1 x 1 convolution [O, I, 1, ...] used as a dense layer likewise."""
    return array.reshape(array.shape[:2]).T if array.size == np.prod(array.shape[:2]) else None


def _as_is(array, variable):
    return array


def _without_wrappings(name, known):
    """A name without its wrappings. A known name has none: the trunk of a LightweightOpenPose is really "model"."""
    stripped = None
    while stripped != name:  # files have them in any order: "module.backbone.", "model.module."
        stripped = name
        for wrapping in WRAPPINGS:
            name = name if name in known else name.removeprefix(wrapping)
    return name


def _to_numpy(array):
    return array.detach().cpu().float().numpy() if hasattr(array, "detach") else array


def _mismatch(model, missing, left_over, repeated, misshapen, remedy):
    parts = [f"The checkpoint does not fit {type(model).__name__}, which is left as it was"]
    lists = {"missing from the file": missing, "left over": left_over, "repeated": repeated, "misshapen": misshapen}
    for what, names in lists.items():
        if names:
            parts.append(f"{len(names)} {what}: {', '.join(names)}")
    return "; ".join([*parts, remedy]) + "."
