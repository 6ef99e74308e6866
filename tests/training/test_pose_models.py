"""Networks of coordinates and of SimCC in training: each with its published loss, and with one of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import estimators, evaluation, losses, metrics, models, training
from kerapose.data import crops as crops_data
from kerapose.ops import heatmaps
from kerapose.skeletons import Skeleton
from kerapose.training import boards, pictures

SIZE = (32, 24)


def network_of(kind, num_joints=5, seed=0):
    keras.utils.set_random_seed(seed)
    crops = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, padding="same", activation="relu")(crops)
    if kind == "heatmaps":
        return keras.Model(crops, keras.layers.Conv2D(num_joints, 3, padding="same")(x))
    if kind == "stages":
        x = keras.layers.Conv2D(2 * num_joints, 3, strides=2, padding="same")(x)  # at an eighth
        maps = keras.layers.Reshape((*x.shape[1:3], 2, num_joints))(x)
        return keras.Model(crops, keras.layers.Permute((3, 1, 2, 4))(maps))
    x = keras.layers.Flatten()(x)
    if kind in ("coordinates", "uncertain"):
        count = 2 if kind == "coordinates" else 4
        return keras.Model(crops, keras.layers.Reshape((num_joints, count))(keras.layers.Dense(count * num_joints)(x)))
    bins = {"x": 2 * SIZE[1], "y": 2 * SIZE[0]}
    return keras.Model(
        crops,
        {
            axis: keras.layers.Reshape((num_joints, count))(keras.layers.Dense(num_joints * count)(x))
            for axis, count in bins.items()
        },
    )


class PerJoint(keras.losses.Loss):
    """The squared error of what there is of each joint: [B, K, C], of which 2 of 4 numbers count, -> [B, K]."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred[..., : y_true.shape[-1]] - y_true), axis=-1)


class WithFlow(PerJoint):
    """And a layer that learns along."""

    def __init__(self):
        super().__init__()
        self.flow = keras.layers.Dense(1, name="flow")
        self.flow.build((None, 2))

    def call(self, y_true, y_pred):
        found = super().call(y_true, y_pred)
        return found + keras.ops.square(self.flow(y_pred[..., :2] - y_true)[..., 0] - 1)


def batch_for(codec, count=4, num_joints=5):
    random = np.random.default_rng(0)
    keypoints = random.uniform(2, 20, (count, num_joints, 2)).astype("float32")
    weights = (random.uniform(size=(count, num_joints)) > 0.2).astype("float32")
    targets, weights = heatmaps.encode_answers(keypoints, weights, SIZE, (8, 6), codec=codec)
    crops = random.uniform(size=(count, *SIZE, 3)).astype("float32")
    return crops, keras.tree.map_structure(np.asarray, targets), np.asarray(weights)


CODECS = {"heatmaps": "gaussian", "coordinates": "regression", "uncertain": "regression", "simcc": "simcc"}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("kind", CODECS)
def test_every_kind_of_answer_learns_and_is_measured(kind, jit_compile):
    crops, targets, weights = batch_for(CODECS[kind])
    network = network_of(kind)
    model = training.heatmap_model(network, keras.optimizers.Adam(1e-2))
    assert model.network is network
    model.jit_compile = jit_compile
    batches = tf.data.Dataset.from_tensors((crops, targets, weights))
    before = model.evaluate(batches, return_dict=True, verbose=0)
    history = model.fit(batches, epochs=3, shuffle=False, verbose=0).history
    after = model.evaluate(batches, return_dict=True, verbose=0)
    assert {"loss", "pck"} <= set(before) == set(after) == set(history)
    assert after["loss"] < before["loss"]
    metric = metrics.HeatmapPCK(published=False) if kind == "heatmaps" else metrics.CoordinatePCK()
    metric.update_state(targets, network(crops), weights)
    assert after["pck"] == pytest.approx(float(metric.result()))
    if kind == "simcc":  # the two vectors' losses are added, each by the weights of joints
        answers = keras.tree.map_structure(np.asarray, network(crops))
        by_axis = [float(losses.SimCCDivergence()(targets[axis], answers[axis], weights)) for axis in ("x", "y")]
        assert after["loss"] == pytest.approx(sum(by_axis), rel=1e-4)


def test_a_sequential_network_is_one_as_any_other():
    crops, targets, weights = batch_for("regression")
    layers = [keras.layers.Flatten(), keras.layers.Dense(10), keras.layers.Reshape((5, 2))]
    network = keras.Sequential([keras.Input((*SIZE, 3)), *layers])
    model = training.heatmap_model(network, keras.optimizers.SGD(0.0))
    assert "pck" in model.evaluate(crops, targets, sample_weight=weights, verbose=0, return_dict=True)
    skeleton = Skeleton("five", ("a", "b", "c", "d", "e"), ((0, 1),))
    assert estimators.PoseEstimator(network, skeleton).codec == "regression"


def test_pck_of_a_run_over_batches_is_that_of_all():
    crops, targets, weights = batch_for("simcc", count=7)
    network = network_of("simcc")
    model = training.heatmap_model(network, keras.optimizers.SGD(0.0), PerJoint())
    people = tf.data.Dataset.from_tensor_slices((crops, targets, weights))
    found, again = (model.evaluate(people.batch(count), verbose=0, return_dict=True) for count in (2, 7))
    by_output = {"x": weights, "y": weights}  # as Keras wants them beside arrays
    arrays = model.evaluate(crops, targets, sample_weight=by_output, verbose=0, return_dict=True)
    assert found["pck"] == pytest.approx(again["pck"]) == pytest.approx(arrays["pck"])


