"""Checks the wheel and the sdist in a folder: complete, nothing foreign, usable metadata.

``python -m tools.check_dist FOLDER`` prints each fault and exits with 1 if there is any.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import scircuit
from tools.import_graph import ROOMS

ROOT = Path(__file__).resolve().parent.parent
_KEYS = ("Name", "Version", "Summary", "License-Expression", "Requires-Python", "Requires-Dist")


def package_files() -> dict[str, str]:
    """Files of the package: where they are in the repository -> where they are in the wheel."""
    found = {}
    for top in ("scircuit", *ROOMS):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                found[name] = name if top == "scircuit" else f"scircuit/{name}"
    return found


def metadata_faults(metadata: Message) -> list[str]:
    """What a package index or a reader of the metadata would miss."""
    faults = [f"metadata: no {key}" for key in _KEYS if not metadata[key]]
    if metadata["Version"] != scircuit.__version__:
        faults.append(f"metadata: version {metadata['Version']}, code {scircuit.__version__}")
    if metadata["Description-Content-Type"] != "text/markdown":
        faults.append("metadata: the description is not declared as Markdown")
    if not str(metadata.get_payload()).startswith("# scircuit"):
        faults.append("metadata: the description is not the README")
    return faults


def wheel_faults(path: Path) -> list[str]:
    """What is missing from the wheel, and what should not be in it."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        info = f"scircuit-{scircuit.__version__}.dist-info"
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        commands = wheel.read(f"{info}/entry_points.txt").decode()
    top = {name.split("/")[0] for name in names}
    allowed = {"scircuit", info, info.replace(".dist-info", ".data")}
    expected = set(package_files().values())
    inside = {name for name in names if name.startswith("scircuit/")}
    return [
        *metadata_faults(metadata),
        *(f"wheel: {name} at the top level" for name in sorted(top - allowed)),
        *(f"wheel: {name} is missing" for name in sorted(expected - inside)),
        *(f"wheel: {name} is not in the repository" for name in sorted(inside - expected)),
        *(
            []
            if "scircuit = scircuit.cli.main:main" in commands
            else ["wheel: no command scircuit"]
        ),
    ]


def sdist_faults(path: Path) -> list[str]:
    """What is missing from the sdist."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {*package_files(), "pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"}
    return [f"sdist: {name} is missing" for name in sorted(expected - names)]


def main(folder: Path) -> int:
    """Check the one wheel and the one sdist of a folder."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        print(f"expected one wheel and one sdist in {folder}, found {wheels + sdists}")
        return 1
    faults = [*wheel_faults(wheels[0]), *sdist_faults(sdists[0])]
    print("\n".join(faults) or f"{wheels[0].name} and {sdists[0].name}: complete")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
