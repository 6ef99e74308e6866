"""How the gate tells: one error with all that is impossible, one warning with all that is suspicious."""

import re

import numpy as np
import pytest
from absl import logging

from kerapose.data.gate import BadDataError, Report, Rule, sequences, some

WRONG = Rule("Labels are whole numbers", "with another label", "correct them")
UNITS = Rule("Keypoints are in pixels", "with keypoints in 0 .. 1", "multiply them", impossible_above=0.5)
ODD = Rule("People are 0.5 to 2.5 m", "of another size", "check the unit", impossible_above=1.0)


@pytest.fixture
def warned(monkeypatch):
    """The warnings that come, one string each."""
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: warnings.append(text % values))
    return warnings


def report_of(rule, count, total=10, found=""):
    report = Report("clips")
    report.seen(total)
    for number in range(count):
        report.note(rule, f"c{number}", found)
    return report


def test_nothing_wrong_says_nothing(warned):
    report_of(WRONG, 0).close()
    assert warned == []


@pytest.mark.parametrize(
    ("rule", "count", "is_impossible"),
    [(WRONG, 1, True), (UNITS, 5, False), (UNITS, 6, True), (ODD, 1, False), (ODD, 10, False)],
)
def test_the_share_decides_between_error_and_warning(warned, rule, count, is_impossible):
    report = report_of(rule, count)
    if is_impossible:
        with pytest.raises(BadDataError) as error:
            report.close()
        assert error.value.names == tuple(f"c{number}" for number in range(count))
        assert warned == []
    else:
        report.close()
        assert len(warned) == 1 and f"{count} of 10 clips {rule.breach}" in warned[0]


def test_an_error_is_one_sentence_with_rule_value_and_remedy():
    with pytest.raises(
        BadDataError,
        match=re.escape(
            "Labels are whole numbers, got 7 of 10 clips with another label (c0, c1, c2, c3, c4 and 2 more: 1.5); "
            "correct them, or leave them out with `skip(dataset, error.names)`."
        ),
    ):
        report_of(WRONG, 7, found="1.5").close()


def test_a_sample_that_breaks_a_rule_twice_counts_once(warned):
    report = Report("clips")
    report.seen(2)
    report.note(UNITS, "a")
    report.note(UNITS, "a")
    report.close()
    assert "got 1 of 2 clips" in warned[0]


def test_all_that_is_impossible_and_all_that_is_suspicious_is_told_at_once(warned):
    report = Report("clips")
    report.seen(4)
    report.note_all(WRONG, ["a", "b", "c", "d"], [True, False, False, True])
    report.note(UNITS, "b")
    report.note(ODD, "c", "8.1 m")
    report.note_all(Rule("Names differ", "with the name of another", "rename"), ["b"], [True])
    with pytest.raises(BadDataError) as error:
        report.close()
    assert error.value.names == ("a", "d", "b")
    assert "2 of 4 clips with another label (a, d)" in str(error.value) and "Names differ" in str(error.value)
    assert len(warned) == 1 and "8.1 m" in warned[0] and "multiply them" in warned[0]


def test_those_who_could_break_a_rule_are_counted_through_all_calls(warned):
    report = Report("clips")
    report.seen(6)
    report.note_all(UNITS, ["a", "b", "c", "d"], [True, False, False, False], among=[True, True, True, False])
    report.note_all(UNITS, ["e", "f"], [True, False], among=[True, False])
    report.close()  # of four who could, two do: no more than half
    assert "2 of 6 clips" in warned[0]


def test_one_sample_alone_is_not_counted():
    report = Report("clips", remedy="")
    report.seen()
    report.note(WRONG, "walk.mp4", "1.5")
    with pytest.raises(BadDataError) as error:
        report.close()
    assert str(error.value) == "Labels are whole numbers, got one with another label (walk.mp4: 1.5); correct them."


def test_some_names_the_first_and_counts_the_others():
    assert some([1, 2]) == "1, 2"
    assert some("abcdefg") == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    "value, text",
    [
        (np.int64(99), "99"),
        (np.float32(0.5), "0.5"),
        (np.array([0, 80]), "[0, 80]"),
        ((0, 80), "(0, 80)"),
        ("x", "'x'"),
    ],
)
def test_a_value_is_shown_as_one_writes_it(value, text):
    assert sequences.plain(value) == text
