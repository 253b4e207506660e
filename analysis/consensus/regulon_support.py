r"""Edges between genes that follow from the edges of runs, scored against known regulation.

An edge f -> g between features gives an edge from every top gene of f that is a transcription
factor of the regulons to every top gene of g that is one of their targets. Of these gene edges,

    fold = #{gene edges in the regulons} / mean of the same number in rewired graphs of genes,

in which every regulator and every target keeps its number of gene edges (the configuration null of
gene edges; published bars are stated with it). It is given for each run, and for the gene edges
that both runs have. One feature edge makes many gene edges at once, so this null is too narrow for
a test. The test rewires the feature edges (`scircuit.analysis.consensus.rewired_genes`):

    p = (1 + draws in which at least this share of the gene edges is in the regulons) / (1 + draws);

for the gene edges of both runs those of each run are rewired. The regulons take no part in tracing,
and the labels of features none in the gene edges, so the regulons are held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.coherence.edge_coherence import plain, share_as_large
from scircuit.analysis.coherence.pair_nulls import Trades
from scircuit.analysis.consensus.rewired_genes import GeneLists, rewired_genes
from scircuit.analysis.finding import Finding, untested

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from scipy import sparse

    from scircuit.analysis.consensus.compared_run import ComparedRun
    from scircuit.analysis.genesets.regulons import Regulons

NAME, TITLE = "regulon_support", "Gene edges that runs agree on, against known regulation"
DRAWS, FEWEST, TOP_GENES = 1000, 10, 5
_CONFIGURATION = 200
FEWEST_KNOWN = 5
"""Known gene edges of two rewired runs below which what they share is too coarse a null."""
COLUMNS = (
    "gene_edges_of", "edges", "possible", "known", "expected", "fold", "rewired", "low", "high",
    "p",
)  # fmt: skip


class Universe(NamedTuple):
    """Regulators and targets that all runs have among the top genes of their features."""

    regulators: tuple[str, ...]
    targets: tuple[str, ...]
    known: np.ndarray
    """Regulated pairs, bool (regulators, targets)."""


def gene_lists(run: ComparedRun, universe: Universe, top: int = TOP_GENES) -> GeneLists:
    """Feature edges of a run and the genes of the universe that its features list."""
    of_source, of_target = (
        _lists(run, genes, top) for genes in (universe.regulators, universe.targets)
    )
    return GeneLists(run.edges, of_source, of_target)


def gene_edges(lists: GeneLists) -> sparse.csr_matrix:
    """Gene edges of a run, (regulators, targets); entries are the number of feature edges."""
    from scipy import sparse

    edges, size = lists.edges, lists.edges.features
    graph = sparse.csr_matrix(
        (np.ones(edges.size, np.int32), (edges.source, edges.target)), shape=(size, size)
    )
    return (lists.regulators.T @ graph @ lists.targets).tocsr()


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
    """Known pairs among gene edges, their mean in rewired graphs of genes (the configuration null
    of gene edges), and every draw of it.

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
        f"{draws:,} draws each, among {len(universe.regulators):,} regulators and"
        f" {len(universe.targets):,} targets of {regulons.name} that are top genes in both runs:"
        " fold by gene edges that are dealt one by one, every regulator and target with as many;"
        " p by feature edges rewired within each pair of layers, all degrees kept, as one of them"
        " makes many gene edges at once"
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
    lists = [gene_lists(run, universe, top) for run in runs]
    graphs = {r.run: gene_edges(x).toarray() > 0 for r, x in zip(runs, lists, strict=True)}
    graphs["both"] = np.logical_and.reduce(list(graphs.values()))
    counted = rewired_genes(lists, universe.known, draws=draws, seed=seed)
    rows = []
    for i, (name, graph) in enumerate(graphs.items()):
        few = min(draws, _CONFIGURATION)  # of its draws only the mean is used
        observed, expected, _ = support(graph, universe.known, draws=few, seed=seed)
        edges, known_drawn = counted[1:, i].T
        size = int(graph.sum())
        share = known_drawn / np.maximum(edges, 1)
        fold = observed / expected if size >= FEWEST and expected > 0 else None
        enough = name != "both" or known_drawn.mean() >= FEWEST_KNOWN
        p = share_as_large(share, observed / size) if fold is not None and enough else None
        low, high = (float(v) * size for v in np.quantile(share, [0.025, 0.975]))
        rows.append(
            (
                name, size, graph.size, observed, expected, fold,
                float(share.mean()) * size, low, high, p,
            )
        )  # fmt: skip
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
        tested = (
            f"p = {r['p']:.2g}"
            if plain(r["p"]) is not None
            else "no p: rewired runs share too few known ones"
        )
        times, known = f"{r['fold']:.2g} times", f"{r['known']:,} of {r['edges']:,}"
        rewired = f"{r['rewired']:,.3g}"
        parts.append(
            f"{regulons} has {known} gene edges of {of} ({times} gene edges dealt one by one;"
            f" rewired feature edges give {rewired}, {tested})"
            if i == 0
            else f"{known} of {of} ({times}; {rewired}, {tested})"
        )
    return "; ".join(parts)


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all
    """Fold enrichment of each run's gene edges, and of those of both."""
    from scircuit.analysis.plot_style import BLUE, ORANGE

    rows = frame[frame["fold"].notna()]
    at = np.arange(len(rows))
    ax.bar(at, rows["fold"].astype(float), color=BLUE, width=0.6)
    low, high = (rows[c] / rows["expected"] for c in ("low", "high"))
    ax.vlines(at, low, high, color=ORANGE, lw=6, alpha=0.6, label="feature edges rewired")
    ax.axhline(1, color=ORANGE, lw=1)
    ax.set_xticks(at, [str(n) for n in rows["gene_edges_of"]])
    ax.set_ylabel("known regulation, fold of gene edges dealt one by one")
    ax.legend()
