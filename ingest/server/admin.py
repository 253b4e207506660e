"""Neo4j's own administration tool on a stopped server: first password, bulk import, dump, load,
consistency check.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scircuit.core.errors import UserError
from scircuit.ingest.server import home as homes
from scircuit.ingest.server import jars, jvm
from scircuit.ingest.server.find_process import find_server
from scircuit.ingest.server.folder_errors import located, usable
from scircuit.ingest.server.home import DATABASE
from scircuit.ingest.server.info import ImportReport
from scircuit.ingest.server.java import find_java
from scircuit.ingest.server.profiles import Profile, profile_of
from scircuit.ingest.server.ready import REASONS
from scircuit.ingest.server.store_backup import replacing

HEAP = "1g"
PROGRESS = re.compile(r"^(Files: |[.-]{10} ).*\n", re.MULTILINE)
CAUSE = re.compile(r"^(Caused by: )?([\w.$]+(Exception|Error): )+")


def set_initial_password(home: Path, profile: Profile, java: Path, password: str) -> None:
    """Set the password of a home that has never been started.

    The password is passed in a file of the user, because other users can read command lines.
    """
    with tempfile.TemporaryDirectory(dir=home / "run") as folder:
        arguments = Path(folder) / "arguments"
        arguments.touch(mode=0o600)
        arguments.write_text(password + "\n", encoding="ascii")
        homes.write_conf(home, {})
        _run(
            home,
            profile,
            java,
            ["dbms", "set-initial-password", f"@{jvm.reach(home, arguments)}"],
            heap="256m",
            brief=True,
        )


def import_full(
    home: Path,
    nodes: Mapping[str, Sequence[Path]],
    relationships: Mapping[str, Sequence[Path]],
    *,
    threads: int | None = None,
) -> ImportReport:
    """Replace the graph by the content of Parquet files (``neo4j-admin database import full``).

    The server must be stopped; the caller starts it again and then creates constraints and indexes.
    A relationship without its end node, or an id that occurs twice, makes the import fail; the old
    graph is then kept.

    Parameters
    ----------
    home
        The server's folder; it must have been started once.
    nodes
        Label (several joined by ``:``, or empty when a column gives it) -> files with the same
        columns, named as the tool requires (``id:ID``, ``name``).
    relationships
        Type -> files, with ``:START_ID`` and ``:END_ID`` columns.
    threads
        Threads to use (default: all).

    Returns
    -------
    ImportReport
        The counts that the tool reports.

    Raises
    ------
    UserError
        If the server is running, a file is missing, or the tool refuses the files.
    """
    home, profile, java = _stopped(home, "import into")
    arguments = [
        "database",
        "import",
        "full",
        DATABASE,
        "--input-type=parquet",
        "--overwrite-destination=true",
        "--verbose",
    ]
    arguments += [
        f"--report-file={jvm.reach(home, home / 'logs' / 'import.report')}",
        "--bad-tolerance=0",
        "--strict=true",
    ]
    if threads:
        arguments.append(f"--threads={threads}")
    began = time.monotonic()
    with usable(home), tempfile.TemporaryDirectory(dir=home / "run") as folder:
        for option, groups in (("nodes", nodes), ("relationships", relationships)):
            for name, files in groups.items():
                if files:
                    paths = ",".join(_linked(home, Path(folder), Path(file)) for file in files)
                    arguments.append(f"--{option}={name + '=' if name else ''}{paths}")
        (home / "logs" / "import.report").unlink(missing_ok=True)
        with replacing(home):
            text = _run(home, profile, java, arguments)
    counts = {
        what: int(number)
        for number, what in re.findall(r"^\s*(\d+) (nodes|relationships|properties)", text, re.M)
    }
    if set(counts) != {"nodes", "relationships", "properties"}:
        raise UserError(
            "the import ended without an error, but did not report how much it imported",
            f"look at {home / 'logs' / 'admin.log'}",
        )
    return ImportReport(**counts, seconds=time.monotonic() - began)


def dump(home: Path, to_path: Path) -> Path:
    """Write the stopped server's graph to one file.

    Parameters
    ----------
    home
        The server's folder.
    to_path
        A file ending in ``.dump``, or a folder (the file is then ``neo4j.dump`` in it).

    Returns
    -------
    Path
        The file; it gets this name when it is complete.
    """
    home, profile, java = _stopped(home, "dump")
    target = to_path.expanduser().absolute()
    if target.suffix != ".dump":
        target = target / f"{DATABASE}.dump"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dump-", dir=target.parent) as staging:
            way = jvm.reach(home, Path(staging))
            _run(home, profile, java, ["database", "dump", DATABASE, f"--to-path={way}"])
            (Path(staging) / f"{DATABASE}.dump").replace(target)
    except OSError as error:
        raise UserError(
            f"the dump cannot be written to {target}: {error}", "choose another folder"
        ) from error
    return target


def load_dump(home: Path, from_path: Path) -> None:
    """Replace the stopped server's graph by that of a dump file, or of ``neo4j.dump`` in a folder.

    When the dump cannot be loaded, the old graph is kept.
    """
    home, profile, java = _stopped(home, "load into")
    source = from_path.expanduser().resolve()
    if source.is_dir():
        source = source / f"{DATABASE}.dump"
    if not source.is_file():
        raise UserError(
            f"there is no dump at {source}", "give a .dump file, or a folder with neo4j.dump in it"
        )
    with tempfile.TemporaryDirectory(dir=home / "run") as staging:
        # The tool requires the database's name as file name.
        (Path(staging) / f"{DATABASE}.dump").symlink_to(source)
        command = [
            "database",
            "load",
            DATABASE,
            f"--from-path={jvm.reach(home, Path(staging))}",
            "--overwrite-destination=true",
        ]
        with replacing(home):
            _run(home, profile, java, command)


def check(home: Path) -> str:
    """Check the stopped server's store for consistency.

    Returns
    -------
    str
        One sentence.

    Raises
    ------
    UserError
        If the store is inconsistent, or the server is running.
    """
    home, profile, java = _stopped(home, "check")
    with tempfile.TemporaryDirectory(dir=home / "run") as folder:
        try:
            way = jvm.reach(home, Path(folder))
            _run(home, profile, java, ["database", "check", DATABASE, f"--report-path={way}"])
        except UserError as error:
            reports = sorted(Path(folder).rglob("*.report"))
            if not reports:
                raise
            kept = home / "logs" / reports[-1].name
            shutil.copyfile(reports[-1], kept)
            raise UserError(
                f"the store in {home} is inconsistent; the report is {kept}",
                f"delete {shlex.quote(str(home))} and load the runs again: the graph can be rebuilt"
                " from them",
            ) from error
    return f"The store of Neo4j {profile.version} in {home} is consistent."


def _linked(home: Path, folder: Path, file: Path) -> str:
    """Give the import tool a file by a short name: in the file's own path it would read a comma as
    two files and a bracket as a pattern.
    """
    path = file.expanduser().resolve()
    if not path.is_file():
        raise UserError(
            f"the file to import is missing: {path}",
            "write it again, or repeat the run it belongs to",
        )
    link = folder / f"{sum(1 for _ in folder.iterdir())}{path.suffix}"
    link.symlink_to(path)
    return str(jvm.reach(home, link))


def _stopped(home: Path, verb: str) -> tuple[Path, Profile, Path]:
    """Return home, profile and Java of a stopped server, with its jars installed."""
    home = located(home)
    with usable(home):
        if not (home / "data" / "databases").is_dir():
            raise UserError(
                f"there is no database in {home}", "start the server once: scircuit db start"
            )
    state = homes.read_state(home)
    running = find_server(home, state.pid)
    if running is not None:
        raise UserError(
            f"cannot {verb} the database in {home} while its server runs (process {running.pid})",
            "stop the server first: scircuit db stop",
        )
    homes.prepare(home)
    jvm.empty_temporary_folder(home)
    profile = profile_of(state.version)
    jars.install(profile.version)
    return home, profile, find_java(profile).path


def _run(
    home: Path,
    profile: Profile,
    java: Path,
    arguments: list[str],
    heap: str = HEAP,
    brief: bool = False,
) -> str:
    """Run the tool, keep its output in ``logs/admin.log``, and return it."""
    answer = subprocess.run(
        [*jvm.admin_command(java, profile, home, heap, brief), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=home,
        env=jvm.environment(home),
        check=False,
    )
    words = " ".join(argument for argument in arguments[:3] if not argument.startswith(("-", "@")))
    with usable(home), (home / "logs" / "admin.log").open("a", encoding="utf-8") as log:
        log.write(f"=== {words}: exit {answer.returncode}\n{re.sub(PROGRESS, '', answer.stdout)}\n")
    if answer.returncode != 0:
        raise _refusal(home, words, answer.stdout)
    return answer.stdout


def _refusal(home: Path, words: str, text: str) -> UserError:
    log = f"the complete output is in {home / 'logs' / 'admin.log'}"
    for pattern, meaning, fix in REASONS:
        if re.search(pattern, text):
            return UserError(f"`{words}` failed: {meaning}", f"{fix} ({log})")
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith(("at ", "..."))
    ]
    telling = [
        line for line in lines if re.search(r"[Ee]rror|Exception|[Ff]ailed|[Mm]issing", line)
    ]
    last = CAUSE.sub("", (telling or lines or ["it gave no error message"])[-1])
    return UserError(f"`{words}` failed: {last[:400]}", log)
