"""Published checkpoints into our models: the names they come with, and every way in which they do not fit."""

import os
import pickle
import re

import keras
import numpy as np
import pytest
from keras.src.applications import resnet as resnet_file  # its parts are not public

from kerapose import models, weights
from kerapose.models import simple_baseline
from kerapose.ops import images

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


@pytest.mark.parametrize(
    "suffix, wrapping", [(".pth", "bare"), (".pt", "as published"), (".pth.tar", "in a state_dict")]
)
def test_a_torch_file(tmp_path, suffix, wrapping):
    torch = pytest.importorskip("torch")
    model, state = small_c3d(), c3d_state()
    path = tmp_path / f"checkpoint{suffix}"
    torch.save(to_torch(WRAPPINGS[wrapping](state), torch), path)
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
    np.testing.assert_array_equal(model.get_layer("layer1_0_conv2").kernel, np.moveaxis(depthwise, (0, 1), (-2, -1)))
    dense = state["layer2.0.se_module.fc1.weight"]
    np.testing.assert_array_equal(model.get_layer("layer2_0_se_module_fc1").kernel, dense[:, :, 0, 0, 0].T)


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


# ---------------------------------------- names that a layer is given
def conv_shapes(module, inputs, outputs, kernel, norm=None, bias=False):
    """The names and shapes of a convolution of images and the norm after it, as PyTorch has them."""
    shapes = {f"{module}.weight": (outputs, inputs, kernel, kernel)}
    shapes |= {f"{module}.bias": (outputs,)} if bias else {}
    names = ("weight", "bias", "running_mean", "running_var") if norm else ()
    return shapes | {f"{norm}.{name}": (outputs,) for name in names}


def resnet18_shapes():
    """Of one of an eighth of its filters."""
    shapes = conv_shapes("conv1", 3, 8, 7, "bn1")
    width = 8
    for stage in range(4):
        for block, (inputs, outputs) in enumerate(((width, 8 * 2**stage), (8 * 2**stage, 8 * 2**stage))):
            name = f"layer{stage + 1}.{block}"
            shapes |= conv_shapes(f"{name}.conv1", inputs, outputs, 3, f"{name}.bn1")
            shapes |= conv_shapes(f"{name}.conv2", outputs, outputs, 3, f"{name}.bn2")
            if inputs != outputs:
                shapes |= conv_shapes(f"{name}.downsample.0", inputs, outputs, 1, f"{name}.downsample.1")
        width = 8 * 2**stage
    return shapes


def random_state(shapes, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.uniform(0.1, 1.0, shape).astype("float32") for name, shape in shapes.items()}


def small_baseline(**options):
    head = {"deconv_filters": (6, 4), "deconv_kernels": (4, 3), "deconv_bias": True}
    return models.SimpleBaseline(5, (64, 32, 3), **({"depth": 18, "base_filters": 8} | head | options))


def head_shapes():
    shapes = conv_shapes("deconv_layers.0", 6, 64, 4, "deconv_layers.1") | {"deconv_layers.0.bias": (6,)}
    shapes |= {f"deconv_layers.1.{name}": (6,) for name in ("weight", "bias", "running_mean", "running_var")}
    shapes["deconv_layers.0.weight"] = (64, 6, 4, 4)  # inputs first
    shapes |= conv_shapes("deconv_layers.3", 4, 4, 3, "deconv_layers.4", bias=True)
    shapes["deconv_layers.3.weight"] = (6, 4, 3, 3)
    return shapes | conv_shapes("final_layer", 4, 5, 1, bias=True)


def assert_conv_loaded(layer, state, module, norm=None):
    np.testing.assert_array_equal(layer.kernel, np.transpose(state[f"{module}.weight"], (2, 3, 1, 0)))
    if layer.use_bias:
        np.testing.assert_array_equal(layer.bias, state[f"{module}.bias"])
    for ours, theirs in (
        ("gamma", "weight"),
        ("beta", "bias"),
        ("moving_mean", "running_mean"),
        ("moving_variance", "running_var"),
    ):
        if norm:
            np.testing.assert_array_equal(getattr(layer, ours), state[f"{norm}.{theirs}"])


