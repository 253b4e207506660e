"""``scircuit steer``: amplify or clamp features and read what the model then predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, SteerConfig
from scircuit.core.progress import Progress
from scircuit.execution.intervention_run import Tables, intervene
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    from scircuit.core.address import Address
    from scircuit.execution.load_inputs import Inputs


def steer(
    config: SteerConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Multiply the activation of features (default: the top hubs) and measure gene logits.

    Each slope over the dose is reported beside that of a random direction of equal norm.

    Raises
    ------
    UserError
        If no features can be chosen, or the inputs of the trace run have changed.
    """
    config = config or build(SteerConfig, options)

    def compute(inputs: Inputs, addresses: list[Address], run: str) -> Tables:
        from scircuit.tracing.interventions import steer as steer_features

        progress = Progress("steering", len(addresses), "features", quiet=quiet)
        return steer_features(
            inputs.adapter,
            inputs.dictionaries,
            inputs.cohort,
            addresses,
            config.coefficients,
            run=run,
            seed=config.seed,
            progress=lambda done, _total, _found: progress.update(done),
        )

    return intervene("steer", config, study, database, compute, _summarise_steering)


def _summarise_steering(tables: Tables) -> tuple[dict[str, Any], str]:
    """How many features move the genes they fire on, beside what random directions do."""
    features = tables["Feature"].to_pandas()
    clear = int((features["steering_p"] <= 0.05).sum())
    numbers = {
        "features": len(features),
        "clear": clear,
        "median_slope": float(features["steering_slope"].abs().median()),
        "median_control": float(features["steering_control"].abs().median()),
    }
    sentence = (
        f"{clear} of {len(features)} steered features move the logits of the genes they fire on"
        f" (sign-flip p <= 0.05); median |slope| per dose {numbers['median_slope']:.3g}, random"
        f" directions of equal norm {numbers['median_control']:.3g}"
    )
    return numbers, sentence
