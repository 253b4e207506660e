"""A trace run told in ten lines: its edges beside random directions and a scrambled model, what
becomes of the older edge, and one feature with its circuit, its ablation and its steering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.analysis.report_page.number_text import count, known, number, percent
from scircuit.analysis.report_page.report_input import baseline_losses, loss_on_cells

if TYPE_CHECKING:
    from scircuit.analysis.report_page.report_input import ReportInput


def story(parts: ReportInput) -> tuple[str, ...]:
    """The lines, each a claim with its control; a step that was not run has none."""
    if not parts.trace or parts.analysis is None:
        return ()
    told_apart = bool(parts.trace.get("directions"))
    return tuple(
        line
        for line in (
            _model(parts),
            _edges(parts) if told_apart else "",
            *parts.null.get("sentences", ()),
            _older_edge(parts) if told_apart else "",
            _hubs(parts),
            *_feature(parts),
            _annotation(parts),
        )
        if line
    )


def _model(parts: ReportInput) -> str:
    loss, others = parts.model.get("mlm_loss"), baseline_losses(parts.model)
    here, against = loss_on_cells(parts.trace.get("loss") or {})
    beside = f", against {others}" * bool(others)
    text = [f"{here}, against {against}"] if here else []
    if known(loss):
        where = (
            "on held-out cells of its training it is"
            if here
            else "the model's loss on masked genes of held-out cells is"
        )
        text.append(f"{where} {number(loss)} nats{beside}")
    line = "; ".join(text)
    return line[:1].upper() + line[1:]


def _edges(parts: ReportInput) -> str:
    t = parts.trace
    return (
        f"{count(t.get('sources'))} features have {count(t.get('edges_computed'))} computed edges;"
        f" random directions in their place have {number(t.get('expected_false'))}"
    )


def _older_edge(parts: ReportInput) -> str:
    t = parts.trace
    return (
        f"{count(t.get('edges_calibrated'))} total effects are not zero, the edge of earlier"
        f" studies; {count(t.get('edges_generic'))} of them any vector of that length would have,"
        f" and the residual stream carries {count(t.get('edges_carried'))} effects on"
    )


def _hubs(parts: ReportInput) -> str:
    assert parts.analysis is not None
    rows = {str(r["rule"]): r for r in parts.analysis.frames["rules"].to_dict("records")}
    ours, older = (rows.get(name, {}).get("degree_rate_spearman") for name in _RULES)
    if not (known(ours) and known(older)):
        return ""
    return (
        f"The degree of a feature follows how often it fires: rank correlation {number(ours)} by"
        f" computed edges, {number(older)} by all effects that are not zero"
    )


_RULES = "computed", "calibrated"


def _feature(parts: ReportInput) -> tuple[str, ...]:
    """One feature: what it fires on, its edges, what ablating it with others and steering it do."""
    assert parts.analysis is not None
    circuit = parts.analysis.circuit(parts.circuit)
    rows = parts.features
    row: dict[str, Any] = {}
    if len(rows) and "id" in rows:
        own = rows.loc[rows["id"] == circuit.address]
        row = dict(own.iloc[0]) if len(own) else {}
    return tuple(
        line[:1].upper() + line[1:]
        for line in (*circuit.sentences, _joint(row), _steered(row))
        if line
    )


def _joint(row: dict[str, Any]) -> str:
    ratio, null, partners = (
        row.get(f"ablation_{name}") for name in ("redundancy", "null", "partners")
    )
    if not (known(ratio) and known(partners)):
        return ""
    beside = f", {number(null)} if effects added up" * known(null)
    return (
        f"ablated together with each of {count(partners)} hubs it has {number(ratio)} of the effect"
        f" of both alone{beside}"
    )


def _steered(row: dict[str, Any]) -> str:
    slope, control, gene = (row.get(f"steering_{name}") for name in ("slope", "control", "gene"))
    if not known(slope):
        return ""
    beside = (
        f" (a random direction: {number(float(np.abs(float(str(control)))))})"
        if known(control)
        else ""
    )
    raised = f"; it raises {gene} most" if isinstance(gene, str) and gene else ""
    return f"steered, it moves the logits of its genes by {number(slope)} a dose{beside}{raised}"


def _annotation(parts: ReportInput) -> str:
    a = parts.annotate
    if not known(a.get("annotation_rate")):
        return ""
    return (
        f"{percent(a.get('annotation_rate'))} of {count(a.get('features'))} features are annotated"
        f" in GO, Reactome or TRRUST; of matched random gene lists"
        f" {percent(a.get('null_annotation_rate'))}"
    )
