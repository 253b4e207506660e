r"""How unequal degrees are: Gini coefficient and skewness, with intervals, beside degrees that the
firing rate alone gives.

With the degrees x in ascending order and n of them,

    Gini = sum over i of (2 i - n - 1) x_i / (n sum x),      skewness = m_3 / m_2^(3/2)

with the central moments m. Gini is 0 where all degrees are equal and near 1 where one feature has
every edge. Intervals resample features. A feature that fires more has more chances to affect, and
to be affected; so both stand beside degrees drawn with the expectation of the firing rate
(`scircuit.analysis.structure.rate_null`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.layered_edges import circuit_edges
from scircuit.analysis.structure.null_numbers import Beside, beside, number
from scircuit.analysis.structure.rate_null import degrees_by_rate, expected_by_rate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

NAME, TITLE = "degree_inequality", "Inequality of degrees"
DRAWS = 1000
_FEWEST = 3  # features
_NULL = (
    f"{DRAWS:,} draws in which the edges of every layer fall on its features with the expectation"
    " of their firing rate, each edge by itself"
)
_COLUMNS = (
    *("degree", "measure", "features", "observed", "low", "high"),
    *("null_mean", "null_low", "null_high", "z", "p"),
)


def gini(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Gini coefficient of grouped values; NaN where all are zero.

    Parameters
    ----------
    value
        Values, ascending, (..., values).
    count
        How often each comes, (..., values).

    Returns
    -------
    ndarray
        (...,)
    """
    n = count.sum(-1)
    below = count.cumsum(-1) - count
    weight = count * (2 * below + count - n[..., None])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight * value).sum(-1) / (n * (count * value).sum(-1))


def skewness(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Skewness of grouped values, as `gini`; NaN where all are equal."""
    n = count.sum(-1)
    mean = (count * value).sum(-1) / n
    off = value - mean[..., None]
    second, third = ((count * off**k).sum(-1) / n for k in (2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return third / second**1.5


def degree_inequality(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """Gini and skewness of out- and in-degrees beside what the firing rate gives."""
    import pandas as pd

    edges, nodes = circuit_edges(inputs), inputs.nodes
    measured = np.flatnonzero(np.isin(nodes.layer, np.unique(nodes.layer[edges.target])))
    if not edges.size:
        return untested(
            NAME, TITLE,
            f"inequality of degrees was not measured: none of {inputs.edges.source.size:,} stored"
            f" effects is a {inputs.rule.name} edge",
            _NULL, _COLUMNS, edges=0,
        )  # fmt: skip
    rows, said = [], []
    for k, (name, degree, at) in enumerate(
        (
            ("out-degree", edges.out_degree, nodes.sources),
            ("in-degree", edges.in_degree, measured),
        )
    ):
        rng = np.random.default_rng([config.seed, 34, k])
        own = _rows(name, degree[at], nodes.firing_rate[at], nodes.layer[at], rng)
        rows += own
        said.append(_told(name, degree[at], own))
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    numbers = {
        "edges": edges.size,
        "draws": DRAWS,
        "measures": [
            {k: number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        ],
    }
    return Finding(NAME, TITLE, "; ".join(said), _NULL, frame, numbers, draw=draw)


def _rows(
    name: str,
    degree: np.ndarray,
    rate: np.ndarray,
    layer: np.ndarray,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    if degree.size < _FEWEST or not np.ptp(degree):
        return []
    value, count = np.unique(degree, return_counts=True)
    again = rng.multinomial(degree.size, count / degree.size, DRAWS)
    expected = expected_by_rate(degree, rate, layer)
    drawn = list(_measures(degrees_by_rate(expected, layer, DRAWS, rng)))
    null = np.concatenate(drawn) if drawn else np.zeros((0, 2))
    rows = []
    for k, (measure, function) in enumerate((("gini", gini), ("skewness", skewness))):
        drawn = function(value, again)
        low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975])
        found = beside(float(function(value, count)), null[np.isfinite(null[:, k]), k], "above")
        rows.append(_row(name, measure, degree.size, found, float(low), float(high)))
    return rows


def _measures(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Gini and skewness of every draw, (draws, 2) for each block."""
    for block in blocks:
        ordered = np.sort(block, axis=1)
        each = np.ones(block.shape, np.int64)
        yield np.stack([gini(ordered, each), skewness(ordered, each)], axis=1)


def _row(
    name: str, measure: str, features: int, found: Beside, low: float, high: float
) -> dict[str, object]:
    return {
        "degree": name,
        "measure": measure,
        "features": features,
        "low": low,
        "high": high,
        **found._asdict(),
    }


def _told(name: str, degree: np.ndarray, rows: list[dict[str, object]]) -> str:
    if not rows:
        kinds = np.unique(degree).size
        return (
            f"the {name}s of {degree.size:,} features have {kinds} distinct value"
            f"{'' if kinds == 1 else 's'}: no inequality to measure (at least {_FEWEST} features"
            " and 2 values are needed)"
        )
    told = []
    for i, row in enumerate(rows):
        null, words = "", "" if i else "by firing rate alone "
        if isinstance(row["null_mean"], float) and isinstance(row["p"], float):
            null = f" ({words}{row['null_mean']:.2f}, p = {row['p']:.2g})"
        told.append(
            f"{'Gini' if row['measure'] == 'gini' else 'skewness'} {row['observed']:.2f}{null}"
        )
    return f"{name}s of {degree.size:,} features: {', '.join(told)}"


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Gini coefficients with intervals, beside their null."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    used = cast("pd.DataFrame", frame[frame["measure"] == "gini"])
    y = np.arange(len(used))[::-1]
    value, low, high = (used[c].to_numpy(float) for c in ("observed", "low", "high"))
    ax.hlines(
        y, used["null_low"].astype(float), used["null_high"].astype(float),
        color=ORANGE, lw=6, alpha=0.6, label="firing rate alone, 95 %",
    )  # fmt: skip
    # a percentile interval of a skewed statistic need not contain it
    around = np.maximum(np.vstack([value - low, high - value]), 0)
    ax.errorbar(value, y, xerr=around, fmt="o", color=BLUE, ms=7, capsize=3, label="circuit")
    ax.set_yticks(y, used["degree"].tolist())
    ax.set(xlim=(0, 1), xlabel="Gini coefficient (0: all equal)", ylim=(-0.6, len(used) - 0.4))
    ax.legend(loc="best")
