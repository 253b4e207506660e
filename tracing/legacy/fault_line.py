"""One line about one published choice."""

from __future__ import annotations

from scircuit.core.preflight import CheckLine


def fault(name: str, harmless: bool, instead: str, *found: str) -> CheckLine:
    """Line that is ok where the choice does no harm to these data; `instead` is done without legacy
    mode.
    """
    return CheckLine(f"legacy {name}", harmless, " ".join(found), instead)
