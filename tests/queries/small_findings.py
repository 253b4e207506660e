"""Records of the small study: annotation, interventions, and its runs, models and cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.queries.small_names import (
    ABLATE,
    ANALYSE,
    ANALYSE_OLD,
    ANNOTATE,
    ATLAS,
    ATTRIBUTE,
    BROKEN,
    CELLS,
    COMPARE,
    EARLIER,
    IMPORTED,
    MATCH,
    MODEL,
    NEW,
    OLD,
    PREDICT,
    REATTRIBUTE,
    SET,
    SIZES,
    STEER,
    TERMS,
    address,
)


def annotation(rng: np.random.Generator, sizes: dict[int, int]) -> dict[str, pd.DataFrame]:
    genes = pd.DataFrame(
        [
            {"id": f"ENSG{i:011d}", "name": f"G{i}", "symbol": f"G{i}", "is_tf": i < 8}
            for i in range(40)
        ]
    )
    terms = pd.DataFrame(
        [
            {
                "id": f"GO:{k}",
                "name": name,
                "library": "GO",
                "accession": f"GO:{k:07d}",
                "size": 10,
                "size_in_background": 8,
            }
            for k, name in enumerate(TERMS)
        ]
    )
    loads, enriched = [], []
    for layer, many in sizes.items():
        for index in range(many):
            chosen = rng.permutation(40)[:12]
            for rank, gene in enumerate(chosen, 1):
                loads.append(
                    (
                        address(layer, index),
                        f"ENSG{gene:011d}",
                        rank,
                        float(13 - rank + rng.random()),
                        int(rng.integers(3, 90)),
                    )
                )
            for term in rng.permutation(6)[: rng.integers(0, 4)]:
                enriched.append(
                    (
                        address(layer, index),
                        f"GO:{term}",
                        float(rng.uniform(0, 0.01)),
                        float(rng.uniform(0, 0.1)),
                        float(rng.uniform(2, 9)),
                        ["G1", "G2"],
                    )
                )
    regulates = {
        (int(a), int(b)): str(rng.choice(["Activation", "Repression", "Unknown"]))
        for a, b in zip(rng.integers(0, 8, 30), rng.integers(0, 40, 30), strict=True)
    }
    return {
        "Gene": genes,
        "Term": terms,
        "GeneSetLibrary": pd.DataFrame(
            [
                {
                    "id": "GO",
                    "name": "GO",
                    "file": "go.gmt",
                    "sha256": "ab" * 32,
                    "release": "2021",
                    "licence": "CC BY 4.0",
                    "terms": 6,
                    "genes_mapped": 40,
                    "genes_lost": 0,
                }
            ]
        ),
        "Feature-LOADS_ON-Gene": (
            pd.DataFrame(
                loads, columns=["source", "target", "rank", "mean_activation", "fire_count"]
            ).assign(run=ANNOTATE)
        ),
        "Feature-ENRICHED_FOR-Term": (
            pd.DataFrame(
                enriched, columns=["source", "target", "p", "q", "odds_ratio", "genes"]
            ).assign(run=ANNOTATE, overlap=2, library="GO", test="hypergeometric", origin="own")
        ),
        "Gene-MEMBER_OF-Term": pd.DataFrame(
            [(f"ENSG{g:011d}", f"GO:{t}") for t in range(6) for g in range(t, 40, 6)],
            columns=["source", "target"],
        ),
        "Gene-REGULATES-Gene": pd.DataFrame(
            [
                {
                    "source": f"ENSG{a:011d}",
                    "target": f"ENSG{b:011d}",
                    "mode": mode,
                    "pmids": ["1"],
                    "library": "TRRUST",
                }
                for (a, b), mode in regulates.items()
            ]
        ),
        "Term-MEMBER_OF-GeneSetLibrary": pd.DataFrame(
            [(f"GO:{t}", "GO") for t in range(6)], columns=["source", "target"]
        ),
        "Run-USED-GeneSetLibrary": pd.DataFrame([(ANNOTATE, "GO")], columns=["source", "target"]),
    }


def predictions() -> dict[str, pd.DataFrame]:
    """Pairs of genes that a predict run stores, some of them seen in a screen."""
    rng = np.random.default_rng(31)
    pairs = [(a, b) for a in range(6) for b in rng.permutation(40)[:8].tolist() if a != b]
    rows = [
        {
            "source": f"ENSG{a:011d}",
            "target": f"ENSG{b:011d}",
            "run": PREDICT,
            "score": float(rng.normal()),
            "edges": int(rng.integers(2, 40)),
            "z": float(rng.normal(0, 6)),
            "q": float(rng.uniform(0, 0.08)),
            "known": "Activation" if rng.random() < 0.2 else None,
            "strongest_source": address(1, a),
            "strongest_target": address(2, b % 14),
            "observed": float(rng.normal()) if a < 3 else None,
            "observed_q": float(rng.uniform(0, 0.2)) if a < 3 else None,
        }
        for a, b in pairs
    ]
    return {"Gene-PREDICTS-Gene": pd.DataFrame(rows)}


def findings() -> dict[str, pd.DataFrame]:
    """What the runs found in words; one of them states a p."""
    rows = [
        {
            "id": f"{run}/{name}",
            "name": name,
            "verb": run.split("-")[0],
            "position": i,
            "title": f"About {name}",
            "sentence": f"{name}: 3 of 4, by chance 1",
            "null_text": "100 draws",
            "numbers": '{"n":4}',
            "p": p,
            "run": run,
        }
        for run, names in ((ANALYSE, ("motifs", "coherence")), (PREDICT, ("disease",)))
        for i, (name, p) in enumerate(zip(names, (None, 0.01), strict=False))
    ]
    frame = pd.DataFrame(rows)
    return {
        "Finding": frame,
        "Finding-FROM-Run": pd.DataFrame({"source": frame.id, "target": frame.run}),
    }


def runs() -> dict[str, pd.DataFrame]:
    def row(key: str, status: str, started: str, **more) -> dict:
        verb = key.split("-")[0]
        return {
            "id": key,
            "name": f"{verb} {key[-4:]}",
            "verb": verb,
            "status": status,
            "started": started,
            "seconds": 1.5,
            "version": "0.1.0",
            "config": "{}",
            "inputs": "{}",
            "seed": 0,
            "device": "cpu",
            "numerics": "float32",
            "method": "exact",
            **more,
        }

    runs = [
        row(
            OLD,
            "complete",
            "2026-01-01T00:00:00+00:00",
            live_tests=900,
            zero_edit_max=1e-7,
            edges=300,
            edges_computed=40,
            edges_calibrated=100,
            edges_legacy=120,
        ),
        row(NEW, "complete", "2026-01-02T00:00:00+00:00", live_tests=500, zero_edit_max=2e-7),
        row(BROKEN, "interrupted", "2026-01-03T00:00:00+00:00"),
        row(
            ANNOTATE,
            "complete",
            "2026-01-04T00:00:00+00:00",
            annotation_rate=0.5,
            null_annotation_rate=0.04,
            findings='{"cell_types":{}}',
        ),
        row(
            EARLIER,
            "complete",
            "2026-01-03T18:00:00+00:00",
            annotation_rate=0.9,
            null_annotation_rate=0.8,
            findings='{"cell_types":{}}',
        ),
        row(ANALYSE, "complete", "2026-01-05T00:00:00+00:00"),
        row(ANALYSE_OLD, "complete", "2026-01-05T06:00:00+00:00"),
        row(ABLATE, "complete", "2026-01-06T00:00:00+00:00"),
        row(PREDICT, "complete", "2026-01-06T03:00:00+00:00"),
        row(COMPARE, "complete", "2026-01-06T04:00:00+00:00"),
        row(ATTRIBUTE, "complete", "2026-01-06T05:00:00+00:00"),
        row(REATTRIBUTE, "complete", "2026-01-06T06:00:00+00:00"),
        row(
            ATLAS,
            "complete",
            "2026-01-03T12:00:00+00:00",
            method="imported",
            format="atlas",
            origin="a web page",
            lacks=["p", "edges"],
            cap=0,
        ),
        row(
            IMPORTED,
            "complete",
            "2026-01-03T13:00:00+00:00",
            method="imported",
            format="map",
            lacks=["n", "counts", "p", "all_edges"],
            cap=50,
            rule="|d| > 0.5",
            edges=20,
        ),
        row(MATCH, "complete", "2026-01-08T00:00:00+00:00", method=None),
        row(STEER, "complete", "2026-01-07T00:00:00+00:00"),
    ]
    dictionaries = [
        {
            "id": f"{MODEL}/{SET}/L{layer:02d}",
            "name": f"{SET} L{layer:02d}",
            "model": MODEL,
            "set": SET,
            "layer": layer,
            "features": SIZES[layer],
            "k": 4,
            "rule": "topk",
            "decoder_norm": "columns",
            "sha256": f"{layer:02d}" * 32,
        }
        for layer in (1, 2, 3)
    ]
    controls = [
        {
            "id": f"{run}/{control}/{s}-{t}",
            "name": f"{control} L{s:02d} to L{t:02d}",
            "control": control,
            "source_layer": s,
            "target_layer": t,
            "sources": 5,
            "edges": 40 + t,
            "control_edges": k,
            "edges_legacy": 60,
            "control_edges_legacy": 2 * k,
            "max_abs_effect": 0.1 * k,
            "relative_size": 0.2 * k,
            "larger_share": 1 - 0.1 * k,
            "agreement": 0.8 if control == "split_half" else None,
            "found": 30 if control == "split_half" else None,
            "run": run,
        }
        | (
            {
                "carried": 7,
                "generic": 90,
                "draws": 64,
                "expected_false": 0.5 * t,
                "sigma_ratio": 1.01,
                "sigma_ratio_low": 0.9,
                "sigma_ratio_high": 1.1,
            }
            if control == "direction_null"
            else {}
        )
        for run, s, t in ((OLD, 1, 2), (OLD, 1, 3), (NEW, 2, 3))
        for k, control in enumerate(
            ("zero_edit", "random_direction", "feature_swap", "split_half", "direction_null")
        )
    ]
    used = [
        (run, d["id"])
        for run, layers in ((OLD, (1, 2, 3)), (NEW, (2, 3)))
        for d in dictionaries
        if d["layer"] in layers
    ]
    pair = ["source", "target"]
    return {
        "Run": pd.DataFrame(runs),
        "Dictionary": pd.DataFrame(dictionaries),
        "Control": pd.DataFrame(controls),
        "Model": pd.DataFrame(
            [
                {
                    "id": MODEL,
                    "name": MODEL,
                    "family": "geneformer",
                    "layers": 4,
                    "width": 8,
                    "positions": 64,
                    "vocabulary": 100,
                    "sha256": "cd" * 32,
                }
            ]
        ),
        "Cohort": pd.DataFrame(
            [
                {
                    "id": "cohort1",
                    "name": "20 cells of toy.h5ad",
                    "file": "toy.h5ad",
                    "sha256": "ef" * 32,
                    "cells": CELLS,
                    "filters": "organ=blood",
                    "composition": "{}",
                    "scale": "raw counts",
                    "mapped_share": 0.95,
                    "tokens_median": 60.0,
                    "species": "human",
                }
            ]
        ),
        "Module": pd.DataFrame(
            [
                {
                    "id": "module1",
                    "name": "module 1",
                    "layer": 2,
                    "size": 2,
                    "method": "leiden",
                    "run": ANALYSE,
                    "layers": [2],
                    "edges_inside": 3,
                    "edges_touching": 12,
                }
            ]
        ),
        "CellType": pd.DataFrame([{"id": "T cell", "name": "T cell", "cells": 12}]),
        "Tissue": pd.DataFrame([{"id": "blood", "name": "blood", "cells": 20}]),
        "Perturbation": pd.DataFrame([{"id": "KO G1", "name": "KO G1", "gene": "ENSG00000000001"}]),
        "Control-FROM-Run": pd.DataFrame([(c["id"], c["run"]) for c in controls], columns=pair),
        "Run-USED-Dictionary": pd.DataFrame(used, columns=pair),
        "Run-USED-Model": pd.DataFrame([(OLD, MODEL), (NEW, MODEL)], columns=pair),
        "Run-USED-Cohort": pd.DataFrame([(OLD, "cohort1"), (NEW, "cohort1")], columns=pair),
        "Run-FROM-Run": pd.DataFrame(
            [
                (ANNOTATE, OLD),
                (ANNOTATE, NEW),
                (ANNOTATE, ATLAS),
                (EARLIER, OLD),
                (EARLIER, ATLAS),
                (ANALYSE, NEW),
                (ANALYSE_OLD, OLD),
                (ABLATE, NEW),
                (ATTRIBUTE, OLD),
                (REATTRIBUTE, NEW),
                (STEER, NEW),
            ],
            columns=pair,
        ),
        "Dictionary-OF-Model": pd.DataFrame([(d["id"], MODEL) for d in dictionaries], columns=pair),
        "Feature-MEMBER_OF-Module": pd.DataFrame(
            [(address(2, 0), "module1", ANALYSE), (address(2, 1), "module1", ANALYSE)],
            columns=[*pair, "run"],
        ),
        "Feature-ACTIVE_IN-CellType": pd.DataFrame(
            [(address(2, 0), "T cell", 0.001, 0.01, 4.0, ANNOTATE)],
            columns=[*pair, "p", "q", "odds_ratio", "run"],
        ),
    }
