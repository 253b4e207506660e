"""Messages of a legacy run about the published rules: before the first ablation, and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scircuit.core.progress import say, show_checks

if TYPE_CHECKING:
    from scircuit.execution.active_run import ActiveRun
    from scircuit.tracing.engine.tracer import Tracer

_READ = ("source", "target", "n", "n_pos", "n_neg", "mean", "sd", "d", "q")


def show_before(tracers: Mapping[int, Tracer], quiet: bool) -> None:
    """Show what is wrong with the published activity and edge rules on these cells."""
    from scircuit.tracing.legacy.faults_of_run import faults_before

    for tracer in tracers.values():
        if not quiet:
            show_checks(faults_before(tracer))


def show_after(
    run: ActiveRun,
    tracers: Mapping[int, Tracer],
    scale: Mapping[str, float],
    zero_edit_max: float,
    quiet: bool,
) -> dict[str, Any]:
    """Show what the published edge rule did in a complete run, and write the tests that rounding
    decides to a file in the run's folder.

    Returns
    -------
    The lines by source layer, as plain values for the findings.
    """
    import pyarrow as pa

    from scircuit.ingest.shards.shard_store import guarded
    from scircuit.tracing.legacy.faults_of_run import faults_after
    from scircuit.tracing.legacy.ties import ties_of, write_ties
    from scircuit.tracing.statistics.q_values import calibrated

    found, ties = {}, []
    for layer, tracer in tracers.items():
        units = set(tracer.units)
        shards = [
            e
            for e in run.store.manifest.shards
            if e.kind == "Feature-AFFECTS-Feature" and e.name.split(".")[0] in units
        ]
        edges = pa.concat_tables([run.store.read(e).select(_READ) for e in shards])
        ties.append(ties_of(edges))
        lines = faults_after(tracer, edges, zero_edit_max, calibrated(edges, scale=scale))
        if not quiet:
            show_checks(lines)
        found[str(layer)] = [[line.name, line.ok, line.found] for line in lines]
    path = guarded(lambda: write_ties(pa.concat_tables(ties), run.folder), run.folder)
    if not quiet:
        say(f"  tests that rounding decides: {path}")
    return found
