"""SimpleBaseline, HRNet and StackedHourglass against the published networks, and against PyTorch where no golden is.

That every weight of theirs learns is shown in test_training.
"""

import functools

import keras
import numpy as np
import pytest

from kerapose import export, models, weights
from kerapose.models import hrnet as hrnet_file
from kerapose.models import simple_baseline as simple_baseline_file
from kerapose.models import stacked_hourglass

CASES = (
    *("simplebaseline_r18_128x96", "simplebaseline_r50_128x96"),
    *("hrnet_w16_tiny_64x64", "hrnet_w32_128x96"),
    *("hourglass_1stack_64_increase", "hourglass_2stack_128"),
)

IN_A_GRAPH = {"simplebaseline_r18_128x96", "hrnet_w16_tiny_64x64"}

# Every kind of layer, and seconds to convert.
SMALL = {
    "simple_baseline": (
        models.SimpleBaseline,
        {
            "image_shape": (64, 32, 3),
            "depth": 18,
            "deconv_filters": (8, 8, 8),
            "deconv_kernels": (4, 3, 2),
            "base_filters": 8,
        },
    ),
    "hrnet": (models.HRNet, {"image_shape": (64, 32, 3), "width": 4, "num_modules": (1, 1, 1), "num_blocks": 1}),
    "hourglass": (models.StackedHourglass, {"image_shape": (64, 64, 3), "num_stacks": 2, "filters": 8}),
}


# ---------------------------------------- the published networks
def build(case):
    """The network of a golden's configuration, with its weights, and the golden's images, channels last."""
    make = {"PoseResNet": simple_baseline, "PoseHighResolutionNet": hrnet, "PoseNet": hourglass}[case.config["class"]]
    image = case["input_image"]
    image = image if case.config["class"] == "PoseNet" else np.moveaxis(image, 1, -1)  # [B, H, W, 3]
    return weights.load_torch(make(case.config["arguments"], image.shape[1:]), case.state_dict), image


def simple_baseline(arguments, image_shape):
    return models.SimpleBaseline(
        arguments["NUM_JOINTS"],
        image_shape,
        depth=arguments["NUM_LAYERS"],
        deconv_filters=arguments["NUM_DECONV_FILTERS"],
        deconv_kernels=arguments["NUM_DECONV_KERNELS"],
        deconv_bias=arguments["DECONV_WITH_BIAS"],
        final_kernel=arguments["FINAL_CONV_KERNEL"],
        stride_on_1x1=arguments["STYLE"] == "caffe",
    )


def hrnet(arguments, image_shape):
    stages = [arguments[f"STAGE{stage}"] for stage in (2, 3, 4)]
    return models.HRNet(
        arguments["NUM_JOINTS"],
        image_shape,
        width=stages[0]["NUM_CHANNELS"][0],
        num_modules=[stage["NUM_MODULES"] for stage in stages],
        num_blocks=stages[0]["NUM_BLOCKS"][0],
        block=stages[0]["BLOCK"].lower(),
        final_kernel=arguments["FINAL_CONV_KERNEL"],
    )


def hourglass(arguments, image_shape):
    return models.StackedHourglass(
        arguments["oup_dim"],
        image_shape,
        num_stacks=arguments["nstack"],
        filters=arguments["inp_dim"],
        increase=arguments.get("increase", 0),
    )


def check(case, heatmaps):
    heatmaps = np.moveaxis(heatmaps, -1, -3)  # [B, K, H, W] or [B, S, K, H, W]
    if heatmaps.ndim == 4:
        case.check("output_heatmaps", heatmaps)
        return
    assert heatmaps.shape[1] == sum(name.startswith("output_stack") for name in case.arrays)
    for stack in range(heatmaps.shape[1]):
        case.check(f"output_stack{stack}", heatmaps[:, stack])


@pytest.fixture
def undrawn(monkeypatch):
    """First weights of zero, for networks that get all of theirs from elsewhere: large ones take long to draw."""
    for name in ("RandomNormal", "VarianceScaling"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", keras.initializers.Zeros.__call__)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", CASES)
