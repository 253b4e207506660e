r"""Text from data on a terminal: control characters are shown, never obeyed.

A cell type, a gene name or the name of a file may hold anything. Escape sequences (C0, C1, DEL)
would move the cursor or rewrite what stands above, marks of writing direction would turn a line
round, and a line break would let a value pass for a line of the program. They are printed as Python
writes them in a text: ``\x1b``, ``\u202e``, ``\n``. JSON and files keep the values as they are.
"""

from __future__ import annotations

import re

_HARMFUL = "\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff"
_IN_LINES = re.compile(f"[{_HARMFUL}]")
_IN_ONE_LINE = re.compile(f"[{_HARMFUL}\n]")
_OWN_STYLE = re.compile(r"(\x1b\[(?:\d{1,2};?)+m)")


def one_line(value: object) -> str:
    """A value as text of one line: line breaks are escaped too."""
    return _IN_ONE_LINE.sub(_escaped, str(value))


def in_lines(text: str, *, styles: bool = False) -> str:
    """A text of several lines with its line breaks, everything else that is harmful escaped.

    Parameters
    ----------
    text
        Lines whose values went through `one_line`.
    styles
        Keep colours and bold face, where the text was styled for a terminal.
    """
    if not styles:
        return _IN_LINES.sub(_escaped, text)
    parts = _OWN_STYLE.split(text)
    return "".join(part if i % 2 else _IN_LINES.sub(_escaped, part) for i, part in enumerate(parts))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
