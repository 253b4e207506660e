"""Columns of obs and var by their usual names, however these are written.

``cell_line``, ``Cell line``, ``cell.line``, ``cell-line`` and ``CellLine`` are one name: letters
and digits count, in any case.
"""

from __future__ import annotations

from collections.abc import Iterable


def plain(name: object) -> str:
    """Letters and digits of a name, in lower case."""
    return "".join(c for c in str(name).casefold() if c.isalnum())


def named(columns: Iterable[object], names: Iterable[str]) -> list[str]:
    """Columns that have one of these names, in the order of the names.

    Parameters
    ----------
    columns
        As they are written in the file.
    names
        As they are usually written.
    """
    written: dict[str, list[str]] = {}
    for column in columns:
        written.setdefault(plain(column), []).append(str(column))
    wanted = dict.fromkeys(plain(name) for name in names)
    return [column for name in wanted for column in written.get(name, [])]
