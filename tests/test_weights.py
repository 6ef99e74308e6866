"""Published checkpoints into our models: the names they come with, and every way in which they do not fit."""

import os
import pickle

import keras
import numpy as np
import pytest

from kerapose import models, weights

INPUT_SHAPE = (2, 8, 8, 3)
NUM_CLASSES = 5


def small_c3d(num_classes=NUM_CLASSES, **options):
    return models.C3D(num_classes, INPUT_SHAPE, base_filters=2, num_stages=3, **options)


def small_x3d():
    return models.X3D(NUM_CLASSES, INPUT_SHAPE, 8, (1, 1), 1.0, spatial_strides=(1, 2), se_ratio=0.25)


def c3d_state(num_classes=NUM_CLASSES, seed=0):
    """A state dict of the small C3D as PyTorch would write it, outputs first."""
    widths = {"conv1a": (3, 2), "conv2a": (2, 4), "conv3a": (4, 8), "conv3b": (8, 8), "conv4a": (8, 16)}
    widths["conv4b"] = (16, 16)
    random = np.random.default_rng(seed)
    state = {}
    for module, (inputs, outputs) in widths.items():
        state[f"{module}.conv.weight"] = random.normal(0, 0.3, (outputs, inputs, 3, 3, 3))
        for name in ("weight", "bias", "running_mean"):
            state[f"{module}.bn.{name}"] = random.normal(1, 0.3, outputs)
        state[f"{module}.bn.running_var"] = random.uniform(0.5, 1.5, outputs)
    state["fc_cls.weight"] = random.normal(0, 0.3, (num_classes, 16))
    state["fc_cls.bias"] = random.normal(0, 0.3, num_classes)
    return {name: array.astype("float32") for name, array in state.items()}


def as_published(state):
    """The names of a published file: two wrappings, and counters that inference does not need."""
    published = {}
    for name, array in state.items():
        published[("cls_head." if name.startswith("fc_cls") else "backbone.") + name] = array
        if name.endswith("running_var"):
            published["backbone." + name.replace("running_var", "num_batches_tracked")] = np.array(7)
    return published


def values(model):
    return [np.array(weight) for weight in model.weights]


def assert_loaded(model, state):
    """Every weight of the small C3D is where it belongs, seen from the layers' own names."""
    for layer in model.layers:
        if f"{layer.name}.conv.weight" in state:
            kernel = np.moveaxis(state[f"{layer.name}.conv.weight"], (0, 1), (-1, -2))
            np.testing.assert_array_equal(layer.kernel, kernel)
            np.testing.assert_array_equal(layer.gamma, state[f"{layer.name}.bn.weight"])
            np.testing.assert_array_equal(layer.beta, state[f"{layer.name}.bn.bias"])
            np.testing.assert_array_equal(layer.moving_mean, state[f"{layer.name}.bn.running_mean"])
            np.testing.assert_array_equal(layer.moving_variance, state[f"{layer.name}.bn.running_var"])
    classifier = model.get_layer("fc_cls")
    np.testing.assert_array_equal(classifier.kernel, state["fc_cls.weight"].T)
    np.testing.assert_array_equal(classifier.bias, state["fc_cls.bias"])


def refusal(model, source, error=ValueError):
    """What loading says, after checking that it left the model as it was."""
    before = values(model)
    with pytest.raises(error) as raised:
        weights.load_torch(model, source)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)
    return str(raised.value)


