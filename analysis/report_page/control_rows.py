"""Controls as rows and sentences: edges of the features and of each control for every layer pair,
and the audit of runs that are not exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scircuit.analysis.report_page.number_text import as_float, count, fixed, known, number, percent
from scircuit.analysis.report_page.report_input import TraceFindings

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "random_direction": "a random direction",
    "feature_swap": "another feature's direction",
    "direct": "the direct effect",
    "zero_edit": "a zero edit",
}
NULL = "direction_null"
_ORDER = {name: i for i, name in enumerate((*NAMES, "split_half", NULL))}
_LARGE_SHARE = 0.5
_MIN_EFFECTS = 100  # with fewer effects in a half, the ranks of its hubs are mostly ties

Row = dict[str, object]  # one row of a frame; its columns depend on the control or verb


def records(frame: pd.DataFrame) -> list[Row]:
    """Rows as dictionaries, None where a value is missing."""
    return [
        {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
        for row in frame.to_dict("records")
    ]


def control_rows(frame: pd.DataFrame) -> list[Row]:
    """Controls by kind and layer pair; ``share``: edges of the control per edge."""
    rows = [r for r in _paired(frame) if r.get("control") != "context"]
    for row in rows:
        edges, other = as_float(row.get("edges")), as_float(row.get("control_edges"))
        row["share"] = other / edges if known(edges) and known(other) and edges else None
    return sorted(rows, key=lambda r: (_ORDER.get(str(r.get("control")), 9), str(r["pair"])))


def audit_rows(frame: pd.DataFrame) -> list[Row]:
    """Audits of the run's context against exact, by layer pair and context."""
    return sorted(
        (r for r in _paired(frame) if r.get("control") == "context"),
        key=lambda r: (str(r["pair"]), str(r.get("context"))),
    )


def layer_pair(row: Row) -> str:
    """Source and target layer of a row as text."""
    source, target = (as_float(row.get(name) or 0) for name in ("source_layer", "target_layer"))
    return f"L{int(source):02d} → L{int(target):02d}"


def _paired(frame: pd.DataFrame) -> list[Row]:
    rows = records(frame)
    for row in rows:
        row["pair"] = layer_pair(row)
    return rows


def _control_edges(name: str, row: Row) -> str:
    share = f" ({percent(row['share'], 0)})" if row["share"] is not None else ""
    return f"{name} {count(row['control_edges'])}{share}"


def control_sentences(rows: list[Row]) -> list[str]:
    """One sentence for each layer pair: edges of the sampled sources, edges of each control, and
    how the sizes compare; then one for each direction null.
    """
    sentences = []
    sampled = [r for r in rows if r["control"] != NULL]
    for pair in dict.fromkeys(r["pair"] for r in sampled):
        by_kind = {str(r["control"]): r for r in sampled if r["pair"] == pair}
        first = next(iter(by_kind.values()))
        found = [
            _control_edges(name, by_kind[kind])
            for kind, name in NAMES.items()
            if kind in by_kind and known(by_kind[kind].get("control_edges"))
        ]
        text = (
            f"{pair}: {count(first.get('sources'))} sampled sources have"
            f" {count(first.get('edges'))} effects that are not zero; of the controls:"
            f" {', '.join(found) or 'no control was run'}"
        )
        random = by_kind.get("random_direction", {})
        if known(random.get("larger_share")):
            text += (
                f"; {percent(random['larger_share'], 0)} of the effects are larger"
                " than that of the random direction on the same target, whose effect is"
                f" {number(random['relative_size'], 2)} times as large (median)"
            )
        sentences.append(text)
    return sentences + [_null_sentence(r) for r in rows if r["control"] == NULL]


def _null_sentence(row: Row) -> str:
    """Edges by kind, computed edges of held-out random directions, and how well the pooled null
    fits single draws.
    """
    text = (
        f"{row['pair']}: {count(row.get('edges'))} computed, {count(row.get('carried'))} carried"
        f" and {count(row.get('generic'))} generic edges; random directions that were held out give"
        f" {number(row.get('expected_false'), 2)} computed edges at the same threshold"
        f" ({count(row.get('draws'))} directions)"
    )
    if known(row.get("sigma_ratio")):
        ratio, low, high = (fixed(row.get(f"sigma_ratio{end}")) for end in ("", "_low", "_high"))
        text += (
            f"; spread of directions drawn for one source / spread of the pooled null:"
            f" {ratio} (5 to 95 %: {low} to {high})"
        )
    return text


def verdict(rows: list[Row]) -> str:
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
    control = sum(as_float(r["control_edges"]) for r in used)
    share = control / sum(as_float(r["edges"]) for r in used)
    if share >= _LARGE_SHARE:
        return (
            f"Other directions of the same norm give {percent(share, 0)} as many effects as the"
            " features. That an effect exists therefore shows that an edit of this size at these"
            " positions matters, but says little about the feature. To see what is specific to a"
            " feature, compare the size and sign of its effects with those of its controls."
        )
    return (
        f"Other directions of the same norm give {percent(share, 0)} as many effects as the"
        " features."
    )


def hub_replication(trace: TraceFindings) -> str:
    """Whether hubs of one half of the cells are hubs in the other, for the sampled sources; empty
    when it was not measured.
    """
    numbers = trace.get("controls") or {}
    raw, beyond = numbers.get("half_degree_rho"), numbers.get("half_residual_rho")
    if not known(raw) or not known(beyond):
        return ""
    even, odd = numbers.get("half_even_effects") or 0, numbers.get("half_odd_effects") or 0
    return (
        f"ranking of hubs in one half of the cells against the other half: Spearman {beyond:.2f}"
        f" for degree beyond the firing rate, {raw:.2f} for raw degree"
        f" ({count(numbers.get('sources'))} sampled sources with {count(even)} and {count(odd)}"
        " effects at p <= 0.01 in the two halves"
        f"{': too few to tell' if min(even, odd) < _MIN_EFFECTS else ''})"
    )
