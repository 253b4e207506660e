r"""Patterns of edges beside what degrees and firing rates give.

Numbers of convergent and divergent pairs follow from the degrees alone: no graph with the same
degrees has others. They are compared with edges that fall on features by their firing rate
(`scircuit.analysis.structure.rate_null`). Feed-forward loops and bi-fans are compared with graphs
in which every feature keeps its number of edges to and from every layer
(`scircuit.analysis.structure.rewiring`). There an edge keeps its source and its sign, so that
sources which mostly support keep doing so; the coherent share of feed-forward loops is compared
with theirs. An edge whose ablation lowers the target supports it: +1; a loop of such edges only is
coherent. (Milo et al., Science 298:824, 2002; Mangan and Alon, PNAS 100:11980, 2003.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.layered_edges import LayeredEdges, circuit_edges
from scircuit.analysis.structure.motif_counts import Motifs, count_motifs, pairs_of
from scircuit.analysis.structure.null_numbers import beside, draws_for, number
from scircuit.analysis.structure.rate_null import degrees_by_rate, expected_by_rate
from scircuit.analysis.structure.rewiring import Rewiring

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

NAME, TITLE = "motifs", "Patterns of edges"
REWIRED, BY_RATE = "same degrees", "firing rate"
_PATHS_COUNTED = 4_000_000_000  # paths of two edges in all random graphs together
_RATE_DRAWS = 199  # of degrees, which cost little
_FEWEST = 10  # edges
_COLUMNS = (
    *("motif", "null", "observed", "null_mean", "null_low", "null_high"),
    *("ratio", "z", "p", "draws"),
)


def motif_beside_null(
    edges: LayeredEdges, draws: int, rng: np.random.Generator
) -> tuple[Motifs, np.ndarray]:
    """Counts in the circuit, and in `draws` rewired graphs, (draws, 3)."""
    sign = np.where(edges.effect < 0, 1, -1)  # support is +1
    chain = Rewiring(edges, rng)
    null = [count_motifs(edges.source, chain.draw(), sign, edges.features) for _ in range(draws)]
    return count_motifs(edges.source, edges.target, sign, edges.features), np.array(null)


def motifs(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """Numbers of patterns in the circuit, each beside its null."""
    import pandas as pd

    edges = circuit_edges(inputs)
    paths = int(pairs_of(edges.in_degree)) + int((edges.in_degree * edges.out_degree).sum())
    draws = int(min(draws_for(edges.size), max(_PATHS_COUNTED // max(paths, 1), 39)))
    null = (
        f"{draws:,} graphs in which every feature keeps its number of edges to and from every"
        " layer; for convergence and divergence edges that fall on features by their firing rate,"
        f" {_RATE_DRAWS:,} times"
    )
    if edges.size < _FEWEST:
        return untested(
            NAME, TITLE,
            f"patterns were not counted in {edges.size} {inputs.rule.name} edges; at least"
            f" {_FEWEST} are needed",
            null, _COLUMNS, edges=edges.size,
        )  # fmt: skip
    found, drawn = motif_beside_null(edges, draws, np.random.default_rng([config.seed, 32]))
    rows = [
        _row("feed-forward loop", found.feed_forward, drawn[:, 0]),
        _coherent(found, drawn),
        _row("bi-fan", found.bi_fan, drawn[:, 2]),
        *_by_rate(inputs, edges, _RATE_DRAWS, np.random.default_rng([config.seed, 33])),
    ]
    frame = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    numbers = {
        "edges": edges.size,
        "draws": draws,
        "sources_that_are_targets": int(((edges.in_degree > 0) & (edges.out_degree > 0)).sum()),
        "motifs": [
            {k: number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        ],
    }
    return Finding(NAME, TITLE, _sentence(rows, numbers), null, frame, numbers, draw=draw)


def _row(name: str, observed: float, null: np.ndarray, kind: str = REWIRED) -> dict[str, object]:
    found = beside(observed, null)
    mean = found.null_mean
    return {
        "motif": name,
        "null": kind,
        "observed": found.observed,
        "null_mean": mean,
        "null_low": found.null_low,
        "null_high": found.null_high,
        "ratio": observed / mean if mean and found.observed is not None else None,
        "z": found.z,
        "p": found.p,
        "draws": int(null.size),
    }


def _coherent(found: Motifs, drawn: np.ndarray) -> dict[str, object]:
    """Share of the feed-forward loops that are coherent; only graphs that have loops count."""
    has = drawn[:, 0] > 0
    share = found.coherent / found.feed_forward if found.feed_forward else float("nan")
    return _row("coherent share", share, drawn[has, 1] / drawn[has, 0])


def _by_rate(
    inputs: CircuitInputs, edges: LayeredEdges, draws: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    nodes = inputs.nodes
    measured = np.isin(nodes.layer, np.unique(nodes.layer[edges.target]))
    rows = []
    for name, degree, at in (
        ("convergence", edges.in_degree, np.flatnonzero(measured)),
        ("divergence", edges.out_degree, nodes.sources),
    ):
        layer = nodes.layer[at]
        expected = expected_by_rate(degree[at], nodes.firing_rate[at], layer)
        drawn = [pairs_of(block) for block in degrees_by_rate(expected, layer, draws, rng)]
        rows.append(_row(name, int(pairs_of(degree[at])), np.concatenate(drawn), BY_RATE))
    return rows


def _sentence(rows: list[dict[str, object]], numbers: Mapping[str, object]) -> str:
    loops = bool(numbers["sources_that_are_targets"])
    parts = (
        []
        if loops
        else ["no feature is both a source and a target, so no feed-forward loop is possible"]
    )
    for kind, words in ((REWIRED, " with the same degrees"), (BY_RATE, " by firing rate alone")):
        told: list[str] = []
        for row in rows:
            if row["null"] == kind and (loops or row["motif"] != "feed-forward loop"):
                one = _told(row, "" if told else words)
                told += [one] if one else []
        parts += [", ".join(told)] if told else []
    return "; ".join(parts)


def _told(row: dict[str, object], words: str) -> str:
    """Observed, and in parentheses the mean of the null, `words` after it, and p."""
    observed, mean, p = (row[k] for k in ("observed", "null_mean", "p"))
    if not isinstance(observed, float) or not isinstance(mean, float) or not isinstance(p, float):
        return ""
    if row["motif"] == "coherent share":
        return f"{observed:.0%} of loops coherent ({mean:.0%}{words}, p = {p:.2g})"
    return f"{observed:,.0f} {_MANY[str(row['motif'])]} ({mean:,.0f}{words}, p = {p:.2g})"


_MANY = {
    "feed-forward loop": "feed-forward loops",
    "bi-fan": "bi-fans",
    "convergence": "pairs of edges into one target",
    "divergence": "out of one source",
}


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Every count over the mean of its null, with the middle 95 % of the null."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE, no_data

    known = frame["ratio"].astype(float).notna() & (frame["null_mean"].astype(float) > 0)
    used = cast("pd.DataFrame", frame[known])
    if not len(used):
        no_data(ax, "no pattern could be compared")
        return
    y = np.arange(len(used))[::-1]
    mean = used["null_mean"].to_numpy(float)
    low, high = used["null_low"].to_numpy(float) / mean, used["null_high"].to_numpy(float) / mean
    ax.hlines(y, low, high, color=ORANGE, lw=6, alpha=0.6, label="null, 95 %")
    ax.plot(used["ratio"].to_numpy(float), y, "o", color=BLUE, ms=7, label="circuit")
    ax.axvline(1, color=GREY, lw=1, ls=":")
    ax.set_yticks(y, [f"{m}\n({n})" for m, n in zip(used["motif"], used["null"], strict=True)])
    ax.set(xlabel="count / mean of the null", ylim=(-0.6, len(used) - 0.4))
    ax.legend(loc="best")
