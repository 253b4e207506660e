"""Answers about knowledge, of own and imported features, against pandas on the same records."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
import small_graph
from small_graph import ANNOTATE, ATLAS, EARLIER, IMPORTED, MATCH, NEW, OTHER, TERMS, address, other
from test_edge_answers import same

from scircuit.core.errors import UserError
from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import to_networkx

pytestmark = pytest.mark.server


def family(library: str) -> str:
    return "KEGG" if library.startswith("KEGG") else library.removesuffix("-atlas")


def annotations(study) -> pd.DataFrame:
    """ENRICHED_FOR with term, library family, accession, model and layer; `best` is the calibrated
    q, or the published one.
    """
    e = study.frames["Feature-ENRICHED_FOR-Term"].merge(
        study.frames["Term"][["id", "name", "library", "accession"]],
        left_on="target",
        right_on="id",
        suffixes=("", "_term"),
    )
    f = study.features
    best = e.q_calibrated.where(e.origin == "own", e.q)
    return e.assign(
        best=best,
        model=f.model.loc[e.source].values,
        layer=f.layer.loc[e.source].values,
        family=e.library_term.map(family),
    )


def partners(study, kind: str, key: str) -> pd.DataFrame:
    """Relationships of one feature in either direction, the other end as `item`."""
    frame = study.frames[kind]
    out, into = (
        frame[frame.source == key].assign(item=lambda x: x.target),
        frame[frame.target == key].assign(item=lambda x: x.source),
    )
    return pd.concat([out, into], ignore_index=True)


@pytest.fixture
def known(study):
    def ask(key: str, **more):
        answer = query(study.connection, "feature_knowledge", feature=key, limit=100, **more)
        assert set(answer.feature) == {key}
        return {section: part.reset_index(drop=True) for section, part in answer.groupby("section")}

    return ask


KEYS = [
    address(1, 0),
    address(1, 3),
    address(2, 0),
    address(3, 6),
    other(5, 1),
    other(5, 4),
    other(6, 2),
]


@pytest.mark.parametrize("key", KEYS)
def test_genes_terms_and_regulators_of_any_feature(study, known, key):
    answer = known(key)
    loads = study.frames["Feature-LOADS_ON-Gene"].query("source == @key").sort_values("rank")
    assert answer["gene"].item.tolist() == loads.target.tolist() and answer[
        "gene"
    ].value.tolist() == pytest.approx(loads.mean_activation.tolist())
    assert set(answer["gene"].run) == {ATLAS if OTHER in key else ANNOTATE}

    mine = annotations(study).query("source == @key")
    published = mine[mine.origin == "published"].set_index("accession")
    own = mine[(mine.origin == "own")].set_index("accession")
    expected = {}
    for accession, row in own.iterrows():
        beside = accession in published.index
        if beside or row.best <= 0.05 or (row.test == "weighted" and row.q <= 0.05):
            expected[row.target] = (
                row.q,
                row.q_calibrated,
                published.q[accession] if beside else np.nan,
                "both" if beside else "own",
            )
    for accession, row in published.iterrows():
        if accession not in own.index:
            expected[row.target] = (np.nan, np.nan, row.q, "published")
    found = [
        answer.get("term"),
        answer["regulator"][answer["regulator"].measure == "odds ratio of its targets"],
    ]
    seen = {
        row.item: (row.q, row.q_calibrated, row.q_published, row.origin)
        for part in found
        if part is not None
        for row in part.itertuples()
    }
    assert seen.keys() == expected.keys()
    for item, values in expected.items():
        assert seen[item][3] == values[3]
        np.testing.assert_allclose(
            np.array(seen[item][:3], float), np.array(values[:3], float), rtol=1e-12
        )

    genes = set(loads.target)
    regulates = study.frames["Gene-REGULATES-Gene"]
    count = regulates[regulates.target.isin(genes)].groupby("source").target.nunique()
    shown = answer["regulator"][answer["regulator"].measure == "top genes that it regulates"]
    for library in ("TRRUST", "collectri"):
        of = shown[shown.library == library]
        assert (
            dict(zip(of.item, of.value, strict=True)) == count.to_dict()
            and of.value.is_monotonic_decreasing
        )
    factors = answer["regulator"][answer["regulator"].measure == "rank among the top genes"]
    tfs = study.frames["Gene"].query("is_tf").id
    assert factors.item.tolist() == [g for g in loads.target if g in set(tfs)]


@pytest.mark.parametrize("key", KEYS)
def test_partners_of_any_feature(study, known, key):
    answer, model = known(key), study.features.model
    alike = partners(study, "Feature-SAME_GENES-Feature", key)
    for section, mask in (
        ("counterpart", model.loc[alike["item"]].values != model[key]),
        ("same genes", model.loc[alike["item"]].values == model[key]),
    ):
        expected = alike[mask].sort_values("overlap", ascending=False)
        assert (answer[section].item.tolist() if section in answer else []) == expected[
            "item"
        ].tolist()
        if section in answer:
            assert answer[section].value.tolist() == pytest.approx(
                expected.overlap.tolist()
            ) and set(answer[section].run) == {MATCH}
    together = partners(study, "Feature-CO_OCCURS-Feature", key).sort_values("pmi", ascending=False)
    assert (answer["co-occurs"].item.tolist() if "co-occurs" in answer else []) == together[
        "item"
    ].tolist()
    for section, own, theirs in (("drives", "source", "target"), ("driven by", "target", "source")):
        e = study.edges()
        expected = Counter(e[e[own] == key][theirs])
        for kind in ("Feature-AFFECTS-Feature", "Feature-ATTRIBUTES_TO-Feature"):
            f = study.frames[kind]
            expected += Counter(f[(f[own] == key) & (f.run == IMPORTED)][theirs])
        assert Counter(answer[section].item if section in answer else []) == expected


def test_edges_of_a_map_without_counts_are_marked(known):
    drives = known(other(5, 0))["drives"]
    assert (
        set(drives.origin) == {"imported"}
        and drives.q.isna().all()
        and set(drives.measure) == {"d"}
    )
    assert set(known(other(6, 1))["drives"].measure) == {"attribution weight"}
    own = known(address(2, 0))["drives"]
    assert set(own.origin) == {"own"} and own.q.notna().all()


def test_where_a_feature_fires(study, known):
    for key in (other(5, 0), other(7, 2), address(2, 0)):
        answer = known(key)
        for section, kind in (
            ("cell type", "Feature-ACTIVE_IN-CellType"),
            ("tissue", "Feature-ACTIVE_IN-Tissue"),
        ):
            frame = study.frames[kind].query("source == @key and q <= 0.05").sort_values("q")
            got = answer.get(section)
            assert (got.item.tolist() if got is not None else []) == frame.target.tolist()
            if got is not None:
                assert set(got.origin) == ({"published"} if OTHER in key else {"own"})
                assert (got.q.isna() == (got.origin == "published")).all() and (
                    got.q_published.notna() == (got.origin == "published")
                ).all()


def test_what_is_said_first(study, known):
    rare = known(other(5, 3))["feature"]
    assert (
        "rare: what is said of it rests on little" in rare[rare["item"] == "firing"].detail.iloc[0]
    )
    labelled = known(other(5, 1))["feature"].set_index("origin")
    assert labelled["name"]["published"] == TERMS[1] and "own" not in labelled.index
    module = known(other(5, 1))["module"]
    assert module.item.tolist() == [f"{OTHER}/other-set/L05/M01"] and module.run.tolist() == [ATLAS]


def test_a_replaced_annotation_is_shown_only_when_it_is_asked_for(study, known):
    key = address(2, 0)
    now, then = known(key), known(key, annotation=EARLIER)
    assert {run for section in ("gene", "term", "cell type") for run in now[section].run} == {
        ANNOTATE,
        ATLAS,
    }
    assert (
        set(then["gene"].run) == {EARLIER}
        and len(then["gene"]) == 12
        and set(now["gene"].item) != set(then["gene"].item)
    )
    assert {"GO:0", "GO:1", "GO:5"} <= set(then["term"].item) and set(
        then["term"][then["term"].origin != "published"].run
    ) == {EARLIER}
    assert "own" not in then["feature"][then["feature"]["item"] == "label"].origin.tolist(), (
        "the label is that of the newer run"
    )
    factors = "share of the top genes"
    assert (
        factors in now["regulator"].measure.tolist()
        and factors not in then["regulator"].measure.tolist()
    )
    mine = query(
        study.connection,
        "features_of_genes",
        genes=["G1", "G2"],
        annotation=EARLIER,
        model="toy-model",
        limit=1000,
    )
    lists = small_graph.earlier(study.frames)["Feature-LOADS_ON-Gene"]
    assert set(mine.feature) == set(
        lists[lists.target.isin(["ENSG00000000001", "ENSG00000000002"])].source
    ) and set(mine.of) == {12}
    assert set(query(study.connection, "features_of_genes", genes=["G1", "G2"], limit=1000).of) == {
        5,
        12,
    }, "one list a feature: 5 genes in the atlas, 12 in the run"
    with pytest.raises(UserError, match="no annotate run or import 'annotate-no'(.|\n)*" + EARLIER):
        known(key, annotation="annotate-no")
    with pytest.raises(UserError, match="no annotate run or import 'trace-no'"):
        query(study.connection, "compare_annotation", run="trace-no")


def test_a_feature_that_the_newest_run_could_not_list_has_no_genes(study, known):
    """The newest run lists no gene of it: those of the run before are not shown in their place."""
    key = address(1, 3)
    study.connection.run(
        "MATCH (:Feature {id: $key})-[l:LOADS_ON|ENRICHED_FOR {run: $run}]->() SET l.run = 'set"
        " aside'",
        key=key,
        run=ANNOTATE,
    )
    try:
        answer = known(key)
        assert "gene" not in answer and all(
            set(answer[s].origin) == {"published"} for s in ("term",) if s in answer
        )
        assert (
            key
            not in query(
                study.connection,
                "features_of_genes",
                genes=[f"G{i}" for i in range(40)],
                limit=1000,
            ).feature.tolist()
        )
    finally:
        study.connection.run(
            "MATCH (:Feature {id: $key})-[l:LOADS_ON|ENRICHED_FOR {run: 'set aside'}]->() SET l.run"
            " = $run",
            key=key,
            run=ANNOTATE,
        )


def test_a_run_holds_for_the_dictionaries_that_it_annotates(study):
    """A newer run of the trace of layers 2 and 3 that lists nothing leaves layer 1 as it is; while
    it is not complete, it changes nothing.
    """
    ask = {"genes": [f"G{i}" for i in range(40)], "model": "toy-model", "limit": 1000}
    before = query(study.connection, "features_of_genes", **ask)
    study.connection.run(
        "MATCH (t:Run {id: $trace}) CREATE (r:Run:Newer {id: 'annotate-newer', verb: 'annotate',"
        " started: '2027-01-01', status: 'interrupted'})-[:FROM]->(t)",
        trace=NEW,
    )
    try:
        same(
            query(study.connection, "features_of_genes", **ask),
            before,
            ["feature", "hits", "weight", "of"],
        )
        study.connection.run("MATCH (r:Newer) SET r.status = 'complete'")
        after = query(study.connection, "features_of_genes", **ask)
        assert set(before.layer) == {1, 2, 3}
        same(after, before[before.layer == 1], ["feature", "hits", "weight", "of"])
        cells = query(
            study.connection,
            "cell_type_features",
            cell_type="T cell",
            model="toy-model",
            limit=1000,
        )
        assert cells.feature.tolist() == [address(2, 0)], (
            "the newer run tested no cell types, so those of the run before hold"
        )
        same(
            query(study.connection, "features_of_genes", annotation=ANNOTATE, **ask),
            before,
            ["feature", "hits", "weight", "of"],
        )
    finally:
        study.connection.run("MATCH (r:Newer) DETACH DELETE r")


def test_regulations_of_other_libraries_stand_apart(study, known):
    answer = known(address(2, 0))["regulator"]
    shown = answer[answer.measure == "top genes that it regulates"]
    trrust, other_library = (
        shown[shown.library == name].set_index("item") for name in ("TRRUST", "collectri")
    )
    assert len(trrust) > 2 and trrust.value.to_dict() == other_library.value.to_dict()
    assert (
        any("Activation" in x for row in trrust.detail for x in row)
        and trrust.detail.to_dict() != other_library.detail.to_dict()
    )
    few = query(study.connection, "feature_knowledge", feature=address(2, 0), limit=2).query(
        "measure == 'top genes that it regulates'"
    )
    assert few.library.tolist() == ["TRRUST"] * 2 + ["collectri"] * 2, (
        "a large library leaves room for the others"
    )
    one, two = (
        query(study.connection, "regulator_features", tf="G1", limit=1000, library=name).set_index(
            "feature"
        )
        for name in ("TRRUST", "collectri")
    )
    assert (
        one.activation.sum() > 0
        and (one.activation == two.repression[one.index]).all()
        and (one.targets == two.targets[one.index]).all()
    )
    signs = {
        name: query(study.connection, "trrust_edges", library=name, limit=1000)
        for name in ("TRRUST", "collectri", "")
    }
    assert [set(x.library) for x in signs.values()] == [
        {"TRRUST"},
        {"collectri"},
        {"TRRUST", "collectri"},
    ] and len(signs[""]) == 2 * len(signs["TRRUST"])
    known_mode = {name: x.sign_agrees.dropna().astype(bool).sum() for name, x in signs.items()}
    assert (
        known_mode["TRRUST"] + known_mode["collectri"] == signs["TRRUST"].sign_agrees.notna().sum()
    ), "the other library says the opposite"


def test_degree_and_interventions(study, known):
    key = address(2, 0)
    answer = known(key)
    degree = answer["feature"][answer["feature"]["item"] == "degree"]
    assert (
        degree.value.tolist() == [study.features.out_degree[key]]
        and "expected from its firing rate" in degree.detail.iloc[0][0]
    )
    parts = study.frames["Feature-PART_OF-Intervention"].query("source == @key")
    nodes = study.frames["Intervention"].set_index("id").loc[parts.target]
    shown = answer["intervention"].set_index("item")
    assert set(shown.index) == set(parts.target)
    for item, node in nodes.iterrows():
        assert (
            shown.value[item] == pytest.approx(node.ratio if node.verb == "ablate" else node.effect)
            and shown.origin[item] == "own"
        )
    assert "degree" not in known(other(5, 1))["feature"][
        "item"
    ].tolist() and "intervention" not in known(other(5, 1))


def test_responses_come_degenerate_last(study, known):
    key = next(
        k
        for k, n in (
            study.frames["Feature-RESPONDS_TO-Perturbation"]
            .groupby("source")
            .degenerate.nunique()
            .items()
        )
        if n == 2
    )
    rows = known(key)["responds to"]
    assert rows.detail.map(len).tolist() == [0, 1] and "degenerate" in rows.detail[1][0]
    frame = study.frames["Feature-RESPONDS_TO-Perturbation"]
    frame = (
        frame.assign(size=frame.effect.abs(), perturbation=frame.target)
        .sort_values(["degenerate", "size"], ascending=[True, False])
        .rename(columns={"source": "feature"})
    )
    answer = query(study.connection, "responders")
    same(answer, frame, ["perturbation", "feature", "effect", "control_firings", "degenerate"])
    assert query(study.connection, "responders", degenerate=0).degenerate.sum() == 0 and set(
        query(study.connection, "responders", gene="G2").gene
    ) == {"G2"}
    on = study.frames["Feature-LOADS_ON-Gene"].groupby("source").target.apply(set)
    targets = study.frames["Gene-REGULATES-Gene"].groupby("source").target.apply(set)
    for row in answer.itertuples():
        both = on[row.feature] & targets[f"ENSG{int(row.gene[1:]):011d}"]
        assert sorted(row.regulated) == sorted(f"G{int(g[4:])}" for g in both)
    assert (answer.regulated.map(len) > 0).any() and answer.gene_rank.notna().any()


def test_the_picture_holds_every_kind(study):
    drawn = to_networkx(query(study.connection, "knowledge_graph", feature=other(5, 1), each=20))
    types = {d["type"] for _, _, d in drawn.edges(data=True)}
    assert types >= {
        "LOADS_ON",
        "ENRICHED_FOR",
        "ACTIVE_IN",
        "CO_OCCURS",
        "SAME_GENES",
        "MEMBER_OF",
        "REGULATES",
    }
    mine = annotations(study).query("source == @other(5, 1) and best <= 0.05")
    assert {
        t for _, t, d in drawn.out_edges(other(5, 1), data=True) if d["type"] == "ENRICHED_FOR"
    } == set(mine.target)


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
    assert answer.tested.isna().all(), "what the features say is that of the newer run"


@pytest.fixture
def lost(study):
    """An atlas of which nothing survives in layer 0 and one term of ten in layer 1; the same
    features annotated through another run; a layer that nobody annotated, and one that both runs
    left out.
    """
    study.connection.run("""
        UNWIND [['import-z', 'import', '2026-02-01'], ['annotate-z', 'annotate', '2026-02-02'], ['trace-z', 'trace', '2026-02-03'], ['annotate-y', 'annotate', '2026-02-04']] AS r
        CREATE (run:Run:Lost {id: r[0], verb: r[1], started: r[2], status: 'complete', null_annotation_rate: CASE r[0] WHEN 'annotate-z' THEN 0.001 WHEN 'annotate-y' THEN 0.002 END})
        """)
    study.connection.run("""
        MATCH (i:Run {id: 'import-z'}), (a:Run {id: 'annotate-z'}), (t:Run {id: 'trace-z'}), (b:Run {id: 'annotate-y'})
        CREATE (a)-[:FROM]->(i), (b)-[:FROM]->(t), (l:GeneSetLibrary:Lost {id: 'KEGG:z', name: 'KEGG_2021_Human'}), (a)-[:USED]->(l), (b)-[:USED]->(l),
          (x:Term:Lost {id: 'KEGG-atlas:z', library: 'KEGG-atlas', accession: 'z', name: 'z'}), (o:Term:Lost {id: 'KEGG_2021_Human:z', library: 'KEGG_2021_Human', accession: 'z', name: 'z'})
        WITH * UNWIND [0, 1, 2, 3] AS layer
        CREATE (d:Dictionary:Lost {id: 'zz/s/L0' + layer, model: 'zz', set: 's', layer: layer})
        FOREACH (_ IN CASE WHEN layer <> 2 THEN [1] ELSE [] END | CREATE (i)-[:USED]->(d), (t)-[:USED]->(d))
        WITH * UNWIND range(0, 9) AS k
        CREATE (f:Feature:Lost {id: d.id + '/F000' + k, model: 'zz', dictionary: d.id, layer: layer, index: k, alive: true, annotated: layer = 1 AND k = 0, annotation_run: CASE WHEN layer < 2 THEN 'annotate-z' END,
          label_null: CASE WHEN k < 6 THEN 0.5 END})
        CREATE (f)-[:ENRICHED_FOR {run: 'import-z', origin: 'published', q: 0.01}]->(x)
        FOREACH (_ IN CASE WHEN layer = 1 AND k = 0 THEN [1] ELSE [] END | CREATE (f)-[:ENRICHED_FOR {run: 'annotate-z', origin: 'own', q: 0.01, q_calibrated: 0.01}]->(o))
        FOREACH (_ IN CASE WHEN layer = 1 AND k IN [1, 2, 3] THEN [1] ELSE [] END | CREATE (f)-[:ENRICHED_FOR {run: 'annotate-y', origin: 'own', q: 0.01, q_calibrated: 0.01}]->(o))
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
    assert (
        mine.loc["annotate-y"].surviving_terms.tolist() == [0, 3]
        and mine.loc["annotate-y"].tested.isna().all()
    ), "no run's findings are added to another's"
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


