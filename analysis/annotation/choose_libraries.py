"""The gene sets of an annotate run: shipped libraries and given files, with today's gene symbols,
closed over an ontology where one is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from scircuit.analysis.annotation.library_records import Closure
from scircuit.analysis.genesets.aliases import update_library, update_regulons
from scircuit.analysis.genesets.gene_names import with_symbols
from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.analysis.genesets.ontology import close, is_a
from scircuit.analysis.genesets.readers import read_library, shipped
from scircuit.analysis.genesets.regulons import Regulons
from scircuit.analysis.genesets.trrust import shipped_trrust
from scircuit.core.errors import UserError


class LibraryOptions(Protocol):
    """The options that are read (`scircuit.core.config.AnnotateConfig`)."""

    @property
    def shipped(self) -> bool:
        """Use the shipped libraries."""
        ...

    @property
    def gmt(self) -> tuple[Path, ...]:
        """Gene-set files."""
        ...

    @property
    def obo(self) -> tuple[Path, ...]:
        """Ontology files."""
        ...


class ChosenLibraries(NamedTuple):
    """Gene sets, the regulons whose modes are kept beside their target sets, and the closed
    libraries by name.
    """

    libraries: tuple[GeneSetLibrary, ...]
    regulons: Regulons | None
    closed: Mapping[str, Closure]

    @property
    def all(self) -> tuple[GeneSetLibrary, ...]:
        """All gene sets, the target sets of the regulons included."""
        return (*self.libraries, *((self.regulons.library(),) if self.regulons else ()))


def refuse_unmapped_libraries(
    libraries: Sequence[GeneSetLibrary], has_gene: Callable[[str], bool]
) -> None:
    """Refuse libraries of which few genes have an Ensembl id.

    Raises
    ------
    UserError
        If fewer than a fifth of a library's symbols pass `has_gene`.
    """
    for lib in libraries:
        genes = lib.genes
        unmapped = [g for g in sorted(genes) if not has_gene(g)]
        mapped = len(genes) - len(unmapped)
        if mapped < 0.2 * len(genes):
            lost = ", ".join(unmapped[:3])
            raise UserError(
                f"{mapped} of {len(genes)} genes of library {lib.name} ({lib.file}) have a known"
                f" Ensembl id; first unmapped: {lost}",
                "give a library of human genes, by symbols or Ensembl gene ids (ENSG...)",
            )


def choose_libraries(
    options: LibraryOptions,
    is_human: Callable[[str], bool],
    symbol_of: Callable[[str], str] = lambda _ensembl: "",
) -> ChosenLibraries:
    """Read the gene sets of a configuration.

    Parameters
    ----------
    options
        Which libraries and files.
    is_human
        Whether a symbol, in any case, is that of a human gene with an Ensembl id.
    symbol_of
        The symbol of an Ensembl id, empty where it is not known; for gene sets of Ensembl ids.

    Raises
    ------
    UserError
        If a file is refused, or there are no gene sets.
    """
    libraries: list[GeneSetLibrary] = list(shipped()) if options.shipped else []
    regulons = shipped_trrust() if options.shipped else None
    for path in options.gmt:
        found = read_library(path, is_gene=is_human)
        if not isinstance(found, Regulons):
            libraries.append(with_symbols(found, symbol_of))
        elif regulons is None:
            regulons = found
        else:
            libraries.append(found.library())
    libraries = [update_library(lib, is_human)[0] for lib in libraries]
    regulons = update_regulons(regulons, is_human)[0] if regulons else None
    refuse_unmapped_libraries(ChosenLibraries(tuple(libraries), regulons, {}).all, is_human)
    closed: dict[str, Closure] = {}
    for path in options.obo:
        with_go = [
            lib for lib in libraries if any(t.accession.startswith("GO:") for t in lib.terms)
        ]
        if not with_go:
            raise UserError(
                f"no library has the GO accessions that {path} relates",
                "give a GO library, or leave --obo out",
            )
        for lib in with_go:
            whole = close(lib, path)
            closed[lib.name] = Closure(whole, lib, is_a(whole, path))
        libraries = [closed[lib.name].library if lib.name in closed else lib for lib in libraries]
    if not libraries and regulons is None:
        raise UserError(
            "there are no gene sets: the shipped libraries are off and no file was given",
            "give gene-set files with --gmt",
        )
    return ChosenLibraries(tuple(libraries), regulons, closed)
