"""The null of random directions of a run: drawn for all sources, audited on some, kept in the run's
folder until the run has ended.

The changes of the states are in a file for each source layer, [sources, draws and held out, 2,
layers x width], which is mapped and not read: memory does not grow with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scircuit.execution.partial_results import PARTS
from scircuit.execution.trace_steps.parts import NoteOnce, each_part, in_parts

if TYPE_CHECKING:
    from pathlib import Path

    from scircuit.tracing.direction_null.null_ratios import Ratios, UnitNull
    from scircuit.tracing.engine.tracer import Tracer


class DrawnNull:
    """Random directions in the place of every source of one layer.

    Parameters
    ----------
    sources
        The sources, in the order of `changes`.
    changes
        [sources, draws and held out, 2, D] mean changes of the states.
    ratios
        What the audit found.
    """

    def __init__(self, sources: np.ndarray, changes: np.ndarray, ratios: Ratios) -> None:
        self._place = {f: i for i, f in enumerate(sources.tolist())}
        self._changes, self.ratios = changes, ratios

    def of(self, features: np.ndarray) -> UnitNull:
        """Those of some sources, read into memory."""
        from scircuit.tracing.direction_null.null_ratios import UnitNull

        at = [self._place[f] for f in features.tolist()]
        return UnitNull(np.asarray(self._changes[at]), dict(self.ratios))


def draw_null(
    folder: Path, tracers: Mapping[int, Tracer], executor: NoteOnce, quiet: bool
) -> dict[int, DrawnNull]:
    """Draw and audit the null of every source layer; empty where none is asked for.

    Parameters
    ----------
    folder
        Folder of the run.
    tracers, executor, quiet
        Source layer -> tracer; computes the jobs; show no progress.
    """
    from scircuit.ingest.shards.shard_store import guarded
    from scircuit.tracing.direction_null.null_audit import audit_null, audited_sources, ratios_of
    from scircuit.tracing.direction_null.pooled_null import null_jobs, null_part
    from scircuit.tracing.engine.jobs import Job

    jobs = [
        Job(layer, null_part, (draws, None))
        for layer, tracer in tracers.items()
        for draws in null_jobs(tracer)
    ]
    draws = {t: sum(len(j.arguments[0]) for j in jobs if j.layer == t) for t in tracers}
    files: dict[int, tuple[Path, tuple[int, ...]]] = {}
    for job, changes in each_part(folder, "random directions", executor, jobs, quiet):
        path = folder / PARTS / f"directions-L{job.layer:02d}.f32"
        first, every = int(job.arguments[0][0]), draws[job.layer]
        guarded(partial(_write, path, changes, first, every), folder)
        files[job.layer] = path, (len(changes), every, *changes.shape[2:])
    found = {
        layer: DrawnNull(tracers[layer].sources, np.memmap(path, np.float32, "r", 0, shape), {})
        for layer, (path, shape) in files.items()
    }
    audits = [
        Job(layer, audit_null, (features, found[layer].of(features).changes))
        for layer in found
        for features in audited_sources(tracers[layer])
    ]
    for layer, parts in in_parts(folder, "null audit", executor, audits, quiet):
        found[layer].ratios = ratios_of(tracers[layer], parts)
    return found


def _write(path: Path, changes: np.ndarray, first: int, draws: int) -> None:
    """Write the draws from `first` on of every source into a file for `draws` of them."""
    row = changes[0, 0].nbytes
    with path.open("r+b" if path.exists() else "w+b") as file:
        for i, of_source in enumerate(changes):
            file.seek((i * draws + first) * row)
            file.write(of_source.tobytes())
        file.flush()
        os.fsync(file.fileno())
