"""What the analyses of one run's circuit read, as arrays: features, effects, which of them are
edges, and what the features are about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scircuit.analysis.circuits.degree import EdgeArrays, FeatureArrays
    from scircuit.analysis.genesets.regulons import Regulons
    from scircuit.core.edge_rules import EdgeRule

HALF_FOUND_P = 0.01
"""Largest p of an effect that counts in one half of the cells."""


@dataclass(frozen=True)
class CircuitInputs:
    """The circuit of one run.

    Parameters
    ----------
    run
        Id of the run whose circuit it is.
    nodes
        Features; `nodes.sources` are those that were ablated.
    edges
        All stored effects; `edges.source` and `edges.target` are positions in `nodes`.
    called
        Which of the effects are edges by `rule`, [edges] bool.
    rule
        The edge rule; ``getattr(edges, rule.effect)`` is the signed effect that it judges and
        ``getattr(edges, rule.strength)`` what edges are ranked by.
    annotation
        One row per feature of `nodes`, in their order: id, annotated (bool), annotatable_genes,
        label ("" where none). None without an annotate run.
    terms
        Terms of the features, by their own annotation: feature (position in `nodes`), term (id),
        name, library, q (calibrated). None without an annotate run.
    genes
        Address -> symbols of its top genes, best first.
    regulons
        The shipped regulons (TRRUST).
    parents
        Term -> its direct parents in the ontology; empty where the annotation used none.
    half_degrees
        Effects with p <= 0.01 of every feature in the even and in the odd cells, [2, features];
        NaN of features that were not measured so. None without such measurements.
    """

    run: str
    nodes: FeatureArrays
    edges: EdgeArrays
    called: np.ndarray
    rule: EdgeRule
    annotation: pd.DataFrame | None = None
    terms: pd.DataFrame | None = None
    genes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    regulons: Regulons | None = None
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    half_degrees: np.ndarray | None = None

    @property
    def circuit(self) -> EdgeArrays:
        """The edges alone."""
        return self.edges.keep(self.called)

    @property
    def effect(self) -> np.ndarray:
        """Signed effect of every edge, [edges called]; below 0 the source supports the target."""
        return getattr(self.circuit, self.rule.effect)


def annotation_of(table: pa.Table | None, nodes: FeatureArrays) -> dict[str, np.ndarray] | None:
    """Annotated, annotatable genes and label of the `nodes`; None without an annotate run."""
    if table is None or table.num_rows == 0 or "annotated" not in table.column_names:
        return None
    columns = [
        c for c in ("id", "annotated", "annotatable_genes", "label") if c in table.column_names
    ]
    frame = (
        table.select(columns).to_pandas().drop_duplicates("id").set_index("id").reindex(nodes.id)
    )
    genes = (
        frame["annotatable_genes"].fillna(0).to_numpy(float)
        if "annotatable_genes" in frame
        else np.zeros(nodes.id.size)
    )
    label = (
        frame["label"].fillna("").to_numpy(object)
        if "label" in frame
        else np.full(nodes.id.size, "", dtype=object)
    )
    return {
        "annotated": frame["annotated"].eq(True).to_numpy(bool),
        "annotatable_genes": genes,
        "label": label,
    }


def annotation_frame(
    named: Mapping[str, np.ndarray] | None, nodes: FeatureArrays
) -> pd.DataFrame | None:
    """What `annotation_of` gives, as `CircuitInputs.annotation`."""
    import pandas as pd

    return None if named is None else pd.DataFrame({"id": nodes.id, **named})


def terms_of(terms: pd.DataFrame | None, nodes: FeatureArrays) -> pd.DataFrame | None:
    """The terms of the `nodes`, each feature by its position."""
    if terms is None:
        return None
    position = {address: i for i, address in enumerate(nodes.id)}
    at = [position.get(address, -1) for address in terms["feature"]]
    frame = terms.assign(feature=at)
    return frame.loc[frame["feature"] >= 0].reset_index(drop=True)


def genes_of(annotation: pa.Table | None) -> dict[str, list[str]]:
    """Address -> top genes of the features that have some."""
    if annotation is None or "top_genes" not in annotation.column_names:
        return {}
    columns = (annotation.column(name).to_pylist() for name in ("id", "top_genes"))
    return {feature: genes for feature, genes in zip(*columns, strict=True) if genes}


def half_degrees_of(control_edges: pa.Table | None, nodes: FeatureArrays) -> np.ndarray | None:
    """Degrees in halves of the cells, from the controls of a trace run; `CircuitInputs` has more.

    A source without any such effect in a half has none there; sources that no control has were not
    measured.
    """
    if control_edges is None or not {"source", "control", "p"} <= set(control_edges.column_names):
        return None
    frame = control_edges.select(["source", "control", "p"]).to_pandas()
    position = {address: i for i, address in enumerate(nodes.id)}
    at = frame["source"].map(position)
    frame, at = frame[at.notna()], at[at.notna()].to_numpy(int)
    halves = [frame["control"].eq(name).to_numpy() for name in ("half_even", "half_odd")]
    if not any(half.any() for half in halves):
        return None
    found = np.full((2, nodes.id.size), np.nan)
    found[:, at] = 0
    small = frame["p"].to_numpy(float) <= HALF_FOUND_P
    for row, half in zip(found, halves, strict=True):
        np.add.at(row, at[half & small], 1)
    return found
