"""From changes of states to changes of pre-activations.

The pre-activation of target j is ``a_j = e_j . (h - m) + b_j``, so a change v of the state changes
it by ``e_j . v``: linear, without the dead zone that a sparse code has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from scircuit.tracing.hardware.row_padding import by_row

if TYPE_CHECKING:
    from scircuit.tracing.dictionaries.dictionary import Dictionary


class Readout:
    """Encoders of the measured layers of one source layer.

    Parameters
    ----------
    dictionaries
        Layer -> dictionary, with every measured layer.
    targets
        0-based measured layers, in order.
    """

    def __init__(self, dictionaries: Mapping[int, Dictionary], targets: Sequence[int]) -> None:
        self._encoders = [dictionaries[t].encoder for t in targets]

    @torch.inference_mode()
    def of(self, changes: np.ndarray) -> np.ndarray:
        """Changes of the pre-activations of all targets.

        Parameters
        ----------
        changes
            [N, measured layers x width] float32 changes of states.

        Returns
        -------
        numpy.ndarray
            [N, T] float64, in dictionary units.
        """
        parts, start = [], 0
        for encoder in self._encoders:
            width = encoder.shape[1]
            rows = torch.as_tensor(
                np.ascontiguousarray(changes[:, start : start + width]), device=encoder.device
            ).to(encoder.dtype)
            parts.append(by_row(lambda x, e=encoder: functional.linear(x, e), rows).cpu().numpy())
            start += width
        return np.concatenate(parts, axis=1).astype(np.float64)

    def split(self, total: np.ndarray, direct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direct and computed effect on every pre-activation, [N, T] each.

        Parameters
        ----------
        total, direct
            [N, measured layers x width] total change of the states, and the part of it that the
            residual stream alone carries.
        """
        found = self.of(np.concatenate([direct, total - direct]).astype(np.float32))
        return found[: len(total)], found[len(total) :]
