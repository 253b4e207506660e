"""Answers about counterparts, modules, cell types, programmes and regulators, against pandas."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from scircuit.core.errors import UserError
from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import to_networkx
from tests.queries.expected import annotations, partners, same
from tests.queries.small_names import (
    ATLAS,
    IMPORTED,
    OTHER,
    other,
)

pytestmark = pytest.mark.server


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
