"""The losses of coordinates, of SimCC's vectors and of a pose machine's stages against the published ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import losses, models, training, weights
from kerapose.models import simple_baseline


def channels_last(maps):
    return np.moveaxis(maps, -3, -1)


def value_and_gradients(loss, true, predicted, given, *more):
    """What a loss is, and its gradients by the answer and by further variables."""
    predicted = tf.Variable(predicted)
    with tf.GradientTape() as tape:
        value = loss(true, predicted, given)
    return value.numpy(), [gradient.numpy() for gradient in tape.gradient(value, [predicted, *more])]


# ---------------------------------------- stages
def test_stages_are_added_as_those_of_the_published_pose_machine(golden):
    case = golden("loss_cpm_a")
    stages = [channels_last(case[f"input_stage{stage}"]) for stage in range(case.config["stages"])]
    true, given = channels_last(case["input_target"]), case["input_target_weight"]
    loss = losses.JointsMSE(1.0, squared_weights=False, stack_weights=1.0)
    value, (gradient,) = value_and_gradients(loss, true, np.stack(stages, axis=1), given)
    case.check("output_total", value)
    for stage, maps in enumerate(stages):
        case.check(f"output_stage{stage}_grad", np.moveaxis(gradient[:, stage], -1, 1))
        for one in (losses.JointsMSE(1.0, squared_weights=False), loss):
            case.check(f"output_stage{stage}_loss", one(true, maps, given))
    case.check("output_plain", loss(true, stages[0]))


def test_stages_may_have_weights_of_their_own(golden):
    case = golden("loss_cpm_a")
    stages = [channels_last(case[f"input_stage{stage}"]) for stage in range(3)]
    true, given = channels_last(case["input_target"]), case["input_target_weight"]
    loss = losses.JointsMSE(1.0, False, stack_weights=[1.0, 0.0, 0.1])
    expected = case["output_stage0_loss"] + 0.1 * case["output_stage2_loss"]
    assert float(loss(true, np.stack(stages, axis=1), given)) == pytest.approx(expected, rel=1e-5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copy.stack_weights == (1.0, 0.0, 0.1)
    with pytest.raises(ValueError, match="one number for each stack, got 3 for 2; give one number for all"):
        loss(true, np.stack(stages[:2], axis=1))


# ---------------------------------------- coordinates
def test_smooth_l1_equals_the_published_one(golden):
    case = golden("loss_smooth_l1_a")
    for name, factor in case.config["loss_weights"].items():
        given = None if name == "plain" else case["input_target_weight"]
        for weights_given in (given, None if given is None else given[..., 0]):
            loss = losses.SmoothL1(factor)
            value, (gradient,) = value_and_gradients(loss, case["input_target"], case["input_output"], weights_given)
            case.check(f"output_{name}", value)
            case.check(f"output_{name}_grad", gradient)


VARIANTS = {
    "default": {},
    "sum": {"reduction": "sum"},
    "flow_only": {"residual": False},
    "gaussian": {"distribution": "gaussian"},
    "unweighted": {},
}


def likelihood(case, variant, identity=False):
    loss = losses.ResidualLikelihood(**VARIANTS[variant])
    weights.load_flow(loss.flow, case.state_dict)
    if identity:
        loss.flow.set_weights([np.zeros_like(weight) for weight in loss.flow.get_weights()])
    predicted = np.concatenate([case["input_pred"], case["input_sigma"]], axis=-1)
    given = None if variant == "unweighted" else case["input_target_weight"]
    return loss, (case["input_target"], predicted, given)


@pytest.mark.parametrize("identity", [False, True], ids=["flow", "identity"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_residual_likelihood_equals_the_published_one(golden, variant, identity):
    case = golden("loss_rle_a")
    assert set(case.config["variants"]) == set(VARIANTS)
    loss, batch = likelihood(case, variant, identity)
    value, (gradient,) = value_and_gradients(loss, *batch)
    name = f"output_identity_{variant}" if identity else f"output_{variant}"
    case.check(name, value)
    if f"{name}_grad_pred" in case:
        case.check(f"{name}_grad_pred", gradient[..., :2])
        case.check(f"{name}_grad_sigma", gradient[..., 2:])


def test_the_flow_equals_the_published_one(golden):
    case = golden("loss_rle_a")
    loss, batch = likelihood(case, "default")
    latent, log_determinant = loss.flow.to_latent(case["output_error"])
    case.check("output_latent", latent)
    case.check("output_log_det", log_determinant)
    case.check("output_log_phi", loss.flow(case["output_error"]))
    variables = loss.flow.torch_weights()
    prefix = "output_default_grad_flow_model."
    names = [name.removeprefix(prefix) for name in case.arrays if name.startswith(prefix)]
    assert len(names) == 4
    _, (_, *gradients) = value_and_gradients(loss, *batch, *(variables[name].value for name in names))
    for name, gradient in zip(names, gradients, strict=True):
        case.check(f"{prefix}{name}", gradient.T)


def test_a_published_flow_is_read_beside_its_network(golden):
    case = golden("deeppose_rle_r18_128x96")
    flow = weights.load_flow(losses.RealNVP(), case.state_dict)
    for name, variable in flow.torch_weights().items():
        np.testing.assert_array_equal(variable, case.state_dict[f"head.loss_module.flow_model.{name}"].T)
    incomplete = {name: array for name, array in case.state_dict.items() if not name.endswith("t.5.4.bias")}
    with pytest.raises(ValueError, match="1 missing from the file: t.5.4.bias; build the flow"):
        weights.load_flow(flow, incomplete)
    with pytest.raises(ValueError, match="has a flow_model, got none"):
        weights.load_flow(flow, golden("deeppose_r18_128x96").state_dict)


def test_a_flow_begins_as_a_standard_normal_and_all_of_it_learns():
    loss, random = losses.ResidualLikelihood(), np.random.default_rng(0)
    points = random.normal(size=(50, 2)).astype("float32")
    expected = -0.5 * (points**2).sum(-1) - np.log(2 * np.pi)
    np.testing.assert_allclose(loss.flow(points), expected, atol=0.02)
    assert len({weight.name for weight in loss.flow.weights}) == len(loss.flow.weights) == 72
    assert len({float(np.ravel(weight)[0]) for weight in loss.flow.weights}) > 36  # no two kernels are drawn alike
    true, predicted = random.random((4, 5, 2), "float32"), random.random((4, 5, 4), "float32")
    _, (_, *gradients) = value_and_gradients(loss, true, predicted, None, *(w.value for w in loss.flow.weights))
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_what_does_not_count_may_be_anywhere():
    loss = losses.ResidualLikelihood()
    true, predicted, given = np.zeros((1, 2, 2)), np.zeros((1, 2, 4), "float32"), np.float32([[1, 0]])
    expected = float(loss(true, predicted, given))
    true[0, 1], predicted[0, 1, 2:] = 1e30, -90
    value, (gradient,) = value_and_gradients(loss, true, predicted, given)
    assert value == pytest.approx(expected) and (gradient[0, 1] == 0).all() and np.isfinite(gradient).all()


# ---------------------------------------- vectors
PUBLISHED = {"beta": 1.0, "label_softmax": False, "label_beta": 10.0}  # the defaults there


@pytest.mark.parametrize("variant", ["published", "plain", "label_beta1", "unweighted"])
def test_the_divergence_of_vectors_equals_the_published_one(golden, variant):
    case = golden("loss_simcc_a")
    options = PUBLISHED | case.config["variants"][variant]
    given = case["input_target_weight"] if options.pop("use_target_weight", True) else None
    loss, total = losses.SimCCDivergence(**options), 0.0
    for axis in "xy":
        value, (gradient,) = value_and_gradients(loss, case[f"input_target_{axis}"], case[f"input_pred_{axis}"], given)
        total += value
        if f"output_{variant}_grad_{axis}" in case:
            case.check(f"output_{variant}_grad_{axis}", gradient)
    case.check(f"output_{variant}", total)
    if variant == "published":
        assert losses.SimCCDivergence().get_config() == loss.get_config()


def test_keras_adds_the_divergences_of_both_axes():
    random = np.random.default_rng(0)
    crops = keras.Input((4,))
    outputs = {axis: keras.layers.Reshape((3, 6))(keras.layers.Dense(18)(crops)) for axis in "xy"}
    model = keras.Model(crops, outputs)
    model.compile("sgd", losses.SimCCDivergence())
    inputs, given = random.random((2, 4), "float32"), random.random((2, 3), "float32")
    true = {axis: random.random((2, 3, 6), "float32") for axis in "xy"}
    value, *_ = model.evaluate(inputs, true, sample_weight=dict.fromkeys("xy", given), verbose=0)
    answers = model(inputs)
    expected = sum(float(losses.SimCCDivergence()(true[axis], answers[axis], given)) for axis in "xy")
    assert value == pytest.approx(expected, rel=1e-5)


# ---------------------------------------- all of them
CASES = {
    "smooth_l1": (lambda **options: losses.SmoothL1(2.0, **options), (3, 5, 2), (3, 5, 2)),
    "likelihood": (lambda **options: losses.ResidualLikelihood(False, "gaussian", **options), (3, 5, 2), (3, 5, 4)),
    "divergence": (lambda **options: losses.SimCCDivergence(3.0, False, 1.0, **options), (3, 5, 8), (3, 5, 8)),
}


def batch_of(name, seed=0):
    random, (_, true, predicted) = np.random.default_rng(seed), CASES[name]
    given = random.choice([0.0, 0.5, 1.0], (3, 5)).astype("float32")
    return random.random(true, "float32"), random.random(predicted, "float32"), given


@pytest.mark.parametrize("name", CASES)
def test_weights_may_belong_to_people(name):
    loss, (true, predicted, _) = CASES[name][0](), batch_of(name)
    of_people = np.float32([1, 0, 2])
    expected = float(loss(true, predicted, np.repeat(of_people[:, None], 5, axis=1)))
    assert float(loss(true, predicted, of_people)) == pytest.approx(expected, rel=1e-6)
    assert float(loss(true, predicted, np.ones(3))) == pytest.approx(float(loss(true, predicted)), rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_losses_come_back_from_their_configuration(name):
    loss, batch = CASES[name][0](reduction="sum", name="mine"), batch_of(name)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is type(loss) and copy.get_config() == loss.get_config() and copy.name == "mine"
    if name == "likelihood":
        copy.flow.set_weights(loss.flow.get_weights())
    assert float(copy(*batch)) == float(loss(*batch))


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_answers_are_compared_in_float32(name):
    loss, (true, predicted, given) = CASES[name][0](), batch_of(name)
    rounded = tf.cast(predicted, "bfloat16")
    value = loss(true, rounded, given)
    assert value.dtype == "float32"
    assert float(value) == pytest.approx(float(loss(true, tf.cast(rounded, "float32"), given)), rel=1e-6)


@pytest.mark.parametrize(
    "name, true, predicted, given, words",
    [
        ("smooth_l1", (2, 5, 2), (2, 5, 4), None, "uncertainty=False"),
        ("smooth_l1", (2, 4, 2), (2, 5, 2), None, r"must be \[B, K, 2\]"),
        ("smooth_l1", (2, 5, 2), (2, 5, 2), (2, 4), "one weight per joint"),
        ("likelihood", (2, 5, 2), (2, 5, 2), None, "uncertainty=True"),
        ("likelihood", (2, 5, 2), (2, 20), None, r"got \(2, 5, 2\) and \(2, 20\)"),
        ("divergence", (2, 5, 8), (2, 5, 6), None, r"\[B, K, bins\] alike"),
        ("divergence", (2, 5, 8), (2, 5, 8), (5,), "one weight per joint"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, true, predicted, given, words):
    loss, given = CASES[name][0](), None if given is None else np.ones(given, "f4")
    with pytest.raises(ValueError, match=words):
        loss(np.zeros(true, "f4"), np.zeros(predicted, "f4"), given)


def test_two_distributions_are_known():
    with pytest.raises(ValueError, match='"laplace" or "gaussian", got \'normal\'; use "laplace"'):
        losses.ResidualLikelihood(distribution="normal")


# ---------------------------------------- a flow in training
@pytest.fixture
def make(monkeypatch):
    """A function that gives a model with a flow in its loss, as heatmap_model compiles it, and batches of arrays."""
    monkeypatch.setitem(simple_baseline.RESNETS, 18, ((1, 1, 1, 1), False))
    random = np.random.default_rng(0)
    crops, true = random.random((8, 32, 32, 3), "float32"), random.random((8, 5, 2), "float32")

    def made(seed=0):
        keras.utils.set_random_seed(seed)
        network = models.DeepPose(5, (32, 32, 3), 18, uncertainty=True, base_filters=4)
        loss = losses.ResidualLikelihood()
        model = training.heatmap_model(network, keras.optimizers.Adam(1e-3), loss)
        return model, {"x": crops, "y": true, "sample_weight": np.ones((8, 5)), "verbose": 0, "shuffle": False}

    return made


def test_the_flow_learns_along_and_is_no_part_of_the_network(make, tmp_path):
    model, batches = make()
    before = model.flow.get_weights()
    history = model.fit(**batches, epochs=3).history["loss"]
    assert history[-1] < history[0]
    assert all(np.any(old != new) for old, new in zip(before, model.flow.get_weights(), strict=True))
    model.network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert not any("flow" in weight.path for weight in loaded.weights)
    np.testing.assert_array_equal(loaded(batches["x"]), model.network(batches["x"]))


@pytest.mark.slow
def test_a_run_that_is_resumed_has_its_flow_again(make, tmp_path):
    whole, batches = make()
    whole.fit(**batches, epochs=2)
    for seed, epochs in ((0, 1), (1, 2)):  # the second run begins with other weights
        model, _ = make(seed)
        resume = training.Resume(tmp_path, "loss", least=True)
        model.fit(**batches, epochs=epochs, initial_epoch=resume.restore(model), callbacks=[resume])
    for weight, expected in zip(model.flow.get_weights(), whole.flow.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.network(batches["x"]), whole.network(batches["x"]), rtol=1e-4, atol=1e-6)
