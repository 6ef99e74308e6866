"""The weights of Open Model Zoo's Lightweight OpenPose, from OpenVINO's own form, by the names of PyTorch's."""

import typing
from pathlib import Path

import keras
import numpy as np

from kerapose.layers import BATCH_NORM_EPSILON, ConvNorm
from kerapose.weights.files import need
from kerapose.weights.matching import CONVOLUTIONS

# The blocks of the MobileNet, which are numbered within their stages there and through here.
BLOCKS = ("2_1", "2_2", "3_1", "3_2", "4_1", "4_2", "5_1", "5_2", "5_3", "5_4", "5_5")
FIELDS = {"L1": "pafs", "L2": "heatmaps"}
STAGES = 5  # of refinement, at most


def _names():
    """What its convolutions are called there, as they were in Caffe, and here."""
    names = {"conv1": "model.0.0"}
    for index, block in enumerate(BLOCKS, start=1):
        names |= {f"conv{block}/dw": f"model.{index}.0", f"conv{block}/sep": f"model.{index}.3"}
    names |= {"conv4_3_CPM/al": "cpm.align.0", "conv4_3_CPM/red": "cpm.reduce.0", "conv4_4_CPM": "cpm.conv.0"}
    names |= {f"conv4_3_CPM/dw{index + 1}": f"cpm.trunk.{index}.0" for index in range(3)}
    names |= {f"conv4_3_CPM/dw{index + 1}/1x1": f"cpm.trunk.{index}.2" for index in range(2)}
    names |= {"conv4_3_CPM/inc": "cpm.trunk.2.2"}
    names |= {f"conv5_{index + 1}_CPM_L1": f"initial_stage.trunk.{index}.0" for index in range(3)}
    for branch, field in FIELDS.items():
        names |= {f"conv5_{4 + index}_CPM_{branch}": f"initial_stage.{field}.{index}.0" for index in range(2)}
    for stage in range(STAGES):
        ours = f"refinement_stages.{stage}"
        for block in range(5):
            there, here = f"Mconv{block + 1}_stage{stage + 2}_L1", f"{ours}.trunk.{block}"
            names |= {f"{there}/sq": f"{here}.initial.0", f"{there}/3x3": f"{here}.trunk.0.0"}
            names |= {f"{there}/3x3/2": f"{here}.trunk.1.0"}
        for branch, field in FIELDS.items():
            names |= {f"Mconv{6 + index}_stage{stage + 2}_{branch}": f"{ours}.{field}.{index}.0" for index in range(2)}
    return names


NAMES = _names()
ORDER = ("features", "heatmaps", "pafs")  # in which a refinement stage here sees what was found before


def read(path: Path, model: keras.Model) -> dict[str, typing.Any]:
    """A state dict for a LightweightOpenPose: batch norms, which are folded there, change nothing.

    Args:
        path: of the `.xml` file, with its `.bin` beside it.
        model: whose layers say which convolutions have a bias and which a norm.
    """
    layers = {layer.torch_names[0]: layer for layer in model.layers if isinstance(layer, CONVOLUTIONS)}
    state = {}
    for theirs, (kernel, bias) in _convolutions(path).items():
        module = NAMES.get(theirs, theirs)
        state[f"{module}.weight"] = kernel
        layer = layers.get(module)
        has_norm = isinstance(layer, ConvNorm) and layer.norm
        if not has_norm or layer.use_bias:
            state[f"{module}.bias"] = bias
            bias = np.zeros_like(bias)
        if has_norm:
            ones = np.ones_like(bias)
            values = {"weight": ones, "bias": bias, "running_mean": 0 * ones, "running_var": ones - BATCH_NORM_EPSILON}
            state |= {f"{layer.torch_names[1]}.{name}": array for name, array in values.items()}
    return state