def test_counterparts(study):
    f = study.features
    frame = study.frames["Feature-SAME_GENES-Feature"].query("q <= 0.01")
    across = frame[
        f.model.loc[frame.source].values != f.model.loc[frame.target].values
    ].sort_values("overlap", ascending=False)
    key = across.source.iloc[0]
    mine = across[across.source == key].rename(columns={"target": "counterpart"})
    answer = query(study.connection, "counterparts")
    assert set(answer.feature) == {key}
    same(answer, mine, ["counterpart", "overlap", "shared", "p", "q"])
    on = study.frames["Feature-LOADS_ON-Gene"].groupby("source").target.apply(set)
    assert [set(g) for g in answer.genes] == [
        {f"G{int(x[4:])}" for x in on[key] & on[c]} for c in answer.counterpart
    ]
    back = query(study.connection, "counterparts", feature=answer.counterpart[0])
    assert key in back.counterpart.tolist() and set(back.model) == {"toy-model"}
    term = annotations(study)
    for c, terms in zip(answer.counterpart, answer.terms, strict=True):
        both = set(term[term.source == key].accession) & set(term[term.source == c].accession)
        assert set(terms) == set(term[term.accession.isin(both)].name)
    assert query(study.connection, "counterparts", feature=key, model="toy-model").empty


