"""The selective circuit study: what chance gives for its sources, from the public feature atlases.

An edge is coherent if its ends share a term. For a published source s and a random annotated target
of layer t, drawn evenly or by firing rate,

    P(share) = sum_j w_j [terms(s) and terms(j) intersect] / sum_j w_j,

averaged over sources and over the layers after theirs. Terms are compared by their text, as
published; ``pairwise_enrichment`` and ``transcription_factors`` are placeholders without meaning.
The study's source features follow from its stated selection rule and the atlas.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.study_files import ATLAS, StudyFiles

GENERIC = frozenset({"pairwise_enrichment", "transcription_factors"})
_SIZE = 30
_MIN_GENES = {"geneformer": 10, "scgpt": 5}
_EDGE_KINDS = ("STRING_edges", "TRRUST_edges")
# sources and the target layers whose annotations the atlas has
_SETS = {
    ("geneformer", 5): (6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17),
    ("geneformer", 15): (16, 17),
    ("scgpt", 0): (4, 8),
    ("scgpt", 4): (8,),
}


def _names(model: str, layer: int) -> tuple[str, str]:
    base = f"{ATLAS}{model}/layer_{layer:02d}"
    return f"{base}_annotations.json", f"{base}_features.json"


def _rates(files: StudyFiles, model: str, layer: int) -> dict[int, float]:
    return {row["i"]: row["f"] for row in files.json(_names(model, layer)[1])}


def _annotations(files: StudyFiles, model: str, layer: int) -> Mapping[str, Any]:
    return files.json(_names(model, layer)[0])


def _terms(files: StudyFiles, model: str, layer: int) -> dict[int, frozenset[str]]:
    """Index -> terms, of the annotated features."""

    def read(files: StudyFiles) -> dict[int, frozenset[str]]:
        found = _annotations(files, model, layer)
        return {
            int(i): frozenset(a["t"] for a in row["anns"])
            for i, row in found.items()
            if row["anns"]
        }

    return files.once(f"terms {model} {layer}", read)


def _score(anns: list[Any], model: str) -> float:
    """The published selection score of a feature."""
    tested = [a["p"] for a in anns if a.get("p") is not None]
    edges = sum(a["o"] in _EDGE_KINDS for a in anns)
    smallest = max(min(tested, default=1.0), 1e-30)
    counted = len(tested) + 2 * edges if model == "scgpt" else len(anns)
    return 10 * len({a["o"] for a in anns}) + counted - float(np.log10(smallest))


def sources(files: StudyFiles, model: str, layer: int) -> list[int]:
    """The 30 features with the largest score, among those that fire in 1 % of positions."""

    def choose(files: StudyFiles) -> list[int]:
        rates = _rates(files, model, layer)
        pool = {
            int(i): row["anns"]
            for i, row in _annotations(files, model, layer).items()
            if row["anns"] and len(row["genes"][:20]) >= _MIN_GENES[model] and rates[int(i)] >= 0.01
        }
        return sorted(pool, key=lambda i: (-_score(pool[i], model), i))[:_SIZE]

    return files.once(f"sources {model} {layer}", choose)


def _chance(
    model: str, layer: int, targets: tuple[int, ...], leave_out: frozenset[str] = frozenset()
) -> Callable[[StudyFiles], Value]:
    def shares(files: StudyFiles) -> Value:
        own = _terms(files, model, layer)
        even, weighted = [], []
        for t in targets:
            rates, terms = _rates(files, model, t), _terms(files, model, t)
            w = np.array([rates[i] for i in terms])
            for s in sources(files, model, layer):
                wanted = own[s] - leave_out
                hit = np.array([not wanted.isdisjoint(found) for found in terms.values()])
                even.append(float(hit.mean()))
                weighted.append(float((hit * w).sum() / w.sum()))
        return [statistics.mean(even), statistics.mean(weighted)]

    return shares


def _pool_size(model: str, layer: int) -> Callable[[StudyFiles], Value]:
    def counted(files: StudyFiles) -> Value:
        own, chosen = _terms(files, model, layer), sources(files, model, layer)
        return [
            statistics.median(len(own[s]) for s in chosen),
            statistics.median(map(len, own.values())),
            f"{sum(not own[s].isdisjoint(GENERIC) for s in chosen)} of {len(chosen)}",
        ]

    return counted


def _shared(
    model: str, source: tuple[int, int], target: tuple[int, int]
) -> Callable[[StudyFiles], Value]:
    return lambda files: len(
        _terms(files, model, source[0])[source[1]] & _terms(files, model, target[0])[target[1]]
    )


def _files(model: str, *layers: int) -> tuple[str, ...]:
    return tuple(name for layer in layers for name in _names(model, layer))


_EDGES = (  # model, source, target, shared terms as printed
    ("scgpt", (0, 1905), (4, 1387), "158"),
    ("geneformer", (5, 2743), (6, 3989), "126"),
    ("geneformer", (5, 2743), (10, 3430), "115"),
)
_OBSERVED = {"geneformer": "observed over all edges of A: 52.9 %", "scgpt": "observed in D: 53.0 %"}

CHANCE = Theme(
    "chance",
    "The selective circuit study: chance levels from the public atlases",
    (
        *(
            Check(
                f"shared_{model}_L{a[0]}F{a[1]}_L{b[0]}F{b[1]}",
                f"{model} L{a[0]} F{a[1]} to L{b[0]} F{b[1]}: shared terms",
                printed,
                _shared(model, a, b),
                _files(model, a[0], b[0]),
            )
            for model, a, b, printed in _EDGES
        ),
        *(
            Check(
                f"{model}_L{layer}",
                f"{model} L{layer} sources: chance that a random annotated target shares a term,"
                " drawn evenly, by firing rate",
                "",
                _chance(model, layer, targets),
                _files(model, layer, *targets),
                _OBSERVED[model],
            )
            for (model, layer), targets in _SETS.items()
        ),
        *(
            Check(
                f"{model}_L{layer}_without",
                f"{model} L{layer} sources: the same without the two placeholder terms",
                "",
                _chance(model, layer, targets, GENERIC),
                _files(model, layer, *targets),
            )
            for (model, layer), targets in _SETS.items()
        ),
        *(
            Check(
                f"{model}_L{layer}_terms",
                f"{model} L{layer}: median terms of a source, of an annotated feature; sources with"
                " a placeholder term",
                "",
                _pool_size(model, layer),
                _files(model, layer),
                "sources were chosen for their number of terms",
            )
            for model, layer in (*_SETS, ("scgpt", 8))
        ),
    ),
)
