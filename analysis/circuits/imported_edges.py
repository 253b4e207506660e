"""Analysis of imported edges: degrees by the published rule, their tail, and the signs by
the symmetric rule, which treats both signs alike (`scircuit.core.edge_rules`).

Calibrated degrees and hubs given their firing rate need p values, which no published format gives:
they are not computed. A degree is counted from the edges if the source kept all of them, and
taken from the source if it kept only the strongest.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scircuit.analysis.circuits.heavy_tail import TailFit, fit_tail
from scircuit.core.edge_rules import (
    LEGACY_CONSISTENCY,
    LEGACY_D,
    published_edges,
    symmetric_edges,
)
from scircuit.core.errors import UserError
from scircuit.core.schema import conform

if TYPE_CHECKING:
    import pyarrow as pa


class ImportedDegrees(NamedTuple):
    """Findings of `analyse_imported`; `features` is of kind ``Feature``."""

    features: pa.Table
    tail: TailFit
    findings: dict[str, Any]
    sentences: tuple[str, ...]


def analyse_imported(
    features: pa.Table,
    edges: pa.Table,
    lacks: Collection[str],
    *,
    sources: int | None = None,
    seed: int = 0,
    bootstrap: int = 100,
) -> ImportedDegrees:
    """Degrees by the published rule of every source of an imported run.

    Parameters
    ----------
    features
        Kind ``Feature`` of the run: id, traced, and out_degree_legacy where the source states it.
    edges
        Kind ``Feature-AFFECTS-Feature`` of the run: d, and counts or consistency.
    lacks
        What the source does not give (`Run.lacks`).
    sources
        How many features the source traced, if it gives this number.
    seed, bootstrap
        Of the tail fit.

    Raises
    ------
    UserError
        If edges were cut and the source does not state its degrees, if degrees of some sources are
        unknown, or stated and counted degrees differ.
    """
    import pyarrow as pa

    frame = features.to_pandas().set_index("id")
    traced = frame.index[frame["traced"].eq(True)]
    table = edges.to_pandas()
    published = _published(table)
    counted = table.loc[published, "source"].value_counts().reindex(traced, fill_value=0)
    stated = frame["out_degree_legacy"].reindex(traced) if "out_degree_legacy" in frame else None
    if "all_edges" in lacks:
        if stated is None or stated.isna().any():
            known = 0 if stated is None else int(stated.notna().sum())
            raise UserError(
                f"the source kept only its strongest edges and gives the degrees of {known} of"
                f" {len(traced)} sources; counting the kept edges would not give a degree",
                "import a format with all edges, or one that counts them",
            )
        degree = stated.astype(np.int64)
    else:
        degree = counted
    if sources is not None and len(degree) != sources:
        raise UserError(
            f"the degrees of {len(degree):,} of {sources:,} traced sources are known: their"
            " distribution would be that of a selection",
            "import all files of the study",
        )
    tail = fit_tail(degree.to_numpy(np.int64), seed=seed, bootstrap=bootstrap)
    signs, sentence = _signs(table)
    values = degree.to_numpy(np.int64)
    findings = {
        "rule": "published",
        "edges_stored": len(table),
        "edges_published_stored": int(published.sum()),
        "edges_legacy": int(values.sum()),
        "sources": len(values),
        "mean_degree": float(values.mean()),
        "median_degree": float(np.median(values)),
        "max_degree": int(values.max()),
        "sources_without_edge": int((values == 0).sum()),
        "degrees": "stated by the source" if "all_edges" in lacks else "counted",
        **signs,
        **tail.findings(),
        "tail_sentence": tail.sentence,
    }
    sentences = (
        (
            f"{int(values.sum()):,} edges of {len(values):,} sources by the published rule (|d| >"
            f" {LEGACY_D}, consistency > {LEGACY_CONSISTENCY}), degrees {findings['degrees']}: mean"
            f" {values.mean():.1f}, largest {values.max():,}"
        ),
        tail.sentence,
        sentence,
        (
            "calibrated degrees and hubs given their firing rate were not computed: the source"
            " gives no p values"
        ),
    )
    found = conform(
        "Feature", pa.table({"id": degree.index.to_list(), "out_degree_legacy": values})
    )
    return ImportedDegrees(found, tail, findings, tuple(s for s in sentences if s))


def _values(table: Any, name: str) -> np.ndarray:
    """A column, NaN where the source does not give it."""
    return table[name].to_numpy(float) if name in table else np.full(len(table), np.nan)


def _published(table: Any) -> np.ndarray:
    """Edges by the published rule; from counts where they are given, else from the stated
    consistency.
    """
    return published_edges(*(_values(table, name) for name in ("d", "consistency", "n", "n_pos")))


def _signs(table: Any) -> tuple[dict[str, Any], str]:
    """Share of edges that support, where both signs can be judged by one rule."""
    if (
        not {"n_pos", "n_neg"} <= set(table)
        or table["n_pos"].isna().any()
        or table["n_neg"].isna().any()
    ):
        return (
            {},
            (
                "signs were not counted: the source does not give the numbers of cells with"
                " positive and negative effects, and without them negative effects pass the rule"
                " more easily"
            ),
        )
    d, n, up, down = (_values(table, name) for name in ("d", "n", "n_pos", "n_neg"))
    symmetric = symmetric_edges(d, np.fmax(n, up + down), up, down)  # n is never below their sum
    support = float((d[symmetric] < 0).mean()) if symmetric.any() else None
    found = {"edges_symmetric_stored": int(symmetric.sum()), "support_share": support}
    if support is None:
        return found, "no stored edge passes the symmetric rule"
    return (
        found,
        (
            f"{int(symmetric.sum()):,} stored edges pass the symmetric rule; in {support:.1%} of"
            " them ablation lowers the target"
        ),
    )
