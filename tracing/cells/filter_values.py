"""What a filter ``COLUMN=VALUE[,VALUE...]`` asks for, read against the columns and values of obs.

Columns may hold an equals sign and values a comma, so the text is matched against what is there:
the longest existing column, then the whole rest as one value, then its parts between commas, as
few as possible. Quotes keep a part whole. Numbers match as numbers, ``true`` and ``false`` as
truth values, and ``NA``, ``nan``, ``None`` or nothing as missing, where a column holds these.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scircuit.core.errors import UserError

MAX_VALUES = 30  # values that a message lists
_MISSING = ("", "na", "nan", "none", "null", "<na>")
_COMPARED = 5000  # values among which near ones are looked for


class _Part(NamedTuple):
    """A part of a filter's values: its place in the text, and its content if it is quoted."""

    start: int
    stop: int
    quoted: str | None


def asked_column(text: str, obs: pd.DataFrame) -> tuple[str, str]:
    """Column that a filter names, the longest that exists, and the text of its values.

    Raises
    ------
    UserError
        If the text is no filter, or the column does not exist or cannot be read.
    """
    column, sign, _ = text.partition("=")
    if not sign or not column.strip():
        raise UserError(
            f"filter {text!r} is not COLUMN=VALUE[,VALUE...]", "write it as --where cell_line=K562"
        )
    names = {str(c): c for c in obs.columns}
    unreadable = obs.attrs.get("unreadable", {})
    for place in reversed([i for i, sign in enumerate(text) if sign == "="]):
        for form in (text[:place], text[:place].strip(), _unquoted(text[:place].strip())):
            if form in names:
                return names[form], text[place + 1 :]
            if form in unreadable:
                raise UserError(
                    f"filter {text!r}: obs[{form!r}] cannot be read: {unreadable[form]}",
                    "write the column again (adata.obs[...] = ...; adata.write_h5ad), or choose"
                    " cells by another column",
                )
    near = difflib.get_close_matches(column.strip(), list(names), 1, 0.5)
    has = ", ".join(list(names)[:MAX_VALUES]) or "no column"
    raise UserError(
        f"filter {text!r}: obs has no column {column.strip()!r}; it has {has}",
        f"did you mean {near[0]!r}?" if near else "choose one of these columns",
    )


def asked_values(text: str, values: str, column: pd.Series) -> list[str]:
    """Values of a column, as text, that a filter's text asks for.

    Raises
    ------
    UserError
        If one does not exist.
    """
    known = _Known(column)
    if not values.strip() and known.find("") is None:
        raise UserError(
            f"filter {text!r} is not COLUMN=VALUE[,VALUE...]: it names no value, and no value of"
            f" {column.name} is missing or empty",
            "write it as --where cell_line=K562",
        )
    for whole in (values, values.strip(), _unquoted(values.strip())):
        if (found := known.find(whole)) is not None:
            return found
    parts = _parts(values)
    longest = 1 + max((name.count(",") for name in known.counts), default=0)
    # best[i]: the values of parts i and following, and where the next piece begins
    best: list[tuple[list[str], int] | None] = [None] * len(parts) + [([], len(parts))]
    for i in reversed(range(len(parts))):
        for j in range(min(len(parts), i + longest), i, -1):
            found = known.find(_joined(values, parts[i:j])) if best[j] is not None else None
            if found is not None:
                best[i] = (found, j)
                break
    if not parts or best[0] is None:
        raise _absent(text, values, parts, known, str(column.name))
    accepted, at = [], 0
    while at < len(parts):
        found, at = best[at] or ([], len(parts))
        accepted += found
    return list(dict.fromkeys(accepted))


