"""Which module of scircuit imports which, read from the source: at module level, for type checkers
alone, inside functions, and by a name in a string.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tools import import_graph
from tools.import_graph import ROOMS

ROOT = Path(__file__).resolve().parents[2]
# The folder of each top-level package: rooms are at the top of the repository.
FOLDERS = {room: ROOT / room for room in ROOMS} | {
    name: ROOT / "scircuit" / name for name in ("core", "execution", "workflows", "cli", "pl")
}
DOTTED = re.compile(r"scircuit(\.\w+)+")


class Import(NamedTuple):
    """One import of our own: the importing module and its line, the imported module, and the name
    taken from it.
    """

    source: str
    line: int
    target: str
    taken: str

    def __str__(self) -> str:
        path = modules()[self.source].relative_to(ROOT)
        return f"{path}:{self.line} imports {self.target}" + (f" ({self.taken})" * bool(self.taken))


@cache
def modules() -> dict[str, Path]:
    """File of every module by the name it is imported under; a package is its __init__."""
    return import_graph.modules(ROOT)


def product_files() -> list[Path]:
    """Every Python file that is installed."""
    return sorted(modules().values())


def package_of(module: str) -> str:
    """The package below scircuit that holds the module: its floor or room; empty for scircuit."""
    return module.split(".")[1] if "." in module else ""


def _of_tree(module: str, path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A module that is named in a string may be imported by it.
            named = DOTTED.match(node.value)
            names = [named.group()] if named and package_of(named.group()) in FOLDERS else []
        for name in names:
            if name.split(".")[0] != "scircuit":
                continue
            target, taken = name, ""
            while target not in modules() and "." in target:
                target, _, taken = target.rpartition(".")
            yield Import(module, node.lineno, target, taken)


@cache
def imports() -> tuple[Import, ...]:
    """Every import of one of our modules by another."""
    return tuple(
        found
        for module, path in modules().items()
        for found in _of_tree(module, path)
        if found.target != module
    )


def cycles() -> list[list[str]]:
    """Groups of modules that import each other in a circle, by any kind of import; each sorted."""
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for found in imports():
        graph[found.source].add(found.target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return sorted(groups)
