"""What imported edges may lack, and which comparisons that forbids.

The gaps of a source are stored on its Run (`lacks`), and whoever compares asks `refuse` first: a
tail fit needs every edge of a source, a calibrated rule needs p values, a symmetric consistency
needs counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scircuit.core.errors import UserError

MEANING: dict[str, str] = {
    "n": "the number of cells behind each effect",
    "counts": "how many cells moved up and how many down",
    "mean": "the mean effect",
    "sd": "the standard deviation of the effect",
    "p": "a p value of each edge",
    "null": "controls",
    "all_edges": (
        "all edges: it keeps only the strongest of each source, or of each source and layer"
    ),
    "symmetric_rule": (
        "edges of both signs by one rule: its consistency counts cells without any effect as one of"
        " the signs"
    ),
    "cells": "which cells were used",
    "edges": "edges between features",
}


def refuse(run: str, findings: Mapping[str, Any], needed: Iterable[str], purpose: str) -> None:
    """Refuse what the gaps of an imported run forbid.

    Parameters
    ----------
    run
        Its id.
    findings
        Of its manifest; runs of one's own have no ``lacks``.
    needed
        What the comparison needs, of `MEANING`.
    purpose
        What is asked for, for the message.

    Raises
    ------
    UserError
        If the source lacks any of it.
    """
    missing = [gap for gap in needed if gap in findings.get("lacks", ())]
    if missing:
        said = "; ".join(MEANING[gap] for gap in missing)
        raise UserError(
            f"run {run} was imported from a source that does not give {said}: {purpose} would not"
            " mean anything",
            "trace the model yourself, or ask what the source can answer",
        )
