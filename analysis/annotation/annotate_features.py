"""Names for features: the gene sets in which each feature's top genes are enriched, beside a
matched null.

Top genes are those with the highest mean activation over firings, with a minimum number of firings.
The background is every gene the model saw in the cohort. A feature is annotated when its smallest
p, judged against random lists that match it (`scircuit.analysis.enrichment.matched_null`), has a
calibrated q at the threshold; `scircuit.analysis.annotation.labels` chooses its label. The terms
that pass on their own are stored, so a feature is annotated exactly if it has an ``ENRICHED_FOR``.
Beside the calibrated q each stored term has its Benjamini-Hochberg q in three families that all
count every term, those without a shared gene included: ``q`` (every feature x
every term), ``q_layer`` (those of the layer) and ``q_feature`` (those of the feature).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from scircuit.analysis.annotation import feature_records as tables
from scircuit.analysis.annotation.choose_libraries import refuse_unmapped_libraries
from scircuit.analysis.annotation.library_records import Closure
from scircuit.analysis.annotation.results import ReportedPairs, TestedFeatures
from scircuit.analysis.annotation.sentences import annotation_sentences
from scircuit.analysis.annotation.top_genes import TopGenes, top_genes
from scircuit.analysis.enrichment.calibrated_rates import calibrate
from scircuit.analysis.enrichment.calibration import Calibration
from scircuit.analysis.enrichment.fdr import PTally, benjamini_hochberg_grouped
from scircuit.analysis.enrichment.gene_term_matrix import Incidence, build, row_count
from scircuit.analysis.enrichment.list_blocks import ListBlock
from scircuit.analysis.enrichment.matched_null import Rate
from scircuit.analysis.enrichment.overrepresentation import collect, overlaps
from scircuit.analysis.enrichment.pair_tests import Tested, test_lists, tested_from
from scircuit.analysis.enrichment.rate_plot import plot_rates
from scircuit.analysis.genesets.gene_names import GeneNames
from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes

__all__ = ["Annotation", "annotate", "top_genes"]


class AnnotateOptions(Protocol):
    """What is read of the configuration (`scircuit.core.config.AnnotateConfig`)."""

    @property
    def top_genes(self) -> int: ...
    @property
    def min_fire_count(self) -> int: ...
    @property
    def weighted(self) -> bool: ...
    @property
    def min_size(self) -> int: ...
    @property
    def max_size(self) -> int: ...
    @property
    def q(self) -> float: ...
    @property
    def null_draws(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Annotation:
    """Findings of one annotate run.

    Parameters
    ----------
    tables
        Kind -> table, ready for the shards.
    frame
        One row a feature: id, layer, index, top_genes, label and its library, q, null share and
        ties, annotated, terms, annotatable_genes, best_tf, best_tf_q, tf_share, tf_share_q.
    rates
        `Rate` per library (and ``all``) and rule, observed beside matched random lists.
    layer_rates
        (rule, layer) -> `Rate`, over all libraries.
    findings
        Numbers for the manifest.
    notes
        What was repaired or left out while reading the libraries.
    sentences
        The findings in words, each with its control.
    features, features_tested
        Features that fire, and those of them with a list of genes.
    """

    tables: dict[str, pa.Table]
    frame: pd.DataFrame
    rates: tuple[Rate, ...]
    layer_rates: Mapping[tuple[str, int], Rate]
    findings: dict[str, object]
    notes: tuple[str, ...]
    sentences: tuple[str, ...]
    features: int
    features_tested: int

    @property
    def sentence(self) -> str:
        """The first of `sentences`."""
        return self.sentences[0]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Annotation rate per library beside the matched null, for every rule."""
        return plot_rates(self.rates, ax)


