"""scGPT's input equals that of an independent, plain implementation of the published rule, draw by
draw.
"""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
from scipy import sparse

from scircuit.core.config import CellsConfig
from scircuit.core.errors import UserError
from scircuit.tracing.cells.cohort import load_cohort
from scircuit.tracing.tokenisation.binning import CELL, bin_values
from scircuit.tracing.tokenisation.vocabulary import Bins, geneformer_v2
from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import SPECIALS, from_tokens
from tests.support.plain_tokens import current_symbols

FILES = (
    "celltypist_sample_559cells.h5ad",
    "oligodendroglioma_184cells.h5ad",
    "papalexi2021_thp1_crisprko_subset.h5ad",
    "pbmc_small.h5ad",
)


def plain_quantile(ordered, level):
    place = level * (len(ordered) - 1)
    low = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    if len(ordered) == 1:
        return ordered[0]
    return ordered[low] + (ordered[low + 1] - ordered[low]) * (place - low)


def plain_bins(values, number, draws):
    """Edges at number - 1 even levels; a value's bin lies between its strict and its weak rank
    among them, by one draw.
    """
    ordered = sorted(values)
    edges = [plain_quantile(ordered, i / (number - 2)) for i in range(number - 1)]
    bins = []
    for x, u in zip(values, draws, strict=True):
        weak, strict = sum(e <= x for e in edges), sum(e < x for e in edges)
        bins.append(math.ceil(u * (strict - weak) + weak))
    return bins


def plain_cell(names, counts, tokens, cls, max_length, key):
    kept = [
        (tokens[n], float(c)) for n, c in zip(names, counts, strict=True) if n in tokens and c > 0
    ]
    rng = np.random.default_rng(key)
    bins = plain_bins([c for _, c in kept], 51, rng.random(len(kept)))
    chosen = range(len(kept))
    if len(kept) + 1 > max_length:
        chosen = sorted(int(i) for i in rng.permutation(len(kept))[: max_length - 1])
    return [(cls, -2.0), *((kept[i][0], float(bins[i])) for i in chosen)]


def raw(path):
    with h5py.File(path) as file:
        names = [n.decode() for n in file["var"][file["var"].attrs["_index"]][:]]
        x = file["X"]
        return names, sparse.csr_matrix(
            (x["data"][:], x["indices"][:], x["indptr"][:]), shape=tuple(x.attrs["shape"])
        )


