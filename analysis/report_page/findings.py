"""The findings of the report, one sentence each: a claim with its numbers and, apart from it, the
control that could have refuted it.

One function per finding, in the order of the page. The sentences on tail, hubs, bias, signs and
TRRUST that stand in the sections below are those of the results themselves
(`scircuit.analysis.circuits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scircuit.analysis.report_page.annotation_claims import (
    excess_sentence,
    features_rated,
    published_claim,
    published_control,
)
from scircuit.analysis.report_page.control_rows import hub_replication
from scircuit.analysis.report_page.intervention_runs import rows_of, runs_of, sets_in
from scircuit.analysis.report_page.number_text import (
    count,
    fixed,
    known,
    number,
    p_value,
    percent,
    signed,
)
from scircuit.analysis.report_page.report_input import (
    AnnotateFindings,
    ReportInput,
    baseline_losses,
    loss_on_cells,
)
from scircuit.analysis.steering.random_calls import RandomCalls, random_calls

if TYPE_CHECKING:
    import pandas as pd


class Finding(NamedTuple):
    """`claim` is what was found, `control` what it is compared with; `topic` is the section of the
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
    """The findings of a trace run, in the order of the page, and one for each imported atlas; a
    step that was not run says so.
    """
    atlases = tuple(_atlas(a) for a in parts.atlases)
    if not parts.trace:
        return atlases
    return (
        _model(parts),
        *_computed(parts),
        _edges(parts),
        _zero(parts),
        _replication(parts),
        _tail(parts),
        _rate(parts),
        _annotation(parts),
        _bias(parts),
        *_trrust(parts),
        *_of_runs(parts, "ablate", _ablation),
        *_of_runs(parts, "steer", _steering),
        *atlases,
    )


