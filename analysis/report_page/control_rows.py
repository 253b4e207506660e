"""Controls as rows and sentences: edges kept and edges of each control for every layer pair, and
the audit of runs that are not exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.analysis.report_page.number_text import count, known, number, percent

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "random_direction": "a random direction",
    "feature_swap": "another feature's direction",
    "passthrough": "the edit re-encoded with no block computing",
    "zero_edit": "an edit of zero",
}
_ORDER = {name: i for i, name in enumerate((*NAMES, "split_half"))}
_MANY = 0.5
_FEW = 100  # effects of a half, below which the ranks of its hubs are mostly ties


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, None where nothing is known."""
    return [
        {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
        for row in frame.to_dict("records")
    ]


def control_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Controls by kind and layer pair, with the ``share`` of edges that the control makes as well."""
    rows = [r for r in _paired(frame) if r.get("control") != "context"]
    for row in rows:
        edges, other = row.get("edges"), row.get("control_edges")
        row["share"] = other / edges if known(edges) and known(other) and edges else None
    return sorted(rows, key=lambda r: (_ORDER.get(str(r.get("control")), 9), r["pair"]))


def audit_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Audits of the run's context against exact, by layer pair and context."""
    return sorted(
        (r for r in _paired(frame) if r.get("control") == "context"),
        key=lambda r: (r["pair"], str(r.get("context"))),
    )


def _paired(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = records(frame)
    for row in rows:
        row["pair"] = (
            f"L{int(row.get('source_layer') or 0):02d} → L{int(row.get('target_layer') or 0):02d}"
        )
    return rows


def control_sentences(rows: list[dict[str, Any]]) -> list[str]:
    """One sentence for each layer pair: edges kept, edges of each control, and how the sizes
    compare.
    """
    sentences = []
    for pair in dict.fromkeys(r["pair"] for r in rows):
        by_kind = {str(r["control"]): r for r in rows if r["pair"] == pair}
        first = next(iter(by_kind.values()))
        found = [
            f"{name}"
            f" {count(by_kind[kind]['control_edges'])}{f' ({percent(share, 0)})' if (share := by_kind[kind]['share']) is not None else ''}"
            for kind, name in NAMES.items()
            if kind in by_kind and known(by_kind[kind].get("control_edges"))
        ]
        text = (
            f"{pair}: {count(first.get('edges'))} edges of {count(first.get('sources'))} sampled"
            f" sources are kept; in their place, {', '.join(found) or 'no control was run'}"
        )
        random = by_kind.get("random_direction", {})
        if known(random.get("larger_share")):
            text += (
                f"; {percent(random['larger_share'], 0)} of the edges are larger than the random"
                " direction's effect on the same target, which is"
                f" {number(random['relative_size'], 2)} times as large in the median"
            )
        sentences.append(text)
    return sentences


def verdict(rows: list[dict[str, Any]]) -> str:
    """What the random and swapped directions say about the edges as a whole; empty when they were
    not run.
    """
    used = [
        r
        for r in rows
        if r["control"] in ("random_direction", "feature_swap")
        and known(r.get("control_edges"))
        and r.get("edges")
    ]
    if not used:
        return ""
    share = sum(r["control_edges"] for r in used) / sum(r["edges"] for r in used)
    if share >= _MANY:
        return (
            f"Other directions of the same size make {percent(share, 0)} as many edges: that there"
            " is an edge says that this position and this size of edit matter, and little about"
            " the feature. What is the feature's own has to be read from the size and sign of its"
            " effects beside those of its controls."
        )
    return (
        f"Other directions of the same size make {percent(share, 0)} as many edges as the features."
    )


def hub_replication(trace: Mapping[str, Any]) -> str:
    """Whether hubs of one half of the cells are hubs in the other, for the sampled sources; empty
    when it was not measured.
    """
    numbers = trace.get("controls") or {}
    raw, beyond = numbers.get("half_degree_rho"), numbers.get("half_residual_rho")
    if not known(raw) or not known(beyond):
        return ""
    even, odd = numbers.get("half_even_effects") or 0, numbers.get("half_odd_effects") or 0
    return (
        f"hubs chosen on one half of the cells and ranked again on the other: Spearman {beyond:.2f}"
        f" beyond the firing rate, {raw:.2f} of raw degree ({count(numbers.get('sources'))} sampled"
        f" sources with {count(even)} and {count(odd)} effects at p <= 0.01 in the"
        f" halves{': too few to tell' if min(even, odd) < _FEW else ''})"
    )
