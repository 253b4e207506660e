"""Loads a run's shards into the graph exactly once: rows and their ledger entry are committed in
one transaction.

``written(chunk) <=> the ledger has key(chunk)``, so relationships can be created without a search
for existing ones, also after a crash and a repeat. Order: nodes, relationships, the closing Run
record, and last the run's status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scircuit.core import schema
from scircuit.core.errors import UserError
from scircuit.core.files import canonical_json
from scircuit.core.study import Manifest, ShardEntry, now
from scircuit.ingest.graph import found_by_run, statements
from scircuit.ingest.graph.chunks import CHUNK_ROWS, Chunk, chunk_keys, read_ahead, read_chunks
from scircuit.ingest.graph.connection import Connection, DatabaseAway, rows_of

if TYPE_CHECKING:
    import neo4j

PATIENCE_S = 60.0
T = TypeVar("T")


class MissingEndpoints(UserError):
    """The end nodes of relationships are missing in the graph."""


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Attributes
    ----------
    loaded_rows
        Rows written by this call.
    pending_shards
        Shards on disk that are not in the graph yet.
    message
        One sentence for the user, or empty.
    """

    loaded_rows: int
    pending_shards: int
    message: str


@dataclass(frozen=True)
class LedgerEntry:
    """Hashes of a chunk in the graph's ledger, and whether the run's findings are in the graph."""

    content: str
    late: str
    sha256: str
    found: bool = True


def prepare(connection: Connection) -> None:
    """Create missing constraints and indexes, wait for them, and register the declared names."""
    present = {row["name"] for row in connection.run("SHOW INDEXES YIELD name RETURN name")}
    missing = [
        text for text in statements.constraints() if text.split(" ")[2].strip("`") not in present
    ]
    for statement in missing:
        connection.run(statement)
    if missing:
        connection.run("CALL db.awaitIndexes(300)")
        for procedure, given in statements.declared_names().items():
            connection.run(
                f"UNWIND $names AS name CALL {procedure}(name) RETURN count(*) AS known",
                names=given,
            )


def load_order(entries: Iterable[ShardEntry]) -> list[ShardEntry]:
    """Order shards for loading: nodes, relationships, then later Run records (its final state)."""
    runs_seen = 0
    ranked: list[tuple[int, int, ShardEntry]] = []
    for position, entry in enumerate(entries):
        rank = 0 if entry.kind in schema.NODES else 1
        if entry.kind == "Run":
            rank = 2 if runs_seen else 0
            runs_seen += 1
        ranked.append((rank, position, entry))
    return [entry for _, _, entry in sorted(ranked, key=lambda item: item[:2])]


