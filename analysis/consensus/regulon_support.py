r"""Edges between genes that follow from the edges of runs, scored against known regulation.

An edge f -> g between features gives an edge from every top gene of f that is a transcription
factor of the regulons to every top gene of g that is one of their targets. Of these gene edges,

    fold = #{gene edges in the regulons} / mean of the same number in rewired graphs,

in which every regulator and every target keeps its number of gene edges (the configuration null).
It is given for each run, and for the gene edges that both runs have. The regulons take no part in
tracing, and the labels of features none in the gene edges, so the regulons are held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.coherence.edge_coherence import plain, share_as_large
from scircuit.analysis.coherence.pair_nulls import Trades
from scircuit.analysis.finding import Finding, untested

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from scipy import sparse

    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.analysis.genesets.regulons import Regulons

NAME, TITLE = "regulon_support", "Gene edges that runs agree on, against known regulation"
DRAWS, FEWEST, TOP_GENES = 1000, 10, 5
COLUMNS = (
    "gene_edges_of", "edges", "possible", "known", "expected", "low", "high", "fold", "p",
)  # fmt: skip


class Universe(NamedTuple):
    """Regulators and targets that all runs have among the top genes of their features."""

    regulators: tuple[str, ...]
    targets: tuple[str, ...]
    known: np.ndarray
    """Regulated pairs, bool (regulators, targets)."""


def gene_edges(run: ComparedRun, universe: Universe, top: int = TOP_GENES) -> sparse.csr_matrix:
    """Gene edges of a run, (regulators, targets); entries are the number of feature edges."""
    from scipy import sparse

    edges, size = run.edges, run.inputs.nodes.id.size
    graph = sparse.csr_matrix(
        (np.ones(edges.size, np.int32), (edges.source, edges.target)), shape=(size, size)
    )
    first = _lists(run, universe.regulators, top)
    second = _lists(run, universe.targets, top)
    return (first.T @ graph @ second).tocsr()


def _lists(run: ComparedRun, genes: Sequence[str], top: int) -> sparse.csr_matrix:
    from scipy import sparse

    number = {gene: i for i, gene in enumerate(genes)}
    pairs = [
        (i, number[gene])
        for i, address in enumerate(run.inputs.nodes.id)
        for gene in dict.fromkeys(g.upper() for g in run.inputs.genes.get(address, ())[:top])
        if gene in number
    ]
    row, column = np.array(pairs, np.int64).reshape(-1, 2).T
    shape = (run.inputs.nodes.id.size, len(genes))
    return sparse.csr_matrix((np.ones(row.size, np.int32), (row, column)), shape=shape)


def universe_of(runs: Sequence[ComparedRun], regulons: Regulons, top: int = TOP_GENES) -> Universe:
    """Regulators among the top genes of sources, and targets among those of targets, of all runs:
    so that runs are scored on the same pairs.
    """
    first, second = [], []
    for run in runs:
        ids, edges = run.inputs.nodes.id, run.edges
        for ends, into in ((edges.source, first), (edges.target, second)):
            into.append(
                {
                    g.upper()
                    for i in np.unique(ends)
                    for g in run.inputs.genes.get(str(ids[i]), ())[:top]
                }
            )
    regulators = sorted(set.intersection(*first) & regulons.tfs)
    targets = sorted(set.intersection(*second) & {p.target.upper() for p in regulons.pairs})
    at = {g: i for i, g in enumerate(regulators)}, {g: i for i, g in enumerate(targets)}
    known = np.zeros((len(regulators), len(targets)), bool)
    for pair in regulons.pairs:
        x, y = at[0].get(pair.tf.upper()), at[1].get(pair.target.upper())
        if x is not None and y is not None:
            known[x, y] = True
    return Universe(tuple(regulators), tuple(targets), known)


def support(
    edges: np.ndarray, known: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[int, float, np.ndarray]:
    """Known pairs among gene edges, their mean in rewired graphs, and every draw of it.

    Parameters
    ----------
    edges, known
        Bool (regulators, targets).
    draws, seed
        Of the rewiring.
    """
    row, column = np.nonzero(edges)
    found = np.zeros(draws, np.int64)
    if row.size:
        chain = Trades(row, column, np.random.default_rng([seed, 29]), edges.shape[1])
        for i in range(draws):
            found[i] = np.count_nonzero(known[row, chain.draw(5)])
    return int(np.count_nonzero(edges & known)), float(found.mean()), found


def regulon_support(
    runs: Sequence[ComparedRun],
    regulons: Regulons,
    *,
    top: int = TOP_GENES,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """Score the gene edges of two runs, and those of both, against regulons.

    Parameters
    ----------
    runs
        Two runs with top genes of their features.
    regulons
        Known regulation.
    top
        Genes per feature.
    draws, seed
        Of the rewiring.
    """
    import pandas as pd

    universe = universe_of(runs, regulons, top)
    known = int(universe.known.sum())
    null = (
        f"{draws:,} graphs of genes with the same number of edges of every regulator and target,"
        f" among {len(universe.regulators):,} regulators and {len(universe.targets):,} targets of"
        f" {regulons.name} that are top genes in both runs"
    )
    if not known:
        return untested(
            NAME,
            TITLE,
            f"gene edges were not scored: none of the {len(regulons.pairs):,} pairs of"
            f" {regulons.name} has its regulator among the top {top} genes of sources and its"
            " target among those of targets in both runs",
            columns=COLUMNS,
            draws=0,
            regulons=regulons.name,
        )
    graphs = {run.run: gene_edges(run, universe, top).toarray() > 0 for run in runs}
    graphs["both"] = np.logical_and.reduce(list(graphs.values()))
    rows = []
    for name, graph in graphs.items():
        observed, expected, drawn = support(graph, universe.known, draws=draws, seed=seed)
        low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
        testable = int(graph.sum()) >= FEWEST and expected > 0
        fold = observed / expected if testable else None
        p = share_as_large(drawn, observed) if testable else None
        rows.append((name, int(graph.sum()), graph.size, observed, expected, low, high, fold, p))
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return Finding(
        NAME,
        TITLE,
        _sentence(frame, regulons.name),
        null,
        frame,
        {
            "draws": draws,
            "regulons": regulons.name,
            "known_pairs": known,
            "top_genes": top,
            "graphs": [{k: plain(v) for k, v in r.items()} for r in frame.to_dict("records")],
        },
        draw=draw,
    )


def _sentence(frame: pd.DataFrame, regulons: str) -> str:
    parts = []
    for i, r in enumerate(frame.to_dict("records")):
        of = "both runs" if r["gene_edges_of"] == "both" else str(r["gene_edges_of"])
        if plain(r["fold"]) is None:
            parts.append(f"of {of} too few to test ({r['edges']:,} gene edges)")
            continue
        beside = f"{r['fold']:.2g} times rewired ones, p = {r['p']:.2g}"
        parts.append(
            f"{regulons} has {r['known']:,} of {r['edges']:,} gene edges of {of} ({beside})"
            if i == 0
            else f"{r['known']:,} of {r['edges']:,} of {of} ({beside})"
        )
    return "; ".join(parts)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Fold enrichment of each run's gene edges, and of those of both."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    rows = frame[frame["fold"].notna()]
    at = np.arange(len(rows))
    ax.bar(at, rows["fold"].astype(float), color=BLUE, width=0.6)
    low, high = (rows[c] / rows["expected"] for c in ("low", "high"))
    ax.vlines(at, low, high, color=ORANGE, lw=6, alpha=0.6, label="edges rewired")
    ax.axhline(1, color=ORANGE, lw=1)
    ax.set_xticks(at, [str(n) for n in rows["gene_edges_of"]])
    ax.set_ylabel("known regulation among gene edges, fold")
    ax.legend()
