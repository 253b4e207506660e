"""Read gene-set files, whatever their format, and write GMT.

`read_library` tells the format by content: GMT, tables of term and gene, JSON ``{term: [genes]}``,
regulons (`scircuit.analysis.genesets.regulons`) and STRING pairs
(`scircuit.analysis.genesets.string_pairs`). A GMT line is ``name TAB id-or-description TAB gene TAB
gene ...``. `scircuit.analysis.genesets.build_library` says how accessions and repeats are treated.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from scircuit.analysis.genesets.build_library import TermCollector, build_library
from scircuit.analysis.genesets.gene_files import GMT_FIX, GeneFile, read_text
from scircuit.analysis.genesets.gene_tables import read_json, read_table
from scircuit.analysis.genesets.gmt import set_lines
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.core.errors import UserError

_DATA = Path(__file__).resolve().parent / "data"


def read_library(
    path: Path | str,
    *,
    name: str = "",
    release: str = "",
    licence: str = "",
    is_gene: Callable[[str], bool] | None = None,
) -> GeneSetLibrary | Regulons:
    """Read a gene-set file of any known format.

    Parameters
    ----------
    path
        Plain or gzipped text; only the default library name depends on the file name.
    name
        Name of the library (default: from the file name).
    release, licence
        As stated by the source (default: from the notice that `scircuit genesets fetch` writes
        beside the file; empty when unknown).
    is_gene
        Whether the model's vocabulary has a symbol; it helps to tell the first gene from a
        description where a GMT file leaves descriptions out.

    Returns
    -------
    GeneSetLibrary or Regulons
        `Regulons` for tables of transcription factor and target; its ``library()`` gives the target
        sets.

    Raises
    ------
    UserError
        If the file cannot be read, is empty, of another kind (ontology, list of genes, aliases) or
        of another species.
    """
    source = read_text(path)
    first = source.lines[0].lstrip()
    if first.startswith(("{", "[")):
        return read_json(source, path, name=name, release=release, licence=licence)
    if first.startswith("format-version:") or "[Term]" in source.lines[:200]:
        raise UserError(
            f"{path} is an ontology (OBO), not a gene-set file",
            "give it as --obo, together with the library of its terms",
        )
    if first.startswith("!gaf-version") or first.startswith("!gpa-version"):
        raise UserError(
            f"{path} is a table of gene annotations (GAF), not a gene-set file",
            "give the gene sets as GMT",
        )
    table = read_table(source, path, name=name, release=release, licence=licence)
    return table if table is not None else _gmt(source, path, name, release, licence, is_gene)


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
    source: GeneFile,
    path: Path | str,
    name: str,
    release: str,
    licence: str,
    is_gene: Callable[[str], bool] | None = None,
) -> GeneSetLibrary:
    collector = TermCollector()
    found = set_lines(source, path, is_gene)
    left = [row for row in found.rows if not collector.add(*row)]
    nameless = sum(any(genes) for _, _, genes in left)
    empty = len(left) - nameless
    if not collector.terms:
        shape = _shape(source.lines)
        raise UserError(
            f"{path} has {len(source.lines)} lines, none of them with a name, a description and at"
            f" least one gene; the first is {source.lines[0][:60]!r}. It looks like {shape}",
            GMT_FIX,
        )
    notes = found.notes
    if empty:
        notes.append(f"{empty} of {len(found.rows)} sets have no gene and were skipped")
    if nameless:
        notes.append(
            f"{nameless} of {len(found.rows)} sets have genes and no name, and were skipped"
        )
    single = sum(1 for t in collector.terms.values() if len(t.genes) == 1)
    if single == len(collector.terms) and (collector.repeated or single > 20):
        raise UserError(
            f"every line of {path} has one gene ({len(source.lines)} lines, {single} terms): it"
            " looks like a table with one gene per line",
            f"{GMT_FIX}; or give a table with a header that names the columns term and gene",
        )
    return build_library(collector, source, path, name, release, licence, notes)


def _shape(lines: Sequence[str]) -> str:
    """What lines without a set look like."""
    if all("\t" not in line for line in lines):
        for delimiter, name in (
            (",", "commas"),
            (";", "semicolons"),
            ("|", "bars"),
            (" ", "spaces"),
        ):
            if all(line.count(delimiter) > 1 for line in lines):
                return f"a file with {name} between the fields instead of tabs"
        if not any("," in line for line in lines):
            return "a plain list with one gene per line"
    return "another kind of table"


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
