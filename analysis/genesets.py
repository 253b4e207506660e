"""Gene-set files (GMT) -> `GeneSetLibrary`: accession, name and genes of every term, with the file's hash and licence.

A GMT line is ``name TAB id-or-description TAB gene TAB gene ...``. The accession is looked for in column 2 (Reactome, CORUM),
then inside the name (Enrichr: ``(GO:0006396)``, ``R-HSA-69278``, ``hsa00532``), else the name itself is the key (MSigDB, KEGG).
Nothing is dropped silently: what was odd is in `GeneSetLibrary.notes`.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from analysis.symbols import looks_like_mouse, repair
from scircuit.settings import UserError

_SUFFIXES = (".gmt", ".txt", ".gmt.gz", ".txt.gz")
_IN_NAME = re.compile(r"^(?P<name>.*?)\s*(?:\((?P<go>GO:\d{7})\)|(?P<id>R-[A-Z]{3}-\d+|WP\d+|hsa\d{5}))\s*$")
_IN_COLUMN = re.compile(r"GO:\d{7}|R-[A-Z]{3}-[\d.]+|WP\d+|hsa\d{5}|CORUM:\d+|[MC]\d{3,}")
_WEIGHT = re.compile(r",-?\d+(\.\d+)?$")
_FIX = "a GMT file has lines of: name TAB id or description TAB gene TAB gene ..."
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


def read_lines(path: Path) -> tuple[list[str], str]:
    """Text lines (blank ones left out) and sha256 of a plain or gzipped file.

    Raises
    ------
    UserError
        If the file is absent, a truncated gzip, not UTF-8 text, or empty.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the gene-set file {path}: {error.strerror or error}", "check the path") from None
    digest = hashlib.sha256(raw).hexdigest()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f"{path} is a damaged gzip file ({error})", "download or copy it again; it is probably cut short") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (byte {error.start})", _FIX) from None
    lines = [line.rstrip("\r\n") for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty: 0 lines with text", _FIX)
    return lines, digest


def _accession(name: str, column: str) -> tuple[str, str]:
    if _IN_COLUMN.fullmatch(column):
        return column, name
    match = _IN_NAME.match(name)
    if match and match["name"]:
        return match["go"] or match["id"], match["name"]
    return name, name


def library_name(path: Path) -> str:
    """Name of a library from its file name: suffixes removed, what a term id cannot hold replaced by ``_``."""
    stem = re.sub(r"(\.gmt|\.txt)?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)


def read_gmt(path: Path | str, *, name: str = "", release: str = "", licence: str = "") -> GeneSetLibrary:
    """Read a GMT file.

    Parameters
    ----------
    path
        ``.gmt`` or ``.txt``, plain or gzipped.
    name
        Name of the library (default: from the file name).
    release, licence
        As stated by the source; empty when unknown.

    Raises
    ------
    UserError
        If the file cannot be read, is empty, is a plain list of genes, or is of another species.
    """
    path = Path(path)
    if not path.name.lower().endswith(_SUFFIXES):
        raise UserError(f"{path.name} is not a gene-set file: expected a name ending in {', '.join(_SUFFIXES)}", _FIX)
    lines, digest = read_lines(path)
    terms: dict[str, Term] = {}
    notes: list[str] = []
    too_short = 0
    for number, line in enumerate(lines, 1):
        columns = line.split("\t")
        if len(columns) < 3:
            too_short += 1
            continue
        title = columns[0].strip()
        accession, term_name = _accession(title, columns[1].strip())
        genes: dict[str, str] = {}
        for token in columns[2:]:
            token = _WEIGHT.sub("", token.strip())
            if token:
                symbol = repair(token)
                genes.setdefault(symbol.text.upper(), symbol.text)
                if symbol.note:
                    notes.append(f"line {number}: {symbol.note}")
        if not genes or not accession:
            too_short += 1
        elif accession in terms:
            first = terms[accession]
            notes.append(
                f"line {number}: accession {accession!r} occurs again ({len(genes)} genes); "
                f"the first one is kept ({len(first.genes)} genes)"
            )
        else:
            terms[accession] = Term(accession, term_name, tuple(genes.values()))
    if not terms:
        raise UserError(
            f"{path} has {len(lines)} lines, none of them with a name, a description and at least one gene; "
            f"the first is {lines[0][:60]!r}. It looks like a plain list, one gene a line", _FIX,
        )  # fmt: skip
    if too_short:
        notes.append(f"{too_short} of {len(lines)} lines have no gene and were left out")
    sample = [g for t in terms.values() for g in t.genes][:20000]
    if looks_like_mouse(sample):
        raise UserError(
            f"{path} is written in mouse symbols (such as {sample[0]}); the models read human genes",
            "give the human edition of the library, or map the symbols to human orthologues first",
        )
    return GeneSetLibrary(name or library_name(path), path.name, digest, release, licence, tuple(terms.values()), tuple(notes))


def write_gmt(path: Path, terms: Iterable[Term]) -> None:
    """Write terms as GMT, accession in column 2, genes sorted; a ``.gz`` name gives reproducible gzip (no time stamp)."""
    text = "".join("\t".join([t.name, t.accession, *sorted(t.genes)]) + "\n" for t in terms)
    data = text.encode()
    path = Path(path)
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


@cache
def shipped() -> tuple[GeneSetLibrary, ...]:
    """GO Biological Process extract (CC BY 4.0) and Reactome (CC0), as shipped; provenance in ``analysis/data/NOTICE.md``."""
    go = read_gmt(_DATA / "go_bp.gmt.gz", name="GO_BP", release="2021", licence="CC BY 4.0")
    reactome = read_gmt(_DATA / "reactome.gmt.gz", name="Reactome", release="not stated by the file", licence="CC0 1.0")
    return go, replace(reactome)
