"""Tables and JSON files of genes: which of the known layouts a file has, and its rows.

Recognised by the header: TF and target (with mode, weight, papers), term and gene (one gene a
row), node1 and node2 (STRING). Without a header: rows whose third column is a mode are regulons
(TRRUST as downloaded), and so are two columns of plain symbols. Any other file is left to the GMT
reader.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scircuit.analysis.genesets.build_library import Provenance, TermCollector, build_library
from scircuit.analysis.genesets.gene_files import GeneFile
from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.analysis.genesets.regulons import NUMBERS, WORDS, Regulons, build_regulons
from scircuit.analysis.genesets.string_pairs import pairs_library, read_pairs
from scircuit.core.errors import UserError

_TF = ("tf", "source", "regulator", "transcription_factor", "tf_name", "tf_symbol", "gene1")
_TARGET = (
    "target",
    "gene_symbol",
    "target_gene",
    "targetgene",
    "target_name",
    "target_symbol",
    "gene2",
    "gene",
)
_MODE = ("interaction", "mode", "mode_of_regulation", "regulation", "effect", "type")
_WEIGHT = ("mor", "weight", "sign")
_PAPERS = (
    "pmid",
    "pmids",
    "position",
    "citation",
    "reference",
    "references",
    "pubmed",
    "pubmed_id",
    "pubmed_ids",
)
_TERM = (
    "gs_name",
    "geneset",
    "gene_set",
    "pathway",
    "term",
    "term_id",
    "go_id",
    "cell_name",
    "cellname",
    "cell_type",
    "celltype",
)
_GENE = (
    "official_gene_symbol",
    "gene_symbol",
    "genesymbol",
    "hgnc_symbol",
    "symbol",
    "gene",
    "ensembl_gene",
    "ensembl_gene_id",
    "gene_id",
    "entrez_gene",
    "entrez_gene_id",
    "entrezid",
    "ncbi_gene",
    "marker",
    "cellmarker",
)
_P_VALUE = re.compile(r"(?:adj(?:usted)?_?)?p_?[.-]?_?val(?:ue)?|padj|p_adj(?:ust)?|q_?value|fdr")
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,15}")
_ACCESSION = re.compile(r"GO:\d{7}|R-[A-Z]{3}-\d+|hsa\d{5}")
_JSON_FIX = 'expected one object of terms: {"name of the term": ["GENE", "GENE"]}'


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        cells = line.split()
    elif delimiter == ",":
        cells = next(csv.reader([line]))
    else:
        cells = line.split(delimiter)
    return [cell.strip().strip('"').strip() for cell in cells]


def _first(header: Sequence[str], names: Sequence[str], taken: int = -1) -> int:
    return next((header.index(n) for n in names if n in header and header.index(n) != taken), -1)


def read_table(
    source: GeneFile, path: Path | str, *, name: str, release: str, licence: str
) -> GeneSetLibrary | Regulons | None:
    """Read a table; None if the file is not one (it may be a GMT).

    Raises
    ------
    UserError
        If it is a table of another kind (aliases, proteins), a row is short, or a value cannot be
        read.
    """
    lines = source.lines
    top = lines[0].lstrip("#").strip()
    delimiter = "\t" if "\t" in top else "," if "," in top else " "
    # not read: PubMed ids are joined by semicolons too
    if delimiter == " " and re.match(r"[^\s;]+;[^\s;]+;", top):
        raise UserError(
            f"{path} separates its columns by semicolons, as spreadsheets do in some countries; the"
            f" first line is {top[:70]!r}",
            "save it with tabs between columns",
        )
    cells = _split(lines[0].lstrip("#"), delimiter)
    header = [re.sub(r"[ .]+", "_", cell.lower()) for cell in cells]
    given: Provenance = {"name": name, "release": release, "licence": licence}
    if "approved_symbol" in header:
        raise UserError(
            f"{path} is a table of gene names (old name, approved symbol), not of gene sets",
            "retired symbols are updated without it",
        )
    if _first(header, ("node1", "protein1")) >= 0 and _first(header, ("node2", "protein2")) >= 0:
        return read_pairs(
            header, _rows(source, path, delimiter, len(header)), source, path, **given
        )
    tf = _first(header, _TF)
    target = _first(header, _TARGET, tf)
    if tf >= 0 and target >= 0:
        return _regulons(header, tf, target, source, path, delimiter, given)
    if sum(bool(_P_VALUE.fullmatch(cell)) for cell in header) and len(header) > 3:
        raise UserError(
            f"{path} is a table of results (its columns: {', '.join(header)[:100]}), not of gene"
            " sets: its genes are those that a list had, not those of the terms",
            "give the gene sets that were tested, as GMT",
        )
    term, gene = _first(header, _TERM), _first(header, _GENE)
    if term >= 0 and gene >= 0:
        return _long(header, term, gene, source, path, delimiter, given)
    if _looks_like_regulons(lines, delimiter):
        return headerless_regulons(source, path, delimiter, given)
    return None


def _rows(source: GeneFile, path: Path | str, delimiter: str, width: int) -> list[list[str]]:
    """Cells below the header; a short row is filled up with empty cells."""
    rows = []
    for number, line in enumerate(source.lines[1:], 2):
        cells = _split(line, delimiter)
        if len(cells) < min(width, 2):
            raise UserError(
                f"{path}, line {number}: {line[:70]!r} has {len(cells)} of {width} columns",
                "the file may be truncated; download it again",
            )
        rows.append(cells + [""] * (width - len(cells)))
    return rows


def _regulons(
    header: list[str],
    tf: int,
    target: int,
    source: GeneFile,
    path: Path | str,
    delimiter: str,
    given: Provenance,
) -> Regulons:
    mode = _first(header, _MODE, target)
    weight, papers = _first(header, _WEIGHT), _first(header, _PAPERS)
    at = weight if weight >= 0 else mode
    cells = _rows(source, path, delimiter, len(header))
    rows = [
        (i, r[tf], r[target], r[at] if at >= 0 else "", r[papers] if papers >= 0 else "")
        for i, r in enumerate(cells, 2)
    ]
    notes = []
    if "confidence" in header:
        counts = Counter(r[header.index("confidence")] for r in cells)
        notes.append(
            "confidence is not used; rows by confidence: "
            + ", ".join(f"{level} {counts[level]}" for level in sorted(counts))
        )
    if at < 0:
        notes.append("no column gives a mode: every pair is Unknown")
    return build_regulons(rows, source, path, **given, signed=weight >= 0, notes=notes)


def _looks_like_regulons(lines: Sequence[str], delimiter: str) -> bool:
    rows = [_split(line, delimiter) for line in lines[:200]]
    if sum(
        len(r) in (3, 4, 5) and r[2] != "" and r[2].lower() in (*WORDS, *NUMBERS, "-1")
        for r in rows
    ) >= 0.8 * len(rows):
        return True
    plain = all(len(r) == 2 and all(_SYMBOL.fullmatch(c) for c in r) for r in rows)
    return plain and delimiter != " " and len({r[0] for r in rows}) < len(rows)


def headerless_regulons(
    source: GeneFile, path: Path | str, delimiter: str, given: Provenance, skip: int = 0
) -> Regulons:
    """Rows of TF, target, mode and papers, in this order, after `skip` lines."""
    rows = []
    for number, line in enumerate(source.lines[skip:], 1 + skip):
        cells = _split(line, delimiter)
        rows.append(
            (
                number,
                cells[0],
                cells[1] if len(cells) > 1 else "",
                cells[2] if len(cells) > 2 else "",
                ";".join(cells[3:]),
            )
        )
    two = all(line.count(delimiter) == 1 for line in source.lines[skip:])
    notes = (
        ["two columns without a header are read as transcription factor and target, mode Unknown"]
        if two
        else []
    )
    return build_regulons(rows, source, path, **given, signed=False, notes=notes)


def _long(
    header: list[str],
    term: int,
    gene: int,
    source: GeneFile,
    path: Path | str,
    delimiter: str,
    given: Provenance,
) -> GeneSetLibrary:
    genes: dict[str, list[str]] = {}
    for row in _rows(source, path, delimiter, len(header)):
        # CellMarker has several genes in a cell, and brackets around complexes
        named = re.split(r"[,;|/]\s*", row[gene].replace("[", "").replace("]", ""))
        genes.setdefault(row[term], []).extend(named)
    collector = TermCollector()
    for title, members in genes.items():
        collector.add(title, "", members)
    if not collector.terms:
        raise UserError(
            f"{path} has a header and no rows with a term and a gene",
            "give one row for each gene of a term",
        )
    return build_library(collector, source, path, **given, notes=())


def read_json(
    source: GeneFile, path: Path | str, *, name: str, release: str, licence: str
) -> GeneSetLibrary:
    """Read ``{term: [genes]}``, MSigDB's ``{term: {"geneSymbols": [...]}}`` or STRING's
    ``{"pairs_700": [[a, b]]}``.

    Raises
    ------
    UserError
        If the text is not JSON, contains Infinity or NaN, or has another structure.
    """
    collector = TermCollector()
    given: Provenance = {"name": name, "release": release, "licence": licence}
    found = parse_json(source, path)
    pairs = {k: v for k, v in found if k.startswith("pairs")}
    if pairs:
        flat = [pair for part in pairs.values() if isinstance(part, list) for pair in part]
        if not all(
            isinstance(p, list) and len(p) == 2 and all(isinstance(g, str) for g in p) for p in flat
        ):
            raise UserError(f"{path} has pairs that are not two gene names each", _JSON_FIX)
        return pairs_library(
            [(a, b) for a, b in flat],
            source,
            path,
            **given,
            notes=[f"{', '.join(pairs)} are joined"] if len(pairs) > 1 else (),
        )
    empty = 0
    for title, value in found:
        genes, accession = value, ""
        if isinstance(value, dict) and "geneSymbols" in value:
            genes, accession = value["geneSymbols"], str(value.get("systematicName", ""))
        if isinstance(genes, list):  # Entrez ids may be numbers: refused below, by their kind
            genes = [str(gene) if type(gene) is int else gene for gene in genes]
        if not isinstance(genes, list) or not all(isinstance(g, str) for g in genes):
            raise UserError(
                f"{path}: {title!r} is {_kind(value)}, expected a list of gene names", _JSON_FIX
            )
        if genes and sum(bool(_ACCESSION.fullmatch(g)) for g in genes) > len(genes) / 2:
            raise UserError(
                f"{path} maps {title!r} to terms (such as {genes[0]}): expected terms mapped to"
                " genes, not genes to terms",
                _JSON_FIX,
            )
        empty += not collector.add(title, "", genes, accession)
    if not collector.terms:
        raise UserError(f"{path} has no term with a gene ({len(found)} entries)", _JSON_FIX)
    return build_library(
        collector,
        source,
        path,
        **given,
        notes=[f"{empty} of {len(found)} terms have no gene and were skipped"] if empty else [],
    )


def _kind(value: object) -> str:
    kinds = {
        dict: "an object",
        list: "a list with other values",
        str: "a text",
        bool: "true or false",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")


def parse_json(source: GeneFile, path: Path | str) -> list[tuple[str, object]]:
    """Entries of the one object of a JSON file, repeated keys included.

    Raises
    ------
    UserError
        If it is truncated, contains a number that JSON does not have, or is not an object.
    """

    def refuse(constant: str) -> object:
        raise UserError(
            f"{path} contains {constant}, which is neither JSON nor a gene",
            "write the file again without it",
        )

    class Pairs(list):
        """An object that keeps repeated keys; the inner ones become dicts."""

    def keep(pairs: list[tuple[str, object]]) -> Pairs:
        return Pairs(
            (key, dict(value) if isinstance(value, Pairs) else value) for key, value in pairs
        )

    try:
        found = json.loads(source.text, object_pairs_hook=keep, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}",
            "it may be truncated; download it again",
        ) from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply for a gene-set file", _JSON_FIX) from None
    if not isinstance(found, Pairs):
        raise UserError(f"{path} is {_kind(found)}", _JSON_FIX)
    return list(found)
