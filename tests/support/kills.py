"""Verbs in processes of their own that kill themselves, and what must be equal between two studies.

Files become final by renames alone, and records enter a graph by statements alone: a kill at the
n-th of these is a kill at any moment that matters.
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.patience import HANGS_S

PRELOAD = [
    "scircuit.workflows.trace",
    "scircuit.workflows.annotate",
    "scircuit.workflows.analyse",
    "scircuit.workflows.interventions.ablate",
    "scircuit.workflows.interventions.steer",
    "scircuit.workflows.interventions.importance",
    "scircuit.workflows.interventions.circuit",
    "scircuit.workflows.report",
    "scircuit.workflows.exporting",
    "scircuit.tracing.engine.tracer",
    "scircuit.tracing.controls.sampled_controls",
    "transformers.models.bert.modeling_bert",
    "anndata",
    "scipy.stats",
]


def call(
    function: str,
    arguments: tuple[Any, ...] = (),
    options: Mapping[str, Any] | None = None,
    *,
    at: int = 0,
    before: bool = True,
    of: str = "rename",
    environment: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """Call ``module:name`` in a process that kills itself at the n-th rename or statement, just
    before or just after it; its exit code, and how many there were.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    counted = context.Value("i", 0)
    process = context.Process(
        target=_run,
        args=(function, arguments, dict(options or {}), at, before, of, environment, counted),
    )
    process.start()
    process.join(HANGS_S)
    assert process.exitcode is not None
    return process.exitcode, counted.value


def _run(
    function: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    at: int,
    before: bool,
    of: str,
    environment: Mapping[str, str] | None,
    counted: Any,
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(environment or {})

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            counted.value += 1
            mine = counted.value
            if mine == at and before:
                os.kill(os.getpid(), signal.SIGKILL)
            found = real(*arguments, **named)
            if mine == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return step

    if of == "rename":
        for owner, name in ((Path, "replace"), (Path, "rename")):
            setattr(owner, name, killing(getattr(owner, name)))
    else:
        from scircuit.ingest.graph.connection import Connection

        for name in ("run", "autocommit", "write"):
            setattr(Connection, name, killing(getattr(Connection, name)))
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(*arguments, **options)


def records(study: Path) -> dict[str, dict[str, tuple[int, str]]]:
    """Run -> kind -> number of records and the hash over its sorted rows; what tells the time of
    day is left out.
    """
    from scircuit.core.study import Study
    from scircuit.ingest.shards.shard_store import ShardStore

    found = {}
    for manifest in Study(study).manifests():
        assert manifest.complete, manifest
        store = ShardStore(Study(study).run_folder(manifest.run))
        listed = Counter(entry.name for entry in manifest.shards)
        assert set(listed.values()) <= {1}
        rows: dict[str, list[str]] = {}
        for entry in manifest.shards:
            table = store.read(entry)
            if entry.kind == "Run":
                table = table.select([c for c in table.column_names if c not in _TIMES])
            names = sorted(table.column_names)
            for row in table.select(names).to_pylist():
                rows.setdefault(entry.kind, []).append(repr(row))
        found[manifest.run] = {
            kind: (len(lines), hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest())
            for kind, lines in sorted(rows.items())
        }
        found[manifest.run]["findings"] = (1, repr(sorted(manifest.findings.items())))
    return found


_TIMES = ("started", "seconds", "at")
