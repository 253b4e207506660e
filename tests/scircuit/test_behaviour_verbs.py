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
    finding, (stored,) = importance.detail["hub_importance"], read_findings(importance.folder)
    assert plain(importance.findings) and finding.sentence == stored.sentence
    frame = stored.frame
    assert frame["arm"].tolist() == ["hub"] * 3 + ["matched"] * 3 + ["random"] * 3
    assert frame["feature"].is_unique and (frame["cells_active"] <= 6).all()
    assert importance.findings["held_out"] and importance.findings["cells"] == 6
    assert "cells other than those of the trace run" in stored.null
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
    finding = circuit.detail["behaviour_circuit"]
    assert plain(numbers) and stored.numbers == finding.numbers
    (sentence,) = circuit.sentences
    assert sentence == stored.sentence == finding.sentence
    assert numbers["refused"] == sentence.startswith("no circuit keeps the masked-LM loss: ")
    tables = {p.name.split(".")[1] for p in circuit.folder.glob("**/*.parquet")}
    assert any("PART_OF" in name for name in tables) != numbers["refused"]
    (node,) = circuit.table("Intervention").to_dict("records")
    assert isinstance(node["refused"], str) == numbers["refused"]
    if numbers["refused"]:
        assert node["refused"] in sentence and node["name"] == "mlm:all genes: refused"
    for name in ("size", "sufficiency", "sufficiency_edges"):
        assert node[name] == numbers[name] or numbers[name] is None, name
    if len(stored.frame):
        curve = stored.frame.set_index("size")
        assert curve["sufficiency"][0] == 0 and curve["sufficiency"].iloc[-1] == 1
        assert curve.index[-1] == numbers["considered"] and numbers["layers"] == [5]


@pytest.mark.parametrize(
    ("own", "other", "missing"),
    [(0, 90, 0), (90, 0, 0), (17, 90, 3), (90, 17, 3), (0, 0, 90), (1, 0, 0)],
)
@pytest.mark.parametrize("where", ["the file", "the cells drawn"])
def test_classes_with_too_few_cells_are_refused_before_anything_is_computed(
    study, monkeypatch, own, other, missing, where
):
    """A value of the file that no drawn cell has, cells of one class, a column without values."""
    from scircuit.tracing.behaviour import probe
    from scircuit.workflows.interventions import circuit as verb

    few = np.repeat([True, False, False], [own, other, missing])
    known = np.repeat([True, True, False], [own, other, missing])
    enough = np.arange(60) < 30, np.ones(60, bool)

    def labels(_parent, _asked, rows, _study):
        return enough if rows is not None and where == "the file" else (few, known)

    def drawn(_parent, _asked, rows, _study):
        return enough if rows is None else (few, known)

    monkeypatch.setattr(verb, "_labels", labels if where == "the file" else drawn)
    monkeypatch.setattr(probe, "mean_states", lambda *_: pytest.fail("states were computed"))
    message = (
        f"of {own + other + missing} cells of {where} {own} are cell_type=x, {other} are not, and"
        f" {missing} have no value; expected 18 or more of both"
    )
    with pytest.raises(UserError, match=message):
        scircuit.circuit(study=study, behaviour="celltype:cell_type=x", device="cpu", **QUIET)


def test_eighteen_cells_of_both_classes_are_enough_for_all_that_follows():
    from scircuit.tracing.behaviour.find_circuit import MIN_CELLS
    from scircuit.tracing.behaviour.probe import MIN_CELLS as PROBE
    from scircuit.workflows.interventions.circuit import _CLASS, _balanced, _check_classes

    labels, known = np.arange(2 * _CLASS) < _CLASS, np.ones(2 * _CLASS, bool)
    _check_classes(labels, known, "a=b", "the file")
    inside = _balanced(labels, known, 40, 0)
    assert inside.sum() >= MIN_CELLS and inside[labels].sum() == inside[~labels].sum()
    assert (labels & ~inside).sum() >= PROBE and (~labels & ~inside).sum() >= PROBE


def test_labels_of_missing_values_are_of_no_class(tmp_path):
    """A category that is written as missing values are, and a column of numbers."""
    import anndata
    import pandas as pd

    from scircuit.core.study import Manifest
    from scircuit.workflows.interventions.circuit import _labels

    obs = pd.DataFrame(
        {"type": ["a", "nan", None, "a"], "score": [1.0, None, 2.0, 1.0], "none": [None] * 4},
        index=list("wxyz"),
    )
    obs["none"] = obs["none"].astype(float)
    path = tmp_path / "cells.h5ad"
    genes = pd.DataFrame(index=["CD3D", "CD3E"])
    anndata.AnnData(np.ones((4, 2), np.float32), obs, genes).write_h5ad(path)
    parent = Manifest("trace-1", "trace", {"cells": str(path)}, {}, version="0")

    def of(text, rows=None):
        own, known = _labels(parent, read_behaviour(f"celltype:{text}"), rows, tmp_path)
        return own.tolist(), known.tolist()

    assert of("type=a") == ([True, False, False, True], [True, True, False, True])
    assert of("type=nan") == ([False, True, False, False], [True, True, False, True])
    assert of("score=1.0") == ([True, False, False, True], [True, False, True, True])
    assert of("type=a", np.array([3, 2])) == ([True, False], [True, False])
    assert of("type=a", np.array([], int)) == ([], [])
    assert not any(of("none=nan")[1])


@pytest.mark.parametrize(("others", "expected"), [(0, 5), (2, 5), (5, 5), (6, 6), (8, 8)])
def test_importance_is_measured_on_others_where_there_are_six(monkeypatch, others, expected):
    """Cells 0 to 4 are those of the trace run."""
    from types import SimpleNamespace

    from scircuit.core.config import ImportanceConfig
    from scircuit.tracing.interventions import feature_importance
    from scircuit.workflows.interventions import importance as verb

    cohort = SimpleNamespace(
        tokens=[np.array([i]) for i in range(5 + others)], row_ids=np.arange(5 + others)
    )
    adapter = SimpleNamespace(device="cpu", tokens_are_genes=True)
    inputs = SimpleNamespace(cohort=cohort, adapter=adapter, dictionaries={})
    monkeypatch.setattr(verb, "inputs_of_run", lambda *_, **__: (None, inputs))
    monkeypatch.setattr(
        feature_importance,
        "loss_changes",
        lambda _a, _d, cells, *_, **__: [int(c[0]) for c in cells],
    )
    parent = SimpleNamespace(inputs={"row_ids": list(range(5))})
    cells, counted, _ = verb._measure(parent, ImportanceConfig(), [], True)
    assert counted == others and len(cells) == expected
    assert (min(cells) == 5) == (others >= 6)


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
    with pytest.raises(UserError, match="--n-cells is 5, expected 6 or more"):
        scircuit.importance(study=empty, n_cells=5, **QUIET)


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
