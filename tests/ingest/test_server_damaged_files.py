"""Damaged files of the server's own: each is mended or named in one sentence, never a traceback.

Everything of a start but Java itself runs: what it would have been given is looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.server import admin, home, jars, process, ready, store_backup
from scircuit.ingest.server.home import State
from scircuit.ingest.server.java import Java
from scircuit.ingest.server.ready import StoreDamaged

PASSWORD = "0123456789abcdef" * 2
FILES = (
    "server.json",
    "password",
    "conf/extra.conf",
    "conf/neo4j.conf",
    "conf",
    "run/start.lock",
    "run/hosts",
    "run/tmp",
    "logs/console.log",
    "logs/neo4j.log",
    "logs/debug.log",
    "data/before",
    "data/databases",
)


def text(content: str):
    return lambda path: path.write_text(content)


def raw(content: bytes):
    return lambda path: path.write_bytes(content)


DAMAGE = {
    "missing": lambda _path: None,
    "empty": raw(b""),
    "zeros": raw(bytes(4096)),
    "noise": raw(bytes(range(256)) * 8),
    "half": text('{"version": "2026.07.1", "bolt_po'),
    "utf-16": raw('{"pid": 1}\n'.encode("utf-16")),
    "list": text("[1, 2]"),
    "number": text("17"),
    "deep": text("[" * 100_000),
    "long": text("x" * 300_000),
    "folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "pipe": os.mkfifo,
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A stopped server that was used before; Java is not run."""
    folder = home.prepare(tmp_path / "neo4j")
    for name in ("system", "neo4j"):
        (folder / "data" / "databases" / name).mkdir(parents=True)
    (folder / "password").write_text(PASSWORD + "\n")
    home.write_state(folder, State(bolt_port=17687, http_port=17474))
    monkeypatch.setattr(jars, "install", lambda *_: folder)
    monkeypatch.setattr(process.browser_copy, "current_jar", lambda jar, *_: jar)
    monkeypatch.setattr(process.jvm, "main_class", lambda _profile: "Main")
    monkeypatch.setattr(process, "find_java", lambda _profile: Java(Path("java"), 25, "test"))
    monkeypatch.setattr(admin, "_run", lambda *_args, **_named: "")

    def answers(folder, state, _command, _wait_s):
        return home.info_of(folder, state)

    monkeypatch.setattr(process, "_run", answers)
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_mended_or_named(place, name, damage):
    path = place / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    DAMAGE[damage](path)
    for act in (process.status, process.start, process.stop):
        try:
            act(place)
        except UserError as error:
            assert error.fix and "\n" not in error.problem and len(error.problem) < 900
    if (place / "password").is_file() and name != "password":
        assert (place / "password").read_text().strip() in (PASSWORD, home.read_password(place))


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"bolt_port": -5, "http_port": 7474.5}, State()),
        ({"bolt_port": 10**30, "http_port": True}, State()),
        ({"pid": -1}, State()),
        ({"pid": 10**30}, State()),
        ({"pid": "12", "version": ["x"]}, State()),
        ({"version": None, "heap": 5, "pagecache": "many"}, State()),
        ({"post_connect": "play x\ndbms.security.auth_enabled=false"}, State()),
        ({"heap": "2g", "unknown": 1}, State(heap="2g")),
        ({"bolt_port": 65535, "pid": 0}, State(bolt_port=65535)),
    ],
)
def test_values_that_cannot_be_are_replaced(tmp_path, values, kept):
    (tmp_path / "server.json").write_text(json.dumps(values))
    assert home.read_state(tmp_path) == kept


def test_the_id_of_another_process_is_not_taken_for_the_server(place):
    for pid in (os.getpid(), 1, 2**31 - 1):
        home.write_state(place, State(pid=pid))
        assert not process.status(place).running
        assert process.stop(place) is False


def test_data_of_an_unknown_version_are_not_opened(place):
    home.write_state(place, State(version="2031.01.0"))
    with pytest.raises(UserError, match=r"made by Neo4j '2031.01.0'(.|\n)*upgrade scircuit"):
        process.start(place)


