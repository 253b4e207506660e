"""STRING pairs -> one gene set for each protein: its partners at high confidence (combined score of
0.7 and more).

The number of pairs within a list of top genes says nothing without a null: among 20 genes of one
tissue some pairs always occur. The partners of one protein are a gene set like any other, so they
are tested with the same matched random lists. Two formats are read: the export of the web page
(``#node1 node2 ... combined_score``, scores up to 1) and ``protein.links`` (scores up to 1000), the
latter only if its names are genes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scircuit.analysis.genesets.build_library import TermCollector, build_library
from scircuit.analysis.genesets.gene_files import GeneFile
from scircuit.analysis.genesets.library import GeneSetLibrary
from scircuit.core.errors import UserError

HIGH_CONFIDENCE = 0.7  # as STRING defines high confidence
_FIX = (
    "a STRING file has a header with node1 and node2 (web export) or protein1 and protein2, and"
    " combined_score"
)


def pairs_library(
    pairs: Iterable[tuple[str, str]],
    source: GeneFile,
    path: Path | str,
    *,
    name: str,
    release: str,
    licence: str,
    notes: Sequence[str] = (),
) -> GeneSetLibrary:
    """One term for each gene, holding the genes it is paired with; a pair counts once, in either
    direction.

    Raises
    ------
    UserError
        If there is no pair, or the genes are those of a mouse.
    """
    partners: dict[str, list[str]] = {}
    distinct = {tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1]}
    for a, b in sorted(distinct):
        partners.setdefault(a, []).append(b)
        partners.setdefault(b, []).append(a)
    if not partners:
        raise UserError(f"{path} has no pair of genes", _FIX)
    collector = TermCollector()
    for gene in sorted(partners):
        collector.add(f"{gene} partners", "", partners[gene], accession=gene)
    remark = (
        f"{len(distinct)} pairs are read as the partners of each of {len(partners)} genes; pairs"
        " within a list are not counted"
    )
    return build_library(collector, source, path, name, release, licence, [*notes, remark])


def read_pairs(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    source: GeneFile,
    path: Path | str,
    *,
    name: str,
    release: str,
    licence: str,
) -> GeneSetLibrary:
    """Partners of every protein in a table of pairs.

    Parameters
    ----------
    header, rows
        Column names in lower case, and the cells below them.

    Raises
    ------
    UserError
        If the proteins go by Ensembl protein ids, are not human, or a score is no number.
    """
    first, second = (
        next(header.index(c) for c in names if c in header)
        for names in (("node1", "protein1"), ("node2", "protein2"))
    )
    ids = next((header.index(c) for c in ("node1_string_id", "protein1") if c in header), first)
    species = {
        row[ids].split(".")[0]
        for row in rows
        if "." in row[ids] and row[ids].split(".")[0].isdigit()
    }
    if species - {"9606"}:
        raise UserError(
            f"{path} has proteins of the species {', '.join(sorted(species - {'9606'}))},"
            " expected 9606 (human)",
            "give the human file",
        )
    if any("ENSP0" in row[first] for row in rows[:100]):
        raise UserError(
            f"{path} names proteins by Ensembl protein ids (such as {rows[0][first]}), not by"
            " genes",
            "map them to gene symbols with STRING's protein.info file, or use the web export,"
            " which has both",
        )
    pairs = [(row[first], row[second]) for row in rows]
    notes = []
    if "combined_score" in header:
        at = header.index("combined_score")
        try:
            scores = [float(row[at]) for row in rows]
        except ValueError as error:
            raise UserError(
                f"{path} has a combined_score that is not a number: {error}", _FIX
            ) from None
        whole = 1000.0 if max(scores, default=0.0) > 1 else 1.0
        pairs = [
            pair
            for pair, score in zip(pairs, scores, strict=True)
            if score / whole >= HIGH_CONFIDENCE
        ]
        notes = [
            f"{len(pairs)} of {len(rows)} pairs have a combined score of {HIGH_CONFIDENCE:g} or"
            " more; the others are left out"
        ]
    return pairs_library(
        pairs, source, path, name=name, release=release, licence=licence, notes=notes
    )
