"""A table as a person reads it in a terminal, or as a program does.

Control characters in values are shown as such in a terminal, and a line break does not end a line.
For people a first column ``section`` becomes headings, one table under each. A table that is wider
than the screen gives up what says nothing: columns without any value are named below it, and
columns with one value in every row stand above it once.
"""

from __future__ import annotations

import json
import math
import sys
from io import StringIO
from typing import TYPE_CHECKING

from scircuit.core.terminal import in_lines, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from rich.console import Console
    from rich.table import Table

_WIDTH = 200  # where there is no screen


def render(frame: pd.DataFrame, shape: str) -> str:
    """Frame as a table for people, or as ``csv`` or ``json`` for programs."""
    if shape == "csv":
        text = frame.to_csv(index=False).rstrip("\n")
        return in_lines(text) if sys.stdout.isatty() else text
    if shape == "json":
        rows = frame.to_dict(orient="records")
        return json.dumps([{str(k): _json_value(v) for k, v in row.items()} for row in rows])
    if frame.empty:
        return "(no rows)"
    from rich.console import Console

    terminal = sys.stdout.isatty()
    out = StringIO()
    console = Console(
        file=out,
        width=None if terminal else _WIDTH,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )
    shared, rest = (
        _one_value(frame)
        if frame.columns[0] == "section" and _too_wide(frame, console)
        else ({}, frame)
    )
    _line(console, shared)
    if rest.columns[0] != "section":
        _show(rest, console)
    else:
        for number, (name, rows) in enumerate(rest.groupby("section", sort=False)):
            console.print(
                ("\n" if number or shared else "") + one_line(name), style="bold underline"
            )
            _show(
                rows.drop(columns="section").loc[
                    :, lambda part: [not _empty(part[c]) for c in part]
                ],
                console,
            )
    return out.getvalue().rstrip("\n")


def _json_value(value: object) -> object:
    """A cell as JSON holds it: no value and no number are null, all digits are kept."""
    if isinstance(value, dict):
        return {str(k): _json_value(v) for k, v in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, (list, tuple, set)):
        return [_json_value(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value if isinstance(value, (str, int, bool)) else str(value)


def _show(frame: pd.DataFrame, console: Console) -> None:
    nothing: list[str] = []
    if _too_wide(frame, console):
        nothing = [str(c) for c in frame if _empty(frame[c])]
        shared, frame = _one_value(frame.drop(columns=nothing))
        _line(console, shared)
    console.print(_table(frame))
    if nothing:
        console.print(f"no value in any row: {one_line(', '.join(nothing))}", style="dim")


def _line(console: Console, shared: dict[str, str]) -> None:
    if shared:
        console.print(
            one_line(" · ".join(f"{name}: {value}" for name, value in shared.items())),
            style="dim",
            soft_wrap=True,
        )


def _one_value(frame: pd.DataFrame) -> tuple[dict[str, str], pd.DataFrame]:
    """Texts that all of several rows share, by column, and the frame without these columns."""
    shared = {
        str(c): cells[0]
        for c in frame
        if frame[c].dtype.kind not in "iuf"
        and len(set(cells := [_cell(v) for v in frame[c]])) == 1
        and cells[0]
    }
    if len(frame) < 2 or len(shared) == frame.shape[1]:
        return {}, frame
    return shared, frame.drop(columns=list(shared))


def _too_wide(frame: pd.DataFrame, console: Console) -> bool:
    return console.measure(_table(frame)).maximum >= console.width


def _empty(column: Iterable[object]) -> bool:
    return all(_cell(v) == "" for v in column)


def _table(frame: pd.DataFrame) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in frame.columns:
        table.add_column(
            one_line(column),
            justify="right" if frame[column].dtype.kind in "if" else "left",
            overflow="fold",
        )
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(v) for v in row))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return one_line(", ".join(map(str, value)))
    return "" if value is None or type(value).__name__ == "NAType" else one_line(value)
