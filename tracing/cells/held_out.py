"""Which cells are held out: a function of barcode and seed alone.

A cell is ranked by the SHA-256 of ``seed:barcode``; the lowest share is held out. The choice does
not depend on the order of the file or on other filters' random state, so a model and its
dictionaries that name the same seed hold out the same cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scircuit.core.errors import UserError
from scircuit.core.preflight import CheckLine


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


def unseen(provenance: Mapping[str, Any], cohort: Any) -> set[str]:
    """Barcodes of a cohort of which it is known that a dictionary was not trained on them.

    Where the training cells are listed, those of other names; in the very file of the training
    otherwise those it held out. A cell of another file that bears the name of a training cell may
    be another cell, and is not called unseen.
    """
    trained = provenance.get("trained_cells")
    if trained is not None:
        return set(cohort.barcodes) - set(trained)
    same = provenance.get("cells_sha256") == cohort.sha256
    return set(cohort.barcodes) & set(provenance.get("held_out") or ()) if same else set()


def check_unseen(provenance: Mapping[str, Any], cohort: Any) -> CheckLine:
    """Say how many cells of a cohort a dictionary was trained on, from its provenance.

    It is a fact to know, not an error: effects are measured on the model, and the dictionary only
    gives directions. A quality figure, however, means most on cells that the training never saw.
    """
    name, expected = "cells seen in training", "known"
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
    if (
        provenance.get("trained_cells") is None
    ):  # what was not held out need not have been trained on: a training may take some cells of its file
        found = (
            f"not known{other}, and does not list its cells"
            if other
            else f"at most {min(seen, provenance.get('cells', seen)):,} of {total:,}"
        )
    elif other:
        found = f"{f'{seen:,} of {total:,} bear the name of one' if seen else 'none'}{other}"
    else:
        found = f"{seen:,} of {total:,}"
    return CheckLine(name, True, found, expected)