def test_module_flow(study):
    member = (
        study.frames["Feature-MEMBER_OF-Module"].query("run == @ATLAS").set_index("source").target
    )
    links = study.frames["Feature-CO_OCCURS-Feature"]
    pairs = pd.DataFrame(
        {
            "source": member[links.source].values,
            "target": member[links.target].values,
            "pmi": links.pmi,
        }
    )
    pairs["layers"] = pairs.source.str[-7:-4] + pairs.target.str[-7:-4]
    table = (
        pairs.groupby(["layers", "source", "target"])
        .pmi.agg(links="size", mean_pmi="mean")
        .reset_index()
    )
    total, out, into = (
        table.groupby(keys).links.transform("sum")
        for keys in (["layers"], ["layers", "source"], ["layers", "target"])
    )
    table = table.assign(
        expected=out * into / total, ratio=table.links / (out * into / total)
    ).query("links >= 3")
    answer = query(study.connection, "module_flow", min_links=3, limit=1000)
    same(
        answer.sort_values(["source", "target"]),
        table.sort_values(["source", "target"]),
        ["source", "target", "links", "expected", "ratio", "mean_pmi"],
    )


def test_cell_type_features(study):
    frame = study.frames["Feature-ACTIVE_IN-CellType"].query("q <= 0.05").sort_values("q")
    tissue = set(study.frames["Feature-ACTIVE_IN-Tissue"].source)
    rare = set(study.features[study.features.rare == True].id)  # noqa: E712
    wanted = frame[(frame.target == "T cell") & ~frame.source.isin(rare)]
    ask = {"cell_type": "t cell", "limit": 1000}
    assert (
        query(study.connection, "cell_type_features", **ask).feature.tolist()
        == wanted.source.tolist()
    )
    without = set(frame[frame.target == "club epithelial cell"].source)
    answer = query(
        study.connection, "cell_type_features", not_cell_type="epithelial", tissue="lung", **ask
    )
    assert 0 < len(answer) < len(wanted) and answer.feature.tolist() == [
        k for k in wanted.source if k not in without and k in tissue
    ]
    assert query(
        study.connection, "cell_type_features", not_tissue="lung", model=OTHER, **ask
    ).feature.tolist() == [k for k in wanted.source if k not in tissue and OTHER in k]
    both = query(study.connection, "cell_type_features", **{**ask, "rare": 1})
    assert set(both.feature) == set(frame[frame.target == "T cell"].source) and set(
        both.origin
    ) == {"own", "published"}


