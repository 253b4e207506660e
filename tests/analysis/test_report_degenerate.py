"""Studies in which there is little to find: the page says so in sentences, and no value that is not
a number is on it or in its figures.
"""

from __future__ import annotations

import html
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scircuit.analysis.finding import Finding
from scircuit.analysis.report_page import ReportInput, StoredFinding, report_page
from tests.support.report_parts import make_atlas, tiny_parts

NO_NUMBER = re.compile(r"(?<![\w.])-?(nan|None|inf|Infinity|NaT|<NA>|undefined)(?!\w)", re.I)


def words(page: str) -> str:
    """What a person reads: text and alternative texts, without styles."""
    page = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
    alternatives = re.findall(r'(?:alt|aria-label|title)="([^"]*)"', page)
    return html.unescape(" ".join([re.sub(r"<[^>]+>", " ", page), *alternatives]))


def checked(parts: ReportInput) -> str:
    """The words of the page, after what must be true of every page was checked."""
    page = report_page(parts)
    text = words(page.html)
    found = NO_NUMBER.search(text.replace("none of", "").replace("none", ""))
    assert not found, text[max(found.start() - 80, 0) : found.end() + 80]
    for name, figure in page.figures.items():
        assert "nan" not in re.sub(r"base64,[^\"]*", "", figure.svg).lower(), name
        assert not NO_NUMBER.search(figure.csv.replace(",inf", "")), (name, figure.csv[:300])
        assert len(figure.csv.splitlines()) > 1, name
    return text


def test_the_check_would_find_them():
    for text in ("ratio nan", "a None b", "(inf)", "-inf %", "NaN", "<NA>"):
        assert NO_NUMBER.search(text), text
    for text in ("information", "none left", "finance", "an infinite"):
        assert not NO_NUMBER.search(text.replace("none", "")), text


CASES = {
    "no effects": ([0, 0, 0], {}, "has no calibrated edge"),
    "no edge passes": ([5, 3, 2], {"q": 0.9}, "no edge"),
    "one source": ([4], {}, "No tail fit"),
    "constant degrees": ([6] * 12, {}, "No tail fit"),
    "ties in degree and firing rate": ([3, 3, 3, 6, 6, 6] * 3, {}, ""),
    "nothing fires": ([3, 4, 5, 6], {"rates": [None, 0.0, None, 0.0]}, ""),
    "one layer": ([0, 0], {"layers": (), "targets": 0}, "No effect is stored"),
    "one target layer": ([2, 3, 4], {"layers": (2,)}, "L01 → L02"),
    "nothing annotated": ([2, 3, 4, 5], {"annotated": False}, "annot"),
    "all annotated": ([2, 3, 4, 5], {"annotated": True}, "annot"),
    "told apart, no edges": ([4, 4, 4], {"q": 0.9, "told_apart": True}, "has no computed edge"),
    "told apart": ([4, 6, 9], {"told_apart": True}, "computed edges"),
}


@pytest.mark.parametrize("case", CASES)
def test_little_to_find(case):
    degrees, options, said = CASES[case]
    text = checked(tiny_parts(degrees, **options))
    assert said in text
    assert "Not measured" in text  # without a direction null, annotation or interventions


def test_no_figure_is_drawn_of_nothing():
    page = report_page(tiny_parts([0, 0, 0]))
    assert not {"circuit", "signs", "layers", "dose_response", "ablation_ratio"} & set(page.figures)
    for text in (
        "The feature has no edge to draw.",
        "No effect is stored, so there are no signs.",
        "No feature has an edge, so there are no degrees to draw.",
        "No effects by layer to draw",
        "No features were ablated together.",
        "No feature was steered.",
        "No further analysis is stored",
    ):
        assert text in page.html, text


def test_measurements_without_a_value():
    nan = float("nan")
    parts = tiny_parts([4, 6, 9], told_apart=True)
    hub = parts.analysis.frames["hubs"]["id"][0]
    text = checked(
        replace(
            parts,
            trace={
                **parts.trace,
                "directions": [{}],
                "edges_computed": 0,
                "expected_false": 0.0,
                "zero_edit_max": None,
                "loss": {"loss": nan, "uniform": 5.0},
                "controls": {"half_found": 0, "half_agreement": None},
            },
            model={"name": "m", "mlm_loss": nan, "unigram_loss": nan},
            controls=pd.DataFrame(
                {
                    "control": ["direction_null", "random_direction", "split_half", "context"],
                    "source_layer": [1] * 4,
                    "target_layer": [2] * 4,
                    **{k: [nan] * 4 for k in ("edges", "control_edges", "expected_false")},
                    **{k: [np.inf] * 4 for k in ("max_abs_effect", "sigma_ratio")},
                    "larger_share": [None] * 4,
                }
            ),
            interventions=pd.DataFrame(
                {
                    "id": ["a", "b", "s"],
                    "verb": ["ablate", "ablate", "steer"],
                    "order": [2, 3, 1],
                    "ratio": [nan, nan, nan],
                    "ratio_null": [nan, nan, nan],
                    "tested": pd.array([0, None, None], "Int64"),
                    "significant": pd.array([None, None, None], "Int64"),
                    "coefficient": [nan, nan, 2.0],
                    "effect": [nan, nan, 0.0],
                    "effect_low": [nan, nan, nan],
                }
            ),
            features=pd.DataFrame(
                {"id": [hub], "steering_slope": [0.1], "steering_control": [nan], "label": [None]}
            ),
            annotate={"annotation_rate": None, "features": 0, "rates": []},
            null={
                "table": [{"words": "x", "trained": None, "permuted": [None]}],
                "kinds": ["permuted"],
                "seeds": 1,
                "sentences": [],
            },
            atlases=[{"name": "x", "annotation_rate": nan, "null_annotation_rate": nan}],
        )
    )
    assert "No set of features has a ratio" in text


def test_an_atlas_alone():
    atlas = make_atlas(0.0, 0.0)
    text = checked(ReportInput(title="Published", trace={}, atlases=[atlas]))
    assert "Does the annotation of gf-atlas exceed chance?" in text


def test_a_finding_that_could_not_be_tested_is_a_sentence():
    empty = Finding(
        "coherence", "Coherence", "no edge joins two annotated features", "no draw", pd.DataFrame()
    )
    parts = tiny_parts([2, 3], stored=[StoredFinding("analyse_coherence", empty, "r", "analyse")])
    text = checked(parts)
    assert text.count("No edge joins two annotated features.") == 1
    assert "Nothing to draw: no unit could be compared." in text
