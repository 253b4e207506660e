"""``scircuit load``: bring runs that are on disk into the graph, exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.progress import Progress
from scircuit.core.study import Study
from scircuit.workflows.database import connect


@dataclass(frozen=True)
class LoadResult:
    """Rows brought into the graph, per run."""

    rows: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rows": self.rows, "total": sum(self.rows.values())}

    def __str__(self) -> str:
        lines = [
            f"{run}: {rows:,} rows loaded" if rows else f"{run}: nothing was missing"
            for run, rows in self.rows.items()
        ]
        return "\n".join(lines)


def load(study: Path | str = DEFAULT_STUDY, run: str = "", *, quiet: bool = False) -> LoadResult:
    """Load every shard that the graph does not hold yet.

    Parameters
    ----------
    run
        One run (default: all of the study, oldest first).

    Raises
    ------
    UserError
        If the study has no runs, the run does not exist, or a shard is damaged.
    """
    from scircuit.ingest.graph.stream import apply_q, load_run

    place = Study(Path(study))
    manifests = [m for m in place.manifests() if run in ("", m.run)]
    if not manifests:
        raise UserError(
            f"study {place.root} has no run{f' {run!r}' if run else 's'}",
            f"see what there is: scircuit runs --study {place.root}",
        )
    rows: dict[str, int] = {}
    with connect(place.root) as connection:
        for manifest in manifests:
            progress = Progress(
                f"loading {manifest.run}", sum(s.rows for s in manifest.shards), "rows", quiet=quiet
            )
            report = load_run(
                connection,
                place.run_folder(manifest.run),
                progress=lambda done, _total, p=progress: p.update(done),
            )
            if manifest.verb == "trace" and manifest.complete:
                apply_q(connection, place.run_folder(manifest.run))
            rows[manifest.run] = report.loaded_rows
    return LoadResult(rows)
