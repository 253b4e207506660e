"""A part of the graph as GraphML, which Gephi, Cytoscape, igraph and networkx open.

Nodes carry ``kind`` and edges ``type``, ``run`` and, where the kind has one, ``weight`` (see
`scircuit.queries.graph_export.graph_part`). GraphML has no lists: their items are joined by ``";
"``. What is unknown or empty is left out. The file is written line by line, so its size is limited
by the disk only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from scircuit.queries.graph_export.graph_part import (
    Part,
    Properties,
    Tables,
    clashing_ids,
    plain_ids,
    weight_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!-- written by scircuit export -->\n'
    f'<graphml xmlns="{_NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    f' xsi:schemaLocation="{_NAMESPACE} {_NAMESPACE}/1.0/graphml.xsd">\n'
)


def write_graphml(part: Part, path: Path) -> None:
    """Write the file; the caller makes it final."""
    clashes = clashing_ids(part)
    keys: dict[tuple[str, str], tuple[str, str]] = {}
    for domain, kinds in (("node", part.nodes), ("edge", part.edges)):
        for kind, tables in kinds.items():
            for table in tables():
                for field in table.schema:
                    if field.name not in ("id", "source", "target"):
                        _declare(keys, domain, field.name, _type(field.type))
            if domain == "edge" and weight_of(kind)[0]:
                _declare(keys, "edge", "weight", "double")
        _declare(keys, domain, "kind" if domain == "node" else "type", "string")
    with path.open("w", encoding="utf-8") as out:
        out.write(_HEAD)
        for (domain, name), (key, kind) in keys.items():
            out.write(
                f'<key id="{key}" for="{domain}" attr.name={quoteattr(name)}'
                f' attr.type="{kind}">{_description(domain, name, part)}</key>\n'
            )
        out.write(f'<graph id={quoteattr(part.name)} edgedefault="directed">\n')
        for label, tables in part.nodes.items():
            _nodes(out, label, tables, keys, clashes)
        number = 0
        for kind, tables in part.edges.items():
            number = _edges(out, kind, tables, keys, clashes, number)
        out.write("</graph>\n</graphml>\n")


def _declare(
    keys: dict[tuple[str, str], tuple[str, str]], domain: str, name: str, kind: str
) -> None:
    """One key a name; where kinds disagree on the type, the wider one."""
    known = keys.get((domain, name))
    if known is None:
        keys[domain, name] = (f"{domain[0]}{len(keys)}", kind)
    elif known[1] != kind:
        keys[domain, name] = (
            known[0],
            "double" if {known[1], kind} == {"long", "double"} else "string",
        )


def _type(of: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(of):
        return "boolean"
    if pa.types.is_integer(of):
        return "long"
    return "double" if pa.types.is_floating(of) else "string"


def _description(domain: str, name: str, part: Part) -> str:
    if domain == "edge" and name == "weight":
        said = "; ".join(
            dict.fromkeys(
                f"{k.split('-')[1]}: {weight_of(k)[1]}" for k in part.edges if weight_of(k)[0]
            )
        )
        return f"<desc>{escape(said)}</desc>"
    return ""


def _text(value: object, kind: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return "INF" if value > 0 else "-INF"
        return repr(value) if kind == "double" or value != int(value) else str(int(value))
    if isinstance(value, (list, tuple)):
        value = "; ".join(map(str, value))
    return escape(_FORBIDDEN.sub(" ", str(value)))


def _data(row: Properties, domain: str, keys: dict[tuple[str, str], tuple[str, str]]) -> str:
    parts = []
    for name, value in row.items():
        if value is None or value in ("", []) or (isinstance(value, float) and value != value):
            continue
        key, kind = keys[domain, name]
        parts.append(f'<data key="{key}">{_text(value, kind)}</data>')
    return "".join(parts)


def _nodes(
    out: IO[str],
    label: str,
    tables: Tables,
    keys: dict[tuple[str, str], tuple[str, str]],
    clashes: dict[str, set[str]],
) -> None:
    for table in tables():
        for batch in table.to_batches(max_chunksize=10_000):
            rows = batch.to_pylist()
            ids = plain_ids([row.pop("id") for row in rows], label, clashes)
            for row, key in zip(rows, ids, strict=True):
                out.write(
                    "<node"
                    f" id={_attribute(key)}>{_data({'kind': label, **row}, 'node', keys)}</node>\n"
                )


def _edges(
    out: IO[str],
    kind: str,
    tables: Tables,
    keys: dict[tuple[str, str], tuple[str, str]],
    clashes: dict[str, set[str]],
    number: int,
) -> int:
    source, of, target = kind.split("-")
    weight = weight_of(kind)[0]
    for table in tables():
        for batch in table.to_batches(max_chunksize=10_000):
            rows = batch.to_pylist()
            ends = [
                plain_ids([row.pop(end) for row in rows], label, clashes)
                for end, label in (("source", source), ("target", target))
            ]
            for row, one, other in zip(rows, *ends, strict=True):
                first = {"type": of} | (
                    {"weight": row[weight]} if row.get(weight) is not None else {}
                )
                out.write(
                    f'<edge id="e{number}" source={_attribute(one)}'
                    f" target={_attribute(other)}>{_data(first | row, 'edge', keys)}</edge>\n"
                )
                number += 1
    return number


def _attribute(text: str) -> str:
    return quoteattr(_FORBIDDEN.sub(" ", text), {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})
