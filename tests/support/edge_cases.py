"""Tests of source and target at the bounds of the edge rules, and which rules make them an edge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NAN = float("nan")


class Case(NamedTuple):
    """One pair: its statistics (NaN: missing), the scale of its target, and by hand the rules that
    make it an edge: C(alibrated), L(egacy), S(ymmetric).
    """

    what: str
    q: float
    n: float
    n_pos: float
    n_neg: float
    mean: float
    d: float
    scale: float
    edge_by: str


# fmt: off
CASES = [
    #    what                           q     n    pos  neg  mean    d      scale  edge
    Case("an edge by every rule",       0.01, 20,  20,  0,   1.0,    2.0,   1.0,   "CLS"),
    Case("negative, by every rule",     0.01, 20,  0,   20,  -1.0,   -2.0,  1.0,   "CLS"),
    Case("q at its bound",              0.05, 20,  20,  0,   1.0,    0.1,   1.0,   "C"),
    Case("q just above its bound",      np.nextafter(0.05, 1),
                                              20,  20,  0,   1.0,    0.1,   1.0,   ""),
    Case("six cells with an effect",    0.01, 20,  4,   2,   1.0,    0.1,   1.0,   "C"),
    Case("five cells with an effect",   0.01, 20,  4,   1,   1.0,    0.1,   1.0,   ""),
    Case("mean at its bound",           0.01, 20,  10,  10,  0.002,  0.1,   2.0,   "C"),
    Case("mean at its bound, negative", 0.01, 20,  10,  10,  -0.002, -0.1,  2.0,   "C"),
    Case("mean just below its bound",   0.01, 20,  10,  10,  np.nextafter(0.002, 0),
                                                                     0.1,   2.0,   ""),
    Case("a silent target",             0.01, 20,  10,  10,  1e-9,   0.1,   0.0,   "C"),
    Case("a target without a scale",    0.01, 20,  10,  10,  1e-9,   0.1,   NAN,   "C"),
    Case("a mean of 0, silent target",  0.01, 20,  10,  10,  0.0,    0.0,   0.0,   "C"),
    Case("d at its bound",              0.5,  20,  20,  0,   1.0,    0.5,   1.0,   ""),
    Case("d just above its bound",      0.5,  20,  20,  0,   1.0,    np.nextafter(0.5, 1),
                                                                            1.0,   "LS"),
    Case("14 of 20 is 0.7",             0.5,  20,  14,  6,   1.0,    0.6,   1.0,   ""),
    Case("15 of 20",                    0.5,  20,  15,  5,   1.0,    0.6,   1.0,   "LS"),
    Case("7 of 10 is 0.7",              0.5,  10,  7,   3,   1.0,    0.6,   1.0,   ""),
    Case("zeros count as negative",     0.5,  20,  0,   5,   -1.0,   -0.6,  1.0,   "LS"),
    Case("the sign makes no edge: +12", 0.5,  20,  12,  0,   1.0,    0.9,   1.0,   "S"),
    Case("its mirror is one: -12",      0.5,  20,  0,   12,  -1.0,   -0.9,  1.0,   "LS"),
    Case("signs differ, zeros decide",  0.5,  20,  3,   3,   1.0,    0.6,   1.0,   "L"),
    Case("sd = 0: d = mean / 1e-10",    0.01, 20,  20,  0,   1.0,    1e10,  1.0,   "CLS"),
    Case("no effect at all",            1.0,  20,  0,   0,   0.0,    0.0,   1.0,   ""),
    Case("no effect, yet a d",          1.0,  20,  0,   0,   0.0,    0.6,   1.0,   "L"),
    Case("one cell",                    1.0,  1,   1,   0,   1.0,    1e10,  1.0,   ""),
    Case("two cells",                   1.0,  2,   2,   0,   1.0,    1e10,  1.0,   "LS"),
    Case("no cell",                     1.0,  0,   0,   0,   1.0,    1.0,   1.0,   ""),
    Case("no q",                        NAN,  20,  20,  0,   1.0,    2.0,   1.0,   "LS"),
    Case("no counts",                   0.01, 20,  NAN, NAN, 1.0,    2.0,   1.0,   ""),
    Case("no cells",                    0.01, NAN, 20,  0,   1.0,    2.0,   1.0,   "C"),
    Case("no mean",                     0.01, 20,  20,  0,   NAN,    2.0,   1.0,   "LS"),
    Case("no d",                        0.01, 20,  20,  0,   1.0,    NAN,   1.0,   "C"),
    Case("nothing known",               NAN,  NAN, NAN, NAN, NAN,    NAN,   NAN,   ""),
]
# fmt: on


def verdicts(rule: str) -> list[bool]:
    """Which cases are an edge by the rule of this name."""
    return [rule[0].upper() in c.edge_by for c in CASES]


def columns() -> dict[str, np.ndarray]:
    """The statistics as arrays by name."""
    names = ("q", "n", "n_pos", "n_neg", "mean", "d", "scale")
    return {name: np.array([getattr(c, name) for c in CASES], dtype=float) for name in names}
