"""What surrounds the server: variables, locale, limits, loopback, host names, path, other users.

No server is started here: the launcher's command line, environment and refusals are looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.server import PROFILES, home, install, jars, java, jvm, preconditions, process
from scircuit.ingest.server.browser_copy import BrowserSeed, seeded_jar
from scircuit.ingest.server.folder_errors import usable
from scircuit.ingest.server.ready import diagnosis

DEFAULT = PROFILES["2026.07.1"]
ODD = "st [1], x? #%20 é:*;$(ls)"
NOBODY = 65534


@contextlib.contextmanager
def as_another_user():
    """Files of this user are closed to it; for root, who may do everything, by another identity."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize(
    "name",
    [
        "_JAVA_OPTIONS",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "JAVA_OPTS",
        "JAVA_HOME",
        "CLASSPATH",
        "HEAP_SIZE",
        "NEO4J_CONF",
        "NEO4J_HOME",
        "NEO4J_server_memory_heap_max__size",
        "NEO4J_AUTH",
        "LANGUAGE",
        "LC_MESSAGES",
    ],
)
def test_settings_of_the_users_own_java_and_neo4j_do_not_reach_the_server(
    monkeypatch, tmp_path, name
):
    monkeypatch.setenv(name, "-Xmx1m")
    monkeypatch.setenv("KEPT", "yes")
    found = jvm.environment(tmp_path)
    assert "-Xmx1m" not in found.values()
    assert found["KEPT"] == "yes"
    assert found["NEO4J_HOME"] == str(tmp_path)
    assert found["NEO4J_CONF"] == str(tmp_path / "conf")


@pytest.mark.parametrize("given", ["C", "POSIX", "de_DE.UTF-8", "fr_FR.ISO-8859-1"])
def test_java_has_a_locale_of_all_letters_and_speaks_english(monkeypatch, given):
    monkeypatch.setenv("LC_ALL", given)
    monkeypatch.setenv("LANG", given)
    found = jvm.environment()
    assert found["LC_ALL"] == "C.UTF-8" and "LANG" not in found


def test_a_java_is_recognised_whatever_the_variables_say(monkeypatch, tmp_path):
    script = tmp_path / "bin" / "java"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/sh\n[ -z "$_JAVA_OPTIONS" ] && echo \'openjdk version "21.0.1"\' >&2\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("_JAVA_OPTIONS", "-Xmx1m")
    assert java.release_of(script) == 21


def command(folder: Path) -> list[str]:
    folder = home.prepare(folder)
    install()
    browser = seeded_jar(jars.browser_jar(DEFAULT), folder, BrowserSeed("x = 1"))
    return jvm.server_command(Path("java"), DEFAULT, folder, "512m", browser)


def test_a_plain_path_is_given_as_it_is(tmp_path):
    words = command(tmp_path / "neo4j")
    assert f"--home-dir={tmp_path / 'neo4j'}" in words
    assert not [word for word in words if "/proc/" in word]


