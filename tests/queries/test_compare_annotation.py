"""Published and calibrated annotation compared, against pandas on the same records."""

from __future__ import annotations

import pandas as pd
import pytest

from scircuit.queries.api import query
from tests.queries.expected import annotations, same
from tests.queries.small_names import (
    ANNOTATE,
    EARLIER,
    OTHER,
)

pytestmark = pytest.mark.server


USED = ["GO", "KEGG", "TRRUST"]  # families of the libraries that the annotate run used


@pytest.mark.parametrize("q", [0.05, 0.02])
def test_compare_annotation(study, q):
    e, f = annotations(study), study.features
    e["published"], e["calibrated"] = e.origin == "published", (e.origin == "own") & (e.best <= q)
    pairs = (
        e.groupby(["model", "layer", "family", "source", "accession"])[["published", "calibrated"]]
        .any()
        .reset_index()
    )
    pairs["comparable"] = pairs.published & pairs.family.isin(
        ["GO", "KEGG"]
    )  # TRRUST entries are of another kind
    pairs["both"] = pairs.comparable & pairs.calibrated
    rows = []
    for d in study.frames["Dictionary"].itertuples():
        part = pairs[(pairs.model == d.model) & (pairs.layer == d.layer)]
        fire = f[(f.model == d.model) & (f.layer == d.layer) & (f.alive != False)]  # noqa: E712
        for library in ["any", *sorted({*USED, *part.family})]:
            some = part if library == "any" else part[part.family == library]
            of = some.groupby("source")[["published", "calibrated"]].any().sum()
            rows.append(
                (
                    d.model,
                    d.set,
                    d.layer,
                    library,
                    len(fire),
                    fire.label_null.notna().sum(),
                    of.published,
                    of.calibrated,
                    some.published.sum(),
                    some.comparable.sum(),
                    some.both.sum(),
                    some.calibrated.sum(),
                )
            )
    columns = [
        "model",
        "set",
        "layer",
        "library",
        "features",
        "tested",
        "published",
        "calibrated",
        "published_terms",
        "comparable_terms",
        "surviving_terms",
        "calibrated_terms",
    ]
    expected = (
        pd.DataFrame(rows, columns=columns)
        .assign(run=ANNOTATE)
        .sort_values(["model", "layer"], kind="stable")
    )
    expected = expected.assign(
        published_rate=expected.published / expected.features,
        calibrated_rate=expected.calibrated / expected.features,
        survival=expected.surviving_terms
        / expected.comparable_terms.where(expected.comparable_terms > 0),
        unpublished_terms=expected.calibrated_terms - expected.surviving_terms,
    )
    assert (expected[expected.library == "any"].surviving_terms > 0).any() and (
        expected[expected.library == "KEGG"].surviving_terms > 0
    ).any()
    assert (
        (expected.tested < expected.features).any()
        and (expected.tested <= expected.features).all()
        and (expected.tested > 0).all()
    )
    assert ((expected.comparable_terms > 0) & (expected.surviving_terms == 0)).any(), (
        "a library of which nothing survives"
    )
    answer = query(study.connection, "compare_annotation", q=q)
    same(answer, expected, list(expected.columns))
    assert answer.null_rate.notna().tolist() == (answer.library == "any").tolist() and set(
        answer.null_rate.dropna()
    ) == {0.04}
    same(query(study.connection, "compare_annotation", q=q, run=ANNOTATE), answer)
    same(
        query(study.connection, "compare_annotation", q=q, model=OTHER),
        answer[answer.model == OTHER],
    )


def test_what_a_replaced_run_found_is_compared_when_asked_for(study):
    answer = query(study.connection, "compare_annotation", run=EARLIER)
    every = answer[answer.library == "any"]
    assert (
        set(answer.run) == {EARLIER}
        and (
            every.calibrated_terms == 5 * study.features.groupby(["model", "layer"]).size().values
        ).all()
    )
    of_other = study.features.query("model == @OTHER")
    fires = pd.concat([study.older, of_other]).query("alive != False")
    assert every.features.tolist() == fires.groupby(["model", "layer"]).size().tolist()
    assert every.features.sum() < (study.features.alive != False).sum(), "the newer run differs"  # noqa: E712
    assert (answer.tested == answer.features).all(), "this run tested every feature"


