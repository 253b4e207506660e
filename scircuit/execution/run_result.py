"""The result of a verb that writes a run: its findings, its sentences, and whether anything was
new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scircuit.core.terminal import one_line

if TYPE_CHECKING:
    import pandas as pd

    from scircuit.analysis.finding import Finding


@dataclass(frozen=True)
class RunResult:
    """What a run found: numbers, sentences, and the tables on disk.

    `compute` gives ``detail`` again from the tables of the run, of verbs whose detail is more than
    their stored findings.
    """

    run: str
    folder: Path
    findings: dict[str, Any]
    sentences: tuple[str, ...] = ()
    message: str = ""
    new: bool = True
    compute: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def stored(self) -> dict[str, Finding]:
        """The findings stored beside the run by name, each with its frame and ``plot()``."""
        from scircuit.execution.findings.finding_files import read_findings

        return {finding.name: finding for finding in read_findings(self.folder)}

    @cached_property
    def detail(self) -> Any:
        """What there is to look at and to plot, whether the run was computed now or before: of
        ``analyse`` the analysis, else the findings by name.
        """
        return self.compute() if self.compute is not None else self.stored

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
