"""Every format of published edges gives what a plain loop over the cells gives, and nothing that
its files do not hold.
"""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from scircuit.core.config import ImportEdgesConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges import edges_source as importer
from scircuit.ingest.importers.gaps import refuse_if_missing
from tests.support import edges_files as files
from tests.support.edges_files import MODEL, SET, frames, load


def address(layer, index):
    return f"{MODEL}/{SET}/L{layer:02d}/F{index:04d}"


def compare(table, wanted, names):
    """Every edge once, with these values and no other."""
    found = {(r["source"], r["target"]): r for r in table.to_dict("records")}
    assert len(found) == len(table)
    assert set(found) == {(address(5, e.source), address(e.layer, e.target)) for e in wanted}
    for e in wanted:
        row = found[address(5, e.source), address(e.layer, e.target)]
        for name in ("n", "n_pos", "n_neg", "mean", "sd", "d", "consistency"):
            if name in names:
                assert row[name] == pytest.approx(getattr(e, name), rel=1e-9), (e, name)
            else:
                assert name not in row or pd.isna(row[name]), (e, name)


def kept(pairs, keep=files.KEPT):
    return [
        e
        for f in files.SOURCES
        for layer in files.LAYERS
        for e in files.significant(pairs, f, layer)[:keep]
    ]


def degrees(table):
    return table.set_index("id")["out_degree_legacy"].dropna().astype(int).to_dict()


def published_degrees(pairs):
    return {
        address(5, f): sum(len(files.significant(pairs, f, layer)) for layer in files.LAYERS)
        for f in files.SOURCES
    }


def test_the_study_is_worth_testing(pairs):
    groups = [
        len(files.significant(pairs, f, layer)) for f in files.SOURCES for layer in files.LAYERS
    ]
    assert max(groups) > files.KEPT
    assert any(e.d > 0 for e in pairs if e.published)
    assert any(e.d < 0 for e in pairs if e.published)
    assert any(abs(e.d) > 0.5 and not e.published for e in pairs)


def test_files_of_layers(tmp_path, pairs):
    files.write_layers(tmp_path, pairs)
    source = load(tmp_path)
    tables = frames(source)
    compare(tables["Feature-AFFECTS-Feature"], kept(pairs), {"n", "mean", "sd", "d", "consistency"})
    assert degrees(tables["Feature"]) == published_degrees(
        pairs
    )  # of all edges, the kept ones only show some
    row = tables["Feature"].set_index("id").loc[address(5, 30)]
    assert (row["firing_rate"], row["cells_active"], row["traced"]) == (0.03, 9, True)
    assert source.cap == 50
    assert {"all_edges", "counts", "p", "computed", "null", "symmetric_rule"} <= set(source.lacks)
    assert not {"n", "sd", "mean"} & set(source.lacks)
    assert f"{sum(published_degrees(pairs).values()) - len(kept(pairs)):,} of" in " ".join(
        source.notes
    )


def test_files_of_layers_that_keep_all_lack_no_edges(tmp_path, pairs):
    files.write_layers(tmp_path, pairs, keep=1000)
    source = load(tmp_path / "circuit_L05_features.json")
    assert source.cap == 0
    assert "all_edges" not in source.lacks
    compare(
        frames(source)["Feature-AFFECTS-Feature"],
        kept(pairs, 1000),
        {"n", "mean", "sd", "d", "consistency"},
    )


def test_the_joint_graph_gives_less_of_the_same_edges(tmp_path, pairs):
    files.write_graph(tmp_path, pairs)
    source = load(tmp_path)
    compare(frames(source)["Feature-AFFECTS-Feature"], kept(pairs), {"mean", "d", "consistency"})
    assert {"n", "sd", "counts"} <= set(source.lacks)
    files.write_layers(tmp_path, pairs)
    both = load(tmp_path)
    assert both.format == "circuit-layers"
    assert any("the same" in n for n in both.notes)
    files.write_graph(tmp_path, pairs, keep=2)
    with pytest.raises(UserError, match="a layer is missing, or the files are of different runs"):
        load(tmp_path)


def test_a_graph_cut_at_fifty_says_so(tmp_path, pairs):
    rows = [{**files.graph_rows(pairs)[0], "target_feature": i} for i in range(50)]
    (tmp_path / "circuit_graph.json").write_text(json.dumps({"n_edges": 50, "edges": rows}))
    source = load(tmp_path)
    assert source.cap == 50
    assert "all_edges" in source.lacks
    (tmp_path / "circuit_graph.json").write_text(json.dumps({"n_edges": 49, "edges": rows[:49]}))
    assert load(tmp_path).cap == 0


def test_one_file_a_feature(tmp_path, pairs):
    files.write_features(tmp_path, pairs)
    (tmp_path / "exhaustive_summary.json").write_text("{}")
    source = load(tmp_path)
    tables = frames(source)
    compare(tables["Feature-AFFECTS-Feature"], kept(pairs), {"n", "d", "consistency"})
    assert degrees(tables["Feature"]) == published_degrees(pairs)
    assert source.cap == files.KEPT
    assert {"mean", "sd", "counts", "all_edges"} <= set(source.lacks)


