"""How a verb becomes a command: shared options, defaults remembered in ``study.toml``, result on
stdout.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from scircuit.cli.options import options_of
from scircuit.core.build_config import build, plain
from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.progress import say
from scircuit.tracing.hardware.out_of_memory import memory_suffices


def study_option(command: Callable[..., Any], config: type | None = None) -> Callable[..., Any]:
    """Add ``--study DIR``; what the study remembers of a verb of this configuration becomes its
    defaults.
    """
    return click.option(
        "--study",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STUDY,
        show_default=True,
        is_eager=True,
        callback=partial(_recall, _once(config)),
        expose_value=True,
        help="folder of the study",
    )(command)


def _once(config: Any) -> set[str]:
    """Options of a configuration that hold for one call."""
    return (
        {field.name for field in dataclasses.fields(config) if field.metadata.get("once")}
        if config is not None
        else set()
    )


def _recall(once: set[str], ctx: click.Context, _parameter: click.Parameter, study: Path) -> Path:
    """Let options that were given before in this study be the defaults now, but for those of one
    call.
    """
    path = study / "study.toml"
    if path.exists() and ctx.info_name:
        try:
            known = tomllib.loads(path.read_text()).get(ctx.info_name, {})
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{path} is not valid TOML: {error}", "mend or delete it") from error
        ctx.default_map = {
            **{name: value for name, value in known.items() if name not in once},
            **(ctx.default_map or {}),
        }
    return study


def remember(study: Path, verb: str, config: Any) -> None:
    """Record the options of a verb in ``study.toml``, but for those that hold for one call."""
    import tomli_w

    from scircuit.core.files import atomic_path

    path = study / "study.toml"
    known = tomllib.loads(path.read_text()) if path.exists() else {}
    once = _once(config)
    known[verb] = {
        name: _whole_path(getattr(config, name), value)
        for name, value in plain(config).items()
        if name not in once
    }
    with atomic_path(path) as temporary:
        temporary.write_text(tomli_w.dumps(known))


def _whole_path(given: Any, value: Any) -> Any:
    if isinstance(given, Path):
        return str(given.resolve())
    if isinstance(given, tuple) and any(isinstance(item, Path) for item in given):
        return [str(Path(item).resolve()) for item in given]
    return value


def _say_remembered(study: Path, config: type) -> None:
    """Name the options that an earlier call of this study gave and that now differ from their
    defaults.
    """
    ctx = click.get_current_context()
    own = {f.name: f.default for f in dataclasses.fields(config)}
    found = []
    for name, default in own.items():
        value = ctx.params.get(name)
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP and value != default:
            shown = " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
            found.append(f"{name} = {shown}")
    if found:
        say(f"  as before in this study ({study / 'study.toml'}): {'; '.join(found)}")


def verb_command(
    name: str,
    config: type,
    function: Callable[..., Any],
    *,
    database: bool = True,
    paths: tuple[tuple[str, ...], ...] = (),
    remembered: bool = True,
) -> click.Command:
    """Make the command of a verb from its configuration and its function ``(config, study, ...) ->
    result``.

    The result is printed by its ``__str__``; with ``--json`` as one JSON object from its
    ``to_json()``. `paths` names the options that may be given as bare arguments, one tuple for each
    number of them. `remembered` makes the options the study's defaults for the next time.
    """

    @click.command(name, help=(config.__doc__ or "").strip())
    @options_of(config, {field for fields in paths for field in fields})
    @partial(study_option, config=config)
    @click.option(
        "--json", "as_json", is_flag=True, help="print the result as one JSON object on stdout"
    )
    def command(study: Path, as_json: bool, **values: Any) -> None:
        no_database = values.pop("no_database", False)
        if paths:
            _take_paths(values.pop("paths"), paths, values)
        chosen = build(config, values)
        _say_remembered(study, config)
        extra = {"database": not no_database} if database else {}
        with memory_suffices(chosen):
            result = function(chosen, study, **extra)
        if remembered and study.exists():
            remember(study, name, chosen)
        click.echo(json.dumps(result.to_json(), default=str) if as_json else str(result))
        if getattr(result, "failed", False):
            raise click.exceptions.Exit(1)

    if paths:
        command = click.argument("paths", nargs=-1, metavar=_shape(paths))(command)
    if database:
        command = click.option(
            "--no-database",
            is_flag=True,
            help="write shards only; `scircuit load` brings them into the graph later",
        )(command)
    return command


def _shape(paths: tuple[tuple[str, ...], ...]) -> str:
    return " | ".join(
        " ".join(field.upper() for field in fields)
        for fields in sorted(paths, key=len, reverse=True)
    ).join("[]")


def _take_paths(
    given: tuple[str, ...], paths: tuple[tuple[str, ...], ...], values: dict[str, Any]
) -> None:
    """Let bare arguments name options by their number; together with explicit options they name
    everything, so nothing is remembered.

    Raises
    ------
    click.UsageError
        If there is another number of them, or one is also given as an option.
    """
    ctx = click.get_current_context()
    every = {field for fields in paths for field in fields}
    explicit = {
        field for field in every if ctx.get_parameter_source(field) is ParameterSource.COMMANDLINE
    }
    if given:
        named = next((fields for fields in paths if len(fields) == len(given)), None)
        if named is None:
            raise click.UsageError(f"{len(given)} paths given; expected {_shape(paths)[1:-1]}")
        twice = [field for field in named if field in explicit]
        if twice:
            raise click.UsageError(
                f"{twice[0]} is given as a path and as --{twice[0]}; give it once"
            )
        for field in every - explicit:
            del values[field]
        values |= dict(zip(named, given, strict=True))
    for field in every:
        if values.get(field, "") is None:
            del values[field]
