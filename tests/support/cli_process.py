"""The command line in this process, with the exit code a shell would get."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple

# the same in a process of its own, before its arguments
PROGRAM = (sys.executable, "-c", "from scircuit.cli.main import main; main()")


class Ended(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def scircuit(*arguments: object) -> Ended:
    """`scircuit ARGUMENTS` without a process of its own."""
    from scircuit.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["scircuit", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        return Ended(int(stop.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
    raise AssertionError("the command line always exits")
