"""The wheel and the sdist of this checkout, built from a copy of its files so that the checkout
stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PRODUCT = ("scircuit", "tracing", "ingest", "analysis", "queries")
EXAMPLES = ("cells", "model", "dictionaries", "thp1")  # what `scircuit demo` reads


def checkout_files(root: Path) -> list[str]:
    """Files of the checkout that git does not ignore, as paths below it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return sorted(name for name in listed if name and (root / name).is_file())


def copy_checkout(root: Path, folder: Path) -> Path:
    """A copy of those files; its folder."""
    for name in checkout_files(root):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, folder / name)
    return folder


def build(source: Path, out: Path, *kinds: str) -> list[Path]:
    """Build `kinds`, or by default the sdist and a wheel from it, with the setuptools that is
    installed; the files built.
    """
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", out, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return sorted(out.iterdir())


def installed_names(root: Path) -> set[str]:
    """Names in a wheel of everything below the product's folders: rooms lie inside scircuit."""
    names = set()
    for name in checkout_files(root):
        folder = name.split("/")[0]
        if folder in PRODUCT:
            names.add(name if folder == "scircuit" else f"scircuit/{name}")
    return names


def example_names(root: Path) -> set[str]:
    """The files of the demo, below `examples`."""
    names = (name.removeprefix("examples/") for name in checkout_files(root / "examples"))
    return {name for name in names if name.split("/")[0] in EXAMPLES}


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what could lead a new Python to the checkout or to a database."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NEO4J_", "PYTHON"))}
    return kept | more
