"""What an importer returns: everything needed to write its records, read and checked before the
first of them is written.

An importer is a function ``read(options, gene_ids) -> Source``, with gene symbol -> Ensembl id. It
raises before anything is stored when a file is damaged or does not fit; what it corrects or leaves
out is counted in `Source.notes`. After that, `Source.units` gives tables that can be written one
after the other, so that an import is complete or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

Tables = Callable[[], "Mapping[str, pa.Table]"]


@dataclass(frozen=True)
class Source:
    """Published results, read and checked.

    Attributes
    ----------
    format
        Name of the format, such as ``atlas``.
    name
        Model and dictionary set whose features are described: ``geneformer-v2-316m/k562-x4-k32``.
    files
        File name -> sha256; with the options these identify the run.
    units
        Unit name -> function that returns its tables by kind. The ``run`` column is filled in when
        they are stored.
    origin
        Where the files come from, if stated.
    lacks
        What the source does not give, of `scircuit.ingest.importers.gaps.MEANING`.
    cap
        Maximum number of edges that it kept per source feature, or per source feature and layer; 0
        where it kept all.
    rule
        Rule by which it chose its edges.
    findings
        Numbers for the manifest.
    sentences
        Sentences for the user.
    notes
        What was missing, corrected or left out, with counts.
    uses
        Node label -> ids that the Run used: Model, Dictionary, Cohort, GeneSetLibrary. The units
        contain the nodes.
    """

    format: str
    name: str
    files: Mapping[str, str]
    units: Mapping[str, Tables]
    origin: str = ""
    lacks: tuple[str, ...] = ()
    cap: int = 0
    rule: str = ""
    findings: Mapping[str, object] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def run_properties(self) -> dict[str, object]:
        """Properties of the Run node."""
        return {
            "method": "imported",
            "format": self.format,
            "origin": self.origin,
            "lacks": list(self.lacks),
            "cap": self.cap,
            "rule": self.rule,
        }
