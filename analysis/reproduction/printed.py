"""Compares a recomputed value with the published one, at the digits that were printed.

A value printed with d decimals stands for every number that rounds to it:
``|recomputed - printed| <= 0.5 * 10^-d``. ``%`` scales by 100; ``1.2e-9`` has the decimals of its
mantissa, scaled by its exponent. Several values of one row are separated by `` / `` and compared
one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

Value = float | int | str | Sequence[float | int | str]
_NUMBER = re.compile(r"([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)( ?%)?", re.IGNORECASE)
_SEPARATOR = " / "
_MORE = 2  # digits beyond the printed ones that are shown of a recomputed value
_SLACK = 1e-9  # of the half digit: room for the rounding of binary fractions


def same_as_printed(published: str, value: Value) -> bool:
    """Whether `value` rounds to the printed text, item by item.

    Parameters
    ----------
    published
        Such as ``3.637 %``, ``261,564``, ``6.3e-10`` or ``0.34 / 0.67``.
    value
        A number, a text, or one of them for each item of `published`.
    """
    items = published.split(_SEPARATOR)
    values = _as_list(value)
    return len(items) == len(values) and all(map(_same, items, values))


def shown(value: Value, published: str) -> str:
    """A recomputed value as text, with two more digits than were printed.

    Parameters
    ----------
    published
        The printed text, whose form (per cent, exponent, thousands) is used where it has one.
    """
    values = _as_list(value)
    forms = published.split(_SEPARATOR)
    forms += [""] * (len(values) - len(forms))
    return _SEPARATOR.join(_show(v, form) for v, form in zip(values, forms, strict=False))


def _as_list(value: Value) -> list[float | int | str]:
    if isinstance(value, (str, int, float)):
        return [value]
    return list(value)


def _parts(text: str) -> tuple[float, Decimal, bool] | None:
    """Number, unit of its last printed digit, and whether it is in per cent."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        return None
    exact = Decimal(match[1].replace(",", ""))
    exponent = exact.as_tuple().exponent
    if not isinstance(exponent, int):
        return None
    return float(exact), Decimal(1).scaleb(exponent), bool(match[2])


def _same(text: str, value: float | str) -> bool:
    parts = _parts(text)
    if parts is None or isinstance(value, str):
        return text.strip() == str(value).strip()
    if not math.isfinite(value):
        return False
    printed, unit, per_cent = parts
    scaled = value * 100 if per_cent else value
    return abs(scaled - printed) <= 0.5 * float(unit) * (1 + _SLACK) + abs(printed) * 1e-12


def _show(value: float | str, form: str) -> str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "infinite" if math.isinf(value) else "not a number"
    parts = _parts(form)
    if parts is None:
        return f"{value:,.6g}"
    printed, unit, per_cent = parts
    scaled = value * 100 if per_cent else value
    decimals = -unit.adjusted()
    if "e" in form.lower():
        mantissa = decimals + (math.floor(math.log10(abs(printed))) if printed else 0)
        return f"{scaled:.{max(mantissa, 0) + _MORE}e}"
    if decimals <= 0 and scaled == int(scaled):
        text = f"{int(scaled):,}"
    else:
        text = f"{scaled:,.{max(decimals, 0) + _MORE}f}"
    return f"{text} %" if per_cent else text
