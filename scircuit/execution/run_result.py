"""The result of a verb that writes a run: its findings, its sentences, and whether anything was
new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.terminal import one_line

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """What a run found: numbers, sentences, and the tables on disk."""

    run: str
    folder: Path
    findings: dict[str, Any]
    sentences: tuple[str, ...] = ()
    message: str = ""
    new: bool = True
    detail: Any = field(default=None, repr=False, compare=False)

    def table(self, kind: str) -> pd.DataFrame:
        """All records of one kind that the run wrote, as a frame."""
        from scircuit.ingest.shards.shard_store import ShardStore

        return ShardStore(self.folder).tables(kind).to_pandas()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": self.run,
            "folder": str(self.folder),
            "new": self.new,
            **self.findings,
            "sentences": list(self.sentences),
            "message": self.message,
        }

    def __str__(self) -> str:
        lines = [
            f"run {self.run}{'' if self.new else ' (already complete)'}",
            *(f"  {one_line(s)}" for s in self.sentences),
        ]
        if self.message:
            lines.append(f"  {one_line(self.message)}")
        return "\n".join(lines)
