"""Options of the verb that holds a circuit against knock-outs and gene sets: predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scircuit.core.config.option import option


@dataclass(frozen=True)
class PredictConfig:
    """``scircuit predict``: what the circuit says about pairs of genes, held against knock-outs and
    disease gene sets.
    """

    run: str = option("", "trace run (default: the newest complete one)", once=True)
    screen: Path | None = option(
        None, "cells of a perturbation screen with raw counts; responses are compared", once=True
    )
    perturbation: str = option(
        "",
        "obs column of the screen with the perturbed gene (default: target, perturbation, gene,"
        " target_gene or perturbed_gene, the first that is present)",
    )
    control: str = option(
        "",
        "label of the unperturbed cells in that column (default: non-targeting, control, ctrl, NT"
        " or safe-targeting, in any spelling)",
    )
    min_cells: int = option(30, "minimum number of cells of a perturbation, and of controls")
    pseudo_count: float = option(1.0, "added to mean counts per 10,000 before the logarithm")
    response_q: float = option(0.05, "maximum q of a response to a perturbation")
    layer_key: str = option("", "read the screen's counts from this AnnData layer")
    gene_column: str = option("", "column of the screen's var with the gene names, or index")
    disease: tuple[Path, ...] = option(
        (), "disease gene sets (GMT, or a table of term and gene); several may be given", once=True
    )
    min_set: int = option(5, "minimum number of a set's genes among the features' genes")
    top_genes: int = option(10, "genes of each feature")
    min_edges: int = option(2, "minimum number of edges that link a pair of genes")
    pairs: int = option(1000, "pairs of genes that are kept, the strongest first")
    rule: str = option(
        "",
        "which effects are edges: computed, carried, generic or calibrated (default: computed, and"
        " calibrated where the run has no random directions)",
        ("", "computed", "carried", "generic", "calibrated"),
    )
    q: float = option(0.05, "maximum q of an edge, of a pair of genes, and of a disease set")
    min_support: int = option(6, "minimum number of cells with the effect of an edge")
    min_effect: float = option(
        0.001, "minimum mean effect relative to the target's mean activation where it fires"
    )
    draws: int = option(1000, "bootstraps, exchanged labels and random sets")
    seed: int = option(0, "seed")
