"""An invented study for the report: every part of the page has something to show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from scircuit.analysis.circuits.circuit_analysis import analyse
from scircuit.analysis.enrichment.matched_null import Rate
from scircuit.analysis.report_page import Check, ReportInput, SampleQuery
from scircuit.core.address import Address
from scircuit.core.config import AnalyseConfig


def make_parts() -> ReportInput:
    """Parts of a report with every section."""
    rng = np.random.default_rng(0)
    ids = [str(Address("m", "d", layer, i)) for layer in (1, 2, 3) for i in range(60)]
    rate = np.exp(rng.normal(-4, 1, 180))
    rows = []
    for s in range(60):
        for layer in (1, 2):
            for t in rng.choice(60, min(int(rate[s] * 900) + 2, 50), replace=False):
                rows.append(
                    (
                        ids[s],
                        ids[60 * layer + t],
                        20,
                        3,
                        15,
                        -0.1 if rng.random() < 0.7 else 0.1,
                        0.1,
                        -1.0,
                        1e-4,
                        1e-3,
                        0.01,
                        2,
                    )
                )
    columns = [
        "source",
        "target",
        "n",
        "n_pos",
        "n_neg",
        "mean",
        "sd",
        "d",
        "p",
        "q",
        "direct",
        "halves",
    ]
    edges = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
    features = pa.table(
        {
            "id": ids,
            "layer": [1] * 60 + [2] * 60 + [3] * 60,
            "firing_rate": rate,
            "traced": [True] * 60 + [False] * 120,
        }
    )
    named = pa.table(
        {
            "id": ids,
            "annotated": rng.random(180) < 0.4,
            "annotatable_genes": rng.integers(3, 20, 180),
            "label": ["<b>T cell & B cell</b>"] * 180,
        }
    )
    analysis = analyse(features, edges, named, AnalyseConfig(bootstrap=5), "analyse-1")
    hubs = analysis.frames["hubs"]["id"].head(3).tolist()
    interventions = [
        {
            "id": "i1",
            "verb": "ablate",
            "order": 2,
            "target_layer": 3,
            "cells": 20,
            "tested": 60,
            "significant": 4,
            "ratio": 0.61,
            "ratio_null": 0.72,
        },
        *(
            {
                "id": f"s{c}",
                "verb": "steer",
                "order": 1,
                "coefficient": c,
                "effect": 0.1 * c,
                "effect_low": 0.05 * c,
                "effect_high": 0.2 * c,
                "p": 0.01,
                "control": 0.001,
                "control_sd": 0.04,
                "cells": 20,
            }
            for c in (0.0, 2.0, 5.0)
        ),
    ]
    members = [
        {"source": hubs[0], "target": "i1", "role": "A"},
        {"source": hubs[1], "target": "i1", "role": "B"},
    ]
    members += [{"source": hubs[0], "target": f"s{c}", "role": "steered"} for c in (0.0, 2.0, 5.0)]
    rates = [
        Rate("all", "calibrated", 177, 51, 0.3, 0.0123, 0.01, 0.02, 0.2877, 0.2, 0.35)._asdict(),
        Rate("GO_BP", "calibrated", 170, 50, 0.29, 0.01, 0.0, 0.02, 0.28, 0.2, 0.3)._asdict(),
    ]
    return ReportInput(
        title="A study",
        trace={
            "sources": 60,
            "cells": 20,
            "source_layers": [1],
            "live_tests": 54321,
            "edges": len(rows),
            "edges_calibrated": len(rows),
            "zero_edit_max": 1.5e-7,
            "numeric_floor": 3e-8,
            "controls": {
                "sources": 24,
                "half_degree_rho": 0.91,
                "half_residual_rho": 0.43,
                "half_even_effects": 1511,
                "half_odd_effects": 17,
                "half_found": 1214,
                "half_held": 1100,
                "half_agreement": 0.906,
                "half_chance": 0.025,
            },
        },
        cohort={
            "file": "cells.h5ad",
            "cells": 20,
            "composition": '{"cell_type": {"T cell": 12, "B cell": 8}}',
        },
        model={
            "name": "m",
            "layers": 4,
            "width": 8,
            "mlm_loss": 7.61,
            "unigram_loss": 8.22,
            "sha256": "ab" * 32,
        },
        dictionaries=pd.DataFrame(
            {
                "layer": [1, 2],
                "features": [60, 60],
                "variance_explained": [0.8123, 0.91],
                "dead_share": [0.02, 0.03],
            }
        ),
        checks=[Check("species", True, "human", "human"), Check("tokens", False, "3", "100")],
        analysis=analysis,
        annotate={
            "features": 180,
            "features_tested": 170,
            "features_annotated": 51,
            "annotation_rate": 0.3,
            "null_annotation_rate": 0.0123,
            "terms": 500,
            "background": 4000,
            "null_draws": 20,
            "rates": rates,
            "coverage": [{"library": "GO_BP"}],
        },
        features=pd.DataFrame(
            {
                "id": hubs,
                "random_degree": [2.0, None, 3.0],
                "steering_slope": [0.11, None, 0.02],
                "steering_p": [0.001, None, 0.4],
                "steering_p_random": [0.05, None, 0.4],
                "steering_gene": ["CD74", None, "LYZ"],
                "steering_control": [0.001, None, 0.01],
            }
        ),
        controls=pd.DataFrame(
            {
                "control": ["direction_null", "random_direction", "zero_edit", "context"],
                "source_layer": [1, 1, 1, 1],
                "target_layer": [2, 2, 2, 2],
                "sources": [80, 24, 24, 20],
                "edges": [4675, 400, 400, 333],
                "control_edges": [None, 57, None, 321],
                "max_abs_effect": [None, 0.02, 1.5e-7, None],
                "larger_share": [None, 0.83, None, None],
                "relative_size": [None, 0.37, None, None],
                "context": [None, None, None, "frozen"],
                "precision": [None, None, None, 0.987],
                "recall": [None, None, None, 0.955],
                "agreement": [None, None, None, 0.991],
                "carried": [304, None, None, None],
                "generic": [9021, None, None, None],
                "draws": [64, None, None, None],
                "expected_false": [190.2, None, None, None],
                "sigma_ratio": [1.004, None, None, None],
                "sigma_ratio_low": [0.77, None, None, None],
                "sigma_ratio_high": [1.31, None, None, None],
            }
        ),
        interventions=pd.DataFrame(interventions),
        members=pd.DataFrame(members),
        runs=[
            {
                "run": "trace-1",
                "verb": "trace",
                "seconds": 12.0,
                "seed": 0,
                "config": {"n_cells": 20},
            }
        ],
        browser="http://localhost:7474",
        queries=[SampleQuery("Hubs", "MATCH (f:Feature) WHERE f.hub_rank < 10 RETURN f")],
        generated="2026-01-01T00:00:00",
        version="0.1.0",
    )


def make_atlas(published: float, random: float) -> dict:
    """Findings of an annotated atlas with the given rates."""
    layers = [
        {
            "layer": la,
            "alive": 1000,
            "published": published + s,
            "reproduced": 480,
            "random": random + s,
            "random_low": random - 0.01,
            "random_high": random + 0.02,
            "pooled": 5,
            "calibrated": 17,
        }
        for la, s in ((4, 0.01), (8, -0.01))
    ]
    rate = Rate(
        "all", "calibrated", 2000, 34, 0.017, 0.0004, 0.0, 0.001, 0.0166, 0.012, 0.021
    )._asdict()
    return {
        "name": "gf-atlas",
        "annotation_rate": 0.2,
        "null_annotation_rate": 0.03,
        "excess": [0.17, 0.15, 0.19],
        "published": {
            "alive": 2000,
            "published": published,
            "reproduced": 0.48,
            "random": random,
            "calibrated": rate,
            "q": 0.05,
            "pooled": 10,
            "pooled_pairs": 31,
            "layers": layers,
        },
    }


def tiny_parts(
    degrees: list[int],
    *,
    targets: int = 12,
    layers: tuple[int, ...] = (2, 3),
    rates: list[float | None] | None = None,
    q: float = 1e-3,
    annotated: bool | None = None,
    told_apart: bool = False,
    **more: object,
) -> ReportInput:
    """A study of a few sources in layer 1 with so many edges each, and nothing else.

    `q` of all effects; `annotated` of all features (None: no annotation); `told_apart`: with a
    direction null.
    """
    sources = len(degrees)
    ids = [str(Address("m", "d", 1, i)) for i in range(sources)]
    ids += [str(Address("m", "d", layer, i)) for layer in layers for i in range(targets)]
    rows = [
        (ids[s], ids[sources + t % max(len(ids) - sources, 1)])
        for s, degree in enumerate(degrees)
        for t in range(degree)
    ]
    size = len(rows)
    edges = pa.table(
        {
            "source": pa.array([r[0] for r in rows], pa.string()),
            "target": pa.array([r[1] for r in rows], pa.string()),
            **{k: pa.array([v] * size, pa.int64()) for k, v in (("n", 20), ("n_pos", 2))},
            "n_neg": pa.array([18] * size, pa.int64()),
            **{
                k: pa.array([v] * size, pa.float64())
                for k, v in (("mean", -0.1), ("sd", 0.1), ("d", -1.0), ("p", q), ("q", q))
            },
            **(
                {
                    k: pa.array([v] * size, pa.float64())
                    for k, v in (
                        *(("computed", -0.1), ("q_computed", q), ("z_computed", -5.0)),
                        *(("direct", 0.01), ("q_direct", 0.9), ("z_direct", 0.3)),
                    )
                }
                | {"computed_cells": pa.array([20] * size, pa.int64())}
                if told_apart
                else {}
            ),
        }
    )
    features = pa.table(
        {
            "id": ids,
            "layer": pa.array([1] * sources + [la for la in layers for _ in range(targets)]),
            "firing_rate": pa.array(
                [*(rates or [0.01] * sources), *[0.02] * (len(ids) - sources)], pa.float64()
            ),
            "traced": [True] * sources + [False] * (len(ids) - sources),
        }
    )
    named = None
    if annotated is not None:
        named = pa.table(
            {
                "id": ids,
                "annotated": [annotated] * len(ids),
                "annotatable_genes": [9] * len(ids),
                "label": ["a term" if annotated else ""] * len(ids),
            }
        )
    analysis = analyse(features, edges, named, AnalyseConfig(bootstrap=0), "analyse-1")
    given: dict = {
        "title": "Tiny",
        "trace": {"sources": sources, "cells": 2, "source_layers": [1], "edges": size},
        "analysis": analysis,
    }
    return ReportInput(**given | more)
