"""One trace run, from loaded inputs to findings: work units, q over all live tests, controls,
audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.context import context_name
from scircuit.core.edge_rules import MAX_Q
from scircuit.core.progress import Progress, say
from scircuit.execution.active_run import ActiveRun, links
from scircuit.execution.legacy_messages import show_after, show_before
from scircuit.execution.resume import UnitFiles, missing_units
from scircuit.execution.trace_steps.families import EDGES, Gathered, gather, set_q
from scircuit.execution.trace_steps.null_step import DrawnNull, draw_null
from scircuit.execution.trace_steps.parts import NoteOnce, in_parts

if TYPE_CHECKING:
    from scircuit.execution.load_inputs import Inputs
    from scircuit.tracing.controls.audit import Agreement
    from scircuit.tracing.controls.null_records import NullFinding
    from scircuit.tracing.engine.jobs import Executor, Job
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.engine.tracer import Tracer
    from scircuit.tracing.statistics.q_values import QTable


def map_run(
    run: ActiveRun,
    inputs: Inputs,
    settings: TraceSettings,
    quiet: bool,
    measured: Mapping[str, object] | None = None,
    on_ray: Mapping[str, str] | None = None,
) -> None:
    """Trace all missing units, then set q over all live tests, then run controls and audit, and
    conclude the run.

    Parameters
    ----------
    run
        The run, which may be resumed.
    inputs, settings
        What is traced.
    quiet
        Show no progress.
    measured
        The comparison that allowed a number format other than float32; one of the findings.
    on_ray
        Folders of model and dictionaries, to compute on the connected Ray cluster; None: here.
    """
    from scircuit.tracing.controls.null_records import null_notes
    from scircuit.tracing.engine.input_records import describe
    from scircuit.tracing.engine.tracer import open_tracers
    from scircuit.tracing.legacy.legacy_effects import LEGACY_RULES
    from scircuit.tracing.statistics import q_values

    tracers = open_tracers(inputs.adapter, inputs.dictionaries, inputs.cohort, settings, run.id)
    cells = next(iter(tracers.values())).cells
    if cells.on_disk and not quiet:
        say(
            f"  clean states of {cells.on_disk} of {len(cells)} cells are in a temporary folder:"
            " they exceed their share of the memory"
        )
    legacy = settings.rules == LEGACY_RULES
    if legacy:
        show_before(tracers, quiet)
    records = describe(list(tracers.values()), inputs.cohort)
    run.write("records", records)
    used = [
        links(f"Run-USED-{kind}", run.id, records[kind].column("id").to_pylist())
        for kind in ("Model", "Cohort", "Dictionary")
    ]
    run.write("used", {kind: table for link in used for kind, table in link.items()})
    executor = NoteOnce(_executor(run, inputs, settings, tracers, on_ray))
    null = draw_null(run.folder, tracers, executor, quiet)
    _trace(run, tracers, executor, null, quiet)
    tested = gather(run, tracers)
    table = tested.families.total
    counts, of_pairs = set_q(run, tested.families, q_values.scale_of(records["Feature"]))
    continued = counts.pop("continued")
    directions = _directions(run, tracers, null, tested, of_pairs)
    notes = {
        *tested.notes,
        *(n for layer in null for n in null_notes(tracers[layer], null[layer].ratios)),
    }
    if few := _few_edges(tracers, tested, counts):
        notes.add(few)
    for note in sorted(notes - executor.notes):
        say(f"  {note}")
    controls = _controls(run, tracers, executor, table, quiet)
    audit = _audit(run, tracers, executor, table, quiet)
    zero = max(tested.zero, *(c["zero_edit_max"] for c in controls.values()))
    findings = {
        "sources": sum(len(t.sources) for t in tracers.values()),
        "cells": len(inputs.cohort.row_ids),
        "source_layers": list(tracers),
        "target_layers": list(settings.target_layers),
        "pairs": tested.pairs,
        "live_tests": tested.live,
        "callable_tests": tested.callable,
        "callable_pairs": tested.callable_pairs,
        **counts,
        "edges_continued": continued if directions else None,
        "expected_false": sum(d.expected_false for d in directions) if directions else None,
        "null_draws": settings.null_draws,
        "zero_edit_max": zero,
        "numeric_floor": max(float(t.floors.max()) for t in tracers.values()),
        "p_at_q05": table.threshold(MAX_Q),
        "p_computed_at_q05": tested.families.computed.threshold(MAX_Q),
        "p_direct_at_q05": tested.families.direct.threshold(MAX_Q),
        "test": q_values.TEST,
        "context": context_name(settings.context),
        **({"loss": inputs.loss.record()} if inputs.loss else {}),
        "sources_exact": sum(len(t.exact_sources) for t in tracers.values()),
        "controls": _together(controls),
        "notes": sorted({*executor.notes, *notes}),
        "controls_by_layer": {str(layer): c for layer, c in controls.items()},
        "audit": [asdict(a) for a in audit],
        "directions": [asdict(d) for d in directions],
        **({"numerics": dict(measured)} if measured else {}),
    }
    if legacy:
        findings["legacy"] = show_after(
            run, tracers, q_values.scale_of(records["Feature"]), zero, quiet
        )
    run.conclude(
        findings,
        **counts,
        live_tests=tested.live,
        expected_false=findings["expected_false"],
        zero_edit_max=zero,
        numeric_floor=findings["numeric_floor"],
        **(inputs.loss.of_run() if inputs.loss else {}),
    )


def _executor(
    run: ActiveRun,
    inputs: Inputs,
    settings: TraceSettings,
    tracers: Mapping[int, Tracer],
    on_ray: Mapping[str, str] | None,
) -> Executor:
    from scircuit.tracing.engine.jobs import LocalExecutor

    if on_ray is None:
        return LocalExecutor(tracers)
    from scircuit.execution.ray_workers import ray_workers

    return ray_workers(settings, on_ray, run.id, inputs)


def _trace(
    run: ActiveRun,
    tracers: Mapping[int, Tracer],
    executor: Executor,
    null: Mapping[int, DrawnNull],
    quiet: bool,
) -> None:
    """Trace the units that are not on disk yet; each is stored before the next is waited for."""
    from scircuit.tracing.engine.jobs import Job
    from scircuit.tracing.engine.tracer import Tracer

    owner = {unit: tracer for tracer in tracers.values() for unit in tracer.units}
    sizes = {unit: len(tracer.features_of(unit)) for unit, tracer in owner.items()}
    files = UnitFiles(run.folder)
    todo = missing_units(owner, run.done, files)
    if run.resumed and len(todo) < len(owner):
        say(
            f"  resuming run {run.id}: {len(owner) - len(todo)} of {len(owner)} work units are done"
        )
    progress = Progress("tracing", sum(sizes[u] for u in todo), "features", quiet=quiet)
    features = edges = 0

    def job(unit: str) -> Job:
        layer, drawn = owner[unit].layer, null.get(owner[unit].layer)
        own = drawn.of(owner[unit].features_of(unit)) if drawn else None
        return Job(layer, Tracer.run_unit, (unit, own))

    for done in executor.map(map(job, todo)):
        result = done.result
        files.write(done)
        run.write(result.name, {EDGES: result.edges})
        features += sizes[result.name]
        edges += result.edges.num_rows
        progress.update(features, _note(run, edges))


def _few_edges(
    tracers: Mapping[int, Tracer], tested: Gathered, counts: Mapping[str, int]
) -> str | None:
    """What would help a run with few edges: computed ones, or where no random directions were drawn
    all effects that are not zero.
    """
    from scircuit.tracing.statistics.power import few_edges_note

    most = max(int(t.cells_of_sources.max()) for t in tracers.values())
    if tested.families.draws:
        pairs = tested.callable_pairs
        return few_edges_note(counts["edges_computed"], pairs, pairs, most)
    return few_edges_note(counts["edges_calibrated"], tested.live, tested.callable, most)


def _directions(
    run: ActiveRun,
    tracers: Mapping[int, Tracer],
    null: Mapping[int, DrawnNull],
    tested: Gathered,
    of_pairs: Mapping[tuple[int, int], Mapping[str, int]],
) -> list[NullFinding]:
    """What the direction null says about every layer pair; stored as controls."""
    from scircuit.tracing.controls.null_records import null_findings, null_tables

    thresholds = {
        "direct": tested.families.direct.threshold(MAX_Q),
        "computed": tested.families.computed.threshold(MAX_Q),
    }
    found = [
        finding
        for layer, drawn in null.items()
        for finding in null_findings(
            tracers[layer],
            drawn.ratios,
            tested.held_out[layer],
            thresholds,
            {t: edges for (s, t), edges in of_pairs.items() if s == layer},
        )
    ]
    if tables := null_tables(run.id, found):
        run.write("directions", tables)
    return found


def _controls(
    run: ActiveRun, tracers: Mapping[int, Tracer], executor: NoteOnce, table: QTable, quiet: bool
) -> dict[int, dict[str, Any]]:
    """Run and store the controls of each source layer; their numbers."""
    from scircuit.tracing.controls.control_edges import Rule
    from scircuit.tracing.controls.sampled_controls import (
        control_part,
        control_result,
        control_sample,
    )
    from scircuit.tracing.engine.jobs import Job

    rule, numbers = Rule(table), {}
    jobs = [
        Job(layer, control_part, (part, rule))
        for layer, tracer in tracers.items()
        for part in control_sample(tracer)
    ]
    for layer, parts in in_parts(run.folder, "controls", executor, jobs, quiet):
        result = control_result(tracers[layer], parts, rule)
        run.write("controls" if len(tracers) == 1 else f"controls-L{layer:02d}", result.tables)
        numbers[layer] = result.numbers
    return numbers


def _together(controls: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:  # numbers or None
    """Control numbers over all source layers: sums of counts, maxima of sizes, means of agreements
    weighted by edges.
    """
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
            by = "half_found" if name == "half_agreement" else "edges"
            weights = [max(c[by], 1) for c in every if c.get(name) is not None]
            total[name] = float(np.average(values, weights=weights)) if values else None
    return total


def _audit(
    run: ActiveRun, tracers: Mapping[int, Tracer], executor: NoteOnce, table: QTable, quiet: bool
) -> list[Agreement]:
    """Audit every tracer that is not exact, and store it."""
    from scircuit.tracing.controls.audit import agreements, audit_part, audit_sample, audit_tables
    from scircuit.tracing.controls.control_edges import Rule
    from scircuit.tracing.engine.jobs import Job, parts_of

    rule = Rule(table)
    jobs = [
        Job(layer, audit_part, (part, rule))
        for layer, tracer in tracers.items()
        for part in parts_of(tracer, audit_sample(tracer))
    ]
    found = [
        a
        for layer, parts in in_parts(run.folder, "audit", executor, jobs, quiet)
        for a in agreements(tracers[layer], parts)
    ]
    tables = audit_tables(run.id, found)
    if tables:
        run.write("audit", tables)
    return found


def _note(run: ActiveRun, edges: int) -> str:
    if run.writer is None:
        return f"{edges:,} edges"
    waiting = f", {run.writer.behind} shards to load" if run.writer.behind > 2 else ""
    return f"{edges:,} edges, {run.writer.edges_loaded:,} in the graph{waiting}"
