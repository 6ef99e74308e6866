"""Open Model Zoo's Lightweight OpenPose out of OpenVINO's files, in all their precisions, and the real one."""

import pathlib

import numpy as np
import pytest

from kerapose import models, weights
from kerapose.ops import images
from kerapose.weights import matching
from kerapose.weights import openvino as reading

openvino = pytest.importorskip("openvino")

REAL = "human-pose-estimation-0001.xml"


def network(**options):
    options = {"filters": 8, "trunk_width": 0.25, "head_filters": 8, "elu_alignment": True} | options
    return models.LightweightOpenPose(3, 4, **options)


def constant(array, precision):
    """A node with an array as files of a precision keep it."""
    ops = openvino.opset13
    if precision == "FP16-INT8" and array.ndim > 2:
        scale = np.maximum(np.abs(array).max(axis=tuple(range(1, array.ndim)), keepdims=True), 1e-3)
        levels = np.round(array / scale * 127 + 127).astype("uint8")  # 0 to 254
        low, high = (ops.constant(np.float32(bound)) for bound in (0, 254))
        return ops.fake_quantize(
            ops.convert(ops.constant(levels), "f32"), low, high, ops.constant(-scale), ops.constant(scale), 255
        )
    if precision == "FP32":
        return ops.constant(array)
    return ops.convert(ops.constant(array.astype("float16")), "f32")


