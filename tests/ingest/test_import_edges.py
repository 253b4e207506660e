"""Every format of published edges gives what a plain loop over the cells gives, and nothing that
its files do not hold.
"""

from __future__ import annotations

import json
import math

import import_edges_files as files
import pandas as pd
import pytest

from scircuit.core.config import ImportEdgesConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.edges import edges_source as importer
from scircuit.ingest.importers.gaps import MEANING, refuse

MODEL, SET = "m", "s"


@pytest.fixture(scope="module")
def effects():
    return files.effects()


@pytest.fixture(scope="module")
def pairs(effects):
    return files.pairs(effects)


def load(path, **more):
    return importer.read(
        ImportEdgesConfig(path=path, model_name=MODEL, dictionary_name=SET, **more), {}
    )


def frames(source):
    found: dict[str, list[pd.DataFrame]] = {}
    for unit in source.units.values():
        for kind, table in unit().items():
            found.setdefault(kind, []).append(table.to_pandas())
    return {kind: pd.concat(parts, ignore_index=True) for kind, parts in found.items()}


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
    assert {"all_edges", "counts", "p", "null", "symmetric_rule"} <= set(source.lacks)
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
    assert set(source.lacks) == {"p", "null", "cells"}
    with pytest.raises(UserError, match="does not say its layer"):
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
        "the file starts with a byte order mark, which was left out",
        "columns are separated by semicolons",
        "decimal commas were read as points",
    ]


