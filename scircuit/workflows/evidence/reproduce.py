"""``scircuit reproduce``: published numbers beside their recomputation, each with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.build_config import build
from scircuit.core.config import ReproduceConfig
from scircuit.core.errors import UserError
from scircuit.core.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.reproduction.checks import Row


@dataclass(frozen=True)
class Reproduction:
    """Rows of the table, one a published value.

    Parameters
    ----------
    rows
        What, published, recomputed, files, verdict and note of each value.
    out
        The page that was written, if any.
    """

    rows: tuple[Row, ...]
    out: Path | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        import pandas as pd

        return pd.DataFrame(self.to_json())

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain values."""
        return [row.to_json() for row in self.rows]

    def __str__(self) -> str:
        from scircuit.analysis.reproduction.page import count_sentence

        lines = [*_listed(self.rows), count_sentence(self.rows)]
        return "\n".join([*lines, *([f"written: {self.out}"] if self.out else [])])


def reproduce(config: ReproduceConfig | None = None, **options: object) -> Reproduction:
    """Recompute the published numbers of the circuit studies from their result files.

    Parameters
    ----------
    config
        Folder of result files, folder of feature atlases, page to write; or as keywords: `path`,
        `atlas`, `out`.

    Returns
    -------
    Reproduction
        One row for each value, with a `frame`.

    Raises
    ------
    UserError
        If the folder has no result files, or a file is damaged or of another layout. Nothing is
        written then.
    """
    from scircuit.analysis.reproduction.checks import run_checks
    from scircuit.analysis.reproduction.page import page
    from scircuit.analysis.reproduction.study_files import StudyFiles, atlas_root, results_root
    from scircuit.analysis.reproduction.themes import THEMES
    from scircuit.ingest.importers.atlas.json_fields import read_document
    from scircuit.ingest.importers.strict_files import read_json

    chosen = config or build(ReproduceConfig, options)
    root = results_root(Path(chosen.path))
    atlas = atlas_root(Path(chosen.atlas)) if chosen.atlas is not None else None
    out = Path(chosen.out) if chosen.out is not None else None
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise UserError(
            f"{out} is a folder" if out.is_dir() else f"there is no folder {out.parent}",
            "give the name of a file in a folder that exists (--out)",
        )
    files = StudyFiles(root, atlas, read_json, lambda path: read_document(path).value)
    rows = run_checks(THEMES, files)
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(page(rows, THEMES), encoding="utf-8")
    return Reproduction(tuple(rows), out)


def _listed(rows: Sequence[Row]) -> list[str]:
    """One line a value: verdict, what, published, recomputed, file; a heading a theme."""
    from scircuit.analysis.reproduction.themes import THEMES

    lines = []
    for theme in THEMES:
        lines += [f"{theme.title}", ""]
        for row in (r for r in rows if r.theme == theme.name):
            given = f"published {row.published}" if row.published else "not published"
            found = f"; recomputed {row.recomputed}" if row.recomputed else ""
            file = f" [{row.files[0]}]" if row.files else ""
            note = f" ({row.note})" if row.note else ""
            lines.append(f"  {row.verdict:<13}  {row.what}: {given}{found}{file}{note}")
        lines.append("")
    return lines
