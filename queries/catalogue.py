"""The catalogue: every ``.cypher`` file of this room as a `Query`, and the page that lists them."""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.queries.query_header import Column, Parameter, Query, parse

__all__ = ["FOLDERS", "Column", "Parameter", "Query", "catalogue_page", "find", "load_catalogue"]

FOLDER = Path(__file__).parent / "cypher"
FOLDERS = (
    "Start here",
    "Hubs",
    "Features",
    "Knowledge",
    "Edges",
    "Paths",
    "Regulation",
    "Interventions",
    "Runs and controls",
)


@cache
def load_catalogue() -> dict[str, Query]:
    """All queries, by folder in the order of `FOLDERS`, then by name.

    Raises
    ------
    ValueError
        If the header of a file is not valid.
    """
    found = [parse(p.read_text(encoding="utf-8"), p.name) for p in FOLDER.glob("*.cypher")]
    unknown = sorted({q.folder for q in found} - set(FOLDERS))
    if unknown:
        raise ValueError(f"queries are in the folders {unknown}; expected {', '.join(FOLDERS)}")
    return {
        q.name: q for q in sorted(found, key=lambda q: (FOLDERS.index(q.folder), q.graph, q.name))
    }


def find(name: str) -> Query:
    """One query by name.

    Raises
    ------
    UserError
        If there is none; the message has the closest name and the whole list.
    """
    catalogue = load_catalogue()
    if name in catalogue:
        return catalogue[name]
    close = difflib.get_close_matches(name, catalogue, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UserError(
        f"no query {name!r} in the catalogue", f"{hint}The catalogue has: {', '.join(catalogue)}"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _range(parameter: Parameter) -> str:
    if parameter.low is None or parameter.high is None:
        return ""
    return f" ({parameter.low:g} to {parameter.high:g})"


def _section(query: Query) -> list[str]:
    arguments = "".join(f", {p.name}={p.example!r}" for p in query.parameters if p.required)
    lines = [
        f"### `{query.name}`",
        "",
        f"**{query.title}.** {query.question}",
        "",
        *query.notes,
        *([""] if query.notes else []),
    ]
    lines += ["```python", f'sc.query("{query.name}"{arguments})', "```", ""]
    if query.parameters:
        lines += ["| parameter | type | default | meaning |", "|---|---|---|---|"]
        for p in query.parameters:
            default = "required" if p.required else f"`{json.dumps(p.default)}`"
            example = f", such as `{json.dumps(p.example)}`" if p.example is not None else ""
            lines.append(
                f"| `{p.name}` | {p.type} | {default} | {_cell(p.doc)}{_range(p)}{_cell(example)} |"
            )
        lines.append("")
    if query.graph:
        return [
            *lines,
            (
                "Returns paths, at most 300 nodes: a picture in the Browser,"
                " `scircuit.queries.graph_export.to_graph` turns it into networkx or igraph."
            ),
            "",
        ]
    lines += ["| column | meaning |", "|---|---|"]
    return [*lines, *(f"| `{c.name}` | {_cell(c.doc)} |" for c in query.columns), ""]


def catalogue_page() -> str:
    """Markdown page of the whole catalogue, for ``docs/queries.md``."""
    lines = [
        "# Queries",
        "",
        "Generated from `queries/cypher/*.cypher`; change those files, not this page.",
        "",
        (
            "Each question is a saved query in the Neo4j Browser, `scircuit query NAME -p"
            " key=value` on the command line and"
        ),
        "`sc.query(NAME, key=value)` in Python, which gives a DataFrame.",
        "",
        (
            "**Support**: ablating the source lowers the target. **Suppress**: ablating the source"
            " raises it. An edge by the *calibrated* rule"
        ),
        (
            "has `q` at most `$q`, a non-zero effect in at least `$min_support` cells, and a mean"
            " effect of at least `$min_effect` of what the target has on"
        ),
        "average where it fires; thresholds are chosen in the query, not at tracing time.",
        (
            "`halves` says in how many of the two halves of the cells the edge shows the same sign"
            " with p <= 0.05; it is empty where a half has fewer than six"
        ),
        (
            "cells with an effect. Edges were chosen on both halves, so agreement is a stricter"
            " rule, not a replication."
        ),
        "",
        (
            "Gene lists, own terms and cell types come from one annotate run, never from several at"
            " once: the newest complete one of the dictionary, or that named"
        ),
        (
            "in `annotation`. A feature that this run could not list has none. Regulations are"
            " those of one `library`."
        ),
        "",
    ]
    catalogue = load_catalogue()
    for folder in FOLDERS:
        lines += [f"## {folder}", ""]
        for query in catalogue.values():
            if query.folder == folder:
                lines += _section(query)
    return "\n".join(lines).rstrip() + "\n"
