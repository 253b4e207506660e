"""Machine code of the statistics: equal to the same loops in plain Python and to whole arrays in
numpy, the same for any batch, and safe to compile in several processes or without a cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scircuit.core import machine_code
from scircuit.tracing.statistics import p_lower_bound, sign_flip, subset_counts
from scircuit.tracing.statistics.sign_flip import sign_flip_p
from tests.support import numpy_counts
from tests.support.numpy_counts import counted_p
from tests.support.patience import HANGS_S

SIZES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "scale per cell": lambda rng, shape: rng.normal(size=shape) * rng.lognormal(0, 2, shape[1]),
    "equal": lambda rng, shape: rng.choice([-0.1, 0.1], shape),
    "one or three": lambda rng, shape: rng.choice([-0.3, -0.1, 0.1, 0.3], shape),
    "some zero": lambda rng, shape: rng.normal(size=shape) * (rng.random(shape) < 0.8),
}


def effects(kind, n, k, seed=0):
    rng = np.random.default_rng([seed, k])
    x = SIZES[kind](rng, (n, k))
    x[: n // 2] += rng.choice([0.2, 1.0]) * np.abs(x).mean()
    return x[(x != 0).any(1)]


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize(("k", "n"), [(3, 400), (11, 400), (20, 400), (21, 100), (60, 40)])
def test_p_is_that_of_whole_arrays_to_the_last_bit(kind, k, n):
    x = effects(kind, n, k)
    plain, found = counted_p(x), sign_flip_p(x)
    asked = plain <= (1 if k <= 20 else 0.1)
    assert asked.sum() >= n // 20
    np.testing.assert_array_equal(found[asked], plain[asked])


@pytest.mark.parametrize("k", range(13))
def test_subsets_are_counted_exactly_at_any_limit(k):
    """Against all subset sums: limits below, between and at sums, elements in part of the row."""
    rng = np.random.default_rng(k)
    rows, first, size, limits, wanted = [], [], [], [], []
    for own in (rng.integers(1, 4, k), rng.integers(1, 1000, k)):
        sums = np.zeros(1, np.int64)
        for value in own:
            sums = np.concatenate([sums, sums + value])
        for limit in (0, 1, int(np.median(sums)), sums.max() - 1, sums.max(), 5 + sums.max()):
            small = np.sort(own[own <= limit]).astype(float)
            rows.append(np.concatenate([np.full(3, np.nan), small, np.full(15 - len(small), 9e9)]))
            first.append(3), size.append(len(small)), limits.append(float(limit))
            wanted.append((sums <= limit).sum())
    given = np.array(rows), np.array(first), np.array(size), np.array(limits)
    np.testing.assert_array_equal(subset_counts.exact_counts(*given), wanted)
    plain = np.empty(len(rows), np.int64)
    subset_counts.exact_loop(*given, plain)
    np.testing.assert_array_equal(plain, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 8, 30, 110])
def test_whole_numbers_are_counted_with_the_error_that_is_stated(k, dtype):
    """Against exact integers, also with steps of zero, beyond the top and not quite in order."""
    rng = np.random.default_rng(k)
    steps = np.sort(rng.integers(0, rng.choice([3, 40, 700], (9, 1)), (9, k)), axis=1)
    steps[:, -1] += rng.choice([0, 5000], 9)
    used, tops = rng.random((9, k)) < 0.9, rng.integers(50, 4200, 9)
    counts, powers = subset_counts.grid_counts(steps, used, tops, dtype)
    for row, top in enumerate(tops.tolist()):
        exact = [1] + [0] * top
        for v in steps[row, used[row]].tolist():
            for total in range(top, v - 1, -1):
                exact[total] += exact[total - v]
        ratio = int(counts[row]) * 2 ** int(powers[row]) / sum(exact)
        assert abs(ratio - 1) <= (k + 1) * 2.0 ** (-24 if dtype is np.float32 else -50)
        if k <= 20:
            assert ratio == 1


def test_hundreds_of_cells_are_scaled():
    steps = np.sort(np.tile(np.arange(1, 31), 20))
    top = 4500
    count, power = subset_counts.grid_counts(
        steps[None], np.ones((1, 600), bool), np.array([top]), np.float64
    )
    exact = [1] + [0] * top
    for v in steps.tolist():
        for total in range(top, v - 1, -1):
            exact[total] += exact[total - v]
    assert power[0] == 500
    assert abs(int(count[0]) * 2**500 - sum(exact)) * 10**12 <= sum(exact)


@pytest.mark.parametrize("kind", SIZES)
def test_machine_code_is_the_same_loop_in_plain_python(kind, monkeypatch):
    x = np.concatenate([effects(kind, 6, k)[:4] @ np.eye(k, 24) for k in (13, 19, 24)])
    fast = sign_flip_p(x), sign_flip_p(x, up_to=0.1)
    bounds = []

    def both(loop, signature):
        def run(*given):
            plain = [v.copy() if isinstance(v, np.ndarray) else v for v in given]
            machine_code.machine_code(loop, signature)(*given)
            loop(*plain)
            # what it fills comes last, and nothing else is changed
            outputs = 2 if loop is subset_counts.grid_loop else 1
            for a, b in zip(given[-outputs:], plain[-outputs:], strict=True):
                np.testing.assert_array_equal(a, b)
            bounds.append(loop.__name__)

        return run

    monkeypatch.setattr(subset_counts, "machine_code", both)
    monkeypatch.setattr(p_lower_bound, "machine_code", both)
    with np.errstate(all="ignore"):
        plain = sign_flip_p(x), sign_flip_p(x, up_to=0.1)
    np.testing.assert_array_equal(fast, plain)
    assert {"exact_loop", "bound_loop"} <= set(bounds)


def test_no_row_depends_on_its_batch_or_on_threads(monkeypatch):
    x = np.concatenate([effects(kind, 400, 40)[:300] for kind in ("normal", "cauchy")])
    for up_to in (1.0, 0.1):
        whole = sign_flip_p(x, up_to=up_to)
        np.testing.assert_array_equal(
            whole[5::7], [sign_flip_p(row[None], up_to=up_to)[0] for row in x[5::7]]
        )
    whole = sign_flip_p(x)
    for chunk in (1, 37, 10_000):
        monkeypatch.setattr(sign_flip, "_CHUNK", chunk)
        np.testing.assert_array_equal(sign_flip_p(x), whole)


def test_sums_beyond_numbers_prove_nothing():
    x = np.array([np.full(20, 1e200), np.full(20, 1e-200), np.zeros(20)])
    found = p_lower_bound.certainly_above(np.abs(x), np.zeros(3), 0.1)
    assert not found.any()


SCRIPT = """
import sys
import numpy as np
assert "numba" not in sys.modules
from scircuit.tracing.statistics.sign_flip import sign_flip_p
assert "numba" not in sys.modules  # imported when it is needed, not before
x = np.random.default_rng(0).normal(0.3, 1, (50, 10))
print(sign_flip_p(x, up_to=0.1).tobytes().hex())
"""


def started(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_processes_that_compile_at_once_agree_and_one_cache_is_left(tmp_path):
    x = np.random.default_rng(0).normal(0.3, 1, (50, 10))
    wanted = sign_flip_p(x, up_to=0.1).tobytes().hex()
    workers = [started(tmp_path / "cache") for _ in range(2)]
    for worker in workers:
        out, err = worker.communicate(timeout=HANGS_S)
        assert worker.returncode == 0, err[-2000:]
        assert out.strip() == wanted
    (kept,) = (tmp_path / "cache").rglob("*.nbc")
    # a file cut short, as a machine that loses power leaves it, costs time and nothing else
    kept.write_bytes(kept.read_bytes()[:100])
    out, err = (again := started(tmp_path / "cache")).communicate(timeout=HANGS_S)
    assert again.returncode == 0 and out.strip() == wanted, err[-2000:]


def test_a_function_is_compiled_where_nothing_can_be_kept(monkeypatch):
    from numba.core.caching import FunctionCache

    def nowhere(*_):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(FunctionCache, "__init__", nowhere)
    kernel = machine_code.machine_code.__wrapped__(
        subset_counts.exact_loop, "void(f8[:, ::1], i8[::1], i8[::1], f8[::1], i8[::1])"
    )
    count = np.empty(1, np.int64)
    kernel(np.ones((1, 4)), np.zeros(1, np.int64), np.array([4]), np.array([2.0]), count)
    assert count[0] == 1 + 4 + 6


def test_whole_arrays_themselves_are_right():
    """The reference of these tests against all signs of every row."""
    x = effects("scale per cell", 40, 10)
    signs = ((np.arange(2**10)[:, None] >> np.arange(10)) & 1) * 2.0 - 1
    wanted = [(np.abs(signs @ row) >= abs(row.sum()) * (1 - 1e-12)).mean() for row in x]
    np.testing.assert_array_equal(numpy_counts.counted_p(x), wanted)