def test_heatmaps_equal_those_of_the_published_network(golden, name):
    case = golden(name)
    network, image = build(case)
    if name in IN_A_GRAPH:  # and in batches of one; the graph of any takes far longer to trace than to run
        check(case, network.predict(image, batch_size=1, verbose=0))
    else:
        check(case, np.asarray(network(image)))
    unused = network.unused_torch_weights()
    assert count_trained(network) + sum(np.prod(shape) for shape in unused.values()) == case.config["parameters"]
    if name == "hourglass_1stack_64_increase":
        assert len(unused) == 2 * 13  # of the 17 residual blocks all but the four that change the width
        assert all(case.state_dict[name].shape == shape for name, shape in unused.items())
        state = {name: array for name, array in case.state_dict.items() if name not in unused}
        check(case, np.asarray(weights.load_torch(with_random_weights(network), state)(image)))  # these may be left out


def count_trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


# ---------------------------------------- against PyTorch
class Torch:
    """A network in PyTorch's functions, one call for each module; it makes up its weights, and keeps them by name."""

    def __init__(self):
        self.torch = pytest.importorskip("torch")
        self.functional = self.torch.nn.functional
        self.random = np.random.default_rng(0)
        self.state = {}

    def weight(self, name, value):
        assert name not in self.state
        self.state[name] = value.astype("float32")
        return self.torch.from_numpy(self.state[name])

    def kernel(self, name, *shape):
        return self.weight(f"{name}.weight", self.random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape))

    def bias(self, name, size):
        return self.weight(f"{name}.bias", self.random.normal(0, 0.3, size))

    def conv(self, x, name, filters, kernel, stride=1, bias=False):
        weight = self.kernel(name, filters, x.shape[1], kernel, kernel)
        bias = self.bias(name, filters) if bias else None
        return self.functional.conv2d(x, weight, bias, stride, (kernel - 1) // 2)

    def deconv(self, x, name, filters, kernel, bias=False):
        weight = self.kernel(name, x.shape[1], filters, kernel, kernel)
        bias = self.bias(name, filters) if bias else None
        padding, output_padding = {4: (1, 0), 3: (1, 1), 2: (0, 0)}[kernel]
        return self.functional.conv_transpose2d(x, weight, bias, 2, padding, output_padding)

    def norm(self, x, name):
        size = x.shape[1]
        mean = self.weight(f"{name}.running_mean", self.random.normal(0, 0.3, size))
        variance = self.weight(f"{name}.running_var", self.random.uniform(0.5, 1.5, size))
        scale = self.weight(f"{name}.weight", self.random.uniform(0.5, 1.5, size))
        return self.functional.batch_norm(x, mean, variance, scale, self.bias(name, size), eps=1e-5)

    def block(self, x, name, filters, bottleneck, stride=1, stride_on_1x1=False):
        first = stride if stride_on_1x1 else 1
        convs = [(filters, 1, first), (filters, 3, stride // first), (filters * 4, 1, 1)]
        convs = convs if bottleneck else [(filters, 3, stride), (filters, 3, 1)]
        y, shortcut = x, x
        for index, (width, kernel, step) in enumerate(convs, start=1):
            y = self.torch.relu(y) if index > 1 else y
            y = self.norm(self.conv(y, f"{name}.conv{index}", width, kernel, step), f"{name}.bn{index}")
        if y.shape != x.shape:
            shortcut = self.conv(x, f"{name}.downsample.0", y.shape[1], 1, stride)
            shortcut = self.norm(shortcut, f"{name}.downsample.1")
        return self.torch.relu(y + shortcut)

    def sequence(self, x, name, filters, kernel, stride=1, relu=True):
        y = self.norm(self.conv(x, f"{name}.0", filters, kernel, stride), f"{name}.1")
        return self.torch.relu(y) if relu else y


def torch_simple_baseline(ref, x, blocks, bottleneck, kernels, bias, final_kernel, stride_on_1x1, num_joints=3):
    x = ref.torch.relu(ref.norm(ref.conv(x, "conv1", 8, 7, 2), "bn1"))
    x = ref.functional.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(blocks):
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            x = ref.block(x, f"layer{stage + 1}.{index}", 8 * 2**stage, bottleneck, stride, stride_on_1x1)
    for index, kernel in enumerate(kernels):
        x = ref.deconv(x, f"deconv_layers.{3 * index}", 4 + index, kernel, bias)
        x = ref.torch.relu(ref.norm(x, f"deconv_layers.{3 * index + 1}"))
    return ref.conv(x, "final_layer", num_joints, final_kernel, bias=True)


def torch_hrnet(ref, x, width, num_modules, num_blocks, bottleneck, final_kernel, num_joints=3):
    """Each sum at its own resolution, the terms in the order of the branches, as published."""
    for index in (1, 2):
        x = ref.torch.relu(ref.norm(ref.conv(x, f"conv{index}", 64, 3, 2), f"bn{index}"))
    x = ref.block(x, "layer1.0", 64, True)
    xs = [x]
    for stage, modules in enumerate(num_modules, start=2):
        widths = [width * 2**index * (4 if bottleneck else 1) for index in range(stage)]
        xs = [
            x if x.shape[1] == widths[index] else ref.sequence(x, f"transition{stage - 1}.{index}", widths[index], 3)
            for index, x in enumerate(xs)
        ] + [ref.sequence((xs if stage > 2 else [x])[-1], f"transition{stage - 1}.{stage - 1}.0", widths[-1], 3, 2)]
        for module in range(modules):
            name = f"stage{stage}.{module}"
            for index in range(stage):
                for block in range(num_blocks):
                    block_name = f"{name}.branches.{index}.{block}"
                    xs[index] = ref.block(xs[index], block_name, width * 2**index, bottleneck)
            outputs = 1 if stage == 4 and module == modules - 1 else stage
            xs = [torch_fusion(ref, xs, index, f"{name}.fuse_layers.{index}") for index in range(outputs)]
    return ref.conv(xs[0], "final_layer", num_joints, final_kernel, bias=True)


def torch_fusion(ref, xs, index, name):
    total, width = 0, xs[index].shape[1]
    for other, x in enumerate(xs):
        if other > index:
            x = ref.sequence(x, f"{name}.{other}", width, 1, relu=False)
            x = ref.functional.interpolate(x, scale_factor=2 ** (other - index), mode="nearest")
        for step in range(index - other):
            is_last = step == index - other - 1
            x = ref.sequence(x, f"{name}.{other}.{step}", width if is_last else x.shape[1], 3, 2, relu=not is_last)
        total = total + x
    return ref.torch.relu(total)


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def assert_equal_to_torch(network, ref, image, expected):
    weights.load_torch(network, ref.state)  # which also compares every name and shape
    expected = np.moveaxis(expected.numpy(), 1, -1)
    heatmaps = np.asarray(network(image))
    assert heatmaps.shape == expected.shape and expected.std() > 0.1
    np.testing.assert_allclose(heatmaps, expected, rtol=1e-3, atol=1e-4 * expected.std())


# Of the kinds of blocks, strides and transposed convolutions; that each depth has its blocks the goldens and the counts
# of parameters of the published networks show.
RESNETS = {
    "bottlenecks, stride on 1x1, deconvs with bias": (50, (1, 1, 2, 1), (64, 64), (3, 2, 4), True, 1, True),
    "basic blocks, other kernels, odd sides": (34, (1, 2, 1, 1), (75, 41), (2, 3), False, 3, False),
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("case", RESNETS.values(), ids=RESNETS)
def test_simple_baseline_equals_pytorch(case, monkeypatch):
    depth, blocks, size, kernels, bias, final_kernel, stride_on_1x1 = case
    monkeypatch.setitem(simple_baseline_file.RESNETS, depth, (blocks, depth >= 50))
    ref, image = Torch(), images(2, *size, 3)
    x = ref.torch.from_numpy(np.moveaxis(image, -1, 1))
    expected = torch_simple_baseline(ref, x, blocks, depth >= 50, kernels, bias, final_kernel, stride_on_1x1)
    network = models.SimpleBaseline(
        3,
        (*size, 3),
        depth=depth,
        deconv_filters=[4 + index for index in range(len(kernels))],
        deconv_kernels=kernels,
        deconv_bias=bias,
        final_kernel=final_kernel,
        stride_on_1x1=stride_on_1x1,
        base_filters=8,
    )
    assert_equal_to_torch(network, ref, image, expected)


def test_a_resnet_of_34_layers_has_the_blocks_of_one_of_50():
    (blocks, is_deep), (blocks_of_50, _) = (simple_baseline_file.RESNETS[depth] for depth in (34, 50))
    assert blocks == blocks_of_50 and not is_deep


@pytest.mark.usefixtures("undrawn")
def test_hrnet_equals_pytorch(monkeypatch):
    """Bottlenecks of width 64 give 256 channels, as many as the stem: then the first branch needs no transition."""
    monkeypatch.setattr(hrnet_file, "STEM_BLOCKS", 1)
    ref, image = Torch(), images(1, 32, 64, 3)
    x = ref.torch.from_numpy(np.moveaxis(image, -1, 1))
    expected = torch_hrnet(ref, x, 64, (1, 1, 1), 1, bottleneck=True, final_kernel=3)
    network = models.HRNet(3, image.shape[1:], 64, (1, 1, 1), 1, "bottleneck", 3)
    assert_equal_to_torch(network, ref, image, expected)


# ---------------------------------------- precision, sizes, training, export
@pytest.fixture(scope="module")
def shallow():
    """An hourglass of one level and a ResNet of one block a stage: what comes more than once is left out.

    It gives a function that builds a network of `SMALL` with random weights, once for all tests, which change nothing.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hrnet_file, "STEM_BLOCKS", 1)
        patch.setattr(stacked_hourglass, "DEPTH", 1)
        patch.setitem(simple_baseline_file.RESNETS, 18, ((1, 1, 1, 1), False))
        yield functools.cache(lambda name, **changes: with_random_weights(small(name, **changes)))


def small(name, **changes):
    cls, options = SMALL[name]
    return cls(3, **(options | changes))


def with_random_weights(network, seed=0):
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) > 1:
            weight.assign(random.normal(0, np.sqrt(1 / np.prod(weight.shape[:-1])), weight.shape))
        else:
            weight.assign(random.normal(0, 0.1, weight.shape))
    return network


@pytest.mark.parametrize("name", SMALL)
def test_it_begins_near_zero_and_mixed_precision_keeps_the_heatmaps_in_float32_and_close(shallow, name):
    exact, image = shallow(name), images(2, *SMALL[name][1]["image_shape"])
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = small(name)
    finally:
        keras.config.set_dtype_policy(before)
    assert 0 < np.asarray(mixed(image, training=True)).std() < 0.1
    mixed.set_weights(exact.get_weights())
    heatmaps, expected = mixed(image), np.asarray(exact(image))
    assert all(layer.compute_dtype == "bfloat16" for layer in mixed.layers if layer.name.endswith(("conv1", "bn1")))
    assert keras.backend.standardize_dtype(heatmaps.dtype) == "float32"
    assert 0 < np.abs(heatmaps - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("name", SMALL)
def test_the_same_weights_for_other_sizes(shallow, name):
    network, image = shallow(name), images(1, 128, 64, 3)
    resized = [network.resized((128, 64, 3)), network.resized((None, None, 3))]
    for other in resized:
        assert other.get_config()["image_shape"] == other.input_shape[1:]
        assert {**other.get_config(), "image_shape": None} == {**network.get_config(), "image_shape": None}
        for weight, old in zip(other.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, old)
    of_its_size, of_any_size = (np.asarray(other(image)) for other in resized)
    assert of_its_size.shape[-3:] == (32, 16, 3)
    np.testing.assert_allclose(of_any_size, of_its_size, rtol=1e-5, atol=1e-5)


def run_litert(path, image):
    return pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path)).get_signature_runner()(image=image)


def run_onnx(path, image):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return {"heatmaps": session.run(["heatmaps"], {"image": image})[0]}


FORMATS = {"litert": (export.litert, "pose.tflite", run_litert), "onnx": (export.onnx, "pose.onnx", run_onnx)}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "name",
    # HRNet has no kind of layer that these do not have.
    ["simple_baseline", "hourglass", pytest.param("hrnet", marks=pytest.mark.slow)],
)
def test_networks_give_the_same_heatmaps_in_other_runtimes(shallow, tmp_path, file_format, name):
    network = shallow(name, num_stacks=1) if name == "hourglass" else shallow(name)
    write, file, run = FORMATS[file_format]
    write(network, tmp_path / file)
    for batch in (1, 3):
        image = images(batch, *network.input_shape[1:])
        expected, answer = np.asarray(network(image)), run(tmp_path / file, image)
        assert set(answer) == {"heatmaps"} and expected.std() > 0.05
        np.testing.assert_allclose(answer["heatmaps"], expected, rtol=1e-3, atol=1e-4)


# ---------------------------------------- errors
@pytest.mark.parametrize(
    "model, options, sentence",
    [
        (models.SimpleBaseline, {"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, got 20; use 50"),
        (models.SimpleBaseline, {"depth": 34, "stride_on_1x1": True}, "begin at depth 50, got depth=34; leave it"),
        (models.SimpleBaseline, {"deconv_filters": (256, 256)}, "got lengths 2 and 3; give both the same length"),
        (models.SimpleBaseline, {"depth": 18, "deconv_kernels": (5, 4, 4)}, "has kernel 2, 3 or 4, got 5; 4 is the"),
        (models.SimpleBaseline, {"final_kernel": 2}, "final_kernel must be 1 or 3, got 2; use 1"),
        (models.HRNet, {"image_shape": (256, 180, 3)}, r"multiples of 32, got \(256, 180, 3\); use \(256, 160, 3\) or"),
        (models.HRNet, {"image_shape": (100, 100, 3)}, r"use \(96, 96, 3\) or \(128, 128, 3\)\.$"),
        (models.HRNet, {"image_shape": (20, None, 3)}, r"got \(20, None, 3\); use \(32, None, 3\)\.$"),
        (models.HRNet, {"num_modules": (1, 4)}, r"stages 2, 3 and 4, got \(1, 4\); use \(1, 4, 3\)"),
        (models.HRNet, {"num_modules": (1, 4, 0)}, r"at least 1 for stages .* got \(1, 4, 0\)"),
        (models.HRNet, {"num_blocks": 0}, "num_blocks must be at least 1, got 0; use 4"),
        (models.HRNet, {"block": "BASIC"}, 'block is "basic" or "bottleneck", got \'BASIC\'; use "basic"'),
        (models.HRNet, {"final_kernel": 5}, "final_kernel must be 1 or 3, got 5; use 1"),
        (models.StackedHourglass, {"image_shape": (256, 224, 3)}, r"multiples of 64, got .*; use \(256, 192, 3\) or"),
        (models.StackedHourglass, {"image_shape": (100, 100, 3)}, r"use \(64, 64, 3\) or \(128, 128, 3\)\.$"),
        (models.StackedHourglass, {"num_stacks": 0}, "num_stacks must be at least 1, got 0; use 8, 4, 2 or 1"),
        (models.StackedHourglass, {"filters": 1}, "filters must be at least 2, got 1; use 256"),
        (models.StackedHourglass, {"increase": -64}, "increase must not be below 0, got -64; use 0"),
    ],
)
def test_what_cannot_be_built_is_refused(model, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model(17, **options)
