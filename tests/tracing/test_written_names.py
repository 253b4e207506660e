"""Names whose dashes were replaced by another program: the same tokens, and nothing taken for a
gene that is none.
"""

import re
import shlex

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.errors import UserError
from scircuit.tracing.cells.genes.written_names import How, read_name
from scircuit.tracing.cells.identifiers import identify
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.folder_vocabulary import with_names
from tests.support.plain_tokens import draw, renamed, table, tokens
from tests.support.token_outcome import outcome


def make_names(symbol):
    """As R's make.names writes it."""
    return "X" * symbol[0].isdigit() + symbol.replace("-", ".")


def mitochondrial(symbol):
    return symbol.lower() if symbol.startswith("MT-") else symbol


WAYS = {
    "as it is": str,
    "make.names": make_names,
    "underscores": lambda s: s.replace("-", "_"),
    "Seurat": lambda s: s.replace("_", "-"),
    "spaces": lambda s: s.replace("-", " "),
    "U+2010": lambda s: s.replace("-", "\u2010"),
    "U+2011": lambda s: s.replace("-", "\u2011"),
    "U+2013": lambda s: s.replace("-", "\u2013"),
    "U+2212": lambda s: s.replace("-", "\u2212"),
    "mt- in lower case": mitochondrial,
    "mt_ in lower case": lambda s: mitochondrial(s).replace("mt-", "mt_"),
    "genome, dash": lambda s: f"GRCh38-{s}".replace("_", "-"),
    "genome, three dashes": lambda s: f"hg19---{s}".replace("_", "-"),
    "genome of 2020, dashes": lambda s: f"GRCh38-2020-A-{s}".replace("_", "-"),
    "genome, make.names": lambda s: f"GRCh38_{make_names(s)}",
}


@pytest.fixture(scope="module")
def vocabulary():
    return geneformer_v2()


@pytest.fixture(scope="module")
def symbols():
    """Every symbol that has a dash or a digit in front, with a token or not."""
    _, known, _, outside = table()
    return [s for s in (*known, *outside) if re.search(r"[-_.]|^\d", s)]


def copy_of(name, known):
    """The symbol that a name may be a copy of, as ``TBCE-1`` is of TBCE."""
    found = re.fullmatch(r"(.+)[-._]\d+", name)
    return found[1] if found and found[1] in known else ""


@pytest.mark.parametrize("way", WAYS)
def test_every_symbol_with_other_dashes(way, symbols, vocabulary):
    numbers = vocabulary.table.exact
    wrong = []
    for symbol in symbols:
        name = WAYS[way](symbol)
        read = read_name(name, vocabulary.table)
        bare = re.sub(r"^(GRCh38-2020-A|GRCh38|hg19)[-_]+", "", name)
        doubt = bare not in numbers and copy_of(bare, numbers)
        right = read.how == How.COPY if doubt else read.gene == numbers[symbol]
        if not right:
            wrong.append((symbol, name, read))
    assert not wrong, wrong[:5]
    assert sum(WAYS[way](s) != s for s in symbols) > 5 or way == "as it is"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_tokens_are_those_of_the_symbols(way, seed, tmp_path, vocabulary):
    cells = draw(seed, genes=1_200)
    cells.symbols[:4], cells.genes[:4] = zip(
        *((s, vocabulary.symbol_to_ensembl[s]) for s in ("MT-CO1", "HLA-A", "MT-ND4L", "NKX2-5")),
        strict=True,
    )
    keep = [i for i, s in enumerate(cells.symbols) if s not in cells.symbols[:i] and s != "C4B_2"]
    counts, genes = cells.counts[:, keep], [cells.genes[i] for i in keep]
    counts[:, :4] += 40
    names = [WAYS[way](cells.symbols[i]) for i in keep]
    path = tmp_path / "cells.h5ad"
    var = pd.DataFrame(index=names)
    anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), var=var).write_h5ad(path)
    got, said = outcome(path, tokens(counts, genes), min_mapped=0.5)
    assert got == "exact", said
    whole = {"as it is", "Seurat", "mt- in lower case"} | {w for w in WAYS if ", " in w}
    assert way in whole - {"genome, make.names"} or "symbols with other dashes followed" in said