@pytest.fixture(scope="module")
def vocabulary():
    """Symbols of the Geneformer table in an order of their own, so that token ids say nothing about
    Ensembl ids.
    """
    known = geneformer_v2()
    return from_tokens(
        [*SPECIALS, *sorted({**known.outside, **known.symbol_to_ensembl})], Bins(51, -2.0), "test"
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("max_length", [101, 1200])
def test_every_file_of_counts_gives_the_published_input(shared_data, vocabulary, name, max_length):
    path = shared_data / "cells" / name
    cohort = load_cohort(
        CellsConfig(cells=path, n_cells=12, min_tokens=1, min_mapped=0.5, seed=3),
        vocabulary,
        max_length,
    )
    names, matrix = raw(path)
    names = current_symbols(names)
    tokens = {
        vocabulary.symbols[g]: t for g, t in vocabulary.token.items() if g in vocabulary.symbols
    }
    for row, cell in zip(cohort.row_ids, cohort.tokens, strict=True):
        wanted = plain_cell(
            names, matrix[row].toarray().ravel(), tokens, vocabulary.cls, max_length, (3, int(row))
        )
        assert cell.dtype == CELL and [(int(t), float(v)) for t, v in cell] == wanted


def test_longer_cells_are_drawn_from_not_cut_at_the_highest(examples, vocabulary):
    config = CellsConfig(cells=examples / "cells" / FILES[0], n_cells=20)
    short, whole = (load_cohort(config, vocabulary, length) for length in (201, 20_000))
    assert (short.gene_tokens == 200).all() and (whole.gene_tokens > 200).all()
    kept = np.array([s["value"][1:].mean() for s in short.tokens]) - np.array(
        [w["value"][1:].mean() for w in whole.tokens]
    )
    assert (
        abs(kept.mean()) < 2
    )  # bins run to 50; the highest 200 of a cell would lie far above its mean
    for s, w in zip(short.tokens, whole.tokens, strict=True):
        assert set(map(tuple, s.tolist())) <= set(
            map(tuple, w.tolist())
        )  # binned over all genes, then drawn
    line = next(line for line in short.report if line.name == "truncated")
    assert "drawn at random" in line.found


def test_a_cell_is_read_alike_in_every_cohort_and_otherwise_with_another_seed(examples, vocabulary):
    def cells(n, seed):
        cohort = load_cohort(
            CellsConfig(cells=examples / "cells" / FILES[0], n_cells=n, seed=seed), vocabulary, 300
        )
        return dict(zip(cohort.row_ids.tolist(), cohort.tokens, strict=True))

    few, many, other = cells(5, 1), cells(0, 1), cells(0, 2)
    assert all(np.array_equal(few[row], many[row]) for row in few)
    assert not any(np.array_equal(few[row], other[row]) for row in few)


def test_ties_are_spread_over_the_bins_they_share():
    """Of a cell whose genes are 60 % ones, 30 of 50 edges are one: a one is bin 1 to 30, each as
    often.
    """
    counts = np.r_[np.ones(600), np.arange(2, 402)]
    rng = np.random.default_rng(0)
    bins = np.concatenate([bin_values(counts, 51, rng.random(1000))[:600] for _ in range(50)])
    times = np.bincount(bins, minlength=32)[1:]
    assert (times[:30] > 0).all() and (times[30:] == 0).all()
    assert abs(times[:30] - 1000).max() < 6 * 1000**0.5
    assert bin_values(counts, 51, rng.random(1000)).max() == 50
    assert set(bin_values(np.full(9, 4.0), 51, rng.random(9))) <= set(range(1, 51))


def test_bins_do_not_depend_on_depth(examples, vocabulary):
    counts = np.random.default_rng(0).integers(1, 40, 300).astype(float)
    draws = np.random.default_rng(1).random(300)
    assert (bin_values(counts, 51, draws) == bin_values(8 * counts, 51, draws)).all()


def test_the_names_that_map_most_are_taken(shared_data, vocabulary):
    """A model of symbols reads symbols, unless a column of Ensembl ids maps more; a ranked model
    prefers Ensembl ids.
    """
    path = shared_data / "cells" / "scanpy_test_10x_v3_filtered_feature_bc_matrix.h5"
    with h5py.File(path) as file:
        symbols, ids = ([n.decode() for n in file["matrix/features"][k][:]] for k in ("name", "id"))
    mapped = {
        "symbols": sum(s in vocabulary.symbol_to_ensembl for s in symbols),
        "Ensembl ids": sum(i in vocabulary.token for i in ids),
    }
    cohort = load_cohort(
        CellsConfig(cells=path, n_cells=5, min_tokens=5, min_mapped=0.3), vocabulary, 1200
    )
    found = next(line.found for line in cohort.report if line.name == "identifiers")
    best = max(mapped, key=mapped.__getitem__)
    assert (
        mapped["symbols"] != mapped["Ensembl ids"]
        and found.startswith(best)
        and f"{mapped[best]} have a token" in found
    )
    assert all(
        vocabulary.gene_of_token[t].startswith("ENSG") for t in cohort.tokens[0]["token"][1:]
    )


def test_whole_human_vocabulary(shared_data, tmp_path):
    import gzip
    import json

    from scircuit.tracing.tokenisation.vocabulary.scgpt_vocabulary import scgpt_vocabulary

    published = json.loads(
        gzip.decompress(
            (shared_data / "vocabulary" / "scgpt_default_census_vocab.json.gz").read_bytes()
        )
    )
    (tmp_path / "vocab.json").write_text(json.dumps(published))
    found = scgpt_vocabulary(tmp_path, Bins(51, -2.0))
    assert len(found) == len(published) + 3 == 60_697
    assert found.specials == {60_694, 60_695, 60_696} and (found.pad, found.cls, found.framing) == (
        60_694,
        60_695,
        1,
    )
    assert (
        found.gene_of_token[published["GATA1"]] == "ENSG00000102145"
        and found.symbol("ENSG00000102145") == "GATA1"
    )
    assert all(found.symbol(found.gene_of_token[t]) == name for name, t in published.items())
    assert sum(g.startswith("ENSG") for g in found.gene_of_token) > 38_000
    (tmp_path / "vocab.json").write_text(json.dumps({**published, "GATA1": 99_999}))
    with pytest.raises(UserError, match=r"not 0 to 60,696, each once"):
        scgpt_vocabulary(tmp_path, Bins(51, -2.0))
