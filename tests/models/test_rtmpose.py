"""RTMPose against the published network: every stage, sizes and work; what its weights do not fit.

That every weight of it learns is shown in test_training.
"""

import math

import keras
import numpy as np
import pytest

from kerapose import estimators, export, layers, models, skeletons, weights
from kerapose.models import rtmpose

CASES = ("rtmpose_t_256x192", "rtmpose_tiny_96x64")

# Layers whose outputs a golden has.
STEPS = {
    "output_stem": "stem_2",
    **{f"output_stage{stage}": f"stage{stage}_1_final_conv" for stage in (1, 2, 3)},
    "output_stage4": "stage4_2_final_conv",
    "output_final_layer": "final_layer",
    "output_mlp": "mlp_1",
    "output_gau": "gau",
}
AXES = {"output_simcc_x": "x", "output_simcc_y": "y"}

# Of MMPose's networks: joints, image, millions of parameters (one in a hundred of them), billions of multiply-adds.
SIZES = {
    "rtmpose_t": [(17, (256, 192), 3.34, 0.355), (26, (256, 192), 3.51, 0.37)],
    "rtmpose_s": [(17, (256, 192), 5.47, 0.676), (26, (256, 192), 5.70, 0.69)],
    "rtmpose_m": [(17, (256, 192), 13.59, 1.92), (26, (256, 192), 13.93, 1.94), (17, (384, 288), 13.72, 4.30)],
    "rtmpose_l": [(17, (256, 192), 27.66, 4.14), (17, (384, 288), 27.79, 9.31)],
    "rtmpose_x": [(17, (256, 192), 49.30, 7.63), (17, (384, 288), 49.43, 17.16)],
}
SIZED = [(variant, *row) for variant, rows in SIZES.items() for row in rows]

SMALL = {"image_shape": (64, 96, 3), "depth_factor": 0.2, "width_factor": 0.125, "final_kernel": 3}
SMALL |= {"gau_width": 24, "gau_key": 12}


def build(case):
    """The network of a golden's configuration, with its weights, and the golden's images, channels last."""
    backbone, head = case.config["arguments"]["backbone"], case.config["arguments"]["head"]
    images = np.moveaxis(case["input_image"], 1, -1)  # [B, H, W, 3]
    network = models.RTMPose(
        head["out_channels"],
        images.shape[1:],
        depth_factor=backbone["deepen_factor"],
        width_factor=backbone["widen_factor"],
        final_kernel=head["final_layer_kernel_size"],
        gau_width=head["gau_cfg"]["hidden_dims"],
        gau_key=head["gau_cfg"]["s"],
    )
    return weights.load_torch(network, case.state_dict), images


def small(num_joints=5, **changes):
    return with_random_weights(models.RTMPose(num_joints, **(SMALL | changes)))


def with_random_weights(network, seed=0):
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance", "scale")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) > 1:
            weight.assign(random.normal(0, np.sqrt(1 / np.prod(weight.shape[:-1])), weight.shape))
        else:
            weight.assign(random.normal(0, 0.1, weight.shape))
    return network


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def count_trained(network):
    return sum(math.prod(variable.shape) for variable in network.trainable_variables)


def multiply_adds(network):
    """Of one image: of each layer its kernel at each place of its output; of the attention unit its four products."""
    count = 0
    for layer in network.layers:
        if isinstance(layer, layers.ConvNorm | layers.Dense):
            count += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        elif isinstance(layer, rtmpose.GatedAttentionUnit):
            joints, inside = layer.input.shape[1], layer.narrow.shape[0]
            kernels = math.prod(layer.widen.shape) + math.prod(layer.narrow.shape)
            count += joints * kernels + joints * joints * (layer.key + inside)
    return count


# ---------------------------------------- the published network
@pytest.mark.parametrize("name", CASES)
def test_every_step_equals_the_published_network(golden, name):
    case = golden(name)
    network, image = build(case)
    steps = {output: network.get_layer(layer).output for output, layer in STEPS.items() if output in case}
    assert len(steps) >= 5
    given = keras.Model(network.input, {"steps": steps, "logits": network.output})(image)
    for output, value in given["steps"].items():
        value = np.asarray(value)
        if value.ndim == 4:
            value = np.moveaxis(value, -1, 1)  # [B, C, H, W]
        cut = case.config["output_slices"].get(output)
        if cut is not None:
            every = slice(cut["start"], None, cut["step"])
            value = value[:, cut["channels"] or slice(None), every, every]
        case.check(output, value)
    for output, axis in AXES.items():
        case.check(output, given["logits"][axis])
    assert count_trained(network) == case.config["parameters"]
    assert multiply_adds(network) == case.config["macs"]