def test_a_pose_network_by_its_layers_given_names():
    state, model = random_state(resnet18_shapes() | head_shapes()), small_baseline()
    start, head = model.get_weights(), ("deconv_layers", "final_layer")
    for prefixes in (("", ""), ("backbone.", "keypoint_head."), ("module.backbone.", "module.head.")):
        model.set_weights(start)
        weights.load_torch(model, {prefixes[name.startswith(head)] + name: array for name, array in state.items()})
        assert_conv_loaded(model.get_layer("conv1"), state, "conv1", "bn1")
        assert_conv_loaded(model.get_layer("layer2_0_conv2"), state, "layer2.0.conv2", "layer2.0.bn2")
        names = ("layer2.0.downsample.0", "layer2.0.downsample.1")
        assert_conv_loaded(model.get_layer("layer2_0_downsample"), state, *names)
        assert_conv_loaded(model.get_layer("deconv_layers_3"), state, "deconv_layers.3", "deconv_layers.4")
        assert_conv_loaded(model.get_layer("final_layer"), state, "final_layer")


def test_wrappings_in_any_order():
    state = c3d_state()
    model = weights.load_torch(small_c3d(), {f"model.module.backbone.{name}": array for name, array in state.items()})
    assert_loaded(model, state)


def small_hourglass(num_joints=3):
    return models.StackedHourglass(num_joints, (64, 64, 3), num_stacks=1, filters=8)


def own_state(model, seed=0):
    """A state dict that fits a model, from the shapes of what it is built of."""
    shapes = {name: variable.shape for name, (variable, _) in weights.matching.slots_of(model).items()}
    shapes = {name: (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape for name, shape in shapes.items()}
    return random_state(shapes, seed)


def test_weights_that_the_reference_never_uses_are_known_by_name_and_shape():
    model = small_hourglass()
    state, unused = own_state(model), model.unused_torch_weights()
    assert "pre.3.skip_layer.conv.weight" in unused and "pre.1.skip_layer.conv.weight" not in unused
    weights.load_torch(model, state)
    weights.load_torch(model, state | random_state(unused))
    wrong = random_state(unused | {"pre.3.skip_layer.conv.bias": (127,)})
    message = refusal(model, state | wrong)
    assert "1 misshapen: pre.3.skip_layer.conv.bias (127,), unused, for (128,);" in message
    assert message.endswith("number of joints that the file was trained with.")
    message = refusal(model, state | {"pre.1.skip_layer.conv.scale": np.ones(128)})
    assert "1 left over: pre.1.skip_layer.conv.scale;" in message
    del state["pre.1.skip_layer.conv.weight"]
    assert "1 missing from the file: pre.1.skip_layer.conv.weight;" in refusal(model, state)


# ---------------------------------------- backbones
def backbone_refusal(model, source, error=ValueError):
    before = values(model)
    with pytest.raises(error) as raised:
        weights.load_backbone(model, source)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)
    return str(raised.value)


def imagenet_resnet18(seed=0):
    shapes = resnet18_shapes() | {"fc.weight": (1000, 64), "fc.bias": (1000,)}
    return random_state(shapes, seed) | {"bn1.num_batches_tracked": np.array(3)}


@pytest.mark.parametrize("kind", ["mapping", ".pth", ".safetensors"])
def test_a_resnet_of_torchvision(tmp_path, kind):
    state, model = imagenet_resnet18(), small_baseline()
    source, head = state, [np.array(w) for w in model.get_layer("deconv_layers_0").weights]
    if kind == ".pth":
        torch = pytest.importorskip("torch")
        source = tmp_path / "resnet18.pth"
        torch.save(to_torch(state, torch), source)
    elif kind == ".safetensors":
        source = tmp_path / "resnet18.safetensors"
        pytest.importorskip("safetensors.numpy").save_file(state, source)
    assert weights.load_backbone(model, source) is model
    assert_conv_loaded(model.get_layer("conv1"), state, "conv1", "bn1")
    assert_conv_loaded(model.get_layer("layer4_1_conv2"), state, "layer4.1.conv2", "layer4.1.bn2")
    names = ("layer3.0.downsample.0", "layer3.0.downsample.1")
    assert_conv_loaded(model.get_layer("layer3_0_downsample"), state, *names)
    for before, weight in zip(head, model.get_layer("deconv_layers_0").weights, strict=True):
        np.testing.assert_array_equal(before, weight)


