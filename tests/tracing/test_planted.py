"""Planted effects of many shapes: the calibrated rule keeps its false discovery rate in every
class, and has power where others have.
"""

from __future__ import annotations

from functools import cache

import pytest

from bench.calibration import (
    CELLS_OF_DIRECTIONS,
    CLASSES,
    NOMINAL,
    Found,
    measure,
    power_ratio,
)

REPLICATES = 12
# One-sided 99.9 % normal quantile: of 22 classes, one strays beyond it by chance in fewer than 3 %
# of seeds.
DEVIATIONS = 3.09


@cache
def found(name: str) -> dict[str, Found]:
    return measure(name, REPLICATES, seed=1)


@cache
def few(name: str) -> dict[str, Found]:
    return measure(name, 3, seed=1)


@pytest.mark.parametrize("name", CLASSES)
def test_false_discovery_rate_is_nominal(name):
    rule = found(name)["calibrated"]
    assert rule.fdr <= NOMINAL + DEVIATIONS * rule.error
    assert rule.untestable == 0


# zero-inflated: half of the cells; a scale per source: true means are large in some sources only
@pytest.mark.parametrize(
    "name",
    [
        n
        for n, c in CLASSES.items()
        if c.truth and c.cells[0] > 2 and n not in ("zero-inflated", "scale per source")
    ],
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


@pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if c.truth and not c.skewed])
def test_the_guard_keeps_the_power_of_sign_flips_where_effects_are_symmetric(name):
    rule = found(name)["sign flips"]
    assert rule.fdr <= NOMINAL + DEVIATIONS * rule.error
    assert power_ratio(found(name)) >= 0.9


@pytest.mark.parametrize("name", ["1% true, scale per cell", "4% true, heavy tails, t2"])
def test_the_guard_leaves_few_true_effects(name):
    assert power_ratio(few(name)) >= 0.9 and few(name)["sign flips"].power > 0.5


@pytest.mark.parametrize("name", ["4% true, skewed, gamma", "4% true, skewed, exponential"])
def test_few_true_effects_among_skewed_ones_are_not_called_falsely(name):
    rule, flips = few(name)["calibrated"], few(name)["sign flips"]
    assert rule.fdr <= NOMINAL + DEVIATIONS * rule.error
    assert flips.fdr > NOMINAL + DEVIATIONS * flips.error


@pytest.mark.parametrize("name", [n for n in CELLS_OF_DIRECTIONS if not n.endswith("t2")])
def test_specific_effects_are_told_from_those_of_any_direction(name):
    """Without a guard: skewed and heavy-tailed cells are so under random directions too."""
    rules = measure(name, 6, seed=1)
    both = rules["both"]
    assert both.fdr <= NOMINAL + DEVIATIONS * both.error
    assert both.by_size[6.0] > 0.9
    assert rules["sign flips"].fdr > 0.9  # every direction has an effect that is not zero


def test_calibrated_edges_are_sign_flip_edges():
    """The guard only takes edges away."""
    for name in CLASSES:
        rules = found(name)
        assert all(
            rules["calibrated"].by_size[s] <= rules["sign flips"].by_size[s]
            for s in rules["calibrated"].by_size
        )
