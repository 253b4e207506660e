"""How many subsets of effects have a sum of at most a limit, test by test.

`exact_counts` meets in the middle: the smallest and the largest elements are taken in turn into two
ascending lists of subset sums, the shorter list next. An element v turns a list s into the merger
of s and s + v, both ascending, without the sums above the limit; it is written from both ends at
once, which halves the time that each step waits for the one before. The pairs with ``u + v <=
limit`` come from one pass over both lists.

`grid_counts` counts whole numbers b_i, smallest first,

    c_0 = [1, 0, ...] ,   c_i(v) = c_{i-1}(v) + c_{i-1}(v - b_i)   for v up to the top,

in place from the top downwards, b_i sums at a time, since no sum within b_i of another changes it.
Of the largest elements only few subsets stay below the top. Their sums h are listed instead, and
the count is ``sum_h sum_{v <= top - h} c(v)``. All terms are positive, so k elements in numbers of
24 bits (float32) leave a relative error of at most k 2^-24: twice as fast as in float64, and mostly
enough to know four digits.
"""

from __future__ import annotations

import numpy as np

from scircuit.core.machine_code import machine_code

_LISTED = 256  # sums of the largest elements from which no further element is listed
IN_FLOAT32 = 120  # elements: 2^127 is the largest power of two
_RESCALE = 500  # elements after which counts are scaled, as 2^1000 is near the largest number


def exact_counts(
    a: np.ndarray, first: np.ndarray, size: np.ndarray, limit: np.ndarray
) -> np.ndarray:
    """Count the subsets with a sum of at most `limit`, the empty one among them.

    Parameters
    ----------
    a
        [N, C] float64, each row ascending.
    first, size
        [N] the elements of row r are ``a[r, first[r] : first[r] + size[r]]``, each at most its
        limit.
    limit
        [N] not negative.

    Returns
    -------
    numpy.ndarray
        [N] int64. Memory is that of ``2^(max(size) / 2)`` numbers, four times.
    """
    count = np.empty(len(a), np.int64)
    machine_code(exact_loop, "void(f8[:, ::1], i8[::1], i8[::1], f8[::1], i8[::1])")(
        np.ascontiguousarray(a), first, size, np.ascontiguousarray(limit), count
    )
    return count


def grid_counts(
    steps: np.ndarray, used: np.ndarray, tops: np.ndarray, dtype: type[np.floating]
) -> tuple[np.ndarray, np.ndarray]:
    """Count the subsets with a sum of at most the top, the empty one among them.

    Parameters
    ----------
    steps
        [N, C] int64 not negative, each row ascending but for one or two steps.
    used
        [N, C] bool, which of them take part.
    tops
        [N] int64.
    dtype
        float32, for up to `IN_FLOAT32` elements, or float64.

    Returns
    -------
    tuple of numpy.ndarray
        [N] float64 and [N] int64: the count is the first times two to the power of the second, but
        for rounding.
    """
    count, power = np.empty(len(steps)), np.empty(len(steps), np.int64)
    quarter = int(tops.max(initial=0)) // 4 + 1
    real = "f4" if dtype is np.float32 else "f8"
    machine_code(
        grid_loop,
        f"void(i8[:, ::1], b1[:, ::1], i8[::1], {real}[::1], f8[:, ::1], f8[::1], i8[::1])",
    )(
        np.ascontiguousarray(steps),
        np.ascontiguousarray(used),
        tops,
        np.empty(4 * quarter, dtype),
        np.empty((4, quarter)),
        count,
        power,
    )
    return count, power


