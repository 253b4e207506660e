"""Sets the late columns (q, q_computed, q_direct) on edges that were streamed before they were
known.

Every q is Benjamini-Hochberg over all tests of a run, so it exists only when the run has ended,
after the edges were streamed. Each chunk whose late columns differ from the ledger is updated,
counted and recorded in the ledger in one transaction. One q can be null beside another: an edge
whose activation never moves has no q and can have a q_direct.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.errors import UserError
from scircuit.core.study import Manifest
from scircuit.ingest.graph import statements
from scircuit.ingest.graph.chunks import Chunk, chunk_keys, read_ahead, read_chunks
from scircuit.ingest.graph.connection import rows_of
from scircuit.ingest.graph.loader import LedgerEntry, Loader
from scircuit.ingest.shards.content_hash import LATE_COLUMNS

if TYPE_CHECKING:
    import neo4j

    from scircuit.ingest.graph.connection import Connection

EDGES = "Feature-AFFECTS-Feature"


def apply_q(
    connection: Connection, folder: Path, *, progress: Callable[[int], None] | None = None
) -> int:
    """Copy the late columns from a run's shards to its edges in the graph; `load_run` loads other
    edges with them.

    Parameters
    ----------
    connection
        An open connection.
    folder
        The run's folder, its shards holding the late columns.
    progress
        Called with the number of edges set so far.

    Returns
    -------
    int
        Edges set now; 0 when all had their values. It is safe to repeat after an interruption.

    Raises
    ------
    UserError
        If edges that are in the ledger are missing in the graph.
    """
    loader = Loader(connection, folder)
    manifest = Manifest.load(Path(folder))
    stale = [
        entry
        for entry in manifest.shards
        if entry.kind == EDGES
        and any(
            (known := loader.ledger.get(key)) is not None and known.sha256 != entry.sha256
            for key in chunk_keys(loader.run, entry, loader.chunk_rows)
        )
    ]
    total = 0
    chunks = (
        chunk
        for entry in stale
        for chunk in read_chunks(loader.run, loader.folder, entry, loader.chunk_rows)
    )
    for chunk in read_ahead(chunks):
        known = loader.ledger.get(chunk.key)
        if known is None:
            continue
        total += _apply(loader, chunk, known)
        if progress is not None:
            progress(total)
    return total


def _columns(chunk: Chunk) -> list[list[Any]]:
    """Source, target and the late columns of the rows; a column that the shard lacks is null."""
    names = ("source", "target", *LATE_COLUMNS)
    return [
        chunk.table.column(name).to_pylist()
        if name in chunk.table.column_names
        else [None] * chunk.table.num_rows
        for name in names
    ]


def _apply(loader: Loader, chunk: Chunk, known: LedgerEntry) -> int:
    if known.content != chunk.content:
        raise loader.conflict(chunk)
    by_source: dict[str, dict[str, tuple[float | None, ...]]] = defaultdict(dict)
    if chunk.late and chunk.late != known.late:
        for source, target, *late in zip(*_columns(chunk), strict=True):
            by_source[source][target] = tuple(late)
    rows = [[source, targets] for source, targets in by_source.items()]
    expected = sum(map(len, by_source.values()))

    def work(tx: neo4j.ManagedTransaction) -> int:
        rows_of(
            tx, statements.LEDGER_UPDATE, key=chunk.key, late=chunk.late, sha256=chunk.entry.sha256
        )
        if not rows:
            return 0
        written = rows_of(tx, statements.SET_Q, rows=rows, run=loader.run)[0]["written"]
        if written != expected:
            raise UserError(
                f"{chunk.entry.name} has {expected} edges, but only {written} of them are in"
                " the graph; nothing was changed",
                f"edges were deleted or added by hand: delete run {loader.run} from the graph and"
                " load it again",
            )
        return written

    written = loader.connection.write(work)
    loader.ledger[chunk.key] = LedgerEntry(chunk.content, chunk.late, chunk.entry.sha256)
    return written