@pytest.mark.parametrize(
    ("value", "what"),
    [("", "empty or no number"), ("nan", "empty or no number"), ("inf", "infinite")],
)
def test_a_number_that_is_none_is_found_by_its_row(tmp_path, pairs, value, what):
    head, *rows = files.csv_text(pairs, False).splitlines()
    cells = rows[2].split(",")
    cells[head.split(",").index("cohens_d")] = value
    rows[2] = ",".join(cells)
    (tmp_path / "e.csv").write_text("\n".join([head, *rows]) + "\n")
    with pytest.raises(
        UserError,
        match=f"cohens_d is {what} in 1 of {len(rows)} rows, first in row 3 below the header",
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
            with pytest.raises(UserError, match="keeps only the strongest of each source, or"):
                refuse("import-x", {"lacks": list(source.lacks)}, ("all_edges",), "degrees")


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


HEADER = "src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency,sign,mean_delta,n_pos,n_neg,n_zero\n"
BAD = {
    "no row": (HEADER, "holds no edge"),
    "empty": ("", "is empty"),
    "twice": (
        HEADER + "5,1,6,2,0.9,0.75,1,0.1,15,5,0\n" * 2,
        "more than once: 1 of 2 edges, the first is L5 F1 -> L6 F2",
    ),
    "backwards": (HEADER + "5,1,4,2,0.9,0.75,1,0.1,15,5,0\n", "same or an earlier layer: 1 of 1"),
    "same layer": (HEADER + "5,1,5,2,0.9,0.75,1,0.1,15,5,0\n", "same or an earlier layer"),
    "nan": (HEADER + "5,1,6,2,NaN,0.75,1,0.1,15,5,0\n", "cohens_d is empty or no number in 1 of 1"),
    "infinity": (HEADER + "5,1,6,2,inf,0.75,1,0.1,15,5,0\n", "infinite"),
    "text": (HEADER + "5,1,6,2,high,0.75,1,0.1,15,5,0\n", "cannot be read as a table of numbers"),
    "short row": (HEADER + "5,1,6,2,0.9\n", "cannot be read as a table of numbers"),
    "cut row": (HEADER + "5,1,6,2,0.9,0.75,1,0.1,15,5", "does not end with a line end"),
    "no column": (
        "src_layer,src_feature,tgt_layer,tgt_feature,d,consistency\n5,1,6,2,0.9,0.8\n",
        "lacks the column cohens_d",
    ),
    "sign": (HEADER + "5,1,6,2,0.9,0.75,-1,0.1,15,5,0\n", "sign and cohens_d contradict"),
    "mean": (HEADER + "5,1,6,2,0.9,0.75,1,-0.1,15,5,0\n", "opposite signs"),
    "counts": (
        HEADER + "5,1,6,2,0.9,0.95,1,0.1,15,5,0\n",
        r"consistency is not max\(n_pos, n - n_pos\) / n",
    ),
    "share": (HEADER + "5,1,6,2,0.9,75,1,0.1,15,5,0\n", "expected shares from 0 to 1"),
    "no count": (HEADER + "5,1,6,2,0.9,0.75,1,0.1,15.5,4.5,0\n", "n_pos is no count"),
    "half index": (HEADER + "5,1.5,6,2,0.9,0.75,1,0.1,15,5,0\n", "expected whole numbers"),
    "below 0": (HEADER + "5,-1,6,2,0.9,0.75,1,0.1,15,5,0\n", "below 0"),
    "too large": (HEADER + "5,99999999,6,2,0.9,0.75,1,0.1,15,5,0\n", "is no address"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv_is_refused(tmp_path, case):
    text, what = BAD[case]
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(UserError, match=what):
        load(tmp_path / "e.csv")


def test_csv_of_several_conditions(tmp_path):
    text = "src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency,condition\n5,1,6,2,0.9,0.75,a\n5,1,6,2,0.8,0.75,b\n"
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(UserError, match="2 conditions: a, b"):
        load(tmp_path / "e.csv")
    assert frames(load(tmp_path / "e.csv", condition="b"))["Feature-AFFECTS-Feature"][
        "d"
    ].tolist() == [0.8]
    with pytest.raises(UserError, match="no condition 'c'"):
        load(tmp_path / "e.csv", condition="c")


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


BAD_LAYERS = {
    "d is not mean / sd": (
        lambda e: [x.update(mean_delta=x["mean_delta"] * 3) for x in e],
        "d is not mean / sd",
    ),
    "lists more": (
        lambda e: e.extend([{**e[0], "target_feature_idx": 1000 + i} for i in range(100)]),
        "lists .* and counts",
    ),
    "twice": (lambda e: e.__setitem__(1, dict(e[0])), "more than once"),
    "text": (lambda e: e[0].update(cohens_d="0.9"), "expected a finite number"),
    "infinite": (lambda e: e[0].update(cohens_d=1e999), "Infinity"),
    "nothing": (lambda e: e[0].pop("std_delta"), "lacks std_delta"),
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_bad_files_of_layers_are_refused(tmp_path, pairs, case):
    change, what = BAD_LAYERS[case]

    def one(data):
        for feature in data["features"]:
            for effects in feature["downstream_effects"].values():
                if len(effects["top_effects"]) > 1:
                    change(effects["top_effects"])
                    if case != "d is not mean / sd":
                        return

    edit(files.write_layers(tmp_path, pairs), one)
    with pytest.raises(UserError, match=what):
        load(tmp_path)


def test_two_models_in_one_folder_are_refused(tmp_path, pairs):
    files.write_layers(tmp_path, pairs, model="scgpt").rename(
        tmp_path / "circuit_L00_features.json"
    )
    files.write_layers(tmp_path, pairs)
    with pytest.raises(UserError, match="different models or thresholds"):
        load(tmp_path)


def test_mixed_formats_and_unknown_files_are_refused(tmp_path, pairs):
    files.write_features(tmp_path, pairs)
    files.write_graph(tmp_path, pairs)
    with pytest.raises(UserError, match="2 formats: features, graph"):
        load(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match="holds no JSON, CSV or npz"):
        load(other)
    (other / "x.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="no format of edges that is known"):
        load(other)
    (other / "x.json").write_text('{"source_layer": 5, "accumulator_state": []}')
    with pytest.raises(UserError, match="run that was not finished"):
        load(other)
    with pytest.raises(UserError, match="there is no file or folder"):
        load(tmp_path / "absent")


def test_a_truncated_file_is_refused(tmp_path, effects, pairs):
    path = files.write_layers(tmp_path, pairs)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(UserError, match="truncated"):
        load(path)
    path.unlink()
    files.write_deltas(tmp_path, effects)
    cut = tmp_path / "deltas" / "feature_0008.npz"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"feature_0008\.npz cannot be read"):
        load(tmp_path, source_layer=5)


def test_a_pickled_array_is_never_read(tmp_path):
    import numpy as np

    np.savez(tmp_path / "feature_0001.npz", dl6=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path, source_layer=5)


def test_what_a_source_lacks_forbids_what_needs_it(tmp_path, pairs):
    files.write_layers(tmp_path, pairs)
    source = load(tmp_path)
    assert set(source.lacks) <= set(MEANING)
    with pytest.raises(UserError, match="all edges: it keeps only the strongest"):
        refuse(
            "import-x",
            {"lacks": list(source.lacks)},
            ("all_edges",),
            "a fit of the tail of its degrees",
        )
    refuse("import-x", {"lacks": list(source.lacks)}, ("n", "sd"), "an interval of d")
    refuse("trace-x", {}, tuple(MEANING), "anything")
