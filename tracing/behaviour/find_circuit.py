"""Find the circuit of a behaviour: scores and search on one half of the cells, curve and verdict on
the other.

A behaviour that does not need the features at all has no circuit: the change when all of them are
at their means is tested over cells first. The search wants the share in 95 % of resamples of the
cells that choose, since a set that only just keeps it there keeps less in other cells half of the
time. A circuit counts when a small set was found, when it keeps the wanted share on the other half,
when its interval over these cells is above what random circuits of its size and firing rates keep,
and when few of them keep as much. A wide interval never helps it.

Feature means, firing rates and the test of the change are those of all cells, the judging half
included: the set of all features is the unedited model in every cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.errors import UserError
from scircuit.tracing.behaviour.attribution import attribution, single_ablations
from scircuit.tracing.behaviour.behaviours import Behaviour
from scircuit.tracing.behaviour.circuit_curve import (
    Curve,
    bootstrap_quantiles,
    groups_of,
    measure,
)
from scircuit.tracing.behaviour.circuit_search import Found, search
from scircuit.tracing.behaviour.circuit_verdict import nothing_to_keep, refusal_of
from scircuit.tracing.behaviour.feature_space import FeatureSpace, feature_space
from scircuit.tracing.behaviour.mean_ablation import Started, evaluate, start
from scircuit.tracing.statistics.sign_flip import sign_flip_p

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.models.adapter import Adapter

MIN_CELLS = 12  # with the behaviour: six choose, six judge
SURE = 0.95  # share of resamples of the choosing cells in which the share is kept
Report = Callable[[str], None]


@dataclass(frozen=True)
class Search:
    """How a circuit is looked for.

    Parameters
    ----------
    share
        Of the behaviour, to be kept.
    max_share
        Most features of a circuit, as a share of those that fire.
    scoring
        ``attribution`` (integrated gradients) or ``ablation`` (every feature by itself).
    steps
        Of the integrated gradients.
    draws
        Random circuits.
    seed
        Of the halves, the random circuits and the bootstrap.
    """

    share: float = 0.8
    max_share: float = 0.05
    scoring: str = "attribution"
    steps: int = 8
    draws: int = 20
    seed: int = 0


@dataclass(frozen=True)
class BehaviourCircuit:
    """What was found.

    Attributes
    ----------
    space
        The features.
    full, baseline
        Mean behaviour of the unedited model and with all features at their means, over all cells.
    gap_p
        Sign-flip p of their difference over cells.
    cells, chosen_on
        Cells with the behaviour, and how many of them chose the circuit.
    order
        Features that fire, best first; empty where there was nothing to keep.
    scores
        Of all features [space.size]: share of the behaviour attributed to each.
    found
        The search; None where there was nothing to keep.
    curve
        Its curve on the other cells.
    limit
        Most features of a circuit.
    refusal
        Why no circuit is given; empty where one is.
    judged
        The cells that did not choose it.
    """

    space: FeatureSpace
    full: float
    baseline: float
    gap_p: float
    cells: int
    chosen_on: int
    order: np.ndarray
    scores: np.ndarray
    found: Found | None
    curve: Curve | None
    limit: int
    refusal: str
    judged: Sequence[Started] = ()

    @property
    def members(self) -> np.ndarray:
        """Features of the circuit, best first; empty where it is refused."""
        return self.order[: self.found.size] if self.found and not self.refusal else self.order[:0]


def find_circuit(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    layers: Sequence[int],
    cells: Sequence[np.ndarray],
    behaviour: Behaviour,
    options: Search,
    *,
    strata: np.ndarray | None = None,
    report: Report = lambda _: None,
) -> BehaviourCircuit:
    """Find and judge the circuit of a behaviour.

    Parameters
    ----------
    adapter, dictionaries
        Model; layer -> dictionary.
    layers
        Layers whose features are considered.
    cells
        Cells as the model reads them.
    behaviour
        One number a cell.
    options
        How to look for it.
    strata
        [cells] group of each cell; both halves have the same share of each.
    report
        Called with the name of each step.

    Raises
    ------
    UserError
        If fewer than `MIN_CELLS` cells have the behaviour.
    """
    prepared = [(i, behaviour.prompt(adapter, cell, i)) for i, cell in enumerate(cells)]
    prompts = [p for _, p in prepared if p is not None]
    if len(prompts) < MIN_CELLS:
        raise UserError(
            f"{len(prompts)} of {len(cells)} cells have the behaviour ({behaviour.text});"
            f" expected {MIN_CELLS} or more: one half chooses the circuit, the other judges it",
            "give --n-cells more, or genes that more of the cells express",
        )
    group = None if strata is None else strata[[i for i, p in prepared if p is not None]]
    chooses = _half(len(prompts), group, options.seed)
    report("clean pass")
    space = feature_space(adapter, dictionaries, layers, prompts)
    started = start(adapter, space, prompts)
    alive = space.alive
    ends = np.zeros((2, space.size), bool)
    ends[1, alive] = True
    baseline, full = evaluate(adapter, space, started, ends)
    gap = full - baseline
    p = float(sign_flip_p(gap[None])[0]) if np.abs(gap).max() > 0 else 1.0
    limit = max(1, int(options.max_share * len(alive)))
    first = [c for c, own in zip(started, chooses, strict=True) if own]
    second = [c for c, own in zip(started, chooses, strict=True) if not own]

    def result(
        order: np.ndarray, scores: np.ndarray, found: Found | None, curve: Curve | None, why: str
    ) -> BehaviourCircuit:
        means = float(full.mean()), float(baseline.mean())
        return BehaviourCircuit(
            space,
            *means,
            p,
            len(prompts),
            len(first),
            order,
            scores,
            found,
            curve,
            limit,
            why,
            second,
        )

    if refusal := nothing_to_keep(gap, chooses, p):
        return result(alive[:0], np.zeros(space.size), None, None, refusal)
    report("scores")
    raw = (
        attribution(adapter, space, first, options.steps)
        if options.scoring == "attribution"
        else single_ablations(adapter, space, first)
    )
    chosen_gap = float(gap[chooses].mean())
    scores = raw / chosen_gap
    order = alive[np.argsort(-scores[alive], kind="stable")]

    ends_of_first = baseline[chooses], full[chooses]

    def surely(sets: np.ndarray) -> np.ndarray:
        values = evaluate(adapter, space, first, sets)
        return bootstrap_quantiles(values, *ends_of_first, [1 - SURE], options.seed)[0]

    report("search")
    found = search(surely, order, space.size, options.share, limit)
    own = np.zeros((1, space.size), bool)
    own[0, found.order[: found.size or found.best_size]] = True
    kept = float(evaluate(adapter, space, first, own).mean() - baseline[chooses].mean())
    found = found._replace(share=kept / chosen_gap)
    report("curve")
    curve = _curve(adapter, space, second, found, options)
    refusal = refusal_of(found, curve, options.share, options.max_share, len(alive), len(second))
    return result(found.order, scores, found, curve, refusal)


def _half(n: int, group: np.ndarray | None, seed: int) -> np.ndarray:
    """Which cells choose the circuit: every other one of a random order, group by group."""
    order = np.random.default_rng(seed).permutation(n)
    if group is not None:
        order = order[np.argsort(group[order], kind="stable")]
    chooses = np.zeros(n, bool)
    chooses[order[::2]] = True
    return chooses


def _curve(
    adapter: Adapter,
    space: FeatureSpace,
    cells: Sequence[Started],
    found: Found,
    options: Search,
) -> Curve:
    group = groups_of(space.layer[space.alive], space.firing_rate[space.alive])
    place = np.zeros(space.size, np.int64)
    place[space.alive] = group
    return measure(
        lambda sets: evaluate(adapter, space, cells, sets),
        found.order,
        place[found.order],
        space.size,
        found.size or found.best_size,
        options.draws,
        options.seed,
    )
