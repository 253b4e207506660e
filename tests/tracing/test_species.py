"""Cells of another species, or of two: seen in the names of the genes and in what a file states,
and refused; good files pass with their tokens.
"""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scircuit.tracing.cells.stated_species import species_of
from tests.support.plain_tokens import draw, tokens
from tests.support.token_outcome import outcome

HUMAN = ("Homo sapiens", "human", "NCBITaxon:9606", "9606", "unknown", "Homo_sapiens (human)", "")
OTHERS = {
    "Mus musculus": "mouse",
    "mouse": "mouse",
    "NCBITaxon:10090": "mouse",
    "Mus_musculus": "mouse",
    "mm10": "mouse",
    "Rattus norvegicus": "rat",
    "Macaca fascicularis": "macaque",
    "Danio rerio": "zebrafish",
}


@pytest.fixture(scope="module")
def cells():
    return draw(11, cells=12, genes=1_500)


def write(path, cells, names=None, obs=None, var=None, uns=None, more=None):
    """A file of these cells; `more` is columns of counts and their names behind the genes."""
    counts, index = cells.counts, list(names or cells.symbols)
    if more:
        counts, index = np.hstack([counts, more[0]]), [*index, *more[1]]
    data = anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(obs or {}, index=[f"c{i}-1" for i in range(len(counts))]),
        var=pd.DataFrame(var or {}, index=index),
        uns=uns or {},
    )
    if path.suffix == ".zarr":
        data.write_zarr(path)
    else:
        data.write_h5ad(path)
    return path


def read(path, cells, **options):
    return outcome(path, tokens(cells.counts, cells.genes), **{"min_mapped": 0.1, **options})


@pytest.mark.parametrize(("text", "species"), [*OTHERS.items(), *((t, "") for t in ("nan", "PDX"))])
def test_species_in_a_text(text, species):
    assert species_of(text) == species


def test_species_that_a_text_leaves_open():
    assert species_of("Homo sapiens") == species_of("GRCh38-2024-A") == "human"
    assert species_of("human-mouse hybrid") == species_of("THP1") == species_of("SARS-CoV-2") == ""


@pytest.mark.parametrize("where", ["obs", "uns", "uns of a zarr store", "feature_reference"])
@pytest.mark.parametrize("text", [*HUMAN, *OTHERS])
def test_what_a_file_states(where, text, cells, tmp_path):
    given = {
        "obs": {"obs": {"Organism": text}},
        "uns": {"uns": {"organism": text}},
        "uns of a zarr store": {"uns": {"organism": text}},
        "feature_reference": {"var": {"feature_reference": text}},
    }[where]
    path = write(tmp_path / f"cells.{'zarr' if 'zarr' in where else 'h5ad'}", cells, **given)
    got, said = read(path, cells, mixed=False)
    if text not in OTHERS:
        assert got == "exact" and "warning: " not in said.split("species: ok")[1].split("\n")[0]
        return
    assert got == "refused" and f"species: {OTHERS[text]}: " in said and text in said
    assert "declare it with --gene-column index" in said
    # as it says
    got, said = read(path, cells, mixed=False, gene_column="index")
    assert got == "exact" and text in said and "--gene-column declares human genes" in said


@pytest.mark.parametrize("column", ["organism", "Species", "organism_ontology_term_id", "taxid"])
def test_cells_of_two_species(column, cells, tmp_path):
    taxa = ["9606"] * 8 + ["10090"] * 4
    path = write(tmp_path / "cells.h5ad", cells, obs={column: taxa})
    got, said = read(path, cells)  # --mixed is for populations of one species
    assert got == "refused" and f"--where {column}=9606" in said
    assert "10090 4, 9606 8 of 12 cells" in said
    kept = cells._replace(counts=cells.counts[:8])
    assert read(path, kept, where=(f"{column}=9606",))[0] == "exact"


@pytest.mark.parametrize("stored", [["Mus musculus"] * 2, 5, {"name": "Mus musculus"}, "damaged"])
def test_what_is_stored_under_organism_in_uns_never_fails(stored, cells, tmp_path):
    uns = {"organism": "mouse" if stored == "damaged" else stored}
    path = write(tmp_path / "cells.h5ad", cells, uns=uns)
    if stored == "damaged":
        with h5py.File(path, "a") as file:
            del file["uns/organism"]
            file["uns/organism"] = h5py.Empty("f4")
    assert read(path, cells)[0] == "exact"


