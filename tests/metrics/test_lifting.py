"""Figures of lifted poses against the published ones and against loops over frames and joints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerapose import metrics
from kerapose.losses import MPJPE


def sequence(frames, action, seed=0, name=None):
    random = np.random.default_rng(seed)
    truth = random.normal(0, 0.4, (frames, 6, 3)).cumsum(axis=0) / 3
    truth -= truth[:, :1]
    predicted = 1.1 * truth + random.normal(0, 0.05, truth.shape)
    found = {"predicted": predicted.astype("float32"), "truth": truth.astype("float32"), "action": action}
    return found if name is None else found | {"name": name}


def slow_errors(predicted, truth):
    """Distances in metres, one joint after the other: [T, J]."""
    return np.array(
        [
            [
                sum((float(a) - float(b)) ** 2 for a, b in zip(p, t, strict=True)) ** 0.5
                for p, t in zip(ps, ts, strict=True)
            ]
            for ps, ts in zip(predicted, truth, strict=True)
        ]
    )


def slow_aligned(source, target):
    """One frame laid on another: Kabsch in float64, reflections put right by the determinant."""
    source, target = source.astype("float64"), target.astype("float64")
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, values, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    return (values * signs).sum() / (a * a).sum() * a @ (u * signs @ vt).T + target.mean(axis=0)


def slow_figures(predicted, truth):
    errors = slow_errors(predicted, truth)
    aligned = [slow_aligned(p, t) for p, t in zip(predicted, truth, strict=True)]
    scaled = [p * (p * t).sum() / (p * p).sum() for p, t in zip(predicted.astype("float64"), truth, strict=True)]
    moves = [[predicted[t] - predicted[t - 1] for t in range(1, len(truth))]]
    moves.append([truth[t] - truth[t - 1] for t in range(1, len(truth))])
    return {
        "mpjpe_mm": 1000 * errors.mean(),
        "p_mpjpe_mm": 1000 * slow_errors(aligned, truth).mean(),
        "n_mpjpe_mm": 1000 * slow_errors(scaled, truth).mean(),
        "mpjve_mm": 1000 * slow_errors(*moves).mean() if len(truth) > 1 else float("nan"),
        "pck_150mm": np.mean([error < 0.15 for error in errors.flat]),
        "auc_3d": np.mean([[error < mm / 1000 for error in errors.flat] for mm in range(0, 151, 5)]),
    }


# ---------------------------------------- goldens
def test_golden_figures(golden):
    case = golden("losses")
    predicted, target = case["input_predicted"], case["input_target"]
    case.check("output_mpjpe", metrics.mpjpe(predicted, target))
    case.check("output_n_mpjpe", metrics.n_mpjpe(predicted, target))
    case.check("output_p_mpjpe", metrics.p_mpjpe(predicted, target))
    each = [metrics.p_mpjpe(p, t) for p, t in zip(predicted.reshape(-1, 17, 3), target.reshape(-1, 17, 3), strict=True)]
    case.check("output_p_mpjpe_each", each)
    flat = predicted.reshape(-1, 17, 3), target.reshape(-1, 17, 3)  # measured across the joins of the samples
    case.check("output_mean_velocity_error", metrics.mpjve(*flat))


# ---------------------------------------- against the loops
def test_figures_equal_the_loops():
    given = sequence(30, "a")
    predicted, truth = given["predicted"], given["truth"]
    predicted[3] *= np.array([-1, 1, 1], "float32")  # a mirrored frame
    expected = slow_figures(predicted, truth)
    found = {
        "mpjpe_mm": 1000 * metrics.mpjpe(predicted, truth),
        "p_mpjpe_mm": 1000 * metrics.p_mpjpe(predicted, truth),
        "n_mpjpe_mm": 1000 * metrics.n_mpjpe(predicted, truth),
        "mpjve_mm": 1000 * metrics.mpjve(predicted, truth),
        "pck_150mm": metrics.pck_3d(predicted, truth),
        "auc_3d": metrics.auc_3d(predicted, truth),
    }
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0 < found["pck_150mm"] < 1
    together = predicted.reshape(5, 6, 6, 3), truth.reshape(5, 6, 6, 3)  # frames in any number of axes
    assert 1000 * metrics.p_mpjpe(*together) == pytest.approx(expected["p_mpjpe_mm"], rel=1e-5)


def test_what_each_figure_does_not_see():
    truth = sequence(9, "a")["truth"].astype("float64")
    turned = truth[..., [1, 2, 0]]
    assert metrics.p_mpjpe(3 * turned + 1, truth) < 1e-6 < metrics.n_mpjpe(3 * turned, truth)
    assert metrics.n_mpjpe(3 * truth, truth) < 1e-6 < metrics.mpjpe(3 * truth, truth)
    assert metrics.mpjve(truth + 1, truth) < 1e-6 < metrics.mpjpe(truth + 1, truth)
    assert metrics.p_mpjpe(truth * [-1, 1, 1], truth) > 0.01  # a reflection is an error


def test_thresholds_are_those_of_the_published_evaluation():
    truth = np.zeros((1, 4, 3))
    predicted = truth.copy()
    predicted[0, :, 0] = 0.0, 0.1, 0.15, 0.2
    assert metrics.pck_3d(predicted, truth) == 0.5  # 150 mm is not less than 150 mm
    assert metrics.pck_3d(predicted, truth, threshold_m=0.16) == 0.75
    assert metrics.auc_3d(truth, truth) == pytest.approx(30 / 31)
    assert metrics.auc_3d(predicted, truth) == pytest.approx((30 + 10) / 31 / 4)
    assert metrics.auc_3d(predicted, truth, thresholds_m=[0.05, 0.18]) == pytest.approx((1 + 3) / 2 / 4)


# ---------------------------------------- the protocol
def test_frames_count_within_an_action_and_actions_alike():
    given = [sequence(20, "Walking", 0), sequence(5, "Walking", 1), sequence(10, "Sitting", 2)]
    expected = [slow_figures(s["predicted"], s["truth"]) for s in given]
    found = metrics.lifting_metrics(iter(given))
    assert list(found) == [*metrics.LIFTING_FIGURES, "actions"] and list(found["actions"]) == ["Walking", "Sitting"]
    for name in metrics.LIFTING_FIGURES:
        walking = (20 * expected[0][name] + 5 * expected[1][name]) / 25
        assert found["actions"]["Walking"][name] == pytest.approx(walking, rel=1e-5)
        assert found["actions"]["Sitting"][name] == pytest.approx(expected[2][name], rel=1e-5)
        assert found[name] == pytest.approx((walking + expected[2][name]) / 2, rel=1e-5)
        assert isinstance(found[name], float)


def test_a_single_frame_has_no_velocity():
    given = [sequence(20, "Walking"), sequence(1, "Walking", 1), sequence(1, "Posing", 2)]
    found = metrics.lifting_metrics(given)
    velocity = slow_figures(given[0]["predicted"], given[0]["truth"])["mpjve_mm"]
    assert found["actions"]["Walking"]["mpjve_mm"] == pytest.approx(velocity, rel=1e-5)
    assert found["mpjve_mm"] == pytest.approx(velocity, rel=1e-5)
    assert np.isnan(found["actions"]["Posing"]["mpjve_mm"]) and np.isfinite(found["mpjpe_mm"])
    assert np.isnan(metrics.lifting_metrics(given[2:])["mpjve_mm"])


# ---------------------------------------- the metric of `fit`
def test_the_metric_is_the_mean_over_batches():
    metric = metrics.MeanPerJointError()
    batches = [sequence(n, "a", n) for n in (4, 9)]
    for batch in batches:
        metric.update_state(batch["truth"], batch["predicted"])
    errors = np.concatenate([slow_errors(batch["predicted"], batch["truth"]) for batch in batches])
    assert float(metric.result()) == pytest.approx(1000 * errors.mean(), rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(copy) is metrics.MeanPerJointError and copy.name == "mpjpe_mm"


def test_the_metric_takes_masks_of_unequal_sequences():
    long, short = sequence(7, "a", 0), sequence(4, "a", 1)
    padded = {key: np.concatenate([short[key], np.full((3, 6, 3), 9, "float32")]) for key in ("predicted", "truth")}
    truth, predicted = (np.stack([long[key], padded[key]]) for key in ("truth", "predicted"))
    predicted[1, 4:] = 100
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3], "float32")
    metric = metrics.MeanPerJointError()
    update = tf.function(metric.update_state)
    update(tf.constant(truth), tf.constant(predicted), tf.constant(mask))
    errors = np.concatenate([slow_errors(s["predicted"], s["truth"]) for s in (long, short)])
    assert float(metric.result()) == pytest.approx(1000 * errors.mean(), rel=1e-5)
    metric.reset_state()
    metric.update_state(truth, predicted, np.array([2, 0], "float32"))
    assert float(metric.result()) == pytest.approx(
        1000 * slow_errors(long["predicted"], long["truth"]).mean(), rel=1e-5
    )


def test_the_metric_is_the_loss_in_millimetres():
    given = np.random.default_rng(0).random((8, 1, 6, 3), "float32")
    network = keras.Sequential([keras.Input((1, 6, 3)), keras.layers.Dense(3)])
    network.compile(loss=MPJPE(), metrics=[metrics.MeanPerJointError()])
    found = network.evaluate(given, 1 - given, verbose=0, return_dict=True)
    assert found["mpjpe_mm"] == pytest.approx(1000 * found["loss"], rel=1e-5)


# ---------------------------------------- bad input
TRUTH = sequence(5, "a")["truth"]
UNKNOWN = np.where(np.arange(5)[:, None, None] == 2, np.nan, TRUTH)
FIGURES = (metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe, metrics.mpjve, metrics.pck_3d, metrics.auc_3d)


@pytest.mark.parametrize("figure", FIGURES, ids=[figure.__name__ for figure in FIGURES])
def test_poses_that_cannot_be_compared_are_refused(figure):
    with pytest.raises(ValueError, match=r"true poses must be numbers, got 18 that are NaN"):
        figure(TRUTH, UNKNOWN)
    with pytest.raises(ValueError, match=r"predicted poses must be numbers, got 18"):
        figure(UNKNOWN, TRUTH)
    with pytest.raises(ValueError, match=r"poses must be \[\.\.\., J, 3\], .* got \(4, 6, 3\) and \(5, 6, 3\)"):
        figure(TRUTH[:4], TRUTH)
    with pytest.raises(ValueError, match="same frames and joints"):
        figure(TRUTH[..., :2], TRUTH[..., :2])
    with pytest.raises(ValueError, match="at least one frame and joint"):
        figure(TRUTH[:0], TRUTH[:0])


def test_velocities_are_of_one_sequence():
    for shape in ((1, 6, 3), (2, 5, 6, 3), (6, 3)):
        with pytest.raises(ValueError, match=r"velocities need one sequence \[T, J, 3\]"):
            metrics.mpjve(np.zeros(shape), np.zeros(shape))


def test_the_sequence_at_fault_is_named():
    with pytest.raises(ValueError, match="sequence S9/Walking: true poses must be numbers"):
        metrics.lifting_metrics(
            [sequence(5, "a"), {"predicted": TRUTH, "truth": UNKNOWN, "action": "b", "name": "S9/Walking"}]
        )
    with pytest.raises(ValueError, match=r"sequence 0: a sequence must be \[T, J, 3\], got \(1, 5, 6, 3\)"):
        metrics.lifting_metrics([{"predicted": TRUTH[None], "truth": TRUTH[None], "action": "b"}])
    with pytest.raises(ValueError, match="sequences must hold at least one"):
        metrics.lifting_metrics([])


def test_the_metric_refuses_other_frames():
    with pytest.raises(ValueError, match="check the frames that the network predicts"):
        metrics.MeanPerJointError().update_state(TRUTH[:1], TRUTH)
