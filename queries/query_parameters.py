"""Checks the parameters of a question before any database is asked, and completes them with the
defaults.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from scircuit.core.errors import UserError
from scircuit.queries.query_header import Parameter, Query, Value

_EXPECTED = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "list[str]": "a list of texts",
    "run": "the id of a run, such as 'trace-0123456789'",
    "feature": "an address, such as 'model/dictionary/L05/F0898', or its last two parts",
}


def _wrong(query: Query, parameter: Parameter, value: object, expected: str) -> UserError:
    return UserError(
        f"query {query.name!r}: parameter {parameter.name}={value!r} ({type(value).__name__});"
        f" expected {expected}",
        f"{parameter.name}: {parameter.doc}",
    )


def _coerce(query: Query, parameter: Parameter, value: object) -> Value:
    """Value of the declared type: numpy scalars, whole floats and comma-separated lists are
    understood.
    """
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:
        value = item()
    expected = _EXPECTED[parameter.type]
    if parameter.type == "list[str]":
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, Mapping) or not isinstance(value, Iterable):
            raise _wrong(query, parameter, value, expected)
        values = list(value)
        if not values or not all(isinstance(v, str) for v in values):
            raise _wrong(query, parameter, value, expected + ", at least one")
        return values
    if parameter.type in ("int", "float"):
        whole = parameter.type == "int"
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or (whole and not float(value).is_integer())
        ):
            raise _wrong(query, parameter, value, expected)
        low, high = parameter.low, parameter.high
        if (
            (low is not None and value < low)
            or (high is not None and value > high)
            or value != value
        ):
            raise _wrong(query, parameter, value, f"{expected} from {low:g} to {high:g}")
        return int(value) if whole else float(value)
    if not isinstance(value, str):
        value = str(value) if parameter.type == "feature" and isinstance(value, tuple) else value
    if not isinstance(value, str):
        raise _wrong(query, parameter, value, expected)
    return value


def complete(query: Query, given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters of the query: the given ones checked, the others by default.

    Raises
    ------
    UserError
        If a parameter is unknown, missing, of the wrong type or out of range; the message names
        what the query takes.
    """
    declared = {p.name: p for p in query.parameters}
    takes = (
        ", ".join(
            f"{p.name}: {p.type}" + ("" if p.required else f" = {p.default!r}")
            for p in query.parameters
        )
        or "no parameters"
    )
    unknown = sorted(set(given) - set(declared))
    if unknown:
        close = difflib.get_close_matches(unknown[0], declared, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(
            f"query {query.name!r} has no parameter {', '.join(unknown)}", f"{hint}It takes {takes}"
        )
    missing = [p.name for p in query.parameters if p.required and p.name not in given]
    if missing:
        example = next(p for p in query.parameters if p.name == missing[0]).example
        raise UserError(
            f"query {query.name!r} needs the parameter {', '.join(missing)}",
            f"add it, such as {missing[0]}={example!r}. It takes {takes}",
        )
    values: dict[str, Value] = {}
    for name, p in declared.items():
        if name in given:
            values[name] = _coerce(query, p, given[name])
        elif p.default is not None:
            values[name] = p.default
    return values
