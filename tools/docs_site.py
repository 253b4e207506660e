"""Hooks of the documentation site (``mkdocs.yml``): what it shows beside ``docs/``.

The site also has the README as its first page, CONTRIBUTING, CHANGELOG and the README of two
folders, and one page for each function that ``import scircuit as sc`` offers, made from the
docstrings. Links are written as GitHub needs them; here they are turned into links of the site.
"""

from __future__ import annotations

import ast
import os.path
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import scircuit

ROOT = Path(__file__).resolve().parent.parent
# file of the repository -> page of the site
REPOSITORY_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "docker/README.md": "containers.md",
}
_SOURCES = {page: source for source, page in REPOSITORY_PAGES.items()}
_T = TypeVar("_T", ast.FunctionDef, ast.ClassDef)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_ORDER = (
    *("check", "train", "trace", "load", "annotate", "analyse", "ablate", "steer", "match"),
    *("report", "query", "cypher", "connect", "runs", "import_", "export", "genesets", "demo"),
)
# Verbs whose options stand under another heading of the options page, or have none.
_OPTIONS = {"import_": "import-atlas", "genesets": "genesets-fetch"}
_NO_OPTIONS = {"load", "report", "query", "cypher", "connect", "runs", "demo"}


def api_order() -> list[str]:
    """The functions that `scircuit` exports, in the order in which a study uses them."""
    lazy = (name for name in dir(scircuit) if name not in vars(scircuit))
    exported = [name for name in lazy if not (ROOT / "scircuit" / name).is_dir()]
    return sorted(exported, key=lambda name: (*_ORDER, name).index(name))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the exported functions to the navigation."""
    pages = [{f"sc.{verb}": f"api/{verb}.md"} for verb in api_order()]
    assert config.nav is not None
    config.nav.append({"Python": ["api/index.md", *pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of ``docs/``."""
    for source, page in REPOSITORY_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "api/index.md", content=api_index()))
    for verb in api_order():
        files.append(File.generated(config, f"api/{verb}.md", content=api_page(verb)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Turn the links of the repository into links of the site."""
    here = page.file.src_uri
    source = _SOURCES.get(here, posixpath.join("docs", here))
    return _LINK.sub(
        lambda match: site_link(match.group(), source, here, config.extra["repository"]), markdown
    )


def site_link(link: str, source: str, page: str, repository: str) -> str:
    """A link in the file `source` of the repository, as the page `page` of the site needs it.

    Files that are no pages of the site are linked in the repository.
    """
    if re.match(r"[a-z]+:|#", link):
        return link
    path, mark, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if target in REPOSITORY_PAGES:
        target = REPOSITORY_PAGES[target]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif not page.startswith("api/"):
        return f"{repository.rstrip('/')}/blob/main/{target}{mark}{anchor}"
    else:
        return link
    return f"{os.path.relpath(target, posixpath.dirname(page) or '.')}{mark}{anchor}"


def api_index() -> str:
    """The list of exported functions, with the first sentence of each."""
    rows = [f"| [`sc.{verb}`]({verb}.md) | {_summary(verb)} |" for verb in api_order()]
    return "\n".join(
        [
            "# Python",
            "",
            "`import scircuit as sc` gives one function for each verb of the command line, and a",
            "few more. They take the options of the command line by the same names"
            " ([options](../options.md)).",
            "",
            "| function | what it does |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def api_page(verb: str) -> str:
    """The page of one exported function: its docstring and that of what it returns."""
    module, function = _function(verb)
    lines = [
        f"::: {module}.{verb}",
        "    options:",
        f"      heading: sc.{verb}",
        f"      toc_label: sc.{verb}",
        "      heading_level: 1",
        "",
    ]
    if verb not in _NO_OPTIONS:
        anchor = _OPTIONS.get(verb, verb)
        lines += [f"All options: [options](../options.md#{anchor}).", ""]
    for name in _returned(module, function):
        lines += [f"::: {name}", ""]
    return "\n".join(lines)


def _function(verb: str) -> tuple[str, ast.FunctionDef]:
    """Module and definition of an exported function, read without importing it."""
    for folder in ("workflows", "execution"):
        for path in sorted((ROOT / "scircuit" / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found = _defined(module, verb, ast.FunctionDef)
            if found:
                return module, found
    raise ValueError(f"no definition of sc.{verb} in scircuit/workflows or scircuit/execution")


def _path(module: str) -> Path:
    parts = module.split(".")
    base = ROOT if parts[1:] and (ROOT / parts[1]).is_dir() else ROOT / "scircuit"
    path = base.joinpath(*parts[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _defined(module: str, name: str, kind: type[_T]) -> _T | None:
    return next((n for n in _tree(module).body if isinstance(n, kind) and n.name == name), None)


def _returned(module: str, function: ast.FunctionDef) -> Iterator[str]:
    """Classes of ours that a function returns."""
    if function.returns is None:
        return
    for name in sorted({n.id for n in ast.walk(function.returns) if isinstance(n, ast.Name)}):
        if _defined(module, name, ast.ClassDef):
            yield f"{module}.{name}"
        for node in ast.walk(_tree(module)):
            if (
                isinstance(node, ast.ImportFrom)
                and (node.module or "").startswith("scircuit.")
                and name in {alias.name for alias in node.names}
                and _defined(node.module or "", name, ast.ClassDef)
            ):
                yield f"{node.module}.{name}"
                break


def _summary(verb: str) -> str:
    text = " ".join((ast.get_docstring(_function(verb)[1]) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", text)[0].replace("|", "\\|")
