"""Cells of several scales in one matrix: which, how many, and which column of obs tells them apart.

Files put together from several studies hold counts for some cells and logarithms or rates for
others. Each cell looks well by itself; together they are not one input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scircuit.core.errors import UserError
from scircuit.tracing.cells.filter_values import as_text
from scircuit.tracing.cells.scale import FIX, Judged, families, usable_family

_EXAMPLES = 3
_SHARE = 0.05  # of the cells: fewer may look like counts by chance
_VALUES = 50  # of a column that may tell cells apart


def is_mixed(judged: Judged) -> bool:
    """Whether cells are on several scales, at least one of which could be used."""
    if judged.scale.usable:
        return len(judged.misfits) > 0
    masks = families(judged.held).items()
    usable = sum(int(mask.sum()) for family, mask in masks if usable_family(family))
    return usable >= _SHARE * len(judged.held) and usable > 0


def mixture_of(name: str, judged: Judged, obs: pd.DataFrame) -> UserError | None:
    """Say which cells hold what, where they are on several scales; None where they are not.

    Parameters
    ----------
    name
        Of the matrix.
    judged, obs
        What its cells hold, and the annotation of these cells.
    """
    if not is_mixed(judged):
        return None
    scale, held, misfits = judged
    barcodes = [str(name) for name in obs.index]
    found = families(held)
    if scale.usable:  # thin cells that do not fit are another kind, whatever they hold
        main = next(f for f in found if f == scale.family)
        rest = np.zeros(len(held), dtype=bool)
        rest[misfits] = True
    else:
        main = max((f for f in found if usable_family(f)), key=lambda f: int(found[f].sum()))
        rest = ~found[main]
    kept = ~rest
    parts = [f"{int(kept.sum()):,} of {len(held):,} cells hold {main}{_examples(kept, barcodes)}"]
    for family, mask in sorted(found.items(), key=lambda item: -int(item[1].sum())):
        mask = mask & rest
        if mask.any():
            parts.append(f"{int(mask.sum()):,} {family}{_examples(mask, barcodes)}")
    why = f"; {scale.evidence}" if not scale.usable else ""
    column, values = _telling(rest, obs)
    told, fix = "", "leave out the cells of the other kind"
    if column:
        told = f"; obs[{column!r}] tells them apart: {', '.join(values[True])} are the others"
        fix = f"choose the cells of one scale with --where {column}={','.join(values[False])}"
    return UserError(
        f"scale of {name}: the file mixes cells that were processed differently:"
        f" {', '.join(parts)}{told}{why}; expected one scale",
        f"{fix}, or {FIX}",
    )


def _examples(mask: np.ndarray, barcodes: Sequence[str]) -> str:
    rows = np.flatnonzero(mask)
    shown = ", ".join(str(barcodes[i]) for i in rows[:_EXAMPLES])
    return f" ({shown}{', ...' if len(rows) > _EXAMPLES else ''})"


def _telling(rest: np.ndarray, obs: pd.DataFrame) -> tuple[str, dict[bool, list[str]]]:
    """A column of obs whose values are each on one side only, and the values of both sides."""
    for column in obs.columns:
        values = obs[column]
        if not isinstance(values, pd.Series) or pd.api.types.is_float_dtype(values.dtype):
            continue
        text = as_text(values)  # as --where reads them
        distinct = sorted(set(text))
        if not 2 <= len(distinct) <= min(_VALUES, len(text) // 2):
            continue
        sides = {True: set(text[rest]), False: set(text[~rest])}
        if not sides[True] & sides[False]:
            return str(column), {side: sorted(of) for side, of in sides.items()}
    return "", {}
