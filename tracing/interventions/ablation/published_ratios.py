r"""The published measures of redundancy, each beside its own null.

With d_T the standardised effect of condition T over cells (mean / sd),

    R_S = |d_S| / sum over members i of |d_i|           1 where the sum is 0.01 or less
    I_S = sum over T in S of (-1)^(|S| - |T|) |d_T|
    M_S = |d_S| - |d_(S without its last member)|       of three: C given A and B
    subadditive R < 0.8,  superadditive R > 1.2

over the targets where a condition passes the published rule. Neither says what it seems to: for
exactly additive independent effects R_S is near 1 / sqrt(|S|), and nearly every target is
subadditive. So each stands beside the same measure with every cell's joint effects replaced by the
sum of its single ones: what additive effects give on these cells.

What additive effects do not change is the **signed ratio of means**

    sum over targets of s (mean joint effect) / sum over targets of |a|

with a the sum of the mean single effects and s its sign. It is 1 for additive effects, smaller
where features are redundant, and has an interval by drawing cells again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scircuit.core.edge_rules import legacy_edges
from scircuit.tracing.interventions.ablation.interaction_contrasts import inside

SUBADDITIVE, SUPERADDITIVE = 0.8, 1.2
_DRAWS = 400  # of cells
_SMALL = 0.01  # sum of |d| from which a ratio is taken


class Published(NamedTuple):
    """Measures of one subset at one layer: arrays over targets, NaN where none passes the rule."""

    ratio: np.ndarray
    ratio_null: np.ndarray
    interaction: np.ndarray  # I_S
    interaction_null: np.ndarray
    marginal: np.ndarray  # M_S
    marginal_null: np.ndarray


class SignedRatio(NamedTuple):
    """Ratio of means and its 95 % interval; NaN where single effects are zero."""

    value: float
    low: float
    high: float


def published(effects: np.ndarray, subset: int, floor: float) -> Published:
    """Published measures of a subset.

    Parameters
    ----------
    effects
        [conditions, cells, T] effects; condition m is at place m - 1.
    subset
        Its members as bits.
    floor
        Numeric floor of one effect.
    """
    x = {m: _above(effects[m - 1], floor) for m in inside(subset)}
    singles = [m for m in x if m.bit_count() == 1]
    d = {m: _standardised(v) for m, v in x.items()}
    added = {m: _standardised(sum(x[i] for i in singles if i & m)) for m in x}  # pyright: ignore[reportArgumentType]
    cells = np.array(effects.shape[1])
    passing = np.any([legacy_edges(d[m], cells, (x[m] > 0).sum(0)) for m in x], axis=0)
    single = sum(np.abs(d[i]) for i in singles)
    before = subset ^ max(singles)  # members are in the order of their layers
    found = []
    for values in (d, added):
        joint = np.abs(values[subset])
        found.append(np.where(single > _SMALL, joint / np.maximum(single, 1e-300), 1.0))
        found.append(
            sum(
                (-1) ** (subset.bit_count() - m.bit_count()) * np.abs(value)
                for m, value in values.items()
            )
        )
        found.append(joint - np.abs(values[before]))
    ratio, interaction, marginal, ratio_null, interaction_null, marginal_null = (
        np.where(passing, value, np.nan) for value in found
    )
    return Published(ratio, ratio_null, interaction, interaction_null, marginal, marginal_null)


def additivity_counts(ratio: np.ndarray) -> tuple[int, int, int]:
    """Numbers of subadditive, additive and superadditive targets."""
    below, above = int((ratio < SUBADDITIVE).sum()), int((ratio > SUPERADDITIVE).sum())
    return below, int(np.isfinite(ratio).sum()) - below - above, above


def signed_ratio(effects: np.ndarray, subset: int, floor: float, seed: int = 0) -> SignedRatio:
    """Signed ratio of means of a subset over all targets, with `published`'s parameters."""
    singles = [m for m in inside(subset) if m.bit_count() == 1]
    joint = _above(effects[subset - 1], floor)
    added = np.add.reduce([_above(effects[m - 1], floor) for m in singles])
    cells = len(joint)
    if cells < 2 or not np.abs(added.mean(0)).sum():
        return SignedRatio(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(cells, np.full(cells, 1 / cells), _DRAWS) / cells
    weights = np.concatenate([np.full((1, cells), 1 / cells), weights])
    a, b = weights @ added, weights @ joint
    below = np.abs(a).sum(1)
    drawn = (np.sign(a) * b).sum(1) / np.where(below > 0, below, np.nan)
    low, high = np.nanquantile(drawn[1:], [0.025, 0.975])
    return SignedRatio(float(drawn[0]), float(low), float(high))


def _above(x: np.ndarray, floor: float) -> np.ndarray:
    return np.where(np.abs(x) > floor, x, 0).astype(np.float64)


def _standardised(x: np.ndarray) -> np.ndarray:
    if len(x) < 2:
        return np.zeros(x.shape[1])
    return x.mean(0) / np.maximum(x.std(0, ddof=1), 1e-10)
