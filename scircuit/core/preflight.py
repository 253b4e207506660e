"""One line of a preflight: what was looked at, what was found, what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from scircuit.core.errors import UserError
from scircuit.core.terminal import one_line


class CheckLine(NamedTuple):
    """One check; a failed one names what to do."""

    name: str
    ok: bool
    found: str
    expected: str
    fix: str = ""

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED"
        text = f"{self.name}: {verdict}: {self.found}"
        return one_line(text if self.ok else f"{text} (expected: {self.expected})")


def require(line: CheckLine) -> CheckLine:
    """Return the line, or raise if it failed.

    Raises
    ------
    UserError
        What was found, what was expected and the fix.
    """
    if not line.ok:
        raise UserError(f"{line.name}: {line.found}; expected {line.expected}", line.fix)
    return line


def printed(lines: Iterable[CheckLine]) -> str:
    """The lines, one under the other."""
    return "\n".join(str(line) for line in lines)
