"""The later steering panel of the published map (P2): 80 features at two or five coefficients, read
in six ways.

``features/L17_F3567.json`` holds, for each coefficient and readout, mean, sd (divided by n), the
share of cells above zero, and the values of the cells, which must have that mean and share. A
condition that the first release has too must agree with it, and is not stored twice. Intervals
are 95 % t intervals over cells. At the last layer the two probes are products of weights: nothing
propagates, and no interval over cells is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.ingest.importers.exhaustive_map.map_interventions import (
    LAST_LAYER,
    READOUT,
    Interventions,
    add_steering,
    coefficient_of,
    half_interval,
    steering_id,
)
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    read_json,
    whole_number,
)

FOLDER = "revision/P2_steering"
_LAYERS = (0, 5, 11, 17)
_NAME = re.compile(r"L(\d+)_F(\d+)\.json")
_KINDS = ("ON", "OFF")
_TOLERANCE = 1e-6  # relative, of a stated mean or share against the values
# readout -> unit and definition; probes are fixed by weights at the last layer
READOUTS: dict[str, tuple[str, str]] = {
    "delta_s_global": ("cosine", READOUT),
    "delta_s_bone_marrow": ("cosine", f"{READOUT}; signatures of bone marrow"),
    "delta_s_blood_spleen": ("cosine", f"{READOUT}; signatures of blood and spleen"),
    "marker_score": (
        "logit",
        "mean logit change of 18 terminal genes less that of 18 progenitor genes",
    ),
    "delta_p_terminal": ("probability", "logistic probe of terminal against immature cells"),
    "delta_pseudotime": ("pseudotime", "ridge probe of pseudotime"),
}
_PROBES = ("delta_p_terminal", "delta_pseudotime")


def read_panel(
    found: Interventions, model: str, dictionary: str, files: Mapping[str, Path]
) -> None:
    """Read the panel from ``features/*.json``, checked against its two summaries where present.

    Parameters
    ----------
    files
        Path below the panel's folder -> file.

    Raises
    ------
    UserError
        If a file is damaged, has another layout, or contradicts another.
    """
    features = {n: p for n, p in sorted(files.items()) if n.startswith("features/")}
    known = {str(row["id"]): row for row in found.rows["Intervention"]}
    kinds: dict[tuple[int, int], str] = {}
    repeated = total = 0
    for path in features.values():
        address, kind, conditions = _feature(path, model, dictionary)
        kinds[address.layer, address.index] = kind
        found.features[address.layer, address.index]["steering_switch"] = kind.lower()
        for coefficient, part in conditions.items():
            where = f"{path.name}, coefficient {coefficient:g}"
            repeated += _condition(found, known, address, coefficient, part, where)
            total += 1
    if not features:
        return
    for name, (unit, definition) in READOUTS.items():
        found.rows["Readout"].append(
            {
                "id": _readout_id(model, dictionary, name),
                "name": name,
                "readout": name,
                "unit": unit,
                "definition": definition,
            }
        )
    for name in ("summary.json", "readout_analysis.json"):
        if path := files.get(name):
            _check_summary(path, kinds)
    on = sum(kind == "ON" for kind in kinds.values())
    found.findings["steering_panel"] = {
        "features": len(kinds),
        "on": on,
        "off": len(kinds) - on,
        "conditions": total,
        "also_in_the_first_release": repeated,
    }
    found.sentences.append(
        f"later panel: {len(kinds)} features ({on} rise towards late cells), {total}"
        f" conditions, six readouts; {repeated} conditions repeat the first release. At layer"
        f" {LAST_LAYER} the two probes are fixed by weights"
    )


def _readout_id(model: str, dictionary: str, name: str) -> str:
    return f"{model}/{dictionary}/readout/{name}"


def _feature(
    path: Path, model: str, dictionary: str
) -> tuple[Address, str, dict[float, Mapping[str, Json]]]:
    data = json_object(read_json(path), ("layer", "idx", "kind", "alphas"), path.name)
    layer = whole_number(data["layer"], f"{path.name}: layer")
    index = whole_number(data["idx"], f"{path.name}: idx")
    named = _NAME.fullmatch(path.name)
    if named and (int(named[1]), int(named[2])) != (layer, index):
        raise UserError(
            f"{path.name} describes feature {index} of layer {layer}",
            "the file has another's name: fetch it again",
        )
    if layer not in _LAYERS:
        raise UserError(
            f"{path.name} steers layer {layer}, expected one of {', '.join(map(str, _LAYERS))}",
            "check that it is a file of the published panel",
        )
    if data["kind"] not in _KINDS:
        raise UserError(
            f"{path.name}: kind is {data['kind']!r}, expected ON or OFF",
            "check that it is the right file",
        )
    conditions = {}
    for text, part in json_object(data["alphas"], (), f"{path.name}: alphas").items():
        coefficient = coefficient_of(text, path.name)
        where = f"{path.name}, coefficient {text}"
        conditions[coefficient] = json_object(part, ("n_cells", "delta_s_global"), where)
    return Address(model, dictionary, layer, index), str(data["kind"]), conditions


def _condition(
    found: Interventions,
    known: Mapping[str, dict[str, object]],
    address: Address,
    coefficient: float,
    part: Mapping[str, Json],
    where: str,
) -> bool:
    """Add one condition; whether the first release has it too."""
    cells = whole_number(part["n_cells"], f"{where}: n_cells")
    key = steering_id(address, coefficient)
    unknown = sorted(set(part) - {"n_cells", *READOUTS})
    if unknown:
        raise UserError(
            f"{where} has the readout {unknown[0]!r}, expected {', '.join(READOUTS)}",
            "check that it is a file of the published panel",
        )
    measured = {
        name: _readout(part[name], cells, f"{where}: {name}") for name in READOUTS if name in part
    }
    for name, (effect, half) in measured.items():
        fixed = address.layer == LAST_LAYER and name in _PROBES
        bounded = half is not None and not fixed
        found.rows["Intervention-SHIFTED-Readout"].append(
            {
                "source": key,
                "target": _readout_id(address.model, address.dictionary, name),
                "dose": coefficient - 1,
                "effect": effect,
                "low": effect - half if bounded and half is not None else None,
                "high": effect + half if bounded and half is not None else None,
                "cells": cells,
                "closed_form": fixed,
            }
        )
    effect, half = measured["delta_s_global"]
    if row := known.get(key):
        _check_same(row, cells, effect, where)
        return True
    add_steering(found, address, coefficient, cells, effect, half)
    return False


def _readout(value: Json, cells: int, where: str) -> tuple[float, float | None]:
    """Mean and half of the t interval of one readout."""
    part = json_object(value, ("mean", "sd", "frac_positive", "values"), where)
    values = [number(v, f"{where}: a value") for v in json_list(part["values"], where)]
    mean, sd, share = (number(part[k], f"{where}: {k}") for k in ("mean", "sd", "frac_positive"))
    if len(values) != cells or not values:
        raise UserError(
            f"{where} has {len(values)} values of {cells} cells", "fetch the file again"
        )
    actual = math.fsum(values) / cells
    scale = max(abs(actual), sd, 1e-300)
    above = sum(v > 0 for v in values) / cells
    if abs(actual - mean) > _TOLERANCE * scale or abs(above - share) > _TOLERANCE:
        raise UserError(
            f"{where} states the mean {mean:.6g} and {share:.4f} above zero; its values have"
            f" {actual:.6g} and {above:.4f}",
            "the file is damaged: fetch it again",
        )
    return mean, half_interval(sd, cells)


def _check_same(row: Mapping[str, object], cells: int, effect: float, where: str) -> None:
    first = row["effect"]
    close = isinstance(first, float) and abs(first - effect) <= 1e-4 * max(abs(first), 1e-3)
    if row["cells"] != cells or not close:
        raise UserError(
            f"{where}: {effect:.6g} in {cells} cells; the first release has {first:.6g} in"
            f" {row['cells']}",
            "the files are of different studies: import them one by one",
        )


def _check_summary(path: Path, kinds: Mapping[tuple[int, int], str]) -> None:
    """The panel's summaries must be of these features."""
    if path.name == "readout_analysis.json":
        data = json_object(read_json(path), ("n_features_total",), path.name)
        stated = whole_number(data["n_features_total"], f"{path.name}: n_features_total")
        if stated != len(kinds):
            raise UserError(
                f"{path.name} is of {stated} features, the folder has {len(kinds)}",
                "fetch all of the panel, or leave the summary out",
            )
        return
    data = json_object(read_json(path), ("features",), path.name)
    listed = json_list(data["features"], f"{path.name}: features")
    for feature in listed:
        row = json_object(feature, ("layer", "idx", "kind"), f"{path.name}: a feature")
        key = (
            whole_number(row["layer"], f"{path.name}: layer"),
            whole_number(row["idx"], f"{path.name}: idx"),
        )
        if kinds.get(key) != row["kind"]:
            raise UserError(
                f"{path.name} lists feature {key[1]} of layer {key[0]} as {row['kind']}; its file"
                f" says {kinds.get(key, 'nothing: it is missing')}",
                "fetch all of the panel, or leave the summary out",
            )
    if len(listed) != len(kinds):
        raise UserError(
            f"{path.name} lists {len(listed)} features of {len(kinds)} files",
            "fetch all of the panel, or leave the summary out",
        )