def links_of(study) -> pd.DataFrame:
    parts = [
        study.frames["Feature-CO_OCCURS-Feature"].assign(type="CO_OCCURS"),
        study.frames["Feature-SAME_GENES-Feature"].assign(type="SAME_GENES"),
    ]
    links = pd.concat([p[["source", "target", "type"]] for p in parts])
    f = study.features
    links = links[f.model.loc[links.source].values == f.model.loc[links.target].values]
    return links.assign(
        source_layer=f.layer.loc[links.source].values, target_layer=f.layer.loc[links.target].values
    )


@pytest.mark.parametrize("origin", ["published", "own"])
def test_programme_through_depth(study, origin):
    e = annotations(study)
    e = e[(e.origin == origin) & (e.best <= 0.05) & e.name.str.contains("activation")]
    best = e.groupby("source").best.min()
    links, f = links_of(study), study.features
    inside = links[links.source.isin(best.index) & links.target.isin(best.index)]
    assert (inside.source_layer < inside.target_layer).all()
    rows = []
    for (model, layer), part in e.groupby(["model", "layer"]):
        members = set(part.source)
        alive = (f[(f.model == model) & (f.layer == layer)].alive != False).sum()  # noqa: E712
        rows.append(
            (
                model,
                layer,
                origin,
                len(members),
                len(members) / alive,
                best[list(members)].min(),
                len(members & set(inside.target)),
                len(members & set(inside.source)),
            )
        )
    expected = pd.DataFrame(
        rows,
        columns=["model", "layer", "origin", "features", "share", "q", "from_earlier", "to_later"],
    )
    answer = query(study.connection, "programme_through_depth", term="activation", origin=origin)
    same(answer, expected, list(expected.columns))
    if origin == "published":
        assert expected.from_earlier.sum() > 0
        ends = {(a, b) for a, b in zip(inside.source, inside.target, strict=True)}
        assert all(tuple(s) in ends for s in answer.strongest if len(s))
        drawn = to_networkx(
            query(
                study.connection,
                "programme_graph",
                term="activation",
                model=OTHER,
                features=100,
                links=5,
            )
        )
        kinds = Counter(d["type"] for _, _, d in drawn.edges(data=True))
        assert kinds["CO_OCCURS"] + kinds["SAME_GENES"] > 0 and kinds["ENRICHED_FOR"] > 0
    default = query(study.connection, "programme_through_depth", term="activation")
    assert default.origin.tolist() == ["own"] * len(default), (
        "both models have own annotations of it"
    )


