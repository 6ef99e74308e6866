"""C3D, SlowOnly and X3D against the published networks: every stage's output, and the number of parameters."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import models, weights

CASES = (
    *("c3d", "c3d_light", "c3d_t"),
    *("slowonly", "slowonly_heatmap", "slowonly_odd", "slowonly_rgb"),
    *("x3d", "x3d_se_swish", "x3d_shallow"),
)

# The papers' own counts, in thousands, without the classifier.
PUBLISHED_THOUSANDS = {
    (models.SlowOnly, "slowonly"): 2000,
    (models.SlowOnly, "slowonly_wd"): 7900,
    (models.SlowOnly, "slowonly_hr"): 8000,
    (models.C3D, "c3d"): 6900,
    (models.C3D, "c3d_s"): 3400,
    (models.C3D, "c3d_light"): 3400,
    (models.X3D, "x3d"): 531,
    (models.X3D, "x3d_s"): 241,
    (models.X3D, "x3d_shallow"): 241,
}
UNCOUNTED = {(models.SlowOnly, "slowonly_346"), (models.C3D, "c3d_tiny")}  # no paper counts these
UNCOUNTED |= {(models.SlowOnly, f"slowonly_{of}{size}") for of in ("rgb", "pose_path") for size in ("", "_tiny")}


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
    assert network.output_shape == (None, case.config["arguments"]["cls_head"]["num_classes"])
    assert count_trained(network) == case.config["parameters"]


@pytest.mark.parametrize("name", ["c3d_light", "slowonly_heatmap", "x3d_shallow"])
def test_predict_equals_the_published_logits(golden, name):
    """In a graph, where kernels are fused, and in batches of one."""
    case = golden(name)
    logits = build(case).predict(np.moveaxis(case["input_imgs"], 1, -1), batch_size=1, verbose=0)
    case.check("output_logits", logits)


@pytest.mark.parametrize("model, variant", PUBLISHED_THOUSANDS, ids=lambda value: getattr(value, "__name__", value))
def test_variants_have_the_papers_parameter_counts(model, variant):
    network = model.from_variant(variant, num_classes=60)
    classifier = network.get_layer("fc_cls")
    thousands = (count_trained(network) - classifier.count_params()) / 1000
    published = PUBLISHED_THOUSANDS[model, variant]
    # Three digits are given for X3D, two for the others.
    assert round(thousands) == published if model is models.X3D else thousands == pytest.approx(published, rel=0.01)
    assert network.output_shape == (None, 60)


def test_every_variant_has_its_count_or_is_known_to_have_none():
    named = {(model, variant) for model in (models.C3D, models.SlowOnly, models.X3D) for variant in model.VARIANTS}
    assert named == set(PUBLISHED_THOUSANDS) | UNCOUNTED


def count_trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize(
    "model, options",
    [
        (models.C3D, {"base_filters": 4, "num_stages": 3}),
        (models.SlowOnly, {"base_filters": 4, "stage_blocks": (1, 1, 1)}),
        (models.X3D, {"base_filters": 8, "gamma_d": 1.0}),
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


@pytest.mark.parametrize(
    "model, options",
    [
        (models.C3D, {"base_filters": 4, "num_stages": 3}),
        (models.SlowOnly, {"base_filters": 4, "stage_blocks": (1, 1, 1)}),
        (models.X3D, {"base_filters": 8, "stage_blocks": (1, 1, 1), "gamma_d": 1.0, "se_ratio": 1 / 16, "swish": True}),
    ],
)
def test_every_weight_learns(model, options):
    keras.utils.set_random_seed(0)
    network = model(4, (4, 16, 16, 3), dropout=0.0, **options)
    clips, labels = np.random.default_rng(0).random((4, 4, 16, 16, 3), "float32"), np.arange(4)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(0.01)
    start = network.get_weights()
    losses = []
    for _ in range(8):
        with tf.GradientTape() as tape:
            loss = loss_fn(labels, network(clips, training=True))
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    for variable, before in zip(network.weights, start, strict=True):
        assert np.any(variable.numpy() != before), variable.path
        assert np.isfinite(variable.numpy()).all(), variable.path
