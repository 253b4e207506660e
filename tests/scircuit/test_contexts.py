"""Several source layers in one run, and runs that are not exact: what is stored, said and kept
apart.
"""

import pytest

import scircuit as sc
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.study_runs import trace

EDGES = "Feature-AFFECTS-Feature"


@pytest.fixture(scope="module")
def options(root):
    examples = root / "examples"
    return {
        "model": str(examples / "model"),
        "dictionaries": str(examples / "dictionaries"),
        "mixed": True,
        "n_cells": 8,
        "cells": examples / "cells" / "celltypist_sample_559cells.h5ad",
        "features": tuple(range(30)),
        "control_features": 3,
        "database": False,
        "quiet": True,
    }


@pytest.fixture(scope="module")
def frozen(options, tmp_path_factory):
    return sc.trace(
        study=tmp_path_factory.mktemp("frozen"), source_layers=(2, 3), context="frozen", **options
    )


def test_a_frozen_run_names_its_method_and_audits_itself(frozen):
    store = ShardStore(frozen.folder)
    runs = [r for r in store.tables("Run").to_pylist() if r.get("method")]
    assert {r["method"] for r in runs} == {"frozen"}
    audits = [c for c in store.tables("Control").to_pylist() if c["control"] == "context"]
    pairs = {(2, 3), (2, 4), (2, 5), (3, 4), (3, 5)}
    assert {
        (c["source_layer"], c["target_layer"]) for c in audits if c["context"] == "frozen"
    } == pairs
    assert {c["context"] for c in audits} == {"frozen", "16", "32", "64"}
    next_layer = [
        c for c in audits if c["target_layer"] == c["source_layer"] + 1 and c["context"] == "frozen"
    ]
    assert all(c["precision"] == c["recall"] == 1.0 for c in next_layer if c["edges"])
    contexts = {f["context"] for f in store.tables("Feature").to_pylist() if f.get("traced")}
    assert contexts <= {"frozen", "exact"} and "frozen" in contexts


def test_what_it_prints_says_how_far_frozen_is_from_exact(frozen):
    text = str(frozen)
    assert "features of layers 2, 3 x 8 cells" in text
    assert "audit L02 → L03, 20 sources also traced exactly: precision" in text
    assert text.count("audit L") == 5


def test_both_layers_are_in_one_run_and_one_family_of_tests(frozen, options, tmp_path):
    layers = {
        e.split("/")[-2]
        for e in ShardStore(frozen.folder).tables(EDGES).column("source").to_pylist()
    }
    assert layers == {"L02", "L03"}
    alone = sc.trace(study=tmp_path, source_layers=(3,), context="frozen", **options)
    both = {(e["source"], e["target"]): e for e in frozen.edges().to_dict("records")}
    compared = 0
    for e in alone.edges().to_dict("records"):
        twin = both[e["source"], e["target"]]
        assert all(e[k] == twin[k] for k in ("n", "n_pos", "n_neg", "positions"))
        for name in ("p", "halves", "z_computed"):  # equal, or both are not known
            assert e[name] == twin[name] or (e[name] != e[name] and twin[name] != twin[name])
        assert e["mean"] == pytest.approx(twin["mean"], abs=1e-5)
        compared += sum(e[q] == e[q] and e[q] != twin[q] for q in ("q", "q_direct", "q_computed"))
    assert compared > 0  # q is that of another family
    assert alone.findings["live_tests"] < frozen.findings["live_tests"]


def test_contexts_are_different_runs_and_work_units_are_not(frozen, options, tmp_path):
    manifest = Manifest.load(frozen.folder)
    study = frozen.folder.parent.parent
    again = trace(study, source_layers=(2, 3), context="frozen", unit_features=5, **options)
    assert again.run == frozen.run and not again.new
    exact = sc.trace(study=tmp_path, source_layers=(2, 3), **{**options, "features": (0, 1, 2)})
    assert exact.run != manifest.run and exact.findings["audit"] == []
    assert "audit" not in str(exact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": "warm"}, "context 'warm' is unknown"),
        ({"context": "0"}, "context '0' is unknown"),
        ({"memory": "lots"}, "memory 'lots' is not a size"),
        ({"memory": "1g"}, "memory 1.00 GB leaves"),
        ({"legacy": True, "context": "frozen"}, "recomputed every position"),
        ({"source_layers": (2, 9)}, "source layer 9 has no dictionary"),
        ({"n_cells": 1}, "one cell; an effect is tested over at least 2"),
    ],
)
def test_what_cannot_be_traced_is_refused(options, tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        sc.trace(study=tmp_path, **{**options, **change})
    assert caught.value.fix


def test_a_gate_that_keeps_edges_out_says_how_many(options, tmp_path, root):
    thp1 = root / "examples" / "thp1"
    more = options | {
        **{name: str(thp1 / name) for name in ("model", "dictionaries")},
        "cells": next((thp1 / "cells").glob("*.h5ad")),
        "n_cells": 20,
        "features": tuple(range(0, 300, 3)),
        "null_draws": 0,
    }
    wide, narrow = (
        sc.trace(
            study=tmp_path / str(gate), source_layers=(1,), target_layers=(2,), gate_p=gate, **more
        )
        for gate in (0.1, 0.0002)
    )
    most = wide.findings["p_at_q05"]
    assert most == narrow.findings["p_at_q05"] > 0.0002
    p = wide.edges()["p"]
    lost = int(((p > 0.0002) & (p <= most)).sum())
    assert lost > 0
    [note] = [n for n in narrow.findings["notes"] if "--gate-p" in n]
    assert note.startswith(f"{lost:,} tests of total effects with q <= 0.05 have p above 0.0002")
    assert not any("--gate-p" in n for n in wide.findings["notes"])
