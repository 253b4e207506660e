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

# Arguments of the functions that take the parameters; on the command line, where `parse_pair` reads
# them, nothing may choose the study or allow a statement to write in this way.
_TAKEN = ("name", "text", "study", "write")


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
        If there is no ``=`` or no key, the key is one of `_TAKEN`, or the value is JSON that
        cannot be held: a number of thousands of digits, lists in thousands of lists.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"parameter {text[:60]!r} has no '='", "write it as -p name=value")
    if key in _TAKEN:
        raise UserError(
            f"a parameter cannot be named {key!r}: the name is taken",
            "choose another name in the statement (the study is chosen by --study)",
        )
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
    except (ValueError, RecursionError):
        raise UserError(
            f"the value of parameter {key!r} ({value[:20]}...) cannot be read: it is too long or"
            " too deep",
            "give a shorter value",
        ) from None
