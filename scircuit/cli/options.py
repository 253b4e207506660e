"""Command-line options generated from the configuration dataclasses of `scircuit.core.config`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from scircuit.core.build_config import default_of, element_of


def _numbers(
    element: type,
) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[Any, ...]]:
    """Read ``0,5,11``, or the option given several times."""

    def read(
        _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
    ) -> tuple[Any, ...]:
        parts = [part for text in given for part in text.replace(",", " ").split()]
        try:
            return tuple(element(part) for part in parts)
        except ValueError:
            kind = "whole numbers" if element is int else "numbers"
            raise click.BadParameter(
                f"{','.join(parts)!r} is not a list of {kind} such as 0,5,11"
            ) from None

    return read


def options_of(
    config: type, positional: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a click command with one option per field of `config`; those that can also be given
    as paths need not be given as options.
    """
    hints = typing.get_type_hints(config)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own_first = sorted(
            dataclasses.fields(config), key=lambda field: field.name not in config.__annotations__
        )
        for field in reversed(own_first):
            element, multiple = element_of(hints[field.name])
            default = default_of(field)
            required = default is dataclasses.MISSING
            choices = field.metadata.get("choices", ())
            kind: Any = (
                click.Choice(choices)
                if choices
                else click.Path(path_type=Path)
                if element is Path
                else element
            )
            flag = f"--{field.name.replace('_', '-')}"
            settings: dict[str, Any] = {
                "help": field.metadata.get("help", ""),
                "required": required and field.name not in positional,
            }
            if element is bool:
                settings.update(is_flag=True, default=default)
                flag = (  # what a study remembers can be taken back
                    f"{flag}/--no-{flag.removeprefix('--')}"
                )
            else:
                settings.update(type=kind, multiple=multiple)
                if multiple and element in (int, float):
                    settings.update(type=str, metavar="N[,N...]", callback=_numbers(element))
                if not required:
                    settings.update(
                        default=default, show_default=default not in ("", (), 0) or element is float
                    )
            short = (field.metadata["short"],) if field.metadata.get("short") else ()
            command = click.option(flag, *short, field.name, **settings)(command)
        return command

    return decorate
