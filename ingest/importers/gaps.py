"""What an imported source may not give, and which comparisons are then refused.

The gaps of a source are stored on its Run (`lacks`), and a comparison calls `refuse_if_missing`
first: a tail fit needs every edge of a source, a calibrated rule needs p values, a computed edge
needs the direct path and a direction null, a symmetric consistency needs counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from scircuit.core.errors import UserError

MEANING: dict[str, str] = {
    "n": "the number of cells behind each effect",
    "counts": "how many cells moved up and how many down",
    "mean": "the mean effect",
    "sd": "the standard deviation of the effect",
    "p": "a p value of each edge",
    "computed": (
        "what the model's blocks computed: computed, carried and generic edges cannot be told apart"
    ),
    "null": "controls",
    "all_edges": ("all edges: it keeps only the strongest per source, or per source and layer"),
    "symmetric_rule": (
        "edges of both signs by the same rule: its consistency counts cells without an effect as"
        " negative"
    ),
    "cells": "which cells were used",
    "edges": "edges between features",
}


def refuse_if_missing(run: str, lacks: Iterable[str], needed: Iterable[str], purpose: str) -> None:
    """Refuse a comparison that needs what an imported run does not give.

    Parameters
    ----------
    run
        Its id.
    lacks
        From the findings of its manifest; own runs have none.
    needed
        What the comparison needs: keys of `MEANING`.
    purpose
        The comparison, for the message.

    Raises
    ------
    UserError
        If the source does not give all of it.
    """
    missing = [gap for gap in needed if gap in set(lacks)]
    if missing:
        absent = "; ".join(MEANING[gap] for gap in missing)
        raise UserError(
            f"run {run} was imported from a source that does not give {absent}: {purpose} would be"
            " meaningless",
            "trace the model yourself, or use a comparison that the source allows",
        )
