"""The error that a user can mend, the end by SIGTERM, what counts as a full disk, and paths in
commands to copy.
"""

from __future__ import annotations

import errno
import shlex


class UserError(ValueError):
    """Something the user can mend: what was found and expected, and what to do about it.

    Parameters
    ----------
    problem
        What was found and what was expected, with numbers.
    fix
        What to do; shown after the problem.
    """

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}\n  fix: {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix


class Terminated(KeyboardInterrupt):
    """SIGTERM: the work ends as if interrupted by hand."""


def quoted(path: object) -> str:
    """Return a path as a shell reads it back, for a command that a person copies."""
    return shlex.quote(str(path))


def disk_full(error: OSError) -> bool:
    """Whether it was room that a write lacked: on the disk, in the quota, or in what one file may
    hold.
    """
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
