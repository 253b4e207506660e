"""Everything known about one feature, own and imported, against pandas on the same records."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from scircuit.core.errors import UserError
from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import to_networkx
from tests.queries import small_graph
from tests.queries.expected import annotations, partners, same
from tests.queries.small_names import (
    ANNOTATE,
    ATLAS,
    ATTRIBUTE,
    EARLIER,
    IMPORTED,
    MATCH,
    NEW,
    OTHER,
    REATTRIBUTE,
    TERMS,
    address,
    other,
)

pytestmark = pytest.mark.server


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
        f = study.frames["Feature-AFFECTS-Feature"]
        expected += Counter(f[(f[own] == key) & (f.run == IMPORTED)][theirs])
        f = study.frames["Feature-ATTRIBUTES_TO-Feature"]
        expected += Counter(set(f[f[own] == key][theirs]))  # of a pair of two runs the newer one
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


def test_own_attributions_are_those_of_the_newest_run(study, known):
    f = study.frames["Feature-ATTRIBUTES_TO-Feature"]
    target = address(2, 1)
    newest = f[f.target == target].sort_values("run").drop_duplicates("source", keep="last")
    assert set(newest.run) == {ATTRIBUTE, REATTRIBUTE}
    rows = known(target)["driven by"].query("measure == 'attribution weight'").set_index("item")
    assert set(rows.origin) == {"own"} and len(rows) == len(newest)
    for edge in newest.itertuples():
        row = rows.loc[edge.source]
        assert row[["value", "q", "overlap", "run"]].tolist() == pytest.approx(
            [edge.weight, edge.q, edge.n, edge.run]
        )
        assert row.detail == [f"adds in {int(edge.n_pos)} cells, takes in {int(edge.n_neg)}"]


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
    label = then["feature"][
        (then["feature"]["item"] == "label") & (then["feature"].origin == "own")
    ]
    assert label[["name", "run"]].to_numpy().tolist() == [["of earlier days", EARLIER]]
    factors = "share of the top genes"
    shares = [known["regulator"].set_index("measure").value[factors] for known in (now, then)]
    assert shares == [study.features.tf_share[key], 1.0]
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
