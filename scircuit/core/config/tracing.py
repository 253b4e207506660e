"""Options of the verbs that read cells: check, train, trace, null."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scircuit.core.config.option import option


@dataclass(frozen=True, kw_only=True)
class CellsConfig:
    """Which cells, and how they are checked."""

    cells: Path = option(help="h5ad, 10x h5, h5mu or zarr with raw counts")
    where: tuple[str, ...] = option(
        (),
        "obs filter COLUMN=VALUE[,VALUE...]; repeat for several columns (all must match)",
        once=True,
    )
    n_cells: int = option(20, "cells, drawn at random with the seed (0: all)")
    seed: int = option(0, "seed of every random choice")
    mixed: bool = option(False, "accept a mixed population of cells", once=True)
    panel: bool = option(
        False,
        "accept a table of fewer than 2,000 of the model's genes (a targeted panel), or one cut to"
        " less than a third of them: ranks among them are another input",
        once=True,
    )
    layer_key: str = option("", "read counts from this AnnData layer instead of raw/X or X")
    gene_column: str = option(
        "",
        "column of var with the gene names, or index (var:index is a column of that name;"
        " default: the one that maps most genes; columns that contradict each other are refused)",
    )
    genome: str = option("", "genome to read from a file with several, such as hg19")
    max_length: int = option(0, "longest input in tokens (0: the model's own limit)", once=True)
    min_mapped: float = option(
        0.8, "minimum share of expressed genes found in the model's vocabulary", once=True
    )
    min_tokens: int = option(
        100,
        "minimum median number of gene tokens per cell (at most a tenth of the genes, where the"
        " model's vocabulary is a panel; of models that read sentences, genes)",
        once=True,
    )


@dataclass(frozen=True, kw_only=True)
class CheckConfig(CellsConfig):
    """``scircuit check MODEL DICTIONARIES CELLS``: check the inputs of a study before any compute.

    With ``MODEL CELLS``, or ``CELLS`` alone, only these are checked.
    """

    model: str = option(
        "", "model folder (Geneformer, scGPT or Cell2Sentence); empty: check the cells only"
    )
    dictionaries: str = option("", "folder of dictionaries; empty: check cells and model only")
    n_cells: int = option(0, "cells to check, drawn at random with the seed (0: all)", once=True)
    seconds: float = option(
        60.0, "time limit for measuring the dictionaries; skipped checks are listed"
    )
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CellsConfig):
    """``scircuit train``: train a TopK SAE, or a transcoder, at each chosen layer on your cells."""

    model: str = option(help="model folder (Geneformer, scGPT or Cell2Sentence)")
    out: Path = option(help="folder for the dictionaries")
    n_cells: int = option(0, "cells to train on, drawn at random with the seed (0: all)", once=True)
    layers: tuple[int, ...] = option((), "0-based layers (default: all)", once=True)
    expansion: int = option(4, "latents per hidden dimension")
    k: int = option(16, "active latents per row (with --rule relu or jumprelu: on average)")
    site: str = option(
        "output",
        "output: SAEs of the layers' outputs; mlp: transcoders, from the MLP input of each layer to"
        " its MLP output",
        ("output", "mlp"),
    )
    rule: str = option(
        "topk",
        "which latents are active; relu (with an L1 penalty) and jumprelu for transcoders only",
        ("topk", "relu", "jumprelu"),
    )
    skip: bool = option(False, "give transcoders a linear skip from input to output")
    epochs: int = option(4, "passes over the activations")
    batch_rows: int = option(1024, "rows per optimiser step")
    learning_rate: float = option(1e-3, "peak Adam learning rate")
    held_out: float = option(0.1, "share of cells kept for evaluation")
    memory: str = option(
        "4g",
        "memory for activations and training state; as many layers as fit are trained together",
    )
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True, kw_only=True)
class TraceConfig(CellsConfig):
    """``scircuit trace``: ablate every active feature of chosen layers on real cells and measure
    all later layers.
    """

    retired: ClassVar[tuple[str, ...]] = ("unit_features", "batch_pairs", "batch_rows")
    """Options of earlier versions, which manifests still hold."""

    model: str = option(help="model folder (Geneformer, scGPT or Cell2Sentence)")
    dictionaries: str = option(help="folder of dictionaries")
    source_layers: tuple[int, ...] = option((1,), "0-based layers whose features are ablated")
    target_layers: tuple[int, ...] = option(
        (), "0-based layers to measure (default: all later ones with a dictionary)", once=True
    )
    features: tuple[int, ...] = option(
        (), "source features of each source layer (default: every active one)", once=True
    )
    context: str = option(
        "exact",
        "positions recomputed after an ablation: exact (all: total effect), frozen (the active"
        " ones: local effect), or m: frozen plus the m most affected positions",
    )
    audit: float = option(
        0.02,
        "share of the sources of a run that is not exact that are also traced exactly (minimum 20"
        " sources)",
        once=True,
    )
    memory: str = option(
        "",
        "cap on the memory, such as 8g (default: batches of fixed size, and clean states of up to"
        " 1.5 GB on a CPU in memory, the others on disk)",
    )
    numerics: str = option(
        "float32",
        "number format of the model's layers; tf32 and bf16 are first compared with float32 on a"
        " sample and refused where d or out-degrees differ (as bf16 is on the demo model)",
        ("float32", "tf32", "bf16"),
    )
    ray: str = option(
        "",
        "compute on a Ray cluster: its address, auto (the cluster of this machine), or local (start"
        " one); results are the same",
    )
    legacy: bool = option(
        False,
        "replicate the published study: its cells, tokens, activity, statistics and edges; the"
        " faults of each are listed first",
        once=True,
    )
    gate_p: float = option(0.1, "store tests with p up to this, and all legacy edges")
    null_draws: int = option(
        64,
        "random directions that every effect is compared with; computed and carried edges need"
        " them (0: total effects only)",
        once=True,
    )
    control_features: int = option(
        24, "source features sampled for the random-direction and swap controls", once=True
    )
    device: str = option("auto", "auto, cpu, cuda, mps")
    untrained: bool = option(
        False,
        "accept a model that is no better than guessing on these cells, and dictionaries that"
        " explain nothing of its states: random or scrambled ones",
        once=True,
    )
    model_name: str = option("", "model name in addresses (default: the folder's name)")
    dictionary_name: str = option(
        "", "dictionary set name in addresses (default: the folder's name)"
    )


@dataclass(frozen=True)
class NullConfig:
    """``scircuit null``: trace scrambled models by the same settings, beside every headline number.

    permuted: the model with the entries of every weight matrix permuted, and dictionaries trained
    on it. rotated: the trained model, and dictionaries whose decoders are turned at random.
    """

    run: str = option("", "trace run (default: the newest complete one)", once=True)
    kinds: tuple[str, ...] = option(("permuted", "rotated"), "what is scrambled", once=True)
    seeds: int = option(3, "scrambled copies of each kind")
    sources: int = option(
        0,
        "random sample of source features of each layer (0: all, and then annotation and analysis"
        " are repeated too)",
    )
    train_cells: int = option(
        0, "cells that dictionaries of permuted models are trained on (0: as many as the run's own)"
    )
    seed: int = option(0, "seed of the first copy, and of the sample of sources")
    device: str = option("auto", "auto, cpu, cuda, mps")
