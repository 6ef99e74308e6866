"""Optimizers and schedules beside PyTorch's, written out in NumPy."""

import keras
import numpy as np
import pytest

from kerapose import training
from kerapose.training import optimizers


# ---------------------------------------- SGD
def pytorch_sgd(weights, gradients, lr, momentum, weight_decay, clip_norm):
    """torch.nn.utils.clip_grad_norm_ and torch.optim.SGD.step, in NumPy: [steps][variables] gradients."""
    weights, buffers = [w.astype("float64") for w in weights], [None] * len(weights)
    for step in gradients:
        norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in step))
        factor = min(1.0, clip_norm / (norm + 1e-6))
        for i, gradient in enumerate(step):
            change = gradient * factor + weight_decay * weights[i]
            buffers[i] = change if buffers[i] is None else momentum * buffers[i] + change
            weights[i] = weights[i] - lr * buffers[i]
    return weights


@pytest.mark.parametrize("clip_norm", [0.5, 40.0])  # one that clips every step, and one that clips none
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_pytorchs(momentum, clip_norm):
    random = np.random.default_rng(0)
    shapes = [(3, 4), (5,)]
    weights = [random.normal(0, 1, shape).astype("float32") for shape in shapes]
    gradients = [[random.normal(0, 1, shape).astype("float32") for shape in shapes] for _ in range(6)]
    variables = [keras.Variable(weight) for weight in weights]
    optimizer = training.SGDL2(0.1, l2=0.05, momentum=momentum, global_clipnorm=clip_norm)
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in step], variables)
    expected = pytorch_sgd(weights, gradients, 0.1, momentum, 0.05, clip_norm)
    for variable, weight in zip(variables, expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), weight, atol=2e-6)


def test_sgd_round_trip():
    optimizer = training.SGDL2(0.1, l2=3e-4, momentum=0.9, global_clipnorm=40.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, training.SGDL2) and again.get_config() == optimizer.get_config()
    assert again.l2 == 3e-4


# ---------------------------------------- Adam
def pytorch_adam(weights, gradients, lr, groups, betas=(0.9, 0.999), epsilon=1e-8):
    """torch.optim.Adam.step with a weight decay and a learning rate for each weight, in NumPy."""
    weights = [w.astype("float64") for w in weights]
    means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for count, step in enumerate(gradients, start=1):
        for i, (gradient, (decay, factor)) in enumerate(zip(step, groups, strict=True)):
            gradient = gradient + decay * weights[i]
            means[i] = betas[0] * means[i] + (1 - betas[0]) * gradient
            squares[i] = betas[1] * squares[i] + (1 - betas[1]) * gradient**2
            root = np.sqrt(squares[i] / (1 - betas[1] ** count)) + epsilon
            weights[i] = weights[i] - lr * factor * means[i] / (1 - betas[0] ** count) / root
    return weights


def test_adam_is_pytorchs_with_groups_of_weights():
    random = np.random.default_rng(0)
    shapes = [(3, 4), (5,), (4, 2)]
    weights = [random.normal(0, 1, shape).astype("float32") for shape in shapes]
    gradients = [[random.normal(0, 1, shape).astype("float32") for shape in shapes] for _ in range(6)]
    variables = [keras.Variable(weight, name=f"weight{i}") for i, weight in enumerate(weights)]
    paths = [variable.path for variable in variables]
    schedule = training.StepDecay(0.1, [])
    optimizer = training.AdamL2(schedule, l2={paths[0]: 0.3}, rates={paths[0]: 4.0, paths[1]: 2.0}, epsilon=1e-8)
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in step], variables)
    groups = [(0.3, 4.0), (0.0, 2.0), (0.0, 1.0)]
    found = [keras.ops.convert_to_numpy(variable) for variable in variables]
    for value, weight in zip(found, pytorch_adam(weights, gradients, 0.1, groups), strict=True):
        np.testing.assert_allclose(value, weight, atol=5e-5)
    for i, other in enumerate([(0.0, 4.0), (0.0, 1.0), (0.3, 1.0)]):  # each group counts
        changed = groups[:i] + [other] + groups[i + 1 :]
        apart = np.abs(found[i] - pytorch_adam(weights, gradients, 0.1, changed)[i])
        assert apart.max() > 0.01


