"""The Neo4j of a study: connect, start, stop, dump, load, rebuild, check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.config import DEFAULT_STUDY, ServerConfig
from scircuit.core.errors import UserError
from scircuit.core.progress import Progress, say
from scircuit.core.study import Study
from scircuit.execution.graph_server import start_server, target

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
    """
    from scircuit.ingest.graph.connection import Connection

    return Connection.open(target(Study(Path(study)), start=start))


def describe(info: ServerInfo) -> dict[str, Any]:
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


def start(study: Path | str = DEFAULT_STUDY, config: ServerConfig | None = None) -> ServerInfo:
    """Start the study's local server, or find it running."""
    return start_server(Study(Path(study)), config)


def stop(study: Path | str = DEFAULT_STUDY) -> bool:
    """Stop the study's server cleanly; False if it was not running."""
    from scircuit.ingest import server

    return server.stop(Study(Path(study)).server_home)


def status(study: Path | str = DEFAULT_STUDY) -> ServerInfo:
    """Whether the study's server runs and how to reach it."""
    from scircuit.ingest import server

    return server.status(Study(Path(study)).server_home)


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

    place = Study(Path(study))
    folders = [place.run_folder(m.run) for m in place.manifests()]
    if not folders:
        raise UserError(f"study {study} has no runs", "trace first: scircuit trace --help")
    start_server(place)  # makes the home, its password and its ports
    built = bulk_import(folders, _stopped(study))
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

    home = Study(Path(study)).server_home
    if not home.exists():
        raise UserError(
            f"study {study} has no local server yet", f"start it: scircuit db start --study {study}"
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
        One run (default: all of the study, oldest first).

    Raises
    ------
    UserError
        If the study has no runs, the run does not exist, or a shard is damaged.
    """
    from scircuit.ingest.graph.stream import apply_q, load_run

    place = Study(Path(study))
    manifests = [m for m in place.manifests() if run in ("", m.run)]
    if not manifests:
        raise UserError(
            f"study {place.root} has no run{f' {run!r}' if run else 's'}",
            f"see what there is: scircuit runs --study {place.root}",
        )
    rows: dict[str, int] = {}
    with connect(place.root) as connection:
        for manifest in manifests:
            progress = Progress(
                f"loading {manifest.run}", sum(s.rows for s in manifest.shards), "rows", quiet=quiet
            )
            report = load_run(
                connection,
                place.run_folder(manifest.run),
                progress=lambda done, _total, p=progress: p.update(done),
            )
            if manifest.verb == "trace" and manifest.complete:
                apply_q(connection, place.run_folder(manifest.run))
            rows[manifest.run] = report.loaded_rows
    return LoadResult(rows)
