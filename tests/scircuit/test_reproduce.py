"""`scircuit reproduce`: the table, the page and the list of rows; what it refuses."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import scircuit
from scircuit.analysis.reproduction.page import table_line
from scircuit.cli.main import cli
from scircuit.core.errors import UserError
from tests.support.map_later_files import write_later


@pytest.fixture
def folder(tmp_path):
    write_later(tmp_path / "results")
    return tmp_path / "results"


def test_the_function_the_table_and_the_json_have_the_same_rows(folder):
    found = scircuit.reproduce(path=folder)
    listed = json.loads(CliRunner().invoke(cli, ["reproduce", str(folder), "--json"]).output)
    assert listed == found.to_json() == json.loads(json.dumps(found.to_json()))
    assert list(found.frame["id"]) == [row["id"] for row in listed]
    shown = CliRunner().invoke(cli, ["reproduce", str(folder)])
    assert shown.exit_code == 0
    assert f"{len(listed)} values: " in shown.output
    assert all(row["what"].split(":")[0] in shown.output for row in listed)
    by_id = {row["id"]: row for row in listed}
    assert by_id["calibration.fdr"]["verdict"] == "cannot be had"
    assert "per_feature.json" in by_id["calibration.fdr"]["note"]
    assert by_id["selective.edges"]["verdict"] == "reproduced"


def test_the_repository_folder_will_do_and_the_page_is_written_whole(folder, tmp_path):
    out = tmp_path / "page.md"
    shown = CliRunner().invoke(cli, ["reproduce", "--path", str(tmp_path), "--out", str(out)])
    assert shown.exit_code == 0
    assert str(out) in shown.output
    again = scircuit.reproduce(path=folder)
    assert all(table_line(row) in out.read_text() for row in again.rows)


def test_the_same_files_give_the_same_rows(folder):
    one, two = (scircuit.reproduce(path=folder).to_json() for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce"], "once"),
        (["reproduce", "a", "--path", "b"], "once"),
    ],
)
def test_the_folder_is_given_once(arguments, message):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_what_cannot_be_read_or_written_is_refused_first(folder, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        scircuit.reproduce(path=tmp_path / "absent")
    with pytest.raises(UserError, match="neither geneformer/ nor scgpt/"):
        scircuit.reproduce(path=folder, atlas=tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        scircuit.reproduce(path=folder, out=tmp_path / "no" / "page.md")
    with pytest.raises(UserError, match="is a folder"):
        scircuit.reproduce(path=folder, out=tmp_path)


def test_a_damaged_file_stops_it_and_leaves_the_page_alone(folder, tmp_path):
    out = tmp_path / "page.md"
    out.write_text("old")
    path = folder / "revision/P6_hub_importance/summary.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match="truncated"):
        scircuit.reproduce(path=folder, out=out)
    assert out.read_text() == "old"
