"""``scircuit trace``: the exhaustive ablation map of one layer, streamed into the graph while it is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.cli.command import verb_command
from scircuit.cli.console import Progress, say, show_checks
from scircuit.cli.database import connect
from scircuit.cli.models import load_inputs
from scircuit.cli.options import build, plain
from scircuit.cli.running import ActiveRun, active_run, links
from scircuit.run import Study, atomic_path
from scircuit.settings import DEFAULT_STUDY, TraceConfig, UserError

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.cli.models import Inputs

# Where a file lies and what computes it first do not change the question that a run answers.
_NOT_IDENTITY = ("model", "dictionaries", "cells")


@dataclass(frozen=True)
class TraceResult:
    """What a trace found and where it is."""

    run: str
    folder: Path
    findings: dict[str, Any]
    message: str
    new: bool
    preflight: tuple[Any, ...] = field(default=(), repr=False)

    def edges(self) -> pd.DataFrame:
        """All stored edges as a frame: source, target and the statistics of the effect over cells."""
        from ingest.shards import ShardStore

        return ShardStore(self.folder).tables("Feature-AFFECTS-Feature").to_pandas()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"run": self.run, "folder": str(self.folder), "new": self.new, **self.findings, "message": self.message}

    def __str__(self) -> str:
        f = self.findings
        return (
            f"run {self.run}{'' if self.new else ' (already complete)'}\n"
            f"  {f['sources']:,} source features x {f['cells']} cells -> layers {', '.join(map(str, f['target_layers']))}\n"
            f"  {f['live_tests']:,} live tests, {f['edges']:,} edge records stored\n"
            f"  {f['edges_calibrated']:,} edges by the calibrated rule (q <= 0.05), {f['edges_legacy']:,} by the legacy rule\n"
            f"  zero edit: largest |effect| {f['zero_edit_max']:.3g}\n"
            f"  {self.message}"
        )


def trace(
    config: TraceConfig | None = None, study: Path | str = DEFAULT_STUDY, *, database: bool = True, quiet: bool = False, **options: Any
) -> TraceResult:
    """Ablate every active feature of one layer on real cells and measure every feature of the later layers.

    Parameters
    ----------
    config
        Options as one object; or give them by name (see `scircuit.settings.TraceConfig`).
    study
        Folder of the study.
    database
        Stream the edges into the study's graph while tracing; otherwise shards are written only.

    Returns
    -------
    TraceResult
        Run id, counts, and ``edges()`` as a frame.

    Raises
    ------
    UserError
        If cells, model or dictionaries are refused; nothing is computed then.
    """
    config = config or build(TraceConfig, options)
    place = Study(Path(study))
    config = replace(
        config, model_name=config.model_name or Path(config.model).resolve().name, dictionary_name=config.dictionary_name or Path(config.dictionaries).resolve().name
    )
    inputs = load_inputs(config)
    config = replace(config, target_layers=inputs.targets, device=str(inputs.adapter.device))
    report = inputs.report(config.source_layer)
    if not quiet:
        show_checks(report)
    identity = {k: v for k, v in plain(config).items() if k not in _NOT_IDENTITY}
    with active_run(
        place, "trace", {**plain(config), **_absolute(config)}, inputs.hashes(), identity=identity, database=database,
        cohort={**inputs.cohort.manifest(), "report": [line[:4] for line in report]}, record={"method": "exact", "seed": config.seed, "device": config.device, "numerics": "float32"},
    ) as run:  # fmt: skip
        new = not run.finished
        if new:
            _trace_units(run, inputs, config, quiet)
    message = _settle(place, run) if database else ""
    return TraceResult(run.id, run.folder, dict(run.store.manifest.findings), message, new, report)


def _absolute(config: TraceConfig) -> dict[str, str]:
    """Paths that stay valid from another folder."""
    return {k: str(Path(getattr(config, k)).resolve()) for k in _NOT_IDENTITY}


def _trace_units(run: ActiveRun, inputs: Inputs, config: TraceConfig, quiet: bool) -> None:
    """Trace all missing units, then q over all live tests, then the controls."""
    import numpy as np

    from tracing import calibrate
    from tracing.engine import Tracer

    tracer = Tracer(inputs.adapter, inputs.dictionaries, inputs.cohort, config, run.id)
    records = tracer.records()
    run.write("records", records)
    run.write("used", {
        **links("Run-USED-Model", run.id, records["Model"].column("id").to_pylist()),
        **links("Run-USED-Cohort", run.id, records["Cohort"].column("id").to_pylist()),
        **links("Run-USED-Dictionary", run.id, records["Dictionary"].column("id").to_pylist()),
    })  # fmt: skip
    stats = run.folder / "units"
    stats.mkdir(exist_ok=True)
    sizes = {u: len(tracer.features_of(u)) for u in tracer.units}
    todo = [u for u in tracer.units if u not in run.done or not (stats / f"{u}.npz").exists()]
    if run.resumed and len(todo) < len(tracer.units):
        say(f"  resuming run {run.id}: {len(tracer.units) - len(todo)} of {len(tracer.units)} work units are done")
    progress = Progress("tracing", sum(sizes[u] for u in todo), "features", quiet=quiet)
    features = edges = 0
    for unit in todo:
        result = tracer.run_unit(unit)
        with atomic_path(stats / f"{unit}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, p=result.p_values, counts=result.p_counts, live=result.live, pairs=result.pairs, zero=result.zero_edit_max)
        run.write(unit, {"Feature-AFFECTS-Feature": result.edges})
        features += sizes[unit]
        edges += result.edges.num_rows
        progress.update(features, _note(run, edges))
    summary = [np.load(stats / f"{u}.npz") for u in tracer.units]
    table = calibrate.q_table([s["p"] for s in summary], [s["counts"] for s in summary])
    stored = calibrated = legacy = 0
    for entry in [e for e in run.store.manifest.shards if e.kind == "Feature-AFFECTS-Feature"]:
        with_q = calibrate.with_q(run.store.read(entry), table)
        run.store.replace(entry, with_q)
        stored += with_q.num_rows
        calibrated += int(calibrate.calibrated(with_q).sum())
        legacy += int(calibrate.legacy(with_q).sum())
    checking = Progress("controls", 1.0, quiet=quiet)
    controls = tracer.run_controls(
        table.threshold(0.05), progress=lambda done, total, _found: checking.update(done / max(total, 1))
    )
    run.write("controls", controls.tables)
    live = int(sum(int(s["live"]) for s in summary))
    zero = max(controls.numbers["zero_edit_max"], max((float(s["zero"]) for s in summary), default=0.0))
    findings = {
        "sources": int(sum(sizes.values())), "cells": len(inputs.cohort.row_ids), "source_layer": config.source_layer,
        "target_layers": list(config.target_layers), "pairs": int(sum(int(s["pairs"]) for s in summary)), "live_tests": live,
        "edges": stored, "edges_calibrated": calibrated, "edges_legacy": legacy, "zero_edit_max": zero,
        "p_at_q05": table.threshold(0.05), "controls": controls.numbers,
    }  # fmt: skip
    run.conclude(findings, edges=stored, edges_calibrated=calibrated, edges_legacy=legacy, live_tests=live, zero_edit_max=zero)


def _note(run: ActiveRun, edges: int) -> str:
    if run.writer is None:
        return f"{edges:,} edges"
    waiting = f", {run.writer.behind} shards wait" if run.writer.behind > 2 else ""
    return f"{edges:,} edges, {run.writer.edges_loaded:,} in the graph{waiting}"


def _settle(study: Study, run: ActiveRun) -> str:
    """Set q on edges that were streamed before it was known, once everything is in the graph; say how it stands."""
    from ingest.stream import apply_q, load_run

    try:
        with connect(study.root) as connection:
            report = load_run(connection, run.folder)
            apply_q(connection, run.folder)
        return " ".join(part for part in (run.load_message, report.message) if part) or "everything was in the graph already"
    except UserError as error:
        return f"{error.problem}; shards are kept, catch up with: scircuit load --study {study.root}"


command = verb_command("trace", TraceConfig, trace)