# ---------------------------------------- what fits
WRAPPINGS = {
    "bare": lambda state: state,
    "as published": as_published,
    "data parallel": lambda state: {f"module.{name}": array for name, array in as_published(state).items()},
    "in a state_dict": lambda state: {"meta": {"epoch": 24}, "state_dict": as_published(state)},
    "in a model": lambda state: {"model": state, "epoch": 3},
    "under a recognizer": lambda state: {f"model.{name}": array for name, array in as_published(state).items()},
    "in float64": lambda state: {name: array.astype("float64") for name, array in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_mapping_however_it_is_wrapped(wrap):
    model, state = small_c3d(), c3d_state()
    assert weights.load_torch(model, wrap(state)) is model
    assert_loaded(model, state)


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_torch_file(tmp_path, suffix, wrap):
    torch = pytest.importorskip("torch")
    model, state = small_c3d(), c3d_state()
    path = tmp_path / f"checkpoint{suffix}"
    torch.save(to_torch(wrap(state), torch), path)
    weights.load_torch(model, path)
    assert_loaded(model, state)


def to_torch(source, torch):
    if isinstance(source, dict):
        return {name: to_torch(value, torch) for name, value in source.items()}
    return torch.tensor(source) if isinstance(source, np.ndarray) else source


def test_half_precision_and_trainable_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    model, state = small_c3d(), c3d_state()
    tensors = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in state.items()}
    assert_loaded(weights.load_torch(model, tensors), state)
    torch.save({name: tensor.detach().bfloat16() for name, tensor in tensors.items()}, tmp_path / "half.pth")
    weights.load_torch(model, str(tmp_path / "half.pth"))
    np.testing.assert_allclose(model.get_layer("fc_cls").bias, state["fc_cls.bias"], rtol=2.0**-8)


def test_a_safetensors_file(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    model, state = small_c3d(), c3d_state()
    path = tmp_path / "checkpoint.safetensors"
    safetensors.save_file(as_published(state), path)
    weights.load_torch(model, path)
    assert_loaded(model, state)


def test_depthwise_and_squeeze_excitation_layouts():
    model = small_x3d()
    random = np.random.default_rng(0)
    shapes = {"conv1_s.conv.weight": (8, 3, 1, 3, 3), "conv1_t.conv.weight": (8, 1, 5, 1, 1)}
    shapes |= norm_shapes("conv1_t", 8)
    blocks = {"layer1.0": (8, 8, 18, 8), "layer2.0": (8, 16, 36, 16)}
    for block, (inputs, outputs, inside, squeezed) in blocks.items():
        shapes |= {f"{block}.conv1.conv.weight": (inside, inputs, 1, 1, 1)} | norm_shapes(f"{block}.conv1", inside)
        shapes |= {f"{block}.conv2.conv.weight": (inside, 1, 3, 3, 3)} | norm_shapes(f"{block}.conv2", inside)
        shapes |= {f"{block}.conv3.conv.weight": (outputs, inside, 1, 1, 1)} | norm_shapes(f"{block}.conv3", outputs)
        shapes |= {f"{block}.se_module.fc1.weight": (squeezed, inside, 1, 1, 1)}
        shapes |= {f"{block}.se_module.fc2.weight": (inside, squeezed, 1, 1, 1)}
        shapes |= {f"{block}.se_module.fc1.bias": (squeezed,), f"{block}.se_module.fc2.bias": (inside,)}
    shapes |= {"layer2.0.downsample.conv.weight": (16, 8, 1, 1, 1)} | norm_shapes("layer2.0.downsample", 16)
    shapes |= {"conv5.conv.weight": (36, 16, 1, 1, 1)} | norm_shapes("conv5", 36)
    shapes |= {"fc_cls.weight": (NUM_CLASSES, 36), "fc_cls.bias": (NUM_CLASSES,)}
    state = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    weights.load_torch(model, state)
    depthwise = state["layer1.0.conv2.conv.weight"]
    np.testing.assert_array_equal(model.get_layer("layer1.0.conv2").kernel, np.moveaxis(depthwise, (0, 1), (-2, -1)))
    dense = state["layer2.0.se_module.fc1.weight"]
    np.testing.assert_array_equal(model.get_layer("layer2.0.se_module.fc1").kernel, dense[:, :, 0, 0, 0].T)


def norm_shapes(module, width):
    return {f"{module}.bn.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}


def test_optimizer_and_policy_do_not_matter():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = small_c3d()
    finally:
        keras.config.set_dtype_policy(before)
    model.compile("sgd", "mse")
    state = c3d_state()
    weights.load_torch(model, state)
    assert_loaded(model, state)


# ---------------------------------------- what does not fit
def test_everything_wrong_is_in_one_error_and_the_model_unchanged():
    state = as_published(c3d_state())
    del state["backbone.conv3a.bn.bias"], state["backbone.conv1a.conv.weight"]
    state["backbone.conv9.conv.weight"] = np.zeros((1, 1, 3, 3, 3))
    state["backbone.conv2a.conv.weight"] = np.zeros((4, 2, 1, 3, 3))
    state["backbone.conv4b.bn.weight"] = np.zeros(17)
    message = refusal(small_c3d(), state)
    assert "does not fit C3D, which is left as it was" in message
    assert "2 missing from the file: conv1a.conv.weight, conv3a.bn.bias;" in message
    assert "1 left over: conv9.conv.weight;" in message
    assert "2 misshapen: conv2a.conv.weight (4, 2, 1, 3, 3) for our conv2a/kernel (3, 3, 3, 2, 4), " in message
    assert "conv4b.bn.weight (17,) for our conv4b/gamma (16,);" in message
    assert message.endswith(
        "; build the model with the variant, input channels and number of classes that the file was trained with."
    )


def test_another_number_of_classes_is_refused():
    message = refusal(small_c3d(num_classes=4), as_published(c3d_state(num_classes=5)))
    assert "2 misshapen: fc_cls.bias (5,) for our fc_cls/bias (4,), fc_cls.weight (5, 16) for our" in message
    assert "missing" not in message and "left over" not in message
    assert "number of classes" in message


def test_other_input_channels_are_refused():
    state = c3d_state()
    state["conv1a.conv.weight"] = np.zeros((2, 17, 3, 3, 3), "float32")
    assert "1 misshapen: conv1a.conv.weight (2, 17, 3, 3, 3)" in refusal(small_c3d(), state)


def test_another_architecture_is_refused():
    state = c3d_state()
    message = refusal(small_x3d(), state)
    assert "does not fit X3D" in message
    assert "missing from the file: conv1_s.conv.weight" in message and "left over: conv1a.bn.bias" in message
    deeper = models.C3D(NUM_CLASSES, INPUT_SHAPE[:1] + (16, 16, 3), base_filters=2)
    assert "10 missing from the file: conv5a.bn.bias" in refusal(deeper, state)


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (4, 2, 3, 3, 3, 1), (4, 54), ()])
def test_a_kernel_of_another_rank_is_refused(shape):
    state = c3d_state()
    state["conv2a.conv.weight"] = np.zeros(shape, "float32")
    assert "1 misshapen: conv2a.conv.weight" in refusal(small_c3d(), state)


@pytest.mark.parametrize("shape", [(5, 16, 2), (80,), ()])
def test_a_dense_kernel_of_another_rank_is_refused(shape):
    state = c3d_state()
    state["fc_cls.weight"] = np.zeros(shape, "float32")
    assert "1 misshapen: fc_cls.weight" in refusal(small_c3d(), state)


@pytest.mark.parametrize("source", [{}, {"state_dict": {}}, {"epoch": 3}])
def test_nothing_to_load_is_refused(source):
    assert "32 missing from the file" in refusal(small_c3d(), source)


def test_two_names_that_become_one_are_refused():
    state = as_published(c3d_state())
    state["conv1a.conv.weight"] = np.zeros_like(state["backbone.conv1a.conv.weight"])
    assert "1 repeated: conv1a.conv.weight;" in refusal(small_c3d(), state)


def test_a_model_with_other_layers_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization(name="norm")])
    message = refusal(model, {"norm.weight": np.ones(4)})
    assert "got the layer norm of class LayerNormalization; pass the network itself" in message


