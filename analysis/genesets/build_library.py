"""Build a `GeneSetLibrary` from the terms of a file: accessions, repaired symbols, provenance.

The accession of a term is looked for in column 2 (Reactome, CORUM), then inside the name (Enrichr:
``(GO:0006396)``, ``R-HSA-69278``, ``hsa00532``), else the name itself is the key (MSigDB, KEGG).
Where an accession occurs twice, the first term is kept and the second left out, whatever its genes:
a union would be a set that no release has. Nothing is dropped silently: `GeneSetLibrary.notes`
lists what was repaired or left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from scircuit.analysis.genesets.gene_files import GeneFile, symbol_notes
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.symbols import Symbol, looks_like_mouse, repair
from scircuit.core.errors import UserError
from scircuit.core.hgnc import hgnc

_IN_NAME = re.compile(
    r"^(?P<name>.*?)\s*(?:path:)?(?:\((?P<go>GO:\d{7})\)|(?P<id>R-[A-Z]{3}-\d+|WP\d+|hsa\d{5}))\s*$"
)
IN_COLUMN = re.compile(r"GO:\d{7}|R-[A-Z]{3}-[\d.]+|WP\d+|hsa\d{5}|CORUM:\d+|[MC]\d{3,}")
WEIGHT = re.compile(r",\s*[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|infinity|nan)$", re.IGNORECASE)

_OTHER_IDS = {
    "Entrez id": (
        # of KEGG (hsa:672), or written as a number by a spreadsheet (672.0)
        re.compile(r"(?:(?:[a-z]{3,4}|(?i:entrez|ncbigene|geneid|hsa)):)?\d+(?:\.0*)?"),
        "convert them to symbols (for example with mygene in Python, or org.Hs.eg.db in R);"
        " MSigDB offers each of its files with symbols too (*.symbols.gmt)",
    ),
    "HGNC id": (
        re.compile(r"HGNC:\d+", re.IGNORECASE),
        "convert them to symbols, for example with the table of genenames.org (hgnc_complete_set)",
    ),
    "mouse or rat gene id": (
        re.compile(r"(?:MGI|RGD):\d+", re.IGNORECASE),
        "give the human version of the library, or map the ids to human orthologues first",
    ),
    "microarray probe id": (
        re.compile(r"\S+_[as]t|AFFX-\S+|ILMN_\d+|A_\d+_P\w+|cg\d{8}"),
        "convert them to symbols by the annotation of the array",
    ),
    "transcript or protein id": (
        re.compile(r"(?:ENS[A-Z]*[TP]\d{11}|[NX][MRP]_\d+)(?:\.\d+)?"),
        "convert them to symbols or Ensembl gene ids (ENSG...)",
    ),
    "UniProt accession": (
        re.compile(r"[OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2}"),
        "convert them to symbols, for example with the ID mapping of UniProt",
    ),
}
_MOST_OTHER = 0.5


class Provenance(TypedDict):
    """What the caller states of a file; empty where it is to be found."""

    name: str
    release: str
    licence: str


class TermCollector:
    """Terms by accession while a file is read: symbols repaired, repeats and damage counted."""

    def __init__(self) -> None:
        self.terms: dict[str, Term] = {}
        self.repeated: list[tuple[str, int, int, bool]] = []
        self._symbols: list[Symbol] = []

    def add(self, title: str, column: str, tokens: Iterable[str], accession: str = "") -> bool:
        """Add a term; False if it has no gene or no name."""
        found, name = (
            (accession, title) if accession else accession_of(title.strip(), column.strip())
        )
        genes: dict[str, str] = {}
        for token in tokens:
            bare = WEIGHT.sub("", token.strip().strip("\"'"))
            if bare:
                symbol = repair(bare)
                genes.setdefault(symbol.text.upper(), symbol.text)
                if symbol.note:
                    self._symbols.append(symbol)
        if not genes or not found:
            return False
        if found in self.terms:
            first = {g.upper() for g in self.terms[found].genes}
            self.repeated.append((found, len(first), len(genes), first == genes.keys()))
        else:
            self.terms[found] = Term(found, name, tuple(genes.values()))
        return True

    @property
    def notes(self) -> list[str]:
        """Notes on repeated terms and on symbols."""
        notes = []
        if self.repeated:
            other = [x for x in self.repeated if not x[3]]
            example = ", ".join(
                f"{a!r} ({first} genes kept, {second} left out)"
                for a, first, second, _ in (other or self.repeated)[:3]
            )
            notes.append(
                f"{len(self.repeated)} terms repeat an accession, {len(other)} of them with other"
                f" genes; the first of each is kept: {example}"
            )
        return notes + symbol_notes(self._symbols)


def accession_of(name: str, column: str) -> tuple[str, str]:
    """Accession and bare name of a term, from its name and the second column of a GMT line."""
    if IN_COLUMN.fullmatch(column):
        return column, name
    match = _IN_NAME.match(name)
    if match and match["name"]:
        return match["go"] or match["id"], match["name"]
    return name, name


def library_name(path: Path | str) -> str:
    """Name of a library from its file name, without suffixes; other characters become ``_``."""
    stem = re.sub(
        r"(\.gmt|\.txt|\.tsv|\.csv|\.json)?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE
    )
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)


def refuse_mouse_genes(path: Path | str, symbols: Sequence[str]) -> None:
    """Refuse a file of mouse genes.

    Raises
    ------
    UserError
        If most of the symbols are in mouse spelling.
    """
    if looks_like_mouse(symbols):
        raise UserError(
            f"{path} has mouse symbols (such as {symbols[0]}); the models read human genes",
            "give the human version of the library, or map the symbols to human orthologues first",
        )


def _refuse_other_ids(path: Path | str, genes: Sequence[str]) -> list[str]:
    """Refuse genes that are named by identifiers for which no table is shipped; notes where they
    are the smaller part.
    """
    notes = []
    for kind, (pattern, fix) in _OTHER_IDS.items():
        found = [gene for gene in genes if pattern.fullmatch(gene)]
        found = [gene for gene in found if gene.upper() not in hgnc().group_of]  # H2AC11
        if len(found) > _MOST_OTHER * len(genes):
            raise UserError(
                f"the genes of {path} are {kind}s: {len(found):,} of {len(genes):,}, such as"
                f" {', '.join(found[:3])}; expected symbols or Ensembl gene ids",
                fix,
            )
        if found:
            notes.append(
                f"{len(found):,} of {len(genes):,} genes look like {kind}s (such as {found[0]});"
                " they match no gene"
            )
    return notes


def notice_path(path: Path | str) -> Path:
    """Path of the notice of a fetched library: beside it, ``NAME.gmt.notice.json``."""
    path = Path(path)
    return path.with_name(f"{path.name}.notice.json")


def _release_and_licence(
    path: Path | str, digest: str, release: str, licence: str
) -> tuple[str, str]:
    """Release and licence: as given, else from the notice beside the file if its hash agrees."""
    try:
        notice = json.loads(notice_path(path).read_text())
    except (OSError, ValueError):
        return release, licence
    if not isinstance(notice, dict) or notice.get("sha256") != digest:
        return release, licence
    return release or str(notice.get("release", "")), licence or str(notice.get("licence", ""))


def build_library(
    collector: TermCollector,
    source: GeneFile,
    path: Path | str,
    name: str,
    release: str,
    licence: str,
    notes: Iterable[str],
) -> GeneSetLibrary:
    """Make the library of the collected terms, after the checks of identifiers and species."""
    genes = list(dict.fromkeys(g for t in collector.terms.values() for g in t.genes))
    mixed = _refuse_other_ids(path, genes)
    refuse_mouse_genes(path, genes[:20000])
    every = (*source.notes, *notes, *mixed, *collector.notes)
    release, licence = _release_and_licence(path, source.sha256, release, licence)
    return GeneSetLibrary(
        name or library_name(path),
        source.file,
        source.sha256,
        release,
        licence,
        tuple(collector.terms.values()),
        every,
    )
