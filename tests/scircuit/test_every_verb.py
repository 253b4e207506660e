"""Every verb is killed (SIGKILL) at random moments and given again: the study, the files it wrote
and the graph are those of an undisturbed run. `trace` itself: `tests/scircuit/test_resume.py`.
"""

from __future__ import annotations

import random
import re
import shutil
import signal

import pytest

from tests.support.atlas_tiny import files, write
from tests.support.graph_digest import graph_digest
from tests.support.kills import call, records
from tests.support.named_study import edges_file

QUIET = {"database": False, "quiet": True}


@pytest.fixture
def base(named_base):
    return named_base


class Place:
    """The same study again and again, at the same place: paths are in some findings."""

    def __init__(self, base, folder):
        self.base, self.path = base, folder / "study"

    def again(self, empty=False):
        shutil.rmtree(self.path, ignore_errors=True)
        if not empty:
            shutil.copytree(self.base.study, self.path)
        return self.path


@pytest.fixture
def place(base, tmp_path):
    return Place(base, tmp_path)


RUNS = {
    "annotate": ("scircuit.workflows.annotate:annotate", {"seed": 1}),
    "analyse": ("scircuit.workflows.analyse:analyse", {"seed": 1}),
    "predict": ("scircuit.workflows.evidence.predict:predict", {"seed": 1}),
    "ablate": ("scircuit.workflows.interventions.ablate:ablate", {}),
    "steer": ("scircuit.workflows.interventions.steer:steer", {}),
    "importance": ("scircuit.workflows.interventions.importance:importance", {}),
    "circuit": ("scircuit.workflows.interventions.circuit:circuit", {}),
}
IMPORTS = ("edges", "atlas")


def disturbed(function, arguments, options, steps, seed, **how):
    """Kill a call twice, the second time earlier in what is left, and then let it end."""
    chance = random.Random(seed)
    first = chance.randint(2, steps)
    for at in (first, chance.randint(1, first - 1)):
        code, _ = call(function, arguments, options, at=at, before=chance.random() < 0.5, **how)
        # the second call has fewer steps left
        assert code == -signal.SIGKILL or (code == 0 and at < first)
    assert call(function, arguments, options, **how)[0] == 0


@pytest.mark.parametrize("verb", RUNS)
def test_a_verb_that_makes_a_run(base, place, verb):
    function, more = RUNS[verb]
    options = base.verbs()[verb] | more | {"database": False, "study": place.path}
    options |= {} if verb == "analyse" else {"quiet": True}
    place.again()
    code, steps = call(function, options=options)
    assert code == 0 and steps >= 4
    whole, before = records(place.path), records(base.study)
    assert len(whole) == len(before) + 1 and before.items() <= whole.items()
    place.again()
    disturbed(function, (), options, steps, verb)
    assert records(place.path) == whole


@pytest.mark.parametrize("kind", IMPORTS)
def test_imports(place, tmp_path, kind):
    path = edges_file(tmp_path, "e") if kind == "edges" else write(tmp_path / "atlas", files())
    options = {"path": path, "model_name": "toy", "dictionary_name": "s", "study": place.path}
    function = "scircuit.workflows.importing:import_"
    code, steps = call(function, (kind,), options | QUIET)
    assert code == 0 and steps >= 4
    whole = records(place.path)
    place.again(empty=True)
    disturbed(function, (kind,), options | QUIET, steps, kind)
    assert records(place.path) == whole and len(whole) == 1


def contents(path):
    """Bytes of every file of an export, and of a page without the time when it was written."""
    if path.is_file():
        return re.sub(rb"\d\d:\d\d(:\d\d)?( UTC)?", b"", path.read_bytes())
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


OUTPUTS = {
    "report": ("scircuit.workflows.report:report", {}, "study/report/index.html"),
    "parquet": ("scircuit.workflows.exporting:export", {"q": 1.0}, "out"),
    "graphml": ("scircuit.workflows.exporting:export", {"q": 1.0}, "out.graphml"),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_what_is_written_for_others(place, tmp_path, what):
    """The earlier output is whole until the new one is."""
    function, options, name = OUTPUTS[what]
    options, out = options | {"study": place.again()}, tmp_path / name
    if what != "report":
        options |= {"out": out, "format": what, "quiet": True}
    code, steps = call(function, options=options)
    assert code == 0 and steps >= 1
    whole = contents(out)
    # the first call had no folder to put aside
    for at in range(1, steps + 1 + out.is_dir()):
        assert call(function, options=options, at=at) == (-signal.SIGKILL, at)
    assert call(function, options=options)[0] == 0
    assert contents(out) == whole
    assert sorted(p.name for p in out.parent.iterdir() if p.name.startswith(".")) == []


def test_loading(base, place, neo4j_clean, tmp_path):
    from scircuit.ingest.graph.connection import Connection, Target
    from tests.support.neo4j_fixtures import empty_graph

    target = Target(neo4j_clean.uri, neo4j_clean.user, neo4j_clean.password)
    how = {
        "of": "statement",
        "environment": {
            "NEO4J_URI": target.uri,
            "NEO4J_USERNAME": target.user,
            "NEO4J_PASSWORD": target.password,
        },
    }
    function, study = "scircuit.workflows.database:load", place.again()
    code, steps = call(function, (study,), **how)
    assert code == 0 and steps > 20
    with Connection.open(target) as connection:
        whole = graph_digest(connection)
        assert whole["Feature"].count > 100 and whole["Feature-AFFECTS-Feature"].count > 10
        empty_graph(connection._driver)
        # constraints and indexes are there the second time, so there are fewer steps
        disturbed(function, (study,), {}, steps // 2, "load", **how)
        assert graph_digest(connection) == whole
        before = records(study)
        assert records(base.study).keys() == before.keys()
