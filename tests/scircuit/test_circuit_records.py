"""The records of a behaviour circuit, and its edges, from a planted circuit and a small trace."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest

from scircuit.core import schema
from scircuit.core.address import Address
from scircuit.core.config import CircuitConfig
from scircuit.core.study import Manifest, Study
from scircuit.execution.behaviour.circuit_records import circuit_finding
from scircuit.execution.findings.finding_files import read_findings, write_findings
from scircuit.ingest.shards.shard_store import ShardStore
from scircuit.tracing.behaviour import Search, find_circuit
from tests.support.planted_behaviour import chain, spread

PREFIX = ("toy", "set")


def edge(source, target, computed, q=0.001):
    return {
        "source": str(source),
        "target": str(target),
        "run": "trace-1",
        "n": 20,
        "d": computed,
        "computed": computed,
        "z_computed": 10 * computed,
        "computed_cells": 18,
        "q_computed": q,
    }


@pytest.fixture
def traced(tmp_path):
    """A study with a trace run of the given edges."""

    def make(edges):
        study, manifest = Study(tmp_path), Manifest("trace-1", "trace", {}, {}, version="0")
        study.run_folder("trace-1").mkdir(parents=True)
        store = ShardStore(study.run_folder("trace-1"), manifest)
        ids = sorted({e["source"] for e in edges} | {e["target"] for e in edges})
        features = pa.table({"id": ids, "mean_activation": [1.0] * len(ids)})
        frame = pd.DataFrame(edges)
        kind = "Feature-AFFECTS-Feature"
        declared = schema.arrow_schema(kind, frame.columns)
        table = pa.Table.from_pandas(frame, declared, preserve_index=False)
        store.add("L00", {"Feature": schema.conform("Feature", features), kind: table})
        return study, store.manifest

    return make


def finding_of(world, study, manifest, **options):
    found = find_circuit(
        world.adapter,
        world.dictionaries,
        tuple(world.dictionaries),
        world.cells,
        world.behaviour,
        Search(draws=19, **options),
    )
    asked, more = "celltype:a=b", {"accuracy": 1.0}
    config = CircuitConfig(asked, draws=19)
    return circuit_finding(
        world.adapter, found, study, manifest, PREFIX, asked, "probe", config, "circuit-1", more
    )


def test_a_planted_circuit_with_its_edges(traced):
    world = chain(0)
    a, b, c = (Address(*PREFIX, layer, f) for layer, f in sorted(world.truth))
    other = Address(*PREFIX, 1, (b.index + 1) % 20)
    edges = [
        edge(a, b, -0.5),
        edge(b, c, 0.4),
        edge(a, c, 0.2),  # weaker than the one to b
        edge(a, other, 3.0),  # leads out of the circuit
        edge(other, c, 3.0),
    ]
    study, manifest = traced(edges)
    finding = finding_of(world, study, manifest)
    numbers = finding.numbers
    json.dumps(numbers, allow_nan=False)
    assert set(numbers["features"]) == {str(a), str(b), str(c)} and not numbers["refused"]
    assert (numbers["edges"], numbers["edges_kept"], numbers["size"]) == (3, 2, 3)
    assert finding.sentence.startswith("3 of 60 features keep 100% of the probe")
    assert "; their 3 computed edges alone keep 100% (100% to 100%; without any" in finding.sentence
    assert [tuple(edge) for edge in numbers["joins"]] == [
        (str(a), str(b), -0.5, -5.0),
        (str(b), str(c), pytest.approx(0.4), pytest.approx(4.0)),
        (str(a), str(c), pytest.approx(0.2), pytest.approx(2.0)),
    ]
    assert {m[0]: m[1] for m in numbers["members"]} == {str(a): 0, str(b): 1, str(c): 2}
    (node,) = finding.records["Intervention"].to_pylist()
    assert node["id"] == "circuit-1/circuit" and node["behaviour"] == "celltype:a=b"
    assert node["size"] == node["order"] == 3 and node["cells"] == numbers["judged_on"] == 12
    shown = ("sufficiency", "necessity", "sufficiency_random", "edges", "edges_kept")
    for key in (*shown, "sufficiency_edges", "sufficiency_edges_low", "sufficiency_no_edges"):
        assert node[key] == numbers[key], key
    assert node["sufficiency_edges"] > 0.99 and abs(node["sufficiency_no_edges"]) < 0.05
    assert node["refused"] is None
    assert (node["area"], node["distance"]) == (numbers["cpr"], numbers["cmd"])
    parts = {p["source"]: p for p in finding.records["Feature-PART_OF-Intervention"].to_pylist()}
    assert {s: p["leads_to"] for s, p in parts.items()} == {
        str(a): str(b),
        str(b): str(c),
        str(c): None,
    }
    assert sorted(p["position"] for p in parts.values()) == [1, 2, 3]
    assert all(p["score"] > 0.2 for p in parts.values())
    write_findings(study.run_folder("trace-1"), [finding])
    (stored,) = read_findings(study.run_folder("trace-1"))
    curve = stored.frame.set_index("size")
    assert curve["sufficiency"][0] == 0 and curve["sufficiency"][3] == numbers["sufficiency"]
    assert curve["sufficiency"].iloc[-1] == 1 and curve.index[-1] == numbers["considered"]
    assert stored.plot().get_xlabel() == "features in the circuit"


def test_effects_that_are_no_computed_edges_do_not_connect_it(traced):
    world = chain(0)
    a, b, c = (Address(*PREFIX, layer, f) for layer, f in sorted(world.truth))
    study, manifest = traced([edge(a, b, 0.5, q=0.5), edge(b, c, 0.4, q=0.06)])
    finding = finding_of(world, study, manifest)
    assert (finding.numbers["edges"], finding.numbers["edges_kept"]) == (0, 0)
    assert "no computed edge joins them; driven by none of the others, they keep" in (
        finding.sentence
    )
    assert abs(finding.numbers["sufficiency_edges"]) < 0.05 and finding.numbers["joins"] == []
    assert not any(
        finding.records["Feature-PART_OF-Intervention"]["leads_to"].is_valid().to_pylist()
    )


def test_a_refused_circuit_has_its_reason_and_numbers_and_no_features(traced):
    study, manifest = traced([edge(Address(*PREFIX, 0, 1), Address(*PREFIX, 1, 1), 0.5)])
    finding = finding_of(spread(0), study, manifest)
    json.dumps(finding.numbers, allow_nan=False)
    assert finding.numbers["refused"] and len(finding.frame)
    assert set(finding.records) == {"Intervention", "Intervention-FROM-Run"}
    (node,) = finding.records["Intervention"].to_pylist()
    assert node["refused"].startswith("no set of up to 5%") and node["refused"] in finding.sentence
    assert node["name"] == "celltype:a=b: refused" and node["behaviour"] == "celltype:a=b"
    for key in ("size", "sufficiency", "necessity", "sufficiency_p"):
        assert node[key] == finding.numbers[key.replace("sufficiency_p", "p")] is not None, key
    assert node["order"] is None and node["edges"] is None and node["sufficiency_edges"] is None
    assert finding.sentence.startswith("no circuit keeps the probe: no set of up to 5%")
    assert finding.numbers["features"] == [] and finding.numbers["sufficiency"] < 0.5
