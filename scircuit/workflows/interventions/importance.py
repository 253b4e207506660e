"""``scircuit importance``: the masked-LM loss without single features, hubs beside others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.address import parse
from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, ImportanceConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import Progress
from scircuit.core.study import Manifest, Study
from scircuit.execution.active_run import active_run
from scircuit.execution.feature_table import features_of
from scircuit.execution.find_runs import child_of, trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.load_inputs import inputs_of_run, require_gene_model
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.finding import Finding
    from scircuit.core.address import Address
    from scircuit.tracing.interventions.feature_importance import Arms, Importance, LossChanges

_RANK = {"residual": "hub_rank", "degree": "degree_rank"}
_ARMS = ("hub", "matched", "random")
_LEAST = {"hubs": 2, "n_cells": 6}  # with five cells, no p of sign flips is 0.05 or less


def importance(
    config: ImportanceConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Ablate hubs, features that fire as often and random ones on masked cells, one at a time.

    Every cell is compared with itself; one in which the feature is not active counts as zero. The
    cells are others than those on which the hubs were chosen, where there are six others or more.

    Returns
    -------
    RunResult
        ``table("Feature")`` has the importance of each; ``detail`` has the finding by name, with
        its frame and plot.

    Raises
    ------
    UserError
        If there is no analysis to take hubs from, too few features or cells, the model predicts no
        masked tokens, or the inputs of the trace run have changed.
    """
    config = config or build(ImportanceConfig, options)
    for name, least in _LEAST.items():
        if getattr(config, name) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(config, name)}, expected {least} or more",
                f"the default is {getattr(ImportanceConfig(), name)}",
            )
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    analysis = child_of(place, "analyse", parent.run)
    if analysis is None:
        raise UserError(
            f"there is no analysis of {parent.run} to take hubs from",
            f"run: scircuit analyse --study {quoted(place.root)}",
        )
    ranked = _ranked(place, parent, analysis, _RANK[config.hubs_by])
    arms = _arms(ranked, config)
    addresses = [parse(text) for text in ranked["id"].iloc[arms.every]]
    with active_run(
        place,
        "importance",
        {**plain(config), "run": parent.run},
        {"features": [str(a) for a in addresses]},
        identity={k: v for k, v in plain(config).items() if k not in ("run", "device")},
        parents=(parent.run, analysis.run),
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            changes, others, device = _measure(parent, config, addresses, quiet)
            finding = _finding(ranked, arms, changes, others, config, run.id)
            write_findings(run.folder, [finding])
            run.write("importance", finding.records)
            run.conclude({**finding.numbers, "sentences": [finding.sentence]}, device=device)
    return run.result(new)


def _ranked(place: Study, trace: Manifest, analysis: Manifest, rank: str) -> pd.DataFrame:
    """Ablated features with layer, firing rate, out-degree and rank, in the order of addresses."""
    traced = features_of(place, trace).to_pandas()
    traced = traced.loc[traced["traced"].eq(True), ["id", "layer", "firing_rate"]]
    found = features_of(place, analysis).to_pandas()
    return traced.merge(found[["id", "out_degree", rank]].rename(columns={rank: "rank"}), on="id")


def _arms(ranked: pd.DataFrame, config: ImportanceConfig) -> Arms:
    from scircuit.tracing.interventions.feature_importance import choose_arms

    columns = (ranked[c].to_numpy(float) for c in ("firing_rate", "rank"))
    layer = ranked["layer"].to_numpy(np.int64)
    return choose_arms(layer, *columns, hubs=config.hubs, seed=config.seed)


def _measure(
    parent: Manifest, config: ImportanceConfig, addresses: list[Address], quiet: bool
) -> tuple[LossChanges, int, str]:
    """Losses on cells beside those of the trace run, or on its own where there are too few others
    to test over; how many others there are, and the device.
    """
    from scircuit.analysis.behaviour.hub_importance import MIN_OTHERS
    from scircuit.tracing.interventions.feature_importance import loss_changes

    own = {int(r) for r in parent.inputs["row_ids"]}
    _, inputs = inputs_of_run(parent, device=config.device, n_cells=len(own) + config.n_cells)
    require_gene_model(inputs, "importance")
    cohort = inputs.cohort
    known = [int(r) in own for r in cohort.row_ids]
    use_own = known.count(False) < MIN_OTHERS
    cells = [t for t, k in zip(cohort.tokens, known, strict=True) if k == use_own]
    progress = Progress("ablating", len(cells), "cells", quiet=quiet)
    changes = loss_changes(
        inputs.adapter,
        inputs.dictionaries,
        cells[: config.n_cells],
        addresses,
        seed=config.seed,
        progress=progress.update,
    )
    return changes, known.count(False), str(inputs.adapter.device)


def _finding(
    ranked: pd.DataFrame,
    arms: Arms,
    changes: LossChanges,
    others: int,
    config: ImportanceConfig,
    run: str,
) -> Finding:
    from dataclasses import replace

    from scircuit.analysis.behaviour.hub_importance import Measured, hub_importance
    from scircuit.tracing.interventions.feature_importance import importance as tests

    degree, rate = (ranked[c].to_numpy(float) for c in ("out_degree", "firing_rate"))
    found = tests(changes, arms, degree, rate, config.seed)
    frame = _frame(ranked, arms, found)
    comparisons = {
        name: getattr(found, name)._asdict() for name in ("matched", "random", "rho", "partial")
    }
    measured = Measured(
        cells=len(changes.baseline),
        masked=int(changes.masked.sum()),
        baseline=float(changes.baseline.mean()),
        others=others,
        hubs_asked=arms.asked,
        distance=arms.distance,
    )
    finding = hub_importance(frame, comparisons, measured)
    return replace(finding, records=_records(frame, measured.cells, run))


def _frame(ranked: pd.DataFrame, arms: Arms, found: Importance) -> pd.DataFrame:
    """One row per feature: hubs, their matches, random features."""
    frame = ranked.iloc[arms.every].reset_index(drop=True)
    ids = ranked["id"].to_numpy(object)
    sizes = (len(arms.hubs), len(arms.matched), len(arms.random))
    frame = frame.rename(columns={"id": "feature", "out_degree": "degree"}).drop(columns="rank")
    match = [*ids[arms.matched], *ids[arms.hubs], *[None] * len(arms.random)]
    return frame.assign(
        arm=np.repeat(_ARMS, sizes),
        match=match,
        importance=found.mean,
        **{k: getattr(found, k) for k in ("low", "high", "p", "q", "cells_active", "as_published")},
    )


def _records(frame: pd.DataFrame, cells: int, run: str) -> dict[str, Any]:
    """One intervention per feature, and its properties on the feature."""
    from scircuit.tracing.interventions.intervention_tables import tables_of

    rows: dict[str, list[dict[str, object]]] = {
        k: []
        for k in (
            "Intervention",
            "Feature-PART_OF-Intervention",
            "Feature",
            "Intervention-FROM-Run",
        )
    }
    for row in frame.to_dict("records"):
        address = parse(row["feature"])
        key = f"{run}/importance/{address.short.replace('/', '')}"
        rows["Intervention"].append(
            {
                "id": key,
                "name": f"without {address.short}",
                "verb": "importance",
                "order": 1,
                "coefficient": 0.0,
                "cells": cells,
                "effect": row["importance"],
                "effect_low": row["low"],
                "effect_high": row["high"],
                "p": row["p"],
                "q": row["q"],
                "readout": "change of the masked-LM loss, nats per masked gene",
                "run": run,
            }
        )
        rows["Intervention-FROM-Run"].append({"source": key, "target": run})
        rows["Feature-PART_OF-Intervention"].append(
            {
                "source": row["feature"],
                "target": key,
                "run": run,
                "role": row["arm"],
                "coefficient": 0.0,
            }
        )
        rows["Feature"].append(
            {
                "id": row["feature"],
                "importance": row["importance"],
                "importance_p": row["p"],
                "importance_q": row["q"],
                "importance_cells": row["cells_active"],
            }
        )
    return tables_of(rows)
