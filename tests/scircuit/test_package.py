"""What is installed: one import package, every file of it, and a demo that runs where nothing else
of the project is.
"""

import json
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.package_build import (
    EXAMPLES,
    build,
    clean_environment,
    copy_checkout,
    example_names,
    installed_names,
)

SHARE = "data/share/scircuit/examples/"


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """A wheel built from the checkout's files."""
    source = copy_checkout(root, tmp_path_factory.mktemp("checkout"))
    (built,) = build(source, tmp_path_factory.mktemp("wheel"), "--wheel")
    return built


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        names = [name for name in file.namelist() if not name.endswith(("/", "/RECORD"))]
        return {name: file.read(name) for name in names}


def test_the_wheel_holds_one_package(wheel):
    top = {name.split("/")[0] for name in content(wheel)}
    assert {name for name in top if not name.endswith((".dist-info", ".data"))} == {"scircuit"}


def test_the_wheel_holds_every_file(root, wheel):
    found = {name for name in content(wheel) if name.startswith("scircuit/")}
    wanted = installed_names(root)
    kinds = {Path(name).suffix for name in wanted}
    assert {".py", ".cypher", ".gz", ".tsv", ".j2", ".css", ".js", ".typed"} <= kinds
    assert wanted - found == set()
    assert found - wanted == set()


def test_the_wheel_holds_the_files_of_the_demo(root, wheel):
    found = {name.split(SHARE)[1] for name in content(wheel) if SHARE in name}
    assert {name.split("/")[0] for name in found} == set(EXAMPLES)
    assert found == example_names(root)


def test_the_sdist_builds_the_same_wheel(root, wheel, tmp_path):
    again, sdist = build(copy_checkout(root, tmp_path / "checkout"), tmp_path / "dist")
    assert sdist.name.endswith(".tar.gz") and again.suffix == ".whl"
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"} <= inside
    assert content(again) == content(wheel)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Python of a new environment that has the wheel; its dependencies are those of this one."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    subprocess.run([*command, "--no-index", "--quiet", wheel], check=True)
    # A folder that a .pth file adds is not searched for .pth files itself: an editable install of
    # the checkout does not come along.
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(found.stdout.strip()) / "dependencies.pth").write_text("\n".join(sorted(packages)))
    return python


def run(program, *command, cwd, timeout=1500):
    return subprocess.run(
        [program, *map(str, command)],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


ORIGIN = """
import importlib.metadata, json
import scircuit, scircuit.tracing, scircuit.analysis, scircuit.ingest, scircuit.queries
from scircuit.workflows.demo import examples_folder
files = [m.__file__ for m in (scircuit, scircuit.tracing, scircuit.analysis, scircuit.ingest)]
version = importlib.metadata.version("scircuit")
print(json.dumps([files, str(examples_folder()), version == scircuit.__version__]))
"""


def test_the_installed_package_is_not_the_checkout(root, installed, tmp_path):
    done = run(installed, "-c", ORIGIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files, examples, same_version = json.loads(done.stdout)
    place = installed.parent.parent
    assert all(Path(file).is_relative_to(place) for file in files)
    assert Path(examples) == place / "share" / "scircuit" / "examples"
    assert same_version


@pytest.fixture
def study(installed, tmp_path):
    """Folder of a study; its server is stopped at the end."""
    yield tmp_path / "study"
    stopped = run(
        installed.parent / "scircuit", "db", "stop", "--study", tmp_path / "study", cwd=tmp_path
    )
    assert stopped.returncode == 0, stopped.stderr


@pytest.mark.server
def test_the_installed_package_runs_the_demo(installed, study, tmp_path):
    small = ("--cells", 6, *(word for f in range(12) for word in ("--feature", f)))
    program = installed.parent / "scircuit"
    done = run(program, "demo", "--study", study, *small, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["edges_in_graph"] == found["edges_traced"] > 0
    assert Path(found["report"]).read_text().count("data:image/svg+xml") >= 5
