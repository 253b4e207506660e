"""GMT and GMX files: which field of a line is the name, which a description, which a gene.

GMT has a set a line, ``name TAB description TAB gene TAB gene ...``; GMX is the same turned round,
a set a column. Many files leave the description out. Whether column 2 holds descriptions or genes
is decided for the whole file: it holds genes where nearly as many of its entries are names of genes
as in the columns after it, descriptions where nearly none is. A file between the two is refused,
because one reading would lose genes and the other invent them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from scircuit.analysis.genesets.build_library import IN_COLUMN, WEIGHT
from scircuit.analysis.genesets.gene_files import GMT_FIX, GeneFile
from scircuit.core.errors import UserError
from scircuit.core.hgnc import hgnc

Row = list[str]
IsGene = Callable[[str], bool]

_MANY, _FEW = 0.8, 0.2  # of the share of names of genes in the columns after the second
_SAMPLE = 5000  # genes that are looked up to know that share
_SHAPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._/-]{0,24}")
_ENSEMBL = re.compile(r"ENSG\d{11}(\.\d+)?")
_JOINED = re.compile(r"[,;|\s]+")
_SLASHED = re.compile(r"[^/\s]+(?:/[^/\s]+){2,}")  # two may be a fusion: BCR/ABL
_NOTHING = ("", "na", "n/a", "nan", "none", "null", "-", ".", "---")
_HEADER = re.compile(
    r"(?:gs|set|gene_?set|term|pathway)(?:_?(?:name|id))?|name|id|desc(?:ription)?|details|url|link"
    r"|source|(?:gene_?)?symbols?|genes?|members?"
)


class SetLines(NamedTuple):
    """Sets of a file: name, description and gene fields, with notes on how they were read."""

    rows: list[tuple[str, str, list[str]]]
    notes: list[str]


def gene_test(known: IsGene | None = None) -> IsGene:
    """Whether a field is the name of a human gene.

    Parameters
    ----------
    known
        Whether a vocabulary has a symbol; the shipped retired and alternative names of the HGNC and
        Ensembl ids count as well.
    """
    names = hgnc().group_of

    def is_gene(field: str) -> bool:
        bare = WEIGHT.sub("", bare_field(field))
        return (
            bare.upper() in names
            or bool(_ENSEMBL.fullmatch(bare))
            or (known is not None and known(bare))
        )

    return is_gene


def bare_field(text: str) -> str:
    """A field without spaces and quotes around it."""
    return text.strip().strip("\"'").strip()


def set_lines(source: GeneFile, path: Path | str, known: IsGene | None = None) -> SetLines:
    """Sets of a GMT or GMX file; those without a gene have an empty list.

    Raises
    ------
    UserError
        If a line has other delimiters than the rest, or column 2 holds genes in some lines and
        descriptions in others.
    """
    is_gene = gene_test(known)
    lines, notes = _without_header(source.lines)
    _refuse_other_delimiters(lines, path, is_gene)
    rows = [line.split("\t") for line in lines]
    if _is_gmx(rows, is_gene):
        notes.append("the sets are columns (GMX)")
        rows = [list(column) for column in zip_longest(*rows, fillvalue="")]
        rows = [row for row in rows if any(cell.strip() for cell in row)]
    without = _no_descriptions(rows, path, notes, is_gene)
    if without and _perhaps_gmx(rows, is_gene):
        notes.append(
            "the names of the sets are genes too: if the sets are columns, write na below each name"
        )
    found, split = [], 0
    for row in rows:
        name, second = bare_field(row[0]), bare_field(row[1]) if len(row) > 1 else ""
        fields = row[2:]
        if without and _gene_shaped(second, is_gene):
            fields, second = row[1:], ""
        genes = [part for field in fields for part in _parts(field, is_gene)]
        split += len(genes) > len(fields)
        found.append((name, second, genes))
    if split:
        notes.append(
            f"{split} of {len(rows)} sets have several genes in one field; they were separated"
        )
    return SetLines(found, notes)


def _without_header(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Lines without comments and without a header, and notes on those."""
    kept = [line for line in lines if not line.startswith("#")]
    notes = []
    if len(kept) < len(lines):
        notes.append(f"{len(lines) - len(kept)} lines begin with # and were skipped")
    cells = [bare_field(cell) for line in kept[:1] for cell in line.split("\t")]
    words = [re.sub(r"[ ._]*\d*$", "", re.sub(r"[ .]+", "_", c.lower())) for c in cells if c]
    # words that differ by a number alone name the sets of a GMX file
    if len(set(words)) > 1 and all(map(_HEADER.fullmatch, words)):
        notes.append(f"the first line is a header ({', '.join(cells)[:60]}) and was skipped")
        kept = kept[1:]
    return kept, notes


def _refuse_other_delimiters(lines: Sequence[str], path: Path | str, is_gene: IsGene) -> None:
    """Refuse a line of genes without a tab among lines with tabs."""
    if not any("\t" in line for line in lines):
        return
    for line in lines:
        parts = [] if "\t" in line else [part for part in _JOINED.split(line.strip()) if part]
        if len(parts) > 2 and sum(map(is_gene, parts[1:])) >= len(parts) / 2:
            raise UserError(
                f"{path}: the line {line[:60]!r} has no tab but {len(parts)} fields with other"
                " delimiters, and other lines have tabs",
                f"separate all fields by tabs; {GMT_FIX}",
            )


