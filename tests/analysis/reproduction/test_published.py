"""The published files: every value that they determine, and what happens to it when a file changes.

Plain arithmetic in the test stands beside the recomputation: sums, exact Fisher probabilities by
binomial coefficients, the Hurwitz zeta by its sum.
"""

from __future__ import annotations

import json
import math
import re
import shutil

import pytest

from scircuit.analysis.reproduction.checks import run_checks
from scircuit.analysis.reproduction.exhaustive.annotated_hubs import fisher
from scircuit.analysis.reproduction.page import table_line
from scircuit.analysis.reproduction.selective.published_sources import sources
from scircuit.analysis.reproduction.study_files import StudyFiles
from scircuit.analysis.reproduction.themes import THEMES
from scircuit.core.errors import UserError
from scircuit.ingest.importers.atlas.json_fields import read_document
from scircuit.ingest.importers.strict_files import read_json

DIFFERENT = {
    "calibration.kept_contiguous",
    "tail.stretched_best",
    "triplets.mean_row",
    "triplets.pairs",
    "selective.consensus_figure",
}
REFUTED = {
    *("calibration.all_retraced", "calibration.stable", "calibration.kept_by_fdr"),
    *("annotation.bias", "triplets.no_synergy", "steering.cells"),
    *("selective.edges_abstract", "selective.passes_readme", "selective.hours"),
    *("selective.coverage_A", "selective.coverage_D", "selective.invariant"),
    *("selective.disease_valid", "selective.novel", "selective.d_critical", "selective.p_half"),
    *("selective.pmi_0_to_5", "selective.pmi_5_to_11", "selective.pmi_11_to_17"),
    *("figures.sum_D_L0", "figures.sum_D_L4", "figures.sum_D_L8", "figures.uncapped_D"),
    "figures.twelve",
}
MIN_REPRODUCED = 120


def rows_of(folder, atlas=None, themes=THEMES):
    files = StudyFiles(folder, atlas, read_json, lambda path: read_document(path).value)
    return {row.id: row for row in run_checks(themes, files)}


def theme(name):
    return tuple(t for t in THEMES if t.name == name)


@pytest.fixture(scope="module")
def published(shared_data):
    return shared_data / "published"


@pytest.fixture(scope="module")
def rows(shared_data, published):
    return rows_of(published, shared_data / "atlas")


@pytest.fixture
def copy(published, tmp_path):
    shutil.copytree(published, tmp_path / "map", copy_function=shutil.copyfile)
    for path in (tmp_path / "map").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "map"


def test_verdicts(rows):
    by_verdict = {}
    for row in rows.values():
        by_verdict.setdefault(row.verdict, set()).add(row.id)
    assert by_verdict["differs"] == DIFFERENT
    assert by_verdict["refuted"] == REFUTED
    assert len(by_verdict["reproduced"]) >= MIN_REPRODUCED


def test_the_numbers_asked_for_most(rows):
    found = {k: rows[k].recomputed for k in rows}
    assert found["calibration.fdr"] == "3.63684 %"
    assert found["calibration.calibrated"] == "261,564"
    assert found["tail.alpha"].startswith("6.05")
    assert found["annotation.fisher_L5_20"] == "1.29222 / 0.65673"
    assert found["triplets.totals"] == "4,703 / 290 / 7 / 5,000"
    assert found["steering.share_L17"] == "1.0000000"
    assert found["figures.sum_A_L0"] == "73,769"
    assert found["selective.disease"] == "3.590561 / 6.342e-10"
    assert found["chance.geneformer_L15"] == "0.247348 / 0.279464"
    assert found["calibration.top20_changed"] == "F4434 / F2286"
    assert found["annotation.rate_degree_contiguous"] == "0.808836 / 346"
    assert found["chance.first_is_best"] == "25 of 150"
    assert found["chance.in_hubs"] == "8 / 2 / 4 / 3 / 6"
    assert found["chance.placeholders_geneformer"] == "0.139351"
    assert found["chance.scgpt_L8_terms"] == "26.5 / 3 / 16 of 30"
    assert float(found["random.shuffled_geneformer"]) == pytest.approx(0.079, abs=0.001)
    share = {"820": 5.767, "840": 5.786, "880": 5.912, "1100": 6.026}
    for xmin, exponent in share.items():
        assert float(found[f"tail.alpha_{xmin}"]) == pytest.approx(exponent, abs=0.003)


def test_what_no_file_states_is_not_recomputed(rows):
    assert rows["later.targets"].verdict == "cannot be had"
    assert rows["later.targets"].recomputed == ""


def test_the_density_of_a_list_of_edges_is_no_p(shared_data):
    """The atlas has it in the same field; with it F90 of scGPT's layer 8 would take the place of
    F694, which the study's list of sources has."""
    files = StudyFiles(None, shared_data / "atlas", read_json, lambda p: read_document(p).value)
    chosen = sources(files, "scgpt", 8)
    assert 694 in chosen and 90 not in chosen
    assert len(chosen) == 30


