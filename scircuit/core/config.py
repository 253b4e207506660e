"""What a user can choose, as frozen dataclasses.

Command line, Python signatures, manifest and docs are generated from them.

Every field carries its help text (`option`). A field without a default is a required argument on
the command line.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

DEFAULT_STUDY = Path("scircuit-study")


def option(
    default: Any = MISSING,
    help: str = "",
    choices: tuple[str, ...] = (),
    short: str = "",
    once: bool = False,
) -> Any:
    """Declare a field with its help text.

    Parameters
    ----------
    choices
        The allowed values (default: any).
    short
        A second name such as ``-p``.
    once
        The option holds for one call and is not remembered by the study: it names a run, loosens a
        check, or narrows what is looked at.
    """
    metadata = {"help": help, "choices": choices, "short": short, "once": once}
    if isinstance(default, (list, dict, set)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


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
        " model's vocabulary is a panel)",
        once=True,
    )


@dataclass(frozen=True, kw_only=True)
class CheckConfig(CellsConfig):
    """``scircuit check MODEL DICTIONARIES CELLS``: check the inputs of a study before any compute.

    With ``MODEL CELLS``, or ``CELLS`` alone, only these are checked.
    """

    model: str = option("", "model folder (Geneformer or scGPT); empty: check the cells only")
    dictionaries: str = option("", "folder of dictionaries; empty: check cells and model only")
    n_cells: int = option(0, "cells to check, drawn at random with the seed (0: all)", once=True)
    seconds: float = option(
        60.0, "time limit for measuring the dictionaries; skipped checks are listed"
    )
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CellsConfig):
    """``scircuit train``: train a TopK SAE at each chosen layer on your cells."""

    model: str = option(help="model folder (Geneformer or scGPT)")
    out: Path = option(help="folder for the dictionaries")
    n_cells: int = option(0, "cells to train on, drawn at random with the seed (0: all)", once=True)
    layers: tuple[int, ...] = option((), "0-based layers (default: all)", once=True)
    expansion: int = option(4, "latents per hidden dimension")
    k: int = option(16, "active latents per row")
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

    model: str = option(help="model folder (Geneformer or scGPT)")
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
    seed: int = option(0, "seed")


@dataclass(frozen=True)
class AblateConfig:
    """``scircuit ablate``: joint ablations of pairs of features and their interaction contrasts."""

    run: str = option(
        "",
        "trace run whose cells, model and dictionaries are used (default: the newest complete one)",
        once=True,
    )
    features: tuple[str, ...] = option(
        (),
        "addresses, or L05/F0898; several with commas or by giving the option again (default: the"
        " top hubs of the newest analysis)",
        once=True,
    )
    hubs: int = option(
        6, "number of top hubs if no features are given; all their pairs are ablated"
    )
    q: float = option(0.05, "maximum q of the interaction contrasts")
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True)
class SteerConfig:
    """``scircuit steer``: multiply a feature's activation and measure the change in gene logits."""

    run: str = option(
        "",
        "trace run whose cells, model and dictionaries are used (default: the newest complete one)",
        once=True,
    )
    features: tuple[str, ...] = option(
        (),
        "addresses, or L05/F0898; several with commas or by giving the option again (default: top"
        " hubs of the newest analysis)",
        once=True,
    )
    hubs: int = option(6, "number of top hubs if no features are given")
    coefficients: tuple[float, ...] = option(
        (0.0, 2.0, 3.0, 5.0), "factors on the feature's activation; 1 is no change"
    )
    seed: int = option(0, "seed of the random-direction control")
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True)
class ServerConfig:
    """The Neo4j server of a study.

    NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD select your own server instead.
    """

    profile: str = option("2026.07.1", "server version", ("2026.07.1", "5.26.29"))
    bolt_port: int = option(0, "Bolt port (0: 7687, or the next free one)")
    http_port: int = option(0, "HTTP port (0: 7474, or the next free one)")
    heap: str = option("1g", "Java heap")
    pagecache: str = option("512m", "page cache")


@dataclass(frozen=True, kw_only=True)
class ImportAtlasConfig:
    """``scircuit import atlas PATH``: import a published feature atlas (Geneformer, scGPT).

    The files are the plain or gzipped JSON that the atlas web page reads.
    """

    path: Path = option(help="folder of the atlas' JSON files")
    terms: Path | None = option(
        None,
        "term library (default: term_library.json, plain or gzipped, in the folder or beside it)",
    )
    model_name: str = option("", "model name in addresses (default: that of the recognised atlas)")
    dictionary_name: str = option(
        "", "dictionary set name in addresses (default: that of the recognised atlas)"
    )


@dataclass(frozen=True, kw_only=True)
class ImportMapConfig:
    """``scircuit import map PATH``: import the result files of the published exhaustive map."""

    path: Path = option(help="folder of the map's result files")
    model_name: str = option("geneformer-v2-316m", "model name in addresses")
    dictionary_name: str = option("k562-x4-k32", "dictionary set name in addresses")


@dataclass(frozen=True, kw_only=True)
class ImportEdgesConfig:
    """``scircuit import edges PATH``: import the edges of a circuit-tracing study.

    Formats: JSON, CSV (with or without cell counts), per-cell effects (npz).
    """

    path: Path = option(help="file, or folder of files of one study")
    model_name: str = option(help="model name in addresses")
    dictionary_name: str = option(help="dictionary set name in addresses")
    source_layer: int = option(-1, "0-based layer of the sources, if the files do not name it")
    condition: str = option("", "condition to import, if the files contain several")


@dataclass(frozen=True, kw_only=True)
class ImportGraphConfig:
    """``scircuit import graph PATH``: import an attribution graph.

    Formats: circuit-tracer (.pt or JSON), Neuronpedia (JSON).
    """

    path: Path = option(help="graph file")
    model_name: str = option("", "model name in addresses (default: what the file says)")
    dictionary_name: str = option(
        "", "dictionary set name in addresses (default: what the file says)"
    )


IMPORTS: dict[str, type] = {
    "atlas": ImportAtlasConfig,
    "map": ImportMapConfig,
    "edges": ImportEdgesConfig,
    "graph": ImportGraphConfig,
}


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


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """``scircuit export``: write a run, or the part of the graph that a question returns."""

    out: Path = option(help="file or folder to write")
    format: str = option(
        "parquet",
        "parquet, graphml, circuit-tracer, neuronpedia or biocypher",
        ("parquet", "graphml", "circuit-tracer", "neuronpedia", "biocypher"),
    )
    run: str = option("", "run whose records are written (default: the newest complete trace run)")
    query: str = option(
        "",
        "catalogue question or read-only Cypher that returns the part to write (needs the"
        " database)",
    )
    parameters: tuple[str, ...] = option((), "NAME=VALUE parameters of the question", short="-p")
    q: float = option(0.05, "maximum q of the edges (1: all stored edges)")
    features: tuple[str, ...] = option((), "only edges between these features and their neighbours")


@dataclass(frozen=True, kw_only=True)
class GenesetsConfig:
    """``scircuit genesets fetch``: download gene-set libraries, each with its licence."""

    libraries: tuple[str, ...] = option(
        (),
        "names, such as KEGG_2021_Human (default: list the libraries and their licences)",
    )
    out: Path = option(Path("genesets"), "folder for the GMT files")
    accept_licence: bool = option(
        False, "confirm that you may use libraries whose licence restricts use"
    )