def _values(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Known values of a column; none where there is no such column."""
    if name not in frame:
        return np.zeros(0)
    values = np.asarray(frame[name], dtype=float)
    return values[~np.isnan(values)]


def _model(parts: ReportInput) -> Finding:
    loss, others = parts.model.get("mlm_loss"), baseline_losses(parts.model)
    frame = parts.dictionaries
    here, beside = loss_on_cells(parts.trace.get("loss") or {})
    text = [here] if here else []
    if known(loss):
        where = (
            "on held-out cells of its training it is"
            if here
            else "the model's loss on masked genes of held-out cells is"
        )
        text.append(f"{where} {number(loss)} nats")
    explained = _values(frame, "variance_explained")
    if explained.size:
        low, high = explained.min(), explained.max()
        text.append(
            f"{len(frame)} dictionaries explain {percent(low, 0)} to {percent(high, 0)} of the"
            " variance of its states"
        )
    control = [f"on the same genes, in nats: {beside}"] if beside else []
    if others:
        control.append(f"baselines in nats{' in its training' * bool(here)}: {others}")
    components = _values(frame, "pca_variance_explained")
    if components.size:
        low, high = components.min(), components.max()
        control.append(
            f"as many principal components as features active at once explain {percent(low, 0)} to"
            f" {percent(high, 0)}"
        )
    dead = _values(frame, "dead_share")
    if dead.size:
        control.append(f"features that never fire: at most {percent(dead.max(), 0)}")
    return Finding(
        "inputs",
        "; ".join(text) or "the losses of the model and its dictionaries are not known",
        "; ".join(control) or "no baseline is known",
    )


def control_sums(controls: pd.DataFrame, kind: str) -> tuple[float, float]:
    """Edges and control edges of one control, summed over layer pairs (NaN: not run)."""
    if not len(controls) or "control" not in controls:
        return float("nan"), float("nan")
    rows = controls.loc[controls["control"] == kind]
    control_edges = _values(rows, "control_edges")
    if not control_edges.size:
        return float("nan"), float("nan")
    return float(_values(rows, "edges").sum()), float(control_edges.sum())


def _computed(parts: ReportInput) -> tuple[Finding, ...]:
    """Edges that the model computes, beside random directions and scrambled copies."""
    t = parts.trace
    if not t.get("directions"):
        return ()
    claim = (
        f"{count(t.get('sources'))} features of layer"
        f" {', '.join(map(str, t.get('source_layers', '?')))} have"
        f" {count(t.get('edges_computed'))} computed edges (q <= 0.05 over"
        f" {count(t.get('callable_pairs'))} pairs in {count(t.get('cells'))} cells)"
        + (
            f", {count(t.get('edges_continued'))} of them to targets to which the residual stream"
            " carries the feature anyway"
            if known(t.get("edges_continued"))
            else ""
        )
        + f"; {count(t.get('edges_carried'))} further effects are carried by the residual stream"
    )
    control = (
        f"at the same threshold, random directions in the place of the features have"
        f" {number(t.get('expected_false'))}"
    )
    scrambled = "; ".join(parts.null.get("sentences", ()))
    return (Finding("edges", claim, "; ".join(x for x in (control, scrambled) if x)),)


def _edges(parts: ReportInput) -> Finding:
    t = parts.trace
    claim = (
        f"{count(t.get('edges_calibrated'))} total effects on activations are not zero (q <= 0.05"
        f" over {count(t.get('callable_tests', t.get('live_tests')))} tests)"
    )
    if known(t.get("edges_generic")):
        claim += (
            f"; {count(t.get('edges_generic'))} of them are generic: neither computed nor carried"
            " more than those of random directions"
        )
    control = []
    for kind, name in (
        ("random_direction", "a random direction of equal norm"),
        ("feature_swap", "another feature's direction"),
    ):
        edges, other = control_sums(parts.controls, kind)
        if known(other):
            share = f", {percent(other / edges, 1)} of their {count(edges)}" if edges else ""
            control.append(f"{name} gives {count(other)}{share}")
    sampled = f"for a sample of the sources, {'; '.join(control)}" if control else ""
    return Finding("edges", claim, sampled or "the controls were not run")


def _zero(parts: ReportInput) -> Finding:
    value, smallest = (parts.trace.get(n) for n in ("zero_edit_max", "numeric_floor"))
    floor = (
        f"; effects up to {number(smallest)} (numeric floor) count as none"
        if known(smallest)
        else ""
    )
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
        else "the size of the effects is not known: the run was not analysed or has no edges"
    )
    return Finding(
        "edges",
        claim,
        (
            "an edit that removes nothing changes no activation by more than"
            f" {number(value)}{floor}"
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
            "replication in other cells was not measured",
            "it needs the split-half control and at least eight cells in each half",
        )
    return Finding(
        "edges",
        f"of {count(found)} effects that one half of the cells finds (p <= 0.01),"
        f" {percent(share, 0)} have the same sign and p <= 0.05 in the other half",
        f"expected by chance: at most {percent(numbers.get('half_chance'))}",
    )


def _tail(parts: ReportInput) -> Finding:
    if parts.analysis is None:
        return Finding("degree", "the degree distribution was not analysed", "run scircuit analyse")
    tail = parts.analysis.tail
    if tail.fit is None:
        return Finding("degree", tail.sentence, "no comparison with other distributions")
    where = (
        f"the tail of the out-degrees ({count(tail.n_tail)} of {count(tail.degrees.size)} features,"
        f" degree >= {count(tail.xmin)})"
    )
    refuted = known(tail.p_gof) and tail.p_gof <= 0.1
    claim = (
        f"{where} {'does not fit' if refuted else 'is compatible with'} a power law (alpha"
        f" {fixed(tail.alpha)} ± {fixed(tail.fit.sigma)}"
        + (f", bootstrap p = {p_value(tail.p_gof)})" if known(tail.p_gof) else ")")
    )
    better = [c for c in tail.comparisons if c.favoured not in ("neither", "power law")]
    lognormal = next((c for c in tail.comparisons if c.name == "lognormal"), None)
    if better:
        control = "better fit than the power law: " + ", ".join(
            f"{c.name} (p = {p_value(c.p)})" for c in better
        )
    elif lognormal is not None and lognormal.favoured == "neither":
        control = f"power law and lognormal are not distinguishable (p = {p_value(lognormal.p)})"
    else:
        control = "no alternative fits better"
    return Finding("degree", claim, control)


def _rate(parts: ReportInput) -> Finding:
    if parts.analysis is None:
        return Finding(
            "hubs", "degree against firing rate was not analysed", "run scircuit analyse"
        )
    fit = parts.analysis.hub_fit
    top = parts.analysis.frames["hubs"]
    if not known(fit.rho) or not len(top):
        return Finding("hubs", fit.sentence, "no adjustment is possible")
    first = top.iloc[0]
    claim = (
        "the strongest hub given its firing rate is"
        f" {first['address']}{' ' + first['label'] if known(first['label']) else ''}:"
        f" {count(first['out_degree'])} edges, {count(first['expected_degree'])} expected"
    )
    control = [
        (
            f"the firing rate alone explains {percent(fit.r2, 0)} of the variance of log degree"
            f" (Spearman {fixed(fit.rho)})"
        ),
        hub_replication(parts.trace),
    ]
    return Finding("hubs", claim, "; ".join(part for part in control if part))


def _annotation(parts: ReportInput) -> Finding:
    a = parts.annotate
    if not a:
        return Finding("annotation", "the features were not annotated", "run scircuit annotate")
    excess = excess_sentence(a)
    libraries = ", ".join(dict.fromkeys(c.get("library", "") for c in a.get("coverage", ())))
    claim = (
        f"{f'{excess}: ' if excess else ''}{count(a.get('features_annotated'))} of"
        f" {count(features_rated(a))} features ({percent(a.get('annotation_rate'))}) are enriched"
        f" in a term of {libraries}"
    )
    return Finding(
        "annotation",
        claim,
        f"the same threshold annotates {percent(a.get('null_annotation_rate'), 2)} of random gene"
        " lists with similar detection rates",
    )


def _atlas(atlas: AnnotateFindings) -> Finding:
    published = atlas.get("published")
    if published:
        return Finding(
            "annotation", published_claim(atlas, published), published_control(atlas, published)
        )
    rate = (
        excess_sentence(atlas)
        or f"{percent(atlas.get('annotation_rate'))} of features are annotated"
    )
    return Finding(
        "annotation",
        f"in {atlas.get('name')}, {rate}",
        f"matched random gene lists: {percent(atlas.get('null_annotation_rate'), 2)}; the published"
        " rule could not be repeated",
    )


def _bias(parts: ReportInput) -> Finding:
    bias = parts.analysis.bias if parts.analysis is not None else None
    if bias is None or not bias.fisher:
        return Finding(
            "bias", bias.sentence if bias else "annotation bias was not analysed", "no test"
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
        f"adjusted slope {signed(logistic.slope)}, p = {p_value(logistic.p)}"
        if not logistic.problem
        else f"no adjusted slope: {logistic.problem}"
    )
    return Finding(
        "bias",
        claim,
        f"features with similar firing rates: {percent(m.null_mean, 0)} (p = {p_value(m.p)});"
        f" {adjusted}",
    )


def _trrust(parts: ReportInput) -> tuple[Finding, ...]:
    found = parts.analysis.trrust if parts.analysis is not None else None
    return (
        (
            Finding(
                "signs",
                found.claim,
                (
                    f"gene lists permuted among features with similar degree: {found.control}"
                    if found.control
                    else "no comparison with chance"
                ),
            ),
        )
        if found
        else ()
    )


def _of_runs(
    parts: ReportInput, verb: str, found: Callable[[ReportInput], Finding]
) -> tuple[Finding, ...]:
    """One finding for each run of a verb; of several runs each says which it is."""
    return tuple(
        one._replace(claim=f"{run.about}: {one.claim}") if run.about else one
        for run, one in ((run, found(run.parts)) for run in runs_of(parts, verb))
    )


def _ablation(parts: ReportInput) -> Finding:
    pairs = rows_of(parts.interventions, "ablate")
    if "order" in pairs:
        pairs = pairs.loc[pairs["order"] >= 2]
    if not len(pairs):
        return Finding("ablation", "no features were ablated together", "run scircuit ablate")
    sets = sets_in(pairs)
    hits = int(pairs["significant"].sum()) if "significant" in pairs else 0
    tested = int(pairs["tested"].sum()) if "tested" in pairs else 0
    ratio, null = (joint_ratios(pairs, c) for c in ("ratio", "ratio_null"))
    return Finding(
        "ablation",
        f"{count(sets)} {'set' if sets == 1 else 'sets'} of features ablated together:"
        f" {count(hits)} of {count(tested)} interaction contrasts differ from zero; median ratio of"
        f" joint to single effects {ratio}",
        f"exactly additive effects on the same cells would give {null}",
    )


def middle(frame: pd.DataFrame, name: str) -> float:
    """Median of the known values of a column; NaN where there is none."""
    values = _values(frame, name)
    return float(np.median(values)) if values.size else float("nan")


def joint_ratios(sets: pd.DataFrame, column: str) -> str:
    """Median of a ratio over sets, for each number of features ablated together."""
    if column not in sets:
        return number(None)
    if "order" not in sets or sets["order"].nunique() < 2:
        return number(middle(sets, column))
    return ", ".join(
        f"{number(middle(own, column))} of {str(order).split('.')[0]}"
        for order, own in sets.groupby("order")
    )


def _steered(features: pd.DataFrame) -> pd.DataFrame:
    """Features with a steering slope."""
    if not len(features) or "steering_slope" not in features:
        return features.iloc[:0]
    return features.loc[features["steering_slope"].notna()]


def steering_calls(parts: ReportInput, steered: pd.DataFrame) -> RandomCalls:
    """Steered features that random directions do not reach, by the run's own rule."""
    rows = rows_of(parts.interventions, "steer")
    own = set(rows["run"].dropna()) if "run" in rows else set()
    runs = [r for r in parts.runs if r.get("verb") == "steer" and (not own or r.get("run") in own)]
    config = runs[-1].get("config") if runs else None
    given = config.get("random_directions") if isinstance(config, Mapping) else None
    p = np.asarray(steered.get("steering_p_random", ()), dtype=float)
    return random_calls(p, given if isinstance(given, int) else None)


def _steering(parts: ReportInput) -> Finding:
    steered = _steered(parts.features)
    if not len(steered):
        return Finding("steering", "no feature was steered", "run scircuit steer")
    size = np.abs(steered["steering_slope"].to_numpy(float))
    strongest = steered.iloc[int(np.argmax(size))]
    found = steering_calls(parts, steered)
    said = (
        f"{count(len(steered))} features were steered; {found.problem}"
        if found.problem
        else found.sentence
    )
    claim = (
        f"{said}; the steepest slope is that of {_short(strongest['id'])},"
        f" {number(strongest['steering_slope'])} per unit of dose; it raises"
        f" {strongest.get('steering_gene') or 'no gene'} most"
    )
    control = _values(steered, "steering_control")
    if control.size:
        return Finding(
            "steering",
            claim,
            "median |slope| of random directions of equal norm"
            f" {number(float(np.median(np.abs(control))))}, of the features"
            f" {number(float(np.median(size)))}",
        )
    return Finding("steering", claim, "no random direction was steered")


def _short(address: object) -> str:
    return "/".join(str(address).split("/")[-2:])
