"""Planted effects of many shapes: the calibrated rule keeps its false discovery rate in every
class, and has power where others have.
"""

from __future__ import annotations

from functools import cache

import pytest

from bench.calibration import CLASSES, NOMINAL, Found, measure

REPLICATES = 16
# One-sided 99.9 % normal quantile: of 14 classes, one strays beyond it by chance in fewer than 2 %
# of seeds.
DEVIATIONS = 3.09


@cache
def found(name: str) -> dict[str, Found]:
    return measure(name, REPLICATES, seed=1)


@pytest.mark.parametrize("name", CLASSES)
def test_false_discovery_rate_is_nominal(name):
    rule = found(name)["calibrated"]
    assert rule.fdr <= NOMINAL + DEVIATIONS * rule.error
    assert rule.untestable == 0


@pytest.mark.parametrize(
    "name", [n for n, c in CLASSES.items() if c.truth and c.cells[0] > 2 and n != "zero-inflated"]
)
def test_large_effects_are_found(name):
    power = found(name)["calibrated"].by_size
    assert power[2.0] > 0.9 and power[1.0] > 0.6
    assert power[0.5] < power[1.0] < power[1.5] <= power[2.0]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("2 to 20 cells", "legacy"),
        ("zero-inflated", "legacy"),
        ("no truth, gaussian", "legacy"),
        ("2 to 20 cells, equal sizes", "t"),
        ("2 to 20 cells, equal sizes", "moderated t"),
        ("skewed, exponential", "t"),
        ("skewed, exponential", "sign flips"),
        ("no truth, lognormal", "t"),
        ("no truth, lognormal", "moderated t"),
        ("no truth, lognormal", "sign flips"),
    ],
)
def test_classes_in_which_another_rule_fails(name, rule):
    """The reasons for the choice: each of these rules is beyond its nominal rate somewhere, with
    certainty.
    """
    other = found(name)[rule]
    assert other.fdr > NOMINAL + DEVIATIONS * other.error


def test_sign_flips_need_no_guard_where_effects_are_symmetric():
    for name, kind in CLASSES.items():
        if (
            "skewed" not in name
            and "exponential" not in name
            and "lognormal" not in name
            and kind.truth
        ):
            rule = found(name)["sign flips"]
            assert rule.fdr <= NOMINAL + DEVIATIONS * rule.error, name


def test_calibrated_edges_are_sign_flip_edges():
    """The guard only takes edges away."""
    for name in CLASSES:
        rules = found(name)
        assert all(
            rules["calibrated"].by_size[s] <= rules["sign flips"].by_size[s]
            for s in rules["calibrated"].by_size
        )
