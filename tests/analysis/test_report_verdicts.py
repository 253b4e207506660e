"""The verdicts say what the numbers say: the word changes when the control does, and what was not
measured is said to be; published numbers stand beside those of the run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.finding import Finding
from scircuit.analysis.report_page import build_report
from scircuit.analysis.report_page.findings import findings
from scircuit.analysis.report_page.published_numbers import compared
from scircuit.analysis.report_page.report_input import StoredFinding
from scircuit.analysis.report_page.verdicts import verdicts
from scircuit.analysis.structure.null_numbers import beside
from tests.support.report_parts import make_parts


@pytest.fixture(scope="module")
def parts():
    return make_parts()


def answer(parts, word):
    """Answer and sentence of the one verdict whose question has a word."""
    [found] = [v for v in verdicts(parts) if word in v.question]
    return found.answer, found.sentence


def traced(parts, **changed):
    return replace(parts, trace={**parts.trace, **changed})


@pytest.mark.parametrize(
    ("edges", "random", "word"), [(1000, 30.0, "Yes"), (1000, 500.0, "Partly"), (40, 50.0, "No")]
)
def test_edges_beside_random_directions(parts, edges, random, word):
    run = traced(parts, directions=[{}], edges_computed=edges, expected_false=random)
    found, sentence = answer(run, "random directions lack")
    assert found == word
    assert f"{edges:,} computed edges" in sentence and f"would have {random:.0f}" in sentence


def test_the_model_beside_its_baselines(parts):
    def of(loss):
        return answer(
            traced(parts, loss={"loss": loss, "unigram": 8.9, "uniform": 9.9}), "know these"
        )

    assert of(7.4)[0] == "Yes" and "8.9 for unigrams" in of(7.4)[1]
    assert of(9.2)[0] == "Partly" and of(12.0)[0] == "No"
    assert answer(replace(parts, model={}), "know these")[0] == "Not measured"


def test_effects_beside_another_direction(parts):
    found, sentence = answer(parts, "not zero")
    assert found == "Partly" and "14 % as many (57 against 400)" in sentence
    many = parts.controls.assign(control_edges=[None, 390, None, None])
    assert answer(replace(parts, controls=many), "not zero")[0] == "No"
    none = replace(parts, controls=pd.DataFrame())
    assert answer(none, "not zero")[0] == "Not measured"


def test_other_cells(parts):
    numbers = parts.trace["controls"]
    assert answer(parts, "other cells")[0] == "Yes"
    chance = traced(parts, controls={**numbers, "half_agreement": 0.03})
    assert answer(chance, "other cells")[0] == "No"
    assert "by chance at most 2.5 %" in answer(parts, "other cells")[1]


def test_hubs_beside_the_firing_rate(parts):
    numbers = parts.trace["controls"]
    low = traced(parts, controls={**numbers, "half_residual_rho": 0.01})
    high = traced(parts, controls={**numbers, "half_residual_rho": 0.8})
    fit = replace(parts.analysis.hub_fit, r2=0.5)
    for run, word in ((low, "Not shown"), (high, "Yes"), (parts, "Partly")):
        run = replace(run, analysis=replace(parts.analysis, hub_fit=fit))
        assert answer(run, "fire often")[0] == word
    all_rate = replace(parts.analysis, hub_fit=replace(fit, r2=0.95))
    assert answer(replace(high, analysis=all_rate), "fire often")[0] == "No"


def test_annotation_beside_random_lists(parts):
    found, sentence = answer(parts, "known biology")
    assert found == "Yes" and "1.23 % of random gene lists" in sentence
    none = replace(parts, annotate={**parts.annotate, "excess": [0.01, -0.02, 0.04]})
    assert answer(none, "known biology")[0] == "No"
    assert answer(replace(parts, annotate={}), "known biology")[0] == "Not measured"


def test_modules_beside_rewired_edges(parts):
    def of(modularity, halves=0.6):
        null = np.linspace(0.3, 0.32, 39)
        numbers = {"curve": [], "modularity": beside(modularity, null, "above")._asdict()}
        numbers["half_rand"] = halves
        found = Finding("modules", "Modules", "six modules", "rewired", pd.DataFrame(), numbers)
        return answer(replace(parts, stored=[StoredFinding("m", found, "r", "analyse")]), "modules")

    assert of(0.4)[0] == "Yes" and of(0.31)[0] == "No"
    assert of(0.4, 0.02)[0] == "Partly" and "adjusted Rand 0.02" in of(0.4, 0.02)[1]
    assert "rewired at equal degrees 0.31 (0.3 to 0.32; p = 0.025)" in of(0.4)[1]
    assert not any(v.link == "modules" for v in verdicts(parts))
    untested = Finding("modules", "Modules", "not looked for", "rewired", pd.DataFrame(), {})
    parts = replace(parts, stored=[StoredFinding("m", untested, "r", "analyse")])
    assert answer(parts, "modules") == ("Not measured", "not looked for")


def test_joint_ablations_by_number_of_features(parts):
    found, sentence = answer(parts, "adding up")
    assert found == "Partly" and "4 of 60 interaction contrasts" in sentence
    triple = {"id": "i2", "verb": "ablate", "order": 3, "tested": 100, "significant": 0}
    triple |= {"ratio": 0.5, "ratio_null": 0.58}
    more = replace(
        parts,
        interventions=pd.concat([parts.interventions, pd.DataFrame([triple])], ignore_index=True),
    )
    found, sentence = answer(more, "adding up")
    assert found == "Rarely"
    assert "0.61 of 2, 0.5 of 3" in sentence and "would give 0.72 of 2, 0.58 of 3" in sentence
    nothing = parts.interventions.assign(significant=0)
    assert answer(replace(parts, interventions=nothing), "adding up")[0] == "No"


def steered(parts, p_random, directions=19, **columns):
    """A run of features with these p_random; every cell agrees and each slope is the larger one, as
    of almost any direction.
    """
    n = len(p_random)
    features = pd.DataFrame(
        {
            "id": [f"m/d/L01/F{i:04d}" for i in range(n)],
            "steering_slope": np.full(n, 0.5),
            "steering_p": np.full(n, 0.001),
            "steering_p_random": p_random,
            "steering_control": np.full(n, 0.4),
        }
    ).assign(**columns)
    run = {"run": "steer-1", "verb": "steer", "config": {"random_directions": directions}}
    return replace(parts, features=features, runs=[*parts.runs, run])


@pytest.mark.parametrize("directions", [19, 99])
def test_steering_of_features_without_effect_is_no(parts, directions):
    """p_random of such features is uniform, whatever the p over cells says."""
    rng = np.random.default_rng(directions)
    words = []
    for _ in range(300):
        p = rng.integers(1, directions + 2, 24) / (1 + directions)
        words.append(answer(steered(parts, p, directions), "steering")[0])
    # at most 15 of 300 expected; 28 or more would have probability 0.001
    assert set(words) <= {"No", "Partly"} and words.count("No") >= 300 - 27


def test_steering_of_planted_features(parts):
    null = np.random.default_rng(0).integers(1, 21, 24) / 20
    half = np.r_[np.full(12, 0.05), null[12:]]
    found, sentence = answer(steered(parts, half), "steering")
    assert found == "Partly" and "of 24 steered features move the genes they fire on" in sentence
    assert "by chance 1.2 would" in sentence and "binomial p" in sentence
    assert answer(steered(parts, np.full(24, 0.05)), "steering")[0] == "Yes"
    # one hit of 24 is what chance gives
    assert answer(steered(parts, np.r_[0.05, np.full(23, 0.5)]), "steering")[0] == "No"


def test_steering_with_too_few_random_directions_is_not_measured(parts):
    run = steered(parts, np.full(24, 1 / 6), 5)
    found, sentence = answer(run, "steering")
    assert found == "Not measured" and "with 5 random directions p_random is at least" in sentence
    assert "--random-directions 19" in sentence
    older = replace(run, features=run.features.drop(columns="steering_p_random"), runs=[])
    assert answer(older, "steering")[0] == "Not measured"
    page = build_report(run)
    assert "no feature can reach p_random ≤ 0.05" in page
    assert "steered features change" not in page and "features move" not in page


def test_the_page_says_of_steering_what_the_run_says(parts):
    import pyarrow as pa

    from scircuit.workflows.interventions.steer import summarise

    for directions, p in ((5, [1 / 6] * 4), (19, [0.05, 0.05, 0.05, 0.5])):
        run = steered(parts, p, directions)
        tables = {
            "Feature": pa.Table.from_pandas(run.features),
            "Intervention": pa.table({"beyond_norm": [False], "norm_ratio": [1.0]}),
            "Readout": pa.table({"measure": pa.array([], pa.string())}),
        }
        said = summarise(tables, directions)[1][1]
        assert said in answer(run, "steering")[1]
        assert any(said in f.claim for f in findings(run))


def test_every_verdict_links_to_its_evidence(parts):
    page = build_report(parts)
    for found in verdicts(parts):
        assert f'id="{found.link}"' in page and found.question in page
        assert len(found.sentence) < 400, found.sentence
    assert page.index('id="verdicts"') < page.index('id="circuit"') < page.index('id="degree"')
    order = ["degree", "edges", "hubs", "steering", "ablation", "modules", "further", "published"]
    places = [page.index(f'<section id="{name}"') for name in order]
    assert places == sorted(places)


def test_published_numbers_stand_beside_those_of_the_run(parts):
    rows = {r.quantity: r for r in compared(parts)}
    degree = parts.analysis.frames["hubs"]["out_degree"]
    mean = rows["edges per source, mean"]
    assert mean.published.startswith("342.9") and f"{degree.mean():.3g} by" in mean.here
    pair = rows["joint effect of two / sum of single effects"]
    assert (pair.published, pair.here) == ("0.70", "0.61 (1 sets)")
    assert pair.control == "exactly additive effects: 0.72"
    assert rows["joint effect of three / sum of single effects"].here == "–"
    page = build_report(parts)
    assert all(text in page for text in ("342.9", "0.53 (first release 0.59)", "3.6 %"))
    assert compared(replace(parts, trace={})) == []


def with_numbers(parts, name, numbers):
    finding = Finding(name, name, "", "", pd.DataFrame(), numbers)
    return replace(parts, stored=[*parts.stored, StoredFinding(name, finding, "r", "analyse")])


def test_the_selective_study_stands_beside_its_chance_and_the_findings_of_the_run(parts):
    """Without the findings a dash; with them the run's own number and its own null."""
    parts = replace(parts, stored=[])
    names = {
        "coherence": "edges whose ends share a term (selective study)",
        "sign_structure": "edges with d < 0 (selective study)",
        "consensus": "pairs of labels common to two models, over permuted names (selective study)",
    }
    bare = {r.quantity: r for r in compared(parts)}
    assert all(bare[q].here == "–" and not bare[q].control for q in names.values())
    assert bare[names["coherence"]].published == "53 %"
    assert "31 to 36 %" in bare[names["coherence"]].chance
    assert bare[names["consensus"]].chance.startswith("13 to 19")
    full = with_numbers(
        parts, "coherence", {"all": {"observed": 0.412, "edges": 800, "expected": 0.35}}
    )
    rules = [
        {"rule": "legacy", "support_share": 0.81, "expected_share": 0.714},
        {"rule": "calibrated", "support_share": 0.5, "expected_share": 0.5},
        {"rule": "computed", "support_share": None, "expected_share": None},
    ]
    full = with_numbers(full, "sign_structure", {"rules": rules})
    nulls = [
        {"counted": "pairs", "null": "names permuted", "observed": 60, "expected": 5.0},
        {"counted": "pairs", "null": "targets resampled", "observed": 60, "expected": 40.0},
        {"counted": "pairs", "null": "targets resampled", "observed": 60, "expected": 50.0},
        {"counted": "edges", "null": "targets resampled", "observed": 9, "expected": 1.0},
    ]
    full = with_numbers(full, "consensus", {"nulls": nulls})
    rows = {r.quantity: r for r in compared(full)}
    coherent, negative, common = (rows[q] for q in names.values())
    assert (coherent.here, coherent.control) == (
        "41.2 % of 800 edges", "targets resampled among annotated features: 35.0 %"
    )  # fmt: skip
    assert (negative.here, negative.control) == (
        "81.0 % by the published rule", "random signs: 71.4 % by the published rule"
    )  # fmt: skip
    assert (common.here, common.control) == ("12", "targets resampled: 9")
    untested = with_numbers(parts, "coherence", {"draws": 0})
    assert next(r for r in compared(untested) if r.quantity == coherent.quantity).here == "–"
