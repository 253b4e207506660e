"""TRRUST: pairs of transcription factor and target, with mode and papers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scircuit.analysis.genesets.gene_files import read_text
from scircuit.analysis.genesets.gene_tables import headerless_regulons, read_table
from scircuit.analysis.genesets.regulons import Regulons

_DATA = Path(__file__).resolve().parent / "data" / "trrust"


def read_trrust(
    path: Path | str, *, name: str = "TRRUST", release: str = "v2", licence: str = "CC BY-SA 4.0"
) -> Regulons:
    """Read a TRRUST table, with or without header, modes as words or as 0/1/2 (unknown, activation,
    repression).

    Raises
    ------
    UserError
        If the file cannot be read or a row is not ``TF target mode PMIDs``.
    """
    source = read_text(path)
    found = read_table(source, path, name=name, release=release, licence=licence)
    if isinstance(found, Regulons):
        return found
    return headerless_regulons(
        source, path, "\t", {"name": name, "release": release, "licence": licence}
    )


@cache
def shipped_trrust() -> Regulons:
    """TRRUST v2, human, as shipped (CC BY-SA 4.0; ``analysis/genesets/data/trrust/NOTICE.md``)."""
    return read_trrust(_DATA / "trrust_v2_human.tsv.gz")
