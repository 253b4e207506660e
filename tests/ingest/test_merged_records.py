"""Records that several runs share: facts without a run, libraries of regulons, annotations."""

from __future__ import annotations

import pyarrow as pa
import pytest

from scircuit.core import schema as records
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore
from tests.support.synthetic import (
    manifest,
)


def test_facts_without_a_run_stay_single(connection, tmp_path):
    for run in ("annotate-a", "annotate-b"):
        store = ShardStore(tmp_path / run, manifest(run))
        store.add(
            "facts",
            {
                "Gene": pa.table({"id": ["g1", "g2"]}),
                "Term": pa.table({"id": ["t1"]}),
                "Gene-MEMBER_OF-Term": pa.table({"source": ["g1", "g2"], "target": ["t1", "t1"]}),
                "Gene-REGULATES-Gene": pa.table(
                    {
                        "source": ["g1"],
                        "target": ["g2"],
                        "library": ["TRRUST"],
                        "mode": [None if run == "annotate-b" else "Activation"],
                    }
                ),
            },
        )
        load_run(connection, store.folder)
    assert connection.run(
        "MATCH (:Gene)-[r]->() RETURN type(r) AS t, count(*) AS n, max(r.mode) AS m ORDER BY t"
    ) == [{"t": "MEMBER_OF", "n": 2, "m": None}, {"t": "REGULATES", "n": 1, "m": "Activation"}]


def test_each_library_of_regulons_keeps_its_records(connection, tmp_path):
    known = {"TRRUST": ("Unknown", ["11", "12"]), "collectri": ("Activation", None)}
    for library, (mode, papers) in known.items():
        store = ShardStore(tmp_path / library, manifest(f"annotate-{library.lower()}"))
        store.add(
            "facts",
            {
                "Gene": pa.table({"id": ["g1", "g2"]}),
                "Gene-REGULATES-Gene": pa.table(
                    {
                        "source": ["g1"],
                        "target": ["g2"],
                        "library": [library],
                        "mode": [mode],
                        "pmids": pa.array([papers], pa.list_(pa.string())),
                    }
                ),
            },
        )
        load_run(connection, store.folder)
    found = connection.run(
        "MATCH (:Gene)-[r:REGULATES]->() RETURN r.library AS library, r.mode AS mode, r.pmids AS"
        " papers"
    )
    assert {row["library"]: (row["mode"], row["papers"]) for row in found} == known


def test_regulons_without_a_library_are_refused(tmp_path):
    store = ShardStore(tmp_path / "run", manifest("annotate-a"))
    for column in ({}, {"library": [""]}, {"library": pa.array([None], pa.string())}):
        with pytest.raises(ValueError, match="library"):
            store.add(
                "facts",
                {"Gene-REGULATES-Gene": pa.table({"source": ["g1"], "target": ["g2"], **column})},
            )


def test_an_annotation_replaces_the_earlier_one_whole(connection, tmp_path):
    """What the newer run has no value for is gone; a feature that it does not name, and what other
    verbs wrote, stay.
    """
    old = {
        "label": "DNA repair",
        "label_q": 0.01,
        "label_ties": 2,
        "annotated": True,
        "best_tf": "GATA1",
        "tf_share": 0.3,
        "annotation_run": "annotate-a",
        "firing_rate": 0.5,
    }
    new = {
        "label": "",
        "label_q": None,
        "label_ties": None,
        "annotated": False,
        "best_tf": "",
        "tf_share": None,
        "annotation_run": "annotate-b",
    }
    for run, ids, values in (("annotate-a", ["f1", "f2"], old), ("annotate-b", ["f1"], new)):
        store = ShardStore(tmp_path / run, manifest(run))
        schema = records.arrow_schema("Feature", values)
        store.add(
            "features",
            {
                "Feature": pa.table(
                    {"id": ids, **{k: [v] * len(ids) for k, v in values.items()}}, schema=schema
                )
            },
        )
        load_run(connection, store.folder)
    found = {
        row["p"].pop("id"): row["p"]
        for row in connection.run("MATCH (f:Feature) RETURN properties(f) AS p")
    }
    block = [p.name for p in records.ANNOTATION_PROPERTIES]
    assert {key: row.pop("_own") for key, row in found.items()} == {
        "f1": ["firing_rate", *block],
        "f2": ["firing_rate", *block],
    }
    assert found == {
        "f1": {"annotated": False, "annotation_run": "annotate-b", "firing_rate": 0.5},
        "f2": old,
    }
