import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import losses, metrics
from kerapose.training.distiller import Distiller

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NUM_JOINTS = 4


def network(seed, stacks=None, filters=4, num_joints=NUM_JOINTS, stride=2, size=16, penalty=None):
    """A small network of heatmaps, with batch norm and dropout: crops [B, 16, 16, 3] -> [B, 8, 8, K]."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 3))
    regularizer = None if penalty is None else keras.regularizers.L2(penalty)
    x = keras.layers.Conv2D(filters, 3, stride, "same", kernel_regularizer=regularizer)(inputs)
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.1, seed=seed)(x)
    heads = [keras.layers.Conv2D(num_joints, 1, name=f"head{i}", dtype="float32")(x) for i in range(stacks or 1)]
    return keras.Model(inputs, heads[0] if stacks is None else keras.ops.stack(heads, axis=1))


def people(count=12, seed=0):
    random = np.random.default_rng(seed)
    crops = random.random((count, 16, 16, 3), "float32")
    heatmaps = random.random((count, 8, 8, NUM_JOINTS), "float32")
    return crops, heatmaps, random.choice([0.0, 1.0, 0.5], (count, NUM_JOINTS)).astype("float32")


def batches(count=12):
    return tf.data.Dataset.from_tensor_slices(people(count)).batch(4)


def distiller(student, teacher, **arguments):
    model = Distiller(student, teacher, **arguments)
    model.compile(keras.optimizers.Adam(1e-2), losses.JointsMSE(), weighted_metrics=[metrics.HeatmapPCK()])
    model.optimizer.build(model.trainable_variables)  # or the step would be traced twice
    return model


def mean_square(true, predicted, weights=None):
    """The published loss, by its formula: the hourglass's mean over stacks."""
    stacked = predicted if predicted.ndim == 5 else predicted[:, None]
    weights = np.ones((len(true), NUM_JOINTS)) if weights is None else weights
    errors = np.square(stacked - true[:, None]).mean(axis=(2, 3)) * np.square(weights)[:, None]
    return 0.5 * errors.mean()


@pytest.mark.parametrize(
    "student_stacks, teacher_stacks, teach_unlabelled", [(3, None, False), (None, 2, True)], ids=["student", "teacher"]
)
def test_the_loss_is_shared_between_teacher_and_annotation(student_stacks, teacher_stacks, teach_unlabelled):
    student, teacher = network(1, student_stacks), network(2, teacher_stacks, filters=8)
    crops, heatmaps, weights = people()
    taught = teacher(crops, training=False).numpy()
    taught = taught if teacher_stacks is None else taught[:, -1]
    answer = student(crops, training=False).numpy()
    model = distiller(student, teacher, alpha=0.3, teach_unlabelled=teach_unlabelled)
    figures = model.evaluate(crops, heatmaps, sample_weight=weights, batch_size=5, verbose=0, return_dict=True)
    from_teacher = mean_square(taught, answer, None if teach_unlabelled else weights)
    from_annotation = mean_square(heatmaps, answer, weights)
    assert figures["distillation_loss"] == pytest.approx(from_teacher, rel=1e-4)
    assert figures["ground_truth_loss"] == pytest.approx(from_annotation, rel=1e-4)
    assert figures["loss"] == pytest.approx(0.3 * from_teacher + 0.7 * from_annotation, rel=1e-4)


def test_weights_of_whole_people_hold_for_the_teacher_too():
    student, teacher = network(1), network(2)
    crops, heatmaps, _ = people(4)
    of_people = np.array([0, 1, 1, 2], "float32")
    model = Distiller(student, teacher)
    model.compile(loss=losses.JointsMSE(), run_eagerly=True)
    figures = model.evaluate(crops, heatmaps, sample_weight=of_people, verbose=0, return_dict=True)
    table = np.repeat(of_people[:, None], NUM_JOINTS, axis=1)
    expected = mean_square(teacher(crops).numpy(), student(crops).numpy(), table)
    assert figures["distillation_loss"] == pytest.approx(expected, rel=1e-4)


def test_regularization_counts_once():
    student, teacher = network(1, penalty=0.1), network(2, penalty=0.1)
    crops, heatmaps, weights = people(4)
    model = distiller(student, teacher, alpha=0.3)
    model.run_eagerly = True
    figures = model.evaluate(crops, heatmaps, sample_weight=weights, verbose=0, return_dict=True)
    penalty = float(student.losses[0])
    answer = student(crops).numpy()
    parts = mean_square(teacher(crops).numpy(), answer), mean_square(heatmaps, answer, weights)
    assert penalty > 1e-2
    assert figures["loss"] == pytest.approx(0.3 * parts[0] + 0.7 * parts[1] + penalty, rel=1e-4)


