"""``scircuit ablate``: joint ablations of features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, AblateConfig
from scircuit.core.context import parse_context
from scircuit.core.progress import Progress
from scircuit.execution.ablation_sets.chosen_sets import ChosenSets
from scircuit.execution.ablation_sets.set_findings import summarise_sets
from scircuit.execution.intervention_run import Tables, intervene
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    from scircuit.execution.load_inputs import Inputs


def ablate(
    config: AblateConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Ablate sets of features (default: all pairs of the top hubs) in all combinations of their
    members, on common positions.

    The interaction contrast of every order (of two features ``joint - single A - single B``) is
    tested on raw per-cell effects. The published ratio of standardised effects is reported beside
    the value that exactly additive effects give on the same cells.

    Raises
    ------
    UserError
        If no sets can be chosen, or the inputs of the trace run have changed.
    """
    config = config or build(AblateConfig, options)
    context = parse_context(config.context)

    def compute(inputs: Inputs, chosen: ChosenSets, run: str) -> Tables:
        from scircuit.tracing.interventions import ablate_sets

        progress = Progress("ablating", len(chosen.sets), "sets", quiet=quiet)
        return ablate_sets(
            inputs.adapter,
            inputs.dictionaries,
            inputs.cohort,
            chosen.sets,
            run=run,
            q=config.q,
            targets=config.targets,
            context=context,
            progress=lambda done, _total, _found: progress.update(done),
        )

    return intervene(config, study, database, compute, summarise_sets)
