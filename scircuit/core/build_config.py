"""A configuration from plain values, and plain values from a configuration."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config")
_LARGEST = 2**63 - 1
# of options that mean the same in every verb; what else a verb can take, it says itself
_RANGES = {
    "seed": (0, 2**32 - 1),
    "n_cells": (0, 10**9),
    "hubs": (0, 10**6),
    "bootstrap": (0, 10**6),
    "max_length": (0, 10**6),
    "min_mapped": (0, 1),
    "min_tokens": (0, 10**6),
    "gate_p": (0, 1),
}


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
                converted[name] = tuple(_converted(element, v) for v in items)
            else:
                converted[name] = _converted(element, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"option {name!r} is {_shown(value)}, expected {element.__name__}"
                f"{f' ({error})' if str(error) else ''}",
                f"give it: {field.metadata.get('help') or name}",
            ) from error
        low, high = _RANGES.get(name, (None, None))
        if low is not None and not low <= converted[name] <= high:
            raise UserError(
                f"option {name!r} is {converted[name]}, expected a number from {low} to {high}",
                f"give it: {field.metadata.get('help') or name}",
            )
        choices = field.metadata.get("choices", ())
        if choices and converted[name] not in choices:
            raise UserError(
                f"option {name!r} is {_shown(value)}", f"choose one of: {', '.join(choices)}"
            )
    return config(**converted)


def _converted(element: type, value: Any) -> Any:
    """A value in the declared type.

    Raises
    ------
    TypeError, ValueError, OverflowError
        If it would become another value: a fraction a whole number, a text a switch; or if it is no
        number, larger than a file can store, or no text.
    """
    if element is bool:
        if isinstance(value, str) or value not in (True, False):
            raise ValueError("a switch takes no other value")
        return bool(value)
    if element in (int, float):
        if isinstance(value, bool):
            raise TypeError
        number = element(value)
        if not math.isfinite(number) or abs(number) > _LARGEST:
            raise ValueError("its size cannot be used")
        if element is int and not isinstance(value, str) and number != value:
            raise ValueError("it has a fraction")
        return number
    if isinstance(value, (bytes, Mapping, list, tuple, set)):
        raise TypeError
    if "\0" in str(value):
        raise ValueError("it contains a zero byte")
    return element(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


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