def exact_loop(
    a: np.ndarray, first: np.ndarray, size: np.ndarray, limits: np.ndarray, counts: np.ndarray
) -> None:
    """Fill `counts`: `exact_counts`."""
    most = 0
    for r in range(len(size)):
        most = max(most, size[r])
    room = 2 ** ((most + 1) // 2) + 2  # an end on either side
    u, v, spare = np.empty(room), np.empty(room), np.empty(room)
    u[0] = v[0] = spare[0] = -np.inf
    for r in range(len(size)):
        limit, low, high = limits[r], first[r], first[r] + size[r]
        u[1] = v[1] = 0.0
        of_u = of_v = 1  # sums in either list, from place 1 on
        while low < high:
            smallest = of_u <= of_v
            if smallest:
                x, s, n = a[r, low], u, of_u
                low += 1
            else:
                high -= 1
                x, s, n = a[r, high], v, of_v
            below, above = 0, n
            while below < above:
                middle = (below + above) // 2
                if s[middle + 1] + x <= limit:
                    below = middle + 1
                else:
                    above = middle
            s[n + 1] = np.inf
            merged = n + below
            i = j = k = 1
            i_end, j_end, k_end = n, below, merged
            while k < k_end:  # no branch depends on the sums, so none is guessed wrongly
                without, with_x = s[i], s[j] + x
                first_one = without <= with_x
                spare[k] = without if first_one else with_x
                i += first_one
                j += not first_one
                k += 1
                without, with_x = s[i_end], s[j_end] + x
                last_one = without > with_x
                spare[k_end] = without if last_one else with_x
                i_end -= last_one
                j_end -= not last_one
                k_end -= 1
            if k == k_end:
                spare[k] = min(s[i], s[j] + x)
            if smallest:
                u, spare, of_u = spare, u, merged
            else:
                v, spare, of_v = spare, v, merged
        count, at = 0, of_v
        for i in range(1, of_u + 1):
            rest = limit - u[i]
            while v[at] > rest:
                at -= 1
            count += at
        counts[r] = count


def grid_loop(
    steps: np.ndarray,
    used: np.ndarray,
    tops: np.ndarray,
    c: np.ndarray,
    cumulated: np.ndarray,
    counts: np.ndarray,
    powers: np.ndarray,
) -> None:
    """Fill `counts` and `powers`: `grid_counts`. `c` and `cumulated`, four rows, hold one number
    for each sum up to the highest top.
    """
    quarter = cumulated.shape[1]
    up_to = cumulated.reshape(-1)
    own = np.empty(steps.shape[1], np.int64)
    sums = np.empty(2 * _LISTED, np.int64)
    for r in range(len(tops)):
        top, power, size = tops[r], 0, 0
        for i in range(steps.shape[1]):
            if used[r, i]:
                if steps[r, i] == 0:  # with and without it
                    power += 1
                else:
                    own[size] = steps[r, i]
                    size += 1
        sums[0], listed = 0, 1
        while size > 0 and listed <= _LISTED:
            size -= 1
            more = listed
            for i in range(listed):
                total = sums[i] + own[size]
                sums[more] = total
                more += total <= top
            listed = more
        for i in range(len(c)):
            c[i] = 0.0
        c[0], end = 1.0, 1
        for number in range(size):
            b = own[number]
            moved = min(end, top + 1 - b)
            at = moved
            while at > 0:
                block = min(b, at)
                at -= block
                here, there = c[at : at + block], c[at + b : at + b + block]
                for i in range(block):
                    there[i] += here[i]
            end = max(end, moved + b)
            if number % _RESCALE == _RESCALE - 1:
                for i in range(end):
                    c[i] *= 2.0**-_RESCALE
                power += _RESCALE
        # four parts at once: one long sum would wait for every addition
        s0 = s1 = s2 = s3 = 0.0
        for i in range(quarter):
            s0 += c[i]
            s1 += c[i + quarter]
            s2 += c[i + 2 * quarter]
            s3 += c[i + 3 * quarter]
            cumulated[0, i] = s0
            cumulated[1, i] = s1
            cumulated[2, i] = s2
            cumulated[3, i] = s3
        s1 += s0
        s2 += s1
        for i in range(quarter):
            cumulated[1, i] += s0
            cumulated[2, i] += s1
            cumulated[3, i] += s2
        count = 0.0
        for i in range(listed):
            count += up_to[top - sums[i]]
        counts[r] = count
        powers[r] = power
