"""The layout that makes the source readable: sizes of files and folders, names that mean one thing,
types that say something.
"""

import ast
import statistics
from collections import Counter, defaultdict

import scircuit
from tests.support.import_graph import ROOT, modules, product_files

MAX_LINES, MAX_MODULES, MAX_ANY = 500, 16, 100
OTHER_VERBS = {"import", "db"}  # of the command line alone
NOUNS = {"genesets"}  # the one verb whose name is a thing, and a room's part is named after it
OFFERED = set(dir(scircuit)) - set(vars(scircuit)) - {"pl"}


def sizes():
    return {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in product_files()
        if path.name != "__init__.py"
    }


def listed(found):
    """The findings, each on a line of the failure's message."""
    return "\n".join(f"{name}: {what}" for name, what in sorted(found.items()))


def test_files_are_short():
    assert statistics.median(sizes().values()) < 200
    long = {name: lines for name, lines in sizes().items() if lines > MAX_LINES}
    assert not long, listed(long)


def test_tests_are_short():
    tests = {p: len(p.read_text().splitlines()) for p in (ROOT / "tests").rglob("*.py")}
    long = {str(p.relative_to(ROOT)): lines for p, lines in tests.items() if lines > MAX_LINES}
    assert not long, listed(long)


def test_folders_are_small():
    counts = Counter(str(p.parent.relative_to(ROOT)) for p in map(ROOT.joinpath, sizes()))
    full = {folder: n for folder, n in counts.items() if n > MAX_MODULES}
    assert not full, listed(full)


def test_no_file_name_means_two_things():
    """A module of the command line may have the name of the workflow whose options it holds."""
    places = defaultdict(list)
    for path in product_files():
        if path.stem != "__init__":
            places[path.stem].append(str(path.relative_to(ROOT)))
    twice = {
        name: paths
        for name, paths in places.items()
        if len(paths) > 1 and paths != [f"scircuit/cli/{name}.py", f"scircuit/workflows/{name}.py"]
    }
    assert not twice, listed(twice)


def test_no_package_carries_the_name_of_a_verb():
    verbs = {*OFFERED, *OTHER_VERBS}
    packages = [m for m, path in modules().items() if path.name == "__init__.py" and "." in m]
    assert [m for m in packages if m.rpartition(".")[2] in verbs - NOUNS] == []
    # Nor a module directly below scircuit: to import it would replace the verb.
    assert [m for m in modules() if m.count(".") == 1 and m.split(".")[1] in verbs] == []


def parameters_of_any():
    """Every annotated parameter of the product whose type holds Any."""
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            of = node.args
            extra = [a for a in (of.vararg, of.kwarg) if a]
            for argument in [*of.posonlyargs, *of.args, *of.kwonlyargs, *extra]:
                names = [n.id for n in ast.walk(argument) if isinstance(n, ast.Name)]
                if "Any" in names:
                    where = f"{path.relative_to(ROOT)}:{argument.lineno}"
                    yield f"{where} {node.name}({argument.arg})"


def test_few_parameters_may_be_anything():
    found = list(parameters_of_any())
    assert len(found) <= MAX_ANY, "\n".join([f"{len(found)} of at most {MAX_ANY}:", *found])


def test_nothing_changes_the_import_path():
    folders = ("tests", "bench", "tools", "scircuit", "tracing", "analysis", "ingest", "queries")
    changed = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "sys.path." + "insert" in path.read_text() or "sys.path." + "append" in path.read_text()
    ]
    assert not changed, "\n".join(changed)