def test_the_weights_of_a_loss_learn_in_the_same_step_and_stay_out_of_the_network():
    crops, targets, weights = batch_for("regression")
    network, loss = network_of("uncertain"), WithFlow()
    count = len(network.trainable_variables)
    model = training.heatmap_model(network, keras.optimizers.Adam(1e-2), loss)
    assert len(model.trainable_variables) == count + 2 and len(network.trainable_variables) == count
    before = [np.array(variable) for variable in loss.flow.trainable_variables]
    model.fit(crops, targets, sample_weight=weights, epochs=1, verbose=0)
    for variable, old in zip(loss.flow.trainable_variables, before, strict=True):
        assert (np.asarray(variable) != old).any()


def test_stages_at_an_eighth_are_supervised_each():
    random = np.random.default_rng(0)
    crops, weights = random.uniform(size=(2, *SIZE, 3)).astype("float32"), np.ones((2, 5), "float32")
    maps = random.uniform(size=(2, 4, 3, 5)).astype("float32")
    network = network_of("stages")
    assert network.output_shape == (None, 2, 4, 3, 5)
    model = training.heatmap_model(network, keras.optimizers.SGD(0.1))
    found = model.evaluate(crops, maps, sample_weight=weights, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(float(losses.JointsMSE()(maps, network(crops), weights)), rel=1e-5)


LOSSES = {
    "heatmaps": losses.JointsMSE,
    "coordinates": losses.SmoothL1,
    "uncertain": losses.ResidualLikelihood,
    "simcc": losses.SimCCDivergence,
}


@pytest.mark.parametrize("kind", LOSSES)
def test_the_published_loss_is_the_usual_one(kind):
    model = training.heatmap_model(network_of(kind), keras.optimizers.SGD(0.1))
    assert type(model.loss) is LOSSES[kind]
    assert (getattr(model, "flow", None) is not None) == (kind == "uncertain")


def test_the_stages_of_a_pose_machine_are_added():
    network = models.ConvolutionalPoseMachine.from_variant("cpm2_tiny", num_joints=5)
    loss = training.heatmap_model(network, keras.optimizers.SGD(0.1)).loss
    maps = np.random.default_rng(0).uniform(size=(3, 2, 6, 4, 5)).astype("float32")
    each = [float(losses.JointsMSE(1.0, squared_weights=False)(maps[:, 0] * 0, maps[:, stage])) for stage in range(2)]
    assert float(loss(maps[:, 0] * 0, maps)) == pytest.approx(sum(each), rel=1e-5)


def test_what_cannot_be_trained_is_refused():
    optimizer = keras.optimizers.SGD(0.1)
    crops = keras.Input((*SIZE, 3))
    with pytest.raises(ValueError, match=r"must give heatmaps .* got \(None, 3\); use"):
        training.heatmap_model(keras.Model(crops, keras.layers.GlobalAveragePooling2D()(crops)), optimizer)
    for kind in ("coordinates", "simcc"):
        with pytest.raises(ValueError, match="student must be a built network of heatmaps"):
            training.heatmap_model(network_of(kind), optimizer, PerJoint(), teacher=network_of("heatmaps"))


TRIANGLE = Skeleton("triangle", ("top", "left", "right"), ((0, 1), (0, 2)))


class CrossEntropy(keras.losses.Loss):
    """Of one vector of the codec simcc: [B, K, bins] -> [B, K]."""

    def call(self, y_true, y_pred):
        return keras.losses.categorical_crossentropy(keras.ops.softmax(10 * y_true), y_pred, from_logits=True)


def triangles(count=12):
    """Grey pictures in which somebody has a red top, and a green left and a blue right hand."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    points = np.array([(40, 12), (20, 45), (60, 45)]) + random.uniform(-8, 8, (count, 3, 2))
    spots = np.exp(-((x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2) / 30)
    images = list((60 + 180 * np.moveaxis(spots, 1, -1)).astype("uint8"))  # [N, 60, 80, 3]
    boxes = np.tile(np.float32([5, 2, 75, 58]), (count, 1))
    return crops_data.from_arrays(images, boxes, points.astype("float32"), None, TRIANGLE)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["regression", "simcc"])
def test_from_pictures_to_places_and_back(codec, tmp_path, events):
    """The pipeline, a training, its pictures, and the estimator of what was learnt, which finds what it was shown."""
    people = triangles()
    network = network_of("simcc" if codec == "simcc" else "uncertain", num_joints=3)
    loss = CrossEntropy() if codec == "simcc" else PerJoint()
    model = training.heatmap_model(network, keras.optimizers.Adam(3e-3), loss)
    how = {"image_size": SIZE, "codec": codec}
    batches = crops_data.training(people, TRIANGLE, 12, scale_factor=0.0, rotation_probability=0.0, **how)
    validation = crops_data.validation(people, TRIANGLE, 5, **how)
    shown = pictures.some_people(people, TRIANGLE, image_size=SIZE)
    board = boards.PoseBoard(tmp_path, shown, TRIANGLE, codec, {})
    before = evaluation.pose_figures(estimators.PoseEstimator(network, TRIANGLE), people, TRIANGLE)
    fit = {"steps_per_epoch": 60, "shuffle": False, "validation_data": validation, "verbose": 0, "callbacks": [board]}
    history = model.fit(batches, epochs=2, **fit).history
    assert history["val_pck"][-1] > 0.1 and history["pck"][-1] > history["pck"][0]  # within a pixel of the small crop
    after = evaluation.pose_figures(estimators.PoseEstimator(network, TRIANGLE), people, TRIANGLE)
    assert after["pixel_error"] < min(6.0, before["pixel_error"] / 3)  # of people of 56 pixels
    steps, _ = events(tmp_path)
    assert steps["truth_found_heatmaps"] == [0, 1]
