"""The local server as a person meets it: start, stop, crash, taken ports, wrong passwords,
interruptions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import neo4j
import psutil
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.server import BrowserSeed, ServerInfo, home, start, status, stop
from scircuit.ingest.server.find_process import find_server
from tests.support.patience import HANGS_S

pytestmark = pytest.mark.server
SMALL = {"heap": "512m", "pagecache": "64m", "wait_s": 300}
SEED = BrowserSeed(
    # Notes what the Browser had stored when the seed ran: nothing, so it ran first.
    script="localStorage.setItem('scircuit.test', JSON.stringify(Object.keys(localStorage)));",
    files={"scircuit/guide.html": b"<article class='guide'><h3>Seeded guide</h3></article>"},
    post_connect="guide {http}/browser/scircuit/guide.html",
)


def ask(info: ServerInfo, cypher: str, password: str = "", **parameters):
    with neo4j.GraphDatabase.driver(
        info.uri, auth=(info.user, password or info.password)
    ) as driver:
        return [
            record.values()
            for record in driver.execute_query(cypher, parameters, database_="neo4j").records
        ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of this module's own, started by a process that has ended since."""
    folder = tmp_path_factory.mktemp("own server") / "neo4j"  # a space in the path
    code = (
        "import sys; from pathlib import Path; from scircuit.ingest.server import BrowserSeed,"
        f" start\nseed = BrowserSeed({SEED.script!r}, {SEED.files!r},"
        f" {SEED.post_connect!r})\nstart(Path(sys.argv[1]), heap='512m', pagecache='64m',"
        " seed=seed, wait_s=300)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=HANGS_S)
    yield folder
    stop(folder)


def test_it_outlives_its_starter_and_answers(server):
    info = status(server)
    assert info.running and info.version == "2026.07.1"
    assert ask(info, "RETURN 1 + 1") == [[2]]
    assert psutil.Process(info.pid).ppid() != os.getpid()


def test_a_second_start_is_the_same_server(server):
    before = status(server)
    began = time.monotonic()
    assert start(server, **SMALL) == before
    assert time.monotonic() - began < 5, "a running server is joined, not started"


def test_passwords_are_required(server):
    info = status(server)
    with pytest.raises(neo4j.exceptions.AuthError):
        ask(info, "RETURN 1", password="neo4j")
    with neo4j.GraphDatabase.driver(info.uri) as driver, pytest.raises(neo4j.exceptions.AuthError):
        driver.execute_query("RETURN 1", database_="neo4j")
    assert info.password not in repr(info)
    for process in psutil.process_iter(["cmdline", "pid"]):
        assert info.password not in " ".join(process.info["cmdline"] or [])


def test_it_listens_on_loopback_only(server):
    info = status(server)
    sockets = psutil.Process(info.pid).net_connections(kind="inet")
    listening = {
        (s.laddr.ip.removeprefix("::ffff:"), s.laddr.port)
        for s in sockets
        if s.status == psutil.CONN_LISTEN
    }
    ports = {int(info.uri.rpartition(":")[2]), int(info.http.rpartition(":")[2])}
    assert listening == {("127.0.0.1", port) for port in ports}
    assert not [s for s in sockets if s.type == socket.SOCK_DGRAM], (
        "no announcements on the network"
    )


def test_nothing_of_the_home_is_readable_by_others(server):
    assert server.stat().st_mode & 0o077 == 0
    assert (server / "password").stat().st_mode & 0o777 == 0o600


def test_the_browser_has_the_seed(server):
    info = status(server)

    def get(path: str) -> bytes:
        with urllib.request.urlopen(info.http + path, timeout=10) as answer:
            return answer.read()

    page = get("/browser/").decode()
    assert page.index("scircuit-seed.js") < page.index("app-")
    assert get("/browser/scircuit-seed.js").decode() == SEED.script
    assert get("/browser/scircuit/guide.html") == SEED.files["scircuit/guide.html"]
    assert info.browser.startswith(f"{info.http}/browser/?dbms=bolt://neo4j@127.0.0.1:")


@pytest.mark.browser
def test_the_seed_runs_before_the_browser_and_the_guide_opens(server):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("no /usr/bin/chromium (Debian's package chromium)")
    info = status(server)
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
        " --disable-background-networking"
    )
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(chromium), args=flags.split())
        page = browser.new_page()
        page.goto(info.browser)
        page.wait_for_selector("[data-testid=password]", timeout=60_000)
        assert page.evaluate("localStorage.getItem('scircuit.test')") == "[]"
        page.fill("[data-testid=password]", info.password)
        page.click("[data-testid=connect]")
        page.wait_for_selector("text=Seeded guide", timeout=60_000)
        assert page.evaluate("localStorage.getItem('neo4j.settings') !== null"), (
            "the Browser uses the same storage"
        )
        browser.close()


def test_a_requested_port_that_is_taken(server, tmp_path):
    taken = int(status(server).uri.rpartition(":")[2])
    with pytest.raises(
        UserError, match=rf"Bolt port {taken} is used by another process(.|\n)*fix: "
    ):
        start(tmp_path / "neo4j", bolt_port=taken, **SMALL)
    assert not status(tmp_path / "neo4j").running