class _Known:
    """Values of a column, and how a written value is found among them."""

    def __init__(self, column: pd.Series) -> None:
        self.counts = cells_per_value(column)
        self.missing = bool(column.isna().any())
        plain = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
        held = [] if plain.dtype != object else plain.dropna().tolist()
        self.truth = pd.api.types.is_bool_dtype(plain.dtype) or (
            bool(held) and all(isinstance(v, bool | np.bool_) for v in held)
        )
        self.number = not self.truth and pd.api.types.is_numeric_dtype(plain.dtype)
        self.stripped: dict[str, list[str]] = {}
        for name in self.counts:
            self.stripped.setdefault(name.strip(), []).append(name)

    def find(self, value: str) -> list[str] | None:
        """Values that a text means; None where there is none."""
        if value in self.counts:
            return [value]
        value = value.strip()
        if value in self.stripped:
            return self.stripped[value]
        if self.truth and value.capitalize() in self.counts:
            return [value.capitalize()]
        if self.number and (number := _number(value)) is not None:
            found = [name for name in self.counts if _number(name) == number]
            if found:
                return found
        if self.missing and value.lower() in _MISSING:
            return ["NA"]
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if np.isnan(value) else value


def _unquoted(text: str) -> str:
    same = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if same else text


def _parts(values: str) -> list[_Part]:
    """Parts between commas; a comma inside quotes that surround a part does not end it. Parts with
    nothing in them are left out.
    """
    parts, at = [], 0
    while at <= len(values):
        begin = at + len(values[at:]) - len(values[at:].lstrip())
        stop = values.find(",", at)
        stop = len(values) if stop < 0 else stop
        quoted = None
        if begin < len(values) and values[begin] in "\"'":
            close = begin + 1
            while (close := values.find(values[begin], close)) >= 0:
                rest = values[close + 1 :].lstrip()
                if not rest or rest[0] == ",":
                    quoted = values[begin + 1 : close]
                    stop = len(values) - len(rest)
                    break
                close += 1
        if quoted is not None or values[at:stop].strip():
            parts.append(_Part(at, stop, quoted))
        at = stop + 1
    return parts


def _joined(values: str, parts: Sequence[_Part]) -> str:
    if len(parts) == 1 and parts[0].quoted is not None:
        return parts[0].quoted
    return values[parts[0].start : parts[-1].stop]


def _absent(
    text: str, values: str, parts: Sequence[_Part], known: _Known, column: str
) -> UserError:
    """The first part that is no value, and the values that are near."""
    lost = next((p for p in parts if known.find(_joined(values, [p])) is None), None)
    value = _joined(values, [lost]).strip() if lost else values.strip()
    candidates = list(known.counts)[:_COMPARED]
    near = difflib.get_close_matches(values.strip(), candidates, 1, 0.8)
    near = near or difflib.get_close_matches(value, candidates, 1, 0.5)
    has = ", ".join(f"{v} ({n:,})" for v, n in list(known.counts.items())[:MAX_VALUES])
    over = len(known.counts) - MAX_VALUES
    more = f" and {over:,} more" if over > 0 else ""
    return UserError(
        f"filter {text!r}: no cell has {column} = {value!r}; {column} holds {has}{more}",
        f"did you mean {near[0]!r}?" if near else "choose one of these values",
    )


def as_text(values: pd.Series) -> np.ndarray:
    """Values as text: missing ones as ``NA``, whole numbers without a fraction."""
    dtype = values.dtype
    dtype = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
    short = np.float32 if dtype == np.float32 else np.float16 if dtype == np.float16 else float

    def written(value: object) -> str:
        if value is None or value is pd.NA or value is pd.NaT:
            return "NA"
        if isinstance(value, float | np.floating):
            if np.isnan(value):
                return "NA"
            return str(int(value)) if float(value).is_integer() else str(short(value))
        return str(value)

    codes, distinct = pd.factorize(
        np.asarray(values.astype(object), dtype=object), use_na_sentinel=False
    )
    return np.array([written(v) for v in distinct], dtype=object)[codes]


def cells_per_value(values: pd.Series) -> dict[str, int]:
    """Cells per value as text, the most frequent first, then by name."""
    names, counts = np.unique(as_text(values).astype(str), return_counts=True)
    return {str(names[i]): int(counts[i]) for i in np.lexsort((names, -counts))}
