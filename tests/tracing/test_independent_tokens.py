"""Files with every kind of fault in the names of their genes give exactly the tokens of the cells
they were made from, or are refused: 20 files a kind, at two sizes.

The tokens are worked out by `tests.support.plain_tokens` from the generator's own genes and counts.
What must not be refused because it can be read (*harmless*) and what must be because nobody could
tell (*hopeless*) is said per kind: a reader that refuses everything would fail here too.
"""

import re
from functools import cache

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from tests.support.plain_tokens import draw, renamed, table, tokens
from tests.support.token_outcome import outcome

SIZES = ((14, 700), (30, 2_000))
FILES = 20


def shares(rng):
    """The share of a column that is filled."""
    return float(rng.uniform(0.55, 0.95))


def rotated(values, by):
    return [*values[by:], *values[:by]]


def holes(values, rng, empty):
    keep = rng.random(len(values)) < shares(rng)
    return [v if k else empty for v, k in zip(values, keep, strict=True)]


def mouse_ids(n):
    return [f"ENSMUSG{i:011d}" for i in range(1, n + 1)]


# Each kind: (cells, rng, file number) -> the table of genes as a file holds it.


def plain_symbols(cells, rng, i):
    return pd.DataFrame(index=cells.symbols)


def plain_ids(cells, rng, i):
    return pd.DataFrame({"symbol": cells.symbols}, index=cells.genes)


def shifted_ids(cells, rng, i):
    name = ("gene_ids", "ensembl_id", "Ensembl.ID", "gene_id", "feature_id")[i % 5]
    by = int(rng.integers(1, 20)) * (1 if i % 2 else -1)
    return pd.DataFrame({name: rotated(cells.genes, by)}, index=cells.symbols)


def permuted_ids(cells, rng, i):
    ids = [cells.genes[j] for j in rng.permutation(len(cells.genes))]
    frame = pd.DataFrame({"gene_ids": ids, "gene_symbols": cells.symbols})
    frame.index = cells.symbols if i % 2 else [str(n) for n in range(len(ids))]
    return frame


