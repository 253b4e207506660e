"""Machine code of a loop over arrays: compiled once on a machine, then loaded from numba's cache.

The functions compiled here are plain Python that runs without numba as well, some hundred times
slower. Without fast mathematics and without threads every operation has its place, so the result
does not depend on the batch or the machine. numba is imported at the first use, not before.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

_PATIENCE = 60.0  # seconds to wait for another process that compiles


@lru_cache(maxsize=16)
def machine_code(function: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Compile a function for one signature; other threads run while it does.

    Parameters
    ----------
    function
        Module-level function of numbers and arrays that calls none of ours: numba's cache notices
        changes of its own file alone.
    signature
        Types in numba's notation, such as ``void(f8[:, ::1], i8[::1])``.

    Returns
    -------
    Callable
        The same function. numba keeps it beside the source, or in the user's cache folder where
        that cannot be written; where neither can, it is compiled in every process.
    """
    from filelock import FileLock
    from numba import njit

    try:
        kernel = njit(cache=True, nogil=True)(function)
        folder = Path(str(kernel.stats.cache_path))
        # numba numbers its files by an index that two processes may write at once, each for a
        # processor of its own where they share a home
        with FileLock(folder / f"{function.__module__}.{function.__name__}.lock", _PATIENCE):
            kernel.compile(signature)
    except (OSError, RuntimeError, NotImplementedError, EOFError, pickle.UnpicklingError):
        # no folder, lock or room on the disk, or a file cut short: this process does without
        kernel = njit(nogil=True)(function)
        kernel.compile(signature)
    return kernel
