"""Options of the verbs that read runs: annotate, analyse, match."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scircuit.core.config.option import option


@dataclass(frozen=True)
class AnnotateConfig:
    """``scircuit annotate``: name features by the gene sets their top genes are enriched in, beside
    a matched null.
    """

    run: str = option(
        "", "trace run, or imported atlas (default: the newest complete trace run)", once=True
    )
    gmt: tuple[Path, ...] = option(
        (),
        "further gene sets, such as KEGG (not shipped): GMT files, or tables of TF and target or of"
        " gene pairs (TSV, CSV)",
    )
    shipped: bool = option(
        True, "use the shipped libraries: GO Biological Process, Reactome and TRRUST"
    )
    obo: tuple[Path, ...] = option(
        (), "GO ontology file (OBO): genes of a GO term are also counted for its parent terms"
    )
    n_cells: int = option(
        0, "cells from which top genes are read, drawn at random with the run's seed (0: all)"
    )
    top_genes: int = option(20, "genes per feature")
    min_fire_count: int = option(3, "minimum number of firings on a gene")
    weighted: bool = option(
        False,
        "also test each term with genes weighted by activation, against random sets of equal size",
    )
    min_size: int = option(5, "minimum term size within the background")
    max_size: int = option(500, "maximum term size within the background")
    q: float = option(0.05, "maximum q")
    null_draws: int = option(20, "matched null lists per feature")
    cell_types: tuple[str, ...] = option((), "obs columns to test as cell types, such as cell_type")
    tissues: tuple[str, ...] = option((), "obs columns to test as tissues")
    donor: str = option(
        "",
        "obs column of the donor, the unit of the cell-type tests (default: donor_id, donor or"
        " patient, if present)",
    )
    engine: str = option(
        "exact", "exact (own kernel), or gseapy (reference, slow)", ("exact", "gseapy")
    )
    seed: int = option(0, "seed of the null")


@dataclass(frozen=True)
class AnalyseConfig:
    """``scircuit analyse``: degrees, hubs, heavy tail and annotation bias of a trace run."""

    run: str = option("", "trace run (default: the newest complete one)", once=True)
    rule: str = option(
        "",
        "which effects are edges: computed, carried, generic or calibrated (default: computed, and"
        " calibrated where the run has no random directions)",
        ("", "computed", "carried", "generic", "calibrated"),
    )
    q: float = option(0.05, "maximum q of an edge")
    min_support: int = option(6, "minimum number of cells with the effect")
    min_effect: float = option(
        0.001, "minimum mean effect relative to the target's mean activation where it fires"
    )
    hubs: int = option(20, "hubs in the top list")
    bootstrap: int = option(100, "bootstraps of the tail fit")
    background: Path | None = option(
        None,
        "what is known, to tell novel edges: gene sets (GMT), or pairs of regulators and targets"
        " (TSV, CSV); without it no edge is called novel",
    )
    seed: int = option(0, "seed")


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """``scircuit match``: find features of other layers and models that fire on the same genes."""

    runs: tuple[str, ...] = option(
        (),
        "runs whose features are compared: annotate runs or imported atlases (default: all of the"
        " study)",
        once=True,
    )
    top_genes: int = option(20, "genes per feature")
    within_model: bool = option(True, "also compare layers of the same model")
    best: int = option(5, "maximum partners kept for each feature and other layer")
    q: float = option(0.01, "maximum q")
    null_draws: int = option(5, "matched null lists per feature")
    seed: int = option(0, "seed of the null")
