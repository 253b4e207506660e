"""Who may import whom, how big files may be, and that a script cannot shadow a room unnoticed."""

import ast
import statistics
import subprocess
import sys
import time

import pytest

from scircuit import ROOMS

SHARED = {"address", "records", "run", "settings"}
ALLOWED = {("queries", "ingest.connection")}


def modules(root, room):
    return [p for p in (root / room).rglob("*.py") if "__pycache__" not in p.parts]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_the_shared_words(root, room):
    wrong = []
    for path in modules(root, room):
        for name in imports(path):
            if name.split(".")[0] != "scircuit" or name == "scircuit":
                continue
            name = name.removeprefix("scircuit.")
            head = name.split(".")[0]
            if head not in (*ROOMS, *SHARED):
                wrong.append(f"{path.relative_to(root)} imports {name}")
            elif (
                head in ROOMS
                and head != room
                and not any(room == r and (name + ".").startswith(m + ".") for r, m in ALLOWED)
            ):
                if name == "ingest" and room == "queries":
                    continue
                wrong.append(f"{path.relative_to(root)} imports {name}")
    assert not wrong


def test_shared_words_import_no_room(root):
    for word in SHARED:
        names = {
            name.split(".")[1]
            for name in imports(root / "scircuit" / f"{word}.py")
            if name.startswith("scircuit.")
        }
        assert not names & set(ROOMS)


def test_files_stay_readable(root):
    sizes = {
        p: len(p.read_text().splitlines())
        for room in (*ROOMS, "scircuit")
        for p in modules(root, room)
        if p.name != "__init__.py"
    }
    assert statistics.median(sizes.values()) < 200
    assert not {str(p.relative_to(root)): n for p, n in sizes.items() if n > 500}


def test_import_and_help_are_instant():
    """The limit is 0.3 s on a quiet machine; here what is loaded is checked, and time only in the
    coarsest way.
    """
    code = (
        "import scircuit, scircuit.cli.main, sys; print([m for m in ('torch', 'transformers',"
        " 'pandas', 'numpy', 'matplotlib', 'neo4j', 'pyarrow') if m in sys.modules])"
    )
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    assert time.perf_counter() - start < 5
