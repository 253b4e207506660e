"""Each verdict, from a check that can give it."""

import json

import pytest

from scircuit.analysis.reproduction.checks import Check, run_check, run_checks
from scircuit.analysis.reproduction.page import count_sentence, page, table_line
from scircuit.analysis.reproduction.study_files import StudyFiles, atlas_root, results_root
from scircuit.analysis.reproduction.themes import THEMES
from scircuit.core.errors import UserError
from scircuit.ingest.importers.strict_files import read_json


@pytest.fixture
def files(tmp_path):
    (tmp_path / "revision").mkdir()
    (tmp_path / "revision" / "a.json").write_text(json.dumps({"x": 0.25, "rows": [1, 2, 3]}))
    return StudyFiles(tmp_path, None, read_json, read_json)


def from_a(key):
    return lambda files: files.json("revision/a.json")[key]


A = ("revision/a.json",)


@pytest.mark.parametrize(
    ("check", "verdict", "recomputed"),
    [
        (Check("c", "x", "0.25", from_a("x"), A), "reproduced", "0.2500"),
        (Check("c", "x", "0.26", from_a("x"), A), "differs", "0.2500"),
        (Check("c", "x", "0.26", from_a("x"), A, claim=True), "refuted", "0.2500"),
        (Check("c", "x", "0.25", from_a("x"), A, claim=True), "reproduced", "0.2500"),
        (Check("c", "x", "", from_a("x"), A), "not published", "0.25"),
        (
            Check("c", "x", "below 0.5", from_a("x"), A, claim=True, holds=lambda v: v < 0.5),
            "reproduced",
            "0.25",
        ),
        (
            Check("c", "x", "above 0.5", from_a("x"), A, claim=True, holds=lambda v: v > 0.5),
            "refuted",
            "0.25",
        ),
        (Check("c", "x", "1", note="needs traces"), "cannot be had", ""),
        (Check("c", "x", "1", from_a("x"), ("revision/b.json",)), "cannot be had", ""),
        (Check("c", "x", "1", from_a("x"), ("atlas:geneformer/a.json",)), "cannot be had", ""),
    ],
)
def test_every_verdict(files, check, verdict, recomputed):
    row = run_check(check, "t", files)
    assert (row.verdict, row.recomputed) == (verdict, recomputed)
    assert row.id == "t.c"


def test_a_missing_file_is_named(files):
    row = run_check(Check("c", "x", "1", from_a("x"), ("revision/b.json",)), "t", files)
    assert row.note == "missing: revision/b.json"


@pytest.mark.parametrize("key", ["y", "rows"])
def test_another_layout_is_one_message(files, key):
    check = Check("c", "the sum", "1", lambda f: from_a(key)(f) + 1.0, A)
    with pytest.raises(UserError, match=r"revision/a\.json .* needed for: the sum"):
        run_check(check, "t", files)


def test_ids_are_unique_and_every_check_explains_itself():
    ids = [(theme.name, check.id) for theme in THEMES for check in theme.checks]
    assert len(ids) == len(set(ids))
    for theme in THEMES:
        for check in theme.checks:
            assert check.what, check.id
            assert check.recompute or check.note, f"{check.id}: why can it not be had"
            assert not check.claim or check.published, check.id


def test_without_any_file_only_arithmetic_is_left(tmp_path):
    rows = run_checks(THEMES, StudyFiles(tmp_path, None, read_json, read_json))
    assert all(r.recomputed == "" for r in rows if r.files)
    assert {r.theme for r in rows if r.recomputed} == {
        "triplets",
        "steering",
        "selective",
        "figures",
        "random",
    }
    assert all("missing: " in r.note for r in rows if r.files)


def test_the_page_has_every_row_once_and_escapes_pipes(files):
    rows = [run_check(Check("c", "|d| of x", "0.25", from_a("x"), A), THEMES[0].name, files)]
    text = page(rows, THEMES)
    assert text.count(table_line(rows[0])) == 1
    assert "\\|d\\| of x" in table_line(rows[0])
    assert count_sentence(rows) == "1 values: 1 reproduced"


def test_folders_are_recognised_or_refused(tmp_path):
    with pytest.raises(UserError, match="has none of the folders"):
        results_root(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        results_root(tmp_path / "absent")
    with pytest.raises(UserError, match="neither geneformer/ nor scgpt/"):
        atlas_root(tmp_path)
    (tmp_path / "results" / "revision").mkdir(parents=True)
    (tmp_path / "atlas" / "scgpt").mkdir(parents=True)
    assert results_root(tmp_path) == tmp_path / "results"
    assert atlas_root(tmp_path) == tmp_path / "atlas"
