"""One trace run, from loaded inputs to findings: work units, q over all live tests, controls, audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.cli.console import Progress, say
from scircuit.cli.legacy import say_after, say_before
from scircuit.cli.running import ActiveRun, links
from scircuit.run import atomic_path

if TYPE_CHECKING:
    from scircuit.cli.models import Inputs
    from scircuit.settings import TraceConfig
    from tracing.audit import Agreement
    from tracing.calibrate import QTable
    from tracing.engine import Tracer, UnitResult

_EDGES = "Feature-AFFECTS-Feature"


def map_run(run: ActiveRun, inputs: Inputs, config: TraceConfig, quiet: bool) -> None:
    """Trace all missing units, then set q over all live tests, then run controls and audit, and conclude the run."""
    from tracing import calibrate
    from tracing.describe import describe
    from tracing.engine import open_tracers
    from tracing.skew import Null

    tracers = open_tracers(inputs.adapter, inputs.dictionaries, inputs.cohort, config, run.id)
    if config.legacy:
        say_before(tracers, quiet)
    records = describe(list(tracers.values()))
    run.write("records", records)
    used = [links(f"Run-USED-{kind}", run.id, records[kind].column("id").to_pylist()) for kind in ("Model", "Cohort", "Dictionary")]
    run.write("used", {kind: table for link in used for kind, table in link.items()})
    _trace(run, tracers, quiet)
    units = [np.load(_statistics(run, u)) for tracer in tracers.values() for u in tracer.units]
    null = Null.joined([Null(u["null"], u["null_weight"], int(u["null_quiet"])) for u in units])
    table = calibrate.q_table([u["p"] for u in units], [u["counts"] for u in units], null=null)
    counts = _set_q(run, table, calibrate.scale_of(records["Feature"]))
    controls = _controls(run, tracers, table, quiet)
    audit = _audit(run, tracers, table, quiet)
    live, zero = (int(sum(int(u["live"]) for u in units)), max(float(u["zero"]) for u in units))
    zero = max(zero, max(c["zero_edit_max"] for c in controls.values()))
    notes = sorted({note for tracer in tracers.values() for note in tracer.notes})
    for note in notes:
        say(f"  {note}")
    findings = {
        "sources": sum(len(t.sources) for t in tracers.values()), "cells": len(inputs.cohort.row_ids), "source_layers": list(tracers),
        "target_layers": list(config.target_layers), "pairs": int(sum(int(u["pairs"]) for u in units)), "live_tests": live, **counts,
        "zero_edit_max": zero, "p_at_q05": table.threshold(0.05), "context": config.context,
        "sources_exact": sum(len(t.exact_sources) for t in tracers.values()), "controls": _together(controls), "notes": notes,
        "controls_by_layer": {str(layer): c for layer, c in controls.items()}, "audit": [asdict(a) for a in audit],
    }  # fmt: skip
    if config.legacy:
        findings["legacy"] = say_after(run, tracers, calibrate.scale_of(records["Feature"]), zero, quiet)
    run.conclude(findings, **counts, live_tests=live, zero_edit_max=zero)


def _trace(run: ActiveRun, tracers: Mapping[int, Tracer], quiet: bool) -> None:
    """Trace the units that are not on disk yet, each written whole before the next is waited for."""
    owner = {unit: tracer for tracer in tracers.values() for unit in tracer.units}
    sizes = {unit: len(tracer.features_of(unit)) for unit, tracer in owner.items()}
    todo = [u for u in owner if u not in run.done or not _statistics(run, u).exists()]
    if run.resumed and len(todo) < len(owner):
        say(f"  resuming run {run.id}: {len(owner) - len(todo)} of {len(owner)} work units are done")
    progress = Progress("tracing", sum(sizes[u] for u in todo), "features", quiet=quiet)
    features = edges = 0
    for result in _results(owner, todo):
        with atomic_path(_statistics(run, result.name)) as temporary, temporary.open("wb") as file:
            np.savez(
                file, p=result.p_values, counts=result.p_counts, live=result.live, pairs=result.pairs, zero=result.zero_edit_max,
                null=result.null.p, null_weight=result.null.weight, null_quiet=result.null.quiet,
            )  # fmt: skip
        run.write(result.name, {_EDGES: result.edges})
        features += sizes[result.name]
        edges += result.edges.num_rows
        progress.update(features, _note(run, edges))


def _results(owner: Mapping[str, Tracer], todo: Iterable[str]) -> Iterator[UnitResult]:
    """Results of the units, computed in this process."""
    for unit in todo:
        yield owner[unit].run_unit(unit)


def _statistics(run: ActiveRun, unit: str) -> Any:
    """File of a unit's p values, which its stored edges alone do not give."""
    return run.folder / "units" / f"{unit}.npz"


