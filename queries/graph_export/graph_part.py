"""A part of the graph to be exported: its nodes and edges by kind, read table by table when a
writer asks for them.

Weights: other tools take one number on an edge. It is the mean effect of ``AFFECTS`` (in dictionary
units of the target; ablating the source raises the target where it is above 0), the weight of
``ATTRIBUTES_TO``, the overlap of ``SAME_GENES``, the pmi of ``CO_OCCURS`` (bits), and so on as in
`WEIGHTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core import schema
from scircuit.core.address import parse
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

Tables = Callable[[], "Iterator[pa.Table]"]
Properties = dict[str, object]
"""Properties of one node or edge, by name."""

WEIGHTS = {
    "AFFECTS": ("mean", "mean effect of ablating the source, dictionary units of the target"),
    "CONTROL_AFFECTS": ("mean", "mean effect of the control, dictionary units of the target"),
    "ATTRIBUTES_TO": ("weight", "attribution"),
    "SAME_GENES": ("overlap", "weighted Jaccard overlap of the top genes"),
    "CO_OCCURS": ("pmi", "pointwise mutual information, bits"),
    "LOADS_ON": ("mean_activation", "mean activation over firings, dictionary units"),
    "RESPONDS_TO": ("effect", "mean change"),
    "SHIFTED": ("effect", "mean effect or change"),
}


class Elements(NamedTuple):
    """Nodes by key, and edges as (source key, target key, key of the edge, properties)."""

    nodes: dict[str, Properties]
    edges: list[tuple[str, str, str, Properties]]


@dataclass(frozen=True)
class Part:
    """Nodes by label and edges by kind (``Source-TYPE-Target``).

    Attributes
    ----------
    name
        The run, or the question.
    nodes
        Label -> function that gives tables with the column ``id``; every node once.
    edges
        Kind -> function that gives tables with the columns ``source`` and ``target``, ends that are
        among `nodes`.
    counts
        Rows by label and kind.
    info
        Context for a reader: the model, the filters, the cells.
    """

    name: str
    nodes: Mapping[str, Tables]
    edges: Mapping[str, Tables]
    counts: Mapping[str, int]
    info: Mapping[str, object] = field(default_factory=dict)

    @property
    def node_count(self) -> int:
        """All nodes."""
        return sum(self.counts[k] for k in self.nodes)

    @property
    def edge_count(self) -> int:
        """All edges."""
        return sum(self.counts[k] for k in self.edges)


def weight_of(kind: str) -> tuple[str, str]:
    """Property that is the weight of such an edge, and its meaning; empty if it has none."""
    return WEIGHTS.get(kind.split("-")[1], ("", ""))


def clashing_ids(part: Part) -> dict[str, set[str]]:
    """Ids that an earlier label has too, by label: they must be renamed for tools in which ids are
    unique over all labels.
    """
    seen: set[str] = set()
    clashes: dict[str, set[str]] = {}
    for label, tables in part.nodes.items():
        mine = {i for table in tables() for i in table.column("id").to_pylist()}
        clashes[label] = mine & seen
        seen |= mine
    return clashes


def plain_ids(ids: list[str], label: str, clashes: Mapping[str, set[str]]) -> list[str]:
    """Ids that are unique over all labels: those that clash get their label in front."""
    bad = clashes.get(label)
    return [f"{label}:{i}" if i in bad else i for i in ids] if bad else ids


def part_of_elements(
    name: str, found: Elements, edge_type: str = "ANSWER", info: Mapping[str, object] | None = None
) -> Part:
    """Make a part of the nodes and edges of an answer.

    Parameters
    ----------
    name, info
        See `Part`.
    found
        See `scircuit.queries.graph_export.to_graph.elements`.
    edge_type
        Type of edges that come from a table with the columns ``source`` and ``target``, where no
        type is known.

    Raises
    ------
    UserError
        If there are no edges.
    """
    if not found.edges:
        raise UserError(
            f"the answer of {name} has {len(found.nodes)} nodes and no edges: nothing to export",
            "change the parameters, or use another query",
        )
    label_of = {
        key: str(properties.get("kind") or _guess(key)) for key, properties in found.nodes.items()
    }
    nodes: dict[str, list[Properties]] = {}
    for key, properties in found.nodes.items():
        row = {k: v for k, v in properties.items() if k not in ("kind", "id") and v is not None}
        nodes.setdefault(label_of[key], []).append(
            {"id": key, **(_of_address(key) if label_of[key] == "Feature" else {}), **row}
        )
    edges: dict[str, list[Properties]] = {}
    for source, target, _, properties in found.edges:
        row = {
            k: v
            for k, v in properties.items()
            if k not in ("type", "source", "target") and v is not None
        }
        kind = f"{label_of[source]}-{properties.get('type') or edge_type}-{label_of[target]}"
        edges.setdefault(kind, []).append({"source": source, "target": target, **row})
    tables = {kind: _table(kind, rows) for kind, rows in (nodes | edges).items()}
    give = {kind: lambda table=table: iter([table]) for kind, table in tables.items()}
    return Part(
        name,
        {k: give[k] for k in nodes},
        {k: give[k] for k in edges},
        {k: t.num_rows for k, t in tables.items()},
        dict(info or {}),
    )


def _guess(key: str) -> str:
    try:
        parse(key)
    except ValueError:
        return "Node"
    return "Feature"


def _of_address(key: str) -> Properties:
    """What an address says of its feature."""
    try:
        a = parse(key)
    except ValueError:
        return {}
    return {
        "name": a.short,
        "model": a.model,
        "dictionary": key.rpartition("/")[0],
        "layer": a.layer,
        "index": a.index,
    }


def bare(label: str, ids: list[str]) -> pa.Table:
    """Nodes with their ids only."""
    rows = [{"id": i, **(_of_address(i) if label == "Feature" else {})} for i in ids]
    return _table(label, rows)


def _table(kind: str, rows: list[Properties]) -> pa.Table:
    """Rows as a table: columns have their declared types, or those of the values if undeclared."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    declared = (
        {f.name: f.type for f in schema.arrow_schema(kind)}
        if kind in schema.NODES or kind in schema.RELATIONSHIPS
        else {}
    )
    columns = {}
    for name in names:
        values = [_plain(row.get(name)) for row in rows]
        try:
            columns[name] = pa.array(values, declared.get(name))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            columns[name] = pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.table(columns)


def _plain(value: object) -> object:
    """Value as Arrow takes it: NaN becomes null, and dates and the like become text."""
    if isinstance(value, float) and value != value:
        return None
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)
