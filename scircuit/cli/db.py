"""``scircuit db``: the Neo4j of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from scircuit.cli.command import study_option
from scircuit.cli.options import options_of
from scircuit.core.build_config import build
from scircuit.core.config import ServerConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.core.study import Study
from scircuit.execution.database import connect, start_server


@click.group("db")
def command() -> None:
    """Start, stop, dump, load and check the Neo4j of a study.

    NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD select your own server for all other verbs; then
    these commands are not needed.
    """


def describe(info: Any) -> dict[str, Any]:
    """What a person or a program needs to reach the server."""
    return {
        "running": info.running,
        "uri": info.uri,
        "user": info.user,
        "password": info.password,
        "browser": info.browser,
        "version": info.version,
        "pid": info.pid,
        "home": str(info.home),
    }


def show(info: Any, as_json: bool, study: Path) -> None:
    """Print the state of the server."""
    if as_json:
        click.echo(json.dumps(describe(info)))
    elif info.running:
        click.echo(
            f"Neo4j {info.version} is running (pid {info.pid})\n  Browser   {info.browser}\n  Bolt "
            f"     {info.uri}\n  user      {info.user}\n  password  {info.password}\n  home     "
            f" {info.home}\n  stop it   scircuit db stop --study {study}"
        )
    else:
        click.echo(
            f"Neo4j is not running\n  home      {info.home}\n  start it  scircuit db start --study"
            f" {study}"
        )


@command.command("start")
@options_of(ServerConfig)
@study_option
@click.option("--json", "as_json", is_flag=True, help="print as one JSON object")
def start(study: Path, as_json: bool, **values: Any) -> None:
    """Start the server (downloads it on first use) and say how to reach it."""
    show(start_server(Study(study), build(ServerConfig, values)), as_json, study)


@command.command("stop")
@study_option
def stop(study: Path) -> None:
    """Stop the server cleanly."""
    from scircuit.ingest import server

    click.echo("stopped" if server.stop(Study(study).server_home) else "it was not running")


@command.command("status")
@study_option
@click.option("--json", "as_json", is_flag=True, help="print as one JSON object")
def status(study: Path, as_json: bool) -> None:
    """Say whether the server runs and how to reach it."""
    from scircuit.ingest import server

    show(server.status(Study(study).server_home), as_json, study)


@command.command("browser")
@study_option
@click.option("--print", "only_print", is_flag=True, help="print the address instead of opening it")
def browser(study: Path, only_print: bool) -> None:
    """Open the Neo4j Browser with style, saved queries and guide."""
    info = start_server(Study(study))
    click.echo(f"{info.browser}\n  user      {info.user}\n  password  {info.password}")
    if not only_print:
        click.launch(info.browser)


def _stopped(study: Path) -> Path:
    from scircuit.ingest import server

    home = Study(study).server_home
    if not home.exists():
        raise UserError(
            f"study {study} has no local server yet", f"start it: scircuit db start --study {study}"
        )
    if server.status(home).running:
        say("stopping the server")
        server.stop(home)
    return home


@command.command("dump")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@study_option
def dump(folder: Path, study: Path) -> None:
    """Stop the server and write a dump of the graph into FOLDER."""
    from scircuit.ingest import server

    click.echo(server.dump(_stopped(study), folder))


@command.command("load")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@study_option
def load(folder: Path, study: Path) -> None:
    """Stop the server and replace the graph by the dump in FOLDER."""
    from scircuit.ingest import server

    server.load_dump(_stopped(study), folder)
    click.echo(f"loaded; start it: scircuit db start --study {study}")


@command.command("rebuild")
@study_option
def rebuild(study: Path) -> None:
    """Build the graph anew from all runs on disk by bulk import: the fastest first load."""
    from scircuit.ingest.graph.bulk_import import bulk_import
    from scircuit.ingest.graph.loader import prepare

    place = Study(study)
    folders = [place.run_folder(m.run) for m in place.manifests()]
    if not folders:
        raise UserError(f"study {study} has no runs", "trace first: scircuit trace --help")
    start_server(place)  # makes the home, its password and its ports
    report = bulk_import(folders, _stopped(study))
    start_server(place)
    with connect(study) as connection:
        prepare(connection)  # bulk import cannot create constraints
    click.echo(
        f"the graph holds {report.nodes:,} nodes and {report.relationships:,} relationships of"
        f" {len(folders)} runs"
    )


@command.command("check")
@study_option
def check(study: Path) -> None:
    """Stop the server and check the consistency of its store."""
    from scircuit.ingest import server

    click.echo(server.check(_stopped(study)))
