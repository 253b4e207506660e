"""``scircuit ablate``: joint ablations of features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY, AblateConfig
from scircuit.core.progress import Progress
from scircuit.execution.intervention_run import Tables, intervene
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    from scircuit.core.address import Address
    from scircuit.execution.load_inputs import Inputs


def ablate(
    config: AblateConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Ablate all pairs of features (default: the top hubs) jointly and singly on common positions.

    The interaction contrast ``joint - single A - single B`` is tested on raw per-cell effects. The
    published ratio of standardised effects is reported beside the value that exactly additive
    effects give on the same cells.

    Raises
    ------
    UserError
        If no features can be chosen, or the inputs of the trace run have changed.
    """
    config = config or build(AblateConfig, options)

    def compute(inputs: Inputs, addresses: list[Address], run: str) -> Tables:
        from scircuit.tracing.interventions import ablate_pairs

        progress = Progress(
            "ablating", len(addresses) * (len(addresses) - 1) / 2, "pairs", quiet=quiet
        )
        return ablate_pairs(
            inputs.adapter,
            inputs.dictionaries,
            inputs.cohort,
            addresses,
            run=run,
            q=config.q,
            progress=lambda done, _total, _found: progress.update(done),
        )

    return intervene("ablate", config, study, database, compute, _summarise_ablation)


def _summarise_ablation(tables: Tables) -> tuple[dict[str, Any], str]:
    """Number of significant interaction contrasts, and the redundancy ratio beside its null."""
    import numpy as np

    pairs = tables["Intervention"].to_pandas()
    numbers = {
        "pairs": len(pairs),
        "tested": int(pairs["tested"].sum()),
        "significant": int(pairs["significant"].sum()),
        "ratio": float(np.nanmedian(pairs["ratio"])),
        "ratio_null": float(np.nanmedian(pairs["ratio_null"])),
    }
    sentence = (
        f"{numbers['significant']:,} of {numbers['tested']:,} interaction contrasts of"
        f" {numbers['pairs']} pairs differ from zero; the ratio |joint| / sum |single| is"
        f" {numbers['ratio']:.2f}, exactly additive effects would give {numbers['ratio_null']:.2f}"
    )
    return {k: None if v != v else v for k, v in numbers.items()}, sentence
