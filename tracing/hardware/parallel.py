"""Independent jobs on the cores of a CPU: one thread each, instead of every matrix product spread
over all cores.

Cells do not depend on each other, so no core waits for another at the end of every operation. That
keeps its pace when other programs use the machine (a database, say), where spread-out operations
lose most of theirs, and results do not depend on the number of cores. A job that is alone gets all
cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run_jobs(
    jobs: Sequence[Callable[[], Result]], device: torch.device, maximum: int = 0
) -> Iterator[Result]:
    """Results of the jobs in their order; on a CPU as many at a time as torch has threads (and at
    most `maximum`), on other devices one by one.

    Jobs run under ``torch.inference_mode``. A failing job ends the rest.
    """

    def work(job: Callable[[], Result]) -> Result:
        with torch.inference_mode():
            return job()

    if device.type != "cpu" or len(jobs) == 1:
        yield from map(work, jobs)
        return
    with _one_thread_an_operation() as workers:
        pool = ThreadPoolExecutor(
            min(workers, maximum or workers), initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            yield from pool.map(work, jobs)
        finally:
            # a run that is ended by hand must not wait for batches under way before it writes its
            # status
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread_an_operation() -> Iterator[int]:
    """Limit torch to one thread an operation; gives the number it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
