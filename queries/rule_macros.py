"""Edge rules in the catalogue: a question writes ``rule.edge(r)``, which is replaced by the
conditions of `scircuit.core.edge_rules` on the relationship ``r``.

``rule.edge(r)``
    An edge, by the default rule. Thresholds of this and the next four are the parameters ``$q``,
    ``$min_support`` and ``$min_effect``.
``rule.computed(r)``, ``rule.carried(r)``, ``rule.generic(r)``, ``rule.calibrated(r)``
    An edge by the rule of this name.
``rule.legacy(r)``
    An edge by the published rule, whose thresholds are fixed.
``rule.edge_where_given(r)``
    The default rule where the edge has what it compares, else the calibrated rule, in which a
    condition on a value that the source of the edge does not give does not count.
``rule.effect(r)``, ``rule.rank(r)``, ``rule.q(r)``
    Of the default rule: the effect whose sign is that of the edge, the value by whose size edges
    are ranked, and q. Where it is not known, those of the calibrated rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from scircuit.core.edge_rules import (
    CALIBRATED,
    CARRIED,
    COMPUTED,
    DEFAULT,
    GENERIC,
    LEGACY,
    EdgeRule,
)

_MACRO = re.compile(r"\brule\.(\w+)\((\w+)\)")


def macros(default: EdgeRule) -> dict[str, Callable[[str], str]]:
    """What each macro writes, given the name of a relationship, where `default` makes an edge."""
    named = (COMPUTED, CARRIED, GENERIC, CALIBRATED, LEGACY)
    columns = {
        "effect": (default.effect, CALIBRATED.effect),
        "rank": (default.strength, CALIBRATED.strength),
        "q": (default.q, CALIBRATED.q),
    }
    return (
        {"edge": default.cypher}
        | {rule.name: rule.cypher for rule in named}
        | {"edge_where_given": lambda edge: _where_given(default, edge)}
        | {name: (lambda edge, of=of: _first_known(edge, *of)) for name, of in columns.items()}
    )


def _where_given(rule: EdgeRule, edge: str) -> str:
    calibrated = CALIBRATED.cypher_where_given(edge)
    if rule is CALIBRATED:
        return calibrated
    known = f"{edge}.{rule.strength} IS NOT NULL"
    return f"(CASE WHEN {known} THEN coalesce({rule.cypher(edge)}, false) ELSE {calibrated} END)"


def _first_known(edge: str, *columns: str) -> str:
    values = [f"{edge}.{name}" for name in dict.fromkeys(columns)]
    return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"


RULES = macros(DEFAULT)


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
