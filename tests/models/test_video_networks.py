"""RGBPoseConv3D and MC3ResNet18 against the published networks, and STARTransformer against its paper's words.

That every weight of theirs learns is shown in test_training.
"""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import without_weights

from kerapose import models, weights
from kerapose.models import star_transformer


# ---------------------------------------- the published networks
def channels_last(array):
    return np.moveaxis(array, 1, -1)


def published_rgbpose(case):
    """The network of a golden's configuration."""
    rgb, pose = (case["input_" + name].shape for name in ("imgs", "heatmap_imgs"))
    backbone = case.config["arguments"]["backbone"]
    return models.RGBPoseConv3D(
        case.config["arguments"]["cls_head"]["num_classes"],
        (*rgb[2:], 3),
        (*pose[2:], pose[1]),
        rgb_filters=backbone["rgb_pathway"]["base_channels"],
        pose_filters=backbone["pose_pathway"]["base_channels"],
    )


def rgbpose_tensor(network, output):
    """The tensor of our graph that a golden's output was taken from."""
    if output.startswith("output_logits_"):
        return network.output[output.removeprefix("output_logits_")]
    if output == "output_features_pose":
        return network.get_layer("pooled_pose").input
    if output.startswith("output_pooled_"):
        return network.get_layer(output.removeprefix("output_")).output
    pathway, module = output.removeprefix("output_mean_").split("_", 1)
    prefix = f"{pathway}_path_{module}"
    if module.startswith("layer") and not module.endswith("lateral"):
        prefix = [
            layer.name for layer in network.layers if layer.name.startswith(f"{prefix}_") and "conv3" in layer.name
        ][-1]
    return network.get_layer(prefix).output


def count_trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def test_every_stage_and_lateral_equals_the_published_rgbpose(golden):
    case = golden("rgbpose_slim")
    network = weights.load_torch(published_rgbpose(case), case.state_dict)
    outputs = [output for output in case.arrays if output.startswith("output_")]
    assert len(outputs) == 20
    stages = keras.Model(network.input, {output: rgbpose_tensor(network, output) for output in outputs})
    inputs = {"rgb": channels_last(case["input_imgs"]), "pose": channels_last(case["input_heatmap_imgs"])}
    for output, value in stages(inputs).items():
        value = np.asarray(value)
        if output == "output_features_pose":
            value = np.moveaxis(value, -1, 1)
        elif value.ndim == 5:
            value = value.mean(axis=(1, 2, 3), dtype="float64")  # [B, C]
        case.check(output, value)
    assert count_trained(network) == case.config["parameters"]


def test_an_rgbpose_of_the_published_width_has_the_published_weights(golden):
    """It is the slim one with more filters."""
    case = golden("rgbpose")
    with without_weights():
        network = published_rgbpose(case)
        assert count_trained(network) == case.config["parameters"]


def test_every_stage_equals_the_published_mc3(golden):
    case = golden("mc3_18")
    batch, channels, *clip = case["input_x" if "input_x" in case else "input_imgs"].shape
    network = weights.load_torch(models.MC3ResNet18(400, (*clip, channels)), case.state_dict)
    ends = {"stem": "stem"} | {f"layer{stage}": f"layer{stage}_1_conv2" for stage in (1, 2, 3, 4)}
    tensors = {name: network.get_layer(layer).output for name, layer in ends.items()} | {"logits": network.output}
    found = keras.Model(network.input, tensors)(channels_last(case["input_imgs"]))
    outputs = [output for output in case.arrays if output.startswith("output_")]
    assert len(outputs) == 8
    for output in outputs:
        value = np.asarray(found[output.removeprefix("output_").removeprefix("mean_")])
        if "mean_" in output:
            value = value.mean(axis=(1, 2, 3), dtype="float64")  # [B, C]
        case.check(output, np.moveaxis(value, -1, 1))
    assert count_trained(network) == case.config["parameters"]


# ---------------------------------------- RGBPoseConv3D from two networks
def slim(cls, variant, randomize=True, **changes):
    sizes = {"slowonly_rgb": ((8, 32, 32, 3), (1, 1, 2, 1)), "slowonly_pose_path": ((32, 8, 8, 5), (1, 2, 1))}
    if variant in sizes:
        shape, blocks = sizes[variant]
        changes = {"input_shape": shape, "stage_blocks": blocks, "base_filters": 8} | changes
    else:
        changes = {
            "rgb_shape": (8, 32, 32, 3),
            "pose_shape": (32, 8, 8, 5),
            "rgb_filters": 8,
            "pose_filters": 8,
            "rgb_blocks": (1, 1, 2, 1),
            "pose_blocks": (1, 2, 1),
        } | changes
    network = cls.from_variant(variant, 6, **changes)
    return randomized(network) if randomize else network


