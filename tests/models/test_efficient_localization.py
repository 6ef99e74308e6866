"""EfficientLocalization by its parts: there is no published network to compare it with.

That every weight of it learns is shown in test_training, that windows are right in ops/test_windows.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import export, losses, models
from kerapose.layers import ConvNorm

TINY = {"image_shape": (64, 48, 3), "filters": 4, "crop_size": 12}


def network_of(num_joints=3, seed=0, **changes):
    """With heatmaps that are not flat."""
    network, random = models.EfficientLocalization(num_joints, **(TINY | changes)), np.random.default_rng(seed)
    for weight in network.weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
    return network


def images(batch=2, seed=1):
    return np.random.default_rng(seed).standard_normal((batch, *TINY["image_shape"])).astype("float32")


def parts_of(network, *names):
    return keras.Model(network.input, [network.get_layer(name).output for name in names])


def test_fine_heatmaps_lie_round_the_highest_cell_of_the_coarse_ones():
    network = network_of()
    coarse, fine, corners = parts_of(network, "coarse_1", "fine_heads", "corners")(images())
    heatmaps = np.asarray(network(images()))
    assert coarse.shape == (2, 8, 6, 3) and fine.shape == (2, 3, 12, 12) and heatmaps.shape == (2, 2, 32, 24, 3)
    np.testing.assert_array_equal(heatmaps[:, 0], np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2))
    for b, k in np.ndindex(2, 3):
        y, x = np.unravel_index(np.argmax(coarse[b, ..., k]), (8, 6))
        left, top = 4 * x + 2 - 6, 4 * y + 2 - 6  # the middle of the window is that of the cell
        assert corners[b, k].numpy().tolist() == [left, top]
        expected = np.zeros((64, 64))
        expected[16 + top : 28 + top, 16 + left : 28 + left] = fine[b, k]
        np.testing.assert_allclose(heatmaps[b, 1, ..., k], expected[16:48, 16:40], atol=1e-6)


def test_windows_of_all_layers_are_of_the_same_part_of_the_image():
    network = network_of(crop_size=20)
    names = [f"fine_{bank}_{index}_cut" for bank in (0, 1) for index in (0, 1)]
    shapes = [network.get_layer(name).output.shape[1:] for name in names]
    assert shapes == [(20, 20, 4), (10, 10, 4), (10, 10, 4), (5, 5, 4)]
    features, cut = "banks_1_1_pool", "fine_1_1_cut"  # an eighth of the image, as the coarse cells
    of_layer, windows, corners = parts_of(network, features, cut, "corners")(images(1))
    for k, (left, top) in enumerate(np.asarray(corners)[0]):
        assert left % 4 == top % 4 == 0
        padded = np.pad(of_layer[0], ((8, 8), (8, 8), (0, 0)))
        y, x = 8 + top // 4, 8 + left // 4
        np.testing.assert_array_equal(windows[k], padded[y : y + 5, x : x + 5])


def test_windows_of_all_joints_share_their_weights_but_for_the_last_layer():
    few, many = (models.EfficientLocalization(count, **TINY) for count in (3, 7))
    differing = [
        first.path.split("/")[-2]
        for first, second in zip(few.weights, many.weights, strict=True)
        if first.shape != second.shape
    ]
    assert differing == ["coarse_1", "coarse_1", "fine_heads", "fine_heads"]
    heads, random = few.get_layer("fine_heads"), np.random.default_rng(0)
    kernel, bias = random.random((3, 4, 1), "float32"), random.random((3, 1, 1), "float32")
    heads.set_weights([kernel, bias])
    x = random.random((6, 5, 4, 4), "float32")  # [B*K, h, w, C]
    expected = np.einsum("bkhwc,kc->bkhw", x.reshape(2, 3, 5, 4, 4), kernel[..., 0]) + bias
    np.testing.assert_allclose(heads(x), expected, rtol=1e-5)


def test_gradients_of_the_refinement_reach_the_features_and_not_the_coarse_heatmaps():
    network = network_of(pooling=4, num_resolutions=1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(network(images())[:, 1]))
    gradients = tape.gradient(loss, network.trainable_variables)
    reached = {
        variable.path.split("/")[-2]
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
        if gradient is not None and np.any(gradient)
    }
    assert reached == {"banks_0_0", "banks_0_1", "fine_0_0", "fine_0_1", "fine_0", "fine_1", "fine_heads"}


def test_whole_maps_are_dropped():
    network = network_of(dropout=0.5)
    layer = network.get_layer("dropout")
    dropped = np.asarray(layer(np.ones((4, 8, 6, 16), "float32"), training=True))
    assert set(np.unique(dropped)) == {0, 2}
    assert (dropped == dropped[:, :1, :1]).all() and 10 < (dropped[:, 0, 0] == 0).sum() < 54
    inputs, outputs = network.get_layer("coarse_0").input, network.get_layer("coarse_0").output
    assert inputs.shape[-1] == outputs.shape[-1] == 16  # it stands before the first 1 x 1 convolution


def test_a_coarse_network_is_the_beginning_of_a_refined_one():
    coarse, refined = network_of(refinement=False), network_of(seed=1)
    assert coarse.output_shape == (None, 8, 6, 3)
    for layer in coarse.layers[1:]:
        refined.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_allclose(parts_of(refined, "coarse_1")(images())[0], coarse(images())[0], rtol=1e-5)


def test_without_norms_convolutions_have_biases():
    for norm in (False, True):
        network = models.EfficientLocalization(3, norm=norm, **TINY)
        convolutions = [one for one in network.layers if isinstance(one, ConvNorm) and one.name != "coarse_1"]
        assert all(one.norm is norm and one.use_bias is not norm for one in convolutions)


def test_the_same_weights_for_other_sizes():
    network = network_of()
    image = np.random.default_rng(3).standard_normal((1, 32, 64, 3)).astype("float32")
    of_its_size, of_any_size = network.resized((32, 64, 3))(image), network.resized((None, None, 3))(image)
    assert of_its_size.shape == (1, 2, 16, 32, 3)
    np.testing.assert_allclose(of_any_size, of_its_size, rtol=1e-5, atol=1e-5)


def test_mixed_precision_keeps_the_heatmaps_in_float32():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = models.EfficientLocalization(3, **TINY)
    finally:
        keras.config.set_dtype_policy(before)
    heatmaps = mixed(images())
    assert mixed.get_layer("fine_0").compute_dtype == "bfloat16"
    assert keras.backend.standardize_dtype(heatmaps.dtype) == "float32" and np.isfinite(heatmaps).all()


def run_litert(path, image):
    return pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path)).get_signature_runner()(image=image)


def run_onnx(path, image):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return {"heatmaps": session.run(["heatmaps"], {"image": image})[0]}


@pytest.mark.parametrize(
    "write, file, run", [(export.litert, "pose.tflite", run_litert), (export.onnx, "pose.onnx", run_onnx)]
)
def test_it_finds_the_same_in_other_runtimes(tmp_path, write, file, run):
    network = network_of()
    write(network, tmp_path / file)
    for batch in (1, 3):
        image = images(batch)
        expected, answer = np.asarray(network(image)), run(tmp_path / file, image)["heatmaps"]
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4 * expected.std())


@pytest.mark.slow
def test_refinement_learns_what_coarse_cells_cannot_tell():
    """One bright pixel in each image: cells of 8 pixels are too coarse for it, fine ones are not."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    network = models.EfficientLocalization(
        1, (32, 32, 3), filters=8, crop_size=12, num_resolutions=1, norm=True, dropout=0.1
    )
    places = random.integers(2, 14, (64, 2))  # fine pixels
    image, true = np.zeros((64, 32, 32, 3), "float32"), np.zeros((64, 16, 16, 1), "float32")
    grid = np.arange(16)
    for one, (x, y) in enumerate(places):
        image[one, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = 1.0
        distance = (grid[:, None] - y) ** 2 + (grid - x) ** 2
        true[one, ..., 0] = np.exp(-distance / 2)
    network.compile(keras.optimizers.Adam(3e-3), losses.JointsMSE(100.0, stack_weights=(1.0, 1.0)))
    network.fit(image, true, batch_size=16, epochs=40, verbose=0)
    heatmaps = network.predict(image, verbose=0)[..., 0]
    errors = []
    for stack in (0, 1):
        y, x = np.unravel_index(heatmaps[:, stack].reshape(64, -1).argmax(-1), (16, 16))
        errors.append(np.hypot(x - places[:, 0], y - places[:, 1]).mean())
    assert errors[1] < 0.5 * errors[0], errors


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"pooling": 6}, "pooling must be 4, 8 or 16, got 6; use 8"),
        ({"num_resolutions": 0}, "num_resolutions must be at least 1, got 0; use 2"),
        ({"image_shape": (200, 192, 3)}, r"multiples of 16, got \(200, 192, 3\); use \(192, 192, 3\) or"),
        ({"crop_size": 30}, "a multiple of 4 with 2 resolutions, at least 8, got 30; use 32"),
        ({"crop_size": 4}, "at least 8, got 4; use 8"),
    ],
)
def test_what_cannot_be_built_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        models.EfficientLocalization(17, **options)
