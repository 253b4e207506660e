"""Where a run computes: ``auto`` is CUDA, then Apple's MPS, then the CPU."""

from __future__ import annotations

import torch

from scircuit.core.errors import UserError


def choose_device(device: str) -> torch.device:
    """Turn ``auto`` into CUDA, MPS or CPU, and check that a named device is available.

    Raises
    ------
    UserError
        If the named device is unknown or absent.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        device = next(d for d in ("cuda", "mps", "cpu") if there[d])
    kind = device.split(":")[0]
    if not there.get(kind, False):
        found = ", ".join(d for d, ok in there.items() if ok)
        raise UserError(
            f"device {device!r} is not available; this machine has: {found}", "use --device auto"
        )
    return torch.device(device)
