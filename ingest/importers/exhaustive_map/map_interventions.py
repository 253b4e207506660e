"""Triplet ablations and steering of the published map as interventions, with the values that its
files give and no others.

Ablations: `ratio` is the published median over targets of |d_joint| / sum |d_single|; independent,
exactly additive effects of k features give 1 / sqrt(k), not 1, and the files have no cells from
which to compute the null. Steering: `effect` is the mean change of the published state shift over
the steered cells, [cos(z', late) - cos(z', early)] - [cos(z, late) - cos(z, early)], z the mean
logits of a cell. Its 95 % t interval follows from the published mean, spread and number of cells; p
values and controls were not published.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.core.expansion import check_zip
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    read_json,
    whole_number,
)

READOUT = "state shift: change of the cosine to late less that to early cells, of mean logits"
LAST_LAYER = 17  # where the published readouts are taken
_CONDITIONS = ("AB", "AC", "BC", "ABC")


@dataclass
class Interventions:
    """Rows by kind; `features` is (layer, index) -> properties; `genes` is gene id -> symbol."""

    rows: dict[str, list[dict[str, object]]] = field(default_factory=lambda: defaultdict(list))
    features: dict[Key, dict[str, object]] = field(default_factory=lambda: defaultdict(dict))
    genes: dict[str, str] = field(default_factory=dict)
    findings: dict[str, object] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_triplets(
    found: Interventions, model: str, dictionary: str, files: Iterable[Path], summary: Path | None
) -> None:
    """Each triplet as one joint ablation of three features and three of two.

    Raises
    ------
    UserError
        If a file is damaged, or contradicts the summary.
    """
    parts = {}
    for path in files:
        data = read_json(path)
        parts[str(json_object(data, ("triplet_id",), path.name)["triplet_id"])] = data
    if summary:
        stated = json_object(read_json(summary), ("per_triplet_results",), summary.name)
        listed = {
            str(json_object(t, ("triplet_id",), summary.name)["triplet_id"]): t
            for t in json_list(stated["per_triplet_results"], summary.name)
        }
        wrong = [name for name in parts if listed.get(name) != parts[name]]
        if wrong:
            raise UserError(
                f"{summary.parent.name}: triplet {wrong[0]} differs from {summary.name}"
                f" ({len(wrong)} do)",
                "the files are of different runs: fetch them again",
            )
        parts = listed
    partners: dict[Key, set[Key]] = defaultdict(set)
    ratios: dict[str, list[float]] = defaultdict(list)
    for name in sorted(parts):
        kind, ratio = _triplet(found, model, dictionary, name, parts[name], partners)
        ratios[kind].append(ratio)
    for key, others in partners.items():
        found.features[key]["ablation_partners"] = len(others)
    if ratios:
        medians = {kind: statistics.median(values) for kind, values in sorted(ratios.items())}
        found.findings["triplets"] = {
            "number": len(parts),
            "ratio": medians,
            "ratio_if_additive_and_independent": 1 / math.sqrt(3),
        }
        ratio_text = ", ".join(
            f"{kind.replace('_', ' ')} {value:.3f}" for kind, value in medians.items()
        )
        found.sentences.append(
            f"{len(parts)} joint ablations of three features: median |joint| / sum |single|"
            f" {ratio_text}; independent and exactly additive effects give {1 / math.sqrt(3):.3f}"
        )
        found.notes.append(
            "interaction contrasts need effects per cell, which were not published: joint ablations"
            " have ratios but no q"
        )


_TRIPLET = (
    *(f"feature_{role}" for role in "ABC"),
    *("target_layer", "n_active", "n_significant", "pairwise_ratios", "threeway_ratio"),
    "triplet_type",
)


def _triplet(
    found: Interventions,
    model: str,
    dictionary: str,
    name: str,
    triplet: Json,
    partners: dict[Key, set[Key]],
) -> tuple[str, float]:
    """Add one triplet; return its type and its ratio."""
    where = f"triplet {name}"
    data = json_object(triplet, _TRIPLET, where)
    active = json_object(data["n_active"], _CONDITIONS, f"{where}: n_active")
    significant = json_object(data["n_significant"], ("any",), f"{where}: n_significant")
    pairwise = json_object(data["pairwise_ratios"], _CONDITIONS[:3], f"{where}: pairwise_ratios")
    members: dict[str, Address] = {}
    for role in "ABC":
        given = json_object(data[f"feature_{role}"], ("layer", "idx"), f"{where}: {role}")
        key = (
            whole_number(given["layer"], f"{where}: layer"),
            whole_number(given["idx"], f"{where}: idx"),
        )
        members[role] = Address(model, dictionary, *key)
    target = whole_number(data["target_layer"], f"{where}: target_layer")
    tested = whole_number(significant["any"], f"{where}: n_significant")
    if target <= max(a.layer for a in members.values()):
        raise UserError(
            f"triplet {name} reads layer {target}, which is not after its features",
            "check that it is the right file",
        )
    joint = "+".join(a.short.replace("/", "") for a in members.values())
    for roles in _CONDITIONS:
        chosen = [members[r] for r in roles]
        ratio = data["threeway_ratio"] if roles == "ABC" else pairwise[roles]
        key = f"{model}/{dictionary}/ablate/{joint}/L{target:02d}" + (
            "" if roles == "ABC" else f"/{roles}"
        )
        found.rows["Intervention"].append(
            {
                "id": key,
                "name": " + ".join(a.short for a in chosen),
                "verb": "ablate",
                "order": len(roles),
                "coefficient": 0.0,
                "target_layer": target,
                "cells": whole_number(active[roles], f"{where}: n_active"),
                "tested": tested,
                "ratio": number(ratio, f"{where}: ratio {roles}"),
            }
        )
        for role, address in zip(roles, chosen, strict=True):
            found.rows["Feature-PART_OF-Intervention"].append(
                {"source": str(address), "target": key, "role": role, "coefficient": 0.0}
            )
            partners[address.layer, address.index].update(
                (a.layer, a.index) for a in chosen if a != address
            )
    ratio = number(data["threeway_ratio"], f"{where}: threeway_ratio")
    return str(data["triplet_type"]), ratio


def read_steering(
    found: Interventions,
    model: str,
    dictionary: str,
    files: Iterable[Path],
    summary: Path | None,
    gene_ids: Mapping[str, str],
) -> None:
    """Each steered feature and coefficient as an intervention, with its most moved genes.

    Raises
    ------
    UserError
        If a file is damaged, or contradicts the summary.
    """
    parts: dict[Key, Mapping[str, Json]] = {}
    for path in files:
        data = json_object(read_json(path), ("feature_idx", "layer", "alpha_results"), path.name)
        parts[
            whole_number(data["layer"], f"{path.name}: layer"),
            whole_number(data["feature_idx"], f"{path.name}: feature_idx"),
        ] = data
    if summary:
        listed = [
            json_object(f, ("feature_idx", "layer", "alpha_results"), summary.name)
            for f in json_list(
                json_object(read_json(summary), ("features",), summary.name)["features"],
                summary.name,
            )
        ]
        stated = {
            (whole_number(f["layer"], "layer"), whole_number(f["feature_idx"], "feature_idx")): f
            for f in listed
        }
        wrong = [
            k
            for k in parts
            if k not in stated or stated[k]["alpha_results"] != parts[k]["alpha_results"]
        ]
        if wrong:
            raise UserError(
                f"{summary.parent.name}: feature {wrong[0][1]} of layer {wrong[0][0]} differs from"
                f" {summary.name}",
                "the files are of different runs: fetch them again",
            )
        parts = {**stated, **parts}
    moved: dict[float, list[float]] = defaultdict(list)
    for (layer, index), data in sorted(parts.items()):
        found.features.setdefault((layer, index), {})
        for text, result in json_object(
            data["alpha_results"], (), f"steering of L{layer} F{index}"
        ).items():
            coefficient = coefficient_of(text, f"steering of L{layer} F{index}")
            moved[coefficient].append(
                _condition(
                    found, Address(model, dictionary, layer, index), coefficient, result, gene_ids
                )
            )
    if not parts:
        return
    found.findings["steering"] = {
        "features": len(parts),
        "coefficients": sorted(moved),
        "readout": READOUT,
        "share_of_features_with_rising_shift": {
            f"{a:g}": sum(v > 0 for v in values) / len(values)
            for a, values in sorted(moved.items())
        },
    }
    strongest = max(moved)
    found.sentences.append(
        f"{len(parts)} features steered at coefficients"
        f" {', '.join(f'{a:g}' for a in sorted(moved))}: the state shift rises for"
        f" {sum(v > 0 for v in moved[strongest])} of {len(moved[strongest])} at {strongest:g}; no"
        " control was published"
    )
    unknown = sum(g.startswith("symbol:") for g in found.genes)
    if unknown:
        found.notes.append(
            f"{unknown} of {len(found.genes)} moved genes have no known Ensembl id: stored under"
            " their symbols"
        )


def coefficient_of(text: str, where: str) -> float:
    """A steering coefficient that a file gives as a key.

    Raises
    ------
    UserError
        If it is no finite number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{where} has the coefficient {text!r}, expected a number",
            "check that it is the right file",
        )
    return value


