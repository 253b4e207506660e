"""The report: self-contained, every number from its input, empty parts said, nothing fetched and no
secret shown.
"""

from __future__ import annotations

import re

import pandas as pd
import pytest

from scircuit.analysis.report_page import ReportInput, build_report, findings
from scircuit.analysis.report_page.annotation_claims import excess_sentence
from scircuit.analysis.report_page.control_rows import verdict
from scircuit.analysis.report_page.number_text import number, percent, sentence
from tests.support.report_parts import make_atlas, make_parts


@pytest.fixture(scope="module")
def parts():
    return make_parts()


@pytest.fixture(scope="module")
def page(parts):
    return build_report(parts)


def test_the_page_fetches_nothing(page):
    for tag, address in re.findall(r"<(\w+)[^>]*?(?:src|href)=\"([^\"]*)\"", page):
        assert address.startswith(("data:image/", "#")) or tag == "a", address
    assert not re.search(r"<(script|link|iframe|object)\b|@import|url\(", page)
    images = re.findall(r'<img src="data:image/(?:svg\+xml|png);base64,', page)
    assert len(images) == 10


def test_numbers_come_from_the_input(page, parts):
    for text in (
        "54,321",
        "7.61",
        "8.22",
        "81.2 %",
        "1.23 %",
        "57",
        "1.5·10⁻⁷",
        "0.61",
        "0.72",
        "CD74",
        "trace-1",
        "T cell 12",
    ):
        assert text in page, text
    assert f"{parts.analysis.tail.degrees.size}" in page
    assert "14.2 %" in page  # 57 of 400 control edges


def test_controls_are_said_for_every_layer_pair(page):
    assert (
        "L01 → L02: 24 sampled sources have 400 effects that are not zero; of the controls: a"
        " random direction 57 (14 %)" in page
    )
    assert (
        "83 % of the effects are larger than that of the random direction on the same target, whose"
        " effect is 0.37 times as large (median)" in page
    )
    assert "Other directions of the same norm give 14 % as many effects as the features." in page
    for text in ("98.7 %", "95.5 %", "0.991", "frozen"):  # the audit has its own table
        assert text in page, text
    assert (
        "L01 → L02: 4,675 computed, 304 carried and 9,021 generic edges; random directions that"
        " were held out give 190 computed edges at the same threshold (64 directions); spread of"
        " directions drawn for one source / spread of the pooled null: 1.00 (5 to 95 %: 0.77 to"
        " 1.31)" in page
    )
    assert "<td>direction null</td>" not in page  # it is no control of single sources


def test_controls_that_make_as_many_edges_are_not_played_down():
    rows = [
        {"control": k, "pair": "L01 → L02", "edges": 100, "control_edges": n, "share": n / 100}
        for k, n in (("random_direction", 97), ("feature_swap", 95))
    ]
    assert "96 % as many effects" in verdict(rows) and "little about the feature" in verdict(rows)
    assert verdict([]) == ""


def test_hubs_stand_beside_the_other_half_of_the_cells(parts, page):
    assert (
        "Spearman 0.43 for degree beyond the firing rate, 0.91 for raw degree (24 sampled sources"
        " with 1,511 and 17 effects at p ≤ 0.01 in the two halves: too few to tell)" in page
    )
    assert "Spearman 0.43 for degree beyond" in findings(parts)[5].control


def test_one_sentence_says_how_much_annotation_exceeds_chance(parts, page):
    assert (
        "<b>Annotation exceeds chance by 28.8 % of features (95 % interval 20.0 % to 35.0 %).</b>"
        in page
    )
    assert findings(parts)[6].claim.startswith("annotation exceeds chance by 28.8 %")
    assert (
        excess_sentence({"excess": [0.01, -0.02, 0.04]})
        == "annotation does not exceed chance: 1.0 % of features beyond matched random lists (95 %"
        " interval -2.0 % to 4.0 %)"
    )
    assert (
        "51 of 177 features (30.0 %)" in findings(parts)[6].claim
    )  # not of the 170 that have a list
    assert excess_sentence({}) == "" and excess_sentence({"excess": [float("nan")] * 3}) == ""


def test_a_published_rate_below_its_null_is_said_to_be(parts):
    from dataclasses import replace

    below = replace(parts, atlases=[make_atlas(0.51, 0.62)])
    found = findings(below)
    assert (
        len(found) == 11
        and "51.0 % of 2,000 features are annotated as published" in found[-1].claim
    )
    assert (
        "annotates 62.0 % of random gene lists, so it does not exceed chance" in found[-1].control
        and "1.7 %" in found[-1].control
    )
    page = build_report(below)
    for text in (
        "so it does not exceed chance",
        "Published annotation and its own null",
        "63.0 %",
        "61.0 % to 64.0 %",
        "1.70 %",
        "0.50 %",
    ):
        assert text in page, text
    above = findings(replace(parts, atlases=[make_atlas(0.31, 0.163)]))[-1].control
    assert (
        "so it exceeds chance by 14.7 %" in above
        and "with the complete gene sets annotation exceeds chance by 17.0 %" in above
    )


