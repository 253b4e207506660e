"""``scircuit query``: ask a catalogue question, or Cypher of your own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scircuit.cli.command import study_option
from scircuit.cli.tables import render
from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.execution.database import connect

if TYPE_CHECKING:
    import pandas as pd


def query(name: str, study: Path | str = DEFAULT_STUDY, **parameters: Any) -> pd.DataFrame:
    """Answer a catalogue question.

    Parameters
    ----------
    name
        Name in the catalogue; ``scircuit query --list`` shows them all.
    parameters
        As the question declares them.

    Raises
    ------
    UserError
        If the name or a parameter is unknown, or the database cannot be reached.
    """
    from scircuit.queries import api

    api.check(name, parameters)
    with connect(study) as connection:
        return api.query(connection, name, **parameters)


def cypher(text: str, study: Path | str = DEFAULT_STUDY, **parameters: Any) -> pd.DataFrame:
    """Run read-only Cypher; `parameters` are sent beside the text, never formatted into it."""
    from scircuit.queries import api

    with connect(study) as connection:
        return api.cypher(connection, text, **parameters)


@click.command("query")
@click.argument("name", required=False)
@study_option
@click.option("--cypher", "text", help="your own read-only Cypher instead of a catalogue name")
@click.option(
    "-p",
    "--parameter",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="parameter of the query; repeat; JSON values are understood",
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@click.option("--list", "listing", is_flag=True, help="list the catalogue")
def command(
    name: str | None,
    study: Path,
    text: str | None,
    pairs: tuple[str, ...],
    shape: str,
    listing: bool,
) -> None:
    """Ask a catalogue question by NAME, or Cypher of your own with --cypher."""
    from scircuit.queries.catalogue import load_catalogue

    if listing or (not name and not text):
        for entry in load_catalogue().values():
            shown = " ".join(
                f"-p {p.name}={p.default!r}" if p.default not in (None, "") else f"-p {p.name}=..."
                for p in entry.parameters
            )
            click.echo(
                f"{click.style(entry.name, bold=True)}\n  {entry.question}\n "
                f" {click.style(shown, dim=True)}"
            )
        return
    if name and text:
        raise UserError("both a catalogue name and --cypher were given", "give one of them")
    parameters = dict(pair(p) for p in pairs)
    frame = cypher(text, study, **parameters) if text else query(str(name), study, **parameters)
    click.echo(render(frame, shape))


def pair(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; JSON values are understood."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"parameter {text!r} has no '='", "write it as -p name=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
