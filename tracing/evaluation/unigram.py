"""Guessing by frequency: what the smoothed frequencies of genes or tokens are worth in nats."""

from __future__ import annotations

import numpy as np

SMOOTHINGS = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)


def unigram(counts: np.ndarray, genes: np.ndarray, vocabulary: int) -> np.ndarray:
    """-ln p of each gene under the smoothed frequencies of `counts`, [smoothings, genes]."""
    a = np.array(SMOOTHINGS)[:, None]
    return np.log(counts.sum() + a * vocabulary) - np.log(counts[genes] + a)