def test_term_and_its_children(study):
    e = annotations(study)
    tree = {"GO:0000009": 0, "GO:0000000": 1, "GO:0000005": 1, "GO:0000001": 2}
    e = e[e.accession.isin(tree) & (e.best <= 0.05)]
    answer = query(study.connection, "term_features", term="lymphocyte", limit=1000).set_index(
        "feature"
    )
    assert set(answer.index) == set(e.source) and set(answer.below) == {4}
    for key, part in e.sort_values("best").groupby("source"):
        row = answer.loc[key]
        assert (
            row.terms == list(dict.fromkeys(part.sort_values("best").name))
            and row.steps == tree[part.sort_values("best").accession.iloc[0]]
        )
        own, published = (
            part[part.origin == "own"].best.min(),
            part[part.origin == "published"].q.min(),
        )
        np.testing.assert_allclose(
            [
                row.q_calibrated if row.q_calibrated is not None else np.nan,
                row.q_published if row.q_published is not None else np.nan,
            ],
            [own, published],
            rtol=1e-12,
        )
    only = query(study.connection, "term_features", term="GO:0000001", limit=1000)
    assert set(only.feature) == set(e[e.accession == "GO:0000001"].source) and set(only.below) == {
        1
    }


def test_regulator_features(study):
    regulates = (
        study.frames["Gene-REGULATES-Gene"]
        .query("source == 'ENSG00000000001'")
        .set_index("target")["mode"]
    )
    loads = study.frames["Feature-LOADS_ON-Gene"]
    hits = defaultdict(set)
    for row in loads[loads.target.isin(regulates.index)].itertuples():
        hits[row.source].add(row.target)
    itself = loads.query("target == 'ENSG00000000001'").groupby("source")["rank"].min()
    wanted = {k for k, v in hits.items() if len(v) >= 2} | set(itself.index)
    answer = query(study.connection, "regulator_features", tf="G1", limit=1000).set_index("feature")
    assert set(answer.index) == wanted and answer.q_calibrated.notna().any()
    own = annotations(study).query("target == 'TRRUST:G1'").set_index("source")
    for row in answer.itertuples():
        genes = hits[row.Index]
        assert row.targets == len(genes) and set(row.genes) == {f"G{int(g[4:])}" for g in genes}
        assert row.activation == sum(
            regulates[g] == "Activation" for g in genes
        ) and row.repression == sum(regulates[g] == "Repression" for g in genes)
        assert (
            (row.tf_rank == itself[row.Index])
            if row.Index in itself.index
            else pd.isna(row.tf_rank)
        )
        assert (row.q == own.q[row.Index]) if row.Index in own.index else pd.isna(row.q)


