"""ConvolutionalPoseMachine and DeepPose against the published networks.

That every weight of theirs learns is shown in test_training.
"""

import keras
import numpy as np
import pytest

from kerapose import models, weights
from kerapose.layers import ConvNorm, Dense
from kerapose.models import simple_baseline

CPM = ("cpm_3stage_k16_96x96", pytest.param("cpm_6stage_128x96", marks=pytest.mark.slow))  # the latter has but more
DEEPPOSE = ("deeppose_r18_128x96", "deeppose_r50_128x96", "deeppose_rle_r18_128x96")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """First weights of zero, for networks that get all of theirs from elsewhere: large ones take long to draw."""
    for name in ("RandomNormal", "VarianceScaling"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", keras.initializers.Zeros.__call__)


def image_of(case):
    return np.moveaxis(case["input_image"], 1, -1)  # [B, H, W, 3]


def cpm(case, image_shape):
    backbone = case.config["arguments"]["backbone"]
    return models.ConvolutionalPoseMachine(
        backbone["out_channels"], image_shape, backbone["num_stages"], filters=backbone["feat_channels"]
    )


def deeppose(case, image_shape):
    arguments = case.config["arguments"]
    depth, head = arguments["backbone"]["depth"], arguments["head"]
    return models.DeepPose(head["num_joints"], image_shape, depth, uncertainty=head["type"] == "RLEHead")


def count_trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def multiply_adds(network):
    """Of convolutions and dense layers, for one image."""
    layers = [layer for layer in network.layers if isinstance(layer, ConvNorm | Dense)]
    return sum(int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1], dtype="int64")) for layer in layers)


@pytest.mark.parametrize("name", CPM)
def test_heatmaps_of_every_stage_equal_those_of_the_published_network(golden, name):
    case = golden(name)
    image = image_of(case)
    network = weights.load_torch(cpm(case, image.shape[1:]), case.state_dict)
    heatmaps = np.moveaxis(np.asarray(network(image)), -1, -3)  # [B, S, K, h, w]
    assert heatmaps.shape[1] == case.config["arguments"]["backbone"]["num_stages"]
    for stage in range(heatmaps.shape[1]):
        case.check(f"output_stage{stage}", heatmaps[:, stage])
    assert count_trained(network) == case.config["parameters"] and multiply_adds(network) == case.config["macs"]


@pytest.mark.parametrize("name", DEEPPOSE)
def test_coordinates_equal_those_of_the_published_network(golden, name):
    case = golden(name)
    image = image_of(case)
    network = weights.load_torch(deeppose(case, image.shape[1:]), case.state_dict)
    both = keras.Model(network.input, [network.get_layer("pooled").output, network.output])
    for output, answer in zip(("output_features", "output_predictions"), both.predict(image, verbose=0), strict=True):
        case.check(output, answer)
    flow = sum(array.size for weight, array in case.state_dict.items() if ".s." in weight or ".t." in weight)
    assert count_trained(network) + flow == case.config["parameters"]
    assert multiply_adds(network) == case.config["macs"]


@pytest.mark.parametrize(
    "model, variant, parameters, adds",
    [
        (models.ConvolutionalPoseMachine, "cpm", 31.30, 63.74),
        (models.DeepPose, "deeppose_r50", 23.58, 4.00),
        (models.DeepPose, "deeppose_r101", 42.57, 7.64),
        (models.DeepPose, "deeppose_r152", 58.21, 11.28),
        (models.DeepPose, "deeppose_r50_rle", 23.70 - 0.054, 4.00),  # without the flow
    ],
)
def test_published_sizes_have_their_parameters_and_multiply_adds(model, variant, parameters, adds):
    with keras.StatelessScope(initialize_variables=False):
        network = model.from_variant(variant, num_joints=17)
    keras.utils.clear_session(free_memory=False)
    assert count_trained(network) / 1e6 == pytest.approx(parameters, abs=0.006)
    assert multiply_adds(network) / 1e9 == pytest.approx(adds, abs=0.006)


def test_a_pose_machine_of_one_stage_leaves_the_second_trunk_out(golden):
    case = golden("cpm_3stage_k16_96x96")
    state = {name: array for name, array in case.state_dict.items() if name.split(".")[1] in ("stem", "middle")}
    network = models.ConvolutionalPoseMachine(16, (96, 96, 3), num_stages=1)
    assert set(network.unused_torch_weights()) == {f"middle.{name}" for name in names_below(state, "middle")}
    heatmaps = np.asarray(weights.load_torch(network, state)(image_of(case)))
    case.check("output_stage0", np.moveaxis(heatmaps[:, 0], -1, 1))


