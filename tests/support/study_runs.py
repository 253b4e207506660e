"""Small traces of the demo's model that can be ended in the middle, and what must be equal between
two runs.

Options may name the sizes in which the work is cut (`SIZES`), which are no options of the program:
`demo` makes them small, so that a short run has several units, batches and parts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.patience import HANGS_S

EDGES = "Feature-AFFECTS-Feature"
TIMES = {"run-start", "run-end"}  # units that hold the time of day
SIZES = ("unit_features", "batch_pairs", "batch_rows")


def demo(root: Path, **more: Any) -> dict[str, Any]:
    """Options of a trace that takes about a second."""
    examples = root / "examples"
    return {
        "model": str(examples / "model"),
        "dictionaries": str(examples / "dictionaries"),
        "source_layers": (3,),
        "n_cells": 6,
        "mixed": True,
        "cells": examples / "cells" / "celltypist_sample_559cells.h5ad",
        "features": tuple(range(14)),
        "control_features": 2,
        "null_draws": 8,
        "max_length": 128,
        "device": "cpu",
        "batch_pairs": 2,
        "batch_rows": 16,
    } | more


def options_alone(options: dict[str, Any]) -> dict[str, Any]:
    """Options without the sizes."""
    return {name: value for name, value in options.items() if name not in SIZES}


@contextlib.contextmanager
def work_sizes(options: dict[str, Any]) -> Iterator[None]:
    """Cut the work of this process in the sizes among the options."""
    from scircuit.tracing.engine import settings

    names = {name: name.upper() for name in SIZES if name in options}
    before = {name: getattr(settings, constant) for name, constant in names.items()}
    try:
        for name, constant in names.items():
            setattr(settings, constant, options[name])
        yield
    finally:
        for name, constant in names.items():
            setattr(settings, constant, before[name])


def trace(study: Path, **options: Any) -> Any:
    """`scircuit.trace` with sizes."""
    from scircuit.workflows.trace import trace

    with work_sizes(options):
        return trace(study=study, **options_alone(options))


def command(options: dict[str, Any], study: Path) -> list[str]:
    """The same on the command line."""
    flags: list[str] = []
    sizes = [f"settings.{n.upper()} = {options[n]}; " for n in SIZES if n in options]
    for name, value in options_alone(options).items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, tuple) else (value,):
            flags += [flag] if one is True else [flag, str(one)]
    return [
        sys.executable,
        "-c",
        "from scircuit.tracing.engine import settings; "
        + "".join(sizes)
        + "from scircuit.cli.main import main; main()",
        "trace",
        "--no-database",
        "--study",
        str(study),
        *flags,
    ]


def folder_of(study: Path) -> Path:
    """Folder of the study's only run."""
    (folder,) = (study / "runs").glob("trace-*")
    return folder


def units_done(study: Path) -> int:
    """Work units on disk."""
    return len(list(study.glob("runs/*/units/L*.json")))


def outcome(folder: Path) -> dict[str, Any]:
    """Everything of a run that may not depend on how it came about: hashes of its shards, p values
    of its units, findings.
    """
    from scircuit.core.study import Manifest
    from scircuit.ingest.shards.shard_store import shard_key

    manifest = Manifest.load(folder)
    assert manifest.status == "complete"
    shards = {
        shard_key(s.name): s.sha256 for s in manifest.shards if s.name.split(".")[0] not in TIMES
    }
    assert len(shards) == len([s for s in manifest.shards if s.name.split(".")[0] not in TIMES])
    units = {
        p.name: {k: np.load(p)[k].tobytes() for k in np.load(p).files}
        for p in (folder / "units").glob("*.npz")
    }
    return {"run": manifest.run, "shards": shards, "units": units, "findings": manifest.findings}


def parts_done(study: Path, name: str) -> int:
    """Parts of the controls or the audit on disk."""
    return len(list(study.glob(f"runs/*/parts/{name}-*.json")))


def edges(folder: Path) -> Any:
    """All edges in one order, without the run's name."""
    from scircuit.ingest.shards.shard_store import ShardStore

    table = (
        ShardStore(folder).tables(EDGES).sort_by([("source", "ascending"), ("target", "ascending")])
    )
    return table.drop_columns(["run"])


def start(options: dict[str, Any], study: Path, **ending: Any) -> int:
    """Trace in a process of its own, which ends itself as `run` says; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "scircuit.workflows.trace",
            "scircuit.tracing.engine.tracer",
            "scircuit.tracing.controls.sampled_controls",
            "transformers.models.bert.modeling_bert",
            "anndata",
            "scipy.stats",
        ]
    )
    process = context.Process(target=run, args=(options, study), kwargs=ending)
    process.start()
    process.join(HANGS_S)
    assert process.exitcode is not None
    return process.exitcode


def run(
    options: dict[str, Any],
    study: Path,
    at_rename: int = 0,
    before: bool = True,
    after_s: float = 0,
    threads: int = 1,
    of: str = "",
) -> None:
    """Trace; SIGKILL at a rename (files become final by renames alone), just before or just after
    it, or after so many seconds.

    With `of`, only renames to ``folder/file`` names that begin so count.
    """
    import torch

    torch.set_num_threads(threads)
    renames, plain = 0, Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal renames
        counts = f"{target.parent.name}/{target.name}".startswith(of)
        renames += counts
        if counts and renames == at_rename and before:
            os.kill(os.getpid(), signal.SIGKILL)
        found = plain(self, target)
        if counts and renames == at_rename:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Path.replace = replace
    if after_s:
        threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
    trace(study=study, database=False, quiet=True, **options)
