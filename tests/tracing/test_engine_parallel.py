"""Jobs on several cores: in order, the same numbers as on one, settings restored, failures not
swallowed.
"""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
import torch

from scircuit.tracing.clean_pass import clean_pass
from scircuit.tracing.hardware.parallel import run_jobs
from tests.support.tiny_tracer import setup


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_order_threads_and_inference_mode(threads):
    def job(i: int) -> tuple[int, int, bool]:
        return i, torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert list(run_jobs([partial(job, i) for i in range(9)], torch.device("cpu"))) == [
        (i, 1, True) for i in range(9)
    ]
    assert list(run_jobs([partial(job, 0)], torch.device("cpu"))) == [(0, threads, True)]
    assert list(run_jobs([], torch.device("cpu"))) == []
    assert torch.get_num_threads() == threads


def test_a_failing_job_raises_and_restores(threads):
    def job(i: int) -> int:
        return 1 // (i - 2)

    with pytest.raises(ZeroDivisionError):
        list(run_jobs([partial(job, i) for i in range(6)], torch.device("cpu")))
    assert torch.get_num_threads() == threads


def test_results_do_not_depend_on_the_number_of_cores():
    results = []
    before = torch.get_num_threads()
    for n in (1, 3):
        torch.set_num_threads(n)
        tracer = setup(cells=5)[0]
        results.append([tracer.run_unit(u).edges for u in tracer.units])
    torch.set_num_threads(before)
    assert all(a.equals(b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (0, 3)])
def test_the_clean_pass_takes_no_more_cells_at_a_time_than_the_plan_allows(monkeypatch, jobs, most):
    tracer, _, dictionaries, tokens = setup()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    lock, running, seen = threading.Lock(), [0], []
    original = clean_pass.clean_cell

    def counted(*args):
        with lock:
            running[0] += 1
            seen.append(running[0])
        time.sleep(0.05)
        try:
            return original(*args)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(clean_pass, "clean_cell", counted)
    try:
        cells = clean_pass.CleanCells(
            tracer.adapter, dictionaries, tokens, (1, 2), 2**30, jobs=jobs
        )
    finally:
        torch.set_num_threads(before)
    assert len(cells) == len(tokens) == len(seen) and max(seen) <= most
    assert max(seen) > 1 or most == 1


def test_a_cohort_too_small_for_any_edge_says_so():
    assert "no edge can be calibrated with fewer than 6" in setup(cells=5)[0].notes[0]
    assert not setup(cells=6)[0].notes
