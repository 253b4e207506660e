"""``scircuit query``: ask a catalogue question, or Cypher of your own."""

from __future__ import annotations

from pathlib import Path

import click

import scircuit
from scircuit.cli.command import format_option, study_option
from scircuit.cli.tables import render
from scircuit.core.errors import UserError
from scircuit.workflows.query import parse_pair


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
    help="parameter of the query; repeat for several; the value may be JSON",
)
@format_option
@click.option("--list", "listing", is_flag=True, help="list the catalogue")
def query(
    name: str | None,
    study: Path,
    text: str | None,
    pairs: tuple[str, ...],
    shape: str,
    listing: bool,
) -> None:
    """Ask a catalogue question by NAME, or Cypher of your own with --cypher."""
    if text is not None and not text.strip():
        raise UserError("--cypher is empty", "give a statement: --cypher 'MATCH (n) RETURN n'")
    if listing or (not name and not text):
        _list_catalogue()
        return
    if name and text:
        raise UserError("both a catalogue name and --cypher were given", "give one of them")
    parameters = dict(parse_pair(pair) for pair in pairs)
    if text:
        frame = scircuit.cypher(text, study, **parameters)
    else:
        frame = scircuit.query(str(name), study, **parameters)
    click.echo(render(frame, shape))


def _list_catalogue() -> None:
    from scircuit.queries.catalogue import load_catalogue

    for entry in load_catalogue().values():
        parameters = " ".join(
            f"-p {p.name}={p.default!r}" if p.default not in (None, "") else f"-p {p.name}=..."
            for p in entry.parameters
        )
        click.echo(f"{click.style(entry.name, bold=True)}\n  {entry.question}")
        click.echo(f"  {click.style(parameters, dim=True)}")
