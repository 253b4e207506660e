"""What the number of cells allows: the smallest p that a test can have, and a sentence for a run
that found few edges.
"""

from __future__ import annotations

import numpy as np

from scircuit.core.edge_rules import MAX_Q, MIN_SUPPORT

FEW_EDGES = 10
"""Fewer edges than this, and the run says what would help."""


def smallest_p(cells: int) -> float:
    """Smallest two-sided sign-flip p of a test with this many cells with an effect: 2^(1 - cells),
    and 1 where there is none.
    """
    return float(np.ldexp(1.0, 1 - max(cells, 1)))


def cells_for_one_edge(callable_tests: int, q: float = MAX_Q) -> int:
    """Cells with an effect from which a single test can be an edge among as many callable ones:
    the smallest n with ``2^(1 - n) <= q / callable_tests``.
    """
    cells = MIN_SUPPORT
    while smallest_p(cells) * callable_tests > q:
        cells += 1
    return cells


def few_edges_note(
    edges: int, live: int, callable_tests: int, most_cells: int, q: float = MAX_Q
) -> str | None:
    """Say what would help a run with few edges.

    Parameters
    ----------
    edges
        Edges found at `q`.
    live, callable_tests
        Live tests, and those of them with at least `MIN_SUPPORT` cells with an effect.
    most_cells
        Most cells with an effect that a test has.
    q
        Threshold of the edges.

    Returns
    -------
    str | None
        One or two sentences, or None when there are `FEW_EDGES` edges or more.
    """
    if edges >= FEW_EDGES:
        return None
    found = f"{edges or 'no'} edge{'' if edges == 1 else 's'} at q <= {q:g}"
    if not live:
        return f"{found}: no test has an effect above the numeric floor in two cells or more"
    if not callable_tests:
        return (
            f"{found}: none of {live:,} live tests has {MIN_SUPPORT} cells with an effect, the"
            f" fewest that can be called (at most {most_cells} here). Trace more cells in which the"
            " sources are active"
        )
    least, enough = smallest_p(most_cells), cells_for_one_edge(callable_tests, q)
    many = int(np.ceil(callable_tests * least / q))
    of = f"{found} among {callable_tests:,} callable of {live:,} live tests"
    at_best = f"with {most_cells} cells, the most that a test has, the smallest p is {least:.2g}"
    if most_cells < enough:
        return (
            f"{of}: {at_best}, and at least {many:,} tests would have to reach it. More cells help:"
            f" from {enough} cells on a single test can be an edge"
        )
    return (
        f"{of}: {at_best}, small enough for a single test, so too few effects agree over cells."
        " More cells, or more active ones for each source, find weaker effects"
    )
