"""A small invented atlas in the published form: 3 layers of 8 features, every kind of file, and
gene names that no gene has.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

LAYERS, WIDTH = 3, 8
NAMES = {"model_name": "toy", "dictionary_name": "tiny"}
GENE_IDS = {f"GENE{n}": f"ENSG{n:011d}" for n in range(12)} | {"C1orf1": "ENSG00000000099"}


def files() -> dict[str, Any]:
    """File name -> content."""
    found: dict[str, Any] = {}
    for layer in range(LAYERS):
        rows = []
        for i in range(WIDTH):
            dead = i == 7
            genes = (
                []
                if dead
                else [{"n": f"GENE{(layer + i + g) % 12}", "a": 5.0 - g} for g in range(5)]
            )
            if i == 0:
                genes[0] = {"n": "C1orf1", "a": 5.0}
            fired = 0 if dead else 1000 * (i + 1) if i else 50
            rows.append(
                {
                    "i": i,
                    "d": dead,
                    "f": round(fired / 1e6, 6),
                    "ma": round(fired * 2e-6, 4),
                    "fc": fired,
                    "na": 2 if i < 2 else 0,
                    "m": -1 if dead else i % 2,
                    "sv": i == 3,
                    "lb": "Toy process (GO:0000001)" if i < 2 else "",
                    "to": "GO_BP" if i < 2 else "none",
                    "tg": genes,
                }
            )
        annotations = {
            str(i): {
                "genes": [
                    {**g, "fc": 100 - n}
                    for n, g in enumerate(
                        [*rows[i]["tg"], {"n": f"GENE{(layer + i + 5) % 12}", "a": 0.5}]
                    )
                ],
                "anns": [
                    {
                        "o": "GO_BP",
                        "t": "Toy process (GO:0000001)",
                        "p": 0.0 if i else 0.01,
                        "or": float("inf") if i else 12.5,
                        "n": 2,
                        "g": ["C1ORF1", "GENE1"] if not i else ["GENE1", "GENE2"],
                    },
                    {
                        "o": "STRING_edges",
                        "t": "pairwise_enrichment",
                        "p": 0.1,
                        "or": 0,
                        "n": 0,
                        "g": [],
                    },
                ],
            }
            for i in range(2)
        }
        kinds = {
            "ct": [{"c": "B cell", "p": 0.01, "or": 3.5, "n": 4}],
            "ti": [{"t": "lung", "p": 0.02, "or": 5e14}],
            "tc": [{"ct": "B cell", "t": "lung", "a": 1.0}],
        }
        found[f"layer_{layer:02d}_features.json"] = rows
        found[f"layer_{layer:02d}_annotations.json"] = annotations
        found[f"layer_{layer:02d}_celltypes.json"] = {
            "summary": {},
            "cell_type_meta": {"B cell": {"n": 30, "t": "lung"}, "T cell": {"n": 9, "t": "lung"}},
            "features": {"2": kinds, "1": kinds},
        }
        found[f"layer_{layer:02d}_positions.json"] = [[0.1 * i, -0.1 * i] for i in range(WIDTH)]
    found["global_summary.json"] = {
        "total_features": LAYERS * WIDTH,
        "n_layers": LAYERS,
        "n_features_per_layer": WIDTH,
        "layers": [
            {"layer": layer, "alive": 7, "annotated": 2, "variance_explained": 0.8 + layer / 100}
            for layer in range(LAYERS)
        ],
    }
    found["modules.json"] = [
        {
            "layer": layer,
            "id": m,
            "n": len(members),
            "features": members,
            "top_anns": [{"t": "Toy process (GO:0000001)", "c": 2}],
        }
        for layer in range(LAYERS)
        for m, members in enumerate(([0, 2, 4, 6], [1, 3, 5]))
    ]
    found["cross_layer_graph.json"] = {
        "L00_L02": {
            "summary": {},
            "deps": [
                {"a": 1, "deps": [{"b": 2, "pmi": 4.0, "lb": ""}, {"b": 3, "pmi": 6.0, "lb": ""}]}
            ],
        }
    }
    found["causal_patching.json"] = {
        "summary": {},
        "layer": 1,
        "features": [{"i": 2, "nc": 3, "td": -1.0, "od": -0.5, "sr": 2.0, "tg": []}],
    }
    found["perturbation_response.json"] = {
        "summary": {},
        "targets": [
            {
                "gene": "GENE1",
                "tf": True,
                "nk": 3,
                "nr": 1,
                "ns": 0,
                "top": [{"i": 0, "es": 8.0, "lb": ""}, {"i": 5, "es": 0.7, "lb": ""}],
            }
        ],
    }
    found["novel_clusters.json"] = {
        "0": {
            "summary": {},
            "clusters": [
                {
                    "cluster_id": 0,
                    "features": [2, 3, 4],
                    "mean_jaccard": 0.2,
                    "mean_activation_freq": 0.01,
                    "consensus_genes": ["GENE3"],
                }
            ],
        }
    }
    found["term_library.json"] = {
        "backgrounds": {},
        "terms": {
            "GO_BP|Toy process (GO:0000001)": {
                "size_in_pipeline": 9,
                "genes_seen": ["C1ORF1", "GENE1", "GENE2"],
            },
            "KEGG|Toy pathway": {"size_in_pipeline": 5, "genes_seen": ["GENE11", "NOBODY"]},
        },
    }
    return found


def write(folder: Path, contents: dict[str, Any] | None = None, *, zipped: bool = False) -> Path:
    """Write the files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (contents or files()).items():
        raw = json.dumps(value).encode()
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
        else:
            (folder / name).write_bytes(raw)
    return folder
