"""A small study for the queries: every kind of record, drawn at random with a seed, as the tables
that runs would write.

Two complete trace runs (layer 1 to layers 2 and 3; layer 2 to layer 3, the newer one), an
interrupted one newer still, and the runs of annotate, analyse, ablate and steer; beside them an
imported atlas of another model with published annotations, what an imported map and an attribution
graph leave (edges without counts), and a matching of features. The expected answers are computed
from these tables by pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scircuit.core import schema as records
from scircuit.core.address import Address
from scircuit.core.study import Manifest
from scircuit.ingest.graph.connection import Connection
from scircuit.ingest.graph.stream import load_run
from scircuit.ingest.shards.shard_store import ShardStore

MODEL, SET = "toy-model", "toy-set"
OLD, NEW, BROKEN = "trace-0000000001", "trace-0000000002", "trace-0000000003"
ANNOTATE, ANALYSE, ABLATE, STEER = (
    "annotate-0000000001",
    "analyse-0000000001",
    "ablate-0000000001",
    "steer-0000000001",
)
EARLIER = "annotate-0000000009"  # an annotation that ANNOTATE has replaced
ATLAS, IMPORTED, MATCH = "import-0000000001", "import-0000000002", "match-0000000001"
OTHER, OTHER_SET, OTHER_LAYERS, OTHER_SIZE = "other-model", "other-set", (5, 6, 7), 10
CELL_TYPES = ("T cell", "B cell", "erythroid cell", "club epithelial cell")
SIZES = {1: 14, 2: 14, 3: 14}
CELLS = 20
SILENT = "toy-model/toy-set/L03/F0005"  # fires in no clean cell
TERMS = (
    "T cell activation",
    "regulation of T cell activation",
    "translation",
    "DNA repair",
    "mitotic spindle",
    "B cell activation",
)


def address(layer: int, index: int) -> str:
    return str(Address(MODEL, SET, layer, index))


def other(layer: int, index: int) -> str:
    """Address of a feature of the imported atlas."""
    return str(Address(OTHER, OTHER_SET, layer, index))


def _edges(
    rng: np.random.Generator,
    sizes: dict[int, int],
    run: str,
    source_layer: int,
    target_layers: tuple[int, ...],
    density: float,
) -> pd.DataFrame:
    many = sizes[source_layer]
    pairs = [
        (address(source_layer, i), address(t, j))
        for i in range(many)
        for t in target_layers
        for j in range(sizes[t])
        if rng.random() < density * (1 - i / (2 * many))
    ]
    n = len(pairs)
    zero = rng.integers(0, 17, n)
    share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], n, p=[0.3, 0.15, 0.1, 0.15, 0.3])
    n_pos = np.round((CELLS - zero) * share).astype(int)
    mean = np.where(share > 0.5, 1.0, -1.0) * rng.uniform(0.01, 1.5, n)
    sd = rng.uniform(0.1, 1.5, n)
    frame = pd.DataFrame(pairs, columns=["source", "target"])
    return frame.assign(
        run=run,
        n=CELLS,
        n_pos=n_pos,
        n_neg=CELLS - zero - n_pos,
        mean=mean,
        sd=sd,
        d=mean / sd,
        p=rng.uniform(0, 0.1, n),
        q=rng.uniform(0, 0.1, n),
        passthrough=rng.normal(0, 0.1, n),
        positions=rng.integers(20, 400, n),
        halves=np.where(
            zero <= 8, rng.integers(0, 3, n), np.nan
        ),  # empty where a half has too few cells
    )


def _control_edges(rng: np.random.Generator, edges: pd.DataFrame) -> pd.DataFrame:
    """What the controls do in the place of four sources of each complete run."""
    columns = ["source", "target", "run", "n", "n_pos", "n_neg", "mean", "sd", "d", "p", "q"]
    parts = []
    for run, layer in ((OLD, 1), (NEW, 2)):
        beside = edges[
            (edges.run == run) & edges.source.isin([address(layer, i) for i in range(4)])
        ][columns]
        for control, share in (
            ("random_direction", 0.7),
            ("feature_swap", 0.5),
            ("passthrough", 0.4),
            ("half_even", 0.9),
        ):
            part = beside[rng.random(len(beside)) < share]
            n = len(part)
            mean = part["mean"] * rng.uniform(-0.5, 1.5, n)
            parts.append(
                part.assign(
                    control=control,
                    mean=mean,
                    d=mean / part.sd,
                    p=rng.uniform(0, 0.2, n),
                    q=rng.uniform(0, 0.2, n),
                )
            )
    return pd.concat(parts, ignore_index=True)


def _features(rng: np.random.Generator, sizes: dict[int, int], edges: pd.DataFrame) -> pd.DataFrame:
    rows = []
    good = edges[(edges.q <= 0.05) & (edges.n_pos + edges.n_neg >= 6)]
    out, into = good.groupby("source").size(), good.groupby("target").size()
    for layer, many in sizes.items():
        for index in range(many):
            key = address(layer, index)
            rate = float(rng.uniform(0.001, 0.2))
            expected = 20 * rate
            named = rng.random() < 0.6
            rows.append(
                {
                    "id": key,
                    "name": (
                        f"L{layer:02d}/F{index:04d}" + (f" {TERMS[index % 6]}" if named else "")
                    ),
                    "model": MODEL,
                    "dictionary": f"{MODEL}/{SET}/L{layer:02d}",
                    "layer": layer,
                    "index": index,
                    "firing_rate": rate,
                    "cells_active": int(rng.integers(5, 21)),
                    "mean_activation": float(rng.uniform(0.5, 3)) if key != SILENT else None,
                    "traced": layer < 3,
                    "alive": index != many - 1 or layer < 3,
                    "top_genes": [f"G{(index * 3 + k) % 40}" for k in range(4)],
                    "label": TERMS[index % 6] if named else "",
                    "label_library": "GO" if named else "",
                    "label_q": float(rng.uniform(0, 0.05)) if named else None,
                    "label_null": 0.01 if named else 0.4 if index % 4 else None,
                    "annotated": bool(named),
                    "terms": int(named),
                    "annotation_run": ANNOTATE,
                    "tf_library": "TRRUST",
                    "annotatable_genes": int(rng.integers(0, 20)),
                    "best_tf": f"G{index}",
                    "best_tf_q": float(rng.uniform(0, 1)),
                    "tf_share": (index % 5) / 5,
                    "tf_share_q": 0.2,
                    "out_degree": int(out.get(key, 0)),
                    "in_degree": int(into.get(key, 0)),
                    "expected_degree": expected,
                    "residual_degree": (
                        float(np.log((out.get(key, 0) + 1) / (expected + 1))) if layer < 3 else None
                    ),
                    "support_share": 0.5,
                    "out_degree_legacy": None if layer < 3 else 1,
                    "random_degree": int(rng.integers(0, 3)),
                    "swap_degree": int(rng.integers(0, 3)),
                    "steering_slope": None,
                    "steering_control": None,
                }
            )
    frame = pd.DataFrame(rows)
    for layer in (1, 2):
        own = frame.layer == layer
        frame.loc[own, "hub_rank"] = frame[own].residual_degree.rank(
            ascending=False, method="first"
        )
        frame.loc[own, "degree_rank"] = frame[own].out_degree.rank(ascending=False, method="first")
    return frame


def _annotation(rng: np.random.Generator, sizes: dict[int, int]) -> dict[str, pd.DataFrame]:
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


def _interventions(rng: np.random.Generator, sizes: dict[int, int]) -> dict[str, pd.DataFrame]:
    nodes, parts, moved, genes = [], [], [], []
    for k, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)]):
        key = f"{ABLATE}/{k}"
        nodes.append(
            {
                "id": key,
                "name": f"ablate {a}+{b}",
                "verb": "ablate",
                "order": 2,
                "coefficient": 0.0,
                "target_layer": 3,
                "cells": CELLS,
                "tested": 14,
                "significant": int(rng.integers(1, 9)),
                "ratio": float(rng.uniform(0.6, 1)),
                "ratio_null": 0.71,
                "run": ABLATE,
            }
        )
        parts += [(address(2, a), key, "A", 0.0, ABLATE), (address(2, b), key, "B", 0.0, ABLATE)]
        moved += [
            (
                key,
                address(3, j),
                float(rng.normal()),
                float(rng.normal()),
                -1.0,
                1.0,
                0.01,
                float(rng.uniform(0, 0.1)),
                ABLATE,
            )
            for j in range(sizes[3])
        ]
    for k, coefficient in enumerate([2.0, 5.0]):
        key = f"{STEER}/{k}"
        nodes.append(
            {
                "id": key,
                "name": f"steer x{coefficient:g}",
                "verb": "steer",
                "order": 1,
                "coefficient": coefficient,
                "target_layer": 3,
                "cells": CELLS,
                "effect": 0.2 * coefficient,
                "effect_low": 0.1,
                "effect_high": 2.0,
                "p": 0.001,
                "control": 0.01,
                "run": STEER,
            }
        )
        parts.append((address(2, 0), key, "steered", coefficient, STEER))
        genes += [
            (
                key,
                f"ENSG{g:011d}",
                coefficient - 1,
                float(rng.normal()),
                -1.0,
                1.0,
                0.01,
                float(rng.uniform(0, 0.1)),
                STEER,
            )
            for g in range(20)
        ]
    return {
        "Intervention": pd.DataFrame(nodes),
        "Feature-PART_OF-Intervention": pd.DataFrame(
            parts, columns=["source", "target", "role", "coefficient", "run"]
        ),
        "Intervention-SHIFTED-Feature": pd.DataFrame(
            moved,
            columns=["source", "target", "effect", "interaction", "low", "high", "p", "q", "run"],
        ),
        "Intervention-SHIFTED-Gene": pd.DataFrame(
            genes, columns=["source", "target", "dose", "effect", "low", "high", "p", "q", "run"]
        ),
        "Intervention-FROM-Run": pd.DataFrame(
            [(n["id"], n["run"]) for n in nodes], columns=["source", "target"]
        ),
    }


def _runs() -> dict[str, pd.DataFrame]:
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
        row(ABLATE, "complete", "2026-01-06T00:00:00+00:00"),
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
        for run, s, t in ((OLD, 1, 2), (OLD, 1, 3), (NEW, 2, 3))
        for k, control in enumerate(("zero_edit", "random_direction", "feature_swap", "split_half"))
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
                (ABLATE, NEW),
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


def _imported(rng: np.random.Generator, sizes: dict[int, int]) -> dict[str, pd.DataFrame]:
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
            ).assign(run=IMPORTED, mean=0.1, share=0.5, count=3)
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


def frames(seed: int = 0, sizes: dict[int, int] | None = None) -> dict[str, pd.DataFrame]:
    """All records of the study, one frame for each kind; node frames first."""
    rng = np.random.default_rng(seed)
    sizes = sizes or SIZES
    edges = pd.concat(
        [
            _edges(rng, sizes, OLD, 1, (2, 3), 0.75),
            _edges(rng, sizes, NEW, 2, (3,), 0.9),
            _edges(rng, sizes, BROKEN, 1, (2,), 0.05),
        ],
        ignore_index=True,
    )
    features = _features(rng, sizes, edges)
    interventions = _interventions(rng, sizes)
    features.loc[features.id == address(2, 0), ["steering_slope", "steering_control"]] = [0.4, 0.02]
    found = {
        "Feature": features,
        **_runs(),
        **_annotation(rng, sizes),
        **interventions,
        "Feature-AFFECTS-Feature": edges,
    }
    found["Feature-CONTROL_AFFECTS-Feature"] = _control_edges(
        np.random.default_rng([seed, 1]), edges
    )
    calibrate = np.random.default_rng([seed, 3])
    enriched = found["Feature-ENRICHED_FOR-Term"]
    enriched["q_calibrated"] = np.where(
        calibrate.random(len(enriched)) < 0.9,
        enriched.q * calibrate.uniform(0.5, 2, len(enriched)),
        np.nan,
    )
    enriched.loc[enriched.q_calibrated.isna(), "test"] = "weighted"  # that test is not calibrated
    for kind, frame in _imported(np.random.default_rng([seed, 2]), sizes).items():
        found[kind] = (
            pd.concat(
                [found[kind].dropna(axis=1, how="all"), frame.dropna(axis=1, how="all")],
                ignore_index=True,
            )
            if kind in found
            else frame
        )
    return dict(sorted(found.items(), key=lambda item: item[0] in records.RELATIONSHIPS))


def tables(found: dict[str, pd.DataFrame]) -> dict[str, pa.Table]:
    """The frames as declared tables."""
    result = {}
    for kind, frame in found.items():
        schema = records.arrow_schema(kind, frame.columns)
        columns = [
            pa.array(
                [None if _missing(v) else v for v in frame[f.name].tolist()],
                type=f.type,
                from_pandas=True,
            )
            for f in schema
        ]
        result[kind] = records.conform(kind, pa.table(columns, schema=schema))
    return result


def earlier(found: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What the replaced annotation left beside `found`: other genes, terms and cell types for every
    feature, all of them better than those of today.

    No answer shows any of it unless it is asked for by the run. A second library of regulons has
    every regulation the other way round."""
    keys = found["Feature"].id.tolist()
    own = [k for k in keys if k.startswith(MODEL)]
    pair = ["source", "target"]
    swapped = {"Activation": "Repression", "Repression": "Activation"}
    return {
        "Feature-LOADS_ON-Gene": (
            pd.DataFrame(
                [
                    (k, f"ENSG{(7 * i + 3 * r) % 40:011d}", r, 99.0 - r, 999)
                    for i, k in enumerate(own)
                    for r in range(1, 13)
                ],
                columns=[*pair, "rank", "mean_activation", "fire_count"],
            ).assign(run=EARLIER)
        ),
        "Feature-ENRICHED_FOR-Term": (
            pd.DataFrame(
                [
                    (k, t)
                    for k in keys
                    for t in ("GO:0", "GO:1", "GO:5", "KEGG_2021_Human:Ribosome", "TRRUST:G1")
                ],
                columns=pair,
            ).assign(
                run=EARLIER,
                p=1e-9,
                q=1e-8,
                q_calibrated=1e-7,
                odds_ratio=99.0,
                overlap=12,
                test="hypergeometric",
                origin="own",
            )
        ),
        "Feature-ACTIVE_IN-CellType": (
            pd.DataFrame([(k, c) for k in keys for c in CELL_TYPES], columns=pair).assign(
                run=EARLIER, q=1e-6, difference=9.0, origin="own"
            )
        ),
        "Gene-REGULATES-Gene": (
            found["Gene-REGULATES-Gene"].assign(
                library="collectri", mode=lambda x: x["mode"].replace(swapped), pmids=None
            )
        ),
    }


def load(connection: Connection, folder: Path, found: dict[str, pd.DataFrame]) -> None:
    """Write the frames as run folders, each run its own records, and load them as any run is
    loaded.
    """
    whole = tables(found)
    for row in found["Run"].sort_values("started").itertuples():
        mine = {}
        for kind, table in whole.items():
            # Records without a run of their own came with the first trace.
            column = (
                "id"
                if kind == "Run"
                else (
                    "run"
                    if "run" in table.column_names
                    else (
                        "source"
                        if kind.startswith("Run-")
                        else "target"
                        if kind.endswith("-FROM-Run")
                        else ""
                    )
                )
            )
            if column:
                mine[kind] = table.filter(pc.equal(table.column(column), row.id))
            elif row.id == OLD:
                mine[kind] = table
        if row.id == EARLIER:
            mine |= tables(earlier(found))
        target = folder / str(row.id)
        store = ShardStore(
            target,
            Manifest(
                run=str(row.id),
                verb=str(row.verb),
                config={},
                inputs={},
                version="0.1.0",
                started=str(row.started),
            ),
        )
        store.add("all", mine)
        store.finish(str(row.status), seconds=1.5)
        load_run(connection, target)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)