def _convolutions(path):
    """{name: (kernel [O, I, h, w], bias [O])} of all convolutions of a file."""
    openvino = need("openvino", "openvino", "openvino")
    rule = f"A network of OpenVINO is an .xml file with its .bin beside it, got {path}"
    if path.suffix != ".xml":
        raise ValueError(f"{rule}; give the .xml.")
    for file in (path, path.with_suffix(".bin")):
        if not file.is_file():
            raise FileNotFoundError(f"{rule}, and there is no {file.name}; check the path, or download both.")
    try:
        graph = openvino.Core().read_model(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{rule}, which OpenVINO does not read ({reason}); download both anew.") from error
    found = {}
    for node in graph.get_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        kernel = _value(node.input_value(1).get_node(), path)
        if node.get_type_name() == "GroupConvolution":  # [C, 1, 1, h, w]
            kernel = kernel.reshape(kernel.shape[0] * kernel.shape[1], *kernel.shape[2:])
        seen = _without_rounding(node.input_value(0)).get_node()
        if seen.get_type_name() == "Concat":
            kernel = _in_our_order(kernel, seen)
        name = node.get_friendly_name().removesuffix("/WithoutBiases")
        found[name] = kernel, _bias(node, kernel.shape[0], path)
    return found


def _without_rounding(output):
    """What is handed on before it is rounded to the values that 8 bits have."""
    node = output.get_node()
    return _without_rounding(node.input_value(0)) if node.get_type_name() in ("FakeQuantize", "Convert") else output


def _in_our_order(kernel, concat):
    """A kernel [O, I, h, w] that sees features and fields one after another, with its inputs in the order of ours."""
    inputs = [_without_rounding(concat.input_value(index)) for index in range(concat.get_input_size())]
    ends = np.cumsum([output.get_partial_shape()[1].get_length() for output in inputs])
    kinds = [FIELDS.get(output.get_node().get_friendly_name()[-2:], "features") for output in inputs]
    if sorted(kinds) != sorted(ORDER):
        return kernel  # of another network, whose names will tell
    parts = dict(zip(kinds, np.split(kernel, ends[:-1], axis=1), strict=True))
    return np.concatenate([parts[kind] for kind in ORDER], axis=1)


def _bias(convolution, count, path):
    """What is added to a convolution's answer: [O], zeros if nothing is."""
    for target in convolution.output(0).get_target_inputs():
        node = target.get_node()
        if node.get_type_name() == "Add":
            other = node.input_value(1 - target.get_index()).get_node()
            added = _value(other, path) if _is_constant(other) else None
            if added is not None and added.size in (1, count):
                return np.broadcast_to(added.reshape(-1), (count,))
    return np.zeros(count, "float32")


def _is_constant(node):
    """Whether nothing but constants goes into a node."""
    inputs = [node.input_value(index).get_node() for index in range(node.get_input_size())]
    return node.get_type_name() == "Constant" or bool(inputs) and all(map(_is_constant, inputs))


def _value(node, path):
    """The float32 array of a node that depends on constants alone: weights in 16 bits, or in 8 with their scales."""
    kind = node.get_type_name()
    if kind == "Constant":
        return np.array(node.data)
    if kind == "Parameter" or not node.get_input_size():
        raise ValueError(
            f"A kernel must be a constant, got one of {path} that depends on the input; give another file."
        )
    inputs = [_value(node.input_value(index).get_node(), path) for index in range(node.get_input_size())]
    x = inputs[0].astype("float32")
    if kind == "Convert":
        return x
    if kind == "Reshape":
        return x.reshape(inputs[1])
    if kind in ("Multiply", "Subtract", "Add"):
        y = inputs[1].astype("float32")
        return {"Multiply": x * y, "Subtract": x - y, "Add": x + y}[kind]
    if kind == "FakeQuantize":
        low, high, to_low, to_high = (array.astype("float32") for array in inputs[1:])
        steps = node.get_attributes()["levels"] - 1
        level = np.round((np.clip(x, low, high) - low) / (high - low) * steps)
        return level / steps * (to_high - to_low) + to_low
    raise ValueError(
        f"A kernel must be stored as floats or as whole numbers with scales, got {path} with the operation {kind} on "
        "one; give the file in FP32, FP16 or FP16-INT8."
    )
