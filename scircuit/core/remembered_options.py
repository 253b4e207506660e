"""Options that a study remembers (``study.toml``): what a verb was given is its next default.

Options that hold for one call only (``option(once=True)``) are not remembered.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import plain
from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def study_file(study: Path) -> Path:
    """Where a study keeps its options."""
    return study / "study.toml"


def once_only(config: type[DataclassInstance] | DataclassInstance) -> set[str]:
    """Names of the options of a configuration (or its class) that hold for one call."""
    fields = dataclasses.fields(config)
    return {field.name for field in fields if field.metadata.get("once")}


def recall(study: Path, verb: str) -> Mapping[str, Any]:
    """Options that the study remembers of a verb; empty where there are none.

    Raises
    ------
    UserError
        If ``study.toml`` is not valid TOML.
    """
    path = study_file(study)
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text()).get(verb, {})
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}", "correct it, or delete it") from error


def remember(study: Path, verb: str, config: DataclassInstance) -> None:
    """Record the options of a verb in ``study.toml``, except those that hold for one call."""
    import tomli_w

    path = study_file(study)
    known = tomllib.loads(path.read_text()) if path.exists() else {}
    once = once_only(config)
    known[verb] = {
        name: _absolute(getattr(config, name), value)
        for name, value in plain(config).items()
        if name not in once
    }
    with atomic_path(path) as temporary:
        temporary.write_text(tomli_w.dumps(known))


def _absolute(given: object, value: object) -> object:
    """Paths that stay valid from another folder; everything else as it is."""
    if isinstance(given, Path):
        return str(given.resolve())
    if isinstance(given, tuple) and any(isinstance(item, Path) for item in given):
        return [str(Path(item).resolve()) for item in given]
    return value
