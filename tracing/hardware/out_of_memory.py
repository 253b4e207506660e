"""A batch that does not fit into the memory is halved and tried again, down to one item; what fits
is not computed twice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Result = TypeVar("Result")


def halving(
    work: Callable[[np.ndarray], Result], items: np.ndarray, note: Callable[[str], None]
) -> list[Result]:
    """Results of `work` on `items`: of all at once where the memory suffices, else of halves, in
    order.

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
                "the memory does not hold a single (feature, cell) pair",
                "free memory, or shorten the cells with --max-length",
            ) from error
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    note(f"the memory was short: a batch of {len(items)} pairs was halved")
    middle = len(items) // 2
    return [*halving(work, items[:middle], note), *halving(work, items[middle:], note)]


@contextmanager
def memory_suffices(config: Any) -> Iterator[None]:
    """Say what to do where the memory is short outside a batch.

    Parameters
    ----------
    config
        Options of the verb; those of them that make it need less are named.

    Raises
    ------
    UserError
        In the place of an error that says that memory could not be had.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        kept = (
            " and give the same command again, which goes on from what was done"
            if hasattr(config, "memory")
            else ""
        )
        ways = {
            "memory": "cap what it takes with --memory",
            "max_length": "shorten the cells with --max-length",
            "device": "compute on another --device",
        }
        raise UserError(
            "the memory does not suffice:"
            f" {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            ", or ".join(
                [
                    f"free memory{kept}",
                    *(way for name, way in ways.items() if hasattr(config, name)),
                ]
            ),
        ) from error


def return_freed_memory() -> None:
    """Let blocks of a megabyte and more go back to the system as soon as they are free.

    The GNU C library otherwise keeps what was freed for the next block of that size: peaks of up to
    twice what tensors take. Elsewhere nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(option, 2**20)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    if isinstance(error, MemoryError) or any(
        kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
    ):  # torch's, which need not be loaded
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
