"""The import graph of the code: which sub-package imports which, as pictures and as tables.

The code is parsed, not run. Imports inside functions and for type checking count like any other.
An arrow points from the importing to the imported sub-package.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.layered_drawing import draw

ROOMS = ("tracing", "analysis", "ingest", "queries")
FLOORS = (("cli", "pl"), ("workflows",), ("execution",), ROOMS, ("core",))


class ImportGraph(NamedTuple):
    """Sub-packages with the first sentence of each, and how often one imports another."""

    purpose: dict[str, str]
    imports: Counter[tuple[str, str]]


def modules(root: Path) -> dict[str, Path]:
    """All modules by the name under which they are imported."""
    found = {}
    for top in ("scircuit", *ROOMS):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts if top == "scircuit" else ("scircuit", *parts)
            found[".".join(p for p in parts if p != "__init__")] = path
    return found


def sub_package(module: str) -> str:
    """The node of the graph that a module belongs to, such as ``tracing.engine`` or ``execution``.

    A module that lies directly in a room belongs to the room itself.
    """
    parts = module.split(".")[1:]
    if not parts:
        return ""
    deep = len(parts) > 1 and parts[0] in ROOMS
    return ".".join(parts[:2]) if deep else parts[0]


def imported(tree: ast.Module) -> Iterator[str]:
    """Full names of what a module imports from this project."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "scircuit")


def import_graph(root: Path) -> ImportGraph:
    """The graph of all sub-packages of the working copy `root`."""
    found = modules(root)
    packages = {name for name, path in found.items() if path.name == "__init__.py"}
    folders = {name.removeprefix("scircuit.") for name in packages if name != "scircuit"}

    def node(module: str) -> str:
        name = sub_package(module)
        return name if name in folders else name.split(".")[0]

    purpose: dict[str, str] = {}
    imports: Counter[tuple[str, str]] = Counter()
    for module, path in found.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        here = node(module)
        if here and f"scircuit.{here}" == module:
            text = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
            purpose[here] = text.split(". ")[0].rstrip(".")
        for name in imported(tree):
            while name not in found:
                name = name.rpartition(".")[0]
            there = node(name)
            if here and there and here != there:
                imports[here, there] += 1
    return ImportGraph(purpose, imports)


def floors_picture(graph: ImportGraph) -> str:
    """The floors and the rooms, with the number of imports on each arrow.

    `queries` alone imports from another room: the connection of `ingest`, which stands below it.
    """
    arrows: Counter[tuple[str, str]] = Counter()
    for (a, b), count in graph.imports.items():
        a, b = a.split(".")[0], b.split(".")[0]
        if a != b and b != "core":
            arrows[a, b] += count
    present = {name.split(".")[0] for name in graph.purpose} - {"core"}
    above = [[x for x in floor if x in present and x != "ingest"] for floor in FLOORS]
    layers = [*(row for row in above if row), ["ingest"], ["core: imported by all of them"]]
    drawn = {pair: str(count) for pair, count in arrows.items()}
    return draw(layers, drawn, "Floors: who imports whom")


def room_picture(graph: ImportGraph, room: str) -> str:
    """The sub-packages of one room; a sub-package stands above those it imports.

    Modules that are in no sub-package are one box together.
    """
    inside = {name for name in graph.purpose if name == room or name.startswith(f"{room}.")}
    label = {name: name.partition(".")[2] or f"modules of {room}/" for name in inside}
    arrows = {(label[a], label[b]): "" for a, b in graph.imports if {a, b} <= inside}
    joined = {name for arrow in arrows for name in arrow}
    names = sorted(label[name] for name in inside if name != room or label[name] in joined)
    return draw(layered(names, list(arrows)), arrows, f"Sub-packages of {room}")


def layered(names: list[str], arrows: list[tuple[str, str]]) -> list[list[str]]:
    """Names in rows so that arrows point downwards, as far as there are no circles."""
    below = defaultdict(set)
    for a, b in arrows:
        below[a].add(b)
    height: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> int:
        if name not in height:
            under = [visit(x, (*path, name)) for x in sorted(below[name]) if x not in path]
            height[name] = 1 + max(under, default=-1)
        return height[name]

    for name in names:
        visit(name, (name,))
    rows: dict[int, list[str]] = defaultdict(list)
    for name in names:
        rows[height[name]].append(name)
    return [rows[h] for h in sorted(rows, reverse=True)]


def tables(graph: ImportGraph) -> str:
    """One table for each floor and room: sub-package, what it is for, and what it imports."""
    lines = []
    for floor in FLOORS:
        for top in floor:
            names = [n for n in sorted(graph.purpose) if n == top or n.startswith(f"{top}.")]
            rows = [_row(graph, n, top) for n in names if graph.purpose[n] or top not in ROOMS]
            if rows:
                lines += [f"**{top}**", "", "| folder | purpose | imports |", "|---|---|---|"]
                lines += [*rows, ""]
    return "\n".join(lines)


def _row(graph: ImportGraph, name: str, top: str) -> str:
    path = name.replace(".", "/")
    folder = f"{path}/" if top in ROOMS else f"scircuit/{path}/"
    others = sorted(b for a, b in graph.imports if a == name and b not in ("core", top))
    inside = top in ROOMS
    shown = [b.removeprefix(f"{top}.") if inside else b for b in others]
    if not inside:  # upper floors: rooms instead of their sub-packages
        shown = sorted({b.split(".")[0] for b in shown})
    purpose = graph.purpose[name].replace("|", "\\|")
    return f"| `{folder}` | {purpose} | {', '.join(shown) or '-'} |"