def test_in_a_graph_and_one_by_one_it_gives_the_same(golden):
    case = golden("rtmpose_tiny_96x64")
    network, image = build(case)
    logits = network.predict(image, batch_size=1, verbose=0)
    for output, axis in AXES.items():
        case.check(output, logits[axis])


@pytest.mark.parametrize("variant, num_joints, size, millions, billions", SIZED)
def test_sizes_are_the_published_ones(variant, num_joints, size, millions, billions):
    with keras.StatelessScope(initialize_variables=False):
        network = models.RTMPose.from_variant(variant, num_joints, image_shape=(*size, 3))
    keras.utils.clear_session(free_memory=False)
    assert round(count_trained(network) / 1e6, 2) == millions
    assert multiply_adds(network) / 1e9 == pytest.approx(billions, abs=0.0051)


# ---------------------------------------- files
def test_a_backbone_alone_is_loaded_into_a_network_for_others(golden):
    """Of other joints and another size; what had another head, too."""
    case = golden("rtmpose_tiny_96x64")
    whole, _ = build(case)
    options = {"depth_factor": 0.34, "width_factor": 0.125, "final_kernel": 3, "gau_width": 32, "gau_key": 16}
    other = models.RTMPose(7, (64, 64, 3), **options)
    head = {layer.name: layer.get_weights() for layer in other.layers if layer.name.startswith(other.HEAD)}
    assert set(head) == {"final_layer", "mlp_0", "mlp_1", "gau", "cls_x", "cls_y"}
    pretrained = {name: array for name, array in case.state_dict.items() if name.startswith("backbone.")}
    of_heatmaps = {
        "head.deconv_layers.0.weight": np.ones((4, 4, 4, 4)),
        "head.final_layer.weight": np.ones((17, 4, 1, 1)),
    }
    for state in (case.state_dict, pretrained | of_heatmaps, pretrained | {"head.fc.weight": np.ones((1000, 128))}):
        with_random_weights(other)
        for layer, arrays in head.items():
            other.get_layer(layer).set_weights(arrays)
        weights.load_backbone(other, state)
        for layer in (layer for layer in other.layers if layer.weights):
            arrays = head.get(layer.name) or whole.get_layer(layer.name).get_weights()
            for ours, theirs in zip(layer.get_weights(), arrays, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_a_file_for_another_size_or_other_joints_is_refused_and_changes_nothing(golden):
    case = golden("rtmpose_tiny_96x64")
    options = {"depth_factor": 0.34, "width_factor": 0.125, "final_kernel": 3, "gau_width": 32, "gau_key": 16}
    for num_joints, shape, misshapen in ((5, (64, 64, 3), "mlp.1.weight"), (7, (96, 64, 3), "final_layer.weight")):
        network = models.RTMPose(num_joints, shape, **options)
        before = network.get_weights()
        with pytest.raises(ValueError, match=rf"misshapen: .*{misshapen}.*build the model with the variant"):
            weights.load_torch(network, case.state_dict)
        assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), before, strict=True))


