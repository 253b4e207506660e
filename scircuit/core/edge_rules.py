r"""Which tested pair of features is an edge: every rule declared once, for arrays and for Cypher.

With n the cells in which the source is active, n_pos and n_neg those in which the target rises and
falls, ``mean`` and ``d`` the effect over the n cells, and s the mean activation of the target where
it fires (0 where it never fires in the clean cells):

    computed     q_computed <= 0.05,   computed_cells >= 6,   |computed| >= 0.001 s
    carried      q_direct <= 0.05,   |direct| >= 0.001 s,   and not computed
    calibrated   q <= 0.05,   n_pos + n_neg >= 6,   |mean| >= 0.001 s
    generic      calibrated, and neither computed nor carried
    legacy       n >= 2,   |d| > 0.5,   max(n_pos, n - n_pos) / n > 0.7
    symmetric    n >= 2,   |d| > 0.5,   max(n_pos, n_neg) / (n_pos + n_neg) > 0.7

An effect on the pre-activation is ``direct + computed``: what the residual stream carries, and what
the blocks computed. Both are compared with random directions of the same length. The mean effect is
compared with zero: any edit of that length has one, so that `calibrated` alone says little of the
feature; what is neither computed nor carried is `generic`. `legacy` is the published rule, for
comparison only: it counts cells without an effect as negative, so that negative effects pass more
easily. `symmetric` is the same rule without that fault.

A comparison with a missing value (NaN here, null in the graph) is not true: what is not known makes
no edge, and excludes none. No threshold has a tolerance; values are compared as 64-bit floats, as
the database does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

MAX_Q = 0.05
"""Largest q of an edge."""

MIN_SUPPORT = 6
"""Minimum cells with an effect: with k of them no sign-flip p is below 2^(1-k), and fewer than six
cannot reach 0.05."""

MIN_EFFECT = 0.001
"""Minimum absolute effect as a share of the target's mean activation where it fires: one position
in a thousand losing the target."""

LEGACY_D = 0.5
"""The published rule asks for a larger absolute standardised effect d."""

LEGACY_CONSISTENCY = 0.7
"""The published rule asks for a larger share of the more frequent sign."""

LEGACY_MIN_CELLS = 2
"""Minimum cells of the published rule: one cell has no standard deviation, hence no d. The
published code sets d to 0 there (causal circuits: "if n < 2: no edges"), so it has no edge."""

LEGACY_TEXT = f"|d| > {LEGACY_D} and max(n_pos, n - n_pos) / n > {LEGACY_CONSISTENCY}"
"""The published rule in words, as the record of an imported run says it."""


@dataclass(frozen=True)
class Quantity:
    """A number of an edge that a rule compares.

    Attributes
    ----------
    columns
        Columns that it is computed from, in the order of the arguments of `compute`.
    compute
        The number from arrays of 64-bit floats, NaN where a value is missing.
    cypher
        The same number in Cypher; ``{r}`` stands for the relationship.
    """

    columns: tuple[str, ...]
    compute: Callable[..., np.ndarray]
    cypher: str


@dataclass(frozen=True)
class Condition:
    """``quantity comparison threshold``, the threshold as a multiple of `unit` where that is given.

    Attributes
    ----------
    parameter
        Name under which a caller, and a query, sets the threshold; empty: it is fixed.
    """

    quantity: Quantity
    comparison: Literal["<=", ">=", ">"]
    threshold: float
    parameter: str = ""
    unit: Quantity | None = None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What has to be known to judge it."""
        return (self.quantity,) if self.unit is None else (self.quantity, self.unit)

    def cypher(self, edge: str) -> str:
        """The condition on the relationship `edge`."""
        bound = f"${self.parameter}" if self.parameter else f"{self.threshold:g}"
        if self.unit is not None:
            bound += f" * {self.unit.cypher.format(r=edge)}"
        return f"{self.quantity.cypher.format(r=edge)} {self.comparison} {bound}"


