"""Jobs of a run whose results are stored as they come: an interrupted run goes on with those that
are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from scircuit.core.progress import Progress, say
from scircuit.execution.partial_results import PartialResults

if TYPE_CHECKING:
    from pathlib import Path

    from scircuit.tracing.engine.jobs import Done, Executor, Job, Report


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


def each_part(
    folder: Path, name: str, executor: NoteOnce, jobs: list[Job], quiet: bool
) -> Iterator[tuple[Job, Any]]:
    """Results of jobs of the kind ``work(tracer, what, rule, ...)``, one at a time and in order,
    with progress over all jobs.

    Each is stored in the run's folder when it is computed; they are read when all are there.
    """
    if not jobs:
        return
    stored = PartialResults(folder, name, jobs[0].arguments[1])
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
    for job in jobs:
        done = stored.read(job)
        executor.notes.update(done.notes)
        yield job, done.result


def in_parts(
    folder: Path, name: str, executor: NoteOnce, jobs: list[Job], quiet: bool
) -> Iterator[tuple[int, list[Any]]]:
    """Results as those of `each_part`, by source layer."""
    parts = each_part(folder, name, executor, jobs, quiet)
    for layer, of_layer in groupby(parts, key=lambda part: part[0].layer):
        yield layer, [result for _, result in of_layer]
