"""`scircuit genesets fetch`: what it writes, which licence it states and asks for, and that a
failure leaves nothing behind.
"""

from __future__ import annotations

import json
import socket

import gseapy
import pytest
import requests
from click.testing import CliRunner

from scircuit.analysis.genesets.readers import read_library
from scircuit.cli.main import cli
from scircuit.core.errors import UserError
from scircuit.core.files import sha256_file
from scircuit.workflows import genesets as verb
from scircuit.workflows.genesets import LICENCES, genesets, licence_of

CONTENT = {
    "Reactome_2022": {
        "Cell Cycle R-HSA-1640170": ["CDK1", "BRCA1", "CDK1"],
        "Empty R-HSA-1": [],
        "Large R-HSA-2": [f"G{i}" for i in range(3000)],
    },
    "KEGG_2021_Human": {"Invented": ["A1", "B1"]},
    "Strange_Library": {"X": ["A1"]},
    "GO_Mouse": {"X (GO:0000001)": ["Lypla1", "Tcea1", "Atp6v1h"]},
    "GO_Empty": {"X": []},
}


@pytest.fixture
def enrichr(monkeypatch):
    """gseapy's download answered from here; returns the names asked for."""
    asked = []

    def get_library(name, organism, min_size, max_size):
        asked.append(name)
        assert organism == "Human"
        if name not in CONTENT:
            raise ValueError("Sorry. The input could not be found")
        return {k: list(v) for k, v in CONTENT[name].items() if min_size <= len(v) <= max_size}

    monkeypatch.setattr(gseapy, "get_library", get_library)
    monkeypatch.setattr(verb, "_check_network", lambda: None)
    return asked


def test_a_library_and_its_notice_are_written(tmp_path, enrichr):
    result = genesets(libraries=("Reactome_2022",), out=tmp_path / "new" / "folder", quiet=True)
    (found,) = result.libraries
    path = tmp_path / "new" / "folder" / "Reactome_2022.gmt"
    assert found.sha256 == sha256_file(path)
    library = read_library(path)
    assert {t.accession: len(t.genes) for t in library.terms} == {
        "R-HSA-1640170": 2,
        "R-HSA-2": 3000,
    }
    assert (found.terms, found.genes) == (2, 3002)
    assert (library.release, library.licence) == ("2022", "CC0 1.0 (Reactome annotation files)")
    notice = json.loads((path.parent / "Reactome_2022.gmt.notice.json").read_text())
    assert notice["sha256"] == found.sha256
    assert notice["fetched"].endswith("+00:00")
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "Reactome_2022.gmt",
        "Reactome_2022.gmt.notice.json",
    ]
    assert "CC0" in str(result)
    assert str(path) in str(result)


def test_a_notice_of_another_file_is_not_believed(tmp_path, enrichr):
    genesets(libraries=("Reactome_2022",), out=tmp_path, quiet=True)
    path = tmp_path / "Reactome_2022.gmt"
    path.write_text("Other\t\tA1\tB1\n")
    assert (read_library(path).release, read_library(path).licence) == ("", "")
    (tmp_path / "Reactome_2022.gmt.notice.json").write_text("{")
    assert read_library(path).licence == ""


@pytest.mark.parametrize("name", ["KEGG_2021_Human", "Strange_Library", "CORUM"])
def test_restricted_and_unknown_licences_are_asked_for_before_the_network(tmp_path, enrichr, name):
    with pytest.raises(UserError, match=f"{name}: ") as caught:
        genesets(libraries=("Reactome_2022", name), out=tmp_path / "out")
    assert "--accept-licence" in caught.value.fix
    assert enrichr == []
    assert not (tmp_path / "out").exists()


def test_accepted_licences_are_stated_in_the_library(tmp_path, enrichr):
    genesets(
        libraries=("KEGG_2021_Human", "Strange_Library"),
        out=tmp_path,
        accept_licence=True,
        quiet=True,
    )
    assert "needs a licence" in read_library(tmp_path / "KEGG_2021_Human.gmt", name="KEGG").licence
    assert "unknown" in read_library(tmp_path / "Strange_Library.gmt").licence


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GO_Nowhere", "no human library 'GO_Nowhere'"),
        ("GO_Mouse", "mouse"),
        ("GO_Empty", "none of them with a gene"),
        ("../x", "not the name"),
    ],
)
def test_what_cannot_be_had_or_read_leaves_nothing(tmp_path, enrichr, name, message):
    with pytest.raises(UserError, match=message):
        genesets(libraries=(name,), out=tmp_path / "out", quiet=True)
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("x"),
        requests.exceptions.Timeout("x"),
        requests.exceptions.HTTPError("500"),
    ],
)
def test_a_network_that_fails_gives_one_message(tmp_path, enrichr, monkeypatch, error):
    monkeypatch.setattr(gseapy, "get_library", lambda *a, **k: (_ for _ in ()).throw(error))
    with pytest.raises(UserError, match="cannot reach") as caught:
        genesets(libraries=("Reactome_2022",), out=tmp_path, quiet=True)
    assert "needs a network" in caught.value.fix
    monkeypatch.setattr(
        gseapy,
        "get_library",
        lambda *a, **k: (_ for _ in ()).throw(Exception("Error fetching gene set library.")),
    )
    with pytest.raises(UserError, match="could not be fetched"):
        genesets(libraries=("Reactome_2022",), out=tmp_path, quiet=True)


def test_without_a_network_the_answer_comes_at_once(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    result = CliRunner().invoke(cli, ["genesets", "fetch", "Reactome_2022", "--out", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert "cannot reach" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_without_names_the_licences_are_listed():
    result = CliRunner().invoke(cli, ["genesets", "fetch"])
    assert result.exit_code == 0
    for licence in LICENCES:
        assert licence.example in result.output
        assert licence.text in result.output
        assert licence_of(licence.example) == licence
    assert "no network is needed" in result.output
    listed = json.loads(CliRunner().invoke(cli, ["genesets", "fetch", "--json"]).output)
    assert {x["example"] for x in listed["known"] if x["restricted"]} == {
        "KEGG_2021_Human",
        "CORUM",
    }


def test_names_are_arguments_or_options_and_json_is_one_object(tmp_path, enrichr):
    result = CliRunner().invoke(
        cli,
        [
            "genesets",
            "fetch",
            "Reactome_2022",
            "--libraries",
            "KEGG_2021_Human",
            "--accept-licence",
            "--out",
            str(tmp_path),
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [x["library"] for x in found["fetched"]] == ["Reactome_2022", "KEGG_2021_Human"]
