r"""The selective circuit study: what its statistics give where there is nothing to find.

- Consensus of two models. Each source feature gets as many targets as the study stored (50 a target
  layer), drawn at random from all active features of the layer. Pairs of labels that both models
  have are compared, as in the study, with those under permuted labels of scGPT, whose mean is exact
  here: with N labels, S pairs of scGPT and G of Geneformer that are among them,

      E = S_apart G_apart / (N (N - 1)) + S_same G_same / N,

  apart and same: pairs of two different labels and of one label twice.
- Coherence with shuffled sources (the study's test E12): the chance that two random annotated
  features of the two layers share a term. It leaves out that sources were chosen for their terms.
- Sign. Effects that rise as often as they fall, by the published rule: ``|d| > 0.5`` and
  ``max(f, 1 - f) > 0.7``, f being the share of cells with an increase, so that a cell without any
  change counts as a decrease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from scircuit.analysis.reproduction.checks import Check, Theme
from scircuit.analysis.reproduction.printed import Value
from scircuit.analysis.reproduction.selective.published_sources import (
    annotations_of,
    layer_files,
    rates_of,
    source_label,
    sources,
    target_label,
    terms_of,
)
from scircuit.analysis.reproduction.selective.selective_chance import GENEFORMER, SCGPT
from scircuit.analysis.reproduction.study_files import StudyFiles

_STORED = 50  # targets of a source in a layer
_WORLDS = 5
_MOST_TERMS = 100_000
_CELLS, _TARGETS, _BLOCK = 200, 20_000, 2_000
_SHARES = (0.3, 0.5, 0.7, 0.9)
_LEAST_D, _LEAST_CONSISTENCY = 0.5, 0.7
Layers = Mapping[int, tuple[int, ...]]
Pairs = set[tuple[str, str]]


def random_pairs(
    files: StudyFiles, model: str, layers: Layers, by_rate: bool, rng: np.random.Generator
) -> Pairs:
    """Pairs of labels of the study's sources and random targets.

    Parameters
    ----------
    layers
        Source layer -> target layers.
    by_rate
        Targets are drawn by firing rate, and else evenly.
    """
    found: Pairs = set()
    for layer, targets in layers.items():
        own = annotations_of(files, model, layer)
        labels = [source_label(own[str(s)]["anns"]) for s in sources(files, model, layer)]
        for target in targets:
            theirs, rate = annotations_of(files, model, target), rates_of(files, model, target)
            active = [i for i in rate if rate[i] > 0]
            names = [target_label(theirs[str(i)]["anns"]) if str(i) in theirs else None
                     for i in active]  # fmt: skip
            weight = np.array([rate[i] for i in active])
            p = weight / weight.sum() if by_rate else None
            size = min(_STORED, len(active))
            for label in labels:
                if label is None:
                    continue
                for j in rng.choice(len(active), size, replace=False, p=p):
                    name = names[j]
                    if name is not None:
                        found.add((label, name))
    return found


def consensus(one: Pairs, two: Pairs) -> tuple[int, float]:
    """Pairs that both have, and their mean number under permuted labels of `two`."""
    names = {name for pair in two for name in pair}
    inside = [pair for pair in one if names.issuperset(pair)]
    n = len(names)
    same_one, same_two = (sum(a == b for a, b in pairs) for pairs in (inside, two))
    apart = (len(inside) - same_one) * (len(two) - same_two)
    expected = apart / (n * (n - 1)) if n > 1 else 0.0
    return len(one & two), expected + (same_one * same_two / n if n else 0.0)


def _folds(by_rate: bool) -> Callable[[StudyFiles], Value]:
    """Smallest and largest enrichment of random targets."""

    def folds(files: StudyFiles) -> Value:
        found = []
        for world in range(_WORLDS):
            rng = np.random.default_rng([world, by_rate])
            one = random_pairs(files, "geneformer", GENEFORMER, by_rate, rng)
            both, expected = consensus(one, random_pairs(files, "scgpt", SCGPT, by_rate, rng))
            found.append(both / max(expected, 1))
        return [min(found), max(found)]

    return folds


def _shuffled(model: str, layers: Layers) -> Callable[[StudyFiles], Value]:
    """Chance that two random annotated features share a term, mean over pairs of layers."""

    def share(files: StudyFiles) -> Value:
        from scipy import sparse

        column: dict[str, int] = {}

        def incidence(layer: int) -> sparse.csr_matrix:
            found = list(terms_of(files, model, layer).values())
            at = np.array([column.setdefault(t, len(column)) for row in found for t in sorted(row)])
            ends = np.cumsum([0, *map(len, found)])
            return sparse.csr_matrix((np.ones(at.size, dtype=np.float32), at, ends),
                                     shape=(len(found), _MOST_TERMS))  # fmt: skip

        chances = []
        for source, targets in layers.items():
            own = incidence(source)
            for target in targets:
                theirs = incidence(target)
                pairs = (own.indptr.size - 1) * (theirs.indptr.size - 1)
                chances.append((own @ theirs.T).nnz / pairs)
        return float(np.mean(chances))

    return share


def negative_share(changed: float, symmetric: bool, seed: int = 0) -> float:
    """Share of d < 0 among the edges of effects without a usual direction.

    Parameters
    ----------
    changed
        Share of the cells in which a target changes at all.
    symmetric
        Consistency is the share of the changes that have the sign of d, and not the published one.
    """
    rng = np.random.default_rng([seed, round(100 * changed)])
    negative = edges = 0
    for _ in range(_TARGETS // _BLOCK):
        effect = rng.normal(size=(_BLOCK, 1)) + rng.normal(size=(_BLOCK, _CELLS))
        effect *= rng.random((_BLOCK, _CELLS)) < changed
        d = effect.mean(axis=1) / effect.std(axis=1, ddof=1)
        rising, falling = (effect > 0).sum(axis=1), (effect < 0).sum(axis=1)
        if symmetric:
            consistent = np.where(d > 0, rising, falling) / np.maximum(rising + falling, 1)
        else:
            consistent = np.maximum(rising, _CELLS - rising) / _CELLS
        called = (np.abs(d) > _LEAST_D) & (consistent > _LEAST_CONSISTENCY)
        edges += int(called.sum())
        negative += int((called & (d < 0)).sum())
    return negative / edges if edges else float("nan")


def _signs(symmetric: bool) -> Callable[[object], Value]:
    return lambda _: [negative_share(share, symmetric) for share in _SHARES]


_GENEFORMER_FILES = layer_files("geneformer", *sorted({*GENEFORMER, *sum(GENEFORMER.values(), ())}))
_SCGPT_FILES = layer_files("scgpt", *range(12))
_SPOKEN = ", ".join(f"{100 * share:.0f}" for share in _SHARES)

RANDOM = Theme(
    "random",
    "The selective circuit study: what its statistics give without circuits",
    (
        Check(
            "consensus",
            "consensus pairs over those expected: more than random targets of the same sources"
            " (drawn by firing rate; smallest and largest of five worlds)",
            "10.64",
            _folds(True),
            (*_GENEFORMER_FILES, *_SCGPT_FILES),
            "Geneformer sources of layers 5 and 15; targets from all active features",
            claim=True,
            holds=lambda v: v[1] < 10.64,
        ),
        Check(
            "consensus_even",
            "the same, random targets drawn evenly",
            "",
            _folds(False),
            (*_GENEFORMER_FILES, *_SCGPT_FILES),
            "labels are few and sources chosen by one score in both models",
        ),
        Check(
            "shuffled_geneformer",
            "geneformer: coherence expected if the terms of the sources are shuffled too",
            "",
            _shuffled("geneformer", GENEFORMER),
            _GENEFORMER_FILES,
            "the study's test E12: a third of the chance of the sources themselves",
        ),
        Check(
            "shuffled_scgpt",
            "scgpt: coherence expected if the terms of the sources are shuffled too",
            "",
            _shuffled("scgpt", SCGPT),
            _SCGPT_FILES,
            "as above",
        ),
        Check(
            "negative",
            "share of d < 0 by the published rule of effects that rise as often as they fall,"
            f" present in {_SPOKEN} % of the cells (simulation)",
            "",
            _signs(False),
            (),
            "normal effects, 200 cells; published: 65.5 to 89.4 %",
        ),
        Check(
            "negative_symmetric",
            "the same if cells without a change do not count as a decrease",
            "",
            _signs(True),
        ),
    ),
)
