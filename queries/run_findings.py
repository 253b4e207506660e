"""What one run found out about a feature, in the catalogue: a question that asks about a run writes
``found.firing_rate(f)``, which is replaced by the value that this run or one computed from it
found, and not by the newest value, which the feature itself shows.

``found.<property>(f)``
    The value by the run ``run`` or a complete run computed from it; the newest of these that says
    something about the feature. Where no such run annotated it, a property of an annotation is
    that of the newest annotation.
``found.order(f)``
    Order of the strongest hubs of ``run``: the hub rank by its analysis, or where it has none the
    number of stored edges, and the address.
``listed.<property>(f)``
    A property of the annotation that ``current`` names for the feature's dictionary
    (`scircuit.queries.current_annotation`), or one of the activations in the run that this
    annotates.
"""

from __future__ import annotations

import re

from scircuit.core.schema import FINDING_BLOCKS, FOUND_PROPERTIES

_MACRO = re.compile(r"\b(found|listed)\.(\w+)\((\w+)\)")
_MARK_OF = {name: mark for mark, names in FINDING_BLOCKS.items() for name in names}
_NAMES = {p.name for p in FOUND_PROPERTIES}
_LISTED = ("annotation_run", "activation_run")


def _told(feature: str, where: str, name: str) -> str:
    """A list with the value by the newest run that `where` allows; null where there is none."""
    return (
        f"head(COLLECT {{ MATCH ({feature})<-[told:FOUND]-(teller:Run) WHERE {where}"
        f" RETURN [told.{name}] AS value ORDER BY teller.started DESC, teller.id DESC LIMIT 1 }})"
    )


def _found(name: str, feature: str) -> str:
    mark = _MARK_OF.get(name, name)
    says = " OR ".join(f"told.{n} IS NOT NULL" for n in dict.fromkeys((mark, name)))
    of_run = "(teller = run OR (teller.status = 'complete' AND EXISTS { (teller)-[:FROM]->(run) }))"
    value = _told(feature, f"{of_run} AND ({says})", name)
    if mark == "annotation_run":
        return f"coalesce({value}, [{feature}.{name}])[0]"
    return f"{value}[0]"


def _listed(name: str, feature: str) -> str:
    says = _MARK_OF[name] if _MARK_OF[name] == "annotation_run" else name
    of_list = f"{feature}.dictionary + ' ' + teller.id IN current"
    return f"{_told(feature, f'told.{says} IS NOT NULL AND {of_list}', name)}[0]"


def _order(feature: str) -> str:
    rank = _found("hub_rank", feature)
    edges = f"COUNT {{ ({feature})-[counted:AFFECTS]->() WHERE counted.run = run.id }}"
    return f"{rank}, CASE WHEN {rank} IS NULL THEN {edges} ELSE 0 END DESC, {feature}.id"


def with_findings(cypher: str) -> str:
    """The statement with every finding written out.

    Raises
    ------
    ValueError
        If there is no finding of that name.
    """

    def write_out(match: re.Match[str]) -> str:
        where, name, feature = match.groups()
        if where == "found" and name == "order":
            return _order(feature)
        if name not in _NAMES or (where == "listed" and _MARK_OF.get(name) not in _LISTED):
            raise ValueError(f"no finding {where}.{name} about a feature in the schema")
        return _found(name, feature) if where == "found" else _listed(name, feature)

    return _MACRO.sub(write_out, cypher)