def test_a_study_of_atlases_alone_has_a_report_of_them():
    parts = ReportInput(title="Published", trace={}, atlases=[make_atlas(0.51, 0.62)])
    page = build_report(parts)
    assert len(findings(parts)) == 1 and "1 findings" not in page and "not annotated" not in page
    assert (
        "compared with random gene lists" in page
        and "Joint ablation" not in page
        and 'id="edges"' not in page
    )
    assert page.count("<img src=") == 1
    bare = {"name": "x", "annotation_rate": 0.2, "null_annotation_rate": 0.03}
    assert "could not be repeated" in build_report(
        ReportInput(title="Published", trace={}, atlases=[bare])
    )


def test_labels_are_escaped(page):
    assert "&lt;b&gt;T cell &amp; B cell&lt;/b&gt;" in page
    assert "<b>T cell" not in page


def test_the_same_input_gives_the_same_page(parts, page):
    assert build_report(parts) == page


def test_ten_findings_each_with_a_control(parts):
    found = findings(parts)
    assert len(found) == 10
    assert all(f.claim and f.control for f in found)
    assert "gives 57, 14.2 % of their 400" in found[1].control
    assert (
        "1,214 effects" in found[3].claim
        and "91 %" in found[3].claim
        and "at most 2.5 %" in found[3].control
    )
    assert "8.22" in found[0].control
    assert "4 of 60 interaction contrasts" in found[8].claim
    assert "1 of 2 steered features" in found[9].claim
    assert "p_random <= 0.05" in found[9].claim and "by chance 0.1 would" in found[9].claim


def test_what_one_half_finds_and_the_other_holds_is_a_table_with_its_chance(parts, page):
    from dataclasses import replace

    halves = {
        "control": "split_half",
        "source_layer": 1,
        "target_layer": 2,
        "sources": 24,
        "edges": 400,
        "found": 1214,
        "agreement": 0.906,
    }
    more = build_report(
        replace(
            parts, controls=pd.concat([parts.controls, pd.DataFrame([halves])], ignore_index=True)
        )
    )
    assert re.search(r">1,214</td><td class=\"n\">90.6 %</td><td class=\"n beside\">2.5 %<", more)
    assert "Replication in other cells" not in page and "split half" not in more


def test_signs_against_trrust_stand_beside_their_null(parts):
    from dataclasses import replace

    from scircuit.analysis.circuits.regulation_signs import TrrustAgreement

    known = {
        "frame": pd.DataFrame(),
        "edges": 900,
        "decided": 100,
        "share": 0.61,
        "null_mean": 0.592,
        "null_low": 0.55,
        "null_high": 0.63,
        "p": 0.28,
    }
    agreement = TrrustAgreement(**dict.fromkeys(TrrustAgreement.__dataclass_fields__, 0) | known)
    more = replace(parts, analysis=replace(parts.analysis, trrust=agreement))
    [found] = [f for f in findings(more) if "TRRUST" in f.claim]
    assert (
        "61.0 % of the 100 edges (of 900)" in found.claim
        and "not more than expected by chance (59.2 %" in found.control
    )
    assert agreement.sentence[:40] in build_report(more)
    few = replace(more, analysis=replace(more.analysis, trrust=replace(agreement, decided=3)))
    assert any("too few to say" in f.claim and f.control for f in findings(few))


def test_a_study_with_nothing_else_than_a_trace_still_has_a_report():
    page = build_report(ReportInput(title="Bare", trace={"sources": 3, "cells": 2}))
    for text in (
        "not annotated",
        "not analysed",
        "No feature was steered",
        "No features were ablated together",
        "controls were not run",
    ):
        assert text.lower() in page.lower(), text
    words = re.findall(r"\w+", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    assert not {"None", "nan", "NaN"} & set(words)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00001234, "1.23·10⁻⁵"),
        (1234567.0, "1,234,567"),
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.5, "0.5"),
    ],
)
def test_numbers_as_text(value, text):
    assert number(value) == text


def test_words_as_text():
    assert percent(0.12345) == "12.3 %"
    assert sentence("tail of 3 (degree >= 5)") == "Tail of 3 (degree ≥ 5)."
