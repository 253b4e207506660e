"""Several ablate and steer runs on the page: each has its own numbers, figures and anchors."""

from __future__ import annotations

import io
import re
from collections import Counter

import pandas as pd
import pytest

from scircuit.analysis.report_page import findings, report_page
from scircuit.analysis.report_page.figures.all_figures import STORED_P
from scircuit.analysis.report_page.intervention_runs import runs_of
from scircuit.analysis.report_page.table_rows import ratio_rows
from scircuit.analysis.report_page.verdicts import verdicts
from scircuit.tracing.interventions.ablation.subset_tests import STORE_P
from tests.support.report_parts import make_parts
from tests.support.report_runs import with_many_runs


@pytest.fixture(scope="module")
def parts():
    return with_many_runs(make_parts())


@pytest.fixture(scope="module")
def page(parts):
    return report_page(parts)


def test_names_are_unique_and_every_figure_is_linked(page):
    html = re.sub(r"<svg.*?</svg>", "", page.html, flags=re.S)
    anchors = re.findall(r' id="([^"]+)"', html)
    assert [a for a, n in Counter(anchors).items() if n > 1] == []
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(anchors)
    names = ("dose_response", "interaction", "ablation_ratio")
    assert {f"{n}{end}" for n in names for end in ("", "_2")} <= set(page.figures)
    for name in page.figures:
        assert f'href="figures/{name}.svg"' in page.html
        assert f'href="figures/{name}.csv"' in page.html


def test_every_run_has_its_own_numbers(parts, page):
    first, second = runs_of(parts, "ablate")
    assert (first.about, second.about) == ("run 1 of 2: 3 pairs", "run 2 of 2: 1 set of 3")
    [amplified, clamped] = runs_of(parts, "steer")
    assert amplified.about == "run 1 of 2: 2 features, amplify"
    assert clamped.about == "run 2 of 2: 1 feature, clamp"
    doses = [pd.read_csv(io.StringIO(page.figures[f"dose_response{e}"].csv)) for e in ("", "_2")]
    assert [len(d) for d in doses] == [6, 3] and set(doses[1]["mode"]) == {"clamp"}
    asked = [v for v in verdicts(parts) if "steering" in v.question]
    assert [v.link for v in asked] == ["steering", "steering_2"]
    assert asked[1].question.endswith("(run 2 of 2: 1 feature, clamp)")
    claims = [f.claim for f in findings(parts) if f.topic == "ablation"]
    assert claims[0].startswith(
        "run 1 of 2: 3 pairs: 3 sets of features ablated together: 24 of 360"
    )
    assert claims[1].startswith(
        "run 2 of 2: 1 set of 3: 1 set of features ablated together: 16 of 240"
    )


def test_sets_are_counted_once(parts):
    """However many layers they are read at, and however many pairs a triplet has."""
    pairs, triplets = (ratio_rows(run.parts) for run in runs_of(parts, "ablate"))
    assert [(r["order"], r["sets"], r["tested"]) for r in pairs] == [(2, 3, 360)]
    assert [(r["order"], r["sets"], r["tested"]) for r in triplets] == [(2, 1, 180), (3, 1, 60)]


def test_the_caption_says_which_contrasts_are_drawn(page):
    """A selection by p stands further from the line than all contrasts would."""
    assert STORED_P == STORE_P
    ratios = pd.read_csv(io.StringIO(page.figures["ablation_ratio"].csv))
    assert ratios["pair"].is_unique and ratios["pair"].str.contains(r" in L0[23]$").all()
    caption = page.figures["interaction"].caption
    assert "12 of 360 tested contrasts of pairs: those with p ≤ 0.1" in caption
    assert "6 of 180 tested contrasts of pairs" in page.figures["interaction_2"].caption


def test_runs_of_one_study_that_name_none_are_one():
    parts = make_parts()
    [one] = runs_of(parts, "steer")
    assert one.parts is parts and one.suffix == one.about == ""
