"""Numbers as text: how the report prints counts, shares, p values and measurements; a dash where a
value is unknown.

Values come from manifests and frames, so they are numbers, None or NaN.
"""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard

DASH = "–"


def known(value: object) -> TypeGuard[float]:
    """Whether a value is given: not None, not NaN or pandas' NA, not an empty text."""
    if value is None or (isinstance(value, str) and not value):
        return False
    if isinstance(value, numbers.Real):
        return not math.isnan(value)
    return type(value).__name__ not in ("NAType", "NaTType")


def _infinite(value: float) -> str:
    """The sign for an infinite value; empty for a finite one."""
    if not math.isinf(value):
        return ""
    return "∞" if value > 0 else "-∞"


def as_float(value: object) -> float:
    """The number, NaN where it is unknown."""
    return float(value) if known(value) else math.nan


def count(value: object) -> str:
    """Whole number with separators."""
    if not known(value):
        return DASH
    found = float(value)
    return _infinite(found) or f"{round(found):,}"


def number(value: object, digits: int = 3) -> str:
    """Measurement with so many significant digits."""
    if not known(value):
        return DASH
    found = float(value)
    if found == 0 or math.isinf(found):
        return _infinite(found) or "0"
    if abs(found) >= 10 ** (digits - 1):
        return f"{found:,.0f}"
    text = f"{found:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}·10{_superscript(int(exponent))}"
    return text


def _superscript(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def percent(value: object, digits: int = 1) -> str:
    """Share as a percentage."""
    if not known(value):
        return DASH
    found = 100 * float(value)
    return f"{_infinite(found) or f'{found:.{digits}f}'} %"


def p_value(value: object) -> str:
    """P value with two significant digits."""
    return number(value, 2)


def signed(value: object, digits: int = 2) -> str:
    """Measurement with its sign."""
    return _decimals(value, f"+.{digits}f")


def _decimals(value: object, form: str) -> str:
    if not known(value):
        return DASH
    found = float(value)
    return _infinite(found) or format(found, form)


def fixed(value: object, digits: int = 2) -> str:
    """Measurement with so many decimals."""
    return _decimals(value, f".{digits}f")


def seconds(value: object) -> str:
    """Duration."""
    if not known(value):
        return DASH
    found = float(value)
    return f"{found:.1f} s" if found < 120 else f"{found / 60:.1f} min"


def short_hash(value: object) -> str:
    """First twelve digits of a hash."""
    return str(value)[:12] if known(value) else DASH


def typeset(value: object) -> str:
    """Text with the printed signs ≤ and ≥."""
    return str(value).replace("<=", "≤").replace(">=", "≥")


def sentence(value: object) -> str:
    """Text as a sentence: capital first, full stop last."""
    text = typeset(value)
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "…")) else ".")