def test_neighbours_of_the_unnamed(study):
    key = other(5, 0)
    f = study.features
    label = f.label.where(f.label.fillna("") != "", f.published_label).fillna("")
    on = study.frames["Feature-LOADS_ON-Gene"].groupby("source").target.apply(set)
    alike = partners(study, "Feature-SAME_GENES-Feature", key)["item"]
    same_model = f.model.loc[alike].values == OTHER
    near = {
        "top genes": [k for k in on.index if k != key and len(on[k] & on[key]) >= 2],
        "same genes": alike[same_model],
        "other model": alike[~same_model],
        "co-occurs": partners(study, "Feature-CO_OCCURS-Feature", key)["item"],
        "module": [
            k
            for k, m in (
                study.frames["Feature-MEMBER_OF-Module"]
                .query("run == @ATLAS")[["source", "target"]]
                .values
            )
            if m.endswith("L05/M00") and k != key
        ],
    }
    answer = query(study.connection, "unannotated_neighbours", feature=key, limit=1000)
    for way, keys in near.items():
        expected = Counter(label[k] for k in keys if label[k])
        got = answer[answer.way == way]
        assert got.groupby("label").neighbours.sum().to_dict() == expected, way
        assert set(got.of) <= {sum(expected.values())}
    assert set(answer[answer.way == "cell type"].label) == set(
        study.frames["Feature-ACTIVE_IN-CellType"].query("source == @key and q <= 0.05").target
    )
    unnamed = query(study.connection, "unannotated_neighbours").feature.iloc[0]
    assert label[unnamed] == ""