@dataclass(frozen=True)
class EdgeRule:
    """Conditions that an edge meets, all of them, and rules that it must not meet.

    Attributes
    ----------
    conditions
        What has to be true.
    unless
        Rules none of which may hold. One that cannot be judged, because a value is missing, does
        not hold.
    effect
        Column with the effect that the rule judges; its sign is that of the edge.
    strength
        Column by whose absolute value its edges are ranked.
    """

    name: str
    conditions: tuple[Condition, ...]
    unless: tuple[EdgeRule, ...] = ()
    effect: str = "mean"
    strength: str = "d"

    @property
    def defaults(self) -> dict[str, float]:
        """Thresholds that a caller may set, by the name of their parameter."""
        own = {c.parameter: c.threshold for c in self.conditions if c.parameter}
        return {name: v for rule in self.unless for name, v in rule.defaults.items()} | own

    @property
    def q(self) -> str:
        """Column with the q that it compares; empty: it compares none."""
        return next((c.quantity.columns[0] for c in self.conditions if c.parameter == "q"), "")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it compares, those of `unless` included."""
        own = (name for c in self.conditions for q in c.quantities for name in q.columns)
        return tuple(dict.fromkeys((*own, *(n for rule in self.unless for n in rule.columns))))

    def holds(
        self, columns: Mapping[str, ArrayLike], thresholds: Mapping[str, float] | None = None
    ) -> np.ndarray:
        """Mask of the edges: every condition is true, and no rule of `unless` holds.

        Parameters
        ----------
        columns
            The rule's `columns`; they may be broadcast.
        thresholds
            Thresholds by the name of their parameter, where they are not the default.
        """
        import numpy as np

        judged = self._judged(columns, thresholds or {}, unknown=False)
        judged += [~rule.holds(columns, thresholds) for rule in self.unless]
        return np.logical_and.reduce(np.broadcast_arrays(*judged))

    def refuted(self, columns: Mapping[str, ArrayLike]) -> np.ndarray:
        """Mask of the pairs that are no edges for certain: a condition is known to be false, or a
        rule of `unless` holds. Conditions and rules on columns that are not given are not judged.
        """
        import numpy as np

        judged = self._judged(columns, {}, unknown=True)
        judged += [
            ~rule.holds(columns) for rule in self.unless if set(rule.columns) <= set(columns)
        ]
        return ~np.logical_and.reduce(np.broadcast_arrays(*judged))

    def _judged(
        self, columns: Mapping[str, ArrayLike], thresholds: Mapping[str, float], *, unknown: bool
    ) -> list[np.ndarray]:
        """Each condition, `unknown` where a value is missing."""
        import numpy as np

        compare = {"<=": operator.le, ">=": operator.ge, ">": operator.gt}
        found = []
        for c in self.conditions:
            wanted = [name for q in c.quantities for name in q.columns]
            if unknown and not set(wanted) <= set(columns):
                continue
            value, *unit = (
                q.compute(*(_float(columns[name]) for name in q.columns)) for q in c.quantities
            )
            bound = thresholds.get(c.parameter, c.threshold) * (unit[0] if unit else 1.0)
            true = compare[c.comparison](value, bound)
            found.append(true | np.isnan(value) | np.isnan(bound) if unknown else true)
        return found

    def cypher(self, edge: str) -> str:
        """The rule in Cypher, on the relationship `edge`: true, false, or null where a value is
        missing. Thresholds that a caller may set are parameters.
        """
        return f"({' AND '.join((*(c.cypher(edge) for c in self.conditions), *self._not(edge)))})"

    def cypher_where_given(self, edge: str) -> str:
        """The rule in Cypher where a condition on a missing value does not count: true or false."""
        judged = (f"coalesce({c.cypher(edge)}, true)" for c in self.conditions)
        return f"({' AND '.join((*judged, *self._not(edge)))})"

    def _not(self, edge: str) -> list[str]:
        return [f"NOT coalesce({rule.cypher(edge)}, false)" for rule in self.unless]


def consistency(n: ArrayLike, n_pos: ArrayLike) -> np.ndarray:
    """Published sign consistency max(n_pos, n - n_pos) / n: cells without an effect count as
    negative; 0 where there is no cell.
    """
    import numpy as np

    n, n_pos = _float(n), _float(n_pos)
    return np.maximum(n_pos, n - n_pos) / np.maximum(n, 1)


def symmetric_consistency(n_pos: ArrayLike, n_neg: ArrayLike) -> np.ndarray:
    """Share of the more frequent sign among the cells with an effect; 0 where there is none."""
    import numpy as np

    n_pos, n_neg = _float(n_pos), _float(n_neg)
    return np.maximum(n_pos, n_neg) / np.maximum(n_pos + n_neg, 1)


def _float(values: ArrayLike) -> np.ndarray:
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def _given(value: np.ndarray) -> np.ndarray:
    return value


def _absolute(value: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.abs(value)


def _scale(scale: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.where(np.isnan(scale), 0.0, scale)


_Q = Quantity(("q",), _given, "{r}.q")
_Q_COMPUTED = Quantity(("q_computed",), _given, "{r}.q_computed")
_Q_DIRECT = Quantity(("q_direct",), _given, "{r}.q_direct")
_COMPUTED_CELLS = Quantity(("computed_cells",), _given, "{r}.computed_cells")
_COMPUTED = Quantity(("computed",), _absolute, "abs({r}.computed)")
_DIRECT = Quantity(("direct",), _absolute, "abs({r}.direct)")
_SUPPORT = Quantity(("n_pos", "n_neg"), operator.add, "{r}.n_pos + {r}.n_neg")
_SIZE = Quantity(("mean",), _absolute, "abs({r}.mean)")
# The target shows the newest trace run; an edge of another run is compared with what that one
# found.
_SCALE = Quantity(
    ("scale",),
    _scale,
    "coalesce(CASE WHEN coalesce(endNode({r}).activation_run, {r}.run) = {r}.run THEN"
    " endNode({r}).mean_activation ELSE"
    " head([()-[{r}]->()<-[was:FOUND]-(:Run {{id: {r}.run}}) | was.mean_activation]) END, 0.0)",
)
_CELLS = Quantity(("n",), _given, "{r}.n")
_D = Quantity(("d",), _absolute, "abs({r}.d)")
# max(a, b) = (a + b + |a - b|) / 2, for Cypher has no maximum of two numbers. Dividing by the float
# 0 is NaN there, which is above nothing; dividing by the whole number 0 stops the query.
_CONSISTENCY = Quantity(
    ("n", "n_pos"), consistency, "({r}.n + abs(2 * {r}.n_pos - {r}.n)) / 2.0 / toFloat({r}.n)"
)
_SYMMETRIC = Quantity(
    ("n_pos", "n_neg"),
    symmetric_consistency,
    "({r}.n_pos + {r}.n_neg + abs({r}.n_pos - {r}.n_neg)) / 2.0 / toFloat({r}.n_pos + {r}.n_neg)",
)
_STATED = Quantity(("consistency",), _given, "{r}.consistency")

_SUPPORTED = (
    Condition(_SUPPORT, ">=", MIN_SUPPORT, "min_support"),
    Condition(_SIZE, ">=", MIN_EFFECT, "min_effect", _SCALE),
)
_LARGE = (Condition(_CELLS, ">=", LEGACY_MIN_CELLS), Condition(_D, ">", LEGACY_D))

CALIBRATED = EdgeRule("calibrated", (Condition(_Q, "<=", MAX_Q, "q"), *_SUPPORTED))
COMPUTED = EdgeRule(
    "computed",
    (
        Condition(_Q_COMPUTED, "<=", MAX_Q, "q"),
        Condition(_COMPUTED_CELLS, ">=", MIN_SUPPORT, "min_support"),
        Condition(_COMPUTED, ">=", MIN_EFFECT, "min_effect", _SCALE),
    ),
    effect="computed",
    strength="z_computed",
)
"""What the blocks computed, over cells and aimed at the target better than a random direction."""
CARRIED = EdgeRule(
    "carried",
    (
        Condition(_Q_DIRECT, "<=", MAX_Q, "q"),
        Condition(_DIRECT, ">=", MIN_EFFECT, "min_effect", _SCALE),
    ),
    unless=(COMPUTED,),
    effect="direct",
    strength="z_direct",
)
"""What the residual stream carries to the target better than it carries a random direction."""
GENERIC = EdgeRule("generic", CALIBRATED.conditions, unless=(COMPUTED, CARRIED))
"""An effect that is not zero, and not more than a random direction has."""
LEGACY = EdgeRule("legacy", (*_LARGE, Condition(_CONSISTENCY, ">", LEGACY_CONSISTENCY)))
SYMMETRIC = EdgeRule("symmetric", (*_LARGE, Condition(_SYMMETRIC, ">", LEGACY_CONSISTENCY)))
STATED = EdgeRule(
    "stated",
    (Condition(_D, ">", LEGACY_D), Condition(_STATED, ">", LEGACY_CONSISTENCY)),
)
"""The published rule on a source that states the consistency and not the counts."""

DEFAULT = COMPUTED
"""What "edge" means where no rule is named."""


def calibrated_edges(
    q: ArrayLike,
    n_pos: ArrayLike,
    n_neg: ArrayLike,
    mean: ArrayLike,
    scale: ArrayLike,
    *,
    max_q: float = MAX_Q,
    min_support: float = MIN_SUPPORT,
    min_effect: float = MIN_EFFECT,
) -> np.ndarray:
    """Mask of the calibrated edges.

    Parameters
    ----------
    q, n_pos, n_neg, mean
        Of each edge.
    scale
        Mean activation of its target where that fires. A target that never fires in the clean cells
        has none (0 or NaN) and passes whatever the size of the effect.
    max_q, min_support, min_effect
        Thresholds.
    """
    columns = {"q": q, "n_pos": n_pos, "n_neg": n_neg, "mean": mean, "scale": scale}
    return CALIBRATED.holds(
        columns, {"q": max_q, "min_support": min_support, "min_effect": min_effect}
    )


def edges_by_kind(
    columns: Mapping[str, ArrayLike], thresholds: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Masks of the computed, carried and generic edges, by the name of the rule: no edge is of two
    kinds.

    Parameters
    ----------
    columns
        The columns of `GENERIC`; those of runs without a direction null are NaN.
    thresholds
        As for `EdgeRule.holds`.
    """
    return {rule.name: rule.holds(columns, thresholds) for rule in (COMPUTED, CARRIED, GENERIC)}


