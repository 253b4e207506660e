"""One run from start to end: manifest, shards on disk first, then the graph, and a status that is
right however it ends. What is skipped on resume: `scircuit.execution.resume`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.errors import Terminated, UserError
from scircuit.core.files import canonical_json
from scircuit.core.progress import say
from scircuit.core.run_files.run_locks import changing_study, one_writer, require_parents
from scircuit.core.study import Manifest, Study, now, run_id
from scircuit.core.version import __version__
from scircuit.execution.findings.finding_files import finding_records
from scircuit.execution.graph_server import opener
from scircuit.execution.partial_results import remove_parts
from scircuit.execution.resume import require_same_inputs, require_same_software
from scircuit.execution.run_result import RunResult
from scircuit.execution.software_versions import packages

if TYPE_CHECKING:
    from types import FrameType

    import pyarrow as pa

    from scircuit.ingest.graph.stream import GraphWriter
    from scircuit.ingest.shards.shard_store import ShardStore


@dataclass
class ActiveRun:
    """A run being written."""

    id: str
    study: Study
    folder: Path
    store: ShardStore
    writer: GraphWriter | None
    resumed: bool
    finished: bool
    load_message: str = ""

    @property
    def done(self) -> set[str]:
        """Work units whose shards are on disk."""
        return self.store.units()

    @property
    def seconds(self) -> float:
        """Time that the run took, earlier processes that ended by themselves included."""
        return time.monotonic() - self._started + self._before

    def write(self, unit: str, tables: Mapping[str, pa.Table]) -> None:
        """Store one work unit on disk, then hand its shards to the graph writer; a unit already
        there is left alone.
        """
        if unit in self.store.units():
            return
        for entry in self.store.add(unit, tables):
            if self.writer is not None:
                self.writer.submit(entry)

    def conclude(self, findings: Mapping[str, object], **record: object) -> None:
        """Write the findings stored beside the run and the final Run record, and mark the run
        complete.
        """
        if stored := finding_records(self.folder, self.id, self.store.manifest.verb):
            self.write("run-findings", stored)
        seconds = self.seconds
        self.write(
            "run-end",
            {
                "Run": run_table(
                    self.id,
                    status="complete",
                    seconds=seconds,
                    findings=canonical_json(findings),
                    **record,
                )
            },
        )
        self.store.finish("complete", dict(findings), seconds=seconds)
        self.finished = True
        remove_parts(self.folder)

    def result(self, new: bool, compute: Callable[[], object] | None = None) -> RunResult:
        """What the verb returns of the ended run; `new` tells whether it was computed now, and
        `compute` gives its detail where that is not its stored findings.
        """
        findings = dict(self.store.manifest.findings)
        sentences = tuple(findings.get("sentences", ()))
        return RunResult(self.id, self.folder, findings, sentences, self.load_message, new, compute)

    def __post_init__(self) -> None:
        self._started, self._before = time.monotonic(), self.store.manifest.seconds


def run_table(run: str, **values: object) -> pa.Table:
    """One-row table of kind Run."""
    import pyarrow as pa

    from scircuit.core import schema

    row = {"id": run, **values}
    return schema.conform("Run", pa.table({k: [v] for k, v in row.items()}))


def links(kind: str, source: str, targets: list[str]) -> dict[str, pa.Table]:
    """Table of plain relationships from one node to several, as a one-kind mapping (empty without
    targets).
    """
    import pyarrow as pa

    if not targets:
        return {}
    return {kind: pa.table({"source": [source] * len(targets), "target": targets})}


@contextlib.contextmanager
def active_run(
    study: Study,
    verb: str,
    config: Mapping[str, object],
    inputs: Mapping[str, object],
    *,
    parents: tuple[str, ...] = (),
    database: bool = True,
    cohort: Mapping[str, object] | None = None,
    record: Mapping[str, object] | None = None,
    identity: Mapping[str, object] | None = None,
    beside: Mapping[str, object] | None = None,
) -> Iterator[ActiveRun]:
    """Open, resume or find finished the run that this configuration and these inputs name, and hold
    it: one process at a time works on a run.

    Parameters
    ----------
    config
        Options as stored in the manifest.
    identity
        The part of the configuration that determines the result (default: all of it).
    parents
        Runs this one was computed from.
    record
        Further properties of the Run node known at the start.
    beside
        Hashes of inputs that its id does not tell of.

    Raises
    ------
    UserError
        If another process holds the run; or it was computed from other inputs; or it is not
        finished and was started with other versions of the software that its result depends on.
    """
    identifier = run_id(
        verb, identity if identity is not None else config, {**inputs, "parents": parents}
    )
    new = Manifest(
        run=identifier,
        verb=verb,
        config=dict(config),
        inputs={**inputs, **(beside or {})},
        version=__version__,
        started=now("microseconds"),  # runs that begin within a second keep their order
        parents=parents,
        cohort=dict(cohort or {}),
        packages=packages(),
    )
    with one_writer(study.root, identifier, verb, graph=database, signed=False) as sign:
        run = _opened(study, new, database, beside or {})
        sign()
        yield from _lived(run, verb, parents, record or {})


def _opened(study: Study, new: Manifest, database: bool, beside: Mapping[str, object]) -> ActiveRun:
    """The run that is resumed, or a new one."""
    from scircuit.ingest.graph.stream import GraphWriter
    from scircuit.ingest.shards.shard_store import ShardStore

    folder = study.run_folder(new.run)
    resumed = os.path.lexists(folder / "manifest.json")
    if resumed:
        begun = study.manifest(new.run)
        require_same_inputs(study, begun, beside)
        require_same_software(study, begun, new.packages)
        store = ShardStore(folder)
    else:
        with changing_study(study.root):
            require_parents(study.root, new.parents)
            _make_folder(folder)
            store = ShardStore(folder, new)
    finished = store.manifest.complete
    writer = GraphWriter(opener(study), folder, on_message=say) if database else None
    return ActiveRun(new.run, study, folder, store, writer, resumed, finished)


def _lived(
    run: ActiveRun, verb: str, parents: tuple[str, ...], record: Mapping[str, object]
) -> Iterator[ActiveRun]:
    """Give the run once, and leave it with the status that is right however that ends."""
    store, writer = run.store, run.writer
    try:
        with _terminable():
            _start(run, verb, parents, record)
            yield run
        if not run.finished:
            raise RuntimeError(f"run {run.id} ended without a conclusion")
    except BaseException as error:
        if not run.finished:
            interrupted = isinstance(error, KeyboardInterrupt)
            with contextlib.suppress(OSError, UserError):
                store.finish(
                    "interrupted" if interrupted else "failed",
                    {"error": f"{type(error).__name__}: {error}"},
                    run.seconds,
                )
        if writer is not None:
            writer.finish(timeout=5)
        raise
    if writer is not None:
        run.load_message = writer.finish().message


def _start(
    run: ActiveRun, verb: str, parents: tuple[str, ...], record: Mapping[str, object]
) -> None:
    """Mark an unfinished run as running, and write its Run record."""
    manifest = run.store.manifest
    if run.finished:
        remove_parts(run.folder)  # killed at its very end
        return
    if manifest.status != "running":
        run.store.finish("running", {})
    start = run_table(
        run.id,
        name=f"{verb} {run.id.rsplit('-', 1)[-1][:6]}",
        verb=verb,
        status="running",
        version=__version__,
        started=manifest.started,
        config=canonical_json(manifest.config),
        inputs=canonical_json(manifest.inputs),
        **record,
    )
    run.write("run-start", {"Run": start, **links("Run-FROM-Run", run.id, list(parents))})


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, so that it leaves what Ctrl-C leaves."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only there can it be caught
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the run to {folder}: {error.strerror}",
            "choose another --study folder or free space",
        ) from error
