"""The imported atlas of another model, imported edges and a matching of features."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.queries.small_names import (
    ANNOTATE,
    ATLAS,
    CELL_TYPES,
    IMPORTED,
    MATCH,
    OTHER,
    OTHER_LAYERS,
    OTHER_SET,
    OTHER_SIZE,
    TERMS,
    address,
    other,
)


def imported(rng: np.random.Generator, sizes: dict[int, int]) -> dict[str, pd.DataFrame]:
    """What an imported atlas of another model, imported edges and a matching leave; no published
    record has a p or a calibrated q.
    """
    keys = [other(layer, index) for layer in OTHER_LAYERS for index in range(OTHER_SIZE)]
    own = [address(layer, index) for layer in sizes for index in range(sizes[layer])]
    features = pd.DataFrame(
        [
            {
                "id": k,
                "name": f"L{layer:02d}/F{i:04d}",
                "model": OTHER,
                "dictionary": f"{OTHER}/{OTHER_SET}/L{layer:02d}",
                "layer": layer,
                "index": i,
                "alive": i != OTHER_SIZE - 1,
                "rare": i == 3,
                "fire_count": 40 if i == 3 else 4000 + i,
                "published_label": TERMS[i % 6] if i % 3 else "",
                "published_library": "GO-atlas" if i % 3 else "",
                "published_terms": int(rng.integers(1, 9)) if i % 3 else 0,
                "annotated": i < 4,
                "label_null": 0.02 * i if i < 8 else None,
                "annotation_run": ANNOTATE,
            }
            for k, layer, i in zip(
                keys,
                np.repeat(OTHER_LAYERS, OTHER_SIZE).tolist(),
                list(range(OTHER_SIZE)) * len(OTHER_LAYERS),
                strict=True,
            )
        ]
    )
    terms = pd.DataFrame(
        [
            {
                "id": f"GO-atlas:{k}",
                "name": name,
                "library": "GO-atlas",
                "accession": f"GO:{k:07d}",
                "size": 6,
            }
            for k, name in enumerate(TERMS)
        ]
        + [
            {
                "id": "GO:9",
                "name": "lymphocyte activation",
                "library": "GO",
                "accession": "GO:0000009",
                "size": 30,
            }
        ]
        + [
            {
                "id": f"{library}:Ribosome",
                "name": "Ribosome",
                "library": library,
                "accession": "Ribosome",
                "size": 9,
            }
            for library in ("KEGG-atlas", "KEGG_2021_Human")
        ]
        + [
            {
                "id": f"TRRUST:{g}",
                "name": f"{g} targets",
                "library": "TRRUST",
                "accession": g,
                "size": 9,
            }
            for g in ("G1", "G2")
        ]
    )
    published = [
        (
            key,
            f"GO-atlas:{t}",
            float(rng.uniform(0, 0.05)),
            float(rng.uniform(2, 99)),
            2,
            ["G1", "G2"],
        )
        for key in [*keys, *own[:20]]
        for t in rng.permutation(6)[: rng.integers(0, 4)]
    ]
    published += [
        (other(5, i), "KEGG-atlas:Ribosome", 0.01 * i, 5.0, 2, ["G1", "G2"]) for i in range(3)
    ]
    again = [
        (
            key,
            f"GO:{t}",
            float(rng.uniform(0, 0.01)),
            float(rng.uniform(0, 0.1)),
            float(rng.uniform(0, 0.08)),
            float(rng.uniform(2, 9)),
            2,
            ["G1"],
        )
        for key in keys[:12]
        for t in rng.permutation(6)[:2]
    ]
    again += [
        (other(5, i), "KEGG_2021_Human:Ribosome", 1e-5, 1e-4, 0.005 + 0.01 * i, 9.0, 3, ["G1"])
        for i in range(1, 4)
    ]
    regulated = [
        (
            key,
            f"TRRUST:{g}",
            float(rng.uniform(0, 0.01)),
            float(rng.uniform(0, 0.1)),
            float(rng.uniform(0, 0.08)),
            3.0,
            2,
            ["G9"],
        )
        for key in own[:8]
        for g in ("G1", "G2")
        if rng.random() < 0.6
    ]
    loads = [
        (key, f"ENSG{g:011d}", rank, float(12 - rank))
        for key in keys
        for rank, g in enumerate(rng.permutation(40)[:5], 1)
    ]
    pairs = [(a, b) for a in keys for b in keys if a[-9:-6] < b[-9:-6] and rng.random() < 0.25]
    across = [(a, b) for a in own for b in keys if rng.random() < 0.06] + [
        (a, b) for a, b in pairs if rng.random() < 0.3
    ]
    active = [
        (
            key,
            kind,
            float(rng.uniform(0, 0.08)),
            None if rng.random() < 0.2 else float(rng.uniform(1.5, 50)),
        )
        for key in keys
        for kind in rng.permutation(CELL_TYPES)[:2]
    ]
    responds = [
        (key, f"knockdown {g}", float(rng.normal(0, 2)), int(rng.choice([0, 12, 900])))
        for key in keys[:8]
        for g in ("G1", "G2")
        if rng.random() < 0.8
    ]
    edges = [
        (other(5, i), other(6, j), float(rng.normal()), float(rng.uniform(0.7, 1)))
        for i in range(4)
        for j in range(OTHER_SIZE)
        if rng.random() < 0.4
    ]
    members = [
        (key, f"{OTHER}/{OTHER_SET}/L{features.layer[k]:02d}/M{k % 2:02d}")
        for k, key in enumerate(keys)
    ]
    modules = sorted({m for _, m in members})
    pair = ["source", "target"]
    infinite = [a[3] is None for a in active]
    return {
        "Feature": features,
        "Term": terms,
        "Dictionary": pd.DataFrame(
            [
                {
                    "id": f"{OTHER}/{OTHER_SET}/L{la:02d}",
                    "name": f"{OTHER_SET} L{la:02d}",
                    "model": OTHER,
                    "set": OTHER_SET,
                    "layer": la,
                    "features": OTHER_SIZE,
                }
                for la in OTHER_LAYERS
            ]
        ),
        "Model": pd.DataFrame([{"id": OTHER, "name": OTHER, "layers": 9}]),
        "Module": pd.DataFrame(
            [
                {
                    "id": m,
                    "name": m[-7:],
                    "layer": int(m[-6:-4]),
                    "size": 5,
                    "method": "coactivation",
                    "index": int(m[-2:]),
                    "top_terms": [TERMS[k % 6]],
                    "run": ATLAS,
                }
                for k, m in enumerate(modules)
            ]
        ),
        "CellType": pd.DataFrame([{"id": c, "name": c, "cells": 40} for c in CELL_TYPES[1:]]),
        "Tissue": pd.DataFrame([{"id": "lung", "name": "lung", "cells": 100}]),
        "Perturbation": pd.DataFrame(
            [
                {
                    "id": f"knockdown {g}",
                    "name": f"knockdown {g}",
                    "gene": f"ENSG{k:011d}",
                    "symbol": g,
                    "is_tf": True,
                }
                for k, g in ((1, "G1"), (2, "G2"))
            ]
        ),
        "Feature-ENRICHED_FOR-Term": pd.concat(
            [
                pd.DataFrame(
                    published, columns=[*pair, "q", "odds_ratio", "overlap", "genes"]
                ).assign(run=ATLAS, library="GO-atlas", test="fisher_ov2_bh", origin="published"),
                pd.DataFrame(
                    again,
                    columns=[*pair, "p", "q", "q_calibrated", "odds_ratio", "overlap", "genes"],
                ).assign(run=ANNOTATE, library="GO", test="hypergeometric", origin="own"),
                pd.DataFrame(
                    regulated,
                    columns=[*pair, "p", "q", "q_calibrated", "odds_ratio", "overlap", "genes"],
                ).assign(run=ANNOTATE, library="TRRUST", test="hypergeometric", origin="own"),
            ],
            ignore_index=True,
        ),
        "Feature-LOADS_ON-Gene": (
            pd.DataFrame(loads, columns=[*pair, "rank", "mean_activation"]).assign(run=ATLAS)
        ),
        "Feature-CO_OCCURS-Feature": (
            pd.DataFrame(pairs, columns=pair).assign(
                run=ATLAS, pmi=rng.uniform(3, 11, len(pairs)), method="pmi", rank=1
            )
        ),
        "Feature-SAME_GENES-Feature": (
            pd.DataFrame(across, columns=pair).assign(
                run=MATCH,
                overlap=rng.uniform(0.05, 0.9, len(across)),
                shared=rng.integers(1, 9, len(across)),
                p=0.001,
                q=rng.uniform(0, 0.02, len(across)),
            )
        ),
        "Feature-OF-Dictionary": pd.DataFrame(
            [(r.id, r.dictionary) for r in features.itertuples()], columns=pair
        ),
        "Dictionary-NEXT-Dictionary": pd.DataFrame(
            [
                (f"{OTHER}/{OTHER_SET}/L{la:02d}", f"{OTHER}/{OTHER_SET}/L{la + 1:02d}")
                for la in OTHER_LAYERS[:-1]
            ],
            columns=pair,
        ),
        "Dictionary-OF-Model": pd.DataFrame(
            [(f"{OTHER}/{OTHER_SET}/L{la:02d}", OTHER) for la in OTHER_LAYERS], columns=pair
        ),
        "Term-IS_A-Term": pd.DataFrame(
            [("GO:0", "GO:9"), ("GO:5", "GO:9"), ("GO:1", "GO:0")], columns=pair
        ),
        "Feature-MEMBER_OF-Module": pd.DataFrame(members, columns=pair).assign(run=ATLAS),
        "Feature-ACTIVE_IN-CellType": (
            pd.DataFrame([a[:4] for a in active], columns=[*pair, "q", "odds_ratio"]).assign(
                odds_infinite=infinite, cells=9, run=ATLAS, test="fisher", origin="published"
            )
        ),
        "Feature-ACTIVE_IN-Tissue": (
            pd.DataFrame(
                [(k, "lung", 0.01, 3.0) for k in keys[::2]] + [(address(2, 0), "lung", 0.02, None)],
                columns=[*pair, "q", "odds_ratio"],
            ).assign(
                difference=[None] * len(keys[::2]) + [0.4],
                donors=[0] * len(keys[::2]) + [5],
                run=[ATLAS] * len(keys[::2]) + [ANNOTATE],
                origin=["published"] * len(keys[::2]) + ["own"],
            )
        ),
        "Feature-RESPONDS_TO-Perturbation": (
            pd.DataFrame(responds, columns=[*pair, "effect", "control_firings"]).assign(
                degenerate=[r[3] < 200 for r in responds], cells=40, low=-1.0, high=1.0, run=ATLAS
            )
        ),
        "Feature-AFFECTS-Feature": (
            pd.DataFrame(edges, columns=[*pair, "d", "consistency"]).assign(run=IMPORTED)
        ),
        "Feature-ATTRIBUTES_TO-Feature": (
            pd.DataFrame(
                [(other(6, i), other(7, i), 0.5 + i) for i in range(3)], columns=[*pair, "weight"]
            ).assign(run=IMPORTED, count=3)
        ),
        "GeneSetLibrary": pd.DataFrame(
            [
                {"id": name, "name": name, "file": f"{name}.gmt"}
                for name in ("TRRUST", "KEGG_2021_Human")
            ]
        ),
        "Run-USED-GeneSetLibrary": pd.DataFrame(
            [(ANNOTATE, "TRRUST"), (ANNOTATE, "KEGG_2021_Human")], columns=pair
        ),
        "Run-USED-Dictionary": pd.DataFrame(
            [(ATLAS, f"{OTHER}/{OTHER_SET}/L{la:02d}") for la in OTHER_LAYERS], columns=pair
        ),
        "Run-USED-Model": pd.DataFrame([(ATLAS, OTHER)], columns=pair),
        "Run-FROM-Run": pd.DataFrame([(MATCH, ATLAS), (MATCH, ANNOTATE)], columns=pair),
    }
