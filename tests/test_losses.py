"""The losses of heatmaps against the published ones, values and gradients, and against loops over joints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import losses


def channels_last(maps):
    return np.moveaxis(maps, -3, -1)


def slow_errors(true, predicted, factor, weights=None, squared=True):
    """One weighted error for each person and joint, or stack and joint: [B, K], or [B, S, K]."""
    stacked = predicted if predicted.ndim == 5 else predicted[:, None]
    table = np.zeros((*stacked.shape[:2], true.shape[-1]))
    for b, s, k in np.ndindex(*table.shape):
        difference = true[b, :, :, k].astype("float64") - stacked[b, s, :, :, k]
        weight = 1.0 if weights is None else float(weights[b, k])
        table[b, s, k] = factor * (weight**2 if squared else weight) * (difference**2).sum() / difference.size
    return table if predicted.ndim == 5 else table[:, 0]


def slow_mining(table, top_k):
    rows = table.reshape(-1, table.shape[-1])
    return np.mean([sorted(row, reverse=True)[:top_k] for row in rows])


def heatmaps(shape=(3, 8, 6, 5), stacks=None, seed=0):
    """True and predicted heatmaps, and weights that are neither all 0 nor all 1."""
    random = np.random.default_rng(seed)
    predicted = shape if stacks is None else (shape[0], stacks, *shape[1:])
    weights = random.choice([0.0, 0.5, 1.0, 1.5], (shape[0], shape[-1]))
    return random.random(shape, "float32"), random.random(predicted, "float32"), weights.astype("float32")


def value_and_gradient(loss, true, predicted, weights=None):
    predicted = tf.Variable(predicted)
    with tf.GradientTape() as tape:
        value = loss(true, predicted, weights)
    return value.numpy(), tape.gradient(value, predicted).numpy()


@pytest.mark.parametrize("with_axis", [True, False])
def test_joints_mse_equals_the_published_one(golden, with_axis):
    case = golden("loss_joints_coco")
    true, predicted = channels_last(case["input_target"]), channels_last(case["input_output"])
    weights = case["input_target_weight"] if with_axis else case["input_target_weight"][..., 0]
    value, gradient = value_and_gradient(losses.JointsMSE(), true, predicted, weights)
    case.check("output_mse_weighted", value)
    case.check("output_mse_weighted_grad", np.moveaxis(gradient, -1, 1))
    case.check("output_mse_plain", losses.JointsMSE()(true, predicted))


def test_joints_ohkm_equals_the_published_one(golden):
    case = golden("loss_joints_coco")
    true, predicted = channels_last(case["input_target"]), channels_last(case["input_output"])
    weights = case["input_target_weight"][..., 0]
    for top_k in case.config["topk"]:
        loss = losses.JointsOHKM(top_k)
        value, gradient = value_and_gradient(loss, true, predicted, weights)
        case.check(f"output_ohkm{top_k}_weighted", value)
        if f"output_ohkm{top_k}_weighted_grad" in case:
            case.check(f"output_ohkm{top_k}_weighted_grad", np.moveaxis(gradient, -1, 1))
        case.check(f"output_ohkm{top_k}_plain", loss(true, predicted))


def test_stacks_are_supervised_as_the_hourglass_trainer_does(golden):
    case = golden("loss_hourglass_a")
    true, predicted = channels_last(case["input_heatmaps"]), channels_last(case["input_preds"])
    loss = losses.JointsMSE(factor=1.0)
    value, gradient = value_and_gradient(loss, true, predicted)
    case.check("output_total", value)
    np.testing.assert_allclose(gradient, 2 * (predicted - true[:, None]) / predicted.size, rtol=1e-4, atol=1e-9)
    one_by_one = losses.JointsMSE(factor=1.0, reduction=None)
    table = [np.mean(one_by_one(true, predicted[:, s]), axis=-1) for s in range(predicted.shape[1])]
    case.check("output_losses", np.stack(table, axis=1))


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("stacks", [None, 3])
def test_values_equal_the_loops(stacks, squared):
    true, predicted, weights = heatmaps(stacks=stacks)
    for given in (None, weights):
        table = slow_errors(true, predicted, 0.7, given, squared)
        mse = losses.JointsMSE(0.7, squared)(true, predicted, given)
        assert float(mse) == pytest.approx(table.mean(), rel=1e-5)
        for top_k in (1, 2, 5):
            mined = losses.JointsOHKM(top_k, 0.7, squared)(true, predicted, given)
            assert float(mined) == pytest.approx(slow_mining(table, top_k), rel=1e-5)


def test_weights_may_belong_to_people_or_count_in_the_mean():
    true, predicted, weights = heatmaps(shape=(5, 4, 4, 5))  # as many people as joints: no way to tell but the rank
    table = slow_errors(true, predicted, 0.5)
    of_people = np.array([0, 1, 2, 3, 4], "float32")
    expected = (table * of_people[:, None] ** 2).mean()
    assert float(losses.JointsMSE()(true, predicted, of_people)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.JointsMSE()(true, predicted, of_people[:, None])) == pytest.approx(expected, rel=1e-5)
    visible = losses.JointsMSE(squared_weights=False, reduction="mean_with_sample_weight")
    assert float(visible(true, predicted, weights)) == pytest.approx((table * weights).sum() / weights.sum(), rel=1e-5)
    expected = (table * of_people[:, None]).sum() / (5 * of_people.sum())
    assert float(visible(true, predicted, of_people)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.JointsMSE(0.3, False), losses.JointsOHKM(3, 0.3, False)])
def test_losses_come_back_from_their_configuration(loss):
    true, predicted, weights = heatmaps()
    content = keras.saving.serialize_keras_object(loss)
    copy = keras.saving.deserialize_keras_object(content)
    assert type(copy) is type(loss) and copy.get_config() == loss.get_config()
    assert float(copy(true, predicted, weights)) == float(loss(true, predicted, weights))


def test_bfloat16_predictions_are_compared_in_float32():
    true, predicted, weights = heatmaps((2, 16, 16, 5))
    rounded = tf.cast(predicted, "bfloat16")
    expected = slow_errors(true, tf.cast(rounded, "float32").numpy(), 0.5, weights)
    for loss, value in ((losses.JointsMSE(), expected.mean()), (losses.JointsOHKM(2), slow_mining(expected, 2))):
        result = loss(true, rounded, weights)
        assert result.dtype == "float32"
        assert float(result) == pytest.approx(value, rel=1e-5)


def network(policy="float32", num_joints=5):
    """A small network of heatmaps; its last layer gives `policy`'s own numbers."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", dtype=policy)(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(num_joints, 1, dtype=policy)(x))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("make_loss", [losses.JointsMSE, lambda: losses.JointsOHKM(2)])
