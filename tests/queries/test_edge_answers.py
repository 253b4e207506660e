"""Answers about edges, hubs and degrees, against pandas on the same records."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scircuit.core.edge_rules import CALIBRATED, DEFAULT
from scircuit.queries.api import query
from tests.queries.expected import same
from tests.queries.small_names import ANALYSE, NEW, OLD, address

pytestmark = pytest.mark.server
STATISTICS = [
    "effect",
    "computed",
    "direct",
    "z_computed",
    "q_computed",
    "mean",
    "d",
    "q",
    "n",
    "n_pos",
    "n_neg",
    "halves",
]


def legacy(e: pd.DataFrame) -> pd.Series:
    return (e.d.abs() > 0.5) & (np.maximum(e.n_pos, e.n - e.n_pos) / e.n > 0.7)


def test_top_hubs(study):
    f = study.features
    expected = (
        f[f.index.isin(study.frames["Feature-AFFECTS-Feature"].query("run == @NEW").source)]
        .sort_values("hub_rank")
        .rename(columns={"id": "feature"})
    )
    same(query(study.connection, "top_hubs", limit=5), expected.head(5))
    older = study.older[study.older.layer == 1].rename(columns={"id": "feature"})
    same(query(study.connection, "top_hubs", run=OLD), older.sort_values("hub_rank"))


@pytest.mark.parametrize("q", [1.0, 0.1])
def test_page_rank(study, q):
    f = study.features.rename(columns={"id": "feature", "pagerank_expected": "expected"})
    into = study.frames["Feature-AFFECTS-Feature"].query("run == @NEW").target
    f = f[f.feature.isin(into) & f.pagerank_p.notna() & (f.pagerank_q <= q)]
    f = f.assign(ratio=f.pagerank / f.expected, p=f.pagerank_p, q=f.pagerank_q)
    expected = f.sort_values(["p", "ratio", "feature"], ascending=[True, False, True])
    same(query(study.connection, "page_rank", q=q, limit=8), expected.head(8))


def test_circuit_modules(study):
    answer = query(study.connection, "circuit_modules")
    (row,) = study.frames["Module"].query("run == @ANALYSE").to_dict("records")
    members = study.frames["Feature-MEMBER_OF-Module"].query("target == 'module1'").source
    own = study.features[study.features.id.isin(members)]
    (found,) = answer.to_dict("records")
    assert {k: found[k] for k in ("module", "name", "size", "layers", "inside_share")} == {
        **{"module": row["id"], "name": row["name"], "size": row["size"]},
        **{"layers": [2], "inside_share": 0.25},
    }
    best = own.reset_index(drop=True).sort_values(["out_degree", "id"], ascending=[False, True])
    assert list(found["examples"]) == best["name"].tolist() and len(own) == 2
    assert found["analysis"] == ANALYSE
    assert query(study.connection, "circuit_modules", run=OLD).empty


@pytest.mark.parametrize(
    ("q", "min_support", "min_effect"), [(0.05, 6, 0.001), (0.02, 12, 0.001), (0.05, 6, 0.4)]
)
def test_degrees(study, q, min_support, min_effect):
    e = study.frames["Feature-AFFECTS-Feature"].query("run == @NEW")
    thresholds = (q, min_support, min_effect)
    edge = e.index.isin(study.edges(NEW, *thresholds).index)
    computed, carried = (rule(e, *thresholds) for rule in (study.computed, study.carried))
    generic = study.calibrated(e, *thresholds) & ~computed & ~carried
    assert computed.any() and carried.any() and generic.any()
    assert min_effect < 0.1 or edge.sum() < len(study.edges(NEW, q, min_support))
    counted = (
        pd.DataFrame(
            {
                "feature": e.source,
                "out_degree": edge,
                "support": edge & (e[DEFAULT.effect] < 0),
                "suppress": edge & (e[DEFAULT.effect] > 0),
                "strict": edge & (e.halves == 2),
                "computed": computed,
                "carried": carried,
                "generic": generic,
                "out_degree_legacy": legacy(e),
                "stored": True,
            }
        )
        .groupby("feature", as_index=False)
        .sum()
    )
    expected = counted.sort_values(["out_degree", "feature"], ascending=[False, True])
    same(
        query(study.connection, "degrees", q=q, min_support=min_support, min_effect=min_effect),
        expected,
        list(counted.columns),
    )


def test_degree_distribution(study):
    degree = (
        study.edges(OLD)
        .groupby("source")
        .size()
        .reindex([address(1, i) for i in range(14)], fill_value=0)
    )
    bins = [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31)]
    rows = [
        (1, a, b, int(degree.between(a, b).sum()), float((degree >= a).mean())) for a, b in bins
    ]
    expected = pd.DataFrame(
        [r for r in rows if r[3]],
        columns=["layer", "degree_from", "degree_to", "features", "share_at_least"],
    )
    same(query(study.connection, "degree_distribution", run=OLD), expected)


def test_hubs_without_annotation_and_most_active(study):
    f = study.features.rename(columns={"id": "feature"})
    sources = study.frames["Feature-AFFECTS-Feature"].query("run == @NEW").source
    same(
        query(study.connection, "hubs_without_annotation"),
        # compared, not negated: an unknown annotation is None
        f[f.index.isin(sources) & (f.annotated == False)].sort_values("hub_rank"),  # noqa: E712
    )
    # Only the older trace run used this layer; the degrees are of its analysis.
    active = study.older[study.older.layer == 1].rename(columns={"id": "feature"})
    active = active.sort_values("firing_rate", ascending=False)
    same(query(study.connection, "most_active", layer=1, limit=7), active.head(7))


@pytest.mark.parametrize("run", [OLD, NEW])
def test_feature_drives(study, run):
    source = study.edges(run).source.iloc[0]
    expected = study.edges(run).query("source == @source").rename(columns={"source": "feature"})
    same(
        query(study.connection, "feature_drives", run=run, feature=source),
        expected,
        ["feature", "target", "target_name", "target_layer", *STATISTICS],
    )


def test_feature_feeds(study):
    stored = study.frames["Feature-AFFECTS-Feature"].groupby("target").size()
    most = sorted(stored.index, key=lambda k: (-stored[k], k))
    target = next(
        k
        for k in most
        if k in set(study.frames["Feature-AFFECTS-Feature"].query("run == @NEW").target)
    )
    expected = (
        study.edges(NEW).pipe(lambda e: e[e.target == target]).rename(columns={"target": "feature"})
    )
    same(
        query(study.connection, "feature_feeds"),
        expected,
        ["feature", "source", "source_name", "source_layer", *STATISTICS],
    )


def test_strongest_and_strict_edges(study):
    expected = study.edges(OLD).query("target_layer == 3")
    same(
        query(
            study.connection, "strongest_edges", run=OLD, source_layer=1, target_layer=3, limit=12
        ),
        expected.head(12),
    )
    strict = expected[expected.halves == 2]
    same(query(study.connection, "strict_edges", run=OLD, target_layer=3, limit=1000), strict)
    assert query(study.connection, "strict_edges", run=OLD, source_layer=2).empty


def test_sign_by_layer(study):
    def summary(e: pd.DataFrame) -> pd.Series:
        strict = e[e.halves == 2]
        return pd.Series(
            {
                "edges": len(e),
                "support": (e.effect == "support").sum(),
                "suppress": (e.effect == "suppress").sum(),
                "support_share": (e.effect == "support").mean(),
                "mean_abs_d": e.d.abs().mean(),
                "strict": len(strict),
                "support_share_strict": (strict.effect == "support").mean(),
            }
        )

    expected = (
        study.edges(OLD)
        .groupby(["source_layer", "target_layer"])
        .apply(summary, include_groups=False)
        .reset_index()
    )
    answer = query(study.connection, "sign_by_layer", run=OLD)
    same(answer, expected)
    assert (answer.support + answer.suppress == answer.edges).all()


def test_compare_rules(study):
    e = study.frames["Feature-AFFECTS-Feature"].query("run == @NEW")
    a, b, computed, carried = study.calibrated(e), legacy(e), study.computed(e), study.carried(e)
    expected = {
        "source_layer": 2,
        "target_layer": 3,
        "stored": len(e),
        "computed": computed.sum(),
        "carried": carried.sum(),
        "generic": (a & ~computed & ~carried).sum(),
        "calibrated": a.sum(),
        "legacy": b.sum(),
        "both": (a & b).sum(),
        "only_calibrated": (a & ~b).sum(),
        "only_legacy": (b & ~a).sum(),
        "jaccard": (a & b).sum() / (a | b).sum(),
        "agree_calibrated": (e.halves[a].dropna() == 2).mean(),
        "agree_legacy": (e.halves[b].dropna() == 2).mean(),
    }
    same(query(study.connection, "compare_rules"), pd.DataFrame([expected]))


def test_edge_evidence(study):
    f, e = study.features, study.frames["Feature-AFFECTS-Feature"].query("run == @NEW")
    hub = f[f.index.isin(e.source)].sort_values("hub_rank").index[0]
    own = e[e.source == hub]
    computed, carried, calibrated = study.computed(own), study.carried(own), study.calibrated(own)
    null = study.frames["Control"].query("run == @NEW and control == 'direction_null'").iloc[0]
    expected = own.assign(
        feature=hub,
        target_name=f["name"].loc[own.target].values,
        kind=np.select(
            [computed, carried, calibrated], ["computed", "carried", "generic"], default="none"
        ),
        hedges_g=own.d * (1 - 3 / (4 * own.n - 5)),
        n_zero=own.n - own.n_pos - own.n_neg,
        consistency=own[["n_pos", "n_neg"]].max(axis=1) / (own.n_pos + own.n_neg),
        pair_edges=null.edges,
        pair_expected_false=null.expected_false,
        pair_sigma_ratio=null.sigma_ratio,
        size=own.z_computed.abs(),
    ).sort_values("size", ascending=False)
    assert set(expected.kind) == {"computed", "carried", "generic", "none"}
    same(query(study.connection, "edge_evidence", limit=1000), expected)
    one = expected.dropna(subset=["halves", "q_computed"]).iloc[[3]]
    answer = query(study.connection, "edge_evidence", feature=hub, target=one.target.iloc[0])
    same(answer, one)


def test_edge_evidence_of_a_run_without_a_null(study):
    """Its edges are calibrated, and no more can be said."""
    edge = study.edges(NEW, rule=CALIBRATED).iloc[0]
    match = "MATCH (:Feature {id: $s})-[r:AFFECTS {run: $run}]->(:Feature {id: $t})"
    names = ("direct", "computed", "computed_cells", "z_direct", "z_computed")
    names += ("p_computed", "q_computed", "q_direct")
    where = {"s": edge.source, "t": edge.target, "run": NEW}
    study.connection.run(f"{match} REMOVE {', '.join(f'r.{n}' for n in names)}", **where)
    try:
        answer = query(
            study.connection, "edge_evidence", feature=edge.source, target=edge.target, run=NEW
        )
        assert answer.kind.tolist() == ["calibrated"]
    finally:
        values = {n: None if pd.isna(edge[n]) else edge[n] for n in names}
        values["computed_cells"] = int(edge.computed_cells)
        study.connection.run(f"{match} SET r += $values", **where, values=values)


def test_size_floor_follows_the_targets_scale(study):
    """A target that never fires in the clean cells has no scale, and keeps its edges."""
    whole, large = study.edges(NEW), study.edges(NEW, min_effect=0.5)
    silent = study.features.query("model == 'toy-model'").mean_activation.isna()
    assert 0 < len(large) < len(whole) and silent.sum() == 1
    assert (
        (large.target.isin(silent[silent].index)).sum()
        == (whole.target.isin(silent[silent].index)).sum()
        > 0
    )
    answer = query(study.connection, "strongest_edges", min_effect=0.5, limit=1000)
    same(answer, large, ["source", "target", *STATISTICS])
