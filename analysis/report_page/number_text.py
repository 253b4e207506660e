"""Numbers as text: one way to print a count, a share, a p value and a measurement, with a dash for
what is unknown.
"""

from __future__ import annotations

import math
from typing import Any

DASH = "–"


def known(value: Any) -> bool:
    """Whether a value is there: not None, not NaN, not an empty string."""
    if value is None or (isinstance(value, str) and not value):
        return False
    return not (isinstance(value, float) and math.isnan(value))


def count(value: Any) -> str:
    """Whole number with separators."""
    return f"{round(float(value)):,}" if known(value) else DASH


def number(value: Any, digits: int = 3) -> str:
    """Measurement to so many significant digits."""
    if not known(value):
        return DASH
    value = float(value)
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}·10{_superscript(int(exponent))}"
    return text


def _superscript(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def percent(value: Any, digits: int = 1) -> str:
    """Share as a percentage."""
    return f"{100 * float(value):.{digits}f} %" if known(value) else DASH


def p_value(value: Any) -> str:
    """P value to two significant digits."""
    return number(value, 2)


def signed(value: Any, digits: int = 2) -> str:
    """Measurement with its sign."""
    return f"{float(value):+.{digits}f}" if known(value) else DASH


def seconds(value: Any) -> str:
    """Duration."""
    if not known(value):
        return DASH
    value = float(value)
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def short_hash(value: Any) -> str:
    """First twelve digits of a hash."""
    return str(value)[:12] if known(value) else DASH


def nice(value: Any) -> str:
    """Text with the signs of print instead of those of a terminal."""
    return str(value).replace("<=", "≤").replace(">=", "≥")


def sentence(value: Any) -> str:
    """A reading as a sentence: capital first, full stop last."""
    value = nice(value)
    return f"{value[:1].upper()}{value[1:]}" + ("" if value.endswith((".", "…")) else ".")
