"""How a verb becomes a command: shared options, remembered defaults, result on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import click
from click.core import ParameterSource

import scircuit
from scircuit.cli.options import help_of, options_of
from scircuit.core.build_config import build
from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.core.remembered_options import once_only, recall, remember, study_file
from scircuit.core.terminal import in_lines

Command = Callable[..., Any]


class Result(Protocol):
    """What a workflow returns."""

    def to_json(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Plain values."""
        ...


def study_option(command: Command, config: type | None = None) -> Command:
    """Add ``--study DIR``; what the study remembers of this verb becomes its defaults."""
    decorate = click.option(
        "--study",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STUDY,
        show_default=True,
        is_eager=True,
        callback=partial(_use_remembered, once_only(config) if config else set()),
        help="folder of the study",
    )
    return decorate(command)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    text = "print the result as one JSON object on stdout"
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def format_option(command: Command) -> Command:
    """Add ``--format table|csv|json``."""
    kinds = click.Choice(["table", "csv", "json"])
    return click.option("--format", "shape", type=kinds, default="table", show_default=True)(
        command
    )


def show_result(result: Result, as_json: bool) -> None:
    """Print a result for people, or as one JSON object for programs."""
    text = json.dumps(result.to_json(), default=str) if as_json else str(result)
    click.echo(in_lines(text, styles=sys.stdout.isatty()))


def verb_command(
    verb: str,
    config: type,
    run: Command | None = None,
    *,
    database: bool = True,
    paths: tuple[tuple[str, ...], ...] = (),
    remembered: bool = True,
) -> click.Command:
    """Make the command of a verb from its configuration.

    Parameters
    ----------
    verb
        Name of the verb, and of the function of `scircuit` behind it.
    config
        Its configuration; one option a field.
    run
        Another function ``(config, study, ...) -> result`` to call instead.
    database
        Offer ``--no-database``.
    paths
        Options that may also be given as bare arguments, one tuple for each number of them.
    remembered
        Whether the options become the study's defaults for the next time.
    """

    @click.command(verb, help=help_of(config))
    @options_of(config, {field for fields in paths for field in fields})
    @partial(study_option, config=config)
    @json_option
    def command(study: Path, as_json: bool, **values: Any) -> None:
        from scircuit.tracing.hardware.out_of_memory import memory_suffices

        no_database = values.pop("no_database", False)
        if paths:
            _take_paths(values.pop("paths"), paths, values)
        chosen = build(config, values)
        _show_remembered(study, config)
        function = run or getattr(scircuit, verb)
        with memory_suffices(chosen):
            result = function(chosen, study, **({"database": not no_database} if database else {}))
        if remembered and study.exists():
            remember(study, verb, chosen)
        show_result(result, as_json)
        if getattr(result, "failed", False):
            raise click.exceptions.Exit(1)

    if paths:
        command = click.argument("paths", nargs=-1, metavar=_metavar(paths))(command)
    if database:
        text = "write shards only; `scircuit load` brings them into the graph later"
        command = click.option("--no-database", is_flag=True, help=text)(command)
    return command


def _use_remembered(
    once: set[str], ctx: click.Context, _param: click.Parameter, study: Path
) -> Path:
    """Let options given before in this study be the defaults, except those of one call."""
    known = recall(study, ctx.info_name) if ctx.info_name else {}
    defaults = {name: value for name, value in known.items() if name not in once}
    for option in ctx.command.params:
        if option.name in defaults:
            _require_type(study, ctx, option, defaults[option.name])
    if defaults:
        ctx.default_map = {**defaults, **(ctx.default_map or {})}
    return study


def _require_type(study: Path, ctx: click.Context, option: click.Parameter, value: object) -> None:
    """Refuse a remembered value that the option cannot take.

    Raises
    ------
    UserError
        With file, option and value.
    """
    try:
        option.type_cast_value(ctx, value)
    except (click.ClickException, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = error.format_message() if isinstance(error, click.ClickException) else str(error)
        raise UserError(
            f"{study_file(study)} has {option.name} = {value!r} under [{ctx.info_name}], which the"
            f" option does not take ({why})",
            "correct it there, or delete the line",
        ) from error


def _show_remembered(study: Path, config: type) -> None:
    """List the options that come from an earlier call in this study."""
    ctx = click.get_current_context()
    found = []
    for field in dataclasses.fields(config):
        value = ctx.params.get(field.name)
        source = ctx.get_parameter_source(field.name)
        if source is ParameterSource.DEFAULT_MAP and value != field.default:
            text = " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
            found.append(f"{field.name} = {text}")
    if found:
        say(f"  remembered from before ({study_file(study)}): {'; '.join(found)}")


def _metavar(paths: tuple[tuple[str, ...], ...]) -> str:
    longest_first = sorted(paths, key=len, reverse=True)
    return " | ".join(" ".join(name.upper() for name in names) for names in longest_first).join(
        "[]"
    )


def _take_paths(
    given: tuple[str, ...], paths: tuple[tuple[str, ...], ...], values: dict[str, Any]
) -> None:
    """Let bare arguments stand for options, by their number.

    They name everything, so none of these options is taken from the study.

    Raises
    ------
    click.UsageError
        If there is another number of them, or one is also given as an option.
    """
    ctx = click.get_current_context()
    every = {name for names in paths for name in names}
    explicit = {n for n in every if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    if given:
        named = next((names for names in paths if len(names) == len(given)), None)
        if named is None:
            raise click.UsageError(f"{len(given)} paths given; expected {_metavar(paths)[1:-1]}")
        twice = [name for name in named if name in explicit]
        if twice:
            raise click.UsageError(
                f"{twice[0]} is given as a path and as --{twice[0]}; give it once"
            )
        for name in every - explicit:
            del values[name]
        values |= dict(zip(named, given, strict=True))
    for name in every:
        if values.get(name, "") is None:
            del values[name]
