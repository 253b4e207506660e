"""The records of an annotate run that describe its gene sets: libraries, terms, their members and
parents, and the genes that occur anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np

from scircuit.analysis.annotation.results import TestedFeatures
from scircuit.analysis.enrichment.gene_term_matrix import KeptTerm
from scircuit.analysis.genesets.gene_names import GeneNames
from scircuit.core.schema import schema_table

if TYPE_CHECKING:
    import pyarrow as pa

    from scircuit.analysis.genesets.library import GeneSetLibrary
    from scircuit.analysis.genesets.regulons import Regulons


class Closure(NamedTuple):
    """A library closed over an ontology, as it was before, and the (child, parent) accessions among
    its terms (`scircuit.analysis.genesets.ontology`).
    """

    library: GeneSetLibrary
    before: GeneSetLibrary
    is_a: tuple[tuple[str, str], ...]

    def own(self) -> dict[str, set[str]]:
        """Genes that each term had in its file, upper case, by accession."""
        return {t.accession: {g.upper() for g in t.genes} for t in self.before.terms}


class CoverageRow(TypedDict):
    """Terms and genes of a library in the background."""

    library: str
    terms_read: int
    terms_kept: int
    genes_mapped: int
    genes_ambiguous: int
    genes_lost: int


def term_table(terms: Sequence[KeptTerm]) -> pa.Table:
    """Node table of the terms; backgrounds of several layers may hold different numbers of a term's
    genes, and the largest is kept.
    """
    largest: dict[str, KeptTerm] = {}
    for t in terms:
        if t.id not in largest or largest[t.id].size_in_background < t.size_in_background:
            largest[t.id] = t
    hit = sorted(largest.values(), key=lambda t: t.id)
    return schema_table(
        "Term",
        {
            "id": [t.id for t in hit],
            "name": [t.name for t in hit],
            "library": [t.library for t in hit],
            "accession": [t.accession for t in hit],
            "size": [t.size for t in hit],
            "size_in_background": [t.size_in_background for t in hit],
        },
    )


def library_id(library: GeneSetLibrary) -> str:
    """Key of the ``GeneSetLibrary`` node: name and hash, so two releases are two nodes."""
    return f"{library.name}:{library.sha256[:12]}"


def coverage_of(
    tests: TestedFeatures, libraries: Sequence[GeneSetLibrary], names: GeneNames
) -> list[CoverageRow]:
    """Terms kept in some layer, and genes in the background of some layer (mapped), of them those
    whose symbol several Ensembl ids share, and lost.
    """
    background = {g.upper() for g in names.background}
    kept: dict[str, set[str]] = {}
    for incidence in {id(b.incidence): b.incidence for b in tests.blocks}.values():
        for t in incidence.terms:
            kept.setdefault(t.library, set()).add(t.accession)
    return [
        {
            "library": lib.name,
            "terms_read": len(lib.terms),
            "terms_kept": len(kept.get(lib.name, ())),
            "genes_mapped": len(lib.genes & background),
            "genes_ambiguous": len(lib.genes & names.shared),
            "genes_lost": len(lib.genes - background),
        }
        for lib in libraries
    ]


def library_table(coverage: Sequence[CoverageRow], libraries: Sequence[GeneSetLibrary]) -> pa.Table:
    """Node table of the libraries, with what became of them (`coverage_of`)."""
    return schema_table(
        "GeneSetLibrary",
        {
            "id": [library_id(lib) for lib in libraries],
            "name": [lib.name for lib in libraries],
            "file": [lib.file for lib in libraries],
            "sha256": [lib.sha256 for lib in libraries],
            "release": [lib.release for lib in libraries],
            "licence": [lib.licence for lib in libraries],
            "terms": [c["terms_kept"] for c in coverage],
            "genes_mapped": [c["genes_mapped"] for c in coverage],
            "genes_ambiguous": [c["genes_ambiguous"] for c in coverage],
            "genes_lost": [c["genes_lost"] for c in coverage],
        },
    )


def hierarchy_tables(terms: pa.Table, closed: Mapping[str, Closure]) -> dict[str, pa.Table]:
    """The stored terms with all their ancestors in the ontology, and the ``IS_A`` between them."""
    import pyarrow as pa

    stored = set(terms.column("id").to_pylist())
    above: dict[str, tuple[str, str, str, int]] = {}
    pairs: list[tuple[str, str]] = []
    for name, closure in closed.items():
        parents: dict[str, list[str]] = {}
        for child, parent in closure.is_a:
            parents.setdefault(child, []).append(parent)
        term_of = {t.accession: t for t in closure.library.terms}
        queue = [a for a in term_of if f"{name}:{a}" in stored]
        seen = set(queue)
        while queue:
            child = queue.pop()
            for parent in parents.get(child, ()):
                pairs.append((f"{name}:{child}", f"{name}:{parent}"))
                if parent not in seen:
                    seen.add(parent)
                    queue.append(parent)
                    above[f"{name}:{parent}"] = (
                        name,
                        parent,
                        term_of[parent].name,
                        len(term_of[parent].genes),
                    )
    rows = sorted((key, *values) for key, values in above.items())
    more = schema_table(
        "Term",
        {
            "id": [r[0] for r in rows],
            "name": [r[3] for r in rows],
            "library": [r[1] for r in rows],
            "accession": [r[2] for r in rows],
            "size": [r[4] for r in rows],
            "size_in_background": [None] * len(rows),
        },
    )
    source, target = zip(*sorted(pairs), strict=True) if pairs else ((), ())
    return {
        "Term": pa.concat_tables([terms, more]),
        "Term-IS_A-Term": schema_table(
            "Term-IS_A-Term", {"source": list(source), "target": list(target)}
        ),
    }


def member_tables(
    tests: TestedFeatures,
    libraries: Sequence[GeneSetLibrary],
    names: GeneNames,
    closed: Mapping[str, Closure],
) -> dict[str, pa.Table]:
    """Listed genes -> stored terms -> libraries."""
    of_library = {lib.name: library_id(lib) for lib in libraries}
    listed = {names.symbol[g].upper() for row in tests.tops.genes for g in row}
    stored: dict[str, KeptTerm] = {}
    pairs: dict[tuple[str, str], str] = {}
    own = {name: closure.own() for name, closure in closed.items()}
    for number, block in enumerate(tests.blocks):
        by_term = block.incidence.matrix.tocsc()
        stored_here = [
            s.column[s.block == number] for s in (tests.reported, tests.weighted) if s is not None
        ]
        for c in np.unique(np.concatenate(stored_here)).tolist():
            term = stored.setdefault(block.incidence.terms[c].id, block.incidence.terms[c])
            members = (
                block.incidence.genes[g]
                for g in by_term.indices[by_term.indptr[c] : by_term.indptr[c + 1]].tolist()
            )
            file = own.get(term.library)
            for g in members:
                if g.upper() in listed:
                    by_child = file is not None and g.upper() not in file.get(term.accession, ())
                    pairs[names.gene_id(g), term.id] = "closure" if by_child else "library"
    ordered = sorted(pairs)
    terms = sorted(stored)
    return {
        "Gene-MEMBER_OF-Term": schema_table(
            "Gene-MEMBER_OF-Term",
            {
                "source": [s for s, _ in ordered],
                "target": [t for _, t in ordered],
                "origin": [pairs[x] for x in ordered],
            },
        ),
        "Term-MEMBER_OF-GeneSetLibrary": schema_table(
            "Term-MEMBER_OF-GeneSetLibrary",
            {"source": terms, "target": [of_library[stored[t].library] for t in terms]},
        ),
    }


def gene_table(
    found: Mapping[str, pa.Table], trrust: Regulons | None, names: GeneNames
) -> pa.Table:
    """Node table of every gene in the other tables; ``is_tf`` is never False, because another
    library may list the gene as a transcription factor.
    """
    ids: set[str] = set()
    written = {
        names.gene_id(s): s for p in (trrust.pairs if trrust else ()) for s in (p.tf, p.target)
    }
    for kind, column in (
        ("Feature-LOADS_ON-Gene", "target"),
        ("Gene-MEMBER_OF-Term", "source"),
        ("Gene-REGULATES-Gene", "source"),
        ("Gene-REGULATES-Gene", "target"),
    ):
        if kind in found:
            ids.update(found[kind].column(column).to_pylist())
    tfs = trrust.tfs if trrust else set()
    ordered = sorted(ids)
    symbols = [names.symbol.get(g) or written.get(g) or g.removeprefix("symbol:") for g in ordered]
    return schema_table(
        "Gene",
        {
            "id": ordered,
            "name": symbols,
            "symbol": symbols,
            "is_tf": [True if s.upper() in tfs else None for s in symbols],
        },
    )
