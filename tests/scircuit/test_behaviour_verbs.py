"""``scircuit importance`` and ``scircuit circuit`` on a small study: what they store, and bad
input.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import scircuit
from scircuit.core.errors import UserError
from scircuit.execution.behaviour.asked_behaviour import read_behaviour
from scircuit.execution.findings.finding_files import read_findings

QUIET = {"database": False, "quiet": True}


@pytest.fixture(scope="module")
def study(named_base, tmp_path_factory):
    path = tmp_path_factory.mktemp("behaviour") / "study"
    shutil.copytree(named_base.study, path)
    return path


@pytest.fixture(scope="module")
def importance(named_base, study):
    return scircuit.importance(study=study, **QUIET, **named_base.verbs()["importance"])


@pytest.fixture(scope="module")
def circuit(study):
    """All features of the last layer may be in it, so that no set is refused for its size."""
    options = {"behaviour": "mlm", "n_cells": 12, "steps": 1, "draws": 19, "device": "cpu"}
    return scircuit.circuit(study=study, layers=(5,), share=0.5, max_share=1.0, **options, **QUIET)


def plain(value):
    """Whether a value is plain JSON without NaN."""
    json.dumps(value, allow_nan=False)
    return True


def test_importance_is_stored_with_its_finding(study, importance):
    finding, (stored,) = importance.detail, read_findings(importance.folder)
    assert plain(importance.findings) and finding.sentence == stored.sentence
    frame = stored.frame
    assert frame["arm"].tolist() == ["hub"] * 3 + ["matched"] * 3 + ["random"] * 3
    assert frame["feature"].is_unique and (frame["cells_active"] <= 4).all()
    assert importance.findings["held_out"] and importance.findings["cells"] == 4
    nodes = importance.table("Intervention")
    assert set(nodes["verb"]) == {"importance"} and len(nodes) == 9
    np.testing.assert_allclose(nodes["effect"], frame["importance"])
    parts = importance.table("Feature-PART_OF-Intervention").set_index("source")
    assert parts["role"].to_dict() == dict(zip(frame["feature"], frame["arm"], strict=True))
    features = importance.table("Feature").set_index("id")
    np.testing.assert_allclose(features["importance"][frame["feature"]], frame["importance"])
    assert "hubs" in importance.sentences[0] and "nats" in importance.sentences[0]
    assert stored.plot().get_ylabel().startswith("change of the masked-LM loss")


def test_the_same_question_is_the_same_run(named_base, study, importance):
    again = scircuit.importance(study=study, **QUIET, **named_base.verbs()["importance"])
    assert again.run == importance.run and not again.new and again.sentences == importance.sentences


def test_a_circuit_is_stored_with_its_curve_or_refused(circuit):
    """What these few cells give is not known beforehand; both ends are consistent."""
    numbers, (stored,) = circuit.findings, read_findings(circuit.folder)
    assert plain(numbers) and stored.numbers == circuit.detail.numbers
    (sentence,) = circuit.sentences
    assert sentence == stored.sentence == circuit.detail.sentence
    assert numbers["refused"] == sentence.startswith("no circuit keeps the masked-LM loss: ")
    tables = {p.name.split(".")[1] for p in circuit.folder.glob("**/*.parquet")}
    assert any("Intervention" in name for name in tables) != numbers["refused"]
    if len(stored.frame):
        curve = stored.frame.set_index("size")
        assert curve["sufficiency"][0] == 0 and curve["sufficiency"].iloc[-1] == 1
        assert curve.index[-1] == numbers["considered"] and numbers["layers"] == [5]


BAD = {
    "nothing": ("", "is none of genes:"),
    "kind": ("loss:STAT1", "is none of genes:"),
    "no genes": ("genes:", "names no genes"),
    "no value": ("celltype:cell_type", "does not name a column of obs and a value"),
    "unknown gene": ("genes:NOSUCHGENE1,CD3D", "1 of 2 genes .* are not in the model's vocabulary"),
    "no column": ("celltype:nosuch=1", "has no obs column 'nosuch'; it has"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_behaviour_that_cannot_be_asked_for(study, what):
    text, message = BAD[what]
    with pytest.raises(UserError, match=message):
        scircuit.circuit(study=study, behaviour=text, device="cpu", **QUIET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 5}, "--n-cells is 5, expected 12 or more"),
        ({"draws": 3}, "--draws is 3, expected 19 or more"),
        ({"share": 0.0}, "--share is 0, expected a number above 0"),
        ({"max_share": 1.5}, "--max-share is 1.5, expected"),
        ({"layers": (1, 9)}, "--layers 1,9: the trace run trace-.* has layers 3,4,5"),
        ({"run": "trace-0"}, "trace-0"),
    ],
)
def test_options_out_of_range(study, options, message):
    with pytest.raises(UserError, match=message):
        scircuit.circuit(study=study, behaviour="mlm", **options, **QUIET)


def test_without_an_analysis_or_a_trace(study, tmp_path):
    empty = tmp_path / "study"
    with pytest.raises(UserError, match="trace"):
        scircuit.circuit(study=empty, behaviour="mlm", **QUIET)
    shutil.copytree(study, empty)
    for folder in (empty / "runs").glob("analyse-*"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"there is no analysis of trace-.* to take hubs from"):
        scircuit.importance(study=empty, **QUIET)
    with pytest.raises(UserError, match="--hubs is 1, expected 2 or more"):
        scircuit.importance(study=empty, hubs=1, **QUIET)


def test_genes_of_files_and_terms(tmp_path):
    listed = tmp_path / "mine.txt"
    listed.write_text("# genes\nSTAT1\nIRF1\n\nSTAT1\n")
    assert read_behaviour(f"genes:{listed}") == ("genes", "mine", ("STAT1", "IRF1"), False)
    sets = tmp_path / "sets.gmt"
    sets.write_text("first\tna\tCD3D\tCD3E\nsecond\tna\tLYZ\tNKG7\n")
    assert read_behaviour(f"mlm:{sets}#second")[1:3] == ("second", ("LYZ", "NKG7"))
    with pytest.raises(UserError, match=r"has 2 terms .* expected one"):
        read_behaviour(f"mlm:{sets}")
    with pytest.raises(UserError, match="0 of them called 'third'"):
        read_behaviour(f"mlm:{sets}#third")
    asked = read_behaviour("genes:CD3D, CD3E,CD3D")
    assert asked.genes == ("CD3D", "CD3E") and asked.listed
    assert read_behaviour("mlm") == ("mlm", "all genes", (), False)
    term = read_behaviour("mlm:Interferon gamma signaling")
    assert len(term.genes) > 10 and not term.listed
    cell = read_behaviour("celltype: cell type = a = b")
    assert (cell.column, cell.value) == ("cell type", "a = b")
