"""Order-free checksums of a run's edges per layer pair, the same from the shards and from the
graph.

Per layer pair the checksum is a hash of integers: the number of edges, and for every property x of
an edge from feature i to feature j::

    sum of [ trunc(x * s) mod 1000003 ] * w
    w = (7919 i + j) mod 1021 + 1,    s = 10^12 where |x| < 1000, else 1

with how many edges have it. All terms are integers, so the order of summation does not matter, and
the weights tie each value to its ends. Both sides hold the same doubles, so nothing needs rounding.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core import schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from scircuit.ingest.graph.connection import Connection

EDGES = "Feature-AFFECTS-Feature"
_MODULUS, _WEIGHTS, _SOURCE = 1_000_003, 1021, 7919
_SMALL, _SCALE, _LARGE = 1e3, 1e12, 9e18
NUMERIC = tuple(
    p.name for p in schema.RELATIONSHIPS[EDGES].properties if p.type in ("int", "float")
)

LayerPair = tuple[int, int]


class Checksum(NamedTuple):
    """Edges of a layer pair and the hash over their properties."""

    count: int
    checksum: str


def graph_checksums(connection: Connection, run: str) -> dict[LayerPair, Checksum]:
    """Checksums of a run's edges in the graph, by (source layer, target layer)."""
    terms = [
        f"sum(toInteger(CASE WHEN abs(r.{x}) < {_SMALL} THEN r.{x} * {_SCALE} WHEN abs(r.{x}) <"
        f" {_LARGE} THEN toFloat(r.{x}) ELSE 0.0 END) % {_MODULUS} * w) AS `{x} sum`, count(r.{x})"
        f" AS `{x} n`"
        for x in NUMERIC
    ]
    rows = connection.run(
        "MATCH (a:Feature)-[r:AFFECTS]->(b:Feature) WHERE r.run = $run WITH r, split(a.id, '/') AS"
        " s, split(b.id, '/') AS t WITH r, toInteger(substring(s[2], 1)) AS source_layer,"
        " toInteger(substring(t[2], 1)) AS target_layer, toInteger(substring(s[3], 1)) AS i,"
        f" toInteger(substring(t[3], 1)) AS j WITH r, source_layer, target_layer, ({_SOURCE} * i +"
        f" j) % {_WEIGHTS} + 1 AS w RETURN source_layer, target_layer, count(r) AS edges, sum(w) AS"
        f" ends, {', '.join(terms)}",
        run=run,
    )
    return {
        (row["source_layer"], row["target_layer"]): _checksum(
            row["edges"], row["ends"], [(row[f"{x} sum"], row[f"{x} n"]) for x in NUMERIC]
        )
        for row in sorted(rows, key=lambda row: (row["source_layer"], row["target_layer"]))
    }


def shard_checksums(folder: Path) -> dict[LayerPair, Checksum]:
    """Checksums of the edges in a run's shards, by (source layer, target layer)."""
    from scircuit.ingest.shards.shard_store import ShardStore

    return table_checksums(ShardStore(Path(folder)).tables(EDGES))


def table_checksums(edges: pa.Table) -> dict[LayerPair, Checksum]:
    """Checksums of a table of edges, by (source layer, target layer)."""
    import numpy as np

    source_layer, i = _parts(edges.column("source"))
    target_layer, j = _parts(edges.column("target"))
    weight = (_SOURCE * i + j) % _WEIGHTS + 1
    pairs, inverse = np.unique(
        np.stack([source_layer, target_layer], axis=1), axis=0, return_inverse=True
    )
    inverse = inverse.reshape(-1)

    def total(values: np.ndarray) -> list[int]:
        sums = np.zeros(len(pairs), np.int64)
        np.add.at(sums, inverse, values)
        return sums.tolist()

    counts, ends = np.bincount(inverse, minlength=len(pairs)).tolist(), total(weight)
    sums, present = [], []
    for name in NUMERIC:
        values = (
            edges.column(name).to_numpy()
            if name in edges.column_names
            else np.full(len(edges), np.nan)
        )
        values = values.astype(np.float64)
        null = (
            np.asarray(edges.column(name).is_null())
            if name in edges.column_names
            else np.ones(len(edges), bool)
        )
        small, large = np.abs(values) < _SMALL, np.abs(values) < _LARGE
        scaled = np.where(small, values * _SCALE, np.where(large, values, 0.0))
        sums.append(total(np.fmod(np.trunc(scaled).astype(np.int64), _MODULUS) * weight))
        present.append(total((~null).astype(np.int64)))
    return {
        (int(a), int(b)): _checksum(
            counts[k], ends[k], [(s[k], n[k]) for s, n in zip(sums, present, strict=True)]
        )
        for k, (a, b) in enumerate(pairs)
    }


def _parts(addresses: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Layers and indices of a column of addresses, each distinct one parsed once."""
    import numpy as np
    import pandas as pd

    from scircuit.core.address import parse

    codes, distinct = pd.factorize(addresses.to_numpy())
    found = [parse(text) for text in distinct]
    layers = np.array([address.layer for address in found], np.int64)
    indices = np.array([address.index for address in found], np.int64)
    return layers[codes], indices[codes]


def _checksum(count: int, ends: int, sums: list[tuple[int, int]]) -> Checksum:
    text = repr((int(count), int(ends), [(int(s), int(n)) for s, n in sums]))
    return Checksum(int(count), hashlib.sha256(text.encode()).hexdigest()[:16])
