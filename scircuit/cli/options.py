"""Command-line options generated from the configuration dataclasses of `scircuit.core.config`."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from scircuit.core.build_config import default_of, element_of

Command = Callable[..., Any]


def help_of(documented: object) -> str:
    """Docstring of a configuration as help text, without markup and the name of the verb."""
    text = re.sub(r"^``scircuit [^`]*``:? *", "", (documented.__doc__ or "").strip())
    return text[:1].upper() + text[1:].replace("``", "")


def options_of(config: type, positional: Collection[str] = ()) -> Callable[[Command], Command]:
    """Decorate a click command with one option a field of `config`.

    Required options come first, then those of the verb itself, then those shared with other verbs.
    Options in `positional` may also be given as paths and so need not be given as options.
    """
    hints = typing.get_type_hints(config)

    def order(field: dataclasses.Field[object]) -> tuple[bool, bool]:
        required = default_of(field) is dataclasses.MISSING
        return not required, field.name not in config.__annotations__

    def decorate(command: Command) -> Command:
        ordered = sorted(dataclasses.fields(config), key=order)
        for field in reversed(ordered):
            names, settings = _option(field, hints[field.name], field.name in positional)
            command = click.option(*names, field.name, **settings)(command)
        return command

    return decorate


def _option(
    field: dataclasses.Field[object], hint: object, positional: bool
) -> tuple[list[str], dict[str, Any]]:
    """Flags and settings of the click option of a field."""
    element, multiple = element_of(hint)
    default = default_of(field)
    required = default is dataclasses.MISSING
    flag = f"--{field.name.replace('_', '-')}"
    short = [field.metadata["short"]] if field.metadata.get("short") else []
    settings: dict[str, Any] = {
        "help": field.metadata.get("help", ""),
        "required": required and not positional,
    }
    if element is bool:  # what a study remembers can be switched off again
        settings |= {"is_flag": True, "default": default}
        return [f"{flag}/--no-{flag.removeprefix('--')}", *short], settings
    settings |= {"type": _type_of(field, element), "multiple": multiple}
    if multiple and element in (int, float):
        settings |= {"type": str, "metavar": "N[,N...]", "callback": _numbers(element)}
    if not required:
        shown = default not in ("", (), 0) or element is float
        settings |= {"default": default, "show_default": shown}
    return [flag, *short], settings


def _type_of(field: dataclasses.Field[object], element: type) -> click.ParamType | type:
    if choices := field.metadata.get("choices", ()):
        return click.Choice(choices)
    return click.Path(path_type=Path) if element is Path else element


def _numbers(element: type) -> Callable[..., tuple[Any, ...]]:
    """Read ``0,5,11``, or the option given several times."""

    def read(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> tuple:
        parts = [part for text in given for part in text.replace(",", " ").split()]
        try:
            return tuple(element(part) for part in parts)
        except ValueError:
            kind = "whole numbers" if element is int else "numbers"
            raise click.BadParameter(
                f"{','.join(parts)!r} is not a list of {kind} such as 0,5,11"
            ) from None

    return read
