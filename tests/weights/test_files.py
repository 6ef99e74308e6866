"""Files of published checkpoints as they really are: OpenMMLab's of all ages, averages, and what is no weight."""

import collections
import datetime
import pathlib
import re
import sys
import types

import numpy as np
import pytest
from absl import logging

from kerapose import models, weights

torch = pytest.importorskip("torch")


def network():
    return models.C3D(5, (2, 8, 8, 3), base_filters=2, num_stages=3)


def state_of(model, seed=0):
    """Random weights for a model by the names and in the shapes of PyTorch, outputs first."""
    random, state = np.random.default_rng(seed), {}
    for name, (variable, _) in weights.matching.slots_of(model).items():
        shape = tuple(variable.shape)
        shape = (shape[-1], shape[-2], *shape[:-2]) if len(shape) > 1 else shape
        state[name] = torch.tensor(random.uniform(0.5, 1.5, shape), dtype=torch.float32)
    return state


def assert_loaded(model, state):
    expected = weights.load_torch(network(), state)
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ---------------------------------------- what trainings keep beside the weights
class HistoryBuffer:
    """As MMEngine's: it keeps the last values of a figure in an array and, by name, methods of its class."""

    def __init__(self):
        self._log_history = np.arange(3.0)
        self._statistics_methods = collections.OrderedDict(mean=HistoryBuffer.mean)

    def mean(self):
        return self._log_history.mean()


@pytest.fixture
def save(monkeypatch, tmp_path):
    """A function that saves what has a HistoryBuffer as MMEngine's, which is not there when it is read."""

    def saved(content, archive=True):
        name, path = "mmengine.logging.history_buffer", tmp_path / "checkpoint.pth"
        with monkeypatch.context() as patch:
            for parent in ("mmengine", "mmengine.logging", name):
                patch.setitem(sys.modules, parent, types.ModuleType(parent))
            sys.modules[name].HistoryBuffer = HistoryBuffer
            for one in (HistoryBuffer, HistoryBuffer.mean):
                patch.setattr(one, "__module__", name)
            torch.save(content, path, _use_new_zipfile_serialization=archive)
        return path

    return saved


META = {"epoch": 210, "time": "20220913", "cfg": "model = dict(type='TopdownPoseEstimator')", "seed": 0}
DATASET = {"dataset_name": "coco", "sigmas": np.full(17, 0.05), "colors": np.zeros((3, 3), "uint8")}
FIGURES = {"best_score": np.float64(0.72), "last": pathlib.PurePosixPath("epoch_210.pth"), "t": datetime.date.today()}
NOTES = {"last": collections.deque([0.3, 0.2], 2), "by": collections.defaultdict(list, a=[1]), "sizes": range(3)}
PREPROCESSOR = {f"data_preprocessor.{name}": torch.ones(3, 1, 1) for name in ("mean", "std")}


def under(prefix, state):
    return {prefix + name: array for name, array in state.items()}


def hub():
    return {"log_scalars": {"train/loss": HistoryBuffer()}, "runtime_info": {"iter": np.int64(9)}}


# Of weights and of others that are not to be loaded.
FILES = {
    "1.x, published": lambda state, _: {"meta": META | {"dataset_meta": DATASET}, "state_dict": state},
    "1.x, published before": lambda state, _: {
        "meta": META | {"dataset_meta": DATASET},
        "state_dict": PREPROCESSOR | under("backbone.", state),
        "message_hub": hub(),
    },
    "1.x, training": lambda state, _: {
        "meta": META,
        "message_hub": hub(),
        "state_dict": state,
        "optimizer": {"state": {0: {"step": torch.tensor(9)}}, "param_groups": [{"lr": 5e-4, "params": [0]}]},
        "param_schedulers": [{"last_step": 9}],
    },
    "1.x, averaged": lambda state, others: {
        "meta": META,
        "state_dict": state,
        "ema_state_dict": {"steps": torch.tensor(9)} | under("module.", others),
    },
    "0.x": lambda state, _: {"meta": META | {"hook_msgs": FIGURES}, "state_dict": under("backbone.", state)},
    "0.x, averaged": lambda state, others: {
        "meta": META,
        "state_dict": state | {f"ema_{name.replace('.', '_')}": array for name, array in others.items()},
    },
    "wrapped by hand": lambda state, _: {
        "epoch": 3,
        "notes": NOTES,
        "state_dict": under("module.", under("backbone.", state) | PREPROCESSOR),
    },
    "averages beside": lambda state, others: {"state_dict": others, "state_dict_ema": state},
    "averages beside, with notes": lambda state, others: {
        "model": others,
        "model_ema": {"module": state, "decay": 0.9},
    },
    "none averaged yet": lambda state, _: {"state_dict": state, "state_dict_ema": {}},
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "older format"])
def test_weights_are_loaded_whatever_is_beside_them(save, kind, archive):
    model = network()
    state, others = state_of(model), state_of(model, seed=1)
    assert_loaded(weights.load_torch(model, save(FILES[kind](state, others), archive)), state)


@pytest.mark.parametrize("kind", FILES)
def test_averages_are_told(kind, monkeypatch):
    told = []
    monkeypatch.setattr(logging, "info", lambda text, *values: told.append(text % values))
    model = network()
    weights.load_torch(model, FILES[kind](state_of(model), state_of(model, seed=1)))
    assert [("verages" in one) for one in told] == [True] * ("average" in kind and "none" not in kind)


# ---------------------------------------- what could run code
class Strange:
    def __reduce__(self):
        return eval, ("1 + 1",)


class Stranger:
    """Of no package of whom trainings keep something."""


@pytest.mark.parametrize("what, name", [(Strange(), "builtins.eval"), (Stranger(), f"{__name__}.Stranger")])
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "older format"])
def test_what_is_refused_is_named(save, what, name, archive):
    model = network()
    before = [np.array(weight) for weight in model.weights]
    path = save({"state_dict": state_of(model), "meta": {"what": what, "mean": np.ones(3)}}, archive)
    with pytest.raises(ValueError, match=f"got {path} with {name}, which could run code") as error:
        weights.load_torch(model, path)
    assert "save the state dict alone" in str(error.value)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("state", [{3: torch.ones(2)}, {"fc_cls.weight": np.ones((5, 16))}], ids=["numbers", "NumPy's"])
def test_what_maps_no_names_to_tensors_is_refused(save, state):
    name = re.escape(repr(next(iter(state))))
    with pytest.raises(ValueError, match=f"maps names to tensors, got something else under {name}; save a state dict"):
        weights.load_torch(network(), save({"state_dict": state}))


def test_nobody_is_told_to_read_a_file_without_safety(tmp_path):
    (tmp_path / "page.pth").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="page.pth is not a readable checkpoint of plain tensors") as error:
        weights.load_torch(network(), tmp_path / "page.pth")
    assert "weights_only" not in str(error.value)
