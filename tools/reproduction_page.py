"""``docs/reproduction.md``: published numbers beside their recomputation, from the studies' files.

``python -m tools.reproduction_page FOLDER ATLAS`` writes it. The files are not part of the
repository, so this page is not among those of `tools.pages`; a test compares it with what the files
at hand give.
"""

from __future__ import annotations

import sys
from pathlib import Path

import scircuit

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reproduction.md"


def main() -> None:
    """Write the page from a folder of result files and a folder of feature atlases."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tools.reproduction_page FOLDER ATLAS")
    print(str(scircuit.reproduce(path=sys.argv[1], atlas=sys.argv[2], out=PAGE)).splitlines()[-2])


if __name__ == "__main__":
    main()
