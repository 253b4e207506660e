"""Later result files of the published map, made up in its layout: random directions (P1c), steering
panel (P2), triplets (P3), importance of hubs (P6), other cells (P7) and a screen (P9).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

READOUTS = (
    *("delta_s_global", "delta_s_bone_marrow", "delta_s_blood_spleen"),
    *("marker_score", "delta_p_terminal", "delta_pseudotime"),
)
CELLS = 12


def write(path: Path, value: object) -> None:
    """Write JSON, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_later(root: Path, *, linear: bool = True) -> None:
    """All later files below ``revision/``.

    Parameters
    ----------
    linear
        At layer 17 the pseudotime shift is proportional to the coefficient less one, as in the
        published files; otherwise it saturates.
    """
    rng = np.random.default_rng(7)
    _panel(root / "revision" / "P2_steering", rng, linear)
    _triplets(root / "revision" / "P3_triplets")
    _random_directions(root / "revision" / "P1_normmatched", rng)
    _hubs(root / "revision" / "P6_hub_importance", rng)
    write(
        root / "revision" / "P7_ts_native" / "summary.json",
        {
            "ts_native": {"n_features": 40, "mean_edges": 9.5},
            "k562_same_downstream": {"n_features": 100, "mean_edges": 170.5},
        },
    )
    write(
        root / "revision" / "P9_crispri" / "association.json",
        {"n_features": 30, "n_perturbations": 20, "p": 0.4},
    )


def _part(values: np.ndarray) -> dict[str, object]:
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "frac_positive": float((values > 0).mean()),
        "values": values.tolist(),
    }


def _panel(folder: Path, rng: np.random.Generator, linear: bool) -> None:
    listed = []
    for layer in (0, 5, 11, 17):
        for i, kind in enumerate(("ON", "ON", "OFF", "OFF")):
            index = 100 * (layer + 1) + i
            base = rng.normal(0.3 if kind == "ON" else -0.3, 0.2, (len(READOUTS), CELLS))
            alphas = {}
            for alpha in (2.0, 5.0):
                gain = (alpha - 1) if linear else float(np.sqrt(alpha - 1))
                alphas[str(alpha)] = {"n_cells": CELLS} | {
                    name: _part(base[k] * gain) for k, name in enumerate(READOUTS)
                }
            feature = {"layer": layer, "idx": index, "kind": kind, "d": 0.9, "alphas": alphas}
            write(folder / "features" / f"L{layer}_F{index}.json", feature)
            listed.append({"layer": layer, "idx": index, "kind": kind})
    places = [f"alpha{a}_L{layer}" for a in ("2.0", "5.0") for layer in (0, 5, 11, 17)]
    per_layer = {f"{at}_{kind}": {"n_features": 2} for at in places for kind in ("ON", "OFF")}
    write(folder / "summary.json", {"per_layer": per_layer, "features": listed})
    contrasts = {at: {name: {"mannwhitney_p": 1 / 3} for name in READOUTS} for at in places}
    write(
        folder / "readout_analysis.json",
        {"n_features_total": len(listed), "on_off_contrast": contrasts},
    )


def _triplets(folder: Path) -> None:
    rows, groups = [], {}
    for i, kind in enumerate(("same_pathway", "cross_pathway", "random")):
        counts = dict(
            zip(("n_subadditive", "n_additive", "n_superadditive"), (40, 8, i), strict=True)
        )
        groups[kind] = {
            "n_triplets": 1,
            "n_targets": 48 + i,
            "median_threeway_ratio": 0.5 + i / 100,
            "median_pairwise_ratio": 0.71,
            **counts,
        }
        rows.append(
            {
                "type": kind,
                "pathway": "vesicle" if kind == "same_pathway" else kind,
                "id": f"L0_F{i}_x_L5_F{i + 10}_x_L11_F{i + 20}",
                "features": [[0, i, "a"], [5, i + 10, "b"], [11, i + 20, "unannotated"]],
                "n_targets": 48 + i,
                "threeway_ratio": 0.5 + i / 100,
                "threeway_ratio_ci": [0.45, 0.6],
                "pairwise_ratios": {"AB": 0.7, "AC": 0.71, "BC": 0.72},
                "pairwise_ratio_mean": 0.71,
                **counts,
                "superadditive_rate_ci": [0.0, 0.1],
                "higher_order_interaction_median": 0.2,
                "marginal_C_given_AB_median": 0.1,
            }
        )
    write(folder / "summary.json", {"per_triplet": rows, "groups": groups})
    definitions = [{k: row[k] for k in ("type", "pathway", "id", "features")} for row in rows]
    write(folder / "triplets.json", definitions)


def _random_directions(folder: Path, rng: np.random.Generator) -> None:
    real = rng.integers(100, 900, 30)
    random = rng.integers(5, 40, 30)
    write(
        folder / "summary.json",
        {
            "n_features": 30,
            "mean_edges_real": float(real.mean()),
            "mean_edges_normmatched": float(random.mean()),
            "per_feature": [
                {
                    "feature_idx": i,
                    "observed_degree": int(a),
                    "edges_real": int(a),
                    "edges_normmatched": int(b),
                }
                for i, (a, b) in enumerate(zip(real, random, strict=True))
            ],
        },
    )


def _hubs(folder: Path, rng: np.random.Generator) -> None:
    arms = {
        arm: [
            {
                "feature_idx": 1000 + 10 * k + i,
                "edges": int(rng.integers(100, 2000)),
                "freq": 0.01 * (i + 1),
                "delta_ce": float(rng.normal(0, 0.01)),
                "n_cells_active": 50 if i else 40,
            }
            for i in range(5)
        ]
        for k, arm in enumerate(("hub", "freq_matched", "random"))
    }
    baseline = {"ce": 5.4, "acc": 0.15, "n_cells_active": 50, "n_tokens": 15000}
    write(folder / "summary.json", {"baseline": baseline, "arms": arms})
