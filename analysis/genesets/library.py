"""Gene-set files -> `GeneSetLibrary`: accession, name and genes of every term, with the file's hash
and licence.

`read_library` tells the format by content: GMT, tables of term and gene, JSON ``{term: [genes]}``,
regulons (`scircuit.analysis.genesets.regulons`) and STRING pairs
(`scircuit.analysis.genesets.string_pairs`). A GMT line is ``name TAB id-or-description TAB gene TAB
gene ...``. The accession is looked for in column 2 (Reactome, CORUM), then inside the name
(Enrichr: ``(GO:0006396)``, ``R-HSA-69278``, ``hsa00532``), else the name itself is the key (MSigDB,
KEGG). Where an accession occurs again, the first term is kept and the second left out, whatever its
genes: a union would be a set that no release has. Nothing is dropped silently: what was odd is in
`GeneSetLibrary.notes`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.analysis.genesets.gene_files import GMT_FIX, GeneFile, read_text, symbol_notes
from scircuit.analysis.genesets.symbols import Symbol, looks_like_mouse, repair
from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.analysis.genesets.regulons import Regulons

_IN_NAME = re.compile(
    r"^(?P<name>.*?)\s*(?:\((?P<go>GO:\d{7})\)|(?P<id>R-[A-Z]{3}-\d+|WP\d+|hsa\d{5}))\s*$"
)
_IN_COLUMN = re.compile(r"GO:\d{7}|R-[A-Z]{3}-[\d.]+|WP\d+|hsa\d{5}|CORUM:\d+|[MC]\d{3,}")
_WEIGHT = re.compile(r",\s*[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|infinity|nan)$", re.IGNORECASE)
_DATA = Path(__file__).resolve().parent / "data"


class Term(NamedTuple):
    """One gene set; `genes` are symbols in the file's spelling, in file order, without repeats."""

    accession: str
    name: str
    genes: tuple[str, ...]


@dataclass(frozen=True)
class GeneSetLibrary:
    """All gene sets of one file.

    Parameters
    ----------
    name
        Short name used in term ids (``GO_BP``).
    file, sha256, release, licence
        Provenance, stored on the ``GeneSetLibrary`` node.
    terms
        The gene sets, accessions unique.
    notes
        What was repaired, merged or left out while reading.
    """

    name: str
    file: str
    sha256: str
    release: str
    licence: str
    terms: tuple[Term, ...]
    notes: tuple[str, ...] = ()

    @property
    def genes(self) -> set[str]:
        """Every symbol that occurs in a term, upper case."""
        return {g.upper() for t in self.terms for g in t.genes}


class TermCollector:
    """Terms by accession while a file is read: symbols repaired, repeats and damage counted."""

    def __init__(self) -> None:
        self.terms: dict[str, Term] = {}
        self.again: list[tuple[str, int, int, bool]] = []
        self.weights_lost = 0
        self._symbols: list[Symbol] = []

    def add(self, title: str, column: str, tokens: Iterable[str], accession: str = "") -> bool:
        """Take a term in; False if it has no gene or no name."""
        found, name = (
            (accession, title) if accession else accession_of(title.strip(), column.strip())
        )
        genes: dict[str, str] = {}
        for token in tokens:
            bare = _WEIGHT.sub("", token.strip().strip('"'))
            if bare:
                symbol = repair(bare)
                genes.setdefault(symbol.text.upper(), symbol.text)
                if symbol.note:
                    self._symbols.append(symbol)
        if not genes or not found:
            return False
        if found in self.terms:
            first = {g.upper() for g in self.terms[found].genes}
            self.again.append((found, len(first), len(genes), first == genes.keys()))
        else:
            self.terms[found] = Term(found, name, tuple(genes.values()))
        return True

    @property
    def notes(self) -> list[str]:
        """Remarks on repeats and symbols."""
        notes = []
        if self.again:
            other = [x for x in self.again if not x[3]]
            example = ", ".join(
                f"{a!r} ({first} genes kept, {second} left out)"
                for a, first, second, _ in (other or self.again)[:3]
            )
            notes.append(
                f"{len(self.again)} terms have an accession that occurs again, {len(other)} of them"
                f" with other genes; the first of each is kept: {example}"
            )
        return notes + symbol_notes(self._symbols)


def read_lines(path: Path | str) -> tuple[list[str], str]:
    """Text lines (blank ones left out) and sha256 of a plain or gzipped file; see
    `scircuit.analysis.genesets.gene_files.read_text`.
    """
    found = read_text(path)
    return found.lines, found.sha256


def accession_of(name: str, column: str) -> tuple[str, str]:
    """Accession and bare name of a term, from its name and the second column of a GMT line."""
    if _IN_COLUMN.fullmatch(column):
        return column, name
    match = _IN_NAME.match(name)
    if match and match["name"]:
        return match["go"] or match["id"], match["name"]
    return name, name


def library_name(path: Path | str) -> str:
    """Name of a library from its file name: suffixes removed, what a term id cannot hold replaced
    by ``_``.
    """
    stem = re.sub(
        r"(\.gmt|\.txt|\.tsv|\.csv|\.json)?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE
    )
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)


def check_species(path: Path | str, symbols: Sequence[str]) -> None:
    """Refuse a file of mouse genes.

    Raises
    ------
    UserError
        If most of the symbols are written the mouse way.
    """
    if looks_like_mouse(symbols):
        raise UserError(
            f"{path} is written in mouse symbols (such as {symbols[0]}); the models read human"
            " genes",
            "give the human edition of the library, or map the symbols to human orthologues first",
        )


