"""What may be chosen of a training: every kind of value as users write it, and sentences for what cannot be."""

import json
import pathlib
import re

import numpy as np
import pytest

from kerapose import training
from kerapose.training.options import Option, choose, common_options, flip_options, free_names, names_tested

EPOCHS = Option("epochs", int, 12, "Passes.", least=1, most=99)
RATE = Option("learning_rate", float, None, "Of the optimizer.", least=0.0)
CAUSAL = Option("causal", bool, False, "Whether no later frame is seen.")
SPLIT = Option("split", str, "train", "To train on.")
DEPTH = Option("depth", int, 50, "Of the backbone.", choices=(18, 50))
WIDTHS = Option("filter_widths", [int], (3, 3), "Of each block.", least=1)
NAMES = Option("skip", [str], [], "Names.", repeated=True)
LIMITS = Option("limits", [float], None, "From, to.", most=1.0)


@pytest.mark.parametrize(
    "option, given, expected",
    [
        (EPOCHS, 3, 3),
        (EPOCHS, np.int64(3), 3),
        (EPOCHS, np.uint8(3), 3),
        (EPOCHS, 99, 99),
        (RATE, 0.5, 0.5),
        (RATE, 2, 2.0),
        (RATE, np.float32(0.5), 0.5),
        (RATE, np.int32(2), 2.0),
        (CAUSAL, True, True),
        (CAUSAL, np.bool_(True), True),
        (SPLIT, "", ""),
        (SPLIT, np.str_("test"), "test"),
        (SPLIT, pathlib.Path("runs") / "a", "runs/a"),
        (DEPTH, np.int64(18), 18),
        (WIDTHS, [3, 5], [3, 5]),
        (WIDTHS, (3, np.int64(5)), [3, 5]),
        (WIDTHS, np.array([3, 5]), [3, 5]),
        (WIDTHS, range(3, 6), [3, 4, 5]),
        (WIDTHS, [], []),
        (NAMES, ("a", pathlib.Path("b")), ["a", "b"]),
        (LIMITS, [np.float64(0.25), 1], [0.25, 1.0]),
    ],
)
def test_a_value_comes_in_its_kind(option, given, expected):
    found = option.checked(given)
    assert found == expected and type(found) is type(expected)
    if isinstance(found, list):
        assert [type(one) for one in found] == [type(one) for one in expected]
    json.dumps(found)  # a work folder keeps it


