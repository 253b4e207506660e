"""How an option of a verb is declared: a field of a frozen dataclass with its help text.

A field without a default is a required argument on the command line.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from pathlib import Path
from typing import Any

DEFAULT_STUDY = Path("scircuit-study")


def option(
    default: Any = MISSING,
    help: str = "",
    choices: tuple[str, ...] = (),
    short: str = "",
    once: bool = False,
) -> Any:
    """Declare a field with its help text.

    Parameters
    ----------
    choices
        The allowed values (default: any).
    short
        A second name such as ``-p``.
    once
        The option holds for one call and is not remembered by the study: it names a run, loosens a
        check, or narrows what is looked at.
    """
    metadata = {"help": help, "choices": choices, "short": short, "once": once}
    if isinstance(default, (list, dict, set)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