def test_adam_round_trip_and_refusal():
    optimizer = training.AdamL2(0.1, l2={"conv/kernel": 5e-4}, rates={"conv/bias": 2.0})
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, training.AdamL2) and again.get_config() == optimizer.get_config()
    assert again.l2 == {"conv/kernel": 5e-4} and again.rates == {"conv/bias": 2.0}
    with pytest.raises(ValueError, match="l2 and rates are of variables to be trained, conv/bias is none; correct"):
        again.build([keras.Variable(np.zeros(3))])


# ---------------------------------------- schedules
@pytest.mark.parametrize("warmup_steps", [0, 4])
def test_step_decay_is_pytorchs_multi_step(warmup_steps):
    """The published recipes decay by `MultiStepLR`: at a milestone, not after it."""
    schedule = training.StepDecay(0.01, [6, 9], 0.1, warmup_steps)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    for step in range(12):
        expected = 0.01 * 0.1 ** sum(step >= milestone for milestone in (6, 9))
        expected *= min(1.0, step / warmup_steps) if warmup_steps else 1.0
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)
        assert float(again(step)) == float(schedule(step))


def test_cosine_decay_rises_and_falls():
    schedule = training.cosine_decay(0.01, total_steps=24, warmup_steps=4)
    rates = [float(schedule(step)) for step in range(25)]
    assert rates[:5] == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01])
    assert rates[14] == pytest.approx(0.005) and rates[24] == pytest.approx(0, abs=1e-9)
    assert float(training.cosine_decay(0.01, 24, 0)(0)) == pytest.approx(0.01)
    assert float(training.cosine_decay(0.01, 24)(0)) == pytest.approx(0.01)


def rates_of(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_a_schedule_is_chosen_by_its_name():
    config = {"learning_rate": 0.1, "epochs": 10, "warmup_epochs": 0.5, "decay_epochs": [4, 8]}

    def rates(name):
        return rates_of(optimizers.make_schedule(config | {"schedule": name}, 4, 0.5), (0, 1, 2, 15, 16, 31, 32, 40))

    assert rates("step") == pytest.approx([0, 0.05, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    assert rates("constant") == pytest.approx([0, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    expected = rates_of(training.cosine_decay(0.1, 40, 2), (0, 1, 2, 15, 16, 31, 32, 40))
    assert rates("cosine") == expected and expected[-1] == pytest.approx(0, abs=1e-9) and expected[3] < expected[2]


def test_epochs_of_decay_are_the_recipes_in_proportion():
    recipe = {"epochs": 140, "decay_epochs": [90, 120]}
    config = {"epochs": 14, "decay_epochs": [90, 120], "seed": 3}
    found = optimizers.set_decay_epochs(config, recipe, ())
    assert found == config | {"decay_epochs": [9, 12]}
    assert optimizers.set_decay_epochs(config | {"epochs": 1}, recipe, ())["decay_epochs"] == [1, 1]
    early = {"epochs": 100, "decay_epochs": [10, 60]}
    assert optimizers.set_decay_epochs(config | {"epochs": 3}, early, ())["decay_epochs"] == [1, 2]  # not before one
    given = config | {"decay_epochs": [3, 13]}
    assert optimizers.set_decay_epochs(given, recipe, {"decay_epochs"}) == given
    with pytest.raises(ValueError, match="Each of decay_epochs is less than the 14 epochs, got 14; leave it out"):
        optimizers.set_decay_epochs(config | {"decay_epochs": [3, 14]}, recipe, {"decay_epochs"})
