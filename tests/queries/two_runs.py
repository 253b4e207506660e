"""Two trace runs of one model on different cells, each with an annotation and an analysis of its
own, a trace run of another model and an import, as shards: what a feature is found to do differs
from run to run.

The annotations list features of layer 0 too, which no trace run used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from scircuit.core import schema
from scircuit.core.address import Address, dictionary_id
from scircuit.core.study import Manifest
from scircuit.ingest.shards.shard_store import ShardStore

A, B, OTHER = "trace-000000000a", "trace-000000000b", "trace-000000000c"
ATLAS = "import-000000000d"
PER_LAYER, CELLS = 12, 20
GENES = [f"G{i}" for i in range(24)]
TERMS = ["DNA repair", "translation", "mitosis"]
MODELS = {A: "toy", B: "toy", OTHER: "second", ATLAS: "toy"}
DAYS = {A: 1, B: 4, OTHER: 7, ATLAS: 9}


def child(verb: str, trace: str) -> str:
    """Id of the annotate or analyse run of a trace run."""
    return f"{verb}-{trace.split('-')[1]}"


def family(trace: str) -> list[str]:
    """A trace run and the runs computed from it, in their order."""
    return [trace, child("annotate", trace), child("analyse", trace)]


def address(model: str, layer: int, index: int) -> str:
    return str(Address(model, "k4", layer, index))


def tables(run: str) -> dict[str, pa.Table]:
    """Records of a run by kind."""
    verb, number = run.split("-")
    trace = f"trace-{number}"
    if verb == "import":
        return _imported()
    seed = int(number, 16)
    model = MODELS[trace]
    make = {"trace": _trace, "annotate": _annotate, "analyse": _analyse}[verb]
    columns = make(trace, model, np.random.default_rng([seed, len(verb)]))
    if verb != "trace":
        columns["Run-FROM-Run"] = {"source": [run], "target": [trace]}
    return {kind: schema.schema_table(kind, given) for kind, given in columns.items()}


def _trace(trace: str, model: str, rng: np.random.Generator) -> dict:
    at = [(layer, i) for layer in (1, 2) for i in range(PER_LAYER)]
    ids = [address(model, *one) for one in at]
    n = len(ids)
    # The scale of activations differs by run, so that an effect of one run is none in another.
    scale = 10.0 ** rng.integers(-1, 4, n)
    pairs = [
        (address(model, 1, i), address(model, 2, j))
        for i in range(PER_LAYER)
        for j in range(PER_LAYER)
        if rng.random() < 0.7
    ]
    m = len(pairs)
    d, computed = rng.normal(0, 3, m), rng.normal(0, 1, m)
    dictionaries = [dictionary_id(model, "k4", layer) for layer in (1, 2)]
    sampled = [k for k, (source, _) in enumerate(pairs) if source[-1] in "012"]
    edges = {
        "source": [s for s, _ in pairs],
        "target": [t for _, t in pairs],
        "run": [trace] * m,
        "n": [CELLS] * m,
        "n_pos": rng.integers(0, 11, m).tolist(),
        "n_neg": rng.integers(0, 10, m).tolist(),
        "mean": d.tolist(),
        "sd": [1.0] * m,
        "d": d.tolist(),
        "p": rng.uniform(0, 0.02, m).tolist(),
        "q": rng.uniform(0, 0.08, m).tolist(),
        "direct": rng.normal(0, 1, m).tolist(),
        "computed": computed.tolist(),
        "computed_cells": rng.integers(4, 20, m).tolist(),
        "z_direct": rng.normal(0, 3, m).tolist(),
        "z_computed": (4 * computed).tolist(),
        "q_computed": rng.uniform(0, 0.08, m).tolist(),
        "q_direct": rng.uniform(0, 0.1, m).tolist(),
        "halves": rng.integers(0, 3, m).tolist(),
    }
    control = {
        k: [edges[k][i] for i in sampled]
        for k in ("source", "target", "run", "n", "n_pos", "n_neg", "mean", "sd", "d", "p", "q")
    }
    return {
        "Run": {
            "id": [trace],
            "name": [trace],
            "verb": ["trace"],
            "zero_edit_max": [1e-3],
            "numeric_floor": [1e-6],
            "live_tests": [m],
            "method": ["exact"],
        },
        "Model": {"id": [model], "name": [model]},
        "Dictionary": {
            "id": dictionaries,
            "name": ["k4 L01", "k4 L02"],
            "model": [model] * 2,
            "set": ["k4"] * 2,
            "layer": [1, 2],
            "sha256": ["ab", "cd"],
        },
        "Feature": {
            "id": ids,
            "name": [Address(model, "k4", *one).short for one in at],
            "model": [model] * n,
            "dictionary": [dictionary_id(model, "k4", layer) for layer, _ in at],
            "layer": [layer for layer, _ in at],
            "index": [i for _, i in at],
            "firing_rate": rng.uniform(0, 0.2, n).tolist(),
            "cells_active": rng.integers(1, CELLS, n).tolist(),
            "mean_activation": [None if i % 5 == 4 else s for i, s in enumerate(scale.tolist())],
            "alive": (rng.random(n) < 0.7).tolist(),
            "traced": [layer == 1 and rng.random() < 0.9 for layer, _ in at],
            "random_degree": rng.integers(0, 4, n).astype(float).tolist(),
            "swap_degree": rng.integers(0, 4, n).astype(float).tolist(),
        },
        "Feature-OF-Dictionary": {
            "source": ids,
            "target": [dictionary_id(model, "k4", layer) for layer, _ in at],
        },
        "Dictionary-OF-Model": {"source": dictionaries, "target": [model] * 2},
        "Run-USED-Dictionary": {"source": [trace] * 2, "target": dictionaries},
        "Run-USED-Model": {"source": [trace], "target": [model]},
        "Feature-AFFECTS-Feature": edges,
        "Feature-CONTROL_AFFECTS-Feature": control
        | {"control": [("random_direction", "feature_swap")[k % 2] for k in range(len(sampled))]},
    }


def _annotate(trace: str, model: str, rng: np.random.Generator) -> dict:
    run = child("annotate", trace)
    at = [(layer, i) for layer in (0, 1, 2) for i in range(PER_LAYER)]
    ids = [address(model, *one) for one in at]
    labels = [TERMS[k] if (k := int(rng.integers(0, 5))) < 3 else "" for _ in ids]
    lists = [rng.permutation(len(GENES))[:6].tolist() for _ in ids]
    enriched = [(f, f"GO:{t}") for f in ids for t in range(3) if rng.random() < 0.6]
    m = len(enriched)
    loads = [(f, g, r) for f, genes in zip(ids, lists, strict=True) for r, g in enumerate(genes, 1)]
    targets = [(a, b) for a in range(4) for b in range(4, 24, 3 + a)]
    return {
        "Run": {"id": [run], "name": [run], "verb": ["annotate"], "null_annotation_rate": [0.05]},
        "Gene": {
            "id": [f"ENSG{g}" for g in range(len(GENES))],
            "name": GENES,
            "symbol": GENES,
            "is_tf": [True if g < 4 else None for g in range(len(GENES))],
        },
        "Term": {
            "id": [f"GO:{t}" for t in range(3)],
            "name": TERMS,
            "library": ["GO"] * 3,
            "accession": [f"GO:000{t}" for t in range(3)],
            "size": [9] * 3,
        },
        "Feature": {
            "id": ids,
            "name": [
                f"{Address(model, 'k4', *one).short} {label}".rstrip()
                for one, label in zip(at, labels, strict=True)
            ],
            "annotation_run": [run] * len(ids),
            "top_genes": [[GENES[g] for g in genes] for genes in lists],
            "label": labels,
            "label_q": [0.01 if label else 0.5 for label in labels],
            "label_null": rng.uniform(0, 1, len(ids)).tolist(),
            "annotated": [bool(label) for label in labels],
            "annotatable_genes": rng.integers(0, 7, len(ids)).tolist(),
            "best_tf": [GENES[int(g)] for g in rng.integers(0, 4, len(ids))],
            "best_tf_q": rng.uniform(0, 1, len(ids)).tolist(),
            "tf_share": rng.uniform(0, 1, len(ids)).tolist(),
        },
        "Feature-LOADS_ON-Gene": {
            "source": [f for f, _, _ in loads],
            "target": [f"ENSG{g}" for _, g, _ in loads],
            "run": [run] * len(loads),
            "rank": [r for _, _, r in loads],
            "mean_activation": [7.0 - r for _, _, r in loads],
            "fire_count": [9] * len(loads),
        },
        "Feature-ENRICHED_FOR-Term": {
            "source": [f for f, _ in enriched],
            "target": [t for _, t in enriched],
            "run": [run] * m,
            "p": [1e-3] * m,
            "q": rng.uniform(0, 0.08, m).tolist(),
            "q_calibrated": rng.uniform(0, 0.08, m).tolist(),
            "library": ["GO"] * m,
            "test": ["hypergeometric"] * m,
            "origin": ["own"] * m,
            "overlap": [2] * m,
        },
        "Gene-REGULATES-Gene": {
            "source": [f"ENSG{a}" for a, _ in targets],
            "target": [f"ENSG{b}" for _, b in targets],
            "library": ["TRRUST"] * len(targets),
            "mode": [("Activation", "Repression")[b % 2] for _, b in targets],
        },
    }


def _analyse(trace: str, model: str, rng: np.random.Generator) -> dict:
    run = child("analyse", trace)
    ids = [address(model, layer, i) for layer in (1, 2) for i in range(PER_LAYER)]
    n, k = len(ids), PER_LAYER
    rest = [None] * (n - k)
    return {
        "Run": {"id": [run], "name": [run], "verb": ["analyse"]},
        "Feature": {
            "id": ids,
            "in_degree": rng.integers(0, 9, n).tolist(),
            "out_degree": [*rng.integers(0, 9, k).tolist(), *rest],
            "expected_degree": [*rng.uniform(0, 9, k).tolist(), *rest],
            "residual_degree": [*rng.normal(0, 1, k).tolist(), *rest],
            "hub_rank": [*(1 + rng.permutation(k)).tolist(), *rest],
            "degree_rank": [*(1 + rng.permutation(k)).tolist(), *rest],
            "support_share": [*rng.uniform(0, 1, k).tolist(), *rest],
        },
    }


def _imported() -> dict[str, pa.Table]:
    """An atlas of the same features, which states other values."""
    ids = [address("toy", layer, i) for layer in (0, 1, 2) for i in range(PER_LAYER)]
    columns = {
        "Run": {
            "id": [ATLAS],
            "name": [ATLAS],
            "verb": ["import"],
            "method": ["imported"],
            "format": ["atlas"],
            "lacks": [["p", "edges"]],
        },
        "Feature": {
            "id": ids,
            "firing_rate": [0.9] * len(ids),
            "alive": [True] * len(ids),
            "published_label": [TERMS[i % 3] for i in range(len(ids))],
            "published_terms": [1] * len(ids),
            "mean_activation": [1e6] * len(ids),
        },
    }
    return {kind: schema.schema_table(kind, given) for kind, given in columns.items()}


def write(folder: Path, run: str, started: str = "") -> Path:
    """The folder of a run with its shards; empty: it started on a day of its own."""
    trace = run if run.startswith(("trace", "import")) else f"trace-{run.split('-')[1]}"
    day = DAYS[trace] + (family(trace).index(run) if trace != ATLAS else 0)
    started = started or f"2026-01-{day:02d}T00:00:00+00:00"
    store = ShardStore(
        folder / run,
        Manifest(
            run=run, verb=run.split("-")[0], config={}, inputs={}, version="0", started=started
        ),
    )
    store.add("all", tables(run))
    store.finish("complete", seconds=1.0)
    return folder / run
