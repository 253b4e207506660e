"""A statement reaches no file and no address; settings that open the server are said at a start."""

from __future__ import annotations

import http.server
import threading
from typing import LiteralString, cast

import neo4j
import pytest

from scircuit.core.errors import UserError
from scircuit.ingest.server import confinement, home
from scircuit.ingest.server.home import State

LOOPBACK = "127.0.0.1:7687"


def refused(info, statement: str) -> str:
    with (
        neo4j.GraphDatabase.driver(info.uri, auth=(info.user, info.password)) as driver,
        pytest.raises(neo4j.exceptions.Neo4jError) as caught,
    ):
        driver.execute_query(neo4j.Query(cast("LiteralString", statement)), database_="neo4j")
    return f"{caught.value.code} {caught.value.message}"


def test_no_file_can_be_read(neo4j_server, tmp_path):
    (neo4j_server.home / "import" / "inside.csv").write_text("secret\n")
    (tmp_path / "outside.csv").write_text("secret\n")
    for address in (
        "file:///etc/passwd",
        f"file://{tmp_path / 'outside.csv'}",
        "file:///inside.csv",
        "file:///../password",
    ):
        told = refused(neo4j_server, f"LOAD CSV FROM '{address}' AS row RETURN row")
        assert "allow_csv_import_from_file_urls" in told, told


def test_no_address_is_fetched(neo4j_server):
    asked: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a,b\n")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        port = page.server_port
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
            address = f"http://{host}:{port}/x.csv"
            told = refused(neo4j_server, f"LOAD CSV FROM '{address}' AS row RETURN row")
            assert "blocklist" in told.lower() or "blocked" in told.lower(), told
        page.shutdown()
    assert asked == []


def test_the_configuration_is_closed_unless_the_user_opens_it(tmp_path):
    folder = home.prepare(tmp_path / "neo4j")
    home.write_conf(folder, home.settings_of(State(), "64m"))
    lines = (folder / "conf" / "neo4j.conf").read_text().splitlines()
    for key, value in confinement.SETTINGS.items():
        assert f"{key}={value}" in lines
    assert confinement.openings({}) == []
    assert confinement.openings(confinement.SETTINGS) == []
    (folder / "conf" / "extra.conf").write_text("server.directories.import=/data\n")
    home.write_conf(folder, home.settings_of(State(), "64m"))
    assert "server.directories.import=/data" in (folder / "conf" / "neo4j.conf").read_text()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("server.bolt.listen_address=0.0.0.0:7687", "other machines can reach it"),
        ("server.http.listen_address=[::]:7474", "other machines can reach it"),
        ("server.default_listen_address=192.168.1.5", "other machines can reach it"),
        ("server.bolt.listen_address=myhost:7687", "other machines can reach it"),
        ("dbms.security.auth_enabled=FALSE", "it asks for no password"),
        ("dbms.security.allow_csv_import_from_file_urls=true", "LOAD CSV can read files"),
        ("server.directories.import=/", "its import folder is '/'"),
        ("internal.dbms.cypher_ip_blocklist=", "LOAD CSV can fetch addresses"),
        ("dbms.security.procedures.unrestricted=*", "procedures.unrestricted"),
    ],
)
def test_a_setting_that_opens_the_server_is_named(tmp_path, line, said):
    folder = home.prepare(tmp_path)
    (folder / "conf" / "extra.conf").write_text(f"# mine\n\n{line}\n")
    [found] = confinement.openings(confinement.read_extra(folder))
    assert said in found


@pytest.mark.parametrize(
    "line",
    [
        f"server.bolt.listen_address={LOOPBACK}",
        "server.http.listen_address=localhost:7474",
        "server.http.listen_address=:7474",
        "server.default_listen_address=::1",
        "server.bolt.listen_address=[::1]:7687",
        "dbms.security.auth_enabled=true",
        "server.memory.pagecache.size=64m",
    ],
)
def test_a_setting_that_opens_nothing_is_not_named(tmp_path, line):
    folder = home.prepare(tmp_path)
    (folder / "conf" / "extra.conf").write_text(line + "\n")
    assert confinement.openings(confinement.read_extra(folder)) == []


def test_it_is_said_at_every_start_also_of_a_running_server(neo4j_server, capsys, monkeypatch):
    from scircuit.ingest.server import process

    extra = neo4j_server.home / "conf" / "extra.conf"
    extra.write_text("server.bolt.listen_address=0.0.0.0:7687\n")
    try:
        for _ in range(2):
            assert process.start(neo4j_server.home).pid == neo4j_server.pid
            assert "warning: " in (said := capsys.readouterr().err)
            assert "other machines can reach it" in said
    finally:
        extra.unlink()


def test_another_port_in_the_users_settings_is_refused(tmp_path):
    extra = {"server.bolt.listen_address": "127.0.0.1:9999"}
    confinement.check_ports(extra, 9999, 7474, tmp_path)
    with pytest.raises(UserError, match=r"but the port is 7687(.|\n)*db start --bolt-port 9999"):
        confinement.check_ports(extra, 7687, 7474, tmp_path)


@pytest.mark.parametrize(
    "content", [b"\xff\xfea\x00=\x00b\x00", b"\x80\x81", b"novalue\n", b"=x\n", b"a=\x1b[2J\n"]
)
def test_settings_that_are_no_text_are_refused(tmp_path, content):
    folder = home.prepare(tmp_path)
    (folder / "conf" / "extra.conf").write_bytes(content)
    with pytest.raises(UserError, match=r"extra\.conf") as caught:
        home.write_conf(folder, {})
    assert "name=value" in caught.value.fix and "\x1b" not in str(caught.value)
