"""Number formats faster than float32, as a context around the model's layers.

``tf32``    matrix products of the model with 10 bits of mantissa, on CUDA
``bf16``    the model under autocast to bfloat16 (7 bits)

Clean pass and ablated passes use the same format, or its rounding would pass for effects; codes,
effects and statistics stay float32 or more. Whether a format may be used is measured in
`scircuit.tracing.evaluation.precision_check`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from scircuit.core.errors import UserError


class Computes(Protocol):
    """What is read of a model here."""

    device: torch.device
    dtype: torch.dtype
    numerics: str


Model = TypeVar("Model", bound=Computes)


@contextmanager
def numeric_format(adapter: Computes) -> Iterator[None]:
    """Compute the model's layers in the format that `adapter.numerics` names."""
    if adapter.device.type == "cuda":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if adapter.numerics == "tf32" else "highest")
    else:
        before = None
    try:
        with torch.autocast(
            adapter.device.type, torch.bfloat16, enabled=adapter.numerics == "bf16"
        ):
            yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)


def steps_in_format(
    adapter: Computes, steps: Iterator[tuple[int, Tensor]]
) -> Iterator[tuple[int, Tensor]]:
    """Layers and their states, each computed in the adapter's format and given back in its dtype;
    what the caller does with them is in the caller's format.
    """
    while True:
        with numeric_format(adapter):
            step = next(steps, None)
        if step is None:
            return
        yield step[0], step[1].to(adapter.dtype)


def with_numerics(adapter: Model, name: str) -> Model:
    """The same model computing in another format; weights are shared.

    Raises
    ------
    UserError
        If the device does not have the format.
    """
    if name == "tf32" and adapter.device.type != "cuda":
        raise UserError(
            f"numerics tf32 is a format of NVIDIA GPUs; this run computes on {adapter.device.type}",
            "leave --numerics at float32, or use --device cuda",
        )
    if name == adapter.numerics:
        return adapter
    other = copy.copy(adapter)
    other.numerics = name
    return other
