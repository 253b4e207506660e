"""The Neo4j of a study: connect, start, stop, dump, load, rebuild, check."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.config import DEFAULT_STUDY, ServerConfig
from scircuit.core.errors import UserError, quoted
from scircuit.core.progress import Progress, say
from scircuit.core.run_files.run_locks import RunInUse, one_writer, require_unused
from scircuit.core.study import Study, parents_first
from scircuit.execution.graph_server import open_graph, start_server

if TYPE_CHECKING:
    from scircuit.ingest.graph.connection import Connection
    from scircuit.ingest.server import ImportReport, ServerInfo


def connect(study: Path | str = DEFAULT_STUDY, *, start: bool = True) -> Connection:
    """Open a connection to the study's database.

    Parameters
    ----------
    study
        Folder of the study.
    start
        Start the local server when it is not running.

    Returns
    -------
    Connection
        A context manager with ``run(cypher, **params)`` and ``frame(cypher, **params)``.

    Raises
    ------
    UserError
        If there is no such study, unless the database is the user's own.
    """
    from scircuit.ingest.graph.connection import target_from_env

    place = Study(Path(study))
    if target_from_env() is None:
        place.require("it has no database")
    connection = open_graph(place, start=start)
    if connection.target.study:
        _bring_back(place)
    return connection


def _bring_back(study: Study) -> None:
    """Load all runs into a graph whose store was lost and made anew."""
    from scircuit.ingest.server.store_backup import lost_mark

    mark = lost_mark(study.server_home)
    if mark.exists():
        # First, because loading connects too; a load that is interrupted can be repeated.
        mark.unlink()
        if study.manifests():
            say("the graph was lost: its runs are loaded again")
            try:
                load(study.root)
            except BaseException:
                mark.touch()
                raise


def describe(info: ServerInfo, *, show_password: bool = True) -> dict[str, Any]:
    """What a person or a program needs to reach the server.

    Parameters
    ----------
    info
        The server.
    show_password
        Whether the password itself is in it; the file that holds it is named in any case.
    """
    return {
        "running": info.running,
        "uri": info.uri,
        "user": info.user,
        "password": info.password if show_password else None,
        "password_file": str(info.home / "password"),
        "browser": info.browser,
        "version": info.version,
        "pid": info.pid,
        "home": str(info.home),
    }


def start(study: Path | str = DEFAULT_STUDY, config: ServerConfig | None = None) -> ServerInfo:
    """Start the study's local server, or find it running."""
    return start_server(Study(Path(study)), config)


def stop(study: Path | str = DEFAULT_STUDY) -> bool:
    """Stop the study's server cleanly; False if it was not running.

    Raises
    ------
    UserError
        If there is no such study, or another process writes into its database.
    """
    from scircuit.ingest import server

    place = Study(Path(study))
    place.require("it has no server")
    require_unused(place.root, "the server cannot be stopped")
    return server.stop(place.server_home)


def status(study: Path | str = DEFAULT_STUDY) -> ServerInfo:
    """Whether the study's server runs and how to reach it."""
    from scircuit.ingest import server

    place = Study(Path(study))
    place.require("it has no server")
    return server.status(place.server_home)


def dump(folder: Path, study: Path | str = DEFAULT_STUDY) -> Path:
    """Stop the server and write a dump of the graph into `folder`."""
    from scircuit.ingest import server

    return server.dump(_stopped(study), folder)


def load_dump(folder: Path, study: Path | str = DEFAULT_STUDY) -> None:
    """Stop the server and replace the graph by the dump in `folder`."""
    from scircuit.ingest import server

    server.load_dump(_stopped(study), folder)


