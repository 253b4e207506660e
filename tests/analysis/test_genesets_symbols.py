"""Retired symbols become those of the vocabulary where one gene alone can be meant, and every
symbol is counted once.
"""

from __future__ import annotations

import gzip

import pytest

from scircuit.analysis.genesets.aliases import Coverage, update_library, update_regulons
from scircuit.analysis.genesets.library import GeneSetLibrary, Term
from scircuit.analysis.genesets.readers import read_library
from scircuit.analysis.genesets.regulons import Regulation, Regulons
from scircuit.core.hgnc import derive, hgnc, parse
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2

NAMES = parse("NEW1\tOLD1\tOTHER1\nOUT\tOLD2\tNEW2\nTWO\tTWOA\tTWOB\tTWOC\n?\tSHARED\n")
KNOWN = {"NEW1", "NEW2", "TWOA", "TWOB", "PLAIN"}.__contains__


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("PLAIN", ("PLAIN", "as_written")),
        ("plain", ("plain", "as_written")),
        ("OLD1", ("NEW1", "renamed")),
        ("OTHER1", ("NEW1", "renamed")),
        ("OLD2", ("NEW2", "renamed")),
        ("OUT", ("NEW2", "renamed")),
        ("TWOC", ("TWOC", "ambiguous")),
        ("SHARED", ("SHARED", "ambiguous")),
        ("old1", ("old1", "lost")),
        ("NOWHERE", ("NOWHERE", "lost")),
    ],
)
def test_each_way_a_symbol_is_resolved(symbol, expected):
    assert NAMES.resolve(symbol, KNOWN) == expected


def test_a_library_is_updated_and_every_symbol_counted():
    library = GeneSetLibrary(
        "L",
        "f",
        "h",
        "",
        "",
        (Term("A", "A", ("OLD1", "NEW1", "PLAIN")), Term("B", "B", ("SHARED", "rev", "OLD2"))),
    )
    new, coverage = update_library(library, KNOWN, NAMES)
    assert [t.genes for t in new.terms] == [("NEW1", "PLAIN"), ("SHARED", "rev", "NEW2")]
    assert coverage == Coverage(as_written=2, renamed=2, ambiguous=1, lost=1)
    assert coverage.mapped == 4
    assert [n.split(":")[0] for n in new.notes] == [
        "2 retired symbols were updated",
        "1 symbols may stand for several genes and were kept as written",
        "1 of 6 symbols have no gene in the vocabulary",
    ]


def test_pairs_that_fall_together_are_merged():
    given = (
        Regulation("OLD1", "PLAIN", "Activation", ("1",)),
        Regulation("NEW1", "PLAIN", "Repression", ("2",)),
        Regulation("NEW1", "OLD2", "Unknown", ("3",)),
    )
    new, coverage = update_regulons(Regulons("R", "f", "h", "", "", given, 3), KNOWN, NAMES)
    assert new.pairs == (
        Regulation("NEW1", "NEW2", "Unknown", ("3",)),
        Regulation("NEW1", "PLAIN", "Both", ("1", "2")),
    )
    assert coverage.mapped == 4


def test_an_approved_symbol_stands_for_itself_and_shared_names_are_ambiguous():
    text = derive(
        [
            ("A", "A"),
            ("B", "B"),
            ("A", "B"),
            ("X", "A"),
            ("X", "B"),
            ("Y", "B"),
            ("Z", "C"),
            ("C", "C"),
        ],
        {"A", "B"},
    )
    assert text == "B\tY\n?\tX\n"


def test_the_shipped_names_are_the_source_restricted(shared_data):
    lines = (
        gzip.decompress((shared_data / "genesets" / "hgnc_alias_to_approved.tsv.gz").read_bytes())
        .decode()
        .splitlines()
    )
    rows = [tuple(line.split("\t")[:2]) for line in lines[1:]]
    assert parse(derive(rows, geneformer_v2().symbol_to_ensembl)) == hgnc()


def test_known_renamings():
    vocabulary = geneformer_v2()
    known = {s.upper() for s in (*vocabulary.symbol_to_ensembl, *vocabulary.outside)}.__contains__
    names = hgnc()
    assert len(names.groups) == 16297
    for old, new in (
        ("ARNTL", "BMAL1"),
        ("CTGF", "CCN2"),
        ("AARS", "AARS1"),
        ("ATP5A1", "ATP5F1A"),
    ):
        assert names.resolve(old, known) == (new, "renamed")
    assert names.resolve("rev", known) == ("rev", "lost")
    assert all(names.resolve(s, known)[1] == "as_written" for s in vocabulary.symbol_to_ensembl)


def test_a_real_library_gains_and_every_update_is_in_the_source(shared_data):
    vocabulary = geneformer_v2()
    known = {s.upper() for s in (*vocabulary.symbol_to_ensembl, *vocabulary.outside)}
    lines = (
        gzip.decompress((shared_data / "genesets" / "hgnc_alias_to_approved.tsv.gz").read_bytes())
        .decode()
        .splitlines()[1:]
    )
    source = {(a.upper(), b.upper()) for a, b in (line.split("\t")[:2] for line in lines)}
    library = read_library(shared_data / "genesets" / "KEGG_2016.gmt")
    assert isinstance(library, GeneSetLibrary)
    new, coverage = update_library(library, known.__contains__)
    assert sum(coverage) == len(library.genes)
    assert coverage.as_written == len(library.genes & known)
    assert coverage.renamed > 200
    before = library.genes
    new_genes = new.genes - before
    assert new_genes <= known
    assert new_genes <= {approved for name, approved in source if name in before} | {
        name for name, approved in source if approved in before
    }