def test_a_backbone_that_does_not_fit_is_refused_as_a_whole():
    state = imagenet_resnet18()
    del state["layer1.0.bn1.weight"]
    state |= {"layer5.0.conv1.weight": np.ones(3), "conv1.weight": np.ones((64, 1, 7, 7))}
    state["deconv_layers.0.weight"] = np.ones((512, 6, 4, 4))
    message = backbone_refusal(small_baseline(), state)
    assert "does not fit SimpleBaseline, which is left as it was" in message
    assert "1 missing from the file: layer1.0.bn1.weight;" in message
    assert "2 left over: deconv_layers.0.weight, layer5.0.conv1.weight;" in message
    assert "1 misshapen: conv1.weight (64, 1, 7, 7)" in message
    assert "the depth or width of the file; a whole pose network is for load_torch" in message
    message = backbone_refusal(small_baseline(depth=34), imagenet_resnet18())
    assert "missing from the file: layer1.2.bn1.bias" in message and "left over" not in message


def test_a_network_without_a_backbone_of_its_own_is_refused():
    message = backbone_refusal(small_hourglass(), imagenet_resnet18())
    assert "whose last layers may be others than the file's, got StackedHourglass" in message
    assert "use load_torch" in message


def test_actions_are_learnt_anew_from_what_a_network_of_others_knows():
    state, model = c3d_state(), small_c3d(num_classes=3)
    head = [np.array(weight) for weight in model.get_layer("fc_cls").weights]
    weights.load_backbone(model, as_published(state))
    np.testing.assert_array_equal(model.get_layer("conv1a").gamma, state["conv1a.bn.weight"])
    for old, new in zip(head, model.get_layer("fc_cls").weights, strict=True):
        np.testing.assert_array_equal(old, new)


def small_hrnet():
    return models.HRNet(5, (64, 32, 3), 4, (1, 1, 2), num_blocks=1)


def test_a_published_hrnet_of_imagenet():
    model = small_hrnet()
    state = {name: array for name, array in own_state(model).items() if not name.startswith("final_layer")}
    classifier = conv_shapes("incre_modules.0.0.conv1", 4, 32, 1, "incre_modules.0.0.bn1")
    classifier |= conv_shapes("downsamp_modules.0.0", 128, 256, 3, "downsamp_modules.0.1", bias=True)
    classifier |= conv_shapes("final_layer.0", 1024, 2048, 1, "final_layer.1", bias=True)
    classifier |= {"classifier.weight": (1000, 64), "classifier.bias": (1000,)}
    # The classifier reads all branches, the pose network only the finest.
    classifier |= conv_shapes("stage4.1.fuse_layers.2.3.0", 32, 16, 1, "stage4.1.fuse_layers.2.3.1")
    weights.load_backbone(model, state | random_state(classifier))
    names = ("stage4.0.fuse_layers.3.0.2.0", "stage4.0.fuse_layers.3.0.2.1")
    assert_conv_loaded(model.get_layer("stage4_0_fuse_layers_3_0_2"), state, *names)
    assert not np.any(model.get_layer("final_layer").bias)
    del state["stage4.0.fuse_layers.2.3.0.weight"]
    assert "1 missing from the file: stage4.0.fuse_layers.2.3.0.weight;" in backbone_refusal(model, state)


