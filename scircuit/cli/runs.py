"""``scircuit runs``: list, show, compare and delete runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

import scircuit
from scircuit.cli.command import format_option, study_option
from scircuit.cli.tables import render
from scircuit.core.errors import UserError
from scircuit.core.study import Study

# --study is understood before and after the name of the command
_study = click.option(
    "--study", "other", type=click.Path(path_type=Path, file_okay=False), help="folder of the study"
)


@click.group("runs", invoke_without_command=True)
@study_option
@format_option
@click.pass_context
def runs(ctx: click.Context, study: Path, shape: str) -> None:
    """List the runs of a study; or show one, compare two, delete one."""
    ctx.obj = study
    if ctx.invoked_subcommand is None:
        click.echo(render(scircuit.runs(study), shape))


@runs.command("show")
@click.argument("run")
@_study
@click.pass_obj
def show(study: Path, run: str, other: Path | None) -> None:
    """Print the manifest of a RUN without its shard list."""
    manifest = Study(other or study).manifest(run)
    fields = {key: value for key, value in vars(manifest).items() if key != "shards"}
    shown = {**fields, "shards": len(manifest.shards)}
    click.echo(json.dumps(shown, indent=1, default=str))


@runs.command("compare")
@click.argument("a")
@click.argument("b")
@format_option
@_study
@click.pass_obj
def compare(study: Path, a: str, b: str, shape: str, other: Path | None) -> None:
    """Compare the edges of two trace runs, A and B, by layer pair."""
    from scircuit.workflows.runs import compare_runs

    click.echo(render(compare_runs(a, b, other or study), shape))


@runs.command("delete")
@click.argument("run")
@click.option("--yes", is_flag=True, help="do not ask")
@_study
@click.pass_obj
def delete(study: Path, run: str, yes: bool, other: Path | None) -> None:
    """Delete a RUN from the graph and from disk; features stay."""
    from scircuit.workflows.runs import deletable, delete_run

    manifest = deletable(run, other or study)
    if not yes:
        what = "damaged"
        if manifest is not None:
            what = f"{manifest.verb}, {sum(shard.rows for shard in manifest.shards):,} records"
        try:
            agreed = click.confirm(f"delete {run} ({what})?", err=True)
        except click.Abort:  # no terminal to answer from, or Ctrl-C
            click.echo(err=True)
            agreed = False
        if not agreed:
            raise UserError(f"run {run} is not deleted", "answer y, or give --yes")
    counts = delete_run(run, other or study)
    click.echo(f"deleted {run}: " + ", ".join(f"{v:,} {k}" for k, v in counts.items()))
