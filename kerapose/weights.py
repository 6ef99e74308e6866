"""Published checkpoints into our models.

Each weight of a layer has a name in PyTorch, which the layer keeps in `torch_names` ("layer1.0.conv2.conv", in a layer
"layer1_0_conv2"): nothing is matched by order or by shape.
"""

import re
import typing
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from kerapose.layers import (
    BATCH_NORM_EPSILON,
    BatchNorm,
    ConvNorm,
    ConvTransposeNorm,
    Dense,
    FrameConvTransposeNorm,
    TemporalConvNorm,
)
from kerapose.models.network import Network

# Beginnings that published files put before a module's own name.
WRAPPINGS = ("module.", "model.", "backbone.", "cls_head.", "keypoint_head.", "head.")
NESTINGS = ("state_dict", "model", "model_state_dict")
IGNORED_ENDINGS = ("num_batches_tracked",)

# The classes and functions that the state of a NumPy generator is pickled with, by the names of old and new versions.
GENERATOR_STATE = (
    "numpy.random.__RandomState_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",
)

CONVOLUTIONS = (ConvNorm, ConvTransposeNorm, FrameConvTransposeNorm, TemporalConvNorm)

# What the weights of a batch norm are called in Keras and in PyTorch.
NORM_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

# What keras.applications does otherwise in its ResNets, and by which names.
APPLICATIONS_EPSILON = 1.001e-5
APPLICATIONS_ENDINGS = (".h5", ".hdf5")
APPLICATIONS_CLASSIFIER = "predictions"
APPLICATIONS_WEIGHTS = {"conv": ("kernel", "bias"), "bn": ("gamma", "beta", "moving_mean", "moving_variance")}


def load_torch(model: Network, source: str | Path | Mapping[str, typing.Any]) -> Network:
    """Loads the weights of a published PyTorch checkpoint into a model of ours.

    All or nothing: if any name is missing, left over, repeated or misshapen, the model is left as it was. Two kinds of
    names may be in the file without a place in ours: PyTorch's counters of batches, and what `unused_torch_weights` of
    the model names, weights that the reference holds and never uses. Those too must have the shape that they should.

    Args:
        model: a network of `kerapose.models`.
        source: a mapping of PyTorch state-dict names to arrays or tensors, or the path of a `.pth`, `.pt`, `.bin` or
            `.safetensors` file (".pth.tar" is a `.pth` too). The first three are read with `weights_only=True`, so they
            can run no code; that needs the extra `kerapose[torch]`. Wrappings ("module.", "backbone.", "cls_head.",
            "keypoint_head.", "head.", a "state_dict" entry; for a lifter "model_pos" or, with one output joint,
            "model_traj") are stripped.

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
    outputs = next((name for name in ("joints", "heatmaps") if hasattr(model, f"num_{name}")), "classes")
    remedy = f"build the model with the variant, input channels and number of {outputs} that the file was trained with"
    return _load(model, _slots(model), _read(source, getattr(model, "torch_nestings", ())), remedy)


def load_backbone(model: Network, source: str | Path | Mapping[str, typing.Any] | keras.Model) -> Network:
    """Loads what a network for ImageNet or Kinetics has learnt into one of ours, whose last layers stay as they are.

    All or nothing, as `load_torch`. What only the classifier has may be in the file and is left out: `fc` of a ResNet;
    of an HRNet `incre_modules`, `downsamp_modules`, `final_layer`, `classifier`, and the rows of the last fusion that
    lead to coarser branches; `fc` of an MC3; `model.12`, `model.13` and `fc` of a MobileNet.

    Args:
        model: SimpleBaseline, HRNet, LightweightOpenPose or STARTransformer.
        source: as for `load_torch`, with the names of torchvision's ResNets and MC3, of the published HRNets or of the
            MobileNet v1 that Lightweight OpenPose is trained from (marvis/pytorch-mobilenet). Or, for a SimpleBaseline
            of depth 50, 101 or 152, a ResNet of keras.applications, the model itself or an `.h5` file of its weights.
            That one needs `stride_on_1x1=True`, and images normalized as it was trained:
            `ops.images.normalize(images, mean=(0.40760, 0.45796, 0.48502), std=(1 / 255,) * 3, bgr=True)`.

    Returns:
        The model.

    Raises:
        ValueError: naming every weight that is missing, left over, repeated or misshapen; if the model has no such
            backbone or strides elsewhere; or if the file is of no known kind or broken.
        FileNotFoundError: if there is no such file.
        ImportError: if reading the file needs a package that is not installed.

    Example:
        >>> network = models.SimpleBaseline(17)
        >>> weights.load_backbone(network, "resnet50-0676ba61.pth")
        >>> network = models.SimpleBaseline(17, stride_on_1x1=True)
        >>> weights.load_backbone(network, keras.applications.ResNet50(include_top=False))
    """
    head = getattr(model, "HEAD", ())
    if not head:
        raise ValueError(
            "load_backbone is for SimpleBaseline, HRNet, LightweightOpenPose and STARTransformer, got "
            f"{type(model).__name__}, whose networks are published as a whole; use load_torch."
        )
    applications = _read_applications(source)
    source = _read(source) if applications is None else _from_applications(model, applications)
    slots = _slots(model, head)
    remedy = "build the model with the depth or width of the file; a whole pose network is for load_torch"
    return _load(model, slots, source, remedy, model.NOT_IN_POSE)


def _load(model, slots, source, remedy, not_in_pose=()):
    """Puts the arrays of `source` into the slots, all or none; `not_in_pose` are patterns of names to leave out."""
    unused = model.unused_torch_weights() if hasattr(model, "unused_torch_weights") else {}
    names = [name for name in source if not name.endswith(IGNORED_ENDINGS)]
    known = {*slots, *unused}
    stripped = {name: _strip(name, known) for name in names}
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


def _slots(model, head=()):
    """{PyTorch name: (variable, conversion)} of every weight, without those of layers whose names begin with `head`."""
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
                slots |= _norm_slots(layer, norm)
        elif isinstance(layer, BatchNorm):
            slots |= _norm_slots(layer, *layer.torch_names)
        elif isinstance(layer, Dense):
            (name,) = layer.torch_names
            slots[f"{name}.weight"] = (layer.kernel, _dense_kernel)
            slots[f"{name}.bias"] = (layer.bias, _as_is)
        elif layer.weights:
            raise ValueError(
                f"load_torch knows the weights of the package's layers, got the layer {layer.name} of "
                f"class {type(layer).__name__}; pass the network itself, not a model built around it, or call "
                "load_backbone for a network of which no more is published."
            )
    return slots


def _norm_slots(layer, name):
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


def _strip(name, known):
    """A name without its wrappings. A known name has none: the trunk of a LightweightOpenPose is really "model"."""
    stripped = None
    while stripped != name:  # files have them in any order: "module.backbone.", "model.module."
        stripped = name
        for wrapping in WRAPPINGS:
            name = name if name in known else name.removeprefix(wrapping)
    return name


def _read(source, nestings=()):
    """A flat mapping of names to arrays, whatever the source; `nestings` are names that hold the state dict in it."""
    if isinstance(source, str | Path):
        source = _read_file(Path(source))
    if not hasattr(source, "items"):
        raise ValueError(f"A checkpoint maps names to arrays, got a {type(source).__name__}; save its state dict.")
    for key in (*nestings, *NESTINGS):
        if key in source and hasattr(source[key], "items"):
            source = source[key]
    return source


def _read_file(path):
    _existing(path)
    suffix = Path(path.name.removesuffix(".tar")).suffix  # "mobilenet.pth.tar" is no archive, only called one
    if suffix not in (".pth", ".pt", ".bin", ".safetensors"):
        raise ValueError(
            f"A checkpoint ends in .pth, .pt, .bin or .safetensors, got {path.name}; convert or rename it."
        )
    load = _loader(suffix)
    try:
        return load(path)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} is not a readable checkpoint of plain tensors ({reason}); download it again, or save its state "
            "dict by itself."
        ) from error


def _existing(path):
    if not path.is_file():
        raise FileNotFoundError(f"A checkpoint is a file, got {path}, which does not exist; check the path.")
    return path


def _loader(suffix):
    if suffix == ".safetensors":
        return _need("safetensors.numpy", "safetensors").load_file
    torch = _need("torch", "torch")

    def load(path):
        # VideoPose3D keeps the state of NumPy's generator beside the weights, which PyTorch's safe reader refuses.
        # It is read as something that holds nothing and does nothing.
        with torch.serialization.safe_globals([(_Unread, name) for name in GENERATOR_STATE]):
            return torch.load(path, map_location="cpu", weights_only=True)

    return load


class _Unread:
    """Stands for whatever of a file is not read."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass


