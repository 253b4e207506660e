"""The later controls of the published map: random directions (P1c), importance of hubs for the
masked-LM loss (P6), and the summaries of other cells (P7) and of a CRISPRi screen (P9).

P1c replaces each ablation by a random direction of equal norm, a new one at every position of every
cell: its effects cannot be consistent over cells, so it is stored under a name of its own. P6
compares the loss in the cells where a feature is active with the baseline of all cells; the two are
paired only for features active in all of them, and only those give `Feature.importance`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.ingest.importers.exhaustive_map.map_degrees import (
    LAYER,
    MAX_DEGREE_CHANGE,
    Degrees,
)
from scircuit.ingest.importers.exhaustive_map.map_interventions import Interventions
from scircuit.ingest.importers.strict_files import (
    json_list,
    json_object,
    number,
    read_json,
    whole_number,
)

NORMMATCHED = "revision/P1_normmatched/summary.json"
HUBS = "revision/P6_hub_importance/summary.json"
OTHER_CELLS = "revision/P7_ts_native/summary.json"
CRISPRI = "revision/P9_crispri/association.json"
FILES = (NORMMATCHED, HUBS, OTHER_CELLS, CRISPRI)
_ARMS = {"hub": "hub", "freq_matched": "matched", "random": "random"}
_LOSS = "change of the masked-LM loss in the cells where it is active, less that of all cells"


def read_controls(
    degrees: Degrees,
    done: Interventions,
    model: str,
    dictionary: str,
    present: Mapping[str, Path],
) -> None:
    """Read the files of `FILES` that are present.

    Raises
    ------
    UserError
        If a file is damaged, has another layout, or contradicts the degrees.
    """
    if path := present.get(NORMMATCHED):
        _random_directions(degrees, path)
    if path := present.get(HUBS):
        _importance(degrees, done, model, dictionary, path)
    if path := present.get(OTHER_CELLS):
        _other_cells(degrees, path)
    if path := present.get(CRISPRI):
        data = json_object(read_json(path), ("n_features", "p"), "P9 association.json")
        degrees.findings["crispri"] = {
            k: number(v, f"P9 association.json: {k}") for k, v in data.items()
        }
        degrees.notes.append(
            "P9: summary only; its perturbations are of four cell lines, so it says nothing about"
            " one: stored as a finding"
        )


def _degree(degrees: Degrees, index: int, edges: int, where: str) -> None:
    row = degrees.features[LAYER, index]
    stated = cast("int", row.get("out_degree_legacy", edges))
    if abs(stated - edges) > MAX_DEGREE_CHANGE:
        raise UserError(
            f"{where}: feature {index} has {edges:,} edges, other files state {stated:,}",
            "the files are of different runs: fetch them again",
        )
    row |= {"out_degree_legacy": edges, "traced": True}


def _random_directions(degrees: Degrees, path: Path) -> None:
    where = "P1_normmatched summary.json"
    fields = ("n_features", "mean_edges_real", "mean_edges_normmatched", "per_feature")
    data = json_object(read_json(path), fields, where)
    rows = json_list(data["per_feature"], f"{where}: per_feature")
    names = ("feature_idx", "observed_degree", "edges_real", "edges_normmatched")
    real = random = 0
    for listed in rows:
        row = json_object(listed, names, f"{where}: a feature")
        index, degree, edges, other = (whole_number(row[k], f"{where}: {k}") for k in names)
        if abs(degree - edges) > MAX_DEGREE_CHANGE:
            raise UserError(
                f"{where}: feature {index} has {edges:,} edges, before {degree:,}",
                "the file is damaged: fetch it again",
            )
        _degree(degrees, index, degree, where)
        real, random = real + edges, random + other
    for key, total in (("mean_edges_real", real), ("mean_edges_normmatched", random)):
        mean = number(data[key], f"{where}: {key}")
        if not rows or not math.isclose(mean, total / len(rows), rel_tol=1e-9):
            raise UserError(
                f"{where} states {key} {mean:g}, its {len(rows)} features sum to {total:,}",
                "the file is damaged: fetch it again",
            )
    degrees.controls.append(
        {
            "name": f"random at each position L{LAYER:02d}",
            "control": "random_per_position",
            "source_layer": LAYER,
            "sources": len(rows),
            "edges_legacy": real,
            "control_edges_legacy": random,
        }
    )
    degrees.findings["random_per_position"] = {
        "sources": len(rows),
        "edges": real,
        "random_edges": random,
    }
    degrees.sentences.append(
        f"{real:,} edges of {len(rows)} features; {random:,} of random directions that differ"
        " between positions and cells, which no consistent effect can come from: not a control of"
        " specificity"
    )


def _importance(
    degrees: Degrees, done: Interventions, model: str, dictionary: str, path: Path
) -> None:
    where = "P6 summary.json"
    data = json_object(read_json(path), ("baseline", "arms"), where)
    baseline = json_object(data["baseline"], ("ce", "n_cells_active"), f"{where}: baseline")
    cells = whole_number(baseline["n_cells_active"], f"{where}: n_cells_active")
    arms = json_object(data["arms"], tuple(_ARMS), f"{where}: arms")
    seen: set[int] = set()
    sizes: Counter[str] = Counter()
    unpaired = 0
    for arm, role in _ARMS.items():
        for listed in json_list(arms[arm], f"{where}: {arm}"):
            names = ("feature_idx", "edges", "freq", "delta_ce", "n_cells_active")
            row = json_object(listed, names, f"{where}: a feature of {arm}")
            index, edges, active = (
                whole_number(row[k], f"{where}: {k}")
                for k in ("feature_idx", "edges", "n_cells_active")
            )
            change = number(row["delta_ce"], f"{where}: delta_ce")
            if active > cells:
                raise UserError(
                    f"{where}: feature {index} is active in {active} of {cells} cells",
                    "the file is damaged: fetch it again",
                )
            _degree(degrees, index, edges, where)
            sizes[role] += 1
            address = Address(model, dictionary, LAYER, index)
            key = f"{model}/{dictionary}/importance/{address.short.replace('/', '')}"
            if index not in seen:
                done.rows["Intervention"].append(
                    {
                        "id": key,
                        "name": f"without {address.short}",
                        "verb": "importance",
                        "order": 1,
                        "coefficient": 0.0,
                        "cells": active,
                        "effect": change,
                        "readout": _LOSS,
                    }
                )
                done.rows["Feature-PART_OF-Intervention"].append(
                    {"source": str(address), "target": key, "role": role, "coefficient": 0.0}
                )
                unpaired += active < cells
            feature = degrees.features[LAYER, index]
            feature["firing_rate"] = number(row["freq"], f"{where}: freq")
            if active == cells:
                feature |= {"importance": change, "importance_cells": active}
            seen.add(index)
    degrees.findings["importance"] = {"cells": cells, **sizes, "unpaired": unpaired}
    degrees.sentences.append(
        f"masked-LM loss without {', '.join(f'{n} {role}' for role, n in sizes.items())} features,"
        f" {cells} cells"
    )
    if unpaired:
        degrees.notes.append(
            f"P6: {unpaired} features are active in fewer than the {cells} cells; their published"
            " change is against other cells than their own, so it is no importance of the feature"
        )


def _other_cells(degrees: Degrees, path: Path) -> None:
    data = json_object(read_json(path), ("ts_native", "k562_same_downstream"), "P7 summary.json")
    degrees.findings["other_cells"] = {
        part: {
            k: number(v, f"P7 summary.json: {part}: {k}")
            for k, v in json_object(data[part], (), f"P7 summary.json: {part}").items()
        }
        for part in ("ts_native", "k562_same_downstream")
    }
    degrees.notes.append("P7: summary only: stored as a finding")
