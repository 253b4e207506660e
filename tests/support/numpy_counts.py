"""Sign-flip p of every row counted by whole arrays, none spared and none approximated: what the
compiled counts are compared with.

Up to 20 elements below the limit all subset sums of either half are sorted together; beyond, two
interleaved halves are counted on the grid of 4096 steps, a row at a time.
"""

from __future__ import annotations

import math

import numpy as np

STEPS, CHUNK_BYTES = 4096, 2**18


def counted_p(x: np.ndarray) -> np.ndarray:
    """Two-sided p [N] of effects [N, C], rounded up to four digits beyond 20 cells."""
    a = np.sort(np.abs(x), axis=1)
    total = a.sum(1)
    gap = (total - np.abs(x.sum(1))) / 2 + 1e-10 * total
    k = (a > 0).sum(1)
    j = ((a <= gap[:, None]) & (a > 0)).sum(1)
    first = a.shape[1] - k
    p = np.full(len(x), np.nan)
    for size in np.unique(j[k > 0]).tolist():
        of_size = np.flatnonzero((j == size) & (k > 0))
        of_size = of_size[np.argsort(gap[of_size] / total[of_size], kind="stable")]
        step = 256 if size > 20 else max(1, CHUNK_BYTES // (16 * 2 ** ((size + 1) // 2)))
        for start in range(0, len(of_size), step):
            rows = of_size[start : start + step]
            if size > 20:
                p[rows] = on_grid(a[rows], gap[rows])
                continue
            small = np.take_along_axis(a[rows], first[rows, None] + np.arange(size), axis=1)
            p[rows] = np.minimum(
                1.0, np.ldexp(subsets_up_to(small, gap[rows]).astype(np.float64), 1 - k[rows])
            )
    for row in np.flatnonzero(k > 20):
        p[row] = four_digits(float(p[row]))
    return p


def four_digits(p: float) -> float:
    """The decimal number of four digits that is at or just above `p`."""
    exponent = int(f"{p:.16e}".partition("e")[2])
    scale = float(f"1e{3 - exponent}")
    return min(1.0, math.ceil(p * scale - 1e-9) / scale)


def subsets_up_to(a: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Number of subsets of each row of `a` whose sum is at most `limit`: the lowest bit of each
    number says which half it came from, so one sort gives how many ``v`` lie below ``limit - u``.
    """
    half = a.shape[1] // 2
    limit = limit[:, None]
    v, u = (all_sums(part, limit) for part in (a[:, half:], a[:, :half]))
    keys = np.concatenate([v, limit - u], axis=1)
    bits = keys.view(np.int64)
    bits &= ~np.int64(1)
    bits[:, v.shape[1] :] |= 1
    keys.sort(axis=1)
    bits &= 1
    ranks = bits @ np.arange(keys.shape[1])
    m = u.shape[1]
    return ranks - m * (m - 1) // 2


def all_sums(a: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Sums of all subsets of each row, without those above the limit in every row."""
    out = np.zeros((len(a), 2 ** a.shape[1]))
    for i in range(a.shape[1]):
        np.add(out[:, : 1 << i], a[:, i : i + 1], out=out[:, 1 << i : 2 << i])
    return out[:, (out <= limit).any(axis=0)]


def on_grid(a: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Two-sided p of each row of `a`, ascending, not rounded; up to 500 cells."""
    size = a * (STEPS / gap)[:, None]
    used = (size > 0) & (size <= STEPS * (1 + 1e-10))
    small = np.where(used, size, 0.0)
    part = small - np.floor(small)
    tops = STEPS + np.ceil(4 * np.sqrt((part * (1 - part)).sum(1) / 4)).astype(np.int64)
    steps = np.diff(np.floor(np.cumsum(small, axis=1) + 0.5), axis=1, prepend=0).astype(np.int64)
    pairs = np.empty(len(a))
    for row, top in enumerate(tops.tolist()):
        mine = steps[row, used[row]].tolist()
        pairs[row] = sums(mine[0::2], top) @ np.cumsum(sums(mine[1::2], top))[::-1]
    return np.minimum(1.0, 2 * np.ldexp(pairs, -np.count_nonzero(a, axis=1)))


def sums(steps: list[int], top: int) -> np.ndarray:
    """How many subsets of `steps` have each sum from 0 to `top`."""
    zero = top + 1  # zeros before the first sum: a step is added without asking where it begins
    count, after, end = np.zeros(2 * zero), np.zeros(2 * zero), zero + 1
    count[zero] = 1.0
    for v in steps:
        end = min(end + v, 2 * zero)
        np.add(count[zero:end], count[zero - v : end - v], after[zero:end])
        count, after = after, count
    return count[zero:]
