r"""Edges that another run has too, feature by feature.

A counterpart of a feature f of run A is a feature of run B that fires on the same genes
(``scircuit match``), or, where both runs have one dictionary, f itself. An edge f -> g of A is
*agreed* if some counterpart of f has an edge to some counterpart of g in B,

    agreed(f, g)  =  [ M E_B M^T ](f, g) > 0,      M: counterparts, E_B: edges of B,

and can be judged if f has a counterpart that was ablated in B and g has one that was measured. The
nulls are those of `scircuit.analysis.coherence.pair_nulls`, over the edges of A that can be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.coherence.edge_coherence import plain, share_as_large
from scircuit.analysis.coherence.pair_nulls import PairNulls, kept, pair_nulls
from scircuit.analysis.coherence.strata import strata
from scircuit.analysis.finding import Finding, untested

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from scipy import sparse

    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.analysis.structure.layered_edges import LayeredEdges

NAME, TITLE = "agreed_edges", "Edges whose counterparts are edges in the other run"
DRAWS, FEWEST = 1000, 10
COLUMNS = (
    "run", "other", "source_layer", "target_layer", "edges", "agreed", "observed", "expected",
    "expected_low", "expected_high", "rewired", "fold", "p", "p_rewired",
)  # fmt: skip


class Agreement(NamedTuple):
    """Edges of one run against another.

    Parameters
    ----------
    edges
        Those that can be judged.
    agreed
        Which of them the other run has, bool (edges,).
    nulls
        Their number under both nulls.
    """

    run: str
    other: str
    edges: LayeredEdges
    agreed: np.ndarray
    nulls: PairNulls


def agreement(
    a: ComparedRun,
    b: ComparedRun,
    counterparts: sparse.csr_matrix,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Agreement | None:
    """Edges of `a` that `b` has too; None where fewer than ten can be judged.

    Parameters
    ----------
    a, b
        The runs.
    counterparts
        Pairs of features that are counterparts, (features of a, features of b).
    draws, seed
        Of the nulls.
    """
    from scipy import sparse

    edges, other = a.edges, b.edges
    ablated, measured = b.inputs.nodes.traced, measured_in(b)
    has_source = np.asarray(counterparts[:, ablated].sum(1)).ravel() > 0
    number = np.asarray(counterparts[:, measured].sum(1)).ravel()
    edges = kept(edges, has_source[edges.source] & (number[edges.target] > 0))
    if edges.size < FEWEST:
        return None
    size = b.inputs.nodes.id.size
    graph = sparse.csr_matrix(
        (np.ones(other.size, np.int32), (other.source, other.target)), shape=(size, size)
    )
    through = sparse.csr_matrix(counterparts @ graph)
    back = counterparts.T.tocsc()

    def properties(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return ((through[sources] @ back[:, targets]).toarray() > 0).astype(np.uint8)

    rate = a.inputs.nodes.firing_rate
    stratum = strata(edges.layer, number.astype(np.int64), rate, number > 0)
    nulls = pair_nulls(edges, stratum, properties, draws=draws, seed=seed)
    agreed = np.zeros(edges.size, bool)
    for first, last in zip(edges.start[:-1], edges.start[1:], strict=True):
        rows, row = np.unique(edges.source[first:last], return_inverse=True)
        columns, column = np.unique(edges.target[first:last], return_inverse=True)
        agreed[first:last] = properties(rows, columns)[row, column] > 0
    return Agreement(a.run, b.run, edges, agreed, nulls)


def measured_in(run: ComparedRun) -> np.ndarray:
    """Features that can be a target in a run: they fire in its cells, or are one; bool
    (features,).
    """
    found = run.inputs.nodes.scale > 0
    found[run.inputs.edges.target] = True
    return found


def agreed_edges(
    a: ComparedRun,
    b: ComparedRun,
    counterparts: sparse.csr_matrix,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Finding, tuple[Agreement, ...]]:
    """Agreement in both directions; parameters as `agreement`."""
    import pandas as pd

    found = (
        agreement(a, b, counterparts, draws=draws, seed=seed),
        agreement(b, a, counterparts.T.tocsr(), draws=draws, seed=seed),
    )
    usable = tuple(f for f in found if f is not None)
    if not usable:
        pairs = int(counterparts.nnz)
        finding = untested(
            NAME,
            TITLE,
            f"edges were not compared feature by feature: of {a.edges.size:,} and"
            f" {b.edges.size:,} edges fewer than {FEWEST} have counterparts at both ends"
            f" ({pairs:,} pairs of features are counterparts)",
            columns=COLUMNS,
            draws=0,
            counterparts=pairs,
        )
        return finding, ()
    frame = pd.concat([_frame(f) for f in usable], ignore_index=True)
    return (
        Finding(
            NAME,
            TITLE,
            _sentence(frame),
            f"{draws:,} draws each, over the edges of one run while the other stays: targets"
            " resampled within layer, number of counterparts and firing rate, and edges rewired"
            " within each pair of layers",
            frame,
            {
                "draws": draws,
                "counterparts": int(counterparts.nnz),
                "runs": [
                    {k: plain(v) for k, v in row.items() if "layer" not in k}
                    for row in frame.loc[frame["source_layer"].isna()].to_dict("records")
                ],
            },
            draw=draw,
        ),
        usable,
    )


def _frame(found: Agreement) -> pd.DataFrame:
    import pandas as pd

    nulls = found.nulls
    rows = [_row(found, None, None, found.edges.size, *nulls.total(0))]
    for g, layers in enumerate(nulls.layers):
        n = int(nulls.edges[g])
        values = (nulls.observed[g, 0], nulls.expected[g, 0])
        rows.append(
            _row(found, *layers, n, *values, nulls.resampled[:, g, 0], nulls.rewired[:, g, 0])
        )
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return frame.astype({"source_layer": "Int64", "target_layer": "Int64"})


def _row(
    found: Agreement,
    source: int | None,
    target: int | None,
    n: int,
    agreed: int,
    expected: float,
    resampled: np.ndarray,
    rewired: np.ndarray,
) -> tuple[object, ...]:
    low, high = (float(v) / n for v in np.quantile(resampled, [0.025, 0.975]))
    return (
        found.run,
        found.other,
        source,
        target,
        n,
        int(agreed),
        agreed / n,
        expected / n,
        low,
        high,
        float(rewired.mean()) / n,
        agreed / expected if expected > 0 else None,
        share_as_large(resampled, agreed),
        share_as_large(rewired, agreed),
    )


def _sentence(frame: pd.DataFrame) -> str:
    parts = []
    for i, r in enumerate(frame.loc[frame["source_layer"].isna()].to_dict("records")):
        what = f"edges of {r['run']} with counterparts at both ends are edges" if i == 0 else ""
        parts.append(
            f"{r['observed']:.1%} of {r['edges']:,} {what or 'of ' + str(r['run'])} in {r['other']}"
            f" (targets resampled {r['expected']:.1%}, p = {r['p']:.2g}; rewired"
            f" {r['rewired']:.1%}, p = {r['p_rewired']:.2g})"
        )
    return ", and ".join(parts)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Share of agreed edges of each run beside its nulls."""
    from scircuit.analysis.plot_style import BLUE, GREY, ORANGE

    rows = frame[frame["source_layer"].isna()]
    at = np.arange(len(rows))
    ax.vlines(at, rows["expected_low"], rows["expected_high"], color=ORANGE, lw=6, alpha=0.4)
    ax.plot(at, rows["expected"], "_", color=ORANGE, ms=12, label="targets resampled")
    ax.plot(at, rows["rewired"], "x", color=GREY, label="edges rewired")
    ax.plot(at, rows["observed"], "o", color=BLUE, label="edges")
    ax.set_xticks(at, [str(r) for r in rows["run"]])
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("share of edges that the other run has")
    ax.legend()
