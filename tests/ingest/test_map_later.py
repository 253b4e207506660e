"""The later result files of the published map: what they become, and one message for each fault.

The files are made up in the published layout; the published ones are not at hand here.
"""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from scircuit.core.config import ImportMapConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.exhaustive_map import map_source as importer
from tests.support.map_later_files import CELLS, READOUTS, write_later

SET = "geneformer-v2-316m/k562-x4-k32"


def read(folder):
    return importer.read(ImportMapConfig(path=folder), {})


def frames(source):
    return {k: t.to_pandas() for k, t in source.units["map"]().items()}


@pytest.fixture
def folder(tmp_path):
    write_later(tmp_path)
    return tmp_path


@pytest.fixture
def tables(folder):
    return frames(read(folder))


def test_random_directions_are_a_control_of_their_own_name(folder, tables):
    data = json.loads((folder / "revision/P1_normmatched/summary.json").read_text())
    control = tables["Control"].iloc[0]
    assert control["control"] == "random_per_position"
    assert control["sources"] == 30
    assert control["edges_legacy"] == sum(f["edges_real"] for f in data["per_feature"])
    assert control["control_edges_legacy"] == sum(
        f["edges_normmatched"] for f in data["per_feature"]
    )
    degrees = tables["Feature"].set_index("id")["out_degree_legacy"]
    for f in data["per_feature"]:
        assert degrees[f"{SET}/L05/F{f['feature_idx']:04d}"] == f["observed_degree"]


def test_every_condition_of_the_panel(folder, tables):
    from scipy.stats import t as student

    done = tables["Intervention"].query("verb == 'steer'").set_index("id")
    shifted = tables["Intervention-SHIFTED-Readout"].set_index(["source", "target"])
    assert len(done) == 16 * 2
    assert len(shifted) == 16 * 2 * len(READOUTS)
    assert set(tables["Readout"]["name"]) == set(READOUTS)
    for path in (folder / "revision/P2_steering/features").glob("*.json"):
        data = json.loads(path.read_text())
        for alpha, part in data["alphas"].items():
            key = f"{SET}/steer/L{data['layer']:02d}F{data['idx']:04d}@{float(alpha):g}"
            assert done.loc[key, "effect"] == part["delta_s_global"]["mean"]
            assert done.loc[key, "cells"] == CELLS
            for name in READOUTS:
                row = shifted.loc[(key, f"{SET}/readout/{name}")]
                values = np.array(part[name]["values"])
                assert row["effect"] == pytest.approx(values.mean(), rel=1e-12)
                assert row["dose"] == float(alpha) - 1
                fixed = data["layer"] == 17 and name in ("delta_p_terminal", "delta_pseudotime")
                assert row["closed_form"] == fixed
                if fixed:
                    assert math.isnan(row["low"])
                    continue
                half = student.ppf(0.975, CELLS - 1) * values.std(ddof=1) / math.sqrt(CELLS)
                assert row["high"] - row["effect"] == pytest.approx(half, rel=1e-9)
    switches = tables["Feature"].set_index("id")["steering_switch"].dropna()
    assert switches.value_counts().to_dict() == {"on": 8, "off": 8}


def test_triplets_with_class_counts_and_pairs(tables):
    done = tables["Intervention"].query("verb == 'ablate'").set_index("id")
    assert len(done) == 3 * 4
    whole = f"{SET}/ablate/L00F0001+L05F0011+L11F0021/L17"
    row = done.loc[whole]
    assert (row["set_class"], row["tested"], row["order"]) == ("cross", 49, 3)
    assert (row["subadditive"], row["additive"], row["superadditive"]) == (40, 8, 1)
    assert (row["ratio"], row["higher_order"], row["marginal"]) == (0.51, 0.2, 0.1)
    assert done.loc[f"{whole}/AC", "ratio"] == 0.71
    assert done.loc[f"{whole}/AC", "set"] == whole
    members = tables["Feature-PART_OF-Intervention"].groupby("target")["source"].agg(list)
    assert members[f"{whole}/AC"] == [f"{SET}/L00/F0001", f"{SET}/L11/F0021"]
    partners = tables["Feature"].set_index("id")["ablation_partners"]
    assert partners[f"{SET}/L05/F0011"] == 2


def test_importance_only_where_cells_are_paired(folder, tables):
    arms = json.loads((folder / "revision/P6_hub_importance/summary.json").read_text())["arms"]
    features = tables["Feature"].set_index("id")
    done = tables["Intervention"].query("verb == 'importance'").set_index("id")
    assert len(done) == 15
    for row in (f for arm in arms.values() for f in arm):
        feature = features.loc[f"{SET}/L05/F{row['feature_idx']:04d}"]
        key = f"{SET}/importance/L05F{row['feature_idx']:04d}"
        assert done.loc[key, "effect"] == row["delta_ce"]
        assert done.loc[key, "cells"] == row["n_cells_active"]
        if row["n_cells_active"] == 50:
            assert feature["importance"] == row["delta_ce"]
        else:
            assert math.isnan(feature["importance"])
    assert any("3 features are active in fewer" in n for n in read(folder).notes)


