"""Joint ablations on a trace run: choose sets, load inputs, ablate, store records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import plain
from scircuit.core.config import AblateConfig
from scircuit.core.study import Study
from scircuit.execution.ablation_sets.chosen_sets import ChosenSets, chosen_sets
from scircuit.execution.active_run import active_run
from scircuit.execution.find_runs import trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.load_inputs import Inputs, inputs_of_run, require_output_site
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.analysis.finding import Finding

Tables = Mapping[str, "pa.Table"]

_NOT_IDENTITY = ("run", "hubs", "device")
# enter the id where they are used: older ids stay valid
_NEWER = ("order", "layers", "sampler", "sets", "context", "targets", "seed")


def intervene(
    config: AblateConfig,
    study: Path | str,
    database: bool,
    compute: Callable[[Inputs, ChosenSets, str], Tables],
    summarise: Callable[[Tables, ChosenSets], tuple[dict[str, Any], list[str], list[Finding]]],
) -> RunResult:
    """Ablate sets of features on the cells, model and dictionaries of a trace run; `summarise`
    reads numbers, sentences and findings off its tables.
    """
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    chosen = chosen_sets(place, parent, config)
    with active_run(
        place,
        "ablate",
        {**plain(config), "run": parent.run},
        {"features": chosen.features},
        identity=identity_of(config, chosen),
        parents=chosen.parents,
        database=database,
    ) as run:
        new = not run.finished
        if new:
            _, inputs = inputs_of_run(parent, device=config.device)
            require_output_site(inputs, "ablate")
            tables = compute(inputs, chosen, run.id)
            numbers, sentences, found = summarise(tables, chosen)
            write_findings(run.folder, found)
            run.write("interventions", tables)
            run.conclude({**numbers, "sentences": sentences}, device=str(inputs.adapter.device))
    return run.result(new)


def identity_of(config: AblateConfig, chosen: ChosenSets) -> dict[str, Any]:
    """Options that say what is computed; of the newer ones those that are used."""
    given, usual = plain(config), plain(AblateConfig())
    identity = {
        k: v
        for k, v in given.items()
        if k not in _NOT_IDENTITY and (k not in _NEWER or v != usual[k])
    }
    if config.features:  # however they were written
        identity["features"] = chosen.features
    if chosen.across:
        # later members are removed wherever they are active; once it was at the set's positions
        identity["removed"] = "everywhere"
    if not chosen.all_of:
        identity["sets"] = [f"{s.kind} {s.tag}" for s in chosen.sets]
    return identity
