"""The findings, a line each: a claim with its numbers and, apart from it, the control that could
have refuted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scircuit.analysis.report_page.annotation_claims import (
    counted,
    excess_words,
    published_claim,
    published_control,
)
from scircuit.analysis.report_page.control_rows import hub_replication
from scircuit.analysis.report_page.number_text import count, known, number, p_value, percent

if TYPE_CHECKING:
    from scircuit.analysis.report_page.report_input import ReportInput


class Finding(NamedTuple):
    """`claim` is what was found, `control` what it was held against; `topic` is the section of the
    page.
    """

    topic: str
    claim: str
    control: str

    @property
    def sentence(self) -> str:
        """Both in one line."""
        return f"{self.claim} — {self.control}"


def findings(parts: ReportInput) -> tuple[Finding, ...]:
    """The findings of a trace, in the order of the page, and one for each imported atlas; a step
    that was not run says so.
    """
    atlases = tuple(_atlas(a) for a in parts.atlases)
    if not parts.trace:
        return atlases
    return (
        _model(parts),
        _edges(parts),
        _zero(parts),
        _replication(parts),
        _tail(parts),
        _rate(parts),
        _annotation(parts),
        _bias(parts),
        *_trrust(parts),
        _ablation(parts),
        _steering(parts),
        *atlases,
    )


def _model(parts: ReportInput) -> Finding:
    loss, unigram = parts.model.get("mlm_loss"), parts.model.get("unigram_loss")
    frame: Any = parts.dictionaries
    text = []
    if known(loss):
        text.append(f"the model predicts masked genes of held-out cells at {number(loss)} nats")
    if len(frame) and "variance_explained" in frame and frame["variance_explained"].notna().any():
        low, high = frame["variance_explained"].min(), frame["variance_explained"].max()
        text.append(
            f"{len(frame)} dictionaries explain {percent(low, 0)} to {percent(high, 0)} of the"
            " variance of its states"
        )
    control = []
    if known(unigram):
        control.append(f"unigram baseline {number(unigram)} nats")
    if "pca_variance_explained" in frame and frame["pca_variance_explained"].notna().any():
        low, high = frame["pca_variance_explained"].min(), frame["pca_variance_explained"].max()
        control.append(
            f"principal components, as many as are active at once: {percent(low, 0)} to"
            f" {percent(high, 0)}"
        )
    if "dead_share" in frame and frame["dead_share"].notna().any():
        control.append(f"latents that never fire: at most {percent(frame['dead_share'].max(), 0)}")
    return Finding(
        "inputs",
        "; ".join(text) or "losses of the model and its dictionaries were not given",
        "; ".join(control) or "no baseline was given",
    )


def control_sums(controls: Any, kind: str) -> tuple[float, float]:
    """Edges and control edges of one control, summed over layer pairs (NaN: not run)."""
    if not len(controls) or "control" not in controls:
        return float("nan"), float("nan")
    rows = controls[controls["control"] == kind]
    if not len(rows) or "control_edges" not in rows or rows["control_edges"].isna().all():
        return float("nan"), float("nan")
    return float(rows["edges"].sum()), float(rows["control_edges"].sum())


def _edges(parts: ReportInput) -> Finding:
    t = parts.trace
    claim = (
        f"{count(t.get('edges_calibrated'))} edges leave {count(t.get('sources'))} features of"
        f" layer {', '.join(map(str, t.get('source_layers', '?')))} (q <= 0.05 over"
        f" {count(t.get('live_tests'))} live tests in {count(t.get('cells'))} cells)"
    )
    control = []
    for kind, name in (
        ("random_direction", "a random direction of equal norm"),
        ("feature_swap", "another feature's direction"),
    ):
        edges, other = control_sums(parts.controls, kind)
        if known(other):
            share = f" ({percent(other / edges, 1)} of {count(edges)})" if edges else ""
            control.append(f"{name} makes {count(other)} edges for the same sources{share}")
    return Finding("edges", claim, "; ".join(control) or "the controls were not run")


def _zero(parts: ReportInput) -> Finding:
    value = parts.trace.get("zero_edit_max")
    typical = float("nan")
    if parts.analysis is not None and len(parts.analysis.pairs.frame):
        frame = parts.analysis.pairs.frame
        weights = frame["edges"].to_numpy(float)
        if weights.sum():
            typical = float(
                np.average(np.nan_to_num(frame["mean_abs_effect"].to_numpy(float)), weights=weights)
            )
    claim = (
        f"edges have a mean |effect| of {number(typical)}"
        if known(typical)
        else "the size of the effects was not assessed"
    )
    return Finding(
        "edges",
        claim,
        (
            f"an edit that removes nothing changes no activation by more than {number(value)}"
            if known(value)
            else "no zero edit was run"
        ),
    )


def _replication(parts: ReportInput) -> Finding:
    numbers = parts.trace.get("controls") or {}
    found, share = numbers.get("half_found"), numbers.get("half_agreement")
    if not found or not known(share):
        return Finding(
            "edges",
            "whether effects hold in other cells was not measured",
            "needs the split-half control and eight cells or more in each half",
        )
    return Finding(
        "edges",
        f"of {count(found)} effects that one half of the cells finds (p <= 0.01),"
        f" {percent(share, 0)} have the same sign and p <= 0.05 in the other half",
        f"of effects that are nothing at most {percent(numbers.get('half_chance'))} would",
    )


def _tail(parts: ReportInput) -> Finding:
    if parts.analysis is None:
        return Finding("degree", "the degree distribution was not analysed", "run analyse")
    tail = parts.analysis.tail
    if tail.fit is None:
        return Finding("degree", tail.sentence, "nothing to compare")
    where = (
        f"the tail of the out-degrees ({count(tail.n_tail)} of {count(tail.degrees.size)} features,"
        f" degree >= {count(tail.xmin)})"
    )
    refuted = known(tail.p_gof) and tail.p_gof <= 0.1
    claim = (
        f"{where} {'is not' if refuted else 'is compatible with'} a power law (alpha"
        f" {tail.alpha:.2f} ± {tail.fit.sigma:.2f}"
        + (f", bootstrap p = {p_value(tail.p_gof)})" if known(tail.p_gof) else ")")
    )
    better = [c for c in tail.comparisons if c.favoured not in ("neither", "power law")]
    lognormal = next((c for c in tail.comparisons if c.name == "lognormal"), None)
    if better:
        control = "fits better: " + ", ".join(f"{c.name} (p = {p_value(c.p)})" for c in better)
    elif lognormal is not None and lognormal.favoured == "neither":
        control = f"power law and lognormal not distinguishable (p = {p_value(lognormal.p)})"
    else:
        control = "no alternative fits better"
    return Finding("degree", claim, control)


def _rate(parts: ReportInput) -> Finding:
    if parts.analysis is None:
        return Finding("hubs", "degree against firing rate was not analysed", "run analyse")
    fit = parts.analysis.hub_fit
    top = parts.analysis.frames["hubs"]
    if not known(fit.rho) or not len(top):
        return Finding("hubs", fit.sentence, "nothing to adjust for")
    first = top.iloc[0]
    claim = (
        "the strongest hub for its firing rate is"
        f" {first['address']}{' ' + first['label'] if known(first['label']) else ''}:"
        f" {count(first['out_degree'])} edges where {count(first['expected_degree'])} are expected"
    )
    control = [
        (
            f"firing rate alone explains {percent(fit.r2, 0)} of the variance of log degree"
            f" (Spearman {fit.rho:.2f})"
        ),
        hub_replication(parts.trace),
    ]
    return Finding("hubs", claim, "; ".join(part for part in control if part))


def _annotation(parts: ReportInput) -> Finding:
    a = parts.annotate
    if not a:
        return Finding("annotation", "the features were not annotated", "run annotate")
    words = excess_words(a)
    claim = (
        f"{f'{words}: ' if words else ''}{count(a.get('features_annotated'))} of"
        f" {count(counted(a))} features ({percent(a.get('annotation_rate'))}) are enriched in a"
        f" term of {', '.join(dict.fromkeys(c['library'] for c in a.get('coverage', ())))}"
    )
    return Finding(
        "annotation",
        claim,
        f"the same threshold annotates {percent(a.get('null_annotation_rate'), 2)} of random gene"
        " lists of like detection",
    )


def _atlas(atlas: Mapping[str, Any]) -> Finding:
    if atlas.get("published"):
        return Finding("annotation", published_claim(atlas), published_control(atlas))
    words = (
        excess_words(atlas) or f"{percent(atlas.get('annotation_rate'))} of features are annotated"
    )
    return Finding(
        "annotation",
        f"in {atlas.get('name')}, {words}",
        f"matched random gene lists {percent(atlas.get('null_annotation_rate'), 2)}; the published"
        " rule could not be repeated",
    )


def _bias(parts: ReportInput) -> Finding:
    bias = parts.analysis.bias if parts.analysis is not None else None
    if bias is None or not bias.fisher:
        return Finding(
            "bias", bias.sentence if bias else "annotation bias was not analysed", "not testable"
        )
    pair = [(f, m) for f, m in zip(bias.fisher, bias.matched, strict=True) if f.ranking == "degree"]
    f, m = pair[min(len(pair) - 1, 1)]
    claim = (
        f"{f.top_annotated} of the {f.k} features with the highest degree are annotated"
        f" ({percent(f.top_share, 0)}; all sources {percent(bias.annotated / bias.features, 0)};"
        f" Fisher p = {p_value(f.p)})"
    )
    logistic = bias.logistic
    adjusted = (
        f"adjusted slope {logistic.slope:+.2f}, p = {p_value(logistic.p)}"
        if not logistic.problem
        else f"no adjusted slope: {logistic.problem}"
    )
    return Finding(
        "bias",
        claim,
        f"features of like firing rate: {percent(m.null_mean, 0)} (p = {p_value(m.p)}); {adjusted}",
    )


def _trrust(parts: ReportInput) -> tuple[Finding, ...]:
    found = parts.analysis.trrust if parts.analysis is not None else None
    return (
        (
            Finding(
                "signs",
                found.claim,
                (
                    f"gene lists exchanged among features of like degree: {found.control}"
                    if found.control
                    else "no share is stated"
                ),
            ),
        )
        if found
        else ()
    )


def rows_of(frame: Any, verb: str) -> Any:
    """Interventions of one verb."""
    return frame[frame["verb"] == verb] if len(frame) and "verb" in frame else frame.iloc[:0]


def _ablation(parts: ReportInput) -> Finding:
    pairs = rows_of(parts.interventions, "ablate")
    if "order" in pairs:
        pairs = pairs[pairs["order"] >= 2]
    if not len(pairs):
        return Finding("ablation", "no features were ablated together", "run ablate")
    ratio, null = (
        float(pairs[c].median()) if c in pairs else float("nan") for c in ("ratio", "ratio_null")
    )
    hits = int(pairs["significant"].sum()) if "significant" in pairs else 0
    tested = int(pairs["tested"].sum()) if "tested" in pairs else 0
    return Finding(
        "ablation",
        f"{len(pairs)} joint ablations of hubs: {count(hits)} of {count(tested)} targets deviate"
        f" from additive effects; median ratio of joint to single effects {number(ratio)}",
        f"exactly additive effects on the same cells would give {number(null)}",
    )


def steering_slopes(features: Any) -> Any:
    """Features with a steering slope."""
    if not len(features) or "steering_slope" not in features:
        return features.iloc[:0]
    return features[features["steering_slope"].notna()]


def _steering(parts: ReportInput) -> Finding:
    steered = steering_slopes(parts.features)
    if not len(steered):
        return Finding("steering", "no feature was steered", "run steer")
    strongest = steered.iloc[int(np.argmax(np.abs(steered["steering_slope"].to_numpy(float))))]
    p = (
        steered["steering_p"].to_numpy(float)
        if "steering_p" in steered
        else np.full(len(steered), np.nan)
    )
    claim = (
        f"{int((p <= 0.05).sum())} of {len(steered)} steered features move the readout with the"
        f" dose (p <= 0.05); the strongest, {_short(strongest['id'])}, by"
        f" {number(strongest['steering_slope'])} per dose, raising"
        f" {strongest.get('steering_gene') or 'no gene'} most"
    )
    control: Any = (
        steered["steering_control"].to_numpy(float)
        if "steering_control" in steered
        else np.full(len(steered), np.nan)
    )
    if np.isfinite(control).any():
        return Finding(
            "steering",
            claim,
            "random directions of equal norm: median |slope|"
            f" {number(float(np.nanmedian(np.abs(control))))}, the features'"
            f" {number(float(np.nanmedian(np.abs(steered['steering_slope'].to_numpy(float)))))}",
        )
    return Finding("steering", claim, "no control direction was steered")


def _short(address: Any) -> str:
    return "/".join(str(address).split("/")[-2:])
