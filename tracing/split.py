"""Which cells are held out: a function of barcode and seed alone.

A cell is ranked by the SHA-256 of ``seed:barcode``; the lowest share is held out. The choice does not depend on the order of
the file or on other filters' random state, so a model and its dictionaries that name the same seed hold out the same cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from scircuit.settings import UserError


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
