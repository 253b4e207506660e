"""Asks the graph: a catalogue question by name, or read-only Cypher of one's own, as a pandas
DataFrame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scircuit.core.address import parse
from scircuit.core.errors import UserError
from scircuit.queries.catalogue import find
from scircuit.queries.query_header import Query
from scircuit.queries.query_parameters import complete

if TYPE_CHECKING:
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
    "MATCH (r:Run {id: $run}) WHERE r.method = 'imported' RETURN coalesce(r.lacks, []) AS lacks,"
    " coalesce(r.format, '') AS format"
)
_PLAN_ASKED = re.compile(r"\s*(EXPLAIN|PROFILE)\b", re.IGNORECASE)
_ENDING = "MATCH (f:Feature) WHERE f.id ENDS WITH $ending RETURN f.id AS id ORDER BY id LIMIT 20"


def check(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
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
        if p.type == "feature" and values[p.name] and not _SHORT.fullmatch(values[p.name]):
            try:
                parse(values[p.name])
            except ValueError as error:
                raise UserError(
                    f"query {name!r}: parameter {p.name}: {error}",
                    "copy an address from the answer of 'top_hubs'",
                ) from error
    return values


def query(connection: Connection, name: str, /, **parameters: Any) -> pd.DataFrame:
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
        If the name or a parameter does not fit, names a run or feature that the graph does not
        hold, or asks an imported run for what its source does not give.

    Examples
    --------
    >>> query(connection, "feature_drives", feature="L01/F0042", limit=10)  # doctest: +SKIP
    """
    question = find(name)
    values = _resolve(connection, question, check(name, parameters))
    if annotation := values["run"] if name == "compare_annotation" else values.get("annotation"):
        _check_annotation(connection, annotation)
    if "min_support" in values and values.get("run"):
        _refuse_gaps(connection, values["run"], {"p", "counts", "mean"})
    answer = connection.frame(question.cypher, **values)
    if answer.empty:
        _explain_nothing(connection, question, values)
    return answer


def cypher(
    connection: Connection, text: str, /, *, write: bool = False, **parameters: Any
) -> pd.DataFrame:
    """Run Cypher of one's own; parameters are sent beside the text, never formatted into it.

    Parameters
    ----------
    connection
        An open connection to the graph.
    text
        Cypher that reads. The server's plan is asked first, and whatever would change the graph all
        the same is rolled back.
    write
        Allow the text to change the graph.

    Raises
    ------
    UserError
        If the text would change the graph and `write` is false, or the database refuses it.
    """

    def work(tx: Any) -> pd.DataFrame:
        planned = _PLAN_ASKED.match(text) or tx.run(
            "EXPLAIN " + text, parameters
        ).consume().query_type in ("r", "s", None)
        if not (write or planned):
            raise _refused()
        result = tx.run(text, parameters)
        frame = result.to_df()
        changed = result.consume().counters
        if not write and (changed.contains_updates or changed.contains_system_updates):
            raise _refused()
        return frame

    return connection.write(work)


def _refused() -> UserError:
    return UserError(
        "this statement would change the graph; nothing was changed",
        "ask with MATCH ... RETURN, or pass write=True if you mean it",
    )


def _resolve(connection: Connection, question: Query, values: dict[str, Any]) -> dict[str, Any]:
    """Complete short feature names to addresses."""
    for p in question.parameters:
        short = values[p.name]
        if p.type != "feature" or not short or not _SHORT.fullmatch(short):
            continue
        found = [row["id"] for row in connection.run(_ENDING, ending="/" + short)]
        if len(found) != 1:
            what = "no feature" if not found else f"{len(found)} features"
            raise UserError(
                f"{what} of the graph end in {short!r}",
                f"give the whole address: {', '.join(found[:5]) or 'see top_hubs'}",
            )
        values = {**values, p.name: found[0]}
    return values


def _refuse_gaps(connection: Connection, run: str, needed: set[str]) -> None:
    """Refuse the calibrated rule on imported edges that lack what it is made of."""
    for row in connection.run(_GAPS, run=run):
        missing = sorted(needed & set(row["lacks"]))
        if missing:
            raise UserError(
                f"run {run} was imported from a source ({row['format']}) that does not give:"
                f" {', '.join(missing)}; edges cannot be chosen by q and support there",
                "ask 'imported_edges' for what it gives, 'imported_runs' for what it lacks",
            )


def _check_annotation(connection: Connection, run: str) -> None:
    """Refuse a name that is no run with gene lists or terms; its answers would only look empty."""
    known = [row["id"] for row in connection.run(_ANNOTATED)]
    if run not in known:
        raise UserError(
            f"the graph holds no annotate run or import {run!r}",
            f"annotation is one of: {', '.join(known) or 'none'}",
        )


def _explain_nothing(connection: Connection, question: Query, values: dict[str, Any]) -> None:
    """Tell an empty answer from a question about something that the graph does not hold."""
    for p in question.parameters:
        value = values[p.name]
        if (
            p.type == "feature"
            and value
            and not connection.run("MATCH (f:Feature {id: $id}) RETURN f.id AS id", id=value)
        ):
            raise UserError(
                f"the graph holds no feature {value!r} ({p.name})",
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
                raise UserError(f"the graph holds no run {value!r}", f"its runs are: {listed}")
            if value:
                _refuse_gaps(connection, value, {"p", "counts", "mean", "all_edges", "edges"})
            if not value and not any(
                r["verb"] == "trace" and r["status"] == "complete" for r in runs
            ):
                raise UserError(
                    f"the graph holds no complete trace run; its runs are: {listed}",
                    "trace and load one (scircuit trace), or give run=... of one that was"
                    " interrupted",
                )
