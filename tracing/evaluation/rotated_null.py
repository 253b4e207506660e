"""The null of a dictionary: its directions rotated at random about the mean state c.

    x^ = c + Q^T (D(c + Q (x - c)) - c)

with the dictionary's reconstruction D and a fixed random rotation Q. Sparsity, lengths and angles
between directions are kept; only what they point at is lost. Any k of many directions explain
something, so a measure of a dictionary has to be read beside that of its null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary


def rebuilt(dictionary: Dictionary, x: Tensor) -> Tensor:
    """Rows [N, d] as a dictionary reconstructs them."""
    return dictionary.decode_topk(*dictionary.encode_topk(x))


class RotatedDictionary:
    """A dictionary with its directions rotated at random about `centre` [d]."""

    def __init__(self, dictionary: Dictionary, centre: np.ndarray, seed: int) -> None:
        width = len(centre)
        self.dictionary = dictionary
        self.rotation = torch.linalg.qr(
            torch.randn(width, width, generator=torch.Generator().manual_seed(seed))
        )[0]
        self.centre = torch.as_tensor(centre, dtype=torch.float32)

    def rebuilt(self, x: Tensor) -> Tensor:
        """Rows [N, d] as it reconstructs them."""
        rotation, centre = self.rotation.to(x), self.centre.to(x)
        return (
            centre
            + (rebuilt(self.dictionary, centre + (x - centre) @ rotation) - centre) @ rotation.T
        )


def explained(x: Tensor, again: Tensor) -> float:
    """Share of the variance of rows [N, d] that their reconstructions explain."""
    return 1 - float((x - again).pow(2).sum()) / float((x - x.mean(0)).pow(2).sum())
