"""One trace run, from loaded inputs to findings: work units, q over all live tests, controls,
audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from scircuit.core.context import context_name
from scircuit.core.progress import Progress, say
from scircuit.execution.active_run import ActiveRun, links
from scircuit.execution.legacy_messages import show_after, show_before
from scircuit.execution.partial_results import PartialResults
from scircuit.execution.resume import UnitFiles, missing_units

if TYPE_CHECKING:
    from scircuit.execution.load_inputs import Inputs
    from scircuit.tracing.controls.audit import Agreement
    from scircuit.tracing.engine.jobs import Done, Executor, Job, Report
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.engine.tracer import Tracer
    from scircuit.tracing.statistics.q_values import QTable

_EDGES = "Feature-AFFECTS-Feature"


class NoteOnce:
    """Computes jobs by another executor, and shows each of their notes once, when it comes."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.notes: set[str] = set()

    def map(self, jobs: Iterable[Job], progress: Report | None = None) -> Iterator[Done]:
        """Results in any order."""
        for done in self._executor.map(jobs, progress):
            for note in sorted({*done.notes} - self.notes):
                say(f"  {note}")
            self.notes.update(done.notes)
            yield done


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
    _trace(run, tracers, executor, quiet)
    table, tested = _gather(
        run, [u for tracer in tracers.values() for u in tracer.units], settings.gate_p
    )
    for note in sorted(tested["notes"] - executor.notes):
        say(f"  {note}")
    counts = _set_q(run, table, q_values.scale_of(records["Feature"]))
    controls = _controls(run, tracers, executor, table, quiet)
    audit = _audit(run, tracers, executor, table, quiet)
    zero = max(tested["zero"], *(c["zero_edit_max"] for c in controls.values()))
    findings = {
        "sources": sum(len(t.sources) for t in tracers.values()),
        "cells": len(inputs.cohort.row_ids),
        "source_layers": list(tracers),
        "target_layers": list(settings.target_layers),
        "pairs": tested["pairs"],
        "live_tests": tested["live"],
        **counts,
        "zero_edit_max": zero,
        "p_at_q05": table.threshold(0.05),
        "test": q_values.TEST,
        "context": context_name(settings.context),
        "sources_exact": sum(len(t.exact_sources) for t in tracers.values()),
        "controls": _together(controls),
        "notes": sorted({*executor.notes, *tested["notes"]}),
        "controls_by_layer": {str(layer): c for layer, c in controls.items()},
        "audit": [asdict(a) for a in audit],
        **({"numerics": dict(measured)} if measured else {}),
    }
    if legacy:
        findings["legacy"] = show_after(
            run, tracers, q_values.scale_of(records["Feature"]), zero, quiet
        )
    run.conclude(findings, **counts, live_tests=tested["live"], zero_edit_max=zero)


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


def _trace(run: ActiveRun, tracers: Mapping[int, Tracer], executor: Executor, quiet: bool) -> None:
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
    for done in executor.map(Job(owner[u].layer, Tracer.run_unit, (u,)) for u in todo):
        result = done.result
        files.write(done)
        run.write(result.name, {_EDGES: result.edges})
        features += sizes[result.name]
        edges += result.edges.num_rows
        progress.update(features, _note(run, edges))


def _gather(run: ActiveRun, units: Iterable[str], gate: float) -> tuple[QTable, dict[str, Any]]:
    """Table of q over all units, and what they counted; a gate that kept edges out is noted."""
    from scircuit.tracing.statistics.family import Family

    family, pairs, zero, notes = Family(), 0, 0.0, set()
    files = UnitFiles(run.folder)
    for unit in map(files.read, units):
        family.add(unit.p_values, unit.p_counts, unit.null)
        pairs, zero = pairs + unit.pairs, max(zero, unit.zero_edit_max)
        notes.update(unit.notes)
    table = family.table()
    largest = table.threshold(0.05)
    if lost := family.between(gate, largest):
        notes.add(
            f"{lost:,} live tests with q <= 0.05 have p above --gate-p {gate:g} and are not stored,"
            f" so degrees are too low; trace again with --gate-p {largest:.2g} or more"
        )
    return table, {"live": family.tests, "pairs": pairs, "zero": zero, "notes": notes}


def _set_q(run: ActiveRun, table: QTable, scale: Mapping[str, float]) -> dict[str, int]:
    """Give every stored edge its q, and count edges by rule."""
    from scircuit.tracing.statistics import q_values

    counts = {"edges": 0, "edges_calibrated": 0, "edges_legacy": 0}
    for entry in [e for e in run.store.manifest.shards if e.kind == _EDGES]:
        edges = q_values.with_q(run.store.read(entry), table)
        run.store.replace(entry, edges)
        counts["edges"] += edges.num_rows
        counts["edges_calibrated"] += int(q_values.calibrated(edges, scale=scale).sum())
        counts["edges_legacy"] += int(q_values.legacy(edges).sum())
    return counts


def _in_parts(
    run: ActiveRun, name: str, executor: NoteOnce, jobs: list[Job], quiet: bool
) -> Iterator[tuple[int, list[Any]]]:
    """Results of jobs of the kind ``work(tracer, sources, rule, ...)`` by source layer, in order,
    with progress over all jobs.

    Each is stored when it is computed, and those of one layer at a time are read when all are
    there.
    """
    if not jobs:
        return
    stored = PartialResults(run.folder, name, jobs[0].arguments[1])
    todo = [job for job in jobs if not stored.has(job)]
    if len(todo) < len(jobs):
        say(f"  resuming {name}: {len(jobs) - len(todo)} of {len(jobs)} parts are done")
    checking = Progress(name, len(todo), quiet=quiet)
    finished = 0

    def report(at: int, total: int, _found: int) -> None:
        checking.update(finished + 0.999 * at / max(total, 1))

    for done in executor.map(todo, report):
        stored.write(done)
        finished += 1
        checking.update(finished)
    for layer, of_layer in groupby(jobs, key=lambda job: job.layer):
        parts = [stored.read(job) for job in of_layer]
        executor.notes.update(note for part in parts for note in part.notes)
        yield layer, [part.result for part in parts]


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
    for layer, parts in _in_parts(run, "controls", executor, jobs, quiet):
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
        for layer, parts in _in_parts(run, "audit", executor, jobs, quiet)
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
