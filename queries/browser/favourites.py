"""Saved queries of the Browser from the catalogue: one favourite for each question, in a folder for
each theme.

The Browser shows the first ``//`` line as the name. Parameters are not set there, so each copy
holds the defaults as literals; a comment says what they are, to be changed in the editor.
"""

from __future__ import annotations

from scircuit.queries.browser.literal import filled, literal
from scircuit.queries.catalogue import FOLDERS, load_catalogue
from scircuit.queries.query_header import Query

PREFIX = "scircuit"


def folder_id(name: str) -> str:
    """Id of a folder, such as ``scircuit-runs-and-controls``."""
    return f"{PREFIX}-{name.lower().replace(' ', '-')}"


def folders() -> list[dict[str, str]]:
    """The Browser's ``folders``; numbered, for it sorts them by name."""
    return [
        {"id": folder_id(name), "name": f"{PREFIX} {number} {name}"}
        for number, name in enumerate(FOLDERS, 1)
    ]


def content(query: Query) -> str:
    """Text of one saved query: title, question, the values used, and the Cypher."""
    lines = [f"// {query.title}", f"// {query.question}"]
    lines += [f"// {p.name} = {literal(p.shown)}: {p.doc}" for p in query.parameters]
    lines += [f"// {note}" for note in query.notes]
    return "\n".join([*lines, filled(query)])


def documents() -> list[dict[str, str]]:
    """The Browser's ``documents``: id, content and folder of each saved query."""
    return [
        {"id": f"{PREFIX}-{q.name}", "content": content(q), "folder": folder_id(q.folder)}
        for q in load_catalogue().values()
    ]
