"""Tests of source and target at the bounds of the edge rules, and which rules make them an edge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NAN = float("nan")


class Case(NamedTuple):
    """One pair: its statistics (NaN: missing), the scale of its target, and by hand the rules that
    make it an edge: C(alibrated), L(egacy), S(ymmetric), (com)P(uted), (car)R(ied), G(eneric).
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
    q_computed: float = NAN
    computed_cells: float = NAN
    computed: float = NAN
    q_direct: float = NAN
    direct: float = NAN


LETTERS = {
    "calibrated": "C",
    "legacy": "L",
    "symmetric": "S",
    "computed": "P",
    "carried": "R",
    "generic": "G",
}


# fmt: off
CASES = [
    #    what                           q     n    pos  neg  mean    d      scale  edge
    Case("an edge by every rule",       0.01, 20,  20,  0,   1.0,    2.0,   1.0,   "CGLS"),
    Case("negative, by every rule",     0.01, 20,  0,   20,  -1.0,   -2.0,  1.0,   "CGLS"),
    Case("q at its bound",              0.05, 20,  20,  0,   1.0,    0.1,   1.0,   "CG"),
    Case("q just above its bound",      np.nextafter(0.05, 1),
                                              20,  20,  0,   1.0,    0.1,   1.0,   ""),
    Case("six cells with an effect",    0.01, 20,  4,   2,   1.0,    0.1,   1.0,   "CG"),
    Case("five cells with an effect",   0.01, 20,  4,   1,   1.0,    0.1,   1.0,   ""),
    Case("mean at its bound",           0.01, 20,  10,  10,  0.002,  0.1,   2.0,   "CG"),
    Case("mean at its bound, negative", 0.01, 20,  10,  10,  -0.002, -0.1,  2.0,   "CG"),
    Case("mean just below its bound",   0.01, 20,  10,  10,  np.nextafter(0.002, 0),
                                                                     0.1,   2.0,   ""),
    Case("a silent target",             0.01, 20,  10,  10,  1e-9,   0.1,   0.0,   "CG"),
    Case("a target without a scale",    0.01, 20,  10,  10,  1e-9,   0.1,   NAN,   "CG"),
    Case("a mean of 0, silent target",  0.01, 20,  10,  10,  0.0,    0.0,   0.0,   "CG"),
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
    Case("sd = 0: d = mean / 1e-10",    0.01, 20,  20,  0,   1.0,    1e10,  1.0,   "CGLS"),
    Case("no effect at all",            1.0,  20,  0,   0,   0.0,    0.0,   1.0,   ""),
    Case("no effect, yet a d",          1.0,  20,  0,   0,   0.0,    0.6,   1.0,   "L"),
    Case("one cell",                    1.0,  1,   1,   0,   1.0,    1e10,  1.0,   ""),
    Case("two cells",                   1.0,  2,   2,   0,   1.0,    1e10,  1.0,   "LS"),
    Case("no cell",                     1.0,  0,   0,   0,   1.0,    1.0,   1.0,   ""),
    Case("no q",                        NAN,  20,  20,  0,   1.0,    2.0,   1.0,   "LS"),
    Case("no counts",                   0.01, 20,  NAN, NAN, 1.0,    2.0,   1.0,   ""),
    Case("no cells",                    0.01, NAN, 20,  0,   1.0,    2.0,   1.0,   "CG"),
    Case("no mean",                     0.01, 20,  20,  0,   NAN,    2.0,   1.0,   "LS"),
    Case("no d",                        0.01, 20,  20,  0,   1.0,    NAN,   1.0,   "CG"),
    Case("nothing known",               NAN,  NAN, NAN, NAN, NAN,    NAN,   NAN,   ""),
]


def _kind(
    what: str, edge_by: str, q_computed: float, cells: float, computed: float,
    q_direct: float, direct: float, *, q: float = 0.01, scale: float = 1.0,
) -> Case:
    """A calibrated pair, small in d, or with another q: only the kind of its edge is asked."""
    return Case(
        what, q, 20, 10, 10, 1.0, 0.1, scale, edge_by, q_computed, cells, computed, q_direct, direct
    )


