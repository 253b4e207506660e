"""What may be said about an imported atlas: what it holds, what is missing, and what its numbers do
not mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scircuit.ingest.importers.atlas.layer_file import KINDS


def sentences(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences for people, from the findings of an import."""
    counts, present = found["counts"], found["layers_with_features"]
    whole = (
        f"all {found['layers']}"
        if len(present) == found["layers"]
        else f"{len(present)} of {found['layers']}"
    )
    said = [
        (
            f"{found['model']}/{found['dictionary']}: {counts['features']:,} features,"
            f" {counts.get('alive', 0):,} of them known to fire; {whole} layers have their features"
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
            " annotated too: the rate says nothing without its null, which scircuit annotate --run"
            " RUN (the id above) computes."
        )
    if found["degenerate"]:
        said.append(
            f"{found['degenerate_large']} of the {found['large']} knock-down effects above 0.5"
            " belong to features that hardly fire in the controls: they divide by nothing and are"
            " marked degenerate."
        )
    return tuple(said)


def notes(found: Mapping[str, Any], no_global: Sequence[str]) -> tuple[str, ...]:
    """What was missing, mended or left out, with counts."""
    counts, missing = found["counts"], {int(k): v for k, v in found["missing"].items()}
    said = []
    consequence = {
        "features": "their features are there only as far as other files name them",
        "annotations": "no published terms, and only the first 5 genes of a feature",
        "celltypes": "no cell types and tissues",
        "positions": "no positions of the published page",
    }
    nothing = [layer for layer, kinds in missing.items() if set(kinds) == set(KINDS)]
    if nothing:
        named = (
            "features are there only as far as other files name them"
            f" ({found['features_named_only']:,} features)"
        )
        said.append(
            f"no file of its own for layer{'s' * (len(nothing) > 1)} {_ranges(nothing)}: {named}"
        )
    for kind in KINDS:
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
            f"{len(found['not_json'])} files hold Infinity or NaN"
            f" ({sum(found['not_json'].values()):,} values), which is not JSON: read and kept as"
            " unknown"
        )
    if found["infinite_odds"]:
        said.append(
            f"{found['infinite_odds']:,} odds ratios are infinite: stored without a number,"
            " odds_infinite is true"
        )
    if counts.get("p_zero"):
        said.append(
            f"{counts['p_zero']:,} published adjusted p are 0: the file rounds values below 5e-7,"
            " so q = 0 means below that"
        )
    pairs = counts.get("string_density", 0) + counts.get("trrust_density", 0)
    if pairs:
        said.append(
            f"{pairs:,} entries count gene pairs without a test: stored as densities, not as terms"
        )
    if counts.get("top_cells"):
        said.append(f"{counts['top_cells']:,} rows of top cells name no cell: left out")
    if counts.get("mean_unknown"):
        said.append(
            f"{counts['mean_unknown']:,} firing features have a mean activation that the file"
            " rounds to 0: unknown"
        )
    if found["genes_unknown"] or found["genes_merged"]:
        said.append(
            "gene symbols without an Ensembl id, which keep their symbol as id:"
            f" {found['genes_unknown']}; with the id of another symbol: {found['genes_merged']}"
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