@pytest.mark.parametrize("name", [ODD, "[", "why?", "a:b", "a*b", "a,b", "étude", "日本", "a\nb"])
def test_no_path_that_java_misreads_is_given_to_java(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SCIRCUIT_CACHE", str(jars.cache_dir()))
    place = home.prepare(tmp_path / name / "neo4j")
    words = command(place)
    assert jvm.home_argument(place) in words
    for word in words:
        if word != jvm.home_argument(place):
            assert name not in word
    # What it is given leads to the same folder, for a process that works there.
    [base] = [word.partition("=")[2] for word in words if word.startswith("--home-dir=")]
    answer = subprocess.run(
        ["stat", "-L", "-c", "%i", base], cwd=place, capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) == place.stat().st_ino


def test_a_cache_with_an_odd_path_is_reached_by_a_link(tmp_path, monkeypatch):
    place = home.prepare(tmp_path / "neo4j")
    cache = tmp_path / ODD
    cache.mkdir()
    (cache / "x").touch()
    reached = jvm.reach(place, cache)
    assert ODD not in str(reached) and (reached / "x").exists()
    assert jvm.reach(place, cache) == reached, "once more is the same link"


def test_where_java_cannot_reach_the_folder_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(jvm, "WORKING_FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match="cannot have in a path"):
        home.prepare(tmp_path / "a:b" / "neo4j")
    assert not (tmp_path / "a:b").exists()


def test_a_browser_that_cannot_be_served_is_refused_before_java_starts(tmp_path, monkeypatch):
    install()
    original = jars.browser_jar(DEFAULT)
    odd = home.prepare(tmp_path / "[1]" / "neo4j")
    monkeypatch.setenv("SCIRCUIT_CACHE", str(tmp_path / "[1]" / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "[1]"))
    with pytest.raises(UserError, match=r"cannot serve its Browser(.|\n)*fix: choose another"):
        seeded_jar(original, odd, BrowserSeed("x = 1"))


def test_temporary_files_are_in_the_home_and_no_name_server_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "nosuchhost.example")
    place = home.prepare(tmp_path / "neo4j")
    words = jvm.options(place, names=True)
    assert f"-Djava.io.tmpdir={place / 'run' / 'tmp'}" in words and "-XX:-UsePerfData" in words
    assert f"-Djdk.net.hosts.file={place / 'run' / 'hosts'}" in words
    names = {line.split()[1] for line in (place / "run" / "hosts").read_text().splitlines()}
    assert names == {"localhost", "nosuchhost", "nosuchhost.example"}
    # A user who opened the server to names of other machines keeps the system's names.
    assert not [w for w in jvm.options(place, names=False) if "hosts.file" in w]
    left = place / "run" / "tmp" / "left-by-a-killed-server"
    left.touch()
    jvm.empty_temporary_folder(place)
    assert not left.exists()


@pytest.mark.parametrize("hard", [256, 1023])
def test_too_few_open_files_are_named_before_java_starts(tmp_path, monkeypatch, hard):
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (hard, hard))
    with pytest.raises(UserError, match=rf"have {hard} open files .*needs 1024(.|\n)*limits.conf"):
        preconditions.check(home.prepare(tmp_path), 512 * 2**20, 64 * 2**20)


