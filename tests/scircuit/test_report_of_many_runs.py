"""A report shows every run of ablate, steer, importance and circuit, each with its own numbers,
figures and anchors, and lists all of them.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter

import pandas as pd
import pytest

import scircuit
from scircuit.workflows.report import report

PLACE = {"database": False, "quiet": True}


@pytest.fixture(scope="module")
def runs(named_base, tmp_path_factory):
    """Pairs and triplets, two features amplified and one clamped, and a circuit."""
    study = tmp_path_factory.mktemp("many") / "study"
    shutil.copytree(named_base.study, study)
    made = [
        scircuit.ablate(study=study, hubs=3, device="cpu", **PLACE),
        scircuit.ablate(study=study, hubs=3, order=3, device="cpu", **PLACE),
        scircuit.steer(study=study, hubs=2, random_directions=2, device="cpu", **PLACE),
        scircuit.steer(
            study=study, hubs=1, mode="clamp", random_directions=3, device="cpu", **PLACE
        ),
        scircuit.circuit(study=study, **named_base.verbs()["circuit"], **PLACE),
    ]
    return study, made


@pytest.fixture(scope="module")
def page(runs):
    study, made = runs
    found = report(study)
    return found, found.path.read_text(encoding="utf-8"), made


def section(html, name):
    return html.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_every_run_is_shown_with_its_own_numbers(page):
    _, html, (pairs, triplets, amplified, clamped, _) = page
    for run, others, name in (
        (pairs, triplets, "ablation"),
        (triplets, pairs, "ablation"),
        (amplified, clamped, "steering"),
        (clamped, amplified, "steering"),
    ):
        text = section(html, name)
        start = text.index(f">{run.run}</span></h3>")
        own = text[start:].split("<h3")[0]
        assert others.run not in own
    ablation, steering = section(html, "ablation"), section(html, "steering")
    assert "Run 1 of 2: 3 pairs." in ablation and "Run 2 of 2: 1 set of 3." in ablation
    assert "Run 1 of 2: 2 features, amplify." in steering
    assert "Run 2 of 2: 1 feature, clamp." in steering
    assert "is set to a coefficient times" in steering.split("Run 2 of 2", 1)[1]
    assert html.count("Does steering a feature move its genes? (run ") == 2


def test_names_of_figures_files_and_anchors_are_unique(page):
    found, html, _ = page
    anchors = re.findall(r' id="([^"]+)"', re.sub(r"<svg.*?</svg>", "", html, flags=re.S))
    assert [a for a, n in Counter(anchors).items() if n > 1] == []
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert links <= set(anchors) and {"ablation_2", "steering_2"} <= links
    assert len(set(found.figures)) == len(found.figures)
    assert {"dose_response", "dose_response_2", "ablation_ratio", "ablation_ratio_2"} <= {
        *found.figures
    }
    for name in found.figures:
        assert f'href="figures/{name}.svg"' in html
    folder = found.path.parent / "figures"
    assert {p.stem for p in folder.glob("*.svg")} == set(found.figures)
    numbers = {p.stem for p in folder.glob("*.csv")}  # also of findings that are not drawn
    assert set(found.figures) <= numbers and numbers == set(found.numbers)
    doses = [pd.read_csv(folder / f"dose_response{end}.csv") for end in ("", "_2")]
    assert [d["feature"].nunique() for d in doses] == [2, 1]
    assert [set(d["mode"]) for d in doses] == [{"amplify"}, {"clamp"}]


def test_all_runs_are_listed(page):
    _, html, made = page
    listed = section(html, "provenance")
    for run in made:
        assert listed.count(f"<code>{run.run}</code>") == 1
    assert "trace-" in listed and "analyse-" in listed


def test_what_is_known_of_a_feature_is_of_its_newest_run(runs):
    from scircuit.core.study import Study
    from scircuit.workflows.report import gather

    study, (_, _, amplified, clamped, _) = runs
    place = Study(study)
    parts = gather(place, place.latest("trace"))
    known = parts.features.set_index("id")["steering_slope"].dropna()
    old, new = (r.table("Feature").set_index("id")["steering_slope"] for r in (amplified, clamped))
    assert set(new.index) < set(old.index) == set(known.index)
    for feature, slope in known.items():
        assert slope == new.get(feature, old[feature])
    assert parts.run_features.keys() >= {amplified.run, clamped.run}