CONTINUED_Z = 3.0
"""z of a direct effect from which a computed one of the same sign continues it."""


def continued_edges(z_direct: ArrayLike, z_computed: ArrayLike) -> np.ndarray:
    """Mask of the pairs whose computed effect continues a direct one: both have the same sign, and
    the direct one stands out from random directions too (z of 3 or more).

    The residual stream carries the source to such a target, and the blocks add to it. A network
    that has learnt nothing has computed edges of this kind and few others: a dictionary of a later
    layer has a feature for the image of an earlier one, whatever the blocks between make of it.

    Parameters
    ----------
    z_direct, z_computed
        Of each edge; NaN where a run has no direction null.
    """
    import numpy as np

    direct, computed = np.asarray(z_direct, float), np.asarray(z_computed, float)
    with np.errstate(invalid="ignore"):
        return (np.sign(direct) == np.sign(computed)) & (np.abs(direct) >= CONTINUED_Z)


def legacy_edges(d: ArrayLike, n: ArrayLike, n_pos: ArrayLike) -> np.ndarray:
    """Mask of the edges by the published rule, for replication and comparison only.

    A test in one cell is no edge, whatever its d: the published code has no d below two cells.
    """
    return LEGACY.holds({"d": d, "n": n, "n_pos": n_pos})


def symmetric_edges(d: ArrayLike, n: ArrayLike, n_pos: ArrayLike, n_neg: ArrayLike) -> np.ndarray:
    """Mask of the edges by the published rule with signs counted among the cells with an effect."""
    return SYMMETRIC.holds({"d": d, "n": n, "n_pos": n_pos, "n_neg": n_neg})


def published_edges(
    d: ArrayLike,
    stated: ArrayLike,
    n: ArrayLike = float("nan"),
    n_pos: ArrayLike = float("nan"),
) -> np.ndarray:
    """Mask of the edges of an imported study by the published rule: from the counts where they are
    known, else by the consistency that the source states.

    Parameters
    ----------
    d, stated, n, n_pos
        Of each edge; NaN where the source does not give it.
    """
    import numpy as np

    n, n_pos = _float(n), _float(n_pos)
    by_statement = STATED.holds({"d": d, "consistency": stated}) & ~(n < LEGACY_MIN_CELLS)
    return np.where(np.isnan(n) | np.isnan(n_pos), by_statement, legacy_edges(d, n, n_pos))
