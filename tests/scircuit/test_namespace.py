"""Files of the user that are named as rooms of scircuit are do not matter to it."""

import subprocess
import sys

import pytest

from tests.support.package_build import clean_environment

SCRIPT = """
import json
import scircuit as sc
import scircuit.tracing, scircuit.analysis, scircuit.ingest, scircuit.queries
from scircuit.analysis.circuits import degree
from scircuit.tracing.engine import tracer
print(json.dumps([sc.query.__module__, sc.trace.__module__, sc.analyse.__module__]))
"""


@pytest.fixture
def folder(tmp_path):
    """A user's folder with a script and folders of those names, which end what imports them."""
    stop = "raise SystemExit('the file of the user was imported')\n"
    for name in ("tracing", "ingest", "queries"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(stop)
    for name in ("core", "config", "execution", "workflows"):
        (tmp_path / f"{name}.py").write_text(stop)
    (tmp_path / "analysis.py").write_text(SCRIPT)
    return tmp_path


def run(*command, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OFFERED = '["scircuit.workflows.query", "scircuit.workflows.trace", "scircuit.workflows.analyse"]'


def test_a_script_named_as_a_room(folder, tmp_path_factory):
    """Python puts the folder of a script in front of everything else."""
    assert run("analysis.py", cwd=folder) == OFFERED
    assert run(folder / "analysis.py", cwd=tmp_path_factory.mktemp("elsewhere")) == OFFERED


def test_folders_named_as_rooms(folder):
    """Python puts the current folder in front of everything else for ``-c`` and ``-m``."""
    (folder / "analysis.py").write_text("raise SystemExit('the file of the user was imported')\n")
    (folder / "mine.py").write_text(SCRIPT)
    assert run("-c", SCRIPT, cwd=folder) == OFFERED
    assert run("-m", "mine", cwd=folder) == OFFERED


def test_the_command_line_beside_such_files(folder):
    start = "from scircuit.cli.main import main; main()"
    assert "strongest_edges" in run("-c", start, "query", "--list", cwd=folder)