class Loader:
    """Loads shards of one run over one connection.

    Parameters
    ----------
    connection
        An open connection.
    folder
        The run's folder.
    chunk_rows
        Rows per transaction; it must be the same for the whole run.
    patience_s
        How long to wait for a database that stopped answering.

    Raises
    ------
    UserError
        If the folder holds no run, or a deletion of this run was interrupted.
    """

    def __init__(
        self,
        connection: Connection,
        folder: Path,
        *,
        chunk_rows: int = CHUNK_ROWS,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.connection = connection
        self.folder = Path(folder)
        self.chunk_rows = chunk_rows
        self.patience_s = patience_s
        manifest = Manifest.load(self.folder)
        self.run = manifest.run
        self.imported = manifest.verb == "import"
        prepare(connection)
        rows = connection.run(statements.LEDGER_OF_RUN, run=self.run)
        if any(row["deleting"] for row in rows):
            raise UserError(
                f"a deletion of run {self.run} was interrupted; parts of it are still in the graph",
                f"finish it first: scircuit runs delete {self.run}",
            )
        self.ledger = {
            row["key"]: LedgerEntry(row["content"], row["late"], row["sha256"], row["found"])
            for row in rows
        }
        connection.run(
            "MERGE (r:Run {id: $id}) ON CREATE SET r += $properties",
            id=self.run,
            properties=run_properties(manifest),
        )

    def pending(self, entries: Iterable[ShardEntry]) -> list[ShardEntry]:
        """Return the shards with a chunk that is not in the ledger, in load order."""
        return [entry for entry in load_order(entries) if not self.is_loaded(entry)]

    def is_loaded(self, entry: ShardEntry) -> bool:
        """Whether every row of a shard is in the graph."""
        known = [self.ledger.get(key) for key in chunk_keys(self.run, entry, self.chunk_rows)]
        return all(chunk is not None and chunk.found for chunk in known)

    def load(
        self,
        entries: Iterable[ShardEntry],
        *,
        stop: Callable[[], bool] = lambda: False,
        on_rows: Callable[[ShardEntry, int], None] | None = None,
        ahead: bool = False,
    ) -> int:
        """Write the chunks of the given shards that are not in the ledger, in the given order.

        Parameters
        ----------
        entries
            Shards as the manifest lists them.
        stop
            Called before each chunk; true ends the load early.
        on_rows
            Called with shard and rows of every chunk that is now in the graph, whether it was
            written now or earlier.
        ahead
            Read and pack the next chunk in a second thread while the server works on the current
            one.

        Returns
        -------
        int
            Rows written now.

        Raises
        ------
        UserError
            If a shard is damaged, or was loaded before with other values.
        MissingEndpoints
            If a relationship's end is not in the graph; the message names ids.
        """
        rows = 0
        chunks = self._missing_or_changed(entries)
        for chunk in read_ahead(chunks) if ahead else chunks:
            if stop():
                break
            known = self.ledger.get(chunk.key)
            if known is not None and known.content != chunk.content:
                raise self.conflict(chunk)
            if known is None:
                rows += self._write(chunk)
            elif not known.found:
                self._add_findings(chunk)
            if on_rows is not None:
                on_rows(chunk.entry, chunk.table.num_rows)
        return rows

    def _missing_or_changed(self, entries: Iterable[ShardEntry]) -> Iterable[Chunk]:
        for entry in entries:
            known = [self.ledger.get(key) for key in chunk_keys(self.run, entry, self.chunk_rows)]
            if all(c is not None and c.sha256 == entry.sha256 and c.found for c in known):
                continue
            self._check_row_ranges(entry)
            for chunk in read_chunks(self.run, self.folder, entry, self.chunk_rows):
                if chunk.key not in self.ledger:
                    _ = chunk.rows  # made here, so that it is done ahead
                yield chunk

    def _check_row_ranges(self, entry: ShardEntry) -> None:
        keys = chunk_keys(self.run, entry, self.chunk_rows)
        stem = keys[0].rsplit("[", 1)[0] + "["
        if any(key.startswith(stem) for key in self.ledger.keys() - set(keys)):
            raise UserError(
                f"shard {entry.name} of run {self.run} is in the graph with different row ranges:"
                " its length has changed, or another version loaded it",
                f"delete the run from the graph (scircuit runs delete {self.run}) and load it"
                " again",
            )

    def _write(self, chunk: Chunk) -> int:
        statement = statements.ingest_cypher(
            chunk.entry.kind, chunk.columns, imported=self.imported
        )
        rows = chunk.rows
        count = chunk.table.num_rows

        def work(tx: neo4j.ManagedTransaction) -> int:
            [claim] = rows_of(
                tx,
                statements.LEDGER_CLAIM,
                key=chunk.key,
                run=self.run,
                kind=chunk.entry.kind,
                n=count,
                content=chunk.content,
                late=chunk.late,
                sha256=chunk.entry.sha256,
                at=now(),
            )
            if not claim["fresh"]:
                if claim["content"] != chunk.content:
                    raise self.conflict(chunk)
                return 0
            written = rows_of(tx, statement, rows=rows, run=self.run)[0]["written"]
            if written != count:
                raise self._missing(tx, chunk, count - written)
            self._complete(tx, chunk)
            return count

        written = self._retry_while_away(lambda: self.connection.write(work))
        self.ledger[chunk.key] = LedgerEntry(chunk.content, chunk.late, chunk.entry.sha256)
        return written

    def _complete(self, tx: neo4j.ManagedTransaction, chunk: Chunk) -> None:
        """Give nodes the identity that they lack, and features the findings of this run."""
        kind = chunk.entry.kind
        if lacking := found_by_run.without_identity(kind, chunk.table):
            rows_of(tx, found_by_run.identity_cypher(kind), identity=lacking)
        if kind != found_by_run.FEATURE:
            return
        ids = chunk.table.column("id").to_pylist()
        if self.run.startswith("annotate-"):
            given = found_by_run.dictionaries_of(ids)
            rows_of(tx, found_by_run.DICTIONARIES, dictionaries=given, run=self.run)
            rows_of(tx, found_by_run.OF_DICTIONARY, ids=ids)
        names = statements.row_columns(kind, chunk.columns)
        if statement := found_by_run.found_cypher(names):
            rows_of(tx, statement, rows=chunk.rows, run=self.run)
            newer = rows_of(tx, found_by_run.NEWER, run=self.run)[0]["newer"]
            if newer and not rows_of(tx, found_by_run.INCOMPLETE):
                rows_of(tx, found_by_run.MIRROR, ids=ids)

    def _add_findings(self, chunk: Chunk) -> None:
        """Write the findings of a chunk that a version without them loaded."""

        def work(tx: neo4j.ManagedTransaction) -> None:
            rows_of(tx, statements.LEDGER_FOUND, key=chunk.key)
            self._complete(tx, chunk)

        self._retry_while_away(lambda: self.connection.write(work))
        self.ledger[chunk.key] = replace(self.ledger[chunk.key], found=True)

    def _retry_while_away(self, call: Callable[[], T]) -> T:
        """Repeat calls while the database is away, up to `patience_s`; the ledger makes it safe."""
        end = time.monotonic() + self.patience_s
        while True:
            try:
                return call()
            except DatabaseAway:
                if time.monotonic() > end:
                    raise
                time.sleep(min(1.0, self.patience_s))

    def _missing(self, tx: neo4j.ManagedTransaction, chunk: Chunk, count: int) -> MissingEndpoints:
        relationship = schema.RELATIONSHIPS[chunk.entry.kind]
        found: list[str] = []
        for key, label in (("source", relationship.source), ("target", relationship.target)):
            ids = chunk.table.column(key).unique().to_pylist()
            found += [
                f"{label} {row['id']}"
                for row in rows_of(tx, statements.missing_cypher(label), ids=ids)
            ]
        missing = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        return MissingEndpoints(
            f"{chunk.entry.name}: {count} of {chunk.table.num_rows} relationships have an end node"
            f" that is not in the graph: {missing}; no row of this chunk was written",
            "load the runs that this run builds on first: scircuit load; if one was deleted,"
            " delete this run too: scircuit runs delete",
        )

    def conflict(self, chunk: Chunk) -> UserError:
        """Describe a chunk whose values on disk differ from those in the graph."""
        return UserError(
            f"shard {chunk.entry.name} of run {self.run} has different values in the graph and on"
            " disk",
            f"delete the run from the graph (scircuit runs delete {self.run}) and load it again",
        )

    def conclude(self) -> None:
        """Give the Run node the status and seconds of the manifest."""
        manifest = Manifest.load(self.folder)
        self.connection.run(
            "MATCH (r:Run {id: $id}) SET r.status = $status, r.seconds = $seconds",
            id=self.run,
            status=manifest.status,
            seconds=manifest.seconds,
        )


def add_missing_findings(connection: Connection, runs: Path) -> int:
    """Write what each run found about features where an earlier version loaded them without, and
    when all runs have it, compute the features again.

    Parameters
    ----------
    runs
        Folder with the folders of the runs; runs that are not there are left as they are.

    Returns
    -------
    int
        Runs that were completed.
    """
    known = connection.run("SHOW CONSTRAINTS YIELD name WHERE name = 'load_chunk_key' RETURN name")
    incomplete = connection.run(found_by_run.INCOMPLETE) if known else []
    folders = [runs / row["run"] for row in incomplete]
    done = [folder for folder in folders if (folder / "manifest.json").is_file()]
    for folder in done:
        entries = Manifest.load(folder).shards
        Loader(connection, folder).load([e for e in entries if e.kind == found_by_run.FEATURE])
    if done and not connection.run(found_by_run.INCOMPLETE):
        ids = [row["id"] for row in connection.run("MATCH (f:Feature) RETURN f.id AS id")]
        for start in range(0, len(ids), CHUNK_ROWS):
            connection.run(found_by_run.MIRROR, ids=ids[start : start + CHUNK_ROWS])
    return len(done)


def run_properties(manifest: Manifest) -> dict[str, str]:
    """Properties of a Run node from the manifest, until the run's own record is loaded."""
    return {
        "name": manifest.run,
        "verb": manifest.verb,
        "status": "running",
        "started": manifest.started,
        "version": manifest.version,
        "config": canonical_json(manifest.config),
        "inputs": canonical_json(manifest.inputs),
    }


def load_run(
    connection: Connection, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> LoadReport:
    """Load every shard of a run that is not in the graph yet, exactly once.

    Parameters
    ----------
    connection
        An open connection.
    folder
        The run's folder.
    progress
        Called as ``progress(rows in the graph, all rows)``.

    Raises
    ------
    UserError
        If a shard is damaged or was loaded with other values; the rows loaded before are kept, and
        the next call continues there.
    DatabaseAway
        If the database stops answering; as above.
    """
    manifest = Manifest.load(Path(folder))
    loader = Loader(connection, folder)
    total = sum(entry.rows for entry in manifest.shards)
    complete = [
        e
        for e in manifest.shards
        if all(
            (known := loader.ledger.get(key)) is not None
            and known.sha256 == e.sha256
            and known.found
            for key in chunk_keys(loader.run, e)
        )
    ]
    done = sum(entry.rows for entry in complete)

    def count(_entry: ShardEntry, rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, total)

    rows = loader.load(load_order(manifest.shards), on_rows=count, ahead=True)
    loader.conclude()
    message = f"{rows:,} rows loaded: run {manifest.run} is complete in the graph" if rows else ""
    return LoadReport(rows, 0, message)
