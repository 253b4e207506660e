"""Options of the verbs that look into the model of a trace run: ablate, steer, importance, circuit,
attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scircuit.core.config.option import option


def _trace_run() -> Any:
    return option(
        "",
        "trace run whose cells, model and dictionaries are used (default: the newest complete one)",
        once=True,
    )


@dataclass(frozen=True)
class AblateConfig:
    """``scircuit ablate``: joint ablations of sets of features and their interaction contrasts."""

    run: str = _trace_run()
    features: tuple[str, ...] = option(
        (),
        "addresses, or L05/F0898; several with commas or by giving the option again; joined by +,"
        " they are one set (default: the top hubs of the newest analysis)",
        once=True,
    )
    hubs: int = option(
        6, "number of top hubs if no features are given; all their pairs are ablated"
    )
    order: int = option(2, "features of a set, 2 to 6")
    layers: tuple[int, ...] = option(
        (),
        "layer of each member of a set, such as 0,5,11 (default: hubs wherever they are; else"
        " source layers of the trace run)",
        once=True,
    )
    sampler: str = option(
        "hubs",
        "hubs: all sets of the top hubs; pathway: sets of one label, of different labels and random"
        " ones, matched in firing rate; random: random sets; published: the recipes of the"
        " published study, by keywords in the labels",
        choices=("hubs", "pathway", "random", "published"),
    )
    sets: int = option(100, "sets of each class that pathway and random draw")
    context: str = option(
        "exact", "exact: every position reacts; frozen: only those where a member is active"
    )
    targets: tuple[int, ...] = option(
        (), "layers to read, after those of all members (default: the last one)", once=True
    )
    q: float = option(0.05, "maximum q of the interaction contrasts")
    seed: int = option(0, "seed of the draws of sets")
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True)
class SteerConfig:
    """``scircuit steer``: amplify or clamp a feature's activation and measure what the model then
    says of the cell.
    """

    run: str = _trace_run()
    features: tuple[str, ...] = option(
        (),
        "addresses, or L05/F0898; several with commas or by giving the option again (default: top"
        " hubs of the newest analysis)",
        once=True,
    )
    hubs: int = option(6, "number of top hubs if no features are given")
    layers: tuple[int, ...] = option(
        (), "take hubs, or ON and OFF features, of these layers only (default: all)", once=True
    )
    panel: str = option(
        "",
        "on-off: steer the features that differ most between early and late probe cells, up to 12"
        " ON and 8 OFF a layer",
        choices=("", "on-off"),
        once=True,
    )
    coefficients: tuple[float, ...] = option(
        (0.0, 2.0, 3.0, 5.0), "factors on the feature's activation; 1 is no change"
    )
    mode: str = option(
        "amplify",
        "amplify: multiply the activation; clamp: set it, in units of the feature's mean active"
        " value, where it fires; clamp-all: at all gene positions",
        choices=("amplify", "clamp", "clamp-all"),
    )
    readouts: tuple[str, ...] = option(
        (),
        "genes, states, pseudotime, fate, types, markers, loss; several with commas (default: genes"
        " and all whose inputs are given; loss only when named)",
        once=True,
    )
    pseudotime: str = option(
        "", "obs column of pseudotime, or dpt: scanpy's diffusion pseudotime", once=True
    )
    root: str = option("", "barcode of the root cell of dpt", once=True)
    state: str = option(
        "",
        "two states by an obs column: COLUMN=A,B; several values of one state are joined with +",
        once=True,
    )
    types: str = option("", "obs column of cell types", once=True)
    markers: str = option(
        "",
        "marker genes up and down: a file (GMT, or two columns gene and up or down), or"
        " 'up:GENE,GENE down:GENE'",
        once=True,
    )
    group: str = option(
        "", "obs column of donors: probes are judged on held-out groups of cells", once=True
    )
    probe_cells: int = option(
        300, "number of further cells of the same file on which probes and signatures are fitted"
    )
    random_directions: int = option(
        19,
        "number of random directions of equal norm as controls; with fewer than 19 no feature can"
        " have p_random <= 0.05",
    )
    seed: int = option(0, "seed of random directions, folds and masks")
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True)
class ImportanceConfig:
    """``scircuit importance``: masked-LM loss without single features: hubs beside features that
    fire as often, and random ones.
    """

    run: str = option(
        "",
        "trace run whose model and dictionaries are used (default: the newest complete one)",
        once=True,
    )
    hubs: int = option(
        50, "number of top hubs of the newest analysis, and of matched and random features"
    )
    hubs_by: str = option(
        "residual",
        "which features are hubs: residual (degree beyond what the firing rate gives) or degree",
        choices=("residual", "degree"),
    )
    n_cells: int = option(
        50,
        "number of cells, drawn beside those of the trace run, on which the hubs were chosen; its"
        " own where fewer than six others pass its filters",
    )
    seed: int = option(0, "seed of the masks, the random features and the permutations")
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True)
class CircuitConfig:
    """``scircuit circuit``: the smallest set of features that keeps a behaviour of the model."""

    behaviour: str = option(
        help="genes:GENES (prediction of a gene set), mlm:GENES or mlm (masked-LM loss), or"
        " celltype:COLUMN=VALUE (a linear probe); GENES are names with commas, a file of names, a"
        " GMT file (FILE#TERM), or a term of a shipped library",
        once=True,
    )
    run: str = _trace_run()
    layers: tuple[int, ...] = option(
        (), "layers whose features are considered (default: those of the trace run)"
    )
    n_cells: int = option(
        40, "number of cells that pass the run's filters; one half chooses, the other judges"
    )
    share: float = option(0.8, "share of the behaviour that a circuit keeps")
    max_share: float = option(0.05, "maximum size of a circuit, as a share of the features")
    scoring: str = option(
        "attribution",
        "how features are ranked: attribution (integrated gradients) or ablation (each alone)",
        choices=("attribution", "ablation"),
    )
    steps: int = option(8, "steps of the integrated gradients")
    draws: int = option(20, "number of random circuits; at least 19")
    probe_cells: int = option(
        400, "celltype: further cells on which the probe is fitted and its accuracy measured"
    )
    seed: int = option(0, "seed of halves, masks, random circuits and bootstrap")
    device: str = option("auto", "auto, cpu, cuda, mps")


@dataclass(frozen=True)
class AttributeConfig:
    """``scircuit attribute``: what the pre-activations of transcoder features are made of, exactly,
    over the cells of a trace run, beside what ablation finds of the same features.
    """

    run: str = _trace_run()
    features: tuple[str, ...] = option(
        (),
        "targets: addresses, or L05/F0898; several with commas or by giving the option again"
        " (default: a random sample of the measured features)",
        once=True,
    )
    targets: int = option(
        100, "number of targets if no features are given, drawn at random from those that fire"
    )
    share: float = option(
        0.95,
        "share of a target's absolute contributions that its stored edges have; the rest is one"
        " number on the target",
    )
    seed: int = option(0, "seed of the random sample and of the exchanged pairs")
    device: str = option("auto", "auto, cpu, cuda, mps")
