"""The study's own server where people are: an odd path, a foreign locale, and deaths in between.

One server, killed while rows are loaded, and once its graph was deleted; what was asked is
answered, and every row is in the graph once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from scircuit.core.errors import UserError
from scircuit.core.study import Study
from scircuit.execution.graph_server import open_graph
from scircuit.ingest.graph.connection import Connection, DatabaseAway, Target
from scircuit.ingest.graph.loader import Loader
from scircuit.ingest.server import ServerInfo, status, stop
from scircuit.workflows.database import connect, load
from tests.support.graph_checksum import graph_checksums, shard_checksums
from tests.support.patience import HANGS_S
from tests.support.synthetic import write_run

if TYPE_CHECKING:
    from scircuit.ingest.graph.chunks import Chunk

pytestmark = pytest.mark.server
RUN = "trace-0123456789"
START = """
import sys
from pathlib import Path
from scircuit.core.config import ServerConfig
from scircuit.core.study import Study
from scircuit.execution.graph_server import start_server
start_server(Study(Path(sys.argv[1])), ServerConfig(heap="300m", pagecache="16m"))
"""
HOSTILE = {
    "LC_ALL": "C",
    "_JAVA_OPTIONS": "-Xmx1m",
    "JAVA_TOOL_OPTIONS": "-Xmx1m",
    "NEO4J_CONF": "/nowhere",
    "NEO4J_server_memory_heap_max__size": "1m",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with a server, started in an environment that would keep Java from starting."""
    place = Study(tmp_path_factory.mktemp("heals") / "étude [1], why? #%20 a:b*")
    place.root.mkdir()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("NEO4J_")} | HOSTILE
    subprocess.run(
        [sys.executable, "-c", START, str(place.root)], env=environ, check=True, timeout=HANGS_S
    )
    yield place
    stop(place.server_home)


@pytest.fixture(autouse=True)
def own_server(monkeypatch):
    for name in list(os.environ):
        if name.startswith("NEO4J_"):
            monkeypatch.delenv(name)


def kill(info: ServerInfo) -> None:
    """Kill a server and wait until it is gone."""
    assert info.pid is not None
    process = psutil.Process(info.pid)
    os.kill(info.pid, signal.SIGKILL)
    psutil.wait_procs([process], timeout=HANGS_S)


def test_it_runs_in_a_folder_that_java_cannot_name(study):
    info = status(study.server_home)
    assert info.running and info.home == study.server_home.resolve()
    with open_graph(study) as connection:
        assert connection.run("RETURN 1 AS one") == [{"one": 1}]
    memory = [w for w in psutil.Process(info.pid).cmdline() if w.startswith("-Xm")]
    assert memory == ["-Xms300m", "-Xmx300m"]


def test_a_death_during_a_load_is_healed(study, monkeypatch):
    """The load goes on where it was, on a server with the memory of the last start."""
    folder = study.run_folder(RUN)
    write_run(folder, RUN, units=3, block=4, per_layer=12, degree=10)
    before = status(study.server_home)
    chunks: list[str] = []
    write = Loader._write

    def deadly(self: Loader, chunk: Chunk) -> int:
        if len(chunks) == 4:
            kill(status(study.server_home))
        chunks.append(chunk.key)
        return write(self, chunk)

    monkeypatch.setattr(Loader, "_write", deadly)
    loaded = load(study.root, quiet=True)
    assert len(chunks) > 5 and sum(loaded.rows.values()) > 0
    after = status(study.server_home)
    assert after.pid != before.pid
    assert "-Xmx300m" in psutil.Process(after.pid or 0).cmdline()
    with connect(study.root) as connection:
        assert graph_checksums(connection, RUN) == shard_checksums(folder)


def test_a_deleted_graph_is_made_anew_and_its_runs_are_loaded_again(study):
    """What is in no run is lost with the graph; what is in a run is back before an answer."""
    with connect(study.root) as connection:
        connection.run("CREATE (:OfNoRun)")
    kill(status(study.server_home))
    shutil.rmtree(study.server_home / "data" / "databases" / "neo4j")
    with connect(study.root) as connection:
        assert graph_checksums(connection, RUN) == shard_checksums(study.run_folder(RUN))
        assert connection.run("MATCH (n:OfNoRun) RETURN count(n) AS n") == [{"n": 0}]


def test_advice_fits_the_server(tmp_path):
    """NEO4J_URI is named only to who set it."""
    nobody = "bolt://127.0.0.1:1"
    with pytest.raises(DatabaseAway) as own:
        Connection.open(Target(nobody, "neo4j", "x", study=str(tmp_path / "my study")))
    assert "NEO4J" not in str(own.value)
    assert own.value.fix.endswith(f"scircuit db start --study '{tmp_path / 'my study'}'")
    with pytest.raises(DatabaseAway) as users:
        Connection.open(Target(nobody, "neo4j", "x"))
    assert "NEO4J_URI" in users.value.fix


def test_what_cannot_be_started_again_says_why(tmp_path):
    """The connection asks once for the server, and passes on the reason."""
    asked: list[int] = []

    def revive() -> Target:
        asked.append(1)
        raise UserError("the disk is full", "free some space")

    with pytest.raises(UserError, match="the disk is full"):
        Connection.open(Target("bolt://127.0.0.1:1", "neo4j", "x"), revive=revive)
    assert asked == [1]
