"""Terms of an atlas: the node of each annotation text, and the term library reconstructed from
published odds ratios.

An annotation names its term by text: ``Cholesterol Biosynthetic Process (GO:0006695)``, ``Cell
Cycle, Mitotic R-HSA-69278``, ``Ribosome``. The gene sets were restricted to a small universe first,
so these terms have separate libraries (``GO_BP-atlas``) and match the full terms by accession only.
The library file gives their size in the pipeline and the members that occurred in an overlap.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scircuit.core.errors import UserError
from scircuit.ingest.importers.atlas.json_fields import (
    LIST,
    OBJECT,
    WHOLE,
    check_type,
    column_of,
    find_files,
    mismatch,
    read_document,
    value_of,
)

LIBRARIES = {"GO_BP": "GO_BP-atlas", "KEGG": "KEGG-atlas", "Reactome": "Reactome-atlas"}
TF_ONTOLOGY, TF_TEXT, TF_LIBRARY = "TRRUST_TF_enrichment", "transcription_factors", "TRRUST-atlas"
PAIR_DENSITIES = {"STRING_edges": "string_density", "TRRUST_edges": "trrust_density"}
"""Counts of gene pairs: the file gives a density instead of p, and there was no test."""
CAPTION = 32
LIBRARY_FILE = re.compile(r"term_library\.json")
_ACCESSION = re.compile(r"(?P<name>.+?)\s+(?:\((?P<go>GO:\d{7})\)|(?P<reactome>R-[A-Z]{3}-\d+))")


class Term(NamedTuple):
    """A term as the annotations name it."""

    library: str
    accession: str
    name: str

    @property
    def id(self) -> str:
        """Key of the ``Term`` node."""
        return f"{self.library}:{self.accession}"


def term_of(ontology: str, text: str) -> Term:
    """Term of an annotation; the accession by pattern, KEGG by name.

    Raises
    ------
    UserError
        If the ontology is not one of an atlas.
    """
    if ontology == TF_ONTOLOGY:
        return Term(TF_LIBRARY, TF_TEXT, "transcription factors")
    if ontology not in LIBRARIES:
        known = ", ".join([*LIBRARIES, TF_ONTOLOGY, *PAIR_DENSITIES])
        raise UserError(
            f"unknown ontology {ontology!r} of the term {text!r}; an atlas has {known}",
            "check the annotation files",
        )
    match = _ACCESSION.fullmatch(text) if ontology != "KEGG" else None
    if match:
        return Term(LIBRARIES[ontology], match["go"] or match["reactome"], match["name"])
    return Term(LIBRARIES[ontology], text, text)


def short_label(text: str) -> str:
    """Label without its accession, for captions; empty for untested gene pairs."""
    if text in ("pairwise_enrichment", ""):
        return ""
    match = _ACCESSION.fullmatch(text)
    return match["name"] if match else text.replace("_", " ")


def caption(label: str) -> str:
    """Label cut to the length of captions of own labels."""
    return label if len(label) <= CAPTION else label[: CAPTION - 1].rstrip() + "…"


class TermLibrary(NamedTuple):
    """The reconstructed library: size and observed members of each term, and background genes of
    each layer by family of the atlas.
    """

    file: str
    sha256: str
    terms: dict[Term, tuple[int, list[str]]]
    backgrounds: dict[str, dict[str, int]]

    def id(self, name: str) -> str:
        """Key of a ``GeneSetLibrary`` node: name and hash, so two reconstructions are two nodes."""
        return f"{name}:{self.sha256[:12]}" if self.sha256 else name


NO_LIBRARY = TermLibrary("", "", {}, {})


def read_library(path: Path) -> TermLibrary:
    """Read ``term_library.json``: ``{"backgrounds": {atlas: {layer: n}}, "terms": {"GO_BP|text":
    {size_in_pipeline, genes_seen}}}``.

    Raises
    ------
    UserError
        If the file is damaged, has another form, or two of its terms have one accession.
    """
    document = read_document(path)
    where = f"{path.name} term"
    content = check_type(document.value, OBJECT, path.name)
    terms_by_text = value_of(content, "terms", OBJECT, path.name)
    sizes = column_of(list(terms_by_text.values()), "size_in_pipeline", WHOLE, where)
    seen = column_of(list(terms_by_text.values()), "genes_seen", LIST, where)
    found: dict[Term, tuple[int, list[str]]] = {}
    texts: dict[str, str] = {}
    for key, size, genes in zip(terms_by_text, sizes, seen, strict=True):
        ontology, bar, text = key.partition("|")
        if not bar or set(map(type, genes)) - {str}:
            raise UserError(
                f"{path.name}: {key[:60]!r} should be 'ontology|term' with a list of gene symbols",
                "use the reconstructed library as it is",
            )
        if len(set(genes)) < len(genes) or len(genes) > size:
            raise UserError(
                f"{path.name}: {key[:60]!r} lists {len(genes)} genes ({len(set(genes))} distinct)"
                f" of a set of {size}",
                "use the library as it is",
            )
        one = term_of(ontology, text)
        if one.id in texts:
            raise UserError(
                f"{path.name}: {texts[one.id]!r} and {key!r} are both {one.id}",
                "delete one of them",
            )
        texts[one.id] = key
        found[one] = (size, genes)
    backgrounds = content.get("backgrounds", {})
    return TermLibrary(
        document.name, document.sha256, found, backgrounds if isinstance(backgrounds, dict) else {}
    )


def library_path(folder: Path, given: Path | None) -> Path | None:
    """Term library to read: the given one, else that in the folder, else that beside it."""
    if given is not None:
        if not Path(given).is_file():
            raise UserError(
                f"there is no term library {given}", "leave --terms out to import without one"
            )
        return Path(given)
    for place in (folder, folder.parent):
        if found := find_files(place, LIBRARY_FILE):
            return found["term_library.json"]
    return None


def unique_terms(terms: Iterable[Term]) -> list[Term]:
    """Distinct terms in order.

    Raises
    ------
    UserError
        If one accession has two names.
    """
    distinct = list(dict.fromkeys(terms))
    twice = [i for i, n in Counter(t.id for t in distinct).items() if n > 1]
    if twice:
        names = " and ".join(repr(t.name) for t in distinct if t.id == twice[0])
        raise mismatch(f"{twice[0]} has two names: {names}")
    return distinct
