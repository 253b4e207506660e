"""A batch that does not fit into the memory is halved and retried, down to one item; parts that fit
are not computed twice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Result = TypeVar("Result")


def halving(
    work: Callable[[np.ndarray], Result], items: np.ndarray, note: Callable[[str], None]
) -> list[Result]:
    """Results of `work` on `items`: on all at once where memory allows, else on halves, in order.

    Parameters
    ----------
    work
        Computes some of the items.
    items
        At least one.
    note
        Called with a sentence each time a batch is halved.

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
                "out of memory: not even a single (feature, cell) pair fits",
                "free memory, or shorten the cells with --max-length",
            ) from error
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    note(f"out of memory: retrying with half the batch of {len(items)} pairs")
    middle = len(items) // 2
    return [*halving(work, items[:middle], note), *halving(work, items[middle:], note)]


@contextmanager
def memory_suffices(config: object) -> Iterator[None]:
    """Turn an out-of-memory error outside a batch into a message that says what to do.

    Parameters
    ----------
    config
        Options of the verb; the message names those that reduce what it needs.

    Raises
    ------
    UserError
        In place of an out-of-memory error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        kept = (
            " and give the same command again, which resumes the run"
            if hasattr(config, "memory")
            else ""
        )
        ways = {
            "memory": "set a cap with --memory",
            "max_length": "shorten the cells with --max-length",
            "device": "compute on another --device",
        }
        raise UserError(
            f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            ", or ".join(
                [
                    f"free memory{kept}",
                    *(way for name, way in ways.items() if hasattr(config, name)),
                ]
            ),
        ) from error


def return_freed_memory() -> None:
    """Return blocks of a megabyte or more to the system as soon as they are free.

    The GNU C library otherwise keeps freed blocks for reuse, with peaks of up to twice what tensors
    take. With other C libraries nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(option, 2**20)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error of any device."""
    if isinstance(error, MemoryError) or any(
        kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
    ):  # torch's, which need not be loaded
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
