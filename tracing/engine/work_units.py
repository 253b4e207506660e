"""What is ablated and in which portions: the sources of a layer, in tiles and work units.

A source is a candidate feature that is active in at least two cells. Tiles are what is computed at
once (`scircuit.tracing.hardware.memory_plan`); a work unit is some whole tiles, stored together: a
resumed run skips the units that are on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.context import EXACT
from scircuit.core.errors import UserError
from scircuit.tracing.hardware.memory_plan import make_tiles

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary
    from scircuit.tracing.engine.settings import TraceSettings
    from scircuit.tracing.hardware.memory_plan import Plan

# a source whose row set is this share of a cell is traced exactly: that costs at most twice as much
EXACT_SHARE = 0.5

Tiles = list[np.ndarray]


def choose_sources(
    counts: np.ndarray, dictionary: Dictionary, layer: int, settings: TraceSettings
) -> np.ndarray:
    """Features to ablate, from the rarest to the most frequent.

    Parameters
    ----------
    counts
        [F, cells] active positions of every feature of the layer.
    dictionary, layer, settings
        Those of the source layer, and the run's.

    Raises
    ------
    UserError
        If a feature that was asked for does not exist, or none is active in two cells.
    """
    chosen = (
        np.array(settings.features, np.int64)
        if settings.features
        else settings.rules.candidates(dictionary)
    )
    outside = chosen[(chosen < 0) | (chosen >= dictionary.n_features)]
    if len(outside):
        raise UserError(
            f"feature {outside[0]} is not in the dictionary of layer {layer}, which has 0"
            f" to {dictionary.n_features - 1}",
            "correct --features",
        )
    testable = chosen[(counts[chosen] > 0).sum(1) >= 2]
    if not len(testable):
        raise UserError(
            f"none of {len(chosen)} features of layer {layer} is active in two or more of"
            f" {counts.shape[1]} cells",
            "trace more cells, other features, or dictionaries trained on this model",
        )
    return testable[np.lexsort((testable, counts[testable].sum(1)))]


def choose_exact(
    sources: np.ndarray, counts: np.ndarray, lengths: np.ndarray, context: int
) -> np.ndarray:
    """Sources that are traced exactly: all of them, or in other contexts those whose row set is a
    large share of the cells.

    Parameters
    ----------
    sources
        [M] source features.
    counts
        [F, cells] active positions of every feature.
    lengths
        [cells] positions of each cell.
    context
        `scircuit.core.context`.
    """
    if context == EXACT:
        return sources
    own = counts[sources]
    rows = own.sum(1) + context * (own > 0).sum(1)
    return sources[rows >= EXACT_SHARE * ((own > 0) @ lengths)]


def arrange_units(
    contexts: Iterable[tuple[int, np.ndarray]],
    counts: np.ndarray,
    layer: int,
    values: int,
    plan: Plan,
    unit_features: int,
) -> dict[str, Tiles]:
    """Work units by name: consecutive tiles with at least `unit_features` sources together.

    Parameters
    ----------
    contexts
        Contexts, each with the sources that are traced in it.
    counts
        [F, cells] active positions of every feature.
    layer
        Source layer, for the names.
    values
        Numbers held for one source in one cell.
    plan
        Sizes of the run.
    unit_features
        Minimum sources of a unit.
    """
    positions, tiles = counts.sum(1), []
    for context, chosen in contexts:
        if len(chosen):
            tiles += make_tiles(chosen, positions[chosen], counts.shape[1], values, context, plan)
    units: list[Tiles] = [[]]
    for tile in tiles:
        if sum(map(len, units[-1])) >= unit_features:
            units.append([])
        units[-1].append(tile)
    return {f"L{layer:02d}-{i:04d}": unit for i, unit in enumerate(units)}


def sources_of(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Source features of some tiles, in their order."""
    return np.concatenate(tiles)
