"""``scircuit query``: ask a catalogue question, or Cypher of your own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.config import DEFAULT_STUDY
from scircuit.core.errors import UserError
from scircuit.core.study import Study
from scircuit.workflows.database import connect

if TYPE_CHECKING:
    import pandas as pd


def query(name: str, study: Path | str = DEFAULT_STUDY, **parameters: Any) -> pd.DataFrame:
    """Answer a catalogue question.

    Parameters
    ----------
    name
        Name in the catalogue; ``scircuit query --list`` shows them all.
    parameters
        As the question declares them.

    Raises
    ------
    UserError
        If the name or a parameter is unknown, or the database cannot be reached.
    """
    from scircuit.ingest.graph.loader import add_missing_findings
    from scircuit.queries import api

    api.check(name, parameters)
    with connect(study) as connection:
        add_missing_findings(connection, Study(Path(study)).runs)
        return api.query(connection, name, **parameters)


def cypher(text: str, study: Path | str = DEFAULT_STUDY, **parameters: Any) -> pd.DataFrame:
    """Run read-only Cypher; `parameters` are sent beside the text, never formatted into it."""
    from scircuit.queries import api

    with connect(study) as connection:
        return api.cypher(connection, text, **parameters)


def parse_pair(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; the value may be JSON.

    Raises
    ------
    UserError
        If there is no ``=`` or no key.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"parameter {text!r} has no '='", "write it as -p name=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