def _need(module, extra):
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise ImportError(f"Reading this file needs {extra}; pip install 'kerapose[torch]'.") from error


def _read_applications(source):
    """The weights of a keras.applications model by layer, {layer: {weight: array}}; None if `source` is none."""
    if hasattr(source, "layers"):
        return {layer.name: {w.name: np.asarray(w) for w in layer.weights} for layer in source.layers if layer.weights}
    if not isinstance(source, str | Path) or Path(source).suffix not in APPLICATIONS_ENDINGS:
        return None
    path, layers = _existing(Path(source)), {}

    def visit(name, item):
        if hasattr(item, "shape") and not name.startswith("optimizer"):
            layer, weight = _applications_names(name, item.parent)
            layers.setdefault(layer, {})[weight] = np.asarray(item)

    import h5py  # Keras brings it along, but few need it

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file ({error}); download it again.") from error
    return layers


def _applications_names(name, group):
    """Layer and weight of a dataset, in the older kind of file or in the one of Keras 3, which numbers the weights."""
    *_, parent, weight = ("", *name.split("/"))
    if parent != "vars":
        return parent, weight.split(":")[0]  # conv1_conv/conv1_conv/kernel:0
    layer = group.attrs.get("name", group.parent.name)  # layers/conv2d/vars/0, with the layer's name beside it
    known = APPLICATIONS_WEIGHTS.get(layer.rpartition("_")[2], ())
    return layer, known[int(weight)] if int(weight) < len(known) else weight


def _from_applications(model, layers):
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
        if layer == APPLICATIONS_CLASSIFIER:
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
                state[f"{module}.running_var"] = array + (APPLICATIONS_EPSILON - BATCH_NORM_EPSILON)
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


def _to_numpy(array):
    return array.detach().cpu().float().numpy() if hasattr(array, "detach") else array


def _mismatch(model, missing, left_over, repeated, misshapen, remedy):
    parts = [f"The checkpoint does not fit {type(model).__name__}, which is left as it was"]
    lists = {"missing from the file": missing, "left over": left_over, "repeated": repeated, "misshapen": misshapen}
    for what, names in lists.items():
        if names:
            parts.append(f"{len(names)} {what}: {', '.join(names)}")
    return "; ".join([*parts, remedy]) + "."
