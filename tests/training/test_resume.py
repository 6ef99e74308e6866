"""A run that is killed and started again ends as one that was not; the best weights are kept."""

import io
import json

import keras
import numpy as np
import pytest

from kerapose import training


# ---------------------------------------- resuming
def make_model(width=4, seed=0):
    """A model that `Resume` can keep: with a network, batch norm, dropout and a momentum."""
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(width),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    inputs = keras.Input((6,))
    model = keras.Model(inputs, network(inputs))
    model.network = network
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(training.SGDL2(0.1, l2=1e-3, momentum=0.9), loss, run_eagerly=True)  # faster than tracing
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, folder, epochs, resume=None):
    """Trains up to `epochs` in all, from where the folder's state is; returns how many epochs were found done."""
    resume = resume or training.Resume(folder)
    done = resume.restore(model)
    random = np.random.default_rng(0)
    x, y = random.normal(0, 1, (16, 6)).astype("float32"), random.integers(0, 3, 16)
    model.fit(x, y, batch_size=8, epochs=epochs, initial_epoch=done, shuffle=False, callbacks=[resume], verbose=0)
    return done


def arrays_of(file):
    with np.load(file) as state:
        return dict(state)


def test_a_resumed_model_ends_as_one_that_was_not_interrupted(tmp_path):
    assert fit(make_model(), tmp_path / "whole", 4) == 0
    assert fit(make_model(), tmp_path / "cut", 2) == 0
    halfway = arrays_of(tmp_path / "cut" / "state.npz")
    assert fit(make_model(seed=1), tmp_path / "cut", 4) == 2  # whatever it is initialized with
    whole, cut = (arrays_of(tmp_path / name / "state.npz") for name in ("whole", "cut"))
    assert set(whole) == set(cut) and len(json.loads(str(whole["history"]))) == 4
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name])
    assert any((halfway[name] != cut[name]).any() for name in cut if name.startswith("variable"))


