"""Reads the header of a ``.cypher`` file: comment lines that declare what the query answers, takes
and returns.

::

    // name: top_hubs                          one word, the name of the file
    // title: Hubs, adjusted for firing rate   caption in the Browser
    // folder: Hubs                            folder in the Browser
    // question: Which features ...?           the question it answers
    // shape: table                            or graph (returns paths)
    // param limit: int = 20 (1..1000) -- ...  name: type = default (range) e.g. example -- meaning
    // column feature: address                 one line for each returned column, in order
    // budget: 5 * $limit                      maximum number of rows: a number, $parameter, or
                                               number * $parameter
    // note: ...                               any number of lines

A line ``// current: ...`` in the statement is completed by `scircuit.queries.current_annotation`,
``rule.edge(r)`` is written out by `scircuit.queries.rule_macros`, and ``found.hub_rank(f)`` by
`scircuit.queries.run_findings`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scircuit.queries.current_annotation import expanded
from scircuit.queries.rule_macros import with_rules
from scircuit.queries.run_findings import with_findings

ParameterType = Literal["str", "int", "float", "list[str]", "run", "feature"]
PARAMETER_TYPES: tuple[ParameterType, ...] = ("str", "int", "float", "list[str]", "run", "feature")
SHAPES = ("table", "graph")
Value = str | int | float | list[str]
"""What a parameter may hold."""

_PARAM = re.compile(
    r"(?P<name>[a-z_]+): (?P<type>[a-z\[\]]+)(?: = (?P<default>.+?))??"
    r"(?: \((?P<low>-?[\d.]+?)\.\.(?P<high>[\d.]+)\))?(?: e\.g\. (?P<example>.+?))? -- (?P<doc>.+)"
)
_SINGLE = ("name", "title", "folder", "question", "shape", "budget")
_BUDGET = re.compile(r"(?:(\d+) \* )?(?:(\d+)|\$([a-z_]+))")


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``run`` and ``feature`` are texts that name a run or a feature; empty, the
    query chooses one.
    """

    name: str
    type: ParameterType
    doc: str
    default: Value | None = None
    example: Value | None = None
    low: float | None = None
    high: float | None = None

    @property
    def required(self) -> bool:
        """Whether the caller has to give it."""
        return self.default is None

    @property
    def shown(self) -> Value | None:
        """The value used in saved queries: the default, or the example if there is none."""
        return self.example if self.required else self.default


@dataclass(frozen=True)
class Column:
    """One returned column."""

    name: str
    doc: str


@dataclass(frozen=True)
class Query:
    """One question: its Cypher, what it takes and what it returns."""

    name: str
    title: str
    folder: str
    question: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    graph: bool
    budget: str
    notes: tuple[str, ...]
    cypher: str

    def rows_allowed(self, values: Mapping[str, Value]) -> int:
        """Maximum number of rows that the query may return with these parameter values."""
        match = _BUDGET.fullmatch(self.budget)
        if match is None:
            raise ValueError(f"{self.name}: budget {self.budget!r}")
        factor, number, parameter = match.groups()
        rows = number or values[parameter]
        if isinstance(rows, list):
            raise ValueError(f"{self.name}: budget {self.budget!r} is a list")
        return int(factor or 1) * int(rows)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _parameter(text: str, where: str) -> Parameter:
    match = _PARAM.fullmatch(text)
    kind: ParameterType | None = next(
        (t for t in PARAMETER_TYPES if match is not None and t == match["type"]), None
    )
    if match is None or kind is None:
        raise ValueError(
            f"{where}: cannot read the parameter line {text!r}; expected 'name: type = default"
            f" (low..high) e.g. example -- meaning' with a type among {', '.join(PARAMETER_TYPES)}"
            " and JSON values"
        )
    values = {k: None if match[k] is None else json.loads(match[k]) for k in ("default", "example")}
    if values["default"] is None and values["example"] is None:
        raise ValueError(f"{where}: parameter {match['name']} has neither a default nor an example")
    return Parameter(
        match["name"],
        kind,
        match["doc"],
        **values,
        low=_number(match["low"]),
        high=_number(match["high"]),
    )


def parse(text: str, where: str) -> Query:
    """Read one ``.cypher`` file.

    Parameters
    ----------
    text
        Content of the file.
    where
        Name of the file, for messages.

    Raises
    ------
    ValueError
        If the header is not complete, or declares a parameter that the Cypher does not use or the
        other way round.
    """
    single: dict[str, str] = {}
    parameters: list[Parameter] = []
    columns: list[Column] = []
    notes: list[str] = []
    lines = text.splitlines()
    body = next((i for i, line in enumerate(lines) if not line.startswith("//")), len(lines))
    for line in lines[:body]:
        key, _, value = line.removeprefix("//").strip().partition(": ")
        word, _, rest = key.partition(" ")
        if word == "param":
            parameters.append(_parameter(f"{rest}: {value}", where))
        elif word == "column":
            columns.append(Column(rest, value))
        elif key == "note":
            notes.append(value)
        elif key in _SINGLE and key not in single:
            single[key] = value
        else:
            raise ValueError(f"{where}: header line {line!r} is unknown or given twice")
    missing = [key for key in _SINGLE if key not in single]
    if missing or not columns:
        raise ValueError(
            f"{where}: the header lacks {', '.join([*missing, *([] if columns else ['column'])])}"
        )
    cypher = with_findings(with_rules("\n".join(expanded(lines[body:])).strip()))
    declared, used = {p.name for p in parameters}, set(re.findall(r"\$(\w+)", cypher))
    if declared != used:
        raise ValueError(
            f"{where}: declared parameters {sorted(declared)} differ from those used,"
            f" {sorted(used)}"
        )
    if (
        single["shape"] not in SHAPES
        or f"{single['name']}.cypher" != where
        or _BUDGET.fullmatch(single["budget"]) is None
    ):
        raise ValueError(
            f"{where}: shape {single['shape']!r}, name {single['name']!r} or budget"
            f" {single['budget']!r} is not valid"
        )
    return Query(
        single["name"],
        single["title"],
        single["folder"],
        single["question"],
        tuple(parameters),
        tuple(columns),
        single["shape"] == "graph",
        single["budget"],
        tuple(notes),
        cypher,
    )
