"""What the Neo4j Browser shows on first open: style, saved queries and a guide, generated from the
schema and the catalogue.

`seed` gives the script that writes style and saved queries into the Browser's storage before it
reads them, and the files to be served beside it. It is made for the classic Browser (5.24), whose
storage keys are ``neo4j.grass``, ``neo4j.documents``, ``neo4j.folders`` and ``neo4j.settings``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

GUIDE = "scircuit/guide.html"
# Browser command (without its colon) to run after connecting; {http} stands for the server's HTTP
# root.
POST_CONNECT = "guide {http}/browser/" + GUIDE
# An edge that the query did not return must not appear beside those it did; nothing is reported to
# anybody.
SETTINGS: dict[str, bool | int | str] = {
    "autoComplete": False,
    "allowCrashReports": False,
    "allowUserStats": False,
    "initCmd": "",
    "initialNodeDisplay": 300,
}


def payload() -> dict[str, object]:
    """What the script writes, with the hash by which it knows whether it has done so already."""
    from scircuit.queries.browser.favourites import documents, folders
    from scircuit.queries.browser.style import style

    content = {
        "grass": style(),
        "documents": documents(),
        "folders": folders(),
        "settings": SETTINGS,
    }
    text = json.dumps(content, sort_keys=True)
    return {"hash": hashlib.sha256(text.encode()).hexdigest()[:16], **content}


def seed() -> tuple[str, dict[str, bytes]]:
    """Script to run before the Browser's own, and files to serve below ``/browser/``.

    Returns
    -------
    script
        JavaScript that writes the Browser's ``localStorage`` once for each content.
    files
        The guide, and style and saved queries as files that can be dropped on another Browser.
    """
    from scircuit.queries.browser.favourites import documents
    from scircuit.queries.browser.guide import guide
    from scircuit.queries.browser.style import grass, style

    template = Path(__file__).with_name("seed.js").read_text(encoding="utf-8")
    # "</" and the line separators of JavaScript cannot occur inside: JSON is written in ASCII.
    script = template.replace('"__SEED__"', json.dumps(payload(), sort_keys=True))
    saved = {
        f"scircuit/queries/{d['id'].partition('-')[2]}.cypher": d["content"].encode()
        for d in documents()
    }
    return script, {
        GUIDE: guide().encode(),
        "scircuit/style.grass": grass(style()).encode(),
        **saved,
    }
