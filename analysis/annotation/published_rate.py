"""The annotation rate of a published atlas beside its null: the same procedure on random gene
lists, and the calibrated rule on the same gene sets.

The published procedure tests, layer by layer, the terms that share two genes or more with a feature
(one-sided Fisher, the background being the N genes of any list of the layer) and corrects by
Benjamini-Hochberg over those tests alone. Tests that could not pass are thus kept out of the
family, and most random lists pass. Three rates are compared, with the same gene sets and the
same N:

1. ``published``: features with an annotation entry of any kind, gene pairs that were never tested
   included;
2. ``random``: the same procedure on as many random lists, their genes drawn from the N genes of the
   layer, each time with its own correction;
3. ``calibrated``: features whose best term passes compared with random lists matched to them
   (`scircuit.analysis.enrichment.calibrated_rates`).

Term sizes are those of the procedure, which the published odds ratios fix. Genes of the background
that no list shows are there without a name and in no term, which can only lower the rate of random
lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np
from scipy import sparse

from scircuit.analysis.annotation.sentences import percent
from scircuit.analysis.enrichment.calibrated_rates import calibrate
from scircuit.analysis.enrichment.gene_term_matrix import Incidence, KeptTerm, row_count
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.enrichment.matched_null import Rate, draw_matched
from scircuit.analysis.enrichment.pair_tests import Tested, test_lists


class PublishedTerm(NamedTuple):
    """A term of the procedure: its size there, and the genes that are known to be in it."""

    library: str
    accession: str
    name: str
    size: int
    genes: Sequence[str]


class PublishedLayer(NamedTuple):
    """What an atlas says of one layer: features that fire, features annotated, N, the gene lists it
    gives, and genes of features without a whole list.
    """

    layer: int
    alive: int
    annotated: int
    background: int
    lists: Sequence[Sequence[str]]
    further: Sequence[str] = ()


class LayerRates(NamedTuple):
    """Rates of one layer.

    `reproduced` counts the features that the procedure annotates here by gene sets alone; `random`
    is the mean over draws; `pooled` counts the features, and `pooled_pairs` the pairs, at q over
    every feature x every term of the layer; `calibrated` the features of the calibrated rule.
    """

    layer: int
    alive: int
    published: float
    reproduced: int
    random: float
    random_low: float
    random_high: float
    pooled: int
    pooled_pairs: int
    calibrated: int


@dataclass(frozen=True)
class PublishedRates:
    """Rates of every layer, and of all together.

    Attributes
    ----------
    layers
        In order.
    rate
        Calibrated rate of all layers, beside matched random lists.
    q
        Threshold of all of them.
    """

    layers: tuple[LayerRates, ...]
    rate: Rate
    q: float

    @property
    def alive(self) -> int:
        """Features that fire."""
        return sum(x.alive for x in self.layers)

    @property
    def published(self) -> float:
        """Published rate."""
        return sum(x.published * x.alive for x in self.layers) / self.alive

    @property
    def random(self) -> float:
        """Rate of the published procedure on random lists."""
        return sum(x.random * x.alive for x in self.layers) / self.alive

    @property
    def reproduced(self) -> float:
        """Rate of the published procedure by gene sets alone."""
        return sum(x.reproduced for x in self.layers) / self.alive

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        random = [x.random for x in self.layers]
        verdict = (
            "so the published rate does not exceed chance"
            if self.published <= self.random
            else (
                f"so the published rate is {percent(self.published - self.random)} of features"
                " above chance"
            )
        )
        return (
            f"published: {percent(self.published)} of {self.alive:,} firing features are annotated;"
            f" the published procedure annotates {percent(self.random)} of random gene lists"
            f" ({percent(min(random))} to {percent(max(random))} by layer), {verdict}; by the"
            f" calibrated rule {percent(self.rate.rate)} have a term of the same gene sets (matched"
            f" random lists {percent(self.rate.null_rate)}, excess {percent(self.rate.excess_low)}"
            f" to {percent(self.rate.excess_high)})"
        )

    def lines(self) -> tuple[str, ...]:
        """One line a layer."""
        return tuple(
            f"layer {x.layer}: published {percent(x.published)}, published procedure on random"
            f" lists {percent(x.random)}, calibrated {percent(x.calibrated / x.alive)}"
            f" ({x.calibrated} features)"
            for x in self.layers
        )

    def findings(self) -> dict[str, object]:
        """Numbers for the manifest."""
        return {
            "alive": self.alive,
            "published": self.published,
            "reproduced": self.reproduced,
            "random": self.random,
            "calibrated": self.rate._asdict(),
            "q": self.q,
            "pooled": sum(x.pooled for x in self.layers),
            "layers": [x._asdict() for x in self.layers],
        }


def incidence_of(layer: PublishedLayer, terms: Sequence[PublishedTerm]) -> Incidence:
    """The procedure's gene sets within the background of a layer: N genes, those without a name
    last.

    Raises
    ------
    ValueError
        If the lists hold more genes than the background.
    """
    genes = list(
        dict.fromkeys(
            [
                *(g.upper() for genes in layer.lists for g in genes),
                *(g.upper() for g in layer.further),
            ]
        )
    )
    if len(genes) > layer.background:
        raise ValueError(
            f"layer {layer.layer}: the lists have {len(genes)} genes, the published background"
            f" {layer.background}"
        )
    index = {g: i for i, g in enumerate(genes)}
    genes += [f"~{i}" for i in range(layer.background - len(genes))]
    columns = [
        np.unique(
            np.array([index[u] for g in t.genes if (u := g.upper()) in index], dtype=np.int32)
        )
        for t in terms
    ]
    indptr = np.concatenate([[0], np.cumsum([c.size for c in columns])]).astype(np.int64)
    indices = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32)
    matrix = sparse.csc_matrix(
        (np.ones(indices.size, dtype=np.int32), indices, indptr), shape=(len(genes), len(terms))
    )
    kept = tuple(
        KeptTerm(t.library, t.accession, t.name, t.size, max(t.size, c.size))
        for t, c in zip(terms, columns, strict=True)
    )
    return Incidence(
        tuple(genes),
        {g.upper(): i for i, g in enumerate(genes)},
        sparse.csr_matrix(matrix),
        kept,
        (),
    )


def published_rule(tested: Tested, q: float = 0.05) -> int:
    """Lists that the published procedure annotates: Benjamini-Hochberg over the tests with an
    overlap of two or more.
    """
    limit = tested.tally_two[0].threshold(tested.tally_two[0].tests, q)
    return int((tested.best.min(axis=1) <= limit).sum())


def random_lists(count: int, size: int, genes: int, rng: np.random.Generator) -> sparse.csr_matrix:
    """Lists of different genes, every set of that size equally likely."""
    pattern = np.tile(np.arange(size, dtype=np.int32), count)
    first = sparse.csr_matrix(
        (np.ones(pattern.size, np.int32), pattern, np.arange(count + 1) * size),
        shape=(count, genes),
    )
    return draw_matched(first, np.zeros(genes, dtype=np.int64), rng)


def published_rates(
    layers: Sequence[PublishedLayer],
    terms: Sequence[PublishedTerm],
    *,
    q: float = 0.05,
    size: int = 20,
    draws: int = 5,
    null_draws: int = 20,
    seed: int = 0,
) -> PublishedRates:
    """Compare the published rate with the same procedure on random lists, and with the calibrated
    rate.

    Parameters
    ----------
    layers
        Layers with gene lists.
    terms
        Gene sets of the procedure.
    q
        Threshold.
    size
        Genes of a random list.
    draws, null_draws, seed
        Random repetitions of the procedure, matched lists of each feature, and their seed.

    Raises
    ------
    ValueError
        If there is no layer, or lists do not fit the published background.
    """
    if not layers:
        raise ValueError("no layer has gene lists")
    rng = np.random.default_rng(seed)
    blocks, tested, random = [], [], []
    for layer in layers:
        incidence = incidence_of(layer, terms)
        rows = incidence.rows(layer.lists)
        listed = rows[np.flatnonzero(np.diff(rows.indptr))]
        # how often a gene is listed stands for how often it is detected: an atlas does not give the
        # latter
        frequency = np.bincount(listed.indices, minlength=len(incidence.genes)).astype(float)
        blocks.append(
            ListBlock(
                layer.layer, listed, incidence, frequency, max(layer.alive - row_count(listed), 0)
            )
        )
        tested.append(test_lists(listed, incidence))
        drawn = [
            test_lists(
                random_lists(layer.alive, size, len(incidence.genes), rng), incidence, keep=0.0
            )
            for _ in range(draws)
        ]
        random.append(np.array([published_rule(t, q) / layer.alive for t in drawn]))
    calibration = calibrate(blocks, tested, alpha=q, draws=null_draws, seed=seed)
    found = []
    for layer, block, t, share in zip(layers, blocks, tested, random, strict=True):
        limit = t.tally[0].threshold(block.features * t.terms[0], q)
        found.append(
            LayerRates(
                layer.layer,
                layer.alive,
                layer.annotated / layer.alive,
                published_rule(t, q),
                float(share.mean()),
                float(share.min()),
                float(share.max()),
                int((t.best.min(axis=1) <= limit).sum()),
                int((t.hits.p <= limit).sum()),
                calibration.layer_rates["calibrated", layer.layer].annotated,
            )
        )
    return PublishedRates(tuple(found), calibration.rates[0], q)


class TermColumns(TypedDict):
    """Columns of the ``Term`` records of an import."""

    id: Sequence[str]
    library: Sequence[str]
    accession: Sequence[str]
    name: Sequence[str]
    size: Sequence[int | None]


def terms_from(nodes: TermColumns, members: Mapping[str, Sequence[str]]) -> list[PublishedTerm]:
    """Terms of an import: columns id, library, accession, name and size of its ``Term`` records,
    and genes by term id; those without a size are left out.
    """
    rows = zip(
        nodes["id"], nodes["library"], nodes["accession"], nodes["name"], nodes["size"], strict=True
    )
    return [
        PublishedTerm(library, accession, name, int(size), members[key])
        for key, library, accession, name, size in rows
        if size and key in members
    ]