@pytest.mark.parametrize("limit", [1024, 10**6, resource.RLIM_INFINITY])
def test_enough_open_files(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, limit))
    preconditions.check(home.prepare(tmp_path), 512 * 2**20, 64 * 2**20)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param("true", id="down"),
        pytest.param("ip link set lo up && ip address del 127.0.0.1/8 dev lo", id="IPv6 only"),
    ],
)
def test_a_loopback_that_does_not_work_is_said_at_once(made):
    """In a network of its own, where the system lets a test make one."""
    code = (
        "from scircuit.ingest.server.preconditions import check_loopback\n"
        "from scircuit.core.errors import UserError\n"
        "try: check_loopback()\n"
        "except UserError as error: print(error)\n"
        "else: print('works')\n"
    )
    alone = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*alone, made], check=False).returncode:
        pytest.skip("this system does not let a test make a network")
    began = time.monotonic()
    answer = subprocess.run(
        [*alone, f'{made} && exec "$@"', "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - began < 30
    assert "the loopback address 127.0.0.1 does not work" in answer.stdout
    assert "ip link set lo up" in answer.stdout


def test_a_loopback_that_refuses_is_said(tmp_path, monkeypatch):
    def refused(*_args, **_named):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    preconditions.check_loopback()
    monkeypatch.setattr(socket, "create_connection", refused)
    with pytest.raises(UserError, match=r"127\.0\.0\.1 does not work .*Network is unreachable"):
        preconditions.check_loopback()
    # nor is a server waited for that another network reaches
    profile, running = PROFILES["2026.07.1"], psutil.Process()
    with pytest.raises(UserError, match=r"127\.0\.0\.1 does not work"):
        process._join(tmp_path, home.State(), running, profile, None, 120)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_said(tmp_path, monkeypatch, capsys, kind):
    parts = [("/", "ext4"), (str(tmp_path), kind), (str(tmp_path) + "x", "tmpfs")]
    found = [SimpleNamespace(mountpoint=point, fstype=fs) for point, fs in parts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
    assert preconditions.file_system(tmp_path / "study") == kind
    assert preconditions.file_system(Path("/somewhere")) == "ext4"
    preconditions.check(home.prepare(tmp_path), 512 * 2**20, 64 * 2**20)
    assert f"network file system ({kind})" in capsys.readouterr().err


@pytest.fixture
def closed(tmp_path):
    """A study's server folder that is closed to whoever asks in `as_another_user`."""
    folder = home.prepare(tmp_path / "study" / "neo4j")
    home.make_password(folder)
    home.write_state(folder, home.State())
    opened = [tmp_path, *(p for p in tmp_path.parents if p.is_relative_to("/tmp"))]
    for part in opened if os.geteuid() == 0 else []:
        part.chmod(part.stat().st_mode | 0o055)
    folder.chmod(0o700 if os.geteuid() == 0 else 0o000)
    yield folder
    folder.chmod(0o700)


def test_another_users_server_is_named_and_not_touched(closed):
    # Loaded before the identity changes, because another user may not be able to read them.
    import scircuit.ingest.server.store_backup  # noqa: F401

    for act in (process.start, process.status, process.stop):
        with as_another_user(), pytest.raises(UserError, match=r" not permitted|denied") as caught:
            act(closed)
        assert str(closed) in caught.value.problem and "folder of your own" in caught.value.fix


def test_a_cache_of_another_user_says_what_to_do(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    (cache / "neo4j").mkdir(parents=True)
    cache.chmod(0o755 if os.geteuid() == 0 else 0o555)
    for part in [tmp_path, *tmp_path.parents] if os.geteuid() == 0 else []:
        if part.is_relative_to("/tmp/pytest-of-root"):
            part.chmod(part.stat().st_mode | 0o055)
    monkeypatch.setenv("SCIRCUIT_CACHE", str(cache))
    import concurrent.futures.thread  # noqa: F401 - as above

    with as_another_user(), pytest.raises(UserError, match=r"cannot be written(.|\n)*SCIRCUIT_CAC"):
        install(progress=lambda *_: None)
    with as_another_user(), pytest.raises(UserError, match=r"cannot be kept in(.|\n)*SCIRCUIT_CAC"):
        java._fetched(PROFILES["5.26.29"], ["PATH has Java 8"])
    cache.chmod(0o755)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.ENOSPC, "there is no room"),
        (errno.EDQUOT, "there is no room"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENOLCK, "cannot lock files"),
        (errno.EACCES, "Permission denied"),
        (errno.ESTALE, "Stale file handle"),
        (errno.EISDIR, "is not what it should be"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(tmp_path, number, sentence):
    with pytest.raises(UserError, match=sentence) as caught, usable(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))
    assert caught.value.fix and "\n" not in caught.value.problem


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("java.io.IOException: Too many open files", "open files"),
        ("IllegalStateException: failed to create a child event loop", "open files"),
        ("OutOfMemoryError: unable to create native thread", "threads"),
        ("java.nio.file.FileSystemException: x: Read-only file system", "read-only"),
        ("java.nio.file.AccessDeniedException: /a/b", "another user"),
        ("java.io.IOException: No locks available", "lock files"),
        ("java.net.SocketException: Network is unreachable", "does not work on this machine"),
        ("OutOfMemoryError: Java heap space", "too little memory"),
    ],
)
def test_what_java_says_is_told_by_its_cause(tmp_path, line, sentence):
    assert sentence in diagnosis(tmp_path, f"2026 INFO Starting\n{line}\nINFO Stopped.").problem
