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
from scircuit.core.files import atomic_path, read_text
from scircuit.core.progress import say
from scircuit.core.run_files.run_locks import changing_study

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
        If ``study.toml`` is damaged.
    """
    found = _stored(study).get(verb, {})
    if not isinstance(found, dict):
        raise UserError(
            f"{study_file(study)} has {found!r} as the options of {verb}, expected a table",
            f"correct it: [{verb}] and one line for each option",
        )
    return found


def _stored(study: Path) -> dict[str, Any]:
    """Options of every verb."""
    path = study_file(study)
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UserError(f"{path} is not valid TOML: {error}", "correct it, or delete it") from error


def remember(study: Path, verb: str, config: DataclassInstance) -> None:
    """Record the options of a verb in ``study.toml``, except those that hold for one call.

    A study that cannot be written remembers nothing, which is said.
    """
    import tomli_w

    path = study_file(study)
    once = once_only(config)
    chosen = {
        name: _absolute(getattr(config, name), value)
        for name, value in plain(config).items()
        if name not in once and value is not None  # TOML has no null
    }
    try:
        with changing_study(study):
            text = tomli_w.dumps({**_stored(study), verb: chosen})
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except (OSError, UnicodeEncodeError) as error:  # a path may hold bytes that are no text
        why = error.strerror if isinstance(error, OSError) else error
        say(f"  the options are not remembered: {path} cannot be written ({why})")


def _absolute(given: object, value: object) -> object:
    """Paths that stay valid from another folder; everything else as it is."""
    if isinstance(given, Path):
        return str(given.resolve())
    if isinstance(given, tuple) and any(isinstance(item, Path) for item in given):
        return [str(Path(item).resolve()) for item in given]
    return value
