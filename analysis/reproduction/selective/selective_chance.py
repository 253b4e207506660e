"""The selective circuit study: what chance gives for its sources, from the public feature atlases.

An edge is coherent if its ends share a term. For a published source s and a random annotated target
of layer t, drawn evenly or by firing rate,

    P(share) = sum_j w_j [terms(s) and terms(j) intersect] / sum_j w_j,

averaged over sources and over the layers after theirs. Terms are compared by their text, as
published; ``pairwise_enrichment`` and ``transcription_factors`` are placeholders without meaning.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.selective.published_sources import (
    GENERIC,
    annotations_of,
    layer_files,
    rates_of,
    source_label,
    sources,
    target_label,
    terms_of,
)
from scircuit.analysis.reproduction.study_files import StudyFiles

# sources and target layers: all that the atlas annotates of Geneformer, a part of scGPT's
_SETS = {
    ("geneformer", 5): (6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17),
    ("geneformer", 15): (16, 17),
    ("scgpt", 0): (4, 8),
    ("scgpt", 4): (8,),
}
# every source layer of condition D with all its target layers
SCGPT = {layer: tuple(range(layer + 1, 12)) for layer in (0, 4, 8)}
GENEFORMER = {layer: targets for (model, layer), targets in _SETS.items() if model == "geneformer"}


def _chance(
    model: str, layer: int, targets: tuple[int, ...], leave_out: frozenset[str] = frozenset()
) -> Callable[[StudyFiles], Value]:
    def shares(files: StudyFiles) -> Value:
        own = terms_of(files, model, layer)
        even, weighted = [], []
        for t in targets:
            rates, terms = rates_of(files, model, t), terms_of(files, model, t)
            w = np.array([rates[i] for i in terms])
            for s in sources(files, model, layer):
                wanted = own[s] - leave_out
                hit = np.array([not wanted.isdisjoint(found) for found in terms.values()])
                even.append(float(hit.mean()))
                weighted.append(float((hit * w).sum() / w.sum()))
        return [statistics.mean(even), statistics.mean(weighted)]

    return shares


def _pooled(leave_out: frozenset[str] = frozenset()) -> Callable[[StudyFiles], Value]:
    """Chance over every source and target layer of condition D, each pair of layers once."""

    def shares(files: StudyFiles) -> Value:
        found = [
            np.array(_chance("scgpt", layer, (target,), leave_out)(files), dtype=float)
            for layer, targets in SCGPT.items()
            for target in targets
        ]
        return np.mean(found, axis=0).tolist()

    return shares


def _first_is_best(files: StudyFiles) -> str:
    """Sources whose label is also that of their smallest p."""
    own = [
        annotations_of(files, model, layer)[str(s)]["anns"]
        for model, layer in _CHOSEN
        for s in sources(files, model, layer)
    ]
    same = sum(source_label(a) is not None and source_label(a) == target_label(a) for a in own)
    return f"{same} of {len(own)}"


def _placeholders(model: str, layers: tuple[int, ...]) -> Callable[[StudyFiles], Value]:
    """Share of the annotated features that carry a placeholder term."""

    def share(files: StudyFiles) -> Value:
        found = [terms for layer in layers for terms in terms_of(files, model, layer).values()]
        return sum(not terms.isdisjoint(GENERIC) for terms in found) / len(found)

    return share


def _ranks(files: StudyFiles) -> Value:
    """Rank by firing rate of the targets with the largest published in-degree."""
    rates = rates_of(files, "geneformer", 16)
    order = sorted(rates, key=lambda i: (-rates[i], i))
    return [order.index(i) + 1 for i in _IN_HUBS]


def _pool_size(model: str, layer: int) -> Callable[[StudyFiles], Value]:
    def counted(files: StudyFiles) -> Value:
        own, chosen = terms_of(files, model, layer), sources(files, model, layer)
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
        terms_of(files, model, source[0])[source[1]] & terms_of(files, model, target[0])[target[1]]
    )


def _spoken(layers: tuple[int, ...]) -> str:
    """Such as ``to layers 6-10, 12-17``."""
    starts = [n for n in layers if n - 1 not in layers]
    ends = [n for n in layers if n + 1 not in layers]
    spans = [f"{a}-{b}" if a < b else f"{a}" for a, b in zip(starts, ends, strict=True)]
    return f"to layer{'s' if len(layers) > 1 else ''} {', '.join(spans)}"


_EDGES = (  # model, source, target, shared terms as printed
    ("scgpt", (0, 1905), (4, 1387), "158"),
    ("geneformer", (5, 2743), (6, 3989), "126"),
    ("geneformer", (5, 2743), (10, 3430), "115"),
)
_CHOSEN = (*_SETS, ("scgpt", 8))
_IN_HUBS = (2818, 1691, 4354, 1375, 1057)  # of layer 16, condition A
_ANNOTATED = tuple(layer for layer in range(4, 18) if layer != 11)  # of Geneformer in the atlas
_ALL_SCGPT = layer_files("scgpt", *range(12))
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
                layer_files(model, a[0], b[0]),
            )
            for model, a, b, printed in _EDGES
        ),
        *(
            Check(
                f"{model}_L{layer}",
                f"{model} L{layer} sources, {_spoken(targets)}: chance that a random annotated"
                " target shares a term, drawn evenly, by firing rate",
                "",
                _chance(model, layer, targets),
                layer_files(model, layer, *targets),
                _OBSERVED[model] + ("; a part of the target layers" if model == "scgpt" else ""),
            )
            for (model, layer), targets in _SETS.items()
        ),
        *(
            Check(
                f"{model}_L{layer}_without",
                f"{model} L{layer} sources, {_spoken(targets)}: the same without the two"
                " placeholder terms",
                "",
                _chance(model, layer, targets, GENERIC),
                layer_files(model, layer, *targets),
            )
            for (model, layer), targets in _SETS.items()
        ),
        Check(
            "scgpt_all",
            "scgpt, sources of layers 0, 4 and 8, all 21 pairs of layers: chance that a random"
            " annotated target shares a term, drawn evenly, by firing rate",
            "",
            _pooled(),
            _ALL_SCGPT,
            _OBSERVED["scgpt"],
        ),
        Check(
            "scgpt_all_without",
            "scgpt, all 21 pairs of layers: the same without the two placeholder terms",
            "",
            _pooled(GENERIC),
            _ALL_SCGPT,
        ),
        Check(
            "placeholders_geneformer",
            "geneformer, layers 4 to 17 without 11: share of annotated features with a placeholder"
            " term",
            "",
            _placeholders("geneformer", _ANNOTATED),
            layer_files("geneformer", *_ANNOTATED),
        ),
        Check(
            "placeholders_scgpt",
            "scgpt, all 12 layers: share of annotated features with a placeholder term",
            "",
            _placeholders("scgpt", tuple(range(12))),
            _ALL_SCGPT,
        ),
        Check(
            "first_is_best",
            "sources whose label is the process with their smallest p",
            "",
            _first_is_best,
            tuple(name for model, layer in _CHOSEN for name in layer_files(model, layer)),
            "the label of a source is the first term of its list, that of a target has the"
            " smallest p",
        ),
        Check(
            "in_hubs",
            "largest in-degrees of A (L16 F2818, F1691, F4354, F1375, F1057): rank by firing rate"
            " among 4,608",
            "",
            _ranks,
            layer_files("geneformer", 16)[1:],
            "published as hubs, with 93 to 88 edges; all fire among the 0.2 % most frequent",
        ),
        *(
            Check(
                f"{model}_L{layer}_terms",
                f"{model} L{layer}: median terms of a source, of an annotated feature; sources with"
                " a placeholder term",
                "",
                _pool_size(model, layer),
                layer_files(model, layer),
                "sources were chosen for their number of terms",
            )
            for model, layer in _CHOSEN
        ),
    ),
)
