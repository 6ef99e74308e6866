"""Procrustes against the published figures and against one point set after the other, eagerly and inside `tf.data`."""

import numpy as np
import pytest
import tensorflow as tf

from kerapose.ops import alignment


def in_tf_data(function, *arrays):
    """What a function of arrays gives inside `tf.data`, where the length of the first axis is not known."""
    signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays)
    elements = tf.data.Dataset.from_generator(lambda: [arrays], output_signature=signature)
    (result,) = elements.map(lambda *tensors: (function(*tensors),))
    return result[0]


EVERYWHERE = pytest.mark.parametrize("run", [lambda f, *arrays: f(*arrays), in_tf_data], ids=["eager", "tf.data"])


# ---------------------------------------- the slow version: the rotation as the greatest eigenvector of Horn's matrix
def slow_similarity(source, target):
    """Scale, rotation and translation by quaternions, which know no reflections, in float64."""
    source, target = source.astype("float64"), target.astype("float64")
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    s = a.T @ b
    odd = np.array([s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]])
    horn = np.zeros((4, 4))
    horn[0, 0], horn[0, 1:], horn[1:, 0] = np.trace(s), odd, odd
    horn[1:, 1:] = s + s.T - np.trace(s) * np.eye(3)
    w, x, y, z = np.linalg.eigh(horn)[1][:, -1]
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    scale = np.sum(b * (a @ rotation.T)) / np.sum(a * a)
    return scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)


def slow_scale(source, target):
    """The best of very many factors, near the one that is asked for."""
    shared = sum(float(a) * float(b) for a, b in zip(source.flat, target.flat, strict=True))
    return shared / sum(float(a) ** 2 for a in source.flat)


def poses(seed=0, shape=(3, 4, 17, 3)):
    """Poses and what a network might make of them; one is mirrored, one flat, one of another size by far."""
    random = np.random.default_rng(seed)
    truth = random.normal(0, 0.5, shape)
    predicted = truth + random.normal(0, 0.2, shape)
    predicted[0, 0, :, 0] *= -1
    truth[0, 1, :, 2] = 0
    predicted[0, 2] *= 1000
    predicted[0, 3] += 50
    return predicted.astype("float32"), truth.astype("float32")


def random_rotation(seed=0):
    w, x, y, z = (v := np.random.default_rng(seed).normal(size=4)) / np.linalg.norm(v)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def distances(first, second):
    return np.linalg.norm(np.asarray(first, "float64") - second, axis=-1)


@EVERYWHERE
def test_golden_alignment(golden, run):
    case = golden("losses")
    predicted, target = case["input_predicted"], case["input_target"]
    errors = distances(run(alignment.align, predicted, target), target)
    case.check("output_p_mpjpe_each", errors.mean(axis=-1).ravel())
    case.check("output_p_mpjpe", errors.mean())
    case.check("output_n_mpjpe", distances(run(alignment.scale_to, predicted, target), target).mean())


@EVERYWHERE
def test_similarities_equal_those_by_quaternions(run):
    predicted, truth = poses()
    scale, rotation, translation = run(alignment.procrustes, predicted, truth)
    assert scale.shape == (3, 4) and rotation.shape == (3, 4, 3, 3) and translation.shape == (3, 4, 3)
    for index in np.ndindex(3, 4):
        s, r, t = slow_similarity(predicted[index], truth[index])
        np.testing.assert_allclose(scale[index], s, rtol=1e-4)
        np.testing.assert_allclose(rotation[index], r, atol=1e-4)
        far = np.abs(predicted[index].mean(axis=0)).max() * s
        np.testing.assert_allclose(translation[index], t, atol=1e-5 + 1e-5 * far)


