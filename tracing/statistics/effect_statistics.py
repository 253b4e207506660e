"""Edge statistics over cells.

For one source and one target with effects x_c in the n cells where the source is active, after
effects at or below the numeric floor are set to zero: n_pos and n_neg count the signs, ``mean =
sum(x) / n``, ``sd`` uses n - 1, ``d = mean / max(sd, 1e-10)``, p is the two-sided sign-flip p. A
test is *live* when n >= 2 and at least one effect is not zero, and *callable* when at least
`MIN_SUPPORT` are: with fewer the smallest p is 0.0625.

Sources are taken a few at a time and very many targets in parts, so the memory used does not grow
with the number of tests; every test is computed from its own row alone, so the parts do not change
a bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scircuit.core.edge_rules import MIN_SUPPORT
from scircuit.core.errors import UserError
from scircuit.tracing.statistics.sign_flip import sign_flip_p

HALF_P = 0.05
HALF_CELLS = MIN_SUPPORT
_AT_ONCE = 2**20  # effects taken at once: about ten float64 copies of them exist at a time


class Tests(NamedTuple):
    """The live tests of some sources, one entry each, by source and then target."""

    __test__ = False  # not a pytest class

    source: np.ndarray  # position of the source in the given effects
    target: np.ndarray  # position of the target in the given effects
    n: np.ndarray
    n_pos: np.ndarray
    n_neg: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    d: np.ndarray
    p: np.ndarray  # 1 where it is above `up_to`
    given: tuple[
        np.ndarray, np.ndarray, np.ndarray
    ]  # effects, active and floors as they were given
    up_to: float = 1.0  # p up to which p was asked for

    @property
    def cells(self) -> np.ndarray:
        """Cells with an effect of each test: the number of elements of its sign-flip test."""
        return self.n_pos + self.n_neg

    @property
    def callable(self) -> np.ndarray:
        """Mask of the tests that can be called: at least `MIN_SUPPORT` cells with an effect. Only
        they belong to the family over which q is computed. Under sign flips the number of cells
        with an effect does not depend on the signs, so choosing by it leaves every p valid.
        """
        return self.cells >= MIN_SUPPORT

    def pairs(self, targets: int) -> np.ndarray:
        """Source and target of each test as one ascending number."""
        return self.source * targets + self.target

    def rows(self, chosen: np.ndarray) -> np.ndarray:
        """[len(chosen), C] effects of the chosen tests: zero at or below the floor and where the
        source is not active.
        """
        effects, active, floors = self.given
        source, target = self.source[chosen], self.target[chosen]
        x = effects[source, :, target].astype(np.float64)
        return np.where(active[source] & (np.abs(x) > floors[target, None]), x, 0.0)

    def exact_p(self, chosen: np.ndarray) -> np.ndarray:
        """Give p of the chosen tests (positions or mask), also where it was not asked for."""
        p = self.p[chosen].copy()
        larger = np.flatnonzero(p > self.up_to)
        at = np.arange(len(self.p))[chosen][larger]
        step = max(1, _AT_ONCE // self.given[0].shape[1])
        for start in range(0, len(at), step):
            part = slice(start, start + step)
            p[larger[part]] = sign_flip_p(self.rows(at[part]))
        return p

    def halves(self, chosen: np.ndarray) -> np.ma.MaskedArray:
        """In how many halves of the cells (even and odd) the chosen tests (positions or mask) keep
        the sign of the mean with p <= 0.05.

        Masked where a half has fewer than `HALF_CELLS` cells with an effect: no test can tell
        there.
        """
        chosen = np.arange(len(self.p))[chosen]
        found, testable = np.zeros(len(chosen), np.int64), np.ones(len(chosen), bool)
        step = max(1, _AT_ONCE // self.given[0].shape[1])
        for start in range(0, len(chosen), step):
            part, at = chosen[start : start + step], slice(start, start + step)
            x, sign = self.rows(part), np.sign(self.mean[part])
            for half in (x[:, 0::2], x[:, 1::2]):
                testable[at] &= np.count_nonzero(half, axis=1) >= HALF_CELLS
                if half.shape[1]:
                    with np.errstate(invalid="ignore"):
                        found[at] += (
                            (np.sign(half.sum(1)) == sign)
                            & (sign != 0)
                            & (sign_flip_p(half, up_to=HALF_P) <= HALF_P)
                        )
        return np.ma.masked_array(found, ~testable)


def edge_statistics(
    effects: np.ndarray, active: np.ndarray, floors: np.ndarray, up_to: float = 1.0
) -> Tests:
    """Statistics of every live test.

    Parameters
    ----------
    effects
        [S, C, T] effect of S sources on T targets in C cells; ignored where the source is not
        active.
    active
        [S, C] whether the source is active in the cell.
    floors
        [T] numeric floor of each target: effects of at most this size count as zero.
    up_to
        Largest p that is asked for: a larger one is given as 1, at a small part of the cost, and
        `Tests.exact_p` gives it for single tests.

    Raises
    ------
    ValueError
        If an effect is not finite: it would otherwise pass for none.
    """
    active = np.asarray(active, bool)
    parts = [_part(effects, active, floors, s, t, up_to) for s, t in _blocks(effects.shape, active)]
    empty = [np.zeros(0, np.int64)] * 5 + [np.zeros(0)] * 4
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)] if parts else empty
    return Tests(*columns, given=(effects, active, floors), up_to=up_to)


def _blocks(shape: tuple[int, ...], active: np.ndarray) -> Iterator[tuple[np.ndarray, slice]]:
    """Sources active in at least two cells, a few at a time, or one at a time with its targets in
    parts.
    """
    _, cells, targets = shape
    testable = np.flatnonzero(active.sum(1) >= 2)
    sources, width = max(1, _AT_ONCE // max(cells * targets, 1)), max(1, _AT_ONCE // max(cells, 1))
    for i in range(0, len(testable), sources):
        for start in range(0, targets, width):
            yield testable[i : i + sources], slice(start, start + width)


def _part(
    effects: np.ndarray,
    active: np.ndarray,
    floors: np.ndarray,
    sources: np.ndarray,
    targets: slice,
    up_to: float,
) -> tuple[np.ndarray, ...]:
    """Columns of `Tests` for one block, in their order."""
    x = effects[sources, :, targets]
    if not np.isfinite(x[active[sources]]).all():
        raise UserError(
            "an effect of an ablation is NaN or infinite: the model's states are, without a feature"
            " of these dictionaries",
            "compare the dictionaries with their source (a weight of 1e30 is finite and still too"
            " large), or try --numerics float32 and --device cpu",
        )
    large = (np.abs(x) > floors[targets]) & active[sources][:, :, None]
    source, target = np.nonzero(large.any(1))
    rows = np.where(large[source, :, target], x[source, :, target], 0).astype(np.float64)
    counted = active[sources[source]]
    n = counted.sum(1)
    mean = rows.sum(1) / n
    sd = np.sqrt((((rows - mean[:, None]) * counted) ** 2).sum(1) / (n - 1))
    positive, negative = (rows > 0).sum(1), (rows < 0).sum(1)
    return (
        sources[source],
        target + targets.start,
        n,
        positive,
        negative,
        mean,
        sd,
        mean / np.maximum(sd, 1e-10),
        np.where((p := sign_flip_p(rows, up_to=up_to)) > up_to, 1.0, p),
    )
