"""Matrix products of rows whose result for one row does not depend on the other rows of the batch.

A matrix library chooses its kernel, its blocks and so the order of a sum by the number of rows: on
a CPU the same row, in a product with 3, 100 or 128 rows, differs in the last digits of float32, and
the last rows of a product may take another kernel than the first. Divided by a small standard
deviation, such a digit shows in d. So on a CPU the rows are padded to a multiple of `ROWS`, which
is a multiple of the rows that the kernels of all common instruction sets take at once: every row
then runs through the same kernel, on one thread (`scircuit.tracing.hardware.parallel`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

Rows = TypeVar("Rows", bound="Tensor | tuple[Tensor, ...]")

ROWS = 96


def padded_length(rows: int, multiple: int = ROWS) -> int:
    """The smallest multiple that holds so many rows."""
    return -(-rows // multiple) * multiple


def padded_widths(sizes: np.ndarray) -> np.ndarray:
    """Sizes rounded up to four widths for each power of two: at most a quarter more."""
    step = np.maximum(2 ** np.floor(np.log2(sizes)).astype(int) // 4, 1)
    return -(-sizes // step) * step


def pad_rows(x: Tensor, length: int) -> Tensor:
    """Rows [N, ...] and further ones, whose values do not matter, until there are `length`.

    Where the memory of `x` goes on after its rows, as in results of `by_row`, nothing is copied; so
    the rows returned are to be read only.
    """
    missing = length - len(x)
    if not missing:
        return x
    end = x.storage_offset() + length * x.stride(0)
    if x.is_contiguous() and end * x.element_size() <= x.untyped_storage().nbytes():
        return x.as_strided((length, *x.shape[1:]), x.stride())
    return torch.cat([x, x[:1].expand(missing, *x.shape[1:])])


def repeat_rows(x: Tensor, times: int) -> Tensor:
    """Copies [times, S, d] of rows [S, d], in memory that `pad_rows` need not copy."""
    count = times * len(x)
    memory = x.new_empty(padded_length(count), *x.shape[1:])
    memory[count:] = 0
    return memory[:count].unflatten(0, (times, len(x))).copy_(x)


def by_row(function: Callable[..., Rows], x: Tensor, *others: Tensor) -> Rows:
    """A function of rows that treats each on its own, on padded rows.

    Parameters
    ----------
    function
        Takes [M, ...] tensors of equally many rows; gives one such tensor or a tuple of them.
    x
        [..., d]; its leading dimensions are the rows, and those of the result.
    others
        Further arguments with the leading dimensions of `x`.
    """
    leading = x.shape[:-1]
    count = leading.numel()
    if x.device.type != "cpu" or not count:
        return function(x, *others)
    length = padded_length(count)
    rows = (pad_rows(t.reshape(count, *t.shape[len(leading) :]), length) for t in (x, *others))
    found = function(*rows)
    if isinstance(found, Tensor):
        return cast(Rows, found[:count].unflatten(0, leading))
    return cast(Rows, tuple(t[:count].unflatten(0, leading) for t in found))
