"""``scircuit db`` prints the password only when asked, and commands so that a shell reads them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from scircuit.cli.db import db
from scircuit.core.errors import quoted
from scircuit.ingest.server import ServerInfo
from scircuit.workflows import database

ROOT = Path(__file__).resolve().parents[2]
SECRET = "5ecre7" * 5
STUDY = "my study (a, b) #1; $(touch x) 'é'"


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What a verb of ``scircuit db`` prints beside a running server."""
    info = ServerInfo(
        uri="bolt://127.0.0.1:7687",
        user="neo4j",
        password=SECRET,
        browser="http://127.0.0.1:7474/browser/",
        http="http://127.0.0.1:7474",
        version="2026.07.1",
        pid=17,
        home=tmp_path / "neo4j",
        running=True,
    )
    monkeypatch.setattr(database, "status", lambda *_: info)
    monkeypatch.setattr(database, "start", lambda *_: info)

    (tmp_path / STUDY / "neo4j").mkdir(parents=True)

    def run(*words: str) -> str:
        answer = CliRunner().invoke(
            db, [*words, "--study", str(tmp_path / STUDY)], catch_exceptions=False
        )
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    return run


@pytest.mark.parametrize("verb", [("start",), ("status",), ("browser", "--print")])
def test_the_password_is_shown_when_asked(shown, verb):
    assert SECRET not in shown(*verb)
    assert SECRET in shown(*verb, "--show-password")


@pytest.mark.parametrize("verb", ["start", "status"])
def test_a_program_gets_the_password_when_asked(shown, verb, tmp_path):
    hidden = json.loads(shown(verb, "--json"))
    assert hidden["password"] is None
    assert hidden["password_file"] == str(tmp_path / "neo4j" / "password")
    assert json.loads(shown(verb, "--json", "--show-password"))["password"] == SECRET


def test_printed_commands_can_be_copied(shown, tmp_path):
    commands = re.findall(r"scircuit db .*", shown("status"))
    assert len(commands) == 2
    for command in commands:
        assert shlex.split(command)[-2:] == ["--study", str(tmp_path / STUDY)]


@pytest.mark.parametrize("path", ["plain", "a b", "a'b", "$HOME", "-x", "é", "a\nb", "*"])
def test_a_quoted_path_is_one_word(path):
    assert shlex.split(quoted(Path(path))) == [path]


def test_every_command_of_the_product_quotes_its_study():
    """Looked for in the source, because most are in messages of rare errors."""
    bare = []
    for folder in ("scircuit", "tracing", "analysis", "ingest", "queries"):
        for path in (ROOT / folder).rglob("*.py"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(r"--study \{(?!quoted\(|' or --study '\.join\(map\(quoted, )", line):
                    bare.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not bare, "\n".join(bare)
