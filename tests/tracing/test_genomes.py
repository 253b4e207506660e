"""Files with the genes of two species: refused with the cells of each, and separated on request."""

from __future__ import annotations

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.cells.expression_files import open_expression
from scircuit.tracing.tokenisation.vocabulary import geneformer_v2
from tests.tracing.test_h5ad_sweep import small_counts

HUMAN, MOUSE = "hg19", "mm10"
CELLS = {"h": HUMAN, "m": MOUSE, "x": "mixed", "0": ""}
ORDER = "hmhhmxh0mhm"  # what each cell is


@pytest.fixture(scope="module")
def barnyard():
    """Counts of human and mouse genes in cells of either, of both and of none; ids and symbols."""
    counts, known = small_counts()
    rng = np.random.default_rng(2)
    depth = {"h": (1.0, 0.03), "m": (0.03, 1.0), "x": (0.6, 0.4), "0": (0.0, 0.0)}
    mean = np.asarray(counts.mean(axis=0)).ravel() + 0.3
    parts = [np.array([rng.poisson(mean * depth[kind][side]) for kind in ORDER]) for side in (0, 1)]
    genes = [(gene, symbol) for symbol, gene in known]
    mouse = [(f"ENSMUSG{i:011d}", symbol.capitalize()) for i, (_, symbol) in enumerate(genes)]
    return parts, genes, mouse


def cells(kinds):
    return [i for i, kind in enumerate(ORDER) if kind in kinds]


def write_groups(barnyard, path, orders=(HUMAN, MOUSE)):
    """Cell Ranger 2: a group per genome, each with the barcodes in which it was called."""
    (human, mouse), genes, others = barnyard
    with h5py.File(path, "w") as file:
        for name in orders:
            counts, named = (human, genes) if name == HUMAN else (mouse, others)
            rows = [i for i in range(len(ORDER)) if counts[i].sum() > 0]
            stored = sparse.csr_matrix(counts[rows])
            group = file.create_group(name)
            group["data"], group["indices"] = stored.data, stored.indices
            group["indptr"], group["shape"] = stored.indptr, stored.shape[::-1]
            group["barcodes"] = np.array([f"c{i}-1" for i in rows], dtype="S")
            group["genes"] = np.array([gene for gene, _ in named], dtype="S")
            group["gene_names"] = np.array([symbol for _, symbol in named], dtype="S")
    return path


def write_tenx(barnyard, path, prefix):
    """Cell Ranger 3: one matrix, with the genome of every gene; its prefix in names or not."""
    (human, mouse), genes, others = barnyard
    stored = sparse.csr_matrix(np.hstack([human, mouse]))
    genomes = [HUMAN] * len(genes) + [MOUSE] * len(others)
    named = [(g, *pair) for g, pair in zip(genomes, [*genes, *others], strict=True)]
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = (
            stored.data,
            stored.indices,
            stored.indptr,
        )
        group["shape"] = stored.shape[::-1]
        group["barcodes"] = np.array([f"c{i}-1" for i in range(len(ORDER))], dtype="S")
        mark = (lambda g: f"{g}_") if prefix else (lambda g: "")
        group["features/id"] = np.array([mark(g) + gene for g, gene, _ in named], dtype="S")
        group["features/name"] = np.array([mark(g) + s for g, _, s in named], dtype="S")
        group["features/feature_type"] = np.array(["Gene Expression"] * len(named), dtype="S")
        group["features/genome"] = np.array(genomes, dtype="S")
    return path


def write_h5ad(barnyard, path, marks, column=False, scaled=False):
    """Prefixed names in the index; or beside it, as a column of ids."""
    (human, mouse), genes, others = barnyard
    counts = np.hstack([human, mouse]).astype(np.float32)
    names = [marks[0] + s for _, s in genes] + [marks[1] + s for _, s in others]
    ids = [marks[0] + g for g, _ in genes] + [marks[1] + g for g, _ in others]
    var = pd.DataFrame(
        {"gene_ids": ids}, index=[str(i) for i in range(len(ids))] if column else names
    )
    data = anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(index=[f"c{i}-1" for i in range(len(ORDER))]),
        var=var,
    )
    if scaled:
        data.raw = data.copy()
        data.X = counts - counts.mean(axis=0)
    data.write_h5ad(path)
    return path


