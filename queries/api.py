"""Asks the graph a catalogue question by name, or runs your own read-only Cypher; the answer is a
pandas DataFrame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, LiteralString, cast

from scircuit.core.address import parse
from scircuit.core.edge_rules import DEFAULT
from scircuit.core.errors import UserError
from scircuit.queries.catalogue import find
from scircuit.queries.query_header import Query, Value
from scircuit.queries.query_parameters import complete

if TYPE_CHECKING:
    import neo4j
    import pandas as pd

    from scircuit.ingest.graph.connection import Connection

_SHORT = re.compile(r"L\d{2,3}/F\d{4,7}")
_ANSWERED = (
    "MATCH (r:Run) RETURN r.id AS id, r.verb AS verb, r.status AS status ORDER BY r.started DESC"
    " LIMIT 20"
)
_ANNOTATED = (
    "MATCH (r:Run) WHERE r.verb IN ['annotate', 'import'] RETURN r.id AS id ORDER BY r.started"
    " DESC, id DESC"
)
_GAPS = (
    "MATCH (r:Run {id: $run}) WHERE r.method = 'imported' RETURN coalesce(r.lacks, []) +"
    " ['computed'] AS lacks, coalesce(r.format, '') AS format"
)
_GAP_OF = {"q": "p", "n_pos": "counts", "n_neg": "counts", "mean": "mean"} | dict.fromkeys(
    ("q_computed", "computed_cells", "computed", "q_direct", "direct"), "computed"
)
_NEEDED = {_GAP_OF[name] for name in DEFAULT.columns if name in _GAP_OF}
"""What the default rule compares, in the words of a run's `lacks`."""
_PLAN_ASKED = re.compile(r"\s*(EXPLAIN|PROFILE)\b", re.IGNORECASE)
_ENDING = "MATCH (f:Feature) WHERE f.id ENDS WITH $ending RETURN f.id AS id ORDER BY id LIMIT 20"


def check(name: str, parameters: Mapping[str, object]) -> dict[str, Value]:
    """Check a question and its parameters without a database; return all parameters, defaults
    included.

    Raises
    ------
    UserError
        If the name is not in the catalogue (the message has the closest one), or a parameter does
        not fit.
    """
    question = find(name)
    values = complete(question, parameters)
    for p in question.parameters:
        address = _text(values, p.name)
        if p.type == "feature" and address and not _SHORT.fullmatch(address):
            try:
                parse(address)
            except ValueError as error:
                raise UserError(
                    f"query {name!r}: parameter {p.name}: {error}",
                    "copy an address from the answer of 'top_hubs'",
                ) from error
    return values


def query(connection: Connection, name: str, /, **parameters: object) -> pd.DataFrame:
    """Answer a catalogue question.

    Parameters
    ----------
    connection
        An open connection to the graph.
    name
        Name in the catalogue.
    parameters
        As the question declares them. A feature may be named by the last two parts of its address
        (``L05/F0898``) where that is unique in the graph.

    Returns
    -------
    DataFrame
        The declared columns, in order. A graph question has one column ``path``; see
        `scircuit.queries.graph_export.to_graph`.

    Raises
    ------
    UserError
        If the name or a parameter does not fit, if it names a run or feature that is not in the
        graph, or if it asks for statistics that an imported run does not have.

    Examples
    --------
    >>> query(connection, "feature_drives", feature="L01/F0042", limit=10)  # doctest: +SKIP
    """
    question = find(name)
    values = _resolve(connection, question, check(name, parameters))
    run = _text(values, "run")
    if annotation := run if name == "compare_annotation" else _text(values, "annotation"):
        _check_annotation(connection, annotation)
    if "min_support" in values and run:
        _refuse_gaps(connection, run, _NEEDED)
    answer = connection.frame(question.cypher, **values)
    if answer.empty:
        _explain_nothing(connection, question, values)
    return answer