def test_a_wrong_password_file_is_named(server):
    info = status(server)
    (server / "password").write_text("0" * 32 + "\n")
    try:
        with pytest.raises(
            UserError, match=r"refuses the password in .*password(.|\n)*write the new one"
        ):
            start(server, **SMALL)
    finally:
        (server / "password").write_text(info.password + "\n")
    assert status(server).running, "a running server is not harmed by a wrong file"


def test_kill_9_recovers_and_finds_its_ports_again_or_the_next(server):
    """One crash: stale state, recovery of what was committed, a recycled process id, a port that
    was taken meanwhile.
    """
    first = status(server)
    ask(first, "UNWIND range(1, 1000) AS i CREATE (:Kept {i: i})")
    os.kill(first.pid, signal.SIGKILL)
    psutil.wait_procs(
        [psutil.Process(first.pid)] if psutil.pid_exists(first.pid) else [], timeout=HANGS_S
    )
    crashed = status(server)
    assert (crashed.running, crashed.pid) == (False, None)
    assert (crashed.uri, crashed.browser) == (first.uri, first.browser)

    # The system gives the dead server's id to another program: here, to this test.
    home.write_state(server, dataclasses.replace(home.read_state(server), pid=os.getpid()))
    assert not status(server).running
    port = int(first.http.rpartition(":")[2])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        second = start(server, **SMALL)
    assert second.pid not in (first.pid, os.getpid())
    assert second.uri == first.uri
    assert int(second.http.rpartition(":")[2]) > port
    assert ask(second, "MATCH (k:Kept) RETURN count(k), sum(k.i)") == [[1000, 500500]]


def test_a_server_whose_starter_was_killed_is_found(server):
    """The process id was never recorded: the process itself is found, not a second one started."""
    running = status(server)
    home.write_state(server, dataclasses.replace(home.read_state(server), pid=0))
    assert status(server).pid == running.pid
    assert start(server, **SMALL).pid == running.pid
    assert home.read_state(server).pid == running.pid


def test_stop_is_quick_and_clean_and_only_once(server):
    """Last: the module's server ends here."""
    running = status(server)
    began = time.monotonic()
    assert stop(server) is True
    assert time.monotonic() - began < 30
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(running.pid).status() == psutil.STATUS_ZOMBIE, (
            "at most until the system asks after it"
        )
    assert "Stopped." in (server / "logs" / "neo4j.log").read_text().splitlines()[-1]
    assert stop(server) is False
    assert not status(server).running


def test_a_port_lost_during_the_start_is_replaced(server, monkeypatch):
    """Another process takes the Bolt port after it was found free: the server gives up, and starts
    on the next.
    """
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        home.write_state(server, dataclasses.replace(home.read_state(server), bolt_port=port))
        asked: list[int] = []

        def blind_once(candidate: int) -> bool:
            asked.append(candidate)
            return (asked.count(port) == 1 and candidate == port) or free(candidate)

        free = home.is_free
        monkeypatch.setattr(home, "is_free", blind_once)
        info = start(server, **SMALL)
    assert int(info.uri.rpartition(":")[2]) > port
    assert ask(info, "RETURN 1") == [[1]]
    stop(server)


def test_ctrl_c_during_the_start_leaves_no_server(server):
    code = (  # a process begun in the background of a shell ignores Ctrl-C
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " from pathlib import Path; from scircuit.ingest.server import start;"
        " start(Path(sys.argv[1]), heap='512m')"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(server)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + HANGS_S
    while find_server(server.resolve(), 0) is None:
        assert starter.poll() is None and time.monotonic() < deadline, starter.stderr
        time.sleep(0.05)
    time.sleep(0.5)
    starter.send_signal(signal.SIGINT)
    _, errors = starter.communicate(timeout=HANGS_S)
    assert starter.returncode != 0 and "KeyboardInterrupt" in errors
    assert find_server(server.resolve(), 0) is None
    assert not status(server).running


def test_a_setting_that_is_not_accepted_is_named(server):
    extra = server / "conf" / "extra.conf"
    extra.write_text("server.memory.pagecache.size=much\n")
    try:
        with pytest.raises(
            UserError,
            match=r"the server did not start: a setting is not accepted(.|\n)*extra\.conf",
        ):
            start(server, **SMALL)
    finally:
        extra.unlink()
    assert not status(server).running


def test_data_without_their_password_are_not_opened_anew(server):
    password = home.read_password(server)
    (server / "password").unlink()
    with pytest.raises(UserError, match=r"have a password, but the file .* is missing"):
        start(server, **SMALL)
    (server / "password").write_text(password)


def test_too_much_and_too_little_memory(tmp_path):
    with pytest.raises(UserError, match=r"exceed the \d+ MB of memory(.|\n)*choose a smaller heap"):
        start(tmp_path / "neo4j", heap="900g")
    with pytest.raises(UserError, match="a heap of 8 MB is too small"):
        start(tmp_path / "neo4j", heap="8m")


def test_a_home_that_was_never_started(tmp_path):
    assert status(tmp_path / "nowhere") == dataclasses.replace(
        status(tmp_path / "nowhere"), running=False, pid=None, password=""
    )
    assert stop(tmp_path / "nowhere") is False
    assert not (tmp_path / "nowhere").exists(), "asking creates nothing"


def test_a_home_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        start(tmp_path / "file" / "neo4j")