def randomized(network, seed=0):
    random = np.random.default_rng(seed)
    for weight in network.weights:
        positive = weight.path.endswith(("gamma", "moving_variance"))
        deviation = np.sqrt(2 / np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.2
        weight.assign(random.uniform(0.5, 1.5, weight.shape) if positive else random.normal(0, deviation, weight.shape))
    return network


def a_clip(batch=2, seed=3):
    random = np.random.default_rng(seed)
    shapes = {"rgb": (batch, 8, 32, 32, 3), "pose": (batch, 32, 8, 8, 5)}
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


@functools.cache
def unchanged(cls, variant):
    """A slim network for tests that change nothing about it."""
    return slim(cls, variant)


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    yield
    unchanged.cache_clear()


def test_a_network_that_starts_from_two_answers_as_they_do_and_then_learns_from_both():
    rgb, pose = unchanged(models.SlowOnly, "slowonly_rgb"), unchanged(models.SlowOnly, "slowonly_pose_path")
    network = slim(models.RGBPoseConv3D, "rgbpose", dropout=0.0)
    clip = a_clip()
    assert network.start_from(rgb=rgb, pose=pose) is network
    logits = network(clip)
    np.testing.assert_allclose(logits["rgb"], rgb(clip["rgb"]), atol=1e-5)
    np.testing.assert_allclose(logits["pose"], pose(clip["pose"]), atol=1e-5)
    other = clip | {"pose": clip["pose"] + 1.0}
    np.testing.assert_allclose(network(other)["rgb"], logits["rgb"], atol=1e-5)  # nothing crosses yet
    optimizer = keras.optimizers.SGD(0.01)
    for _ in range(2):  # the first step gives the joined channels weight, the second the laterals a gradient
        with tf.GradientTape() as tape:
            answers = network(clip, training=True)
            losses = [
                keras.losses.sparse_categorical_crossentropy(np.arange(2), logits, from_logits=True)
                for logits in answers.values()
            ]
        gradients = tape.gradient(losses, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
    crossed = [v for v in network.trainable_variables if "lateral" in v.path]
    assert len(crossed) == 2 + 2 * 3
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert np.any(np.asarray(gradient) != 0), variable.path
    assert np.abs(np.asarray(network(other)["rgb"]) - np.asarray(network(clip)["rgb"])).max() > 1e-4


def test_one_pathway_alone_may_be_taken_over():
    network, rgb = slim(models.RGBPoseConv3D, "rgbpose"), unchanged(models.SlowOnly, "slowonly_rgb")
    randomized(network, seed=5)
    before = network.get_layer("pose_path_conv1").kernel.numpy()
    np.testing.assert_allclose(network.start_from(rgb=rgb)(a_clip())["rgb"], rgb(a_clip()["rgb"]), atol=1e-5)
    np.testing.assert_array_equal(network.get_layer("pose_path_conv1").kernel, before)


@pytest.mark.parametrize("changes", [{"base_filters": 4}, {"stage_blocks": (1, 1, 1, 1)}, {"inflate": (True,) * 4}])
def test_a_network_that_does_not_fit_a_pathway_is_refused_and_nothing_is_taken_over(changes):
    network = randomized(unchanged(models.RGBPoseConv3D, "rgbpose"), seed=7)
    pose, before = unchanged(models.SlowOnly, "slowonly_pose_path"), network.get_weights()
    with pytest.raises(ValueError, match="The rgb pathway starts from a SlowOnly .* got one that differs in .*; build"):
        network.start_from(rgb=slim(models.SlowOnly, "slowonly_rgb", **changes), pose=pose)
    for weight, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_network_is_resized_by_both_shapes():
    network = unchanged(models.RGBPoseConv3D, "rgbpose")
    larger = network.resized((8, 48, 48, 3), (32, 12, 12, 5))
    assert larger.input_shape == {"rgb": (None, 8, 48, 48, 3), "pose": (None, 32, 12, 12, 5)}
    for weight, old in zip(larger.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, old)
    with pytest.raises(ValueError, match="resized by rgb_shape and pose_shape, got 1 shapes"):
        network.resized((8, 48, 48, 3))


@pytest.mark.parametrize(
    "rgb_shape, pose_shape",
    [((8, 64, 64, 3), (16, 16, 16, 17)), ((8, 64, 64, 3), (32, 64, 64, 17)), ((8, 66, 64, 3), (32, 17, 16, 17))],
)
def test_shapes_that_do_not_go_together_are_refused(rgb_shape, pose_shape):
    with pytest.raises(ValueError, match="pose_shape has 4 times the frames .*; use .* with an rgb_shape of multiples"):
        models.RGBPoseConv3D(5, rgb_shape, pose_shape)


# ---------------------------------------- STARTransformer
STAR = {"rgb_shape": (4, 32, 32, 3), "num_joints": 5, "width": 12, "num_heads": 3, "base_filters": 4}


def star(**changes):
    return models.STARTransformer(6, **(STAR | {"encoder_layers": 1, "decoder_layers": 1, "mlp_ratio": 2} | changes))


def star_clip(network, batch=2, seed=0):
    random = np.random.default_rng(seed)
    return {
        "rgb": random.normal(size=(batch, *network.rgb_shape)).astype("float32"),
        "pose": random.uniform(size=(batch, *network.pose_shape)).astype("float32"),
    }


def test_tokens_are_counted_as_in_the_paper():
    with without_weights():
        network = models.STARTransformer.from_variant("star_tiny", 5, rgb_shape=(16, 112, 112, 3))
    assert network.pose_shape == (16, 28, 28, 17)
    assert network.get_layer("tokens").output.shape == (None, 16, 7 * 7 + 17, 128)
    assert network.get_layer("class_tokens").output.shape == (None, 3 + 16 * (7 * 7 + 17), 128)


@pytest.mark.parametrize("joint_layer, side", [(1, 16), (4, 2)])
def test_joint_tokens_come_from_any_stage(joint_layer, side):
    network = star(joint_layer=joint_layer)
    assert network.pose_shape == (4, side, side, 5)
    assert network(star_clip(network)).shape == (2, 6)


def test_a_joint_token_is_the_features_under_its_heatmap():
    random = np.random.default_rng(0)
    features, heatmaps = random.normal(size=(2, 3, 4, 5, 6)), random.uniform(size=(2, 3, 4, 5, 7))
    found = np.asarray(star_transformer.JointFeatures()(features.astype("float32"), heatmaps.astype("float32")))
    expected = np.zeros((2, 3, 7, 6))
    for clip, frame, joint, channel in np.ndindex(expected.shape):
        expected[clip, frame, joint, channel] = (
            features[clip, frame, :, :, channel] * heatmaps[clip, frame, :, :, joint]
        ).sum()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_joint_tokens_know_their_position():
    network = randomized(star())
    positions = network.get_layer("joint_positions").embedding
    clip = star_clip(network)
    tokens = keras.Model(network.input, network.get_layer("tokens").output)
    before = np.asarray(tokens(clip))
    assert positions.shape == (4, 5, 12)
    positions.assign(positions + 1.0)
    difference = np.asarray(tokens(clip)) - before
    np.testing.assert_array_equal(difference[:, :, :4], 0)  # grid tokens: 2 x 2 of each frame
    np.testing.assert_allclose(difference[:, :, 4:], 1.0, atol=1e-4)


def layer_by_hand(layer, x, may_look):
    """One layer in NumPy, token by token, from the paper's words; class tokens look at all frames."""
    classes, frames = star_transformer.NUM_CLASS_TOKENS, layer.num_frames
    frame_of = np.repeat(np.arange(frames), (x.shape[1] - classes) // frames)
    of_class = np.arange(x.shape[1]) < classes

    def attended(x, projection, out, mask):
        q, k, v = np.split(x @ projection.kernel.numpy() + projection.bias.numpy(), 3, axis=-1)
        size = q.shape[-1] // layer.num_heads
        heads = []
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(size)
            scores = np.where(mask, np.exp(scores), 0.0)
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[..., part])
        return np.concatenate(heads, axis=-1) @ out.kernel.numpy() + out.bias.numpy()

    def norm(x, layer_norm):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * layer_norm.gamma.numpy() + layer_norm.beta.numpy()

    across = np.ones((x.shape[1], x.shape[1]), bool)
    across[:, :classes] = False  # nobody looks at class tokens across frames
    for asking, asked in np.ndindex(across.shape):
        if not of_class[asking] and not of_class[asked]:
            across[asking, asked] = may_look(frame_of[asking - classes], frame_of[asked - classes], frames)
    x = norm(x + attended(x, layer.full, layer.full_out, True), layer.full_norm)
    x = norm(x + attended(x, layer.across, layer.across_out, across), layer.across_norm)
    hidden = keras.activations.gelu(x @ layer.hidden.kernel.numpy() + layer.hidden.bias.numpy()).numpy()
    return norm(x + hidden @ layer.hidden_out.kernel.numpy() + layer.hidden_out.bias.numpy(), layer.hidden_norm)


@pytest.mark.parametrize(
    "pattern, may_look",
    [
        ("zigzag", lambda asking, asked, frames: asking % 2 != asked % 2),
        ("binary", lambda asking, asked, frames: (asking < frames // 2) != (asked < frames // 2)),
        ("full", lambda asking, asked, frames: True),
    ],
)
def test_a_layer_is_full_attention_then_attention_across_then_a_perceptron(pattern, may_look):
    layer = star_transformer.StarLayer(pattern, num_frames=4, num_heads=3, mlp_ratio=2)
    x = np.random.default_rng(1).normal(size=(2, 3 + 4 * 5, 12)).astype("float32")
    layer.build(x.shape)
    for weight in randomized(keras.Sequential([layer])).weights:
        assert np.isfinite(weight.numpy()).all()
    np.testing.assert_allclose(layer(x), layer_by_hand(layer, x.astype("float64"), may_look), atol=2e-4)


def test_attention_maps_are_shares_of_what_the_class_tokens_look_at():
    network = randomized(star(rgb_shape=(4, 48, 32, 3)))
    maps = network.attention_maps(star_clip(network))
    assert maps["grid"].shape == (2, 4, 3, 2) and maps["joints"].shape == (2, 4, 5)
    total = np.sum(maps["grid"], axis=(1, 2, 3)) + np.sum(maps["joints"], axis=(1, 2))
    assert (np.asarray(maps["joints"]) > 0).all() and (total > 0.5).all() and (total < 1).all()


def test_star_starts_from_a_published_mc3(golden):
    published = golden("mc3_18").state_dict  # of which a sixteenth of the channels will do
    state = {name: array[: array.shape[0] // 16] for name, array in published.items() if array.ndim}
    state |= {name: array[:, : max(3, array.shape[1] // 16)] for name, array in state.items() if array.ndim > 1}
    network = star()
    head = network.get_layer("head").kernel.numpy()
    weights.load_backbone(network, state)
    backbone = weights.load_torch(models.MC3ResNet18(400 // 16, (4, 32, 32, 3), base_filters=4), state)
    for name in ("stem", "layer1_0_conv1", "layer4_1_conv2"):
        np.testing.assert_array_equal(network.get_layer(name).kernel, backbone.get_layer(name).kernel)
    np.testing.assert_array_equal(network.get_layer("head").kernel, head)
    with pytest.raises(ValueError, match="or call load_backbone for a network of which no more is published"):
        weights.load_torch(network, state)
    del state["layer2.0.conv1.0.weight"]
    with pytest.raises(ValueError, match=r"1 missing from the file: layer2\.0\.conv1\.0\.weight"):
        weights.load_backbone(network, state)


def test_star_starts_from_an_mc3_of_ours_or_takes_nothing_over():
    network, backbone = star(), randomized(models.MC3ResNet18(9, (4, 32, 32, 3), base_filters=4), seed=4)
    before = network.get_weights()
    with pytest.raises(ValueError, match="an MC3ResNet18 of its own width, .* differs in .* and others; give both"):
        network.start_from(models.MC3ResNet18(9, (4, 32, 32, 3), base_filters=8))
    for weight, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert network.start_from(backbone) is network
    clip = star_clip(network)
    features = keras.Model(network.input, network.get_layer("layer4_1_conv2").output)(clip)
    expected = keras.Model(backbone.input, backbone.get_layer("layer4_1_conv2").output)(clip["rgb"])
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"rgb_shape": (5, 32, 32, 3)}, "two halves, so rgb_shape has an even number, got 5"),
        ({"joint_layer": 5}, "a stage of the backbone, 1, 2, 3 or 4, got 5"),
        ({"num_heads": 5}, "num_heads divides width, got 5 and 12"),
        ({"patterns": ("zigzag", "sparse")}, "two of full, zigzag, binary, .* got .'zigzag', 'sparse'"),
    ],
)
def test_arguments_of_star_that_are_none_of_their_kind_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        star(**changes)


# ---------------------------------------- both
@contextlib.contextmanager
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def test_mixed_precision_keeps_the_logits_in_float32_and_close():
    exact = randomized(star())
    with mixed_bfloat16():
        mixed = star()
    mixed.set_weights(exact.get_weights())
    clip = star_clip(exact)
    found, expected = mixed(clip), np.asarray(exact(clip))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(found, expected, atol=0.08 * np.abs(expected).max())


def test_mixed_precision_keeps_the_logits_of_both_pathways_in_float32():
    with mixed_bfloat16(), without_weights():
        network = slim(models.RGBPoseConv3D, "rgbpose", randomize=False)
    assert network.get_layer("pooled_rgb").compute_dtype == "bfloat16"
    assert {name: logits.dtype for name, logits in network.output.items()} == {"rgb": "float32", "pose": "float32"}