@pytest.mark.parametrize(
    "option, given, message",
    [
        (EPOCHS, 3.0, "epochs must be a whole number, got 3.0; correct it."),
        (EPOCHS, "3", "epochs must be a whole number, got '3'; correct it."),
        (EPOCHS, True, "epochs must be a whole number, got True; correct it."),
        (EPOCHS, np.bool_(True), "epochs must be a whole number, got np.True_; correct it."),
        (EPOCHS, [3], "epochs must be a whole number, got [3]; correct it."),
        (EPOCHS, 0, "epochs must be at least 1, got 0; give more."),
        (EPOCHS, 100, "epochs must be at most 99, got 100; give less."),
        (RATE, "0.1", "learning_rate must be a number, got '0.1'; correct it."),
        (RATE, False, "learning_rate must be a number, got False; correct it."),
        (RATE, 1j, "learning_rate must be a number, got 1j; correct it."),
        (RATE, -0.1, "learning_rate must be at least 0.0, got -0.1; give more."),
        (RATE, float("nan"), "learning_rate must be a finite number, got nan; correct it."),
        (RATE, np.float32("inf"), "learning_rate must be a finite number, got inf; correct it."),
        (CAUSAL, 1, "causal must be True or False, got 1; correct it."),
        (CAUSAL, "false", "causal must be True or False, got 'false'; correct it."),
        (SPLIT, 3, "split must be text, got 3; correct it."),
        (SPLIT, b"train", "split must be text, got b'train'; correct it."),
        (DEPTH, 34, "depth must be one of 18, 50, got 34; use one of them."),
        (WIDTHS, 3, "filter_widths must be a list, got 3; give [3]."),
        (WIDTHS, "3,3", "filter_widths must be a list, got '3,3'; give ['3,3']."),
        (WIDTHS, {3}, "filter_widths must be a list, got {3}; give its values in a list."),
        (WIDTHS, [3, 4.5], "filter_widths must be a whole number, got 4.5; correct it."),
        (WIDTHS, [3, 0], "filter_widths must be at least 1, got 0; give more."),
        (WIDTHS, [3, None], "filter_widths must be a whole number, got None; correct it."),
        (NAMES, "ab", "skip must be a list, got 'ab'; give ['ab']."),
        (NAMES, b"ab", "skip must be a list, got b'ab'; give its values in a list."),
        (LIMITS, [0.5, float("nan")], "limits must be a finite number, got nan; correct it."),
        (LIMITS, [0.5, 1.5], "limits must be at most 1.0, got 1.5; give less."),
    ],
)
def test_a_value_of_another_kind_is_refused_in_a_sentence(option, given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        option.checked(given)


def test_what_is_not_given_is_the_default():
    table = [EPOCHS, RATE, CAUSAL, WIDTHS]
    found = choose(table, {"causal": True, "epochs": None})
    assert found == {"epochs": 12, "learning_rate": None, "causal": True, "filter_widths": [3, 3]}
    assert list(found) == [option.name for option in table]
    assert choose(table, {"filter_widths": []})["filter_widths"] == []  # an empty list is a list


def test_a_default_is_nobodys_to_change():
    choose([NAMES], {})["skip"].append("a")
    assert choose([NAMES], {})["skip"] == [] == NAMES.default


@pytest.mark.parametrize(
    "name, message",
    [
        ("epoch", "Options of a training go by their names, got 'epoch'; did you mean epochs?"),
        ("weight", "Options of a training go by their names, got 'weight'; there are epochs, learning_rate."),
    ],
)
def test_another_name_is_refused(name, message):
    for value in (3, None):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            choose([EPOCHS, RATE], {name: value})


# ---------------------------------------- the tables there are
def every_training():
    classes = [getattr(training, name) for name in training.__all__]
    return [each for each in classes if isinstance(each, type) and issubclass(each, training.Training) and each.OPTIONS]


def recipes(table):
    """The recipes in a table of them, which may stand in tables by another choice."""
    for value in table.values():
        yield from recipes(value) if all(isinstance(each, dict) for each in value.values()) else [value]


@pytest.mark.parametrize("kind", every_training(), ids=lambda kind: kind.__name__)
def test_defaults_and_recipes_are_what_users_may_give(kind):
    names = [option.name for option in kind.OPTIONS]
    assert len(set(names)) == len(names)
    assert {option.name for option in common_options("", "")} <= set(names)
    assert set(free_names(kind.OPTIONS)) >= {"workdir", "data_dir", "export"}
    given = {option.name: option.default for option in kind.OPTIONS}
    assert choose(kind.OPTIONS, given) == choose(kind.OPTIONS, {})
    for recipe in recipes(kind.RECIPES):
        options = {name: value for name, value in recipe.items() if name in names}  # others say what options lead to
        assert options and choose(kind.OPTIONS, options) | options == choose(kind.OPTIONS, options)
    for option in kind.OPTIONS:
        assert option.help.endswith((".", "?")) and "--" not in option.help and "flag" not in option.help, option.name


def test_the_options_of_all_trainings():
    table = common_options("runs/mine", "puppets", batch_size=32, validation_split=None)
    found = choose([*table, *flip_options(0.5, True)], {"skip": ["a"]})
    assert (found["workdir"], found["dataset"], found["batch_size"], found["epochs"]) == (
        "runs/mine",
        "puppets",
        32,
        None,
    )
    assert (found["train_split"], found["validation_split"], found["test_split"]) == ("train", None, "test")
    assert (found["flip_probability"], found["flip_test"], found["flip_pairs"]) == (0.5, True, None)
    assert common_options("", "")[4].default == "validation"
    assert free_names(table) == ["workdir", "data_dir", "worker_hosts", "worker_index", "data_service", "export"]
    asked = {"workdir", "dataset", "data_dir", "test_split", "skip", "batch_size", "seed", "precision", "deterministic"}
    assert set(names_tested(table)) == asked
