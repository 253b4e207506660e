"""Answers about annotation, interventions, runs and contents, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scircuit.core.edge_rules import CALIBRATED
from scircuit.queries.api import query
from scircuit.queries.graph_export.to_graph import to_networkx
from tests.queries import small_graph
from tests.queries.expected import same
from tests.queries.small_names import (
    ABLATE,
    ANNOTATE,
    ATLAS,
    EARLIER,
    NEW,
    OLD,
    OTHER,
    STEER,
    address,
)

pytestmark = pytest.mark.server


def test_feature_annotation(study):
    key = address(2, 0)
    answer = query(study.connection, "feature_annotation", feature=key)
    assert set(answer.feature) == {key}
    loads = study.frames["Feature-LOADS_ON-Gene"].query("source == @key").sort_values("rank")
    genes = answer[answer.kind == "gene"]
    assert genes.name.tolist() == [f"G{int(t[4:])}" for t in loads.target] and genes[
        "rank"
    ].tolist() == list(range(1, 13))
    assert genes.detail.iloc[0][0] == f"{int(loads.fire_count.iloc[0])} firings"
    everything = study.frames["Feature-ENRICHED_FOR-Term"].query("source == @key")
    enriched = everything.query(
        "origin == 'own' and (q_calibrated <= 0.05 or test == 'weighted' and q <= 0.05)"
    ).sort_values("q")
    terms = answer[(answer.kind == "term") & (answer.origin == "own")]
    names = study.frames["Term"].set_index("id")["name"]
    assert terms.name.tolist() == [
        names[t] for t in enriched.target
    ] and terms.q.tolist() == pytest.approx(enriched.q.tolist())
    assert terms.q_calibrated.fillna(-1).tolist() == pytest.approx(
        enriched.q_calibrated.fillna(-1).tolist()
    )
    shown, published = (
        answer[answer.origin == "published"],
        everything.query("origin == 'published'").sort_values("q"),
    )
    assert (
        len(published)
        and shown.name.tolist() == [names[t] for t in published.target]
        and shown.q_calibrated.isna().all()
    )
    assert answer[answer.kind == "regulator"].name.tolist() == ["G0"]
    assert answer[answer.kind == "module"].name.tolist() == ["module 1"]
    assert answer[answer.kind == "cell type"].name.tolist() == ["T cell"]
    drawn = to_networkx(query(study.connection, "annotation_graph", feature=key, genes=6, terms=2))
    assert {t for _, t, d in drawn.out_edges(key, data=True) if d["type"] == "LOADS_ON"} >= set(
        loads.target.head(6)
    )
    assert {t for _, t, d in drawn.out_edges(key, data=True) if d["type"] == "ENRICHED_FOR"} == set(
        enriched.sort_values("q_calibrated").target.head(2)
    )
    drawn = to_networkx(
        query(study.connection, "annotation_graph", feature=key, terms=40, origin="published")
    )
    assert {t for _, t, d in drawn.out_edges(key, data=True) if d["type"] == "ENRICHED_FOR"} == set(
        published.target
    )


def test_features_of_genes(study):
    wanted = {f"ENSG{g:011d}": f"G{g}" for g in (1, 2, 3, 4)}
    loads = study.frames["Feature-LOADS_ON-Gene"]
    loads = loads[loads.target.isin(wanted) & (loads["rank"] <= 8)].sort_values(["rank", "target"])
    loads["weight"] = 1 / np.log2(1 + loads["rank"])
    expected = (
        loads.groupby("source")
        .agg(
            hits=("target", "size"),
            genes=("target", lambda g: [wanted[x] for x in g]),
            weight=("weight", "sum"),
            best_rank=("rank", "min"),
        )
        .reset_index()
    )
    of = study.frames["Feature-LOADS_ON-Gene"].query("rank <= 8").groupby("source").size()
    expected = (
        expected.assign(of=of.loc[expected.source].values, listed=4)
        .rename(columns={"source": "feature"})
        .sort_values(["hits", "weight", "feature"], ascending=[False, False, True])
    )
    listed = ["G1", "G2", "G3", "G4", "no gene"]
    same(
        query(study.connection, "features_of_genes", genes=listed, top=8, limit=1000),
        expected,
        columns := ["feature", "hits", "genes", "weight", "best_rank", "listed", "of"],
    )
    model = study.features.model
    few = expected[(expected.hits >= 2) & (model.loc[expected.feature] == OTHER).values]
    same(
        query(
            study.connection,
            "features_of_genes",
            genes=listed,
            top=8,
            limit=1000,
            min_hits=2,
            model=OTHER,
        ),
        few,
        columns,
    )
    active = (
        study.frames["Feature-ACTIVE_IN-CellType"]
        .query("q <= 0.05 and target == 'erythroid cell'")
        .source
    )
    same(
        query(
            study.connection,
            "features_of_genes",
            genes=listed,
            top=8,
            limit=1000,
            cell_type="erythroid",
        ),
        expected[expected.feature.isin(active)],
        columns,
    )


def test_interventions(study):
    nodes = study.frames["Intervention"].set_index("id")
    parts = study.frames["Feature-PART_OF-Intervention"]
    mine = parts[parts.source == address(2, 0)]
    answer = query(study.connection, "feature_interventions").set_index("intervention")
    assert set(answer.feature) == {address(2, 0)} and set(answer.index) == set(mine.target)
    assert (
        answer.loc[f"{ABLATE}/0", "partners"] == [address(2, 1)]
        and answer.loc[f"{ABLATE}/0", "ratio"] == nodes.ratio[f"{ABLATE}/0"]
    )
    assert (
        answer.loc[f"{STEER}/1", "coefficient"] == 5.0
        and answer.loc[f"{STEER}/1", "control"] == 0.01
    )
    size = answer.loc[f"{STEER}/1", "control_size"]
    assert size == pytest.approx((0.01**2 + 0.03**2) ** 0.5)
    assert pd.isna(answer.loc[f"{ABLATE}/0", "control_size"])

    moved = study.frames["Intervention-SHIFTED-Feature"].query("q <= 0.05")
    moved = (
        moved.assign(size=moved.interaction.abs())
        .sort_values("size", ascending=False)
        .rename(columns={"source": "intervention"})
    )
    same(
        query(study.connection, "interactions", limit=1000),
        moved,
        [
            *("intervention", "target", "effect", "interaction", "low", "high", "q"),
            *("order", "computed", "q_computed"),
        ],
    )
    assert set(
        query(study.connection, "interactions", intervention=f"{ABLATE}/1").intervention
    ) == {f"{ABLATE}/1"}

    nodes = study.frames["Intervention"].query("verb == 'ablate'")
    nodes = nodes.rename(columns={"id": "intervention"}).sort_values(
        ["significant", "intervention"], ascending=[False, True]
    )
    sets = query(study.connection, "ablated_sets")
    columns = ["intervention", "set_class", "order", "target_layer", "cells", "cells_together"]
    columns += ["tested", "significant", "tested_computed", "significant_computed"]
    columns += ["signed_ratio", "signed_ratio_low", "signed_ratio_high", "ratio", "ratio_null"]
    same(sets, nodes, columns)
    parts = study.frames["Feature-PART_OF-Intervention"]
    roles = parts[parts.target.isin(nodes.intervention)]
    assert dict(zip(sets.intervention, sets.features, strict=True)) == {
        key: sorted(of.source) for key, of in roles.groupby("target")
    }
    chosen = query(study.connection, "ablated_sets", set_class="same", order=2)
    assert set(chosen.intervention) == {f"{ABLATE}/1", f"{ABLATE}/2"}
    assert not len(query(study.connection, "ablated_sets", order=3))

    genes = study.frames["Intervention-SHIFTED-Gene"].query("q <= 0.05")
    genes = genes.assign(
        size=genes.effect.abs(), gene=[f"G{int(t[4:])}" for t in genes.target]
    ).sort_values("size", ascending=False)
    steered = query(study.connection, "steered_genes", limit=1000)
    same(steered, genes, ["gene", "dose", "effect", "low", "high", "q"])
    assert set(steered.slope) == {0.4} and set(steered.slope_control) == {0.02}
    drawn = to_networkx(query(study.connection, "intervention_graph", interventions=20, targets=1))
    assert set(nodes.intervention) <= set(drawn)


def test_runs_inputs_controls(study):
    runs = query(study.connection, "runs").set_index("run")
    expected = study.frames["Run"].set_index("id")
    assert set(runs.index) == set(expected.index) and list(runs.started) == sorted(
        runs.started, reverse=True
    )
    assert (
        set(runs.loc[ANNOTATE, "parents"]) == {OLD, NEW, ATLAS}
        and runs.loc[ANNOTATE, "null_annotation_rate"] == 0.04
    )
    assert runs.status.to_dict() == expected.status.to_dict()
    assert runs.loc[OLD, "edges_computed"] == 40 and runs.edges_computed.isna()[NEW]
    assert set(query(study.connection, "runs", verb="trace").verb) == {"trace"}

    inputs = query(study.connection, "run_inputs", run=OLD)
    assert inputs[inputs.kind == "dictionary"].value.tolist() == [
        f"sha256 {f'{layer:02d}' * 32}" for layer in (1, 2, 3)
    ]
    assert inputs[inputs.kind == "model"].value.tolist() == ["sha256 " + "cd" * 32]
    cohort = inputs[inputs.kind == "cohort"].set_index("name").value
    assert (
        cohort["sha256"] == "ef" * 32 and cohort["cells"] == "20" and cohort["species"] == "human"
    )
    assert query(study.connection, "run_inputs", run=ANNOTATE).query(
        "kind == 'parent run'"
    ).value.tolist() == [ATLAS, OLD, NEW]

    controls = (
        study.frames["Control"]
        .query("run == @OLD")
        .sort_values(["control", "source_layer", "target_layer"])
    )
    controls = controls.assign(
        ratio=controls.control_edges / controls.edges,
        ratio_legacy=controls.control_edges_legacy / controls.edges_legacy,
    )
    same(query(study.connection, "run_controls", run=OLD), controls)
    drawn = to_networkx(query(study.connection, "provenance_graph", run=OLD))
    assert {OLD, "toy-model", "cohort1", *controls.id} <= set(drawn)


@pytest.mark.parametrize(("run", "q"), [(OLD, 0.05), (NEW, 0.1)])
def test_controls_at_threshold(study, run, q):
    c = study.frames["Feature-CONTROL_AFFECTS-Feature"].query("run == @run")
    sampled, layer = set(c.source), study.features.layer
    edges = study.edges(run, q=q, rule=CALIBRATED).query("source in @sampled")
    sign = {(e.source, e.target): e.mean > 0 for e in edges.itertuples()}
    found = c.assign(target_layer=layer.loc[c.target].values, edge=study.calibrated(c, q))
    rows = []
    for (control, target_layer), group in found.groupby(["control", "target_layer"]):
        mine = group[group.edge]
        both = [
            sign[e.source, e.target] == (e.mean > 0)
            for e in mine.itertuples()
            if (e.source, e.target) in sign
        ]
        count = int((edges.target_layer == target_layer).sum())
        rows.append(
            (
                control,
                layer[c.source.iloc[0]],
                target_layer,
                len(sampled),
                count,
                len(mine),
                len(mine) / count,
                len(both),
                sum(both),
            )
        )
    columns = [
        "control",
        "source_layer",
        "target_layer",
        "sources",
        "edges",
        "control_edges",
        "ratio",
        "shared",
        "shared_sign",
    ]
    assert any(r[7] > r[8] > 0 for r in rows)
    same(
        query(study.connection, "controls_at_threshold", run=run, q=q),
        pd.DataFrame(rows, columns=columns),
    )


@pytest.mark.parametrize("run", [OLD, NEW])
def test_control_edges(study, run):
    c = study.frames["Feature-CONTROL_AFFECTS-Feature"].query(
        "run == @run and control != 'half_even'"
    )
    feature = study.found_by(run).loc[sorted(set(c.source))].sort_values("hub_rank").index[0]
    edges = study.edges(run, rule=CALIBRATED).query("source == @feature")
    own = c[c.source == feature]
    means = (
        own.pivot(index="target", columns="control", values="mean")
        .reindex(edges.target)
        .fillna(0.0)
    )
    edge = own[study.calibrated(own)]
    largest = means[["random_direction", "feature_swap"]].abs().max(axis=1).to_numpy()
    expected = edges.assign(
        feature=feature,
        random_mean=means.random_direction.values,
        swap_mean=means.feature_swap.values,
        specificity=[
            abs(m) / s if s else None for m, s in zip(edges["mean"], largest, strict=True)
        ],
        appears_in=[sorted(edge[edge.target == t].control) for t in edges.target],
    )
    answer = query(study.connection, "control_edges", run=run)
    same(answer, expected.head(30))
    assert (answer.appears_in.map(len) > 0).any() and answer.specificity.notna().any()
    unsampled = address(1 if run == OLD else 2, 9)
    assert query(study.connection, "control_edges", run=run, feature=unsampled).empty


def test_contents(study):
    from scircuit.core import schema

    answer = query(study.connection, "contents")
    counted = dict(zip(answer.kind, answer["count"], strict=True))

    earlier = small_graph.earlier(study.frames)

    def findings_of(run: str) -> int:
        """Features that a run says something about, beside who they are."""
        if run == EARLIER:
            return len(earlier["Feature"])
        table = small_graph.tables({"Feature": study.found_by(run)})["Feature"]
        written = small_graph.of_run(table, run)
        if not written:
            return 0
        frame = written["Feature"].to_pandas()
        said = frame.drop(columns=["id", *schema.IDENTITY], errors="ignore")
        return int((said.notna() & said.astype(str).ne("")).any(axis=1).sum())

    expected = pd.Series(
        {kind: len(frame) + len(earlier.get(kind, ())) for kind, frame in study.frames.items()}
    )
    features = study.frames["Feature"]
    expected["Feature"] = len(features)
    dictionaries = set(features.dictionary)
    of_model = {(d, d.split("/")[0]) for d in dictionaries}
    used = {(run, d) for run in (ANNOTATE, EARLIER) for d in dictionaries}
    expected["Run-FOUND-Feature"] = sum(map(findings_of, study.frames["Run"].id))
    # An annotate run brings the dictionaries of all features that it writes about.
    expected["Feature-OF-Dictionary"] = len(features)
    for kind, brought in (("Dictionary-OF-Model", of_model), ("Run-USED-Dictionary", used)):
        frame = study.frames[kind]
        known = set(zip(frame.source, frame.target, strict=True))
        expected[kind] = len(known | brought)
    expected["Dictionary"] = len(dictionaries | set(study.frames["Dictionary"].id))
    assert counted == expected.to_dict()
    assert (
        set(answer[answer.what == "node"].kind) <= set(schema.NODES)
        and not answer.kind.str.contains("_Load").any()
    )
