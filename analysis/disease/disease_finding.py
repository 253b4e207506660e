"""Disease gene sets in a circuit, as a finding and as properties of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy import sparse

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.circuits.hubs import fit_hubs
from scircuit.analysis.disease.disease_tests import (
    LEAST_FEATURES,
    LINK_DRAWS,
    DiseaseCircuit,
    Members,
    disease_tests,
    enriched_features,
)
from scircuit.analysis.enrichment.gene_term_matrix import Incidence, build
from scircuit.analysis.finding import Finding
from scircuit.analysis.gene_predictions.gene_weights import gene_weights
from scircuit.analysis.genesets.library import GeneSetLibrary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

NAME = "disease"
_MAX_SIZE = 10**9


def disease_finding(
    inputs: CircuitInputs,
    libraries: Sequence[GeneSetLibrary],
    *,
    top: int = 10,
    min_set: int = 5,
    alpha: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> Finding:
    """Where the features of disease gene sets sit.

    Parameters
    ----------
    inputs
        The circuit, with genes.
    libraries
        Disease gene sets, of symbols.
    top
        Genes of each feature.
    min_set
        Fewest genes of a set among the features' genes.
    alpha
        Largest q, of enrichment and of both questions.

    Raises
    ------
    UserError
        If no gene of a library is among the genes of the features.
    """
    nodes = inputs.nodes
    weights = gene_weights(nodes.id.tolist(), inputs.genes, top)
    incidence = sets_among(libraries, weights.genes, min_set)
    given = sum(len(x.terms) for x in libraries)
    if not incidence.terms:
        sentence = (
            f"none of the {given} disease sets has {min_set} genes or more among the"
            f" {len(weights.genes):,} genes of the features, so nothing was tested"
        )
        return Finding(
            NAME, _TITLE, sentence, "no null was drawn", _no_rows(),
            {"sets": given, "sets_tested": 0}, _records(inputs, incidence, _none()),
            draw=draw)  # fmt: skip
    circuit = inputs.circuit
    residual = np.full(nodes.id.size, np.nan)
    at = nodes.sources
    out = np.bincount(circuit.source, minlength=nodes.id.size)[at]
    residual[at] = fit_hubs(out, nodes.firing_rate[at]).residual
    read = DiseaseCircuit(
        sparse.csr_matrix(weights.member.astype(np.int32)),
        incidence,
        circuit.source,
        circuit.target,
        nodes.layer,
        nodes.firing_rate,
        residual,
    )
    members = enriched_features(read.lists, incidence, alpha, seed)
    frame = disease_tests(read, members, draws=draws, seed=seed, alpha=alpha)
    numbers: dict[str, object] = {
        "sets": given,
        "sets_tested": len(frame),
        "features": int(weights.listed.sum()),
        "features_enriched": int(np.unique(members.row).size),
        "pairs_enriched": int(members.row.size),
        "pairs_expected": float(members.expected.sum()),
        "higher_degree": int(((frame.q_residual <= alpha) & _above(frame)).sum()),
        "lower_degree": int(((frame.q_residual <= alpha) & ~_above(frame)).sum()),
        "linked": int((frame.q_links <= alpha).sum()),
        "degree_undecided": _undecided(frame, "residual", alpha),
        "links_undecided": _undecided(frame, "links", alpha),
        "sets_with_features": int((frame.features >= LEAST_FEATURES).sum()),
        "gene_draws_fewest": _fewest(frame, draws),
        "sets_with_fewer_gene_draws": int((frame.gene_draws < draws).sum()),
        "table": [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()}
            for r in frame.nsmallest(20, "q_links").to_dict("records")
        ],
    }
    return Finding(
        NAME, _TITLE, _sentence(numbers, given), _null(frame, draws), frame, numbers,
        _records(inputs, incidence, members), draw=draw)  # fmt: skip


_TITLE = "Disease gene sets in the circuit"


def sets_among(
    libraries: Sequence[GeneSetLibrary], genes: Sequence[str], min_set: int
) -> Incidence:
    """The sets cut to these genes, those with fewer than `min_set` left out.

    Raises
    ------
    UserError
        If no gene of a library is among them.
    """
    return build(libraries, genes, min_size=min_set, max_size=_MAX_SIZE, min_mapped=0.0)


def _fewest(frame: pd.DataFrame, draws: int) -> int:
    """Fewest random gene sets that any tested set was compared with."""
    drawn = frame["gene_draws"].dropna()
    return int(drawn.min()) if len(drawn) else draws


def _null(frame: pd.DataFrame, draws: int) -> str:
    """Both nulls with the draws that were made."""
    few = frame["gene_draws"][frame["gene_draws"] < draws]
    large = ""
    if len(few):
        low, high = int(few.min()), int(few.max())
        number = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        large = f" (the {len(few)} sets with most genes: {number})"
    return (
        f"features of the same layer and firing rate, {draws:,} draws (for links: layer and"
        f" degree, {LINK_DRAWS} draws); sets of genes that as many features list, {draws:,}"
        f" draws{large}; the larger p of the two counts, Benjamini-Hochberg over the sets; drawing"
        " goes on where fewer than ten draws are as extreme"
    )


def _undecided(frame: pd.DataFrame, what: str, alpha: float) -> int:
    """Sets at the least p that their draws allow, which yet is too large among so many sets."""
    p = frame[[f"p_{what}_features", f"p_{what}_genes"]].max(axis=1)
    least = frame[f"least_p_{what}"]
    return int(((p <= least * (1 + 1e-9)) & (frame[f"q_{what}"] > alpha)).sum())


def _above(frame: pd.DataFrame) -> pd.Series:
    return frame["residual"] > frame["residual_expected"]


def _none() -> Members:
    empty = np.zeros(0, dtype=np.int64)
    return Members(empty, empty, np.zeros(0), np.zeros(0), np.zeros(0))


def _no_rows() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"set": [], "features": []})


def _sentence(n: Mapping[str, object], given: int) -> str:
    text = (
        f"{n['pairs_enriched']:,} pairs of a feature and one of {n['sets_tested']} of {given}"
        f" disease sets are enriched ({n['pairs_expected']:.1f} in random lists)"
    )
    if not n["sets_with_features"]:
        return (
            f"{text}; no set has {LEAST_FEATURES} features or more, so degree and links were not"
            " tested"
        )
    said = {
        "degree": f"{n['higher_degree']} sit at a higher and {n['lower_degree']} at a lower degree"
        " than both nulls",
        "links": f"{n['linked']} are linked among themselves",
    }
    called = {"degree": n["higher_degree"] or n["lower_degree"], "links": n["linked"]}
    # not "none" where none could be told
    parts = [said[what] for what in said if called[what] or not n[f"{what}_undecided"]]
    few = [f"the {what} of {n[f'{what}_undecided']}" for what in said if n[f"{what}_undecided"]]
    return (
        f"{text}; of {n['sets_with_features']} sets with {LEAST_FEATURES} features or more"
        f" {', and '.join(parts) or 'none could be told'} (q <= 0.05)"
        f"{'; too few draws to tell ' + ' and '.join(few) if few else ''}"
    )


def _records(inputs: CircuitInputs, incidence: Incidence, members: Members) -> dict[str, pa.Table]:
    """The best set of every feature that has one. Every feature has a row, so that no set of an
    earlier run stays on one that has none now.
    """
    from scircuit.core.schema import schema_table

    order = np.lexsort((members.column, members.p, members.row))
    first = order[np.flatnonzero(np.diff(members.row[order], prepend=-1))]
    best = dict(zip(members.row[first].tolist(), first.tolist(), strict=True))
    at = [best.get(i) for i in range(inputs.nodes.id.size)]
    return {
        "Feature": schema_table(
            "Feature",
            {
                "id": inputs.nodes.id.tolist(),
                "prediction_run": [inputs.run] * len(at),
                "disease": [
                    None if i is None else incidence.terms[int(members.column[i])].name for i in at
                ],
                "disease_q": [None if i is None else float(members.q[i]) for i in at],
            },
        )
    }


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all findings
    """Links within the features of each set beside those of random features, the 15 best."""
    from scircuit.analysis.plot_style import BLUE, ORANGE, no_data

    tested = cast("pd.DataFrame", frame[frame["links"].notna()])
    best = tested.nsmallest(15, "q_links").iloc[::-1]
    if not len(best):
        no_data(ax, f"no set has {LEAST_FEATURES} features or more")
        return
    ax.barh(range(len(best)), best["links"], color=BLUE, label="edges among its features")
    ax.plot(best["links_expected"], range(len(best)), "|", ms=12, mew=2, color=ORANGE,
            label="random features")  # fmt: skip
    ax.set_yticks(range(len(best)), best["set"])
    ax.set_xlabel("edges")
    ax.legend(fontsize=8)