def test_what_is_said_of_other_dashes(vocabulary):
    found = identify(pd.DataFrame(index=["HLA.A", "MT_CO1", "TP53", "X7SK"]), vocabulary)
    assert "3 symbols with other dashes followed, such as HLA.A to HLA-A" in found.sentence()
    # a gene that is there under its own name is not added to
    both = identify(pd.DataFrame(index=["HLA-A", "HLA.A", "TP53"]), vocabulary)
    assert both.status.tolist() == ["mapped", "left out", "mapped"] and not both.duplicates
    two = identify(pd.DataFrame(index=["HLA_A", "HLA.A", "TP53"]), vocabulary)
    assert two.status.tolist() == ["left out", "left out", "mapped"]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((n, How.COPY) for n in ("TBCE-1", "TBCE.1", "TBCE_1", "HLA-A.1", "HLA.A.1", "HLA_A_1")),
        *((n, How.UNKNOWN) for n in ("X7SKX", "TP53-", "-TP53", "TP-53", "T.P53", "CD4-ADT", "X1")),
        *((n, How.UNKNOWN) for n in ("GRCh38-", "GRCh38-NOGENE", "Hla-a.x", "H2-K1", "H2.K1")),
        *((n, How.UNKNOWN) for n in ("mt.Co1", "Nkx2.5", "Hla.a")),  # as a mouse is written
        *((n, How.FOREIGN) for n in ("mm10-Trp53", "mm10---Trp53", "GRCm39-2024-A-Actb", "rn6-A")),
        *((n, How.RODENT) for n in ("mt-Co1", "Hla-a", "Nkx2-5")),
    ],
)
def test_other_dashes_make_no_gene_of(name, how, vocabulary):
    read = read_name(name, vocabulary.table)
    assert (read.gene, read.how) == (-1, how)


def test_old_symbols_come_before_other_dashes(vocabulary):
    for old, new in renamed().items():
        read = read_name(old, vocabulary.table)
        assert read[:2] == (vocabulary.table.exact[new], How.RENAMED), old


def test_a_model_of_symbols_as_written_follows_no_other_dashes(vocabulary, tmp_path):
    (tmp_path / "gene_names.json").write_text('{"follow_old_symbols": 0}')
    plain = with_names(vocabulary, tmp_path)
    assert identify(pd.DataFrame(index=["HLA.A", "TP53", "MYC"]), plain).count("mapped") == 2


SHIFTED = [
    ("index", {}, ("index", "var:index")),
    ("gene_ids", {}, ("index", "gene_ids")),
    ("gene's symbol", {}, ("index", "'gene'\"'\"'s symbol'")),
    ('"id"', {}, ("index", "'\"id\"'")),
    ("var:gene_id", {}, ("index", "var:var:gene_id")),
    ("index", {"gene_ids": 0, "var:index": 0}, ("index", "var:index")),
]


@pytest.mark.parametrize(("column", "more", "options"), SHIFTED)
def test_the_columns_that_a_refusal_names_are_those_it_means(column, more, options, vocabulary):
    cells = draw(5, cells=1, genes=300)
    moved = cells.genes[1:] + cells.genes[:1]
    var = pd.DataFrame({column: moved, **dict.fromkeys(more, "")}, index=cells.symbols)
    with pytest.raises(UserError) as error:
        identify(var, vocabulary)
    assert error.value.fix.endswith(" or ".join(f"--gene-column {o}" for o in options))
    expected = tuple(g if g in vocabulary.token else "" for g in cells.genes)
    by_index, by_column = (
        identify(var, vocabulary, shlex.split(option)[0]).genes for option in options
    )
    assert by_index == expected and by_column == expected[1:] + expected[:1]


def test_index_is_the_index_and_a_column_of_that_name_is_named(vocabulary):
    var = pd.DataFrame({"index": ["TP53", "MYC"]}, index=["GATA1", "CD4"])
    found = identify(var, vocabulary, "index")
    assert found.names == ("GATA1", "CD4")
    assert "a column of that name too, which --gene-column var:index takes" in found.sentence()
    with pytest.raises(UserError, match="it has index, var:index"):
        identify(var, vocabulary, "genes")
