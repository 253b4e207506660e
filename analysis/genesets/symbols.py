"""Gene symbols as they occur in gene-set files: spreadsheet damage repaired where unambiguous,
retired names updated.

Spreadsheets turn ``SEPT7`` into ``7-Sep`` or ``Sep-07`` and ``DEC1`` into ``1-Dec``. A damaged
token is repaired only where one gene alone can have produced it; all others are left as they are
and reported. Symbols are compared on upper case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_MONTHS = {
    m: i
    for i, m in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1
    )
}
_DATE = re.compile(
    # 7-Sep, 07-Sep-24
    rf"(?:(?P<day>\d{{1,2}})[-/. ](?P<month>{'|'.join(_MONTHS)})[A-Z]*(?:[-/. ](?:\d\d)?\d\d)?"
    rf"|(?P<month2>{'|'.join(_MONTHS)})[-/. ](?P<day2>\d{{1,2}})"  # Sep-07
    r"|(?:19|20)\d\d-(?P<number>\d\d)-(?P<day3>\d\d)(?:[ T]00:00(?::00)?)?)",  # 2024-09-07
    re.IGNORECASE,
)
RENAMED = " was renamed to "
_RETIRED = re.compile(r"(SEPT|MARCH)(\d{1,2})")
_MOUSE = re.compile(r"[A-Z][a-z]{2,}[a-z0-9.-]*\d*[a-z0-9]*")


class Symbol(NamedTuple):
    """A symbol as read: `text` to use, `note` empty unless it was repaired or could not be."""

    text: str
    note: str = ""


def _septin(number: int) -> str:
    # SEPT13 became a pseudogene and SEPT15 is SELENOF: neither follows the rule
    return f"SEPTIN{number}" if 1 <= number <= 14 and number != 13 else ""


def _march(number: int) -> str:
    return f"MARCHF{number}" if 1 <= number <= 11 else ""


@lru_cache(maxsize=1 << 16)
def repair(token: str) -> Symbol:
    """Undo spreadsheet damage and update the two renamed families.

    Parameters
    ----------
    token
        A symbol as written in the file.

    Returns
    -------
    Symbol
        The symbol to use and, when anything was odd, a note for the reader's report. ``Mar-01`` and
        ``Mar-02`` may be MARCHF1/MTARC1 and MARCHF2/MTARC2; ``Dec-01`` may be BHLHE40 or DELEC1:
        these are not repaired.
    """
    match = _DATE.fullmatch(token)
    if match:
        number = int(match["day"] or match["day2"] or match["day3"])
        at = (
            int(match["number"])
            if match["number"]
            else _MONTHS[(match["month"] or match["month2"]).upper()]
        )
        month = next((m for m, i in _MONTHS.items() if i == at), "")
        fixed = ""
        if month == "SEP":
            fixed = _septin(number)
        elif month == "MAR" and number > 2:
            fixed = _march(number)
        if fixed:
            return Symbol(fixed, f"{token!r} is a date written by a spreadsheet; read as {fixed}")
        return Symbol(
            token,
            f"{token!r} is a date written by a spreadsheet and may stand for several genes; not"
            " repaired",
        )
    retired = _RETIRED.fullmatch(token.upper())
    if retired:
        fixed = (_septin if retired[1] == "SEPT" else _march)(int(retired[2]))
        if fixed:
            return Symbol(fixed, f"{token!r}{RENAMED}{fixed}")
    if token.upper() == "DEC1":
        return Symbol(token, "'DEC1' is ambiguous (BHLHE40 or DELEC1); kept as written")
    return Symbol(token)


def looks_like_mouse(symbols: Sequence[str]) -> bool:
    """Whether most symbols are in mouse spelling (``Lypla1``) or are mouse Ensembl ids."""
    if not symbols:
        return False
    odd = sum(1 for s in symbols if s.startswith("ENSMUSG") or _MOUSE.fullmatch(s))
    return odd > 0.5 * len(symbols)
