"""``scircuit null`` on a short trace: copies differ by kind and seed, every headline number has its
value in each of them, and an interrupted comparison goes on to the same result.
"""

from __future__ import annotations

import json
import shutil

import pytest

import scircuit as sc
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest
from scircuit.execution.scrambled.headline import NAMES
from tests.support.study_runs import demo, options_alone

QUIET = {"database": False, "quiet": True}
COPIES = "permuted-0", "permuted-1", "rotated-0", "rotated-1"
ASKED = {"seeds": 2, "train_cells": 24, "device": "cpu"}


@pytest.fixture(scope="module")
def study(root, tmp_path_factory):
    """A trace of some features with everything the report has of it."""
    place = tmp_path_factory.mktemp("null") / "study with spaces"
    options = options_alone(demo(root)) | {"n_cells": 8, "gate_p": 1.0}
    traced = sc.trace(study=place, **options, **QUIET)
    sc.annotate(study=place, run=traced.run, n_cells=40, **QUIET)
    sc.analyse(study=place, run=traced.run, bootstrap=5, database=False)
    return place, traced


@pytest.fixture(scope="module")
def compared(study):
    return sc.null(study=study[0], **ASKED, **QUIET)


def manifest_of(traced):
    return Manifest.load(traced.folder)


def copies(result):
    """Manifest of the trace of each copy, by the copy's name."""
    found = {}
    for name in COPIES:
        [file] = (result.folder / name / "study" / "runs").glob("trace-*/manifest.json")
        found[name] = Manifest.load(file.parent)
    return found


def test_every_headline_number_has_its_value_in_every_copy(study, compared):
    rows = {row["number"]: row for row in compared.findings["table"]}
    for name in ("computed_per_source", "calibrated_per_source", "mean_degree", "annotation_rate"):
        assert name in rows
    for name, row in rows.items():
        assert row["words"] == NAMES[name]
        assert len(row["permuted"]) == len(row["rotated"]) == 2
    traced = study[1].findings
    calibrated = rows["calibrated_per_source"]
    assert calibrated["trained"] == traced["edges_calibrated"] / traced["sources"]
    for name, manifest in copies(compared).items():
        kind, seed = name.split("-")
        own = manifest.findings
        assert calibrated[kind][int(seed)] == own["edges_calibrated"] / own["sources"]
        assert own["edges_continued"] <= own["edges_computed"]
        assert rows["continued_per_source"][kind][int(seed)] == (
            own["edges_continued"] / own["sources"]
        )
    assert "computed edges per source" in str(compared)


def test_copies_of_every_kind_and_seed_differ(study, compared):
    found = copies(compared)
    models = [found[f"permuted-{s}"].inputs["model"] for s in (0, 1)]
    assert len({*models, manifest_of(study[1]).inputs["model"]}) == 3
    assert {m.inputs["model"] for n, m in found.items() if "rotated" in n} == {
        manifest_of(study[1]).inputs["model"]
    }
    dictionaries = [json.dumps(m.inputs["dictionaries"], sort_keys=True) for m in found.values()]
    assert len(set(dictionaries)) == 4


def test_copies_are_traced_as_the_run_was(study, compared):
    own = manifest_of(study[1])
    for manifest in copies(compared).values():
        assert (
            manifest.config
            | {
                name: own.config[name]
                for name in ("model", "dictionaries", "model_name", "device", "ray", "untrained")
            }
            == own.config
        )


def test_a_complete_comparison_is_not_repeated(study, compared):
    again = sc.null(study=study[0], **ASKED, **QUIET)
    assert not again.new and again.run == compared.run and again.findings == compared.findings


def test_an_interrupted_comparison_goes_on_to_the_same_result(
    study, compared, tmp_path, monkeypatch
):
    from scircuit.workflows import null, trace

    place = tmp_path / "study with spaces"
    shutil.copytree(study[0], place, ignore=shutil.ignore_patterns("null-*"))
    whole, seen = trace.trace, []

    def third_is_stopped(*arguments, **options):
        seen.append(arguments)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(trace, "trace", third_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        null.null(study=place, **ASKED, **QUIET)
    monkeypatch.setattr(trace, "trace", whole)
    first = {name: m.started for name, m in _finished(place).items()}
    assert len(first) == 2
    result = null.null(study=place, **ASKED, **QUIET)
    assert result.new and result.findings["table"] == compared.findings["table"]
    again = {name: m.started for name, m in _finished(place).items()}
    assert len(again) == 4 and {n: again[n] for n in first} == first


def _finished(place):
    """Complete traces of copies, by the copy's name."""
    files = place.glob("runs/null-*/*/study/runs/trace-*/manifest.json")
    manifests = {f.parents[3].name: Manifest.load(f.parent) for f in files}
    return {name: m for name, m in manifests.items() if m.complete}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("shuffled",)}, "nothing is scrambled by 'shuffled'"),
        ({"seeds": 0}, "no scrambled copy is asked for"),
        ({"kinds": ()}, "no scrambled copy is asked for"),
        ({"run": "trace-0000000000"}, "trace-0000000000"),
    ],
)
def test_wrong_options_are_refused(study, options, message):
    with pytest.raises(UserError, match=message):
        sc.null(study=study[0], **ASKED | options, **QUIET)


def test_a_changed_input_is_refused(study, tmp_path, root):
    """The copies would be compared with a run of other dictionaries."""
    folder = tmp_path / "dictionaries"
    shutil.copytree(root / "examples" / "dictionaries", folder)
    options = options_alone(demo(root)) | {"dictionaries": str(folder), "null_draws": 0}
    place = tmp_path / "study"
    sc.trace(study=place, **options, **QUIET)
    name = "dictionary.safetensors"
    shutil.copy(folder / "layer02" / name, folder / "layer03" / name)
    with pytest.raises(UserError, match="changed"):
        sc.null(study=place, **ASKED, **QUIET)
