"""The floors of the package and what may import what:

    cli, pl  >  workflows  >  execution  >  tracing, analysis, ingest, queries  >  core

Nothing imports upward or sideways, whether at module level, for type checkers alone, inside a
function or by a name in a string. Failures name the file and the import."""

import json
import subprocess
import sys
import time

import pytest

import scircuit
from tests.support.import_graph import ROOMS, Import, cycles, imports, modules, package_of

FLOORS = (("core",), ROOMS, ("execution",), ("workflows",), ("cli", "pl"))
HEIGHT = {package: height for height, floor in enumerate(FLOORS) for package in floor}
# Rooms do not import each other, except that queries are sent through ingest's connection.
SIDEWAYS = {("queries", "scircuit.ingest.graph.connection")}
# Circles of modules that are allowed to remain, each with its reason; aim for none.
CIRCLES: dict[tuple[str, ...], str] = {}
# Functions that scircuit loads when they are first used; beside them it offers plots, `pl`.
OFFERED = sorted(set(dir(scircuit)) - set(vars(scircuit)) - {"pl"})
HEAVY = ("torch", "transformers", "pandas", "numpy", "scipy", "anndata", "matplotlib", "neo4j")


def loaded_by(code: str, *names: str) -> list[str]:
    """Those of `names` that a new process has loaded after `code`."""
    code += f"; import json, sys; print(json.dumps([m for m in {names!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def allowed(found: Import) -> bool:
    here, there = package_of(found.source), package_of(found.target)
    if not here:  # scircuit offers workflows and plots, loaded when they are first used
        return there in ("workflows", "pl", "core")
    if not there:  # what scircuit offers is for those above it
        return here in ("cli", "pl")
    if here == there or HEIGHT[there] < HEIGHT[here]:
        return True
    return (here, found.target) in SIDEWAYS


def test_every_module_is_on_a_floor():
    packages = {package_of(module) for module in modules()}
    assert packages == {"", *HEIGHT}


def test_nothing_imports_upward_or_sideways():
    wrong = [str(found) for found in imports() if not allowed(found)]
    assert not wrong, "\n".join(wrong)


def test_modules_import_each_other_in_no_circle():
    wrong = [
        str(i)
        for circle in cycles()
        if tuple(circle) not in CIRCLES
        for i in imports()
        if i.source in circle and i.target in circle
    ]
    assert not wrong, "\n".join(wrong)


def test_allowed_circles_are_still_there():
    assert set(CIRCLES) <= {tuple(circle) for circle in cycles()}


def test_the_graph_sees_every_kind_of_import():
    """Each kind of import is in the source today; a reader that misses one would pass all."""
    found = {(i.source, i.target) for i in imports()}
    assert ("scircuit", "scircuit.workflows") in found  # by a string
    assert ("scircuit.workflows.trace", "scircuit.core.config") in found  # at module level
    late = next(i for i in imports() if i.source == "scircuit.workflows.trace" and i.line > 40)
    assert late.target in modules()  # inside a function


@pytest.mark.parametrize("verb", OFFERED)
def test_what_scircuit_offers_is_a_workflow(verb):
    assert getattr(scircuit, verb).__module__.startswith("scircuit.workflows")


def test_workflows_know_nothing_of_the_command_line():
    for name in ("click", "rich_click"):
        wrong = [
            str(modules()[module])
            for module in modules()
            if package_of(module) != "cli" and f"import {name}" in modules()[module].read_text()
        ]
        assert wrong == []
    verbs = f"import scircuit; [getattr(scircuit, name) for name in {OFFERED}]"
    assert loaded_by("import scircuit; scircuit.query", "click") == []
    assert loaded_by(verbs, "click", "scircuit.cli") == []


def test_import_and_help_are_instant():
    """The limit is 0.3 s on a quiet machine; here what is loaded is checked, and time only in the
    coarsest way.
    """
    start = time.perf_counter()
    assert loaded_by("import scircuit, scircuit.cli.main", *HEAVY, "pyarrow") == []
    assert time.perf_counter() - start < 5


def test_help_of_every_verb_loads_nothing_heavy():
    code = (
        "import click; from scircuit.cli.main import cli; context = click.Context(cli);"
        " [cli.get_command(context, name).get_help(context) for name in cli.list_commands(context)]"
    )
    assert loaded_by(code, *HEAVY) == []
