"""Which features the published layer-5 map ablated, and faults of its edge rule on any data.

Sources: features whose catalogue says ``activation_freq >= 0.001``; the catalogue was counted on
the cells the dictionary was trained on. Active: index among the k largest pre-activations at a gene
position, even if the ReLU made the value 0; one such position makes a cell count. Edge: |d| > 0.5
and max(n_pos, n - n_pos) / n > 0.7, both strict
(`scircuit.core.edge_rules.LEGACY`); no edge below two cells.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.edge_rules import LEGACY_D, LEGACY_MIN_CELLS, MIN_SUPPORT, legacy_edges
from scircuit.core.preflight import CheckLine
from scircuit.tracing.legacy.fault_line import fault

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary

SOURCE_FREQUENCY = 0.001
NEAR = 1e-4  # distance of |d| from its threshold within which rounding decides
_DRAWS = 100_000


def legacy_sources(dictionary: Dictionary) -> np.ndarray:
    """Features of a source dictionary that the published code would ablate; all of them where no
    catalogue is beside the dictionary.
    """
    catalogue = getattr(dictionary, "catalogue", None)
    if catalogue is None:
        return np.arange(dictionary.n_features)
    return np.flatnonzero(catalogue.activation_freq >= SOURCE_FREQUENCY)


def near_edges(d: np.ndarray) -> np.ndarray:
    """Tests that rounding, or another rule on d, could make an edge: a legacy run stores all."""
    return np.abs(d) > LEGACY_D - NEAR


def decided_by_rounding(d: np.ndarray) -> np.ndarray:
    """Tests whose |d| is within `NEAR` of the threshold of the published rule."""
    return np.abs(np.abs(d) - LEGACY_D) <= NEAR


@cache
def noise_rate(n: int) -> float:
    """Share of pure noise (normal, mean 0, n cells) that the edge rule calls an edge, by
    simulation.
    """
    x = np.random.default_rng(0).standard_normal((_DRAWS, n))
    d = x.mean(1) / x.std(1, ddof=1)
    return float(legacy_edges(d, np.full(_DRAWS, n), (x > 0).sum(1)).mean())


def passing_support(n: int) -> tuple[list[int], list[int]]:
    """In how many of n cells an equal effect must occur (zero elsewhere) to be an edge: when it is
    positive, and when negative.
    """
    k = np.arange(1, n + 1)
    x = (np.arange(n) < k[:, None]).astype(float)
    d = x.mean(1) / np.maximum(x.std(1, ddof=1), 1e-10)
    positive, negative = (
        legacy_edges(d, np.full(n, n), k),
        legacy_edges(-d, np.full(n, n), np.zeros(n, int)),
    )
    return k[positive].tolist(), k[negative].tolist()


def faults_of_rule(n_cells: int) -> list[CheckLine]:
    """What the statistics and the edge rule do at this number of cells, before anything is
    computed.
    """
    if n_cells < LEGACY_MIN_CELLS:
        return [
            fault(
                "edge rule",
                False,
                f"at least {MIN_SUPPORT} cells with an effect",
                f"{n_cells} cell: no edge is possible",
            )
        ]
    positive, negative = passing_support(n_cells)
    few = min(n_cells, 4)
    return [
        fault(
            "consistency",
            positive == negative,
            "signs counted among the cells that have an effect",
            f"zeros count as not positive: of {n_cells} cells, a steady positive effect is an edge"
            f" when it occurs in {_spans(positive)} of them,",
            f"a negative one in {_spans(negative)}",
        ),
        fault(
            "edge rule",
            False,
            f"q over all live tests, at least {MIN_SUPPORT} cells, numeric floor",
            f"no null and no q: {noise_rate(n_cells):.2%} of pure noise passes at {n_cells} cells,"
            f" {noise_rate(few):.0%} at {few};",
            "no floor on the size of an effect",
        ),
    ]


def _spans(numbers: list[int]) -> str:
    """Ascending numbers as spans: ``5, 15 to 20``."""
    if not numbers:
        return "none"
    breaks = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    runs = [numbers[a:b] for a, b in zip([0, *breaks], [*breaks, len(numbers)], strict=True)]
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
