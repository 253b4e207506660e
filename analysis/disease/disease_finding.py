"""Disease gene sets in a circuit, as a finding and as properties of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.circuit_inputs import CircuitInputs
from scircuit.analysis.circuits.hubs import fit_hubs
from scircuit.analysis.disease.disease_tests import (
    LEAST_FEATURES,
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
    incidence = build(
        libraries, weights.genes, min_size=min_set, max_size=_MAX_SIZE, min_mapped=0.0
    )
    null = (
        "features of the same layer and firing rate (links: degree), and sets of genes that as many"
        f" features list; {draws:,} draws, 199 for links; the larger p of the two counts,"
        " Benjamini-Hochberg over the sets"
    )
    given = sum(len(x.terms) for x in libraries)
    if not incidence.terms:
        sentence = (
            f"none of the {given} disease sets has {min_set} genes or more among the"
            f" {len(weights.genes):,} genes of the features, so nothing was tested"
        )
        return Finding(
            NAME, _TITLE, sentence, null, _no_rows(), {"sets": given, "sets_tested": 0},
            _records(inputs, incidence, _none()), draw=draw)  # fmt: skip
    circuit = inputs.circuit
    residual = np.full(nodes.id.size, np.nan)
    at = nodes.sources
    out = np.bincount(circuit.source, minlength=nodes.id.size)[at]
    residual[at] = fit_hubs(out, nodes.firing_rate[at]).residual
    read = DiseaseCircuit(
        weights.member.astype(np.int32),
        incidence,
        circuit.source,
        circuit.target,
        nodes.layer,
        nodes.firing_rate,
        residual,
    )
    members = enriched_features(read.lists, incidence, alpha, seed)
    frame = disease_tests(read, members, draws=draws, seed=seed)
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
        "sets_with_features": int((frame.features >= LEAST_FEATURES).sum()),
        "table": [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()}
            for r in frame.nsmallest(20, "q_links").to_dict("records")
        ],
    }
    return Finding(
        NAME, _TITLE, _sentence(numbers, given), null, frame, numbers,
        _records(inputs, incidence, members), draw=draw)  # fmt: skip


_TITLE = "Disease gene sets in the circuit"


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
        f"{n['pairs_enriched']:,} pairs of a feature and a disease set are enriched, of"
        f" {n['features']:,} features and {n['sets_tested']} of {given} sets (matched random lists:"
        f" {n['pairs_expected']:.1f})"
    )
    if not n["sets_with_features"]:
        return (
            f"{text}; no set has {LEAST_FEATURES} features or more, so degree and links were not"
            " tested"
        )
    return (
        f"{text}; of the {n['sets_with_features']} sets with {LEAST_FEATURES} features or more,"
        f" {n['higher_degree']} sit at a higher degree and {n['lower_degree']} at a lower one than"
        " features that fire as often and random gene sets do, and the features of"
        f" {n['linked']} are linked among themselves more than both (q <= 0.05 over the sets)"
    )


def _records(inputs: CircuitInputs, incidence: Incidence, members: Members) -> dict[str, pa.Table]:
    """The best set of every feature that has one."""
    from scircuit.core.schema import schema_table

    order = np.lexsort((members.column, members.p, members.row))
    row = members.row[order]
    first = order[np.flatnonzero(np.diff(row, prepend=-1))]
    return {
        "Feature": schema_table(
            "Feature",
            {
                "id": inputs.nodes.id[members.row[first]].tolist(),
                "prediction_run": [inputs.run] * first.size,
                "disease": [incidence.terms[c].name for c in members.column[first].tolist()],
                "disease_q": members.q[first].tolist(),
            },
        )
    }


def draw(frame: pd.DataFrame, numbers: Mapping[str, object], ax: Axes) -> None:  # noqa: ARG001 - one signature for all findings
    """Links within the features of each set beside those of random features, the 15 best."""
    from scircuit.analysis.plot_style import BLUE, ORANGE, no_data

    best = frame[frame["links"].notna()].nsmallest(15, "q_links").iloc[::-1]
    if not len(best):
        no_data(ax, f"no set has {LEAST_FEATURES} features or more")
        return
    ax.barh(range(len(best)), best["links"], color=BLUE, label="edges among its features")
    ax.plot(best["links_expected"], range(len(best)), "|", ms=12, mew=2, color=ORANGE,
            label="random features")  # fmt: skip
    ax.set_yticks(range(len(best)), best["set"])
    ax.set_xlabel("edges")
    ax.legend(fontsize=8)
