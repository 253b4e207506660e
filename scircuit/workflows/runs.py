"""``scircuit runs``: list, compare and delete runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.progress import duration, say
from scircuit.core.run_files.manifest import NewerManifest
from scircuit.core.run_files.run_locks import DELETE, changing_study, one_writer
from scircuit.core.study import Manifest, Study, to_the_second
from scircuit.workflows.database import connect

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("run", "verb", "status", "started", "took", "records", "from")
DELETED = ".deleted-"  # begins the name of a run's folder while it is removed


def runs(study: Path | str = DEFAULT_STUDY) -> pd.DataFrame:
    """Runs of a study on disk, oldest first: run, verb, status, started, seconds, records, parents
    (of imports their format and name).

    A run that cannot be read stands at the end with the status ``damaged``, or ``newer`` where a
    newer version wrote it; the reason and the fix are said on stderr.

    Raises
    ------
    UserError
        If there is no such study.
    """
    import pandas as pd

    place = Study(Path(study))
    place.require("it has no runs")
    found, unreadable = place.survey()
    rows = [
        {
            "run": m.run,
            "verb": m.verb,
            "status": m.status,
            "started": to_the_second(m.started),
            "took": duration(m.seconds),
            "records": sum(s.rows for s in m.shards),
            "from": (
                ", ".join(m.parents)
                or " ".join(
                    str(m.inputs.get(k, "")) for k in ("format", "name") if m.verb == "import"
                )
            ),
        }
        for m in found
    ]
    for run in unreadable:
        say(f"  run {run.run}: {run.problem} (fix: {run.fix})")
        verb, status = run.run.partition("-")[0], "newer" if run.newer else "damaged"
        rows.append({"run": run.run, "verb": verb, "status": status, "started": "", "took": ""})
    frame = pd.DataFrame(rows, columns=list(COLUMNS))  # pyright: ignore[reportArgumentType]
    if unreadable:
        frame["records"] = frame["records"].astype("Int64")
        frame["from"] = frame["from"].fillna("")
    return frame


def compare_runs(a: str, b: str, study: Path | str = DEFAULT_STUDY) -> pd.DataFrame:
    """Compare the edges of two trace runs of the graph by layer pair.

    Raises
    ------
    UserError
        If one of the runs does not exist.
    """
    from scircuit.ingest.graph import graph_runs

    place = Study(Path(study))
    for run in (a, b):
        place.manifest(run)
    with connect(study) as connection:
        return graph_runs.compare_runs(connection, a, b)


def deletable(run: str, study: Path | str = DEFAULT_STUDY) -> Manifest | None:
    """Manifest of a run that no other run was computed from; None if it is damaged.

    Raises
    ------
    UserError
        If the text is not the id of a run, the run does not exist or is of a newer version, its
        folder is a link or holds the manifest of another run, or other runs were computed from it.
    """
    place = Study(Path(study))
    folder = place.run_folder(run)
    manifest = None
    try:
        manifest = place.manifest(run)
    except NewerManifest:
        raise
    except UserError:
        # what a damaged run left can be deleted; what another run wrote can not
        if not folder.is_dir() or not any(folder.iterdir()) or _of_another_run(folder):
            raise
    children = [m.run for m in place.manifests() if run in m.parents]
    if children:
        raise UserError(f"runs computed from {run}: {', '.join(children)}", "delete those first")
    return manifest


def _of_another_run(folder: Path) -> bool:
    try:
        return Manifest.load(folder).run != folder.name
    except UserError:
        return False


def delete_run(run: str, study: Path | str = DEFAULT_STUDY) -> dict[str, int]:
    """Delete a run from the graph and from disk; features stay. Returns counts of what was deleted.

    Raises
    ------
    UserError
        As `deletable`, or if another process holds the run.
    """
    place = Study(Path(study))
    deletable(run, study)
    with one_writer(place.root, run, DELETE):
        with changing_study(place.root):
            deletable(run, study)  # once more: nothing changes it now
        counts = _delete_from_graph(place, run)
        _delete_from_disk(place.run_folder(run))
    return counts


def _delete_from_graph(study: Study, run: str) -> dict[str, int]:
    from scircuit.ingest.graph import graph_runs
    from scircuit.ingest.graph.connection import target_from_env

    if target_from_env() is None and not study.server_home.exists():
        return {"relationships": 0, "nodes": 0, "chunks": 0}  # no server is made for a deletion
    with connect(study.root) as connection:
        return graph_runs.delete_run(connection, run)


def _delete_from_disk(folder: Path) -> None:
    """Take the run away at once, then remove its files, and those of a deletion that was killed."""
    gone = folder.with_name(f"{DELETED}{folder.name}-{os.getpid()}")
    try:
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise UserError(
            f"run {folder.name} cannot be deleted from disk: {error.filename}: {error.strerror}",
            "give yourself the right to write there, then remove"
            f" {gone if gone.exists() else folder} by hand",
        ) from error
    for left in folder.parent.glob(f"{DELETED}{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