def notice_path(path: Path | str) -> Path:
    """Where the notice of a fetched library lies: beside it, ``NAME.gmt.notice.json``."""
    path = Path(path)
    return path.with_name(f"{path.name}.notice.json")


def _stated(path: Path | str, digest: str, release: str, licence: str) -> tuple[str, str]:
    """Release and licence, from the notice beside the file where they are not given and the notice
    is of this very file.
    """
    try:
        notice = json.loads(notice_path(path).read_text())
    except (OSError, ValueError):
        return release, licence
    if not isinstance(notice, dict) or notice.get("sha256") != digest:
        return release, licence
    return release or str(notice.get("release", "")), licence or str(notice.get("licence", ""))


def finish(
    collector: TermCollector,
    source: GeneFile,
    path: Path | str,
    name: str,
    release: str,
    licence: str,
    notes: Iterable[str],
) -> GeneSetLibrary:
    """Make the library of what was collected, after the species check."""
    check_species(path, [g for t in collector.terms.values() for g in t.genes][:20000])
    every = (*source.notes, *notes, *collector.notes)
    release, licence = _stated(path, source.sha256, release, licence)
    return GeneSetLibrary(
        name or library_name(path),
        source.file,
        source.sha256,
        release,
        licence,
        tuple(collector.terms.values()),
        every,
    )


def read_library(
    path: Path | str, *, name: str = "", release: str = "", licence: str = ""
) -> GeneSetLibrary | Regulons:
    """Read a gene-set file of any known format.

    Parameters
    ----------
    path
        Plain or gzipped text; its name does not matter but for the library's name.
    name
        Name of the library (default: from the file name).
    release, licence
        As stated by the source (default: by the notice that `scircuit genesets fetch` leaves beside
        the file; empty when unknown).

    Returns
    -------
    GeneSetLibrary or Regulons
        `Regulons` for tables of transcription factor and target; its ``library()`` holds the target
        sets.

    Raises
    ------
    UserError
        If the file cannot be read, is empty, of another kind (ontology, list of genes, aliases) or
        of another species.
    """
    from scircuit.analysis.genesets.gene_tables import read_table

    source = read_text(path)
    first = source.lines[0].lstrip()
    if first.startswith(("{", "[")):
        from scircuit.analysis.genesets.gene_tables import read_json

        return read_json(source, path, name=name, release=release, licence=licence)
    if first.startswith("format-version:") or "[Term]" in source.lines[:200]:
        raise UserError(
            f"{path} is an ontology (OBO), not a gene-set file",
            "give it as --obo, beside the library whose terms it relates",
        )
    if first.startswith("!gaf-version") or first.startswith("!gpa-version"):
        raise UserError(
            f"{path} is a table of gene annotations (GAF), not a gene-set file",
            "give the gene sets as GMT",
        )
    table = read_table(source, path, name=name, release=release, licence=licence)
    return table if table is not None else _gmt(source, path, name, release, licence)


def read_gmt(
    path: Path | str, *, name: str = "", release: str = "", licence: str = ""
) -> GeneSetLibrary:
    """Read a GMT file, plain or gzipped; parameters as `read_library`.

    Raises
    ------
    UserError
        If the file cannot be read, is empty, is a plain list of genes, or is of another species.
    """
    return _gmt(read_text(path), path, name, release, licence)


def _gmt(
    source: GeneFile, path: Path | str, name: str, release: str, licence: str
) -> GeneSetLibrary:
    collector = TermCollector()
    empty = 0
    for line in source.lines:
        columns = line.split("\t")
        if len(columns) < 3 or not collector.add(columns[0], columns[1], columns[2:]):
            empty += 1
    if not collector.terms:
        shape = (
            "a plain list, one gene a line"
            if all("\t" not in x and "," not in x for x in source.lines)
            else "a table of another kind"
        )
        raise UserError(
            f"{path} has {len(source.lines)} lines, none of them with a name, a description and at"
            f" least one gene; the first is {source.lines[0][:60]!r}. It looks like {shape}",
            GMT_FIX,
        )
    notes = (
        [f"{empty} of {len(source.lines)} lines have no gene and were left out"] if empty else []
    )
    single = sum(1 for t in collector.terms.values() if len(t.genes) == 1)
    if single == len(collector.terms) and (collector.again or single > 20):
        raise UserError(
            f"every line of {path} has one gene ({len(source.lines)} lines, {single} terms): it"
            " looks like a table of one gene a line",
            f"{GMT_FIX}; or give a table with a header that names the columns term and gene",
        )
    return finish(collector, source, path, name, release, licence, notes)


def write_gmt(path: Path, terms: Iterable[Term]) -> None:
    """Write terms as GMT, accession in column 2, genes sorted; a ``.gz`` name gives reproducible
    gzip (no time stamp).
    """
    text = "".join("\t".join([t.name, t.accession, *sorted(t.genes)]) + "\n" for t in terms)
    data = text.encode()
    path = Path(path)
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


@cache
def shipped() -> tuple[GeneSetLibrary, ...]:
    """GO Biological Process extract (CC BY 4.0) and Reactome (CC0), as shipped; provenance in
    ``analysis/genesets/data/NOTICE.md``.
    """
    go = read_gmt(_DATA / "go_bp.gmt.gz", name="GO_BP", release="2021", licence="CC BY 4.0")
    reactome = read_gmt(
        _DATA / "reactome.gmt.gz",
        name="Reactome",
        release="not stated by the file",
        licence="CC0 1.0",
    )
    return go, reactome