def test_effects_per_cell_give_every_statistic(tmp_path, effects, pairs):
    files.write_deltas(tmp_path, effects)
    wanted = [e for e in pairs if abs(e.d) > 0.5]
    source = load(tmp_path, source_layer=5)
    tables = frames(source)
    compare(tables["Feature-AFFECTS-Feature"], wanted, {"n", "n_pos", "n_neg", "mean", "sd", "d"})
    assert degrees(tables["Feature"]) == published_degrees(pairs)
    assert set(source.lacks) == {"p", "computed", "null", "cells"}
    with pytest.raises(UserError, match="does not state its layer"):
        load(tmp_path)
    files.write_features(tmp_path, pairs)
    with_json = load(tmp_path)
    compare(
        frames(with_json)["Feature-AFFECTS-Feature"],
        wanted,
        {"n", "n_pos", "n_neg", "mean", "sd", "d"},
    )
    assert frames(with_json)["Feature"].set_index("id").loc[address(5, 30), "firing_rate"] == 0.03


def test_effects_of_another_run_than_the_json_are_refused(tmp_path, pairs):
    files.write_features(tmp_path, pairs)
    files.write_deltas(tmp_path, files.effects(seed=1))
    with pytest.raises(UserError, match="different runs"):
        load(tmp_path)


@pytest.mark.parametrize(("value", "what"), [(math.inf, "overflows at 65,504"), (math.nan, "NaN")])
def test_half_precision_that_overflowed_is_refused(tmp_path, effects, value, what):
    broken = {f: {layer: x.copy() for layer, x in layers.items()} for f, layers in effects.items()}
    broken[30][11][2, 5] = value
    files.write_deltas(tmp_path, broken)
    with pytest.raises(UserError, match=f"feature_0030.npz.*{what}"):
        load(tmp_path, source_layer=5)


@pytest.mark.parametrize("counts", [False, True])
def test_csv(tmp_path, pairs, counts):
    path = tmp_path / "circuit_edges.csv"
    path.write_text(files.csv_text(pairs, counts))
    source = load(path)
    names = {"n", "n_pos", "n_neg", "mean", "d"} if counts else {"d", "consistency"}
    compare(frames(source)["Feature-AFFECTS-Feature"], [e for e in pairs if e.published], names)
    assert ({"n", "counts", "symmetric_rule"} <= set(source.lacks)) != counts
    assert {"sd", "p"} <= set(source.lacks)


def test_csv_with_a_mark_semicolons_and_decimal_commas(tmp_path, pairs):
    plain, other = tmp_path / "a.csv", tmp_path / "b.csv"
    text = files.csv_text(pairs, True)
    plain.write_text(text)
    other.write_bytes(
        b"\xef\xbb\xbf" + text.replace(",", ";").replace(".", ",").replace("\n", "\r\n").encode()
    )
    one, two = load(plain), load(other)
    pd.testing.assert_frame_equal(
        frames(one)["Feature-AFFECTS-Feature"], frames(two)["Feature-AFFECTS-Feature"]
    )
    assert [n for n in two.notes if n not in one.notes] == [
        "the file starts with a byte order mark, which was ignored",
        "columns are separated by semicolons",
        "decimal commas were read as decimal points",
    ]


@pytest.mark.parametrize(
    ("value", "what"),
    [("", "empty or not a number"), ("nan", "empty or not a number"), ("inf", "infinite")],
)
def test_a_number_that_is_none_is_found_by_its_row(tmp_path, pairs, value, what):
    head, *rows = files.csv_text(pairs, False).splitlines()
    cells = rows[2].split(",")
    cells[head.split(",").index("cohens_d")] = value
    rows[2] = ",".join(cells)
    (tmp_path / "e.csv").write_text("\n".join([head, *rows]) + "\n")
    with pytest.raises(
        UserError,
        match=f"cohens_d is {what} in 1 of {len(rows)} rows, first in row 3 after the header",
    ):
        load(tmp_path / "e.csv")


def test_a_csv_cut_to_its_strongest_says_so(tmp_path):
    rows = [f"5,{f},6,{t},0.9,0.8,1" for f in range(4) for t in range(20)] + ["5,9,6,1,0.9,0.8,1"]
    (tmp_path / "e.csv").write_text(
        "\n".join(["src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency,sign", *rows])
        + "\n"
    )
    source = load(tmp_path / "e.csv")
    assert source.cap == 20
    assert "all_edges" in source.lacks


