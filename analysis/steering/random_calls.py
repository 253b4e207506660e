"""How many steered features move a readout more than random directions of equal norm do.

A feature is called where p_random <= 0.05. With N random directions p_random is a multiple of
1 / (1 + N), so of n features without any effect

    n floor(0.05 (1 + N)) / (1 + N)

are called on average, and none can be where N < 19. Whether more are called than that is a binomial
test, with the feature as the unit. The sign-flip p over cells does not enter: it asks whether the
cells agree, which they do for almost any direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_P = 0.05
DIRECTIONS_NEEDED = 19  # 1 / (1 + 19) = MAX_P


class RandomCalls(NamedTuple):
    """Features called beside what chance calls.

    Attributes
    ----------
    tested, hits
        Features with a p_random, and those of them with p_random <= 0.05.
    expected
        Hits expected of as many features without effect.
    p
        Of so many hits or more by chance, binomial; None where nothing can be called.
    least
        Smallest p_random that the number of directions allows; None where that is not known.
    problem
        Why no feature can be called; empty where features can.
    """

    tested: int
    hits: int
    expected: float
    p: float | None
    least: float | None
    problem: str

    @property
    def sentence(self) -> str:
        """What was found, or why nothing can be."""
        if self.problem:
            return self.problem
        least = "" if self.least is None else f"; p_random is at least {self.least:.2g}"
        return (
            f"{self.hits} of {self.tested} steered features move the genes they fire on more than"
            f" random directions of equal norm do (p_random <= {MAX_P}{least}); by chance"
            f" {self.expected:.3g} would"
        )


def random_calls(p: Sequence[float | None] | np.ndarray, directions: int | None) -> RandomCalls:
    """Count the features that random directions do not reach.

    Parameters
    ----------
    p
        p_random of each feature; None or NaN where it has no slope.
    directions
        Random directions of each feature; None where that is not known.
    """
    values = np.array([np.nan if v is None else v for v in p], dtype=float)
    values = values[np.isfinite(values)]
    n, hits = len(values), int((values <= MAX_P).sum())
    least = 1 / (1 + directions) if directions else None
    problem = _problem(n, hits, directions)
    if problem:
        return RandomCalls(n, hits, 0.0, None, least, problem)
    from scipy.stats import binomtest

    # how many of the values k / (1 + N) are at most MAX_P; the small part guards against rounding
    steps = None if directions is None else int(MAX_P * (1 + directions) + 1e-9)
    share = MAX_P if steps is None or directions is None else steps / (1 + directions)
    chance = float(binomtest(hits, n, share, "greater").pvalue)
    return RandomCalls(n, hits, share * n, chance, least, "")


def _problem(n: int, hits: int, directions: int | None) -> str:
    more = f"(--random-directions {DIRECTIONS_NEEDED})"
    if directions == 0:
        return (
            "no random directions were asked for, so p_random is not known: no feature can reach"
            f" p_random <= {MAX_P}, whatever it does; {DIRECTIONS_NEEDED} directions or more could"
            f" show it {more}"
        )
    if directions is not None and 1 / (1 + directions) > MAX_P:
        return (
            f"with {directions} random direction{'s' * (directions != 1)} p_random is at least"
            f" {1 / (1 + directions):.2g}: no feature can reach p_random <= {MAX_P}, whatever it"
            f" does; {DIRECTIONS_NEEDED} directions or more could show it {more}"
        )
    if not n:
        return "no feature has a slope that was compared with those of random directions"
    if directions is None and not hits:
        return (
            f"none of {n} steered features has p_random <= {MAX_P}, and it is not known whether"
            f" there were enough random directions for that; steer with {DIRECTIONS_NEEDED} or more"
            f" {more}"
        )
    return ""
