"""``scircuit runs``: list, compare and delete runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scircuit.cli.command import study_option
from scircuit.cli.tables import render
from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.progress import duration
from scircuit.core.study import Manifest, Study
from scircuit.execution.database import connect

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


@click.group("runs", invoke_without_command=True)
@study_option
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@click.pass_context
def command(ctx: click.Context, study: Path, shape: str) -> None:
    """List the runs of a study; or compare two, or delete one."""
    ctx.obj = study
    if ctx.invoked_subcommand is None:
        click.echo(render(runs(study), shape))


# as the verb's own option, after the name of the command as well
_of_study = click.option(
    "--study", "other", type=click.Path(path_type=Path, file_okay=False), help="folder of the study"
)


@command.command("show")
@click.argument("run")
@_of_study
@click.pass_obj
def show(study: Path, run: str, other: Path | None) -> None:
    """Print the manifest of a RUN without its shard list."""
    study = other or study
    manifest = Manifest.load(Study(study).run_folder(run))
    fields: dict[str, Any] = {k: v for k, v in vars(manifest).items() if k != "shards"}
    click.echo(json.dumps({**fields, "shards": len(manifest.shards)}, indent=1, default=str))


@command.command("compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@_of_study
@click.pass_obj
def compare(study: Path, a: str, b: str, shape: str, other: Path | None) -> None:
    """Compare the edges of two trace runs, A and B, by layer pair."""
    study = other or study
    from scircuit.ingest.graph.graph_runs import compare_runs

    for run in (a, b):
        Manifest.load(Study(study).run_folder(run))
    with connect(study) as connection:
        click.echo(render(compare_runs(connection, a, b), shape))


@command.command("delete")
@click.argument("run")
@click.option("--yes", is_flag=True, help="do not ask")
@_of_study
@click.pass_obj
def delete(study: Path, run: str, yes: bool, other: Path | None) -> None:
    """Delete a RUN from the graph and from disk; features stay."""
    study = other or study
    from scircuit.ingest.graph.graph_runs import delete_run

    place = Study(study)
    manifest = Manifest.load(place.run_folder(run))
    children = [m.run for m in place.manifests() if run in m.parents]
    if children:
        raise UserError(f"runs computed from {run}: {', '.join(children)}", "delete those first")
    if not yes:
        click.confirm(
            f"delete {run} ({manifest.verb}, {sum(s.rows for s in manifest.shards):,} records)?",
            abort=True,
        )
    with connect(study) as connection:
        counts = delete_run(connection, run)
    shutil.rmtree(place.run_folder(run))
    click.echo(f"deleted {run}: " + ", ".join(f"{v:,} {k}" for k, v in counts.items()))