def test_ends_exist_and_nothing_is_twice(tables):
    nodes = {kind: set(t["id"]) for kind, t in tables.items() if "-" not in kind}
    for kind, t in tables.items():
        if "-" not in kind:
            assert not t["id"].duplicated().any(), kind
            continue
        first, _, last = kind.split("-")
        assert set(t["source"]) <= nodes[first], kind
        assert set(t["target"]) <= nodes[last], kind
        assert not t.duplicated(["source", "target"]).any(), kind


def test_a_part_of_the_files_will_do(folder, tmp_path):
    for name in ("P1_normmatched", "P3_triplets", "P6_hub_importance", "P7_ts_native"):
        (folder / "revision" / name / "summary.json").unlink()
    source = read(folder)
    assert source.units["map"]()["Intervention"].num_rows == 32
    # definitions without results
    assert not any("triplets.json" in note for note in source.notes)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "1e999", '"0.1"', "true", "null"])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("P1_normmatched/summary.json", "edges_normmatched"),
        ("P2_steering/features/L5_F600.json", "mean"),
        ("P3_triplets/summary.json", "threeway_ratio"),
        ("P6_hub_importance/summary.json", "delta_ce"),
        ("P7_ts_native/summary.json", "mean_edges"),
        ("P9_crispri/association.json", "p"),
    ],
)
def test_what_is_no_number_is_refused(folder, name, field, constant):
    path = folder / "revision" / name
    text = path.read_text()
    changed = re.sub(rf'("{field}": )[^,}}\]]+', rf"\g<1>{constant}", text, count=1)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(UserError, match=r"finite number|NaN|Infinity") as caught:
        read(folder)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("P1_normmatched/summary.json", "per_feature"),
        ("P1_normmatched/summary.json", "edges_real"),
        ("P2_steering/features/L5_F600.json", "alphas"),
        ("P2_steering/features/L5_F600.json", "n_cells"),
        ("P2_steering/features/L5_F600.json", "values"),
        ("P2_steering/features/L5_F600.json", "delta_s_global"),
        ("P2_steering/summary.json", "features"),
        ("P2_steering/readout_analysis.json", "n_features_total"),
        ("P3_triplets/summary.json", "groups"),
        ("P3_triplets/summary.json", "n_targets"),
        ("P3_triplets/triplets.json", "id"),
        ("P6_hub_importance/summary.json", "n_cells_active"),
        ("P6_hub_importance/summary.json", "freq_matched"),
        ("P7_ts_native/summary.json", "ts_native"),
        ("P9_crispri/association.json", "n_features"),
    ],
)
def test_a_missing_key_is_named(folder, name, field):
    path = folder / "revision" / name
    text = path.read_text()
    assert f'"{field}":' in text
    path.write_text(text.replace(f'"{field}":', f'"{field}_":', 1))
    with pytest.raises(UserError, match=field):
        read(folder)


