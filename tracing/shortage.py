"""A batch that does not fit into the memory is halved and tried again, down to one item; what fits is not computed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from scircuit.settings import UserError

Result = TypeVar("Result")


def halving(work: Callable[[np.ndarray], Result], items: np.ndarray, note: Callable[[str], None]) -> list[Result]:
    """Results of `work` on `items`: of all at once where the memory suffices, else of halves, in order.

    Parameters
    ----------
    work
        Computes some of the items.
    items
        At least one.
    note
        Called with a sentence each time a batch was halved.

    Raises
    ------
    UserError
        If one item alone does not fit.
    """
    try:
        return [work(items)]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(items) == 1:
            raise UserError(
                "the memory does not hold a single (feature, cell) pair", "free memory, shorten the cells with --max-length, or use --device cpu"
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    note(f"the memory was short: a batch of {len(items)} pairs was halved")
    middle = len(items) // 2
    return [*halving(work, items[:middle], note), *halving(work, items[middle:], note)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
