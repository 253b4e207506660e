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
    def of(modularity):
        null = np.linspace(0.3, 0.32, 39)
        numbers = {"curve": [], "modularity": beside(modularity, null, "above")._asdict()}
        found = Finding("modules", "Modules", "six modules", "rewired", pd.DataFrame(), numbers)
        return answer(replace(parts, stored=[StoredFinding("m", found, "r", "analyse")]), "modules")

    assert of(0.4)[0] == "Yes" and of(0.31)[0] == "No"
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


def test_steering_beside_a_random_direction(parts):
    found, sentence = answer(parts, "steering")
    assert found == "Partly" and sentence.startswith("1 of 2 steered features")
    stronger = parts.features.assign(steering_control=[0.5, None, 0.5])
    assert answer(replace(parts, features=stronger), "steering")[0] == "No"


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
