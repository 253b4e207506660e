"""A behaviour as it is asked for on the command line, and the genes it names.

``genes:GENES``, ``mlm:GENES``, ``mlm`` or ``celltype:COLUMN=VALUE``. GENES are a file (one name a
line, or a GMT file, one of whose terms ``FILE#TERM`` chooses), the name or accession of a term of a
shipped library, or names with commas.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scircuit.core.errors import UserError

if TYPE_CHECKING:
    from scircuit.tracing.tokenisation.vocabulary import Vocabulary

KINDS = ("genes", "mlm", "celltype")
_FIX = "give genes:STAT1,IRF1 or mlm:FILE or mlm or celltype:COLUMN=VALUE"


class Asked(NamedTuple):
    """A behaviour.

    Attributes
    ----------
    kind
        One of `KINDS`.
    name
        Of the gene set, or ``COLUMN=VALUE``.
    genes
        Names as written; empty for a cell type, and for ``mlm`` of all genes.
    listed
        Whether the user wrote every name; then each must be known.
    """

    kind: str
    name: str
    genes: tuple[str, ...] = ()
    listed: bool = False

    @property
    def column(self) -> str:
        """Of obs, for a cell type."""
        return self.name.partition("=")[0]

    @property
    def value(self) -> str:
        """Of the column, for a cell type."""
        return self.name.partition("=")[2]


def read_behaviour(text: str) -> Asked:
    """Read what was asked for, and the files it names.

    Raises
    ------
    UserError
        If it is no behaviour, or its genes cannot be read.
    """
    kind, _, argument = (part.strip() for part in text.partition(":"))
    if kind not in KINDS:
        raise UserError(
            f"behaviour {text!r} is none of {', '.join(f'{k}:...' for k in KINDS)}", _FIX
        )
    if kind == "celltype":
        column, equals, value = (part.strip() for part in argument.partition("="))
        if not (column and equals and value):
            raise UserError(f"behaviour {text!r} does not name a column of obs and a value", _FIX)
        return Asked(kind, f"{column}={value}")
    if not argument:
        if kind == "mlm":
            return Asked(kind, "all genes")
        raise UserError(f"behaviour {text!r} names no genes", _FIX)
    path, _, term = argument.partition("#")
    if Path(argument).is_file():
        path, term = argument, ""
    if Path(path).is_file():
        return Asked(kind, *_of_file(Path(path), term))
    if found := _shipped(argument):
        return Asked(kind, *found)
    names = tuple(dict.fromkeys(n.strip() for n in argument.split(",") if n.strip()))
    if not names:
        raise UserError(f"behaviour {text!r} names no genes", _FIX)
    shown = ", ".join(names[:3])
    return Asked(kind, shown if len(names) <= 3 else f"{shown} ...", names, True)


def _of_file(path: Path, term: str) -> tuple[str, tuple[str, ...]]:
    """Name and genes of a list of genes, or of a term of a gene-set file."""
    from scircuit.analysis.genesets.gene_files import read_text
    from scircuit.analysis.genesets.readers import read_library
    from scircuit.analysis.genesets.regulons import Regulons

    lines = [line.strip() for line in read_text(path).lines]
    if not term and not any("\t" in line or line.startswith(("{", "[")) for line in lines):
        names = (n.strip() for line in lines for n in line.split(",") if not line.startswith("#"))
        genes = tuple(dict.fromkeys(n for n in names if n))
        if genes:
            return path.stem, genes
        raise UserError(f"{path} has no gene names", "give one name a line")
    library = read_library(path)
    terms = (library.library() if isinstance(library, Regulons) else library).terms
    chosen = [t for t in terms if term.casefold() in (t.name.casefold(), t.accession.casefold())]
    if not term and len(terms) == 1:
        chosen = list(terms)
    if len(chosen) != 1:
        some = ", ".join(t.name for t in terms[:3])
        raise UserError(
            f"{path} has {len(terms)} terms ({some} ...), {len(chosen)} of them"
            f" {f'called {term!r}' if term else 'chosen'}; expected one",
            f"name it: {path}#TERM",
        )
    return chosen[0].name, chosen[0].genes


def _shipped(name: str) -> tuple[str, tuple[str, ...]] | None:
    """A term of the shipped libraries by name or accession."""
    from scircuit.analysis.genesets.readers import shipped

    wanted = name.casefold()
    for library in shipped():
        for term in library.terms:
            if wanted in (term.name.casefold(), term.accession.casefold()):
                return term.name, term.genes
    return None


def gene_tokens(asked: Asked, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Token ids of the genes, ascending.

    Raises
    ------
    UserError
        If a gene that the user wrote has no token, or none of a list has.
    """
    from scircuit.tracing.cells.genes.written_names import read_name

    table, tokens, unknown = vocabulary.table, set(), []
    for name in asked.genes:
        gene = table.tokened[read_name(name, table).gene]
        if gene:
            tokens.add(int(vocabulary.token[gene]))
        else:
            unknown.append(name)
    if unknown and (asked.listed or not tokens):
        shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        known = sum(1 for gene in vocabulary.gene_of_token if gene)
        raise UserError(
            f"{len(unknown)} of {len(asked.genes)} genes of {asked.name} are not in the model's"
            f" vocabulary of {known:,} genes, nor a term of a shipped library: {shown}",
            "check the spelling, leave them out, or name a file",
        )
    return tuple(sorted(tokens))
