"""Closure of a GO library over is_a: the genes of a term are genes of every term it is a kind of.

Libraries such as Enrichr's are not closed: a parent may have only a fifth of a child's genes. With
an ontology file (OBO) the genes go up along every path of is_a to the root, ``genes*(t) = union of
genes(c) over c = t and its descendants``; part_of and regulates are not followed. Ids that were
merged into another (alt_id) are read as that one. A parent that is not in the library is added as a
term of its own. The file is read by goatools, which is an optional dependency: ``pip install
'scircuit[ontology]'``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from scircuit.analysis.genesets.gene_files import GeneFile, read_text
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.core.errors import UserError


class OntologyTerm(Protocol):
    """The attributes of goatools' ``GOTerm`` that are read."""

    item_id: str
    name: str
    depth: int
    is_obsolete: bool
    parents: set[OntologyTerm]

    def get_all_parents(self) -> set[str]:
        """Ids of all ancestors."""
        ...


_FIX = "download go-basic.obo from the Gene Ontology again; it is free of cycles"


def close(library: GeneSetLibrary, obo: Path | str) -> GeneSetLibrary:
    """Close a library under the is_a relation of an ontology file.

    Parameters
    ----------
    library
        Terms whose accessions are ids of the ontology; the others are kept as they are, and
        counted.
    obo
        OBO file, plain or gzipped.

    Raises
    ------
    UserError
        If goatools is not installed, the file is no OBO, its is_a relation has a cycle or an
        undefined parent, or it knows no term of the library.
    """
    source = read_text(obo)
    records = _records(source, obo)
    main, obsolete, unknown, merged = _ontology_ids(library, records)
    if not main:
        raise UserError(
            f"{obo} has none of the {len(library.terms)} terms of library {library.name} (such as"
            f" {library.terms[0].accession})",
            "is it the ontology of this library? GO libraries need go-basic.obo, and accessions"
            " like GO:0006364",
        )
    own: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for term in library.terms:
        at = main.get(term.accession)
        if at is not None:
            own.setdefault(at, {}).update({g.upper(): g for g in term.genes})
            names.setdefault(at, term.name)
    genes = _upward(own, records)
    added = [a for a in genes if a not in own]
    terms = [
        Term(a, names.get(a) or records[a].name, tuple(genes[a].values()))
        for a in [*own, *sorted(added)]
    ]
    rest = [t for t in library.terms if t.accession not in main]
    gained = sum(len(found) - len(own.get(a, ())) for a, found in genes.items())
    notes = [
        f"closed over is_a of {source.file} ({_release(source.lines)}): {gained:,} memberships by a"
        f" child term, {len(added)} parent terms added"
    ]
    for count, text in (
        (merged, "terms have an id that was merged into another"),
        (obsolete, "terms are obsolete and were not closed"),
        (unknown, "terms are not in the ontology and were not closed"),
    ):
        if count:
            notes.append(f"{count} of {len(library.terms)} {text}")
    digest = hashlib.sha256(f"{library.sha256} {source.sha256}".encode()).hexdigest()
    file = f"{library.file} + {source.file}"
    return replace(
        library,
        terms=(*terms, *rest),
        sha256=digest,
        file=file,
        notes=(*library.notes, *source.notes, *notes),
    )


def is_a(library: GeneSetLibrary, obo: Path | str) -> tuple[tuple[str, str], ...]:
    """Pairs (child, parent) of accessions that the ontology relates directly and that the library
    both has, sorted; raises as `close`.
    """
    records = _records(read_text(obo), obo)
    here = {t.accession for t in library.terms}
    return tuple(
        sorted(
            (a, p.item_id)
            for a in here & records.keys()
            for p in records[a].parents
            if p.item_id in here
        )
    )


# the last ontology read, by hash: close and is_a of several libraries read it once
_READ: dict[str, dict[str, OntologyTerm]] = {}


def _records(source: GeneFile, obo: Path | str) -> dict[str, OntologyTerm]:
    """Terms by id, merged and obsolete ids included, as goatools reads them."""
    if source.sha256 not in _READ:
        found = _parse(source.lines, obo)
        _READ.clear()
        _READ[source.sha256] = found
    return _READ[source.sha256]


def _parse(lines: list[str], obo: Path | str) -> dict[str, OntologyTerm]:
    try:
        from goatools.obo_parser import GODag
    except ImportError:
        raise UserError(
            "reading an ontology needs goatools, which is not installed",
            "pip install 'scircuit[ontology]'",
        ) from None
    import tempfile

    starts = [i for i, line in enumerate(lines) if line.startswith("[Term]")]
    if not starts:
        raise UserError(f"{obo} has no [Term]: it is not an ontology in OBO format", _FIX)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ontology.obo"
        # goatools wants a blank line between records and reads plain files only
        path.write_text(
            "\n".join(f"\n{line}" if line.startswith("[") else line for line in lines) + "\n",
            encoding="utf-8",
        )
        try:
            dag = GODag(str(path), load_obsolete=True, prt=None)
        except KeyError as error:
            raise UserError(
                f"{obo} names the parent {error.args[0]!r}, which it does not define",
                f"the file may be cut short; {_FIX}",
            ) from None
        except RecursionError:
            raise UserError(f"the is_a relation of {obo} has a cycle", _FIX) from None
        except (AssertionError, IndexError, AttributeError, ValueError) as error:
            raise UserError(f"{obo} is damaged: a record cannot be read ({error})", _FIX) from None
    return dict(dag)


def _ontology_ids(
    library: GeneSetLibrary, records: dict[str, OntologyTerm]
) -> tuple[dict[str, str], int, int, int]:
    """Accession -> id in the ontology of the terms that can be closed, and how many are obsolete,
    unknown, merged.
    """
    main: dict[str, str] = {}
    obsolete = unknown = merged = 0
    for term in library.terms:
        record = records.get(term.accession)
        if record is None:
            unknown += 1
        elif record.is_obsolete:
            obsolete += 1
        else:
            main[term.accession] = record.item_id
            merged += record.item_id != term.accession
    return main, obsolete, unknown, merged


def _upward(
    own: dict[str, dict[str, str]], records: dict[str, OntologyTerm]
) -> dict[str, dict[str, str]]:
    """Genes of every term and ancestor, each child before its parents; keys upper case, own
    spelling first.
    """
    genes = {accession: dict(found) for accession, found in own.items()}
    ancestors = {a for accession in own for a in records[accession].get_all_parents()}
    for accession in sorted({*own, *ancestors}, key=lambda a: (-records[a].depth, a)):
        for parent in sorted(p.item_id for p in records[accession].parents):
            for upper, gene in genes[accession].items():
                genes.setdefault(parent, {}).setdefault(upper, gene)
    return genes


def _release(lines: list[str]) -> str:
    return next(
        (line.split(":", 1)[1].strip() for line in lines[:50] if line.startswith("data-version:")),
        "no release stated",
    )