def _set_q(run: ActiveRun, table: QTable, scale: Mapping[str, float]) -> dict[str, int]:
    """Give every stored edge its q; count edges by rule."""
    from tracing import calibrate

    counts = {"edges": 0, "edges_calibrated": 0, "edges_legacy": 0}
    for entry in [e for e in run.store.manifest.shards if e.kind == _EDGES]:
        edges = calibrate.with_q(run.store.read(entry), table)
        run.store.replace(entry, edges)
        counts["edges"] += edges.num_rows
        counts["edges_calibrated"] += int(calibrate.calibrated(edges, scale=scale).sum())
        counts["edges_legacy"] += int(calibrate.legacy(edges).sum())
    return counts


def _controls(run: ActiveRun, tracers: Mapping[int, Tracer], table: QTable, quiet: bool) -> dict[int, dict[str, Any]]:
    """Run and store the controls of each source layer; their numbers."""
    from tracing.control_edges import Rule

    numbers = {}
    for layer, tracer in tracers.items():
        checking = Progress(f"controls of layer {layer}", 1.0, quiet=quiet)
        found = tracer.run_controls(Rule(table), progress=lambda done, total, _found: checking.update(done / max(total, 1)))  # noqa: B023
        run.write("controls" if len(tracers) == 1 else f"controls-L{layer:02d}", found.tables)
        numbers[layer] = found.numbers
    return numbers


def _together(controls: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Control numbers over all source layers: counts added, the largest of sizes, agreements weighted by edges."""
    every = list(controls.values())
    if len(every) == 1:
        return dict(every[0])
    total: dict[str, Any] = {}
    for name in every[0]:
        values = [c[name] for c in every if c.get(name) is not None]
        if name.startswith("zero_edit_max") or name.endswith("floor"):
            total[name] = max(values, default=None)
        elif all(isinstance(v, int) for v in values):
            total[name] = sum(values)
        elif all(isinstance(v, float) for v in values):
            weights = [max(c["edges"], 1) for c in every if c.get(name) is not None]
            total[name] = float(np.average(values, weights=weights)) if values else None
    return total


def _audit(run: ActiveRun, tracers: Mapping[int, Tracer], table: QTable, quiet: bool) -> list[Agreement]:
    """Audit every tracer that is not exact, and store it."""
    from tracing.audit import audit_tables, run_audit
    from tracing.control_edges import Rule

    found: list[Agreement] = []
    for layer, tracer in tracers.items():
        checking = Progress(f"audit of layer {layer}", 1.0, quiet=quiet)
        found += run_audit(tracer, Rule(table), progress=lambda done, total, _found: checking.update(done / max(total, 1)))  # noqa: B023
    tables = audit_tables(run.id, found)
    if tables:
        run.write("audit", tables)
    return found


def _note(run: ActiveRun, edges: int) -> str:
    if run.writer is None:
        return f"{edges:,} edges"
    waiting = f", {run.writer.behind} shards wait" if run.writer.behind > 2 else ""
    return f"{edges:,} edges, {run.writer.edges_loaded:,} in the graph{waiting}"