def cypher(
    connection: Connection, text: str, /, *, write: bool = False, **parameters: object
) -> pd.DataFrame:
    """Run your own Cypher; parameters are sent beside the text, never formatted into it.

    Parameters
    ----------
    connection
        An open connection to the graph.
    text
        Cypher that reads. A statement that the server plans as a write is not run, and any change
        that happens all the same is rolled back.
    write
        Allow the text to change the graph.

    Raises
    ------
    UserError
        If the text would change the graph and `write` is false, or the database refuses it.
    """
    statement = cast("LiteralString", text)  # a user's own text: this is its purpose

    def work(tx: neo4j.ManagedTransaction) -> pd.DataFrame:
        planned = _PLAN_ASKED.match(text) or tx.run(
            "EXPLAIN " + statement, parameters
        ).consume().query_type in ("r", "s", None)
        if not (write or planned):
            raise _refused()
        result = tx.run(statement, parameters)
        frame = result.to_df()
        changed = result.consume().counters
        if not write and (changed.contains_updates or changed.contains_system_updates):
            raise _refused()
        return frame

    return connection.write(work)


def _refused() -> UserError:
    return UserError(
        "this statement would change the graph; nothing was changed",
        "write it as MATCH ... RETURN (in Python, write=True lets it change the graph)",
    )


def _text(values: Mapping[str, Value], name: str) -> str:
    """A parameter that holds a text; empty where the question does not take it."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _resolve(connection: Connection, question: Query, values: dict[str, Value]) -> dict[str, Value]:
    """Complete short feature names to addresses."""
    for p in question.parameters:
        short = _text(values, p.name)
        if p.type != "feature" or not short or not _SHORT.fullmatch(short):
            continue
        found = [row["id"] for row in connection.run(_ENDING, ending="/" + short)]
        if len(found) != 1:
            what = "no feature" if not found else f"{len(found)} features"
            raise UserError(
                f"{what} in the graph with an address that ends in {short!r}",
                f"give the whole address: {', '.join(found[:5]) or 'see top_hubs'}",
            )
        values = {**values, p.name: found[0]}
    return values


def _refuse_gaps(connection: Connection, run: str, needed: set[str]) -> None:
    """Refuse to apply an edge rule to imported edges without the statistics it needs."""
    for row in connection.run(_GAPS, run=run):
        missing = sorted(needed & set(row["lacks"]))
        if missing:
            raise UserError(
                f"run {run} was imported from files ({row['format']}) that do not give:"
                f" {', '.join(missing)}; the {DEFAULT.name} rule needs them to choose edges",
                "use the query 'imported_edges' for its edges as published, and 'imported_runs' for"
                " the list of what is missing",
            )


def _check_annotation(connection: Connection, run: str) -> None:
    """Refuse a name that is no run with gene lists or terms: the answers would just be empty."""
    known = [row["id"] for row in connection.run(_ANNOTATED)]
    if run not in known:
        raise UserError(
            f"there is no annotate run or import {run!r} in the graph",
            f"set annotation to one of: {', '.join(known) or 'none'}",
        )


def _explain_nothing(connection: Connection, question: Query, values: dict[str, Value]) -> None:
    """Tell an empty answer from a question about a run or feature that is not in the graph."""
    for p in question.parameters:
        value = _text(values, p.name)
        if (
            p.type == "feature"
            and value
            and not connection.run("MATCH (f:Feature {id: $id}) RETURN f.id AS id", id=value)
        ):
            raise UserError(
                f"there is no feature {value!r} ({p.name}) in the graph",
                "copy an address from the answer of 'top_hubs' or 'most_active'",
            )
        if p.type == "run":
            runs = connection.run(_ANSWERED)
            listed = ", ".join(f"{r['id']} ({r['status']})" for r in runs) or "none"
            if (
                value
                and value not in {r["id"] for r in runs}
                and not connection.run("MATCH (r:Run {id: $id}) RETURN r.id AS id", id=value)
            ):
                raise UserError(
                    f"there is no run {value!r} in the graph", f"runs in the graph: {listed}"
                )
            if value:
                _refuse_gaps(connection, value, _NEEDED | {"all_edges", "edges"})
            if not value and not any(
                r["verb"] == "trace" and r["status"] == "complete" for r in runs
            ):
                raise UserError(
                    f"there is no complete trace run in the graph; its runs are: {listed}",
                    "run scircuit trace, which loads its result, or name an interrupted run with"
                    " run=...",
                )
