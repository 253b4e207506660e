"""Several ablate and steer runs for the page: pairs at two layers, triplets with their pairs, and
features amplified and clamped.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pandas as pd

from scircuit.analysis.report_page import ReportInput


def with_many_runs(parts: ReportInput) -> ReportInput:
    """The parts with two ablate and two steer runs instead of its own interventions."""
    hubs = parts.features["id"].tolist()
    nodes, members, shifts = [], [], []

    def add(run: str, name: str, whole: str, inside: list[str], layer: int, **more: object) -> None:
        key = f"{run}/{name}/L{layer:02d}"
        nodes.append(
            {"id": key, "run": run, "set": f"{run}/{whole}/L{layer:02d}", "name": name} | more
        )
        members.extend(
            {"source": f, "target": key, "role": role, "run": run}
            for role, f in zip("ABC", inside, strict=False)
        )
        shifts.extend(
            {"source": key, "target": f"m/d/L03/F{i:04d}", "effect": e, "interaction": 0.1 * e}
            | {"q": 0.01, "run": run}
            for i, e in enumerate((0.5, -0.2))
        )

    counts = {"verb": "ablate", "cells": 20, "tested": 60, "significant": 4, "set_class": "hubs"}
    for layer in (2, 3):
        for a, b in itertools.combinations(hubs, 2):
            name = f"{a[-5:]}+{b[-5:]}"
            more = counts | {"order": 2, "ratio": 0.61, "ratio_null": 0.72, "target_layer": layer}
            add("ablate-1", name, name, [a, b], layer, **more)
    for size in (2, 3):
        for inside in itertools.combinations(hubs, size):
            more = counts | {"order": size, "ratio": 0.5, "ratio_null": 0.58, "target_layer": 3}
            name = "+".join(f[-5:] for f in inside)
            add("ablate-2", name, "three", list(inside), 3, **more)
    for run, mode, steered in (("steer-1", "amplify", hubs[:2]), ("steer-2", "clamp", hubs[:1])):
        for feature, c in itertools.product(steered, (0.0, 2.0, 5.0)):
            key = f"{run}/{feature[-5:]}@{c:g}"
            nodes.append(
                {"id": key, "run": run, "verb": "steer", "order": 1, "mode": mode}
                | {"coefficient": c, "effect": 0.1 * c, "effect_low": 0.05 * c}
                | {"effect_high": 0.2 * c, "p": 0.01, "control": 0.001, "control_sd": 0.02}
                | {"cells": 20, "name": f"{feature[-9:]} x {c:g}", "beyond_norm": c == 5.0}
            )
            members.append({"source": feature, "target": key, "role": "steered", "run": run})
    runs = [
        {"run": run, "verb": run.split("-")[0], "seconds": 3.0, "config": {"random_directions": 19}}
        for run in ("ablate-1", "ablate-2", "steer-1", "steer-2")
    ]
    own = parts.features.assign(steering_p_random=[0.05, None, 0.4])
    return replace(
        parts,
        interventions=pd.DataFrame(nodes),
        members=pd.DataFrame(members),
        shifts=pd.DataFrame(shifts),
        features=own,
        run_features={"steer-1": own, "steer-2": own.iloc[:1]},
        runs=[*parts.runs, *runs],
    )