def mobilenet_shapes(width=1):
    """The MobileNet v1 of marvis/pytorch-mobilenet, whose modules are "model" and "fc"."""
    widths = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    shapes, inputs = conv_shapes("model.0.0", 3, 32 // width, 3, "model.0.1"), 32 // width
    for index, outputs in enumerate((size // width for size in widths), start=1):
        shapes |= conv_shapes(f"model.{index}.0", 1, inputs, 3, f"model.{index}.1")
        shapes |= conv_shapes(f"model.{index}.3", inputs, outputs, 1, f"model.{index}.4")
        inputs = outputs
    return shapes | {"fc.weight": (1000, inputs), "fc.bias": (1000,)}


def published_mobilenet(width=1):
    """As the published file has it: trained in parallel on several devices, with PyTorch's counters."""
    state = {f"module.{name}": array for name, array in random_state(mobilenet_shapes(width)).items()}
    counters = {f"module.model.{index}.1.num_batches_tracked": np.array(7) for index in range(14)}
    return {"epoch": 90, "arch": "mobilenet", "state_dict": state | counters, "best_prec1": 68.8}


def small_openpose(**options):
    return models.LightweightOpenPose(3, 4, num_refinements=1, filters=8, head_filters=8, trunk_width=0.25, **options)


@pytest.mark.parametrize("kind", ["mapping", "mobilenet_sgd.pth.tar", "in the older format.pth.tar"])
def test_a_mobilenet_of_imagenet(tmp_path, kind):
    source, model = published_mobilenet(width=4), small_openpose()
    state = {name.removeprefix("module."): array for name, array in source["state_dict"].items()}
    head = [np.array(w) for layer in model.layers if not layer.name.startswith("model_") for w in layer.weights]
    if kind != "mapping":
        torch = pytest.importorskip("torch")
        is_newer = "older" not in kind  # the file is of 2017, when PyTorch wrote no zip archives
        torch.save(to_torch(source, torch), tmp_path / kind, _use_new_zipfile_serialization=is_newer)
        source = tmp_path / kind
    assert weights.load_backbone(model, source) is model
    assert_conv_loaded(model.get_layer("model_0"), state, "model.0.0", "model.0.1")
    for index in (1, 7, 11):
        name = f"model.{index}"
        assert_conv_loaded(model.get_layer(f"model_{index}_pointwise"), state, f"{name}.3", f"{name}.4")
        depthwise = model.get_layer(f"model_{index}_depthwise")
        np.testing.assert_array_equal(depthwise.kernel, np.transpose(state[f"{name}.0.weight"], (2, 3, 0, 1)))
        np.testing.assert_array_equal(depthwise.moving_mean, state[f"{name}.1.running_mean"])
        assert depthwise.strides == (1, 1) or index == 1
    rest = [np.array(w) for layer in model.layers if not layer.name.startswith("model_") for w in layer.weights]
    for before, after in zip(head, rest, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_mobilenet_that_does_not_fit_is_refused_as_a_whole():
    model = small_openpose()
    message = backbone_refusal(model, published_mobilenet(width=2))
    assert "misshapen: model.0.0.weight (16, 3, 3, 3)" in message and "missing" not in message
    assert "the depth or width of the file" in message
    source = published_mobilenet(width=4)["state_dict"]
    del source["module.model.11.3.weight"]
    source["module.model.14.0.weight"] = np.zeros(3)
    message = backbone_refusal(model, source)
    assert "1 missing from the file: model.11.3.weight;" in message and "1 left over: 14.0.weight;" in message
    message = backbone_refusal(model, own_state(model))
    assert "left over: cpm.align.0.bias, cpm.align.0.weight, " in message and "is for load_torch" in message


# ---------------------------------------- ResNets of keras.applications
@pytest.fixture(scope="module")
def undrawn():
    """First weights of zero: those of a network at full width take long to draw, and none of them is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GlorotUniform", "RandomNormal", "VarianceScaling"):
            patch.setattr(getattr(keras.initializers, name), "__call__", keras.initializers.Zeros.__call__)
        yield


@pytest.fixture
def few_blocks(monkeypatch):
    """As many blocks as `applications_resnet` in place of 50 layers, and one more in place of 101."""
    monkeypatch.setitem(simple_baseline.RESNETS, 50, ((1, 2, 1, 1), True))
    monkeypatch.setitem(simple_baseline.RESNETS, 101, ((1, 2, 2, 1), True))


@pytest.fixture(scope="module")
def applications_resnet(undrawn):
    """A ResNet of theirs of few blocks, with weights that no initializer gives: here convolutions have biases."""

    def stages(x):
        for stage, (filters, blocks) in enumerate(((64, 1), (128, 2), (256, 1), (512, 1))):
            stride = 1 if stage == 0 else 2
            x = resnet_file.stack_residual_blocks_v1(x, filters, blocks, stride1=stride, name=f"conv{stage + 2}")
        return x

    resnet = resnet_file.ResNet(
        stages, preact=False, use_bias=True, include_top=False, weights=None, input_shape=(64, 64, 3), name="resnet"
    )
    random = np.random.default_rng(0)
    for weight in resnet.weights:
        if weight.name == "kernel":
            weight.assign(random.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
        elif weight.name == "moving_variance":
            weight.assign(random.uniform(1e-5, 1.5, weight.shape))
        else:
            weight.assign(random.normal(weight.name == "gamma", 0.3, weight.shape))
    return resnet


def write_older_h5(resnet, path):
    """As keras.applications downloads them: a group for each layer, the weights by their names."""
    import h5py

    with h5py.File(path, "w") as file:
        for layer in resnet.layers:
            for weight in layer.weights:
                file[f"{layer.name}/{layer.name}/{weight.name}:0"] = np.asarray(weight)


@pytest.mark.usefixtures("few_blocks")
def test_a_resnet_of_keras_applications(applications_resnet, tmp_path):
    model = models.SimpleBaseline(5, (64, 64, 3), deconv_filters=(4,), deconv_kernels=(4,), stride_on_1x1=True)
    start = model.get_weights()
    weights.load_backbone(model, applications_resnet)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3))
    exact = keras.applications.resnet.preprocess_input(pixels.astype("float32"))
    expected = np.asarray(applications_resnet(exact))
    features = keras.Model(model.input, model.get_layer("deconv_layers_0").input)
    np.testing.assert_allclose(features(exact), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    caffe = images.normalize(pixels, mean=(0.40760, 0.45796, 0.48502), std=(1 / 255,) * 3, bgr=True)  # as documented
    np.testing.assert_allclose(features(caffe), expected, rtol=0.01, atol=0.001 * np.abs(expected).max())
    loaded = model.get_weights()
    applications_resnet.save_weights(tmp_path / "resnet.weights.h5")
    write_older_h5(applications_resnet, tmp_path / "resnet_notop.h5")
    for path in (tmp_path / "resnet.weights.h5", str(tmp_path / "resnet_notop.h5")):
        model.set_weights(start)
        weights.load_backbone(model, path)
        for weight, wanted in zip(model.get_weights(), loaded, strict=True):
            np.testing.assert_array_equal(weight, wanted)


@pytest.mark.usefixtures("few_blocks")
def test_a_resnet_of_keras_applications_that_does_not_fit(applications_resnet, tmp_path):
    message = backbone_refusal(small_baseline(depth=50), applications_resnet)
    assert "build a SimpleBaseline of depth 50, 101 or 152 with stride_on_1x1=True, got a SimpleBaseline" in message
    assert "got a HRNet without" in backbone_refusal(small_hrnet(), applications_resnet)
    deeper = small_baseline(depth=101, stride_on_1x1=True, base_filters=64)
    message = backbone_refusal(deeper, applications_resnet)
    assert "missing from the file: layer3.1.bn1.bias" in message and "left over" not in message
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    message = backbone_refusal(deeper, other)
    assert "2 left over: dense/bias, dense/kernel;" in message and "missing from the file: bn1.bias" in message
    (tmp_path / "broken.h5").write_bytes(b"no such file")
    message = backbone_refusal(deeper, tmp_path / "broken.h5")
    assert "broken.h5 is not a readable HDF5 file" in message
    message = backbone_refusal(deeper, tmp_path / "absent.h5", FileNotFoundError)
    assert "absent.h5, which does not exist; check the path" in message


@pytest.mark.parametrize("kind", ["model", "mobilenet.weights.h5", "mobilenet_notop.h5"])
def test_a_mobilenet_of_keras_applications(tmp_path, kind):
    """The same features as far as neither dilates nor halves any more, but for where the cells lie."""
    mobilenet = source = keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None, include_top=False)
    random = np.random.default_rng(0)
    for weight in mobilenet.weights:
        if "kernel" in weight.name:
            weight.assign(random.normal(0, 2 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape))
        elif weight.name == "moving_variance":
            weight.assign(random.uniform(1e-4, 0.5, weight.shape))
        else:
            weight.assign(random.normal(weight.name == "gamma", 0.5, weight.shape))
    if kind == "mobilenet.weights.h5":
        source = tmp_path / kind
        mobilenet.save_weights(source)
    elif kind == "mobilenet_notop.h5":
        source = tmp_path / kind
        write_older_h5(mobilenet, source)
    model = models.LightweightOpenPose(3, 4, filters=8, trunk_width=0.25, head_filters=8, relu6=True)
    assert weights.load_backbone(model, source) is model
    pixels = random.integers(0, 256, (1, 96, 96, 3))
    theirs = keras.Model(mobilenet.input, mobilenet.get_layer("conv_pw_5_relu").output)
    expected = np.asarray(theirs(keras.applications.mobilenet.preprocess_input(pixels.astype("float32"))))
    ours = keras.Model(model.input, model.get_layer("model_5_pointwise").output)
    found = np.asarray(ours(images.normalize(pixels, mean=(0.5,) * 3, std=(0.5,) * 3)[:, 7:, 7:]))
    inside = np.s_[:, 3:8, 3:8]  # what lies outside is padded otherwise
    assert expected[inside].max() == 6.0
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)
    message = backbone_refusal(models.LightweightOpenPose(3, 4, filters=8, trunk_width=0.25, head_filters=8), source)
    assert "ReLUs that end at 6; build a LightweightOpenPose with relu6=True" in message


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
    assert re.search(r"hostile.pth with \S+, which could run code and is not read; get the file", message)
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


@pytest.mark.parametrize("name", ["weights.h5", "weights.ckpt", "weights.tar", "weights"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"weights")
    assert f"ends in .pth, .pt, .bin or .safetensors, got {name}; convert or rename it" in refusal(small_c3d(), path)


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
