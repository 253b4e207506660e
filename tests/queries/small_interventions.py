"""Interventions of the small graph: ablations, steering, importance, behaviour circuits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.queries.small_names import (
    ABLATE,
    CELLS,
    STEER,
    address,
)


def interventions(rng: np.random.Generator, sizes: dict[int, int]) -> dict[str, pd.DataFrame]:
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
                "set": key,
                "set_class": "same" if k else "hubs",
                "pathway": "mitosis" if k else None,
                "cells_together": CELLS - k,
                "tested_computed": 12,
                "significant_computed": k,
                "signed_ratio": 1.0 - 0.1 * k,
                "signed_ratio_low": 0.6,
                "signed_ratio_high": 1.1,
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
                2,
                0.25 * j,
                0.01 * (j + 1),
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
                "control_sd": 0.03,
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
    nodes += behaviour_nodes()
    readouts, shifted, steers = readout_records([n["id"] for n in nodes if n["verb"] == "steer"])
    return {
        "Intervention": pd.DataFrame(nodes),
        "Readout": readouts,
        "Intervention-SHIFTED-Readout": shifted,
        "Feature-STEERS-Readout": steers,
        "Feature-PART_OF-Intervention": pd.concat(
            [
                pd.DataFrame(parts, columns=["source", "target", "role", "coefficient", "run"]),
                behaviour_parts(),
            ],
            ignore_index=True,
        ),
        "Intervention-SHIFTED-Feature": pd.DataFrame(
            moved,
            columns=[
                *("source", "target", "effect", "interaction", "low", "high", "p", "q", "run"),
                *("order", "computed", "q_computed"),
            ],
        ),
        "Intervention-SHIFTED-Gene": pd.DataFrame(
            genes, columns=["source", "target", "dose", "effect", "low", "high", "p", "q", "run"]
        ),
        "Intervention-FROM-Run": pd.DataFrame(
            [(n["id"], n["run"]) for n in nodes], columns=["source", "target"]
        ),
    }


def behaviour_nodes() -> list[dict[str, object]]:
    """Circuits of two behaviours, and features whose importance was measured."""
    circuits = [
        {
            "id": f"{ABLATE}/circuit{k}",
            "name": f"{behaviour}: {size} features",
            "verb": "circuit",
            "order": size,
            "cells": CELLS,
            "behaviour": behaviour,
            "size": size,
            "features_considered": 40,
            "sufficiency": 0.9 - 0.1 * k,
            "sufficiency_low": 0.7,
            "sufficiency_high": 1.0,
            "sufficiency_random": 0.1,
            "sufficiency_p": 0.01 * (2 - k),
            "necessity": 0.8,
            "necessity_random": 0.05,
            "area": 0.97,
            "area_random": 0.5,
            "distance": 0.03,
            "sufficiency_edges": 0.5,
            "sufficiency_no_edges": 0.1 * k,
            "edges": 3 * k,
            "run": ABLATE,
        }
        for k, (behaviour, size) in enumerate([("mlm:all genes", 4), ("celltype:a=b", 2)])
    ]
    circuits.append(
        {
            "id": f"{ABLATE}/circuit-",
            "name": "mlm:none: refused",
            "verb": "circuit",
            "cells": CELLS,
            "behaviour": "mlm:none",
            "refused": "no set of up to 5% of the 40 features keeps 80% of the behaviour",
            "size": 1,
            "features_considered": 40,
            "sufficiency": 0.2,
            "sufficiency_p": 0.001,
            "run": ABLATE,
        }
    )
    return circuits + [
        {
            "id": f"{ABLATE}/importance/{index}",
            "name": f"without {index}",
            "verb": "importance",
            "order": 1,
            "coefficient": 0.0,
            "cells": CELLS,
            "effect": 0.1 * index - 0.3,
            "effect_low": -1.0,
            "effect_high": 1.0,
            "p": 0.01 * (index + 1),
            "q": 0.02 * (index + 1),
            "run": ABLATE,
        }
        for index in range(6)
    ]


def behaviour_parts() -> pd.DataFrame:
    """Their features; `leads_to` of a circuit may be a feature that no edge leads to."""
    members = [(0, (2, 3), (3, 0)), (0, (2, 4), (3, 1)), (0, (3, 0), None), (0, (3, 1), None)]
    members += [(1, (2, 5), (3, 2)), (1, (3, 2), None)]
    places = pd.Series([c for c, _, _ in members]).groupby(lambda i: members[i][0]).cumcount() + 1
    circuits = [
        {
            "source": address(*own),
            "target": f"{ABLATE}/circuit{circuit}",
            "role": "circuit",
            "position": int(place),
            "score": 1 / int(place),
            "leads_to": address(*to) if to else None,
            "run": ABLATE,
        }
        for (circuit, own, to), place in zip(members, places, strict=True)
    ]
    arms = [
        {
            "source": address(3, 6 + index),
            "target": f"{ABLATE}/importance/{index}",
            "role": ("hub", "matched", "random")[index % 3],
            "coefficient": 0.0,
            "run": ABLATE,
        }
        for index in range(6)
    ]
    return pd.DataFrame(circuits + arms).astype({"position": "Int64"})


def readout_records(conditions: list[str]) -> tuple[pd.DataFrame, ...]:
    """Two readouts, what the conditions shifted, and the slopes of features of two layers."""
    rng = np.random.default_rng(21)
    names = ["own_genes", "pseudotime"]
    readouts = pd.DataFrame(
        [
            {
                "id": f"{STEER}/readout/{name}",
                "name": name,
                "readout": name.replace("_", " "),
                "unit": "units",
                "measure": "R2" if k else None,
                "accuracy": 0.4 if k else None,
                "baseline": -0.1 if k else None,
                "run": STEER,
            }
            for k, name in enumerate(names)
        ]
    )
    shifted = [
        (key, readout, k + 1.0, float(rng.normal()), CELLS, False, STEER)
        for k, key in enumerate(conditions)
        for readout in readouts["id"]
    ]
    steers = []
    for layer in (2, 3):
        for index in range(5):
            for k, readout in enumerate(readouts["id"]):
                fixed = layer == 3 and k == 1
                above = bool(rng.random() < 0.5)
                steers.append(
                    {
                        "source": address(layer, index),
                        "target": readout,
                        "run": STEER,
                        "slope": None if index == 4 and k else float(rng.normal()),
                        "low": -2.0,
                        "high": 2.0,
                        "p": None if fixed else 0.01,
                        "q": None if fixed else float(rng.uniform(0, 0.2)),
                        "p_random": (1 + (not above)) / 6,
                        "above_random": above,
                        "control": float(rng.uniform(0, 1)),
                        "matched": 0.1,
                        "cells": CELLS,
                        "closed_form": fixed,
                    }
                )
    return (
        readouts,
        pd.DataFrame(
            shifted, columns=["source", "target", "dose", "effect", "cells", "closed_form", "run"]
        ),
        pd.DataFrame(steers),
    )