def test_imported_runs_say_what_they_lack(study):
    answer = query(study.connection, "imported_runs").set_index("run")
    assert (
        set(answer.index) == {ATLAS, IMPORTED}
        and answer.loc[IMPORTED, "lacks"] == ["n", "counts", "p", "all_edges"]
        and answer.cap.to_dict() == {ATLAS: 0, IMPORTED: 50}
    )
    edges = query(study.connection, "imported_edges", limit=1000)
    frame = study.frames["Feature-AFFECTS-Feature"].query("run == @IMPORTED")
    own = edges[edges.weight.isna()]
    same(
        own.sort_values(["source", "target"]),
        frame.sort_values(["source", "target"]),
        ["source", "target", "d", "consistency"],
    )
    assert (
        own.q.isna().all()
        and own.n.isna().all()
        and (own.effect == own.d.map(lambda d: "support" if d < 0 else "suppress")).all()
    )
    assert set(edges[edges.weight.notna()].effect) == {""}


@pytest.mark.parametrize("name", ["strongest_edges", "top_hubs", "degrees"])
def test_imported_edges_do_not_pass_for_calibrated_ones(study, name):
    with pytest.raises(UserError, match=f"run {IMPORTED} was imported(.|\n)*imported_edges"):
        query(study.connection, name, run=IMPORTED)