# ---------------------------------------- bad files
class Hostile:
    """What an attacker's pickle holds: loading it in full would run the command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["plain pickle", "torch archive"])
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path, kind):
    torch = pytest.importorskip("torch")
    path, trace = tmp_path / "hostile.pth", tmp_path / "trace"
    state = {"fc_cls.bias": torch.zeros(5), "extra": Hostile(f"touch '{trace}'")}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path)
    message = refusal(small_c3d(), path)
    assert "hostile.pth is not a readable checkpoint of plain tensors" in message and "download it again" in message
    assert not trace.exists()
    pickle.loads(pickle.dumps(state))  # the trap does work on whoever opens it carelessly
    assert trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_truncated_file_is_refused(tmp_path, kept, suffix):
    path = tmp_path / f"truncated{suffix}"
    if suffix == ".pth":
        pytest.importorskip("torch").save(c3d_state(), path)
    else:
        pytest.importorskip("safetensors.numpy").save_file(c3d_state(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    message = refusal(small_c3d(), path)
    assert f"truncated{suffix} is not a readable checkpoint" in message


def test_a_file_that_holds_no_mapping_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(3)], path)
    assert "maps names to arrays, got a list; save its state dict" in refusal(small_c3d(), path)


@pytest.mark.parametrize("name", ["weights.h5", "weights.ckpt", "weights"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"weights")
    assert f"ends in .pth, .pt or .safetensors, got {name}; convert or rename it" in refusal(small_c3d(), path)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_an_absent_file_is_named(tmp_path, kind):
    path = tmp_path / "absent.pth"
    message = refusal(small_c3d(), kind(path), FileNotFoundError)
    assert f"{path}, which does not exist; check the path" in message


def test_without_torch_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert "pip install 'kerapose[torch]'" in refusal(small_c3d(), path, ImportError)
