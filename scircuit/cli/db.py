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
from scircuit.core.errors import quoted
from scircuit.core.study import Study
from scircuit.workflows import database

if TYPE_CHECKING:
    from scircuit.ingest.server import ServerInfo


@click.group("db")
def db() -> None:
    """Start, stop, dump, load and check the Neo4j of a study.

    NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD select your own server for all other verbs; then
    these commands are not needed.
    """


def password_option(command: Any) -> Any:
    """Add ``--show-password``."""
    text = "print the password too; it stands in the file `password` of the server's folder"
    return click.option("--show-password", is_flag=True, help=text)(command)


def password_line(info: ServerInfo, study: Path, show_password: bool) -> str:
    """The password, or how to see it."""
    return (
        info.password
        if show_password
        else f"scircuit db status --show-password --study {quoted(study)}"
    )


def show(info: ServerInfo, as_json: bool, study: Path, show_password: bool) -> None:
    """Print the state of the server."""
    if as_json:
        click.echo(json.dumps(database.describe(info, show_password=show_password)))
    elif info.running:
        click.echo(
            f"Neo4j {info.version} is running (pid {info.pid})\n"
            f"  Browser   {info.browser}\n"
            f"  Bolt      {info.uri}\n"
            f"  user      {info.user}\n"
            f"  password  {password_line(info, study, show_password)}\n"
            f"  home      {info.home}\n"
            f"  stop it   scircuit db stop --study {quoted(study)}"
        )
    else:
        click.echo(
            f"Neo4j is not running\n  home      {info.home}\n"
            f"  start it  scircuit db start --study {quoted(study)}"
        )


@db.command("start")
@options_of(ServerConfig)
@study_option
@password_option
@json_option
def start(study: Path, as_json: bool, show_password: bool, **values: Any) -> None:
    """Start the server (downloads it on first use) and say how to reach it."""
    info = database.start(study, build(ServerConfig, values))
    show(info, as_json, study, show_password)


@db.command("stop")
@study_option
def stop(study: Path) -> None:
    """Stop the server cleanly."""
    click.echo("stopped" if database.stop(study) else "it was not running")


@db.command("status")
@study_option
@password_option
@json_option
def status(study: Path, as_json: bool, show_password: bool) -> None:
    """Say whether the server runs and how to reach it."""
    show(database.status(study), as_json, study, show_password)


@db.command("browser")
@study_option
@password_option
@click.option("--print", "only_print", is_flag=True, help="print the address, do not open it")
def browser(study: Path, only_print: bool, show_password: bool) -> None:
    """Open the Neo4j Browser with style, saved queries and guide."""
    Study(study).require("it has no server")
    info = database.start(study)
    password = password_line(info, study, show_password)
    click.echo(f"{info.browser}\n  user      {info.user}\n  password  {password}")
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
    click.echo(f"loaded; start it: scircuit db start --study {quoted(study)}")


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
