"""Published PyTorch checkpoints into our models.

A layer is named after the PyTorch module that it stands for ("layer1.0.conv2"), so that a name of the state dict
follows from a layer's own: nothing is matched by order or by shape.
"""

from collections import Counter
from functools import partial
from pathlib import Path

import keras
import numpy as np

from kerapose.layers import ConvNorm

# Beginnings that published files put before a module's own name, in the order in which they are wrapped.
WRAPPINGS = ("module.", "model.", "backbone.", "cls_head.")
NESTINGS = ("state_dict", "model", "model_state_dict")
IGNORED_ENDINGS = ("num_batches_tracked",)


def load_torch(model, source):
    """Loads the weights of a published PyTorch checkpoint into a model of ours.

    All or nothing: if any name is missing, left over, repeated or misshapen, the model is left as it was.

    Args:
        model: a network of `kerapose.models`.
        source: a mapping of PyTorch state-dict names to arrays or tensors, or the path of a `.pth`, `.pt` or
            `.safetensors` file. A `.pth` is read with `weights_only=True`, so it can run no code; it needs the extra
            `kerapose[torch]`. Wrappings ("module.", "backbone.", "cls_head.", a "state_dict" entry) are stripped.

    Returns:
        The model.

    Raises:
        ValueError: naming every weight that is missing, left over, repeated or misshapen; or if the file is of no known
            kind or broken.
        FileNotFoundError: if there is no such file.
        ImportError: if reading the file needs a package that is not installed.

    Example:
        >>> network = models.SlowOnly.from_variant("slowonly", num_classes=60)
        >>> weights.load_torch(network, "slowonly_r50_ntu60_xsub_joint.pth")
    """
    source = _read(source)
    names = [name for name in source if not name.endswith(IGNORED_ENDINGS)]
    state = {_strip(name): source[name] for name in names}
    slots = _slots(model)
    missing = sorted(set(slots) - set(state))
    left_over = sorted(set(state) - set(slots))
    repeated = sorted(name for name, count in Counter(map(_strip, names)).items() if count > 1)
    arrays, misshapen = {}, []
    for name in sorted(set(slots) & set(state)):
        variable, convert = slots[name]
        array = np.asarray(_to_numpy(state[name]))
        converted = convert(array, variable)
        if converted is None or converted.shape != tuple(variable.shape):
            misshapen.append(f"{name} {array.shape} for our {variable.path} {tuple(variable.shape)}")
        else:
            arrays[name] = converted
    if missing or left_over or repeated or misshapen:
        raise ValueError(_mismatch(model, missing, left_over, repeated, misshapen))
    for name, array in arrays.items():
        slots[name][0].assign(array)
    return model


def _slots(model):
    """Every weight of a model by its PyTorch name: {name: (variable, conversion)}."""
    slots = {}
    for layer in model.layers:
        if isinstance(layer, ConvNorm):
            slots[f"{layer.name}.conv.weight"] = (layer.kernel, _convolution_kernel)
            if layer.norm:
                for ours, theirs in (
                    ("gamma", "weight"),
                    ("beta", "bias"),
                    ("moving_mean", "running_mean"),
                    ("moving_variance", "running_var"),
                ):
                    slots[f"{layer.name}.bn.{theirs}"] = (getattr(layer, ours), _as_is)
        elif isinstance(layer, keras.layers.Dense):
            slots[f"{layer.name}.weight"] = (layer.kernel, _dense_kernel)
            slots[f"{layer.name}.bias"] = (layer.bias, _as_is)
        elif layer.weights:
            raise ValueError(
                f"load_torch knows the weights of ConvNorm and Dense, got the layer {layer.name} of class "
                f"{type(layer).__name__}; pass the network itself, not a model built around it."
            )
    return slots


def _convolution_kernel(array, variable):
    """[O, I, ...] -> [..., I, O]; a depthwise [C, 1, ...] -> [..., C, 1]."""
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


def _strip(name):
    for wrapping in WRAPPINGS:
        name = name.removeprefix(wrapping)
    return name


def _read(source):
    """A flat mapping of names to arrays, whatever the source."""
    if isinstance(source, str | Path):
        source = _read_file(Path(source))
    if not hasattr(source, "items"):
        raise ValueError(f"A checkpoint maps names to arrays, got a {type(source).__name__}; save its state dict.")
    for key in NESTINGS:
        if key in source and hasattr(source[key], "items"):
            source = source[key]
    return source


def _read_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"A checkpoint is a file, got {path}, which does not exist; check the path.")
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise ValueError(f"A checkpoint ends in .pth, .pt or .safetensors, got {path.name}; convert or rename it.")
    load = _loader(path.suffix)
    try:
        return load(path)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} is not a readable checkpoint of plain tensors ({reason}); download it again, or save its state "
            "dict by itself."
        ) from error


def _loader(suffix):
    if suffix == ".safetensors":
        return _need("safetensors.numpy", "safetensors").load_file
    return partial(_need("torch", "torch").load, map_location="cpu", weights_only=True)


def _need(module, extra):
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise ImportError(f"Reading this file needs {extra}; pip install 'kerapose[torch]'.") from error


def _to_numpy(array):
    return array.detach().cpu().float().numpy() if hasattr(array, "detach") else array


def _mismatch(model, missing, left_over, repeated, misshapen):
    parts = [f"The checkpoint does not fit {type(model).__name__}, which is left as it was"]
    lists = {"missing from the file": missing, "left over": left_over, "repeated": repeated, "misshapen": misshapen}
    for what, names in lists.items():
        if names:
            parts.append(f"{len(names)} {what}: {', '.join(names)}")
    remedy = "build the model with the variant, input channels and number of classes that the file was trained with"
    return "; ".join([*parts, remedy]) + "."