def capped(tmp_path, layers_of, per):
    """A CSV and a joint graph whose sources keep their edges in the given numbers by layer."""
    ends = [
        (f, t, i)
        for f, by_layer in enumerate(layers_of)
        for t, n in by_layer.items()
        for i in range(n)
    ]
    (tmp_path / "e.csv").write_text(
        "\n".join(
            [
                "src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency",
                *(f"5,{f},{t},{i},0.9,0.8" for f, t, i in ends),
            ]
        )
        + "\n"
    )
    rows = [
        {
            "source_layer": 5,
            "source_feature": f,
            "target_layer": t,
            "target_feature": i,
            "cohens_d": 0.9,
            "consistency": 0.8,
            "mean_delta": 0.1,
        }
        for f, t, i in ends
    ]
    (tmp_path / "g.json").write_text(json.dumps({"n_edges": len(rows), "edges": rows}))
    for name in ("e.csv", "g.json"):
        source = load(tmp_path / name)
        assert source.cap == (per[0] if per else 0), name
        assert ("all_edges" in source.lacks) == bool(per), name
        assert (
            any(f"{per[0]} edges of {per[1]}" in note for note in source.notes)
            if per
            else not any("strongest" in note for note in source.notes)
        )
        if per:
            assert f"at most {per[0]} of {per[1]} (largest group {per[0]})" in source.sentences[0]
            with pytest.raises(UserError, match="keeps only the strongest per source, or"):
                refuse_if_missing("import-x", source.lacks, ("all_edges",), "degrees")


def test_a_cap_over_all_layers_of_a_source_says_so(tmp_path):
    """50 edges of each source in three layers: no layer alone looks cut."""
    capped(
        tmp_path,
        [{6: 5 + f, 8: 17 - f // 2, 11: 28 - f + f // 2} for f in range(12)],
        (50, "each source"),
    )


def test_sources_with_all_their_edges_in_one_layer_do_not_hide_a_cap_over_all(tmp_path):
    capped(
        tmp_path,
        [{6: 50}, {8: 50}, {11: 50}, *({6: 10 + f, 8: 40 - f} for f in range(9))],
        (50, "each source"),
    )


def test_full_layers_are_no_cap_of_the_sources(tmp_path):
    capped(tmp_path, [{6: 20, 8: 20, 11: 20} for _ in range(5)], (20, "each source and layer"))


def test_sources_of_different_degrees_are_not_cut(tmp_path):
    capped(tmp_path, [{6: 4 + f, 8: 7 + 2 * f, 11: 3} for f in range(12)], None)


def test_annotated_edges_are_imported_one_condition_at_a_time(tmp_path, pairs):
    path = tmp_path / "step1_annotated_edges.json"
    rows = files.graph_rows(pairs)
    path.write_text(json.dumps({"K562_K562_GF": rows, "scGPT_TS_Multi": rows[:4]}))
    with pytest.raises(
        UserError, match=r"2 conditions: K562_K562_GF, scGPT_TS_Multi[\s\S]*--condition"
    ):
        load(path)
    with pytest.raises(UserError, match="no condition 'TS_Multi_GF'"):
        load(path, condition="TS_Multi_GF")
    with pytest.raises(UserError, match="is of scgpt, not of geneformer-v2-316m"):
        importer.read(
            ImportEdgesConfig(
                path=path,
                model_name="geneformer-v2-316m",
                dictionary_name="x",
                condition="scGPT_TS_Multi",
            ),
            {},
        )
    source = load(path, condition="K562_K562_GF")
    assert len(frames(source)["Feature-AFFECTS-Feature"]) == len(rows)
    assert source.name == "m/s K562_K562_GF"
    path.write_text(json.dumps({"K562_K562_GF": rows, "HepG2": rows}))
    with pytest.raises(UserError, match="unknown condition 'HepG2'"):
        load(path)


def test_the_third_model_form(tmp_path, pairs):
    all_of = sorted((e for e in pairs if e.source == 7 and e.published), key=lambda e: -abs(e.d))
    top = [
        {
            "tgt_layer": e.layer,
            "tgt_feature": e.target,
            "cohens_d": e.d,
            "consistency": e.consistency,
            "sign": "x",
        }
        for e in all_of[:6]
    ]
    by_layer = {str(layer): len(files.significant(pairs, 7, layer)) for layer in files.LAYERS}
    (tmp_path / "feature_F0007.json").write_text(
        json.dumps(
            {
                "feature_id": 7,
                "source_layer": 5,
                "total_edges": len(all_of),
                "edges_by_layer": by_layer,
                "top_edges": top,
            }
        )
    )
    source = load(tmp_path)
    tables = frames(source)
    compare(tables["Feature-AFFECTS-Feature"], all_of[:6], {"d", "consistency"})
    assert degrees(tables["Feature"]) == {address(5, 7): len(all_of)}
    assert "all_edges" in source.lacks
    assert "n" in source.lacks


def test_every_end_is_a_feature_of_a_dictionary_of_the_model(tmp_path, pairs):
    files.write_features(tmp_path, pairs)
    tables = frames(load(tmp_path))
    known = set(tables["Feature"]["id"])
    edges = tables["Feature-AFFECTS-Feature"]
    assert set(edges["source"]) | set(edges["target"]) <= known
    assert set(tables["Feature-OF-Dictionary"]["source"]) == known
    assert set(tables["Dictionary"]["id"]) == {"m/s/L05", "m/s/L06", "m/s/L11"}


def test_the_order_of_rows_changes_nothing(tmp_path, pairs):
    lines = files.csv_text(pairs, True).splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "b.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    for one, two in zip(
        load(tmp_path / "a.csv").units.values(),
        load(tmp_path / "b.csv").units.values(),
        strict=True,
    ):
        assert all(table.equals(two()[kind]) for kind, table in one().items())