def mouse_names(n):
    return [f"Gm{10_000 + i}" if i % 3 else f"{1_000_000 + i}A{i % 90:02d}Rik" for i in range(n)]


@pytest.mark.parametrize(("n", "refused"), [(0, False), (10, False), (40, True), (150, True)])
def test_names_that_only_a_mouse_has_in_upper_case(n, refused, cells, tmp_path):
    """One in a hundred of 1,500 is 15."""
    symbols, genes = list(cells.symbols), list(cells.genes)
    for i, name in zip(range(0, 10 * n, 10), mouse_names(n), strict=True):
        symbols[i], genes[i] = name.upper(), ""
    path = write(tmp_path / "cells.h5ad", cells, symbols)
    got, said = read(path, cells._replace(genes=genes))
    assert got == ("refused" if refused else "exact")
    if refused:
        assert f"{n:,} of 1,500 names are of genes that only a mouse or rat has" in said


@pytest.mark.parametrize("kind", ["ids", "symbols", "symbols, mouse ones first", "unlike symbols"])
@pytest.mark.parametrize(("n", "refused"), [(60, False), (1_000, True)])
def test_genes_of_two_species_without_prefixes(kind, n, refused, cells, tmp_path):
    """Four of the cells are of a mouse; --min-mapped is low, and would let them pass."""
    rng = np.random.default_rng(3)
    counts = cells.counts.copy()
    counts[8:] = rng.binomial(counts[8:], 0.02)
    human = cells._replace(counts=counts)
    mouse, chosen = np.zeros((12, n), dtype=int), rng.permutation(1_500)[:n]
    if refused:
        mouse[8:] = cells.counts[:4][:, chosen]
    names = {
        "ids": [f"ENSMUSG{i:011d}" for i in range(n)],
        "unlike symbols": mouse_names(n),
    }.get(kind, [cells.symbols[i].capitalize() for i in chosen])
    index = cells.genes if kind == "ids" else cells.symbols
    if "first" in kind:
        whole = human._replace(counts=mouse)
        path = write(tmp_path / "cells.h5ad", whole, names, more=(counts, index))
    else:
        path = write(tmp_path / "cells.h5ad", human, index, more=(mouse, names))
    least = {"min_tokens": 1, "min_mapped": 0.0}
    if not refused:
        assert read(path, human, **least)[0] == "exact"
        return
    got, said = read(path, human, **least)
    assert got == "refused" and "mouse" in said
    if kind == "ids":  # then also which cells
        assert "human (8 cells, 1,500 genes), mouse (4 cells, 1,000 genes)" in said
        kept = cells._replace(counts=cells.counts[:8])
        assert read(path, kept, genome="human")[0] == "exact"
    else:
        assert "human and mouse or rat" in said and "keep the genes of one species" in said


def test_capitalised_names_beside_their_own_human_ones_are_seen_below_five_percent(tmp_path):
    cells = draw(4, cells=6, genes=8_000)
    twins = [s.capitalize() for s in cells.symbols[:300] if s.isalnum() and s.upper() == s]
    path = write(tmp_path / "cells.h5ad", cells, more=(np.ones((6, len(twins)), dtype=int), twins))
    got, said = read(path, cells)
    assert len(twins) > 210 and got == "refused" and "human and mouse or rat" in said


def test_genes_of_a_virus_and_orthologues_beside_human_ones_are_no_second_species(cells, tmp_path):
    """A column of orthologues of several species is not what the rows are."""
    ids = [f"ENSMUSG{i:011d}" if i % 2 else f"ENSG{i:011d}" for i in range(1_500)]
    path = write(tmp_path / "a.h5ad", cells, var={"ortholog": ids})
    assert read(path, cells)[0] == "exact"
    virus = np.ones((12, 12), dtype=int), [f"ENSSASG{i:011d}" for i in range(12)]
    reference = ["NCBITaxon:9606"] * 1_500 + ["NCBITaxon:2697049"] * 12
    path = write(
        tmp_path / "b.h5ad", cells, cells.genes, more=virus, var={"feature_reference": reference}
    )
    human = cells._replace(
        counts=np.hstack([cells.counts, virus[0]]), genes=[*cells.genes, *[""] * 12]
    )
    assert read(path, human)[0] == "exact"
