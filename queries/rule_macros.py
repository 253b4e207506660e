"""Edge rules in the catalogue: a question writes ``rule.calibrated(r)``, which is replaced by the
conditions of `scircuit.core.edge_rules` on the relationship ``r``.

``rule.calibrated(r)``
    A calibrated edge; the thresholds are the parameters ``$q``, ``$min_support``, ``$min_effect``.
``rule.calibrated_where_given(r)``
    The same, but a condition on a value that the source of the edge does not give does not count.
``rule.legacy(r)``
    An edge by the published rule, whose thresholds are fixed.
"""

from __future__ import annotations

import re

from scircuit.core.edge_rules import CALIBRATED, LEGACY

RULES = {
    "calibrated": CALIBRATED.cypher,
    "calibrated_where_given": CALIBRATED.cypher_where_given,
    "legacy": LEGACY.cypher,
}
_MACRO = re.compile(r"\brule\.(\w+)\((\w+)\)")


def with_rules(cypher: str) -> str:
    """The statement with every rule written out.

    Raises
    ------
    ValueError
        If there is no rule of that name.
    """

    def write_out(match: re.Match[str]) -> str:
        if match[1] not in RULES:
            raise ValueError(f"no edge rule {match[1]!r}; expected one of {', '.join(RULES)}")
        return RULES[match[1]](match[2])

    return _MACRO.sub(write_out, cypher)
