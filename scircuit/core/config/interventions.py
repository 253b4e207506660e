"""Options of the verbs that intervene on the model of a trace run: ablate, steer."""

from __future__ import annotations

from dataclasses import dataclass

from scircuit.core.config.option import option


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
