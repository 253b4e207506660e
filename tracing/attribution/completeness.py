"""The sum that must come out: all contributions to a target and its own constants are its value.

    sum(features + errors + embeddings + biases) = pre-activation

is met but for rounding. The difference is measured in double precision for every target and kept
with the result. Contributions of both signs cancel, so rounding is relative to what is added:
`relative` is the difference over the sum of absolute contributions, one for each feature, error,
embedding and bias at each position. At most `LIMIT` of it is accepted: 1e-6 in float32, 1e-12 in
float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.backward_rows import EMBEDDING, LayerPart
from scircuit.tracing.attribution.targets import Target

LIMIT = {torch.float32: 1e-6, torch.float64: 1e-12}
KINDS = ("features", "errors", "embeddings", "biases")


class Completeness:
    """Sums of the contributions to B targets, part by part of a sweep (`add`).

    Attributes
    ----------
    sums
        Kind of source -> [B] sums, float64.
    value
        [B] values in the clean pass.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.value = np.array([t.value for t in targets])
        own = [list(t.constants.values()) for t in targets]
        self.sums = {kind: np.zeros(len(targets)) for kind in KINDS}
        self.sums["biases"] += [sum(c) for c in own]
        self._gross = np.array([sum(map(abs, c)) for c in own], np.float64)
        self._limit = 0.0

    def add(self, part: LayerPart) -> None:
        """Count a part of the sweep."""
        self._limit = LIMIT.get(part.pull.dtype, LIMIT[torch.float32])
        self._count("features", part.features.flatten(1))
        self._count("embeddings" if part.layer == EMBEDDING else "errors", part.errors)
        for bias in part.biases.values():
            self._count("biases", bias)

    def _count(self, kind: str, found: Tensor) -> None:
        wide = found.cpu().double()
        self.sums[kind] += wide.sum(1).numpy()
        self._gross += wide.abs().sum(1).numpy()

    @property
    def total(self) -> np.ndarray:
        """Sum of all contributions, [B]."""
        return np.sum(list(self.sums.values()), axis=0)

    @property
    def gross(self) -> np.ndarray:
        """Sum of all absolute contributions, [B]."""
        return self._gross

    @property
    def difference(self) -> np.ndarray:
        """Sum less value, [B]."""
        return self.total - self.value

    @property
    def relative(self) -> np.ndarray:
        """Absolute difference over the sum of absolute contributions, [B]; 0 where that is 0."""
        return np.abs(self.difference) / np.maximum(self.gross, 1e-300)

    @property
    def of_value(self) -> np.ndarray:
        """Absolute difference over the absolute value, [B]: large where the value is near 0."""
        return np.abs(self.difference) / np.maximum(np.abs(self.value), 1e-300)

    def require(self) -> None:
        """Check the identity.

        Raises
        ------
        UserError
            If a sum is further from its value than rounding is.
        """
        worst = int(np.argmax(self.relative))
        if self.relative[worst] > self._limit:
            raise UserError(
                f"contributions add up to {self.total[worst]:.6g}, the value is"
                f" {self.value[worst]:.6g}: a relative difference of {self.relative[worst]:.1e},"
                f" where rounding is at most {self._limit:.0e}",
                "compute in float64; if it stays, the adapter's layers and its weights differ",
            )