def test_weights_are_for_one_size():
    network = small()
    with pytest.raises(
        ValueError, match=r"images of one size, \(64, 96\) here, got \(96, 64, 3\); build one of that si"
    ):
        network.resized((96, 64, 3))
    with pytest.raises(ValueError, match="RTMPose is resized by image_shape, got 2 shapes"):
        network.resized((64, 96, 3), (64, 96, 3))
    copy, image = network.resized([64, 96, 3]), images(2, 64, 96, 3)
    for ours, theirs in zip(copy(image).values(), network(image).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ---------------------------------------- parts
def test_views_of_the_pyramid_are_the_greatest_within_5_9_and_13_pixels_though_all_be_negative():
    image = -1 - np.random.default_rng(0).random((1, 8, 6, 2), "float32")
    inputs = keras.Input(image.shape[1:])
    network = keras.Model(inputs, rtmpose.spatial_pyramid(inputs, "pyramid"))
    names = [layer.name for layer in network.layers if "pool" in layer.name]
    seen = keras.Model(network.get_layer("pyramid_conv1").output, [network.get_layer(name).output for name in names])
    given = image[..., :1]
    for reach, maxima in zip((2, 4, 6), seen(given), strict=True):
        for row, column in np.ndindex(8, 6):
            window = given[0, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1, 0]
            assert np.asarray(maxima)[0, row, column, 0] == window.max()


def test_a_map_without_anything_is_left_so_and_has_a_gradient():
    import tensorflow as tf

    x = tf.Variable(np.zeros((1, 2, 4), "float32"))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(rtmpose.scale_norm(x, np.ones(1, "float32")))
    assert float(y) == 0 and np.isfinite(tape.gradient(y, x)).all()


def test_kernels_begin_as_published():
    network = models.RTMPose(17, (64, 64, 3), depth_factor=0.2, width_factor=0.25)
    depthwise = np.asarray(network.get_layer("stage3_1_blocks_0_conv2_depthwise_conv").kernel)
    assert 0.19 < np.abs(depthwise).max() <= 0.2  # of 25 numbers each
    full = np.asarray(network.get_layer("stage3_1_blocks_0_conv1").kernel)
    assert np.abs(full).max() == pytest.approx((9 * 64) ** -0.5, rel=0.01)
    assert np.asarray(network.get_layer("final_layer").kernel).std() == pytest.approx(0.001, rel=0.1)
    assert np.asarray(network.get_layer("cls_x").kernel).std() == pytest.approx(0.01, rel=0.1)
    gau = network.get_layer("gau")
    assert gau.get_weights()[0].tolist() == [1.0] and np.asarray(gau.shortcut_scale).tolist() == [1.0] * 256
    for weight in (gau.stretch, gau.offset):
        assert 0 <= np.asarray(weight).min() < 0.1 and 0.9 < np.asarray(weight).max() < 1
    assert not np.asarray(network.get_layer("stage1_1_attention_fc").bias).any()


def test_mixed_precision_keeps_the_logits_in_float32_and_close():
    exact, image = small(), images(2, *SMALL["image_shape"])
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = models.RTMPose(5, **SMALL)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(exact.get_weights())
    computed = {layer.name: layer.compute_dtype for layer in mixed.layers}
    assert computed["stage4_2_final_conv"] == computed["stage4_1_pool5"] == "bfloat16"
    assert {computed[name] for name in ("final_layer", "mlp_0", "mlp_1", "gau", "cls_x", "cls_y")} == {"float32"}
    for logits, expected in zip(mixed(image).values(), exact(image).values(), strict=True):
        expected = np.asarray(expected)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"
        assert 0 < np.abs(np.asarray(logits) - expected).max() < 0.1 * np.abs(expected).max()


# ---------------------------------------- around it
def run_litert(path, image):
    return pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path)).get_signature_runner()(image=image)


def run_onnx(path, image):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return dict(zip("xy", session.run(["x", "y"], {"image": image}), strict=True))


@pytest.mark.parametrize(
    "write, file, run", [(export.litert, "pose.tflite", run_litert), (export.onnx, "pose.onnx", run_onnx)]
)
def test_other_runtimes_give_the_same_logits(tmp_path, write, file, run):
    network = small()
    write(network, tmp_path / file)
    for batch in (1, 3):
        image = images(batch, *SMALL["image_shape"])
        answer = run(tmp_path / file, image)
        assert set(answer) == {"x", "y"}
        for axis, expected in network(image).items():
            assert np.asarray(expected).std() > 0.05
            np.testing.assert_allclose(answer[axis], expected, rtol=1e-3, atol=1e-4)


def test_joints_are_found_where_the_logits_are_greatest():
    network = small(17)
    estimator = estimators.PoseEstimator(network, skeletons.COCO, codec="simcc", flip_test=False)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), "uint8")
    boxes = np.float32([[12, 6, 72, 48], [50, 30, 110, 80]])
    crops, matrices = map(np.asarray, estimator.crops(image, boxes))
    keypoints, scores = map(np.asarray, estimator({"image": image, "boxes": boxes}))
    logits = {axis: np.asarray(values) for axis, values in network(crops).items()}
    in_crop = np.stack([values.argmax(-1) / 2 for values in logits.values()], axis=-1)  # [N, K, 2]
    least = np.minimum(*(values.max(-1) for values in logits.values()))
    assert (least > 0).mean() > 0.5
    there = np.einsum("nij,nkj->nki", matrices[..., :2], keypoints) + matrices[:, None, :, 2]
    np.testing.assert_allclose(there[least > 0], in_crop[least > 0], atol=1e-3)
    np.testing.assert_allclose(scores, least, atol=1e-4)


# ---------------------------------------- errors
@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"image_shape": (256, 180, 3)}, r"multiples of 32, got \(256, 180, 3\); use \(256, 160, 3\) or \(256, 192, 3"),
        ({"image_shape": (None, 192, 3)}, r"images of one size, got image_shape \(None, 192, 3\); use \(256, 192, 3\)"),
        ({"depth_factor": 0}, "depth_factor must be above 0, got 0; use 0.67"),
        ({"width_factor": 0.01}, "width_factor must be at least 0.03125, which leaves the stem one channel, got 0.01"),
        ({"final_kernel": 4}, "final_kernel must be odd, got 4; use 7"),
        ({"gau_key": 0}, "gau_width and gau_key must be at least 1, got 256 and 0; use 256 and 128"),
    ],
)
def test_what_cannot_be_built_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        models.RTMPose(17, **options)
