r"""Joint ablation of k features at any layers, and whether their joint effect is the sum of the
single ones.

For each set all 2^k - 1 conditions run on the same cells and are read at the same positions: the
union P of those where a member is active in the clean pass. A later feature is removed with the
activation that it has after the earlier removals
(`scircuit.tracing.interventions.ablation.condition_runs`). For every subset of two and more members
the interaction contrast

    J_S = sum over T in S of (-1)^(|S| - |T|) effect_T

is tested against 0 over cells by sign flips, once for effects on activations and once for the
computed part of effects on pre-activations; q is Benjamini-Hochberg over all tests of one order and
part: every set, layer read and target. Published ratios stand beside their own null
(`scircuit.tracing.interventions.ablation.published_ratios`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.address import Address
from scircuit.core.context import EXACT, FROZEN, context_name
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCell, CleanCells
from scircuit.tracing.engine.numeric_floor import floors_of, zero_edit
from scircuit.tracing.hardware.memory_plan import Plan, make_plan
from scircuit.tracing.hardware.parallel import run_jobs
from scircuit.tracing.interventions.ablation.ablation_floors import pre_activation_floors
from scircuit.tracing.interventions.ablation.ablation_records import records_of
from scircuit.tracing.interventions.ablation.cell_effects import CellEffects, effects_in_cell
from scircuit.tracing.interventions.ablation.condition_runs import Work
from scircuit.tracing.interventions.ablation.conditions import blocks
from scircuit.tracing.interventions.ablation.feature_sets import (
    FeatureSet,
    checked_sets,
    checked_targets,
    require_cells,
)
from scircuit.tracing.interventions.ablation.subset_tests import (
    LayerInputs,
    SubsetTest,
    set_tests,
)
from scircuit.tracing.interventions.intervention_tables import read_addresses

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

_STATES = {"cpu": 2**28}  # bytes of edited states held in one job
_STATES_ELSEWHERE = 2**32

Progress = Callable[[int, int, int], None]


def ablate_sets(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    sets: Sequence[FeatureSet | Sequence[Address | str]],
    *,
    run: str,
    q: float = 0.05,
    targets: Sequence[int] = (),
    context: int = EXACT,
    progress: Progress | None = None,
    passed: Callable[[int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, pa.Table]:
    """Ablate sets of features in all combinations of their members.

    Parameters
    ----------
    adapter, dictionaries, cohort
        Model, layer -> dictionary, cells (``tokens`` is read; at least six).
    sets
        Sets of two to six features each, of the same or different layers.
    run
        Id of the run the records belong to.
    q
        Threshold of the interaction contrasts.
    targets
        Layers to read; the last layer that has a dictionary when empty.
    context
        `scircuit.core.context`: exact, or frozen.
    progress
        Called with (sets done, sets, contrasts with p of 0.05 or less so far).
    passed
        Called with a number of layer passes, each over one cell, when they are done.
    note
        Called with a sentence when a batch ran out of memory and was halved.

    Returns
    -------
    dict
        Tables of kinds Intervention, Feature-PART_OF-Intervention, Intervention-SHIFTED-Feature,
        Feature, Intervention-FROM-Run.

    Raises
    ------
    UserError
        If a set is impossible, no target layer lies later than all features, there are fewer than
        two cells, or no set has a cell in which all its members are active.
    """
    chosen = checked_sets(sets, dictionaries)
    layers = checked_targets(chosen, dictionaries, targets)
    require_cells(len(cohort.tokens))
    if context not in (EXACT, FROZEN):
        raise UserError(
            f"joint ablations in context {context_name(context)}; expected exact or frozen: the"
            " further positions of one condition would not be those of another",
            "set --context exact or --context frozen",
        )
    sources = sorted({f.layer for s in chosen for f in s.members})
    used = {t: dictionaries[t].to(adapter.device) for t in (*sources, *layers)}
    plan = make_plan(adapter, max(map(len, cohort.tokens)))
    kept = range(sources[0], layers[-1] + 1)
    cells = CleanCells(adapter, used, cohort.tokens, kept, plan.states)
    _require_together(cells, chosen)
    inputs = _layer_inputs(adapter, used, cells, sources[0], layers, context)
    work = Work(
        adapter,
        used,
        tuple(layers),
        plan.pairs,
        plan.rows,
        passed or (lambda _n: None),
        note or (lambda _text: None),
    )
    tests: dict[int, list[SubsetTest]] = {}
    found = 0
    for block in _all_blocks(chosen, cells, work, plan):

        def report(cell: int, block: Sequence[int] = block, found: int = found) -> None:
            if progress:
                inside = len(block) * cell // len(cells)
                progress(len(tests) + inside, len(chosen), found)

        of_block = [chosen[i] for i in block]
        effects = _block_effects(work, cells, of_block, context, report)
        jobs = [
            partial(_test_one, of_block[i], i, effects, inputs, layers)
            for i in range(len(of_block))
        ]
        for i, of_set in zip(block, run_jobs(jobs, adapter.device), strict=True):
            tests[i] = of_set
            found += sum(int((test.p <= 0.05).sum()) for test in of_set)
        if progress:
            progress(len(tests), len(chosen), found)
    return records_of([test for i in sorted(tests) for test in tests[i]], run, q)


def ablate_pairs(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    addresses: Sequence[Address | str],
    *,
    run: str,
    q: float = 0.05,
    targets: Sequence[int] = (),
    context: int = EXACT,
    progress: Progress | None = None,
) -> dict[str, pa.Table]:
    """Ablate every pair of at least two features jointly and singly; see `ablate_sets`."""
    features = read_addresses(addresses, dictionaries, 2)
    return ablate_sets(
        adapter,
        dictionaries,
        cohort,
        list(combinations(features, 2)),
        run=run,
        q=q,
        targets=targets,
        context=context,
        progress=progress,
    )


def _require_together(cells: Sequence[CleanCell], sets: Sequence[FeatureSet]) -> None:
    """Check that at least one set has all its members active in one cell."""
    active = {
        (layer, int(i)): {c for c, cell in enumerate(cells) if np.diff(cell.firing[layer].start)[i]}
        for layer, i in {(f.layer, f.index) for s in sets for f in s.members}
    }
    if not any(active.values()):
        raise UserError(
            f"none of the {len(active)} features is active in any of the {len(cells)} cells",
            "choose features that fire in these cells",
        )
    if not any(set.intersection(*(active[f.layer, f.index] for f in s.members)) for s in sets):
        counts = ", ".join(f"{f.short} in {len(active[f.layer, f.index])}" for f in sets[0].members)
        raise UserError(
            f"in none of the {len(cells)} cells are all features of a set active"
            f" ({len(sets)} set(s); the first: {counts} cells), so there is no joint effect",
            "choose features that fire in the same cells",
        )


def _layer_inputs(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cells: CleanCells,
    source: int,
    layers: Sequence[int],
    context: int,
) -> dict[int, LayerInputs]:
    """Floors, encoder and living targets of each layer read."""
    changed = floors_of(
        zero_edit(adapter, dictionaries, cells, source, layers, 3, context), cells, adapter.dtype
    )
    computed = pre_activation_floors(adapter, dictionaries, cells, source, layers, context)
    return {
        t: LayerInputs(
            t,
            changed[t],
            computed[t],
            dictionaries[t].encoder,
            np.sum([np.diff(c.firing[t].start) for c in cells], axis=0) > 0,
        )
        for t in layers
    }


def _all_blocks(
    sets: Sequence[FeatureSet], cells: CleanCells, work: Work, plan: Plan
) -> list[list[int]]:
    """Places of sets that are computed together: of one order, with states and effects that fit."""
    width, device = work.adapter.width, work.adapter.device.type
    item = np.dtype(np.float32).itemsize
    state = 2 * item * width * max(c.length for c in cells)
    values = sum(work.dictionaries[t].n_features + 2 * width for t in work.targets)
    found = []
    for order in sorted({len(s.members) for s in sets}):
        places = [i for i, s in enumerate(sets) if len(s.members) == order]
        states = max(1, _STATES.get(device, _STATES_ELSEWHERE) // state)
        most = max(1, plan.effects // (item * values * len(cells) * (2**order - 1)))
        for block in blocks([sets[i] for i in places], states, most):
            found.append([places[i] for i in block])
    return found


def _block_effects(
    work: Work,
    cells: CleanCells,
    sets: Sequence[FeatureSet],
    context: int,
    report: Callable[[int], None],
) -> list[CellEffects]:
    """Effects of some sets of one order, cell by cell."""
    jobs = [partial(effects_in_cell, work, cell, sets, context != EXACT) for cell in cells]
    found = []
    for effects in run_jobs(jobs, work.adapter.device):
        found.append(effects)
        report(len(found))
    return found


def _test_one(
    one: FeatureSet,
    place: int,
    cells: Sequence[CellEffects],
    inputs: Mapping[int, LayerInputs],
    layers: Sequence[int],
) -> list[SubsetTest]:
    """All tests of one set, from its effects in the cells where any member is active."""
    own = [c for c in cells if c.active[place]]
    together = sum(int(c.together[place]) for c in own)
    found: list[SubsetTest] = []
    for t in layers if own else ():
        effects, total = (
            np.stack([values[t][place] for values in of], axis=1)
            for of in ([c.effects for c in own], [c.total for c in own])
        )
        computed = None
        if own[0].direct:
            computed = total - np.stack([c.direct[t][place] for c in own], axis=1)
        found += set_tests(one, together, effects, computed, inputs[t])
    return found
