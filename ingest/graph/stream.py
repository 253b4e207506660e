"""Streams shards into the graph while a run writes them: a bounded queue and one writer thread.

::

    tracer -> shard on disk -> submit(): queue has room -> writer thread -> graph
                                         queue full, or database away -> shard stays on disk
                                         -> loaded later from the manifest

The files on disk decide; the tracer never waits and never fails because of the database. Missing
shards are found by comparing manifest and ledger: when there is room again, when the database is
back, at `GraphWriter.finish`, or later by `load_run`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core import schema
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, ShardEntry
from scircuit.ingest.graph.connection import DatabaseAway
from scircuit.ingest.graph.loader import Loader, LoadReport, MissingEndpoints, load_order, load_run
from scircuit.ingest.graph.set_q import apply_q
from scircuit.ingest.shards.shard_store import shard_key

if TYPE_CHECKING:
    from scircuit.ingest.graph.connection import Connection

__all__ = ["GraphWriter", "LoadReport", "MissingEndpoints", "apply_q", "load_run"]

EDGES = "Feature-AFFECTS-Feature"
CATCH_UP = "catch up with: scircuit load"
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 20.0
IDLE_S = 0.2


class GraphWriter:
    """Loads one run's shards into the graph from a separate thread.

    Parameters
    ----------
    open_connection
        Opens a connection; called in the thread, again after each connection loss.
    folder
        The run's folder; shards found there that are not in the graph are loaded too.
    queue_size
        Maximum number of shards that wait in memory (names only; rows are read when needed).
    on_message
        Called with a sentence when the database goes away, comes back, or refuses something.
    """

    def __init__(
        self,
        open_connection: Callable[[], Connection],
        folder: Path,
        *,
        queue_size: int = 8,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        self._open = open_connection
        self._folder = Path(folder)
        self._tell = on_message or (lambda _text: None)
        self._queue: queue.Queue[ShardEntry] = queue.Queue(queue_size)
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        # The thread first compares manifest and ledger: an earlier process may have left shards.
        self._behind_manifest = threading.Event()
        self._behind_manifest.set()
        self._finishing = threading.Event()
        self._abandon = threading.Event()
        # Edges that came before their end nodes are tried again after further nodes, and a last
        # time at the end.
        self._deferred = False
        self._rows = 0
        self._edges = 0
        self._complaint = ""
        self._thread = threading.Thread(
            target=self._work, name="scircuit-graph-writer", daemon=True
        )
        self._thread.start()

    @property
    def behind(self) -> int:
        """Number of shards on disk that are not in the graph yet."""
        with self._lock:
            return len(self._waiting)

    @property
    def edges_loaded(self) -> int:
        """Edges (AFFECTS) that this writer has loaded into the graph."""
        return self._edges

    def submit(self, entry: ShardEntry) -> None:
        """Hand over a shard that is on disk and in the manifest; returns at once in any case."""
        with self._lock:
            self._waiting.add(shard_key(entry.name))
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._behind_manifest.set()

    def finish(self, timeout: float | None = None) -> LoadReport:
        """Load the remaining shards and end the thread.

        Parameters
        ----------
        timeout
            Maximum seconds to wait; shards that are not loaded by then stay on disk.

        Returns
        -------
        LoadReport
            Never raises: if the database is away, the message says so and names the command that
            loads the rest.
        """
        self._behind_manifest.set()
        self._finishing.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._abandon.set()
            # The current chunk may still be committed; the ledger then has it.
            self._complaint = self._complaint or f"stopped after {timeout:g} s"
        pending = self.behind
        if pending or self._complaint:
            wait = (
                f"{pending} shard{'s' if pending != 1 else ''} wait{'s' if pending == 1 else ''} on"
                " disk"
            )
            problem = self._complaint or "not all shards are loaded"
            return LoadReport(self._rows, pending, f"{problem}: {wait}; {CATCH_UP}")
        return LoadReport(
            self._rows, 0, f"{self._rows:,} rows loaded into the graph" if self._rows else ""
        )

    def _work(self) -> None:
        """Connect and load until finished, again after each connection loss; errors become
        messages.
        """
        wait = FIRST_WAIT_S
        away_since: float | None = None
        while not self._abandon.is_set():
            last_try = self._finishing.is_set()
            try:
                with self._open() as connection:
                    loader = Loader(connection, self._folder, patience_s=0)
                    if away_since is not None:
                        self._tell(
                            f"the database answers again after {time.monotonic() - away_since:.0f}"
                            " s: loading the waiting shards"
                        )
                        away_since = None
                        self._complaint = ""
                    wait = FIRST_WAIT_S
                    self._behind_manifest.set()
                    self._load_until_finished(loader)
                    return
            except DatabaseAway as error:
                self._note_waiting()
                if away_since is None:
                    away_since = time.monotonic()
                    self._complaint = error.problem
                    self._tell(
                        f"{error.problem}: the run continues, {self.behind} shards wait on disk;"
                        f" {CATCH_UP}"
                    )
                if last_try:
                    return
                self._finishing.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)
            except Exception as error:
                # Wrong password, a refused shard, a fault in this program: the run on disk
                # continues in any case.
                self._note_waiting()
                self._complaint = (
                    error.problem
                    if isinstance(error, UserError)
                    else f"{type(error).__name__}: {error}"
                )
                fix = f" ({error.fix})" if isinstance(error, UserError) and error.fix else ""
                self._tell(
                    f"{self._complaint}{fix}: loading has stopped, the run continues; {CATCH_UP}"
                )
                return

    def _load_until_finished(self, loader: Loader) -> None:
        while not self._abandon.is_set():
            finishing = self._finishing.is_set()
            if self._behind_manifest.is_set() or (finishing and self._deferred):
                self._behind_manifest.clear()
                self._deferred = False
                self._load_from_manifest(loader)
            else:
                with contextlib.suppress(queue.Empty):
                    self._load_from_queue(loader, self._queue.get(timeout=IDLE_S))
            if finishing and self._queue.empty() and not self._behind_manifest.is_set():
                loader.conclude()
                return

    def _load_from_manifest(self, loader: Loader) -> None:
        # The manifest lists everything that is queued, so the queue is emptied first; nodes come
        # before relationships.
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        entries = Manifest.load(self._folder).shards
        with self._lock:
            self._waiting |= {shard_key(entry.name) for entry in loader.pending(entries)}
        for entry in load_order(entries):
            if self._abandon.is_set() or self._load(loader, entry):
                return

    def _load_from_queue(self, loader: Loader, entry: ShardEntry) -> None:
        self._load(loader, entry)
        if self._deferred and entry.kind in schema.NODES:
            self._behind_manifest.set()

    def _load(self, loader: Loader, entry: ShardEntry) -> bool:
        """Load one shard; return whether it was replaced, so that the manifest must be reread."""
        try:
            if not loader.is_loaded(entry):
                self._rows += loader.load([entry], stop=self._abandon.is_set, on_rows=self._count)
        except MissingEndpoints:
            if self._finishing.is_set():
                raise
            self._deferred = True
        except UserError as error:
            if isinstance(error, DatabaseAway) or entry in Manifest.load(self._folder).shards:
                raise
            self._behind_manifest.set()
            return True
        if loader.is_loaded(entry):
            with self._lock:
                self._waiting.discard(shard_key(entry.name))
        return False

    def _count(self, entry: ShardEntry, rows: int) -> None:
        if entry.kind == EDGES:
            self._edges += rows

    def _note_waiting(self) -> None:
        """Count all shards of the manifest as waiting while the ledger cannot be read."""
        if not self._waiting:
            with contextlib.suppress(UserError):
                names = {shard_key(entry.name) for entry in Manifest.load(self._folder).shards}
                with self._lock:
                    self._waiting |= names
