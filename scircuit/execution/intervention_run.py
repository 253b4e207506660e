"""Interventions on a trace run (``ablate``, ``steer``): load inputs, intervene, store records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.build_config import plain
from scircuit.core.config import AblateConfig, SteerConfig
from scircuit.core.study import Study
from scircuit.execution.active_run import active_run
from scircuit.execution.chosen_features import chosen_features
from scircuit.execution.find_runs import trace_run
from scircuit.execution.load_inputs import inputs_of_run
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import pyarrow as pa


Tables = Mapping[str, "pa.Table"]


def intervene(
    verb: str,
    config: AblateConfig | SteerConfig,
    study: Path | str,
    database: bool,
    compute: Callable[..., Tables],
    summarise: Callable[[Tables], tuple[dict[str, float | None], str]],
) -> RunResult:
    """Run an intervention on the cells, model and dictionaries of a trace run; `summarise` reads
    numbers and a sentence off its tables.
    """
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    addresses, parents = chosen_features(
        place, parent, config.features, config.hubs, least=2 if verb == "ablate" else 1
    )
    identity = {k: v for k, v in plain(config).items() if k not in ("run", "hubs", "device")}
    if config.features:  # however they were written
        identity["features"] = [str(address) for address in addresses]
    with active_run(
        place,
        verb,
        {**plain(config), "run": parent.run},
        {"features": [str(a) for a in addresses]},
        identity=identity,
        parents=parents,
        database=database,
    ) as run:
        new = not run.finished
        if new:
            _, inputs = inputs_of_run(parent, device=config.device)
            tables = compute(inputs, addresses, run.id)
            run.write("interventions", tables)
            numbers, sentence = summarise(tables)
            run.conclude({**numbers, "sentences": [sentence]}, device=str(inputs.adapter.device))
    findings = dict(run.store.manifest.findings)
    return RunResult(
        run.id, run.folder, findings, tuple(findings.get("sentences", ())), run.load_message, new
    )
