"""Sentences and notes about an imported atlas: its content, what is missing, and how its numbers
may not be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from scircuit.ingest.importers.atlas.layer_file import LAYER_FILES


class AtlasFindings(TypedDict):
    """Numbers about an imported atlas in the manifest; lists of layers are 0-based."""

    model: str
    dictionary: str
    layers: int
    features_per_layer: int
    counts: dict[str, int]
    layers_with_features: list[int]
    features_named_only: int
    missing: dict[str, list[str]]
    feature_genes: dict[str, int]
    tested_features: dict[str, int]
    annotated_by_layer: dict[str, int | None]
    alive_by_layer: dict[str, int | None]
    infinite_odds: int
    not_json: dict[str, int]
    published_totals: dict[str, object]
    published_summaries: dict[str, dict]
    term_library: str
    backgrounds: Mapping[str, int]
    genes: int
    genes_unknown: int
    genes_merged: int
    terms: int
    memberships: int
    groups: int
    links: int
    modules: int
    responses: int
    degenerate: int
    degenerate_large: int
    large: int


def sentences(found: AtlasFindings) -> tuple[str, ...]:
    """Sentences for the report, from the findings of an import."""
    counts, present = found["counts"], found["layers_with_features"]
    complete = (
        f"all {found['layers']}"
        if len(present) == found["layers"]
        else f"{len(present)} of {found['layers']}"
    )
    said = [
        (
            f"{found['model']}/{found['dictionary']}: {counts['features']:,} features,"
            f" {counts.get('alive', 0):,} of them known to fire; {complete} layers have a features"
            " file."
        ),
        (
            f"{found['genes']:,} genes, {found['terms']:,} terms, {counts.get('associations', 0):,}"
            f" published associations, {found['modules']} modules, {found['links']:,} links between"
            " layers."
        ),
    ]
    alive, annotated = counts.get("alive", 0), counts.get("annotated", 0)
    if alive:
        totals = found["published_totals"]
        of_all = (
            ""
            if totals.get("total_alive", alive) == alive
            else (
                f" (in the whole atlas, by its summary, {totals.get('total_annotated', 0):,} of"
                f" {totals['total_alive']:,})"
            )
        )
        said.append(
            f"As published, {annotated:,} of {alive:,} firing features"
            f" ({100 * annotated / alive:.1f} %) are annotated{of_all}. Random gene lists are"
            " annotated too: compare the rate with its null, which scircuit annotate --run RUN (the"
            " id above) computes."
        )
    if found["degenerate"]:
        said.append(
            f"{found['degenerate_large']} of the {found['large']} knock-down effects above 0.5"
            " belong to features that hardly fire in the controls: they divide by a standard"
            " deviation near zero and are marked degenerate."
        )
    return tuple(said)


def notes(found: AtlasFindings, no_global: Sequence[str]) -> tuple[str, ...]:
    """What was missing, corrected or left out, with counts."""
    counts, missing = found["counts"], {int(k): v for k, v in found["missing"].items()}
    said = []
    consequence = {
        "features": "only their features that other files name were imported",
        "annotations": "no published terms, and only the first 5 genes of each feature",
        "celltypes": "no cell types and tissues",
        "positions": "no positions on the published page",
    }
    nothing = [layer for layer, kinds in missing.items() if set(kinds) == set(LAYER_FILES)]
    if nothing:
        named = (
            "only their features that other files name were imported"
            f" ({found['features_named_only']:,} features)"
        )
        said.append(f"no files for layer{'s' * (len(nothing) > 1)} {_ranges(nothing)}: {named}")
    for kind in LAYER_FILES:
        layers = [
            layer for layer, kinds in missing.items() if kind in kinds and layer not in nothing
        ]
        if layers:
            said.append(
                f"no {kind} file for layer{'s' * (len(layers) > 1)} {_ranges(layers)}:"
                f" {consequence[kind]}"
            )
    if no_global:
        said.append(f"not in the folder: {', '.join(no_global)}")
    if found["not_json"]:
        said.append(
            f"{len(found['not_json'])} files contain Infinity or NaN"
            f" ({sum(found['not_json'].values()):,} values), which is not JSON: read as unknown"
            " values"
        )
    if found["infinite_odds"]:
        said.append(
            f"{found['infinite_odds']:,} odds ratios are infinite: stored without a number and with"
            " odds_infinite = true"
        )
    if counts.get("p_zero"):
        said.append(
            f"{counts['p_zero']:,} published adjusted p values are 0: the file rounds values below"
            " 5e-7, so q = 0 means q < 5e-7"
        )
    pairs = counts.get("string_density", 0) + counts.get("trrust_density", 0)
    if pairs:
        said.append(
            f"{pairs:,} entries count gene pairs without a test: stored as densities, not terms"
        )
    if counts.get("top_cells"):
        said.append(f"{counts['top_cells']:,} rows of top cells do not identify a cell: left out")
    if counts.get("mean_unknown"):
        said.append(
            f"{counts['mean_unknown']:,} firing features have a mean activation that the file"
            " rounds to 0: stored as unknown"
        )
    if found["genes_unknown"] or found["genes_merged"]:
        said.append(
            f"gene symbols without an Ensembl id, stored under their symbol:"
            f" {found['genes_unknown']}; symbols that share an Ensembl id with another symbol:"
            f" {found['genes_merged']}"
        )
    if not found["term_library"]:
        said.append("no term library (--terms): terms have no size and no members")
    return tuple(said)


def _ranges(numbers: Sequence[int]) -> str:
    """``0-3, 11``."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