FORMS = {
    "groups": lambda b, p: write_groups(b, p),
    "groups, mouse first": lambda b, p: write_groups(b, p, (MOUSE, HUMAN)),
    "10x": lambda b, p: write_tenx(b, p, prefix=False),
    "10x with prefixes": lambda b, p: write_tenx(b, p, prefix=True),
    "h5ad": lambda b, p: write_h5ad(b, p, ("hg19_", "mm10_")),
    "h5ad of old Cell Ranger": lambda b, p: write_h5ad(b, p, ("hg19_", "mm10___")),
    "h5ad with dashes": lambda b, p: write_h5ad(b, p, ("hg19-", "mm10---")),
    "h5ad, ids only": lambda b, p: write_h5ad(b, p, ("hg19_", "mm10_"), column=True),
    "h5ad, scaled with raw": lambda b, p: write_h5ad(b, p, ("hg19_", "mm10_"), scaled=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_two_genomes_are_refused_with_the_cells_of_each(barnyard, tmp_path, form):
    path = FORMS[form](barnyard, tmp_path / "cells.h5")
    with pytest.raises(UserError) as caught, open_expression(path):
        pass
    text = str(caught.value)
    n = len(barnyard[1])
    assert f"holds 2 genomes: hg19 (5 cells, {n} genes), mm10 (4 cells, {n} genes)" in text
    assert "neither: 1 mixed" in text and "--genome hg19" in text


@pytest.mark.parametrize("form", FORMS)
def test_the_chosen_genome_alone_is_read(barnyard, tmp_path, form):
    """Counts and names are those of a file of this genome's cells alone."""
    path = FORMS[form](barnyard, tmp_path / "cells.h5")
    for genome, kind, side in ((HUMAN, "h", 0), (MOUSE, "m", 1)):
        with open_expression(path, genome) as expression:
            assert expression.genome == genome
            assert f"genome {genome}: " in expression.notes[-1]
            rows = expression.usable(np.arange(len(expression.obs)))
            assert [expression.obs.index[r] for r in rows] == [f"c{i}-1" for i in cells(kind)]
            matrix = expression.matrices.get("raw/X", expression.matrices["X"])
            expected = barnyard[0][side][cells(kind)]
            assert np.array_equal(matrix.rows(rows).toarray(), expected)
            named = barnyard[1 + side]
            if "ids only" not in form:
                assert list(matrix.var.index) == [symbol for _, symbol in named]
            assert matrix.var["gene_ids"].tolist() == [gene for gene, _ in named]


@pytest.mark.parametrize("form", ["groups", "10x with prefixes", "h5ad of old Cell Ranger"])
def test_tokens_are_those_of_the_human_cells_alone(barnyard, tmp_path, form):
    def load(path, **options):
        config = CellsConfig(cells=path, n_cells=0, min_tokens=5, panel=True, **options)
        return load_cohort(config, geneformer_v2(), 258)

    counts, genes, _ = barnyard
    alone = anndata.AnnData(
        sparse.csr_matrix(counts[0][cells("h")].astype(np.float32)),
        var=pd.DataFrame(index=[symbol for _, symbol in genes]),
    )
    alone.write_h5ad(tmp_path / "alone.h5ad")
    expected = load(tmp_path / "alone.h5ad")
    cohort = load(FORMS[form](barnyard, tmp_path / "cells.h5"), genome="HG19")
    assert cohort.barcodes == tuple(f"c{i}-1" for i in cells("h"))
    assert [t.tolist() for t in cohort.tokens] == [t.tolist() for t in expected.tokens]
    with pytest.raises(UserError, match="human genes, as the model was trained on"):
        load(tmp_path / "cells.h5", genome=MOUSE)


def test_a_genome_that_is_not_there(barnyard, tmp_path):
    path = write_groups(barnyard, tmp_path / "cells.h5")
    with (
        pytest.raises(UserError, match=r"--genome GRCh38 is given.*holds hg19, mm10"),
        open_expression(path, "GRCh38"),
    ):
        pass
    one = write_groups(barnyard, tmp_path / "one.h5", (HUMAN,))
    with open_expression(one) as a, open_expression(one, HUMAN) as b:
        assert a.genome == b.genome == HUMAN and a.cells is b.cells is None
    with (
        pytest.raises(UserError, match=r"--genome mm10 is given, but one.h5 holds hg19"),
        open_expression(one, MOUSE),
    ):
        pass
    (human, mouse), genes, _ = barnyard
    alone = ((human, mouse[:, :0]), genes, [])
    plain = write_h5ad(alone, tmp_path / "plain.h5ad", ("", ""))
    with (
        pytest.raises(UserError, match=r"names no genome(.|\n)*leave --genome out"),
        open_expression(plain, HUMAN),
    ):
        pass


def test_one_genome_with_prefixes_and_the_other_without(barnyard, tmp_path):
    path = write_h5ad(barnyard, tmp_path / "cells.h5ad", ("", "mm10_"))
    with pytest.raises(UserError, match=r"2 genomes: mm10 \(4 cells.*unnamed \(5 cells"):
        open_expression(path).__enter__()
    with open_expression(path, "unnamed") as expression:
        assert expression.usable(np.arange(len(ORDER))).tolist() == cells("h")
        names = [symbol for _, symbol in barnyard[1]]
        assert list(expression.matrices["X"].var.index) == names
    single = write_h5ad(barnyard, tmp_path / "single.h5ad", ("hg19_", "hg19_"))
    with open_expression(single) as expression:
        assert expression.genome == "hg19" and expression.cells is None


def test_no_count_tells_whose_a_cell_is(barnyard, tmp_path):
    path = write_h5ad(barnyard, tmp_path / "cells.h5ad", ("hg19_", "mm10_"), scaled=True)
    with h5py.File(path, "a") as file:
        del file["raw"]
    with (
        pytest.raises(UserError, match="no matrix of counts that tells whose a cell is"),
        open_expression(path, HUMAN),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "genome"),
    [
        ("hg19_TP53", "hg19"),
        ("GRCh38_TP53", "GRCh38"),
        ("GRCh38______TP53", "GRCh38"),
        ("mm10___Trp53", "mm10"),
        ("mm10-2020-A_Trp53", "mm10-2020-A"),
        ("GRCh38.p13_HLA-A", "GRCh38.p13"),
        ("hg19_5S_rRNA", "hg19"),
        ("Rnor_6.0_Actb", "Rnor_6.0"),
        ("HUMAN_ACTB", "HUMAN"),
        ("GRCm39_ENSMUSG00000000001", "GRCm39"),
        ("GRCh38-HLA-A", "GRCh38"),
        ("GRCh38---C4B_2", "GRCh38"),
        ("mm10-2020-A-H2-K1", "mm10-2020-A"),
        ("GRCh38.p13-5S-rRNA", "GRCh38.p13"),
    ],
)
def test_prefixes(name, genome):
    from scircuit.tracing.cells.storage.genomes import _prefix

    prefix = _prefix([name, f"{genome}{'-' if name[len(genome)] == '-' else '_'}TP53"])
    found = prefix.match(name)
    assert found and found[1] == genome and not prefix.match(name[found.end() :])


@pytest.mark.parametrize(
    "name", ["TP53", "RN7SK", "MM10", "HLA-A", "RAT1", "ENSG00000141510_TP53", "Y_RNA"]
)
def test_names_without_a_genome(name):
    from scircuit.tracing.cells.storage.genomes import _DASHED, _PREFIX

    assert not _PREFIX.match(name) and not _DASHED.match(name)
