"""Command-line options generated from the configuration dataclasses of `scircuit.core.config`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from scircuit.core.config import UserError

Config = TypeVar("Config")


def _element(annotation: Any) -> tuple[Any, bool]:
    """Element type of a field and whether it may be given several times."""
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    if isinstance(annotation, types.UnionType):
        return next(a for a in typing.get_args(annotation) if a is not type(None)), False
    return annotation, False


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


def _numbers(element: type) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[Any, ...]]:
    """Read ``0,5,11``, or the option given several times."""

    def read(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Any, ...]:
        parts = [part for text in given for part in text.replace(",", " ").split()]
        try:
            return tuple(element(part) for part in parts)
        except ValueError:
            kind = "whole numbers" if element is int else "numbers"
            raise click.BadParameter(f"{','.join(parts)!r} is not a list of {kind} such as 0,5,11") from None

    return read


def options_of(config: type, positional: Collection[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a click command with one option per field of `config`; those that can also be given as paths need not be given as options."""
    hints = typing.get_type_hints(config)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own_first = sorted(dataclasses.fields(config), key=lambda field: field.name not in config.__annotations__)
        for field in reversed(own_first):
            element, multiple = _element(hints[field.name])
            default = _default(field)
            required = default is dataclasses.MISSING
            choices = field.metadata.get("choices", ())
            kind: Any = click.Choice(choices) if choices else click.Path(path_type=Path) if element is Path else element
            flag = f"--{field.name.replace('_', '-')}"
            settings: dict[str, Any] = {"help": field.metadata.get("help", ""), "required": required and field.name not in positional}
            if element is bool:
                settings.update(is_flag=True, default=default)
                flag = f"{flag}/--no-{flag.removeprefix('--')}"  # what a study remembers can be taken back
            else:
                settings.update(type=kind, multiple=multiple)
                if multiple and element in (int, float):
                    settings.update(type=str, metavar="N[,N...]", callback=_numbers(element))
                if not required:
                    settings.update(default=default, show_default=default not in ("", (), 0) or element is float)
            short = (field.metadata["short"],) if field.metadata.get("short") else ()
            command = click.option(flag, *short, field.name, **settings)(command)
        return command

    return decorate


def build(config: type[Config], values: Mapping[str, Any]) -> Config:
    """Make a configuration from plain values, converted to the declared types.

    Raises
    ------
    UserError
        If a field is unknown, missing, of the wrong type or not among its choices.
    """
    hints = typing.get_type_hints(config)
    fields = {f.name: f for f in dataclasses.fields(config)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UserError(f"unknown option {', '.join(unknown)}", f"the options are: {', '.join(fields)}")
    converted: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in values:
            if _default(field) is dataclasses.MISSING:
                raise UserError(f"the option {name!r} is missing", f"give it: {field.metadata.get('help', name)}")
            continue
        element, multiple = _element(hints[name])
        value = values[name]
        if value is None:
            if _default(field) is not None:
                raise UserError(f"option {name!r} is None, expected {element.__name__}", f"give it: {field.metadata.get('help', name)}")
            converted[name] = None
            continue
        try:
            if multiple:
                items = (value,) if isinstance(value, (str, Path)) or not hasattr(value, "__iter__") else tuple(value)
                converted[name] = tuple(element(v) for v in items)
            else:
                converted[name] = element(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"option {name!r} is {value!r}, expected {element.__name__}", str(error)) from error
        choices = field.metadata.get("choices", ())
        if choices and converted[name] not in choices:
            raise UserError(f"option {name!r} is {value!r}", f"choose one of: {', '.join(choices)}")
    return config(**converted)


def plain(config: Any) -> dict[str, Any]:
    """Configuration as JSON- and TOML-ready values."""

    def simple(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, tuple):
            return [simple(v) for v in value]
        return value

    return {f.name: simple(getattr(config, f.name)) for f in dataclasses.fields(config)}