def shifted_in_part(cells, rng, i):
    """As after a merge of two tables of which one was sorted."""
    n = len(cells.genes)
    start = int(rng.integers(0, n // 2))
    stop = start + int(n * rng.uniform(0.2, 0.5))
    ids = list(cells.genes)
    ids[start:stop] = rotated(ids[start:stop], 1)
    return pd.DataFrame({"gene_ids": ids}, index=cells.symbols)


def exchanged_rows(cells, rng, i):
    """A few rows only: less than renamed symbols may differ in."""
    at = rng.choice(len(cells.genes), 3 + i % 5, replace=False)
    ids = list(cells.genes)
    for a, b in zip(at, rotated(at.tolist(), 1), strict=True):
        ids[a] = cells.genes[b]
    return pd.DataFrame({("gene_ids", "ens_id")[i % 2]: ids}, index=cells.symbols)


def shifted_symbols(cells, rng, i):
    return pd.DataFrame({"feature_name": rotated(cells.symbols, 1 + i)}, index=cells.genes)


def ids_of_other_genes(cells, rng, i):
    name = ("host_gene_id", "nearest_gene", "target_gene", "ParentGene", "paralog_ensembl_gene")
    ids = [cells.genes[j] for j in rng.permutation(len(cells.genes))]
    ids = ids if i % 2 else holes(ids, rng, None)
    return pd.DataFrame({name[i % 5]: pd.Series(ids, dtype=object)}).set_axis(cells.symbols)


def unknown_column_of_other_genes(cells, rng, i):
    name = ("anchor", "xref", "partner2", "ann", "module_hub")[i % 5]
    ids = [cells.genes[j] for j in rng.permutation(len(cells.genes))]
    return pd.DataFrame({name: ids}, index=cells.symbols)


def orthologues(cells, rng, i):
    names = ("mouse_gene_id", "ortholog", "mmusculus_homolog_ensembl_gene", "mm_id", "mouse_symbol")
    other = mouse_ids(len(cells.genes)) if i % 5 < 4 else [s.capitalize() for s in cells.symbols]
    return pd.DataFrame(
        {names[i % 5]: holes(other, rng, None)}, index=cells.genes if i % 2 else cells.symbols
    )


def mouse_cells_with_human_orthologues(cells, rng, i):
    name = ("human_ortholog", "hs_gene", "ortholog_id", "human_symbol")[i % 4]
    genes = cells.symbols if i % 2 else cells.genes
    if i % 3:
        return pd.DataFrame({name: genes}, index=mouse_ids(len(genes)))
    return pd.DataFrame({name: genes}, index=[s.capitalize() for s in cells.symbols])


def partly_filled_ids(cells, rng, i):
    empty = (None, "", "nan", "NA", np.nan)[i % 5]
    return pd.DataFrame({"gene_ids": holes(cells.genes, rng, empty)}, index=cells.symbols)


def partly_filled_category(cells, rng, i):
    ids = holes(cells.genes, rng, None)
    return pd.DataFrame({"ensembl_id": pd.Categorical(ids)}, index=cells.symbols)


def partly_filled_symbols(cells, rng, i):
    """Ids in the index are cut in part, symbols are there in part: every row has one of them."""
    n = len(cells.genes)
    lost = rng.random(n) > shares(rng)
    ids = [f"row{j}" if x else g for j, (g, x) in enumerate(zip(cells.genes, lost, strict=True))]
    also = lost | (rng.random(n) < 0.5)
    names = [s if x else None for s, x in zip(cells.symbols, also, strict=True)]
    return pd.DataFrame({"gene_symbol": pd.Series(names, dtype=object)}).set_axis(ids)


def partly_filled_and_shifted(cells, rng, i):
    return pd.DataFrame(
        {"gene_ids": holes(rotated(cells.genes, 1), rng, None)}, index=cells.symbols
    )


def suffixed_symbols(cells, rng, i):
    forms = ("{s}_{g}", "{s}|{g}", "{s} ({g})", "{s}--{g}", "{s}:{g}.3")
    return pd.DataFrame(index=named(forms[i % 5], cells))


def prefixed_symbols(cells, rng, i):
    forms = ("{g}_{s}", "GRCh38_{s}", "hg19_{g}", "{g}|{s}", "GRCh38______{s}", "gene:{g}")
    return pd.DataFrame(index=named(forms[i % 6], cells))


def bytes_as_text(cells, rng, i):
    forms = ("b'{s}'", "b'{g}'", " {s} ", '"{s}"', "{s}\t")
    return pd.DataFrame(index=named(forms[i % 5], cells))


def halves_that_disagree(cells, rng, i):
    other = rotated(cells.symbols, 1 + i)
    return pd.DataFrame(index=[f"{s}_{g}" for s, g in zip(other, cells.genes, strict=True)])


def versions(cells, rng, i):
    ids = [f"{g}.{v}" for g, v in zip(cells.genes, rng.integers(1, 20, 9_999), strict=False)]
    if i % 2:
        return pd.DataFrame(index=ids)
    return pd.DataFrame({"gene_ids": ids}, index=[f"r{n}" for n in range(len(ids))])


def numbered_index(cells, rng, i):
    name, values = [("feature_name", cells.symbols), ("names", cells.genes)][i % 2]
    return pd.DataFrame({name: values}, index=[str(n) for n in range(len(values))])


@cache
def old_symbols():
    old_of = {}
    for old, new in sorted(renamed().items()):
        old_of.setdefault(new, []).append(old)
    return old_of


def with_renamed(cells, rng):
    """Old symbols for the genes that have one; the rest stays."""
    names = []
    for symbol in cells.symbols:
        old = old_symbols().get(symbol) if rng.random() < 0.3 else None
        names.append(old[int(rng.integers(len(old)))] if old else symbol)
    return names


def renamed_symbols(cells, rng, i):
    return pd.DataFrame(index=with_renamed(cells, rng))


def renamed_beside_ids(cells, rng, i):
    return pd.DataFrame({"gene_ids": holes(cells.genes, rng, None)}, index=with_renamed(cells, rng))


def retired_ids_beside_symbols(cells, rng, i):
    """Ids that no table has, of genes whose symbol is there."""
    ids = [f"ENSG009{j:08d}" if rng.random() < 0.2 else gene for j, gene in enumerate(cells.genes)]
    return pd.DataFrame({"gene_ids": ids}, index=cells.symbols)


def copies_made_unique(cells, rng, i):
    """A tenth of the symbols stands for a second gene too, whose id tells them apart."""
    names = list(cells.symbols)
    for j in range(0, len(names) - 1, 10):
        names[j + 1] = f"{names[j]}-1"
    return pd.DataFrame({"gene_ids": cells.genes}, index=names)


def named(form, cells):
    return [form.format(s=s, g=g) for s, g in zip(cells.symbols, cells.genes, strict=True)]


# kind -> whether each file must be read exactly, must be refused, or may be either
EXACT, REFUSED = "exact", "refused"
KINDS = {
    plain_symbols: EXACT,
    plain_ids: EXACT,
    shifted_ids: REFUSED,
    permuted_ids: REFUSED,
    shifted_in_part: REFUSED,
    exchanged_rows: REFUSED,
    shifted_symbols: REFUSED,
    ids_of_other_genes: EXACT,
    unknown_column_of_other_genes: EXACT,
    orthologues: EXACT,
    mouse_cells_with_human_orthologues: REFUSED,
    partly_filled_ids: EXACT,
    partly_filled_category: EXACT,
    partly_filled_symbols: EXACT,
    partly_filled_and_shifted: REFUSED,
    suffixed_symbols: EXACT,
    prefixed_symbols: EXACT,
    bytes_as_text: EXACT,
    halves_that_disagree: REFUSED,
    versions: EXACT,
    numbered_index: EXACT,
    renamed_symbols: EXACT,
    renamed_beside_ids: EXACT,
    retired_ids_beside_symbols: EXACT,
    copies_made_unique: EXACT,
}


@pytest.fixture(scope="module")
def drawn():
    """The cells of each size, 20 of each, and their tokens."""
    return {
        size: [(c, tokens(c.counts, c.genes)) for c in (draw(seed, *size) for seed in range(FILES))]
        for size in SIZES
    }


def write(cells, var, path, counts=None):
    counts = cells.counts if counts is None else counts
    data = anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(len(counts))]),
        var=var,
    )
    data.write_h5ad(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_tokens_are_those_of_the_cells_or_the_file_is_refused(kind, size, drawn, tmp_path):
    given = []
    for i, (cells, expected) in enumerate(drawn[size]):
        var = kind(cells, np.random.default_rng((size[1], i)), i)
        write(cells, var, tmp_path / "cells.h5ad")
        what, said = outcome(tmp_path / "cells.h5ad", expected, min_mapped=0.5)
        assert not re.search(r"\bnan\b", said), said
        given.append(what)
    assert given == [KINDS[kind]] * FILES


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
def test_columns_of_one_gene_are_summed_or_told_apart(size, drawn, tmp_path):
    """Every tenth gene is in two columns of the file, each with a part of its counts."""
    for i, (cells, expected) in enumerate(drawn[size]):
        part = np.random.default_rng(i).binomial(cells.counts[:, ::10], 0.4)
        counts = cells.counts.copy()
        counts[:, ::10] -= part
        both = np.hstack([counts, part])
        names = cells.genes if i % 2 else cells.symbols
        more = [f"{n}.7" for n in names[::10]] if i % 2 else names[::10]
        write(cells, pd.DataFrame(index=[*names, *more]), tmp_path / "cells.h5ad", both)
        what, said = outcome(tmp_path / "cells.h5ad", expected)
        assert what == "exact" and "summed" in said


def test_the_generator_has_genes_with_and_without_token(drawn):
    ids, *_ = table()
    for cells, expected in drawn[SIZES[0]]:
        assert 0 < len(set(cells.genes) - set(ids)) < 100
        assert len(set(cells.genes)) == len(cells.genes) and all(len(t) > 200 for t in expected)