def test_resume_refuses_the_state_of_another_model(tmp_path):
    fit(make_model(), tmp_path, 1)
    before = (tmp_path / "state.npz").read_bytes()
    other = make_model(width=5)
    weights = other.get_weights()
    with pytest.raises(ValueError, match="state.npz was written by another model .*; give another folder, or the"):
        training.Resume(tmp_path).restore(other)
    assert (tmp_path / "state.npz").read_bytes() == before
    for weight, expected in zip(other.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


FIGURES = [0.5, 0.7, 0.4, 0.6, 0.7, float("nan"), 0.8, 0.75]  # some are better than the last one alone


def kept_after(folder, figures, new_each_time=False, **options):
    """Which epoch's weights are kept after each epoch; asked of one `Resume`, or of one that resumes each time."""
    model, resume, kept = make_model(), None, []
    for epoch, figure in enumerate(figures):
        if resume is None or new_each_time:
            resume = training.Resume(folder, **options)
            resume.set_model(model)
            assert resume.restore(model) == epoch
        model.network.layers[-1].bias.assign(np.full(3, epoch))
        resume.on_epoch_end(epoch, {"loss": 1.0, "val_top1": figure})
        kept.append(int(keras.models.load_model(folder / "best.keras").layers[-1].bias[0]))
    return kept


@pytest.mark.parametrize("new_each_time", [False, True])
def test_the_best_weights_are_kept_the_earliest_among_equals(tmp_path, new_each_time):
    assert kept_after(tmp_path, FIGURES, new_each_time, monitor="val_top1") == [0, 1, 1, 1, 1, 1, 6, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.keras", "state.npz"]


def test_the_least_figure_may_be_the_best(tmp_path):
    assert kept_after(tmp_path, [0.5, 0.7, 0.4, 0.6, 0.4, 0.3], monitor="val_top1", least=True) == [0, 0, 2, 2, 2, 5]


@pytest.mark.parametrize("least", [False, True])
def test_a_figure_that_is_none_is_the_worst(tmp_path, least):
    nan = float("nan")
    assert kept_after(tmp_path, [nan, nan, 0.5, nan], monitor="val_top1", least=least) == [0, 0, 2, 2]


def test_without_a_figure_to_go_by_the_last_weights_are_kept(tmp_path):
    assert kept_after(tmp_path, FIGURES[:4]) == [0, 1, 2, 3]


def test_a_figure_that_no_epoch_has_is_asked_for_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="monitor must be a figure of the epochs, loss, val_top1, got 'top1'; give"):
        kept_after(tmp_path, FIGURES, monitor="top1")
    assert not (tmp_path / "best.keras").exists()


def test_networks_are_kept_by_the_names_of_their_files(tmp_path):
    model = make_model()
    resume = training.Resume(tmp_path, networks={"a.keras": model, "b.keras": model.network})
    fit(model, tmp_path, 1, resume)
    assert not (tmp_path / "best.keras").exists()
    assert [len(keras.models.load_model(tmp_path / f"{name}.keras").layers) for name in "ab"] == [2, 4]


# ---------------------------------------- in a notebook
def any_model(seed=0):
    """A compiled model of Keras's own; its optimizer is not built yet."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.GaussianNoise(0.1), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)  # faster than tracing so few steps
    return model


def fit_any(model, folder, epochs, interrupted_at=-1):
    resume = training.Resume(folder, "val_loss", least=True)
    x = np.random.default_rng(0).normal(size=(24, 6)).astype("float32")

    def interrupt(batch, logs):
        if resume.model.optimizer.iterations == interrupted_at:
            raise KeyboardInterrupt

    return model.fit(
        *(x, x[:, :2]),
        batch_size=8,
        epochs=epochs,
        initial_epoch=resume.restore(model),
        validation_split=0.25,
        shuffle=False,
        verbose=0,
        callbacks=[resume, keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)],
    ).history


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run of four epochs says of them, and its state, as arrays by name."""
    folder = tmp_path_factory.mktemp("whole")
    return fit_any(any_model(), folder, 4), arrays_of(folder / "state.npz")


def test_a_cell_that_was_interrupted_is_run_again(tmp_path, whole):
    """With the model as it was then, and with a new one of other weights: both end as the whole run.

    The one in the first epoch, the other in the third.
    """
    history, expected = whole
    for name, again, interrupted_at in (("same", None, 2), ("new", any_model(seed=1), 8)):
        model = any_model()
        with pytest.raises(KeyboardInterrupt):
            fit_any(model, tmp_path / name, 4, interrupted_at)
        done = interrupted_at // 3
        found = fit_any(again or model, tmp_path / name, 4)
        assert found == {figure: values[done:] for figure, values in history.items()}
        arrays = arrays_of(tmp_path / name / "state.npz")
        assert set(arrays) == set(expected)
        for key, array in expected.items():
            np.testing.assert_array_equal(arrays[key], array, err_msg=key)
    best = keras.models.load_model(tmp_path / "new" / "best.keras")  # the model itself
    assert [type(layer).__name__ for layer in best.layers] == ["Dense", "GaussianNoise", "Dense"]


def test_a_cell_that_is_run_again_when_all_is_done_changes_nothing(tmp_path):
    model = any_model()
    fit_any(model, tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert fit_any(model, tmp_path, 2) == {}
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", ["not built", "not compiled"])
def test_a_model_that_cannot_be_resumed_is_refused(tmp_path, kind):
    model = keras.Sequential([keras.layers.Dense(2)]) if kind == "not built" else make_model().network
    remedy = "call it on a batch first" if kind == "not built" else "compile it first"
    with pytest.raises(ValueError, match=f"must be built and compiled, .* is not; {remedy}"):
        training.Resume(tmp_path).restore(model)


def test_a_run_is_looked_for_before_one_is_trained(tmp_path):
    fit(make_model(), tmp_path, 1)
    before = (tmp_path / "state.npz").read_bytes()
    with pytest.raises(ValueError, match="must be looked for in .*; give fit initial_epoch=resume.restore.model."):
        make_model().fit(np.ones((8, 6)), np.ones(8), callbacks=[training.Resume(tmp_path)], verbose=0)
    model, resume = make_model(), training.Resume(tmp_path)
    assert resume.restore(model) == 1
    with pytest.raises(ValueError, match="initial_epoch must be the number of epochs done, 1 in .*, got 0; give fit"):
        model.fit(np.ones((8, 6)), np.ones(8), callbacks=[resume], verbose=0)
    assert (tmp_path / "state.npz").read_bytes() == before


def test_a_file_that_is_no_state_is_refused(tmp_path):
    fit(make_model(), tmp_path, 1)
    file = tmp_path / "state.npz"
    whole, other = file.read_bytes(), io.BytesIO()
    np.savez(other, weights=np.ones(3))
    model = make_model(seed=1)
    weights = model.get_weights()
    for content in (b"", b"nothing that could be unzipped", whole[:-100], other.getvalue()):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="state.npz must be the state of a run, it is something else; give anoth"):
            training.Resume(tmp_path).restore(model)
        for weight, expected in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(weight, expected)
