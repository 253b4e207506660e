"""Comparison at the printed digits."""

import pytest

from scircuit.analysis.reproduction.printed import same_as_printed, shown


@pytest.mark.parametrize(
    ("printed", "value", "same"),
    [
        ("3.637 %", 0.0363683598, True),
        ("3.637 %", 0.036375, True),  # half a digit away
        ("3.637 %", 0.0363756, False),
        ("3.637 %", 3.637, False),  # not a share
        ("261,564", 261_564, True),
        ("261,564", 261_565, False),
        ("6.3e-10", 6.342e-10, True),
        ("6.3e-10", 6.36e-10, False),
        ("-0.402734", -0.40273368, True),
        ("-0.402734", 0.40273368, False),
        ("0.34 / 0.67", [0.3376, 0.6688], True),
        ("0.34 / 0.67", [0.3376, 0.6788], False),
        ("0.34 / 0.67", [0.3376], False),
        ("10/12 / 7/8", ["10/12", "7/8"], True),
        ("10/12 / 7/8", ["10/12", "8/8"], False),
        ("1.0", 1, True),
        ("0.5", float("nan"), False),
        ("0", 0, True),
        ("all cells", "15 of 25 cells", False),
    ],
)
def test_a_value_rounds_to_what_was_printed(printed, value, same):
    assert same_as_printed(printed, value) is same


@pytest.mark.parametrize(
    ("value", "printed", "text"),
    [
        (0.0363683598, "3.637 %", "3.63684 %"),
        (261_564, "261,564", "261,564"),
        (6.342e-10, "6.3e-10", "6.342e-10"),
        ([0.33764, "x"], "0.34 / y", "0.3376 / x"),
        ([0.5, 0.25], "", "0.5 / 0.25"),
        (float("nan"), "0.5", "not a number"),
    ],
)
def test_a_value_is_shown_with_two_more_digits(value, printed, text):
    assert shown(value, printed) == text
