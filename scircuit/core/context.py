"""How much of a cell reacts to an edit: the context of a run.

``exact``    every position is recomputed: the total effect
``frozen``   only the positions where the source is active react: the local effect
``m``        frozen plus the m most affected positions; m at or above the cell's length is exact
"""

from __future__ import annotations

from scircuit.core.errors import UserError

EXACT = -1
FROZEN = 0


def parse_context(text: str) -> int:
    """`EXACT`, `FROZEN`, or the number of further positions.

    Raises
    ------
    UserError
        If the text is none of ``exact``, ``frozen`` and a positive whole number.
    """
    named = {"exact": EXACT, "frozen": FROZEN}
    if str(text) in named:
        return named[str(text)]
    if not str(text).isdecimal() or not str(text).isascii() or not 0 < int(text) < 2**31:
        raise UserError(
            f"context {text!r} is unknown; expected exact, frozen, or a number of further positions"
            " above 0",
            "correct --context",
        )
    return int(text)


def context_name(context: int) -> str:
    """``exact``, ``frozen`` or the number, as text."""
    return {EXACT: "exact", FROZEN: "frozen"}.get(context, str(context))