def test_without_a_share_of_the_teacher_it_is_plain_training():
    plain, taught = network(1, penalty=0.01), network(1, penalty=0.01)
    plain.compile(optimizer=keras.optimizers.Adam(1e-2), loss=losses.JointsMSE())
    plain.optimizer.build(plain.trainable_variables)
    expected = plain.fit(batches(), epochs=2, verbose=0).history["loss"]
    history = distiller(taught, network(2), alpha=0).fit(batches(), epochs=2, verbose=0).history
    assert history["loss"] == expected == history["ground_truth_loss"]
    for weight, other in zip(plain.get_weights(), taught.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_teacher_alone_is_learnt_and_does_not_change():
    student, teacher = network(1), network(2)
    before = teacher.get_weights()
    model = distiller(student, teacher, alpha=1.0)
    figures = model.fit(batches().repeat(), steps_per_epoch=3, epochs=40, verbose=0).history
    assert figures["distillation_loss"][-1] < 0.2 * figures["distillation_loss"][0]
    assert figures["distillation_loss"] == pytest.approx(figures["loss"])
    for weight, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert teacher.trainable and len(teacher.trainable_weights) == 6


def test_it_answers_as_its_student_and_has_its_weights_only(tmp_path):
    student, teacher = network(1, stacks=2), network(2)
    model = distiller(student, teacher)
    crops = people()[0]
    np.testing.assert_array_equal(model(crops), student(crops))
    assert [w.path for w in model.weights if "head" in w.path] == [w.path for w in student.weights if "head" in w.path]
    assert len(model.trainable_weights) == len(student.trainable_weights)
    assert model.count_params() == student.count_params()
    model.save_weights(tmp_path / "of_distiller.weights.h5")
    other = Distiller(network(3, stacks=2), teacher)
    other.load_weights(tmp_path / "of_distiller.weights.h5")
    np.testing.assert_array_equal(other.student(crops), student(crops))


class LastStackMean(keras.metrics.Metric):
    """Shows what a metric is given."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = self.add_variable((), "zeros", name="seen")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen.assign(keras.ops.mean(y_pred))

    def result(self):
        return self.seen


def test_metrics_see_the_student():
    student = network(1)
    model = Distiller(student, network(2))
    model.compile(loss="mse", metrics=[LastStackMean(name="seen")], run_eagerly=True)
    crops, heatmaps, _ = people(4)
    figures = model.evaluate(crops, heatmaps, verbose=0, return_dict=True)
    assert set(figures) == {"loss", "distillation_loss", "ground_truth_loss", "seen"}
    assert figures["seen"] == pytest.approx(float(np.mean(student(crops))), rel=1e-5)


def test_a_saved_distiller_holds_the_student_and_asks_for_its_teacher(tmp_path):
    student, teacher = network(1), network(2, filters=64)
    model = distiller(student, teacher, alpha=0.25, teach_unlabelled=False)
    crops, heatmaps, weights = people()
    model.run_eagerly = True
    model.train_on_batch(crops, heatmaps, weights)
    model.save(tmp_path / "distiller.keras")
    copy = keras.models.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(copy(crops), student(crops))
    assert (copy.alpha, copy.teach_unlabelled, copy.teacher) == (0.25, False, None)
    with pytest.raises(ValueError, match="set_teacher"):
        copy.evaluate(crops, heatmaps, sample_weight=weights, verbose=0)
    copy.set_teacher(teacher)
    arguments = {"sample_weight": weights, "verbose": 0, "return_dict": True}
    first = copy.evaluate(crops, heatmaps, **arguments)
    assert first == pytest.approx(model.evaluate(crops, heatmaps, **arguments), rel=1e-5)
    copy.set_teacher(network(3))  # the former one is traced in a graph
    second = copy.evaluate(crops, heatmaps, **arguments)
    assert second["distillation_loss"] != first["distillation_loss"]
    assert second["ground_truth_loss"] == first["ground_truth_loss"]


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        student, teacher = network(1, stacks=2), network(2)
        model = distiller(student, teacher)
    finally:
        keras.config.set_dtype_policy("float32")
    assert student.layers[1].compute_dtype == teacher.layers[1].compute_dtype == "bfloat16"
    model.run_eagerly = True
    history = model.fit(batches(), epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    crops, heatmaps, weights = people()
    figures = model.evaluate(crops, heatmaps, sample_weight=weights, verbose=0, return_dict=True)
    answer, taught = student(crops).numpy(), teacher(crops).numpy()
    assert figures["distillation_loss"] == pytest.approx(mean_square(taught, answer), rel=1e-2)
    assert figures["ground_truth_loss"] == pytest.approx(mean_square(heatmaps, answer, weights), rel=1e-2)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: Distiller(network(1), network(2), alpha=1.5), "alpha must be between 0 and 1, got 1.5"),
        (lambda: Distiller(network(1), network(2, stride=4)), r"heatmaps .* got \(4, 4, 4\) and \(8, 8, 4\)"),
        (lambda: Distiller(network(1), network(2, num_joints=5)), r"heatmaps .* got \(8, 8, 5\) and \(8, 8, 4\)"),
        (lambda: Distiller(network(1), network(2, size=32, stride=4)), r"crops .* got \(32, 32, 3\)"),
        (lambda: Distiller(keras.Sequential([keras.layers.Dense(3)]), network(2)), "student must be a built"),
        (lambda: Distiller(network(1), keras.Sequential([keras.layers.Dense(3)])), "teacher must be a trained"),
    ],
)
def test_networks_that_do_not_fit_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# Prints the figures of a network evaluated and trained on two devices with half a batch each, its teacher within the
# strategy's scope and outside.
MIRRORED = """
import json, sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_distiller as t

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def figures(teacher=None):
    with two.scope():
        model = t.distiller(t.network(1), teacher or t.network(2), alpha=0.3)
    return model.evaluate(t.batches(8), verbose=0, return_dict=True), model.fit(t.batches(8), verbose=0).history

json.dump([figures(), figures(t.network(2))], sys.stdout)
"""


def output_of(program, **environment):
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "models", ROOT / "tests" / "training")))
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return json.loads(process.stdout)


@pytest.mark.slow  # a quarter of a minute, most of which is waiting
def test_mirrored_over_two_devices():
    expected = distiller(network(1), network(2), alpha=0.3).evaluate(batches(8), verbose=0, return_dict=True)
    for before, history in output_of(MIRRORED):
        assert before == pytest.approx(expected, rel=1e-5)  # whole losses, not the shares of one device
        parts = history["distillation_loss"][0], history["ground_truth_loss"][0]
        assert history["loss"][0] == pytest.approx(0.3 * parts[0] + 0.7 * parts[1], rel=1e-4)
