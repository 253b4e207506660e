r"""Are hubs hubs in other cells: degrees in two halves of the cells.

A trace run measures a sample of its sources in the even and in the odd cells alone, and counts
effects with p <= 0.01 in each; these degrees are independent measurements
(`scircuit.analysis.structure.rank_stability`). For all other sources only the edges are known in
which both halves agree. Edges were chosen on all cells, so their number follows the degree anyway:
it stands beside what is left of the same degrees when every testable edge is kept with the same
probability (binomial).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.null_numbers import beside
from scircuit.analysis.structure.rank_stability import correlation, rank_stability

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

NAME, TITLE = "hub_stability", "Hubs in halves of the cells"
DRAWS = 499
_NULL = (
    "permuted sources for the degrees of the halves; for the edges in which both halves agree,"
    f" every testable edge kept with the probability of all ({DRAWS:,} draws)"
)
_COLUMNS = (
    *("id", "layer", "firing_rate", "even", "odd"),
    *("edges", "testable", "agree", "agree_expected"),
)


def hub_stability(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """Degrees in two halves of the cells, source by source."""
    import pandas as pd

    nodes, circuit, at = inputs.nodes, inputs.circuit, inputs.nodes.sources
    size = nodes.id.size
    known = np.isfinite(circuit.halves)
    out, testable, agree = (
        np.bincount(circuit.source[mask], minlength=size)[at]
        for mask in (np.ones(known.size, bool), known, known & (circuit.halves >= 2))
    )
    even, odd = np.full((2, at.size), np.nan)
    if inputs.half_degrees is not None:
        even, odd = inputs.half_degrees[:, at]
    measured = np.isfinite(even) & np.isfinite(odd)
    if not measured.any() and not testable.any():
        return untested(
            NAME, TITLE,
            f"hubs were not compared between halves of the cells: none of {at.size:,} sources was"
            f" measured in both, and none of {circuit.source.size:,} edges has six cells with an"
            " effect in both",
            _NULL, _COLUMNS, sources=int(at.size), edges=int(circuit.source.size),
        )  # fmt: skip
    share = agree.sum() / max(testable.sum(), 1)
    frame = pd.DataFrame(
        {
            "id": nodes.id[at],
            "layer": nodes.layer[at],
            "firing_rate": nodes.firing_rate[at],
            "even": even,
            "odd": odd,
            "edges": out,
            "testable": testable,
            "agree": agree,
            "agree_expected": testable * share,
        }
    ).sort_values(["edges", "id"], ascending=[False, True], ignore_index=True)
    halves = rank_stability(
        even, odd, firing_rate=nodes.firing_rate[at], hubs=config.hubs, seed=config.seed
    )
    thinned = _thinned(out, testable, agree, np.random.default_rng([config.seed, 38]))
    numbers = {
        "sources": int(at.size),
        "edges": int(out.sum()),
        "halves": halves._asdict(),
        "testable_edges": int(testable.sum()),
        "agreeing_edges": int(agree.sum()),
        "agreement_rho": thinned,
    }
    return Finding(
        NAME,
        TITLE,
        _sentence(halves.sentence, numbers),
        _NULL,
        frame,
        numbers,
        {"Feature": _records(frame)},
        draw=draw,
    )


def _records(frame: pd.DataFrame) -> pa.Table:
    """Degrees in the halves of the cells, and the edges that both can test, of every source."""
    from scircuit.core.schema import schema_table

    halves = {
        f"{half}_degree": [int(v) if np.isfinite(v) else None for v in frame[half].to_numpy(float)]
        for half in ("even", "odd")
    }
    columns = {
        "id": frame["id"].tolist(),
        **halves,
        "testable_edges": frame["testable"].tolist(),
        "agreeing_edges": frame["agree"].tolist(),
    }
    return schema_table("Feature", columns)


def _thinned(
    out: np.ndarray, testable: np.ndarray, agree: np.ndarray, rng: np.random.Generator
) -> dict[str, object]:
    """Rank correlation of degrees with edges in which the halves agree, beside that with random
    ones of the testable edges.
    """
    from scipy.stats import rankdata

    def rho(kept: np.ndarray) -> float:
        if kept.size < 3 or not np.ptp(kept) or not np.ptp(out):
            return float("nan")
        return correlation(ranks, rankdata(kept))

    ranks, share = rankdata(out), agree.sum() / max(testable.sum(), 1)
    null = np.array(
        [rho(rng.binomial(testable, share)) for _ in range(DRAWS if np.isfinite(rho(agree)) else 0)]
    )
    return dict(beside(rho(agree), null[np.isfinite(null)], "below")._asdict())


def _sentence(halves: str, numbers: Mapping[str, object]) -> str:
    measured = numbers["halves"]
    assert isinstance(measured, dict)
    parts = []
    if measured["features"]:
        parts.append(f"between the halves of the cells {halves}")
    else:
        parts.append("no source was measured in the halves of the cells alone")
    rho = numbers["agreement_rho"]
    assert isinstance(rho, dict)
    if rho["observed"] is not None and rho["null_mean"] is not None:
        parts.append(
            f"degrees by edges in which the halves agree correlate {rho['observed']:.2f} with all"
            f" degrees (as many random edges {rho['null_mean']:.2f}, p = {rho['p']:.2g})"
        )
    elif not numbers["testable_edges"]:
        parts.append("no edge has six cells with an effect in both halves")
    return "; ".join(parts)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001
    """Degree in the odd cells against that in the even ones; else agreeing edges against edges."""
    from scircuit.analysis.plot_style import BLUE, GREY

    used = cast("pd.DataFrame", frame[frame["even"].notna() & frame["odd"].notna()])
    if len(used):
        x, y = used["even"].to_numpy(float), used["odd"].to_numpy(float)
        names = ("effects in the even cells (p ≤ 0.01)", "effects in the odd cells (p ≤ 0.01)")
    else:
        x, y = frame["agree_expected"].to_numpy(float), frame["agree"].to_numpy(float)
        names = ("edges expected to agree", "edges in which both halves agree")
    ax.plot(x, y, "o", ms=4, color=BLUE, mec="none", alpha=0.6)
    top = max(float(x.max()), float(y.max()), 1.0)
    ax.plot([0, top], [0, top], ":", color=GREY, lw=1)
    ax.set(xlabel=names[0], ylabel=names[1])
