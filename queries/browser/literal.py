"""Writes values as Cypher literals, for the Browser's saved copies only, where nobody sets
parameters.

The values are this project's own defaults and examples from the catalogue's headers. Nothing that a
user types goes through here: queries from Python and the command line send their parameters beside
the text.
"""

from __future__ import annotations

import re

from scircuit.queries.query_header import Query

_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def literal(value: object) -> str:
    """Cypher literal of a text, number, truth value or list of these.

    Raises
    ------
    ValueError
        For any other value, and for numbers that are not finite.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.translate(_ESCAPES) + "'"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    raise ValueError(
        f"{value!r} ({type(value).__name__}) has no Cypher literal here; expected a text, a finite"
        " number, a truth value or a list"
    )


def filled(query: Query) -> str:
    """The query's Cypher with every parameter replaced by its default, or its example where it has
    none.
    """
    values = {p.name: literal(p.shown) for p in query.parameters}
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], query.cypher)