def rebuild(study: Path | str = DEFAULT_STUDY) -> tuple[ImportReport, int]:
    """Build the graph anew from all runs on disk by bulk import.

    Returns
    -------
    tuple
        Counts of the import, and the number of runs.

    Raises
    ------
    UserError
        If the study has no runs.
    """
    from scircuit.ingest.graph.bulk_import import bulk_import
    from scircuit.ingest.graph.loader import prepare
    from scircuit.ingest.server.store_backup import lost_mark

    place = Study(Path(study))
    place.require("it has no runs")
    folders = [place.run_folder(m.run) for m in place.manifests()]
    if not folders:
        raise UserError(f"study {study} has no runs", "trace first: scircuit trace --help")
    start_server(place)  # makes the home, its password and its ports
    built = bulk_import(folders, _stopped(study))
    lost_mark(place.server_home).unlink(missing_ok=True)
    start_server(place)
    with connect(study) as connection:
        prepare(connection)  # bulk import cannot create constraints
    return built, len(folders)


def check_store(study: Path | str = DEFAULT_STUDY) -> str:
    """Stop the server and check the consistency of its store; returns the tool's report."""
    from scircuit.ingest import server

    return server.check(_stopped(study))


def _stopped(study: Path | str) -> Path:
    """Home of the study's server, which is stopped if it runs."""
    from scircuit.ingest import server

    place = Study(Path(study))
    place.require("it has no server")
    require_unused(place.root, "the server cannot be stopped")
    home = place.server_home
    if not home.exists():
        raise UserError(
            f"study {study} has no local server yet",
            f"start it: scircuit db start --study {quoted(study)}",
        )
    if server.status(home).running:
        say("stopping the server")
        server.stop(home)
    return home


@dataclass(frozen=True)
class LoadResult:
    """Rows brought into the graph, per run."""

    rows: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rows": self.rows, "total": sum(self.rows.values())}

    def __str__(self) -> str:
        lines = [
            f"{run}: {rows:,} rows loaded" if rows else f"{run}: nothing was missing"
            for run, rows in self.rows.items()
        ]
        return "\n".join(lines)


def load(study: Path | str = DEFAULT_STUDY, run: str = "", *, quiet: bool = False) -> LoadResult:
    """Load every shard that the graph does not hold yet.

    Parameters
    ----------
    run
        One run (default: all of the study, oldest first, each after those it builds on).

    Raises
    ------
    UserError
        If the study has no runs, the run does not exist or another process holds it, or a shard is
        damaged.
    """
    from scircuit.ingest.graph.connection import DatabaseAway

    place = Study(Path(study))
    manifests = [place.manifest(run)] if run else parents_first(place.manifests())
    if not manifests:
        place.require("it has no runs")
        raise UserError(
            f"study {place.root} has no runs that can be loaded",
            f"see what there is: scircuit runs --study {quoted(place.root)}",
        )
    rows: dict[str, int] = {}
    failed: list[tuple[str, UserError]] = []
    with connect(place.root) as connection:
        for manifest in manifests:
            try:
                with one_writer(place.root, manifest.run, "load"):
                    rows[manifest.run] = _loaded(connection, place, manifest.run, quiet)
            except RunInUse as used:
                if run:
                    raise
                say(f"  {used.problem}: it is not loaded here")
            except DatabaseAway:
                raise
            except UserError as error:
                if run:
                    raise
                if os.path.lexists(place.run_folder(manifest.run)):
                    failed.append((manifest.run, error))
                else:
                    say(f"  run {manifest.run} was deleted meanwhile: it is not loaded")
    for name, error in failed:
        raise UserError(
            f"{len(failed)} of {len(manifests)} runs cannot be loaded, the others are; the first"
            f" is {name}: {error.problem}",
            error.fix,
        ) from error
    return LoadResult(rows)


def _loaded(connection: Connection, study: Study, run: str, quiet: bool) -> int:
    """Load one run; rows that the graph did not hold."""
    from scircuit.ingest.graph.stream import apply_q, load_run

    manifest = study.manifest(run)
    progress = Progress(f"loading {run}", sum(s.rows for s in manifest.shards), "rows", quiet=quiet)
    report = load_run(
        connection,
        study.run_folder(run),
        progress=lambda done, _total: progress.update(done),
    )
    if manifest.verb == "trace" and manifest.complete:
        apply_q(connection, study.run_folder(run))
    return report.loaded_rows