def annotate(
    catalogue: pd.DataFrame | pa.Table,
    detection: Mapping[str, float] | Mapping[int, Mapping[str, float]],
    libraries: Sequence[GeneSetLibrary],
    trrust: Regulons | None,
    symbol_of: Callable[[str], str],
    ensembl_of: Callable[[str], str | None],
    address: Callable[[int, int], str],
    config: AnnotateOptions,
    run: str,
    *,
    alive: Mapping[int, int] | None = None,
    loads_on: bool = True,
    closed: Mapping[str, Closure] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Annotation:
    """Annotate every feature of a catalogue.

    Parameters
    ----------
    catalogue
        Columns layer, index, gene (Ensembl), mean_activation, fire_count for all (feature, gene)
        pairs.
    detection
        Ensembl id -> share of the cohort's cells with the gene in their input; genes above 0 are
        the background. Layer -> such a mapping where every layer has a background of its own.
    libraries
        Gene sets in symbols: `shipped` and those read by `read_library`.
    trrust
        Regulons; their target sets are one more library. None: no TRRUST.
    symbol_of
        Ensembl id -> symbol ("" when unknown).
    ensembl_of
        Symbol -> Ensembl id (None when unknown), also for genes the model does not see.
    address
        (layer, index) -> address of the feature.
    config
        `scircuit.core.config.AnnotateConfig`.
    run
        Id of this run, written on every relationship.
    alive
        Layer -> features that fire: those without a list count as not annotated in every rate and
        family (default: features without a list are left out).
    loads_on
        Write the genes of every feature (an import has them already).
    closed
        Library name -> its closure over an ontology, for the libraries that were closed.
    progress
        Called with (null draws done, null draws).

    Raises
    ------
    UserError
        If the catalogue is empty, a library is of another species, or no feature has a testable
        gene.
    """
    tops = top_genes(catalogue, config.top_genes, config.min_fire_count)
    by_layer = _by_layer(tops, detection)
    names = GeneNames(_highest(by_layer.values()), symbol_of, ensembl_of)
    all_libraries = [*libraries, *([trrust.library()] if trrust else [])]
    if not all_libraries:
        raise UserError(
            "there are no gene sets to annotate with",
            "give a gene-set file with --gmt, or use the shipped libraries",
        )
    refuse_unmapped_libraries(all_libraries, names.has_ensembl_id)
    blocks, rows_of = _blocks(tops, by_layer, names, all_libraries, config, alive or {})
    tested = [_test(block, config.engine) for block in blocks]
    calibration = calibrate(
        blocks, tested, alpha=config.q, draws=config.null_draws, seed=config.seed, progress=progress
    )
    reported = _reported(blocks, tested, calibration)
    weighted, family = (
        _weighted(blocks, tops, rows_of, names, config.q) if config.weighted else (None, 0)
    )
    tests = TestedFeatures(
        tops, rows_of, tuple(blocks), tuple(tested), calibration, reported, weighted
    )
    found = tables.build_tables(
        tests, all_libraries, trrust, names, run, address, loads_on=loads_on, closed=closed or {}
    )
    features = max(len(tops.genes), sum(b.features for b in blocks))
    family_size = sum(b.features * t.terms[0] for b, t in zip(blocks, tested, strict=True))
    rate = calibration.rates[0]
    findings: dict[str, object] = {
        "features": features,
        "features_tested": int(rows_of.size),
        "features_annotated": rate.annotated,
        "annotation_rate": rate.rate,
        "null_annotation_rate": rate.null_rate,
        "excess": [rate.excess, rate.excess_low, rate.excess_high],
        "q": config.q,
        "family": "pooled",
        "family_size": family_size,
        "terms": max(t.terms[0] for t in tested),
        "background": len(names.background),
        "null_draws": calibration.draws,
        "seed": config.seed,
        "engine": config.engine,
        "ambiguous_symbols": names.ambiguous,
        "p_threshold": float(calibration.threshold[0]),
        "rates": [r._asdict() for r in calibration.rates],
        "layer_rates": {
            rule: {
                str(la): [r.rate, r.null_rate]
                for (x, la), r in calibration.layer_rates.items()
                if x == rule
            }
            for rule in ("calibrated", "overlap2")
        },
        "coverage": found.coverage,
        "libraries": [
            {k: getattr(lib, k) for k in ("name", "file", "sha256", "release", "licence")}
            for lib in all_libraries
        ],
    }
    if weighted:
        findings["weighted"] = {
            "pairs": int(weighted.p.size),
            "features": int(np.unique(weighted.feature).size),
            "family_size": family,
        }
    notes = tuple(f"{lib.name}: {note}" for lib in all_libraries for note in lib.notes)
    return Annotation(
        found.tables,
        found.frame,
        calibration.rates,
        calibration.layer_rates,
        findings,
        notes,
        annotation_sentences(calibration.rates, config.q, family_size),
        features,
        int(rows_of.size),
    )


def _by_layer(
    tops: TopGenes, detection: Mapping[str, float] | Mapping[int, Mapping[str, float]]
) -> dict[int, Mapping[str, float]]:
    """Background and detection of every layer; listed genes belong to it even where no rate is
    given.
    """
    layers = np.unique(tops.layer).tolist()
    first = next(iter(detection.values()), None)
    if not isinstance(first, Mapping):
        shared = cast("Mapping[str, float]", detection)
        one = {g: float(d) for g, d in shared.items() if d > 0}
        one |= {g: 0.0 for genes in tops.genes for g in genes if g not in one}
        return dict.fromkeys(layers, one)
    by_layer = cast("Mapping[int, Mapping[str, float]]", detection)
    return {layer: {g: float(d) for g, d in by_layer[layer].items() if d > 0} for layer in layers}


def _highest(mappings: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Highest detection of every gene."""
    found: dict[str, float] = {}
    for detection in {id(m): m for m in mappings}.values():
        for gene, share in detection.items():
            found[gene] = max(share, found.get(gene, 0.0))
    return found


def _blocks(
    tops: TopGenes,
    by_layer: Mapping[int, Mapping[str, float]],
    names: GeneNames,
    libraries: Sequence[GeneSetLibrary],
    config: AnnotateOptions,
    alive: Mapping[int, int],
) -> tuple[list[ListBlock], np.ndarray]:
    """Lists of every layer, and which feature of `tops` each list belongs to."""
    backgrounds: dict[int, tuple[Incidence, np.ndarray]] = {}
    blocks, rows_of = [], []
    for layer, detection in by_layer.items():
        if id(detection) not in backgrounds:
            genes = [g for g in names.symbol if g in detection]
            incidence = build(
                libraries,
                [names.symbol[g] for g in genes],
                min_size=config.min_size,
                max_size=config.max_size,
                min_mapped=0.0,
            )
            backgrounds[id(detection)] = incidence, np.array([detection[g] for g in genes])
            if not incidence.terms:
                raise UserError(
                    f"no term has {config.min_size} to {config.max_size} genes among the"
                    f" {len(genes)} genes of the cohort",
                    "widen the term sizes, or give a larger library",
                )
        incidence, rate = backgrounds[id(detection)]
        features = np.flatnonzero(tops.layer == layer)
        rows = incidence.rows([names.symbol[g] for g in tops.genes[f]] for f in features.tolist())
        listed = np.flatnonzero(np.diff(rows.indptr) > 0)
        untested = max(alive.get(layer, 0) - listed.size, 0)
        if listed.size or untested:
            blocks.append(ListBlock(layer, rows[listed], incidence, rate, untested))
            rows_of.append(features[listed])
    if not sum(of.size for of in rows_of):
        raise UserError(
            f"none of {len(tops.genes)} features has a gene with {config.min_fire_count} firings",
            "use more cells, or a smaller min_fire_count",
        )
    return blocks, np.concatenate(rows_of)


def _test(block: ListBlock, engine: str) -> Tested:
    if engine == "gseapy":
        from scircuit.analysis.enrichment.gseapy_reference import gseapy_hits

        return tested_from(
            gseapy_hits(block.rows, block.incidence), row_count(block.rows), block.incidence
        )
    return test_lists(block.rows, block.incidence)


def _reported(
    blocks: Sequence[ListBlock], tested: Sequence[Tested], calibration: Calibration
) -> ReportedPairs:
    """The terms of annotated features that pass on their own, with their q in every family."""
    family = sum(b.features * t.terms[0] for b, t in zip(blocks, tested, strict=True))
    every = PTally.join(t.tally[0] for t in tested)
    annotated = calibration.found()
    parts, first = [], 0
    for number, (block, t) in enumerate(zip(blocks, tested, strict=True)):
        hits = t.hits
        chosen = np.flatnonzero(annotated[first + hits.row])
        feature = first + hits.row[chosen]
        p_own = calibration.term_p(feature, hits.p[chosen])
        passing = p_own <= calibration.threshold[0]
        chosen, feature, p_own = chosen[passing], feature[passing], p_own[passing]
        row, column, overlap, p = (x[chosen] for x in hits)
        parts.append(
            ReportedPairs(
                feature,
                np.full(feature.size, number),
                row,
                column,
                overlap,
                p,
                every.q(p, family),
                t.tally[0].q(p, block.features * t.terms[0]),
                _q_feature(block, row, column),
                calibration.q_of(p_own),
            )
        )
        first += t.lists
    return ReportedPairs(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _q_feature(block: ListBlock, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q of some pairs in the families of their lists: every term counts."""
    lists, of = np.unique(row, return_inverse=True)
    if not lists.size:
        return np.zeros(0)
    hits = collect(overlaps(block.rows[lists], block.incidence))
    terms = len(block.incidence.terms)
    q = benjamini_hochberg_grouped(hits.p, hits.row, np.full(lists.size, terms))
    key = hits.row * terms + hits.column
    order = np.argsort(key)
    return q[order[np.searchsorted(key[order], of * terms + column)]]


def _weighted(
    blocks: Sequence[ListBlock], tops: TopGenes, rows_of: np.ndarray, names: GeneNames, alpha: float
) -> tuple[ReportedPairs, int]:
    """Terms by the weighted test; activations in the order of the rows' genes."""
    from scircuit.analysis.annotation.weighted_tests import weighted_pairs

    activation, first = [], 0
    for block in blocks:
        count = row_count(block.rows)
        own = []
        for f in rows_of[first : first + count].tolist():
            at = np.array([block.incidence.index[names.symbol[g].upper()] for g in tops.genes[f]])
            own.append(np.array(tops.mean_activation[f])[np.argsort(at)])
        activation.append(own)
        first += count
    return weighted_pairs(tuple(blocks), activation, alpha)