def write(path, state, precision, change=lambda node: node):
    """An .xml and a .bin with the convolutions of a state dict, each with a picture of its own.

    `change` is what is made of a kernel before it is used.
    """
    ops, pictures, results = openvino.opset13, [], []
    ours = {module: theirs for theirs, module in reading.NAMES.items()}

    def picture(channels):
        pictures.append(ops.parameter([1, channels, 4, 4], np.float32))
        return pictures[-1]

    def named(node, name):
        node.set_friendly_name(name)
        return node

    for name, kernel in state.items():
        if not name.endswith(".weight"):
            continue
        module = name.removesuffix(".weight")
        theirs = ours.get(module, module)
        is_depthwise = kernel.shape[1:] == (1, 3, 3)
        if module.endswith("trunk.0.initial.0"):  # which sees the fields in another order there
            features, heatmaps, pafs = np.split(kernel, [8, 11], axis=1)
            kernel = np.concatenate([pafs, heatmaps, features], axis=1)
            seen = [named(ops.relu(picture(4)), "conv5_5_CPM_L1"), named(ops.relu(picture(3)), "conv5_5_CPM_L2")]
            seen = ops.concat([*seen, named(ops.relu(picture(8)), "relu4_4_CPM")], 1)
        else:
            seen = picture(len(kernel) if is_depthwise else kernel.shape[1])
        pads = [(side - 1) // 2 for side in kernel.shape[2:]]
        if is_depthwise:
            node = ops.reshape(change(constant(kernel, precision)), [len(kernel), 1, 1, 3, 3], False)
            node = named(ops.group_convolution(seen, node, [1, 1], pads, pads, [1, 1]), theirs)
        else:
            node = change(constant(kernel, precision))
            node = named(ops.convolution(seen, node, [1, 1], pads, pads, [1, 1]), f"{theirs}/WithoutBiases")
        bias = constant(state[f"{module}.bias"].reshape(1, -1, 1, 1), "FP32" if precision == "FP32" else "FP16")
        results.append(ops.add(node, bias))
    openvino.serialize(openvino.Model(results, pictures, "pose"), path, path.with_suffix(".bin"))
    return path


def state_of(model, seed=0):
    """Random kernels and biases of every convolution, as if norms were folded into them."""
    random, state = np.random.default_rng(seed), {}
    for layer in model.layers:
        if isinstance(layer, matching.CONVOLUTIONS):
            shape = tuple(layer.kernel.shape)
            state[f"{layer.torch_names[0]}.weight"] = random.normal(0, 1, (shape[-1], shape[-2], *shape[:2]))
            if layer.depthwise:
                state[f"{layer.torch_names[0]}.weight"] = random.normal(0, 1, (shape[-2], 1, *shape[:2]))
            state[f"{layer.torch_names[0]}.bias"] = random.normal(0, 1, shape[-2] if layer.depthwise else shape[-1])
    return {name: array.astype("float32") for name, array in state.items()}


@pytest.mark.parametrize("precision, tolerance", [("FP32", 1e-6), ("FP16", 4e-3), ("FP16-INT8", 2e-2)])
def test_every_convolution_is_where_it_belongs(tmp_path, precision, tolerance):
    model = network()
    state = state_of(model)
    assert weights.load_openvino(model, write(tmp_path / "pose.xml", state, precision)) is model
    for layer in model.layers:
        if not isinstance(layer, matching.CONVOLUTIONS):
            continue
        axes = (2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0)
        expected = np.transpose(state[f"{layer.torch_names[0]}.weight"], axes)
        np.testing.assert_allclose(layer.kernel, expected, atol=tolerance)
        added = np.array(layer.bias) if layer.use_bias else np.array(layer.beta)
        np.testing.assert_allclose(added, state[f"{layer.torch_names[0]}.bias"], atol=min(tolerance, 4e-3))
        if layer.norm:  # it changes nothing
            scale, shift = layer._scale_and_shift(0.0)
            np.testing.assert_allclose(scale, 1, atol=1e-6)
            np.testing.assert_allclose(shift, 0 if layer.use_bias else added, atol=1e-6)


def test_the_published_network_gives_the_published_maps(shared_data):
    folder = shared_data("openvino_pose")
    model = models.LightweightOpenPose.from_variant("openpose_omz")
    weights.load_openvino(model, str(folder / REAL))
    with np.load(folder / "reference_outputs.npz") as known:
        name = next(name for name in known if name.endswith("_x"))
        pictures, expected = known[name], [known[name.replace("_x", kind)] for kind in ("_heat", "_paf")]
    rgb = pictures[None, ..., ::-1]  # what is kept is BGR
    found = model.predict_on_batch(images.normalize(rgb, mean=(0.502,) * 3, std=(1.0,) * 3, bgr=True))
    for maps, theirs in zip(found[-2:], expected, strict=True):
        theirs = np.moveaxis(theirs, 1, -1)
        np.testing.assert_allclose(maps, theirs, atol=2e-3)
        assert np.corrcoef(np.ravel(maps), np.ravel(theirs))[0, 1] > 0.999999


# ---------------------------------------- what does not fit
def refusal(model, path, error=ValueError):
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(error) as raised:
        weights.load_openvino(model, path)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    return str(raised.value)


def test_another_network_is_refused_with_every_name(tmp_path):
    state = state_of(network())
    del state["cpm.conv.0.weight"]
    state |= {"conv9.weight": np.ones((2, 2, 1, 1), "float32"), "conv9.bias": np.ones(2, "float32")}
    path = write(tmp_path / "pose.xml", state, "FP32")
    message = refusal(network(), path)
    assert "missing from the file: cpm.conv.0.bias, cpm.conv.0.weight;" in message
    assert "left over: conv9.bias, conv9.weight;" in message and 'with the variant "openpose_omz"' in message
    assert "left over: conv9.bias, conv9.weight, cpm.reduce.0.bias" in refusal(network(elu_alignment=False), path)
    assert "is for LightweightOpenPose, got C3D; use load_torch" in refusal(models.C3D(2, (2, 8, 8, 3), 2, 3), path)


def test_an_operation_on_kernels_that_is_not_known_is_refused(tmp_path):
    ops = openvino.opset13
    path = write(tmp_path / "pose.xml", state_of(network()), "FP16", lambda node: ops.abs(node))
    assert f"got {path} with the operation Abs on one; give the file in FP32, FP16 or" in refusal(network(), path)


def test_files_that_are_none_are_refused(tmp_path):
    path = write(tmp_path / "pose.xml", state_of(network()), "FP32")
    assert "pose.bin; give the .xml" in refusal(network(), path.with_suffix(".bin"))
    assert "there is no absent.xml; check the path" in refusal(network(), tmp_path / "absent.xml", FileNotFoundError)
    path.write_text(path.read_text()[:500])
    assert "which OpenVINO does not read (" in refusal(network(), path)
    path.with_suffix(".bin").unlink()
    assert "there is no pose.bin; check the path, or download both" in refusal(network(), path, FileNotFoundError)


def test_without_openvino_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    message = refusal(network(), pathlib.Path("pose.xml"), ImportError)
    assert "Reading this file needs openvino; pip install 'kerapose[openvino]'" in message


def test_a_graph_that_is_put_together_otherwise_is_refused_by_its_names(tmp_path):
    """Whatever is concatenated or added in it."""
    ops = openvino.opset13
    one, two = (ops.parameter([1, 2, 4, 4], np.float32) for _ in range(2))
    kernel = ops.constant(np.ones((3, 4, 1, 1), "float32"))
    node = ops.convolution(ops.concat([one, two], 1), kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    node.set_friendly_name("other")
    for added in (ops.constant(np.float32(2)), ops.constant(np.ones((1, 3, 4, 4), "float32"))):
        path = tmp_path / "other.xml"
        openvino.serialize(openvino.Model([ops.add(node, added)], [one, two], "other"), path, path.with_suffix(".bin"))
        assert "left over: other.bias, other.weight" in refusal(network(), path)
