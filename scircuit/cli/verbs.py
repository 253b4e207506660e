"""The commands of all verbs but `query`, `runs` and `db`, which have modules of their own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

import scircuit
from scircuit.cli.command import json_option, show_result, study_option, verb_command
from scircuit.cli.options import help_of, options_of
from scircuit.core import config as configs
from scircuit.core.build_config import build
from scircuit.core.progress import say_lines

check = verb_command(
    "check",
    configs.CheckConfig,
    database=False,
    paths=(("cells",), ("model", "cells"), ("model", "dictionaries", "cells")),
)
train = verb_command("train", configs.TrainConfig, database=False)
trace = verb_command("trace", configs.TraceConfig)
annotate = verb_command("annotate", configs.AnnotateConfig)
analyse = verb_command("analyse", configs.AnalyseConfig)
null = verb_command("null", configs.NullConfig)
match = verb_command("match", configs.MatchConfig)
predict = verb_command("predict", configs.PredictConfig)
ablate = verb_command("ablate", configs.AblateConfig)
steer = verb_command("steer", configs.SteerConfig)
importance = verb_command("importance", configs.ImportanceConfig)
attribute = verb_command("attribute", configs.AttributeConfig)
circuit = verb_command("circuit", configs.CircuitConfig, paths=(("behaviour",),))


@click.command("demo")
@study_option
@click.option("--cells", "n_cells", default=20, show_default=True, help="cells to trace")
@click.option(
    "--feature",
    "features",
    type=int,
    multiple=True,
    help="trace only these source features (default: every active one)",
)
@click.option(
    "--gmt",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="further gene sets, such as KEGG",
)
@click.option(
    "--example",
    type=click.Choice(["thp1", "immune"]),
    default="thp1",
    show_default=True,
    help="THP-1 cells of a CRISPR screen and a model with circuits; or 559 immune cells and a model"
    " without",
)
@json_option
def demo(study: Path, as_json: bool, **values: Any) -> None:
    """The whole job on real cells and a small Geneformer, in a few minutes."""
    result = scircuit.demo(study, **values)
    if as_json:
        say_lines(str(result))
    show_result(result, as_json)


@click.group("import")
def import_() -> None:
    """Import published results into the study."""


def _import_kind(kind: str, *arguments: Any, **more: Any) -> Any:
    return scircuit.import_(kind, *arguments, **more)


for _kind, _config in configs.IMPORTS.items():
    _import = partial(_import_kind, _kind)
    import_.add_command(verb_command(_kind, _config, _import, paths=(("path",),), remembered=False))


@click.command("load")
@study_option
@click.option("--run", default="", help="one run (default: all of the study)")
@json_option
def load(study: Path, run: str, as_json: bool) -> None:
    """Load runs from disk into the graph, exactly once."""
    show_result(scircuit.load(study, run), as_json)


@click.command("report")
@study_option
@click.option("--run", default="", help="trace run (default: the newest complete one)")
@click.option(
    "--feature",
    default="",
    help="source whose circuit is drawn (default: the one with the most edges)",
)
@json_option
def report(study: Path, run: str, feature: str, as_json: bool) -> None:
    """Write the report: one self-contained HTML page."""
    show_result(scircuit.report(study, run, feature=feature), as_json)


@click.command("export", help=help_of(configs.ExportConfig))
@options_of(configs.ExportConfig)
@study_option
@json_option
def export(study: Path, as_json: bool, **values: Any) -> None:
    """Write an export. Its options are not remembered."""
    # not remembered: a forgotten filter would silently cut the next export
    chosen = build(configs.ExportConfig, values)
    show_result(scircuit.export(chosen, study, quiet=as_json), as_json)


@click.command("compare", help=help_of(configs.CompareConfig))
@click.argument("names", nargs=-1, metavar="[RUN]...")
@options_of(configs.CompareConfig, {"runs"})
@study_option
@click.option(
    "--no-database",
    is_flag=True,
    help="write shards only; `scircuit load` brings them into the graph later",
)
@json_option
def compare(
    names: tuple[str, ...], study: Path, no_database: bool, as_json: bool, **values: Any
) -> None:
    """Compare runs, named as arguments or by --runs. The options are not remembered."""
    chosen = build(configs.CompareConfig, {**values, "runs": (*names, *values["runs"])})
    show_result(scircuit.compare(chosen, study, database=not no_database), as_json)


@click.group("genesets")
def genesets() -> None:
    """Fetch gene-set libraries, each with its licence."""


@genesets.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@options_of(configs.GenesetsConfig, {"libraries"})
@json_option
def fetch(names: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """Fetch libraries by name, given as arguments or as --libraries.

    Without names: list what can be fetched, and under which licence.
    """
    chosen = {**values, "libraries": (*names, *values["libraries"])}
    show_result(scircuit.genesets(build(configs.GenesetsConfig, chosen)), as_json)


@click.command("reproduce", help=help_of(configs.ReproduceConfig))
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[PATH]")
@options_of(configs.ReproduceConfig, {"path"})
@json_option
def reproduce(folder: Path | None, as_json: bool, **values: Any) -> None:
    """Print the table. It belongs to no study, so nothing is remembered."""
    given = [found for found in (folder, values["path"]) if found is not None]
    if len(given) != 1:
        raise click.UsageError("give the folder of result files once, as PATH or as --path")
    chosen = build(configs.ReproduceConfig, {**values, "path": given[0]})
    show_result(scircuit.reproduce(chosen), as_json)
