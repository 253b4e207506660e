"""Which cells are held out: a function of barcode and seed alone.

A cell is ranked by the SHA-256 of ``seed:barcode``; the lowest share is held out. The choice does
not depend on the order of the file or on other filters' random state, so a model and its
dictionaries that name the same seed hold out the same cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine

if TYPE_CHECKING:
    from scircuit.tracing.cells.cohort import Cohort
    from scircuit.tracing.interfaces import JsonObject


def held_out(barcodes: Sequence[str], share: float, seed: int) -> np.ndarray:
    """Mask of the cells kept for evaluation, [cells].

    Raises
    ------
    UserError
        If either side would be empty.
    """
    count = round(len(barcodes) * share)
    if not 0 < count < len(barcodes):
        raise UserError(
            f"held-out share {share} of {len(barcodes)} cells leaves {len(barcodes) - count} to"
            f" train on and {count} to evaluate",
            "give more cells or another share; both sides need at least one cell",
        )
    rank = [hashlib.sha256(f"{seed}:{barcode}".encode()).digest() for barcode in barcodes]
    mask = np.zeros(len(barcodes), dtype=bool)
    mask[sorted(range(len(barcodes)), key=rank.__getitem__)[:count]] = True
    return mask


def unseen(provenance: JsonObject, cohort: Cohort) -> set[str]:
    """Barcodes of the cells on which a dictionary is known not to have been trained.

    Where the training cells are listed, those with other names; else, in the file of the training,
    those it held out. A cell of another file with the name of a training cell may be the same cell,
    and is not called unseen.
    """
    trained = provenance.get("trained_cells")
    if trained is not None:
        return set(cohort.barcodes) - set(trained)
    same = provenance.get("cells_sha256") == cohort.sha256
    return set(cohort.barcodes) & set(provenance.get("held_out") or ()) if same else set()


def check_unseen(provenance: JsonObject, cohort: Cohort) -> CheckLine:
    """Say how many cells of a cohort a dictionary was trained on, from its provenance.

    Not an error: effects are measured on the model, and the dictionary only gives directions. But
    quality should be measured on cells that the training never saw.
    """
    name, expected = "cells seen in training", "listed by the dictionary"
    file, total = provenance.get("cells_sha256"), len(cohort.barcodes)
    if file is None or (
        provenance.get("trained_cells") is None and provenance.get("held_out") is None
    ):
        return CheckLine(
            name, True, "the dictionary does not say which cells it was trained on", expected
        )
    other = (
        ""
        if file == cohort.sha256
        else f": it was trained on another file ({provenance.get('cells_file', 'unnamed')})"
    )
    seen = total - len(unseen(provenance, cohort))
    # A cell that was not held out need not have been trained on: training may use some cells only.
    if provenance.get("trained_cells") is None:
        found = (
            f"not known{other}, and does not list its cells"
            if other
            else f"at most {min(seen, provenance.get('cells', seen)):,} of {total:,}"
        )
    elif other:
        found = f"{f'{seen:,} of {total:,} have the name of one' if seen else 'none'}{other}"
    else:
        found = f"{seen:,} of {total:,}"
    return CheckLine(name, True, found, expected)