def _condition(
    found: Interventions,
    address: Address,
    coefficient: float,
    condition: Json,
    gene_ids: Mapping[str, str],
) -> float:
    """Add one steered feature at one coefficient; return the mean state shift."""
    where = f"steering of {address.short} x {coefficient:g}"
    result = json_object(
        condition,
        (
            "n_cells_steered",
            "mean_state_shift",
            "std_state_shift",
            "top_upregulated",
            "top_downregulated",
        ),
        where,
    )
    cells, effect = (
        whole_number(result["n_cells_steered"], f"{where}: cells"),
        number(result["mean_state_shift"], f"{where}: mean_state_shift"),
    )
    spread = number(result["std_state_shift"], f"{where}: std_state_shift")
    key = steering_id(address, coefficient)
    add_steering(found, address, coefficient, cells, effect, half_interval(spread, cells))
    seen: set[str] = set()
    for listed in ("top_upregulated", "top_downregulated"):
        for gene in json_list(result[listed], f"{where}: {listed}"):
            gene = json_object(gene, ("gene", "delta"), f"{where}: {listed}")
            symbol = str(gene["gene"])
            ensembl = (
                symbol if symbol.startswith("ENSG") else gene_ids.get(symbol, f"symbol:{symbol}")
            )
            if ensembl in seen:
                found.notes.append(f"{where}: gene {symbol} is listed twice; the first was kept")
                continue
            seen.add(ensembl)
            found.genes[ensembl] = symbol
            found.rows["Intervention-SHIFTED-Gene"].append(
                {
                    "source": key,
                    "target": ensembl,
                    "dose": coefficient - 1,
                    "effect": number(gene["delta"], f"{where}: {symbol}"),
                }
            )
    return effect


