"""A small study with known effects in every cell, written in each published format by plain loops:
the oracle of the importers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scircuit.core.config import ImportEdgesConfig
from scircuit.ingest.importers.edges import edges_source

MODEL, SET = "m", "s"
WIDTH, CELLS, LAYERS = 40, 12, (6, 11)
SOURCES = {7: 12, 8: 12, 30: 9, 31: 2}  # feature -> cells where it is active
KEPT = 5  # strongest targets of each source and layer that the capped formats write


class Edge(NamedTuple):
    """One pair as a plain loop over its cells finds it."""

    source: int
    layer: int
    target: int
    n: int
    n_pos: int
    n_neg: int
    mean: float
    sd: float
    d: float
    consistency: float

    @property
    def published(self) -> bool:
        return abs(self.d) > 0.5 and self.consistency > 0.7


def effects(seed: int = 0) -> dict[int, dict[int, np.ndarray]]:
    """Feature -> layer -> half-precision effects [cells, WIDTH]; a third of them exactly 0, as in
    sparse codes.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for feature, cells in SOURCES.items():
        found[feature] = {}
        for layer in LAYERS:
            x = rng.normal(rng.normal(0, 0.4, WIDTH), 0.5, (cells, WIDTH)) * rng.choice(
                [0.0, 1.0, 1.0], (cells, WIDTH)
            )
            x[:, :3] = 0
            found[feature][layer] = x.astype(np.float16)
    return found


def pairs(found: dict[int, dict[int, np.ndarray]]) -> list[Edge]:
    """Statistics of every source and target, one cell after the other."""
    edges = []
    for feature, layers in found.items():
        for layer, x in layers.items():
            for target in range(WIDTH):
                values = [float(v) for v in x[:, target]]
                n = len(values)
                mean = sum(values) / n
                sd = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
                up, down = sum(v > 0 for v in values), sum(v < 0 for v in values)
                edges.append(
                    Edge(
                        feature,
                        layer,
                        target,
                        n,
                        up,
                        down,
                        mean,
                        sd,
                        mean / max(sd, 1e-10),
                        max(up, n - up) / n,
                    )
                )
    return edges


def significant(edges: list[Edge], feature: int, layer: int) -> list[Edge]:
    """Edges of a source and layer by the published rule, strongest first."""
    return sorted(
        (e for e in edges if (e.source, e.layer) == (feature, layer) and e.published),
        key=lambda e: -abs(e.d),
    )


def write_layers(folder: Path, edges: list[Edge], keep: int = KEPT, **more: Any) -> Path:
    """``circuit_L05_features.json``."""
    features = []
    for feature, cells in SOURCES.items():
        downstream, total = {}, 0
        for layer in LAYERS:
            all_of = significant(edges, feature, layer)
            total += len(all_of)
            downstream[str(layer)] = {
                "n_significant": len(all_of),
                "n_cells_measured": cells,
                "top_effects": [
                    {
                        "target_feature_idx": e.target,
                        "mean_delta": e.mean,
                        "std_delta": e.sd,
                        "cohens_d": e.d,
                        "consistency": e.consistency,
                        "n_cells_measured": e.n,
                    }
                    for e in all_of[:keep]
                ],
            }
        features.append(
            {
                "source_feature_idx": feature,
                "source_label": "unknown",
                "source_activation_freq": feature / 1000,
                "n_cells_with_activity": cells,
                "downstream_effects": downstream,
                "total_significant_edges": total,
            }
        )
    path = folder / "circuit_L05_features.json"
    config = {
        "n_source_features": 4,
        "n_cells": CELLS,
        "downstream_layers": list(LAYERS),
        "cohens_d_threshold": 0.5,
        "consistency_threshold": 0.7,
    }
    path.write_text(
        json.dumps({"source_layer": 5, "config": config, "stats": {}, "features": features, **more})
    )
    return path