def test_a_moved_pose_comes_back_exactly():
    _, truth = poses()
    moved = 0.3 * truth @ random_rotation().T + [1.0, -2.0, 5.0]
    np.testing.assert_allclose(alignment.align(moved, truth), truth, atol=5e-6)  # five metres away, in float32
    scale, rotation, _ = alignment.procrustes(moved, truth)
    np.testing.assert_allclose(scale, 1 / 0.3, rtol=1e-5)
    np.testing.assert_allclose(rotation[1, 2], random_rotation().T, atol=1e-5)
    one = alignment.align(moved[1, 2], truth[1, 2])  # no leading axis
    np.testing.assert_allclose(one, truth[1, 2], atol=5e-6)


def test_a_mirrored_pose_is_turned_but_not_mirrored():
    _, truth = poses()
    mirrored = truth * np.array([-1, 1, 1], "float32")
    _, rotation, _ = alignment.procrustes(mirrored, truth)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
    assert distances(alignment.align(mirrored, truth), truth)[1].mean() > 0.05


@pytest.mark.parametrize("flat", ["source", "target", "both"])
def test_flat_poses_and_lines_have_an_answer(flat):
    predicted, truth = poses()
    for array, name in ((predicted, "source"), (truth, "target")):
        if flat in (name, "both"):
            array[1:2, :, :, 2] = 0.0
            array[2:, :, :, 1:] = 0.0
    errors = distances(alignment.align(predicted, truth), truth)
    assert np.isfinite(errors).all()
    for index in np.ndindex(3, 4):
        s, r, t = slow_similarity(predicted[index], truth[index])
        expected = distances(s * predicted[index].astype("float64") @ r.T + t, truth[index]).mean()
        assert errors[index].mean() == pytest.approx(expected, abs=1e-4)


def test_a_source_without_extent_goes_to_the_centre():
    _, truth = poses()
    point = np.full_like(truth, 0.25)
    scale, rotation, translation = alignment.procrustes(point, truth)
    assert not np.any(scale) and np.isfinite(rotation).all()
    np.testing.assert_allclose(translation, truth.mean(axis=-2), atol=1e-6)
    aligned = alignment.align(point, truth)
    np.testing.assert_allclose(aligned, np.broadcast_to(truth.mean(axis=-2, keepdims=True), truth.shape), atol=1e-6)
    assert not np.any(alignment.scale_to(np.zeros_like(truth), truth))


@EVERYWHERE
def test_factors_equal_the_loop(run):
    predicted, truth = poses()
    scaled = np.asarray(run(alignment.scale_to, predicted, truth))
    for index in np.ndindex(3, 4):
        expected = predicted[index] * slow_scale(predicted[index], truth[index])
        np.testing.assert_allclose(scaled[index], expected, rtol=1e-4, atol=1e-5)
    better = distances(scaled, truth) ** 2
    for factor in (0.99, 1.01):  # in the sense of least squares there is no better one
        assert (better.sum(axis=-1) <= (distances(factor * scaled, truth) ** 2).sum(axis=-1) + 1e-5).all()


def test_gradients_of_the_factor_are_finite():
    predicted = tf.Variable(np.concatenate([np.zeros((1, 5, 3)), np.ones((1, 5, 3))]).astype("float32"))
    target = np.random.default_rng(0).random((2, 5, 3), "float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(alignment.scale_to(predicted, target) * target)
    assert np.isfinite(tape.gradient(loss, predicted)).all()


@pytest.mark.parametrize("function", [alignment.procrustes, alignment.align, alignment.scale_to])
def test_unequal_point_sets_are_refused(function):
    predicted, truth = poses()
    with pytest.raises(ValueError, match=r"source and target must be \[\.\.\., J, .\] alike, got \(3, 4, 16, 3\) and"):
        function(predicted[:, :, :16], truth)
    with pytest.raises(ValueError, match="give the same frames and joints"):
        function(predicted[0], truth)
    if function is not alignment.scale_to:
        with pytest.raises(ValueError, match=r"\[\.\.\., J, 3\]"):
            function(predicted[..., :2], truth[..., :2])
