"""The published exhaustive map as records: every number against a plain reading of the files and
against the published values.
"""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from scircuit.core.config import ImportMapConfig
from scircuit.core.errors import UserError
from scircuit.ingest.importers.exhaustive_map import map_source as importer

SET = "geneformer-v2-316m/k562-x4-k32"
GENES = {"CD24": "ENSG00000272398", "LGALS2": "ENSG00000100079"}


@pytest.fixture(scope="module")
def published(shared_data):
    return shared_data / "published"


@pytest.fixture(scope="module")
def source(published):
    return importer.read(ImportMapConfig(path=published), GENES)


@pytest.fixture(scope="module")
def tables(source):
    return {
        kind: t.to_pandas()
        for tables in (u() for u in source.units.values())
        for kind, t in tables.items()
    }


@pytest.fixture(scope="module")
def features(tables):
    return tables["Feature"].set_index("id")


def plain(published, name):
    return json.loads((published / name).read_text())


def address(layer, index):
    return f"{SET}/L{layer:02d}/F{index:04d}"


def test_every_degree_is_the_published_one(published, features):
    raw = plain(published, "revision/P1_calibration/edges_raw.json")
    hubs = {
        h["feature_idx"]: h
        for h in plain(published, "exhaustive_tracing/exhaustive_summary.json")["top_20_hubs"]
    }
    residual = {
        (int(part["layer"][1:]), h["feature_idx"]): h
        for part in plain(published, "revision/P5_annotation/annotation_enrichment_raw.json")
        for h in part["frequency"]["residual_hub_top20"]
    }
    wanted = {(5, int(i)): n for i, n in raw.items()}
    wanted |= {(5, i): h["total_edges"] for i, h in hubs.items()}
    wanted |= {k: h["edges"] for k, h in residual.items()}
    given = features["out_degree_legacy"].dropna()
    assert {address(*k): n for k, n in wanted.items()} == given.astype(int).to_dict()
    assert len(raw) == 897
    assert len(hubs) == 20
    for rank, (index, hub) in enumerate(hubs.items(), 1):
        row = features.loc[address(5, index)]
        assert (row["degree_rank"], row["out_degree_legacy"], row["cells_active"]) == (
            rank,
            hub["total_edges"],
            hub["n_cells_active"],
        )
    assert features.loc[address(5, 898), "out_degree_legacy"] == 2138
    assert (
        features.loc[address(5, 1762), "out_degree_legacy"] == 2098
    )  # the second tracing says 2,097: half precision


def test_calibrated_degrees_and_the_null(published, features, tables, source):
    kept = plain(published, "revision/P1_calibration/edges_fdr.json")
    assert {address(5, int(i)): n for i, n in kept.items()} == features[
        "out_degree"
    ].dropna().astype(int).to_dict()
    control = tables["Control"].iloc[0]
    assert (
        control["edges_legacy"],
        control["edges"],
        control["control_edges_legacy"],
        control["sources"],
    ) == (327_609, 261_564, 11_915, 600)
    found = source.findings
    assert found["null_expected"] == pytest.approx(11_914.602, abs=1e-6)
    assert found["false_discovery_rate"] == pytest.approx(0.036368359843594024, rel=1e-12)
    assert (found["edges_legacy"], found["sources"], found["live_tests"]) == (
        1_393_850,
        4_065,
        3_586_535,
    )
    assert [found["tail"][k] for k in ("alpha", "xmin", "n_tail")] == pytest.approx(
        [6.052659, 860, 157], rel=1e-6
    )
    assert found["bias"]["L5"]["fisher"][0]["odds_ratio"] == pytest.approx(1.292223, rel=1e-6)