def graph_rows(edges: list[Edge], keep: int = KEPT) -> list[dict[str, Any]]:
    """Rows of the joint graph."""
    kept = [e for f in SOURCES for layer in LAYERS for e in significant(edges, f, layer)[:keep]]
    return [
        {
            "source_layer": 5,
            "source_feature": e.source,
            "source_label": "unknown",
            "target_layer": e.layer,
            "target_feature": e.target,
            "cohens_d": e.d,
            "consistency": e.consistency,
            "mean_delta": e.mean,
        }
        for e in kept
    ]


def write_graph(folder: Path, edges: list[Edge], keep: int = KEPT) -> Path:
    """``circuit_graph.json``."""
    rows = graph_rows(edges, keep)
    path = folder / "circuit_graph.json"
    path.write_text(
        json.dumps(
            {"n_edges": len(rows), "n_source_features": 4, "top_hub_sources": [], "edges": rows}
        )
    )
    return path


def write_features(folder: Path, edges: list[Edge], keep: int = KEPT) -> None:
    """``feature_0007.json`` and so on."""
    for feature, cells in SOURCES.items():
        downstream, total = {}, 0
        for layer in LAYERS:
            all_of = significant(edges, feature, layer)
            total += len(all_of)
            if all_of:
                downstream[str(layer)] = {
                    "n_significant": len(all_of),
                    "mean_abs_d": 0.9,
                    "top_effects": [
                        {"target": e.target, "d": e.d, "consistency": e.consistency}
                        for e in all_of[:keep]
                    ],
                }
        (folder / f"feature_{feature:04d}.json").write_text(
            json.dumps(
                {
                    "source_layer": 5,
                    "feature_idx": feature,
                    "label": "unannotated",
                    "activation_freq": feature / 1000,
                    "n_cells_active": cells,
                    "n_cells_measured": CELLS,
                    "total_significant_edges": total,
                    "downstream_edges": downstream,
                    "elapsed_seconds": 1.0,
                }
            )
        )


def write_deltas(folder: Path, found: dict[int, dict[int, np.ndarray]]) -> None:
    """``deltas/feature_0007.npz`` and so on."""
    (folder / "deltas").mkdir()
    for feature, layers in found.items():
        np.savez(
            folder / "deltas" / f"feature_{feature:04d}.npz",
            **{f"dl{layer}": x for layer, x in layers.items()},
        )  # pyright: ignore[reportArgumentType]


def csv_text(edges: list[Edge], counts: bool) -> str:
    """``circuit_edges.csv`` without a cap."""
    lines = [
        "src_layer,src_feature,tgt_layer,tgt_feature,cohens_d,consistency,sign"
        + (",mean_delta,n_pos,n_neg,n_zero,consistency_sym,passes_symmetric_rule" if counts else "")
    ]
    for e in (e for e in edges if e.published):
        moved = e.n_pos + e.n_neg
        symmetric = max(e.n_pos, e.n_neg) / moved
        row = [5, e.source, e.layer, e.target, repr(e.d), repr(e.consistency), 1 if e.d > 0 else -1]
        row += (
            [repr(e.mean), e.n_pos, e.n_neg, e.n - moved, repr(symmetric), symmetric > 0.7]
            if counts
            else []
        )
        lines.append(",".join(map(str, row)))
    return "\n".join(lines) + "\n"


def load(path: Path, **more: Any):
    """Import the edges of a file or folder."""
    return edges_source.read(
        ImportEdgesConfig(path=path, model_name=MODEL, dictionary_name=SET, **more), {}
    )


def frames(source) -> dict[str, pd.DataFrame]:
    """Records of an import by kind."""
    found: dict[str, list[pd.DataFrame]] = {}
    for unit in source.units.values():
        for kind, table in unit().items():
            found.setdefault(kind, []).append(table.to_pandas())
    return {kind: pd.concat(parts, ignore_index=True) for kind, parts in found.items()}