@pytest.fixture
def lost(study):
    """An atlas of which nothing survives in layer 0 and one term of ten in layer 1; the same
    features annotated through another run; a layer that nobody annotated, and one that both runs
    left out.
    """
    study.connection.run("""
        UNWIND [
          ['import-z', 'import', '2026-02-01', null],
          ['annotate-z', 'annotate', '2026-02-02', 0.001],
          ['trace-z', 'trace', '2026-02-03', null], ['annotate-y', 'annotate', '2026-02-04', 0.002]
        ] AS r
        CREATE (run:Run:Lost {id: r[0], verb: r[1], started: r[2], status: 'complete',
          null_annotation_rate: r[3]})
        """)
    study.connection.run("""
        MATCH (i:Run {id: 'import-z'}), (a:Run {id: 'annotate-z'})
        MATCH (t:Run {id: 'trace-z'}), (b:Run {id: 'annotate-y'})
        CREATE (a)-[:FROM]->(i), (b)-[:FROM]->(t),
          (l:GeneSetLibrary:Lost {id: 'KEGG:z', name: 'KEGG_2021_Human'}),
          (a)-[:USED]->(l), (b)-[:USED]->(l),
          (x:Term:Lost {id: 'KEGG-atlas:z', library: 'KEGG-atlas', accession: 'z', name: 'z'}),
          (o:Term:Lost {id: 'KEGG_2021_Human:z', library: 'KEGG_2021_Human',
            accession: 'z', name: 'z'})
        WITH *, {origin: 'own', q: 0.01, q_calibrated: 0.01} AS own
        UNWIND [0, 1, 2, 3] AS layer
        CREATE (d:Dictionary:Lost {id: 'zz/s/L0' + layer, model: 'zz', set: 's', layer: layer})
        FOREACH (_ IN CASE WHEN layer <> 2 THEN [1] ELSE [] END |
          CREATE (i)-[:USED]->(d), (t)-[:USED]->(d))
        WITH * UNWIND range(0, 9) AS k
        CREATE (f:Feature:Lost {id: d.id + '/F000' + k, model: 'zz', dictionary: d.id,
          layer: layer, index: k, alive: true, annotated: layer = 1 AND k = 0,
          annotation_run: CASE WHEN layer < 2 THEN 'annotate-z' END,
          label_null: CASE WHEN k < 6 THEN 0.5 END})
        FOREACH (_ IN CASE WHEN layer < 2 THEN [1] ELSE [] END |
          CREATE (a)-[:FOUND {annotation_run: a.id, label_null: f.label_null}]->(f),
            (b)-[:FOUND {annotation_run: b.id, label_null: CASE WHEN k < 3 THEN 0.5 END}]->(f))
        CREATE (f)-[:ENRICHED_FOR {run: 'import-z', origin: 'published', q: 0.01}]->(x)
        FOREACH (_ IN CASE WHEN layer = 1 AND k = 0 THEN [1] ELSE [] END |
          CREATE (f)-[e:ENRICHED_FOR {run: 'annotate-z'}]->(o) SET e += own)
        FOREACH (_ IN CASE WHEN layer = 1 AND k IN [1, 2, 3] THEN [1] ELSE [] END |
          CREATE (f)-[e:ENRICHED_FOR {run: 'annotate-y'}]->(o) SET e += own)
        """)
    yield study
    study.connection.run("MATCH (n:Lost) DETACH DELETE n")


def test_a_layer_where_nothing_survives_is_no_untested_one(lost):
    answer = query(lost.connection, "compare_annotation", model="zz")
    left_out = answer[answer.layer == 3]
    assert (
        set(left_out.run) == {"annotate-z", "annotate-y"}
        and (left_out.published == 10).all()
        and left_out[["tested", "calibrated", "comparable_terms", "survival", "null_rate"]]
        .isna()
        .all(axis=None)
    )
    mine = answer[(answer.library == "KEGG") & (answer.layer != 3)].set_index(["run", "layer"])
    assert mine.loc[
        "annotate-z",
        [
            "features",
            "tested",
            "published",
            "calibrated",
            "comparable_terms",
            "surviving_terms",
            "survival",
        ],
    ].to_numpy().tolist() == [[10, 6, 10, 0, 10, 0, 0.0], [10, 6, 10, 1, 10, 1, 0.1]]
    assert mine.loc["annotate-y"].surviving_terms.tolist() == [0, 3] and mine.loc[
        "annotate-y"
    ].tested.tolist() == [3, 3], "no run's findings are added to another's"
    nobody = answer[answer.run == ""]
    assert (
        set(nobody.layer) == {2}
        and (nobody.published == 10).all()
        and nobody[["tested", "calibrated", "comparable_terms", "survival"]].isna().all(axis=None)
    )
    every = answer[answer.library == "any"].set_index(["run", "layer"])
    assert every.null_rate.dropna().to_dict() == {
        ("annotate-z", 0): 0.001,
        ("annotate-z", 1): 0.001,
        ("annotate-y", 0): 0.002,
        ("annotate-y", 1): 0.002,
    }
    found = every.loc["annotate-z"]
    assert found.surviving_terms.sum() / found.comparable_terms.sum() == 1 / 20


def test_a_library_that_was_not_tested_has_no_survival(study):
    study.connection.run(
        "MATCH (r:Run {id: $run})-[u:USED]->(l:GeneSetLibrary {id: 'KEGG_2021_Human'}) DELETE u",
        run=ANNOTATE,
    )
    try:
        row = (
            query(study.connection, "compare_annotation", model=OTHER)
            .set_index(["layer", "library"])
            .loc[(5, "KEGG")]
        )
        assert (
            row.published_terms > 0
            and row[
                [
                    "calibrated",
                    "comparable_terms",
                    "surviving_terms",
                    "survival",
                    "unpublished_terms",
                ]
            ]
            .isna()
            .all()
        )
    finally:
        study.connection.run(
            "MATCH (r:Run {id: $run}), (l:GeneSetLibrary {id: 'KEGG_2021_Human'}) MERGE"
            " (r)-[:USED]->(l)",
            run=ANNOTATE,
        )
