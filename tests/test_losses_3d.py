"""The losses of poses in space against the published ones, values and gradients, and against loops over joints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import losses

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)  # as Human3.6M's 17 joints hang together


def poses(shape=(3, 2, 5, 3), seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=shape).astype("float32"), random.normal(size=shape).astype("float32")


def slow_distances(true, predicted):
    table = np.zeros(true.shape[:-1])
    for index in np.ndindex(*table.shape):
        table[index] = (
            sum((float(a) - float(b)) ** 2 for a, b in zip(true[index], predicted[index], strict=True)) ** 0.5
        )
    return table


def slow_bones(array, parents):
    """[N, T, J, 3] -> [N, T, J - 1]."""
    table = [
        [
            [
                np.linalg.norm(pose[j].astype("float64") - pose[parent])
                for j, parent in enumerate(parents)
                if parent >= 0
            ]
            for pose in sample
        ]
        for sample in array
    ]
    return np.array(table)


def gradients(function, *arrays):
    variables = [tf.Variable(array) for array in arrays]
    with tf.GradientTape() as tape:
        value = function(*variables)
    return [gradient.numpy() for gradient in tape.gradient(value, variables)]


# ---------------------------------------- goldens
def test_golden_losses(golden):
    case = golden("losses")
    predicted, target = case["input_predicted"], case["input_target"]
    case.check("output_mpjpe", losses.mpjpe(target, predicted))
    case.check("output_mpjpe", losses.MPJPE()(target, predicted))
    case.check("output_weighted_mpjpe", losses.weighted_mpjpe(target, predicted, case["input_w"]))
    case.check("output_n_mpjpe", losses.n_mpjpe(target, predicted))
    case.check("output_mpjpe_2d", losses.mpjpe(target[..., :2], predicted[..., :2]))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["semi_supervised_loss", "semi_supervised_loss_linear"])
def test_golden_semi_supervised_terms(golden, name, compiled):
    case = golden(name)
    pad, parents = case.config["arguments"]["pad"], case.config["arguments"]["parents"]
    distortion = not case.config["arguments"]["linear_projection"]
    truth, poses_m = case["input_batch_3d"], case["input_predicted_3d_pos_cat"]
    trajectory, seen = case["input_predicted_traj_cat"], case["input_batch_2d_semi"][:, pad:-pad]
    count = len(truth)

    def terms(truth, poses_m, trajectory, seen, camera):
        root = truth[:, :, :1]
        relative = tf.concat([tf.zeros_like(root), truth[:, :, 1:]], axis=2)
        return (
            losses.mpjpe(relative, poses_m[:count]),
            losses.weighted_mpjpe(root, trajectory[:count], 1 / root[..., 2]),
            losses.reprojection(poses_m[count:], trajectory[count:], seen, camera, distortion),
            losses.bone_length_penalty(poses_m[:count], poses_m[count:], parents),
        )

    run = tf.function(terms) if compiled else terms
    values = run(*map(tf.constant, (truth, poses_m, trajectory, seen, case["input_cam_semi"])))
    outputs = ("output_loss_3d_pos", "output_loss_traj", "output_loss_reconstruction", "output_penalty")
    for output, value in zip(outputs, values, strict=True):
        case.check(output, value)
    case.check("output_loss_total", sum(values))
    lengths = losses.bone_lengths(poses_m, parents)
    case.check("output_bone_lengths", tf.reduce_mean(lengths, axis=1))  # as published, over the frames of a sample


# ---------------------------------------- against the loops
def test_values_equal_the_loops():
    true, predicted = poses()
    table = slow_distances(true, predicted)
    assert float(losses.mpjpe(true, predicted)) == pytest.approx(table.mean(), rel=1e-5)
    for shape in ((3, 2, 5), (3, 2, 1), (3, 1, 5), (5,), ()):
        weights = np.random.default_rng(1).random(shape, "float32")
        expected = (table * weights).mean()
        assert float(losses.weighted_mpjpe(true, predicted, weights)) == pytest.approx(expected, rel=1e-5)
    factors = (true * predicted).sum((-2, -1)) / (predicted**2).sum((-2, -1))
    expected = slow_distances(true, predicted * factors[..., None, None]).mean()
    assert float(losses.n_mpjpe(true, predicted)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.n_mpjpe(true, 7 * predicted)) == pytest.approx(expected, rel=1e-5)


def test_bones_equal_the_loops():
    labelled, _ = poses((4, 2, 17, 3))
    unlabelled, _ = poses((7, 3, 17, 3), seed=1)  # another number of samples and frames
    first, second = (slow_bones(array, PARENTS) for array in (labelled, unlabelled))
    np.testing.assert_allclose(losses.bone_lengths(labelled, PARENTS), first, rtol=1e-5)
    np.testing.assert_allclose(losses.bone_lengths(labelled[0, 0], PARENTS), first[0, 0], rtol=1e-5)
    expected = np.abs(first.mean(axis=(0, 1)) - second.mean(axis=(0, 1))).mean()
    assert float(losses.bone_length_penalty(labelled, unlabelled, PARENTS)) == pytest.approx(expected, rel=1e-5)
    both = gradients(lambda a, b: losses.bone_length_penalty(a, b, PARENTS), labelled, unlabelled)
    assert all(np.abs(gradient).max() > 0 for gradient in both)


def test_a_causal_target_is_the_last_frame():
    """The published code takes the middle frame there too; whoever calls `reprojection` says which frames are meant."""
    random = np.random.default_rng(0)
    points = random.normal(0, 0.3, (2, 9, 17, 3)).astype("float32")  # nine frames of two people
    trajectory = random.normal(0, 0.1, (2, 9, 1, 3)).astype("float32") + np.array([0, 0, 5], "float32")
    camera = np.array([2, 2, 0, 0, 0, 0, 0, 0, 0], "float32")
    windows = 2 * (points + trajectory)[..., :2] / (points + trajectory)[..., 2:]
    last = losses.reprojection(points[:, -1:], trajectory[:, -1:], windows[:, -1:], camera)
    middle = losses.reprojection(points[:, -1:], trajectory[:, -1:], windows[:, 4:5], camera)
    assert float(last) < 1e-6 < 1e-2 < float(middle)


# ---------------------------------------- gradients
def test_gradients_are_finite_where_a_prediction_is_exact():
    true, predicted = poses()
    predicted[:, :, 0] = true[:, :, 0]  # the root, say
    weights = np.ones((3, 2, 1), "float32")
    camera = np.array([2, 2, 0, 0, 0, 0, 0, 0, 0], "float32")
    for function in (
        lambda p: losses.mpjpe(true, p),
        lambda p: losses.MPJPE()(true, p),
        lambda p: losses.weighted_mpjpe(true, p, weights),
        lambda p: losses.n_mpjpe(true, p),
        lambda p: losses.bone_length_penalty(p * 0, p, (-1, 0, 1, 2, 3)),
        lambda p: losses.reprojection(p * 0, p[:, :, :1] * 0, np.zeros((3, 2, 5, 2), "float32"), camera),
    ):
        (gradient,) = gradients(function, predicted)
        assert np.isfinite(gradient).all()
    (gradient,) = gradients(lambda p: losses.mpjpe(true, p), predicted)
    unit = (predicted - true)[:, :, 1:] / slow_distances(true, predicted)[:, :, 1:, None]
    np.testing.assert_allclose(gradient[:, :, 1:], unit / 30, rtol=1e-4)
    assert not gradient[:, :, 0].any()


# ---------------------------------------- the class
def test_the_loss_weighs_samples():
    true, predicted = poses()
    of_sample = slow_distances(true, predicted).mean(axis=(1, 2))
    weights = np.array([0, 1, 3], "float32")
    each = losses.MPJPE(reduction=None)(true, predicted)
    np.testing.assert_allclose(each, of_sample, rtol=1e-5)
    value = losses.MPJPE()(true, predicted, weights)
    assert float(value) == pytest.approx((of_sample * weights).mean(), rel=1e-5)
    value = losses.MPJPE(reduction="mean_with_sample_weight")(true, predicted, weights)
    assert float(value) == pytest.approx((of_sample * weights).sum() / 4, rel=1e-5)


def test_the_loss_trains_and_comes_back_from_its_configuration():
    loss = losses.MPJPE(reduction="sum")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is losses.MPJPE and copy.get_config() == loss.get_config()
    true, given = poses((8, 1, 5, 3))
    network = keras.Sequential([keras.Input((1, 5, 3)), keras.layers.Dense(3)])
    network.compile(optimizer=keras.optimizers.Adam(0.1), loss=losses.MPJPE())
    history = network.fit(given, true, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_bfloat16_predictions_are_compared_in_float32():
    true, predicted = poses()
    rounded = tf.cast(predicted, "bfloat16")
    expected = slow_distances(true, tf.cast(rounded, "float32").numpy()).mean()
    for value in (losses.mpjpe(true, rounded), losses.MPJPE()(true, rounded)):
        assert value.dtype == "float32" and float(value) == pytest.approx(expected, rel=1e-5)


# ---------------------------------------- bad input
TRUE, PREDICTED = poses()
ROOT, SEEN, CAMERAS = TRUE[:, :, :1] + 5, TRUE[..., :2], np.ones((3, 9), "float32")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.mpjpe(TRUE, PREDICTED[:, :1]),
            r"poses must be .* alike, got \(3, 2, 5, 3\) and \(3, 1, 5, 3\)",
        ),
        (lambda: losses.mpjpe(TRUE[0], PREDICTED), "true and predicted ones alike"),
        (lambda: losses.MPJPE()(TRUE, PREDICTED[:, :1]), "check the joints and the frames"),
        (lambda: losses.weighted_mpjpe(TRUE, PREDICTED, np.ones((3, 2))), r"broadcast to \(3, 2, 5\), .* got \(3, 2\)"),
        (lambda: losses.weighted_mpjpe(TRUE[:, :1], PREDICTED[:, :1], np.ones((3, 2, 1))), r"use \[\.\.\., 1\]"),
        (lambda: losses.bone_lengths(TRUE, (-1, 0, 1)), r"an index for each of 5 joints .* got \[-1, 0, 1\]"),
        (lambda: losses.bone_lengths(TRUE, (-1, 0, 1, -1, 3)), "-1 for one root"),
        (lambda: losses.bone_lengths(TRUE, (-1, 0, 1, 2, 5)), "an index for each of 5 joints"),
        (lambda: losses.reprojection(TRUE, ROOT[:, :, 0], SEEN, CAMERAS), r"trajectory_m must be \[\.\.\., T, 1, 3\]"),
        (lambda: losses.reprojection(TRUE, ROOT, SEEN[:, :1], CAMERAS), "true and predicted ones alike"),
        (lambda: losses.reprojection(TRUE, ROOT, SEEN, CAMERAS[:, :4]), r"camera must be \[\.\.\., 9\]"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
