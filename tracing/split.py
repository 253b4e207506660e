"""Which cells are held out: a function of barcode and seed alone.

A cell is ranked by the SHA-256 of ``seed:barcode``; the lowest share is held out. The choice does not depend on the order of
the file or on other filters' random state, so a model and its dictionaries that name the same seed hold out the same cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scircuit.settings import UserError
from tracing.checks import CheckLine


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
            f"held-out share {share} of {len(barcodes)} cells leaves {len(barcodes) - count} to train on and {count} to evaluate",
            "give more cells or another share; both sides need at least one cell",
        )
    rank = [hashlib.sha256(f"{seed}:{barcode}".encode()).digest() for barcode in barcodes]
    mask = np.zeros(len(barcodes), dtype=bool)
    mask[sorted(range(len(barcodes)), key=rank.__getitem__)[:count]] = True
    return mask


def check_unseen(provenance: Mapping[str, Any], cohort: Any) -> CheckLine:
    """Say how many cells of a cohort a dictionary was trained on, from its provenance.

    It is a fact to know, not an error: effects are measured on the model, and the dictionary only gives directions. A quality
    figure, however, means something only on cells that were held out.
    """
    name, expected = "cells seen in training", "known; quality is measured on held-out cells only"
    kept = provenance.get("held_out")
    if provenance.get("cells_sha256") is None or kept is None:
        return CheckLine(name, True, "the dictionary does not say which cells it was trained on", expected)
    if provenance["cells_sha256"] != cohort.sha256:
        return CheckLine(name, True, f"none: it was trained on another file ({provenance.get('cells_file', 'unnamed')})", expected)
    seen = len(set(cohort.barcodes) - set(kept))
    most = "at most " if provenance.get("filters") else ""
    return CheckLine(name, True, f"{most}{seen:,} of {len(cohort.barcodes):,}", expected)