@pytest.mark.parametrize("word", ["geheim-wörter", "x" * 100, "with space"])
def test_a_password_of_the_users_own_is_read(place, word):
    (place / "password").write_text(word + "\n", encoding="utf-8")
    assert home.read_password(place) == word


def started_with(place, monkeypatch, script: str, wait_ready=None):
    """Start a shell script in place of the server."""
    monkeypatch.undo()
    if wait_ready is not None:
        monkeypatch.setattr(process, "wait_ready", wait_ready)
    state = home.read_state(place)
    return process._launch(place, state, ["sh", "-c", script], "64m", (None, None), 60)


def test_a_server_that_is_killed_while_it_starts_is_started_again(place, monkeypatch, capfd):
    real = ready.wait_ready

    (place / "run" / "tries").touch()
    script = "printf x >> run/tries; [ $(wc -c < run/tries) = 3 ] || kill -9 $$; exit 0"

    def waits(info, alive, since, deadline):
        while alive():  # the script ends at once
            pass
        if (place / "run" / "tries").read_text() != "xxx":
            return real(info, alive, since, deadline)
        return None

    started_with(place, monkeypatch, script, waits)
    assert (place / "run" / "tries").read_text() == "xxx"
    assert capfd.readouterr().err.count("it is started again") == 2


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_is_always_killed_is_given_up(place, monkeypatch, sent):
    with pytest.raises(UserError, match=rf"killed 3 times .*signal {int(sent)}(.|\n)*smaller heap"):
        started_with(place, monkeypatch, f"kill -{int(sent)} $$; sleep 60")


def test_a_server_that_ends_by_itself_is_not_started_again(place, monkeypatch):
    script = "printf x >> run/tries; echo 'Too many open files'; exit 1"
    with pytest.raises(UserError, match="ulimit"):
        started_with(place, monkeypatch, script)
    assert (place / "run" / "tries").read_text() == "x"


@pytest.mark.parametrize("database", ["neo4j", "system"])
def test_a_database_that_cannot_be_opened_is_made_anew_and_kept(
    place, monkeypatch, capfd, database
):
    (place / "data" / "databases" / database / "store").write_text("damaged")
    calls = []

    def damaged_once(folder, state, _command, _wait_s):
        calls.append(state)
        if len(calls) == 1:
            (folder / "logs" / "debug.log").write_text(
                f"x Failed to start DatabaseId{{0[{database}]}}\nCaused by: a.B: bad record\n"
            )
            ready._refuse_damaged(folder, {})
        return home.info_of(folder, state)

    monkeypatch.setattr(process, "_run", damaged_once)
    assert process.start(place).version == "2026.07.1"
    assert len(calls) == 2
    kept = place / "data" / "damaged-1" / "databases" / database / "store"
    assert kept.read_text() == "damaged"
    assert f"the database {database} " in (said := capfd.readouterr().err) and "bad record" in said
    assert store_backup.lost_mark(place).exists() is (database == "neo4j")
    assert (home.read_password(place) == PASSWORD) is (database == "neo4j")


def test_only_what_is_new_in_the_log_counts(place):
    log = place / "logs" / "debug.log"
    log.write_text("Failed to start DatabaseId{0[neo4j]}\n")
    since = ready.log_sizes(place)
    ready._refuse_damaged(place, since)
    log.write_text(log.read_text() + "Failed to start DatabaseId{0[neo4j]}\n")
    with pytest.raises(StoreDamaged):
        ready._refuse_damaged(place, since)


def test_a_part_of_the_store_that_is_missing_is_made_anew(place, capfd):
    for name in ("system", "neo4j"):
        (place / "data" / "transactions" / name).mkdir(parents=True)
    store_backup.complete(place)
    assert not store_backup.lost_mark(place).exists(), "a whole store is left alone"
    shutil.rmtree(place / "data" / "databases" / "neo4j")
    store_backup.complete(place)
    assert sorted(p.name for p in (place / "data" / "transactions").iterdir()) == ["system"]
    assert store_backup.lost_mark(place).exists()
    assert "the graph's files are missing" in capfd.readouterr().err
