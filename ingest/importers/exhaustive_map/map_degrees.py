"""Degrees and calibration of the published exhaustive map of layer 5: what its summaries, not its
edges, state about each feature.

Published degrees count targets with |d| > 0.5 and consistency > 0.7 (the legacy rule). The
calibrated ones count those that also have |g| > 0.5 after Hedges' correction and pass
Benjamini-Hochberg at 0.05 over the live tests of the same 600 features. The published residual of a
hub is log10((edges + 1) / (expected + 1)) against a quadratic of log10 firing rate; it is stored in
natural logarithms, as in own runs.

Degrees of the first tracing (double precision) take precedence over those of the second, which used
half precision.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from scircuit.core.errors import UserError
from scircuit.ingest.importers.feature_nodes import Key
from scircuit.ingest.importers.strict_files import (
    Json,
    json_list,
    json_object,
    number,
    read_json,
    whole_number,
)

LAYER = 5  # the calibration files do not name their layer; the study traced this one
FILES = (
    "exhaustive_tracing/exhaustive_summary.json",
    "revision/P1_calibration/edges_raw.json",
    "revision/P1_calibration/edges_fdr.json",
    "revision/P1_calibration/per_feature.json",
    "revision/P1_calibration/summary.json",
    "revision/P1_calibration/threshold_sweep.json",
    "revision/P4_tail/tail_fit_raw.json",
    "revision/P5_annotation/annotation_enrichment_raw.json",
)
MAX_DEGREE_CHANGE = 2  # largest change of a degree through half precision, as published


@dataclass
class Degrees:
    """Content of the files; `features` is (layer, index) -> properties."""

    features: dict[Key, dict[str, object]] = field(default_factory=lambda: defaultdict(dict))
    controls: list[dict[str, object]] = field(default_factory=list)
    findings: dict[str, object] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_degrees(present: Mapping[str, Path]) -> Degrees:
    """Degrees, hub ranks, calibration, tail and annotation tests from the present `FILES`.

    Raises
    ------
    UserError
        If a file is damaged or two files contradict each other.
    """
    found = Degrees()
    layer = LAYER
    if path := present.get(FILES[0]):
        layer = _summary(found, path)
    _calibration(found, layer, present)
    if path := present.get(FILES[6]):
        _tail(found, path)
    if path := present.get(FILES[7]):
        _annotation(found, path)
    for row in found.features.values():
        row["traced"] = True
    return found


def _summary(found: Degrees, path: Path) -> int:
    data = json_object(
        read_json(path),
        (
            "source_layer",
            "n_features_traced",
            "total_edges",
            "max_edges",
            "n_zero_edge_features",
            "top_20_hubs",
        ),
        path.name,
    )
    layer, total, sources = (
        whole_number(data[k], f"{path.name}: {k}")
        for k in ("source_layer", "total_edges", "n_features_traced")
    )
    hubs = [
        json_object(h, ("feature_idx", "total_edges"), f"{path.name}: a hub")
        for h in json_list(data["top_20_hubs"], f"{path.name}: top_20_hubs")
    ]
    degrees = [whole_number(h["total_edges"], f"{path.name}: total_edges") for h in hubs]
    largest = whole_number(data["max_edges"], f"{path.name}: max_edges")
    if degrees != sorted(degrees, reverse=True) or (degrees and degrees[0] != largest):
        raise UserError(
            f"{path.name}: the hubs are not in descending order from {largest:,} edges",
            "fetch the file again",
        )
    # A finding only: the atlas of the same features orders the same terms differently.
    labels: dict[str, str] = {}
    for rank, (hub, degree) in enumerate(zip(hubs, degrees, strict=True), start=1):
        row = found.features[layer, whole_number(hub["feature_idx"], f"{path.name}: feature_idx")]
        row |= {"out_degree_legacy": degree, "degree_rank": rank}
        if "n_cells_active" in hub:
            row["cells_active"] = whole_number(
                hub["n_cells_active"], f"{path.name}: n_cells_active"
            )
        labels[str(hub["feature_idx"])] = str(hub.get("label", ""))
    zero = whole_number(data["n_zero_edge_features"], f"{path.name}: n_zero_edge_features")
    found.findings |= {
        "source_layers": [layer],
        "sources": sources,
        "edges_legacy": total,
        "mean_degree": total / sources if sources else None,
        "median_degree": number(data.get("median_edges_per_feature", 0.0), f"{path.name}: median"),
        "max_degree": largest,
        "sources_without_edge": zero,
        "hub_labels": labels,
    }
    found.sentences.append(
        f"{total:,} edges of {sources:,} features of layer {layer} by the published rule: mean"
        f" {total / max(sources, 1):.1f}, largest {largest:,}, {zero} features without any"
    )
    return layer


def _by_feature(path: Path) -> dict[int, Json]:
    data = json_object(read_json(path), (), path.name)
    wrong = [k for k in data if not k.isdecimal()]
    if wrong:
        raise UserError(
            f"{path.name} has the key {wrong[0]!r}, expected feature indices",
            "check that it is the right file",
        )
    return {int(k): v for k, v in data.items()}


def _calibration(found: Degrees, layer: int, present: Mapping[str, Path]) -> None:
    raw_path, fdr_path, null_path, summary_path, sweep_path = (
        present.get(name) for name in FILES[1:6]
    )
    raw = (
        {i: whole_number(v, f"edges_raw.json: {i}") for i, v in _by_feature(raw_path).items()}
        if raw_path
        else {}
    )
    kept = (
        {i: whole_number(v, f"edges_fdr.json: {i}") for i, v in _by_feature(fdr_path).items()}
        if fdr_path
        else {}
    )
    nulls = _by_feature(null_path) if null_path else {}
    _check_second_tracing(found, layer, raw)
    for index, degree in kept.items():
        if index in raw and degree > raw[index]:
            raise UserError(
                f"edges_fdr.json: feature {index} has {degree} calibrated edges of {raw[index]}",
                "the files are of different runs: fetch both again",
            )
        found.features[layer, index]["out_degree"] = degree
    if kept:
        found.findings |= {"calibrated_sources": len(kept), "edges_calibrated": sum(kept.values())}
    null_rows = {
        i: json_object(v, ("observed_edges", "expected_null_edges"), f"per_feature.json: {i}")
        for i, v in nulls.items()
    }
    observed = {
        i: whole_number(row["observed_edges"], "observed_edges") for i, row in null_rows.items()
    }
    expected = math.fsum(
        number(row["expected_null_edges"], f"per_feature.json: {i}: expected_null_edges")
        for i, row in null_rows.items()
    )
    _check_equal(
        "observed edges of per_feature.json and edges_raw.json",
        {i: n for i, n in observed.items() if i in raw},
        {i: raw[i] for i in observed if i in raw},
    )
    if kept and nulls:
        _check_equal("features of edges_fdr.json and per_feature.json", sorted(kept), sorted(nulls))
    if summary_path:
        _calibration_summary(found, summary_path, raw, kept, observed, expected)
    if observed:
        _control(found, layer, kept, sum(observed.values()), expected, len(observed))
    if sweep_path:
        rows = [
            json_object(
                r,
                ("d_threshold", "consistency_threshold", "total_edges", "implied_fdr"),
                "threshold_sweep.json",
            )
            for r in json_list(read_json(sweep_path), sweep_path.name)
        ]
        found.findings["threshold_sweep"] = [
            {
                k: number(r[k], f"threshold_sweep.json: {k}")
                for k in ("d_threshold", "consistency_threshold", "total_edges", "implied_fdr")
            }
            for r in rows
        ]


def _check_second_tracing(found: Degrees, layer: int, raw: Mapping[int, int]) -> None:
    """Use degrees of the second tracing where the first has none; both must agree."""
    differ = 0
    for index, degree in raw.items():
        row = found.features[layer, index]
        known = cast("int", row.setdefault("out_degree_legacy", degree))
        if abs(known - degree) > MAX_DEGREE_CHANGE:
            raise UserError(
                f"feature {index} of layer {layer} has {known:,} edges in exhaustive_summary.json"
                f" and {degree:,} in edges_raw.json",
                "the files are of different runs: fetch both again",
            )
        differ += known != degree
    if differ:
        found.notes.append(
            f"{differ} features have a degree that differs in the second tracing (half precision),"
            f" by at most {MAX_DEGREE_CHANGE}: the degree of the first was kept"
        )
    if raw:
        found.findings["degrees_given"] = len(raw)


def _calibration_summary(
    found: Degrees,
    path: Path,
    raw: Mapping[int, int],
    kept: Mapping[int, int],
    observed: Mapping[int, int],
    expected: float,
) -> None:
    data = json_object(read_json(path), ("total_edges_raw", "permutation"), path.name)
    p = json_object(
        data["permutation"],
        ("observed_edges_subset", "expected_null_edges_subset", "effect_size_edges_surviving_bh"),
        f"{path.name}: permutation",
    )
    pairs = [("total_edges_raw", data["total_edges_raw"], found.findings.get("edges_legacy"))]
    if raw:
        pairs.append(
            (
                "total_edges_raw_retraced_subset",
                data.get("total_edges_raw_retraced_subset"),
                sum(raw.values()),
            )
        )
    if kept:
        pairs.append(
            (
                "effect_size_edges_surviving_bh",
                p["effect_size_edges_surviving_bh"],
                sum(kept.values()),
            )
        )
    if observed:
        pairs.append(("observed_edges_subset", p["observed_edges_subset"], sum(observed.values())))
        if not math.isclose(
            number(p["expected_null_edges_subset"], path.name), expected, rel_tol=1e-9
        ):
            raise UserError(
                f"{path.name} expects {p['expected_null_edges_subset']:,} null edges,"
                f" per_feature.json sums to {expected:,}",
                "fetch both files again",
            )
    for name, stated, summed in pairs:
        if stated is not None and summed is not None:
            _check_equal(f"{name} of {path.name} and the sum over features", stated, summed)
    found.findings["calibration"] = {k: v for k, v in p.items() if isinstance(v, (int, float))}
    if "bh_total_tests" in p:
        found.findings["live_tests"] = whole_number(
            p["bh_total_tests"], f"{path.name}: bh_total_tests"
        )
    if "estimated_total_edges_fdr_all_features" in p:
        found.notes.append(
            f"{p['estimated_total_edges_fdr_all_features']:,} calibrated edges of all features are"
            f" an extrapolation from {len(kept) or p.get('n_features')}: stored as a finding only"
        )


def _control(
    found: Degrees,
    layer: int,
    kept: Mapping[int, int],
    observed: int,
    expected: float,
    sources: int,
) -> None:
    """The sign-flip null as a control: edges by the published rule after random sign flips of the
    effects in the cells.
    """
    found.controls.append(
        {
            "name": f"sign flips L{layer:02d}",
            "control": "sign_flip",
            "source_layer": layer,
            "sources": sources,
            "edges": sum(kept.values()) or None,
            "edges_legacy": observed,
            "control_edges_legacy": round(expected),
        }
    )
    found.findings |= {
        "null_sources": sources,
        "null_observed": observed,
        "null_expected": expected,
        "false_discovery_rate": expected / observed if observed else None,
    }
    calibrated = f"; {sum(kept.values()):,} are calibrated as published" if kept else ""
    found.sentences.append(
        f"{observed:,} published edges of {sources} features; random signs give {expected:,.1f}"
        f" ({expected / max(observed, 1):.1%}){calibrated}"
    )


def _tail(found: Degrees, path: Path) -> None:
    data = json_object(read_json(path), ("n", "powerlaw", "comparisons"), path.name)
    law = json_object(data["powerlaw"], ("alpha", "xmin", "n_tail", "ks"), f"{path.name}: powerlaw")
    favoured = {
        name: json_object(comparison, (), f"{path.name}: {name}").get("favored")
        for name, comparison in json_object(
            data["comparisons"], (), f"{path.name}: comparisons"
        ).items()
    }
    found.findings["tail"] = {
        k: number(law[k], f"{path.name}: {k}")
        for k in ("alpha", "xmin", "n_tail", "ks", "gof_p")
        if k in law
    } | {"favoured": favoured}
    comparison = (
        "power law and alternatives cannot be distinguished"
        if set(favoured.values()) == {"inconclusive"}
        else f"favoured: {', '.join(sorted({str(v) for v in favoured.values()}))}"
    )
    found.sentences.append(
        f"tail of the published degrees: {whole_number(law['n_tail'], 'n_tail')} features from"
        f" {whole_number(law['xmin'], 'xmin')} edges on, exponent {law['alpha']:.2f}; {comparison}"
    )


def _annotation(found: Degrees, path: Path) -> None:
    tests = {}
    for part in json_list(read_json(path), path.name):
        part = json_object(part, ("layer", "n_features", "fisher", "frequency"), path.name)
        name = str(part["layer"])
        if not name.removeprefix("L").isdecimal():
            raise UserError(
                f"{path.name} has the layer {name!r}, expected a name such as L5",
                "check that it is the right file",
            )
        layer = int(name.removeprefix("L"))
        tests[name] = {
            "features": part["n_features"],
            "fisher": part["fisher"],
            "matched": part.get("freq_matched", []),
        }
        frequency = json_object(part["frequency"], (), f"{path.name}: frequency")
        hubs = json_list(
            frequency.get("residual_hub_top20", []), f"{path.name}: residual_hub_top20"
        )
        for rank, hub in enumerate(hubs, start=1):
            _residual_hub(found, layer, hub, rank, f"{path.name}, {name}")
    found.findings["bias"] = tests


def _residual_hub(found: Degrees, layer: int, listed: Json, rank: int, where: str) -> None:
    hub = json_object(listed, ("feature_idx", "edges", "activation_freq", "residual_degree"), where)
    index = whole_number(hub["feature_idx"], f"{where}: feature_idx")
    edges = whole_number(hub["edges"], f"{where}: edges")
    residual = number(hub["residual_degree"], f"{where}: residual_degree")
    row = found.features[layer, index]
    stated = cast("int", row.get("out_degree_legacy", edges))
    if abs(stated - edges) > MAX_DEGREE_CHANGE:
        raise UserError(
            f"{where}: feature {index} has {edges:,} edges, other files state {stated:,}",
            "fetch the files again",
        )
    row |= {
        "out_degree_legacy": edges,
        "firing_rate": number(hub["activation_freq"], f"{where}: activation_freq"),
        "hub_rank": rank,
        "residual_degree": residual * math.log(10),
        "expected_degree": (edges + 1) / 10**residual - 1,
    }


def _check_equal(what: str, one: object, other: object) -> None:
    if one != other:
        numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
        difference = f"{one:,} and {other:,}" if numbers else "not equal"
        raise UserError(
            f"{what}: {difference}",
            "the files are of different runs, or one is damaged: fetch them again",
        )