def test_residual_hubs_follow_the_stated_regression(published, features):
    """The published residual is log10(edges + 1) less a quadratic of log10 firing rate: its three
    coefficients are fitted to 20 points here.
    """
    for part in plain(published, "revision/P5_annotation/annotation_enrichment_raw.json"):
        layer = int(part["layer"][1:])
        hubs = part["frequency"]["residual_hub_top20"]
        rows = features.loc[[address(layer, h["feature_idx"]) for h in hubs]]
        x = np.log10([h["activation_freq"] for h in hubs])
        design = np.stack([np.ones_like(x), x, x * x], 1)
        expected = np.log(rows["expected_degree"].to_numpy() + 1)
        fit = np.linalg.lstsq(design, expected, rcond=None)[0]
        assert np.abs(design @ fit - expected).max() < 1e-12
        stated = np.log(
            (rows["out_degree_legacy"].to_numpy(float) + 1)
            / (rows["expected_degree"].to_numpy() + 1)
        )
        assert stated == pytest.approx(rows["residual_degree"].to_numpy(), rel=1e-12)
        assert rows["hub_rank"].tolist() == list(range(1, 21))
        assert (np.diff(rows["residual_degree"].to_numpy()) <= 0).all()


def test_triplets_are_joint_ablations(published, tables, features):
    summary = plain(published, "higher_order_ablation/summary.json")["per_triplet_results"]
    done = tables["Intervention"].query("verb == 'ablate'").set_index("id")
    members = tables["Feature-PART_OF-Intervention"].groupby("target")["source"].agg(list)
    assert len(summary) == 8
    assert len(done) == 4 * len(summary)
    threes, pairs = [], []
    for t in summary:
        keys = [(t[f"feature_{r}"]["layer"], t[f"feature_{r}"]["idx"]) for r in "ABC"]
        tag = "+".join(f"L{layer:02d}F{i:04d}" for layer, i in keys)
        whole = f"{SET}/ablate/{tag}/L17"
        row = done.loc[whole]
        assert (row["order"], row["target_layer"], row["cells"], row["tested"]) == (
            3,
            17,
            t["n_active"]["ABC"],
            t["n_significant"]["any"],
        )
        assert row["ratio"] == t["threeway_ratio"]
        assert members[whole] == [address(*k) for k in keys]
        assert np.isnan(row.get("significant", np.nan))
        threes.append((t["triplet_type"], row["ratio"]))
        for pair, (a, b) in {"AB": (0, 1), "AC": (0, 2), "BC": (1, 2)}.items():
            assert done.loc[f"{whole}/{pair}", "ratio"] == t["pairwise_ratios"][pair]
            assert members[f"{whole}/{pair}"] == [address(*keys[a]), address(*keys[b])]
            pairs.append(t["pairwise_ratios"][pair])
    assert np.median([r for kind, r in threes if kind == "same_pathway"]) == pytest.approx(
        0.594309, abs=1e-6
    )
    assert [r for kind, r in threes if kind == "cross_pathway"] == pytest.approx(
        [0.556044], abs=1e-6
    )
    assert (np.median(pairs), np.mean(pairs)) == pytest.approx((0.74989, 0.74819), abs=1e-5)
    assert (
        features.loc[address(0, 2905), "ablation_partners"] == 4
    )  # F1226 of layer 5 and F3001, F2025, F157 of layer 11


def test_steering_with_its_interval_and_genes(published, tables):
    from scipy.stats import t as student

    done = tables["Intervention"].query("verb == 'steer'").set_index("id")
    moved = tables["Intervention-SHIFTED-Gene"]
    files = sorted((published / "trajectory_steering").glob("steering_*.json"))
    assert len(files) == 14
    assert len(done) == 28
    for path in files:
        data = json.loads(path.read_text())
        for alpha, result in data["alpha_results"].items():
            key = f"{SET}/steer/L{data['layer']:02d}F{data['feature_idx']:04d}@{float(alpha):g}"
            row, n = done.loc[key], result["n_cells_steered"]
            half = (
                student.ppf(0.975, n - 1)
                * result["std_state_shift"]
                * math.sqrt(n / (n - 1))
                / math.sqrt(n)
            )
            assert (row["effect"], row["cells"], row["coefficient"]) == (
                result["mean_state_shift"],
                n,
                float(alpha),
            )
            assert (row["effect_low"], row["effect_high"]) == pytest.approx(
                (row["effect"] - half, row["effect"] + half), rel=1e-12
            )
            listed = moved[moved["source"] == key]
            assert sorted(listed["effect"]) == sorted(
                g["delta"]
                for side in ("top_upregulated", "top_downregulated")
                for g in result[side]
            )
            assert (listed["dose"] == float(alpha) - 1).all()
    top = moved[moved["source"] == f"{SET}/steer/L00F2061@5"].sort_values("effect").iloc[-1]
    assert top["target"] == GENES["CD24"]
    assert tables["Gene"].set_index("id").loc[GENES["CD24"], "symbol"] == "CD24"
    assert done["p"].isna().all() if "p" in done else True


