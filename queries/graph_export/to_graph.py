"""Turns the answer of a query, or an exported part of the graph, into a networkx or igraph graph.

Accepted are parts (`scircuit.queries.graph_export.graph_part`), answers with paths, nodes or
relationships in their cells (every graph question), answers with the columns ``source`` and
``target`` (edge tables), and the graph of a driver's result. Nodes are identified by their ``id``
property; for a feature this is its address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from scircuit.core.errors import UserError
from scircuit.queries.graph_export.graph_part import (
    Elements,
    Part,
    Properties,
    clashing_ids,
    plain_ids,
    weight_of,
)

if TYPE_CHECKING:
    import igraph
    import networkx
    import pandas as pd
    from neo4j.graph import Graph, Node, Relationship

    Answer = pd.DataFrame | Graph | Part


def _walk(value: object) -> Iterator[Node | Relationship]:
    """All nodes and relationships inside a cell: of paths, lists and maps too."""
    from neo4j.graph import Node, Path, Relationship

    if isinstance(value, (Node, Relationship)):
        yield value
    elif isinstance(value, Path):
        yield from value.nodes
        yield from value.relationships
    elif isinstance(value, dict):
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _walk(item)


def _key(node: Node) -> str:
    return str(node.get("id", node.element_id))


def _of_graph(items: Iterable[Node | Relationship]) -> Elements:
    from neo4j.graph import Node

    nodes: dict[str, Properties] = {}
    edges: dict[str, tuple[str, str, str, Properties]] = {}
    for item in items:
        if isinstance(item, Node):
            nodes[_key(item)] = {"kind": next(iter(sorted(item.labels)), ""), **dict(item)}
        elif item.start_node is not None and item.end_node is not None:
            source, target = _key(item.start_node), _key(item.end_node)
            edges[item.element_id] = (
                source,
                target,
                item.element_id,
                {"type": item.type, **dict(item)},
            )
    for source, target, _, _ in edges.values():
        nodes.setdefault(source, {})
        nodes.setdefault(target, {})
    return Elements(nodes, list(edges.values()))


def _of_table(frame: pd.DataFrame) -> Elements:
    nodes: dict[str, Properties] = {}
    edges = []
    for number, row in enumerate(frame.to_dict("records")):
        for end in ("source", "target"):
            named = f"{end}_name"
            nodes.setdefault(str(row[end]), {"name": row[named]} if named in row else {})
        rest = {
            str(k): v
            for k, v in row.items()
            if k not in ("source", "target", "source_name", "target_name")
        }
        edges.append((str(row["source"]), str(row["target"]), str(number), rest))
    return Elements(nodes, edges)


def _of_part(part: Part) -> Elements:
    clashes = clashing_ids(part)
    nodes: dict[str, Properties] = {}
    for label, tables in part.nodes.items():
        for table in tables():
            rows = table.to_pylist()
            for row, key in zip(
                rows, plain_ids([row["id"] for row in rows], label, clashes), strict=True
            ):
                nodes[key] = {"kind": label, **_known(row)}
    edges: list[tuple[str, str, str, Properties]] = []
    for kind, tables in part.edges.items():
        (one, of, other), weight = kind.split("-"), weight_of(kind)[0]
        for table in tables():
            rows = table.to_pylist()
            ends = [
                plain_ids([row.pop(end) for row in rows], label, clashes)
                for end, label in (("source", one), ("target", other))
            ]
            for row, source, target in zip(rows, *ends, strict=True):
                first = {"type": of} | (
                    {"weight": row[weight]} if row.get(weight) is not None else {}
                )
                edges.append((source, target, f"e{len(edges)}", first | _known(row)))
    return Elements(nodes, edges)


def _known(row: Properties) -> Properties:
    return {k: v for k, v in row.items() if v is not None}


def elements(answer: Answer) -> Elements:
    """Nodes and edges of an answer, each once.

    Parameters
    ----------
    answer
        A DataFrame from `scircuit.queries.api`, a ``neo4j.graph.Graph``, or a `Part`.

    Raises
    ------
    UserError
        If nothing in it is a graph.
    """
    if isinstance(answer, Part):
        return _of_part(answer)
    from neo4j.graph import Graph

    if isinstance(answer, Graph):
        return _of_graph([*answer.nodes, *answer.relationships])
    found = [item for column in answer.columns for value in answer[column] for item in _walk(value)]
    if found:
        return _of_graph(found)
    if {"source", "target"} <= set(answer.columns):
        return _of_table(answer)
    if answer.empty and list(answer.columns) == ["path"]:
        return Elements({}, [])
    raise UserError(
        f"the answer's columns ({', '.join(map(str, answer.columns))}) contain no paths, nodes"
        " or relationships, and not both 'source' and 'target'",
        "use a query that returns paths (see docs/queries.md), or return paths or the columns"
        " source and target",
    )


def to_networkx(answer: Answer) -> networkx.MultiDiGraph:
    """Directed multigraph with the records' properties as attributes; the nodes' ``kind`` is their
    label in the graph, the edges' ``type`` likewise.
    """
    import networkx

    nodes, edges = elements(answer)
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(nodes.items())
    for source, target, key, properties in edges:
        graph.add_edge(source, target, key=key, **properties)
    return graph


def to_igraph(answer: Answer) -> igraph.Graph:
    """Directed igraph graph; the vertex attribute ``name`` is the node's key, ``caption`` its name
    in the Browser.
    """
    import igraph

    nodes, edges = elements(answer)
    keys = list(nodes)
    number = {key: i for i, key in enumerate(keys)}
    graph = igraph.Graph(
        n=len(keys), edges=[(number[s], number[t]) for s, t, _, _ in edges], directed=True
    )
    graph.vs["name"] = keys
    for attribute in dict.fromkeys(a for properties in nodes.values() for a in properties):
        graph.vs["caption" if attribute == "name" else attribute] = [
            nodes[key].get(attribute) for key in keys
        ]
    for attribute in dict.fromkeys(a for _, _, _, properties in edges for a in properties):
        graph.es[attribute] = [properties.get(attribute) for _, _, _, properties in edges]
    return graph
