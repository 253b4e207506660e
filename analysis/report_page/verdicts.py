"""The verdicts at the top of the report: a question, a word for the answer, and one short sentence
that has the control in it.

The word follows from numbers alone, by the thresholds written in each function. The claims in full
are in `scircuit.analysis.report_page.findings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from scircuit.analysis.report_page.annotation_claims import excess, features_rated
from scircuit.analysis.report_page.findings import (
    control_sums,
    joint_ratios,
    steering_calls,
)
from scircuit.analysis.report_page.intervention_runs import rows_of, runs_of
from scircuit.analysis.report_page.number_text import (
    as_float,
    count,
    known,
    number,
    p_value,
    percent,
)
from scircuit.analysis.report_page.report_input import BASELINES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scircuit.analysis.report_page.report_input import ReportInput

YES, NO, PARTLY, OPEN = "Yes", "No", "Partly", "Not measured"
ALPHA = 0.05
STABLE = 0.2


class Verdict(NamedTuple):
    """`link` is the section with the evidence."""

    question: str
    answer: str
    sentence: str
    link: str


def verdicts(parts: ReportInput) -> tuple[Verdict, ...]:
    """The verdicts in the order of the page; what was not run says so."""
    atlases = tuple(v for a in parts.atlases if (v := _atlas(a)))
    if not parts.trace:
        return atlases
    return (
        _model(parts),
        _edges(parts),
        _effects(parts),
        _replication(parts),
        _tail(parts),
        _hubs(parts),
        _annotation(parts),
        _bias(parts),
        *_modules(parts),
        *_trrust(parts),
        *_of_runs(parts, "ablate", _ablation),
        *_of_runs(parts, "steer", _steering),
        *atlases,
    )


def _model(parts: ReportInput) -> Verdict:
    """Yes: below every baseline; partly: below guessing and unigrams only."""
    question, link = "Does the model know these cells?", "inputs"
    here = parts.trace.get("loss") or {}
    if known(here.get("loss")):
        loss = here.get("loss")
        where = f"on {here.get('what', 'masked genes')} of these cells"
        baselines = {"unigrams": here.get("unigram"), "guessing": here.get("uniform")}
    else:
        loss, where = parts.model.get("mlm_loss"), "on held-out cells of its training"
        baselines = {words: parts.model.get(name) for name, words in BASELINES.items()}
    baselines = {words: as_float(v) for words, v in baselines.items() if known(v)}
    if not known(loss) or not baselines:
        return Verdict(question, OPEN, "its loss, or what to compare it with, is not known", link)
    below = [loss < value for value in baselines.values()]
    beside = ", ".join(f"{number(v)} for {words}" for words, v in baselines.items())
    return Verdict(
        question,
        YES if all(below) else PARTLY if any(below) else NO,
        f"its loss {where} is {number(loss)} nats, against {beside}",
        link,
    )


def _edges(parts: ReportInput) -> Verdict:
    """Yes: random directions have at most a fifth of the edges; no: as many."""
    question, link = "Do features have edges that random directions lack?", "edges"
    t = parts.trace
    found, false = t.get("edges_computed"), t.get("expected_false")
    if not t.get("directions") or not known(found) or not known(false):
        return Verdict(question, OPEN, "the run has no random directions to compare with", link)
    text = (
        f"{count(t.get('sources'))} features have {count(found)} computed edges; random directions"
        f" in their place would have {number(false)}"
    )
    scrambled = parts.null.get("sentences", ())
    if scrambled:
        text += f"; beside scrambled copies: {scrambled[0].split(';')[0]}"
    answer = NO if false >= found else YES if false <= found / 5 else PARTLY
    return Verdict(question, answer, text, link)


def _effects(parts: ReportInput) -> Verdict:
    """No: a random direction has at least half as many effects."""
    question = "Does an effect that is not zero speak for the feature?"
    edges, other = control_sums(parts.controls, "random_direction")
    generic, total = (as_float(parts.trace.get(k)) for k in ("edges_generic", "edges_calibrated"))
    if not (known(other) and edges):
        return Verdict(question, OPEN, "no random direction was removed for comparison", "edges")
    text = (
        f"removing a random direction instead makes {percent(other / edges, 0)} as many"
        f" ({count(other)} against {count(edges)})"
    )
    if known(generic) and known(total) and total:
        text += f"; {count(generic)} of {count(total)} effects are generic"
    answer = NO if other >= edges / 2 else PARTLY if other >= edges / 10 else YES
    return Verdict(question, answer, text, "edges")


def _replication(parts: ReportInput) -> Verdict:
    """Yes: at least four fifths return; no: fewer than twice as many as by chance."""
    question = "Do effects come back in other cells?"
    numbers = parts.trace.get("controls") or {}
    found, share = numbers.get("half_found"), numbers.get("half_agreement")
    chance = numbers.get("half_chance")
    if not found or not known(share):
        return Verdict(question, OPEN, "each half of the cells needs eight cells or more", "edges")
    answer = YES if share >= 0.8 else NO if share <= 2 * as_float(chance) else PARTLY
    return Verdict(
        question,
        answer,
        f"of {count(found)} effects that one half of the cells finds, {percent(share, 0)} return in"
        f" the other half; by chance at most {percent(chance)}",
        "edges",
    )


def _tail(parts: ReportInput) -> Verdict:
    """No: the bootstrap rejects it, or an alternative fits better."""
    question, link = "Is the degree distribution a power law?", "degree"
    if parts.analysis is None:
        return Verdict(question, OPEN, "run scircuit analyse", link)
    tail = parts.analysis.tail
    if tail.fit is None:
        return Verdict(question, OPEN, tail.sentence, link)
    where = f"tail of {count(tail.n_tail)} of {count(tail.degrees.size)} features, exponent"
    where = f"{where} {number(tail.alpha)}"
    better = [c for c in tail.comparisons if c.favoured not in ("neither", "power law")]
    lognormal = next((c for c in tail.comparisons if c.name == "lognormal"), None)
    if known(tail.p_gof) and tail.p_gof <= 0.1:
        return Verdict(question, NO, f"{where}; bootstrap p = {p_value(tail.p_gof)}", link)
    if better:
        names = ", ".join(f"{c.name} (p = {p_value(c.p)})" for c in better)
        return Verdict(question, NO, f"{where}; better fits: {names}", link)
    if lognormal is not None and lognormal.favoured == "neither":
        text = f"{where}; a lognormal fits as well (p = {p_value(lognormal.p)})"
        return Verdict(question, "Cannot be told", text, link)
    return Verdict(question, "Possibly", f"{where}; no alternative fits better", link)


def _hubs(parts: ReportInput) -> Verdict:
    """No: the firing rate explains nine tenths of the log degree; not shown: degree beyond it has a
    rank correlation below 0.3 between halves of the cells; yes: above 0.6.
    """
    question, link = "Are hubs more than features that fire often?", "hubs"
    if parts.analysis is None:
        return Verdict(question, OPEN, "run scircuit analyse", link)
    fit = parts.analysis.hub_fit
    if not known(fit.rho) or not known(fit.r2):
        return Verdict(question, OPEN, fit.sentence, link)
    text = (
        f"the firing rate explains {percent(fit.r2, 0)} of the variance of log degree (Spearman"
        f" {number(fit.rho, 2)})"
    )
    half = (parts.trace.get("controls") or {}).get("half_residual_rho")
    answer = NO if fit.r2 >= 0.9 else PARTLY
    if known(half):
        text += f"; degree beyond it has Spearman {number(half, 2)} between halves of the cells"
        if answer != NO:
            answer = "Not shown" if half < 0.3 else YES if half > 0.6 else PARTLY
    return Verdict(question, answer, text, link)


def _annotation(parts: ReportInput) -> Verdict:
    """Yes: the interval of the excess over random lists is above 0."""
    question, link = "Do features stand for known biology?", "annotation"
    a = parts.annotate
    if not a or not known(a.get("annotation_rate")):
        return Verdict(question, OPEN, "run scircuit annotate", link)
    beyond = excess(a)
    text = (
        f"{percent(a.get('annotation_rate'))} of {count(features_rated(a))} features are annotated,"
        f" {percent(a.get('null_annotation_rate'), 2)} of random gene lists with the same detection"
        " rates"
    )
    if beyond is None:
        above = as_float(a.get("annotation_rate")) > as_float(a.get("null_annotation_rate"))
        return Verdict(question, PARTLY if above else NO, text, link)
    text += f" (excess {percent(beyond[1])} to {percent(beyond[2])})"
    return Verdict(question, YES if beyond[1] > 0 else NO, text, link)


def _bias(parts: ReportInput) -> Verdict:
    """Yes: p <= 0.05 against features with similar firing rates, and fewer of them."""
    question, link = "Are hubs less often annotated?", "bias"
    bias = parts.analysis.bias if parts.analysis is not None else None
    if bias is None or not bias.fisher:
        return Verdict(question, OPEN, bias.sentence if bias else "run scircuit analyse", link)
    if bias.annotated in (0, bias.features):
        none = "no feature is" if not bias.annotated else "all features are"
        return Verdict(question, OPEN, f"{none} annotated, so hubs cannot differ", link)
    pairs = [
        (f, m) for f, m in zip(bias.fisher, bias.matched, strict=True) if f.ranking == "degree"
    ]
    if not pairs:
        return Verdict(question, OPEN, bias.sentence, link)
    f, m = pairs[min(len(pairs) - 1, 1)]
    fewer = f.top_share < m.null_mean
    differs = known(m.p) and m.p <= ALPHA
    return Verdict(
        question,
        (YES if fewer else "No, more often") if differs else NO,
        f"{f.top_annotated} of the {f.k} features with the highest degree are annotated"
        f" ({percent(f.top_share, 0)}), {percent(m.null_mean, 0)} of features with similar firing"
        f" rates (p = {p_value(m.p)})",
        link,
    )


def _modules(parts: ReportInput) -> tuple[Verdict, ...]:
    """Yes: modularity above that of rewired circuits (p <= 0.05), and communities of halves of the
    edges agree (adjusted Rand at least 0.2); partly: the former alone.
    """
    question, link = "Does the circuit fall into modules?", "modules"
    found = parts.stored_finding("modules")
    if found is None:
        return ()
    if "curve" not in found.numbers:
        return (Verdict(question, OPEN, found.sentence, link),)
    beside = cast("Mapping[str, float | None]", found.numbers.get("modularity") or {})
    if beside.get("p") is None:
        return (Verdict(question, NO, found.sentence, link),)
    halves = as_float(found.numbers.get("half_rand"))
    beyond = as_float(beside["p"]) <= ALPHA
    answer = NO if not beyond else YES if halves >= STABLE else PARTLY
    text = (
        f"modularity {number(beside['observed'])}; with the edges rewired at equal degrees"
        f" {number(beside['null_mean'])} ({number(beside['null_low'])} to"
        f" {number(beside['null_high'])}; p = {p_value(beside['p'])}); communities of halves of the"
        f" edges agree with adjusted Rand {number(halves, 2)}"
    )
    return (Verdict(question, answer, text, link),)


def _trrust(parts: ReportInput) -> tuple[Verdict, ...]:
    found = parts.analysis.trrust if parts.analysis is not None else None
    if found is None:
        return ()
    question, link = "Do signs follow known regulation (TRRUST)?", "signs"
    if not known(found.share) or not known(found.p):
        return (Verdict(question, OPEN, found.claim, link),)
    answer = YES if found.p <= ALPHA and found.share > found.null_mean else NO
    text = (
        f"{percent(found.share, 0)} of {count(found.decided)} edges with known mode agree, by"
        f" chance {percent(found.null_mean, 0)} (p = {p_value(found.p)})"
    )
    return (Verdict(question, answer, text, link),)


def _of_runs(
    parts: ReportInput, verb: str, judge: Callable[[ReportInput], Verdict]
) -> tuple[Verdict, ...]:
    """One verdict for each run of a verb; of several runs the question says which, and the link is
    that of the run.
    """
    return tuple(
        v._replace(question=run.of(v.question), link=f"{v.link}{run.suffix}")
        for run, v in ((run, judge(run.parts)) for run in runs_of(parts, verb))
    )


def _ablation(parts: ReportInput) -> Verdict:
    """Rarely: below a twentieth of the contrasts; often: at least a fifth."""
    question, link = "Do features act together other than by adding up?", "ablation"
    sets = rows_of(parts.interventions, "ablate")
    if "order" in sets:
        sets = sets.loc[sets["order"] >= 2]
    if not len(sets) or "tested" not in sets or not float(sets["tested"].sum()):
        return Verdict(question, OPEN, "run scircuit ablate", link)
    hits = int(sets["significant"].sum()) if "significant" in sets else 0
    share = hits / float(sets["tested"].sum())
    ratio, null = (joint_ratios(sets, c) for c in ("ratio", "ratio_null"))
    answer = NO if not hits else "Rarely" if share < 0.05 else "Often" if share >= 0.2 else PARTLY
    return Verdict(
        question,
        answer,
        f"{count(hits)} of {count(sets['tested'].sum())} interaction contrasts differ from zero;"
        f" ratio of joint to single effects {ratio}, exactly additive effects would give {null}",
        link,
    )


def _steering(parts: ReportInput) -> Verdict:
    """Yes: four fifths of the features have p_random <= 0.05; no: no more than chance gives
    (binomial p > 0.05); not measured: too few random directions for any p_random <= 0.05.
    """
    question, link = "Does steering a feature move its genes?", "steering"
    rows = parts.features
    if (
        not len(rows)
        or "steering_slope" not in rows
        or not rows["steering_slope"].notna().to_numpy().any()
    ):
        return Verdict(question, OPEN, "run scircuit steer", link)
    rows = rows.loc[rows["steering_slope"].notna()]
    slope = rows["steering_slope"].abs()
    found = steering_calls(parts, rows)
    if found.problem:
        return Verdict(question, OPEN, found.problem, link)
    beyond = as_float(found.p) <= ALPHA
    beside = (
        f"; median |slope| {number(float(slope.median()))}, of random directions"
        f" {number(float(rows['steering_control'].abs().median()))}"
        if "steering_control" in rows and rows["steering_control"].notna().any()
        else ""
    )
    return Verdict(
        question,
        NO if not beyond else YES if found.hits >= 0.8 * found.tested else PARTLY,
        f"{found.sentence} (binomial p = {p_value(found.p)}){beside}",
        link,
    )


def _atlas(atlas: object) -> Verdict | None:
    from collections.abc import Mapping

    assert isinstance(atlas, Mapping)
    name = atlas.get("name") or "the imported atlas"
    published = atlas.get("published")
    question = f"Does the annotation of {name} exceed chance?"
    if published:
        rate, random = (as_float(published.get(k)) for k in ("published", "random"))
        return Verdict(
            question,
            YES if rate > random else NO,
            f"{percent(rate)} of {count(published.get('alive'))} features are annotated as"
            f" published, {percent(random)} of random gene lists by the same procedure",
            "annotation",
        )
    rate, null = (as_float(atlas.get(k)) for k in ("annotation_rate", "null_annotation_rate"))
    return Verdict(
        question,
        YES if rate > null else NO,
        f"{percent(rate)} of the features are annotated, {percent(null, 2)} of matched random gene"
        " lists; the published rule could not be repeated",
        "annotation",
    )
