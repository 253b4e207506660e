"""One hash for the tokens of all cells: what a model reads, whatever file and names led to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def tokens_sha256(cells: Iterable[np.ndarray]) -> str:
    """Hash of the tokens of every cell, in order, with their types and lengths."""
    digest = hashlib.sha256()
    for cell in cells:
        array = np.ascontiguousarray(cell)
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
