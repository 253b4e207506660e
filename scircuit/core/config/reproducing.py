"""Options of the recomputation of published numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scircuit.core.config.option import option


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """``scircuit reproduce PATH``: recompute the published numbers of the circuit studies from
    their result files.

    Any part of the files will do: a value whose file is missing is listed with that reason.
    """

    path: Path = option(help="folder of the studies' result files")
    atlas: Path | None = option(
        None, "folder of the public feature atlases, with geneformer/ and scgpt/"
    )
    out: Path | None = option(None, "write the table to this file, as Markdown")
