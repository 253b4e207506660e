"""``scircuit steer``: scale a feature's activation and read what the model predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scircuit.cli.command import verb_command
from scircuit.cli.console import Progress
from scircuit.cli.intervention import intervene
from scircuit.cli.options import build
from scircuit.cli.results import RunResult
from scircuit.settings import DEFAULT_STUDY, SteerConfig


def steer(
    config: SteerConfig | None = None, study: Path | str = DEFAULT_STUDY, *, database: bool = True, quiet: bool = False, **options: Any
) -> RunResult:
    """Multiply the activation of the given features (default: the top hubs) and read the change of the gene logits.

    Each slope over the dose stands beside that of a random direction of equal norm.

    Raises
    ------
    UserError
        If no features can be chosen, or the inputs of the trace run have changed.
    """
    config = config or build(SteerConfig, options)

    def compute(inputs: Any, addresses: Any, run: str) -> Any:
        from tracing.interventions import steer as steer_features

        progress = Progress("steering", len(addresses), "features", quiet=quiet)
        return steer_features(
            inputs.adapter, inputs.dictionaries, inputs.cohort, addresses, config.coefficients, run=run, seed=config.seed,
            progress=lambda done, _total: progress.update(done),
        )  # fmt: skip

    return intervene("steer", config, study, database, compute)


command = verb_command("steer", SteerConfig, steer)
