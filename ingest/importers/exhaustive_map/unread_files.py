"""Files of the map's folder that an import does not read: grouped by name, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from scircuit.core.errors import quoted

# pattern of the path below the folder -> why it is not read; {folder} is where the files lie
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"exhaustive_tracing/feature_\d+\.json|(.+/)?json/feature_\d+\.json",
        "traced features: import their edges with scircuit import edges {folder}",
    ),
    (
        r"(.+/)?deltas/feature_\d+\.npz",
        "effects in every cell: import their edges with scircuit import edges {folder}",
    ),
    (
        r"revision/P3_triplets/deltas/.+\.npz",
        "effects of the conditions of a triplet, each at positions of its own: contrasts between"
        " them are not defined",
    ),
    (r"(.+/)?progress\.json", "progress of a run, no result"),
    (r"degree_sequence\.json", "constructed, not published: for measurements of speed"),
    (r"(.+/)?probes\.npz", "probes without the cells that they were fitted on"),
    (r".+\.(pdf|png|svg|tex|bib|md|txt|log)|LICENSE|NOTICE", "text or figures, no results"),
    (r".+\.(py|sh|ipynb|toml|cfg)", "code, no results"),
)
_DIGITS = re.compile(r"\d+")


def unread_notes(root: Path, used: Collection[Path]) -> list[str]:
    """One note for each group of files below `root` that are not among `used`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not path.is_file() or path in used or hidden:
            continue
        name = relative.as_posix()
        reason = next((why for form, why in _KNOWN if re.fullmatch(form, name)), None)
        why = (
            reason.format(folder=quoted(path.parent)) if reason else "no file of the published map"
        )
        groups.setdefault((_DIGITS.sub("*", name), why), []).append(name)
    return [
        f"not read: {names[0] if len(names) == 1 else f'{pattern} ({len(names)} files)'}: {why}"
        for (pattern, why), names in groups.items()
    ]
