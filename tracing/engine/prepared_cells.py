"""The clean pass of a run and the sizes of its batches: what all its source layers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scircuit.core.edge_rules import MIN_SUPPORT
from scircuit.core.errors import UserError
from scircuit.tracing.clean_pass.clean_pass import CleanCells
from scircuit.tracing.engine.frozen_context import SCORES_BYTES
from scircuit.tracing.hardware.memory_plan import Plan, make_plan
from scircuit.tracing.hardware.out_of_memory import return_freed_memory

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.interfaces import TokenisedCells
    from scircuit.tracing.models.adapter import Adapter

MIN_TEST_CELLS = 2  # a test needs a mean over cells
# bytes of one entry of the sparse codes and of the inverted index: value and int64 position in each
_CODE_BYTES = 24
_ACTIVE = 64  # active features assumed for a row where a dictionary has no k


@dataclass(frozen=True)
class PreparedCells:
    """Clean cells of a cohort, and the sizes of the batches they are ablated in."""

    cells: CleanCells
    plan: Plan


def prepare_cells(
    adapter: Adapter,
    dictionaries: Mapping[int, Dictionary],
    cohort: TokenisedCells,
    settings: TraceSettings,
) -> PreparedCells:
    """Clean pass at every source and target layer, and the states of the layers between them: other
    contexts than exact and the direct path need these.

    Raises
    ------
    UserError
        If there are too few cells, or the memory cap is too low.
    """
    tokens, layers = cohort.tokens, settings.layers
    if len(tokens) < MIN_TEST_CELLS:
        found = "one cell" if len(tokens) else "no cells"
        raise UserError(
            f"the cohort has {found}; an effect is tested over at least {MIN_TEST_CELLS}, and a"
            f" calibrated edge needs {MIN_SUPPORT}",
            "raise --n-cells, or loosen the filters given with --where",
        )
    kept = range(layers[0], layers[-1] + 1)
    codes = sum(map(len, tokens)) * _CODE_BYTES
    held = sum(
        codes * (dictionaries[t].k if dictionaries[t].rule == "topk" else _ACTIVE)
        + 2 * 4 * dictionaries[t].n_features * adapter.width
        for t in layers
    )
    if settings.context > 0:
        held += SCORES_BYTES
    if settings.memory:
        return_freed_memory()
    plan = make_plan(
        adapter,
        max(map(len, tokens)),
        held=held,
        memory=settings.memory,
        pairs=settings.batch_pairs,
        rows=settings.batch_rows,
    )
    cells = CleanCells(
        adapter,
        {t: dictionaries[t].to(adapter.device) for t in layers},
        tokens,
        kept,
        plan.states,
        settings.rules.rank_is_active,
        plan.jobs,
    )
    return PreparedCells(cells, plan)