def test_the_signatures(source):
    found = source.findings["state_signatures"]
    assert found == pytest.approx(
        {
            "length": 20275,
            "norm_early": 228.148759,
            "norm_late": 238.791458,
            "cosine": 0.9825272276,
        },
        abs=1e-6,
    )


def test_every_end_of_a_relationship_is_there(tables):
    nodes = {kind: set(t["id"]) for kind, t in tables.items() if "-" not in kind}
    for kind, t in tables.items():
        if "-" in kind:
            first, _, last = kind.split("-")
            assert set(t["source"]) <= nodes[first], kind
            assert set(t["target"]) <= nodes[last], kind
            assert not t.duplicated(["source", "target"]).any(), kind


def test_what_it_lacks_is_stated(source):
    assert source.cap == 50
    assert {"edges", "all_edges", "p"} <= set(source.lacks)
    assert source.run_properties()["method"] == "imported"
    assert "revision/P1_calibration/edges_raw.json" in source.files
    assert any(
        "degree_sequence.json" in note for note in source.notes
    )  # constructed, not published
    assert not any("degree_sequence" in name for name in source.files)


@pytest.fixture
def copy(published, tmp_path):
    shutil.copytree(published, tmp_path / "map", copy_function=shutil.copyfile)
    for folder in (tmp_path / "map").rglob("*"):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    return tmp_path / "map"


def test_files_that_contradict_each_other_are_refused(copy):
    path = copy / "revision/P1_calibration/edges_fdr.json"
    data = json.loads(path.read_text())
    data["11"] -= 1
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="261,564 and 261,563"):
        importer.read(ImportMapConfig(path=copy), {})


def test_a_changed_triplet_is_refused(copy):
    path = next((copy / "higher_order_ablation").glob("triplet_*"))
    path.write_text(
        path.read_text()
        .replace('"threeway_ratio": 0.5', '"threeway_ratio": 0.4')
        .replace('"threeway_ratio": 0.6', '"threeway_ratio": 0.4')
    )
    with pytest.raises(UserError, match=r"differs from summary\.json"):
        importer.read(ImportMapConfig(path=copy), {})


@pytest.mark.parametrize(
    "name",
    [
        "exhaustive_tracing/exhaustive_summary.json",
        "trajectory_steering/steering_F25_L0.json",
        "trajectory_steering/state_signatures.npz",
    ],
)
def test_a_truncated_file_is_refused(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"{path.name}.*(truncated|not JSON|cannot be read)"):
        importer.read(ImportMapConfig(path=copy), {})


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(copy, constant):
    path = copy / "revision/P1_calibration/per_feature.json"
    text = path.read_text()
    path.write_text(text.replace("27.674", constant, 1))
    with pytest.raises(UserError, match=r"NaN|Infinity|finite"):
        importer.read(ImportMapConfig(path=copy), {})


def test_a_part_alone_is_imported_and_the_rest_named(copy):
    for folder in ("exhaustive_tracing", "revision", "higher_order_ablation"):
        shutil.rmtree(copy / folder)
    source = importer.read(ImportMapConfig(path=copy), {})
    tables = source.units["map"]()
    assert tables["Intervention"].num_rows == 28
    assert tables["Feature"].num_rows == 14
    assert any("exhaustive_summary.json is missing" in n for n in source.notes)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match="has none of the folders"):
        importer.read(ImportMapConfig(path=tmp_path), {})
    with pytest.raises(UserError, match="is not a folder"):
        importer.read(ImportMapConfig(path=tmp_path / "absent"), {})
    with pytest.raises(UserError, match="may hold only"):
        importer.read(ImportMapConfig(path=tmp_path, model_name="Gene Former"), {})
