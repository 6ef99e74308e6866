"""C3D, SlowOnly and X3D against the published networks: every stage's output, and the number of parameters.

That every weight of theirs learns is shown in test_training.
"""

import re

import keras
import numpy as np
import pytest

from kerapose import models, weights

CASES = (
    *("c3d", "c3d_light", "c3d_t"),
    *("slowonly", "slowonly_odd", "slowonly_rgb"),
    *("x3d_se_swish", "x3d_shallow"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("slowonly_heatmap", "x3d")),  # larger ones of their kind
)

IN_A_GRAPH = {"c3d_light", "x3d"}  # and in batches of one


def build(case):
    """The network of a golden's configuration, with its weights."""
    backbone = case.config["arguments"]["backbone"]
    num_classes = case.config["arguments"]["cls_head"]["num_classes"]
    batch, channels, *volume = case["input_imgs"].shape
    make = {"C3D": c3d, "ResNet3dSlowOnly": slowonly, "X3D": x3d}[backbone["type"]]
    network = make(backbone, num_classes, (*volume, channels))
    return weights.load_torch(network, case.state_dict)


def c3d(backbone, num_classes, input_shape):
    return models.C3D(
        num_classes,
        input_shape,
        base_filters=backbone["base_channels"],
        num_stages=backbone["num_stages"],
        temporal_downsample=backbone["temporal_downsample"],
    )


def slowonly(backbone, num_classes, input_shape):
    if "depth" in backbone:  # the RGB network: a ResNet-50 of four stages, with the strides of an image network
        return models.SlowOnly(
            num_classes,
            input_shape,
            base_filters=64,
            stage_blocks=(3, 4, 6, 3),
            inflate=backbone["inflate"],
            spatial_strides=(1, 2, 2, 2),
            temporal_strides=(1, 1, 1, 1),
            stem_stride=2,
            stem_pool_stride=2,
        )
    return models.SlowOnly(
        num_classes,
        input_shape,
        base_filters=backbone["base_channels"],
        stage_blocks=backbone["stage_blocks"],
        inflate=backbone["inflate"],
        spatial_strides=backbone["spatial_strides"],
        temporal_strides=backbone["temporal_strides"],
        stem_stride=backbone["conv1_stride"][1],
        stem_pool_stride=backbone["pool1_stride"][1],
    )


def x3d(backbone, num_classes, input_shape):
    return models.X3D(
        num_classes,
        input_shape,
        base_filters=backbone["base_channels"],
        stage_blocks=backbone["stage_blocks"],
        gamma_d=backbone["gamma_d"],
        spatial_strides=backbone["spatial_strides"],
        se_ratio=backbone["se_ratio"],
        swish=backbone["use_swish"],
    )


def tensor_of(network, output):
    """The tensor of our graph that a golden's output was taken from."""
    module = output.removeprefix("output_").removeprefix("mean_")
    if module == "logits":
        return network.output
    if module == "features":
        return network.get_layer("pooled").input
    if module.startswith("layer"):  # a stage: the output of its last block
        module = [layer.name for layer in network.layers if re.fullmatch(rf"{module}_\d+_conv3", layer.name)][-1]
    return network.get_layer(module).output


@pytest.mark.parametrize("name", CASES)
def test_every_stage_equals_the_published_network(golden, name):
    case = golden(name)
    network = build(case)
    outputs = [output for output in case.arrays if output.startswith("output_")]
    assert "output_logits" in outputs and len(outputs) >= 7
    clips = np.moveaxis(case["input_imgs"], 1, -1)  # [B, T, H, W, C]
    stages = keras.Model(network.input, {output: tensor_of(network, output) for output in outputs})
    for output, value in stages(clips).items():
        value = np.asarray(value)
        if output == "output_features":
            value = np.moveaxis(value, -1, 1)
        elif value.ndim == 5:
            value = value.mean(axis=(1, 2, 3), dtype="float64")  # [B, C]
        case.check(output, value)
    if name in IN_A_GRAPH:
        case.check("output_logits", network.predict(clips, batch_size=1, verbose=0))
    assert network.output_shape == (None, case.config["arguments"]["cls_head"]["num_classes"])
    assert count_trained(network) == case.config["parameters"]


def count_trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize(
    "model, options",
    [
        (models.C3D, {"base_filters": 4, "num_stages": 3}),
        (models.SlowOnly, {"base_filters": 4, "stage_blocks": (1, 1, 1)}),
        (models.X3D, {"base_filters": 8, "stage_blocks": (1, 1, 1), "gamma_d": 1.0}),
    ],
)
def test_mixed_precision_keeps_the_logits_in_float32_and_close(model, options):
    clips = np.random.default_rng(0).random((2, 4, 16, 16, 3), "float32")
    exact = model(5, (4, 16, 16, 3), **options)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = model(5, (4, 16, 16, 3), **options)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(exact.get_weights())
    logits = mixed(clips)
    assert mixed.get_layer("pooled").compute_dtype == "bfloat16"
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    expected = np.asarray(exact(clips))
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