def _share(fields: Iterable[str], is_gene: IsGene) -> float:
    """Share of names of genes among the first of the fields that are not empty."""
    seen = list(islice((field for field in fields if field.strip()), _SAMPLE))
    return sum(map(is_gene, seen)) / len(seen) if seen else 0.0


def _is_gmx(rows: Sequence[Row], is_gene: IsGene) -> bool:
    """Whether sets are columns: the second row is one word throughout (their descriptions), or
    genes stand below each other and not in the first row.
    """
    if len(rows) < 3 or len(rows[0]) < 2 or max(map(len, rows)) > len(rows[0]):
        return False
    if _one_word(rows[0], rows[1], is_gene):
        return True
    # sets may have the names of transcription factors: then the first row holds genes too
    return (
        _share((row[0] for row in rows[2:]), is_gene) > 0.5 and _share(rows[0][1:], is_gene) < 0.2
    )


def _perhaps_gmx(rows: Sequence[Row], is_gene: IsGene) -> bool:
    """Whether a table of nothing but genes could have its sets in columns as well."""
    return (
        len(rows) > 2
        and max(map(len, rows)) == len(rows[0])
        and _share((row[0] for row in rows), is_gene) > _MANY
    )


def _one_word(names: Row, second: Row, is_gene: IsGene) -> bool:
    """Whether the second row of a file says one word, or nothing, below each name of the first; so
    it does in GMX, whatever the names are, and in no line of GMT.
    """
    words = [bare_field(cell).lower() for cell in second]
    said = [word for word in words if word]
    if len(said) < 2 or sum(map(bool, map(bare_field, names))) not in (len(words), len(said)):
        return False
    same = len(set(said)) == 1 and len(said) == len(words) and not is_gene(said[0])
    return same or all(word in _NOTHING for word in said)


def _no_descriptions(
    rows: Sequence[Row], path: Path | str, notes: list[str], is_gene: IsGene
) -> bool:
    """Whether column 2 holds genes."""
    seconds = [bare_field(row[1]) for row in rows if len(row) > 1 and not _repeats(row[1], row[0])]
    genes = [
        second
        for second in seconds
        if not IN_COLUMN.fullmatch(second) and second.lower() not in _NOTHING
        if sum(map(is_gene, parts := _parts(second, is_gene))) > len(parts) / 2
    ]
    if not genes or (len(set(seconds)) == 1 and len(rows) > 3):
        return False
    after = _share(
        (part for row in rows for field in row[2:] for part in _parts(field, is_gene)), is_gene
    )
    if all(len(row) < 3 for row in rows):
        after = 1.0
    share, example = len(genes) / len(seconds), WEIGHT.sub("", genes[0])
    if share >= _MANY * after > 0:
        notes.append(
            f"column 2 holds genes (such as {example}), not descriptions: it is read as the first"
            " gene of each set"
        )
        return True
    if after and share > _FEW * after:
        other = next((s for s in seconds if not is_gene(s) or s.lower() in _NOTHING), seconds[0])
        raise UserError(
            f"{path}: column 2 is the name of a gene in {len(genes)} of {len(seconds)} lines (such"
            f" as {example}) and not in the others (such as {other[:40]!r}): it cannot be said"
            " whether it holds the first gene or a description",
            f"put a description or an empty field in column 2 of every line, or in none; {GMT_FIX}",
        )
    notes.append(
        f"column 2 is the name of a gene in {len(genes)} of {len(seconds)} lines (such as"
        f" {example}) and is read as a description, as in the others"
    )
    return False


def _repeats(second: str, name: str) -> bool:
    """Whether column 2 says again what is in the name (``STAT1 targets``, ``STAT1``)."""
    words = re.split(r"[^A-Z0-9-]+", name.upper())
    return bare_field(second).upper() in (bare_field(name).upper(), *filter(None, words))


def _gene_shaped(second: str, is_gene: IsGene) -> bool:
    """Whether a field of a column of genes is one or several; else it is a description."""
    if second.lower() in _NOTHING or IN_COLUMN.fullmatch(second):
        return False
    return bool(_SHAPE.fullmatch(WEIGHT.sub("", second))) or len(_parts(second, is_gene)) > 1


def _parts(field: str, is_gene: IsGene) -> list[str]:
    """The genes of one field: itself, unless it is several joined by commas, semicolons, bars or
    spaces, or three and more by slashes.
    """
    bare = bare_field(field)
    if _SLASHED.fullmatch(bare):
        bare = bare.replace("/", ",")
    if not bare or not _JOINED.search(WEIGHT.sub("", bare)):
        return [bare] if bare else []
    parts = [part for part in map(bare_field, _JOINED.split(bare)) if part and not _number(part)]
    return parts if len(parts) > 1 and sum(map(is_gene, parts)) > len(parts) / 2 else [bare]


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
