"""The published sources of the selective study, found again, with the labels of their ends.

The study's source features follow from its stated selection rule and the public atlas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scircuit.analysis.reproduction.study_files import ATLAS, StudyFiles

GENERIC = frozenset({"pairwise_enrichment", "transcription_factors"})
_SIZE = 30
_MIN_GENES = {"geneformer": 10, "scgpt": 5}
_EDGE_KINDS = ("STRING_edges", "TRRUST_edges")
_LABELS = ("GO_BP", "KEGG", "Reactome")


def _layer_names(model: str, layer: int) -> tuple[str, str]:
    base = f"{ATLAS}{model}/layer_{layer:02d}"
    return f"{base}_annotations.json", f"{base}_features.json"


def rates_of(files: StudyFiles, model: str, layer: int) -> dict[int, float]:
    """Index -> firing rate of the features of a layer."""
    return {row["i"]: row["f"] for row in files.json(_layer_names(model, layer)[1])}


def annotations_of(files: StudyFiles, model: str, layer: int) -> Mapping[str, Any]:
    """Index, as text -> top genes and annotations of a feature."""
    return files.json(_layer_names(model, layer)[0])


def terms_of(files: StudyFiles, model: str, layer: int) -> dict[int, frozenset[str]]:
    """Index -> terms, of the annotated features."""

    def read(files: StudyFiles) -> dict[int, frozenset[str]]:
        found = annotations_of(files, model, layer)
        return {
            int(i): frozenset(a["t"] for a in row["anns"])
            for i, row in found.items()
            if row["anns"]
        }

    return files.once(f"terms {model} {layer}", read)


def _score(anns: list[Any], model: str) -> float:
    """The published selection score of a feature."""
    edges = sum(a["o"] in _EDGE_KINDS for a in anns)
    # p of an edge kind is the density of its edges in the atlas, and was absent in the study
    tested = [a["p"] for a in anns if a.get("p") is not None and a["o"] not in _EDGE_KINDS]
    smallest = max(min(tested, default=1.0), 1e-30)
    counted = len(tested) + 2 * edges if model == "scgpt" else len(anns)
    return 10 * len({a["o"] for a in anns}) + counted - float(np.log10(smallest))


def sources(files: StudyFiles, model: str, layer: int) -> list[int]:
    """The 30 features with the largest score, among those that fire in 1 % of positions."""

    def choose(files: StudyFiles) -> list[int]:
        rates = rates_of(files, model, layer)
        pool = {
            int(i): row["anns"]
            for i, row in annotations_of(files, model, layer).items()
            if row["anns"] and len(row["genes"][:20]) >= _MIN_GENES[model] and rates[int(i)] >= 0.01
        }
        return sorted(pool, key=lambda i: (-_score(pool[i], model), i))[:_SIZE]

    return files.once(f"sources {model} {layer}", choose)


def source_label(anns: list[Any]) -> str | None:
    """The study's label of a source: the first term in the order of the list."""
    return next((a["t"] for a in anns if a["o"] in _LABELS), None)


def target_label(anns: list[Any]) -> str | None:
    """The study's label of a target: the biological process with the smallest p."""
    tested = [a for a in anns if a["o"] == "GO_BP" and a.get("p") is not None]
    return min(tested, key=lambda a: a["p"])["t"] if tested else None


def layer_files(model: str, *layers: int) -> tuple[str, ...]:
    """Names of the atlas files of these layers, annotations before features."""
    return tuple(name for layer in layers for name in _layer_names(model, layer))
