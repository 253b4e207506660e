"""Claims about the steering panel and the triplets on made-up files: each verdict follows what was
planted.
"""

from __future__ import annotations

import json

import pytest

from scircuit.analysis.reproduction.checks import run_checks
from scircuit.analysis.reproduction.study_files import StudyFiles
from scircuit.analysis.reproduction.themes import THEMES
from scircuit.core.errors import UserError
from scircuit.ingest.importers.strict_files import read_json
from tests.support.map_later_files import CELLS, READOUTS, write_later

WANTED = ("panel", "triplets", "later")


def rows_of(folder, theme):
    files = StudyFiles(folder, None, read_json, read_json)
    chosen = [t for t in THEMES if t.name == theme]
    return {row.id: row for row in run_checks(chosen, files)}


@pytest.mark.parametrize(("linear", "verdict"), [(True, "refuted"), (False, "reproduced")])
def test_a_readout_that_is_linear_in_the_coefficient_is_found(tmp_path, linear, verdict):
    write_later(tmp_path, linear=linear)
    row = rows_of(tmp_path, "panel")["panel.tautology"]
    assert row.verdict == verdict
    assert (row.recomputed == "4") is linear


def test_stored_statistics_are_compared_with_their_values(tmp_path):
    write_later(tmp_path)
    count = 16 * 2 * len(READOUTS) * CELLS
    assert rows_of(tmp_path, "panel")["panel.values"].recomputed.startswith(f"{count:,} / 0.0000")
    path = tmp_path / "revision/P2_steering/features/L5_F600.json"
    data = json.loads(path.read_text())
    data["alphas"]["5.0"]["marker_score"]["sd"] += 0.125
    path.write_text(json.dumps(data))
    assert "0.12500000000" in rows_of(tmp_path, "panel")["panel.values"].recomputed


def test_differences_between_the_two_kinds_are_corrected_for_all_tests(tmp_path):
    """Planted: ON features rise, OFF features fall. With two of each, Mann-Whitney cannot be below
    1/3, and the claim is refuted; the numbers say so.
    """
    write_later(tmp_path)
    row = rows_of(tmp_path, "panel")["panel.sixteen"]
    assert row.verdict == "refuted"
    assert row.recomputed == "0.333333 / 0.333333"


def test_superadditive_targets_are_counted(tmp_path):
    write_later(tmp_path)
    rows = rows_of(tmp_path, "triplets")
    assert rows["triplets.second_totals"].recomputed == "120 / 24 / 3 / 147"
    assert rows["triplets.rare"].recomputed.startswith("3 / 147 / 2.0")
    assert rows["triplets.cross_alone"].recomputed == "1/49 / infinite / 1"


def test_losses_are_paired_only_where_all_cells_are_active(tmp_path):
    write_later(tmp_path)
    data = json.loads((tmp_path / "revision/P6_hub_importance/summary.json").read_text())
    kept = [f["delta_ce"] for f in data["arms"]["hub"] if f["n_cells_active"] == 50]
    assert len(kept) == 4
    found = rows_of(tmp_path, "later")["later.mean_hub"].recomputed
    assert float(found) == pytest.approx(sum(kept) / 4, rel=1e-5)


def test_a_panel_of_another_layout_is_one_message(tmp_path):
    write_later(tmp_path)
    for path in (tmp_path / "revision/P2_steering/features").glob("*.json"):
        path.write_text(path.read_text().replace('"kind"', '"sort"'))
    with pytest.raises(UserError, match="no 'kind'"):
        rows_of(tmp_path, "panel")