def test_fit_and_evaluate_pass_the_weights(policy, make_loss):
    true, _, weights = heatmaps((6, 8, 8, 5))
    crops = np.random.default_rng(1).random((6, 8, 8, 3), "float32")
    model = network(policy)
    model.compile(optimizer="adam", loss=make_loss())
    dataset = tf.data.Dataset.from_tensor_slices((crops, true, weights)).batch(3)
    predicted = tf.cast(model(crops), "float32").numpy()
    table = slow_errors(true, predicted, 0.5, weights)
    expected = table.mean() if make_loss is losses.JointsMSE else slow_mining(table, 2)
    tolerance = 1e-5 if policy == "float32" else 2e-2
    assert model.evaluate(dataset, verbose=0) == pytest.approx(expected, rel=tolerance)
    history = model.fit(dataset, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_joints_without_weight_have_no_gradient():
    true, predicted, weights = heatmaps()
    weights[:, 2] = 0
    for loss in (losses.JointsMSE(), losses.JointsOHKM(5)):
        _, gradient = value_and_gradient(loss, true, predicted, weights)
        assert (gradient[..., 2] == 0).all() and (gradient[..., weights[0] > 0] != 0).any()


@pytest.mark.parametrize(
    "true, predicted, weights, words",
    [
        ((2, 8, 6, 5), (2, 8, 6, 4), None, "size and joints"),
        ((2, 8, 6, 5), (2, 6, 8, 5), None, "size and joints"),
        ((2, 8, 6, 5), (2, 3, 6, 8, 5), None, "size and joints"),
        ((2, 8, 6, 5), (3, 8, 6, 5), None, "size and joints"),
        ((2, 3, 8, 6, 5), (2, 3, 8, 6, 5), None, r"must be \[B, h, w, K\]"),
        ((2, 8, 6, 5), (2, 30), None, r"must be \[B, h, w, K\]"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (2, 4), "one weight per joint"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (5,), "one weight per joint"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (1, 5), "one weight per joint"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (2, 8, 6, 5), "one weight per joint"),
    ],
)
@pytest.mark.parametrize("loss", [losses.JointsMSE(), losses.JointsOHKM(2)])
def test_shapes_that_do_not_fit_are_refused(loss, true, predicted, weights, words):
    with pytest.raises(ValueError, match=words):
        loss(np.zeros(true, "f4"), np.zeros(predicted, "f4"), None if weights is None else np.zeros(weights, "f4"))


def test_more_joints_than_there_are_cannot_be_mined():
    maps = np.zeros((2, 8, 6, 5), "f4")
    with pytest.raises(ValueError, match="got 6 of 5"):
        losses.JointsOHKM(6)(maps, maps)
    with pytest.raises(ValueError, match="at least 1"):
        losses.JointsOHKM(0)


# ---------------------------------------- fields
def slow_fields(true, predicted, mask=None):
    """One error for each picture, cell after cell: [B]."""
    stacked = predicted if predicted.ndim == 5 else predicted[:, None]
    sums = np.zeros(len(true))
    for b, s, i, j in np.ndindex(*stacked.shape[:4]):
        weight = 1.0 if mask is None else float(mask[b, i, j])
        sums[b] += ((weight * (true[b, i, j].astype("float64") - stacked[b, s, i, j])) ** 2).sum()
    return sums / 2


def fields(stacks=None, shape=(3, 6, 5, 4), seed=0):
    """True and predicted fields, and a mask [B, h, w] with fractions in it."""
    random = np.random.default_rng(seed)
    predicted = shape if stacks is None else (shape[0], stacks, *shape[1:])
    mask = random.choice([0.0, 0.3, 1.0], shape[:3]).astype("float32")
    return random.normal(size=shape).astype("float32"), random.normal(size=predicted).astype("float32"), mask


def test_fields_l2_equals_the_published_one(golden):
    case = golden("loss_openpose_a")
    stages = [[channels_last(case[f"input_stage{s}_{kind}"]) for kind in ("heatmaps", "pafs")] for s in (0, 1)]
    true = [channels_last(case[f"input_{kind}_target"]) for kind in ("heatmaps", "pafs")]
    mask = channels_last(case["input_mask"])
    for s, kind in np.ndindex(2, 2):
        name = f"output_stage{s}_{('heatmaps', 'pafs')[kind]}_loss"
        case.check(name, losses.FieldsL2()(true[kind], stages[s][kind], mask))
    predicted = np.stack([np.concatenate(stage, axis=-1) for stage in stages], axis=1)  # [B, S, h, w, C]
    case.check("output_total", losses.FieldsL2()(np.concatenate(true, axis=-1), predicted, mask))


@pytest.mark.parametrize("stacks", [None, 1, 3])
def test_fields_l2_equals_the_loop(stacks):
    true, predicted, mask = fields(stacks)
    assert float(losses.FieldsL2()(true, predicted)) == pytest.approx(slow_fields(true, predicted).mean(), rel=1e-5)
    table = slow_fields(true, predicted, mask)
    for given in (mask, mask[..., None]):
        value, gradient = value_and_gradient(losses.FieldsL2(), true, predicted, given)
        assert value == pytest.approx(table.mean(), rel=1e-5)
        axes = (..., None) if stacks is None else (slice(None), None, ..., None)
        difference = predicted - (true if stacks is None else true[:, None])
        np.testing.assert_allclose(gradient, mask[axes] ** 2 * difference / len(true), rtol=1e-4, atol=1e-6)
    each = losses.FieldsL2(reduction="none")(true, predicted, mask)
    np.testing.assert_allclose(each, table, rtol=1e-5)


def test_fields_l2_of_bfloat16_is_a_float32_sum():
    true, predicted, mask = fields(2, (2, 24, 24, 6))
    rounded = tf.cast(predicted, "bfloat16")
    value = losses.FieldsL2()(true, rounded, mask)
    assert value.dtype == "float32"
    expected = slow_fields(true, tf.cast(rounded, "float32").numpy(), mask).mean()
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_fields_l2_comes_back_from_its_configuration():
    true, predicted, mask = fields(2)
    loss = losses.FieldsL2(reduction="sum", name="both_fields")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is losses.FieldsL2 and copy.get_config() == loss.get_config() and copy.name == "both_fields"
    assert float(copy(true, predicted, mask)) == float(loss(true, predicted, mask))


@pytest.mark.parametrize("with_axis", [True, False])
def test_fit_passes_the_mask_of_the_fields(with_axis):
    true, _, mask = fields(shape=(6, 8, 8, 5))
    pictures = np.random.default_rng(1).random((6, 8, 8, 3), "float32")
    one_stage = network()
    outputs = keras.ops.stack([one_stage.output, 0.5 * one_stage.output], axis=1)  # [B, 2, h, w, C]
    model = keras.Model(one_stage.input, outputs)
    model.compile(optimizer="adam", loss=losses.FieldsL2())
    dataset = tf.data.Dataset.from_tensor_slices((pictures, true, mask[..., None] if with_axis else mask)).batch(3)
    expected = slow_fields(true, model(pictures).numpy(), mask).mean()
    assert model.evaluate(dataset, verbose=0) == pytest.approx(expected, rel=1e-5)
    history = model.fit(dataset, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize(
    "true, predicted, mask, words",
    [
        ((2, 8, 6, 5), (2, 8, 6, 4), None, "alike, got"),
        ((2, 8, 6, 5), (2, 3, 6, 8, 5), None, "alike, got"),
        ((2, 3, 8, 6, 5), (2, 3, 8, 6, 5), None, "alike, got"),
        ((2, 8, 6, 5), (2, 240), None, "alike, got"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (2, 8, 6, 5), r"one number per cell, got \(2, 8, 6, 5\)"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (2, 6, 8), "one number per cell"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (2,), "one number per cell"),
        ((2, 8, 6, 5), (2, 8, 6, 5), (2, 8, 6, 1, 1), "one number per cell"),
    ],
)
def test_fields_that_do_not_fit_are_refused(true, predicted, mask, words):
    with pytest.raises(ValueError, match=words):
        losses.FieldsL2()(
            np.zeros(true, "f4"), np.zeros(predicted, "f4"), None if mask is None else np.zeros(mask, "f4")
        )