def names_below(state, module):
    return {name.split(f".{module}.")[1] for name in state if f".{module}." in name}


@pytest.mark.parametrize("generation", ["head.loss_module.flow_model.", "keypoint_head.loss.flow_model."])
def test_the_flow_of_a_published_file_is_known_and_left_out(golden, generation, monkeypatch):
    case = golden("deeppose_rle_r18_128x96")
    head = generation.split(".")[0]
    state = {
        name.replace("head.loss_module.flow_model.", generation).replace("head.fc", f"{head}.fc"): array
        for name, array in case.state_dict.items()
    }
    network = weights.load_torch(deeppose(case, (128, 96, 3)), state)
    np.testing.assert_array_equal(np.asarray(network.get_layer("fc").kernel).T, case.state_dict["head.fc.weight"])
    with pytest.raises(ValueError, match="left over"):
        weights.load_torch(models.DeepPose(34, (128, 96, 3), 18), state)
    state[f"{generation}s.0.0.weight"] = np.zeros((64, 3))
    with pytest.raises(ValueError, match="s.0.0.weight .64, 3., unused, for .64, 2."):
        weights.load_torch(network, state)


def test_odd_sides_are_rounded_up():
    network = models.ConvolutionalPoseMachine.from_variant("cpm2_tiny", 3, image_shape=(75, 41, 3))
    assert network.output_shape == (None, 2, 10, 6, 3)
    assert network.resized((None, None, 3))(np.zeros((1, 75, 41, 3))).shape == (1, 2, 10, 6, 3)


def test_deeppose_begins_with_a_backbone(golden, monkeypatch):
    case = golden("deeppose_r18_128x96")
    state = {name.removeprefix("backbone."): array for name, array in case.state_dict.items() if "backbone" in name}
    state |= {"fc.weight": np.zeros((1000, 512)), "fc.bias": np.zeros(1000)}  # the classifier of ImageNet
    network = models.DeepPose(5, (128, 96, 3), 18)
    before = network.get_layer("fc").get_weights()
    image = image_of(case)
    weights.load_backbone(network, state)
    case.check("output_features", keras.Model(network.input, network.get_layer("pooled").output)(image))
    for old, new in zip(before, network.get_layer("fc").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("uncertainty", [False, True])
def test_coordinates_stay_in_float32_under_mixed_precision(uncertainty, monkeypatch):
    monkeypatch.setitem(simple_baseline.RESNETS, 18, ((1, 1, 1, 1), False))
    exact = with_random_weights(small_deeppose(uncertainty))
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = small_deeppose(uncertainty)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(exact.get_weights())
    image = np.random.default_rng(0).standard_normal((2, 64, 32, 3)).astype("float32")
    answer, expected = mixed(image), np.asarray(exact(image))
    assert keras.backend.standardize_dtype(answer.dtype) == "float32"
    assert 0 < np.abs(answer - expected).max() < 0.1 * np.abs(expected).max()


def small_deeppose(uncertainty):
    return models.DeepPose(3, (64, 32, 3), 18, uncertainty, base_filters=8)


def with_random_weights(network):
    random = np.random.default_rng(0)
    for weight in network.weights:
        positive = weight.path.endswith(("gamma", "moving_variance"))
        deviation = np.sqrt(1 / np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.1
        drawn = random.uniform(0.5, 1.5, weight.shape) if positive else random.normal(0, deviation, weight.shape)
        weight.assign(drawn)
    return network


@pytest.mark.parametrize(
    "model, options, sentence",
    [
        (models.ConvolutionalPoseMachine, {"num_stages": 0}, "num_stages must be at least 1, got 0; use 6"),
        (models.ConvolutionalPoseMachine, {"filters": 0}, "filters must be at least 1, got 0; use 128"),
        (models.ConvolutionalPoseMachine, {"stem_filters": 30}, "must be a multiple of 4, got 30; use 128"),
        (models.DeepPose, {"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, got 20; use 50"),
    ],
)
def test_what_cannot_be_built_is_refused(model, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model(17, **options)
