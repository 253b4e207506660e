"""``scircuit attribute``: what transcoder features are made of, beside what ablation finds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY, AttributeConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import Progress
from scircuit.core.study import Study
from scircuit.execution.active_run import active_run
from scircuit.execution.attribution.ablated_pairs import ablated_pairs
from scircuit.execution.attribution.attribution_records import EDGES, edge_table, target_table
from scircuit.execution.attribution.chosen_targets import chosen_targets
from scircuit.execution.find_runs import trace_run
from scircuit.execution.findings.finding_files import write_findings
from scircuit.execution.load_inputs import Inputs, inputs_of_run
from scircuit.execution.run_result import RunResult

if TYPE_CHECKING:
    from scircuit.core.address import Address
    from scircuit.tracing.attribution.over_cells import EdgeStatistics

_AT_ONCE = 24  # targets of one part of the work; no number depends on it


def attribute(
    config: AttributeConfig | None = None,
    study: Path | str = DEFAULT_STUDY,
    *,
    database: bool = True,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Take the pre-activations of transcoder features apart, exactly, over the cells of a trace
    run: which features of earlier layers add how much, with counts, spread and p over cells.

    Attention patterns, norms and MLP outputs are held at their clean values. The parts of a target,
    errors, embeddings and biases among them, add up to its pre-activation; the largest relative
    difference is stored. Pairs that the trace run has edges for are compared with it.

    Returns
    -------
    RunResult
        ``table("Feature-ATTRIBUTES_TO-Feature")`` has the edges, ``table("Feature")`` the parts of
        each target; ``detail`` has the comparison with ablation.

    Raises
    ------
    UserError
        If the dictionaries of the run are no transcoders, no target can be chosen, or the inputs of
        the run have changed.
    """
    config = config or build(AttributeConfig, options)
    place = Study(Path(study))
    parent = trace_run(place, config.run)
    targets = chosen_targets(place, parent, config)
    with active_run(
        place,
        "attribute",
        {**plain(config), "run": parent.run},
        {"features": [str(a) for a in targets]},
        identity={"share": config.share, "seed": config.seed},
        parents=(parent.run,),
        database=database,
        record={"seed": config.seed},
    ) as run:
        new = not run.finished
        if new:
            from scircuit.analysis.attribution_agreement.ablation_agreement import agreement

            _, inputs = inputs_of_run(parent, device=config.device)
            found = _over_cells(inputs, targets, config, quiet)
            names = inputs.settings.model_name, inputs.settings.dictionary_name
            edges = edge_table(found, run.id, *names)
            finding = agreement(ablated_pairs(place, parent, edges), config.seed)
            write_findings(run.folder, [finding])
            run.write("attribution", {"Feature": target_table(found, *names), EDGES: edges})
            numbers, sentence = _summary(found)
            run.conclude(
                {**numbers, **finding.numbers, "sentences": [sentence, finding.sentence]},
                device=str(inputs.adapter.device),
            )
    return run.result(new)


def _over_cells(
    inputs: Inputs, targets: list[Address], config: AttributeConfig, quiet: bool
) -> list[EdgeStatistics]:
    """Edges into each target over the cells of the run, parts of the targets side by side."""
    from scircuit.tracing.attribution.frozen_cell import freeze
    from scircuit.tracing.attribution.over_cells import OverCells
    from scircuit.tracing.attribution.transcoder_weights import TranscoderWeights
    from scircuit.tracing.dictionaries.mlp_site import site_of
    from scircuit.tracing.hardware.parallel import run_jobs

    if site_of(inputs.dictionaries) != "mlp":
        raise UserError(
            "the dictionaries of the run are SAEs of layer outputs; attribution takes MLPs apart,"
            " so it needs transcoders",
            "train some (scircuit train --site mlp), trace them, and attribute that run",
        )
    adapter = inputs.adapter
    weights = {
        layer: TranscoderWeights(d.to(adapter.device), adapter.dtype)
        for layer, d in inputs.used.items()
    }
    wanted = [(a.layer, a.index) for a in targets]
    parts = [OverCells(wanted[i : i + _AT_ONCE]) for i in range(0, len(wanted), _AT_ONCE)]
    cells = inputs.cohort.tokens
    progress = Progress("attributing", len(cells), "cells", quiet=quiet)
    for done, cell in enumerate(cells, 1):
        (frozen,) = run_jobs([partial(freeze, adapter, cell, weights)], adapter.device)
        for _ in run_jobs([partial(part.add, frozen) for part in parts], adapter.device):
            pass
        progress.update(done)
    return [part.edges(target, config.share) for part in parts for target in part.targets]


def _summary(found: list[EdgeStatistics]) -> tuple[dict[str, Any], str]:
    """Numbers of the run, and what the targets are made of in one sentence."""
    fire = [f for f in found if f.cells]
    gap = max((f.relative for f in fire), default=0.0)
    names = ("errors", "embeddings", "biases", "remainder")
    size = {name: float(np.mean([abs(getattr(f, name)) for f in fire] or [0])) for name in names}
    size["edges"] = float(np.mean([abs((f.mean * f.n).sum()) / f.cells for f in fire] or [0]))
    whole = sum(size.values()) or 1.0
    edges = sum(len(f.p) for f in fire)
    share = {name: round(value / whole, 4) for name, value in size.items()}
    sentence = (
        f"{edges:,} edges into {len(fire)} features: of the sizes of their parts"
        f" {share['edges']:.0%} are stored edges, {share['remainder']:.0%} other features,"
        f" {share['errors']:.0%} errors of the transcoders, {share['embeddings']:.0%} embeddings"
        f" and {share['biases']:.0%} biases; sums and values differ by at most {gap:.0e}"
    )
    numbers = {"targets": len(fire), "edges": edges, "shares": share, "gap": gap}
    return numbers, sentence
