r"""PageRank of features, beside that of rewired graphs.

With M[c, a] = 1 / out-degree(a) for an edge a -> c and a damping of 0.85,

    x = sum over k of (0.85 M)^k 1,        PageRank = x / sum(x) .

Edges run to later layers only, so that the sum ends with the deepest path and is exact. It is the
PageRank in which features without edges out jump to any feature (Page et al. 1999): these jumps
scale all features alike.

That edges run forward puts late features above early ones, and the in-degree does most of the rest.
So PageRank stands beside that of graphs with the same degrees for every pair of layers
(`scircuit.analysis.structure.rewiring`): what is beyond them depends on which features a feature's
sources are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from scircuit.analysis.finding import Finding, untested
from scircuit.analysis.structure.layered_edges import LayeredEdges, circuit_edges
from scircuit.analysis.structure.null_numbers import beside, draws_for, number
from scircuit.analysis.structure.rank_stability import correlation
from scircuit.analysis.structure.rewiring import Rewiring

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

    from scircuit.analysis.circuit_inputs import CircuitInputs
    from scircuit.core.config import AnalyseConfig

DAMPING = 0.85
NAME, TITLE = "page_rank", "Order of the features"
_TOP = 20
_COLUMNS = (
    *("id", "layer", "in_degree", "pagerank", "null_mean", "null_sd"),
    *("z", "p", "q"),
)


class PageRank(NamedTuple):
    """PageRank of the features with an edge in, beside rewired graphs; arrays (targets,).

    p counts graphs that give a feature at least its PageRank. q is that of all features together
    (`pooled_q`), NaN where the PageRank cannot vary.
    """

    feature: np.ndarray
    value: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    p: np.ndarray
    q: np.ndarray
    null_rho: np.ndarray
    kept: float


def page_rank(
    source: np.ndarray, target: np.ndarray, features: int, damping: float = DAMPING
) -> np.ndarray:
    """PageRank of a graph whose paths end, (features,), with the sum 1.

    Parameters
    ----------
    source, target
        Positions of the features, (edges,); no path comes back to where it was.
    features
        Number of features.
    damping
        Share of the walks that follow an edge.

    Raises
    ------
    ValueError
        If a path comes back.
    """
    out = np.maximum(np.bincount(source, minlength=features), 1)
    walks, total = np.ones(features), np.ones(features)
    for _ in range(features + 1):
        share = damping * walks / out
        walks = np.bincount(target, weights=share[source], minlength=features)
        if not walks.any():
            return total / total.sum()
        total += walks
    raise ValueError("the edges have a cycle; those of a circuit run to later layers only")


def rank_beside_null(edges: LayeredEdges, draws: int, rng: np.random.Generator) -> PageRank:
    """PageRank of the circuit and of `draws` rewired graphs."""
    from scipy.stats import rankdata

    value = page_rank(edges.source, edges.target, edges.features)
    into = edges.in_degree
    at = np.flatnonzero(into)
    value, degree = value[at], rankdata(into[at])
    away = np.zeros((draws, at.size), np.float32)  # small, so that their squares lose no digits
    hits = np.zeros(at.size, np.int64)
    rho, kept, chain = np.zeros(draws), 0.0, Rewiring(edges, rng)
    for i in range(draws):
        target = chain.draw()
        drawn = page_rank(edges.source, target, edges.features)[at]
        kept += float((target == edges.target).mean()) / draws
        away[i] = drawn - value
        hits += drawn >= value * (1 - 1e-12)
        rho[i] = correlation(degree, rankdata(drawn))
    mean, sd = away.mean(0, dtype=float), away.std(0, dtype=float, ddof=min(1, draws - 1))
    sd[sd < 1e-6 * value] = 0.0  # sums in another order
    p = (1 + hits) / (1 + draws)
    return PageRank(at, value, value + mean, sd, p, pooled_q(away, sd > 0), rho, kept)


def pooled_q(away: np.ndarray, varies: np.ndarray) -> np.ndarray:
    """False discovery rate of features, from the null values of all of them together.

    A single feature's p cannot be below 1 / (1 + draws), too much for so many features. So values
    are standardised, over the graphs and the circuit itself,

        z = (value - mean) / (sd + median of all sd) ,

    and a feature's q is the mean number of features of a graph that are as far out, over the number
    in the circuit,

        q(z) = (1 + features of all graphs with z' >= z) / ((1 + draws) features of the circuit)

    and the smallest over all lower z (Tusher et al., PNAS 98:5116, 2001, one-sided). For the
    feature that is farthest out this is a p of the largest value. Without the median, features of
    few edges that are high in one graph of a hundred would hide all others.

    Parameters
    ----------
    away
        Differences of each graph's value from the circuit's, (draws, features).
    varies
        Which features have a null that varies, (features,).

    Returns
    -------
    np.ndarray
        (features,), NaN where the null does not vary.
    """
    q = np.full(varies.size, np.nan)
    own = np.flatnonzero(varies)
    if not own.size:
        return q
    draws = len(away)
    mean = away[:, own].sum(0, dtype=float) / (1 + draws)  # the circuit's own difference is 0
    square = np.einsum("df,df->f", away[:, own], away[:, own], dtype=float) / (1 + draws)
    sd = np.sqrt(np.maximum(square - mean**2, 0.0))
    sd = np.maximum(sd + np.median(sd), 1e-300)
    z = -mean / sd
    order = np.argsort(-z, kind="stable")
    steps = -z[order]  # ascending
    beyond = np.zeros(own.size, np.int64)
    for row in away:
        null = np.sort((mean - row[own]) / sd)
        beyond += np.searchsorted(null, steps + 1e-7, side="right")
    rejected = np.searchsorted(steps, steps, side="right")  # ties together
    rate = np.minimum((1 + beyond) / ((1 + draws) * rejected), 1.0)
    q[own[order]] = np.minimum.accumulate(rate[::-1])[::-1]
    return q


def feature_order(inputs: CircuitInputs, config: AnalyseConfig) -> Finding:
    """PageRank of every feature with an edge in, and what layers and degrees alone give."""
    import pandas as pd
    from scipy.stats import rankdata

    edges, layer = circuit_edges(inputs), inputs.nodes.layer
    draws = draws_for(edges.size)
    null = _null(draws)
    targets = np.unique(edges.target).size
    if targets < 2:
        return untested(
            NAME, TITLE,
            f"PageRank was not compared: {edges.size} {inputs.rule.name} edges run into {targets}"
            " features, and at least 2 are needed",
            null, _COLUMNS, edges=edges.size,
        )  # fmt: skip
    found = rank_beside_null(edges, draws, np.random.default_rng([config.seed, 31]))
    varies = found.sd > 0
    z = np.full(found.value.size, np.nan)
    z[varies] = (found.value - found.mean)[varies] / found.sd[varies]
    p, q = np.where(varies, found.p, np.nan), found.q
    frame = pd.DataFrame(
        {
            "id": inputs.nodes.id[found.feature],
            "layer": layer[found.feature],
            "in_degree": edges.in_degree[found.feature],
            "pagerank": found.value,
            "null_mean": found.mean,
            "null_sd": found.sd,
            "z": z,
            "p": p,
            "q": q,
        }
    ).sort_values(["pagerank", "id"], ascending=[False, True], ignore_index=True)
    order = beside(
        correlation(rankdata(edges.in_degree[found.feature]), rankdata(found.value)),
        found.null_rho,
        "below",
    )
    top = min(_TOP, targets)
    same = len(
        set(frame["id"][:top])
        & set(frame.sort_values(["null_mean", "id"], ascending=[False, True])["id"][:top])
    )
    above, small = int((q <= config.q).sum()), int((p <= 0.05).sum())
    numbers = {
        "edges": edges.size,
        "backward_edges": int((layer[edges.target] <= layer[edges.source]).sum()),
        "targets": targets,
        "testable": int(varies.sum()),
        "above_null": above,
        "p_005": small,
        "top": top,
        "top_by_null": same,
        "in_degree_rho": order._asdict(),
        "null_mean_rho": number(correlation(rankdata(found.mean), rankdata(found.value))),
        "edges_kept_by_rewiring": found.kept,
        "draws": draws,
        "layers": _layers(frame),
    }
    return Finding(
        NAME, TITLE, _sentence(numbers, config.q), null, frame, numbers,
        {"Feature": _records(frame)}, draw=draw)  # fmt: skip


def _null(draws: int) -> str:
    return (
        f"{draws:,} graphs in which every feature keeps its number of edges to and from every"
        " layer; p of a feature counts graphs that give it a PageRank at least as high; edges run"
        " to later layers by construction, so that order says nothing by itself"
    )


def _sentence(numbers: Mapping[str, object], q: float) -> str:
    testable = int(str(numbers["testable"]))
    start = (
        f"of the {numbers['top']} features with the highest PageRank, {numbers['top_by_null']} are"
        " also the highest in graphs with the same degrees"
    )
    if not testable:
        return f"{start}, and no feature's PageRank can differ from theirs"
    layers = cast("list[dict[str, float]]", numbers["layers"])
    apart = max(abs(row["share"] - row["null_share"]) for row in layers)
    return (
        f"{start}; each layer's share of it is theirs within {apart:.1%};"
        f" {numbers['above_null']} of {testable:,} features are above at q"
        f" <= {q:g}, {numbers['p_005']:,} at p <= 0.05 (by chance {0.05 * testable:,.0f} at most)"
    )


def _layers(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Share of the PageRank of all targets in every layer, beside that of rewired graphs."""
    sums = frame.groupby("layer", sort=True)[["pagerank", "null_mean"]].sum()
    sums /= sums.sum()
    return [
        {"layer": int(str(layer)), "share": float(row.iloc[0]), "null_share": float(row.iloc[1])}
        for layer, row in sums.iterrows()
    ]


def _records(frame: pd.DataFrame) -> pa.Table:
    from scircuit.core.schema import schema_table

    def known(name: str) -> list[object]:
        return [None if v != v else v for v in frame[name].tolist()]

    return schema_table(
        "Feature",
        {
            "id": frame["id"].tolist(),
            "pagerank": frame["pagerank"].tolist(),
            "pagerank_expected": frame["null_mean"].tolist(),
            "pagerank_p": known("p"),
            "pagerank_q": known("q"),
        },
    )


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:
    """PageRank of every feature against its mean in rewired graphs."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

    out = frame["q"].to_numpy(float) <= 0.05
    x, y = frame["null_mean"].to_numpy(float), frame["pagerank"].to_numpy(float)
    ax.loglog(x[~out], y[~out], "o", ms=3, color=BLUE, mec="none", alpha=0.5, label="features")
    if out.any():
        ax.loglog(x[out], y[out], "o", ms=4.5, color=ORANGE, mec="none", label="q ≤ 0.05")
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    ax.loglog(ends, ends, color=GREY, lw=1, ls=":")
    ax.set(
        xlabel=f"PageRank in graphs with the same degrees (mean of {numbers['draws']})",
        ylabel="PageRank",
    )
    ax.legend(loc="upper left")
