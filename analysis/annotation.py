"""Names for features: the gene sets in which each feature's top genes are enriched, beside a matched null.

Top genes are those with the highest mean activation over firings, with a least number of firings. The background is every gene the model saw
in the cohort. The label of a feature is the term with its smallest p, given when the calibrated q (`analysis.matched_null`) is at the
threshold; ties are broken by larger overlap, then smaller term, then order in the libraries. The same threshold decides which terms are stored, so a
feature is annotated exactly if it has an ``ENRICHED_FOR``, whose q is the Benjamini-Hochberg q over every feature x every term of all libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from analysis import annotation_tables as tables
from analysis.enrichment import Hits, collect, correct, overlaps
from analysis.genesets import GeneSetLibrary
from analysis.incidence import Incidence, build
from analysis.matched_null import Calibration, Rate, calibrate
from analysis.trrust import Regulons
from scircuit.settings import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.axes import Axes
    from scipy import sparse


class AnnotateOptions(Protocol):
    """What is read of the configuration (`scircuit.settings.AnnotateConfig`)."""

    @property
    def top_genes(self) -> int: ...  # noqa: D102
    @property
    def min_fire_count(self) -> int: ...  # noqa: D102
    @property
    def min_size(self) -> int: ...  # noqa: D102
    @property
    def max_size(self) -> int: ...  # noqa: D102
    @property
    def q(self) -> float: ...  # noqa: D102
    @property
    def null_draws(self) -> int: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Annotation:
    """Findings of one annotate run.

    Parameters
    ----------
    tables
        Kind -> table, ready for the shards.
    frame
        One row a feature: id, layer, index, genes, label, label_library, label_q, annotated, terms, annotatable_genes, best_tf, best_tf_q.
    rates
        `Rate` per library (and ``all``) and rule, observed beside matched random lists.
    findings
        Numbers for the manifest.
    notes
        What was repaired or left out while reading the libraries.
    """

    tables: dict[str, pa.Table]
    frame: pd.DataFrame
    rates: tuple[Rate, ...]
    findings: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def rates_frame(self) -> pd.DataFrame:
        """`rates` as a frame."""
        import pandas as pd

        return pd.DataFrame([r._asdict() for r in self.rates])

    @property
    def sentence(self) -> str:
        """One line for a reader."""
        return self.sentences[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said, each with its control."""
        r = self.rates[0]
        by_rule = {x.rule: x for x in self.rates if x.library == "all"}
        libraries = [x for x in self.rates if x.rule == "calibrated" and x.library != "all"]
        published, pooled = by_rule["overlap2"], by_rule["pooled"]
        return (
            f"{r.annotated:,} of {r.lists:,} features with enough firings ({100 * r.rate:.1f} %) have a term at calibrated q <= "
            f"{self.findings['q']:g}; the same threshold annotates {100 * r.null_rate:.2f} % of matched random gene lists",
            "by library: " + ", ".join(f"{x.library} {100 * x.rate:.1f} % (matched random {100 * x.null_rate:.2f} %)" for x in libraries),
            f"a rule that tests only overlaps of two genes or more would annotate {100 * published.rate:.0f} % of features, "
            f"but {100 * published.null_rate:.0f} % of matched random lists as well",
            f"Benjamini-Hochberg over all {self.findings['family_size']:,} pairs annotates {100 * pooled.rate:.1f} % of features and "
            f"{100 * pooled.null_rate:.2f} % of matched random lists at its threshold",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Annotation rate per library beside the matched null, for every rule."""
        from analysis.plots import plot_rates

        return plot_rates(self.rates, ax)


@dataclass(frozen=True)
class TopGenes:
    """The lists that are tested: one row of `lists` a feature with at least one gene of enough firings."""

    layer: np.ndarray
    index: np.ndarray
    genes: list[list[str]]
    mean_activation: list[list[float]]
    fire_count: list[list[int]]


def top_genes(catalogue: pd.DataFrame | pa.Table, top: int = 20, min_fire_count: int = 3) -> TopGenes:
    """The `top` genes of every feature by mean activation, ties by fire count and then gene.

    Parameters
    ----------
    catalogue
        Columns layer, index, gene (Ensembl), mean_activation, fire_count: one row a (feature, gene) pair.
    top
        Genes per feature.
    min_fire_count
        Least firings of the feature on the gene.

    Returns
    -------
    TopGenes
        Every feature of the catalogue, in order of layer and index; features without such a gene have an empty list.

    Raises
    ------
    UserError
        If a column is missing or the catalogue is empty.
    """
    import pandas as pd

    frame: Any = catalogue if isinstance(catalogue, pd.DataFrame) else catalogue.to_pandas()
    needed = ["layer", "index", "gene", "mean_activation", "fire_count"]
    if missing := [c for c in needed if c not in frame.columns]:
        raise UserError(f"the catalogue lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}", "trace again")
    if frame.empty:
        raise UserError("the catalogue is empty: no feature fires on any gene", "check the dictionaries and the cells with: scircuit check")
    features = frame[["layer", "index"]].drop_duplicates().sort_values(["layer", "index"])
    kept = frame[frame["fire_count"] >= min_fire_count]
    kept = kept.sort_values(["layer", "index", "mean_activation", "fire_count", "gene"], ascending=[True, True, False, False, True], kind="stable")
    kept = kept.groupby(["layer", "index"], sort=False).head(top)
    grouped = dict(iter(kept.groupby(["layer", "index"], sort=False)))
    empty = kept.iloc[:0]
    parts = [grouped.get((la, ix), empty) for la, ix in features.itertuples(index=False)]
    return TopGenes(
        features["layer"].to_numpy(np.int64), features["index"].to_numpy(np.int64), [p["gene"].tolist() for p in parts],
        [p["mean_activation"].astype(float).tolist() for p in parts], [p["fire_count"].astype(int).tolist() for p in parts],
    )  # fmt: skip


def _check_species(libraries: Sequence[GeneSetLibrary], known: Callable[[str], bool]) -> None:
    for lib in libraries:
        genes = lib.genes
        unmapped = [g for g in sorted(genes) if not known(g)]
        mapped = len(genes) - len(unmapped)
        if mapped < 0.2 * len(genes):
            lost = ", ".join(unmapped[:3])
            raise UserError(
                f"{mapped} of {len(genes)} genes of library {lib.name} ({lib.file}) have a known Ensembl id; first unmapped: {lost}",
                "is this a human library in gene symbols?",
            )


def annotate(
    catalogue: pd.DataFrame | pa.Table,
    detection: Mapping[str, float],
    libraries: Sequence[GeneSetLibrary],
    trrust: Regulons | None,
    symbol_of: Callable[[str], str],
    ensembl_of: Callable[[str], str | None],
    address: Callable[[int, int], str],
    config: AnnotateOptions,
    run: str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Annotation:
    """Annotate every feature of a catalogue.

    Parameters
    ----------
    catalogue
        Columns layer, index, gene (Ensembl), mean_activation, fire_count for all (feature, gene) pairs.
    detection
        Ensembl id -> share of the cohort's cells whose input holds the gene; genes above 0 are the background.
    libraries
        Gene sets in symbols: `shipped` and those read by `read_gmt`.
    trrust
        Regulons; their target sets are one more library. None: no TRRUST.
    symbol_of
        Ensembl id -> symbol ("" when unknown).
    ensembl_of
        Symbol -> Ensembl id (None when unknown), also for genes the model does not see.
    address
        (layer, index) -> address of the feature.
    config
        `scircuit.settings.AnnotateConfig`.
    run
        Id of this run, written on every relationship.
    progress
        Called with (null draws done, null draws).

    Raises
    ------
    UserError
        If the catalogue is empty, a library is of another species, or no feature has a testable gene.
    """
    tops = top_genes(catalogue, config.top_genes, config.min_fire_count)
    seen = {g for g, share in detection.items() if share > 0} | {g for row in tops.genes for g in row}
    names = tables.GeneNames(seen, symbol_of, ensembl_of, detection)
    all_libraries = [*libraries, *([trrust.library()] if trrust else [])]
    if not all_libraries:
        raise UserError("there is no gene-set library to annotate with", "give a GMT file, or use the shipped libraries")
    _check_species(all_libraries, names.known)
    incidence = build(all_libraries, names.background, min_size=config.min_size, max_size=config.max_size, min_mapped=0.0)
    lists = [[names.symbol[g] for g in row] for row in tops.genes]
    matrix = incidence.rows(lists)
    tested = np.flatnonzero(np.diff(matrix.indptr) > 0)
    if not tested.size:
        raise UserError(
            f"none of {len(lists)} features has a gene with {config.min_fire_count} firings", "use more cells, or a smaller min_fire_count"
        )
    if not incidence.terms:
        raise UserError(
            f"no term has {config.min_size} to {config.max_size} genes among the {len(names.background)} genes of the cohort",
            "widen the term sizes, or give a larger library",
        )
    rows = matrix[tested]
    hits = _hits(rows, incidence, config.engine)
    calibration = calibrate(
        rows, hits, incidence, names.detection, alpha=config.q, draws=config.null_draws, seed=config.seed, progress=progress
    )
    q_pooled, family = correct(hits, rows.shape[0], len(incidence.terms), "pooled")
    shown = _reported(hits, calibration)
    found = tables.build_tables(tops, tested, rows, hits, shown, q_pooled, calibration, incidence, all_libraries, trrust, names, config, run, address)
    rate = calibration.rates[0]
    findings = {
        "features": len(lists), "features_tested": int(tested.size), "features_annotated": rate.annotated, "annotation_rate": rate.rate,
        "null_annotation_rate": rate.null_rate, "excess": [rate.excess, rate.excess_low, rate.excess_high], "q": config.q,
        "family": "pooled", "family_size": family, "terms": len(incidence.terms), "background": len(names.background),
        "null_draws": calibration.draws, "seed": config.seed, "engine": config.engine, "ambiguous_symbols": names.ambiguous,
        "p_threshold": calibration.threshold["all"], "rates": [r._asdict() for r in calibration.rates],
        "coverage": [c._asdict() for c in incidence.coverage],
        "libraries": [{k: v for k, v in asdict(lib).items() if k not in ("terms", "notes")} for lib in all_libraries],
    }  # fmt: skip
    notes = tuple(f"{lib.name}: {note}" for lib in all_libraries for note in lib.notes)
    return Annotation(found.tables, found.frame, calibration.rates, findings, notes)


def _hits(rows: sparse.csr_matrix, incidence: Incidence, engine: str) -> Hits:
    if engine == "gseapy":
        from analysis.reference import gseapy_hits

        return gseapy_hits(rows, incidence)
    return collect(overlaps(rows, incidence))


def _reported(hits: Hits, calibration: Calibration) -> np.ndarray:
    """Positions of the tests that are stored: two genes or more, at the calibrated threshold, so a feature has them if it is annotated."""
    return np.flatnonzero((hits.p <= calibration.threshold["all"]) & (hits.overlap >= 2))
