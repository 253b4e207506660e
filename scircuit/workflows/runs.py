"""``scircuit runs``: list, compare and delete runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.progress import duration
from scircuit.core.study import Manifest, Study
from scircuit.workflows.database import connect

if TYPE_CHECKING:
    import pandas as pd


def runs(study: Path | str = DEFAULT_STUDY) -> pd.DataFrame:
    """Runs of a study on disk, oldest first: run, verb, status, started, seconds, records, parents
    (of imports their format and name).
    """
    import pandas as pd

    rows = [
        {
            "run": m.run,
            "verb": m.verb,
            "status": m.status,
            "started": m.started,
            "took": duration(m.seconds),
            "records": sum(s.rows for s in m.shards),
            "from": (
                ", ".join(m.parents)
                or " ".join(str(m.inputs[k]) for k in ("format", "name") if m.verb == "import")
            ),
        }
        for m in Study(Path(study)).manifests()
    ]
    columns = ["run", "verb", "status", "started", "took", "records", "from"]
    return pd.DataFrame(rows, columns=columns)  # pyright: ignore[reportArgumentType]


def compare_runs(a: str, b: str, study: Path | str = DEFAULT_STUDY) -> pd.DataFrame:
    """Compare the edges of two trace runs of the graph by layer pair.

    Raises
    ------
    UserError
        If one of the runs does not exist.
    """
    from scircuit.ingest.graph import graph_runs

    for run in (a, b):
        Manifest.load(Study(Path(study)).run_folder(run))
    with connect(study) as connection:
        return graph_runs.compare_runs(connection, a, b)


def deletable(run: str, study: Path | str = DEFAULT_STUDY) -> Manifest:
    """Manifest of a run that no other run was computed from.

    Raises
    ------
    UserError
        If the run does not exist, or other runs were computed from it.
    """
    place = Study(Path(study))
    manifest = Manifest.load(place.run_folder(run))
    children = [m.run for m in place.manifests() if run in m.parents]
    if children:
        raise UserError(f"runs computed from {run}: {', '.join(children)}", "delete those first")
    return manifest


def delete_run(run: str, study: Path | str = DEFAULT_STUDY) -> dict[str, int]:
    """Delete a run from the graph and from disk; features stay. Returns counts of what was deleted.

    Raises
    ------
    UserError
        As `deletable`.
    """
    from scircuit.ingest.graph import graph_runs

    deletable(run, study)
    with connect(study) as connection:
        counts = graph_runs.delete_run(connection, run)
    shutil.rmtree(Study(Path(study)).run_folder(run))
    return counts
