"""The work of a run as jobs, which any process can compute: functions of a source layer's tracer.

A job's result depends on configuration and inputs alone; jobs may therefore be computed in any
order, anywhere, and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from scircuit.tracing.engine.tracer import Tracer

Report = Callable[[int, int, int], None]
_MIN_SOURCES = 4  # of a part


class Job(NamedTuple):
    """``work(tracer of the source layer, *arguments, progress=...)``; `work` is a function of a
    module, so that it can be sent by name.
    """

    layer: int
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


class Done(NamedTuple):
    """A job, what it gave, and what happened on the way."""

    job: Job
    result: Any
    notes: tuple[str, ...]


def parts_of(tracer: Tracer, sample: np.ndarray, arrays: int = 1) -> list[np.ndarray]:
    """Sample of sources in parts that are a job each: as many as one exact batch holds, and no more
    than fit the memory.

    Parameters
    ----------
    tracer
        The run.
    sample
        Source features, ascending.
    arrays
        Arrays of effects that a job holds at once.
    """
    most = tracer.plan.tile(len(tracer.cells), arrays * tracer.ablation.values)
    size = min(most, max(_MIN_SOURCES, tracer.plan.pairs))
    return [sample[i : i + size] for i in range(0, len(sample), size)]


def perform(tracers: Mapping[int, Tracer], job: Job, progress: Report | None = None) -> Done:
    """Compute one job."""
    tracer = tracers[job.layer]
    result = job.work(tracer, *job.arguments, progress=progress)
    notes = tuple(dict.fromkeys(tracer.notes))
    tracer.notes.clear()
    return Done(job, result, notes)


class Executor(Protocol):
    """Computes the jobs of a run."""

    def map(self, jobs: Iterable[Job], progress: Report | None = None) -> Iterator[Done]:
        """Results of the jobs, in any order; `progress` may be called within each."""
        ...


class LocalExecutor:
    """Computes jobs in this process, in order."""

    def __init__(self, tracers: Mapping[int, Tracer]) -> None:
        self._tracers = tracers

    def map(self, jobs: Iterable[Job], progress: Report | None = None) -> Iterator[Done]:
        """Results of the jobs; `progress` is called with (done, total, found) within each."""
        for job in jobs:
            yield perform(self._tracers, job, progress)
