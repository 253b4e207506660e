"""Classes of feature sets to compare: members of one group, of different groups, and random ones.

A set has one member for each slot, a layer; a group is what the caller says that a feature belongs
to (a pathway, a label), or nothing. All sets of all classes are disjoint, so that they can be taken
as independent.

same
    all members of one group; groups take turns, members are drawn at random
cross
    every member of another group
random
    whatever group; but no two members of the same one

Members of cross and random sets are matched in firing rate: slot by slot, a feature drawn among
those unused whose log rate is nearest to that of a member of a same set. Without same sets, to that
of a feature drawn at random.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from scircuit.core.address import Address
from scircuit.core.errors import UserError
from scircuit.tracing.interventions.ablation.feature_sets import FeatureSet

CLASSES = ("same", "cross", "random")
NEAREST = 50  # features among which a matched one is drawn, or a tenth of those of its layer


class Candidate(NamedTuple):
    """A feature that may become a member: its firing rate and its group (empty: none)."""

    address: Address
    firing_rate: float
    group: str = ""


class SampledSets(NamedTuple):
    """Sets of all classes, and what was found on the way, in sentences."""

    sets: list[FeatureSet]
    notes: list[str]


def sample_classes(
    candidates: Sequence[Candidate],
    layers: Sequence[int],
    sets: int = 100,
    classes: Sequence[str] = CLASSES,
    seed: int = 0,
    templates: Sequence[Sequence[float]] = (),
) -> SampledSets:
    """Draw disjoint sets of each class.

    Parameters
    ----------
    candidates
        Features, each once, with a firing rate above zero.
    layers
        Layer of each slot; a layer may come several times.
    sets
        Sets of each class.
    classes
        Of `CLASSES`, in the order in which they take their features.
    seed
        Of all draws.
    templates
        Firing rates to match, slot by slot, where no same sets are drawn.

    Raises
    ------
    UserError
        If not one set of any class can be drawn.
    """
    slots = sorted(layers)
    pool = _Pool(candidates, slots, np.random.default_rng(seed))
    have = {t: len(pool.free[t]) for t in sorted(set(slots))}
    for t, n in have.items():
        if n < slots.count(t):
            raise UserError(
                f"layer {t} has {n} feature(s) to choose from, a set needs {slots.count(t)} there",
                "choose other --layers, or trace more cells",
            )
    found: list[FeatureSet] = []
    notes: list[str] = []
    for kind in classes:
        if kind == "same":
            drawn, why = _same(pool, sets)
            templates = [[pool.rate[f] for f in s.members] for s in drawn]
        else:
            drawn, why = _matched(pool, sets, kind, templates)
        found += drawn
        note = f"{len(drawn)} of {sets} {kind} sets drawn"
        if len(drawn) < sets:
            note += f": {why}"
        if drawn:
            rates = [pool.rate[f] for s in drawn for f in s.members]
            note += f"; median firing rate {np.median(rates):.3g}"
        notes.append(note)
    if not found:
        raise UserError(
            f"no set of {len(slots)} features could be drawn in layers"
            f" {', '.join(map(str, slots))}: {'; '.join(notes)}",
            "annotate the features first, choose other layers, or use --sampler random",
        )
    return SampledSets(found, notes)


class _Pool:
    """Unused features by layer, in a fixed random order."""

    def __init__(
        self, candidates: Sequence[Candidate], slots: list[int], rng: np.random.Generator
    ) -> None:
        self.slots, self.rng = slots, rng
        usable = sorted(c for c in candidates if c.firing_rate > 0 and c.address.layer in slots)
        self.rate = {c.address: c.firing_rate for c in usable}
        self.group = {c.address: c.group for c in usable}
        self.free: dict[int, list[Address]] = {t: [] for t in slots}
        for i in rng.permutation(len(usable)):
            self.free[usable[i].address.layer].append(usable[i].address)
        self.nearest = {t: min(NEAREST, max(1, len(x) // 10)) for t, x in self.free.items()}

    def take(self, members: Sequence[Address]) -> tuple[Address, ...]:
        """Use features up."""
        for f in members:
            self.free[f.layer].remove(f)
        return tuple(sorted(members, key=lambda f: (f.layer, f.index)))

    def nearest_to(
        self, layer: int, rate: float, allowed: Callable[[Address], bool]
    ) -> Address | None:
        """A feature drawn among those nearest in log firing rate; None where none is allowed."""
        own = [f for f in self.free[layer] if allowed(f)]
        if not own:
            return None
        apart = np.abs(np.log([self.rate[f] for f in own]) - np.log(rate))
        near = np.argsort(apart, kind="stable")[: self.nearest[layer]]
        return own[int(near[self.rng.integers(len(near))])]


def _same(pool: _Pool, sets: int) -> tuple[list[FeatureSet], str]:
    """Sets within groups, group after group in turns."""
    by_group: dict[str, dict[int, list[Address]]] = defaultdict(lambda: defaultdict(list))
    for t in sorted(set(pool.slots)):
        for f in pool.free[t]:
            if pool.group[f]:
                by_group[pool.group[f]][t].append(f)
    need = {t: pool.slots.count(t) for t in pool.slots}
    complete = [g for g in sorted(by_group) if all(len(by_group[g][t]) >= need[t] for t in need)]
    why = (
        f"{len(complete)} of {len(by_group)} groups have features for every slot, and they are used"
        " up"
        if complete
        else f"none of {len(by_group)} groups has features for every slot"
    )
    found: list[FeatureSet] = []
    order = [complete[i] for i in pool.rng.permutation(len(complete))]
    while order and len(found) < sets:
        left = []
        for g in order:
            own = by_group[g]
            if len(found) == sets or any(len(own[t]) < need[t] for t in need):
                continue
            members = [own[t].pop() for t in pool.slots]
            found.append(FeatureSet(pool.take(members), "same", g))
            left.append(g)
        order = left
    return found, why


def _matched(
    pool: _Pool, sets: int, kind: str, templates: Sequence[Sequence[float]]
) -> tuple[list[FeatureSet], str]:
    """Sets across groups, or of any features, with the firing rates of the templates."""
    found: list[FeatureSet] = []
    grouped = sum(bool(pool.group[f]) for own in pool.free.values() for f in own)
    why = (
        "no more unused features fit"
        if grouped or kind == "random"
        else "no unused feature has a group"
    )
    for i in range(sets):
        if templates:
            rates = templates[i % len(templates)]
        else:
            free = [pool.free[t] for t in pool.slots]
            if not all(free):
                break
            rates = [pool.rate[own[pool.rng.integers(len(own))]] for own in free]
        members: list[Address] = []
        groups: set[str] = set()
        for t, rate in zip(pool.slots, rates, strict=True):

            def allowed(
                f: Address, there: Sequence[Address] = members, taken: set[str] = groups
            ) -> bool:
                group = pool.group[f]
                annotated = bool(group) or kind == "random"
                return annotated and f not in there and (not group or group not in taken)

            f = pool.nearest_to(t, rate, allowed)
            if f is None:
                break
            members.append(f)
            groups |= {pool.group[f]} - {""}
        if len(members) < len(pool.slots):
            break
        pathway = " + ".join(pool.group[f] for f in members) if kind == "cross" else ""
        found.append(FeatureSet(pool.take(members), kind, pathway))
    return found, why