def steering_id(address: Address, coefficient: float) -> str:
    """Id of the intervention that steers a feature at a coefficient."""
    steered = f"{address.short.replace('/', '')}@{coefficient:g}"
    return f"{address.model}/{address.dictionary}/steer/{steered}"


def half_interval(spread: float, cells: int) -> float | None:
    """Half of the 95 % t interval of a mean; None of one cell. The published spread divides by n,
    hence n - 1 here.
    """
    from scipy.special import stdtrit

    return float(stdtrit(cells - 1, 0.975)) * spread / math.sqrt(cells - 1) if cells > 1 else None


def add_steering(
    found: Interventions,
    address: Address,
    coefficient: float,
    cells: int,
    effect: float,
    half: float | None,
) -> None:
    """Add the intervention that steers a feature at a coefficient, and its feature."""
    key = steering_id(address, coefficient)
    found.rows["Intervention"].append(
        {
            "id": key,
            "name": f"{address.short} x {coefficient:g}",
            "verb": "steer",
            "order": 1,
            "coefficient": coefficient,
            "target_layer": LAST_LAYER,
            "cells": cells,
            "effect": effect,
            "effect_low": effect - half if half is not None else None,
            "effect_high": effect + half if half is not None else None,
            "readout": READOUT,
        }
    )
    found.rows["Feature-PART_OF-Intervention"].append(
        {"source": str(address), "target": key, "role": "steered", "coefficient": coefficient}
    )


def read_signatures(found: Interventions, path: Path) -> None:
    """Norms and cosine of the two state signatures that define the state shift.

    Raises
    ------
    UserError
        If they are damaged, of different shapes, or not finite.
    """
    import zipfile

    import numpy as np

    check_zip(path)
    try:
        with np.load(path, allow_pickle=False) as data:
            early, late = data["early"], data["late"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path.name} cannot be read as two signatures (early, late): {error}", "fetch it again"
        ) from error
    if (
        early.shape != late.shape
        or early.ndim != 1
        or not (np.isfinite(early).all() and np.isfinite(late).all())
    ):
        raise UserError(
            f"{path.name}: early {early.shape} and late {late.shape}, expected two finite vectors"
            " of equal length",
            "fetch it again",
        )
    norms = [float(np.linalg.norm(v)) for v in (early, late)]
    found.findings["state_signatures"] = {
        "length": len(early),
        "norm_early": norms[0],
        "norm_late": norms[1],
        "cosine": float(early @ late / (norms[0] * norms[1])),
    }
