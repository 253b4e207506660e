"""``scircuit db``: the Neo4j of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scircuit.cli.command import json_option, study_option
from scircuit.cli.options import options_of
from scircuit.core.build_config import build
from scircuit.core.config import ServerConfig
from scircuit.workflows import database

if TYPE_CHECKING:
    from scircuit.ingest.server import ServerInfo


@click.group("db")
def db() -> None:
    """Start, stop, dump, load and check the Neo4j of a study.

    NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD select your own server for all other verbs; then
    these commands are not needed.
    """


def show(info: ServerInfo, as_json: bool, study: Path) -> None:
    """Print the state of the server."""
    if as_json:
        click.echo(json.dumps(database.describe(info)))
    elif info.running:
        click.echo(
            f"Neo4j {info.version} is running (pid {info.pid})\n"
            f"  Browser   {info.browser}\n"
            f"  Bolt      {info.uri}\n"
            f"  user      {info.user}\n"
            f"  password  {info.password}\n"
            f"  home      {info.home}\n"
            f"  stop it   scircuit db stop --study {study}"
        )
    else:
        click.echo(
            f"Neo4j is not running\n  home      {info.home}\n"
            f"  start it  scircuit db start --study {study}"
        )


@db.command("start")
@options_of(ServerConfig)
@study_option
@json_option
def start(study: Path, as_json: bool, **values: Any) -> None:
    """Start the server (downloads it on first use) and say how to reach it."""
    show(database.start(study, build(ServerConfig, values)), as_json, study)


@db.command("stop")
@study_option
def stop(study: Path) -> None:
    """Stop the server cleanly."""
    click.echo("stopped" if database.stop(study) else "it was not running")


@db.command("status")
@study_option
@json_option
def status(study: Path, as_json: bool) -> None:
    """Say whether the server runs and how to reach it."""
    show(database.status(study), as_json, study)


@db.command("browser")
@study_option
@click.option("--print", "only_print", is_flag=True, help="print the address, do not open it")
def browser(study: Path, only_print: bool) -> None:
    """Open the Neo4j Browser with style, saved queries and guide."""
    info = database.start(study)
    click.echo(f"{info.browser}\n  user      {info.user}\n  password  {info.password}")
    if not only_print:
        click.launch(info.browser)


@db.command("dump")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@study_option
def dump(folder: Path, study: Path) -> None:
    """Stop the server and write a dump of the graph into FOLDER."""
    click.echo(database.dump(folder, study))


@db.command("load")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@study_option
def load(folder: Path, study: Path) -> None:
    """Stop the server and replace the graph by the dump in FOLDER."""
    database.load_dump(folder, study)
    click.echo(f"loaded; start it: scircuit db start --study {study}")


@db.command("rebuild")
@study_option
def rebuild(study: Path) -> None:
    """Build the graph anew from all runs on disk by bulk import: the fastest first load."""
    built, runs = database.rebuild(study)
    click.echo(
        f"the graph holds {built.nodes:,} nodes and {built.relationships:,} relationships"
        f" of {runs} runs"
    )


@db.command("check")
@study_option
def check(study: Path) -> None:
    """Stop the server and check the consistency of its store."""
    click.echo(database.check_store(study))
