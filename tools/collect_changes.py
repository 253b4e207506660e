"""Moves the fragments of ``changes/`` into ``CHANGELOG.md``.

``python -m tools.collect_changes`` adds them to the unreleased section and deletes the files;
``python -m tools.collect_changes --release`` also dates that section.
"""

from __future__ import annotations

import argparse
import datetime
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("added", "changed", "removed", "fixed")
_SECTION = re.compile(r"^## (?P<version>\S+) \(unreleased\)\n(?P<body>.*?)(?=^## |\Z)", re.M | re.S)


def fragments(folder: Path) -> dict[str, list[str]]:
    """The sentences of a folder by kind.

    Raises
    ------
    ValueError
        If a file has no known kind, or not exactly one line.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        kind = path.name.split(".")[-2]
        lines = path.read_text(encoding="utf-8").strip().splitlines()
        if kind not in KINDS or path.name.count(".") != 2:
            raise ValueError(f"{path.name}: expected NAME.KIND.md with KIND one of {KINDS}")
        if len(lines) != 1 or not lines[0].endswith("."):
            raise ValueError(f"{path.name}: expected one sentence on one line")
        found.setdefault(kind, []).append(lines[0])
    return found


def with_fragments(changelog: str, found: dict[str, list[str]]) -> str:
    """The change log with sentences added to its unreleased section.

    Raises
    ------
    ValueError
        If it has no unreleased section.
    """
    section = _SECTION.search(changelog)
    if section is None:
        raise ValueError("CHANGELOG.md has no section '## VERSION (unreleased)'; add one")
    body = section["body"].strip()
    for kind, sentences in found.items():
        heading = f"### {kind.capitalize()}"
        lines = "\n".join(f"- {sentence}" for sentence in sentences)
        if heading in body:
            body = body.replace(heading, f"{heading}\n{lines}", 1)
        else:
            body = f"{body}\n\n{heading}\n{lines}".lstrip()
    start, end = section.span("body")
    return f"{changelog[:start]}\n{body}\n\n{changelog[end:]}"


def main() -> None:
    """Collect the fragments of this repository."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", action="store_true", help="date the unreleased section")
    release = parser.parse_args().release
    path, folder = ROOT / "CHANGELOG.md", ROOT / "changes"
    text = with_fragments(path.read_text(encoding="utf-8"), fragments(folder))
    if release:
        text = text.replace("(unreleased)", f"({datetime.date.today().isoformat()})", 1)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    for file in folder.glob("*.*.md"):
        file.unlink()


if __name__ == "__main__":
    main()
