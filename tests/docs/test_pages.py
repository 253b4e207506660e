"""The generated pages and pictures are those that the code gives now."""

from pathlib import Path

import pytest

from scircuit.core.glossary import TERMS
from tools.glossary_page import occurrences
from tools.import_graph import import_graph, layered
from tools.layered_drawing import draw
from tools.pages import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_do_not_drift(root, name):
    on_disk = (root / "docs" / name).read_text()
    assert on_disk == PAGES[name]().rstrip("\n") + "\n", (
        f"docs/{name} differs from the code: run `make pages`"
    )


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_every_term_of_the_glossary_is_used(term):
    assert any(occurrences(term).values()), f"nothing uses {term.name!r}: leave it out"


def test_terms_are_defined_once_and_refer_to_terms():
    names = [term.name for term in TERMS]
    assert len(names) == len(set(names))
    assert {name for term in TERMS for name in term.also} <= set(names)
    assert all(term.meaning.endswith(".") for term in TERMS)


def test_the_import_graph_has_every_kind_of_import(tmp_path):
    for name, text in {
        "scircuit/__init__.py": "",
        "scircuit/core/__init__.py": "",
        "scircuit/core/files.py": "",
        "scircuit/cli/__init__.py": '"""The command line. More."""',
        "scircuit/cli/main.py": "import scircuit.core.files\nimport scircuit.tracing.cells.cohort",
        "tracing/__init__.py": "",
        "tracing/cells/__init__.py": '"""Cells."""',
        "tracing/cells/cohort.py": "def f():\n    from scircuit.core.files import x",
        "tracing/engine/__init__.py": "from scircuit.tracing.cells import cohort",
    }.items():
        path = Path(tmp_path / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = import_graph(tmp_path)
    assert graph.imports == {
        ("cli", "core"): 1,
        ("cli", "tracing.cells"): 1,
        ("tracing.cells", "core"): 1,
        ("tracing.engine", "tracing.cells"): 1,
    }
    assert graph.purpose["cli"] == "The command line"


def test_rows_of_a_picture_point_downwards():
    arrows = [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")]
    rows = layered(list("abcd"), arrows)
    assert rows == [["a"], ["b", "d"], ["c"]]
    picture = draw(rows, dict.fromkeys(arrows, "2"), "a graph")
    assert picture.count('class="arrow"') == 4 and 'class="up"' not in picture
    upwards = draw(rows, {("c", "a"): ""}, "a graph")
    assert 'class="up"' in upwards
