"""LightweightOpenPose against the published network, and against PyTorch where no golden is; its training."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import layers, models, weights
from kerapose.models import lightweight_openpose

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Every kind of layer; no two numbers of channels are the same by chance.
SMALL = {"num_heatmaps": 4, "num_pafs": 6, "num_refinements": 2, "filters": 7, "trunk_width": 0.125, "head_filters": 5}


# A trunk and refinement stages of few blocks, but of every kind of block.
SHALLOW = {"TRUNK": ((16, 2, 1), (24, 2, 1), (32, 1, 2)), "REFINEMENT_BLOCKS": 1}


@pytest.fixture
def shallow(monkeypatch):
    for name, value in SHALLOW.items():
        monkeypatch.setattr(lightweight_openpose, name, value)


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def small(**changes):
    return models.LightweightOpenPose(**(SMALL | changes))


def small_under(policy):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        return small()
    finally:
        keras.config.set_dtype_policy(before)


def with_random_weights(network, seed=0):
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) > 1:
            fan_in = np.prod(weight.shape[:2]) if "depthwise" in weight.path else np.prod(weight.shape[:-1])
            weight.assign(random.normal(0, np.sqrt(2 / fan_in), weight.shape))
        else:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return network


def arrays(outputs):
    return [np.asarray(output) for output in outputs]


# ---------------------------------------- the published network
def test_fields_equal_those_of_the_published_network(golden):
    case = golden("lwopenpose_1ref_128x160")
    arguments = case.config["arguments"]
    network = models.LightweightOpenPose(
        arguments["num_heatmaps"],
        arguments["num_pafs"],
        num_refinements=arguments["num_refinement_stages"],
        filters=arguments["num_channels"],
    )
    weights.load_torch(network, case.state_dict)
    names = [f"output_stage{stage}_{field}" for stage in range(2) for field in ("heatmaps", "pafs")]
    assert names == [name for name in case.arrays if name.startswith("output_")]
    for name, maps in zip(names, arrays(network(np.moveaxis(case["input_image"], 1, -1))), strict=True):
        case.check(name, np.moveaxis(maps, -1, 1))
    count = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
    assert count == case.config["parameters"]
    assert (network.stride, network.num_stages) == (8, 2)


# ---------------------------------------- against PyTorch
class Torch:
    """The network in PyTorch's functions, from a state dict by its names; None in place of an activation is none."""

    def __init__(self, state):
        self.torch = pytest.importorskip("torch")
        self.state = {name: self.torch.from_numpy(array) for name, array in state.items()}

    def conv(self, x, name, activation="relu", norm=None, stride=1, dilation=1):
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        groups = x.shape[1] // weight.shape[1]
        padding = dilation * (weight.shape[-1] // 2)
        functional = self.torch.nn.functional
        x = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
        if norm:
            parts = (self.state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
            x = functional.batch_norm(x, *parts, eps=1e-5)
        return getattr(functional, activation)(x) if activation else x

    def separable(self, x, name, stride, dilation):
        x = self.conv(x, f"{name}.0", norm=f"{name}.1", stride=stride, dilation=dilation)
        return self.conv(x, f"{name}.3", norm=f"{name}.4")

    def stage(self, x, name):
        hidden = {field: self.conv(x, f"{name}.{field}.0.0") for field in ("heatmaps", "pafs")}
        return [self.conv(y, f"{name}.{field}.1.0", None) for field, y in hidden.items()]

    def __call__(self, x, num_refinements):
        x = self.conv(x, "model.0.0", norm="model.0.1", stride=2)
        for index in range(1, 12):
            x = self.separable(x, f"model.{index}", 2 if index in (2, 4) else 1, 2 if index == 7 else 1)
        y = x = self.conv(x, "cpm.align.0")
        for index in range(3):
            y = self.conv(self.conv(y, f"cpm.trunk.{index}.0", "elu"), f"cpm.trunk.{index}.2", "elu")
        features = x = self.conv(x + y, "cpm.conv.0")
        for index in range(3):
            x = self.conv(x, f"initial_stage.trunk.{index}.0")
        outputs = self.stage(x, "initial_stage")
        for stage in range(num_refinements):
            x = self.torch.cat([features, *outputs[-2:]], 1)
            for index in range(5):
                block = f"refinement_stages.{stage}.trunk.{index}"
                x = self.conv(x, f"{block}.initial.0")
                y = self.conv(x, f"{block}.trunk.0.0", norm=f"{block}.trunk.0.1")
                x = x + self.conv(y, f"{block}.trunk.1.0", norm=f"{block}.trunk.1.1", dilation=2)
            outputs += self.stage(x, f"refinement_stages.{stage}")
        return [np.moveaxis(output.numpy(), 1, -1) for output in outputs]


def state_of(network, seed=0):
    """A state dict for a network, with weights of its own."""
    state = {}
    for name, (variable, _) in weights.matching.slots_of(with_random_weights(network, seed)).items():
        array = np.asarray(variable)
        if array.ndim == 4:  # [h, w, I, O] -> [O, I, h, w]; depthwise, [h, w, C, 1] -> [C, 1, h, w]
            array = np.transpose(array, (2, 3, 0, 1) if "depthwise" in variable.path else (3, 2, 0, 1))
        state[name] = np.ascontiguousarray(array)
    return state


def test_fields_of_images_of_any_size_equal_pytorch():
    """Sizes that are no multiples of 8, and images smaller than the stride, too."""
    network = small()
    state = state_of(network)
    ref = Torch(state)
    weights.load_torch(with_random_weights(network, seed=1), state)
    for size in ((37, 75), (40, 56), (5, 3), (1, 1)):
        image = images(2, *size, 3)
        expected = ref(ref.torch.from_numpy(np.moveaxis(image, -1, 1).copy()), num_refinements=2)
        assert len(expected) == 2 * network.num_stages == 6
        for maps, wanted in zip(arrays(network(image)), expected, strict=True):
            assert maps.shape == wanted.shape == (2, -(-size[0] // 8), -(-size[1] // 8), maps.shape[-1])
            assert wanted.std() > 0.1
            np.testing.assert_allclose(maps, wanted, rtol=1e-4, atol=1e-4 * wanted.std(), err_msg=str(size))


@pytest.mark.usefixtures("shallow")
def test_without_refinements_the_initial_stage_is_all():
    whole, initial = with_random_weights(small()), small(num_refinements=0)
    assert initial.num_stages == 1 and len(initial.outputs) == 2
    for layer in filter(lambda layer: layer.weights, initial.layers):
        layer.set_weights(whole.get_layer(layer.name).get_weights())
    for maps, wanted in zip(initial(images(1, 16, 24, 3)), whole(images(1, 16, 24, 3))[:2], strict=True):
        np.testing.assert_allclose(maps, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("shallow")
def test_the_names_are_those_of_the_published_file_whatever_it_is_wrapped_in():
    network = small()
    state, image = state_of(network), images(1, 24, 24, 3)
    expected = arrays(network(image))
    for prefix in ("module.", "model.module."):
        wrapped = {"state_dict": {prefix + name: array for name, array in state.items()}, "iter": 370000}
        other = weights.load_torch(with_random_weights(small(), seed=1), wrapped)
        for maps, wanted in zip(arrays(other(image)), expected, strict=True):
            np.testing.assert_array_equal(maps, wanted)
    del state["model.0.0.weight"]
    with pytest.raises(ValueError, match=r"1 missing from the file: model\.0\.0\.weight; .* number of heatmaps that"):
        weights.load_torch(network, state)


# ---------------------------------------- one dilated convolution
def slow_convolution(x, kernel, dilation, depthwise):
    """[B, H, W, C] -> [B, H, W, C'], one cell and one tap at a time."""
    reach, (_, height, width, channels) = dilation * (kernel.shape[0] // 2), x.shape
    y = np.zeros((*x.shape[:3], channels if depthwise else kernel.shape[-1]))
    for row, column in np.ndindex(height, width):
        for i, j in np.ndindex(*kernel.shape[:2]):
            r, c = row + i * dilation - reach, column + j * dilation - reach
            if 0 <= r < height and 0 <= c < width:
                y[:, row, column] += x[:, r, c] * kernel[i, j, :, 0] if depthwise else x[:, r, c] @ kernel[i, j]
    return y


@pytest.mark.parametrize("size", [(6, 7), (5, 4), (2, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("dilation", [2, 3])
@pytest.mark.parametrize("depthwise", [False, True], ids=["plain", "depthwise"])
def test_a_dilated_convolution(depthwise, dilation, size):
    options = {"dilation": dilation, "depthwise": depthwise, "norm": False, "activation": None}
    layer, x = layers.ConvNorm(3, (3, 3), **options), images(2, *size, 3)
    assert layer(x).shape == layer.compute_output_shape(x.shape) == x.shape
    expected = slow_convolution(x, np.asarray(layer.kernel), dilation, depthwise)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(graph(x), expected, atol=1e-5)
    copy = layers.ConvNorm.from_config(layer.get_config())
    assert copy.dilation == dilation


@pytest.mark.parametrize("kernel_size, strides", [((3, 3), 2), ((3, 3), (1, 2)), ((3, 3, 3), 1)])
def test_a_dilation_is_for_a_convolution_over_space_without_strides(kernel_size, strides):
    with pytest.raises(
        ValueError, match="over space with stride 1, got dilation=2 with strides .*; leave one of them 1"
    ):
        layers.ConvNorm(4, kernel_size, strides, dilation=2)


# ---------------------------------------- precision, sizes, files
@pytest.mark.usefixtures("shallow")
def test_mixed_precision_keeps_the_fields_in_float32_and_close():
    exact, image = with_random_weights(small()), images(2, 48, 64, 3)
    mixed = small_under("mixed_bfloat16")
    mixed.set_weights(exact.get_weights())
    computing = {layer.compute_dtype for layer in mixed.layers if layer.weights and not layer.name.endswith("_1_0")}
    assert computing == {"bfloat16"}
    for maps, expected in zip(mixed(image), arrays(exact(image)), strict=True):
        assert keras.backend.standardize_dtype(maps.dtype) == "float32"
        assert 0 < np.abs(np.asarray(maps) - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.usefixtures("shallow")
def test_a_saved_network_takes_images_of_any_size(tmp_path):
    network = with_random_weights(small())
    assert network.input_shape == (None, None, None, 3)
    network.save(tmp_path / "openpose.keras")
    loaded, resized = keras.models.load_model(tmp_path / "openpose.keras"), network.resized((40, 56, 3))
    assert type(loaded) is models.LightweightOpenPose and loaded.num_stages == 3
    assert [output.shape[1:3] for output in resized.outputs] == [(5, 7)] * 6  # as many cells as rounded up
    for size in ((40, 56), (33, 20)):
        image = images(1, *size, 3)
        expected = arrays(network(image))
        assert all(maps.std() > 0.1 for maps in expected)
        for maps, wanted in zip(arrays(loaded(image)), expected, strict=True):
            np.testing.assert_array_equal(maps, wanted)
    for maps, wanted in zip(arrays(resized(images(1, 40, 56, 3))), arrays(network(images(1, 40, 56, 3))), strict=True):
        np.testing.assert_allclose(maps, wanted, rtol=1e-4, atol=1e-4)


def run_litert(path, image):
    return pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path)).get_signature_runner()(image=image)


def run_onnx(path, image):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return dict(zip(("heatmaps", "pafs"), session.run(["heatmaps", "pafs"], {"image": image}), strict=True))


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("file_format, file, run", [("litert", "m.tflite", run_litert), ("onnx", "m.onnx", run_onnx)])
def test_other_runtimes_give_the_same_fields_at_any_size(tmp_path, file_format, file, run):
    if file_format == "onnx":
        pytest.importorskip("tf2onnx")
    network = with_random_weights(small(num_refinements=1))
    inputs = keras.Input((None, None, 3), name="image")
    model = keras.Model(inputs, dict(zip(("heatmaps", "pafs"), network(inputs)[-2:], strict=True)))
    model(images(1, 16, 16, 3))
    model.export(tmp_path / file, format=file_format, verbose=False)
    for batch, size in ((1, (32, 40)), (2, (21, 51))):
        image = images(batch, *size, 3)
        answer, expected = run(tmp_path / file, image), arrays(network(image)[-2:])
        for name, wanted in zip(("heatmaps", "pafs"), expected, strict=True):
            assert wanted.std() > 0.1
            np.testing.assert_allclose(answer[name], wanted, rtol=1e-3, atol=1e-4 * wanted.std(), err_msg=name)


# ---------------------------------------- training
def gradients_of(network, image):
    """Of a sum of squares over all stages, by the weights."""
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_mean((maps - 0.5) ** 2) for maps in network(image, training=True)])
    return tape.gradient(loss, network.trainable_variables)


def is_bias_before_norm(network, variable):
    """Those of the refinement stages, which do nothing."""
    layer = next(layer for layer in network.layers if any(variable is weight for weight in layer.weights))
    return variable.path.endswith("bias") and hasattr(layer, "gamma")


@pytest.mark.usefixtures("shallow")
def test_it_begins_near_zero_and_every_weight_that_counts_learns_in_mixed_precision():
    """As it does in float32, too, which test_training shows."""
    keras.utils.set_random_seed(0)
    network = small_under("mixed_bfloat16")
    image, start = images(4, 40, 56, 3), network.get_weights()
    assert all(0 < maps.std() < 0.1 for maps in arrays(network(image, training=True)))
    gradients = gradients_of(network, image)
    keras.optimizers.Adam(0.01).apply(gradients, network.trainable_variables)
    for variable, before in zip(network.weights, start, strict=True):
        assert np.isfinite(variable.numpy()).all(), variable.path
        assert np.any(variable.numpy() != before) or is_bias_before_norm(network, variable), variable.path


@pytest.mark.usefixtures("shallow")
def test_no_gradient_is_that_of_a_dilated_convolution():
    """Which TensorFlow's own kernels do not have, on a CPU without oneDNN: the slow test below is on one."""
    network = small(num_refinements=1)
    graph = tf.function(gradients_of, autograph=False).get_concrete_function(network, images(2, 40, 56, 3)).graph
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    dilations = [tuple(node.attr["dilations"].list.i) for node in nodes if "Backprop" in node.op]
    assert len(dilations) > 30 and set(dilations) == {(1, 1, 1, 1)}


WITHOUT_ONEDNN = """
import json
import sys
import keras
import numpy as np
import tensorflow as tf
from kerapose.models import lightweight_openpose

given, arguments = np.load(sys.argv[1]), json.loads(sys.argv[3])
for name, value in arguments.pop("shallow").items():
    setattr(lightweight_openpose, name, value)
network = lightweight_openpose.LightweightOpenPose(**arguments)
network.set_weights([given[f"weight_{i}"] for i in range(len(network.weights))])
with tf.GradientTape() as tape:
    loss = tf.add_n([tf.reduce_mean((maps - 0.5) ** 2) for maps in network(given["image"], training=True)])
np.savez(sys.argv[2], *[gradient.numpy() for gradient in tape.gradient(loss, network.trainable_variables)])
"""


@pytest.mark.slow  # a process of its own, to compute what the test above sees in a graph
@pytest.mark.usefixtures("shallow")
def test_it_trains_on_a_cpu_without_onednn_too(tmp_path):
    """TensorFlow's own kernels cannot differentiate a dilated convolution; ours is split so that they need not."""
    network, image = with_random_weights(small(num_refinements=1)), images(2, 40, 56, 3)
    given = {f"weight_{i}": weight for i, weight in enumerate(network.get_weights())}
    np.savez(tmp_path / "given.npz", image=image, **given)
    files = (str(tmp_path / "given.npz"), str(tmp_path / "gradients.npz"))
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONEDNN, *files, json.dumps(SMALL | {"num_refinements": 1, "shallow": SHALLOW})],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0", "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    with np.load(tmp_path / "gradients.npz") as file:
        found = [file[name] for name in file.files]
    expected = gradients_of(network, image)
    for variable, gradient, wanted in zip(network.trainable_variables, arrays(found), arrays(expected), strict=True):
        assert np.any(wanted) or is_bias_before_norm(network, variable), variable.path
        np.testing.assert_allclose(gradient, wanted, atol=1e-3 * np.abs(wanted).max(), err_msg=variable.path)


# ---------------------------------------- widths and errors
@pytest.mark.parametrize(
    "trunk_width, widths",
    [(1.0, (32, 64, 128, 256, 512)), (0.35, (8, 24, 48, 88, 176)), (0.01, (8, 8, 8, 8, 8))],
)
def test_the_trunk_is_narrowed_in_multiples_of_eight(trunk_width, widths):
    filters = (lightweight_openpose.STEM_FILTERS, *sorted({block[0] for block in lightweight_openpose.TRUNK}))
    assert tuple(lightweight_openpose.scaled(width, trunk_width) for width in filters) == widths


@pytest.mark.usefixtures("shallow")
def test_a_wider_trunk_has_wider_layers_and_nothing_else_changes():
    narrow, wide = small(), small(trunk_width=2.0)
    assert [wide.get_layer(name).filters for name in ("model_0", "model_3_pointwise")] == [64, 64]
    assert [narrow.get_layer(name).filters for name in ("model_0", "model_3_pointwise")] == [8, 8]
    assert [w.shape for w in wide.get_layer("cpm_conv").weights] == [
        w.shape for w in narrow.get_layer("cpm_conv").weights
    ]
    assert [output.shape for output in wide.outputs] == [output.shape for output in narrow.outputs]


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"num_heatmaps": 0}, "num_heatmaps must be at least 1, got 0; use 19, as published"),
        ({"num_pafs": -2}, "num_pafs must be at least 1, got -2; use 38"),
        ({"num_refinements": -1}, "num_refinements must be at least 0, got -1; use 1"),
        ({"filters": 0}, "filters must be at least 1, got 0; use 128"),
        ({"head_filters": 0}, "head_filters must be at least 1, got 0; use 512"),
        ({"trunk_width": 0.0}, "trunk_width must be above 0, got 0.0; use 1.0"),
        ({"trunk_width": float("nan")}, "trunk_width must be above 0, got nan; use 1.0"),
    ],
)
def test_what_cannot_be_built_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        models.LightweightOpenPose(**options)
