"""Cuts shards into chunks: the rows of one transaction, with their key and hashes in the ledger.

``key = run / shard[first row : last row]``. The key does not depend on the file's hash: filling in
q gives a new file, but the same chunks. The chunk size is fixed, because another size would change
the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from scircuit.core import schema
from scircuit.core.study import ShardEntry
from scircuit.ingest.graph import found_by_run, statements
from scircuit.ingest.shards.content_hash import content_hash, late_columns_hash
from scircuit.ingest.shards.shard_store import read_shard, shard_key

CHUNK_ROWS = 10_000
T = TypeVar("T")


@dataclass(frozen=True)
class Chunk:
    """Rows of one transaction.

    Attributes
    ----------
    key
        Key in the ledger.
    entry
        The shard it comes from.
    content, late
        Hashes of the values without and of the late columns.
    table
        The rows, features with the name of the run whose findings they are.
    """

    key: str
    entry: ShardEntry
    content: str
    late: str
    table: pa.Table = field(repr=False)

    @property
    def columns(self) -> list[str]:
        """Columns with at least one value, keys included: the graph stores no nulls."""
        return [
            name
            for name in self.table.column_names
            if self.table.column(name).null_count < self.table.num_rows
        ]

    @cached_property
    def rows(self) -> list[tuple[object, ...]]:
        """Rows in the form of the ingest statement: relationships grouped by source."""
        names = statements.row_columns(self.entry.kind, self.columns)
        rows = list(zip(*(self.table.column(name).to_pylist() for name in names), strict=True))
        if self.entry.kind in schema.NODES:
            return rows
        sources = self.table.column("source").to_pylist()
        starts = [i for i in range(len(rows)) if i == 0 or sources[i] != sources[i - 1]]
        return [
            (sources[a], rows[a:b]) for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)
        ]


def chunk_keys(run: str, entry: ShardEntry, size: int = CHUNK_ROWS) -> list[str]:
    """Keys of a shard's chunks, in order."""
    name = shard_key(entry.name)
    return [
        f"{run}/{name}[{start}:{min(start + size, entry.rows)}]"
        for start in range(0, entry.rows, size)
    ]


def read_chunks(
    run: str, folder: Path, entry: ShardEntry, size: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Read a shard and cut it; errors as `scircuit.ingest.shards.shard_store.read_shard`."""
    yield from chunks_of(run, read_shard(folder, entry), entry, size)


def chunks_of(
    run: str, table: pa.Table, entry: ShardEntry, size: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Cut a shard's table."""
    for number, key in enumerate(chunk_keys(run, entry, size)):
        part = table.slice(number * size, size)
        yield Chunk(
            key,
            entry,
            content_hash(part),
            late_columns_hash(part),
            found_by_run.marked(entry.kind, part, run),
        )


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """Prepare the next item in a second thread while the caller works on the current one."""
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="scircuit-read") as pool:
        pending = pool.submit(next, iterator, end)
        while (item := pending.result()) is not end:
            pending = pool.submit(next, iterator, end)
            yield item  # pyright: ignore[reportReturnType]
