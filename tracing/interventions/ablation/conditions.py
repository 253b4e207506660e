"""Conditions of joint ablation, and what they share.

A set of k features has 2^k - 1 conditions: its subsets that are not empty. Numbered by bits,
condition m ablates the members i with bit i of m set. At layer l a condition needs only what its
members before l made of the state, its *prefix*; so at each layer one pass is run for each distinct
prefix. For features at layers 0, 5 and 11 read at layer 17 that is

    layers 1 to 5: {A}    6 to 11: {A}, {B}, {AB}    12 to 17: all seven    5 + 18 + 42 = 65

layer passes, where 19 whole forwards take 342. Sets share prefixes with each other as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from scircuit.tracing.interventions.ablation.feature_sets import FeatureSet

Condition = tuple[tuple[int, int], ...]
"""(layer, index) of the features that are ablated, ascending."""

_LOOK = 256  # sets among which the next one of a block is sought


def conditions_of(one: FeatureSet) -> list[Condition]:
    """All conditions of a set; condition m is at place m - 1."""
    k = len(one.members)
    return [
        tuple((f.layer, f.index) for i, f in enumerate(one.members) if m >> i & 1)
        for m in range(1, 2**k)
    ]


def prefix(condition: Condition, layer: int) -> Condition:
    """What a condition ablates before a layer."""
    return tuple(f for f in condition if f[0] < layer)


def without_absent(condition: Condition, active: Collection[tuple[int, int]]) -> Condition:
    """The condition in a cell in which only some features are active: up to the first that is,
    members change nothing. Later ones may become active and stay.
    """
    first = min((f[0] for f in condition if f in active), default=None)
    if first is None:
        return ()
    return tuple(f for f in condition if f[0] > first or (f[0] == first and f in active))


def layer_passes(conditions: Iterable[Condition], last: int) -> int:
    """Layers that are computed for all of some conditions in one cell, up to layer `last`."""
    kept = {c for c in conditions if c}
    first = min((c[0][0] for c in kept), default=last)
    return sum(len({p for c in kept if (p := prefix(c, l))}) for l in range(first + 1, last + 1))  # noqa: E741


def blocks(sets: Sequence[FeatureSet], conditions: int, most: int) -> list[list[int]]:
    """Places of sets that are computed together, so that they share many conditions.

    Parameters
    ----------
    sets
        Sets of one order.
    conditions
        Different conditions of a block at most; a set alone may have more.
    most
        Sets of a block at most.
    """
    left = dict.fromkeys(range(len(sets)))
    own = [frozenset(conditions_of(s)) for s in sets]
    found: list[list[int]] = []
    while left:
        block: list[int] = []
        there: set[Condition] = set()
        while left and len(block) < most:
            near = [i for i, _ in zip(left, range(_LOOK), strict=False)]
            best = min(near, key=lambda i: len(own[i] - there))
            if block and len(there | own[best]) > conditions:
                break
            block.append(best)
            there |= own[best]
            del left[best]
        found.append(sorted(block))
    return found
