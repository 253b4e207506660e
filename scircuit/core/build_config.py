"""A configuration from plain values, and plain values from a configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config")


def element_of(annotation: object) -> tuple[Any, bool]:
    """Element type of a field and whether it may be given several times."""
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    if isinstance(annotation, types.UnionType):
        return next(a for a in typing.get_args(annotation) if a is not type(None)), False
    return annotation, False


def default_of(field: dataclasses.Field[object]) -> Any:
    """Default of a field, or MISSING."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


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
        raise UserError(
            f"unknown option {', '.join(unknown)}", f"the options are: {', '.join(fields)}"
        )
    converted: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in values:
            if default_of(field) is dataclasses.MISSING:
                raise UserError(
                    f"the option {name!r} is missing",
                    f"give it: {field.metadata.get('help', name)}",
                )
            continue
        element, multiple = element_of(hints[name])
        value = values[name]
        if value is None:
            if default_of(field) is not None:
                raise UserError(
                    f"option {name!r} is None, expected {element.__name__}",
                    f"give it: {field.metadata.get('help', name)}",
                )
            converted[name] = None
            continue
        try:
            if multiple:
                items = (
                    (value,)
                    if isinstance(value, (str, Path)) or not hasattr(value, "__iter__")
                    else tuple(value)
                )
                converted[name] = tuple(element(v) for v in items)
            else:
                converted[name] = element(value)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"option {name!r} is {value!r}, expected {element.__name__}", str(error)
            ) from error
        choices = field.metadata.get("choices", ())
        if choices and converted[name] not in choices:
            raise UserError(f"option {name!r} is {value!r}", f"choose one of: {', '.join(choices)}")
    return config(**converted)


def build_stored(config: type[Config], values: Mapping[str, Any]) -> Config:
    """Make a configuration from the values in a manifest; options that no longer exist are dropped.

    Raises
    ------
    UserError
        As `build`.
    """
    retired = getattr(config, "retired", ())
    return build(config, {name: value for name, value in values.items() if name not in retired})


def plain(config: DataclassInstance) -> dict[str, Any]:
    """Configuration as JSON- and TOML-ready values."""

    def simple(value: object) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, tuple):
            return [simple(v) for v in value]
        return value

    return {f.name: simple(getattr(config, f.name)) for f in dataclasses.fields(config)}