@pytest.mark.parametrize(
    "name",
    [
        "P1_normmatched/summary.json",
        "P2_steering/features/L5_F600.json",
        "P2_steering/summary.json",
        "P3_triplets/summary.json",
        "P3_triplets/triplets.json",
        "P6_hub_importance/summary.json",
        "P7_ts_native/summary.json",
        "P9_crispri/association.json",
    ],
)
@pytest.mark.parametrize("fault", ["half", "empty", "list", "text"])
def test_a_truncated_or_other_file_is_refused(folder, name, fault):
    path = folder / "revision" / name
    content = path.read_bytes()
    changed = {"half": content[: len(content) // 2], "empty": b"", "list": b"[1]", "text": b'"x"'}
    path.write_bytes(changed[fault])
    with pytest.raises(UserError, match=r"truncated|not JSON|empty|expected"):
        read(folder)


def mutate(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "P2_steering/features/L5_F600.json",
            lambda d: d.update(layer=7),
            "describes feature 600 of layer 7",
        ),
        ("P2_steering/features/L5_F600.json", lambda d: d.update(kind="UP"), "expected ON or OFF"),
        (
            "P2_steering/features/L5_F600.json",
            lambda d: d["alphas"].update(two=d["alphas"].pop("2.0")),
            "coefficient 'two'",
        ),
        (
            "P2_steering/features/L5_F600.json",
            lambda d: d["alphas"]["2.0"].update(delta_new={}),
            "readout 'delta_new'",
        ),
        (
            "P2_steering/features/L5_F600.json",
            lambda d: d["alphas"]["2.0"]["marker_score"]["values"].pop(),
            "11 values of 12 cells",
        ),
        (
            "P2_steering/features/L5_F600.json",
            lambda d: d["alphas"]["2.0"]["marker_score"].update(mean=9.0),
            "states the mean 9",
        ),
        ("P2_steering/summary.json", lambda d: d["features"].pop(), "15 features of 16 files"),
        ("P2_steering/summary.json", lambda d: d["features"][0].update(kind="OFF"), "as OFF"),
        ("P2_steering/readout_analysis.json", lambda d: d.update(n_features_total=80), "of 80"),
        ("P3_triplets/summary.json", lambda d: d["per_triplet"][0].update(type="x"), "of type 'x'"),
        (
            "P3_triplets/summary.json",
            lambda d: d["per_triplet"][0]["features"][2].__setitem__(0, 17),
            "ablates layer 17",
        ),
        (
            "P3_triplets/summary.json",
            lambda d: d["per_triplet"][0]["features"].pop(),
            "2 features, expected three",
        ),
        (
            "P3_triplets/summary.json",
            lambda d: d["per_triplet"][0].update(n_additive=9),
            r"40 \+ 9 \+ 0",
        ),
        (
            "P3_triplets/summary.json",
            lambda d: d["groups"]["random"].update(n_additive=9),
            "group random states",
        ),
        ("P3_triplets/triplets.json", lambda d: d.pop(), "different triplets"),
        (
            "P1_normmatched/summary.json",
            lambda d: d["per_feature"].pop(),
            "its 29 features sum to",
        ),
        (
            "P1_normmatched/summary.json",
            lambda d: d["per_feature"][0].update(edges_real=3),
            "has 3 edges, before",
        ),
        (
            "P6_hub_importance/summary.json",
            lambda d: d["arms"]["hub"][0].update(n_cells_active=60),
            "60 of 50 cells",
        ),
        (
            "P6_hub_importance/summary.json",
            lambda d: d["arms"]["hub"][0].update(feature_idx=3),
            "other files state",
        ),
    ],
)
def test_contradictions_are_refused(folder, name, change, message):
    mutate(folder / "revision" / name, change)
    with pytest.raises(UserError, match=message):
        read(folder)


def test_a_feature_of_an_unknown_layer_is_refused(folder):
    path = folder / "revision/P2_steering/features/L5_F600.json"
    other = path.with_name("L7_F600.json")
    path.rename(other)
    mutate(other, lambda d: d.update(layer=7))
    with pytest.raises(UserError, match="steers layer 7, expected one of 0, 5, 11, 17"):
        read(folder)


def test_a_condition_of_the_first_release_is_stored_once(folder):
    part = json.loads((folder / "revision/P2_steering/features/L0_F100.json").read_text())
    shift = part["alphas"]["2.0"]["delta_s_global"]
    first = folder / "trajectory_steering" / "steering_F100_L0.json"
    first.parent.mkdir()
    result = {
        "n_cells_steered": CELLS,
        "mean_state_shift": shift["mean"],
        "std_state_shift": shift["sd"],
        "top_upregulated": [{"gene": "CD24", "delta": 0.5}],
        "top_downregulated": [],
    }
    first.write_text(json.dumps({"feature_idx": 100, "layer": 0, "alpha_results": {"2.0": result}}))
    done = frames(read(folder))["Intervention"].query("verb == 'steer'")
    assert len(done) == 32
    assert not done["id"].duplicated().any()
    mutate(first, lambda d: d["alpha_results"]["2.0"].update(mean_state_shift=9.0))
    with pytest.raises(UserError, match="the first release has 9"):
        read(folder)


def test_every_file_is_read_or_named_with_a_reason(folder):
    extra = {
        "exhaustive_tracing/feature_0001.json": "scircuit import edges",
        "exhaustive_tracing/feature_0002.json": "scircuit import edges",
        "revision/P1_retrace/deltas/feature_0007.npz": "scircuit import edges",
        "revision/P3_triplets/deltas/L0_F0_x_L5_F10_x_L11_F20.npz": "contrasts",
        "notes/readme.md": "no results",
        "surprise.bin": "no file of the published map",
        "degree_sequence.json": "constructed",
    }
    for name in extra:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")
    source = read(folder)
    unread = [n for n in source.notes if n.startswith("not read: ")]
    every = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert every == {*source.files} | {*extra}
    for name, reason in extra.items():
        pattern = re.sub(r"\d+", "*", name)
        assert any((name in n or pattern in n) and reason in n for n in unread), name
    assert any("feature_*.json (2 files)" in n for n in unread)
    assert len(unread) == len(extra) - 1