def test_sums_by_plain_reading(published, rows):
    folder = published / "revision" / "P1_calibration"
    null = json.loads((folder / "per_feature.json").read_text())
    expected = sum(row["expected_null_edges"] for row in null.values())
    observed = sum(row["observed_edges"] for row in null.values())
    assert rows["calibration.fdr_digits"].recomputed == f"{expected / observed:.12f}"
    assert rows["calibration.observed"].recomputed == f"{observed:,}"


def test_exponent_by_the_plain_sum(published, rows):
    """Where the mean of log x equals that of the fitted law, the likelihood is largest."""
    degrees = json.loads((published / "revision/P1_calibration/edges_raw.json").read_text())
    tail = sorted(n for n in degrees.values() if n >= 860)[1:]
    mean = sum(map(math.log, tail)) / len(tail)

    def law(alpha):
        terms = [(math.log(x), x**-alpha) for x in range(860, 20_000)]  # the rest is 1e-7
        return sum(a * b for a, b in terms) / sum(b for _, b in terms)

    # half-precision degrees here, exact ones where files state them there: 3e-4 apart
    low, high = 5.9, 6.2
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if law(middle) > mean else (low, middle)
    assert float(rows["tail.alpha"].recomputed) == pytest.approx(low, abs=1e-3)


@pytest.mark.parametrize(
    "table", [[[12, 8], [2173, 1872]], [[5, 15], [245, 235]], [[1, 4], [3, 2]]]
)
def test_fisher_by_enumeration(table):
    (a, b), (c, d) = table
    n, top, yes = a + b + c + d, a + b, a + c

    def chance(k):
        return math.comb(yes, k) * math.comb(n - yes, top - k) / math.comb(n, top)

    at = chance(a)
    possible = range(max(0, top + yes - n), min(top, yes) + 1)
    p = sum(chance(k) for k in possible if chance(k) <= at * (1 + 1e-9))
    assert fisher(table) == pytest.approx([a * d / (b * c), p], rel=1e-9)


def test_a_changed_file_changes_the_verdict(copy, rows):
    path = copy / "revision/P1_calibration/per_feature.json"
    data = json.loads(path.read_text())
    data["11"]["expected_null_edges"] += 400.0
    path.write_text(json.dumps(data))
    changed = rows_of(copy, themes=theme("calibration"))
    assert changed["calibration.fdr"].verdict == "differs"
    assert changed["calibration.null_edges"].verdict == "differs"
    assert changed["calibration.calibrated"].verdict == rows["calibration.calibrated"].verdict


def test_a_claim_that_the_files_bear_out_is_not_refuted(copy):
    path = copy / "revision/P1_calibration/threshold_sweep.json"
    data = json.loads(path.read_text())
    for row in data:
        row |= {"hub_rank_spearman_vs_default": 0.95, "top20_overlap_with_default": 18}
    path.write_text(json.dumps(data))
    path = copy / "higher_order_ablation/summary.json"
    data = json.loads(path.read_text())
    for row in data["per_triplet_results"]:
        row["n_superadditive_3way"] = 0
    path.write_text(json.dumps(data))
    changed = rows_of(copy, themes=(*theme("calibration"), *theme("triplets")))
    assert changed["calibration.stable"].verdict == "reproduced"
    assert changed["triplets.no_synergy"].verdict == "reproduced"
    assert changed["triplets.agree"].recomputed == "5 of 8"  # the other three had some


def test_missing_files_are_named_and_the_rest_is_recomputed(copy):
    shutil.rmtree(copy / "revision")
    left = rows_of(copy)
    assert left["calibration.fdr"].verdict == "cannot be had"
    assert "per_feature.json" in left["calibration.fdr"].note
    assert left["calibration.mean"].verdict == "reproduced"
    assert left["steering.share_L0"].verdict == "reproduced"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("revision/P1_calibration/per_feature.json", "27.674", "NaN", "NaN"),
        ("revision/P1_calibration/per_feature.json", '"observed_edges"', '"edges"', "no 'observed"),
        ("revision/P1_calibration/edges_fdr.json", '{"11"', '[{"11"', "not JSON|truncated"),
        ("revision/P1_calibration/edges_fdr.json", '"11"', '"eleven"', "is not as published"),
    ],
)
def test_a_damaged_file_is_one_message(copy, name, old, new, message):
    path = copy / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        rows_of(copy, themes=theme("calibration"))


def test_the_page_has_the_rows_of_the_files_at_hand(root, rows):
    """Rows whose inputs are complete here stand on the page as they are. Rows of known degrees use
    more files where the page was made: there the verdicts agree.
    """
    page = (root / "docs" / "reproduction.md").read_text()
    lines = set(page.splitlines())
    counted = 0
    for row in rows.values():
        if row.verdict == "cannot be had" and row.note.startswith("missing: "):
            assert f"| {row.what} | {row.published} |".replace("|d|", "\\|d\\|") in page, row.id
            continue
        counted += 1
        if row.theme == "tail" or "exhaustive_tracing/exhaustive_summary.json" in row.files:
            start = re.escape("| " + row.what.replace("|", "\\|") + f" | {row.published} |")
            assert re.search(f"(?m)^{start}.*\\| {row.verdict} \\|", page), row.id
            continue
        assert table_line(row) in lines, row.id
    assert counted > 200