_BELOW = np.nextafter(0.002, 0)
_ABOVE = np.nextafter(0.05, 1)
CASES += [
    #     what                                edge  q_comp  cells computed q_dir direct
    _kind("computed, and not carried",        "CP", 0.01,   20,  1.0,    0.5,    1.0),
    _kind("computed, negative",               "CP", 0.01,   20,  -1.0,   0.5,    1.0),
    _kind("computed and specific in direct",  "CP", 0.01,   20,  1.0,    0.01,   1.0),
    _kind("carried",                          "CR", 0.5,    20,  1.0,    0.01,   1.0),
    _kind("carried, negative",                "CR", 0.5,    20,  1.0,    0.01,   -1.0),
    _kind("generic",                          "CG", 0.5,    20,  1.0,    0.5,    1.0),
    _kind("none: not even calibrated",        "",   0.5,    20,  1.0,    0.5,    1.0,   q=0.5),
    _kind("computed, not calibrated",         "P",  0.01,   20,  1.0,    0.5,    1.0,   q=0.5),
    _kind("computed, no activation moves",    "P",  0.01,   20,  1.0,    0.5,    1.0,   q=NAN),
    _kind("carried, not calibrated",          "R",  0.5,    20,  1.0,    0.01,   1.0,   q=0.5),
    _kind("carried, no activation moves",     "R",  0.5,    20,  1.0,    0.01,   1.0,   q=NAN),
    _kind("q_computed at its bound",          "CP", 0.05,   20,  1.0,    0.5,    1.0),
    _kind("only q_direct at its bound",       "CR", _ABOVE, 20,  1.0,    0.05,   1.0),
    _kind("q_direct just above its bound",    "CG", 0.5,    20,  1.0,    _ABOVE, 1.0),
    _kind("six cells",                        "CP", 0.01,   6,   1.0,    0.5,    1.0),
    _kind("five cells: carried",              "CR", 0.01,   5,   1.0,    0.01,   1.0),
    _kind("five cells: generic",              "CG", 0.01,   5,   1.0,    0.5,    1.0),
    _kind("computed at its bound",            "CP", 0.01,   20,  -0.002, 0.01,   1.0,   scale=2.0),
    _kind("computed just below its bound",    "CR", 0.01,   20,  _BELOW, 0.01,   1.0,   scale=2.0),
    _kind("direct at its bound",              "CR", 0.5,    20,  1.0,    0.01,   0.002, scale=2.0),
    _kind("direct just below its bound",      "CG", 0.5,    20,  1.0,    0.01,   _BELOW, scale=2.0),
    _kind("computed of a silent target",      "CP", 0.01,   20,  1e-9,   0.5,    1.0,   scale=0.0),
    _kind("direct of a target without scale", "CR", 0.5,    20,  1.0,    0.01,   1e-9,  scale=NAN),
    _kind("no q_computed: may be carried",    "CR", NAN,    20,  1.0,    0.01,   1.0),
    _kind("no q_computed: may be generic",    "CG", NAN,    20,  1.0,    0.5,    1.0),
    _kind("no cells of the computed effect",  "CR", 0.01,   NAN, 1.0,    0.01,   1.0),
    _kind("no computed effect",               "CR", 0.01,   20,  NAN,    0.01,   1.0),
    _kind("no q_direct: generic",             "CG", 0.5,    20,  1.0,    NAN,    1.0),
    _kind("no direct effect: generic",        "CG", 0.5,    20,  1.0,    0.01,   NAN),
    _kind("no q_direct, computed all the same","CP", 0.01,   20,  1.0,    NAN,    NAN),
    _kind("only the null is missing, no q",   "",   NAN,    NAN, NAN,    NAN,    NAN,   q=NAN),
]
CASES.append(CASES.pop(CASES.index(next(c for c in CASES if c.what == "nothing known"))))
# fmt: on


STORED = tuple(n for n in Case._fields if n not in ("what", "scale", "edge_by"))
"""What the graph has on the edge itself."""


def verdicts(rule: str) -> list[bool]:
    """Which cases are an edge by the rule of this name."""
    return [LETTERS[rule] in c.edge_by for c in CASES]


def columns() -> dict[str, np.ndarray]:
    """The statistics as arrays by name."""
    return {
        name: np.array([getattr(c, name) for c in CASES], dtype=float)
        for name in (*STORED, "scale")
    }
